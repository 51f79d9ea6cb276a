//! An image as an ELF file: what goes where, and where the domain starts.
//!
//! Images of services come from our own archive, but those of applications come from the network:
//! everything about them is checked here, before a domain is made for them.
//!
//! Source: the ELF specification; `elfnote.h` for the note that names the PVH entry.

use core::fmt;

use ::elf::{
    ElfBytes, abi,
    endian::LittleEndian,
    file::Class,
    note::{Note, NoteIterator},
};
use heapless::Vec;
use proto_xen::start_info::NOTE_PHYS32_ENTRY;

use super::Platform;

/// Owner and number of a note of our own: the most vCPUs that the image runs on, in 4 bytes. Our runtime has it.
pub const NOTE_VCPUS: (&str, u32) = ("Sarsen", 1);

/// The most segments that are loaded.
pub const MAX_SEGMENTS: usize = 16;

/// An image that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image<'a> {
    /// Guest address of the first instruction. On x86 below 4 GiB: 32-bit protected mode without paging.
    pub entry: u64,
    /// What is loaded, by rising address.
    pub segments: Vec<Segment<'a>, MAX_SEGMENTS>,
    /// The most vCPUs that it runs on, if it says so ([`NOTE_VCPUS`]).
    pub max_vcpus: Option<u32>,
}

/// A part of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Guest address of its first byte.
    pub start: u64,
    /// Bytes from the file.
    pub data: &'a [u8],
    /// Length in memory, at least that of `data`; the rest is zero.
    pub length: u64,
}

impl Segment<'_> {
    /// Guest address behind its last byte.
    pub fn end(&self) -> u64 {
        // Checked by `Image::parse`.
        self.start.saturating_add(self.length)
    }
}

/// Why an image cannot be loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElfError {
    /// Shorter than an ELF header.
    TooShort {
        /// Bytes there.
        have: usize,
    },
    /// The file is not ELF at all.
    NotElf,
    /// Not 64-bit little-endian.
    Class,
    /// An ELF for another machine.
    Machine {
        /// `e_machine`.
        found: u16,
    },
    /// Neither linked to run at fixed addresses (x86) nor able to relocate itself (Arm).
    Type {
        /// `e_type`.
        found: u16,
    },
    /// It wants to be started by another program.
    Interpreter,
    /// The program headers, or what one of them names, reach past the end of the file.
    Truncated {
        /// Bytes there.
        have: usize,
    },
    /// Nothing to load.
    NoSegments,
    /// More than [`MAX_SEGMENTS`].
    TooManySegments,
    /// A segment has more bytes in the file than in memory.
    SegmentShrinks {
        /// Its guest address.
        start: u64,
    },
    /// Two segments share a byte.
    Overlap {
        /// Guest address of the first.
        first: u64,
        /// Guest address of the second.
        second: u64,
    },
    /// A segment reaches past the domain's memory.
    OutsideMemory {
        /// Guest address behind it.
        end: u64,
        /// Guest address behind the memory that is free for it.
        limit: u64,
    },
    /// No note names the PVH entry.
    NoEntry,
    /// The entry does not lie in a segment.
    EntryOutside {
        /// Where it lies.
        entry: u64,
    },
}

impl fmt::Display for ElfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort { have } => write!(f, "it is no ELF file: {have} bytes"),
            Self::NotElf => f.write_str("it is no ELF file"),
            Self::Class => f.write_str("it is not a 64-bit little-endian ELF file"),
            Self::Machine { found } => write!(f, "it is for machine {found}, not for this one"),
            Self::Type { found } => write!(f, "it is of ELF type {found}, which is not what starts here"),
            Self::Interpreter => {
                f.write_str("it is a program for an operating system: it names an interpreter")
            }
            Self::Truncated { have } => {
                write!(f, "it is truncated: its headers name more than its {have} bytes")
            }
            Self::NoSegments => f.write_str("it has nothing to load"),
            Self::TooManySegments => write!(f, "it has more than {MAX_SEGMENTS} segments"),
            Self::SegmentShrinks { start } => {
                write!(f, "its segment at {start:#x} is larger in the file than in memory")
            }
            Self::Overlap { first, second } => {
                write!(f, "its segments at {first:#x} and {second:#x} overlap")
            }
            Self::OutsideMemory { end, limit } => {
                write!(f, "it reaches up to {end:#x}, and the domain's memory is free up to {limit:#x}")
            }
            Self::NoEntry => f.write_str("it has no note that names a PVH entry"),
            Self::EntryOutside { entry } => write!(f, "its entry {entry:#x} is not in a segment"),
        }
    }
}

impl core::error::Error for ElfError {}

impl Platform {
    /// `e_machine` of its images.
    fn machine(self) -> u16 {
        match self {
            Self::X86 { .. } => abi::EM_X86_64,
            Self::Arm { .. } => abi::EM_AARCH64,
        }
    }

    /// `e_type` of its images, and where address 0 of such an image is in the domain.
    fn linkage(self) -> (u16, u64) {
        match self {
            Self::X86 { .. } => (abi::ET_EXEC, 0),
            Self::Arm { .. } => (abi::ET_DYN, self.memory_base().base().0),
        }
    }
}

