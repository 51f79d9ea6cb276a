//! Builds, watches and destroys domains.

#![no_std]
#![forbid(unsafe_code)]
