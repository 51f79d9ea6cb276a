//! What went through a port, and what was dropped and why.

use core::fmt;

/// Counts of one port since start, from the port's own point of view: rx is what it received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortCounters {
    /// Bytes received, headers of Ethernet included.
    pub rx_bytes: u64,
    /// Frames received.
    pub rx_frames: u64,
    /// Frames received and dropped: by a rule, or for want of room.
    pub rx_drops: u64,
    /// Frames received that were malformed.
    pub rx_errors: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Frames sent.
    pub tx_frames: u64,
    /// Frames that were to be sent and found no room.
    pub tx_drops: u64,
    /// Frames that the device failed to send; the shell adds them.
    pub tx_errors: u64,
}

impl PortCounters {
    /// Counts a frame that came in.
    pub(crate) fn received(&mut self, length: usize) {
        self.rx_frames += 1;
        self.rx_bytes += length as u64;
    }

    /// Counts a frame that was to go out, and whether the port took it.
    pub(crate) fn sent(&mut self, length: usize, taken: bool) {
        if taken {
            self.tx_frames += 1;
            self.tx_bytes += length as u64;
        } else {
            self.tx_drops += 1;
        }
    }

    /// Counts a received frame that went nowhere. What is on the wire for others is nobody's loss.
    pub(crate) fn dropped(&mut self, reason: DropReason) {
        match reason {
            DropReason::Malformed => self.rx_errors += 1,
            DropReason::NotOurs => {}
            _ => self.rx_drops += 1,
        }
    }
}

/// Why a received frame went nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum DropReason {
    /// A header is cut off, lies about a length, or carries a wrong checksum.
    Malformed,
    /// Longer than [`crate::MAX_FRAME`].
    TooLong,
    /// A fragment.
    Fragment,
    /// A protocol that is not carried: IPv6, IP options, anything but TCP, UDP and ICMP.
    Protocol,
    /// Not addressed to us.
    NotOurs,
    /// A guest used a hardware address that is not its own.
    SpoofedMac,
    /// A guest used an IP address that is not its own.
    SpoofedAddress,
    /// A destination that guests may not reach.
    Denied,
    /// No lease, so no way out.
    NoUplink,
    /// The hop count ran out here.
    TtlExceeded,
    /// In the middle of a connection that is not in the table.
    NoFlow,
    /// The table of flows is full, or the guest's share of it.
    TableFull,
    /// The next hop does not answer, or too many packets wait for it.
    NextHop,
    /// The port that it was to leave by had no room.
    NoRoom,
}

impl DropReason {
    /// All reasons, in the order of the counters.
    pub const ALL: [Self; 14] = [
        Self::Malformed,
        Self::TooLong,
        Self::Fragment,
        Self::Protocol,
        Self::NotOurs,
        Self::SpoofedMac,
        Self::SpoofedAddress,
        Self::Denied,
        Self::NoUplink,
        Self::TtlExceeded,
        Self::NoFlow,
        Self::TableFull,
        Self::NextHop,
        Self::NoRoom,
    ];
}

impl DropReason {
    /// Whether no guest that means well causes it, so that it is worth a line.
    #[must_use]
    pub fn is_suspicious(self) -> bool {
        matches!(self, Self::Malformed | Self::SpoofedMac | Self::SpoofedAddress | Self::TableFull)
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "malformed",
            Self::TooLong => "too long",
            Self::Fragment => "fragment",
            Self::Protocol => "protocol not carried",
            Self::NotOurs => "not addressed to us",
            Self::SpoofedMac => "foreign hardware address",
            Self::SpoofedAddress => "foreign address",
            Self::Denied => "destination denied",
            Self::NoUplink => "no uplink",
            Self::TtlExceeded => "hop count exceeded",
            Self::NoFlow => "no such connection",
            Self::TableFull => "table of flows full",
            Self::NextHop => "next hop silent",
            Self::NoRoom => "no room",
        })
    }
}

/// Frames dropped, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops([u64; DropReason::ALL.len()]);

impl Drops {
    /// Counts one more.
    pub(crate) fn add(&mut self, reason: DropReason) {
        self.0[reason as usize] += 1;
    }

    /// How many were dropped for `reason`.
    #[must_use]
    pub fn of(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    /// Reasons that occurred, with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.into_iter().map(|reason| (reason, self.of(reason))).filter(|(_, count)| *count != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::DropReason;

    #[test]
    fn each_reason_has_its_own_place() {
        for (index, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
    }
}
