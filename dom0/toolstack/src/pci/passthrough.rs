//! Handing a function to a domain and taking it back.
//!
//! ```text
//!   Held::take -(1)-> Held -(2)-> Passthrough -(3)-> Held, in quarantine -(2)-> …
//! ```
//!
//! 1. *The hold.* dom0 maps one MSI-X entry of the function to itself and keeps it for ever. Without
//!    it Xen refuses to map vectors for another domain. The entry is never bound.
//! 2. [`Held::assign`]: reset, with memory decode on afterwards; `assign_device`; each BAR permitted and mapped,
//!    without the MSI-X table; each vector mapped, then bound unmasked; MSI-X Enable, which Xen does
//!    not set; bus mastering last, when the IOMMU already translates for the new owner.
//! 3. Dropping the [`Passthrough`]: bus mastering and Enable off, with memory decode **on**; each
//!    vector unbound and unmapped; `deassign_device`. The domain is destroyed after that. Without
//!    the unmapping, the dead domain's late clean-up masks entries that the next owner uses, and no
//!    call says so; with memory decode off, the whole table stays masked.

use heapless::Vec;
use proto_manifest::{
    table::{Device, DeviceKind, Pci},
    wiring::{DeviceGrant, MmioWindow},
};
use proto_xen::{DomId, Errno, PAGE_SHIFT, Pirq};

use super::{
    ConfigSpace, DeviceStep, Function, Msix, PciError, find,
    function::{Places, Window, command, msix_control},
    reset::{Saved, reset, set_command},
};
use crate::{hypervisor::Hypervisor, undo::undo};

/// A function that dom0 may hand out: found, looked at, and held.
#[derive(Debug)]
pub struct Held<'h, H: Hypervisor, C: ConfigSpace> {
    hyp: &'h H,
    config: &'h C,
    device: Device,
    pci: Pci,
    function: Function,
    saved: Saved,
    msix: Msix,
    table_base: u64,
}

impl<'h, H: Hypervisor, C: ConfigSpace> Held<'h, H, C> {
    /// Finds the function that `device` means by `pci`, checks that it has what the table wants, and takes
    /// the hold. Once in dom0's life for each device.
    ///
    /// # Errors
    /// [`PciError`]: no such function, too few vectors, a BAR that is not there or that no domain can have, or
    /// what Xen says.
    pub fn take(hyp: &'h H, config: &'h C, device: &Device, pci: &Pci) -> Result<Self, PciError> {
        let select = &pci.select;
        let missing = PciError::NotFound { vendor: select.vendor, device: select.device };
        let at = find(config, select).ok_or(missing)?;
        let function = Function::probe(config, at);
        // Whether a domain that has no other device can have them.
        function.windows(&pci.bars, &mut Places::default())?;
        let have = function.msix.map_or(0, |msix| msix.entries);
        let want = pci.vectors;
        let msix = function.msix.filter(|_| u16::from(want) <= have);
        let msix = msix.ok_or(PciError::TooFewVectors { function: at, want, have })?;
        let table_base = function.table_base(&msix)?;
        let (device, pci) = (device.clone(), pci.clone());
        let saved = Saved::of(config, &function);
        let held = Self { hyp, config, device, pci, function, saved, msix, table_base };
        held.set_command(command::MEMORY | command::NO_INTX, command::BUS_MASTER);
        held.hold()?;
        Ok(held)
    }

    /// The function.
    pub fn function(&self) -> &Function {
        &self.function
    }

    /// The device's entry in the table.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Hands the function to `domain`, which was created with the right to have devices and does not
    /// run yet. `places` are what is free in the domain.
    ///
    /// # Errors
    /// [`PciError`]; the function is then back in quarantine.
    pub fn assign<'p>(
        &'p self,
        domain: DomId,
        places: &mut Places,
    ) -> Result<Passthrough<'p, 'h, H, C>, PciError> {
        let at = self.function.at;
        let windows = self.function.windows(&self.pci.bars, places)?;
        reset(self.config, &self.function, &self.saved, self.device.kind)?;
        self.set_msix(0, msix_control::ENABLE | msix_control::MASK_ALL);
        let refused = PciError::at(at, DeviceStep::Assign);
        self.hyp.assign_device(domain, at).map_err(refused)?;
        // From here on, a return drops the value, which takes the function back.
        let grant = DeviceGrant {
            name: self.device.name.clone(),
            kind: self.device.kind,
            mmio: Vec::new(),
            vectors: Vec::new(),
            pool: None,
        };
        let mut passthrough = Passthrough { held: self, domain, vectors: Vec::new(), grant };
        passthrough.map_registers(&windows)?;
        passthrough.bind_vectors(places)?;
        self.set_msix(msix_control::ENABLE, 0);
        self.set_command(command::BUS_MASTER, 0);
        Ok(passthrough)
    }

    /// Maps the last entry to dom0 itself. It is the one that domains use least, not that it matters.
    fn hold(&self) -> Result<(), PciError> {
        let (hyp, at) = (self.hyp, self.function.at);
        let entry = self.msix.entries - 1;
        let map = || hyp.map_msix(DomId::SELF, at, entry, self.table_base);
        let pirq = match map() {
            Err(Errno::ENODEV) => {
                // It is in quarantine, as after a restart of dom0's own bookkeeping.
                let refused = PciError::at(at, DeviceStep::Release);
                hyp.deassign_device(DomId::IO, at).map_err(refused)?;
                map()
            }
            other => other,
        };
        pirq.map(drop).map_err(PciError::at(at, DeviceStep::Hold))
    }

    fn set_command(&self, set: u16, clear: u16) {
        set_command(self.config, &self.function, set, clear);
    }

    fn set_msix(&self, set: u16, clear: u16) {
        let value = self.config.read16(self.function.at, self.msix.control);
        self.config.write16(self.function.at, self.msix.control, value & !clear | set);
    }
}

