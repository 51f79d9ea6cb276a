//! Control's requests.

use core::fmt;

use board_support_drv::block::BlockDevice;
use proto_errors::{Code, Coded, storage as code};
use proto_gpt::slots::{Slot, State};
use proto_handoff::record::Version;
use proto_svc::storage::{
    Answer, Change, MAX_VERSION, Refusal, Request, Selector, SlotName, SlotReport, SlotState, Status,
};
use proto_svc::text::clipped;
use proto_update::manifest::SlotError;
use proto_update::selector::ReplaceError;

use super::{CONTROL, Missing, Storage, reason};
use crate::slots::{Replaced, Report, Slots, SlotsError};
use crate::store::{Store, StoreError, ValueError};

/// A life event of what is stored, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The slot that does not run is being filled.
    Filling {
        /// Bytes that are to come.
        length: u64,
    },
    /// It was verified.
    Verified(Version),
    /// The slots' states were changed.
    Changed(Change),
    /// A selector was replaced.
    Replaced(Selector, Replaced),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Filling { length } => write!(f, "the other slot is being filled with {length} bytes"),
            Self::Verified(version) => write!(f, "the other slot holds version {version}, verified"),
            Self::Changed(Change::Arm) => f.write_str("the other slot is to be tried at the next start"),
            Self::Changed(Change::TryOther) => {
                f.write_str("the other slot is to be tried again at the next start")
            }
            Self::Changed(Change::Commit) => f.write_str("the slot that runs has proven itself"),
            Self::Changed(Change::Abandon) => f.write_str("the other slot is not to be started any more"),
            Self::Replaced(which, Replaced { before, now, .. }) => {
                let which = which.place();
                let short =
                    |hash: &[u8; 32]| hash.first_chunk().map_or(0, |short| u32::from_be_bytes(*short));
                write!(f, "the {which} selector is replaced: {:08x}… by {:08x}…", short(before), short(now))
            }
        }
    }
}

/// Why a request was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is no disk.
    NoDisk,
    /// There is no store.
    Missing(Missing),
    /// It is about a value.
    Value(ValueError),
    /// It is about the slots.
    Slots(SlotsError),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDisk => f.write_str("there is no disk"),
            Self::Missing(why) => write!(f, "{why}"),
            Self::Value(why) => write!(f, "{why}"),
            Self::Slots(why) => write!(f, "{why}"),
        }
    }
}

impl core::error::Error for Refused {}

impl Coded for Refused {
    fn code(&self) -> Code {
        match self {
            Self::NoDisk => code::NO_DISK,
            Self::Missing(why) => why.code(),
            Self::Value(why) => why.code(),
            Self::Slots(why) => why.code(),
        }
    }
}

impl From<ValueError> for Refused {
    fn from(why: ValueError) -> Self {
        Self::Value(why)
    }
}

impl From<SlotsError> for Refused {
    fn from(why: SlotsError) -> Self {
        Self::Slots(why)
    }
}

