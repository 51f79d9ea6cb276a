//! The driver against a device in memory, honest first, then lying.

use super::*;
use crate::{nic, ram::Ram};
use std::{boxed::Box, cell::RefCell, rc::Rc, vec, vec::Vec};

const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
/// What QEMU's card offers, and more: MAC, MRG_RXBUF, STATUS, CTRL_VQ, INDIRECT_DESC, EVENT_IDX, VERSION_1.
const OFFERED: u64 = 1 << 5 | 1 << 15 | 1 << 16 | 1 << 17 | 1 << 28 | 1 << 29 | 1 << 32;
const USED_BUFFER: u32 = 1;
const CONFIGURATION: u32 = 2;

#[derive(Clone, Copy, Debug, Default)]
struct QueueState {
    size: u32,
    ready: u32,
    areas: [u64; 3],
    next_available: u16,
    next_used: u16,
    notified: u32,
}

struct State {
    magic: u32,
    version: u32,
    kind: u32,
    offered: u64,
    taken: u64,
    accepts: bool,
    status: u32,
    /// A status that stays, whatever is written.
    stuck: Option<u32>,
    queue_max: [u32; 2],
    queues: [QueueState; 2],
    selected: usize,
    feature_word: [u32; 2],
    interrupt: u32,
    /// Rising edges of the interrupt line.
    edges: u32,
    /// Interrupts that come again as often as they are acknowledged.
    again: u32,
    generation: u32,
    /// The configuration changes at each look.
    restless: bool,
    mac: [u8; 6],
    link: u16,
    sent: Vec<Vec<u8>>,
    /// Frames leave only when told.
    paused: bool,
    resets: usize,
}

#[derive(Clone)]
struct Fake {
    state: Rc<RefCell<State>>,
    ram: Ram,
}

impl Transport for Fake {
    fn read(&mut self, register: Readable) -> u32 {
        let mut state = self.state.borrow_mut();
        match register {
            Readable::Magic => state.magic,
            Readable::Version => state.version,
            Readable::DeviceId => state.kind,
            Readable::DeviceFeatures => (state.offered >> (32 * state.feature_word[0])) as u32,
            Readable::QueueSizeMax => state.queue_max[state.selected],
            Readable::QueueReady => state.queues[state.selected].ready,
            Readable::InterruptStatus => state.interrupt,
            Readable::Status => state.stuck.unwrap_or(state.status),
            Readable::ConfigGeneration => {
                state.generation += u32::from(state.restless);
                state.generation
            }
        }
    }

    fn write(&mut self, register: Writable, value: u32) {
        let mut state = self.state.borrow_mut();
        let selected = state.selected;
        let queue = &mut state.queues[selected];
        let low = |area: &mut u64| *area = *area & !0xffff_ffff | u64::from(value);
        let high = |area: &mut u64| *area = *area & 0xffff_ffff | u64::from(value) << 32;
        match register {
            Writable::DeviceFeaturesSel => state.feature_word[0] = value,
            Writable::DriverFeaturesSel => state.feature_word[1] = value,
            Writable::DriverFeatures => {
                let shift = 32 * state.feature_word[1];
                state.taken = state.taken & !(0xffff_ffff << shift) | u64::from(value) << shift;
            }
            Writable::QueueSel => state.selected = value as usize,
            Writable::QueueSize => queue.size = value,
            Writable::QueueReady => queue.ready = value,
            Writable::QueueDescLow => low(&mut queue.areas[0]),
            Writable::QueueDescHigh => high(&mut queue.areas[0]),
            Writable::QueueDriverLow => low(&mut queue.areas[1]),
            Writable::QueueDriverHigh => high(&mut queue.areas[1]),
            Writable::QueueDeviceLow => low(&mut queue.areas[2]),
            Writable::QueueDeviceHigh => high(&mut queue.areas[2]),
            Writable::InterruptAck => {
                state.interrupt = state.interrupt & !value | core::mem::take(&mut state.again);
            }
            Writable::Status if value == 0 => {
                state.status = 0;
                state.queues = Default::default();
                state.interrupt = 0;
                state.resets += 1;
            }
            Writable::Status => {
                let refused = if state.accepts { 0 } else { 8 };
                state.status = value & !refused;
            }
            Writable::QueueNotify => {
                assert_eq!(state.status & 0x84, 4, "nobody is told before DRIVER_OK");
                state.queues[value as usize].notified += 1;
                drop(state);
                if value == TRANSMIT {
                    self.run();
                }
            }
        }
    }
}

