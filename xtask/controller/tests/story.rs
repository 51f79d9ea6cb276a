//! A conforming device from its first request to its logs, over real TLS. No violation may be noted.

mod device;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use device::{Device, asn1, gzip, line};
use proto_eve::Message as _;
use proto_eve::wire::attest::{AttestStorageKeys, AttestVolumeKey, ZAttestReq};
use proto_eve::wire::info::ZSwState;
use xtask_controller::{Controller, Handle, Options, TlsVersions};

const SOON: Duration = Duration::from_secs(5);
const APP: &str = "[[app]]\nname = 'hello'\ncontent = 'hello.elf'\nmemory_kib = 8192\nargs = 'a=1'\n";

fn start(folder: &tempfile::TempDir) -> Handle {
    start_with(Options::new(folder.path()))
}

fn start_with(options: Options) -> Handle {
    let controller = Controller::start(options).expect("it starts");
    controller.put_content("hello.elf", b"\x7fELF hello").expect("written");
    controller.set_config(APP).expect("right");
    controller
}

#[test]
fn a_conforming_device_comes_through_without_a_violation() {
    let folder = tempfile::tempdir().expect("a folder");
    let printed = Arc::new(Mutex::new(Vec::new()));
    let lines = printed.clone();
    let mut options = Options::new(folder.path());
    options.on_log = Some(Arc::new(move |line| lines.lock().expect("whole").push(line.to_owned())));
    let controller = start_with(options);
    let mut device = Device::new(&controller, "one");

    assert_eq!(device.send("GET", "/api/v2/edgedevice/ping", &[]).expect("an answer").status, 200);
    assert_eq!(device.fetch_certs().certs.len(), 2);
    // Before it registers, nobody knows it; that is no violation.
    assert_eq!(device.ask_uuid().status, 401);
    assert_eq!(device.register().status, 201);
    assert_eq!(device.register().status, 200, "the same certificate again");
    assert_eq!(device.ask_uuid().status, 200);
    assert_eq!(device.ask_config().status, 403, "not attested yet");

    device.attest_without_tpm();
    let keys = vec![AttestVolumeKey { key_type: 1, key: b"sealed".to_vec(), ..Default::default() }];
    let store = |token: &[u8]| ZAttestReq {
        req_type: 4,
        storage_keys: Some(AttestStorageKeys { integrity_token: token.to_vec(), keys: keys.clone() }),
        ..Default::default()
    };
    let code = |device: &Device, token: &[u8]| {
        device.attest(&store(token)).storage_keys_resp.expect("an answer").response
    };
    assert_eq!(code(&device, &device.token), 1);
    assert_eq!(code(&device, b"another token"), 2);

    let config = device.fetch_config();
    assert_eq!(config.id.as_ref().map(|id| id.uuid.clone()), Some(device.id()));
    let app = &config.apps[0];
    assert_eq!(app.fixedresources.as_ref().map(|machine| machine.memory), Some(8192));
    let unchanged = device.ask_config();
    assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));
    assert_eq!(unchanged.header("content-type"), None);

    // Content, from where the configuration says it is.
    let store = &config.datastores[0];
    let tree = &config.content_info[0];
    let url = format!("{}/{}/{}", store.fqdn, store.dpath, tree.url);
    let content = fetch(&url.replace("10.0.2.2", "127.0.0.1"));
    assert_eq!(content, b"\x7fELF hello");

    let report = device.post("info", &device.device_info(&config));
    assert_eq!((report.status, report.body.len()), (201, 0));
    assert_eq!(report.header("content-length"), Some("0"));
    let id = app.uuidandversion.as_ref().expect("an identity").uuid.clone();
    for state in [ZSwState::DownloadStarted, ZSwState::Delivered, ZSwState::Booting, ZSwState::Running] {
        assert_eq!(device.post("info", &device.app_info(&id, "hello", state, None)).status, 201);
    }
    assert_eq!(device.post("metrics", &device.metrics_with(&id, "hello")).status, 201);
    let metrics = controller
        .wait_for("metrics", SOON, |seen| seen.devices.values().find_map(|device| device.metrics.clone()))
        .expect("they came");
    assert_eq!((metrics.used_mib, metrics.sent_bytes, metrics.received_bytes), (60, 7, 9));
    let app_metrics = &metrics.apps[..];
    assert!(
        matches!(app_metrics, [app] if app.name == "hello" && app.cpu_ns == 2_000_000_001
        && (app.allocated_mib, app.used_mib) == (8, 7)),
        "{app_metrics:?}"
    );
    let log = device.device_log(&(line("control", "online", 1) + &line("net", "address", 1)));
    assert_eq!(device.post_bytes("newlogs", log).status, 201);
    let app_log = gzip(Some("hello"), None, &line("hello", "tick 1", 1));
    assert_eq!(device.post_bytes(&format!("apps/instanceid/{id}/newlogs"), app_log).status, 201);

    let app = controller.wait_app_state("hello", "RUNNING", SOON).expect("it runs");
    assert_eq!(app.states, ["DOWNLOAD_STARTED", "DELIVERED", "BOOTING", "RUNNING"]);
    controller.wait_app_line("hello", "tick 1", SOON).expect("it spoke");
    let said = controller.wait_device_line("online", SOON).expect("it spoke");
    assert_eq!(said.at_ms, 1_772_368_200_000);
    let view = controller.wait_registered(&device.bundle.text("serial"), SOON).expect("known");
    assert!(view.attested);
    assert_eq!(view.info.expect("told").addresses, ["10.0.2.15"]);

    // An error, then the end.
    let failed = device.app_info(&id, "hello", ZSwState::Error, Some("no memory"));
    assert_eq!(device.post("info", &failed).status, 201);
    controller.wait_app_error("hello", "no memory", SOON).expect("told");
    let gone = device.app_info(&id, "", ZSwState::Invalid, None);
    assert_eq!(device.post("info", &gone).status, 201);
    controller.wait_app_gone("hello", SOON).expect("gone");

    assert_eq!(controller.violations(), []);
    controller.shutdown();

    // The journals have whole messages, and what a device says is passed on, one line each.
    let journal =
        |name: &str| std::fs::read_to_string(folder.path().join("journal").join(name)).expect("a journal");
    let info = journal("info.jsonl");
    assert!(info.contains("hsm_status: Notfound") && info.contains("no memory"), "{info}");
    assert!(journal("metrics.jsonl").contains("dormant_time_in_seconds: 180"));
    let printed = printed.lock().expect("whole").clone();
    let has = |parts: &[&str]| printed.iter().any(|line| parts.iter().all(|part| line.contains(part)));
    assert!(has(&[": metrics: 60 MiB used, 196 MiB free", "app hello: 7 of 8 MiB, 2000 ms of CPU"]));
    assert!(has(&["device ", ": control: info: online"]) && has(&[": hello: info: tick 1"]), "{printed:?}");
}

