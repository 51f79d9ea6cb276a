//! The vault: what each channel may ask, and what it is answered.
//!
//! ```text
//!   the TPM:      New -> Absent
//!                  |---> Awake -(keys)-> Ready
//!                  |       |              |
//!                  +-------+--------------+---> Failed, with a reason; tried again, ever more rarely
//!   the storage:  Unknown -Open-> Keeping -Kept-> Open        a key that is new or sealed anew is kept first
//!                           |---> Open                        it opens
//!                           |---> Locked -Recover-> Keeping   it does not, with a reason
//!                                 Locked -time----> Open      the TPM has put it off: tried ever more rarely;
//!                                                             or it says that it never does: a few times
//! ```
//!
//! dom0 is served as soon as the TPM is awake, for it holds up other domains until it was. The keys are looked at
//! when somebody else asks, or when nobody does: to make them takes a chip long, and then only the first time.
//!
//! One request is worked on at a time, whichever channel it came by; [`crate::turns`] says whose turn it is.

#![expect(
    clippy::result_large_err,
    reason = "the vault has no heap, and a refusal is copied once into its answer"
)]

use core::{fmt, fmt::Write as _, time::Duration};

use heapless::{Deque, String, Vec};
use p256::PublicKey;
use proto_svc::{
    measure,
    sealing::{self, MAX_KEPT, MAX_SEALED, StorageKey},
    text::clipped,
    vault::{self, Answer, Escrowed, KeyName, MAX_REASON, Refusal, Request, Sealing, Status},
};
use proto_tpm::{
    Aes256Cfb,
    key::{MODULUS, Role},
    pcr::Selection,
    rc::{Meaning, ResponseCode},
};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use crate::{
    budget::Writes,
    chip::{self, Awake, Chip, Unsealed, Unusable},
    record::{self, Clear, Sealed},
    software::{self, Keys, Point},
    tpm::{Link, NoAnswer, Random, Tpm, Trouble},
};

/// The first and the longest time between two attempts to bring up a TPM that cannot be used.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The same for a key of the storage that a TPM which works does not give now, as in a lock-out.
const OPEN_AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// How often a TPM has to say that it never gives that key, one time after the other, before it is believed: a bit that
/// fell over on its way there makes it say so, too, and what is believed may cost all that is stored.
const NEVER: u8 = 4;

/// What is said of a storage without a TPM.
const BESIDE: &str = "it lies in the clear beside what it encrypts, software's keys too: it protects nothing";
const _: () = assert!(BESIDE.len() <= MAX_REASON);

/// What is said of a storage whose key was in the clear where there is a TPM.
const DROPPED: &str = "what lay there had its key in the clear, is not believed with a TPM, and was dropped";
const _: () = assert!(DROPPED.len() <= MAX_REASON);

/// Something that a person may want to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The TPM works.
    Up {
        /// What it is.
        about: String<MAX_REASON>,
        /// Whether the start was measured.
        measured: bool,
    },
    /// Its keys were found, or made.
    Keys {
        /// The front of the hash of the device's public key, by which a person knows the device again.
        device: [u8; 4],
    },
    /// There is none.
    NoTpm,
    /// It cannot be used.
    Failed(Unusable),
    /// The storage has its key.
    Opened {
        /// Whether a TPM has sealed it.
        protected: bool,
    },
    /// The storage gets a first key, or another one.
    New {
        /// Whether a TPM seals it.
        protected: bool,
    },
    /// The key of the storage was in the clear, and there is a TPM: it is not believed, what was stored under it is
    /// dropped, and the storage gets another one, which is sealed.
    NotBelieved,
    /// The key of the storage was sealed to the measurements of now.
    Resealed,
    /// The storage's key cannot be had.
    Locked {
        /// Why.
        reason: String<MAX_REASON>,
    },
    /// The storage did not keep what it was given.
    NotKept,
    /// Control asks too often for its note to be written; told once until one is written again.
    TooManyWrites {
        /// How many were refused in this life of the vault.
        refused: u32,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Up { about, .. } => write!(f, "TPM {about}"),
            Self::Keys { device } => {
                write!(f, "TPM has the keys of device {:08x}", u32::from_be_bytes(*device))
            }
            Self::NoTpm => write!(f, "no TPM: keys are software's"),
            Self::Failed(unusable) => write!(f, "TPM of no use: {unusable}"),
            Self::Opened { protected: true } => write!(f, "key of the storage: open"),
            Self::Opened { protected: false } => write!(f, "key of the storage: open; {BESIDE}"),
            Self::New { protected: true } => write!(f, "key of the storage: a new one, sealed"),
            Self::New { protected: false } => {
                write!(f, "key of the storage: a new one; {BESIDE}")
            }
            Self::NotBelieved => write!(f, "key of the storage: a new one, sealed; {DROPPED}"),
            Self::Resealed => write!(f, "key of the storage: sealed to the measurements of now"),
            Self::Locked { reason } => write!(f, "key of the storage: locked: {reason}"),
            Self::NotKept => write!(f, "key of the storage: was not kept"),
            Self::TooManyWrites { refused } => {
                write!(f, "note of control: too many writes; refused so far: {refused}")
            }
        }
    }
}

