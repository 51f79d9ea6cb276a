//! Applications: one machine each, from a configuration to a domain and back.
//!
//! ```text
//!              1 content ready, room       2 Staged          3 Running
//!   Waiting -------------------> Staging ---------> Booting ----------> Running
//!    ^  ^ \ start delay           |  ^                |  ^                |  |
//!    |  |  +------> Delayed ------|--+                |  +--- reboot -----+  |
//!    |  |                         v                   v                   |  |
//!    |  +---- 4 a while ------ Retrying <-------------+<--- powered off --+  |
//!    |                                                      or crashed       |
//!    +---- 5 stopped, again ---- Halting <------ 6 inactive, restart, -------+
//!                                   |               purge, removed
//!                                   +---- 5 stopped ----> Halted, or gone
//! ```
//!
//! 1, 4, 6: [`App::step`]. 2, 3, 5: [`App::on_event`]. A counter whose first value is seen is only
//! recorded. Resources that change without a restart command, and volumes that change without a purge
//! command, are not applied to an application that runs; it reports so. One that does not run takes
//! both with its next start.
//!
//! An agent that is there anew is told what dom0 knows ([`Apps::know`]). What runs and is configured is
//! adopted: it runs on, as if this agent had started it. What is not configured is removed, but not before
//! there is a configuration.
//!
//! Limits: staging 300 s, booting 60 s, stopping 60 s (then once more, then it is removed by force).
//! Three attempts to start 5 s apart, then one each `timer.boot.retry`.

pub(crate) mod command;
mod wanted;

use alloc::{
    collections::{BTreeMap, VecDeque},
    format,
    string::String,
    vec::Vec,
};
use core::time::Duration;

use proto_errors::agent;
use proto_eve::{
    text,
    uuid::Uuid,
    wire::{
        config::{AppInstanceConfig, EdgeDevConfig, InstanceOpsCmd},
        info::ZSwState,
    },
};

pub(crate) use self::wanted::VolumeRef;
use self::{
    command::{AppCommand, AppDefinition, AppEvent, AppFailure, KnownApp, StopReason},
    wanted::{Vm, Wanted, definition, read},
};
use super::{
    contents::{Contents, Image},
    is_id,
    problem::{Problem, Troubles},
    volumes::Volumes,
};
use crate::{
    clock::{Instant, Now, WallTime, earliest},
    note::AppNote,
    operations::Counter,
    properties::Properties,
};

/// Applications that are looked at.
pub(crate) const MAX_APPS: usize = 64;

const STAGING: Duration = Duration::from_secs(300);
const BOOTING: Duration = Duration::from_secs(60);
const STOPPING: Duration = Duration::from_secs(60);
const ATTEMPTS: u32 = 3;
const BETWEEN_ATTEMPTS: Duration = Duration::from_secs(5);

/// What an application is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Waiting,
    Retrying { at: Instant },
    Delayed { until: Instant },
    Staging { since: Instant },
    Booting { since: Instant },
    Running,
    Halting { since: Instant, asked: u32, then: Then },
    Halted,
}

/// What follows when a domain has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Stay,
    Restart,
    Purge,
    Remove,
}

/// One application.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) id: String,
    uuid: Option<Uuid>,
    pub(crate) version: String,
    pub(crate) name: String,
    wanted: Wanted,
    /// What the domain was started with.
    vm_in_use: Option<Vm>,
    volumes_in_use: Option<Vec<VolumeRef>>,
    /// What dom0 holds.
    staged: Option<AppDefinition>,
    restart: Counter,
    purge: Counter,
    purge_wanted: bool,
    phase: Phase,
    /// Whether it has run since it came into the configuration.
    has_run: bool,
    delayed: bool,
    attempts: u32,
    failure: Option<Problem>,
    pub(crate) domid: Option<u16>,
    pub(crate) booted: Option<WallTime>,
    removing: bool,
    gone: bool,
    pub(crate) troubles: Troubles,
}

/// What an application's machine looks at besides itself.
pub(crate) struct Surroundings<'a> {
    pub(crate) now: Now,
    pub(crate) contents: &'a Contents,
    pub(crate) volumes: &'a Volumes,
    pub(crate) properties: &'a Properties,
    /// Memory for all applications together, in KiB.
    pub(crate) memory_kib: u64,
    /// vCPUs for one application.
    pub(crate) vcpus: u32,
    /// Whether applications are to stop because the device does.
    pub(crate) closing: bool,
}

