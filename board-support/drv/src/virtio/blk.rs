//! The disk of the virtio family.
//!
//! ```text
//!   Stopped::new (reset) ──► Stopped::start ──► Disk: reads, writes, flushes
//!                                                │ fault, or no answer in time: reset
//!                                                └─► the next call brings it up again
//! ```
//!
//! One request at a time, in one chain: a header that the device reads, the pages of a buffer, a status that the
//! device writes. Header and status share a page, so the driver takes [`PAGES`] pages, once; they stay its over a
//! reset, and the device is told of no other. A call that is dropped leaves its request to the next call, which
//! waits for its end before it uses the memory.
//!
//! There is one interrupt. It is acknowledged until the device has nothing more to say (why, stands in
//! [`super::mmio`]), and then the ring is looked at. As long as a request is out, the ring is looked at now and
//! then without one, too ([`LOOKS`]): of the domains that Xen 4.20 on QEMU's `virt` ends while this interrupt is
//! under way, one in some twenty leaves it so that no later owner ever gets it. A disk that is slower by a
//! millisecond a request is better than none.
//!
//! A device that lies is told by [`Fault`]: the ring is not believed before the next reset. A read of which it
//! says that it wrote less than all is one, for what was in the buffer before is not what is on the disk.
//!
//! Source: specification, section 5.2.

use alloc::vec::Vec;
use core::{fmt, mem::offset_of, sync::atomic::Ordering::Relaxed, time::Duration};

use bitflags::bitflags;
use board_support_hyp::Shared;
use proto_xen::PAGE_SIZE;
use safe_mmio::{field_shared, fields::ReadPure};

use super::{
    DeviceStatus, InterruptStatus, Readable, Transport, Writable,
    greet::{self, GreetError},
    mmio::Registers,
    queue::{Ours, Part, Purpose},
    ring::Ring,
};
use crate::{
    block::{
        BlockDevice, BlockSize, Cause, Counts, Error, Fault, Geometry, Identity, Refusal, Status,
        buffer::{self, Buffer, Mapped},
        identity_text,
        wait::{Waits, Woken},
    },
    dma::{self, BusAddress, DevicePages},
    mmio::{DeviceWords, RegisterBlock, Window},
};

#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;

/// Pages that the driver takes: the ring, header and status, the buffer.
pub const PAGES: usize = 2 + buffer::PAGES;

/// How often the driver looks whether a reset has ended: no interrupt tells.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Kind of device, in DeviceID.
const DISK: u32 = 2;

/// The number of its queue.
const REQUESTS: u32 = 0;

/// Reads of InterruptStatus or of the configuration until the device is stuck.
const ATTEMPTS: usize = 16;

/// The first and the longest time between two looks at the ring without an interrupt.
const LOOKS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// Interrupts that may come for a request without there being anything.
const SPURIOUS: u32 = 1000;

/// Bytes of a header.
const HEADER: usize = 16;
/// Where the status is in the page of the header, in words.
const STATUS_WORD: usize = 16;
/// Bytes of a status.
const STATUS: u32 = 1;
/// No status: what stands there until the device has written one.
const NO_STATUS: u8 = 0xff;

/// Bytes of a serial number.
const SERIAL: usize = 20;

/// Bytes of the unit in which the device counts, whatever its blocks are.
const SECTOR: usize = 512;

bitflags! {
    /// Features of the disk. Source: section 5.2.3.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct DiskFeatures: u64 {
        /// It tells the most bytes of a part.
        const SIZE_MAX = 1 << 1;
        /// It tells the most parts of a request.
        const SEG_MAX = 1 << 2;
        /// It may not be written.
        const RO = 1 << 5;
        /// It tells the size of its blocks.
        const BLK_SIZE = 1 << 6;
        /// It has a cache that is flushed by a request.
        const FLUSH = 1 << 9;
    }
}

/// Types of requests.
mod request {
    pub(super) const IN: u32 = 0;
    pub(super) const OUT: u32 = 1;
    pub(super) const FLUSH: u32 = 4;
    pub(super) const GET_ID: u32 = 8;
}

/// Statuses.
mod status {
    pub(super) const OK: u8 = 0;
    pub(super) const IOERR: u8 = 1;
    pub(super) const UNSUPP: u8 = 2;
}

