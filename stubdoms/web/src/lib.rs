//! The way to the controller: name resolution, TCP, TLS and an HTTP/1.1 client.
//!
//! It stands between the control domain's network frontend (any [`smoltcp::phy::Device`]) and the
//! device agent. Everything below [`client`] is a machine that takes bytes, events and the time:
//! [`http`], [`tls`], [`resolver`] and [`exchange`] can be run without a network, and [`net`] without
//! a clock. [`client::Client::fetch`] tells the story: resolve, connect, TLS, send, read, close.
//!
//! Nothing that arrives is trusted: each parser has limits and a test with hostile input. The TLS
//! session trusts the provisioned certificates alone and never continues without a server
//! certificate.
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
pub mod resolver;
pub mod time;
pub mod tls;
pub mod url;

#[cfg(test)]
extern crate std;
#[cfg(test)]
mod test_net;
#[cfg(test)]
mod test_pki;