/// All applications.
#[derive(Debug, Default)]
pub(crate) struct Apps {
    apps: BTreeMap<String, App>,
    commands: VecDeque<AppCommand>,
    /// What dom0 knows from an earlier life, until there is a configuration.
    known: Vec<KnownApp>,
}

impl Apps {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &App> {
        self.apps.values()
    }

    pub(crate) fn next_command(&mut self) -> Option<AppCommand> {
        self.commands.pop_front()
    }

    pub(crate) fn by_uuid(&self, uuid: &Uuid) -> Option<&App> {
        self.apps.values().find(|app| app.uuid.as_ref() == Some(uuid))
    }

    /// Memory of the applications that have a domain, or are about to, in KiB.
    pub(crate) fn memory_in_use_kib(&self) -> u64 {
        self.apps.values().map(App::memory_in_use_kib).sum()
    }

    /// Whether no application has a domain.
    pub(crate) fn all_stopped(&self) -> bool {
        self.apps.values().all(|app| !app.is_up())
    }

    /// Takes what dom0 knows of an earlier life of this agent.
    pub(crate) fn know(&mut self, known: KnownApp) {
        // dom0 has room for fewer.
        if self.known.len() < MAX_APPS {
            self.known.push(known);
        }
    }

    /// Whether dom0 knows this application, and there was no configuration yet that could name it.
    pub(crate) fn is_known(&self, uuid: &Uuid) -> bool {
        self.known.iter().any(|known| known.definition.app == *uuid)
    }

    /// Takes the list of a configuration: what is not in it is removed. Gives back the images of those that are
    /// adopted.
    pub(crate) fn configure(&mut self, now: Now, config: &EdgeDevConfig) -> Vec<Image> {
        let images = self.run_on(config);
        let profile = config.global_profile.as_str();
        let mut kept: Vec<&str> = Vec::new();
        for instance in config.apps.iter().take(MAX_APPS) {
            let id = instance.uuidandversion.as_ref().map_or("", |id| id.uuid.as_str());
            if !is_id(id) || kept.contains(&id) {
                log::warn!(
                    "application {:?}: no id, or one that another has [{}]",
                    text::truncate(id, 64),
                    agent::CONFIG_LIMIT
                );
                continue;
            }
            kept.push(id);
            let wanted = read(instance, profile);
            let app = self.apps.entry(id.into()).or_insert_with(|| App::new(id, wanted.clone()));
            // What dom0 has of it and does not run is no use.
            self.known.retain(|known| Some(known.definition.app) != app.uuid);
            app.configure(now, instance, wanted, &mut self.commands);
        }
        for KnownApp { definition, .. } in core::mem::take(&mut self.known) {
            log::info!("application {}: it is not in the configuration, and is removed", definition.name);
            self.commands.push_back(AppCommand::Remove { app: definition.app });
        }
        if config.apps.len() > MAX_APPS {
            log::warn!("applications: only the first {MAX_APPS} are looked at [{}]", agent::CONFIG_LIMIT);
        }
        for app in self.apps.values_mut().filter(|app| !kept.contains(&app.id.as_str())) {
            app.removing = true;
        }
        images
    }

    /// Goes on with what runs of an earlier life and is in this configuration, just as it runs: what the configuration
    /// changes of it is left to the next one that is taken. Gives back the images.
    pub(crate) fn run_on(&mut self, config: &EdgeDevConfig) -> Vec<Image> {
        let mut images = Vec::new();
        for instance in config.apps.iter().take(MAX_APPS) {
            let Some(id) = instance.uuidandversion.as_ref().filter(|id| is_id(&id.uuid)) else { continue };
            let uuid = Uuid::parse(&id.uuid);
            let runs = |known: &KnownApp| Some(known.definition.app) == uuid && known.running.is_some();
            let Some(at) = self.known.iter().position(runs) else { continue };
            let mut app = App::new(&id.uuid, read(instance, &config.global_profile));
            images.extend(app.adopt(self.known.swap_remove(at)));
            app.name_as(instance);
            app.wanted.activate = true;
            app.wanted.vm = app.vm_in_use.clone().unwrap_or(app.wanted.vm);
            app.wanted.volumes = app.volumes_in_use.clone().unwrap_or(app.wanted.volumes);
            self.apps.insert(id.uuid.clone(), app);
        }
        images
    }

