//! Values that outlive the agent and a start of the machine: names and bytes, in storage.
//!
//! ```text
//!             storage came, store open         all were read              storage gone
//!   Waiting ---------------------------> Reading ------------> Open ----------------> Open, nothing is under way
//!      |                                    | refused, gone
//!      | patience                           +--> Waiting
//!      +-----------------------------------------------------> Absent: nothing is kept, until storage comes
//!
//! A system without storage begins and stays there.
//! ```
//!
//! All values are read once, when the store opens, and handed out by [`Keep::take`]. From then on they are only written:
//! the newest bytes of a name go out whole, and are kept when storage has answered for the last piece. What could not
//! be written because storage ended or refused is written again, in the latter case ever more rarely; until then the
//! reason is told ([`Keep::trouble`]). What cannot be read is tried for a minute, and the device goes on without it.
//! The values are as foreign as any input: whoever reads one checks it.
//!
//! Files of the log and metrics messages are values as well, by number: which ones there are storage is asked when all
//! others were read. The names rise, and each list ends where they do not, or where it has more than was ever kept.

use alloc::{
    collections::BTreeMap,
    string::{String, ToString},
    vec::Vec,
};
use core::{
    fmt::{self, Write as _},
    time::Duration,
};

use proto_errors::agent as code;
use proto_svc::storage::{Answer, Key, MAX_PIECE, MAX_VALUE, Refusal, Request};

use crate::clock::Instant;

/// How long storage is waited for that is not there, or has no store that a key would open; and how long is tried to
/// read a value.
const PATIENCE: Duration = Duration::from_secs(60);
/// How soon what storage has refused is asked again, at first and at the longest.
const AGAIN: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
/// The most files of the log that are kept.
pub(crate) const MAX_LOGS: usize = 128;
/// The most metrics messages that are kept: with files of the log and all else fewer values than storage lets us have.
pub(crate) const MAX_METRICS: usize = 96;
/// What is taken of each list: names, and bytes in all. Twice of what is ever kept, for what was to be
/// dropped may still be there; a storage that was taken over has neither our heap nor our time behind that.
const MAX_LISTED: usize = 2 * MAX_LOGS;
const MAX_LISTED_BYTES: usize = 1024 * 1024;
/// Ahead of the names of all files of the log, and of all metrics messages.
const LOG: &str = "log.";
const METRICS: &str = "metrics.";

/// A value's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    /// The device's UUID and what the controller calls it.
    Identity,
    /// The controller's certificates, as they came.
    Certs,
    /// Starts of the machine: how many, and why the last ones.
    Boots,
    /// By what the last of them is told from others.
    BootsNumber,
    /// Counters of commands that were obeyed.
    Commands,
    /// What the update remembers.
    Update,
    /// The last configuration, in its envelope.
    Config,
    /// One that the device has lived with for a while.
    ConfigBackup,
    /// A file of the log, by its number: later ones have higher numbers.
    Log(u32),
    /// A metrics message, in the same way.
    Metrics(u32),
}

impl Name {
    /// All but those that are listed.
    const RECORDS: [Self; 8] = [
        Self::Identity,
        Self::Certs,
        Self::Boots,
        Self::BootsNumber,
        Self::Commands,
        Self::Update,
        Self::Config,
        Self::ConfigBackup,
    ];

    /// What stands ahead of the number in names like this one, which storage lists; nothing if there is one of it.
    const fn list(self) -> Option<&'static str> {
        match self {
            Self::Log(_) => Some(LOG),
            Self::Metrics(_) => Some(METRICS),
            Self::Identity
            | Self::Certs
            | Self::Boots
            | Self::BootsNumber
            | Self::Commands
            | Self::Update
            | Self::Config
            | Self::ConfigBackup => None,
        }
    }

    fn key(self) -> Key {
        let mut key = Key::new();
        // No name is longer than a key.
        let _ = write!(key, "{self}");
        key
    }

    /// What this is the name of in a list.
    fn listed(list: &'static str, key: &str) -> Option<Self> {
        let number = key.strip_prefix(list).filter(|number| number.len() == 8)?;
        let number = u32::from_str_radix(number, 16).ok()?;
        Some(if list == LOG { Self::Log(number) } else { Self::Metrics(number) })
    }

    /// Whether what is put while there is no storage is to be there when it comes. The others count on from what
    /// storage has, which is not known then.
    const fn outlasts(self) -> bool {
        match self {
            Self::Identity | Self::Certs | Self::Commands | Self::Config | Self::ConfigBackup => true,
            Self::Boots | Self::BootsNumber | Self::Update | Self::Log(_) | Self::Metrics(_) => false,
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Identity => "identity",
            Self::Certs => "certs",
            Self::Boots => "boots",
            Self::BootsNumber => "boots.number",
            Self::Commands => "commands",
            Self::Update => "update",
            Self::Config => "config",
            Self::ConfigBackup => "config.backup",
            Self::Log(number) => return write!(f, "{LOG}{number:08x}"),
            Self::Metrics(number) => return write!(f, "{METRICS}{number:08x}"),
        })
    }
}

