//! The two messages that are needed: a client's question, and a server's answer.

use core::fmt;
use core::time::Duration;

/// Length of a message without extension fields and authentication, in bytes.
pub const LENGTH: usize = 48;
/// Seconds from 1900, where NTP counts from, to 1970.
const EPOCH: u64 = 2_208_988_800;
/// Seconds of an era: the 32 bits of a timestamp begin anew in 2036.
const ERA: u64 = 1 << 32;
/// Seconds since 1970 of 2025-01-01. A timestamp is taken for the first moment from here on that has its 32 bits.
pub const PIVOT: u64 = 1_735_689_600;
/// Version 4, mode client.
const QUESTION: u8 = 4 << 3 | 3;
const MODE_SERVER: u8 = 4;
/// Leap indicator: the clock is not synchronized.
const ALARM: u8 = 3;
/// Strata from here on say the same.
const UNSYNCHRONIZED: u8 = 16;
/// MAXDISP: what is further than this from a clock of reference, in seconds, is of no use.
const MAX_DISTANCE: u64 = 16;

/// What a server says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// 1 to 15.
    pub stratum: u8,
    /// The time since 1970-01-01 00:00 UTC when the answer was sent. Not before [`PIVOT`].
    pub since_1970: Duration,
    /// How long the server had the question.
    pub spent: Duration,
}

/// Why a packet tells no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageError {
    /// It is no server's answer to our question. It may be forged.
    NotOurs,
    /// The server asks to be left alone, for a reason of four letters such as `RATE` or `DENY`.
    Kiss {
        /// The letters, as they came.
        code: [u8; 4],
    },
    /// The server does not know the time itself.
    Unsynchronized {
        /// Its stratum; 16 and above for a server that has none.
        stratum: u8,
    },
    /// What it says of its times makes no sense: one is missing, or it answered before it was asked.
    Times,
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MessageError::NotOurs => f.write_str("it answers another question"),
            MessageError::Kiss { code } => {
                write!(f, "the server asks to be left alone ({})", code.escape_ascii())
            }
            MessageError::Unsynchronized { stratum } => {
                write!(f, "the server does not know the time itself (stratum {stratum})")
            }
            MessageError::Times => f.write_str("its times make no sense"),
        }
    }
}

/// A question. Where the time of a client's clock may stand it has `nonce`, which tells nothing about us.
#[must_use]
pub fn emit_request(nonce: u64) -> [u8; LENGTH] {
    let mut packet = [0; LENGTH];
    packet[0] = QUESTION;
    packet[40..].copy_from_slice(&nonce.to_be_bytes());
    packet
}

/// Reads the answer to a question with this nonce. What stands behind the first [`LENGTH`] bytes is not looked at.
///
/// # Errors
/// [`MessageError`]; of a packet that does not have the nonce nothing else is believed.
pub fn parse_answer(packet: &[u8], nonce: u64) -> Result<Answer, MessageError> {
    let (packet, _) = packet.split_first_chunk::<LENGTH>().ok_or(MessageError::NotOurs)?;
    let [flags, stratum, ..] = *packet;
    let word = |at: usize| u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]]);
    let stamp = |at: usize| u64::from(word(at)) << 32 | u64::from(word(at + 4));
    let (leap, version, mode) = (flags >> 6, flags >> 3 & 7, flags & 7);
    let (originate, received, sent) = (stamp(24), stamp(32), stamp(40));
    if mode != MODE_SERVER || !matches!(version, 3 | 4) || originate != nonce {
        return Err(MessageError::NotOurs);
    }
    if stratum == 0 {
        return Err(MessageError::Kiss { code: word(12).to_be_bytes() });
    }
    // Both are seconds and 65536ths of one.
    let (delay, dispersion) = (u64::from(word(4)), u64::from(word(8)));
    if stratum >= UNSYNCHRONIZED || leap == ALARM || delay / 2 + dispersion >= MAX_DISTANCE << 16 {
        return Err(MessageError::Unsynchronized { stratum });
    }
    // The distance of two timestamps is right across the end of an era.
    let spent = sent.wrapping_sub(received);
    if received == 0 || sent == 0 || spent >> 63 != 0 {
        return Err(MessageError::Times);
    }
    Ok(Answer { stratum, since_1970: since_1970(sent), spent: span(spent) })
}

/// The first moment from [`PIVOT`] on that has this timestamp.
fn since_1970(stamp: u64) -> Duration {
    let since_pivot = (stamp >> 32).wrapping_sub(EPOCH + PIVOT) % ERA;
    span(stamp & (ERA - 1)) + Duration::from_secs(PIVOT + since_pivot)
}

/// Seconds and, in the lower 32 bits, their fraction.
fn span(stamp: u64) -> Duration {
    let nanos = ((stamp & (ERA - 1)) * 1_000_000_000) >> 32;
    Duration::from_secs(stamp >> 32) + Duration::from_nanos(nanos)
}
