//! The codes of what a person reads about the vault.

use proto_errors::{Code, Coded, vault as code};

use crate::{chip::Unusable, vault::Event};

impl Coded for Unusable {
    fn code(&self) -> Code {
        match self {
            Self::Trouble(_)
            | Self::FailureMode { .. }
            | Self::Family { .. }
            | Self::Bank { .. }
            | Self::Foreign { .. }
            | Self::Credential => code::TPM_FAILED,
        }
    }
}

impl Event {
    /// The code, if it is about something that is not as it should be.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Up { measured: true, .. }
            | Self::Keys { .. }
            | Self::Opened { protected: true }
            | Self::New { protected: true }
            | Self::Resealed => None,
            Self::Up { measured: false, .. } => Some(code::NOT_MEASURED),
            Self::NoTpm | Self::New { protected: false } | Self::Opened { protected: false } => {
                Some(code::NO_TPM)
            }
            Self::NotBelieved => Some(code::NOT_BELIEVED),
            Self::Failed(unusable) => Some(unusable.code()),
            Self::Locked { .. } => Some(code::LOCKED),
            Self::NotKept => Some(code::NOT_KEPT),
            Self::TooManyWrites { .. } => Some(code::TOO_MANY_WRITES),
        }
    }
}
