//! What servers on the network answer.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use stubdoms_web::exchange::{Exchange, Shield};
use stubdoms_web::http::{Event, Limits, Method, ResponseReader};
use stubdoms_web::resolver::{Resolver, Step, emit_query};
use stubdoms_web::sntp::{self, Query, TimeError};
use stubdoms_web::tls::{Session, TlsConfig, WallClock};
use stubdoms_web::url::Host;

use super::input::Input;

const LIMITS: Limits = Limits { head: 1024, body: 4096 };

/// A connection without TLS whose bytes come in pieces.
pub(super) fn exchange(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let cut = usize::from(input.byte()) + 1;
    let mut exchange = Exchange::new(
        Shield::Plain,
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        ResponseReader::new(Method::Get, LIMITS),
    );
    let sent = exchange.output().len();
    exchange.output_sent(sent);
    let mut body = 0;
    let mut drain = |exchange: &mut Exchange| loop {
        match exchange.event() {
            Ok(Event::Body(data)) => {
                body += data.len() as u64;
                assert!(body <= LIMITS.body, "a body beyond its limit");
            }
            Ok(Event::Head(_)) => {}
            Ok(Event::More) => return true,
            Ok(Event::Done) | Err(_) => return false,
        }
    };
    for piece in input.rest().chunks(cut) {
        exchange.input(piece);
        if !drain(&mut exchange) {
            return;
        }
    }
    exchange.input_end();
    assert!(!drain(&mut exchange), "an end ends it");
}

pub(super) fn answers() -> Vec<Vec<u8>> {
    let heads = [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/plain\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;name=value\r\nyou\r\n0\r\nTrailer: x\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 404 Not Found\r\nConnection: close\r\n\r\ngone",
        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 5-9/10\r\nContent-Length: 5\r\n\r\nworld",
        "HTTP/1.1 302 Found\r\nLocation: ../other?x=1\r\nContent-Length: 0\r\n\r\n",
    ];
    heads.iter().flat_map(|head| [40, 3].map(|cut| [&[cut], head.as_bytes()].concat())).collect()
}

pub(super) fn urls() -> Vec<Vec<u8>> {
    [
        "https://zed.example:8443/api/v2\n../certs?x=1",
        "http://10.0.2.2/\nhttp://store:8080/images/hello.elf",
        "bytes 5-9/10",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

pub(super) fn dns_answers() -> Vec<Vec<u8>> {
    let mut answer = emit_query(0x1234, "zed.example").expect("a name");
    answer[2..4].copy_from_slice(&[0x81, 0x80]);
    answer[7] = 2;
    // A name that points to the question's, an alias; then the address of the alias.
    answer.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, 4, 1, b'a', 0xc0, 12]);
    answer.extend([1, b'a', 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 7]);
    vec![answer]
}

/// Packets to a lookup that goes on, each from the server that was asked.
pub(super) fn dns_lookup(bytes: &[u8]) {
    const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);
    let mut resolver = Resolver::default();
    resolver.set_servers(&[SERVER]);
    let mut lookup = resolver.lookup("zed.example").expect("a name and a server");
    let mut now = Duration::ZERO;
    let id = bytes.first_chunk().map_or(0, |id| u16::from_be_bytes(*id));
    for _ in 0..64 {
        match lookup.step(now, id) {
            Step::Done(Ok(answer)) => return resolver.remember("zed.example", &answer, now),
            Step::Done(Err(_)) => return,
            Step::Send { .. } => lookup.input(SocketAddrV4::new(SERVER, 53), bytes),
            Step::Wait { until } => now = now.max(until),
        }
    }
    panic!("a lookup that does not end");
}

pub(super) fn dates() -> Vec<Vec<u8>> {
    ["Sun, 06 Nov 1994 08:49:37 GMT", "Tue, 29 Feb 2000 23:59:60 GMT"]
        .map(|text| text.as_bytes().to_vec())
        .to_vec()
}

/// Nonce of every question below, which an answer repeats at byte 24.
const NONCE: u64 = 0x1234;

