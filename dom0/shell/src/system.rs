//! What dom0's shells stand on.

use alloc::string::String;

use board_support_hyp::{Console, Runtime, Spawn};
use dom0_toolstack::pci::ConfigSpace;
use proto_ring::Words;
use proto_xen::sched::ShutdownReason;

/// All of Xen that dom0's shells ask for, as one bound.
pub trait Hypervisor: dom0_toolstack::Hypervisor + Console + Clone + 'static {}

impl<T: dom0_toolstack::Hypervisor + Console + Clone + 'static> Hypervisor for T {}

/// What dom0's shells stand on: on the device the real things, on the host others.
pub trait System: 'static {
    /// Xen.
    type Xen: Hypervisor;
    /// Events, time, dom0's own log.
    type Runtime: Runtime;
    /// Starts tasks of dom0.
    type Spawner: Spawn;
    /// Configuration space and registers of PCI functions.
    type Machine: ConfigSpace + 'static;
    /// What resets the machine unless it is fed.
    type Watchdogs: Watchdogs;

    /// Whether a service has its lines on Xen's console before somebody forwards them.
    const STARTS_HEARD: bool;

    /// The last words in a page, if there are any.
    fn last_words(page: &Words) -> Option<String>;

    /// Ends the machine. It returns only where others are in the same process; dom0 does nothing more then.
    fn shutdown(hyp: &Self::Xen, reason: ShutdownReason);
}

/// What resets the machine unless it is fed.
pub trait Watchdogs {
    /// Whether the hardware has one that is armed.
    fn has_hardware(&self) -> bool;

    /// Gives them another patience.
    fn feed(&self);

    /// Stops them, ahead of an end of the machine that is wanted, and leaves `why` to the next life where there is a place.
    fn halt(&self, why: &[u8]);
}