/// How the TPM stands.
#[expect(clippy::large_enum_variant, reason = "there is one, and the vault has no heap")]
enum State {
    New,
    Absent,
    Awake(Awake),
    Ready(Chip),
    Failed { why: Unusable, again: Duration },
}

/// How the storage's key stands.
enum Stored {
    /// The storage did not ask yet.
    Unknown,
    /// The storage is to keep something first.
    Keeping { key: StorageKey, fresh: bool, keys: Option<Keys>, note: &'static str },
    /// It has its key. What a person should know of that, if there is something.
    Open { key: StorageKey, note: &'static str },
    /// There is no key for it. When it is tried again; none if that would help nothing.
    Locked { reason: String<MAX_REASON>, changed: Selection, again: Option<Duration> },
}

/// Why the storage's key does not open.
struct NotOpen {
    reason: String<MAX_REASON>,
    /// PCRs that have other values than when it was sealed.
    changed: Selection,
    /// Whether it may open the next time.
    later: bool,
}

impl NotOpen {
    fn never(reason: impl fmt::Display) -> Self {
        Self { reason: told(reason), changed: Selection::from_bits(0), later: false }
    }

    fn now(reason: impl fmt::Display) -> Self {
        Self { later: true, ..Self::never(reason) }
    }
}

/// What went wrong with the TPM may go right the next time.
impl From<No> for NotOpen {
    fn from(No(_, reason): No) -> Self {
        Self::now(reason)
    }
}

/// What lies on the disk.
#[derive(Default)]
struct OnDisk {
    sealed: Vec<u8, MAX_SEALED>,
    kept: Vec<u8, MAX_KEPT>,
}

impl Drop for OnDisk {
    fn drop(&mut self) {
        self.sealed.zeroize();
        self.kept.zeroize();
    }
}

/// Wipes a key that goes away.
struct Wiped<'a>(&'a mut StorageKey);

impl Drop for Wiped<'_> {
    fn drop(&mut self) {
        self.0.0.zeroize();
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        match self {
            Self::Keeping { key, .. } | Self::Open { key, .. } => drop(Wiped(key)),
            Self::Unknown | Self::Locked { .. } => {}
        }
    }
}

/// The vault.
pub struct Vault<T, R> {
    link: Option<Link<T>>,
    random: R,
    /// Whether the provisioning allows that a key which nobody has any more is replaced; none before dom0 has told.
    may_start_anew: Option<bool>,
    state: State,
    stored: Stored,
    /// What the storage has said; none before it did.
    disk: Option<OnDisk>,
    /// What it was told to write in its place.
    writing: Option<OnDisk>,
    /// Software's keys, once they are kept; and the note of control, with them.
    keys: Option<Keys>,
    to_storage: Deque<sealing::FromVault, 2>,
    events: Deque<Event, 8>,
    /// How long a TPM that fails next is left alone, and why the last one did.
    wait: Duration,
    failure: Option<Unusable>,
    /// How long a key that does not open next is left alone.
    open_wait: Duration,
    /// How often the TPM has said in a row that it never opens.
    nevers: u8,
    changed: bool,
    /// Writes that control may still ask for, and whether it is known that it asks for more.
    writes: Writes,
    too_many_told: bool,
    /// The storage did not keep the last note, and control was not told yet.
    note_lost: bool,
}

/// Why a request is not done.
struct No(Refusal, String<MAX_REASON>);

impl No {
    fn because(refusal: Refusal, reason: impl fmt::Display) -> Self {
        Self(refusal, told(reason))
    }
}

impl From<Trouble> for No {
    fn from(trouble: Trouble) -> Self {
        let refusal = match trouble {
            Trouble::Refused { rc, .. } if matches!(rc.meaning(), Meaning::LockedOut | Meaning::Retry) => {
                Refusal::Busy
            }
            _ => Refusal::Tpm,
        };
        Self::because(refusal, trouble)
    }
}

/// Text, cut where there is no more room.
fn told(text: impl fmt::Display) -> String<MAX_REASON> {
    let mut whole = String::<256>::new();
    // What does not fit even here is no sentence of ours.
    let _ = write!(whole, "{text}");
    clipped(&whole)
}

impl<T: Tpm, R: Random> Vault<T, R> {
    /// A vault that was not started yet; without a TPM if the wiring has none.
    pub fn new(tpm: Option<T>, random: R) -> Self {
        Self {
            link: tpm.map(Link::new),
            random,
            may_start_anew: None,
            state: State::New,
            stored: Stored::Unknown,
            disk: None,
            writing: None,
            keys: None,
            to_storage: Deque::new(),
            events: Deque::new(),
            wait: AGAIN.0,
            failure: None,
            open_wait: OPEN_AGAIN.0,
            nevers: 0,
            changed: false,
            writes: Writes::default(),
            too_many_told: false,
            note_lost: false,
        }
    }

