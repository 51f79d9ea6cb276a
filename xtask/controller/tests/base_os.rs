//! Updates of the base OS with everything real but the machine: the agent with its update machine, storage on a disk
//! double that can be cut anywhere, the rule by which a selector starts slots, and this controller over real TLS.
//!
//! Time is virtual: it goes to the next moment at which anybody has something to do.

mod device;
mod shell;
#[path = "../../../stubdoms/storage-core/tests/storage/world.rs"]
// Shared with the tests of storage, which use all of it; here some of it is left over.
#[expect(dead_code, reason = "the tests of storage use the rest of it")]
mod world;

use std::collections::{BTreeMap, VecDeque};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};

use board_support_drv::block::fake::{FakeDisk, Image};
use device::Device;
use ed25519_dalek::{Signer as _, SigningKey};
use proto_gpt::slots::{Slot, State};
use proto_handoff::record::Version;
use proto_svc::storage::Request;
use proto_update::manifest::{Draft, Kind, Machine};
use proto_update::payload::pack;
use shell::{exchange, provisioning, wall};
use stubdoms_agent::{
    Agent, BootCause, ContentCommand, Destination, DeviceCommand, DeviceFacts, Download, DownloadError,
    DownloadId, FailureKind, HttpFailure, Now, StartedSlot, Uplink,
};
use stubdoms_web::http::parse_content_range;
use world::{Life, ROOM, Random, flashed, signer, states};
use xtask_controller::{BootView, Controller, DeviceView, Handle, Options, SlotView};

const OLD: &str = "1.0.0";
const NEW: &str = "1.1.0";
const ITEMS: &str = "[items]\n'timer.config.interval' = 60\n'timer.metric.interval' = 3600\n\
    'timer.download.retry' = 60\n";
/// Bytes of the contents of a version.
const LENGTH: usize = 36_000;
/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;

/// What is wrong with a version once it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bad {
    /// It has no network.
    Alone,
    /// A service that is vital does not come up.
    Ill,
    /// dom0 panics after a while.
    Panics,
    /// dom0 hangs after a while.
    Hangs,
    /// The vault does not give the storage its key.
    Locked,
}

/// How the content server answers one question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    /// Nobody is there.
    Away,
    /// Right, but it breaks off after so many bytes.
    BreaksAfter(usize),
    /// It gives another range than was asked for, and says so.
    OtherRange,
    /// It says that it gives the range that was asked for, and gives other bytes.
    OtherBytes,
    /// It knows no ranges.
    Whole,
    /// It knows of no such range.
    NoRange,
}

/// A download for the slot on its way: what will have come, how much of it was taken, and how it ends.
struct Coming {
    id: DownloadId,
    bytes: Vec<u8>,
    offset: u64,
    total: u64,
    taken: usize,
    end: Result<(), DownloadError>,
    begun: bool,
}

struct Bench<'a> {
    controller: &'a Handle,
    wire: Device,
    agent: Agent,
    life: Life,
    disk: FakeDisk,
    /// What runs.
    slot: Slot,
    version: String,
    now_ns: u64,
    lives: u64,
    note: Vec<u8>,
    bad: BTreeMap<String, Bad>,
    /// How the content server answers the next questions; then it is honest.
    server: VecDeque<Server>,
    coming: Option<Coming>,
    /// Where downloads for the slot began.
    began: Vec<u64>,
    /// The machine ends by itself then.
    ends: Option<(u64, BootCause)>,
    /// What the agent has said of the reset that it has ordered.
    order: Vec<u8>,
    /// Requests that storage has carried out, and after how many of them the power is cut.
    requests: u64,
    cut_after: Option<u64>,
    random: Random,
    resets: u32,
}

impl<'a> Bench<'a> {
    fn new(controller: &'a Handle) -> Self {
        let wire = Device::new(controller, "box");
        let disk = world::disk(flashed());
        let life = Life::open(&disk);
        let agent = agent(&wire, DeviceFacts::default(), 1);
        let mut bench = Self {
            controller,
            wire,
            agent,
            life,
            disk,
            slot: Slot::A,
            version: String::new(),
            now_ns: 0,
            lives: 1,
            note: Vec::new(),
            bad: BTreeMap::new(),
            server: VecDeque::new(),
            coming: None,
            began: Vec::new(),
            ends: None,
            order: Vec::new(),
            requests: 0,
            cut_after: None,
            random: Random(7),
            resets: 0,
        };
        bench.boot(flashed(), BootCause::Unknown);
        bench
    }

