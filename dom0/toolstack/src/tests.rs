//! Whole domains on the fake Xen: the order of calls, what arrives in them, and that a failure at
//! any call leaves nothing.

use std::{boxed::Box, string::ToString, vec, vec::Vec};

use proto_manifest::{
    archive::{Archive, Writer},
    name::Name,
    table::{Applications, Bus, Channel, Device, DeviceKind, Domain, Party, Pci, PciSelect, Table},
    wiring::{End, Wiring},
};
use proto_xen::{DomId, sched::ShutdownReason};

use crate::{
    BuildError, Step,
    application::{Application, Order},
    build::elf::tests::small,
    fake::World,
    image::{ImageError, sha256},
    memory,
    pci::{Held, PciError},
    service::{Builder, Service},
    watch,
};

mod devices;

type TestBuilder = Builder<'static, World, World>;
type TestService = Service<'static, World, World>;

fn name(text: &str) -> Name {
    Name::try_from(text).unwrap()
}

pub(crate) fn nic() -> Device {
    Device {
        name: name("uplink"),
        kind: DeviceKind::E1000e,
        bus: Bus::Pci(Pci {
            select: PciSelect { vendor: 0x8086, device: 0x10d3, class: Some(0x02_0000), skip: 0 },
            bars: [0].into_iter().collect(),
            vectors: 2,
        }),
    }
}

/// Where a PCI device of a test is.
pub(crate) fn pci(device: &mut Device) -> &mut Pci {
    match &mut device.bus {
        Bus::Pci(pci) => pci,
        Bus::VirtioMmio(_) => panic!("not on PCI"),
    }
}

/// Takes the hold on a PCI device.
pub(crate) fn hold(world: &World, mut device: Device) -> Result<Held<'_, World, World>, PciError> {
    let pci = pci(&mut device).clone();
    Held::take(world, world, &device, &pci)
}

fn table() -> Table {
    let domain = |text: &str, provisioning, devices: &[u8]| Domain {
        name: name(text),
        image: name(text),
        sha256: sha256(&small()),
        memory_mib: 4,
        vcpus: 1,
        heap_kib: 1024,
        provisioning,
        devices: devices.iter().copied().collect(),
    };
    Table {
        board: "test".try_into().unwrap(),
        domains: [domain("net", false, &[0]), domain("control", true, &[])].into_iter().collect(),
        channels: [
            Channel { name: name("network"), offers: 1, accepts: Party::Domain(0) },
            Channel { name: name("device"), offers: 1, accepts: Party::Dom0 },
        ]
        .into_iter()
        .collect(),
        devices: [nic()].into_iter().collect(),
        applications: Applications { memory_mib: 64, count: 2, vcpus: 1, image_kib: 64 },
    }
}

fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

/// A world, and a builder whose device is held.
fn stage(table: Table, archive: &[(&str, &[u8])]) -> (&'static World, TestBuilder) {
    let mut writer = Writer::new();
    for (name, data) in archive {
        writer.add(name, data).unwrap();
    }
    let bytes = leak(writer.finish());
    let world = leak(World::new());
    let table = leak(table);
    let held = leak([hold(world, table.devices[0].clone()).unwrap()]);
    let archive = Archive::open(bytes).unwrap();
    (world, Builder::new(world, table, archive, held, 0xabc, b"provisioning"))
}

fn usual() -> (&'static World, TestBuilder) {
    stage(table(), &[("images/net", &small()), ("images/control", &small())])
}

/// Both services, as at boot.
fn boot(builder: &mut TestBuilder) -> Result<[TestService; 2], BuildError> {
    let plans = [builder.prepare(0)?, builder.prepare(1)?];
    let shells = [builder.create(&plans[0])?, builder.create(&plans[1])?];
    let ([net, control], [net_shell, control_shell]) = (plans, shells);
    let net = builder.finish(net, net_shell)?;
    net.unpause()?;
    let control = builder.finish(control, control_shell)?;
    control.unpause()?;
    Ok([net, control])
}

