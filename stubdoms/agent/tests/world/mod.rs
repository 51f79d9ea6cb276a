//! The world around an agent, in one process with virtual time: a strict controller, a content store
//! and dom0. Everything answers at once; only the agent's own waits let time pass.

#![allow(unreachable_pub, reason = "a module of one test")]

pub mod memory;
pub mod storage;
pub mod vault;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use proto_eve::{
    Message, auth,
    certs::SigningCert,
    key::{KeyError, PublicKey, Signer, SoftwareKey},
    pem,
    wire::{
        attest::{
            AttestStorageKeysResp, AttestStorageKeysResponseCode, AttestVolumeKey, ZAttestNonceResp,
            ZAttestQuote, ZAttestQuoteResp, ZAttestReq, ZAttestReqType, ZAttestRespType, ZAttestResponse,
            ZAttestResponseCode,
        },
        auth::AuthContainer,
        certs::{ZCert, ZCertType, ZControllerCert},
        config::{
            AppInstanceConfig, ConfigItem, ConfigRequest, ConfigResponse, ContentTree, DatastoreConfig,
            EdgeDevConfig, InstanceOpsCmd, UuiDandVersion, VmConfig, Volume, VolumeContentOrigin, VolumeRef,
        },
        info::{
            ZInfoApp, ZInfoBlob, ZInfoContentTree, ZInfoDevice, ZInfoMsg, ZInfoNetworkInstance,
            ZInfoNtpSources, ZInfoVolume, z_info_msg::InfoContent,
        },
        metrics::{DeviceMetric, ZMetricMsg, metric_item::MetricItemValue, z_metric_msg::MetricContent},
        register::ZRegisterMsg,
        uuid::UuidResponse,
    },
};
use sha2::{Digest, Sha256};
use stubdoms_agent::*;

pub const DEVICE: &str = "5a5a5a5a-0000-4000-8000-0123456789ab";
pub const APP: &str = "a0a0a0a0-0000-4000-8000-000000000001";
pub const VOLUME: &str = "c0c0c0c0-0000-4000-8000-000000000001";
pub const CONTENT: &str = "e0e0e0e0-0000-4000-8000-000000000001";
pub const STORE: &str = "d0d0d0d0-0000-4000-8000-000000000001";
pub const URL: &str = "http://store:8080/images/hello.elf";
pub const IMAGE: &[u8] = b"an image";
/// 2027-01-01.
pub const START: u64 = 1_798_761_600;
const BASE: &str = "https://controller.example:8443/api/v2/edgedevice/";

pub fn file(name: &str) -> Vec<u8> {
    std::fs::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys").join(name)).unwrap()
}

/// Signs as a controller does: named by the hash of its PEM text.
struct Signing {
    key: SoftwareKey,
    pem: Vec<u8>,
}

impl Signing {
    fn new(name: &str) -> Self {
        let pem = file(&format!("{name}.pem")).trim_ascii().to_vec();
        Self { key: SoftwareKey::from_pem(&file(&format!("{name}.key.pem")), &pem).unwrap(), pem }
    }
}

impl Signer for Signing {
    fn certificate_hash(&self) -> [u8; 32] {
        *SigningCert::from_pem(&self.pem).unwrap().hash()
    }

    fn sign_digest(&self, digest: &[u8; 32]) -> Result<[u8; 64], KeyError> {
        self.key.sign_digest(digest)
    }
}

/// How the controller behaves, and what it saw.
pub struct Controller {
    pub up: bool,
    pub known: bool,
    pub uuid: String,
    pub config: Option<EdgeDevConfig>,
    hash: u64,
    pub token: Option<Vec<u8>>,
    nonce_pending: bool,
    pub quote_answer: i32,
    pub register_status: u16,
    pub certs_status: u16,
    pub flip_bit: bool,
    pub published: Vec<ZCert>,
    /// The device's certificate, PEM, if it has made one itself: then it has a TPM.
    pub device: Option<Vec<u8>>,
    pub has_tpm: bool,
    /// The storage's key, as it was given for keeping.
    pub escrow: Vec<AttestVolumeKey>,
    /// What is given for keeping is not kept.
    pub forgets_keys: bool,
    /// Requests to this action are taken, and the answer is lost.
    pub mute: Option<String>,
    /// A status for every request to the action, instead of its own.
    pub force: BTreeMap<String, u16>,
    signing: Signing,
    pub served_certs: String,
    pub trace: Vec<String>,
    pub devices: Vec<ZInfoDevice>,
    pub times: Vec<ZInfoNtpSources>,
    pub apps: Vec<ZInfoApp>,
    pub contents: Vec<ZInfoContentTree>,
    pub blobs: Vec<ZInfoBlob>,
    pub networks: Vec<ZInfoNetworkInstance>,
    pub volumes: Vec<ZInfoVolume>,
    pub metrics: Vec<ZMetricMsg>,
    pub logs: Vec<(String, String)>,
}

impl Controller {
    fn new() -> Self {
        Self {
            up: true,
            known: false,
            uuid: DEVICE.into(),
            config: None,
            hash: 1,
            token: None,
            nonce_pending: false,
            quote_answer: ZAttestResponseCode::Success as i32,
            register_status: 201,
            certs_status: 200,
            flip_bit: false,
            published: Vec::new(),
            device: None,
            has_tpm: false,
            escrow: Vec::new(),
            forgets_keys: false,
            mute: None,
            force: BTreeMap::new(),
            signing: Signing::new("signing"),
            served_certs: "signing".into(),
            trace: Vec::new(),
            devices: Vec::new(),
            times: Vec::new(),
            apps: Vec::new(),
            contents: Vec::new(),
            blobs: Vec::new(),
            networks: Vec::new(),
            volumes: Vec::new(),
            metrics: Vec::new(),
            logs: Vec::new(),
        }
    }

