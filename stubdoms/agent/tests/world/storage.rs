//! The storage domain of a world: values, and two slots with the selector's rule. Stricter than the real one: what a
//! state does not allow is a panic, unless a test is about it.

use std::collections::{BTreeMap, VecDeque};

use ed25519_dalek::{Signer, SigningKey};
use proto_handoff::record::Version;
use proto_svc::storage::{
    Answer, Change, Refusal, Request, Selector, SlotName, SlotReport, SlotState, Status,
};
use proto_update::{
    manifest::{ALIGN, Draft, HEADER_BYTES, Header, Kind, Machine},
    payload, version,
};

/// Bytes of a slot.
pub const ROOM: u64 = 1 << 20;

fn key() -> SigningKey {
    SigningKey::from_bytes(&[9; 32])
}

/// A slot that holds this version, signed by `key`.
pub fn slot_by(version: &str, length: usize, key: &SigningKey, machine: Machine) -> Vec<u8> {
    // Noise, which stays as long when it is packed.
    let mut state = 1 + version.len() as u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let contents: Vec<u8> = (0..length).map(|_| noise()).collect();
    let version = Version::new(version).unwrap();
    let draft = Draft::new(machine, version, &[(Kind::Program, &contents)]).unwrap();
    draft.sign(|bytes| key.sign(bytes).to_bytes())
}

/// A slot that holds this version.
pub fn slot(version: &str) -> Vec<u8> {
    slot_by(version, 100_000, &key(), Machine::X86_64)
}

/// The payload of a version.
pub fn payload(version: &str) -> Vec<u8> {
    payload::pack(&slot(version)).unwrap()
}

struct Slot {
    state: SlotState,
    bytes: Vec<u8>,
    length: u64,
    verified: bool,
}

pub struct Storage {
    pub there: bool,
    pub open: bool,
    /// Whether it is open in a version in slot A, and in one in slot B.
    pub open_in: [bool; 2],
    pub values: BTreeMap<String, Vec<u8>>,
    begun: Vec<u8>,
    slots: [Slot; 2],
    pub running: usize,
    /// From which version the first and the second selector are.
    pub selectors: [String; 2],
    /// A slot that the selector does not start.
    pub damaged: Option<usize>,
    /// Requests, other than those for values and pieces.
    pub asked: Vec<String>,
    /// Pieces that were written.
    pub writes: u64,
    /// Answers to give to the next requests of a kind instead of the right ones: the kind, the answer.
    pub refusals: VecDeque<(&'static str, Refusal)>,
    /// Values are refused for want of room.
    pub full: bool,
    /// Storage ends after so many requests.
    pub dies_after: Option<u32>,
    /// And is not started anew.
    pub stays_away: bool,
    /// It ends of each request of this kind.
    pub dies_of: Option<&'static str>,
}

impl Storage {
    /// Version 0.1.0 runs in A; B has it, too.
    pub fn new() -> Self {
        let slot = |state| Slot { state, bytes: slot("0.1.0"), length: 0, verified: false };
        Self {
            there: true,
            open: true,
            open_in: [true; 2],
            values: BTreeMap::new(),
            begun: Vec::new(),
            slots: [slot(SlotState::Active), slot(SlotState::Unused)],
            running: 0,
            selectors: ["0.1.0".into(), "0.1.0".into()],
            damaged: None,
            asked: Vec::new(),
            writes: 0,
            refusals: VecDeque::new(),
            full: false,
            dies_after: None,
            dies_of: None,
            stays_away: false,
        }
    }

    pub fn states(&self) -> [SlotState; 2] {
        [self.slots[0].state, self.slots[1].state]
    }

    /// Whether the version that runs has yet to prove itself.
    pub fn is_trial(&self) -> bool {
        self.slots[self.running].state == SlotState::InProgress
    }

    pub fn running_version(&self) -> String {
        self.version_of(self.running)
    }

    fn version_of(&self, slot: usize) -> String {
        let header = Header::parse(&self.slots[slot].bytes, ROOM);
        header.map_or_else(|_| String::new(), |header| header.claimed_version().as_str().into())
    }

    fn is_open(&self) -> bool {
        self.open && self.open_in[self.running]
    }

