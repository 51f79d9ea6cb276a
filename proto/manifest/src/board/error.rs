//! What is wrong with a board's files, and where.

use core::fmt;
use std::{
    boxed::Box,
    path::{Path, PathBuf},
    string::String,
};

/// A line of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Location(Box<Line>);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Line {
    path: PathBuf,
    /// From 1.
    number: usize,
    text: String,
}

impl Location {
    /// The line that holds the byte at `offset` of `text`.
    pub(super) fn of(path: &Path, text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let number = before.matches('\n').count() + 1;
        let line = text.lines().nth(number - 1).unwrap_or_default().trim();
        Self(Box::new(Line { path: path.into(), number, text: line.chars().take(60).collect() }))
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: `{}`", self.0.path.display(), self.0.number, self.0.text)
    }
}

/// What is wrong with a board's files. Each reads as one line.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants and fields are told by their `Display`")]
pub enum BoardError {
    Unreadable { path: PathBuf, why: String },
    Toml { at: Location, why: String },
    NestedInheritance { at: Location },
    Missing { key: String },
    BadName { at: Location, name: String },
    BadValue { at: Location, key: &'static str, why: &'static str },
    NoSuchDomain { at: Location, name: String },
    NoSuchDevice { at: Location, name: String },
    ToItself { at: Location, channel: String },
    NotAccepted { at: Location, channel: String, by: String, from: String },
    NotOffered { at: Location, channel: String, by: String, to: String },
    ChannelTwice { at: Location, channel: String },
    ReservedChannel { at: Location },
    DeviceTwice { at: Location, device: String, first: Location },
    DeviceUnused { at: Location, device: String },
    OverCommitted { at: Location, have_mib: u64, need_mib: u64 },
    TooMany { at: Location, what: &'static str, limit: usize },
    ImageMissing { image: String },
}

impl fmt::Display for BoardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, why } => write!(f, "{}: {why}", path.display()),
            Self::Toml { at, why } => write!(f, "{at}: {why}"),
            Self::NestedInheritance { at } => {
                write!(f, "{at}: only a board inherits; list this file in the board's own `inherits`")
            }
            Self::Missing { key } => write!(f, "no file of the board sets `{key}`"),
            Self::BadName { at, name } => write!(
                f,
                "{at}: `{name}` is no name: a lower-case letter, then up to 15 of lower-case letters, digits and `-`"
            ),
            Self::BadValue { at, key, why } => write!(f, "{at}: `{key}` {why}"),
            Self::NoSuchDomain { at, name } => write!(f, "{at}: there is no domain `{name}`"),
            Self::NoSuchDevice { at, name } => write!(f, "{at}: there is no device `{name}`"),
            Self::ToItself { at, channel } => {
                write!(f, "{at}: channel `{channel}` leads back to its own domain")
            }
            Self::NotAccepted { at, channel, by, from } => {
                write!(f, "{at}: `{from}` offers channel `{channel}` to `{by}`, which does not accept it")
            }
            Self::NotOffered { at, channel, by, to } => {
                write!(f, "{at}: `{to}` accepts channel `{channel}` from `{by}`, which does not offer it")
            }
            Self::ChannelTwice { at, channel } => {
                write!(f, "{at}: its domain already has a channel `{channel}`")
            }
            Self::ReservedChannel { at } => {
                write!(f, "{at}: the channel `dom0` is there for every domain and is not listed")
            }
            Self::DeviceTwice { at, device, first } => {
                write!(f, "{at}: device `{device}` is used twice; the first is {first}")
            }
            Self::DeviceUnused { at, device } => write!(f, "{at}: no domain uses device `{device}`"),
            Self::OverCommitted { at, have_mib, need_mib } => write!(
                f,
                "{at}: Xen, dom0, the domains and the applications need {need_mib} MiB, the machine has {have_mib}"
            ),
            Self::TooMany { at, what, limit } => write!(f, "{at}: more than {limit} {what}"),
            Self::ImageMissing { image } => write!(f, "image `{image}` was not built"),
        }
    }
}

impl std::error::Error for BoardError {}
