//! The builder's calls: domains, their parameters, the machine as a whole.

use board_support_hyp::{Domctl, HvmParams, Interfaces, Sysctl, domctl::DomainInfo};
use proto_xen::{
    DomId, Errno, Gfn, Mfn, Pirq, Sbdf, VcpuId, Virq,
    arch_arm::VcpuGuestContext,
    domctl::{CreateDomain, create_flags, emulation},
    hvm::param,
    sysctl::Physinfo,
};

use zerocopy::IntoBytes;

use crate::{
    fault::Call,
    world::{Architecture, Dom, Domain, State},
};

/// Pages that Xen takes for a domain: itself, shared_info, what its grant table starts with; and for a vCPU.
const DOMAIN_PAGES: u64 = 8;
const VCPU_PAGES: u64 = 4;

/// The most vCPUs of a translated guest.
const MAX_VCPUS: u32 = 128;

/// Pages of a page table pool below which Xen does not run a translated guest.
const MIN_POOL_PAGES: u64 = 256;

fn check_description(description: &CreateDomain, machine: Architecture) -> Result<(), Errno> {
    let known = create_flags::HVM | create_flags::HAP | create_flags::IOMMU;
    let translated = create_flags::HVM | create_flags::HAP;
    let CreateDomain { flags, max_vcpus, max_grant_frames, max_maptrack_frames, grant_opts, arch, .. } =
        *description;
    if flags & !known != 0 || flags & translated != translated {
        return Err(Errno::EINVAL);
    }
    if max_vcpus == 0 || max_vcpus > MAX_VCPUS || !(1..=2).contains(&grant_opts) {
        return Err(Errno::EINVAL);
    }
    assert!(max_grant_frames > 0 && max_maptrack_frames > 0, "a domain without a grant table");
    let right = match machine {
        // All that a PVH guest may have.
        Architecture::X86 => arch == [emulation::LAPIC, 0, 0, 0],
        // The machine's own interrupt controller. There is no IOMMU.
        Architecture::Arm => arch[0] == 0 && flags & create_flags::IOMMU == 0,
    };
    if right { Ok(()) } else { Err(Errno::EOPNOTSUPP) }
}

impl State {
    /// A domain, for a call that there is on Arm alone.
    fn arm_domain(&mut self, domain: DomId) -> Result<&mut Dom, Errno> {
        if self.machine.architecture != Architecture::Arm {
            return Err(Errno::ENOSYS);
        }
        self.domain_mut(domain)
    }
}

impl Domctl for Domain {
    fn create_domain(&self, description: &CreateDomain) -> Result<DomId, Errno> {
        let text = || format!("create flags {:#x}", description.flags);
        let mut state = self.privileged(Call::CreateDomain, text)?;
        check_description(description, state.machine.architecture)?;
        let overhead = DOMAIN_PAGES + VCPU_PAGES * u64::from(description.max_vcpus);
        if !state.free.take(overhead) {
            return Err(Errno::ENOMEM);
        }
        // Xen goes on from the last number, and comes to old ones after all others.
        let next = |id: u16| if id + 1 >= DomId::FIRST_RESERVED { 1 } else { id + 1 };
        let mut number = next(state.last_domid);
        while state.domains.contains_key(&DomId(number)) {
            number = next(number);
        }
        state.last_domid = number;
        let mut dom = Dom::new();
        dom.iommu = description.flags & create_flags::IOMMU != 0;
        dom.pauses = 1;
        dom.nr_spis = if state.machine.architecture == Architecture::Arm { description.arch[1] } else { 0 };
        dom.max_vcpus = description.max_vcpus;
        dom.vcpus = false;
        dom.max_pages = 0;
        dom.overhead = overhead;
        dom.max_port = description.max_evtchn_port;
        dom.grant_frames = description.max_grant_frames.unsigned_abs();
        // 256 entries of 16 bytes a frame.
        dom.max_maptrack = description.max_maptrack_frames.unsigned_abs() as usize * 256;
        dom.refresh();
        state.domains.insert(DomId(number), dom);
        Ok(DomId(number))
    }

    fn destroy_domain(&self, domain: DomId) -> Result<(), Errno> {
        let mut state = self.privileged(Call::DestroyDomain, || format!("destroy {domain}"))?;
        let dom = state.domains.get_mut(&domain).ok_or(Errno::ESRCH)?;
        if domain == self.id() {
            return Err(Errno::EINVAL);
        }
        assert!(!dom.dying, "{domain} is destroyed twice");
        dom.dying = true;
        dom.refresh();
        let handles: Vec<u32> = dom.maptrack.keys().copied().collect();
        let pool = core::mem::take(&mut dom.paging_pool);
        dom.grants.clear();
        state.pci.assert_nothing_of(domain);
        state.close_all_ports(domain);
        for handle in handles {
            let unmapped = state.unmap_grant(domain, handle);
            assert_eq!(unmapped, Ok(()), "the handle was listed above");
        }
        state.free.give(pool);
        state.raise_virq(DomId::DOM0, Virq::DOM_EXC);
        state.reap(domain);
        Ok(())
    }

