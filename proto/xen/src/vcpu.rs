//! vCPU operations: starting and stopping one, the one-shot timer. Source: `vcpu.h`.

/// Subcommands.
pub mod op {
    /// [`HvmContext`](crate::hvm_vcpu::HvmContext), once for each vCPU but the first.
    pub const INITIALISE: u64 = 0;
    /// Lets it run.
    pub const UP: u64 = 1;
    /// Stops it, until the next [`UP`].
    pub const DOWN: u64 = 2;
    /// Whether it may run: 1 or 0.
    pub const IS_UP: u64 = 3;
    /// Stops the periodic timer.
    pub const STOP_PERIODIC_TIMER: u64 = 7;
    /// [`super::SetSingleshotTimer`].
    pub const SET_SINGLESHOT_TIMER: u64 = 8;
    /// Stops the one-shot timer.
    pub const STOP_SINGLESHOT_TIMER: u64 = 9;
}

/// Sets the one-shot timer.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SetSingleshotTimer {
    /// Xen's system time in nanoseconds.
    pub timeout_abs_ns: u64,
    /// Zero: a time in the past fires at once.
    pub flags: u32,
    /// Not used.
    pub padding: u32,
}
