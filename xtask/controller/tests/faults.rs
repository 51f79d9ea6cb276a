//! Faults on purpose: what they do on the wire, and that they end.

mod device;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use device::Device;
use xtask_controller::{Controller, Endpoint, Fault, Handle, Options, RangeLie, Target};

fn start() -> (tempfile::TempDir, Handle, Device) {
    let folder = tempfile::tempdir().expect("a folder");
    let controller = Controller::start(Options::new(folder.path())).expect("it starts");
    controller.put_content("x", b"0123456789").expect("written");
    let mut device = Device::new(&controller, "one");
    device.onboard();
    device.config_hash.clear();
    (folder, controller, device)
}

#[test]
fn answers_are_spoilt_as_asked_and_then_whole_again() {
    let (_folder, controller, device) = start();
    let config = Target::Endpoint(Endpoint::Config);
    let once = |fault| controller.faults().arm(config, fault, Some(1));

    once(Fault::BadSignature);
    // Another endpoint is not concerned.
    assert_eq!(device.post("metrics", &device.metrics()).status, 201);
    assert_eq!(device.open(&device.ask_config()), Err("bad signature".into()));
    once(Fault::ChangedPayload);
    assert_eq!(device.open(&device.ask_config()), Err("bad signature".into()));
    once(Fault::UnknownSigner);
    assert_eq!(device.open(&device.ask_config()), Err("unknown signer".into()));
    once(Fault::Garbage);
    assert!(device.open(&device.ask_config()).is_err());
    once(Fault::WrongContentType);
    assert!(device.open(&device.ask_config()).is_err_and(|fault| fault.contains("text/html")));
    once(Fault::Status(503));
    assert_eq!(device.ask_config().status, 503);
    once(Fault::Truncated);
    let reply = device.ask_config();
    assert!(reply.short && !reply.body.is_empty());
    once(Fault::Oversized(3 << 20));
    assert!(device.ask_config().body.len() > 3 << 20);
    once(Fault::Late(Duration::from_millis(300)));
    let before = Instant::now();
    device.ask_config();
    assert!(before.elapsed() >= Duration::from_millis(300));
    for fault in [Fault::DropBefore, Fault::DropAfter] {
        once(fault);
        assert!(device.send("POST", &device.path("config"), b"").is_err());
    }
    assert!(!controller.faults().pending());
    assert!(device.open(&device.ask_config()).is_ok());

    controller.faults().arm(Target::Api, Fault::Status(500), None);
    assert_eq!(device.ask_config().status, 500);
    assert_eq!(device.ask_config().status, 500);
    controller.faults().clear();
    assert_eq!(device.ask_config().status, 200);
}

#[test]
fn a_controller_goes_away_and_comes_back_on_its_port() {
    let (_folder, controller, device) = start();
    controller.go_away();
    let refused = device.send("GET", "/api/v2/edgedevice/ping", b"").expect_err("away");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    controller.come_back();
    assert_eq!(device.send("GET", "/api/v2/edgedevice/ping", b"").expect("back").status, 200);
}

#[test]
fn a_wrong_ca_and_an_old_certificate_are_seen_and_end() {
    let (_folder, controller, device) = start();
    controller.faults().set_wrong_ca(true);
    let refused = device.send("GET", "/api/v2/edgedevice/ping", b"").expect_err("not trusted");
    assert!(refused.to_string().contains("UnknownIssuer"), "{refused}");
    let told = controller.wait_for("an event", Duration::from_secs(5), |observed| {
        observed.events.iter().find(|event| event.text.contains("handshake failed")).cloned()
    });
    assert!(told.expect("told").text.contains("UnknownCA"));
    controller.faults().set_expired(true);
    let refused = device.send("GET", "/api/v2/edgedevice/ping", b"").expect_err("too old");
    assert!(refused.to_string().contains("certificate expired"), "{refused}");
    controller.faults().clear();
    assert_eq!(device.send("GET", "/api/v2/edgedevice/ping", b"").expect("trusted").status, 200);
}

#[test]
fn a_new_signing_certificate_is_a_miss_until_certs_are_fetched() {
    let (_folder, controller, mut device) = start();
    let before = device.fetch_config().controllercert_confighash;
    controller.rotate_signing_certificate().expect("made");
    let reply = device.ask_config();
    assert_eq!(reply.status, 200, "the hash of the certificates is part of the configuration");
    assert_eq!(device.open(&reply), Err("unknown signer".into()));
    device.fetch_certs();
    assert_ne!(device.fetch_config().controllercert_confighash, before);
}

