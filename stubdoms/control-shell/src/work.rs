//! From the wiring to the agent's first wish, and then one wish after the other.

use alloc::{boxed::Box, collections::BTreeMap, rc::Rc, string::String, sync::Arc, vec::Vec};
use core::{fmt::Display, future::pending, time::Duration};

use board_support_hyp::{Instant, Spawn, Timer};
use embassy_futures::{join::join, select::select};
use proto_errors::ctl;
use proto_manifest::wiring::Wiring;
use proto_svc::{
    Message,
    device::{self as svc_device, Machine},
    network::FromControl,
    storage::{SlotName, ToStorage},
    vault::ToVault,
};
use stubdoms_agent::{Agent, BootCause, ContentCommand, DeviceCommand, DeviceFacts, DownloadId, StartedSlot};
use stubdoms_service::Peers;
use stubdoms_web::tls::{Identity, SetupError};

use crate::{
    brain::Brain,
    clock::TimeOfDay,
    device,
    device::{Greeting, Order, Orders},
    fetching::{self, Cancelled},
    link::{self, CountersWanted, Link},
    provision,
    storage::{self, Storage},
    system::System,
    vault::{self, Vault},
    vif,
    web::Web,
};

/// Share of the heap's limit that contents may take.
const CONTENT_SHARE: usize = 2;

/// How often a device that can do nothing with its provisioning files says so.
const SAID_AGAIN: Duration = Duration::from_secs(3600);

/// What control begins with.
#[derive(Debug)]
pub struct Start<'a> {
    /// Its wiring.
    pub wiring: &'a Wiring,
    /// The peers that the wiring names, as supervision keeps them.
    pub peers: &'static Peers,
    /// The archive of the provisioning files.
    pub files: Option<&'a [u8]>,
    /// Most bytes that the heap may ever have in use.
    pub heap_limit: usize,
}

/// The domain's story, all but supervision. `ready` is called when it can do its work. A file that cannot be used ends
/// it with a line that names the file; see [`may_rest`] for what comes then.
///
/// # Panics
/// If dom0 gives no archive of files, or breaks the channel to it.
pub async fn main<S: System>(
    system: S,
    spawner: S::Spawner,
    start: Start<'_>,
    ready: impl FnOnce() + 'static,
) {
    let Start { wiring, peers, files, heap_limit } = start;
    let files = provision::read(files);
    let identity = (files.agent.device_cert.clone(), files.agent.device_key.clone());
    let roots = files.agent.root_certificate.clone();

    let clock = TimeOfDay::new(system.clone());
    let (channel, Greeting { machine, apps, note, goes_on }) = device::open(&system, &clock, wiring).await;
    let mut seed = [0; 8];
    S::fill(&mut seed);
    let seed = u64::from_le_bytes(seed);
    // Systems without a TPM for a domain of its own have no such channel.
    let vault = wiring.channel(ToVault::CHANNEL).map(|_| Vault::new(system.clone()));
    let facts = facts(&clock, &machine, heap_limit);
    let made = match &vault {
        Some(vault) => {
            let signer = vault.clone();
            let signer = Rc::new(move |digest: &[u8; 32]| signer.sign(digest));
            Agent::with_vault(files.agent, facts, signer, seed, clock.now())
        }
        None => Agent::new(files.agent, facts, seed, clock.now()),
    };
    let ready = Ready { call: ready, may_rest: may_rest(&machine) };
    let mut agent = match made {
        Ok(agent) => agent,
        Err(error) => {
            join(device::drain::<S>(channel), useless(&system, error, ready)).await;
            return;
        }
    };
    // Systems without a disk have no such channel.
    let storage = wiring.channel(ToStorage::CHANNEL).map(|_| Storage::default());
    if storage.is_some() {
        agent.expect_storage();
    }
    agent.recall(apps, &note);
    goes_on.iter().for_each(|(app, note)| agent.goes_on(*app, note));
    let brain = Brain::new(system.clone(), clock.clone(), agent);
    let orders = Rc::new(Orders::default());
    spawner.spawn(device::serve(channel, orders.clone(), brain.clone()));

    if !peers.is_there(FromControl::CHANNEL) {
        log::error!(
            "network: there is no net domain, so the controller cannot be reached until there is one [{}]",
            ctl::NO_NET
        );
    }
    if vault.is_some() && !peers.is_there(ToVault::CHANNEL) {
        log::error!("vault: there is none; nothing is signed until there is one [{}]", ctl::NO_VAULT);
    }
    if storage.is_some() && !peers.is_there(ToStorage::CHANNEL) {
        log::error!("storage: there is none; nothing is kept until there is [{}]", ctl::NO_STORAGE);
    }
    let stack = &*Box::leak(Box::new(vif::unplugged(&system)));
    let web = match Web::new(system.clone(), clock, stack, roots, &files.hosts) {
        Ok(web) => &*Box::leak(Box::new(web)),
        Err(error) => return useless(&system, error, ready).await,
    };
    if let Some(vault) = &vault {
        spawner.spawn(vault::serve(vault.clone(), peers, brain.clone()));
    } else if let Err(error) = show_provisioned(web, &identity) {
        return useless(&system, error, ready).await;
    }
    if let Some(storage) = &storage {
        spawner.spawn(storage::serve(storage.clone(), peers, brain.clone()));
    }
    let counters_wanted = CountersWanted::default();
    let link = Link { peers, stack, web, wanted: counters_wanted.clone(), brain: brain.clone() };
    spawner.spawn(link::serve(link, ready.call));
    let downloads = BTreeMap::new();
    Work { spawner, web, vault, storage, identity, brain, orders, counters_wanted, downloads }.run().await;
}

