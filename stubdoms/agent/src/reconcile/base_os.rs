//! The base OS: what the configuration asks for, and the machine that gets it there.
//!
//! `proto/update` decides; this carries out what the agent can: it has the content fetched ([`super::contents`], one
//! tree of which goes into the slot instead of memory), puts it through the decoder ([`fill`]), asks storage
//! ([`crate::storage`]), and says what is to be reported ([`report`]) and kept. Beside that it has the selector replaced
//! ([`selector`]).

pub(crate) mod fill;
mod memory;
pub(crate) mod report;
mod selector;

use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use core::time::Duration;

use proto_eve::{text, wire::config::EdgeDevConfig};
use proto_handoff::record::Version;
use proto_svc::storage::{Answer, Refusal, Request, SlotName, SlotReport, SlotState as Told};
use proto_update::{
    machine::{
        Action, Change, Class, Course, Ending, Event, Inputs, Lock, Refused, SlotState, SlotView, Slots,
        State, Timers, Trouble, Update, Wanted,
    },
    payload::PayloadError,
};

use self::{
    fill::{Ended, Fill},
    selector::Selectors,
};
use super::{
    contents::Contents,
    problem::{Problem, Troubles},
};
use crate::{
    clock::{Instant, Now, earliest},
    keep,
    properties::Properties,
    storage::{Asker, Desk},
};

/// After the disk refused.
const AGAIN: Duration = Duration::from_secs(60);
/// Bytes of the name of a version that are shown when it is none.
const MAX_NAME: usize = 128;

/// What the configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Spec {
    name: String,
    version: Option<Version>,
    tree: String,
    activate: bool,
    retry: u32,
}

/// What the agent is to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Reset the machine, after reports have left.
    Reset(Ending),
    /// Keep this: [`BaseOs::recall`].
    Keep(Vec<u8>),
    /// An activation has come to nothing: what was left out of the configuration for it is to be applied.
    CatchUp,
}

/// How the content ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DownloadEnd {
    /// It is what was to come; the rest of it is being written.
    Right,
    /// It is something else.
    WrongHash([u8; 32]),
    /// It is not wanted any more, or is no payload.
    Unwanted,
}

/// What the base OS stands in.
pub(crate) struct Around<'a> {
    pub(crate) now: Now,
    pub(crate) properties: &'a Properties,
    pub(crate) contents: &'a mut Contents,
    pub(crate) desk: &'a mut Desk,
    /// There is a configuration, and it came from the controller.
    pub(crate) configured: bool,
    /// The device is not about to go, and not in a maintenance that holds the base OS.
    pub(crate) free: bool,
    /// Every service that the agent knows of answers.
    pub(crate) well: bool,
    /// The vault does not give the storage's key, as far as it was heard.
    pub(crate) locked: bool,
    /// The system has storage.
    pub(crate) expected: bool,
    /// The version that runs, as dom0 says.
    pub(crate) running: &'a str,
}

#[derive(Debug)]
pub(crate) struct BaseOs {
    update: Update,
    spec: Option<Spec>,
    fill: Option<Fill>,
    /// The hash of the content that goes through it.
    fill_sha256: [u8; 32],
    /// The claim was told.
    claimed: bool,
    /// Storage has said that there are no slots.
    no_slots: bool,
    /// When it is asked once more, if it has refused to say. It tells of what mends by itself, but not of a table that
    /// could not be read when it was asked.
    ask_again: Option<Instant>,
    /// Why storage refused last.
    refusal: String,
    /// Why the content is no payload.
    unusable: Option<PayloadError>,
    /// The configuration's applications are left as they are until this is over.
    activating: bool,
    selectors: Selectors,
    pub(crate) troubles: Troubles,
}

impl BaseOs {
    /// `trial`: whoever has started the version that runs says that it has yet to prove itself.
    pub(crate) fn new(now: Instant, trial: bool) -> Self {
        Self {
            update: Update::new(since_boot(now), trial),
            spec: None,
            fill: None,
            fill_sha256: [0; 32],
            claimed: false,
            no_slots: false,
            ask_again: None,
            refusal: String::new(),
            unusable: None,
            activating: false,
            selectors: Selectors::new(),
            troubles: Troubles::default(),
        }
    }

    /// There was an agent before this one since the machine was started.
    pub(crate) fn goes_on(&mut self) {
        self.update.goes_on();
    }

