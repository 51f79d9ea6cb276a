//! A machine with the fleet on it.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use board_support_hyp::Clock;
use board_support_hyp::Instant;
use dom0_shell::{
    Ground, console::Consoles, control, gauge::Gauge, measured::MeasuredStart, services::Instance,
    services::Services, supervision, watch,
};
use dom0_supervisor::{Boot, Input, ServiceId, Supervisor};
use dom0_toolstack::{
    build::Platform,
    eventlog,
    image::sha256,
    outbox::Outbox,
    pci::Held,
    registers::HeldPage,
    server::{Server, stop_reason},
    service::Builder,
};
use embassy_futures::select::select;
use proto_manifest::{
    archive::{Archive, Writer},
    table::{
        Applications, Bus, Channel, Device, DeviceKind, Domain, Party, Pci, PciSelect, Registers, Table,
    },
    wiring::RunningSlot,
};
use proto_svc::{
    device::{Boot as Started, BootCause, BootSlot, Measured, ToControl},
    storage::SlotName,
    supervision::{Break, ToService},
};
use proto_xen::{DomId, sched::ShutdownReason};
use tests_fakexen::{Census, Executor, World, executor::Outcome};

use crate::{
    controller::Controller,
    eve,
    far::{Far, Secure},
    host::{Config, Food, Host, PATIENCE as DOG},
    hostile, image,
    keeper::Kept,
    keys,
    liar::Lie,
    plain,
    programs::{Bell, Control, Programs},
    random,
    storage::Disk,
    vault::Chip,
    wire::Card,
};

/// Steps that a story may take until something comes about.
pub const PATIENCE: usize = 600_000;

/// net's place in the table.
pub const NET: ServiceId = ServiceId(0);
/// control's place in the table.
pub const CONTROL: ServiceId = ServiceId(1);
/// The place of a service that does nothing, where there is one.
pub const QUIET: ServiceId = ServiceId(2);
/// The place of vault, where there is one.
pub const VAULT: ServiceId = ServiceId(2);
/// The place of storage, where there is one.
pub const STORAGE: ServiceId = ServiceId(3);

/// The place of vault's other client, where control lies to vault.
pub const KEEPER: ServiceId = ServiceId(3);

/// The hash that stands for the table in a measured start.
pub const TABLE_SHA256: [u8; 32] = [0x7a; 32];

const PLATFORM: Platform = Platform::X86 { signature: 0 };

/// What the story wants to know of what happened.
#[derive(Debug, Default)]
pub struct Seen {
    /// Answers of the echo that control got, by its own number and net's.
    pub echoes: RefCell<Vec<(u16, u16)>>,
    /// Applications that control saw run.
    pub started: RefCell<u32>,
    /// Applications that control saw end.
    pub ended: RefCell<u32>,
    /// What the controller has got, by whatever control.
    pub controller: RefCell<Controller>,
    /// Applications that a control found running when it came, and went on with.
    pub adopted: RefCell<u32>,
    /// Things that the hostile application tried and was refused.
    pub refused: RefCell<u32>,
    /// Services whose code began.
    pub lives: RefCell<u32>,
    /// What the services whose code began are called at first, and how much the TPM had been extended with then.
    pub begun: RefCell<Vec<(Vec<u8>, usize)>>,
    /// control starts no application, for a story in which much time passes.
    pub calm: Cell<bool>,
    /// The applications that count, each from its start.
    pub plain: RefCell<Vec<DomId>>,
    /// How far the last one has counted.
    pub counted: Cell<u64>,
    /// A control that begins is one that was taken over.
    pub taken: Cell<bool>,
    /// What that has asked of storage.
    pub asked: Cell<u32>,
    /// A net that begins is one that was taken over.
    pub false_net: Cell<bool>,
    /// What that has said, and how often it has written over what it shares.
    pub spoilt: Cell<u32>,
    /// How often storage has kept for vault what it was given.
    pub sealed: Cell<u32>,
    /// What a control that was taken over has done.
    pub lies: RefCell<Vec<Lie>>,
    /// Last words of services that no story has looked at yet.
    pub last_words: RefCell<Vec<(DomId, String)>>,
    /// What a service is to say last, for the story has ordered it to panic: a part of it.
    expected: RefCell<Vec<(DomId, &'static str)>>,
    /// What any service may say last, as often as it likes: a part of it.
    may_say: RefCell<Vec<&'static str>>,
}

impl Seen {
    /// Services may end themselves with these last words.
    pub fn may_say(&self, part: &'static str) {
        self.may_say.borrow_mut().push(part);
    }