#[test]
fn devices_and_versions_outlive_the_controller() {
    let folder = tempfile::tempdir().expect("a folder");
    let controller = start(&folder);
    let mut device = Device::new(&controller, "one");
    let config = device.onboard();
    let bundle = device.bundle.clone();
    controller.shutdown();

    let controller = start(&folder);
    let second = Controller::start(Options::new(folder.path())).expect_err("the folder is in use");
    assert!(second.to_string().contains("in use by another controller"), "{second}");
    let mut again = Device::new(&controller, "one");
    assert_eq!(again.bundle.text("soft_serial"), bundle.text("soft_serial"));
    assert_eq!(again.bundle.files["root-certificate.pem"], bundle.files["root-certificate.pem"]);
    again.fetch_certs();
    assert_eq!(again.register().status, 200);
    assert_eq!(again.ask_uuid().status, 200);
    assert_eq!(again.uuid, device.uuid);
    again.token = device.token;
    let same = again.fetch_config();
    assert_eq!(same.id, config.id);
    assert_eq!(controller.violations(), []);
}

#[test]
fn the_file_may_be_edited_while_devices_poll() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut options = Options::new(folder.path());
    options.poll = Duration::from_millis(20);
    let controller = start_with(options);
    let mut device = Device::new(&controller, "one");
    device.onboard();
    // By hand, not through the handle.
    // At once, as editors do; the configuration before may be given until the file is looked at.
    let edited = folder.path().join("edited");
    std::fs::write(&edited, format!("{APP}[items]\n\"timer.config.interval\" = 7\n")).expect("written");
    std::fs::rename(edited, controller.config_path()).expect("renamed");
    let config = retry(|| {
        let config = (device.ask_config().status == 200).then(|| device.fetch_config());
        config.filter(|config| !config.config_items.is_empty())
    });
    assert_eq!(config.config_items[0].value, "7");
    // A mistake is told with its line, and nothing changes.
    let refused = controller.set_config("[device]\nname = 5\n").expect_err("a mistake");
    assert!(refused.to_string().starts_with("config.toml:2: "), "{refused}");
    assert_eq!(device.ask_config().status, 304);
    // New content under the same name.
    controller.set_config(APP).expect("right");
    let before = device.fetch_config();
    controller.put_content("hello.elf", b"other bytes").expect("written");
    let after = retry(|| (device.ask_config().status == 200).then(|| device.fetch_config()));
    assert_ne!(before.content_info[0].sha256, after.content_info[0].sha256);
    let purge = |config: &proto_eve::wire::config::EdgeDevConfig| {
        config.apps[0].purge.as_ref().map_or(0, |command| command.counter)
    };
    assert_eq!(purge(&after), purge(&before) + 1);
}

