//! Where the parts of the image lie, from the linker's symbols (`linker/symbols.md`).

use crate::memory_map::Span;

macro_rules! symbols {
    ($($(#[$doc:meta])* $name:ident = $symbol:ident;)*) => {
        unsafe extern "C" {
            $(safe static $symbol: u8;)*
        }
        $($(#[$doc])* #[must_use] pub fn $name() -> u64 { (&raw const $symbol).addr() as u64 })*
    };
}

symbols! {
    /// First byte of the image.
    image_start = __image_start;
    /// One past the last byte, stacks included.
    image_end = __image_end;
    /// Code.
    text_start = __text_start;
    /// End of the code.
    text_end = __text_end;
    /// Constants.
    rodata_start = __rodata_start;
    /// End of the constants.
    rodata_end = __rodata_end;
    /// Initialised data.
    data_start = __data_start;
    /// End of zeroed data.
    bss_end = __bss_end;
    /// The page below the main stack.
    stack_guard = __stack_guard;
    /// Lowest byte of the main stack.
    stack_bottom = __stack_bottom;
    /// One past the highest byte of the main stack.
    stack_top = __stack_top;
    /// The page below the stack of the exception entries.
    fault_stack_guard = __fault_stack_guard;
    /// One past its highest byte.
    fault_stack_top = __fault_stack_top;
}

#[cfg(target_arch = "x86_64")]
symbols! {
    /// The page below the stack of the double fault.
    double_fault_stack_guard = __double_fault_stack_guard;
    /// The page below the stack of the non-maskable interrupt.
    nmi_stack_guard = __nmi_stack_guard;
}

/// Guards of stacks that only this architecture has.
#[cfg(target_arch = "x86_64")]
const EXTRA_GUARDS: &[fn() -> u64] = &[double_fault_stack_guard, nmi_stack_guard];
/// Guards of stacks that only this architecture has.
#[cfg(target_arch = "aarch64")]
const EXTRA_GUARDS: &[fn() -> u64] = &[];

/// All of the image.
#[must_use]
pub fn image() -> Span {
    Span { start: image_start(), end: image_end() }
}

/// Code.
#[must_use]
pub fn text() -> Span {
    Span { start: text_start(), end: text_end() }
}

/// Constants.
#[must_use]
pub fn rodata() -> Span {
    Span { start: rodata_start(), end: rodata_end() }
}

/// The pages below the stacks.
pub fn guards() -> impl Iterator<Item = u64> {
    [stack_guard(), fault_stack_guard()].into_iter().chain(EXTRA_GUARDS.iter().map(|guard| guard()))
}

/// Initialised and zeroed data.
#[must_use]
pub fn data() -> Span {
    Span { start: data_start(), end: bss_end() }
}

/// The main stack.
#[must_use]
pub fn stack() -> Span {
    Span { start: stack_bottom(), end: stack_top() }
}

/// The stack of the exception entries.
#[must_use]
pub fn fault_stack() -> Span {
    Span { start: fault_stack_guard() + 4096, end: fault_stack_top() }
}
