//! The split virtqueue, seen from the driver.
//!
//! One page holds all of it. A buffer is one descriptor, or a chain of them in the hands of its driver
//! ([`Queue::lend_chain`]):
//!
//! | bytes | area | written by |
//! |---|---|---|
//! | 0 – 2047 | descriptors, 16 bytes each: address, length, flags | driver |
//! | 2048 – 2309 | available: flags, index, a descriptor's number each | driver |
//! | 2560 – 3589 | used: flags, index, number and length each | device |
//!
//! A descriptor is in one of three states, which are kept here and not in the page:
//!
//! ```text
//!   ours ── lend ──► staged ── publish ──► lent ── take_used ──► ours
//! ```
//!
//! The device may give lent buffers back in any order. What it cannot do without a [`Fault`]: give back
//! what it does not have, or claim to have written more than fits. Nothing that we wrote is read back,
//! so a device that writes into the driver's areas only confuses itself.
//!
//! Who notifies whom: the driver's flag asks the device for no interrupts ([`Queue::silence`]), the
//! device's flag asks for no notifications ([`Queue::must_notify`]). What has to come before what, so that
//! the two do not miss each other and both sleep, stands in [`order`].
//!
//! Source: specification, section 2.7.

use alloc::boxed::Box;
use core::{
    fmt,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use board_support_hyp::Shared;

use crate::dma::BusAddress;

pub mod order;

/// The most descriptors of a queue: what fits into one page.
pub const MAX_SIZE: u16 = 128;
const SLOTS: usize = MAX_SIZE as usize;

/// Where the available ring begins in the page, in bytes.
pub const AVAILABLE: u64 = 2048;
/// Where the used ring begins in the page, in bytes.
pub const USED: u64 = 2560;

const AVAILABLE_WORD: usize = AVAILABLE as usize / 4;
const USED_WORD: usize = USED as usize / 4;

/// VIRTQ_DESC_F_NEXT: the buffer goes on in another descriptor.
const GOES_ON: u32 = 1;
/// VIRTQ_DESC_F_WRITE: the device writes the buffer; else it only reads.
const DEVICE_WRITES: u32 = 2;
/// VIRTQ_AVAIL_F_NO_INTERRUPT.
const NO_INTERRUPT: u32 = 1;
/// VIRTQ_USED_F_NO_NOTIFY.
const NO_NOTIFY: u32 = 1;

// Each area ends before the next begins, with the fields that stand behind the rings.
const _: () = assert!(16 * SLOTS <= AVAILABLE as usize);
const _: () = assert!(AVAILABLE as usize + 6 + 2 * SLOTS <= USED as usize);
const _: () = assert!(USED as usize + 6 + 8 * SLOTS <= 4096);

/// How the device lied about a queue. Nothing of the queue is to be believed any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Its index claims that it gave back more buffers than it has, or has moved back.
    Index {
        /// Buffers, as it says.
        says: u16,
        /// Buffers that it has.
        has: u16,
    },
    /// It gave back a buffer with a number that no descriptor has.
    Number {
        /// The number.
        number: u32,
    },
    /// It gave back a buffer that it does not have: twice, or never lent.
    NotLent {
        /// The descriptor's number.
        number: u16,
    },
    /// It claims to have written more than the buffer holds.
    Length {
        /// Bytes, as it says.
        says: u32,
        /// Bytes that it may write.
        room: u32,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index { says, has } => write!(f, "it gave back {says} buffers and has {has}"),
            Self::Number { number } => write!(f, "it gave back buffer {number}, which does not exist"),
            Self::NotLent { number } => write!(f, "it gave back buffer {number}, which it does not have"),
            Self::Length { says, room } => write!(f, "it wrote {says} bytes into a buffer of {room}"),
        }
    }
}

/// A descriptor that is ours. Its number names a buffer of the driver.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a descriptor that is dropped is lost to its queue"]
pub struct Ours(u16);

impl Ours {
    /// Its number, below the queue's size.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.0
    }
}

/// What the device does with a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It reads.
    Read,
    /// It writes.
    Write,
}

/// A part of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Where it is.
    pub at: BusAddress,
    /// Its bytes.
    pub length: u32,
    /// What the device does with it.
    pub purpose: Purpose,
}

impl Part {
    /// Flags of its descriptor, and bytes that the device may write.
    fn terms(&self) -> (u32, u32) {
        match self.purpose {
            Purpose::Read => (0, 0),
            Purpose::Write => (DEVICE_WRITES, self.length),
        }
    }
}

