//! A value as the payload of one message, and back.

use core::fmt;

use serde::{Serialize, de::DeserializeOwned};

/// The largest payload in bytes. Four of them fit the larger stream of a channel page.
pub const MAX_MESSAGE: usize = 1000;

/// A type that travels as one message of a protocol.
pub trait Message: Serialize + DeserializeOwned {
    /// The channel's name in the table, for log lines.
    const CHANNEL: &'static str;
    /// The version that a `Hello` of this build carries.
    const VERSION: u16;
}

/// Why bytes are no message, or a value does not fit one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageError {
    /// The value needs more than the buffer's `room` bytes.
    TooLong {
        /// Bytes that the buffer has.
        room: usize,
    },
    /// The bytes stop in the middle of the value, or are no value of this type.
    Malformed {
        /// Length of what was received, in bytes.
        length: usize,
    },
    /// A value was read, and bytes are left over.
    TrailingBytes {
        /// How many.
        count: usize,
    },
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { room } => write!(f, "message does not fit {room} bytes"),
            Self::Malformed { length } => write!(f, "{length} bytes are no message of this channel"),
            Self::TrailingBytes { count } => write!(f, "{count} bytes follow the end of the message"),
        }
    }
}

/// Writes `message` to the front of `buffer` and returns the bytes used.
///
/// # Errors
/// [`MessageError::TooLong`] if `buffer` is too small.
pub fn encode<'b, M: Message>(message: &M, buffer: &'b mut [u8]) -> Result<&'b [u8], MessageError> {
    let room = buffer.len();
    match postcard::to_slice(message, buffer) {
        Ok(used) => Ok(used),
        Err(_) => Err(MessageError::TooLong { room }),
    }
}

/// Reads the one message that `payload` is.
///
/// # Errors
/// [`MessageError::Malformed`] and [`MessageError::TrailingBytes`].
pub fn decode<M: Message>(payload: &[u8]) -> Result<M, MessageError> {
    match postcard::take_from_bytes::<M>(payload) {
        Ok((message, [])) => Ok(message),
        Ok((_, rest)) => Err(MessageError::TrailingBytes { count: rest.len() }),
        Err(_) => Err(MessageError::Malformed { length: payload.len() }),
    }
}
