//! Undoing what was done in Xen.

use core::fmt;

use proto_errors::build;
use proto_xen::Errno;

/// How often an undoing is tried. Xen may be short of memory for a moment; beyond that there is no reason for
/// which it refuses.
const ATTEMPTS: usize = 3;

/// Undoes something. If Xen refuses to the end, a line says what is left behind.
pub(crate) fn undo(left: fmt::Arguments<'_>, call: impl Fn() -> Result<(), Errno>) {
    let mut last = Ok(());
    for _ in 0..ATTEMPTS {
        last = call();
        if last.is_ok() {
            return;
        }
    }
    if let Err(errno) = last {
        log::error!("{left}: {errno} [{}]", build::NOT_UNDONE);
    }
}
