//! What dom0 hands to each domain of ours: its name, its pages, its ports, its devices.
//!
//! The record is module 0 of the PVH start info. All pages that it names lie in the domain's own
//! RAM, at its top, in ranges that the memory map calls reserved.

use heapless::Vec;
use serde::{Deserialize, Serialize};

pub use crate::table::DeviceKind;
use crate::{
    name::{self, Name},
    stamp::{Contradiction, RecordError, Stamp},
    table::MAX_CHANNELS_OF_ONE,
};

/// The stamp of a wiring record.
pub const STAMP: Stamp = Stamp { magic: *b"SaWi", version: 5 };

/// Room that every wiring record fits into, in bytes.
pub const MAX_BYTES: usize = 2048;

/// How one domain is connected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wiring {
    /// The domain's name in the table.
    pub name: Name,
    /// Its domain id.
    pub domid: u16,
    /// Guest address of the page that a panic writes its last words into.
    pub epitaph: u64,
    /// The most that its heap may take, in KiB.
    pub heap_limit_kib: u32,
    /// Its ends of channels.
    pub channels: Vec<ChannelEnd, MAX_CHANNELS_OF_ONE>,
    /// The devices that are its own. An optional one that the machine does not have is not among them.
    pub devices: Vec<DeviceGrant, 4>,
    /// The slot of the disk that the machine was started from; `None` if it was started without the selector.
    pub slot: Option<RunningSlot>,
}

/// One of the disk's two slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunningSlot {
    /// The first.
    A,
    /// The second.
    B,
}

/// One end of a channel, seen from the domain that holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelEnd {
    /// The channel's name in the table; `dom0` for the one that every service has.
    pub name: Name,
    /// Whose page it is, and how to reach the peer.
    pub end: End,
}

/// How to reach the peer of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// The peer is dom0, which has mapped our page and holds the other end of our port.
    Dom0 {
        /// Guest address of the channel's page.
        page: u64,
        /// Our port, ready to use.
        port: u32,
    },
    /// We offer the page: we bind the port if it is the peer's, grant the page at `gref`, then notify.
    Offer {
        /// Domain id of the peer.
        peer: u16,
        /// Guest address of the channel's page.
        page: u64,
        /// The grant reference that the peer will map; we fill the entry.
        gref: u32,
        /// Our port, unbound until the peer binds to it; or the peer's, to be bound with `bind_interdomain`.
        port: u32,
        /// Whether it is the peer's.
        bind: bool,
    },
    /// We bind the port if it is the peer's, and map the peer's page.
    Accept {
        /// Domain id of the peer.
        peer: u16,
        /// The peer's grant reference; mapping fails until the peer has filled it.
        gref: u32,
        /// Our port, unbound until the peer binds to it; or the peer's, to be bound with `bind_interdomain`.
        port: u32,
        /// Whether it is the peer's.
        bind: bool,
    },
    /// The table has the channel, and its peer was not there: dom0 tells of it when it is.
    Absent,
}

/// A device that was handed to the domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceGrant {
    /// The device's name in the table.
    pub name: Name,
    /// Which driver it wants.
    pub kind: DeviceKind,
    /// Where its registers are.
    pub mmio: Vec<MmioWindow, 4>,
    /// Its interrupts: the domain's vectors, in the order of the device's MSI-X entries (PCI); the
    /// INTID (aarch64).
    pub vectors: Vec<u16, 8>,
    /// The memory that it may use, where no IOMMU lets it use the domain's own.
    pub pool: Option<DmaPool>,
}

/// Pages of another domain for a device's DMA: granted in a row, and in a row for the device too.
/// The bus address is what mapping a grant gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DmaPool {
    /// Domain id of the one who grants them.
    pub owner: u16,
    /// Grant reference of the first page; the others follow.
    pub first_gref: u32,
    /// How many.
    pub pages: u16,
}

/// Registers, mapped into the domain: a part of a BAR, or (BAR 0) of a device that has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MmioWindow {
    /// Guest address of its first byte, which need not begin a page.
    pub gaddr: u64,
    /// Length in bytes.
    pub len: u64,
    /// Which BAR.
    pub bar: u8,
    /// Where in the BAR it starts, in bytes.
    pub offset: u64,
}