    /// Whether a later agent of this start goes on with what it finds armed.
    pub(crate) fn has_seen_slots(&self) -> bool {
        self.update.has_seen_slots()
    }

    /// Takes the test as that agent has left it, or that it was over.
    pub(crate) fn resume(&mut self, now: Instant, course: Option<Course>) {
        self.update.resume(since_boot(now), course);
    }

    /// The test of the version that runs so far, to be left for a later agent of this start.
    pub(crate) fn course(&self) -> Option<Course> {
        self.update.course()
    }

    /// Whether the version under test falls back because there was one agent after the other.
    pub(crate) fn ends_again_and_again(&self) -> bool {
        self.update.ends_again_and_again()
    }

    /// Takes what was kept, or that there is nothing.
    pub(crate) fn recall(&mut self, kept: Option<&[u8]>) {
        self.update.recall(kept.and_then(memory::decode).unwrap_or_default());
    }

    /// Looks at the base OS of a configuration.
    pub(crate) fn configure(&mut self, config: &EdgeDevConfig, contents: &mut Contents) {
        let base = config.baseos.as_ref().filter(|base| !base.base_os_version.is_empty());
        let spec = base.map(|base| Spec {
            name: text::bounded(&base.base_os_version, MAX_NAME),
            version: Version::new(&base.base_os_version),
            tree: base.content_tree_uuid.clone(),
            activate: base.activate,
            retry: base.retry_update.as_ref().map_or(0, |command| command.counter),
        });
        contents.use_for_slot(spec.as_ref().map(|spec| spec.tree.as_str()));
        self.spec = spec;
    }

    /// The running version and its slot, once storage has told.
    pub(crate) fn running(&self) -> Option<(&'static str, Option<Version>)> {
        let current = self.update.slots()?.current;
        Some((label(current.slot), current.version))
    }

    /// The counter `retry_update` that was processed last.
    pub(crate) fn retry_counter(&self) -> u32 {
        self.update.memory().retry
    }

    /// Whether the version that runs has yet to prove itself.
    pub(crate) fn is_testing(&self) -> bool {
        self.update.is_testing()
    }

    /// Whether the device is between two versions: one is under test, or will be after a reset.
    pub(crate) fn is_updating(&self) -> bool {
        self.is_testing() || self.update.state() == State::Armed
    }

    /// Whether another version is on its way to be activated, so that applications are left as they are.
    pub(crate) fn is_activating(&self) -> bool {
        let Some(wanted) = self.wanted().filter(|wanted| wanted.activate) else { return false };
        let runs = self.update.slots().map(|slots| slots.current.version);
        let possible = runs.is_some_and(|runs| runs != Some(wanted.version)) && !self.is_testing();
        possible && self.update.trouble(&wanted).is_none_or(|trouble| trouble == Trouble::Disk)
    }

    /// Tells how a question for the configuration ended, or that none can be asked.
    pub(crate) fn reached(&mut self, now: Now, class: Class) {
        self.update.reached(since_boot(now.at()), class);
    }

    /// When [`step`](Self::step) is due at the latest.
    pub(crate) fn deadline(&self, inputs: &Inputs) -> Option<Instant> {
        let update = self.update.deadline(inputs).map(|at| Instant(0).after(at));
        let selector = self.selectors.due().filter(|_| self.is_at_rest(inputs));
        earliest(earliest(update, self.ask_again), selector)
    }

    /// Whether a proven version runs, and nothing is under way.
    fn is_at_rest(&self, inputs: &Inputs) -> bool {
        let proven = self.update.slots().is_some_and(|slots| slots.current.state == SlotState::Active);
        proven && inputs.free && self.update.state() == State::Settled
    }

    /// What the machine is told.
    pub(crate) fn inputs(&self, around: &Around<'_>) -> Inputs {
        let Around { properties, desk, configured, free, well, locked, .. } = around;
        Inputs {
            wanted: self.wanted(),
            retry: self.spec.as_ref().map(|spec| spec.retry),
            force: configured.then(|| properties.int("force.fallback.counter")),
            free: *configured && *free,
            well: *well && desk.is_up(),
            vault: match (*locked, desk.status().map(|status| status.open)) {
                (true, _) | (false, Some(false)) => Lock::Locked,
                (false, Some(true)) => Lock::Open,
                (false, None) => Lock::Unknown,
            },
            timers: timers(properties),
        }
    }

