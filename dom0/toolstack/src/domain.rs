//! A domain from its creation to its end.
//!
//! ```text
//!   Shell::create -(1)-> Shell -(2)-> Shell, filled -(3)-> Shell, running -(4)-> gone
//! ```
//!
//! 1. [`Shell::create`]: an empty domain with memory and limits.
//! 2. [`Shell::fill`]: image, modules, start info and CPU state are written.
//! 3. [`Shell::unpause`].
//! 4. Dropping it. A step that fails drops it too, so nothing is left behind.
//!
//! Devices and ports that go with a domain are guards of their own ([`crate::pci::Passthrough`],
//! [`crate::port::OwnPort`]); [`crate::service::Service`] holds them so that they end first.

use board_support_hyp::Piece;
use heapless::Vec;
use proto_xen::{
    DomId, Gaddr, PAGE_SIZE, VcpuId,
    domctl::{CreateDomain, create_flags, emulation},
    hvm::param,
    sched::ShutdownReason,
};

use crate::{
    build::{
        Platform, arm, context,
        elf::{Image, MAX_SEGMENTS},
        layout::{Layout, MAX_MODULES},
        pvh,
    },
    error::{BuildError, Step},
    hypervisor::Hypervisor,
    memory,
    undo::undo,
};

/// What a domain has of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Memory in pages.
    pub memory_pages: u64,
    /// Number of vCPUs.
    pub vcpus: u32,
    /// The CPUs that these run on, a bit each; all if there is none.
    pub cpus: u64,
    /// Devices that it may get.
    pub devices: Devices,
    /// How it reads the time stamp counter.
    pub counter: Counter,
}

/// How a domain on x86 reads the time stamp counter. On Arm all read the processor's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// As Xen thinks fit. Where it does not trust the processor's to be the same on all of them and in all their
    /// states, each reading is emulated: a way into Xen and back.
    Xen,
    /// The processor's own. For a domain that takes it for nothing but what passed since Xen updated its time, as Xen
    /// does itself.
    Native,
}

/// Devices that a domain may get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Devices {
    /// None.
    None,
    /// PCI functions behind the IOMMU.
    Pci,
    /// Devices with a shared interrupt, up to this INTID.
    Shared(u16),
}

/// What is written into a new domain.
#[derive(Debug, Clone, Copy)]
pub struct Contents<'a> {
    /// Where everything lies.
    pub layout: &'a Layout,
    /// The program.
    pub image: &'a Image<'a>,
    /// The modules, as many and as long as the layout says.
    pub modules: &'a [&'a [u8]],
    /// The command line.
    pub command_line: &'a str,
    /// Its vCPUs.
    pub vcpus: u32,
}

/// A domain that exists in Xen. Destroyed when dropped.
#[derive(Debug)]
pub struct Shell<'h, H: Hypervisor> {
    hyp: &'h H,
    platform: Platform,
    id: DomId,
}

/// Ports that a domain may have.
const MAX_PORT: u32 = 255;
/// Frames of a domain's grant table: 2,048 entries.
const GRANT_FRAMES: i32 = 4;
/// Frames in which Xen keeps what a domain has mapped.
const MAPTRACK_FRAMES: i32 = 4;

impl<'h, H: Hypervisor> Shell<'h, H> {
    /// Makes a domain with memory and limits, and nothing in it.
    ///
    /// # Errors
    /// [`BuildError::Xen`] with the step that Xen refused, [`BuildError::Memory`].
    pub fn create(hyp: &'h H, platform: Platform, size: Size) -> Result<Self, BuildError> {
        memory::check_free(hyp, size.memory_pages + paging_pool(size).div_ceil(PAGE_SIZE as u64))?;
        let iommu = if size.devices == Devices::Pci { create_flags::IOMMU } else { 0 };
        let description = CreateDomain {
            flags: create_flags::HVM | create_flags::HAP | iommu,
            max_vcpus: size.vcpus,
            max_evtchn_port: MAX_PORT,
            max_grant_frames: GRANT_FRAMES,
            max_maptrack_frames: MAPTRACK_FRAMES,
            // The version of the grant table.
            grant_opts: 1,
            arch: match platform {
                Platform::X86 { .. } => [emulation::LAPIC, 0, 0, 0],
                Platform::Arm { .. } => [0, shared_interrupts(size.devices), 0, 0],
            },
            ..CreateDomain::default()
        };
        let id = hyp.create_domain(&description).map_err(BuildError::at(Step::Create))?;
        // From here on, a return drops the shell, which destroys the domain.
        let shell = Self { hyp, platform, id };
        hyp.set_max_vcpus(id, size.vcpus).map_err(BuildError::at(Step::Vcpus))?;
        for vcpu in (0..size.vcpus).filter(|_| size.cpus != 0) {
            hyp.set_vcpu_affinity(id, VcpuId(vcpu), size.cpus).map_err(BuildError::at(Step::Affinity))?;
        }
        if let Platform::Arm { .. } = platform {
            // Before it has memory: what Xen sets up for that depends on it.
            hyp.set_address_size(id, 64).map_err(BuildError::at(Step::AddressSize))?;
        }
        if matches!((platform, size.counter), (Platform::X86 { .. }, Counter::Native)) {
            hyp.set_counter_native(id).map_err(BuildError::at(Step::Counter))?;
        }
        let kib = size.memory_pages * (PAGE_SIZE as u64 / 1024);
        hyp.set_max_mem(id, kib).map_err(BuildError::at(Step::MemoryLimit))?;
        hyp.set_paging_mempool_size(id, paging_pool(size)).map_err(BuildError::at(Step::PagingPool))?;
        memory::fill(hyp, id, platform.memory_base(), size.memory_pages)?;
        if let Platform::X86 { .. } = platform {
            // A triple fault would otherwise look like a reboot that was asked for.
            let crash = u64::from(ShutdownReason::CRASH.0);
            hyp.set_param(id, param::TRIPLE_FAULT_REASON, crash)
                .map_err(BuildError::at(Step::TripleFault))?;
        }
        Ok(shell)
    }

