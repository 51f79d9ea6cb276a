//! The vault as the agent sees it: what it has told, and what is to be asked next.
//!
//! One question is under way at a time; the shell carries it over a death of the vault. What the vault answers
//! decides what is asked next, and goes to the machine that wanted it as [`Told`]. A question that is not answered
//! within a minute is given up and asked anew.
//!
//! ```text
//!   there -> Status -+-> Ready, None -> Public(…)…, Kept -> [`Told::Keys`], then Escrow
//!                    +-> Failed -> Status again after 15 s
//!   Changed -> Status, Escrow
//! ```

mod questions;

use alloc::{collections::VecDeque, string::String, string::ToString, vec::Vec};
use core::time::Duration;

use proto_errors::{Coded, agent as code};
use proto_eve::{attest::EscrowedKey, issue};
use proto_svc::vault::{Answer, Escrowed, KeyName, MAX_NOTE, Refusal, Request, Sealing, Status, Tpm};
use sha2::{Digest, Sha256};

pub use self::questions::VaultQuestions;
use crate::{
    attest::{Escrow, TpmQuote},
    clock::{Instant, Ticker, earliest},
    identity::{Keys, Public},
};

const AGAIN: Duration = Duration::from_secs(15);
/// How long an answer is waited for. Asked anew the vault does the same again, which does no harm.
const PATIENCE: Duration = Duration::from_secs(60);
/// The first and the longest time between two attempts to have a note kept that the vault has not kept.
const KEEP_AGAIN: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(600));
/// How often a quote is asked for whose values have changed meanwhile.
const QUOTES: u8 = 5;
/// PCRs that a quote is about.
const QUOTED: usize = 16;

/// What the shell tells of the vault.
#[expect(clippy::large_enum_variant, reason = "it is looked at and dropped at once")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VaultEvent {
    /// It is there, or there again.
    There,
    /// It has answered the request under way.
    Answer(Answer),
    /// It says that its state has changed.
    Changed,
    /// It is not there any more. What it was asked is asked again by the shell when it is back.
    Gone,
}

/// What an answer means for the other machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Nothing,
    /// The state of TPM and storage.
    Status,
    /// Keys and note are here, or the note is kept.
    Keys,
    /// A quote without its event log, or why there is none.
    Quote(Result<TpmQuote, String>),
    /// The point that is shared with this peer's; none if the vault refuses.
    Shared(Vec<u8>, Option<([u8; 32], [u8; 32])>),
    /// The storage's key for the controller.
    Escrow(Escrow),
}

/// The vault.
#[derive(Debug, Default)]
pub(crate) struct Vault {
    /// Whether the system has one.
    pub(crate) expected: bool,
    there: bool,
    status: Option<Status>,
    keys: Keys,
    note: Option<Vec<u8>>,
    complete: bool,
    wanted: VecDeque<Request>,
    /// The question under way, and until when its answer is waited for.
    flight: Option<(Request, Instant)>,
    /// When its status is asked for again.
    again: Option<Instant>,
    /// What is then asked again, for the storage is still locked.
    unlocking: Option<Request>,
    quoting: Option<Quoting>,
    /// The note that is to be kept.
    keeping: Option<Keeping>,
    /// What was last said to be wrong.
    complaint: Option<Complaint>,
}

/// A note that is not kept yet.
#[derive(Debug)]
struct Keeping {
    note: Note,
    /// When it is tried again; none while the vault is at it.
    again: Option<Instant>,
    ticker: Ticker,
    /// Why it was not kept, as it was last said.
    reason: Option<String>,
}

/// What makes the certificates what they are.
type Note = heapless::Vec<u8, MAX_NOTE>;

/// What a person should know of its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Complaint {
    /// The TPM does not work, for this reason.
    Tpm(String),
    /// The storage is locked, for this reason; the PCRs that differ, a bit each.
    Locked(String, u32),
}