/// The configuration, as far as it is read. Source: section 5.2.4.
#[repr(C)]
pub struct Config {
    /// 0 capacity, lower half.
    capacity_low: ReadPure<u32>,
    /// 4 Upper half.
    capacity_high: ReadPure<u32>,
    /// 8 size_max.
    size_max: ReadPure<u32>,
    /// 12 seg_max.
    seg_max: ReadPure<u32>,
    _geometry: u32,
    /// 20 blk_size.
    blk_size: ReadPure<u32>,
}

// SAFETY:
// 1. `repr(C)`, fields of 32 bits; the reserved word is private and never touched.
// 2. Nothing of it is written.
unsafe impl RegisterBlock for Config {}

const _: () = assert!(offset_of!(Config, capacity_low) == 0 && offset_of!(Config, capacity_high) == 4);
const _: () = assert!(offset_of!(Config, size_max) == 8 && offset_of!(Config, seg_max) == 12);
const _: () = assert!(offset_of!(Config, blk_size) == 20);

/// What the configuration says, each field once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Configured {
    /// Sectors of 512 bytes.
    pub capacity: u64,
    /// Bytes of a part.
    pub size_max: u32,
    /// Parts of a request.
    pub seg_max: u32,
    /// Bytes of a block.
    pub blk_size: u32,
}

/// Access to the disk: the real one, or a fake's.
pub trait Bus: Transport {
    /// Reads the configuration.
    fn read_config(&mut self) -> Configured;
}

impl<M: DeviceWords> Bus for Window<M, Registers<Config>> {
    fn read_config(&mut self) -> Configured {
        self.read_config(|config| {
            let low = field_shared!(config, capacity_low).read();
            let high = field_shared!(config, capacity_high).read();
            Configured {
                capacity: u64::from(high) << 32 | u64::from(low),
                size_max: field_shared!(config, size_max).read(),
                seg_max: field_shared!(config, seg_max).read(),
                blk_size: field_shared!(config, blk_size).read(),
            }
        })
    }
}

/// Why the disk did not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartError {
    /// No memory for its ring and buffer.
    NoMemory,
    /// They do not come together.
    Greet(GreetError),
    /// Its registers read as ones.
    Gone,
    /// Its queue has too few descriptors for a request.
    Short {
        /// How many it has.
        descriptors: u16,
    },
    /// It takes no whole page as a part of a request.
    Parts {
        /// The most bytes of a part.
        size_max: u32,
    },
    /// Its blocks have another size than 512 or 4096 bytes.
    BlockSize(u32),
    /// It has no blocks.
    Empty,
    /// It has more bytes than can be counted.
    TooLarge {
        /// Sectors, as it says.
        sectors: u64,
    },
    /// Its configuration does not come to rest.
    Configuration,
    /// It broke the protocol.
    Fault(Fault),
    /// It did not answer in time.
    TimedOut,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMemory => write!(f, "no memory for its ring"),
            Self::Greet(error) => write!(f, "{error}"),
            Self::Gone => write!(f, "its registers read as ones"),
            Self::Short { descriptors } => write!(f, "its queue has only {descriptors} descriptors"),
            Self::Parts { size_max } => write!(f, "it takes parts of at most {size_max} bytes"),
            Self::BlockSize(bytes) => write!(f, "its blocks have {bytes} bytes; give it 512 or 4096"),
            Self::Empty => write!(f, "it has no blocks"),
            Self::TooLarge { sectors } => write!(f, "it has {sectors} sectors"),
            Self::Configuration => write!(f, "its configuration does not come to rest"),
            Self::Fault(fault) => write!(f, "{fault}"),
            Self::TimedOut => write!(f, "it does not answer"),
        }
    }
}

impl From<GreetError> for StartError {
    fn from(error: GreetError) -> Self {
        Self::Greet(error)
    }
}

/// Ring, page with header and status, buffer.
struct Memory<P: DevicePages> {
    ring: Ring<P>,
    head: Mapped<P>,
    data: Buffer<P>,
}

impl<P: DevicePages> Memory<P> {
    fn allocate(pages: &P) -> Option<Self> {
        let ring = Ring::allocate(pages)?;
        Some(Self { ring, head: Mapped::allocate(pages)?, data: Buffer::allocate(pages)? })
    }

