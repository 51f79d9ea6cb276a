//! The record.
//!
//! 256 bytes, little endian, with a version and a CRC-32 at the end. A field that is not known to the reader
//! makes it refuse the record, which is no loss: it is a report.

use core::fmt;

use proto_errors::{Code, Coded, slot as code};
use proto_gpt::Guid;
use proto_gpt::slots::{Reason, Slot, State};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const MAGIC: [u8; 8] = *b"SARSBOOT";
const VERSION: u16 = 2;
/// Bytes of a record.
pub const BYTES: usize = 256;
/// Bytes that the checksum covers.
const CHECKED: usize = BYTES - 4;
/// The longest name of a version, in bytes.
pub const VERSION_BYTES: usize = 32;

/// The record as it lies in memory.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Raw {
    magic: [u8; 8],
    version: U16,
    length: U16,
    slot: u8,
    reason: u8,
    priority: u8,
    tries: u8,
    successful: u8,
    table: u8,
    refused: u8,
    watchdog: u8,
    watchdog_seconds: U16,
    watchdog_fired: u8,
    reserved0: u8,
    block_bytes: U32,
    reserved1: U32,
    first_block: U64,
    blocks: U64,
    disk: [u8; 16],
    partition: [u8; 16],
    name: [u8; VERSION_BYTES],
    sha256: [u8; 32],
    log_at: U64,
    log_bytes: U32,
    final_events_seen: U32,
    final_events_at: U64,
    files_at: U64,
    files_bytes: U32,
    kept_at: U64,
    reserved3: [u8; 64],
    checksum: U32,
}

const _: () = assert!(size_of::<Raw>() == BYTES);

/// What the selector found and did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handoff {
    /// The slot that was started.
    pub slot: Slot,
    /// Why.
    pub reason: Reason,
    /// Its state, after its try was taken off.
    pub state: State,
    /// What the partition table was like.
    pub table: TableState,
    /// Why the other slot was refused in this start, if it was.
    pub refused: Option<Refused>,
    /// The hardware's watchdog.
    pub watchdog: Watchdog,
    /// The watchdog had reset the machine.
    pub watchdog_fired: bool,
    /// Where the slot is.
    pub place: Place,
    /// The system's version in the slot.
    pub version: Version,
    /// SHA-256 of what the slot holds.
    pub sha256: [u8; 32],
    /// The firmware's log of measurements, if there is a TPM.
    pub log: Option<EventLog>,
    /// The provisioning files, as an archive, if the disk has some. On aarch64 they are in the device tree.
    pub files: Option<Files>,
    /// Address of the pages that outlive a reset, see [`kept`](crate::kept), if the firmware has given them.
    pub kept_at: Option<u64>,
}

/// Where a slot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The disk's identifier.
    pub disk: Guid,
    /// The partition's.
    pub partition: Guid,
    /// Bytes of a block.
    pub block_bytes: u32,
    /// First block of the partition.
    pub first_block: u64,
    /// Its blocks.
    pub blocks: u64,
}

/// Where the firmware's log of measurements was copied to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventLog {
    /// Address of the copy.
    pub at: u64,
    /// Bytes of it.
    pub bytes: u32,
    /// Address of the table with what was measured after the firmware was asked for its log first; 0 if there is none.
    pub final_events_at: u64,
    /// Events of that table that the copy has, too: those from before it was made. It is made anew for each slot.
    pub final_events_seen: u32,
}

/// Where the archive of provisioning files is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Files {
    /// Address of it.
    pub at: u64,
    /// Bytes of it.
    pub bytes: u32,
}

/// Numbers that stand for something, each with its text.
macro_rules! numbered {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $number:literal, $text:literal;)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$doc])* $variant,)+
        }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            const fn number(self) -> u8 {
                match self { $(Self::$variant => $number,)+ }
            }

            const fn of(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)+ _ => None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $text,)+ })
            }
        }
    };
}

numbered! {
    /// What the partition table was like.
    TableState {
        /// Both copies were right.
        Sound = 0, "both copies were right";
        /// The first copy was damaged or out of date, and was written anew.
        PrimaryRepaired = 1, "the first copy was repaired";
        /// The second copy was.
        BackupRepaired = 2, "the second copy was repaired";
        /// A copy should have been written anew, and the disk refused.
        NotRepaired = 3, "one copy is damaged and could not be repaired";
    }
}

