//! The controller as the device knows it: the EVE API, as strict as it may be, with an application in its
//! configuration; and what it was told. It outlasts every control.
//!
//! Each line of a log has a number within its source, so that one that is uploaded again, by a later control that could
//! not know, is told from another one. Beside that every domain of the fake Xen counts its lines itself. By both it is
//! seen when one is missing, comes late, or is another one the second time.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use base64ct::{Base64, Encoding};
use dom0_toolstack::{image::sha256, measured::PCR};
use p256::ecdsa::Signature;
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
            AppInstanceConfig, BaseOs, ConfigItem, ConfigRequest, ConfigResponse, ContentTree,
            DatastoreConfig, EdgeDevConfig, InstanceOpsCmd, UuiDandVersion, VmConfig, Volume,
            VolumeContentOrigin, VolumeRef,
        },
        info::{ZInfoApp, ZInfoMsg, ZSwState, z_info_msg::InfoContent},
        metrics::ZMetricMsg,
        register::ZRegisterMsg,
        uuid::UuidResponse,
    },
};
use proto_tpm::{eventlog::Log, pcr, quote::Quoted};
use serde_json::Value;

use crate::{
    http::{Answer, Asked},
    keys, random,
    wire::ROUTER,
};

/// The device's UUID.
const DEVICE: &str = "5a5a5a5a-0000-4000-8000-0123456789ab";
/// The application's.
const APP: &str = "a0a0a0a0-0000-4000-8000-000000000001";
const VOLUME: &str = "c0c0c0c0-0000-4000-8000-000000000001";
const CONTENT: &str = "e0e0e0e0-0000-4000-8000-000000000001";
const STORE: &str = "d0d0d0d0-0000-4000-8000-000000000001";
const NONCE: &[u8] = b"0123456789ab";
const TOKEN: &[u8] = b"token";

/// What the application is called.
pub const APP_NAME: &str = "the app";
/// The port of the store of contents.
pub const STORE_PORT: u16 = 8080;
/// Where the application's content lies in it.
const PATH: &str = "/images/app.elf";
/// Where that of the base OS does.
const BASE_PATH: &str = "/images/base.update";
const BASE_CONTENT: &str = "e0e0e0e0-0000-4000-8000-000000000002";
/// Memory of the application.
const APP_MEMORY_KIB: u32 = 4096;

/// The controller.
pub struct Controller {
    signing: Signing,
    config: EdgeDevConfig,
    /// How often that was changed.
    changes: u32,
    /// What the store has, by its path.
    contents: BTreeMap<&'static str, Vec<u8>>,
    /// The certificate of the device, PEM, once it has registered.
    device: Option<Vec<u8>>,
    /// The device has a TPM, and is to show it.
    pub has_tpm: bool,
    /// The certificates of its other keys.
    published: Vec<ZCert>,
    /// The key of the storage as the device has it kept here.
    escrow: Vec<AttestVolumeKey>,
    /// How often it was given to be kept.
    pub escrowed: u32,
    /// A nonce was given, which a quote may answer, and once more if the answer to that was lost.
    asked_for_quote: bool,
    /// Tokens that were given: attestations.
    pub attested: u32,
    /// How often the configuration was given.
    pub configured: u32,
    /// Identifiers of requests: each is another one.
    requests: BTreeSet<String>,
    /// What was asked, and the status of the answer.
    pub trace: Vec<String>,
    /// Reports of the application.
    apps: Vec<ZInfoApp>,
    /// Reports of the device.
    pub devices: u32,
    /// Metrics.
    pub metrics: u32,
    /// The log: the lines of each source, the first one with number 1.
    log: BTreeMap<String, Vec<String>>,
    /// How many lines came of each domain, by its number.
    lines: BTreeMap<String, u64>,
    /// The application's console: lines by their numbers. Who floods it has some of its own missing.
    pub console: BTreeMap<u64, String>,
    /// Lines that came more than once.
    pub again: u32,
    /// It is not there: it answers no request.
    pub away: bool,
    /// Lines may be of a start of the machine that another controller was told of: it takes them, and looks at none.
    pub is_late: bool,
    /// One answer in so many does not arrive, whatever the controller has done; all do if 0.
    pub cut: usize,
}

/// Signs as a controller does: named by the hash of its PEM text.
struct Signing {
    key: SoftwareKey,
    hash: [u8; 32],
}

impl Signer for Signing {
    fn certificate_hash(&self) -> [u8; 32] {
        self.hash
    }

