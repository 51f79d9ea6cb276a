//! What others made is read, and what we make stands up to it. Origin: `tests/vectors/README.md`.

use proptest::prelude::*;
use proto_eve::{
    Message, UnixTime, attest, auth,
    auth::OpenError,
    bounds,
    certs::{CertsError, ControllerCerts, Roots, SigningCert},
    config, key,
    key::{KeyError, PublicKey, Signer, SoftwareKey},
    pem, register, uuid,
    wire::{auth::AuthContainer, certs::ZCertType, register::ZRegisterMsg},
};
use sha2::{Digest, Sha256};

macro_rules! text {
    ($name:literal) => {
        include_bytes!(concat!("vectors/", $name)).as_slice()
    };
}
macro_rules! bytes {
    ($name:literal) => {
        unhex(include_str!(concat!("vectors/", $name, ".hex")))
    };
}

fn unhex(text: &str) -> Vec<u8> {
    hex::decode(text.split_ascii_whitespace().collect::<String>()).unwrap()
}

/// 2026-01-01.
fn now() -> UnixTime {
    UnixTime::since_unix_epoch(core::time::Duration::from_secs(1_767_225_600))
}

fn roots() -> Roots {
    Roots::from_pem(text!("root.pem")).unwrap()
}

fn device() -> SoftwareKey {
    SoftwareKey::from_pem(text!("device-pkcs8.key.pem"), text!("device.pem")).unwrap()
}

#[test]
fn controllers_sign_with_p256_p384_and_rsa() {
    for (certs, envelope) in [
        (bytes!("certs-p256"), bytes!("config-envelope-p256")),
        (bytes!("certs-p256"), bytes!("config-envelope-16")),
        (bytes!("certs-p384"), bytes!("config-envelope-p384")),
        (bytes!("certs-rsa"), bytes!("config-envelope-rsa")),
    ] {
        let certs = ControllerCerts::accept(&certs, &roots(), now()).unwrap();
        let payload = auth::open(&envelope, certs.signing()).unwrap();
        assert_eq!(payload, bytes!("config-response"));
    }
}

#[test]
fn an_envelope_that_is_not_the_controllers_is_not_opened() {
    let sender = SigningCert::from_pem(text!("signing-p256.pem")).unwrap();
    for (envelope, error) in [
        (bytes!("config-envelope-p384"), OpenError::UnknownSender),
        (bytes!("config-envelope-other-sender"), OpenError::UnknownSender),
        (bytes!("config-envelope-bad-signature"), OpenError::BadSignature),
        (bytes!("config-envelope-der-signature"), OpenError::BadSignature),
        (Vec::new(), OpenError::BadAlgorithm { algo: 0 }),
        (vec![0xff; 40], OpenError::Malformed),
    ] {
        assert_eq!(auth::open(&envelope, &sender), Err(error));
    }
    let mut container = AuthContainer::decode(&bytes!("config-envelope-p256")[..]).unwrap();
    container.sender_cert_hash.truncate(20);
    assert_eq!(auth::open(&container.encode_to_vec(), &sender), Err(OpenError::BadHashLength { have: 20 }));
    // An empty hash is a prefix of every hash, and must not match one.
    container.sender_cert_hash.clear();
    assert_eq!(auth::open(&container.encode_to_vec(), &sender), Err(OpenError::BadHashLength { have: 0 }));
    container.protected_payload = None;
    container.sender_cert_hash = sender.hash().to_vec();
    assert_eq!(auth::open(&container.encode_to_vec(), &sender), Err(OpenError::NoPayload));
}

#[test]
fn certs_are_accepted_by_their_chain_alone() {
    let payload = auth::open_unverified(&bytes!("certs-envelope")).unwrap();
    let set = ControllerCerts::accept(&payload, &roots(), now()).unwrap();
    assert_eq!(set.signing().hash(), &<[u8; 32]>::from(Sha256::digest(text!("signing-p256.pem"))));
    let other = ControllerCerts::accept(&bytes!("certs-rsa"), &roots(), now()).unwrap();
    assert!(set.differs_from(&other) && !set.differs_from(&set.clone()));
    ControllerCerts::accept(&bytes!("certs-no-eku"), &roots(), now()).unwrap();
}