    fn status_at(&self) -> BusAddress {
        self.head.at.plus(4 * STATUS_WORD as u64)
    }

    fn put_status(&self, status: u8) {
        self.head.page.words()[STATUS_WORD].store(status.into(), Relaxed);
    }

    fn status(&self) -> u8 {
        let [status, ..] = self.head.page.words()[STATUS_WORD].load(Relaxed).to_le_bytes();
        status
    }
}

/// A request that the device has.
#[derive(Clone, Copy, Debug)]
struct Given {
    /// Bytes that it has to write, its status among them.
    room: u32,
    /// Whether it has to have written all of them when it says that it is done.
    whole: bool,
}

/// A disk that was told to reset, and the memory that it will use.
pub struct Stopped<B: Bus, P: DevicePages, W: Waits>(Core<B, P, W>);

/// The device, whether it runs or not.
struct Core<B: Bus, P: DevicePages, W: Waits> {
    bus: B,
    waits: W,
    memory: Memory<P>,
    /// Descriptors behind the first one of a request.
    rest: Vec<Ours>,
    given: Option<Given>,
    is_up: bool,
    /// Pages of the largest request.
    most_pages: usize,
    has_cache: bool,
    counts: Counts,
}

/// A disk.
pub struct Disk<B: Bus, P: DevicePages, W: Waits> {
    core: Core<B, P, W>,
    identity: Identity,
    geometry: Geometry,
}

impl<B: Bus, P: DevicePages, W: Waits> Stopped<B, P, W> {
    /// Takes memory and tells the device to reset, whatever it was doing for whomever.
    ///
    /// # Errors
    /// [`StartError::NoMemory`].
    pub fn new(mut bus: B, pages: &P, waits: W) -> Result<Self, StartError> {
        // First, for ring and buffer may be those of somebody who was killed while the device ran.
        bus.write(Writable::Status, 0);
        let memory = Memory::allocate(pages).ok_or(StartError::NoMemory)?;
        Ok(Self(Core {
            bus,
            waits,
            memory,
            rest: Vec::with_capacity(buffer::PAGES + 1),
            given: None,
            is_up: false,
            most_pages: 1,
            has_cache: true,
            counts: Counts::default(),
        }))
    }

    /// Brings the disk up. `within` is how long that may take.
    ///
    /// # Errors
    /// [`StartError`], with the disk for another attempt.
    pub async fn start(mut self, within: Duration) -> Result<Disk<B, P, W>, (StartError, Self)> {
        let until = self.0.waits.now().saturating_add(within);
        match self.0.bring_up(until).await {
            Ok((identity, geometry)) => Ok(Disk { core: self.0, identity, geometry }),
            Err(error) => Err((error, self)),
        }
    }
}

/// Why no answer came.
enum Ended {
    Fault(Fault),
    Gone,
    Late,
}

/// Until when a call may take, and how long that was.
#[derive(Clone, Copy)]
struct Call {
    until: Duration,
    within: Duration,
}

impl<B: Bus, P: DevicePages, W: Waits> Core<B, P, W> {
    fn reset(&mut self) {
        self.is_up = false;
        self.bus.write(Writable::Status, 0);
    }

    /// Resets a device that does not do what it should.
    fn give_up(&mut self) {
        self.counts.resets = self.counts.resets.saturating_add(1);
        self.reset();
    }

    async fn bring_up(&mut self, until: Duration) -> Result<(Identity, Geometry), StartError> {
        self.reset();
        let found = self.greet(until).await;
        match found {
            Ok(_) => self.is_up = true,
            Err(_) => self.reset(),
        }
        found
    }

