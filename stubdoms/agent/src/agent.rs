//! The agent: one value that owns every machine, takes what happens, and says what to do next.

mod answers;
mod apply;
mod consoles;
mod kept;
mod keys;
mod requests;
mod time;
mod updates;

use alloc::{
    collections::{BTreeMap, VecDeque},
    rc::Rc,
    string::{String, ToString},
    vec::Vec,
};
use core::time::Duration;

use keys::Gathering;

use proto_errors::{agent as code, ctl};
use proto_eve::{
    Timestamp,
    attest::{self as attest_messages, EscrowedKey},
    uuid::Uuid,
    wire::certs::{ZCert, ZCertType},
};
use proto_update::machine::{Class, Course};

use self::{
    consoles::Console,
    kept::Kept,
    requests::{Flight, Slot},
};
use crate::{
    attest::{Attest, AttestState},
    certs::CertsKeeper,
    clock::{Instant, Now, Random, earliest},
    config::{Poll, diff::Diff, store::Store},
    http::RequestId,
    identity::{DigestSigner, NotIssued},
    keep::{Keep, Name},
    note::{Commands, DeviceNote},
    onboard::{Onboard, Stage},
    operations::{Cause, Maintenance, Operation, Operations, Progress},
    properties::Properties,
    provision::{Credentials, DeviceFacts, ProvisionError, Provisioning},
    reach::Reach,
    reconcile::{
        base_os::BaseOs,
        contents::{ContentCommand, Contents, DownloadError, DownloadId},
        domains::{
            Apps, Surroundings,
            command::{AppCommand, AppEvent, KnownApp},
        },
        networks::Networks,
        volumes::Volumes,
    },
    report::{
        info::{self, Names, Reporter},
        logs::{LogRecord, Logs, Taken},
        losses::Losses,
        metrics::{self, DomainUsage, Machine, Metrics, Traffic, spool::Spool},
    },
    retry::Deferred,
    secrets::Secrets,
    session::Session,
    storage::Desk,
    timekeeper::Timekeeper,
    uplink::{LinkTotals, PortConfig, Uplink},
    vault::Vault,
};

const DEFAULT_SPOOL: usize = 512 * 1024;

/// How long an agent that is there anew waits for its configuration before it reports without one.
const QUIET: Duration = Duration::from_secs(60);

/// What the shell is to do about the device itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceCommand {
    /// Keep this for a later life of the agent: [`Agent::recall`]. At most 800 bytes.
    Note(Vec<u8>),
    /// Show this certificate (PEM) to servers that ask who we are; its key is the vault's.
    ShowCertificate(Vec<u8>),
    /// Show the provisioned certificate, whose key is in the files.
    ShowProvisioned,
    /// Ask dom0 for the event log; answer with [`Agent::on_event_log`].
    QueryEventLog,
    /// Ask these time servers, `host[:port]`, one after the other until one answers; tell with [`Agent::on_time`].
    AskTime(Vec<String>),
    /// The clock goes on from this time since 1970-01-01 00:00 UTC at the zero of nanoseconds since boot.
    SetClock(Duration),
    /// Reset the machine. Applications have stopped, or did not in time. With at most 256 bytes for the next life of the
    /// machine, in which they are [`DeviceFacts::boot_order`](crate::DeviceFacts::boot_order).
    Reboot(Vec<u8>),
    /// Ask dom0 for the usage of each domain; answer with [`Agent::on_usage`] for each, and then
    /// [`Agent::on_machine`].
    QueryUsage,
}

/// Where a configuration comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The controller, in this start.
    Controller,
    /// It was kept.
    Saved,
}