impl Complaint {
    fn of(status: &Status) -> Option<Self> {
        match (status.tpm, status.sealing) {
            (Tpm::Failed, _) => Some(Self::Tpm(status.about.as_str().into())),
            (_, Sealing::Locked) => Some(Self::Locked(status.reason.as_str().into(), status.changed)),
            (Tpm::None | Tpm::Ready, Sealing::Open | Sealing::Unknown) => None,
        }
    }
}

impl core::fmt::Display for Complaint {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Tpm(reason) => write!(f, "the TPM does not work: {reason}; the device has no keys"),
            Self::Locked(reason, changed) => {
                write!(f, "the storage is locked: {reason}")?;
                let mut differ = (0..32_u32).filter(|bit| changed >> bit & 1 == 1);
                if let Some(first) = differ.next() {
                    write!(f, "; PCRs that differ: {first}")?;
                }
                differ.try_for_each(|pcr| write!(f, ", {pcr}"))
            }
        }
    }
}

#[derive(Debug)]
struct Quoting {
    nonce: Vec<u8>,
    tries: u8,
    attest: Vec<u8>,
    signature: Vec<u8>,
}

impl Vault {
    /// The vault of a system that has one.
    pub(crate) fn expected() -> Self {
        Self { expected: true, ..Self::default() }
    }

    /// Whether it is there.
    pub(crate) fn is_there(&self) -> bool {
        self.there
    }

    /// What it told last of TPM and storage.
    pub(crate) fn status(&self) -> Option<&Status> {
        self.status.as_ref()
    }

    /// Whether the storage is waited for, for the vault does not give its key.
    pub(crate) fn is_locked(&self) -> bool {
        self.status.as_ref().is_some_and(|status| status.sealing == Sealing::Locked)
    }

    /// Whether a TPM holds the keys.
    pub(crate) fn has_tpm(&self) -> bool {
        self.status.as_ref().is_some_and(|status| status.tpm == Tpm::Ready)
    }

    /// Keys and the note of certificates, once all of it is here.
    pub(crate) fn identity(&self) -> Option<(&Keys, &[u8])> {
        self.complete.then_some((&self.keys, self.note.as_deref().unwrap_or_default()))
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let keeping = self.keeping.as_ref().and_then(|keeping| keeping.again);
        [self.again, self.patience(), keeping].into_iter().fold(None, earliest)
    }

    /// Until when the answer is waited for. Of one that is not there none is expected.
    fn patience(&self) -> Option<Instant> {
        self.flight.as_ref().map(|(_, until)| *until).filter(|_| self.there)
    }

    /// Looks whether it is time to ask again.
    pub(crate) fn step(&mut self, now: Instant) {
        if self.patience().is_some_and(|until| until <= now)
            && let Some((request, _)) = self.flight.take()
        {
            log::warn!("vault: no answer to {}; it is asked again [{}]", named(&request), code::VAULT);
            self.wanted.retain(|wanted| *wanted != request);
            self.wanted.push_front(request);
        }
        if self.again.is_some_and(|again| again <= now) {
            self.look();
        }
        let keeping = self.keeping.as_ref().and_then(|keeping| keeping.again);
        if keeping.is_some_and(|again| again <= now) {
            self.want_keeping();
        }
    }

    /// The next request, if none is under way.
    pub(crate) fn next_request(&mut self, now: Instant) -> Option<Request> {
        if !self.there || self.flight.is_some() {
            return None;
        }
        let request = self.wanted.pop_front()?;
        self.flight = Some((request.clone(), now.after(PATIENCE)));
        Some(request)
    }

    /// It is there, for the first time or again, and is asked what is under way.
    pub(crate) fn on_there(&mut self, now: Instant) {
        self.there = true;
        if let Some((_, until)) = &mut self.flight {
            *until = now.after(PATIENCE);
        }
        self.look();
    }

    pub(crate) fn on_gone(&mut self) {
        self.there = false;
    }

    /// Its state has changed.
    pub(crate) fn look(&mut self) {
        self.again = None;
        self.want(Request::Status);
        if self.keeping.as_ref().is_some_and(|keeping| keeping.reason.is_none()) {
            self.want_keeping();
        }
        if self.complete && self.has_tpm() {
            self.want(Request::Escrow);
        }
        if let Some(request) = self.unlocking.take() {
            self.want(request);
        }
    }

