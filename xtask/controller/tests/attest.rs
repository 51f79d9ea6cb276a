//! What a device has to prove of its TPM, and what it loses when it does not.

mod device;

use std::io::Write as _;

use device::{Device, asn1, zcert};
use flate2::Compression;
use flate2::write::GzEncoder;
use proto_attest::{Expected, Origin, Prediction};
use proto_eve::wire::attest::{
    AttestStorageKeys, AttestVolumeKey, TpmHashAlgo, TpmPcrValue, ZAttestQuote, ZAttestQuoteResp, ZAttestReq,
    ZAttestResponseCode as Code,
};
use proto_eve::wire::certs::ZCert;
use proto_eve::wire::certs::ZCertType::{
    self, CertTypeDeviceEcdhExchange as Exchange, CertTypeDeviceEndorsementRsa as Endorsement,
    CertTypeDeviceRestrictedSigning as Quote,
};
use proto_tpm::eventlog::{Event, Log, emit_header, kind};
use ring::digest::{SHA256, digest};
use xtask_controller::{Controller, Handle, Options};

fn start(options: Options) -> (Handle, Device) {
    let controller = Controller::start(options).expect("it starts");
    controller.set_config("").expect("right");
    let mut device = Device::new(&controller, "one");
    device.fetch_certs();
    device.register();
    assert_eq!(device.ask_uuid().status, 200);
    (controller, device)
}

/// A certificate of a key of the TPM: that of `ecdh` is the quote key of these tests.
fn key_cert(device: &Device, file: &str, kind: ZCertType) -> ZCert {
    ZCert { r#type: kind as i32, ..zcert(&device.bundle.files[file]) }
}

/// Publishes these certificates and no others.
fn publish(device: &Device, certs: &[(&str, ZCertType)]) -> u16 {
    let certs = certs.iter().map(|&(file, kind)| key_cert(device, file, kind)).collect();
    device.post("attest", &ZAttestReq { req_type: 1, certs, ..Default::default() }).status
}

fn nonce(device: &Device) -> Vec<u8> {
    device.attest(&ZAttestReq { req_type: 2, ..Default::default() }).nonce.expect("a nonce").nonce
}

/// What a TPM without measurements quotes.
fn quoted(device: &Device, nonce: &[u8]) -> ZAttestQuote {
    quoted_of(device, nonce, &[[0; 32]; 16])
}

/// What a TPM with these values quotes.
fn quoted_of(device: &Device, nonce: &[u8], values: &[[u8; 32]]) -> ZAttestQuote {
    let sized = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes(), bytes].concat();
    let attest = [
        &[0xff, 0x54, 0x43, 0x47, 0x80, 0x18],
        sized(b"quote key").as_slice(),
        &sized(nonce),
        &[0; 8 + 4 + 4 + 1 + 8],
        &[0, 0, 0, 1, 0, 0x0b, 3, 0xff, 0xff, 0],
        &sized(digest(&SHA256, values.as_flattened()).as_ref()),
    ]
    .concat();
    let value = |(index, value): (u32, &[u8; 32])| TpmPcrValue {
        index,
        hash_algo: TpmHashAlgo::Sha256 as i32,
        value: value.to_vec(),
    };
    ZAttestQuote {
        signature: asn1(&device.sign("ecdh.key.pem", &attest)),
        attest_data: attest,
        pcr_values: (0..).zip(values).map(value).collect(),
        ..Default::default()
    }
}

fn judge(device: &Device, quote: ZAttestQuote) -> (Code, ZAttestQuoteResp) {
    let request = ZAttestReq { req_type: 3, quote: Some(quote), ..Default::default() };
    let answer = device.attest(&request).quote_resp.expect("a verdict");
    (Code::try_from(answer.response).expect("a code"), answer)
}

/// The verdict on a fresh quote; keeps the token of a success.
fn attest(device: &mut Device) -> Code {
    let nonce = nonce(device);
    let (code, answer) = judge(device, quoted(device, &nonce));
    if code == Code::Success {
        device.token = answer.integrity_token;
    }
    code
}

fn attest_with_nothing(device: &mut Device) -> Code {
    nonce(device);
    let (code, answer) = judge(device, ZAttestQuote::default());
    assert_eq!(code == Code::Success, !answer.integrity_token.is_empty());
    code
}

fn is_attested(controller: &Handle, device: &Device) -> bool {
    controller.observe(|observed| observed.devices[&device.uuid.expect("known")].attested)
}