    /// A new life of it.
    pub fn restart(&mut self) {
        self.there = true;
        self.begun.clear();
        self.slots.iter_mut().for_each(|slot| slot.verified = false);
    }

    /// The machine starts anew: what the selector does.
    pub fn select(&mut self) {
        self.restart();
        let updating = (0..2).find(|slot| self.slots[*slot].state == SlotState::Updating);
        if let Some(slot) = updating {
            self.slots[slot].state = SlotState::InProgress;
        }
        let is = |slot: &usize, state| self.slots[*slot].state == state && self.damaged != Some(*slot);
        let active = (0..2).find(|slot| is(slot, SlotState::Active));
        let spare = (0..2).find(|slot| is(slot, SlotState::Spare));
        self.running = updating.or(active).or(spare).expect("one can be started");
    }

    fn told(&self) -> Answer {
        let name = [SlotName::A, SlotName::B];
        let report = |slot: usize| SlotReport {
            slot: name[slot],
            state: self.slots[slot].state,
            version: self.version_of(slot).as_str().try_into().unwrap(),
            room: ROOM,
        };
        Answer::Slots { running: Some(name[self.running]), slots: [report(0), report(1)] }
    }

    fn refused(refusal: Refusal) -> Answer {
        Answer::Refused { refusal, reason: "as the test wants it".try_into().unwrap() }
    }

    /// Answers; `None` if it has ended instead.
    pub fn answer(&mut self, request: Request) -> Option<Answer> {
        if let Some(left) = &mut self.dies_after {
            if *left == 0 {
                self.dies_after = None;
                self.there = false;
                return None;
            }
            *left -= 1;
        }
        let kind = match &request {
            Request::Begin { .. } => "begin",
            Request::Write { .. } => "write",
            Request::Verify => "verify",
            Request::Change(Change::Arm) => "arm",
            Request::Change(Change::Commit) => "commit",
            Request::Change(Change::Abandon) => "abandon",
            Request::Change(Change::TryOther) => "try other",
            Request::Slots => "slots",
            Request::Get { .. } => "get",
            Request::ReplaceSelector(Selector::First) => "first",
            Request::ReplaceSelector(Selector::Second) => "second",
            Request::ReplaceSelector(Selector::SecondBack) => "second back",
            _ => "",
        };
        if !matches!(kind, "" | "get" | "write" | "slots") {
            self.asked.push(kind.into());
        }
        if !kind.is_empty() && self.dies_of == Some(kind) {
            self.there = false;
            return None;
        }
        if let Some((_, refusal)) = self.refusals.pop_front_if(|(refused, _)| *refused == kind) {
            return Some(Self::refused(refusal));
        }
        Some(match request {
            Request::Status => Answer::Status(Status {
                open: self.is_open(),
                closed: (!self.is_open()).then_some(Refusal::Locked),
                reason: Default::default(),
                disk: "a disk".try_into().unwrap(),
                bytes: 1 << 30,
                quota: 1 << 20,
                used: self.values.values().map(|value| value.len() as u32).sum(),
                disk_errors: 0,
                damaged: 0,
            }),
            Request::Slots => self.told(),
            Request::Get { .. } | Request::Put { .. } if !self.is_open() => Self::refused(Refusal::Locked),
            Request::Get { key, offset } => match self.values.get(key.as_str()) {
                None => Self::refused(Refusal::NoValue),
                Some(value) => {
                    let rest = &value[offset as usize..];
                    let bytes = heapless::Vec::from_slice(&rest[..rest.len().min(900)]).unwrap();
                    Answer::Value { total: value.len() as u32, offset, bytes }
                }
            },
            Request::Put { .. } if self.full => Self::refused(Refusal::TooLarge),
            Request::Put { key, total, offset, bytes } => {
                if offset == 0 {
                    self.begun.clear();
                }
                assert_eq!(offset as usize, self.begun.len(), "in order");
                self.begun.extend_from_slice(&bytes);
                if self.begun.len() == total as usize {
                    self.values.insert(key.as_str().into(), core::mem::take(&mut self.begun));
                }
                Answer::Done
            }
            Request::Begin { length } => {
                assert_ne!(self.slots[self.running].state, SlotState::InProgress, "not under test");
                assert!(length <= ROOM);
                self.damaged = None;
                self.slots[1 - self.running] =
                    Slot { state: SlotState::Unused, bytes: Vec::new(), length, verified: false };
                Answer::Done
            }
            Request::Write { offset, bytes } => {
                let slot = &mut self.slots[1 - self.running];
                if slot.length == 0 {
                    return Some(Self::refused(Refusal::State));
                }
                assert_eq!(offset, slot.bytes.len() as u64, "in order");
                slot.bytes.extend_from_slice(&bytes);
                assert!(slot.bytes.len() as u64 <= slot.length);
                self.writes += 1;
                Answer::Done
            }
            Request::Verify => match self.verify() {
                Ok(version) => {
                    self.slots[1 - self.running].verified = true;
                    Answer::Verified { version: version.as_str().try_into().unwrap() }
                }
                Err(refusal) => Self::refused(refusal),
            },
            Request::Change(change) => match self.change(change) {
                Ok(()) => self.told(),
                Err(refusal) => Self::refused(refusal),
            },
            Request::ReplaceSelector(which) => {
                let (place, slot) = match which {
                    Selector::First => (0, self.running),
                    Selector::Second => (1, 1 - self.running),
                    Selector::SecondBack => (1, self.running),
                };
                match which {
                    Selector::First | Selector::SecondBack => {
                        assert!(!self.is_trial(), "it has proven itself");
                        assert_ne!(
                            self.slots[1 - self.running].state,
                            SlotState::Updating,
                            "nothing is armed"
                        );
                    }
                    Selector::Second => assert!(self.slots[slot].verified, "it was verified"),
                }
                let known = [self.version_of(0), self.version_of(1)];
                if !known.contains(&self.selectors[1 - place]) {
                    return Some(Self::refused(Refusal::Selector));
                }
                let version = self.version_of(slot);
                let replaced = self.selectors[place] != version;
                self.selectors[place] = version;
                Answer::Selector { replaced }
            }
            Request::Delete { .. } | Request::Next { .. } if !self.is_open() => {
                Self::refused(Refusal::Locked)
            }
            Request::Delete { key } => {
                self.values.remove(key.as_str());
                Answer::Done
            }
            Request::Next { after } => {
                let next = self.values.keys().find(|name| name.as_str() > after.as_str());
                Answer::Name(next.map(|name| name.as_str().try_into().unwrap()))
            }
        })
    }

