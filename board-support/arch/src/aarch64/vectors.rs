//! Exception vectors, and who is called.
//!
//! An interrupt is served on the stack that it interrupts, with all registers saved that Rust may
//! use, the vector registers among them. Every other exception is the end of the domain, so it takes
//! the fault stack at once: the main one may be used up.

use core::{arch::global_asm, fmt};

use super::{gic, system, timer};
use crate::trap::{Access, Detail, Fault, Place, handlers};

global_asm!(
    r#"
.macro FATAL kind
    .balign 128
    msr     tpidr_el1, x0
    mov     x0, sp
    /* tpidrro is free too: it keeps the old stack pointer while x0 is used for the new one. */
    msr     tpidrro_el0, x0
    adrp    x0, __fault_stack_top
    mov     sp, x0
    mrs     x0, tpidr_el1
    sub     sp, sp, #288
    stp     x0, x1, [sp]
    mov     x0, #\kind
    b       .Lfatal
.endm

.section .text.vectors, "ax", @progbits
    .balign 2048
.globl __vectors
__vectors:
    /* Current level, SP_EL0: not used. */
    FATAL 0
    FATAL 1
    FATAL 2
    FATAL 3
    /* Current level, SP_EL1: synchronous, IRQ, FIQ, SError. */
    FATAL 4
    .balign 128
    b       .Lirq
    FATAL 6
    FATAL 7
    /* Lower levels: there are none. */
    FATAL 8
    FATAL 9
    FATAL 10
    FATAL 11
    FATAL 12
    FATAL 13
    FATAL 14
    FATAL 15

.Lfatal:
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x19, [sp, #144]
    stp     x20, x21, [sp, #160]
    stp     x22, x23, [sp, #176]
    stp     x24, x25, [sp, #192]
    stp     x26, x27, [sp, #208]
    stp     x28, x29, [sp, #224]
    mrs     x1, tpidrro_el0
    stp     x30, x1, [sp, #240]
    mrs     x1, elr_el1
    mrs     x2, spsr_el1
    stp     x1, x2, [sp, #256]
    mrs     x1, esr_el1
    mrs     x2, far_el1
    stp     x1, x2, [sp, #272]
    mov     x1, sp
    bl      {fatal}
    brk     #1

.Lirq:
    sub     sp, sp, #592
    stp     x0, x1, [sp]
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    str     x18, [sp, #144]
    /* A frame record, so that a backtrace leads through. */
    stp     x29, x30, [sp, #160]
    add     x29, sp, #160
    mrs     x0, elr_el1
    mrs     x1, spsr_el1
    stp     x0, x1, [sp, #176]
    mrs     x0, fpcr
    mrs     x1, fpsr
    stp     x0, x1, [sp, #192]
    add     x2, sp, #208
    stp     q0, q1, [x2]
    stp     q2, q3, [x2, #32]
    stp     q4, q5, [x2, #64]
    stp     q6, q7, [x2, #96]
    stp     q16, q17, [x2, #128]
    stp     q18, q19, [x2, #160]
    stp     q20, q21, [x2, #192]
    stp     q22, q23, [x2, #224]
    stp     q24, q25, [x2, #256]
    stp     q26, q27, [x2, #288]
    stp     q28, q29, [x2, #320]
    stp     q30, q31, [x2, #352]
    bl      {irq}
    add     x2, sp, #208
    ldp     q0, q1, [x2]
    ldp     q2, q3, [x2, #32]
    ldp     q4, q5, [x2, #64]
    ldp     q6, q7, [x2, #96]
    ldp     q16, q17, [x2, #128]
    ldp     q18, q19, [x2, #160]
    ldp     q20, q21, [x2, #192]
    ldp     q22, q23, [x2, #224]
    ldp     q24, q25, [x2, #256]
    ldp     q26, q27, [x2, #288]
    ldp     q28, q29, [x2, #320]
    ldp     q30, q31, [x2, #352]
    ldp     x0, x1, [sp, #192]
    msr     fpcr, x0
    msr     fpsr, x1
    ldp     x0, x1, [sp, #176]
    msr     elr_el1, x0
    msr     spsr_el1, x1
    ldp     x29, x30, [sp, #160]
    ldr     x18, [sp, #144]
    ldp     x16, x17, [sp, #128]
    ldp     x14, x15, [sp, #112]
    ldp     x12, x13, [sp, #96]
    ldp     x10, x11, [sp, #80]
    ldp     x8, x9, [sp, #64]
    ldp     x6, x7, [sp, #48]
    ldp     x4, x5, [sp, #32]
    ldp     x2, x3, [sp, #16]
    ldp     x0, x1, [sp]
    add     sp, sp, #592
    eret
.text
"#,
    fatal = sym fatal,
    irq = sym irq,
);

unsafe extern "C" {
    safe static __vectors: u8;
}

/// The registers when a fault came, in the order in which the entry saves them.
#[repr(C)]
#[derive(Clone, Debug)]
pub struct Registers {
    x: [u64; 31],
    sp: u64,
    elr: u64,
    spsr: u64,
    esr: u64,
    far: u64,
}

const _: () = assert!(size_of::<Registers>() == 288);

impl Registers {
    /// The instruction that was interrupted.
    #[must_use]
    pub fn instruction(&self) -> u64 {
        self.elr
    }

    /// The frame pointer then.
    #[must_use]
    pub fn frame(&self) -> u64 {
        self.x[29]
    }
}

impl fmt::Display for Registers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "pc {:016x} sp {:016x} lr {:016x} psr {:08x}", self.elr, self.sp, self.x[30], self.spsr)?;
        for (number, pair) in self.x[..30].chunks(3).enumerate() {
            for (offset, value) in pair.iter().enumerate() {
                write!(f, "x{:<2} {value:016x} ", number * 3 + offset)?;
            }
            writeln!(f)?;
        }
        write!(f, "esr {:08x} far {:016x}", self.esr, self.far)
    }
}

/// Makes the vectors the ones in use.
pub(super) fn load() {
    // Aligned as the register asks: 2 KiB.
    system::write!("vbar_el1", (&raw const __vectors).addr() as u64);
}

extern "C" fn irq() {
    let id = gic::acknowledge();
    // 1020 and up: it changed its mind.
    if id >= 1020 {
        return;
    }
    if id == timer::INTID {
        timer::stop();
    }
    if let Some(handlers) = handlers() {
        if id == gic::upcall() {
            (handlers.upcall)();
        } else {
            (handlers.vector)(id);
        }
    }
    gic::end(id);
}

extern "C" fn fatal(vector: u64, registers: &Registers) -> ! {
    let Some(handlers) = handlers() else {
        loop {
            super::power::halt_for_ever();
        }
    };
    let (name, detail) = match vector {
        4 => explain(registers),
        7 => ("system error", Detail::None),
        _ => ("exception that cannot come", Detail::None),
    };
    (handlers.fault)(&Fault { name, detail, registers })
}

/// Name and detail by the exception class. Source: Arm ARM, ESR_EL1.
fn explain(registers: &Registers) -> (&'static str, Detail) {
    let access = |kind| Detail::Access { address: registers.far, kind, place: Place::of(registers.far) };
    match registers.esr >> 26 & 0x3f {
        0x00 => ("undefined instruction", Detail::None),
        0x07 => ("vector registers are off", Detail::None),
        0x0e => ("illegal execution state", Detail::None),
        0x20 | 0x21 => ("instruction abort", access(Access::Execute)),
        0x22 => ("misaligned program counter", Detail::None),
        // Bit 6: write.
        0x24 | 0x25 if registers.esr & 1 << 6 != 0 => ("data abort", access(Access::Write)),
        0x24 | 0x25 => ("data abort", access(Access::Read)),
        0x26 => ("misaligned stack pointer", Detail::None),
        0x3c => ("breakpoint", Detail::None),
        _ => ("synchronous exception", Detail::None),
    }
}
