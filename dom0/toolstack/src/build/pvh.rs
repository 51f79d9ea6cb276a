//! What dom0 leaves in a PVH domain's memory beside its image.
//!
//! ```text
//! 0                                                                    memory
//! | free, image somewhere in it | module 0 | module 1 | start info | special pages |
//! |<--------------------- RAM ------------------------------------>|<- reserved -->|
//! ```
//!
//! The start info page holds, at fixed offsets, `hvm_start_info` version 1, the module list, the
//! memory map and the command line. Special pages are shared with someone: the epitaph, channels,
//! the console. They lie in a reserved range, so that no domain takes them for free memory.
//!
//! Source: `arch-x86/hvm/start_info.h`.

use core::fmt;

use heapless::Vec;
use proto_xen::{
    Gaddr, Gfn, PAGE_SIZE,
    frame::pages_for,
    start_info::{MAGIC, MemmapEntry, ModlistEntry, StartInfo, memory_type},
};
use zerocopy::{Immutable, IntoBytes};

/// The most modules.
pub const MAX_MODULES: usize = 2;

/// The longest command line, in bytes, without its NUL.
pub const MAX_COMMAND_LINE: usize = PAGE_SIZE - COMMAND_LINE_AT - 1;

const MODULES_AT: usize = 64;
const MAP_AT: usize = 128;
const COMMAND_LINE_AT: usize = 512;

/// Where everything lies in a new domain's memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    memory_pages: u64,
    special: Gfn,
    start_info: Gfn,
    /// First frame and length in bytes.
    modules: Vec<(Gfn, u64), MAX_MODULES>,
}

/// Why a domain's memory cannot be laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayoutError {
    /// The special pages, modules and start info need more than the domain has.
    MemoryTooSmall {
        /// Pages needed.
        need: u64,
        /// Pages of the domain.
        have: u64,
    },
    /// More than [`MAX_MODULES`].
    TooManyModules,
    /// Longer than [`MAX_COMMAND_LINE`], or with a NUL in it.
    CommandLine {
        /// Its length in bytes.
        length: usize,
    },
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MemoryTooSmall { need, have } => {
                write!(f, "{have} pages of memory are too few: {need} are taken before its image")
            }
            Self::TooManyModules => write!(f, "it has more than {MAX_MODULES} modules"),
            Self::CommandLine { length } => {
                write!(
                    f,
                    "a command line of {length} bytes; at most {MAX_COMMAND_LINE} without NUL are allowed"
                )
            }
        }
    }
}

impl core::error::Error for LayoutError {}

impl Layout {
    /// Lays out `memory_pages` pages with `special_pages` special ones and modules of these lengths
    /// in bytes.
    ///
    /// # Errors
    /// [`LayoutError::MemoryTooSmall`] if nothing is left for an image,
    /// [`LayoutError::TooManyModules`].
    pub fn new(memory_pages: u64, special_pages: u64, module_lengths: &[u64]) -> Result<Self, LayoutError> {
        let of_modules: u64 = module_lengths.iter().map(|&length| pages_for(length)).sum();
        let need = of_modules.saturating_add(special_pages).saturating_add(1);
        if need >= memory_pages {
            return Err(LayoutError::MemoryTooSmall { need, have: memory_pages });
        }
        let special = memory_pages - special_pages;
        let start_info = special - 1;
        let mut modules = Vec::new();
        let mut next = start_info - of_modules;
        for &length in module_lengths {
            modules.push((Gfn(next), length)).map_err(|_| LayoutError::TooManyModules)?;
            next += pages_for(length);
        }
        Ok(Self { memory_pages, special: Gfn(special), start_info: Gfn(start_info), modules })
    }

    /// All pages of the domain.
    pub fn memory_pages(&self) -> u64 {
        self.memory_pages
    }

    /// The special page with this number, from 0.
    pub fn special(&self, number: u64) -> Gfn {
        debug_assert!(number < self.memory_pages - self.special.0, "special pages were counted before");
        self.special.plus(number)
    }

    /// The special pages: the first, and how many.
    pub fn specials(&self) -> (Gfn, u64) {
        (self.special, self.memory_pages - self.special.0)
    }

    /// The page that holds the start info.
    pub fn start_info(&self) -> Gfn {
        self.start_info
    }

