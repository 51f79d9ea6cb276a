//! What a controller answers, before it is believed.
//!
//! Seeds are the vectors of `proto/eve`, which other implementations made.

use std::sync::OnceLock;
use std::time::Duration;

use proto_eve::wire::auth::AuthContainer;
use proto_eve::wire::config::{
    AppInstanceConfig, ConfigItem, ConfigResponse, ContentTree, DatastoreConfig, EdgeDevConfig,
    UuiDandVersion, VmConfig, Volume, VolumeContentOrigin, VolumeRef,
};
use proto_eve::{Message, UnixTime, attest as attest_messages, auth, bounds, config as config_messages};
use proto_eve::{certs as controller_certs, key, pem as pem_text, uuid};

macro_rules! text {
    ($name:literal) => {
        include_bytes!(concat!("../../../../proto/eve/tests/vectors/", $name)).as_slice()
    };
}

macro_rules! vectors {
    ($($name:literal),+) => {
        vec![$(unhex(include_str!(concat!("../../../../proto/eve/tests/vectors/", $name, ".hex")))),+]
    };
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.bytes().filter_map(|byte| char::from(byte).to_digit(16)).map(|digit| digit as u8).collect();
    digits.as_chunks::<2>().0.iter().map(|[high, low]| high << 4 | low).collect()
}

/// What may be longer than a body that control takes is no input of its parsers.
const SHORT: usize = 1 << 16;

/// The envelope: opened, if the controller's signature is right; and without one, as for `/certs`.
pub(super) fn envelope(bytes: &[u8]) {
    static SENDER: OnceLock<controller_certs::SigningCert> = OnceLock::new();
    let sender = SENDER.get_or_init(|| {
        controller_certs::SigningCert::from_pem(text!("signing-p256.pem")).expect("a certificate")
    });
    if let Ok(payload) = auth::open(bytes, sender) {
        assert_eq!(auth::open_unverified(bytes).as_ref(), Ok(&payload));
    }
    if let Ok(container) = AuthContainer::decode(bytes) {
        assert_eq!(AuthContainer::decode(container.encode_to_vec().as_slice()).as_ref(), Ok(&container));
    }
}

pub(super) fn envelopes() -> Vec<Vec<u8>> {
    vectors![
        "config-envelope-p256",
        "config-envelope-16",
        "config-envelope-bad-signature",
        "config-envelope-other-sender",
        "certs-envelope"
    ]
}

/// A set of certificates.
pub(super) fn certs(bytes: &[u8]) {
    static ROOTS: OnceLock<controller_certs::Roots> = OnceLock::new();
    let roots = ROOTS.get_or_init(|| controller_certs::Roots::from_pem(text!("root.pem")).expect("a root"));
    // 2026-01-01.
    let now = UnixTime::since_unix_epoch(Duration::from_secs(1_767_225_600));
    if let Ok(certs) = controller_certs::ControllerCerts::accept(bytes, roots, now) {
        assert!(!certs.differs_from(&certs));
    }
}

pub(super) fn certs_seeds() -> Vec<Vec<u8>> {
    vectors!["certs-p256", "certs-rsa", "certs-expired", "certs-no-intermediate", "certs-two-signing"]
}

pub(super) fn config(bytes: &[u8]) {
    let Ok(response) = config_messages::parse_response(bytes) else { return };
    let again = ConfigResponse { config: response.config, config_hash: response.hash };
    let read =
        config_messages::parse_response(&again.encode_to_vec()).expect("what was accepted is accepted again");
    assert_eq!((read.config, read.hash), (again.config, again.config_hash));
}

/// What the walk finds well formed is decoded, and what it refuses as malformed is not.
pub(super) fn config_bounds(bytes: &[u8]) {
    if bytes.len() > SHORT {
        return;
    }
    let decoded = ConfigResponse::decode(bytes);
    match bounds::check(bytes, bounds::CONFIG_RESPONSE, usize::MAX) {
        // What only prost looks at: the text of texts, and whether a field has the kind that the schema says.
        Ok(_) => {}
        Err(refused) => {
            // A message may be nested too deeply for the walk and not yet for prost.
            let deep = bytes.len() > 32;
            assert!(decoded.is_err() || deep, "{refused:?}, and yet it decodes");
        }
    }
}

