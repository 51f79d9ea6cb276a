use alloc::string::String;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddrV4};
use core::time::Duration;

use super::message::{Answer, MessageError, emit_query, parse_answer};
use super::{MAX_SERVERS, ResolveError};
use crate::question::{self, Question};

/// How long each round through the servers waits for each of them.
const ROUNDS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];
const DNS_PORT: u16 = 53;

/// What is to be done next.
pub type Step = question::Step<Result<Answer, ResolveError>>;

/// A question that goes from server to server until one answers.
#[derive(Clone, Debug)]
pub struct Lookup {
    name: String,
    servers: Vec<Ipv4Addr>,
    /// Queries that were sent.
    tries: u8,
    /// The one that is out: its id, its server and its deadline.
    asked: Option<(u16, SocketAddrV4, Duration)>,
    last: Option<ResolveError>,
    done: Option<Result<Answer, ResolveError>>,
}

impl Lookup {
    pub(super) fn new(name: &str, servers: &[Ipv4Addr]) -> Result<Self, ResolveError> {
        if servers.is_empty() {
            return Err(ResolveError::NoServers);
        }
        emit_query(0, name).ok_or(ResolveError::Name)?;
        let servers = servers.iter().copied().take(MAX_SERVERS).collect();
        Ok(Lookup { name: name.into(), servers, tries: 0, asked: None, last: None, done: None })
    }

    /// What to do now. `id` is a fresh random number; it is used if there is a query to send.
    pub fn step(&mut self, now: Duration, id: u16) -> Step {
        if let Some(end) = &self.done {
            return Step::Done(end.clone());
        }
        match self.asked {
            Some((_, _, until)) if now < until => return Step::Wait { until },
            _ => self.asked = None,
        }
        let turn = usize::from(self.tries);
        let round = ROUNDS.get(turn / self.servers.len());
        let (Some(wait), Some(server)) = (round, self.servers.get(turn % self.servers.len())) else {
            return self.end(Err(self.last.unwrap_or(ResolveError::TimedOut { tries: self.tries })));
        };
        let Some(packet) = emit_query(id, &self.name) else { return self.end(Err(ResolveError::Name)) };
        let (to, until) = (SocketAddrV4::new(*server, DNS_PORT), now + *wait);
        self.asked = Some((id, to, until));
        self.tries += 1;
        Step::Send { to, packet, until }
    }

    /// Takes a packet that came to the port of the last query. What is not its answer is ignored.
    pub fn input(&mut self, from: SocketAddrV4, packet: &[u8]) {
        let Some((id, server, _)) = self.asked else { return };
        if from != server {
            return;
        }
        let failed = match parse_answer(packet, id, &self.name) {
            Ok(answer) => return self.done = Some(Ok(answer)),
            Err(MessageError::NotOurs) => return,
            Err(MessageError::Unknown) => return self.done = Some(Err(ResolveError::Unknown)),
            Err(MessageError::NoAddress) => return self.done = Some(Err(ResolveError::NoAddress)),
            Err(MessageError::Failed { rcode }) => ResolveError::Failed { rcode },
            Err(error) => ResolveError::Malformed(error),
        };
        // On to the next server without waiting.
        self.last = Some(failed);
        self.asked = None;
    }

    fn end(&mut self, end: Result<Answer, ResolveError>) -> Step {
        self.done = Some(end.clone());
        Step::Done(end)
    }
}

impl Question for Lookup {
    type End = Result<Answer, ResolveError>;

    fn step(&mut self, now: Duration, nonce: u64) -> Step {
        Lookup::step(self, now, nonce as u16)
    }

    fn input(&mut self, _: Duration, from: SocketAddrV4, packet: &[u8]) {
        Lookup::input(self, from, packet);
    }
}