    /// Wakes the TPM up, when that is due. Every request does it.
    pub async fn start(&mut self, now: Duration) {
        let first = match self.state {
            State::New => true,
            State::Failed { again, .. } if now >= again => false,
            State::Failed { .. } | State::Absent | State::Awake(_) | State::Ready(_) => return,
        };
        let Some(link) = &mut self.link else {
            self.tell(Event::NoTpm);
            self.state = State::Absent;
            return;
        };
        match chip::wake(link).await {
            Ok(awake) => {
                self.tell(Event::Up { about: awake.about.clone(), measured: awake.measured });
                self.state = State::Awake(awake);
            }
            // One that has been there does not go: then it has failed.
            Err(why) if first && why.is_absent() => {
                self.tell(Event::NoTpm);
                self.state = State::Absent;
            }
            Err(why) => self.fail(now, why),
        }
    }

    /// The same, and finds the keys or makes them, and opens the storage's key when that is due again. Every request
    /// of control and the storage does it.
    pub async fn complete(&mut self, now: Duration) {
        self.start(now).await;
        let settled = matches!(self.state, State::Ready(_) | State::Absent);
        if settled && self.opens_again().is_some_and(|again| again <= now) {
            self.open(now).await;
        }
        let (State::Awake(awake), Some(link)) = (&self.state, &mut self.link) else { return };
        match chip::find_keys(link, &mut self.random, awake.clone()).await {
            Ok(chip) => {
                let hash: [u8; 32] = Sha256::digest(software::sec1(&chip.device)).into();
                let [a, b, c, d, ..] = hash;
                self.tell(Event::Keys { device: [a, b, c, d] });
                self.state = State::Ready(chip);
                self.wait = AGAIN.0;
                self.failure = None;
                self.changed = true;
                if matches!(self.stored, Stored::Locked { .. }) {
                    self.open(now).await;
                }
            }
            Err(why) => self.fail(now, why),
        }
    }

    /// Whether [`Vault::complete`] has something to do that nobody has asked for yet.
    pub fn has_more(&self) -> bool {
        matches!(self.state, State::Awake(_))
    }

    /// When [`Vault::complete`] has something to do that nobody has asked for.
    pub fn deadline(&self) -> Option<Duration> {
        match self.state {
            State::Failed { again, .. } => Some(again),
            State::Ready(_) | State::Absent => self.opens_again(),
            State::New | State::Awake(_) => None,
        }
    }

    /// When the storage's key is tried again.
    fn opens_again(&self) -> Option<Duration> {
        match self.stored {
            Stored::Locked { again, .. } => again,
            Stored::Unknown | Stored::Keeping { .. } | Stored::Open { .. } => None,
        }
    }

    fn fail(&mut self, now: Duration, why: Unusable) {
        if self.failure != Some(why) {
            self.tell(Event::Failed(why));
        }
        self.failure = Some(why);
        self.state = State::Failed { why, again: now + self.wait };
        self.wait = (self.wait * 2).min(AGAIN.1);
    }

    /// What is to be said to the storage next.
    pub fn take_for_storage(&mut self) -> Option<sealing::FromVault> {
        self.to_storage.pop_front()
    }

    /// Whether control is to be told that something has changed.
    pub fn take_changed(&mut self) -> bool {
        core::mem::take(&mut self.changed)
    }

    /// What is to be logged next.
    pub fn take_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The storage has ended; the next one asks anew.
    pub fn storage_gone(&mut self) {
        self.note_lost = false;
        self.nevers = 0;
        self.stored = Stored::Unknown;
        self.disk = None;
        self.writing = None;
        self.to_storage.clear();
    }

    /// How it stands.
    pub fn status(&self) -> Status {
        let (tpm, about) = match &self.state {
            State::New => (vault::Tpm::Failed, told("the TPM was not looked at yet")),
            State::Absent => (vault::Tpm::None, told(Event::NoTpm)),
            State::Awake(awake) => (vault::Tpm::Ready, awake.about.clone()),
            State::Ready(chip) => (vault::Tpm::Ready, chip.about.clone()),
            State::Failed { why, .. } => (vault::Tpm::Failed, told(why)),
        };
        let (sealing, reason, changed) = match &self.stored {
            Stored::Unknown => (Sealing::Unknown, String::new(), 0),
            Stored::Keeping { .. } => (Sealing::Unknown, told("the storage is writing"), 0),
            Stored::Open { note, .. } => (Sealing::Open, told(note), 0),
            Stored::Locked { reason, changed, .. } => (Sealing::Locked, reason.clone(), changed.bits()),
        };
        Status { tpm, about, sealing, reason, changed, writes_refused: self.writes.refused() }
    }

