//! Text of bounded length inside messages.

use heapless::String;

/// `text` as far as it fits `N` bytes, cut at a character boundary.
#[must_use]
pub fn clipped<const N: usize>(text: &str) -> String<N> {
    let mut end = text.len().min(N);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut out = String::new();
    // It fits: `end` is at most `N`.
    let _ = out.push_str(&text[..end]);
    out
}

/// Bytes that a guest wrote, as text: what is not UTF-8 becomes U+FFFD, as far as `N` bytes go.
#[must_use]
pub fn lossy<const N: usize>(bytes: &[u8]) -> String<N> {
    let mut out = String::new();
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if out.push(character).is_err() {
                return out;
            }
        }
        if !chunk.invalid().is_empty() && out.push(char::REPLACEMENT_CHARACTER).is_err() {
            return out;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{clipped, lossy};

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(clipped::<4>("aäöü"), "aä");
        assert_eq!(clipped::<4>("abc"), "abc");
        assert_eq!(clipped::<0>("ü"), "");
    }

    #[test]
    fn bytes_that_are_no_text_are_marked() {
        assert_eq!(lossy::<16>(b"a\xffb"), "a\u{fffd}b");
        assert_eq!(lossy::<3>(b"ab\xff"), "ab");
    }
}