pub(super) fn times() -> Vec<Vec<u8>> {
    let mut answer = [0; sntp::LENGTH];
    answer[0] = 0x24;
    answer[1] = 2;
    answer[24..32].copy_from_slice(&NONCE.to_be_bytes());
    // 2027-01-01 in seconds since 1900, received and sent.
    for at in [32, 40] {
        answer[at..at + 4].copy_from_slice(&4_007_750_400_u32.to_be_bytes());
    }
    let (mut kiss, mut alarm) = (answer, answer);
    (kiss[1], alarm[0]) = (0, 0xe4);
    kiss[12..16].copy_from_slice(b"RATE");
    [answer, kiss, alarm].map(|packet| packet.to_vec()).to_vec()
}

/// Packets while two addresses are asked, each from the one that was asked last.
pub(super) fn sntp_query(bytes: &[u8]) {
    let addresses = [1, 2].map(|last| SocketAddrV4::new(Ipv4Addr::new(10, 0, 2, last), 123));
    let mut query = Query::new(&addresses);
    let mut now = Duration::ZERO;
    for _ in 0..16 {
        match query.step(now, NONCE) {
            sntp::Step::Done(Ok(reading)) => {
                assert!(reading.since_1970.as_secs() >= sntp::PIVOT, "no time before the pivot");
                assert!(reading.within <= Duration::from_secs(1) && addresses.contains(&reading.server));
                return;
            }
            sntp::Step::Done(Err(TimeError::TimedOut { tries })) => return assert!(tries <= 4),
            sntp::Step::Done(Err(_)) => return,
            sntp::Step::Send { to, .. } => {
                now += Duration::from_millis(700);
                query.input(now, to, bytes);
            }
            sntp::Step::Wait { until } => now = now.max(until),
        }
    }
    panic!("a question that does not end");
}

#[derive(Debug)]
struct Clock;

impl WallClock for Clock {
    fn now(&self) -> Option<Duration> {
        Some(Duration::from_secs(1_798_761_600))
    }
}

/// A client's session that a server answers.
pub(super) fn tls_server(bytes: &[u8]) {
    static CONFIG: OnceLock<TlsConfig> = OnceLock::new();
    let config = CONFIG.get_or_init(|| {
        let root = include_bytes!("../../../../proto/eve/tests/vectors/root.pem").as_slice();
        TlsConfig::new(&[root], None, Arc::new(Clock)).expect("a root certificate")
    });
    let host = Host::parse("zed.example").expect("a name");
    let mut session = Session::new(config, &host).expect("a session");
    let mut out = Vec::new();
    let mut input = Input::new(bytes);
    let cut = usize::from(input.half()) + 1;
    for piece in input.rest().chunks(cut) {
        if session.feed(piece).is_err() {
            break;
        }
        session.pull(&mut out);
    }
    assert!(!session.is_open(), "nobody holds the key of a certificate");
    assert!(session.end().is_err() || session.is_peer_closed());
    let mut plain = Vec::new();
    session.read(&mut plain);
    assert!(plain.is_empty());
}

/// Records: a ServerHello of TLS 1.3 and one of 1.2, an alert, nothing sensible.
pub(super) fn tls_records() -> Vec<Vec<u8>> {
    let record = |kind: u8, content: &[u8]| {
        let length = u16::try_from(content.len()).expect("a short record").to_be_bytes();
        [&[kind, 3, 3], length.as_slice(), content].concat()
    };
    let hello = |extensions: &[u8], suite: [u8; 2]| {
        let mut body = vec![3, 3];
        body.extend([0x11; 32]);
        body.push(0);
        body.extend(suite);
        body.push(0);
        body.extend((extensions.len() as u16).to_be_bytes());
        body.extend(extensions);
        let mut message = vec![2, 0, 0, body.len() as u8];
        message.extend(body);
        record(22, &message)
    };
    let mut share = vec![0, 43, 0, 2, 3, 4, 0, 51, 0, 36, 0, 29, 0, 32];
    share.extend([9; 32]);
    let whole = |parts: &[Vec<u8>]| [vec![0xff, 0xff], parts.concat()].concat();
    vec![
        whole(&[hello(&share, [0x13, 3]), record(20, &[1]), record(23, &[0; 40])]),
        whole(&[hello(&[], [0xcc, 0xa9]), record(22, &[11, 0, 0, 3, 0, 0, 0])]),
        whole(&[record(21, &[2, 40])]),
        vec![3, 0, 22, 3],
    ]
}
