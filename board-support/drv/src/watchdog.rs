//! Hardware watchdogs: what resets the machine when nobody feeds it any more.
//!
//! | module | which |
//! |---|---|
//! | [`itco`] | the one in Intel's I/O controller hubs, as QEMU's q35 has it |
//! | [`i6300esb`] | a PCI function of its own, on any architecture |
//!
//! A watchdog is the last resort: it also covers Xen, and a dom0 that has halted.

pub mod i6300esb;
pub mod itco;

use core::{fmt, time::Duration};

/// Why a watchdog is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// [`itco`].
    Itco(itco::Unusable),
    /// [`i6300esb`].
    I6300esb(i6300esb::Disabled),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Itco(why) => write!(f, "iTCO: {why}"),
            Self::I6300esb(why) => write!(f, "i6300esb: {why}"),
        }
    }
}

/// What a life of the machine leaves for the next one, where the hardware keeps it through a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// It was in the midst of its work.
    Working,
    /// It ended by order.
    Ordered,
}

/// A note, and what came after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// The note; none if none was left since the power came.
    pub note: Option<Note>,
    /// Starts that were counted since.
    pub starts: u8,
}

impl Left {
    /// The most starts that a byte counts.
    const MAX_STARTS: u8 = 0x0f;

    /// As one byte, for that is all that a chipset keeps: the note above, the starts below.
    const fn byte(self) -> u8 {
        let note = match self.note {
            None => 0x00,
            Some(Note::Working) => 0x50,
            Some(Note::Ordered) => 0xa0,
        };
        note | if self.starts < Self::MAX_STARTS { self.starts } else { Self::MAX_STARTS }
    }

    /// From such a byte; what nobody of ours has written is no note.
    const fn of(byte: u8) -> Self {
        let note = match byte & 0xf0 {
            0x50 => Some(Note::Working),
            0xa0 => Some(Note::Ordered),
            _ => None,
        };
        Self { note, starts: byte & Self::MAX_STARTS }
    }

    /// With one start more.
    const fn and_a_start(self) -> Self {
        Self { note: self.note, starts: self.starts.saturating_add(1) }
    }
}

/// A watchdog, whichever it is.
pub trait Watchdog {
    /// Its name.
    fn name(&self) -> &'static str;

    /// Whether it was this watchdog that reset the machine last. To be asked before [`arm`](Self::arm), which
    /// clears it.
    fn read_evidence(&self) -> bool;

    /// Has the machine reset unless it is fed within `patience`, which is rounded up. Returns what it was rounded
    /// to.
    ///
    /// # Errors
    /// [`Unusable`].
    fn arm(&self, patience: Duration) -> Result<Duration, Unusable>;

    /// Gives it another patience.
    fn feed(&self);

    /// Stops it and clears what it says: ahead of an end of the machine that is wanted.
    fn halt(&self);

    /// Leaves a note for the next life, if it can keep one.
    fn leave(&self, _: Note) {}

    /// Counts a start in what is left, so that a note of long ago does not pass for the reason of this one.
    fn count_start(&self) {}

    /// What the life before has left; none if it cannot keep anything.
    fn left(&self) -> Option<Left> {
        None
    }
}

impl<R: itco::Registers> Watchdog for itco::Itco<R> {
    fn name(&self) -> &'static str {
        "iTCO"
    }

    fn read_evidence(&self) -> bool {
        self.read_evidence()
    }

    fn arm(&self, patience: Duration) -> Result<Duration, Unusable> {
        self.arm(patience).map_err(Unusable::Itco)
    }

    fn feed(&self) {
        self.feed();
    }

    fn halt(&self) {
        self.halt();
    }

    fn leave(&self, note: Note) {
        self.leave(Left { note: Some(note), starts: 0 }.byte());
    }

    fn count_start(&self) {
        self.leave(Left::of(self.left()).and_a_start().byte());
    }

    fn left(&self) -> Option<Left> {
        // Registers that are not there read as ones.
        Some(self.left()).filter(|&byte| byte != u8::MAX).map(Left::of)
    }
}

impl<R: i6300esb::Registers> Watchdog for i6300esb::I6300esb<R> {
    fn name(&self) -> &'static str {
        "i6300esb"
    }

    fn read_evidence(&self) -> bool {
        self.read_evidence()
    }

    fn arm(&self, patience: Duration) -> Result<Duration, Unusable> {
        self.arm(patience).map_err(Unusable::I6300esb)
    }

    fn feed(&self) {
        self.feed();
    }

    fn halt(&self) {
        self.halt();
    }
}
