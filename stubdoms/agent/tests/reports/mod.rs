//! What reports say, field by field.

use proto_eve::wire::{
    common::{Ipspec, PhyIoMemberUsage, PhyIoType, ProxyConfig},
    config::{BaseOs, NetworkConfig, NetworkInstanceConfig, PhysicalIo, SystemAdapter, UuiDandVersion},
    info::{
        BaseOsStatus, BootReason, DevicePort, DevicePortStatus, ZInfoBlob, ZNetworkInstanceState,
        deprecated_metric_item::MetricItemValue,
    },
};

use super::*;

/// The uplink, as a configuration names it.
fn with_uplink(config: &mut EdgeDevConfig) {
    config.networks = vec![NetworkConfig { id: NETWORK.into(), r#type: 4, ..NetworkConfig::default() }];
    config.networks[0].ip = Some(Ipspec { dhcp: 4, ..Default::default() });
    config.device_io_list = vec![PhysicalIo {
        ptype: PhyIoType::PhyIoNetEth as i32,
        phylabel: "eth0".into(),
        logicallabel: "shopfloor".into(),
        assigngrp: "group0".into(),
        usage: PhyIoMemberUsage::PhyIoUsageMgmtAndApps as i32,
        ..PhysicalIo::default()
    }];
    config.system_adapter_list = vec![SystemAdapter {
        name: "uplink".into(),
        lower_layer_name: "shopfloor".into(),
        network_uuid: NETWORK.into(),
        uplink: true,
        cost: 3,
        ..SystemAdapter::default()
    }];
}

const NETWORK: &str = "b0b0b0b0-0000-4000-8000-000000000001";

#[test]
fn the_device_says_why_it_started_and_what_watches_it() {
    for (cause, watchdog, reason, text) in [
        (BootCause::Unknown, false, BootReason::Unknown, "not known"),
        (BootCause::Watchdog, true, BootReason::WatchdogHung, "the watchdog has reset the machine"),
    ] {
        let boot_time = Some(WallTime { seconds: 1_798_761_590, nanos: 0 });
        let began_ns = 20_000_000_000;
        let facts =
            DeviceFacts { boot_cause: cause, hardware_watchdog: watchdog, boot_time, began_ns, ..facts() };
        let mut world = World::of(provisioning(), facts);
        world.controller.set_config(config());
        world.run(100);
        // Its clock counts since power-on, and the machine was started later.
        let sent = world.controller.metrics.last().unwrap().at_time_stamp.unwrap().seconds - START as i64;
        let up = world.device_metrics().cpu_metric.as_ref().unwrap().up_time.unwrap().seconds;
        assert_eq!(up, sent - 20);
        let info = world.device_info();
        assert_eq!(info.last_boot_reason, reason as i32);
        assert!(info.last_reboot_reason.contains(text), "{}", info.last_reboot_reason);
        assert_eq!(info.last_reboot_time, info.boot_time);
        assert_eq!(info.boot_time.map(|time| time.seconds), Some(1_798_761_590));
        assert_eq!(info.hardware_watchdog_present, watchdog);
        let start = &info.metric_items[0];
        assert_eq!(
            (start.key.as_str(), &start.metric_item_value),
            ("start", &Some(MetricItemValue::Uint32Value(1)))
        );
    }
}

#[test]
fn the_uplink_is_an_adapter_that_the_system_uses() {
    // Before the configuration names it, and after.
    let mut world = World::onboarded();
    for (name, member, usage) in [
        ("eth0", "eth0", PhyIoMemberUsage::PhyIoUsageMgmtOnly),
        ("group0", "uplink", PhyIoMemberUsage::PhyIoUsageMgmtAndApps),
    ] {
        let [bundle] = &world.device_info().assignable_adapters[..] else { panic!("one adapter") };
        assert_eq!((bundle.r#type, bundle.name.as_str()), (PhyIoType::PhyIoNetEth as i32, name));
        assert_eq!(bundle.members, [member]);
        assert!(bundle.used_by_base_os && bundle.used_by_app_uuid.is_empty() && bundle.err.is_none());
        assert_eq!(bundle.io_address_list[0].mac_address, "02:00:00:00:00:01");
        assert_eq!(bundle.usage, usage as i32);
        world.controller.edit(with_uplink);
        world.run(60);
    }
}

#[test]
fn a_blob_is_reported_on_its_way_shared_and_gone() {
    let mut world = World::new();
    world.store_is_mute = true;
    world.controller.set_config(config());
    world.run(30);
    let sha256 = config().content_info[0].sha256.clone();
    let id = world.downloads[0].id;
    for (received, state, percent) in [
        (0, ZSwState::DownloadStarted, 0),
        (40, ZSwState::DownloadStarted, 40),
        (99, ZSwState::DownloadStarted, 99),
        (100, ZSwState::Verifying, 100),
    ] {
        world.agent.on_download_progress(world.now(), id, received, Some(100));
        world.run(1);
        let blob = world.controller.blobs.last().unwrap();
        assert_eq!((&blob.sha256, blob.state, blob.progress_percentage), (&sha256, state as i32, percent));
        assert_eq!(world.controller.contents.last().unwrap().state, state as i32);
    }
    world.held.insert(world.downloads[0].sha256);
    world.agent.on_download_done(world.now(), id, Ok(100));
    world.run(30);
    assert!(running(&world));
    let blob = world.controller.blobs.last().unwrap();
    assert_eq!((blob.state, blob.progress_percentage), (ZSwState::Delivered as i32, 100));
    assert_eq!(blob.resources.as_ref().unwrap().cur_size_bytes, 100);
    assert_eq!((blob.usage.as_ref().unwrap().ref_count, blob.err.is_none()), (1, true));

    // Another content of the same bytes, in capital letters: one blob still.
    world.controller.edit(|config| {
        let mut second = config.content_info[0].clone();
        second.uuid = "e0e0e0e0-0000-4000-8000-000000000002".into();
        second.sha256 = second.sha256.to_uppercase();
        config.content_info.push(second);
    });
    world.run(30);
    let blob = world.controller.blobs.last().unwrap();
    assert_eq!((&blob.sha256, blob.state), (&sha256, ZSwState::Delivered as i32));
    assert_eq!(blob.usage.as_ref().unwrap().ref_count, 2);

    world.controller.edit(|config| {
        config.apps.clear();
        config.volumes.clear();
        config.content_info.clear();
    });
    world.run(60);
    let gone = ZInfoBlob { sha256, ..ZInfoBlob::default() };
    assert_eq!(world.controller.blobs.last(), Some(&gone));
}

#[test]
fn a_blob_that_is_not_what_its_hash_says_has_an_error() {
    let mut world = World::new();
    world.store = Ok(b"something else".to_vec());
    world.controller.set_config(config());
    world.run(60);
    let blob = world.controller.blobs.last().unwrap();
    assert_eq!(blob.state, ERROR);
    assert!(blob.err.as_ref().unwrap().description.contains("SHA-256"), "{:?}", blob.err);
}

#[test]
fn periodic_device_info_is_not_repeated_but_changes_are() {
    let mut world = World::onboarded();
    world.controller.edit(|config| config.config_items.push(item("timer.ntpsources.interval", "86400")));
    world.run(900);
    world.controller.trace.clear();
    world.controller.force.insert("info".into(), 500);
    // Periods of 480 to 720 s pass, and each has one attempt.
    world.run(1500);
    let refused = world.controller.trace.iter().filter(|line| *line == "info 500").count();
    assert!((2..=4).contains(&refused), "{refused} attempts");
    world.controller.edit(|config| config.device_name = "renamed".into());
    world.run(1500);
    world.controller.force.clear();
    world.run(900);
    assert_eq!(world.device_info().device_name, "renamed");
}

/// What the device says of its one port.
fn port(world: &World) -> (DevicePortStatus, DevicePort) {
    let status = world.device_info().system_adapter.as_ref().unwrap().status[0].clone();
    let port = status.ports[0].clone();
    (status, port)
}

#[test]
fn a_port_that_failed_says_when_and_that_it_works_again() {
    let mut world = World::onboarded();
    let (status, device_port) = port(&world);
    assert_eq!((status.last_failed, status.last_error.as_str()), (None, ""));
    // No description, and a time: it was found to work.
    let tested = device_port.err.unwrap();
    assert_eq!((tested.description.as_str(), tested.timestamp), ("", status.last_succeeded));
    let mut failed_before = 0;
    let ways: [fn(&mut World, bool); 2] =
        [|world, up| world.uplink(up), |world, up| world.controller.up = up];
    for lose in ways {
        lose(&mut world, false);
        let lost = world.now().wall.unwrap().seconds as i64;
        world.run(200);
        lose(&mut world, true);
        let back = world.now().wall.unwrap().seconds as i64;
        world.run(120);
        let (status, device_port) = port(&world);
        let failed = status.last_failed.unwrap().seconds;
        let succeeded = status.last_succeeded.unwrap().seconds;
        // The controller's absence is found with the next request.
        assert!(failed > failed_before && (lost..lost + 100).contains(&failed), "{failed}, lost at {lost}");
        assert!((back..back + 100).contains(&succeeded), "{succeeded}, back at {back}");
        assert_eq!((status.last_error.as_str(), device_port.err.unwrap().description.as_str()), ("", ""));
        failed_before = failed;
    }
}

#[test]
fn metrics_say_what_was_used_sent_and_received() {
    let mut world = World::new();
    world.controller.set_config(config());
    world.usage = vec![
        DomainUsage { name: "net".into(), app: None, memory_kib: 16 << 10, cpu_ns: 2_500_000_000 },
        DomainUsage { name: "control".into(), app: None, memory_kib: 24 << 10, cpu_ns: 1_500_000_000 },
        DomainUsage {
            name: "hello".into(),
            app: Uuid::parse(APP),
            memory_kib: 12 << 10,
            cpu_ns: 3_000_000_007,
        },
    ];
    world.counters =
        LinkCounters { tx_bytes: 1, tx_packets: 2, tx_drops: 3, rx_bytes: 4, rx_packets: 5, rx_drops: 6 };
    world.run_until("RUNNING", running);
    world.net_logs();
    world.uplink(true);
    world.run(200);
    let metrics = world.device_metrics();
    // The machine has 512 MiB, of which 256 are free.
    let memory = metrics.memory.as_ref().unwrap();
    assert_eq!((memory.used_mem, memory.avail_mem), (256, 256));
    assert_eq!((memory.used_percentage, memory.avail_percentage), (50.0, 50.0));
    let device = metrics.device_memory.as_ref().unwrap();
    let parts = [device.memory_mb, device.allocated_apps_mb, device.allocated_eve_mb, device.used_eve_mb];
    assert_eq!(parts, [512, 12, 40, 40]);
    let cpu = metrics.cpu_metric.as_ref().unwrap();
    assert_eq!((cpu.total_ns, cpu.total), (7_000_000_007, 7));
    // Seconds since boot, at the time of the message.
    let message = world.controller.metrics.last().unwrap();
    let sent = message.at_time_stamp.unwrap().seconds - START as i64;
    assert_eq!(cpu.up_time.unwrap().seconds, sent);
    let [network] = &metrics.network[..] else { panic!("one port") };
    assert_eq!((network.i_name.as_str(), network.local_name.as_str()), ("eth0", "net0"));
    assert_eq!([network.tx_bytes, network.tx_pkts, network.tx_drops], [1, 2, 3]);
    assert_eq!([network.rx_bytes, network.rx_pkts, network.rx_drops], [4, 5, 6]);
    let [cloud] = &metrics.zedcloud[..] else { panic!("one port") };
    assert_eq!((cloud.if_name.as_str(), cloud.failures, cloud.auth_verify_failure), ("eth0", 0, 0));
    let answered: i64 = cloud.url_metrics.iter().map(|url| url.recv_msg_count).sum();
    assert!(cloud.success > 0 && i64::try_from(cloud.success) == Ok(answered), "{cloud:?}");
    assert!(cloud.last_success.is_some() && cloud.last_failure.is_none());
    let of_config = cloud.url_metrics.iter().find(|url| url.url.ends_with("/config")).unwrap();
    assert!(of_config.try_msg_count == of_config.sent_msg_count && of_config.sent_byte_count > 0);
    assert!(of_config.recv_byte_count > 0);
    let newlog = metrics.newlog.as_ref().unwrap();
    assert!(newlog.total_bytes_upload > 0 && !newlog.failed_to_send);
    assert_eq!((newlog.num4xx_responses, newlog.too_many_request), (0, 0));
    assert_eq!(metrics.dormant_time_in_seconds, 180);
    assert!(metrics.last_received_config.is_some() && metrics.last_processed_config.is_some());
    let [app] = &message.am[..] else { panic!("one application") };
    assert_eq!((app.app_id.as_str(), app.app_name.as_str(), app.app_version.as_str()), (APP, "hello", "1"));
    let cpu = app.cpu.as_ref().unwrap();
    assert_eq!((cpu.total_ns, cpu.total), (3_000_000_007, 3));
    assert!((1..=sent).contains(&cpu.up_time.unwrap().seconds), "since its own start");
    let memory = app.app_memory.as_ref().unwrap();
    assert_eq!((memory.allocated_mb, memory.used_mb), (16, 12));

    // A shorter period counts at once; what fails is counted; an application that ended uses nothing.
    world.usage.truncate(2);
    world.controller.edit(|config| {
        config.config_items.push(item("timer.metric.interval", "20"));
        config.apps[0].activate = false;
    });
    world.run(60);
    world.controller.up = false;
    world.run(60);
    world.controller.up = true;
    world.run(120);
    let message = world.controller.metrics.last().unwrap();
    let app = &message.am[0];
    assert_eq!(app.cpu.as_ref().map(|cpu| (cpu.total_ns, cpu.up_time)), Some((0, None)));
    assert_eq!(app.app_memory.as_ref().map(|memory| (memory.allocated_mb, memory.used_mb)), Some((0, 0)));
    let metrics = world.device_metrics();
    assert_eq!(metrics.dormant_time_in_seconds, 60);
    assert!(metrics.zedcloud[0].failures > 0 && metrics.zedcloud[0].last_failure.is_some());
}

#[test]
fn what_is_not_supported_is_reported_on_its_object() {
    let mut world = World::onboarded();
    world.controller.edit(|config| {
        config.network_instances = vec![
            NetworkInstanceConfig {
                uuidandversion: Some(UuiDandVersion { uuid: NETWORK.into(), version: "7".into() }),
                displayname: "shop".into(),
                inst_type: 2,
                ..NetworkInstanceConfig::default()
            },
            // One without an id is left out.
            NetworkInstanceConfig { displayname: "nameless".into(), ..NetworkInstanceConfig::default() },
        ];
        config.baseos = Some(BaseOs {
            activate: true,
            base_os_version: "9.9.9".into(),
            retry_update: Some(DeviceOpsCmd { counter: 4, ..DeviceOpsCmd::default() }),
            ..BaseOs::default()
        });
    });
    world.run(60);
    let [network] = &world.controller.networks[..] else { panic!("one instance") };
    assert_eq!((network.network_id.as_str(), network.network_version.as_str()), (NETWORK, "7"));
    assert_eq!((network.displayname.as_str(), network.inst_type), ("shop", 2));
    assert_eq!(network.state, ZNetworkInstanceState::ZnetinstStateError as i32);
    assert!(!network.activated && network.network_err.len() == 1);
    assert!(network.network_err[0].description.starts_with("shop: network instances are not supported"));
    let software = world.device_info().sw_list.clone();
    let [running_now, other] = &software[..] else { panic!("both partitions") };
    assert_eq!((running_now.partition_label.as_str(), running_now.activated), ("IMGA", true));
    assert_eq!((running_now.short_version.as_str(), running_now.sw_err.is_none()), ("0.1.0-test", true));
    assert_eq!((other.partition_label.as_str(), other.short_version.as_str()), ("IMGB", "9.9.9"));
    let error = other.sw_err.as_ref().unwrap();
    assert!(error.description.contains("not started from a slot"), "{}", error.description);
    assert_eq!(other.user_status, BaseOsStatus::Failed as i32);
    assert_eq!(world.device_info().baseos_update_counter, 0, "nothing looks at it");
    // The version that runs is no update, and without network instances there is none to report.
    world.controller.edit(|config| {
        config.network_instances.clear();
        config.baseos.as_mut().unwrap().base_os_version = "0.1.0-test".into();
    });
    world.run(60);
    let gone = world.controller.networks.last().unwrap();
    assert_eq!((gone.network_id.as_str(), gone.displayname.as_str()), (NETWORK, ""));
    let other = &world.device_info().sw_list[1];
    assert_eq!((other.short_version.as_str(), other.sw_err.is_none()), ("", true));
}

#[test]
fn the_port_is_reported_as_it_is_with_what_is_not_done_of_its_configuration() {
    type Change = fn(&mut EdgeDevConfig);
    let cases: [(Change, &str); 7] = [
        (|_| {}, ""),
        (|config| config.networks.clear(), "its network is not in the configuration"),
        (
            |config| config.networks[0].ip.as_mut().unwrap().dhcp = 1,
            "static addresses are not supported; it runs on DHCP",
        ),
        (
            |config| {
                let second = SystemAdapter { name: "second".into(), ..config.system_adapter_list[0].clone() };
                config.system_adapter_list.push(second);
            },
            "more than one uplink is not supported",
        ),
        (|config| config.vlans.push(Default::default()), "VLANs and bonds are not supported"),
        (|config| config.bonds.push(Default::default()), "VLANs and bonds are not supported"),
        (
            |config| {
                let proxy = ProxyConfig { network_proxy_enable: true, ..ProxyConfig::default() };
                config.networks[0].ent_proxy = Some(proxy);
            },
            "proxies are not supported; the controller is reached directly",
        ),
    ];
    let stamp = |seconds| Some(proto_eve::Timestamp { seconds, nanos: 0 });
    for (change, problem) in cases {
        let mut world = World::new();
        let mut wanted = config();
        with_uplink(&mut wanted);
        change(&mut wanted);
        wanted.config_timestamp = stamp(1_700_000_000);
        world.controller.set_config(wanted);
        world.run(60);
        let (status, device_port) = port(&world);
        assert_eq!((status.version, status.key.as_str()), (1, "zedagent"), "{problem}");
        assert_eq!(status.time_priority, stamp(1_700_000_000));
        assert_eq!((device_port.name.as_str(), device_port.ifname.as_str()), ("uplink", "net0"));
        assert_eq!((device_port.cost, device_port.free, device_port.up), (3, false, true));
        assert_eq!((device_port.network_uuid.as_str(), device_port.dhcp_type), (NETWORK, 4));
        assert_eq!(device_port.ip_addrs, ["10.0.2.15"]);
        assert_eq!(device_port.dns_servers, ["10.0.2.3"]);
        assert_eq!(device_port.default_routers, ["10.0.2.2"]);
        assert_eq!((device_port.subnet.as_str(), device_port.gateway.as_str()), ("10.0.2.0/24", "10.0.2.2"));
        let dns = world.device_info().dns.clone().unwrap();
        assert_eq!((dns.dn_sservers, dns.dn_sdomain.as_str()), (vec!["10.0.2.3".to_owned()], "shop.test"));
        let description = device_port.err.unwrap().description;
        assert_eq!(description.is_empty(), problem.is_empty(), "{description}");
        assert!(description.contains(problem), "{description}");
        assert_eq!(status.last_error, description);
        assert!(running(&world), "{problem}");
    }
}
