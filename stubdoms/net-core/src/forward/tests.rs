//! Stories with the whole machine: a wire with a router and a DHCP server on one side, guests on the
//! other. Frames of the server and the hosts are written byte by byte here, not with smoltcp.

mod dhcp;
mod hostile;
mod story;

use super::*;
use crate::{
    Duration, checksum,
    packet::put_word,
    uplink::{Event, Unusable},
};
use std::{vec, vec::Vec};

const OUR_MAC: Mac = Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
const ROUTER_MAC: Mac = Mac([0x52, 0x55, 10, 0, 2, 2]);
const GUEST_MAC: Mac = Mac([0, 0x16, 0x3e, 0, 0, 1]);
const OURS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 1);
const GUEST: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 2);
const REMOTE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const VIF: VifId = VifId::new(0).unwrap();

/// Collects what the machine sends.
#[derive(Default)]
struct Sink {
    wire: Vec<Vec<u8>>,
    guest: Vec<Vec<u8>>,
    /// The ports take nothing.
    full: bool,
}

impl Egress for Sink {
    fn uplink(&mut self, frame: &[u8]) -> bool {
        if !self.full {
            self.wire.push(frame.to_vec());
        }
        !self.full
    }

    fn vif(&mut self, vif: VifId, frame: &[u8]) -> bool {
        assert_eq!(vif, VIF);
        if !self.full {
            self.guest.push(frame.to_vec());
        }
        !self.full
    }
}

/// The machine and a clock that jumps from deadline to deadline.
struct Bench {
    machine: Forwarder,
    sink: Sink,
    now: Instant,
    next: Option<Instant>,
    server: dhcp::Server,
}

impl Bench {
    fn new() -> Self {
        let now = Instant::from_secs(3);
        let sizes = Sizes { flows: Limits { flows: 16, flows_per_vif: 8 }, neighbors: 4, waiting: 4 };
        let mut machine = Forwarder::new(now, OUR_MAC, sizes, [9; 32]);
        machine.connect_vif(VIF, GUEST_MAC).unwrap();
        let mut bench =
            Self { machine, sink: Sink::default(), now, next: None, server: dhcp::Server::default() };
        bench.poll();
        bench
    }

    /// One with a lease and a router that answers.
    fn online() -> Self {
        let mut bench = Self::new();
        bench.link(true);
        bench.serve();
        assert_eq!(bench.machine.lease().map(|lease| lease.address.address()), Some(OURS));
        while bench.machine.take_event().is_some() {}
        bench.guest_sends(&udp(GUEST, REMOTE, 1000, 53, b"first"));
        bench.router_answers();
        bench.machine.nat.clear();
        bench.sink = Sink::default();
        bench
    }

    fn poll(&mut self) {
        self.next = self.machine.poll(self.now, &mut self.sink);
    }

    fn link(&mut self, up: bool) {
        self.machine.on_link(self.now, up);
        self.poll();
    }

    fn uplink(&mut self, frame: &[u8]) {
        self.machine.on_uplink_frame(self.now, frame, &mut self.sink);
        self.poll();
    }

    fn vif(&mut self, frame: &[u8]) {
        self.machine.on_vif_frame(self.now, VIF, frame, &mut self.sink);
        self.poll();
    }

    fn guest_sends(&mut self, packet: &[u8]) {
        self.vif(&framed(GATEWAY_MAC, GUEST_MAC, ETHERTYPE_IPV4, packet));
    }

    fn wire_sends(&mut self, packet: &[u8]) {
        self.uplink(&framed(OUR_MAC, ROUTER_MAC, ETHERTYPE_IPV4, packet));
    }

    /// Lets time go on to `until`, with all deadlines on the way.
    fn pass(&mut self, length: Duration) {
        let until = self.now + length;
        let mut steps = 0;
        while let Some(next) = self.next.filter(|next| *next <= until) {
            steps += 1;
            // Once a second is what smoltcp does while the DHCP server's hardware address is unknown.
            assert!(steps < 20 + length.secs(), "the machine wants to be woken all the time");
            self.now = self.now.max(next);
            self.poll();
        }
        self.now = until;
    }