/// The device agent.
///
/// The shell calls [`poll`](Self::poll) after every event and at the latest at the moment that the
/// last call returned, and then takes what is to be done from the four `next_` functions until each is
/// empty. It takes a request only when it can send it, for the time runs from then on.
///
/// The agent logs through the `log` facade. A shell that feeds log lines back with
/// [`log`](Self::log) queues them first: the lines come while the agent is borrowed.
pub struct Agent {
    facts: DeviceFacts,
    session: Session,
    random: Random,
    now: Now,
    onboard: Onboard,
    certs: CertsKeeper,
    time: Timekeeper,
    /// Whether it was told that the clock was not set, and that nobody tells the time.
    no_clock_told: bool,
    no_time_told: bool,
    vault: Vault,
    signer: DigestSigner,
    /// When certificates that could not be made are tried again, and why they could not.
    identity_again: Option<Instant>,
    not_issued: Option<NotIssued>,
    /// Certificates of which not all could be made.
    begun: Vec<u8>,
    /// The certificates for the controller.
    published: Vec<ZCert>,
    /// The certificate that secrets in a configuration are encrypted for.
    ecdh_pem: Option<Vec<u8>>,
    secrets: Secrets,
    gathering: Gathering,
    /// What the controller gave back for a storage that is locked.
    returned: Option<Option<EscrowedKey>>,
    /// The storage was locked when it was last looked at.
    was_locked: bool,
    /// A round of attestation was complete: from then on no storage begins anew by itself.
    never_anew: bool,
    /// When the first configuration was applied.
    configured_at: Option<Instant>,
    attest: Attest,
    attest_error_since: Option<Timestamp>,
    config: Poll,
    store: Store,
    diff: Diff,
    properties: Properties,
    names: Names,
    operations: Operations,
    maintenance: Maintenance,
    contents: Contents,
    volumes: Volumes,
    apps: Apps,
    networks: Networks,
    base_os: BaseOs,
    desk: Desk,
    keep: Keep,
    kept: Kept,
    /// A service that is missing.
    unwell: Option<String>,
    queue: Deferred,
    reporter: Reporter,
    metrics: Metrics,
    /// Metrics messages on their way.
    spool: Spool,
    logs: Logs,
    /// What dom0 dropped of them.
    losses: Losses,
    logs_closed: bool,
    consoles: BTreeMap<Uuid, Console>,
    /// Console bytes of applications of which no configuration has said whether they are wanted.
    held: VecDeque<(Uuid, u64, Vec<u8>)>,
    held_bytes: usize,
    /// What was left last of commands for a later life.
    noted: Option<Commands>,
    /// The same of the test of the version that runs.
    noted_course: Option<Course>,
    /// The same of whether the slots were seen.
    noted_seen: bool,
    /// The same of the configuration's timestamp.
    noted_applied: Option<Timestamp>,
    /// Until when nothing is reported, unless there is a configuration before.
    quiet_until: Option<Instant>,
    traffic: Traffic,
    /// What went through the uplink.
    link: LinkTotals,
    uplink: Uplink,
    port: PortConfig,
    reach: Reach,
    /// Status with which the configuration was last refused.
    config_refused: Option<u16>,
    flights: BTreeMap<RequestId, Flight>,
    next_id: u64,
    device_commands: VecDeque<DeviceCommand>,
    /// Whether something changed that reports are made of.
    dirty: bool,
}

impl Agent {
    /// Makes an agent that knows nothing yet but its files, in a system without a vault. `seed` is for jitter,
    /// names of requests and serial numbers; it need not be secret, but must differ between boots.
    ///
    /// # Errors
    /// [`ProvisionError`] names the file that cannot be used.
    pub fn new(files: Provisioning, facts: DeviceFacts, seed: u64, now: Now) -> Result<Self, ProvisionError> {
        let mut agent = Self::make(files, facts, seed, now, None)?;
        agent.publish_provisioned();
        Ok(agent)
    }

    /// The same in a system with a vault: its key signs as the device, by `signer`, unless there is no TPM and the
    /// files have a key. Nothing is signed before the vault is [`There`](crate::VaultEvent::There).
    ///
    /// # Errors
    /// As [`new`](Self::new); there need not be a key in the files.
    pub fn with_vault(
        files: Provisioning,
        facts: DeviceFacts,
        signer: DigestSigner,
        seed: u64,
        now: Now,
    ) -> Result<Self, ProvisionError> {
        Self::make(files, facts, seed, now, Some(signer))
    }

    /// Without a vault there is one certificate to publish, if it was provisioned.
    fn publish_provisioned(&mut self) {
        let certificate = self.session.credentials().key_exchange_cert.as_deref();
        let published = certificate.map(|certificate| {
            attest_messages::published(ZCertType::CertTypeDeviceEcdhExchange, certificate, None)
        });
        self.published = published.into_iter().collect();
        self.attest.equip(!self.published.is_empty(), false);
    }