    /// Lets each application go as far as it can.
    pub(crate) fn step(&mut self, around: &Surroundings<'_>) {
        for app in self.apps.values_mut() {
            // Those that stop make room for those that start, whatever their order.
            app.stop_if_needed(around, &mut self.commands);
        }
        let mut used = self.memory_in_use_kib();
        for app in self.apps.values_mut() {
            let own = app.memory_in_use_kib();
            app.step(around, used - own, &mut self.commands);
            used = used - own + app.memory_in_use_kib();
            app.refresh(around);
        }
        self.apps.retain(|_, app| !app.gone);
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.apps.values().fold(None, |first, app| earliest(first, app.deadline()))
    }

    /// Takes an event. Gives back the hash of a content that must be fetched again.
    pub(crate) fn on_event(
        &mut self,
        uuid: &Uuid,
        event: AppEvent,
        around: &Surroundings<'_>,
    ) -> Option<[u8; 32]> {
        let known = self.known.iter_mut().find(|known| known.definition.app == *uuid);
        if let (Some(known), AppEvent::Stopped(_)) = (known, &event) {
            known.running = None;
        }
        let app = self.apps.values_mut().find(|app| app.uuid.as_ref() == Some(uuid))?;
        app.on_event(event, around, &mut self.commands)
    }
}

impl App {
    fn new(id: &str, wanted: Wanted) -> Self {
        Self {
            id: id.into(),
            uuid: Uuid::parse(id),
            version: String::new(),
            name: String::new(),
            wanted,
            vm_in_use: None,
            volumes_in_use: None,
            staged: None,
            restart: Counter::default(),
            purge: Counter::default(),
            purge_wanted: false,
            phase: Phase::Waiting,
            has_run: false,
            delayed: false,
            attempts: 0,
            failure: None,
            domid: None,
            booted: None,
            removing: false,
            gone: false,
            troubles: Troubles::default(),
        }
    }

    /// Goes on with a domain of an earlier life of this agent, if it runs. Gives back its image.
    fn adopt(&mut self, known: KnownApp) -> Option<Image> {
        let KnownApp { definition: found, running: Some(running), note } = known else { return None };
        log::info!("application {}: domain {} runs on", found.name, running.domid);
        let image = Image { sha256: found.image_sha256, length: found.image_length };
        let vm = self.wanted.vm.clone();
        let same = definition(found.app, &found.name, &vm, image) == found;
        self.vm_in_use = Some(if same { vm } else { Vm::of(&found) });
        let note = AppNote::decode(&note);
        let volume = note.as_ref().and_then(|note| note.volume.clone());
        self.volumes_in_use =
            Some(volume.map_or_else(|| self.wanted.volumes.clone(), |volume| Vec::from([volume])));
        if let Some(AppNote { restart, purge, .. }) = note {
            self.restart = Counter::at(restart);
            self.purge = Counter::at(purge);
        }
        self.staged = Some(found);
        self.phase = Phase::Running;
        self.has_run = true;
        self.domid = Some(running.domid);
        self.booted = running.since;
        Some(image)
    }

    /// Has the domain started, with what a later life of this agent has to know of it.
    fn order_start(&self, commands: &mut VecDeque<AppCommand>) {
        let Some(app) = self.uuid else { return };
        // A purge that was ordered and not done yet is to be seen as new.
        let purge = self.purge.value().wrapping_sub(self.purge_wanted.into());
        let volume = self.volumes().first().cloned();
        let note = AppNote { restart: self.restart.value(), purge, volume }.encode();
        commands.push_back(AppCommand::Note { app, note });
        commands.push_back(AppCommand::Start { app });
    }

    pub(crate) fn uuid(&self) -> Option<Uuid> {
        self.uuid
    }

    pub(crate) fn logs_wanted(&self) -> bool {
        !self.wanted.disable_logs
    }

    pub(crate) fn volumes(&self) -> &[VolumeRef] {
        self.volumes_in_use.as_deref().unwrap_or(&self.wanted.volumes)
    }

    pub(crate) fn is_running(&self) -> bool {
        self.phase == Phase::Running
    }