    pub fn set_config(&mut self, config: EdgeDevConfig) {
        self.config = Some(config);
        self.hash += 1;
    }

    pub fn edit(&mut self, change: impl FnOnce(&mut EdgeDevConfig)) {
        let mut config = self.config.clone().unwrap();
        change(&mut config);
        self.set_config(config);
    }

    pub fn rotate(&mut self, name: &str) {
        self.signing = Signing::new(name);
        self.served_certs = name.into();
    }

    pub fn serve(&mut self, request: &Request) -> Result<Response, HttpFailure> {
        if !self.up {
            return Err(HttpFailure { kind: FailureKind::Refused, text: "connection refused".into() });
        }
        let path = request.url.strip_prefix(BASE).expect("the base URL");
        let header =
            |name: &str| request.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value);
        assert_eq!(header("X-Request-Id").map(String::len), Some(36));
        let by_uuid = path.strip_prefix(&format!("id/{}/", self.uuid));
        let action = by_uuid.unwrap_or(path).to_owned();
        assert_eq!(
            by_uuid.is_some(),
            !["certs", "register", "uuid"].contains(&action.as_str()),
            "the UUID stands in the path where it belongs: {path}"
        );
        assert_eq!(request.method, if action == "certs" { Method::Get } else { Method::Post });
        if request.method == Method::Post {
            assert_eq!(header("Content-Type").map(String::as_str), Some("application/x-proto-binary"));
        }
        let (status, payload) = match self.force.get(&action) {
            Some(status) => (*status, None),
            None => self.act(&action, request),
        };
        self.trace.push(format!("{action} {status}"));
        if self.mute.as_ref() == Some(&action) {
            return Err(HttpFailure { kind: FailureKind::Timeout, text: "no answer".into() });
        }
        let mut body = payload.map_or_else(Vec::new, |payload| auth::seal(payload, &self.signing).unwrap());
        if self.flip_bit && action == "config" && !body.is_empty() {
            // A byte of the configuration, not of the envelope around it.
            let at = body.windows(5).position(|window| window == b"hello").unwrap_or(40);
            body[at] ^= 1;
        }
        let content_type = (!body.is_empty()).then(|| "application/x-proto-binary".into());
        Ok(Response { status, content_type, body })
    }

    fn act(&mut self, action: &str, request: &Request) -> (u16, Option<Vec<u8>>) {
        match action {
            "certs" => (self.certs_status, (self.certs_status == 200).then(|| self.certs())),
            "register" => {
                let payload = open(&request.body, &file("onboard.pem"), true);
                let message = ZRegisterMsg::decode(&payload[..]).unwrap();
                assert_eq!(message.serial, "SN-1");
                assert!(message.pem_cert.len() >= 100);
                if self.has_tpm {
                    let text = String::from_utf8(message.pem_cert).unwrap();
                    let device = <base64ct::Base64 as base64ct::Encoding>::decode_vec(&text).unwrap();
                    let same = self.device.get_or_insert_with(|| device.clone());
                    assert_eq!(*same, device, "it is one device");
                }
                self.known |= self.register_status < 300;
                (self.register_status, None)
            }
            "uuid" => {
                assert_eq!(self.open(&request.body), b"");
                let response = UuidResponse { uuid: self.uuid.clone(), ..UuidResponse::default() };
                if self.known { (200, Some(response.encode_to_vec())) } else { (401, None) }
            }
            _ if !self.known => (401, None),
            "attest" => self.attest(&self.open(&request.body)),
            "config" => self.config(&self.open(&request.body)),
            "info" => {
                self.info(ZInfoMsg::decode(&self.open(&request.body)[..]).unwrap());
                (201, None)
            }
            "metrics" => {
                let message = ZMetricMsg::decode(&self.open(&request.body)[..]).unwrap();
                assert_eq!(message.dev_id, self.uuid);
                self.metrics.push(message);
                (201, None)
            }
            action if action.ends_with("newlogs") => {
                self.log_file(action, &self.open(&request.body));
                (201, None)
            }
            _ => (404, None),
        }
    }

    /// Opens an envelope of the device.
    fn open(&self, body: &[u8]) -> Vec<u8> {
        open(body, &self.device.clone().unwrap_or_else(|| file("device.pem")), false)
    }

    /// Looks at a quote as strictly as a controller does. What is measured is not looked at.
    fn quoted(&self, quote: &ZAttestQuote) {
        if !self.has_tpm {
            let nothing =
                quote.attest_data.is_empty() && quote.signature.is_empty() && quote.pcr_values.is_empty();
            return assert!(nothing);
        }
        let kind = ZCertType::CertTypeDeviceRestrictedSigning as i32;
        let cert =
            self.published.iter().find(|cert| cert.r#type == kind).expect("the quote key's is published");
        let der = pem::certificates(&cert.cert).unwrap().remove(0);
        let PublicKey::P256(key) = PublicKey::of_certificate(&der).unwrap() else { panic!("P-256") };
        let signature = p256::ecdsa::Signature::from_der(&quote.signature).unwrap();
        p256::ecdsa::signature::Verifier::verify(&key, &quote.attest_data, &signature).unwrap();
        let quoted = proto_tpm::quote::Quoted::parse(&quote.attest_data).unwrap();
        assert_eq!((quoted.nonce, quoted.selection.bits()), (&b"0123456789ab"[..], 0xffff));
        let mut values = [[0; 32]; 24];
        for (value, told) in values.iter_mut().zip(&quote.pcr_values) {
            value.copy_from_slice(&told.value);
        }
        assert_eq!(quoted.digest, proto_tpm::pcr::composite(quoted.selection, &values));
    }

    fn certs(&self) -> Vec<u8> {
        let cert = |name: &str, kind: ZCertType| {
            let cert = file(&format!("{name}.pem")).trim_ascii().to_vec();
            let cert_hash = Sha256::digest(&cert)[..16].to_vec();
            ZCert { hash_algo: 1, cert_hash, r#type: kind as i32, cert, ..ZCert::default() }
        };
        let certs = vec![
            cert("exchange", ZCertType::CertTypeControllerEcdhExchange),
            cert(&self.served_certs, ZCertType::CertTypeControllerSigning),
        ];
        ZControllerCert { certs }.encode_to_vec()
    }

    fn attest(&mut self, payload: &[u8]) -> (u16, Option<Vec<u8>>) {
        let request = ZAttestReq::decode(payload).unwrap();
        let mut response = ZAttestResponse::default();
        match ZAttestReqType::try_from(request.req_type).unwrap() {
            ZAttestReqType::AttestReqCert => {
                self.published = request.certs;
                response.resp_type = ZAttestRespType::AttestRespCert as i32;
            }
            ZAttestReqType::AttestReqNonce => {
                self.nonce_pending = true;
                response.resp_type = ZAttestRespType::AttestRespNonce as i32;
                response.nonce = Some(ZAttestNonceResp { nonce: b"0123456789ab".to_vec() });
            }
            ZAttestReqType::AttestReqQuote => {
                assert!(self.nonce_pending, "a quote without a nonce");
                self.quoted(&request.quote.unwrap());
                response.resp_type = ZAttestRespType::AttestRespQuoteResp as i32;
                let accepted = self.quote_answer == ZAttestResponseCode::Success as i32;
                let token = b"token-of-this-boot".to_vec();
                self.token = accepted.then(|| token.clone());
                response.quote_resp = Some(ZAttestQuoteResp {
                    response: self.quote_answer,
                    integrity_token: if accepted { token } else { Vec::new() },
                    keys: if accepted { self.escrow.clone() } else { Vec::new() },
                });
            }
            ZAttestReqType::StoreKeys if self.has_tpm => {
                let keys = request.storage_keys.unwrap();
                assert_eq!(Some(&keys.integrity_token), self.token.as_ref());
                if !self.forgets_keys {
                    self.escrow = keys.keys;
                }
                response.resp_type = ZAttestRespType::StoreKeys as i32;
                let stored = AttestStorageKeysResponseCode::Success as i32;
                response.storage_keys_resp = Some(AttestStorageKeysResp { response: stored });
            }
            other => panic!("{other:?} from a device without a TPM"),
        }
        (201, Some(response.encode_to_vec()))
    }

    fn config(&mut self, payload: &[u8]) -> (u16, Option<Vec<u8>>) {
        let request = ConfigRequest::decode(payload).unwrap();
        let Some(config) = self.config.clone() else { return (404, None) };
        if self.token.is_none() || self.token.as_ref() != Some(&request.integrity_token) {
            return (403, None);
        }
        let hash = format!("hash-{}", self.hash);
        if request.config_hash == hash {
            return (304, None);
        }
        (200, Some(ConfigResponse { config: Some(config), config_hash: hash }.encode_to_vec()))
    }

    fn info(&mut self, message: ZInfoMsg) {
        assert_eq!(message.dev_id, self.uuid);
        assert!(message.at_time_stamp.is_some());
        match (message.ztype, message.info_content.unwrap()) {
            (1, InfoContent::Dinfo(device)) => self.devices.push(device),
            (3, InfoContent::Ainfo(app)) => self.apps.push(app),
            (7, InfoContent::Vinfo(volume)) => self.volumes.push(volume),
            (8, InfoContent::Cinfo(content)) => self.contents.push(content),
            (6, InfoContent::Niinfo(network)) => self.networks.push(network),
            (9, InfoContent::Binfo(list)) => {
                assert_eq!(list.blob.len(), 1);
                self.blobs.extend(list.blob);
            }
            (11, InfoContent::Hwinfo(_)) => {}
            (16, InfoContent::NtpSources(sources)) => self.times.push(sources),
            (kind, content) => panic!("type {kind} with {content:?}"),
        }
    }

    fn log_file(&mut self, action: &str, gzip: &[u8]) {
        assert_eq!(&gzip[..3], &[0x1f, 0x8b, 8]);
        assert_eq!(gzip[3], if action == "newlogs" { 0x10 } else { 0x08 });
        let body = 10 + gzip[10..].iter().position(|byte| *byte == 0).unwrap() + 1;
        let lines = miniz_oxide::inflate::decompress_to_vec(&gzip[body..gzip.len() - 8]).unwrap();
        self.logs.push((action.to_owned(), String::from_utf8(lines).unwrap()));
    }
}

/// Verifies an envelope of the device as strictly as a controller may.
fn open(body: &[u8], certificate: &[u8], with_certificate: bool) -> Vec<u8> {
    let container = AuthContainer::decode(body).unwrap();
    assert_eq!(container.algo, 2);
    assert_eq!(container.sender_cert.is_empty(), !with_certificate);
    let der = pem::certificates(certificate).unwrap().remove(0);
    assert_eq!(container.sender_cert_hash, Sha256::digest(&der).to_vec());
    let payload = container.protected_payload.unwrap().payload;
    PublicKey::of_certificate(&der).unwrap().verify(&payload, &container.signature_hash).unwrap();
    payload
}

/// What dom0 does with commands.
#[derive(Default)]
pub struct Dom0 {
    pub commands: Vec<String>,
    /// Failures to answer the next commands to start with.
    pub failures: VecDeque<AppFailure>,
    pub definition: Option<AppDefinition>,
    pub mute: bool,
    next_domid: u16,
    runs: bool,
    note: Vec<u8>,
    device_note: Vec<u8>,
}

impl Dom0 {
    /// The number of the last domain that was started.
    pub fn domid(&self) -> u16 {
        self.next_domid
    }
}

pub struct World {
    pub agent: Agent,
    pub now_ns: u64,
    pub controller: Controller,
    pub dom0: Dom0,
    /// What the content store answers.
    pub store: Result<Vec<u8>, DownloadError>,
    /// The store sends nothing, and the test tells how downloads go on.
    pub store_is_mute: bool,
    /// The storage domain, if there is one.
    pub storage: Option<storage::Storage>,
    /// The vault domain, if there is one.
    pub vault: Option<vault::Vault>,
    /// The agent does not hear of the vault when it starts: the test tells it.
    pub vault_is_late: bool,
    /// What the machine measures before the slot.
    pub firmware: String,
    pub files: Provisioning,
    /// By how many seconds the machine's clock is wrong.
    pub clock_off: i64,
    /// By how many seconds the time server is wrong; it is silent without.
    pub server_off: Option<i64>,
    /// Nothing comes of a question for the time, not even that there is no answer.
    pub time_waits: bool,
    /// The time since 1970 at power-on that the shell of this agent goes by.
    clock: Option<Duration>,
    /// Who was asked for the time.
    pub asked: Vec<String>,
    /// What comes for the slot, and how.
    pub payload: Payload,
    slot_download: Option<(Download, usize, bool)>,
    /// How often the machine was reset.
    pub resets: u32,
    /// What the hardware says after a reset that the agent has ordered.
    pub after_order: BootCause,
    /// Whether dom0 has a place that outlives an order, for what the agent says of it.
    pub keeps_order: bool,
    order: Vec<u8>,
    /// The selector has refused the other slot.
    pub other_refused: bool,
    /// What the selector has said in this start.
    slot: Option<StartedSlot>,
    last_reset: u64,
    /// Nanoseconds of all starts before this one.
    started: u64,
    pub downloads: Vec<Download>,
    /// The last request to the controller.
    pub request: Option<Request>,
    pub released: Vec<[u8; 32]>,
    /// What dom0 tells of its domains.
    pub usage: Vec<DomainUsage>,
    pub counters: LinkCounters,
    /// Contents that the shell of this agent holds.
    pub held: BTreeSet<[u8; 32]>,
    pub device_commands: Vec<DeviceCommand>,
    pub wakeups: u64,
    /// The most that the agent's heap grew by while it took one answer, with that answer.
    pub answer_peak: usize,
    /// The most that it grew by in a poll.
    pub poll_peak: usize,
}

/// A payload, and how the content server gives it.
pub struct Payload {
    pub bytes: Vec<u8>,
    /// Whether it goes on where it was cut.
    pub resumes: bool,
    /// The connection breaks there, and then there.
    pub cut_at: Option<usize>,
    pub then_cut_at: VecDeque<usize>,
    /// It answers with this instead.
    pub refuses: Option<DownloadError>,
    /// Where each download began.
    pub starts: Vec<usize>,
}

impl Default for Payload {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            resumes: true,
            cut_at: None,
            then_cut_at: VecDeque::new(),
            refuses: None,
            starts: Vec::new(),
        }
    }
}

