//! Random numbers: the processor's, tested, and expanded by ChaCha20.
//!
//! Everything that asks for random numbers in this image gets them here: [`fill`], the hook of
//! `getrandom` 0.4 and that of 0.2. A domain whose processor has no source, or one that fails its
//! tests, stops: a key made of weak numbers is worse than no domain.

pub mod generator;
pub mod health;

#[cfg(target_os = "none")]
pub use filling::fill;

#[cfg(target_os = "none")]
mod filling;
