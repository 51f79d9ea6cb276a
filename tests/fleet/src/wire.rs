//! The network card of net, and the network behind it: a DHCP server, a router, an echo on its port 7, and a time server if a
//! story wants one. With the host of
//! [`far`](crate::far) the router speaks TCP, too.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::poll_fn,
    net::Ipv4Addr,
    rc::Rc,
    task::{Poll, Waker},
    time::Duration,
};

use board_support_drv::nic::{
    Causes, Fault, Link, MAX_FRAME, Nic, NotSent, StartError, Statistics, Stopped, e1000e,
};
use proto_manifest::wiring::Wiring;
use stubdoms_net_core::Mac;
use stubdoms_net_shell::card::Found;
use tests_fakexen::{Domain, World, pci::Owner, time_of_day};

use crate::random;

/// The card's hardware address.
pub const CARD: Mac = Mac([0x52, 0x54, 0, 0, 0, 1]);
/// The router, which is server for everything.
pub const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// The port of the echo.
pub const ECHO: u16 = 7;
/// The port of the time server.
const NTP: u16 = 123;

/// The router's hardware address.
pub const ROUTER_MAC: Mac = Mac([0x52, 0x55, 10, 0, 2, 2]);
const LEASED: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const ETHERNET: usize = 14;
const UDP: usize = ETHERNET + 20;
const PAYLOAD: usize = UDP + 8;
/// Frames that came in and that the card holds.
const QUEUE: usize = 64;
/// Frames that go out and that it holds.
const RING: u16 = 8;

/// Its MSI-X entries, in the order in which the driver of the real one has them.
const CAUSES: [Causes; 3] = [Causes::RECEIVED, Causes::SENT, Causes::LINK];

/// How long it must be left alone after a reset.
const RESET: Duration = Duration::from_millis(5);

/// The card: what outlasts its drivers.
#[derive(Default)]
pub struct Card {
    received: RefCell<VecDeque<Vec<u8>>>,
    /// Frames that were put into the ring and not reported as sent.
    unsent: Cell<u16>,
    /// It does what it must not when it is looked at next.
    broken: Cell<bool>,
    /// The cable is out.
    unplugged: Cell<bool>,
    /// It does not start.
    dead: Cell<bool>,
    /// How often it was reset.
    pub resets: Cell<u32>,
    /// One frame in so many to and from the host of [`far`](crate::far) is lost; none if 0.
    loss: Cell<usize>,
    /// What goes out to the host of [`far`](crate::far), where there is one.
    outgoing: RefCell<Option<VecDeque<Vec<u8>>>>,
    /// Who waits for it.
    far: RefCell<Option<Waker>>,
    /// By how much the network's time is ahead of the machine's. Without it nobody there tells the time.
    pub time_ahead: Cell<Option<Duration>>,
}

impl Card {
    /// Has it do what it must not, once.
    pub fn break_once(&self, world: &World) {
        self.broken.set(true);
        world.interrupt(0);
    }

    /// Takes the cable out, or puts it in.
    pub fn plug(&self, world: &World, plugged: bool) {
        self.unplugged.set(!plugged);
        world.interrupt(2);
    }

    /// Whether it starts from now on when it is told to.
    pub fn starts(&self, starts: bool) {
        self.dead.set(!starts);
    }

    /// From now on one frame in so many to and from that host is lost; none if 0.
    pub fn lose(&self, one_in: usize) {
        self.loss.set(one_in);
    }

    fn is_lost(&self) -> bool {
        self.loss.get() > 0 && random::below(self.loss.get()) == 0
    }

    /// From now on there is a host for whom ARP and TCP are.
    pub fn begin_far(&self) {
        self.outgoing.replace(Some(VecDeque::new()));
    }

    /// The next frame that went out to that host.
    pub fn take_for_far(&self) -> Option<Vec<u8>> {
        self.outgoing.borrow_mut().as_mut()?.pop_front()
    }

