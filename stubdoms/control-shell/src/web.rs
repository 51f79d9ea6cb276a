//! The way out: one HTTP client for the controller and content servers that rest on the provisioned
//! root, and one of its own for a content server with trust anchors of its own.

use alloc::{sync::Arc, vec::Vec};
use core::net::Ipv4Addr;

use stubdoms_web::{
    client::Client,
    net::Stack,
    tls::{Identity, SetupError, TlsConfig},
};

use proto_errors::ctl;

use crate::{
    clock::{Alarm, TimeOfDay},
    system::System,
    vif::Vif,
};

/// An HTTP client of this domain.
pub(crate) type HttpClient<S> = Client<'static, Vif<S>, Alarm<S>>;

/// The way out.
pub(crate) struct Web<S: System> {
    usual: HttpClient<S>,
    roots: Vec<u8>,
    clock: TimeOfDay<S>,
}

impl<S: System> Web<S> {
    /// A way out over `stack`. `roots` is PEM: whom we trust. Servers that ask who we are see nothing before
    /// [`show`](Self::show).
    ///
    /// # Errors
    /// [`SetupError`] if `roots` cannot be used.
    pub(crate) fn new(
        system: S,
        clock: TimeOfDay<S>,
        stack: &'static Stack<Vif<S>>,
        roots: Vec<u8>,
        hosts: &str,
    ) -> Result<Self, SetupError> {
        let tls = config(&clock, &[&roots], None)?;
        let usual = Client::new(stack, Alarm(system), S::fill);
        usual.set_tls(tls);
        let bad = usual.resolver(|resolver| resolver.set_hosts(hosts));
        if bad > 0 {
            log::warn!("provisioning: hosts: {bad} lines are not an address and names [{}]", ctl::BAD_HOSTS);
        }
        Ok(Self { usual, roots, clock })
    }

    /// Shows this identity to servers that ask, from now on.
    ///
    /// # Errors
    /// [`SetupError`] if `roots` cannot be used any more, which they could be.
    pub(crate) fn show(&self, identity: Identity) -> Result<(), SetupError> {
        self.usual.set_tls(config(&self.clock, &[&self.roots], Some(identity))?);
        Ok(())
    }

    /// The client that trusts the provisioned root.
    pub(crate) fn usual(&self) -> &HttpClient<S> {
        &self.usual
    }

    /// A client that also trusts `anchors`, a list of PEM files, and shows no certificate.
    ///
    /// # Errors
    /// [`SetupError`] if one of them is no certificate.
    pub(crate) fn trusting(&self, anchors: &[Vec<u8>]) -> Result<HttpClient<S>, SetupError> {
        let roots: Vec<&[u8]> =
            core::iter::once(self.roots.as_slice()).chain(anchors.iter().map(Vec::as_slice)).collect();
        Ok(self.usual.trusting(config(&self.clock, &roots, None)?))
    }

    /// Asks these name servers from now on.
    pub(crate) fn set_servers(&self, servers: &[Ipv4Addr]) {
        self.usual.resolver(|resolver| resolver.set_servers(servers));
    }
}

fn config<S: System>(
    clock: &TimeOfDay<S>,
    roots: &[&[u8]],
    identity: Option<Identity>,
) -> Result<TlsConfig, SetupError> {
    TlsConfig::with_provider(S::tls(), roots, identity, Arc::new(clock.for_certificates()))
}