    /// Keeps the note of certificates, which is tried until it is kept: [`Told::Keys`] then.
    pub(crate) fn keep(&mut self, note: &[u8]) {
        let note = Note::from_slice(note).expect("a note of four certificates is within the bound");
        let (first, last) = KEEP_AGAIN;
        let ticker = Ticker::new(first, last);
        self.keeping = Some(Keeping { note: note.clone(), again: None, ticker, reason: None });
        self.want(Request::Keep { note });
    }

    /// Whether the note of certificates is not kept yet. With other certificates this would be another device, so
    /// nobody is to know the device by these before.
    pub(crate) fn is_keeping(&self) -> bool {
        self.keeping.is_some()
    }

    fn want_keeping(&mut self) {
        if let Some(keeping) = &mut self.keeping {
            keeping.again = None;
            let request = Request::Keep { note: keeping.note.clone() };
            self.want(request);
        }
    }

    /// The vault has not kept it.
    fn not_kept(&mut self, now: Instant, refusal: Option<Refusal>, reason: String) {
        let Some(keeping) = &mut self.keeping else { return };
        // It tells by a change when it has.
        if refusal == Some(Refusal::Busy) {
            keeping.again = Some(now.after(AGAIN));
            return;
        }
        keeping.again = Some(now.after(keeping.ticker.wait()));
        if keeping.reason.as_ref() != Some(&reason) {
            log::error!(
                "identity: the vault does not keep the certificates' note, and until then the device is not \
                 onboarded: {reason} [{}]",
                code::NO_IDENTITY
            );
            keeping.reason = Some(reason);
        }
    }

    /// Has the TPM quote.
    pub(crate) fn quote(&mut self, nonce: &[u8]) {
        self.quoting =
            Some(Quoting { nonce: nonce.to_vec(), tries: 0, attest: Vec::new(), signature: Vec::new() });
        self.ask_quote();
    }

    /// Has the vault agree on a point with a peer's.
    pub(crate) fn agree(&mut self, peer: &[u8]) {
        match heapless::Vec::from_slice(peer) {
            Ok(peer) => self.want(Request::Ecdh { peer }),
            Err(_) => log::error!("vault: a point of {} bytes [{}]", peer.len(), code::VAULT),
        }
    }

    /// Gives back what was escrowed. What is too long to be ours is not even shown to the vault.
    pub(crate) fn recover(&mut self, key: &EscrowedKey) {
        match heapless::Vec::from_slice(&key.encrypted) {
            Ok(encrypted) => self.want(Request::Recover(Escrowed { encrypted, digest: key.digest })),
            Err(_) => log::warn!(
                "vault: the controller gave back a key of {} bytes, which is none of this device's [{}]",
                key.encrypted.len(),
                code::VAULT_LOCKED
            ),
        }
    }

    /// Has the storage begin anew with another key.
    pub(crate) fn start_anew(&mut self) {
        self.want(Request::StartAnew);
    }

    /// It answered what is under way.
    pub(crate) fn on_answer(&mut self, now: Instant, answer: Answer) -> Told {
        let Some((request, _)) = self.flight.take() else {
            log::warn!("vault: an answer to nothing [{}]", code::VAULT);
            return Told::Nothing;
        };
        match (request, answer) {
            (Request::Status, Answer::Status(status)) => self.on_status(now, status),
            (Request::Public(name), Answer::Public { key, tpm }) => {
                *self.key(name) = Some(Public { key: key.to_vec(), tpm: tpm.to_vec() });
                self.completed()
            }
            (Request::Kept, Answer::Kept { note }) => {
                self.note = Some(note.to_vec());
                self.completed()
            }
            (Request::Quote { .. }, Answer::Quote { attest, r, s }) => self.on_quote(&attest, &r, &s),
            (Request::Pcrs, Answer::Pcrs(values)) => self.on_pcrs(&values),
            (Request::Ecdh { peer }, Answer::Shared(x, y)) => Told::Shared(peer.to_vec(), Some((x, y))),
            (Request::Escrow, Answer::Escrow(Escrowed { encrypted, digest })) => {
                Told::Escrow(Escrow::Ready(EscrowedKey { encrypted: encrypted.to_vec(), digest }))
            }
            (Request::Keep { note }, Answer::Done) => {
                self.keeping = None;
                self.note = Some(note.to_vec());
                Told::Keys
            }
            (Request::StartAnew | Request::Recover(_), Answer::Done) => {
                self.look();
                Told::Nothing
            }
            (request, answer) => self.on_refusal(now, &request, answer),
        }
    }

