use alloc::vec::Vec;
use core::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::url::{Host, UrlError};

const NONCE: u64 = 0x0123_4567_89ab_cdef;
const SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 2, 2), 123);
const OTHER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 2, 3), 123);
/// 2027-01-01 00:00:00 UTC, as `date -u -d 2027-01-01 +%s` says it.
const NEW_YEAR: u64 = 1_798_761_600;

/// An answer of stratum 2, laid out after RFC 5905 figure 8 and not with the code under test. `received` and `sent` are
/// seconds since 1970 and 2⁻³² of one.
fn answer(received: (u64, u32), sent: (u64, u32)) -> Vec<u8> {
    let mut packet = Vec::from([0b00_100_100, 2, 6, 0xec]);
    packet.extend(0x0000_0800_u32.to_be_bytes());
    packet.extend(0x0000_1000_u32.to_be_bytes());
    packet.extend([192, 0, 2, 1]);
    let stamp = |(seconds, fraction): (u64, u32)| {
        let seconds = (seconds + 2_208_988_800) as u32;
        [seconds.to_be_bytes(), fraction.to_be_bytes()].concat()
    };
    packet.extend(stamp((received.0 - 60, 0)));
    packet.extend(NONCE.to_be_bytes());
    packet.extend(stamp(received));
    packet.extend(stamp(sent));
    packet
}

fn sound() -> Vec<u8> {
    answer((NEW_YEAR, 0), (NEW_YEAR, 1 << 31))
}

fn changed(at: usize, byte: u8) -> Vec<u8> {
    let mut packet = sound();
    packet[at] = byte;
    packet
}

#[test]
fn the_question_is_laid_out_as_the_rfc_says_and_tells_nothing() {
    // RFC 5905 figure 8: leap 0, version 4, mode 3; everything else is 0 but the transmit timestamp.
    let mut expected = [0; 48];
    expected[0] = 0x23;
    expected[40..].copy_from_slice(&[0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef]);
    assert_eq!(emit_request(NONCE), expected);
}

#[test]
fn the_time_is_that_of_the_transmit_timestamp() {
    let read = parse_answer(&sound(), NONCE).unwrap();
    assert_eq!((read.stratum, read.since_1970), (2, Duration::new(NEW_YEAR, 500_000_000)));
    assert_eq!(read.spent, Duration::from_millis(500));
    // Version 3 answers, extension fields and authentication are taken as well.
    assert_eq!(parse_answer(&changed(0, 0b00_011_100), NONCE), Ok(read));
    assert_eq!(parse_answer(&[sound(), Vec::from([7; 20])].concat(), NONCE), Ok(read));
    // A leap second to come is no fault.
    assert_eq!(parse_answer(&changed(0, 0b01_100_100), NONCE), Ok(read));
}

#[test]
fn the_time_goes_on_behind_the_era_that_ends_in_2036() {
    // 2036-02-07 06:28:16 is second 0 of era 1.
    let last = 2_085_978_495;
    for at in [last, last + 1, last + 2, 4_102_444_799, PIVOT] {
        let read = parse_answer(&answer((at - 1, 5), (at, 5)), NONCE).unwrap();
        assert_eq!(read.since_1970.as_secs(), at);
    }
    // What would be before the pivot is an era later.
    let read = parse_answer(&answer((PIVOT - 1, 0), (PIVOT - 1, 0)), NONCE).unwrap();
    assert_eq!(read.since_1970.as_secs(), PIVOT - 1 + (1 << 32));
}

#[test]
fn what_is_not_our_answer_is_not_looked_at() {
    let ours = sound();
    for short in 0..LENGTH {
        assert_eq!(parse_answer(&ours[..short], NONCE), Err(MessageError::NotOurs));
    }
    // A question, a broadcast, symmetric modes, control; versions that are none; the originate timestamp.
    for flags in [0x23, 0x25, 0x21, 0x22, 0x26, 0x27, 0x20, 0b00_001_100, 0b00_101_100] {
        assert_eq!(parse_answer(&changed(0, flags), NONCE), Err(MessageError::NotOurs), "{flags:#x}");
    }
    for bit in 0..64 {
        assert_eq!(parse_answer(&ours, NONCE ^ 1 << bit), Err(MessageError::NotOurs));
    }
    // Nor is a forged kiss of death, which everybody could send.
    let mut kiss = changed(1, 0);
    kiss[31] ^= 1;
    assert_eq!(parse_answer(&kiss, NONCE), Err(MessageError::NotOurs));
}

#[test]
fn a_server_that_does_not_know_the_time_is_not_believed() {
    for stratum in [16, 17, 255] {
        assert_eq!(parse_answer(&changed(1, stratum), NONCE), Err(MessageError::Unsynchronized { stratum }));
    }
    let alarm = parse_answer(&changed(0, 0b11_100_100), NONCE);
    assert_eq!(alarm, Err(MessageError::Unsynchronized { stratum: 2 }));
    // 16 s of dispersion, 32 s of delay, the most of both.
    for (at, byte) in [(9, 16), (5, 32), (4, 0xff), (8, 0xff)] {
        let far = parse_answer(&changed(at, byte), NONCE);
        assert_eq!(far, Err(MessageError::Unsynchronized { stratum: 2 }), "byte {at}");
    }
    let mut kiss = changed(1, 0);
    kiss[12..16].copy_from_slice(b"RATE");
    assert_eq!(parse_answer(&kiss, NONCE), Err(MessageError::Kiss { code: *b"RATE" }));
}