impl Bus for Fake {
    fn read_mac(&mut self) -> [u8; 6] {
        self.state.borrow().mac
    }

    fn read_link_status(&mut self) -> u16 {
        self.state.borrow().link
    }
}

impl Fake {
    fn new(ram: &Ram) -> Self {
        let state = State {
            magic: 0x7472_6976,
            version: 2,
            kind: 1,
            offered: OFFERED,
            taken: 0,
            accepts: true,
            status: 0,
            stuck: None,
            queue_max: [256; 2],
            queues: Default::default(),
            selected: 0,
            feature_word: [0; 2],
            interrupt: 0,
            edges: 0,
            again: 0,
            generation: 7,
            restless: false,
            mac: MAC,
            link: 1,
            sent: vec![],
            paused: false,
            resets: 0,
        };
        Self { state: Rc::new(RefCell::new(state)), ram: ram.clone() }
    }

    fn queue(&self, number: u32) -> QueueState {
        self.state.borrow().queues[number as usize]
    }

    fn change(&self, number: u32, change: impl FnOnce(&mut QueueState)) {
        change(&mut self.state.borrow_mut().queues[number as usize]);
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.borrow_mut());
    }

    /// The line is a level; the interrupt controller sees its rising edges.
    fn raise(&self, bits: u32) {
        self.set(|state| {
            state.edges += u32::from(state.interrupt == 0);
            state.interrupt |= bits;
        });
    }

    fn edges(&self) -> u32 {
        core::mem::take(&mut self.state.borrow_mut().edges)
    }

    /// The next available descriptor: number, address, length and flags.
    fn take(&self, number: u32) -> Option<(u32, u64, u32, u32)> {
        let queue = self.queue(number);
        assert_eq!((queue.ready, queue.areas[0] % 16, queue.areas[1] % 2), (1, 0, 0));
        let index = (self.ram.load(queue.areas[1]) >> 16) as u16;
        if index == queue.next_available {
            return None;
        }
        let slot = u64::from(u32::from(queue.next_available) % queue.size);
        let pair = self.ram.load(queue.areas[1] + 4 + slot / 2 * 4);
        let descriptor = pair >> (slot % 2 * 16) & 0xffff;
        assert!(descriptor < queue.size);
        let word = |word: u64| self.ram.load(queue.areas[0] + u64::from(descriptor) * 16 + word * 4);
        self.change(number, |queue| queue.next_available = queue.next_available.wrapping_add(1));
        Some((descriptor, u64::from(word(0)) | u64::from(word(1)) << 32, word(2), word(3)))
    }

    /// Gives a buffer back, and interrupts unless the driver asked for silence.
    fn give(&self, number: u32, descriptor: u32, length: u32) {
        let queue = self.queue(number);
        assert_eq!(queue.areas[2] % 4, 0);
        let entry = queue.areas[2] + 4 + u64::from(u32::from(queue.next_used) % queue.size) * 8;
        self.ram.store(entry, descriptor);
        self.ram.store(entry + 4, length);
        let next = queue.next_used.wrapping_add(1);
        self.ram.store(queue.areas[2], u32::from(next) << 16);
        self.change(number, |queue| queue.next_used = next);
        if self.ram.load(queue.areas[1]) & 1 == 0 {
            self.raise(USED_BUFFER);
        }
    }

    /// Sends what is in the transmit ring.
    fn run(&self) {
        while !self.state.borrow().paused
            && let Some((descriptor, at, length, flags)) = self.take(TRANSMIT)
        {
            assert_eq!(flags, 0, "to be read, and no chain");
            let bytes = self.ram.read(at, length as usize);
            assert_eq!(bytes[..HEADER], [0; HEADER]);
            self.set(|state| state.sent.push(bytes[HEADER..].to_vec()));
            self.give(TRANSMIT, descriptor, 0);
        }
    }

    /// Receives a frame. `false` if no buffer is available.
    fn receive(&self, frame: &[u8]) -> bool {
        // The count of merged buffers is what was there before, as in some devices.
        let mut bytes = vec![0; 10];
        bytes.extend([0xaa, 0xaa]);
        bytes.extend(frame);
        self.write_received(&bytes, bytes.len() as u32)
    }

    fn write_received(&self, bytes: &[u8], length: u32) -> bool {
        let Some((descriptor, at, room, flags)) = self.take(RECEIVE) else {
            return false;
        };
        assert_eq!((room, flags), (1526, 2));
        assert!(bytes.len() <= room as usize);
        self.ram.write(at, bytes);
        self.give(RECEIVE, descriptor, length);
        true
    }
}

