//! The controller API, version 2: messages, signed envelopes, endpoints and log files.

#![no_std]
#![forbid(unsafe_code)]
