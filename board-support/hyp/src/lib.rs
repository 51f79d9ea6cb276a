//! The only code that traps into Xen.

#![no_std]
