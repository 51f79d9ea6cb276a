//! The machine as a whole. Source: `sysctl.h`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Version of the interface that the structures follow.
pub const INTERFACE_VERSION: u32 = 0x15;

/// Subcommands.
pub mod op {
    /// [`super::Physinfo`].
    pub const PHYSINFO: u32 = 3;
    /// [`super::GetDomainInfoList`].
    pub const GET_DOMAIN_INFO_LIST: u32 = 6;
}

/// What the hypercall takes.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Sysctl {
    /// [`op`].
    pub cmd: u32,
    /// [`INTERFACE_VERSION`].
    pub interface_version: u32,
    /// The subcommand's own structure.
    pub payload: [u64; 16],
}

/// CPUs and memory of the machine.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Physinfo {
    /// Threads of a core.
    pub threads_per_core: u32,
    /// Cores of a socket.
    pub cores_per_socket: u32,
    /// CPUs on-line.
    pub nr_cpus: u32,
    /// Largest CPU number.
    pub max_cpu_id: u32,
    /// Nodes on-line.
    pub nr_nodes: u32,
    /// Largest node number.
    pub max_node_id: u32,
    /// Frequency.
    pub cpu_khz: u32,
    /// Capabilities.
    pub capabilities: u32,
    /// Capabilities of the architecture.
    pub arch_capabilities: u32,
    /// Not used.
    pub padding: u32,
    /// All pages.
    pub total_pages: u64,
    /// Pages that no domain has.
    pub free_pages: u64,
    /// Pages that are being cleared.
    pub scrub_pages: u64,
    /// Pages claimed and not yet given.
    pub outstanding_pages: u64,
    /// Largest frame number.
    pub max_mfn: u64,
    /// CPU features.
    pub hw_cap: [u32; 8],
}

/// Domains from a number on, as [`GetDomainInfo`](crate::domctl::GetDomainInfo).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct GetDomainInfoList {
    /// The lowest number of interest.
    pub first_domain: u16,
    /// Not used.
    pub padding: u16,
    /// Room for so many.
    pub max_domains: u32,
    /// Address of the array.
    pub buffer: u64,
    /// Out: how many were written.
    pub num_domains: u32,
    /// Not used.
    pub padding_end: u32,
}

const _: () = assert!(size_of::<Physinfo>() == 112);
const _: () = assert!(size_of::<GetDomainInfoList>() == 24);
