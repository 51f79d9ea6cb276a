//! Codes for the errors that end a subcommand.
//!
//! An error says where it happened what is wrong; its code says what a person does about it, which follows
//! from what was being done. So most codes are given where such a thing begins (a build, an image, a run),
//! to errors that bring none of their own, and the last of them by the command line itself.

use anyhow::{Result, anyhow};
use proto_errors::Code;

/// Results whose error a person will read.
pub trait OrCode: Sized {
    /// Gives the error a code, unless it has one.
    #[must_use]
    fn or_code(self, code: Code) -> Self;
}

impl<T> OrCode for Result<T> {
    fn or_code(self, code: Code) -> Self {
        self.map_err(|error| {
            let text = format!("{error:#}");
            if has_code(&text) { error } else { anyhow!("{text} [{code}]") }
        })
    }
}

/// Whether a code of the table stands in brackets somewhere in the text.
fn has_code(text: &str) -> bool {
    text.split('[').skip(1).filter_map(|rest| rest.split_once(']')).any(|(code, _)| {
        // Only as it is written; `find` is more generous to a person.
        proto_errors::find(code).is_some_and(|entry| entry.code.as_str() == code)
    })
}

#[cfg(test)]
mod tests {
    use anyhow::Context;
    use proto_errors::host;

    use super::*;

    #[test]
    fn an_error_gets_one_code() {
        let bare: Result<()> = Err(anyhow!("no such thing")).context("the board");
        let told = format!("{:#}", bare.or_code(host::BUILD).or_code(host::UNEXPECTED).unwrap_err());
        assert_eq!(told, format!("the board: no such thing [{}]", host::BUILD));
        let coded: Result<()> = Err(anyhow!("no such file [{}]", host::FILE)).context("the board");
        let told = format!("{:#}", coded.or_code(host::BUILD).unwrap_err());
        assert_eq!(told, format!("the board: no such file [{}]", host::FILE));
        assert!(Ok::<_, anyhow::Error>(1).or_code(host::BUILD).is_ok());
    }

    #[test]
    fn what_only_looks_like_a_code_is_none() {
        for text in ["", "a [list]", "[E-TABLE-999]", "E-HOST-015", "[e-host-015]", "[E-HOST-015"] {
            assert!(!has_code(text), "{text}");
        }
        assert!(has_code("[one] and [E-HOST-015]\nmore"));
    }
}
