//! What a PVH guest finds at the address in `ebx`. Source: `arch-x86/hvm/start_info.h`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// First word of the structure.
pub const MAGIC: u32 = 0x336e_c578;

/// Number of the ELF note that names the 32-bit entry. Source: `elfnote.h`,
/// `XEN_ELFNOTE_PHYS32_ENTRY`.
pub const NOTE_PHYS32_ENTRY: u32 = 18;

/// Number of the ELF note by which Xen may load dom0 elsewhere than it is linked to: alignment, lowest and highest
/// address, of 4 bytes each. Source: `elfnote.h`, `XEN_ELFNOTE_PHYS32_RELOC`.
pub const NOTE_PHYS32_RELOC: u32 = 19;

/// `hvm_start_info`, version 1.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct StartInfo {
    /// [`MAGIC`].
    pub magic: u32,
    /// 0 (no memory map) or 1.
    pub version: u32,
    /// `SIF_*`.
    pub flags: u32,
    /// Modules.
    pub nr_modules: u32,
    /// Address of the array of [`ModlistEntry`].
    pub modlist_paddr: u64,
    /// Address of the command line, ends with NUL.
    pub cmdline_paddr: u64,
    /// Address of the ACPI RSDP, or 0.
    pub rsdp_paddr: u64,
    /// Address of the array of [`MemmapEntry`]; from version 1 on.
    pub memmap_paddr: u64,
    /// Entries there.
    pub memmap_entries: u32,
    /// Zero.
    pub reserved: u32,
}

/// One module.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ModlistEntry {
    /// Address.
    pub paddr: u64,
    /// Bytes.
    pub size: u64,
    /// Address of its command line, or 0.
    pub cmdline_paddr: u64,
    /// Zero.
    pub reserved: u64,
}

/// One range of memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct MemmapEntry {
    /// Address.
    pub addr: u64,
    /// Bytes.
    pub size: u64,
    /// [`memory_type`].
    pub kind: u32,
    /// Zero.
    pub reserved: u32,
}

/// Types of memory ranges, as in the E820 map.
pub mod memory_type {
    /// Free for use.
    pub const RAM: u32 = 1;
    /// Not for use.
    pub const RESERVED: u32 = 2;
}

const _: () = assert!(size_of::<StartInfo>() == 56);
const _: () = assert!(size_of::<ModlistEntry>() == 32);
const _: () = assert!(size_of::<MemmapEntry>() == 24);