/// Shows the certificate of the files, whose key is there, too.
fn show_provisioned<S: System>(
    web: &Web<S>,
    (certificate, key): &(Vec<u8>, Vec<u8>),
) -> Result<(), SetupError> {
    web.show(Identity::from_pem(certificate, key)?)
}

/// What is called when the domain can do its work.
struct Ready<F> {
    call: F,
    /// Whether being without files that can be used is all the work that there is.
    may_rest: bool,
}

/// Whether a device whose files cannot be used waits for a person: they were read, and the version has proved itself.
/// Otherwise another start may find the config partition readable, or be one of the other version, and the domain is
/// never ready, for which the supervisor has the machine reset once.
fn may_rest(machine: &Machine) -> bool {
    machine.provisioning_read && machine.boot.slot.as_ref().is_none_or(|slot| slot.successful)
}

/// Says what is wrong with the files, and again and again if that is all that can be done.
async fn useless<S: System>(system: &S, error: impl Display, ready: Ready<impl FnOnce()>) {
    let say = || log::error!("provisioning: {error}; nothing can be done without it [{}]", ctl::PROVISIONING);
    say();
    if !ready.may_rest {
        return pending().await;
    }
    (ready.call)();
    let runtime = system.runtime();
    loop {
        runtime.sleep(SAID_AGAIN).await;
        say();
    }
}

/// What is true of this machine.
fn facts<S: System>(clock: &TimeOfDay<S>, machine: &Machine, heap_limit: usize) -> DeviceFacts {
    // Without a slot (QEMU loads Xen) the label stays one that controllers know, since they take reports and logs by
    // it: the list of images has the current partition first and the other one second, and each bundle of logs names
    // its image.
    let slot = machine.boot.slot.as_ref();
    let version = slot.map_or(machine.version.as_str(), |slot| &slot.version);
    let partition = match slot.map(|slot| slot.slot) {
        Some(SlotName::B) => "IMGB",
        Some(SlotName::A) | None => "IMGA",
    };
    DeviceFacts {
        architecture: if cfg!(target_arch = "aarch64") { "aarch64" } else { "x86_64" }.into(),
        cpus: machine.cpus,
        memory_mib: machine.memory_kib / 1024,
        app_memory_kib: machine.app_limit_kib.into(),
        app_vcpus: machine.app_vcpus.into(),
        content_bytes: (heap_limit / CONTENT_SHARE) as u64,
        version: version.into(),
        partition: partition.into(),
        boot_time: clock.wall_time_at(machine.boot.began_ns),
        began_ns: machine.boot.began_ns,
        boot_cause: boot_cause(machine.boot.cause),
        boot_text: match machine.boot.cause {
            svc_device::BootCause::Unknown => String::new(),
            _ => machine.boot.text.as_str().into(),
        },
        boot_order: machine.boot.order.to_vec(),
        slot: slot.map(|slot| StartedSlot {
            trial: !slot.successful,
            other_refused: slot.other_refused,
            reason: slot.reason.as_str().into(),
        }),
        start: machine.boot.start,
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
        svc_device::BootCause::PowerOn => BootCause::PowerOn,
        svc_device::BootCause::Ordered => BootCause::Ordered,
        svc_device::BootCause::Watchdog => BootCause::Watchdog,
        svc_device::BootCause::Panic => BootCause::Panic,
    }
}

