//! Attestation: certificates, nonce, quote, the token without which controllers give no configuration, and the
//! key of the storage, which the controller keeps for the day on which the TPM does not give it.
//!
//! ```text
//!         1 nonce      2 nonce            3 quote            4 accepted              5 key stored
//!   None -------> NonceWait -> TpmQuoteWait -> AttestWait -----------> AttestEscrowWait ------> Complete
//!    ^              |  ^           | ^           |  ^ |       \            ^  |  ^ |               |
//!    +-- 6 15 s ----+  |   7 15 s -+ +     8 15 s+--+ |        v       10  |  +--+ | 11 wrong      | 12 config
//!    ^                 |                              | 9   TpmEscrowWait -+ 8     |    token      |    403
//!    |                 |                              v refused   | 12             v               v
//!    +---------------------- 13 15 s ---------------- RestartWait <-+--------------+---------------+
//! ```
//!
//! 1, 6, 8: [`Attest::due`]. 2, 4, 5, 9, 11: [`Attest::on_answer`]. 3, 7: [`Attest::on_quote`], after
//! [`Attest::wants_quote`]. 10: [`Attest::on_escrow`]. 12: [`Attest::restart`]. 13: [`Attest::due`].
//!
//! Without a TPM the quote is empty and there is no key to keep, so the states in between are passed in no time.
//! A restart that is asked for on the way is remembered and acted upon in `Complete`. EVE does so in
//! `TpmEscrowWait` as well, where a device stays as long as its storage is locked; a controller that has forgotten
//! its token would then never give it a configuration again, so there it is acted upon at once.
//!
//! A refusal without a reason is repeated with the same quote three times, and then with a new nonce:
//! EVE repeats it for ever, which never helps a device whose nonce the controller has forgotten.

use alloc::{string::String, vec::Vec};
use core::time::Duration;

use proto_errors::{Coded, agent};
use proto_eve::attest::{EscrowedKey, Rejection, Response};

use crate::{
    clock::{Instant, Ticker, earliest},
    http::Outcome,
};

const TIMER: Duration = Duration::from_secs(15);
const SAME_QUOTE: u8 = 3;

/// Where attestation stands. Numbers as in `info.AttestationState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum AttestState {
    /// A nonce is to be asked for.
    None = 0,
    /// A nonce was asked for.
    NonceWait = 1,
    /// The TPM is to quote.
    TpmQuoteWait = 2,
    /// The quote was accepted; the vault is to encrypt the storage's key for the controller.
    TpmEscrowWait = 3,
    /// The quote is to be sent, or was sent.
    AttestWait = 4,
    /// The quote was accepted; the storage's key is to be sent, or was sent.
    AttestEscrowWait = 5,
    /// To start over.
    RestartWait = 6,
    /// The quote was accepted, and the storage's key is with the controller.
    Complete = 7,
}

/// What to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Certs,
    Nonce,
    Quote,
    Keys,
}

/// What a TPM said to a nonce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TpmQuote {
    /// `TPMS_ATTEST`.
    pub(crate) attest: Vec<u8>,
    /// Its signature, ASN.1.
    pub(crate) signature: Vec<u8>,
    pub(crate) pcrs: Vec<[u8; 32]>,
    pub(crate) event_log: Vec<u8>,
}

/// The storage's key for the controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Escrow {
    /// The vault has none yet.
    Pending,
    /// There never will be one.
    None,
    /// It is this.
    Ready(EscrowedKey),
}

#[derive(Debug)]
pub(crate) struct Attest {
    state: AttestState,
    /// When the state's request is to be sent, or the TPM asked; none while that is under way, and when there
    /// is nothing to do.
    next: Option<Instant>,
    publication: Publication,
    /// Whether there is a TPM that quotes.
    has_tpm: bool,
    nonce: Vec<u8>,
    quote: Option<TpmQuote>,
    escrow: Escrow,
    /// What the controller gave back for the vault with the last quote that it accepted.
    returned: Option<Option<EscrowedKey>>,
    /// Whether it was told that the controller names other PCRs for the storage's key.
    other_pcrs_told: bool,
    token: Vec<u8>,
    restart_wanted: bool,
    quote_tried: bool,
    invalid: u8,
    error: Option<AttestError>,
}

