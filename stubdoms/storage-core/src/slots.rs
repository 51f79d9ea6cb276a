//! The two slots: what control may do with the one that does not run.
//!
//! ```text
//!   other slot:  any --Begin--> unused, filling --last Write--> filled --Verify--> verified --Arm--> updating
//!                     (1)                 (2)                       (3)               (4)
//! ```
//!
//! 1. Its state becomes *unused* on the disk before its header is wiped, and that is done before anything else
//!    is written: a slot that is half-filled is neither chosen nor valid.
//! 2. Pieces come in order; the header is written last, after a flush.
//! 3. What was written is read back from the disk, and checked as the selector will: form, signature, machine,
//!    contents. It has to be of a later version than the one that runs.
//! 4. Only what was verified in this life and not written to since is armed.
//!
//! The states are those of EVE, and their changes go through [`proto_gpt`]: the second copy of the table first,
//! a flush, then the first. When the disk refused in between, the copy that was being written is written again from
//! the other one before anything else: what was changed and acknowledged stands in two copies.
//!
//! The [selector] is replaced by what came with a slot: nothing else is written to its partitions.
//!
//! The slot that is not the other one cannot be written by any request: nothing here writes to a slot but
//! [`other::OtherSlot`], and no value of that type is of the slot that runs.
//!
//! Going back is for what proved itself on this machine, or was newer than what ran when it was armed:
//! [`Change::TryOther`] takes a slot whose state says so. A slot that is unused may hold whatever control has
//! written into it, which may be signed and old; it has to be filled anew, and then an older version is refused.
//!
//! Source: EVE device protocol, sections 8.2 to 8.4 and 8.7.

use alloc::boxed::Box;
use core::cmp::Ordering;
use core::fmt;

use board_support_drv::block::BlockDevice;
use proto_errors::{Code, Coded, storage as code};
use proto_gpt::slots::{self as gpt, Slot, State};
use proto_gpt::table::NoTable;
use proto_handoff::record::Version;
use proto_svc::storage::{Change, Selector};
use proto_update::manifest::{ALIGN, MAX_BYTES, SlotError};
use proto_update::selector::ReplaceError;
use proto_update::version::compare;

use crate::disk::{Disk, DiskError, Window};
use crate::partitions::{ChangeError, Doubt, Partitions};
use check::{header, verify};
use fill::Fill;
use other::OtherSlot;
use selector::Doubts;

pub use check::Trust;
pub use selector::Replaced;

mod check;
mod fill;
mod other;
mod selector;

/// Why something was not done with the slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotsError {
    /// The disk does not do what it is asked to.
    Disk(DiskError),
    /// There is no partition table.
    NoTable(NoTable),
    /// It has no slots.
    NoSlots(gpt::SlotsError),
    /// The partition table was not changed.
    Change(ChangeError),
    /// The machine was not started from a slot of this disk.
    NotRunning,
    /// The table, or a header, was not read yet.
    NotRead,
    /// The slot that runs has not proven itself: the other one is what there is to fall back to.
    UnderTest,
    /// The other slot is in a state for which this is not.
    State(State),
    /// The other slot was not filled to the end.
    Unfilled {
        /// Bytes that came.
        have: u64,
        /// Bytes of all.
        of: u64,
    },
    /// Nothing was begun.
    NotBegun,
    /// The other slot was not verified since it was written, or since storage was started.
    NotVerified,
    /// More bytes than the slot may have, or no more than a header's.
    Length {
        /// Bytes that are wanted.
        want: u64,
        /// Bytes that there is room for.
        room: u64,
    },
    /// Not the piece that was expected.
    Piece {
        /// Where it begins.
        offset: u64,
        /// Where the next one begins.
        expected: u64,
        /// Where the last one ends.
        length: u64,
    },
    /// What the slot holds is not to be started.
    Slot(SlotError),
    /// It is of no later version than the one that runs.
    Older {
        /// Its version.
        version: Version,
        /// The one that runs.
        running: Version,
    },
    /// The version that runs is not known: its header on the disk is not right any more.
    Unknown(SlotError),
    /// The disk has not two EFI system partitions: the selector cannot be replaced.
    Esps {
        /// How many it has.
        have: usize,
    },
    /// The slot brings no selector.
    NoSelector,
    /// The selector that the slot brings is too long, or there is no memory for it.
    SelectorBytes {
        /// Its bytes.
        bytes: u64,
    },
    /// The selector is not replaced.
    Replace(ReplaceError),
}

