//! A scripted device that keeps to the protocol, and lets a test change any step.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part of this")]

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::{Compression, GzBuilder};
use proto_eve::wire::attest::{ZAttestQuote, ZAttestReq, ZAttestResponse};
use proto_eve::wire::auth::{AuthBody, AuthContainer};
use proto_eve::wire::certs::{ZCert, ZCertType, ZControllerCert};
use proto_eve::wire::config::{ConfigRequest, ConfigResponse, EdgeDevConfig};
use proto_eve::wire::info::{self, ZInfoMsg, ZInfoTypes, z_info_msg::InfoContent};
use proto_eve::wire::metrics::{
    AppCpuMetric, AppMemoryMetric, AppMetric, DeviceMemoryMetric, DeviceMetric, MemoryMetric, NetworkMetric,
    NewlogMetric, ZMetricMsg, ZedcloudMetric, z_metric_msg,
};
use proto_eve::wire::register::ZRegisterMsg;
use proto_eve::wire::uuid::UuidResponse;
use proto_eve::{Message, Timestamp};
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto};
use xtask_controller::{Bundle, Handle, Uuid};

pub const PROTOBUF: &str = "application/x-proto-binary";

/// An answer as it came over the wire.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
    /// The body ended before its announced length.
    pub short: bool,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

/// The device.
pub struct Device {
    pub bundle: Bundle,
    pub name: String,
    pub port: u16,
    pub uuid: Option<Uuid>,
    pub token: Vec<u8>,
    pub config_hash: String,
    /// The controller's signing certificate, PEM, from `certs`.
    pub signing_pem: Vec<u8>,
    tls: Arc<ClientConfig>,
}

impl Device {
    pub fn new(controller: &Handle, name: &str) -> Self {
        let bundle = controller.provision(name).expect("a bundle");
        Self::from_bundle(bundle)
    }

