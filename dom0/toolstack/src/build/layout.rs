//! Where everything lies in a new domain's memory.
//!
//! ```text
//! base                                                                     base + memory
//! | free, image somewhere in it | module 0 | module 1 | start info | special pages |
//! |<--------------------- RAM ------------------------------------>|<- reserved -->|
//! ```
//!
//! The start info is what the domain's first instruction is given the address of: `hvm_start_info` on
//! x86 ([`super::pvh`]), a device tree on Arm ([`super::arm`]). Special pages are shared with someone:
//! the epitaph, channels, the console. They lie in a reserved range, so that no domain takes them for
//! free memory.

use core::fmt;

use heapless::Vec;
use proto_xen::{Gaddr, Gfn, PAGE_SIZE, frame::pages_for};

use super::Platform;

/// The most modules.
pub const MAX_MODULES: usize = 2;

/// The longest command line, in bytes, without its NUL.
pub const MAX_COMMAND_LINE: usize = 3583;

/// Where everything lies in a new domain's memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    base: Gfn,
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
    /// The device tree, with a node for each vCPU, is longer than the pages that are left for it.
    StartInfo {
        /// Bytes needed.
        need: usize,
        /// Bytes of those pages.
        room: usize,
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
            Self::StartInfo { need, room } => {
                write!(
                    f,
                    "a device tree of {need} bytes does not fit into {room}: fewer vCPUs or a shorter command line do"
                )
            }
        }
    }
}

impl core::error::Error for LayoutError {}

impl Layout {
    /// Lays out `memory_pages` pages of a domain of `platform`, with `special_pages` special ones and
    /// modules of these lengths in bytes.
    ///
    /// # Errors
    /// [`LayoutError::MemoryTooSmall`] if nothing is left for an image,
    /// [`LayoutError::TooManyModules`].
    pub fn new(
        platform: Platform,
        memory_pages: u64,
        special_pages: u64,
        module_lengths: &[u64],
    ) -> Result<Self, LayoutError> {
        let of_modules: u64 = module_lengths.iter().map(|&length| pages_for(length)).sum();
        let start_pages = platform.start_info_pages();
        let need = of_modules.saturating_add(special_pages).saturating_add(start_pages);
        if need >= memory_pages {
            return Err(LayoutError::MemoryTooSmall { need, have: memory_pages });
        }
        let base = platform.memory_base();
        let special = base.0 + memory_pages - special_pages;
        let start_info = special - start_pages;
        let mut modules = Vec::new();
        let mut next = start_info - of_modules;
        for &length in module_lengths {
            modules.push((Gfn(next), length)).map_err(|_| LayoutError::TooManyModules)?;
            next += pages_for(length);
        }
        Ok(Self { base, memory_pages, special: Gfn(special), start_info: Gfn(start_info), modules })
    }

    /// The first frame.
    pub fn base(&self) -> Gfn {
        self.base
    }

    /// All pages of the domain.
    pub fn memory_pages(&self) -> u64 {
        self.memory_pages
    }

    /// The special page with this number, from 0.
    pub fn special(&self, number: u64) -> Gfn {
        debug_assert!(number < self.specials().1, "special pages were counted before");
        self.special.plus(number)
    }

    /// The special pages: the first, and how many.
    pub fn specials(&self) -> (Gfn, u64) {
        (self.special, self.base.0 + self.memory_pages - self.special.0)
    }

    /// The first page of the start info.
    pub fn start_info(&self) -> Gfn {
        self.start_info
    }

    /// Bytes of the pages of the start info, which the special pages follow.
    pub fn start_info_bytes(&self) -> usize {
        (self.special.0 - self.start_info.0) as usize * PAGE_SIZE
    }

    /// Address and length in bytes of each module.
    pub fn modules(&self) -> impl Iterator<Item = (Gaddr, u64)> + '_ {
        self.modules.iter().map(|&(first, length)| (first.base(), length))
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
}

/// Refuses a command line that cannot be told to a domain.
///
/// # Errors
/// [`LayoutError::CommandLine`].
pub(super) fn check_command_line(command_line: &str) -> Result<(), LayoutError> {
    if command_line.len() > MAX_COMMAND_LINE || command_line.contains('\0') {
        return Err(LayoutError::CommandLine { length: command_line.len() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const X86: Platform = Platform::X86 { signature: 0 };
    const ARM: Platform = Platform::Arm { seeds: || None };

    #[test]
    fn memory_is_laid_out_from_the_top() {
        let layout = Layout::new(X86, 4096, 3, &[1500, 4097]).unwrap();
        assert_eq!(layout.special(0), Gfn(4093));
        assert_eq!(layout.specials(), (Gfn(4093), 3));
        assert_eq!(layout.start_info(), Gfn(4092));
        assert_eq!(layout.module(0), Some(Gaddr(4089 << 12)));
        assert_eq!(layout.module(1), Some(Gaddr(4090 << 12)));
        assert_eq!(layout.module(2), None);
        assert_eq!(layout.image_limit(), 4089 << 12);
    }

    #[test]
    fn on_arm_memory_begins_at_one_gib() {
        let layout = Layout::new(ARM, 4096, 3, &[1500, 4097]).unwrap();
        assert_eq!(layout.base(), Gfn(0x4_0000));
        assert_eq!(layout.specials(), (Gfn(0x4_0000 + 4093), 3));
        assert_eq!(layout.start_info(), Gfn(0x4_0000 + 4091), "two pages");
        assert_eq!(layout.image_limit(), 0x4000_0000 + (4088 << 12));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(Layout::new(X86, 5, 3, &[1]), Err(LayoutError::MemoryTooSmall { need: 5, have: 5 }));
        assert!(Layout::new(X86, 6, 3, &[1]).is_ok());
        assert_eq!(Layout::new(ARM, 6, 3, &[1]), Err(LayoutError::MemoryTooSmall { need: 6, have: 6 }));
        assert!(matches!(Layout::new(X86, 9, 0, &[u64::MAX]), Err(LayoutError::MemoryTooSmall { .. })));
        assert_eq!(Layout::new(X86, 99, 1, &[1, 1, 1]), Err(LayoutError::TooManyModules));
    }
}
