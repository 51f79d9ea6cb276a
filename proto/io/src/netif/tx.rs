//! Slots of the tx ring: frames from the frontend.

use proto_xen::Gref;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, transmute};

use super::{Status, TX_SLOT};

bitflags::bitflags! {
    /// Flags of a tx request. Unknown bits are preserved.
    ///
    /// Source: `NETTXF_*`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct TxFlags: u16 {
        /// The TCP or UDP checksum is not filled in.
        const CSUM_BLANK = 1 << 0;
        /// The data was checked, or never left the machine.
        const DATA_VALIDATED = 1 << 1;
        /// The packet goes on in the next request.
        const MORE_DATA = 1 << 2;
        /// Extra info follows in the next slot.
        const EXTRA_INFO = 1 << 3;
        const _ = !0;
    }
}

/// A tx request as it lies in its slot. Source: `struct netif_tx_request`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct RawRequest {
    gref: u32,
    offset: u16,
    flags: u16,
    id: u16,
    size: u16,
}

const _: () = assert!(size_of::<RawRequest>() == TX_SLOT);

/// A tx response as it lies in its slot. Source: `struct netif_tx_response`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct RawResponse {
    id: u16,
    status: i16,
    unused: [u32; 2],
}

const _: () = assert!(size_of::<RawResponse>() == TX_SLOT);

/// A piece of a packet. Nothing is checked yet: see [`packet`](super::packet).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxRequest {
    /// The frontend's page.
    pub gref: Gref,
    /// Where in the page the piece starts, in bytes.
    pub offset: u16,
    /// What follows, and the state of the checksum.
    pub flags: TxFlags,
    /// Echoed in the response.
    pub id: u16,
    /// Bytes of the whole packet in the first request of a packet, bytes of the piece in the others.
    pub size: u16,
}

impl TxRequest {
    /// Reads a slot.
    pub fn parse(slot: &[u8; TX_SLOT]) -> Self {
        let RawRequest { gref, offset, flags, id, size } = transmute!(*slot);
        Self { gref: Gref(gref), offset, flags: TxFlags::from_bits_retain(flags), id, size }
    }

    /// Writes a slot.
    pub fn emit(&self) -> [u8; TX_SLOT] {
        let Self { gref, offset, flags, id, size } = *self;
        transmute!(RawRequest { gref: gref.0, offset, flags: flags.bits(), id, size })
    }
}

/// The answer to a tx request, or to a slot of extra info with [`Status::NULL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxResponse {
    /// That of the request. Means nothing with [`Status::NULL`].
    pub id: u16,
    /// How it went.
    pub status: Status,
}

impl TxResponse {
    /// Reads a slot.
    pub fn parse(slot: &[u8; TX_SLOT]) -> Self {
        let RawResponse { id, status, .. } = transmute!(*slot);
        Self { id, status: Status(status) }
    }

    /// Writes a slot.
    pub fn emit(&self) -> [u8; TX_SLOT] {
        transmute!(RawResponse { id: self.id, status: self.status.0, unused: [0; 2] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes laid out by hand from the drawing in `io/netif.h`, little-endian.
    #[test]
    #[cfg(target_endian = "little")]
    fn bytes_are_xens() {
        let request = TxRequest {
            gref: Gref(0x0403_0201),
            offset: 0x0605,
            flags: TxFlags::MORE_DATA | TxFlags::EXTRA_INFO,
            id: 0x0a09,
            size: 0x0c0b,
        };
        assert_eq!(request.emit(), [1, 2, 3, 4, 5, 6, 0x0c, 0, 9, 10, 11, 12]);
        assert_eq!(TxRequest::parse(&request.emit()), request);
        let response = TxResponse { id: 0x0201, status: Status::DROPPED };
        assert_eq!(response.emit(), [1, 2, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(TxResponse::parse(&response.emit()), response);
    }

    #[test]
    fn flags_are_xens_and_unknown_bits_are_kept() {
        assert_eq!(TxFlags::CSUM_BLANK.bits(), 1);
        assert_eq!(TxFlags::DATA_VALIDATED.bits(), 2);
        assert_eq!(TxFlags::MORE_DATA.bits(), 4);
        assert_eq!(TxFlags::EXTRA_INFO.bits(), 8);
        let slot = [0xff; TX_SLOT];
        assert_eq!(TxRequest::parse(&slot).emit(), slot);
    }
}