    fn pause(&self, domain: DomId) -> Result<(), Errno> {
        let mut state = self.privileged(Call::Pause, || format!("pause {domain}"))?;
        if domain == self.id() {
            return Err(Errno::EINVAL);
        }
        let dom = state.domain_mut(domain)?;
        dom.pauses += 1;
        dom.refresh();
        Ok(())
    }

    fn unpause(&self, domain: DomId) -> Result<(), Errno> {
        let mut state = self.privileged(Call::Unpause, || format!("unpause {domain}"))?;
        let dom = state.domain_mut(domain)?;
        assert!(dom.context.is_some(), "{domain} is let run without a CPU state");
        assert!(dom.vcpus, "{domain} is let run without a vCPU");
        assert!(dom.grants_nothing(), "{domain} is let run with grants in its table that dom0 wrote");
        dom.pauses = dom.pauses.checked_sub(1).ok_or(Errno::EINVAL)?;
        dom.refresh();
        if dom.life.get() && !core::mem::replace(&mut dom.own.began, true) {
            state.beginning.push(domain);
        }
        Ok(())
    }

    fn next_domain(&self, from: DomId) -> Result<Option<DomainInfo>, Errno> {
        let state = self.privileged(Call::DomainInfo, || format!("domain from {from}"))?;
        Ok(state.domains.range(from..).next().map(|(&domain, dom)| DomainInfo {
            domain,
            dying: dom.dying,
            shutdown: dom.shutdown,
            pages: dom.frames.len() as u64,
            cpu_ns: dom.own.cpu_ns,
            blocked: dom.own.blocked,
        }))
    }

    fn set_max_vcpus(&self, domain: DomId, count: u32) -> Result<(), Errno> {
        let mut state = self.privileged(Call::MaxVcpus, || format!("vcpus {domain} {count}"))?;
        let dom = state.domain_mut(domain)?;
        // It was fixed when the domain was made; this makes the vCPUs.
        if domain == self.id() || count != dom.max_vcpus {
            return Err(Errno::EINVAL);
        }
        dom.vcpus = true;
        Ok(())
    }

    fn set_vcpu_affinity(&self, domain: DomId, vcpu: VcpuId, cpus: u64) -> Result<(), Errno> {
        let text = || format!("affinity {domain} vcpu {} cpus {cpus:#x}", vcpu.0);
        let mut state = self.privileged(Call::VcpuAffinity, text)?;
        let online = (1u64 << state.machine.cpus) - 1;
        let dom = state.domain_mut(domain)?;
        if !dom.vcpus || vcpu.0 >= dom.max_vcpus {
            return Err(Errno::ESRCH);
        }
        if cpus & online == 0 {
            return Err(Errno::EINVAL);
        }
        dom.affinity.insert(vcpu.0, cpus & online);
        Ok(())
    }

    fn set_max_mem(&self, domain: DomId, kib: u64) -> Result<(), Errno> {
        let mut state = self.privileged(Call::MaxMem, || format!("max_mem {domain} {kib}"))?;
        state.domain_mut(domain)?.max_pages = kib / 4;
        Ok(())
    }

    fn set_paging_mempool_size(&self, domain: DomId, bytes: u64) -> Result<(), Errno> {
        let mut state = self.privileged(Call::PagingPool, || format!("mempool {domain} {bytes}"))?;
        let state = &mut *state;
        let dom = state.domains.get_mut(&domain).filter(|dom| !dom.dying).ok_or(Errno::ESRCH)?;
        let pages = bytes / 4096;
        assert!(pages >= MIN_POOL_PAGES, "a pool of {pages} pages for page tables");
        state.free.give(core::mem::take(&mut dom.paging_pool));
        if !state.free.take(pages) {
            return Err(Errno::ENOMEM);
        }
        dom.paging_pool = pages;
        Ok(())
    }

    fn set_hvm_context(&self, domain: DomId, records: &[u8]) -> Result<(), Errno> {
        let mut state = self.privileged(Call::Context, || format!("context {domain}"))?;
        if state.machine.architecture != Architecture::X86 {
            return Err(Errno::ENOSYS);
        }
        let dom = state.domain_mut(domain)?;
        if !dom.vcpus || !is_context(records) {
            return Err(Errno::EINVAL);
        }
        dom.context = Some(records.to_vec());
        Ok(())
    }

