//! From names to IPv4 addresses: the provisioned `hosts` lines first, then DNS over UDP.
//!
//! [`Resolver`] knows hosts, servers and what was learnt; [`Lookup`] asks the servers in turn, as a machine that is
//! told the time and what packets came. Source: RFC 1034, RFC 1035; RFC 5452 for what makes an answer ours.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::Ipv4Addr;
use core::time::Duration;

mod hosts;
mod lookup;
mod message;

pub use lookup::{Lookup, Step};
pub use message::{Answer, MAX_ADDRESSES, MAX_MESSAGE, MessageError, emit_query, parse_answer};

/// Servers that are asked; more are ignored.
pub const MAX_SERVERS: usize = 3;
/// Names that are remembered.
const MAX_CACHED: usize = 16;
/// Shortest and longest time that an answer is remembered, whatever its TTL says.
const MIN_TTL: Duration = Duration::from_secs(5);
const MAX_TTL: Duration = Duration::from_secs(3600);

/// What is known about names.
#[derive(Debug, Default)]
pub struct Resolver {
    hosts: Vec<(String, Ipv4Addr)>,
    servers: Vec<Ipv4Addr>,
    cache: VecDeque<Cached>,
}

#[derive(Debug)]
struct Cached {
    name: String,
    addresses: Vec<Ipv4Addr>,
    until: Duration,
}

impl Resolver {
    /// Takes the lines of a `hosts` file in place of the earlier ones. Returns how many lines were of no use: neither
    /// empty, a comment, nor an address with names (IPv6 addresses count as such, and are not used).
    pub fn set_hosts(&mut self, text: &str) -> usize {
        let (hosts, bad) = hosts::parse(text);
        self.hosts = hosts;
        bad
    }

    /// Takes the servers to ask, the first [`MAX_SERVERS`] of them. If they are others than before, what was learnt
    /// is forgotten.
    pub fn set_servers(&mut self, servers: &[Ipv4Addr]) {
        let servers: Vec<_> =
            servers.iter().copied().filter(|server| message::is_usable(*server)).take(MAX_SERVERS).collect();
        if servers != self.servers {
            self.servers = servers;
            self.cache.clear();
        }
    }

    /// The addresses of `name` if they are known without asking.
    pub fn known(&mut self, name: &str, now: Duration) -> Option<Vec<Ipv4Addr>> {
        let here: Vec<_> = self
            .hosts
            .iter()
            .filter(|(host, _)| host.eq_ignore_ascii_case(name))
            .map(|(_, at)| *at)
            .collect();
        if !here.is_empty() {
            return Some(here);
        }
        self.cache.retain(|cached| now < cached.until);
        self.cache.iter().find(|cached| cached.name.eq_ignore_ascii_case(name)).map(|c| c.addresses.clone())
    }

    /// Begins to ask for `name`.
    ///
    /// # Errors
    /// [`ResolveError::NoServers`] or [`ResolveError::Name`].
    pub fn lookup(&self, name: &str) -> Result<Lookup, ResolveError> {
        Lookup::new(name, &self.servers)
    }

    /// Remembers an answer.
    pub fn remember(&mut self, name: &str, answer: &Answer, now: Duration) {
        self.forget(name);
        if self.cache.len() == MAX_CACHED {
            self.cache.pop_front();
        }
        let until = now + answer.ttl.clamp(MIN_TTL, MAX_TTL);
        self.cache.push_back(Cached { name: name.into(), addresses: answer.addresses.clone(), until });
    }

    /// Forgets an answer, as when nobody was found at its addresses.
    pub fn forget(&mut self, name: &str) {
        self.cache.retain(|cached| !cached.name.eq_ignore_ascii_case(name));
    }
}

/// Why a name has no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResolveError {
    /// No DNS server is known, and the name is not in `hosts`.
    NoServers,
    /// It is no host name.
    Name,
    /// A server says that the name does not exist.
    Unknown,
    /// A server says that the name has no IPv4 address.
    NoAddress,
    /// No server could answer; this is what the last one said.
    Failed {
        /// RCODE of RFC 1035 §4.1.1, such as 2 for a failure and 5 for a refusal.
        rcode: u8,
    },
    /// The last answer was not a sound DNS message.
    Malformed(MessageError),
    /// No server answered.
    TimedOut {
        /// How many queries were sent.
        tries: u8,
    },
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResolveError::NoServers => f.write_str("no DNS server is known and the name is not in hosts"),
            ResolveError::Name => f.write_str("this is not a host name"),
            ResolveError::Unknown => f.write_str("the name does not exist"),
            ResolveError::NoAddress => f.write_str("the name has no IPv4 address"),
            ResolveError::Failed { rcode } => write!(f, "the DNS server answered with error {rcode}"),
            ResolveError::Malformed(error) => write!(f, "the DNS server's answer is malformed: {error}"),
            ResolveError::TimedOut { tries } => write!(f, "no DNS server answered {tries} queries"),
        }
    }
}

impl core::error::Error for ResolveError {}

#[cfg(test)]
mod tests;
