//! What only tests do: steps over the edges of the address space, none of which a domain must survive, and [a second
//! vCPU](vcpu).

pub mod vcpu;

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use board_support_arch::layout;

use crate::pool;

/// Writes a word into the code.
pub fn write_to_code() {
    write_word(layout::text().start);
}

/// Writes a word into the constants.
pub fn write_to_constants() {
    write_word(layout::rodata().start);
}

/// Writes a word into a page that guards a stack.
pub fn write_to_guard() {
    layout::guards().for_each(write_word);
}

/// Reads the first word of memory.
pub fn read_null() {
    let at = core::ptr::with_exposed_provenance::<AtomicU32>(8);
    // SAFETY:
    // 1. Aligned. Nothing is mapped there: the load faults.
    let word = unsafe { &*at };
    core::hint::black_box(word.load(Relaxed));
}

/// Calls a function that lies in a page of data and does nothing but return.
pub fn execute_data() {
    #[cfg(target_arch = "x86_64")]
    const RETURN: u32 = 0xc3;
    #[cfg(target_arch = "aarch64")]
    const RETURN: u32 = 0xd65f_03c0;
    let Some(run) = pool::allocate_run(1, 1) else { return };
    if let Some(first) = run.words().first() {
        first.store(RETURN, Relaxed);
    }
    let at = run.as_ptr().as_ptr().cast_const();
    // SAFETY:
    // 1. A pointer to memory that holds the code of a function without arguments or result. It is not
    //    mapped for execution: the call faults.
    let function = unsafe { core::mem::transmute::<*const u8, extern "C" fn()>(at) };
    function();
}

fn write_word(address: u64) {
    let at = core::ptr::with_exposed_provenance::<AtomicU32>(address as usize);
    // SAFETY:
    // 1. Aligned, and not mapped for writing: the store faults.
    let word = unsafe { &*at };
    word.store(0, Relaxed);
}