    fn on_status(&mut self, now: Instant, status: Status) -> Told {
        let first = !self.complete;
        match status.tpm {
            Tpm::Failed => self.again = Some(now.after(AGAIN)),
            Tpm::None if first => self.want_all(&[KeyName::Device, KeyName::Ecdh]),
            Tpm::Ready if first => {
                self.want_all(&[KeyName::Device, KeyName::Ecdh, KeyName::Quote, KeyName::Endorsement])
            }
            Tpm::None | Tpm::Ready => {}
        }
        self.complain(&status);
        self.status = Some(status);
        Told::Status
    }

    /// Says what is wrong, once.
    fn complain(&mut self, status: &Status) {
        let complaint = Complaint::of(status);
        if let Some(complaint) = complaint.as_ref().filter(|_| complaint != self.complaint) {
            log::warn!("vault: {}", complaint.told());
        }
        self.complaint = complaint;
    }

    fn want_all(&mut self, names: &[KeyName]) {
        for &name in names {
            self.want(Request::Public(name));
        }
        self.want(Request::Kept);
    }

    fn key(&mut self, name: KeyName) -> &mut Option<Public> {
        match name {
            KeyName::Device => &mut self.keys.device,
            KeyName::Quote => &mut self.keys.quote,
            KeyName::Ecdh => &mut self.keys.ecdh,
            KeyName::Endorsement => &mut self.keys.endorsement,
        }
    }

    /// Whether keys and note have become complete: the note is asked for last. What the vault could not tell now is
    /// asked again before: without a key, or without the note, the certificates would be others.
    fn completed(&mut self) -> Told {
        if self.complete
            || self.note.is_none()
            || self.wanted.contains(&Request::Kept)
            || self.again.is_some()
        {
            return Told::Nothing;
        }
        if self.keys.device.is_none() {
            return Told::Nothing;
        }
        self.complete = true;
        if self.has_tpm() {
            self.want(Request::Escrow);
        }
        Told::Keys
    }

    fn ask_quote(&mut self) {
        let Some(quoting) = &mut self.quoting else { return };
        quoting.tries += 1;
        // The controller's nonces have at most 32 bytes.
        let nonce = heapless::Vec::from_slice(&quoting.nonce).unwrap_or_default();
        self.want(Request::Quote { nonce });
    }

    fn on_quote(&mut self, attest: &[u8], r: &[u8; 32], s: &[u8; 32]) -> Told {
        let Some(quoting) = &mut self.quoting else { return Told::Nothing };
        let Some(signature) = issue::quote_signature(r, s).filter(|_| !attest.is_empty()) else {
            self.quoting = None;
            return Told::Quote(Err("its quote has no signature".into()));
        };
        quoting.attest = attest.to_vec();
        quoting.signature = signature;
        self.want(Request::Pcrs);
        Told::Nothing
    }

    /// Values that something was measured into after the quote do not fit it: then it is asked again.
    fn on_pcrs(&mut self, values: &[[u8; 32]]) -> Told {
        let Some(quoting) = self.quoting.take() else { return Told::Nothing };
        if !is_about(&quoting.attest, values) {
            if quoting.tries >= QUOTES {
                return Told::Quote(Err("its quote is about other values than its PCRs have".into()));
            }
            self.quoting = Some(quoting);
            self.ask_quote();
            return Told::Nothing;
        }
        let Quoting { attest, signature, .. } = quoting;
        Told::Quote(Ok(TpmQuote { attest, signature, pcrs: values.to_vec(), event_log: Vec::new() }))
    }

