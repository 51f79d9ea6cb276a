//! The vault's part: identity, quotes, the storage's key, secrets.

use alloc::{boxed::Box, vec::Vec};
use core::time::Duration;

use proto_errors::{Coded, agent as code, ctl};
use proto_eve::wire::config::EdgeDevConfig;
use proto_svc::vault::Request;

use super::{Agent, DeviceCommand};
use crate::{
    attest::TpmQuote,
    clock::{Instant, Now},
    identity,
    secrets::Openers,
    vault::{Told, VaultEvent},
};

/// How long dom0 may take to give the event log, without which the quote then goes.
const LOG_PATIENCE: Duration = Duration::from_secs(5);

/// A quote that waits for the event log, or the log for its quote.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    quote: Option<TpmQuote>,
    log: Option<Vec<u8>>,
    /// Until when the log is waited for.
    until: Option<Instant>,
}

impl Agent {
    /// Something of the vault.
    pub fn on_vault(&mut self, now: Now, event: VaultEvent) {
        self.now = now;
        self.dirty = true;
        match event {
            VaultEvent::There => self.vault.on_there(now.at()),
            VaultEvent::Gone => self.vault.on_gone(),
            VaultEvent::Changed => self.vault.look(),
            VaultEvent::Answer(answer) => {
                let told = self.vault.on_answer(now.at(), answer);
                self.on_told(told);
            }
        }
    }

    /// The next request to the vault. One is under way at a time.
    pub fn next_vault_request(&mut self) -> Option<Request> {
        self.vault.next_request(self.now.at())
    }

    /// The event log as it is now, in the TCG's crypto-agile form; empty if there is none. The answer to
    /// [`DeviceCommand::QueryEventLog`].
    pub fn on_event_log(&mut self, now: Now, log: Vec<u8>) {
        self.now = now;
        self.gathering.log = Some(log);
        self.pass_on_quote();
    }

    fn on_told(&mut self, told: Told) {
        let at = self.now.at();
        match told {
            Told::Nothing => {}
            Told::Status => {
                self.unlock();
                self.update_maintenance();
            }
            Told::Keys => self.settle_identity(),
            Told::Quote(Ok(quote)) => {
                self.gathering.quote = Some(quote);
                self.pass_on_quote();
            }
            Told::Quote(Err(reason)) => self.attest.on_quote(at, Err(reason)),
            Told::Escrow(escrow) => self.attest.on_escrow(at, escrow),
            Told::Shared(peer, point) => {
                if let Some(config) = self.secrets.on_point(peer, point) {
                    self.take_config(config);
                }
            }
        }
    }

    /// Moves what waits for the vault or for time.
    pub(super) fn step_vault(&mut self) {
        let at = self.now.at();
        self.vault.step(at);
        if self.identity_again.is_none_or(|again| again <= at) {
            self.settle_identity();
        }
        if self.vault.is_there()
            && let Some(nonce) = self.attest.wants_quote(at)
        {
            self.vault.quote(nonce);
            self.gathering = Gathering { until: Some(at.after(LOG_PATIENCE)), ..Gathering::default() };
            self.device_commands.push_back(DeviceCommand::QueryEventLog);
        }
        self.pass_on_quote();
    }

    pub(super) fn vault_deadline(&self) -> Option<Instant> {
        let log = self.gathering.until.filter(|_| self.gathering.quote.is_some());
        let locked = self.locked_deadline().filter(|_| !self.maintenance.vault_locked);
        [self.vault.deadline(), self.identity_again, log, locked].into_iter().flatten().min()
    }

    /// When a storage that stays locked puts the device into maintenance.
    fn locked_deadline(&self) -> Option<Instant> {
        let patience = self.properties.seconds("timer.vault.ready.cutoff");
        self.configured_at.filter(|_| self.vault.is_locked()).map(|since| since.after(patience))
    }

    /// Whether the storage has been locked for too long.
    pub(super) fn is_locked_up(&self) -> bool {
        self.locked_deadline().is_some_and(|deadline| deadline <= self.now.at())
    }

    /// Hands quote and log to attestation once both are here, or the log has taken too long.
    fn pass_on_quote(&mut self) {
        let Gathering { quote, log, until } = &mut self.gathering;
        if log.is_none() && until.is_none_or(|until| until > self.now.at()) {
            return;
        }
        let Some(mut quote) = quote.take() else { return };
        quote.event_log = log.take().unwrap_or_default();
        *until = None;
        self.attest.on_quote(self.now.at(), Ok(quote));
    }

