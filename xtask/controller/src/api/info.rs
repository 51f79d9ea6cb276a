//! `POST info`: the state of the device or of one of its objects.

use proto_eve::wire::info::{
    self, AttestationState, BaseOsStatus, BaseOsSubStatus, BootReason, DataSecAtRestStatus, DevicePort,
    DevicePortStatus, ErrorInfo, MaintenanceModeReason, PcrStatus, StorageDiskState, StorageStatus,
    ZDeviceState, ZInfoApp, ZInfoDevSw, ZInfoDevice, ZInfoMsg, ZInfoTypes, ZSwState,
    deprecated_metric_item::MetricItemValue, z_info_msg::InfoContent,
};
use uuid::Uuid;

use super::{Answer, Notes, check_sender, check_time, decode};
use crate::clock;
use crate::journal::whole;
use crate::key::sha256;
use crate::observed::{BootView, DeviceInfo, ObjectKind, ObjectView, PortView, SlotView, VaultView};
use crate::refusal::Refusal;
use crate::route::canonical_uuid;
use crate::state::{Record, State};

/// Takes one report; 201.
pub(super) fn serve(
    state: &mut State,
    device: Uuid,
    payload: &[u8],
    notes: &mut Notes,
) -> Result<Answer, Refusal> {
    let message: ZInfoMsg = decode(payload, "ZInfoMsg")?;
    check_sender(&message.dev_id, device)?;
    let at_ms = check_time(message.at_time_stamp.as_ref(), "atTimeStamp")?;
    let content =
        message.info_content.ok_or_else(|| Refusal::message("the ZInfoMsg has no content that is known"))?;
    let kind = kind_of(&content);
    if message.ztype != kind as i32 {
        let reason = format!("ztype is {}, the content belongs to {}", message.ztype, kind.as_str_name());
        return Err(Refusal::message(reason));
    }
    let message = whole(&content);
    match content {
        InfoContent::Dinfo(info) => {
            check_device(state, device, &info, notes);
            let gist = device_gist(&info);
            keep(state, device, at_ms, kind, &serde_json::json!(gist), message);
            let before = state.view(device).inform(gist.clone(), at_ms);
            tell_device(state, device, before.as_ref(), &gist);
        }
        InfoContent::Hwinfo(_) => {
            keep(state, device, at_ms, kind, &serde_json::Value::Null, message);
        }
        content => match object_of(&content)? {
            Some(object) => {
                check_object(state, device, &object, &content, notes);
                keep(state, device, at_ms, kind, &serde_json::json!(object), message);
                let before = state.view(device).report(object.clone());
                tell_object(state, device, before.as_ref(), &object);
            }
            None => keep(state, device, at_ms, kind, &serde_json::Value::Null, message),
        },
    }
    Ok(Answer::empty(201))
}

fn kind_of(content: &InfoContent) -> ZInfoTypes {
    match content {
        InfoContent::Dinfo(_) => ZInfoTypes::ZiDevice,
        InfoContent::Ainfo(_) => ZInfoTypes::ZiApp,
        InfoContent::Niinfo(_) => ZInfoTypes::ZiNetworkInstance,
        InfoContent::Vinfo(_) => ZInfoTypes::ZiVolume,
        InfoContent::Cinfo(_) => ZInfoTypes::ZiContentTree,
        InfoContent::Binfo(_) => ZInfoTypes::ZiBlobList,
        InfoContent::Amdinfo(_) => ZInfoTypes::ZiAppInstMetaData,
        InfoContent::Evinfo(_) => ZInfoTypes::ZiEdgeview,
        InfoContent::Hwinfo(_) => ZInfoTypes::ZiHardware,
        InfoContent::Locinfo(_) => ZInfoTypes::ZiLocation,
        InfoContent::PatchInfo(_) => ZInfoTypes::ZiPatchEnvelope,
        InfoContent::NtpSources(_) => ZInfoTypes::ZiNtpSources,
        InfoContent::ClusterInfo(_) => ZInfoTypes::ZiKubeCluster,
        InfoContent::ClusterNode(_) => ZInfoTypes::ZiNop,
        InfoContent::ClusterUpdateInfo(_) => ZInfoTypes::ZiKubeClusterUpdateStatus,
    }
}

