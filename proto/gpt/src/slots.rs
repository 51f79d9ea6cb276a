//! The two slots of the system, and which one is started.
//!
//! A slot's state is in the attributes of its partition, in the bits that ChromeOS and EVE use: 48 to 51 the
//! priority, 52 to 55 the tries that are left, 56 whether it has proven itself.
//!
//! | state | priority, tries, successful | what it means |
//! |---|---|---|
//! | active | 2, 0, 1 | has proven itself, and is what is started |
//! | spare | 1, 0, 1 | has proven itself, and is started when the other one cannot be |
//! | updating | 3, 1, 0 | was written and is to be tried |
//! | in progress | 3, 0, 0 | is being tried, or has failed |
//! | unused | 0, 0, 0 | holds nothing that may be started |
//!
//! The rule is that of EVE's boot loader: of the slots that have proven themselves or have tries left, the
//! one with the highest priority; a try is taken off before it is started. So a new version is started once,
//! and unless it is committed the next start is one of the other slot. Priority 0 is never started. *Spare*
//! is ours: EVE calls the slot that an update has replaced unused and would not start it; here it remains
//! what is left when the disk loses the other one.
//!
//! Source: EVE, `docs/BOOTING.md`, `pkg/gpt-tools/files/zboot`; ChromiumOS, `disk format`, "Selecting the kernel".

use core::fmt;

use gpt_disk_types::{Guid, guid};

use crate::partition::Partition;
use crate::table::Table;

/// Type of a slot's partition.
pub const SLOT: Guid = guid!("6a1c5f0e-93b2-4f57-9d41-2e77c0a851d3");

/// One of the two slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot {
    /// The first.
    A,
    /// The second.
    B,
}

impl Slot {
    /// Both.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// Name of its partition.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::A => "slot-a",
            Self::B => "slot-b",
        }
    }

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::A => 0,
            Self::B => 1,
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "slot A",
            Self::B => "slot B",
        })
    }
}

/// State of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// The higher one is started first; 0 is never started. At most 15.
    pub priority: u8,
    /// How often it may still be started without having proven itself. At most 15.
    pub tries: u8,
    /// It has proven itself.
    pub successful: bool,
}

const PRIORITY: u32 = 48;
const TRIES: u32 = 52;
const SUCCESSFUL: u64 = 1 << 56;
const NIBBLE: u64 = 0xf;

impl State {
    /// Has proven itself, and is what is started.
    pub const ACTIVE: Self = Self { priority: 2, tries: 0, successful: true };
    /// Has proven itself, and is started when the other one cannot be.
    pub const SPARE: Self = Self { priority: 1, tries: 0, successful: true };
    /// Was written and is to be tried.
    pub const UPDATING: Self = Self { priority: 3, tries: 1, successful: false };
    /// Holds nothing that may be started.
    pub const UNUSED: Self = Self { priority: 0, tries: 0, successful: false };

    /// The state in a partition's attributes.
    #[must_use]
    pub const fn of(attributes: u64) -> Self {
        Self {
            priority: (attributes >> PRIORITY & NIBBLE) as u8,
            tries: (attributes >> TRIES & NIBBLE) as u8,
            successful: attributes & SUCCESSFUL != 0,
        }
    }

    /// Attributes with this state. Their other bits are kept.
    #[must_use]
    pub const fn put(self, attributes: u64) -> u64 {
        let others = attributes & !(NIBBLE << PRIORITY | NIBBLE << TRIES | SUCCESSFUL);
        let successful = if self.successful { SUCCESSFUL } else { 0 };
        others
            | (self.priority as u64 & NIBBLE) << PRIORITY
            | (self.tries as u64 & NIBBLE) << TRIES
            | successful
    }

    /// Whether the slot may be started.
    #[must_use]
    pub const fn is_startable(self) -> bool {
        self.priority > 0 && (self.successful || self.tries > 0)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { priority, tries, .. } = self;
        let proven = if self.successful { "proven" } else { "not proven" };
        write!(f, "priority {priority}, tries {tries}, {proven}")
    }
}

/// Why the slots of a table are not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotsError {
    /// There is none.
    None,
    /// Two partitions claim to be the same slot.
    Twice(Slot),
}

impl fmt::Display for SlotsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("the partition table has no slot"),
            Self::Twice(slot) => write!(f, "the partition table has {slot} twice"),
        }
    }
}

impl core::error::Error for SlotsError {}

/// A new version is not armed while nothing is there to fall back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArmError {
    /// The table has no such slot.
    Missing(Slot),
    /// The other slot has not proven itself.
    NoFallback,
}

impl fmt::Display for ArmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(slot) => write!(f, "the partition table has no {slot}"),
            Self::NoFallback => f.write_str("the other slot has not proven itself: nothing to fall back to"),
        }
    }
}

impl core::error::Error for ArmError {}

