//! Event channels.

use core::task::{Context, Poll, Waker};

use board_support_hyp::{EventChannels, Wait};
use proto_xen::{DomId, Errno, Port, VcpuId, Virq, event_channel::PORTS};

use crate::{
    fault::Call,
    world::{Dom, Domain, State, World},
};

/// A port as Xen and the domain's own upcall see it.
#[derive(Debug)]
pub(crate) struct PortState {
    binding: Binding,
    /// Raised, and the domain's upcall did not see it yet.
    pending: bool,
    masked: bool,
    /// Seen by the upcall, and not yet by who waits.
    marked: bool,
    waker: Option<Waker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Binding {
    Unbound { remote: DomId },
    Interdomain { remote: DomId, port: Port },
    Virq(Virq),
}

impl PortState {
    /// Masked, as a runtime has all ports until somebody waits.
    fn new(binding: Binding) -> Self {
        Self { binding, pending: false, masked: true, marked: false, waker: None }
    }

    /// The upcall looks.
    fn look(&mut self) -> Option<Waker> {
        if self.masked || !core::mem::take(&mut self.pending) {
            return None;
        }
        self.marked = true;
        self.waker.take()
    }
}

impl Dom {
    /// The lowest free number, as Xen takes it. 0 is no port.
    fn free_port(&self) -> Result<Port, Errno> {
        (1..=self.max_port).map(Port).find(|port| !self.ports.contains_key(port)).ok_or(Errno::ENOSPC)
    }
}

impl State {
    /// Raises a port: now, or when the executor says so.
    fn raise(&mut self, id: DomId, port: Port) {
        let Some(state) = self.domains.get_mut(&id).and_then(|dom| dom.ports.get_mut(&port)) else { return };
        state.pending = true;
        match &mut self.in_flight {
            Some(in_flight) => in_flight.push((id, port)),
            None => self.deliver(id, port),
        }
    }

    /// An event arrives, for the first time or once more.
    pub(crate) fn arrive(&mut self, id: DomId, port: Port) {
        if let Some(state) = self.domains.get_mut(&id).and_then(|dom| dom.ports.get_mut(&port)) {
            state.pending = true;
            self.deliver(id, port);
        }
    }

    /// Has the domain's upcall look at a port.
    fn deliver(&mut self, id: DomId, port: Port) {
        let Some(state) = self.domains.get_mut(&id).and_then(|dom| dom.ports.get_mut(&port)) else { return };
        if let Some(waker) = state.look() {
            waker.wake();
        }
    }

    /// Raises a virtual interrupt, if the domain has bound it.
    pub(crate) fn raise_virq(&mut self, id: DomId, virq: Virq) {
        let ports = self.domains.get(&id).into_iter().flat_map(|dom| &dom.ports);
        let bound = ports.filter(|(_, state)| state.binding == Binding::Virq(virq)).map(|(&port, _)| port);
        for port in bound.collect::<Vec<_>>() {
            self.raise(id, port);
        }
    }

    /// Every port of every domain that runs.
    pub(crate) fn all_ports(&self) -> Vec<(DomId, Port)> {
        let running = self.domains.iter().filter(|(_, dom)| dom.life.get());
        running.flat_map(|(&id, dom)| dom.ports.keys().map(move |&port| (id, port))).collect()
    }

    fn close_port(&mut self, id: DomId, port: Port) -> Result<(), Errno> {
        let dom = self.domains.get_mut(&id).ok_or(Errno::ESRCH)?;
        let gone = dom.ports.remove(&port).ok_or(Errno::EINVAL)?;
        if let Binding::Interdomain { remote, port } = gone.binding
            && let Some(theirs) = self.domains.get_mut(&remote).and_then(|dom| dom.ports.get_mut(&port))
        {
            // The other end can be bound anew, by the same domain.
            theirs.binding = Binding::Unbound { remote: id };
        }
        Ok(())
    }

    pub(crate) fn close_all_ports(&mut self, id: DomId) {
        let ports: Vec<Port> =
            self.domains.get(&id).into_iter().flat_map(|dom| dom.ports.keys().copied()).collect();
        for port in ports {
            let closed = self.close_port(id, port);
            assert_eq!(closed, Ok(()), "the port was listed above");
        }
    }
}

impl World {
    /// Raises a port although nobody sent an event: at once, whatever the executor does.
    pub fn raise(&self, id: DomId, port: Port) {
        self.state_mut().arrive(id, port);
    }
}

impl EventChannels for Domain {
    fn alloc_unbound(&self, owner: DomId, remote: DomId) -> Result<Port, Errno> {
        let mut state = self.call(Call::AllocUnbound, || format!("alloc_unbound {owner} for {remote}"))?;
        if owner != DomId::SELF && owner != self.id() && self.id() != DomId::DOM0 {
            return Err(Errno::EPERM);
        }
        let remote = self.resolve(remote);
        let dom = state.domain_mut(self.resolve(owner))?;
        let port = dom.free_port()?;
        dom.ports.insert(port, PortState::new(Binding::Unbound { remote }));
        Ok(port)
    }

