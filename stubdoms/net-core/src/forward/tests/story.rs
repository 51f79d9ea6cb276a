//! What happens in a life without enemies.

use super::*;
use std::string::ToString;

#[test]
fn nothing_is_sent_or_timed_without_carrier() {
    let mut bench = Bench::new();
    assert_eq!(bench.next, None);
    bench.pass(Duration::from_secs(100));
    assert!(bench.sink.wire.is_empty());
}

#[test]
fn the_lease_is_asked_for_as_soon_as_there_is_carrier() {
    let mut bench = Bench::new();
    bench.link(true);
    bench.serve();
    assert_eq!(bench.server.seen, [1, 3]);
    let events = bench.events();
    let [Event::Link(true), Event::Leased(lease)] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(lease.to_string(), "10.0.2.15/24 via 10.0.2.2");
    assert_eq!(lease.dns[..], [Ipv4Addr::new(10, 0, 2, 3)]);
    // The next thing to do is the renewal at half of the lease.
    assert_eq!(bench.next, Some(bench.now + Duration::from_secs(1800)));
}

#[test]
fn time_servers_are_asked_for_and_told() {
    let mut bench = Bench::new();
    // Three of an option and a second option with another one; the first is nobody's address.
    bench.server.more =
        [&[42, 12, 0, 0, 0, 0, 10, 0, 2, 4, 10, 0, 2, 15][..], &[42, 8, 9, 9, 9, 9, 8, 8, 8, 8]].concat();
    bench.link(true);
    bench.serve();
    let told = |bench: &mut Bench| match bench.events().pop() {
        Some(Event::Leased(lease)) => lease.ntp.to_vec(),
        other => panic!("{other:?}"),
    };
    let expected = [[10, 0, 2, 4], [9, 9, 9, 9], [8, 8, 8, 8]].map(Ipv4Addr::from);
    assert_eq!(told(&mut bench), expected, "our own address is none");
    assert_eq!(bench.server.wanted, [1, 3, 6, 42]);
    // No more than three, and none of an option that is cut off.
    for (more, count) in [
        ([&[42, 20][..], &[1; 20]].concat(), 3),
        (vec![42, 5, 7, 7, 7, 7, 7], 1),
        (vec![42, 3, 1, 1, 1], 0),
        (vec![42, 255, 1, 1, 1, 1], 0),
        (vec![42], 0),
        (vec![42, 0], 0),
    ] {
        let mut bench = Bench::new();
        bench.server.more = more;
        bench.link(true);
        bench.serve();
        assert_eq!(told(&mut bench).len(), count);
    }
}

#[test]
fn a_silent_server_is_asked_again_and_not_all_the_time() {
    let mut bench = Bench::new();
    bench.server.silent = true;
    bench.link(true);
    bench.serve();
    bench.pass(Duration::from_secs(60));
    bench.serve();
    assert!((3..=8).contains(&bench.server.seen.len()), "{:?}", bench.server.seen);
    bench.server.silent = false;
    bench.pass(Duration::from_secs(11));
    bench.serve();
    assert!(bench.machine.lease().is_some());
}

#[test]
fn a_lease_is_renewed_at_half_time_without_an_event() {
    let mut bench = Bench::online();
    bench.server.seen.clear();
    bench.pass(Duration::from_secs(1801));
    // It is renewed by a packet for the server alone, whose hardware address the uplink asks for.
    bench.router_answers();
    bench.pass(Duration::from_secs(5));
    bench.serve();
    assert_eq!(bench.server.seen, [3]);
    assert_eq!(bench.events(), []);
    assert!(bench.next.is_some_and(|next| next > bench.now + Duration::from_secs(1700)));
}

#[test]
fn a_lease_that_nobody_renews_is_lost_at_its_end() {
    let mut bench = Bench::online();
    bench.server.silent = true;
    bench.pass(Duration::from_secs(3700));
    assert_eq!(bench.events(), [Event::LeaseLost]);
    bench.guest_sends(&udp(GUEST, REMOTE, 1000, 53, b"lost"));
    assert_eq!(bench.dropped(DropReason::NoUplink), 1);
}

#[test]
fn a_server_that_takes_the_lease_back_is_obeyed() {
    let mut bench = Bench::online();
    bench.server.refuses = true;
    bench.pass(Duration::from_secs(1801));
    bench.router_answers();
    bench.pass(Duration::from_secs(5));
    let at = bench.sink.wire.iter().position(|frame| dhcp::is_request(frame)).unwrap();
    let request = bench.sink.wire.remove(at);
    let answer = bench.server.answer(&request).unwrap();
    bench.uplink(&answer);
    assert_eq!(bench.events(), [Event::LeaseLost]);
}