    /// Lets the DHCP server answer everything that was sent, until it is quiet.
    fn serve(&mut self) {
        while let Some(at) = self.sink.wire.iter().position(|frame| dhcp::is_request(frame)) {
            let request = self.sink.wire.remove(at);
            if let Some(answer) = self.server.answer(&request) {
                self.uplink(&answer);
            }
        }
    }

    /// Lets the router answer the last request for its hardware address.
    fn router_answers(&mut self) {
        let asked = |frame: &Vec<u8>| {
            let arp = Arp::parse(&frame[ETHERNET_HEADER..]);
            arp.is_some_and(|arp| {
                (arp.operation, arp.sender, arp.target) == (Operation::Request, OURS, ROUTER)
            })
        };
        let at = self.sink.wire.iter().position(asked).expect("the router was asked");
        self.sink.wire.remove(at);
        self.uplink(&arp_reply(ROUTER_MAC, ROUTER, OUR_MAC, OURS));
    }

    /// What changed at the uplink.
    fn events(&mut self) -> Vec<Event> {
        let all = core::iter::from_fn(|| self.machine.take_event());
        all.filter_map(|event| if let super::Event::Uplink(event) = event { Some(event) } else { None })
            .collect()
    }

    fn dropped(&self, reason: DropReason) -> u64 {
        self.machine.drops().of(reason)
    }
}

fn framed(destination: Mac, source: Mac, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = destination.0.to_vec();
    frame.extend(source.0);
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}

fn arp_reply(sender_mac: Mac, sender: Ipv4Addr, target_mac: Mac, target: Ipv4Addr) -> Vec<u8> {
    let mut payload = vec![0, 1, 8, 0, 6, 4, 0, 2];
    payload.extend(sender_mac.0);
    payload.extend(sender.octets());
    payload.extend(target_mac.0);
    payload.extend(target.octets());
    framed(target_mac, sender_mac, ETHERTYPE_ARP, &payload)
}

fn ip(protocol: u8, source: Ipv4Addr, destination: Ipv4Addr, ttl: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x45, 0, 0, 0, 0, 1, 0x40, 0, ttl, protocol, 0, 0];
    bytes.extend(source.octets());
    bytes.extend(destination.octets());
    put_word(&mut bytes, 2, 20 + payload.len() as u16);
    let sum = checksum::of(&bytes);
    put_word(&mut bytes, 10, sum);
    bytes.extend(payload);
    bytes
}

fn udp(source: Ipv4Addr, destination: Ipv4Addr, from: u16, to: u16, data: &[u8]) -> Vec<u8> {
    let mut payload =
        [from.to_be_bytes(), to.to_be_bytes(), (8 + data.len() as u16).to_be_bytes(), [0; 2]].concat();
    payload.extend(data);
    let sum = checksum::of_segment(source, destination, 17, &payload);
    put_word(&mut payload, 6, sum);
    ip(17, source, destination, 64, &payload)
}

fn tcp(source: Ipv4Addr, destination: Ipv4Addr, from: u16, to: u16, flags: u8) -> Vec<u8> {
    let mut payload = [from.to_be_bytes(), to.to_be_bytes()].concat();
    payload.extend([0, 0, 0, 100, 0, 0, 0, 200, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    let sum = checksum::of_segment(source, destination, 6, &payload);
    put_word(&mut payload, 16, sum);
    ip(6, source, destination, 64, &payload)
}

fn echo(source: Ipv4Addr, destination: Ipv4Addr, kind: u8) -> Vec<u8> {
    let mut payload = vec![kind, 0, 0, 0, 0, 7, 0, 1, b'p', b'i', b'n', b'g'];
    let sum = checksum::of(&payload);
    put_word(&mut payload, 2, sum);
    ip(1, source, destination, 64, &payload)
}

/// The packet in a frame.
fn packet_of(frame: &[u8]) -> Packet {
    Packet::parse(&frame[ETHERNET_HEADER..]).unwrap()
}