numbered! {
    /// Why a slot was not started, or was started in vain.
    Refused {
        /// The disk did not give it.
        Unreadable = 1, "it cannot be read";
        /// It holds nothing of ours.
        Empty = 2, "it holds no system";
        /// Its header contradicts itself, or is of another version or machine.
        Malformed = 3, "its header is not right";
        /// Its signature is not by a key that is trusted.
        Signature = 4, "its signature is not right";
        /// Its contents are not what was signed.
        Hash = 5, "its contents are not what was signed";
        /// The firmware did not take it as a program.
        NotLoaded = 6, "the firmware does not load it";
        /// It was started, and came back.
        Returned = 7, "it was started and came back";
        /// Its try could not be taken off.
        NotCounted = 8, "the try could not be taken off";
        /// There is too little memory.
        NoMemory = 9, "there is too little memory for it";
    }
}

impl Coded for Refused {
    fn code(&self) -> Code {
        match self {
            Self::Unreadable => code::UNREADABLE,
            Self::Empty => code::EMPTY,
            Self::Malformed => code::MALFORMED,
            Self::Signature => code::SIGNATURE,
            Self::Hash => code::CHANGED,
            Self::NotLoaded => code::NOT_LOADED,
            Self::Returned => code::RETURNED,
            Self::NotCounted => code::NOT_COUNTED,
            Self::NoMemory => code::NO_MEMORY,
        }
    }
}

/// The hardware's watchdog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watchdog {
    /// None was found.
    None,
    /// The chipset's, armed for so many seconds.
    Itco {
        /// Seconds until the reset.
        seconds: u16,
    },
    /// An Intel 6300ESB, armed for so many seconds.
    I6300esb {
        /// Seconds until the reset.
        seconds: u16,
    },
}

/// The version's name: printable ASCII, not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version([u8; VERSION_BYTES]);

impl Version {
    /// Takes a name. `None` if it is empty, too long, or not printable.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let mut bytes = [0; VERSION_BYTES];
        bytes.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
        Self::parse(bytes)
    }

    /// Takes a name that is filled up with NULs.
    #[must_use]
    pub fn parse(bytes: [u8; VERSION_BYTES]) -> Option<Self> {
        let length = bytes.iter().position(|&byte| byte == 0).unwrap_or(VERSION_BYTES);
        let (name, rest) = bytes.split_at_checked(length)?;
        let plain = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
        (plain && rest.iter().all(|&byte| byte == 0)).then_some(Self(bytes))
    }

    /// The name, filled up with NULs.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; VERSION_BYTES] {
        &self.0
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let length = self.0.iter().position(|&byte| byte == 0).unwrap_or(VERSION_BYTES);
        self.0.get(..length).and_then(|name| core::str::from_utf8(name).ok()).unwrap_or_default()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandoffError {
    /// Fewer bytes than a record has.
    Truncated {
        /// Bytes that are there.
        have: usize,
    },
    /// It does not begin as a record does.
    Magic,
    /// Another version.
    Version {
        /// Which.
        found: u16,
    },
    /// The checksum is another one.
    Checksum,
    /// A field has a value that stands for nothing.
    Field {
        /// Offset of the field.
        at: usize,
    },
}

impl fmt::Display for HandoffError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { have } => write!(f, "it has {have} bytes of {BYTES}"),
            Self::Magic => f.write_str("it is none of ours"),
            Self::Version { found } => write!(f, "it is of version {found}, not {VERSION}"),
            Self::Checksum => f.write_str("it is damaged"),
            Self::Field { at } => write!(f, "the field at byte {at} stands for nothing"),
        }
    }
}

impl core::error::Error for HandoffError {}

