//! dom0's own ports.

use proto_xen::{DomId, Port};

use crate::{
    error::{BuildError, Step},
    hypervisor::Hypervisor,
    undo::undo,
};

/// A port of dom0. Closed when dropped.
#[derive(Debug)]
pub struct OwnPort<'h, H: Hypervisor> {
    hyp: &'h H,
    port: Port,
}

impl<'h, H: Hypervisor> OwnPort<'h, H> {
    /// Makes an event channel between `domain` and dom0: the domain's port, ready for use, and ours.
    ///
    /// # Errors
    /// [`BuildError::Xen`] at [`Step::Port`].
    pub fn connect(hyp: &'h H, domain: DomId) -> Result<(Port, Self), BuildError> {
        let theirs = hyp.alloc_unbound(domain, DomId::DOM0).map_err(BuildError::at(Step::Port))?;
        let ours = hyp.bind_interdomain(domain, theirs).map_err(BuildError::at(Step::Port))?;
        Ok((theirs, Self { hyp, port: ours }))
    }

    /// Its number.
    pub fn port(&self) -> Port {
        self.port
    }

    /// Gives the port to someone else, who closes it.
    pub fn into_port(self) -> Port {
        let port = self.port;
        core::mem::forget(self);
        port
    }
}

impl<H: Hypervisor> Drop for OwnPort<'_, H> {
    fn drop(&mut self) {
        undo(format_args!("port {}: not closed", self.port.0), || self.hyp.close(self.port));
    }
}
