//! Network cards.

use core::fmt;

pub mod e1000e;

/// What the other end of the cable and ours have agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Speed in Mbit/s.
    pub speed_mbit: u16,
    /// Whether both directions work at a time.
    pub full_duplex: bool,
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} Mbit/s {} duplex", self.speed_mbit, if self.full_duplex { "full" } else { "half" })
    }
}
