//! The queues against a controller in the same memory, honest first, then lying.

use super::*;
use core::sync::atomic::AtomicU32;
use std::{rc::Rc, vec::Vec};

#[derive(Clone)]
struct Page(Rc<Words>);

impl Page {
    fn new() -> Self {
        Self(Rc::new([const { AtomicU32::new(0x5555_5555) }; 1024]))
    }
}

impl Shared for Page {
    fn words(&self) -> &Words {
        &self.0
    }
}

/// The controller's half of a pair.
struct Controller {
    submissions: Page,
    completions: Page,
    entries: u16,
    head: u16,
    tail: u16,
    phase: bool,
}

impl Controller {
    /// The number of the next command.
    fn fetch(&mut self) -> u16 {
        let word = self.submissions.0[usize::from(self.head) * 16].load(Relaxed);
        self.head = (self.head + 1) % self.entries;
        (word >> 16) as u16
    }

    fn post(&mut self, words: [u32; 3]) {
        let place = usize::from(self.tail) * 4;
        let [result, queue, last] = words;
        self.completions.0[place].store(result, Relaxed);
        self.completions.0[place + 2].store(queue, Relaxed);
        self.completions.0[place + 3].store(last | u32::from(self.phase) << 16, Relaxed);
        self.tail = (self.tail + 1) % self.entries;
        self.phase ^= self.tail == 0;
    }

    fn complete(&mut self, number: u16, status: u16, result: u32) {
        self.post([result, 1 << 16 | u32::from(self.head), u32::from(number) | u32::from(status) << 17]);
    }
}

fn pair(most: u32) -> (Pair<Page>, Controller) {
    let (submissions, completions) = (Page::new(), Page::new());
    let mut pair = Pair::new(1, submissions.clone(), completions.clone());
    let entries = pair.reset(most);
    (pair, Controller { submissions, completions, entries, head: 0, tail: 0, phase: true })
}

fn command(opcode: u8) -> Command {
    let data = [BusAddress(0x1_0000_2000), BusAddress(0x3000)];
    Command { opcode, namespace: 1, data, words: [10, 11, 12, 13, 14, 15] }
}

fn completion(status: u16, result: u32) -> Result<Option<Completion>, Fault> {
    Ok(Some(Completion { status, result }))
}

#[test]
fn a_command_is_laid_out_as_the_specification_says() {
    let (mut pair, controller) = pair(64);
    let number = pair.give(&command(2)).unwrap();
    let words: Vec<u32> = controller.submissions.0[..17].iter().map(|word| word.load(Relaxed)).collect();
    let head = u32::from(number) << 16 | 2;
    assert_eq!(words, [head, 1, 0, 0, 0, 0, 0x2000, 1, 0x3000, 0, 10, 11, 12, 13, 14, 15, 0]);
    assert_eq!((pair.tail(), pair.outstanding(), pair.entries()), (1, 1, 64));
}

#[test]
fn a_reset_leaves_nothing_in_the_pages() {
    let (mut pair, controller) = pair(1 << 16);
    assert_eq!(pair.entries(), 64);
    assert!(
        controller.completions.0.iter().chain(controller.submissions.0.iter()).all(|w| w.load(Relaxed) == 0)
    );
    assert_eq!(pair.take(), Ok(None));
    assert_eq!(pair.reset(7), 7);
    assert_eq!(pair.reset(1), 2, "fewer are no queue");
}

#[test]
fn commands_are_completed_in_any_order_over_many_rounds() {
    for entries in [2, 3, 7, 64] {
        let (mut pair, mut controller) = pair(entries);
        for round in 0..300u32 {
            let mut numbers = Vec::new();
            while let Some(number) = pair.give(&command(1)) {
                assert!(!numbers.contains(&number), "a number twice");
                numbers.push(number);
            }
            assert_eq!(numbers.len() as u32, entries - 1, "one entry stays empty");
            for number in &numbers {
                assert_eq!(controller.fetch(), *number);
            }
            let length = numbers.len();
            numbers.rotate_left(round as usize % length);
            for number in numbers {
                controller.complete(number, (round % 5) as u16, round);
                assert_eq!(pair.take(), completion((round % 5) as u16, round));
                assert_eq!(pair.take(), Ok(None));
            }
            assert_eq!((pair.outstanding(), pair.head()), (0, controller.tail));
        }
    }
}