impl Wiring {
    /// Writes the record into `out` and returns the bytes used. [`MAX_BYTES`] are always enough.
    ///
    /// # Errors
    /// [`RecordError::NoRoom`] if `out` is too small.
    pub fn encode<'a>(&self, out: &'a mut [u8]) -> Result<&'a mut [u8], RecordError> {
        STAMP.encode(self, out)
    }

    /// Reads a record.
    ///
    /// # Errors
    /// As [`Stamp::decode`]; [`RecordError::Inconsistent`] for a bad name or a page that is not
    /// aligned.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let wiring: Self = STAMP.decode(bytes)?;
        wiring.check().map_err(RecordError::Inconsistent)?;
        Ok(wiring)
    }

    /// This domain's end of the channel called `name`.
    pub fn channel(&self, name: &str) -> Option<End> {
        self.channels.iter().find(|channel| channel.name == name).map(|channel| channel.end)
    }

    /// The device called `name`.
    pub fn device(&self, name: &str) -> Option<&DeviceGrant> {
        self.devices.iter().find(|device| device.name == name)
    }

    fn check(&self) -> Result<(), Contradiction> {
        let names = self.channels.iter().map(|c| &c.name).chain(self.devices.iter().map(|d| &d.name));
        if !core::iter::once(&self.name).chain(names).all(|name| name::is_valid(name)) {
            return Err(Contradiction::Name);
        }
        let pages = self.channels.iter().filter_map(|channel| match channel.end {
            End::Dom0 { page, .. } | End::Offer { page, .. } => Some(page),
            End::Accept { .. } | End::Absent => None,
        });
        if core::iter::once(self.epitaph).chain(pages).any(|page| page % 4096 != 0) {
            return Err(Contradiction::Range);
        }
        let twice = |index: usize, name: &Name| self.channels.iter().skip(index + 1).any(|c| c.name == *name);
        if self.channels.iter().enumerate().any(|(index, channel)| twice(index, &channel.name)) {
            return Err(Contradiction::Duplicate);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Wiring {
        let name = |text: &str| Name::try_from(text).unwrap();
        let window = MmioWindow { gaddr: u64::MAX, len: u64::MAX, bar: 5, offset: u64::MAX };
        let mut wiring = Wiring {
            name: name("sixteen-letters-"),
            domid: u16::MAX,
            epitaph: 0xff_f000,
            heap_limit_kib: u32::MAX,
            channels: Vec::new(),
            devices: Vec::new(),
            slot: Some(RunningSlot::B),
        };
        for letter in "abcdefgh".chars() {
            let mut text = Name::try_from("channel-number-").unwrap();
            text.push(letter).unwrap();
            let end = End::Offer { peer: u16::MAX, page: !4095, gref: u32::MAX, port: u32::MAX, bind: true };
            wiring.channels.push(ChannelEnd { name: text, end }).unwrap();
        }
        for _ in 0..4 {
            let grant = DeviceGrant {
                name: name("sixteen-letters-"),
                kind: DeviceKind::E1000e,
                mmio: [window; 4].into_iter().collect(),
                vectors: [u16::MAX; 8].into_iter().collect(),
                pool: Some(DmaPool { owner: u16::MAX, first_gref: u32::MAX, pages: u16::MAX }),
            };
            wiring.devices.push(grant).unwrap();
        }
        wiring
    }

    #[test]
    fn the_largest_record_fits_and_comes_back_equal() {
        let mut buffer = [0; MAX_BYTES];
        let bytes = full().encode(&mut buffer).unwrap();
        assert_eq!(Wiring::decode(bytes).unwrap(), full());
    }

    #[test]
    fn every_shorter_record_is_refused() {
        let mut buffer = [0; MAX_BYTES];
        let bytes = full().encode(&mut buffer).unwrap();
        for length in 0..bytes.len() {
            assert!(Wiring::decode(&bytes[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn another_version_is_named() {
        let mut buffer = [0; MAX_BYTES];
        let bytes = full().encode(&mut buffer).unwrap();
        bytes[4] = 9;
        let error = Wiring::decode(bytes).unwrap_err();
        assert_eq!(error, RecordError::Version { found: 9, known: 5 });
    }

    #[test]
    fn a_page_that_is_not_aligned_is_refused() {
        let mut wiring = full();
        wiring.epitaph += 8;
        let mut buffer = [0; MAX_BYTES];
        let bytes = wiring.encode(&mut buffer).unwrap();
        assert_eq!(Wiring::decode(bytes), Err(RecordError::Inconsistent(Contradiction::Range)));
    }
}