    /// Fails the story if a service has panicked that was not to.
    ///
    /// # Panics
    /// Then, with the service's last words.
    fn check_last_words(&self) {
        for (id, words) in self.last_words.take() {
            if self.may_say.borrow().iter().any(|part| words.contains(part)) {
                continue;
            }
            let mut expected = self.expected.borrow_mut();
            let place = expected.iter().position(|(whose, part)| *whose == id && words.contains(part));
            assert!(place.is_some(), "{id} has ended itself, and no story wants that: {words}");
            place.map(|place| expected.swap_remove(place));
        }
    }
}

/// What is on the machine.
#[derive(Clone)]
pub struct Fleet {
    /// dom0.
    pub ground: Rc<Ground<Host>>,
    /// The machine.
    pub world: World,
    /// The card of net.
    pub card: Rc<Card>,
    /// The TPM of vault.
    pub chip: Rc<Chip>,
    /// The disk of storage.
    pub disk: Rc<Disk>,
    /// What vault's other client keeps, where control lies to vault.
    pub kept: Rc<Kept>,
    /// The controller of a whole control, where there is one.
    pub eve: Option<Rc<RefCell<eve::Controller>>>,
    /// What the story looks at.
    pub seen: Rc<Seen>,
    /// The services of the table that stories end.
    pub services: &'static [ServiceId],
}

impl Fleet {
    /// The number of a service that is there.
    #[must_use]
    pub fn id(&self, service: ServiceId) -> Option<DomId> {
        let name = self.ground.services.name(service);
        self.ground.services.names().into_iter().find(|(_, of)| *of == name).map(|(id, _)| id)
    }

    /// A person's order to end a service.
    pub fn order(&self, service: ServiceId) {
        self.ground.services.tell(Input::Order(service));
    }

    /// How the measured start stands, as control is told.
    ///
    /// # Panics
    /// If dom0 reports something else than its machine.
    #[must_use]
    pub fn measured(&self) -> Measured {
        let ToControl::Machine(report) = self.ground.machine_report() else { panic!("no machine") };
        report.boot.measured
    }

    /// Has dom0 go by another table.
    pub fn change_table(&self, more: More) {
        self.ground.services.builder().table = table_with(more);
    }

    /// Says something to a service, which may end it.
    pub fn say(&self, service: ServiceId, message: ToService) {
        if message == ToService::Break(Break::Panic)
            && let Some(id) = self.id(service)
        {
            self.seen.expected.borrow_mut().push((id, "a drill: dom0 ordered it"));
        }
        self.ground.services.say(service, message);
    }