    fn sign_digest(&self, digest: &[u8; 32]) -> Result<[u8; 64], KeyError> {
        self.key.sign_digest(digest)
    }
}

impl Controller {
    /// One that has the application with this image in its configuration.
    ///
    /// # Panics
    /// Never: its keys are right.
    #[must_use]
    pub fn new(image: &[u8]) -> Self {
        let pem = keys::SIGNING.0.trim_ascii();
        let signing = Signing {
            key: SoftwareKey::from_pem(keys::SIGNING.1, pem).expect("a key and its certificate"),
            hash: *SigningCert::from_pem(pem).expect("a certificate").hash(),
        };
        Self {
            signing,
            config: config(image),
            changes: 1,
            contents: BTreeMap::from([(PATH, image.to_vec())]),
            device: None,
            has_tpm: false,
            published: Vec::new(),
            escrow: Vec::new(),
            escrowed: 0,
            asked_for_quote: false,
            attested: 0,
            configured: 0,
            requests: BTreeSet::new(),
            trace: Vec::new(),
            apps: Vec::new(),
            devices: 0,
            metrics: 0,
            log: BTreeMap::new(),
            lines: BTreeMap::new(),
            console: BTreeMap::new(),
            again: 0,
            away: false,
            is_late: false,
            cut: 0,
        }
    }

    /// The configuration has this version of the base OS from now on, whose content is this.
    pub fn ask_for_base(&mut self, version: &str, content: Vec<u8>) {
        self.config.content_info.push(tree(BASE_CONTENT, BASE_PATH, &content));
        self.config.baseos = Some(BaseOs {
            content_tree_uuid: BASE_CONTENT.into(),
            activate: true,
            base_os_version: version.into(),
            ..BaseOs::default()
        });
        self.config.config_items.push(item("timer.test.baseimage.update", "30"));
        self.contents.insert(BASE_PATH, content);
        self.changes += 1;
        let version = self.changes.to_string();
        self.config.id = Some(UuiDandVersion { uuid: DEVICE.into(), version });
    }

    /// What the store answers.
    #[must_use]
    pub fn store(&self, asked: &Asked) -> Answer {
        match self.contents.get(asked.path.as_str()) {
            Some(content) => Answer { body: content.clone(), ..Answer::empty(200) },
            None => Answer::empty(404),
        }
    }

    /// Knows the device as this one does.
    pub fn recall(&mut self, before: &Self) {
        self.device.clone_from(&before.device);
        self.escrow.clone_from(&before.escrow);
    }

    /// Whether the device has registered.
    #[must_use]
    pub fn knows_device(&self) -> bool {
        self.device.is_some()
    }

    /// Whether the last report of the application says that it runs.
    #[must_use]
    pub fn app_runs(&self) -> bool {
        self.apps.last().is_some_and(|app| app.state == ZSwState::Running as i32)
    }

    /// How many lines of a domain it has, by its number.
    #[must_use]
    pub fn lines_of(&self, domain: proto_xen::DomId) -> u64 {
        self.lines.get(&domain.to_string()).copied().unwrap_or_default()
    }

    /// How many lines of the log say this.
    #[must_use]
    pub fn count(&self, text: &str) -> usize {
        self.log.values().flatten().filter(|line| line.contains(text)).count()
    }

    /// What it was asked last, and what it has, for people.
    #[must_use]
    pub fn told(&self) -> String {
        let last = self.trace[self.trace.len().saturating_sub(12)..].join(", ");
        let (lines, console) = (&self.lines, self.console.len());
        format!("{lines:?} and {console} lines of the console; at last {last}")
    }

    /// Requests that were answered.
    #[must_use]
    pub fn reports(&self) -> usize {
        self.trace.len()
    }

    /// Answers a request.
    ///
    /// # Panics
    /// If it is not as the protocol has it.
    pub fn serve(&mut self, asked: &Asked) -> Answer {
        if self.away {
            return Answer::empty(503);
        }
        let path = asked.path.strip_prefix("/api/v2/edgedevice/").expect("the API's path");
        let by_uuid = path.strip_prefix(&format!("id/{DEVICE}/"));
        let action = by_uuid.unwrap_or(path).to_owned();
        let nameless = ["certs", "register", "uuid"].contains(&action.as_str());
        assert_eq!(by_uuid.is_some(), !nameless, "{path}");
        assert_eq!(asked.method, if action == "certs" { "GET" } else { "POST" });
        let request = asked.field("x-request-id").expect("each request has an identifier");
        assert!(self.requests.insert(request.to_owned()), "{request} was there before");
        let (status, payload) = self.act(&action, &asked.body);
        self.trace.push(format!("{action} {status}"));
        let body = payload.map(|payload| auth::seal(payload, &self.signing).expect("its key signs"));
        let is_cut = self.cut > 0 && random::below(self.cut) == 0;
        Answer { is_cut, status, body: body.unwrap_or_default() }
    }

