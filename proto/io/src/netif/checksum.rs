//! Who fills in and who checks TCP and UDP checksums.

use super::rx::RxFlags;
use super::tx::TxFlags;

/// What is known of a frame's TCP or UDP checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// It is filled in, and nobody has checked it.
    #[default]
    Unchecked,
    /// Somebody checked it, or the data never left the machine.
    Validated,
    /// It is not filled in; only the pseudo-header's sum stands there. Who passes the frame to a wire fills it
    /// in.
    Blank,
}

impl Checksum {
    /// As a tx request says it. A blank checksum counts as blank whatever else is set.
    pub fn of_tx(flags: TxFlags) -> Self {
        if flags.contains(TxFlags::CSUM_BLANK) {
            Self::Blank
        } else if flags.contains(TxFlags::DATA_VALIDATED) {
            Self::Validated
        } else {
            Self::Unchecked
        }
    }

    /// As an rx response says it.
    pub fn of_rx(flags: RxFlags) -> Self {
        if flags.contains(RxFlags::CSUM_BLANK) {
            Self::Blank
        } else if flags.contains(RxFlags::DATA_VALIDATED) {
            Self::Validated
        } else {
            Self::Unchecked
        }
    }

    /// Flags of a tx request. A blank checksum goes with validated data, as Xen's frontends have it.
    pub fn tx_flags(self) -> TxFlags {
        match self {
            Self::Unchecked => TxFlags::empty(),
            Self::Validated => TxFlags::DATA_VALIDATED,
            Self::Blank => TxFlags::CSUM_BLANK | TxFlags::DATA_VALIDATED,
        }
    }

    /// Flags of an rx response.
    pub fn rx_flags(self) -> RxFlags {
        match self {
            Self::Unchecked => RxFlags::empty(),
            Self::Validated => RxFlags::DATA_VALIDATED,
            Self::Blank => RxFlags::CSUM_BLANK | RxFlags::DATA_VALIDATED,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_back() {
        for checksum in [Checksum::Unchecked, Checksum::Validated, Checksum::Blank] {
            assert_eq!(Checksum::of_tx(checksum.tx_flags()), checksum);
            assert_eq!(Checksum::of_rx(checksum.rx_flags()), checksum);
        }
    }
}
