//! Operations on domains, which only dom0 may ask for.

use proto_xen::{
    DomId, Errno, Gfn, Mfn, Pirq, Sbdf, VcpuId,
    arch_arm::VcpuGuestContext,
    domctl::{
        self, AFFINITY_HARD, AddressSize, AssignDevice, BindPtIrq, BindSpi, Bitmap, CacheFlush, CreateDomain,
        GetDomainInfo, HvmContext, IomemPermission, MaxMem, MaxVcpus, MemoryMapping, PT_IRQ_TYPE_MSI,
        PT_IRQ_TYPE_SPI, PagingMempool, TSC_MODE_NEVER_EMULATE, TscInfo, VMSI_UNMASKED, VcpuAffinity,
        VcpuContext, info_flags, op,
    },
    hypercall::Hypercall,
    sched::ShutdownReason,
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Xen, call, sysctl};

/// A domain as Xen sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DomainInfo {
    /// Which.
    pub domain: DomId,
    /// Whether it is being destroyed.
    pub dying: bool,
    /// Why it has ended, if it has.
    pub shutdown: Option<ShutdownReason>,
    /// Pages that it has.
    pub pages: u64,
    /// CPU time in nanoseconds.
    pub cpu_ns: u64,
    /// Whether all of its vCPUs wait for an event, and none is there.
    pub blocked: bool,
}

impl From<&GetDomainInfo> for DomainInfo {
    fn from(raw: &GetDomainInfo) -> Self {
        let reason = ShutdownReason((raw.flags >> info_flags::SHUTDOWN_SHIFT) as u8);
        Self {
            domain: DomId(raw.domain),
            dying: raw.flags & info_flags::DYING != 0,
            shutdown: (raw.flags & info_flags::SHUTDOWN != 0).then_some(reason),
            pages: raw.tot_pages,
            cpu_ns: raw.cpu_time,
            blocked: raw.flags & info_flags::BLOCKED != 0,
        }
    }
}

/// Operations on domains.
pub trait Domctl {
    /// Creates an empty, paused domain with a number of Xen's choice.
    ///
    /// # Errors
    /// What Xen says: `EACCES` if its interface has another version than ours.
    fn create_domain(&self, description: &CreateDomain) -> Result<DomId, Errno>;

    /// Destroys a domain. `EAGAIN` inside is retried; a page that someone still maps keeps a dying
    /// remnant.
    ///
    /// # Errors
    /// What Xen says.
    fn destroy_domain(&self, domain: DomId) -> Result<(), Errno>;

    /// Stops the domain's vCPUs.
    ///
    /// # Errors
    /// What Xen says.
    fn pause(&self, domain: DomId) -> Result<(), Errno>;

    /// Lets the domain run.
    ///
    /// # Errors
    /// What Xen says.
    fn unpause(&self, domain: DomId) -> Result<(), Errno>;

    /// The domain with the lowest number that is not below `from`, or `None`.
    ///
    /// # Errors
    /// What Xen says.
    fn next_domain(&self, from: DomId) -> Result<Option<DomainInfo>, Errno>;

    /// Sets the number of vCPUs.
    ///
    /// # Errors
    /// What Xen says.
    fn set_max_vcpus(&self, domain: DomId, count: u32) -> Result<(), Errno>;

    /// Has vCPU `vcpu` run on these CPUs only, a bit each.
    ///
    /// # Errors
    /// What Xen says: `EINVAL` if none of them is on-line.
    fn set_vcpu_affinity(&self, domain: DomId, vcpu: VcpuId, cpus: u64) -> Result<(), Errno>;

    /// Sets the memory limit, in KiB.
    ///
    /// # Errors
    /// What Xen says.
    fn set_max_mem(&self, domain: DomId, kib: u64) -> Result<(), Errno>;

    /// Sets aside memory for nested page tables, in bytes.
    ///
    /// # Errors
    /// What Xen says: `ENOMEM`.
    fn set_paging_mempool_size(&self, domain: DomId, bytes: u64) -> Result<(), Errno>;