/// Why the last round failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AttestError {
    NoNonce(Outcome),
    NoQuote(String),
    NoVerdict(Outcome),
    Rejected(Rejection),
    Unreadable,
    KeyNotStored(Outcome),
    WrongToken,
}

impl core::fmt::Display for AttestError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoNonce(outcome) => write!(f, "no nonce: {outcome}"),
            Self::NoQuote(reason) => write!(f, "the vault does not quote: {reason}"),
            Self::NoVerdict(outcome) => write!(f, "no answer to the quote: {outcome}"),
            Self::Rejected(rejection) => rejection.fmt(f),
            Self::Unreadable => write!(f, "the controller's answer does not parse"),
            Self::KeyNotStored(outcome) => {
                write!(f, "the storage's key is not with the controller: {outcome}")
            }
            Self::WrongToken => write!(f, "the controller has another integrity token"),
        }
    }
}

/// Publishing the device's certificates.
#[derive(Debug)]
struct Publication {
    wanted: bool,
    tried: bool,
    ever_accepted: bool,
    next: Option<Instant>,
    ticker: Ticker,
}

impl Attest {
    pub(crate) fn new() -> Self {
        Self {
            state: AttestState::None,
            next: None,
            publication: Publication {
                wanted: false,
                tried: true,
                ever_accepted: true,
                next: None,
                ticker: Ticker::new(TIMER, Duration::from_secs(600)),
            },
            has_tpm: false,
            nonce: Vec::new(),
            quote: None,
            escrow: Escrow::None,
            returned: None,
            other_pcrs_told: false,
            token: Vec::new(),
            restart_wanted: false,
            quote_tried: false,
            invalid: 0,
            error: None,
        }
    }

    /// What the device has: whether there are certificates to publish, and a TPM. A round that was begun before is to be
    /// begun again.
    pub(crate) fn equip(&mut self, has_certs: bool, has_tpm: bool) {
        self.publication.wanted = has_certs;
        self.publication.tried = !has_certs;
        self.publication.ever_accepted = !has_certs;
        self.has_tpm = has_tpm;
        // The vault may have given the storage's key before there were certificates.
        match (&self.escrow, has_tpm) {
            (Escrow::None, true) => self.escrow = Escrow::Pending,
            (Escrow::Pending | Escrow::Ready(_), true) => {}
            (_, false) => self.escrow = Escrow::None,
        }
    }

    pub(crate) fn state(&self) -> AttestState {
        self.state
    }

    pub(crate) fn token(&self) -> &[u8] {
        &self.token
    }

    pub(crate) fn error(&self) -> Option<&AttestError> {
        self.error.as_ref()
    }

    /// What the TPM said to the nonce, if it was asked.
    pub(crate) fn quote(&self) -> Option<&TpmQuote> {
        self.quote.as_ref()
    }

    /// The storage's key, if there is one to be kept by the controller.
    pub(crate) fn key(&self) -> Option<&EscrowedKey> {
        match &self.escrow {
            Escrow::Ready(key) => Some(key),
            Escrow::Pending | Escrow::None => None,
        }
    }

    /// Whether the controller's verdict is there, good or bad.
    pub(crate) fn settled(&self) -> bool {
        !self.token.is_empty() || self.state == AttestState::RestartWait
    }

    /// Whether a quote was sent since boot, whatever came of it.
    pub(crate) fn quote_tried(&self) -> bool {
        self.quote_tried
    }

    /// Whether a quote was accepted since boot: from then on no storage is begun anew by itself.
    pub(crate) fn has_completed(&self) -> bool {
        self.state == AttestState::Complete
    }

    /// Whether the controller refused our certificates ever since boot.
    pub(crate) fn certs_refused(&self) -> bool {
        self.publication.wanted && self.publication.tried && !self.publication.ever_accepted
    }

