//! From the file to `EdgeDevConfig`, wired as controllers do: content tree, volume, application.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proto_eve::wire::common::{DhcpType, Ipspec, NetworkType, PhyIoMemberUsage, PhyIoType};
use proto_eve::wire::config::{
    self, AppInstanceConfig, BaseOs, ConfigItem, ContentTree, DatastoreConfig, DeviceOpsCmd, DsType,
    EdgeDevConfig, InstanceOpsCmd, MetaDataType, NetworkConfig, PhyIoUsagePolicy, PhysicalIo, SystemAdapter,
    UuiDandVersion, VmConfig, VmMode, Volume, VolumeContentOrigin, VolumeContentOriginType, VolumeRef,
};
use proto_eve::{Message, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::desired::{App, Base, Datastore, Desired, Format, Mode, Server};
use crate::key::{hex, sha256};

/// Versions and counters of what was served so far, kept over restarts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub(crate) struct Versions {
    /// Version of the whole configuration, from 1 on.
    pub(crate) version: u64,
    /// When this version began, seconds since 1970; rises with every version.
    pub(crate) since_s: i64,
    digest: String,
    apps: BTreeMap<String, AppVersion>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
struct AppVersion {
    version: u64,
    digest: String,
    machine: String,
    content: String,
    restart: u32,
    purge: u32,
}

impl Versions {
    /// Moves on to `desired`; says whether anything changed.
    ///
    /// A device applies a change of memory, vCPUs or command line only with a new restart counter,
    /// and a change of content only with a new purge counter. Unless the file names the counters
    /// itself, they are counted here, as commercial controllers do.
    pub(crate) fn advance(&mut self, desired: &Desired, now_s: i64) -> bool {
        let digest = digest_of(desired);
        if digest == self.digest {
            return false;
        }
        for app in &desired.apps {
            self.apps.entry(app.name.clone()).or_default().advance(app);
        }
        self.digest = digest;
        self.version += 1;
        self.since_s = now_s.max(self.since_s + 1);
        true
    }
}

impl AppVersion {
    fn advance(&mut self, app: &App) {
        let digest = digest_of(app);
        if digest == self.digest {
            return;
        }
        let machine = digest_of(&(app.memory_kib, app.vcpus, app.mode, &app.args));
        let content = digest_of(&(&app.datastore, &app.content, &app.sha256, app.format));
        let known = self.version > 0;
        self.restart = app.restart.unwrap_or(self.restart + u32::from(known && machine != self.machine));
        self.purge = app.purge.unwrap_or(self.purge + u32::from(known && content != self.content));
        self.version += 1;
        self.digest = digest;
        self.machine = machine;
        self.content = content;
    }
}

/// What the configuration needs to know beside the file.
pub(crate) struct Surroundings<'a> {
    pub(crate) device: Uuid,
    /// `http://host:port` under which the device reaches the content of this controller.
    pub(crate) own_url: &'a str,
    /// `https://host:port` of the same, and the certificate (PEM) of its CA.
    pub(crate) own_tls_url: &'a str,
    pub(crate) ca: &'a str,
    pub(crate) certs_hash: [u8; 32],
}

/// UUID of an application on a device: derived, so that it stays the same over restarts.
pub(crate) fn app_uuid(device: Uuid, name: &str) -> Uuid {
    derived(device, &format!("app/{name}"))
}