#[test]
fn a_device_that_had_a_tpm_once_cannot_attest_without_it() {
    for kind in [Quote, Endorsement] {
        let folder = tempfile::tempdir().expect("a folder");
        let (controller, mut device) = start(Options::new(folder.path()));
        assert_eq!(publish(&device, &[("ecdh.cert.pem", kind)]), 201);
        // The set is another one now; what it said before is remembered, over a restart too.
        assert_eq!(publish(&device, &[("ecdh.cert.pem", Exchange)]), 201);
        assert_eq!(attest_with_nothing(&mut device), Code::QuoteFailed);
        let violation = controller.violations().pop().expect("one");
        assert!(violation.reason.contains("a device with a TPM did not quote"), "{}", violation.reason);
        controller.shutdown();
        let (controller, mut device) = start(Options::new(folder.path()));
        assert_eq!(attest_with_nothing(&mut device), Code::QuoteFailed);
        // Until an operator admits it anew.
        controller.readmit(device.uuid.expect("known")).expect("kept");
        assert_eq!(device.ask_uuid().status, 200);
        assert_eq!(attest_with_nothing(&mut device), Code::Success);
    }
}

#[test]
fn nothing_is_no_quote_where_measurements_are_expected() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("expected.json");
    std::fs::write(&file, serde_json::to_vec(&Prediction::default()).expect("JSON")).expect("written");
    let options = Options { expected: vec![file], ..Options::new(folder.path().join("state")) };
    let (_controller, mut device) = start(options);
    assert_eq!(attest_with_nothing(&mut device), Code::QuoteFailed);
}

/// What a TPM quotes after these events, with their log.
fn measured(device: &Device, nonce: &[u8], events: &[Event<'_>]) -> ZAttestQuote {
    let mut log = vec![0; 4096];
    let mut length = emit_header(&mut log).expect("room");
    for event in events {
        length += event.emit(&mut log[length..]).expect("room");
    }
    log.truncate(length);
    let values = Log::parse(&log).and_then(|log| log.replay()).expect("a log");
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&log).expect("in memory");
    let tpm_binary_event_log = gzip.finish().expect("in memory");
    ZAttestQuote { tpm_binary_event_log, ..quoted_of(device, nonce, &values[..16]) }
}

/// The firmware is not known; what it starts is.
#[test]
fn a_first_quote_is_of_the_right_programs_or_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let expected = |text: &str, digest: &str| Expected {
        text: text.into(),
        digests: vec![digest.repeat(32)],
        origin: Origin::Computed,
    };
    let programs = vec![expected("selector", "01"), expected("program of the slot", "02")];
    let file = folder.path().join("expected.json");
    let json = serde_json::to_vec(&Prediction { programs, ..Prediction::default() }).expect("JSON");
    std::fs::write(&file, json).expect("written");
    let options = Options { expected: vec![file], ..Options::new(folder.path().join("state")) };
    let (controller, mut device) = start(options);
    assert_eq!(publish(&device, &[("ecdh.cert.pem", Quote)]), 201);

    const CALLING: &[u8] = b"Calling EFI Application from Boot Option";
    let said = |data| Event {
        pcr: 4,
        kind: kind::EFI_ACTION,
        sha256: digest(&SHA256, data).as_ref().try_into().ok(),
        data,
    };
    let program = |digest| Event {
        pcr: 4,
        kind: kind::EFI_BOOT_SERVICES_APPLICATION,
        sha256: Some([digest; 32]),
        data: &[0xff],
    };
    let firmware = Event { pcr: 0, ..program(9) };
    let disguised = Event { sha256: Some([3; 32]), ..said(CALLING) };
    let (selector, slot) = (program(1), program(2));
    let refused = [
        (vec![firmware, said(CALLING), selector, program(3)], "in place of program of the slot"),
        (vec![firmware, said(CALLING), program(3), slot], "in place of selector"),
        (vec![firmware, said(CALLING), program(3), selector, slot], "in place of selector"),
        (vec![firmware, disguised, selector, slot], "Calling EFI Application from Boot Option (0303"),
        (
            vec![firmware, selector, slot, program(3)],
            "PCR 4, event 3: program (0303030303030303…) is not expected",
        ),
        (vec![firmware, slot, selector], "in place of selector"),
        (vec![firmware, said(CALLING), selector], "PCR 4, event 3: program of the slot is missing"),
        (vec![firmware], "PCR 4, event 1: selector is missing"),
    ];
    for (events, why) in refused {
        let nonce = nonce(&device);
        let (code, _) = judge(&device, measured(&device, &nonce, &events));
        let told = controller.violations().pop().expect("one").reason;
        assert!(code == Code::QuoteFailed && told.contains(why), "{why}: {code:?}, {told}");
        assert!(!is_attested(&controller, &device), "{why}");
    }
    let right = [firmware, said(CALLING), selector, slot];
    // The right log beside values that it does not lead to.
    let asked = nonce(&device);
    let other = measured(&device, &asked, &[firmware, said(CALLING), selector, program(3)]);
    let log = measured(&device, &asked, &right).tpm_binary_event_log;
    let (code, _) = judge(&device, ZAttestQuote { tpm_binary_event_log: log, ..other });
    assert_eq!(code, Code::QuoteFailed);
    let told = controller.violations().pop().expect("one").reason;
    assert!(told.contains("the event log is not that of the quoted PCR 4"), "{told}");

    let nonce = nonce(&device);
    let (code, answer) = judge(&device, measured(&device, &nonce, &right));
    assert!(code == Code::Success && is_attested(&controller, &device), "{:?}", controller.violations());
    device.token = answer.integrity_token;
    assert_eq!(device.ask_config().status, 200);
}

