//! What a function is made of: BARs, MSI-X, its PCI Express capability.
//!
//! All of it is what the card says of itself, and a card may lie. What cannot be is not listed here, so
//! that nobody adds up, divides by or maps what a card made up.
//!
//! Source: PCI Local Bus Specification 3.0, sections 6.2.5 (BARs), 6.7 (capabilities) and 6.8.2
//! (MSI-X).

use core::ops::Range;

use heapless::Vec;
use proto_xen::{Gaddr, Maddr, PAGE_SIZE, Sbdf};

use super::{PciError, config::ConfigSpace};

/// Registers of the standard header.
pub(super) mod register {
    pub(in crate::pci) const COMMAND: u16 = 0x04;
    pub(in crate::pci) const STATUS: u16 = 0x06;
    pub(in crate::pci) const BAR0: u16 = 0x10;
    pub(in crate::pci) const CAPABILITIES: u16 = 0x34;
}

/// Bits of the command register.
pub(super) mod command {
    pub(in crate::pci) const IO: u16 = 1 << 0;
    pub(in crate::pci) const MEMORY: u16 = 1 << 1;
    pub(in crate::pci) const BUS_MASTER: u16 = 1 << 2;
    pub(in crate::pci) const NO_INTX: u16 = 1 << 10;
}

/// Bits of the MSI-X control word.
pub(super) mod msix_control {
    pub(in crate::pci) const ENABLE: u16 = 1 << 15;
    pub(in crate::pci) const MASK_ALL: u16 = 1 << 14;
}

/// Status: there is a list of capabilities.
const HAS_CAPABILITIES: u16 = 1 << 4;

const MSIX: u8 = 0x11;
const EXPRESS: u8 = 0x10;

/// Bytes of a capability, as far as they are used here.
const MSIX_BYTES: u16 = 12;
const EXPRESS_BYTES: u16 = 12;

/// Capabilities lie between these.
const CAPABILITIES: Range<u16> = 0x40..0x100;

/// Bytes of one entry of an MSI-X table.
const ENTRY_BYTES: u64 = 16;

/// The smallest memory BAR: the bits below tell its kind.
const MIN_BAR: u64 = 16;

/// The least room of the pending bits: they are read by the 64.
const PENDING_BYTES: u64 = 8;

/// One past the highest machine address that there can be.
const END_OF_ADDRESSES: u64 = 1 << 52;

const PAGE: u64 = PAGE_SIZE as u64;

/// Guest addresses for registers: above all memory of a domain of ours, below its interrupt controller.
const WINDOWS: Range<u64> = 0xe000_0000..0xfec0_0000;

/// A domain's interrupt vectors for devices; a few of the range that it leaves to them.
const VECTORS: Range<u8> = 0x50..0x90;

/// The most windows that a domain is told of.
pub const MAX_WINDOWS: usize = 4;

/// A memory BAR. Its size is a power of two from 16 bytes on, it lies on a multiple of that, and where it
/// lies there is no memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bar {
    /// Machine address.
    pub address: u64,
    /// Length in bytes.
    pub size: u64,
}

/// Registers as a domain gets them: whole pages of a BAR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Which BAR.
    pub bar: u8,
    /// Where in the BAR, in bytes.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// Where they are in the machine.
    pub at: Maddr,
    /// Where they appear in the domain.
    pub gaddr: Gaddr,
}

/// The MSI-X capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Msix {
    /// Offset of its control word in configuration space.
    pub control: u16,
    /// Entries of its table.
    pub entries: u16,
    /// The BAR that holds the table.
    pub table_bar: u8,
    /// Where in that BAR.
    pub table_offset: u32,
    /// The BAR that holds the pending bits.
    pub pending_bar: u8,
    /// Where in that BAR.
    pub pending_offset: u32,
}

/// What is free in a domain for its devices: addresses of registers, and interrupt vectors. No two devices of
/// a domain get the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    addresses: Range<u64>,
    vectors: Range<u8>,
}

impl Default for Places {
    fn default() -> Self {
        Self { addresses: WINDOWS, vectors: VECTORS }
    }
}

