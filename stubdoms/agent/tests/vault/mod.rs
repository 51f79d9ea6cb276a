//! Stories with a vault: who the device is, and the storage's key over updates, with and without the controller's help.

use proto_eve::{
    Message,
    wire::{
        certs::ZCertType,
        common::{CipherBlock, CipherContext, EncryptionBlock},
        info::{AttestationState, BootReason, DataSecAtRestStatus, HwSecurityModuleStatus, PcrStatus},
        metrics::CipherError,
    },
};
use proto_svc::storage::SlotState;
use proto_tpm::{Aes256Cfb, ids::Code};
use sha2::{Digest, Sha256};
use stubdoms_agent::{AttestState, BootCause, Stage, VaultEvent};

use crate::{updates, world::*};

const OPEN: i32 = DataSecAtRestStatus::DatasecAtRestEnabled as i32;
const LOCKED: i32 = DataSecAtRestStatus::DatasecAtRestError as i32;

/// What the last report says of the storage: its state, and the text.
fn at_rest(world: &World) -> (i32, String) {
    let info = world.device_info().data_sec_at_rest_info.as_ref().unwrap();
    let vault = &info.vault_list[0];
    assert_eq!((vault.name.as_str(), vault.status), ("Application Data Store", info.status));
    assert_eq!(vault.pcr_status, PcrStatus::PcrEnabled as i32);
    let error = vault.vault_err.as_ref().map(|error| error.description.clone());
    assert_eq!(error, (info.status == LOCKED).then(|| info.info.clone()));
    (info.status, info.info.clone())
}

fn states(world: &World) -> [SlotState; 2] {
    world.storage.as_ref().unwrap().states()
}

/// The escrow that the controller has, once.
fn escrows(world: &World) -> usize {
    world.controller.escrow.len()
}

#[test]
fn a_device_with_a_tpm_onboards_attests_and_reports_its_vault() {
    let mut world = World::with_vault(false);
    world.run(60);
    assert_eq!(at_rest(&world), (OPEN, "the key is sealed by the TPM".into()));
    let device = world.device_info();
    assert_eq!(device.hsm_status, HwSecurityModuleStatus::Enabled as i32);
    assert_eq!(device.attestation_info.as_ref().unwrap().state, AttestationState::Complete as i32);
    assert_eq!((escrows(&world), world.controller.published.len()), (1, 3));
    // The next start is the same device, and opens by itself.
    let known = world.controller.device.clone();
    world.controller.escrow.clear();
    world.reset(BootCause::Unknown);
    world.run(60);
    assert_eq!((world.controller.device.clone(), at_rest(&world).0, escrows(&world)), (known, OPEN, 1));
    assert_eq!(world.vault.as_ref().unwrap().fresh, 1);
}

/// As EVE leaves it on a device with a TPM.
#[test]
fn a_provisioned_certificate_without_its_key_keeps_no_device_with_a_tpm_from_its_work() {
    let mut world = World::with_vault(false);
    let known = world.controller.device.clone();
    for (certificate, key) in [(file("device.pem"), Vec::new()), (Vec::new(), file("device.key.pem"))] {
        (world.files.device_cert, world.files.device_key) = (certificate, key);
        world.reset(BootCause::Unknown);
        world.run(60);
        assert_eq!((world.controller.device.clone(), at_rest(&world).0), (known.clone(), OPEN));
    }
}

/// Storage has told who the device is before the vault told its keys, as a TPM that is slow has it.
#[test]
fn a_device_that_knows_who_it_is_ahead_of_its_keys_publishes_and_attests_with_them() {
    let mut world = World::with_vault(false);
    world.controller.published.clear();
    world.vault_is_late = true;
    world.reset(BootCause::Unknown);
    world.run(20);
    assert_eq!((world.agent.stage(), world.agent.attestation()), (Stage::Known, AttestState::None));
    world.agent.on_vault(world.now(), VaultEvent::There);
    world.run(20);
    assert_eq!((world.agent.attestation(), world.controller.published.len()), (AttestState::Complete, 3));
}

