//! A network for the tests: virtual time, a wire in memory, and a far host made of smoltcp and rustls' buffered
//! server.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::sync::Arc;
use alloc::task::Wake;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::future::{Future, poll_fn};
use core::net::{IpAddr, Ipv4Addr};
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::io::{Read, Write};

use rustls::{ServerConfig, ServerConnection};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::socket::{tcp, udp};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr, Ipv4Cidr};

use crate::net::{Address, Stack};
use crate::time::Timer;

pub(crate) const US: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 2);
pub(crate) const FAR: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 1);

/// Time that passes when nothing else can happen.
#[derive(Default)]
pub(crate) struct World {
    now: Cell<Duration>,
    next: Cell<Option<Duration>>,
    moved: Cell<bool>,
    /// How often time had to pass.
    pub(crate) waits: Cell<usize>,
}

#[derive(Clone)]
pub(crate) struct VirtualTimer(pub(crate) Rc<World>);

impl Timer for VirtualTimer {
    fn now(&self) -> Duration {
        self.0.now.get()
    }

    async fn sleep_until(&self, at: Duration) {
        poll_fn(|_| self.0.due(at)).await
    }
}

struct Flag(AtomicBool);
impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl World {
    pub(crate) fn now(&self) -> Duration {
        self.now.get()
    }

    /// Ready once `at` has come; until then, time may go on to `at`.
    fn due(&self, at: Duration) -> Poll<()> {
        if self.now.get() >= at {
            return Poll::Ready(());
        }
        self.next.set(Some(self.next.get().map_or(at, |next| next.min(at))));
        Poll::Pending
    }

    /// Runs `main` to its end, beside the others.
    pub(crate) fn run<T>(
        &self,
        main: impl Future<Output = T>,
        mut others: Vec<Pin<Box<dyn Future<Output = ()> + '_>>>,
    ) -> T {
        let flag = Arc::new(Flag(AtomicBool::new(false)));
        let waker = Waker::from(flag.clone());
        let mut cx = Context::from_waker(&waker);
        let mut main = core::pin::pin!(main);
        for _ in 0..2_000_000 {
            flag.0.store(false, Ordering::Relaxed);
            self.moved.set(false);
            self.next.set(None);
            if let Poll::Ready(end) = main.as_mut().poll(&mut cx) {
                return end;
            }
            for other in &mut others {
                let _ = other.as_mut().poll(&mut cx);
            }
            if flag.0.load(Ordering::Relaxed) || self.moved.get() {
                continue;
            }
            self.waits.set(self.waits.get() + 1);
            self.now.set(self.next.get().expect("everything waits and nothing will happen"));
        }
        panic!("no end in sight");
    }
}

/// One end of a wire in memory.
pub(crate) struct End {
    world: Rc<World>,
    incoming: Rc<RefCell<VecDeque<Vec<u8>>>>,
    outgoing: Rc<RefCell<VecDeque<Vec<u8>>>>,
    /// Says whether the next frame is lost.
    lose: Rc<dyn Fn() -> bool>,
}

pub(crate) fn wire(world: &Rc<World>, lose: Rc<dyn Fn() -> bool>) -> (End, End) {
    let (a, b) = (Rc::default(), Rc::default());
    let end = |incoming: &Rc<_>, outgoing: &Rc<_>| End {
        world: world.clone(),
        incoming: Rc::clone(incoming),
        outgoing: Rc::clone(outgoing),
        lose: lose.clone(),
    };
    (end(&a, &b), end(&b, &a))
}

impl End {
    /// Frames sent from this end that nobody has taken yet.
    pub(crate) fn sent(&self) -> usize {
        self.outgoing.borrow().len()
    }

    /// Ends when a frame is there. The world polls everybody whenever one moves.
    pub(crate) fn frames(&self) -> impl AsyncFnMut() + use<> {
        let incoming = self.incoming.clone();
        async move || {
            poll_fn(|_| if incoming.borrow().is_empty() { Poll::Pending } else { Poll::Ready(()) }).await
        }
    }
}

/// Puts a frame on the wire at this end.
pub(crate) fn inject(end: &End, frame: Vec<u8>) {
    end.outgoing.borrow_mut().push_back(frame);
}

pub(crate) struct Frame(Vec<u8>);
impl phy::RxToken for Frame {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

pub(crate) struct Room<'a>(&'a End);
impl phy::TxToken for Room<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        if !(self.0.lose)() {
            self.0.world.moved.set(true);
            self.0.outgoing.borrow_mut().push_back(frame);
        }
        result
    }
}