    /// Makes the device's certificates, if they are to be made.
    pub(super) fn settle_identity(&mut self) {
        self.identity_again = None;
        if self.session.has_identity() || self.vault.is_keeping() {
            return;
        }
        let Some((keys, note)) = self.vault.identity() else { return };
        let has_tpm = self.vault.has_tpm();
        let sign = self.signer.clone();
        // A TPM's key goes before a file's.
        let provisioned = self.session.credentials().provisioned.as_ref().filter(|_| !has_tpm);
        let wall = self.time.settled(self.now);
        let issued = identity::issue(keys, provisioned, &sign, note, &mut self.begun, wall, &mut self.random);
        let issued = match issued {
            Ok(issued) => issued,
            Err(error) => {
                // Time servers are asked first.
                let waits = error == identity::NotIssued::NoClock && self.time.is_settling(self.now);
                if self.not_issued != Some(error) && !waits {
                    log::warn!("identity: no certificate yet: {}", error.told());
                }
                self.not_issued = Some(error).filter(|_| !waits);
                self.identity_again = Some(self.now.at().after(IDENTITY_AGAIN));
                return;
            }
        };
        if let Some(note) = &issued.note {
            // What is not kept would be another device after the next start: nobody hears of it before. Once it is
            // kept the same certificates are made again from it.
            self.vault.keep(note);
            return;
        }
        match issued.device {
            Some(device) => {
                let about = self.vault.status().map_or("", |status| status.about.as_str());
                if has_tpm {
                    log::info!("identity: the device's key is in the TPM ({about})");
                } else {
                    log::warn!(
                        "identity: there is no TPM; the device's key is software's, kept by the vault [{}]",
                        code::SOFTWARE_KEY
                    );
                    if let Some(half) = self.session.credentials().half_device {
                        log::error!(
                            "provisioning: {half}: that key is who the device is [{}]",
                            ctl::HALF_A_PAIR
                        );
                    }
                }
                self.device_commands
                    .push_back(DeviceCommand::ShowCertificate(device.certificate_pem().to_vec()));
                self.session.set_device(device);
            }
            None => {
                log::warn!(
                    "identity: there is no TPM; the device's key is the provisioned file [{}]",
                    code::SOFTWARE_KEY
                );
                self.device_commands.push_back(DeviceCommand::ShowProvisioned);
                self.session.use_provisioned();
            }
        }
        self.attest.equip(!issued.published.is_empty(), has_tpm);
        self.published = issued.published;
        self.ecdh_pem = issued.ecdh_pem;
        self.dirty = true;
        let at = self.now.at();
        // By what storage keeps it may be known already who we are: that round began without certificates and TPM.
        if self.session.uuid().is_some() {
            self.attest.begin(at);
        }
        self.onboard.hurry(at);
    }

    /// Gives the vault what the controller gave back, if the storage is locked.
    pub(super) fn unlock(&mut self) {
        if let Some(returned) = self.attest.take_returned() {
            self.returned = Some(returned);
        }
        self.never_anew |= self.attest.has_completed();
        let locked = self.vault.is_locked();
        if self.was_locked && !locked {
            log::info!("vault: the storage is open");
            // What was left out meanwhile is applied when it is fetched again.
            self.store.forget_hash();
            self.config.hurry(self.now.at());
        }
        self.was_locked = locked;
        if !locked {
            return;
        }
        match self.returned.take() {
            Some(Some(key)) => self.vault.recover(&key),
            Some(None) if self.session.credentials().allow_vault_clean && !self.never_anew => {
                log::warn!("vault: nobody has the storage's key; it begins anew [{}]", code::VAULT_LOCKED);
                self.vault.start_anew();
            }
            Some(None) => log::warn!(
                "vault: the controller does not have the storage's key either; it stays locked [{}]",
                code::VAULT_LOCKED
            ),
            None => {}
        }
    }

    /// Applies a configuration once its secrets can be opened.
    pub(super) fn take_config(&mut self, mut config: Box<EdgeDevConfig>) {
        let by = Openers { controller: self.session.certs(), device: self.ecdh_pem.as_deref() };
        let missing = self.secrets.missing(&config, by);
        if !missing.is_empty() && self.vault.expected {
            for point in &missing {
                self.vault.agree(point);
            }
            self.secrets.hold(config);
            return;
        }
        self.secrets.open(&mut config, by, self.now.wall);
        self.configured_at.get_or_insert(self.now.at());
        self.apply(&config, super::Origin::Controller);
        // A shorter interval counts from now on.
        let interval = self.properties.seconds("timer.config.interval");
        self.config.again(self.now.at(), interval, &mut self.random);
    }

    /// Whether what signs is there.
    pub(super) fn can_sign(&self) -> bool {
        self.session.has_identity() && (!self.session.signs_in_vault() || self.vault.is_there())
    }
}

/// How soon certificates that could not be made are tried again.
const IDENTITY_AGAIN: Duration = Duration::from_secs(5);
