use alloc::{vec, vec::Vec};
use core::net::SocketAddrV4;

use proptest::prelude::*;

use super::*;

const NAME: &str = "zed.example";

/// An answer with id 7, laid out after RFC 1035 §4.1 and not with the code under test (but for the question).
fn reply(name: &str, flags: u16, answers: &[&[u8]]) -> Vec<u8> {
    let mut message = emit_query(7, name).unwrap();
    message[2..4].copy_from_slice(&flags.to_be_bytes());
    message[7] = answers.len() as u8;
    for answer in answers {
        message.extend_from_slice(answer);
    }
    message
}

/// A record whose owner is the question's name, by pointer.
fn record(kind: u8, ttl: u32, content: &[u8]) -> Vec<u8> {
    owned(&[0xc0, 12], kind, ttl, content)
}

fn owned(owner: &[u8], kind: u8, ttl: u32, content: &[u8]) -> Vec<u8> {
    let mut record = owner.to_vec();
    record.extend([0, kind, 0, 1]);
    record.extend(ttl.to_be_bytes());
    record.extend((content.len() as u16).to_be_bytes());
    record.extend(content);
    record
}

const OK: u16 = 0x8180;

#[test]
fn the_query_is_laid_out_as_the_rfc_says() {
    // RFC 1035 §4.1: id, RD, one question; the name's labels, type A, class IN.
    let expected = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x03zed\x07example\0\0\x01\0\x01";
    assert_eq!(emit_query(7, "Zed.Example.").unwrap(), expected);
    assert_eq!(emit_query(7, ""), None);
    assert_eq!(emit_query(7, "a..b"), None);
    assert_eq!(emit_query(7, &"a".repeat(64)), None);
    assert_eq!(emit_query(7, &"abcdefg.".repeat(32)), None);
}

#[test]
fn addresses_and_the_least_ttl_are_taken() {
    let alias = record(5, 60, b"\x04host\xc0\x10");
    let host = owned(b"\x04HOST\x07example\0", 1, 300, &[10, 0, 2, 2]);
    let other = owned(b"\x05other\x07example\0", 1, 1, &[10, 0, 2, 9]);
    let text = record(16, 1, b"\x03abc");
    let answer = parse_answer(&reply(NAME, OK, &[&text, &alias, &other, &host]), 7, NAME).unwrap();
    assert_eq!(answer.addresses, [Ipv4Addr::new(10, 0, 2, 2)]);
    assert_eq!(answer.ttl, Duration::from_secs(60));
    let many: Vec<Vec<u8>> = (1..20).map(|n| record(1, 1 << 31, &[10, 0, 0, n])).collect();
    let many: Vec<&[u8]> = many.iter().map(Vec::as_slice).collect();
    let answer = parse_answer(&reply(NAME, OK, &many), 7, NAME).unwrap();
    assert_eq!((answer.addresses.len(), answer.ttl), (MAX_ADDRESSES, Duration::ZERO));
}

#[test]
fn what_is_not_our_answer_is_not_taken() {
    let address = record(1, 60, &[10, 0, 2, 2]);
    let sound = reply(NAME, OK, &[&address]);
    assert!(parse_answer(&sound, 7, NAME).is_ok());
    assert_eq!(parse_answer(&sound, 8, NAME), Err(MessageError::NotOurs));
    assert_eq!(parse_answer(&sound, 7, "zed.exampld"), Err(MessageError::NotOurs));
    for flags in [0x0180, 0x8980] {
        assert_eq!(parse_answer(&reply(NAME, flags, &[&address]), 7, NAME), Err(MessageError::NotOurs));
    }
    for (at, value) in
        [(5, 0), (5, 2), (sound.len() - address.len() - 3, 28), (sound.len() - address.len() - 1, 3)]
    {
        let mut changed = sound.clone();
        changed[at] = value;
        assert_eq!(parse_answer(&changed, 7, NAME), Err(MessageError::NotOurs), "byte {at}");
    }
}