    pub fn from_bundle(bundle: Bundle) -> Self {
        let server = bundle.text("server");
        let (name, port) = server.split_once(':').expect("name and port");
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(&bundle.files["root-certificate.pem"]).expect("a root"))
            .expect("usable");
        let chain = vec![CertificateDer::from_pem_slice(&bundle.files["device.cert.pem"]).expect("PEM")];
        let key = PrivateKeyDer::from_pem_slice(&bundle.files["device.key.pem"]).expect("PEM");
        let mut tls = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .expect("a client certificate");
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self {
            name: name.to_owned(),
            port: port.parse().expect("a port"),
            bundle,
            uuid: None,
            token: Vec::new(),
            config_hash: String::new(),
            signing_pem: Vec::new(),
            tls: Arc::new(tls),
        }
    }

    // ---- HTTP ----

    /// Sends bytes over TLS and reads until the end.
    pub fn raw(&self, request: &[u8]) -> std::io::Result<Reply> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let name = ServerName::try_from(self.name.clone()).expect("a name");
        let connection = ClientConnection::new(self.tls.clone(), name).expect("a connection");
        let mut stream = StreamOwned::new(connection, stream);
        stream.write_all(request)?;
        stream.flush()?;
        let mut bytes = Vec::new();
        if let Err(fault) = stream.read_to_end(&mut bytes)
            && (bytes.is_empty() || fault.kind() != std::io::ErrorKind::UnexpectedEof)
        {
            return Err(fault);
        }
        parse_reply(&bytes).ok_or_else(|| std::io::Error::other("no HTTP answer"))
    }

    /// A request with the usual headers.
    pub fn send(&self, method: &str, path: &str, body: &[u8]) -> std::io::Result<Reply> {
        let mut headers = format!("X-Request-Id: {}\r\n", Uuid::new_v4());
        if self.uuid.is_none() {
            headers += &format!("X-Soft-Serial: {}\r\n", self.bundle.text("soft_serial"));
        }
        if method == "POST" {
            headers += &format!("Content-Type: {PROTOBUF}\r\nContent-Length: {}\r\n", body.len());
        }
        self.send_with(method, path, &headers, body)
    }

    pub fn send_with(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> std::io::Result<Reply> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}:{}\r\nConnection: close\r\n{headers}\r\n",
            self.name, self.port
        );
        self.raw(&[head.as_bytes(), body].concat())
    }

    pub fn path(&self, action: &str) -> String {
        match self.uuid {
            Some(uuid) => format!("/api/v2/edgedevice/id/{uuid}/{action}"),
            None => format!("/api/v2/edgedevice/{action}"),
        }
    }

    /// A signed message to an endpoint that carries the UUID.
    pub fn post(&self, action: &str, message: &impl Message) -> Reply {
        self.post_bytes(action, message.encode_to_vec())
    }

    pub fn post_bytes(&self, action: &str, payload: Vec<u8>) -> Reply {
        let body = self.container(payload).encode_to_vec();
        self.send("POST", &self.path(action), &body).expect("an answer")
    }

    // ---- Envelopes ----

    pub fn sign(&self, key_file: &str, message: &[u8]) -> Vec<u8> {
        sign(&self.bundle.files[key_file], message)
    }

    pub fn container(&self, payload: Vec<u8>) -> AuthContainer {
        let signature = self.sign("device.key.pem", &payload);
        AuthContainer {
            protected_payload: Some(AuthBody { payload }),
            algo: 2,
            sender_cert_hash: der_hash(&self.bundle.files["device.cert.pem"]),
            signature_hash: signature,
            ..AuthContainer::default()
        }
    }

    pub fn register_message(&self) -> ZRegisterMsg {
        ZRegisterMsg {
            pem_cert: STANDARD.encode(&self.bundle.files["device.cert.pem"]).into_bytes(),
            serial: self.bundle.text("serial"),
            soft_serial: self.bundle.text("soft_serial"),
            ..ZRegisterMsg::default()
        }
    }

    pub fn register_container(&self, message: &ZRegisterMsg) -> AuthContainer {
        let payload = message.encode_to_vec();
        let signature = self.sign("onboard.key.pem", &payload);
        AuthContainer {
            protected_payload: Some(AuthBody { payload }),
            algo: 2,
            sender_cert_hash: der_hash(&self.bundle.files["onboard.cert.pem"]),
            signature_hash: signature,
            sender_cert: STANDARD.encode(&self.bundle.files["onboard.cert.pem"]).into_bytes(),
            ..AuthContainer::default()
        }
    }

    /// Opens an answer as a device does: media type, signer, signature, and only then the message.
    pub fn open(&self, reply: &Reply) -> Result<Vec<u8>, String> {
        if reply.header("content-type") != Some(PROTOBUF) {
            return Err(format!("media type {:?}", reply.header("content-type")));
        }
        let container = AuthContainer::decode(reply.body.as_slice()).map_err(|fault| fault.to_string())?;
        if container.sender_cert_hash != digest(&SHA256, &self.signing_pem).as_ref() {
            return Err("unknown signer".into());
        }
        let payload = container.protected_payload.ok_or("no payload")?.payload;
        let der = CertificateDer::from_pem_slice(&self.signing_pem).map_err(|fault| fault.to_string())?;
        let (_, certificate) =
            x509_parser::parse_x509_certificate(&der).map_err(|fault| fault.to_string())?;
        UnparsedPublicKey::new(
            &ECDSA_P256_SHA256_FIXED,
            certificate.public_key().subject_public_key.data.as_ref(),
        )
        .verify(&payload, &container.signature_hash)
        .map_err(|_| "bad signature")?;
        Ok(payload)
    }

    // ---- The story ----

    pub fn fetch_certs(&mut self) -> ZControllerCert {
        let reply = self.send("GET", "/api/v2/edgedevice/certs", &[]).expect("an answer");
        assert_eq!(reply.status, 200);
        let container = AuthContainer::decode(reply.body.as_slice()).expect("a container");
        let payload = container.protected_payload.expect("a payload").payload;
        let certs = ZControllerCert::decode(payload.as_slice()).expect("certs");
        let signing = ZCertType::CertTypeControllerSigning as i32;
        self.signing_pem = certs
            .certs
            .iter()
            .find(|cert| cert.r#type == signing)
            .expect("a signing certificate")
            .cert
            .clone();
        certs
    }

    pub fn register(&self) -> Reply {
        let body = self.register_container(&self.register_message()).encode_to_vec();
        self.send("POST", "/api/v2/edgedevice/register", &body).expect("an answer")
    }

    pub fn ask_uuid(&mut self) -> Reply {
        let body = self.container(Vec::new()).encode_to_vec();
        let reply = self.send("POST", "/api/v2/edgedevice/uuid", &body).expect("an answer");
        if reply.status == 200 {
            let payload = self.open(&reply).expect("a signed answer");
            let response = UuidResponse::decode(payload.as_slice()).expect("a UUID");
            self.uuid = Some(Uuid::parse_str(&response.uuid).expect("canonical"));
        }
        reply
    }

    pub fn attest(&self, request: &ZAttestReq) -> ZAttestResponse {
        let reply = self.post("attest", request);
        assert_eq!(reply.status, 201, "{}", String::from_utf8_lossy(&reply.body));
        let payload = self.open(&reply).expect("a signed answer");
        ZAttestResponse::decode(payload.as_slice()).expect("an attest answer")
    }

    /// CERT, NONCE and an empty quote; keeps the token.
    pub fn attest_without_tpm(&mut self) {
        let cert = zcert(&self.bundle.files["ecdh.cert.pem"]);
        self.attest(&ZAttestReq { req_type: 1, certs: vec![cert], ..Default::default() });
        let nonce =
            self.attest(&ZAttestReq { req_type: 2, ..Default::default() }).nonce.expect("a nonce").nonce;
        assert!((12..=32).contains(&nonce.len()));
        let quote = Some(ZAttestQuote::default());
        let response = self.attest(&ZAttestReq { req_type: 3, quote, ..Default::default() });
        let response = response.quote_resp.expect("a verdict");
        assert_eq!(response.response, 1);
        self.token = response.integrity_token;
    }

    pub fn ask_config(&self) -> Reply {
        let request =
            ConfigRequest { config_hash: self.config_hash.clone(), integrity_token: self.token.clone() };
        self.post("config", &request)
    }

    /// A configuration that has to be new.
    pub fn fetch_config(&mut self) -> EdgeDevConfig {
        let reply = self.ask_config();
        assert_eq!(reply.status, 200);
        let payload = self.open(&reply).expect("a signed answer");
        let response = ConfigResponse::decode(payload.as_slice()).expect("a configuration");
        self.config_hash = response.config_hash;
        response.config.expect("a configuration")
    }

    /// Everything up to the first configuration.
    pub fn onboard(&mut self) -> EdgeDevConfig {
        self.fetch_certs();
        assert!(matches!(self.register().status, 200 | 201));
        assert_eq!(self.ask_uuid().status, 200);
        self.attest_without_tpm();
        self.fetch_config()
    }

    // ---- Reports ----

    pub fn id(&self) -> String {
        self.uuid.expect("onboarded").to_string()
    }

    pub fn device_info(&self, items: &EdgeDevConfig) -> ZInfoMsg {
        let echo = items.config_items.iter().map(|item| {
            (item.key.clone(), info::ZInfoConfigItem { value: item.value.clone(), error: String::new() })
        });
        self.info(
            ZInfoTypes::ZiDevice,
            InfoContent::Dinfo(info::ZInfoDevice {
                machine_arch: "x86_64".into(),
                cpu_arch: "x86_64".into(),
                platform: "x86_64".into(),
                ncpu: 1,
                memory: 256,
                host_name: self.id(),
                boot_time: Some(now()),
                state: info::ZDeviceState::ZdeviceStateOnline as i32,
                attestation_info: Some(info::AttestationInfo { state: 7, error: None }),
                system_adapter: Some(info::SystemAdapterInfo {
                    status: vec![info::DevicePortStatus {
                        ports: vec![info::DevicePort {
                            ip_addrs: vec!["10.0.2.15".into()],
                            ..Default::default()
                        }],
                        ..Default::default()
                    }],
                    ..Default::default()
                }),
                minfo: Some(info::ZInfoManufacturer::default()),
                sw_list: vec![info::ZInfoDevSw::default(), info::ZInfoDevSw::default()],
                assignable_adapters: vec![info::ZioBundle { used_by_base_os: true, ..Default::default() }],
                last_boot_reason: info::BootReason::RebootCmd as i32,
                last_reboot_reason: "ordered".into(),
                last_reboot_time: Some(now()),
                data_sec_at_rest_info: Some(info::DataSecAtRest::default()),
                capabilities: Some(info::Capabilities::default()),
                hsm_status: 1,
                api_capability: 22,
                sec_info: Some(info::SecurityInfo {
                    sha_root_ca: digest(&SHA256, &self.bundle.files["root-certificate.pem"])
                        .as_ref()
                        .to_vec(),
                    ..Default::default()
                }),
                config_item_status: Some(info::ZInfoConfigItemStatus {
                    config_items: echo.collect(),
                    ..Default::default()
                }),
                ..Default::default()
            }),
        )
    }

    /// The same with these slots, and this reason of the last start.
    pub fn device_info_with(
        &self,
        config: &EdgeDevConfig,
        slots: Vec<info::ZInfoDevSw>,
        (reason, text): (info::BootReason, &str),
    ) -> ZInfoMsg {
        let mut message = self.device_info(config);
        let Some(InfoContent::Dinfo(device)) = &mut message.info_content else { unreachable!() };
        device.sw_list = slots;
        device.last_boot_reason = reason as i32;
        device.last_reboot_reason = text.into();
        message
    }

    pub fn app_info(&self, app: &str, name: &str, state: info::ZSwState, error: Option<&str>) -> ZInfoMsg {
        self.info(
            ZInfoTypes::ZiApp,
            InfoContent::Ainfo(info::ZInfoApp {
                app_id: app.into(),
                app_name: name.into(),
                state: state as i32,
                boot_time: (state == info::ZSwState::Running).then(now),
                app_err: error
                    .map(|description| info::ErrorInfo {
                        description: description.into(),
                        timestamp: Some(now()),
                        severity: 3,
                        ..Default::default()
                    })
                    .into_iter()
                    .collect(),
                ..Default::default()
            }),
        )
    }

    pub fn info(&self, kind: ZInfoTypes, content: InfoContent) -> ZInfoMsg {
        ZInfoMsg {
            ztype: kind as i32,
            dev_id: self.id(),
            at_time_stamp: Some(now()),
            info_content: Some(content),
        }
    }

    pub fn metrics(&self) -> ZMetricMsg {
        ZMetricMsg {
            dev_id: self.id(),
            at_time_stamp: Some(now()),
            metric_content: Some(z_metric_msg::MetricContent::Dm(DeviceMetric {
                memory: Some(MemoryMetric { used_mem: 60, avail_mem: 196, ..Default::default() }),
                device_memory: Some(DeviceMemoryMetric::default()),
                cpu_metric: Some(AppCpuMetric { total: 1, total_ns: 1_500_000_000, ..Default::default() }),
                network: vec![NetworkMetric { tx_bytes: 7, rx_bytes: 9, ..Default::default() }],
                zedcloud: vec![ZedcloudMetric::default()],
                newlog: Some(NewlogMetric::default()),
                last_received_config: Some(now()),
                last_processed_config: Some(now()),
                dormant_time_in_seconds: 180,
                ..Default::default()
            })),
            ..Default::default()
        }
    }

    /// The same with an application.
    pub fn metrics_with(&self, app: &str, name: &str) -> ZMetricMsg {
        let am = vec![AppMetric {
            app_id: app.into(),
            app_name: name.into(),
            cpu: Some(AppCpuMetric { total: 2, total_ns: 2_000_000_001, ..Default::default() }),
            app_memory: Some(AppMemoryMetric { allocated_mb: 8, used_mb: 7 }),
            ..Default::default()
        }];
        ZMetricMsg { am, ..self.metrics() }
    }

    pub fn comment(&self) -> String {
        format!(r#"{{"devID":"{}","image":"IMGA","eveVersion":"0.1.0"}}"#, self.id())
    }

    pub fn device_log(&self, lines: &str) -> Vec<u8> {
        gzip(None, Some(&self.comment()), lines)
    }
}

/// A slot as devices tell of it.
pub fn slot(
    label: &str,
    version: &str,
    partition: &str,
    (state, status): (info::ZSwState, info::BaseOsStatus),
) -> info::ZInfoDevSw {
    info::ZInfoDevSw {
        activated: matches!(partition, "active" | "updating"),
        partition_label: label.into(),
        partition_state: partition.into(),
        status: state as i32,
        short_version: version.into(),
        user_status: status as i32,
        ..Default::default()
    }
}

/// A published certificate whose fields fit each other.
pub fn zcert(pem: &[u8]) -> ZCert {
    ZCert {
        hash_algo: 1,
        cert_hash: digest(&SHA256, pem).as_ref()[..16].to_vec(),
        r#type: ZCertType::CertTypeDeviceEcdhExchange as i32,
        cert: pem.to_vec(),
        ..ZCert::default()
    }
}

/// A gzip file as log uploaders make it.
pub fn gzip(name: Option<&str>, comment: Option<&str>, lines: &str) -> Vec<u8> {
    let mut builder = GzBuilder::new().mtime(1_772_000_000);
    if let Some(name) = name {
        builder = builder.filename(name);
    }
    if let Some(comment) = comment {
        builder = builder.comment(comment);
    }
    let mut encoder = builder.write(Vec::new(), Compression::best());
    encoder.write_all(lines.as_bytes()).expect("memory");
    encoder.finish().expect("memory")
}

/// One log line.
pub fn line(source: &str, content: &str, msgid: u64) -> String {
    format!(
        "{{\"severity\":\"info\",\"source\":\"{source}\",\"iid\":\"1\",\"content\":\"{content}\",\
         \"msgid\":{msgid},\"tags\":{{\"a\":\"b\"}},\"timestamp\":{{\"seconds\":1772368200,\"nanos\":5}}}}\n"
    )
}

pub fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    Timestamp { seconds: since.as_secs() as i64, nanos: since.subsec_nanos() as i32 }
}