pub fn provisioning() -> Provisioning {
    Provisioning {
        server: b"controller.example:8443\n".to_vec(),
        root_certificate: file("root.pem"),
        onboard_cert: Some(file("onboard.pem")),
        onboard_key: Some(file("onboard.key.pem")),
        device_cert: file("device.pem"),
        device_key: file("device.key.pem"),
        key_exchange_cert: None,
        serial: b"SN-1\n".to_vec(),
        soft_serial: b"soft-1".to_vec(),
        allow_vault_clean: false,
        ntp: Vec::new(),
    }
}

pub fn facts() -> DeviceFacts {
    DeviceFacts {
        architecture: "x86_64".into(),
        cpus: 4,
        memory_mib: 512,
        app_memory_kib: 65_536,
        app_vcpus: 1,
        content_bytes: 1 << 20,
        version: "0.1.0-test".into(),
        partition: "IMGA".into(),
        port: "eth0".into(),
        start: 1,
        ..DeviceFacts::default()
    }
}

impl World {
    pub fn new() -> Self {
        Self::with(provisioning())
    }

    pub fn with(files: Provisioning) -> Self {
        Self::of(files, facts())
    }

    pub fn of(files: Provisioning, facts: DeviceFacts) -> Self {
        let now = Now { monotonic_ns: 0, wall: Some(WallTime { seconds: START, nanos: 0 }) };
        let mut world = Self {
            agent: Agent::new(files.clone(), facts, 42, now).unwrap(),
            now_ns: 0,
            controller: Controller::new(),
            dom0: Dom0 { next_domid: 5, ..Dom0::default() },
            store: Ok(IMAGE.to_vec()),
            store_is_mute: false,
            storage: None,
            vault: None,
            vault_is_late: false,
            firmware: String::new(),
            files,
            clock_off: 0,
            server_off: Some(0),
            time_waits: false,
            clock: None,
            asked: Vec::new(),
            payload: Payload::default(),
            slot_download: None,
            resets: 0,
            after_order: BootCause::Unknown,
            keeps_order: true,
            order: Vec::new(),
            other_refused: false,
            slot: None,
            last_reset: 0,
            started: 0,
            downloads: Vec::new(),
            request: None,
            released: Vec::new(),
            usage: Vec::new(),
            counters: LinkCounters::default(),
            held: BTreeSet::new(),
            device_commands: Vec::new(),
            wakeups: 0,
            answer_peak: 0,
            poll_peak: 0,
        };
        world.uplink(true);
        world
    }

