//! Our Xen structures and numbers against Xen's public headers, for both architectures.
//!
//! Three steps. [`source`] reads our own source files and finds every number and every `repr(C)` structure
//! in them, private ones too. [`table`] reads `abi.toml`, which says what each of them is called in Xen's
//! headers; what the sources have and the table lacks is an error, and so is the reverse. [`compile`] has the
//! host's C compiler say what the headers make of it, and [`check`] compares.
//!
//! Nothing is run and no cross compiler is needed: the compiler writes the numbers into its assembly, and the
//! public headers use types of fixed size, so any 64-bit compiler lays them out alike once it is told which
//! architecture to read.
//!
//! What we compute by ourselves is the layout of `repr(C)`. It is held against the assertions on sizes in the
//! same sources, which the Rust compiler has checked.

#![forbid(unsafe_code)]

pub mod check;
pub mod compile;
pub mod layout;
pub mod source;
pub mod table;
pub mod value;