/// Who carries out what the agent wants.
struct Work<S: System> {
    spawner: S::Spawner,
    web: &'static Web<S>,
    /// The vault, if there is one.
    vault: Option<Vault<S>>,
    /// Storage, if there is any.
    storage: Option<Storage>,
    /// Certificate and key of the files, PEM; empty if there are none.
    identity: (Vec<u8>, Vec<u8>),
    brain: Brain<S>,
    orders: Rc<Orders>,
    counters_wanted: CountersWanted,
    downloads: BTreeMap<DownloadId, Cancelled>,
}

impl<S: System> Work<S> {
    async fn run(mut self) {
        loop {
            let deadline = self.brain.ask(Agent::poll);
            self.carry_out();
            match deadline {
                Some(at) => {
                    let alarm = self.brain.system().runtime().sleep_until(Instant::from_nanos(at));
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
        if let Some(storage) = &self.storage {
            storage.look();
        }
        if let Some(vault) = &self.vault {
            while let Some(request) = self.brain.ask(|agent, _| agent.next_vault_request()) {
                vault.ask(request);
            }
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
                DeviceCommand::ShowCertificate(certificate) => self.show(&certificate),
                DeviceCommand::ShowProvisioned => {
                    if let Err(error) = show_provisioned(self.web, &self.identity) {
                        log::error!("provisioning: {error} [{}]", ctl::PROVISIONING);
                    }
                }
                DeviceCommand::AskTime(servers) => {
                    self.spawner.spawn(fetching::time(self.web, servers, self.brain.clone()));
                }
                DeviceCommand::SetClock(power_on) => self.brain.clock().set(power_on),
                DeviceCommand::QueryEventLog => self.orders.push(Order::EventLog(0)),
                DeviceCommand::Reboot(why) => self.orders.push(Order::Reboot(why)),
                DeviceCommand::QueryUsage => {
                    self.counters_wanted.signal(());
                    self.orders.push(Order::QueryUsage);
                }
            }
        }
    }

    /// Shows a certificate whose key is the vault's.
    fn show(&self, certificate: &[u8]) {
        let Some(vault) = &self.vault else { return };
        let shown = Identity::new(certificate, Arc::new(vault.tls_key()))
            .and_then(|identity| self.web.show(identity));
        if let Err(error) = shown {
            log::error!("identity: {error} [{}]", ctl::VAULT_FAULT);
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
                let (brain, storage) = (self.brain.clone(), self.storage.clone());
                self.spawner.spawn(fetching::download(self.web, download, cancelled, brain, storage));
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

#[cfg(test)]
mod tests {
    use svc_device::{Boot, BootSlot, Measured};

    use super::*;

    #[test]
    fn only_a_version_that_is_proven_and_knows_its_files_rests() {
        let machine = |provisioning_read, successful: Option<bool>| {
            let slot = successful.map(|successful| BootSlot {
                slot: SlotName::A,
                version: Default::default(),
                priority: 2,
                tries: 0,
                successful,
                other_refused: false,
                reason: Default::default(),
            });
            let cause = svc_device::BootCause::Unknown;
            let text = Default::default();
            Machine {
                memory_kib: 0,
                free_kib: 0,
                cpus: 1,
                xen: (4, 20),
                version: Default::default(),
                app_limit_kib: 0,
                app_vcpus: 1,
                hardware_watchdog: false,
                boot: Boot {
                    cause,
                    text,
                    order: Default::default(),
                    slot,
                    measured: Measured::No,
                    start: 0,
                    began_ns: 0,
                },
                confined: false,
                provisioning_read,
            }
        };
        // Nobody tries another version where QEMU loads Xen.
        for (read, successful, rests) in [
            (true, Some(true), true),
            (true, None, true),
            (true, Some(false), false),
            (false, Some(true), false),
            (false, None, false),
        ] {
            assert_eq!(may_rest(&machine(read, successful)), rests, "{read}, {successful:?}");
        }
    }
}
