//! The real Xen and the real runtime.

use board_support_hyp::Xen;
use board_support_rt::{Domain, entropy};
use stubdoms_vault_shell::System;

/// This domain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Device;

impl System for Device {
    type Xen = Xen;
    type Runtime = Domain;

    fn xen(&self) -> &Xen {
        &Xen
    }

    fn runtime(&self) -> &Domain {
        &Domain
    }

    fn fill(bytes: &mut [u8]) {
        entropy::fill(bytes);
    }
}
