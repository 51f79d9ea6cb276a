//! vCPU operations: the one-shot timer. Source: `vcpu.h`.

/// Subcommands.
pub mod op {
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