#[derive(Debug)]
enum State {
    /// For the store to open.
    Waiting {
        since: Instant,
    },
    Reading(Reading),
    Open,
    /// There is no storage.
    Absent,
}

/// What is being read.
#[derive(Debug)]
struct Reading {
    part: Part,
    bytes: Vec<u8>,
    asked: bool,
    /// Names that were told of the list, and the bytes of those that were read.
    listed: usize,
    listed_bytes: usize,
    /// Since when this part is refused, and when it is asked for again.
    refused: Option<(Instant, Again)>,
}

#[derive(Clone, Debug)]
enum Part {
    /// The value of this place in the list.
    Record(usize),
    /// Which is the first of this list behind this name.
    Next(&'static str, Key),
    /// One of the list.
    Listed(Name),
}

impl Part {
    const fn name(&self) -> Option<Name> {
        match self {
            Self::Record(at) if *at < Name::RECORDS.len() => Some(Name::RECORDS[*at]),
            Self::Record(_) | Self::Next(..) => None,
            Self::Listed(name) => Some(*name),
        }
    }

    /// A list from its start.
    fn list(list: &'static str) -> Self {
        Self::Next(list, Key::try_from(list).unwrap_or_default())
    }

    /// What is read when this was.
    fn then(&self) -> Self {
        match self {
            Self::Record(at) if at + 1 < Name::RECORDS.len() => Self::Record(at + 1),
            Self::Record(_) => Self::list(LOG),
            Self::Next(list, after) => Self::Next(list, after.clone()),
            Self::Listed(name) => Self::Next(name.list().unwrap_or(LOG), name.key()),
        }
    }
}

/// When something is tried again.
#[derive(Debug)]
struct Again {
    at: Instant,
    pause: Duration,
    reason: String,
}

impl Again {
    fn after(before: Option<&Self>, now: Instant, reason: &str) -> Self {
        let pause = before.map_or(AGAIN, |before| LONGEST.min(before.pause * 2));
        Self { at: now.after(pause), pause, reason: reason.to_string() }
    }
}

/// A value on its way, or to be dropped.
#[derive(Debug)]
struct Writing {
    name: Name,
    bytes: Option<Vec<u8>>,
    sent: usize,
    answered: usize,
    /// Why storage has refused a piece.
    refused: Option<String>,
}

impl Writing {
    /// How many requests it takes. An empty value is one empty piece.
    fn pieces(&self) -> usize {
        self.bytes.as_ref().map_or(1, |bytes| bytes.len().div_ceil(MAX_PIECE).max(1))
    }
}

#[derive(Debug)]
pub(crate) struct Keep {
    state: State,
    /// The system has storage.
    expected: bool,
    /// Whether requests can be made.
    open: bool,
    found: BTreeMap<Name, Vec<u8>>,
    /// Without bytes it is to be dropped.
    wanted: BTreeMap<Name, Option<Vec<u8>>>,
    writing: Option<Writing>,
    /// What storage has refused.
    again: BTreeMap<Name, Again>,
    /// What of the list is on the disk, and nobody was told of yet.
    stored: Vec<Name>,
}

impl Keep {
    /// For a system that may have no storage.
    pub(crate) fn new() -> Self {
        Self {
            state: State::Absent,
            expected: false,
            open: false,
            found: BTreeMap::new(),
            wanted: BTreeMap::new(),
            writing: None,
            again: BTreeMap::new(),
            stored: Vec::new(),
        }
    }

