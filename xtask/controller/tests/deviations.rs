//! What a conforming device would not send: each has its code, and a line among the violations.

mod device;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use device::{Device, PROTOBUF, Reply, asn1, der_hash, gzip, line, now, sign, zcert};
use proto_eve::wire::attest::{AttestStorageKeys, TpmPcrValue, ZAttestQuote, ZAttestReq};
use proto_eve::wire::auth::{AuthBody, AuthContainer};
use proto_eve::wire::certs::ZCert;
use proto_eve::wire::common::CipherContext;
use proto_eve::wire::flowlog::{FlowMessage, FlowRecord, ScopeInfo};
use proto_eve::wire::hardwarehealth::ZHardwareHealth;
use proto_eve::wire::info::{ZInfoDevice, ZInfoMsg, ZInfoTypes, ZSwState, z_info_msg::InfoContent};
use proto_eve::wire::metrics::{AppMetric, DeviceMetric, ZMetricMsg, z_metric_msg::MetricContent};
use proto_eve::{Message, Timestamp};
use xtask_controller::{Controller, Handle, Options, Uuid};

/// A deviation: what it is, how it is sent, its code, and a part of the noted reason.
type Case = (&'static str, fn(&Device) -> Reply, u16, &'static str);

/// The remark upon a message, and what makes the message so.
type Thin<T> = (&'static str, fn(&mut T));

const APP: &str = "5b1f4c1e-30a4-4a0c-9d0a-1f6d3e2b7c11";

fn start() -> (tempfile::TempDir, Handle) {
    let folder = tempfile::tempdir().expect("a folder");
    let controller = Controller::start(Options::new(folder.path())).expect("it starts");
    controller.set_config("").expect("right");
    (folder, controller)
}

fn onboarded() -> (tempfile::TempDir, Handle, Device) {
    let (folder, controller) = start();
    let mut device = Device::new(&controller, "one");
    device.onboard();
    assert_eq!(controller.violations(), []);
    (folder, controller, device)
}

/// Runs a table; every case has to be refused with its code and noted with its reason.
fn run(controller: &Handle, device: &Device, cases: &[Case]) {
    for (name, send, status, reason) in cases {
        let before = controller.violations().len();
        let reply = send(device);
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        assert_eq!(reply.status, *status, "{name}: {text}");
        let noted = controller.violations();
        let noted: Vec<_> = noted.iter().skip(before).collect();
        let found =
            noted.iter().find(|noted| noted.refused == Some(*status) && noted.reason.contains(reason));
        assert!(found.is_some(), "{name}: wanted \"{reason}\" among {noted:#?}");
    }
}

fn container(device: &Device, change: impl FnOnce(&mut AuthContainer)) -> Reply {
    let mut container = device.container(device.device_info(&Default::default()).encode_to_vec());
    change(&mut container);
    device.send("POST", &device.path("info"), &container.encode_to_vec()).expect("an answer")
}

#[test]
fn envelopes() {
    let (_folder, controller, device) = onboarded();
    run(
        &controller,
        &device,
        &[
            (
                "no protobuf",
                |d| d.send("POST", &d.path("info"), b"\xff\xff").expect("x"),
                422,
                "no AuthContainer",
            ),
            ("empty body", |d| d.send("POST", &d.path("info"), b"").expect("x"), 422, "no protectedPayload"),
            ("no payload", |d| container(d, |c| c.protected_payload = None), 422, "no protectedPayload"),
            ("algo 1", |d| container(d, |c| c.algo = 1), 422, "algo is 1"),
            ("algo 0", |d| container(d, |c| c.algo = 0), 422, "algo is 0"),
            (
                "short hash",
                |d| container(d, |c| c.sender_cert_hash.truncate(16)),
                401,
                "16 bytes instead of 32",
            ),
            ("no hash", |d| container(d, |c| c.sender_cert_hash.clear()), 401, "0 bytes instead of 32"),
            ("no signature", |d| container(d, |c| c.signature_hash.clear()), 401, "0 bytes does not verify"),
            ("wrong signature", |d| container(d, |c| c.signature_hash[5] ^= 1), 401, "does not verify"),
            (
                "ASN.1 signature",
                |d| container(d, |c| c.signature_hash = asn1(&c.signature_hash)),
                401,
                "ASN.1",
            ),
            (
                "changed payload",
                |d| {
                    container(d, |c| {
                        c.protected_payload = Some(AuthBody { payload: b"other".to_vec() });
                    })
                },
                401,
                "does not verify",
            ),
            ("senderCert", |d| container(d, |c| c.sender_cert = b"x".to_vec()), 422, "for register alone"),
            (
                "encrypted",
                |d| container(d, |c| c.cipher_context = Some(CipherContext::default())),
                422,
                "encrypt",
            ),
        ],
    );
}

#[test]
fn paths_methods_and_headers() {
    let (_folder, controller, device) = onboarded();
    run(
        &controller,
        &device,
        &[
            ("wrong method", |d| d.send("GET", &d.path("config"), b"").expect("x"), 405, "only POST"),
            ("posted ping", |d| d.send("POST", "/api/v2/edgedevice/ping", b"").expect("x"), 405, "only GET"),
            (
                "trailing slash",
                |d| d.send("POST", &(d.path("info") + "/"), b"").expect("x"),
                404,
                "no such path",
            ),
            ("double slash", |d| d.send("POST", &d.path("/info"), b"").expect("x"), 301, "double slash"),
            (
                "no UUID",
                |d| d.send("POST", "/api/v2/edgedevice/info", b"").expect("x"),
                404,
                "needs id/UUID/",
            ),
            ("a UUID too many", |d| d.send("POST", &d.path("uuid"), b"").expect("x"), 404, "carries no id"),
            (
                "version 1",
                |d| d.send("POST", "/api/v1/edgedevice/config", b"").expect("x"),
                404,
                "no such path",
            ),
            (
                "another's path",
                |d| {
                    let path = d.path("info").replace(&d.id(), &Uuid::new_v4().to_string());
                    d.send("POST", &path, &d.container(Vec::new()).encode_to_vec()).expect("x")
                },
                400,
                "the signature is",
            ),
            (
                "media type",
                |d| {
                    let body = d.container(Vec::new()).encode_to_vec();
                    let headers =
                        format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
                    d.send_with("POST", &d.path("info"), &headers, &body).expect("x")
                },
                422,
                "Content-Type is application/json",
            ),
            (
                "no host",
                |d| d.raw(b"GET /api/v2/edgedevice/ping HTTP/1.1\r\nConnection: close\r\n\r\n").expect("x"),
                400,
                "no Host",
            ),
            (
                "a body with GET",
                |d| d.send_with("GET", "/api/v2/edgedevice/certs", "Content-Length: 1\r\n", b"x").expect("x"),
                422,
                "a GET with a body",
            ),
            (
                "too long",
                |d| d.send("POST", &d.path("info"), &vec![0; (1 << 20) + 1]).expect("x"),
                413,
                "1048576",
            ),
        ],
    );
    assert_eq!(
        device.send("POST", &device.path("/info"), b"").expect("x").header("location"),
        Some(device.path("info").as_str())
    );
}

#[test]
fn accepted_but_remarked_upon() {
    let (_folder, controller, mut device) = onboarded();
    let remark = |part: &str| {
        controller.violations().iter().any(|noted| noted.refused.is_none() && noted.reason.contains(part))
    };
    let headers = |extra: &str| {
        let body = device.container(device.metrics().encode_to_vec()).encode_to_vec();
        let headers = format!("Content-Type: {PROTOBUF}\r\nContent-Length: {}\r\n{extra}", body.len());
        let reply = device.send_with("POST", &device.path("metrics"), &headers, &body).expect("an answer");
        assert_eq!(reply.status, 201);
    };
    headers("");
    assert!(remark("X-Request-Id is missing"));
    headers("X-Request-Id: seven\r\n");
    assert!(remark("is no UUID: seven"));
    let id = format!("X-Request-Id: {}\r\n", Uuid::new_v4());
    headers(&id);
    headers(&id);
    assert!(remark("was used before"));
    headers(&format!("X-Request-Id: {}\r\nX-Serial-Number: 1\r\n", Uuid::new_v4()));
    assert!(remark("while the UUID is unknown"));
    // The device's own UUID is what the specification says, so it may repeat.
    let before = controller.violations().len();
    let own = format!("X-Request-Id: {}\r\n", device.id());
    headers(&own);
    headers(&own);
    assert_eq!(controller.violations().len(), before);

    let thinner: [Thin<ZInfoDevice>; 11] = [
        ("HostName is not the device's UUID", |info| info.host_name.clear()),
        ("shaRootCa", |info| info.sec_info = None),
        ("minfo is missing", |info| info.minfo = None),
        ("swList has not both", |info| info.sw_list.truncate(1)),
        ("assignableAdapters is empty", |info| info.assignable_adapters.clear()),
        ("last_boot_reason is missing", |info| info.last_boot_reason = 0),
        ("lastRebootReason is missing", |info| info.last_reboot_reason.clear()),
        ("lastRebootTime is missing", |info| info.last_reboot_time = None),
        ("dataSecAtRestInfo is missing", |info| info.data_sec_at_rest_info = None),
        ("configItemStatus is missing", |info| info.config_item_status = None),
        ("capabilities is missing", |info| info.capabilities = None),
    ];
    for (part, thin) in thinner {
        let mut message = device.device_info(&Default::default());
        let Some(InfoContent::Dinfo(info)) = &mut message.info_content else { panic!("device information") };
        thin(info);
        assert!(!remark(part), "{part}: too early");
        assert_eq!(device.post("info", &message).status, 201);
        assert!(remark(part), "{part}");
    }
    let thinner: [Thin<DeviceMetric>; 10] = [
        ("memory of the device is missing", |metric| metric.memory = None),
        ("deviceMemory is missing", |metric| metric.device_memory = None),
        ("cpuMetric of the device is missing", |metric| metric.cpu_metric = None),
        ("ZMetricMsg: cpuMetric: total is not", |metric| {
            metric.cpu_metric.as_mut().expect("there").total = 9
        }),
        ("network of the device is empty", |metric| metric.network.clear()),
        ("zedcloud is empty", |metric| metric.zedcloud.clear()),
        ("newlog is missing", |metric| metric.newlog = None),
        ("dormant_time_in_seconds is 0", |metric| metric.dormant_time_in_seconds = 0),
        ("last_processed_config is missing", |metric| metric.last_processed_config = None),
        ("last_received_config is missing", |metric| {
            (metric.last_received_config, metric.last_processed_config) = (None, None);
        }),
    ];
    // What was made ahead of the configuration comes behind it.
    let mut early = device.metrics();
    let Some(MetricContent::Dm(metric)) = &mut early.metric_content else { panic!("of the device") };
    (metric.last_received_config, metric.last_processed_config) = (None, None);
    std::thread::sleep(std::time::Duration::from_millis(2));
    assert_eq!(device.ask_config().status, 304, "it has its configuration");
    assert_eq!(device.post("metrics", &early).status, 201);
    assert!(!remark("_config is missing"));
    for (part, thin) in thinner {
        let mut message = device.metrics();
        let Some(MetricContent::Dm(metric)) = &mut message.metric_content else { panic!("of the device") };
        thin(metric);
        assert!(!remark(part), "{part}: too early");
        assert_eq!(device.post("metrics", &message).status, 201);
        assert!(remark(part), "{part}");
    }
    controller.put_content("x.elf", b"x").expect("written");
    controller.set_config("[[app]]\nname = 'x'\ncontent = 'x.elf'\nmemory_kib = 8192\n").expect("right");
    let app = device.fetch_config().apps[0].uuidandversion.clone().expect("an identity").uuid;
    let of_app: [Thin<AppMetric>; 4] = [
        ("AppName is not the configured one", |app| app.app_name = "y".into()),
        (": cpu is missing", |app| app.cpu = None),
        (": cpu: total is not", |app| app.cpu.as_mut().expect("there").total_ns = 5),
        ("appMemory is missing", |app| app.app_memory = None),
    ];
    for (part, thin) in of_app {
        let mut message = device.metrics_with(&app, "x");
        thin(&mut message.am[0]);
        assert!(!remark(part), "{part}: too early");
        assert_eq!(device.post("metrics", &message).status, 201);
        assert!(remark(part), "{part}");
    }
    for state in [ZSwState::Initial, ZSwState::Running] {
        assert!(!remark("has no metrics"));
        assert_eq!(device.post("info", &device.app_info(&app, "x", state, None)).status, 201);
        if state == ZSwState::Initial {
            // It may wait for the storage, and an agent that is there anew knows nothing of it.
            assert_eq!(device.post("metrics", &device.metrics()).status, 201);
        }
    }
    assert_eq!(device.post("metrics", &device.metrics_with(&app, "x")).status, 201);
    assert!(!remark("has no metrics"));
    // It began after that was reported.
    let mut anew = device.metrics();
    let Some(MetricContent::Dm(metric)) = &mut anew.metric_content else { panic!("of the device") };
    metric.cpu_metric.as_mut().expect("there").up_time = Some(proto_eve::time::timestamp(-1, 0));
    assert_eq!(device.post("metrics", &anew).status, 201);
    assert!(!remark("has no metrics"));
    assert_eq!(device.post("metrics", &device.metrics()).status, 201);
    assert!(remark("has no metrics"));
    let restarting = device.app_info(APP, "x", ZSwState::Restarting, None);
    assert_eq!(device.post("info", &restarting).status, 201);
    assert!(remark("RESTARTING"));
}

fn register(device: &Device, change: impl FnOnce(&mut proto_eve::wire::register::ZRegisterMsg)) -> Reply {
    let mut message = device.register_message();
    change(&mut message);
    post_register(device, device.register_container(&message))
}

fn post_register(device: &Device, container: AuthContainer) -> Reply {
    device.send("POST", "/api/v2/edgedevice/register", &container.encode_to_vec()).expect("an answer")
}

#[test]
fn registering() {
    let (_folder, controller) = start();
    let mut device = Device::new(&controller, "one");
    device.fetch_certs();
    run(
        &controller,
        &device,
        &[
            (
                "no senderCert",
                |d| {
                    let mut container = d.register_container(&d.register_message());
                    container.sender_cert.clear();
                    post_register(d, container)
                },
                422,
                "senderCert",
            ),
            (
                "PEM without base64",
                |d| {
                    let mut container = d.register_container(&d.register_message());
                    container.sender_cert = d.bundle.files["onboard.cert.pem"].clone();
                    post_register(d, container)
                },
                422,
                "senderCert is no base64",
            ),
            (
                "hash over PEM",
                |d| {
                    let mut container = d.register_container(&d.register_message());
                    let pem = &d.bundle.files["onboard.cert.pem"];
                    container.sender_cert_hash =
                        ring::digest::digest(&ring::digest::SHA256, pem).as_ref().to_vec();
                    post_register(d, container)
                },
                401,
                "over the DER",
            ),
            (
                "signed by the device",
                |d| {
                    let mut container = d.register_container(&d.register_message());
                    container.signature_hash =
                        d.sign("device.key.pem", &d.register_message().encode_to_vec());
                    post_register(d, container)
                },
                401,
                "does not verify",
            ),
            ("empty", |d| register(d, |message| *message = Default::default()), 422, "pemCert has 0 bytes"),
            (
                "no base64",
                |d| {
                    register(d, |message| {
                        message.pem_cert = d.bundle.files["device.cert.pem"].clone();
                    })
                },
                422,
                "pemCert is no base64",
            ),
            (
                "too long",
                |d| register(d, |message| message.pem_cert = vec![b'A'; 10_241]),
                422,
                "100 to 10240",
            ),
            (
                "no certificate",
                |d| {
                    register(d, |message| {
                        message.pem_cert = STANDARD.encode([b'x'; 200]).into_bytes();
                    })
                },
                422,
                "not exactly one PEM",
            ),
            (
                "two certificates",
                |d| {
                    register(d, |message| {
                        message.pem_cert =
                            STANDARD.encode(d.bundle.files["device.cert.pem"].repeat(2)).into_bytes();
                    })
                },
                422,
                "not exactly one PEM",
            ),
            (
                "not self-signed",
                |d| {
                    register(d, |message| {
                        // The controller's signing certificate: genuine, and issued by somebody else.
                        message.pem_cert = STANDARD.encode(&d.signing_pem).into_bytes();
                    })
                },
                422,
                "not signed by the expected key",
            ),
            ("softSerial", |d| register(d, |message| message.soft_serial = "a b".into()), 422, "softSerial"),
            ("long serial", |d| register(d, |message| message.serial = "x".repeat(257)), 422, "256"),
            #[allow(deprecated, reason = "the deviation is to use it")]
            ("onBoardKey", |d| register(d, |message| message.on_board_key = "x".into()), 422, "obsolete"),
        ],
    );

    // Ordinary refusals, which are no violations: an unknown certificate, a serial that is taken.
    let before = controller.violations();
    let (_other_folder, other) = start();
    let stranger = Device::new(&other, "stranger");
    let reply = post_register(&device, stranger.register_container(&stranger.register_message()));
    assert_eq!(reply.status, 403);
    assert_eq!(device.register().status, 201);
    let twin = Device::new(&controller, "twin");
    let taken = |soft: &str| {
        register(&twin, |message| {
            message.serial = device.bundle.text("serial");
            message.soft_serial = soft.to_owned();
        })
        .status
    };
    assert_eq!(taken(""), 409);
    assert_eq!(taken(&device.bundle.text("soft_serial")), 409);
    assert_eq!(taken("another"), 201, "the soft serial tells them apart");
    controller.set_config("[onboarding]\nserials = ['only-this']\n").expect("right");
    assert_eq!(Device::new(&controller, "third").register().status, 403);
    assert_eq!(controller.violations(), before);
}

fn attest(device: &Device, request: ZAttestReq) -> Reply {
    device.post("attest", &request)
}

fn publish(device: &Device, change: impl FnOnce(&mut ZCert)) -> Reply {
    let mut cert = zcert(&device.bundle.files["ecdh.cert.pem"]);
    change(&mut cert);
    attest(device, ZAttestReq { req_type: 1, certs: vec![cert], ..Default::default() })
}

#[test]
fn attesting() {
    let (_folder, controller, device) = onboarded();
    assert_eq!(publish(&device, |_| {}).status, 201);
    run(
        &controller,
        &device,
        &[
            ("no type", |d| attest(d, ZAttestReq::default()), 422, "reqType 0"),
            (
                "unknown type",
                |d| attest(d, ZAttestReq { req_type: 9, ..Default::default() }),
                422,
                "reqType 9",
            ),
            (
                "no quote",
                |d| attest(d, ZAttestReq { req_type: 3, ..Default::default() }),
                422,
                "without quote",
            ),
            (
                "no keys",
                |d| attest(d, ZAttestReq { req_type: 4, ..Default::default() }),
                422,
                "without storage_keys",
            ),
            (
                "stray quote",
                |d| {
                    attest(
                        d,
                        ZAttestReq {
                            req_type: 2,
                            quote: Some(ZAttestQuote::default()),
                            ..Default::default()
                        },
                    )
                },
                422,
                "does not belong",
            ),
            (
                "stray keys",
                |d| {
                    attest(
                        d,
                        ZAttestReq {
                            req_type: 1,
                            storage_keys: Some(AttestStorageKeys::default()),
                            ..Default::default()
                        },
                    )
                },
                422,
                "does not belong",
            ),
            ("no protobuf", |d| d.post_bytes("attest", vec![0xff]), 422, "no ZAttestReq"),
            (
                "too long",
                |d| {
                    attest(
                        d,
                        ZAttestReq {
                            req_type: 3,
                            quote: Some(ZAttestQuote {
                                tpm_binary_event_log: vec![0; 63_488],
                                ..Default::default()
                            }),
                            ..Default::default()
                        },
                    )
                },
                413,
                "more than 63488",
            ),
            ("full hash", |d| publish(d, |cert| cert.hash_algo = 2), 422, "hashAlgo is 2"),
            (
                "hash over DER",
                |d| {
                    publish(d, |cert| {
                        cert.cert_hash = der_hash(&d.bundle.files["ecdh.cert.pem"])[..16].to_vec();
                    })
                },
                422,
                "over the PEM",
            ),
            ("controller's type", |d| publish(d, |cert| cert.r#type = 1), 422, "ZCert of type 1"),
            ("signed by another", |d| publish(d, |cert| *cert = zcert(&d.signing_pem)), 422, "not signed"),
        ],
    );

    // Answered in the protocol's own way, and remarked upon.
    let half = ZAttestQuote { pcr_values: vec![TpmPcrValue::default()], ..Default::default() };
    let verdict = device.attest(&ZAttestReq { req_type: 3, quote: Some(half), ..Default::default() });
    assert_eq!(verdict.quote_resp.expect("a verdict").response, 0, "INVALID");
    assert!(controller.violations().last().expect("one").reason.contains("neither all there"));
}

#[test]
fn a_quote_needs_a_nonce_and_a_signed_one_its_certificate() {
    let (_folder, controller) = start();
    let mut device = Device::new(&controller, "one");
    device.fetch_certs();
    device.register();
    device.ask_uuid();
    let judge = |quote: ZAttestQuote| {
        let request = ZAttestReq { req_type: 3, quote: Some(quote), ..Default::default() };
        device.attest(&request).quote_resp.expect("a verdict")
    };
    let verdict = judge(ZAttestQuote::default());
    assert_eq!((verdict.response, verdict.integrity_token), (2, Vec::new()), "NONCE_MISMATCH");
    device.attest(&ZAttestReq { req_type: 2, ..Default::default() });
    let signed = ZAttestQuote {
        attest_data: vec![1],
        signature: vec![2; 70],
        pcr_values: vec![TpmPcrValue::default()],
        ..Default::default()
    };
    assert_eq!(judge(signed).response, 3, "NO_CERT_FOUND");
    let verdict = judge(ZAttestQuote::default());
    assert_eq!((verdict.response, verdict.integrity_token.is_empty()), (1, false));
    assert_eq!(controller.violations().len(), 1, "only the quote without a nonce");
}

fn info(device: &Device, change: impl FnOnce(&mut ZInfoMsg)) -> Reply {
    let mut message = device.app_info(APP, "x", ZSwState::Running, None);
    change(&mut message);
    device.post("info", &message)
}

#[test]
fn reports() {
    let (_folder, controller, device) = onboarded();
    run(
        &controller,
        &device,
        &[
            ("info: no protobuf", |d| d.post_bytes("info", vec![0xff]), 422, "no ZInfoMsg"),
            ("info: no UTF-8", |d| d.post_bytes("info", b"\x12\x02\xff\xfe".to_vec()), 422, "no ZInfoMsg"),
            ("info: another", |d| info(d, |m| m.dev_id = Uuid::new_v4().to_string()), 422, "names device"),
            ("info: nobody", |d| info(d, |m| m.dev_id.clear()), 422, "names device"),
            ("info: upper case", |d| info(d, |m| m.dev_id = m.dev_id.to_uppercase()), 422, "names device"),
            ("info: no time", |d| info(d, |m| m.at_time_stamp = None), 422, "atTimeStamp is missing"),
            (
                "info: late time",
                |d| {
                    info(d, |m| {
                        m.at_time_stamp = Some(Timestamp { seconds: 253_402_300_800, nanos: 0 });
                    })
                },
                422,
                "out of range",
            ),
            (
                "info: wrong nanos",
                |d| {
                    info(d, |m| {
                        m.at_time_stamp = Some(Timestamp { seconds: 0, nanos: -1 });
                    })
                },
                422,
                "out of range",
            ),
            ("info: no content", |d| info(d, |m| m.info_content = None), 422, "no content"),
            ("info: other type", |d| info(d, |m| m.ztype = ZInfoTypes::ZiDevice as i32), 422, "belongs to"),
            (
                "info: unknown state",
                |d| {
                    let mut message = d.app_info(APP, "x", ZSwState::Running, None);
                    if let Some(proto_eve::wire::info::z_info_msg::InfoContent::Ainfo(app)) =
                        &mut message.info_content
                    {
                        app.state = 99;
                    }
                    d.post("info", &message)
                },
                422,
                "state 99",
            ),
            (
                "info: app without UUID",
                |d| d.post("info", &d.app_info("hello", "hello", ZSwState::Running, None)),
                422,
                "does not identify a app",
            ),
            (
                "metrics: nothing",
                |d| {
                    d.post(
                        "metrics",
                        &ZMetricMsg { dev_id: d.id(), at_time_stamp: Some(now()), ..Default::default() },
                    )
                },
                422,
                "no metrics of the device",
            ),
            (
                "metrics: another",
                |d| d.post("metrics", &ZMetricMsg { dev_id: "x".into(), ..d.metrics() }),
                422,
                "names device",
            ),
            (
                "flowlog: no scope",
                |d| d.post("flowlog", &FlowMessage { dev_id: d.id(), ..Default::default() }),
                422,
                "no scope",
            ),
            (
                "flowlog: too many",
                |d| {
                    d.post(
                        "flowlog",
                        &FlowMessage {
                            dev_id: d.id(),
                            scope: Some(ScopeInfo {
                                uuid: APP.into(),
                                net_inst_uuid: APP.into(),
                                ..Default::default()
                            }),
                            flows: vec![
                                FlowRecord {
                                    start_time: Some(now()),
                                    end_time: Some(now()),
                                    ..Default::default()
                                };
                                126
                            ],
                            ..Default::default()
                        },
                    )
                },
                413,
                "126 records",
            ),
            (
                "health: no time",
                |d| d.post("hardwarehealth", &ZHardwareHealth { dev_id: d.id(), ..Default::default() }),
                422,
                "at_time_stamp is missing",
            ),
        ],
    );
    let health = ZHardwareHealth { dev_id: device.id(), at_time_stamp: Some(now()), ..Default::default() };
    assert_eq!(device.post("hardwarehealth", &health).status, 201);
}

fn logs(device: &Device, file: Vec<u8>) -> Reply {
    device.post_bytes("newlogs", file)
}

fn log_lines(device: &Device, lines: &str) -> Reply {
    logs(device, device.device_log(lines))
}

#[test]
fn log_files() {
    let (_folder, controller, device) = onboarded();
    run(
        &controller,
        &device,
        &[
            ("no gzip", |d| logs(d, line("s", "x", 1).into_bytes()), 422, "no gzip"),
            (
                "cut",
                |d| {
                    let mut file = d.device_log(&line("s", "x", 1));
                    file.truncate(file.len() - 4);
                    logs(d, file)
                },
                422,
                "no gzip",
            ),
            (
                "wrong checksum",
                |d| {
                    let mut file = d.device_log(&line("s", "x", 1));
                    let at = file.len() - 8;
                    file[at] ^= 1;
                    logs(d, file)
                },
                422,
                "no gzip",
            ),
            (
                "more behind it",
                |d| logs(d, [d.device_log(&line("s", "x", 1)), b"more".to_vec()].concat()),
                422,
                "behind the gzip",
            ),
            ("no comment", |d| logs(d, gzip(None, None, &line("s", "x", 1))), 422, "gzip comment"),
            (
                "comment is text",
                |d| logs(d, gzip(None, Some("hello"), &line("s", "x", 1))),
                422,
                "no LogBundle",
            ),
            (
                "comment of another",
                |d| {
                    let comment = d.comment().replace(&d.id(), APP);
                    logs(d, gzip(None, Some(&comment), &line("s", "x", 1)))
                },
                422,
                "names device",
            ),
            (
                "comment in protojson",
                |d| {
                    let comment = d.comment().replace("devID", "devId");
                    logs(d, gzip(None, Some(&comment), &line("s", "x", 1)))
                },
                422,
                "unknown field `devId`",
            ),
            ("no lines", |d| log_lines(d, ""), 422, "no lines"),
            (
                "blank line",
                |d| log_lines(d, &format!("{}\n{}", line("s", "x", 1), line("s", "x", 2))),
                422,
                "blank",
            ),
            ("no JSON", |d| log_lines(d, "hello\n"), 422, "log line 1"),
            (
                "time as text",
                |d| log_lines(d, "{\"source\":\"s\",\"timestamp\":\"2026-03-01T12:30:00Z\"}\n"),
                422,
                "log line 1",
            ),
            (
                "seconds as text",
                |d| log_lines(d, "{\"source\":\"s\",\"timestamp\":{\"seconds\":\"5\"}}\n"),
                422,
                "log line 1",
            ),
            ("msgid as text", |d| log_lines(d, "{\"source\":\"s\",\"msgid\":\"5\"}\n"), 422, "log line 1"),
            (
                "time out of range",
                |d| log_lines(d, "{\"source\":\"s\",\"timestamp\":{\"seconds\":1,\"nanos\":-1}}\n"),
                422,
                "out of range",
            ),
            ("tags of numbers", |d| log_lines(d, "{\"tags\":{\"a\":1}}\n"), 422, "log line 1"),
            ("unknown key", |d| log_lines(d, "{\"message\":\"x\"}\n"), 422, "unknown field `message`"),
            ("long line", |d| log_lines(d, &line("s", &"x".repeat(65_536), 1)), 422, "too many"),
            (
                "long file",
                |d| {
                    // Bytes that do not compress, as hexadecimal text in short lines.
                    let mut seed = 1u32;
                    let mut noise = || {
                        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        format!("{seed:08x}")
                    };
                    let lines: String = (0..300)
                        .map(|number| line("s", &(0..90).map(|_| noise()).collect::<String>(), number))
                        .collect();
                    log_lines(d, &lines)
                },
                413,
                "more than 65536",
            ),
            ("bomb", |d| log_lines(d, &"\n".repeat(5 << 20)), 413, "unpacks to more"),
            (
                "app without name",
                |d| {
                    d.post_bytes(
                        &format!("apps/instanceid/{APP}/newlogs"),
                        gzip(None, None, &line("s", "x", 1)),
                    )
                },
                422,
                "its name in the gzip header",
            ),
        ],
    );
    // The longest line that controllers keep.
    assert_eq!(log_lines(&device, &line("s", &"x".repeat(65_000), 1)).status, 201);
    assert_eq!(controller.observe(|observed| observed.logs.len()), 1, "nothing of a refused file is kept");
}

#[test]
fn another_devices_key_signs_for_nobody_else() {
    let (_folder, controller, device) = onboarded();
    let mut other = Device::new(&controller, "other");
    other.onboard();
    let payload = device.metrics().encode_to_vec();
    let mut container = device.container(payload.clone());
    container.signature_hash = sign(&other.bundle.files["device.key.pem"], &payload);
    let reply = device.send("POST", &device.path("metrics"), &container.encode_to_vec()).expect("an answer");
    assert_eq!(reply.status, 401);
    // Signed by the other one, in its own name, under the first one's path and name.
    let reply = device.send("POST", &device.path("metrics"), &other.container(payload).encode_to_vec());
    assert_eq!(reply.expect("an answer").status, 400);
}