    fn now(&self) -> Now {
        Now { monotonic_ns: self.now_ns, wall: Some(wall()) }
    }

    /// A start of the machine with this disk: what the selector does, then dom0 and the services.
    fn boot(&mut self, mut image: Image, boot_cause: BootCause) {
        let (slot, version) = world::boot(&mut image).expect("one of two versions starts, never neither");
        let ordered = boot_cause == BootCause::Ordered;
        let trial = !states(&image)[index(slot)].successful;
        (self.slot, self.version) = (slot, version.clone());
        self.disk = world::disk(image);
        self.life = Life::start_from(&self.disk, Some(slot));
        self.now_ns = SECOND;
        self.lives += 1;
        self.note.clear();
        self.coming = None;
        let facts = DeviceFacts {
            version,
            partition: if slot == Slot::A { "IMGA" } else { "IMGB" }.into(),
            boot_cause,
            boot_order: Some(std::mem::take(&mut self.order)).filter(|_| ordered).unwrap_or_default(),
            start: u32::try_from(self.lives).expect("few"),
            slot: Some(StartedSlot { trial, other_refused: false, reason: String::new() }),
            ..DeviceFacts::default()
        };
        self.agent = agent(&self.wire, facts, self.lives);
        let bad = self.bad.get(&self.version).copied();
        self.ends = match bad {
            Some(Bad::Panics) => Some((20 * SECOND, BootCause::Panic)),
            Some(Bad::Hangs) => Some((20 * SECOND, BootCause::Watchdog)),
            Some(Bad::Alone | Bad::Ill | Bad::Locked) | None => None,
        };
        self.agent.expect_storage();
        self.agent.recall([], &[]);
        if bad != Some(Bad::Locked) {
            self.life.hear_key();
        }
        let now = self.now();
        self.agent.on_services(now, (bad == Some(Bad::Ill)).then_some("net"));
        self.agent.on_storage(now, true);
        let uplink = Uplink {
            up: bad != Some(Bad::Alone),
            interface: "eth0".into(),
            addresses: vec!["10.0.2.15".into()],
            mtu: 1500,
            ..Uplink::default()
        };
        self.agent.on_uplink(now, uplink);
    }

    fn reset(&mut self, cause: BootCause) {
        self.resets += 1;
        self.boot(self.disk.image(), cause);
    }

    /// The power goes now: of what was not flushed, anything is left.
    fn power_cut(&mut self) {
        let log = self.disk.log().clone();
        let random = &mut self.random;
        let image = log.cut(log.events().len()).left(|of| random.below(of));
        self.boot(image, BootCause::Unknown);
    }

    /// Lives until `reached`, at most for three hours of its time.
    fn until(&mut self, what: &str, mut reached: impl FnMut(&Self) -> bool) {
        let mut left = 3 * 3600 * SECOND;
        loop {
            let deadline = self.settle();
            if reached(self) {
                return;
            }
            let ends = self.ends.filter(|(at, _)| deadline.is_none_or(|deadline| *at <= deadline));
            let next = ends.map(|(at, _)| at).or(deadline).unwrap_or(u64::MAX).max(self.now_ns + SECOND / 10);
            let passes = next - self.now_ns;
            assert!(passes <= left, "never: {what}; {:#?}\n{:#?}", self.slots(), self.last_events());
            left -= passes;
            self.now_ns = next;
            if let Some((at, cause)) = ends
                && at <= self.now_ns
            {
                self.reset(cause);
            }
        }
    }

    fn run(&mut self, seconds: u64) {
        let end = self.now_ns + seconds * SECOND;
        let lives = self.lives;
        self.until("the time to pass", |bench| bench.now_ns >= end || bench.lives != lives);
        assert_eq!(self.lives, lives, "it was reset");
    }

    /// Serves what is to be done now until nothing is.
    fn settle(&mut self) -> Option<u64> {
        loop {
            let deadline = self.agent.poll(self.now());
            let mut idle = true;
            while let Some(request) = self.agent.next_request() {
                idle = false;
                let result = exchange(&self.wire, &request);
                self.agent.on_response(self.now(), request.id, result);
            }
            while let Some(command) = self.agent.next_content_command() {
                idle = false;
                match command {
                    ContentCommand::Fetch(download) => self.coming = Some(self.fetch(&download)),
                    ContentCommand::Cancel(id) => {
                        self.coming.take_if(|coming| coming.id == id);
                    }
                    ContentCommand::Release { .. } => {}
                }
            }
            idle &= !self.serve_storage();
            idle &= !self.move_download();
            let lives = self.lives;
            while let Some(command) = self.agent.next_device_command() {
                match command {
                    DeviceCommand::Note(note) => self.note = note,
                    DeviceCommand::Reboot(why) => {
                        self.order = why;
                        self.reset(BootCause::Ordered);
                    }
                    _ => {}
                }
            }
            if idle && lives == self.lives {
                return deadline;
            }
        }
    }

