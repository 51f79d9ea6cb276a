//! What enemies try, on either side.

use super::*;
use proptest::prelude::*;

/// A right header around damaged fields.
fn with_header(mut bytes: Vec<u8>, damage: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    damage(&mut bytes);
    put_word(&mut bytes, 10, 0);
    let sum = checksum::of(&bytes[..20]);
    put_word(&mut bytes, 10, sum);
    bytes
}

#[test]
fn damaged_packets_are_dropped_for_the_right_reason() {
    use DropReason::*;
    let good = || tcp(GUEST, REMOTE, 1025, 443, 2);
    let cut = |length: usize| {
        let mut bytes = good();
        bytes.truncate(length);
        bytes
    };
    let cases: Vec<(&str, DropReason, Vec<u8>)> = vec![
        ("empty", Malformed, vec![]),
        ("one byte", Malformed, cut(1)),
        ("header cut", Malformed, cut(19)),
        ("header alone, rest cut", Malformed, cut(20)),
        ("segment cut", Malformed, cut(39)),
        ("version 6", Protocol, with_header(good(), |b| b[0] = 0x65)),
        ("header of 4 words", Malformed, with_header(good(), |b| b[0] = 0x44)),
        ("header of 0 words", Malformed, with_header(good(), |b| b[0] = 0x40)),
        ("header of 15 words, not there", Protocol, with_header(good(), |b| b[0] = 0x4f)),
        ("total length 0", Malformed, with_header(good(), |b| put_word(b, 2, 0))),
        ("total length below the header", Malformed, with_header(good(), |b| put_word(b, 2, 19))),
        ("total length cuts the segment", Malformed, with_header(good(), |b| put_word(b, 2, 39))),
        ("total length beyond the frame", Malformed, with_header(good(), |b| put_word(b, 2, 41))),
        ("total length at its largest", Malformed, with_header(good(), |b| put_word(b, 2, 0xffff))),
        ("wrong header checksum", Malformed, {
            let mut b = good();
            b[10] ^= 1;
            b
        }),
        ("first fragment", Fragment, with_header(good(), |b| put_word(b, 6, 0x2000))),
        ("overlapping fragment", Fragment, with_header(good(), |b| put_word(b, 6, 0x0001))),
        ("last fragment", Fragment, with_header(good(), |b| put_word(b, 6, 0x1fff))),
        ("protocol 41", Protocol, with_header(good(), |b| b[9] = 41)),
        ("TCP header of 4 words", Malformed, {
            let mut b = good();
            b[32] = 0x40;
            b
        }),
        ("TCP header beyond the segment", Malformed, {
            let mut b = good();
            b[32] = 0x60;
            b
        }),
        ("TCP without flags", Malformed, {
            let mut b = good();
            b[33] = 0;
            b
        }),
        ("TCP with SYN and FIN", Malformed, {
            let mut b = good();
            b[33] = 3;
            b
        }),
        ("TCP with SYN and RST", Malformed, {
            let mut b = good();
            b[33] = 6;
            b
        }),
        ("UDP length below its header", Malformed, {
            let mut b = udp(GUEST, REMOTE, 1, 2, b"data");
            put_word(&mut b, 24, 7);
            b
        }),
        ("UDP length beyond the packet", Malformed, {
            let mut b = udp(GUEST, REMOTE, 1, 2, b"data");
            put_word(&mut b, 24, 13);
            b
        }),
        ("wrong ICMP checksum", Malformed, {
            let mut b = echo(GUEST, REMOTE, 8);
            b[30] ^= 1;
            b
        }),
        ("ICMP redirect", Protocol, echo(GUEST, REMOTE, 5)),
        ("ICMP timestamp", Protocol, echo(GUEST, REMOTE, 13)),
        ("ICMP error that quotes nothing", Malformed, echo(GUEST, REMOTE, 3)),
        ("echo reply without request", NoFlow, echo(GUEST, REMOTE, 0)),
        ("middle of a connection", NoFlow, tcp(GUEST, REMOTE, 1025, 443, 16)),
    ];
    for (name, reason, packet) in cases {
        let mut bench = Bench::online();
        let before = bench.dropped(reason);
        bench.guest_sends(&packet);
        assert_eq!(
            bench.dropped(reason),
            before + 1,
            "{name}: {:?}",
            bench.machine.drops().iter().collect::<Vec<_>>()
        );
        assert!(bench.sink.wire.is_empty(), "{name}");
        assert_eq!(bench.machine.flows(), 0, "{name}");
    }
}

