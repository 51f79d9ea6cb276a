//! Channel `device`: what control may ask of dom0, and what dom0 tells it about the machine.
//!
//! dom0 checks each request against the limits of the table and answers a bad one with
//! [`ToControl::Refused`]; nothing that control sends can do more than run an application within
//! those limits. An application's image travels in pieces and is started only if its SHA-256 is the
//! one that was announced.
//!
//! control has many lives, and dom0 and the applications outlast them. dom0 keeps log records and console
//! bytes until control says that they were [`FromControl::Taken`], and gives them again to a control that is
//! there anew. It first tells such a control what there is: [`ToControl::Machine`], a
//! [`ToControl::Known`] for each application, then [`ToControl::KnownAll`]. What else control wants to know
//! of an earlier life it leaves with dom0 as notes, which dom0 does not interpret: one about the device, one about
//! each application, and with each [`FromControl::Taken`] one about the stream up to there, so that both are kept
//! or neither.
//!
//! States of an application in dom0, with the messages that move it:
//!
//! ```text
//!   (none) -Define-> Defined -Image…-> Staged -Start-> Starting -> Running -> Stopped
//!      ^                |                 ^                           | Stop      |
//!      +----- Forget ---+-----------------+---- Start (again) --------+-----------+
//! ```

use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

use crate::{envelope::Message, storage::SlotName, supervision::LogRecord};

/// Bytes of an image or a console in one message.
pub const MAX_PIECE: usize = 900;
/// Bytes of an application's name.
pub const MAX_NAME: usize = 64;
/// Bytes of an application's command line.
pub const MAX_COMMAND_LINE: usize = 512;
/// Bytes of a note about an application, its console or the log.
pub const MAX_NOTE: usize = 256;
/// Bytes of the note about the device.
pub const MAX_DEVICE_NOTE: usize = 800;
/// Bytes of the text that explains a refusal or an end.
pub const MAX_REASON: usize = 200;

/// An application instance, by the UUID of its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AppId(pub [u8; 16]);

/// What an application needs. Its image follows in [`FromControl::Image`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppDefinition {
    /// The instance.
    pub app: AppId,
    /// For log lines.
    pub name: String<MAX_NAME>,
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Number of vCPUs.
    pub vcpus: u16,
    /// Given to the guest.
    pub command_line: String<MAX_COMMAND_LINE>,
    /// Length of the image in bytes.
    pub image_length: u32,
    /// SHA-256 of the image.
    pub image_sha256: [u8; 32],
}

/// What control asks of dom0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromControl {
    /// First message.
    Hello {
        /// Version of this protocol.
        version: u16,
    },
    /// Makes an application known, or replaces one that is not running.
    Define(AppDefinition),
    /// The next piece of its image, in order and without gaps.
    Image {
        /// The instance.
        app: AppId,
        /// Position of the first byte.
        offset: u32,
        /// The piece.
        bytes: Vec<u8, MAX_PIECE>,
    },
    /// Builds and starts the domain.
    Start {
        /// The instance.
        app: AppId,
    },
    /// Ends the domain.
    Stop {
        /// The instance.
        app: AppId,
    },
    /// Ends the domain if it runs, and drops definition and image.
    Forget {
        /// The instance.
        app: AppId,
    },
    /// Bytes for the application's console.
    ConsoleInput {
        /// The instance.
        app: AppId,
        /// What to type.
        bytes: Vec<u8, MAX_PIECE>,
    },
    /// Keep this about an application for a later life of control, in place of what was kept before.
    Note {
        /// The instance that it is about, which is defined.
        app: AppId,
        /// What control likes.
        note: Vec<u8, MAX_NOTE>,
    },
    /// The same about the device.
    DeviceNote {
        /// What control likes.
        note: Vec<u8, MAX_DEVICE_NOTE>,
    },
    /// These need not be kept any more: the controller has them, or they are not to be had.
    Taken {
        /// The application whose console it was; or the log.
        app: Option<AppId>,
        /// Of a console the offset of the first byte that is not taken yet; of the log the sequence number of
        /// the first record that is not.
        before: u64,
        /// What control likes to know when it goes on from there in a later life.
        note: Vec<u8, MAX_NOTE>,
    },
    /// Asks for a [`ToControl::Usage`] of each domain, and then a [`ToControl::Machine`].
    QueryUsage,
    /// Asks for a piece of the log of what was measured: [`ToControl::EventLog`].
    QueryEventLog {
        /// Position of its first byte.
        offset: u32,
    },
    /// Resets the machine, after the applications were ended.
    Reboot {
        /// What control likes to know of it in the next life of the machine: [`Boot::order`].
        why: Vec<u8, MAX_NOTE>,
    },
}