impl Device for End {
    type RxToken<'a> = Frame;
    type TxToken<'a> = Room<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Frame, Room<'_>)> {
        let frame = self.incoming.borrow_mut().pop_front()?;
        Some((Frame(frame), Room(self)))
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

pub(crate) fn entropy(bytes: &mut [u8]) {
    std::thread_local!(static STATE: Cell<u64> = const { Cell::new(0x2545_f491_4f6c_dd1d) });
    for byte in bytes {
        STATE.with(|state| {
            let mut x = state.get();
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            state.set(x);
            *byte = (x >> 32) as u8;
        });
    }
}

pub(crate) fn stack(device: End) -> Stack<End> {
    let address = Address { mac: [2, 0, 0, 0, 0, 2], address: US, prefix: 30, gateway: Some(FAR) };
    Stack::new(device, address, entropy, Duration::ZERO).unwrap()
}

/// What a far service does once it has read a request.
#[derive(Clone)]
pub(crate) struct Reply {
    pub(crate) bytes: Vec<u8>,
    pub(crate) then: Then,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// close_notify and FIN.
    Close,
    /// FIN alone.
    Leave,
    Reset,
    Hold,
}

pub(crate) fn reply(head: &str, body: &[u8], then: Then) -> Reply {
    let mut bytes = head.as_bytes().to_vec();
    bytes.extend_from_slice(body);
    Reply { bytes, then }
}

/// Given all of a request that came so far; `None` to read on.
pub(crate) type Service = dyn FnMut(&[u8]) -> Option<Reply>;

/// From a datagram to its answer.
type Datagrams = dyn FnMut(&[u8]) -> Option<Vec<u8>>;

struct Listener {
    port: u16,
    tls: Option<Arc<ServerConfig>>,
    service: Box<Service>,
}

struct Connection {
    handle: SocketHandle,
    port: u16,
    met: bool,
    tls: Option<ServerConnection>,
    received: Vec<u8>,
    plain: Vec<u8>,
    outgoing: VecDeque<u8>,
    then: Option<Then>,
}

/// A host with services on ports, and perhaps a DNS and a time server.
pub(crate) struct FarHost {
    device: End,
    interface: Interface,
    sockets: SocketSet<'static>,
    connections: Vec<Connection>,
    services: Vec<Listener>,
    /// DNS and NTP.
    udp: [UdpService; 2],
}

/// What answers on a UDP port.
struct UdpService {
    socket: SocketHandle,
    answer: Box<Datagrams>,
}

impl FarHost {
    pub(crate) fn new(mut device: End) -> Self {
        let config = Config::new(HardwareAddress::Ethernet(EthernetAddress([2, 0, 0, 0, 0, 1])));
        let mut interface = Interface::new(config, &mut device, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::Ipv4(Ipv4Cidr::new(FAR, 30))).unwrap();
        });
        // It answers for every address behind the gateway, as if it were the Internet.
        interface.set_any_ip(true);
        interface.routes_mut().add_default_ipv4_route(FAR).unwrap();
        let mut sockets = SocketSet::new(vec![]);
        let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 8], vec![0; 8192]);
        let mut bound = |port| {
            let mut socket = udp::Socket::new(buffer(), buffer());
            socket.bind(port).unwrap();
            UdpService { socket: sockets.add(socket), answer: Box::new(|_| None) }
        };
        let udp = [bound(53), bound(123)];
        let (connections, services) = (vec![], vec![]);
        FarHost { device, interface, sockets, connections, services, udp }
    }

    pub(crate) fn serve(
        &mut self,
        port: u16,
        tls: Option<Arc<ServerConfig>>,
        service: impl FnMut(&[u8]) -> Option<Reply> + 'static,
    ) {
        self.services.push(Listener { port, tls, service: Box::new(service) });
        for _ in 0..4 {
            self.listen(port);
        }
    }

    pub(crate) fn answer_dns(&mut self, answer: impl FnMut(&[u8]) -> Option<Vec<u8>> + 'static) {
        self.udp[0].answer = Box::new(answer);
    }

    pub(crate) fn answer_ntp(&mut self, answer: impl FnMut(&[u8]) -> Option<Vec<u8>> + 'static) {
        self.udp[1].answer = Box::new(answer);
    }

    fn listen(&mut self, port: u16) {
        let buffer = || tcp::SocketBuffer::new(vec![0; 60_000]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.listen(port).unwrap();
        let handle = self.sockets.add(socket);
        self.connections.push(Connection {
            handle,
            port,
            met: false,
            tls: None,
            received: vec![],
            plain: vec![],
            outgoing: VecDeque::new(),
            then: None,
        });
    }

    pub(crate) async fn run(mut self, world: Rc<World>) {
        poll_fn(|_| {
            let now = Instant::from_micros(world.now.get().as_micros() as i64);
            for _ in 0..4 {
                self.interface.poll(now, &mut self.device, &mut self.sockets);
                self.datagrams();
                self.connections();
            }
            self.interface.poll(now, &mut self.device, &mut self.sockets);
            if let Some(at) = self.interface.poll_at(now, &self.sockets) {
                let _ = world.due(
                    Duration::from_micros(at.total_micros() as u64)
                        .max(world.now.get() + Duration::from_micros(1)),
                );
            }
            Poll::<()>::Pending
        })
        .await
    }

    fn datagrams(&mut self) {
        for UdpService { socket, answer } in &mut self.udp {
            let socket = self.sockets.get_mut::<udp::Socket<'_>>(*socket);
            while let Ok((query, meta)) = socket.recv() {
                if let Some(answer) = answer(query) {
                    let mut back = meta;
                    // The query's destination becomes the answer's source.
                    assert!(matches!(back.local_address.map(IpAddr::from), Some(IpAddr::V4(_))));
                    back.meta = Default::default();
                    socket.send_slice(&answer, back).unwrap();
                }
            }
        }
    }

    fn connections(&mut self) {
        let mut used = vec![];
        for connection in &mut self.connections {
            let socket = self.sockets.get_mut::<tcp::Socket<'_>>(connection.handle);
            let listener = self.services.iter_mut().find(|other| other.port == connection.port).unwrap();
            if socket.state() == tcp::State::Listen {
                continue;
            }
            if !connection.met {
                connection.met = true;
                connection.tls = listener.tls.clone().map(|tls| ServerConnection::new(tls).unwrap());
                used.push(connection.port);
            }
            connection.step(socket, &mut listener.service);
        }
        for port in used {
            self.listen(port);
        }
    }
}