    /// The service ends as by a fault that leaves no words.
    pub fn crash(&self, service: ServiceId) {
        if let Some(id) = self.id(service) {
            self.world.crash(id, ShutdownReason::CRASH);
        }
    }
}

/// A machine that was switched on.
pub struct Stage {
    /// What is on it.
    pub fleet: Fleet,
    /// Runs it.
    pub executor: Executor<'static>,
    more: More,
    before: Census,
    stop: Rc<Bell>,
    stopped: Rc<Cell<bool>>,
}

fn table(images: [&[u8]; IMAGES.len()], more: More) -> Table {
    let domain = |text: &str, image, provisioning, devices: &[u8]| Domain {
        name: text.try_into().expect("it is short"),
        image: text.try_into().expect("it is short"),
        sha256: sha256(image),
        memory_mib: 4,
        vcpus: 1,
        cpus: 0,
        heap_kib: 1024,
        provisioning,
        // As on the boards.
        vital: ["net", "control"].contains(&text),
        devices: devices.iter().copied().collect(),
    };
    let channel = |text: &str, accepts| Channel {
        name: text.try_into().expect("it is short"),
        offers: CONTROL.0,
        accepts,
    };
    let select = PciSelect { vendor: 0x8086, device: 0x10d3, class: None, skip: 0 };
    let card = Device {
        name: "uplink".try_into().expect("it is short"),
        kind: DeviceKind::E1000e,
        bus: Bus::Pci(Pci { select, bars: [0].into_iter().collect(), vectors: 3 }),
    };
    let [net, control, quiet, vault, storage, keeper] = images;
    let mut domains = vec![domain("net", net, false, &[0]), domain("control", control, true, &[])];
    let mut channels = vec![channel("network", Party::Domain(NET.0)), channel("device", Party::Dom0)];
    let mut devices = vec![card];
    match more {
        More::Nothing | More::Plain | More::Hostile | More::Bare | More::Unread | More::Half => {}
        More::Quiet | More::Channels => domains.push(domain("quiet", quiet, false, &[])),
        More::Vault => domains.push(domain("vault", vault, false, &[1])),
        More::Disk | More::Tpm | More::Software => {
            let held: &[u8] = if more == More::Tpm { &[1] } else { &[] };
            // The disk is beside the machine: there is one card on its bus.
            domains.extend([domain("vault", vault, false, held), domain("storage", storage, false, &[])]);
            channels.push(channel("storage", Party::Domain(STORAGE.0)));
            channels.push(Channel { offers: STORAGE.0, ..channel("sealing", Party::Domain(VAULT.0)) });
        }
        More::Lies | More::Betrayed => {
            domains.extend([domain("vault", vault, false, &[1]), domain("keeper", keeper, false, &[])]);
            channels.push(Channel { offers: KEEPER.0, ..channel("sealing", Party::Domain(VAULT.0)) });
        }
    }
    if more.has_vault() {
        channels.push(Channel { offers: VAULT.0, ..channel("measure", Party::Dom0) });
        channels.push(channel("vault", Party::Domain(VAULT.0)));
    }
    if more.has_tpm() {
        let bus = Bus::Registers(Registers { address: 0xfed4_0000, optional: false });
        let name = "tpm".try_into().expect("it is short");
        devices.push(Device { name, kind: DeviceKind::TpmCrb, bus });
    }
    if more == More::Channels {
        for (offers, name) in [(CONTROL, "control"), (QUIET, "quiet")] {
            let extra = |number: u8| Channel {
                offers: offers.0,
                ..channel(&format!("{name}{number}"), Party::Domain(NET.0))
            };
            channels.extend((0..4).map(extra));
        }
    }
    Table {
        board: "fleet".try_into().expect("it is short"),
        domains: domains.into_iter().collect(),
        channels: channels.into_iter().collect(),
        devices: devices.into_iter().collect(),
        applications: Applications { memory_mib: 16, count: 2, vcpus: 1, cpus: 0, image_kib: 64 },
    }
}

/// What [`More::Half`] lacks.
pub const ONBOARD_KEY: &str = "onboard.key.pem";

/// What a table has beside net and control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum More {
    /// Nothing.
    Nothing,
    /// control is the whole one, and the controller's configuration has an application that counts.
    Plain,
    /// The same with a hostile one.
    Hostile,
    /// control is the whole one, and the disk has no provisioning files.
    Bare,
    /// The same, but nobody knows, for they could not be read.
    Unread,
    /// The same, but the files are there, all but the key to register with, and a controller that does not know the device.
    Half,
    /// A service that does nothing.
    Quiet,
    /// As `Quiet`, and so many channels to net that it cannot be told of all of them.
    Channels,
    /// A vault with a TPM: the start is measured.
    Vault,
    /// As `Plain`, with a storage, and a vault that has a key for it and nothing else.
    Disk,
    /// As `Plain`, with a storage and a vault that has a TPM: the start is measured, the device's keys are the TPM's.
    Tpm,
    /// The same without a TPM: the device's keys are software's.
    Software,
    /// A vault with a TPM, a control that lies to it, and another client that is to be served all the same.
    Lies,
    /// As `Tpm`, but in place of storage is somebody who was taken over.
    Betrayed,
}

