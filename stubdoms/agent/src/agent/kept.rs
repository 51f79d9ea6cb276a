//! What outlives a start, and how the next one takes it up: identity, certificates, counters, the configuration.
//!
//! The controller is asked first. Only if it does not say what the configuration is, the last one is applied as it
//! was kept, in the envelope that the controller had signed; counters of commands are not looked at in it.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::time::Duration;

use proto_errors::{Coded, agent as code};
use proto_eve::{
    auth, config as config_messages, text,
    uuid::{Identity, Uuid},
    wire::config::EdgeDevConfig,
};

use super::Agent;
use crate::{
    boots::{Boots, Why},
    clock::Instant,
    keep::{Keep, Name},
    note::Commands,
    secrets::Openers,
};

/// How long the controller has to say what the configuration is before the last one is applied, if the question does
/// not fail earlier.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long storage has to say who the device is before the controller is asked.
const IDENTITY: Duration = Duration::from_secs(10);
/// How long storage has to say what it has of the log and of metrics before more of it is uploaded.
const SPOOL: Duration = Duration::from_secs(30);
const MAX_MODEL: usize = 256;

/// What the agent knows of earlier starts.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// An agent before this one in this start has left which commands it obeyed.
    pub(super) is_later_life: bool,
    /// This start, once it is known what was kept.
    pub(super) boots: Option<Boots>,
    /// The certificates of the controller, until there are newer ones.
    certs: Option<Vec<u8>>,
    /// The last configuration, and one that the device has lived with, until there is one from the controller.
    config: Option<Vec<u8>>,
    backup: Option<Vec<u8>>,
    has_backup: bool,
    /// When the configuration that is applied becomes the one that the device has lived with.
    proven: Option<(Instant, Vec<u8>)>,
    /// Until when storage is waited for to say who the device is.
    unknown_until: Option<Instant>,
    /// Since when the controller is waited for.
    since: Option<Instant>,
    /// A question for the configuration has failed.
    failed: bool,
    /// The answer that is being looked at has a configuration that was accepted.
    pub(super) accepted: bool,
    /// Counters of commands as the configuration had them before it was known what was kept.
    unobserved: Option<EdgeDevConfig>,
    /// Counters as they were kept last.
    commands: Option<Commands>,
    /// Why the machine is to be reset, from when that was decided.
    ending: Option<Why>,
}

impl Agent {
    /// The system has storage: what it keeps is waited for. To be called before the first poll.
    pub fn expect_storage(&mut self) {
        let now = self.now.at();
        self.keep = Keep::expecting(now);
        self.kept.unknown_until = Some(now.after(IDENTITY));
        self.logs.hold(now.after(SPOOL));
        self.spool.hold(now.after(SPOOL));
    }

    /// Moves files of the log and metrics messages to storage, and drops there what the controller has.
    pub(super) fn keep_spools(&mut self) {
        while let Some(name) = self.keep.next_stored() {
            match name {
                Name::Log(number) => self.logs.on_kept(number),
                Name::Metrics(number) => self.spool.on_kept(number),
                _ => {}
            }
        }
        while let Some(number) = self.logs.next_to_drop() {
            self.keep.drop(Name::Log(number));
        }
        while let Some(number) = self.spool.next_to_drop() {
            self.keep.drop(Name::Metrics(number));
        }
        if !self.keep.is_open() {
            return;
        }
        let (now, all) = (self.now.at(), self.logs_closed);
        if let Some((number, bytes)) = self.logs.next_to_keep(now, all) {
            self.keep.put(Name::Log(number), bytes);
        }
        if let Some((number, bytes)) = self.spool.next_to_keep(now, all) {
            self.keep.put(Name::Metrics(number), bytes);
        }
    }

    /// Until when the device does not ask who it is: storage may know.
    pub(super) fn unknown_until(&self) -> Option<Instant> {
        self.kept.unknown_until.filter(|_| !self.keep.is_settled())
    }