    fn serve_storage(&mut self) -> bool {
        let mut any = false;
        while let Some((number, request)) = self.agent.next_storage_request() {
            any = true;
            if let Request::Write { .. } = request {
                assert_ne!(
                    self.states()[1 - index(self.slot)],
                    State::UPDATING,
                    "what is armed is left alone"
                );
            }
            let answer = self.life.ask(&request);
            self.requests += 1;
            if self.cut_after == Some(self.requests) {
                self.power_cut();
                return true;
            }
            self.agent.on_storage_answer(self.now(), number, answer);
        }
        any
    }

    fn move_download(&mut self) -> bool {
        let Some(mut coming) = self.coming.take() else { return false };
        let (now, id) = (self.now(), coming.id);
        if !coming.begun {
            coming.begun = true;
            self.began.push(coming.offset);
            if coming.end.is_ok() && !self.agent.on_download_start(now, id, coming.offset) {
                let text = "its bytes are not wanted".into();
                let failure = DownloadError::Http(HttpFailure { kind: FailureKind::Local, text });
                self.agent.on_download_done(now, id, Err(failure));
                return true;
            }
        }
        let rest = coming.bytes.get(coming.taken..).unwrap_or_default();
        let Some(piece) = rest.get(..rest.len().min(1460)).filter(|piece| !piece.is_empty()) else {
            let length = coming.offset + coming.bytes.len() as u64;
            self.agent.on_download_done(now, id, coming.end.map(|()| length));
            return true;
        };
        let taken = self.agent.on_download_bytes(now, id, piece, Some(coming.total));
        coming.taken += taken;
        self.coming = Some(coming);
        taken > 0
    }

    /// What a question to the content server brings, by the rules of the way to it ([`stubdoms_web`]).
    fn fetch(&mut self, download: &Download) -> Coming {
        let Destination::Slot { from } = download.into else { panic!("nothing else is fetched") };
        let server = self.server.pop_front();
        let failed = |error| Coming {
            id: download.id,
            bytes: Vec::new(),
            offset: from,
            total: 0,
            taken: 0,
            end: Err(error),
            begun: false,
        };
        let http = |kind, text: &str| DownloadError::Http(HttpFailure { kind, text: text.into() });
        let ask = match server {
            Some(Server::Away) => return failed(http(FailureKind::Refused, "connection refused")),
            Some(Server::NoRange) if from > 0 => return failed(DownloadError::Status(416)),
            Some(Server::OtherRange) => Some(from + 1),
            Some(Server::Whole) => None,
            _ => Some(from).filter(|from| *from > 0),
        };
        let (status, range, mut bytes) = get(&download.url, ask);
        let (offset, total) = match status {
            200 => (0, bytes.len() as u64),
            206 => match range.as_deref().and_then(parse_content_range) {
                Some(range) if range.first == from => (from, range.total.expect("told")),
                _ => return failed(http(FailureKind::Malformed, "another range than was asked for")),
            },
            status => return failed(DownloadError::Status(status)),
        };
        if total > download.max_bytes {
            return failed(DownloadError::TooLarge);
        }
        let mut end = Ok(());
        match server {
            Some(Server::BreaksAfter(count)) => {
                bytes.truncate(count);
                end = Err(http(FailureKind::Connect, "it broke off"));
            }
            Some(Server::OtherBytes) => bytes.rotate_left(1),
            _ => {}
        }
        Coming { id: download.id, bytes, offset, total, taken: 0, end, begun: false }
    }

    fn states(&self) -> [State; 2] {
        states(&self.disk.image())
    }

    fn view(&self) -> Option<DeviceView> {
        self.controller.observe(|observed| observed.devices.values().next().cloned())
    }

    fn slots(&self) -> Vec<SlotView> {
        self.view().and_then(|view| view.info).map_or_else(Vec::new, |info| info.slots)
    }

    fn last_boot(&self) -> BootView {
        self.view().and_then(|view| view.boots.last().cloned()).expect("a start was told")
    }

