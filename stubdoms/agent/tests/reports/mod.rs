//! What reports say, field by field.

use proto_eve::wire::{
    common::{Ipspec, PhyIoMemberUsage, PhyIoType},
    config::{NetworkConfig, PhysicalIo, SystemAdapter},
    info::BootReason,
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
