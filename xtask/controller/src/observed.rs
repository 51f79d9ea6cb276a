//! What the controller has seen: devices, their objects, log lines, events and violations.
//!
//! Everything is bounded, so that a talkative device cannot fill the memory; the journals in the
//! state folder keep the rest.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;
use uuid::Uuid;

/// Bounds of what is kept in memory.
const LOG_LINES: usize = 5000;
const EVENTS: usize = 500;
const VIOLATIONS: usize = 500;
pub(crate) const OBJECTS: usize = 256;
const STATES: usize = 64;

/// Everything seen since the controller started.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// Registered devices.
    pub devices: BTreeMap<Uuid, DeviceView>,
    /// Log lines of devices and applications, oldest first.
    pub logs: VecDeque<LogLine>,
    /// Life events, oldest first.
    pub events: VecDeque<Event>,
    /// Deviations from the protocol, oldest first.
    pub violations: VecDeque<Violation>,
    /// Requests answered so far, by status code.
    pub answers: BTreeMap<u16, u64>,
}

/// A registered device as it was last seen.
#[derive(Debug, Clone, Default, Serialize)]
pub struct DeviceView {
    /// Its UUID.
    pub uuid: Uuid,
    /// Hardware serial number, as it registered.
    pub serial: String,
    /// Soft serial, as it registered.
    pub soft_serial: String,
    /// When it registered, milliseconds since 1970.
    pub registered_ms: i64,
    /// Its last authenticated request, milliseconds since 1970; 0 if there was none since the start.
    pub last_seen_ms: i64,
    /// Whether it holds an integrity token.
    pub attested: bool,
    /// Its last quote by a TPM.
    pub quote: Option<QuoteView>,
    /// Keys that are kept for it.
    pub escrowed: usize,
    /// Version of the configuration that it was sent last.
    pub config_sent: Option<u64>,
    /// Version of the configuration that it said to have.
    pub config_confirmed: Option<u64>,
    /// Its last device information.
    pub info: Option<DeviceInfo>,
    /// Its last metrics.
    pub metrics: Option<DeviceMetrics>,
    /// Applications, volumes, content trees and other objects by their UUID (or digest).
    pub objects: BTreeMap<String, ObjectView>,
}

/// What was made of a quote.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct QuoteView {
    /// When it came, milliseconds since 1970.
    pub at_ms: i64,
    /// Whether it was accepted.
    pub trusted: bool,
    /// The verdict; where something differs from what is expected, with the event.
    pub verdict: String,
    /// What its event log is worth.
    pub log: String,
    /// The quoted values, in hexadecimal, by PCR.
    pub pcrs: Vec<(u32, String)>,
}

/// The gist of `ZInfoDevice`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct DeviceInfo {
    /// `x86_64`, `aarch64`.
    pub arch: String,
    /// Processors.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// `ONLINE` and its like.
    pub state: String,
    /// State of attestation.
    pub attestation: String,
    /// The TPM, in the device's words.
    pub tpm: String,
    /// The encrypted storage, in the device's words.
    pub storage: String,
    /// Version of the running system.
    pub version: String,
    /// When it booted, milliseconds since 1970.
    pub boot_ms: i64,
    /// Why: `REBOOT_CMD`, `UNKNOWN` and their like.
    pub boot_reason: String,
    /// Whether it has a watchdog in hardware.
    pub watchdog: bool,
    /// The counter of its reboot command, as it echoes it.
    pub reboot_counter: u32,
    /// Addresses of its ports.
    pub addresses: Vec<String>,
    /// Its ports.
    pub ports: Vec<PortView>,
    /// Items of the configuration that it could not use: key, reason.
    pub item_errors: Vec<(String, String)>,
    /// Reasons of maintenance mode.
    pub maintenance: Vec<String>,
}

/// A port of a device.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct PortView {
    /// Its label.
    pub name: String,
    /// Whether it has a link.
    pub up: bool,
    /// When the controller was last found to be reached through it, milliseconds since 1970; 0 if it was not.
    pub succeeded_ms: i64,
    /// When it was last found not to be, milliseconds since 1970; 0 if it never was.
    pub failed_ms: i64,
    /// What is wrong with it; empty if it is well.
    pub error: String,
}

/// The gist of an application's metrics.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct AppMetrics {
    /// Its UUID.
    pub id: String,
    /// Its name.
    pub name: String,
    /// CPU time since its start, in nanoseconds.
    pub cpu_ns: u64,
    /// Memory that it is given, in MiB.
    pub allocated_mib: u32,
    /// Memory that it has, in MiB.
    pub used_mib: u32,
}

/// The gist of `ZMetricMsg`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct DeviceMetrics {
    /// When they came, milliseconds since 1970.
    pub at_ms: i64,
    /// Memory of the device in MiB: used, available.
    pub used_mib: u32,
    /// Available memory in MiB.
    pub available_mib: u32,
    /// Bytes sent and received over all ports.
    pub sent_bytes: u64,
    /// Bytes received over all ports.
    pub received_bytes: u64,
    /// Applications, as far as they are bounded.
    pub apps: Vec<AppMetrics>,
}

