//! Any bytes for every decoder that reads bytes from outside.
//!
//! A [`Target`] is a function that takes any bytes and panics when something is promised that does not hold:
//! no decoder panics, what was accepted is emitted so that it reads the same, and what a machine hands out
//! is within its bounds. Each target brings seeds, which our own encoders make, and a folder of `corpus` has
//! inputs that were found by fuzzing: those that once failed, and some that reach far.
//!
//! The same targets run in two ways. The tests here run seeds, corpus and a bounded number of seeded
//! [mutations](mutate) of them, without any instrumentation. `cargo xtask fuzz` links them with libFuzzer,
//! which is guided by coverage and goes on for as long as one likes.

#![forbid(unsafe_code)]

pub mod mutate;
pub mod run;
mod targets;

pub use targets::TARGETS;

/// Something that decodes.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, which is also that of its folder in `corpus`.
    pub name: &'static str,
    /// Whose bytes it reads, and what for.
    pub about: &'static str,
    /// Takes any bytes.
    pub run: fn(&[u8]),
    /// Inputs that it understands.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// The target of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
