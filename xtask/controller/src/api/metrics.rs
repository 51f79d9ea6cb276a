//! `POST metrics`: counters of the device and of its applications.

use proto_eve::wire::metrics::{
    AppCpuMetric, AppMetric, DeviceMetric, ZMetricMsg, z_metric_msg::MetricContent,
};
use uuid::Uuid;

use super::{Answer, Notes, check_sender, check_time, decode};
use crate::clock;
use crate::journal::whole;
use crate::observed::{AppMetrics, DeviceMetrics, OBJECTS, ObjectKind, ObjectView};
use crate::refusal::Refusal;
use crate::route::canonical_uuid;
use crate::state::{Record, State, device_name};

/// How much older than now a message may be that was sent when it was made. A device may keep them while nobody listens.
const WAITED_MS: i64 = 60_000;

/// Takes one round of counters; 201.
pub(super) fn serve(
    state: &mut State,
    device: Uuid,
    payload: &[u8],
    notes: &mut Notes,
) -> Result<Answer, Refusal> {
    let message: ZMetricMsg = decode(payload, "ZMetricMsg")?;
    check_sender(&message.dev_id, device)?;
    let at_ms = check_time(message.at_time_stamp.as_ref(), "atTimeStamp")?;
    let Some(MetricContent::Dm(metric)) = &message.metric_content else {
        return Err(Refusal::message("the ZMetricMsg has no metrics of the device"));
    };
    for app in &message.am {
        if canonical_uuid(&app.app_id).is_none() {
            return Err(Refusal::message(format!("\"{:.80}\" does not identify an app", app.app_id)));
        }
    }
    // One that has waited, or was made ahead of that, tells nothing of what the device should have by now.
    let waited = at_ms.saturating_add(WAITED_MS) < clock::now_ms();
    let view = state.observed.devices.get(&device);
    let configured =
        view.is_some_and(|view| view.config_confirmed.is_some() && view.config_since_ms <= at_ms);
    let configured = configured && !waited;
    check_device(metric, configured, notes);
    check_apps(state, device, metric, &message.am, configured, notes);
    let gist = DeviceMetrics {
        at_ms,
        used_mib: metric.memory.as_ref().map_or(0, |memory| memory.used_mem),
        available_mib: metric.memory.as_ref().map_or(0, |memory| memory.avail_mem),
        sent_bytes: metric.network.iter().map(|port| port.tx_bytes).fold(0, u64::saturating_add),
        received_bytes: metric.network.iter().map(|port| port.rx_bytes).fold(0, u64::saturating_add),
        apps: message.am.iter().take(OBJECTS).map(app_gist).collect(),
    };
    let record = serde_json::json!({
        "at": clock::rfc3339(at_ms), "device": device, "metrics": gist, "message": whole(&message),
    });
    state.records.push(Record::Metrics(line(device, &gist), record));
    state.view(device).metrics = Some(gist);
    Ok(Answer::empty(201))
}

/// One line for the terminal.
fn line(device: Uuid, gist: &DeviceMetrics) -> String {
    let mut line = format!(
        "{}: metrics: {} MiB used, {} MiB free; {} bytes sent, {} received",
        device_name(device),
        gist.used_mib,
        gist.available_mib,
        gist.sent_bytes,
        gist.received_bytes
    );
    for app in &gist.apps {
        let ms = app.cpu_ns / 1_000_000;
        line += &format!("; app {}: {} of {} MiB, {ms} ms of CPU", app.name, app.used_mib, app.allocated_mib);
    }
    line
}

fn app_gist(app: &AppMetric) -> AppMetrics {
    AppMetrics {
        id: app.app_id.clone(),
        name: app.app_name.clone(),
        cpu_ns: app.cpu.as_ref().map_or(0, |cpu| cpu.total_ns),
        allocated_mib: app.app_memory.as_ref().map_or(0, |memory| memory.allocated_mb),
        used_mib: app.app_memory.as_ref().map_or(0, |memory| memory.used_mb),
    }
}

/// What metrics of a device have to carry; they are accepted without, and remarked upon.
/// `configured`: the device had its configuration when they were made.
fn check_device(metric: &DeviceMetric, configured: bool, notes: &mut Notes) {
    // One that runs by what it has kept has processed a configuration, and received none since its agent began.
    let received = metric.last_received_config.is_some() || metric.last_processed_config.is_some();
    for (right, what) in [
        (metric.memory.is_some(), "memory of the device is missing"),
        (metric.device_memory.is_some(), "deviceMemory is missing"),
        (metric.cpu_metric.is_some(), "cpuMetric of the device is missing"),
        (!metric.network.is_empty(), "network of the device is empty"),
        (!metric.zedcloud.is_empty(), "zedcloud is empty"),
        (metric.newlog.is_some(), "newlog is missing"),
        (metric.dormant_time_in_seconds > 0, "dormant_time_in_seconds is 0"),
        (!configured || received, "last_received_config is missing"),
        (!configured || metric.last_processed_config.is_some(), "last_processed_config is missing"),
        (metric.cpu_metric.as_ref().is_none_or(fits), "cpuMetric: total is not totalNs in seconds"),
    ] {
        if !right {
            notes.remark(format!("ZMetricMsg: {what}"));
        }
    }
}

/// The two forms of a CPU time are the same time.
fn fits(cpu: &AppCpuMetric) -> bool {
    cpu.total == cpu.total_ns / 1_000_000_000
}

/// When the device began, by the clock of this machine: the device counts its seconds since then. Long ago, if it does
/// not tell.
fn start_ms(metric: &DeviceMetric) -> i64 {
    let up = metric.cpu_metric.as_ref().and_then(|cpu| cpu.up_time.as_ref());
    up.map_or(i64::MIN, |up| clock::now_ms().saturating_sub(up.seconds.saturating_mul(1000)))
}

/// There is one for each application that the device has reported to run since it began, if it had its configuration when
/// they were made. One that did not run, or ran in an earlier start, need not be there: its part of the configuration waits
/// as long as the storage is locked, also when the device's agent has ended meanwhile.
fn check_apps(
    state: &State,
    device: Uuid,
    metric: &DeviceMetric,
    apps: &[AppMetric],
    configured: bool,
    notes: &mut Notes,
) {
    for app in apps {
        let id = &app.app_id;
        let named = canonical_uuid(id).and_then(|id| state.app_name(device, id));
        for (right, what) in [
            (named.is_none_or(|name| name == app.app_name), "its AppName is not the configured one"),
            (app.cpu.is_some(), "cpu is missing"),
            (app.cpu.as_ref().is_none_or(fits), "cpu: total is not totalNs in seconds"),
            (app.app_memory.is_some(), "appMemory is missing"),
        ] {
            if !right {
                notes.remark(format!("ZMetricMsg: app {id}: {what}"));
            }
        }
    }
    let Some(view) = state.observed.devices.get(&device).filter(|_| configured) else { return };
    let since = start_ms(metric);
    let reported = |object: &&ObjectView| {
        let runs = object.kind == ObjectKind::App && !object.deleted && object.state == "RUNNING";
        runs && object.updated_ms >= since
    };
    for object in view.objects.values().filter(reported) {
        let is_wanted = canonical_uuid(&object.id).and_then(|id| state.app_name(device, id)).is_some();
        if is_wanted && !apps.iter().any(|app| app.app_id == object.id) {
            notes.remark(format!("ZMetricMsg: app {} is reported, and has no metrics", object.id));
        }
    }
}
