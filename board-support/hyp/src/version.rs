//! Versions: of Xen, and of the interfaces that come without a promise to stay as they are.

use proto_xen::{
    DomId, Errno,
    domctl::{self, Domctl},
    hypercall::{Hypercall, version},
    sysctl::{self, Sysctl},
};

use crate::{Xen, call};

/// Which versions of its interfaces for dom0 Xen speaks. It does not tell, but refuses the others.
pub trait Interfaces {
    /// Whether domctls of this version are taken.
    ///
    /// # Errors
    /// What Xen says beside that: `EPERM` for any domain but dom0.
    fn speaks_domctl(&self, version: u32) -> Result<bool, Errno>;

    /// Whether sysctls of this version are taken.
    ///
    /// # Errors
    /// What Xen says beside that: `EPERM` for any domain but dom0.
    fn speaks_sysctl(&self, version: u32) -> Result<bool, Errno>;
}

impl Interfaces for Xen {
    fn speaks_domctl(&self, version: u32) -> Result<bool, Errno> {
        // Nobody may pause himself, so this changes nothing. It has no structure of its own, so it is the
        // same in all versions.
        let mut argument = Domctl::new(domctl::op::PAUSE_DOMAIN, DomId::DOM0, &[0u8; 0]);
        argument.interface_version = version;
        let address = core::ptr::from_mut(&mut argument) as u64;
        // SAFETY: the hypercall takes a `Domctl`, which is exclusively ours; this one holds no address.
        match Errno::check(unsafe { call::raw(Hypercall::Domctl, [address, 0, 0, 0, 0]) }) {
            Ok(_) | Err(Errno::EINVAL) => Ok(true),
            Err(Errno::EACCES) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    fn speaks_sysctl(&self, version: u32) -> Result<bool, Errno> {
        let mut argument = Sysctl { cmd: sysctl::op::PHYSINFO, interface_version: version, payload: [0; 16] };
        let address = core::ptr::from_mut(&mut argument) as u64;
        // SAFETY: the hypercall takes a `Sysctl`, which is exclusively ours; this one holds no address, and
        // what it answers, whatever its version, fits the payload, which is as long as Xen's.
        match Errno::check(unsafe { call::raw(Hypercall::Sysctl, [address, 0, 0, 0, 0]) }) {
            Ok(_) => Ok(true),
            Err(Errno::EACCES) => Ok(false),
            Err(errno) => Err(errno),
        }
    }
}

/// Major and minor version of the running Xen.
///
/// # Errors
/// What Xen says; `ENOSYS` where there is none.
pub fn version() -> Result<(u16, u16), Errno> {
    // SAFETY: the operation takes no structure.
    let word = Errno::check(unsafe { call::raw(Hypercall::XenVersion, [version::VERSION, 0, 0, 0, 0]) })?;
    Ok(((word >> 16) as u16, word as u16))
}
