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
//! be written because storage ended is written again. The values are as foreign as any input: whoever reads one
//! checks it.

use alloc::{collections::BTreeMap, vec::Vec};
use core::time::Duration;

use proto_errors::agent as code;
use proto_svc::storage::{Answer, Key, MAX_PIECE, MAX_VALUE, Refusal, Request};

use crate::clock::Instant;

/// How long storage is waited for that is not there.
const PATIENCE: Duration = Duration::from_secs(60);

/// A value's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    /// The device's UUID and what the controller calls it.
    Identity,
    /// The controller's certificates, as they came.
    Certs,
    /// Starts of the machine: how many, and why the last ones.
    Boots,
    /// Counters of commands that were obeyed.
    Commands,
    /// What the update remembers.
    Update,
    /// The last configuration, in its envelope.
    Config,
    /// One that the device has lived with for a while.
    ConfigBackup,
}

impl Name {
    const ALL: [Self; 7] = [
        Self::Identity,
        Self::Certs,
        Self::Boots,
        Self::Commands,
        Self::Update,
        Self::Config,
        Self::ConfigBackup,
    ];

    const fn text(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Certs => "certs",
            Self::Boots => "boots",
            Self::Commands => "commands",
            Self::Update => "update",
            Self::Config => "config",
            Self::ConfigBackup => "config.backup",
        }
    }

    fn key(self) -> Key {
        Key::try_from(self.text()).unwrap_or_default()
    }
}

#[derive(Debug)]
enum State {
    /// For the store to open.
    Waiting {
        since: Instant,
    },
    /// The value of this place in the list is being read.
    Reading {
        at: usize,
        bytes: Vec<u8>,
        asked: bool,
    },
    Open,
    /// There is no storage.
    Absent,
}

/// A value on its way.
#[derive(Debug)]
struct Writing {
    name: Name,
    bytes: Vec<u8>,
    sent: usize,
    answered: usize,
}

#[derive(Debug)]
pub(crate) struct Keep {
    state: State,
    /// Whether requests can be made.
    open: bool,
    found: BTreeMap<Name, Vec<u8>>,
    wanted: BTreeMap<Name, Vec<u8>>,
    writing: Option<Writing>,
    /// A refusal is told once a burst.
    told: bool,
}

impl Keep {
    /// For a system that may have no storage.
    pub(crate) fn new() -> Self {
        Self {
            state: State::Absent,
            open: false,
            found: BTreeMap::new(),
            wanted: BTreeMap::new(),
            writing: None,
            told: false,
        }
    }

    /// For a system that has storage.
    pub(crate) fn expecting(now: Instant) -> Self {
        Self { state: State::Waiting { since: now }, ..Self::new() }
    }

    /// The store is open, or is not.
    pub(crate) fn set_open(&mut self, open: bool) {
        if self.open && !open {
            self.interrupted();
        }
        self.open = open;
        if open && matches!(self.state, State::Waiting { .. } | State::Absent) {
            self.state = State::Reading { at: 0, bytes: Vec::new(), asked: false };
        }
    }

    /// Nothing of what was asked will be answered.
    fn interrupted(&mut self) {
        if let Some(writing) = self.writing.take() {
            self.wanted.entry(writing.name).or_insert(writing.bytes);
        }
        if let State::Reading { bytes, asked, .. } = &mut self.state {
            bytes.clear();
            *asked = false;
        }
    }

    /// Moves on with time: whether what was kept is known from now on, or that there is nothing.
    pub(crate) fn step(&mut self, now: Instant, there: bool) -> bool {
        let State::Waiting { since } = self.state else { return false };
        if there || now.since(since) < PATIENCE {
            return false;
        }
        self.state = State::Absent;
        true
    }

