//! What CPUID says of Xen to a domain on x86. Source: `arch-x86/cpuid.h`.

/// First leaf at which a hypervisor may say its name: `XEN_CPUID_FIRST_LEAF`. Xen's leaves start here, or a
/// few [steps](LEAF_STEP) on if it also speaks as another hypervisor.
pub const FIRST_LEAF: u32 = 0x4000_0000;
/// How far on each next place is.
pub const LEAF_STEP: usize = 0x100;
/// Behind the last place.
pub const END_LEAF: u32 = 0x4001_0000;

/// "XenV", in ebx of Xen's first leaf: `XEN_CPUID_SIGNATURE_EBX`.
pub const SIGNATURE_EBX: u32 = 0x566e_6558;
/// "MMXe", in ecx.
pub const SIGNATURE_ECX: u32 = 0x6558_4d4d;
/// "nVMM", in edx.
pub const SIGNATURE_EDX: u32 = 0x4d4d_566e;

/// The leaf, counted from Xen's first, whose ebx is the MSR that fills the hypercall page.
pub const HYPERCALL_LEAF: u32 = 2;