    fn act(&mut self, action: &str, body: &[u8]) -> (u16, Option<Vec<u8>>) {
        match action {
            "certs" => return (200, Some(certs())),
            "register" => {
                let message =
                    ZRegisterMsg::decode(&open(body, keys::ONBOARD.0, true)[..]).expect("a message");
                assert_eq!(message.serial, "SN-1");
                let pem = str::from_utf8(&message.pem_cert).expect("text");
                let certificate = Base64::decode_vec(pem).expect("in base64");
                let known = self.device.get_or_insert_with(|| certificate.clone());
                assert!(*known == certificate, "the device is another one than it was");
                return (201, None);
            }
            _ => {}
        }
        let Some(device) = &self.device else { return (401, None) };
        let payload = open(body, device, false);
        match action {
            "uuid" => {
                let response = UuidResponse { uuid: DEVICE.into(), ..UuidResponse::default() };
                (200, Some(response.encode_to_vec()))
            }
            "attest" => (201, Some(self.attest(&payload))),
            "config" => self.config(&payload),
            "info" => {
                let message = ZInfoMsg::decode(&payload[..]).expect("a message");
                assert_eq!(message.dev_id, DEVICE);
                match message.info_content.expect("it is about something") {
                    InfoContent::Dinfo(_) => self.devices += 1,
                    InfoContent::Ainfo(app) => self.apps.push(app),
                    _ => {}
                }
                (201, None)
            }
            "metrics" => {
                assert_eq!(ZMetricMsg::decode(&payload[..]).expect("a message").dev_id, DEVICE);
                self.metrics += 1;
                (201, None)
            }
            "newlogs" => {
                self.logs(&payload, Self::line);
                (201, None)
            }
            _ if action == format!("apps/instanceid/{APP}/newlogs") => {
                self.logs(&payload, Self::app_line);
                (201, None)
            }
            _ => panic!("nobody asks for {action}"),
        }
    }

    fn attest(&mut self, payload: &[u8]) -> Vec<u8> {
        let request = ZAttestReq::decode(payload).expect("a message");
        let mut response = ZAttestResponse::default();
        match ZAttestReqType::try_from(request.req_type).expect("it is known") {
            ZAttestReqType::AttestReqCert => {
                self.published = request.certs;
                response.resp_type = ZAttestRespType::AttestRespCert as i32;
            }
            ZAttestReqType::AttestReqNonce => {
                self.asked_for_quote = true;
                response.resp_type = ZAttestRespType::AttestRespNonce as i32;
                response.nonce = Some(ZAttestNonceResp { nonce: NONCE.to_vec() });
            }
            ZAttestReqType::AttestReqQuote => {
                assert!(self.asked_for_quote, "a quote without a nonce");
                self.quoted(&request.quote.expect("a quote"));
                self.attested += 1;
                response.resp_type = ZAttestRespType::AttestRespQuoteResp as i32;
                response.quote_resp = Some(ZAttestQuoteResp {
                    response: ZAttestResponseCode::Success as i32,
                    integrity_token: TOKEN.to_vec(),
                    keys: self.escrow.clone(),
                });
            }
            ZAttestReqType::StoreKeys if self.has_tpm => {
                let keys = request.storage_keys.expect("keys");
                assert_eq!(keys.integrity_token, TOKEN);
                self.escrow = keys.keys;
                self.escrowed += 1;
                response.resp_type = ZAttestRespType::StoreKeys as i32;
                let stored = AttestStorageKeysResponseCode::Success as i32;
                response.storage_keys_resp = Some(AttestStorageKeysResp { response: stored });
            }
            other => panic!("{other:?} from a device without a TPM"),
        }
        response.encode_to_vec()
    }

