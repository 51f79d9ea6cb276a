//! The record.
//!
//! Little endian, with a version, its length and a CRC-32 at its end. Selector and dom0 need not be of one build: the
//! selector is replaced apart from the slots, so that each may be the older one. How the format grows, then:
//!
//! - A new field takes bytes that are reserved, or the record becomes longer. The version stays. A reader ignores what is
//!   behind the fields that it knows, and reserved bytes; fields that an older record does not have are zero, which
//!   stands for "not told".
//! - A new number in a field that stands for something is read as "another one": [`Refused::Other`] and its like.
//! - Only a change of what is there already takes another version, and a reader then refuses the record as a whole: dom0
//!   would not know which slot it is, and nothing could be updated. There has been none but the one from version 1, which
//!   did not tell which events its copy of the log has; the log is left out of such a record.

use core::fmt;

use proto_errors::{Code, Coded, slot as code};
use proto_gpt::Guid;
use proto_gpt::slots::{Reason, Slot, State};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const MAGIC: [u8; 8] = *b"SARSBOOT";
const VERSION: u16 = 2;
/// Bytes of a record as it is written here.
pub const BYTES: usize = 256;
/// Bytes of the shortest record that is taken, and of the longest.
pub const LENGTHS: core::ops::RangeInclusive<usize> = 192..=4060;
/// Bytes of the checksum, which is the last of a record.
const CHECKSUM: usize = 4;
/// How a reason for a slot is told that is not known here.
pub const UNKNOWN_REASON: &str = "it was chosen for a reason that is not known here";
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
    /// Why; none if it is for a reason that is not known here.
    pub reason: Option<Reason>,
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
    /// The provisioning files, as an archive, which is without an entry where the disk has none; nothing if they could
    /// not be read. On aarch64 they are in the device tree.
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
        /// Something else, which a newer selector tells.
        Other = 255, "something was wrong that is not known here";
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
        /// Something else, which a newer selector tells.
        Other = 255, "for a reason that is not known here";
    }
}

