//! Numbers that look random and follow from a seed: SplitMix64.

use anyhow::{Context, Result};

/// The seed in this variable of the environment, or `usual`; prints which.
pub(crate) fn seed(variable: &str, usual: u64) -> Result<u64> {
    let seed = std::env::var(variable).ok().map_or(Ok(usual), |seed| seed.parse());
    let seed = seed.with_context(|| format!("{variable} is no number"))?;
    println!("     seed {seed}; {variable}={seed} replays it");
    Ok(seed)
}

/// The next number follows from this one.
pub(crate) struct Random(u64);

impl Random {
    /// Begins with the [`seed`] of this variable.
    pub(crate) fn seeded(variable: &str, usual: u64) -> Result<Self> {
        seed(variable, usual).map(Self)
    }

    /// One below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}
