//! What is wrong with a board's files, and where.

use core::fmt;
use std::{
    path::{Path, PathBuf},
    string::String,
    sync::Arc,
    vec::Vec,
};

use proto_errors::{Code, Coded, table};

use crate::name::MAX_NAME;

/// A key of a file. Reads as `board.toml:10: device.uplink.vectors`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    pub(super) file: Arc<Path>,
    /// From 1.
    pub(super) line: usize,
    /// The keys from the root of the file on; empty if the place has no key.
    pub(super) key: String,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)?;
        if self.key.is_empty() { Ok(()) } else { write!(f, ": {}", self.key) }
    }
}

/// Everything that is wrong with a board's files, in the order of the files and lines; at least one.
///
/// Reads as one line each, with its code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoardErrors(pub(super) Vec<BoardError>);

impl BoardErrors {
    /// Puts them into the order of `files`, and of the lines within each.
    pub(super) fn sorted(mut errors: Vec<BoardError>, files: &[PathBuf]) -> Self {
        errors.sort_by_key(|error| (files.iter().position(|file| **file == *error.at.file), error.at.line));
        Self(errors)
    }

    /// They, one by one.
    pub fn iter(&self) -> impl Iterator<Item = &BoardError> {
        self.0.iter()
    }
}

impl fmt::Display for BoardErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut errors = self.0.iter();
        if let Some(first) = errors.next() {
            write!(f, "{}", first.told())?;
        }
        errors.try_for_each(|error| write!(f, "\n{}", error.told()))
    }
}

impl std::error::Error for BoardErrors {}

/// One thing that is wrong with a board's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoardError {
    /// The key that is to be changed, or the place where one is missing.
    pub at: Location,
    /// What is wrong there.
    pub fault: Fault,
}

impl fmt::Display for BoardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.fault)
    }
}

impl Coded for BoardError {
    fn code(&self) -> Code {
        self.fault.code()
    }
}

/// What can be wrong with a key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "variants and fields are told by their `Display`")]
pub enum Fault {
    Unreadable { why: String },
    Syntax { text: String, why: String },
    UnknownKey { known: &'static [&'static str] },
    WrongType { want: &'static str, found: &'static str },
    Missing,
    NestedInheritance,
    LongName { name: String },
    BadName { name: String },
    ReservedName { name: String },
    BadValue { why: String },
    NoSuchDomain { name: String },
    NoSuchProtocol { name: String, known: &'static [&'static str] },
    NotOfDom0 { name: String, known: &'static [&'static str] },
    NoSuchDriver { name: String, known: &'static [&'static str] },
    NoSuchDevice { name: String },
    NoSuchImage { name: String },
    ToItself { channel: String },
    NotAccepted { channel: String, by: String, from: String },
    NotOffered { channel: String, by: String, to: String },
    ChannelTwice { channel: String, first: Location },
    DeviceTwice { device: String, first: Location },
    SameDevice { other: String, first: Location },
    DeviceUnused { device: String },
    OverCommitted { have_mib: u64, need_mib: u64, shares: Vec<(String, u64)> },
    TooMany { what: &'static str, limit: usize },
}