fn keep(
    state: &mut State,
    device: Uuid,
    at_ms: i64,
    kind: ZInfoTypes,
    gist: &serde_json::Value,
    message: String,
) {
    let record = serde_json::json!({
        "at": clock::rfc3339(at_ms), "device": device, "kind": kind.as_str_name(), "info": gist,
        "message": message,
    });
    state.records.push(Record::Message("info", record));
}

/// What device information has to carry; it is accepted without, and remarked upon.
fn check_device(state: &State, device: Uuid, info: &ZInfoDevice, notes: &mut Notes) {
    let root_hash = sha256(state.pki.ca.cert.as_bytes());
    let told_root = info.sec_info.as_ref().map(|security| security.sha_root_ca.as_slice());
    for (right, what) in [
        (!info.machine_arch.is_empty(), "machineArch is empty"),
        (info.machine_arch == info.cpu_arch, "cpuArch is not the same as machineArch"),
        (info.machine_arch == info.platform, "platform is not the same as machineArch"),
        (info.ncpu > 0, "ncpu is 0"),
        (info.memory > 0, "memory is 0"),
        (info.host_name == device.to_string(), "HostName is not the device's UUID"),
        (info.boot_time.is_some(), "bootTime is missing"),
        (info.state != 0, "state is missing"),
        (info.attestation_info.is_some(), "attestation_info is missing"),
        (info.system_adapter.is_some(), "systemAdapter is missing"),
        (info.minfo.is_some(), "minfo is missing"),
        (info.sw_list.len() >= 2, "swList has not both partitions"),
        (!info.assignable_adapters.is_empty(), "assignableAdapters is empty"),
        (info.last_boot_reason != 0, "last_boot_reason is missing"),
        (!info.last_reboot_reason.is_empty(), "lastRebootReason is missing"),
        (info.last_reboot_time.is_some(), "lastRebootTime is missing"),
        (info.data_sec_at_rest_info.is_some(), "dataSecAtRestInfo is missing"),
        (info.config_item_status.is_some(), "configItemStatus is missing"),
        (info.capabilities.is_some(), "capabilities is missing"),
        (info.hsm_status != 0, "HSMStatus is missing"),
        (info.api_capability != 0, "api_capability is missing"),
        (told_root == Some(&root_hash), "sec_info.shaRootCa is not SHA-256 over root-certificate.pem"),
    ] {
        if !right {
            notes.remark(format!("ZInfoDevice: {what}"));
        }
    }
    for (name, stamp) in [("bootTime", &info.boot_time), ("lastRebootTime", &info.last_reboot_time)] {
        check_optional_time(stamp.as_ref(), name, notes);
    }
    for software in &info.sw_list {
        check_software(software, notes);
    }
    let Some(desired) = &state.desired else { return };
    // Right after a change the device still echoes what it had before: only a confirmed version counts.
    let confirmed = state.observed.devices.get(&device).and_then(|view| view.config_confirmed);
    if confirmed == Some(state.versions.version) {
        let echoed = info.config_item_status.as_ref();
        for key in desired.items.keys() {
            let known = |status: &info::ZInfoConfigItemStatus| {
                status.config_items.contains_key(key) || status.unknown_config_items.contains_key(key)
            };
            if !echoed.is_some_and(known) {
                notes.remark(format!("ZInfoDevice: configItemStatus does not echo {key}"));
            }
        }
    }
}

/// The words of EVE for a partition. Source: EVE, `pkg/pillar/zboot`; `ZInfoDevSW` of the API.
fn check_software(software: &ZInfoDevSw, notes: &mut Notes) {
    let label = &software.partition_label;
    let states = ["active", "updating", "inprogress", "unused"];
    let progress = software.download_progress;
    let error = software.sw_err.as_ref();
    for (right, what) in [
        (["IMGA", "IMGB"].contains(&label.as_str()) || label.is_empty(), "its label is that of no partition"),
        (label.is_empty() || states.contains(&software.partition_state.as_str()), "partitionState is none"),
        (ZSwState::try_from(software.status).is_ok(), "status is unknown"),
        (BaseOsStatus::try_from(software.user_status).is_ok(), "userStatus is unknown"),
        (BaseOsSubStatus::try_from(software.sub_status).is_ok(), "subStatus is unknown"),
        (progress <= 100, "downloadProgress is more than 100"),
        (
            error.is_none() || software.user_status == BaseOsStatus::Failed as i32,
            "it has an error, and userStatus is not FAILED",
        ),
        (error.is_none_or(|error| !error.description.is_empty()), "its error has no description"),
    ] {
        if !right {
            notes.remark(format!("ZInfoDevice: swList, {label:.16} {:.40}: {what}", software.short_version));
        }
    }
}

