//! Info messages: the state of the device and of each object, sent when it changes.
//!
//! Each object's content is compared with what was last handed to the queue, without its time stamp;
//! what differs is enqueued. An object that is gone is signalled once by a message that carries only
//! its id.

use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};
use core::time::Duration;

use proto_eve::{
    Message, Timestamp,
    uuid::Uuid,
    wire::common::{PhyIoMemberUsage, PhyIoType},
    wire::info::{
        ApiCapability, AttestationInfo, Capabilities, ContentResources, DataSecAtRest, DataSecAtRestStatus,
        DepMetricItemType, DeprecatedMetricItem, DevicePort, DevicePortStatus, Entity, ErrorInfo,
        HwSecurityModuleStatus, IoAddresses, PcrStatus, SecurityInfo, Severity, SystemAdapterInfo, UsageInfo,
        VaultInfo, VolumeResources, ZDeviceState, ZInfoApp, ZInfoAppInstance, ZInfoBlob, ZInfoBlobList,
        ZInfoContentTree, ZInfoDevSw, ZInfoDevice, ZInfoDns, ZInfoHardware, ZInfoManufacturer, ZInfoMsg,
        ZInfoNetworkInstance, ZInfoTypes, ZInfoVolume, ZNetworkInstanceState, ZioBundle,
        deprecated_metric_item::MetricItemValue, z_info_msg::InfoContent,
    },
};
use proto_svc::{
    storage::Status,
    vault::{Sealing, Tpm},
};
use sha2::{Digest, Sha256};

use crate::{
    attest::Attest,
    boots::Boots,
    clock::{Instant, Now, Random, WallTime},
    onboard::Stage,
    operations::{Maintenance, Operation, Operations},
    properties::Properties,
    provision::{Credentials, DeviceFacts, StartedSlot},
    reach::Reach,
    reconcile::{
        base_os::{BaseOs, report},
        contents::{Content, Contents},
        domains::{App, Apps},
        networks::{Network, Networks},
        problem::Troubles,
        volumes::{Volume, Volumes},
    },
    report::disk,
    retry::{Deferred, Key, OnFailure},
    timekeeper::sources::{Sources, steady},
    uplink::{PortConfig, Uplink, mac_text},
    vault::Vault,
};

/// Names that the configuration gives to the device, echoed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) device: String,
    pub(crate) project: String,
    pub(crate) project_id: String,
    pub(crate) enterprise: String,
    pub(crate) enterprise_id: String,
}

/// Everything that reports are made of.
pub(crate) struct View<'a> {
    pub(crate) facts: &'a DeviceFacts,
    pub(crate) credentials: &'a Credentials,
    pub(crate) device: &'a Uuid,
    pub(crate) stage: Stage,
    pub(crate) names: &'a Names,
    pub(crate) attest: &'a Attest,
    pub(crate) attest_error_since: Option<Timestamp>,
    pub(crate) vault: &'a Vault,
    pub(crate) properties: &'a Properties,
    pub(crate) operations: &'a Operations,
    pub(crate) maintenance: Maintenance,
    pub(crate) configured: bool,
    pub(crate) uplink: &'a Uplink,
    pub(crate) port: &'a PortConfig,
    pub(crate) reach: &'a Reach,
    pub(crate) contents: &'a Contents,
    pub(crate) volumes: &'a Volumes,
    pub(crate) apps: &'a Apps,
    pub(crate) networks: &'a Networks,
    pub(crate) base_os: &'a BaseOs,
    /// What storage says of itself and its disk.
    pub(crate) storage: Option<&'a Status>,
    /// Why storage does not keep what it should.
    pub(crate) not_kept: Option<String>,
    /// This start, once it is known what was kept of earlier ones.
    pub(crate) boots: Option<&'a Boots>,
    /// The time servers.
    pub(crate) time: &'a Sources,
    pub(crate) now: Now,
}

