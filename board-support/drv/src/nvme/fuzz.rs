//! An entry for fuzzing: the bytes are what a controller does. It panics when something of the driver's promises
//! is broken, and otherwise ends when the bytes do.

use alloc::rc::Rc;
use core::{cell::Cell, sync::atomic::Ordering::Relaxed, time::Duration};

use super::{
    block::{PAGES, Stopped},
    regs::{Bus, Readable, Writable},
};
use crate::{
    block::fuzz::{Clock, Rest, byte, run, serve, word},
    dma::Words,
    virtio::fuzz::{FIRST, Pages, say},
};

/// Pages in the order in which the driver takes them.
const ADMIN_SUBMISSIONS: u64 = 0;
const ADMIN_COMPLETIONS: u64 = 1;
const IO_SUBMISSIONS: u64 = 2;
const IO_COMPLETIONS: u64 = 3;
const LIST: u64 = 4;
const DATA: u64 = 5;

/// How far a queue's submissions were looked at, and where its next completion goes.
#[derive(Clone, Copy)]
struct Ring {
    head: u32,
    tail: u32,
    phase: bool,
}

const EMPTY: Ring = Ring { head: 0, tail: 0, phase: true };

/// A controller whose registers read as the bytes say, and that carries commands out unless they say otherwise.
struct Controller<'a> {
    rest: Rest<'a>,
    pages: Pages,
    configuration: u32,
    rings: [Ring; 2],
}

impl Controller<'_> {
    fn page(&self, number: u64) -> Rc<Words> {
        self.pages.0.borrow()[number as usize].words.clone()
    }

    /// Looks at the commands up to `tail`, and completes those that the bytes do not leave lying.
    fn work(&mut self, queue: usize, tail: u32) {
        assert!(tail < 64, "a doorbell past the end");
        let submissions = self.page([ADMIN_SUBMISSIONS, IO_SUBMISSIONS][queue]);
        while self.rings[queue].head != tail {
            let at = self.rings[queue].head as usize * 16;
            let command: [u32; 16] = core::array::from_fn(|word| submissions[at + word].load(Relaxed));
            self.rings[queue].head = (self.rings[queue].head + 1) % 64;
            self.check(queue, &command);
            if byte(&self.rest).is_some_and(|byte| byte % 2 != 0) {
                continue;
            }
            if queue == 0 && command[0] as u8 == 6 {
                self.identify(command[10]);
            }
            self.complete(queue, command[0] >> 16);
        }
    }

    /// A command tells of the driver's memory only.
    fn check(&self, queue: usize, command: &[u32; 16]) {
        let address = |word: usize| u64::from(command[word + 1]) << 32 | u64::from(command[word]);
        let page = |at: u64| (at >> 12).wrapping_sub(FIRST);
        let is_data = |at: u64| (DATA..PAGES as u64).contains(&page(at)) && at.is_multiple_of(4096);
        let (first, second) = (address(6), address(8));
        match (queue, command[0] as u8) {
            (0, 1) => assert_eq!(page(first), IO_SUBMISSIONS, "a queue outside"),
            (0, 5) => assert_eq!(page(first), IO_COMPLETIONS, "a queue outside"),
            (0, 6) => assert!(is_data(first), "a structure outside: {first:#x}"),
            (0, 9) | (_, 0) => {}
            (1, 1 | 2) => {
                assert!(is_data(first), "a page outside: {first:#x}");
                let is_list = page(second) == LIST && second.is_multiple_of(8);
                assert!(second == 0 || is_data(second) || is_list, "a page outside: {second:#x}");
            }
            (_, opcode) => panic!("command {opcode:#x}"),
        }
    }

    /// What an honest one says, but for a few words of the bytes.
    fn identify(&mut self, structure: u32) {
        let data = self.page(DATA);
        data.iter().for_each(|word| word.store(0, Relaxed));
        let words: &[(usize, u32)] = match structure {
            1 => &[(1, 0x7372_6173), (6, 0x554d_4551), (19, 5 << 8), (128, 0x4466), (129, 1), (131, 1 << 8)],
            _ => &[(0, 1 << 20), (32, 9 << 16)],
        };
        words.iter().for_each(|(at, word)| data[*at].store(*word, Relaxed));
        while byte(&self.rest).is_some_and(|byte| byte % 2 != 0) {
            let (Some(place), Some(value)) = (byte(&self.rest), word(&self.rest)) else { return };
            data[usize::from(place)].store(value, Relaxed);
        }
    }

    fn complete(&mut self, queue: usize, number: u32) {
        let ring = &mut self.rings[queue];
        let (at, head, phase) = (ring.tail as usize * 4, ring.head, ring.phase);
        ring.tail = (ring.tail + 1) % 64;
        ring.phase ^= ring.tail == 0;
        let completions = self.page([ADMIN_COMPLETIONS, IO_COMPLETIONS][queue]);
        let status = say(&self.rest, 0) << 17;
        completions[at + 2].store(head | (queue as u32) << 16, Relaxed);
        completions[at + 3].store(number | u32::from(phase) << 16 | status, Relaxed);
    }
}

