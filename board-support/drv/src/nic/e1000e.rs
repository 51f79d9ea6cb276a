//! Intel 82574L, which QEMU calls `e1000e`.
//!
//! ```text
//!   Stopped::new (reset) ─── RESET_TIME ──► Stopped::start ──► E1000e ──► E1000e::stop (reset) ─┐
//!                  ▲                                               a fault, or a stuck ring ─────┘
//!                  └─────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Memory is taken once: a page for each ring, and two buffers in each further page. It stays the
//! driver's over a reset, so no page goes back to a pool while the device might still write there.
//!
//! Interrupts are three MSI-X vectors: receive, transmit, everything else. dom0 holds the MSI-X table
//! and the configuration space; IVAR says which cause raises which entry. EIAC stays 0: with it QEMU
//! takes the cause out of IMS at each interrupt, and real cards clear ICR before anyone has looked.
//! Instead each interrupt is acknowledged in ICR *before* the ring is looked at; a frame that comes
//! between the two raises the vector again. The transmit vector is silent unless
//! [`E1000e::want_room`] asks for it: sent frames are collected when the next ones are sent.
//!
//! A device that lies: a length beyond the buffer, a frame that ends in another buffer (it was told not
//! to take any that long), a state of all ones. Each is a [`Fault`], after which the shell resets the
//! device by [`E1000e::stop`].
//!
//! Not done: checksum and segmentation offload, VLAN tags, group addresses, more than one queue. Not
//! tried on a real card.
//!
//! Source: Intel 82574L datasheet, sections 4.6 (initialisation), 7.1, 7.2 (rings), 7.4 (interrupts).

use alloc::vec::Vec;
use core::{fmt, time::Duration};

use board_support_hyp::Shared;

use super::{Link, MAX_FRAME, NotSent, SHORTEST_FRAME, Statistics};
use crate::dma::{self, BusAddress, DevicePages};

mod card;
mod descriptor;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
pub mod order;
mod registers;

pub use registers::{Bus, Readable, Registers, Writable};
use registers::{Cause, Control, FILTER_WORDS, ReceiveControl, Status, TransmitControl};

/// How long after a reset the device must not be touched: it reads its own memory.
pub const RESET_TIME: Duration = Duration::from_millis(10);

/// MSI-X vectors in use, in the order of the table's entries: receive, transmit, other.
pub const VECTORS: usize = 3;

/// Bytes of a buffer; RCTL says so to the device.
const BUFFER: usize = 2048;
const BUFFER_WORDS: usize = BUFFER / 4;

/// Descriptors of the receive ring: a full page.
const RX_DESCRIPTORS: u16 = descriptor::IN_A_PAGE;
/// Descriptors of the transmit ring: half a page. RDLEN and TDLEN count in units of 128 bytes.
const TX_DESCRIPTORS: u16 = 128;

/// Descriptors that are given to the device in one go.
const BATCH: u16 = 16;

/// Why the device did not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartError {
    /// No memory for rings and buffers.
    NoMemory,
    /// The reset does not end: CTRL reads so.
    Reset(u32),
    /// The card has no hardware address, or a group's: RAL and RAH read so.
    NoAddress {
        /// RAL0.
        low: u32,
        /// RAH0.
        high: u32,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMemory => write!(f, "no memory for its rings"),
            Self::Reset(control) => write!(f, "its reset does not end, CTRL reads {control:#010x}"),
            Self::NoAddress { low, high } => {
                write!(f, "it has no hardware address, RAL reads {low:#010x} and RAH {high:#010x}")
            }
        }
    }
}

/// What the device did that it must not do. Reset it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It reports a frame that is longer than any it may take.
    Length {
        /// Bytes, as it says.
        says: usize,
    },
    /// It split a frame over several buffers.
    Split,
    /// Its registers read as ones.
    Gone,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { says } => write!(f, "it received a frame of {says} bytes, more than fit a buffer"),
            Self::Split => write!(f, "it split a frame that fits one buffer"),
            Self::Gone => write!(f, "its registers read as ones"),
        }
    }
}