pub fn der_hash(pem: &[u8]) -> Vec<u8> {
    let der = CertificateDer::from_pem_slice(pem).expect("PEM");
    digest(&SHA256, &der).as_ref().to_vec()
}

pub fn sign(key_pem: &[u8], message: &[u8]) -> Vec<u8> {
    let key = PrivateKeyDer::from_pem_slice(key_pem).expect("PEM");
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.secret_der(), &random)
        .expect("a P-256 key");
    assert_eq!(key.public_key().as_ref().len(), 65);
    key.sign(&random, message).expect("signed").as_ref().to_vec()
}

/// `SEQUENCE { INTEGER r, INTEGER s }` of a raw P-256 signature.
pub fn asn1(raw: &[u8]) -> Vec<u8> {
    let integer = |half: &[u8]| {
        let mut digits: Vec<u8> = half.iter().copied().skip_while(|&byte| byte == 0).collect();
        if digits.first().is_some_and(|&byte| byte >= 0x80) {
            digits.insert(0, 0);
        }
        [&[2, digits.len() as u8], digits.as_slice()].concat()
    };
    let body = [integer(&raw[..32]), integer(&raw[32..])].concat();
    [&[0x30, body.len() as u8], body.as_slice()].concat()
}

fn parse_reply(bytes: &[u8]) -> Option<Reply> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let mut reply = Reply { status, head, body: bytes[end + 4..].to_vec(), short: false };
    if reply.header("transfer-encoding") == Some("chunked") {
        reply.body = dechunk(&reply.body)?;
    } else if let Some(length) = reply.header("content-length").and_then(|text| text.parse::<usize>().ok()) {
        reply.short = reply.body.len() < length;
    }
    Some(reply)
}

fn dechunk(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    loop {
        let end = bytes.windows(2).position(|window| window == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).ok()?, 16).ok()?;
        bytes = &bytes[end + 2..];
        if size == 0 {
            return Some(out);
        }
        out.extend_from_slice(bytes.get(..size)?);
        bytes = bytes.get(size + 2..)?;
    }
}
