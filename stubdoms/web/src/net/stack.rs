use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use core::net::Ipv4Addr;
use core::pin::pin;
use core::time::Duration;

use embassy_futures::select::{select, select3};
use embassy_futures::yield_now;
use smoltcp::iface::{Config, Interface, PollIngressSingleResult, PollResult, SocketHandle, SocketSet};
use smoltcp::phy::Device;
use smoltcp::socket::{Socket, tcp};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr, Ipv4Cidr};

use super::notice::Notice;
use crate::time::Timer;

/// Frames that are taken, and rounds of sending that are made, before other tasks have a turn.
const BURST: usize = 64;
/// How long a connection that was closed in order may take to say so to the other end.
const LINGER: Duration = Duration::from_secs(5);
/// How soon a device without room for a frame is asked again, if it does not speak up before.
const DEVICE_FULL: Duration = Duration::from_millis(10);

/// Fills a buffer with random bytes that nobody can foresee.
pub type Entropy = fn(&mut [u8]);

/// Where we are on the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Our Ethernet address.
    pub mac: [u8; 6],
    /// Our IPv4 address.
    pub address: Ipv4Addr,
    /// How many bits of it name the network, 0 to 32.
    pub prefix: u8,
    /// Through whom other networks are reached.
    pub gateway: Option<Ipv4Addr>,
}

/// Why an address was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressError {
    /// The Ethernet address is a group's.
    Mac([u8; 6]),
    /// The IPv4 address belongs to no single host.
    Address(Ipv4Addr),
    /// The prefix has more than 32 bits.
    Prefix(u8),
    /// The gateway is not a neighbour.
    Gateway(Ipv4Addr),
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AddressError::Mac(mac) => {
                write!(f, "the Ethernet address {} is a group's", EthernetAddress(*mac))
            }
            AddressError::Address(address) => write!(f, "the address {address} belongs to no single host"),
            AddressError::Prefix(prefix) => write!(f, "the prefix of {prefix} bits is longer than 32"),
            AddressError::Gateway(gateway) => write!(f, "the gateway {gateway} is not on the network"),
        }
    }
}

impl core::error::Error for AddressError {}

impl Address {
    fn check(&self) -> Result<(Ipv4Cidr, EthernetAddress), AddressError> {
        let mac = EthernetAddress(self.mac);
        if !mac.is_unicast() {
            return Err(AddressError::Mac(self.mac));
        }
        if !is_host(self.address) {
            return Err(AddressError::Address(self.address));
        }
        if self.prefix > 32 {
            return Err(AddressError::Prefix(self.prefix));
        }
        let cidr = Ipv4Cidr::new(self.address, self.prefix);
        match self.gateway {
            Some(gateway) if !is_host(gateway) || !cidr.contains_addr(&gateway) => {
                Err(AddressError::Gateway(gateway))
            }
            _ => Ok((cidr, mac)),
        }
    }
}

/// True for what may be one host's address.
pub(super) fn is_host(address: Ipv4Addr) -> bool {
    !(address.is_unspecified() || address.is_multicast() || address.is_broadcast())
}

/// The TCP/IP stack on one device.
pub struct Stack<D: Device> {
    pub(super) inner: RefCell<Inner<D>>,
    work: Notice,
    entropy: Entropy,
}

pub(super) struct Inner<D: Device> {
    device: D,
    pub(super) interface: Interface,
    pub(super) sockets: SocketSet<'static>,
    /// Connections that nobody holds any more, and when we stop waiting for their end.
    leaving: Vec<(SocketHandle, Leave)>,
    has_gateway: bool,
}

enum Leave {
    New,
    Until(Instant),
    Aborted,
}

impl<D: Device> Stack<D> {
    /// A stack on `device`, which must be an Ethernet device.
    ///
    /// # Errors
    /// [`AddressError`] if `address` cannot be ours.
    pub fn new(
        mut device: D,
        address: Address,
        entropy: Entropy,
        now: Duration,
    ) -> Result<Self, AddressError> {
        let (_, mac) = address.check()?;
        let mut config = Config::new(HardwareAddress::Ethernet(mac));
        config.random_seed = random(entropy);
        let interface = Interface::new(config, &mut device, instant(now));
        let sockets = SocketSet::new(Vec::new());
        let inner = Inner { device, interface, sockets, leaving: Vec::new(), has_gateway: false };
        let stack = Stack { inner: RefCell::new(inner), work: Notice::default(), entropy };
        stack.set_address(address)?;
        Ok(stack)
    }

