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

/// Bytes of a seed.
pub const SEED_BYTES: usize = 32;

/// ChaCha20 over seeds from a tested source, or over one seed. After each call the key is replaced by output that
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

    /// Starts from a seed, without a source. All of `handed` counts; `None` if it is too short to be one.
    #[must_use]
    pub fn of_seed(handed: &[u8]) -> Option<Self> {
        let (first, more) = handed.split_first_chunk::<SEED_BYTES>()?;
        let stream = ChaCha20Rng::from_seed(*first);
        let mut generator = Self { health: Health::new(), stream, calls: 0 };
        for chunk in more.chunks(SEED_BYTES) {
            let mut mixed = [0; SEED_BYTES];
            mixed.iter_mut().zip(chunk).for_each(|(byte, more)| *byte = *more);
            generator.rekey(mixed);
        }
        // What was handed over is not the state any more.
        generator.rekey([0; SEED_BYTES]);
        Some(generator)
    }

    /// Fills `out`. Without a source, all of it follows from the seed.
    ///
    /// # Errors
    /// [`EntropyError`] if fresh numbers were due and the source failed; `out` holds nothing then.
    pub fn fill(&mut self, source: Option<Source<'_>>, out: &mut [u8]) -> Result<(), EntropyError> {
        if let Some(source) = source
            && self.calls >= CALLS_PER_SEED
        {
            self.reseed(source)?;
        }
        self.calls = self.calls.saturating_add(1);
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
        generator.fill(Some(&mut source), &mut first).unwrap();
        generator.fill(Some(&mut source), &mut second).unwrap();
        assert_ne!(first, second);
        let mut again = [0; 48];
        Generator::new(&mut counter()).unwrap().fill(Some(&mut counter()), &mut again).unwrap();
        assert_eq!(first, again);
    }

    #[test]
    fn a_seed_that_was_handed_over_counts_to_its_last_byte() {
        let numbers = |seed: &[u8]| {
            let mut generator = Generator::of_seed(seed).unwrap();
            let mut out = [0; 40];
            // More than a source would be asked again after.
            for _ in 0..=CALLS_PER_SEED {
                generator.fill(None, &mut out).unwrap();
            }
            out
        };
        assert_eq!(numbers(&[3; 32]), numbers(&[3; 32]));
        let mut seeds = [[3; 70]; 3];
        seeds[1][0] = 4;
        seeds[2][69] = 4;
        let [usual, first, last] = seeds.map(|seed| numbers(&seed));
        assert!(usual != first && usual != last && first != last && usual != numbers(&[3; 32]));
        assert!(Generator::of_seed(&[3; 31]).is_none());
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
        let failed = (0..=CALLS_PER_SEED).find(|_| generator.fill(Some(&mut || None), &mut out).is_err());
        assert_eq!(failed, Some(CALLS_PER_SEED));
    }
}