    /// A world with a storage domain, whose device is onboarded and configured.
    pub fn with_storage() -> Self {
        let mut world = Self::new();
        world.storage = Some(storage::Storage::new());
        world.agent.expect_storage();
        world.agent.on_storage(world.now(), true);
        let mut config = config();
        config.config_items =
            vec![item("timer.config.interval", "60"), item("timer.metric.interval", "3600")];
        world.controller.set_config(config);
        world.run(30);
        assert!(world.agent.has_config());
        world
    }

    /// A world with a storage domain and a vault on a TPM, whose device is onboarded and configured.
    pub fn with_vault(may_start_anew: bool) -> Self {
        let mut world = Self::with_vault_that(may_start_anew, |_| {});
        world.run(30);
        assert!(world.agent.has_config(), "{:#?}", world.controller.trace);
        world
    }

    /// The same, before the first start, and with a vault that the test has done something to.
    pub fn with_vault_that(may_start_anew: bool, what: impl FnOnce(&mut vault::Vault)) -> Self {
        let mut world = Self::new();
        world.files = Provisioning {
            device_cert: Vec::new(),
            device_key: Vec::new(),
            allow_vault_clean: may_start_anew,
            ..provisioning()
        };
        world.controller.has_tpm = true;
        let mut config = config();
        config.config_items =
            vec![item("timer.config.interval", "60"), item("timer.metric.interval", "3600")];
        world.controller.set_config(config);
        world.storage = Some(storage::Storage::new());
        let mut vault = vault::Vault::new();
        vault.may_start_anew = may_start_anew;
        what(&mut vault);
        world.vault = Some(vault);
        world.start(facts(), 42);
        world
    }

