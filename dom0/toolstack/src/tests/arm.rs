//! The same on Arm: what a domain finds, and a device without an IOMMU.

use std::{cell::Cell, string::ToString, vec, vec::Vec};

use board_support_arch::{
    boot_info::{BootInfo, Physical},
    memory_map::{Kind, Span},
};
use board_support_hyp::{Access, Domctl, GrantError, Grants, Populate};
use proto_manifest::{
    archive::{Archive, Writer},
    table::{Bus, Device, DeviceKind, Domain, Table, VirtioMmio},
    wiring::{DeviceGrant, DmaPool, Wiring},
};
use proto_xen::{DomId, Errno, Gfn, Gref};
use tests_fakexen::Architecture;

use super::{TestBuilder, TestService, leak, name, table, with_each_call_failing};
use crate::{
    BuildError,
    application::{Application, Order},
    build::{Platform, elf::tests::small_for_arm},
    fake::{Ground, Machine},
    image::sha256,
    transport::{Hands, HeldTransport, TransportError},
};

const POOL_PAGES: u16 = 3;

const ARM: Platform = Platform::Arm { seeds: || Some([7; 32]) };

/// A transport that counts what is done to it.
#[derive(Debug, Default)]
struct Counted {
    resets: Cell<u32>,
    clears: Cell<u32>,
    stuck: Cell<bool>,
}

impl Hands for Counted {
    fn reset(&self) -> bool {
        self.resets.set(self.resets.get() + 1);
        !self.stuck.get()
    }

    fn clear_pool(&self) {
        self.clears.set(self.clears.get() + 1);
    }
}

fn arm_table() -> Table {
    let mmio = VirtioMmio { transport: 24, pool_pages: POOL_PAGES };
    let uplink = Device { name: name("uplink"), kind: DeviceKind::VirtioNet, bus: Bus::VirtioMmio(mmio) };
    let image = sha256(&small_for_arm());
    let usual = table();
    let domains = usual.domains.iter().map(|domain| Domain { sha256: image, ..domain.clone() });
    Table { domains: domains.collect(), devices: [uplink].into_iter().collect(), ..usual }
}

struct Scene {
    ground: &'static Ground,
    hands: &'static Counted,
    builder: TestBuilder,
}

fn scene() -> Scene {
    let mut writer = Writer::new();
    for image in ["images/net", "images/control"] {
        writer.add(image, &small_for_arm()).unwrap();
    }
    let archive = Archive::open(leak(writer.finish())).unwrap();
    let mut ground = Ground::with(Machine { architecture: Architecture::Arm, ..Machine::default() });
    let pool = Gfn(0x7c100);
    for page in 0..u64::from(POOL_PAGES) {
        assert_eq!(ground.dom0.populate(DomId::DOM0, &[pool.plus(page)], 0), Ok(1));
    }
    ground.settle();
    let ground = leak(ground);
    let (hands, table) = (leak(Counted::default()), leak(arm_table()));
    let Bus::VirtioMmio(mmio) = table.devices[0].bus else { panic!("no transport") };
    let held = leak([HeldTransport::take(&ground.dom0, &table.devices[0], mmio, pool, hands)]);
    let mut builder = TestBuilder::new(&ground.dom0, table, archive, &[], ARM, b"provisioning");
    builder.transports = held;
    Scene { ground, hands, builder }
}

/// Memory of a domain, as far as its start reads it.
struct Memory<'a>(&'a Ground, DomId);

impl Physical for Memory<'_> {
    fn bytes(&self, address: u64, length: usize) -> Option<&'static [u8]> {
        Some(leak(self.0.read(self.1, address, length)))
    }
}

fn boot_info(ground: &Ground, service: &TestService) -> BootInfo {
    // The start info is right below the first special page.
    BootInfo::read(&Memory(ground, service.id()), service.epitaph().base().0 - 2 * 4096).unwrap()
}

fn wiring(ground: &Ground, service: &TestService) -> Wiring {
    Wiring::decode(boot_info(ground, service).modules[0]).unwrap()
}

