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

impl Note {
    const fn number(self) -> u8 {
        match self {
            Self::Working => b'W',
            Self::Ordered => b'O',
        }
    }

    fn of(number: u8) -> Option<Self> {
        [Self::Working, Self::Ordered].into_iter().find(|note| note.number() == number)
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

    /// The note of the life before, if there is one.
    fn left(&self) -> Option<Note> {
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
        self.leave(note.number());
    }

    fn left(&self) -> Option<Note> {
        Note::of(self.left())
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
