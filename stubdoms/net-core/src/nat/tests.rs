use super::{golden, *};
use proptest::prelude::*;
use rand_chacha::rand_core::SeedableRng;
use std::{vec, vec::Vec};

const GUEST: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 2);
const OURS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const REMOTE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const VIF: VifId = VifId::new(0).unwrap();
const LIMITS: Limits = Limits { flows: 64, flows_per_vif: 64 };

fn nat() -> Nat {
    Nat::new(LIMITS, ChaCha12Rng::from_seed([7; 32]))
}

fn now() -> Instant {
    Instant::from_secs(1)
}

/// A translation that knows the flow of golden.py under each protocol.
fn golden_nat() -> Nat {
    let mut nat = nat();
    for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Echo] {
        let remote_port = if protocol == Protocol::Echo { 0 } else { 443 };
        let inside = Inside { vif: VIF, protocol, address: GUEST, port: 1025, remote: REMOTE, remote_port };
        nat.table.open(now(), Flow { inside, outside_port: 40000 }).unwrap();
    }
    nat
}

#[test]
fn packets_of_guests_come_out_as_the_independent_program_says() {
    for (name, before, after) in golden::OUT {
        let mut bytes = before.to_vec();
        let packet = Packet::parse(before).unwrap();
        assert_eq!(golden_nat().outward(now(), VIF, OURS, &packet, &mut bytes), Ok(()), "{name}");
        assert_eq!(bytes, *after, "{name}");
    }
}

#[test]
fn packets_of_the_wire_come_out_as_the_independent_program_says() {
    for (name, before, after) in golden::IN {
        let mut bytes = before.to_vec();
        let packet = Packet::parse(before).unwrap();
        assert_eq!(golden_nat().inward(now(), &packet, &mut bytes), Ok(VIF), "{name}");
        assert_eq!(bytes, *after, "{name}");
    }
}

#[test]
fn without_a_flow_the_wire_gets_nothing_in() {
    for (name, before, _) in golden::IN {
        let mut bytes = before.to_vec();
        let packet = Packet::parse(before).unwrap();
        assert_eq!(nat().inward(now(), &packet, &mut bytes), Err(Untranslated::NoFlow), "{name}");
        assert_eq!(bytes, *before, "{name}");
    }
}

#[test]
fn only_the_address_and_port_that_the_guest_talks_to_may_answer() {
    let (_, before, _) = golden::IN.iter().find(|(name, ..)| *name == "UDP").unwrap();
    for (at, value) in [(IP_SOURCE, 0xc001), (IP_HEADER, 444), (IP_HEADER + 2, 40001)] {
        let mut bytes = before.to_vec();
        let sum_at = if at < IP_HEADER { IP_CHECKSUM } else { IP_HEADER + 6 };
        change(&mut bytes, at, value, sum_at);
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!(golden_nat().inward(now(), &packet, &mut bytes), Err(Untranslated::NoFlow));
    }
}

#[test]
fn an_error_that_quotes_a_foreign_packet_is_not_let_in() {
    let (_, before, _) = golden::IN.iter().find(|(name, ..)| *name == "PORT_UNREACHABLE").unwrap();
    // The quoted packet claims to come from the guest itself, or to be from another port of ours.
    for (at, value) in [(IP_SOURCE, 0x6440), (IP_HEADER, 40001), (IP_HEADER + 2, 444)] {
        let mut bytes = before.to_vec();
        put_word(&mut bytes, IP_HEADER + ICMP_HEADER + at, value);
        finish_error(&mut bytes);
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!(golden_nat().inward(now(), &packet, &mut bytes), Err(Untranslated::NoFlow));
    }
    // Without the new checksum it is not even looked at.
    let mut bytes = before.to_vec();
    put_word(&mut bytes, IP_HEADER + ICMP_HEADER + IP_HEADER, 40001);
    assert_eq!(Packet::parse(&bytes), Err(crate::packet::Malformed::IcmpChecksum));
}