/// Head and body of what is answered to a request for the content `x`.
fn fetch(controller: &Handle, extra: &str) -> (String, String) {
    let mut stream =
        TcpStream::connect((Ipv4Addr::LOCALHOST, controller.urls().web_port)).expect("connected");
    write!(stream, "GET /content/x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{extra}\r\n").expect("sent");
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8(bytes).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
    (head.to_lowercase(), body.to_owned())
}

#[test]
fn content_is_spoilt_too() {
    let (_folder, controller, _device) = start();
    let fetch = |extra: &str| fetch(&controller, extra);
    assert_eq!(fetch("").1, "0123456789");
    let (head, body) = fetch("Range: bytes=4-6\r\n");
    assert!(head.contains("206 partial") && head.contains("content-range: bytes 4-6/10"), "{head}");
    assert_eq!(body, "456");
    let once = |fault| controller.faults().arm(Target::Content, fault, Some(1));
    once(Fault::ChangedPayload);
    assert_eq!(fetch("").1, "0123456788");
    once(Fault::Truncated);
    let (head, body) = fetch("");
    assert!(head.contains("content-length: 10"));
    assert_eq!(body, "01234");
    once(Fault::Oversized(5));
    assert_eq!(fetch("").1.len(), 15);
    once(Fault::Status(404));
    assert!(fetch("").0.contains("404"));
    once(Fault::DropBefore);
    assert_eq!(fetch("").0, "");
    assert_eq!(fetch("").1, "0123456789");
}

#[test]
fn a_download_is_cut_resumed_slowed_and_lied_to() {
    let (_folder, controller, _device) = start();
    let once = |fault| controller.faults().arm(Target::Content, fault, Some(1));
    let rest = "Range: bytes=4-\r\n";
    once(Fault::CutAt(3));
    let (head, body) = fetch(&controller, "");
    assert!(head.contains("200 ok") && head.contains("content-length: 10"), "{head}");
    assert_eq!(body, "012");
    once(Fault::CutAt(2));
    let (head, body) = fetch(&controller, rest);
    assert!(head.contains("206") && head.contains("content-range: bytes 4-9/10"), "{head}");
    assert!(head.contains("content-length: 6"), "{head}");
    assert_eq!(body, "45");
    once(Fault::CutAt(100));
    assert_eq!(fetch(&controller, "").1, "0123456789", "the cut lies behind the end");

    once(Fault::Slow(50));
    let before = Instant::now();
    assert_eq!(fetch(&controller, rest).1, "456789");
    // 6 bytes in parts of 5.
    assert!(before.elapsed() >= Duration::from_millis(100), "{:?}", before.elapsed());

    once(Fault::Range(RangeLie::Mislabelled));
    assert_eq!(fetch(&controller, "").1, "0123456789", "it is for ranges");
    let (head, body) = fetch(&controller, rest);
    assert!(head.contains("content-range: bytes 4-9/10") && body == "3456789", "{head}: {body}");
    once(Fault::Range(RangeLie::Ignored));
    assert!(fetch(&controller, rest).0.contains("200 ok"));
    once(Fault::Range(RangeLie::Unsatisfiable));
    assert!(fetch(&controller, rest).0.contains("416"));
    assert!(!controller.faults().pending());
    assert_eq!(fetch(&controller, rest).1, "456789");
}

#[test]
fn the_file_asks_for_faults_and_stops_asking() {
    let (_folder, controller, device) = start();
    let version = controller.set_config("").expect("right");
    let asked = "[[fault]]\ntarget = 'content'\nkind = 'cut-at'\nnumber = 4\ntimes = 1\n\
                 [[fault]]\ntarget = 'content'\nkind = 'drop-before'\n\
                 [[fault]]\ntarget = 'config'\nkind = 'status'\nnumber = 503\n";
    assert_eq!(controller.set_config(asked).expect("right"), version, "devices are told nothing new");
    assert_eq!(fetch(&controller, "").1, "0123");
    assert_eq!((fetch(&controller, "").1, fetch(&controller, "").1), (String::new(), String::new()));
    assert_eq!(device.ask_config().status, 503);
    // Another change of the file does not arm anew what was played.
    controller.set_config(&format!("{asked}[items]\nx = 1\n")).expect("right");
    assert_eq!(fetch(&controller, "").1, "");
    controller.set_config("").expect("right");
    assert_eq!((fetch(&controller, "").1.as_str(), device.ask_config().status), ("0123456789", 200));
}
