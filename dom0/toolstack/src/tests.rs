//! Whole domains on the fake Xen: the order of calls, what arrives in them, and that a failure at
//! any call leaves nothing.

use std::{boxed::Box, string::ToString, vec, vec::Vec};

use board_support_hyp::Domctl;
use proto_manifest::{
    archive::{Archive, Writer},
    name::Name,
    table::{Applications, Bus, Channel, Device, DeviceKind, Domain, Party, Pci, PciSelect, Table},
    wiring::{ChannelEnd, End, Wiring},
};
use proto_xen::{DomId, Gfn, sched::ShutdownReason};

use crate::{
    BuildError, Step,
    application::{Application, Order},
    build::{
        Platform,
        elf::tests::{for_one_vcpu, small},
    },
    domain::{Counter, Devices, Shell, Size},
    fake::{Call, Domain as Hypervisor, Fault, Ground, Machine, World},
    image::{ImageError, sha256},
    memory,
    pci::{Held, PciError},
    service::{Builder, Service},
    watch,
};

mod arm;
mod devices;
mod registers;
mod rewire;

type TestBuilder = Builder<'static, Hypervisor, World>;
type TestService = Service<'static, Hypervisor, World>;

fn name(text: &str) -> Name {
    Name::try_from(text).unwrap()
}

/// What domains of the tests are started like.
const PLATFORM: Platform = Platform::X86 { signature: 0xabc };

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
        Bus::VirtioMmio(_) | Bus::Registers(_) => panic!("not on PCI"),
    }
}

/// Takes the hold on a PCI device.
pub(crate) fn hold(ground: &Ground, mut device: Device) -> Result<Held<'_, Hypervisor, World>, PciError> {
    let pci = pci(&mut device).clone();
    Held::take(&ground.dom0, &ground.world, &device, &pci)
}

pub(crate) fn table() -> Table {
    let domain = |text: &str, provisioning, devices: &[u8]| Domain {
        name: name(text),
        image: name(text),
        sha256: sha256(&small()),
        memory_mib: 4,
        vcpus: 1,
        cpus: 0,
        heap_kib: 1024,
        provisioning,
        vital: false,
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
        applications: Applications { memory_mib: 64, count: 2, vcpus: 1, cpus: 0, image_kib: 64 },
    }
}

fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

/// The ground, and a builder whose device is held.
fn stage(table: Table, archive: &[(&str, &[u8])]) -> (&'static Ground, TestBuilder) {
    let mut writer = Writer::new();
    for (name, data) in archive {
        writer.add(name, data).unwrap();
    }
    let bytes = leak(writer.finish());
    let ground = leak(Ground::new());
    let table = leak(table);
    let held = leak([hold(ground, table.devices[0].clone()).unwrap()]);
    let archive = Archive::open(bytes).unwrap();
    (ground, Builder::new(&ground.dom0, table, archive, held, PLATFORM, b"provisioning"))
}

fn usual() -> (&'static Ground, TestBuilder) {
    stage(table(), &[("images/net", &small()), ("images/control", &small())])
}

