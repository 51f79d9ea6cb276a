//! Device protocols as in Xen's `io/`: netif and console.

#![no_std]
#![forbid(unsafe_code)]