/// Rings and buffers.
struct Memory<P: DevicePages> {
    rx_ring: Mapped<P>,
    tx_ring: Mapped<P>,
    /// Two buffers a page.
    rx: Vec<Mapped<P>>,
    tx: Vec<Mapped<P>>,
}

/// A page, and where the device finds it.
struct Mapped<P: DevicePages> {
    page: P::Page,
    at: BusAddress,
}

impl<P: DevicePages> Mapped<P> {
    fn allocate(pages: &P) -> Result<Self, StartError> {
        let page = pages.allocate().ok_or(StartError::NoMemory)?;
        let at = BusAddress::of(pages.dfn(&page));
        Ok(Self { page, at })
    }

    fn several(pages: &P, buffers: u16) -> Result<Vec<Self>, StartError> {
        (0..buffers / 2).map(|_| Self::allocate(pages)).collect()
    }
}

/// One buffer of a page.
struct Buffer<'m> {
    words: &'m dma::Words,
    first: usize,
    at: BusAddress,
}

fn buffer<P: DevicePages>(pages: &[Mapped<P>], index: u16) -> Option<Buffer<'_>> {
    let home = pages.get(usize::from(index / 2))?;
    let half = usize::from(index % 2);
    let at = home.at.plus((half * BUFFER) as u64);
    Some(Buffer { words: home.page.words(), first: half * BUFFER_WORDS, at })
}

/// A device that was told to reset, and the memory that it will use.
pub struct Stopped<B: Bus, P: DevicePages> {
    bus: B,
    memory: Memory<P>,
}

impl<B: Bus, P: DevicePages> Stopped<B, P> {
    /// Takes memory and tells the device to reset. [`Stopped::start`] may follow after [`RESET_TIME`].
    ///
    /// # Errors
    /// [`StartError::NoMemory`].
    pub fn new(bus: B, pages: &P) -> Result<Self, StartError> {
        let memory = Memory {
            rx_ring: Mapped::allocate(pages)?,
            tx_ring: Mapped::allocate(pages)?,
            rx: Mapped::several(pages, RX_DESCRIPTORS)?,
            tx: Mapped::several(pages, TX_DESCRIPTORS)?,
        };
        let mut stopped = Self { bus, memory };
        stopped.reset();
        Ok(stopped)
    }

    fn reset(&mut self) {
        self.bus.write(Writable::MaskClear, u32::MAX);
        self.bus.write(Writable::ReceiveControl, 0);
        self.bus.write(Writable::TransmitControl, 0);
        let control = self.bus.read(Readable::Control);
        self.bus.write(Writable::Control, control | Control::GIO_MASTER_DISABLE.bits());
        // DMA under way ends within microseconds; a device that does not say so is reset all the same.
        for _ in 0..100 {
            let status = Status::from_bits_retain(self.bus.read(Readable::Status));
            if !status.contains(Status::GIO_MASTER_EN) {
                break;
            }
        }
        self.bus.write(Writable::Control, control | Control::RST.bits());
    }

    /// Sets the device up. Rings run and interrupts come from then on.
    ///
    /// # Errors
    /// [`StartError`], with the device for another attempt: call [`Stopped::again`] first.
    pub fn start(mut self) -> Result<E1000e<B, P>, (StartError, Self)> {
        let control = self.bus.read(Readable::Control);
        if control == u32::MAX || Control::from_bits_retain(control).contains(Control::RST) {
            return Err((StartError::Reset(control), self));
        }
        // The reset has let all interrupts through again.
        self.bus.write(Writable::MaskClear, u32::MAX);
        self.bus.write(Writable::Causes, u32::MAX);
        let (low, high) = (self.bus.read(Readable::AddressLow), self.bus.read(Readable::AddressHigh));
        let Some(mac) = hardware_address(low, high) else {
            return Err((StartError::NoAddress { low, high }, self));
        };
        let forced = Control::FRCSPD | Control::FRCDPLX | Control::GIO_MASTER_DISABLE;
        self.bus.write(Writable::Control, control & !forced.bits() | Control::SLU.bits());
        let Self { bus, memory } = self;
        let mut device =
            E1000e { bus, memory, mac, rx_next: 0, rx_taken: 0, tx_next: 0, tx_told: 0, tx_clean: 0 };
        device.set_up_interrupts();
        device.set_up_receive();
        device.set_up_transmit();
        device.allow(Cause::RXQ0 | Cause::OTHER | Cause::LSC);
        Ok(device)
    }

