//! Decides when a service is built, asked whether it is well, ended and built anew, and whether the
//! watchdog is fed. Pure: [`Supervisor::step`] takes the time and an event, and returns commands.
//!
//! ```text
//!                    built               up             silent for PING_EVERY, not at rest
//!   Waiting ─► Building ─► Starting ──────────► Healthy ───────────────────────────► Asked
//!      ▲          │           │ START_LIMIT        ▲  ▲                                │ ANSWER_WITHIN
//!      │          │           │                    │  └──────── anything heard ────────┤
//!      │          │           │                    │                                   ▼
//!      │          │           │                    └────────── anything heard ───── Suspect
//!      │          │           ▼                                                        │ SECOND_CHANCE
//!      │          │        Ending ◄── died, hung, ordered: from every state that has ──┘
//!      │          │           │ gone                                       an instance
//!      │          └───────────┤ not built
//!      │                      ▼
//!      └────────────── BackingOff ──► GivenUp, after too many deaths
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`history`] | deaths of one service: how long to wait, when to give up |
//! | [`service`] | the states above, for one service |
//! | [`supervisor`] | all of them: order, one timer, the watchdog |
//!
//! A service that is silent for a second is looked at ([`Supervisor::to_look_at`]). One that sleeps, and has
//! read what it was told, is at rest ([`Supervisor::at_rest`]): it is neither woken nor asked, and is looked at
//! again a second later. Any other is asked; 400 ms later it is asked again, and 400 ms after that it counts as
//! hung: [`HUNG_WITHIN`] in all. Whatever a service says counts as an answer, so that one with something to say
//! is never asked. What it means to sleep is for who looks to say (`dom0_toolstack::rest`). Instances are told apart by a [`Life`]:
//! what comes late from an earlier one changes nothing.
//!
//! A service that answers may still not do its work. It has [`READY_LIMIT`] for that from when all services that it
//! needs do theirs in their present life; while one of them does not, it waits for others and has no limit of its
//! own (services that need each other have none). What a service calls its work is its own to say, and must not
//! wait for what is outside of the machine: net does its work without a cable, control without a controller.
//!
//! Trust: dom0 alone. What a service says reaches this machine as "it said something"; there is no
//! event by which one service could touch another.
//!
//! Tests: a table of every state and event, and random schedules against a model that counts
//! instances.

#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod code;
pub mod history;
pub mod service;
pub mod supervisor;
#[cfg(test)]
mod tests;

use core::{fmt, time::Duration};

pub use history::Next;
pub use supervisor::{Boot, Commands, Event, Input, Supervisor};

/// Time since power-on.
pub type Instant = Duration;

/// How long a service may be silent before it is looked at, and asked unless it is at rest.
pub const PING_EVERY: Duration = Duration::from_millis(1000);
/// How long its answer may take before it is asked again.
pub const ANSWER_WITHIN: Duration = Duration::from_millis(400);
/// How long the second answer may take before the service counts as hung.
pub const SECOND_CHANCE: Duration = Duration::from_millis(400);
/// The longest that a service hangs before it is ended.
pub const HUNG_WITHIN: Duration = Duration::from_millis(2000);
/// How long a service may take from its first instruction until it opens its channel, which is the first thing that it
/// does: milliseconds; in an emulator beside other load the longest of thousands of starts took 1.5 s. One that spins
/// ahead of that is found then.
pub const START_LIMIT: Duration = Duration::from_secs(4);
/// How long a service may take until it does its work, from when it runs and those that it needs do theirs. Long:
/// a disk may have to be looked through, a TPM to make a key. So short that one which never does its work is given
/// up for that: [`history::LIMIT`] such lives, with the waits between them, are within [`history::WINDOW`].
pub const READY_LIMIT: Duration = Duration::from_secs(60);
/// The watchdog is fed this often, or a little later together with something else.
pub const FEED_EVERY: Duration = Duration::from_secs(3);

/// A service, by its place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId(pub u8);

impl ServiceId {
    /// The place in the table.
    #[must_use]
    pub fn index(self) -> usize {
        self.0.into()
    }
}

/// One instance of a service: counts its builds from 1 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Life(pub u32);

/// Why an instance ended, or did not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It panicked or faulted, and left its last words.
    Panicked,
    /// It ended with this shutdown code of Xen's, without last words.
    Shutdown(u8),
    /// It did not answer.
    Hung,
    /// It did not open its channel in time.
    StartTimeout,
    /// It answers, and did not do its work in time.
    NotReady,
    /// It could not be built.
    NotBuilt,
    /// It closed its channel or broke its protocol.
    Channel,
    /// A person or a drill ordered it.
    Ordered,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked => write!(f, "it panicked"),
            Self::Shutdown(code) => write!(f, "it ended with shutdown code {code}"),
            Self::Hung => write!(f, "it did not answer, asked twice"),
            Self::StartTimeout => write!(f, "it was not up {} s after its start", START_LIMIT.as_secs()),
            Self::NotReady => write!(f, "it did not do its work within {} s", READY_LIMIT.as_secs()),
            Self::NotBuilt => write!(f, "it could not be built"),
            Self::Channel => write!(f, "it broke its channel to dom0"),
            Self::Ordered => write!(f, "it was ordered"),
        }
    }
}

/// What is to be done, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Build and start this instance, then say [`Event::Built`] or [`Event::NotBuilt`].
    Build(ServiceId, Life),
    /// Ask the instance whether it is well.
    Ping(ServiceId, Life),
    /// Take away all that is left of the instance, then say [`Event::Gone`].
    End(ServiceId, Life),
    /// Tell people.
    Tell(ServiceId, Notice),
    /// Feed the watchdog.
    Feed,
}

/// What people are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// An instance ended, and what follows.
    Died(Reason, Next),
    /// It does its work again: the time since the last instance ended.
    Recovered(Duration),
    /// The watchdog is not fed from now on: the machine will be reset.
    NotFed,
    /// It is vital, but a reset did not bring it back before: the machine goes on without it.
    NoUse,
}
