//! TPM 2.0: the commands in use, sessions, policies, key templates, event logs.
//!
//! | module | what is in it |
//! |---|---|
//! | [`wire`] | big-endian integers and sized buffers, bounded in both directions |
//! | [`ids`] | numbers of the specification: commands, algorithms, handles, attributes |
//! | [`rc`] | response codes, and what each kind means for the one who asked |
//! | [`command`] | one function a command: what is sent |
//! | [`response`] | one function a command: what came back |
//! | [`session`] | salted sessions: authentication and encryption of parameters |
//! | [`key`] | public areas, names, and the templates of EVE's keys |
//! | [`pcr`] | selections and values of PCRs; what extending gives |
//! | [`policy`] | policy digests, computed without a TPM |
//! | [`quote`] | what a quote attests |
//! | [`eventlog`] | the firmware's event log: read, and replayed into PCR values |
//!
//! Pure: bytes in, bytes out. Whoever has a TPM carries commands to it and answers back; a host computes the
//! same policies and replays the same logs without one.
//!
//! The marshalling is ours, and not that of the crate `tpm2-protocol`: what is secret (an authorization, a salt,
//! a key that is being sealed) stays in buffers that are wiped, where that crate's values leave copies, and
//! nothing that reads the TPM's bytes is `unsafe`. The tests hold every command against that crate.
//!
//! Trust: none in the TPM's answers beyond what a session proves. A TPM on a bus can be replaced by a liar;
//! each answer is read once, within bounds, to its last byte.
//!
//! Source: Trusted Platform Module Library, Family "2.0", Revision 01.59, parts 1 to 3 ("part 1" … below).

#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod command;
pub mod eventlog;
pub mod ids;
pub mod key;
pub mod pcr;
pub mod policy;
pub mod quote;
pub mod rc;
pub mod response;
pub mod session;
pub mod wire;

mod cfb;
mod kdf;
mod oaep;

pub use cfb::Aes256Cfb;
