//! Metrics: counters of the device and of each application, one message a period, which waits in the [`spool`] until the
//! controller has it.

#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
mod piece;
pub(crate) mod spool;

use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};
use core::time::Duration;

use proto_eve::{
    Message, Timestamp, time,
    uuid::Uuid,
    wire::metrics::{
        AppCpuMetric, AppMemoryMetric, AppMetric, DeviceMemoryMetric, DeviceMetric, MemoryMetric, MetricItem,
        MetricItemType, NetworkMetric, NewlogMetric, UrlcloudMetric, ZMetricMsg, ZedcloudMetric,
        metric_item::MetricItemValue, z_metric_msg::MetricContent,
    },
};

use proto_svc::storage::Status;

use super::{ciphers::Ciphers, disk, logs::Logs, losses::Losses};
use crate::{
    clock::{Instant, Now, Random, WallTime},
    provision::DeviceFacts,
    reconcile::domains::Apps,
    uplink::{PortConfig, Uplink},
};

/// How long the shell may take to tell usage before the message goes without it.
const COLLECTING: Duration = Duration::from_secs(2);
const MAX_DOMAINS: usize = 128;

/// The machine, as dom0 sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// All memory, in KiB.
    pub memory_kib: u64,
    /// Memory that no domain has, in KiB.
    pub free_kib: u64,
    /// Physical CPUs that are on-line.
    pub cpus: u32,
    /// Memory that applications may have together, in KiB; 0 if it is not told.
    pub app_memory_kib: u64,
}

/// What one domain has used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainUsage {
    /// Name of the service or application.
    pub name: String,
    /// The application, if it is one.
    pub app: Option<Uuid>,
    /// Memory that Xen counts for it, in KiB.
    pub memory_kib: u64,
    /// CPU time since its start, in nanoseconds.
    pub cpu_ns: u64,
}

/// Exchanges with the controller, for one path.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PathCounters {
    tries: i64,
    try_bytes: i64,
    sent: i64,
    sent_bytes: i64,
    answers: i64,
    answer_bytes: i64,
    milliseconds: i64,
}

/// Exchanges with the controller.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    paths: BTreeMap<&'static str, PathCounters>,
    failures: u64,
    successes: u64,
    last_failure: Option<WallTime>,
    last_success: Option<WallTime>,
}

/// The last parts of the paths that are counted, in the order in which they are noted: new ones at the end.
const ACTIONS: [&str; 9] =
    ["config", "info", "metrics", "newlogs", "apps/newlogs", "attest", "certs", "uuid", "register"];

impl PathCounters {
    fn fields(&mut self) -> [&mut i64; 7] {
        let Self { tries, try_bytes, sent, sent_bytes, answers, answer_bytes, milliseconds } = self;
        [tries, try_bytes, sent, sent_bytes, answers, answer_bytes, milliseconds]
    }
}

impl Traffic {
    /// What a later life of the agent has to know of it.
    pub(crate) fn counters(&self) -> impl Iterator<Item = u64> {
        let paths = ACTIONS.iter().flat_map(|action| {
            let mut path = self.paths.get(action).copied().unwrap_or_default();
            path.fields().map(|counter| u64::try_from(*counter).unwrap_or(0))
        });
        [self.failures, self.successes].into_iter().chain(paths)
    }

    /// Takes what an earlier life left.
    pub(crate) fn recall(&mut self, counters: &mut impl Iterator<Item = u64>) {
        self.failures = counters.next().unwrap_or(0);
        self.successes = counters.next().unwrap_or(0);
        for action in ACTIONS {
            let mut path = PathCounters::default();
            for (field, counter) in path.fields().into_iter().zip(&mut *counters) {
                *field = i64::try_from(counter).unwrap_or(i64::MAX);
            }
            // Paths that were never used are not reported.
            if path.tries > 0 {
                self.paths.insert(action, path);
            }
        }
    }

    pub(crate) fn sent(&mut self, action: &'static str, bytes: usize) {
        let path = self.paths.entry(action).or_default();
        path.tries = path.tries.saturating_add(1);
        path.try_bytes = path.try_bytes.saturating_add(i64::try_from(bytes).unwrap_or(0));
    }