/// Remembers what was reported.
#[derive(Debug)]
pub(crate) struct Reporter {
    reported: BTreeMap<Key, [u8; 32]>,
    next: Instant,
    /// When the time servers are due, once they were told of.
    next_time: Option<Instant>,
}

impl Reporter {
    pub(crate) fn new(now: Instant) -> Self {
        Self { reported: BTreeMap::new(), next: now, next_time: None }
    }

    /// Forgets what was reported, so that all of it is sent again.
    pub(crate) fn forget(&mut self) {
        self.reported.clear();
    }

    /// When info is due, changed or not.
    pub(crate) fn deadline(&self) -> Instant {
        self.next_time.map_or(self.next, |time| time.min(self.next))
    }

    /// Enqueues what changed.
    pub(crate) fn refresh(&mut self, now: Now, view: &View<'_>, queue: &mut Deferred, random: &mut Random) {
        let periodic = self.next <= now.at();
        if periodic {
            let period = view.properties.seconds("timer.deviceinfo.interval").max(Duration::from_secs(30));
            self.next = now.at().after(random.share(period, 800, 1200));
        }
        let interval = view.properties.seconds("timer.ntpsources.interval");
        // Also when there is nothing to tell just then, for others were asked since.
        let times = self.next_time.take_if(|next| *next <= now.at()).is_some();
        let mut present: BTreeMap<Key, (ZInfoTypes, InfoContent)> = BTreeMap::new();
        present.insert(Key::Device, (ZInfoTypes::ZiDevice, InfoContent::Dinfo(device(view))));
        present.insert(Key::Hardware, (ZInfoTypes::ZiHardware, InfoContent::Hwinfo(hardware(view))));
        if let Some(sources) = view.time.report() {
            present.insert(Key::Time, (ZInfoTypes::ZiNtpSources, InfoContent::NtpSources(sources)));
            if self.next_time.is_none() {
                self.next_time = Some(now.at().after(interval));
            }
        }
        for item in view.contents.iter() {
            let content = InfoContent::Cinfo(content_tree(item));
            present.insert(Key::Content(item.id.clone()), (ZInfoTypes::ZiContentTree, content));
        }
        for (sha256, blob) in blobs(view.contents) {
            let content = InfoContent::Binfo(ZInfoBlobList { blob: vec![blob] });
            present.insert(Key::Blob(sha256), (ZInfoTypes::ZiBlobList, content));
        }
        for item in view.volumes.iter() {
            let content = InfoContent::Vinfo(volume(item, view));
            present.insert(Key::Volume(item.id.clone()), (ZInfoTypes::ZiVolume, content));
        }
        for item in view.networks.iter() {
            let content = InfoContent::Niinfo(network(item));
            present.insert(Key::Network(item.id.clone()), (ZInfoTypes::ZiNetworkInstance, content));
        }
        for item in view.apps.iter() {
            let content = InfoContent::Ainfo(app(item, view));
            present.insert(Key::App(item.id.clone()), (ZInfoTypes::ZiApp, content));
        }
        let gone: Vec<Key> = self.reported.keys().filter(|key| !present.contains_key(key)).cloned().collect();
        for key in gone {
            self.reported.remove(&key);
            if let Some((kind, content)) = deletion(&key) {
                enqueue(now, queue, key, message(view, kind, content), OnFailure::Keep);
            }
        }
        for (key, (kind, content)) in present {
            let message = message(view, kind, content);
            let telling = match &message.info_content {
                Some(InfoContent::NtpSources(sources)) => steady(sources.clone()).encode_to_vec(),
                _ => message.encode_to_vec(),
            };
            let hash: [u8; 32] = Sha256::digest(telling).into();
            let is_due = times && key == Key::Time;
            if self.reported.insert(key.clone(), hash) != Some(hash) || is_due {
                enqueue(now, queue, key, message, OnFailure::Keep);
            } else if periodic && key == Key::Device {
                enqueue(now, queue, key, message, OnFailure::Discard);
            }
        }
    }
}