    fn last_events(&self) -> Vec<String> {
        self.controller.observe(|observed| {
            observed.events.iter().rev().take(15).rev().map(|event| event.text.clone()).collect()
        })
    }

    /// Whether the controller was told that this version runs, proven.
    fn runs(&self, version: &str) -> bool {
        self.version == version && self.slots().iter().any(|slot| slot.runs(version))
    }

    /// The error that the controller was told of a version.
    fn error(&self, version: &str) -> String {
        let slots = self.slots();
        let found = slots.iter().find(|slot| slot.version == version && !slot.error.is_empty());
        found.map_or_else(String::new, |slot| slot.error.clone())
    }
}

fn agent(wire: &Device, facts: DeviceFacts, seed: u64) -> Agent {
    let facts = DeviceFacts {
        architecture: "x86_64".into(),
        cpus: 1,
        memory_mib: 512,
        app_memory_kib: 128 << 10,
        app_vcpus: 1,
        content_bytes: 8 << 20,
        boot_time: Some(wall()),
        port: "eth0".into(),
        ..facts
    };
    let now = Now { monotonic_ns: 0, wall: Some(wall()) };
    Agent::new(provisioning(wire), facts, seed, now).expect("the files are right")
}

const fn index(slot: Slot) -> usize {
    match slot {
        Slot::A => 0,
        Slot::B => 1,
    }
}

/// Status, range and bytes of what the controller serves.
fn get(url: &str, from: Option<u64>) -> (u16, Option<String>, Vec<u8>) {
    let rest = url.strip_prefix("http://10.0.2.2:").expect("the controller's content");
    let (port, path) = rest.split_once('/').expect("a path");
    let port = port.parse().expect("a port");
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("connected");
    let range = from.map_or_else(String::new, |from| format!("Range: bytes={from}-\r\n"));
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: 10.0.2.2\r\n{range}Connection: close\r\n\r\n")
        .expect("sent");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("read");
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let status = head.get(9..12).and_then(|status| status.parse().ok()).expect("a status");
    let range = head.lines().find_map(|line| line.strip_prefix("content-range: ")).map(str::to_owned);
    (status, range, bytes.split_off(end + 4))
}

/// A slot of so many bytes of contents, which are as long when they are packed.
fn slot_of(version: &str, length: usize, machine: Machine, key: &SigningKey) -> Vec<u8> {
    let mut random = Random(version.len() as u64);
    let contents: Vec<u8> = (0..length).map(|_| random.number() as u8).collect();
    let version = Version::new(version).expect("a version");
    let draft = Draft::new(machine, version, &[(Kind::Program, &contents)]).expect("a draft");
    draft.sign(|bytes| key.sign(bytes).to_bytes())
}

fn system(version: &str) -> Vec<u8> {
    slot_of(version, LENGTH, Machine::X86_64, &signer())
}

fn payload(version: &str) -> Vec<u8> {
    pack(&system(version)).expect("a slot")
}

fn base(version: &str, more: &str) -> String {
    format!("{ITEMS}[base]\nversion = '{version}'\ncontent = '{version}.update'\n{more}\n")
}

fn start() -> (tempfile::TempDir, Handle) {
    let folder = tempfile::tempdir().expect("a folder");
    let controller = Controller::start(Options::new(folder.path())).expect("it starts");
    controller.set_config(ITEMS).expect("right");
    (folder, controller)
}

/// The configuration names this version, of this content.
fn order(controller: &Handle, version: &str, bytes: &[u8], more: &str) {
    controller.put_content(&format!("{version}.update"), bytes).expect("written");
    controller.set_config(&base(version, more)).expect("right");
}

fn onboarded(controller: &Handle) -> Bench<'_> {
    let mut bench = Bench::new(controller);
    bench.until("onboarded", |bench| bench.runs(OLD));
    bench
}