    /// It is known what was kept, or that there is nothing.
    pub(super) fn recall_kept(&mut self) {
        let fresh = !self.kept.is_later_life;
        let (boots, number) = (self.keep.take(Name::Boots), self.keep.take(Name::BootsNumber));
        // Storage may come when nobody expected it any more.
        if self.kept.boots.is_none() || boots.is_some() {
            let boots = Boots::new(boots.as_deref(), number.as_deref(), &self.facts, fresh);
            log::info!("device: start number {}: {}", boots.earlier.saturating_add(1), boots.began.text);
            self.keep.put(Name::Boots, boots.encode());
            self.keep.put(Name::BootsNumber, boots.encode_number());
            self.kept.boots = Some(boots);
        }
        let memory = self.keep.take(Name::Update);
        self.base_os.recall(memory.as_deref());
        self.recall_commands(fresh);
        self.recall_identity();
        self.kept.certs = self.keep.take(Name::Certs);
        self.kept.config = self.keep.take(Name::Config);
        self.kept.backup = self.keep.take(Name::ConfigBackup);
        self.kept.has_backup = self.kept.backup.is_some();
        self.kept.since = Some(self.now.at());
        while let Some((number, bytes)) = self.keep.take_log() {
            self.logs.restore(self.now.at(), number, &bytes);
        }
        while let Some((number, bytes)) = self.keep.take_metrics() {
            self.spool.restore(self.now.at(), number, &bytes);
        }
        if let Some(device) = self.session.uuid() {
            self.spool.belong_to(device);
        }
        if self.keep.is_absent() {
            self.logs.release();
            self.spool.release();
        } else {
            self.logs.settled();
            self.spool.settled();
        }
        self.recall_certs();
        self.dirty = true;
    }

    /// Counters: what dom0 was left in this start is newer than what was kept.
    fn recall_commands(&mut self, fresh: bool) {
        let kept = self.keep.take(Name::Commands).and_then(|kept| Commands::decode(&kept));
        if let Some(commands) = kept.filter(|_| fresh) {
            self.operations.recall(commands);
            self.kept.commands = Some(commands);
        }
        if let Some(config) = self.kept.unobserved.take() {
            self.observe_commands(&config);
        }
    }

    /// Looks at the commands of the controller's configuration. Tells whether the rest is to be skipped.
    pub(super) fn observe_commands(&mut self, config: &EdgeDevConfig) -> bool {
        if !self.keep.is_settled() {
            // Whether they are new nobody knows yet.
            self.kept.unobserved = Some(EdgeDevConfig {
                reboot: config.reboot.clone(),
                shutdown: config.shutdown.clone(),
                maintenance_mode: config.maintenance_mode,
                ..EdgeDevConfig::default()
            });
            self.operations.observe_maintenance(config);
            return false;
        }
        let skip = self.operations.observe(self.now.at(), config);
        let counters = self.operations.counters();
        if self.kept.commands != Some(counters) {
            // Ahead of the act, so that it is done once.
            self.keep.put(Name::Commands, counters.encode());
            self.kept.commands = Some(counters);
        }
        if let Some(commands) = self.operations.note().filter(|commands| self.noted != Some(*commands)) {
            self.noted = Some(commands);
            self.leave_note();
        }
        skip
    }

    fn recall_identity(&mut self) {
        let Some(kept) = self.keep.take(Name::Identity) else { return };
        let mut lines = core::str::from_utf8(&kept).unwrap_or("").split('\n');
        let uuid = lines.next().and_then(Uuid::parse);
        let model = |line: Option<&str>| text::bounded(line.unwrap_or(""), MAX_MODEL);
        let (manufacturer, product_name) = (model(lines.next()), model(lines.next()));
        if let (Some(uuid), None) = (uuid, self.session.uuid()) {
            log::info!("device: {uuid}, as it was onboarded in an earlier start");
            self.hold_reports();
            self.be_known(Identity { uuid, manufacturer, product_name });
        }
    }

    /// The controller has said who we are.
    pub(super) fn keep_identity(&mut self, identity: &Identity) {
        let Identity { uuid, manufacturer, product_name } = identity;
        self.keep.put(Name::Identity, format!("{uuid}\n{manufacturer}\n{product_name}").into_bytes());
    }

    fn recall_certs(&mut self) {
        if self.session.has_certs() {
            self.kept.certs = None;
        }
        // Without the time of day nobody can say whether they are valid.
        let Some(certs) = self.kept.certs.take_if(|_| self.now.wall.is_some()) else { return };
        match self.session.accept_certs(&certs, self.now) {
            Ok(_) => log::info!("controller certificates: those of an earlier start are valid"),
            Err(refused) => {
                log::warn!("controller certificates: those of an earlier start: {}", refused.told())
            }
        }
    }

    /// The controller's certificates are others than before.
    pub(super) fn keep_certs(&mut self, payload: Vec<u8>) {
        self.kept.certs = None;
        self.keep.put(Name::Certs, payload);
    }

    /// A question for the configuration has failed.
    pub(super) fn config_failed(&mut self) {
        self.kept.failed = true;
    }

    /// The configuration in this envelope was accepted.
    pub(super) fn keep_config(&mut self, envelope: Vec<u8>) {
        (self.kept.config, self.kept.backup) = (None, None);
        if !core::mem::replace(&mut self.kept.has_backup, true) {
            self.keep.put(Name::ConfigBackup, envelope.clone());
        }
        let lived = self.properties.seconds("timer.test.baseimage.update");
        self.kept.proven = Some((self.now.at().after(lived), envelope.clone()));
        self.keep.put(Name::Config, envelope);
    }

