//! Attestation of a device without a TPM: certificates, nonce, an empty quote, and the token without
//! which controllers give no configuration.
//!
//! ```text
//!            1 send nonce request        2 nonce: quote ready       3 accepted
//!   None --------------------> NonceWait ------------> AttestWait ------------> Complete
//!    ^                          |                        |   ^  |                  |
//!    +------ 4 15 s, no nonce --+     5 15 s, no answer -+---+  | 6 refused        | 7 config 403
//!    ^                                                          v                  v
//!    +---------------------- 8 15 s ----------------------- RestartWait <----------+
//! ```
//!
//! 1, 2, 5: [`Attest::due`]. 3, 4, 6: [`Attest::on_answer`]. 7: [`Attest::restart`]. 8: [`Attest::due`].
//! States that only a TPM needs (waiting for its quote, for escrowed keys) are passed in no time. A
//! restart that is asked for on the way is remembered and acted upon in `Complete`.
//!
//! A refusal without a reason is repeated with the same quote three times, and then with a new nonce:
//! EVE repeats it for ever, which never helps a device whose nonce the controller has forgotten.

use alloc::vec::Vec;
use core::time::Duration;

use proto_errors::{Coded, agent};
use proto_eve::attest::{Rejection, Response};

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
    /// The quote is to be sent, or was sent.
    AttestWait = 4,
    /// To start over.
    RestartWait = 6,
    /// The quote was accepted.
    Complete = 7,
}

/// What to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Certs,
    Nonce,
    Quote,
}

#[derive(Debug)]
pub(crate) struct Attest {
    state: AttestState,
    /// When the state's request is to be sent; none while it is under way, and when complete.
    next: Option<Instant>,
    publication: Publication,
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
    NoVerdict(Outcome),
    Rejected(Rejection),
    Unreadable,
}