/// The configuration of one device.
pub(crate) fn compile(desired: &Desired, versions: &Versions, around: &Surroundings<'_>) -> EdgeDevConfig {
    let device = around.device;
    let network = derived(device, "network/uplink").to_string();
    let command =
        |counter: Option<u32>| counter.map(|counter| DeviceOpsCmd { counter, ..Default::default() });
    let mut config = EdgeDevConfig {
        id: Some(identity(device, versions.version)),
        networks: vec![dhcp_network(&network)],
        device_io_list: vec![uplink_port(desired)],
        system_adapter_list: vec![uplink_adapter(desired, &network)],
        datastores: desired.datastores.iter().map(|store| datastore(store, around)).collect(),
        config_items: desired
            .items
            .iter()
            .map(|(key, value)| ConfigItem { key: key.clone(), value: value.clone() })
            .collect(),
        reboot: command(desired.device.reboot),
        shutdown: command(desired.device.shutdown),
        maintenance_mode: desired.device.maintenance,
        controller_epoch: desired.device.epoch,
        device_name: desired.device.name.clone(),
        project_name: desired.device.project.clone(),
        enterprise_name: desired.device.enterprise.clone(),
        controllercert_confighash: URL_SAFE_NO_PAD.encode(around.certs_hash),
        config_timestamp: Some(Timestamp { seconds: versions.since_s, nanos: 0 }),
        ..EdgeDevConfig::default()
    };
    if let Some(base) = &desired.base {
        let tree = content_tree(&Image::of_base(base), device);
        config.baseos = Some(BaseOs {
            content_tree_uuid: tree.uuid.clone(),
            retry_update: command(base.retry),
            activate: base.activate,
            base_os_version: base.version.clone(),
        });
        config.content_info.push(tree);
    }
    for app in &desired.apps {
        let version = versions.apps.get(&app.name).cloned().unwrap_or_default();
        let tree = content_tree(&Image::of_app(app), device);
        let volume = volume(app, &version, &tree, device);
        config.apps.push(instance(app, &version, &volume, device));
        config.volumes.push(volume);
        // Two applications of one content share its tree.
        if config.content_info.iter().all(|known| known.uuid != tree.uuid) {
            config.content_info.push(tree);
        }
    }
    config
}

/// The opaque text by which a device says which configuration it has.
pub(crate) fn config_hash(config: &EdgeDevConfig) -> String {
    URL_SAFE_NO_PAD.encode(sha256(&config.encode_to_vec()))
}

fn identity(uuid: Uuid, version: u64) -> UuiDandVersion {
    UuiDandVersion { uuid: uuid.to_string(), version: version.to_string() }
}

fn dhcp_network(id: &str) -> NetworkConfig {
    NetworkConfig {
        id: id.to_owned(),
        r#type: NetworkType::V4 as i32,
        ip: Some(Ipspec { dhcp: DhcpType::Client as i32, ..Ipspec::default() }),
        ..NetworkConfig::default()
    }
}

fn uplink_port(desired: &Desired) -> PhysicalIo {
    let uplink = &desired.uplink;
    let mut addresses = BTreeMap::from([("ifname".to_owned(), uplink.ifname.clone())]);
    addresses.extend(uplink.pci.iter().map(|pci| ("pcilong".to_owned(), pci.clone())));
    PhysicalIo {
        ptype: PhyIoType::PhyIoNetEth as i32,
        phylabel: uplink.name.clone(),
        logicallabel: uplink.name.clone(),
        assigngrp: uplink.name.clone(),
        phyaddrs: addresses,
        usage: PhyIoMemberUsage::PhyIoUsageMgmtAndApps as i32,
        usage_policy: Some(PhyIoUsagePolicy { free_uplink: true }),
        ..PhysicalIo::default()
    }
}

fn uplink_adapter(desired: &Desired, network: &str) -> SystemAdapter {
    SystemAdapter {
        name: desired.uplink.name.clone(),
        lower_layer_name: desired.uplink.name.clone(),
        uplink: true,
        free_uplink: true,
        network_uuid: network.to_owned(),
        ..SystemAdapter::default()
    }
}

fn datastore(store: &Datastore, around: &Surroundings<'_>) -> DatastoreConfig {
    let url = match &store.server {
        Server::Own => around.own_url,
        Server::OwnTls => around.own_tls_url,
        Server::Other(url) => url,
    };
    let kind = if url.starts_with("https://") { DsType::DsHttps } else { DsType::DsHttp };
    DatastoreConfig {
        id: datastore_uuid(around.device, &store.name),
        d_type: kind as i32,
        fqdn: url.to_owned(),
        dpath: store.path.clone(),
        api_key: store.api_key.clone(),
        password: store.password.clone(),
        ds_cert_pem: match &store.server {
            Server::OwnTls => vec![around.ca.as_bytes().to_vec()],
            Server::Own | Server::Other(_) => Vec::new(),
        },
        ..DatastoreConfig::default()
    }
}

fn datastore_uuid(device: Uuid, name: &str) -> String {
    derived(device, &format!("datastore/{name}")).to_string()
}

/// What a content tree is made of.
struct Image<'a> {
    datastore: &'a str,
    content: &'a str,
    format: Format,
    sha256: &'a str,
    size_bytes: u64,
}

