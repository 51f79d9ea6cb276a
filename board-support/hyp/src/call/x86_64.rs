//! x86_64: a call into the page that Xen fills with the right instruction for this CPU.

use core::{
    arch::{asm, global_asm, x86_64::__cpuid_count},
    sync::atomic::{AtomicU32, Ordering},
};

use proto_xen::cpuid;

// The page lies among the code, for it is executed; Xen writes it, not we. Each call has 32 bytes.
global_asm!(
    ".pushsection .text.hypercall_page, \"ax\", @progbits",
    ".balign 4096",
    ".globl hypercall_page",
    "hypercall_page:",
    ".skip 4096, 0xcc",
    ".popsection",
);

/// First CPUID leaf of Xen; 0 until it was looked for.
static CPUID_BASE: AtomicU32 = AtomicU32::new(0);

/// Whether Xen is below us.
#[must_use]
pub fn is_present() -> bool {
    find().is_some()
}

/// Xen's first CPUID leaf.
fn find() -> Option<u32> {
    (cpuid::FIRST_LEAF..cpuid::END_LEAF).step_by(cpuid::LEAF_STEP).find(|&leaf| {
        let id = __cpuid_count(leaf, 0);
        (id.ebx, id.ecx, id.edx) == (cpuid::SIGNATURE_EBX, cpuid::SIGNATURE_ECX, cpuid::SIGNATURE_EDX)
    })
}

/// Has Xen fill the hypercall page. To be called once, before anything else of this crate.
///
/// Returns whether Xen was found.
pub fn init() -> bool {
    let Some(base) = find() else { return false };
    let msr = __cpuid_count(base + cpuid::HYPERCALL_LEAF, 0).ebx;
    let page: u64;
    // SAFETY: takes an address and touches nothing.
    unsafe {
        asm!("lea {}, [rip + hypercall_page]", out(reg) page, options(nomem, nostack, preserves_flags))
    };
    // SAFETY: the MSR is Xen's own (its CPUID leaf names it) and writes the page at the given
    // guest-physical address, which equals the virtual one by the identity map; the page is ours and
    // nobody executes it before this returns.
    unsafe {
        asm!("wrmsr", in("ecx") msr, in("eax") page as u32, in("edx") (page >> 32) as u32, options(nostack, preserves_flags));
    };
    CPUID_BASE.store(base, Ordering::Release);
    true
}

/// Calls entry `number` of the page.
///
/// # Safety
/// As [`super::raw`].
pub(super) unsafe fn trap(number: u64, args: [u64; 5]) -> i64 {
    if CPUID_BASE.load(Ordering::Acquire) == 0 {
        return -i64::from(proto_xen::Errno::ENOSYS.0);
    }
    let result: i64;
    // SAFETY: the page is filled (above). Xen may overwrite the argument registers, rcx and r11; the
    // rest is the caller's.
    unsafe {
        asm!(
            "lea {entry}, [rip + hypercall_page]",
            "add {entry}, {offset}",
            "call {entry}",
            entry = out(reg) _,
            offset = in(reg) number * 32,
            lateout("rax") result,
            inlateout("rdi") args[0] => _,
            inlateout("rsi") args[1] => _,
            inlateout("rdx") args[2] => _,
            inlateout("r10") args[3] => _,
            inlateout("r8") args[4] => _,
            out("rcx") _,
            out("r9") _,
            out("r11") _,
        );
    };
    result
}