    fn verify(&self) -> Result<String, Refusal> {
        let slot = &self.slots[1 - self.running];
        let header = Header::parse(&slot.bytes[..HEADER_BYTES.min(slot.bytes.len())], ROOM);
        let header = header.map_err(|_| Refusal::Contents)?;
        let length = header.claimed_length() as usize;
        let keys = [key().verifying_key()];
        let trusted = header.verify(&keys, Machine::X86_64).map_err(|error| match error {
            proto_update::manifest::SlotError::Machine => Refusal::Machine,
            _ => Refusal::Signature,
        })?;
        let contents = slot.bytes.get(ALIGN..ALIGN + length).ok_or(Refusal::Contents)?;
        trusted.contents(contents).map_err(|_| Refusal::Contents)?;
        let found = trusted.version().as_str().to_owned();
        if version::compare(&found, &self.running_version()).is_lt() {
            return Err(Refusal::Older);
        }
        Ok(found)
    }

    fn change(&mut self, change: Change) -> Result<(), Refusal> {
        let other = 1 - self.running;
        let proven = matches!(self.slots[self.running].state, SlotState::Active | SlotState::Spare);
        match change {
            Change::Arm if proven && self.slots[other].verified => {
                self.slots[other].state = SlotState::Updating;
                self.slots[self.running].state = SlotState::Active;
            }
            Change::TryOther if proven && self.slots[other].state != SlotState::Unused => {
                self.slots[other].state = SlotState::Updating;
            }
            Change::Commit if self.slots[self.running].state == SlotState::InProgress => {
                self.slots[self.running].state = SlotState::Active;
                let fallback = self.slots[other].state == SlotState::Active;
                self.slots[other].state = if fallback { SlotState::Spare } else { SlotState::Unused };
            }
            Change::Abandon if self.slots[other].state != SlotState::Active => {
                self.slots[other].state = SlotState::Unused;
            }
            _ => return Err(Refusal::State),
        }
        Ok(())
    }
}