fn check_optional_time(stamp: Option<&proto_eve::Timestamp>, name: &str, notes: &mut Notes) {
    if stamp.is_some_and(|stamp| clock::timestamp_ms(stamp).is_none()) {
        notes.remark(format!("{name} is outside the years 1 to 9999"));
    }
}

fn disk(disk: &StorageDiskState) -> (String, String) {
    let name = disk.disk_name.as_ref().map_or_else(String::new, |name| name.name.clone());
    let state = name_of(StorageStatus::try_from(disk.status).map(|state| state.as_str_name()), disk.status);
    (name, state.trim_start_matches("STORAGE_STATUS_").to_owned())
}

fn device_gist(info: &ZInfoDevice) -> DeviceInfo {
    let adapter = info.system_adapter.as_ref();
    let current = adapter
        .and_then(|adapter| adapter.status.get(usize::try_from(adapter.current_index).unwrap_or(usize::MAX)));
    let items = info.config_item_status.as_ref();
    DeviceInfo {
        arch: info.machine_arch.clone(),
        cpus: info.ncpu,
        memory_mib: info.memory,
        state: name_of(ZDeviceState::try_from(info.state).map(|state| state.as_str_name()), info.state)
            .trim_start_matches("ZDEVICE_STATE_")
            .to_owned(),
        attestation: info.attestation_info.as_ref().map_or_else(String::new, |attestation| {
            let number = attestation.state;
            let name = AttestationState::try_from(number).map(|state| state.as_str_name());
            let error = attestation.error.as_ref().map(|error| format!(" ({})", error.description));
            let name = name_of(name, number);
            format!("{}{}", name.trim_start_matches("ATTESTATION_STATE_"), error.unwrap_or_default())
        }),
        tpm: info.hsm_info.clone(),
        storage: info.data_sec_at_rest_info.as_ref().map_or_else(String::new, |rest| rest.info.clone()),
        storage_status: info
            .data_sec_at_rest_info
            .as_ref()
            .map_or_else(String::new, |rest| at_rest_status(rest.status)),
        vaults: info.data_sec_at_rest_info.iter().flat_map(|rest| &rest.vault_list).map(vault).collect(),
        version: info
            .sw_list
            .iter()
            .find(|software| software.activated)
            .map_or_else(String::new, |software| software.short_version.clone()),
        slots: info.sw_list.iter().map(slot).collect(),
        boot_ms: info.boot_time.as_ref().and_then(clock::timestamp_ms).unwrap_or(0),
        boot_reason: name_of(
            BootReason::try_from(info.last_boot_reason).map(|reason| reason.as_str_name()),
            info.last_boot_reason,
        )
        .trim_start_matches("BOOT_REASON_")
        .to_owned(),
        boot_text: info.last_reboot_reason.clone(),
        ended_ms: info.last_reboot_time.as_ref().and_then(clock::timestamp_ms).unwrap_or(0),
        restarts: info.restart_counter,
        start: start(info),
        confined: info.capabilities.is_some_and(|can| can.io_virtualization),
        disks: info.storage_info.iter().flat_map(|store| &store.disks).map(disk).collect(),
        watchdog: info.hardware_watchdog_present,
        reboot_counter: info.reboot_config_counter,
        shutdown_counter: info.shutdown_config_counter,
        retry_counter: info.baseos_update_counter,
        addresses: current
            .map(|status| status.ports.iter().flat_map(|port| port.ip_addrs.iter().cloned()).collect())
            .unwrap_or_default(),
        ports: current.map(ports).unwrap_or_default(),
        item_errors: items
            .map(|status| {
                let all = status.config_items.iter().chain(&status.unknown_config_items);
                all.filter(|(_, item)| !item.error.is_empty())
                    .map(|(key, item)| (key.clone(), item.error.clone()))
                    .collect()
            })
            .unwrap_or_default(),
        maintenance: info
            .maintenance_mode_reasons
            .iter()
            .map(|&number| {
                let name = MaintenanceModeReason::try_from(number).map(|reason| reason.as_str_name());
                name_of(name, number).trim_start_matches("MAINTENANCE_MODE_REASON_").to_owned()
            })
            .collect(),
    }
}