#[test]
fn a_guest_cannot_pretend_to_be_another() {
    let other = Mac([0, 0x16, 0x3e, 0, 0, 2]);
    let other_guest = Ipv4Addr::new(100, 64, 0, 6);
    let good = udp(GUEST, REMOTE, 1, 2, b"x");
    let mut bench = Bench::online();
    bench.vif(&framed(GATEWAY_MAC, other, ETHERTYPE_IPV4, &good));
    bench.vif(&framed(GATEWAY_MAC, GATEWAY_MAC, ETHERTYPE_IPV4, &good));
    bench.vif(&arp_reply(other, GUEST, GATEWAY_MAC, GATEWAY));
    assert_eq!(bench.dropped(DropReason::SpoofedMac), 3);
    for source in [other_guest, GATEWAY, OURS, REMOTE, Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST] {
        bench.guest_sends(&udp(source, REMOTE, 1, 2, b"x"));
    }
    bench.vif(&arp_reply(GUEST_MAC, GATEWAY, GATEWAY_MAC, GATEWAY));
    assert_eq!(bench.dropped(DropReason::SpoofedAddress), 7);
    // Inside an honest frame ARP may lie as well.
    let mut lie = arp_reply(other, GUEST, GATEWAY_MAC, GATEWAY);
    lie[6..12].copy_from_slice(&GUEST_MAC.0);
    bench.vif(&lie);
    assert_eq!(bench.dropped(DropReason::SpoofedMac), 4);
    assert!(bench.sink.wire.is_empty() && bench.sink.guest.is_empty());
}

#[test]
fn a_guest_that_misbehaves_is_told_of_once_in_a_while() {
    let mut bench = Bench::online();
    let told = |bench: &mut Bench| core::iter::from_fn(|| bench.machine.take_event()).collect::<Vec<_>>();
    let event = crate::forward::Event::Suspicious { vif: VIF, reason: DropReason::SpoofedAddress };
    for _ in 0..100 {
        bench.guest_sends(&udp(OURS, REMOTE, 1, 2, b"x"));
    }
    assert_eq!(told(&mut bench), core::slice::from_ref(&event));
    bench.pass(Duration::from_secs(61));
    bench.guest_sends(&udp(OURS, REMOTE, 1, 2, b"x"));
    assert_eq!(told(&mut bench), [event]);
    // What honest guests do as well is not told.
    bench.vif(&framed(Mac::BROADCAST, GUEST_MAC, 0x86dd, &[0; 60]));
    assert_eq!(told(&mut bench), []);
}

#[test]
fn guests_reach_nothing_of_nets_own_and_nothing_that_is_nobodys() {
    let mut bench = Bench::online();
    let forbidden = [
        "10.0.2.15",
        "10.0.2.255",
        "127.0.0.1",
        "100.64.0.6",
        "100.64.0.5",
        "100.64.0.3",
        "169.254.169.254",
        "224.0.0.251",
        "255.255.255.255",
        "0.0.0.0",
        "240.0.0.1",
    ];
    for destination in forbidden {
        bench.guest_sends(&udp(GUEST, destination.parse().unwrap(), 1, 2, b"x"));
        bench.guest_sends(&tcp(GUEST, destination.parse().unwrap(), 1, 2, 2));
    }
    bench.guest_sends(&udp(GUEST, GATEWAY, 68, 67, b"x"));
    bench.guest_sends(&tcp(GUEST, GATEWAY, 1, 22, 2));
    assert_eq!(bench.dropped(DropReason::Denied), 2 * forbidden.len() as u64 + 2);
    assert!(bench.sink.wire.is_empty() && bench.sink.guest.is_empty());
    assert_eq!(bench.machine.flows(), 0);
}

