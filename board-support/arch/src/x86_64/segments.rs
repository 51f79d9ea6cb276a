//! Segments, and the stacks that the processor switches to by itself.

use core::{
    arch::asm,
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
};

/// Selector of 64-bit code.
pub(super) const CODE: u16 = 8;
const TASK: u16 = 24;

/// Number of the stack for faults, as an interrupt gate names it.
pub(super) const FAULT_STACK: u8 = 1;
/// Number of the stack for the double fault.
pub(super) const DOUBLE_FAULT_STACK: u8 = 2;
/// Number of the stack for the non-maskable interrupt and the machine check.
pub(super) const NMI_STACK: u8 = 3;

unsafe extern "C" {
    safe static __fault_stack_top: u8;
    safe static __double_fault_stack_top: u8;
    safe static __nmi_stack_top: u8;
}

/// Null, code, data, task state in two words. Source: AMD64 APM volume 2, 4.8.
static GDT: [AtomicU64; 5] = [
    AtomicU64::new(0),
    AtomicU64::new(0x00af_9b00_0000_ffff),
    AtomicU64::new(0x00cf_9300_0000_ffff),
    AtomicU64::new(0),
    AtomicU64::new(0),
];

const TASK_STATE_BYTES: usize = 104;

/// The task state segment: interrupt stacks 1 to 7 at offset 36. Source: APM volume 2, 12.2.5.
static TASK_STATE: [AtomicU32; TASK_STATE_BYTES / 4] = [const { AtomicU32::new(0) }; TASK_STATE_BYTES / 4];

/// What `lgdt` and `lidt` read.
#[repr(C, packed)]
pub(super) struct TableRegister {
    pub(super) limit: u16,
    pub(super) base: u64,
}

/// Loads the segments and the interrupt stacks.
pub(super) fn load() {
    let stacks = [
        (FAULT_STACK, (&raw const __fault_stack_top).addr() as u64),
        (DOUBLE_FAULT_STACK, (&raw const __double_fault_stack_top).addr() as u64),
        (NMI_STACK, (&raw const __nmi_stack_top).addr() as u64),
    ];
    for (number, top) in stacks {
        let at = (36 + 8 * (usize::from(number) - 1)) / 4;
        TASK_STATE[at].store(top as u32, Relaxed);
        TASK_STATE[at + 1].store((top >> 32) as u32, Relaxed);
    }
    // No I/O permission map: it begins behind the segment.
    TASK_STATE[25].store((TASK_STATE_BYTES as u32) << 16, Relaxed);

    let base = TASK_STATE.as_ptr().addr() as u64;
    let limit = TASK_STATE_BYTES as u64 - 1;
    let low = limit | (base & 0xff_ffff) << 16 | 0x89 << 40 | (base >> 24 & 0xff) << 56;
    GDT[3].store(low, Relaxed);
    GDT[4].store(base >> 32, Relaxed);

    let register = TableRegister { limit: size_of_val(&GDT) as u16 - 1, base: GDT.as_ptr().addr() as u64 };
    // SAFETY:
    // 1. `register` describes `GDT`, which is static and holds the code and data descriptors that
    //    the segment registers already use.
    unsafe { asm!("lgdt [{}]", in(reg) &raw const register, options(readonly, nostack, preserves_flags)) };
    // SAFETY:
    // 1. The selector is that of the task state above, which is static.
    unsafe { asm!("ltr {:x}", in(reg) TASK, options(nostack, preserves_flags)) };
}
