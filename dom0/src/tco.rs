//! The hardware's watchdog: the TCO timer in the chipset.

use alloc::boxed::Box;

use board_support_drv::watchdog::{
    Watchdog,
    itco::{Itco, Place, Ports},
};
use board_support_hyp::Domctl;
use dom0_toolstack::pci::ConfigSpace;
use proto_xen::{DomId, Gfn, Maddr, Mfn, PAGE_SIZE, Sbdf};

use crate::{device::XEN, machine::Machine};

/// Where the bridge is that has it.
const LPC: Sbdf = Sbdf::new(0, 0x1f, 0);

/// Finds it.
pub(crate) fn find(machine: &'static Machine) -> Option<Box<dyn Watchdog>> {
    let place = Place::find(|offset| machine.read32(LPC, offset))?;
    // No BAR tells of the chipset's own registers, so they are not in dom0's map by themselves.
    let frame = place.gcs() / PAGE_SIZE as u64;
    if let Err(errno) = XEN.memory_mapping(DomId::DOM0, Gfn(frame), Mfn(frame), 1, true) {
        log::debug!(target: "dom0", "watchdog: registers of the chipset are not mapped: {errno}");
    }
    let gcs = machine.register(Maddr(place.gcs()))?;
    Some(Box::new(Itco::new(Ports::new(place, gcs))))
}
