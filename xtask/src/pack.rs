//! Packs an ELF file to what a loader reads: the header, the program headers of type LOAD and NOTE, and
//! their bytes. Sections, symbols and debugging information stay behind in the file that the linker made.
//! Pure: bytes in, bytes out.
//!
//! Source: System V ABI, "Program Header"; Xen's `elf_init` takes a file without sections.

use anyhow::{Context, Result, bail, ensure};
use elf::ElfBytes;
use elf::abi::{PT_LOAD, PT_NOTE};
use elf::endian::LittleEndian;
use elf::segment::ProgramHeader;

const HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;
/// Where segments start in the file: room for words that a loader reads in place.
const ALIGN: usize = 16;

/// The packed form of a 64-bit little-endian ELF file.
///
/// # Errors
/// When the file is of another kind, is truncated, or has nothing to load.
pub fn pack(file: &[u8]) -> Result<Vec<u8>> {
    let parsed = ElfBytes::<LittleEndian>::minimal_parse(file).context("not an ELF file")?;
    ensure!(parsed.ehdr.class == elf::file::Class::ELF64, "not a 64-bit ELF file");
    let headers = parsed.segments().context("the ELF file has no program headers")?;
    let kept: Vec<ProgramHeader> = headers.iter().filter(|h| matches!(h.p_type, PT_LOAD | PT_NOTE)).collect();
    ensure!(kept.iter().any(|header| header.p_type == PT_LOAD), "the ELF file has nothing to load");

    let mut bytes = vec![0; HEADER + kept.len() * PROGRAM_HEADER];
    bytes[..HEADER].copy_from_slice(file.get(..HEADER).context("the ELF header is truncated")?);
    put(&mut bytes, 32, &(HEADER as u64).to_le_bytes()); // e_phoff
    put(&mut bytes, 40, &0u64.to_le_bytes()); // e_shoff
    put(&mut bytes, 56, &u16::try_from(kept.len())?.to_le_bytes()); // e_phnum
    put(&mut bytes, 58, &[0; 6]); // e_shentsize, e_shnum, e_shstrndx

    // Loaded segments first: a note usually lies within one, and then only points there.
    let mut placed: Vec<(ProgramHeader, u64)> = Vec::new();
    for header in kept.iter().filter(|header| header.p_type == PT_LOAD) {
        bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
        placed.push((*header, bytes.len() as u64));
        bytes.extend_from_slice(contents(file, header)?);
    }
    for (index, header) in kept.iter().enumerate() {
        let within = placed.iter().find_map(|(outer, at)| {
            let skip = header.p_offset.checked_sub(outer.p_offset)?;
            (skip.checked_add(header.p_filesz)? <= outer.p_filesz).then_some(at + skip)
        });
        let at = match within {
            _ if header.p_filesz == 0 => 0,
            Some(at) => at,
            None => {
                bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
                let at = bytes.len() as u64;
                bytes.extend_from_slice(contents(file, header)?);
                at
            }
        };
        put_header(&mut bytes, HEADER + index * PROGRAM_HEADER, header, at);
    }
    Ok(bytes)
}

/// The memory of a 64-bit little-endian ELF file from address 0 on, up to the last byte that the file holds.
/// What is zero behind that is not in it.
///
/// # Errors
/// As [`pack`]; when it is not linked to address 0, or has holes of more than [`MOST_HOLES`] bytes.
pub fn flatten(file: &[u8]) -> Result<Vec<u8>> {
    let parsed = ElfBytes::<LittleEndian>::minimal_parse(file).context("not an ELF file")?;
    ensure!(parsed.ehdr.class == elf::file::Class::ELF64, "not a 64-bit ELF file");
    let headers = parsed.segments().context("the ELF file has no program headers")?;
    let mut loaded: Vec<ProgramHeader> =
        headers.iter().filter(|header| header.p_type == PT_LOAD && header.p_filesz > 0).collect();
    loaded.sort_by_key(|header| header.p_paddr);
    let first = loaded.first().context("the ELF file has nothing to load")?;
    ensure!(first.p_paddr == 0, "the ELF file is linked to {:#x}, not to 0", first.p_paddr);
    let mut bytes = Vec::new();
    for header in &loaded {
        let hole = header.p_paddr.checked_sub(bytes.len() as u64).context("segments overlap")?;
        ensure!(hole <= MOST_HOLES, "a hole of {hole} bytes before {:#x}", header.p_paddr);
        bytes.resize(bytes.len() + hole as usize, 0);
        bytes.extend_from_slice(contents(file, header)?);
    }
    Ok(bytes)
}

/// The most bytes between two segments of a flat image.
const MOST_HOLES: u64 = 1 << 20;