    /// Resets once more. [`Stopped::start`] may follow after [`RESET_TIME`].
    #[must_use]
    pub fn again(mut self) -> Self {
        self.reset();
        self
    }
}

fn hardware_address(low: u32, high: u32) -> Option<[u8; 6]> {
    const ADDRESS_VALID: u32 = 1 << 31;
    let ([a, b, c, d], [e, f, ..]) = (low.to_le_bytes(), high.to_le_bytes());
    let mac = [a, b, c, d, e, f];
    let group = a & 1 != 0;
    (high & ADDRESS_VALID != 0 && !group && mac != [0; 6]).then_some(mac)
}

/// A running device.
pub struct E1000e<B: Bus, P: DevicePages> {
    bus: B,
    memory: Memory<P>,
    mac: [u8; 6],
    /// The next descriptor that the device fills.
    rx_next: u16,
    /// Descriptors that we have emptied and not yet given back.
    rx_taken: u16,
    /// The next descriptor that we fill.
    tx_next: u16,
    /// Where the device believes that to be.
    tx_told: u16,
    /// The oldest descriptor that the device has not reported.
    tx_clean: u16,
}

impl<B: Bus, P: DevicePages> E1000e<B, P> {
    /// Its hardware address.
    #[must_use]
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// Asks the device for the state of the link: `None` without carrier.
    ///
    /// # Errors
    /// [`Fault::Gone`].
    pub fn read_link(&mut self) -> Result<Option<Link>, Fault> {
        let status = self.bus.read(Readable::Status);
        if status == u32::MAX {
            return Err(Fault::Gone);
        }
        let status = Status::from_bits_retain(status);
        let link =
            Link::Negotiated { speed_mbit: status.speed_mbit(), full_duplex: status.contains(Status::FD) };
        Ok(status.contains(Status::LU).then_some(link))
    }

    /// Reads and clears what the device counts.
    pub fn read_statistics(&mut self) -> Statistics {
        let crc = self.bus.read(Readable::CrcErrors);
        let rx_errors = self.bus.read(Readable::ReceiveErrors).saturating_add(crc);
        Statistics { rx_errors, rx_missed: self.bus.read(Readable::Missed) }
    }

    /// To be called when the receive vector came, before [`E1000e::receive`] is, until it says `None`.
    pub fn acknowledge_receive(&mut self) {
        self.acknowledge(Cause::RXQ0);
    }

    /// To be called when the transmit vector came: there may be room again.
    pub fn acknowledge_transmit(&mut self) {
        self.bus.write(Writable::MaskClear, Cause::TXQ0.bits());
        self.acknowledge(Cause::TXQ0);
        self.collect_sent();
    }

    /// To be called when the third vector came, before [`E1000e::read_link`].
    pub fn acknowledge_other(&mut self) {
        self.acknowledge(Cause::OTHER | Cause::LSC);
    }

    /// Copies the next received frame to the front of `frame` and returns its length; `None` if there
    /// is no more. Damaged frames are left out; the device counts them.
    ///
    /// # Errors
    /// [`Fault`]; the rings must not be used any more.
    pub fn receive(&mut self, frame: &mut [u8; MAX_FRAME]) -> Result<Option<usize>, Fault> {
        for _ in 0..RX_DESCRIPTORS {
            let Some(received) = descriptor::received(self.memory.rx_ring.page.words(), self.rx_next) else {
                break;
            };
            let descriptor::Received { length, status, errors } = received;
            if length > BUFFER {
                return Err(Fault::Length { says: length });
            }
            if !status.contains(descriptor::RxStatus::EOP) {
                return Err(Fault::Split);
            }
            // 1515 to 1518 bytes are a tagged frame: in order, and nothing that we take.
            let good = errors.is_empty() && (SHORTEST_FRAME..=MAX_FRAME).contains(&length);
            let copied = good && self.copy_received(&mut frame[..length.min(MAX_FRAME)]);
            self.give_back();
            if copied {
                return Ok(Some(length));
            }
        }
        self.tell_receive();
        Ok(None)
    }

