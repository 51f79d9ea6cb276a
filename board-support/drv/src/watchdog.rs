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