#[test]
fn times_that_make_no_sense_are_refused() {
    let backward = answer((NEW_YEAR, 1), (NEW_YEAR, 0));
    assert_eq!(parse_answer(&backward, NONCE), Err(MessageError::Times));
    for at in [32, 40] {
        let mut none = sound();
        none[at..at + 8].fill(0);
        assert_eq!(parse_answer(&none, NONCE), Err(MessageError::Times));
    }
}

/// Answers as in a story: each after so many milliseconds.
fn ask(query: &mut Query, now: &mut Duration, replies: &[(u64, SocketAddrV4, &[u8])]) -> Step {
    assert!(matches!(query.step(*now, NONCE), Step::Send { .. }));
    for (after, from, packet) in replies {
        *now += Duration::from_millis(*after);
        query.input(*now, *from, packet);
    }
    query.step(*now, NONCE)
}

#[test]
fn half_of_the_way_is_added_and_is_how_far_it_may_be_off() {
    let mut now = Duration::from_secs(100);
    // 700 ms, of which the server had it for 500.
    let end = ask(&mut Query::new(&[SERVER]), &mut now, &[(700, SERVER, &sound())]);
    let expected = Reading {
        server: SERVER,
        stratum: 2,
        since_1970: Duration::new(NEW_YEAR, 600_000_000),
        at: now,
        within: Duration::from_millis(100),
    };
    assert_eq!(end, Step::Done(Ok(expected)));
}

#[test]
fn answers_of_others_and_late_ones_are_ignored() {
    let (mut now, mut query) = (Duration::ZERO, Query::new(&[SERVER]));
    let other_port = SocketAddrV4::new(*SERVER.ip(), 124);
    let step = ask(&mut query, &mut now, &[(1, OTHER, &sound()), (1, other_port, &sound())]);
    assert_eq!(step, Step::Wait { until: Duration::from_secs(1) });
    query.input(Duration::from_secs(1), SERVER, &sound());
    assert!(matches!(query.step(Duration::from_secs(1), !NONCE), Step::Send { .. }));
    // It answers the first question, and another one is out.
    query.input(Duration::from_secs(1), SERVER, &sound());
    assert_eq!(query.step(Duration::from_secs(1), 0), Step::Wait { until: Duration::from_secs(3) });
    let end = query.step(Duration::from_secs(3), 0);
    assert_eq!(end, Step::Done(Err(TimeError::TimedOut { tries: 2 })));
    assert_eq!(query.step(Duration::from_secs(9), 0), end, "it is over");
}

#[test]
fn the_next_address_is_asked_and_one_that_sends_a_kiss_never_again() {
    let (mut now, mut query) = (Duration::ZERO, Query::new(&[SERVER, OTHER]));
    let kiss = changed(1, 0);
    let Step::Send { to, .. } = ask(&mut query, &mut now, &[(1, SERVER, &kiss)]) else { panic!() };
    assert_eq!(to, OTHER);
    query.input(now, OTHER, &changed(1, 16));
    let Step::Send { to, .. } = query.step(now, NONCE) else { panic!() };
    assert_eq!(to, OTHER, "the second round is without the first one");
    query.input(now, OTHER, &kiss);
    let end = query.step(now, NONCE);
    assert!(matches!(end, Step::Done(Err(TimeError::Answer(MessageError::Kiss { .. })))));
    assert_eq!(Query::new(&[]).step(now, 0), Step::Done(Err(TimeError::TimedOut { tries: 0 })));
}

#[test]
fn a_server_is_a_host_with_an_optional_port() {
    let parsed = |text: &str| Server::parse(text).map(|server| (server.host.clone(), server.port));
    assert_eq!(parsed("pool.ntp.org"), Ok((Host::Name("pool.ntp.org".into()), 123)));
    assert_eq!(parsed("10.0.2.2:8123"), Ok((Host::V4(*SERVER.ip()), 8123)));
    assert_eq!(parsed("a:0"), Err(UrlError::Port));
    assert_eq!(parsed("a:"), Err(UrlError::Port));
    assert_eq!(parsed("a:65536"), Err(UrlError::Port));
    for bad in ["", ":123", "a b", "fd00::1", "[fd00::1]:123", "a/b"] {
        assert!(parsed(bad).is_err(), "{bad}");
    }
}

proptest! {
    /// No packet is taken for a time outside of its bounds, and none ends in a panic.
    #[test]
    fn any_packet_is_survived(packet in proptest::collection::vec(any::<u8>(), 0..80), fits in any::<bool>()) {
        let mut packet = packet;
        if fits && packet.len() >= LENGTH {
            packet[0] = 0x24;
            packet[24..32].copy_from_slice(&NONCE.to_be_bytes());
        }
        let (mut query, mut now) = (Query::new(&[SERVER, OTHER]), Duration::from_secs(5));
        for nonce in [NONCE, 0, NONCE, NONCE, 1] {
            if let Step::Send { to, until, .. } = query.step(now, nonce) {
                query.input(now, to, &packet);
                now = until;
            }
        }
        if let Step::Done(Ok(reading)) = query.step(now, NONCE) {
            prop_assert!(reading.since_1970.as_secs() >= PIVOT);
        }
    }
}
