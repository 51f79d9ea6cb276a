//! On the host there is no Xen: every call says so.

use proto_xen::Errno;

/// Whether Xen is below us.
#[must_use]
pub fn is_present() -> bool {
    false
}

/// Returns false: there is none.
pub fn init() -> bool {
    false
}

/// Answers `ENOSYS`.
///
/// # Safety
/// None needed; the signature is that of the real one.
pub(super) unsafe fn trap(_number: u64, _args: [u64; 5]) -> i64 {
    -i64::from(Errno::ENOSYS.0)
}
