//! What is remembered of the configuration, and whether a new one is to be applied.

use alloc::{boxed::Box, string::String};

use proto_eve::{Timestamp, config::Response, time, uuid::Uuid, wire::config::EdgeDevConfig};

use crate::{agent::Origin, clock::Now};

#[derive(Debug, Default)]
pub(crate) struct Store {
    hash: String,
    applied: Option<Timestamp>,
    /// What an earlier life of the agent had applied in this start.
    earlier: Option<Timestamp>,
    epoch: Option<i64>,
    certs_hash: Option<String>,
    received: Option<Timestamp>,
    processed: Option<Timestamp>,
    /// The answer that `hash` is of was refused.
    refused: bool,
    live: bool,
}

/// What to do with an answer.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// The same as before.
    Unchanged,
    /// Older than what was applied last in this start, in this life or an earlier one: keep what runs.
    Obsolete,
    /// Its `id.uuid` is not a UUID: refuse it.
    NoIdentity,
    /// To be applied.
    Apply(Box<EdgeDevConfig>),
}

/// What a configuration asks for besides its objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wishes {
    /// The epoch is another one: send every report again.
    pub(crate) resend: bool,
    /// The controller has other certificates.
    pub(crate) certs: bool,
}

impl Store {
    /// To be sent with the next request. Empty after a start.
    pub(crate) fn hash(&self) -> &str {
        &self.hash
    }

    /// Makes the next answer count as new.
    pub(crate) fn forget_hash(&mut self) {
        self.hash.clear();
    }

    /// Takes the timestamp of what an earlier life of the agent had applied in this start: what is older is not applied
    /// over what that life has left.
    pub(crate) fn recall(&mut self, applied: Option<Timestamp>) {
        self.earlier = applied;
    }

    /// The timestamp of the configuration that was applied last in this start, in this life or an earlier one.
    pub(crate) fn last_applied(&self) -> Option<Timestamp> {
        self.applied.or(self.earlier)
    }

    /// Whether one that is newer was applied in this start.
    pub(crate) fn is_obsolete(&self, config: &EdgeDevConfig) -> bool {
        let (last, this) = (self.last_applied(), config.config_timestamp);
        last.zip(this).is_some_and(|(last, this)| time::is_older(&this, &last))
    }

    pub(crate) fn has_config(&self) -> bool {
        self.processed.is_some() || self.applied.is_some() || self.epoch.is_some()
    }

    /// Whether what is applied came from the controller since the start.
    pub(crate) fn is_live(&self) -> bool {
        self.live
    }

    /// Whether the last answer was refused: to hear that there is no other one since is no success.
    pub(crate) fn has_refused(&self) -> bool {
        self.refused
    }

    pub(crate) fn received(&self) -> Option<Timestamp> {
        self.received
    }

    pub(crate) fn processed(&self) -> Option<Timestamp> {
        self.processed
    }

    /// Judges an answer with status 200. Its hash is remembered whatever the verdict.
    pub(crate) fn judge(&mut self, now: Now, response: Response) -> Verdict {
        self.received = now.timestamp();
        if !self.hash.is_empty() && response.hash == self.hash {
            return Verdict::Unchanged;
        }
        self.hash = response.hash;
        self.refused = false;
        let Some(config) = response.config else { return Verdict::Unchanged };
        if config.id.as_ref().and_then(|id| Uuid::parse(&id.uuid)).is_none() {
            self.refused = true;
            return Verdict::NoIdentity;
        }
        if self.is_obsolete(&config) {
            return Verdict::Obsolete;
        }
        Verdict::Apply(Box::new(config))
    }

    /// A configuration is being applied.
    pub(crate) fn applied(&mut self, now: Now, config: &EdgeDevConfig, origin: Origin) -> Wishes {
        self.live |= origin == Origin::Controller;
        // Of one without a timestamp nobody can say what is older.
        (self.applied, self.earlier) = (config.config_timestamp, None);
        self.processed = now.timestamp();
        let epoch = self.epoch.replace(config.controller_epoch);
        let certs = self.certs_hash.replace(config.controllercert_confighash.clone());
        Wishes {
            resend: epoch.is_some_and(|epoch| epoch != config.controller_epoch),
            certs: certs.is_some_and(|hash| hash != config.controllercert_confighash),
        }
    }
}

#[cfg(test)]
mod tests {
    use proto_eve::wire::config::UuiDandVersion;

    use super::*;

    fn now() -> Now {
        Now { monotonic_ns: 0, wall: None }
    }

    fn response(hash: &str, seconds: i64) -> Response {
        let id = UuiDandVersion { uuid: "5a5a5a5a-0000-4000-8000-0123456789ab".into(), version: "1".into() };
        let config = EdgeDevConfig {
            id: Some(id),
            config_timestamp: Some(Timestamp { seconds, nanos: 0 }),
            ..EdgeDevConfig::default()
        };
        Response { config: Some(config), hash: hash.into() }
    }

    #[test]
    fn only_a_new_and_not_older_configuration_is_applied() {
        let mut store = Store::default();
        let Verdict::Apply(config) = store.judge(now(), response("a", 5)) else { panic!() };
        assert_eq!(store.applied(now(), &config, Origin::Controller), Wishes { resend: false, certs: false });
        assert!(matches!(store.judge(now(), response("a", 9)), Verdict::Unchanged));
        assert!(matches!(store.judge(now(), response("b", 4)), Verdict::Obsolete));
        assert_eq!(store.hash(), "b");
        let mut nobody = response("c", 9);
        nobody.config.as_mut().unwrap().id = None;
        assert!(!store.has_refused());
        assert!(matches!(store.judge(now(), nobody.clone()), Verdict::NoIdentity));
        assert!(matches!(store.judge(now(), nobody), Verdict::Unchanged));
        assert!(store.has_refused());
        let mut last = response("d", 5);
        last.config.as_mut().unwrap().controller_epoch = 1;
        last.config.as_mut().unwrap().controllercert_confighash = "x".into();
        let Verdict::Apply(config) = store.judge(now(), last) else { panic!() };
        assert_eq!(store.applied(now(), &config, Origin::Controller), Wishes { resend: true, certs: true });
        // Without a hash nothing can be the same.
        assert!(matches!(store.judge(now(), response("", 5)), Verdict::Apply(_)));
        assert!(matches!(store.judge(now(), response("", 5)), Verdict::Apply(_)));
    }
}
