//! The machine as a whole.

use proto_xen::{
    DomId, Errno,
    domctl::GetDomainInfo,
    hypercall::Hypercall,
    sysctl::{self, GetDomainInfoList, INTERFACE_VERSION, Physinfo, op},
};
use zerocopy::{FromBytes, IntoBytes};

use crate::{Xen, call};

/// The machine as a whole, for dom0.
pub trait Sysctl {
    /// CPUs and memory.
    ///
    /// # Errors
    /// What Xen says: `EACCES` if its interface has another version.
    fn physinfo(&self) -> Result<Physinfo, Errno>;
}

/// The domain with the lowest number that is not below `from`.
pub(crate) fn first_domain_from(from: DomId) -> Result<Option<GetDomainInfo>, Errno> {
    // One entry of Xen's, with room for what later fields it may have.
    let mut entry = [0u64; 32];
    let list = GetDomainInfoList {
        first_domain: from.0,
        max_domains: 1,
        buffer: entry.as_mut_ptr() as u64,
        ..GetDomainInfoList::default()
    };
    let mut argument = sysctl::Sysctl {
        cmd: op::GET_DOMAIN_INFO_LIST,
        interface_version: INTERFACE_VERSION,
        payload: [0; 16],
    };
    argument.payload.as_mut_bytes()[..size_of_val(&list)].copy_from_slice(list.as_bytes());
    let address = core::ptr::from_mut(&mut argument) as u64;
    // SAFETY: the hypercall takes a `Sysctl`, which is exclusively ours, and writes at most one entry
    // to the buffer, which is longer than that.
    Errno::check(unsafe { call::raw(Hypercall::Sysctl, [address, 0, 0, 0, 0]) })?;
    let answer = GetDomainInfoList::read_from_prefix(argument.payload.as_bytes());
    let (answer, _) = answer.map_err(|_| Errno::EINVAL)?;
    if answer.num_domains == 0 {
        return Ok(None);
    }
    // The entry is written behind the compiler's back, through its address.
    let entry = core::hint::black_box(entry);
    GetDomainInfo::read_from_prefix(entry.as_bytes()).map(|(info, _)| Some(info)).map_err(|_| Errno::EINVAL)
}

impl Sysctl for Xen {
    fn physinfo(&self) -> Result<Physinfo, Errno> {
        let mut argument =
            sysctl::Sysctl { cmd: op::PHYSINFO, interface_version: INTERFACE_VERSION, payload: [0; 16] };
        let address = core::ptr::from_mut(&mut argument) as u64;
        // SAFETY: the hypercall takes a `Sysctl`, which is exclusively ours, and touches no other
        // memory for this subcommand.
        Errno::check(unsafe { call::raw(Hypercall::Sysctl, [address, 0, 0, 0, 0]) })?;
        Physinfo::read_from_prefix(argument.payload.as_bytes())
            .map(|(physinfo, _)| physinfo)
            .map_err(|_| Errno::EINVAL)
    }
}
