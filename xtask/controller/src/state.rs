//! Everything that changes while the controller runs, in one place behind one lock.
//!
//! Requests are answered here without any network: bytes in, bytes out, and records for the shell
//! to write and to show.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use proto_attest::Prediction;
use proto_eve::Message as _;
use proto_eve::wire::config::ConfigResponse;
use uuid::Uuid;

use crate::clock;
use crate::compile::{Surroundings, Versions, app_uuid, compile, config_hash};
use crate::desired::{ConfigError, Desired};
use crate::files::write_file;
use crate::measured;
use crate::observed::{DeviceView, Event, LogLine, Observed, Violation};
use crate::options::Options;
use crate::pki::{Pki, SigningKey};
use crate::registry::{Device, Registry};
use crate::repeats::Repeats;

/// Subjects of which the last event is remembered.
const TOLD: usize = 256;

/// Something for the journals, the page and the terminal.
#[derive(Debug, Clone)]
pub(crate) enum Record {
    Event(Event),
    Violation(Violation),
    Log(LogLine),
    /// An accepted message, and the journal it belongs to.
    Message(&'static str, serde_json::Value),
    /// The same, with a line for the terminal.
    Metrics(String, serde_json::Value),
    /// A device or an object changed.
    Changed,
}

/// The controller's state.
pub(crate) struct State {
    pub(crate) pki: Pki,
    pub(crate) signing: SigningKey,
    pub(crate) registry: Registry,
    pub(crate) observed: Observed,
    /// Which log lines came.
    pub(crate) repeats: Repeats,
    /// What the file says; `None` until it was right for the first time.
    pub(crate) desired: Option<Desired>,
    pub(crate) config_errors: Vec<ConfigError>,
    pub(crate) versions: Versions,
    versions_path: PathBuf,
    served: BTreeMap<Uuid, Served>,
    /// `http://host:port` of the own datastore as devices see it.
    pub(crate) own_url: String,
    /// URL of the device API, by which content is reached over TLS, too.
    pub(crate) api_url: String,
    /// Path of the configuration file, for the page.
    pub(crate) config_name: String,
    /// When the controller started, so that a page notices another one behind the same port.
    pub(crate) started_ms: i64,
    pub(crate) records: Vec<Record>,
    /// Identifiers of the last requests: each request has to bring a fresh one.
    pub(crate) request_ids: VecDeque<String>,
    /// What devices are expected to measure: one of these. Nothing is compared if there is none.
    pub(crate) expected: Vec<Prediction>,
    /// Whether what a device measures is learned when it is seen first, if nothing is expected.
    pub(crate) learns: bool,
    /// Folder of the event logs of accepted quotes.
    pub(crate) event_logs: PathBuf,
    /// What was told last about each subject, so that it is told once.
    pub(crate) told: BTreeMap<String, String>,
}

/// A compiled configuration, kept until something changes.
#[derive(Clone)]
pub(crate) struct Served {
    pub(crate) version: u64,
    pub(crate) hash: String,
    /// Serialized `ConfigResponse`.
    pub(crate) response: Vec<u8>,
}

impl State {
    pub(crate) fn open(options: &Options) -> Result<Self> {
        let folder = &options.state;
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let names = [
            options.server_name.clone(),
            "localhost".into(),
            "127.0.0.1".into(),
            options.guest_address.to_string(),
        ];
        let pki = Pki::open(&folder.join("pki"), &names)?;
        let registry = Registry::open(&folder.join("devices.json"))?;
        let versions_path = folder.join("versions.json");
        let mut observed = Observed::default();
        for device in registry.devices() {
            observed.devices.insert(device.uuid, view_of(device));
        }
        Ok(Self {
            signing: pki.signing_key()?,
            pki,
            registry,
            observed,
            repeats: Repeats::default(),
            desired: None,
            config_errors: Vec::new(),
            versions: read_versions(&versions_path)?,
            versions_path,
            served: BTreeMap::new(),
            own_url: String::new(),
            api_url: String::new(),
            started_ms: clock::now_ms(),
            config_name: folder.join("config.toml").display().to_string(),
            records: Vec::new(),
            request_ids: VecDeque::new(),
            expected: options.expected.iter().map(|file| measured::read(file)).collect::<Result<_>>()?,
            learns: options.learn,
            event_logs: folder.join("eventlogs"),
            told: BTreeMap::new(),
        })
    }

    /// The file of the event log of the last quote of a device that was accepted.
    pub(crate) fn event_log(&self, device: Uuid) -> PathBuf {
        self.event_logs.join(format!("{device}.log"))
    }

