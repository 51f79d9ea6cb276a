//! Names of domains, images, channels and devices.

/// The longest name, in bytes.
pub const MAX_NAME: usize = 16;

/// A name: a lower-case letter, then lower-case letters, digits and `-`, at most [`MAX_NAME`] bytes.
///
/// The type bounds the length; [`is_valid`] says whether the rest holds.
pub type Name = heapless::String<MAX_NAME>;

/// Whether `text` may name something.
pub fn is_valid(text: &str) -> bool {
    text.len() <= MAX_NAME
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Names that stand for something else than a domain wherever a domain's name may stand: lines of the
/// console, channels, the archive.
pub const RESERVED: [&str; 3] = ["dom0", "xen", "firmware"];

/// Whether `text` is one of [`RESERVED`].
pub fn is_reserved(text: &str) -> bool {
    RESERVED.contains(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_lower_case() {
        for good in ["net", "a", "vif-2", "sixteen-letters-"] {
            assert!(is_valid(good), "{good}");
        }
        for bad in ["", "Net", "2net", "-net", "a/b", "seventeen-letters", "ä", "a b"] {
            assert!(!is_valid(bad), "{bad}");
        }
    }
}