    /// Looks at a quote as strictly as a controller may. One of a device without a TPM says nothing.
    fn quoted(&self, quote: &ZAttestQuote) {
        if !self.has_tpm {
            let says_nothing = quote.attest_data.is_empty() && quote.pcr_values.is_empty();
            return assert!(says_nothing && quote.tpm_binary_event_log.is_empty());
        }
        let is_quotes = |cert: &&ZCert| cert.r#type == ZCertType::CertTypeDeviceRestrictedSigning as i32;
        let certificate = self.published.iter().find(is_quotes).expect("the quote key's is published");
        let der = pem::certificates(&certificate.cert).expect("a certificate").remove(0);
        let key = PublicKey::of_certificate(&der).expect("a key");
        let signature = Signature::from_der(&quote.signature).expect("a signature");
        key.verify(&quote.attest_data, &signature.to_bytes()).expect("the quote key's signature");
        let quoted = Quoted::parse(&quote.attest_data).expect("a quote");
        assert_eq!((quoted.nonce, quoted.selection.bits()), (NONCE, 0xffff));
        let mut values = [[0; 32]; pcr::COUNT];
        for (value, told) in values.iter_mut().zip(&quote.pcr_values) {
            value.copy_from_slice(&told.value);
        }
        assert_eq!(quoted.digest, pcr::composite(quoted.selection, &values));
        // What dom0 has measured. Firmware's own log is not here.
        let log = unpack(&quote.tpm_binary_event_log);
        let replayed = Log::parse(&log).and_then(|log| log.replay()).expect("an event log");
        assert_eq!(values[usize::from(PCR)], replayed[usize::from(PCR)]);
    }

    fn config(&mut self, payload: &[u8]) -> (u16, Option<Vec<u8>>) {
        let request = ConfigRequest::decode(payload).expect("a message");
        if request.integrity_token != TOKEN {
            return (403, None);
        }
        let hash = format!("hash-{}", self.changes);
        if request.config_hash == hash {
            return (304, None);
        }
        self.configured += 1;
        let response = ConfigResponse { config: Some(self.config.clone()), config_hash: hash };
        (200, Some(response.encode_to_vec()))
    }

    /// Takes the lines of a file.
    fn logs(&mut self, gzip: &[u8], take: fn(&mut Self, &str, u64, String)) {
        assert_ne!(gzip[3], 0, "the file has a name or a comment");
        let lines = unpack(gzip);
        for line in std::str::from_utf8(&lines).expect("text").lines() {
            let entry: Value = serde_json::from_str(line).expect("JSON");
            let text = |key: &str| entry[key].as_str().expect("it is there").to_owned();
            let number = entry["msgid"].as_u64().expect("lines have numbers");
            if !self.is_late {
                take(self, &text("source"), number, text("content"));
            }
        }
    }

    fn line(&mut self, source: &str, number: u64, text: String) {
        let log = self.log.entry(source.to_owned()).or_default();
        if let Some(known) = number.checked_sub(1).and_then(|place| log.get(place as usize)) {
            assert_eq!(*known, text, "line {number} of {source} is another one than it was");
            self.again += 1;
            return;
        }
        assert_eq!(number, log.len() as u64 + 1, "lines of {source} are missing before: {text}");
        let mut words = text.split(' ');
        let (Some(writer), Some(written)) = (words.next(), words.next()) else {
            panic!("lines are `WRITER NUMBER TEXT`: {text}")
        };
        let lines = self.lines.entry(writer.to_owned()).or_default();
        assert_eq!(written.parse(), Ok(*lines), "{source}: {text}");
        *lines += 1;
        log.push(text);
    }

    fn app_line(&mut self, _: &str, number: u64, text: String) {
        let text = text.trim_end().to_owned();
        match self.console.entry(number) {
            Entry::Vacant(place) => drop(place.insert(text)),
            Entry::Occupied(known) => {
                assert_eq!(*known.get(), text, "line {number} of the console is another one than it was");
                self.again += 1;
            }
        }
    }
}

/// What a gzip file holds, which has no more in its header than one text.
fn unpack(gzip: &[u8]) -> Vec<u8> {
    assert_eq!(&gzip[..3], &[0x1f, 0x8b, 8]);
    let text = gzip[10..].iter().position(|byte| *byte == 0).filter(|_| gzip[3] != 0);
    let body = 10 + text.map_or(0, |end| end + 1);
    miniz_oxide::inflate::decompress_to_vec(&gzip[body..gzip.len() - 8]).expect("gzip")
}