#[test]
fn a_guest_may_not_send_errors_about_flows_to_third_parties() {
    let (_, before, _) = golden::OUT.iter().find(|(name, ..)| *name == "PORT_UNREACHABLE").unwrap();
    let mut bytes = before.to_vec();
    change(&mut bytes, IP_DESTINATION, 0x0808, IP_CHECKSUM);
    let packet = Packet::parse(&bytes).unwrap();
    assert_eq!(golden_nat().outward(now(), VIF, OURS, &packet, &mut bytes), Err(Untranslated::NoFlow));
}

#[test]
fn a_connection_begins_with_a_syn_of_the_guest() {
    let (_, data, _) = golden::OUT.iter().find(|(name, ..)| *name == "TCP_ODD_DATA").unwrap();
    let packet = Packet::parse(data).unwrap();
    assert_eq!(nat().outward(now(), VIF, OURS, &packet, &mut data.to_vec()), Err(Untranslated::NoFlow));
    let (_, syn_ack, _) = golden::IN.iter().find(|(name, ..)| *name == "TCP_SYN_ACK").unwrap();
    let packet = Packet { source: GUEST, destination: REMOTE, ..Packet::parse(syn_ack).unwrap() };
    assert_eq!(nat().outward(now(), VIF, OURS, &packet, &mut syn_ack.to_vec()), Err(Untranslated::NoFlow));
}

#[test]
fn the_last_hop_ends_here_both_ways() {
    for ttl in [0, 1] {
        for (_, before, _) in golden::OUT {
            let packet = Packet { ttl, ..Packet::parse(before).unwrap() };
            let result = golden_nat().outward(now(), VIF, OURS, &packet, &mut before.to_vec());
            assert_eq!(result, Err(Untranslated::TtlExceeded));
        }
        for (_, before, _) in golden::IN {
            let packet = Packet { ttl, ..Packet::parse(before).unwrap() };
            let result = golden_nat().inward(now(), &packet, &mut before.to_vec());
            assert_eq!(result, Err(Untranslated::TtlExceeded));
        }
    }
}

#[test]
fn ports_are_drawn_from_their_range_and_differ() {
    let mut nat = nat();
    let mut ports: Vec<u16> = (0..64)
        .map(|port| {
            let inside = Inside {
                vif: VIF,
                protocol: Protocol::Udp,
                address: GUEST,
                port,
                remote: REMOTE,
                remote_port: 1,
            };
            nat.open(now(), inside).unwrap()
        })
        .collect();
    assert!(ports.iter().all(|port| PORTS.contains(port)));
    assert!(ports.windows(2).filter(|pair| pair[1] == pair[0] + 1).count() < 3);
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 64);
    let inside =
        Inside { vif: VIF, protocol: Protocol::Tcp, address: GUEST, port: 9, remote: REMOTE, remote_port: 1 };
    assert_eq!(nat.open(now(), inside), Err(Untranslated::TableFull));
}

/// A packet with right checksums; `kind` 0 is a TCP SYN, 1 UDP, 2 UDP without checksum, 3 an echo request.
fn packet(kind: u8, from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), ttl: u8, ident: u16, data: &[u8]) -> Vec<u8> {
    let (protocol, mut payload) = match kind {
        0 => (6, vec![0; 20]),
        1 | 2 => (17, vec![0; 8]),
        _ => (1, vec![8, 0, 0, 0, 0, 0, 0, 1]),
    };
    payload.extend(data);
    let length = payload.len() as u16;
    match kind {
        0 => {
            put_word(&mut payload, 0, from.1);
            put_word(&mut payload, 2, to.1);
            payload[12] = 5 << 4;
            payload[13] = 2;
            let sum = checksum::of_segment(from.0, to.0, 6, &payload);
            put_word(&mut payload, 16, sum);
        }
        1 | 2 => {
            put_word(&mut payload, 0, from.1);
            put_word(&mut payload, 2, to.1);
            put_word(&mut payload, 4, length);
            let sum = checksum::of_segment(from.0, to.0, 17, &payload);
            put_word(
                &mut payload,
                6,
                if kind == 2 {
                    0
                } else if sum == 0 {
                    0xffff
                } else {
                    sum
                },
            );
        }
        _ => {
            put_word(&mut payload, 4, from.1);
            let sum = checksum::of(&payload);
            put_word(&mut payload, 2, sum);
        }
    }
    let mut bytes = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, ttl, protocol, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    put_word(&mut bytes, 2, 20 + length);
    put_word(&mut bytes, 4, ident);
    put_address(&mut bytes, IP_SOURCE, from.0);
    put_address(&mut bytes, IP_DESTINATION, to.0);
    let sum = checksum::of(&bytes);
    put_word(&mut bytes, IP_CHECKSUM, sum);
    bytes.extend(payload);
    bytes
}