#[test]
fn the_vault_may_be_cleaned_if_a_provisioning_file_says_so() {
    let (_, mut builder) = usual();
    let files = |name: &str| {
        let mut writer = Writer::new();
        writer.add("server", b"allow-vault-clean").unwrap();
        writer.add(name, b"").unwrap();
        leak(writer.finish()).as_slice()
    };
    assert!(!builder.may_clean_vault(), "files that cannot be read allow nothing");
    for (name, may) in [
        ("allow-vault-clean", true),
        ("allow-vault-clean.old", false),
        ("GlobalConfig/allow-vault-clean", false),
    ] {
        builder.provisioning = files(name);
        assert_eq!(builder.may_clean_vault(), may, "{name}");
    }
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
    let (ground, mut builder) = usual();
    let [mut net, control] = boot(&mut builder).unwrap();
    let (of_net, of_control) = (wiring_of(ground, &net), wiring_of(ground, &control));
    assert_eq!((of_net.name.as_str(), of_net.domid), ("net", 1));
    assert_eq!((of_control.name.as_str(), of_control.domid), ("control", 2));
    let memory = 4 << 20;
    assert_eq!(of_net.epitaph, memory - 2 * 4096);
    assert_eq!(of_control.epitaph, memory - 4 * 4096);

    let Some(End::Dom0 { page, .. }) = of_net.channel("dom0") else { panic!("no channel to dom0") };
    assert_eq!(page, memory - 4096);
    let Some(End::Offer { peer: 1, page, gref, port, bind: false }) = of_control.channel("network") else {
        panic!()
    };
    assert_eq!(page, memory - 2 * 4096);
    // net was built before control was there, and is told of it when it is.
    assert_eq!(of_net.channel("network"), Some(End::Absent));
    let accept = ChannelEnd { name: name("network"), end: End::Accept { peer: 2, gref, port, bind: true } };
    let changes = builder.rewire(&mut net).unwrap();
    assert_eq!(changes[..], [crate::service::Change::Back(accept)]);
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
    ground.assert_clean("ended");
}

#[test]
fn an_image_arrives_with_its_bss_cleared() {
    let (ground, mut builder) = usual();
    let services = boot(&mut builder).unwrap();
    let id = services[1].id();
    assert_eq!(ground.read(id, 0x10_0000, 6), b"text..");
    assert_eq!(ground.read(id, 0x10_2000, 4), b"data");
    assert_eq!(ground.read(id, 0x10_2004, 0x1230), vec![0; 0x1230]);
    assert_eq!(ground.read(id, 0x10_3234, 4), [0xdd; 4], "the rest is not written");
    let provisioning = services[1].epitaph().base().0 - 2 * 4096;
    assert_eq!(ground.read(id, provisioning, 12), b"provisioning");
    assert_eq!(ground.read(id, services[1].epitaph().base().0, 4096), vec![0; 4096]);
}

#[test]
fn a_driver_domain_is_built_and_ended_in_this_order() {
    let (ground, mut builder) = stage(
        Table { channels: Default::default(), ..table() },
        &[("images/net", &small()), ("images/control", &small())],
    );
    ground.restart(None);
    let service = builder.build(0).unwrap();
    service.unpause().unwrap();
    drop(service);
    assert_eq!(
        ground.calls(),
        [
            "physinfo",
            "create flags 0x23",
            "vcpus d1 1",
            "native counter d1",
            "max_mem d1 4096",
            "mempool d1 1081344",
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
            "acquire the grants of d1",
            "copy to d1",
            "unmap of d1",
            "context d1",
            "unpause d1",
            "pause d1",
            "close",
            "command 0x0402",
            "msix 0x0004",
            "unbind d1 pirq 101",
            "unmap_pirq d1 101",
            "unbind d1 pirq 102",
            "unmap_pirq d1 102",
            "deassign d1 00:03.0",
            "destroy d1",
        ]
    );
    ground.assert_clean("ended");
}

/// Does `work` over and over, each time with the next call failing, until no call is left that could. Returns
/// how often it failed.
fn with_each_call_failing(ground: &Ground, what: &str, mut work: impl FnMut() -> bool) -> usize {
    let mut failures = 0;
    for after in 0.. {
        ground.restart(Some(Fault::nth(after)));
        let worked = work();
        let failed = ground.failed_call();
        // What Xen refused to unmap is kept until the next mapping.
        let unmapping = failed.as_ref().is_some_and(|call| call.starts_with("unmap of"));
        assert!(ground.left_mapped(DomId::DOM0) <= usize::from(unmapping), "{what}: {failed:?}");
        ground.retry_unmapping();
        ground.assert_clean(&std::format!("{what}: {failed:?}"));
        let Some(call) = failed else {
            assert!(worked, "{what}: it fails by itself");
            break;
        };
        // Undoing goes on whatever happens, and says nothing of it.
        let undoing = ["pause", "close", "unbind", "unmap", "deassign", "destroy"];
        let undone = call.ends_with(" false") || undoing.iter().any(|word| call.starts_with(word));
        assert_eq!(worked, undone, "{what}: {call}");
        failures += 1;
    }
    failures
}

