//! Console output as lines.

use alloc::{string::String, vec::Vec};

use proto_eve::text;

/// Bytes of a line; a longer one is cut into several.
const MAX_LINE: usize = 2048;

/// Collects bytes until a line is complete.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    partial: Vec<u8>,
    /// How many bytes the console has written, as far as they were seen.
    end: u64,
}

impl Lines {
    /// Takes bytes, the first of which stands at `offset` of the console, and gives each completed line to
    /// `line`, with how many bytes the console had written when it was complete. Empty lines are left out.
    pub(crate) fn push(&mut self, offset: u64, bytes: &[u8], mut line: impl FnMut(String, u64)) {
        if offset != self.end {
            // Some are missing: what is there is no beginning of what comes.
            self.flush(&mut line);
        }
        self.end = offset;
        for &byte in bytes {
            if byte == b'\n' || byte == b'\r' {
                self.end += 1;
                self.flush(&mut line);
                continue;
            }
            if self.partial.len() >= MAX_LINE {
                self.flush(&mut line);
            }
            self.end += 1;
            self.partial.push(byte);
        }
    }

    /// Gives what is there as a line, as when the domain has ended.
    pub(crate) fn flush(&mut self, line: &mut impl FnMut(String, u64)) {
        if self.partial.is_empty() {
            return;
        }
        let bytes = strip_escapes(&core::mem::take(&mut self.partial));
        let complete = text::from_bytes(&bytes, 2 * MAX_LINE);
        if !complete.trim().is_empty() {
            line(complete, self.end);
        }
    }

    /// Whether nothing of a line is there.
    pub(crate) fn is_empty(&self) -> bool {
        self.partial.is_empty()
    }
}

/// Leaves out the control sequences of terminals (`ESC [ … letter`).
fn strip_escapes(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = bytes.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        if byte != 0x1b {
            out.push(byte);
        } else if rest.next_if_eq(&b'[').is_some() {
            let _ = rest.find(|byte| (0x40..0x7f).contains(byte));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_at_their_ends_and_at_the_limit() {
        let mut lines = Lines::default();
        let mut out = Vec::new();
        lines.push(0, b"hel", |line, end| out.push((line, end)));
        assert!(out.is_empty() && !lines.is_empty());
        lines.push(3, b"lo\r\n\r\n\x1b[31mred\x1b[0m \xff\nrest", |line, end| out.push((line, end)));
        assert_eq!(out, [("hello".into(), 6), ("red \u{fffd}".into(), 24)]);
        lines.flush(&mut |line, end| out.push((line, end)));
        assert_eq!(out[2], ("rest".into(), 28));
        lines.push(28, &[b'x'; 5000], |line, end| out.push((line, end)));
        assert_eq!((out[3].0.len(), out[3].1), (MAX_LINE, 28 + MAX_LINE as u64));
        assert!(lines.partial.len() <= MAX_LINE);
        // Bytes are missing: what was there stays a line of its own.
        lines.push(9000, b"new\n", |line, end| out.push((line, end)));
        assert_eq!(out[out.len() - 1], ("new".into(), 9004));
    }
}
