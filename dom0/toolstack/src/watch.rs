//! Seeing that domains have ended. Xen raises one event for all of them, without a number.

use board_support_hyp::{Domctl, domctl::DomainInfo};
use proto_xen::{DomId, Errno, sched::ShutdownReason};

/// A domain that has ended and was not destroyed yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Death {
    /// Which.
    pub domain: DomId,
    /// Why, in its own or Xen's words.
    pub reason: ShutdownReason,
}

/// Shows every domain but dom0 to `each`, by rising number.
///
/// # Errors
/// What Xen says.
pub fn scan(hyp: &impl Domctl, mut each: impl FnMut(&DomainInfo)) -> Result<(), Errno> {
    let mut from = DomId(1);
    while let Some(info) = hyp.next_domain(from)? {
        if info.domain.0 >= DomId::FIRST_RESERVED {
            break;
        }
        each(&info);
        from = DomId(info.domain.0 + 1);
    }
    Ok(())
}

/// Shows every domain that has ended to `each`. Those that are being destroyed are left out.
///
/// # Errors
/// What Xen says.
pub fn deaths(hyp: &impl Domctl, mut each: impl FnMut(Death)) -> Result<(), Errno> {
    scan(hyp, |info| {
        if let (Some(reason), false) = (info.shutdown, info.dying) {
            each(Death { domain: info.domain, reason });
        }
    })
}
