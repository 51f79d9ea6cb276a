//! A host in the network behind the card, with services over TCP: one is the controller's API, over TLS, one a store of
//! contents. One connection for each request, as control makes them.
//!
//! It is no domain: it runs beside the machine, in the machine's virtual time.

use std::{
    collections::VecDeque,
    fmt,
    io::{Read, Write},
    rc::Rc,
    sync::Arc,
};

use board_support_hyp::{Clock, Instant as Moment, Timer};
use embassy_futures::select::select;
use rustls::{ServerConfig, ServerConnection, time_provider::TimeProvider, version};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject};
use smoltcp::{
    iface::{Config, Interface, SocketHandle, SocketSet},
    phy::{self, Device, DeviceCapabilities, Medium},
    socket::tcp,
    time::Instant,
    wire::{EthernetAddress, HardwareAddress, IpCidr, Ipv4Cidr},
};
use tests_fakexen::{Domain, World, time_of_day};

use crate::{
    http::{Answer, Asked},
    keys,
    random::{self, provider},
    wire::{Card, ROUTER, ROUTER_MAC},
};

/// Connections to one service that may begin at the same time.
const BACKLOG: usize = 8;
/// Bytes that a connection holds each way.
const BUFFER: usize = 32 << 10;

/// Answers a request.
pub type Service = Box<dyn FnMut(&Asked) -> Answer>;

/// The host.
pub struct Far {
    clock: Domain,
    wire: Wire,
    interface: Interface,
    sockets: SocketSet<'static>,
    services: Vec<Listener>,
    connections: Vec<Connection>,
}

struct Listener {
    port: u16,
    tls: Option<Arc<ServerConfig>>,
    service: Service,
}

struct Connection {
    handle: SocketHandle,
    /// Which of the services.
    service: usize,
    tls: Option<ServerConnection>,
    received: Vec<u8>,
    plain: Vec<u8>,
    outgoing: VecDeque<u8>,
    met: bool,
    answered: bool,
}

impl Far {
    /// A host at the router's address.
    ///
    /// # Panics
    /// Never: its address is one.
    #[must_use]
    pub fn new(world: &World, card: Rc<Card>) -> Self {
        card.begin_far();
        let clock = world.dom0();
        let mut wire = Wire { card, world: world.clone() };
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(ROUTER_MAC.0)));
        let mut seed = [0; 8];
        random::fill(&mut seed);
        config.random_seed = u64::from_le_bytes(seed);
        let mut interface = Interface::new(config, &mut wire, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::Ipv4(Ipv4Cidr::new(ROUTER, 24))).expect("there is room");
        });
        let sockets = SocketSet::new(Vec::new());
        Self { clock, wire, interface, sockets, services: Vec::new(), connections: Vec::new() }
    }

    /// Serves a port, over TLS with the controller's certificate if asked for.
    ///
    /// # Panics
    /// If the certificate cannot be used.
    pub fn serve(&mut self, port: u16, secure: Secure, service: Service) {
        let tls = (secure == Secure::Tls).then(tls);
        self.services.push(Listener { port, tls, service });
        for _ in 0..BACKLOG {
            self.listen(self.services.len() - 1);
        }
    }

    /// Runs for ever.
    pub async fn run(mut self) {
        loop {
            let wanted = self.turn();
            let frames = self.wire.card.frame_for_far();
            // Without a deadline only a frame moves anything.
            let Some(at) = wanted else {
                frames.await;
                continue;
            };
            select(frames, self.clock.sleep_until(at)).await;
        }
    }

    /// Does what there is to do, and says when there is more.
    fn turn(&mut self) -> Option<Moment> {
        let now = Instant::from_micros((self.clock.now_ns() / 1000) as i64);
        loop {
            self.interface.poll(now, &mut self.wire, &mut self.sockets);
            if !self.step() {
                break;
            }
        }
        let at = self.interface.poll_at(now, &self.sockets)?;
        // smoltcp counts microseconds, so a moment within this one would not move it.
        let at_ns = (at.total_micros().max(now.total_micros()) as u64 + 1) * 1000;
        Some(Moment::from_nanos(at_ns))
    }

    fn listen(&mut self, service: usize) {
        let buffer = || tcp::SocketBuffer::new(vec![0; BUFFER]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        // Net may be gone for long with the connection's other end.
        socket.set_timeout(Some(smoltcp::time::Duration::from_secs(60)));
        socket.listen(self.services[service].port).expect("the port is one");
        let handle = self.sockets.add(socket);
        let (received, plain, outgoing) = (Vec::new(), Vec::new(), VecDeque::new());
        let (tls, met, answered) = (None, false, false);
        self.connections.push(Connection { handle, service, tls, received, plain, outgoing, met, answered });
    }

    /// Moves all connections on; whether any has moved.
    fn step(&mut self) -> bool {
        let (mut moved, mut fresh) = (false, Vec::new());
        for connection in &mut self.connections {
            let socket = self.sockets.get_mut::<tcp::Socket<'_>>(connection.handle);
            if socket.state() == tcp::State::Listen {
                continue;
            }
            let Listener { tls, service, .. } = &mut self.services[connection.service];
            if !core::mem::replace(&mut connection.met, true) {
                connection.tls = tls.clone().map(|tls| ServerConnection::new(tls).expect("a connection"));
                fresh.push(connection.service);
            }
            moved |= connection.step(socket, service);
        }
        let sockets = &mut self.sockets;
        self.connections.retain(|connection| {
            let over = sockets.get::<tcp::Socket<'_>>(connection.handle).state() == tcp::State::Closed;
            if over {
                sockets.remove(connection.handle);
            }
            !over
        });
        fresh.into_iter().for_each(|service| self.listen(service));
        moved
    }
}