    /// Whether [`E1000e::transmit`] has room for `frames` frames.
    pub fn has_room(&mut self, frames: u16) -> bool {
        if self.room() < frames {
            self.collect_sent();
        }
        self.room() >= frames
    }

    /// Puts a frame into the ring. The device learns of it after a few more, or by [`E1000e::flush`].
    ///
    /// # Errors
    /// [`NotSent`]; the frame is not sent.
    pub fn transmit(&mut self, frame: &[u8]) -> Result<(), NotSent> {
        let length = u16::try_from(frame.len()).map_err(|_| NotSent::Length)?;
        if !(SHORTEST_FRAME..=MAX_FRAME).contains(&frame.len()) {
            return Err(NotSent::Length);
        }
        if !self.has_room(1) {
            return Err(NotSent::Full);
        }
        let place = buffer(&self.memory.tx, self.tx_next).ok_or(NotSent::Full)?;
        if !dma::copy_in(place.words, place.first, frame) {
            return Err(NotSent::Length);
        }
        descriptor::send(self.memory.tx_ring.page.words(), self.tx_next, place.at, length);
        self.tx_next = (self.tx_next + 1) % TX_DESCRIPTORS;
        if distance(self.tx_told, self.tx_next, TX_DESCRIPTORS) >= BATCH {
            self.flush();
        }
        Ok(())
    }

    /// Tells the device about all frames in the ring.
    pub fn flush(&mut self) {
        if self.tx_told != self.tx_next {
            self.tx_told = self.tx_next;
            order::tell(|| self.bus.write(Writable::TransmitTail, self.tx_next.into()));
        }
    }

    /// Lets the transmit vector come once when the device has sent something. Look for room once more
    /// after this call: what was sent before it raises nothing.
    pub fn want_room(&mut self) {
        self.flush();
        self.acknowledge(Cause::TXQ0);
        self.allow(Cause::TXQ0);
    }

    /// Frames in the ring that the device has not reported as sent. If the same stay for seconds while
    /// the link is up, the device is stuck: [`E1000e::stop`] it.
    pub fn unsent(&mut self) -> u16 {
        self.collect_sent();
        distance(self.tx_clean, self.tx_next, TX_DESCRIPTORS)
    }

    /// Tells the device to reset; what was in the rings is lost. [`Stopped::start`] may follow after
    /// [`RESET_TIME`].
    #[must_use]
    pub fn stop(self) -> Stopped<B, P> {
        Stopped { bus: self.bus, memory: self.memory }.again()
    }

    /// One descriptor stays empty, for a full ring and an empty one would look the same.
    fn room(&self) -> u16 {
        TX_DESCRIPTORS - 1 - distance(self.tx_clean, self.tx_next, TX_DESCRIPTORS)
    }

    fn collect_sent(&mut self) {
        while self.tx_clean != self.tx_told
            && descriptor::is_sent(self.memory.tx_ring.page.words(), self.tx_clean)
        {
            self.tx_clean = (self.tx_clean + 1) % TX_DESCRIPTORS;
        }
    }

    fn copy_received(&self, frame: &mut [u8]) -> bool {
        buffer(&self.memory.rx, self.rx_next)
            .is_some_and(|buffer| dma::copy_out(buffer.words, buffer.first, frame))
    }

    fn give_back(&mut self) {
        if let Some(buffer) = buffer(&self.memory.rx, self.rx_next) {
            descriptor::offer(self.memory.rx_ring.page.words(), self.rx_next, buffer.at);
        }
        self.rx_next = (self.rx_next + 1) % RX_DESCRIPTORS;
        self.rx_taken += 1;
        if self.rx_taken >= BATCH {
            self.tell_receive();
        }
    }