    /// The UUID is known, or is another one: publish and attest from the beginning.
    pub(crate) fn begin(&mut self, now: Instant) {
        if self.publication.wanted {
            self.publication.next = Some(now);
            self.publication.tried = false;
        }
        self.token.clear();
        self.enter(AttestState::None, Some(now));
    }

    /// The configuration was refused with 403.
    pub(crate) fn restart(&mut self, now: Instant) {
        if !self.quote_tried {
            return;
        }
        self.token.clear();
        if matches!(self.state, AttestState::Complete | AttestState::TpmEscrowWait) {
            self.enter(AttestState::RestartWait, Some(now.after(TIMER)));
        } else {
            self.restart_wanted = true;
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let round = if self.publication.tried { self.next } else { None };
        earliest(self.publication.next, round)
    }

    pub(crate) fn due(&self, now: Instant) -> Option<Ask> {
        let passed = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if passed(self.publication.next) {
            return Some(Ask::Certs);
        }
        if !self.publication.tried || !passed(self.next) {
            return None;
        }
        match self.state {
            AttestState::None | AttestState::NonceWait | AttestState::RestartWait => Some(Ask::Nonce),
            AttestState::AttestWait => Some(Ask::Quote),
            AttestState::AttestEscrowWait => Some(Ask::Keys),
            AttestState::TpmQuoteWait | AttestState::TpmEscrowWait | AttestState::Complete => None,
        }
    }

    pub(crate) fn sent(&mut self, ask: Ask) {
        match ask {
            Ask::Certs => self.publication.next = None,
            Ask::Nonce => {
                // A new round: what was asked for before it is answered by it.
                self.restart_wanted = false;
                self.invalid = 0;
                self.quote = None;
                self.enter(AttestState::NonceWait, None);
            }
            Ask::Quote => {
                self.quote_tried = true;
                self.next = None;
            }
            Ask::Keys => self.next = None,
        }
    }

    /// The nonce that the TPM is to quote now. It counts as asked from then on.
    pub(crate) fn wants_quote(&mut self, now: Instant) -> Option<&[u8]> {
        let due = self.state == AttestState::TpmQuoteWait && self.next.is_some_and(|next| next <= now);
        due.then(|| {
            self.next = None;
            &self.nonce[..]
        })
    }

    /// What became of the quote.
    pub(crate) fn on_quote(&mut self, now: Instant, quote: Result<TpmQuote, String>) {
        if self.state != AttestState::TpmQuoteWait {
            // The round was begun anew meanwhile.
            return;
        }
        match quote {
            Ok(quote) => {
                self.quote = Some(quote);
                self.enter(AttestState::AttestWait, Some(now));
            }
            Err(reason) => {
                self.fail(AttestError::NoQuote(reason));
                self.next = Some(now.after(TIMER));
            }
        }
    }

    /// The vault has encrypted the storage's key for the controller, or not.
    pub(crate) fn on_escrow(&mut self, now: Instant, escrow: Escrow) {
        self.escrow = escrow;
        let waits = self.state == AttestState::TpmEscrowWait;
        // A vault that was built anew may have none to give: there is nothing to send any more.
        let lacks = self.state == AttestState::AttestEscrowWait && self.key().is_none();
        if waits || lacks {
            self.hand_over(now);
        }
    }

    /// What the controller gave back with the quote that it accepted, for the vault; once.
    pub(crate) fn take_returned(&mut self) -> Option<Option<EscrowedKey>> {
        self.returned.take()
    }

    /// An exchange has ended; `response` is what the payload of a success says.
    pub(crate) fn on_answer(&mut self, now: Instant, ask: Ask, outcome: Outcome, response: Option<Response>) {
        match (ask, self.state) {
            (Ask::Certs, _) => match response {
                Some(Response::Certs) => self.certs_taken(),
                _ => self.certs_not_taken(now, &outcome),
            },
            (Ask::Nonce, AttestState::NonceWait) => self.on_nonce(now, outcome, response),
            (Ask::Quote, AttestState::AttestWait) => self.on_verdict(now, outcome, response),
            (Ask::Keys, AttestState::AttestEscrowWait) => self.on_stored(now, outcome, response),
            // The round was begun anew meanwhile.
            (Ask::Nonce | Ask::Quote | Ask::Keys, _) => {}
        }
    }

    fn on_nonce(&mut self, now: Instant, outcome: Outcome, response: Option<Response>) {
        let Some(Response::Nonce(nonce)) = response else {
            self.fail(AttestError::NoNonce(outcome));
            self.next = Some(now.after(TIMER));
            return;
        };
        self.nonce = nonce;
        let next = if self.has_tpm { AttestState::TpmQuoteWait } else { AttestState::AttestWait };
        self.enter(next, Some(now));
    }

    fn on_verdict(&mut self, now: Instant, outcome: Outcome, response: Option<Response>) {
        match response {
            Some(Response::Accepted { integrity_token, key, other_pcrs }) => {
                if other_pcrs && !core::mem::replace(&mut self.other_pcrs_told, true) {
                    log::warn!(
                        "attestation: the controller names other PCRs for the storage's key, which stays sealed to 0-4 and 6-14 [{}]",
                        agent::OTHER_PCRS
                    );
                }
                self.token = integrity_token;
                self.error = None;
                self.returned = Some(key);
                self.hand_over(now);
            }
            Some(Response::Rejected(rejection)) => self.rejected(now, rejection),
            response => {
                let unreadable = response.is_some() || matches!(outcome, Outcome::Success { .. });
                self.fail(if unreadable { AttestError::Unreadable } else { AttestError::NoVerdict(outcome) });
                self.next = Some(now.after(TIMER));
            }
        }
    }

    fn on_stored(&mut self, now: Instant, outcome: Outcome, response: Option<Response>) {
        match response {
            Some(Response::KeysStored) => self.complete(now),
            Some(Response::WrongToken) => {
                self.token.clear();
                self.fail(AttestError::WrongToken);
                self.enter(AttestState::RestartWait, Some(now.after(TIMER)));
            }
            _ => {
                self.fail(AttestError::KeyNotStored(outcome));
                self.next = Some(now.after(TIMER));
            }
        }
    }

    /// The quote was accepted: what is left is the storage's key.
    fn hand_over(&mut self, now: Instant) {
        match self.escrow {
            Escrow::None => self.complete(now),
            Escrow::Pending => self.enter(AttestState::TpmEscrowWait, None),
            Escrow::Ready(_) => self.enter(AttestState::AttestEscrowWait, Some(now)),
        }
    }

    fn complete(&mut self, now: Instant) {
        log::info!("attestation: complete");
        self.error = None;
        if self.restart_wanted {
            self.enter(AttestState::RestartWait, Some(now.after(TIMER)));
        } else {
            self.enter(AttestState::Complete, None);
        }
    }

    fn rejected(&mut self, now: Instant, rejection: Rejection) {
        self.token.clear();
        self.fail(AttestError::Rejected(rejection));
        self.next = Some(now.after(TIMER));
        if rejection == Rejection::Invalid {
            self.invalid = self.invalid.saturating_add(1);
            if self.invalid < SAME_QUOTE {
                return;
            }
        }
        if rejection == Rejection::NoCertFound && self.publication.wanted {
            self.publication.next = Some(now);
        }
        self.state = AttestState::RestartWait;
    }

    fn certs_taken(&mut self) {
        self.publication.tried = true;
        self.publication.ever_accepted = true;
        self.publication.ticker.reset();
    }

    fn certs_not_taken(&mut self, now: Instant, outcome: &Outcome) {
        log::warn!("device certificates: not published: {outcome} [{}]", agent::CERTS_NOT_TAKEN);
        self.publication.tried = true;
        self.publication.next = Some(now.after(self.publication.ticker.wait()));
    }

    fn fail(&mut self, error: AttestError) {
        if self.error.as_ref() != Some(&error) {
            log::warn!("attestation: {}", error.told());
        }
        self.error = Some(error);
    }

    fn enter(&mut self, state: AttestState, next: Option<Instant>) {
        self.state = state;
        self.next = next;
    }
}

#[cfg(test)]
mod tests;
