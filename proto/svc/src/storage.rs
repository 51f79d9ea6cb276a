//! Channel `storage`: what control may do with the disk: keep small values, fill the slot that does not run, and
//! ask for the changes of an update.
//!
//! control asks, storage answers each request once, in order, under the request's number. control names no
//! sector: it has a window on the slot that does not run, and values under names. Which slot runs storage knows
//! from dom0. A slot is armed only after storage itself has read it back and found signature, hash, machine and
//! version right. The selector is replaced by what such a slot brings, and by nothing else.
//!
//! ```text
//!   (slot) -Begin-> filling -Write…-> -Verify-> verified -Change(Arm)-> updating -reset-> runs, or falls back
//! ```

use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

use crate::envelope::Message;

/// Bytes of a value or a slot in one message.
pub const MAX_PIECE: usize = 900;
/// Bytes of the name of a value.
pub const MAX_KEY: usize = 48;
/// Bytes of the longest value.
pub const MAX_VALUE: u32 = 256 * 1024;
/// Bytes of a version's name.
pub const MAX_VERSION: usize = 32;
/// Bytes of the text that explains a state or a refusal.
pub const MAX_REASON: usize = 120;

/// Name of a value: lower-case letters, digits, `.`, `-`.
pub type Key = String<MAX_KEY>;

/// What control asks of storage.
#[expect(clippy::large_enum_variant, reason = "one buffer of the largest size is what a channel has anyway")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToStorage {
    /// First message.
    Hello {
        /// Version of this protocol.
        version: u16,
    },
    /// A request.
    Ask {
        /// Chosen by control, for the answer.
        number: u32,
        /// What is asked for.
        request: Request,
    },
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// How disk and store stand: [`Answer::Status`].
    Status,
    /// Both slots: [`Answer::Slots`].
    Slots,
    /// A piece of a value: [`Answer::Value`].
    Get {
        /// Its name.
        key: Key,
        /// Position of the first byte.
        offset: u32,
    },
    /// The next piece of a value, in order and without gaps: [`Answer::Done`]. With the last piece the whole
    /// value takes the place of the one before, and is on the disk when that is answered. A first piece
    /// (offset 0) drops what was begun.
    Put {
        /// Its name.
        key: Key,
        /// Bytes of the whole value.
        total: u32,
        /// Position of the first byte.
        offset: u32,
        /// The piece.
        bytes: Vec<u8, MAX_PIECE>,
    },
    /// Drops a value: [`Answer::Done`], also if there was none.
    Delete {
        /// Its name.
        key: Key,
    },
    /// The first name after this one, in the order of bytes: [`Answer::Name`].
    Next {
        /// An empty one for the first.
        after: Key,
    },
    /// Empties the slot that does not run, for this many bytes to come: [`Answer::Done`]. Refused while the
    /// running slot is under test.
    Begin {
        /// Bytes of header and contents.
        length: u64,
    },
    /// A piece of the slot: [`Answer::Done`].
    Write {
        /// Position in the slot.
        offset: u64,
        /// The piece.
        bytes: Vec<u8, MAX_PIECE>,
    },
    /// Reads the slot back and checks it: [`Answer::Verified`].
    Verify,
    /// Changes the slots' attributes: [`Answer::Slots`].
    Change(Change),
    /// Replaces the selector in one of the two EFI system partitions by that of a slot: [`Answer::Selector`].
    ReplaceSelector(Selector),
}

/// One of two selectors, by the order of their partitions in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Selector {
    /// By which the machine starts. It is replaced by what came with the system that runs, once that has proved itself.
    First,
    /// What is there while the first one is replaced. It is replaced by what came with the other slot, once that was
    /// verified.
    Second,
    /// The second one again, by what came with the system that runs, once that has proved itself: a version that fell
    /// back leaves its own there.
    SecondBack,
}

impl Selector {
    /// Which of the two it is, in a word.
    #[must_use]
    pub const fn place(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Second | Self::SecondBack => "second",
        }
    }
}

/// A change of the slots, each allowed in the state that it is for only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// The other slot, which was verified since it was filled, is to be tried at the next start.
    Arm,
    /// The slot that runs has proved itself.
    Commit,
    /// The other slot is not to be started any more.
    Abandon,
    /// The other slot, which was tried in vain or holds the version before, is to be tried (again). It is
    /// verified first.
    TryOther,
}

/// One of the two slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SlotName {
    /// `IMGA`.
    A,
    /// `IMGB`.
    B,
}

/// What a slot is, in EVE's words, and one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SlotState {
    /// Not to be started.
    Unused,
    /// Tried at the next start.
    Updating,
    /// Being tried, or tried in vain.
    InProgress,
    /// Proven good.
    Active,
    /// Proven good, and replaced by the other one: started when that one cannot be. EVE calls it unused.
    Spare,
}

/// A slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotReport {
    /// Which.
    pub slot: SlotName,
    /// Its attributes.
    pub state: SlotState,
    /// The version of a header that is signed; empty if there is none.
    pub version: String<MAX_VERSION>,
    /// Bytes that there is room for.
    pub room: u64,
}

