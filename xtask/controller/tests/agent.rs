//! The device agent of this repository against this controller, on the host: over real TLS, with a
//! clock that runs twenty times as fast, and a shell that plays dom0. Neither may find fault with the
//! other, and each fault that the controller makes on purpose has to be survived.

mod device;
mod shell;
mod tpm;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use device::Device;
use ring::digest::{SHA256, digest};
use shell::{exchange, provisioning, wall};
use stubdoms_agent::{
    Agent, AppCommand, AppEvent, AppFailure, ContentCommand, DeviceCommand, DeviceFacts, DomainUsage,
    Download, DownloadError, LogRecord, Machine, Now, Severity, StopReason, Uplink, Uuid, VaultEvent,
};
use xtask_controller::{Controller, DeviceMetrics, DeviceView, Endpoint, Fault, Handle, Options, Target};

const SPEED: u64 = 20;
const PATIENCE: Duration = Duration::from_secs(60);

const CONFIG: &str = "[items]\n'timer.config.interval' = 5\n'timer.metric.interval' = 5\n\
    'newlog.allow.fastupload' = true\n'timer.download.retry' = 60\n";

fn app(memory_kib: u32, extra: &str) -> String {
    format!("{CONFIG}[[app]]\nname = 'hello'\ncontent = 'hello.elf'\nmemory_kib = {memory_kib}\n{extra}\n")
}

/// A device made of the agent and a shell that does what a shell does.
struct Bench {
    agent: Agent,
    wire: Device,
    begin: Instant,
    running: BTreeMap<Uuid, u64>,
    starts: u32,
    /// Bytes that applications have said.
    said: u64,
    tpm: Option<tpm::Shared>,
}

impl Bench {
    fn new(controller: &Handle) -> Self {
        Self::boot(controller, None)
    }

    /// A device with this TPM, whose key is the device's.
    fn boot(controller: &Handle, tpm: Option<tpm::Shared>) -> Self {
        let wire = Device::new(controller, "agent");
        let mut files = provisioning(&wire);
        if tpm.is_some() {
            (files.device_cert, files.device_key) = (Vec::new(), Vec::new());
        }
        let facts = DeviceFacts {
            architecture: "x86_64".into(),
            cpus: 1,
            memory_mib: 512,
            app_memory_kib: 128 << 10,
            app_vcpus: 1,
            content_bytes: 8 << 20,
            version: "0.1.0".into(),
            partition: "IMGA".into(),
            manufacturer: "QEMU".into(),
            product: "bench".into(),
            firmware: "bench-1-2026".into(),
            boot_time: Some(wall()),
            port: "eth0".into(),
            ..DeviceFacts::default()
        };
        let begin = Instant::now();
        let now = Now { monotonic_ns: 0, wall: Some(wall()) };
        // Another one in each boot, as a device has it.
        static SEED: AtomicU64 = AtomicU64::new(7);
        let seed = SEED.fetch_add(1, Ordering::Relaxed);
        let mut agent = match tpm.clone() {
            Some(tpm) => {
                let sign = Rc::new(move |digest: &[u8; 32]| Some(tpm.borrow().sign(digest)));
                let mut agent =
                    Agent::with_vault(files, facts, sign, seed, now).expect("the files are right");
                agent.on_vault(now, VaultEvent::There);
                agent
            }
            None => Agent::new(files, facts, seed, now).expect("the files are right"),
        };
        let uplink = Uplink {
            up: true,
            interface: "eth0".into(),
            addresses: vec!["10.0.2.15".into()],
            mtu: 1500,
            ..Uplink::default()
        };
        agent.on_uplink(now, uplink);
        Self { agent, wire, begin, running: BTreeMap::new(), starts: 0, said: 0, tpm }
    }

    fn now(&self) -> Now {
        let elapsed = u64::try_from(self.begin.elapsed().as_nanos()).expect("centuries");
        Now { monotonic_ns: elapsed * SPEED, wall: Some(wall()) }
    }

