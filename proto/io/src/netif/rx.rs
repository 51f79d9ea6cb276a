//! Slots of the rx ring: empty buffers from the frontend, frames to it.

use proto_xen::Gref;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, transmute};

use super::{RX_SLOT, Status};

bitflags::bitflags! {
    /// Flags of an rx response. Unknown bits are preserved.
    ///
    /// Source: `NETRXF_*`. The first two stand the other way round than in
    /// [`TxFlags`](super::tx::TxFlags).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct RxFlags: u16 {
        /// The data was checked, or never left the machine.
        const DATA_VALIDATED = 1 << 0;
        /// The TCP or UDP checksum is not filled in.
        const CSUM_BLANK = 1 << 1;
        /// The packet goes on in the next response.
        const MORE_DATA = 1 << 2;
        /// Extra info follows in the next slot.
        const EXTRA_INFO = 1 << 3;
        /// An old form of segmentation.
        const GSO_PREFIX = 1 << 4;
        const _ = !0;
    }
}

/// An rx request as it lies in its slot. Source: `struct netif_rx_request`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct RawRequest {
    id: u16,
    pad: u16,
    gref: u32,
}

const _: () = assert!(size_of::<RawRequest>() == RX_SLOT);

/// An rx response as it lies in its slot. Source: `struct netif_rx_response`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct RawResponse {
    id: u16,
    offset: u16,
    flags: u16,
    status: i16,
}

const _: () = assert!(size_of::<RawResponse>() == RX_SLOT);

/// An empty page for a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RxRequest {
    /// Echoed in the response.
    pub id: u16,
    /// The frontend's page, which the backend may write.
    pub gref: Gref,
}

impl RxRequest {
    /// Reads a slot. The padding is ignored, as Xen's backends do.
    pub fn parse(slot: &[u8; RX_SLOT]) -> Self {
        let RawRequest { id, gref, .. } = transmute!(*slot);
        Self { id, gref: Gref(gref) }
    }

    /// Writes a slot.
    pub fn emit(&self) -> [u8; RX_SLOT] {
        transmute!(RawRequest { id: self.id, pad: 0, gref: self.gref.0 })
    }
}

/// A frame in the page of an rx request, or why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RxResponse {
    /// That of the request.
    pub id: u16,
    /// Where in the page the frame starts, in bytes.
    pub offset: u16,
    /// What follows, and the state of the checksum.
    pub flags: RxFlags,
    /// How many bytes, or why none.
    pub outcome: Result<u16, Status>,
}

impl RxResponse {
    /// Reads a slot. Whether the range lies inside the page is for the owner of the page to check.
    pub fn parse(slot: &[u8; RX_SLOT]) -> Self {
        let RawResponse { id, offset, flags, status } = transmute!(*slot);
        let outcome = u16::try_from(status).map_err(|_| Status(status));
        Self { id, offset, flags: RxFlags::from_bits_retain(flags), outcome }
    }

    /// Writes a slot. A length above 32767 cannot be said and becomes [`Status::ERROR`].
    pub fn emit(&self) -> [u8; RX_SLOT] {
        let status = match self.outcome {
            Ok(length) => i16::try_from(length).unwrap_or(Status::ERROR.0),
            Err(status) => status.0,
        };
        transmute!(RawResponse { id: self.id, offset: self.offset, flags: self.flags.bits(), status })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes laid out by hand from the drawing in `io/netif.h`, little-endian.
    #[test]
    #[cfg(target_endian = "little")]
    fn bytes_are_xens() {
        let request = RxRequest { id: 0x0201, gref: Gref(0x0807_0605) };
        assert_eq!(request.emit(), [1, 2, 0, 0, 5, 6, 7, 8]);
        assert_eq!(RxRequest::parse(&request.emit()), request);
        let response =
            RxResponse { id: 0x0201, offset: 0x0403, flags: RxFlags::DATA_VALIDATED, outcome: Ok(0x05ea) };
        assert_eq!(response.emit(), [1, 2, 3, 4, 1, 0, 0xea, 5]);
        assert_eq!(RxResponse::parse(&response.emit()), response);
        let bad = RxResponse { outcome: Err(Status::ERROR), ..response };
        assert_eq!(bad.emit()[6..], [0xff, 0xff]);
        assert_eq!(RxResponse::parse(&bad.emit()), bad);
    }

    #[test]
    fn flags_are_xens() {
        assert_eq!(RxFlags::DATA_VALIDATED.bits(), 1);
        assert_eq!(RxFlags::CSUM_BLANK.bits(), 2);
        assert_eq!(RxFlags::MORE_DATA.bits(), 4);
        assert_eq!(RxFlags::EXTRA_INFO.bits(), 8);
        assert_eq!(RxFlags::GSO_PREFIX.bits(), 16);
    }

    #[test]
    fn length_that_cannot_be_said_is_an_error() {
        let response = RxResponse { id: 0, offset: 0, flags: RxFlags::empty(), outcome: Ok(40_000) };
        assert_eq!(RxResponse::parse(&response.emit()).outcome, Err(Status::ERROR));
    }
}
