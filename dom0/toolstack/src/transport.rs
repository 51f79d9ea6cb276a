//! Virtio transports in memory, for driver domains of machines without an IOMMU.
//!
//! ```text
//!   HeldTransport::take -(1)-> HeldTransport -(2)-> Lease and PoolLease -(3)..(5)-> HeldTransport -(2)-> …
//! ```
//!
//! 1. Once, for a transport of the table: what of dom0's memory is its pool, and whose hands reset it.
//! 2. [`HeldTransport::lend`]: the device is reset and the pool zeroed; the page of registers is permitted
//!    and mapped; every page of the pool is granted; the interrupt is bound.
//! 3. Dropping the [`Lease`], while the domain is paused and not destroyed: the device is reset, so that it
//!    reads and writes no memory any more.
//! 4. Dropping the [`PoolLease`], when the domain is destroyed and with it what it had mapped: the interrupt is
//!    taken back. While a peer still maps a page of the domain, Xen keeps what is left of it, and would keep the
//!    interrupt with it, which the next driver domain is to have.
//! 5. By the same: the grants end.
//!
//! The pages of the pool are dom0's throughout. Were they the driver domain's own, they would go back to
//! Xen, and from there to anybody, with its death, whatever its device is doing at the moment.

use core::fmt;

use board_support_hyp::{Access, GrantError};
use heapless::Vec;
use proto_manifest::{
    table::{Device, VirtioMmio},
    wiring::{DeviceGrant, DmaPool, MmioWindow},
};
use proto_xen::{DomId, Errno, Gfn, Gref, Maddr};

use crate::{hypervisor::Hypervisor, pci::DeviceStep, undo::undo};

/// What dom0 does to a transport and its pool by itself.
pub trait Hands: fmt::Debug {
    /// Resets the device: it touches no memory afterwards. `false` if it does not answer.
    fn reset(&self) -> bool;

    /// Writes zeros to the whole pool.
    fn clear_pool(&self);
}

/// Why a transport was not lent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportError {
    /// It was not held.
    NotFound {
        /// Its number.
        transport: u8,
    },
    /// The device does not come out of its reset.
    Reset {
        /// Its number.
        transport: u8,
    },
    /// dom0 has too few grant references in a row.
    References {
        /// How many are wanted.
        want: u16,
    },
    /// Its pool cannot be granted.
    Grant(GrantError),
    /// Xen refused a call.
    Xen {
        /// Its number.
        transport: u8,
        /// Which call.
        step: DeviceStep,
        /// What Xen said.
        errno: Errno,
    },
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { transport } => write!(f, "no virtio transport {transport} in this machine"),
            Self::Reset { transport } => write!(f, "virtio transport {transport}: the device does not reset"),
            Self::References { want } => write!(f, "dom0 has no {want} grant references in a row"),
            Self::Grant(error) => write!(f, "its pool: {error}"),
            Self::Xen { transport, step, errno } => {
                write!(f, "virtio transport {transport}: Xen refuses {step}: {errno}")
            }
        }
    }
}

impl core::error::Error for TransportError {}

/// A transport that dom0 may lend.
#[derive(Debug)]
pub struct HeldTransport<'h, H: Hypervisor> {
    hyp: &'h H,
    device: Device,
    mmio: VirtioMmio,
    pool: Gfn,
    hands: &'h dyn Hands,
}

/// A transport in a domain's hands. The device is reset when this is dropped.
#[derive(Debug)]
pub struct Lease<'h> {
    transport: u8,
    hands: &'h dyn Hands,
    grant: DeviceGrant,
}

/// The pool and the interrupt of a transport in a domain's hands. To be dropped when the domain is destroyed.
#[derive(Debug)]
pub struct PoolLease<'h, H: Hypervisor> {
    hyp: &'h H,
    domain: DomId,
    first: Gref,
    granted: u16,
    interrupt: u16,
}

impl<'h, H: Hypervisor> HeldTransport<'h, H> {
    /// Holds the transport of `device`, which `mmio` tells. `pool` is the first of as many frames of dom0
    /// in a row as `mmio` says, which nobody else uses.
    pub fn take(hyp: &'h H, device: &Device, mmio: VirtioMmio, pool: Gfn, hands: &'h dyn Hands) -> Self {
        Self { hyp, device: device.clone(), mmio, pool, hands }
    }