    pub(crate) fn memory_in_use_kib(&self) -> u64 {
        let vm = self.vm_in_use.as_ref().filter(|_| self.is_up());
        vm.map_or(0, |vm| vm.memory_kib.into())
    }

    /// The state to report.
    pub(crate) fn state(&self, volumes: &Volumes, contents: &Contents) -> ZSwState {
        match self.phase {
            Phase::Staging { .. } => ZSwState::Installed,
            Phase::Booting { .. } => ZSwState::Booting,
            Phase::Running => ZSwState::Running,
            Phase::Halting { .. } => ZSwState::Halting,
            Phase::Halted => ZSwState::Halted,
            Phase::Delayed { .. } => ZSwState::StartDelayed,
            // A guest that powered itself off is halted, and is started again in a while. What did not start, or
            // crashed, has an error, whatever it did before.
            Phase::Retrying { .. } if self.failure == Some(Problem::PoweredOff) => ZSwState::Halted,
            Phase::Retrying { .. } => ZSwState::Error,
            Phase::Waiting if self.troubles.first_error().is_some() => ZSwState::Error,
            Phase::Waiting => self
                .volumes()
                .iter()
                .map(|volume| {
                    let found = volumes.find(&volume.id, volume.generation);
                    found.map_or(ZSwState::Initial, |volume| volume.state(contents).0)
                })
                .min_by_key(|state| progress(*state))
                .map_or(ZSwState::Initial, |state| match state {
                    ZSwState::CreatedVolume => ZSwState::Installed,
                    state => state,
                }),
        }
    }

    fn name_as(&mut self, instance: &AppInstanceConfig) {
        self.version =
            instance.uuidandversion.as_ref().map_or_else(String::new, |id| text::bounded(&id.version, 64));
        self.name = text::bounded(&instance.displayname, 256);
    }

    fn configure(
        &mut self,
        now: Now,
        instance: &AppInstanceConfig,
        wanted: Wanted,
        commands: &mut VecDeque<AppCommand>,
    ) {
        self.name_as(instance);
        self.wanted = wanted;
        self.removing = false;
        // Unlike the device's, an application's counter that is absent is one of 0.
        let counter =
            |command: &Option<InstanceOpsCmd>| Some(command.as_ref().map_or(0, |command| command.counter));
        let restart = self.restart.observe(counter(&instance.restart));
        let purge = self.purge.observe(counter(&instance.purge));
        if let Phase::Halting { then: then @ Then::Remove, .. } = &mut self.phase {
            // It came back before it was gone.
            *then = Then::Purge;
        }
        if !self.is_up() {
            // It takes everything with its next start, which need not wait any longer.
            self.volumes_in_use = None;
            self.vm_in_use = None;
            if restart || purge {
                log::info!("application {}: restart or purge command", self.name);
            }
            if let Phase::Retrying { .. } = self.phase
                && (restart
                    || purge
                    || !matches!(self.failure, Some(Problem::PoweredOff | Problem::Crashed { .. })))
            {
                self.attempts = 0;
                self.phase = Phase::Waiting;
            }
            if purge {
                self.staged = None;
            }
            return;
        }
        if purge {
            log::info!("application {}: purge command", self.name);
            self.purge_wanted = true;
        } else if restart && self.wanted.activate {
            log::info!("application {}: restart command", self.name);
            self.halt(now, Then::Restart, commands);
        }
    }

    fn should_run(&self, around: &Surroundings<'_>) -> bool {
        self.wanted.activate && !self.removing && !around.closing
    }

    fn is_up(&self) -> bool {
        matches!(
            self.phase,
            Phase::Staging { .. } | Phase::Booting { .. } | Phase::Running | Phase::Halting { .. }
        )
    }