    /// Takes a new address. Connections from the old one end with their time-outs.
    ///
    /// # Errors
    /// [`AddressError`]; the old address stays then.
    pub fn set_address(&self, address: Address) -> Result<(), AddressError> {
        let (cidr, mac) = address.check()?;
        let mut inner = self.inner.borrow_mut();
        let inner = &mut *inner;
        inner.interface.set_hardware_addr(HardwareAddress::Ethernet(mac));
        inner.interface.update_ip_addrs(|addresses| {
            addresses.clear();
            // The list has room for one at least.
            let _ = addresses.push(IpCidr::Ipv4(cidr));
        });
        inner.interface.routes_mut().remove_default_ipv4_route();
        inner.has_gateway = address
            .gateway
            .is_some_and(|gateway| inner.interface.routes_mut().add_default_ipv4_route(gateway).is_ok());
        self.work.give();
        Ok(())
    }

    /// Lends the device, for what its owner has to do with it between two polls.
    pub fn with_device<R>(&self, look: impl FnOnce(&mut D) -> R) -> R {
        look(&mut self.inner.borrow_mut().device)
    }

    /// Resets every connection at once, as when what stands behind the device has forgotten them: whoever waits
    /// for one is told now, not by a time-out.
    pub fn reset_connections(&self) {
        for (_, socket) in self.inner.borrow_mut().sockets.iter_mut() {
            #[allow(
                irrefutable_let_patterns,
                reason = "the enum has fewer variants if no package switches them on"
            )]
            if let Socket::Tcp(socket) = socket {
                socket.abort();
            }
        }
        self.work.give();
    }

    /// Takes frames in and sends what is due, a bounded amount of both. Returns when it wants to be called again
    /// unless something happens before; a time that has passed means at once.
    pub fn poll(&self, now: Duration) -> Option<Duration> {
        let mut inner = self.inner.borrow_mut();
        if inner.poll(instant(now)) {
            return Some(now);
        }
        let next = inner.next(instant(now))?;
        let next = Duration::from_micros(next.total_micros().max(0).unsigned_abs());
        // What is due although nothing could be moved: the device has no room.
        Some(if next <= now { now + DEVICE_FULL } else { next })
    }

    /// Runs the stack for ever: polls when `frames` ends (the device has a frame or has room again; it is called
    /// anew after each poll), when a timer is due, and when a socket has work.
    pub async fn run<T: Timer>(&self, timer: &T, mut frames: impl AsyncFnMut()) -> ! {
        loop {
            let now = timer.now();
            let (frame, work) = (pin!(frames()), pin!(self.work.wait()));
            match self.poll(now) {
                Some(at) if at <= now => yield_now().await,
                Some(at) => {
                    select3(frame, work, pin!(timer.sleep_until(at))).await;
                }
                None => {
                    select(frame, work).await;
                }
            }
        }
    }

    /// How many sockets there are, those included that nobody holds any more.
    pub fn sockets(&self) -> usize {
        self.inner.borrow().sockets.iter().count()
    }

    /// Lets [`Stack::run`] look again.
    pub(super) fn kick(&self) {
        self.work.give();
    }

    /// A port for an outgoing connection that no socket uses, from the range for ephemeral ones (RFC 6335 §6).
    pub(super) fn free_port(&self) -> u16 {
        let inner = self.inner.borrow();
        let taken = |port: u16| {
            inner.sockets.iter().any(|(_, socket)| match socket {
                Socket::Tcp(socket) => socket.local_endpoint().is_some_and(|end| end.port == port),
                Socket::Udp(socket) => socket.endpoint().port == port,
                #[allow(
                    unreachable_patterns,
                    reason = "the enum has more variants if another package switches them on"
                )]
                _ => false,
            })
        };
        loop {
            let port = 0xc000 | random(self.entropy) as u16;
            if !taken(port) {
                return port;
            }
        }
    }

    /// Takes over a connection whose owner left, until the other end knows.
    pub(super) fn leave(&self, handle: SocketHandle) {
        self.inner.borrow_mut().leaving.push((handle, Leave::New));
        self.kick();
    }

    /// True if frames to `to` have somewhere to go.
    pub(super) fn has_route(&self, to: Ipv4Addr) -> bool {
        let inner = self.inner.borrow();
        inner.has_gateway || inner.interface.ip_addrs().iter().any(|cidr| cidr.contains_addr(&to.into()))
    }
}

impl<D: Device> Inner<D> {
    /// True if there may be more to do at once.
    fn poll(&mut self, now: Instant) -> bool {
        self.interface.poll_maintenance(now);
        let mut rounds = 0;
        while rounds < BURST {
            match self.interface.poll_ingress_single(now, &mut self.device, &mut self.sockets) {
                PollIngressSingleResult::None => break,
                _ => rounds += 1,
            }
        }
        let mut sent = 0;
        while sent < BURST {
            match self.interface.poll_egress(now, &mut self.device, &mut self.sockets) {
                PollResult::None => break,
                PollResult::SocketStateChanged => sent += 1,
            }
        }
        self.bury(now);
        rounds == BURST || sent == BURST
    }