    /// Loads CPU state, as a sequence of context records.
    ///
    /// # Errors
    /// What Xen says: `EINVAL` if a record is not right.
    fn set_hvm_context(&self, domain: DomId, records: &[u8]) -> Result<(), Errno>;

    /// Gives or takes the right to machine frames.
    ///
    /// # Errors
    /// What Xen says.
    fn iomem_permission(&self, domain: DomId, first: Mfn, count: u64, allow: bool) -> Result<(), Errno>;

    /// Maps (or unmaps) machine frames of a device at guest frames.
    ///
    /// # Errors
    /// What Xen says.
    fn memory_mapping(&self, domain: DomId, at: Gfn, first: Mfn, count: u64, add: bool) -> Result<(), Errno>;

    /// Hands a PCI function over: the IOMMU translates its accesses by the domain's frames.
    ///
    /// # Errors
    /// What Xen says: `EOPNOTSUPP` if the domain was made without an IOMMU, `EBUSY` if MSI-X is
    /// masked as a whole.
    fn assign_device(&self, domain: DomId, device: Sbdf) -> Result<(), Errno>;

    /// Takes it back: from a domain into quarantine, from [`DomId::IO`] back to dom0.
    ///
    /// # Errors
    /// What Xen says.
    fn deassign_device(&self, domain: DomId, device: Sbdf) -> Result<(), Errno>;

    /// Delivers pirq `pirq` of the domain as interrupt `vector`.
    ///
    /// # Errors
    /// What Xen says.
    fn bind_msi(&self, domain: DomId, pirq: Pirq, vector: u8) -> Result<(), Errno>;

    /// Ends that delivery.
    ///
    /// # Errors
    /// What Xen says.
    fn unbind_msi(&self, domain: DomId, pirq: Pirq, vector: u8) -> Result<(), Errno>;

    /// Has the domain, which has vCPUs, read the processor's own time stamp counter: on x86.
    ///
    /// # Errors
    /// What Xen says.
    fn set_counter_native(&self, domain: DomId) -> Result<(), Errno>;

    /// Says how many bits the domain's addresses have: on Arm, before it gets memory.
    ///
    /// # Errors
    /// What Xen says.
    fn set_address_size(&self, domain: DomId, bits: u32) -> Result<(), Errno>;

    /// Has what was written into the domain's frames reach its memory, where a vCPU with its caches off
    /// reads it: on Arm.
    ///
    /// # Errors
    /// What Xen says.
    fn cache_flush(&self, domain: DomId, first: Gfn, count: u64) -> Result<(), Errno>;

    /// Sets the state of a vCPU: on Arm.
    ///
    /// # Errors
    /// What Xen says: `EINVAL` for a state that no vCPU can be in.
    fn set_vcpu_context(&self, domain: DomId, vcpu: VcpuId, state: &VcpuGuestContext) -> Result<(), Errno>;

    /// Delivers the machine's shared interrupt `spi` (an INTID) to the domain, as the same number: on
    /// Arm. It ends with the domain, which is when nobody maps a page of it any more.
    ///
    /// # Errors
    /// What Xen says: `EBUSY` while another domain, dom0 among them, has it.
    fn bind_spi(&self, domain: DomId, spi: u16) -> Result<(), Errno>;

    /// Takes shared interrupt `spi` back from a domain that is being destroyed, so that another one may have
    /// it before the last page is unmapped: on Arm.
    ///
    /// # Errors
    /// What Xen says: `ESRCH` if the domain is gone, and the interrupt free with it; `EINVAL` if the domain
    /// does not have it; `EBUSY` if the domain lives and uses it.
    fn unbind_spi(&self, domain: DomId, spi: u16) -> Result<(), Errno>;
}