    fn stop_if_needed(&mut self, around: &Surroundings<'_>, commands: &mut VecDeque<AppCommand>) {
        let now = around.now;
        let then = if self.removing { Then::Remove } else { Then::Stay };
        match self.phase {
            Phase::Staging { .. } | Phase::Booting { .. } | Phase::Running if !self.should_run(around) => {
                self.halt(now, then, commands);
            }
            Phase::Halting { then: old, .. }
                if !self.should_run(around) && old != then && old != Then::Remove =>
            {
                if let Phase::Halting { then: slot, .. } = &mut self.phase {
                    *slot = then;
                }
            }
            Phase::Running if self.purge_wanted && self.images(&self.wanted.volumes, around).is_some() => {
                self.halt(now, Then::Purge, commands);
            }
            Phase::Waiting | Phase::Retrying { .. } | Phase::Delayed { .. } | Phase::Halted
                if self.removing =>
            {
                self.remove(commands);
            }
            Phase::Retrying { .. } | Phase::Delayed { .. } if !self.should_run(around) => {
                self.phase = if self.has_run { Phase::Halted } else { Phase::Waiting };
                self.forgive();
            }
            Phase::Waiting if !self.should_run(around) => {
                if self.has_run {
                    self.phase = Phase::Halted;
                }
                self.forgive();
            }
            Phase::Halting { since, asked, then } if now.at().since(since) >= STOPPING => {
                self.failure = Some(Problem::NoConfirmation { of: "its end", seconds: STOPPING.as_secs() });
                if asked < 2 {
                    self.phase = Phase::Halting { since: now.at(), asked: asked + 1, then };
                    commands.extend(self.uuid.map(|app| AppCommand::Stop { app }));
                } else {
                    self.staged = None;
                    commands.extend(self.uuid.map(|app| AppCommand::Remove { app }));
                    self.ended(then, commands);
                }
            }
            _ => {}
        }
    }

    fn step(&mut self, around: &Surroundings<'_>, used_kib: u64, commands: &mut VecDeque<AppCommand>) {
        let now = around.now.at();
        match self.phase {
            Phase::Staging { since } if now.since(since) >= STAGING => {
                self.staged = None;
                let problem = Problem::NoConfirmation { of: "its image", seconds: STAGING.as_secs() };
                self.fail(problem, true, around);
            }
            Phase::Booting { since } if now.since(since) >= BOOTING => {
                commands.extend(self.uuid.map(|app| AppCommand::Stop { app }));
                let problem = Problem::NoConfirmation { of: "its start", seconds: BOOTING.as_secs() };
                self.fail(problem, true, around);
            }
            Phase::Halted if self.should_run(around) => {
                self.phase = Phase::Waiting;
                self.start(around, used_kib, commands);
            }
            Phase::Retrying { at } | Phase::Delayed { until: at } if at <= now => {
                self.phase = Phase::Waiting;
                self.start(around, used_kib, commands);
            }
            Phase::Waiting if self.should_run(around) => self.start(around, used_kib, commands),
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waiting | Phase::Running | Phase::Halted => None,
            Phase::Retrying { at } | Phase::Delayed { until: at } => Some(at),
            Phase::Staging { since } => Some(since.after(STAGING)),
            Phase::Booting { since } => Some(since.after(BOOTING)),
            Phase::Halting { since, .. } => Some(since.after(STOPPING)),
        }
    }

    /// From `Waiting`, when it is to run: as far as contents and room allow.
    fn start(&mut self, around: &Surroundings<'_>, used_kib: u64, commands: &mut VecDeque<AppCommand>) {
        let Some(uuid) = self.uuid else { return };
        if self.wanted.refused.is_some() {
            return;
        }
        if core::mem::take(&mut self.purge_wanted) {
            self.volumes_in_use = None;
            self.staged = None;
        }
        let vm = self.wanted.vm.clone();
        if let Some(problem) = admission(&vm, around, used_kib) {
            self.failure = Some(problem);
            return;
        }
        if matches!(self.failure, Some(Problem::Memory { .. } | Problem::Vcpus { .. })) {
            self.failure = None;
        }
        let Some(image) = self.images(self.volumes(), around) else { return };
        if !self.delayed && !self.wanted.start_delay.is_zero() {
            self.delayed = true;
            self.phase = Phase::Delayed { until: around.now.at().after(self.wanted.start_delay) };
            return;
        }
        let definition = definition(uuid, &self.name, &vm, image);
        let since = around.now.at();
        let volumes = self.volumes().to_vec();
        self.vm_in_use = Some(vm);
        self.volumes_in_use = Some(volumes);
        if self.staged.as_ref() == Some(&definition) {
            self.order_start(commands);
            self.phase = Phase::Booting { since };
        } else {
            self.staged = Some(definition.clone());
            commands.push_back(AppCommand::Define(definition));
            self.phase = Phase::Staging { since };
        }
    }

