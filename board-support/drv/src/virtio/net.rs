//! The network card of the virtio family.
//!
//! ```text
//!   Stopped::new (reset) ─── RESET_TIME ──► Stopped::start ──► Card ──► Card::stop (reset) ─┐
//!                  ▲                                             a fault, or a stuck ring ───┘
//!                  └─────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Memory is taken once: a page for each ring, and two buffers in each further page ([`PAGES`]). It stays
//! the driver's over a reset, and the device is told of no other. Each frame lies whole in one buffer,
//! behind a header that says nothing, for no feature that would need it is taken.
//!
//! There is one interrupt. [`Card::acknowledge`] asks for silence first and then acknowledges until the
//! device has nothing more to say (why, stands in [`super::mmio`]); [`Card::receive`] asks for interrupts
//! again when it has found nothing, and looks once more. Sent frames raise none, unless
//! [`Card::want_room`] asks for it.
//!
//! A device that lies is told by [`Fault`]. The first one stays until [`Card::stop`]: nothing of the
//! device is believed any more.
//!
//! Not done: offloads, merged buffers, the control queue, more than one queue each way.
//!
//! Source: specification, section 5.1.

use alloc::vec::Vec;
use core::{fmt, mem::offset_of, sync::atomic::Ordering::Relaxed, time::Duration};

use bitflags::bitflags;
use board_support_hyp::Shared;
use safe_mmio::{field_shared, fields::ReadPure};

use super::{
    DeviceStatus, InterruptStatus, Readable, Transport, Writable,
    greet::{self, GreetError},
    mmio::Registers,
    queue::{self, Ours, Purpose},
    ring::Ring,
};
use crate::{
    dma::{self, BusAddress, DevicePages},
    mmio::{DeviceWords, RegisterBlock, Window},
    nic::{Causes, Link, MAX_FRAME, NotSent, SHORTEST_FRAME, Statistics},
};

mod card;

/// How long after a reset the device is left alone. Its status then says whether the reset is done.
pub const RESET_TIME: Duration = Duration::from_millis(1);

/// Pages that the driver takes.
pub const PAGES: usize = 2 + 2 * BUFFER_PAGES;

/// Buffers of each queue, two in a page.
const BUFFER_PAGES: usize = queue::MAX_SIZE as usize / 2;

/// Bytes from one buffer of a page to the next.
const BUFFER: u64 = 2048;
const BUFFER_WORDS: usize = BUFFER as usize / 4;

/// Bytes of the header ahead of each frame.
const HEADER: usize = 12;
const HEADER_WORDS: usize = HEADER / 4;

/// Bytes of a buffer that the device is told of: no frame of ours is longer.
const ROOM: u32 = (HEADER + MAX_FRAME) as u32;

/// Buffers that are given to the device in one go.
const BATCH: u16 = 16;

/// Kind of device, in DeviceID.
const NETWORK_CARD: u32 = 1;

/// Numbers of the queues.
const RECEIVE: u32 = 0;
const TRANSMIT: u32 = 1;

/// Reads of InterruptStatus or of the configuration until the device is stuck.
const ATTEMPTS: usize = 16;

const _: () = assert!(ROOM as u64 <= BUFFER);

bitflags! {
    /// Features of the card. Source: section 5.1.3.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct NetFeatures: u64 {
        /// It has a hardware address.
        const MAC = 1 << 5;
        /// It tells of its carrier.
        const STATUS = 1 << 16;
    }
}

/// Status in the configuration: VIRTIO_NET_S_LINK_UP.
const LINK_UP: u16 = 1;

/// The configuration. Source: section 5.1.4.
#[repr(C)]
pub struct Config {
    /// 0 mac.
    mac: [ReadPure<u8>; 6],
    /// 6 status.
    status: ReadPure<u16>,
}

// SAFETY:
// 1. `repr(C)`, fields of 8 and 16 bits.
// 2. Nothing of it is written.
unsafe impl RegisterBlock for Config {}

const _: () = assert!(offset_of!(Config, mac) == 0 && offset_of!(Config, status) == 6);