impl fmt::Display for SlotsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(why) => write!(f, "the disk fails: {why}"),
            Self::NoTable(why) => write!(f, "{why}"),
            Self::NoSlots(why) => write!(f, "{why}"),
            Self::Change(why) => write!(f, "{why}"),
            Self::NotRunning => f.write_str("the machine was not started from a slot of this disk"),
            Self::NotRead => f.write_str("it was not read yet"),
            Self::UnderTest => f.write_str("the slot that runs has not proven itself yet"),
            Self::State(state) => write!(f, "the other slot's state does not allow it: {state}"),
            Self::Unfilled { have, of } => write!(f, "the other slot has {have} bytes of {of}"),
            Self::NotBegun => f.write_str("no slot is being filled"),
            Self::NotVerified => f.write_str("the other slot was not verified since it was written"),
            Self::Length { want, room } => write!(f, "{want} bytes, and a slot has {ALIGN} to {room}"),
            Self::Piece { offset, expected, length } => {
                write!(f, "a piece at byte {offset}; the next one is at {expected} of {length}")
            }
            Self::Slot(why) => write!(f, "the other slot: {why}"),
            Self::Older { version, running } => {
                write!(f, "the other slot's version {version} is not later than {running}, which runs")
            }
            Self::Unknown(why) => write!(f, "the version that runs is not known: {why}"),
            Self::Esps { have } => write!(f, "the disk has {have} EFI system partitions, and not two"),
            Self::NoSelector => f.write_str("the slot brings no selector"),
            Self::SelectorBytes { bytes } => {
                write!(f, "the selector that the slot brings has {bytes} bytes, too many to be held")
            }
            Self::Replace(why) => write!(f, "the selector is not replaced: {why}"),
        }
    }
}

impl core::error::Error for SlotsError {}

impl Coded for SlotsError {
    fn code(&self) -> Code {
        match self {
            Self::Disk(_) => code::DISK,
            Self::NoTable(_) | Self::NoSlots(_) => code::TABLE,
            Self::Slot(_) | Self::Older { .. } => code::SLOT_REFUSED,
            Self::Change(_)
            | Self::NotRunning
            | Self::NotRead
            | Self::UnderTest
            | Self::State(_)
            | Self::Unfilled { .. }
            | Self::NotBegun
            | Self::NotVerified
            | Self::Length { .. }
            | Self::Piece { .. }
            | Self::Unknown(_) => code::SLOT_CHANGE,
            Self::Esps { .. } | Self::NoSelector | Self::SelectorBytes { .. } | Self::Replace(_) => {
                code::SELECTOR
            }
        }
    }
}

/// A slot, for those who ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which.
    pub slot: Slot,
    /// Its state.
    pub state: State,
    /// The version of a header that is signed.
    pub version: Option<Version>,
    /// Bytes that there is room for, header and contents.
    pub room: u64,
}

/// The slots of a disk.
#[derive(Debug)]
pub struct Slots {
    running: Option<Slot>,
    trust: Trust,
    /// The table; to be read anew when there is none.
    board: Option<Board>,
    fill: Option<Box<Fill>>,
    /// What the other slot holds was found right and not written to since.
    verified: Option<Version>,
    /// The copy of the table that was being written when the disk failed.
    doubt: Doubt,
    /// The partitions of selectors that may not be on the disk as they are read.
    selectors: Doubts,
}

/// The table, and what is in the slots.
#[derive(Debug)]
struct Board {
    partitions: Partitions,
    slots: gpt::Slots,
    versions: [Result<Version, SlotsError>; 2],
}