    fn bury(&mut self, now: Instant) {
        let Inner { leaving, sockets, .. } = self;
        leaving.retain_mut(|(handle, leave)| {
            let socket = sockets.get_mut::<tcp::Socket<'_>>(*handle);
            // A connection that was reset keeps its addresses until the reset is sent.
            let over = match socket.state() {
                tcp::State::Closed => socket.remote_endpoint().is_none(),
                // Our ports are random, so nobody needs the quiet time.
                tcp::State::TimeWait => true,
                _ => false,
            };
            match leave {
                _ if over => {}
                Leave::New => *leave = Leave::Until(now + LINGER.into()),
                Leave::Until(until) if now < *until => {}
                Leave::Until(_) => {
                    socket.abort();
                    *leave = Leave::Aborted;
                }
                // The reset could not be sent; that is the other end's loss.
                Leave::Aborted => {
                    sockets.remove(*handle);
                    return false;
                }
            }
            if over {
                sockets.remove(*handle);
            }
            !over
        });
    }

    fn next(&mut self, now: Instant) -> Option<Instant> {
        let leaving = self.leaving.iter().map(|(_, leave)| match leave {
            Leave::Until(until) => *until,
            Leave::New | Leave::Aborted => now + DEVICE_FULL.into(),
        });
        self.interface.poll_at(now, &self.sockets).into_iter().chain(leaving).min()
    }
}

fn instant(now: Duration) -> Instant {
    Instant::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}

fn random(entropy: Entropy) -> u64 {
    let mut bytes = [0; 8];
    entropy(&mut bytes);
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use alloc::rc::Rc;

    use proptest::prelude::*;

    use super::*;
    use crate::test_net::{End, FAR, US, entropy, inject, stack, wire};

    fn device() -> (End, End) {
        wire(&Rc::default(), Rc::new(|| false))
    }

    #[test]
    fn addresses_that_cannot_be_ours_are_refused() {
        let sound = Address { mac: [2, 0, 0, 0, 0, 2], address: US, prefix: 30, gateway: Some(FAR) };
        let broadcast = Ipv4Addr::BROADCAST;
        let stack = stack(device().0);
        for (address, error) in [
            (Address { mac: [3; 6], ..sound }, AddressError::Mac([3; 6])),
            (Address { address: broadcast, ..sound }, AddressError::Address(broadcast)),
            (Address { prefix: 33, ..sound }, AddressError::Prefix(33)),
            (
                Address { gateway: Some(Ipv4Addr::new(100, 64, 0, 9)), ..sound },
                AddressError::Gateway(Ipv4Addr::new(100, 64, 0, 9)),
            ),
            (
                Address { gateway: Some(Ipv4Addr::UNSPECIFIED), prefix: 0, ..sound },
                AddressError::Gateway(Ipv4Addr::UNSPECIFIED),
            ),
        ] {
            assert_eq!(stack.set_address(address), Err(error));
            assert_eq!(Stack::new(device().0, address, entropy, Duration::ZERO).err(), Some(error));
        }
        assert!(stack.has_route(Ipv4Addr::new(9, 9, 9, 9)));
        stack.set_address(Address { gateway: None, ..sound }).unwrap();
        assert!(stack.has_route(FAR) && !stack.has_route(Ipv4Addr::new(9, 9, 9, 9)));
    }

    #[test]
    fn a_flood_is_taken_in_bounded_portions() {
        let (here, there) = device();
        let stack = stack(here);
        for _ in 0..1000 {
            inject(&there, alloc::vec![0xff; 60]);
        }
        assert_eq!(stack.poll(Duration::ZERO), Some(Duration::ZERO), "more at once");
        assert_eq!(there.sent(), 1000 - BURST);
        while stack.poll(Duration::ZERO).is_some() {}
        assert_eq!(there.sent(), 0);
    }

    proptest! {
        /// Frames of any content, with headers that get them far: no panic.
        #[test]
        fn any_frames_are_survived(
            frames in proptest::collection::vec((0usize..5, proptest::collection::vec(any::<u8>(), 0..120)), 1..20),
        ) {
            let (here, there) = device();
            let stack = stack(here);
            let _socket = stack.udp();
            for (kind, noise) in frames {
                let mut frame = alloc::vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
                let proto = [1, 6, 17][kind % 3];
                match kind {
                    3 => frame.extend([8, 6, 0, 1, 8, 0, 6, 4]),
                    4 => {}
                    _ => {
                        frame.extend([8, 0, 0x45, 0, 0, 20 + noise.len() as u8, 0, 0, 0, 0, 64, proto, 0, 0]);
                        frame.extend(FAR.octets());
                        frame.extend(US.octets());
                        let sum = frame[14..].chunks(2).fold(0u32, |sum, pair| {
                            sum + u32::from(u16::from_be_bytes([pair[0], pair[1]]))
                        });
                        let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
                        frame[24..26].copy_from_slice(&sum.to_be_bytes());
                    }
                }
                frame.extend(noise);
                inject(&there, frame);
            }
            stack.poll(Duration::ZERO);
            stack.poll(Duration::from_secs(1));
        }
    }
}