    async fn greet(&mut self, until: Duration) -> Result<(Identity, Geometry), StartError> {
        // A transport that is gone reads as ones for ever, one that resets does not.
        while !matches!(self.bus.read(Readable::Status), 0 | u32::MAX) {
            let now = self.waits.now();
            if now >= until {
                return Err(StartError::TimedOut);
            }
            self.waits.sleep(now.saturating_add(LOOK_EVERY)).await;
        }
        let Self { bus, memory, rest, .. } = self;
        greet::check(bus, DISK)?;
        let wanted = DiskFeatures::all().bits();
        let offered = DiskFeatures::from_bits_truncate(greet::agree(bus, 0, wanted)?);
        let configured = read_stable(bus)?;
        let geometry = geometry(offered, &configured)?;
        // The device has been reset: it has nothing any more.
        self.given = None;
        rest.clear();
        memory.ring.set_up(bus, REQUESTS)?;
        let descriptors = memory.ring.queue.size();
        let parts = parts(offered, &configured)?;
        // One is the header's, one the status's.
        self.most_pages = usize::from(descriptors).saturating_sub(2).min(parts).min(buffer::PAGES);
        if self.most_pages == 0 {
            return Err(StartError::Short { descriptors });
        }
        rest.extend((0..=self.most_pages).map_while(|_| memory.ring.queue.take_free()));
        self.has_cache = offered.contains(DiskFeatures::FLUSH);
        greet::run(bus);
        let serial = self.ask_serial(until).await?;
        Ok((Identity { model: MODEL.try_into().unwrap_or_default(), serial }, geometry))
    }

    /// Asks for the serial number. A device that refuses has none.
    async fn ask_serial(&mut self, until: Duration) -> Result<heapless::String<SERIAL>, StartError> {
        self.give(request::GET_ID, 0, 0, SERIAL, Purpose::Write);
        let refusal = self.answer(until).await.map_err(|ended| match ended {
            Ended::Fault(fault) => StartError::Fault(fault),
            Ended::Gone => StartError::Gone,
            Ended::Late => StartError::TimedOut,
        })?;
        let mut serial = [0; SERIAL];
        let there = refusal.is_none() && self.memory.data.take(&mut serial);
        // What is behind a zero is not of the text.
        let end = serial.iter().position(|byte| *byte == 0).unwrap_or(SERIAL);
        serial[end..].fill(0);
        Ok(if there { identity_text(&serial) } else { heapless::String::new() })
    }

    /// Gives the device a request with `length` bytes of the buffer, from page `first` on. There is none.
    fn give(&mut self, kind: u32, sector: u64, first: usize, length: usize, purpose: Purpose) {
        let Self { bus, memory, rest, given, .. } = self;
        let Some(descriptor) = memory.ring.queue.take_free() else { return };
        let mut header = [0; HEADER];
        header[..4].copy_from_slice(&kind.to_le_bytes());
        header[8..].copy_from_slice(&sector.to_le_bytes());
        // A page has more than that.
        let written = dma::copy_in(memory.head.page.words(), 0, &header);
        debug_assert!(written);
        memory.put_status(NO_STATUS);
        let head = Part { at: memory.head.at, length: HEADER as u32, purpose: Purpose::Read };
        let status = Part { at: memory.status_at(), length: STATUS, purpose: Purpose::Write };
        let lengths = (0..length).step_by(PAGE_SIZE).map(|done| (length - done).min(PAGE_SIZE) as u32);
        let pages = memory.data.addresses().skip(first);
        let data = pages.zip(lengths).map(|(at, length)| Part { at, length, purpose });
        let parts = data.chain(core::iter::once(status));
        memory.ring.queue.lend_chain(descriptor, head, rest.iter().zip(parts));
        let whole = purpose == Purpose::Write;
        let room = if whole { length as u32 + STATUS } else { STATUS };
        *given = Some(Given { room, whole });
        memory.ring.publish(bus, REQUESTS);
    }

    /// Waits for the answer to the request that was given, and says how it was refused if it was.
    async fn answer(&mut self, until: Duration) -> Result<Option<Refusal>, Ended> {
        let (mut pause, mut interrupts, mut is_late) = (LOOKS.0, 0, false);
        loop {
            if let Some(answer) = self.take().map_err(Ended::Fault)? {
                self.counts.commands += 1;
                self.counts.late = self.counts.late.saturating_add(is_late.into());
                return Ok(answer);
            }
            let now = self.waits.now();
            if now >= until {
                return Err(self.verdict());
            }
            is_late = self.waits.interrupt(until.min(now.saturating_add(pause))).await == Woken::Time;
            match is_late {
                true => pause = (pause * 2).min(LOOKS.1),
                false if interrupts == SPURIOUS => return Err(Ended::Fault(Fault::Restless)),
                false => interrupts += 1,
            }
            // Before the ring is looked at: what comes after this makes an edge again.
            self.acknowledge()?;
        }
    }

