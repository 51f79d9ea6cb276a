//! Scheduling: to block, to yield, to end.

use proto_xen::{
    Errno,
    hypercall::Hypercall,
    sched::{SetWatchdog, Shutdown, ShutdownReason, op},
};

use crate::{Xen, call};

/// Scheduling of the calling vCPU.
pub trait Sched {
    /// Waits until an event is pending. Upcalls are unmasked meanwhile.
    fn block(&self);

    /// Lets others run.
    fn yield_now(&self);

    /// Ends the domain; for dom0, the machine. Returns only if Xen refuses.
    fn shutdown(&self, reason: ShutdownReason) -> Errno;
}

/// Xen's watchdog of the calling domain: when it is not fed in time, Xen ends the domain; for dom0, it
/// resets the machine.
pub trait Watchdog {
    /// Arms or feeds watchdog `id`, to wait for `seconds`; 0 seconds disarm it. Id 0 is a new one, whose id
    /// is returned. A domain has two.
    ///
    /// # Errors
    /// What Xen says: `EEXIST` if both are in use.
    fn watchdog(&self, id: u32, seconds: u32) -> Result<u32, Errno>;
}

impl Watchdog for Xen {
    fn watchdog(&self, id: u32, seconds: u32) -> Result<u32, Errno> {
        let mut argument = SetWatchdog { id, timeout: seconds };
        // SAFETY: the operation takes a `SetWatchdog` and touches no other memory.
        let got = unsafe { call::with(Hypercall::SchedOp, op::WATCHDOG, &mut argument) }?;
        // Xen returns an int; what is no small number is an error that was not extended to 64 bits.
        match u32::try_from(got) {
            Ok(id) if id <= i32::MAX as u32 => Ok(id),
            _ => Err(Errno::ENOSPC),
        }
    }
}

impl Sched for Xen {
    fn block(&self) {
        // SAFETY: takes no argument.
        unsafe { call::raw(Hypercall::SchedOp, [op::BLOCK, 0, 0, 0, 0]) };
    }

    fn yield_now(&self) {
        // SAFETY: takes no argument.
        unsafe { call::raw(Hypercall::SchedOp, [op::YIELD, 0, 0, 0, 0]) };
    }

    fn shutdown(&self, reason: ShutdownReason) -> Errno {
        let mut argument = Shutdown { reason: reason.0.into() };
        // SAFETY: the operation takes a `Shutdown`; if it works nothing of us runs on.
        match unsafe { call::with(Hypercall::SchedOp, op::SHUTDOWN, &mut argument) } {
            Ok(_) => Errno::EINVAL,
            Err(errno) => errno,
        }
    }
}
