//! From an image to what stands in a new domain's memory.

pub mod context;
pub mod elf;
pub mod pvh;
