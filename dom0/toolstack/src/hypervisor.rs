//! All of Xen that the toolstack asks for.

use board_support_hyp::{Domctl, EventChannels, Foreign, Grants, HvmParams, Physdev, Populate, Sysctl};

/// All of Xen that the toolstack asks for, as one bound.
pub trait Hypervisor:
    Domctl + Populate + Foreign + EventChannels + Grants + HvmParams + Physdev + Sysctl
{
}

impl<T: Domctl + Populate + Foreign + EventChannels + Grants + HvmParams + Physdev + Sysctl> Hypervisor
    for T
{
}