#[test]
fn a_domain_finds_memory_modules_and_interrupts_in_its_tree() {
    let Scene { ground, mut builder, .. } = scene();
    let control = builder.build(1).unwrap();
    let info = boot_info(ground, &control);
    let (base, memory) = (0x4000_0000, 4 << 20);
    let special = control.epitaph().base().0;
    let map = info.memory_map.as_ref().unwrap();
    assert!(map.is(Span { start: base, end: special }, Kind::Ram));
    assert!(map.is(Span { start: special, end: base + memory }, Kind::Reserved));
    assert_eq!(info.command_line, "");
    assert_eq!(info.modules.len(), 2);
    assert_eq!(info.modules[1], b"provisioning");
    assert_eq!(info.seed, Some(&[7; 32][..]));
    let controller = info.controller.unwrap();
    assert_eq!((controller.distributor.start, controller.upcall), (0x300_1000, 31));
    assert_eq!(controller.redistributors.start, 0x302_0000);
    assert_eq!(wiring(ground, &control).name, "control");
    drop(control);
    ground.assert_clean("ended");
}

#[test]
fn a_device_without_an_iommu_is_lent_with_a_pool() {
    let Scene { ground, hands, mut builder } = scene();
    let net = builder.build(0).unwrap();
    let of_net = wiring(ground, &net);
    let Some(DeviceGrant { mmio, vectors, pool: Some(lent), .. }) = of_net.device("uplink") else {
        panic!("no pool")
    };
    assert_eq!((mmio[0].gaddr, mmio[0].len), (0x0a00_3000, 0x200));
    assert_eq!(vectors[..], [72]);
    let &DmaPool { owner, first_gref, pages } = lent;
    assert_eq!((owner, pages), (0, POOL_PAGES));
    assert_eq!((hands.resets.get(), hands.clears.get()), (1, 1));

    // The driver maps it all, and dies so.
    net.unpause().unwrap();
    let of_net = ground.domain(net.id());
    let maps: Vec<_> = (0..u32::from(pages))
        .map(|page| of_net.map(DomId::DOM0, Gref(first_gref + page), Access::ReadWrite).unwrap())
        .collect();
    let past = of_net.map(DomId::DOM0, Gref(first_gref + u32::from(pages)), Access::ReadWrite);
    assert!(matches!(past, Err(GrantError::Status(_))));
    core::mem::forget(maps);
    drop(net);
    assert_eq!(hands.resets.get(), 2);
    ground.assert_clean("ended");
    // All of it is dom0's again.
    assert!(builder.build(0).is_ok());
}

#[test]
fn a_driver_domain_is_built_anew_while_others_map_pages_of_the_dead_one() {
    let Scene { ground, mut builder, .. } = scene();
    let net = builder.build(0).unwrap();
    let control = builder.build(1).unwrap();
    net.unpause().unwrap();
    control.unpause().unwrap();
    let (of_net, of_control) = (ground.domain(net.id()), ground.domain(control.id()));
    let reference = Grants::allocate(&of_net).unwrap();
    of_net.offer(reference, control.id(), Gfn(0x40000), Access::ReadWrite).unwrap();
    let mapped = of_control.map(net.id(), reference, Access::ReadWrite).unwrap();

    let dead = net.id();
    drop(net);
    let remnant = ground.dom0.next_domain(dead).unwrap().unwrap();
    assert_eq!((remnant.domain, remnant.dying), (dead, true));
    let net = builder.build(0).unwrap();
    assert_eq!(wiring(ground, &net).device("uplink").unwrap().vectors[..], [72]);

    drop(mapped);
    drop((net, control));
    ground.assert_clean("ended");
}

#[test]
fn a_driver_domain_is_built_and_ended_in_this_order_on_arm() {
    let Scene { ground, mut builder, .. } = scene();
    ground.restart(None);
    let net = builder.build(0).unwrap();
    net.unpause().unwrap();
    drop(net);
    let expected = [
        "physinfo",
        "create flags 0x3",
        "vcpus d1 1",
        "address size d1 64",
        "max_mem d1 4096",
        "mempool d1 1081344",
        "populate d1 2 of order 9",
        "iomem d1 0xa003+0x1 true",
        "mmio d1 0xa003 <- 0xa003+0x1 true",
        "bind d1 spi 72",
        "alloc_unbound d1 for d0",
        "bind_interdomain d1",
        "acquire the grants of d1",
        "copy to d1",
        "unmap of d1",
        "flush d1 0x40000+0x400",
        "context d1 vcpu 0",
        "unpause d1",
        "pause d1",
        "close",
        "destroy d1",
        "unbind d1 spi 72",
    ];
    assert_eq!(ground.calls(), expected);
    ground.assert_clean("ended");
}

