//! From the wiring to the agent's first wish, and then one wish after the other.

use alloc::{boxed::Box, collections::BTreeMap, rc::Rc};
use core::{fmt::Display, future::pending};

use board_support_rt::{Boot, Spawner, entropy, heap, timer};
use embassy_futures::select::select;
use proto_errors::ctl;
use proto_svc::{
    Message,
    device::{self as svc_device, Machine},
    network::FromControl,
};
use stubdoms_agent::{Agent, BootCause, ContentCommand, DeviceCommand, DeviceFacts, DownloadId};
use stubdoms_service::{peers, read_wiring, ready, supervise};

use crate::{
    brain::Brain,
    clock, device,
    device::{Greeting, Order, Orders},
    fetching::{self, Cancelled},
    link::{self, CountersWanted, Link},
    provision, vif,
    web::Web,
};

/// Share of the heap's limit that contents may take.
const CONTENT_SHARE: usize = 2;

/// The domain's story. A file that cannot be used ends it with a line that names the file; dom0 then
/// never hears that we are ready, and ends us for that when the time for it is over.
pub(crate) async fn main(boot: Boot, spawner: Spawner) {
    let wiring = read_wiring(&boot);
    let peers = peers(&wiring);
    spawner.spawn(supervise(wiring.clone(), peers));
    let files = provision::read(&boot);
    let identity = (files.agent.device_cert.clone(), files.agent.device_key.clone());
    let roots = files.agent.root_certificate.clone();

    let (channel, Greeting { machine, apps, note, goes_on }) = device::open(&wiring).await;
    let mut seed = [0; 8];
    entropy::fill(&mut seed);
    let mut agent = match Agent::new(files.agent, facts(&machine), u64::from_le_bytes(seed), clock::now()) {
        Ok(agent) => agent,
        Err(error) => return useless(error).await,
    };
    agent.recall(apps, &note);
    goes_on.iter().for_each(|(app, note)| agent.goes_on(*app, note));
    let brain = Brain::new(agent);
    let orders = Rc::new(Orders::default());
    spawner.spawn(device::serve(channel, orders.clone(), brain.clone()));

    if !peers.is_there(FromControl::CHANNEL) {
        log::error!(
            "network: there is no net domain, so the controller cannot be reached until there is one [{}]",
            ctl::NO_NET
        );
    }
    let stack = &*Box::leak(Box::new(vif::unplugged()));
    let web = match Web::new(stack, roots, (&identity.0, &identity.1), &files.hosts) {
        Ok(web) => &*Box::leak(Box::new(web)),
        Err(error) => return useless(error).await,
    };
    let counters_wanted = CountersWanted::default();
    let link = Link { peers, stack, web, wanted: counters_wanted.clone(), brain: brain.clone() };
    spawner.spawn(link::serve(link, ready));
    Work { spawner, web, brain, orders, counters_wanted, downloads: BTreeMap::new() }.run().await;
}

/// Says what is wrong with the files, and stays: another start would find the same.
async fn useless(error: impl Display) {
    log::error!("provisioning: {error} [{}]", ctl::PROVISIONING);
    pending().await
}

/// What is true of this machine.
fn facts(machine: &Machine) -> DeviceFacts {
    DeviceFacts {
        architecture: if cfg!(target_arch = "aarch64") { "aarch64" } else { "x86_64" }.into(),
        cpus: machine.cpus,
        memory_mib: machine.memory_kib / 1024,
        app_memory_kib: machine.app_limit_kib.into(),
        app_vcpus: machine.app_vcpus.into(),
        content_bytes: (heap::usage().limit / CONTENT_SHARE) as u64,
        version: machine.version.as_str().into(),
        // The device runs from the EFI system partition and has no slots yet. The label stays one that
        // controllers know, since they take reports and logs by it: the list of images has the current
        // partition first and the other one second, and each bundle of logs names its image.
        partition: "IMGA".into(),
        boot_time: clock::wall_time_at(0),
        boot_cause: boot_cause(machine.boot.cause),
        hardware_watchdog: machine.hardware_watchdog,
        io_virtualization: machine.confined,
        port: "eth0".into(),
        ..DeviceFacts::default()
    }
}

/// How the machine came to be started, in the agent's words.
fn boot_cause(cause: svc_device::BootCause) -> BootCause {
    match cause {
        svc_device::BootCause::Unknown => BootCause::Unknown,
        svc_device::BootCause::Ordered => BootCause::Ordered,
        svc_device::BootCause::Watchdog => BootCause::Watchdog,
        svc_device::BootCause::Panic => BootCause::Panic,
    }
}

/// Who carries out what the agent wants.
struct Work {
    spawner: Spawner,
    web: &'static Web,
    brain: Brain,
    orders: Rc<Orders>,
    counters_wanted: CountersWanted,
    downloads: BTreeMap<DownloadId, Cancelled>,
}

impl Work {
    async fn run(mut self) {
        loop {
            let deadline = self.brain.ask(Agent::poll);
            self.carry_out();
            match deadline {
                Some(at) => {
                    let alarm = timer::sleep_until(timer::Instant::from_nanos(at));
                    select(self.brain.changed(), alarm).await;
                }
                None => self.brain.changed().await,
            }
        }
    }

    fn carry_out(&mut self) {
        self.tell_taken();
        while let Some(request) = self.brain.ask(|agent, _| agent.next_request()) {
            self.spawner.spawn(fetching::request(self.web, request, self.brain.clone()));
        }
        while let Some(command) = self.brain.ask(|agent, _| agent.next_content_command()) {
            self.content(command);
        }
        while let Some(command) = self.brain.ask(|agent, _| agent.next_app_command()) {
            self.orders.push(Order::App(command));
        }
        while let Some(command) = self.brain.ask(|agent, _| agent.next_device_command()) {
            match command {
                DeviceCommand::Note(note) => self.orders.push(Order::Note(note)),
                DeviceCommand::Reboot => self.orders.push(Order::Reboot),
                DeviceCommand::QueryUsage => {
                    self.counters_wanted.signal(());
                    self.orders.push(Order::QueryUsage);
                }
            }
        }
    }

    fn tell_taken(&mut self) {
        while let Some(taken) = self.brain.ask(|agent, _| agent.next_taken()) {
            self.orders.push(Order::Taken(taken));
        }
    }

    fn content(&mut self, command: ContentCommand) {
        // Downloads run one at a time, so what is in the map is over but for the last.
        self.downloads.retain(|_, cancelled| Rc::strong_count(cancelled) > 1);
        match command {
            ContentCommand::Fetch(download) => {
                let cancelled = Cancelled::default();
                self.downloads.insert(download.id, cancelled.clone());
                self.spawner.spawn(fetching::download(self.web, download, cancelled, self.brain.clone()));
            }
            ContentCommand::Cancel(id) => {
                if let Some(cancelled) = self.downloads.remove(&id) {
                    cancelled.signal(());
                }
            }
            ContentCommand::Release { sha256 } => self.brain.contents_mut().release(&sha256),
        }
    }
}