    fn make(
        files: Provisioning,
        facts: DeviceFacts,
        seed: u64,
        now: Now,
        signer: Option<DigestSigner>,
    ) -> Result<Self, ProvisionError> {
        let credentials = Credentials::read(files, signer.is_some())?;
        let spool = if facts.log_spool_bytes == 0 { DEFAULT_SPOOL } else { facts.log_spool_bytes };
        let at = now.at();
        let mut random = Random::new(seed);
        let start = if facts.start == 0 { random.next() as u32 } else { facts.start };
        log::info!("agent: controller {}, version {}", credentials.server, facts.version);
        if let Some(half) = credentials.half_onboard {
            log::error!("provisioning: {half}: the device does not register [{}]", ctl::HALF_A_PAIR);
        }
        Ok(Self {
            onboard: Onboard::new(at, credentials.onboard.is_some()),
            certs: CertsKeeper::new(at),
            time: Timekeeper::new(at, credentials.ntp_servers.clone(), !seed),
            no_clock_told: false,
            no_time_told: false,
            vault: if signer.is_some() { Vault::expected() } else { Vault::default() },
            signer: signer.unwrap_or_else(|| Rc::new(|_| None)),
            identity_again: None,
            not_issued: None,
            begun: Vec::new(),
            published: Vec::new(),
            ecdh_pem: None,
            secrets: Secrets::default(),
            gathering: Gathering::default(),
            returned: None,
            was_locked: false,
            never_anew: false,
            configured_at: None,
            attest: Attest::new(),
            attest_error_since: None,
            config: Poll::new(at),
            store: Store::default(),
            diff: Diff::default(),
            properties: Properties::default(),
            names: Names::default(),
            operations: Operations::default(),
            maintenance: Maintenance::default(),
            contents: Contents::new(facts.content_bytes),
            volumes: Volumes::default(),
            apps: Apps::default(),
            networks: Networks::default(),
            base_os: BaseOs::new(at, facts.slot.as_ref().is_some_and(|slot| slot.trial)),
            desk: Desk::default(),
            keep: Keep::new(),
            kept: Kept::default(),
            unwell: None,
            queue: Deferred::new(),
            reporter: Reporter::new(at),
            metrics: Metrics::new(),
            spool: Spool::new(start),
            logs: Logs::new(at, spool, start),
            losses: Losses::default(),
            logs_closed: false,
            consoles: BTreeMap::new(),
            held: VecDeque::new(),
            held_bytes: 0,
            noted: None,
            noted_course: None,
            noted_seen: false,
            noted_applied: None,
            quiet_until: None,
            traffic: Traffic::default(),
            link: LinkTotals::default(),
            uplink: Uplink::default(),
            port: PortConfig::default(),
            reach: Reach::new(),
            config_refused: None,
            flights: BTreeMap::new(),
            next_id: 1,
            device_commands: VecDeque::new(),
            dirty: true,
            session: Session::new(credentials),
            random,
            facts,
            now,
        })
    }

    /// Takes what an earlier life of the agent left: before the first [`poll`](Self::poll), once.
    pub fn recall(&mut self, apps: impl IntoIterator<Item = KnownApp>, note: &[u8]) {
        apps.into_iter().for_each(|app| self.apps.know(app));
        if let Some(DeviceNote { course, seen, applied, commands, counters }) = DeviceNote::decode(note) {
            self.base_os.resume(self.now.at(), course);
            self.store.recall(applied);
            (self.noted_course, self.noted_seen, self.noted_applied) = (course, seen, applied);
            if seen || commands.is_some() {
                self.base_os.goes_on();
            }
            if let Some(commands) = commands {
                self.operations.recall(commands);
                self.kept.is_later_life = true;
                self.noted = Some(commands);
                self.hold_reports();
            }
            let mut counters = counters.into_iter();
            self.recall_clock(&mut counters);
            self.spool.recall(&mut counters);
            self.losses.recall(&mut counters);
            self.link.recall(&mut counters);
            self.metrics.recall(&mut counters);
            self.logs.recall(&mut counters);
            self.session.verify_failures = counters.next().unwrap_or(0);
            self.traffic.recall(&mut counters);
            self.secrets.ciphers.recall(&mut counters);
        }
    }