fn certs() -> Vec<u8> {
    let cert = |pem: &[u8], kind: ZCertType| {
        let cert = pem.trim_ascii().to_vec();
        let cert_hash = sha256(&cert)[..16].to_vec();
        ZCert { hash_algo: 1, cert_hash, r#type: kind as i32, cert, ..ZCert::default() }
    };
    let certs = vec![
        cert(keys::EXCHANGE, ZCertType::CertTypeControllerEcdhExchange),
        cert(keys::SIGNING.0, ZCertType::CertTypeControllerSigning),
    ];
    ZControllerCert { certs }.encode_to_vec()
}

/// Verifies an envelope of the device.
fn open(body: &[u8], certificate: &[u8], with_certificate: bool) -> Vec<u8> {
    let container = AuthContainer::decode(body).expect("an envelope");
    assert_eq!(container.algo, 2);
    assert_eq!(container.sender_cert.is_empty(), !with_certificate);
    let der = pem::certificates(certificate).expect("a certificate").remove(0);
    assert_eq!(container.sender_cert_hash, sha256(&der));
    let payload = container.protected_payload.expect("something in it").payload;
    let key = PublicKey::of_certificate(&der).expect("a key");
    key.verify(&payload, &container.signature_hash).expect("the device's signature");
    payload
}

/// One application from one content over HTTP. Reports come as often as they may.
fn config(image: &[u8]) -> EdgeDevConfig {
    let (folder, _) = PATH.rsplit_once('/').expect("it has a folder");
    EdgeDevConfig {
        id: Some(UuiDandVersion { uuid: DEVICE.into(), version: "1".into() }),
        datastores: vec![DatastoreConfig {
            id: STORE.into(),
            d_type: 1,
            fqdn: format!("http://{ROUTER}:{STORE_PORT}"),
            dpath: folder.trim_start_matches('/').into(),
            ..DatastoreConfig::default()
        }],
        content_info: vec![tree(CONTENT, PATH, image)],
        volumes: vec![Volume {
            uuid: VOLUME.into(),
            origin: Some(VolumeContentOrigin { r#type: 2, download_content_tree_id: CONTENT.into() }),
            display_name: "its volume".into(),
            ..Volume::default()
        }],
        apps: vec![AppInstanceConfig {
            uuidandversion: Some(UuiDandVersion { uuid: APP.into(), version: "1".into() }),
            displayname: APP_NAME.into(),
            activate: true,
            fixedresources: Some(VmConfig { memory: APP_MEMORY_KIB, vcpus: 1, ..VmConfig::default() }),
            volume_ref_list: vec![VolumeRef { uuid: VOLUME.into(), ..VolumeRef::default() }],
            restart: Some(InstanceOpsCmd::default()),
            purge: Some(InstanceOpsCmd::default()),
            ..AppInstanceConfig::default()
        }],
        config_items: vec![
            item("newlog.allow.fastupload", "true"),
            item("timer.config.interval", "10"),
            item("timer.metric.interval", "60"),
            item("timer.boot.retry", "10"),
            item("timer.download.retry", "60"),
        ],
        ..EdgeDevConfig::default()
    }
}

fn item(key: &str, value: &str) -> ConfigItem {
    ConfigItem { key: key.into(), value: value.into() }
}

/// A content of the store.
fn tree(uuid: &str, path: &str, content: &[u8]) -> ContentTree {
    let (_, file) = path.rsplit_once('/').expect("it has a folder");
    ContentTree {
        uuid: uuid.into(),
        ds_id: STORE.into(),
        url: file.into(),
        iformat: 1,
        sha256: hex::encode(sha256(content)),
        max_size_bytes: content.len() as u64,
        display_name: file.into(),
        ..ContentTree::default()
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    /// Whether it takes these lines of net's log, each with its number.
    fn takes(lines: &[(u64, &str)]) -> bool {
        let mut controller = Controller::new(b"");
        let all = || lines.iter().for_each(|(number, text)| controller.line("net", *number, (*text).into()));
        catch_unwind(AssertUnwindSafe(all)).is_ok()
    }

    #[test]
    fn lines_that_are_missing_doubled_or_changed_are_seen() {
        assert!(takes(&[(1, "d1 0 a"), (2, "d1 1 b"), (3, "d4 0 a")]));
        assert!(takes(&[(1, "d1 0 a"), (2, "d1 1 b"), (1, "d1 0 a"), (2, "d1 1 b")]), "sent once more");
        assert!(!takes(&[(1, "d1 0 a"), (3, "d1 1 b")]), "a number is missing");
        assert!(!takes(&[(1, "d1 0 a"), (2, "d1 2 c")]), "the domain has written one between");
        assert!(!takes(&[(1, "d1 0 a"), (2, "d1 0 a")]), "the same line under two numbers");
        assert!(!takes(&[(1, "d1 0 a"), (2, "d1 1 b"), (1, "d1 1 b")]), "another line under a known number");
    }
}