    pub(crate) fn ended(
        &mut self,
        now: Now,
        action: &'static str,
        sent: usize,
        received: Option<usize>,
        took: Duration,
        success: bool,
    ) {
        let path = self.paths.entry(action).or_default();
        path.milliseconds = path.milliseconds.saturating_add(i64::try_from(took.as_millis()).unwrap_or(0));
        if let Some(received) = received {
            path.sent = path.sent.saturating_add(1);
            path.sent_bytes = path.sent_bytes.saturating_add(i64::try_from(sent).unwrap_or(0));
            path.answers = path.answers.saturating_add(1);
            path.answer_bytes = path.answer_bytes.saturating_add(i64::try_from(received).unwrap_or(0));
        }
        if success {
            self.successes = self.successes.saturating_add(1);
            self.last_success = now.wall;
        } else {
            self.failures = self.failures.saturating_add(1);
            self.last_failure = now.wall;
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The device is not onboarded.
    Off,
    /// Until the next period.
    Idle { next: Instant },
    /// Usage was asked for.
    Collecting { until: Instant },
}

#[derive(Debug)]
pub(crate) struct Metrics {
    phase: Phase,
    interval: Duration,
    machine: Machine,
    usage: BTreeMap<String, DomainUsage>,
    cpu: CpuTime,
}

/// CPU time of all domains since boot. Each counts from its own start, so what one had is not lost when it ends.
#[derive(Debug, Default)]
struct CpuTime {
    total: u64,
    /// What the domains had together when they were looked at last.
    sum: u64,
    /// What each had; nothing yet in this life of the agent.
    each: Option<BTreeMap<String, u64>>,
}

impl CpuTime {
    fn look(&mut self, usage: &BTreeMap<String, DomainUsage>) {
        // The end of an answer that was given up.
        if usage.is_empty() {
            return;
        }
        let sum = usage.values().fold(0_u64, |sum, usage| sum.saturating_add(usage.cpu_ns));
        // Who ended together with the earlier life is not known; the sum is never told to fall.
        let mut more = sum.saturating_sub(self.sum);
        if let Some(before) = &self.each {
            more = usage.values().fold(0, |more: u64, usage| {
                // One that has less than before is there anew.
                let before = before.get(&usage.name).and_then(|before| usage.cpu_ns.checked_sub(*before));
                more.saturating_add(before.unwrap_or(usage.cpu_ns))
            });
        }
        // Those of which nothing is told are remembered: it may be told late.
        let each = self.each.get_or_insert_default();
        if each.len() > MAX_DOMAINS {
            each.retain(|name, _| usage.contains_key(name));
        }
        each.extend(usage.values().map(|usage| (usage.name.clone(), usage.cpu_ns)));
        self.total = self.total.saturating_add(more);
        self.sum = sum;
    }
}

/// What metrics are made of, besides usage.
pub(crate) struct View<'a> {
    pub(crate) facts: &'a DeviceFacts,
    pub(crate) device: &'a Uuid,
    pub(crate) server: &'a str,
    pub(crate) uplink: &'a Uplink,
    pub(crate) port: &'a PortConfig,
    pub(crate) apps: &'a Apps,
    pub(crate) logs: &'a Logs,
    /// Messages before this one that the controller will never have.
    pub(crate) lost: u32,
    pub(crate) losses: &'a Losses,
    /// What storage says of itself and its disk.
    pub(crate) storage: Option<&'a Status>,
    pub(crate) traffic: &'a Traffic,
    pub(crate) verify_failures: u64,
    pub(crate) ciphers: &'a Ciphers,
    pub(crate) received: Option<Timestamp>,
    pub(crate) processed: Option<Timestamp>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            phase: Phase::Off,
            interval: Duration::from_secs(60),
            machine: Machine::default(),
            usage: BTreeMap::new(),
            cpu: CpuTime::default(),
        }
    }

    /// What a later life of the agent has to know.
    pub(crate) fn counters(&self) -> impl Iterator<Item = u64> + use<> {
        [self.cpu.total, self.cpu.sum].into_iter()
    }

    /// Takes what an earlier life left.
    pub(crate) fn recall(&mut self, counters: &mut impl Iterator<Item = u64>) {
        self.cpu.total = counters.next().unwrap_or(0);
        self.cpu.sum = counters.next().unwrap_or(0);
    }

    /// The UUID is known.
    pub(crate) fn begin(&mut self, now: Instant) {
        if self.phase == Phase::Off {
            self.phase = Phase::Idle { next: now };
        }
    }

    /// A shorter interval counts at once, a longer one after the next success.
    pub(crate) fn configure(&mut self, now: Instant, interval: Duration) {
        if interval < self.interval {
            self.interval = interval;
            if let Phase::Idle { next } = &mut self.phase {
                *next = (*next).min(now.after(interval));
            }
        }
    }

    pub(crate) fn machine(&self) -> Machine {
        self.machine
    }

    pub(crate) fn on_usage(&mut self, usage: DomainUsage) {
        if self.usage.len() < MAX_DOMAINS || self.usage.contains_key(&usage.name) {
            self.usage.insert(usage.name.clone(), usage);
        }
    }

    /// The machine's numbers come last, so the picture is complete.
    pub(crate) fn on_machine(&mut self, now: Instant, machine: Machine) {
        self.machine = machine;
        self.cpu.look(&self.usage);
        if let Phase::Collecting { until } = &mut self.phase {
            *until = (*until).min(now);
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Off => None,
            Phase::Idle { next } => Some(next),
            Phase::Collecting { until } => Some(until),
        }
    }

    /// Tells whether usage is to be asked for now.
    pub(crate) fn step(&mut self, now: Instant) -> bool {
        match self.phase {
            Phase::Idle { next } if next <= now => {
                self.usage.clear();
                self.phase = Phase::Collecting { until: now.after(COLLECTING) };
                true
            }
            _ => false,
        }
    }

    pub(crate) fn due(&self, now: Instant) -> bool {
        matches!(self.phase, Phase::Collecting { until } if until <= now)
    }

    /// The message is made; the next one comes after the interval, whatever becomes of it.
    pub(crate) fn made(&mut self, now: Instant, random: &mut Random) {
        self.phase = Phase::Idle { next: now.after(random.share(self.interval, 300, 1000)) };
    }

    pub(crate) fn on_success(&mut self, interval: Duration) {
        self.interval = interval;
    }

    pub(crate) fn message(&self, now: Now, view: &View<'_>) -> Vec<u8> {
        ZMetricMsg {
            dev_id: view.device.to_string(),
            at_time_stamp: now.timestamp(),
            am: view.apps.iter().map(|app| self.app(now, app)).collect(),
            metric_content: Some(MetricContent::Dm(self.device(now, view))),
            ..ZMetricMsg::default()
        }
        .encode_to_vec()
    }

    fn device(&self, now: Now, view: &View<'_>) -> DeviceMetric {
        let machine = self.machine;
        let total = if machine.memory_kib == 0 { view.facts.memory_mib * 1024 } else { machine.memory_kib };
        let used = total.saturating_sub(machine.free_kib);
        let (apps_kib, services_kib) =
            self.usage.values().fold((0_u64, 0_u64), |(apps, services), usage| match usage.app {
                Some(_) => (apps.saturating_add(usage.memory_kib), services),
                None => (apps, services.saturating_add(usage.memory_kib)),
            });
        DeviceMetric {
            memory: Some(memory(used, total)),
            system_services_memory_mb: Some(memory(services_kib, total)),
            network: vec![network(view)],
            zedcloud: vec![cloud(view)],
            disk: disk::metrics(view.storage),
            cpu_metric: Some(cpu(now.monotonic_ns.saturating_sub(view.facts.began_ns), self.cpu.total)),
            metric_items: vec![
                counter("metrics.lost", view.lost.into()),
                counter("log.lost_lines", view.losses.lines),
                counter("consoles.lost_bytes", view.losses.console_bytes),
            ],
            cipher: view.ciphers.message(),
            newlog: Some(newlog(view.logs)),
            device_memory: Some(DeviceMemoryMetric {
                memory_mb: mib(total),
                allocated_apps_mb: mib(apps_kib),
                allocated_eve_mb: mib(services_kib),
                used_eve_mb: mib(services_kib),
            }),
            last_received_config: view.received,
            last_processed_config: view.processed,
            dormant_time_in_seconds: 3 * self.interval.as_secs(),
            ..DeviceMetric::default()
        }
    }

    fn app(&self, now: Now, app: &crate::reconcile::domains::App) -> AppMetric {
        let usage = self.usage.values().find(|usage| usage.app.is_some() && usage.app == app.uuid());
        AppMetric {
            app_id: app.id.clone(),
            app_version: app.version.clone(),
            app_name: app.name.clone(),
            cpu: Some(AppCpuMetric {
                up_time: app.booted.filter(|_| app.is_running()).zip(now.wall).map(|(booted, wall)| {
                    let seconds = wall.seconds.saturating_sub(booted.seconds);
                    time::timestamp(i64::try_from(seconds).unwrap_or(0), 0)
                }),
                ..cpu(0, usage.map_or(0, |usage| usage.cpu_ns))
            }),
            app_memory: Some(AppMemoryMetric {
                allocated_mb: mib(app.memory_in_use_kib()),
                used_mb: mib(usage.map_or(0, |usage| usage.memory_kib)),
            }),
            ..AppMetric::default()
        }
    }
}