#[test]
fn a_failure_at_any_call_leaves_nothing() {
    let (ground, mut builder) = usual();
    let failures = with_each_call_failing(ground, "services", || boot(&mut builder).is_ok());
    assert!(failures > 40, "{failures}");
    // One alone, as after its death.
    let (ground, mut builder) = usual();
    let failures = with_each_call_failing(ground, "net", || {
        builder.build(0).and_then(|net| net.unpause().map(|()| net)).is_ok()
    });
    assert!(failures > 25, "{failures}");
    let (ground, mut builder) = usual();
    let failures = with_each_call_failing(ground, "control", || {
        builder.build(1).and_then(|control| control.unpause().map(|()| control)).is_ok()
    });
    assert!(failures >= 20, "{failures}");
}

#[test]
fn two_hundred_lives_leave_nothing() {
    let (ground, mut builder) = usual();
    let image = small();
    let mut last = DomId(0);
    for round in 0..200 {
        let [net, control] = boot(&mut builder).unwrap();
        let application = Application::build(&ground.dom0, &order(&image)).unwrap();
        application.unpause().unwrap();
        assert!(last < net.id() && net.id() < control.id() && control.id() < application.id());
        last = application.id();
        // In whatever order they end.
        match round % 3 {
            0 => drop((net, control, application)),
            1 => drop((application, control, net)),
            _ => drop((control, application, net)),
        }
        ground.assert_clean(&round.to_string());
    }
}

#[test]
fn a_driver_domain_is_built_anew_any_number_of_times() {
    let (ground, mut builder) = usual();
    let [mut net, control] = boot(&mut builder).unwrap();
    let first = wiring_of(ground, &net);
    for _ in 0..5 {
        builder.forget(net.id());
        drop(net);
        net = builder.build(0).unwrap();
        net.unpause().unwrap();
    }
    let last = wiring_of(ground, &net);
    assert_eq!(last.devices, first.devices);
    let Some(End::Accept { peer, bind: false, .. }) = last.channel("network") else { panic!("no channel") };
    assert_eq!(peer, control.id().0);
    drop((net, control));
    ground.assert_clean("ended");
}

#[test]
fn images_are_those_of_the_table() {
    let mut spoilt = small();
    spoilt[200] ^= 1;
    let (ground, mut builder) = stage(table(), &[("images/net", &spoilt)]);
    ground.restart(None);
    let error = builder.build(0).map(drop).unwrap_err();
    assert!(matches!(error, BuildError::Image(ImageError::Hash { .. })));
    assert!(error.to_string().starts_with("image hash differs from the table: "), "{error}");
    assert_eq!(builder.build(1).map(drop), Err(BuildError::Image(ImageError::Missing)));
    assert_eq!(ground.calls(), [""; 0], "Xen was not asked for anything");
}

#[test]
fn a_service_without_its_peer_is_built_without_their_channel() {
    let (ground, mut builder) = usual();
    let net = builder.build(0).unwrap();
    assert_eq!(wiring_of(ground, &net).channel("network"), Some(End::Absent));
    drop(net);
    ground.assert_clean("ended");
    assert_eq!(builder.build(2).map(drop), Err(BuildError::NoSuchDomain));
}

