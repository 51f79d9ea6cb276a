//! The processor's source of random numbers.

use core::arch::{
    asm,
    x86_64::{__cpuid, __cpuid_count},
};

/// Where the numbers come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// RDSEED: the conditioned output of the noise source.
    Seed,
    /// RDRAND: a generator that the processor reseeds.
    Generator,
}

impl Source {
    /// The best one that this processor has.
    #[must_use]
    pub fn find() -> Option<Self> {
        const RDSEED: u32 = 1 << 18;
        const RDRAND: u32 = 1 << 30;
        if __cpuid(0).eax >= 7 && __cpuid_count(7, 0).ebx & RDSEED != 0 {
            return Some(Self::Seed);
        }
        (__cpuid(1).ecx & RDRAND != 0).then_some(Self::Generator)
    }

    /// The instruction's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Seed => "rdseed",
            Self::Generator => "rdrand",
        }
    }

    /// One number, or `None` if the source has none at the moment.
    #[must_use]
    pub fn number(self) -> Option<u64> {
        let (value, good): (u64, u8);
        match self {
            Self::Seed => {
                // SAFETY:
                // 1. The processor has RDSEED: `find` made this value.
                unsafe {
                    asm!("rdseed {}", "setc {}", out(reg) value, out(reg_byte) good, options(nomem, nostack));
                }
            }
            Self::Generator => {
                // SAFETY:
                // 1. The processor has RDRAND: `find` made this value.
                unsafe {
                    asm!("rdrand {}", "setc {}", out(reg) value, out(reg_byte) good, options(nomem, nostack));
                }
            }
        }
        (good != 0).then_some(value)
    }
}