    /// Lives until `reached`, and fails with what the controller saw last.
    fn until(&mut self, controller: &Handle, what: &str, mut reached: impl FnMut() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !reached() {
            if Instant::now() > end {
                let last: Vec<String> = controller.observe(|observed| {
                    observed.events.iter().rev().take(15).rev().map(|event| event.text.clone()).collect()
                });
                panic!(
                    "{what} did not come; last events:\n{}\n{:#?}",
                    last.join("\n"),
                    controller.violations()
                );
            }
            self.step();
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn step(&mut self) {
        self.agent.poll(self.now());
        if let Some(tpm) = self.tpm.clone() {
            while let Some(request) = self.agent.next_vault_request() {
                let answer = tpm.borrow_mut().answer(request);
                self.agent.on_vault(self.now(), VaultEvent::Answer(answer));
            }
        }
        while let Some(request) = self.agent.next_request() {
            let result = exchange(&self.wire, &request);
            self.agent.on_response(self.now(), request.id, result);
        }
        while let Some(command) = self.agent.next_content_command() {
            if let ContentCommand::Fetch(download) = command {
                let result = fetch(&download);
                self.agent.on_download_done(self.now(), download.id, result);
            }
        }
        while let Some(command) = self.agent.next_app_command() {
            self.obey(command);
        }
        while let Some(command) = self.agent.next_device_command() {
            if command == DeviceCommand::QueryUsage {
                self.tell_usage();
            }
            if command == DeviceCommand::QueryEventLog {
                let log = self.tpm.as_ref().expect("a TPM").borrow().log.clone();
                self.agent.on_event_log(self.now(), log);
            }
        }
        for (app, tick) in self.running.clone() {
            // One line a second of the fast clock.
            if self.now().monotonic_ns / 1_000_000_000 > tick {
                self.running.insert(app, self.now().monotonic_ns / 1_000_000_000);
                let line = format!("tick {tick}\n").into_bytes();
                self.said += line.len() as u64;
                self.agent.on_app_event(
                    self.now(),
                    app,
                    AppEvent::Console { offset: self.said, bytes: line.clone() },
                );
            }
        }
    }

    fn obey(&mut self, command: AppCommand) {
        let (app, event) = match command {
            AppCommand::Define(definition) if definition.memory_kib > 128 << 10 => {
                let failed = AppEvent::Failed { failure: AppFailure::Memory, text: String::new() };
                (definition.app, failed)
            }
            AppCommand::Define(definition) => (definition.app, AppEvent::Staged),
            AppCommand::Start { app } => {
                self.starts += 1;
                self.running.insert(app, 0);
                (app, AppEvent::Running { domid: 5 })
            }
            AppCommand::Stop { app } => {
                self.running.remove(&app);
                (app, AppEvent::Stopped(StopReason::Ordered))
            }
            AppCommand::Note { .. } => return,
            AppCommand::Remove { app } => {
                self.running.remove(&app);
                return;
            }
        };
        self.agent.on_app_event(self.now(), app, event);
    }

    fn tell_usage(&mut self) {
        let now = self.now();
        let usage = DomainUsage { name: "net".into(), app: None, memory_kib: 16 << 10, cpu_ns: 5 };
        self.agent.on_usage(now, usage);
        for app in self.running.keys().copied() {
            let usage =
                DomainUsage { name: "hello".into(), app: Some(app), memory_kib: 7 << 10, cpu_ns: 9_000_000 };
            self.agent.on_usage(now, usage);
        }
        let machine =
            Machine { memory_kib: 512 << 10, free_kib: 256 << 10, cpus: 1, app_memory_kib: 128 << 10 };
        self.agent.on_machine(now, machine);
        let record = LogRecord {
            severity: Severity::Info,
            source: "control".into(),
            content: "usage was told".into(),
            at: None,
        };
        self.agent.log(now, &record, 0);
    }
}

fn fetch(download: &Download) -> Result<u64, DownloadError> {
    let rest = download.url.strip_prefix("http://10.0.2.2:").expect("the controller's content");
    let (port, path) = rest.split_once('/').expect("a path");
    let mut stream =
        TcpStream::connect((Ipv4Addr::LOCALHOST, port.parse().expect("a port"))).expect("connected");
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: 10.0.2.2\r\nConnection: close\r\n\r\n").expect("sent");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("read");
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    let body = &bytes[end + 4..];
    let found: [u8; 32] = digest(&SHA256, body).as_ref().try_into().expect("32 bytes");
    match found == download.sha256 {
        true => Ok(body.len() as u64),
        false => Err(DownloadError::WrongHash { found }),
    }
}

fn start(config: &str) -> (tempfile::TempDir, Handle, Bench) {
    let folder = tempfile::tempdir().expect("a folder");
    let controller = Controller::start(Options::new(folder.path())).expect("it starts");
    controller.put_content("hello.elf", b"\x7fELF hello").expect("written");
    controller.set_config(config).expect("right");
    let bench = Bench::new(&controller);
    (folder, controller, bench)
}

fn state(controller: &Handle) -> Option<String> {
    controller.observe(|observed| {
        observed.app("hello").map(|app| if app.deleted { "gone".into() } else { app.state.clone() })
    })
}

fn is(controller: &Handle, wanted: &str) -> bool {
    state(controller).as_deref() == Some(wanted)
}

fn has_error(controller: &Handle, part: &str) -> bool {
    controller.observe(|observed| {
        observed.app("hello").is_some_and(|app| app.errors.iter().any(|error| error.contains(part)))
    })
}

#[test]
fn the_main_story() {
    let (_folder, controller, mut bench) = start(&app(8192, ""));
    bench.until(&controller, "RUNNING", || is(&controller, "RUNNING"));
    bench.until(&controller, "a line of the app", || {
        controller.observe(|observed| observed.app_lines("hello").any(|line| line.content.contains("tick")))
    });
    bench.until(&controller, "a line of the device", || {
        controller.observe(|observed| observed.device_lines().next().is_some())
    });
    bench.until(&controller, "metrics and the current version", || {
        controller.observe(|observed| {
            observed.devices.values().any(|device| {
                let used = |metrics: &DeviceMetrics| {
                    let mut apps = metrics.apps.iter();
                    apps.any(|app| app.name == "hello" && app.used_mib == 7 && app.cpu_ns > 0)
                };
                device.metrics.as_ref().is_some_and(used)
                    && device.config_confirmed.is_some()
                    && device.info.is_some()
            })
        })
    });
    // Other memory: stopped and started once more.
    assert_eq!(bench.starts, 1);
    controller.set_config(&app(9216, "")).expect("right");
    bench.until(&controller, "HALTED or the like", || !is(&controller, "RUNNING"));
    bench.until(&controller, "RUNNING again", || is(&controller, "RUNNING"));
    assert_eq!(bench.starts, 2);
    // Other bytes under the same name.
    controller.put_content("hello.elf", b"\x7fELF other").expect("written");
    bench.until(&controller, "the purge", || !is(&controller, "RUNNING"));
    bench.until(&controller, "RUNNING with it", || is(&controller, "RUNNING"));
    assert_eq!(bench.starts, 3);
    // Stopped, started, removed.
    controller.set_config(&app(9216, "activate = false")).expect("right");
    bench.until(&controller, "HALTED", || is(&controller, "HALTED"));
    controller.set_config(&app(9216, "")).expect("right");
    bench.until(&controller, "RUNNING after that", || is(&controller, "RUNNING"));
    controller.set_config(CONFIG).expect("right");
    bench.until(&controller, "the end", || is(&controller, "gone"));
    assert!(bench.running.is_empty());
    assert_eq!(controller.violations(), []);
}

#[test]
fn too_much_memory_and_wrong_content_are_errors_of_the_app() {
    let (_folder, controller, mut bench) = start(&app(99_999_999, ""));
    bench.until(&controller, "an error about memory", || has_error(&controller, "emory"));
    assert_eq!(bench.starts, 0);
    controller.faults().arm(Target::Content, Fault::ChangedPayload, None);
    controller.put_content("hello.elf", b"new bytes").expect("written");
    controller.set_config(&app(8192, "")).expect("right");
    bench.until(&controller, "an error about the content", || {
        has_error(&controller, "SHA-256")
            || has_error(&controller, "sha256")
            || has_error(&controller, "hash")
    });
    assert_eq!(bench.starts, 0);
    controller.faults().clear();
    controller.put_content("hello.elf", b"right bytes").expect("written");
    bench.until(&controller, "RUNNING", || is(&controller, "RUNNING"));
    assert_eq!(controller.violations(), []);
}

#[test]
fn bad_answers_do_not_stop_it() {
    let (_folder, controller, mut bench) = start(&app(8192, ""));
    for target in [Endpoint::Certs, Endpoint::Uuid, Endpoint::Attest, Endpoint::Config] {
        for fault in
            [Fault::BadSignature, Fault::Truncated, Fault::Garbage, Fault::Status(503), Fault::DropAfter]
        {
            controller.faults().arm(Target::Endpoint(target), fault, Some(1));
        }
    }
    controller.faults().arm(Target::Endpoint(Endpoint::Config), Fault::Oversized(4 << 20), Some(1));
    bench.until(&controller, "RUNNING", || is(&controller, "RUNNING"));
    bench.until(&controller, "the end of the faults", || !controller.faults().pending());
    controller.rotate_signing_certificate().expect("made");
    let version = controller.set_config(&app(8192, "args = 'x=1'")).expect("right");
    bench.until(&controller, "the configuration under the new certificate", || {
        controller.observe(|observed| {
            observed.devices.values().any(|device| device.config_confirmed == Some(version))
        })
    });
    assert_eq!(controller.violations(), []);
}

#[test]
fn it_finds_back_to_a_controller_that_was_away_or_forgot_it() {
    let (_folder, controller, mut bench) = start(&app(8192, ""));
    controller.go_away();
    for _ in 0..50 {
        bench.step();
        std::thread::sleep(Duration::from_millis(2));
    }
    controller.come_back();
    bench.until(&controller, "RUNNING", || is(&controller, "RUNNING"));
    let device = controller.observe(|observed| *observed.devices.keys().next().expect("one"));
    controller.revoke(device).expect("kept");
    bench.until(&controller, "a new attestation", || {
        controller.observe(|observed| observed.devices.values().all(|device| device.attested))
    });
    let fresh = controller.readmit(device).expect("kept");
    bench.until(&controller, "everything under the new name", || {
        controller.observe(|observed| {
            let view = &observed.devices[&fresh];
            view.attested && view.config_confirmed.is_some() && view.info.is_some()
        })
    });
    assert_eq!(bench.agent.device_uuid().map(|uuid| uuid.to_string()), Some(fresh.to_string()));
    assert_eq!(controller.violations(), []);
}

/// The device's state at the controller.
fn view(controller: &Handle) -> Option<DeviceView> {
    controller.observe(|observed| observed.devices.values().next().cloned())
}

#[test]
fn a_device_with_a_tpm_is_attested_and_one_whose_image_changed_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options { learn: true, ..Options::new(folder.path()) };
    let controller = Controller::start(options).expect("it starts");
    controller.set_config(CONFIG).expect("right");
    let tpm = tpm::Tpm::new();
    let mut bench = Bench::boot(&controller, Some(tpm.clone()));
    bench.until(&controller, "attestation with the key escrowed", || {
        view(&controller).is_some_and(|view| {
            let attested = view.info.as_ref().is_some_and(|info| info.attestation == "COMPLETE");
            view.attested && view.escrowed == 1 && attested && view.config_confirmed.is_some()
        })
    });
    let first = view(&controller).expect("a device");
    let quote = first.quote.expect("a quote");
    assert!(quote.trusted && quote.log.starts_with("5 events"), "{quote:?}");
    assert_eq!(quote.pcrs.len(), 16);
    assert_eq!(first.info.expect("told").tpm, "a double of a TPM");
    assert_eq!(controller.violations(), []);
    // The same device after a restart, with the certificate that it had.
    let note = tpm.borrow().note.clone();
    bench = Bench::boot(&controller, Some(tpm.clone()));
    controller.revoke(first.uuid).expect("kept");
    bench.until(&controller, "attestation after a restart", || {
        view(&controller).is_some_and(|view| view.attested)
    });
    assert_eq!((tpm.borrow().note.clone(), view(&controller).expect("a device").uuid), (note, first.uuid));
    assert_eq!(controller.violations(), []);
    // One bit of an image: other measurements, and the storage is locked.
    tpm.borrow_mut().boot(&[("sarsen image net", b"sarsen image neu")]);
    tpm.borrow_mut().sealing = proto_svc::vault::Sealing::Locked;
    bench = Bench::boot(&controller, Some(tpm.clone()));
    bench.until(&controller, "the verdict", || {
        view(&controller).and_then(|view| view.quote).is_some_and(|quote| !quote.trusted)
    });
    let refused = view(&controller).expect("a device");
    let verdict = refused.quote.expect("a quote").verdict;
    assert!(verdict.contains("PCR 13, event 2: sarsen image net has another hash"), "{verdict}");
    for _ in 0..100 {
        bench.step();
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(!view(&controller).expect("a device").attested);
    assert_eq!(tpm.borrow().recovered, [], "the key stays at the controller");
}

#[test]
fn a_storage_that_is_locked_gets_its_key_back_from_a_controller_that_trusts() {
    let (_folder, controller, _) = start(CONFIG);
    let tpm = tpm::Tpm::new();
    let mut bench = Bench::boot(&controller, Some(tpm.clone()));
    bench.until(&controller, "the key at the controller", || {
        view(&controller).is_some_and(|view| view.escrowed == 1)
    });
    tpm.borrow_mut().boot(&[("firmware", b"newer firmware")]);
    tpm.borrow_mut().sealing = proto_svc::vault::Sealing::Locked;
    let uuid = view(&controller).expect("a device").uuid;
    controller.revoke(uuid).expect("kept");
    bench = Bench::boot(&controller, Some(tpm.clone()));
    bench.until(&controller, "the storage open again", || {
        tpm.borrow().sealing == proto_svc::vault::Sealing::Open
            && view(&controller).and_then(|view| view.info).is_some_and(|info| info.attestation == "COMPLETE")
    });
    assert_eq!(tpm.borrow().recovered.len(), 1);
    assert_eq!(controller.violations(), []);
}
