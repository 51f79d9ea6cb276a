//! Operations on domains. Source: `domctl.h`.

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use crate::ids::DomId;

/// Version of the interface that the structures follow.
pub const INTERFACE_VERSION: u32 = 0x17;

/// Subcommands.
pub mod op {
    #![expect(missing_docs, reason = "names of the header, each with its structure in this module")]
    pub const CREATE_DOMAIN: u32 = 1;
    pub const DESTROY_DOMAIN: u32 = 2;
    pub const PAUSE_DOMAIN: u32 = 3;
    pub const UNPAUSE_DOMAIN: u32 = 4;
    pub const GET_DOMAIN_INFO: u32 = 5;
    pub const SET_VCPU_AFFINITY: u32 = 9;
    pub const MAX_MEM: u32 = 11;
    pub const SET_VCPU_CONTEXT: u32 = 12;
    pub const MAX_VCPUS: u32 = 15;
    pub const IOMEM_PERMISSION: u32 = 20;
    pub const SET_HVM_CONTEXT: u32 = 34;
    pub const SET_ADDRESS_SIZE: u32 = 35;
    pub const ASSIGN_DEVICE: u32 = 37;
    pub const BIND_PT_IRQ: u32 = 38;
    pub const MEMORY_MAPPING: u32 = 39;
    pub const DEASSIGN_DEVICE: u32 = 47;
    pub const UNBIND_PT_IRQ: u32 = 48;
    pub const SET_TSC_INFO: u32 = 60;
    pub const CACHE_FLUSH: u32 = 71;
    pub const SET_PAGING_MEMPOOL_SIZE: u32 = 86;
}

/// Bytes of the union of all subcommands.
pub const PAYLOAD: usize = 128;

/// What the hypercall takes.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Domctl {
    /// [`op`].
    pub cmd: u32,
    /// [`INTERFACE_VERSION`].
    pub interface_version: u32,
    /// Which domain.
    pub domain: u16,
    /// Not used.
    pub padding: [u16; 3],
    /// The subcommand's own structure.
    pub payload: [u8; PAYLOAD],
}

impl Domctl {
    /// Subcommand `cmd` on `domain`, with `payload` (at most [`PAYLOAD`] bytes) as its structure.
    ///
    /// # Panics
    /// If `payload` is longer; no structure of this module is.
    #[must_use]
    pub fn new<P: IntoBytes + Immutable>(cmd: u32, domain: DomId, payload: &P) -> Self {
        let mut this = Self {
            cmd,
            interface_version: INTERFACE_VERSION,
            domain: domain.0,
            padding: [0; 3],
            payload: [0; PAYLOAD],
        };
        let bytes = payload.as_bytes();
        this.payload[..bytes.len()].copy_from_slice(bytes);
        this
    }

    /// What Xen left in the union.
    #[must_use]
    pub fn result<P: FromBytes + KnownLayout + Immutable + FromZeros>(&self) -> P {
        P::read_from_prefix(&self.payload).map_or_else(|_| P::new_zeroed(), |(value, _)| value)
    }
}

/// Flags of a new domain.
pub mod create_flags {
    /// It has its own physical address space.
    pub const HVM: u32 = 1 << 0;
    /// Its page tables are nested.
    pub const HAP: u32 = 1 << 1;
    /// It may get devices.
    pub const IOMMU: u32 = 1 << 5;
}

/// Devices that Xen emulates for a domain, x86.
pub mod emulation {
    /// The local APIC: the only one of a PVH domain.
    pub const LAPIC: u32 = 1 << 0;
}

/// A new domain.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct CreateDomain {
    /// Security label.
    pub ssidref: u32,
    /// UUID.
    pub handle: [u8; 16],
    /// [`create_flags`].
    pub flags: u32,
    /// Options of the IOMMU.
    pub iommu_opts: u32,
    /// vCPUs.
    pub max_vcpus: u32,
    /// Largest port.
    pub max_evtchn_port: u32,
    /// Frames of the grant table.
    pub max_grant_frames: i32,
    /// Frames that record what it maps.
    pub max_maptrack_frames: i32,
    /// Version of the grant table.
    pub grant_opts: u32,
    /// Zero.
    pub altp2m_opts: u32,
    /// Zero.
    pub vmtrace_size: u32,
    /// Zero: the default one.
    pub cpupool_id: u32,
    /// Of the architecture. x86: [`emulation`]. Arm: version of the interrupt controller, 0 for that of
    /// the machine; number of shared interrupts.
    pub arch: [u32; 4],
}

/// A domain as Xen sees it.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct GetDomainInfo {
    /// Which.
    pub domain: u16,
    /// Not used.
    pub padding: u16,
    /// [`info_flags`].
    pub flags: u32,
    /// Pages that it has.
    pub tot_pages: u64,
    /// Pages that it may have.
    pub max_pages: u64,
    /// Pages claimed and not yet given.
    pub outstanding_pages: u64,
    /// Shared pages.
    pub shr_pages: u64,
    /// Pages paged out.
    pub paged_pages: u64,
    /// Where shared_info is.
    pub shared_info_frame: u64,
    /// CPU time in nanoseconds.
    pub cpu_time: u64,
    /// vCPUs on-line.
    pub nr_online_vcpus: u32,
    /// Largest vCPU number.
    pub max_vcpu_id: u32,
    /// Security label.
    pub ssidref: u32,
    /// UUID.
    pub handle: [u8; 16],
    /// CPU pool.
    pub cpupool: u32,
    /// Bits of a guest-physical address, then the architecture's part.
    pub rest: [u8; 24],
}

