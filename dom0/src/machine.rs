//! Configuration space and registers of PCI functions, as dom0 reaches them: by ECAM, which is the
//! same on both architectures.
//!
//! Accesses are words of 32 bits. A 16-bit write rewrites the other half with what it was, except
//! that the upper halves of command and device control, which hold bits that are cleared by writing
//! ones, are written as zero.

use core::{
    cell::RefCell,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use alloc::vec::Vec;
use board_support_rt::{
    Boot,
    memory::{DeviceMemory, can_be_device, device_memory, read_firmware},
};
use dom0_toolstack::{
    acpi::{AcpiError, BUS_BYTES, Ecam, find_ecam},
    pci::ConfigSpace,
};
use proto_xen::{Gaddr, Maddr, Sbdf};

const PAGE: u64 = 4096;

/// The machine's PCI functions.
#[derive(Debug)]
pub(crate) struct Machine {
    ecam: Ecam,
    /// What is mapped so far: buses, and pages of registers.
    mapped: RefCell<Vec<&'static DeviceMemory>>,
}

impl Machine {
    /// Finds configuration space: where the device tree says that it is, or in the ACPI tables.
    pub(crate) fn find(boot: &Boot) -> Result<Self, AcpiError> {
        let ecam = match boot.ecam() {
            // The first bus is all that is looked at without ACPI.
            Some(base) => Ecam { base, first_bus: 0, last_bus: 0 },
            None => find_ecam(boot.rsdp(), |at, into| read_firmware(Gaddr(at), into))?,
        };
        Ok(Self { ecam, mapped: RefCell::default() })
    }

    /// The word at a machine address, if it can be mapped. dom0's frames of devices are the
    /// machine's. `length` bytes around it are mapped at once and stay so.
    fn word(&self, at: u64, length: u64) -> Option<&'static AtomicU32> {
        let find = |memory: &&'static DeviceMemory| {
            let offset = at.checked_sub(memory.gaddr().0)?;
            memory.words().get(usize::try_from(offset / 4).ok()?)
        };
        let mut mapped = self.mapped.borrow_mut();
        if let Some(word) = mapped.iter().find_map(find) {
            return Some(word);
        }
        let memory = device_memory(Gaddr(at & !(length - 1)), length)?;
        let memory: &'static DeviceMemory = alloc::boxed::Box::leak(alloc::boxed::Box::new(memory));
        mapped.push(memory);
        find(&memory)
    }

    fn config(&self, function: Sbdf, offset: u16) -> Option<&'static AtomicU32> {
        let bus = function.bus();
        if !(self.ecam.first_bus..=self.ecam.last_bus).contains(&bus) {
            return None;
        }
        let place = u64::from(function.0 & 0xffff) << 12 | u64::from(offset & 0xffc);
        self.word(self.ecam.base + place, BUS_BYTES)
    }

    /// The configuration space of a function as words, if it can be mapped.
    pub(crate) fn config_words(&self, function: Sbdf) -> Option<&'static [AtomicU32]> {
        self.config(function, 0)?;
        let place = u64::from(function.0 & 0xffff) << 12;
        self.words(Maddr(self.ecam.base + place), PAGE)
    }

    /// Registers at a machine address as words, if they can be mapped and lie in one page.
    pub(crate) fn words(&self, at: Maddr, length: u64) -> Option<&'static [AtomicU32]> {
        self.word(at.0, PAGE)?;
        let mapped = self.mapped.borrow();
        mapped.iter().find_map(|memory| {
            let offset = at.0.checked_sub(memory.gaddr().0)?;
            let first = usize::try_from(offset / 4).ok()?;
            memory.words().get(first..first + usize::try_from(length / 4).ok()?)
        })
    }

    /// The register at a machine address, if it can be mapped.
    pub(crate) fn register(&self, at: Maddr) -> Option<&'static AtomicU32> {
        self.word(at.0, PAGE)
    }
}

impl ConfigSpace for Machine {
    fn read32(&self, function: Sbdf, offset: u16) -> u32 {
        self.config(function, offset).map_or(u32::MAX, |word| word.load(Relaxed))
    }

    fn write16(&self, function: Sbdf, offset: u16, value: u16) {
        let Some(word) = self.config(function, offset) else { return };
        let value = u32::from(value);
        if offset & 2 == 0 {
            word.store(value, Relaxed);
        } else {
            let low = word.load(Relaxed) & 0xffff;
            word.store(value << 16 | low, Relaxed);
        }
    }

    fn write32(&self, function: Sbdf, offset: u16, value: u32) {
        if let Some(word) = self.config(function, offset) {
            word.store(value, Relaxed);
        }
    }

    fn can_be_registers(&self, at: Maddr, length: u64) -> bool {
        let config = self.ecam.span();
        let end = at.0.saturating_add(length);
        (end <= config.start || config.end <= at.0) && can_be_device(Gaddr(at.0), length)
    }

    fn read_register(&self, at: Maddr) -> u32 {
        self.register(at).map_or(u32::MAX, |word| word.load(Relaxed))
    }

    fn write_register(&self, at: Maddr, value: u32) {
        if let Some(word) = self.register(at) {
            word.store(value, Relaxed);
        }
    }
}