/// A buffer that the device gave back.
#[derive(Debug, PartialEq, Eq)]
pub struct Used {
    /// The descriptor, which is ours again.
    pub descriptor: Ours,
    /// Bytes that the device says it wrote; at most what it was lent for writing.
    pub length: u32,
}

/// Where a descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Ours,
    /// In the available ring, and the device has not been told. Bytes that it may write.
    Staged(u32),
    /// The device's. Bytes that it may write.
    Lent(u32),
}

/// What we know about each descriptor without asking the page.
struct Ledger {
    places: [Place; SLOTS],
    /// Numbers of the descriptors that are ours and not in anybody's hands.
    free: [u16; SLOTS],
    /// What stands in the available ring.
    available: [u16; SLOTS],
}

impl Ledger {
    const EMPTY: Self = Self { places: [Place::Ours; SLOTS], free: [0; SLOTS], available: [0; SLOTS] };
}

/// The driver's side of a queue in the page `S`. Indices run freely and wrap at 2¹⁶.
pub struct Queue<S> {
    page: S,
    size: u16,
    ledger: Box<Ledger>,
    free_count: u16,
    /// The next place in the available ring.
    next_available: u16,
    /// Where the device believes that to be.
    published: u16,
    /// The next place in the used ring.
    next_used: u16,
    lent: u16,
    silent: bool,
}

impl<S: Shared> Queue<S> {
    /// A queue that nobody uses yet, in a page that no device uses (any more).
    pub fn new(page: S) -> Self {
        let mut queue = Self {
            page,
            size: 0,
            ledger: Box::new(Ledger::EMPTY),
            free_count: 0,
            next_available: 0,
            published: 0,
            next_used: 0,
            lent: 0,
            silent: false,
        };
        queue.reset(MAX_SIZE);
        queue
    }

    /// Empties the queue, for a device that was reset. The size is the largest that both sides can have:
    /// a power of two, at most `device_max` and [`MAX_SIZE`]. Returns it; 0 if `device_max` is.
    pub fn reset(&mut self, device_max: u16) -> u16 {
        let most = device_max.min(MAX_SIZE);
        // The largest power of two that is not larger.
        self.size = if most == 0 { 0 } else { 1 << most.ilog2() };
        *self.ledger = Ledger::EMPTY;
        for (place, number) in self.ledger.free.iter_mut().zip((0..self.size).rev()) {
            *place = number;
        }
        self.free_count = self.size;
        (self.next_available, self.published, self.next_used, self.lent) = (0, 0, 0, 0);
        self.silent = false;
        self.page.words().iter().for_each(|word| word.store(0, Relaxed));
        self.size
    }

    /// Descriptors of the queue.
    #[must_use]
    pub fn size(&self) -> u16 {
        self.size
    }

    /// Descriptors that can be taken.
    #[must_use]
    pub fn free(&self) -> u16 {
        self.free_count
    }

    /// Buffers that the device has been told about and has not given back.
    #[must_use]
    pub fn lent(&self) -> u16 {
        self.lent
    }

    /// Buffers that were lent since the last [`Queue::publish`].
    #[must_use]
    pub fn staged(&self) -> u16 {
        self.next_available.wrapping_sub(self.published)
    }

    /// Takes a descriptor that is free.
    pub fn take_free(&mut self) -> Option<Ours> {
        let last = self.free_count.checked_sub(1)?;
        let number = *self.ledger.free.get(usize::from(last))?;
        self.free_count = last;
        Some(Ours(number))
    }

    /// Keeps a descriptor for [`Queue::take_free`].
    pub fn put_free(&mut self, descriptor: Ours) {
        if let Some(place) = self.ledger.free.get_mut(usize::from(self.free_count)) {
            *place = descriptor.0;
            self.free_count += 1;
        }
    }

    /// Puts a buffer of `length` bytes at `at` into the available ring. The device may look at it only
    /// after [`Queue::publish`].
    pub fn lend(&mut self, descriptor: Ours, at: BusAddress, length: u32, purpose: Purpose) {
        let part = Part { at, length, purpose };
        let (flags, room) = part.terms();
        self.describe(descriptor.0, &part, flags);
        self.stage(descriptor.0, room);
    }

    /// As [`Queue::lend`], for a buffer in several parts: those that the device reads come before those that it
    /// writes. Each part but the first has a descriptor that stays in the caller's hands, who leaves it alone
    /// until the first one's comes back: only that one is given back, for all of them.
    pub fn lend_chain<'d>(
        &mut self,
        descriptor: Ours,
        first: Part,
        rest: impl Iterator<Item = (&'d Ours, Part)>,
    ) {
        let (mut last, mut part) = (descriptor.0, first);
        let (mut flags, mut room) = part.terms();
        for (next, next_part) in rest {
            // The upper half is the number of the next.
            self.describe(last, &part, flags | GOES_ON | u32::from(next.0) << 16);
            (last, part) = (next.0, next_part);
            let (next_flags, more) = part.terms();
            flags = next_flags;
            room = room.saturating_add(more);
        }
        self.describe(last, &part, flags);
        self.stage(descriptor.0, room);
    }

