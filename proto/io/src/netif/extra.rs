//! Slots that carry more about a packet. The first 8 bytes count on both rings.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, transmute};

/// Bytes of extra info; a tx slot has four more that mean nothing.
pub const EXTRA_BYTES: usize = 8;

/// Another extra follows. Source: `XEN_NETIF_EXTRA_FLAG_MORE`.
const MORE: u8 = 1 << 0;

/// What an extra is about. Source: `XEN_NETIF_EXTRA_TYPE_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtraType(pub u8);

impl ExtraType {
    /// Segmentation.
    pub const GSO: Self = Self(1);
    /// Adds a multicast address to the backend's filter; the packet itself is a dummy.
    pub const MCAST_ADD: Self = Self(2);
    /// Takes one away.
    pub const MCAST_DEL: Self = Self(3);
    /// A hash of the packet's flow.
    pub const HASH: Self = Self(4);
}

/// Extra info as it lies in its slot. Source: `struct netif_extra_info`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct RawExtra {
    kind: u8,
    flags: u8,
    body: [u8; 6],
}

const _: () = assert!(size_of::<RawExtra>() == EXTRA_BYTES);

/// What an extra says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extra {
    /// The packet is to be cut into segments.
    Gso {
        /// Payload of a segment in bytes.
        size: u16,
        /// Protocol: 1 is TCP over IPv4, 2 over IPv6.
        protocol: u8,
        /// What else is needed.
        features: u16,
    },
    /// This multicast address is wanted.
    McastAdd([u8; 6]),
    /// This multicast address is no longer wanted.
    McastDel([u8; 6]),
    /// A hash of the flow.
    Hash {
        /// What was hashed.
        kind: u8,
        /// How.
        algorithm: u8,
        /// The hash.
        value: [u8; 4],
    },
    /// Something that `io/netif.h` does not name.
    Unknown(ExtraType),
}

impl Extra {
    /// Reads the first 8 bytes of a slot: the extra, and whether another follows.
    pub fn parse(slot: &[u8; EXTRA_BYTES]) -> (Self, bool) {
        let RawExtra { kind, flags, body: [a, b, c, d, e, f] } = transmute!(*slot);
        let extra = match ExtraType(kind) {
            ExtraType::GSO => Self::Gso {
                size: u16::from_ne_bytes([a, b]),
                protocol: c,
                features: u16::from_ne_bytes([e, f]),
            },
            ExtraType::MCAST_ADD => Self::McastAdd([a, b, c, d, e, f]),
            ExtraType::MCAST_DEL => Self::McastDel([a, b, c, d, e, f]),
            ExtraType::HASH => Self::Hash { kind: a, algorithm: b, value: [c, d, e, f] },
            unknown => Self::Unknown(unknown),
        };
        (extra, flags & MORE != 0)
    }

    /// Writes the first 8 bytes of a slot.
    pub fn emit(&self, more: bool) -> [u8; EXTRA_BYTES] {
        let (kind, body) = match *self {
            Self::Gso { size, protocol, features } => {
                let ([a, b], [e, f]) = (size.to_ne_bytes(), features.to_ne_bytes());
                (ExtraType::GSO, [a, b, protocol, 0, e, f])
            }
            Self::McastAdd(address) => (ExtraType::MCAST_ADD, address),
            Self::McastDel(address) => (ExtraType::MCAST_DEL, address),
            Self::Hash { kind, algorithm, value: [a, b, c, d] } => {
                (ExtraType::HASH, [kind, algorithm, a, b, c, d])
            }
            Self::Unknown(kind) => (kind, [0; 6]),
        };
        transmute!(RawExtra { kind: kind.0, flags: if more { MORE } else { 0 }, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes laid out by hand from the drawing in `io/netif.h`, little-endian.
    #[test]
    #[cfg(target_endian = "little")]
    fn bytes_are_xens() {
        let gso = Extra::Gso { size: 0x05b4, protocol: 1, features: 0x0102 };
        assert_eq!(gso.emit(true), [1, 1, 0xb4, 5, 1, 0, 2, 1]);
        assert_eq!(Extra::McastAdd([1, 0, 0x5e, 0, 0, 1]).emit(false), [2, 0, 1, 0, 0x5e, 0, 0, 1]);
        assert_eq!(Extra::McastDel([9; 6]).emit(false)[0], 3);
        assert_eq!(Extra::Hash { kind: 7, algorithm: 1, value: [1, 2, 3, 4] }.emit(false)[..4], [4, 0, 7, 1]);
    }

    #[test]
    fn parsing_undoes_emitting() {
        let extras = [
            Extra::Gso { size: 1448, protocol: 2, features: 0 },
            Extra::McastAdd([1; 6]),
            Extra::McastDel([2; 6]),
            Extra::Hash { kind: 1, algorithm: 1, value: [5; 4] },
            Extra::Unknown(ExtraType(0)),
            Extra::Unknown(ExtraType(200)),
        ];
        for extra in extras {
            for more in [true, false] {
                assert_eq!(Extra::parse(&extra.emit(more)), (extra, more));
            }
        }
    }
}