#[test]
fn a_guest_reaches_the_world_and_the_world_answers() {
    let mut bench = Bench::online();
    bench.guest_sends(&tcp(GUEST, REMOTE, 1025, 443, 2));
    let [sent] = &bench.sink.wire[..] else {
        panic!("{:?}", bench.sink.wire);
    };
    assert_eq!((&sent[..6], &sent[6..12]), (&ROUTER_MAC.0[..], &OUR_MAC.0[..]));
    let packet = packet_of(sent);
    assert_eq!((packet.source, packet.destination, packet.ttl), (OURS, REMOTE, 63));
    let Transport::Tcp { source, destination: 443, .. } = packet.transport else {
        panic!("{packet:?}");
    };
    bench.wire_sends(&tcp(REMOTE, OURS, 443, source, 0x12));
    let [got] = &bench.sink.guest[..] else {
        panic!("{:?}", bench.sink.guest);
    };
    assert_eq!((&got[..6], &got[6..12]), (&GUEST_MAC.0[..], &GATEWAY_MAC.0[..]));
    let mut expected = tcp(REMOTE, GUEST, 443, 1025, 0x12);
    expected[8] = 63;
    put_word(&mut expected, 10, 0);
    let sum = checksum::of(&expected[..20]);
    put_word(&mut expected, 10, sum);
    assert_eq!(got[14..], expected);
    let (uplink, vif) = (bench.machine.uplink_counters(), bench.machine.vif_counters(VIF).unwrap());
    assert_eq!((vif.rx_frames, vif.tx_frames, vif.tx_bytes), (2, 1, 54));
    assert_eq!(uplink.rx_drops + vif.rx_drops + vif.rx_errors, 0);
}

#[test]
fn a_host_on_the_uplinks_own_network_is_reached_without_the_router() {
    let host = Ipv4Addr::new(10, 0, 2, 99);
    let host_mac = Mac([2, 0, 0, 0, 0, 99]);
    let mut bench = Bench::online();
    bench.guest_sends(&udp(GUEST, host, 1, 2, b"one"));
    bench.guest_sends(&udp(GUEST, host, 1, 2, b"two"));
    assert_eq!(bench.sink.wire, [Arp::request(OUR_MAC, OURS, host).to_vec()]);
    bench.uplink(&arp_reply(host_mac, host, OUR_MAC, OURS));
    let data: Vec<&[u8]> = bench.sink.wire[1..].iter().map(|frame| &frame[42..]).collect();
    assert_eq!(data, [b"one", b"two"]);
    assert!(bench.sink.wire[1..].iter().all(|frame| frame[..6] == host_mac.0));
}

#[test]
fn a_silent_host_is_asked_three_times() {
    let host = Ipv4Addr::new(10, 0, 2, 99);
    let mut bench = Bench::online();
    bench.guest_sends(&udp(GUEST, host, 1, 2, b"one"));
    bench.pass(Duration::from_secs(10));
    assert_eq!(bench.sink.wire, vec![Arp::request(OUR_MAC, OURS, host).to_vec(); 3]);
    assert_eq!(bench.dropped(DropReason::NextHop), 1);
}

#[test]
fn guests_find_the_gateway_and_may_ping_it() {
    let mut bench = Bench::new();
    let mut request = arp_reply(GUEST_MAC, GUEST, Mac([0; 6]), GATEWAY);
    request[..6].fill(0xff);
    request[21] = 1;
    bench.vif(&request);
    assert_eq!(bench.sink.guest, [arp_reply(GATEWAY_MAC, GATEWAY, GUEST_MAC, GUEST)]);
    bench.guest_sends(&echo(GUEST, GATEWAY, 8));
    let mut expected = echo(GATEWAY, GUEST, 0);
    // The answer is a packet of its own, with number and flags of its own.
    expected[4..8].fill(0);
    put_word(&mut expected, 10, 0);
    let sum = checksum::of(&expected[..20]);
    put_word(&mut expected, 10, sum);
    assert_eq!(bench.sink.guest[1][14..], expected);
}

#[test]
fn the_wire_may_ask_who_has_our_address_and_ping_it() {
    let mut bench = Bench::online();
    let mut request = arp_reply(ROUTER_MAC, ROUTER, Mac([0; 6]), OURS);
    request[..6].fill(0xff);
    request[21] = 1;
    bench.uplink(&request);
    assert_eq!(bench.sink.wire, [arp_reply(OUR_MAC, OURS, ROUTER_MAC, ROUTER)]);
    bench.wire_sends(&echo(ROUTER, OURS, 8));
    let answer = packet_of(&bench.sink.wire[1]);
    assert_eq!((answer.source, answer.destination), (OURS, ROUTER));
    assert!(matches!(answer.transport, Transport::Echo { ident: 7, .. }));
}

#[test]
fn a_cable_out_and_in_again_costs_no_connection() {
    let mut bench = Bench::online();
    bench.guest_sends(&tcp(GUEST, REMOTE, 1025, 443, 2));
    bench.link(false);
    bench.pass(Duration::from_secs(3));
    bench.server.seen.clear();
    bench.link(true);
    bench.serve();
    assert_eq!(bench.server.seen, [1, 3]);
    assert_eq!(bench.events(), [Event::Link(false), Event::Link(true)]);
    assert_eq!(bench.machine.flows(), 1);
    // The router is asked for again, for it may be another one.
    bench.sink = Sink::default();
    bench.guest_sends(&tcp(GUEST, REMOTE, 1025, 443, 16));
    bench.router_answers();
    assert_eq!(bench.sink.wire.len(), 1);
    bench.pass(Duration::from_secs(60));
    assert_eq!(bench.events(), []);
}

