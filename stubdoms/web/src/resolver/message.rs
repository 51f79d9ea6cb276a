//! The two messages that are needed: a question for the addresses of a name, and its answer.

use alloc::vec::Vec;
use core::fmt;
use core::net::Ipv4Addr;
use core::time::Duration;

/// Longest message over UDP, in bytes (RFC 1035 §2.3.4). We announce nothing longer.
pub const MAX_MESSAGE: usize = 512;
/// Addresses that are taken from an answer.
pub const MAX_ADDRESSES: usize = 8;
/// Steps from alias to alias that are followed.
const MAX_ALIASES: usize = 8;
/// Longest name in its wire form, in bytes.
const MAX_NAME: usize = 255;

const HEADER: usize = 12;
const TYPE_A: u16 = 1;
const TYPE_CNAME: u16 = 5;
const CLASS_IN: u16 = 1;
/// Flags: this is an answer; operation code; truncated; recursion desired.
const QR: u16 = 1 << 15;
const OPCODE: u16 = 0xf << 11;
const TC: u16 = 1 << 9;
const RD: u16 = 1 << 8;
const RCODE: u16 = 0xf;

/// What a server knows about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// One to [`MAX_ADDRESSES`] addresses of hosts.
    pub addresses: Vec<Ipv4Addr>,
    /// How long this may be remembered: the least of the records on the way.
    pub ttl: Duration,
}

/// Why a message is no answer to our question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageError {
    /// It answers nothing that we asked: another id, another question, or no DNS message at all. It may be forged.
    NotOurs,
    /// It ends within something.
    Truncated {
        /// Bytes that are there.
        have: usize,
        /// Bytes that should be there at least.
        need: usize,
    },
    /// A name in it is malformed, too long, or refers to something that does not stand before it.
    BadName {
        /// Where the name stands.
        at: usize,
    },
    /// The server says that the name does not exist (RCODE 3).
    Unknown,
    /// The server did not answer the question (any other RCODE but 0).
    Failed {
        /// Its reason.
        rcode: u8,
    },
    /// The chain of aliases is longer than we follow, or a circle.
    TooManyAliases {
        /// The most that are followed.
        limit: usize,
    },
    /// It holds no address.
    NoAddress,
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MessageError::NotOurs => f.write_str("it answers another question"),
            MessageError::Truncated { have, need } => write!(f, "it has {have} of at least {need} bytes"),
            MessageError::BadName { at } => write!(f, "the name at byte {at} is malformed"),
            MessageError::Unknown => f.write_str("the name does not exist"),
            MessageError::Failed { rcode } => write!(f, "the server failed with error {rcode}"),
            MessageError::TooManyAliases { limit } => write!(f, "there are more than {limit} aliases"),
            MessageError::NoAddress => f.write_str("it holds no address"),
        }
    }
}

/// True for an address at which there can be a host on the network.
pub(super) fn is_usable(address: Ipv4Addr) -> bool {
    !(address.is_unspecified() || address.is_multicast() || address.is_broadcast() || address.is_loopback())
}

/// Asks for the addresses of `name`. `None` if it is no name that DNS can carry.
pub fn emit_query(id: u16, name: &str) -> Option<Vec<u8>> {
    let mut message = Vec::with_capacity(HEADER + name.len() + 6);
    for word in [id, RD, 1, 0, 0, 0] {
        message.extend_from_slice(&word.to_be_bytes());
    }
    message.extend_from_slice(&wire_name(name)?);
    for word in [TYPE_A, CLASS_IN] {
        message.extend_from_slice(&word.to_be_bytes());
    }
    Some(message)
}

/// Reads the answer to [`emit_query`] with the same id and name.
///
/// # Errors
/// [`MessageError`]; with [`MessageError::NotOurs`] the right answer may still come.
pub fn parse_answer(message: &[u8], id: u16, name: &str) -> Result<Answer, MessageError> {
    let mut reader = Reader { message, at: 0 };
    let flags = our_flags(&mut reader, id, name).ok_or(MessageError::NotOurs)?;
    match (flags & RCODE) as u8 {
        0 => {}
        3 => return Err(MessageError::Unknown),
        rcode => return Err(MessageError::Failed { rcode }),
    }
    let answers = message.get(6..8).map_or(0, |count| count.iter().fold(0, |n, b| n << 8 | u16::from(*b)));
    let records = reader.records(answers, flags & TC != 0)?;
    follow(wire_name(name).ok_or(MessageError::NotOurs)?, &records)
}

/// Reads header and question. The flags, if all that a forger would have to guess is right.
fn our_flags(reader: &mut Reader<'_>, id: u16, name: &str) -> Option<u16> {
    let (their_id, flags, questions) = (reader.word().ok()?, reader.word().ok()?, reader.word().ok()?);
    reader.take(6).ok()?;
    let question = (reader.name().ok()?, reader.word().ok()?, reader.word().ok()?);
    let ours = their_id == id
        && flags & (QR | OPCODE) == QR
        && questions == 1
        && question == (wire_name(name)?, TYPE_A, CLASS_IN);
    ours.then_some(flags)
}

/// A record of an answer, if it is of use.
struct Record {
    owner: Vec<u8>,
    ttl: u32,
    content: Content,
}