impl Places {
    /// Takes room for a BAR of `size` bytes, as aligned as the BAR itself, so that offsets stay readable.
    fn take_addresses(&mut self, size: u64) -> Option<u64> {
        let base = self.addresses.start.checked_next_multiple_of(size)?;
        self.addresses.start = base.checked_add(size).filter(|&end| end <= self.addresses.end)?;
        Some(base)
    }

    /// Takes the next vector.
    pub(crate) fn take_vector(&mut self) -> Option<u8> {
        self.vectors.next()
    }
}

/// A function, as far as it matters for handing it over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Where it is.
    pub at: Sbdf,
    /// Memory BARs; of a 64-bit one only the first half is listed.
    pub bars: [Option<Bar>; 6],
    /// MSI-X, if it has that.
    pub msix: Option<Msix>,
    /// Offset of its PCI Express capability.
    pub express: Option<u16>,
}

impl Function {
    /// Looks at a function that nobody uses. Memory decode is off for a moment, while the sizes of
    /// the BARs are found.
    pub fn probe(config: &impl ConfigSpace, at: Sbdf) -> Self {
        Self {
            at,
            bars: probe_bars(config, at),
            msix: find_capability(config, at, MSIX, MSIX_BYTES).map(|offset| read_msix(config, at, offset)),
            express: find_capability(config, at, EXPRESS, EXPRESS_BYTES),
        }
    }

    /// The BAR with this number.
    pub fn bar(&self, number: u8) -> Option<Bar> {
        self.bars.get(usize::from(number)).copied().flatten()
    }

    /// The parts of BAR `number` that a domain may have: all of it, without the pages of the MSI-X table and
    /// of its pending bits, for a domain that writes there is killed. Byte ranges within the BAR, whole pages of
    /// it: a BAR smaller than a page has no part, for others' registers may lie in the same page.
    pub fn open_parts(&self, number: u8) -> impl Iterator<Item = Range<u64>> {
        let size = self.bar(number).map_or(0, |bar| bar.size & !(PAGE - 1));
        let closed = |bar: u8, bytes: Range<u64>| match bar == number {
            true => (bytes.start & !(PAGE - 1)).min(size)..bytes.end.next_multiple_of(PAGE).min(size),
            false => size..size,
        };
        let [table, pending] = self.msix.map_or([size..size, size..size], |msix| {
            [closed(msix.table_bar, msix.table()), closed(msix.pending_bar, msix.pending())]
        });
        let [first, second] = if table.start <= pending.start { [table, pending] } else { [pending, table] };
        let parts = [0..first.start, first.end..second.start, first.end.max(second.end)..size];
        parts.into_iter().filter(|part| !part.is_empty())
    }

    /// The registers of `bars` as a domain gets them, at addresses that are taken from its `places`.
    ///
    /// # Errors
    /// [`PciError::NoSuchBar`]; [`PciError::BadBar`] if one is smaller than a page or finds no room in the
    /// domain; [`PciError::TooManyWindows`].
    pub fn windows(&self, bars: &[u8], places: &mut Places) -> Result<Vec<Window, MAX_WINDOWS>, PciError> {
        let function = self.at;
        let mut windows = Vec::new();
        for &number in bars {
            let bar = self.bar(number).ok_or(PciError::NoSuchBar { function, bar: number })?;
            let bad = PciError::BadBar { function, bar: number };
            if bar.size < PAGE {
                return Err(bad);
            }
            let base = places.take_addresses(bar.size).ok_or(bad)?;
            for part in self.open_parts(number) {
                let window = Window {
                    bar: number,
                    offset: part.start,
                    length: part.end - part.start,
                    at: Maddr(bar.address + part.start),
                    gaddr: Gaddr(base + part.start),
                };
                windows.push(window).map_err(|_| PciError::TooManyWindows { function })?;
            }
        }
        Ok(windows)
    }

    /// Machine address of the BAR that holds the MSI-X table.
    ///
    /// # Errors
    /// [`PciError::NoSuchBar`]; [`PciError::BadBar`] if the table does not lie within it.
    pub fn table_base(&self, msix: &Msix) -> Result<u64, PciError> {
        let (function, number) = (self.at, msix.table_bar);
        let bar = self.bar(number).ok_or(PciError::NoSuchBar { function, bar: number })?;
        let fits = msix.table().end <= bar.size;
        if fits { Ok(bar.address) } else { Err(PciError::BadBar { function, bar: number }) }
    }
}