#[test]
fn frames_for_others_and_of_other_kinds_are_dropped() {
    let mut bench = Bench::online();
    let packet = udp(REMOTE, OURS, 1, 2, b"x");
    let other = Mac([2, 0, 0, 0, 0, 1]);
    bench.uplink(&framed(other, ROUTER_MAC, ETHERTYPE_IPV4, &packet));
    bench.uplink(&framed(Mac::BROADCAST, ROUTER_MAC, ETHERTYPE_IPV4, &packet));
    bench.uplink(&framed(OUR_MAC, ROUTER_MAC, ETHERTYPE_IPV4, &udp(REMOTE, GUEST, 1, 2, b"x")));
    bench.vif(&framed(other, GUEST_MAC, ETHERTYPE_IPV4, &udp(GUEST, REMOTE, 1, 2, b"x")));
    assert_eq!(bench.dropped(DropReason::NotOurs), 4);
    bench.uplink(&framed(OUR_MAC, ROUTER_MAC, 0x86dd, &packet));
    bench.vif(&framed(GATEWAY_MAC, GUEST_MAC, 0x8100, &packet));
    assert_eq!(bench.dropped(DropReason::Protocol), 2);
    bench.uplink(&[0; 13]);
    bench.vif(&[]);
    assert_eq!(bench.dropped(DropReason::Malformed), 2);
    bench.uplink(&vec![0; MAX_FRAME + 1]);
    bench.vif(&vec![0; 9000]);
    assert_eq!(bench.dropped(DropReason::TooLong), 2);
    assert!(bench.sink.guest.is_empty());
}

#[test]
fn nobody_on_the_wire_can_take_the_routers_place() {
    let thief = Mac([2, 0, 0, 0, 0, 66]);
    let mut bench = Bench::online();
    // An announcement, a reply that nobody asked for, and a request with a false sender.
    let mut announcement = arp_reply(thief, ROUTER, Mac::BROADCAST, ROUTER);
    bench.uplink(&announcement);
    announcement[21] = 1;
    bench.uplink(&announcement);
    bench.uplink(&arp_reply(thief, ROUTER, OUR_MAC, OURS));
    let mut request = arp_reply(thief, ROUTER, Mac([0; 6]), OURS);
    request[..6].fill(0xff);
    request[21] = 1;
    bench.uplink(&request);
    // The header and the message differ about who answers.
    bench.pass(Duration::from_secs(61));
    bench.sink = Sink::default();
    bench.guest_sends(&udp(GUEST, REMOTE, 1, 2, b"x"));
    let mut reply = arp_reply(thief, ROUTER, OUR_MAC, OURS);
    reply[6..12].copy_from_slice(&ROUTER_MAC.0);
    bench.uplink(&reply);
    let mut reply = arp_reply(thief, ROUTER, OUR_MAC, OURS);
    reply[..6].fill(0xff);
    bench.uplink(&reply);
    bench.router_answers();
    bench.guest_sends(&udp(GUEST, REMOTE, 1, 2, b"x"));
    let packets: Vec<_> = bench.sink.wire.iter().filter(|frame| frame[12..14] == [8, 0]).collect();
    assert_eq!(packets.len(), 2);
    assert!(packets.iter().all(|frame| frame[..6] == ROUTER_MAC.0));
}

#[test]
fn a_guest_is_told_when_the_hop_count_ends_and_when_there_is_no_way() {
    let mut bench = Bench::online();
    let dying = with_header(udp(GUEST, REMOTE, 1, 2, b"x"), |bytes| bytes[8] = 1);
    bench.guest_sends(&dying);
    assert_eq!(bench.dropped(DropReason::TtlExceeded), 1);
    let answer = &bench.sink.guest[0][14..];
    let facts = Packet::parse(answer).unwrap();
    assert_eq!((facts.source, facts.destination, answer[20]), (GATEWAY, GUEST, 11));
    assert_eq!(answer[28..], dying);
    bench.link(false);
    bench.pass(Duration::from_secs(10));
    bench.guest_sends(&udp(GUEST, REMOTE, 1, 2, b"x"));
    assert_eq!(bench.sink.guest[1][34..36], [3, 0]);
    // No error about an error.
    let error = bench.sink.guest[1][14..].to_vec();
    let error = with_header(error, |bytes| {
        bytes[12..16].copy_from_slice(&GUEST.octets());
        bytes[16..20].copy_from_slice(&REMOTE.octets());
    });
    bench.guest_sends(&error);
    assert_eq!(bench.sink.guest.len(), 2);
}

#[test]
fn a_guest_that_opens_many_flows_is_held_to_its_share() {
    let mut bench = Bench::online();
    for port in 0..100 {
        bench.guest_sends(&udp(GUEST, REMOTE, port, 99, b"x"));
    }
    assert_eq!((bench.machine.flows(), bench.dropped(DropReason::TableFull)), (8, 92));
    assert_eq!(bench.sink.wire.len(), 8);
}

#[test]
fn ports_without_room_drop_and_count() {
    let mut bench = Bench::online();
    bench.sink.full = true;
    bench.guest_sends(&udp(GUEST, REMOTE, 1, 2, b"x"));
    assert_eq!(bench.dropped(DropReason::NoRoom), 1);
    assert_eq!(bench.machine.uplink_counters().tx_drops, 1);
    bench.sink.full = false;
    bench.guest_sends(&udp(GUEST, REMOTE, 1, 2, b"x"));
    assert_eq!(bench.sink.wire.len(), 1);
}

