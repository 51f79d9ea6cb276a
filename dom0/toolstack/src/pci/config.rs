//! Configuration space and how functions are found in it.
//!
//! Source: PCI Local Bus Specification 3.0, section 6.1.

use heapless::Vec;
use proto_manifest::table::PciSelect;
use proto_xen::{Maddr, Sbdf};

/// Configuration space and registers of all functions, as dom0 reaches them.
pub trait ConfigSpace {
    /// Reads the aligned 32-bit word at `offset`; ones where there is no function.
    fn read32(&self, function: Sbdf, offset: u16) -> u32;

    /// Writes the aligned 16-bit word at `offset`.
    fn write16(&self, function: Sbdf, offset: u16, value: u16);

    /// Writes the aligned 32-bit word at `offset`.
    fn write32(&self, function: Sbdf, offset: u16, value: u32);

    /// Whether the bytes from `at` on can be registers of a function: there is neither memory nor
    /// configuration space. What a card says of its addresses is not to be believed.
    fn can_be_registers(&self, at: Maddr, length: u64) -> bool;

    /// Reads a 32-bit register of a function that dom0 or nobody owns; ones where there is none.
    fn read_register(&self, at: Maddr) -> u32;

    /// Writes a 32-bit register of a function that dom0 or nobody owns.
    fn write_register(&self, at: Maddr, value: u32);

    /// Reads the aligned 16-bit word at `offset`.
    fn read16(&self, function: Sbdf, offset: u16) -> u16 {
        let word = self.read32(function, offset & !3);
        (word >> (8 * (offset & 2))) as u16
    }

    /// Reads the byte at `offset`.
    fn read8(&self, function: Sbdf, offset: u16) -> u8 {
        let word = self.read32(function, offset & !3);
        (word >> (8 * (offset & 3))) as u8
    }
}

const ID: u16 = 0x00;
const CLASS: u16 = 0x08;
const HEADER: u16 = 0x0c;
const BUSES: u16 = 0x18;

/// Header type: several functions in one device.
const MULTI_FUNCTION: u8 = 0x80;
/// Header type of a bridge.
const BRIDGE: u8 = 1;

/// The function that `select` means, of those that can be reached from bus 0.
pub fn find(config: &impl ConfigSpace, select: &PciSelect) -> Option<Sbdf> {
    let mut to_pass = select.skip;
    functions(config).find(|&function| {
        let wanted = matches(config, function, select);
        let passed = wanted && to_pass > 0;
        to_pass -= u8::from(passed);
        wanted && !passed
    })
}

fn matches(config: &impl ConfigSpace, function: Sbdf, select: &PciSelect) -> bool {
    let id = u32::from(select.device) << 16 | u32::from(select.vendor);
    let class = |wanted: u32| config.read32(function, CLASS) >> 8 == wanted;
    config.read32(function, ID) == id && select.class.is_none_or(class)
}

/// Every function of bus 0 and of the buses behind its bridges, in the order of their addresses, those
/// behind a bridge right after it.
fn functions(config: &impl ConfigSpace) -> impl Iterator<Item = Sbdf> {
    let mut seen = [false; 256];
    seen[0] = true;
    // The buses that lead to where we are, each with its next function. A bus is looked at once, so there is
    // room for all: bridges name the bus behind them, and a wrong one must lead us neither in circles nor
    // down the stack.
    let mut path: Vec<(u8, u16), 256> = Vec::new();
    let _ = path.push((0, 0));
    core::iter::from_fn(move || {
        loop {
            let (bus, next) = path.last_mut()?;
            let Some(function) = next_on(config, *bus, next) else {
                path.pop();
                continue;
            };
            if header(config, function) & !MULTI_FUNCTION == BRIDGE {
                let behind = (config.read32(function, BUSES) >> 8) as u8;
                if !core::mem::replace(&mut seen[usize::from(behind)], true) {
                    let _ = path.push((behind, 0));
                }
            }
            return Some(function);
        }
    })
}

/// The function at `next` of a bus or the first one behind that; `next` is then past it.
fn next_on(config: &impl ConfigSpace, bus: u8, next: &mut u16) -> Option<Sbdf> {
    while *next < 32 * 8 {
        let (device, number) = ((*next >> 3) as u8, (*next & 7) as u8);
        let function = Sbdf::new(bus, device, number);
        let exists = config.read32(function, ID) != u32::MAX;
        let more = if number == 0 { exists && header(config, function) & MULTI_FUNCTION != 0 } else { true };
        *next = if more { *next + 1 } else { (*next | 7) + 1 };
        if exists {
            return Some(function);
        }
    }
    None
}

fn header(config: &impl ConfigSpace, function: Sbdf) -> u8 {
    (config.read32(function, HEADER) >> 16) as u8
}