    /// Its number.
    pub fn id(&self) -> DomId {
        self.id
    }

    /// Writes image, modules and start info, clears the special pages, and sets the CPU state.
    ///
    /// # Errors
    /// [`BuildError::Elf`] if the image does not fit below the modules, [`BuildError::Layout`] for a
    /// bad command line, [`BuildError::Xen`].
    pub fn fill(&self, contents: &Contents<'_>) -> Result<(), BuildError> {
        let Contents { layout, image, modules, command_line, vcpus } = *contents;
        image.check_below(layout.image_limit())?;
        let start_info = match self.platform {
            Platform::X86 { .. } => pvh::start_info_page(layout, command_line)?.to_vec(),
            Platform::Arm { seeds } => arm::device_tree(layout, command_line, vcpus, seeds().as_ref())?,
        };
        let mut pieces = Vec::<Piece<'_>, { MAX_SEGMENTS + MAX_MODULES + 2 }>::new();
        let (special, count) = layout.specials();
        let zeros = Piece { at: special.base(), bytes: &[], length: count * PAGE_SIZE as u64 };
        let segments = image.segments.iter().map(|segment| Piece {
            at: Gaddr(segment.start),
            bytes: segment.data,
            length: segment.length,
        });
        let modules = modules
            .iter()
            .enumerate()
            .filter_map(|(number, bytes)| layout.module(number).map(|at| Piece { at, bytes, length: 0 }));
        let at = layout.start_info().base();
        let start_info = Piece { at, bytes: &start_info, length: 0 };
        pieces.extend([zeros].into_iter().chain(segments).chain(modules).chain([start_info]));
        self.hyp.load(self.id, &pieces).map_err(BuildError::at(Step::Load))?;
        match self.platform {
            Platform::X86 { signature } => {
                // Below 4 GiB: `Image::parse`, and `Domain::MAX_MEMORY_MIB` and the limits of applications.
                let records = context::stream(image.entry as u32, at.0 as u32, signature);
                self.hyp.set_hvm_context(self.id, &records).map_err(BuildError::at(Step::Context))
            }
            Platform::Arm { .. } => {
                // It starts with its caches off, and reads memory itself.
                let (first, count) = (layout.base(), layout.memory_pages());
                self.hyp.cache_flush(self.id, first, count).map_err(BuildError::at(Step::Flush))?;
                let state = arm::first_vcpu(image.entry, at);
                let refused = BuildError::at(Step::Context);
                self.hyp.set_vcpu_context(self.id, VcpuId(0), &state).map_err(refused)
            }
        }
    }

    /// Lets it run.
    ///
    /// # Errors
    /// [`BuildError::Xen`].
    pub fn unpause(&self) -> Result<(), BuildError> {
        self.hyp.unpause(self.id).map_err(BuildError::at(Step::Unpause))
    }

    /// Stops it. Called before anything is taken from it.
    pub(crate) fn pause(&self) {
        undo(format_args!("{}: not paused", self.id), || self.hyp.pause(self.id));
    }
}

impl<H: Hypervisor> Drop for Shell<'_, H> {
    fn drop(&mut self) {
        undo(format_args!("{}: not destroyed", self.id), || self.hyp.destroy_domain(self.id));
    }
}

/// Checks that an image runs on as many vCPUs as its domain is to have.
///
/// # Errors
/// [`BuildError::Vcpus`].
pub(crate) fn check_vcpus(image: &Image<'_>, want: u32) -> Result<(), BuildError> {
    match image.max_vcpus {
        Some(most) if want > most => Err(BuildError::Vcpus { want, most }),
        _ => Ok(()),
    }
}

/// How many shared interrupts (INTIDs from 32 on) a domain on Arm has: as many as its devices need, in
/// whole words of 32.
fn shared_interrupts(devices: Devices) -> u32 {
    match devices {
        Devices::None | Devices::Pci => 0,
        Devices::Shared(highest) => (u32::from(highest) + 1).saturating_sub(32).next_multiple_of(32),
    }
}

/// Memory for nested page tables, in bytes: 1 MiB for each vCPU, and 8 KiB for each MiB. On x86 Xen itself sets
/// aside the first MiB when the domain is created, so that only the rest costs time.
fn paging_pool(size: Size) -> u64 {
    let for_vcpus = u64::from(size.vcpus) << 20;
    let for_memory = size.memory_pages.div_ceil(256) * 8192;
    for_vcpus + for_memory
}
