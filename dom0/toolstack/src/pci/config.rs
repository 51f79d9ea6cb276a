//! Configuration space and how functions are found in it.
//!
//! Source: PCI Local Bus Specification 3.0, section 6.1.

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
    let mut found = None;
    let mut seen = [false; 256];
    scan_bus(config, 0, &mut seen, &mut |function| {
        if !matches(config, function, select) {
            return false;
        }
        if to_pass == 0 {
            found = Some(function);
        }
        to_pass = to_pass.saturating_sub(1);
        found.is_some()
    });
    found
}

fn matches(config: &impl ConfigSpace, function: Sbdf, select: &PciSelect) -> bool {
    let id = u32::from(select.device) << 16 | u32::from(select.vendor);
    let class = |wanted: u32| config.read32(function, CLASS) >> 8 == wanted;
    config.read32(function, ID) == id && select.class.is_none_or(class)
}

/// Shows every function of `bus` and of the buses behind it to `stop`, until that returns true.
fn scan_bus(
    config: &impl ConfigSpace,
    bus: u8,
    seen: &mut [bool; 256],
    stop: &mut dyn FnMut(Sbdf) -> bool,
) -> bool {
    // Bridges name the bus behind them; a wrong one must not lead us in circles.
    if core::mem::replace(&mut seen[usize::from(bus)], true) {
        return false;
    }
    for device in 0..32 {
        let first = Sbdf::new(bus, device, 0);
        if config.read32(first, ID) == u32::MAX {
            continue;
        }
        let functions = if header(config, first) & MULTI_FUNCTION != 0 { 8 } else { 1 };
        for function in (0..functions).map(|number| Sbdf::new(bus, device, number)) {
            if config.read32(function, ID) == u32::MAX {
                continue;
            }
            if stop(function) {
                return true;
            }
            if header(config, function) & !MULTI_FUNCTION == BRIDGE {
                let behind = (config.read32(function, BUSES) >> 8) as u8;
                if scan_bus(config, behind, seen, stop) {
                    return true;
                }
            }
        }
    }
    false
}

fn header(config: &impl ConfigSpace, function: Sbdf) -> u8 {
    (config.read32(function, HEADER) >> 16) as u8
}
