//! Layout of the shared_info page: offsets, for it is only ever read field by field. Source: `xen.h`,
//! `arch-x86/xen.h`, `arch-arm.h`.

/// What differs between the architectures.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// `vcpu_info[0].evtchn_upcall_pending`, u8.
    pub upcall_pending: usize,
    /// `vcpu_info[0].evtchn_pending_sel`, u64.
    pub pending_sel: usize,
    /// `vcpu_info[0].time`, [`time`].
    pub time: usize,
    /// `evtchn_pending`, 64 × u64.
    pub pending: usize,
    /// `evtchn_mask`, 64 × u64.
    pub mask: usize,
    /// `wc_version`, u32, then `wc_sec`, `wc_nsec`, `wc_sec_hi`.
    pub wall_clock: usize,
}

/// x86_64: 32 vCPU records of 64 bytes.
pub const X86_64: Layout =
    Layout { upcall_pending: 0, pending_sel: 8, time: 32, pending: 2048, mask: 2560, wall_clock: 3072 };

/// aarch64: one vCPU record of 48 bytes.
pub const AARCH64: Layout =
    Layout { upcall_pending: 0, pending_sel: 8, time: 16, pending: 48, mask: 560, wall_clock: 1072 };

/// Offsets within `vcpu_time_info`, 32 bytes.
pub mod time {
    /// Odd while Xen writes, u32.
    pub const VERSION: usize = 0;
    /// TSC at the last update, u64.
    pub const TSC_TIMESTAMP: usize = 8;
    /// System time at the last update in nanoseconds, u64.
    pub const SYSTEM_TIME: usize = 16;
    /// 32.32 multiplier, u32.
    pub const TSC_TO_SYSTEM_MUL: usize = 24;
    /// Shift before the multiplication, i8.
    pub const TSC_SHIFT: usize = 28;
}