impl Board {
    async fn read<D: BlockDevice>(disk: &Disk<D>, doubt: &mut Doubt) -> Result<Self, SlotsError> {
        let partitions = Partitions::read(disk, doubt).await.map_err(SlotsError::NoTable)?;
        let slots = gpt::Slots::find(partitions.table()).map_err(SlotsError::NoSlots)?;
        Ok(Self { partitions, slots, versions: [Err(SlotsError::NotRead); 2] })
    }

    /// Reads the headers that were not read yet, or that the disk did not give.
    async fn read_versions<D: BlockDevice>(&mut self, disk: &Disk<D>, trust: &Trust) {
        for (slot, place) in Slot::ALL.into_iter().zip(&mut self.versions) {
            if let (Some(partition), Err(SlotsError::NotRead | SlotsError::Disk(_))) =
                (self.slots.partition(slot), &*place)
            {
                let found = header(disk, Window::of(partition), trust).await;
                *place = found.map(|header| header.version());
            }
        }
    }

    const fn version(&self, slot: Slot) -> Result<Version, SlotsError> {
        let [a, b] = self.versions;
        match slot {
            Slot::A => a,
            Slot::B => b,
        }
    }

    fn set_version(&mut self, slot: Slot, version: Result<Version, SlotsError>) {
        let [a, b] = &mut self.versions;
        *(match slot {
            Slot::A => a,
            Slot::B => b,
        }) = version;
    }
}

impl Slots {
    /// The slots of a disk, of which `running` is the one that the machine was started from. Nothing is read
    /// yet; of a table that was read before, `doubt` is the copy that was not written.
    pub(crate) const fn new(running: Option<Slot>, trust: Trust, doubt: Doubt) -> Self {
        let selectors = Doubts::BOTH;
        Self { running, trust, board: None, fill: None, verified: None, doubt, selectors }
    }

    /// The copy of the table that is in doubt, for who reads the table as well.
    pub(crate) const fn doubt_mut(&mut self) -> &mut Doubt {
        &mut self.doubt
    }

    /// The slot that runs.
    #[must_use]
    pub const fn running(&self) -> Option<Slot> {
        self.running
    }

    /// Reads the table, if it was not read yet, or a change of it was not finished.
    async fn board<D: BlockDevice>(&mut self, disk: &Disk<D>) -> Result<&mut Board, SlotsError> {
        if self.doubt.is_some() {
            self.board = None;
        }
        if self.board.is_none() {
            self.board = Some(Board::read(disk, &mut self.doubt).await?);
        }
        // It was put there above.
        let board = self.board.as_mut().ok_or(SlotsError::NotRead)?;
        board.read_versions(disk, &self.trust).await;
        Ok(board)
    }

    /// Both slots.
    ///
    /// # Errors
    /// When there is no table, or it has no slots.
    pub async fn report<D: BlockDevice>(&mut self, disk: &Disk<D>) -> Result<[Report; 2], SlotsError> {
        let board = self.board(disk).await?;
        Ok(Slot::ALL.map(|slot| {
            let room = board
                .slots
                .partition(slot)
                .map_or(0, |partition| limit(Window::of(partition).bytes(disk.block_bytes())));
            Report { slot, state: board.slots.state(slot), version: board.version(slot).ok(), room }
        }))
    }

    /// The other slot than the one that runs.
    async fn other<D: BlockDevice>(&mut self, disk: &Disk<D>) -> Result<OtherSlot, SlotsError> {
        let running = self.running.ok_or(SlotsError::NotRunning)?;
        let board = self.board(disk).await?;
        OtherSlot::than(running, &board.slots).ok_or(SlotsError::NotRunning)
    }

    /// The other slot, if the one that runs is there to fall back to.
    async fn other_of_proven<D: BlockDevice>(&mut self, disk: &Disk<D>) -> Result<OtherSlot, SlotsError> {
        let other = self.other(disk).await?;
        let running = self.board(disk).await?.slots.state(other.slot().other());
        let proven = running.successful && running.priority > 0;
        if proven { Ok(other) } else { Err(SlotsError::UnderTest) }
    }