fn stopped() -> (Fake, Stopped<Fake, Ram>) {
    let ram = Ram::of(PAGES);
    let fake = Fake::new(&ram);
    let stopped = Stopped::new(fake.clone(), &ram).ok().unwrap();
    (fake, stopped)
}

fn started() -> (Fake, Card<Fake, Ram>) {
    let (fake, stopped) = stopped();
    let Ok(card) = stopped.start() else { panic!("the device starts") };
    (fake, card)
}

/// The error of a device that was changed before its start.
fn refused(change: impl FnOnce(&mut State)) -> StartError {
    let (fake, stopped) = stopped();
    fake.set(change);
    let Err((error, _)) = stopped.start() else { panic!("the device does not start") };
    assert_eq!(fake.state.borrow().status, 128, "FAILED");
    error
}

fn frame(number: usize) -> Vec<u8> {
    let length = SHORTEST_FRAME + number * 37 % (MAX_FRAME - SHORTEST_FRAME + 1);
    (0..length).map(|at| (at * 7 + number) as u8).collect()
}

fn receive(card: &mut Card<Fake, Ram>) -> Option<Vec<u8>> {
    let mut room = [0; MAX_FRAME];
    let length = card.receive(&mut room).unwrap()?;
    Some(room[..length].to_vec())
}

#[test]
fn the_device_is_set_up_as_the_specification_says() {
    let (fake, card) = started();
    assert_eq!(card.mac(), MAC);
    let state = fake.state.borrow();
    assert_eq!((state.status, state.resets), (15, 1));
    assert_eq!(state.taken, 1 << 5 | 1 << 16 | 1 << 32);
    for (queue, page) in state.queues.iter().zip([0xf_fff0_u64, 0xf_fff1]) {
        assert_eq!((queue.size, queue.ready), (128, 1));
        assert_eq!(queue.areas, [page << 12, (page << 12) + 2048, (page << 12) + 2560]);
    }
    assert_eq!((state.queues[0].notified, state.queues[1].notified), (1, 0));
}

#[test]
fn every_buffer_has_its_own_place() {
    let (fake, _card) = started();
    let mut buffers: Vec<u64> = core::iter::from_fn(|| fake.take(RECEIVE)).map(|taken| taken.1).collect();
    buffers.sort_unstable();
    assert_eq!(buffers.len(), 128);
    assert!(buffers.windows(2).all(|pair| pair[1] - pair[0] == 2048));
    assert_eq!(buffers[0], 0xf_fff2 << 12);
}

#[test]
fn frames_go_out_whole_and_in_order_over_many_rounds() {
    let (fake, mut card) = started();
    for number in 0..4_000 {
        card.transmit(&frame(number % 500)).unwrap();
        if number % 500 == 499 {
            card.flush();
            let sent = fake.state.borrow_mut().sent.split_off(0);
            assert_eq!(sent, (0..500).map(frame).collect::<Vec<_>>());
        }
    }
    assert_eq!(card.unsent(), 0);
    assert_eq!(fake.edges(), 0, "nobody asked for interrupts of sent frames");
    assert!(fake.queue(TRANSMIT).notified < 4_000 / 10);
}

#[test]
fn frames_come_in_whole_and_in_order_over_many_rounds() {
    let (fake, mut card) = started();
    for round in 0..40 {
        for number in 0..100 {
            assert!(fake.receive(&frame(round + number)));
        }
        assert_eq!(fake.edges(), 1, "the first raises the line, and it stays up");
        assert_eq!(card.acknowledge(), Ok(Causes::RECEIVED | Causes::SENT));
        for number in 0..100 {
            assert_eq!(receive(&mut card), Some(frame(round + number)));
        }
        assert_eq!(receive(&mut card), None);
    }
}

#[test]
fn a_full_receive_ring_takes_again_after_it_was_emptied() {
    let (fake, mut card) = started();
    assert_eq!((0..200).filter(|number| fake.receive(&frame(*number))).count(), 128);
    assert_eq!(core::iter::from_fn(|| receive(&mut card)).count(), 128);
    assert!(fake.receive(&frame(7)));
    assert_eq!(receive(&mut card), Some(frame(7)));
}

