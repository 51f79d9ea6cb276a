//! The start info of a PVH domain, on x86.
//!
//! One page: at fixed offsets `hvm_start_info` version 1, the module list, the memory map and the
//! command line. Source: `arch-x86/hvm/start_info.h`.

use heapless::Vec;
use proto_xen::{
    PAGE_SIZE,
    start_info::{MAGIC, MemmapEntry, ModlistEntry, StartInfo, memory_type},
};
use zerocopy::{Immutable, IntoBytes};

use super::layout::{Layout, LayoutError, MAX_COMMAND_LINE, MAX_MODULES, check_command_line};

const MODULES_AT: usize = 64;
const MAP_AT: usize = 128;
const COMMAND_LINE_AT: usize = 512;

/// The contents of the start info page.
///
/// # Errors
/// [`LayoutError::CommandLine`].
pub fn start_info_page(layout: &Layout, command_line: &str) -> Result<[u8; PAGE_SIZE], LayoutError> {
    check_command_line(command_line)?;
    let base = layout.start_info().base().0;
    let (special, count) = layout.specials();
    let map = [
        MemmapEntry {
            addr: layout.base().base().0,
            size: special.base().0 - layout.base().base().0,
            kind: memory_type::RAM,
            reserved: 0,
        },
        MemmapEntry {
            addr: special.base().0,
            size: count * PAGE_SIZE as u64,
            kind: memory_type::RESERVED,
            reserved: 0,
        },
    ];
    // A domain without special pages has no reserved range.
    let map = if count == 0 { &map[..1] } else { &map[..] };
    let modules: Vec<ModlistEntry, MAX_MODULES> =
        layout.modules().map(|(at, size)| ModlistEntry { paddr: at.0, size, ..Default::default() }).collect();
    let start_info = StartInfo {
        magic: MAGIC,
        version: 1,
        flags: 0,
        nr_modules: modules.len() as u32,
        modlist_paddr: if modules.is_empty() { 0 } else { base + MODULES_AT as u64 },
        cmdline_paddr: base + COMMAND_LINE_AT as u64,
        rsdp_paddr: 0,
        memmap_paddr: base + MAP_AT as u64,
        memmap_entries: map.len() as u32,
        reserved: 0,
    };

    let mut page = [0; PAGE_SIZE];
    put(&mut page, 0, &start_info);
    put(&mut page, MODULES_AT, modules.as_slice());
    put(&mut page, MAP_AT, map);
    put(&mut page, COMMAND_LINE_AT, command_line.as_bytes());
    Ok(page)
}

const _: () = assert!(size_of::<StartInfo>() <= MODULES_AT);
const _: () = assert!(MODULES_AT + MAX_MODULES * size_of::<ModlistEntry>() <= MAP_AT);
const _: () = assert!(MAP_AT + 2 * size_of::<MemmapEntry>() <= COMMAND_LINE_AT);
const _: () = assert!(COMMAND_LINE_AT + MAX_COMMAND_LINE < PAGE_SIZE);

fn put<T: IntoBytes + Immutable + ?Sized>(page: &mut [u8; PAGE_SIZE], at: usize, value: &T) {
    let bytes = value.as_bytes();
    // The places are constants, and the assertions above keep them apart.
    page[at..at + bytes.len()].copy_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::Platform;

    const X86: Platform = Platform::X86 { signature: 0 };

    fn word(page: &[u8], at: usize) -> u64 {
        u64::from_le_bytes(page[at..at + 8].try_into().unwrap())
    }

    #[test]
    fn the_start_info_names_modules_map_and_command_line() {
        let layout = Layout::new(X86, 4096, 3, &[1500, 4097]).unwrap();
        let page = start_info_page(&layout, "console=xen").unwrap();
        let base = 4092 << 12;
        assert_eq!(word(&page, 0), 1 << 32 | 0x336e_c578, "magic, version");
        assert_eq!(word(&page, 8), 2 << 32, "flags, modules");
        assert_eq!((word(&page, 16), word(&page, 24)), (base + 64, base + 512));
        assert_eq!((word(&page, 40), word(&page, 48)), (base + 128, 2), "memory map");
        assert_eq!((word(&page, 64), word(&page, 72)), (4089 << 12, 1500), "module 0");
        assert_eq!((word(&page, 96), word(&page, 104)), (4090 << 12, 4097), "module 1");
        assert_eq!((word(&page, 128), word(&page, 136), word(&page, 144)), (0, 4093 << 12, 1), "RAM");
        assert_eq!((word(&page, 152), word(&page, 160), word(&page, 168)), (4093 << 12, 3 << 12, 2));
        assert_eq!(&page[512..524], b"console=xen\0");
    }

    #[test]
    fn a_command_line_that_does_not_fit_is_refused() {
        let layout = Layout::new(X86, 99, 0, &[]).unwrap();
        let long = std::string::String::from_utf8(std::vec![b'x'; MAX_COMMAND_LINE + 1]).unwrap();
        assert!(start_info_page(&layout, &long[1..]).is_ok());
        assert_eq!(start_info_page(&layout, &long), Err(LayoutError::CommandLine { length: long.len() }));
        assert!(start_info_page(&layout, "a\0b").is_err());
    }
}