    /// Whether an answer's envelope is to be held until its content was accepted.
    pub(super) fn keeps(&self) -> bool {
        !self.keep.is_absent()
    }

    pub(super) fn kept_deadline(&self) -> Option<Instant> {
        let saved = self.kept.since.filter(|_| self.has_saved()).map(|since| since.after(PATIENCE));
        let proven = self.kept.proven.as_ref().map(|(at, _)| *at);
        crate::clock::earliest(saved, proven)
    }

    fn has_saved(&self) -> bool {
        let has = self.kept.config.is_some() || self.kept.backup.is_some();
        has && !self.store.has_config() && self.session.uuid().is_some()
    }

    /// Moves on with time.
    pub(super) fn step_kept(&mut self) {
        let now = self.now.at();
        if let Some((_, envelope)) = self.kept.proven.take_if(|(at, _)| *at <= now) {
            self.keep.put(Name::ConfigBackup, envelope);
        }
        let over = self.kept.since.is_some_and(|since| since.after(PATIENCE) <= now);
        if self.has_saved() && (self.kept.failed || over) {
            self.recall_certs();
            if self.session.has_certs() {
                self.apply_saved();
            }
        }
    }

    fn apply_saved(&mut self) {
        let crashed = self.kept.boots.as_ref().is_some_and(Boots::is_after_crash);
        let (last, backup) = (self.kept.config.take(), self.kept.backup.take());
        let order = if crashed { [backup, last] } else { [last, backup] };
        for envelope in order.into_iter().flatten() {
            match self.open_saved(&envelope) {
                Ok(mut config) => {
                    log::warn!(
                        "configuration: the controller has not said what it is; the last one is applied [{}]",
                        code::SAVED_CONFIG
                    );
                    // Of what is encrypted, as much as can be opened now.
                    let by = Openers { controller: self.session.certs(), device: self.ecdh_pem.as_deref() };
                    self.secrets.open(&mut config, by, self.now.wall);
                    return self.apply(&config, super::Origin::Saved);
                }
                Err(why) => {
                    log::warn!(
                        "configuration: the one that was kept is not used: {why} [{}]",
                        code::SAVED_BAD
                    )
                }
            }
        }
    }

    fn open_saved(&self, envelope: &[u8]) -> Result<EdgeDevConfig, String> {
        let certs = self.session.certs().ok_or_else(|| String::from("there is no certificate"))?;
        let payload = auth::open(envelope, certs.signing()).map_err(|error| error.to_string())?;
        let response = config_messages::parse_response(&payload).map_err(|error| error.to_string())?;
        let config = response.config.ok_or_else(|| String::from("it is empty"))?;
        let named = config.id.as_ref().and_then(|id| Uuid::parse(&id.uuid)).is_some();
        if !named {
            return Err(String::from("its id is not a UUID"));
        }
        let undated = config.config_timestamp.is_none() && self.store.last_applied().is_some();
        if undated || self.store.is_obsolete(&config) {
            return Err(String::from("a newer one was applied in this start"));
        }
        Ok(config)
    }

    /// Why the machine is being reset, for its next life: [`DeviceFacts::boot_order`](crate::DeviceFacts::boot_order).
    pub(super) fn reset_order(&self) -> Vec<u8> {
        self.kept.ending.as_ref().map(Why::encode).unwrap_or_default()
    }

    /// Ahead of a reset: puts its reason away, once. Tells whether that is done, or cannot be.
    pub(super) fn keep_ending(&mut self) -> bool {
        let Some(cause) = self.operations.cause() else { return true };
        if self.kept.ending.is_none() {
            // It is there now, and was not for long in any of its lives.
            let control = self.base_os.ends_again_and_again().then(|| String::from("control"));
            let missing = control.or_else(|| self.missing());
            self.kept.ending = Some(Why::of(cause, &self.facts.version, missing.as_deref(), self.now.wall));
        }
        let closed = self.desk.status().is_some_and(|status| !status.open);
        if !self.keep.is_settled() && !closed {
            // It counts on from what is being read. The reset does not wait for long.
            return false;
        }
        if let (Some(boots), Some(why)) = (&mut self.kept.boots, &self.kept.ending)
            && boots.end(why)
        {
            self.keep.put(Name::Boots, boots.encode());
        }
        let spooled = self.spool.is_safe(|number| self.keep.is_tried(Name::Metrics(number)));
        !self.keep.is_open() || spooled && self.keep.is_tried(Name::Boots) && self.keep.is_tried(Name::Update)
    }
}
