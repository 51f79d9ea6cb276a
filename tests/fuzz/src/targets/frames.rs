//! Frames from the wire and from guests, and the slots that carry the latter.

use proto_io::netif::extra::{EXTRA_BYTES, Extra};
use proto_io::netif::packet::{Assembler, MIN_FRAME};
use proto_io::netif::rx::{RxRequest, RxResponse};
use proto_io::netif::tx::{TxFlags, TxRequest, TxResponse};
use proto_io::netif::{RX_SLOT, Status, TX_SLOT};
use proto_xen::Gref;
use stubdoms_net_core::arp::Arp;
use stubdoms_net_core::conntrack::Limits;
use stubdoms_net_core::forward::{Egress, Forwarder, Sizes};
use stubdoms_net_core::packet::{Ethernet, Packet, put_word};
use stubdoms_net_core::vif::VifId;
use stubdoms_net_core::{Duration, Instant, Ipv4Addr, MAX_FRAME, Mac, checksum};

use super::input::{Input, put_piece};

/// The slots of a tx ring, one after the other.
pub(super) fn netif_tx(bytes: &[u8]) {
    let mut assembler = Assembler::new();
    let mut slots = 0;
    for slot in bytes.as_chunks::<TX_SLOT>().0 {
        slots += 1;
        match assembler.add(slot) {
            // The vif is closed.
            Err(_) => return,
            Ok(None) => assert_eq!(assembler.pending(), slots),
            Ok(Some(packet)) => {
                assert_eq!(packet.slots(), slots, "every slot is answered");
                assert_eq!(packet.responses(Status::ERROR).count(), slots);
                slots = 0;
                let Ok(content) = packet.content else { continue };
                let sum: usize = content.fragments.iter().map(|fragment| usize::from(fragment.size)).sum();
                assert_eq!(sum, usize::from(content.length));
                assert!(usize::from(content.length) >= MIN_FRAME);
                let within = |fragment: &proto_io::netif::packet::Fragment| {
                    fragment.size > 0 && usize::from(fragment.offset) + usize::from(fragment.size) <= 4096
                };
                assert!(content.fragments.iter().all(within));
            }
        }
    }
}

/// Each kind of slot is written as it was read.
pub(super) fn netif_slots(bytes: &[u8]) {
    for slot in bytes.as_chunks::<TX_SLOT>().0 {
        assert_eq!(&TxRequest::parse(slot).emit(), slot);
        let response = TxResponse::parse(slot);
        assert_eq!(TxResponse::parse(&response.emit()), response);
    }
    for slot in bytes.as_chunks::<RX_SLOT>().0 {
        let request = RxRequest::parse(slot);
        assert_eq!(RxRequest::parse(&request.emit()), request);
        assert_eq!(&RxResponse::parse(slot).emit(), slot);
    }
    for slot in bytes.as_chunks::<EXTRA_BYTES>().0 {
        let (extra, more) = Extra::parse(slot);
        assert_eq!(Extra::parse(&extra.emit(more)), (extra, more));
    }
}

pub(super) fn tx_slots() -> Vec<Vec<u8>> {
    let request =
        |id, flags, offset, size| TxRequest { gref: Gref(8), offset, flags, id, size }.emit().to_vec();
    let hash = Extra::Hash { kind: 0, algorithm: 0, value: [0; 4] }.emit(false);
    let mut extra = [0; TX_SLOT];
    extra[..EXTRA_BYTES].copy_from_slice(&hash);
    let packet = [
        request(5, TxFlags::MORE_DATA | TxFlags::EXTRA_INFO | TxFlags::CSUM_BLANK, 100, 300),
        extra.to_vec(),
        request(6, TxFlags::MORE_DATA, 10, 50),
        request(7, TxFlags::empty(), 4000, 96),
    ];
    vec![packet.concat(), request(1, TxFlags::empty(), 0, 60).repeat(3)]
}

/// An IPv4 packet and, from the same bytes, an ARP message.
pub(super) fn packet(bytes: &[u8]) {
    if let Ok(packet) = Packet::parse(bytes) {
        assert_eq!(checksum::of(bytes.get(..20).expect("a header")), 0, "its header is damaged");
        // Answers to it are packets, whatever it is.
        let mut out = [0; MAX_FRAME];
        for length in [
            stubdoms_net_core::reply::tcp_reset(&packet, bytes, &mut out),
            stubdoms_net_core::reply::echo(&packet, bytes, &mut out),
        ]
        .into_iter()
        .flatten()
        {
            assert!(Packet::parse(&out[..length]).is_ok(), "an answer is no packet");
            out = [0; MAX_FRAME];
        }
    }
    if let Some(arp) = Arp::parse(bytes) {
        let reply = arp.reply(OUR_MAC);
        let (_, payload) = Ethernet::parse(&reply).expect("what we send has a header");
        assert!(Arp::parse(payload).is_some(), "an answer is no ARP message");
    }
}