    /// For a system that has storage.
    pub(crate) fn expecting(now: Instant) -> Self {
        Self { state: State::Waiting { since: now }, expected: true, ..Self::new() }
    }

    /// The store is open, or is not.
    pub(crate) fn set_open(&mut self, open: bool) {
        if self.open && !open {
            self.interrupted();
        }
        self.open = open;
        if open && matches!(self.state, State::Waiting { .. } | State::Absent) {
            self.state = State::Reading(Reading::new());
        }
    }

    /// Nothing of what was asked will be answered.
    fn interrupted(&mut self) {
        if let Some(writing) = self.writing.take() {
            self.wanted.entry(writing.name).or_insert(writing.bytes);
        }
        if let State::Reading(reading) = &mut self.state {
            reading.bytes.clear();
            reading.asked = false;
        }
    }

    /// Moves on with time: whether what was kept is known from now on, or that there is nothing. `there` tells that
    /// storage is, and has a store that is open or waits for its key.
    pub(crate) fn step(&mut self, now: Instant, there: bool) -> bool {
        let State::Waiting { since } = self.state else { return false };
        if there || now.since(since) < PATIENCE {
            return false;
        }
        self.state = State::Absent;
        true
    }

    pub(crate) fn deadline(&self, now: Instant, there: bool) -> Option<Instant> {
        let again = match &self.state {
            State::Waiting { since } if !there => return Some(since.after(PATIENCE)),
            State::Waiting { .. } | State::Absent => None,
            State::Reading(reading) => reading.refused.as_ref().map(|(_, again)| again.at),
            State::Open => {
                let wanted = self.wanted.keys().filter_map(|name| self.again.get(name));
                wanted.map(|again| again.at).min()
            }
        };
        // What is due is asked as soon as storage takes it.
        again.filter(|at| self.open && *at > now)
    }

    /// Whether it is known what was kept.
    pub(crate) fn is_settled(&self) -> bool {
        matches!(self.state, State::Open | State::Absent)
    }

    /// Whether there is no storage.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self.state, State::Absent)
    }

    /// Whether what is put now will be kept.
    pub(crate) fn is_open(&self) -> bool {
        self.open && matches!(self.state, State::Open)
    }

    /// What was kept under a name, once.
    pub(crate) fn take(&mut self, name: Name) -> Option<Vec<u8>> {
        self.found.remove(&name)
    }

    /// The next file of the log that was kept, once, the oldest first.
    pub(crate) fn take_log(&mut self) -> Option<(u32, Vec<u8>)> {
        let (name, _) = self.found.range(Name::Log(0)..).next()?;
        let Name::Log(number) = *name else { return None };
        self.take(Name::Log(number)).map(|bytes| (number, bytes))
    }

    /// Keeps these bytes in place of what was there. One that is too long is not kept, which is told.
    pub(crate) fn put(&mut self, name: Name, bytes: Vec<u8>) {
        if bytes.len() > MAX_VALUE as usize {
            log::warn!(
                "storage: {name} is not kept: it has {} bytes, and {MAX_VALUE} are the most [{}]",
                bytes.len(),
                code::NOT_KEPT
            );
            return;
        }
        if !self.is_absent() || self.expected && name.outlasts() {
            self.wanted.insert(name, Some(bytes));
        }
    }

    /// Drops what is kept under a name, or was to be.
    pub(crate) fn drop(&mut self, name: Name) {
        self.wanted.insert(name, None);
    }

    /// Whether nothing waits to be kept under a name.
    pub(crate) fn is_kept(&self, name: Name) -> bool {
        !self.wanted.contains_key(&name) && self.writing.as_ref().is_none_or(|writing| writing.name != name)
    }

    /// Whether what waits under a name need not be waited for: it is kept, or storage has refused it.
    pub(crate) fn is_tried(&self, name: Name) -> bool {
        self.is_kept(name) || self.again.contains_key(&name)
    }

    /// The next metrics message that was kept, in the same way.
    pub(crate) fn take_metrics(&mut self) -> Option<(u32, Vec<u8>)> {
        let (name, _) = self.found.range(Name::Metrics(0)..).next()?;
        let Name::Metrics(number) = *name else { return None };
        self.take(Name::Metrics(number)).map(|bytes| (number, bytes))
    }

