//! The machine beside its memory and processors.

use core::time::Duration;

use proto_xen::{
    Errno,
    hypercall::Hypercall,
    platform::{INTERFACE_VERSION, PlatformOp, SetTime, op},
};

use crate::{Xen, call};

/// The machine beside its memory and processors, for dom0.
pub trait Machine {
    /// Sets the time of day for all domains: `since_1970` is when the system time is `system_time_ns`.
    ///
    /// # Errors
    /// What Xen says.
    fn set_wall_clock(&self, since_1970: Duration, system_time_ns: u64) -> Result<(), Errno>;
}

impl Machine for Xen {
    fn set_wall_clock(&self, since_1970: Duration, system_time_ns: u64) -> Result<(), Errno> {
        let time = SetTime {
            secs: since_1970.as_secs(),
            nsecs: since_1970.subsec_nanos(),
            mbz: 0,
            system_time: system_time_ns,
        };
        let mut argument =
            PlatformOp { cmd: op::SET_TIME_64, interface_version: INTERFACE_VERSION, time, padding: [0; 13] };
        let address = core::ptr::from_mut(&mut argument) as u64;
        // SAFETY: the hypercall takes a `PlatformOp`, which is exclusively ours, and touches no other memory
        // for this subcommand.
        Errno::check(unsafe { call::raw(Hypercall::PlatformOp, [address, 0, 0, 0, 0]) }).map(drop)
    }
}