/// Access to the card: the real one, or a fake's.
pub trait Bus: Transport {
    /// Reads the hardware address in the configuration.
    fn read_mac(&mut self) -> [u8; 6];

    /// Reads the carrier's state in the configuration.
    fn read_link_status(&mut self) -> u16;
}

impl<M: DeviceWords> Bus for Window<M, Registers<Config>> {
    fn read_mac(&mut self) -> [u8; 6] {
        self.read_config(|config| {
            let mac = field_shared!(config, mac);
            core::array::from_fn(|at| mac.get(at).map_or(0, |byte| byte.read()))
        })
    }

    fn read_link_status(&mut self) -> u16 {
        self.read_config(|config| field_shared!(config, status).read())
    }
}

/// Why the device did not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartError {
    /// No memory for rings and buffers.
    NoMemory,
    /// They do not come together.
    Greet(GreetError),
    /// Its hardware address is a group's, or none.
    NoAddress([u8; 6]),
    /// Its configuration does not come to rest.
    Configuration,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMemory => write!(f, "no memory for its rings"),
            Self::Greet(error) => write!(f, "{error}"),
            Self::NoAddress(mac) => write!(f, "it has no hardware address but {mac:02x?}"),
            Self::Configuration => write!(f, "its configuration does not come to rest"),
        }
    }
}

impl From<GreetError> for StartError {
    fn from(error: GreetError) -> Self {
        Self::Greet(error)
    }
}

/// What the device did that it must not do. Reset it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It lied about received frames.
    Receive(queue::Fault),
    /// It lied about sent frames.
    Transmit(queue::Fault),
    /// It received a frame without a whole header.
    Short {
        /// Bytes, as it says.
        says: u32,
    },
    /// It received a frame that needs work which we have not offered to do.
    Offload {
        /// Flags of the header.
        flags: u8,
        /// Kind of segmentation.
        segmentation: u8,
    },
    /// It wants to be reset.
    NeedsReset,
    /// It does not run, though we have not stopped it: Status reads so.
    Status(u32),
    /// It has interrupts that the specification does not: InterruptStatus reads so.
    Interrupt(u32),
    /// It goes on interrupting, however often that is acknowledged.
    Restless,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Receive(fault) => write!(f, "receive queue: {fault}"),
            Self::Transmit(fault) => write!(f, "transmit queue: {fault}"),
            Self::Short { says } => write!(f, "it received {says} bytes, less than a header"),
            Self::Offload { flags, segmentation } => {
                write!(f, "it left work on a frame to us, flags {flags:#x}, segmentation {segmentation:#x}")
            }
            Self::NeedsReset => write!(f, "it wants to be reset"),
            Self::Status(status) => write!(f, "it does not run any more, Status reads {status:#x}"),
            Self::Interrupt(status) => write!(f, "InterruptStatus reads {status:#x}"),
            Self::Restless => write!(f, "its interrupt does not end"),
        }
    }
}

/// Pages of buffers, and where the device finds them.
struct Buffers<P: DevicePages>(Vec<(P::Page, BusAddress)>);

/// One buffer of a page.
struct Buffer<'m> {
    words: &'m dma::Words,
    first: usize,
    at: BusAddress,
}

impl<P: DevicePages> Buffers<P> {
    fn allocate(pages: &P) -> Option<Self> {
        let page = || {
            let page = pages.allocate()?;
            let at = BusAddress::of(pages.dfn(&page));
            Some((page, at))
        };
        (0..BUFFER_PAGES).map(|_| page()).collect::<Option<_>>().map(Self)
    }

    /// The buffer of a descriptor.
    fn of(&self, descriptor: &Ours) -> Option<Buffer<'_>> {
        let (page, at) = self.0.get(usize::from(descriptor.number() / 2))?;
        let half = usize::from(descriptor.number() % 2);
        let at = at.plus(half as u64 * BUFFER);
        Some(Buffer { words: page.words(), first: half * BUFFER_WORDS, at })
    }
}

/// Rings and buffers.
struct Memory<P: DevicePages> {
    rx_ring: Ring<P>,
    tx_ring: Ring<P>,
    rx: Buffers<P>,
    tx: Buffers<P>,
}