    fn describe(&mut self, number: u16, part: &Part, flags: u32) {
        let first = usize::from(number) * 4;
        self.put(first, part.at.0 as u32);
        self.put(first + 1, (part.at.0 >> 32) as u32);
        self.put(first + 2, part.length);
        self.put(first + 3, flags);
    }

    /// Puts a descriptor into the available ring, of a buffer into which the device may write `room` bytes.
    fn stage(&mut self, number: u16, room: u32) {
        self.ledger.places[usize::from(number)] = Place::Staged(room);
        let slot = self.slot(self.next_available);
        self.ledger.available[slot] = number;
        // Two places share a word; the device reads each by itself, and the other keeps its value.
        let (even, odd) = (self.ledger.available[slot & !1], self.ledger.available[slot | 1]);
        self.put(AVAILABLE_WORD + 1 + slot / 2, u32::from(even) | u32::from(odd) << 16);
        self.next_available = self.next_available.wrapping_add(1);
    }

    /// Shows the device what was lent since the last time. Ask [`Queue::must_notify`] next.
    pub fn publish(&mut self) {
        while self.published != self.next_available {
            let number = self.ledger.available[self.slot(self.published)];
            let place = &mut self.ledger.places[usize::from(number)];
            if let Place::Staged(room) = *place {
                *place = Place::Lent(room);
                self.lent += 1;
            }
            self.published = self.published.wrapping_add(1);
        }
        self.put_index();
    }

    /// Whether the device wants to be told about what was published.
    #[must_use]
    pub fn must_notify(&self) -> bool {
        order::observe_after_publish(self.used_word(0)) & NO_NOTIFY == 0
    }

    /// Asks the device for no more interrupts. It may send some all the same.
    pub fn silence(&mut self) {
        self.silent = true;
        self.put_index();
    }

    /// Asks the device for an interrupt on the next buffer that it gives back. Whether it has given one
    /// back before: that one raises nothing, and [`Queue::take_used`] has it.
    pub fn listen(&mut self) -> bool {
        self.silent = false;
        self.put_index();
        (order::observe_after_publish(self.used_word(0)) >> 16) as u16 != self.next_used
    }

    /// The next buffer that the device gave back, if there is one.
    ///
    /// # Errors
    /// [`Fault`]; the queue must not be used before [`Queue::reset`].
    pub fn take_used(&mut self) -> Result<Option<Used>, Fault> {
        let index = (order::observe(self.used_word(0)) >> 16) as u16;
        let says = index.wrapping_sub(self.next_used);
        if says == 0 {
            return Ok(None);
        }
        // An index that ran ahead of us and one that moved back both land here.
        if says > self.lent {
            return Err(Fault::Index { says, has: self.lent });
        }
        let entry = 1 + self.slot(self.next_used) * 2;
        let number = self.used_word(entry).load(Relaxed);
        let length = self.used_word(entry + 1).load(Relaxed);
        let known = u16::try_from(number).ok().filter(|number| *number < self.size);
        let number = known.ok_or(Fault::Number { number })?;
        let place = &mut self.ledger.places[usize::from(number)];
        let Place::Lent(room) = *place else {
            return Err(Fault::NotLent { number });
        };
        if length > room {
            return Err(Fault::Length { says: length, room });
        }
        *place = Place::Ours;
        self.lent -= 1;
        self.next_used = self.next_used.wrapping_add(1);
        Ok(Some(Used { descriptor: Ours(number), length }))
    }

    /// The place of an index in a ring.
    fn slot(&self, index: u16) -> usize {
        // The size is a power of two, or 0 for a queue that has nothing to lend.
        usize::from(index & self.size.saturating_sub(1))
    }

    /// Publishes index and flags, which share a word.
    fn put_index(&self) {
        let flags = if self.silent { NO_INTERRUPT } else { 0 };
        order::publish(&self.page.words()[AVAILABLE_WORD], flags | u32::from(self.published) << 16);
    }

    fn put(&self, word: usize, value: u32) {
        self.page.words()[word].store(value, Relaxed);
    }

    fn used_word(&self, word: usize) -> &AtomicU32 {
        &self.page.words()[USED_WORD + word]
    }
}

#[cfg(test)]
mod tests;