    /// The next file of the log, or metrics message, that is on the disk now.
    pub(crate) fn next_stored(&mut self) -> Option<Name> {
        self.stored.pop()
    }

    /// What storage refuses to keep, and why.
    pub(crate) fn trouble(&self) -> Option<(Name, &str)> {
        self.again.iter().next().map(|(name, again)| (*name, again.reason.as_str()))
    }

    /// The next request.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Request> {
        if !self.open {
            return None;
        }
        match &mut self.state {
            State::Reading(reading) if !reading.asked => {
                if reading.refused.as_ref().is_some_and(|(_, again)| again.at > now) {
                    return None;
                }
                reading.asked = true;
                let offset = u32::try_from(reading.bytes.len()).unwrap_or(u32::MAX);
                match (&reading.part, reading.part.name()) {
                    (Part::Next(_, after), _) => Some(Request::Next { after: after.clone() }),
                    (_, Some(name)) => Some(Request::Get { key: name.key(), offset }),
                    (_, None) => None,
                }
            }
            State::Open => self.next_piece(now),
            State::Waiting { .. } | State::Reading(_) | State::Absent => None,
        }
    }

    fn next_piece(&mut self, now: Instant) -> Option<Request> {
        if self.writing.is_none() {
            let is_due = |name: &Name| self.again.get(name).is_none_or(|again| again.at <= now);
            let name = self.wanted.keys().copied().find(is_due)?;
            let bytes = self.wanted.remove(&name)?;
            self.writing = Some(Writing { name, bytes, sent: 0, answered: 0, refused: None });
        }
        let writing = self.writing.as_mut()?;
        if writing.sent >= writing.pieces() || writing.refused.is_some() {
            return None;
        }
        let at = writing.sent;
        writing.sent += 1;
        let key = writing.name.key();
        let Some(bytes) = &writing.bytes else { return Some(Request::Delete { key }) };
        let piece = bytes.chunks(MAX_PIECE).nth(at).unwrap_or_default();
        Some(Request::Put {
            key,
            total: u32::try_from(bytes.len()).ok()?,
            offset: u32::try_from(at * MAX_PIECE).ok()?,
            bytes: heapless::Vec::from_slice(piece).ok()?,
        })
    }

    /// An answer to a request of ours. Tells whether what was kept is known from now on.
    pub(crate) fn answered(&mut self, now: Instant, answer: Answer) -> bool {
        match &mut self.state {
            State::Reading(_) => self.read(now, answer),
            State::Waiting { .. } | State::Open | State::Absent => {
                self.written(now, &answer);
                false
            }
        }
    }

    fn read(&mut self, now: Instant, answer: Answer) -> bool {
        let State::Reading(reading) = &mut self.state else { return false };
        reading.asked = false;
        let mut listed = None;
        match answer {
            Answer::Name(next) if matches!(reading.part, Part::Next(..)) => {
                listed = Some(reading.listed(next.as_ref()));
            }
            Answer::Value { total, offset, bytes: piece }
                if offset as usize == reading.bytes.len()
                    && total <= MAX_VALUE
                    && piece.len() <= (total - offset.min(total)) as usize
                    && (offset == total || !piece.is_empty())
                    && reading.part.name().is_some() =>
            {
                reading.bytes.extend_from_slice(&piece);
                if reading.bytes.len() < total as usize {
                    return false;
                }
            }
            Answer::Refused { refusal: Refusal::NoValue, .. } => reading.bytes.clear(),
            Answer::Refused { refusal: Refusal::Locked, .. } => {
                // It closed; it will say when it opens.
                self.open = false;
                reading.bytes.clear();
                return false;
            }
            Answer::Refused { reason, .. } if reading.is_worth_another_try(now, &reason) => return false,
            other => {
                log::warn!(
                    "storage: {} cannot be read: {} [{}]",
                    reading.told(),
                    reason(&other),
                    code::NOT_READ
                );
                reading.bytes.clear();
                if matches!(reading.part, Part::Next(..)) {
                    listed = Some(None);
                }
            }
        }
        reading.refused = None;
        let read = core::mem::take(&mut reading.bytes);
        let (name, then) = match listed {
            Some(Some(name)) => (None, Some(Part::Listed(name))),
            Some(None) => (None, reading.next_list()),
            None => (reading.part.name(), Some(reading.part.then())),
        };
        if let Part::Listed(_) = reading.part {
            reading.listed_bytes += read.len();
        }
        if let Some(name) = name.filter(|name| !read.is_empty() && !self.wanted.contains_key(name)) {
            self.found.insert(name, read);
        }
        match then {
            Some(then) => reading.part = then,
            None => self.state = State::Open,
        }
        self.is_open()
    }

    fn written(&mut self, now: Instant, answer: &Answer) {
        let Some(writing) = &mut self.writing else { return };
        writing.answered += 1;
        match answer {
            Answer::Done => {}
            Answer::Refused { refusal: Refusal::Locked, .. } => {
                self.interrupted();
                self.open = false;
                return;
            }
            refused => {
                writing.refused.get_or_insert_with(|| reason(refused).to_string());
            }
        }
        // What was sent behind the piece that was refused is refused as well.
        let over = writing.answered >= writing.pieces()
            || writing.refused.is_some() && writing.answered >= writing.sent;
        let Some(Writing { name, bytes, refused, .. }) = self.writing.take_if(|_| over) else { return };
        let Some(reason) = refused else {
            if self.again.remove(&name).is_some() {
                log::info!("storage: {name} is kept now");
            }
            if name.list().is_some() && bytes.is_some() {
                self.stored.push(name);
            }
            return;
        };
        let before = self.again.get(&name);
        if before.is_none_or(|before| before.reason != reason) {
            log::warn!("storage: {name} is not kept yet: {reason}; trying on [{}]", code::NOT_KEPT);
        }
        self.again.insert(name, Again::after(before, now, &reason));
        self.wanted.entry(name).or_insert(bytes);
    }
}