impl core::fmt::Display for AttestError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoNonce(outcome) => write!(f, "no nonce: {outcome}"),
            Self::NoVerdict(outcome) => write!(f, "no answer to the quote: {outcome}"),
            Self::Rejected(rejection) => rejection.fmt(f),
            Self::Unreadable => write!(f, "the controller's answer does not parse"),
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
    /// `has_certs`: whether there are certificates to publish before the first quote.
    pub(crate) fn new(has_certs: bool) -> Self {
        Self {
            state: AttestState::None,
            next: None,
            publication: Publication {
                wanted: has_certs,
                tried: !has_certs,
                ever_accepted: !has_certs,
                next: None,
                ticker: Ticker::new(TIMER, Duration::from_secs(600)),
            },
            token: Vec::new(),
            restart_wanted: false,
            quote_tried: false,
            invalid: 0,
            error: None,
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

    /// Whether a round was brought to its end, good or bad.
    pub(crate) fn settled(&self) -> bool {
        matches!(self.state, AttestState::Complete | AttestState::RestartWait)
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
        if self.state == AttestState::Complete {
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
            AttestState::Complete => None,
        }
    }

    pub(crate) fn sent(&mut self, ask: Ask) {
        match ask {
            Ask::Certs => self.publication.next = None,
            Ask::Nonce => {
                // A new round: what was asked for before it is answered by it.
                self.restart_wanted = false;
                self.invalid = 0;
                self.enter(AttestState::NonceWait, None);
            }
            Ask::Quote => {
                self.quote_tried = true;
                self.next = None;
            }
        }
    }

    /// An exchange has ended; `response` is what the payload of a success says.
    pub(crate) fn on_answer(&mut self, now: Instant, ask: Ask, outcome: Outcome, response: Option<Response>) {
        match (ask, response) {
            (Ask::Certs, Some(Response::Certs)) => self.certs_taken(),
            (Ask::Certs, _) => self.certs_not_taken(now, &outcome),
            (Ask::Nonce, Some(Response::Nonce(_))) if self.state == AttestState::NonceWait => {
                self.enter(AttestState::AttestWait, Some(now));
            }
            (Ask::Nonce, _) if self.state == AttestState::NonceWait => {
                self.fail(AttestError::NoNonce(outcome));
                self.next = Some(now.after(TIMER));
            }
            (Ask::Quote, Some(Response::Accepted { integrity_token }))
                if self.state == AttestState::AttestWait =>
            {
                self.accepted(now, integrity_token);
            }
            (Ask::Quote, Some(Response::Rejected(rejection))) if self.state == AttestState::AttestWait => {
                self.rejected(now, rejection);
            }
            (Ask::Quote, response) if self.state == AttestState::AttestWait => {
                let unreadable = response.is_some() || matches!(outcome, Outcome::Success { .. });
                self.fail(if unreadable { AttestError::Unreadable } else { AttestError::NoVerdict(outcome) });
                self.next = Some(now.after(TIMER));
            }
            // The round was begun anew meanwhile.
            (Ask::Nonce | Ask::Quote, _) => {}
        }
    }

    fn accepted(&mut self, now: Instant, token: Vec<u8>) {
        log::info!("attestation: complete");
        self.token = token;
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
mod tests {
    use alloc::vec;

    use super::*;
    use crate::http::FailureKind;

    fn at(seconds: u64) -> Instant {
        Instant(0).after(Duration::from_secs(seconds))
    }

    fn success() -> Outcome {
        Outcome::Success { status: 201, payload: Vec::new() }
    }

    fn nonce() -> Option<Response> {
        Some(Response::Nonce(vec![0; 12]))
    }

    fn accepted() -> Option<Response> {
        Some(Response::Accepted { integrity_token: b"token".to_vec() })
    }

    /// A machine whose quote is under way at second 0.
    fn quoting() -> Attest {
        let mut attest = Attest::new(false);
        assert_eq!(attest.due(at(0)), None);
        attest.begin(at(0));
        assert_eq!(attest.due(at(0)), Some(Ask::Nonce));
        attest.sent(Ask::Nonce);
        assert_eq!((attest.state(), attest.due(at(99))), (AttestState::NonceWait, None));
        attest.on_answer(at(0), Ask::Nonce, success(), nonce());
        assert_eq!((attest.state(), attest.due(at(0))), (AttestState::AttestWait, Some(Ask::Quote)));
        attest.sent(Ask::Quote);
        assert_eq!(attest.due(at(99)), None);
        attest
    }

    #[test]
    fn a_quote_that_is_accepted_brings_the_token() {
        let mut attest = quoting();
        attest.on_answer(at(1), Ask::Quote, success(), accepted());
        assert_eq!(attest.state(), AttestState::Complete);
        assert_eq!((attest.token(), attest.deadline()), (&b"token"[..], None));
    }

    #[test]
    fn refusals_lead_to_a_new_nonce_after_15_seconds() {
        for rejection in [Rejection::NonceMismatch, Rejection::NoCertFound, Rejection::QuoteFailed] {
            let mut attest = quoting();
            attest.on_answer(at(1), Ask::Quote, success(), Some(Response::Rejected(rejection)));
            assert_eq!(attest.state(), AttestState::RestartWait);
            assert_eq!((attest.due(at(15)), attest.due(at(16))), (None, Some(Ask::Nonce)));
        }
    }

    #[test]
    fn no_answer_and_no_reason_repeat_the_same_quote() {
        let mut attest = quoting();
        attest.on_answer(at(0), Ask::Quote, Outcome::NoAnswer(FailureKind::Timeout), None);
        assert_eq!(attest.state(), AttestState::AttestWait);
        assert_eq!((attest.due(at(14)), attest.due(at(15))), (None, Some(Ask::Quote)));
        for round in 0..3 {
            attest.sent(Ask::Quote);
            let invalid = Some(Response::Rejected(Rejection::Invalid));
            attest.on_answer(at(15), Ask::Quote, success(), invalid);
            let last = round == 2;
            assert_eq!(attest.state() == AttestState::RestartWait, last);
        }
        assert_eq!(attest.due(at(30)), Some(Ask::Nonce));
    }

    #[test]
    fn a_missing_nonce_is_asked_for_again() {
        let mut attest = Attest::new(false);
        attest.begin(at(0));
        attest.sent(Ask::Nonce);
        // A nonce of the wrong length does not parse and comes as no response.
        attest.on_answer(at(0), Ask::Nonce, success(), None);
        assert_eq!((attest.due(at(14)), attest.due(at(15))), (None, Some(Ask::Nonce)));
    }

    #[test]
    fn a_restart_counts_only_after_a_quote_and_waits_for_the_end_of_the_round() {
        let mut attest = Attest::new(false);
        attest.begin(at(0));
        attest.restart(at(0));
        attest.sent(Ask::Nonce);
        attest.on_answer(at(0), Ask::Nonce, success(), nonce());
        attest.sent(Ask::Quote);
        attest.restart(at(1));
        assert_eq!(attest.state(), AttestState::AttestWait);
        attest.on_answer(at(2), Ask::Quote, success(), accepted());
        assert_eq!(attest.state(), AttestState::RestartWait);
        let mut attest = quoting();
        attest.on_answer(at(2), Ask::Quote, success(), accepted());
        attest.restart(at(3));
        assert_eq!((attest.state(), attest.token()), (AttestState::RestartWait, &b""[..]));
        assert_eq!(attest.due(at(18)), Some(Ask::Nonce));
    }

    #[test]
    fn certificates_are_published_before_the_first_nonce() {
        let mut attest = Attest::new(true);
        attest.begin(at(0));
        assert_eq!(attest.due(at(0)), Some(Ask::Certs));
        attest.sent(Ask::Certs);
        assert_eq!(attest.due(at(0)), None);
        let refused = Outcome::Status { status: 404, class: proto_eve::endpoint::StatusClass::UnknownDevice };
        attest.on_answer(at(0), Ask::Certs, refused, None);
        assert!(attest.certs_refused());
        assert_eq!(attest.due(at(0)), Some(Ask::Nonce));
        attest.sent(Ask::Nonce);
        assert_eq!(attest.due(at(15)), Some(Ask::Certs));
        attest.sent(Ask::Certs);
        attest.on_answer(at(15), Ask::Certs, success(), Some(Response::Certs));
        assert!(!attest.certs_refused());
    }
}
