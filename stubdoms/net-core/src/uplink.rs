//! Our own address on the wire: carrier, DHCP lease, and what is answered under that address.
//!
//! ```text
//!                 carrier                    lease
//!      NoCarrier ────────► Seeking ─────────────────────────► Leased
//!          ▲                  ▲   lost: expired, refused, NAK   │
//!          │                  ├────────────────────────────────┘│
//!          │ HOLD over        │ REACQUIRE over                  │ carrier lost
//!          │                  │                                 ▼
//!          └──────────────────┼──────────────── Leased, held without carrier
//!                             │                                 │ carrier
//!                             └── Leased, seeking again ◄───────┘   (lease ─► Leased)
//! ```
//!
//! A cable that is pulled and put back within [`HOLD`] costs no connection: the lease is kept, and
//! asked for anew at once, for the cable may end in another network now. Without carrier nothing is
//! sent and nothing is timed but the end of the hold.
//!
//! The TCP/IP side is `smoltcp`: it answers ARP and echo requests for our address, and its DHCP socket
//! does RFC 2131 without INIT-REBOOT. What that socket does not tell of an answer, the time servers, is read from the
//! frame with the answer.

use alloc::{boxed::Box, vec::Vec};
use core::{fmt, net::Ipv4Addr};

use heapless::Vec as BoundedVec;
use smoltcp::{
    iface::{Config, Interface, SocketHandle, SocketSet},
    phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken},
    socket::dhcpv4,
    time::{Duration, Instant},
    wire::{
        DhcpPacket, EthernetAddress as Mac, EthernetFrame, HardwareAddress, IpCidr, Ipv4Cidr, Ipv4Packet,
        UdpPacket,
    },
};

use crate::{MAX_FRAME, vif::VIF_ADDRESSES};

/// How long a lease outlives the carrier.
pub const HOLD: Duration = Duration::from_secs(5);

/// What is asked for: subnet mask, router, name servers, time servers. Source: RFC 2132 §3.3, §3.5, §3.8, §8.3.
const WANTED: &[u8] = &[1, 3, 6, NTP_SERVERS];
const NTP_SERVERS: u8 = 42;

/// How long a lease is used after the carrier has come back, unless the server confirms it.
pub const REACQUIRE: Duration = Duration::from_secs(15);

/// What the server gave us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Our address with the length of the network prefix.
    pub address: Ipv4Cidr,
    /// Where everything beyond the network goes.
    pub gateway: Option<Ipv4Addr>,
    /// Name servers, best first.
    pub dns: BoundedVec<Ipv4Addr, 3>,
    /// Time servers, best first.
    pub ntp: BoundedVec<Ipv4Addr, 3>,
}

impl Lease {
    /// The next hop to `destination`: itself if it is on our network, else the gateway.
    #[must_use]
    pub fn next_hop(&self, destination: Ipv4Addr) -> Option<Ipv4Addr> {
        if self.address.contains_addr(&destination) { Some(destination) } else { self.gateway }
    }
}

impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)?;
        match self.gateway {
            Some(gateway) => write!(f, " via {gateway}"),
            None => write!(f, " without gateway"),
        }
    }
}

/// Why a lease is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// The address is no host's, as 127.0.0.1, or the network's own or broadcast address.
    Address(Ipv4Cidr),
    /// The network has fewer than 8 bits of prefix.
    Prefix(Ipv4Cidr),
    /// It overlaps the addresses of our vifs.
    Overlap(Ipv4Cidr),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(cidr) => write!(f, "{cidr} is no host's address"),
            Self::Prefix(cidr) => write!(f, "{cidr} is too large a network"),
            Self::Overlap(cidr) => write!(f, "{cidr} overlaps {VIF_ADDRESSES}, which is ours"),
        }
    }
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Carrier came or went.
    Link(bool),
    /// We have this lease now; the address is new, or what came with it is.
    Leased(Lease),
    /// We have no address any more.
    LeaseLost,
    /// The server gave something that is of no use.
    LeaseRefused(Unusable),
}

/// The machine. It needs to be polled when [`Uplink::poll`] said so, and after every call that may
/// have given it something to say.
pub struct Uplink {
    interface: Interface,
    sockets: SocketSet<'static>,
    dhcp: SocketHandle,
    wire: Wire,
    link: bool,
    lease: Option<Lease>,
    /// The lease is lost at this time unless the server confirms it before.
    held_until: Option<Instant>,
    events: BoundedVec<Event, 8>,
}

