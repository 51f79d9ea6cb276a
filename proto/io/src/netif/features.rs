//! What the two ends agree on by xenbus. Between our own services nothing is negotiated: the empty set.

bitflags::bitflags! {
    /// Features of a netif end, named as their xenbus keys.
    ///
    /// Source: `io/netif.h`, comments on the features.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Features: u16 {
        /// `feature-rx-copy`: the backend fills granted buffers. Every backend of today does.
        const RX_COPY = 1 << 0;
        /// `feature-rx-notify`: the frontend tells the backend of new rx requests.
        const RX_NOTIFY = 1 << 1;
        /// `feature-sg`: packets may be spread over several slots.
        const SG = 1 << 2;
        /// `feature-no-csum-offload`: checksums of IPv4 must be filled in. Without it they may be blank.
        const NO_CSUM_OFFLOAD = 1 << 3;
        /// `feature-ipv6-csum-offload`: checksums of IPv6 may be blank.
        const IPV6_CSUM_OFFLOAD = 1 << 4;
        /// `feature-gso-tcpv4`: large TCP packets over IPv4.
        const GSO_TCPV4 = 1 << 5;
        /// `feature-gso-tcpv6`: large TCP packets over IPv6.
        const GSO_TCPV6 = 1 << 6;
        /// `feature-multicast-control`: the backend filters multicast frames on request.
        const MULTICAST_CONTROL = 1 << 7;
        /// `feature-dynamic-multicast-control`: the request may change while connected.
        const DYNAMIC_MULTICAST_CONTROL = 1 << 8;
        /// `feature-split-event-channels`: one port for each ring.
        const SPLIT_EVENT_CHANNELS = 1 << 9;
        /// `feature-ctrl-ring`: a third ring for hashing and the like.
        const CTRL_RING = 1 << 10;
    }
}

/// Each feature with its xenbus key, whose value is `1` where an end has it.
pub const KEYS: [(Features, &str); 11] = [
    (Features::RX_COPY, "feature-rx-copy"),
    (Features::RX_NOTIFY, "feature-rx-notify"),
    (Features::SG, "feature-sg"),
    (Features::NO_CSUM_OFFLOAD, "feature-no-csum-offload"),
    (Features::IPV6_CSUM_OFFLOAD, "feature-ipv6-csum-offload"),
    (Features::GSO_TCPV4, "feature-gso-tcpv4"),
    (Features::GSO_TCPV6, "feature-gso-tcpv6"),
    (Features::MULTICAST_CONTROL, "feature-multicast-control"),
    (Features::DYNAMIC_MULTICAST_CONTROL, "feature-dynamic-multicast-control"),
    (Features::SPLIT_EVENT_CHANNELS, "feature-split-event-channels"),
    (Features::CTRL_RING, "feature-ctrl-ring"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_feature_has_its_own_key() {
        let all = KEYS.iter().fold(Features::empty(), |all, (feature, _)| {
            assert!(!all.intersects(*feature));
            all | *feature
        });
        assert_eq!(all, Features::all());
    }
}