impl Refused {
    /// The kind, as the channel tells it.
    #[must_use]
    pub const fn kind(&self) -> Refusal {
        match self {
            Self::NoDisk => Refusal::NoDisk,
            Self::Missing(_) => Refusal::Disk,
            Self::Value(why) => match why {
                ValueError::Store(StoreError::Locked | StoreError::Key) => Refusal::Locked,
                ValueError::Store(_) | ValueError::Damaged => Refusal::Disk,
                ValueError::Name => Refusal::Name,
                ValueError::None => Refusal::NoValue,
                ValueError::TooLarge { .. } | ValueError::TooMany { .. } => Refusal::TooLarge,
                ValueError::Piece { .. } => Refusal::Piece,
            },
            Self::Slots(why) => match why {
                SlotsError::Disk(_)
                | SlotsError::NoTable(_)
                | SlotsError::NoSlots(_)
                | SlotsError::Change(_) => Refusal::Disk,
                SlotsError::NotRunning => Refusal::NoSlot,
                SlotsError::UnderTest
                | SlotsError::NotRead
                | SlotsError::State(_)
                | SlotsError::Unfilled { .. }
                | SlotsError::NotBegun
                | SlotsError::NotVerified
                | SlotsError::Unknown(_) => Refusal::State,
                SlotsError::Length { .. } => Refusal::TooLarge,
                SlotsError::Piece { .. } => Refusal::Piece,
                SlotsError::Slot(SlotError::Signature) => Refusal::Signature,
                SlotsError::Slot(SlotError::Machine) => Refusal::Machine,
                SlotsError::Slot(_) => Refusal::Contents,
                SlotsError::Older { .. } => Refusal::Older,
                SlotsError::Esps { .. } | SlotsError::NoSelector => Refusal::NoSelector,
                SlotsError::Replace(ReplaceError::NotWritten { .. }) => Refusal::Disk,
                SlotsError::SelectorBytes { .. } | SlotsError::Replace(_) => Refusal::Selector,
            },
        }
    }

    /// The answer that tells it.
    #[must_use]
    pub fn answer(&self) -> Answer {
        Answer::Refused { refusal: self.kind(), reason: reason(self) }
    }
}

/// The answer to a request where there is no disk.
#[must_use]
pub fn answer_without_disk(request: &Request) -> Answer {
    match request {
        Request::Status => Answer::Status(Status {
            open: false,
            closed: Some(Refusal::NoDisk),
            reason: reason(&Refused::NoDisk),
            disk: heapless::String::new(),
            bytes: 0,
            quota: 0,
            used: 0,
            disk_errors: 0,
            damaged: 0,
        }),
        _ => Refused::NoDisk.answer(),
    }
}

/// An answer, and what the log is told.
pub type Answered = (Answer, Option<Result<Event, Refused>>);

impl<D: BlockDevice> Storage<D> {
    /// Carries out a request of control's. What is answered as done is durable.
    pub async fn answer(&self, request: &Request) -> Answered {
        match self.carry_out(request).await {
            Ok((answer, event)) => (answer, event.map(Ok)),
            // Who looks whether there is a value, or asks before there is a key, did nothing out of the way.
            Err(refused) if matches!(refused.kind(), Refusal::NoValue | Refusal::Locked) => {
                (refused.answer(), None)
            }
            Err(refused) => (refused.answer(), Some(Err(refused))),
        }
    }

    async fn carry_out(&self, request: &Request) -> Result<(Answer, Option<Event>), Refused> {
        let disk = &self.disk;
        let quiet = |answer| Ok((answer, None));
        match request {
            Request::Status => quiet(Answer::Status(self.status().await)),
            Request::Get { key, offset } => {
                let mut turn = self.store.turn().await;
                let (total, bytes) = there(&mut turn)?.get(disk, CONTROL, key, *offset).await?;
                quiet(Answer::Value { total, offset: *offset, bytes })
            }
            Request::Put { key, total, offset, bytes } => {
                let mut turn = self.store.turn().await;
                there(&mut turn)?.put(disk, CONTROL, key, *total, (*offset, bytes)).await?;
                quiet(Answer::Done)
            }
            Request::Delete { key } => {
                let mut turn = self.store.turn().await;
                there(&mut turn)?.delete(disk, CONTROL, key).await?;
                quiet(Answer::Done)
            }
            Request::Next { after } => {
                let mut turn = self.store.turn().await;
                quiet(Answer::Name(there(&mut turn)?.next(disk, CONTROL, after).await?))
            }
            Request::Slots => quiet(self.slots(&mut *self.slots.turn().await).await?),
            Request::Begin { length } => {
                self.slots.turn().await.begin(disk, *length).await?;
                Ok((Answer::Done, Some(Event::Filling { length: *length })))
            }
            Request::Write { offset, bytes } => {
                self.slots.turn().await.write(disk, *offset, bytes).await?;
                quiet(Answer::Done)
            }
            Request::Verify => {
                let version = self.slots.turn().await.verify(disk).await?;
                Ok((Answer::Verified { version: text(version) }, Some(Event::Verified(version))))
            }
            Request::Change(change) => {
                let mut slots = self.slots.turn().await;
                slots.ask(disk, *change).await?;
                Ok((self.slots(&mut slots).await?, Some(Event::Changed(*change))))
            }
            Request::ReplaceSelector(which) => {
                let replaced = self.slots.turn().await.replace_selector(disk, *which).await?;
                let event = replaced.is_written.then_some(Event::Replaced(*which, replaced));
                Ok((Answer::Selector { replaced: replaced.is_written }, event))
            }
        }
    }

