//! What reports say, field by field.

use proto_eve::wire::{
    common::{Ipspec, PhyIoMemberUsage, PhyIoType},
    config::{NetworkConfig, PhysicalIo, SystemAdapter},
    info::{BootReason, ZInfoBlob},
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
        let facts = DeviceFacts { boot_cause: cause, hardware_watchdog: watchdog, boot_time, ..facts() };
        let mut world = World::of(provisioning(), facts);
        world.controller.set_config(config());
        world.run(60);
        let info = world.device_info();
        assert_eq!(info.last_boot_reason, reason as i32);
        assert!(info.last_reboot_reason.contains(text), "{}", info.last_reboot_reason);
        assert_eq!(info.last_reboot_time, info.boot_time);
        assert_eq!(info.boot_time.map(|time| time.seconds), Some(1_798_761_590));
        assert_eq!(info.hardware_watchdog_present, watchdog);
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
    world.run(60);
    world.controller.devices.clear();
    world.controller.force.insert("info".into(), 500);
    // A period passes, and then another.
    world.run(1500);
    world.controller.force.clear();
    world.controller.trace.clear();
    world.run(600);
    assert_eq!(world.controller.devices.len(), 1, "one of this period, none of those that were refused");
    world.controller.force.insert("info".into(), 500);
    world.controller.edit(|config| config.device_name = "renamed".into());
    world.run(1500);
    world.controller.force.clear();
    world.run(900);
    assert_eq!(world.device_info().device_name, "renamed");
}