#[test]
fn a_failure_at_any_call_leaves_nothing_on_arm() {
    let Scene { ground, mut builder, .. } = scene();
    let failures = with_each_call_failing(ground, "net", || {
        builder.build(0).and_then(|net| net.unpause().map(|()| net)).is_ok()
    });
    assert!(failures > 15, "{failures}");
    let Scene { ground, mut builder, .. } = scene();
    let failures = with_each_call_failing(ground, "control", || {
        builder.build(1).and_then(|control| control.unpause().map(|()| control)).is_ok()
    });
    assert!(failures > 15, "{failures}");
    let image = small_for_arm();
    let failures = with_each_call_failing(ground, "application", || {
        Application::build(&ground.dom0, &order(&image)).and_then(|built| built.unpause()).is_ok()
    });
    assert!(failures > 15, "{failures}");
}

#[test]
fn a_device_that_does_not_reset_is_not_lent() {
    let Scene { ground, hands, mut builder, .. } = scene();
    hands.stuck.set(true);
    let error = builder.build(0).map(drop).unwrap_err();
    assert_eq!(error, BuildError::Transport(TransportError::Reset { transport: 24 }));
    assert_eq!(hands.clears.get(), 0, "a device that may still write keeps its pool");
    ground.assert_clean("refused");
}

#[test]
fn a_transport_goes_to_one_domain_at_a_time() {
    let Scene { ground, mut builder, .. } = scene();
    let net = builder.build(0).unwrap();
    let error = builder.build(0).map(drop).unwrap_err();
    let BuildError::Transport(TransportError::Xen { errno: Errno::EBUSY, .. }) = error else {
        panic!("{error}")
    };
    drop(net);
    ground.assert_clean("ended");
}

#[test]
fn a_transport_that_is_not_held_is_named() {
    let Scene { ground, mut builder, .. } = scene();
    builder.transports = &[];
    ground.restart(None);
    let error = builder.prepare(0).map(drop).unwrap_err();
    assert_eq!(error.to_string(), "no virtio transport 24 in this machine");
    assert_eq!(ground.calls(), [""; 0]);
}

#[test]
fn a_grant_reference_in_between_is_noticed() {
    let Scene { ground, mut builder, .. } = scene();
    // One that is free, and one behind it that is not.
    let taken: Vec<Gref> = (0..2).map(|_| Grants::allocate(&ground.dom0).unwrap()).collect();
    ground.dom0.end(taken[0]).unwrap();
    let error = builder.build(0).map(drop).unwrap_err();
    assert_eq!(error, BuildError::Transport(TransportError::References { want: POOL_PAGES }));
    ground.dom0.end(taken[1]).unwrap();
    ground.assert_clean("refused");
    assert!(builder.build(0).is_ok());
}

fn order(image: &[u8]) -> Order<'_> {
    Order { image, memory_pages: 1024, vcpus: 2, cpus: 0, command_line: "greeting=hi", platform: ARM }
}

#[test]
fn an_application_is_built_and_has_its_line() {
    let Scene { ground, .. } = scene();
    let image = small_for_arm();
    let application = Application::build(&ground.dom0, &order(&image)).unwrap();
    application.unpause().unwrap();
    let console = 0x4000_0000 + (1023 << 12);
    let info = BootInfo::read(&Memory(ground, application.id()), console - 2 * 4096).unwrap();
    assert_eq!(info.command_line, "greeting=hi");
    assert_eq!(info.modules.len(), 0);
    assert_eq!(ground.read(application.id(), 0x4000_0000, 6), b"text..");
    assert_eq!(ground.read(application.id(), 0x4000_2004, 0x1230), vec![0; 0x1230]);
    drop(application);
    ground.assert_clean("ended");
}
