//! The processor's source of random numbers.

use core::arch::asm;

use super::system;

/// Where the numbers come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// RNDRRS: reseeded before each number.
    Seed,
}

impl Source {
    /// The best one that this processor has: FEAT_RNG, told by ID_AA64ISAR0_EL1.
    #[must_use]
    pub fn find() -> Option<Self> {
        (system::read!("id_aa64isar0_el1") >> 60 != 0).then_some(Self::Seed)
    }

    /// The instruction's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        "rndrrs"
    }

    /// One number, or `None` if the source has none at the moment.
    #[must_use]
    pub fn number(self) -> Option<u64> {
        let (value, failed): (u64, u64);
        // SAFETY:
        // 1. The processor has RNDRRS (S3_3_C2_C4_1): `find` made this value. It sets Z if it failed.
        unsafe {
            asm!("mrs {}, S3_3_C2_C4_1", "cset {}, eq", out(reg) value, out(reg) failed, options(nomem, nostack))
        };
        (failed == 0).then_some(value)
    }
}