#[test]
fn hostile_messages_are_refused_with_their_reason() {
    let address = record(1, 60, &[10, 0, 2, 2]);
    let end = reply(NAME, OK, &[]).len();
    let own = (end as u16 | 0xc000).to_be_bytes();
    let later = ((end as u16 + 2) | 0xc000).to_be_bytes();
    let bad = MessageError::BadName { at: end };
    let circle_a = record(5, 60, b"\x01b\0");
    let circle_b = owned(b"\x01b\0", 5, 60, b"\xc0\x0c");
    let mut chain: Vec<Vec<u8>> = vec![record(5, 60, b"\x01a\0")];
    chain.extend((b'a'..b'k').map(|c| owned(&[1, c, 0], 5, 60, &[1, c + 1, 0])));
    chain.push(owned(b"\x01k\0", 1, 60, &[10, 0, 2, 2]));
    let chain: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
    let long: Vec<u8> = [7, b'a', b'a', b'a', b'a', b'a', b'a', b'a'].repeat(32);
    for (message, error) in [
        (reply(NAME, OK, &[&owned(&own, 1, 60, &[10, 0, 2, 2])]), bad),
        (reply(NAME, OK, &[&owned(&later, 1, 60, &[10, 0, 2, 2])]), bad),
        (reply(NAME, OK, &[&owned(&[0xff, 0xff], 1, 60, &[10, 0, 2, 2])]), bad),
        (reply(NAME, OK, &[&owned(&[0x40, 0], 1, 60, &[10, 0, 2, 2])]), bad),
        (reply(NAME, OK, &[&owned(&long, 1, 60, &[10, 0, 2, 2])]), bad),
        (reply(NAME, OK, &[&circle_a, &circle_b]), MessageError::TooManyAliases { limit: 8 }),
        (reply(NAME, OK, &chain), MessageError::TooManyAliases { limit: 8 }),
        (reply(NAME, OK, &[&record(5, 60, b"\x01b\0x")]), MessageError::BadName { at: end + 12 }),
        (
            reply(NAME, OK, &[&record(5, 60, b"\x01b")]),
            MessageError::Truncated { have: end + 14, need: end + 15 },
        ),
        (reply(NAME, OK, &[&record(1, 60, &[10, 0, 2])]), MessageError::NoAddress),
        (reply(NAME, OK, &[&record(1, 60, &[127, 0, 0, 1])]), MessageError::NoAddress),
        (reply(NAME, OK, &[&record(1, 60, &[224, 0, 0, 1])]), MessageError::NoAddress),
        (reply(NAME, OK, &[&record(1, 60, &[0, 0, 0, 0])]), MessageError::NoAddress),
        (reply(NAME, OK, &[]), MessageError::NoAddress),
        (reply(NAME, OK | 3, &[]), MessageError::Unknown),
        (reply(NAME, OK | 2, &[]), MessageError::Failed { rcode: 2 }),
        (reply(NAME, OK | 5, &[&address]), MessageError::Failed { rcode: 5 }),
    ] {
        assert_eq!(parse_answer(&message, 7, NAME), Err(error));
    }
    // Cut anywhere, without the flag that says so.
    let sound = reply(NAME, OK, &[&address]);
    for at in 0..sound.len() {
        match parse_answer(&sound[..at], 7, NAME) {
            Err(MessageError::NotOurs) => assert!(at < end),
            Err(MessageError::Truncated { have, need }) => assert!(at >= end && have == at && need > at),
            other => panic!("cut at {at}: {other:?}"),
        }
    }
    // With the flag, what is there is used.
    let mut cut = reply(NAME, OK | 0x0200, &[&address, &address]);
    cut.truncate(cut.len() - 5);
    assert_eq!(parse_answer(&cut, 7, NAME).unwrap().addresses.len(), 1);
}

const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const B: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

fn at(server: Ipv4Addr) -> SocketAddrV4 {
    SocketAddrV4::new(server, 53)
}

fn ask(lookup: &mut Lookup, now: &mut Duration) -> Option<SocketAddrV4> {
    match lookup.step(*now, 7) {
        Step::Send { to, until, .. } => {
            assert!(until > *now);
            assert_eq!(lookup.step(*now, 9), Step::Wait { until });
            *now = until;
            Some(to)
        }
        Step::Wait { .. } => panic!("nothing was sent"),
        Step::Done(_) => None,
    }
}

#[test]
fn silent_servers_are_asked_in_turn_and_then_it_ends() {
    let mut resolver = Resolver::default();
    resolver.set_servers(&[A, Ipv4Addr::UNSPECIFIED, B]);
    let (mut lookup, mut now) = (resolver.lookup(NAME).unwrap(), Duration::from_secs(100));
    let asked: Vec<_> = core::iter::from_fn(|| ask(&mut lookup, &mut now)).collect();
    assert_eq!(asked, [at(A), at(B), at(A), at(B), at(A), at(B)]);
    assert_eq!(now, Duration::from_secs(114));
    assert_eq!(lookup.step(now, 1), Step::Done(Err(ResolveError::TimedOut { tries: 6 })));
}

