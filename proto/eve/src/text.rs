//! Text that every controller accepts: valid UTF-8 of bounded length.

use alloc::string::String;

/// The longest prefix of `text` that has at most `max` bytes and does not cut a character.
#[must_use]
pub fn bounded(text: &str, max: usize) -> String {
    String::from(truncate(text, max))
}

/// As [`bounded`], without a copy.
#[must_use]
pub fn truncate(text: &str, max: usize) -> &str {
    if text.len() <= max {
        return text;
    }
    let mut end = max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Bytes of unknown origin (a firmware table, a console) as text: what is not UTF-8 becomes U+FFFD,
/// control characters become spaces.
#[must_use]
pub fn from_bytes(bytes: &[u8], max: usize) -> String {
    let text: String = String::from_utf8_lossy(bytes)
        .chars()
        .map(|c| if c.is_control() && c != '\t' { ' ' } else { c })
        .collect();
    bounded(&text, max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_never_cut() {
        assert_eq!(truncate("aäb", 2), "a");
        assert_eq!(truncate("aäb", 3), "aä");
        assert_eq!(truncate("ä", 0), "");
        assert_eq!(from_bytes(b"ok\x00\xff", 10), "ok \u{fffd}");
    }
}