impl Bus for Controller<'_> {
    fn read(&mut self, register: Readable) -> u32 {
        match register {
            Readable::CapabilitiesLow => say(&self.rest, 0x0f01_07ff),
            Readable::CapabilitiesHigh => say(&self.rest, 0x0040_1820),
            Readable::Configuration => say(&self.rest, self.configuration),
            Readable::Status => say(&self.rest, self.configuration & 1),
        }
    }

    fn write(&mut self, register: Writable, value: u32) {
        match register {
            Writable::Configuration => {
                self.configuration = value;
                if value & 1 != 0 {
                    self.rings = [EMPTY; 2];
                }
            }
            Writable::AdminSizes => assert!(value & 0xffff < 64 && value >> 16 < 64, "queues beyond a page"),
            Writable::AdminSubmissionLow => {
                assert_eq!(u64::from(value), (FIRST + ADMIN_SUBMISSIONS) << 12, "a queue outside");
            }
            Writable::AdminCompletionLow => {
                assert_eq!(u64::from(value), (FIRST + ADMIN_COMPLETIONS) << 12, "a queue outside");
            }
            Writable::AdminSubmissionHigh | Writable::AdminCompletionHigh => {
                assert_eq!(value, 0, "a queue outside");
            }
            // With another stride the doorbells are elsewhere, and the controller is deaf.
            Writable::Doorbell(word) => match word {
                0 => self.work(0, value),
                2 => self.work(1, value),
                _ => assert!(value < 64, "a doorbell past the end"),
            },
        }
    }
}

/// Drives a disk: registers that read as the bytes say, completions and structures that they write.
///
/// # Panics
/// If the driver panics, or tells the controller of memory that is not its own or not for that.
pub fn controller(bytes: &[u8]) {
    drive(bytes);
}

/// How many calls succeeded.
fn drive(bytes: &[u8]) -> u32 {
    let rest: Rest<'_> = Rc::new(Cell::new(bytes));
    let pages = Pages::default();
    let (input, written) = (rest.clone(), pages.clone());
    // The controller writes completions of either queue, or a structure.
    let device = move || {
        while let Some(step) = byte(&input).filter(|step| step % 2 != 0) {
            let (Some(place), Some(value)) = (byte(&input), word(&input)) else { return };
            let page = [ADMIN_COMPLETIONS, IO_COMPLETIONS, IO_COMPLETIONS, DATA][usize::from(step >> 1) % 4];
            written.0.borrow()[page as usize].words[usize::from(place)].store(value, Relaxed);
        }
    };
    let clock = Clock { rest: rest.clone(), device, now: Cell::new(Duration::ZERO) };
    let bus = Controller { rest: rest.clone(), pages: pages.clone(), configuration: 1, rings: [EMPTY; 2] };
    let Ok(mut stopped) = Stopped::new(bus, &pages, clock) else { return 0 };
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
            super::controller(&bytes);
        }
    }

    #[test]
    fn bytes_that_say_nothing_are_an_honest_controller() {
        assert!(super::drive(&[0; 400]) > 20);
    }
}
