//! Interrupts of physical devices.

use proto_xen::{
    DomId, Errno, Pirq, Sbdf,
    hypercall::Hypercall,
    physdev::{MAP_PIRQ_TYPE_MSI, MapPirq, UnmapPirq, op},
};

use crate::{Xen, call};

/// Interrupts of physical devices, for dom0.
pub trait Physdev {
    /// Maps entry `entry` of the MSI-X table of `device`, whose table lies in the BAR at machine
    /// address `table_base`, to a pirq of `domain`.
    ///
    /// # Errors
    /// What Xen says: `ENODATA` if dom0 holds no entry of the device, `ENODEV` if it is in
    /// quarantine.
    fn map_msix(&self, domain: DomId, device: Sbdf, entry: u16, table_base: u64) -> Result<Pirq, Errno>;

    /// Takes a pirq of `domain` back.
    ///
    /// # Errors
    /// What Xen says.
    fn unmap_pirq(&self, domain: DomId, pirq: Pirq) -> Result<(), Errno>;
}

impl Physdev for Xen {
    fn map_msix(&self, domain: DomId, device: Sbdf, entry: u16, table_base: u64) -> Result<Pirq, Errno> {
        let mut argument = MapPirq {
            domid: domain.0,
            padding: 0,
            kind: MAP_PIRQ_TYPE_MSI,
            index: -1,
            pirq: -1,
            bus: (device.0 >> 16 << 16) as i32 | i32::from(device.bus()),
            devfn: device.devfn().into(),
            entry_nr: entry.into(),
            padding2: 0,
            table_base,
        };
        // SAFETY: the operation takes a `MapPirq` and touches no other memory.
        unsafe { call::with(Hypercall::PhysdevOp, op::MAP_PIRQ, &mut argument) }?;
        u32::try_from(argument.pirq).map(Pirq).map_err(|_| Errno::EINVAL)
    }

    fn unmap_pirq(&self, domain: DomId, pirq: Pirq) -> Result<(), Errno> {
        let mut argument = UnmapPirq { domid: domain.0, padding: 0, pirq: pirq.0 as i32 };
        // SAFETY: the operation takes an `UnmapPirq` and touches no other memory.
        unsafe { call::with(Hypercall::PhysdevOp, op::UNMAP_PIRQ, &mut argument) }.map(drop)
    }
}