fn message(view: &View<'_>, kind: ZInfoTypes, content: InfoContent) -> ZInfoMsg {
    ZInfoMsg {
        ztype: kind as i32,
        dev_id: view.device.to_string(),
        at_time_stamp: None,
        info_content: Some(content),
    }
}

fn enqueue(now: Now, queue: &mut Deferred, key: Key, mut message: ZInfoMsg, on_failure: OnFailure) {
    message.at_time_stamp = now.timestamp();
    queue.put(now.at(), key, message.encode_to_vec(), on_failure);
}

/// The message that signals the end of an object.
fn deletion(key: &Key) -> Option<(ZInfoTypes, InfoContent)> {
    match key {
        Key::App(id) => {
            let app = ZInfoApp { app_id: id.clone(), ..ZInfoApp::default() };
            Some((ZInfoTypes::ZiApp, InfoContent::Ainfo(app)))
        }
        Key::Volume(id) => {
            let volume = ZInfoVolume { uuid: id.clone(), ..ZInfoVolume::default() };
            Some((ZInfoTypes::ZiVolume, InfoContent::Vinfo(volume)))
        }
        Key::Content(id) => {
            let content = ZInfoContentTree { uuid: id.clone(), ..ZInfoContentTree::default() };
            Some((ZInfoTypes::ZiContentTree, InfoContent::Cinfo(content)))
        }
        Key::Network(id) => {
            let network = ZInfoNetworkInstance { network_id: id.clone(), ..ZInfoNetworkInstance::default() };
            Some((ZInfoTypes::ZiNetworkInstance, InfoContent::Niinfo(network)))
        }
        Key::Blob(sha256) => {
            let blob = ZInfoBlob { sha256: sha256.clone(), ..ZInfoBlob::default() };
            Some((ZInfoTypes::ZiBlobList, InfoContent::Binfo(ZInfoBlobList { blob: vec![blob] })))
        }
        Key::Device | Key::Hardware | Key::Time => None,
    }
}

fn errors(troubles: &Troubles, entity: Entity, id: &str, name: &str) -> Vec<ErrorInfo> {
    troubles.iter().map(|trouble| trouble.info(entity, id, name)).collect()
}

fn content_tree(content: &Content) -> ZInfoContentTree {
    let (state, progress_percentage) = content.state();
    ZInfoContentTree {
        uuid: content.id.clone(),
        display_name: content.name.clone(),
        sha256: content.sha256.clone(),
        // The size moves with every byte; it is told once it stands still.
        resources: Some(ContentResources { cur_size_bytes: content.image().map_or(0, |image| image.length) }),
        usage: Some(UsageInfo { ref_count: 1, ..UsageInfo::default() }),
        state: state as i32,
        progress_percentage,
        err: content
            .troubles
            .first()
            .map(|trouble| trouble.info(Entity::ContentTree, &content.id, &content.name)),
        component_sha_list: vec![content.sha256.clone()],
        generation_count: content.generation,
    }
}

/// The blobs that contents are made of, by their SHA-256. Of one that several contents share, the one that is
/// furthest speaks.
fn blobs(contents: &Contents) -> BTreeMap<String, ZInfoBlob> {
    let mut blobs: BTreeMap<String, ZInfoBlob> = BTreeMap::new();
    for content in contents.iter() {
        let Some(sha256) = content.blob().map(hex::encode) else { continue };
        let (state, progress_percentage) = content.state();
        let trouble = content.troubles.first();
        let of_this = ZInfoBlob {
            sha256: sha256.clone(),
            resources: Some(ContentResources {
                cur_size_bytes: content.image().map_or(0, |image| image.length),
            }),
            usage: Some(UsageInfo { ref_count: 1, ..UsageInfo::default() }),
            state: state as i32,
            progress_percentage,
            err: trouble.map(|trouble| trouble.info(Entity::ContentBlob, &sha256, &content.name)),
        };
        match blobs.get_mut(&sha256) {
            None => drop(blobs.insert(sha256, of_this)),
            Some(known) => {
                let users = known.usage.as_ref().map_or(0, |usage| usage.ref_count) + 1;
                if of_this.progress_percentage > known.progress_percentage {
                    *known = of_this;
                }
                known.usage = Some(UsageInfo { ref_count: users, ..UsageInfo::default() });
            }
        }
    }
    blobs
}

