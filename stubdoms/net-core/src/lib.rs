//! The logic of the net domain: uplink, address translation, forwarding.

#![no_std]
#![forbid(unsafe_code)]
