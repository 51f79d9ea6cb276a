//! Onboarding: from a key that nobody knows to a device with a UUID.
//!
//! ```text
//!            certs accepted            any answer              200 with a UUID
//!   Certs ------------------> Register ----------> Uuid ------------------------> Known
//!                                ^                  | no                            |
//!                                +--- tick ---------+        recheck (404, 401) <---+
//! ```
//!
//! Registration and the question for the UUID alternate on one ticker, 1 s doubling to 600 s, until
//! the question is answered: `uuid` decides, whatever `register` said, for a device that lost power
//! between the two is told 409 ever after. Without onboarding credentials only the question is asked.

use core::time::Duration;

use proto_errors::agent;
use proto_eve::uuid::Uuid;

use crate::{
    clock::{Instant, Ticker},
    http::Outcome,
};

const RECHECK_EVERY: Duration = Duration::from_secs(600);

/// Where onboarding stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Waiting for controller certificates.
    Certs,
    /// To register.
    Register,
    /// To ask for the UUID.
    Uuid,
    /// The UUID is known.
    Known,
    /// The UUID is known, and the controller says that it is not: ask again.
    Recheck,
}

/// What to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Register,
    Uuid,
}

#[derive(Debug)]
pub(crate) struct Onboard {
    stage: Stage,
    next: Instant,
    ticker: Ticker,
    can_register: bool,
    /// What `register` said last, for the line that is printed when `uuid` fails as well.
    verdict: Option<Outcome>,
    rechecked: Option<Instant>,
}

impl Onboard {
    pub(crate) fn new(now: Instant, can_register: bool) -> Self {
        let ticker = Ticker::new(Duration::from_secs(1), Duration::from_secs(600));
        Self { stage: Stage::Certs, next: now, ticker, can_register, verdict: None, rechecked: None }
    }

    pub(crate) fn stage(&self) -> Stage {
        self.stage
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Certs | Stage::Known => None,
            Stage::Register | Stage::Uuid | Stage::Recheck => Some(self.next),
        }
    }

    pub(crate) fn due(&self, now: Instant) -> Option<Step> {
        if self.next > now {
            return None;
        }
        match self.stage {
            Stage::Certs | Stage::Known => None,
            Stage::Register => Some(Step::Register),
            Stage::Uuid | Stage::Recheck => Some(Step::Uuid),
        }
    }

    pub(crate) fn on_certs(&mut self, now: Instant) {
        if self.stage == Stage::Certs {
            self.begin(now);
        }
    }

    pub(crate) fn on_register(&mut self, now: Instant, outcome: Outcome) {
        if let Outcome::NoAnswer(_) = outcome {
            self.next = now.after(self.ticker.wait());
            return;
        }
        self.verdict = Some(outcome);
        self.stage = Stage::Uuid;
        self.next = now;
    }

    /// `Ok` is the UUID that the controller gave.
    pub(crate) fn on_uuid(&mut self, now: Instant, answer: Result<Uuid, Outcome>) {
        let outcome = match answer {
            Ok(_) => {
                self.stage = Stage::Known;
                self.ticker.reset();
                self.verdict = None;
                return;
            }
            Err(outcome) => outcome,
        };
        match (&self.verdict, self.stage) {
            (Some(verdict), Stage::Uuid) => {
                log::warn!(
                    "onboarding: no UUID: {outcome}; register was answered with {verdict} [{}]",
                    agent::NOT_ONBOARDED
                );
            }
            _ => log::warn!("onboarding: no UUID: {outcome} [{}]", agent::NOT_ONBOARDED),
        }
        let unauthorized = matches!(outcome, Outcome::Status { status: 401, .. });
        if self.stage == Stage::Recheck && !(unauthorized && self.can_register) {
            // The device keeps its UUID and its configuration, and asks again when next refused.
            self.stage = Stage::Known;
            return;
        }
        if self.can_register {
            self.stage = Stage::Register;
        }
        self.next = now.after(self.ticker.wait());
    }

    /// The controller does not know the device by its UUID. At most one question in ten minutes.
    pub(crate) fn recheck(&mut self, now: Instant) {
        let recent = self.rechecked.is_some_and(|last| now.since(last) < RECHECK_EVERY);
        if self.stage == Stage::Known && !recent {
            self.stage = Stage::Recheck;
            self.rechecked = Some(now);
            self.next = now;
        }
    }

    /// The uplink is back: do not wait for the rest of a long tick.
    pub(crate) fn hurry(&mut self, now: Instant) {
        self.ticker.reset();
        self.next = self.next.min(now);
    }

    fn begin(&mut self, now: Instant) {
        self.stage = if self.can_register { Stage::Register } else { Stage::Uuid };
        self.next = now;
    }
}

#[cfg(test)]
mod tests {
    use proto_eve::endpoint::StatusClass;

    use super::*;
    use crate::http::FailureKind;

    fn at(seconds: u64) -> Instant {
        Instant(0).after(Duration::from_secs(seconds))
    }

    fn status(status: u16) -> Outcome {
        Outcome::Status { status, class: StatusClass::of(status) }
    }

    #[test]
    fn the_uuid_decides_whatever_register_said() {
        for code in [200, 201, 401, 403, 404, 409, 500] {
            let mut onboard = Onboard::new(at(0), true);
            assert_eq!(onboard.due(at(9)), None);
            onboard.on_certs(at(0));
            assert_eq!(onboard.due(at(0)), Some(Step::Register));
            onboard.on_register(at(0), status(code));
            assert_eq!(onboard.due(at(0)), Some(Step::Uuid));
            onboard.on_uuid(at(0), Ok(Uuid([1; 16])));
            assert_eq!((onboard.stage(), onboard.due(at(9))), (Stage::Known, None));
        }
    }

    #[test]
    fn register_and_uuid_alternate_on_one_ticker() {
        let mut onboard = Onboard::new(at(0), true);
        onboard.on_certs(at(0));
        let mut now = 0;
        for wait in [1, 2, 4, 8] {
            onboard.on_register(at(now), status(409));
            onboard.on_uuid(at(now), Err(status(404)));
            assert_eq!(onboard.due(at(now + wait - 1)), None);
            now += wait;
            assert_eq!(onboard.due(at(now)), Some(Step::Register));
        }
        onboard.on_register(at(now), Outcome::NoAnswer(FailureKind::Refused));
        assert_eq!(onboard.deadline(), Some(at(now + 16)));
    }

    #[test]
    fn without_credentials_only_the_uuid_is_asked_for() {
        let mut onboard = Onboard::new(at(0), false);
        onboard.on_certs(at(0));
        assert_eq!(onboard.due(at(0)), Some(Step::Uuid));
        onboard.on_uuid(at(0), Err(status(401)));
        assert_eq!((onboard.due(at(0)), onboard.due(at(1))), (None, Some(Step::Uuid)));
    }

    #[test]
    fn a_lost_device_asks_once_in_ten_minutes_and_registers_again_on_401() {
        let mut onboard = Onboard::new(at(0), true);
        onboard.on_certs(at(0));
        onboard.on_register(at(0), status(201));
        onboard.on_uuid(at(0), Ok(Uuid([1; 16])));
        onboard.recheck(at(10));
        assert_eq!(onboard.due(at(10)), Some(Step::Uuid));
        onboard.on_uuid(at(10), Err(status(404)));
        assert_eq!(onboard.stage(), Stage::Known);
        onboard.recheck(at(20));
        assert_eq!(onboard.stage(), Stage::Known);
        onboard.recheck(at(611));
        onboard.on_uuid(at(611), Err(status(401)));
        assert_eq!(onboard.due(at(612)), Some(Step::Register));
    }
}