fn cpu(up_ns: u64, total_ns: u64) -> AppCpuMetric {
    // A duration since boot, written as if it were a time.
    let uptime = time::timestamp(i64::try_from(up_ns / 1_000_000_000).unwrap_or(0), 0);
    AppCpuMetric { up_time: Some(uptime), total: total_ns / 1_000_000_000, system_total: 0, total_ns }
}

fn memory(used_kib: u64, total_kib: u64) -> MemoryMetric {
    let available = total_kib.saturating_sub(used_kib);
    let percentage = |kib: u64| if total_kib == 0 { 0.0 } else { kib as f64 * 100.0 / total_kib as f64 };
    MemoryMetric {
        used_mem: mib(used_kib),
        avail_mem: mib(available),
        used_percentage: percentage(used_kib.min(total_kib)),
        avail_percentage: percentage(available),
    }
}

fn mib(kib: u64) -> u32 {
    u32::try_from(kib / 1024).unwrap_or(u32::MAX)
}

fn port_name(view: &View<'_>) -> String {
    view.port.label.clone().unwrap_or_else(|| view.facts.port.clone())
}

fn network(view: &View<'_>) -> NetworkMetric {
    let counters = view.uplink.counters;
    NetworkMetric {
        i_name: port_name(view),
        local_name: view.uplink.interface.clone(),
        tx_bytes: counters.tx_bytes,
        tx_pkts: counters.tx_packets,
        tx_drops: counters.tx_drops,
        rx_bytes: counters.rx_bytes,
        rx_pkts: counters.rx_packets,
        rx_drops: counters.rx_drops,
        ..NetworkMetric::default()
    }
}