    /// What the device itself says when it has not answered.
    fn verdict(&mut self) -> Ended {
        let reads = self.bus.read(Readable::Status);
        let status = DeviceStatus::from_bits_retain(reads);
        match reads {
            u32::MAX => Ended::Gone,
            _ if status.contains(DeviceStatus::DEVICE_NEEDS_RESET) => Ended::Fault(Fault::Fatal),
            _ if status != greet::RUNNING => Ended::Fault(Fault::Stopped { status: reads }),
            _ => Ended::Late,
        }
    }

    /// Acknowledges until the device has nothing more to say.
    fn acknowledge(&mut self) -> Result<(), Ended> {
        for _ in 0..ATTEMPTS {
            let reads = self.bus.read(Readable::InterruptStatus);
            if reads == u32::MAX {
                return Err(Ended::Gone);
            }
            let Some(status) = InterruptStatus::from_bits(reads) else {
                return Err(Ended::Fault(Fault::Interrupt { status: reads }));
            };
            if status.is_empty() {
                return Ok(());
            }
            self.bus.write(Writable::InterruptAck, reads);
            // Another capacity is noticed by what is refused; that it is lost, here.
            if status.contains(InterruptStatus::CONFIGURATION)
                && let lost @ (Ended::Gone | Ended::Fault(_)) = self.verdict()
            {
                return Err(lost);
            }
        }
        Err(Ended::Fault(Fault::Restless))
    }

    /// The answer to the request that was given, if it is there.
    fn take(&mut self) -> Result<Option<Option<Refusal>>, Fault> {
        let Some(used) = self.memory.ring.queue.take_used().map_err(Fault::Virtqueue)? else {
            return Ok(None);
        };
        self.memory.ring.queue.put_free(used.descriptor);
        let Some(Given { room, whole }) = self.given.take() else { return Ok(None) };
        let status = match self.memory.status() {
            status::OK if whole && used.length != room => {
                return Err(Fault::Short { says: used.length, room });
            }
            status::OK => return Ok(Some(None)),
            NO_STATUS => return Err(Fault::NoStatus),
            status => status,
        };
        let cause = match status {
            status::IOERR if whole => Cause::Unreadable,
            status::IOERR => Cause::Unwritable,
            status::UNSUPP => Cause::Unsupported,
            _ => Cause::Other,
        };
        Ok(Some(Some(Refusal { cause, status: Status::Virtio(status) })))
    }

    /// Waits for the answer as a call does: the device is reset if none comes.
    async fn finished(&mut self, call: Call) -> Result<Option<Refusal>, Error> {
        let answer = self.answer(call.until).await;
        answer.map_err(|ended| {
            self.give_up();
            match ended {
                Ended::Fault(fault) => Error::Fault(fault),
                Ended::Gone => Error::Gone,
                Ended::Late => Error::TimedOut { within: call.within },
            }
        })
    }

    /// Makes sure that the device runs and has nothing of an earlier call.
    async fn ready(&mut self, known: (&Identity, &Geometry), call: Call) -> Result<(), Error> {
        if self.is_up && self.given.is_some() {
            self.finished(call).await?;
        }
        if self.is_up {
            return Ok(());
        }
        let (identity, geometry) = self.bring_up(call.until).await.map_err(|error| match error {
            StartError::TimedOut => Error::TimedOut { within: call.within },
            StartError::Fault(fault) => Error::Fault(fault),
            StartError::BlockSize(_) | StartError::Empty => Error::Fault(Fault::Changed),
            _ => Error::Gone,
        })?;
        if (&identity, &geometry) != known {
            self.reset();
            return Err(Error::Fault(Fault::Changed));
        }
        Ok(())
    }

    /// Has blocks moved between disk and buffer: `length` bytes from `sector` on.
    async fn transfer(&mut self, kind: u32, sector: u64, length: usize, call: Call) -> Result<(), Error> {
        let purpose = if kind == request::IN { Purpose::Write } else { Purpose::Read };
        let most = self.most_pages * PAGE_SIZE;
        for done in (0..length).step_by(most) {
            let part = most.min(length - done);
            self.give(kind, sector + (done / SECTOR) as u64, done / PAGE_SIZE, part, purpose);
            if let Some(refusal) = self.finished(call).await? {
                return Err(Error::Refused(refusal));
            }
        }
        Ok(())
    }

