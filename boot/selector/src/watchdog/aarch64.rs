//! What a machine with a device tree has: no watchdog in a chipset, but PCI perhaps.

use super::Found;
use crate::chain;

/// There is none that is known.
pub(super) fn chipset() -> Option<Found> {
    None
}

/// Where configuration space of the first bus is mapped.
pub(super) fn configuration_space() -> Option<u64> {
    chain::configuration_space()
}
