//! Critical sections: interrupts masked. One vCPU, so that is all it takes.

use board_support_arch::interrupts;
use critical_section::RawRestoreState;

struct Masked;

critical_section::set_impl!(Masked);

// SAFETY:
// 1. Between `acquire` and `release` no interrupt is served, and there is no other vCPU: nothing runs
//    but the section.
// 2. Nested sections leave the masking to the outermost one.
unsafe impl critical_section::Impl for Masked {
    unsafe fn acquire() -> RawRestoreState {
        interrupts::mask()
    }

    unsafe fn release(allowed_before: RawRestoreState) {
        if allowed_before {
            interrupts::allow();
        }
    }
}