fn volume(volume: &Volume, view: &View<'_>) -> ZInfoVolume {
    let (state, progress_percentage) = volume.state(view.contents);
    let used = view
        .apps
        .iter()
        .filter(|app| app.volumes().iter().any(|reference| reference.id == volume.id))
        .count();
    ZInfoVolume {
        uuid: volume.id.clone(),
        display_name: volume.name.clone(),
        usage: Some(UsageInfo { ref_count: u32::try_from(used).unwrap_or(u32::MAX), ..UsageInfo::default() }),
        resources: Some(VolumeResources {
            max_size_bytes: volume.max_bytes,
            cur_size_bytes: volume.image(view.contents).map_or(0, |image| image.length),
        }),
        state: state as i32,
        progress_percentage,
        volume_err: volume
            .troubles
            .first()
            .map(|trouble| trouble.info(Entity::Volume, &volume.id, &volume.name)),
        generation_count: volume.generation,
    }
}

fn network(network: &Network) -> ZInfoNetworkInstance {
    ZInfoNetworkInstance {
        network_id: network.id.clone(),
        network_version: network.version.clone(),
        inst_type: network.kind,
        displayname: network.name.clone(),
        network_err: errors(&network.troubles, Entity::NetworkInstance, &network.id, &network.name),
        state: ZNetworkInstanceState::ZnetinstStateError as i32,
        ..ZInfoNetworkInstance::default()
    }
}

fn app(app: &App, view: &View<'_>) -> ZInfoApp {
    ZInfoApp {
        app_id: app.id.clone(),
        app_version: app.version.clone(),
        app_name: app.name.clone(),
        boot_time: app.booted.filter(|_| app.is_running()).map(WallTime::timestamp),
        app_err: errors(&app.troubles, Entity::AppInstance, &app.id, &app.name),
        state: app.state(view.volumes, view.contents) as i32,
        volume_refs: app.volumes().iter().map(|volume| volume.id.clone()).collect(),
        cluster_app_running: app.is_running(),
        ..ZInfoApp::default()
    }
}

fn hardware(view: &View<'_>) -> ZInfoHardware {
    ZInfoHardware {
        eve_release: view.facts.version.clone(),
        eve_platform: view.facts.product.clone(),
        partition: view.facts.partition.clone(),
        kernel_flavor: "sarsen".into(),
        ..ZInfoHardware::default()
    }
}

