//! Messages between the domains of the image: typed, versioned, of bounded size.

#![no_std]
#![forbid(unsafe_code)]
