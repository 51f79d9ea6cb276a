//! Packets out of the slots of the tx ring.
//!
//! ```text
//!            EXTRA_INFO                    MORE
//!   First ------------------> Extra ---------------> Extra
//!     |  MORE_DATA              |  (packet had MORE_DATA)
//!     +-----------------> Fragment <-------+      MORE_DATA -> Fragment
//! ```
//!
//! Slots come one by one, so a packet may be half on the ring when we look. The first slot tells the size of
//! the whole packet and the others their own, so what the first one holds is known only in the end.
//!
//! A packet that is bad but whose end is known is *refused*: all of its slots are answered with an error. One
//! without an end is a fault of the peer.

use core::fmt;

use heapless::Vec;
use proto_ring::PeerFault;
use proto_xen::{Gref, PAGE_SIZE};

use super::checksum::Checksum;
use super::extra::{EXTRA_BYTES, Extra, ExtraType};
use super::tx::{TxFlags, TxRequest, TxResponse};
use super::{MAX_SLOTS, Status, TX_SLOT};

/// Most slots of extra info in one packet: one of each type.
pub const MAX_EXTRAS: usize = 4;

/// Most slots of one packet.
pub const MAX_CHAIN: usize = MAX_SLOTS + MAX_EXTRAS;

/// The shortest frame: the Ethernet header.
pub const MIN_FRAME: usize = 14;

/// A piece of a packet, inside of one granted page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// The frontend's page.
    pub gref: Gref,
    /// Where in the page, in bytes. `offset + size` is at most the page.
    pub offset: u16,
    /// Bytes, at least 1.
    pub size: u16,
}

/// Why a packet was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The first slot claims fewer bytes than the other slots have.
    LengthLie {
        /// What the first slot claims for the whole packet.
        total: u16,
        /// What the others have together.
        rest: u32,
    },
    /// A piece reaches past its page.
    CrossesPage {
        /// Where it starts in the page, in bytes.
        offset: u16,
        /// Its bytes.
        size: u32,
    },
    /// A piece without bytes.
    EmptyFragment,
    /// Shorter than an Ethernet header.
    TooShort {
        /// Bytes of the packet.
        length: u16,
    },
    /// Extra info that was not negotiated.
    Extra(ExtraType),
    /// Longer than the receiver's buffer.
    TooLong {
        /// Bytes of the packet.
        length: u16,
        /// Bytes of the buffer.
        max: usize,
    },
    /// A page could not be read.
    Unreadable(Gref),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LengthLie { total, rest } => {
                write!(f, "a packet claims {total} bytes, its later slots have {rest}")
            }
            Self::CrossesPage { offset, size } => {
                write!(f, "{size} bytes at offset {offset} reach past their page")
            }
            Self::EmptyFragment => f.write_str("a slot of a packet has no bytes"),
            Self::TooShort { length } => write!(f, "a packet of {length} bytes is no frame"),
            Self::Extra(kind) => write!(f, "extra info of type {} was not negotiated", kind.0),
            Self::TooLong { length, max } => write!(f, "a packet of {length} bytes, the most is {max}"),
            Self::Unreadable(gref) => write!(f, "grant reference {} cannot be read", gref.0),
        }
    }
}

/// A complete packet, or one that is complete and bad.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The pieces in order, or why the packet is refused.
    pub content: Result<Content, Refusal>,
    answers: Vec<Option<u16>, MAX_CHAIN>,
}

/// What a good packet consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Bytes of the whole packet.
    pub length: u16,
    /// What is known of its checksum.
    pub checksum: Checksum,
    /// Its pieces, whose sizes add up to `length`.
    pub fragments: Vec<Fragment, MAX_SLOTS>,
}

impl Packet {
    /// The responses in the order of the slots: `status` for the requests, [`Status::NULL`] for extra info.
    pub fn responses(&self, status: Status) -> impl Iterator<Item = TxResponse> {
        self.answers.iter().map(move |answer| match *answer {
            Some(id) => TxResponse { id, status },
            None => TxResponse { id: 0, status: Status::NULL },
        })
    }

    /// Slots that the packet was spread over.
    pub fn slots(&self) -> usize {
        self.answers.len()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    First,
    Extra { then_fragment: bool },
    Fragment,
}

/// Collects slots until a packet is whole.
#[derive(Debug)]
pub struct Assembler {
    next: Next,
    requests: Vec<TxRequest, MAX_SLOTS>,
    answers: Vec<Option<u16>, MAX_CHAIN>,
    extras: usize,
    unwanted_extra: Option<ExtraType>,
}

impl Assembler {
    /// Nothing collected.
    pub const fn new() -> Self {
        Self { next: Next::First, requests: Vec::new(), answers: Vec::new(), extras: 0, unwanted_extra: None }
    }

    /// Slots collected of a packet that is not whole.
    pub fn pending(&self) -> usize {
        self.answers.len()
    }