fn slot(software: &ZInfoDevSw) -> SlotView {
    let status = BaseOsStatus::try_from(software.user_status).map(|status| status.as_str_name());
    let detail = BaseOsSubStatus::try_from(software.sub_status).map(|detail| detail.as_str_name());
    // What stands for nothing is left out.
    let some = |name: String| if name.starts_with("NONE") { String::new() } else { name };
    SlotView {
        label: software.partition_label.clone(),
        partition: software.partition_state.clone(),
        version: software.short_version.clone(),
        activated: software.activated,
        state: software_state(software.status).unwrap_or_else(|_| software.status.to_string()),
        status: some(name_of(status, software.user_status)),
        detail: some(name_of(detail, software.sub_status)),
        detail_text: software.sub_status_str.clone(),
        detail_progress: software.sub_status_progress,
        progress: software.download_progress,
        error: software.sw_err.as_ref().map_or_else(String::new, |error| error.description.clone()),
    }
}

fn vault(vault: &info::VaultInfo) -> VaultView {
    VaultView {
        name: vault.name.clone(),
        status: at_rest_status(vault.status),
        error: vault.vault_err.as_ref().map_or_else(String::new, |error| error.description.clone()),
        measured: vault.pcr_status == PcrStatus::PcrEnabled as i32,
    }
}

fn at_rest_status(number: i32) -> String {
    let name = DataSecAtRestStatus::try_from(number).map(|status| status.as_str_name());
    name_of(name, number).trim_start_matches("DATASEC_AT_REST_").to_owned()
}

/// The ports of the configuration of ports that is in use. What was found out about it holds for each.
fn ports(status: &DevicePortStatus) -> Vec<PortView> {
    let ms = |stamp: &Option<proto_eve::Timestamp>| stamp.as_ref().and_then(clock::timestamp_ms).unwrap_or(0);
    let view = |port: &DevicePort| PortView {
        name: port.name.clone(),
        up: port.up,
        succeeded_ms: ms(&status.last_succeeded),
        failed_ms: ms(&status.last_failed),
        error: match &port.err {
            // One without a description says that the port works.
            Some(error) if !error.description.is_empty() => error.description.clone(),
            _ => status.last_error.clone(),
        },
    };
    status.ports.iter().map(view).collect()
}

fn tell_device(state: &mut State, device: Uuid, before: Option<&DeviceInfo>, now: &DeviceInfo) {
    let changed = |part: fn(&DeviceInfo) -> &String| before.is_none_or(|before| part(before) != part(now));
    if changed(|info| &info.state) || changed(|info| &info.attestation) {
        let attestation = if now.attestation.is_empty() { "not told" } else { now.attestation.as_str() };
        state.device_event(device, format!("{}, attestation {attestation}", now.state));
    }
    tell_system(state, device, before, now);
    for port in &now.ports {
        let known = before.and_then(|before| before.ports.iter().find(|known| known.name == port.name));
        let failed = known.map_or(0, |known| known.failed_ms) != port.failed_ms;
        let error = known.map_or("", |known| &known.error);
        if (failed && port.failed_ms != 0) || error != port.error {
            let error = if port.error.is_empty() { "works again" } else { &port.error };
            let at = if port.failed_ms == 0 { "never".into() } else { clock::rfc3339(port.failed_ms) };
            state.device_event(device, format!("port {}: {error}; last failed: {at}", port.name));
        }
    }
    for (key, reason) in &now.item_errors {
        if before.is_none_or(|before| {
            !before.item_errors.iter().any(|known| known == &(key.clone(), reason.clone()))
        }) {
            state.device_event(device, format!("item {key}: {reason}"));
        }
    }
}

/// By what the device tells this start from others, an item of its own; 0 if it does not.
fn start(info: &ZInfoDevice) -> u32 {
    let item = info.metric_items.iter().find(|item| item.key == "start");
    match item.and_then(|item| item.metric_item_value.as_ref()) {
        Some(MetricItemValue::Uint32Value(start)) => *start,
        _ => 0,
    }
}