    fn on_event(
        &mut self,
        event: AppEvent,
        around: &Surroundings<'_>,
        commands: &mut VecDeque<AppCommand>,
    ) -> Option<[u8; 32]> {
        let since = around.now.at();
        match (self.phase, event) {
            (Phase::Staging { .. }, AppEvent::Staged) => {
                self.order_start(commands);
                self.phase = Phase::Booting { since };
            }
            (Phase::Booting { .. }, AppEvent::Running { domid }) => {
                log::info!("application {}: runs as domain {domid}", self.name);
                self.phase = Phase::Running;
                self.domid = Some(domid);
                self.booted = around.now.wall;
                self.has_run = true;
                self.attempts = 0;
                self.failure = None;
            }
            (Phase::Halting { then, .. }, AppEvent::Stopped(_)) => self.ended(then, commands),
            (Phase::Halting { then, .. }, AppEvent::Failed { failure: AppFailure::Unknown, .. }) => {
                self.staged = None;
                self.ended(then, commands);
            }
            (Phase::Halting { then, .. }, AppEvent::Failed { failure, text }) => {
                // A command that came before the one to stop may fail now; so may stopping itself.
                log::warn!("application {}: {failure}: {text} [{}]", self.name, agent::APP_TROUBLE);
                if failure == AppFailure::WrongState {
                    self.ended(then, commands);
                }
            }
            (Phase::Running | Phase::Booting { .. }, AppEvent::Stopped(StopReason::Reboot)) => {
                log::info!("application {}: reboots", self.name);
                self.order_start(commands);
                self.domid = None;
                self.phase = Phase::Booting { since };
            }
            (Phase::Running | Phase::Booting { .. }, AppEvent::Stopped(reason)) => {
                self.domid = None;
                self.failure = Some(match reason {
                    StopReason::PowerOff => Problem::PoweredOff,
                    reason => Problem::Crashed { text: format!("{reason}") },
                });
                let wait = around.properties.seconds("timer.boot.retry");
                self.phase = Phase::Retrying { at: since.after(wait) };
            }
            (Phase::Staging { .. } | Phase::Booting { .. }, AppEvent::Failed { failure, text }) => {
                return self.failed(failure, &text, around, commands);
            }
            (_, AppEvent::Failed { failure, text }) => {
                log::warn!("application {}: {failure}: {text} [{}]", self.name, agent::APP_TROUBLE);
            }
            // Late news of a state that was left meanwhile; the console is handled by the logs.
            (
                _,
                AppEvent::Staged | AppEvent::Running { .. } | AppEvent::Stopped(_) | AppEvent::Console { .. },
            ) => {}
        }
        None
    }

    fn failed(
        &mut self,
        failure: AppFailure,
        text: &str,
        around: &Surroundings<'_>,
        commands: &mut VecDeque<AppCommand>,
    ) -> Option<[u8; 32]> {
        let staged = self.staged.take();
        if failure == AppFailure::ContentGone {
            self.phase = Phase::Waiting;
            return staged.map(|definition| definition.image_sha256);
        }
        if failure == AppFailure::WrongState {
            // dom0 still has a domain of an earlier life of this agent.
            commands.extend(self.uuid.map(|app| AppCommand::Stop { app }));
        }
        let soon = matches!(
            failure,
            AppFailure::Unknown
                | AppFailure::WrongState
                | AppFailure::ImageTransfer
                | AppFailure::ImageHash
                | AppFailure::Build
        );
        let separator = if text.is_empty() { "" } else { ": " };
        let text = text::bounded(&format!("{failure}{separator}{text}"), 256);
        self.fail(Problem::Domain { text }, soon, around);
        None
    }

    /// A start failed. `soon` tells whether another attempt right now may do better.
    fn fail(&mut self, problem: Problem, soon: bool, around: &Surroundings<'_>) {
        self.domid = None;
        self.failure = Some(problem);
        self.attempts += 1;
        let wait = if soon && self.attempts < ATTEMPTS {
            BETWEEN_ATTEMPTS
        } else {
            self.attempts = 0;
            around.properties.seconds("timer.boot.retry")
        };
        self.phase = Phase::Retrying { at: around.now.at().after(wait) };
    }

    /// It is not to run any more: what kept it from starting is of no interest.
    fn forgive(&mut self) {
        self.failure = None;
        self.attempts = 0;
    }

