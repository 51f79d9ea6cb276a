//! Continuous tests of a noise source: they notice a source that is stuck or badly skewed.
//! Source: NIST SP 800-90B, 4.4.1 (repetition count) and 4.4.2 (adaptive proportion).

use core::fmt;

/// Same byte so often in a row: cutoff for one bit of entropy a byte and a false alarm in 2^30.
const REPETITION_CUTOFF: u32 = 31;
/// Bytes of one window of the proportion test.
const WINDOW: u32 = 512;
/// Same byte so often in a window: the same assumptions, `1 + critbinom(512, 1/2, 1 - 2^-30)`.
const PROPORTION_CUTOFF: u32 = 325;

/// What the source did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The same word twice in a row: one chance in 2^64 for a good source.
    WordRepeated,
    /// The same byte too often in a row.
    ByteRepeated,
    /// One byte too often in a window.
    Skewed,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WordRepeated => "it repeats words",
            Self::ByteRepeated => "it repeats bytes",
            Self::Skewed => "one byte comes too often",
        })
    }
}

/// State of the tests.
#[derive(Clone, Debug, Default)]
pub struct Health {
    last_word: Option<u64>,
    last_byte: Option<u8>,
    repeated: u32,
    sample: u8,
    seen: u32,
    matches: u32,
}

impl Health {
    /// Before the first word.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks at the next word of the source.
    ///
    /// # Errors
    /// What it did. The source is not to be used any more then.
    pub fn check(&mut self, word: u64) -> Result<(), Fault> {
        if self.last_word.replace(word) == Some(word) {
            return Err(Fault::WordRepeated);
        }
        word.to_le_bytes().into_iter().try_for_each(|byte| {
            self.repetition(byte)?;
            self.proportion(byte)
        })
    }

    fn repetition(&mut self, byte: u8) -> Result<(), Fault> {
        self.repeated = if self.last_byte.replace(byte) == Some(byte) { self.repeated + 1 } else { 1 };
        if self.repeated >= REPETITION_CUTOFF { Err(Fault::ByteRepeated) } else { Ok(()) }
    }

    fn proportion(&mut self, byte: u8) -> Result<(), Fault> {
        if self.seen == 0 {
            self.sample = byte;
            self.matches = 0;
        }
        self.matches += u32::from(byte == self.sample);
        self.seen = (self.seen + 1) % WINDOW;
        if self.matches >= PROPORTION_CUTOFF { Err(Fault::Skewed) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(state: &mut u64) -> u64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    }

    #[test]
    fn a_good_source_passes_for_long() {
        let mut health = Health::new();
        let mut state = 0x1234_5678_9abc_def1;
        for _ in 0..1_000_000 {
            assert_eq!(health.check(random(&mut state)), Ok(()));
        }
    }

    #[test]
    fn a_stuck_source_is_noticed_at_its_second_word() {
        let mut health = Health::new();
        assert_eq!(health.check(u64::MAX), Ok(()));
        assert_eq!(health.check(u64::MAX), Err(Fault::WordRepeated));
    }

    #[test]
    fn a_run_of_one_byte_across_words_is_noticed() {
        let mut health = Health::new();
        let words = [0x0101_0101_0101_0100, 0x0101_0101_0101_0101, 0x0201_0101_0101_0101];
        assert!(words.iter().all(|word| health.check(*word).is_ok()));
        let mut health = Health::new();
        let run = [0x0707_0707_0707_0700, 0x0707_0707_0707_0707];
        let mut result = Ok(());
        for index in 0..8 {
            // Words differ in one byte that is no 7 only at the ends of the run.
            let word = if index == 0 { run[0] } else { run[1] };
            health.last_word = None;
            result = result.and(health.check(word));
        }
        assert_eq!(result, Err(Fault::ByteRepeated));
    }

    #[test]
    fn a_skewed_source_is_noticed() {
        let mut health = Health::new();
        let mut state = 99;
        // Six bytes of eight are zero.
        let fault = (0..200).find_map(|_| health.check(random(&mut state) << 48).err());
        assert_eq!(fault, Some(Fault::Skewed));
    }
}
