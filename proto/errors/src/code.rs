//! A code, and how an error carries it.

use core::fmt;

/// The stable name of an error: `E-AREA-NNN`. It is given once and never used for anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Code(pub(crate) &'static str);

impl Code {
    /// The code as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// What the table says of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its code.
    pub code: Code,
    /// Its constant's name in the area's module.
    pub name: &'static str,
    /// What has happened.
    pub cause: &'static str,
    /// What a person does about it.
    pub next: &'static str,
}

/// An area: what errors of one part of the system have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// The module's name.
    pub module: &'static str,
    /// Which errors these are.
    pub about: &'static str,
    /// They, in the order of their numbers.
    pub entries: &'static [Entry],
}

/// An error that a person may see.
///
/// The `match` behind [`Coded::code`] names every variant, so that a new variant without a code does not
/// compile.
pub trait Coded {
    /// The code of this error.
    fn code(&self) -> Code;

    /// The error's text with its code: `TEXT [E-AREA-NNN]`.
    fn told(&self) -> Told<'_, Self> {
        Told(self)
    }
}

/// An error as a person is told of it. See [`Coded::told`].
#[derive(Debug)]
pub struct Told<'a, E: ?Sized>(&'a E);

impl<E: Coded + fmt::Display + ?Sized> fmt::Display for Told<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.0, self.0.code())
    }
}