/// Makes one domctl.
///
/// # Safety
/// Addresses inside `argument` are good as [`call::raw`] asks.
unsafe fn domctl(argument: &mut domctl::Domctl) -> Result<u64, Errno> {
    let address = core::ptr::from_mut(argument) as u64;
    // SAFETY: the hypercall takes a `Domctl`, which is exclusively ours; the rest is the caller's.
    Errno::check(unsafe { call::raw(Hypercall::Domctl, [address, 0, 0, 0, 0]) })
}

/// A domctl without addresses inside.
fn plain<P: IntoBytes + FromBytes + Immutable + KnownLayout>(
    cmd: u32,
    domain: DomId,
    payload: &P,
) -> Result<domctl::Domctl, Errno> {
    let mut argument = domctl::Domctl::new(cmd, domain, payload);
    // SAFETY: the payloads that this is called with hold no addresses.
    unsafe { domctl(&mut argument) }?;
    Ok(argument)
}

fn bind_argument(pirq: Pirq, vector: u8, gflags: u32) -> BindPtIrq {
    BindPtIrq {
        machine_irq: pirq.0,
        irq_type: PT_IRQ_TYPE_MSI,
        gvec: vector,
        padding: [0; 3],
        gflags,
        gtable: 0,
    }
}

fn spi_argument(spi: u16) -> BindSpi {
    BindSpi { machine_irq: spi.into(), irq_type: PT_IRQ_TYPE_SPI, spi, padding: [0; 7] }
}

impl Domctl for Xen {
    fn create_domain(&self, description: &CreateDomain) -> Result<DomId, Errno> {
        plain(op::CREATE_DOMAIN, DomId(0), description).map(|result| DomId(result.domain))
    }

    fn destroy_domain(&self, domain: DomId) -> Result<(), Errno> {
        plain(op::DESTROY_DOMAIN, domain, &[0u8; 0]).map(drop)
    }

    fn pause(&self, domain: DomId) -> Result<(), Errno> {
        plain(op::PAUSE_DOMAIN, domain, &[0u8; 0]).map(drop)
    }

    fn unpause(&self, domain: DomId) -> Result<(), Errno> {
        plain(op::UNPAUSE_DOMAIN, domain, &[0u8; 0]).map(drop)
    }

    fn next_domain(&self, from: DomId) -> Result<Option<DomainInfo>, Errno> {
        // The domctl of the same name knows exact numbers only (from 4.19 on).
        sysctl::first_domain_from(from).map(|raw| raw.map(|raw| DomainInfo::from(&raw)))
    }

    fn set_max_vcpus(&self, domain: DomId, count: u32) -> Result<(), Errno> {
        plain(op::MAX_VCPUS, domain, &MaxVcpus { max: count }).map(drop)
    }

    fn set_vcpu_affinity(&self, domain: DomId, vcpu: VcpuId, cpus: u64) -> Result<(), Errno> {
        let mut bytes = cpus.to_le_bytes();
        let hard = Bitmap { bytes: bytes.as_mut_ptr() as u64, bits: u64::BITS, padding: 0 };
        let payload = VcpuAffinity { vcpu: vcpu.0, flags: AFFINITY_HARD, hard, soft: Bitmap::default() };
        let mut argument = domctl::Domctl::new(op::SET_VCPU_AFFINITY, domain, &payload);
        // SAFETY: Xen reads `bytes`, and writes there what it made of them. They live until the call
        // returns and are not looked at again.
        unsafe { domctl(&mut argument) }.map(drop)
    }

    fn set_max_mem(&self, domain: DomId, kib: u64) -> Result<(), Errno> {
        plain(op::MAX_MEM, domain, &MaxMem { max_memkb: kib }).map(drop)
    }

    fn set_paging_mempool_size(&self, domain: DomId, bytes: u64) -> Result<(), Errno> {
        plain(op::SET_PAGING_MEMPOOL_SIZE, domain, &PagingMempool { size: bytes }).map(drop)
    }