    fn iomem_permission(&self, domain: DomId, first: Mfn, count: u64, allow: bool) -> Result<(), Errno> {
        let text = || format!("iomem {domain} {:#x}+{count:#x} {allow}", first.0);
        let mut state = self.privileged(Call::IomemPermission, text)?;
        // What it gives up it does not get back, and cannot hand on any more.
        assert!(allow || self.resolve(domain) != DomId::DOM0, "dom0 gives up its right to {:#x}", first.0);
        let iomem = &mut state.domain_mut(domain)?.iomem;
        if allow {
            iomem.insert((first.0, count));
        } else {
            iomem.remove(&(first.0, count));
        }
        Ok(())
    }

    fn memory_mapping(&self, domain: DomId, at: Gfn, first: Mfn, count: u64, add: bool) -> Result<(), Errno> {
        let text = || format!("mmio {domain} {:#x} <- {:#x}+{count:#x} {add}", at.0, first.0);
        let mut state = self.privileged(Call::MemoryMapping, text)?;
        state.pci.assert_no_table_in(first.0, count);
        let dom = state.domain_mut(domain)?;
        if !dom.iomem.contains(&(first.0, count)) {
            return Err(Errno::EPERM);
        }
        if add {
            let memory = dom.frames.range(at.0..at.0 + count).next();
            assert!(memory.is_none(), "registers are mapped over memory of {domain}");
            dom.mmio.insert((at.0, first.0, count));
        } else {
            dom.mmio.remove(&(at.0, first.0, count));
        }
        Ok(())
    }

    fn assign_device(&self, domain: DomId, device: Sbdf) -> Result<(), Errno> {
        let mut state = self.privileged(Call::Assign, || format!("assign {domain} {device}"))?;
        let dom = state.domain_mut(domain)?;
        if !dom.iommu {
            return Err(Errno::EOPNOTSUPP);
        }
        assert!(dom.pauses > 0, "a device is given to {domain} while it runs");
        state.pci.assign(device, domain)
    }

    fn deassign_device(&self, domain: DomId, device: Sbdf) -> Result<(), Errno> {
        if domain == DomId::IO {
            let mut state = self.privileged(Call::Deassign, || format!("release {device}"))?;
            return state.pci.release(device);
        }
        let mut state = self.privileged(Call::Deassign, || format!("deassign {domain} {device}"))?;
        let runs = state.domain_mut(domain)?.life.get();
        assert!(!runs, "a device is taken from {domain} while it runs");
        state.pci.deassign(device, domain)
    }

    fn bind_msi(&self, domain: DomId, pirq: Pirq, vector: u8) -> Result<(), Errno> {
        let text = || format!("bind {domain} pirq {} vector {vector:#x}", pirq.0);
        let mut state = self.privileged(Call::Bind, text)?;
        state.domain_mut(domain)?;
        state.pci.bind(domain, pirq, vector)
    }

    fn unbind_msi(&self, domain: DomId, pirq: Pirq, vector: u8) -> Result<(), Errno> {
        let mut state = self.privileged(Call::Unbind, || format!("unbind {domain} pirq {}", pirq.0))?;
        state.pci.unbind(domain, pirq, vector)
    }

    fn set_counter_native(&self, domain: DomId) -> Result<(), Errno> {
        let mut state = self.privileged(Call::Counter, || format!("native counter {domain}"))?;
        if state.machine.architecture != Architecture::X86 {
            return Err(Errno::ENOSYS);
        }
        // Xen stops and lets go each vCPU for it.
        assert!(domain != self.id(), "a domain sets its own counter");
        let dom = state.domain_mut(domain)?;
        assert!(dom.vcpus, "{domain} has no vCPU whose counter could be set");
        Ok(())
    }

    fn set_address_size(&self, domain: DomId, bits: u32) -> Result<(), Errno> {
        let text = || format!("address size {domain} {bits}");
        let mut state = self.privileged(Call::AddressSize, text)?;
        let dom = state.arm_domain(domain)?;
        assert!(dom.frames.is_empty(), "{domain} has memory before the width of its addresses is known");
        if bits == 64 { Ok(()) } else { Err(Errno::EINVAL) }
    }

    fn cache_flush(&self, domain: DomId, first: Gfn, count: u64) -> Result<(), Errno> {
        let text = || format!("flush {domain} {:#x}+{count:#x}", first.0);
        let mut state = self.privileged(Call::CacheFlush, text)?;
        let dom = state.arm_domain(domain)?;
        let all = (first.0..first.0 + count).all(|gfn| dom.frames.contains_key(&gfn));
        assert!(all, "frames of {domain} are flushed that it does not have");
        Ok(())
    }

