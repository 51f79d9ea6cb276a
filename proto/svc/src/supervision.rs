//! Channel `dom0`, which every service has: it says that it is up and what it logs, is asked whether it
//! is well, and is told when a peer of it ends and when it is there again. What is measured on a running
//! system is measured over it, too.
//!
//! Only dom0 tells of peers, from what it knows of Xen: a service has no message by which another one's
//! channels could be touched.

use heapless::String;
use serde::{Deserialize, Serialize};

use crate::envelope::Message;

/// Bytes of text in one log record; a longer one is cut by the sender.
pub const MAX_LOG_TEXT: usize = 480;

/// Bytes of text in one [`FromService::Filler`]: what the largest message has room for.
pub const MAX_FILLER: usize = 960;

/// Bytes of a channel's name.
pub const MAX_CHANNEL: usize = 16;

/// How bad it is, as in the `log` crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Level {
    /// Needs a person.
    Error,
    /// Needs a look some day.
    Warn,
    /// A life event.
    Info,
    /// For the developers.
    Debug,
}

/// One line of a domain's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRecord {
    /// How bad it is.
    pub level: Level,
    /// Xen's system time when it was written, in nanoseconds since power-on.
    pub at_ns: u64,
    /// The line, without its end.
    pub text: String<MAX_LOG_TEXT>,
}

/// What a service says to dom0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "one buffer of the largest size is what a channel has anyway")]
pub enum FromService {
    /// First message.
    Hello {
        /// Version of this protocol.
        version: u16,
    },
    /// The service does its work from now on.
    Ready,
    /// A line of its log.
    Log(LogRecord),
    /// Answer to [`ToService::Ping`].
    Pong {
        /// Number of the ping.
        number: u32,
    },
    /// Lines that the sender dropped since the last record, for its own queue was full.
    LogLost {
        /// How many.
        count: u32,
    },
    /// Answer to [`Probe::Rounds`].
    Rounds {
        /// How often the service woke since its start.
        count: u64,
    },
    /// One of the answers to [`Probe::Fill`]. It says nothing.
    Filler {
        /// So much of nothing.
        text: String<MAX_FILLER>,
    },
}

/// What dom0 says to a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToService {
    /// First message.
    Hello {
        /// Version of this protocol.
        version: u16,
    },
    /// Asks for a [`FromService::Pong`] with the same number.
    Ping {
        /// Chosen by dom0.
        number: u32,
    },
    /// The peer of a channel has ended, and maps nothing of ours any more: close our end, and unmap what
    /// was the peer's.
    PeerGone {
        /// The channel's name in the table.
        channel: String<MAX_CHANNEL>,
    },
    /// The peer of a channel is there, the first time or anew: open our end.
    PeerBack {
        /// The channel's name in the table.
        channel: String<MAX_CHANNEL>,
        /// Our end.
        end: PeerEnd,
    },
    /// Break, for a drill: to be ordered by a person on dom0's command line.
    Break(Break),
    /// Answer, for who measures: to be ordered by a person on dom0's command line.
    Probe(Probe),
}

/// Our end of a channel to another service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerEnd {
    /// We offer the page: we bind the port if it is the peer's, grant the page at `gref`, then notify.
    Offer {
        /// Domain id of the peer.
        peer: u16,
        /// Guest address of the channel's page.
        page: u64,
        /// The grant reference that the peer will map; we fill the entry.
        gref: u32,
        /// Our port, unbound until the peer binds to it; or the peer's, to be bound with `bind_interdomain`.
        port: u32,
        /// Whether it is the peer's.
        bind: bool,
    },
    /// We bind the port if it is the peer's, and map the peer's page.
    Accept {
        /// Domain id of the peer.
        peer: u16,
        /// The peer's grant reference; mapping fails until the peer has filled it.
        gref: u32,
        /// Our port, unbound until the peer binds to it; or the peer's, to be bound with `bind_interdomain`.
        port: u32,
        /// Whether it is the peer's.
        bind: bool,
    },
}

/// How a service is to break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Break {
    /// Panic.
    Panic,
    /// Run for ever without looking at anything.
    Hang,
}

/// What is asked for the sake of measuring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Probe {
    /// Asks for [`FromService::Rounds`].
    Rounds,
    /// Asks for [`FromService::Filler`] of the largest size, as fast as it goes.
    Fill {
        /// So many times.
        count: u16,
    },
}

impl Message for FromService {
    const CHANNEL: &'static str = "dom0";
    const VERSION: u16 = 4;
}

impl Message for ToService {
    const CHANNEL: &'static str = "dom0";
    const VERSION: u16 = 4;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MAX_MESSAGE, MessageError, decode, encode, text::clipped};

    #[test]
    fn the_longest_log_record_fits_a_message() {
        let text: std::string::String = "x".repeat(MAX_LOG_TEXT);
        let message =
            FromService::Log(LogRecord { level: Level::Debug, at_ns: u64::MAX, text: clipped(&text) });
        let mut buffer = [0; MAX_MESSAGE];
        let bytes = encode(&message, &mut buffer).unwrap();
        assert_eq!(decode::<FromService>(bytes), Ok(message));
    }

    #[test]
    fn the_longest_filler_fits_a_message() {
        let text: std::string::String = "x".repeat(MAX_FILLER);
        let message = FromService::Filler { text: clipped(&text) };
        let mut buffer = [0; MAX_MESSAGE];
        let bytes = encode(&message, &mut buffer).unwrap();
        assert_eq!(decode::<FromService>(bytes), Ok(message));
    }

    #[test]
    fn bytes_after_the_message_are_refused() {
        assert_eq!(decode::<ToService>(&[1, 7, 0]), Err(MessageError::TrailingBytes { count: 1 }));
        assert_eq!(decode::<ToService>(&[1]), Err(MessageError::Malformed { length: 1 }));
        assert_eq!(decode::<ToService>(&[9, 9]), Err(MessageError::Malformed { length: 2 }));
    }

    extern crate std;
}