/// Where an application stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AppState {
    /// The image is complete and has the announced SHA-256.
    Staged,
    /// The domain runs.
    Running {
        /// Its number in Xen, of this start.
        domid: u16,
    },
    /// The domain has ended.
    Stopped(StopReason),
}

/// Why a domain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopReason {
    /// By [`FromControl::Stop`] or [`FromControl::Forget`].
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

/// Why dom0 did not do what control asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// No application with this id is defined.
    Unknown,
    /// More applications than the table allows.
    TooMany,
    /// The request does not fit the state that the application is in.
    WrongState,
    /// More memory than the table allows, or than is free.
    Memory,
    /// More vCPUs than the table allows.
    Vcpus,
    /// A larger image than the table allows.
    ImageSize,
    /// A piece that is out of order or past the end.
    ImagePiece,
    /// The image's SHA-256 is not the announced one.
    ImageHash,
    /// The image is not an ELF that can be started.
    ImageFormat,
    /// Xen refused a step of the build.
    Build,
}

/// The machine, as dom0 sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// All memory, in KiB.
    pub memory_kib: u64,
    /// Memory that no domain has, in KiB.
    pub free_kib: u64,
    /// Physical CPUs that are on-line.
    pub cpus: u32,
    /// Xen's version, major and minor.
    pub xen: (u16, u16),
    /// Version of the system's image.
    pub version: String<32>,
    /// Memory that the table leaves to applications, in KiB.
    pub app_limit_kib: u32,
    /// The most vCPUs of one application.
    pub app_vcpus: u8,
    /// Whether the hardware has a watchdog that is armed.
    pub hardware_watchdog: bool,
    /// How it came to be started.
    pub boot: Boot,
    /// Whether an IOMMU keeps every device that a driver domain has within that domain's memory.
    pub confined: bool,
    /// Whether the provisioning files are those that the device has; not if they could not be read from its disk.
    pub provisioning_read: bool,
}

/// How the machine came to be started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// What ended its life before this one.
    pub cause: BootCause,
    /// One sentence with what is known of that.
    pub text: String<MAX_REASON>,
    /// What control has left with [`FromControl::Reboot`], if that was the cause and there was a place that outlived it.
    pub order: Vec<u8, MAX_NOTE>,
    /// What was started; `None` without the selector.
    pub slot: Option<BootSlot>,
    /// Whether what runs was measured ahead of it.
    pub measured: Measured,
    /// A number that tells this start from others, for all lives of control in it; 0 if none could be drawn.
    pub start: u32,
    /// When it began: Xen's system time at dom0's first instruction, in nanoseconds. That time may count since power-on,
    /// starts of the machine ago, as the counter of an aarch64 machine does over a reset.
    pub began_ns: u64,
}

/// What ended the machine's life before this one, from the evidence that survived it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BootCause {
    /// There is no evidence, and nothing that would keep any.
    Unknown,
    /// What keeps a note over a reset has none: the power was off.
    PowerOn,
    /// An order by control.
    Ordered,
    /// The hardware's watchdog: it was not fed.
    Watchdog,
    /// Neither: dom0 or Xen crashed, and the machine was reset for that.
    Panic,
}

