//! Descriptors of both rings, in the legacy formats.
//!
//! | word | receive | transmit |
//! |---|---|---|
//! | 0, 1 | address of the buffer | address of the frame |
//! | 2 | length in bits 0–15, checksum above | length in bits 0–15, CMD in bits 24–31 |
//! | 3 | status in bits 0–7, errors in bits 8–15 | status in bits 0–3 |
//!
//! Source: 82574L datasheet, sections 7.1.4 (receive) and 7.2.10 (transmit).

use bitflags::bitflags;
use core::sync::atomic::{AtomicU32, Ordering};

use super::order;
use crate::dma::{BusAddress, Words};

/// Bytes of a descriptor.
pub(super) const BYTES: usize = 16;
const WORDS: usize = BYTES / 4;

/// Descriptors in a ring of one page.
pub(super) const IN_A_PAGE: u16 = (4096 / BYTES) as u16;

/// The device is done with the descriptor, in both rings.
const DD: u32 = 1;

/// What the device wrote into a receive descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Received {
    /// Bytes in the buffer, as the device says.
    pub(super) length: usize,
    pub(super) status: RxStatus,
    pub(super) errors: RxErrors,
}

bitflags! {
    /// Status of a receive descriptor.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct RxStatus: u8 {
        /// Descriptor Done.
        const DD = 1 << 0;
        /// End Of Packet: the frame does not go on in the next buffer.
        const EOP = 1 << 1;
        const _ = !0;
    }

    /// Errors of a receive descriptor, of the frame itself. Checksum errors of its contents (bits 5
    /// and 6) are its owner's.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct RxErrors: u8 {
        /// CRC error or alignment error.
        const CE = 1 << 0;
        /// Symbol error.
        const SE = 1 << 1;
        /// Sequence error.
        const SEQ = 1 << 2;
        /// Carrier extension error.
        const CXE = 1 << 4;
        /// Receive data error.
        const RXE = 1 << 7;
    }

    /// CMD of a transmit descriptor.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Command: u8 {
        /// End Of Packet.
        const EOP = 1 << 0;
        /// Insert FCS.
        const IFCS = 1 << 1;
        /// Report Status.
        const RS = 1 << 3;
    }
}

fn put(ring: &Words, index: u16, word: usize, value: u32) {
    place(ring, index, word).store(value, Ordering::Relaxed);
}

fn place(ring: &Words, index: u16, word: usize) -> &AtomicU32 {
    // `index` is below IN_A_PAGE: both rings' counters wrap there.
    &ring[usize::from(index) % usize::from(IN_A_PAGE) * WORDS + word]
}

fn put_address(ring: &Words, index: u16, address: BusAddress) {
    put(ring, index, 0, address.0 as u32);
    put(ring, index, 1, (address.0 >> 32) as u32);
}

/// Gives the device a buffer to fill.
pub(super) fn offer(ring: &Words, index: u16, buffer: BusAddress) {
    put_address(ring, index, buffer);
    put(ring, index, 2, 0);
    put(ring, index, 3, 0);
}

/// What the device received into the buffer of this descriptor, if it is done. Each word is read once.
pub(super) fn received(ring: &Words, index: u16) -> Option<Received> {
    // First: what the device wrote before the status (length, frame) is read after it.
    let [status, errors, ..] = order::observe(place(ring, index, 3)).to_le_bytes();
    let status = RxStatus::from_bits_retain(status);
    let length = place(ring, index, 2).load(Ordering::Relaxed) & 0xffff;
    status.contains(RxStatus::DD).then(|| Received {
        length: length as usize,
        status,
        errors: RxErrors::from_bits_truncate(errors),
    })
}

/// Gives the device a frame to send, whole in one buffer, and asks for a report.
pub(super) fn send(ring: &Words, index: u16, frame: BusAddress, length: u16) {
    let command = Command::EOP | Command::IFCS | Command::RS;
    put_address(ring, index, frame);
    put(ring, index, 2, u32::from(length) | u32::from(command.bits()) << 24);
    put(ring, index, 3, 0);
}

/// Whether the device has sent the frame of this descriptor.
pub(super) fn is_sent(ring: &Words, index: u16) -> bool {
    order::observe(place(ring, index, 3)) & DD != 0
}
