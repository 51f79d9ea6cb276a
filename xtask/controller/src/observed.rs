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
const STEPS: usize = 128;
const BOOTS: usize = 64;

/// Everything seen since the controller started.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// Registered devices.
    pub devices: BTreeMap<Uuid, DeviceView>,
    /// Log lines of devices and applications, oldest first, each once.
    pub logs: VecDeque<LogLine>,
    /// Those that came again, which is nobody's fault: a file whose arrival the device does not know of is sent again.
    pub repeated: VecDeque<LogLine>,
    /// The number of the last line, and of the last one that is forgotten.
    last_line: u64,
    forgotten: u64,
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
    /// The first second since 1970 in which its own certificate is valid.
    pub certified_from: i64,
    /// Its last authenticated request, milliseconds since 1970; 0 if there was none since the start.
    pub last_seen_ms: i64,
    /// Whether it holds an integrity token.
    pub attested: bool,
    /// Its last quote by a TPM.
    pub quote: Option<QuoteView>,
    /// Log lines that came again, of it and of its applications.
    pub repeated_lines: u64,
    /// Keys that are kept for it.
    pub escrowed: usize,
    /// Version of the configuration that it was sent last.
    pub config_sent: Option<u64>,
    /// Version of the configuration that it said to have.
    pub config_confirmed: Option<u64>,
    /// When it first said so in this life of it or of its agent, milliseconds since 1970.
    pub config_since_ms: i64,
    /// Its last device information.
    pub info: Option<DeviceInfo>,
    /// Its last metrics.
    pub metrics: Option<DeviceMetrics>,
    /// What it told of the versions of its system, oldest first: each change, as it was after it.
    pub updates: Vec<SlotStep>,
    /// Its starts, as far as it told of them here, oldest first.
    pub boots: Vec<BootView>,
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
    /// What differs from what is expected: the PCR, and its first event that does.
    pub differences: Vec<(u32, String)>,
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
    /// Whether its storage is encrypted: `ENABLED`, `DISABLED`, `ERROR`, `UNKNOWN`.
    pub storage_status: String,
    /// What its keys and its storage are kept in.
    pub vaults: Vec<VaultView>,
    /// Version of the system that is to run, in the device's words: that of the slot that is activated.
    pub version: String,
    /// Its slots: the one that runs, the other one, and a version that waits, if there is one.
    pub slots: Vec<SlotView>,
    /// When it booted, milliseconds since 1970.
    pub boot_ms: i64,
    /// Why: `REBOOT_CMD`, `UNKNOWN` and their like.
    pub boot_reason: String,
    /// The same in the device's words.
    pub boot_text: String,
    /// When it ended before that, milliseconds since 1970; 0 if it does not say.
    pub ended_ms: i64,
    /// Its starts, as it counts them.
    pub restarts: u32,
    /// By what it tells this start from others; 0 if it does not.
    pub start: u32,
    /// Whether an IOMMU confines what its devices reach.
    pub confined: bool,
    /// Its disks by model, each with its state: `ONLINE` and its like.
    pub disks: Vec<(String, String)>,
    /// Whether it has a watchdog in hardware.
    pub watchdog: bool,
    /// The counter of its reboot command, as it echoes it.
    pub reboot_counter: u32,
    /// The same of its shutdown command.
    pub shutdown_counter: u32,
    /// The counter `retry` of its base OS, as it echoes it.
    pub retry_counter: u32,
    /// Addresses of its ports.
    pub addresses: Vec<String>,
    /// Its ports.
    pub ports: Vec<PortView>,
    /// Items of the configuration that it could not use: key, reason.
    pub item_errors: Vec<(String, String)>,
    /// Reasons of maintenance mode.
    pub maintenance: Vec<String>,
}