impl Connection {
    fn step(&mut self, socket: &mut tcp::Socket<'_>, service: &mut Service) {
        while socket.can_recv() {
            let _ = socket.recv(|bytes| {
                self.received.extend_from_slice(bytes);
                (bytes.len(), ())
            });
        }
        match &mut self.tls {
            None => self.plain.append(&mut self.received),
            Some(tls) => {
                let mut rest = &self.received[..];
                while !rest.is_empty() && tls.read_tls(&mut rest).is_ok() {
                    if let Ok(state) = tls.process_new_packets() {
                        let mut plain = vec![0; state.plaintext_bytes_to_read()];
                        tls.reader().read_exact(&mut plain).unwrap();
                        self.plain.extend(plain);
                    }
                }
                self.received.clear();
            }
        }
        if self.then.is_none()
            && !self.plain.is_empty()
            && let Some(reply) = service(&self.plain)
        {
            self.then = Some(reply.then);
            match &mut self.tls {
                None => self.outgoing.extend(reply.bytes),
                Some(tls) => {
                    for piece in reply.bytes.chunks(30_000) {
                        tls.writer().write_all(piece).unwrap();
                        while tls.wants_write() {
                            tls.write_tls(&mut self.outgoing).unwrap();
                        }
                    }
                    if reply.then == Then::Close {
                        tls.send_close_notify();
                    }
                }
            }
        }
        if let Some(tls) = &mut self.tls {
            while tls.wants_write() {
                tls.write_tls(&mut self.outgoing).unwrap();
            }
        }
        while !self.outgoing.is_empty() && socket.can_send() {
            let sent = socket.send_slice(self.outgoing.make_contiguous()).unwrap();
            self.outgoing.drain(..sent);
        }
        if self.outgoing.is_empty() && socket.send_queue() == 0 {
            match self.then {
                Some(Then::Close | Then::Leave) => socket.close(),
                Some(Then::Reset) => socket.abort(),
                Some(Then::Hold) | None => {}
            }
        }
        if socket.state() == tcp::State::CloseWait && self.then.is_none() {
            socket.close();
        }
    }
}
