//! Pages of registers that no bus tells of.

use std::{string::ToString, vec::Vec};

use proto_manifest::{
    table::{Bus, Channel, Device, DeviceKind, Party, Registers, Table},
    wiring::{MmioWindow, RunningSlot},
};
use proto_xen::DomId;

use super::{TestBuilder, leak, name, nic, stage, table, wiring_of, with_each_call_failing};
use crate::{BuildError, build::elf::tests::small, fake::Ground, image::sha256, registers::HeldPage};

const PAGE: u64 = 0xfed4_0000;

fn chip(optional: bool) -> Device {
    let bus = Bus::Registers(Registers { address: PAGE, optional });
    Device { name: name("chip"), kind: DeviceKind::TpmCrb, bus }
}

/// The usual domains, of which the second one has a chip, and net no channels.
fn scene(optional: bool) -> (&'static Ground, TestBuilder) {
    let mut table = Table { channels: Default::default(), ..table() };
    table.devices = [nic(), chip(optional)].into_iter().collect();
    table.domains[1].devices.push(1).unwrap();
    table.domains[1].provisioning = false;
    stage(table, &[("images/net", &small()), ("images/control", &small())])
}

/// The machine has it, and the firmware says that it is one with the other interface.
fn with_page(optional: bool) -> (&'static Ground, TestBuilder) {
    let (ground, mut builder) = scene(optional);
    let device = &builder.table.devices[1];
    let Bus::Registers(registers) = device.bus else { panic!("no page") };
    builder.pages = leak([HeldPage::take(&ground.dom0, device, registers, DeviceKind::TpmTis)]);
    (ground, builder)
}

#[test]
fn a_page_is_handed_over_and_taken_back_in_this_order() {
    let (ground, mut builder) = with_page(false);
    ground.restart(None);
    let service = builder.build(1).unwrap();
    let wiring = wiring_of(ground, &service);
    let chip = wiring.device("chip").unwrap();
    assert_eq!(chip.kind, DeviceKind::TpmTis, "what the firmware says");
    assert_eq!(chip.mmio[..], [MmioWindow { gaddr: PAGE, len: 4096, bar: 0, offset: 0 }]);
    assert_eq!((chip.vectors.len(), chip.pool), (0, None));
    drop(service);
    let calls: Vec<_> = ground
        .calls()
        .into_iter()
        .filter(|call| {
            ["create", "iomem", "mmio", "pause", "destroy"].iter().any(|word| call.starts_with(word))
        })
        .collect();
    assert_eq!(
        calls,
        [
            // No IOMMU: it does no DMA.
            "create flags 0x3",
            "iomem d1 0xfed40+0x1 true",
            "mmio d1 0xfed40 <- 0xfed40+0x1 true",
            "pause d1",
            "mmio d1 0xfed40 <- 0xfed40+0x1 false",
            "iomem d1 0xfed40+0x1 false",
            "destroy d1",
        ]
    );
    ground.assert_clean("ended");
    // The next life has it again.
    let service = builder.build(1).unwrap();
    assert!(wiring_of(ground, &service).device("chip").is_some());
}

#[test]
fn a_failure_at_any_call_leaves_nothing_of_a_page() {
    let (ground, mut builder) = with_page(false);
    let failures = with_each_call_failing(ground, "control", || {
        builder.build(1).and_then(|control| control.unpause().map(|()| control)).is_ok()
    });
    assert!(failures > 20, "{failures}");
}

#[test]
fn a_machine_without_an_optional_page_has_the_domain_all_the_same() {
    let (ground, mut builder) = scene(true);
    builder.slot = Some(RunningSlot::B);
    let service = builder.build(1).unwrap();
    let wiring = wiring_of(ground, &service);
    assert_eq!((wiring.devices.len(), wiring.slot), (0, Some(RunningSlot::B)));
    assert!(!ground.calls().iter().any(|call| call.contains("0xfed40")));
}

#[test]
fn a_page_that_must_be_there_is_named_before_anything_is_done() {
    let (ground, mut builder) = scene(false);
    ground.restart(None);
    let error = builder.prepare(1).map(drop).unwrap_err();
    assert!(matches!(error, BuildError::Registers(_)));
    assert_eq!(error.to_string(), "no device with registers at 0xfed40000 in this machine");
    assert_eq!(ground.calls(), [""; 0]);
    assert_eq!(ground.left_mapped(DomId::DOM0), 0);
}

#[test]
fn who_has_the_chip_and_the_channel_can_measure_and_only_images_that_were_checked_are() {
    let measure = |offers| Channel { name: name("measure"), offers, accepts: Party::Dom0 };
    let with = |offers: u8, archive: &[(&str, &[u8])], held: bool| {
        let mut table = Table { channels: [measure(offers)].into_iter().collect(), ..table() };
        table.devices = [nic(), chip(true)].into_iter().collect();
        table.domains[1].devices.push(1).unwrap();
        let (ground, mut builder) = stage(table, archive);
        if held {
            let device = &builder.table.devices[1];
            let Bus::Registers(registers) = device.bus else { panic!("no page") };
            builder.pages = leak([HeldPage::take(&ground.dom0, device, registers, DeviceKind::TpmCrb)]);
        }
        builder
    };
    let good: &[(&str, &[u8])] = &[("images/net", &small()), ("images/control", &small())];
    assert!(with(1, good, true).can_measure());
    assert!(!with(1, good, false).can_measure(), "a machine without a TPM");
    assert!(!with(0, good, true).can_measure(), "the channel is another one's");

    let mut builder = with(1, &[("images/net", b"other"), ("images/control", &small())], true);
    assert_eq!(builder.checked_images().count(), 0);
    assert!(builder.prepare(0).is_err());
    builder.prepare(1).unwrap();
    let images: Vec<_> = builder.checked_images().collect();
    assert_eq!(images, [(&name("control"), sha256(&small()))]);
}