#[test]
fn buffers_that_come_back_out_of_order_are_the_right_ones() {
    let (fake, mut card) = started();
    let mut taken: Vec<_> = core::iter::from_fn(|| fake.take(RECEIVE)).collect();
    taken.reverse();
    for (number, (descriptor, at, ..)) in taken.into_iter().enumerate() {
        let mut bytes = vec![0; HEADER];
        bytes.extend(frame(number));
        fake.ram.write(at, &bytes);
        fake.give(RECEIVE, descriptor, bytes.len() as u32);
    }
    for number in 0..128 {
        assert_eq!(receive(&mut card), Some(frame(number)));
    }
}

#[test]
fn no_edge_is_lost_whatever_comes_between() {
    let (fake, mut card) = started();
    fake.receive(&frame(1));
    assert_eq!(fake.edges(), 1);
    // Another cause beside the pending one makes no edge: it must be seen now.
    fake.raise(CONFIGURATION);
    assert_eq!(fake.edges(), 0);
    assert_eq!(card.acknowledge(), Ok(Causes::all()));
    assert_eq!(fake.state.borrow().interrupt, 0);
    // And one that comes while the first is acknowledged.
    fake.raise(USED_BUFFER);
    fake.set(|state| state.again = CONFIGURATION);
    fake.edges();
    assert_eq!(card.acknowledge(), Ok(Causes::all()));
    assert_eq!(fake.state.borrow().interrupt, 0);
    // Silence while the ring is drained; then the last look finds what came meanwhile.
    fake.receive(&frame(2));
    assert_eq!(fake.edges(), 0);
    assert_eq!(receive(&mut card), Some(frame(1)));
    assert_eq!(receive(&mut card), Some(frame(2)));
    assert_eq!(receive(&mut card), None);
    fake.receive(&frame(3));
    assert_eq!(fake.edges(), 1);
}

#[test]
fn a_full_transmit_ring_says_so_and_tells_when_there_is_room() {
    let (fake, mut card) = started();
    fake.set(|state| state.paused = true);
    let taken = (0..200).take_while(|number| card.transmit(&frame(*number)).is_ok()).count();
    assert_eq!(taken, 128);
    assert_eq!(card.transmit(&frame(0)), Err(NotSent::Full));
    assert_eq!(card.unsent(), 128);
    card.want_room();
    assert!(!card.has_room(1));
    assert_eq!(fake.edges(), 0);
    fake.set(|state| state.paused = false);
    fake.run();
    assert_eq!(fake.edges(), 1);
    assert_eq!(card.acknowledge(), Ok(Causes::RECEIVED | Causes::SENT));
    assert!(card.has_room(128) && !card.has_room(129));
    card.transmit(&frame(5)).unwrap();
    card.flush();
    assert_eq!(fake.edges(), 0, "it was asked for once");
}

#[test]
fn room_that_came_before_it_was_wanted_is_seen() {
    let (fake, mut card) = started();
    fake.set(|state| state.paused = true);
    for number in 0..128 {
        card.transmit(&frame(number)).unwrap();
    }
    assert!(!card.has_room(2));
    fake.set(|state| state.paused = false);
    fake.run();
    assert_eq!(fake.edges(), 0);
    card.want_room();
    assert!(card.has_room(2));
}

#[test]
fn a_device_that_does_not_want_to_be_told_is_not() {
    let (fake, mut card) = started();
    let used = fake.queue(TRANSMIT).areas[2];
    fake.ram.store(used, 1);
    card.transmit(&frame(1)).unwrap();
    card.flush();
    assert_eq!(fake.queue(TRANSMIT).notified, 0);
    fake.ram.store(used, 0);
    card.transmit(&frame(2)).unwrap();
    card.flush();
    assert_eq!(fake.queue(TRANSMIT).notified, 1);
    assert_eq!(fake.state.borrow().sent, [frame(1), frame(2)]);
}

#[test]
fn lengths_that_no_frame_has_are_not_sent() {
    let (_, mut card) = started();
    for length in [0, 13, MAX_FRAME + 1, 65_536 + 60] {
        assert_eq!(card.transmit(&vec![0; length]), Err(NotSent::Length));
    }
    assert!(card.has_room(128));
}

