//! Entries for fuzzing: the bytes are what a device does.
//!
//! Both panic when something of the driver's promises is broken, and otherwise end when the bytes do.
//! They are deterministic, so that a crash can be told by its bytes.

use alloc::{rc::Rc, vec::Vec};
use core::{
    cell::{Cell, RefCell},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use board_support_hyp::Shared;
use proto_xen::Dfn;

use super::{
    Readable, Transport, Writable, mmio,
    net::{Bus, Card, PAGES, Stopped},
    queue::{AVAILABLE, Purpose, Queue, USED},
};
use crate::{
    dma::{BusAddress, DevicePages, Words},
    nic::MAX_FRAME,
};

/// What is left of the input.
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl Input<'_> {
    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub(crate) fn word(&mut self) -> Option<u32> {
        let (first, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*first))
    }
}

/// What a device says that lies where the input has it do so: the next word of the input, or `otherwise` when
/// the byte ahead of that is even or there is none.
pub(crate) fn say(from: &Cell<&[u8]>, otherwise: u32) -> u32 {
    let mut input = Input(from.get());
    let lies = input.byte().is_some_and(|byte| byte % 2 != 0);
    let value = if lies { input.word() } else { None };
    from.set(input.0);
    value.unwrap_or(otherwise)
}

/// A page that driver and device share.
#[derive(Clone)]
pub(crate) struct Page {
    pub(crate) words: Rc<Words>,
    at: Dfn,
}

impl Page {
    fn new(at: u64) -> Self {
        Self { words: Rc::new([const { AtomicU32::new(0) }; 1024]), at: Dfn(at) }
    }
}

impl Shared for Page {
    fn words(&self) -> &Words {
        &self.words
    }
}

/// Drives [`Queue::take_used`] with a used ring that the bytes fill.
///
/// # Panics
/// If the queue gives out a descriptor that was not lent, or twice, or a length beyond its buffer; or if
/// its counts do not add up.
pub fn queue(bytes: &[u8]) {
    const ROOM: u32 = 1526;
    let mut input = Input(bytes);
    let page = Page::new(1);
    let mut queue = Queue::new(page.clone());
    let size = queue.reset(input.byte().unwrap_or(0).into());
    // Lent to the device, and published.
    let mut out = [false; 128];
    let mut staged = Vec::new();
    while let Some(step) = input.byte() {
        match step % 4 {
            0 => {
                if let Some(descriptor) = queue.take_free() {
                    assert!(descriptor.number() < size && !out[usize::from(descriptor.number())]);
                    staged.push(descriptor.number());
                    queue.lend(descriptor, BusAddress(0), ROOM, Purpose::Write);
                }
            }
            1 => {
                queue.publish();
                staged.drain(..).for_each(|number| out[usize::from(number)] = true);
                let _ = queue.must_notify();
            }
            2 => {
                // The used ring is what the device writes best; the rest of the page is its as well.
                let (Some(place), Some(value)) = (input.byte(), input.word()) else {
                    return;
                };
                let word = USED as usize / 4 + usize::from(place);
                page.words[word].store(value, Relaxed);
            }
            _ => match queue.take_used() {
                Ok(Some(used)) => {
                    let out = &mut out[usize::from(used.descriptor.number())];
                    assert!(core::mem::take(out), "given back without having been lent");
                    assert!(used.length <= ROOM);
                    queue.put_free(used.descriptor);
                }
                Ok(None) => {
                    queue.silence();
                    let _ = queue.listen();
                }
                Err(_) => {
                    queue.reset(size);
                    out = [false; 128];
                    staged.clear();
                }
            },
        }
        let lent = out.iter().filter(|out| **out).count();
        assert_eq!(usize::from(queue.lent()), lent);
        assert_eq!(usize::from(queue.free()) + usize::from(queue.staged()) + lent, usize::from(size));
    }
}

/// Frame of the first page; the rings are there and in the next one.
pub(crate) const FIRST: u64 = 0x1000;

/// Pages for a card, kept to write into them as the device.
#[derive(Clone, Default)]
pub(crate) struct Pages(pub(crate) Rc<RefCell<Vec<Page>>>);

impl Pages {
    /// Every descriptor that was ever used leads to one of the buffers.
    fn check_descriptors(&self) {
        let pages = self.0.borrow();
        for ring in pages.iter().take(2) {
            for descriptor in ring.words[..AVAILABLE as usize / 4].chunks_exact(4) {
                let [low, high, length] = [0, 1, 2].map(|word| u64::from(descriptor[word].load(Relaxed)));
                let (first, last) = ((high << 32 | low), (high << 32 | low) + length.max(1) - 1);
                let buffers = (FIRST + 2) << 12..(FIRST + PAGES as u64) << 12;
                assert!(
                    length == 0 || buffers.contains(&first) && buffers.contains(&last),
                    "a buffer outside"
                );
                assert!(first % 2048 + length <= 2048, "a buffer that reaches into the next");
            }
        }
    }
}