/// What is new about its start, its slots and its storage.
fn tell_system(state: &mut State, device: Uuid, before: Option<&DeviceInfo>, now: &DeviceInfo) {
    let boot = state.view(device).boots.last().cloned();
    let step = |slot: &SlotView| {
        let words = [&slot.partition, &slot.state, &slot.status, &slot.detail];
        let words: Vec<String> =
            words.iter().filter(|word| !word.is_empty()).map(|word| word.to_lowercase()).collect();
        let label = if slot.label.is_empty() { "next" } else { slot.label.as_str() };
        let error = if slot.error.is_empty() { String::new() } else { format!(": {}", slot.error) };
        let version = if slot.version.is_empty() { "no version" } else { slot.version.as_str() };
        format!("{label}, {version}: {}{error}", words.join(", "))
    };
    let known = |label: &str| before.and_then(|before| before.slots.iter().find(|slot| slot.label == label));
    let mut lines = Vec::new();
    if let Some(boot) = boot {
        let BootView { number, version, label, reason, text, .. } = boot;
        if before.is_none_or(|before| now.is_another_start(before)) {
            lines.push(format!("start {number}: version {version} from {label}, {reason} ({text})"));
        } else if now.restarts > 0
            && before.is_some_and(|before| before.told_of_start() != now.told_of_start())
        {
            lines.push(format!("start {number}: {reason} ({text})"));
        }
    }
    let news = now.slots.iter().filter(|slot| known(&slot.label).is_none_or(|known| slot.differs(known)));
    lines.extend(news.map(step));
    if before
        .is_none_or(|before| (&before.storage_status, &before.storage) != (&now.storage_status, &now.storage))
    {
        lines.push(format!("storage {}: {}", now.storage_status.to_lowercase(), now.storage));
    }
    for line in lines {
        state.device_event(device, line);
    }
}

/// The object that a report is about; `None` for kinds that are only kept.
fn object_of(content: &InfoContent) -> Result<Option<ObjectView>, Refusal> {
    let object = match content {
        InfoContent::Ainfo(app) => ObjectView {
            kind: ObjectKind::App,
            id: app.app_id.clone(),
            name: app.app_name.clone(),
            state: software_state(app.state)?,
            errors: texts(&app.app_err),
            boot_ms: app.boot_time.as_ref().and_then(clock::timestamp_ms).unwrap_or(0),
            deleted: app.state == 0 && app.app_name.is_empty(),
            ..ObjectView::default()
        },
        InfoContent::Vinfo(volume) => ObjectView {
            kind: ObjectKind::Volume,
            id: volume.uuid.clone(),
            name: volume.display_name.clone(),
            state: software_state(volume.state)?,
            errors: texts(volume.volume_err.as_slice()),
            progress: volume.progress_percentage,
            deleted: volume.state == 0 && volume.display_name.is_empty(),
            ..ObjectView::default()
        },
        InfoContent::Cinfo(tree) => ObjectView {
            kind: ObjectKind::ContentTree,
            id: tree.uuid.clone(),
            name: tree.display_name.clone(),
            state: software_state(tree.state)?,
            errors: texts(tree.err.as_slice()),
            progress: tree.progress_percentage,
            deleted: tree.state == 0 && tree.display_name.is_empty(),
            ..ObjectView::default()
        },
        InfoContent::Niinfo(network) => ObjectView {
            kind: ObjectKind::NetworkInstance,
            id: network.network_id.clone(),
            name: network.displayname.clone(),
            state: if network.activated { "ACTIVATED".into() } else { String::new() },
            errors: texts(&network.network_err),
            deleted: !network.activated && network.displayname.is_empty(),
            ..ObjectView::default()
        },
        InfoContent::Binfo(list) => match list.blob.as_slice() {
            [blob] => ObjectView {
                kind: ObjectKind::Blob,
                id: blob.sha256.clone(),
                name: blob.sha256.chars().take(12).collect(),
                state: software_state(blob.state)?,
                errors: texts(blob.err.as_slice()),
                progress: blob.progress_percentage,
                deleted: blob.state == 0,
                ..ObjectView::default()
            },
            blobs => {
                return Err(Refusal::message(format!("a list of {} blobs instead of one", blobs.len())));
            }
        },
        _ => return Ok(None),
    };
    check_id(&object)?;
    Ok(Some(ObjectView { updated_ms: clock::now_ms(), ..object }))
}