#[test]
fn each_broken_rule_refuses_the_whole_set() {
    let signing = ZCertType::CertTypeControllerSigning as i32;
    for (set, error) in [
        (bytes!("certs-expired"), CertsError::Time { kind: signing }),
        (bytes!("certs-stranger"), CertsError::Untrusted { kind: signing }),
        (bytes!("certs-client-eku"), CertsError::Untrusted { kind: signing }),
        (bytes!("certs-no-intermediate"), CertsError::Untrusted { kind: signing }),
        (bytes!("certs-two-signing"), CertsError::SigningCerts { have: 2 }),
        (bytes!("certs-no-exchange"), CertsError::NoKeyExchange),
        (
            bytes!("certs-device-type"),
            CertsError::UnexpectedType { kind: ZCertType::CertTypeDeviceOnboarding as i32 },
        ),
        (Vec::new(), CertsError::SigningCerts { have: 0 }),
        (vec![0xff; 9], CertsError::Malformed),
    ] {
        assert_eq!(ControllerCerts::accept(&set, &roots(), now()).err(), Some(error));
    }
    let other = Roots::from_pem(text!("other-root.pem")).unwrap();
    let error = ControllerCerts::accept(&bytes!("certs-p256"), &other, now()).err();
    assert!(matches!(error, Some(CertsError::Untrusted { .. })));
    let before = UnixTime::since_unix_epoch(core::time::Duration::from_secs(0));
    let error = ControllerCerts::accept(&bytes!("certs-p256"), &roots(), before).err();
    assert!(matches!(error, Some(CertsError::Time { .. })));
}

#[test]
fn a_key_file_may_be_pkcs8_sec1_or_a_mixture() {
    for file in [text!("device-pkcs8.key.pem"), text!("device-sec1.key.pem"), text!("device-mixed.key.pem")] {
        let key = SoftwareKey::from_pem(file, text!("device.pem")).unwrap();
        assert_eq!(key.certificate_hash().to_vec(), bytes!("device-cert-sha256"));
    }
    let error = |key: &[u8], cert: &[u8]| SoftwareKey::from_pem(key, cert).err().unwrap();
    let key_file = text!("device-pkcs8.key.pem");
    assert_eq!(error(key_file, text!("root.pem")), KeyError::Mismatch);
    assert_eq!(error(text!("root.pem"), text!("root.pem")), KeyError::NoPrivateKey);
    assert_eq!(error(b"", text!("root.pem")), KeyError::Pem(pem::PemError::Empty));
}

#[test]
fn signatures_are_those_of_rfc_6979() {
    // RFC 6979 A.2.5, P-256 with SHA-256, message "sample".
    let secret = hex::decode("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721").unwrap();
    let key = p256::ecdsa::SigningKey::from_slice(&secret).unwrap();
    let digest: [u8; 32] = Sha256::digest(b"sample").into();
    let signature: p256::ecdsa::Signature =
        p256::ecdsa::signature::hazmat::PrehashSigner::sign_prehash(&key, &digest).unwrap();
    assert_eq!(
        hex::encode(signature.to_bytes()),
        "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716\
         f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"
    );
}

#[test]
fn register_carries_both_certificates_in_base64() {
    let body = register::request(&device(), text!("root.pem"), " serial\n", "soft!-1_ä").unwrap();
    let container = AuthContainer::decode(&body[..]).unwrap();
    assert_eq!(decode64(&container.sender_cert), text!("device.pem"));
    let payload = container.protected_payload.unwrap().payload;
    let key = PublicKey::of_certificate(&pem::certificates(text!("device.pem")).unwrap()[0]).unwrap();
    key.verify(&payload, &container.signature_hash).unwrap();
    let message = ZRegisterMsg::decode(&payload[..]).unwrap();
    assert_eq!(decode64(&message.pem_cert), text!("root.pem"));
    assert_eq!((message.serial.as_str(), message.soft_serial.as_str()), ("serial", "soft-1_"));
}

