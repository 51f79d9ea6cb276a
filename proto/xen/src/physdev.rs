//! Interrupts of physical devices. Source: `physdev.h`.

/// Subcommands.
pub mod op {
    /// [`super::MapPirq`].
    pub const MAP_PIRQ: u64 = 13;
    /// [`super::UnmapPirq`].
    pub const UNMAP_PIRQ: u64 = 14;
}

/// Gives a domain an interrupt of a device.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct MapPirq {
    /// Who gets it.
    pub domid: u16,
    /// Not used.
    pub padding: u16,
    /// [`MAP_PIRQ_TYPE_MSI`].
    pub kind: i32,
    /// −1.
    pub index: i32,
    /// In: −1 for any; out: the pirq.
    pub pirq: i32,
    /// Bus, segment in the high half.
    pub bus: i32,
    /// Device and function.
    pub devfn: i32,
    /// Entry of the MSI-X table; 0 for MSI.
    pub entry_nr: i32,
    /// Not used.
    pub padding2: u32,
    /// Address of the BAR that holds the MSI-X table; 0 for MSI.
    pub table_base: u64,
}

/// Takes it away.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct UnmapPirq {
    /// Who had it.
    pub domid: u16,
    /// Not used.
    pub padding: u16,
    /// Which.
    pub pirq: i32,
}

/// Message-signalled interrupts.
pub const MAP_PIRQ_TYPE_MSI: i32 = 0;

const _: () = assert!(size_of::<MapPirq>() == 40);
const _: () = assert!(size_of::<UnmapPirq>() == 8);
