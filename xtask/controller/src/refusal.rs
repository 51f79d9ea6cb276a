//! Why a request was refused, and with which status code.

use std::fmt;

/// Who is at fault for a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blame {
    /// The device left the protocol: this counts as a violation.
    Device,
    /// A conforming device may run into this: unknown yet, not attested yet, taken by another.
    Nobody,
}

/// An answer that is not the one the device asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) reason: String,
    pub(crate) blame: Blame,
}

impl Refusal {
    /// The device left the protocol.
    pub(crate) fn violation(status: u16, reason: impl Into<String>) -> Self {
        Self { status, reason: reason.into(), blame: Blame::Device }
    }

    /// An ordinary "no", which a conforming device meets too.
    pub(crate) fn ordinary(status: u16, reason: impl Into<String>) -> Self {
        Self { status, reason: reason.into(), blame: Blame::Nobody }
    }

    /// Well-formed HTTP, bad message: 422.
    pub(crate) fn message(reason: impl Into<String>) -> Self {
        Self::violation(422, reason)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.status, self.reason)
    }
}