    fn set_hvm_context(&self, domain: DomId, records: &[u8]) -> Result<(), Errno> {
        let payload = HvmContext { size: records.len() as u32, padding: 0, buffer: records.as_ptr() as u64 };
        let mut argument = domctl::Domctl::new(op::SET_HVM_CONTEXT, domain, &payload);
        // SAFETY: Xen reads `records`, which lives until the call returns.
        unsafe { domctl(&mut argument) }.map(drop)
    }

    fn iomem_permission(&self, domain: DomId, first: Mfn, count: u64, allow: bool) -> Result<(), Errno> {
        let payload = IomemPermission {
            first_mfn: first.0,
            nr_mfns: count,
            allow_access: allow.into(),
            padding: [0; 7],
        };
        plain(op::IOMEM_PERMISSION, domain, &payload).map(drop)
    }

    fn memory_mapping(&self, domain: DomId, at: Gfn, first: Mfn, count: u64, add: bool) -> Result<(), Errno> {
        let payload = MemoryMapping {
            first_gfn: at.0,
            first_mfn: first.0,
            nr_mfns: count,
            add_mapping: add.into(),
            padding: 0,
        };
        plain(op::MEMORY_MAPPING, domain, &payload).map(drop)
    }

    fn assign_device(&self, domain: DomId, device: Sbdf) -> Result<(), Errno> {
        let payload = AssignDevice { dev: 0, flags: 0, machine_sbdf: device.0, padding: 0 };
        plain(op::ASSIGN_DEVICE, domain, &payload).map(drop)
    }

    fn deassign_device(&self, domain: DomId, device: Sbdf) -> Result<(), Errno> {
        let payload = AssignDevice { dev: 0, flags: 0, machine_sbdf: device.0, padding: 0 };
        plain(op::DEASSIGN_DEVICE, domain, &payload).map(drop)
    }

    fn bind_msi(&self, domain: DomId, pirq: Pirq, vector: u8) -> Result<(), Errno> {
        plain(op::BIND_PT_IRQ, domain, &bind_argument(pirq, vector, VMSI_UNMASKED)).map(drop)
    }

    fn unbind_msi(&self, domain: DomId, pirq: Pirq, vector: u8) -> Result<(), Errno> {
        plain(op::UNBIND_PT_IRQ, domain, &bind_argument(pirq, vector, 0)).map(drop)
    }

    fn set_counter_native(&self, domain: DomId) -> Result<(), Errno> {
        let payload = TscInfo { tsc_mode: TSC_MODE_NEVER_EMULATE, ..TscInfo::default() };
        plain(op::SET_TSC_INFO, domain, &payload).map(drop)
    }

    fn set_address_size(&self, domain: DomId, bits: u32) -> Result<(), Errno> {
        plain(op::SET_ADDRESS_SIZE, domain, &AddressSize { size: bits }).map(drop)
    }

    fn cache_flush(&self, domain: DomId, first: Gfn, count: u64) -> Result<(), Errno> {
        plain(op::CACHE_FLUSH, domain, &CacheFlush { start_pfn: first.0, nr_pfns: count }).map(drop)
    }

    fn set_vcpu_context(&self, domain: DomId, vcpu: VcpuId, state: &VcpuGuestContext) -> Result<(), Errno> {
        let ctxt = core::ptr::from_ref(state) as u64;
        let payload = VcpuContext { vcpu: vcpu.0, padding: 0, ctxt };
        let mut argument = domctl::Domctl::new(op::SET_VCPU_CONTEXT, domain, &payload);
        // SAFETY: Xen reads `state`, which lives until the call returns. (On x86 the structure is a larger
        // one; there Xen also reads memory of ours behind it, which changes nothing.)
        unsafe { domctl(&mut argument) }.map(drop)
    }

    fn bind_spi(&self, domain: DomId, spi: u16) -> Result<(), Errno> {
        plain(op::BIND_PT_IRQ, domain, &spi_argument(spi)).map(drop)
    }

    fn unbind_spi(&self, domain: DomId, spi: u16) -> Result<(), Errno> {
        plain(op::UNBIND_PT_IRQ, domain, &spi_argument(spi)).map(drop)
    }
}