impl Reading {
    const fn new() -> Self {
        let part = Part::Record(0);
        Self { part, bytes: Vec::new(), asked: false, listed: 0, listed_bytes: 0, refused: None }
    }

    /// What storage names behind the last one, if the list goes on.
    fn listed(&mut self, next: Option<&Key>) -> Option<Name> {
        let (Part::Next(list, after), Some(next)) = (&self.part, next) else { return None };
        let rises = next > after;
        let name = Name::listed(list, next).filter(|_| rises);
        let full = self.listed >= MAX_LISTED || self.listed_bytes >= MAX_LISTED_BYTES;
        if !rises || name.is_some() && full {
            log::warn!(
                "storage: the list of what is kept ends after {} names with {} bytes: {} [{}]",
                self.listed,
                self.listed_bytes,
                if rises { "it has more than were ever kept" } else { "its names do not rise" },
                code::NOT_READ
            );
        }
        self.listed += 1;
        name.filter(|_| !full)
    }

    /// One list has ended.
    fn next_list(&mut self) -> Option<Part> {
        (self.listed, self.listed_bytes) = (0, 0);
        matches!(self.part, Part::Next(LOG, _)).then(|| Part::list(METRICS))
    }

    /// Whether a part that was refused is asked for again; the reason is told once.
    fn is_worth_another_try(&mut self, now: Instant, reason: &str) -> bool {
        let (since, before) = match &self.refused {
            Some((since, again)) => (*since, Some(again)),
            None => (now, None),
        };
        if now.since(since) >= PATIENCE {
            return false;
        }
        if before.is_none_or(|before| before.reason != reason) {
            log::warn!(
                "storage: {} cannot be read yet: {reason}; trying on [{}]",
                self.told(),
                code::NOT_READ
            );
        }
        self.refused = Some((since, Again::after(before, now, reason)));
        self.bytes.clear();
        true
    }

    fn told(&self) -> String {
        self.part.name().map_or_else(|| "the list of what is kept".into(), |name| name.to_string())
    }
}

/// What an answer that is no `Done` says.
pub(crate) fn reason(answer: &Answer) -> &str {
    match answer {
        Answer::Refused { reason, .. } => reason,
        _ => "an answer of another kind",
    }
}

#[cfg(test)]
mod tests;