    /// Starts the agent of this start of the machine.
    fn start(&mut self, facts: DeviceFacts, seed: u64) {
        let files = self.files.clone();
        self.agent = match &mut self.vault {
            Some(vault) => {
                let storage = self.storage.as_mut().expect("a vault has a storage");
                storage.open = false;
                vault.boot(&format!("{}{}", self.firmware, storage.running_version()));
                let signer = vault.signer();
                Agent::with_vault(files, facts, signer, seed, self.now()).unwrap()
            }
            None => Agent::new(files, facts, seed, self.now()).unwrap(),
        };
        if self.storage.is_some() {
            self.agent.expect_storage();
            self.agent.on_storage(self.now(), true);
        }
        if self.vault.is_some() && !self.vault_is_late {
            self.agent.on_vault(self.now(), VaultEvent::There);
        }
        self.uplink(true);
    }

    /// The machine is reset, and starts anew: dom0, applications and all notes are gone, storage is not.
    pub fn reset(&mut self, boot_cause: BootCause) {
        self.resets += 1;
        self.last_reset = self.seconds();
        self.started += self.now_ns;
        self.now_ns = 1_000_000_000;
        self.clock = None;
        self.dom0 = Dom0 { next_domid: 5, ..Dom0::default() };
        self.held.clear();
        self.slot_download = None;
        self.controller.token = None;
        if let Some(storage) = &mut self.storage {
            storage.select();
        }
        self.slot = self.selected();
        let start = 1 + self.resets;
        let ordered = boot_cause == BootCause::Ordered && self.keeps_order;
        let boot_order = Some(std::mem::take(&mut self.order)).filter(|_| ordered).unwrap_or_default();
        let facts = DeviceFacts { boot_cause, boot_order, slot: self.slot.clone(), start, ..facts() };
        self.start(facts, 44 + u64::from(self.resets));
    }

    /// The storage domain ends and is there again.
    pub fn restart_storage(&mut self) {
        self.agent.on_storage(self.now(), false);
        self.storage.as_mut().unwrap().restart();
        self.agent.on_storage(self.now(), true);
    }

    /// What the selector says of the slot that it starts.
    fn selected(&self) -> Option<StartedSlot> {
        let trial = self.storage.as_ref()?.is_trial();
        Some(StartedSlot { trial, other_refused: self.other_refused, reason: "as the selector says".into() })
    }

