//! Sessions against rustls' buffered server on ring, in memory.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use alloc::{format, vec};
use core::time::Duration;
use std::io::{Read, Write};

use rustls::server::{ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::{ServerConfig, ServerConnection, SupportedProtocolVersion, version};

use super::*;
use crate::test_pki::{NOW, Pki, TestClock, ring};
use crate::url::Host;

/// What the two ends said, and how it ended for us.
struct Run {
    outcome: Result<(), TlsError>,
    server_error: Option<rustls::Error>,
    server_read: Vec<u8>,
    client_read: Vec<u8>,
    server: ServerConnection,
}

/// Joins a session with a server. The client sends "ping", the server answers "pong" and closes. Bytes travel in
/// pieces of `piece`.
fn run(config: &TlsConfig, host: &str, server: Arc<ServerConfig>, piece: usize) -> Run {
    let mut server = ServerConnection::new(server).unwrap();
    let mut run_error = None;
    let (mut server_read, mut client_read) = (vec![], vec![]);
    let mut wrote = false;
    let mut session = Session::new(config, &Host::parse(host).unwrap()).unwrap();
    let mut outcome = Ok(());
    loop {
        let mut moved = false;
        let mut up = vec![];
        session.pull(&mut up);
        for piece in up.chunks(piece) {
            moved = true;
            server.read_tls(&mut &*piece).unwrap();
            match server.process_new_packets() {
                Ok(state) => {
                    let mut got = vec![0; state.plaintext_bytes_to_read()];
                    server.reader().read_exact(&mut got).unwrap();
                    server_read.extend(got);
                }
                Err(error) => run_error = Some(error),
            }
        }
        if server_read == b"ping" && client_read.is_empty() && !wrote {
            wrote = true;
            server.writer().write_all(b"pong").unwrap();
            server.send_close_notify();
        }
        let mut down = vec![];
        while server.wants_write() {
            server.write_tls(&mut down).unwrap();
        }
        for piece in down.chunks(piece) {
            moved = true;
            if outcome.is_ok() {
                outcome = session.feed(piece);
            }
        }
        session.read(&mut client_read);
        if session.is_open() && server_read.is_empty() && !wrote && outcome.is_ok() {
            if session.write(b"ping").is_ok() {
                moved = true;
            }
            session.write(b"").unwrap();
        }
        if !moved {
            break;
        }
        // The client writes once.
        if !server_read.is_empty() {
            continue;
        }
    }
    if outcome.is_ok() {
        outcome = session.end();
    }
    Run { outcome, server_error: run_error, server_read, client_read, server }
}

fn config(pki: &Pki) -> TlsConfig {
    TlsConfig::new(&[pki.root_pem().as_bytes()], None, Arc::new(TestClock(Some(NOW)))).unwrap()
}

const VERSIONS: [&SupportedProtocolVersion; 2] = [&version::TLS12, &version::TLS13];

#[test]
fn every_version_with_every_kind_of_certificate() {
    for key in Pki::KEYS {
        let pki = Pki::new(key);
        for version in VERSIONS {
            for piece in [1, 7, 100_000] {
                let run = run(&config(&pki), "zed.example", pki.server(&["zed.example"], version), piece);
                assert_eq!(run.outcome, Ok(()), "{key} {version:?} {piece}: {:?}", run.server_error);
                assert_eq!((&run.server_read[..4], &run.client_read[..]), (&b"ping"[..], &b"pong"[..]));
                assert_eq!(run.server.alpn_protocol(), Some(&b"http/1.1"[..]));
                assert_eq!(run.server.server_name(), Some("zed.example"));
            }
        }
    }
}

#[test]
fn an_address_is_checked_and_sends_no_name() {
    let pki = Pki::new("p256");
    for version in VERSIONS {
        let run = run(&config(&pki), "10.0.2.2", pki.server(&["10.0.2.2"], version), 1000);
        assert_eq!(run.outcome, Ok(()));
        assert_eq!(run.server.server_name(), None);
    }
    let run = run(&config(&pki), "10.0.2.3", pki.server(&["10.0.2.2"], &version::TLS13), 1000);
    assert_eq!(run.outcome, Err(TlsError::NameMismatch));
}

#[test]
fn bad_certificates_are_refused_with_their_reason() {
    let (pki, same_name) = (Pki::new("p256"), Pki::new("p256"));
    let other = Pki::named("p256", "another root");
    for version in VERSIONS {
        let server = || pki.server(&["zed.example"], version);
        let with_clock =
            |now| TlsConfig::new(&[pki.root_pem().as_bytes()], None, Arc::new(TestClock(now))).unwrap();
        let early = Duration::from_secs(1_000_000_000);
        let late = Duration::from_secs(4_000_000_000);
        for (name, config, host, server, expected) in [
            ("name", config(&pki), "other.example", server(), "NameMismatch"),
            ("issuer", config(&other), "zed.example", server(), "UnknownIssuer"),
            ("issuer's key", config(&same_name), "zed.example", server(), "Signature"),
            ("early", with_clock(Some(early)), "zed.example", server(), "NotYetValid"),
            ("late", with_clock(Some(late)), "zed.example", server(), "Expired"),
            ("no clock", with_clock(None), "zed.example", server(), "NoTime"),
            ("purpose", config(&pki), "zed.example", pki.client_as_server(version), "Purpose"),
            ("ca", config(&pki), "zed.example", pki.root_as_server(version), "Rule"),
        ] {
            let run = run(&config, host, server, 1000);
            let error = run.outcome.unwrap_err();
            assert!(format!("{error:?}").contains(expected), "{name}: {error:?}");
            assert_eq!(run.server_read, b"", "{name}: data went to a server that was not trusted");
            // The server is told, unless the fault is ours.
            let told = format!("{:?}", run.server_error);
            assert_eq!(told.contains("AlertReceived"), expected != "NoTime", "{name}: {told}");
        }
    }
}

#[test]
fn the_reason_is_one_clear_sentence() {
    let pki = Pki::new("p256");
    let late = Arc::new(TestClock(Some(Duration::from_secs(4_000_000_000))));
    let config = TlsConfig::new(&[pki.root_pem().as_bytes()], None, late).unwrap();
    let run = run(&config, "zed.example", pki.server(&["zed.example"], &version::TLS13), 1000);
    assert_eq!(
        format!("{}", run.outcome.unwrap_err()),
        "the server's certificate was valid until 2036-01-01T00:00:00Z, and our clock says 2096-10-02T07:06:40Z"
    );
}

#[test]
fn a_self_signed_server_that_is_provisioned_itself_is_trusted() {
    let pki = Pki::new("p256");
    let (pem, server) = pki.self_signed("zed.example");
    let config = TlsConfig::new(&[pem.as_bytes()], None, Arc::new(TestClock(Some(NOW)))).unwrap();
    assert_eq!(run(&config, "zed.example", server, 1000).outcome, Ok(()));
}

#[test]
fn an_empty_certificate_list_is_refused() {
    let pki = Pki::new("p256");
    let run = run(&config(&pki), "zed.example", pki.without_certificate(), 1000);
    assert_eq!(run.outcome, Err(TlsError::NoCertificate));
}

#[test]
fn a_client_certificate_is_shown_when_asked_for() {
    let pki = Pki::new("rsa2048");
    let (certificate, key) = pki.client();
    for version in VERSIONS {
        let identity = Identity::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap();
        let config =
            TlsConfig::new(&[pki.root_pem().as_bytes()], Some(identity), Arc::new(TestClock(Some(NOW))))
                .unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(pki.roots(), ring()).build().unwrap();
        let run = run(&config, "zed.example", pki.server_asking(&["zed.example"], version, verifier), 1000);
        assert_eq!(run.outcome, Ok(()), "{:?}", run.server_error);
        assert_eq!(run.server.peer_certificates().unwrap().len(), 1);
        // Without one, this server ends the session.
        let verifier = WebPkiClientVerifier::builder_with_provider(pki.roots(), ring()).build().unwrap();
        let server = pki.server_asking(&["zed.example"], version, verifier);
        let outcome = self::run(&self::config(&pki), "zed.example", server, 1000).outcome;
        assert!(matches!(outcome, Err(TlsError::Alert(_))), "{outcome:?}");
    }
}

#[derive(Debug)]
struct AbsentTpm;
impl SignP256 for AbsentTpm {
    fn sign_digest(&self, _: &[u8; 32]) -> Result<[u8; 64], KeyUnusable> {
        Err(KeyUnusable)
    }
}

#[test]
fn a_key_that_does_not_sign_is_named() {
    let pki = Pki::new("p256");
    let identity = Identity::new(pki.client().0.as_bytes(), Arc::new(AbsentTpm)).unwrap();
    let config =
        TlsConfig::new(&[pki.root_pem().as_bytes()], Some(identity), Arc::new(TestClock(Some(NOW)))).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(pki.roots(), ring()).build().unwrap();
    let server = pki.server_asking(&["zed.example"], &version::TLS13, verifier);
    assert_eq!(run(&config, "zed.example", server, 1000).outcome, Err(TlsError::KeyUnusable));
}

#[test]
fn a_second_session_resumes_the_first() {
    let pki = Pki::new("p256");
    for version in VERSIONS {
        let mut server = Arc::unwrap_or_clone(pki.server(&["zed.example"], version));
        server.session_storage = ServerSessionMemoryCache::new(10);
        let (server, config) = (Arc::new(server), config(&pki));
        let first = run(&config, "zed.example", server.clone(), 1000);
        let second = run(&config, "zed.example", server.clone(), 1000);
        let other = run(&self::config(&pki), "zed.example", server, 1000);
        let kind = |run: &Run| format!("{:?}", run.server.handshake_kind());
        assert_eq!((first.outcome, second.outcome), (Ok(()), Ok(())));
        assert_eq!(
            (&*kind(&first), &*kind(&second), &*kind(&other)),
            ("Some(Full)", "Some(Resumed)", "Some(Full)")
        );
    }
}

#[test]
fn a_connection_cut_anywhere_is_truncated() {
    let pki = Pki::new("p256");
    let config = config(&pki);
    let mut server = ServerConnection::new(pki.server(&["zed.example"], &version::TLS13)).unwrap();
    let mut session = Session::new(&config, &Host::parse("zed.example").unwrap()).unwrap();
    while !session.is_open() {
        assert_eq!(session.end(), Err(TlsError::Truncated));
        let (mut up, mut down) = (vec![], vec![]);
        session.pull(&mut up);
        server.read_tls(&mut &*up).unwrap();
        server.process_new_packets().unwrap();
        while server.wants_write() {
            server.write_tls(&mut down).unwrap();
        }
        session.feed(&down).unwrap();
    }
    server.writer().write_all(b"some").unwrap();
    let mut down = vec![];
    server.write_tls(&mut down).unwrap();
    session.feed(&down).unwrap();
    assert_eq!(session.end(), Err(TlsError::Truncated));
    server.send_close_notify();
    down.clear();
    server.write_tls(&mut down).unwrap();
    session.feed(&down).unwrap();
    assert_eq!(session.end(), Ok(()));
}

#[test]
fn changed_bytes_never_pass() {
    let pki = Pki::new("p256");
    let config = config(&pki);
    let server = pki.server(&["zed.example"], &version::TLS13);
    for at in (0..1400).step_by(37) {
        let mut connection = ServerConnection::new(server.clone()).unwrap();
        let mut session = Session::new(&config, &Host::parse("zed.example").unwrap()).unwrap();
        let (mut up, mut down) = (vec![], vec![]);
        session.pull(&mut up);
        connection.read_tls(&mut &*up).unwrap();
        connection.process_new_packets().unwrap();
        while connection.wants_write() {
            connection.write_tls(&mut down).unwrap();
        }
        let Some(byte) = down.get_mut(at) else { break };
        *byte ^= 0x10;
        let fed = session.feed(&down);
        assert!(fed.is_err() || !session.is_open(), "byte {at} changed and the session is open");
    }
}

#[test]
fn garbage_is_refused_and_not_collected() {
    let config = config(&Pki::new("p256"));
    let session = || Session::new(&config, &Host::parse("zed.example").unwrap()).unwrap();
    assert_eq!(session().feed(b"HTTP/1.1 400 Bad Request\r\n\r\n"), Err(TlsError::Protocol));
    assert!(session().feed(&[0x16; 200]).is_err());
    // A record that announces much and a handshake message that announces more.
    let mut session = session();
    let mut sent = 0;
    let error = loop {
        let mut record = vec![0x16, 3, 3, 0x40, 0];
        record.extend(if sent == 0 { [2, 0, 0xff, 0xff] } else { [0; 4] });
        record.resize(5 + 0x4000, 0);
        sent += record.len();
        if let Err(error) = session.feed(&record) {
            break error;
        }
        assert!(sent < 1 << 20, "a megabyte was collected");
    };
    assert!(matches!(error, TlsError::Protocol | TlsError::TooMuchPending { .. }), "{error:?}");
}

#[test]
fn provisioning_faults_are_named() {
    let pki = Pki::new("p256");
    let clock = || Arc::new(TestClock(Some(NOW)));
    let (root, (certificate, key)) = (pki.root_pem(), pki.client());
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let setup = |roots: &[&[u8]]| TlsConfig::new(roots, None, clock()).unwrap_err();
    assert_eq!(setup(&[]), SetupError::NoRoots);
    assert_eq!(setup(&[root.as_bytes(), b"\n"]), SetupError::NoRoot { file: 1 });
    assert_eq!(setup(&[broken.as_bytes()]), SetupError::RootMalformed { file: 0 });
    let identity = |certificate: &str, key: &str| {
        Identity::from_pem(certificate.as_bytes(), key.as_bytes()).map(|_| ()).unwrap_err()
    };
    assert_eq!(identity("", &key), SetupError::IdentityMalformed);
    assert_eq!(identity(&certificate, ""), SetupError::KeyMalformed);
    assert_eq!(identity(&certificate, &Pki::new("p384").client_key_of_own_kind()), SetupError::KeyMalformed);
    assert_eq!(identity(&root, &key), SetupError::KeyOfAnother);
    let _: String = format!("{:?}", Identity::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap());
}
