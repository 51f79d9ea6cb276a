//! How often secrets of a configuration could be opened, and why not, by whose secrets they are.
//!
//! Counted as EVE counts: each time that an object's secret is wanted, also for objects that have none, or have it in
//! the clear. The objects are told by the names of EVE's agents, by which controllers know them.

use alloc::{string::ToString, vec::Vec};

use proto_eve::{
    cipher::CipherError as Opening,
    wire::metrics::{CipherError, CipherMetric, TypeCounter},
};

use crate::clock::WallTime;

/// Whose secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A datastore's.
    Datastore,
    /// An application's.
    App,
}

/// By the name of EVE's agent, in the order of [`Owner`].
const AGENTS: [&str; 2] = ["downloader", "domainmgr"];

/// What became of one secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was opened.
    Opened,
    /// It was not. Whether what the object says in the clear takes its place.
    Closed(Opening, Clear),
    /// The object has none that is encrypted.
    NoCipher(Clear),
}

/// Whether there is something in the clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clear {
    Something,
    Nothing,
}

impl Clear {
    /// Of fields that may be empty.
    pub(crate) fn of(fields: &[&str]) -> Self {
        if fields.iter().all(|field| field.is_empty()) { Self::Nothing } else { Self::Something }
    }
}

/// Errors that are counted, in the order of their numbers from 1 on.
const ERRORS: [CipherError; 7] = [
    CipherError::NotReady,
    CipherError::DecryptFailed,
    CipherError::UnmarshalFailed,
    CipherError::CleartextFallback,
    CipherError::MissingFallback,
    CipherError::NoCipher,
    CipherError::NoData,
];

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    opened: u64,
    /// By [`ERRORS`].
    errors: [u64; ERRORS.len()],
    last_failure: Option<WallTime>,
    last_success: Option<WallTime>,
}

/// The counters of all owners.
#[derive(Debug, Default)]
pub(crate) struct Ciphers([Counts; AGENTS.len()]);

impl Ciphers {
    /// Counts one.
    pub(crate) fn count(&mut self, owner: Owner, outcome: Outcome, at: Option<WallTime>) {
        let counts = &mut self.0[owner as usize];
        let (first, second) = match outcome {
            Outcome::Opened => {
                counts.opened = counts.opened.saturating_add(1);
                counts.last_success = at;
                return;
            }
            Outcome::Closed(error, clear) => (
                match error {
                    Opening::NoContext
                    | Opening::Scheme
                    | Opening::ControllerCert
                    | Opening::DeviceCert
                    | Opening::NoKey => CipherError::NotReady,
                    Opening::Shape | Opening::Decrypt => CipherError::DecryptFailed,
                    Opening::Content => CipherError::UnmarshalFailed,
                },
                Some(match clear {
                    Clear::Something => CipherError::CleartextFallback,
                    Clear::Nothing => CipherError::MissingFallback,
                }),
            ),
            Outcome::NoCipher(Clear::Something) => (CipherError::NoCipher, None),
            Outcome::NoCipher(Clear::Nothing) => (CipherError::NoData, None),
        };
        counts.last_failure = at;
        for (known, count) in ERRORS.iter().zip(&mut counts.errors) {
            if *known == first || Some(*known) == second {
                *count = count.saturating_add(1);
            }
        }
    }

    /// For the controller; those of which nothing was counted are left out.
    pub(crate) fn message(&self) -> Vec<CipherMetric> {
        let agents = AGENTS.iter().zip(&self.0);
        agents.filter_map(|(agent, counts)| counts.message(agent)).collect()
    }

    /// What a later life of the agent has to know.
    pub(crate) fn counters(&self) -> impl Iterator<Item = u64> + use<'_> {
        self.0.iter().flat_map(|counts| [counts.opened].into_iter().chain(counts.errors))
    }

    /// Takes what an earlier life left.
    pub(crate) fn recall(&mut self, counters: &mut impl Iterator<Item = u64>) {
        for counts in &mut self.0 {
            counts.opened = counters.next().unwrap_or(0);
            counts.errors = core::array::from_fn(|_| counters.next().unwrap_or(0));
        }
    }
}

impl Counts {
    fn message(&self, agent: &str) -> Option<CipherMetric> {
        let failures = self.errors.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
        let errors = ERRORS.iter().zip(self.errors).filter(|(_, count)| *count > 0);
        (failures > 0 || self.opened > 0).then(|| CipherMetric {
            agent_name: agent.to_string(),
            failure_count: failures,
            success_count: self.opened,
            last_failure: self.last_failure.map(WallTime::timestamp),
            last_success: self.last_success.map(WallTime::timestamp),
            tc: errors.map(|(error, count)| TypeCounter { error_code: *error as i32, count }).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Option<WallTime> {
        Some(WallTime { seconds, nanos: 0 })
    }

    fn counted(metric: &CipherMetric) -> Vec<(i32, u64)> {
        metric.tc.iter().map(|counter| (counter.error_code, counter.count)).collect()
    }

    #[test]
    fn each_outcome_is_counted_where_controllers_look_for_it() {
        let cases: [(Outcome, &[i32]); 9] = [
            (Outcome::Closed(Opening::NoContext, Clear::Nothing), &[1, 5]),
            (Outcome::Closed(Opening::NoKey, Clear::Something), &[1, 4]),
            (Outcome::Closed(Opening::DeviceCert, Clear::Nothing), &[1, 5]),
            (Outcome::Closed(Opening::Decrypt, Clear::Nothing), &[2, 5]),
            (Outcome::Closed(Opening::Shape, Clear::Something), &[2, 4]),
            (Outcome::Closed(Opening::Content, Clear::Something), &[3, 4]),
            (Outcome::NoCipher(Clear::Something), &[6]),
            (Outcome::NoCipher(Clear::Nothing), &[7]),
            (Outcome::Opened, &[]),
        ];
        for (outcome, errors) in cases {
            let mut ciphers = Ciphers::default();
            assert_eq!(ciphers.message(), []);
            ciphers.count(Owner::App, outcome, at(7));
            ciphers.count(Owner::App, outcome, at(9));
            let [metric] = &ciphers.message()[..] else { panic!("of applications alone") };
            assert_eq!(metric.agent_name, "domainmgr");
            assert_eq!(
                counted(metric),
                errors.iter().map(|error| (*error, 2)).collect::<Vec<_>>(),
                "{outcome:?}"
            );
            assert_eq!(metric.failure_count, 2 * errors.len() as u64);
            assert_eq!(metric.success_count, if outcome == Outcome::Opened { 2 } else { 0 });
            let (failure, success) = (metric.last_failure.is_some(), metric.last_success.is_some());
            assert_eq!((failure, success), (outcome != Outcome::Opened, outcome == Outcome::Opened));
        }
    }

    #[test]
    fn a_later_life_goes_on_counting() {
        let mut ciphers = Ciphers::default();
        ciphers.count(Owner::Datastore, Outcome::Opened, None);
        ciphers.count(Owner::App, Outcome::NoCipher(Clear::Nothing), None);
        let mut again = Ciphers::default();
        again.recall(&mut ciphers.counters());
        assert_eq!(again.message(), ciphers.message());
        again.recall(&mut core::iter::empty());
        assert_eq!(again.message(), []);
    }
}
