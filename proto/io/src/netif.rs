//! The network interface protocol: two rings, tx and rx as the frontend sees them.
//!
//! | module | what it is |
//! |---|---|
//! | [`tx`] | slots of the tx ring: frames from the frontend |
//! | [`rx`] | slots of the rx ring: empty buffers out, frames to the frontend |
//! | [`extra`] | slots that carry more about a packet |
//! | [`packet`] | packets out of the slots of the tx ring |
//! | [`checksum`] | who fills in and who checks TCP and UDP checksums |
//! | [`features`] | what the ends agree on by xenbus |
//!
//! Source: `io/netif.h`.

pub mod checksum;
pub mod extra;
pub mod features;
pub mod packet;
pub mod rx;
pub mod tx;

/// Most request slots that a packet may be spread over. Source: `XEN_NETIF_NR_SLOTS_MIN`.
pub const MAX_SLOTS: usize = 18;

/// Bytes of a tx slot.
pub const TX_SLOT: usize = 12;

/// Bytes of an rx slot.
pub const RX_SLOT: usize = 8;

/// Outcome of a request. An rx response has the length of the frame here instead of [`Status::OKAY`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub i16);

impl Status {
    /// The packet was dropped. Source: `NETIF_RSP_DROPPED`.
    pub const DROPPED: Self = Self(-2);
    /// The request was bad. Source: `NETIF_RSP_ERROR`.
    pub const ERROR: Self = Self(-1);
    /// Done. Source: `NETIF_RSP_OKAY`.
    pub const OKAY: Self = Self(0);
    /// No answer: stands in the slots that extra info was in. Source: `NETIF_RSP_NULL`.
    pub const NULL: Self = Self(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_xens() {
        assert_eq!(Status::DROPPED.0, -2);
        assert_eq!(Status::ERROR.0, -1);
        assert_eq!(Status::OKAY.0, 0);
        assert_eq!(Status::NULL.0, 1);
        assert_eq!(MAX_SLOTS, 18);
        assert_eq!(proto_ring::slots::nr_ents(TX_SLOT), 256);
        assert_eq!(proto_ring::slots::nr_ents(RX_SLOT), 256);
    }
}
