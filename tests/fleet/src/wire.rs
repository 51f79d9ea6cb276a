//! The network card of net, and the network behind it: a DHCP server, a router, an echo on its port 7.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    net::Ipv4Addr,
};

use stubdoms_net_core::Mac;
use tests_fakexen::{Domain, pci::Owner};

use crate::ground::Bell;

/// The card's hardware address.
pub const CARD: Mac = Mac([0x52, 0x54, 0, 0, 0, 1]);
/// The router, which is server for everything.
pub const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// The port of the echo.
pub const ECHO: u16 = 7;

const ROUTER_MAC: Mac = Mac([0x52, 0x55, 10, 0, 2, 2]);
const LEASED: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const ETHERNET: usize = 14;
const UDP: usize = ETHERNET + 20;
const PAYLOAD: usize = UDP + 8;
/// Frames that the card holds.
const QUEUE: usize = 64;

/// The card, as its driver has it.
#[derive(Default)]
pub struct Card {
    received: RefCell<VecDeque<Vec<u8>>>,
    /// Frames came in.
    pub interrupt: Bell,
    /// Frames that went out.
    pub sent: Cell<usize>,
}

impl Card {
    /// What its reset does.
    pub fn reset(&self) {
        self.received.borrow_mut().clear();
        self.interrupt.reset();
    }

    /// Sends a frame.
    ///
    /// # Panics
    /// If `driver` was not given the card.
    pub fn transmit(&self, driver: &Domain, frame: &[u8]) {
        assert_eq!(driver.world().owner(), Owner::Domain(driver.id()), "{} has no card", driver.id());
        self.sent.set(self.sent.get() + 1);
        let Some(answer) = answer(frame) else { return };
        let mut received = self.received.borrow_mut();
        if received.len() < QUEUE {
            received.push_back(answer);
            self.interrupt.signal(());
        }
    }

    /// Takes the next frame that came in.
    pub fn receive(&self) -> Option<Vec<u8>> {
        self.received.borrow_mut().pop_front()
    }
}

/// What the network answers to a frame.
fn answer(frame: &[u8]) -> Option<Vec<u8>> {
    match (frame.get(12..14)?, frame.get(23)) {
        ([8, 6], _) if frame.get(38..42)? == ROUTER.octets() => Some(arp_reply(frame)),
        ([8, 0], Some(17)) if frame.get(UDP + 2..UDP + 4)? == [0, 67] => dhcp(frame),
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
fn dhcp(frame: &[u8]) -> Option<Vec<u8>> {
    let request = frame.get(PAYLOAD..)?;
    let kind = if request.get(242)? == &1 { 2 } else { 5 };
    let mut message = vec![0; 240];
    message[..4].copy_from_slice(&[2, 1, 6, 0]);
    message[4..8].copy_from_slice(request.get(4..8)?);
    message[16..20].copy_from_slice(&LEASED.octets());
    message[28..34].copy_from_slice(&CARD.0);
    message[236..].copy_from_slice(&[99, 130, 83, 99]);
    message.extend([53, 1, kind, 54, 4, 10, 0, 2, 2, 51, 4, 0, 0, 14, 16, 1, 4, 255, 255, 255, 0]);
    message.extend([3, 4, 10, 0, 2, 2, 255]);
    Some(udp((ROUTER_MAC, ROUTER, 67), (Mac([255; 6]), Ipv4Addr::BROADCAST, 68), &message))
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