#[test]
fn the_link_is_read_and_its_change_interrupts() {
    let (fake, mut card) = started();
    assert_eq!(card.read_link(), Ok(Some(Link::Virtual)));
    for (status, link) in [(0, None), (2, None), (1, Some(Link::Virtual)), (3, Some(Link::Virtual))] {
        fake.set(|state| state.link = status);
        fake.raise(CONFIGURATION);
        assert_eq!(fake.edges(), 1);
        assert_eq!(card.acknowledge(), Ok(Causes::all()));
        assert_eq!(card.read_link(), Ok(link));
    }
}

#[test]
fn a_device_that_does_not_tell_its_carrier_has_one() {
    let (fake, stopped) = stopped();
    fake.set(|state| {
        state.offered = 1 << 5 | 1 << 32 | 1 << 33;
        state.link = 0;
    });
    let Ok(mut card) = stopped.start() else { panic!("it starts") };
    assert_eq!(fake.state.borrow().taken, 1 << 5 | 1 << 32 | 1 << 33);
    assert_eq!(card.read_link(), Ok(Some(Link::Virtual)));
}

#[test]
fn devices_that_are_not_ours_to_drive_do_not_start() {
    assert_eq!(refused(|state| state.magic = 0), StartError::Greet(GreetError::Magic(0)));
    assert_eq!(refused(|state| state.version = 1), StartError::Greet(GreetError::Version(1)));
    assert_eq!(refused(|state| state.kind = 0), StartError::Greet(GreetError::Kind { kind: 0, wanted: 1 }));
    assert_eq!(refused(|state| state.kind = 2), StartError::Greet(GreetError::Kind { kind: 2, wanted: 1 }));
    assert_eq!(
        refused(|state| state.offered &= !(1 << 32)),
        StartError::Greet(GreetError::Features(1 << 32))
    );
    assert_eq!(refused(|state| state.offered &= !(1 << 5)), StartError::Greet(GreetError::Features(1 << 5)));
    assert_eq!(refused(|state| state.accepts = false), StartError::Greet(GreetError::Refused(3)));
    assert_eq!(refused(|state| state.queue_max[0] = 0), StartError::Greet(GreetError::Queue(0)));
    assert_eq!(refused(|state| state.queue_max[1] = 0), StartError::Greet(GreetError::Queue(1)));
    assert_eq!(refused(|state| state.queues[1].ready = 1), StartError::Greet(GreetError::Queue(1)));
    assert_eq!(refused(|state| state.restless = true), StartError::Configuration);
    for mac in [[0; 6], [1, 0, 0, 0, 0, 1], [0xff; 6]] {
        assert_eq!(refused(|state| state.mac = mac), StartError::NoAddress(mac));
    }
}

#[test]
fn odd_sizes_of_queues_work() {
    for most in [1, 2, 3, 100, 0x1_0000, u32::MAX] {
        let (fake, stopped) = stopped();
        fake.set(|state| state.queue_max = [most; 2]);
        let Ok(mut card) = stopped.start() else { panic!("it starts") };
        for number in 0..300 {
            card.transmit(&frame(number)).unwrap();
            card.flush();
            assert!(fake.receive(&frame(number)));
            assert_eq!(receive(&mut card), Some(frame(number)));
            assert_eq!(receive(&mut card), None);
        }
        assert_eq!(fake.state.borrow().sent.len(), 300);
    }
}

#[test]
fn too_little_memory_is_said() {
    let ram = Ram::of(PAGES - 1);
    assert_eq!(Stopped::new(Fake::new(&ram), &ram).err(), Some(StartError::NoMemory));
}

#[test]
fn a_device_whose_driver_was_killed_is_taken_over() {
    let (fake, mut dead) = started();
    dead.transmit(&frame(1)).unwrap();
    fake.receive(&frame(2));
    fake.raise(CONFIGURATION);
    drop(dead);
    assert_eq!(fake.state.borrow().status, 15);
    let ram = Ram::of(PAGES);
    let fake = Fake { ram: ram.clone(), ..fake };
    let stopped = Stopped::new(fake.clone(), &ram).ok().unwrap();
    assert_eq!(fake.state.borrow().status, 0, "reset before anything else");
    let Ok(mut card) = stopped.start() else { panic!("it starts again") };
    fake.edges();
    assert_eq!(receive(&mut card), None, "what was received before is its dead owner's");
    fake.receive(&frame(3));
    assert_eq!(fake.edges(), 1);
    assert_eq!(receive(&mut card), Some(frame(3)));
    card.transmit(&frame(4)).unwrap();
    card.flush();
    assert_eq!(fake.state.borrow().sent, [frame(4)]);
}