    /// Answers dom0. Nothing for its greeting, and for what it only tells.
    pub async fn measure(&mut self, now: Duration, asked: measure::ToVault) -> Option<measure::FromVault> {
        use measure::{FromVault as F, Refusal, ToVault};
        self.start(now).await;
        let (number, pcr) = match asked {
            ToVault::Hello { .. } => return None,
            ToVault::Provisioned { may_start_anew } => {
                self.may_start_anew = Some(may_start_anew);
                return None;
            }
            ToVault::Extend { number, pcr, .. } | ToVault::Read { number, pcr } => (number, pcr),
        };
        let refused = |refusal| Some(F::Refused { number, refusal });
        let allowed = match asked {
            ToVault::Extend { .. } => measure::PCRS.contains(&pcr),
            ToVault::Hello { .. } | ToVault::Provisioned { .. } | ToVault::Read { .. } => {
                Selection::ALL.contains(pcr.into())
            }
        };
        if !allowed {
            return refused(Refusal::Pcr);
        }
        let link = match (&self.state, &mut self.link) {
            (State::Awake(_) | State::Ready(_), Some(link)) => link,
            (State::Absent, _) | (_, None) => return refused(Refusal::NoTpm),
            (State::Failed { why, .. }, _) => return refused(dom0_refusal(why)),
            (State::New, _) => return refused(Refusal::Silent),
        };
        let done = match asked {
            ToVault::Extend { digest, .. } => {
                chip::extend(link, pcr, &digest).await.map(|()| F::Extended { number })
            }
            ToVault::Hello { .. } | ToVault::Provisioned { .. } | ToVault::Read { .. } => {
                chip::read_pcr(link, pcr).await.map(|value| F::Value { number, value })
            }
        };
        match done {
            Ok(answer) => Some(answer),
            Err(trouble) => {
                self.notice(now, &trouble);
                refused(dom0_refusal(&Unusable::Trouble(trouble)))
            }
        }
    }

    /// Hears what the storage says; [`Vault::take_for_storage`] has what is to be said to it.
    pub async fn storage(&mut self, now: Duration, said: sealing::ToVault) {
        use sealing::ToVault;
        self.complete(now).await;
        match said {
            ToVault::Hello { .. } => {}
            ToVault::Open { sealed, kept } => {
                self.storage_gone();
                self.disk = Some(OnDisk { sealed, kept });
                self.open(now).await;
            }
            ToVault::Kept => self.kept(),
            ToVault::NotKept => self.not_kept(now),
        }
    }

    /// Answers control.
    pub async fn control(&mut self, now: Duration, request: Request) -> Answer {
        self.complete(now).await;
        match self.answer(now, request).await {
            Ok(answer) => answer,
            Err(No(refusal, reason)) => Answer::Refused { refusal, reason },
        }
    }

    async fn answer(&mut self, now: Duration, request: Request) -> Result<Answer, No> {
        match request {
            Request::Status => Ok(Answer::Status(self.status())),
            Request::Public(name) => self.public(name),
            Request::Sign { digest } => {
                let (r, s) = match self.signer()? {
                    Holder::Tpm(link, chip) => {
                        let signed = chip::sign(link, chip, &digest).await;
                        self.noticing(now, signed)?
                    }
                    Holder::Software(keys) => keys.sign(&digest),
                };
                Ok(Answer::Signature(r, s))
            }
            Request::Quote { nonce } => {
                let (link, _) = self.chip()?;
                let quoted = chip::quote(link, &nonce).await.map(|(attested, signature)| {
                    (Vec::from_slice(attested).expect("no longer than its bound"), signature)
                });
                let (attest, (r, s)) = self.noticing(now, quoted)?;
                Ok(Answer::Quote { attest, r, s })
            }
            Request::Pcrs => {
                let (link, _) = self.chip()?;
                let read = chip::read_pcrs(link).await;
                let values = self.noticing(now, read)?;
                Ok(Answer::Pcrs(Vec::from_array(values)))
            }
            Request::Ecdh { peer } => self.ecdh(now, &peer).await,
            Request::Escrow => self.escrow(now).await,
            Request::Recover(escrowed) => self.recover(now, &escrowed).await,
            Request::Keep { note } => self.keep(now, &note).await,
            Request::Kept => self.note(now).await,
            Request::StartAnew => self.start_anew(now).await,
        }
    }

    /// The TPM, or why there is none to be used.
    fn chip(&mut self) -> Result<(&mut Link<T>, &Chip), No> {
        match (&self.state, &mut self.link) {
            (State::Ready(chip), Some(link)) => Ok((link, chip)),
            (State::Absent, _) | (_, None) => Err(No::because(Refusal::NoTpm, "there is no TPM")),
            (State::Failed { why, .. }, _) => Err(No::because(Refusal::Tpm, why)),
            (State::New | State::Awake(_), _) => {
                Err(No::because(Refusal::Busy, "the TPM was not looked at yet"))
            }
        }
    }

