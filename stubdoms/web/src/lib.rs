//! The way to the controller: TCP, TLS, HTTP, name resolution.

#![no_std]
#![forbid(unsafe_code)]
