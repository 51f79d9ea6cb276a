//! Disks: what is common to them, and how storage uses one without knowing its kind.
//!
//! [`BlockDevice`] is the whole of it: a run of blocks is read or written, and [`BlockDevice::flush`] makes
//! durable what was written before. What a caller may rely on, and what not:
//!
//! - A write that was answered with `Ok` is read back from then on. It is *durable*, which is to say there
//!   after the power was cut, only when a flush that began after that answer was answered with `Ok`.
//! - Until then the disk may carry writes out in any order, and some of them, and blocks of one without the
//!   others. A block that was being written when the power failed may hold the old contents, the new ones, or
//!   the front of the one before the rest of the other.
//! - After any error of a write, or a call that was dropped before its end, the blocks that it named are in
//!   that same doubt, and stay so until they are written again. After an error of a flush, or one that was
//!   dropped, so is all that was written since the last one that succeeded; another flush says nothing of it,
//!   for the disk may have given it up.
//! - Calls are answered in the order in which they were made: there is one caller, and a call takes the device
//!   exclusively.
//!
//! A device that broke its protocol, or did not answer in time, is reset before it is used again; that is done
//! by the next call, within the time that this call has. So after an error a caller may just try again, as
//! often and as long as it sees fit.
//!
//! `fake` (feature of this name) is a disk in memory for tests of those who stand on this.

use core::{fmt, future::Future, time::Duration};

use heapless::String;

use crate::{nvme, virtio::queue};

pub(crate) mod buffer;
#[cfg(test)]
pub(crate) mod rig;
pub mod wait;

#[cfg(any(test, feature = "fake"))]
pub mod fake;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;

/// The most bytes of one read or write. More has to be cut into several.
pub const MAX_TRANSFER: usize = 128 * 1024;

/// Bytes of the longest model.
pub const MAX_MODEL: usize = 40;

/// Bytes of the longest serial number.
pub const MAX_SERIAL: usize = 20;

/// Which disk it is, as it says itself. Printable ASCII, without blanks at either end; empty if the disk does
/// not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Model.
    pub model: String<MAX_MODEL>,
    /// Serial number.
    pub serial: String<MAX_SERIAL>,
}

/// Text of a fixed width, which blanks or zeros fill up. What is not printable ASCII is a question mark.
pub(crate) fn identity_text<const N: usize>(bytes: &[u8; N]) -> String<N> {
    let printable = |byte: &u8| if (0x20..0x7f).contains(byte) { char::from(*byte) } else { '?' };
    let is_filling = |byte: &u8| matches!(byte, b' ' | 0);
    let first = bytes.iter().position(|byte| !is_filling(byte)).unwrap_or(N);
    let end = bytes.iter().rposition(|byte| !is_filling(byte)).map_or(first, |last| last + 1);
    bytes.get(first..end).unwrap_or_default().iter().map(printable).collect()
}

/// Bytes of a block: the unit in which a disk is addressed. Other sizes are refused when a disk is brought up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockSize {
    /// 512.
    B512,
    /// 4096.
    B4096,
}

impl BlockSize {
    /// The size of so many bytes.
    #[must_use]
    pub const fn of_bytes(bytes: u32) -> Option<Self> {
        match bytes {
            512 => Some(Self::B512),
            4096 => Some(Self::B4096),
            _ => None,
        }
    }

    /// In bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::B512 => 512,
            Self::B4096 => 4096,
        }
    }
}

/// How large a disk is, and what it takes. The same as long as the value lives that tells of it: a disk that
/// comes out of a reset with another geometry is [`Error::Fault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes of a block.
    pub block_size: BlockSize,
    /// Blocks of the disk.
    pub blocks: u64,
    /// Whether it may be written.
    pub writable: bool,
}

