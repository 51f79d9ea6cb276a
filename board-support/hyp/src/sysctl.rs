//! The machine as a whole.

use proto_xen::{
    Errno,
    hypercall::Hypercall,
    sysctl::{self, INTERFACE_VERSION, Physinfo, op},
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
