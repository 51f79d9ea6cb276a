//! `abi.toml`: what our names are called in Xen's headers.

use std::collections::BTreeMap;

use serde::Deserialize;

/// An architecture whose headers are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub enum Arch {
    /// 64-bit x86.
    #[serde(rename = "x86_64")]
    X86_64,
    /// 64-bit ARM.
    #[serde(rename = "aarch64")]
    Aarch64,
}

impl Arch {
    /// Both.
    pub const ALL: [Self; 2] = [Self::X86_64, Self::Aarch64];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }
}

/// The whole table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Folders or files that are read in full.
    pub all: Vec<String>,
    /// Folders or files of which only the structures are of interest.
    pub structures: Vec<String>,
    /// One entry for each file that holds anything.
    #[serde(rename = "file")]
    pub files: Vec<File>,
}

/// What one of our files holds.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// The file, from the repository's root.
    pub path: String,
    /// The only architecture that has these headers; both if it is left out.
    pub only: Option<Arch>,
    /// Xen's headers.
    #[serde(default)]
    pub headers: Vec<String>,
    /// More C, for what only a macro of the headers can declare.
    #[serde(default)]
    pub declare: String,
    /// Our constants.
    #[serde(default)]
    pub numbers: BTreeMap<String, Number>,
    /// Our structures.
    #[serde(default)]
    pub structures: BTreeMap<String, Structure>,
}

/// What stands for a constant in Xen's headers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Number {
    /// A C expression, on both architectures.
    Both(String),
    /// Nothing: why.
    Ours(Ours),
    /// A C expression for each architecture that has one.
    Each(BTreeMap<Arch, String>),
}

/// Why something has no counterpart.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ours {
    /// The reason.
    pub ours: String,
}

/// What stands for a structure in Xen's headers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Structure {
    /// The C type.
    pub xen: String,
    /// The only architecture that has it.
    pub only: Option<Arch>,
    /// Fields that Xen names otherwise.
    #[serde(default)]
    pub names: BTreeMap<String, String>,
    /// Fields without a counterpart, each with the reason. Fields named `padding…` need no reason.
    #[serde(default)]
    pub ours: BTreeMap<String, String>,
    /// Why ours may be longer than Xen's, where it may.
    pub longer: Option<String>,
    /// Why ours may be shorter than Xen's, where it may.
    pub shorter: Option<String>,
}

impl Number {
    /// The C expression for an architecture.
    pub fn expression(&self, arch: Arch) -> Option<&str> {
        match self {
            Self::Both(expression) => Some(expression),
            Self::Ours(_) => None,
            Self::Each(each) => each.get(&arch).map(String::as_str),
        }
    }
}

impl Structure {
    /// What a field of ours is called in Xen's headers, if it has a counterpart.
    pub fn field<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        if let Some(other) = self.names.get(name) {
            return Some(other);
        }
        (!self.ours.contains_key(name) && !is_padding(name)).then_some(name)
    }
}

/// Whether a field only fills a gap.
pub fn is_padding(name: &str) -> bool {
    name.starts_with("padding") || name.starts_with("pad") || name == "unused"
}