    fn set_vcpu_context(&self, domain: DomId, vcpu: VcpuId, state: &VcpuGuestContext) -> Result<(), Errno> {
        let mut world = self.privileged(Call::Context, || format!("context {domain} vcpu {}", vcpu.0))?;
        let dom = world.arm_domain(domain)?;
        if !dom.vcpus || vcpu.0 >= dom.max_vcpus {
            return Err(Errno::EINVAL);
        }
        dom.context = Some(state.as_bytes().to_vec());
        Ok(())
    }

    fn bind_spi(&self, domain: DomId, spi: u16) -> Result<(), Errno> {
        let mut state = self.privileged(Call::Bind, || format!("bind {domain} spi {spi}"))?;
        let taken = state.domains.values().any(|dom| dom.spis.contains(&spi));
        let dom = state.arm_domain(domain)?;
        let shared = 32..32 + dom.nr_spis;
        if !shared.contains(&u32::from(spi)) {
            return Err(Errno::EINVAL);
        }
        if taken {
            return Err(Errno::EBUSY);
        }
        dom.spis.insert(spi);
        Ok(())
    }

    fn unbind_spi(&self, domain: DomId, spi: u16) -> Result<(), Errno> {
        let mut state = self.privileged(Call::Unbind, || format!("unbind {domain} spi {spi}"))?;
        if state.machine.architecture != Architecture::Arm {
            return Err(Errno::ENOSYS);
        }
        let dom = state.domains.get_mut(&domain).ok_or(Errno::ESRCH)?;
        if !dom.spis.contains(&spi) {
            return Err(Errno::EINVAL);
        }
        if !dom.dying {
            return Err(Errno::EBUSY);
        }
        dom.spis.remove(&spi);
        Ok(())
    }
}

/// Whether these are records as Xen takes them: a header first, an end last, none longer than the rest.
fn is_context(records: &[u8]) -> bool {
    const HEADER: u16 = 1;
    const END: u16 = 0;
    let mut rest = records;
    let mut first = true;
    while let Some((descriptor, behind)) = rest.split_first_chunk::<8>() {
        let kind = u16::from_le_bytes([descriptor[0], descriptor[1]]);
        let length = u32::from_le_bytes([descriptor[4], descriptor[5], descriptor[6], descriptor[7]]);
        if core::mem::take(&mut first) != (kind == HEADER) {
            return false;
        }
        if kind == END {
            return length == 0 && behind.is_empty();
        }
        let Some(next) = behind.get(length as usize..) else { return false };
        rest = next;
    }
    false
}

impl HvmParams for Domain {
    fn set_param(&self, domain: DomId, index: u32, value: u64) -> Result<(), Errno> {
        let mut state = self.call(Call::SetParam, || format!("param {domain} {index}"))?;
        let target = self.resolve(domain);
        if target != self.id() && self.id() != DomId::DOM0 {
            return Err(Errno::EPERM);
        }
        // Where its console is, and what a triple fault means, is not for the guest to say.
        let for_the_builder = [param::CONSOLE_PFN, param::CONSOLE_EVTCHN, param::TRIPLE_FAULT_REASON];
        if self.id() != DomId::DOM0 && for_the_builder.contains(&index) {
            return Err(Errno::EPERM);
        }
        state.domain_mut(target)?.params.insert(index, value);
        Ok(())
    }

    fn param(&self, domain: DomId, index: u32) -> Result<u64, Errno> {
        let mut state = self.call(Call::GetParam, || format!("get param {domain} {index}"))?;
        let target = self.resolve(domain);
        if target != self.id() && self.id() != DomId::DOM0 {
            return Err(Errno::EPERM);
        }
        // One that was never set is zero.
        Ok(state.domain_mut(target)?.params.get(&index).copied().unwrap_or(0))
    }
}

impl Sysctl for Domain {
    fn physinfo(&self) -> Result<Physinfo, Errno> {
        let state = self.privileged(Call::Physinfo, || "physinfo".into())?;
        let of_domains: u64 = state.domains.values().map(|dom| dom.frames.len() as u64).sum();
        Ok(Physinfo {
            threads_per_core: 1,
            cores_per_socket: state.machine.cpus,
            nr_cpus: state.machine.cpus,
            max_cpu_id: state.machine.cpus - 1,
            total_pages: state.free.pages() + of_domains,
            free_pages: state.free.pages(),
            ..Physinfo::default()
        })
    }
}

impl Interfaces for Domain {
    fn speaks_domctl(&self, version: u32) -> Result<bool, Errno> {
        let state = self.privileged(Call::Version, || format!("domctl version {version:#x}"))?;
        Ok(version == state.machine.domctl_version)
    }

    fn speaks_sysctl(&self, version: u32) -> Result<bool, Errno> {
        let state = self.privileged(Call::Version, || format!("sysctl version {version:#x}"))?;
        Ok(version == state.machine.sysctl_version)
    }
}
