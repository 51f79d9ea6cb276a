//! What can be wrong with an object of the configuration, in words for the operator.
//!
//! Each problem names its subject and the values that show the reason. It is reported on the object's
//! info message, and logged once when it arises.

use alloc::{format, string::String, vec, vec::Vec};
use core::fmt;

use proto_errors::Coded;
use proto_eve::wire::info::{DeviceEntity, Entity, ErrorInfo, Severity};
use proto_update::payload::PayloadError;

use crate::clock::{Now, WallTime};
use crate::http::FailureKind;

/// Bytes of a description.
const MAX_DESCRIPTION: usize = 1024;

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// Something that this system does not do.
    Unsupported(Feature),
    /// The object's UUID is none.
    BadUuid,
    /// A content tree names a data store that the configuration lacks.
    NoDatastore { id: String },
    /// A volume names a content tree that the configuration lacks.
    NoContent { id: String },
    /// An application names a volume that the configuration lacks.
    NoVolume { id: String, generation: i64 },
    /// An application without a volume has nothing to start.
    NoImage,
    /// A volume of the application has a problem of its own.
    VolumeFailed { id: String, reason: String },
    /// The hash is not 64 hexadecimal digits.
    BadHash,
    /// The content is larger than the device can hold, or than its maximum.
    ContentTooLarge { limit: u64 },
    /// The content does not fit beside what is held already.
    NoSpace { need: u64, free: u64 },
    /// The content is not what its hash says.
    WrongHash { expected: [u8; 32], found: [u8; 32] },
    /// The data store answered with another status than 200.
    DownloadStatus { url: String, status: u16 },
    /// The data store did not answer, or broke off.
    DownloadFailed { url: String, kind: FailureKind, text: String },
    /// Nothing came for a while.
    DownloadStalled { url: String },
    /// More memory than applications may have, or than is left.
    Memory { need_kib: u64, limit_kib: u64, used_kib: u64 },
    /// More vCPUs than one application may have.
    Vcpus { need: u32, limit: u32 },
    /// dom0 refused or failed.
    Domain { text: String },
    /// dom0 did not confirm in time.
    NoConfirmation { of: &'static str, seconds: u64 },
    /// The guest crashed.
    Crashed { text: String },
    /// The guest powered itself off although it is to run.
    PoweredOff,
    /// A change waits for a restart command.
    RestartNeeded,
    /// A change waits for a purge command.
    PurgeNeeded,
    /// The application's network instance does not work.
    NetworkInstance { id: String },
    /// The machine was not started from a slot, or nobody knows from which.
    NoSlots,
    /// The name of the version is none that a slot can have.
    BadVersion,
    /// The content holds another version.
    OtherVersion { found: String },
    /// The content is what was published, and no payload.
    NotAPayload { why: PayloadError },
    /// Storage refused it.
    NotInstalled { text: String },
    /// The disk refused it, for now.
    SlotDisk { text: String },
    /// The version was tried, and the device is back at the one before.
    FellBack { why: String },
    /// The version failed before, or was left by force.
    FailedBefore,
    /// It was armed, and another one was started.
    NotStarted,
    /// Who starts slots has refused it in this start.
    Refused { why: String },
    /// The content tree of the base OS has a problem of its own.
    BaseContent { id: String, reason: String },
}

