//! The watchdog of Intel's 6300ESB, a PCI function of its own (8086:25ab).
//!
//! It counts down twice and resets the machine at the end of the second time. Its registers are 16 bytes in BAR 0;
//! ahead of each write to them stand two writes that unlock it, so that no stray one feeds it. Enabling it is a bit
//! of configuration space. It keeps the bit that tells of an expiry through the reset: the evidence for who starts
//! next.
//!
//! It is not part of a chipset of today's, but emulators have it on every architecture with PCI.
//!
//! Source: Intel 6300ESB I/O Controller Hub datasheet (300641-004), chapter 16.

mod mapped;

pub use mapped::Mapped;

use core::{fmt, time::Duration};

use bitflags::bitflags;

/// Vendor and device, as the first word of configuration space has them.
pub const ID: u32 = 0x25ab_8086;

/// A count of the timers, in nanoseconds: 2^15 cycles of the 33 MHz clock.
const COUNT_NS: u64 = 992_970;
/// The most that a timer takes: 20 bits.
const MAX_COUNT: u32 = 0xf_ffff;

/// Offsets in configuration space.
pub mod config {
    /// WDT configuration, 16 bits.
    pub const CONFIGURATION: u16 = 0x60;
    /// WDT lock, 8 bits.
    pub const LOCK: u16 = 0x68;
}

/// Offsets in BAR 0.
pub mod offset {
    /// Preload value 1, 32 bits: counts of the first time.
    pub const PRELOAD1: u16 = 0x00;
    /// Preload value 2, 32 bits: of the second.
    pub const PRELOAD2: u16 = 0x04;
    /// Reload register, 16 bits: see [`super::Reload`]. What unlocks is written here, too.
    pub const RELOAD: u16 = 0x0c;
}

/// What is written to [`offset::RELOAD`], in this order, ahead of each write.
const UNLOCK: [u16; 2] = [0x80, 0x86];

bitflags! {
    /// The reload register.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Reload: u16 {
        /// WDT_RELOAD: a one starts the first time anew.
        const RELOAD = 1 << 8;
        /// WDT_TIMEOUT: the second time has ended. A one clears it.
        const TIMEOUT = 1 << 9;
    }

    /// WDT configuration.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Configuration: u16 {
        /// WDT_INT_TYPE: the end of the first time interrupts nobody.
        const NO_INTERRUPT = 0b11;
    }

    /// WDT lock.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Lock: u8 {
        /// WDT_ENABLE: it counts.
        const ENABLE = 1 << 1;
    }
}

/// Registers in BAR 0, and those of configuration space.
pub trait Registers {
    /// Writes 16 bits of configuration space.
    fn write_config16(&self, offset: u16, value: u16);
    /// Writes 8 bits of configuration space.
    fn write_config8(&self, offset: u16, value: u8);
    /// Reads 8 bits of configuration space.
    fn read_config8(&self, offset: u16) -> u8;
    /// Writes 32 bits of BAR 0.
    fn write32(&self, offset: u16, value: u32);
    /// Writes 16 bits of BAR 0.
    fn write16(&self, offset: u16, value: u16);
    /// Reads 16 bits of BAR 0.
    fn read16(&self, offset: u16) -> u16;
}

/// Why the watchdog is of no use: the bit that enables it does not stay set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disabled {
    /// What the lock register reads.
    pub lock: u8,
}

impl fmt::Display for Disabled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it cannot be enabled (lock register {:#x})", self.lock)
    }
}

/// The watchdog.
#[derive(Debug)]
pub struct I6300esb<R> {
    registers: R,
}

impl<R: Registers> I6300esb<R> {
    /// Takes the registers; changes nothing.
    pub const fn new(registers: R) -> Self {
        Self { registers }
    }

    /// Whether it was this watchdog that reset the machine last. To be asked before [`arm`](Self::arm), which
    /// clears it.
    pub fn read_evidence(&self) -> bool {
        let status = self.registers.read16(offset::RELOAD);
        // Registers that are not there read as ones.
        Reload::from_bits_retain(status).contains(Reload::TIMEOUT) && status != u16::MAX
    }

    /// Has the machine reset unless it is fed within `patience`, which is rounded up. Returns what it was rounded
    /// to.
    ///
    /// # Errors
    /// [`Disabled`].
    pub fn arm(&self, patience: Duration) -> Result<Duration, Disabled> {
        let r = &self.registers;
        self.halt();
        r.write_config16(config::CONFIGURATION, Configuration::NO_INTERRUPT.bits());
        let nanoseconds = u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX);
        let count = nanoseconds.div_ceil(2 * COUNT_NS).clamp(1, MAX_COUNT.into());
        for preload in [offset::PRELOAD1, offset::PRELOAD2] {
            self.unlock();
            // At most 20 bits.
            r.write32(preload, count as u32);
        }
        self.feed();
        r.write_config8(config::LOCK, Lock::ENABLE.bits());
        let lock = r.read_config8(config::LOCK);
        match Lock::from_bits_retain(lock).contains(Lock::ENABLE) && lock != u8::MAX {
            true => Ok(Duration::from_nanos(2 * count * COUNT_NS)),
            false => Err(Disabled { lock }),
        }
    }

    /// Gives it another patience.
    pub fn feed(&self) {
        self.unlock();
        self.registers.write16(offset::RELOAD, Reload::RELOAD.bits());
    }

    /// Stops it and clears what it says: ahead of an end of the machine that is wanted.
    pub fn halt(&self) {
        self.registers.write_config8(config::LOCK, 0);
        self.unlock();
        self.registers.write16(offset::RELOAD, (Reload::RELOAD | Reload::TIMEOUT).bits());
    }

    fn unlock(&self) {
        for value in UNLOCK {
            self.registers.write16(offset::RELOAD, value);
        }
    }
}

#[cfg(test)]
mod tests;
