//! Xen's version, parameters, entropy.

use board_support_arch::interrupts;
use board_support_hyp::{HvmParams, Xen, version};
use board_support_rt::entropy;
use proto_xen::{DomId, Errno, hvm::param};

use crate::tally::{Tally, Verdict, ensure, same};

pub(crate) async fn check(tally: &mut Tally) {
    tally.case("xen_is_the_pinned_one", xen_version()).await;
    tally.case("upcall_vector_is_set", upcall()).await;
    tally.case("protected_parameter_is_refused", protected()).await;
    tally.case("unknown_parameter_is_refused", unknown()).await;
    tally.case("entropy_is_not_constant", random()).await;
}

fn xen_version() -> Verdict {
    same!(version::version(), Ok((4, 20)), "version");
    Ok(())
}

fn upcall() -> Verdict {
    if let Some(via) = interrupts::CALLBACK_VIA {
        same!(Xen.param(DomId::SELF, param::CALLBACK_IRQ), Ok(via), "parameter");
    }
    Ok(())
}

/// What Xen says of [`param::TRIPLE_FAULT_REASON`].
#[cfg(target_arch = "x86_64")]
const PROTECTED: Errno = Errno::EPERM;
/// Nothing is known there by that number.
#[cfg(target_arch = "aarch64")]
const PROTECTED: Errno = Errno::EINVAL;

fn protected() -> Verdict {
    // What a triple fault counts as is dom0's to say, and it did.
    let set = Xen.set_param(DomId::SELF, param::TRIPLE_FAULT_REASON, 0);
    same!(set, Err(PROTECTED), "setting it");
    Ok(())
}

fn unknown() -> Verdict {
    same!(Xen.param(DomId::SELF, 1000), Err(Errno::EINVAL), "parameter 1000");
    same!(Xen.set_param(DomId::SELF, 1000, 1), Err(Errno::EINVAL), "setting it");
    Ok(())
}

fn random() -> Verdict {
    let mut blocks = [[0u8; 32]; 16];
    for block in &mut blocks {
        entropy::fill(block);
    }
    for (place, block) in blocks.iter().enumerate() {
        ensure!(!blocks[place + 1..].contains(block), "a block came twice");
    }
    let ones: u32 = blocks.iter().flatten().map(|byte| byte.count_ones()).sum();
    // 4096 bits: eleven standard deviations around the middle.
    ensure!((1696..2400).contains(&ones), "{ones} ones of 4096 bits");
    Ok(())
}