impl Coded for Fault {
    fn code(&self) -> Code {
        match self {
            Self::Unreadable { .. } => table::UNREADABLE,
            Self::Syntax { .. } => table::SYNTAX,
            Self::UnknownKey { .. } => table::UNKNOWN_KEY,
            Self::WrongType { .. } => table::WRONG_TYPE,
            Self::Missing => table::MISSING_KEY,
            Self::NestedInheritance => table::NESTED_INHERITANCE,
            Self::LongName { .. } | Self::BadName { .. } => table::BAD_NAME,
            Self::ReservedName { .. } => table::RESERVED_NAME,
            Self::BadValue { .. } => table::BAD_VALUE,
            Self::NoSuchDomain { .. } => table::NO_SUCH_DOMAIN,
            Self::NoSuchProtocol { .. } | Self::NotOfDom0 { .. } => table::NO_SUCH_PROTOCOL,
            Self::NoSuchDriver { .. } => table::NO_SUCH_DRIVER,
            Self::NoSuchDevice { .. } => table::NO_SUCH_DEVICE,
            Self::NoSuchImage { .. } => table::NO_SUCH_IMAGE,
            Self::ToItself { .. } => table::CHANNEL_TO_ITSELF,
            Self::NotAccepted { .. } | Self::NotOffered { .. } => table::CHANNEL_ONE_SIDED,
            Self::ChannelTwice { .. } => table::CHANNEL_TWICE,
            Self::DeviceTwice { .. } | Self::SameDevice { .. } => table::DEVICE_TWICE,
            Self::DeviceUnused { .. } => table::DEVICE_UNUSED,
            Self::OverCommitted { .. } => table::OVER_COMMITTED,
            Self::TooMany { .. } => table::TOO_MANY,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { why } => write!(f, "cannot be read: {why}"),
            Self::Syntax { text, why } => write!(f, "`{text}`: {why}"),
            Self::UnknownKey { known } => write!(f, "there is no such key; there are {}", Quoted(known)),
            Self::WrongType { want, found } => write!(f, "is {found} and must be {want}"),
            Self::Missing => f.write_str("is set by no file of the board"),
            Self::NestedInheritance => {
                f.write_str("only a board inherits; list these files in the board's own `inherits`")
            }
            Self::LongName { name } => {
                write!(f, "the name `{name}` has {} bytes, and {MAX_NAME} are the most", name.len())
            }
            Self::BadName { name } => {
                write!(f, "`{name}` is no name: a lower-case letter, then lower-case letters, digits and `-`")
            }
            Self::ReservedName { name } => write!(f, "the name `{name}` is reserved for the system itself"),
            Self::BadValue { why } => f.write_str(why),
            Self::NoSuchDomain { name } => write!(f, "there is no domain `{name}`"),
            Self::NoSuchProtocol { name, known } => {
                write!(f, "there is no protocol `{name}`; there are {}", Quoted(known))
            }
            Self::NotOfDom0 { name, known } => {
                write!(f, "dom0 does not serve the protocol `{name}`, but {}", Quoted(known))
            }
            Self::NoSuchDriver { name, known } => {
                write!(f, "there is no driver `{name}`; there are {}", Quoted(known))
            }
            Self::NoSuchDevice { name } => write!(f, "there is no device `{name}`"),
            Self::NoSuchImage { name } => {
                write!(f, "there is no image `{name}`, which would be a package in stubdoms/{name}")
            }
            Self::ToItself { channel } => write!(f, "channel `{channel}` leads back to its own domain"),
            Self::NotAccepted { channel, by, from } => {
                write!(f, "`{from}` offers channel `{channel}` to `{by}`, which does not accept it")
            }
            Self::NotOffered { channel, by, to } => {
                write!(f, "`{to}` accepts channel `{channel}` from `{by}`, which does not offer it")
            }
            Self::ChannelTwice { channel, first } => {
                write!(f, "its domain already has a channel `{channel}`, by {first}")
            }
            Self::DeviceTwice { device, first } => {
                write!(f, "device `{device}` is given out already, by {first}")
            }
            Self::SameDevice { other, first } => {
                write!(f, "is the same part of the machine as device `{other}`, by {first}")
            }
            Self::DeviceUnused { device } => write!(f, "no domain uses device `{device}`"),
            Self::OverCommitted { have_mib, need_mib, shares } => {
                write!(f, "the machine has {have_mib} MiB, and {need_mib} are given out:")?;
                let mut before = " ";
                for (whose, mib) in shares {
                    write!(f, "{before}{whose} {mib}")?;
                    before = ", ";
                }
                Ok(())
            }
            Self::TooMany { what, limit } => write!(f, "there are more than {limit} {what}"),
        }
    }
}

/// A list of words, each in backquotes.
struct Quoted<'a>(&'a [&'a str]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before = "";
        for word in self.0 {
            write!(f, "{before}`{word}`")?;
            before = ", ";
        }
        Ok(())
    }
}
