//! The Xen ABI: identifiers, numbers and structures, as in Xen's public headers.

#![no_std]
#![forbid(unsafe_code)]