#[test]
fn a_service_whose_device_is_missing_is_not_created() {
    let (ground, mut builder) = usual();
    builder.held = &[];
    ground.restart(None);
    let missing = PciError::NotFound { vendor: 0x8086, device: 0x10d3 };
    assert_eq!(builder.prepare(0).map(drop), Err(BuildError::Device(missing)));
    assert_eq!(ground.calls(), [""; 0], "Xen was not asked for anything");
    let control = builder.build(1).unwrap();
    assert_eq!(wiring_of(ground, &control).channel("network"), Some(End::Absent));
    drop(control);
    ground.assert_clean("ended");
}

#[test]
fn nobody_is_connected_to_a_service_that_could_not_be_finished() {
    let (ground, mut builder) = usual();
    let plans = [builder.prepare(0).unwrap(), builder.prepare(1).unwrap()];
    let shells = [builder.create(&plans[0]).unwrap(), builder.create(&plans[1]).unwrap()];
    let ([net, control], [net_shell, control_shell]) = (plans, shells);
    // Any call that can fail will do; what is written to the device itself cannot.
    ground.restart(Some(Fault::nth(0).of(Call::Bind)));
    assert!(builder.finish(net, net_shell).is_err());
    ground.restart(None);
    let control = builder.finish(control, control_shell).unwrap();
    let wiring = wiring_of(ground, &control);
    assert_eq!(wiring.channel("network"), Some(End::Absent));
    assert!(wiring.channel("device").is_some());
    drop(control);
    ground.assert_clean("ended");
}

fn order(image: &[u8]) -> Order<'_> {
    Order { image, memory_pages: 520, vcpus: 1, cpus: 0, command_line: "greeting=hi", platform: PLATFORM }
}

#[test]
fn an_application_gets_memory_and_a_console() {
    let ground = leak(Ground::new());
    let image = small();
    ground.restart(None);
    let application = Application::build(&ground.dom0, &order(&image)).unwrap();
    application.unpause().unwrap();
    let calls = ground.calls();
    assert_eq!(calls[1], "create flags 0x3", "no IOMMU: it gets no device");
    assert_eq!(calls[5..7], ["populate d1 1 of order 9", "populate d1 8 of order 0"]);
    assert_eq!((ground.param(DomId(1), 17), ground.param(DomId(1), 31)), (Some(519), Some(3)));
    assert_eq!(ground.read(DomId(1), (518 << 12) + 512, 12), b"greeting=hi\0");
    drop(application);
    ground.assert_clean("ended");
    let failures = with_each_call_failing(ground, "application", || {
        Application::build(&ground.dom0, &order(&image)).and_then(|built| built.unpause()).is_ok()
    });
    assert!(failures > 15, "{failures}");
}

#[test]
fn an_application_has_the_vcpus_and_cpus_that_were_asked_for() {
    let ground = leak(Ground::new());
    let image = small();
    ground.restart(None);
    let application =
        Application::build(&ground.dom0, &Order { vcpus: 2, cpus: 0b10, ..order(&image) }).unwrap();
    let id = application.id();
    assert_eq!(
        ground.calls()[2..5],
        ["vcpus d1 2", "affinity d1 vcpu 0 cpus 0x2", "affinity d1 vcpu 1 cpus 0x2"]
    );
    assert_eq!((ground.affinity(id, 0), ground.affinity(id, 1)), (Some(0b10), Some(0b10)));
    drop(application);
    // The machine has two CPUs.
    let error =
        Application::build(&ground.dom0, &Order { cpus: 0b100, ..order(&image) }).map(drop).unwrap_err();
    assert_eq!(error.to_string(), "Xen refuses to pin its vCPUs to CPUs: invalid argument (EINVAL)");
    ground.assert_clean("refused");
}

#[test]
fn an_image_for_one_vcpu_is_not_given_more() {
    let ground = leak(Ground::new());
    let image = for_one_vcpu();
    Application::build(&ground.dom0, &order(&image)).map(drop).unwrap();
    ground.restart(None);
    let error = Application::build(&ground.dom0, &Order { vcpus: 2, ..order(&image) }).map(drop).unwrap_err();
    assert_eq!(error, BuildError::Vcpus { want: 2, most: 1 });
    assert_eq!(error.to_string(), "its image runs on no more than 1 vCPU, and 2 are asked for");
    assert_eq!(ground.calls(), [""; 0]);
}

