//! The TCO timer of Intel's I/O controller hubs (iTCO).
//!
//! It counts down once to an interrupt, which nobody takes here, and a second time to the reset of the
//! machine, unless the bit NO_REBOOT in the chipset's configuration is set, which it is at power-on. The
//! second expiry leaves a bit that outlives the reset: the evidence for who starts next.
//!
//! Source: Intel ICH9 datasheet (316972-004), §5.15.2, §13.9 (TCO registers), §10.1.75 (GCS).

#[cfg(all(target_arch = "x86_64", any(target_os = "none", target_os = "uefi")))]
mod ports;

#[cfg(all(target_arch = "x86_64", any(target_os = "none", target_os = "uefi")))]
pub use ports::{Place, Ports};

use core::{fmt, time::Duration};

use bitflags::bitflags;

/// One tick of the timer.
const TICK_MS: u32 = 600;
/// The fewest and the most ticks that the timer takes.
const TICKS: (u32, u32) = (2, 0x3ff);
/// NO_REBOOT in GCS: the second expiry resets nothing.
const NO_REBOOT: u32 = 1 << 5;

/// Offsets of the registers, of 16 bits each.
pub mod offset {
    /// TCO_RLD: any write loads the timer anew.
    pub const RELOAD: u16 = 0x00;
    /// TCO1_STS.
    pub const STATUS1: u16 = 0x04;
    /// TCO2_STS.
    pub const STATUS2: u16 = 0x06;
    /// TCO1_CNT.
    pub const CONTROL1: u16 = 0x08;
    /// TCO_MESSAGE1 and TCO_MESSAGE2: for software to leave something in. They are in the resume well, so they
    /// outlive a reset and not a loss of power.
    pub const MESSAGE: u16 = 0x0c;
    /// TCO_TMR: ticks of each of the two rounds.
    pub const TIMER: u16 = 0x12;
}

bitflags! {
    /// TCO1_STS. Written ones clear.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Status1: u16 {
        /// The timer has expired once.
        const TIMEOUT = 1 << 3;
    }

    /// TCO2_STS. Written ones clear.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Status2: u16 {
        /// The timer has expired twice.
        const SECOND_TO_STS = 1 << 1;
        /// The machine did not run after a reset.
        const BOOT_STS = 1 << 2;
    }

    /// TCO1_CNT.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Control1: u16 {
        /// The timer stands still.
        const TCO_TMR_HLT = 1 << 11;
    }
}

/// The registers of the timer, and the one register of the chipset that concerns it.
pub trait Registers {
    /// Reads a register of the block at TCOBASE; see [`offset`].
    fn read(&self, offset: u16) -> u16;
    /// Writes one.
    fn write(&self, offset: u16, value: u16);
    /// Reads GCS.
    fn read_gcs(&self) -> u32;
    /// Writes GCS.
    fn write_gcs(&self, value: u32);
}

/// Why the watchdog is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// NO_REBOOT cannot be cleared: the board is wired so, or the register is not there.
    NoReboot {
        /// What GCS reads after the attempt.
        gcs: u32,
    },
    /// The timer does not take what is written into it.
    Timer {
        /// What was written.
        written: u16,
        /// What it reads.
        read: u16,
    },
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoReboot { gcs } => write!(f, "it cannot be allowed to reset the machine (GCS {gcs:#x})"),
            Self::Timer { written, read } => {
                write!(f, "its timer reads {read:#x} where {written:#x} was written")
            }
        }
    }
}

/// The watchdog.
#[derive(Debug)]
pub struct Itco<R> {
    registers: R,
}

impl<R: Registers> Itco<R> {
    /// Takes the registers; changes nothing.
    pub const fn new(registers: R) -> Self {
        Self { registers }
    }

    /// Whether it was this watchdog that reset the machine last. To be asked before [`arm`](Self::arm), which
    /// clears it.
    pub fn read_evidence(&self) -> bool {
        let status = Status2::from_bits_retain(self.registers.read(offset::STATUS2));
        // A block that is not there reads as ones.
        status.contains(Status2::SECOND_TO_STS) && status.bits() != u16::MAX
    }

    /// Has the machine reset unless it is fed within `patience`, which is rounded up. Returns what it was
    /// rounded to.
    ///
    /// # Errors
    /// [`Unusable`]; it is halted then.
    pub fn arm(&self, patience: Duration) -> Result<Duration, Unusable> {
        let r = &self.registers;
        self.halt();
        r.write_gcs(r.read_gcs() & !NO_REBOOT);
        let gcs = r.read_gcs();
        if gcs & NO_REBOOT != 0 {
            return Err(Unusable::NoReboot { gcs });
        }
        // Two rounds.
        let ticks = u32::try_from(patience.as_millis()).unwrap_or(u32::MAX).div_ceil(2 * TICK_MS);
        let ticks = ticks.clamp(TICKS.0, TICKS.1);
        // At most ten bits.
        let written = ticks as u16;
        r.write(offset::TIMER, written);
        let read = r.read(offset::TIMER);
        // A block that is not there reads as ones, which are also the most ticks.
        if read & TICKS.1 as u16 != written || read == u16::MAX {
            return Err(Unusable::Timer { written, read });
        }
        r.write(offset::RELOAD, 1);
        r.write(offset::CONTROL1, 0);
        Ok(Duration::from_millis(u64::from(2 * ticks * TICK_MS)))
    }

    /// Leaves a note for who starts next.
    pub fn leave(&self, note: u8) {
        self.registers.write(offset::MESSAGE, note.into());
    }

    /// The note that was left last; 0 if none was since the power came.
    pub fn left(&self) -> u8 {
        // The second message is not ours.
        self.registers.read(offset::MESSAGE).to_le_bytes()[0]
    }

    /// Gives it another patience.
    pub fn feed(&self) {
        self.registers.write(offset::RELOAD, 1);
    }

    /// Stops it and clears what it says: ahead of an end of the machine that is wanted, for it goes on
    /// through a reset, and its status would be taken for evidence.
    pub fn halt(&self) {
        let r = &self.registers;
        r.write(offset::CONTROL1, Control1::TCO_TMR_HLT.bits());
        r.write(offset::STATUS1, Status1::TIMEOUT.bits());
        r.write(offset::STATUS2, (Status2::SECOND_TO_STS | Status2::BOOT_STS).bits());
    }
}

#[cfg(test)]
mod tests;