enum Content {
    Address(Ipv4Addr),
    Alias(Vec<u8>),
}

/// Follows the aliases from `name` and collects the addresses at their end.
fn follow(mut name: Vec<u8>, records: &[Record]) -> Result<Answer, MessageError> {
    let mut ttl = u32::MAX;
    for _ in 0..=MAX_ALIASES {
        let mut addresses = Vec::new();
        let mut alias = None;
        for record in records.iter().filter(|record| record.owner == name) {
            match &record.content {
                Content::Address(address) if addresses.len() < MAX_ADDRESSES && is_usable(*address) => {
                    addresses.push(*address);
                    ttl = ttl.min(record.ttl);
                }
                Content::Address(_) => {}
                Content::Alias(to) => alias = Some((to, record.ttl)),
            }
        }
        if !addresses.is_empty() {
            return Ok(Answer { addresses, ttl: Duration::from_secs(ttl.into()) });
        }
        let Some((to, its_ttl)) = alias else { return Err(MessageError::NoAddress) };
        ttl = ttl.min(its_ttl);
        name = to.clone();
    }
    Err(MessageError::TooManyAliases { limit: MAX_ALIASES })
}

/// A name as DNS carries it, in lower case: labels with their lengths, and an empty one at the end.
fn wire_name(name: &str) -> Option<Vec<u8>> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let mut wire = Vec::with_capacity(name.len() + 2);
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        wire.push(length);
        wire.extend(label.bytes().map(|b| b.to_ascii_lowercase()));
    }
    wire.push(0);
    (wire.len() <= MAX_NAME).then_some(wire)
}

struct Reader<'m> {
    message: &'m [u8],
    at: usize,
}

impl<'m> Reader<'m> {
    fn take(&mut self, length: usize) -> Result<&'m [u8], MessageError> {
        // Both are far below the limit of usize: positions lie in the message, lengths come from 16 bits.
        let end = self.at + length;
        let bytes = self
            .message
            .get(self.at..end)
            .ok_or(MessageError::Truncated { have: self.message.len(), need: end })?;
        self.at = end;
        Ok(bytes)
    }

    fn byte(&mut self) -> Result<u8, MessageError> {
        Ok(self.take(1)?.first().copied().unwrap_or(0))
    }

    fn word(&mut self) -> Result<u16, MessageError> {
        Ok(u16::from_be_bytes([self.byte()?, self.byte()?]))
    }

    /// Reads a name, which may end in a pointer to an earlier one.
    ///
    /// Two names that point at each other would keep us for ever. So a pointer must lead to a place before the part
    /// that it ends; each jump goes strictly back, and there is an end.
    fn name(&mut self) -> Result<Vec<u8>, MessageError> {
        let start = self.at;
        let bad = MessageError::BadName { at: start };
        let mut name = Vec::new();
        let mut part = start;
        let mut behind = None;
        loop {
            match self.byte()? {
                0 => break,
                length @ 1..=63 => {
                    name.push(length);
                    name.extend(self.take(length.into())?.iter().map(u8::to_ascii_lowercase));
                    // One byte is kept for the empty label.
                    if name.len() >= MAX_NAME {
                        return Err(bad);
                    }
                }
                high @ 0xc0.. => {
                    let target = usize::from(u16::from_be_bytes([high & 0x3f, self.byte()?]));
                    behind = behind.or(Some(self.at));
                    if target >= part {
                        return Err(bad);
                    }
                    (self.at, part) = (target, target);
                }
                _ => return Err(bad),
            }
        }
        name.push(0);
        self.at = behind.unwrap_or(self.at);
        Ok(name)
    }

    /// Reads up to `count` records. A server that ran out of room says so and may stop within one.
    fn records(&mut self, count: u16, cut: bool) -> Result<Vec<Record>, MessageError> {
        let mut records = Vec::new();
        for _ in 0..count {
            match self.record() {
                Ok(record) => records.extend(record),
                Err(MessageError::Truncated { .. }) if cut => break,
                Err(error) => return Err(error),
            }
        }
        Ok(records)
    }

    fn record(&mut self) -> Result<Option<Record>, MessageError> {
        let owner = self.name()?;
        let (kind, class) = (self.word()?, self.word()?);
        let ttl = u32::from(self.word()?) << 16 | u32::from(self.word()?);
        // RFC 2181 §8: with the highest bit set it counts as 0.
        let ttl = if ttl >> 31 == 1 { 0 } else { ttl };
        let length = usize::from(self.word()?);
        let start = self.at;
        let bytes = self.take(length)?;
        let content = match (class, kind) {
            (CLASS_IN, TYPE_A) => {
                <[u8; 4]>::try_from(bytes).ok().map(|octets| Content::Address(octets.into()))
            }
            (CLASS_IN, TYPE_CNAME) => {
                let mut reader = Reader { message: self.message, at: start };
                let alias = reader.name()?;
                if reader.at != self.at {
                    return Err(MessageError::BadName { at: start });
                }
                Some(Content::Alias(alias))
            }
            _ => None,
        };
        Ok(content.map(|content| Record { owner, ttl, content }))
    }
}