impl<'a> Image<'a> {
    /// Checks an ELF file for a domain of `platform`.
    ///
    /// # Errors
    /// As [`ElfError`] tells, except [`ElfError::OutsideMemory`].
    pub fn parse(platform: Platform, bytes: &'a [u8]) -> Result<Self, ElfError> {
        let file = open(platform, bytes)?;
        let (_, base) = platform.linkage();
        let headers = file.segments().ok_or(ElfError::NoSegments)?;
        let mut segments = Vec::<Segment<'a>, MAX_SEGMENTS>::new();
        let mut entry = match platform {
            Platform::X86 { .. } => None,
            // A sum that wraps lies in no segment.
            Platform::Arm { .. } => Some(base.wrapping_add(file.ehdr.e_entry)),
        };
        let mut max_vcpus = None;
        for header in headers {
            match header.p_type {
                abi::PT_LOAD if header.p_memsz > 0 => {
                    let segment = load_segment(bytes, &header, base)?;
                    segments.push(segment).map_err(|_| ElfError::TooManySegments)?;
                }
                abi::PT_NOTE => {
                    entry = entry.or_else(|| find_note(&file, &header, ("Xen", NOTE_PHYS32_ENTRY)));
                    max_vcpus = max_vcpus.or_else(|| find_note(&file, &header, NOTE_VCPUS));
                }
                abi::PT_INTERP => return Err(ElfError::Interpreter),
                _ => {}
            }
        }
        segments.sort_unstable_by_key(|segment| segment.start);
        if segments.is_empty() {
            return Err(ElfError::NoSegments);
        }
        for (first, second) in segments.iter().zip(segments.iter().skip(1)) {
            if first.end() > second.start {
                return Err(ElfError::Overlap { first: first.start, second: second.start });
            }
        }
        let entry = entry.ok_or(ElfError::NoEntry)?;
        let max_vcpus = max_vcpus.and_then(|most| u32::try_from(most).ok());
        let holds_entry = |segment: &Segment<'_>| (segment.start..segment.end()).contains(&entry);
        if entry > u32::MAX.into() || !segments.iter().any(holds_entry) {
            return Err(ElfError::EntryOutside { entry });
        }
        Ok(Self { entry, segments, max_vcpus })
    }

    /// Checks that everything lies below guest address `limit`.
    ///
    /// # Errors
    /// [`ElfError::OutsideMemory`].
    pub fn check_below(&self, limit: u64) -> Result<(), ElfError> {
        let end = self.end();
        if end > limit { Err(ElfError::OutsideMemory { end, limit }) } else { Ok(()) }
    }

    /// Guest address behind the last segment.
    pub fn end(&self) -> u64 {
        self.segments.last().map_or(0, Segment::end)
    }
}

fn open(platform: Platform, bytes: &[u8]) -> Result<ElfBytes<'_, LittleEndian>, ElfError> {
    if bytes.len() < 64 {
        return Err(ElfError::TooShort { have: bytes.len() });
    }
    if !bytes.starts_with(b"\x7fELF") {
        return Err(ElfError::NotElf);
    }
    // 64 bits, little-endian: looked at first, for they decide how the rest is read.
    if bytes.get(4..6) != Some(&[abi::ELFCLASS64, abi::ELFDATA2LSB]) {
        return Err(ElfError::Class);
    }
    let parsed = ElfBytes::<LittleEndian>::minimal_parse(bytes);
    let file = parsed.map_err(|_| ElfError::Truncated { have: bytes.len() })?;
    if file.ehdr.e_machine != platform.machine() {
        return Err(ElfError::Machine { found: file.ehdr.e_machine });
    }
    if file.ehdr.e_type != platform.linkage().0 {
        return Err(ElfError::Type { found: file.ehdr.e_type });
    }
    Ok(file)
}

fn load_segment<'a>(
    bytes: &'a [u8],
    header: &::elf::segment::ProgramHeader,
    base: u64,
) -> Result<Segment<'a>, ElfError> {
    let truncated = ElfError::Truncated { have: bytes.len() };
    let outside = ElfError::OutsideMemory { end: u64::MAX, limit: u64::MAX };
    let start = base.checked_add(header.p_paddr).ok_or(outside)?;
    if header.p_filesz > header.p_memsz {
        return Err(ElfError::SegmentShrinks { start });
    }
    start.checked_add(header.p_memsz).ok_or(outside)?;
    let from = usize::try_from(header.p_offset).map_err(|_| truncated)?;
    let length = usize::try_from(header.p_filesz).map_err(|_| truncated)?;
    let data = from.checked_add(length).and_then(|to| bytes.get(from..to)).ok_or(truncated)?;
    Ok(Segment { start, data, length: header.p_memsz })
}

/// The number that a note holds.
fn find_note(
    file: &ElfBytes<'_, LittleEndian>,
    header: &::elf::segment::ProgramHeader,
    (owner, kind): (&str, u32),
) -> Option<u64> {
    // By words, whatever alignment the header has: linkers and strip give it that of the segment around it, and
    // Xen does not look at it either.
    let bytes = file.segment_data(header).ok()?;
    let mut notes = NoteIterator::new(LittleEndian, Class::ELF64, 4, bytes);
    notes.find_map(|note| match note {
        Note::Unknown(note) if note.n_type == u64::from(kind) && name_of(note.name) == owner.as_bytes() => {
            number(note.desc)
        }
        _ => None,
    })
}

fn name_of(name: &[u8]) -> &[u8] {
    name.strip_suffix(b"\0").unwrap_or(name)
}

/// The note holds 4 or 8 bytes.
fn number(bytes: &[u8]) -> Option<u64> {
    match bytes.len() {
        4 => bytes.try_into().ok().map(u32::from_le_bytes).map(u64::from),
        8 => bytes.try_into().ok().map(u64::from_le_bytes),
        _ => None,
    }
}

#[cfg(test)]
pub(crate) mod tests;