/// What kind of object an information message was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum ObjectKind {
    /// An application.
    #[default]
    App,
    /// A network instance.
    NetworkInstance,
    /// A volume.
    Volume,
    /// A content tree.
    ContentTree,
    /// A blob.
    Blob,
}

impl ObjectKind {
    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::NetworkInstance => "network",
            Self::Volume => "volume",
            Self::ContentTree => "content",
            Self::Blob => "blob",
        }
    }
}

/// An object of a device as it was last reported.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ObjectView {
    /// What it is.
    pub kind: ObjectKind,
    /// UUID, or the digest of a blob.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Name of its state in the protocol (`RUNNING`, `DELIVERED`), or empty.
    pub state: String,
    /// Texts of its errors; empty if it is well.
    pub errors: Vec<String>,
    /// Percentage of a download, where there is one.
    pub progress: u32,
    /// When it booted, milliseconds since 1970; 0 if it has not.
    pub boot_ms: i64,
    /// When it was last reported, milliseconds since 1970.
    pub updated_ms: i64,
    /// The device said that it is gone.
    pub deleted: bool,
    /// States in the order in which they were reported.
    pub states: Vec<String>,
}

/// A line of a log.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct LogLine {
    /// Counted over all lines since the controller started, from 1.
    pub number: u64,
    /// Which device sent it.
    pub device: Uuid,
    /// The application that wrote it; `None` for the device itself.
    pub app: Option<Uuid>,
    /// Name of that application.
    pub app_name: String,
    /// When it was written, milliseconds since 1970.
    pub at_ms: i64,
    /// `info`, `err` and their like.
    pub severity: String,
    /// Service, container or application.
    pub source: String,
    /// The line.
    pub content: String,
    /// Number within its source.
    pub msgid: u64,
}

/// Something that happened, as one line.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Event {
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// The device that it is about, if it is about one.
    pub device: Option<Uuid>,
    /// One line of text.
    pub text: String,
}

/// A deviation of a device from the protocol.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Violation {
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// The device, as far as it is known.
    pub device: Option<Uuid>,
    /// Method and path.
    pub request: String,
    /// Status code if the request was refused; `None` for a remark about an accepted one.
    pub refused: Option<u16>,
    /// What was wrong.
    pub reason: String,
}

impl Observed {
    /// The application called `name` on any device.
    pub fn app(&self, name: &str) -> Option<&ObjectView> {
        self.devices
            .values()
            .flat_map(|device| device.objects.values())
            .filter(|object| object.kind == ObjectKind::App && object.name == name)
            .max_by_key(|object| object.updated_ms)
    }

    /// Log lines of the application called `name`, oldest first.
    pub fn app_lines<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a LogLine> {
        self.logs.iter().filter(move |line| line.app.is_some() && line.app_name == name)
    }

    /// Log lines of devices themselves, oldest first.
    pub fn device_lines(&self) -> impl Iterator<Item = &LogLine> {
        self.logs.iter().filter(|line| line.app.is_none())
    }

    /// Numbers a line and keeps it.
    pub(crate) fn push_log(&mut self, mut line: LogLine) -> LogLine {
        line.number = self.logs.back().map_or(0, |last| last.number) + 1;
        push(&mut self.logs, line.clone(), LOG_LINES);
        line
    }

    pub(crate) fn push_event(&mut self, event: Event) {
        push(&mut self.events, event, EVENTS);
    }

    pub(crate) fn push_violation(&mut self, violation: Violation) {
        push(&mut self.violations, violation, VIOLATIONS);
    }
}

impl DeviceView {
    /// Puts a new report in place of the last one about the same object; returns the state before.
    pub(crate) fn report(&mut self, mut object: ObjectView) -> Option<ObjectView> {
        let before = self.objects.get(&object.id).cloned();
        if before.is_none() && self.objects.len() >= OBJECTS {
            let oldest = self.objects.values().min_by_key(|object| (!object.deleted, object.updated_ms));
            let oldest = oldest.map(|object| object.id.clone());
            oldest.map(|id| self.objects.remove(&id));
        }
        if let Some(before) = &before {
            object.states.clone_from(&before.states);
            if object.deleted {
                object.name.clone_from(&before.name);
            }
        }
        if object.states.last() != Some(&object.state) && !object.state.is_empty() {
            object.states.push(object.state.clone());
            if object.states.len() > STATES {
                object.states.remove(0);
            }
        }
        self.objects.insert(object.id.clone(), object);
        before
    }
}

fn push<T>(queue: &mut VecDeque<T>, item: T, bound: usize) {
    if queue.len() >= bound {
        queue.pop_front();
    }
    queue.push_back(item);
}
