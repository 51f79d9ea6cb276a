//! Xen's version.

use proto_xen::{
    Errno,
    hypercall::{Hypercall, version},
};

use crate::call;

/// Major and minor version of the running Xen.
///
/// # Errors
/// What Xen says; `ENOSYS` where there is none.
pub fn version() -> Result<(u16, u16), Errno> {
    // SAFETY: the operation takes no structure.
    let word = Errno::check(unsafe { call::raw(Hypercall::XenVersion, [version::VERSION, 0, 0, 0, 0]) })?;
    Ok(((word >> 16) as u16, word as u16))
}
