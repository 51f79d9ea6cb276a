//! The codes of what goes wrong here; each `match` names every variant.

use proto_errors::{Code, Coded, agent, app, ctl, update, web};

use crate::{
    attest::AttestError,
    http::{FailureKind, Outcome, Unusable},
    identity::NotIssued,
    provision::ProvisionError,
    reconcile::problem::Problem,
    session::CertsRefused,
    vault::Complaint,
};

impl Coded for ProvisionError {
    fn code(&self) -> Code {
        match self {
            Self::Missing(_) | Self::Server | Self::Root(_) | Self::Onboard(_) | Self::Device(_) => {
                ctl::PROVISIONING
            }
        }
    }
}

impl Coded for FailureKind {
    fn code(&self) -> Code {
        match self {
            Self::Resolve => web::NO_NAME,
            Self::Refused => web::REFUSED,
            Self::Connect => web::NO_CONNECTION,
            Self::CertificateTime => web::CERTIFICATE_TIME,
            Self::Tls => web::TLS,
            Self::Timeout => web::TIMEOUT,
            Self::TooLarge => web::TOO_LARGE,
            Self::Malformed => web::NOT_HTTP,
            Self::Local => web::LOCAL,
        }
    }
}

impl Coded for Outcome {
    fn code(&self) -> Code {
        match self {
            Self::Success { .. } | Self::Status { .. } => agent::REFUSED,
            Self::Unusable(
                Unusable::ContentType | Unusable::TooLarge | Unusable::Envelope(_) | Unusable::NoCertificate,
            ) => agent::UNUSABLE_ANSWER,
            Self::NoAnswer(kind) => kind.code(),
        }
    }
}

impl Coded for CertsRefused {
    fn code(&self) -> Code {
        match self {
            Self::NoClock | Self::Certs(_) => agent::CONTROLLER_CERTS,
        }
    }
}

impl Coded for AttestError {
    fn code(&self) -> Code {
        match self {
            Self::NoNonce(_)
            | Self::NoVerdict(_)
            | Self::Rejected(_)
            | Self::Unreadable
            | Self::KeyNotStored(_)
            | Self::WrongToken => agent::ATTESTATION,
            Self::NoQuote(_) => agent::VAULT,
        }
    }
}

impl Coded for Complaint {
    fn code(&self) -> Code {
        match self {
            Self::Tpm(_) => agent::NO_TPM,
            Self::Locked(..) => agent::VAULT_LOCKED,
        }
    }
}

impl Coded for NotIssued {
    fn code(&self) -> Code {
        match self {
            Self::NoClock | Self::NoKey | Self::NoSignature | Self::Issue(_) => agent::NO_IDENTITY,
        }
    }
}

impl Coded for Problem {
    fn code(&self) -> Code {
        match self {
            Self::Unsupported(_) => app::UNSUPPORTED,
            Self::BadUuid => app::BAD_ID,
            Self::NoDatastore { .. } => app::NO_DATASTORE,
            Self::NoContent { .. } => app::NO_CONTENT,
            Self::NoVolume { .. } => app::NO_VOLUME,
            Self::NoImage => app::NO_IMAGE,
            Self::VolumeFailed { .. } => app::VOLUME_FAILED,
            Self::BadHash => app::BAD_HASH,
            Self::ContentTooLarge { .. } => app::TOO_LARGE,
            Self::NoSpace { .. } => app::NO_SPACE,
            Self::WrongHash { .. } => app::WRONG_HASH,
            Self::DownloadStatus { .. } => app::DOWNLOAD_STATUS,
            Self::DownloadFailed { .. } => app::DOWNLOAD_FAILED,
            Self::DownloadStalled { .. } => app::DOWNLOAD_STALLED,
            Self::Memory { .. } => app::MEMORY,
            Self::Vcpus { .. } => app::VCPUS,
            Self::Domain { .. } => app::NOT_STARTED,
            Self::NoConfirmation { .. } => app::NO_CONFIRMATION,
            Self::Crashed { .. } => app::CRASHED,
            Self::PoweredOff => app::POWERED_OFF,
            Self::RestartNeeded => app::RESTART_NEEDED,
            Self::PurgeNeeded => app::PURGE_NEEDED,
            Self::NetworkInstance { .. } => app::NETWORK_INSTANCE,
            Self::NoSlots => update::NO_SLOTS,
            Self::BadVersion => update::BAD_VERSION,
            Self::OtherVersion { .. } => update::OTHER_VERSION,
            Self::NotAPayload { .. } => update::NOT_A_PAYLOAD,
            Self::NotInstalled { .. } => update::NOT_INSTALLED,
            Self::SlotDisk { .. } => update::DISK,
            Self::FellBack { .. } => update::FELL_BACK,
            Self::FailedBefore => update::FAILED_BEFORE,
            Self::NotStarted => update::NOT_STARTED,
            Self::Refused { .. } => update::REFUSED,
            Self::BaseContent { .. } => update::CONTENT,
        }
    }
}