impl Uplink {
    /// An uplink without carrier. `seed` chooses transaction numbers.
    #[must_use]
    pub fn new(now: Instant, mac: Mac, seed: u64) -> Self {
        let mut wire = Wire::new();
        let mut config = Config::new(HardwareAddress::Ethernet(mac));
        config.random_seed = seed;
        let interface = Interface::new(config, &mut wire, now);
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let mut dhcp = dhcpv4::Socket::new();
        dhcp.set_parameter_request_list(WANTED);
        let dhcp = sockets.add(dhcp);
        Self {
            interface,
            sockets,
            dhcp,
            wire,
            link: false,
            lease: None,
            held_until: None,
            events: BoundedVec::new(),
        }
    }

    /// Whether there is carrier.
    #[must_use]
    pub fn link(&self) -> bool {
        self.link
    }

    /// The lease in use.
    #[must_use]
    pub fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// What changed since the last call, oldest first.
    pub fn take_event(&mut self) -> Option<Event> {
        if self.events.is_empty() { None } else { Some(self.events.remove(0)) }
    }

    /// Tells about the carrier; saying the same again changes nothing.
    pub fn on_link(&mut self, now: Instant, up: bool) {
        if up == self.link {
            return;
        }
        self.link = up;
        self.tell(Event::Link(up));
        let hold = if up { REACQUIRE } else { HOLD };
        self.held_until = self.lease.is_some().then(|| now + hold);
        if up {
            self.sockets.get_mut::<dhcpv4::Socket>(self.dhcp).reset();
        }
    }

    /// Takes a frame that is for our own address, for all, or from a DHCP server.
    pub fn on_frame(&mut self, now: Instant, frame: &[u8], send: impl FnMut(&[u8])) {
        self.wire.offer(frame);
        self.run(now, send, frame);
    }

    /// Does what time demands; returns when to be called next.
    pub fn poll(&mut self, now: Instant, send: impl FnMut(&[u8])) -> Option<Instant> {
        if self.held_until.is_some_and(|until| until <= now) {
            self.lose();
        }
        if !self.link {
            return self.held_until;
        }
        self.run(now, send, &[]);
        let next = self.interface.poll_at(now, &self.sockets);
        [next, self.held_until].into_iter().flatten().min()
    }

    /// `frame` is what was offered ahead of it, if anything was.
    fn run(&mut self, now: Instant, mut send: impl FnMut(&[u8]), frame: &[u8]) {
        if !self.link {
            self.wire.incoming = None;
            return;
        }
        self.interface.poll(now, &mut self.wire, &mut self.sockets);
        self.wire.flush(&mut send);
        self.look_at_lease(frame);
    }

    fn look_at_lease(&mut self, frame: &[u8]) {
        let (lease, held) = match self.sockets.get_mut::<dhcpv4::Socket>(self.dhcp).poll() {
            None => return,
            // The frame that has just been read is the one that has configured us: nothing else does.
            Some(dhcpv4::Event::Configured(config)) => (lease_of(&config, frame), false),
            // While we seek again after a lost carrier, the old lease serves.
            Some(dhcpv4::Event::Deconfigured) => (Ok(None), self.held_until.is_some()),
        };
        match lease {
            Ok(None) if held => {}
            Ok(None) => self.lose(),
            Ok(Some(lease)) => self.take(lease),
            Err(unusable) => {
                self.lose();
                self.tell(Event::LeaseRefused(unusable));
            }
        }
    }

    fn take(&mut self, lease: Lease) {
        self.held_until = None;
        if self.lease.as_ref() == Some(&lease) {
            return;
        }
        let address = IpCidr::Ipv4(lease.address);
        self.interface.update_ip_addrs(|addresses| {
            addresses.clear();
            // There is room for at least one.
            let _ = addresses.push(address);
        });
        self.interface.routes_mut().remove_default_ipv4_route();
        if let Some(gateway) = lease.gateway {
            let _ = self.interface.routes_mut().add_default_ipv4_route(gateway);
        }
        self.lease = Some(lease.clone());
        self.tell(Event::Leased(lease));
    }

    fn lose(&mut self) {
        self.held_until = None;
        if self.lease.take().is_none() {
            return;
        }
        self.interface.update_ip_addrs(|addresses| addresses.clear());
        self.interface.routes_mut().remove_default_ipv4_route();
        self.tell(Event::LeaseLost);
    }

    fn tell(&mut self, event: Event) {
        // Whoever does not look for long loses the oldest; the state itself is there to be asked.
        if self.events.is_full() {
            self.events.remove(0);
        }
        let _ = self.events.push(event);
    }
}

