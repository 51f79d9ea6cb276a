//! The hypercalls.

use std::{format, vec::Vec};

use board_support_hyp::{Domctl, EventChannels, Foreign, HvmParams, Physdev, Populate, domctl::DomainInfo};
use proto_xen::{
    DomId, Errno, Gfn, Mfn, Pirq, Port, Sbdf, VcpuId, Virq,
    domctl::{CreateDomain, create_flags},
};

use super::{FakeDomain, FakeMapped, State, World, dirty_page, nic::Owner};

impl State {
    fn domain(&mut self, domain: DomId) -> Result<&mut FakeDomain, Errno> {
        self.domains.get_mut(&domain.0).ok_or(Errno::ESRCH)
    }
}

impl Domctl for World {
    fn create_domain(&self, description: &CreateDomain) -> Result<DomId, Errno> {
        self.call(format!("create flags {:#x}", description.flags))?;
        let mut state = self.state.borrow_mut();
        let id = state.next_domain;
        state.next_domain += 1;
        let iommu = description.flags & create_flags::IOMMU != 0;
        state.domains.insert(id, FakeDomain { iommu, ..FakeDomain::default() });
        Ok(DomId(id))
    }

    fn destroy_domain(&self, domain: DomId) -> Result<(), Errno> {
        self.undo(format!("destroy {domain}"));
        let mut state = self.state.borrow_mut();
        state.nic.assert_not_owned_by(domain);
        let gone = state.domains.remove(&domain.0).expect("a domain is destroyed once");
        state.return_memory(gone.frames.len() as u64);
        assert_eq!(self.mapped.get(), 0, "pages of a destroyed domain are mapped");
        Ok(())
    }

    fn pause(&self, domain: DomId) -> Result<(), Errno> {
        self.undo(format!("pause {domain}"));
        self.state.borrow_mut().domain(domain)?.running = false;
        Ok(())
    }

    fn unpause(&self, domain: DomId) -> Result<(), Errno> {
        self.call(format!("unpause {domain}"))?;
        let mut state = self.state.borrow_mut();
        let domain = state.domain(domain)?;
        assert!(domain.context.is_some(), "a domain without CPU state is started");
        domain.running = true;
        Ok(())
    }

    fn next_domain(&self, from: DomId) -> Result<Option<DomainInfo>, Errno> {
        let state = self.state.borrow();
        Ok(state.domains.range(from.0..).next().map(|(&id, domain)| DomainInfo {
            domain: DomId(id),
            dying: false,
            shutdown: domain.shutdown,
            pages: domain.frames.len() as u64,
            cpu_ns: 0,
        }))
    }

    fn set_max_vcpus(&self, domain: DomId, count: u32) -> Result<(), Errno> {
        self.call(format!("vcpus {domain} {count}"))
    }

    fn set_max_mem(&self, domain: DomId, kib: u64) -> Result<(), Errno> {
        self.call(format!("max_mem {domain} {kib}"))?;
        self.state.borrow_mut().domain(domain)?.max_kib = kib;
        Ok(())
    }

    fn set_paging_mempool_size(&self, domain: DomId, bytes: u64) -> Result<(), Errno> {
        self.call(format!("mempool {domain} {bytes}"))
    }

    fn set_hvm_context(&self, domain: DomId, records: &[u8]) -> Result<(), Errno> {
        self.call(format!("context {domain}"))?;
        self.state.borrow_mut().domain(domain)?.context = Some(records.to_vec());
        Ok(())
    }

    fn iomem_permission(&self, domain: DomId, first: Mfn, count: u64, allow: bool) -> Result<(), Errno> {
        self.call(format!("iomem {domain} {:#x}+{count:#x} {allow}", first.0))?;
        self.state.borrow_mut().domain(domain)?.permitted.push((first.0, count));
        Ok(())
    }

    fn memory_mapping(&self, domain: DomId, at: Gfn, first: Mfn, count: u64, add: bool) -> Result<(), Errno> {
        self.call(format!("mmio {domain} {:#x} <- {:#x}+{count:#x} {add}", at.0, first.0))?;
        let mut state = self.state.borrow_mut();
        state.nic.assert_no_table_in(first.0, count);
        let domain = state.domain(domain)?;
        assert!(domain.permitted.contains(&(first.0, count)), "registers are mapped without a permission");
        Ok(())
    }

    fn assign_device(&self, domain: DomId, device: Sbdf) -> Result<(), Errno> {
        self.call(format!("assign {domain} {device}"))?;
        let mut state = self.state.borrow_mut();
        if !state.domain(domain)?.iommu {
            return Err(Errno::EOPNOTSUPP);
        }
        assert!(!state.domain(domain)?.running, "a device is given to a running domain");
        state.nic.assign(domain)
    }

    fn deassign_device(&self, domain: DomId, device: Sbdf) -> Result<(), Errno> {
        if domain == DomId::IO {
            self.call(format!("release {device}"))?;
            return self.state.borrow_mut().nic.release();
        }
        self.undo(format!("deassign {domain} {device}"));
        let mut state = self.state.borrow_mut();
        assert!(!state.domain(domain)?.running, "a device is taken from a running domain");
        state.nic.deassign(domain)
    }