#[test]
fn a_reset_that_does_not_end_is_told_and_tried_again() {
    let (fake, stopped) = stopped();
    fake.set(|state| state.stuck = Some(15));
    let Err((error, stopped)) = stopped.start() else { panic!("it does not start") };
    assert_eq!(error, StartError::Greet(GreetError::Reset(15)));
    fake.set(|state| state.stuck = None);
    assert!(stopped.again().start().is_ok());
    assert_eq!(fake.state.borrow().resets, 2);
}

/// A device did something, and what must come of it.
type Lie = (fn(&Fake), Fault);

fn received(bytes: &[u8], length: u32) -> impl Fn(&Fake) {
    move |fake| assert!(fake.write_received(bytes, length))
}

#[test]
fn lies_about_received_frames_are_faults_and_the_card_works_again_after_a_reset() {
    let lies: &[Lie] = &[
        (|fake| fake.give(RECEIVE, 128, 60), Fault::Receive(queue::Fault::Number { number: 128 })),
        (|fake| fake.give(RECEIVE, !0, 60), Fault::Receive(queue::Fault::Number { number: !0 })),
        (
            |fake| {
                fake.receive(&frame(1));
                fake.give(RECEIVE, 0, 60);
            },
            Fault::Receive(queue::Fault::NotLent { number: 0 }),
        ),
        (
            |fake| received(&[0; 60], 1527)(fake),
            Fault::Receive(queue::Fault::Length { says: 1527, room: 1526 }),
        ),
        (|fake| received(&[0; 60], !0)(fake), Fault::Receive(queue::Fault::Length { says: !0, room: 1526 })),
        (|fake| received(&[], 0)(fake), Fault::Short { says: 0 }),
        (|fake| received(&[0; 11], 11)(fake), Fault::Short { says: 11 }),
        (|fake| received(&[1; 60], 60)(fake), Fault::Offload { flags: 1, segmentation: 1 }),
        (|fake| received(&[0, 3, 0, 0], 60)(fake), Fault::Offload { flags: 0, segmentation: 3 }),
        (
            |fake| fake.ram.store(fake.queue(RECEIVE).areas[2], 129 << 16),
            Fault::Receive(queue::Fault::Index { says: 129, has: 128 }),
        ),
    ];
    for (lie, fault) in lies {
        let (fake, mut card) = started();
        lie(&fake);
        let found = loop {
            // A true frame may stand ahead of the lie.
            match card.receive(&mut [0; MAX_FRAME]) {
                Ok(Some(_)) => {}
                Ok(None) => panic!("{fault} was not seen"),
                Err(found) => break found,
            }
        };
        assert_eq!(found, *fault);
        assert_eq!(card.fault(), Some(*fault));
        // Nothing is believed any more.
        assert_eq!(card.receive(&mut [0; MAX_FRAME]), Err(*fault));
        assert_eq!(card.acknowledge(), Err(*fault));
        assert_eq!(card.read_link(), Err(*fault));
        assert!(!card.has_room(1));
        assert_eq!(card.transmit(&frame(0)), Err(NotSent::Full));
        works_again(&fake, card);
    }
}

#[test]
fn lies_about_sent_frames_are_faults() {
    let lies: &[Lie] = &[
        (|fake| fake.give(TRANSMIT, 128, 0), Fault::Transmit(queue::Fault::Number { number: 128 })),
        (|fake| fake.give(TRANSMIT, 77, 0), Fault::Transmit(queue::Fault::NotLent { number: 77 })),
        (|fake| fake.give(TRANSMIT, 0, 1), Fault::Transmit(queue::Fault::Length { says: 1, room: 0 })),
        (
            |fake| {
                for _ in 0..4 {
                    fake.give(TRANSMIT, 0, 0);
                }
            },
            Fault::Transmit(queue::Fault::Index { says: 4, has: 3 }),
        ),
    ];
    for (lie, fault) in lies {
        let (fake, mut card) = started();
        fake.set(|state| state.paused = true);
        for number in 0..3 {
            card.transmit(&frame(number)).unwrap();
        }
        card.flush();
        lie(&fake);
        assert_eq!(card.unsent(), 3);
        assert_eq!(card.fault(), Some(*fault));
        assert!(!card.has_room(1));
        assert_eq!(card.receive(&mut [0; MAX_FRAME]), Err(*fault));
        fake.set(|state| state.paused = false);
        works_again(&fake, card);
    }
}