    fn halt(&mut self, now: Now, then: Then, commands: &mut VecDeque<AppCommand>) {
        if matches!(self.phase, Phase::Halting { .. }) {
            return;
        }
        if matches!(self.phase, Phase::Staging { .. }) {
            // Nothing runs yet: what was staged so far is dropped.
            self.staged = None;
            commands.extend(self.uuid.map(|app| AppCommand::Remove { app }));
            self.ended(then, commands);
            return;
        }
        commands.extend(self.uuid.map(|app| AppCommand::Stop { app }));
        self.phase = Phase::Halting { since: now.at(), asked: 1, then };
    }

    fn ended(&mut self, then: Then, commands: &mut VecDeque<AppCommand>) {
        self.domid = None;
        self.failure = None;
        self.vm_in_use = None;
        self.phase = Phase::Waiting;
        match then {
            Then::Stay => self.phase = if self.has_run { Phase::Halted } else { Phase::Waiting },
            Then::Restart => {}
            Then::Purge => {
                self.purge_wanted = false;
                self.volumes_in_use = None;
                self.staged = None;
            }
            Then::Remove => self.remove(commands),
        }
    }

    fn remove(&mut self, commands: &mut VecDeque<AppCommand>) {
        if self.staged.take().is_some() {
            commands.extend(self.uuid.map(|app| AppCommand::Remove { app }));
        }
        log::info!("application {}: removed", self.name);
        self.gone = true;
    }

    fn images(&self, volumes: &[VolumeRef], around: &Surroundings<'_>) -> Option<Image> {
        let first = volumes.first()?;
        around.volumes.find(&first.id, first.generation)?.image(around.contents)
    }

    /// Gathers what is wrong.
    fn refresh(&mut self, around: &Surroundings<'_>) {
        let mut problems = Vec::new();
        if self.uuid.is_none() {
            problems.push(Problem::BadUuid);
        }
        problems.extend(self.wanted.refused.clone());
        problems.extend(self.failure.clone());
        if self.vm_in_use.as_ref().is_some_and(|vm| self.is_up() && *vm != self.wanted.vm) {
            problems.push(Problem::RestartNeeded);
        }
        let stale = self.volumes_in_use.as_ref().is_some_and(|volumes| *volumes != self.wanted.volumes);
        if self.is_up() && stale && !self.purge_wanted {
            problems.push(Problem::PurgeNeeded);
        }
        if !matches!(self.phase, Phase::Running) && self.wanted.refused.is_none() {
            problems.extend(self.volumes().iter().filter_map(|volume| volume_problem(volume, around)));
        }
        problems.extend(self.wanted.warnings.iter().cloned());
        let name = if self.name.is_empty() { &self.id } else { &self.name };
        self.troubles.set(around.now, "application", name, problems);
    }
}

fn volume_problem(volume: &VolumeRef, around: &Surroundings<'_>) -> Option<Problem> {
    let id = text::bounded(&volume.id, 64);
    if around.volumes.lacks(&volume.id, volume.generation) {
        return Some(Problem::NoVolume { id, generation: volume.generation });
    }
    let found = around.volumes.find(&volume.id, volume.generation)?;
    let trouble = found.troubles.first_error()?;
    Some(Problem::VolumeFailed { id, reason: format!("{}", trouble.problem) })
}

fn admission(vm: &Vm, around: &Surroundings<'_>, used_kib: u64) -> Option<Problem> {
    if vm.vcpus > around.vcpus.max(1) {
        return Some(Problem::Vcpus { need: vm.vcpus, limit: around.vcpus.max(1) });
    }
    let need_kib = u64::from(vm.memory_kib);
    let ignore = around.properties.bool("memory.apps.ignore.check");
    let limit_kib = around.memory_kib;
    if !ignore && need_kib.saturating_add(used_kib) > limit_kib {
        return Some(Problem::Memory { need_kib, limit_kib, used_kib });
    }
    None
}

/// How far a state is on the way to a volume.
fn progress(state: ZSwState) -> u8 {
    match state {
        ZSwState::Error => 0,
        ZSwState::Initial => 1,
        ZSwState::DownloadStarted => 2,
        ZSwState::Downloaded | ZSwState::Verifying => 3,
        ZSwState::Verified | ZSwState::Loading => 4,
        ZSwState::Delivered => 5,
        ZSwState::CreatingVolume => 6,
        _ => 7,
    }
}
