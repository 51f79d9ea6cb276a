//! The queue against a device in memory, honest first, then lying; then against a model.

use super::*;
use crate::dma::DevicePages;
use crate::ram::{Page, Ram};
use proptest::prelude::*;
use std::{collections::VecDeque, vec::Vec};

/// The device's side of a queue of `size` in a page at `at`.
struct Device {
    ram: Ram,
    at: u64,
    size: u16,
    next_available: u16,
    next_used: u16,
}

impl Device {
    fn available_word(&self) -> u32 {
        self.ram.load(self.at + AVAILABLE)
    }

    /// Whether the driver wants interrupts.
    fn may_interrupt(&self) -> bool {
        self.available_word() & NO_INTERRUPT == 0
    }

    /// The next descriptor that the driver has made available: its number, address, length and flags.
    fn take(&mut self) -> Option<(u16, u64, u32, u32)> {
        let index = (self.available_word() >> 16) as u16;
        if index == self.next_available {
            return None;
        }
        let slot = u64::from(self.next_available % self.size);
        let pair = self.ram.load(self.at + AVAILABLE + 4 + slot / 2 * 4);
        let number = (pair >> (slot % 2 * 16)) as u16;
        self.next_available = self.next_available.wrapping_add(1);
        assert!(number < self.size);
        let word = |word: u64| self.ram.load(self.at + u64::from(number) * 16 + word * 4);
        Some((number, u64::from(word(0)) | u64::from(word(1)) << 32, word(2), word(3)))
    }

    fn take_all(&mut self) -> Vec<u16> {
        core::iter::from_fn(|| self.take()).map(|taken| taken.0).collect()
    }

    /// Gives something back, true or not.
    fn give(&mut self, number: u32, length: u32) {
        let entry = self.at + USED + 4 + u64::from(self.next_used % self.size) * 8;
        self.ram.store(entry, number);
        self.ram.store(entry + 4, length);
        self.set_index(self.next_used.wrapping_add(1));
    }

    fn set_index(&mut self, index: u16) {
        self.next_used = index;
        let flags = self.ram.load(self.at + USED) & 0xffff;
        self.ram.store(self.at + USED, flags | u32::from(index) << 16);
    }

    fn set_flags(&self, flags: u32) {
        self.ram.store(self.at + USED, flags | u32::from(self.next_used) << 16);
    }
}

fn pair(most: u16) -> (Queue<Page>, Device) {
    let ram = Ram::default();
    let page = ram.allocate().unwrap();
    let at = BusAddress::of(ram.dfn(&page)).0;
    let mut queue = Queue::new(page);
    let size = queue.reset(most);
    (queue, Device { ram, at, size, next_available: 0, next_used: 0 })
}

fn lend_all(queue: &mut Queue<Page>, room: u32) {
    while let Some(descriptor) = queue.take_free() {
        let at = BusAddress(0x1_0000_0000 + u64::from(descriptor.number()) * 2048);
        queue.lend(descriptor, at, room, Purpose::Write);
    }
    queue.publish();
}

fn number(used: Result<Option<Used>, Fault>) -> u16 {
    used.unwrap().unwrap().descriptor.number()
}

#[test]
fn the_size_is_the_largest_power_of_two_that_both_can_have() {
    let sizes = [(0, 0), (1, 1), (2, 2), (3, 2), (127, 64), (128, 128), (256, 128), (u16::MAX, 128)];
    for (most, size) in sizes {
        let (mut queue, _) = pair(most);
        assert_eq!((queue.size(), queue.free()), (size, size));
        assert_eq!(core::iter::from_fn(|| queue.take_free()).count(), usize::from(size));
    }
}