    /// Empties the slot that does not run, for `length` bytes of header and contents.
    ///
    /// # Errors
    /// [`SlotsError`].
    pub async fn begin<D: BlockDevice>(&mut self, disk: &Disk<D>, length: u64) -> Result<(), SlotsError> {
        let other = self.other_of_proven(disk).await?;
        let room = limit(other.room(disk));
        if length > room || length <= ALIGN as u64 {
            return Err(SlotsError::Length { want: length, room });
        }
        // From here on there is nothing in the slot that counts, whatever becomes of this.
        self.fill = None;
        self.verified = None;
        self.change(disk, |slots| {
            slots.give_up(other.slot());
            Ok(())
        })
        .await?;
        if let Some(board) = &mut self.board {
            board.set_version(other.slot(), Err(SlotsError::NotBegun));
        }
        self.fill = Some(Fill::begin(disk, other, length).await?);
        Ok(())
    }

    /// Takes the next piece of the slot.
    ///
    /// # Errors
    /// [`SlotsError::Piece`], after which the right piece is still taken. After an error of the disk the slot
    /// begins anew.
    pub async fn write<D: BlockDevice>(
        &mut self,
        disk: &Disk<D>,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), SlotsError> {
        self.verified = None;
        // Not back in its place before the piece is on the disk, should this future be dropped.
        let mut fill = self.fill.take().ok_or(SlotsError::NotBegun)?;
        match fill.write(disk, offset, bytes).await {
            Ok(true) => {
                if let (Some(board), Some(running)) = (&mut self.board, self.running) {
                    board.set_version(running.other(), Err(SlotsError::NotRead));
                }
                Ok(())
            }
            Ok(false) => {
                self.fill = Some(fill);
                Ok(())
            }
            Err(why @ SlotsError::Piece { .. }) => {
                self.fill = Some(fill);
                Err(why)
            }
            Err(why) => Err(why),
        }
    }

    /// Reads the other slot from the disk and checks it, for [`Change::Arm`].
    ///
    /// # Errors
    /// [`SlotsError`].
    pub async fn verify<D: BlockDevice>(&mut self, disk: &Disk<D>) -> Result<Version, SlotsError> {
        self.verified = None;
        let other = self.other(disk).await?;
        if let Some(fill) = &self.fill {
            let (have, of) = fill.progress();
            return Err(SlotsError::Unfilled { have, of });
        }
        let version = verify(disk, other.window(), &self.trust).await?.version();
        let running = match self.board(disk).await?.version(other.slot().other()) {
            Ok(version) => version,
            Err(SlotsError::Slot(why)) => return Err(SlotsError::Unknown(why)),
            Err(why) => return Err(why),
        };
        if compare(version.as_str(), running.as_str()) != Ordering::Greater {
            return Err(SlotsError::Older { version, running });
        }
        self.verified = Some(version);
        Ok(version)
    }

    /// Carries out a change of the slots' states. One that was made already is not made again: who asks may not
    /// have heard the answer.
    ///
    /// # Errors
    /// [`SlotsError`].
    pub async fn ask<D: BlockDevice>(&mut self, disk: &Disk<D>, change: Change) -> Result<(), SlotsError> {
        let other = self.other(disk).await?;
        self.be_certain(disk).await?;
        let slots = &self.board(disk).await?.slots;
        let (running, state) = (other.slot().other(), slots.state(other.slot()));
        match change {
            Change::Commit if slots.state(running).successful => Ok(()),
            Change::Commit => {
                self.change(disk, |slots| {
                    slots.commit(running);
                    Ok(())
                })
                .await
            }
            Change::Arm | Change::TryOther if state == State::UPDATING => Ok(()),
            Change::Arm => {
                let other = self.other_of_proven(disk).await?;
                self.verified.ok_or(SlotsError::NotVerified)?;
                self.arm(disk, other).await
            }
            Change::TryOther => {
                let other = self.other_of_proven(disk).await?;
                if state.priority == 0 {
                    return Err(SlotsError::State(state));
                }
                verify(disk, other.window(), &self.trust).await?;
                self.arm(disk, other).await
            }
            Change::Abandon => {
                let other = self.other_of_proven(disk).await?;
                self.change(disk, |slots| {
                    slots.give_up(other.slot());
                    Ok(())
                })
                .await
            }
        }
    }