/// What this system does not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Feature {
    DatastoreType(i32),
    EncryptedCredentials,
    ContentFormat(i32),
    ContentWithoutHash,
    BlankVolume,
    VolumeOrigin(i32),
    VirtualizationMode(i32),
    Passthrough,
    UserData,
    EncryptedUserData,
    SecondVolume,
    Service,
    Snapshots,
    Vnc,
    GuestKernel,
    NetworkInstance,
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DatastoreType(kind) => {
                write!(f, "data stores of type {kind} are not supported, only HTTP (1) and HTTPS (2)")
            }
            Self::EncryptedCredentials => write!(f, "encrypted credentials of data stores are not supported"),
            Self::ContentFormat(format) => {
                write!(f, "content of format {format} is not supported, only RAW (1)")
            }
            Self::ContentWithoutHash => write!(f, "content without a SHA-256 is not supported"),
            Self::BlankVolume => write!(f, "blank volumes are not supported"),
            Self::VolumeOrigin(kind) => write!(f, "volumes of origin {kind} are not supported"),
            Self::VirtualizationMode(mode) => {
                write!(f, "virtualization mode {mode} is not supported, only PV (0), which runs as PVH")
            }
            Self::Passthrough => write!(f, "assigning devices to applications is not supported"),
            Self::UserData => write!(f, "user data is not supported"),
            Self::EncryptedUserData => write!(f, "encrypted user data is not supported"),
            Self::SecondVolume => write!(f, "more than one volume is not supported"),
            Self::Service => write!(f, "service containers are not supported"),
            Self::Snapshots => write!(f, "snapshots are not supported and are left out"),
            Self::Vnc => write!(f, "VNC is not supported and is left out"),
            Self::GuestKernel => write!(f, "a kernel or ramdisk beside the volume is not supported"),
            Self::NetworkInstance => write!(f, "network instances are not supported"),
        }
    }
}

impl Problem {
    pub(crate) fn severity(&self) -> Severity {
        match self {
            Self::Unsupported(Feature::Snapshots | Feature::Vnc) | Self::PoweredOff => Severity::Warning,
            _ => Severity::Error,
        }
    }

    /// Under which condition the device tries again. Empty when only a change of the configuration
    /// helps.
    fn retry(&self) -> &'static str {
        match self {
            Self::WrongHash { .. }
            | Self::DownloadStatus { .. }
            | Self::DownloadFailed { .. }
            | Self::DownloadStalled { .. } => "the download is tried again",
            Self::NoSpace { .. } => "tried again when content is removed",
            Self::Memory { .. } => "tried again when memory is free",
            Self::Domain { .. } | Self::Crashed { .. } | Self::PoweredOff | Self::NoConfirmation { .. } => {
                "the application is started again after timer.boot.retry"
            }
            Self::VolumeFailed { .. } => "started when the volume is ready",
            Self::RestartNeeded => "applied with the next restart command",
            Self::PurgeNeeded => "applied with the next purge command",
            Self::SlotDisk { .. } => "tried again in a while",
            Self::BaseContent { .. } => "goes on when the content is there",
            Self::NotAPayload { .. }
            | Self::NotInstalled { .. }
            | Self::OtherVersion { .. }
            | Self::FellBack { .. }
            | Self::FailedBefore
            | Self::NotStarted => "tried again when the counter retry_update changes",
            _ => "",
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported(feature) => feature.fmt(f),
            Self::BadUuid => write!(f, "its UUID is not one"),
            Self::NoDatastore { id } => write!(f, "data store {id} is not in the configuration"),
            Self::NoContent { id } => write!(f, "content tree {id} is not in the configuration"),
            Self::NoVolume { id, generation } => {
                write!(f, "volume {id} of generation {generation} is not in the configuration")
            }
            Self::NoImage => write!(f, "there is no volume to start from"),
            Self::VolumeFailed { id, reason } => write!(f, "volume {id}: {reason}"),
            Self::BadHash => write!(f, "its SHA-256 is not 64 hexadecimal digits"),
            Self::ContentTooLarge { limit } => write!(f, "larger than {limit} bytes"),
            Self::NoSpace { need, free } => write!(f, "needs {need} bytes, and {free} are free"),
            Self::WrongHash { expected, found } => {
                write!(f, "SHA-256 is {} and should be {}", hex::encode(found), hex::encode(expected))
            }
            Self::DownloadStatus { url, status } => write!(f, "{url}: status {status}"),
            Self::DownloadFailed { url, kind, text } => write!(f, "{url}: {kind}: {text}"),
            Self::DownloadStalled { url } => write!(f, "{url}: the download stalled"),
            Self::Memory { need_kib, limit_kib, used_kib } => write!(
                f,
                "needs {need_kib} KiB of memory, and of the {limit_kib} KiB for applications {used_kib} KiB are in use"
            ),
            Self::Vcpus { need, limit } => write!(f, "needs {need} vCPUs, and {limit} are the most"),
            Self::Domain { text } => write!(f, "the domain was not started: {text}"),
            Self::NoConfirmation { of, seconds } => write!(f, "no confirmation of {of} within {seconds} s"),
            Self::Crashed { text } => write!(f, "the guest ended: {text}"),
            Self::PoweredOff => write!(f, "the guest powered itself off, and is to run"),
            Self::RestartNeeded => write!(f, "the changed resources need a restart command to be applied"),
            Self::PurgeNeeded => write!(f, "the changed volumes need a purge command to be applied"),
            Self::NetworkInstance { id } => write!(f, "network instance {id} does not work"),
            Self::NoSlots => write!(f, "the machine was not started from a slot, so there is none to update"),
            Self::BadVersion => {
                write!(f, "the name of the version has to be 1 to 32 printable characters without blanks")
            }
            Self::OtherVersion { found } => write!(f, "the content holds version {found}"),
            Self::NotAPayload { why } => write!(f, "the content is no update: {why}"),
            Self::NotInstalled { text } => write!(f, "it was not installed: {text}"),
            Self::SlotDisk { text } => write!(f, "it could not be written: {text}"),
            Self::FellBack { why } => {
                write!(f, "it was tried and fell back; why the machine was started again: {why}")
            }
            Self::FailedBefore => write!(f, "it was tried before and is not tried again by itself"),
            Self::NotStarted => write!(f, "it was to be tried, and another version was started"),
            Self::Refused { why } => write!(f, "it could not be started: {why}"),
            Self::BaseContent { id, reason } => write!(f, "content tree {id}: {reason}"),
        }
    }
}

