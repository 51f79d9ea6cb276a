//! What is typed on the serial console for applications: lines `NAME TEXT`. A pure machine.

use alloc::{string::String, vec::Vec};

/// The most bytes of a line, without its end.
pub const MAX_LINE: usize = 256;

/// A line that was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Typed {
    /// `NAME TEXT`.
    To {
        /// The first word.
        name: String,
        /// What stands behind the blank that ends it, and a newline.
        text: Vec<u8>,
    },
    /// It was longer than [`MAX_LINE`], and is lost.
    TooLong,
}

/// The line that is being typed.
#[derive(Debug, Default)]
pub struct Typing {
    line: heapless::Vec<u8, MAX_LINE>,
    too_long: bool,
}

impl Typing {
    /// Takes a byte, and gives the line that it ends. Lines end with CR, LF or both, and empty ones
    /// do not count; other control characters are dropped.
    pub fn push(&mut self, byte: u8) -> Option<Typed> {
        match byte {
            b'\r' | b'\n' => {
                let Self { line, too_long } = core::mem::take(self);
                if too_long { Some(Typed::TooLong) } else { parse(&line) }
            }
            byte if byte.is_ascii_control() => None,
            byte => {
                self.too_long |= self.line.push(byte).is_err();
                None
            }
        }
    }
}

fn parse(line: &[u8]) -> Option<Typed> {
    let line = line.trim_ascii_start();
    let mut parts = line.splitn(2, |byte| *byte == b' ');
    let name = parts.next().filter(|name| !name.is_empty())?;
    let mut text = Vec::from(parts.next().unwrap_or_default());
    text.push(b'\n');
    Some(Typed::To { name: String::from_utf8_lossy(name).into_owned(), text })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn typed(bytes: &[u8]) -> Vec<Typed> {
        let mut typing = Typing::default();
        bytes.iter().filter_map(|&byte| typing.push(byte)).collect()
    }

    fn to(name: &str, text: &[u8]) -> Typed {
        Typed::To { name: name.into(), text: text.into() }
    }

    #[test]
    fn lines_are_for_an_application() {
        let lines = typed(b"hello how are  you\r\n\n  hello\nhello \xc3\xa4\rhalf");
        let expected = [to("hello", b"how are  you\n"), to("hello", b"\n"), to("hello", "ä\n".as_bytes())];
        assert_eq!(lines, expected);
        assert_eq!(typed(b"\n \r\n"), []);
    }

    #[test]
    fn control_characters_are_dropped() {
        assert_eq!(typed(b"he\x1bllo \x07a\tb\x7f\0\n"), [to("hello", b"ab\n")]);
    }

    #[test]
    fn a_line_that_is_too_long_costs_only_itself() {
        let mut bytes = [b'a'; MAX_LINE + 1].to_vec();
        bytes.extend_from_slice(b"\nb c\n");
        assert_eq!(typed(&bytes), [Typed::TooLong, to("b", b"c\n")]);
        let fits = typed(&bytes[1..]);
        assert!(matches!(&fits[0], Typed::To { name, .. } if name.len() == MAX_LINE), "{fits:?}");
    }

    proptest! {
        #[test]
        fn what_is_typed_is_bounded(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            for line in typed(&bytes) {
                if let Typed::To { name, text } = line {
                    prop_assert!(!name.is_empty() && text.len() <= MAX_LINE);
                    prop_assert!(!text[..text.len() - 1].iter().any(u8::is_ascii_control));
                }
            }
        }
    }
}
