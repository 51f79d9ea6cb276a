//! The way to the controller: name resolution, TCP, TLS and an HTTP/1.1 client; and the time of day from time servers.
//!
//! It stands between the control domain's network frontend (any [`smoltcp::phy::Device`]) and the
//! device agent. Everything below [`client`] is a machine that takes bytes, events and the time:
//! [`http`], [`tls`], [`resolver`], [`sntp`] (both a [`question`] by UDP) and [`exchange`] can be run without a network, and [`net`] without
//! a clock. [`client::Client::fetch`] tells the story: resolve, connect, TLS, send, read, close.
//!
//! Nothing that arrives is trusted: each parser has limits and a test with hostile input. The TLS
//! session trusts the provisioned certificates alone and never continues without a server
//! certificate.
//!
//! ```no_run
//! # use stubdoms_web::{client::*, http::*, net::*, time::Timer, tls::*, url::*};
//! # async fn story<D: smoltcp::phy::Device, T: Timer>(device: D, timer: T, entropy: Entropy, address: Address,
//! #   clock: std::sync::Arc<dyn WallClock>, ca: &[u8], hosts: &str, frames: impl AsyncFnMut(), body: Vec<u8>)
//! # -> Result<(), Box<dyn std::error::Error>> {
//! let stack = Stack::new(device, address, entropy, timer.now())?; // in a domain: in a static cell
//! let client = Client::new(&stack, &timer, entropy);
//! client.set_tls(TlsConfig::new(&[ca], None, clock)?);
//! client.resolver(|resolver| resolver.set_hosts(hosts));
//! let network = stack.run(&timer, frames); // a task of its own
//!
//! let url = Url::of_server(Scheme::Https, "zed.example", "/api/v2/edgedevice/uuid")?;
//! let request = Request::post(url, "application/x-proto-binary", body)?;
//! let answer = client.fetch(&request).await?;
//! # let _ = (network, answer); Ok(()) }
//! ```
//!
//! Tested on the host with two TCP/IP stacks on a wire in memory and virtual time, against rustls on
//! another provider, and against OpenSSL's server.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod client;
pub mod exchange;
pub mod fuzz;
pub mod http;
pub mod net;
pub mod question;
pub mod resolver;
pub mod sntp;
pub mod time;
pub mod tls;
pub mod url;

#[cfg(test)]
extern crate std;
#[cfg(test)]
mod test_net;
#[cfg(test)]
mod test_pki;