/// Flags of [`GetDomainInfo`].
pub mod info_flags {
    /// It is being destroyed.
    pub const DYING: u32 = 1 << 0;
    /// It has ended; the reason is in bits 16 to 23.
    pub const SHUTDOWN: u32 = 1 << 2;
    /// It is paused.
    pub const PAUSED: u32 = 1 << 3;
    /// All of its vCPUs wait for an event.
    pub const BLOCKED: u32 = 1 << 4;
    /// Position of the reason.
    pub const SHUTDOWN_SHIFT: u32 = 16;
}

/// Memory limit.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct MaxMem {
    /// In KiB.
    pub max_memkb: u64,
}

/// Number of vCPUs.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct MaxVcpus {
    /// How many.
    pub max: u32,
}

/// The CPUs on which a vCPU runs.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct VcpuAffinity {
    /// Which vCPU.
    pub vcpu: u32,
    /// [`AFFINITY_HARD`].
    pub flags: u32,
    /// The CPUs on which it may run at all.
    pub hard: Bitmap,
    /// The CPUs on which it had better run.
    pub soft: Bitmap,
}

/// Sets [`VcpuAffinity::hard`].
pub const AFFINITY_HARD: u32 = 1 << 0;

/// A set of numbers, a bit each, the lowest first.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Bitmap {
    /// Address of its bytes.
    pub bytes: u64,
    /// How many bits.
    pub bits: u32,
    /// Not used.
    pub padding: u32,
}

/// Memory for nested page tables.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct PagingMempool {
    /// In bytes.
    pub size: u64,
}

/// Saved state for a new domain.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct HvmContext {
    /// Bytes.
    pub size: u32,
    /// Not used.
    pub padding: u32,
    /// Address.
    pub buffer: u64,
}

/// State for a vCPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct VcpuContext {
    /// Which.
    pub vcpu: u32,
    /// Not used.
    pub padding: u32,
    /// Address of the state.
    pub ctxt: u64,
}

/// Width of a domain's addresses.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct AddressSize {
    /// In bits.
    pub size: u32,
}

/// How a domain on x86 reads the time stamp counter.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct TscInfo {
    /// [`TSC_MODE_NEVER_EMULATE`], or another of the header's.
    pub tsc_mode: u32,
    /// Its frequency, or 0 for the machine's.
    pub gtsc_khz: u32,
    /// How often the domain was moved between machines.
    pub incarnation: u32,
    /// Not used.
    pub pad: u32,
    /// Age of the domain; 0 for a new one.
    pub elapsed_nsec: u64,
}

/// The processor's own counter, whatever Xen thinks of it.
pub const TSC_MODE_NEVER_EMULATE: u32 = 2;

/// Memory of a domain whose cached bytes are to reach it.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct CacheFlush {
    /// First guest frame.
    pub start_pfn: u64,
    /// Frames.
    pub nr_pfns: u64,
}

/// Right to machine memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct IomemPermission {
    /// First frame.
    pub first_mfn: u64,
    /// Frames.
    pub nr_mfns: u64,
    /// 1 to give, 0 to take.
    pub allow_access: u8,
    /// Not used.
    pub padding: [u8; 7],
}

/// Machine memory at guest frames.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct MemoryMapping {
    /// First guest frame.
    pub first_gfn: u64,
    /// First machine frame.
    pub first_mfn: u64,
    /// Frames.
    pub nr_mfns: u64,
    /// 1 to add, 0 to remove.
    pub add_mapping: u32,
    /// Not used.
    pub padding: u32,
}

/// A PCI function for a domain.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct AssignDevice {
    /// 0: PCI.
    pub dev: u32,
    /// Zero.
    pub flags: u32,
    /// [`Sbdf`](crate::Sbdf).
    pub machine_sbdf: u32,
    /// Not used.
    pub padding: u32,
}

/// A device's interrupt as a vector of a domain.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct BindPtIrq {
    /// The pirq.
    pub machine_irq: u32,
    /// [`PT_IRQ_TYPE_MSI`].
    pub irq_type: u32,
    /// The vector.
    pub gvec: u8,
    /// Not used.
    pub padding: [u8; 3],
    /// [`VMSI_UNMASKED`], or 0.
    pub gflags: u32,
    /// Zero: the guest does not see the table.
    pub gtable: u64,
}

/// A shared interrupt of the machine as the same one of a domain, Arm.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct BindSpi {
    /// The machine's.
    pub machine_irq: u32,
    /// [`PT_IRQ_TYPE_SPI`].
    pub irq_type: u32,
    /// The domain's.
    pub spi: u16,
    /// Not used.
    pub padding: [u16; 7],
}

/// Shared interrupts of an Arm machine.
pub const PT_IRQ_TYPE_SPI: u32 = 4;
/// Message-signalled interrupts.
pub const PT_IRQ_TYPE_MSI: u32 = 2;
/// The entry is delivered from the start. Without it nothing arrives, and no call fails.
pub const VMSI_UNMASKED: u32 = 0x1_0000;

const _: () = assert!(size_of::<Domctl>() == 144);
const _: () = assert!(size_of::<CreateDomain>() == 76);
const _: () = assert!(size_of::<GetDomainInfo>() == 120);
const _: () = assert!(size_of::<VcpuAffinity>() == 40);
const _: () = assert!(size_of::<BindPtIrq>() == 24);
const _: () = assert!(size_of::<BindSpi>() == 24);
