//! Scheduling operations. Source: `sched.h`.

/// Subcommands.
pub mod op {
    /// Gives the CPU to someone else.
    pub const YIELD: u64 = 0;
    /// Waits for an event; unmasks upcalls.
    pub const BLOCK: u64 = 1;
    /// [`super::Shutdown`].
    pub const SHUTDOWN: u64 = 2;
    /// [`super::Poll`].
    pub const POLL: u64 = 3;
    /// [`super::SetWatchdog`].
    pub const WATCHDOG: u64 = 6;
}

/// Ends the domain.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Shutdown {
    /// [`ShutdownReason`].
    pub reason: u32,
}

/// Arms, feeds or disarms a watchdog.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SetWatchdog {
    /// Which; 0 for a new one.
    pub id: u32,
    /// Seconds until it fires; 0 to disarm it.
    pub timeout: u32,
}

/// Waits for one of several ports.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Poll {
    /// Address of the array of ports, u32 each.
    pub ports: u64,
    /// How many.
    pub nr_ports: u32,
    /// Not used.
    pub padding: u32,
    /// Xen's system time in nanoseconds at which to give up; 0 for never.
    pub timeout: u64,
}

/// Why a domain ends. Numbers that Xen does not know are possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShutdownReason(pub u8);

impl ShutdownReason {
    /// It switched itself off.
    pub const POWEROFF: Self = Self(0);
    /// It asks to be started again.
    pub const REBOOT: Self = Self(1);
    /// It was suspended.
    pub const SUSPEND: Self = Self(2);
    /// It crashed.
    pub const CRASH: Self = Self(3);
    /// Its watchdog fired.
    pub const WATCHDOG: Self = Self(4);

    /// The reason as a sentence's end.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self.0 {
            0 => "powered off",
            1 => "asked for a reboot",
            2 => "suspended",
            3 => "crashed",
            4 => "watchdog fired",
            _ => "ended for an unknown reason",
        }
    }
}
