//! Memory operations. Source: `memory.h`.

/// Subcommands.
pub mod op {
    /// [`super::Reservation`].
    pub const POPULATE_PHYSMAP: u64 = 6;
    /// [`super::AddToPhysmap`].
    pub const ADD_TO_PHYSMAP: u64 = 7;
    /// [`super::MemoryMap`].
    pub const MEMORY_MAP: u64 = 9;
    /// [`super::RemoveFromPhysmap`].
    pub const REMOVE_FROM_PHYSMAP: u64 = 15;
    /// [`super::AddToPhysmapBatch`].
    pub const ADD_TO_PHYSMAP_BATCH: u64 = 23;
    /// [`super::AcquireResource`].
    pub const ACQUIRE_RESOURCE: u64 = 28;
}

/// Pages of Xen's that belong to a domain.
pub mod resource {
    /// Kind: its grant table.
    pub const GRANT_TABLE: u16 = 1;
    /// Of the grant table, the entries.
    pub const SHARED: u32 = 0;
}

/// What a frame is taken from.
pub mod space {
    /// The shared_info page.
    pub const SHARED_INFO: u16 = 0;
    /// A frame of the grant table.
    pub const GRANT_TABLE: u16 = 1;
    /// A frame of another domain.
    pub const GMFN_FOREIGN: u16 = 4;
}

/// Fills frames of a domain with memory.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Reservation {
    /// Address of the array of first frames, one for each extent.
    pub extent_start: u64,
    /// Extents.
    pub nr_extents: u64,
    /// Pages of an extent, as a power of two.
    pub extent_order: u32,
    /// Zero: anywhere.
    pub mem_flags: u32,
    /// Whose.
    pub domid: u16,
    /// Not used.
    pub padding: [u16; 3],
}

/// Puts one frame of a space at a frame of a domain.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct AddToPhysmap {
    /// Whose map.
    pub domid: u16,
    /// Used by ranges only.
    pub size: u16,
    /// [`space`].
    pub space: u32,
    /// Which frame of the space.
    pub idx: u64,
    /// Where it shall appear.
    pub gpfn: u64,
}

/// Puts several frames at once.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct AddToPhysmapBatch {
    /// Whose map.
    pub domid: u16,
    /// [`space`].
    pub space: u16,
    /// How many.
    pub size: u16,
    /// The domain that the frames belong to.
    pub foreign_domid: u16,
    /// Address of the array of frames there, u64 each.
    pub idxs: u64,
    /// Address of the array of frames here, u64 each.
    pub gpfns: u64,
    /// Address of the array of results, i32 each.
    pub errs: u64,
}

/// Puts pages that Xen keeps for another domain at frames of the caller.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct AcquireResource {
    /// Whose.
    pub domid: u16,
    /// [`resource`].
    pub kind: u16,
    /// Which part of the resource.
    pub id: u32,
    /// How many frames.
    pub nr_frames: u32,
    /// Zero.
    pub padding: u32,
    /// The first, counted within the resource.
    pub frame: u64,
    /// Address of the array of frames here, u64 each.
    pub frame_list: u64,
}

/// Takes a frame out of a domain's map.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RemoveFromPhysmap {
    /// Whose map.
    pub domid: u16,
    /// Not used.
    pub padding: [u16; 3],
    /// Which frame.
    pub gpfn: u64,
}

/// Asks for the caller's memory map.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct MemoryMap {
    /// In: room for entries; out: entries written.
    pub nr_entries: u32,
    /// Not used.
    pub padding: u32,
    /// Address of the entries, [`E820_ENTRY_SIZE`] bytes each.
    pub buffer: u64,
}

/// Bytes of one entry of [`MemoryMap`]: address u64, size u64, type u32, packed.
pub const E820_ENTRY_SIZE: usize = 20;

const _: () = assert!(size_of::<Reservation>() == 32);
const _: () = assert!(size_of::<AddToPhysmap>() == 24);
const _: () = assert!(size_of::<AddToPhysmapBatch>() == 32);
const _: () = assert!(size_of::<AcquireResource>() == 32);
const _: () = assert!(size_of::<RemoveFromPhysmap>() == 16);
const _: () = assert!(size_of::<MemoryMap>() == 16);