#[test]
fn a_descriptor_says_where_how_long_and_for_what() {
    let (mut queue, mut device) = pair(8);
    for purpose in [Purpose::Read, Purpose::Write] {
        let descriptor = queue.take_free().unwrap();
        queue.lend(descriptor, BusAddress(0x12_3456_7890), 99, purpose);
    }
    assert_eq!(device.take(), None, "not published yet");
    assert_eq!((queue.staged(), queue.lent()), (2, 0));
    queue.publish();
    assert_eq!((queue.staged(), queue.lent()), (0, 2));
    assert_eq!(device.take(), Some((0, 0x12_3456_7890, 99, 0)));
    assert_eq!(device.take(), Some((1, 0x12_3456_7890, 99, 2)));
    assert_eq!(device.take(), None);
}

#[test]
fn a_chain_is_given_back_by_its_first_descriptor_and_by_no_other() {
    let (mut queue, mut device) = pair(8);
    let part = |at, length, purpose| Part { at: BusAddress(at), length, purpose };
    let [first, second, third] = [(); 3].map(|()| queue.take_free().unwrap());
    let rest = [&second, &third]
        .into_iter()
        .zip([part(0x9_0000_2000, 512, Purpose::Write), part(0x3000, 1, Purpose::Write)]);
    queue.lend_chain(first, part(0x1000, 16, Purpose::Read), rest);
    queue.publish();
    assert_eq!((queue.lent(), queue.free()), (1, 5));
    assert_eq!(device.take(), Some((0, 0x1000, 16, 1 | 1 << 16)), "it goes on in 1");
    assert_eq!(device.take(), None, "one buffer");
    let word = |number: u64, word: u64| device.ram.load(device.at + number * 16 + word * 4);
    assert_eq!([0, 1, 2, 3].map(|at| word(1, at)), [0x2000, 9, 512, 3 | 2 << 16], "written, and on in 2");
    assert_eq!([0, 1, 2, 3].map(|at| word(2, at)), [0x3000, 0, 1, 2], "written, and the end");
    device.give(1, 0);
    assert_eq!(queue.take_used(), Err(Fault::NotLent { number: 1 }));
    device.set_index(0);
    device.give(0, 514);
    assert_eq!(queue.take_used(), Err(Fault::Length { says: 514, room: 513 }));
    device.set_index(0);
    device.give(0, 513);
    let used = queue.take_used().unwrap().unwrap();
    assert_eq!((used.descriptor.number(), used.length, queue.lent()), (0, 513, 0));
}

#[test]
fn buffers_come_back_in_any_order_while_the_indices_wrap() {
    let (mut queue, mut device) = pair(MAX_SIZE);
    lend_all(&mut queue, 100);
    let mut held = device.take_all();
    let mut random = 1_u32;
    for round in 0..if cfg!(miri) { 300 } else { 70_000_u32 } {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let given = held.swap_remove((random >> 8) as usize % held.len());
        device.give(given.into(), round % 101);
        let used = queue.take_used().unwrap().unwrap();
        assert_eq!((used.descriptor.number(), used.length), (given, round % 101));
        assert_eq!(queue.take_used(), Ok(None));
        queue.lend(used.descriptor, BusAddress(0), 100, Purpose::Write);
        queue.publish();
        held.extend(device.take_all());
        assert_eq!(held.len(), usize::from(MAX_SIZE));
    }
    assert_eq!(queue.lent(), MAX_SIZE);
}

#[test]
fn flags_and_index_share_a_word_and_keep_each_other() {
    let (mut queue, mut device) = pair(4);
    assert!(device.may_interrupt());
    queue.silence();
    lend_all(&mut queue, 1);
    assert!(!device.may_interrupt());
    assert_eq!(device.take_all().len(), 4);
    assert!(!queue.listen(), "nothing came back yet");
    assert!(device.may_interrupt());
    assert_eq!(device.take_all(), [], "the index has not moved");
    queue.silence();
    device.give(2, 0);
    assert!(queue.listen(), "it came before");
    assert_eq!(number(queue.take_used()), 2);
    assert!(!queue.listen());
}

#[test]
fn the_device_says_whether_it_wants_to_be_told() {
    let (queue, device) = pair(4);
    assert!(queue.must_notify());
    device.set_flags(1);
    assert!(!queue.must_notify());
    // Bits that are none of ours change nothing.
    device.set_flags(0xfffe);
    assert!(queue.must_notify());
}

