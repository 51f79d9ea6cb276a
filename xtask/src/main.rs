//! The host tool.

#![forbid(unsafe_code)]

fn main() {}