impl<P: DevicePages> Memory<P> {
    fn allocate(pages: &P) -> Option<Self> {
        Some(Self {
            rx_ring: Ring::allocate(pages)?,
            tx_ring: Ring::allocate(pages)?,
            rx: Buffers::allocate(pages)?,
            tx: Buffers::allocate(pages)?,
        })
    }
}

/// A device that was told to reset, and the memory that it will use.
pub struct Stopped<B: Bus, P: DevicePages> {
    bus: B,
    memory: Memory<P>,
}

impl<B: Bus, P: DevicePages> Stopped<B, P> {
    /// Takes memory and tells the device to reset, whatever it was doing for whomever.
    /// [`Stopped::start`] may follow after [`RESET_TIME`].
    ///
    /// # Errors
    /// [`StartError::NoMemory`].
    pub fn new(mut bus: B, pages: &P) -> Result<Self, StartError> {
        // First, for rings and buffers may be those of somebody who was killed while the device ran.
        bus.write(Writable::Status, 0);
        let memory = Memory::allocate(pages).ok_or(StartError::NoMemory)?;
        Ok(Self { bus, memory })
    }

    /// Sets the device up. Rings run and interrupts come from then on.
    ///
    /// # Errors
    /// [`StartError`], with the device for another attempt: call [`Stopped::again`] first.
    pub fn start(mut self) -> Result<Card<B, P>, (StartError, Self)> {
        match self.set_up() {
            Ok(Agreed { mac, link }) => {
                let Self { bus, memory } = self;
                let mut card = Card { bus, memory, mac, link, fault: None };
                card.fill();
                Ok(card)
            }
            Err(error) => {
                self.bus.write(Writable::Status, DeviceStatus::FAILED.bits());
                Err((error, self))
            }
        }
    }

    /// Resets once more. [`Stopped::start`] may follow after [`RESET_TIME`].
    #[must_use]
    pub fn again(mut self) -> Self {
        self.bus.write(Writable::Status, 0);
        self
    }

    /// The order is that of section 3.1.1.
    fn set_up(&mut self) -> Result<Agreed, StartError> {
        let Self { bus, memory } = self;
        greet::check(bus, NETWORK_CARD)?;
        let offered = greet::agree(bus, NetFeatures::MAC.bits(), NetFeatures::STATUS.bits())?;
        let mac = read_stable_mac(bus)?;
        let link = if offered & NetFeatures::STATUS.bits() == 0 { Carrier::Always } else { Carrier::Told };
        memory.rx_ring.set_up(bus, RECEIVE)?;
        memory.tx_ring.set_up(bus, TRANSMIT)?;
        memory.tx_ring.queue.silence();
        greet::run(bus);
        Ok(Agreed { mac, link })
    }
}

/// What driver and device have agreed on.
struct Agreed {
    mac: [u8; 6],
    link: Carrier,
}

/// Whether the device tells of its carrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carrier {
    Told,
    Always,
}

/// Reads the hardware address, whole: not half of one and half of the next.
fn read_stable_mac(bus: &mut impl Bus) -> Result<[u8; 6], StartError> {
    for _ in 0..ATTEMPTS {
        let before = bus.read(Readable::ConfigGeneration);
        let mac = bus.read_mac();
        if bus.read(Readable::ConfigGeneration) != before {
            continue;
        }
        let group = mac[0] & 1 != 0;
        return if group || mac == [0; 6] { Err(StartError::NoAddress(mac)) } else { Ok(mac) };
    }
    Err(StartError::Configuration)
}

/// A running device.
pub struct Card<B: Bus, P: DevicePages> {
    bus: B,
    memory: Memory<P>,
    mac: [u8; 6],
    link: Carrier,
    /// The first thing that the device did and must not do.
    fault: Option<Fault>,
}