    fn wanted(&self) -> Option<Wanted> {
        let spec = self.spec.as_ref()?;
        Some(Wanted { version: spec.version?, activate: spec.activate })
    }

    /// Moves on with what changed around it.
    pub(crate) fn step(&mut self, around: &mut Around<'_>, event: Event) -> Vec<Wish> {
        let mut wishes = Vec::new();
        if event == Event::Lost {
            self.ask_again = None;
            self.selectors.lost(around.now.at());
        }
        if self.ask_again.take_if(|at| *at <= around.now.at()).is_some() {
            around.desk.ask(Asker::Slots, Request::Slots);
        }
        self.move_on(around, event, &mut wishes);
        if self.fill.is_some() && around.contents.slot_sha256() != Some(self.fill_sha256) {
            // Other bytes are wanted under the same version.
            self.renew(around);
            self.move_on(around, Event::Restart, &mut wishes);
        }
        self.flow(around, &mut wishes);
        if self.activating && !self.is_activating() && !self.is_updating() {
            wishes.push(Wish::CatchUp);
        }
        self.activating = self.is_activating();
        if self.is_at_rest(&self.inputs(around)) {
            self.selectors.step(around.now.at(), around.desk);
        }
        self.refresh(around);
        wishes
    }

    /// One event for the machine, and what it wants done.
    fn move_on(&mut self, around: &mut Around<'_>, event: Event, wishes: &mut Vec<Wish>) {
        let inputs = self.inputs(around);
        let before = self.update.state();
        let actions = self.update.step(since_boot(around.now.at()), event, &inputs);
        for action in actions {
            self.carry_out(around, action, wishes);
        }
        if before != self.update.state() {
            log::info!("base OS: {before:?} -> {:?}", self.update.state());
        }
    }

    fn carry_out(&mut self, around: &mut Around<'_>, action: Action, wishes: &mut Vec<Wish>) {
        match action {
            Action::Fetch => {
                self.unusable = None;
                self.renew(around);
                around.contents.fetch_for_slot(around.now, self.room());
            }
            Action::Stop => {
                self.fill = None;
                around.contents.stop_for_slot(around.now);
            }
            Action::Begin { slot_bytes } => {
                self.selectors.emptying(around.desk);
                around.desk.ask(Asker::Begin, Request::Begin { length: slot_bytes });
            }
            Action::Verify => {
                self.fill = None;
                around.desk.ask(Asker::Verify, Request::Verify);
            }
            Action::Change(change) => {
                if change == Change::Arm {
                    self.selectors.arming(around.desk);
                }
                around.desk.ask(Asker::Change, Request::Change(on_the_wire(change)));
            }
            Action::AskSlots => around.desk.ask(Asker::Slots, Request::Slots),
            Action::Keep => wishes.push(Wish::Keep(memory::encode(&self.update.memory()))),
            Action::Reset(ending) => wishes.push(Wish::Reset(ending)),
        }
    }

    /// The content is to begin anew.
    fn renew(&mut self, around: &mut Around<'_>) {
        self.fill = Some(Fill::new(self.room()));
        self.fill_sha256 = around.contents.slot_sha256().unwrap_or_default();
        self.claimed = false;
        around.contents.resume_slot_at(0);
    }

    fn room(&self) -> u64 {
        self.update.slots().map_or(0, |slots| slots.other.room)
    }

    /// An answer of storage.
    pub(crate) fn on_answer(&mut self, around: &mut Around<'_>, asker: Asker, answer: Answer) -> Vec<Wish> {
        let event = match (asker, answer) {
            (Asker::Slots | Asker::Change, Answer::Slots { running, slots }) => {
                self.ask_again = None;
                let told = told(running, slots);
                self.no_slots = told.is_none();
                match told {
                    Some(slots) => Event::Slots(slots),
                    None => Event::Look,
                }
            }
            (Asker::Slots, Answer::Refused { .. }) => {
                self.no_slots = true;
                self.ask_again = Some(around.now.at().after(AGAIN));
                Event::Look
            }
            (Asker::Begin, Answer::Done) => {
                if let Some(fill) = self.fill.as_mut().filter(|_| self.update.state() == State::Emptying) {
                    fill.open();
                }
                Event::Emptied
            }
            (Asker::Verify, Answer::Verified { version }) => match Version::new(&version) {
                Some(version) => Event::Verified(version),
                None => Event::Refused(Refused::Payload),
            },
            (Asker::Selector(which), answer) => {
                self.selectors.answered(around.now.at(), which, &answer);
                Event::Look
            }
            (Asker::Fill(_), answer) => {
                let Some(fill) = self.fill.as_mut().filter(|fill| fill.is_open()) else {
                    return Vec::new();
                };
                fill.wrote();
                match answer {
                    Answer::Done => Event::Look,
                    refused => self.refused(&refused),
                }
            }
            (_, refused) => self.refused(&refused),
        };
        self.step(around, event)
    }