#[expect(deprecated, reason = "older controllers read the single maintenance reason")]
fn device(view: &View<'_>) -> ZInfoDevice {
    let facts = view.facts;
    let arch = facts.architecture.clone();
    ZInfoDevice {
        machine_arch: arch.clone(),
        cpu_arch: arch.clone(),
        platform: arch,
        ncpu: facts.cpus,
        memory: facts.memory_mib,
        storage: disk::capacity(view.storage),
        storage_list: disk::list(view.storage),
        storage_info: disk::state(view.storage),
        power_cycle_counter: -1,
        minfo: Some(ZInfoManufacturer {
            manufacturer: facts.manufacturer.clone(),
            product_name: facts.product.clone(),
            serial_number: view.credentials.serial.clone(),
            bios_version: facts.firmware.clone(),
            ..ZInfoManufacturer::default()
        }),
        dns: Some(dns(view.uplink)),
        boot_time: facts.boot_time.map(WallTime::timestamp),
        sw_list: software(view),
        host_name: view.device.to_string(),
        assignable_adapters: vec![uplink_bundle(view)],
        last_boot_reason: view.boots.map_or(facts.boot_cause.reason(), |boots| boots.began.reason) as i32,
        last_reboot_reason: cause(view),
        last_reboot_time: ended(view),
        restart_counter: view.boots.map_or(0, |boots| boots.earlier),
        metric_items: start_item(view.facts.start).into_iter().collect(),
        hardware_watchdog_present: facts.hardware_watchdog,
        system_adapter: Some(system_adapter(view)),
        hsm_status: security_module(view).0 as i32,
        hsm_info: security_module(view).1,
        data_sec_at_rest_info: Some(at_rest(view)),
        sec_info: Some(SecurityInfo {
            sha_root_ca: Sha256::digest(&view.credentials.root_pem).to_vec(),
            sha_tls_root_ca: Vec::new(),
        }),
        config_item_status: Some(view.properties.echo().clone()),
        app_instances: view
            .apps
            .iter()
            .map(|app| ZInfoAppInstance {
                uuid: app.id.clone(),
                name: app.name.clone(),
                domain_name: app.domid.map_or_else(String::new, |domid| alloc::format!("{}.{domid}", app.id)),
            })
            .collect(),
        reboot_config_counter: view.operations.reboot_counter(),
        shutdown_config_counter: view.operations.shutdown_counter(),
        baseos_update_counter: view.base_os.retry_counter(),
        maintenance_mode: view.maintenance.is_active(),
        maintenance_mode_reason: view.maintenance.reasons().next().unwrap_or(0),
        maintenance_mode_reasons: view.maintenance.reasons().collect(),
        reboot_inprogress: view.operations.pending() == Some(Operation::Reboot),
        capabilities: Some(Capabilities {
            hw_assisted_virtualization: true,
            io_virtualization: facts.io_virtualization,
        }),
        state: device_state(view) as i32,
        attestation_info: Some(AttestationInfo {
            state: view.attest.state() as i32,
            error: view.attest.error().map(|error| plain_error(error.to_string(), view.attest_error_since)),
        }),
        // Capabilities count up.
        api_capability: ApiCapability::StartDelayInSeconds as i32,
        remote_access_disabled: true,
        device_name: view.names.device.clone(),
        enterprise_name: view.names.enterprise.clone(),
        enterprise_id: view.names.enterprise_id.clone(),
        project_name: view.names.project.clone(),
        project_id: view.names.project_id.clone(),
        ..ZInfoDevice::default()
    }
}

/// The TPM: whether there is one, and what it says of itself.
fn security_module(view: &View<'_>) -> (HwSecurityModuleStatus, String) {
    let Some(status) = view.vault.status() else {
        let text = if view.vault.expected { "the vault has not told" } else { "keys are software keys" };
        return (HwSecurityModuleStatus::Notfound, text.into());
    };
    match status.tpm {
        Tpm::Ready => (HwSecurityModuleStatus::Enabled, status.about.as_str().into()),
        Tpm::Failed => (HwSecurityModuleStatus::Disabled, status.about.as_str().into()),
        Tpm::None => (HwSecurityModuleStatus::Notfound, "keys are software keys".into()),
    }
}