fn contents<'a>(file: &'a [u8], header: &ProgramHeader) -> Result<&'a [u8]> {
    let start = usize::try_from(header.p_offset)?;
    let end = start.checked_add(usize::try_from(header.p_filesz)?).context("a segment overflows")?;
    match file.get(start..end) {
        Some(contents) => Ok(contents),
        None => bail!("the ELF file ends at byte {}, a segment of it at byte {end}", file.len()),
    }
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn put_header(bytes: &mut [u8], at: usize, header: &ProgramHeader, offset: u64) {
    put(bytes, at, &header.p_type.to_le_bytes());
    put(bytes, at + 4, &header.p_flags.to_le_bytes());
    // The file keeps no relation between offsets and addresses: whoever loads it copies.
    let words = [offset, header.p_vaddr, header.p_paddr, header.p_filesz, header.p_memsz, ALIGN as u64];
    for (index, word) in words.iter().enumerate() {
        put(bytes, at + 8 + index * 8, &word.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF file with one loaded segment that holds a note, a segment of zeroes, and a section table.
    fn sample() -> Vec<u8> {
        let mut file = vec![0; 0x1000];
        put(&mut file, 0, b"\x7fELF\x02\x01\x01");
        put(&mut file, 16, &2u16.to_le_bytes());
        put(&mut file, 18, &62u16.to_le_bytes());
        put(&mut file, 20, &1u32.to_le_bytes());
        put(&mut file, 24, &0x10_0000u64.to_le_bytes());
        put(&mut file, 32, &64u64.to_le_bytes());
        put(&mut file, 52, &64u16.to_le_bytes());
        put(&mut file, 54, &56u16.to_le_bytes());
        put(&mut file, 56, &4u16.to_le_bytes());
        let header = |p_type, p_offset, p_vaddr, p_filesz, p_memsz| ProgramHeader {
            p_type,
            p_offset,
            p_vaddr,
            p_paddr: p_vaddr,
            p_filesz,
            p_memsz,
            p_flags: 5,
            p_align: 4096,
        };
        let headers = [
            header(PT_LOAD, 0x800, 0x10_0000, 0x100, 0x100),
            header(elf::abi::PT_GNU_STACK, 0, 0, 0, 0),
            header(PT_LOAD, 0x900, 0x20_0000, 0, 0x5000),
            header(PT_NOTE, 0x810, 0x10_0010, 0x20, 0x20),
        ];
        for (index, header) in headers.iter().enumerate() {
            put_header(&mut file, 64 + index * 56, header, header.p_offset);
        }
        put(&mut file, 0x800, &[0xaa; 0x100]);
        put(&mut file, 0x810, b"note");
        file
    }

    #[test]
    fn only_loaded_segments_and_notes_remain() {
        let packed = pack(&sample()).unwrap();
        assert!(packed.len() < 0x1c0 + 64, "{}", packed.len());
        let parsed = ElfBytes::<LittleEndian>::minimal_parse(&packed).unwrap();
        assert_eq!(parsed.ehdr.e_entry, 0x10_0000);
        assert_eq!((parsed.ehdr.e_shnum, parsed.ehdr.e_shoff), (0, 0));
        let headers: Vec<_> = parsed.segments().unwrap().iter().collect();
        assert_eq!(headers.iter().map(|h| h.p_type).collect::<Vec<_>>(), [PT_LOAD, PT_LOAD, PT_NOTE]);
        let loaded = parsed.segment_data(&headers[0]).unwrap();
        assert_eq!((loaded.len(), &loaded[0x10..0x14]), (0x100, b"note".as_slice()));
        assert_eq!((headers[1].p_filesz, headers[1].p_memsz), (0, 0x5000));
        assert_eq!(headers[2].p_offset, headers[0].p_offset + 0x10);
    }

    #[test]
    fn a_flat_image_is_the_memory_from_0_on() {
        let mut file = sample();
        let place = |file: &mut [u8], header: usize, paddr: u64| {
            put(file, 64 + header * 56 + 24, &paddr.to_le_bytes());
        };
        assert_eq!(flatten(&file).unwrap_err().to_string(), "the ELF file is linked to 0x100000, not to 0");
        place(&mut file, 0, 0);
        let flat = flatten(&file).unwrap();
        assert_eq!((flat.len(), &flat[0x10..0x14]), (0x100, b"note".as_slice()));
        // A second segment behind a hole.
        put(&mut file, 64 + 2 * 56 + 32, &0x40u64.to_le_bytes());
        place(&mut file, 2, 0x1000);
        assert_eq!(flatten(&file).unwrap().len(), 0x1040);
        place(&mut file, 2, 0x80);
        assert!(flatten(&file).is_err(), "overlap");
        place(&mut file, 2, 1 << 40);
        assert!(flatten(&file).is_err(), "a hole");
        for length in 0..0x900 {
            assert!(flatten(&sample()[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn a_note_whose_end_overflows_is_an_error() {
        let mut file = sample();
        put(&mut file, 64 + 3 * 56 + 32, &(u64::MAX - 4).to_le_bytes());
        assert!(pack(&file).is_err());
    }

    #[test]
    fn packing_twice_changes_nothing() {
        let once = pack(&sample()).unwrap();
        assert_eq!(pack(&once).unwrap(), once);
    }

    #[test]
    fn a_truncated_file_is_an_error_at_every_length() {
        let file = sample();
        for length in 0..0x900 {
            assert!(pack(&file[..length]).is_err(), "{length}");
        }
        assert!(pack(b"#!/bin/sh").is_err());
    }
}
