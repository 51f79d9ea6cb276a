use std::{vec, vec::Vec};

use super::*;

const X86: Platform = Platform::X86 { signature: 0 };
const ARM: Platform = Platform::Arm { seeds: || None };

/// A program header: type, offset, physical address, bytes in the file, bytes in memory.
pub(crate) type Header = (u32, u64, u64, u64, u64);

/// An ELF file with these program headers and the entry note; `body` follows the headers.
pub(crate) fn elf(headers: &[Header], entry: u32, body: &[u8]) -> Vec<u8> {
    elf_with_notes(headers, &[("Xen", NOTE_PHYS32_ENTRY, entry)], body)
}

/// The same with these notes: owner, number, value.
fn elf_with_notes(headers: &[Header], notes: &[(&str, u32, u32)], body: &[u8]) -> Vec<u8> {
    let mut note = Vec::new();
    for &(owner, kind, value) in notes {
        for word in [owner.len() as u32 + 1, 4, kind] {
            note.extend(word.to_le_bytes());
        }
        note.extend(owner.as_bytes());
        note.resize(note.len() / 4 * 4 + 4, 0);
        note.extend(value.to_le_bytes());
    }
    let note_at = 64 + 56 * (headers.len() as u64 + 1);
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0];
    file.resize(16, 0);
    file.extend(2u16.to_le_bytes());
    file.extend(abi::EM_X86_64.to_le_bytes());
    file.extend(1u32.to_le_bytes());
    for word in [0u64, 64, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend(0u32.to_le_bytes());
    for half in [64u16, 56, headers.len() as u16 + 1, 0, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    let length = note.len() as u64;
    for (kind, offset, address, in_file, in_memory) in
        headers.iter().copied().chain([(abi::PT_NOTE, note_at, 0, length, length)])
    {
        file.extend(kind.to_le_bytes());
        file.extend(5u32.to_le_bytes());
        for word in [offset, address, address, in_file, in_memory, 16] {
            file.extend(word.to_le_bytes());
        }
    }
    file.extend(note);
    file.extend(body);
    file
}

/// The same, as a position independent program for Arm; `entry` is that of the header.
pub(crate) fn elf_for_arm(headers: &[Header], entry: u64, body: &[u8]) -> Vec<u8> {
    let mut file = elf(headers, 0, body);
    file[16..18].copy_from_slice(&abi::ET_DYN.to_le_bytes());
    file[18..20].copy_from_slice(&abi::EM_AARCH64.to_le_bytes());
    file[24..32].copy_from_slice(&entry.to_le_bytes());
    file
}

/// A small image for Arm: text at 0, data and bss at 8 KiB.
pub(crate) fn small_for_arm() -> Vec<u8> {
    let body_at = 64 + 56 * 3 + 20;
    let headers = [(abi::PT_LOAD, body_at, 0, 6, 6), (abi::PT_LOAD, body_at + 6, 0x2000, 4, 0x1234)];
    elf_for_arm(&headers, 4, b"text..data")
}

/// A small image: text at 1 MiB, data and bss at 1 MiB + 8 KiB.
pub(crate) fn small() -> Vec<u8> {
    let body_at = 64 + 56 * 3 + 20;
    let headers =
        [(abi::PT_LOAD, body_at, 0x10_0000, 6, 6), (abi::PT_LOAD, body_at + 6, 0x10_2000, 4, 0x1234)];
    elf(&headers, 0x10_0000, b"text..data")
}

/// The same for at most one vCPU, as our runtime has it.
pub(crate) fn for_one_vcpu() -> Vec<u8> {
    let body_at = 64 + 56 * 3 + 44;
    let headers =
        [(abi::PT_LOAD, body_at, 0x10_0000, 6, 6), (abi::PT_LOAD, body_at + 6, 0x10_2000, 4, 0x1234)];
    let (owner, kind) = NOTE_VCPUS;
    let notes = [(owner, kind, 1), ("Xen", NOTE_PHYS32_ENTRY, 0x10_0000)];
    elf_with_notes(&headers, &notes, b"text..data")
}

#[test]
fn an_image_says_how_many_vcpus_it_runs_on() {
    let (any, one) = (small(), for_one_vcpu());
    assert_eq!(Image::parse(X86, &any).unwrap().max_vcpus, None);
    let image = Image::parse(X86, &one).unwrap();
    assert_eq!((image.max_vcpus, image.entry), (Some(1), 0x10_0000));
    assert_eq!(image.segments[1].data, b"data");
}

#[test]
fn segments_and_entry_are_found() {
    let file = small();
    let image = Image::parse(X86, &file).unwrap();
    assert_eq!(image.entry, 0x10_0000);
    assert_eq!(image.end(), 0x10_3234);
    let loaded: Vec<_> = image.segments.iter().map(|s| (s.start, s.data, s.length)).collect();
    assert_eq!(loaded, [(0x10_0000, &b"text.."[..], 6), (0x10_2000, &b"data"[..], 0x1234)]);
    assert_eq!(image.check_below(0x10_3234), Ok(()));
    let error = image.check_below(0x10_3233).unwrap_err();
    assert_eq!(error, ElfError::OutsideMemory { end: 0x10_3234, limit: 0x10_3233 });
}

#[test]
fn a_cut_file_is_refused_at_every_length() {
    let file = small();
    for length in 0..file.len() {
        let error = Image::parse(X86, &file[..length]).unwrap_err();
        let expected = matches!(
            error,
            ElfError::TooShort { .. } | ElfError::Truncated { .. } | ElfError::NoSegments | ElfError::NoEntry
        );
        assert!(expected, "{length}: {error}");
    }
}

#[test]
fn faults_are_named() {
    let load = abi::PT_LOAD;
    let parse = |headers: &[Header], entry| {
        Image::parse(X86, &elf(headers, entry, &[0; 64])).map(|_| ()).unwrap_err()
    };
    assert_eq!(parse(&[], 0), ElfError::NoSegments);
    assert_eq!(parse(&[(load, 0, 0x1000, 9, 8)], 0x1000), ElfError::SegmentShrinks { start: 0x1000 });
    let overlap = ElfError::Overlap { first: 0x1000, second: 0x1007 };
    assert_eq!(parse(&[(load, 0, 0x1007, 8, 8), (load, 0, 0x1000, 8, 8)], 0x1000), overlap);
    assert_eq!(parse(&[(load, 0, 0x1000, 8, 8)], 0x1008), ElfError::EntryOutside { entry: 0x1008 });
    assert!(matches!(parse(&[(load, u64::MAX, 0x1000, 8, 8)], 0x1000), ElfError::Truncated { .. }));
    assert!(matches!(parse(&[(load, 0, u64::MAX, 8, 8)], 0x1000), ElfError::OutsideMemory { .. }));
    let many = [(load, 0, 0x1000, 8, 8); MAX_SEGMENTS + 1];
    assert_eq!(parse(&many, 0x1000), ElfError::TooManySegments);

    let spoil = |at: usize, byte: u8| {
        let mut file = small();
        file[at] = byte;
        Image::parse(X86, &file).map(|_| ()).unwrap_err()
    };
    assert_eq!(spoil(0, 0), ElfError::NotElf);
    assert_eq!(spoil(4, 1), ElfError::Class);
    assert_eq!(spoil(5, 2), ElfError::Class);
    assert_eq!(spoil(16, 3), ElfError::Type { found: 3 });
    assert_eq!(spoil(18, 3), ElfError::Machine { found: 3 });
    assert_eq!(spoil(64 + 56 * 3 + 8, 17), ElfError::NoEntry);
    assert_eq!(spoil(64 + 56 * 3 + 12, b'x'), ElfError::NoEntry);
}

#[test]
fn an_image_for_arm_is_placed_at_the_start_of_memory() {
    let file = small_for_arm();
    let image = Image::parse(ARM, &file).unwrap();
    assert_eq!(image.entry, 0x4000_0004);
    let loaded: Vec<_> = image.segments.iter().map(|s| (s.start, s.data, s.length)).collect();
    assert_eq!(loaded, [(0x4000_0000, &b"text.."[..], 6), (0x4000_2000, &b"data"[..], 0x1234)]);
}

#[test]
fn faults_of_images_for_arm_are_named() {
    let load = abi::PT_LOAD;
    let parse = |headers: &[Header], entry| {
        Image::parse(ARM, &elf_for_arm(headers, entry, &[0; 64])).map(|_| ()).unwrap_err()
    };
    let segment = (load, 0, 0x1000, 8, 8);
    assert_eq!(parse(&[segment], 0x1008), ElfError::EntryOutside { entry: 0x4000_1008 });
    assert_eq!(parse(&[segment], u64::MAX), ElfError::EntryOutside { entry: 0x3fff_ffff });
    assert_eq!(parse(&[segment, (abi::PT_INTERP, 0, 0, 8, 8)], 0x1000), ElfError::Interpreter);
    assert!(matches!(parse(&[(load, 0, u64::MAX - 8, 8, 8)], 0), ElfError::OutsideMemory { .. }));
    assert!(matches!(parse(&[(load, 0, 0, 8, u64::MAX)], 0), ElfError::OutsideMemory { .. }));
    // What starts on the one does not start on the other.
    let error = Image::parse(ARM, &small()).unwrap_err();
    assert_eq!(error, ElfError::Machine { found: abi::EM_X86_64 });
    let error = Image::parse(X86, &small_for_arm()).unwrap_err();
    assert_eq!(error, ElfError::Machine { found: abi::EM_AARCH64 });
}

proptest::proptest! {
    #[test]
    fn spoilt_images_never_panic(changes in proptest::collection::vec((0usize..300, proptest::prelude::any::<u8>()), 1..6)) {
        for (platform, mut file) in [(X86, small()), (ARM, small_for_arm())] {
            let length = file.len();
            for &(at, byte) in &changes {
                file[at % length] = byte;
            }
            if let Ok(image) = Image::parse(platform, &file) {
                for segment in &image.segments {
                    assert!(segment.data.len() as u64 <= segment.length);
                }
            }
        }
    }
}
