//! The codes of the reasons.

use proto_errors::{Code, Coded, svc};

use crate::Reason;

impl Coded for Reason {
    fn code(&self) -> Code {
        match self {
            Self::Panicked | Self::Shutdown(_) => svc::DIED,
            Self::Hung => svc::HUNG,
            Self::StartTimeout => svc::NOT_UP,
            Self::NotReady => svc::NOT_READY,
            Self::NotBuilt => svc::NOT_BUILT,
            Self::Channel => svc::BROKE_CHANNEL,
            Self::Ordered => svc::ORDERED,
        }
    }
}
