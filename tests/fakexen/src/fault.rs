//! Calls that fail on purpose, and the record of calls.

use proto_xen::{DomId, Errno};

/// A kind of call. All are hypercalls that can fail on the real Xen as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// `XEN_DOMCTL_createdomain`.
    CreateDomain,
    /// `XEN_DOMCTL_destroydomain`.
    DestroyDomain,
    /// `XEN_DOMCTL_pausedomain`.
    Pause,
    /// `XEN_DOMCTL_unpausedomain`.
    Unpause,
    /// `XEN_SYSCTL_getdomaininfolist`.
    DomainInfo,
    /// `XEN_DOMCTL_max_vcpus`.
    MaxVcpus,
    /// `XEN_DOMCTL_setvcpuaffinity`.
    VcpuAffinity,
    /// `XEN_DOMCTL_max_mem`.
    MaxMem,
    /// `XEN_DOMCTL_set_paging_mempool_size`.
    PagingPool,
    /// `XEN_DOMCTL_settscinfo`.
    Counter,
    /// `XEN_DOMCTL_set_address_size`.
    AddressSize,
    /// `XEN_DOMCTL_cacheflush`.
    CacheFlush,
    /// `XEN_DOMCTL_sethvmcontext`, `XEN_DOMCTL_setvcpucontext`.
    Context,
    /// `XEN_DOMCTL_iomem_permission`.
    IomemPermission,
    /// `XEN_DOMCTL_memory_mapping`.
    MemoryMapping,
    /// `XEN_DOMCTL_assign_device`.
    Assign,
    /// `XEN_DOMCTL_deassign_device`.
    Deassign,
    /// `XEN_DOMCTL_bind_pt_irq`.
    Bind,
    /// `XEN_DOMCTL_unbind_pt_irq`.
    Unbind,
    /// `XEN_SYSCTL_physinfo`.
    Physinfo,
    /// A domctl or sysctl of some version, to see whether Xen speaks it.
    Version,
    /// `XENMEM_populate_physmap`.
    Populate,
    /// `XENMEM_add_to_physmap_batch` of foreign pages.
    MapForeign,
    /// `XENMEM_remove_from_physmap` of a foreign page.
    UnmapForeign,
    /// `XENMEM_acquire_resource` of a grant table.
    AcquireResource,
    /// `HVMOP_set_param`.
    SetParam,
    /// `HVMOP_get_param`.
    GetParam,
    /// `EVTCHNOP_alloc_unbound`.
    AllocUnbound,
    /// `EVTCHNOP_bind_interdomain`.
    BindInterdomain,
    /// `EVTCHNOP_bind_virq`.
    BindVirq,
    /// `EVTCHNOP_send`.
    Send,
    /// `EVTCHNOP_status`.
    Status,
    /// `EVTCHNOP_close`.
    Close,
    /// `EVTCHNOP_unmask`.
    Unmask,
    /// `PHYSDEVOP_map_pirq`.
    MapPirq,
    /// `PHYSDEVOP_unmap_pirq`.
    UnmapPirq,
    /// `GNTTABOP_map_grant_ref`.
    MapGrant,
    /// `GNTTABOP_unmap_grant_ref`.
    UnmapGrant,
    /// `GNTTABOP_copy`.
    CopyGrant,
    /// `CONSOLEIO_write`.
    ConsoleWrite,
    /// `CONSOLEIO_read`.
    ConsoleRead,
}

/// A call that is to fail, counted from [`World::restart`](crate::World::restart) on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// How many such calls work before it, from 0.
    pub after: usize,
    /// Of which kind; any if `None`.
    pub call: Option<Call>,
    /// Whose; anybody's if `None`.
    pub caller: Option<DomId>,
    /// How it fails.
    pub errno: Errno,
    /// How many such calls fail, one after the other.
    pub times: usize,
}

impl Fault {
    /// The call after `after` others, of whatever kind and by whomever, fails with `EIO`.
    #[must_use]
    pub const fn nth(after: usize) -> Self {
        Self { after, call: None, caller: None, errno: Errno::EIO, times: 1 }
    }

    /// Only calls of this kind count.
    #[must_use]
    pub const fn of(self, call: Call) -> Self {
        Self { call: Some(call), ..self }
    }

    /// Only calls of this domain count.
    #[must_use]
    pub const fn by(self, caller: DomId) -> Self {
        Self { caller: Some(caller), ..self }
    }

    /// It fails with this error number.
    #[must_use]
    pub const fn with(self, errno: Errno) -> Self {
        Self { errno, ..self }
    }

    /// So many of them fail, as when somebody tries again at once. At least one does.
    #[must_use]
    pub const fn times(self, times: usize) -> Self {
        Self { times, ..self }
    }
}

/// The record of calls, and what is to go wrong.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// Texts of the calls, while they are recorded.
    pub(crate) texts: Option<Vec<String>>,
    fault: Option<Fault>,
    /// The text of the call that failed on purpose.
    pub(crate) hit: Option<String>,
}

impl Record {
    /// Forgets everything, and records from now on.
    pub(crate) fn restart(&mut self, fault: Option<Fault>) {
        *self = Self { texts: Some(Vec::new()), fault, hit: None };
    }

    /// Has a call fail, without a record: for runs that make very many.
    pub(crate) fn fail(&mut self, fault: Fault) {
        *self = Self { texts: None, fault: Some(fault), hit: None };
    }

    /// Notes something that is no call, such as a write to a device.
    pub(crate) fn note(&mut self, text: impl FnOnce() -> String) {
        if let Some(texts) = &mut self.texts {
            texts.push(text());
        }
    }

    /// Notes a call and says whether it is to fail.
    pub(crate) fn call(&mut self, caller: DomId, call: Call, text: impl Fn() -> String) -> Result<(), Errno> {
        self.note(&text);
        let Some(fault) = &mut self.fault else { return Ok(()) };
        if fault.call.is_some_and(|of| of != call) || fault.caller.is_some_and(|by| by != caller) {
            return Ok(());
        }
        if fault.after > 0 {
            fault.after -= 1;
            return Ok(());
        }
        let errno = fault.errno;
        fault.times = fault.times.saturating_sub(1);
        if fault.times == 0 {
            self.fault = None;
        }
        self.hit = Some(text());
        Err(errno)
    }
}