fn check_id(object: &ObjectView) -> Result<(), Refusal> {
    let right = match object.kind {
        ObjectKind::Blob => object.id.len() == 64 && object.id.bytes().all(|byte| byte.is_ascii_hexdigit()),
        _ => canonical_uuid(&object.id).is_some(),
    };
    if right {
        return Ok(());
    }
    Err(Refusal::message(format!("\"{:.80}\" does not identify a {}", object.id, object.kind.name())))
}

fn check_object(state: &State, device: Uuid, object: &ObjectView, content: &InfoContent, notes: &mut Notes) {
    if !object.deleted && object.state.is_empty() && object.kind != ObjectKind::NetworkInstance {
        notes.remark(format!("{} {}: state is missing", object.kind.name(), object.id));
    }
    if let InfoContent::Ainfo(app) = content {
        check_app(state, device, app, object.deleted, notes);
    }
    for error in errors_of(content) {
        if error.description.is_empty() {
            notes.remark(format!("{} {}: an error without description", object.kind.name(), object.id));
        }
        if error.timestamp.as_ref().and_then(clock::timestamp_ms).is_none() {
            notes.remark(format!("{} {}: an error without a timestamp", object.kind.name(), object.id));
        }
    }
}

fn check_app(state: &State, device: Uuid, app: &ZInfoApp, deleted: bool, notes: &mut Notes) {
    if matches!(ZSwState::try_from(app.state), Ok(ZSwState::Restarting | ZSwState::Purging)) {
        notes.remark(format!("app {}: RESTARTING and PURGING are not reported by devices", app.app_id));
    }
    let running = app.state == ZSwState::Running as i32;
    if running && app.boot_time.is_none() {
        notes.remark(format!("app {}: RUNNING without bootTime", app.app_id));
    }
    check_optional_time(app.boot_time.as_ref(), "bootTime", notes);
    let named = canonical_uuid(&app.app_id).and_then(|id| state.app_name(device, id));
    match named {
        Some(name) if !deleted && name != app.app_name => {
            notes
                .remark(format!("app {}: called \"{:.64}\", configured as {name}", app.app_id, app.app_name));
        }
        _ => {}
    }
}

fn errors_of(content: &InfoContent) -> &[ErrorInfo] {
    match content {
        InfoContent::Ainfo(app) => &app.app_err,
        InfoContent::Vinfo(volume) => volume.volume_err.as_slice(),
        InfoContent::Cinfo(tree) => tree.err.as_slice(),
        InfoContent::Niinfo(network) => &network.network_err,
        _ => &[],
    }
}

fn tell_object(state: &mut State, device: Uuid, before: Option<&ObjectView>, now: &ObjectView) {
    let same = before.is_some_and(|before| {
        before.state == now.state && before.errors == now.errors && before.deleted == now.deleted
    });
    if same || (before.is_none() && now.deleted) {
        return;
    }
    let name = match (&now.name, before) {
        (name, Some(before)) if name.is_empty() => before.name.clone(),
        (name, _) => name.clone(),
    };
    let what = match (now.deleted, now.state.as_str()) {
        (true, _) => "gone".to_owned(),
        (false, "") => "reported".to_owned(),
        (false, state) => state.to_owned(),
    };
    let errors = match now.errors.is_empty() {
        true => String::new(),
        false => format!(": {}", now.errors.join("; ")),
    };
    state.device_event(device, format!("{} {name}: {what}{errors}", now.kind.name()));
}

fn software_state(number: i32) -> Result<String, Refusal> {
    match ZSwState::try_from(number) {
        Ok(ZSwState::Invalid) => Ok(String::new()),
        Ok(state) => Ok(state.as_str_name().to_owned()),
        Err(_) => Err(Refusal::message(format!("state {number} is unknown"))),
    }
}

fn texts(errors: &[ErrorInfo]) -> Vec<String> {
    errors
        .iter()
        .filter(|error| !error.description.is_empty())
        .map(|error| error.description.clone())
        .collect()
}

fn name_of<E>(name: Result<&'static str, E>, number: i32) -> String {
    name.map_or_else(|_| number.to_string(), str::to_owned)
}
