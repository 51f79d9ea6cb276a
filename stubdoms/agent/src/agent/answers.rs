//! Answers of the controller, and which machine each belongs to.

use alloc::vec::Vec;

use proto_errors::{Coded, agent as code};
use proto_eve::{attest, config, endpoint::StatusClass, uuid};
use proto_update::machine::Class;

use super::{
    Agent,
    requests::{Purpose, action},
};
use crate::{
    attest::Ask,
    clock::Now,
    config::store::Verdict,
    http::{FailureKind, HttpFailure, Outcome, RequestId, Response},
    reach::Change,
};

impl Agent {
    /// The exchange `id` has ended. An id that is not under way any more is ignored.
    pub fn on_response(&mut self, now: Now, id: RequestId, result: Result<Response, HttpFailure>) {
        self.now = now;
        let Some(flight) = self.flights.remove(&id) else { return };
        let received = result.as_ref().ok().map(|response| response.body.len());
        // What is accepted is kept in its envelope.
        let kept = flight.purpose == Purpose::Config && self.keeps();
        let envelope = result.as_ref().ok().filter(|_| kept).map(|response| response.body.clone());
        self.note_reach(action(flight.endpoint), &result);
        let outcome = self.session.judge(flight.endpoint, result);
        let success = matches!(outcome, Outcome::Success { .. });
        let took = now.at().since(flight.sent);
        self.traffic.ended(now, action(flight.endpoint), flight.bytes, received, took, success);
        let unusable = match &outcome {
            Outcome::Unusable(why) => Some(*why),
            Outcome::Success { .. } | Outcome::Status { .. } | Outcome::NoAnswer(_) => None,
        };
        if self.reach.on_use(action(flight.endpoint), unusable) {
            match unusable {
                Some(_) => log::warn!("controller: {}: {}", action(flight.endpoint), outcome.told()),
                None => log::info!("controller: {}: its answers can be used again", action(flight.endpoint)),
            }
        }
        if outcome.wants_certs() {
            self.certs.refetch(now.at());
        }
        self.kept.accepted = false;
        self.route(flight.purpose, outcome);
        if let Some(envelope) = envelope.filter(|_| self.kept.accepted) {
            self.keep_config(envelope);
        }
    }

    /// Requests that the shell never answered count as failed.
    pub(super) fn give_up_lost_flights(&mut self) {
        let now = self.now.at();
        let lost: Vec<RequestId> =
            self.flights.iter().filter(|(_, flight)| flight.lost <= now).map(|(id, _)| *id).collect();
        for id in lost {
            if let Some(flight) = self.flights.remove(&id) {
                log::warn!(
                    "controller: {}: no result within its time [{}]",
                    action(flight.endpoint),
                    code::NO_RESULT
                );
                self.route(flight.purpose, Outcome::NoAnswer(FailureKind::Timeout));
            }
        }
    }

    pub(super) fn route(&mut self, purpose: Purpose, outcome: Outcome) {
        let at = self.now.at();
        let unknown = matches!(
            outcome,
            Outcome::Status { status: 401, .. } | Outcome::Status { class: StatusClass::UnknownDevice, .. }
        );
        if unknown && matches!(purpose, Purpose::Config | Purpose::Attest(_) | Purpose::Info(_)) {
            self.onboard.recheck(at);
        }
        match purpose {
            Purpose::Certs => self.on_certs(outcome),
            Purpose::Register => self.onboard.on_register(at, outcome),
            Purpose::Uuid => self.on_uuid(outcome),
            Purpose::Attest(ask) => self.on_attest(ask, outcome),
            Purpose::Config => self.on_config(outcome),
            Purpose::Info(sent) => self.queue.on_answer(at, &sent, &outcome, &mut self.random),
            Purpose::Metrics(delivery) => {
                if self.spool.on_answer(at, delivery, &outcome, &mut self.random) {
                    // A later life owes the controller nothing of this.
                    self.leave_note();
                }
                if matches!(outcome, Outcome::Success { .. }) {
                    self.metrics.on_success(self.properties.seconds("timer.metric.interval"));
                }
            }
            Purpose::Logs(upload) => self.logs.on_answer(at, upload, &outcome, &mut self.random),
        }
    }

    fn on_certs(&mut self, outcome: Outcome) {
        let at = self.now.at();
        let onboarded = self.session.uuid().is_some();
        let Outcome::Success { payload, .. } = outcome else {
            if !matches!(outcome, Outcome::NoAnswer(_)) {
                log::warn!("controller certificates: {outcome} [{}]", code::CONTROLLER_CERTS);
            }
            self.certs.failed(at, onboarded);
            return;
        };
        match self.session.accept_certs(&payload, self.now) {
            Ok(changed) => {
                if changed {
                    log::info!("controller certificates: a new set was accepted");
                    self.keep_certs(payload);
                }
                let interval = self.properties.seconds("timer.cert.interval");
                self.certs.accepted(at, interval, &mut self.random);
                self.onboard.on_certs(at);
            }
            Err(refused) => {
                log::warn!("controller certificates: refused: {}", refused.told());
                self.certs.failed(at, onboarded);
            }
        }
    }