#[test]
fn an_index_that_runs_ahead_or_moves_back_is_a_fault() {
    let (mut queue, mut device) = pair(8);
    lend_all(&mut queue, 10);
    device.give(3, 0);
    device.give(4, 0);
    assert_eq!(number(queue.take_used()), 3);
    for (index, says) in [(0, u16::MAX), (9, 8), (0x8001, 0x8000)] {
        device.set_index(index);
        assert_eq!(queue.take_used(), Err(Fault::Index { says, has: 7 }));
    }
    device.set_index(2);
    assert_eq!(number(queue.take_used()), 4);
}

#[test]
fn buffers_that_do_not_exist_are_a_fault() {
    for lie in [8, 127, 128, 0xffff, 0x1_0000, 0x1_0003, u32::MAX] {
        let (mut queue, mut device) = pair(8);
        lend_all(&mut queue, 10);
        device.give(lie, 0);
        assert_eq!(queue.take_used(), Err(Fault::Number { number: lie }));
    }
}

#[test]
fn a_buffer_that_comes_back_twice_is_a_fault() {
    let (mut queue, mut device) = pair(8);
    lend_all(&mut queue, 10);
    device.give(5, 0);
    device.give(5, 0);
    assert_eq!(number(queue.take_used()), 5);
    assert_eq!(queue.take_used(), Err(Fault::NotLent { number: 5 }));
}

#[test]
fn a_buffer_that_was_not_published_cannot_come_back() {
    let (mut queue, mut device) = pair(8);
    let (first, second) = (queue.take_free().unwrap(), queue.take_free().unwrap());
    queue.lend(first, BusAddress(0), 10, Purpose::Write);
    queue.publish();
    queue.lend(second, BusAddress(0), 10, Purpose::Write);
    device.give(1, 0);
    assert_eq!(queue.take_used(), Err(Fault::NotLent { number: 1 }));
}

#[test]
fn a_length_above_the_buffer_is_a_fault() {
    for (purpose, room) in [(Purpose::Write, 1526), (Purpose::Read, 0)] {
        for says in [room + 1, 0x1_0000, u32::MAX] {
            let (mut queue, mut device) = pair(8);
            let descriptor = queue.take_free().unwrap();
            queue.lend(descriptor, BusAddress(0), 1526, purpose);
            queue.publish();
            device.give(0, says);
            assert_eq!(queue.take_used(), Err(Fault::Length { says, room }));
        }
        let (mut queue, mut device) = pair(8);
        let descriptor = queue.take_free().unwrap();
        queue.lend(descriptor, BusAddress(0), 1526, purpose);
        queue.publish();
        device.give(0, room);
        assert_eq!(queue.take_used().unwrap().unwrap().length, room);
    }
}

#[test]
fn a_device_that_rewrites_our_areas_confuses_only_itself() {
    let (mut queue, mut device) = pair(8);
    lend_all(&mut queue, 10);
    device.take_all();
    for offset in (0..USED).step_by(4) {
        device.ram.store(device.at + offset, 0xdead_beef);
    }
    device.give(6, 10);
    let used = queue.take_used().unwrap().unwrap();
    assert_eq!((used.descriptor.number(), used.length), (6, 10));
    queue.lend(used.descriptor, BusAddress(0x5000), 10, Purpose::Write);
    queue.publish();
    assert_eq!(device.take(), Some((6, 0x5000, 10, 2)));
}

#[test]
fn a_reset_empties_everything() {
    let (mut queue, mut device) = pair(8);
    lend_all(&mut queue, 10);
    device.give(1, 5);
    queue.silence();
    assert_eq!(queue.reset(4), 4);
    assert_eq!((queue.free(), queue.lent(), queue.staged()), (4, 0, 0));
    assert_eq!(queue.take_used(), Ok(None));
    assert!((0..4096).step_by(4).all(|offset| device.ram.load(device.at + offset) == 0));
    let mut device = Device { size: 4, next_available: 0, next_used: 0, ..device };
    lend_all(&mut queue, 10);
    assert_eq!(device.take_all(), [0, 1, 2, 3]);
    device.give(3, 10);
    assert_eq!(number(queue.take_used()), 3);
}

