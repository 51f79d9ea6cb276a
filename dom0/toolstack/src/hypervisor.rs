//! All of Xen that the toolstack asks for.

use board_support_hyp::{Domctl, EventChannels, Foreign, HvmParams, Physdev, Populate};

/// All of Xen that the toolstack asks for, as one bound.
pub trait Hypervisor: Domctl + Populate + Foreign + EventChannels + HvmParams + Physdev {}

impl<T: Domctl + Populate + Foreign + EventChannels + HvmParams + Physdev> Hypervisor for T {}
