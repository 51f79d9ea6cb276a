//! From the processor's numbers to as many bytes as anybody wants.

use core::fmt;

use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng, SeedableRng},
};
use zeroize::Zeroize;

use super::health::{Fault, Health};

/// Words that have to pass the tests before the first byte is given out: the 1024 samples of
/// SP 800-90B, 4.3.
const STARTUP_WORDS: usize = 128;
/// How often the source is asked for one word before it counts as dead.
const TRIES: u32 = 10_000;
/// Calls after which fresh numbers are mixed in.
const CALLS_PER_SEED: u32 = 256;

/// A noise source: a word, or none at the moment.
pub type Source<'a> = &'a mut dyn FnMut() -> Option<u64>;

/// Why there are no random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntropyError {
    /// The source gives nothing.
    Dead,
    /// The source is not random.
    Unhealthy(Fault),
}

impl fmt::Display for EntropyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dead => f.write_str("the source gives nothing"),
            Self::Unhealthy(fault) => write!(f, "the source is not random: {fault}"),
        }
    }
}

impl From<Fault> for EntropyError {
    fn from(fault: Fault) -> Self {
        Self::Unhealthy(fault)
    }
}

/// ChaCha20 over seeds from a tested source. After each call the key is replaced by output that
/// nobody saw, so that earlier bytes cannot be computed from the state.
#[derive(Debug)]
pub struct Generator {
    health: Health,
    stream: ChaCha20Rng,
    calls: u32,
}

impl Generator {
    /// Tests the source and takes a seed.
    ///
    /// # Errors
    /// [`EntropyError`].
    pub fn new(source: Source<'_>) -> Result<Self, EntropyError> {
        let mut health = Health::new();
        for _ in 0..STARTUP_WORDS {
            word(&mut health, source)?;
        }
        let mut seed = seed(&mut health, source)?;
        let stream = ChaCha20Rng::from_seed(seed);
        seed.zeroize();
        Ok(Self { health, stream, calls: 0 })
    }

    /// Fills `out`.
    ///
    /// # Errors
    /// [`EntropyError`] if fresh numbers were due and the source failed; `out` holds nothing then.
    pub fn fill(&mut self, source: Source<'_>, out: &mut [u8]) -> Result<(), EntropyError> {
        if self.calls >= CALLS_PER_SEED {
            self.reseed(source)?;
        }
        self.calls += 1;
        self.stream.fill_bytes(out);
        self.rekey([0; 32]);
        Ok(())
    }

    fn reseed(&mut self, source: Source<'_>) -> Result<(), EntropyError> {
        let fresh = seed(&mut self.health, source)?;
        self.rekey(fresh);
        self.calls = 0;
        Ok(())
    }

    /// Replaces the key by the stream's next 32 bytes with `mixed` added.
    fn rekey(&mut self, mut mixed: [u8; 32]) {
        let mut key = [0; 32];
        self.stream.fill_bytes(&mut key);
        for (byte, more) in key.iter_mut().zip(mixed) {
            *byte ^= more;
        }
        self.stream = ChaCha20Rng::from_seed(key);
        key.zeroize();
        mixed.zeroize();
    }
}

fn seed(health: &mut Health, source: Source<'_>) -> Result<[u8; 32], EntropyError> {
    let mut seed = [0; 32];
    for bytes in seed.as_chunks_mut::<8>().0 {
        *bytes = word(health, source)?.to_le_bytes();
    }
    Ok(seed)
}

fn word(health: &mut Health, source: Source<'_>) -> Result<u64, EntropyError> {
    for _ in 0..TRIES {
        if let Some(word) = source() {
            health.check(word)?;
            return Ok(word);
        }
        core::hint::spin_loop();
    }
    Err(EntropyError::Dead)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter() -> impl FnMut() -> Option<u64> {
        let mut state = 1u64;
        move || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            // Every third time it has nothing.
            (!state.is_multiple_of(3)).then_some(state ^ state >> 31)
        }
    }

    #[test]
    fn output_differs_from_call_to_call_and_follows_the_seed() {
        let mut source = counter();
        let mut generator = Generator::new(&mut source).unwrap();
        let (mut first, mut second) = ([0; 48], [0; 48]);
        generator.fill(&mut source, &mut first).unwrap();
        generator.fill(&mut source, &mut second).unwrap();
        assert_ne!(first, second);
        let mut again = [0; 48];
        Generator::new(&mut counter()).unwrap().fill(&mut counter(), &mut again).unwrap();
        assert_eq!(first, again);
    }

    #[test]
    fn a_dead_source_and_a_stuck_one_are_told_apart() {
        assert_eq!(Generator::new(&mut || None).unwrap_err(), EntropyError::Dead);
        let stuck = Generator::new(&mut || Some(5)).unwrap_err();
        assert_eq!(stuck, EntropyError::Unhealthy(Fault::WordRepeated));
    }

    #[test]
    fn a_source_that_dies_later_is_noticed_when_it_is_asked_again() {
        let mut generator = Generator::new(&mut counter()).unwrap();
        let mut out = [0; 8];
        let failed = (0..=CALLS_PER_SEED).find(|_| generator.fill(&mut || None, &mut out).is_err());
        assert_eq!(failed, Some(CALLS_PER_SEED));
    }
}
