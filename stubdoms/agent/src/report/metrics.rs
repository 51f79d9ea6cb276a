//! Metrics: counters of the device and of each application, one message a period, never repeated.

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
        AppCpuMetric, AppMemoryMetric, AppMetric, DeviceMemoryMetric, DeviceMetric, MemoryMetric,
        NetworkMetric, NewlogMetric, UrlcloudMetric, ZMetricMsg, ZedcloudMetric, z_metric_msg::MetricContent,
    },
};

use super::logs::Logs;
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

impl Traffic {
    pub(crate) fn sent(&mut self, action: &'static str, bytes: usize) {
        let path = self.paths.entry(action).or_default();
        path.tries += 1;
        path.try_bytes += i64::try_from(bytes).unwrap_or(0);
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
        path.milliseconds += i64::try_from(took.as_millis()).unwrap_or(0);
        if let Some(received) = received {
            path.sent += 1;
            path.sent_bytes += i64::try_from(sent).unwrap_or(0);
            path.answers += 1;
            path.answer_bytes += i64::try_from(received).unwrap_or(0);
        }
        if success {
            self.successes += 1;
            self.last_success = now.wall;
        } else {
            self.failures += 1;
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
    pub(crate) traffic: &'a Traffic,
    pub(crate) verify_failures: u64,
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
        }
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

    /// The message is under way; the next one comes after the interval, whatever becomes of it.
    pub(crate) fn sent(&mut self, now: Instant, random: &mut Random) {
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
        let cpu_ns = self.usage.values().fold(0_u64, |sum, usage| sum.saturating_add(usage.cpu_ns));
        DeviceMetric {
            memory: Some(memory(used, total)),
            system_services_memory_mb: Some(memory(services_kib, total)),
            network: vec![network(view)],
            zedcloud: vec![cloud(view)],
            cpu_metric: Some(cpu(now, cpu_ns)),
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
                ..cpu(now, usage.map_or(0, |usage| usage.cpu_ns))
            }),
            app_memory: Some(AppMemoryMetric {
                allocated_mb: mib(app.memory_in_use_kib()),
                used_mb: mib(usage.map_or(0, |usage| usage.memory_kib)),
            }),
            ..AppMetric::default()
        }
    }
}

fn cpu(now: Now, total_ns: u64) -> AppCpuMetric {
    // A duration since boot, written as if it were a time.
    let uptime = time::timestamp(i64::try_from(now.monotonic_ns / 1_000_000_000).unwrap_or(0), 0);
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