    fn bind_msi(&self, domain: DomId, pirq: Pirq, vector: u8) -> Result<(), Errno> {
        self.call(format!("bind {domain} pirq {} vector {vector:#x}", pirq.0))?;
        self.state.borrow_mut().nic.bind(domain, pirq, vector)
    }

    fn unbind_msi(&self, domain: DomId, pirq: Pirq, vector: u8) -> Result<(), Errno> {
        self.undo(format!("unbind {domain} pirq {}", pirq.0));
        self.state.borrow_mut().nic.unbind(domain, pirq, vector)
    }
}

impl State {
    /// The test's machine gets back what it gave, in the sizes in which it gave it.
    fn return_memory(&mut self, pages: u64) {
        let singles = (1000 - self.single_pages).min(pages);
        self.single_pages += singles;
        self.large_extents += (pages - singles) / 512;
    }
}

impl Populate for World {
    fn populate(&self, domain: DomId, first_frames: &[Gfn], order: u32) -> Result<usize, Errno> {
        self.call(format!("populate {domain} {} of order {order}", first_frames.len()))?;
        let mut state = self.state.borrow_mut();
        let mut filled = 0;
        for first in first_frames {
            let left = if order == 9 { &mut state.large_extents } else { &mut state.single_pages };
            if *left == 0 {
                break;
            }
            *left -= 1;
            let domain = state.domain(domain)?;
            assert!((domain.frames.len() as u64 + (1 << order)) * 4 <= domain.max_kib, "more than max_mem");
            for frame in first.0..first.0 + (1 << order) {
                let before = domain.frames.insert(frame, dirty_page());
                assert!(before.is_none(), "frame {frame:#x} is populated twice");
            }
            filled += 1;
        }
        Ok(filled)
    }
}

impl Foreign for World {
    type Mapped = FakeMapped;

    fn map(&self, domain: DomId, first: Gfn, count: usize) -> Result<FakeMapped, Errno> {
        self.call(format!("map {domain} {:#x}+{count:#x}", first.0))?;
        let mut state = self.state.borrow_mut();
        let domain = state.domain(domain)?;
        let frame = |gfn: u64| domain.frames.get(&gfn).cloned().ok_or(Errno::EINVAL);
        let pages: Vec<_> = (first.0..first.0 + count as u64).map(frame).collect::<Result<_, _>>()?;
        self.mapped.set(self.mapped.get() + count);
        Ok(FakeMapped { pages, mapped: self.mapped.clone() })
    }
}

impl EventChannels for World {
    fn alloc_unbound(&self, owner: DomId, remote: DomId) -> Result<Port, Errno> {
        self.call(format!("alloc_unbound {owner} for {remote}"))?;
        let mut state = self.state.borrow_mut();
        let port = state.next_port;
        state.next_port += 1;
        state.domain(owner)?.ports.insert(port);
        Ok(Port(port))
    }

    fn bind_interdomain(&self, remote: DomId, remote_port: Port) -> Result<Port, Errno> {
        self.call(format!("bind_interdomain {remote}"))?;
        let mut state = self.state.borrow_mut();
        assert!(state.domain(remote)?.ports.contains(&remote_port.0), "no such port");
        let port = state.next_port;
        state.next_port += 1;
        state.own_ports.insert(port);
        Ok(Port(port))
    }

    fn bind_virq(&self, _virq: Virq, _vcpu: VcpuId) -> Result<Port, Errno> {
        Err(Errno::ENOSYS)
    }

    fn send(&self, _port: Port) -> Result<(), Errno> {
        Ok(())
    }

    fn close(&self, port: Port) -> Result<(), Errno> {
        self.undo("close".into());
        assert!(self.state.borrow_mut().own_ports.remove(&port.0), "a port is closed twice");
        Ok(())
    }

    fn unmask(&self, _port: Port) -> Result<(), Errno> {
        Ok(())
    }
}

impl HvmParams for World {
    fn set_param(&self, domain: DomId, index: u32, value: u64) -> Result<(), Errno> {
        self.call(format!("param {domain} {index}"))?;
        self.state.borrow_mut().domain(domain)?.params.insert(index, value);
        Ok(())
    }

    fn param(&self, domain: DomId, index: u32) -> Result<u64, Errno> {
        self.state.borrow_mut().domain(domain)?.params.get(&index).copied().ok_or(Errno::EINVAL)
    }
}

impl Physdev for World {
    fn map_msix(&self, domain: DomId, device: Sbdf, entry: u16, table_base: u64) -> Result<Pirq, Errno> {
        self.call(format!("map_msix {domain} {device} entry {entry} table {table_base:#x}"))?;
        self.state.borrow_mut().nic.map(Owner::of(domain), entry, table_base)
    }

    fn unmap_pirq(&self, domain: DomId, pirq: Pirq) -> Result<(), Errno> {
        self.undo(format!("unmap_pirq {domain} {}", pirq.0));
        self.state.borrow_mut().nic.unmap(Owner::of(domain), pirq)
    }
}
