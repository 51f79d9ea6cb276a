//! `POST flowlog` and `POST hardwarehealth`: checked, kept as summaries.

use proto_eve::wire::flowlog::FlowMessage;
use proto_eve::wire::hardwarehealth::ZHardwareHealth;
use uuid::Uuid;

use super::{Answer, check_sender, check_time, decode};
use crate::clock;
use crate::refusal::Refusal;
use crate::route::canonical_uuid;
use crate::state::{Record, State};

/// Most flow records and DNS requests in one message.
const FLOW_LIMIT: usize = 125;

/// Takes flow records; 201.
pub(super) fn serve_flowlog(state: &mut State, device: Uuid, payload: &[u8]) -> Result<Answer, Refusal> {
    let message: FlowMessage = decode(payload, "FlowMessage")?;
    check_sender(&message.dev_id, device)?;
    let scope = message.scope.as_ref().ok_or_else(|| Refusal::message("the FlowMessage has no scope"))?;
    for id in [&scope.uuid, &scope.net_inst_uuid] {
        if canonical_uuid(id).is_none() {
            return Err(Refusal::message(format!("scope: \"{id:.80}\" is no UUID")));
        }
    }
    let records = message.flows.len() + message.dns_reqs.len();
    if records > FLOW_LIMIT {
        return Err(Refusal::violation(413, format!("{records} records, more than {FLOW_LIMIT}")));
    }
    for flow in &message.flows {
        check_time(flow.start_time.as_ref(), "startTime of a flow")?;
        check_time(flow.end_time.as_ref(), "endTime of a flow")?;
    }
    let record = serde_json::json!({
        "at": clock::rfc3339(clock::now_ms()), "device": device, "app": scope.uuid,
        "flows": message.flows.len(), "dns": message.dns_reqs.len(),
    });
    state.records.push(Record::Message("flowlog", record));
    Ok(Answer::empty(201))
}

/// Takes hardware counters; 201.
pub(super) fn serve_health(state: &mut State, device: Uuid, payload: &[u8]) -> Result<Answer, Refusal> {
    let message: ZHardwareHealth = decode(payload, "ZHardwareHealth")?;
    check_sender(&message.dev_id, device)?;
    let at_ms = check_time(message.at_time_stamp.as_ref(), "at_time_stamp")?;
    let controllers = message.mr.as_ref().map_or(0, |report| report.memory_controllers.len());
    let record = serde_json::json!({
        "at": clock::rfc3339(at_ms), "device": device, "memory_controllers": controllers,
        "disks": message.disks.len(),
    });
    state.records.push(Record::Message("hardwarehealth", record));
    Ok(Answer::empty(201))
}