/// A function in a domain's hands. Taken back when dropped.
#[derive(Debug)]
pub struct Passthrough<'p, 'h, H: Hypervisor, C: ConfigSpace> {
    held: &'p Held<'h, H, C>,
    domain: DomId,
    vectors: Vec<Vector, 8>,
    grant: DeviceGrant,
}

#[derive(Debug, Clone, Copy)]
struct Vector {
    pirq: Pirq,
    bound: Option<u8>,
}

impl<H: Hypervisor, C: ConfigSpace> Passthrough<'_, '_, H, C> {
    /// What the domain is told.
    pub fn grant(&self) -> &DeviceGrant {
        &self.grant
    }

    /// Which driver it wants.
    pub fn kind(&self) -> DeviceKind {
        self.grant.kind
    }

    fn map_registers(&mut self, windows: &[Window]) -> Result<(), PciError> {
        let Held { hyp, function, .. } = self.held;
        let at = function.at;
        for window in windows {
            let (first, pages) = (window.at.frame(), window.length >> PAGE_SHIFT);
            let refused = PciError::at(at, DeviceStep::Permit);
            hyp.iomem_permission(self.domain, first, pages, true).map_err(refused)?;
            let refused = PciError::at(at, DeviceStep::MapRegisters);
            hyp.memory_mapping(self.domain, window.gaddr.frame(), first, pages, true).map_err(refused)?;
            let (gaddr, len) = (window.gaddr.0, window.length);
            let told = MmioWindow { gaddr, len, bar: window.bar, offset: window.offset };
            self.grant.mmio.push(told).map_err(|_| PciError::TooManyWindows { function: at })?;
        }
        Ok(())
    }

    fn bind_vectors(&mut self, places: &mut Places) -> Result<(), PciError> {
        let Held { hyp, pci, function, table_base, .. } = self.held;
        let at = function.at;
        for entry in 0..pci.vectors {
            let refused = PciError::at(at, DeviceStep::MapVector);
            let pirq = hyp.map_msix(self.domain, at, entry.into(), *table_base).map_err(refused)?;
            let full = PciError::TooFewVectors { function: at, want: pci.vectors, have: 8 };
            self.vectors.push(Vector { pirq, bound: None }).map_err(|_| full)?;
            let vector = places.take_vector().ok_or(full)?;
            let refused = PciError::at(at, DeviceStep::BindVector);
            hyp.bind_msi(self.domain, pirq, vector).map_err(refused)?;
            if let Some(last) = self.vectors.last_mut() {
                last.bound = Some(vector);
            }
            self.grant.vectors.push(vector.into()).map_err(|_| full)?;
        }
        Ok(())
    }
}

impl<H: Hypervisor, C: ConfigSpace> Drop for Passthrough<'_, '_, H, C> {
    fn drop(&mut self) {
        let Held { hyp, function, .. } = self.held;
        let at = function.at;
        let domain = self.domain;
        let take_back = |left: &str, call: &dyn Fn() -> Result<(), Errno>| {
            undo(format_args!("PCI device {at} of {domain}: {left}"), call);
        };
        // Memory decode stays on: without it, unmapping leaves the whole table masked.
        self.held.set_command(command::MEMORY, command::BUS_MASTER);
        self.held.set_msix(0, msix_control::ENABLE);
        for Vector { pirq, bound } in self.vectors.iter().copied() {
            if let Some(vector) = bound {
                take_back("vector not unbound", &|| hyp.unbind_msi(domain, pirq, vector));
            }
            take_back("vector not unmapped", &|| hyp.unmap_pirq(domain, pirq));
        }
        take_back("not taken back", &|| hyp.deassign_device(domain, at));
    }
}