/// The wiring record that a service was given.
fn wiring_of(world: &World, service: &TestService) -> Wiring {
    let word = |at: u64, length| {
        let bytes = world.read(service.id(), at, length);
        bytes.iter().rev().fold(0u64, |value, &byte| value << 8 | u64::from(byte))
    };
    let start_info = service.epitaph().base().0 - 4096;
    let modules = word(start_info + 16, 8);
    let (at, length) = (word(modules, 8), word(modules + 8, 8));
    Wiring::decode(&world.read(service.id(), at, length as usize)).unwrap()
}

#[test]
fn services_are_built_and_wired_to_each_other() {
    let (world, mut builder) = usual();
    let [net, control] = boot(&mut builder).unwrap();
    let (of_net, of_control) = (wiring_of(world, &net), wiring_of(world, &control));
    assert_eq!((of_net.name.as_str(), of_net.domid), ("net", 1));
    assert_eq!((of_control.name.as_str(), of_control.domid), ("control", 2));
    let memory = 4 << 20;
    assert_eq!(of_net.epitaph, memory - 2 * 4096);
    assert_eq!(of_control.epitaph, memory - 4 * 4096);

    let Some(End::Dom0 { page, .. }) = of_net.channel("dom0") else { panic!("no channel to dom0") };
    assert_eq!(page, memory - 4096);
    let Some(End::Offer { peer: 1, page, gref, port }) = of_control.channel("network") else { panic!() };
    assert_eq!(page, memory - 2 * 4096);
    let accept = End::Accept { peer: 2, gref, remote_port: port };
    assert_eq!(of_net.channel("network"), Some(accept));
    let Some(End::Dom0 { page, .. }) = of_control.channel("device") else { panic!() };
    assert_eq!(page, memory - 4096);
    let ours: Vec<_> = control.to_dom0.iter().map(|end| (end.name.as_str(), end.page.base().0)).collect();
    assert_eq!(ours, [("dom0", memory - 3 * 4096), ("device", page)]);

    let uplink = of_net.device("uplink").unwrap();
    assert_eq!(uplink.vectors[..], [0x50, 0x51]);
    let window = uplink.mmio[0];
    assert_eq!((window.gaddr, window.len, window.bar, window.offset), (0xe000_0000, 0x2_0000, 0, 0));
    assert_eq!(of_control.devices.len(), 0);

    drop([net, control]);
    world.assert_clean("ended");
}

#[test]
fn an_image_arrives_with_its_bss_cleared() {
    let (world, mut builder) = usual();
    let services = boot(&mut builder).unwrap();
    let id = services[1].id();
    assert_eq!(world.read(id, 0x10_0000, 6), b"text..");
    assert_eq!(world.read(id, 0x10_2000, 4), b"data");
    assert_eq!(world.read(id, 0x10_2004, 0x1230), vec![0; 0x1230]);
    assert_eq!(world.read(id, 0x10_3234, 4), [0xdd; 4], "the rest is not written");
    let provisioning = services[1].epitaph().base().0 - 2 * 4096;
    assert_eq!(world.read(id, provisioning, 12), b"provisioning");
    assert_eq!(world.read(id, services[1].epitaph().base().0, 4096), vec![0; 4096]);
}

#[test]
fn a_driver_domain_is_built_and_ended_in_this_order() {
    let (world, mut builder) = stage(
        Table { channels: Default::default(), ..table() },
        &[("images/net", &small()), ("images/control", &small())],
    );
    world.restart(None);
    let service = builder.build(0).unwrap();
    service.unpause().unwrap();
    drop(service);
    assert_eq!(
        world.calls(),
        [
            "create flags 0x23",
            "vcpus d1 1",
            "max_mem d1 4096",
            "mempool d1 2097152",
            "populate d1 2 of order 9",
            "param d1 31",
            "reset",
            "assign d1 00:03.0",
            "iomem d1 0xfeb80+0x20 true",
            "mmio d1 0xe0000 <- 0xfeb80+0x20 true",
            "map_msix d1 00:03.0 entry 0 table 0xfebe0000",
            "bind d1 pirq 101 vector 0x50",
            "map_msix d1 00:03.0 entry 1 table 0xfebe0000",
            "bind d1 pirq 102 vector 0x51",
            "msix 0x8004",
            "command 0x0406",
            "alloc_unbound d1 for d0",
            "bind_interdomain d1",
            "map d1 0x3fe+0x2",
            "map d1 0x100+0x1",
            "map d1 0x102+0x2",
            "map d1 0x3fc+0x1",
            "map d1 0x3fd+0x1",
            "context d1",
            "unpause d1",
            "- pause d1",
            "- close",
            "command 0x0402",
            "msix 0x0004",
            "- unbind d1 pirq 101",
            "- unmap_pirq d1 101",
            "- unbind d1 pirq 102",
            "- unmap_pirq d1 102",
            "- deassign d1 00:03.0",
            "- destroy d1",
        ]
    );
    world.assert_clean("ended");
}

