//! `POST metrics`: counters of the device and of its applications.

use proto_eve::wire::metrics::{ZMetricMsg, z_metric_msg::MetricContent};
use uuid::Uuid;

use super::{Answer, Notes, check_sender, check_time, decode};
use crate::clock;
use crate::observed::DeviceMetrics;
use crate::refusal::Refusal;
use crate::route::canonical_uuid;
use crate::state::{Record, State};

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
    if metric.memory.is_none() {
        notes.remark("ZMetricMsg: memory of the device is missing");
    }
    if metric.cpu_metric.is_none() {
        notes.remark("ZMetricMsg: cpuMetric of the device is missing");
    }
    let gist = DeviceMetrics {
        at_ms,
        used_mib: metric.memory.as_ref().map_or(0, |memory| memory.used_mem),
        available_mib: metric.memory.as_ref().map_or(0, |memory| memory.avail_mem),
        sent_bytes: metric.network.iter().map(|port| port.tx_bytes).fold(0, u64::saturating_add),
        received_bytes: metric.network.iter().map(|port| port.rx_bytes).fold(0, u64::saturating_add),
        apps: message.am.len(),
    };
    let record = serde_json::json!({ "at": clock::rfc3339(at_ms), "device": device, "metrics": gist });
    state.records.push(Record::Message("metrics", record));
    state.view(device).metrics = Some(gist);
    Ok(Answer::empty(201))
}