impl<B: Bus, P: DevicePages> Card<B, P> {
    /// Its hardware address.
    #[must_use]
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// What the device did that it must not do.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// Asks the device for the state of the link: `None` without carrier.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn read_link(&mut self) -> Result<Option<Link>, Fault> {
        self.trusted()?;
        let reads = self.bus.read(Readable::Status);
        let status = DeviceStatus::from_bits_retain(reads);
        if status != greet::RUNNING {
            let wants_reset = status == greet::RUNNING | DeviceStatus::DEVICE_NEEDS_RESET;
            return Err(self.blame(if wants_reset { Fault::NeedsReset } else { Fault::Status(reads) }));
        }
        let up = match self.link {
            Carrier::Told => self.bus.read_link_status() & LINK_UP != 0,
            Carrier::Always => true,
        };
        Ok(up.then_some(Link::Virtual))
    }

    /// The device counts nothing.
    pub fn read_statistics(&mut self) -> Statistics {
        Statistics::default()
    }

    /// To be called when the interrupt came, before what it is about is looked at.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn acknowledge(&mut self) -> Result<Causes, Fault> {
        self.trusted()?;
        // Both rings are to be looked at, whatever is read below: their interrupts are off until then.
        self.memory.rx_ring.queue.silence();
        self.memory.tx_ring.queue.silence();
        let mut causes = Causes::RECEIVED | Causes::SENT;
        for _ in 0..ATTEMPTS {
            let reads = self.bus.read(Readable::InterruptStatus);
            let Some(status) = InterruptStatus::from_bits(reads) else {
                return Err(self.blame(Fault::Interrupt(reads)));
            };
            if status.is_empty() {
                return Ok(causes);
            }
            // Before the rings are looked at: what comes after this makes an edge again.
            self.bus.write(Writable::InterruptAck, reads);
            if status.contains(InterruptStatus::CONFIGURATION) {
                causes |= Causes::LINK;
            }
        }
        Err(self.blame(Fault::Restless))
    }

    /// Copies the next received frame to the front of `frame` and returns its length; `None` if there
    /// is no more, and then the interrupt tells of the next. A frame may be shorter than its own header.
    ///
    /// # Errors
    /// [`Fault`]; the rings must not be used any more.
    pub fn receive(&mut self, frame: &mut [u8; MAX_FRAME]) -> Result<Option<usize>, Fault> {
        self.trusted()?;
        let received = self.next_received(frame);
        received.map_err(|fault| self.blame(fault))
    }

    /// Whether [`Card::transmit`] has room for `frames` frames.
    pub fn has_room(&mut self, frames: u16) -> bool {
        if self.memory.tx_ring.queue.free() < frames {
            self.collect_sent();
        }
        self.fault.is_none() && self.memory.tx_ring.queue.free() >= frames
    }

    /// Puts a frame into the ring. The device learns of it after a few more, or by [`Card::flush`].
    ///
    /// # Errors
    /// [`NotSent`]; the frame is not sent.
    pub fn transmit(&mut self, frame: &[u8]) -> Result<(), NotSent> {
        if !(SHORTEST_FRAME..=MAX_FRAME).contains(&frame.len()) {
            return Err(NotSent::Length);
        }
        if !self.has_room(1) {
            return Err(NotSent::Full);
        }
        let Memory { tx_ring, tx, .. } = &mut self.memory;
        let descriptor = tx_ring.queue.take_free().ok_or(NotSent::Full)?;
        let Some(buffer) = tx.of(&descriptor).filter(|buffer| buffer.put(frame)) else {
            tx_ring.queue.put_free(descriptor);
            return Err(NotSent::Length);
        };
        let at = buffer.at;
        tx_ring.queue.lend(descriptor, at, (HEADER + frame.len()) as u32, Purpose::Read);
        if tx_ring.queue.staged() >= BATCH {
            self.flush();
        }
        Ok(())
    }

    /// Tells the device about all frames in the ring.
    pub fn flush(&mut self) {
        if self.memory.tx_ring.queue.staged() > 0 {
            self.memory.tx_ring.publish(&mut self.bus, TRANSMIT);
        }
    }

    /// Lets an interrupt come once when the device has sent something. Look for room once more after
    /// this call: what was sent before it raises nothing.
    pub fn want_room(&mut self) {
        self.flush();
        if self.memory.tx_ring.queue.listen() {
            self.collect_sent();
        }
    }

    /// Frames in the ring that the device has not reported as sent. If the same stay for seconds while
    /// the link is up, the device is stuck: [`Card::stop`] it.
    pub fn unsent(&mut self) -> u16 {
        self.collect_sent();
        self.memory.tx_ring.queue.lent() + self.memory.tx_ring.queue.staged()
    }

    /// Tells the device to reset; what was in the rings is lost. [`Stopped::start`] may follow after
    /// [`RESET_TIME`].
    #[must_use]
    pub fn stop(self) -> Stopped<B, P> {
        Stopped { bus: self.bus, memory: self.memory }.again()
    }

    /// Lends the device all buffers for frames to come.
    fn fill(&mut self) {
        let Memory { rx_ring, rx, .. } = &mut self.memory;
        while let Some(descriptor) = rx_ring.queue.take_free() {
            if let Some(buffer) = rx.of(&descriptor) {
                let at = buffer.at;
                rx_ring.queue.lend(descriptor, at, ROOM, Purpose::Write);
            }
        }
        rx_ring.publish(&mut self.bus, RECEIVE);
    }

    fn next_received(&mut self, frame: &mut [u8; MAX_FRAME]) -> Result<Option<usize>, Fault> {
        let Memory { rx_ring, rx, .. } = &mut self.memory;
        let mut used = rx_ring.queue.take_used().map_err(Fault::Receive)?;
        if used.is_none() {
            rx_ring.publish(&mut self.bus, RECEIVE);
            if rx_ring.queue.listen() {
                used = rx_ring.queue.take_used().map_err(Fault::Receive)?;
            }
        }
        let Some(used) = used else {
            return Ok(None);
        };
        // The buffer's room bounds the length from above.
        let short = Fault::Short { says: used.length };
        let length = (used.length as usize).checked_sub(HEADER).ok_or(short)?;
        let buffer = rx.of(&used.descriptor).ok_or(short)?;
        let into = frame.get_mut(..length).ok_or(short)?;
        buffer.take(into)?;
        let at = buffer.at;
        rx_ring.queue.lend(used.descriptor, at, ROOM, Purpose::Write);
        if rx_ring.queue.staged() >= BATCH {
            rx_ring.publish(&mut self.bus, RECEIVE);
        }
        Ok(Some(length))
    }

    fn collect_sent(&mut self) {
        if self.fault.is_some() {
            return;
        }
        let queue = &mut self.memory.tx_ring.queue;
        // No more than we lent can come back.
        loop {
            match queue.take_used() {
                Ok(Some(used)) => queue.put_free(used.descriptor),
                Ok(None) => return,
                Err(fault) => {
                    self.blame(Fault::Transmit(fault));
                    return;
                }
            }
        }
    }

    fn trusted(&self) -> Result<(), Fault> {
        self.fault.map_or(Ok(()), Err)
    }

    /// Remembers the first fault, and returns it.
    fn blame(&mut self, fault: Fault) -> Fault {
        *self.fault.get_or_insert(fault)
    }
}

impl Buffer<'_> {
    /// Writes an empty header and the frame. `false` if the buffer is too short.
    fn put(&self, frame: &[u8]) -> bool {
        dma::copy_in(self.words, self.first, &[0; HEADER])
            && dma::copy_in(self.words, self.first + HEADER_WORDS, frame)
    }

    /// Copies the frame out.
    fn take(&self, frame: &mut [u8]) -> Result<(), Fault> {
        // The first word of the header holds all that could make a frame need more work. Its count of
        // merged buffers is of no meaning, for that feature is not taken; not all devices fill it.
        let header = self.words.get(self.first).map_or(0, |word| word.load(Relaxed));
        let [flags, segmentation, ..] = header.to_le_bytes();
        if flags != 0 || segmentation != 0 {
            return Err(Fault::Offload { flags, segmentation });
        }
        let says = (HEADER + frame.len()) as u32;
        let copied = dma::copy_out(self.words, self.first + HEADER_WORDS, frame);
        if copied { Ok(()) } else { Err(Fault::Short { says }) }
    }
}

#[cfg(test)]
mod tests;