    /// Takes in the next slot of the ring, and gives the packet that is whole by it.
    ///
    /// # Errors
    /// [`PeerFault::ChainTooLong`] if the packet has more slots than any packet may have: where the next one
    /// starts is then unknown.
    pub fn add(&mut self, slot: &[u8; TX_SLOT]) -> Result<Option<Packet>, PeerFault> {
        self.next = match self.next {
            Next::First => {
                let flags = self.add_request(slot)?;
                let more_data = flags.contains(TxFlags::MORE_DATA);
                if flags.contains(TxFlags::EXTRA_INFO) {
                    Next::Extra { then_fragment: more_data }
                } else if more_data {
                    Next::Fragment
                } else {
                    Next::First
                }
            }
            Next::Extra { then_fragment } => {
                if self.add_extra(slot)? {
                    Next::Extra { then_fragment }
                } else if then_fragment {
                    Next::Fragment
                } else {
                    Next::First
                }
            }
            // Extra info belongs to the first request; the flag means nothing on the others.
            Next::Fragment => {
                if self.add_request(slot)?.contains(TxFlags::MORE_DATA) {
                    Next::Fragment
                } else {
                    Next::First
                }
            }
        };
        Ok((self.next == Next::First).then(|| self.finish()))
    }

    fn add_request(&mut self, slot: &[u8; TX_SLOT]) -> Result<TxFlags, PeerFault> {
        let request = TxRequest::parse(slot);
        self.requests.push(request).map_err(|_| PeerFault::ChainTooLong { max: MAX_SLOTS as u32 })?;
        self.answer(Some(request.id))?;
        Ok(request.flags)
    }

    /// Whether another extra follows.
    fn add_extra(&mut self, slot: &[u8; TX_SLOT]) -> Result<bool, PeerFault> {
        let [a, b, c, d, e, f, g, h, ..] = *slot;
        let head: [u8; EXTRA_BYTES] = [a, b, c, d, e, f, g, h];
        let (extra, more) = Extra::parse(&head);
        self.extras += 1;
        if self.extras > MAX_EXTRAS {
            return Err(PeerFault::ChainTooLong { max: MAX_CHAIN as u32 });
        }
        self.answer(None)?;
        // A hash is advice and does no harm; anything else asks for what we did not offer.
        let unwanted = match extra {
            Extra::Hash { .. } => None,
            Extra::Gso { .. } => Some(ExtraType::GSO),
            Extra::McastAdd(_) => Some(ExtraType::MCAST_ADD),
            Extra::McastDel(_) => Some(ExtraType::MCAST_DEL),
            Extra::Unknown(kind) => Some(kind),
        };
        self.unwanted_extra = self.unwanted_extra.or(unwanted);
        Ok(more)
    }

    fn answer(&mut self, id: Option<u16>) -> Result<(), PeerFault> {
        self.answers.push(id).map_err(|_| PeerFault::ChainTooLong { max: MAX_CHAIN as u32 })
    }

    fn finish(&mut self) -> Packet {
        let content = self.content();
        self.requests.clear();
        self.extras = 0;
        self.unwanted_extra = None;
        Packet { content, answers: core::mem::take(&mut self.answers) }
    }

    fn content(&self) -> Result<Content, Refusal> {
        if let Some(kind) = self.unwanted_extra {
            return Err(Refusal::Extra(kind));
        }
        let Some((first, others)) = self.requests.split_first() else {
            return Err(Refusal::EmptyFragment);
        };
        let rest: u32 = others.iter().map(|request| u32::from(request.size)).sum();
        if rest > u32::from(first.size) {
            return Err(Refusal::LengthLie { total: first.size, rest });
        }
        let first_size = u32::from(first.size) - rest;
        if usize::from(first.size) < MIN_FRAME {
            return Err(Refusal::TooShort { length: first.size });
        }
        let mut fragments = Vec::new();
        let sizes = core::iter::once(first_size).chain(others.iter().map(|request| request.size.into()));
        for (request, size) in self.requests.iter().zip(sizes) {
            // As many as there are requests, for which there was room.
            let _ = fragments.push(fragment(request, size)?);
        }
        Ok(Content { length: first.size, checksum: Checksum::of_tx(first.flags), fragments })
    }
}

impl Default for Assembler {
    fn default() -> Self {
        Self::new()
    }
}

fn fragment(request: &TxRequest, size: u32) -> Result<Fragment, Refusal> {
    let TxRequest { gref, offset, .. } = *request;
    if size == 0 {
        return Err(Refusal::EmptyFragment);
    }
    match u16::try_from(size) {
        Ok(size) if usize::from(offset) + usize::from(size) <= PAGE_SIZE => {
            Ok(Fragment { gref, offset, size })
        }
        _ => Err(Refusal::CrossesPage { offset, size }),
    }
}

#[cfg(test)]
mod tests;