impl Geometry {
    /// Bytes of the disk.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.blocks.saturating_mul(self.block_size.bytes() as u64)
    }

    /// Checks that `bytes` bytes from block `first` on are a run of blocks that one call may name, and returns
    /// how many blocks.
    ///
    /// # Errors
    /// [`Error::Misaligned`], [`Error::TooLong`], [`Error::OutOfRange`].
    pub fn check(&self, first: u64, bytes: usize) -> Result<u32, Error> {
        let block = self.block_size.bytes();
        if bytes == 0 || !bytes.is_multiple_of(block) {
            return Err(Error::Misaligned { bytes, block });
        }
        if bytes > MAX_TRANSFER {
            return Err(Error::TooLong { bytes });
        }
        let blocks = (bytes / block) as u32;
        match first.checked_add(blocks.into()) {
            Some(end) if end <= self.blocks => Ok(blocks),
            _ => Err(Error::OutOfRange { first, blocks, have: self.blocks }),
        }
    }
}

/// A disk. Dropping one of its futures is allowed at any time; see the [module](self) for what is then known.
pub trait BlockDevice {
    /// Which disk it is.
    fn identity(&self) -> &Identity;

    /// How large it is.
    fn geometry(&self) -> Geometry;

    /// Fills `into` with the blocks from `first` on. Bytes: a multiple of the block size, at least one block, at
    /// most [`MAX_TRANSFER`]. After an error `into` holds nothing of meaning.
    ///
    /// `within` is how long it may take by the caller's clock.
    ///
    /// # Errors
    /// [`Error`]
    fn read(
        &mut self,
        first: u64,
        into: &mut [u8],
        within: Duration,
    ) -> impl Future<Output = Result<(), Error>>;

    /// Writes `from` to the blocks from `first` on; lengths as in [`BlockDevice::read`].
    ///
    /// # Errors
    /// [`Error`]
    fn write(&mut self, first: u64, from: &[u8], within: Duration)
    -> impl Future<Output = Result<(), Error>>;

    /// Makes all that was written before durable. Costs nothing on a disk without a volatile cache.
    ///
    /// # Errors
    /// [`Error`]
    fn flush(&mut self, within: Duration) -> impl Future<Output = Result<(), Error>>;
}

/// What a driver of a disk has seen since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Commands that were answered, refused ones among them.
    pub commands: u64,
    /// Answers that were found though no interrupt had come: when time was up, or, by a driver that does not
    /// rely on interrupts, before.
    pub late: u32,
    /// Resets after something went wrong.
    pub resets: u32,
}

/// Why a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Not a whole number of blocks, or none.
    Misaligned {
        /// Bytes that were asked for.
        bytes: usize,
        /// Bytes of a block.
        block: usize,
    },
    /// More than [`MAX_TRANSFER`] in one call.
    TooLong {
        /// Bytes that were asked for.
        bytes: usize,
    },
    /// Blocks that the disk does not have.
    OutOfRange {
        /// The first that was asked for.
        first: u64,
        /// How many.
        blocks: u32,
        /// How many the disk has.
        have: u64,
    },
    /// A write to a disk that may not be written.
    ReadOnly,
    /// The disk answered that it does not do it. It is in order otherwise.
    Refused(Refusal),
    /// The disk did not answer in time. It is reset by the next call.
    TimedOut {
        /// What the call had.
        within: Duration,
    },
    /// The disk broke its protocol or says itself that it is lost. It is reset by the next call.
    Fault(Fault),
    /// The disk is not there any more, or does not come out of its reset.
    Gone,
    /// Another call has failed, or was dropped, since what is to be durable was written: it may be gone. No driver
    /// says so; those do who share a disk, and then it has to be written again.
    InDoubt,
}

/// Who is at fault, which is also what helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The caller: the same call fails again.
    Caller,
    /// The disk, for these blocks: others work, these may not.
    Blocks,
    /// The disk as a whole: later calls try to bring it up again.
    Disk,
}