impl Handoff {
    /// Reads a record.
    ///
    /// # Errors
    /// When it is not one, or says something that is not known here.
    pub fn parse(bytes: &[u8]) -> Result<Self, HandoffError> {
        let cut = HandoffError::Truncated { have: bytes.len() };
        let (raw, _) = Raw::ref_from_prefix(bytes).map_err(|_| cut)?;
        if raw.magic != MAGIC {
            return Err(HandoffError::Magic);
        }
        if (raw.version.get(), usize::from(raw.length.get())) != (VERSION, BYTES) {
            return Err(HandoffError::Version { found: raw.version.get() });
        }
        if raw.checksum.get() != checksum(bytes) {
            return Err(HandoffError::Checksum);
        }
        let wrong = |at| HandoffError::Field { at };
        let spare = [raw.reserved0, raw.reserved3.iter().fold(0, |all, byte| all | byte)];
        if spare != [0, 0] || raw.reserved1.get() != 0 {
            return Err(wrong(23));
        }
        let flag = |value: u8, at| match value {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(wrong(at)),
        };
        let state = State { priority: raw.priority, tries: raw.tries, successful: flag(raw.successful, 16)? };
        if State::of(state.put(0)) != state {
            return Err(wrong(14));
        }
        let refused = match raw.refused {
            0 => None,
            number => Some(Refused::of(number).ok_or(wrong(18))?),
        };
        let seconds = raw.watchdog_seconds.get();
        let (final_events_at, final_events_seen) = (raw.final_events_at.get(), raw.final_events_seen.get());
        let log = match (raw.log_at.get(), raw.log_bytes.get(), final_events_at, final_events_seen) {
            (0, 0, 0, 0) => None,
            (0, ..) | (_, 0, ..) => return Err(wrong(144)),
            (at, bytes, ..) => Some(EventLog { at, bytes, final_events_at, final_events_seen }),
        };
        let files = match (raw.files_at.get(), raw.files_bytes.get()) {
            (0, 0) => None,
            (0, _) | (_, 0) => return Err(wrong(168)),
            (at, bytes) => Some(Files { at, bytes }),
        };
        Ok(Self {
            slot: slot_of(raw.slot).ok_or(wrong(12))?,
            reason: reason_of(raw.reason).ok_or(wrong(13))?,
            state,
            table: TableState::of(raw.table).ok_or(wrong(17))?,
            refused,
            watchdog: match (raw.watchdog, seconds) {
                (0, 0) => Watchdog::None,
                (1, seconds) => Watchdog::Itco { seconds },
                (2, seconds) => Watchdog::I6300esb { seconds },
                _ => return Err(wrong(19)),
            },
            watchdog_fired: flag(raw.watchdog_fired, 22)?,
            place: Place {
                disk: Guid::from_bytes(raw.disk),
                partition: Guid::from_bytes(raw.partition),
                block_bytes: raw.block_bytes.get(),
                first_block: raw.first_block.get(),
                blocks: raw.blocks.get(),
            },
            version: Version::parse(raw.name).ok_or(wrong(80))?,
            sha256: raw.sha256,
            log,
            files,
            kept_at: Some(raw.kept_at.get()).filter(|&at| at != 0),
        })
    }

    /// The record's bytes.
    #[must_use]
    pub fn emit(&self) -> [u8; BYTES] {
        let (watchdog, seconds) = match self.watchdog {
            Watchdog::None => (0, 0),
            Watchdog::Itco { seconds } => (1, seconds),
            Watchdog::I6300esb { seconds } => (2, seconds),
        };
        let log = self.log.unwrap_or(EventLog { at: 0, bytes: 0, final_events_at: 0, final_events_seen: 0 });
        let files = self.files.unwrap_or(Files { at: 0, bytes: 0 });
        let mut raw = Raw {
            magic: MAGIC,
            version: VERSION.into(),
            length: (BYTES as u16).into(),
            slot: slot_number(self.slot),
            reason: reason_number(self.reason),
            priority: self.state.priority,
            tries: self.state.tries,
            successful: self.state.successful.into(),
            table: self.table.number(),
            refused: self.refused.map_or(0, Refused::number),
            watchdog,
            watchdog_seconds: seconds.into(),
            watchdog_fired: self.watchdog_fired.into(),
            reserved0: 0,
            block_bytes: self.place.block_bytes.into(),
            reserved1: 0.into(),
            first_block: self.place.first_block.into(),
            blocks: self.place.blocks.into(),
            disk: self.place.disk.to_bytes(),
            partition: self.place.partition.to_bytes(),
            name: self.version.0,
            sha256: self.sha256,
            log_at: log.at.into(),
            log_bytes: log.bytes.into(),
            final_events_seen: log.final_events_seen.into(),
            final_events_at: log.final_events_at.into(),
            files_at: files.at.into(),
            files_bytes: files.bytes.into(),
            kept_at: self.kept_at.unwrap_or_default().into(),
            reserved3: [0; 64],
            checksum: 0.into(),
        };
        raw.checksum = checksum(raw.as_bytes()).into();
        zerocopy::transmute!(raw)
    }
}

fn checksum(record: &[u8]) -> u32 {
    const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
    CRC.checksum(record.get(..CHECKED).unwrap_or_default())
}

const fn slot_number(slot: Slot) -> u8 {
    match slot {
        Slot::A => 0,
        Slot::B => 1,
    }
}

fn slot_of(number: u8) -> Option<Slot> {
    Slot::ALL.into_iter().find(|slot| slot_number(*slot) == number)
}

const fn reason_number(reason: Reason) -> u8 {
    match reason {
        Reason::Proven => 1,
        Reason::Trial => 2,
        Reason::Exhausted => 3,
        Reason::Refused => 4,
    }
}

fn reason_of(number: u8) -> Option<Reason> {
    let all = [Reason::Proven, Reason::Trial, Reason::Exhausted, Reason::Refused];
    all.into_iter().find(|reason| reason_number(*reason) == number)
}