/// The slot that was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootSlot {
    /// Which.
    pub slot: SlotName,
    /// The version in it.
    pub version: String<32>,
    /// Its attributes, after a try was taken off.
    pub priority: u8,
    /// Tries that are left.
    pub tries: u8,
    /// Whether it has proven itself.
    pub successful: bool,
    /// Whether the other slot was refused in this start.
    pub other_refused: bool,
    /// Why it was this slot, and why the other one was refused.
    pub reason: String<MAX_REASON>,
}

/// Whether what runs was measured before it ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Measured {
    /// There is nobody who could.
    No,
    /// It is being done.
    Pending,
    /// All of it.
    Yes,
    /// It was not, for the TPM or the vault failed or was too slow.
    Failed,
}

/// What one domain has used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Name in the table, or of the application.
    pub name: String<MAX_NAME>,
    /// Its number in Xen.
    pub domid: u16,
    /// The application that it runs.
    pub app: Option<AppId>,
    /// Pages that Xen counts for it, in KiB.
    pub memory_kib: u32,
    /// CPU time since its start, in nanoseconds.
    pub cpu_ns: u64,
}

/// An application that was defined in an earlier life of control.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// What it was defined as.
    pub definition: AppDefinition,
    /// How it runs, if it does.
    pub running: Option<Running>,
    /// Its note, if one was left.
    pub note: Vec<u8, MAX_NOTE>,
}

/// How an application runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// Its number in Xen, of this start.
    pub domid: u16,
    /// Xen's system time of this start, in nanoseconds since power-on.
    pub since_ns: u64,
}

/// What dom0 tells control.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToControl {
    /// First message.
    Hello {
        /// Version of this protocol.
        version: u16,
    },
    /// The machine, after the first message and on [`FromControl::QueryUsage`].
    Machine(Machine),
    /// An application moved.
    State {
        /// The instance.
        app: AppId,
        /// Where it stands now.
        state: AppState,
    },
    /// A request was not done; the application's state is unchanged.
    Refused {
        /// The instance.
        app: AppId,
        /// The kind of reason.
        refusal: Refusal,
        /// One sentence with the values that show it.
        reason: String<MAX_REASON>,
    },
    /// An application that was defined in an earlier life of control.
    Known(Known),
    /// The console of such an application, or the log, goes on where an earlier life of control said that it
    /// was [`FromControl::Taken`].
    GoesOn {
        /// The application whose console it is; or the log.
        app: Option<AppId>,
        /// What that life has left with it.
        note: Vec<u8, MAX_NOTE>,
    },
    /// All were told.
    KnownAll {
        /// The note of the device, if one was left.
        note: Vec<u8, MAX_DEVICE_NOTE>,
    },
    /// Bytes that the application wrote to its console.
    ConsoleOutput {
        /// The instance.
        app: AppId,
        /// Where they stand among all that it wrote, over all its starts.
        offset: u64,
        /// What it wrote.
        bytes: Vec<u8, MAX_PIECE>,
    },
    /// What one domain has used.
    Usage(Usage),
    /// A piece of the log of what was measured, in the crypto-agile form of the TCG: the firmware's events, the
    /// selector's, dom0's. It may have grown since the piece before.
    EventLog {
        /// Bytes that there are.
        total: u32,
        /// Position of the first byte.
        offset: u32,
        /// The piece; empty at the end.
        bytes: Vec<u8, MAX_PIECE>,
    },
    /// A line of the log of dom0 or of a service.
    Log {
        /// Its number, over all domains, from 1 on. Numbers that are left out are lost records.
        sequence: u64,
        /// The domain that wrote it.
        domain: String<16>,
        /// The line.
        record: LogRecord,
    },
    /// Whether all is well, after [`ToControl::KnownAll`] and when it changes.
    Vital {
        /// A vital service that does not do its work; none if all do.
        missing: Option<String<16>>,
    },
    /// How much is lost since the start of the machine, for no control took it in time: after [`ToControl::KnownAll`] if there
    /// is anything, and when it has become more, ahead of what comes behind the gap. The sum of all of it, so that a control
    /// need not know what an earlier one was told.
    Lost {
        /// Log lines.
        lines: u64,
        /// Console bytes.
        console_bytes: u64,
    },
}

