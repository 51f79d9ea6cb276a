//! The way out: one HTTP client for the controller and content servers that rest on the provisioned
//! root, and one of its own for a content server with trust anchors of its own.

use alloc::{sync::Arc, vec::Vec};
use core::net::Ipv4Addr;

use board_support_rt::entropy;
use stubdoms_web::{
    client::Client,
    net::Stack,
    tls::{Identity, SetupError, TlsConfig},
};

use proto_errors::ctl;

use crate::{
    clock::{Alarm, TimeOfDay},
    vif::Vif,
};

/// An HTTP client of this domain.
pub(crate) type HttpClient = Client<'static, Vif, Alarm>;

/// The way out.
pub(crate) struct Web {
    usual: HttpClient,
    roots: Vec<u8>,
}

impl Web {
    /// A way out over `stack`. `roots` is PEM: whom we trust. Servers that ask who we are see nothing before
    /// [`show`](Self::show).
    ///
    /// # Errors
    /// [`SetupError`] if `roots` cannot be used.
    pub(crate) fn new(stack: &'static Stack<Vif>, roots: Vec<u8>, hosts: &str) -> Result<Self, SetupError> {
        let tls = TlsConfig::new(&[&roots], None, Arc::new(TimeOfDay))?;
        let usual = Client::new(stack, Alarm, entropy::fill);
        usual.set_tls(tls);
        let bad = usual.resolver(|resolver| resolver.set_hosts(hosts));
        if bad > 0 {
            log::warn!("provisioning: hosts: {bad} lines are not an address and names [{}]", ctl::BAD_HOSTS);
        }
        Ok(Self { usual, roots })
    }

    /// Shows this identity to servers that ask, from now on.
    ///
    /// # Errors
    /// [`SetupError`] if `roots` cannot be used any more, which they could be.
    pub(crate) fn show(&self, identity: Identity) -> Result<(), SetupError> {
        self.usual.set_tls(TlsConfig::new(&[&self.roots], Some(identity), Arc::new(TimeOfDay))?);
        Ok(())
    }

    /// The client that trusts the provisioned root.
    pub(crate) fn usual(&self) -> &HttpClient {
        &self.usual
    }

    /// A client that also trusts `anchors`, a list of PEM files, and shows no certificate.
    ///
    /// # Errors
    /// [`SetupError`] if one of them is no certificate.
    pub(crate) fn trusting(&self, anchors: &[Vec<u8>]) -> Result<HttpClient, SetupError> {
        let roots: Vec<&[u8]> =
            core::iter::once(self.roots.as_slice()).chain(anchors.iter().map(Vec::as_slice)).collect();
        Ok(self.usual.trusting(TlsConfig::new(&roots, None, Arc::new(TimeOfDay))?))
    }

    /// Asks these name servers from now on.
    pub(crate) fn set_servers(&self, servers: &[Ipv4Addr]) {
        self.usual.resolver(|resolver| resolver.set_servers(servers));
    }
}