impl<'a> Image<'a> {
    fn of_app(app: &'a App) -> Self {
        let App { datastore, content, format, sha256, size_bytes, .. } = app;
        Self { datastore, content, format: *format, sha256, size_bytes: *size_bytes }
    }

    fn of_base(base: &'a Base) -> Self {
        let Base { datastore, content, sha256, size_bytes, .. } = base;
        Self { datastore, content, format: Format::Raw, sha256, size_bytes: *size_bytes }
    }
}

fn content_tree(image: &Image<'_>, device: Uuid) -> ContentTree {
    let store = datastore_uuid(device, image.datastore);
    // Other bytes are another tree, as with real controllers, where an image is immutable.
    let name = format!("content/{}/{}/{}", image.datastore, image.content, image.sha256);
    ContentTree {
        uuid: derived(device, &name).to_string(),
        ds_id: store.clone(),
        ds_ids_list: vec![store],
        url: image.content.to_owned(),
        iformat: match image.format {
            Format::Raw => config::Format::Raw,
            Format::Qcow2 => config::Format::Qcow2,
            Format::Container => config::Format::Container,
            Format::Iso => config::Format::Iso,
        } as i32,
        sha256: image.sha256.to_owned(),
        max_size_bytes: image.size_bytes,
        display_name: image.content.to_owned(),
        ..ContentTree::default()
    }
}

fn volume(app: &App, version: &AppVersion, tree: &ContentTree, device: Uuid) -> Volume {
    Volume {
        uuid: derived(device, &format!("volume/{}/{}", app.name, tree.uuid)).to_string(),
        origin: Some(VolumeContentOrigin {
            r#type: VolumeContentOriginType::VcotDownload as i32,
            download_content_tree_id: tree.uuid.clone(),
        }),
        generation_count: i64::from(version.purge),
        display_name: format!("{}-0", app.name),
        ..Volume::default()
    }
}

fn instance(app: &App, version: &AppVersion, volume: &Volume, device: Uuid) -> AppInstanceConfig {
    let command = |counter| InstanceOpsCmd { counter, ..InstanceOpsCmd::default() };
    AppInstanceConfig {
        uuidandversion: Some(identity(app_uuid(device, &app.name), version.version)),
        displayname: app.name.clone(),
        fixedresources: Some(VmConfig {
            memory: app.memory_kib,
            maxmem: app.memory_kib,
            vcpus: app.vcpus,
            maxcpus: app.vcpus,
            extraargs: app.args.clone(),
            disable_logs: !app.logs,
            virtualization_mode: match app.mode {
                Mode::Pv => VmMode::Pv,
                Mode::Hvm => VmMode::Hvm,
                Mode::Fml => VmMode::Fml,
                Mode::Nohyper => VmMode::Nohyper,
            } as i32,
            ..VmConfig::default()
        }),
        activate: app.activate,
        restart: Some(command(version.restart)),
        purge: Some(command(version.purge)),
        volume_ref_list: vec![VolumeRef {
            uuid: volume.uuid.clone(),
            generation_count: volume.generation_count,
            ..VolumeRef::default()
        }],
        meta_data_type: MetaDataType::MetaDataNone as i32,
        start_delay_in_seconds: app.start_delay_s,
        ..AppInstanceConfig::default()
    }
}

fn derived(device: Uuid, name: &str) -> Uuid {
    Uuid::new_v5(&device, name.as_bytes())
}