#[test]
fn a_cable_that_stays_out_costs_the_lease() {
    let mut bench = Bench::online();
    bench.guest_sends(&tcp(GUEST, REMOTE, 1025, 443, 2));
    bench.sink = Sink::default();
    bench.link(false);
    bench.pass(Duration::from_secs(60));
    assert_eq!(bench.events(), [Event::Link(false), Event::LeaseLost]);
    assert_eq!((bench.machine.flows(), bench.next), (0, None));
    assert!(bench.sink.wire.is_empty());
    bench.link(true);
    bench.serve();
    assert!(matches!(bench.events()[..], [Event::Link(true), Event::Leased(_)]));
}

#[test]
fn a_cable_put_into_another_network_gives_another_lease_and_ends_the_flows() {
    let mut bench = Bench::online();
    bench.guest_sends(&tcp(GUEST, REMOTE, 1025, 443, 2));
    bench.link(false);
    bench.server.address = Ipv4Addr::new(10, 0, 2, 77);
    bench.link(true);
    bench.serve();
    let events = bench.events();
    assert!(matches!(&events[..], [Event::Link(false), Event::Link(true), Event::Leased(_)]), "{events:?}");
    assert_eq!(bench.machine.flows(), 0);
    // The guest's next segment ends its connection at once, instead of leaving it to hang.
    bench.sink = Sink::default();
    bench.guest_sends(&tcp(GUEST, REMOTE, 1025, 443, 16));
    let reset = packet_of(&bench.sink.guest[0]);
    assert_eq!((reset.source, reset.destination), (REMOTE, GUEST));
    assert!(
        matches!(reset.transport, Transport::Tcp { source: 443, destination: 1025, flags } if flags.bits() == 4)
    );
    assert_eq!(checksum::of_segment(REMOTE, GUEST, 6, &bench.sink.guest[0][34..]), 0);
}

#[test]
fn a_lease_is_lost_when_the_network_behind_the_cable_has_no_server() {
    let mut bench = Bench::online();
    bench.link(false);
    bench.server.silent = true;
    bench.link(true);
    bench.pass(Duration::from_secs(60));
    assert_eq!(bench.events(), [Event::Link(false), Event::Link(true), Event::LeaseLost]);
}

#[test]
fn an_idle_machine_is_not_woken_for_flows() {
    let mut bench = Bench::online();
    for port in 0..4 {
        bench.guest_sends(&udp(GUEST, REMOTE, port, 99, b"x"));
    }
    // Only the renewal is timed.
    assert!(bench.next.is_some_and(|next| next > bench.now + Duration::from_secs(1000)), "{:?}", bench.next);
}

#[test]
fn a_guest_that_comes_back_begins_anew() {
    let mut bench = Bench::online();
    bench.guest_sends(&udp(GUEST, REMOTE, 1, 99, b"x"));
    assert_eq!(bench.machine.connect_vif(VIF, GUEST_MAC), Err(VifRefused::Busy));
    bench.machine.disconnect_vif(VIF);
    assert_eq!(bench.machine.flows(), 0);
    for mac in [Mac([0; 6]), Mac::BROADCAST, Mac([1, 0, 0, 0, 0, 0]), GATEWAY_MAC] {
        assert_eq!(bench.machine.connect_vif(VIF, mac), Err(VifRefused::Mac));
    }
    let network = bench.machine.connect_vif(VIF, GUEST_MAC).unwrap();
    assert_eq!((network.guest, network.gateway, network.prefix), (GUEST, GATEWAY, 30));
}

#[test]
fn a_checksum_that_was_left_to_us_is_filled_in() {
    for packet in [tcp(GUEST, REMOTE, 1025, 443, 2), udp(GUEST, REMOTE, 1, 2, b"odd")] {
        let whole = framed(GATEWAY_MAC, GUEST_MAC, ETHERTYPE_IPV4, &packet);
        let mut blank = whole.clone();
        let at = if packet[9] == 6 { 34 + 16 } else { 34 + 6 };
        put_word(&mut blank, at, 0x1234);
        // Padding behind the packet is not part of it.
        blank.extend([0xff; 5]);
        checksum::complete(&mut blank);
        assert_eq!(blank[..whole.len()], whole);
    }
    let mut odd = framed(GATEWAY_MAC, GUEST_MAC, ETHERTYPE_IPV4, &echo(GUEST, REMOTE, 8));
    let before = odd.clone();
    checksum::complete(&mut odd);
    checksum::complete(&mut odd[..20]);
    assert_eq!(odd, before);
}