impl Error {
    /// Who is at fault.
    #[must_use]
    pub const fn blame(&self) -> Blame {
        match self {
            Self::Misaligned { .. } | Self::TooLong { .. } | Self::OutOfRange { .. } | Self::ReadOnly => {
                Blame::Caller
            }
            Self::Refused(_) => Blame::Blocks,
            Self::TimedOut { .. } | Self::Fault(_) | Self::Gone | Self::InDoubt => Blame::Disk,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Misaligned { bytes, block } => {
                write!(f, "{bytes} bytes are not a whole number of blocks of {block}")
            }
            Self::TooLong { bytes } => {
                write!(f, "{bytes} bytes are more than the {MAX_TRANSFER} of one transfer")
            }
            Self::OutOfRange { first, blocks, have } => {
                write!(f, "{blocks} blocks from {first} on are past the end of a disk of {have}")
            }
            Self::ReadOnly => f.write_str("it may not be written"),
            Self::Refused(refusal) => write!(f, "{refusal}"),
            Self::TimedOut { within } => write!(f, "it did not answer within {} ms", within.as_millis()),
            Self::Fault(fault) => write!(f, "{fault}"),
            Self::Gone => f.write_str("it is gone"),
            Self::InDoubt => f.write_str("what was written before it failed may be gone"),
        }
    }
}

impl core::error::Error for Error {}

/// What a disk means by a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The blocks cannot be read: what they held is lost.
    Unreadable,
    /// The blocks cannot be written.
    Unwritable,
    /// The disk is write-protected, or was never to be written.
    Protected,
    /// There is no room left on a disk that promised more than it has.
    NoSpace,
    /// The blocks are not of the disk, as it sees it.
    Range,
    /// It does not know the command.
    Unsupported,
    /// Something within the disk went wrong; another try may succeed.
    Internal,
    /// It was told to stop, or is being reset.
    Aborted,
    /// None of these: the status says more to those who look it up.
    Other,
}

/// The status with which a disk refused a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// NVM Express: status code type and status code.
    Nvme {
        /// Status code type.
        sct: u8,
        /// Status code.
        sc: u8,
    },
    /// Virtio: the status byte.
    Virtio(u8),
}

/// A command that the disk refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What it means.
    pub cause: Cause,
    /// How the disk said it.
    pub status: Status,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreadable => "it cannot read these blocks",
            Self::Unwritable => "it cannot write these blocks",
            Self::Protected => "it is write-protected",
            Self::NoSpace => "it has no room left",
            Self::Range => "it does not know these blocks",
            Self::Unsupported => "it does not know the command",
            Self::Internal => "it has an internal error",
            Self::Aborted => "it aborted the command",
            Self::Other => "it refused the command",
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cause, status } = self;
        match status {
            Status::Nvme { sct, sc } => match nvme::status::name(*sct, *sc) {
                Some(name) => write!(f, "{cause} (NVMe status {sct:x}:{sc:02x}, {name})"),
                None => write!(f, "{cause} (NVMe status {sct:x}:{sc:02x})"),
            },
            Status::Virtio(status) => write!(f, "{cause} (virtio status {status})"),
        }
    }
}