    async fn slots(&self, slots: &mut Slots) -> Result<Answer, Refused> {
        let reports = slots.report(&self.disk).await?.map(told);
        Ok(Answer::Slots { running: slots.running().map(name), slots: reports })
    }

    async fn status(&self) -> Status {
        let identity = self.disk.identity();
        let mut disk = heapless::String::new();
        // Both together are no longer.
        let _ = disk.push_str(&identity.model).and_then(|()| disk.push(' '));
        let _ = disk.push_str(&identity.serial);
        let store = self.store.turn().await;
        let (quota, used) = store.as_ref().map_or((0, 0), |store| store.space(CONTROL));
        let closed = match &*store {
            Ok(store) => store.closed().map(|why| {
                let refused = Refused::Value(ValueError::Store(why));
                (refused.kind(), store.why_closed(&why))
            }),
            Err(why) => Some((Refused::Missing(*why).kind(), reason(why))),
        };
        let (closed, reason) = closed.unzip();
        Status {
            open: closed.is_none(),
            closed,
            reason: reason.unwrap_or_default(),
            disk,
            bytes: self.disk.geometry().bytes(),
            quota,
            used,
            disk_errors: self.disk.errors(),
            damaged: store.as_ref().map_or(0, |store| store.damaged()),
        }
    }
}

/// The store, if there is one.
fn there(store: &mut Result<Store, Missing>) -> Result<&mut Store, Refused> {
    store.as_mut().map_err(|why| Refused::Missing(*why))
}

const fn name(slot: Slot) -> SlotName {
    match slot {
        Slot::A => SlotName::A,
        Slot::B => SlotName::B,
    }
}

fn text(version: Version) -> heapless::String<MAX_VERSION> {
    clipped(version.as_str())
}

fn told(report: Report) -> SlotReport {
    SlotReport {
        slot: name(report.slot),
        state: state(report.state),
        version: report.version.map(text).unwrap_or_default(),
        room: report.room,
    }
}

/// The word for a state.
const fn state(state: State) -> SlotState {
    match state {
        State { priority: 0, .. } => SlotState::Unused,
        State { priority: 1, successful: true, .. } => SlotState::Spare,
        State { successful: true, .. } => SlotState::Active,
        State { tries: 0, .. } => SlotState::InProgress,
        State { .. } => SlotState::Updating,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_their_words() {
        let table = [
            (State::ACTIVE, SlotState::Active),
            (State::SPARE, SlotState::Spare),
            (State::UNUSED, SlotState::Unused),
            (State::UPDATING, SlotState::Updating),
            (State { tries: 0, ..State::UPDATING }, SlotState::InProgress),
        ];
        for (given, expected) in table {
            assert_eq!(state(given), expected, "{given}");
        }
    }

    #[test]
    fn without_a_disk_everything_is_refused_but_the_status() {
        let Answer::Status(status) = answer_without_disk(&Request::Status) else { panic!("no status") };
        assert!(!status.open && status.reason == "there is no disk [E-STORAGE-002]");
        for request in [Request::Slots, Request::Verify, Request::Begin { length: 5000 }] {
            let answer = answer_without_disk(&request);
            assert!(matches!(answer, Answer::Refused { refusal: Refusal::NoDisk, .. }));
        }
    }
}