fn cloud(view: &View<'_>) -> ZedcloudMetric {
    let traffic = view.traffic;
    ZedcloudMetric {
        if_name: port_name(view),
        failures: traffic.failures,
        success: traffic.successes,
        last_failure: traffic.last_failure.map(WallTime::timestamp),
        last_success: traffic.last_success.map(WallTime::timestamp),
        auth_verify_failure: view.verify_failures,
        url_metrics: traffic
            .paths
            .iter()
            .map(|(action, path)| UrlcloudMetric {
                url: format!("{}/{action}", view.server),
                try_msg_count: path.tries,
                try_byte_count: path.try_bytes,
                sent_msg_count: path.sent,
                sent_byte_count: path.sent_bytes,
                recv_msg_count: path.answers,
                recv_byte_count: path.answer_bytes,
                total_time_spent: path.milliseconds,
                sess_resume_count: 0,
            })
            .collect(),
    }
}

/// What is missing, as an item of our own among those that the API leaves to devices.
fn counter(key: &str, value: u64) -> MetricItem {
    MetricItem {
        key: key.into(),
        r#type: MetricItemType::MetricItemCounter as i32,
        metric_item_value: Some(MetricItemValue::Uint64Value(value)),
    }
}

fn newlog(logs: &Logs) -> NewlogMetric {
    NewlogMetric {
        failed_to_send: logs.backlog() > 25,
        total_bytes_upload: logs.uploaded_bytes,
        num4xx_responses: logs.refused,
        gzip_files_removed: logs.lost_files,
        too_many_request: logs.too_many,
        ..NewlogMetric::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(all: &[(&str, u64)]) -> BTreeMap<String, DomainUsage> {
        let one = |name: &str, cpu_ns| DomainUsage { name: name.into(), app: None, memory_kib: 1, cpu_ns };
        all.iter().map(|(name, cpu_ns)| (String::from(*name), one(name, *cpu_ns))).collect()
    }

    #[test]
    fn cpu_time_of_those_that_ended_still_counts() {
        let mut cpu = CpuTime::default();
        for (all, total) in [
            (&[("net", 10), ("hello", 5)][..], 15),
            (&[("net", 12), ("hello", 5)], 17),
            // net is there anew, hello is gone.
            (&[("net", 3)], 20),
            (&[("net", 3), ("hello", 1)], 21),
            (&[], 21),
            (&[("net", 4), ("hello", 1)], 22),
            (&[("net", 4)], 22),
        ] {
            cpu.look(&usage(all));
            assert_eq!(cpu.total, total, "{all:?}");
        }
        // A later life of the agent, whose own time begins anew.
        let mut later = CpuTime { total: cpu.total, sum: cpu.sum, each: None };
        later.look(&usage(&[("net", 2)]));
        assert_eq!(later.total, 22);
        later.look(&usage(&[("net", 5), ("hello", u64::MAX)]));
        assert_eq!(later.total, u64::MAX);
    }
}
