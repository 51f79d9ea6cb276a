//! Grant table entries, version 1, and operations. Source: `grant_table.h`.

/// Entries of one grant frame.
pub const ENTRIES_PER_FRAME: u32 = 512;
/// References that Xen keeps for its own use (console, xenstore).
pub const RESERVED: u32 = 8;

/// Flags of an entry.
pub mod flags {
    /// The entry grants nothing.
    pub const INVALID: u16 = 0;
    /// The peer may map the frame or copy to and from it.
    pub const PERMIT_ACCESS: u16 = 1;
    /// Only for reading.
    pub const READONLY: u16 = 1 << 2;
    /// The peer has it mapped for reading.
    pub const READING: u16 = 1 << 3;
    /// The peer has it mapped for writing.
    pub const WRITING: u16 = 1 << 4;
}

/// Subcommands.
pub mod op {
    /// [`super::MapGrantRef`].
    pub const MAP_GRANT_REF: u64 = 0;
    /// [`super::UnmapGrantRef`].
    pub const UNMAP_GRANT_REF: u64 = 1;
    /// [`super::Copy`].
    pub const COPY: u64 = 5;
}

/// Flags of a mapping.
pub mod map_flags {
    /// Into the caller's memory.
    pub const HOST_MAP: u32 = 1 << 1;
    /// Only for reading.
    pub const READONLY: u32 = 1 << 2;
}

/// Flags of a copy.
pub mod copy_flags {
    /// The source is a grant reference.
    pub const SOURCE_GREF: u16 = 1 << 0;
    /// The destination is a grant reference.
    pub const DEST_GREF: u16 = 1 << 1;
}

/// Maps one granted frame.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct MapGrantRef {
    /// Guest-physical address at which it shall appear.
    pub host_addr: u64,
    /// [`map_flags`].
    pub flags: u32,
    /// The reference.
    pub gref: u32,
    /// Who granted it.
    pub domid: u16,
    /// Out: [`status`](GrantStatus).
    pub status: i16,
    /// Out: names the mapping when it is undone.
    pub handle: u32,
    /// Out: bus address.
    pub dev_bus_addr: u64,
}

/// Undoes a mapping.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct UnmapGrantRef {
    /// Where it appears.
    pub host_addr: u64,
    /// Zero.
    pub dev_bus_addr: u64,
    /// From the mapping.
    pub handle: u32,
    /// Out: [`status`](GrantStatus).
    pub status: i16,
    /// Not used.
    pub padding: u16,
}

/// One end of a copy.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct CopyEnd {
    /// A grant reference, or a frame of the caller, in the low 32 or all 64 bits.
    pub reference: u64,
    /// The domain that the reference or frame belongs to.
    pub domid: u16,
    /// Offset within the page in bytes.
    pub offset: u16,
    /// Not used.
    pub padding: u32,
}

/// Copies bytes between two pages.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Copy {
    /// From.
    pub source: CopyEnd,
    /// To.
    pub dest: CopyEnd,
    /// Bytes; neither end may cross its page.
    pub length: u16,
    /// [`copy_flags`].
    pub flags: u16,
    /// Out: [`status`](GrantStatus).
    pub status: i16,
    /// Not used.
    pub padding: u16,
}

const _: () = assert!(size_of::<MapGrantRef>() == 32);
const _: () = assert!(size_of::<UnmapGrantRef>() == 24);
const _: () = assert!(size_of::<CopyEnd>() == 16);
const _: () = assert!(size_of::<Copy>() == 40);

/// Result of one grant operation, zero or negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantStatus(pub i16);

impl GrantStatus {
    /// It worked.
    pub const OKAY: Self = Self(0);
    /// What has no status of its own, such as a reference that grants us nothing.
    pub const GENERAL_ERROR: Self = Self(-1);
    /// No such domain.
    pub const BAD_DOMAIN: Self = Self(-2);
    /// No such reference in the table.
    pub const BAD_GREF: Self = Self(-3);
    /// Not permitted.
    pub const PERMISSION_DENIED: Self = Self(-8);

    /// The status as a sentence's end.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self.0 {
            0 => "okay",
            -1 => "general error",
            -2 => "no such domain",
            -3 => "no such grant reference",
            -4 => "no such handle",
            -5 => "bad address",
            -6 => "bad device address",
            -7 => "no device space",
            -8 => "permission denied",
            -9 => "bad page",
            -10 => "copy crosses a page",
            -11 => "address too large",
            -12 => "try again",
            -13 => "out of space",
            _ => "unknown grant status",
        }
    }
}