    /// Takes a new reading of the configuration file. Errors leave the old one in force.
    pub(crate) fn take_config(&mut self, reading: Result<Desired, Vec<ConfigError>>) -> Result<()> {
        match reading {
            Ok(desired) => {
                let recovered = !self.config_errors.is_empty();
                self.config_errors.clear();
                if self.versions.advance(&desired, clock::now_ms() / 1000) {
                    write_file(&self.versions_path, &serde_json::to_vec_pretty(&self.versions)?)?;
                    let names: Vec<&str> = desired.apps.iter().map(|app| app.name.as_str()).collect();
                    let mut what = if names.is_empty() { "no apps".into() } else { names.join(", ") };
                    if let Some(base) = &desired.base {
                        let idle = if base.activate { "" } else { ", not to be activated" };
                        what.push_str(&format!("; base OS {}{idle}", base.version));
                    }
                    self.event(format!("configuration version {} ({what})", self.versions.version));
                } else if recovered {
                    self.event(format!("configuration version {} again", self.versions.version));
                }
                self.desired = Some(desired);
                self.served.clear();
            }
            Err(errors) => {
                if errors != self.config_errors {
                    for error in &errors {
                        self.event(format!("{error}; version {} stays in force", self.versions.version));
                    }
                }
                self.config_errors = errors;
            }
        }
        self.records.push(Record::Changed);
        Ok(())
    }

    /// The configuration of a device; `None` as long as there is none.
    pub(crate) fn config_of(&mut self, device: Uuid) -> Option<&Served> {
        let desired = self.desired.as_ref()?;
        let versions = &self.versions;
        let around = Surroundings {
            device,
            own_url: &self.own_url,
            own_tls_url: &self.api_url,
            ca: &self.pki.ca.cert,
            certs_hash: self.pki.certs_hash(),
        };
        Some(self.served.entry(device).or_insert_with(|| {
            let config = compile(desired, versions, &around);
            let hash = config_hash(&config);
            let response = ConfigResponse { config: Some(config), config_hash: hash.clone() };
            Served { version: versions.version, hash, response: response.encode_to_vec() }
        }))
    }

    /// Name of the application with this UUID on this device, if the configuration has it.
    pub(crate) fn app_name(&self, device: Uuid, app: Uuid) -> Option<String> {
        let apps = &self.desired.as_ref()?.apps;
        apps.iter().find(|known| app_uuid(device, &known.name) == app).map(|known| known.name.clone())
    }

    /// Forgets compiled configurations, because something that they contain changed.
    pub(crate) fn recompile(&mut self) {
        self.served.clear();
    }

    /// Notes a life event of the controller.
    pub(crate) fn event(&mut self, text: String) {
        self.note(None, text);
    }

    /// Notes a life event of a device. The start of its UUID is enough to tell a few apart.
    pub(crate) fn device_event(&mut self, device: Uuid, text: String) {
        self.note(Some(device), format!("{}: {text}", device_name(device)));
    }

    fn note(&mut self, device: Option<Uuid>, text: String) {
        let event = Event { at_ms: clock::now_ms(), device, text };
        self.observed.push_event(event.clone());
        self.records.push(Record::Event(event));
    }

    /// Notes an event about a subject, unless it is what was noted about it last.
    pub(crate) fn tell_once(&mut self, subject: String, text: String) {
        if self.told.get(&subject) == Some(&text) {
            return;
        }
        if self.told.len() >= TOLD {
            self.told.clear();
        }
        self.event(text.clone());
        self.told.insert(subject, text);
    }

    /// Notes a deviation from the protocol.
    pub(crate) fn violation(&mut self, violation: Violation) {
        self.observed.push_violation(violation.clone());
        self.records.push(Record::Violation(violation));
    }

    /// What is known of a device, to be changed.
    pub(crate) fn view(&mut self, device: Uuid) -> &mut DeviceView {
        self.records.push(Record::Changed);
        self.observed
            .devices
            .entry(device)
            .or_insert_with(|| DeviceView { uuid: device, ..Default::default() })
    }
}

/// How events call a device.
pub(crate) fn device_name(device: Uuid) -> String {
    format!("device {:.8}", device.to_string())
}

/// What is known of a device that was registered earlier.
pub(crate) fn view_of(device: &Device) -> DeviceView {
    DeviceView {
        uuid: device.uuid,
        serial: device.serial.clone(),
        soft_serial: device.soft_serial.clone(),
        registered_ms: device.registered_ms,
        certified_from: device.certificate().and_then(|own| own.valid_from()).unwrap_or_default(),
        attested: device.token.is_some(),
        escrowed: device.keys.len(),
        ..DeviceView::default()
    }
}

fn read_versions(path: &Path) -> Result<Versions> {
    if !path.exists() {
        return Ok(Versions::default());
    }
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))
}