fn digest_of<T: Serialize>(value: &T) -> String {
    // Maps are ordered, so equal values have equal text.
    hex(&sha256(&serde_json::to_vec(value).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::Measured;

    fn desired(memory: u32, sha: &str, extra: &str) -> Desired {
        let text = format!(
            "[[app]]\nname = 'hello'\ncontent = 'h.elf'\nmemory_kib = {memory}\n{extra}\n\
             [[app]]\nname = 'twin'\ncontent = 'h.elf'\nmemory_kib = 1\n"
        );
        let sha256 = sha.repeat(32);
        Desired::read(&text, &mut |_| Ok(Measured { sha256: sha256.clone(), size_bytes: 9 })).expect("right")
    }

    fn compiled(versions: &mut Versions, desired: &Desired) -> EdgeDevConfig {
        versions.advance(desired, 1000);
        let device = Uuid::from_bytes([7; 16]);
        let around = Surroundings {
            device,
            own_url: "http://10.0.2.2:80",
            own_tls_url: "https://c.test:8443",
            ca: "PEM",
            certs_hash: [0; 32],
        };
        compile(desired, versions, &around)
    }

    #[test]
    fn parts_refer_to_each_other() {
        let config = compiled(&mut Versions::default(), &desired(8192, "aa", ""));
        let app = &config.apps[0];
        let volume = &config.volumes[0];
        assert_eq!(app.volume_ref_list[0].uuid, volume.uuid);
        let tree = &config.content_info[0];
        assert_eq!(volume.origin.as_ref().map(|origin| &origin.download_content_tree_id), Some(&tree.uuid));
        assert_eq!(config.content_info.len(), 1, "twins share one tree");
        assert_eq!(tree.ds_ids_list, [config.datastores[0].id.clone()]);
        assert_eq!(config.system_adapter_list[0].network_uuid, config.networks[0].id);
        assert_eq!(config.system_adapter_list[0].lower_layer_name, config.device_io_list[0].logicallabel);
        assert_eq!(config.id.as_ref().map(|id| id.version.as_str()), Some("1"));
    }

    #[test]
    fn the_base_os_has_a_tree_of_its_own() {
        let base = "[base]\nversion = '2'\ncontent = 'x.update'\nretry = 3\ndatastore = 'controller-https'\n";
        let read = |text: &str| {
            Desired::read(text, &mut |_| Ok(Measured { sha256: "cc".repeat(32), size_bytes: 9 }))
                .expect("right")
        };
        let mut versions = Versions::default();
        let config = compiled(&mut versions, &read(base));
        let asked = config.baseos.expect("there is one");
        assert_eq!((asked.base_os_version.as_str(), asked.activate), ("2", true));
        assert_eq!(asked.retry_update.map(|command| command.counter), Some(3));
        let tree = &config.content_info[0];
        assert_eq!((&tree.uuid, tree.max_size_bytes), (&asked.content_tree_uuid, 9));
        let store = config.datastores.iter().find(|store| store.id == tree.ds_id).expect("its store");
        assert_eq!((store.fqdn.as_str(), store.d_type), ("https://c.test:8443", DsType::DsHttps as i32));
        assert_eq!(store.ds_cert_pem, [b"PEM"]);
        assert!(config.volumes.is_empty());
        // A new counter alone is a new configuration, and without the table there is no base OS.
        let again = compiled(&mut versions, &read(&base.replace('3', "4")));
        assert_eq!(again.id.map(|id| id.version), Some("2".into()));
        assert_eq!(compiled(&mut versions, &read("")).baseos, None);
    }

    #[test]
    fn counters_move_with_what_they_stand_for() {
        let mut versions = Versions::default();
        let counters = |config: &EdgeDevConfig| {
            let app = &config.apps[0];
            let counter = |command: &Option<InstanceOpsCmd>| command.as_ref().map(|command| command.counter);
            (counter(&app.restart), counter(&app.purge), config.volumes[0].generation_count)
        };
        let first = compiled(&mut versions, &desired(8192, "aa", ""));
        assert_eq!(counters(&first), (Some(0), Some(0), 0));
        let memory = compiled(&mut versions, &desired(9000, "aa", ""));
        assert_eq!(counters(&memory), (Some(1), Some(0), 0));
        let content = compiled(&mut versions, &desired(9000, "bb", ""));
        assert_eq!(counters(&content), (Some(1), Some(1), 1));
        let stopped = compiled(&mut versions, &desired(9000, "bb", "activate = false"));
        assert_eq!(counters(&stopped), (Some(1), Some(1), 1));
        let named = compiled(&mut versions, &desired(9000, "bb", "restart = 9\npurge = 7"));
        assert_eq!(counters(&named), (Some(9), Some(7), 7));
    }

    #[test]
    fn the_version_moves_only_with_the_content_of_the_file() {
        let mut versions = Versions::default();
        assert!(versions.advance(&desired(1, "aa", ""), 1000));
        assert!(!versions.advance(&desired(1, "aa", ""), 2000));
        assert_eq!((versions.version, versions.since_s), (1, 1000));
        assert!(versions.advance(&desired(2, "aa", ""), 500));
        assert_eq!((versions.version, versions.since_s), (2, 1001), "time never moves back");
    }
}
