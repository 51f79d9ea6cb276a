//! The controller API, version 2: messages, signed envelopes, endpoints and log files.
//!
//! **Generated message types live under [`wire`]**, one module a package of the schema:
//! [`wire::config`], [`wire::info`], [`wire::metrics`], [`wire::auth`] and so on. Everything else at
//! the top level is logic written by hand, and carries the plain names:
//!
//! | module | what it does |
//! |---|---|
//! | [`endpoint`] | paths, methods, and what a status code means for the sender |
//! | [`auth`] | the signed envelope (`AuthContainer`): seal and open |
//! | [`certs`] | which sets of controller certificates are accepted |
//! | [`register`], [`uuid`], [`attest`], [`config`] | the messages of onboarding, attestation and configuration |
//! | [`issue`] | the certificates that the device issues to itself and to its other keys |
//! | [`cipher`] | secrets that a configuration carries |
//! | [`newlogs`] | the gzip files that carry log lines |
//! | [`key`], [`pem`] | software keys, public keys, PEM text |
//! | [`bounds`] | refuses a message that would decode to more memory than allowed |
//! | [`text`], [`time`] | text and time stamps that every controller accepts |
//!
//! Nothing here does I/O or reads a clock. All of it takes bytes from outside and has no path to a
//! panic; the functions that take `&[u8]` are fit to be fuzzed as they are. Tests beside the modules
//! use bytes made by OpenSSL, protoc and Python; see `tests/vectors`.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod attest;
pub mod auth;
pub mod bounds;
pub mod certs;
pub mod cipher;
pub mod config;
pub mod endpoint;
mod gzip;
pub mod issue;
pub mod key;
pub mod newlogs;
pub mod pem;
pub mod register;
pub mod text;
pub mod time;
pub mod uuid;
mod verify;
pub mod wire;

pub use prost::{DecodeError, Message};
pub use prost_types::Timestamp;
pub use rustls_pki_types::UnixTime;
