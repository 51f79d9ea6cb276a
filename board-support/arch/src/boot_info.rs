//! What the loader left: command line, modules, memory map.
//!
//! Two forms are known by their first word: the PVH start info (x86) and the device tree (aarch64). Parsing reads physical memory through
//! [`Physical`], which on the host is a plain array. Source: `arch-x86/hvm/start_info.h`.

use core::fmt;

use heapless::Vec;
use proto_xen::start_info::{MAGIC, MemmapEntry, ModlistEntry, StartInfo};
use zerocopy::FromBytes;

use crate::memory_map::{Kind, MemoryMap, Span};

mod device_tree;

/// Most modules that are looked at.
pub const MAX_MODULES: usize = 4;
/// Longest command line, in bytes.
pub const MAX_COMMAND_LINE: usize = 2048;

/// Physical memory, as far as the parser may read it.
pub trait Physical {
    /// The `length` bytes at `address`, or `None` if they are out of reach.
    fn bytes(&self, address: u64, length: usize) -> Option<&'static [u8]>;
}

/// What the start info says.
#[derive(Debug, Default)]
pub struct BootInfo {
    /// The command line, without its NUL.
    pub command_line: &'static str,
    /// The modules' contents.
    pub modules: Vec<&'static [u8], MAX_MODULES>,
    /// The memory map; `None` if it has to be asked of Xen, as for dom0.
    pub memory_map: Option<MemoryMap>,
    /// Address of the ACPI RSDP (start info) or of the device tree, or 0.
    pub rsdp: u64,
    /// Where the interrupt controller is; `None` where that is known without being told.
    pub controller: Option<InterruptController>,
    /// Registers of the machine's real-time clock, a PL031.
    pub rtc: Option<u64>,
    /// Registers of the machine's TPM, with the FIFO interface; with a start info it is in an ACPI table.
    pub tpm: Option<u64>,
    /// Where configuration space of PCI is, from bus 0 on; with a start info it is in an ACPI table.
    pub ecam: Option<u64>,
    /// The selector's record, if there is one here; with a start info it is in an ACPI table.
    pub handoff: Option<&'static [u8]>,
    /// The firmware's log of measurements, if it is here.
    pub event_log: Option<&'static [u8]>,
    /// The selector's archive of provisioning files, if it is here.
    pub provisioning: Option<&'static [u8]>,
    /// Random bytes, from whoever wrote it.
    pub seed: Option<&'static [u8]>,
    /// Where frames without memory are, if only some may be used.
    pub window: Option<Span>,
    /// Memory that holds what was parsed, and must not be used otherwise.
    pub occupied: Vec<Span, 16>,
}

/// Registers of a GICv3, and the interrupt that Xen uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterruptController {
    /// GICD.
    pub distributor: Span,
    /// GICR, all of them; ours is the first.
    pub redistributors: Span,
    /// INTID of the event upcall.
    pub upcall: u32,
}

/// Why a start info is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootInfoError {
    /// The first word is not the magic number.
    NotStartInfo {
        /// What stands there.
        found: u32,
    },
    /// A structure lies where nothing can be read.
    OutOfReach {
        /// Its address.
        address: u64,
        /// Its length in bytes.
        length: u64,
    },
    /// The memory map has more ranges than we hold.
    TooManyRanges,
    /// The command line has no end, or is no text.
    CommandLine,
    /// The device tree is broken.
    DeviceTree,
}

impl fmt::Display for BootInfoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStartInfo { found } => write!(f, "no start info: first word is {found:#x}"),
            Self::OutOfReach { address, length } => {
                write!(f, "start info names {length} bytes at {address:#x}, which cannot be read")
            }
            Self::TooManyRanges => write!(f, "the memory map has too many ranges"),
            Self::DeviceTree => write!(f, "the device tree is broken"),
            Self::CommandLine => write!(f, "the command line has no end or is no text"),
        }
    }
}

impl BootInfo {
    /// Reads whichever form is at `address`.
    ///
    /// # Errors
    /// As [`BootInfoError`] tells; nothing of it is used then.
    pub fn read(memory: &impl Physical, address: u64) -> Result<Self, BootInfoError> {
        match memory.bytes(address, 4) {
            Some(bytes) if bytes == device_tree::MAGIC.to_be_bytes() => device_tree::parse(memory, address),
            _ => Self::parse(memory, address),
        }
    }