/// A slot of a device, and the version in it or on its way there. The words are those of the protocol.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct SlotView {
    /// `IMGA`, `IMGB`; empty for a version that waits.
    pub label: String,
    /// What the attributes of its partition say: `active`, `updating`, `inprogress`, `unused`.
    pub partition: String,
    /// The version, as it names itself.
    pub version: String,
    /// It is the one that is to run.
    pub activated: bool,
    /// `DOWNLOAD_STARTED`, `DELIVERED`, `INSTALLED` and their like.
    pub state: String,
    /// For people: `DOWNLOADING`, `UPDATING`, `UPDATED`, `FALLBACK`, `FAILED`, or empty.
    pub status: String,
    /// More of that: `UPDATE_TESTING` and its like, or empty.
    pub detail: String,
    /// The same in the device's words.
    pub detail_text: String,
    /// Percentage of the download, or in a test the seconds that are left.
    pub detail_progress: u32,
    /// Percentage of the download.
    pub progress: u32,
    /// What is wrong with it; empty if it is well.
    pub error: String,
}

impl SlotView {
    /// Whether it is this version, proven, and the one that runs.
    pub fn runs(&self, version: &str) -> bool {
        self.version == version && self.activated && self.partition == "active" && self.status == "UPDATED"
    }

    /// Whether this is another step than `before`: everything but progress counts.
    pub(crate) fn differs(&self, before: &Self) -> bool {
        let still = |slot: &Self| Self { progress: 0, detail_progress: 0, ..slot.clone() };
        still(self) != still(before)
    }
}

/// A change of a slot.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct SlotStep {
    /// When the device told, milliseconds since 1970.
    pub at_ms: i64,
    /// The slot after it.
    pub slot: SlotView,
}

/// A start of a device.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct BootView {
    /// Counted over all starts that were told here, from 1.
    pub number: u64,
    /// When, milliseconds since 1970, by the device's clock.
    pub boot_ms: i64,
    /// Why: `REBOOT_CMD`, `FALLBACK` and their like.
    pub reason: String,
    /// The same in the device's words.
    pub text: String,
    /// The version that was started.
    pub version: String,
    /// From which slot.
    pub label: String,
}

/// Where a device keeps what is secret.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct VaultView {
    /// Its name.
    pub name: String,
    /// `ENABLED`, `DISABLED`, `ERROR`, `UNKNOWN`.
    pub status: String,
    /// What is wrong with it; empty if it is well.
    pub error: String,
    /// Whether its key is bound to what was measured.
    pub measured: bool,
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
    /// Counted over all lines since the controller started, those that came again among them, from 1.
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
    /// It came before.
    #[serde(skip)]
    pub again: bool,
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

    /// The lines that came behind this number, in their order, those that came again among them. `None` when some of
    /// them are forgotten.
    pub fn arrived_behind(&self, number: u64) -> Option<Vec<&LogLine>> {
        if self.forgotten > number {
            return None;
        }
        let all = self.logs.iter().chain(&self.repeated);
        let mut lines: Vec<&LogLine> = all.filter(|line| line.number > number).collect();
        lines.sort_by_key(|line| line.number);
        Some(lines)
    }

    /// Numbers a line and keeps it.
    pub(crate) fn push_log(&mut self, mut line: LogLine) -> LogLine {
        self.last_line += 1;
        line.number = self.last_line;
        let lines = if line.again { &mut self.repeated } else { &mut self.logs };
        if let Some(oldest) = push(lines, line.clone(), LOG_LINES) {
            self.forgotten = self.forgotten.max(oldest.number);
        }
        line
    }

    pub(crate) fn push_event(&mut self, event: Event) {
        push(&mut self.events, event, EVENTS);
    }

    pub(crate) fn push_violation(&mut self, violation: Violation) {
        push(&mut self.violations, violation, VIOLATIONS);
    }
}

impl DeviceInfo {
    /// The slot that the running system was started from: devices name it first.
    pub fn running(&self) -> Option<&SlotView> {
        self.slots.first()
    }

    /// The slot with this version in it, or on its way there.
    pub fn slot_of(&self, version: &str) -> Option<&SlotView> {
        self.slots.iter().find(|slot| slot.version == version)
    }

