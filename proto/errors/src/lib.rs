//! Every error that reaches a person: its stable code, its cause, what to do next.
//!
//! A person reads an error on the console, at the controller or on the terminal of `cargo xtask`. Each of
//! those lines ends with a code in brackets, such as `[E-BOOT-004]`. The code stays when the wording
//! changes, so it can be searched for, counted and written into a runbook. `cargo xtask explain CODE`
//! prints the rest, and [`errors.md`](../errors.md) lists all of them.
//!
//! Codes live in [`areas`], one module each: the constant is what the sources use, so a code that is not
//! in the table does not compile. An enum of errors that a person may see implements [`Coded`] with a
//! `match` that names every variant.
//!
//! Pure and without dependencies. In a domain only the codes that are used are linked; causes and next
//! steps are for the host. `tests/` walks the table and the sources of the whole repository.

#![no_std]
#![forbid(unsafe_code)]

pub mod areas;
mod code;
mod document;

pub use areas::*;
pub use code::{Code, Coded, Entry, Told};
pub use document::Document;

/// All errors, area by area, in the order of their numbers.
pub fn all() -> impl Iterator<Item = &'static Entry> + Clone {
    areas::ALL.iter().flat_map(|area| area.entries)
}

/// The error with this code. Upper and lower case are the same, and brackets may be around it.
pub fn find(code: &str) -> Option<&'static Entry> {
    let code = code.trim().trim_start_matches('[').trim_end_matches(']');
    all().find(|entry| entry.code.as_str().eq_ignore_ascii_case(code))
}