    /// Reads the start info at `address`.
    ///
    /// # Errors
    /// As [`BootInfoError`] tells; nothing of the start info is used then.
    pub fn parse(memory: &impl Physical, address: u64) -> Result<Self, BootInfoError> {
        let mut info = Self::default();
        let start: StartInfo = info.read_as(memory, address)?;
        if start.magic != MAGIC {
            return Err(BootInfoError::NotStartInfo { found: start.magic });
        }
        info.rsdp = start.rsdp_paddr;
        if start.cmdline_paddr != 0 {
            info.command_line = info.read_text(memory, start.cmdline_paddr)?;
        }
        for index in 0..u64::from(start.nr_modules).min(MAX_MODULES as u64) {
            let at = start.modlist_paddr.saturating_add(index * size_of::<ModlistEntry>() as u64);
            let entry: ModlistEntry = info.read_as(memory, at)?;
            let contents = info.read_bytes(memory, entry.paddr, entry.size)?;
            // The loop ends at the capacity.
            let _ = info.modules.push(contents);
        }
        if start.version >= 1 && start.memmap_entries > 0 {
            info.memory_map = Some(info.read_map(memory, &start)?);
        }
        Ok(info)
    }

    fn read_map(&mut self, memory: &impl Physical, start: &StartInfo) -> Result<MemoryMap, BootInfoError> {
        let mut map = MemoryMap::new();
        for index in 0..u64::from(start.memmap_entries) {
            let at = start.memmap_paddr.saturating_add(index * size_of::<MemmapEntry>() as u64);
            let length = size_of::<MemmapEntry>();
            let entry = memory.bytes(at, length).and_then(|bytes| MemmapEntry::read_from_bytes(bytes).ok());
            let entry = entry.ok_or(BootInfoError::OutOfReach { address: at, length: length as u64 })?;
            if !map.add(Span::of(entry.addr, entry.size), Kind::from_e820(entry.kind)) {
                return Err(BootInfoError::TooManyRanges);
            }
        }
        let length = u64::from(start.memmap_entries) * size_of::<MemmapEntry>() as u64;
        self.occupy(Span::of(start.memmap_paddr, length));
        Ok(map)
    }

    fn read_as<T: FromBytes>(&mut self, memory: &impl Physical, address: u64) -> Result<T, BootInfoError> {
        let length = size_of::<T>() as u64;
        let bytes = self.read_bytes(memory, address, length)?;
        T::read_from_bytes(bytes).map_err(|_| BootInfoError::OutOfReach { address, length })
    }

    fn read_bytes(
        &mut self,
        memory: &impl Physical,
        address: u64,
        length: u64,
    ) -> Result<&'static [u8], BootInfoError> {
        let out_of_reach = BootInfoError::OutOfReach { address, length };
        let count = usize::try_from(length).map_err(|_| out_of_reach)?;
        let bytes = memory.bytes(address, count).ok_or(out_of_reach)?;
        self.occupy(Span::of(address, length));
        Ok(bytes)
    }

    fn read_text(&mut self, memory: &impl Physical, address: u64) -> Result<&'static str, BootInfoError> {
        for length in 0..MAX_COMMAND_LINE {
            let at = address.saturating_add(length as u64);
            let byte = memory.bytes(at, 1).ok_or(BootInfoError::OutOfReach { address: at, length: 1 })?;
            if byte == [0] {
                let text = self.read_bytes(memory, address, length as u64)?;
                self.occupy(Span::of(address, length as u64 + 1));
                return core::str::from_utf8(text).map_err(|_| BootInfoError::CommandLine);
            }
        }
        Err(BootInfoError::CommandLine)
    }

    /// Notes that `span` is in use. Spans that share a page with the last one are joined, so that the
    /// many small structures beside each other take one place.
    fn occupy(&mut self, span: Span) {
        let span = span.outward();
        if span.is_empty() || self.occupied.iter().any(|known| known.contains(span)) {
            return;
        }
        let neighbour =
            self.occupied.iter_mut().find(|known| known.start <= span.end && span.start <= known.end);
        if let Some(known) = neighbour {
            *known = Span { start: known.start.min(span.start), end: known.end.max(span.end) };
            return;
        }
        // One span for the start info, one for each module and its entry, one for the line, one for
        // the map: the capacity is never reached.
        let _ = self.occupied.push(span);
    }
}

