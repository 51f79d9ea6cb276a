//! Console output as lines.

use alloc::{string::String, vec::Vec};

use proto_eve::text;

/// Bytes of a line; a longer one is cut into several.
const MAX_LINE: usize = 2048;

/// Collects bytes until a line is complete.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    /// Takes bytes and gives each completed line to `line`. Empty lines are left out.
    pub(crate) fn push(&mut self, bytes: &[u8], mut line: impl FnMut(String)) {
        for &byte in bytes {
            if byte == b'\n' || byte == b'\r' || self.partial.len() >= MAX_LINE {
                self.flush(&mut line);
            }
            if byte != b'\n' && byte != b'\r' {
                self.partial.push(byte);
            }
        }
    }

    /// Gives what is there as a line, as when the domain has ended.
    pub(crate) fn flush(&mut self, line: &mut impl FnMut(String)) {
        if self.partial.is_empty() {
            return;
        }
        let bytes = strip_escapes(&core::mem::take(&mut self.partial));
        let complete = text::from_bytes(&bytes, 2 * MAX_LINE);
        if !complete.trim().is_empty() {
            line(complete);
        }
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
        lines.push(b"hel", |line| out.push(line));
        assert!(out.is_empty());
        lines.push(b"lo\r\n\r\n\x1b[31mred\x1b[0m \xff\nrest", |line| out.push(line));
        assert_eq!(out, ["hello", "red \u{fffd}"]);
        lines.flush(&mut |line| out.push(line));
        assert_eq!(out[2], "rest");
        lines.push(&[b'x'; 5000], |line| out.push(line));
        assert_eq!(out[3].len(), MAX_LINE);
        assert!(lines.partial.len() <= MAX_LINE);
    }
}
