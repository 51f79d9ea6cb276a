//! Event channel ports that close themselves, and what the ends of devices need of one.

use core::future::poll_fn;
use core::task::{Context, Poll};

use board_support_hyp::{EventChannels, Wait};
use proto_xen::{DomId, Errno, Port};

/// One end of an event channel, as the ends of devices see it.
///
/// An event says "look", never "what": whoever was told looks at the page, and looks again before sleeping.
pub trait Line {
    /// Tells the peer to look.
    ///
    /// # Errors
    /// What Xen answers if the port is not usable. A peer that is gone is no error.
    fn notify(&self) -> Result<(), Errno>;

    /// Whether somebody has the other end. What Xen does not tell counts as nobody: such a port is of no use.
    fn has_peer(&self) -> bool;

    /// Ready if we were told to look since the last time; otherwise the task is woken when we are.
    ///
    /// Only the task that asked last is woken.
    fn poll_look(&self, cx: &mut Context<'_>) -> Poll<()>;
}

/// Waits until the peer tells us to look.
pub async fn look<L: Line>(line: &L) {
    poll_fn(|cx| line.poll_look(cx)).await;
}

/// How often a call about a port is made at once. Xen may be short of something for a moment; a port that stays
/// open is lost, and so is a channel whose event does not go out.
const ATTEMPTS: usize = 3;

/// Makes a call until it works, at most [`ATTEMPTS`] times. What is invalid stays so.
fn persist(mut call: impl FnMut() -> Result<(), Errno>) -> Result<(), Errno> {
    let mut result = call();
    for _ in 1..ATTEMPTS {
        match result {
            Ok(()) | Err(Errno::EINVAL) => break,
            Err(_) => result = call(),
        }
    }
    result
}

/// A port of this domain, closed when dropped.
#[derive(Debug)]
pub struct BoundPort<E: EventChannels, W: Wait> {
    events: E,
    wait: W,
    port: Port,
}

impl<E: EventChannels, W: Wait> BoundPort<E, W> {
    /// Takes over a port that somebody else allocated for us, such as dom0, and unmasks it.
    ///
    /// # Errors
    /// What Xen answers to the unmasking, if there is no such port.
    pub fn adopt(events: E, wait: W, port: Port) -> Result<Self, Errno> {
        let bound = Self { events, wait, port };
        persist(|| bound.events.unmask(port))?;
        Ok(bound)
    }

    /// Allocates a port which `remote` may bind.
    ///
    /// # Errors
    /// What Xen answers, as when there are no ports left.
    pub fn allocate(events: E, wait: W, remote: DomId) -> Result<Self, Errno> {
        let port = events.alloc_unbound(DomId::SELF, remote)?;
        Self::adopt(events, wait, port)
    }

    /// Binds a port that `remote` allocated for us.
    ///
    /// # Errors
    /// What Xen answers, as when the port is not for us.
    pub fn bind(events: E, wait: W, remote: DomId, remote_port: Port) -> Result<Self, Errno> {
        let port = events.bind_interdomain(remote, remote_port)?;
        Self::adopt(events, wait, port)
    }

    /// The port's number in this domain.
    pub fn port(&self) -> Port {
        self.port
    }
}

impl<E: EventChannels, W: Wait> Line for BoundPort<E, W> {
    fn notify(&self) -> Result<(), Errno> {
        persist(|| self.events.send(self.port))
    }

    fn has_peer(&self) -> bool {
        let mut bound = false;
        let asked = persist(|| self.events.is_bound(self.port).map(|is| bound = is));
        asked.is_ok() && bound
    }

    fn poll_look(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.wait.poll_event(self.port, cx)
    }
}

impl<E: EventChannels, W: Wait> Drop for BoundPort<E, W> {
    fn drop(&mut self) {
        // One that is closed already is an invalid argument; of others nothing more can be done.
        let _ = persist(|| self.events.close(self.port));
    }
}

#[cfg(test)]
mod tests {
    use tests_fakexen::{Call, Fault, World};

    use super::*;

    #[test]
    fn a_call_that_fails_once_is_made_again() {
        let (one, other) = (DomId(1), DomId(2));
        let world = World::with_domains(&[one, other]);
        let domain = world.domain(one);
        for call in [Call::Unmask, Call::Send] {
            world.restart(Some(Fault::nth(0).of(call)));
            let port = BoundPort::allocate(domain.clone(), domain.clone(), other).unwrap();
            let peer = world.domain(other);
            let _peers = BoundPort::bind(peer.clone(), peer, one, port.port()).unwrap();
            assert_eq!(port.notify(), Ok(()), "{call:?}");
            assert!(world.failed_call().is_some(), "{call:?}");
        }
    }

    #[test]
    fn a_port_has_a_peer_from_its_binding_until_its_close() {
        let (one, other) = (DomId(1), DomId(2));
        let world = World::with_domains(&[one, other]);
        let domain = world.domain(one);
        for call in [None, Some(Call::Status)] {
            world.restart(call.map(|call| Fault::nth(0).of(call)));
            let port = BoundPort::allocate(domain.clone(), domain.clone(), other).unwrap();
            assert!(!port.has_peer());
            let peer = world.domain(other);
            let peers = BoundPort::bind(peer.clone(), peer, one, port.port()).unwrap();
            assert!(port.has_peer() && peers.has_peer());
            drop(peers);
            assert!(!port.has_peer());
            assert_eq!(world.failed_call().is_some(), call.is_some());
        }
    }

    #[test]
    fn a_port_that_cannot_be_closed_at_once_is_closed() {
        let (one, other) = (DomId(1), DomId(2));
        let world = World::with_domains(&[one, other]);
        let domain = world.domain(one);
        for call in [Call::Close, Call::Unmask] {
            world.restart(Some(Fault::nth(0).of(call)));
            drop(BoundPort::allocate(domain.clone(), domain.clone(), other));
            assert!(world.failed_call().is_some(), "{call:?}");
            assert_eq!(world.ports_in_use(), 0, "{call:?}");
        }
    }
}
