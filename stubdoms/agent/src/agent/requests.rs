//! Requests to the controller: what each slot wants to send, one at a time.

use alloc::vec::Vec;
use core::time::Duration;

use proto_errors::agent as code;
use proto_eve::{
    attest::{self as attest_messages, Evidence},
    config as config_messages,
    endpoint::Endpoint,
};

use super::Agent;
use crate::{
    attest::Ask,
    clock::Instant,
    http::{FailureKind, Outcome, Request, RequestId},
    keep::Name,
    onboard::Step,
    report::{logs::Upload, metrics::spool::Delivery},
    retry::Sent,
    session::{Limits, Message},
};

/// What a request may take beyond its own limit before it counts as lost in the shell.
const GRACE: Duration = Duration::from_secs(30);

/// What a request under way is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Certs,
    Register,
    Uuid,
    Attest(Ask),
    Config,
    Info(Sent),
    Metrics(Delivery),
    Logs(Upload),
}

/// Of each of these, one request is under way at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    Certs,
    Onboard,
    Attest,
    Config,
    Info,
    Metrics,
    Logs,
}

/// In the order in which they are served.
const SLOTS: [Slot; 7] =
    [Slot::Certs, Slot::Onboard, Slot::Attest, Slot::Config, Slot::Info, Slot::Metrics, Slot::Logs];

impl Purpose {
    pub(super) fn slot(&self) -> Slot {
        match self {
            Self::Certs => Slot::Certs,
            Self::Register | Self::Uuid => Slot::Onboard,
            Self::Attest(_) => Slot::Attest,
            Self::Config => Slot::Config,
            Self::Info(_) => Slot::Info,
            Self::Metrics(_) => Slot::Metrics,
            Self::Logs(_) => Slot::Logs,
        }
    }
}

/// One under way.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) purpose: Purpose,
    pub(super) endpoint: Endpoint,
    pub(super) sent: Instant,
    pub(super) lost: Instant,
    pub(super) bytes: usize,
}

impl Agent {
    /// The next request to send, if any is due.
    pub fn next_request(&mut self) -> Option<Request> {
        if !self.uplink.up {
            return None;
        }
        for slot in SLOTS {
            if self.is_busy(slot) || (slot != Slot::Certs && !self.can_sign()) {
                continue;
            }
            let Some((purpose, endpoint, message)) = self.due(slot) else { continue };
            match self.send(purpose, endpoint, message) {
                Some(request) => return Some(request),
                None => continue,
            }
        }
        None
    }

    pub(super) fn is_busy(&self, slot: Slot) -> bool {
        self.flights.values().any(|flight| flight.purpose.slot() == slot)
    }

    /// What a slot wants to send now.
    fn due(&mut self, slot: Slot) -> Option<(Purpose, Endpoint, Message)> {
        let now = self.now.at();
        match slot {
            Slot::Certs => {
                (self.certs.deadline() <= now).then_some((Purpose::Certs, Endpoint::Certs, Message::Nothing))
            }
            Slot::Onboard if self.unknown_until().is_some_and(|until| until > now) => None,
            Slot::Onboard => Some(match self.onboard.due(now)? {
                Step::Register => (Purpose::Register, Endpoint::Register, Message::Registration),
                Step::Uuid => (Purpose::Uuid, Endpoint::Uuid, Message::Payload(proto_eve::uuid::request())),
            }),
            Slot::Attest => {
                let ask = self.attest.due(now)?;
                Some((Purpose::Attest(ask), Endpoint::Attest, Message::Payload(self.attest_message(ask))))
            }
            Slot::Config => self.config.due(now).then(|| {
                let payload = config_messages::request(self.store.hash(), self.attest.token());
                (Purpose::Config, Endpoint::Config, Message::Payload(payload))
            }),
            Slot::Info => {
                self.session.uuid()?;
                let (sent, body) = self.queue.due(now)?;
                Some((Purpose::Info(sent), Endpoint::Info, Message::Payload(body.to_vec())))
            }
            Slot::Metrics => {
                self.session.uuid()?;
                let keep = &self.keep;
                let (delivery, payload) =
                    self.spool.due(now, |number| keep.is_kept(Name::Metrics(number)))?;
                Some((Purpose::Metrics(delivery), Endpoint::Metrics, Message::Payload(payload)))
            }
            Slot::Logs => {
                let device = self.session.uuid()?;
                let (upload, endpoint, gzip) =
                    self.logs.due(now, device, &self.facts.partition, &self.facts.version)?;
                Some((Purpose::Logs(upload), endpoint, Message::Payload(gzip)))
            }
        }
    }

    fn send(&mut self, purpose: Purpose, endpoint: Endpoint, message: Message) -> Option<Request> {
        let now = self.now.at();
        let id = RequestId(self.next_id);
        self.next_id += 1;
        let limits = Limits::of(&self.properties);
        match &purpose {
            Purpose::Certs => self.certs.sent(now),
            Purpose::Attest(ask) => self.attest.sent(*ask),
            Purpose::Metrics(delivery) => self.spool.sent(*delivery),
            Purpose::Register | Purpose::Uuid | Purpose::Config | Purpose::Info(_) | Purpose::Logs(_) => {}
        }
        match self.session.request(id, endpoint, message, limits, &mut self.random) {
            Ok(request) => {
                let bytes = request.body.len();
                self.traffic.sent(action(endpoint), bytes);
                let lost = now.after(limits.timeout + GRACE);
                self.flights.insert(id, Flight { purpose, endpoint, sent: now, lost, bytes });
                Some(request)
            }
            Err(error) => {
                log::error!("{}: not sent: {error} [{}]", action(endpoint), code::NOT_SENT);
                self.route(purpose, Outcome::NoAnswer(FailureKind::Local));
                None
            }
        }
    }

    fn attest_message(&self, ask: Ask) -> Vec<u8> {
        match ask {
            Ask::Certs => attest_messages::certs_request(self.published.clone()),
            Ask::Nonce => attest_messages::nonce_request(),
            Ask::Quote => {
                let evidence = self.attest.quote().map(|quote| Evidence {
                    attest: &quote.attest,
                    signature: &quote.signature,
                    pcrs: &quote.pcrs,
                    event_log: &quote.event_log,
                });
                attest_messages::quote_request(&self.facts.version, &self.facts.firmware, evidence)
            }
            Ask::Keys => match self.attest.key() {
                Some(key) => attest_messages::store_keys_request(self.attest.token(), key),
                None => Vec::new(),
            },
        }
    }
}

/// Last part of an endpoint's path, for counters and log lines.
pub(super) fn action(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Certs => "certs",
        Endpoint::Register => "register",
        Endpoint::Uuid => "uuid",
        Endpoint::Config => "config",
        Endpoint::Attest => "attest",
        Endpoint::Info => "info",
        Endpoint::Metrics => "metrics",
        Endpoint::Newlogs => "newlogs",
        Endpoint::AppNewlogs(_) => "apps/newlogs",
    }
}