/// The server's answer as a lease that can be used. `frame` has brought it.
fn lease_of(config: &dhcpv4::Config<'_>, frame: &[u8]) -> Result<Option<Lease>, Unusable> {
    let address = config.address;
    let host = address.address();
    let first = host.octets()[0];
    if !(1..224).contains(&first) || host.is_loopback() || is_edge(address) {
        return Err(Unusable::Address(address));
    }
    if address.prefix_len() < 8 {
        return Err(Unusable::Prefix(address));
    }
    if address.contains_addr(&VIF_ADDRESSES.address()) || VIF_ADDRESSES.contains_addr(&host) {
        return Err(Unusable::Overlap(address));
    }
    let usable = |address: &Ipv4Addr| (1..224).contains(&address.octets()[0]) && *address != host;
    Ok(Some(Lease {
        address,
        gateway: config.router.filter(usable),
        dns: config.dns_servers.iter().copied().filter(usable).collect(),
        ntp: time_servers(frame).filter(usable).take(3).collect(),
    }))
}

/// The time servers that a DHCP message names, in as many options as it likes.
fn time_servers(frame: &[u8]) -> impl Iterator<Item = Ipv4Addr> + use<> {
    let read = || -> Option<Vec<Ipv4Addr>> {
        let packet = Ipv4Packet::new_checked(EthernetFrame::new_checked(frame).ok()?.payload()).ok()?;
        let datagram = UdpPacket::new_checked(packet.payload()).ok()?;
        let message = DhcpPacket::new_checked(datagram.payload()).ok()?;
        let options = message.options().filter(|option| option.kind == NTP_SERVERS);
        let addresses = options.flat_map(|option| option.data.as_chunks::<4>().0);
        Some(addresses.map(|address| Ipv4Addr::from(*address)).collect())
    };
    read().into_iter().flatten()
}

/// Whether the address is the first or the last of its network, where these are no hosts.
fn is_edge(cidr: Ipv4Cidr) -> bool {
    cidr.prefix_len() < 31
        && (cidr.network().address() == cidr.address() || cidr.broadcast() == Some(cidr.address()))
}

/// Where smoltcp reads and writes frames: one to read, a few written ones, all of them ours.
struct Wire {
    incoming: Option<usize>,
    buffer: Box<[u8; MAX_FRAME]>,
    outgoing: Outgoing,
}

/// Frames that smoltcp has written and that wait for [`Wire::flush`].
struct Outgoing {
    frames: Box<[[u8; MAX_FRAME]; OUTGOING]>,
    lengths: BoundedVec<usize, OUTGOING>,
}

/// Frames that one call can make: an answer, a request for a hardware address, a DHCP message. If it
/// were more, smoltcp would find no room and try again at the next call.
const OUTGOING: usize = 4;

impl Wire {
    fn new() -> Self {
        let outgoing = Outgoing { frames: Box::new([[0; MAX_FRAME]; OUTGOING]), lengths: BoundedVec::new() };
        Self { incoming: None, buffer: Box::new([0; MAX_FRAME]), outgoing }
    }

    fn offer(&mut self, frame: &[u8]) {
        if let Some(room) = self.buffer.get_mut(..frame.len()) {
            room.copy_from_slice(frame);
            self.incoming = Some(frame.len());
        }
    }

    fn flush(&mut self, send: &mut impl FnMut(&[u8])) {
        for (frame, length) in self.outgoing.frames.iter().zip(&self.outgoing.lengths) {
            send(&frame[..*length]);
        }
        self.outgoing.lengths.clear();
    }
}

struct Received<'a>(&'a [u8]);

struct Sent<'a>(&'a mut Outgoing);

impl RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

impl TxToken for Sent<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        // smoltcp keeps to the `max_transmission_unit` that it was told.
        assert!(length <= MAX_FRAME, "smoltcp made a frame of {length} bytes");
        let at = self.0.lengths.len();
        // `receive` and `transmit` hand out this token only while there is room.
        let frame = &mut self.0.frames[at];
        let result = f(&mut frame[..length]);
        let _ = self.0.lengths.push(length);
        result
    }
}

impl Device for Wire {
    type RxToken<'a> = Received<'a>;
    type TxToken<'a> = Sent<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received<'_>, Sent<'_>)> {
        if self.outgoing.lengths.is_full() {
            return None;
        }
        let length = self.incoming.take()?;
        Some((Received(&self.buffer[..length]), Sent(&mut self.outgoing)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sent<'_>> {
        if self.outgoing.lengths.is_full() { None } else { Some(Sent(&mut self.outgoing)) }
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = MAX_FRAME;
        capabilities
    }
}