impl fmt::Debug for Far {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a host with {} connections", self.connections.len())
    }
}

/// Whether a service is reached over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secure {
    /// It is.
    Tls,
    /// It is not.
    Plain,
}

impl Connection {
    fn step(&mut self, socket: &mut tcp::Socket<'_>, service: &mut Service) -> bool {
        let before = self.received.len();
        while socket.can_recv() {
            let taken = socket.recv(|bytes| {
                self.received.extend_from_slice(bytes);
                (bytes.len(), ())
            });
            if taken.is_err() {
                break;
            }
        }
        let mut moved = self.received.len() > before;
        self.decrypt(socket);
        if !self.answered
            && let Some(asked) = Asked::parse(&self.plain)
        {
            self.answered = true;
            let answer = service(&asked);
            if answer.is_cut {
                socket.abort();
                return true;
            }
            self.write(&answer.bytes());
        }
        if let Some(tls) = &mut self.tls {
            while tls.wants_write() {
                tls.write_tls(&mut self.outgoing).expect("into memory");
            }
        }
        while !self.outgoing.is_empty() && socket.can_send() {
            let Ok(sent) = socket.send_slice(self.outgoing.make_contiguous()) else { break };
            self.outgoing.drain(..sent);
            moved |= sent > 0;
        }
        let is_over = self.answered || socket.state() == tcp::State::CloseWait;
        if is_over && self.outgoing.is_empty() && socket.may_send() {
            socket.close();
            moved = true;
        }
        moved
    }

    fn decrypt(&mut self, socket: &mut tcp::Socket<'_>) {
        let Some(tls) = &mut self.tls else {
            return self.plain.append(&mut self.received);
        };
        let mut rest = self.received.as_slice();
        while !rest.is_empty() {
            let taken = tls.read_tls(&mut rest).unwrap_or(0);
            let Ok(state) = tls.process_new_packets() else {
                // The device broke the protocol of TLS, which it does when it is ended halfway, never otherwise.
                socket.abort();
                break;
            };
            let mut plain = vec![0; state.plaintext_bytes_to_read()];
            if tls.reader().read_exact(&mut plain).is_ok() {
                self.plain.extend(plain);
            }
            if taken == 0 {
                break;
            }
        }
        self.received.clear();
    }

    fn write(&mut self, bytes: &[u8]) {
        let Some(tls) = &mut self.tls else {
            return self.outgoing.extend(bytes);
        };
        for piece in bytes.chunks(16 << 10) {
            tls.writer().write_all(piece).expect("into memory");
            while tls.wants_write() {
                tls.write_tls(&mut self.outgoing).expect("into memory");
            }
        }
        tls.send_close_notify();
    }
}

/// The controller's TLS server.
fn tls() -> Arc<ServerConfig> {
    let chain = vec![CertificateDer::from_pem_slice(keys::SERVER.0).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_slice(keys::SERVER.1).expect("a key");
    let config = ServerConfig::builder_with_details(Arc::new(provider()), Arc::new(Virtual))
        .with_protocol_versions(&[&version::TLS13])
        .expect("it can be spoken")
        .with_no_client_auth()
        .with_single_cert(chain, key);
    Arc::new(config.expect("the key belongs to the certificate"))
}

/// The machine's time of day.
#[derive(Debug)]
struct Virtual;

impl TimeProvider for Virtual {
    fn current_time(&self) -> Option<UnixTime> {
        time_of_day().map(UnixTime::since_unix_epoch)
    }
}

/// The host's end of the wire.
struct Wire {
    card: Rc<Card>,
    world: World,
}

struct Came(Vec<u8>);

impl phy::RxToken for Came {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, look: F) -> R {
        look(&self.0)
    }
}

struct Room<'a>(&'a Wire);

impl phy::TxToken for Room<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        let mut frame = vec![0; length];
        let result = fill(&mut frame);
        self.0.card.come_from_far(&self.0.world, frame);
        result
    }
}

impl Device for Wire {
    type RxToken<'a> = Came;
    type TxToken<'a> = Room<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Came, Room<'_>)> {
        Some((Came(self.card.take_for_far()?), Room(self)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Room<'_>> {
        Some(Room(self))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}