#[test]
fn a_failure_at_any_call_leaves_nothing() {
    let (world, mut builder) = usual();
    world.restart(None);
    drop(boot(&mut builder).unwrap());
    let all = world.calls().iter().position(|call| call.starts_with('-')).unwrap();
    let mut failures = 0;
    for number in 0..all {
        world.restart(Some(number));
        let result = boot(&mut builder).map(drop);
        let call = world.calls()[number].clone();
        // What is written to the device itself cannot fail.
        if ["reset", "msix", "command"].iter().any(|word| call.starts_with(word)) {
            continue;
        }
        assert!(result.is_err(), "{number}: {call}");
        failures += 1;
        world.assert_clean(&std::format!("{number}: {call}"));
    }
    assert!(failures > 40, "{failures}");
}

#[test]
fn a_driver_domain_is_built_anew_any_number_of_times() {
    let (world, mut builder) = usual();
    let [mut net, control] = boot(&mut builder).unwrap();
    let first = wiring_of(world, &net);
    for _ in 0..5 {
        builder.forget(net.id());
        drop(net);
        net = builder.build(0).unwrap();
        net.unpause().unwrap();
    }
    let last = wiring_of(world, &net);
    assert_eq!(last.devices, first.devices);
    let (Some(End::Accept { remote_port: old, .. }), Some(End::Accept { peer, remote_port: new, .. })) =
        (first.channel("network"), last.channel("network"))
    else {
        panic!("no channel")
    };
    assert_eq!(peer, control.id().0);
    assert_ne!(old, new, "a port that was set aside for a dead domain is of no use");
    drop((net, control));
    world.assert_clean("ended");
}

#[test]
fn images_are_those_of_the_table() {
    let mut spoilt = small();
    spoilt[200] ^= 1;
    let (world, mut builder) = stage(table(), &[("images/net", &spoilt)]);
    world.restart(None);
    let error = builder.build(0).map(drop).unwrap_err();
    assert!(matches!(error, BuildError::Image(ImageError::Hash { .. })));
    assert!(error.to_string().starts_with("image hash differs from the table: "), "{error}");
    assert_eq!(builder.build(1).map(drop), Err(BuildError::Image(ImageError::Missing)));
    assert_eq!(world.calls(), [""; 0], "Xen was not asked for anything");
}

#[test]
fn a_service_without_its_peer_is_built_without_their_channel() {
    let (world, mut builder) = usual();
    let net = builder.build(0).unwrap();
    assert_eq!(wiring_of(world, &net).channel("network"), None);
    drop(net);
    world.assert_clean("ended");
    assert_eq!(builder.build(2).map(drop), Err(BuildError::NoSuchDomain));
}

#[test]
fn a_service_whose_device_is_missing_is_not_created() {
    let (world, mut builder) = usual();
    builder.held = &[];
    world.restart(None);
    let missing = PciError::NotFound { vendor: 0x8086, device: 0x10d3 };
    assert_eq!(builder.prepare(0).map(drop), Err(BuildError::Device(missing)));
    assert_eq!(world.calls(), [""; 0], "Xen was not asked for anything");
    let control = builder.build(1).unwrap();
    assert_eq!(wiring_of(world, &control).channel("network"), None);
    drop(control);
    world.assert_clean("ended");
}