    fn refused(&mut self, answer: &Answer) -> Event {
        self.refusal = keep::reason(answer).into();
        let Answer::Refused { refusal, .. } = answer else { return Event::Refused(Refused::State) };
        Event::Refused(match refusal {
            Refusal::Signature
            | Refusal::Contents
            | Refusal::Machine
            | Refusal::Older
            | Refusal::TooLarge => Refused::Payload,
            Refusal::Disk | Refusal::NoDisk | Refusal::Locked => Refused::Later,
            Refusal::NoValue
            | Refusal::Name
            | Refusal::Piece
            | Refusal::State
            | Refusal::NoSlot
            | Refusal::NoSelector
            | Refusal::Selector => Refused::State,
        })
    }

    /// The next piece of the slot for storage.
    pub(crate) fn next_write(&mut self) -> Option<(usize, Request)> {
        self.fill.as_mut().filter(|_| self.update.state() == State::Filling)?.next()
    }

    /// The content begins at `offset`. `false` if that is no place where it can go on.
    pub(crate) fn on_start(&mut self, around: &mut Around<'_>, offset: u64) -> (bool, Vec<Wish>) {
        match self.fill.as_ref().map(Fill::taken) {
            None => (false, Vec::new()),
            Some(taken) if taken == offset => (true, Vec::new()),
            // The server does not resume.
            Some(_) if offset == 0 => {
                self.renew(around);
                (true, self.step(around, Event::Restart))
            }
            Some(_) => (false, Vec::new()),
        }
    }

    /// What came is not gone on from.
    pub(crate) fn begin_anew(&mut self, around: &mut Around<'_>) -> Vec<Wish> {
        if self.fill.is_none() {
            return Vec::new();
        }
        self.renew(around);
        self.step(around, Event::Restart)
    }

    /// Takes bytes of the content, as many as there is room for.
    pub(crate) fn on_bytes(&mut self, around: &mut Around<'_>, bytes: &[u8]) -> (usize, Vec<Wish>) {
        // Who brings bytes that are not wanted hears of it soon; meanwhile they go nowhere.
        let Some(fill) = &mut self.fill else { return (bytes.len(), Vec::new()) };
        let taken = fill.take(bytes);
        around.contents.resume_slot_at(fill.taken());
        let claim = fill.claim().filter(|_| !self.claimed);
        let Some(claim) = claim else { return (taken, Vec::new()) };
        self.claimed = true;
        let event = Event::Claim { version: claim.version, slot_bytes: claim.slot_bytes };
        (taken, self.step(around, event))
    }

    /// Bytes that have come.
    pub(crate) fn taken(&self) -> u64 {
        self.fill.as_ref().map_or(0, Fill::taken)
    }

    /// All of the content has come.
    pub(crate) fn on_end(&mut self, around: &mut Around<'_>) -> (DownloadEnd, Vec<Wish>) {
        let Some(fill) = &mut self.fill else { return (DownloadEnd::Unwanted, Vec::new()) };
        match fill.end(self.fill_sha256) {
            Ended::WrongHash(found) => {
                self.renew(around);
                let wishes = self.step(around, Event::Restart);
                (DownloadEnd::WrongHash(found), wishes)
            }
            Ended::Unusable(error) => {
                let wishes = self.give_up(around, error);
                (DownloadEnd::Unwanted, wishes)
            }
            Ended::Right => {
                around.contents.slot_came();
                (DownloadEnd::Right, self.step(around, Event::Look))
            }
        }
    }

    fn give_up(&mut self, around: &mut Around<'_>, error: PayloadError) -> Vec<Wish> {
        self.unusable = Some(error);
        let wishes = self.step(around, Event::Unusable);
        around.contents.slot_failed(around.now, Problem::NotAPayload { why: error });
        wishes
    }

