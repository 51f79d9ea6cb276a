//! The ends of Xen devices and service channels.

#![no_std]
#![forbid(unsafe_code)]