    /// Whether this was told in another life of the device than `before`.
    ///
    /// It tells by a number of each start, if it has one. Otherwise its clock may have been set meanwhile, so that the time of the same start moves; its count of starts stays 0
    /// where there is nothing to keep it in, and is 0 until that was read: then count and reason change in the midst of
    /// a start.
    pub(crate) fn is_another_start(&self, before: &Self) -> bool {
        const CLOCK_SET_MS: i64 = 3000;
        if self.start != 0 && before.start != 0 {
            return self.start != before.start;
        }
        let read_late = (self.restarts == 0) != (before.restarts == 0);
        let same_time = self.boot_ms != 0 && self.boot_ms.abs_diff(before.boot_ms) <= CLOCK_SET_MS as u64;
        // Nothing but another start is of another slot.
        let label = |info: &Self| info.running().map(|slot| slot.label.clone());
        if read_late && same_time && label(self) == label(before) {
            return false;
        }
        self.told_of_start() != before.told_of_start() || self.boot_ms > before.boot_ms + CLOCK_SET_MS
    }

    /// What it tells of its start.
    pub(crate) fn told_of_start(&self) -> (u32, &str, &str) {
        (self.restarts, &self.boot_reason, &self.boot_text)
    }
}

impl DeviceView {
    /// Puts new device information in place of the last one, and notes what it says of starts and of slots.
    /// Returns the one before.
    pub(crate) fn inform(&mut self, info: DeviceInfo, at_ms: i64) -> Option<DeviceInfo> {
        let before = self.info.as_ref();
        if before.is_none_or(|before| info.is_another_start(before)) {
            let running = info.running().cloned().unwrap_or_default();
            let boot = BootView {
                number: self.boots.last().map_or(0, |last| last.number) + 1,
                boot_ms: info.boot_ms,
                reason: info.boot_reason.clone(),
                text: info.boot_text.clone(),
                version: running.version,
                label: running.label,
            };
            keep_last(&mut self.boots, boot, BOOTS);
        } else if info.restarts > 0
            && let Some(last) = self.boots.last_mut()
        {
            // The reason as it is known since what the device keeps was read.
            (last.reason, last.text) = (info.boot_reason.clone(), info.boot_text.clone());
        }
        for slot in &info.slots {
            let known = before.and_then(|before| before.slots.iter().find(|known| known.label == slot.label));
            if known.is_none_or(|known| slot.differs(known)) {
                keep_last(&mut self.updates, SlotStep { at_ms, slot: slot.clone() }, STEPS);
            }
        }
        self.info.replace(info)
    }

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

fn keep_last<T>(list: &mut Vec<T>, item: T, bound: usize) {
    if list.len() >= bound {
        list.remove(0);
    }
    list.push(item);
}

/// Keeps an item, and gives the one that has to go for it.
fn push<T>(queue: &mut VecDeque<T>, item: T, bound: usize) -> Option<T> {
    let oldest = if queue.len() >= bound { queue.pop_front() } else { None };
    queue.push_back(item);
    oldest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(label: &str, version: &str, partition: &str, status: &str) -> SlotView {
        SlotView {
            label: label.into(),
            version: version.into(),
            partition: partition.into(),
            status: status.into(),
            activated: label == "IMGA",
            ..SlotView::default()
        }
    }

    #[test]
    fn each_change_of_a_slot_is_a_step_and_progress_is_none() {
        let mut view = DeviceView::default();
        let info = |other: SlotView| DeviceInfo {
            slots: vec![slot("IMGA", "1", "active", "UPDATED"), other],
            ..DeviceInfo::default()
        };
        let fetching = |progress| SlotView { progress, ..slot("IMGB", "2", "unused", "DOWNLOADING") };
        assert_eq!(view.inform(info(slot("IMGB", "", "unused", "")), 1), None);
        for (at, progress) in [(2, 0), (3, 40), (4, 100)] {
            view.inform(info(fetching(progress)), at);
        }
        view.inform(info(slot("IMGB", "2", "updating", "UPDATING")), 5);
        let steps: Vec<_> =
            view.updates.iter().map(|step| (step.at_ms, step.slot.partition.as_str())).collect();
        assert_eq!(steps, [(1, "active"), (1, "unused"), (2, "unused"), (5, "updating")]);
        let info = view.info.as_ref().expect("told");
        assert!(info.slot_of("1").is_some_and(|slot| slot.runs("1") && !slot.runs("2")));
        assert_eq!(info.slots[1].progress, 0);
        for at in 0..1000 {
            let word = if at % 2 == 0 { "updating" } else { "unused" };
            view.inform(DeviceInfo { slots: vec![slot("IMGB", "2", word, "")], ..DeviceInfo::default() }, at);
        }
        assert_eq!((view.updates.len(), view.updates[STEPS - 1].at_ms), (STEPS, 999));
    }

    /// A vault that opens late: until then the device does not know how often it was started, nor what it has left to
    /// tell of the reason. Its agent may be another one in the midst of a start, too.
    #[test]
    fn a_count_that_is_read_late_makes_no_other_start() {
        let mut view = DeviceView::default();
        let told = |boot_ms, restarts, reason: &str| DeviceInfo {
            boot_ms,
            restarts,
            boot_reason: reason.into(),
            ..DeviceInfo::default()
        };
        for (info, boots, reason) in [
            (told(100_000, 0, "UNKNOWN"), 1, "UNKNOWN"),
            (told(100_900, 7, "REBOOT_CMD"), 1, "REBOOT_CMD"),
            (told(99_000, 0, "UNKNOWN"), 1, "REBOOT_CMD"),
            (told(100_000, 7, "REBOOT_CMD"), 1, "REBOOT_CMD"),
            (told(130_000, 0, "UNKNOWN"), 2, "UNKNOWN"),
            (told(160_000, 9, "UPDATE"), 3, "UPDATE"),
            (told(160_000, 10, "UPDATE"), 4, "UPDATE"),
        ] {
            view.inform(info.clone(), 0);
            let last = view.boots.last().map(|boot| (boot.number, boot.reason.as_str()));
            assert_eq!(last, Some((boots, reason)), "{info:?}");
        }
        // A device without a clock that falls back, from a version whose vault never opened.
        for (label, restarts, boots) in [("IMGB", 0, 5), ("IMGA", 11, 6)] {
            let slots = vec![slot(label, "1", "active", "UPDATED")];
            view.inform(DeviceInfo { slots, ..told(160_000, restarts, "FALLBACK") }, 0);
            assert_eq!(view.boots.last().map(|boot| boot.number), Some(boots));
        }
    }

    /// The same slot, no clock, and a storage that opens late in both: nothing but its number tells the second start.
    #[test]
    fn a_start_is_told_by_its_number() {
        let mut view = DeviceView::default();
        let told = |boot_ms, restarts, start| DeviceInfo {
            boot_ms,
            restarts,
            start,
            boot_reason: "UNKNOWN".into(),
            slots: vec![slot("IMGA", "1", "active", "UPDATED")],
            ..DeviceInfo::default()
        };
        for (info, boots) in [
            (told(160_000, 0, 5), 1),
            (told(160_000, 7, 5), 1),
            (told(160_000, 0, 6), 2),
            (told(160_000, 8, 6), 2),
            // The clock was set, and set again.
            (told(990_000, 8, 6), 2),
            (told(160_000, 8, 6), 2),
            // One that draws no number is told by the rest.
            (told(160_000, 9, 0), 3),
            (told(160_000, 10, 7), 4),
        ] {
            view.inform(info.clone(), 0);
            assert_eq!(view.boots.last().map(|boot| boot.number), Some(boots), "{info:?}");
        }
    }

    #[test]
    fn a_start_is_told_from_a_clock_that_was_set() {
        let mut view = DeviceView::default();
        let told = |boot_ms, restarts, reason: &str| DeviceInfo {
            boot_ms,
            restarts,
            boot_reason: reason.into(),
            slots: vec![slot("IMGA", "1", "active", "UPDATED")],
            ..DeviceInfo::default()
        };
        for (info, boots) in [
            (told(100_000, 0, "FIRST"), 1),
            (told(100_000, 0, "FIRST"), 1),
            (told(98_000, 0, "FIRST"), 1),
            (told(100_900, 0, "FIRST"), 1),
            (told(130_000, 0, "FIRST"), 2),
            (told(160_000, 1, "FIRST"), 3),
            (told(160_000, 2, "FIRST"), 4),
            (told(160_000, 2, "FALLBACK"), 5),
        ] {
            view.inform(info.clone(), 0);
            assert_eq!(view.boots.last().map(|boot| boot.number), Some(boots), "{info:?}");
        }
        let last = view.boots.last().expect("some");
        assert_eq!(
            (last.reason.as_str(), last.version.as_str(), last.label.as_str()),
            ("FALLBACK", "1", "IMGA")
        );
    }
}
