//! The measured start: the compiled table and every image are extended into a PCR before what they are of runs.
//!
//! ```text
//!            opened            value fits            extended, next one
//!   Waiting -------> Reading ------------> Extending ------------------> … -> Done
//!      ^  closed        |   ^   refused, again |
//!      |                |   +------------------+
//!      +----------------+----------------------+      no TPM, or a value that is not ours -> Over
//! ```
//!
//! vault extends, and dom0 says what, in the order of the table: the table first, then the images that have the
//! hashes of the table, vault's own among them. What is not confirmed does not run, vault alone runs before, for
//! without it nothing can be extended. An image that has another hash than the table's is not started, and not
//! extended either: the PCR then differs from what was predicted.
//!
//! A vault that ends between question and answer may have extended or not. The one after it is asked for the value
//! of the PCR, which says what was done; a value that is neither is somebody else's work, and nothing is called
//! measured then. A service that is built anew has the image that was measured, so the PCR is left alone.
//!
//! A TPM that refuses may have extended all the same, as when its answer was lost, so its PCR is read then, after a
//! [`PAUSE`], and what is left goes on from there. It may refuse [`REFUSALS`] times between two steps.
//!
//! Nobody waits for ever: that, and [`Measuring::late`], let all run without. What was not extended by then never is, for
//! it would be measured after it ran. A mark is extended in its place, as soon as the TPM takes it: a TPM that refuses is
//! asked on, each minute ([`LATER`]), in this life of vault and in later ones. Then the value that stands for a measured
//! start does not come about any more. There is none without a TPM, and none in a PCR that somebody else has extended,
//! which has another value anyway.

use alloc::{format, string::String, vec, vec::Vec};
use core::{fmt, time::Duration};

use proto_errors::{Code, Coded, svc};
use proto_manifest::name::Name;
use proto_svc::{
    device::Measured,
    measure::{FromVault, Refusal, ToVault},
};
use proto_tpm::{
    eventlog::{Event, kind},
    pcr::{self, Value},
};

use crate::image::{Hex, sha256};

/// The PCR of what dom0 starts. Firmware has those up to 7, loaders of others 8 and 9; the selector has 14 and 15, and on
/// aarch64 9 as well.
pub const PCR: u8 = 13;

/// How the table is called in the log.
pub const TABLE: &str = "sarsen table";
/// What the name of an image begins with there.
pub const IMAGE: &str = "sarsen image ";
/// What is extended when the start went on without.
pub const MARK: &str = "sarsen start without measuring";

/// How long a TPM that has refused is left alone: vault looks at one that cannot be used a second after its failure.
pub const PAUSE: Duration = Duration::from_millis(400);
/// How often a TPM may refuse before nobody waits for it any more.
pub const REFUSALS: u8 = 5;
/// How long it is left alone from then on.
pub const LATER: Duration = Duration::from_secs(60);

/// Something to extend.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Item {
    text: String,
    digest: Value,
    /// The service that waits for it.
    service: Option<Name>,
}

/// Why nothing is called measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmeasured {
    /// vault did not do it in time.
    Late,
    /// vault did not do it.
    Refused(Refusal),
    /// The PCR has a value that dom0 did not make.
    Foreign {
        /// The value that it should have.
        expected: Value,
        /// The value that it has.
        found: Value,
    },
}

impl fmt::Display for Unmeasured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late => f.write_str("vault did not answer in time"),
            Self::Refused(Refusal::NoTpm) => f.write_str("vault has no TPM"),
            Self::Refused(Refusal::Tpm(code)) => write!(f, "the TPM refuses: {code:#x}"),
            Self::Refused(Refusal::Silent) => f.write_str("the TPM does not answer"),
            Self::Refused(Refusal::Pcr) => write!(f, "vault does not take PCR {PCR} for dom0's"),
            Self::Foreign { expected, found } => {
                write!(f, "PCR {PCR} is {}, and dom0 has made it {}", Hex(found), Hex(expected))
            }
        }
    }
}