    /// Another agent in place of this one, which ended without a word. dom0 tells it what there is.
    pub fn reborn(&mut self) {
        self.clock = None;
        let facts = DeviceFacts { slot: self.slot.clone(), start: 1 + self.resets, ..facts() };
        self.agent = Agent::new(provisioning(), facts, 43, self.now()).unwrap();
        self.held.clear();
        let known = self.dom0.definition.clone().map(|definition| {
            let running = RunningApp { domid: self.dom0.next_domid, since: None };
            let running = self.dom0.runs.then_some(running);
            KnownApp { definition, running, note: self.dom0.note.clone() }
        });
        self.agent.recall(known, &self.dom0.device_note);
        self.slot_download = None;
        if self.storage.is_some() {
            self.agent.expect_storage();
            self.agent.on_storage(self.now(), true);
        }
        self.uplink(true);
    }

    /// The marks of the application's console that were taken since the last call.
    pub fn taken(&mut self) -> Vec<u64> {
        let taken = core::iter::from_fn(|| self.agent.next_taken());
        taken.filter_map(|taken| taken.app.map(|_| taken.before)).collect()
    }

    /// A world whose device is onboarded and has the configuration of [`config`].
    pub fn onboarded() -> Self {
        let mut world = Self::new();
        world.controller.set_config(config());
        world.run(30);
        assert!(world.agent.has_config());
        world
    }

    pub fn now(&self) -> Now {
        let counted = Duration::from_nanos(self.now_ns);
        let wall = self.clock.map_or_else(|| self.true_time(self.clock_off), |power_on| power_on + counted);
        let wall = WallTime { seconds: wall.as_secs(), nanos: wall.subsec_nanos() };
        Now { monotonic_ns: self.now_ns, wall: Some(wall) }
    }

    /// The time since 1970 as it is, but for so many seconds.
    pub fn true_time(&self, off: i64) -> Duration {
        let start = START.checked_add_signed(off).unwrap();
        Duration::from_secs(start) + Duration::from_nanos(self.started + self.now_ns)
    }

    /// Takes what the agent wants of the clock.
    fn clock_command(&mut self, command: &DeviceCommand) {
        match command {
            DeviceCommand::SetClock(power_on) => self.clock = Some(*power_on),
            DeviceCommand::AskTime(servers) => {
                self.asked.clone_from(servers);
                let answer = self.server_off.map(|off| TimeReading {
                    name: servers[0].clone(),
                    address: std::net::SocketAddrV4::new([10, 0, 2, 2].into(), 123),
                    stratum: 2,
                    since_1970: self.true_time(off),
                    at_ns: self.now_ns,
                    within: Duration::from_millis(1),
                });
                if !self.time_waits {
                    self.agent.on_time(self.now(), answer.ok_or_else(|| "no time server answers".into()));
                }
            }
            _ => {}
        }
    }

    pub fn seconds(&self) -> u64 {
        self.now_ns / 1_000_000_000
    }

    /// How long the machine had run, in seconds, when it was reset last.
    pub fn now_of_last_reset(&self) -> u64 {
        self.last_reset
    }

    /// A line of net's log comes.
    pub fn net_logs(&mut self) {
        let record = LogRecord {
            severity: Severity::Info,
            source: "net".into(),
            content: "link is up".into(),
            at: None,
        };
        self.agent.log(self.now(), &record, 0);
    }

    /// What net has counted so far.
    pub fn traffic(&mut self, counters: LinkCounters) {
        self.counters = counters;
        self.uplink(true);
    }

    pub fn uplink(&mut self, up: bool) {
        let uplink = Uplink {
            up,
            interface: "net0".into(),
            mac: [2, 0, 0, 0, 0, 1],
            addresses: vec!["10.0.2.15".into()],
            subnet: "10.0.2.0/24".into(),
            gateways: vec!["10.0.2.2".into()],
            dns_servers: vec!["10.0.2.3".into()],
            domain: "shop.test".into(),
            counters: self.counters,
            ..Uplink::default()
        };
        self.agent.on_uplink(self.now(), uplink);
    }

    /// Lets `seconds` pass.
    pub fn run(&mut self, seconds: u64) {
        let end = self.started + self.now_ns + seconds * 1_000_000_000;
        self.run_until_ns(end, |_| false);
    }

    /// Runs until `done`, at most an hour.
    pub fn run_until(&mut self, what: &str, done: impl FnMut(&Self) -> bool) {
        let end = self.started + self.now_ns + 3_600_000_000_000;
        assert!(self.run_until_ns(end, done), "never: {what}; trace {:#?}", self.controller.trace);
    }

    /// `end` counts from the first start.
    fn run_until_ns(&mut self, end: u64, mut done: impl FnMut(&Self) -> bool) -> bool {
        loop {
            let deadline = self.settle();
            if done(self) {
                return true;
            }
            let next = deadline.unwrap_or(u64::MAX).max(self.now_ns + 1);
            if next.saturating_add(self.started) > end {
                self.now_ns = end.saturating_sub(self.started).max(self.now_ns);
                self.settle();
                return done(self);
            }
            self.now_ns = next;
            self.wakeups += 1;
        }
    }

