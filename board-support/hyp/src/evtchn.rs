//! Event channels.

use proto_xen::{
    DomId, Errno, Port, VcpuId, Virq,
    event_channel::{AllocUnbound, BindInterdomain, BindVirq, Single, Status, op, status},
    hypercall::Hypercall,
};

use crate::{Xen, call};

/// Event channels: who may wake whom.
pub trait EventChannels {
    /// A new port of `owner` that `remote` may bind. Only dom0 may name an owner other than
    /// [`DomId::SELF`].
    ///
    /// # Errors
    /// What Xen says: `ESRCH` if there is no such domain, `ENOSPC` if it has no free port.
    fn alloc_unbound(&self, owner: DomId, remote: DomId) -> Result<Port, Errno>;

    /// Binds a new port of ours to `remote_port`, which `remote` has set aside for us. Our port is
    /// raised at once.
    ///
    /// # Errors
    /// What Xen says: `EINVAL` if that port is not for us.
    fn bind_interdomain(&self, remote: DomId, remote_port: Port) -> Result<Port, Errno>;

    /// Binds a virtual interrupt.
    ///
    /// # Errors
    /// What Xen says: `EEXIST` if it is bound already.
    fn bind_virq(&self, virq: Virq, vcpu: VcpuId) -> Result<Port, Errno>;

    /// Wakes the other end. An unbound port is no error: there is nobody to wake.
    ///
    /// # Errors
    /// What Xen says: `EINVAL` if the port is not ours.
    fn send(&self, port: Port) -> Result<(), Errno>;

    /// Whether the port is bound to one of another domain. It no longer is once that domain has closed its own, or
    /// was taken away. A closed port is not.
    ///
    /// # Errors
    /// What Xen says: `EINVAL` if there cannot be such a port.
    fn is_bound(&self, port: Port) -> Result<bool, Errno>;

    /// Gives a port back.
    ///
    /// # Errors
    /// What Xen says.
    fn close(&self, port: Port) -> Result<(), Errno>;

    /// Lets a masked port wake us again, and raises it if it is pending.
    ///
    /// # Errors
    /// What Xen says.
    fn unmask(&self, port: Port) -> Result<(), Errno>;
}

fn single(op: u64, port: Port) -> Result<(), Errno> {
    // SAFETY: the three operations on one port take a `Single` and touch no memory of ours.
    unsafe { call::with(Hypercall::EventChannelOp, op, &mut Single { port: port.0 }) }.map(drop)
}

impl EventChannels for Xen {
    fn alloc_unbound(&self, owner: DomId, remote: DomId) -> Result<Port, Errno> {
        let mut argument = AllocUnbound::new(owner, remote);
        // SAFETY: the operation takes an `AllocUnbound` and touches no other memory.
        unsafe { call::with(Hypercall::EventChannelOp, op::ALLOC_UNBOUND, &mut argument) }?;
        Ok(Port(argument.port))
    }

    fn bind_interdomain(&self, remote: DomId, remote_port: Port) -> Result<Port, Errno> {
        let mut argument = BindInterdomain::new(remote, remote_port);
        // SAFETY: the operation takes a `BindInterdomain` and touches no other memory.
        unsafe { call::with(Hypercall::EventChannelOp, op::BIND_INTERDOMAIN, &mut argument) }?;
        Ok(Port(argument.local_port))
    }

    fn bind_virq(&self, virq: Virq, vcpu: VcpuId) -> Result<Port, Errno> {
        let mut argument = BindVirq { virq: virq.0, vcpu: vcpu.0, port: 0 };
        // SAFETY: the operation takes a `BindVirq` and touches no other memory.
        unsafe { call::with(Hypercall::EventChannelOp, op::BIND_VIRQ, &mut argument) }?;
        Ok(Port(argument.port))
    }

    fn send(&self, port: Port) -> Result<(), Errno> {
        single(op::SEND, port)
    }

    fn is_bound(&self, port: Port) -> Result<bool, Errno> {
        let mut argument = Status::of(port);
        // SAFETY: the operation takes a `Status` and touches no other memory.
        unsafe { call::with(Hypercall::EventChannelOp, op::STATUS, &mut argument) }?;
        Ok(argument.status == status::INTERDOMAIN)
    }

    fn close(&self, port: Port) -> Result<(), Errno> {
        single(op::CLOSE, port)
    }

    fn unmask(&self, port: Port) -> Result<(), Errno> {
        single(op::UNMASK, port)
    }
}