/// A configuration with one of each kind that we run.
pub(super) fn configs() -> Vec<Vec<u8>> {
    const APP: &str = "a0a0a0a0-0000-4000-8000-000000000001";
    const VOLUME: &str = "c0c0c0c0-0000-4000-8000-000000000001";
    const CONTENT: &str = "e0e0e0e0-0000-4000-8000-000000000001";
    const STORE: &str = "d0d0d0d0-0000-4000-8000-000000000001";
    let id = |uuid: &str| Some(UuiDandVersion { uuid: uuid.into(), version: "1".into() });
    let item = |key: &str, value: &str| ConfigItem { key: key.into(), value: value.into() };
    let config = EdgeDevConfig {
        id: id("5a5a5a5a-0000-4000-8000-0123456789ab"),
        apps: vec![AppInstanceConfig {
            uuidandversion: id(APP),
            displayname: "hello".into(),
            fixedresources: Some(VmConfig { memory: 8192, vcpus: 1, ..Default::default() }),
            activate: true,
            volume_ref_list: vec![VolumeRef { uuid: VOLUME.into(), ..Default::default() }],
            ..Default::default()
        }],
        datastores: vec![DatastoreConfig {
            id: STORE.into(),
            d_type: 1,
            fqdn: "http://store:8080".into(),
            ..Default::default()
        }],
        config_items: vec![
            item("timer.config.interval", "5"),
            item("maintenance.mode", "none"),
            item("x", "y"),
        ],
        content_info: vec![ContentTree {
            uuid: CONTENT.into(),
            ds_id: STORE.into(),
            url: "images/hello.elf".into(),
            iformat: 1,
            sha256: "ab".repeat(32),
            max_size_bytes: 8,
            display_name: "hello".into(),
            ..Default::default()
        }],
        volumes: vec![Volume {
            uuid: VOLUME.into(),
            display_name: "hello".into(),
            origin: Some(VolumeContentOrigin { r#type: 2, download_content_tree_id: CONTENT.into() }),
            ..Default::default()
        }],
        ..Default::default()
    };
    let whole = ConfigResponse { config: Some(config), config_hash: "1".into() }.encode_to_vec();
    let mut seeds = vectors!["config-response"];
    seeds.push(whole);
    seeds
}

/// Answers of attestation, and the device's identity.
pub(super) fn attest(bytes: &[u8]) {
    let _ = attest_messages::parse_response(bytes);
    if let Some(identity) = uuid::parse_response(bytes) {
        assert_eq!(uuid::Uuid::parse(&identity.uuid.to_string()), Some(identity.uuid));
    }
}

pub(super) fn attests() -> Vec<Vec<u8>> {
    vectors!["attest-accepted", "attest-invalid", "attest-nonce", "uuid-response"]
}

/// PEM text, the certificates and keys in it, and the same as DER.
pub(super) fn pem(bytes: &[u8]) {
    let blocks = pem_text::blocks(bytes).unwrap_or_default();
    for block in &blocks {
        assert!(block.der.len() <= bytes.len());
        let _ = key::PublicKey::of_certificate(&block.der);
        let _ = key::PublicKey::from_spki(&block.der);
    }
    let _ = pem_text::certificates(bytes);
    let _ = key::PublicKey::of_certificate(bytes);
    let _ = key::PublicKey::from_spki(bytes);
    let _ = key::SoftwareKey::from_pem(bytes, bytes);
    let _ = controller_certs::SigningCert::from_pem(bytes);
    let _ = controller_certs::Roots::from_pem(bytes);
}

pub(super) fn pems() -> Vec<Vec<u8>> {
    let files = [
        text!("device.pem"),
        text!("device-pkcs8.key.pem"),
        text!("device-sec1.key.pem"),
        text!("signing-rsa.pem"),
    ];
    let mut seeds: Vec<Vec<u8>> = files.iter().map(|file| file.to_vec()).collect();
    let ders: Vec<Vec<u8>> = seeds
        .iter()
        .flat_map(|file| pem_text::blocks(file).unwrap_or_default())
        .map(|block| block.der)
        .collect();
    seeds.extend(ders);
    seeds
}