    fn tell_receive(&mut self) {
        if self.rx_taken > 0 {
            self.rx_taken = 0;
            // One descriptor stays ours, as in the other ring.
            let last = (self.rx_next + RX_DESCRIPTORS - 1) % RX_DESCRIPTORS;
            order::tell(|| self.bus.write(Writable::ReceiveTail, last.into()));
        }
    }

    fn set_up_interrupts(&mut self) {
        /// The entry is in use.
        const VALID: u32 = 8;
        /// An interrupt on each write-back of a transmit descriptor.
        const EVERY_WRITE_BACK: u32 = 1 << 31;
        let vectors = VALID | (VALID | 1) << 8 | (VALID | 2) << 16 | EVERY_WRITE_BACK;
        self.bus.write(Writable::Vectors, vectors);
        self.bus.write(Writable::AutoClear, 0);
    }

    fn set_up_receive(&mut self) {
        for index in 0..RX_DESCRIPTORS {
            if let Some(buffer) = buffer(&self.memory.rx, index) {
                descriptor::offer(self.memory.rx_ring.page.words(), index, buffer.at);
            }
        }
        for word in 0..FILTER_WORDS {
            self.bus.write(Writable::Filter(word as u8), 0);
        }
        let ring = self.memory.rx_ring.at.0;
        self.bus.write(Writable::ReceiveBaseLow, ring as u32);
        self.bus.write(Writable::ReceiveBaseHigh, (ring >> 32) as u32);
        self.bus.write(Writable::ReceiveLength, u32::from(RX_DESCRIPTORS) * descriptor::BYTES as u32);
        self.bus.write(Writable::ReceiveHead, 0);
        let mode = ReceiveControl::EN | ReceiveControl::BAM | ReceiveControl::SECRC;
        order::tell(|| self.bus.write(Writable::ReceiveControl, mode.bits()));
        self.bus.write(Writable::ReceiveTail, u32::from(RX_DESCRIPTORS) - 1);
    }

    fn set_up_transmit(&mut self) {
        /// Gaps of 8, 8 and 6 units, as the datasheet recommends for copper.
        const GAPS: u32 = 8 | 8 << 10 | 6 << 20;
        /// Thresholds count descriptors (bit 24), write back each one (WTHRESH 1), bit 22 is to be set.
        const DESCRIPTORS: u32 = 1 << 24 | 1 << 22 | 1 << 16;
        let ring = self.memory.tx_ring.at.0;
        self.bus.write(Writable::TransmitBaseLow, ring as u32);
        self.bus.write(Writable::TransmitBaseHigh, (ring >> 32) as u32);
        self.bus.write(Writable::TransmitLength, u32::from(TX_DESCRIPTORS) * descriptor::BYTES as u32);
        self.bus.write(Writable::TransmitHead, 0);
        self.bus.write(Writable::TransmitTail, 0);
        self.bus.write(Writable::Gaps, GAPS);
        self.bus.write(Writable::TransmitDescriptors, DESCRIPTORS);
        let mode = TransmitControl::EN | TransmitControl::PSP | TransmitControl::CT | TransmitControl::COLD;
        self.bus.write(Writable::TransmitControl, mode.bits());
    }

    fn allow(&mut self, causes: Cause) {
        self.bus.write(Writable::MaskSet, causes.bits());
    }

    fn acknowledge(&mut self, causes: Cause) {
        order::acknowledge(|| {
            self.bus.write(Writable::Causes, causes.bits());
            // The write may still be on its way when the ring is looked at, and would then take back the cause
            // of a frame that came meanwhile. No answer to a read overtakes it.
            self.bus.read(Readable::Status);
        });
    }
}

/// Steps from `from` to `to` in a ring of `size`.
fn distance(from: u16, to: u16, size: u16) -> u16 {
    (to + size - from) % size
}

#[cfg(test)]
mod tests;