impl Coded for Refused {
    fn code(&self) -> Code {
        match self {
            Self::Unreadable => code::UNREADABLE,
            Self::Empty => code::EMPTY,
            Self::Malformed | Self::Other => code::MALFORMED,
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
    /// One of a kind that is not known here, armed for so many seconds.
    Other {
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
    /// It is shorter than any record, or longer.
    Length {
        /// Bytes that it has by its own word.
        says: usize,
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
            Self::Truncated { have } => write!(f, "it is cut after {have} bytes"),
            Self::Length { says } => write!(f, "it says that it has {says} bytes, and no record has"),
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
    /// When it is not one, or a field stands for nothing. A number that is not known here of a reason, a refusal, the
    /// table's state or a kind of watchdog is none: it is read as some other one.
    pub fn parse(bytes: &[u8]) -> Result<Self, HandoffError> {
        let cut = HandoffError::Truncated { have: bytes.len() };
        let front = bytes.get(..*LENGTHS.start()).ok_or(cut)?;
        if !front.starts_with(&MAGIC) {
            return Err(HandoffError::Magic);
        }
        let number = |at: usize| match front.get(at..) {
            Some(&[low, high, ..]) => u16::from_le_bytes([low, high]),
            _ => 0,
        };
        let (version, says) = (number(8), usize::from(number(10)));
        if !(1..=VERSION).contains(&version) {
            return Err(HandoffError::Version { found: version });
        }
        if !LENGTHS.contains(&says) {
            return Err(HandoffError::Length { says });
        }
        let record = bytes.get(..says).ok_or(cut)?;
        let (fields, sum) = record.split_at_checked(says - CHECKSUM).ok_or(cut)?;
        if sum != checksum(fields).to_le_bytes() {
            return Err(HandoffError::Checksum);
        }
        // What it has more is not known here; what it has not is not told.
        let mut known = [0; BYTES];
        known.iter_mut().zip(fields).take(BYTES - CHECKSUM).for_each(|(to, from)| *to = *from);
        let raw: Raw = zerocopy::transmute!(known);
        let wrong = |at| HandoffError::Field { at };
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
            number => Some(Refused::of(number).unwrap_or(Refused::Other)),
        };
        let seconds = raw.watchdog_seconds.get();
        let (final_events_at, final_events_seen) = (raw.final_events_at.get(), raw.final_events_seen.get());
        let log = match (raw.log_at.get(), raw.log_bytes.get(), final_events_at, final_events_seen) {
            (0, 0, 0, 0) => None,
            (0, ..) | (_, 0, ..) => return Err(wrong(144)),
            (at, bytes, ..) => Some(EventLog { at, bytes, final_events_at, final_events_seen }),
        };
        let log = log.filter(|_| version > 1);
        let files = match (raw.files_at.get(), raw.files_bytes.get()) {
            (0, 0) => None,
            (0, _) | (_, 0) => return Err(wrong(168)),
            (at, bytes) => Some(Files { at, bytes }),
        };
        Ok(Self {
            slot: slot_of(raw.slot).ok_or(wrong(12))?,
            reason: reason_of(raw.reason),
            state,
            table: TableState::of(raw.table).unwrap_or(TableState::Other),
            refused,
            watchdog: match (raw.watchdog, seconds) {
                (0, 0) => Watchdog::None,
                (1, seconds) => Watchdog::Itco { seconds },
                (2, seconds) => Watchdog::I6300esb { seconds },
                (0, _) => return Err(wrong(19)),
                (_, seconds) => Watchdog::Other { seconds },
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
            Watchdog::Other { seconds } => (255, seconds),
        };
        let log = self.log.unwrap_or(EventLog { at: 0, bytes: 0, final_events_at: 0, final_events_seen: 0 });
        let files = self.files.unwrap_or(Files { at: 0, bytes: 0 });
        let mut raw = Raw {
            magic: MAGIC,
            version: VERSION.into(),
            length: (BYTES as u16).into(),
            slot: slot_number(self.slot),
            reason: self.reason.map_or(255, reason_number),
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
        let (fields, _) = raw.as_bytes().split_at(BYTES - CHECKSUM);
        raw.checksum = checksum(fields).into();
        zerocopy::transmute!(raw)
    }
}

/// Of all that is ahead of it.
fn checksum(fields: &[u8]) -> u32 {
    const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
    CRC.checksum(fields)
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
        write!(f, "{slot}, version {version}: ")?;
        match reason {
            Some(reason) => write!(f, "{reason}")?,
            None => f.write_str(UNKNOWN_REASON)?,
        }
        write!(f, " ({state})")?;
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
            reason: Some(Reason::Refused),
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
                    reason: Some(Reason::Trial),
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

    /// A record that another build writes: of this version and length, changed, with the right checksum.
    pub(crate) fn other_build(
        version: u16,
        length: usize,
        change: impl FnOnce(&mut [u8]),
    ) -> std::vec::Vec<u8> {
        let mut bytes = sample().emit().to_vec();
        bytes.truncate(BYTES - CHECKSUM);
        bytes.resize(length - CHECKSUM, 0xa5);
        bytes[8..10].copy_from_slice(&version.to_le_bytes());
        bytes[10..12].copy_from_slice(&(length as u16).to_le_bytes());
        change(&mut bytes);
        let sum = checksum(&bytes);
        bytes.extend(sum.to_le_bytes());
        bytes
    }

    /// The selector is the newer one: it tells more, in a longer record or in reserved bytes, and by other numbers.
    #[test]
    fn what_a_newer_selector_tells_more_is_left_out_and_the_rest_is_taken() {
        for length in [BYTES, BYTES + 1, 300, *LENGTHS.end()] {
            let reserved = |bytes: &mut [u8]| {
                (bytes[23], bytes[30]) = (1, 1);
                bytes[188..252].fill(0xff);
            };
            let bytes = other_build(VERSION, length, reserved);
            assert_eq!(Handoff::parse(&bytes), Ok(sample()), "{length}");
            // More may lie behind it, and nothing may be cut off.
            assert_eq!(Handoff::parse(&[&bytes[..], &[1, 2, 3]].concat()), Ok(sample()));
            let have = length - 1;
            assert_eq!(Handoff::parse(&bytes[..have]), Err(HandoffError::Truncated { have }));
        }
        let bytes = other_build(VERSION, BYTES, |bytes| {
            (bytes[13], bytes[17], bytes[18], bytes[19]) = (200, 201, 202, 203);
        });
        let told = Handoff {
            reason: None,
            table: TableState::Other,
            refused: Some(Refused::Other),
            watchdog: Watchdog::Other { seconds: 30 },
            ..sample()
        };
        assert_eq!(Handoff::parse(&bytes), Ok(told));
        assert_eq!(Handoff::parse(&told.emit()), Ok(told));
        assert!(std::format!("{told}").contains("for a reason that is not known here (priority 1"));
        let other = other_build(VERSION + 1, BYTES, |_| {});
        assert_eq!(Handoff::parse(&other), Err(HandoffError::Version { found: VERSION + 1 }));
        for says in [0, LENGTHS.start() - 1, LENGTHS.end() + 1, 0xffff] {
            let mut bytes = other_build(VERSION, BYTES, |_| {});
            bytes[10..12].copy_from_slice(&(says as u16).to_le_bytes());
            assert_eq!(Handoff::parse(&bytes), Err(HandoffError::Length { says }));
        }
    }

    /// The selector is the older one: what it does not tell is absent.
    #[test]
    fn what_an_older_selector_does_not_tell_is_absent() {
        // It knew nothing of pages that outlive a reset; nor of files, nor how much of the log it has.
        let shorter = other_build(VERSION, 192, |bytes| bytes[180..].fill(0));
        assert_eq!(Handoff::parse(&shorter), Ok(Handoff { kept_at: None, ..sample() }));
        let first = other_build(1, BYTES, |bytes| {
            bytes[156..160].fill(0);
            bytes[168..].fill(0);
        });
        assert_eq!(Handoff::parse(&first), Ok(Handoff { log: None, files: None, kept_at: None, ..sample() }));
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
        /// With a right checksum, too, no byte makes the parser stumble, and what it takes is read again as it was.
        #[test]
        fn any_fields(
            mut bytes in prop::collection::vec(any::<u8>(), *LENGTHS.start()..400),
            keep in 0usize..24,
        ) {
            let length = bytes.len();
            bytes[..24].copy_from_slice(&sample().emit()[..24]);
            bytes[10..12].copy_from_slice(&(length as u16).to_le_bytes());
            bytes[keep] = bytes[100];
            bytes[80..112].copy_from_slice(sample().version.bytes());
            let sum = checksum(&bytes[..length - CHECKSUM]);
            bytes[length - CHECKSUM..].copy_from_slice(&sum.to_le_bytes());
            if let Ok(record) = Handoff::parse(&bytes) {
                prop_assert_eq!(Handoff::parse(&record.emit()), Ok(record));
            }
        }
    }
}