    fn on_refusal(&mut self, now: Instant, request: &Request, answer: Answer) -> Told {
        let (refusal, reason) = match answer {
            Answer::Refused { refusal, reason } => (Some(refusal), reason.to_string()),
            _ => (None, "it answers something else".into()),
        };
        match request {
            Request::Escrow if refusal == Some(Refusal::NoTpm) => Told::Escrow(Escrow::None),
            Request::Escrow => {
                if matches!(refusal, Some(Refusal::Busy | Refusal::Tpm)) {
                    self.again = Some(now.after(AGAIN));
                }
                Told::Escrow(Escrow::Pending)
            }
            Request::Quote { .. } | Request::Pcrs => {
                self.quoting = None;
                Told::Quote(Err(reason))
            }
            Request::Ecdh { peer } => {
                log::warn!("vault: no key for encrypted secrets: {reason} [{}]", code::VAULT);
                Told::Shared(peer.to_vec(), None)
            }
            Request::Recover(_) | Request::StartAnew => {
                log::warn!("vault: the storage stays locked: {reason} [{}]", code::VAULT_LOCKED);
                if matches!(refusal, Some(Refusal::Busy | Refusal::Tpm)) {
                    self.again = Some(now.after(AGAIN));
                    self.unlocking = Some(request.clone());
                }
                Told::Nothing
            }
            // Without a TPM keys and note come with the storage, of which it tells by a change.
            Request::Public(_) | Request::Kept if refusal == Some(Refusal::Busy) => {
                self.again = Some(now.after(AGAIN));
                Told::Nothing
            }
            Request::Public(KeyName::Quote | KeyName::Endorsement) if refusal == Some(Refusal::NoTpm) => {
                log::warn!("vault: {request:?}: {reason} [{}]", code::VAULT);
                Told::Nothing
            }
            // A note that cannot be read now is no empty note: with other certificates this would be another device.
            Request::Kept => {
                log::warn!(
                    "vault: it does not give the note of the certificates: {reason} [{}]",
                    code::VAULT
                );
                self.note = None;
                self.again = Some(now.after(AGAIN));
                Told::Nothing
            }
            Request::Keep { .. } => {
                self.not_kept(now, refusal, reason);
                Told::Nothing
            }
            Request::Status | Request::Public(_) | Request::Sign { .. } => {
                log::warn!("vault: {request:?}: {reason} [{}]", code::VAULT);
                self.again = Some(now.after(AGAIN));
                Told::Nothing
            }
        }
    }

    fn want(&mut self, request: Request) {
        if !self.wanted.contains(&request) {
            self.wanted.push_back(request);
        }
    }
}

/// A request as a person is told of it, without what it carries.
fn named(request: &Request) -> &'static str {
    match request {
        Request::Status => "the question for its state",
        Request::Public(_) => "the question for a key",
        Request::Sign { .. } => "a digest to be signed",
        Request::Quote { .. } => "a nonce to be quoted",
        Request::Pcrs => "the question for PCRs",
        Request::Ecdh { .. } => "a point to agree on",
        Request::Escrow => "the question for the escrow",
        Request::Recover(_) => "an escrow that was given back",
        Request::Keep { .. } => "a note to be kept",
        Request::Kept => "the question for the note",
        Request::StartAnew => "the wish to start anew",
    }
}

/// Whether a quote is about these values: the digest that ends `TPMS_ATTEST` is over the values of the quoted
/// PCRs.
fn is_about(attest: &[u8], values: &[[u8; 32]]) -> bool {
    let (Some(quoted), Some(digest)) = (values.get(..QUOTED), attest.last_chunk::<32>()) else {
        return false;
    };
    Sha256::digest(quoted.concat())[..] == digest[..]
}

#[cfg(test)]
mod tests;