/// The controller is told when a store was not believed, and has the new key's escrow.
#[test]
fn a_key_that_somebody_has_planted_is_told_of_and_not_escrowed() {
    let mut world = World::with_vault(false);
    world.run(60);
    let known = world.controller.device.clone();
    world.controller.escrow.clear();
    world.vault.as_mut().unwrap().plant([0x5a; 32]);
    world.reset(BootCause::Unknown);
    world.run(60);
    let (status, text) = at_rest(&world);
    assert_eq!(status, OPEN);
    assert!(
        text.starts_with("the key is sealed by the TPM; what lay there had its key in the clear"),
        "{text}"
    );
    assert_eq!((world.controller.device.clone(), world.vault.as_ref().unwrap().fresh), (known, 2));
    // What is escrowed tells the key's digest.
    let planted: [u8; 32] = Sha256::digest([0x5a; 32]).into();
    let escrow = &world.controller.escrow;
    assert!(
        !escrow.is_empty() && escrow.iter().all(|key| !key.key.windows(32).any(|bytes| bytes == planted))
    );
}

#[test]
fn nobody_hears_of_a_device_before_what_makes_it_this_one_is_kept() {
    let mut world = World::with_vault_that(false, |vault| vault.refuse(Some((Code::NvWrite, 0x14b))));
    world.run(3600);
    assert_eq!(world.agent.stage(), Stage::Register);
    assert!(
        world.controller.trace.iter().all(|line| line.starts_with("certs")),
        "{:?}",
        world.controller.trace
    );
    // A reset changes nothing: it is nobody yet.
    world.reset(BootCause::Unknown);
    world.run(60);
    world.vault.as_ref().unwrap().refuse(None);
    world.run_until("the configuration", |world| world.agent.has_config());
    let known = world.controller.device.clone();
    assert!(known.is_some());
    world.reset(BootCause::Unknown);
    world.run_until("the configuration", |world| world.agent.has_config());
    assert_eq!(world.controller.device, known);
}

#[test]
fn an_update_that_locks_the_vault_has_the_key_back_from_the_controller_and_seals_it_anew() {
    let mut world = World::with_vault(false);
    world.run(30);
    let stored = world.storage.as_ref().unwrap().values.clone();
    assert!(!stored.is_empty());
    updates::order(&mut world, "0.2.0");
    world.run_until("the reset", |world| world.resets == 1);
    assert!(!world.storage.as_ref().unwrap().open, "it does not open by itself");
    // Held up before it is attested, it says what is the matter.
    let answer = core::mem::replace(&mut world.controller.quote_answer, 4);
    world.run(20);
    let (status, text) = at_rest(&world);
    assert_eq!((status, text.as_str()), (LOCKED, "other measurements than when it was sealed, in PCR 4 13"));
    world.controller.quote_answer = answer;
    world.run_until("the storage is open", |world| world.storage.as_ref().unwrap().open);
    world.run(30);
    assert_eq!(at_rest(&world).0, OPEN);
    assert_eq!((world.vault.as_ref().unwrap().fresh, escrows(&world)), (1, 1), "it is the same key");
    world.run_until("the commit", |world| states(world)[1] == SlotState::Active);
    assert_eq!(world.resets, 1);
    // It is sealed to this version now: the next start asks nobody.
    world.controller.escrow.clear();
    world.reset(BootCause::Unknown);
    world.run(60);
    assert_eq!((at_rest(&world).0, world.vault.as_ref().unwrap().fresh), (OPEN, 1));
    for (name, value) in
        stored.iter().filter(|(name, _)| !["boots", "boots.number", "update", "config"].contains(&&***name))
    {
        assert!(world.storage.as_ref().unwrap().values.contains_key(name), "{name} {}", value.len());
    }
}

#[test]
fn an_update_whose_vault_stays_locked_falls_back_and_says_why() {
    let mut world = World::with_vault(false);
    world.after_order = BootCause::Ordered;
    world.run(30);
    world.controller.escrow.clear();
    world.controller.forgets_keys = true;
    updates::order(&mut world, "0.2.0");
    world.run_until("the reset", |world| world.resets == 1);
    world.run_until("the configuration", |world| world.agent.has_config());
    let since = world.seconds();
    world.run_until("the fallback", |world| world.resets == 2);
    let patience = world.now_of_last_reset() - since;
    assert!((300..330).contains(&patience), "{patience}");
    world.run(60);
    assert_eq!(world.storage.as_ref().unwrap().running_version(), "0.1.0");
    assert_eq!(world.device_info().last_boot_reason, BootReason::VaultFailed as i32);
    assert_eq!((at_rest(&world).0, world.vault.as_ref().unwrap().fresh), (OPEN, 1));
}

