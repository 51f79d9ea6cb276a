//! A machine with the fleet on it.

use std::rc::Rc;

use dom0_supervisor::{Boot, Supervisor};
use dom0_toolstack::{image::sha256, pci::Held, server::Server};
use proto_manifest::{
    archive::{Archive, Writer},
    table::{Applications, Bus, Channel, Device, DeviceKind, Domain, Party, Pci, PciSelect, Table},
};
use proto_xen::DomId;
use tests_fakexen::{Census, Executor, World, executor::Outcome};

use crate::{
    dom0::{self, Ground},
    ground::{Builder, Config, Seen, Spawner},
    image,
};

/// Steps that a story may take until something comes about.
pub const PATIENCE: usize = 600_000;

/// A machine that was switched on.
pub struct Stage {
    /// What is on it.
    pub ground: Rc<Ground>,
    /// Runs it.
    pub executor: Executor<'static>,
    before: Census,
    world: World,
}

fn table(image: &[u8]) -> Table {
    let domain = |text: &str, provisioning, devices: &[u8]| Domain {
        name: text.try_into().expect("it is short"),
        image: text.try_into().expect("it is short"),
        sha256: sha256(image),
        memory_mib: 4,
        vcpus: 1,
        cpus: 0,
        heap_kib: 1024,
        provisioning,
        vital: true,
        devices: devices.iter().copied().collect(),
    };
    let channel = |text: &str, accepts| Channel {
        name: text.try_into().expect("it is short"),
        offers: dom0::CONTROL.0,
        accepts,
    };
    let select = PciSelect { vendor: 0x8086, device: 0x10d3, class: None, skip: 0 };
    let card = Device {
        name: "uplink".try_into().expect("it is short"),
        kind: DeviceKind::E1000e,
        bus: Bus::Pci(Pci { select, bars: [0].into_iter().collect(), vectors: 3 }),
    };
    Table {
        board: "fleet".try_into().expect("it is short"),
        domains: [domain("net", false, &[0]), domain("control", true, &[])].into_iter().collect(),
        channels: [channel("network", Party::Domain(dom0::NET.0)), channel("device", Party::Dom0)]
            .into_iter()
            .collect(),
        devices: [card].into_iter().collect(),
        applications: Applications { memory_mib: 16, count: 2, vcpus: 1, cpus: 0, image_kib: 64 },
    }
}

fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

impl Stage {
    /// A machine whose every turn is decided by `seed`.
    ///
    /// # Panics
    /// If dom0 cannot hold the card.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let world = World::new();
        let before = world.census();
        let executor = Executor::new(&world, seed);
        let spawner: Spawner = executor.spawner();
        let image = image::elf(b"a service");
        let mut writer = Writer::new();
        for name in ["images/net", "images/control"] {
            writer.add(name, &image).expect("the archive takes it");
        }
        let archive = Archive::open(leak(writer.finish())).expect("it was just written");
        let table = leak(table(&image));
        let dom0 = leak(world.dom0());
        let device = &table.devices[0];
        let Bus::Pci(pci) = &device.bus else { panic!("the card is on PCI") };
        let held = Held::take(dom0, leak(Config(world.clone())), device, pci).expect("the card is there");
        let builder = Builder::new(
            dom0,
            table,
            archive,
            leak([held]),
            dom0_toolstack::build::Platform::X86 { signature: 0 },
            b"files",
        );
        let server = Server::new(
            dom0,
            table.applications,
            dom0_toolstack::build::Platform::X86 { signature: 0 },
            1 << 20,
        );
        let ground = Ground::new(dom0, builder, server, spawner.clone(), seed);
        spawner.spawn(DomId::DOM0, dom0::deaths(ground.clone()));
        spawner.spawn(DomId::DOM0, dom0::supervise(ground.clone(), Supervisor::of(table, Boot::Fresh)));
        Self { ground, executor, before, world }
    }

    /// Runs until `done`.
    ///
    /// # Panics
    /// If that does not come about.
    pub fn until(&mut self, what: &str, mut done: impl FnMut(&Ground) -> bool) {
        let ground = self.ground.clone();
        let outcome = self.executor.run_until(PATIENCE, || done(&ground));
        let Seen { echoes, lives, started, ended, .. } = &*self.ground.seen;
        let (lives, started, ended) = (lives.borrow(), started.borrow(), ended.borrow());
        assert_eq!(
            outcome,
            Outcome::Done,
            "{what}: {lives} lives, {} echoes, {started} applications started, {ended} ended",
            echoes.borrow().len()
        );
    }

    /// Ends everything, and checks that nothing is left.
    ///
    /// # Panics
    /// If something is.
    pub fn end(mut self) {
        let over = Rc::new(core::cell::Cell::new(false));
        let (ground, told) = (self.ground.clone(), over.clone());
        self.executor.spawn(DomId::DOM0, async move {
            ground.stop().await;
            told.set(true);
        });
        self.until("everything ends", |_| over.get());
        self.executor.drop_dead();
        self.world.retry_unmapping();
        let mut left = self.world.census();
        // dom0 keeps the port by which it hears of deaths.
        assert_eq!(left.ports.remove(&DomId::DOM0), Some(1), "{left:?}");
        assert_eq!(left, self.before);
    }
}
