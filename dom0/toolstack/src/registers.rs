//! Pages of registers that no bus tells of, such as a TPM's: handing one to a domain, and taking it back.
//!
//! The device does no DMA and has no interrupt, so the page is all there is to hand over. dom0 keeps its own right to
//! the page throughout: Xen lets a domain hand on only what it has itself, and a right that dom0 has given up does not
//! come back before the machine is started anew.

use core::fmt;

use heapless::Vec;
use proto_manifest::{
    table::{Device, DeviceKind, Registers},
    wiring::{DeviceGrant, MmioWindow},
};
use proto_xen::{DomId, Errno, Gfn, Maddr};

use crate::{build::Platform, hypervisor::Hypervisor, pci::DeviceStep, undo::undo};

/// Why a page was not handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegistersError {
    /// The machine does not have it.
    NotFound {
        /// Its address.
        address: u64,
    },
    /// Xen refused a call.
    Xen {
        /// Its address.
        address: u64,
        /// Which call.
        step: DeviceStep,
        /// What Xen said.
        errno: Errno,
    },
}

impl fmt::Display for RegistersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { address } => {
                write!(f, "no device with registers at {address:#x} in this machine")
            }
            Self::Xen { address, step, errno } => {
                write!(f, "registers at {address:#x}: Xen refuses {step}: {errno}")
            }
        }
    }
}

impl core::error::Error for RegistersError {}

/// A page that dom0 may hand out: the machine has it.
#[derive(Debug)]
pub struct HeldPage<'h, H: Hypervisor> {
    hyp: &'h H,
    device: Device,
    page: Maddr,
}

/// A page in a domain's hands. Taken back when this is dropped, while the domain is paused.
#[derive(Debug)]
pub struct PageLease<'h, H: Hypervisor> {
    hyp: &'h H,
    domain: DomId,
    page: Maddr,
    /// Where it is mapped, once it is.
    at: Option<Gfn>,
    grant: DeviceGrant,
}

impl<'h, H: Hypervisor> HeldPage<'h, H> {
    /// Holds the page of `device`, which `registers` tells. `kind` is the interface that the firmware names.
    pub fn take(hyp: &'h H, device: &Device, registers: Registers, kind: DeviceKind) -> Self {
        let device = Device { kind, ..device.clone() };
        Self { hyp, device, page: Maddr(registers.address) }
    }

    /// The device's entry in the table, with the interface that it has.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Hands it to `domain`, which does not run yet, as its page number `place` of this sort.
    ///
    /// # Errors
    /// [`RegistersError`]; what was done is undone then.
    pub fn lend(
        &self,
        domain: DomId,
        platform: Platform,
        place: usize,
    ) -> Result<PageLease<'h, H>, RegistersError> {
        let Self { hyp, page, .. } = *self;
        let refused = |step| move |errno| RegistersError::Xen { address: page.0, step, errno };
        let at = platform.registers().plus(place as u64);
        hyp.iomem_permission(domain, page.frame(), 1, true).map_err(refused(DeviceStep::Permit))?;
        let window = MmioWindow { gaddr: at.base().0, len: Registers::BYTES, bar: 0, offset: 0 };
        let grant = DeviceGrant {
            name: self.device.name.clone(),
            kind: self.device.kind,
            mmio: Vec::from_iter([window]),
            vectors: Vec::new(),
            pool: None,
        };
        // From here on, a return drops the lease, which takes the permission back.
        let mut lease = PageLease { hyp, domain, page, at: None, grant };
        hyp.memory_mapping(domain, at, page.frame(), 1, true).map_err(refused(DeviceStep::MapRegisters))?;
        lease.at = Some(at);
        Ok(lease)
    }
}

impl<H: Hypervisor> PageLease<'_, H> {
    /// What the domain is told.
    pub fn grant(&self) -> &DeviceGrant {
        &self.grant
    }
}

impl<H: Hypervisor> Drop for PageLease<'_, H> {
    fn drop(&mut self) {
        let Self { hyp, domain, page, at, .. } = *self;
        let (address, frame) = (page.0, page.frame());
        if let Some(at) = at {
            undo(format_args!("registers at {address:#x} of {domain}: not unmapped"), || {
                hyp.memory_mapping(domain, at, frame, 1, false)
            });
        }
        // The domain's right, not dom0's.
        undo(format_args!("registers at {address:#x} of {domain}: not taken back"), || {
            hyp.iomem_permission(domain, frame, 1, false)
        });
    }
}