    /// Leaves a note for a later life of the agent: the commands that were obeyed, how the test of the version goes, how
    /// old the configuration is, and the counters that the controller is told, which count since boot.
    fn leave_note(&mut self) {
        let (course, seen) = (self.base_os.course(), self.base_os.has_seen_slots());
        let applied = self.store.last_applied();
        (self.noted_course, self.noted_seen, self.noted_applied) = (course, seen, applied);
        let counters = self
            .time
            .numbers()
            .into_iter()
            .chain(self.spool.counters())
            .chain(self.losses.counters())
            .chain(self.link.counters())
            .chain(self.metrics.counters());
        let counters = counters.chain(self.logs.counters());
        let counters = counters.chain([self.session.verify_failures]).chain(self.traffic.counters());
        let counters = counters.chain(self.secrets.ciphers.counters()).collect();
        let note = DeviceNote { course, seen, applied, commands: self.noted, counters }.encode();
        self.device_commands.push_back(DeviceCommand::Note(note));
    }

    /// Moves every machine as far as it can go. Returns when to call again at the latest, in
    /// nanoseconds since boot; `None` when nothing waits for time.
    pub fn poll(&mut self, now: Now) -> Option<u64> {
        self.now = now;
        let at = now.at();
        self.give_up_lost_flights();
        self.step_time();
        self.step_vault();
        let fired = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= at);
        let locked_up = self.is_locked_up() != self.maintenance.vault_locked;
        if fired(self.contents.deadline(&self.properties)) || fired(self.apps.deadline()) || locked_up {
            self.dirty = true;
        }
        let update = self.update_deadline();
        let keep = earliest(self.keep.deadline(self.now.at(), self.desk.may_open()), self.kept_deadline());
        if self.dirty || fired(update) || fired(keep) {
            self.step_kept();
            self.step_update();
        }
        if self.dirty {
            self.reconcile();
            self.refresh_update();
        }
        let seen = self.base_os.has_seen_slots();
        let base_os = self.base_os.course() != self.noted_course || seen != self.noted_seen;
        if base_os || self.store.last_applied() != self.noted_applied {
            self.leave_note();
        }
        self.operate();
        let apps = &self.apps;
        self.logs.step(now, |app| app_name(apps, app));
        self.keep_spools();
        if self.losses.step(now) {
            self.leave_note();
        }
        let quiet = self.quiet().is_some_and(|until| until > at);
        if !quiet && self.metrics.step(at) {
            self.device_commands.push_back(DeviceCommand::QueryUsage);
            self.desk.count();
        }
        self.make_metrics();
        if !quiet && self.session.uuid().is_some() && (self.dirty || self.reporter.deadline() <= at) {
            self.report();
        }
        self.dirty = false;
        self.deadline().map(|deadline| deadline.0)
    }

    /// What is next to be done about contents.
    pub fn next_content_command(&mut self) -> Option<ContentCommand> {
        self.contents.next_command()
    }

    /// What dom0 is next to do about an application.
    pub fn next_app_command(&mut self) -> Option<AppCommand> {
        self.apps.next_command()
    }

    /// What is next to be done about the device.
    pub fn next_device_command(&mut self) -> Option<DeviceCommand> {
        self.device_commands.pop_front()
    }

    /// The uplink is as told here. Nothing is sent before it is up for the first time.
    pub fn on_uplink(&mut self, now: Now, mut uplink: Uplink) {
        uplink.counters = self.link.add(uplink.counters);
        self.set_uplink(now, uplink);
    }

    /// What has failed, or waits, is tried again now.
    fn hurry(&mut self) {
        let at = self.now.at();
        if !self.session.has_certs() {
            self.certs.hurry(at);
        }
        self.onboard.hurry(at);
        self.config.hurry(at);
        self.kick();
        self.contents.hurry(self.now);
    }

    /// The controller is there again, or may be: what waits for it goes soon.
    fn kick(&mut self) {
        self.queue.kick(self.now.at(), &mut self.random);
        self.spool.kick(self.now.at(), &mut self.random);
    }

    fn set_uplink(&mut self, now: Now, uplink: Uplink) {
        self.now = now;
        let counters = uplink.counters;
        let (was, is) = (self.uplink.up, uplink.up);
        self.uplink.counters = counters;
        if self.uplink == uplink {
            return;
        }
        if self.uplink.ntp_servers != uplink.ntp_servers {
            self.time.others(now.at());
        }
        self.uplink = uplink;
        self.time.on_uplink(now.at(), is);
        self.dirty = true;
        if is && !was {
            log::info!("uplink {}: up, {}", self.uplink.interface, self.uplink.addresses.join(" "));
            self.hurry();
        } else if was && !is {
            self.reach.port_down(now, "the port has no link, or no address");
            self.base_os.reached(now, Class::Fail);
            log::warn!(
                "uplink {}: down; nothing is sent until it is back [{}]",
                self.uplink.interface,
                code::UPLINK_DOWN
            );
        }
    }

    /// Nothing goes through the uplink any more, whatever it was.
    pub fn on_uplink_lost(&mut self, now: Now) {
        let Uplink { interface, mac, mtu, counters, .. } = self.uplink.clone();
        let lost = Uplink { interface, mac, mtu, counters, ..Uplink::default() };
        self.set_uplink(now, lost);
    }

    /// A download goes on: `received` bytes of `total`, if the server told it.
    pub fn on_download_progress(&mut self, now: Now, id: DownloadId, received: u64, total: Option<u64>) {
        self.now = now;
        self.dirty |= self.contents.on_progress(now, id, received, total);
    }

    /// A download has ended. `Ok` carries its length: the content is verified and held.
    pub fn on_download_done(&mut self, now: Now, id: DownloadId, result: Result<u64, DownloadError>) {
        self.now = now;
        self.dirty = true;
        if let Some(result) = self.on_slot_download_done(id, result) {
            self.contents.on_done(now, id, result, &self.properties);
        }
    }

    /// Something happened to an application.
    pub fn on_app_event(&mut self, now: Now, uuid: Uuid, event: AppEvent) {
        self.now = now;
        if let AppEvent::Console { offset, bytes } = event {
            self.on_console(uuid, offset, bytes);
            return;
        }
        if let AppEvent::Stopped(_) = &event {
            self.flush_console(uuid);
        }
        self.dirty = true;
        let around = surroundings(
            now,
            &self.contents,
            &self.volumes,
            &self.properties,
            &self.facts,
            &self.metrics,
            &self.operations,
        );
        if let Some(sha256) = self.apps.on_event(&uuid, event, &around) {
            self.contents.lost(now, &sha256);
        }
    }

    /// A service wrote a log line. `mark` rises with each of them; [`next_taken`](Self::next_taken) tells when
    /// those up to it need not be kept any more.
    pub fn log(&mut self, now: Now, record: &LogRecord, mark: u64) {
        self.now = now;
        self.logs.device_line(now, record, mark);
    }

    /// The console of `app`, or the log, goes on where an earlier life of the agent said that it was
    /// [`Taken`], with this note: before the first line of it, once.
    pub fn goes_on(&mut self, app: Option<Uuid>, note: &[u8]) {
        self.logs.goes_on(app, note);
    }

    /// So many lines of the log, and bytes of consoles, had dom0 to drop since the start of the machine before they were
    /// [`Taken`].
    pub fn lost(&mut self, now: Now, lines: u64, console_bytes: u64) {
        self.now = now;
        self.losses.are(lines, console_bytes);
    }

    /// What need not be kept any more, for the controller has it or is not to have it.
    pub fn next_taken(&mut self) -> Option<Taken> {
        self.logs.next_taken()
    }

    /// What one domain has used.
    pub fn on_usage(&mut self, now: Now, usage: DomainUsage) {
        self.now = now;
        self.metrics.on_usage(usage);
    }

    /// The machine's numbers; after the usage of each domain.
    pub fn on_machine(&mut self, now: Now, machine: Machine) {
        self.now = now;
        let before = self.metrics.machine().app_memory_kib;
        self.metrics.on_machine(now.at(), machine);
        self.dirty |= before != machine.app_memory_kib;
    }

    /// The device's UUID, once the controller gave it.
    #[must_use]
    pub fn device_uuid(&self) -> Option<Uuid> {
        self.session.uuid().copied()
    }

    /// Where onboarding stands.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.onboard.stage()
    }

    /// Where attestation stands.
    #[must_use]
    pub fn attestation(&self) -> AttestState {
        self.attest.state()
    }

    /// Whether a configuration was applied.
    #[must_use]
    pub fn has_config(&self) -> bool {
        self.store.has_config()
    }

    /// Moves contents, volumes and applications.
    fn reconcile(&mut self) {
        let now = self.now;
        self.contents.hold(self.vault.is_locked());
        self.contents.step(now, &self.properties);
        self.volumes.step(now, &self.contents);
        let around = surroundings(
            now,
            &self.contents,
            &self.volumes,
            &self.properties,
            &self.facts,
            &self.metrics,
            &self.operations,
        );
        self.apps.step(&around);
        let apps = &self.apps;
        let gone: Vec<Uuid> =
            self.consoles.keys().filter(|uuid| apps.by_uuid(uuid).is_none()).copied().collect();
        for uuid in gone {
            if let Some(console) = self.consoles.remove(&uuid) {
                self.logs.end_app(now, uuid, &console.name);
            }
        }
        self.update_maintenance();
    }

    /// Whether certificates that the controller refuses, or a storage that stays locked, hold the device in
    /// maintenance.
    fn update_maintenance(&mut self) {
        let was = self.maintenance.is_active();
        self.maintenance.certs_refused = self.attest.certs_refused() && self.store.has_config();
        let locked_up = self.is_locked_up();
        if locked_up && !self.maintenance.vault_locked {
            log::warn!("maintenance mode: the storage stays locked [{}]", code::VAULT_LOCKED);
        }
        self.maintenance.vault_locked = locked_up;
        if was && !self.maintenance.is_active() {
            // What was left out meanwhile is applied when it is fetched again.
            self.store.forget_hash();
            self.config.hurry(self.now.at());
        }
    }

    fn operate(&mut self) {
        if self.no_config_deadline().is_some_and(|deadline| deadline <= self.now.at()) {
            let patience = self.properties.seconds("timer.reboot.no.network").as_secs();
            log::warn!(
                "device: no configuration from the controller for {patience} s; it reboots [{}]",
                code::NO_CONFIG
            );
            self.operations.order(self.now.at(), Cause::Disconnect);
            self.dirty = true;
            self.reconcile();
        }
        let stopped = self.apps.all_stopped();
        let ended = self.keep_ending();
        let quiet = [Slot::Info, Slot::Metrics, Slot::Logs].iter().all(|slot| !self.is_busy(*slot));
        let drained = quiet && !self.dirty && self.queue.len() == 0 && self.logs.is_drained() && ended;
        match self.operations.step(self.now.at(), stopped, drained) {
            Progress::Act(operation) => {
                log::info!("device: {operation:?} now");
                self.dirty = true;
                if operation == Operation::Reboot {
                    let why = self.reset_order();
                    self.device_commands.push_back(DeviceCommand::Reboot(why));
                }
            }
            Progress::Stopping(_) if stopped && !self.logs_closed => {
                self.logs_closed = true;
                let apps = &self.apps;
                self.logs.close_all(self.now, |app| app_name(apps, app));
            }
            Progress::Idle | Progress::Stopping(_) | Progress::Done(_) => {}
        }
    }

    fn report(&mut self) {
        let Some(device) = self.session.uuid() else { return };
        let view = info::View {
            facts: &self.facts,
            credentials: self.session.credentials(),
            device,
            stage: self.onboard.stage(),
            names: &self.names,
            attest: &self.attest,
            attest_error_since: self.attest_error_since,
            vault: &self.vault,
            properties: &self.properties,
            operations: &self.operations,
            maintenance: self.maintenance,
            configured: self.store.has_config(),
            uplink: &self.uplink,
            port: &self.port,
            reach: &self.reach,
            contents: &self.contents,
            volumes: &self.volumes,
            apps: &self.apps,
            networks: &self.networks,
            base_os: &self.base_os,
            storage: self.desk.status(),
            not_kept: self.not_kept(),
            boots: self.kept.boots.as_ref(),
            time: &self.time.sources,
            now: self.now,
        };
        self.reporter.refresh(self.now, &view, &mut self.queue, &mut self.random);
    }

    /// Makes this period's metrics message, once what it is made of is here.
    fn make_metrics(&mut self) {
        let now = self.now;
        self.spool.step(now);
        let Some(device) = self.session.uuid().copied().filter(|_| self.metrics.due(now.at())) else {
            return;
        };
        self.metrics.made(now.at(), &mut self.random);
        let message = self.metrics.message(now, &self.metrics_view(&device));
        self.spool.push(now, device, message);
        // Ahead of the controller.
        self.leave_note();
    }

    fn metrics_view<'a>(&'a self, device: &'a Uuid) -> metrics::View<'a> {
        metrics::View {
            facts: &self.facts,
            device,
            server: &self.session.credentials().server,
            uplink: &self.uplink,
            port: &self.port,
            apps: &self.apps,
            logs: &self.logs,
            lost: self.spool.lost,
            losses: &self.losses,
            storage: self.desk.status(),
            traffic: &self.traffic,
            verify_failures: self.session.verify_failures,
            ciphers: &self.secrets.ciphers,
            received: self.store.received(),
            processed: self.store.processed(),
        }
    }

    /// When the device reboots unless the controller answers what its configuration is. It counts in time since
    /// boot, or since this agent is there.
    fn no_config_deadline(&self) -> Option<Instant> {
        let patience = self.properties.seconds("timer.reboot.no.network");
        self.operations.pending().is_none().then(|| self.config.confirmed().after(patience))
    }

    /// An earlier life or start had a configuration: what it has reported holds until there is one again.
    fn hold_reports(&mut self) {
        self.quiet_until = Some(self.now.at().after(QUIET));
    }

    /// Until when nothing is reported.
    fn quiet(&self) -> Option<Instant> {
        self.quiet_until.filter(|_| !self.store.has_config())
    }

    fn deadline(&mut self) -> Option<Instant> {
        let update = self.update_deadline();
        let onboarded = self.session.uuid().is_some();
        let may_send = self.uplink.up;
        let mut first = self.flights.values().fold(None, |first, flight| earliest(first, Some(flight.lost)));
        for machine in [
            self.time.deadline(),
            self.vault_deadline(),
            update,
            self.keep.deadline(self.now.at(), self.desk.may_open()),
            self.kept_deadline(),
            self.contents.deadline(&self.properties),
            self.apps.deadline(),
            self.operations.deadline(),
            self.no_config_deadline(),
            self.logs.closing_deadline(),
            self.losses.deadline(),
            self.logs.keep_deadline().filter(|_| self.keep.is_open()),
            self.spool.keep_deadline().filter(|_| self.keep.is_open()),
            self.metrics
                .deadline()
                .filter(|_| onboarded)
                .map(|deadline| self.quiet().map_or(deadline, |quiet| deadline.max(quiet))),
            Some(self.reporter.deadline()).filter(|_| onboarded).max(self.quiet().filter(|_| onboarded)),
        ] {
            first = earliest(first, machine);
        }
        if !may_send {
            return first;
        }
        let is_dropped = |number| self.keep.is_kept(Name::Metrics(number));
        for (slot, deadline) in [
            (Slot::Certs, Some(self.certs.deadline())),
            (
                Slot::Onboard,
                self.onboard.deadline().map(|at| self.unknown_until().map_or(at, |until| at.max(until))),
            ),
            (Slot::Attest, self.attest.deadline()),
            (Slot::Config, self.config.deadline()),
            (Slot::Info, self.queue.deadline().filter(|_| onboarded)),
            (Slot::Metrics, self.spool.deadline(is_dropped).filter(|_| onboarded)),
            (Slot::Logs, self.logs.upload_deadline().filter(|_| onboarded)),
        ] {
            // What is due already is handed out by `next_request`. A shell that cannot send it yet
            // comes back when a request has ended, and must not be woken for it meanwhile.
            let may_sign = slot == Slot::Certs || self.can_sign();
            if !self.is_busy(slot) && may_sign {
                first = earliest(first, deadline.filter(|deadline| *deadline > self.now.at()));
            }
        }
        first
    }
}

fn surroundings<'a>(
    now: Now,
    contents: &'a Contents,
    volumes: &'a Volumes,
    properties: &'a Properties,
    facts: &DeviceFacts,
    metrics: &Metrics,
    operations: &Operations,
) -> Surroundings<'a> {
    let told = metrics.machine().app_memory_kib;
    Surroundings {
        now,
        contents,
        volumes,
        properties,
        memory_kib: if told == 0 { facts.app_memory_kib } else { told },
        vcpus: facts.app_vcpus,
        closing: operations.pending().is_some(),
    }
}

fn app_name(apps: &Apps, uuid: &Uuid) -> String {
    apps.by_uuid(uuid).map_or_else(|| uuid.to_string(), |app| app.name.clone())
}

#[cfg(test)]
mod tests;