#[test]
fn nothing_is_no_quote_where_a_key_is_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_controller, mut device) = start(Options::new(folder.path()));
    device.attest_without_tpm();
    let keys = vec![AttestVolumeKey { key: vec![1], ..Default::default() }];
    let storage_keys = Some(AttestStorageKeys { integrity_token: device.token.clone(), keys });
    let stored = device.attest(&ZAttestReq { req_type: 4, storage_keys, ..Default::default() });
    assert_eq!(stored.storage_keys_resp.expect("an answer").response, 1);
    assert_eq!(attest_with_nothing(&mut device), Code::QuoteFailed);
}

#[test]
fn the_keys_of_a_tpm_stay_its_keys() {
    let folder = tempfile::tempdir().expect("a folder");
    let (controller, mut device) = start(Options::new(folder.path()));
    let (own, other) = ("ecdh.cert.pem", "device.cert.pem");
    // Two quote keys at once are one too many.
    assert_eq!(publish(&device, &[(own, Quote), (other, Quote)]), 404);
    assert_eq!(publish(&device, &[(own, Quote)]), 201);
    assert_eq!(attest(&mut device), Code::Success);
    assert_eq!(publish(&device, &[(other, Quote)]), 404);
    assert_eq!(publish(&device, &[(own, Quote), (other, Quote)]), 404);
    // What was refused replaced nothing.
    assert_eq!(attest(&mut device), Code::Success);
    assert_eq!(publish(&device, &[(own, Quote), (other, Endorsement)]), 201);
    assert_eq!(publish(&device, &[(own, Quote), (own, Endorsement)]), 404);
    // Not by way of a set without it, and not by way of a restart.
    assert_eq!(publish(&device, &[(own, Exchange)]), 201);
    assert_eq!(publish(&device, &[(other, Quote)]), 404);
    controller.shutdown();
    let (controller, mut device) = start(Options::new(folder.path()));
    assert_eq!(publish(&device, &[(other, Quote)]), 404);
    // A key exchange key is no key of the pair; it may change.
    assert_eq!(publish(&device, &[(own, Quote), (other, Exchange)]), 201);
    controller.readmit(device.uuid.expect("known")).expect("kept");
    assert_eq!(device.ask_uuid().status, 200);
    assert_eq!(publish(&device, &[(other, Quote)]), 201);
}

#[test]
fn a_refused_quote_ends_the_token() {
    type Spoil = fn(&mut ZAttestQuote);
    let spoilt: [(Spoil, Code); 4] = [
        (|quote| quote.pcr_values[0].value[0] ^= 1, Code::QuoteFailed),
        (|quote| quote.signature.truncate(9), Code::Invalid),
        (|quote| quote.pcr_values.clear(), Code::Invalid),
        (|_| {}, Code::NonceMismatch),
    ];
    let folder = tempfile::tempdir().expect("a folder");
    let (controller, mut device) = start(Options::new(folder.path()));
    assert_eq!(publish(&device, &[("ecdh.cert.pem", Quote)]), 201);
    for (spoil, wanted) in spoilt {
        assert_eq!(attest(&mut device), Code::Success);
        let mut nonce = nonce(&device);
        assert_eq!(device.ask_config().status, 200, "asking for a nonce costs nothing");
        assert!(is_attested(&controller, &device));
        if wanted == Code::NonceMismatch {
            nonce[0] ^= 1;
        }
        let mut quote = quoted(&device, &nonce);
        spoil(&mut quote);
        assert_eq!(judge(&device, quote).0, wanted);
        assert!(!is_attested(&controller, &device), "{wanted:?}");
        assert_eq!(device.ask_config().status, 403, "{wanted:?}");
        let storage_keys =
            Some(AttestStorageKeys { integrity_token: device.token.clone(), keys: Vec::new() });
        let stored = device.attest(&ZAttestReq { req_type: 4, storage_keys, ..Default::default() });
        assert_eq!(stored.storage_keys_resp.expect("an answer").response, 2, "ITOKEN_MISMATCH");
    }
}

#[test]
fn every_success_has_a_token_of_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_controller, mut device) = start(Options::new(folder.path()));
    device.attest_without_tpm();
    let first = std::mem::take(&mut device.token);
    device.attest_without_tpm();
    assert_eq!(device.ask_config().status, 200);
    device.token = first;
    assert_eq!(device.ask_config().status, 403);
}