/// The storage: encrypted with a key that only this TPM gives, or not. One that is encrypted with a software key is
/// no better than one in the clear to whoever has the disk.
fn at_rest(view: &View<'_>) -> DataSecAtRest {
    use DataSecAtRestStatus as Is;
    let Some(status) = view.vault.status() else {
        let (is, info) = if view.vault.expected {
            (Is::DatasecAtRestUnknown, "the vault has not told")
        } else {
            (Is::DatasecAtRestDisabled, "nothing is stored")
        };
        return DataSecAtRest { status: is as i32, info: info.into(), vault_list: Vec::new() };
    };
    let has_tpm = status.tpm == Tpm::Ready;
    let (is, info) = match (status.sealing, status.tpm) {
        (Sealing::Locked, _) => (Is::DatasecAtRestError, status.reason.as_str()),
        (_, Tpm::Failed) => (Is::DatasecAtRestError, status.about.as_str()),
        (Sealing::Unknown, _) => (Is::DatasecAtRestUnknown, "the storage did not ask for its key yet"),
        (Sealing::Open, Tpm::Ready) => (Is::DatasecAtRestEnabled, "the key is sealed by the TPM"),
        (Sealing::Open, Tpm::None) => (Is::DatasecAtRestDisabled, "there is no TPM: the key is software's"),
    };
    let info = match (status.sealing, status.reason.as_str()) {
        (Sealing::Open, "") | (Sealing::Locked | Sealing::Unknown, _) => info.into(),
        (Sealing::Open, more) => format!("{info}; {more}"),
    };
    // That something is not kept says nothing of how the rest is encrypted.
    let info = match &view.not_kept {
        Some(why) => format!("{info}; {why}"),
        None => info,
    };
    let error = (is == Is::DatasecAtRestError)
        .then(|| plain_error(info.clone(), view.facts.boot_time.map(WallTime::timestamp)));
    DataSecAtRest {
        status: is as i32,
        info,
        vault_list: vec![VaultInfo {
            name: VAULT_NAME.into(),
            status: is as i32,
            vault_err: error,
            pcr_status: if has_tpm { PcrStatus::PcrEnabled } else { PcrStatus::PcrDisabled } as i32,
        }],
    }
}

/// How controllers know the storage of applications.
const VAULT_NAME: &str = "Application Data Store";

fn device_state(view: &View<'_>) -> ZDeviceState {
    if view.maintenance.is_active() {
        return ZDeviceState::ZdeviceStateMaintenanceMode;
    }
    if view.base_os.is_updating() {
        return ZDeviceState::ZdeviceStateBaseosUpdating;
    }
    match (view.operations.pending(), view.operations.is_done()) {
        (Some(Operation::Reboot), _) => ZDeviceState::ZdeviceStateRebooting,
        (Some(Operation::Shutdown), false) => ZDeviceState::ZdeviceStatePreparingPoweroff,
        (Some(Operation::Shutdown), true) => ZDeviceState::ZdeviceStatePreparedPoweroff,
        (None, _) if view.configured && view.stage != Stage::Certs => ZDeviceState::ZdeviceStateOnline,
        (None, _) => ZDeviceState::ZdeviceStateBooting,
    }
}

/// Why the machine was started.
fn cause(view: &View<'_>) -> String {
    let cause = view.boots.map_or(view.facts.boot_text(), |boots| &boots.began.text);
    match view.facts.slot.as_ref().filter(|slot| slot.other_refused) {
        Some(StartedSlot { reason, .. }) => format!("{cause}; {reason}"),
        None => cause.into(),
    }
}

/// By what a controller tells this start from others, whatever the device knows of its earlier ones and of the time: a
/// number that dom0 draws, as an item of our own among those that the API leaves to devices. None was drawn if it is 0.
fn start_item(start: u32) -> Option<DeprecatedMetricItem> {
    (start != 0).then(|| DeprecatedMetricItem {
        key: "start".into(),
        r#type: DepMetricItemType::DepMetricItemState as i32,
        metric_item_value: Some(MetricItemValue::Uint32Value(start)),
    })
}

/// When it ended before that. If nobody has noted it, at some time before it started.
fn ended(view: &View<'_>) -> Option<Timestamp> {
    let noted = view.boots.and_then(|boots| boots.began.at);
    let noted = noted.map(|seconds| WallTime { seconds, nanos: 0 });
    noted.or(view.facts.boot_time).map(WallTime::timestamp)
}