impl Coded for Unmeasured {
    fn code(&self) -> Code {
        svc::NOT_MEASURED
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// vault is not there.
    Waiting,
    /// It was asked for the value.
    Reading { number: u32 },
    /// It was asked to extend the next item.
    Extending { number: u32 },
    /// All is extended.
    Done,
    /// Nothing more is asked.
    Over,
}

/// The measured start of one boot.
#[derive(Clone, Debug)]
pub struct Measuring {
    items: Vec<Item>,
    /// How many of them are extended for certain.
    done: usize,
    /// The next one may be extended, for vault ended before it answered.
    open: bool,
    /// What the PCR holds after those that are done; not known before it was read.
    value: Option<Value>,
    state: State,
    number: u32,
    /// Refusals since the last step.
    refusals: u8,
    unmeasured: Option<Unmeasured>,
}

/// What came of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// What to ask next.
    pub ask: Option<ToVault>,
    /// How long to wait ahead of that.
    pub pause: Duration,
    /// What the log has more.
    pub logged: Vec<u8>,
}

impl Measuring {
    /// What is to be measured: the table, by its hash, and images in its order.
    #[must_use]
    pub fn new<'a>(table: Value, images: impl IntoIterator<Item = (&'a Name, Value)>) -> Self {
        let mut items = vec![Item { text: TABLE.into(), digest: table, service: None }];
        items.extend(images.into_iter().map(|(name, digest)| Item {
            text: format!("{IMAGE}{name}"),
            digest,
            service: Some(name.clone()),
        }));
        Self {
            items,
            done: 0,
            open: false,
            value: None,
            state: State::Waiting,
            number: 0,
            refusals: 0,
            unmeasured: None,
        }
    }

    /// A vault is there, perhaps anew. What to ask it, if there is anything left to ask.
    pub fn opened(&mut self) -> Option<ToVault> {
        self.closed();
        self.refusals = 0;
        (self.state == State::Waiting).then(|| self.look())
    }

    /// Asks for the value.
    fn look(&mut self) -> ToVault {
        let number = self.next_number();
        self.state = State::Reading { number };
        ToVault::Read { number, pcr: PCR }
    }

    /// vault is gone.
    pub fn closed(&mut self) {
        match self.state {
            State::Extending { .. } => {
                self.open = true;
                self.state = State::Waiting;
            }
            State::Reading { .. } => self.state = State::Waiting,
            State::Waiting | State::Done | State::Over => {}
        }
    }

    /// Takes what vault says. An answer to no question of ours changes nothing.
    pub fn take(&mut self, message: &FromVault) -> Taken {
        match (self.state, message) {
            (State::Reading { number }, &FromVault::Value { number: of, value }) if of == number => {
                self.read(value)
            }
            (State::Extending { number }, &FromVault::Extended { number: of }) if of == number => {
                let logged = self.confirm();
                Taken { ask: self.ask(), logged, ..Taken::default() }
            }
            (
                State::Reading { number } | State::Extending { number },
                &FromVault::Refused { number: of, refusal },
            ) if of == number => self.refused(refusal),
            _ => Taken::default(),
        }
    }

    /// vault did not do what it was asked last.
    fn refused(&mut self, refusal: Refusal) -> Taken {
        match refusal {
            Refusal::NoTpm | Refusal::Pcr => return self.give_up(Unmeasured::Refused(refusal)),
            Refusal::Tpm(_) | Refusal::Silent => {}
        }
        // Whether it was extended is known when the value was read.
        self.closed();
        self.refusals = self.refusals.saturating_add(1);
        if self.refusals < REFUSALS {
            return Taken { ask: Some(self.look()), pause: PAUSE, ..Taken::default() };
        }
        self.go_without(Unmeasured::Refused(refusal));
        // Nobody waits for the mark.
        Taken { ask: Some(self.look()), pause: LATER, ..Taken::default() }
    }

    /// The PCR was read: what was asked last was done, or was not, or the value is none of ours.
    fn read(&mut self, found: Value) -> Taken {
        let expected = *self.value.get_or_insert([0; 32]);
        let next = self.items.get(self.done).filter(|_| self.open);
        let after = next.map(|item| pcr::extended(&expected, &item.digest));
        let logged = match (found == expected, after == Some(found)) {
            (true, _) => Vec::new(),
            (false, true) => self.confirm(),
            (false, false) => return self.give_up(Unmeasured::Foreign { expected, found }),
        };
        self.open = false;
        Taken { ask: self.ask(), logged, ..Taken::default() }
    }

    /// Asks for the next item.
    fn ask(&mut self) -> Option<ToVault> {
        let Some(item) = self.items.get(self.done) else {
            self.state = State::Done;
            return None;
        };
        let digest = item.digest;
        let number = self.next_number();
        self.state = State::Extending { number };
        Some(ToVault::Extend { number, pcr: PCR, digest })
    }

    /// The next item is extended: what the log has more by that.
    fn confirm(&mut self) -> Vec<u8> {
        let Some(item) = self.items.get(self.done) else { return Vec::new() };
        self.refusals = 0;
        self.value = self.value.map(|value| pcr::extended(&value, &item.digest));
        self.done += 1;
        let data = item.text.as_bytes();
        let event = Event { pcr: PCR.into(), kind: kind::IPL, sha256: Some(item.digest), data };
        // PCR, kind, count, algorithm, digest, length.
        let mut bytes = vec![0; 50 + data.len()];
        let length = event.emit(&mut bytes).unwrap_or(0);
        bytes.truncate(length);
        bytes
    }

    fn give_up(&mut self, why: Unmeasured) -> Taken {
        self.unmeasured.get_or_insert(why);
        self.state = State::Over;
        Taken::default()
    }

    fn next_number(&mut self) -> u32 {
        self.number = self.number.wrapping_add(1);
        self.number
    }

    /// It took too long: all may run, and nothing is called measured.
    pub fn late(&mut self) {
        self.go_without(Unmeasured::Late);
    }

    /// All may run, and a mark takes the place of what is left.
    fn go_without(&mut self, why: Unmeasured) {
        if self.is_over() {
            return;
        }
        self.unmeasured = Some(why);
        // The one that vault has before it stays, for it may be extended yet.
        let asked = matches!(self.state, State::Extending { .. }) || self.open;
        self.items.truncate(self.done + usize::from(asked));
        let digest = sha256(MARK.as_bytes());
        self.items.push(Item { text: MARK.into(), digest, service: None });
    }

    /// Whether this service may run: all images are extended, or nobody waits any more. Not as soon as its own is: the
    /// PCR has to be final when storage asks for the key that is sealed to it. Who is not measured waits for nobody.
    #[must_use]
    pub fn may_run(&self, service: &Name) -> bool {
        let waits = |item: &Item| item.service.as_ref() == Some(service);
        self.is_over() || !self.items.iter().any(waits)
    }

    /// Whether nobody waits any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.state == State::Done || self.unmeasured.is_some()
    }

    /// Whether the PCR tells by a mark that the start went on without.
    #[must_use]
    pub fn is_marked(&self) -> bool {
        self.state == State::Done && self.unmeasured.is_some()
    }

    /// Why nothing is called measured.
    #[must_use]
    pub fn unmeasured(&self) -> Option<Unmeasured> {
        self.unmeasured
    }

    /// What control is told.
    #[must_use]
    pub fn outcome(&self) -> Measured {
        match (self.unmeasured, self.state) {
            (Some(Unmeasured::Refused(Refusal::NoTpm)), _) => Measured::No,
            (Some(_), _) => Measured::Failed,
            (None, State::Done) => Measured::Yes,
            (None, _) => Measured::Pending,
        }
    }

    /// How many events there are, and the value that they make of the PCR.
    #[must_use]
    pub fn result(&self) -> (usize, Value) {
        (self.done, self.value.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests;