    /// Fails if what the table says now may not be there for long.
    async fn be_certain<D: BlockDevice>(&mut self, disk: &Disk<D>) -> Result<(), SlotsError> {
        if self.doubt.is_some() {
            let (_, repaired) = self.board(disk).await?.partitions.found();
            repaired.map_err(|why| SlotsError::Change(ChangeError::NotRepaired(why)))?;
        }
        Ok(())
    }

    async fn arm<D: BlockDevice>(&mut self, disk: &Disk<D>, other: OtherSlot) -> Result<(), SlotsError> {
        // Both slots are there, and the one that runs has proven itself.
        self.change(disk, |slots| slots.arm(other.slot()).map_err(|_| SlotsError::UnderTest)).await
    }

    /// Replaces a selector by that of the slot that it is for. One that is there already is not written again.
    ///
    /// # Errors
    /// [`SlotsError`]. What was begun is begun anew by the next request.
    pub async fn replace_selector<D: BlockDevice>(
        &mut self,
        disk: &Disk<D>,
        which: Selector,
    ) -> Result<Replaced, SlotsError> {
        let other = match which {
            Selector::First | Selector::SecondBack => self.other(disk).await?,
            Selector::Second => self.other_of_proven(disk).await?,
        };
        self.be_certain(disk).await?;
        let Board { partitions, slots, .. } = self.board(disk).await?;
        let running = other.slot().other();
        let State { successful, priority, .. } = slots.state(running);
        let runs = slots.partition(running).map(Window::of).ok_or(SlotsError::NotRunning)?;
        let esps = selector::esps(partitions.table())?;
        // From which slot it is, and beside which one it may stand.
        let (from, beside) = match which {
            Selector::First | Selector::SecondBack if !successful || priority == 0 => {
                return Err(SlotsError::UnderTest);
            }
            Selector::First | Selector::SecondBack => (runs, other.window()),
            Selector::Second if self.verified.is_none() => return Err(SlotsError::NotVerified),
            Selector::Second => (other.window(), runs),
        };
        let (version, image) = selector::image(disk, from, &self.trust).await?;
        if which == Selector::Second && self.verified != Some(version) {
            // The disk gave another header than when it was verified.
            return Err(SlotsError::NotVerified);
        }
        selector::replace(disk, &esps, which, &image, (beside, &self.trust), &mut self.selectors).await
    }

    /// Changes the states, on the disk.
    async fn change<D: BlockDevice>(
        &mut self,
        disk: &Disk<D>,
        change: impl FnOnce(&mut gpt::Slots) -> Result<(), SlotsError>,
    ) -> Result<(), SlotsError> {
        let board = self.board(disk).await?;
        let mut slots = board.slots.clone();
        change(&mut slots)?;
        if Slot::ALL.iter().all(|slot| slots.state(*slot) == board.slots.state(*slot)) {
            return Ok(());
        }
        // Until the change is on the disk nobody knows what the disk says: it is read anew if this ends early.
        let Some(Board { partitions, versions, .. }) = self.board.take() else { return Ok(()) };
        let put = |table: &mut _| {
            slots.put(table);
        };
        let partitions = partitions.store(disk, &mut self.doubt, put).await.map_err(SlotsError::Change)?;
        let slots = gpt::Slots::find(partitions.table()).map_err(SlotsError::NoSlots)?;
        self.board = Some(Board { partitions, slots, versions });
        Ok(())
    }
}

/// Bytes of header and contents that fit into so many bytes of a partition.
fn limit(partition: u64) -> u64 {
    partition.min(MAX_BYTES + ALIGN as u64)
}