    /// Serves what is to be done at this moment until nothing is.
    pub fn settle(&mut self) -> Option<u64> {
        for _ in 0..20_000 {
            let now = self.now();
            let (deadline, grown) = memory::peak(|| self.agent.poll(now));
            self.poll_peak = self.poll_peak.max(grown);
            let mut idle = true;
            while let Some(request) = self.agent.next_request() {
                idle = false;
                let result = self.controller.serve(&request);
                let (now, body) = (self.now(), result.as_ref().map_or(0, |answer| answer.body.len()));
                let ((), grown) = memory::peak(|| self.agent.on_response(now, request.id, result));
                self.answer_peak = self.answer_peak.max(grown + body);
                self.request = Some(request);
            }
            while let Some(command) = self.agent.next_content_command() {
                idle = false;
                self.content(command);
            }
            while let Some(command) = self.agent.next_app_command() {
                idle = false;
                self.app(command);
            }
            while let Some(command) = self.agent.next_device_command() {
                idle = false;
                if command == DeviceCommand::QueryUsage {
                    for usage in self.usage.clone() {
                        self.agent.on_usage(self.now(), usage);
                    }
                    let machine =
                        Machine { memory_kib: 524_288, free_kib: 262_144, cpus: 4, app_memory_kib: 0 };
                    self.agent.on_machine(self.now(), machine);
                }
                self.clock_command(&command);
                if command == DeviceCommand::QueryEventLog {
                    self.agent.on_event_log(self.now(), Vec::new());
                }
                if let DeviceCommand::Note(note) = &command {
                    self.dom0.device_note.clone_from(note);
                }
                let mut reset = false;
                if let DeviceCommand::Reboot(why) = &command {
                    self.order.clone_from(why);
                    reset = self.storage.is_some();
                }
                self.device_commands.push(command);
                if reset {
                    self.reset(self.after_order);
                }
            }
            idle &= !self.serve_vault() & !self.serve_storage() & !self.serve_payload();
            if idle {
                let vault = self.vault.as_ref().and_then(vault::Vault::deadline);
                return deadline.into_iter().chain(vault).min();
            }
        }
        panic!("the agent never comes to rest; trace {:#?}", self.controller.trace.iter().rev().take(20));
    }

    /// Answers what is asked of the vault. Tells whether there was anything.
    fn serve_vault(&mut self) -> bool {
        let now = self.now();
        let (Some(vault), Some(storage)) = (&mut self.vault, &mut self.storage) else { return false };
        vault.serve(&mut self.agent, now, storage)
    }

    /// Answers what is asked of storage. Tells whether there was anything.
    fn serve_storage(&mut self) -> bool {
        let mut any = false;
        while let Some((number, request)) = self.agent.next_storage_request() {
            any = true;
            let storage = self.storage.as_mut().expect("asked only when it is there");
            match storage.answer(request) {
                Some(answer) => self.agent.on_storage_answer(self.now(), number, answer),
                None if storage.stays_away => self.agent.on_storage(self.now(), false),
                None => self.restart_storage(),
            }
        }
        any
    }

    /// Moves the download for the slot on. Tells whether it moved.
    fn serve_payload(&mut self) -> bool {
        let Some((download, mut at, started)) = self.slot_download.take() else { return false };
        let (now, id) = (self.now(), download.id);
        let bytes = self.payload.bytes.clone();
        let failure = |text: &str| {
            Err(DownloadError::Http(HttpFailure { kind: FailureKind::Connect, text: text.into() }))
        };
        if !started {
            if let Some(error) = self.payload.refuses.clone() {
                self.agent.on_download_done(now, id, Err(error));
                return true;
            }
            if !self.payload.resumes {
                at = 0;
            }
            self.payload.starts.push(at);
            if !self.agent.on_download_start(now, id, at as u64) {
                self.agent.on_download_done(now, id, failure("refused"));
                return true;
            }
        }
        if self.payload.cut_at.is_some_and(|cut| at >= cut) {
            self.payload.cut_at = self.payload.then_cut_at.pop_front();
            self.agent.on_download_done(now, id, failure("cut"));
            return true;
        }
        let end = bytes.len().min(at + 20_000).min(self.payload.cut_at.unwrap_or(usize::MAX));
        if at == bytes.len() {
            self.agent.on_download_done(now, id, Ok(bytes.len() as u64));
            return true;
        }
        let taken = self.agent.on_download_bytes(now, id, &bytes[at..end], Some(bytes.len() as u64));
        self.slot_download = Some((download, at + taken, true));
        !started || taken > 0
    }

    fn content(&mut self, command: ContentCommand) {
        match command {
            ContentCommand::Fetch(download) if download.into != Destination::Memory => {
                let Destination::Slot { from } = download.into else { return };
                self.slot_download = Some((download.clone(), from as usize, false));
                self.downloads.push(download);
            }
            ContentCommand::Cancel(id)
                if self.slot_download.as_ref().is_some_and(|(slot, ..)| slot.id == id) =>
            {
                self.slot_download = None;
            }
            ContentCommand::Fetch(download) if self.store_is_mute => self.downloads.push(download),
            ContentCommand::Fetch(download) => {
                let result = match &self.store {
                    Ok(bytes) if download.sha256 == Sha256::digest(bytes)[..] => Ok(bytes.len() as u64),
                    Ok(bytes) => Err(DownloadError::WrongHash { found: Sha256::digest(bytes).into() }),
                    Err(error) => Err(error.clone()),
                };
                if result.is_ok() {
                    self.held.insert(download.sha256);
                }
                self.agent.on_download_progress(self.now(), download.id, 1, Some(2));
                self.agent.on_download_done(self.now(), download.id, result);
                self.downloads.push(download);
            }
            ContentCommand::Cancel(_) => {}
            ContentCommand::Release { sha256 } => {
                self.held.remove(&sha256);
                self.released.push(sha256);
            }
        }
    }

