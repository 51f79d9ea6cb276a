//! Parameters of translated guests.

use proto_xen::{
    DomId, Errno,
    hvm::{Param, op},
    hypercall::Hypercall,
};

use crate::{Xen, call};

/// Parameters of translated guests, by index (`proto_xen::hvm::param`).
pub trait HvmParams {
    /// Sets a parameter of `domain`.
    ///
    /// # Errors
    /// What Xen says: `EPERM` or `EINVAL` if it may not be set.
    fn set_param(&self, domain: DomId, index: u32, value: u64) -> Result<(), Errno>;

    /// Reads a parameter of `domain`.
    ///
    /// # Errors
    /// What Xen says.
    fn param(&self, domain: DomId, index: u32) -> Result<u64, Errno>;
}

impl HvmParams for Xen {
    fn set_param(&self, domain: DomId, index: u32, value: u64) -> Result<(), Errno> {
        let mut argument = Param { domid: domain.0, padding: 0, index, value };
        // SAFETY: the operation takes a `Param` and touches no other memory.
        unsafe { call::with(Hypercall::HvmOp, op::SET_PARAM, &mut argument) }.map(drop)
    }

    fn param(&self, domain: DomId, index: u32) -> Result<u64, Errno> {
        let mut argument = Param { domid: domain.0, padding: 0, index, value: 0 };
        // SAFETY: the operation takes a `Param` and touches no other memory.
        unsafe { call::with(Hypercall::HvmOp, op::GET_PARAM, &mut argument) }?;
        Ok(argument.value)
    }
}