impl Msix {
    /// The table, in bytes of its BAR.
    fn table(&self) -> Range<u64> {
        let start = u64::from(self.table_offset);
        start..start + u64::from(self.entries) * ENTRY_BYTES
    }

    /// The pending bits, in bytes of their BAR.
    fn pending(&self) -> Range<u64> {
        let start = u64::from(self.pending_offset);
        start..start + u64::from(self.entries).div_ceil(64) * PENDING_BYTES
    }
}

impl Bar {
    /// What a card says of a BAR, if it can be one: `mask` are the bits that an address may set.
    fn of(address: u64, mask: u64) -> Option<Self> {
        let size = (!mask).checked_add(1)?;
        let end = address.checked_add(size)?;
        let can_be = size.is_power_of_two()
            && size >= MIN_BAR
            && address != 0
            && address.is_multiple_of(size)
            && end <= END_OF_ADDRESSES;
        can_be.then_some(Self { address, size })
    }
}

fn probe_bars(config: &impl ConfigSpace, at: Sbdf) -> [Option<Bar>; 6] {
    let before = config.read16(at, register::COMMAND);
    config.write16(at, register::COMMAND, before & !(command::IO | command::MEMORY));
    let mut bars = [None; 6];
    let mut number = 0;
    while number < 6 {
        let (bar, wide) = probe_bar(config, at, number);
        bars[usize::from(number)] = bar;
        number += if wide { 2 } else { 1 };
    }
    config.write16(at, register::COMMAND, before);
    bars
}

/// A BAR, if it is memory with an address, and whether it takes two places.
fn probe_bar(config: &impl ConfigSpace, at: Sbdf, number: u16) -> (Option<Bar>, bool) {
    let offset = register::BAR0 + 4 * number;
    let low = config.read32(at, offset);
    if low & 1 != 0 {
        // Ports.
        return (None, false);
    }
    let wide = low & 6 == 4 && number < 5;
    let mask_low = u64::from(ones(config, at, offset, low) & !0xf);
    let (high, mask_high) = if wide {
        let high = config.read32(at, offset + 4);
        (u64::from(high), u64::from(ones(config, at, offset + 4, high)))
    } else {
        (0, u64::from(u32::MAX))
    };
    let bar = Bar::of(high << 32 | u64::from(low & !0xf), mask_high << 32 | mask_low);
    (bar.filter(|bar| config.can_be_registers(Maddr(bar.address), bar.size)), wide)
}

/// What comes back of all ones: the bits that an address may set.
fn ones(config: &impl ConfigSpace, at: Sbdf, offset: u16, before: u32) -> u32 {
    config.write32(at, offset, u32::MAX);
    let mask = config.read32(at, offset);
    config.write32(at, offset, before);
    mask
}

/// A capability of `length` bytes.
fn find_capability(config: &impl ConfigSpace, at: Sbdf, id: u8, length: u16) -> Option<u16> {
    if config.read16(at, register::STATUS) & HAS_CAPABILITIES == 0 {
        return None;
    }
    let mut offset = config.read8(at, register::CAPABILITIES);
    // 48 is all that fit; a list that runs in a circle ends there.
    for _ in 0..48 {
        let here = u16::from(offset & 0xfc);
        if here < CAPABILITIES.start {
            return None;
        }
        if config.read8(at, here) == id {
            return (here + length <= CAPABILITIES.end).then_some(here);
        }
        offset = config.read8(at, here + 1);
    }
    None
}

fn read_msix(config: &impl ConfigSpace, at: Sbdf, offset: u16) -> Msix {
    let table = config.read32(at, offset + 4);
    let pending = config.read32(at, offset + 8);
    Msix {
        control: offset + 2,
        entries: (config.read16(at, offset + 2) & 0x7ff) + 1,
        table_bar: (table & 7) as u8,
        table_offset: table & !7,
        pending_bar: (pending & 7) as u8,
        pending_offset: pending & !7,
    }
}