#[test]
fn a_failing_server_gives_way_at_once_and_a_forger_is_ignored() {
    let mut resolver = Resolver::default();
    resolver.set_servers(&[A, B]);
    let (mut lookup, mut now) = (resolver.lookup(NAME).unwrap(), Duration::ZERO);
    assert_eq!(ask(&mut lookup, &mut now), Some(at(A)));
    now = Duration::from_millis(1);
    let good = reply(NAME, OK, &[&record(1, 60, &[10, 0, 2, 2])]);
    lookup.input(SocketAddrV4::new(A, 54), &good);
    lookup.input(at(B), &good);
    lookup.input(at(A), &[1, 2, 3]);
    assert!(matches!(lookup.step(now, 9), Step::Wait { .. }));
    lookup.input(at(A), &reply(NAME, OK, &[&[0xc0]]));
    assert_eq!(ask(&mut lookup, &mut now), Some(at(B)));
    lookup.input(at(B), &reply(NAME, OK | 2, &[]));
    assert_eq!(ask(&mut lookup, &mut now), Some(at(A)));
    lookup.input(at(A), &good);
    assert!(matches!(lookup.step(now, 1), Step::Done(Ok(_))));
}

#[test]
fn a_name_that_does_not_exist_ends_the_search() {
    let mut resolver = Resolver::default();
    assert_eq!(resolver.lookup(NAME).unwrap_err(), ResolveError::NoServers);
    resolver.set_servers(&[A, B]);
    assert_eq!(resolver.lookup("a..b").unwrap_err(), ResolveError::Name);
    let mut lookup = resolver.lookup(NAME).unwrap();
    ask(&mut lookup, &mut Duration::from_secs(1));
    lookup.input(at(A), &reply(NAME, OK | 3, &[]));
    assert_eq!(lookup.step(Duration::ZERO, 1), Step::Done(Err(ResolveError::Unknown)));
}

#[test]
fn hosts_come_first_and_answers_are_remembered_within_bounds() {
    let mut resolver = Resolver::default();
    resolver.set_servers(&[A]);
    let bad = resolver
        .set_hosts("# zed\n10.0.2.2 zed.example zed\n::1 zed\nnonsense\n10.0.2.3\n\n10.0.2.4\tb # c\n");
    assert_eq!(bad, 2);
    let second = Duration::from_secs(1);
    assert_eq!(resolver.known("ZED.example", second), Some(vec![Ipv4Addr::new(10, 0, 2, 2)]));
    assert_eq!(resolver.known("b", second), Some(vec![Ipv4Addr::new(10, 0, 2, 4)]));
    assert_eq!(resolver.known("c", second), None);
    let answer = |ttl| Answer { addresses: vec![B], ttl: Duration::from_secs(ttl) };
    resolver.remember("short", &answer(0), second);
    resolver.remember("long", &answer(1 << 30), second);
    assert!(resolver.known("short", 5 * second).is_some());
    assert!(resolver.known("short", 6 * second).is_none());
    assert!(resolver.known("long", 3600 * second).is_some());
    assert!(resolver.known("long", 3601 * second).is_none());
    for n in 0..20 {
        resolver.remember(&alloc::format!("n{n}"), &answer(60), second);
    }
    assert!(resolver.known("n3", second).is_none());
    assert!(resolver.known("n4", second).is_some());
    resolver.forget("N4");
    assert!(resolver.known("n4", second).is_none());
    resolver.set_servers(&[B]);
    assert!(resolver.known("n5", second).is_none());
}

proptest! {
    #[test]
    fn any_packet_is_an_answer_or_an_error(
        noise in proptest::collection::vec(any::<u8>(), 0..200),
        changes in proptest::collection::vec((0usize..120, any::<u8>()), 0..6),
    ) {
        let _ = parse_answer(&noise, 7, NAME);
        let alias = record(5, 60, b"\x04host\xc0\x10");
        let host = owned(b"\x04host\x07example\0", 1, 300, &[10, 0, 2, 2]);
        let mut message = reply(NAME, OK, &[&alias, &host]);
        message.extend(&noise);
        for (at, value) in changes {
            if let Some(byte) = message.get_mut(at) {
                *byte = value;
            }
        }
        if let Ok(answer) = parse_answer(&message, 7, NAME) {
            prop_assert!((1..=MAX_ADDRESSES).contains(&answer.addresses.len()));
        }
    }
}