/// The running partition, then the other one.
fn software(view: &View<'_>) -> Vec<ZInfoDevSw> {
    view.base_os.software(&report::View {
        now: view.now,
        facts: view.facts,
        properties: view.properties,
        contents: view.contents,
        cause: &cause(view),
    })
}

fn dns(uplink: &Uplink) -> ZInfoDns {
    ZInfoDns {
        dn_sservers: uplink.dns_servers.clone(),
        dn_sdomain: uplink.domain.clone(),
        dn_ssearch: Vec::new(),
    }
}

/// The group of the one port that there is, which the system uses itself.
fn uplink_bundle(view: &View<'_>) -> ZioBundle {
    let label = port_label(view);
    let group = view.port.group.clone();
    ZioBundle {
        r#type: PhyIoType::PhyIoNetEth as i32,
        name: group.unwrap_or_else(|| label.clone()),
        members: vec![label],
        used_by_base_os: true,
        io_address_list: (view.uplink.mac != [0; 6])
            .then(|| IoAddresses { mac_address: mac_text(&view.uplink.mac), vf_info: None })
            .into_iter()
            .collect(),
        usage: view.port.usage.unwrap_or(PhyIoMemberUsage::PhyIoUsageMgmtOnly as i32),
        ..ZioBundle::default()
    }
}

fn port_label(view: &View<'_>) -> String {
    view.port.label.clone().unwrap_or_else(|| view.facts.port.clone())
}

/// One port configuration with one port: DHCP, whatever the configuration asks for beyond that.
fn system_adapter(view: &View<'_>) -> SystemAdapterInfo {
    const DHCP_CLIENT: u32 = 4;
    const VERSION: u32 = 1;
    let (uplink, port, reach) = (view.uplink, view.port, view.reach);
    let last_error = port.problem.clone().unwrap_or_else(|| reach.error().into());
    let tested = |time: Option<WallTime>| time.map(WallTime::timestamp);
    let device_port = DevicePort {
        ifname: uplink.interface.clone(),
        name: port_label(view),
        is_mgmt: true,
        free: port.cost == 0,
        dhcp_type: DHCP_CLIENT,
        subnet: uplink.subnet.clone(),
        gateway: uplink.gateways.first().cloned().unwrap_or_default(),
        domainname: uplink.domain.clone(),
        dns_servers: uplink.dns_servers.clone(),
        mac_addr: mac_text(&uplink.mac),
        ip_addrs: uplink.addresses.clone(),
        default_routers: uplink.gateways.clone(),
        dns: Some(dns(uplink)),
        up: uplink.up,
        err: port_error(port, reach),
        usage: PhyIoMemberUsage::PhyIoUsageMgmtOnly as i32,
        network_uuid: port.network.clone(),
        cost: port.cost,
        mtu: uplink.mtu,
        ..DevicePort::default()
    };
    SystemAdapterInfo {
        current_index: 0,
        status: vec![DevicePortStatus {
            version: VERSION,
            key: if port.label.is_some() { "zedagent".into() } else { "lastresort".into() },
            time_priority: port.since,
            last_failed: tested(reach.last_failed()),
            last_succeeded: tested(reach.last_succeeded()),
            ports: vec![device_port],
            last_error,
        }],
    }
}

/// What is wrong with the port. One without a description says that it works.
fn port_error(port: &PortConfig, reach: &Reach) -> Option<ErrorInfo> {
    if let Some(problem) = &port.problem {
        return Some(plain_error(problem.clone(), port.since));
    }
    if !reach.error().is_empty() {
        return Some(plain_error(reach.error().into(), reach.last_failed().map(WallTime::timestamp)));
    }
    let timestamp = Some(reach.last_succeeded()?.timestamp());
    Some(ErrorInfo { timestamp, ..ErrorInfo::default() })
}

fn plain_error(description: String, timestamp: Option<Timestamp>) -> ErrorInfo {
    ErrorInfo { description, timestamp, severity: Severity::Error as i32, ..ErrorInfo::default() }
}