impl fmt::Display for Handoff {
    /// `slot A, version 0.1.0: it has proven itself (priority 2, tries 0, proven)`, and what was wrong.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { slot, reason, state, version, .. } = self;
        write!(f, "{slot}, version {version}: {reason} ({state})")?;
        if let Some(refused) = self.refused {
            write!(f, "; {}: {refused}", slot.other())?;
        }
        if self.table != TableState::Sound {
            write!(f, "; partition table: {}", self.table)?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn sample() -> Handoff {
        Handoff {
            slot: Slot::B,
            reason: Reason::Refused,
            state: State::SPARE,
            table: TableState::PrimaryRepaired,
            refused: Some(Refused::Hash),
            watchdog: Watchdog::Itco { seconds: 30 },
            watchdog_fired: true,
            place: Place {
                disk: Guid::from_bytes([1; 16]),
                partition: Guid::from_bytes([2; 16]),
                block_bytes: 512,
                first_block: 2048,
                blocks: 98304,
            },
            version: Version::new("0.1.0").unwrap(),
            sha256: [3; 32],
            log: Some(EventLog {
                at: 0x7f00_0000,
                bytes: 4000,
                final_events_at: 0x7e00_0000,
                final_events_seen: 3,
            }),
            files: Some(Files { at: 0x7d00_0000, bytes: 5000 }),
            kept_at: Some(0x0fff_e000),
        }
    }

    #[test]
    fn reading_undoes_writing() {
        assert_eq!(Handoff::parse(&sample().emit()), Ok(sample()));
        let other = Handoff { watchdog: Watchdog::I6300esb { seconds: 29 }, ..sample() };
        assert_eq!(Handoff::parse(&other.emit()), Ok(other));
        for &refused in Refused::ALL {
            for &table in TableState::ALL {
                let one = Handoff {
                    refused: Some(refused),
                    table,
                    log: None,
                    files: None,
                    kept_at: None,
                    watchdog: Watchdog::None,
                    slot: Slot::A,
                    reason: Reason::Trial,
                    ..sample()
                };
                assert_eq!(Handoff::parse(&one.emit()), Ok(one));
            }
        }
    }

    /// Offsets and numbers stay: dom0 and selector need not be of one build.
    #[test]
    fn the_bytes_are_pinned() {
        let bytes = sample().emit();
        assert_eq!(bytes[..12], *b"SARSBOOT\x02\0\0\x01");
        assert_eq!(bytes[12..24], [1, 4, 1, 0, 1, 1, 5, 1, 30, 0, 1, 0]);
        assert_eq!(bytes[24..28], 512u32.to_le_bytes());
        assert_eq!((bytes[48], bytes[64], bytes[112]), (1, 2, 3));
        assert_eq!(bytes[80..86], *b"0.1.0\0");
        assert_eq!(bytes[144..152], 0x7f00_0000u64.to_le_bytes());
        assert_eq!(bytes[156..160], 3u32.to_le_bytes());
        assert_eq!(bytes[168..180], *b"\0\0\0\x7d\0\0\0\0\x88\x13\0\0");
        assert_eq!(bytes[180..188], 0x0fff_e000u64.to_le_bytes());
    }

    #[test]
    fn one_bit_flipped_anywhere_is_noticed() {
        let good = sample().emit();
        for bit in 0..BYTES * 8 {
            let mut bytes = good;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Handoff::parse(&bytes).is_err(), "{bit}");
        }
        for length in 0..BYTES {
            assert_eq!(Handoff::parse(&good[..length]), Err(HandoffError::Truncated { have: length }));
        }
    }

    #[test]
    fn it_is_told_in_one_line() {
        assert_eq!(
            std::format!("{}", sample()),
            "slot B, version 0.1.0: the other one could not be started (priority 1, tries 0, proven); slot A: its \
             contents are not what was signed; partition table: the first copy was repaired"
        );
    }

    proptest! {
        /// With a right checksum, too, no byte makes the parser stumble, and what it takes it gives back.
        #[test]
        fn any_fields(mut bytes in prop::collection::vec(any::<u8>(), BYTES), keep in 0usize..24) {
            bytes[..24].copy_from_slice(&sample().emit()[..24]);
            bytes[keep] = bytes[100];
            bytes[80..112].copy_from_slice(sample().version.bytes());
            bytes[188..252].fill(0);
            bytes[28..32].fill(0);
            let sum = checksum(&bytes);
            bytes[252..].copy_from_slice(&sum.to_le_bytes());
            if let Ok(record) = Handoff::parse(&bytes) {
                prop_assert_eq!(record.emit().to_vec(), bytes);
            }
        }
    }
}