    async fn flush(&mut self, call: Call) -> Result<(), Error> {
        if !self.has_cache {
            return Ok(());
        }
        self.give(request::FLUSH, 0, 0, 0, Purpose::Read);
        self.finished(call).await?.map_or(Ok(()), |refusal| Err(Error::Refused(refusal)))
    }

    fn call(&self, within: Duration) -> Call {
        Call { until: self.waits.now().saturating_add(within), within }
    }
}

/// The model of all of them.
const MODEL: &str = "virtio disk";

/// Reads the configuration, whole: not half of one and half of the next.
fn read_stable(bus: &mut impl Bus) -> Result<Configured, StartError> {
    for _ in 0..ATTEMPTS {
        let before = bus.read(Readable::ConfigGeneration);
        let configured = bus.read_config();
        if bus.read(Readable::ConfigGeneration) == before {
            return Ok(configured);
        }
    }
    Err(StartError::Configuration)
}

fn geometry(offered: DiskFeatures, configured: &Configured) -> Result<Geometry, StartError> {
    let bytes = if offered.contains(DiskFeatures::BLK_SIZE) { configured.blk_size } else { SECTOR as u32 };
    let block_size = BlockSize::of_bytes(bytes).ok_or(StartError::BlockSize(bytes))?;
    let sectors = configured.capacity;
    if sectors.checked_mul(SECTOR as u64).is_none() {
        return Err(StartError::TooLarge { sectors });
    }
    let blocks = sectors / (block_size.bytes() / SECTOR) as u64;
    if blocks == 0 {
        return Err(StartError::Empty);
    }
    Ok(Geometry { block_size, blocks, writable: !offered.contains(DiskFeatures::RO) })
}

/// How many pages of a buffer one request may have, as the device says.
fn parts(offered: DiskFeatures, configured: &Configured) -> Result<usize, StartError> {
    let size_max = configured.size_max;
    if offered.contains(DiskFeatures::SIZE_MAX) && (size_max as usize) < PAGE_SIZE {
        return Err(StartError::Parts { size_max });
    }
    // One is always allowed.
    let told = if offered.contains(DiskFeatures::SEG_MAX) { configured.seg_max.max(1) } else { u32::MAX };
    Ok(told as usize)
}

impl<B: Bus, P: DevicePages, W: Waits> Disk<B, P, W> {
    /// What the driver has seen since it started.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.core.counts
    }

    /// The sector at which a run begins, which one call may name.
    fn sector(&self, first: u64, bytes: usize) -> Result<u64, Error> {
        self.geometry.check(first, bytes)?;
        // The disk has no more bytes than can be counted.
        Ok(first * (self.geometry.block_size.bytes() / SECTOR) as u64)
    }
}

impl<B: Bus, P: DevicePages, W: Waits> BlockDevice for Disk<B, P, W> {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn geometry(&self) -> Geometry {
        self.geometry
    }

    async fn read(&mut self, first: u64, into: &mut [u8], within: Duration) -> Result<(), Error> {
        let sector = self.sector(first, into.len())?;
        let Self { core, identity, geometry } = self;
        let call = core.call(within);
        core.ready((identity, geometry), call).await?;
        core.transfer(request::IN, sector, into.len(), call).await?;
        // The length was checked above.
        if core.memory.data.take(into) { Ok(()) } else { Err(Error::TooLong { bytes: into.len() }) }
    }

    async fn write(&mut self, first: u64, from: &[u8], within: Duration) -> Result<(), Error> {
        let sector = self.sector(first, from.len())?;
        let Self { core, identity, geometry } = self;
        if !geometry.writable {
            return Err(Error::ReadOnly);
        }
        let call = core.call(within);
        core.ready((identity, geometry), call).await?;
        // The length was checked above.
        if !core.memory.data.put(from) {
            return Err(Error::TooLong { bytes: from.len() });
        }
        core.transfer(request::OUT, sector, from.len(), call).await
    }

    async fn flush(&mut self, within: Duration) -> Result<(), Error> {
        let Self { core, identity, geometry } = self;
        let call = core.call(within);
        core.ready((identity, geometry), call).await?;
        core.flush(call).await
    }
}

#[cfg(test)]
mod tests;