impl DevicePages for Pages {
    type Page = Page;

    fn allocate(&self) -> Option<Page> {
        let mut pages = self.0.borrow_mut();
        let page = Page::new(FIRST + pages.len() as u64);
        pages.push(page.clone());
        Some(page)
    }

    fn dfn(&self, page: &Page) -> Dfn {
        page.at
    }
}

/// A device whose registers read as the bytes say, where that is of interest.
struct Device<'a> {
    input: Rc<Cell<&'a [u8]>>,
    status: u32,
}

impl Transport for Device<'_> {
    fn read(&mut self, register: Readable) -> u32 {
        match register {
            Readable::Magic => mmio::MAGIC,
            Readable::Version => mmio::VERSION,
            Readable::DeviceId => 1,
            Readable::DeviceFeatures => say(&self.input, u32::MAX),
            Readable::QueueSizeMax => say(&self.input, 256),
            Readable::QueueReady | Readable::InterruptStatus => say(&self.input, 0),
            Readable::Status => say(&self.input, self.status),
            Readable::ConfigGeneration => say(&self.input, 1),
        }
    }

    fn write(&mut self, register: Writable, value: u32) {
        match register {
            Writable::Status => self.status = value,
            Writable::QueueDescHigh | Writable::QueueDriverHigh | Writable::QueueDeviceHigh => {
                assert_eq!(value, 0, "a ring outside");
            }
            Writable::QueueDescLow | Writable::QueueDriverLow | Writable::QueueDeviceLow => {
                assert!((FIRST..FIRST + 2).contains(&u64::from(value >> 12)), "a ring outside");
            }
            _ => {}
        }
    }
}

impl Bus for Device<'_> {
    fn read_mac(&mut self) -> [u8; 6] {
        let [a, b, c, d] = say(&self.input, 2).to_le_bytes();
        [a, b, c, d, 0, 0]
    }

    fn read_link_status(&mut self) -> u16 {
        say(&self.input, 1) as u16
    }
}

/// Drives a whole card: registers that read as the bytes say, and pages that they write into.
///
/// # Panics
/// If the card panics, or tells the device of memory that is not its own or not for frames.
pub fn card(bytes: &[u8]) {
    let input = Rc::new(Cell::new(bytes));
    let pages = Pages::default();
    let device = Device { input: input.clone(), status: 0 };
    let Ok(stopped) = Stopped::new(device, &pages) else {
        return;
    };
    assert_eq!(pages.0.borrow().len(), PAGES);
    if let Ok(card) = stopped.start() {
        serve(card, &input, &pages);
    }
    pages.check_descriptors();
}

/// Uses a card as the bytes say, until they end or it does not start again.
fn serve<'a>(mut card: Card<Device<'a>, Pages>, input: &Cell<&'a [u8]>, pages: &Pages) {
    let mut frame = [0; MAX_FRAME];
    loop {
        let mut rest = Input(input.get());
        let Some(step) = rest.byte() else {
            return;
        };
        input.set(rest.0);
        match step % 8 {
            0 => {
                if let Ok(Some(length)) = card.receive(&mut frame) {
                    assert!(length <= MAX_FRAME);
                }
            }
            1 => drop(card.transmit(&frame[..usize::from(step) * 6 % (MAX_FRAME + 1)])),
            2 => card.flush(),
            3 => {
                let _ = card.acknowledge();
            }
            4 => {
                let _ = card.read_link();
                card.want_room();
            }
            5 if card.fault().is_some() => match card.stop().start() {
                Ok(again) => card = again,
                Err(_) => return,
            },
            _ => {
                // The used rings, or somewhere in the first buffers.
                let (Some(place), Some(value)) = (rest.byte(), rest.word()) else {
                    return;
                };
                input.set(rest.0);
                let word = (USED as usize / 4 + usize::from(place)) % 1024;
                pages.0.borrow()[usize::from(step >> 3) % 4].words[word].store(value, Relaxed);
            }
        }
        assert!(card.unsent() <= 128);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_queue_keeps_its_promises(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            super::queue(&bytes);
        }

        #[test]
        fn the_card_keeps_its_promises(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            super::card(&bytes);
        }
    }
}
