//! The machine beside its memory and processors, for dom0. Source: `platform.h`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Version of the interface that the structures follow.
pub const INTERFACE_VERSION: u32 = 0x0300_0001;

/// Subcommands.
pub mod op {
    /// [`super::SetTime`].
    pub const SET_TIME_64: u32 = 62;
}

/// What the hypercall takes for [`op::SET_TIME_64`]: what it has in common with the others, then
/// [`SetTime`], then room that the union of all needs.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct PlatformOp {
    /// [`op`].
    pub cmd: u32,
    /// [`INTERFACE_VERSION`].
    pub interface_version: u32,
    /// The subcommand's structure.
    pub time: SetTime,
    /// Not used.
    pub padding: [u64; 13],
}

/// Sets the clock: it would have read `secs` and `nsecs` when the system time was `system_time`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SetTime {
    /// Seconds since 1970.
    pub secs: u64,
    /// And nanoseconds.
    pub nsecs: u32,
    /// Zero.
    pub mbz: u32,
    /// In nanoseconds.
    pub system_time: u64,
}

const _: () = assert!(size_of::<SetTime>() == 24);
const _: () = assert!(size_of::<PlatformOp>() == 136);