pub(super) fn packets() -> Vec<Vec<u8>> {
    let mut seeds = vec![
        udp(GUEST, REMOTE, 1000, 53, b"question"),
        tcp(GUEST, REMOTE, 2),
        tcp(REMOTE, GUEST, 0x12),
        echo(GUEST, REMOTE),
        error(REMOTE, GUEST, &udp(GUEST, REMOTE, 1000, 53, b"question")),
    ];
    seeds.push(Arp::request(OUR_MAC, OURS, ROUTER)[14..].to_vec());
    seeds
}

const OUR_MAC: Mac = Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
const ROUTER_MAC: Mac = Mac([0x52, 0x55, 10, 0, 2, 2]);
const GUEST_MAC: Mac = Mac([0, 0x16, 0x3e, 0, 0, 1]);
const OURS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const GUEST: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 2);
const REMOTE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const VIF: VifId = VifId::new(0).expect("the first");

/// Looks at everything that is sent.
#[derive(Default)]
struct Ports {
    full: bool,
}

impl Ports {
    fn sent(&self, frame: &[u8]) -> bool {
        assert!(frame.len() <= MAX_FRAME);
        let (ethernet, payload) = Ethernet::parse(frame).expect("what is sent has a header");
        if ethernet.ethertype == 0x0800 {
            assert_eq!(checksum::of(payload.get(..20).expect("a header")), 0, "a damaged packet is sent");
        }
        !self.full
    }
}

impl Egress for Ports {
    fn uplink(&mut self, frame: &[u8]) -> bool {
        self.sent(frame)
    }

    fn vif(&mut self, vif: VifId, frame: &[u8]) -> bool {
        assert_eq!(vif, VIF);
        self.sent(frame)
    }
}

/// Frames from both sides while time passes. Of each frame the step tells whether its checksums are put
/// right first, which no mutation does by itself.
pub(super) fn forward(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut now = Instant::from_secs(3);
    let sizes = Sizes { flows: Limits { flows: 16, flows_per_vif: 8 }, neighbors: 4, waiting: 4 };
    let mut machine = Forwarder::new(now, OUR_MAC, sizes, [9; 32]);
    machine.connect_vif(VIF, GUEST_MAC).expect("a free vif");
    let mut ports = Ports::default();
    machine.on_link(now, true);
    machine.poll(now, &mut ports);
    let mut transaction = [0; 4];
    while !input.is_empty() {
        let step = input.byte();
        match step % 8 {
            0..=2 => {
                let mut frame = input.piece().to_vec();
                repair(&mut frame, step, transaction);
                machine.on_uplink_frame(now, &frame, &mut ports);
            }
            3 | 4 => {
                let mut frame = input.piece().to_vec();
                repair(&mut frame, step, transaction);
                machine.on_vif_frame(now, VIF, &frame, &mut ports);
            }
            5 => {
                now += Duration::from_millis(u64::from(input.half()) << (step >> 5));
                let next = machine.poll(now, &mut ports);
                assert!(next.is_none_or(
                    |next| next >= now || machine.poll(now, &mut ports).is_none_or(|next| next > now)
                ));
            }
            6 => {
                ports.full = step & 8 != 0;
                machine.on_link(now, step & 16 == 0);
            }
            _ => {
                machine.disconnect_vif(VIF);
                machine.connect_vif(VIF, GUEST_MAC).expect("a free vif");
                transaction = input.array();
            }
        }
        while machine.take_event().is_some() {}
        assert!(machine.flows() <= 16);
    }
}

/// Puts lengths and checksums of a frame right as far as it is IPv4, and DHCP's transaction number.
fn repair(frame: &mut [u8], step: u8, transaction: [u8; 4]) {
    if step & 0x80 != 0 || frame.len() < 14 + 20 || frame[12..14] != [8, 0] {
        return;
    }
    let ip = &mut frame[14..];
    let header = usize::from(ip[0] & 15) * 4;
    if header != 20 {
        return;
    }
    let total = ip.len().min(0xffff) as u16;
    put_word(ip, 2, total);
    put_word(ip, 10, 0);
    let sum = checksum::of(&ip[..20]);
    put_word(ip, 10, sum);
    let (source, destination) = (address(ip, 12), address(ip, 16));
    let protocol = ip[9];
    let segment = &mut ip[20..];
    match protocol {
        17 if segment.len() >= 8 => {
            put_word(segment, 4, total - 20);
            if transaction != [0; 4] && segment.len() >= 16 && segment[2..4] == [0, 68] {
                segment[12..16].copy_from_slice(&transaction);
            }
            put_word(segment, 6, 0);
            let sum = checksum::of_segment(source, destination, 17, segment);
            put_word(segment, 6, sum);
        }
        6 if segment.len() >= 20 => {
            put_word(segment, 16, 0);
            let sum = checksum::of_segment(source, destination, 6, segment);
            put_word(segment, 16, sum);
        }
        1 if segment.len() >= 8 => {
            put_word(segment, 2, 0);
            let sum = checksum::of(segment);
            put_word(segment, 2, sum);
        }
        _ => {}
    }
}

