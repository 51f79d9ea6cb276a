//! The time of day from a time server: SNTP, the client's half of NTP in its simplest form.
//!
//! [`Query`] asks the addresses of one server in turn, as a machine that is told the time and what packets came. Nobody
//! signs these answers: what makes one ours is that it comes from where we asked and repeats the 64 random bits of the
//! question, so it can be forged by whoever sees the question. What is done with it is the agent's to decide.
//!
//! Source: RFC 5905 §7.3, §14; RFC 4330 §5 for what a client checks; RFC 8633 §4.2 for random bits in place of a time.

use alloc::collections::VecDeque;
use core::fmt;
use core::net::SocketAddrV4;
use core::time::Duration;

mod message;
mod server;

pub use message::{Answer, LENGTH, MessageError, PIVOT, emit_request, parse_answer};
pub use server::Server;

use crate::question::{self, Question};
use crate::resolver::ResolveError;

/// Addresses of one server that are asked; more are ignored.
pub const MAX_ADDRESSES: usize = 3;
/// How long each round through the addresses waits for each of them.
const ROUNDS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];

/// What a server says about the time, with when we heard it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Who said it.
    pub server: SocketAddrV4,
    /// How many servers it is away from a clock of reference, that clock being 0.
    pub stratum: u8,
    /// The time since 1970-01-01 00:00 UTC at [`at`](Self::at).
    pub since_1970: Duration,
    /// When the answer came, on the timer.
    pub at: Duration,
    /// How far [`since_1970`](Self::since_1970) may be off for what the question and the answer spent on the way.
    pub within: Duration,
}

/// Why there is no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeError {
    /// The server's name has no address.
    Resolve(ResolveError),
    /// The last answer is of no use.
    Answer(MessageError),
    /// No address answered.
    TimedOut {
        /// How many questions were sent.
        tries: u8,
    },
    /// It took longer than everything may take.
    TooLong,
    /// There is no server to ask, or none with a name that can be one.
    NoServer,
}

impl fmt::Display for TimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TimeError::Resolve(error) => error.fmt(f),
            TimeError::Answer(error) => write!(f, "the time server's answer is of no use: {error}"),
            TimeError::TimedOut { tries } => write!(f, "the time server answered none of {tries} questions"),
            TimeError::TooLong => f.write_str("asking for the time took too long"),
            TimeError::NoServer => f.write_str("no time server is known"),
        }
    }
}

impl core::error::Error for TimeError {}

/// What is to be done next.
pub type Step = question::Step<Result<Reading, TimeError>>;

/// A question that goes from address to address until one answers.
#[derive(Clone, Debug)]
pub struct Query {
    /// Whom to ask next, and how long to wait for each.
    turns: VecDeque<(SocketAddrV4, Duration)>,
    /// Questions that were sent.
    tries: u8,
    asked: Option<Asked>,
    last: Option<TimeError>,
    done: Option<Result<Reading, TimeError>>,
}

/// The question that is out.
#[derive(Clone, Copy, Debug)]
struct Asked {
    nonce: u64,
    server: SocketAddrV4,
    sent: Duration,
    until: Duration,
}

impl Query {
    /// Will ask the first [`MAX_ADDRESSES`] of these.
    #[must_use]
    pub fn new(addresses: &[SocketAddrV4]) -> Self {
        let addresses = addresses.get(..MAX_ADDRESSES).unwrap_or(addresses);
        let round = |wait| addresses.iter().map(move |address| (*address, wait));
        let turns = ROUNDS.into_iter().flat_map(round).collect();
        Query { turns, tries: 0, asked: None, last: None, done: None }
    }

    /// What to do now. `nonce` is a fresh random number; it is used if there is a question to send.
    pub fn step(&mut self, now: Duration, nonce: u64) -> Step {
        if let Some(end) = self.done {
            return Step::Done(end);
        }
        match self.asked {
            Some(Asked { until, .. }) if now < until => return Step::Wait { until },
            _ => self.asked = None,
        }
        let Some((server, wait)) = self.turns.pop_front() else {
            return self.end(Err(self.last.unwrap_or(TimeError::TimedOut { tries: self.tries })));
        };
        let until = now + wait;
        self.asked = Some(Asked { nonce, server, sent: now, until });
        self.tries += 1;
        Step::Send { to: server, packet: emit_request(nonce).into(), until }
    }

    /// Takes a packet that came to the port of the last question. What is not its answer is ignored.
    pub fn input(&mut self, now: Duration, from: SocketAddrV4, packet: &[u8]) {
        let Some(Asked { nonce, server, sent, until }) = self.asked else { return };
        // One that is late says nothing of now: nobody knows which way has held it up.
        if from != server || now >= until {
            return;
        }
        match parse_answer(packet, nonce) {
            Ok(answer) => {
                let on_the_way = now.saturating_sub(sent).saturating_sub(answer.spent);
                let reading = Reading {
                    server,
                    stratum: answer.stratum,
                    since_1970: answer.since_1970 + on_the_way / 2,
                    at: now,
                    within: on_the_way / 2,
                };
                self.done = Some(Ok(reading));
            }
            Err(MessageError::NotOurs) => {}
            Err(error) => {
                // On to the next address without waiting. One that asks to be left alone is not asked again.
                self.last = Some(TimeError::Answer(error));
                self.asked = None;
                if let MessageError::Kiss { .. } = error {
                    self.turns.retain(|(address, _)| *address != server);
                }
            }
        }
    }

    fn end(&mut self, end: Result<Reading, TimeError>) -> Step {
        self.done = Some(end);
        Step::Done(end)
    }
}

impl Question for Query {
    type End = Result<Reading, TimeError>;

    fn step(&mut self, now: Duration, nonce: u64) -> Step {
        Query::step(self, now, nonce)
    }

    fn input(&mut self, now: Duration, from: SocketAddrV4, packet: &[u8]) {
        Query::input(self, now, from, packet);
    }
}

#[cfg(test)]
mod tests;