#[test]
fn a_storage_whose_key_nobody_has_begins_anew_only_if_the_provisioning_allows_it() {
    for allowed in [false, true] {
        let mut world = World::with_vault(allowed);
        world.run(30);
        world.controller.escrow.clear();
        world.controller.forgets_keys = true;
        // Other firmware, say.
        world.firmware = "other".into();
        world.reset(BootCause::Unknown);
        world.run(200);
        let vault = world.vault.as_ref().unwrap();
        assert_eq!((vault.fresh, at_rest(&world).0), if allowed { (2, OPEN) } else { (1, LOCKED) });
        // Not under test: it waits for a person.
        world.run(400);
        assert_eq!((world.resets, world.device_info().maintenance_mode), (1, !allowed));
    }
}

#[test]
fn a_lock_out_of_the_tpm_is_waited_for_and_nothing_is_thrown_away() {
    let mut world = World::with_vault(true);
    world.run(30);
    world.controller.forgets_keys = true;
    world.controller.escrow.clear();
    world.vault.as_ref().unwrap().refuse(Some((Code::Load, 0x921)));
    world.reset(BootCause::Unknown);
    world.run(250);
    let (status, text) = at_rest(&world);
    assert!(status == LOCKED && text.contains("the TPM refuses Load: response code 0x921"), "{text}");
    world.vault.as_ref().unwrap().refuse(None);
    world.run(320);
    assert_eq!((at_rest(&world).0, world.vault.as_ref().unwrap().fresh), (OPEN, 1));
}

/// Encrypted as a controller does it for this device: the key of its certificate and the controller's share a point.
fn encrypted(world: &World, secret: &EncryptionBlock) -> CipherBlock {
    let exchange = file("exchange.pem");
    let der = proto_eve::pem::certificates(&exchange).unwrap().remove(0);
    let proto_eve::key::PublicKey::P256(key) = proto_eve::key::PublicKey::of_certificate(&der).unwrap()
    else {
        panic!("P-256")
    };
    let (x, y) = world.vault.as_ref().unwrap().shared(key.to_sec1_point(false).as_bytes());
    let mut data = secret.encode_to_vec();
    let clear_text_sha256 = Sha256::digest(&data).to_vec();
    Aes256Cfb::new(&Sha256::digest([x, y].concat()).into(), &[7; 16]).encrypt(&mut data);
    CipherBlock {
        cipher_context_id: "context".into(),
        initial_value: vec![7; 16],
        cipher_data: data,
        clear_text_sha256,
    }
}

#[test]
fn secrets_for_the_device_are_opened_by_its_vault_and_counted() {
    let mut world = World::with_vault(false);
    world.run(60);
    let ecdh = ZCertType::CertTypeDeviceEcdhExchange as i32;
    let published = world.controller.published.iter().find(|cert| cert.r#type == ecdh).unwrap();
    let context = CipherContext {
        context_id: "context".into(),
        hash_scheme: 1,
        key_exchange_scheme: 1,
        encryption_scheme: 1,
        device_cert_hash: published.cert_hash.clone(),
        controller_cert_hash: Sha256::digest(file("exchange.pem").trim_ascii())[..16].to_vec(),
    };
    let of_store = encrypted(&world, &EncryptionBlock { ds_password: "pass".into(), ..Default::default() });
    let mut of_app = encrypted(&world, &EncryptionBlock::default());
    of_app.clear_text_sha256[0] ^= 1;
    world.controller.edit(|config| {
        config.cipher_contexts = vec![context];
        config.datastores[0].cipher_data = Some(of_store);
        config.apps[0].cipher_data = Some(of_app);
    });
    world.run(7300);
    let ciphers = &world.device_metrics().cipher;
    let of = |agent: &str| ciphers.iter().find(|metric| metric.agent_name == agent).unwrap();
    // The first configuration had neither.
    let count = |agent: &str, error: CipherError| {
        let counter = of(agent).tc.iter().find(|counter| counter.error_code == error as i32);
        counter.map_or(0, |counter| counter.count)
    };
    assert_eq!((of("downloader").success_count, count("downloader", CipherError::NoData)), (1, 1));
    assert_eq!((of("domainmgr").success_count, of("domainmgr").failure_count), (0, 3));
    for error in [CipherError::NoData, CipherError::DecryptFailed, CipherError::MissingFallback] {
        assert_eq!(count("domainmgr", error), 1, "{error:?}");
    }
    assert!(of("downloader").last_success.is_some() && of("domainmgr").last_failure.is_some());
}