#[test]
fn both_versions_of_tls_are_spoken() {
    for versions in [TlsVersions::Only12, TlsVersions::Only13] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut options = Options::new(folder.path());
        options.tls = versions;
        let controller = start_with(options);
        Device::new(&controller, "one").onboard();
    }
}

#[test]
fn a_revoked_or_readmitted_device_finds_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let controller = start(&folder);
    let mut device = Device::new(&controller, "one");
    device.onboard();
    let uuid = device.uuid.expect("onboarded");
    controller.revoke(uuid).expect("kept");
    assert_eq!(device.ask_config().status, 403);
    device.attest_without_tpm();
    assert_eq!(device.ask_config().status, 304);

    let fresh = controller.readmit(uuid).expect("kept");
    assert_eq!(device.ask_config().status, 400, "ask for the UUID again");
    assert_eq!(device.ask_uuid().status, 200);
    assert_eq!(device.uuid, Some(fresh));
    device.attest_without_tpm();
    device.fetch_config();

    controller.delete(fresh).expect("kept");
    assert_eq!(device.ask_config().status, 401);
    assert_eq!(device.register().status, 201);
    assert_eq!(controller.violations(), []);
}

fn fetch(url: &str) -> Vec<u8> {
    let rest = url.strip_prefix("http://").expect("http");
    let (host, path) = rest.split_once('/').expect("a path");
    let port = host.split_once(':').expect("a port").1.parse().expect("a number");
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("connected");
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").expect("sent");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("read");
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    assert!(bytes.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&bytes[..end]));
    bytes[end + 4..].to_vec()
}

fn retry<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    for _ in 0..250 {
        if let Some(found) = attempt() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("it did not come");
}

#[test]
fn answers_are_what_openssl_calls_signed() {
    let folder = tempfile::tempdir().expect("a folder");
    let controller = start(&folder);
    let mut device = Device::new(&controller, "one");
    device.onboard();
    let body = device.container(Vec::new()).encode_to_vec();
    let reply = device.send("POST", "/api/v2/edgedevice/uuid", &body).expect("an answer");
    let container = proto_eve::wire::auth::AuthContainer::decode(reply.body.as_slice()).expect("a container");
    let at = |name: &str| folder.path().join(name);
    let write = |name: &str, bytes: &[u8]| std::fs::write(at(name), bytes).expect("written");
    write("payload", &container.protected_payload.expect("a payload").payload);
    write("cert.pem", &device.signing_pem);
    write("root.pem", &device.bundle.files["root-certificate.pem"]);
    write("signature", &asn1(&container.signature_hash));
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new("openssl")
            .args(arguments)
            .current_dir(folder.path())
            .output()
            .expect("the openssl command; `cargo xtask setup` installs it");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run(&["x509", "-in", "cert.pem", "-pubkey", "-noout", "-out", "key.pem"]);
    run(&["dgst", "-sha256", "-verify", "key.pem", "-signature", "signature", "payload"]);
    run(&["verify", "-CAfile", "root.pem", "-purpose", "sslserver", "cert.pem"]);
}