impl More {
    /// The services that stories end.
    const fn services(self) -> &'static [ServiceId] {
        match self {
            Self::Nothing
            | Self::Plain
            | Self::Hostile
            | Self::Bare
            | Self::Unread
            | Self::Half
            | Self::Quiet
            | Self::Channels
            | Self::Vault => &[NET, CONTROL],
            Self::Disk | Self::Tpm | Self::Software => &[NET, CONTROL, VAULT, STORAGE],
            Self::Lies | Self::Betrayed => &[NET, CONTROL, VAULT, KEEPER],
        }
    }

    /// The application in the configuration of a controller; none without one.
    fn application(self) -> Option<Vec<u8>> {
        match self {
            Self::Plain | Self::Half | Self::Disk | Self::Tpm | Self::Software | Self::Betrayed => {
                Some(plain::image())
            }
            Self::Hostile => Some(hostile::image()),
            Self::Nothing
            | Self::Bare
            | Self::Unread
            | Self::Quiet
            | Self::Channels
            | Self::Vault
            | Self::Lies => None,
        }
    }

    /// Whether there is the whole vault.
    const fn has_vault(self) -> bool {
        matches!(self, Self::Vault | Self::Tpm | Self::Software | Self::Lies | Self::Betrayed)
    }

    /// Whether it has a TPM.
    const fn has_tpm(self) -> bool {
        matches!(self, Self::Vault | Self::Tpm | Self::Lies | Self::Betrayed)
    }

    /// Whether there is a storage.
    const fn has_disk(self) -> bool {
        matches!(self, Self::Disk | Self::Tpm | Self::Software)
    }

    /// Which control there is.
    const fn control(self) -> Control {
        match self {
            Self::Nothing | Self::Quiet | Self::Channels | Self::Vault => Control::Small,
            Self::Plain
            | Self::Hostile
            | Self::Bare
            | Self::Unread
            | Self::Half
            | Self::Disk
            | Self::Tpm
            | Self::Software
            | Self::Betrayed => Control::Whole,
            Self::Lies => Control::Liar,
        }
    }

    /// The archive of provisioning files.
    fn files(self) -> Vec<u8> {
        match self {
            Self::Bare | Self::Unread => Writer::new().finish(),
            Self::Half => keys::provisioning(keys::Holder::File, ONBOARD_KEY),
            Self::Tpm | Self::Software | Self::Betrayed => keys::provisioning(keys::Holder::Vault, ""),
            _ => keys::provisioning(keys::Holder::File, ""),
        }
    }
}

/// The services' images.
const IMAGES: [&str; 6] = ["net", "control", "quiet", "vault", "storage", "keeper"];

/// The image of a service.
#[must_use]
pub fn image_of(name: &str) -> Vec<u8> {
    image::elf(&name.as_bytes().repeat(10))
}

/// The table, for the images that the archive has.
fn table_with(more: More) -> &'static Table {
    let images = IMAGES.map(image_of);
    leak(table(images.each_ref().map(Vec::as_slice), more))
}

fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

/// dom0 on `world`, as its binary puts it together.
fn dom0(
    world: &World,
    executor: &Executor<'static>,
    more: More,
    (slot, start): (Option<BootSlot>, u32),
    boot: Boot,
) -> (Rc<Ground<Host>>, Supervisor) {
    let mut writer = Writer::new();
    for name in IMAGES {
        writer.add(&format!("images/{name}"), &image_of(name)).expect("the archive takes it");
    }
    let archive = Archive::open(leak(writer.finish())).expect("it was just written");
    let table = table_with(more);
    let hyp = leak(world.dom0());
    let device = &table.devices[0];
    let Bus::Pci(pci) = &device.bus else { panic!("the card is on PCI") };
    let held = Held::take(hyp, leak(Config(world.clone())), device, pci).expect("the card is there");
    let provisioning = more.files().leak();
    let mut builder = Builder::new(hyp, table, archive, leak([held]), PLATFORM, provisioning);
    let page = |device: &Device| match device.bus {
        Bus::Registers(registers) => Some(HeldPage::take(hyp, device, registers, device.kind)),
        Bus::Pci(_) | Bus::VirtioMmio(_) => None,
    };
    builder.slot = slot.as_ref().map(|started| match started.slot {
        SlotName::A => RunningSlot::A,
        SlotName::B => RunningSlot::B,
    });
    builder.pages = table.devices.iter().filter_map(page).collect::<Vec<_>>().leak();
    let measured = MeasuredStart::new(builder.can_measure().then_some(TABLE_SHA256));
    let ground = Ground {
        hyp,
        runtime: hyp.clone(),
        spawner: executor.spawner().of(DomId::DOM0),
        began: Instant::from_nanos(hyp.now_ns()),
        xen: (4, 20),
        outbox: RefCell::new(Outbox::default()),
        filled: Bell::new(),
        emptied: Bell::new(),
        services: Services::new(builder),
        watchdogs: Food::new(world),
        starved: Cell::new(false),
        server: RefCell::new(Server::new(hyp, table.applications, PLATFORM, 1 << 20)),
        consoles: Consoles::default(),
        gauge: Gauge::default(),
        app_limit_kib: table.applications.memory_mib * 1024,
        app_vcpus: table.applications.vcpus,
        boot: Started {
            cause: BootCause::Unknown,
            text: heapless::String::new(),
            order: heapless::Vec::new(),
            slot,
            measured: Measured::No,
            start,
            began_ns: 0,
        },
        measured,
        event_log: RefCell::new(eventlog::begin(None, &[], 0).0),
        confined: true,
        provisioning_read: more != More::Unread,
    };
    (Rc::new(ground), Supervisor::of(table, boot))
}