/// The value of `key=value` on a command line whose words are separated by spaces.
#[must_use]
pub fn option<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.split_ascii_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use std::{boxed::Box, vec};

    use super::*;
    use zerocopy::IntoBytes;

    const BASE: u64 = 0x10_0000;

    struct Ram(&'static [u8]);

    impl Physical for Ram {
        fn bytes(&self, address: u64, length: usize) -> Option<&'static [u8]> {
            let at = usize::try_from(address.checked_sub(BASE)?).ok()?;
            self.0.get(at..at.checked_add(length)?)
        }
    }

    fn ram(build: impl FnOnce(&mut [u8])) -> Ram {
        let mut bytes = vec![0; 0x4000];
        build(&mut bytes);
        Ram(Box::leak(bytes.into_boxed_slice()))
    }

    fn put(ram: &mut [u8], at: u64, value: &[u8]) {
        ram[(at - BASE) as usize..][..value.len()].copy_from_slice(value);
    }

    fn full(ram: &mut [u8]) {
        let start = StartInfo {
            magic: MAGIC,
            version: 1,
            nr_modules: 2,
            modlist_paddr: BASE + 0x200,
            cmdline_paddr: BASE + 0x100,
            rsdp_paddr: 7,
            memmap_paddr: BASE + 0x400,
            memmap_entries: 2,
            ..Default::default()
        };
        put(ram, BASE, start.as_bytes());
        put(ram, BASE + 0x100, b"greeting=hi verbose\0");
        put(
            ram,
            BASE + 0x200,
            ModlistEntry { paddr: BASE + 0x1000, size: 3, ..Default::default() }.as_bytes(),
        );
        put(
            ram,
            BASE + 0x220,
            ModlistEntry { paddr: BASE + 0x2000, size: 0, ..Default::default() }.as_bytes(),
        );
        put(ram, BASE + 0x1000, b"one");
        put(ram, BASE + 0x400, MemmapEntry { addr: 0, size: 0x80_0000, kind: 1, reserved: 0 }.as_bytes());
        put(
            ram,
            BASE + 0x418,
            MemmapEntry { addr: 0x80_0000, size: 0x1000, kind: 2, reserved: 0 }.as_bytes(),
        );
    }

    #[test]
    fn a_full_start_info_is_read() {
        let info = BootInfo::parse(&ram(full), BASE).unwrap();
        assert_eq!(info.command_line, "greeting=hi verbose");
        assert_eq!(info.modules.as_slice(), [b"one".as_slice(), b""]);
        assert_eq!(info.rsdp, 7);
        let map = info.memory_map.unwrap();
        assert_eq!(map.ram_bytes(), 0x80_0000);
        assert!(map.is(Span::of(0x80_0000, 0x1000), Kind::Reserved));
        assert_eq!(info.occupied.as_slice(), [Span::of(BASE, 0x2000)]);
    }

    #[test]
    fn version_0_has_no_memory_map() {
        let memory = ram(|ram| {
            full(ram);
            put(ram, BASE + 4, &0u32.to_le_bytes());
        });
        assert!(BootInfo::parse(&memory, BASE).unwrap().memory_map.is_none());
    }

    #[test]
    fn what_lies_out_of_reach_is_refused() {
        let memory = ram(|ram| {
            full(ram);
            put(ram, BASE + 0x208, &u64::MAX.to_le_bytes());
        });
        let error = BootInfo::parse(&memory, BASE).unwrap_err();
        assert_eq!(error, BootInfoError::OutOfReach { address: BASE + 0x1000, length: u64::MAX });
        let error = BootInfo::parse(&memory, BASE + 0x100).unwrap_err();
        assert!(matches!(error, BootInfoError::NotStartInfo { .. }));
        assert!(BootInfo::parse(&memory, 0).is_err());
    }

    #[test]
    fn a_command_line_without_end_is_refused() {
        let memory = ram(|ram| {
            full(ram);
            put(ram, BASE + 0x1000, &[b'x'; 0x3000]);
            put(ram, BASE + 24, &(BASE + 0x1000).to_le_bytes());
        });
        assert_eq!(BootInfo::parse(&memory, BASE).unwrap_err(), BootInfoError::CommandLine);
    }

    #[test]
    fn options_are_words_of_the_line() {
        assert_eq!(option("a=1 greeting=good=day x", "greeting"), Some("good=day"));
        assert_eq!(option("agreeting=1", "greeting"), None);
        assert_eq!(option("greeting", "greeting"), None);
    }
}
