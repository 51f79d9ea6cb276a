//! One guest's port: what it may send, and what stands behind its gateway address.

use core::net::Ipv4Addr;

use smoltcp::{
    time::{Duration, Instant},
    wire::{EthernetAddress as Mac, Ipv4Cidr},
};

use crate::counters::PortCounters;

/// Most vifs at a time.
pub const MAX_VIFS: usize = 8;

/// Our hardware address on every vif; guests never meet, so one will do. It is the address that Xen's
/// tools give to the back end of a vif.
pub const GATEWAY_MAC: Mac = Mac([0xfe, 0xff, 0xff, 0xff, 0xff, 0xff]);

/// The addresses from which vifs get theirs (RFC 6598). No uplink may lie in it.
pub const VIF_ADDRESSES: Ipv4Cidr = Ipv4Cidr::new(Ipv4Addr::new(100, 64, 0, 0), 24);

/// Number of a vif, below [`MAX_VIFS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VifId(u8);

impl VifId {
    /// The vif with this number. `None` from [`MAX_VIFS`] on.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        if (number as usize) < MAX_VIFS { Some(Self(number)) } else { None }
    }

    /// Its number, below [`MAX_VIFS`].
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The /30 of this vif: our address on it first, then the guest's.
    ///
    /// vif 0, which is control's, has 100.64.0.1 and 100.64.0.2.
    #[must_use]
    pub const fn network(self) -> VifNetwork {
        let base = self.0 * 4;
        VifNetwork {
            gateway: Ipv4Addr::new(100, 64, 0, base + 1),
            guest: Ipv4Addr::new(100, 64, 0, base + 2),
            prefix: 30,
        }
    }
}

/// The addresses of one vif.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VifNetwork {
    /// Ours.
    pub gateway: Ipv4Addr,
    /// The guest's.
    pub guest: Ipv4Addr,
    /// Length of the network prefix in bits.
    pub prefix: u8,
}

/// How long what a guest does wrong is only counted, after it was told once.
pub const QUIET: Duration = Duration::from_secs(60);

/// A connected vif.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vif {
    /// The only hardware address that the guest may use.
    pub(crate) mac: Mac,
    pub(crate) network: VifNetwork,
    pub(crate) counters: PortCounters,
    /// Until then, nothing more is told of what the guest does wrong.
    pub(crate) quiet_until: Instant,
}

/// Whether a guest may ask for packets to go to `destination`, apart from what the uplink's lease
/// forbids: what has no meaning beyond one machine or one wire stays here, and so do vifs' addresses.
#[must_use]
pub fn is_routable(destination: Ipv4Addr) -> bool {
    let reserved = destination.octets()[0] == 0 || destination.octets()[0] >= 224;
    !(reserved
        || destination.is_loopback()
        || destination.is_link_local()
        || VIF_ADDRESSES.contains_addr(&destination))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_vif_lies_in_the_range_that_uplinks_may_not_use() {
        for number in 0..MAX_VIFS as u8 {
            let network = VifId::new(number).unwrap().network();
            assert!(VIF_ADDRESSES.contains_addr(&network.guest));
            assert!(VIF_ADDRESSES.contains_addr(&network.gateway));
        }
        assert_eq!(VifId::new(MAX_VIFS as u8), None);
        assert_eq!(VifId::new(0).unwrap().network().guest, Ipv4Addr::new(100, 64, 0, 2));
    }

    #[test]
    fn addresses_without_meaning_beyond_the_machine_are_not_routed() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "169.254.1.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "100.64.0.6",
        ] {
            assert!(!is_routable(text.parse().unwrap()), "{text}");
        }
        for text in ["10.0.2.2", "192.168.1.1", "1.1.1.1", "100.64.1.1", "223.255.255.255"] {
            assert!(is_routable(text.parse().unwrap()), "{text}");
        }
    }
}
