//! Messages between the domains of the image: typed, versioned, of bounded size.
//!
//! Each channel of the table speaks one protocol, a pair of enums: what the domain says up, to the
//! end that holds more power, and what it is told down. A message is the [`postcard`] form of one
//! value, at most [`MAX_MESSAGE`] bytes, so that a reader needs one fixed buffer. The first message
//! in each direction is a `Hello` with the protocol's version.
//!
//! | module | channel | between |
//! |---|---|---|
//! | [`supervision`] | `dom0` | every service and dom0: it is up, its log, is it well |
//! | [`device`] | `device` | control and dom0: applications, their consoles, usage, the log of all |
//! | [`network`] | `network` | control and net: a vif, the state of the uplink |
//! | [`storage`] | `storage` | control and storage: small values, the slot that does not run |
//! | [`vault`] | `vault` | control and vault: signatures, quotes, what is escrowed |
//! | [`sealing`] | `sealing` | storage and vault: the key of what is stored |
//! | [`measure`] | `measure` | vault and dom0: what is started is extended into a PCR |
//!
//! [`asks`] numbers questions to a service, and asks them again of one that is there anew.
//!
//! Trust: nothing. A decoder turns any bytes into a value or a [`MessageError`]; ranges that a type
//! cannot express are checked by who uses the value. Bytes are the channel's (`proto/ring`).
//!
//! Tested on the host: each message survives a round trip and fits [`MAX_MESSAGE`] at its largest.

#![no_std]
#![forbid(unsafe_code)]

pub mod asks;
#[cfg(test)]
mod check;
pub mod device;
pub mod envelope;
pub mod measure;
pub mod network;
mod protocols;
pub mod sealing;
pub mod storage;
pub mod supervision;
pub mod text;
pub mod vault;

pub use envelope::{MAX_MESSAGE, Message, MessageError, decode, encode};
pub use protocols::{PROTOCOLS, SERVED_BY_DOM0};
