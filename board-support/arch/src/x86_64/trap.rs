//! Interrupt descriptors, the stubs behind them, and who is called.

use core::{
    arch::{asm, global_asm},
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use super::{interrupts, segments};
use crate::trap::{Access, Detail, Fault, Place, handlers};

// A stub pushes a zero where the processor pushes no error code, then its number. All registers
// follow in the order of `Registers`.
global_asm!(
    r#"
.section .text.traps, "ax", @progbits
    .balign 16
.Ltrap_common:
    push rax
    push rcx
    push rdx
    push rbx
    push rbp
    push rsi
    push rdi
    push r8
    push r9
    push r10
    push r11
    push r12
    push r13
    push r14
    push r15
    mov rdi, rsp
    cld
    call {dispatch}
    pop r15
    pop r14
    pop r13
    pop r12
    pop r11
    pop r10
    pop r9
    pop r8
    pop rdi
    pop rsi
    pop rbp
    pop rbx
    pop rdx
    pop rcx
    pop rax
    add rsp, 16
    iretq

    .balign 16
.globl __trap_stubs
__trap_stubs:
.set .Lvector, 0
.rept 256
    .balign 16
    .if (.Lvector == 8) || (.Lvector >= 10 && .Lvector <= 14) || (.Lvector == 17) || (.Lvector == 21) || (.Lvector == 29) || (.Lvector == 30)
    .else
    push 0
    .endif
    push .Lvector
    jmp .Ltrap_common
    .set .Lvector, .Lvector + 1
.endr
.text
"#,
    dispatch = sym dispatch,
);

unsafe extern "C" {
    safe static __trap_stubs: u8;
}

/// Bytes from one stub to the next.
const STUB_BYTES: u64 = 16;

/// Two words an entry. Source: AMD64 APM volume 2, 4.8.4.
static IDT: [AtomicU64; 512] = [const { AtomicU64::new(0) }; 512];

/// The registers when a trap came.
#[repr(C)]
#[derive(Clone, Debug, Default)]
pub struct Registers {
    r15: u64,
    r14: u64,
    r13: u64,
    r12: u64,
    r11: u64,
    r10: u64,
    r9: u64,
    r8: u64,
    rdi: u64,
    rsi: u64,
    rbp: u64,
    rbx: u64,
    rdx: u64,
    rcx: u64,
    rax: u64,
    vector: u64,
    error: u64,
    rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
}

impl Registers {
    /// The instruction that was interrupted.
    #[must_use]
    pub fn instruction(&self) -> u64 {
        self.rip
    }

    /// The frame pointer then.
    #[must_use]
    pub fn frame(&self) -> u64 {
        self.rbp
    }
}

impl fmt::Display for Registers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "rip {:016x} rsp {:016x} rbp {:016x} rfl {:016x}",
            self.rip, self.rsp, self.rbp, self.rflags
        )?;
        writeln!(
            f,
            "rax {:016x} rbx {:016x} rcx {:016x} rdx {:016x}",
            self.rax, self.rbx, self.rcx, self.rdx
        )?;
        writeln!(f, "rsi {:016x} rdi {:016x} r8  {:016x} r9  {:016x}", self.rsi, self.rdi, self.r8, self.r9)?;
        writeln!(
            f,
            "r10 {:016x} r11 {:016x} r12 {:016x} r13 {:016x}",
            self.r10, self.r11, self.r12, self.r13
        )?;
        write!(f, "r14 {:016x} r15 {:016x} error {:x}", self.r14, self.r15, self.error)
    }
}

/// Fills the table and loads it.
pub(super) fn load() {
    let first = (&raw const __trap_stubs).addr() as u64;
    for vector in 0..256u64 {
        let stub = first + vector * STUB_BYTES;
        let stack = match vector {
            8 => segments::DOUBLE_FAULT_STACK,
            2 | 18 => segments::NMI_STACK,
            0..32 => segments::FAULT_STACK,
            _ => 0,
        };
        // Present, 64-bit interrupt gate.
        let low = stub & 0xffff
            | u64::from(segments::CODE) << 16
            | u64::from(stack) << 32
            | 0x8e << 40
            | (stub >> 16 & 0xffff) << 48;
        IDT[vector as usize * 2].store(low, Relaxed);
        IDT[vector as usize * 2 + 1].store(stub >> 32, Relaxed);
    }
    let register =
        segments::TableRegister { limit: size_of_val(&IDT) as u16 - 1, base: IDT.as_ptr().addr() as u64 };
    // SAFETY:
    // 1. `register` describes `IDT`, which is static; each entry leads to a stub that saves and
    //    restores all registers.
    unsafe { asm!("lidt [{}]", in(reg) &raw const register, options(readonly, nostack, preserves_flags)) };
}

/// Called by the stubs with interrupts masked.
extern "C" fn dispatch(registers: &Registers) {
    let Some(handlers) = handlers() else {
        // Nobody can be told yet: a triple fault would look like a reboot, so stand still.
        return super::power::halt_for_ever();
    };
    match registers.vector {
        vector @ 0..32 => (handlers.fault)(&Fault {
            name: NAMES.get(vector as usize).copied().unwrap_or("reserved exception"),
            detail: detail(registers),
            registers,
        }),
        interrupts::UPCALL_VECTOR => (handlers.upcall)(),
        interrupts::SPURIOUS_VECTOR => {}
        vector => {
            (handlers.vector)(vector as u32);
            interrupts::end();
        }
    }
}

const NAMES: [&str; 32] = {
    let mut names = ["reserved exception"; 32];
    names[0] = "division error";
    names[1] = "debug exception";
    names[2] = "non-maskable interrupt";
    names[3] = "breakpoint";
    names[4] = "overflow";
    names[5] = "bound range exceeded";
    names[6] = "invalid opcode";
    names[7] = "device not available (a vector or floating point instruction)";
    names[8] = "double fault";
    names[10] = "invalid task state";
    names[11] = "segment not present";
    names[12] = "stack fault";
    names[13] = "general protection fault";
    names[14] = "page fault";
    names[16] = "floating point error";
    names[17] = "misaligned access";
    names[18] = "machine check";
    names[19] = "vector floating point error";
    names[21] = "control protection fault";
    names
};

fn detail(registers: &Registers) -> Detail {
    if registers.vector != 14 {
        return Detail::None;
    }
    let address: u64;
    // SAFETY:
    // 1. Reading cr2 has no effect.
    unsafe { asm!("mov {}, cr2", out(reg) address, options(nomem, nostack, preserves_flags)) };
    // Bits of the error code: 1 write, 4 instruction fetch.
    let kind = match registers.error {
        error if error & 16 != 0 => Access::Execute,
        error if error & 2 != 0 => Access::Write,
        _ => Access::Read,
    };
    Detail::Access { address, kind, place: Place::of(address) }
}