#[test]
fn a_service_is_pinned_as_the_table_says() {
    let mut pinned = table();
    pinned.domains[1].cpus = 0b01;
    let (ground, mut builder) = stage(pinned, &[("images/net", &small()), ("images/control", &small())]);
    let [net, control] = boot(&mut builder).unwrap();
    assert_eq!((ground.affinity(net.id(), 0), ground.affinity(control.id(), 0)), (None, Some(0b01)));
}

#[test]
fn an_application_that_cannot_be_loaded_costs_nothing() {
    let ground = leak(Ground::new());
    ground.restart(None);
    let image = small();
    let too_small = Order { memory_pages: 259, ..order(&image) };
    for order in [order(&image[..100]), order(b"#!/bin/sh"), too_small] {
        assert!(matches!(Application::build(&ground.dom0, &order), Err(BuildError::Elf(_))));
    }
    assert_eq!(ground.calls(), [""; 0]);
}

fn shell(ground: &Ground, memory_pages: u64) -> Result<Shell<'_, Hypervisor>, BuildError> {
    let size = Size { memory_pages, vcpus: 1, cpus: 0, devices: Devices::None, counter: Counter::Xen };
    Shell::create(&ground.dom0, PLATFORM, size)
}

#[test]
fn too_little_memory_is_told_before_any_is_taken() {
    let ground = Ground::with(Machine { large_extents: 1, single_pages: 500, ..Machine::default() });
    ground.restart(None);
    let error = shell(&ground, 1024).map(drop).unwrap_err();
    assert_eq!(error, BuildError::Memory { want: 1024 + 264, got: 1012 });
    assert_eq!(ground.calls(), ["physinfo"]);
}

#[test]
fn memory_in_pieces_is_taken_when_there_is_no_other() {
    // Xen needs 276 pages for the domain itself and its page tables.
    let ground = Ground::with(Machine {
        large_extents: 1,
        single_pages: 276 + 512 + 276 + 1012,
        ..Machine::default()
    });
    let built = shell(&ground, 1024).unwrap();
    assert_eq!(ground.dom0.next_domain(built.id()).unwrap().unwrap().pages, 1024);
    // Xen's own pages are not known beforehand.
    let second = shell(&ground, 1024).map(drop).unwrap_err();
    assert_eq!(second, BuildError::Memory { want: 1024, got: 1012 });
    assert_eq!(second.to_string(), "needs 1024 pages of memory, and only 1012 are free");
    drop(built);
    ground.restart(Some(Fault::nth(0)));
    let error = memory::fill(&ground.dom0, DomId(1), Gfn(0), 512).unwrap_err();
    assert!(matches!(error, BuildError::Xen { step: Step::Populate, .. }));
}

#[test]
fn deaths_are_found_by_looking() {
    let (ground, mut builder) = usual();
    let [net, control] = boot(&mut builder).unwrap();
    let deaths = || {
        let mut found = Vec::new();
        watch::deaths(&ground.dom0, |death| found.push((death.domain, death.reason))).unwrap();
        found
    };
    assert_eq!(deaths(), []);
    ground.crash(control.id(), ShutdownReason::CRASH);
    assert_eq!(deaths(), [(control.id(), ShutdownReason::CRASH)]);
    drop((net, control));
    assert_eq!(deaths(), []);
}

#[test]
fn a_device_that_is_not_there_is_named() {
    let ground = Ground::new();
    let mut device = nic();
    pci(&mut device).select.device = 0x1234;
    let error = hold(&ground, device).map(drop).unwrap_err();
    assert_eq!(error, PciError::NotFound { vendor: 0x8086, device: 0x1234 });
    assert_eq!(error.to_string(), "no PCI device 8086:1234 in this machine");
}
