//! What a peer can do wrong on a shared page.

use core::fmt;

/// The peer broke the protocol of a shared page. The device that stands on the page is to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerFault {
    /// The producer index announces more entries (or bytes) than can be outstanding: it ran ahead of the
    /// ring, or far back.
    ProducerOutOfRange {
        /// Entries announced beyond our consumer index.
        pending: u32,
        /// The most that there can be.
        room: u32,
    },
    /// The producer index went back behind a value that it showed before.
    ProducerMovedBack {
        /// Entries announced now, beyond our consumer index.
        pending: u32,
        /// Entries announced before.
        seen: u32,
    },
    /// The consumer index lies outside of what was produced: ahead of our producer index, or moved back.
    ConsumerOutOfRange {
        /// Bytes that the peer claims to have taken since the last look.
        taken: u32,
        /// Bytes that were there to take.
        outstanding: u32,
    },
    /// The page does not start with the magic of a channel.
    BadMagic {
        /// The word found.
        found: u32,
    },
    /// The page layout's version is another than ours.
    BadVersion {
        /// The version found.
        found: u32,
        /// The version spoken here.
        known: u32,
    },
    /// A message announces more bytes than a message may have.
    FrameTooLong {
        /// Announced payload length in bytes.
        length: u16,
        /// The longest payload in bytes.
        max: u16,
    },
    /// A response names a request that is not outstanding.
    UnknownId {
        /// The identifier in the response.
        id: u16,
    },
    /// A packet is spread over more slots than a packet may have.
    ChainTooLong {
        /// The most slots that a packet may have.
        max: u32,
    },
    /// A response claims more bytes than the buffer holds, or bytes outside of it.
    ResponseOutOfRange {
        /// Offset in the buffer in bytes.
        offset: u16,
        /// Length in bytes.
        length: u16,
    },
}

impl fmt::Display for PeerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ProducerOutOfRange { pending, room } => {
                write!(f, "the peer's producer index announces {pending} entries where {room} fit")
            }
            Self::ProducerMovedBack { pending, seen } => {
                write!(f, "the peer's producer index moved back: {pending} entries after {seen}")
            }
            Self::ConsumerOutOfRange { taken, outstanding } => {
                write!(
                    f,
                    "the peer's consumer index claims {taken} bytes where {outstanding} were outstanding"
                )
            }
            Self::BadMagic { found } => write!(f, "the page starts with {found:#010x}, which is no channel"),
            Self::BadVersion { found, known } => {
                write!(f, "the page has layout version {found}, only {known} is known")
            }
            Self::FrameTooLong { length, max } => {
                write!(f, "a message announces {length} bytes, the most is {max}")
            }
            Self::UnknownId { id } => write!(f, "a response names request {id}, which is not outstanding"),
            Self::ChainTooLong { max } => write!(f, "a packet has more than {max} slots"),
            Self::ResponseOutOfRange { offset, length } => {
                write!(f, "a response claims {length} bytes at offset {offset}, outside of its buffer")
            }
        }
    }
}

impl core::error::Error for PeerFault {}