/// Why a slot was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It has the highest priority and has proven itself.
    Proven,
    /// It is tried.
    Trial,
    /// The other one has a higher priority, did not prove itself, and has no tries left.
    Exhausted,
    /// The other one was refused in this very start.
    Refused,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Proven => "it has proven itself",
            Self::Trial => "it is tried",
            Self::Exhausted => "the other one was tried in vain",
            Self::Refused => "the other one could not be started",
        })
    }
}

/// The slot to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Which.
    pub slot: Slot,
    /// Why.
    pub reason: Reason,
}

/// The slots of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slots {
    partitions: [Option<Partition>; 2],
    states: [State; 2],
}

impl Slots {
    /// Finds them by type and name.
    ///
    /// # Errors
    /// When there is none, or one of them twice. One that is missing is never started.
    pub fn find(table: &Table) -> Result<Self, SlotsError> {
        let mut slots = Self { partitions: [None; 2], states: [State::UNUSED; 2] };
        for (slot, (place, state)) in
            Slot::ALL.into_iter().zip(slots.partitions.iter_mut().zip(&mut slots.states))
        {
            let is = |partition: &Partition| partition.kind() == SLOT && partition.is_named(slot.name());
            let mut found = table.partitions().filter(is);
            *place = found.next();
            if found.next().is_some() {
                return Err(SlotsError::Twice(slot));
            }
            *state = place.map_or(State::UNUSED, |partition| State::of(partition.attributes()));
        }
        if slots.partitions == [None, None] { Err(SlotsError::None) } else { Ok(slots) }
    }

    /// The partition of a slot.
    #[must_use]
    pub const fn partition(&self, slot: Slot) -> Option<&Partition> {
        let [a, b] = &self.partitions;
        match slot {
            Slot::A => a.as_ref(),
            Slot::B => b.as_ref(),
        }
    }

    /// The state of a slot; unused if it is not there.
    #[must_use]
    pub const fn state(&self, slot: Slot) -> State {
        let [a, b] = self.states;
        match slot {
            Slot::A => a,
            Slot::B => b,
        }
    }

    fn set(&mut self, slot: Slot, state: State) {
        if let Some(place) = self.states.get_mut(slot.index()) {
            *place = state;
        }
    }

    /// The slot to start, of those that were not refused since power-on.
    #[must_use]
    pub fn choose(&self, refused: &[Slot]) -> Option<Choice> {
        let startable = |slot: &Slot| self.state(*slot).is_startable() && !refused.contains(slot);
        // Of equal priorities the first slot counts.
        let [a, b] = Slot::ALL.map(|slot| Some(slot).filter(startable));
        let slot = match (a, b) {
            (Some(a), Some(b)) if self.state(b).priority > self.state(a).priority => b,
            (Some(a), _) => a,
            (None, b) => b?,
        };
        let (state, other) = (self.state(slot), self.state(slot.other()));
        let reason = if refused.contains(&slot.other()) {
            Reason::Refused
        } else if !state.successful {
            Reason::Trial
        } else if other.priority > state.priority && !other.is_startable() {
            Reason::Exhausted
        } else {
            Reason::Proven
        };
        Some(Choice { slot, reason })
    }

    /// Takes off a try, if the slot has one. To be stored before the slot is started.
    pub fn take_try(&mut self, slot: Slot) {
        let state = self.state(slot);
        self.set(slot, State { tries: state.tries.saturating_sub(1), ..state });
    }

    /// The slot is the one that runs, and has proven itself. The other one is kept as a spare if it did, too.
    pub fn commit(&mut self, slot: Slot) {
        let other = self.state(slot.other());
        self.set(slot, State::ACTIVE);
        let other = if other.successful && other.priority > 0 { State::SPARE } else { State::UNUSED };
        self.set(slot.other(), other);
    }

    /// Has a slot tried at the next start. To be asked for when what was written to it has been verified.
    ///
    /// # Errors
    /// When there is no such slot, or the other one is none to fall back to.
    pub fn arm(&mut self, slot: Slot) -> Result<(), ArmError> {
        if self.partition(slot).is_none() {
            return Err(ArmError::Missing(slot));
        }
        let other = self.state(slot.other());
        if !other.successful || other.priority == 0 {
            return Err(ArmError::NoFallback);
        }
        self.set(slot, State::UPDATING);
        self.set(slot.other(), State::ACTIVE);
        Ok(())
    }

    /// The slot is not to be started any more; to be stored before anything is written to it.
    pub fn give_up(&mut self, slot: Slot) {
        self.set(slot, State::UNUSED);
    }

    /// Puts the states into the table that the slots were found in. What has to be written then is
    /// [`Table::store`]; `false` means nothing, for it says so already.
    pub fn put(&self, table: &mut Table) -> bool {
        let mut changed = false;
        for (partition, state) in self.partitions.iter().zip(self.states) {
            let Some(partition) = partition else { continue };
            if State::of(partition.attributes()) != state {
                table.set_attributes(partition, state.put(partition.attributes()));
                changed = true;
            }
        }
        changed
    }
}
