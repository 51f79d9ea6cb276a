//! What is asked of dom0 about applications, and what it answers.

use alloc::{string::String, vec::Vec};

use proto_eve::uuid::Uuid;

use crate::clock::WallTime;

/// What dom0 is to do about an application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppCommand {
    /// Make it known and give its image, from the content that the shell holds. Answered with
    /// [`AppEvent::Staged`] or [`AppEvent::Failed`].
    Define(AppDefinition),
    /// Keep this for a later life of the agent. No answer is expected.
    Note {
        /// The application.
        app: Uuid,
        /// At most 256 bytes.
        note: Vec<u8>,
    },
    /// Build and start its domain. Answered with [`AppEvent::Running`] or [`AppEvent::Failed`].
    Start {
        /// The application.
        app: Uuid,
    },
    /// End its domain. Answered with [`AppEvent::Stopped`].
    Stop {
        /// The application.
        app: Uuid,
    },
    /// Forget it, and end its domain if there is one. No answer is expected.
    Remove {
        /// The application.
        app: Uuid,
    },
}

/// What an application needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppDefinition {
    /// The application.
    pub app: Uuid,
    /// For log lines; at most 64 bytes.
    pub name: String,
    /// Memory in KiB, whole MiB.
    pub memory_kib: u32,
    /// Number of vCPUs.
    pub vcpus: u16,
    /// At most 512 bytes.
    pub command_line: String,
    /// Names the content; see [`ContentCommand`](super::contents::ContentCommand).
    pub image_sha256: [u8; 32],
    /// Bytes of the content.
    pub image_length: u64,
}

/// An application that dom0 knows from an earlier life of the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownApp {
    /// What it was defined as.
    pub definition: AppDefinition,
    /// How it runs, if it does.
    pub running: Option<RunningApp>,
    /// What [`AppCommand::Note`] left.
    pub note: Vec<u8>,
}

/// How an application runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunningApp {
    /// Xen's number of its domain.
    pub domid: u16,
    /// When it was started, if the time of day is known.
    pub since: Option<WallTime>,
}

/// What dom0 says about an application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppEvent {
    /// Its image is complete.
    Staged,
    /// Its domain runs.
    Running {
        /// Xen's number of it.
        domid: u16,
    },
    /// Its domain has ended.
    Stopped(StopReason),
    /// A command was refused or failed.
    Failed {
        /// What kind of failure.
        failure: AppFailure,
        /// More, for a person; may be empty.
        text: String,
    },
    /// It wrote to its console.
    Console {
        /// Where the first byte stands among all that it ever wrote.
        offset: u64,
        /// What it wrote.
        bytes: Vec<u8>,
    },
}

/// Why a domain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// It was told to.
    Ordered,
    /// It powered itself off.
    PowerOff,
    /// It asked for a reboot.
    Reboot,
    /// It crashed.
    Crash,
    /// Its watchdog fired.
    Watchdog,
    /// Another of Xen's shutdown codes.
    Code(u8),
}

impl core::fmt::Display for StopReason {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Ordered => write!(f, "stopped from outside"),
            Self::PowerOff => write!(f, "powered off"),
            Self::Reboot => write!(f, "asked for a reboot"),
            Self::Crash => write!(f, "crashed"),
            Self::Watchdog => write!(f, "its watchdog fired"),
            Self::Code(code) => write!(f, "shutdown code {code}"),
        }
    }
}

/// Kinds of failures of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppFailure {
    /// dom0 does not know the application.
    Unknown,
    /// dom0 has no room for one more.
    TooMany,
    /// The command does not fit the state that the application is in.
    WrongState,
    /// Not enough memory.
    Memory,
    /// Too many vCPUs.
    Vcpus,
    /// The image is too large.
    ImageSize,
    /// The image did not arrive as announced.
    ImageTransfer,
    /// The image's SHA-256 is not the announced one.
    ImageHash,
    /// The image cannot be started.
    ImageFormat,
    /// A step of building the domain failed.
    Build,
    /// The shell does not hold the content; it is fetched again.
    ContentGone,
}

impl core::fmt::Display for AppFailure {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Unknown => "dom0 does not know the application",
            Self::TooMany => "dom0 has no room for one more application",
            Self::WrongState => "the application is in another state",
            Self::Memory => "there is not enough memory",
            Self::Vcpus => "too many vCPUs",
            Self::ImageSize => "the image is too large",
            Self::ImageTransfer => "the image did not arrive as announced",
            Self::ImageHash => "the image's SHA-256 is not the announced one",
            Self::ImageFormat => "the image cannot be started",
            Self::Build => "building the domain failed",
            Self::ContentGone => "the content is not held any more",
        })
    }
}
