//! Lines out of bytes, of bounded length.

use heapless::Vec;

/// A line, without its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line<const MAX: usize> {
    /// What was written. Any bytes: the guest chose them.
    pub bytes: Vec<u8, MAX>,
    /// Whether the line was longer and goes on in the next one.
    pub cut: bool,
}

/// Collects what a guest writes into lines of at most `MAX` bytes.
///
/// A line ends at a newline; carriage returns and zeroes are left out. A guest that never ends its line gets
/// it cut, so it occupies no more than `MAX` bytes of ours.
#[derive(Clone, Debug, Default)]
pub struct Lines<const MAX: usize> {
    pending: Vec<u8, MAX>,
}

impl<const MAX: usize> Lines<MAX> {
    /// Nothing collected yet.
    pub const fn new() -> Self {
        Self { pending: Vec::new() }
    }

    /// Takes one byte in, and gives the line that is complete by it, if one is.
    pub fn push(&mut self, byte: u8) -> Option<Line<MAX>> {
        match byte {
            b'\n' => Some(Line { bytes: core::mem::take(&mut self.pending), cut: false }),
            b'\r' | 0 => None,
            _ => match self.pending.push(byte) {
                Ok(()) => None,
                Err(byte) => {
                    let bytes = core::mem::take(&mut self.pending);
                    // An empty line has room, unless `MAX` is 0 and nothing can be kept at all.
                    let _ = self.pending.push(byte);
                    Some(Line { bytes, cut: true })
                }
            },
        }
    }

    /// Takes bytes in and calls `each` for every line that is complete by them.
    pub fn extend(&mut self, bytes: &[u8], mut each: impl FnMut(Line<MAX>)) {
        for &byte in bytes {
            if let Some(line) = self.push(byte) {
                each(line);
            }
        }
    }

    /// Gives what was collected of a line that has not ended, as with a prompt or at the guest's end.
    pub fn flush(&mut self) -> Option<Line<MAX>> {
        if self.pending.is_empty() {
            return None;
        }
        Some(Line { bytes: core::mem::take(&mut self.pending), cut: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec as StdVec;

    /// Lines and whether they were cut, and what is left.
    type Collected = (StdVec<(StdVec<u8>, bool)>, Option<StdVec<u8>>);

    fn lines_of(bytes: &[u8]) -> Collected {
        let mut lines = Lines::<4>::new();
        let mut complete = StdVec::new();
        lines.extend(bytes, |line| complete.push((line.bytes.to_vec(), line.cut)));
        (complete, lines.flush().map(|line| line.bytes.to_vec()))
    }

    #[test]
    fn lines_end_at_newlines() {
        let (lines, rest) = lines_of(b"one\r\n\ntwo\nx>");
        assert_eq!(lines, [(b"one".to_vec(), false), (b"".to_vec(), false), (b"two".to_vec(), false)]);
        assert_eq!(rest, Some(b"x>".to_vec()));
    }

    #[test]
    fn line_without_end_is_cut_and_nothing_is_lost() {
        let (lines, rest) = lines_of(b"123456789");
        assert_eq!(lines, [(b"1234".to_vec(), true), (b"5678".to_vec(), true)]);
        assert_eq!(rest, Some(b"9".to_vec()));
    }

    #[test]
    fn line_of_exactly_the_limit_is_not_cut() {
        let (lines, rest) = lines_of(b"1234\n");
        assert_eq!(lines, [(b"1234".to_vec(), false)]);
        assert_eq!(rest, None);
    }
}
