//! Numbers of hypercalls. Source: `xen.h`, `__HYPERVISOR_*`.

/// Which hypercall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Hypercall {
    /// The machine beside memory and processors, for dom0.
    PlatformOp = 7,
    /// Memory reservation and the guest's physical map.
    MemoryOp = 12,
    /// Version and features.
    XenVersion = 17,
    /// Xen's console.
    ConsoleIo = 18,
    /// Grants.
    GrantTableOp = 20,
    /// vCPUs: timers.
    VcpuOp = 24,
    /// Scheduling: block, yield, shut down.
    SchedOp = 29,
    /// Event channels.
    EventChannelOp = 32,
    /// Interrupts of physical devices.
    PhysdevOp = 33,
    /// Parameters of translated guests.
    HvmOp = 34,
    /// The machine as a whole, for dom0.
    Sysctl = 35,
    /// Domains, for dom0.
    Domctl = 36,
}

/// Subcommands of [`Hypercall::ConsoleIo`]. Source: `xen.h`, `CONSOLEIO_*`.
pub mod console_io {
    /// Write.
    pub const WRITE: u64 = 0;
    /// Read.
    pub const READ: u64 = 1;
}

/// Subcommands of [`Hypercall::XenVersion`]. Source: `version.h`.
pub mod version {
    /// Major version in the upper, minor in the lower half.
    pub const VERSION: u64 = 0;
}