fn decode64(text: &[u8]) -> Vec<u8> {
    use base64ct::Encoding;
    base64ct::Base64::decode_vec(core::str::from_utf8(text).unwrap()).unwrap()
}

#[test]
fn answers_made_by_protoc_are_read() {
    let response = config::parse_response(&bytes!("config-response")).unwrap();
    assert_eq!(response.hash, "hash-1");
    let config = response.config.unwrap();
    assert_eq!(config.controller_epoch, 99);
    assert_eq!(config.apps[0].fixedresources.as_ref().unwrap().memory, 16384);
    assert_eq!(config.apps[0].volume_ref_list[0].generation_count, 2);
    assert_eq!(config.datastores[0].fqdn, "http://store:8080");
    assert_eq!(config.config_timestamp.unwrap().nanos, 5);

    let nonce = attest::parse_response(&bytes!("attest-nonce"));
    assert_eq!(nonce, Some(attest::Response::Nonce(b"0123456789ab".to_vec())));
    let accepted = attest::parse_response(&bytes!("attest-accepted"));
    let (integrity_token, key, other_pcrs) = (b"token".to_vec(), None, false);
    assert_eq!(accepted, Some(attest::Response::Accepted { integrity_token, key, other_pcrs }));
    // Code 0 is not on the wire: a quote response that is there, and empty, means invalid.
    let invalid = attest::parse_response(&bytes!("attest-invalid"));
    assert_eq!(invalid, Some(attest::Response::Rejected(attest::Rejection::Invalid)));
    assert_eq!(attest::parse_response(b""), None);

    let identity = uuid::parse_response(&bytes!("uuid-response")).unwrap();
    assert_eq!(identity.uuid.to_string(), "5a5a5a5a-0000-4000-8000-0123456789ab");
    assert_eq!(uuid::parse_response(b""), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_we_seal_opens_and_no_bit_of_it_may_change(
        payload in prop::collection::vec(any::<u8>(), 0..200), bit in any::<prop::sample::Index>(),
    ) {
        let sender = SigningCert::from_pem(text!("device.pem")).unwrap();
        let body = auth::seal(payload.clone(), &device()).unwrap();
        // A device names itself by its DER, a controller by its PEM: rename the sender to open it here.
        let mut container = AuthContainer::decode(&body[..]).unwrap();
        prop_assert_eq!(&container.sender_cert_hash, &bytes!("device-cert-sha256"));
        container.sender_cert_hash = sender.hash().to_vec();
        let mut body = container.encode_to_vec();
        prop_assert_eq!(auth::open(&body, &sender), Ok(payload.clone()));
        let at = bit.index(body.len() * 8);
        body[at / 8] ^= 1 << (at % 8);
        if let Ok(opened) = auth::open(&body, &sender) {
            // A changed field number or algorithm may leave payload and signature alone.
            prop_assert_eq!(opened, payload);
        }
    }

    #[test]
    fn no_input_panics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let sender = SigningCert::from_pem(text!("signing-p256.pem")).unwrap();
        let _ = auth::open(&bytes, &sender);
        let _ = auth::open_unverified(&bytes);
        let _ = ControllerCerts::accept(&bytes, &roots(), now());
        let _ = Roots::from_pem(&bytes);
        let _ = config::parse_response(&bytes);
        let _ = attest::parse_response(&bytes);
        let _ = uuid::parse_response(&bytes);
        let _ = pem::blocks(&bytes);
        let _ = key::PublicKey::from_spki(&bytes);
        let _ = key::PublicKey::of_certificate(&bytes);
        let _ = SoftwareKey::from_pem(&bytes, &bytes);
    }

    #[test]
    fn a_damaged_configuration_parses_or_not_but_stays_small(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut payload = bytes!("config-response");
        for (at, value) in flips {
            let at = at.index(payload.len());
            payload[at] = value;
        }
        if config::parse_response(&payload).is_ok() {
            prop_assert!(bounds::check(&payload, bounds::CONFIG_RESPONSE, 64 * 1024).is_ok());
        }
    }
}
