//! An entry for fuzzing: the bytes are what a disk does. It panics when something of the driver's promises is
//! broken, and otherwise ends when the bytes do.

use alloc::rc::Rc;
use core::{cell::Cell, sync::atomic::Ordering::Relaxed, time::Duration};

use super::{Bus, Configured, PAGES, STATUS_WORD, Stopped};
use crate::{
    block::fuzz::{Clock, Rest, byte, run, serve, word},
    dma::Words,
    virtio::{
        Readable, Transport, Writable,
        fuzz::{FIRST, Pages, say},
        mmio,
        queue::{AVAILABLE, USED},
    },
};

/// Pages in the order in which the driver takes them: the ring, header and status, then the buffer.
const RING: usize = 0;
const HEAD: usize = 1;
const DATA: u64 = 2;

/// A disk whose registers read as the bytes say, and that serves requests unless they say otherwise.
struct Device<'a> {
    rest: Rest<'a>,
    pages: Pages,
    status: u32,
    size: u32,
    /// Requests that were looked at, and those that were given back.
    taken: u16,
    given: u16,
}

impl Device<'_> {
    fn page(&self, number: usize) -> Rc<Words> {
        self.pages.0.borrow()[number].words.clone()
    }

    /// Looks at the requests that are available, and gives back those that the bytes do not leave lying.
    fn work(&mut self) {
        let ring = self.page(RING);
        let available = AVAILABLE as usize / 4;
        let index = (ring[available].load(Relaxed) >> 16) as u16;
        while self.taken != index {
            let slot = u32::from(self.taken) % self.size.max(1);
            let pair = ring[available + 1 + slot as usize / 2].load(Relaxed);
            let first = pair >> (slot % 2 * 16) & 0xffff;
            self.taken = self.taken.wrapping_add(1);
            let written = self.check_chain(&ring, first);
            if byte(&self.rest).is_some_and(|byte| byte % 2 != 0) {
                continue;
            }
            self.page(HEAD)[STATUS_WORD].store(say(&self.rest, 0), Relaxed);
            let entry = USED as usize / 4 + 1 + usize::from(self.given) % self.size.max(1) as usize * 2;
            ring[entry].store(first, Relaxed);
            ring[entry + 1].store(say(&self.rest, written), Relaxed);
            self.given = self.given.wrapping_add(1);
            ring[USED as usize / 4].store(u32::from(self.given) << 16, Relaxed);
        }
    }

    /// A chain ends, and tells of the driver's memory only. Returns how many bytes are to be written.
    fn check_chain(&self, ring: &Words, first: u32) -> u32 {
        let (mut number, mut written) = (first, 0);
        for _ in 0..self.size {
            assert!(number < self.size, "a descriptor outside the ring");
            let word = |word: usize| ring[number as usize * 4 + word].load(Relaxed);
            let (at, length, flags) =
                (u64::from(word(1)) << 32 | u64::from(word(0)), word(2), word(3) & 0xffff);
            let page = (at >> 12).wrapping_sub(FIRST);
            let is_data = (DATA..PAGES as u64).contains(&page);
            let fits = at % 4096 + u64::from(length) <= 4096;
            assert!((is_data || page == HEAD as u64) && fits, "a part outside: {length} bytes at {at:#x}");
            written += if flags & 2 != 0 { length } else { 0 };
            if flags & 1 == 0 {
                return written;
            }
            number = word(3) >> 16;
        }
        panic!("a chain without an end")
    }
}

impl Transport for Device<'_> {
    fn read(&mut self, register: Readable) -> u32 {
        match register {
            Readable::Magic => mmio::MAGIC,
            Readable::Version => mmio::VERSION,
            Readable::DeviceId => 2,
            // All but that it may not be written.
            Readable::DeviceFeatures => say(&self.rest, !(1 << 5)),
            Readable::QueueSizeMax => say(&self.rest, 128),
            Readable::QueueReady => say(&self.rest, 0),
            Readable::InterruptStatus => say(&self.rest, 0),
            Readable::Status => say(&self.rest, self.status),
            Readable::ConfigGeneration => say(&self.rest, 1),
        }
    }

    fn write(&mut self, register: Writable, value: u32) {
        match register {
            Writable::Status => {
                self.status = value;
                if value == 0 {
                    (self.taken, self.given) = (0, 0);
                }
            }
            Writable::QueueSize => self.size = value,
            Writable::QueueDescHigh | Writable::QueueDriverHigh | Writable::QueueDeviceHigh => {
                assert_eq!(value, 0, "a ring outside");
            }
            Writable::QueueDescLow | Writable::QueueDriverLow | Writable::QueueDeviceLow => {
                assert_eq!(u64::from(value >> 12), FIRST + RING as u64, "a ring outside");
            }
            Writable::QueueNotify => self.work(),
            _ => {}
        }
    }
}

impl Bus for Device<'_> {
    fn read_config(&mut self) -> Configured {
        Configured {
            capacity: u64::from(say(&self.rest, 4096)) << 16 | u64::from(say(&self.rest, 4096)),
            size_max: say(&self.rest, 4096),
            seg_max: say(&self.rest, 126),
            blk_size: say(&self.rest, 512),
        }
    }
}

/// Drives a disk: registers that read as the bytes say, a used ring and a status that they write.
///
/// # Panics
/// If the driver panics, or tells the device of memory that is not its own or not for that.
pub fn disk(bytes: &[u8]) {
    drive(bytes);
}

/// How many calls succeeded.
fn drive(bytes: &[u8]) -> u32 {
    let rest: Rest<'_> = Rc::new(Cell::new(bytes));
    let pages = Pages::default();
    let (input, shared) = (rest.clone(), pages.clone());
    // The device writes into the used ring, the status, or somewhere in the buffer.
    let device = move || {
        while let Some(step) = byte(&input).filter(|step| step % 2 != 0) {
            let (Some(place), Some(value)) = (byte(&input), word(&input)) else { return };
            let (page, place) = match step >> 1 & 3 {
                0 | 1 => (RING, USED as usize / 4 + usize::from(place)),
                2 => (HEAD, STATUS_WORD),
                _ => (DATA as usize, usize::from(place)),
            };
            shared.0.borrow()[page].words[place].store(value, Relaxed);
        }
    };
    let clock = Clock { rest: rest.clone(), device, now: Cell::new(Duration::ZERO) };
    let device = Device { rest: rest.clone(), pages: pages.clone(), status: 15, size: 0, taken: 0, given: 0 };
    let Ok(mut stopped) = Stopped::new(device, &pages, clock) else { return 0 };
    assert_eq!(pages.0.borrow().len(), PAGES);
    // One that does not start is tried again as long as it has something to say.
    while !rest.get().is_empty() {
        stopped = match run(stopped.start(Duration::from_secs(2))) {
            Ok(disk) => return serve(disk, &rest),
            Err((_, stopped)) => stopped,
        };
    }
    0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_driver_keeps_its_promises(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            super::disk(&bytes);
        }
    }

    #[test]
    fn bytes_that_say_nothing_are_an_honest_disk() {
        assert!(super::drive(&[0; 400]) > 20);
    }
}