#[test]
fn there_is_room_when_the_controller_has_fetched_and_completed() {
    let (mut pair, mut controller) = pair(4);
    let numbers: Vec<u16> = (0..3).map(|_| pair.give(&command(1)).unwrap()).collect();
    assert_eq!(pair.give(&command(1)), None);
    controller.fetch();
    controller.complete(numbers[0], 0, 0);
    assert_eq!(pair.take(), completion(0, 0));
    assert!(pair.give(&command(1)).is_some());
    assert_eq!(pair.give(&command(1)), None, "only one was fetched");
}

#[test]
fn a_completion_of_nothing_is_a_fault() {
    let (mut pair, mut controller) = pair(8);
    controller.complete(0, 0, 0);
    assert_eq!(pair.take(), Err(Fault::NotGiven { number: 0 }));
    let number = {
        pair.reset(8);
        (controller.tail, controller.phase) = (0, true);
        pair.give(&command(1)).unwrap()
    };
    controller.fetch();
    for wrong in [number ^ 1, number ^ 64, u16::MAX] {
        controller.tail = 0;
        controller.complete(wrong, 0, 0);
        assert_eq!(pair.take(), Err(Fault::NotGiven { number: wrong }));
    }
}

#[test]
fn a_completion_that_comes_twice_is_a_fault_even_when_its_slot_was_given_again() {
    let (mut pair, mut controller) = pair(8);
    let first = pair.give(&command(1)).unwrap();
    controller.fetch();
    controller.complete(first, 0, 0);
    assert_eq!(pair.take(), completion(0, 0));
    let second = pair.give(&command(1)).unwrap();
    assert_eq!(first % MAX_ENTRIES, second % MAX_ENTRIES, "the same slot");
    controller.fetch();
    controller.complete(first, 0, 0);
    assert_eq!(pair.take(), Err(Fault::NotGiven { number: first }));
}

#[test]
fn a_completion_from_before_a_reset_is_a_fault() {
    let (mut pair, mut controller) = pair(8);
    let before = pair.give(&command(1)).unwrap();
    pair.reset(8);
    let after = pair.give(&command(1)).unwrap();
    assert_ne!(before, after);
    controller.fetch();
    controller.complete(before, 0, 0);
    assert_eq!(pair.take(), Err(Fault::NotGiven { number: before }));
}

#[test]
fn a_controller_that_fetched_what_is_not_there_is_a_fault() {
    let (mut pair, mut controller) = pair(8);
    let number = pair.give(&command(1)).unwrap();
    for says in [2, 7, 8, u16::MAX] {
        controller.tail = 0;
        controller.post([0, 1 << 16 | u32::from(says), number.into()]);
        assert_eq!(pair.take(), Err(Fault::Fetched { says }));
    }
    controller.tail = 0;
    controller.head = 1;
    controller.complete(number, 0, 0);
    assert_eq!(pair.take(), completion(0, 0));
    // Back to where it was.
    let number = pair.give(&command(1)).unwrap();
    controller.post([0, 1 << 16, number.into()]);
    assert_eq!(pair.take(), Err(Fault::Fetched { says: 0 }));
}

#[test]
fn a_completion_for_another_queue_is_a_fault() {
    let (mut pair, mut controller) = pair(8);
    let number = pair.give(&command(1)).unwrap();
    controller.post([0, 1, number.into()]);
    assert_eq!(pair.take(), Err(Fault::Queue { says: 0 }));
}

#[test]
fn an_entry_of_the_last_round_is_not_new() {
    let (mut pair, mut controller) = pair(2);
    for round in 0..5 {
        let number = pair.give(&command(1)).unwrap();
        controller.fetch();
        controller.complete(number, 0, round);
        assert_eq!(pair.take(), completion(0, round));
        // What stands there has the phase of a round ago.
        assert_eq!(pair.take(), Ok(None));
    }
}