impl Message for FromControl {
    const CHANNEL: &'static str = "device";
    const VERSION: u16 = 11;
}

impl Message for ToControl {
    const CHANNEL: &'static str = "device";
    const VERSION: u16 = 11;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        check::{long, round_trip},
        supervision::{Level, MAX_LOG_TEXT},
    };

    #[test]
    fn the_largest_messages_fit() {
        let app = AppId([0xff; 16]);
        let bytes = Vec::from_slice(&[0xff; MAX_PIECE]).unwrap();
        let definition = AppDefinition {
            app,
            name: long(),
            memory_kib: u32::MAX,
            vcpus: u16::MAX,
            command_line: long(),
            image_length: u32::MAX,
            image_sha256: [0xff; 32],
        };
        let note = Vec::from_slice(&[0xff; MAX_NOTE]).unwrap();
        round_trip(FromControl::Note { app, note: note.clone() });
        let device = Vec::from_slice(&[0xff; MAX_DEVICE_NOTE]).unwrap();
        round_trip(FromControl::DeviceNote { note: device.clone() });
        round_trip(ToControl::KnownAll { note: device });
        round_trip(FromControl::Taken { app: Some(app), before: u64::MAX, note: note.clone() });
        round_trip(FromControl::Reboot { why: note.clone() });
        round_trip(ToControl::GoesOn { app: Some(app), note: note.clone() });
        round_trip(ToControl::Known(Known {
            definition: definition.clone(),
            running: Some(Running { domid: u16::MAX, since_ns: u64::MAX }),
            note,
        }));
        round_trip(FromControl::Define(definition));
        round_trip(FromControl::Image { app, offset: u32::MAX, bytes: bytes.clone() });
        round_trip(ToControl::ConsoleOutput { app, offset: u64::MAX, bytes });
        round_trip(ToControl::Machine(Machine {
            memory_kib: u64::MAX,
            free_kib: u64::MAX,
            cpus: u32::MAX,
            xen: (u16::MAX, u16::MAX),
            version: long(),
            app_limit_kib: u32::MAX,
            app_vcpus: u8::MAX,
            hardware_watchdog: true,
            boot: Boot {
                cause: BootCause::Panic,
                text: long(),
                order: Vec::from_slice(&[0xff; MAX_NOTE]).unwrap(),
                slot: Some(BootSlot {
                    slot: SlotName::B,
                    version: long(),
                    priority: u8::MAX,
                    tries: u8::MAX,
                    successful: true,
                    other_refused: true,
                    reason: long(),
                }),
                measured: Measured::Failed,
                start: u32::MAX,
                began_ns: u64::MAX,
            },
            confined: true,
            provisioning_read: true,
        }));
        round_trip(FromControl::QueryEventLog { offset: u32::MAX });
        let bytes = Vec::from_slice(&[0xff; MAX_PIECE]).unwrap();
        round_trip(ToControl::EventLog { total: u32::MAX, offset: u32::MAX, bytes });
        round_trip(ToControl::Refused { app, refusal: Refusal::Build, reason: long() });
        round_trip(ToControl::Vital { missing: Some(long()) });
        round_trip(ToControl::Lost { lines: u64::MAX, console_bytes: u64::MAX });
        round_trip(ToControl::Log {
            sequence: u64::MAX,
            domain: long(),
            record: LogRecord { level: Level::Debug, at_ns: u64::MAX, text: long::<MAX_LOG_TEXT>() },
        });
    }
}
