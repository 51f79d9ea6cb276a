//! Random numbers: the processor's, tested, and expanded by ChaCha20.
//!
//! Where the processor has no source, as many on aarch64, a seed takes its place that whoever started the
//! domain has handed over: the firmware to dom0, dom0 to every other domain, a new one each time.
//!
//! Everything that asks for random numbers in this image gets them here: [`fill`], the hook of
//! `getrandom` 0.4 and that of 0.2. A domain that has neither source nor seed, or a source that fails its
//! tests, stops: a key made of weak numbers is worse than no domain.

pub mod generator;
pub mod health;

#[cfg(target_os = "none")]
pub(crate) use filling::hand_over;
#[cfg(target_os = "none")]
pub use filling::{NoEntropy, fill, try_fill};

#[cfg(target_os = "none")]
mod filling;