/// Recomputes every checksum of `bytes` in full.
fn assert_right(bytes: &[u8]) {
    let packet = Packet::parse(bytes).unwrap();
    let payload = &bytes[IP_HEADER..];
    match packet.transport {
        Transport::Tcp { .. } => {
            assert_eq!(checksum::of_segment(packet.source, packet.destination, 6, payload), 0);
        }
        Transport::Udp { .. } if word(payload, 6) == Some(0) => {}
        Transport::Udp { .. } => {
            assert_eq!(checksum::of_segment(packet.source, packet.destination, 17, payload), 0);
        }
        Transport::Echo { .. } | Transport::Error(_) => {}
    }
}

proptest! {
    /// Out, mirrored as the other end would answer, and in again: the guest sees the mirror of what it
    /// sent, with right checksums all the way.
    #[test]
    fn the_way_back_restores(
        kind in 0u8..4, port: u16, remote: [u8; 4], remote_port: u16, ours: [u8; 4], ttl in 3u8..,
        ident: u16, data in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        let (remote, ours) = (Ipv4Addr::from(remote), Ipv4Addr::from(ours));
        let mut nat = nat();
        let mut bytes = packet(kind, (GUEST, port), (remote, remote_port), ttl, ident, &data);
        let facts = Packet::parse(&bytes).unwrap();
        nat.outward(now(), VIF, ours, &facts, &mut bytes).unwrap();
        assert_right(&bytes);
        let out = Packet::parse(&bytes).unwrap();
        prop_assert_eq!((out.source, out.destination, out.ttl), (ours, remote, ttl - 1));
        let outside_port = match out.transport {
            Transport::Tcp { source, destination, .. } | Transport::Udp { source, destination } => {
                prop_assert_eq!(destination, remote_port);
                source
            }
            Transport::Echo { ident, .. } => ident,
            Transport::Error(_) => unreachable!(),
        };
        prop_assert!(PORTS.contains(&outside_port));
        let mut answer = packet(kind, (remote, remote_port), (ours, outside_port), ttl, ident, &data);
        let mut expected = packet(kind, (remote, remote_port), (GUEST, port), ttl - 1, ident, &data);
        if kind == 3 {
            for (bytes, ident) in [(&mut answer, outside_port), (&mut expected, port)] {
                bytes[IP_HEADER] = 0;
                put_word(bytes, IP_HEADER + 4, ident);
                finish_error(bytes);
            }
        }
        let facts = Packet::parse(&answer).unwrap();
        prop_assert_eq!(nat.inward(now(), &facts, &mut answer), Ok(VIF));
        prop_assert_eq!(answer, expected);
    }

    /// Whatever the bytes, translation neither panics nor grows anything.
    #[test]
    fn damaged_packets_do_no_harm(
        which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), value: u8, cut in any::<prop::sample::Index>(),
    ) {
        let all: Vec<&[u8]> = golden::OUT.iter().chain(golden::IN).map(|(_, before, _)| *before).collect();
        let mut bytes = which.get(&all).to_vec();
        let at = at.index(bytes.len());
        bytes[at] = value;
        bytes.truncate(cut.index(bytes.len() + 1));
        // Let the damage pass the first check.
        if bytes.len() >= IP_HEADER {
            put_word(&mut bytes, IP_CHECKSUM, 0);
            let sum = checksum::of(&bytes[..IP_HEADER]);
            put_word(&mut bytes, IP_CHECKSUM, sum);
        }
        if let Ok(facts) = Packet::parse(&bytes) {
            let mut nat = golden_nat();
            bytes.truncate(facts.length);
            let _ = nat.outward(now(), VIF, OURS, &facts, &mut bytes.clone());
            let _ = nat.inward(now(), &facts, &mut bytes);
            prop_assert!(nat.flows() <= 4);
        }
    }
}
