//! Scheduling: to block, to yield, to end.

use proto_xen::{
    Errno,
    hypercall::Hypercall,
    sched::{Shutdown, ShutdownReason, op},
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