/// One step of either side.
#[derive(Clone, Copy, Debug)]
enum Step {
    Lend,
    Publish,
    /// The device gives back this one of those that it holds.
    Give(usize),
    TakeUsed,
    /// The device gives back whatever it likes, and the index moves as it likes.
    Lie {
        number: u32,
        length: u32,
        moves: u16,
    },
}

fn honest() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Lend),
        2 => Just(Step::Publish),
        3 => any::<usize>().prop_map(Step::Give),
        3 => Just(Step::TakeUsed),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    let lie = (0..12_u32, 0..80_u32, 0..4_u16);
    prop_oneof![
        6 => honest(),
        1 => lie.prop_map(|(number, length, moves)| Step::Lie { number, length, moves }),
    ]
}

/// What the queue ought to be.
#[derive(Default)]
struct Model {
    staged: Vec<u16>,
    /// Lent to the device, which has not given them back.
    held: Vec<u16>,
    /// Given back: number and length.
    used: VecDeque<(u16, u32)>,
}

const ROOM: u32 = 64;

fn run(most: u16, steps: &[Step]) {
    let (mut queue, mut device) = pair(most);
    let size = queue.size();
    let mut model = Model::default();
    let mut honest = true;
    for step in steps {
        match *step {
            Step::Lend => {
                if let Some(descriptor) = queue.take_free() {
                    let number = descriptor.number();
                    assert!(!model.staged.contains(&number) && !model.held.contains(&number));
                    model.staged.push(number);
                    queue.lend(descriptor, BusAddress(number.into()), ROOM, Purpose::Write);
                }
            }
            Step::Publish => {
                queue.publish();
                if honest {
                    assert_eq!(device.take_all(), model.staged);
                }
                model.held.append(&mut model.staged);
            }
            Step::Give(which) => {
                if !model.held.is_empty() {
                    let given = model.held.swap_remove(which % model.held.len());
                    device.give(given.into(), which as u32 % (ROOM + 1));
                    model.used.push_back((given, which as u32 % (ROOM + 1)));
                }
            }
            Step::Lie { number, length, moves } => {
                honest = false;
                device.give(number, length);
                device.set_index(device.next_used.wrapping_add(moves));
            }
            Step::TakeUsed => match queue.take_used() {
                Ok(Some(used)) => {
                    let number = used.descriptor.number();
                    if honest {
                        assert_eq!(model.used.pop_front(), Some((number, used.length)));
                    } else {
                        // Whatever it says, it is something that we lent, once.
                        let out = model.held.iter().position(|held| *held == number);
                        let given = model.used.iter().position(|used| used.0 == number);
                        match (given, out) {
                            (Some(at), _) => drop(model.used.remove(at)),
                            (None, Some(at)) => drop(model.held.swap_remove(at)),
                            (None, None) => panic!("{number} was not lent"),
                        }
                        assert!(number < size && used.length <= ROOM);
                    }
                    queue.put_free(used.descriptor);
                }
                Ok(None) => assert!(!honest || model.used.is_empty()),
                Err(fault) => {
                    assert!(!honest, "{fault}");
                    return;
                }
            },
        }
        let lent = model.held.len() + model.used.len();
        assert_eq!(usize::from(queue.lent()), lent);
        assert_eq!(usize::from(queue.staged()), model.staged.len());
        assert_eq!(usize::from(queue.free()), usize::from(size) - lent - model.staged.len());
    }
}

proptest! {
    #[test]
    fn an_honest_device_is_followed_to_the_letter(
        most in 1..=MAX_SIZE, steps in proptest::collection::vec(honest(), 0..600),
    ) {
        run(most, &steps);
    }

    #[test]
    fn a_device_that_lies_gives_back_nothing_that_was_not_lent(
        steps in proptest::collection::vec(any_step(), 0..300),
    ) {
        run(8, &steps);
    }
}
