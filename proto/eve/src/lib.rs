//! The controller API, version 2: messages, signed envelopes, endpoints and log files.
//!
//! **Generated message types live under [`wire`]**, one module a package of the schema:
//! [`wire::config`], [`wire::info`], [`wire::metrics`], [`wire::auth`] and so on. Everything else at
//! the top level is logic written by hand.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod wire;

pub use prost::{DecodeError, Message};
pub use prost_types::Timestamp;