#[test]
fn lies_in_registers_are_faults() {
    for (status, fault) in [
        (15 | 64, Fault::NeedsReset),
        (0, Fault::Status(0)),
        (11, Fault::Status(11)),
        (u32::MAX, Fault::Status(u32::MAX)),
    ] {
        let (fake, mut card) = started();
        fake.set(|state| state.stuck = Some(status));
        assert_eq!(card.read_link(), Err(fault));
        fake.set(|state| state.stuck = None);
        works_again(&fake, card);
    }
    for status in [4, 0x8000_0001, u32::MAX] {
        let (fake, mut card) = started();
        fake.raise(status);
        assert_eq!(card.acknowledge(), Err(Fault::Interrupt(status)));
        works_again(&fake, card);
    }
}

#[test]
fn an_interrupt_that_does_not_end_keeps_nobody_busy_for_ever() {
    struct Restless(Fake);
    impl Transport for Restless {
        fn read(&mut self, register: Readable) -> u32 {
            if register == Readable::InterruptStatus { 1 } else { self.0.read(register) }
        }
        fn write(&mut self, register: Writable, value: u32) {
            self.0.write(register, value);
        }
    }
    impl Bus for Restless {
        fn read_mac(&mut self) -> [u8; 6] {
            self.0.read_mac()
        }
        fn read_link_status(&mut self) -> u16 {
            self.0.read_link_status()
        }
    }
    let ram = Ram::default();
    let stopped = Stopped::new(Restless(Fake::new(&ram)), &ram).ok().unwrap();
    let Ok(mut card) = stopped.start() else { panic!("it starts") };
    assert_eq!(card.acknowledge(), Err(Fault::Restless));
}

#[test]
fn frames_without_a_whole_ethernet_header_are_left_to_who_reads_them() {
    let (fake, mut card) = started();
    for length in 0..SHORTEST_FRAME {
        assert!(fake.receive(&vec![9; length]));
        assert_eq!(receive(&mut card), Some(vec![9; length]));
    }
    assert!(fake.receive(&[9; MAX_FRAME]));
    assert_eq!(receive(&mut card), Some(vec![9; MAX_FRAME]));
}

#[test]
fn the_card_works_behind_the_traits_of_all_cards() {
    let (fake, stopped) = stopped();
    fake.set(|state| state.magic = 1);
    let stopped: Box<dyn nic::Stopped> = Box::new(stopped);
    let Err((error, stopped)) = stopped.start() else { panic!("it does not start") };
    assert_eq!(error, nic::StartError::Virtio(StartError::Greet(GreetError::Magic(1))));
    fake.set(|state| state.magic = crate::virtio::mmio::MAGIC);
    let Ok(mut card) = stopped.again().start() else { panic!("it starts") };
    card.transmit(&frame(1)).unwrap();
    card.flush();
    assert_eq!(fake.state.borrow().sent, [frame(1)]);
    fake.receive(&frame(2));
    assert_eq!(card.acknowledge(0), Ok(Causes::RECEIVED | Causes::SENT));
    assert_eq!(card.receive(&mut [0; MAX_FRAME]), Ok(Some(frame(2).len())));
    assert_eq!(card.receive(&mut [0; MAX_FRAME]), Ok(None));
    fake.give(RECEIVE, 500, 0);
    let fault = nic::Fault::Virtio(Fault::Receive(queue::Fault::Number { number: 500 }));
    assert_eq!(card.receive(&mut [0; MAX_FRAME]), Err(fault));
    assert_eq!(card.fault(), Some(fault));
    assert!(card.stop().start().is_ok());
}

fn works_again(fake: &Fake, card: Card<Fake, Ram>) {
    let resets = fake.state.borrow().resets;
    fake.set(|state| state.sent.clear());
    let Ok(mut card) = card.stop().start() else { panic!("the device starts again") };
    assert_eq!(fake.state.borrow().resets, resets + 1);
    card.transmit(&frame(2)).unwrap();
    card.flush();
    assert_eq!(fake.state.borrow().sent, [frame(2)]);
    fake.receive(&frame(4));
    assert_eq!(receive(&mut card), Some(frame(4)));
    assert_eq!(card.fault(), None);
}
