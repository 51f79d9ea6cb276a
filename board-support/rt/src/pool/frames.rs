//! Which frames of the RAM are free: one bit for each.

/// Frames `first` and up, of which a set bit means "free".
///
/// The bits live in memory that the caller gives, so that the size follows the RAM.
#[derive(Debug)]
pub struct Frames<'a> {
    first: u64,
    count: usize,
    free: &'a mut [u64],
    available: usize,
    /// No word below it has a free bit.
    lowest: usize,
}

const BITS: usize = 64;

impl<'a> Frames<'a> {
    /// Words that `count` frames need.
    #[must_use]
    pub const fn words_for(count: usize) -> usize {
        count.div_ceil(BITS)
    }

    /// `count` frames from `first` on, none free. At most as many as `bits` has room for.
    #[must_use]
    pub fn new(first: u64, count: usize, bits: &'a mut [u64]) -> Self {
        bits.fill(0);
        let count = count.min(bits.len().saturating_mul(BITS));
        Self { first, count, free: bits, available: 0, lowest: usize::MAX }
    }

    /// How many are free.
    #[must_use]
    pub fn available(&self) -> usize {
        self.available
    }

    /// Makes `count` frames from `first` on free. What lies outside is ignored, and so is what is
    /// free already.
    pub fn release(&mut self, first: u64, count: usize) {
        for frame in first..first.saturating_add(count as u64) {
            let Some(index) = frame.checked_sub(self.first).map(|index| index as usize) else { continue };
            if index >= self.count {
                return;
            }
            let (word, bit) = (index / BITS, 1 << (index % BITS));
            if self.free[word] & bit == 0 {
                self.free[word] |= bit;
                self.available += 1;
                self.lowest = self.lowest.min(word);
            }
        }
    }

    /// Takes one frame, the lowest.
    pub fn take(&mut self) -> Option<u64> {
        let from = self.lowest.min(self.free.len());
        let word = from + self.free[from..].iter().position(|word| *word != 0)?;
        let bit = self.free[word].trailing_zeros() as usize;
        self.free[word] &= !(1 << bit);
        self.available -= 1;
        self.lowest = word;
        Some(self.first + (word * BITS + bit) as u64)
    }

    /// Takes `count` frames in a row, whose first number is a multiple of `alignment` frames; the
    /// highest such run, so that single frames and runs do not mix.
    pub fn take_run(&mut self, count: usize, alignment: usize) -> Option<u64> {
        if count == 0 || count > self.available {
            return None;
        }
        let mut length = 0;
        for index in (0..self.count).rev() {
            // Words without a free bit are left in one step.
            if self.free[index / BITS] & 1 << (index % BITS) == 0 {
                length = 0;
                continue;
            }
            length += 1;
            let first = self.first + index as u64;
            if length >= count && first.is_multiple_of(alignment.max(1) as u64) {
                for taken in index..index + count {
                    self.free[taken / BITS] &= !(1 << (taken % BITS));
                }
                self.available -= count;
                return Some(first);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, vec, vec::Vec};

    use super::*;

    #[test]
    fn single_frames_come_from_below_and_runs_from_above() {
        let mut bits = [0; 4];
        let mut frames = Frames::new(100, 200, &mut bits);
        frames.release(0, 1000);
        assert_eq!(frames.available(), 200);
        assert_eq!(frames.take(), Some(100));
        assert_eq!(frames.take_run(3, 1), Some(297));
        assert_eq!(frames.take_run(4, 16), Some(288));
        assert_eq!(frames.take_run(4, 1), Some(293));
        assert_eq!(frames.available(), 188);
        assert_eq!(frames.take_run(189, 1), None);
        frames.release(100, 1);
        frames.release(100, 1);
        assert_eq!(frames.available(), 189);
        assert_eq!(frames.take(), Some(100));
    }

    #[test]
    fn nothing_is_given_twice_and_nothing_is_lost() {
        let mut bits = vec![0; 8];
        let mut frames = Frames::new(7, 500, &mut bits);
        frames.release(10, 400);
        let mut taken: Vec<(u64, usize)> = Vec::new();
        let mut model: BTreeSet<u64> = (10..410).collect();
        let mut random = 7u64;
        for _ in 0..5000 {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1);
            let count = (random >> 40) as usize % 9;
            if random >> 63 == 0 && !taken.is_empty() {
                let (first, count) = taken.swap_remove((random >> 33) as usize % taken.len());
                frames.release(first, count);
                model.extend(first..first + count as u64);
            } else if let Some((first, count)) = match count {
                0 => frames.take().map(|first| (first, 1)),
                _ => frames.take_run(count, 1 << (random >> 50 & 3)).map(|first| (first, count)),
            } {
                for frame in first..first + count as u64 {
                    assert!(model.remove(&frame), "frame {frame} was given twice");
                }
                taken.push((first, count));
            }
            assert_eq!(frames.available(), model.len());
        }
    }
}
