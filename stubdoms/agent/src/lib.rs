//! The device agent: onboarding, attestation, configuration, applications, reports. Pure.
//!
//! Stands between the controller, whose answers it believes only when their signature verifies, and
//! the shell (`stubdoms/control-shell`), which does what the agent says: HTTP over TLS, downloads, and
//! commands to dom0. [`Agent`] is the one value to hold; its machines are:
//!
//! | module | what it decides |
//! |---|---|
//! | `identity`, `vault` | who the device is, and what is asked of the domain that has its keys |
//! | `timekeeper` | when time servers are asked, and which of their answers the clock is set by |
//! | `onboard`, `certs`, `session` | how the device becomes known, whom it believes, how messages are dressed |
//! | `attest` | nonce, quote, token, the key of the storage |
//! | `secrets` | what a configuration carries encrypted |
//! | `config` | when the configuration is asked for, and whether a new one counts |
//! | `properties`, `operations` | config items; reboot, shutdown, maintenance |
//! | `reconcile` | contents, volumes, applications, base OS: a machine for each |
//! | `storage`, `keep` | what is asked of the storage domain, and the values that it keeps |
//! | `note` | what is left with dom0 for a later life of the agent |
//! | `retry`, `report` | what the controller is told: info, metrics, logs |
//!
//! Nothing here does I/O, reads a clock or draws randomness. Everything that comes from outside is
//! bounded where it is stored. Tested by tables beside each machine, and by whole stories against a
//! scripted controller with virtual time in `tests/stories.rs`.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod agent;
mod attest;
mod boots;
mod certs;
mod clock;
mod codes;
mod config;
mod event_log;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod http;
mod identity;
mod keep;
mod note;
mod onboard;
mod operations;
mod properties;
mod provision;
mod reach;
mod reconcile;
mod report;
mod retry;
mod secrets;
mod session;
mod storage;
#[cfg(test)]
mod test_key;
mod timekeeper;
mod uplink;
mod vault;

pub use agent::{Agent, DeviceCommand};
pub use attest::AttestState;
pub use clock::{Now, WallTime};
pub use event_log::{EventLogPieces, EventLogStep};
pub use http::{FailureKind, HttpFailure, MAX_BODY, Method, Request, RequestId, Response};
pub use identity::DigestSigner;
pub use onboard::Stage;
pub use proto_eve::uuid::Uuid;
pub use provision::{BootCause, DeviceFacts, ProvisionError, Provisioning, StartedSlot};
pub use reconcile::{
    contents::{ContentCommand, Destination, Download, DownloadError, DownloadId},
    domains::command::{AppCommand, AppDefinition, AppEvent, AppFailure, KnownApp, RunningApp, StopReason},
};
pub use report::{
    logs::{LogRecord, Severity, Taken},
    metrics::{DomainUsage, Machine},
};
pub use timekeeper::TimeReading;
pub use uplink::{LinkCounters, Uplink};
pub use vault::{VaultEvent, VaultQuestions};