#[test]
fn a_version_is_installed_tested_and_committed() {
    let (_folder, controller) = start();
    let mut bench = onboarded(&controller);
    order(&controller, NEW, &payload(NEW), "");
    bench.until("the reset", |bench| bench.resets == 1);
    assert_eq!((bench.slot, bench.version.as_str()), (Slot::B, NEW));
    assert_eq!(bench.states(), [State::ACTIVE, State { tries: 0, ..State::UPDATING }]);
    bench.run(500);
    assert!(!bench.states()[1].successful, "its window is ten minutes");
    assert!(bench.slots().iter().any(|slot| slot.detail == "UPDATE_TESTING"));
    bench.until("the commit", |bench| bench.runs(NEW));
    assert_eq!(bench.states(), [State::SPARE, State::ACTIVE]);
    assert_eq!(bench.last_boot().reason, "UPDATE");
    assert_eq!((bench.resets, bench.began.as_slice()), (1, &[0][..]));
    // Started again: that is what it is from then on.
    bench.reset(BootCause::Unknown);
    bench.until("the next start", |bench| bench.runs(NEW));
    // And back, when somebody wants it: once.
    let forced = format!("{}[device]\nforce_fallback = 1\n", base(NEW, ""));
    controller.set_config(&forced.replace("force_fallback = 1", "force_fallback = 0")).expect("right");
    bench.run(200);
    controller.set_config(&forced).expect("right");
    bench.until("the version before", |bench| bench.runs(OLD));
    bench.run(7000);
    assert_eq!(bench.states(), [State::ACTIVE, State::SPARE]);
    assert!(bench.error(NEW).contains("E-UPDATE-008"), "{:?}", bench.slots());
    assert_eq!(controller.violations(), []);
}

#[test]
fn a_version_that_is_bad_falls_back_is_reported_and_not_tried_again() {
    for (bad, reason, text) in [
        (Bad::Alone, "FALLBACK", "did not reach the controller"),
        (Bad::Ill, "FALLBACK", "net was not well"),
        (Bad::Panics, "KERNEL", "dom0 or Xen crashed"),
        (Bad::Hangs, "WATCHDOG_HUNG", "watchdog"),
        (Bad::Locked, "VAULT_FAILED", "could not open the vault under test"),
    ] {
        let (_folder, controller) = start();
        let mut bench = onboarded(&controller);
        bench.bad.insert(NEW.into(), bad);
        order(&controller, NEW, &payload(NEW), "");
        bench.until("both resets", |bench| bench.resets == 2);
        assert_eq!((bench.slot, bench.version.as_str()), (Slot::A, OLD), "{bad:?}");
        bench.until("the report", |bench| bench.error(NEW).contains("E-UPDATE-007"));
        assert!(bench.error(NEW).contains(text), "{bad:?}: {}", bench.error(NEW));
        let boot = bench.last_boot();
        assert_eq!((boot.reason.as_str(), boot.version.as_str()), (reason, OLD), "{bad:?}: {}", boot.text);
        assert!(boot.text.contains(text), "{bad:?}: {}", boot.text);
        // Not again by itself, nor after another start, nor when the file is written anew.
        bench.run(7200);
        bench.reset(BootCause::Unknown);
        controller.set_config(&base(NEW, "activate = true")).expect("right");
        bench.run(3600);
        assert_eq!((bench.resets, bench.began.len()), (3, 1), "{bad:?}");
        // When it is told to: what lies in the slot is tried once more.
        if bad == Bad::Alone {
            bench.bad.clear();
            controller.set_config(&base(NEW, "retry = 1")).expect("right");
            bench.until("the commit", |bench| bench.runs(NEW));
            assert_eq!((bench.resets, bench.began.len()), (4, 1), "it is not fetched again");
        } else {
            order(&controller, "1.2.0", &payload("1.2.0"), "");
            bench.until("another version", |bench| bench.runs("1.2.0"));
        }
        assert_eq!(controller.violations(), [], "{bad:?}");
    }
}

