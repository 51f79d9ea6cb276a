//! System registers.

/// Reads a system register that exists and whose reading has no effect.
macro_rules! read {
    ($name:literal) => {{
        let value: u64;
        // SAFETY:
        // 1. The register named by the caller exists at EL1, and reading it changes nothing.
        unsafe {
            core::arch::asm!(concat!("mrs {}, ", $name), out(reg) value,
                             options(nostack, preserves_flags));
        }
        value
    }};
}

/// Writes a system register and waits until that has its effect.
///
/// The macro holds the unsafe block; its callers say in a comment why the value is good.
macro_rules! write {
    ($name:literal, $value:expr) => {{
        let value: u64 = $value;
        // SAFETY:
        // 1. The register named by the caller exists at EL1 and takes the value: said beside the call.
        unsafe {
            core::arch::asm!(concat!("msr ", $name, ", {}"), "isb", in(reg) value,
                             options(nostack, preserves_flags));
        }
    }};
}

pub(super) use {read, write};