    fn on_uuid(&mut self, outcome: Outcome) {
        let at = self.now.at();
        let identity = match &outcome {
            Outcome::Success { payload, .. } => uuid::parse_response(payload),
            _ => None,
        };
        let Some(identity) = identity else {
            self.onboard.on_uuid(at, Err(outcome));
            return;
        };
        self.onboard.on_uuid(at, Ok(identity.uuid));
        let known = self.session.uuid().copied();
        if known == Some(identity.uuid) {
            return;
        }
        log::info!("device: onboarded as {}", identity.uuid);
        self.keep_identity(&identity);
        self.be_known(identity);
    }

    /// The device has this UUID.
    pub(super) fn be_known(&mut self, identity: uuid::Identity) {
        let at = self.now.at();
        self.onboard.on_uuid(at, Ok(identity.uuid));
        if !identity.product_name.is_empty() {
            self.facts.manufacturer = identity.manufacturer;
            self.facts.product = identity.product_name;
        }
        self.session.set_uuid(identity.uuid);
        // Everything that was said under another name, or under none, is said again.
        self.queue.clear();
        self.reporter.forget();
        self.store.forget_hash();
        self.certs.refetch(at);
        self.attest.begin(at);
        self.config.begin(at);
        self.metrics.begin(at);
        self.spool.belong_to(&identity.uuid);
        self.dirty = true;
    }

    fn on_attest(&mut self, ask: Ask, outcome: Outcome) {
        let at = self.now.at();
        let before = self.attest.state();
        let response = match &outcome {
            Outcome::Success { payload, .. } => attest::parse_response(payload),
            _ => None,
        };
        let had_error = self.attest.error().is_some();
        self.attest.on_answer(at, ask, outcome, response);
        self.unlock();
        match (had_error, self.attest.error().is_some()) {
            (false, true) => self.attest_error_since = self.now.timestamp(),
            (_, false) => self.attest_error_since = None,
            (true, true) => {}
        }
        self.dirty |= before != self.attest.state() || ask == Ask::Certs || self.attest.error().is_some();
        if before != self.attest.state() && ask == Ask::Quote && self.attest.settled() {
            self.config.hurry(at);
        }
    }

    fn on_config(&mut self, outcome: Outcome) {
        let at = self.now.at();
        let class = self.class_of(&outcome);
        self.dirty |= self.base_os.is_testing();
        let interval = self.properties.seconds("timer.config.interval");
        self.config.again(at, interval, &mut self.random);
        let refused = if let Outcome::Status { status, .. } = outcome { Some(status) } else { None };
        if let (Some(status), true) = (refused, refused != self.config_refused) {
            log::warn!(
                "configuration: the controller answers {status}; trying on [{}]",
                code::CONFIG_REFUSED
            );
        }
        self.config_refused = refused;
        let class = match outcome {
            Outcome::Success { status: 304, .. } => {
                self.config.confirm(at);
                class
            }
            Outcome::Success { payload, .. } => match config::parse_response(&payload) {
                Ok(response) => {
                    self.on_config_response(response);
                    class
                }
                Err(error) => {
                    log::warn!("configuration: {error} [{}]", code::CONFIG_BAD);
                    Class::Fail
                }
            },
            Outcome::Status { class: StatusClass::Forbidden, .. } => {
                self.attest.restart(at);
                self.dirty = true;
                class
            }
            Outcome::Status { .. } | Outcome::Unusable(_) | Outcome::NoAnswer(_) => {
                self.config_failed();
                self.dirty |= !self.store.has_config();
                class
            }
        };
        // A version that cannot read what the controller sends has not proven itself; of what was refused, the word that
        // there is nothing newer is no better.
        let class = if class == Class::Success && self.store.has_refused() { Class::Fail } else { class };
        self.base_os.reached(self.now, class);
    }

    fn on_config_response(&mut self, response: config::Response) {
        match self.store.judge(self.now, response) {
            Verdict::Unchanged => self.config.confirm(self.now.at()),
            Verdict::Obsolete => log::warn!(
                "configuration: older than the one that was applied last; ignored [{}]",
                code::CONFIG_OLD
            ),
            Verdict::NoIdentity => {
                log::warn!("configuration: its id is not a UUID; ignored [{}]", code::CONFIG_BAD)
            }
            Verdict::Apply(config) => {
                self.config.confirm(self.now.at());
                self.kept.accepted = true;
                self.take_config(config);
            }
        }
    }

    /// Whether the controller answers, whatever it says.
    fn note_reach(&mut self, path: &'static str, result: &Result<Response, HttpFailure>) {
        let change = match result {
            Ok(_) => self.reach.on_answer(self.now, path),
            Err(failure) => {
                if failure.kind == FailureKind::CertificateTime {
                    self.time.doubt();
                }
                self.reach.on_failure(self.now, path, failure)
            }
        };
        let server = &self.session.credentials().server;
        match (change, result) {
            (Change::Same, _) => return,
            (Change::Back { after }, _) => {
                log::info!("controller {server}: reached again after {} s", after.as_secs());
                self.kick();
            }
            (Change::Mended, _) => log::info!("controller {server}: {path} is answered again"),
            (_, Err(failure)) => log::warn!(
                "controller {server}: {}: {}; trying on [{}]",
                failure.kind,
                failure.text,
                code::UNREACHABLE
            ),
            (Change::Reached | Change::Lost | Change::Broken, Ok(_)) => {}
        }
        self.dirty = true;
    }
}