/// What a disk did that it must not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It completed a command that it does not have: twice, or never given.
    NotGiven {
        /// The command's number, as it says.
        number: u16,
    },
    /// NVM Express: it completed a command of another queue in this one.
    Queue {
        /// The queue's number, as it says.
        says: u16,
    },
    /// NVM Express: it claims to have fetched commands that it was not given.
    Fetched {
        /// Up to which entry, as it says.
        says: u16,
    },
    /// Virtio: it lied about its queue.
    Virtqueue(queue::Fault),
    /// Virtio: it says that it is done, and has not said how that ended.
    NoStatus,
    /// Virtio: it says that it has read blocks, and less than all of them.
    Short {
        /// Bytes that it wrote, as it says.
        says: u32,
        /// Bytes that there were to write.
        room: u32,
    },
    /// Virtio: it has interrupts that the specification does not.
    Interrupt {
        /// InterruptStatus reads so.
        status: u32,
    },
    /// Virtio: it does not run, though nobody has stopped it.
    Stopped {
        /// Status reads so.
        status: u32,
    },
    /// It goes on interrupting without having anything to say.
    Restless,
    /// It says itself that it cannot go on.
    Fatal,
    /// It came out of a reset as another disk, or with another geometry.
    Changed,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotGiven { number } => write!(f, "it completed command {number}, which it does not have"),
            Self::Queue { says } => write!(f, "it completed a command of queue {says} in another one"),
            Self::Fetched { says } => {
                write!(f, "it claims to have fetched commands up to entry {says}, which it was not given")
            }
            Self::Virtqueue(fault) => write!(f, "{fault}"),
            Self::NoStatus => f.write_str("it is done with a request, and says not how"),
            Self::Short { says, room } => {
                write!(f, "it wrote {says} bytes of {room} and says that this is all")
            }
            Self::Interrupt { status } => write!(f, "InterruptStatus reads {status:#x}"),
            Self::Stopped { status } => write!(f, "it does not run any more, Status reads {status:#x}"),
            Self::Restless => f.write_str("it goes on interrupting for nothing"),
            Self::Fatal => f.write_str("it says that it cannot go on"),
            Self::Changed => f.write_str("it came out of its reset as another disk"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISK: Geometry = Geometry { block_size: BlockSize::B4096, blocks: 100, writable: true };

    #[test]
    fn runs_are_whole_blocks_within_the_disk() {
        assert_eq!(DISK.check(0, 4096), Ok(1));
        assert_eq!(DISK.check(68, MAX_TRANSFER), Ok(32));
        for bytes in [0, 1, 512, 4095, 4097] {
            assert_eq!(DISK.check(0, bytes), Err(Error::Misaligned { bytes, block: 4096 }));
        }
        let bytes = MAX_TRANSFER + 4096;
        assert_eq!(DISK.check(0, bytes), Err(Error::TooLong { bytes }));
        for (first, blocks) in [(99, 2), (100, 1), (u64::MAX, 1), (u64::MAX - 1, 2)] {
            let past = Error::OutOfRange { first, blocks, have: 100 };
            assert_eq!(DISK.check(first, blocks as usize * 4096), Err(past));
        }
        assert_eq!(DISK.bytes(), 409_600);
    }

    #[test]
    fn only_two_sizes_are_blocks() {
        for bytes in [0, 1, 256, 513, 520, 1024, 4104, 8192, u32::MAX] {
            assert_eq!(BlockSize::of_bytes(bytes), None);
        }
        for bytes in [512, 4096] {
            assert_eq!(BlockSize::of_bytes(bytes).map(BlockSize::bytes), Some(bytes as usize));
        }
    }

    #[test]
    fn text_is_printable_and_without_filling() {
        assert_eq!(identity_text(b"  a b\0\x7f\xff  "), "a b???");
        assert_eq!(identity_text(b"    "), "");
        assert_eq!(identity_text(b"full"), "full");
    }

    #[test]
    fn an_error_says_whose_it_is() {
        let refusal = Refusal { cause: Cause::Unreadable, status: Status::Nvme { sct: 2, sc: 0x81 } };
        let errors = [
            (Error::ReadOnly, Blame::Caller, "it may not be written"),
            (
                Error::Refused(refusal),
                Blame::Blocks,
                "it cannot read these blocks (NVMe status 2:81, Unrecovered Read Error)",
            ),
            (
                Error::TimedOut { within: Duration::from_secs(2) },
                Blame::Disk,
                "it did not answer within 2000 ms",
            ),
            (
                Error::Fault(Fault::NotGiven { number: 7 }),
                Blame::Disk,
                "it completed command 7, which it does not have",
            ),
        ];
        for (error, blame, text) in errors {
            assert_eq!(error.blame(), blame);
            assert_eq!(std::format!("{error}"), text);
        }
    }
}