    pub(crate) fn deadline(&self, there: bool) -> Option<Instant> {
        match self.state {
            State::Waiting { since } if !there => Some(since.after(PATIENCE)),
            State::Waiting { .. } | State::Reading { .. } | State::Open | State::Absent => None,
        }
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

    /// Keeps these bytes in place of what was there. One that is too long is not kept, which is told.
    pub(crate) fn put(&mut self, name: Name, bytes: Vec<u8>) {
        if bytes.len() > MAX_VALUE as usize {
            log::warn!(
                "storage: {} is not kept: it has {} bytes, and {MAX_VALUE} are the most [{}]",
                name.text(),
                bytes.len(),
                code::NOT_KEPT
            );
            return;
        }
        if !matches!(self.state, State::Absent) {
            self.wanted.insert(name, bytes);
        }
    }

    /// Whether nothing waits to be kept under a name.
    pub(crate) fn is_kept(&self, name: Name) -> bool {
        !self.wanted.contains_key(&name) && self.writing.as_ref().is_none_or(|writing| writing.name != name)
    }

    /// The next request.
    pub(crate) fn next(&mut self) -> Option<Request> {
        if !self.open {
            return None;
        }
        match &mut self.state {
            State::Reading { at, bytes, asked } if !*asked => {
                *asked = true;
                let name = Name::ALL.get(*at)?;
                Some(Request::Get { key: name.key(), offset: u32::try_from(bytes.len()).unwrap_or(u32::MAX) })
            }
            State::Open => self.next_piece(),
            State::Waiting { .. } | State::Reading { .. } | State::Absent => None,
        }
    }

    fn next_piece(&mut self) -> Option<Request> {
        if self.writing.is_none() {
            let (name, bytes) = self.wanted.pop_first()?;
            self.writing = Some(Writing { name, bytes, sent: 0, answered: 0 });
        }
        let writing = self.writing.as_mut()?;
        let (total, offset) = (writing.bytes.len(), writing.sent);
        // An empty value is one empty piece.
        if offset >= total.max(1) {
            return None;
        }
        let end = total.min(offset + MAX_PIECE);
        writing.sent = end.max(1);
        Some(Request::Put {
            key: writing.name.key(),
            total: u32::try_from(total).ok()?,
            offset: u32::try_from(offset).ok()?,
            bytes: heapless::Vec::from_slice(writing.bytes.get(offset..end)?).ok()?,
        })
    }

    /// An answer to a request of ours. Tells whether what was kept is known from now on.
    pub(crate) fn answered(&mut self, answer: Answer) -> bool {
        match &mut self.state {
            State::Reading { at, bytes, asked } => {
                *asked = false;
                let whole = match answer {
                    Answer::Value { total, offset, bytes: piece }
                        if offset as usize == bytes.len() && total <= MAX_VALUE =>
                    {
                        bytes.extend_from_slice(&piece);
                        bytes.len() >= total as usize || piece.is_empty()
                    }
                    Answer::Refused { refusal: Refusal::NoValue, .. } => true,
                    Answer::Refused { refusal: Refusal::Locked, .. } => {
                        // It closed; it will say when it opens.
                        self.open = false;
                        bytes.clear();
                        return false;
                    }
                    other => {
                        if let Some(name) = Name::ALL.get(*at) {
                            log::warn!(
                                "storage: {} cannot be read: {other:?} [{}]",
                                name.text(),
                                code::NOT_READ
                            );
                        }
                        bytes.clear();
                        true
                    }
                };
                if !whole {
                    return false;
                }
                let read = core::mem::take(bytes);
                if let Some(name) = Name::ALL.get(*at).filter(|_| !read.is_empty()) {
                    self.found.insert(*name, read);
                }
                *at += 1;
                if *at < Name::ALL.len() {
                    return false;
                }
                self.state = State::Open;
                true
            }
            State::Waiting { .. } | State::Open | State::Absent => {
                self.written(&answer);
                false
            }
        }
    }

    fn written(&mut self, answer: &Answer) {
        let Some(writing) = &mut self.writing else { return };
        writing.answered += MAX_PIECE;
        let last = writing.answered >= writing.bytes.len();
        match answer {
            Answer::Done => self.told &= !last,
            Answer::Refused { refusal: Refusal::Locked, .. } => {
                self.interrupted();
                self.open = false;
                return;
            }
            refused => {
                if !core::mem::replace(&mut self.told, true) {
                    log::warn!(
                        "storage: {} is not kept: {} [{}]",
                        writing.name.text(),
                        reason(refused),
                        code::NOT_KEPT
                    );
                }
            }
        }
        if last {
            self.writing = None;
        }
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