    /// Whether what came whole is written.
    fn flow(&mut self, around: &mut Around<'_>, wishes: &mut Vec<Wish>) {
        match self.fill.as_mut().and_then(Fill::outcome) {
            None => {}
            Some(Ok(())) => {
                around.contents.slot_is_filled();
                self.move_on(around, Event::Complete, wishes);
            }
            Some(Err(error)) => {
                self.unusable = Some(error);
                self.move_on(around, Event::Unusable, wishes);
                around.contents.slot_failed(around.now, Problem::NotAPayload { why: error });
            }
        }
    }

    /// What is wrong with it.
    pub(crate) fn refresh(&mut self, around: &Around<'_>) {
        let problem = self.problem(around);
        let name = self.spec.as_ref().map_or("", |spec| spec.name.as_str());
        self.troubles.set(around.now, "base OS", name, problem);
    }

    fn problem(&self, around: &Around<'_>) -> Option<Problem> {
        let spec = self.spec.as_ref()?;
        if self.no_slots || !around.expected {
            let runs = spec.name == around.running;
            return (!runs).then_some(Problem::NoSlots);
        }
        let Some(wanted) = self.wanted() else { return Some(Problem::BadVersion) };
        match self.update.trouble(&wanted) {
            Some(Trouble::FailedBefore) => Some(Problem::FailedBefore),
            Some(Trouble::OtherVersion(found)) => Some(Problem::OtherVersion { found: found.to_string() }),
            Some(Trouble::NotStarted) => Some(Problem::NotStarted),
            Some(Trouble::Refused) => Some(match self.unusable {
                Some(why) => Problem::NotAPayload { why },
                None => Problem::NotInstalled { text: self.refusal.clone() },
            }),
            Some(Trouble::Disk) => Some(Problem::SlotDisk { text: self.refusal.clone() }),
            None if !matches!(self.update.state(), State::Fetching | State::Emptying | State::Filling) => {
                None
            }
            None => match around.contents.get(&spec.tree) {
                None => Some(Problem::NoContent { id: spec.tree.clone() }),
                Some(content) => content.troubles.first_error().map(|trouble| Problem::BaseContent {
                    id: spec.tree.clone(),
                    reason: trouble.problem.to_string(),
                }),
            },
        }
    }
}

/// The times of the configuration.
fn timers(properties: &Properties) -> Timers {
    Timers {
        window: properties.seconds("timer.test.baseimage.update"),
        fallback: properties.seconds("timer.update.fallback.no.network"),
        vault: properties.seconds("timer.vault.ready.cutoff"),
        again: AGAIN,
    }
}

fn since_boot(now: Instant) -> Duration {
    now.since(Instant(0))
}

/// The label under which controllers know a slot.
pub(crate) const fn label(slot: proto_gpt::slots::Slot) -> &'static str {
    match slot {
        proto_gpt::slots::Slot::A => "IMGA",
        proto_gpt::slots::Slot::B => "IMGB",
    }
}

const fn on_the_wire(change: Change) -> proto_svc::storage::Change {
    match change {
        Change::Arm => proto_svc::storage::Change::Arm,
        Change::Commit => proto_svc::storage::Change::Commit,
        Change::Abandon => proto_svc::storage::Change::Abandon,
        Change::TryOther => proto_svc::storage::Change::TryOther,
    }
}

/// Both slots as the machine sees them; none unless it is known which runs, or if one is told twice.
fn told(running: Option<SlotName>, slots: [SlotReport; 2]) -> Option<Slots> {
    let running = running?;
    let [first, second] = slots;
    if first.slot == second.slot {
        return None;
    }
    let (current, other) = if first.slot == running { (first, second) } else { (second, first) };
    let (mut current, other) = (view(&current), view(&other));
    // The other one could not be started: what was spare is what there is.
    if current.state == SlotState::Spare {
        current.state = SlotState::Active;
    }
    Some(Slots { current, other })
}

fn view(report: &SlotReport) -> SlotView {
    SlotView {
        slot: match report.slot {
            SlotName::A => proto_gpt::slots::Slot::A,
            SlotName::B => proto_gpt::slots::Slot::B,
        },
        state: match report.state {
            Told::Unused => SlotState::Unused,
            Told::Updating => SlotState::Updating,
            Told::InProgress => SlotState::InProgress,
            Told::Active => SlotState::Active,
            Told::Spare => SlotState::Spare,
        },
        version: Version::new(&report.version),
        room: report.room,
    }
}
