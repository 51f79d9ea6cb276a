//! The codes of what goes wrong with a channel.

use proto_errors::{Code, Coded, chan};

use super::{ChannelError, OpenError};

impl Coded for ChannelError {
    fn code(&self) -> Code {
        match self {
            Self::Closed => chan::CLOSED,
            Self::Busy => chan::NO_ROOM,
            Self::TooLong => chan::TOO_LONG,
            Self::Peer(_) => chan::PEER_FAULT,
            Self::Message(_) => chan::BAD_MESSAGE,
            Self::Version { .. } => chan::VERSION,
            Self::Event(_) => chan::EVENT,
        }
    }
}

impl Coded for OpenError {
    fn code(&self) -> Code {
        match self {
            Self::Grant(_) | Self::Port(_) => chan::EVENT,
            Self::Channel(error) => error.code(),
        }
    }
}
