//! The state in which another vCPU of a translated guest on x86 starts. Source: `hvm/hvm_vcpu.h`.

/// [`HvmContext::mode`] of a vCPU that starts in long mode with paging on; Xen fills the segments in.
pub const MODE_64B: u32 = 1;

/// Registers of another vCPU, for [`op::INITIALISE`](crate::vcpu::op::INITIALISE).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct HvmContext {
    /// [`MODE_64B`].
    pub mode: u32,
    /// Zero.
    pub pad: u32,
    /// `rax`.
    pub rax: u64,
    /// `rcx`.
    pub rcx: u64,
    /// `rdx`.
    pub rdx: u64,
    /// `rbx`.
    pub rbx: u64,
    /// Stack pointer.
    pub rsp: u64,
    /// `rbp`.
    pub rbp: u64,
    /// `rsi`.
    pub rsi: u64,
    /// `rdi`.
    pub rdi: u64,
    /// The first instruction.
    pub rip: u64,
    /// Flags.
    pub rflags: u64,
    /// `cr0`, with paging on.
    pub cr0: u64,
    /// Page tables.
    pub cr3: u64,
    /// `cr4`, with PAE on.
    pub cr4: u64,
    /// EFER, with LME on.
    pub efer: u64,
    /// Not used in this mode: the other's registers need more room.
    pub rest: u64,
}

const _: () = assert!(size_of::<HvmContext>() == 128);
