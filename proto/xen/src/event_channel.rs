//! Event channel operations. Source: `event_channel.h`.

use crate::ids::{DomId, Port};

/// Subcommands.
pub mod op {
    /// [`super::BindInterdomain`].
    pub const BIND_INTERDOMAIN: u64 = 0;
    /// [`super::BindVirq`].
    pub const BIND_VIRQ: u64 = 1;
    /// [`super::Single`].
    pub const CLOSE: u64 = 3;
    /// [`super::Single`].
    pub const SEND: u64 = 4;
    /// [`super::Status`].
    pub const STATUS: u64 = 5;
    /// [`super::AllocUnbound`].
    pub const ALLOC_UNBOUND: u64 = 6;
    /// [`super::Single`].
    pub const UNMASK: u64 = 9;
}

/// A port of `domain` that `remote_domain` may bind.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct AllocUnbound {
    /// Owner of the new port.
    pub domain: u16,
    /// Who may bind it.
    pub remote_domain: u16,
    /// Out: the port.
    pub port: u32,
}

/// Binds a new local port to the unbound one of another domain.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct BindInterdomain {
    /// The other domain.
    pub remote_domain: u16,
    /// Not used.
    pub padding: u16,
    /// Its port.
    pub remote_port: u32,
    /// Out: our port.
    pub local_port: u32,
}

/// Binds a virtual interrupt.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct BindVirq {
    /// Which.
    pub virq: u32,
    /// Whose.
    pub vcpu: u32,
    /// Out: our port.
    pub port: u32,
}

/// An operation on one local port.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Single {
    /// Which.
    pub port: u32,
}

/// What a port of a domain is bound to.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Status {
    /// Whose port. [`DomId::SELF`] for ours.
    pub domain: u16,
    /// Which.
    pub port: u32,
    /// Out: one of [`status`].
    pub status: u32,
    /// Out: the virtual CPU that is told of its events.
    pub vcpu: u32,
    /// Out: domain and port of the other end, or what else the port is bound to.
    pub bound_to: [u32; 2],
}

/// What a port can be, as far as we tell.
pub mod status {
    /// Both ends are there.
    pub const INTERDOMAIN: u32 = 2;
}

impl Status {
    /// Asks about a port of ours.
    #[must_use]
    pub const fn of(port: Port) -> Self {
        Self { domain: DomId::SELF.0, port: port.0, status: 0, vcpu: 0, bound_to: [0; 2] }
    }
}

impl AllocUnbound {
    /// A port of `owner` for `remote`.
    #[must_use]
    pub const fn new(owner: DomId, remote: DomId) -> Self {
        Self { domain: owner.0, remote_domain: remote.0, port: 0 }
    }
}

impl BindInterdomain {
    /// A local port for `port` of `remote`.
    #[must_use]
    pub const fn new(remote: DomId, port: Port) -> Self {
        Self { remote_domain: remote.0, padding: 0, remote_port: port.0, local_port: 0 }
    }
}

/// Ports that the two-level layout of `shared_info` has room for.
pub const PORTS: u32 = 4096;