fn address(bytes: &[u8], at: usize) -> Ipv4Addr {
    stubdoms_net_core::packet::address(bytes, at).unwrap_or(Ipv4Addr::UNSPECIFIED)
}

/// A guest that asks, a router that answers, time that passes.
pub(super) fn conversations() -> Vec<Vec<u8>> {
    let to_us = |packet: &[u8]| frame(ROUTER_MAC, OUR_MAC, packet);
    let from_guest = |packet: &[u8]| frame(GUEST_MAC, Mac([0xfe, 0xff, 0xff, 0xff, 0xff, 0xff]), packet);
    let mut seed = Vec::new();
    let mut say = |step: u8, frame: &[u8]| {
        seed.push(step);
        put_piece(&mut seed, frame);
    };
    for kind in [2, 5] {
        say(0, &to_us(&dhcp(kind)));
    }
    say(0, &Arp::request(ROUTER_MAC, ROUTER, OURS));
    say(3, &from_guest(&udp(GUEST, REMOTE, 1000, 53, b"question")));
    say(3, &from_guest(&tcp(GUEST, REMOTE, 2)));
    say(3, &from_guest(&echo(GUEST, REMOTE)));
    let mut answer = Arp::request(ROUTER_MAC, ROUTER, OURS);
    answer[21] = 2;
    say(0, &answer);
    say(1, &to_us(&udp(REMOTE, OURS, 53, 40_000, b"answer")));
    say(1, &to_us(&error(REMOTE, OURS, &udp(OURS, REMOTE, 40_000, 53, b"question"))));
    seed.extend([5, 0xff, 0xff, 6, 5, 1, 0, 7, 1, 2, 3, 4]);
    vec![seed]
}

fn frame(source: Mac, destination: Mac, packet: &[u8]) -> Vec<u8> {
    let header = Ethernet { destination, source, ethertype: 0x0800 }.emit();
    [&header, packet].concat()
}

fn ipv4(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, segment: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0];
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(segment);
    let mut frame = frame(ROUTER_MAC, OUR_MAC, &packet);
    repair(&mut frame, 0, [0; 4]);
    frame.split_off(14)
}

fn udp(source: Ipv4Addr, destination: Ipv4Addr, from: u16, to: u16, data: &[u8]) -> Vec<u8> {
    let mut segment = [from.to_be_bytes(), to.to_be_bytes(), [0, 0], [0, 0]].concat();
    segment.extend(data);
    ipv4(source, destination, 17, &segment)
}

fn tcp(source: Ipv4Addr, destination: Ipv4Addr, flags: u8) -> Vec<u8> {
    let mut segment = vec![4, 1, 1, 0xbb];
    segment.extend([0; 8]);
    segment.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    ipv4(source, destination, 6, &segment)
}

fn echo(source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
    ipv4(source, destination, 1, &[8, 0, 0, 0, 0, 7, 0, 1, 1, 2, 3, 4])
}

/// "Port unreachable" about a packet.
fn error(source: Ipv4Addr, destination: Ipv4Addr, about: &[u8]) -> Vec<u8> {
    let mut segment = vec![3, 3, 0, 0, 0, 0, 0, 0];
    segment.extend(&about[..28]);
    ipv4(source, destination, 1, &segment)
}

/// An offer (2) or an acknowledgement (5). Source: RFC 2131, section 2.
fn dhcp(kind: u8) -> Vec<u8> {
    let mut message = vec![2, 1, 6, 0];
    message.extend([0; 12]);
    message.extend(OURS.octets());
    message.extend(ROUTER.octets());
    message.extend([0; 4]);
    message.extend(OUR_MAC.0);
    message.resize(236, 0);
    message.extend([99, 130, 83, 99, 53, 1, kind, 54, 4, 10, 0, 2, 2, 1, 4, 255, 255, 255, 0]);
    message.extend([3, 4, 10, 0, 2, 2, 6, 4, 10, 0, 2, 3, 51, 4, 0, 0, 14, 16, 255]);
    udp(ROUTER, Ipv4Addr::BROADCAST, 67, 68, &message)
}