#[test]
fn nobody_is_connected_to_a_service_that_could_not_be_finished() {
    let (world, mut builder) = usual();
    let plans = [builder.prepare(0).unwrap(), builder.prepare(1).unwrap()];
    let shells = [builder.create(&plans[0]).unwrap(), builder.create(&plans[1]).unwrap()];
    let ([net, control], [net_shell, control_shell]) = (plans, shells);
    // Any call that can fail will do; what is written to the device itself cannot.
    world.restart(Some(3));
    assert!(builder.finish(net, net_shell).is_err());
    world.restart(None);
    let control = builder.finish(control, control_shell).unwrap();
    let wiring = wiring_of(world, &control);
    assert_eq!(wiring.channel("network"), None);
    assert!(wiring.channel("device").is_some());
    drop(control);
    world.assert_clean("ended");
}

fn order(image: &[u8]) -> Order<'_> {
    Order { image, memory_pages: 520, vcpus: 1, command_line: "greeting=hi", signature: 0 }
}

#[test]
fn an_application_gets_memory_and_a_console() {
    let world = leak(World::new());
    let image = small();
    let application = Application::build(world, &order(&image)).unwrap();
    application.unpause().unwrap();
    let calls = world.calls();
    assert_eq!(calls[0], "create flags 0x3", "no IOMMU: it gets no device");
    assert_eq!(calls[4..6], ["populate d1 1 of order 9", "populate d1 8 of order 0"]);
    {
        let state = world.state.borrow();
        let params = &state.domains[&1].params;
        assert_eq!((params[&17], params[&31]), (519, 3));
    }
    assert_eq!(world.read(DomId(1), (518 << 12) + 512, 12), b"greeting=hi\0");
    let failing = calls.len();
    drop(application);
    world.assert_clean("ended");
    for number in 0..failing {
        world.restart(Some(number));
        let result = Application::build(world, &order(&image)).and_then(|built| built.unpause());
        assert!(result.is_err(), "{number}");
        world.assert_clean(&number.to_string());
    }
}

#[test]
fn an_application_that_cannot_be_loaded_costs_nothing() {
    let world = leak(World::new());
    let image = small();
    let too_small = Order { memory_pages: 259, ..order(&image) };
    for order in [order(&image[..100]), order(b"#!/bin/sh"), too_small] {
        assert!(matches!(Application::build(world, &order), Err(BuildError::Elf(_))));
    }
    assert_eq!(world.calls(), [""; 0]);
}

#[test]
fn memory_in_pieces_is_taken_when_there_is_no_other() {
    let world = World::new();
    world.state.borrow_mut().large_extents = 1;
    let shell = || {
        crate::domain::Shell::create(
            &world,
            crate::domain::Size { memory_pages: 1024, vcpus: 1, passthrough: false },
        )
    };
    let built = shell().unwrap();
    assert_eq!(world.state.borrow().domains[&built.id().0].frames.len(), 1024);
    let second = shell().map(drop).unwrap_err();
    assert_eq!(second, BuildError::Memory { want: 1024, got: 488 });
    assert_eq!(second.to_string(), "needs 1024 pages of memory, and only 488 are free");
    drop(built);
    world.restart(Some(0));
    let error = memory::fill(&world, DomId(1), 512).unwrap_err();
    assert!(matches!(error, BuildError::Xen { step: Step::Populate, .. }));
}

#[test]
fn deaths_are_found_by_looking() {
    let (world, mut builder) = usual();
    let [net, control] = boot(&mut builder).unwrap();
    let deaths = || {
        let mut found = Vec::new();
        watch::deaths(world, |death| found.push((death.domain, death.reason))).unwrap();
        found
    };
    assert_eq!(deaths(), []);
    world.state.borrow_mut().domains.get_mut(&control.id().0).unwrap().shutdown = Some(ShutdownReason::CRASH);
    assert_eq!(deaths(), [(control.id(), ShutdownReason::CRASH)]);
    drop((net, control));
    assert_eq!(deaths(), []);
}

#[test]
fn a_device_that_is_not_there_is_named() {
    let world = World::new();
    let mut device = nic();
    pci(&mut device).select.device = 0x1234;
    let error = hold(&world, device).map(drop).unwrap_err();
    assert_eq!(error, PciError::NotFound { vendor: 0x8086, device: 0x1234 });
    assert_eq!(error.to_string(), "no PCI device 8086:1234 in this machine");
}