    fn app(&mut self, command: AppCommand) {
        let (name, app, event) = match command {
            AppCommand::Define(definition) if !self.held.contains(&definition.image_sha256) => {
                let event = AppEvent::Failed { failure: AppFailure::ContentGone, text: String::new() };
                ("define in vain", definition.app, Some(event))
            }
            AppCommand::Define(definition) => {
                let app = definition.app;
                self.dom0.definition = Some(definition);
                ("define", app, Some(AppEvent::Staged))
            }
            AppCommand::Note { note, .. } => {
                self.dom0.note = note;
                return;
            }
            AppCommand::Start { app } => {
                let event = match self.dom0.failures.pop_front() {
                    Some(failure) => AppEvent::Failed { failure, text: "as told".into() },
                    None => {
                        self.dom0.next_domid += 1;
                        self.dom0.runs = true;
                        AppEvent::Running { domid: self.dom0.next_domid }
                    }
                };
                ("start", app, Some(event))
            }
            AppCommand::Stop { app } => {
                self.dom0.runs = false;
                ("stop", app, Some(AppEvent::Stopped(StopReason::Ordered)))
            }
            AppCommand::Remove { app } => {
                self.dom0.definition = None;
                ("remove", app, None)
            }
        };
        self.dom0.commands.push(name.into());
        if let Some(event) = event.filter(|_| !self.dom0.mute) {
            self.agent.on_app_event(self.now(), app, event);
        }
    }

    /// An event of the application.
    pub fn app_event(&mut self, event: AppEvent) {
        self.agent.on_app_event(self.now(), Uuid::parse(APP).unwrap(), event);
    }

    /// The application's last report.
    pub fn app_info(&self) -> &ZInfoApp {
        self.controller.apps.last().expect("a report of the application")
    }

    pub fn app_state(&self) -> i32 {
        self.controller.apps.last().map_or(0, |app| app.state)
    }

    /// What the last metrics say of the device.
    pub fn device_metrics(&self) -> &DeviceMetric {
        let message = self.controller.metrics.last().expect("metrics");
        match message.metric_content.as_ref().expect("of the device") {
            MetricContent::Dm(metric) => metric,
        }
    }

    /// Answers whose envelope did not verify, as the last metrics say.
    pub fn verify_failures(&self) -> u64 {
        self.device_metrics().zedcloud[0].auth_verify_failure
    }

    pub fn device_info(&self) -> &ZInfoDevice {
        self.controller.devices.last().expect("a report of the device")
    }
}

/// What the last metrics tell by an item of the device's own.
pub fn counted(world: &World, key: &str) -> u64 {
    let item = world.device_metrics().metric_items.iter().find(|item| item.key == key);
    match item.and_then(|item| item.metric_item_value.as_ref()) {
        Some(MetricItemValue::Uint64Value(count)) => *count,
        other => panic!("{key}: {other:?}"),
    }
}

/// Metrics messages that the agent of this start has made so far, as it notes.
pub fn made(world: &World) -> u64 {
    let mut notes = world.device_commands.iter().filter_map(|command| match command {
        DeviceCommand::Note(note) => Some(note),
        _ => None,
    });
    // The version, the course, the slots, the time, two words of commands, three of the clock.
    let note = String::from_utf8(notes.next_back().unwrap().clone()).unwrap();
    note.split(' ').nth(9).unwrap().parse().unwrap()
}

/// One application from one content over HTTP.
pub fn config() -> EdgeDevConfig {
    EdgeDevConfig {
        id: Some(UuiDandVersion { uuid: DEVICE.into(), version: "1".into() }),
        datastores: vec![DatastoreConfig {
            id: STORE.into(),
            d_type: 1,
            fqdn: "http://store:8080".into(),
            dpath: "images".into(),
            ..DatastoreConfig::default()
        }],
        content_info: vec![ContentTree {
            uuid: CONTENT.into(),
            ds_id: STORE.into(),
            url: "hello.elf".into(),
            iformat: 1,
            sha256: hex::encode(Sha256::digest(IMAGE)),
            max_size_bytes: 4096,
            display_name: "hello.elf".into(),
            ..ContentTree::default()
        }],
        volumes: vec![Volume {
            uuid: VOLUME.into(),
            origin: Some(VolumeContentOrigin { r#type: 2, download_content_tree_id: CONTENT.into() }),
            display_name: "hello volume".into(),
            ..Volume::default()
        }],
        apps: vec![AppInstanceConfig {
            uuidandversion: Some(UuiDandVersion { uuid: APP.into(), version: "1".into() }),
            displayname: "hello".into(),
            activate: true,
            fixedresources: Some(VmConfig {
                memory: 16_000,
                vcpus: 1,
                extraargs: "greeting=hi".into(),
                ..VmConfig::default()
            }),
            volume_ref_list: vec![VolumeRef { uuid: VOLUME.into(), ..VolumeRef::default() }],
            restart: Some(InstanceOpsCmd { counter: 7, ..InstanceOpsCmd::default() }),
            purge: Some(InstanceOpsCmd { counter: 3, ..InstanceOpsCmd::default() }),
            ..AppInstanceConfig::default()
        }],
        config_items: vec![item("newlog.allow.fastupload", "true"), item("timer.config.interval", "10")],
        ..EdgeDevConfig::default()
    }
}

pub fn item(key: &str, value: &str) -> ConfigItem {
    ConfigItem { key: key.into(), value: value.into() }
}