/// Puts a controller and a store with this image behind the card.
fn behind(
    world: &World,
    executor: &Executor<'static>,
    card: &Rc<Card>,
    image: &[u8],
) -> Rc<RefCell<eve::Controller>> {
    let controller = Rc::new(RefCell::new(eve::Controller::new(image)));
    let mut far = Far::new(world, card.clone());
    let api = controller.clone();
    far.serve(keys::API, Secure::Tls, Box::new(move |asked| api.borrow_mut().serve(asked)));
    let store = controller.clone();
    far.serve(eve::STORE_PORT, Secure::Plain, Box::new(move |asked| store.borrow().store(asked)));
    executor.spawner().spawn_beside(far.run());
    controller
}

impl Stage {
    /// A machine whose every turn is decided by `seed`.
    ///
    /// # Panics
    /// If dom0 cannot hold the card.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with(seed, More::Nothing)
    }

    /// The same with more services.
    ///
    /// # Panics
    /// As [`Stage::new`].
    #[must_use]
    pub fn with(seed: u64, more: More) -> Self {
        Self::on(seed, more, Disk::flashed(), Chip::new(), Boot::Fresh)
    }

    /// The machine loses its power wherever it stands, and has it again. What outlasts that is what the disk had made
    /// durable, the TPM, and what the controller knows of the device.
    ///
    /// # Panics
    /// As [`Stage::new`]; if no slot of the disk can be started.
    #[must_use]
    pub fn after_power_cut(self, seed: u64) -> Self {
        self.started_anew(seed, Boot::Fresh)
    }

    /// The same, but that the watchdog has reset it, and dom0 knows.
    ///
    /// # Panics
    /// As [`Stage::after_power_cut`].
    #[must_use]
    pub fn after_watchdog(self, seed: u64) -> Self {
        self.started_anew(seed, Boot::Reset)
    }

    fn started_anew(self, seed: u64, boot: Boot) -> Self {
        let Fleet { disk, chip, eve, .. } = &self.fleet;
        let after = Self::on(seed, self.more, disk.after_power_cut(), chip.after_reset(), boot);
        if let (Some(before), Some(after)) = (eve, &after.fleet.eve) {
            after.borrow_mut().recall(&before.borrow());
        }
        after
    }

    /// A machine with what was there before.
    fn on(seed: u64, more: More, disk: Rc<Disk>, chip: Rc<Chip>, boot: Boot) -> Self {
        random::begin(seed);
        let world = World::new();
        let before = world.census();
        let mut executor = Executor::new(&world, seed);
        executor.let_yield();
        let slot = more.has_disk().then(|| disk.start());
        let start = (slot, disk.starts().max(1));
        let (ground, supervisor) = dom0(&world, &executor, more, start, boot);
        let (card, seen): (Rc<Card>, _) = (Rc::default(), Rc::default());
        let eve = more.application().map(|image| behind(&world, &executor, &card, &image));
        if let Some(eve) = &eve {
            eve.borrow_mut().has_tpm = more.has_tpm();
        }
        let (services, kept) = (more.services(), Rc::<Kept>::default());
        kept.taken.set(more == More::Betrayed);
        let fleet = Fleet { ground: ground.clone(), world, card, chip, disk, kept, eve, seen, services };
        let (spawner, rng) = (executor.spawner(), tests_fakexen::Rng::new(seed));
        let Fleet { card, chip, disk, kept, seen, .. } = fleet.clone();
        let mut programs = Programs { spawner, card, chip, disk, seen, kept, control: more.control(), rng };
        executor.on_start(move |domain| programs.begin(domain));
        let (stop, stopped) = (Rc::new(Bell::new()), Rc::new(Cell::new(false)));
        executor.spawn(DomId::DOM0, watch::deaths(ground.clone()));
        executor.spawn(DomId::DOM0, control::forward_own_log(ground.clone()));
        let (heard, told) = (stop.clone(), stopped.clone());
        executor.spawn(DomId::DOM0, async move {
            select(heard.wait(), supervision::run(ground, supervisor)).await;
            told.set(true);
        });
        Self { fleet, more, executor, before, stop, stopped }
    }

    /// Runs until `done`.
    ///
    /// # Panics
    /// If that does not come about, or a service ends itself by a panic that no story has ordered.
    pub fn until(&mut self, what: &str, mut done: impl FnMut(&Fleet) -> bool) {
        let fleet = self.fleet.clone();
        let outcome = self.executor.run_until(PATIENCE, || {
            fleet.seen.check_last_words();
            done(&fleet)
        });
        let Seen { echoes, lives, started, ended, .. } = &*fleet.seen;
        let (lives, started, ended) = (lives.borrow(), started.borrow(), ended.borrow());
        let asked = fleet.eve.iter().map(|eve| eve.borrow().told()).collect::<String>();
        assert_eq!(
            outcome,
            Outcome::Done,
            "{what}: {} ms after power-on, {lives} lives, {} echoes, {started} applications started, {ended} ended; {asked}",
            fleet.world.now_ns() / 1_000_000,
            echoes.borrow().len()
        );
    }

    /// Ends everything, and checks that nothing is left.
    ///
    /// # Panics
    /// If something is, or if a watchdog would have reset the machine.
    pub fn end(mut self) {
        // While all run, none is being ended: so none is dropped halfway.
        self.until("all services run", |fleet| {
            fleet.services.iter().all(|&service| fleet.id(service).is_some())
        });
        let longest = self.fleet.ground.watchdogs.longest();
        assert!(longest < DOG, "the watchdog was not fed for {longest:?}");
        self.take_away();
    }

    /// Ends everything but a service that is given up, and checks that nothing is left. What that has meant for the
    /// watchdog is for the story to look at.
    ///
    /// # Panics
    /// If something is left, or the service is there.
    pub fn end_without(mut self, given_up: ServiceId) {
        self.until("all others run", |fleet| {
            fleet.services.iter().all(|&service| fleet.id(service).is_some() == (service != given_up))
        });
        self.take_away();
    }

    fn take_away(mut self) {
        self.stop.signal(());
        let stopped = self.stopped.clone();
        self.until("the supervisor stops", |_| stopped.get());
        let over = Rc::new(Cell::new(false));
        let (ground, told) = (self.fleet.ground.clone(), over.clone());
        self.executor.spawn(DomId::DOM0, async move {
            let services = ground.services.builder().table.domains.len() as u8;
            for service in (0..services).map(ServiceId) {
                if let Some(life) = ground.services.life(service) {
                    Services::end(&ground, Instance { service, life }).await;
                }
            }
            let apps: Vec<_> = ground.server.borrow_mut().end_all().collect();
            for (app, domain) in apps {
                control::end(&ground, app, domain, stop_reason(ShutdownReason::POWEROFF)).await;
            }
            told.set(true);
        });
        self.until("everything ends", |_| over.get());
        self.executor.drop_dead();
        self.fleet.world.retry_unmapping();
        let mut left = self.fleet.world.census();
        // dom0 keeps the port by which it hears of deaths.
        assert_eq!(left.ports.remove(&DomId::DOM0), Some(1), "{left:?}");
        assert_eq!(left, self.before);
    }
}