#[test]
fn leases_that_are_of_no_use_are_refused() {
    type Expected = fn(&Unusable) -> bool;
    let cases: [(&str, [u8; 4], Expected); 6] = [
        ("100.64.0.9", [255, 255, 255, 0], |why| matches!(why, Unusable::Overlap(_))),
        ("100.127.1.1", [255, 192, 0, 0], |why| matches!(why, Unusable::Overlap(_))),
        ("127.0.0.1", [255, 0, 0, 0], |why| matches!(why, Unusable::Address(_))),
        ("10.0.2.0", [255, 255, 255, 0], |why| matches!(why, Unusable::Address(_))),
        ("10.0.2.255", [255, 255, 255, 0], |why| matches!(why, Unusable::Address(_))),
        ("10.0.2.15", [0, 0, 0, 0], |why| matches!(why, Unusable::Prefix(_))),
    ];
    for (address, mask, expected) in cases {
        let mut bench = Bench::new();
        bench.server.address = address.parse().unwrap();
        bench.server.mask = mask;
        bench.link(true);
        bench.serve();
        assert!(bench.machine.lease().is_none(), "{address}");
        let events = bench.events();
        assert!(
            matches!(&events[..], [Event::Link(true), Event::LeaseRefused(why)] if expected(why)),
            "{address}: {events:?}"
        );
    }
}

#[test]
fn a_dhcp_answer_that_was_not_asked_for_changes_nothing() {
    let mut bench = Bench::new();
    bench.link(true);
    let mut thief = dhcp::Server { address: Ipv4Addr::new(10, 6, 6, 6), ..Default::default() };
    let mut request = bench.sink.wire.pop().unwrap();
    request[46] ^= 1;
    let answer = thief.answer(&request).unwrap();
    bench.uplink(&answer);
    request[46] ^= 1;
    bench.sink.wire.push(request);
    bench.serve();
    assert_eq!(bench.machine.lease().unwrap().address.address(), OURS);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Random damage to good frames on both sides, with time passing: no panic, no leak of a guest's
    /// address to the wire, and every frame is counted.
    #[test]
    fn random_frames_do_no_harm(
        frames in proptest::collection::vec((any::<bool>(), 0usize..7, any::<u16>(), any::<u8>(), any::<u16>(), 0u64..5_000), 1..60),
    ) {
        let mut bench = Bench::online();
        for (wire, which, at, value, length, milliseconds) in frames {
            let (from, to) = if wire { (REMOTE, OURS) } else { (GUEST, REMOTE) };
            let packet = match which {
                0 => tcp(from, to, 1025, 443, 2),
                1 => tcp(from, to, 1025, 443, 16),
                2 => udp(from, to, 1, 2, b"some data"),
                3 => echo(from, to, 8),
                4 => echo(from, to, 0),
                5 => [&[0, 1, 8, 0, 6, 4, 0, 1][..], &GUEST_MAC.0, &GUEST.octets(), &[0; 6], &GATEWAY.octets()].concat(),
                _ => udp(from, to, 67, 68, &[2; 300]),
            };
            let ethertype = if which == 5 { ETHERTYPE_ARP } else { ETHERTYPE_IPV4 };
            let mut frame = if wire {
                framed(OUR_MAC, ROUTER_MAC, ethertype, &packet)
            } else {
                framed(GATEWAY_MAC, GUEST_MAC, ethertype, &packet)
            };
            let at = usize::from(at) % frame.len();
            frame[at] = value;
            if ethertype == ETHERTYPE_IPV4 && value % 2 == 0 {
                put_word(&mut frame, 24, 0);
                let sum = checksum::of(&frame[14..34]);
                put_word(&mut frame, 24, sum);
            }
            if length % 5 == 0 {
                frame.truncate(usize::from(length) % (frame.len() + 1));
            }
            if wire { bench.uplink(&frame) } else { bench.vif(&frame) }
            bench.pass(Duration::from_millis(milliseconds));
        }
        for frame in bench.sink.wire.iter().filter(|frame| frame[12..14] == [8, 0]) {
            prop_assert_ne!(&frame[26..30], &GUEST.octets()[..]);
            prop_assert_eq!(&frame[6..12], &OUR_MAC.0[..]);
        }
    }
}