    /// Who has the device's key.
    fn signer(&mut self) -> Result<Holder<'_, T>, No> {
        if !matches!(self.state, State::Absent) {
            return self.chip().map(|(link, chip)| Holder::Tpm(link, chip));
        }
        match (&self.keys, &self.stored) {
            (Some(keys), _) => Ok(Holder::Software(keys)),
            (None, Stored::Locked { reason, .. }) => Err(No(Refusal::Locked, reason.clone())),
            (None, _) => {
                Err(No::because(Refusal::Busy, "the keys lie with the storage, which is not there yet"))
            }
        }
    }

    fn public(&mut self, name: KeyName) -> Result<Answer, No> {
        let answer = |key: &[u8], tpm: &[u8]| Answer::Public {
            key: Vec::from_slice(key).expect("within its bound"),
            tpm: Vec::from_slice(tpm).expect("within its bound"),
        };
        let (role, key) = match (self.signer()?, name) {
            (Holder::Tpm(_, chip), KeyName::Device) => (Role::Device, chip.device),
            (Holder::Tpm(_, chip), KeyName::Quote) => (Role::Quote, chip.quote),
            (Holder::Tpm(_, chip), KeyName::Ecdh) => (Role::Ecdh, chip.ecdh),
            (Holder::Tpm(_, chip), KeyName::Endorsement) => {
                let area = Role::Endorsement.public_of_modulus(&chip.endorsement);
                return Ok(answer(&chip.endorsement, sized(area.as_slice()).as_slice()));
            }
            (Holder::Software(keys), KeyName::Device) => {
                return Ok(answer(&software::sec1(&keys.device()), &[]));
            }
            (Holder::Software(keys), KeyName::Ecdh) => return Ok(answer(&software::sec1(&keys.ecdh()), &[])),
            (Holder::Software(_), KeyName::Quote | KeyName::Endorsement) => {
                return Err(No::because(Refusal::NoTpm, "software has no such key"));
            }
        };
        let area = role.public_of_point(&key.0, &key.1);
        Ok(answer(&software::sec1(&key), sized(area.as_slice()).as_slice()))
    }

    async fn ecdh(&mut self, now: Duration, peer: &[u8]) -> Result<Answer, No> {
        let none = || No::because(Refusal::Point, "the peer's key is no point of P-256");
        let peer = PublicKey::from_sec1_bytes(peer).map_err(|_| none())?;
        let point = software::coordinates(&peer);
        let own = |key: &Point| key.0 == point.0;
        let refused = || No::because(Refusal::Point, "the point is one of the device's own keys");
        let (x, y) = match self.signer()? {
            Holder::Tpm(link, chip) => {
                if [&chip.device, &chip.ecdh, &chip.quote].into_iter().any(own) {
                    return Err(refused());
                }
                let shared = chip::share(link, &point).await;
                self.noticing(now, shared)?
            }
            Holder::Software(keys) => {
                if own(&keys.device()) || own(&keys.ecdh()) {
                    return Err(refused());
                }
                keys.shared(&peer)
            }
        };
        Ok(Answer::Shared(x, y))
    }

    /// The key that escrows a storage key with this digest.
    async fn escrow_key(&mut self, now: Duration, digest: &[u8; 32]) -> Result<Zeroizing<[u8; 32]>, No> {
        let (link, _) = self.chip()?;
        let point = chip::escrow_point(link).await;
        let (x, y) = self.noticing(now, point)?;
        let (x, y) = (Zeroizing::new(x), Zeroizing::new(y));
        let mut key = Zeroizing::new([0; 32]);
        let hash = Sha256::new().chain_update(x.as_slice()).chain_update(y.as_slice()).chain_update(digest);
        key.copy_from_slice(&hash.finalize());
        Ok(key)
    }

    async fn escrow(&mut self, now: Duration) -> Result<Answer, No> {
        self.chip()?;
        let Stored::Open { key, .. } = &self.stored else {
            return Err(No::because(Refusal::Locked, "the storage does not have its key"));
        };
        let mut encrypted = Zeroizing::new(key.0);
        let digest: [u8; 32] = Sha256::digest(*encrypted).into();
        let escrow_key = self.escrow_key(now, &digest).await?;
        Aes256Cfb::new(&escrow_key, &[0; 16]).encrypt(&mut *encrypted);
        let encrypted = Vec::from_slice(&*encrypted).expect("32 bytes");
        Ok(Answer::Escrow(Escrowed { encrypted, digest }))
    }

    async fn recover(&mut self, now: Duration, escrowed: &Escrowed) -> Result<Answer, No> {
        self.chip()?;
        let not_ours =
            || No::because(Refusal::Escrow, "what was escrowed is not by this vault, or was changed");
        let mut key = Zeroizing::new([0; 32]);
        let encrypted = escrowed.encrypted.as_slice().try_into().map_err(|_| not_ours())?;
        *key = encrypted;
        let escrow_key = self.escrow_key(now, &escrowed.digest).await?;
        Aes256Cfb::new(&escrow_key, &[0; 16]).decrypt(&mut *key);
        if <[u8; 32]>::from(Sha256::digest(*key)) != escrowed.digest {
            return Err(not_ours());
        }
        match &self.stored {
            Stored::Unknown => return Err(No::because(Refusal::Busy, "the storage did not ask yet")),
            Stored::Open { key: has, .. } | Stored::Keeping { key: has, .. } if has.0 == *key => {
                return Ok(Answer::Done);
            }
            Stored::Open { .. } | Stored::Keeping { .. } => {
                return Err(No::because(Refusal::Escrow, "the storage has another key, and it opens"));
            }
            Stored::Locked { .. } => {}
        }
        let disk = self.disk.as_ref().expect("a storage that is locked has asked");
        let was_measured = match Sealed::parse(&disk.sealed) {
            Ok(Sealed::Tpm(before)) => before.measured_start(&key).ok_or_else(|| {
                No::because(Refusal::Escrow, "what was escrowed is the key of another storage")
            })?,
            // What cannot be read says nothing against a key that is ours. But whoever writes the disk can spoil a
            // record, and must not have the key sealed to a start that is not measured by that.
            Ok(Sealed::Clear(_)) | Err(_) => true,
        };
        let (link, _) = self.chip()?;
        let values = chip::read_pcrs(link).await;
        let measured = chip::is_measured(&self.noticing(now, values)?);
        if was_measured && !measured {
            let reason =
                "the key was sealed to a measured start, or nobody knows, and this one is not measured";
            return Err(No::because(Refusal::Forbidden, reason));
        }
        self.seal_and_keep(now, &key, false, "").await?;
        self.tell(Event::Resealed);
        Ok(Answer::Done)
    }

    async fn start_anew(&mut self, now: Duration) -> Result<Answer, No> {
        match self.may_start_anew {
            Some(true) => {}
            Some(false) => return Err(No::because(Refusal::Forbidden, "the provisioning does not allow it")),
            None => {
                return Err(No::because(Refusal::Busy, "dom0 has not told what the provisioning allows"));
            }
        }
        match &self.stored {
            Stored::Unknown => return Err(No::because(Refusal::Busy, "the storage did not ask yet")),
            Stored::Keeping { fresh: true, .. } => return Ok(Answer::Done),
            Stored::Open { .. } | Stored::Keeping { .. } => {
                return Err(No::because(Refusal::Forbidden, "the storage has its key"));
            }
            Stored::Locked { again: Some(_), .. } => {
                return Err(No::because(Refusal::Busy, "the TPM may give the storage's key yet"));
            }
            Stored::Locked { again: None, .. } => {}
        }
        let (link, random) = match (&self.state, &mut self.link) {
            (State::Ready(_), Some(link)) => (link, &mut self.random),
            _ => return self.chip().map(|_| Answer::Done),
        };
        let key = chip::new_key(link, random).await;
        let key = self.noticing(now, key)?;
        self.seal_and_keep(now, &key, true, "").await?;
        self.tell(Event::New { protected: true });
        Ok(Answer::Done)
    }

    async fn keep(&mut self, now: Duration, note: &[u8]) -> Result<Answer, No> {
        if !matches!(self.state, State::Absent) {
            let (link, _) = self.chip()?;
            let read = chip::read_note(link).await;
            if self.noticing(now, read)?.as_slice() == note {
                return Ok(Answer::Done);
            }
            self.spend_write(now)?;
            let (link, _) = self.chip()?;
            let written = chip::write_note(link, note).await;
            self.noticing(now, written)?;
            return Ok(Answer::Done);
        }
        let writing = || No::because(Refusal::Busy, "the storage is writing it");
        let (key, disk) = match (&self.stored, &self.disk) {
            (Stored::Open { key, .. }, Some(disk)) => (key, disk),
            (Stored::Keeping { .. }, _) => return Err(writing()),
            (Stored::Open { .. } | Stored::Unknown | Stored::Locked { .. }, _) => {
                return Err(No::because(Refusal::Locked, "the storage is not open"));
            }
        };
        let clear = Clear { key: key.0, note: Vec::from_slice(note).expect("within its bound") };
        let disk = OnDisk { sealed: Sealed::Clear(clear).emit(), kept: disk.kept.clone() };
        if self.disk.as_ref().is_some_and(|before| before.sealed == disk.sealed) {
            return Ok(Answer::Done);
        }
        if core::mem::take(&mut self.note_lost) {
            return Err(No::because(Refusal::NotKept, "the storage did not keep it"));
        }
        self.spend_write(now)?;
        if let &Stored::Open { key: StorageKey(key), note } = &self.stored {
            let keeping = Stored::Keeping { key: StorageKey(key), fresh: false, keys: None, note };
            self.write(disk, keeping, false);
        }
        Err(writing())
    }

    /// Takes a write out of what control may ask for.
    fn spend_write(&mut self, now: Duration) -> Result<(), No> {
        let taken = self.writes.take(now);
        if taken.is_err() && !self.too_many_told {
            self.tell(Event::TooManyWrites { refused: self.writes.refused() });
        }
        self.too_many_told = taken.is_err();
        taken.map_err(|wait| {
            let reason = format_args!("too many writes; the next one in {} s", wait.as_secs());
            No::because(Refusal::TooManyWrites, reason)
        })
    }

    async fn note(&mut self, now: Duration) -> Result<Answer, No> {
        if !matches!(self.state, State::Absent) {
            let (link, _) = self.chip()?;
            let read = chip::read_note(link).await;
            return Ok(Answer::Kept { note: self.noticing(now, read)? });
        }
        self.signer()?;
        let sealed = self.disk.as_ref().map(|disk| Sealed::parse(&disk.sealed));
        match sealed {
            Some(Ok(Sealed::Clear(clear))) => Ok(Answer::Kept { note: clear.note.clone() }),
            _ => Err(No::because(Refusal::Busy, "the note lies with the storage, which is not there yet")),
        }
    }

    /// Opens what lies on the disk, makes the first key, or says why not.
    async fn open(&mut self, now: Duration) {
        let opened = match self.state {
            State::Ready(_) => self.open_by_tpm(now).await,
            State::Absent => self.open_in_the_clear(),
            State::New | State::Awake(_) => Err(NotOpen::now("the TPM was not looked at yet")),
            State::Failed { ref why, .. } => Err(NotOpen::now(why)),
        };
        if let Err(why) = opened {
            self.lock(now, why);
        }
    }

    async fn open_by_tpm(&mut self, now: Duration) -> Result<(), NotOpen> {
        let disk = self.disk.as_ref().expect("it is opened when the storage has asked");
        let (State::Ready(chip), Some(link)) = (&self.state, &mut self.link) else {
            return Err(NotOpen::now("the TPM is not ready"));
        };
        let sealed = match disk.sealed.as_slice() {
            [] => None,
            bytes => Some(Sealed::parse(bytes).map_err(unreadable)?),
        };
        let sealed = match sealed {
            Some(Sealed::Tpm(sealed)) => sealed,
            // 1. Whoever writes the disk puts there a store of their making, under a key that they have, and the key in
            //    the clear, as it is where there is no TPM.
            // 2. Sealed now, to the measurements of a start that is all right, it would be the device's: what they
            //    planted would be believed, and all that is kept from then on would be theirs to read.
            // So it goes, with what it encrypts, as when they had emptied the partition. No device loses by that what
            // was its own: without a TPM it was another one, with software's keys.
            none_or_clear => {
                let (note, event) = match none_or_clear {
                    None => ("", Event::New { protected: true }),
                    Some(_) => (DROPPED, Event::NotBelieved),
                };
                let key = chip::new_key(link, &mut self.random).await;
                let key = self.noticing(now, key)?;
                self.seal_and_keep(now, &key, true, note).await?;
                self.tell(event);
                return Ok(());
            }
        };
        let opened = chip::open(link, chip, &mut self.random, &sealed).await;
        let nevers = core::mem::take(&mut self.nevers);
        match self.noticing(now, opened)? {
            Unsealed::Key(key) => {
                self.give(StorageKey(*key), false, "");
                self.tell(Event::Opened { protected: true });
                Ok(())
            }
            Unsealed::Never(why) => Err(self.believed(nevers, NotOpen::never(why))),
            Unsealed::Changed => {
                let (link, _) = self.chip()?;
                let values = chip::read_pcrs(link).await;
                let changed = sealed.changed(&self.noticing(now, values)?);
                if changed.is_empty() {
                    let why = NotOpen::never("the TPM says that measurements are others, and they are not");
                    return Err(self.believed(nevers, why));
                }
                let mut reason = String::<MAX_REASON>::new();
                let _ = write!(reason, "other measurements than when it was sealed, in PCR");
                for pcr in changed.iter() {
                    let _ = write!(reason, " {pcr}");
                }
                Err(NotOpen { changed, ..NotOpen::never(reason) })
            }
        }
    }

    /// Why a key never opens, after the TPM has said so `before` times in a row: believed if that is often enough.
    fn believed(&mut self, before: u8, why: NotOpen) -> NotOpen {
        self.nevers = before.saturating_add(1);
        NotOpen { later: self.nevers < NEVER, ..why }
    }

    fn open_in_the_clear(&mut self) -> Result<(), NotOpen> {
        let disk = self.disk.as_ref().expect("it is opened when the storage has asked");
        let (clear, fresh) = if disk.sealed.is_empty() {
            (Clear { key: *crate::tpm::random(&mut self.random), note: Vec::new() }, true)
        } else {
            match Sealed::parse(&disk.sealed).map_err(unreadable)? {
                Sealed::Clear(clear) => (clear, false),
                Sealed::Tpm(_) => {
                    return Err(NotOpen::never("it was sealed by a TPM, and this machine has none"));
                }
            }
        };
        let new_keys = disk.kept.is_empty();
        let keys = if new_keys {
            Keys::generate(&mut self.random)
        } else {
            Keys::parse(&disk.kept, &clear.key)
                .map_err(|why| NotOpen::never(format_args!("software's keys: {why}")))?
        };
        let key = StorageKey(clear.key);
        if !fresh && !new_keys {
            self.keys = Some(keys);
            self.give(key, false, BESIDE);
            self.tell(Event::Opened { protected: false });
            return Ok(());
        }
        let mut nonce = [0; record::NONCE];
        self.random.fill(&mut nonce);
        let kept = keys.kept().emit(&key.0, &nonce);
        let disk = OnDisk { sealed: Sealed::Clear(clear).emit(), kept };
        self.write(disk, Stored::Keeping { key, fresh, keys: Some(keys), note: BESIDE }, fresh);
        self.tell(Event::New { protected: false });
        Ok(())
    }

    /// Seals a key to the measurements of now, and has it kept.
    async fn seal_and_keep(
        &mut self,
        now: Duration,
        key: &[u8; 32],
        fresh: bool,
        note: &'static str,
    ) -> Result<(), No> {
        let (State::Ready(chip), Some(link)) = (&self.state, &mut self.link) else {
            return self.chip().map(drop);
        };
        let sealed = chip::seal(link, chip, &mut self.random, key).await;
        let sealed = Sealed::Tpm(self.noticing(now, sealed)?).emit();
        // Software's keys of a time without a TPM go: nobody asks for them any more.
        let keeping = Stored::Keeping { key: StorageKey(*key), fresh, keys: None, note };
        self.write(OnDisk { sealed, kept: Vec::new() }, keeping, fresh);
        Ok(())
    }

    fn write(&mut self, disk: OnDisk, keeping: Stored, fresh: bool) {
        let (sealed, kept) = (disk.sealed.clone(), disk.kept.clone());
        self.writing = Some(disk);
        self.stored = keeping;
        self.say(sealing::FromVault::Keep { sealed, kept, fresh });
    }

    fn kept(&mut self) {
        let Stored::Keeping { key, fresh, keys, note } = &mut self.stored else { return };
        let (key, fresh, note) = (StorageKey(key.0), *fresh, *note);
        if let Some(keys) = keys.take() {
            self.keys = Some(keys);
        }
        if let Some(written) = self.writing.take() {
            self.disk = Some(written);
        }
        self.give(key, fresh, note);
    }

    fn not_kept(&mut self, now: Duration) {
        let Stored::Keeping { key, fresh, note, .. } = &self.stored else { return };
        let (key, fresh, note) = (StorageKey(key.0), *fresh, *note);
        self.writing = None;
        self.note_lost = matches!(self.state, State::Absent);
        self.tell(Event::NotKept);
        if fresh {
            // The storage asks anew when its disk may take it.
            self.lock(now, NotOpen::never("the storage did not keep the new key"));
        } else {
            // The key is the right one all the same; the next start needs help again.
            self.give(key, false, note);
        }
    }

    fn give(&mut self, key: StorageKey, fresh: bool, note: &'static str) {
        self.say(sealing::FromVault::Key { key: StorageKey(key.0), fresh });
        self.stored = Stored::Open { key, note };
        self.open_wait = OPEN_AGAIN.0;
        self.changed = true;
    }

    fn lock(&mut self, now: Duration, why: NotOpen) {
        let NotOpen { reason, changed, later } = why;
        let again = later.then(|| now + self.open_wait);
        self.open_wait = if later { (self.open_wait * 2).min(OPEN_AGAIN.1) } else { OPEN_AGAIN.0 };
        let before = match &self.stored {
            Stored::Locked { reason, .. } => Some(reason),
            Stored::Unknown | Stored::Keeping { .. } | Stored::Open { .. } => None,
        };
        // What is tried again and fails for the same reason is told once.
        if before != Some(&reason) {
            self.say(sealing::FromVault::Locked { reason: reason.clone() });
            self.tell(Event::Locked { reason: reason.clone() });
            self.changed = true;
        }
        self.stored = Stored::Locked { reason, changed, again };
    }

    /// Software's keys, if it has some.
    #[cfg(test)]
    pub(crate) fn software_keys(&self) -> Option<record::Kept> {
        self.keys.as_ref().map(Keys::kept)
    }

    fn say(&mut self, message: sealing::FromVault) {
        if let Err(message) = self.to_storage.push_back(message) {
            // What it was not told yet is overtaken by this.
            self.to_storage.clear();
            // An empty queue has room.
            let _ = self.to_storage.push_back(message);
        }
    }

    fn tell(&mut self, event: Event) {
        // Who does not take them loses the newest; they are told once each.
        let _ = self.events.push_back(event);
    }

    /// A TPM that did what it must not is brought up anew before it is used again.
    fn notice(&mut self, now: Duration, trouble: &Trouble) {
        if !trouble.is_refusal() {
            self.fail(now, Unusable::Trouble(*trouble));
            self.changed = true;
        }
    }

    fn noticing<V>(&mut self, now: Duration, outcome: Result<V, Trouble>) -> Result<V, No> {
        outcome.map_err(|trouble| {
            self.notice(now, &trouble);
            trouble.into()
        })
    }
}