    /// The device's entry in the table.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Lends it to `domain`, which does not run yet.
    ///
    /// # Errors
    /// [`TransportError`]; the device is reset then, and nothing of the pool granted. What Xen has mapped
    /// ends with the domain.
    pub fn lend(&self, domain: DomId) -> Result<(Lease<'h>, PoolLease<'h, H>), TransportError> {
        let Self { hyp, mmio, hands, .. } = *self;
        let transport = mmio.transport;
        if !hands.reset() {
            return Err(TransportError::Reset { transport });
        }
        hands.clear_pool();
        let refused = |step| move |errno| TransportError::Xen { transport, step, errno };
        let page = Maddr(mmio.address()).frame();
        hyp.iomem_permission(domain, page, 1, true).map_err(refused(DeviceStep::Permit))?;
        // At the address that it has in the machine: there is nothing else of the domain.
        let at = Gfn(page.0);
        hyp.memory_mapping(domain, at, page, 1, true).map_err(refused(DeviceStep::MapRegisters))?;
        // Ahead of the interrupt, so that an end of the lease here finds none to take back.
        let pool = self.grant_pool(domain)?;
        hyp.bind_spi(domain, mmio.interrupt()).map_err(refused(DeviceStep::BindVector))?;
        let window =
            MmioWindow { gaddr: mmio.address(), len: VirtioMmio::REGISTERS_BYTES, bar: 0, offset: 0 };
        let grant = DeviceGrant {
            name: self.device.name.clone(),
            kind: self.device.kind,
            mmio: Vec::from_iter([window]),
            vectors: Vec::from_iter([mmio.interrupt()]),
            pool: Some(DmaPool { owner: DomId::DOM0.0, first_gref: pool.first.0, pages: mmio.pool_pages }),
        };
        Ok((Lease { transport, hands, grant }, pool))
    }

    fn grant_pool(&self, domain: DomId) -> Result<PoolLease<'h, H>, TransportError> {
        let want = self.mmio.pool_pages;
        let first = self.hyp.allocate().map_err(TransportError::Grant)?;
        // From here on, a return drops the lease, which frees the references.
        let mut lease =
            PoolLease { hyp: self.hyp, domain, first, granted: 1, interrupt: self.mmio.interrupt() };
        while lease.granted < want {
            let next = self.hyp.allocate().map_err(TransportError::Grant)?;
            if next.0 != first.0 + u32::from(lease.granted) {
                // Granted to nobody yet.
                let _ = self.hyp.end(next);
                return Err(TransportError::References { want });
            }
            lease.granted += 1;
        }
        for page in 0..want {
            let reference = Gref(first.0 + u32::from(page));
            let frame = self.pool.plus(page.into());
            self.hyp.offer(reference, domain, frame, Access::ReadWrite).map_err(TransportError::Grant)?;
        }
        Ok(lease)
    }
}

impl Lease<'_> {
    /// What the domain is told.
    pub fn grant(&self) -> &DeviceGrant {
        &self.grant
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if !self.hands.reset() {
            log::error!(
                "virtio transport {}: the device does not reset [{}]",
                self.transport,
                proto_errors::build::NOT_UNDONE
            );
        }
    }
}

impl<H: Hypervisor> Drop for PoolLease<'_, H> {
    fn drop(&mut self) {
        let &mut Self { hyp, domain, interrupt, .. } = self;
        undo(format_args!("{domain}: its device's interrupt {interrupt} is still bound"), || {
            match hyp.unbind_spi(domain, interrupt) {
                // It went with the domain, or was never bound.
                Err(Errno::ESRCH | Errno::EINVAL) => Ok(()),
                done => done,
            }
        });
        let mut left = 0;
        for page in 0..self.granted {
            if self.hyp.end(Gref(self.first.0 + u32::from(page))).is_err() {
                left += 1;
            }
        }
        if left > 0 {
            log::error!(
                "{}: {left} pages of its device's pool are still mapped [{}]",
                self.domain,
                proto_errors::build::NOT_UNDONE
            );
        }
    }
}
