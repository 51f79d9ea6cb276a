//! The registers behind I/O ports, and GCS in memory.

use core::{
    arch::asm,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use super::Registers;

/// ICH9's LPC bridge, as q35 has it: vendor and device.
const LPC: u32 = 0x2918_8086;
/// Configuration: identity, PMBASE, ACPI_CNTL, RCBA.
const ID: u16 = 0x00;
const PMBASE: u16 = 0x40;
const ACPI_CNTL: u16 = 0x44;
const RCBA: u16 = 0xf0;
/// In ACPI_CNTL: PMBASE is decoded.
const ACPI_EN: u32 = 1 << 7;
/// Where the block lies behind PMBASE.
const TCO: u16 = 0x60;
/// Where GCS lies behind RCBA.
const GCS: u32 = 0x3410;

/// Where the registers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    base: u16,
    gcs: u32,
}

impl Place {
    /// Finds them by the configuration space of the LPC bridge, 00:1f.0. `None` if it is another one, or
    /// firmware has not set it up.
    pub fn find(config: impl Fn(u16) -> u32) -> Option<Self> {
        let (base, root) = (config(PMBASE), config(RCBA));
        let there = config(ID) == LPC && config(ACPI_CNTL) & ACPI_EN != 0 && root & 1 != 0;
        let base = u16::try_from(base & 0xff80).ok().filter(|&base| there && base != 0)?;
        Some(Self { base: base + TCO, gcs: (root & !0x3fff) + GCS })
    }

    /// The machine address of GCS.
    pub fn gcs(&self) -> u64 {
        self.gcs.into()
    }
}

/// The registers.
#[derive(Debug)]
pub struct Ports {
    place: Place,
    gcs: &'static AtomicU32,
}

impl Ports {
    /// The registers at `place`, with GCS where it was mapped.
    pub const fn new(place: Place, gcs: &'static AtomicU32) -> Self {
        Self { place, gcs }
    }
}

impl Registers for Ports {
    fn read(&self, offset: u16) -> u16 {
        let value: u16;
        // SAFETY:
        // 1. The instruction touches no memory.
        // 2. The port is one of the TCO block: `Place::find` saw that the bridge decodes it there.
        unsafe {
            asm!("in ax, dx", in("dx") self.place.base + offset, out("ax") value, options(nomem, nostack, preserves_flags));
        }
        value
    }

    fn write(&self, offset: u16, value: u16) {
        // SAFETY:
        // 1. The instruction touches no memory.
        // 2. The port is one of the TCO block (as above), which can reset the machine and nothing else.
        unsafe {
            asm!("out dx, ax", in("dx") self.place.base + offset, in("ax") value, options(nomem, nostack, preserves_flags));
        }
    }

    fn read_gcs(&self) -> u32 {
        self.gcs.load(Relaxed)
    }

    fn write_gcs(&self, value: u32) {
        self.gcs.store(value, Relaxed);
    }
}