/// A problem, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) problem: Problem,
    since: Option<WallTime>,
}

impl Trouble {
    pub(crate) fn info(&self, entity: Entity, id: &str, name: &str) -> ErrorInfo {
        ErrorInfo {
            description: proto_eve::text::bounded(
                &format!("{}: {}", subject(id, name), self.problem),
                MAX_DESCRIPTION,
            ) + &format!(" [{}]", self.problem.code()),
            timestamp: self.since.map(WallTime::timestamp),
            severity: self.problem.severity() as i32,
            entities: vec![DeviceEntity {
                entity: entity as i32,
                entity_id: String::from(id),
                entity_name: String::from(name),
            }],
            retry_condition: String::from(self.problem.retry()),
        }
    }
}

/// The problems of one object: at most a few, each with the time at which it arose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Troubles(Vec<Trouble>);

impl Troubles {
    /// Makes `problems` the current ones. Those that stay keep their time, new ones are logged.
    pub(crate) fn set(
        &mut self,
        now: Now,
        kind: &str,
        subject: &str,
        problems: impl IntoIterator<Item = Problem>,
    ) {
        let old = core::mem::take(&mut self.0);
        for problem in problems {
            if self.0.iter().any(|trouble| trouble.problem == problem) {
                continue;
            }
            let known = old.iter().find(|trouble| trouble.problem == problem).cloned();
            self.0.push(known.unwrap_or_else(|| {
                log::warn!("{kind} {subject}: {}", problem.told());
                Trouble { problem, since: now.wall }
            }));
        }
    }

    /// One problem, which was told elsewhere.
    pub(crate) fn set_quietly(&mut self, since: Option<WallTime>, problem: Problem) {
        self.0 = vec![Trouble { problem, since }];
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Trouble> {
        self.0.iter()
    }

    pub(crate) fn first_error(&self) -> Option<&Trouble> {
        self.0.iter().find(|trouble| trouble.problem.severity() == Severity::Error)
    }

    pub(crate) fn first(&self) -> Option<&Trouble> {
        self.0.first()
    }
}

fn subject<'a>(id: &'a str, name: &'a str) -> &'a str {
    if name.is_empty() { id } else { name }
}