    /// Address of the module with this number.
    pub fn module(&self, number: usize) -> Option<Gaddr> {
        self.modules.get(number).map(|(first, _)| first.base())
    }

    /// Says that module `number` is shorter than it was laid out for; a longer one stays as it was.
    pub fn set_module_length(&mut self, number: usize, length: u64) {
        if let Some((_, known)) = self.modules.get_mut(number) {
            *known = length.min(*known);
        }
    }

    /// Guest address below which the image must end.
    pub fn image_limit(&self) -> u64 {
        self.modules.first().map_or(self.start_info, |(first, _)| *first).base().0
    }

    /// The contents of the start info page.
    ///
    /// # Errors
    /// [`LayoutError::CommandLine`].
    pub fn start_info_page(&self, command_line: &str) -> Result<[u8; PAGE_SIZE], LayoutError> {
        if command_line.len() > MAX_COMMAND_LINE || command_line.contains('\0') {
            return Err(LayoutError::CommandLine { length: command_line.len() });
        }
        let base = self.start_info.base().0;
        let map = [
            MemmapEntry { addr: 0, size: self.special.base().0, kind: memory_type::RAM, reserved: 0 },
            MemmapEntry {
                addr: self.special.base().0,
                size: (self.memory_pages - self.special.0) * PAGE_SIZE as u64,
                kind: memory_type::RESERVED,
                reserved: 0,
            },
        ];
        // A domain without special pages has no reserved range.
        let map = if self.special.0 == self.memory_pages { &map[..1] } else { &map[..] };
        let modules: Vec<ModlistEntry, MAX_MODULES> = self
            .modules
            .iter()
            .map(|&(first, size)| ModlistEntry { paddr: first.base().0, size, ..Default::default() })
            .collect();
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
}

const _: () = assert!(size_of::<StartInfo>() <= MODULES_AT);
const _: () = assert!(MODULES_AT + MAX_MODULES * size_of::<ModlistEntry>() <= MAP_AT);
const _: () = assert!(MAP_AT + 2 * size_of::<MemmapEntry>() <= COMMAND_LINE_AT);

fn put<T: IntoBytes + Immutable + ?Sized>(page: &mut [u8; PAGE_SIZE], at: usize, value: &T) {
    let bytes = value.as_bytes();
    // The places are constants, and the assertions above keep them apart.
    page[at..at + bytes.len()].copy_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(page: &[u8], at: usize) -> u64 {
        u64::from_le_bytes(page[at..at + 8].try_into().unwrap())
    }

    #[test]
    fn memory_is_laid_out_from_the_top() {
        let layout = Layout::new(4096, 3, &[1500, 4097]).unwrap();
        assert_eq!(layout.special(0), Gfn(4093));
        assert_eq!(layout.specials(), (Gfn(4093), 3));
        assert_eq!(layout.start_info(), Gfn(4092));
        assert_eq!(layout.module(0), Some(Gaddr(4089 << 12)));
        assert_eq!(layout.module(1), Some(Gaddr(4090 << 12)));
        assert_eq!(layout.module(2), None);
        assert_eq!(layout.image_limit(), 4089 << 12);
    }

    #[test]
    fn the_start_info_names_modules_map_and_command_line() {
        let layout = Layout::new(4096, 3, &[1500, 4097]).unwrap();
        let page = layout.start_info_page("console=xen").unwrap();
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
    fn what_does_not_fit_is_refused() {
        assert_eq!(Layout::new(5, 3, &[1]), Err(LayoutError::MemoryTooSmall { need: 5, have: 5 }));
        assert!(Layout::new(6, 3, &[1]).is_ok());
        assert!(matches!(Layout::new(9, 0, &[u64::MAX]), Err(LayoutError::MemoryTooSmall { .. })));
        assert_eq!(Layout::new(99, 1, &[1, 1, 1]), Err(LayoutError::TooManyModules));
        let layout = Layout::new(99, 0, &[]).unwrap();
        let long = std::string::String::from_utf8(std::vec![b'x'; MAX_COMMAND_LINE + 1]).unwrap();
        assert!(layout.start_info_page(&long[1..]).is_ok());
        assert_eq!(layout.start_info_page(&long), Err(LayoutError::CommandLine { length: long.len() }));
        assert!(layout.start_info_page("a\0b").is_err());
    }
}