/// Disk and store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Whether the store is open; otherwise [`Status::reason`].
    pub open: bool,
    /// The kind of reason for which it is closed: [`Refusal::Locked`] until its key comes, [`Refusal::Disk`] for one
    /// that is not to be had, which storage tries again where that may help, or [`Refusal::NoDisk`].
    pub closed: Option<Refusal>,
    /// Why not, or what is wrong although it is open.
    pub reason: String<MAX_REASON>,
    /// Model and serial number of the disk.
    pub disk: String<64>,
    /// Bytes of the disk.
    pub bytes: u64,
    /// Bytes that values may have in all.
    pub quota: u32,
    /// Bytes that they have.
    pub used: u32,
    /// Errors of the disk since storage was started.
    pub disk_errors: u32,
    /// Values that were found damaged and dropped, since storage was started.
    pub damaged: u32,
}

/// What storage says to control.
#[expect(clippy::large_enum_variant, reason = "one buffer of the largest size is what a channel has anyway")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromStorage {
    /// First message.
    Hello {
        /// Version of this protocol.
        version: u16,
    },
    /// The answer to a request.
    Answer {
        /// The request's.
        number: u32,
        /// What there is.
        answer: Answer,
    },
    /// The store has become open, or closed: ask for its status.
    Changed,
}

/// An answer.
#[expect(clippy::large_enum_variant, reason = "one buffer of the largest size is what a channel has anyway")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// To [`Request::Status`].
    Status(Status),
    /// To [`Request::Slots`] and [`Request::Change`].
    Slots {
        /// The slot that runs; none if the machine was not started from one.
        running: Option<SlotName>,
        /// Both.
        slots: [SlotReport; 2],
    },
    /// To [`Request::Get`].
    Value {
        /// Bytes of the whole value.
        total: u32,
        /// Position of the first byte.
        offset: u32,
        /// The piece; empty at the end.
        bytes: Vec<u8, MAX_PIECE>,
    },
    /// To [`Request::Next`]: none if there is no more.
    Name(Option<Key>),
    /// To [`Request::Verify`]: the slot holds this version, signed.
    Verified {
        /// It.
        version: String<MAX_VERSION>,
    },
    /// To [`Request::ReplaceSelector`]: its partition holds the slot's image.
    Selector {
        /// Whether it did not before.
        replaced: bool,
    },
    /// It was done.
    Done,
    /// It was not.
    Refused {
        /// The kind of reason.
        refusal: Refusal,
        /// One sentence with the values that show it.
        reason: String<MAX_REASON>,
    },
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The store has no key yet: [`FromStorage::Changed`] will say so.
    Locked,
    /// There is no value of this name.
    NoValue,
    /// Not a name.
    Name,
    /// More bytes than the quota, a value or a slot may have.
    TooLarge,
    /// A piece that is out of order or past the end.
    Piece,
    /// The state of the slots does not allow it.
    State,
    /// Nobody knows which slot runs, so none may be written.
    NoSlot,
    /// The slot's signature is by no key that is trusted.
    Signature,
    /// The slot's contents are not what was signed, or its header contradicts itself.
    Contents,
    /// The slot is for another machine.
    Machine,
    /// The version is older than the one that runs.
    Older,
    /// The disk refused, or does not answer.
    Disk,
    /// There is no disk.
    NoDisk,
    /// There is no selector to replace, or none to replace it by: the disk has not two EFI system partitions, or the
    /// slot brings none.
    NoSelector,
    /// The selector is not to be replaced by this one, or not now: the other partition holds none that is known, or
    /// the image does not fit.
    Selector,
}

impl Message for ToStorage {
    const CHANNEL: &'static str = "storage";
    const VERSION: u16 = 4;
}

impl Message for FromStorage {
    const CHANNEL: &'static str = "storage";
    const VERSION: u16 = 3;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{long, round_trip};

    #[test]
    fn the_largest_messages_fit() {
        let piece = || Vec::from_slice(&[0xff; MAX_PIECE]).unwrap();
        let ask = |request| ToStorage::Ask { number: u32::MAX, request };
        round_trip(ask(Request::Put { key: long(), total: u32::MAX, offset: u32::MAX, bytes: piece() }));
        round_trip(ask(Request::Write { offset: u64::MAX, bytes: piece() }));
        let answer = |answer| FromStorage::Answer { number: u32::MAX, answer };
        round_trip(answer(Answer::Value { total: u32::MAX, offset: u32::MAX, bytes: piece() }));
        let slot = |slot| SlotReport { slot, state: SlotState::Active, version: long(), room: u64::MAX };
        let slots = [slot(SlotName::A), slot(SlotName::B)];
        round_trip(answer(Answer::Slots { running: Some(SlotName::B), slots }));
        round_trip(answer(Answer::Status(Status {
            open: true,
            closed: Some(Refusal::NoDisk),
            reason: long(),
            disk: long(),
            bytes: u64::MAX,
            quota: u32::MAX,
            used: u32::MAX,
            disk_errors: u32::MAX,
            damaged: u32::MAX,
        })));
        round_trip(answer(Answer::Refused { refusal: Refusal::NoDisk, reason: long() }));
    }
}
