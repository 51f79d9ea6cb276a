//! TLS 1.2 and 1.3 as a client, over rustls without `std`.
//!
//! [`TlsConfig`] holds what is trusted and who we are; [`Session`] is one connection as a machine: bytes in, bytes
//! out. A server without a certificate, or with one that does not lead to a provisioned root, is refused. A
//! connection that ends without `close_notify` is truncated.

mod config;
mod error;
mod identity;
mod resumption;
mod session;

pub use config::{SetupError, TlsConfig, WallClock, provider};
pub use error::{CertificateFault, TlsError};
pub use identity::{Identity, KeyUnusable, SignP256};
pub use rustls::crypto::CryptoProvider;
pub use session::Session;

#[cfg(test)]
mod nameless;
#[cfg(test)]
mod tests;