/// Who has the device's key.
enum Holder<'a, T> {
    Tpm(&'a mut Link<T>, &'a Chip),
    Software(&'a Keys),
}

fn unreadable(why: record::Unreadable) -> NotOpen {
    NotOpen::never(format_args!("the sealed key: {why}"))
}

fn sized(area: &[u8]) -> proto_tpm::wire::Bytes<{ vault::MAX_PUBLIC }> {
    let mut bytes = proto_tpm::wire::Bytes::default();
    bytes.sized(area);
    bytes
}

const _: () = assert!(MODULUS <= 256, "the modulus fits the answer");

fn dom0_refusal(why: &Unusable) -> measure::Refusal {
    match why {
        Unusable::Trouble(Trouble::NoAnswer(NoAnswer::Absent | NoAnswer::Silent | NoAnswer::Interface)) => {
            measure::Refusal::Silent
        }
        Unusable::Trouble(Trouble::Refused { rc, .. }) => measure::Refusal::Tpm(rc.0),
        Unusable::FailureMode { result } => measure::Refusal::Tpm(result.0),
        // What is no answer, or not of a TPM that can be used.
        Unusable::Trouble(Trouble::Malformed { .. } | Trouble::Family12 | Trouble::Forged { .. })
        | Unusable::Family { .. }
        | Unusable::Bank { .. }
        | Unusable::Foreign { .. }
        | Unusable::Credential => measure::Refusal::Tpm(ResponseCode::FAILURE.0),
    }
}