    /// Waits for one.
    pub async fn frame_for_far(&self) {
        poll_fn(|context| {
            if self.outgoing.borrow().as_ref().is_some_and(|frames| !frames.is_empty()) {
                return Poll::Ready(());
            }
            self.far.replace(Some(context.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    /// A frame of that host comes in, if it is not lost.
    pub fn come_from_far(&self, world: &World, frame: Vec<u8>) {
        if !self.is_lost() {
            self.come_in(world, frame);
        }
    }

    /// A frame comes in, if the cable is in and there is room.
    fn come_in(&self, world: &World, frame: Vec<u8>) {
        let mut received = self.received.borrow_mut();
        if !self.unplugged.get() && received.len() < QUEUE {
            received.push_back(frame);
            world.interrupt(0);
        }
    }

    /// A frame goes out to the host, if it is for that one.
    fn goes_far(&self, frame: &[u8]) -> bool {
        let mut outgoing = self.outgoing.borrow_mut();
        let Some(outgoing) = outgoing.as_mut().filter(|_| is_for_far(frame)) else { return false };
        if outgoing.len() < QUEUE && !self.is_lost() {
            outgoing.push_back(frame.to_vec());
        }
        if let Some(far) = self.far.take() {
            far.wake();
        }
        true
    }

    fn reset(&self) {
        self.resets.set(self.resets.get() + 1);
        self.received.borrow_mut().clear();
        self.unsent.set(0);
        self.broken.set(false);
    }
}

/// The card as a driver has it that was told to reset it.
pub struct Down {
    card: Rc<Card>,
    driver: Domain,
}

/// The card as a driver has it that runs it.
struct Up(Down);

impl Down {
    /// The card as net finds it in its wiring.
    ///
    /// # Panics
    /// If it is not there.
    #[must_use]
    pub fn found(card: Rc<Card>, driver: &Domain, wiring: &Wiring) -> Found {
        let device = wiring.devices.first().expect("net has the card");
        let interrupts = device.vectors.iter().take(CAUSES.len()).copied().map(u32::from).collect();
        let down = Self { card, driver: driver.clone() };
        down.is_ours();
        down.card.reset();
        Found { card: Box::new(down), interrupts }
    }

    /// Whoever touches the registers must have them.
    fn is_ours(&self) {
        let (id, owner) = (self.driver.id(), self.driver.world().owner());
        assert!(!self.driver.runs() || owner == Owner::Domain(id), "{id} has no card");
    }
}

impl Stopped for Down {
    fn reset_time(&self) -> Duration {
        RESET
    }

    fn start(self: Box<Self>) -> Result<Box<dyn Nic>, (StartError, Box<dyn Stopped>)> {
        self.is_ours();
        if self.card.dead.get() {
            return Err((StartError::E1000e(e1000e::StartError::Reset(u32::MAX)), self));
        }
        Ok(Box::new(Up(*self)))
    }

    fn again(self: Box<Self>) -> Box<dyn Stopped> {
        self.card.reset();
        self
    }
}

impl Nic for Up {
    fn mac(&self) -> [u8; 6] {
        CARD.0
    }

    fn acknowledge(&mut self, interrupt: usize) -> Result<Causes, Fault> {
        self.0.is_ours();
        if interrupt == 1 {
            self.0.card.unsent.set(0);
        }
        Ok(CAUSES[interrupt])
    }

    fn read_link(&mut self) -> Result<Option<Link>, Fault> {
        Ok((!self.0.card.unplugged.get()).then_some(Link::Virtual))
    }

    fn read_statistics(&mut self) -> Statistics {
        Statistics::default()
    }

    fn receive(&mut self, frame: &mut [u8; MAX_FRAME]) -> Result<Option<usize>, Fault> {
        self.0.is_ours();
        if self.0.card.broken.get() {
            return Err(Fault::E1000e(e1000e::Fault::Split));
        }
        let Some(bytes) = self.0.card.received.borrow_mut().pop_front() else { return Ok(None) };
        frame[..bytes.len()].copy_from_slice(&bytes);
        Ok(Some(bytes.len()))
    }

    fn has_room(&mut self, frames: u16) -> bool {
        self.0.card.unsent.get() + frames <= RING
    }

    fn transmit(&mut self, frame: &[u8]) -> Result<(), NotSent> {
        self.0.is_ours();
        let card = &*self.0.card;
        let Card { unsent, unplugged, time_ahead, .. } = card;
        if unsent.get() >= RING {
            return Err(NotSent::Full);
        }
        unsent.set(unsent.get() + 1);
        if !unplugged.get()
            && !card.goes_far(frame)
            && let Some(answer) = answer(frame, time_ahead.get())
        {
            card.come_in(self.0.driver.world(), answer);
        }
        Ok(())
    }

    fn flush(&mut self) {
        if self.0.card.unsent.get() > 0 {
            self.0.driver.world().interrupt(1);
        }
    }

    fn want_room(&mut self) {}

    fn unsent(&mut self) -> u16 {
        self.0.card.unsent.get()
    }

    fn fault(&self) -> Option<Fault> {
        None
    }

    fn stop(self: Box<Self>) -> Box<dyn Stopped> {
        self.0.is_ours();
        self.0.card.reset();
        Box::new(self.0)
    }
}

/// ARP and TCP.
fn is_for_far(frame: &[u8]) -> bool {
    matches!((frame.get(12..14), frame.get(23)), (Some([8, 6]), _) | (Some([8, 0]), Some(6)))
}

/// What the network answers to a frame.
fn answer(frame: &[u8], time_ahead: Option<Duration>) -> Option<Vec<u8>> {
    match (frame.get(12..14)?, frame.get(23)) {
        ([8, 6], _) if frame.get(38..42)? == ROUTER.octets() => Some(arp_reply(frame)),
        ([8, 0], Some(17)) if frame.get(UDP + 2..UDP + 4)? == [0, 67] => dhcp(frame, time_ahead.is_some()),
        ([8, 0], Some(17)) if frame.get(UDP + 2..UDP + 4)? == NTP.to_be_bytes() => {
            let (source, port, payload) = (address(frame, 26)?, port(frame, UDP)?, frame.get(PAYLOAD..)?);
            let now = time_of_day()? + time_ahead?;
            Some(udp((ROUTER_MAC, ROUTER, NTP), (mac(frame)?, source, port), &ntp(payload, now)?))
        }
        ([8, 0], Some(17)) if frame.get(30..34)? == ROUTER.octets() => {
            let (source, port) = (address(frame, 26)?, port(frame, UDP)?);
            let to = port_of(frame, UDP + 2, ECHO)?;
            Some(udp((ROUTER_MAC, ROUTER, to), (mac(frame)?, source, port), frame.get(PAYLOAD..)?))
        }
        _ => None,
    }
}

fn arp_reply(frame: &[u8]) -> Vec<u8> {
    let mut reply = frame.to_vec();
    reply[..6].copy_from_slice(&frame[6..12]);
    reply[6..12].copy_from_slice(&ROUTER_MAC.0);
    reply[21] = 2;
    reply[22..28].copy_from_slice(&ROUTER_MAC.0);
    reply[28..32].copy_from_slice(&ROUTER.octets());
    reply[32..42].copy_from_slice(&frame[22..32]);
    reply
}

/// OFFER to a DISCOVER, ACK to a REQUEST. Source: RFC 2131.
fn dhcp(frame: &[u8], names_time_server: bool) -> Option<Vec<u8>> {
    let request = frame.get(PAYLOAD..)?;
    let kind = if request.get(242)? == &1 { 2 } else { 5 };
    let mut message = vec![0; 240];
    message[..4].copy_from_slice(&[2, 1, 6, 0]);
    message[4..8].copy_from_slice(request.get(4..8)?);
    message[16..20].copy_from_slice(&LEASED.octets());
    message[28..34].copy_from_slice(&CARD.0);
    message[236..].copy_from_slice(&[99, 130, 83, 99]);
    message.extend([53, 1, kind, 54, 4, 10, 0, 2, 2, 51, 4, 0, 0, 14, 16, 1, 4, 255, 255, 255, 0]);
    message.extend([3, 4, 10, 0, 2, 2]);
    if names_time_server {
        message.extend([42, 4, 10, 0, 2, 2]);
    }
    message.push(255);
    Some(udp((ROUTER_MAC, ROUTER, 67), (Mac([255; 6]), Ipv4Addr::BROADCAST, 68), &message))
}

/// A time server's answer. Source: RFC 5905 figure 8.
fn ntp(question: &[u8], now: Duration) -> Option<Vec<u8>> {
    let mut answer = vec![0; 48];
    (answer[0], answer[1]) = (0x24, 1);
    answer[24..32].copy_from_slice(question.get(40..48)?);
    let seconds = ((now.as_secs() + 2_208_988_800) as u32).to_be_bytes();
    for at in [32, 40] {
        answer[at..at + 4].copy_from_slice(&seconds);
    }
    Some(answer)
}

/// A UDP datagram in a frame, from one to the other.
#[must_use]
pub fn udp(from: (Mac, Ipv4Addr, u16), to: (Mac, Ipv4Addr, u16), payload: &[u8]) -> Vec<u8> {
    let mut frame = [to.0.0, from.0.0].concat();
    frame.extend([8, 0]);
    let length = (20 + 8 + payload.len()) as u16;
    let mut header = vec![0x45, 0];
    header.extend(length.to_be_bytes());
    header.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    header.extend(from.1.octets());
    header.extend(to.1.octets());
    let sum: u32 = header.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    header[10..12].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    frame.extend(header);
    frame.extend([from.2, to.2, length - 20, 0].map(u16::to_be_bytes).as_flattened());
    frame.extend(payload);
    frame
}

/// The payload of a datagram from the echo.
#[must_use]
pub fn echoed(frame: &[u8]) -> Option<&[u8]> {
    let from_echo = frame.get(12..14)? == [8, 0] && frame.get(23)? == &17 && port(frame, UDP)? == ECHO;
    let length = usize::from(port(frame, UDP + 4)?);
    frame.get(PAYLOAD..UDP + length).filter(|_| from_echo)
}

fn port(frame: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(frame.get(at..at + 2)?.try_into().ok()?))
}

fn port_of(frame: &[u8], at: usize, wanted: u16) -> Option<u16> {
    port(frame, at).filter(|&found| found == wanted)
}

fn address(frame: &[u8], at: usize) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(frame.get(at..at + 4)?).ok()?))
}

fn mac(frame: &[u8]) -> Option<Mac> {
    Some(Mac(frame.get(6..12)?.try_into().ok()?))
}