#[test]
fn content_that_is_no_update_is_refused_by_name() {
    let good = payload(NEW);
    let mut turned = system(NEW);
    *turned.last_mut().expect("bytes") ^= 1;
    let stranger = SigningKey::from_bytes(&[1; 32]);
    let packed = |slot: &[u8]| pack(slot).expect("a slot");
    let zeros = {
        let contents = vec![0; ROOM as usize];
        let version = Version::new(NEW).expect("a version");
        let draft = Draft::new(Machine::X86_64, version, &[(Kind::Program, &contents)]).expect("a draft");
        draft.sign(|bytes| signer().sign(bytes).to_bytes())
    };
    let noise = slot_of(NEW, ROOM as usize, Machine::X86_64, &signer());
    // What it is, the version that is asked for, the content, the code, and how often it is fetched for that.
    let cases: [(&str, &str, Vec<u8>, &str, usize); 9] = [
        ("truncated", NEW, good[..good.len() - 9].to_vec(), "E-UPDATE-004", 1),
        ("something else", NEW, b"no update".repeat(300), "E-UPDATE-004", 1),
        ("wrong hash", NEW, packed(&turned), "E-UPDATE-005", 1),
        ("wrong key", NEW, packed(&slot_of(NEW, LENGTH, Machine::X86_64, &stranger)), "E-UPDATE-005", 1),
        ("other machine", NEW, packed(&slot_of(NEW, LENGTH, Machine::Aarch64, &signer())), "E-UPDATE-005", 1),
        ("older", "0.9.0", payload("0.9.0"), "E-UPDATE-005", 1),
        ("other version", NEW, payload("1.3.0"), "E-UPDATE-003", 1),
        ("larger than the slot", NEW, packed(&zeros), "E-UPDATE-004", 1),
        ("larger than the slot as it travels", NEW, packed(&noise), "E-UPDATE-010", 0),
    ];
    let (_folder, controller) = start();
    let mut bench = onboarded(&controller);
    for (number, (name, version, bytes, code, fetched)) in cases.into_iter().enumerate() {
        order(&controller, version, &bytes, &format!("retry = {number}"));
        let began = bench.began.len();
        bench
            .until(name, |bench| bench.error(version).contains(code) && bench.began.len() == began + fetched);
        bench.run(3600);
        assert_eq!((bench.resets, bench.began.len()), (0, began + fetched), "{name}: nor tried again");
        assert_eq!(bench.states()[0], State::ACTIVE, "{name}");
        assert!(!bench.states()[1].is_startable() || bench.states()[1] == State::SPARE, "{name}");
    }
    // What is right is taken after all of that.
    order(&controller, "1.4.0", &payload("1.4.0"), "");
    bench.until("the commit", |bench| bench.runs("1.4.0"));
    assert_eq!(controller.violations(), []);
}

#[test]
fn a_server_that_is_away_breaks_off_or_lies_about_ranges_delays_it_only() {
    let length = payload(NEW).len();
    let part = length / 3;
    let cut = Server::BreaksAfter(part);
    for (server, began) in [
        (vec![Server::Away, Server::Away], vec![0, 0, 0]),
        (vec![cut, Server::Away], vec![0, part, part]),
        (vec![cut, cut], vec![0, part, 2 * part]),
        (vec![cut, Server::Whole], vec![0, 0]),
        (vec![cut, Server::OtherRange], vec![0, part, 0]),
        (vec![cut, Server::OtherBytes], vec![0, part, 0]),
        (vec![cut, Server::NoRange], vec![0, part, 0]),
        // All of it came, and then not its end: there is no such range, for which this server gives the whole.
        (vec![Server::BreaksAfter(0), Server::BreaksAfter(length)], vec![0, 0, 0]),
    ] {
        let (_folder, controller) = start();
        let mut bench = onboarded(&controller);
        bench.server.extend(server.clone());
        order(&controller, NEW, &payload(NEW), "");
        bench.until("the commit", |bench| bench.runs(NEW));
        let seen: Vec<usize> = bench.began.iter().map(|from| *from as usize).collect();
        assert_eq!((seen, bench.resets), (began, 1), "{server:?}");
        assert_eq!(controller.violations(), [], "{server:?}");
    }
}

/// The power goes after one request of storage's or another, from the first of the download to the last of the
/// commit. What was not under test comes about in the end; what was has fallen back, and says why.
#[test]
fn the_power_may_go_at_any_request() {
    let mut last = u64::MAX;
    let (mut number, mut came, mut fell) = (1, 0, 0);
    while number < last {
        let (_folder, controller) = start();
        let mut bench = onboarded(&controller);
        bench.random = Random(number);
        let before = bench.requests;
        bench.cut_after = Some(before + number);
        order(&controller, NEW, &payload(NEW), "");
        let lives = bench.lives;
        bench.until("the end", |bench| bench.runs(NEW) || bench.error(NEW).contains("E-UPDATE-007"));
        if bench.cut_after > Some(bench.requests) {
            // It was over before.
            last = number;
        }
        assert!(bench.lives > lives);
        if bench.runs(NEW) {
            came += 1;
        } else {
            fell += 1;
            assert_eq!((bench.version.as_str(), bench.states()[0]), (OLD, State::ACTIVE), "{number}");
            assert!(bench.error(NEW).contains("not known"), "{}", bench.error(NEW));
        }
        let onboarded = controller.observe(|observed| observed.devices.len());
        assert_eq!((onboarded, controller.violations()), (1, vec![]), "{number}");
        number += 2;
    }
    println!("{came} updated, {fell} fallen back, of {number} requests");
    assert!(came > 10 && fell > 2, "{came} {fell}");
}