    fn bind_interdomain(&self, remote: DomId, remote_port: Port) -> Result<Port, Errno> {
        let mut state = self.call(Call::BindInterdomain, || format!("bind_interdomain {remote}"))?;
        let (us, remote) = (self.id(), self.resolve(remote));
        let port = state.domain_mut(us)?.free_port()?;
        let theirs = state.domain_mut(remote)?.ports.get_mut(&remote_port).ok_or(Errno::EINVAL)?;
        if theirs.binding != (Binding::Unbound { remote: us }) {
            return Err(Errno::EINVAL);
        }
        theirs.binding = Binding::Interdomain { remote: us, port };
        let ours = PortState::new(Binding::Interdomain { remote, port: remote_port });
        state.domain_mut(us)?.ports.insert(port, ours);
        state.raise(us, port);
        Ok(port)
    }

    fn bind_virq(&self, virq: Virq, vcpu: VcpuId) -> Result<Port, Errno> {
        let mut state = self.call(Call::BindVirq, || format!("bind_virq {}", virq.0))?;
        let dom = state.domain_mut(self.id())?;
        if vcpu.0 >= dom.max_vcpus {
            return Err(Errno::ENOENT);
        }
        if dom.ports.values().any(|port| port.binding == Binding::Virq(virq)) {
            return Err(Errno::EEXIST);
        }
        let port = dom.free_port()?;
        dom.ports.insert(port, PortState::new(Binding::Virq(virq)));
        Ok(port)
    }

    fn send(&self, port: Port) -> Result<(), Errno> {
        let mut state = self.call(Call::Send, || format!("send {}", port.0))?;
        state.sent += 1;
        let binding = state.domain_mut(self.id())?.ports.get(&port).map(|port| port.binding);
        match binding.ok_or(Errno::EINVAL)? {
            Binding::Interdomain { remote, port } => state.raise(remote, port),
            // There is nobody to wake.
            Binding::Unbound { .. } => {}
            Binding::Virq(_) => return Err(Errno::EINVAL),
        }
        Ok(())
    }

    fn is_bound(&self, port: Port) -> Result<bool, Errno> {
        let mut state = self.call(Call::Status, || format!("status {}", port.0))?;
        if port.0 >= PORTS {
            return Err(Errno::EINVAL);
        }
        let ours = state.domain_mut(self.id())?.ports.get(&port);
        Ok(ours.is_some_and(|port| matches!(port.binding, Binding::Interdomain { .. })))
    }

    fn close(&self, port: Port) -> Result<(), Errno> {
        let mut state = self.call(Call::Close, || "close".into())?;
        let closed = state.close_port(self.id(), port);
        assert_eq!(closed, Ok(()), "{} closes port {}, which is not its own", self.id(), port.0);
        closed
    }

    fn unmask(&self, port: Port) -> Result<(), Errno> {
        let mut state = self.call(Call::Unmask, || format!("unmask {}", port.0))?;
        let ours = state.domain_mut(self.id())?.ports.get_mut(&port).ok_or(Errno::EINVAL)?;
        ours.masked = false;
        if ours.pending {
            state.raise(self.id(), port);
        }
        Ok(())
    }
}

impl Wait for Domain {
    fn poll_event(&self, port: Port, context: &mut Context<'_>) -> Poll<()> {
        if !self.runs() {
            return Poll::Pending;
        }
        let mut state = self.state();
        let dom = state.domain_mut(self.id()).expect("a domain that runs exists");
        let ours = dom.ports.get_mut(&port);
        let ours =
            ours.unwrap_or_else(|| panic!("{} waits for port {}, which is not its own", self.id(), port.0));
        if core::mem::take(&mut ours.marked) {
            return Poll::Ready(());
        }
        ours.waker = Some(context.waker().clone());
        // As the runtime does it: a port is unmasked when somebody waits.
        if core::mem::take(&mut ours.masked) && ours.pending {
            state.raise(self.id(), port);
        }
        Poll::Pending
    }
}
