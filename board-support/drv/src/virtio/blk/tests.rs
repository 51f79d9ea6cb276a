//! The driver against a device in memory, honest first, then lying.

use super::*;
use crate::{
    block::{
        MAX_TRANSFER,
        fake::Image,
        rig::{Clock, pattern, run, run_for},
    },
    ram::Ram,
    virtio::queue,
};
use std::{cell::RefCell, collections::BTreeMap, rc::Rc, vec, vec::Vec};

const SECOND: Duration = Duration::from_secs(1);

/// What QEMU's disk offers, and more: SEG_MAX, GEOMETRY, BLK_SIZE, FLUSH, TOPOLOGY, CONFIG_WCE, INDIRECT_DESC,
/// EVENT_IDX, VERSION_1.
const OFFERED: u64 = 1 << 2 | 1 << 4 | 1 << 6 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 28 | 1 << 29 | 1 << 32;

/// What a device does instead of what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    /// Gives back this descriptor.
    Number(u32),
    /// Gives back twice.
    Twice,
    /// Says that it has written so many bytes more, or less.
    Length(i32),
    /// Writes no status.
    NoStatus,
}

/// A part as the device is told of it: address, length, and whether it is to be written.
type Told = (u64, u32, bool);

struct State {
    kind: u32,
    offered: u64,
    taken: u64,
    status: u32,
    /// DRIVER_OK was written since the last reset.
    told_to_run: bool,
    /// Looks at the status until a reset has ended.
    slow: u32,
    looks: u32,
    gone: bool,
    queue_max: u32,
    size: u32,
    ready: u32,
    areas: [u64; 3],
    next_available: u16,
    next_used: u16,
    feature_word: [u32; 2],
    interrupt: u32,
    /// Interrupts that come again as often as they are acknowledged.
    again: u32,
    configured: Configured,
    generation: u32,
    restless: bool,
    serial: Vec<u8>,
    disk: Image,
    requests: Vec<u32>,
    /// Statuses of requests, by their number.
    refuse: BTreeMap<usize, u8>,
    paused: bool,
    lie: Option<Lie>,
    resets: u32,
    /// The most parts of a request that were seen.
    most_parts: usize,
}

#[derive(Clone)]
struct Fake {
    state: Rc<RefCell<State>>,
    ram: Ram,
    clock: Clock,
}

impl Transport for Fake {
    fn read(&mut self, register: Readable) -> u32 {
        let mut state = self.state.borrow_mut();
        if state.gone {
            return u32::MAX;
        }
        match register {
            Readable::Magic => 0x7472_6976,
            Readable::Version => 2,
            Readable::DeviceId => state.kind,
            Readable::DeviceFeatures => (state.offered >> (32 * state.feature_word[0])) as u32,
            Readable::QueueSizeMax => state.queue_max,
            Readable::QueueReady => state.ready,
            Readable::InterruptStatus => state.interrupt,
            Readable::Status => {
                let resets = state.looks > 0;
                state.looks = state.looks.saturating_sub(1);
                if resets { 0x40 } else { state.status }
            }
            Readable::ConfigGeneration => {
                state.generation += u32::from(state.restless);
                state.generation
            }
        }
    }

    fn write(&mut self, register: Writable, value: u32) {
        let mut state = self.state.borrow_mut();
        if state.gone {
            return;
        }
        let low = |area: &mut u64| *area = *area & !0xffff_ffff | u64::from(value);
        let high = |area: &mut u64| *area = *area & 0xffff_ffff | u64::from(value) << 32;
        match register {
            Writable::DeviceFeaturesSel => state.feature_word[0] = value,
            Writable::DriverFeaturesSel => state.feature_word[1] = value,
            Writable::DriverFeatures => {
                let shift = 32 * state.feature_word[1];
                state.taken = state.taken & !(0xffff_ffff << shift) | u64::from(value) << shift;
            }
            Writable::QueueSel => assert_eq!(value, 0, "there is one queue"),
            Writable::QueueSize => state.size = value,
            Writable::QueueReady => state.ready = value,
            Writable::QueueDescLow => low(&mut state.areas[0]),
            Writable::QueueDescHigh => high(&mut state.areas[0]),
            Writable::QueueDriverLow => low(&mut state.areas[1]),
            Writable::QueueDriverHigh => high(&mut state.areas[1]),
            Writable::QueueDeviceLow => low(&mut state.areas[2]),
            Writable::QueueDeviceHigh => high(&mut state.areas[2]),
            Writable::InterruptAck => state.interrupt = state.interrupt & !value | state.again,
            Writable::Status if value == 0 => {
                (state.status, state.ready, state.interrupt, state.looks) = (0, 0, 0, state.slow);
                (state.next_available, state.next_used, state.told_to_run) = (0, 0, false);
                state.resets += 1;
            }
            Writable::Status => {
                assert_eq!(state.looks, 0, "spoken to before its reset has ended");
                assert_eq!(value & state.status, state.status, "a bit is taken back");
                (state.status, state.told_to_run) = (value, value & 4 != 0);
            }
            Writable::QueueNotify => {
                assert!(state.told_to_run && value == 0, "nobody is told before DRIVER_OK");
                drop(state);
                self.work();
            }
        }
    }
}

impl Bus for Fake {
    fn read_config(&mut self) -> Configured {
        self.get(|state| state.configured)
    }
}

impl Fake {
    /// A disk of 1000 blocks with a cache.
    fn new() -> Self {
        Self::with(512, Ram::default())
    }

    fn with(blk_size: u32, ram: Ram) -> Self {
        let configured =
            Configured { capacity: 1000 * u64::from(blk_size) / 512, size_max: 0, seg_max: 126, blk_size };
        let state = State {
            kind: 2,
            offered: OFFERED,
            taken: 0,
            // Left running by somebody who was killed.
            status: 15,
            told_to_run: true,
            slow: 2,
            looks: 0,
            gone: false,
            queue_max: 256,
            size: 0,
            ready: 1,
            areas: [0; 3],
            next_available: 9,
            next_used: 9,
            feature_word: [0; 2],
            interrupt: 1,
            again: 0,
            configured,
            generation: 7,
            restless: false,
            serial: b"sarsen".to_vec(),
            disk: Image::new(BlockSize::of_bytes(blk_size).unwrap()),
            requests: vec![],
            refuse: BTreeMap::new(),
            paused: false,
            lie: None,
            resets: 0,
            most_parts: 0,
        };
        Self { state: Rc::new(RefCell::new(state)), ram, clock: Clock::default() }
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.borrow_mut());
    }

    fn get<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.state.borrow())
    }

    /// The line is a level; the interrupt controller sees its rising edges.
    fn raise(&self, bits: u32) {
        let rises = self.get(|state| state.interrupt == 0);
        self.set(|state| state.interrupt |= bits);
        if rises {
            self.clock.raise();
        }
    }

    /// Serves all requests that are there.
    fn work(&self) {
        while let Some((number, parts)) = self.fetch() {
            let length = self.serve(&parts);
            self.give_back(number, length);
        }
    }

    /// The next chain: its first descriptor, and its parts.
    fn fetch(&self) -> Option<(u32, Vec<Told>)> {
        let (areas, size, next, paused) =
            self.get(|state| (state.areas, state.size, state.next_available, state.paused));
        let index = (self.ram.load(areas[1]) >> 16) as u16;
        if paused || index == next {
            return None;
        }
        let slot = u64::from(u32::from(next) % size);
        let first = self.ram.load(areas[1] + 4 + slot / 2 * 4) >> (slot % 2 * 16) & 0xffff;
        let (mut parts, mut number) = (vec![], first);
        loop {
            assert!(number < size && parts.len() < size as usize, "a chain without an end");
            let word = |word: u64| self.ram.load(areas[0] + u64::from(number) * 16 + word * 4);
            let flags = word(3) & 0xffff;
            parts.push((u64::from(word(1)) << 32 | u64::from(word(0)), word(2), flags & 2 != 0));
            if flags & 1 == 0 {
                break;
            }
            number = word(3) >> 16;
        }
        self.set(|state| {
            state.next_available = next.wrapping_add(1);
            state.most_parts = state.most_parts.max(parts.len());
        });
        assert!(parts.is_sorted_by_key(|(_, _, written)| *written), "parts to write come last");
        Some((first, parts))
    }

    /// Serves a request and returns how many bytes were written.
    fn serve(&self, parts: &[Told]) -> u32 {
        let [(head, 16, false), data @ .., (status_at, 1, true)] = parts else { panic!("{parts:x?}") };
        let word = |word: u64| self.ram.load(head + word * 4);
        let (kind, sector) = (word(0), u64::from(word(3)) << 32 | u64::from(word(2)));
        assert_eq!(word(1), 0, "reserved");
        let number = self.get(|state| state.requests.len());
        self.set(|state| state.requests.push(kind));
        let status = self.get(|state| state.refuse.get(&number).copied()).unwrap_or(0);
        let mut written = 1;
        if status == 0 {
            written += self.carry_out(kind, sector, data);
        }
        if self.get(|state| state.lie) != Some(Lie::NoStatus) {
            let before = self.ram.load(*status_at);
            self.ram.store(*status_at, before & !0xff | u32::from(status));
        }
        written
    }

    fn carry_out(&self, kind: u32, sector: u64, data: &[Told]) -> u32 {
        let length: u32 = data.iter().map(|(_, length, _)| *length).sum();
        assert!(data.len() <= self.get(|state| state.configured.seg_max.max(1) as usize));
        match kind {
            request::FLUSH => assert!(data.is_empty() && sector == 0),
            request::GET_ID => {
                assert_eq!(length, 20);
                let mut serial = self.get(|state| state.serial.clone());
                serial.resize(20, 0);
                self.ram.write(data[0].0, &serial);
                return length;
            }
            _ => {
                let (blk, capacity) =
                    self.get(|state| (state.configured.blk_size, state.configured.capacity));
                let a_block = u64::from(blk / 512);
                assert!(
                    sector.is_multiple_of(a_block) && length > 0 && length.is_multiple_of(blk),
                    "whole blocks"
                );
                assert!(sector + u64::from(length) / 512 <= capacity, "past the end");
                let mut block = sector / a_block;
                for (at, length, is_written) in data {
                    assert_eq!(*is_written, kind == request::IN);
                    if kind == request::IN {
                        let mut read = vec![0; *length as usize];
                        self.get(|state| state.disk.get(block, &mut read));
                        self.ram.write(*at, &read);
                    } else {
                        assert_eq!(kind, request::OUT);
                        let bytes = self.ram.read(*at, *length as usize);
                        self.set(|state| state.disk.put(block, &bytes));
                    }
                    block += u64::from(length / blk);
                }
                if kind == request::IN {
                    return length;
                }
            }
        }
        0
    }

    fn give_back(&self, number: u32, length: u32) {
        let lie = self.state.borrow_mut().lie.take();
        for _ in 0..if lie == Some(Lie::Twice) { 2 } else { 1 } {
            let (used, size, next) = self.get(|state| (state.areas[2], state.size, state.next_used));
            let entry = used + 4 + u64::from(u32::from(next) % size) * 8;
            let number = if let Some(Lie::Number(other)) = lie { other } else { number };
            let more = if let Some(Lie::Length(more)) = lie { more } else { 0 };
            self.ram.store(entry, number);
            self.ram.store(entry + 4, length.wrapping_add_signed(more));
            self.set(|state| state.next_used = next.wrapping_add(1));
            self.ram.store(used, u32::from(next.wrapping_add(1)) << 16);
        }
        self.raise(1);
    }

    fn start(&self) -> Result<TestDisk, StartError> {
        let stopped = Stopped::new(self.clone(), &self.ram, self.clock.clone())?;
        run(stopped.start(10 * SECOND)).map_err(|(error, _)| error)
    }
}

type TestDisk = Disk<Fake, Ram, Clock>;

fn disk() -> (Fake, TestDisk) {
    let fake = Fake::new();
    let disk = fake.start().unwrap();
    (fake, disk)
}

fn read(disk: &mut TestDisk, first: u64, length: usize) -> Result<Vec<u8>, Error> {
    let mut into = vec![0xaa; length];
    run(disk.read(first, &mut into, SECOND)).map(|()| into)
}

fn write(disk: &mut TestDisk, first: u64, bytes: &[u8]) -> Result<(), Error> {
    run(disk.write(first, bytes, SECOND))
}

#[test]
fn a_disk_is_brought_up_and_says_what_it_is() {
    let (fake, disk) = disk();
    assert_eq!((disk.identity().model.as_str(), disk.identity().serial.as_str()), ("virtio disk", "sarsen"));
    let geometry = Geometry { block_size: BlockSize::B512, blocks: 1000, writable: true };
    assert_eq!(disk.geometry(), geometry);
    assert_eq!(fake.get(|state| (state.requests.clone(), state.status, state.size)), (vec![8], 15, 128));
    let wanted = 1 << 2 | 1 << 6 | 1 << 9 | 1 << 32;
    assert_eq!(fake.get(|state| state.taken), wanted, "nothing is taken that is not obeyed");
}

#[test]
fn it_takes_the_pages_that_it_says() {
    assert!(Fake::with(512, Ram::of(PAGES)).start().is_ok());
    let fake = Fake::with(512, Ram::of(PAGES - 1));
    assert_eq!(fake.start().map(drop), Err(StartError::NoMemory));
    assert_eq!(fake.get(|state| state.status), 0, "reset all the same");
}

#[test]
fn what_was_written_is_read_at_every_length() {
    for (blk_size, seg_max, queue_max) in
        [(512, 126, 256), (512, 1, 256), (512, 3, 256), (512, 126, 4), (4096, 126, 256), (4096, 0, 64)]
    {
        let fake = Fake::with(blk_size, Ram::default());
        fake.set(|state| (state.configured.seg_max, state.queue_max) = (seg_max, queue_max));
        let mut disk = fake.start().unwrap();
        for blocks in [1, 2, 7, 8, 9, 16, 17, 31, 32, 64, 255, 256] {
            let length = blocks * blk_size as usize;
            if length > MAX_TRANSFER {
                continue;
            }
            let (first, bytes) = (900 - blocks as u64 * 3, pattern(length, blocks as u8));
            write(&mut disk, first, &bytes).unwrap();
            assert!(read(&mut disk, first, length).as_ref() == Ok(&bytes), "{blocks} blocks of {blk_size}");
            let mut image = vec![0; length];
            fake.get(|state| state.disk.get(first, &mut image));
            assert!(image == bytes);
        }
        let parts = 2 + 32.min(seg_max.max(1)).min(queue_max.min(128) - 2) as usize;
        assert_eq!((fake.get(|state| state.most_parts), disk.counts().late), (parts, 0));
    }
}

#[test]
fn many_calls_go_round_the_ring() {
    let (_, mut disk) = disk();
    for round in 0..500u32 {
        let bytes = pattern(512 * (1 + round as usize % 20), round as u8);
        let first = u64::from(round % 900);
        write(&mut disk, first, &bytes).unwrap();
        assert!(read(&mut disk, first, bytes.len()) == Ok(bytes));
    }
    assert_eq!((disk.counts().late, disk.counts().resets), (0, 0));
}

#[test]
fn a_flush_is_given_only_where_there_is_a_cache() {
    let (fake, mut with) = disk();
    run(with.flush(SECOND)).unwrap();
    assert_eq!(fake.get(|state| state.requests.clone()), [8, 4]);
    let fake = Fake::new();
    fake.set(|state| state.offered &= !(1 << 9));
    let mut without = fake.start().unwrap();
    run(without.flush(SECOND)).unwrap();
    assert_eq!(fake.get(|state| state.requests.clone()), [8]);
}

#[test]
fn calls_that_no_disk_takes_never_reach_it() {
    let (fake, mut disk) = disk();
    assert_eq!(write(&mut disk, 0, &[0; 100]), Err(Error::Misaligned { bytes: 100, block: 512 }));
    assert_eq!(read(&mut disk, 1000, 512), Err(Error::OutOfRange { first: 1000, blocks: 1, have: 1000 }));
    assert_eq!(fake.get(|state| state.requests.clone()), [8]);
    let fake = Fake::new();
    fake.set(|state| state.offered |= 1 << 5);
    let mut disk = fake.start().unwrap();
    assert!(!disk.geometry().writable);
    assert_eq!(write(&mut disk, 0, &[0; 512]), Err(Error::ReadOnly));
    assert!(read(&mut disk, 0, 512).is_ok());
}

#[test]
fn a_refusal_is_told_by_its_status_and_the_disk_goes_on() {
    let (fake, mut disk) = disk();
    let mut refuse = |status: u8, kind: u32| {
        fake.set(|state| {
            state.refuse.insert(state.requests.len(), status);
        });
        let result = match kind {
            request::IN => read(&mut disk, 0, 512).map(drop),
            request::OUT => write(&mut disk, 0, &[1; 512]),
            _ => run(disk.flush(SECOND)),
        };
        let Err(Error::Refused(Refusal { cause, status: Status::Virtio(told) })) = result else {
            panic!("{result:?}")
        };
        assert_eq!(told, status);
        cause
    };
    assert_eq!(refuse(1, request::IN), Cause::Unreadable);
    assert_eq!(refuse(1, request::OUT), Cause::Unwritable);
    assert_eq!(refuse(2, request::FLUSH), Cause::Unsupported);
    assert_eq!(refuse(77, request::OUT), Cause::Other);
    assert!(read(&mut disk, 0, 512).is_ok());
    assert_eq!(disk.counts().resets, 0);
}

#[test]
fn a_disk_without_a_serial_number_has_none() {
    let fake = Fake::new();
    fake.set(|state| {
        state.refuse.insert(0, 2);
    });
    assert_eq!(fake.start().unwrap().identity().serial, "");
    let fake = Fake::new();
    fake.set(|state| state.serial = b"a\xff\0b234567890123456789".to_vec());
    assert_eq!(fake.start().unwrap().identity().serial, "a?");
}

#[test]
fn a_device_that_does_not_answer_is_reset_and_serves_again() {
    let (fake, mut disk) = disk();
    write(&mut disk, 7, &pattern(512, 7)).unwrap();
    fake.set(|state| state.paused = true);
    assert_eq!(read(&mut disk, 7, 512), Err(Error::TimedOut { within: SECOND }));
    assert_eq!(fake.get(|state| state.status), 0, "reset at once");
    fake.set(|state| (state.paused, state.slow) = (false, 1500));
    assert_eq!(read(&mut disk, 7, 512), Err(Error::TimedOut { within: SECOND }), "a slow reset");
    fake.set(|state| state.slow = 2);
    assert_eq!(read(&mut disk, 7, 512), Ok(pattern(512, 7)));
    assert_eq!(disk.counts().resets, 1);
}

#[test]
fn an_interrupt_that_is_lost_costs_little_time_and_is_counted() {
    let (fake, mut disk) = disk();
    fake.clock.deafen();
    // What is there is found without any.
    write(&mut disk, 0, &pattern(512, 1)).unwrap();
    fake.set(|state| state.paused = true);
    let device = fake.clone();
    fake.clock.meanwhile(move |_| {
        device.set(|state| state.paused = false);
        device.work();
    });
    assert_eq!(read(&mut disk, 0, 512), Ok(pattern(512, 1)));
    assert_eq!(disk.counts().late, 1);
    assert!(fake.clock.passed() < SECOND / 100);
}

#[test]
fn an_interrupt_that_was_not_needed_does_not_hide_the_next() {
    let (fake, mut disk) = disk();
    for round in 0..50 {
        // Found at the first look, so that the line stays up.
        write(&mut disk, 0, &pattern(512, round)).unwrap();
        assert_ne!(fake.get(|state| state.interrupt), 0);
        // Answered while the driver waits: no edge, unless the old one is noticed.
        fake.set(|state| state.paused = true);
        let device = fake.clone();
        let mut first = true;
        fake.clock.meanwhile(move |_| {
            // The old edge ends the first wait.
            if !core::mem::take(&mut first) {
                device.set(|state| state.paused = false);
                device.work();
            }
        });
        assert_eq!(read(&mut disk, 0, 512), Ok(pattern(512, round)));
    }
    assert_eq!(disk.counts().late, 0);
}

#[test]
fn lies_are_faults_and_the_disk_serves_again_after_a_reset() {
    let (fake, mut disk) = disk();
    let lies = [
        (Lie::Number(500), Fault::Virtqueue(queue::Fault::Number { number: 500 })),
        (Lie::Number(1), Fault::Virtqueue(queue::Fault::NotLent { number: 1 })),
        (Lie::Length(1), Fault::Virtqueue(queue::Fault::Length { says: 514, room: 513 })),
        (Lie::Length(-1), Fault::Short { says: 512, room: 513 }),
        (Lie::Length(-513), Fault::Short { says: 0, room: 513 }),
        (Lie::Twice, Fault::Virtqueue(queue::Fault::Index { says: 2, has: 1 })),
        (Lie::NoStatus, Fault::NoStatus),
    ];
    for (round, (lie, fault)) in lies.into_iter().enumerate() {
        write(&mut disk, 3, &pattern(512, round as u8)).unwrap();
        fake.set(|state| state.lie = Some(lie));
        assert_eq!(read(&mut disk, 3, 512), Err(Error::Fault(fault)), "{lie:?}");
        assert_eq!(read(&mut disk, 3, 512), Ok(pattern(512, round as u8)));
        assert_eq!(disk.counts().resets as usize, round + 1);
    }
}

#[test]
fn a_device_that_is_lost_or_gone_says_so() {
    let (fake, mut disk) = disk();
    let check = |disk: &mut TestDisk, change: fn(&mut State), error: Error| {
        fake.set(|state| state.paused = true);
        fake.set(change);
        assert_eq!(read(disk, 0, 512), Err(error));
        fake.set(|state| (state.paused, state.again, state.interrupt) = (false, 0, 0));
        assert!(read(disk, 0, 512).is_ok());
    };
    check(&mut disk, |state| state.status |= 64, Error::Fault(Fault::Fatal));
    check(&mut disk, |state| state.status = 7, Error::Fault(Fault::Stopped { status: 7 }));
    check(&mut disk, |state| state.interrupt = 9, Error::Fault(Fault::Interrupt { status: 9 }));
    check(&mut disk, |state| (state.again, state.interrupt) = (1, 1), Error::Fault(Fault::Restless));
    fake.set(|state| (state.paused, state.gone) = (true, true));
    for _ in 0..3 {
        assert_eq!(read(&mut disk, 0, 512), Err(Error::Gone));
    }
    fake.set(|state| (state.paused, state.gone) = (false, false));
    assert!(read(&mut disk, 0, 512).is_ok());
}

#[test]
fn a_lost_device_is_noticed_by_the_interrupt_that_tells_it() {
    let (fake, mut disk) = disk();
    fake.set(|state| state.paused = true);
    let device = fake.clone();
    fake.clock.meanwhile(move |_| {
        device.set(|state| state.status |= 64);
        device.raise(2);
    });
    assert_eq!(read(&mut disk, 0, 512), Err(Error::Fault(Fault::Fatal)));
    assert!(fake.clock.passed() < SECOND, "at once");
}

#[test]
fn another_disk_after_a_reset_is_not_taken_for_the_same() {
    let (fake, mut disk) = disk();
    let changes: [fn(&mut State); 3] = [
        |state| state.serial = b"other".to_vec(),
        |state| state.configured.capacity = 999,
        |state| state.offered |= 1 << 5,
    ];
    for change in changes {
        fake.set(|state| (state.paused, state.status) = (true, 64));
        assert!(read(&mut disk, 0, 512).is_err());
        fake.set(|state| state.paused = false);
        let before = fake.get(|state| (state.serial.clone(), state.configured, state.offered));
        fake.set(change);
        for _ in 0..2 {
            assert_eq!(read(&mut disk, 0, 512), Err(Error::Fault(Fault::Changed)));
        }
        fake.set(|state| (state.serial, state.configured, state.offered) = before);
        assert!(read(&mut disk, 0, 512).is_ok());
    }
}

#[test]
fn a_call_that_is_dropped_leaves_nothing_to_the_next() {
    let (fake, mut disk) = disk();
    for number in 0..8 {
        write(&mut disk, number * 8, &pattern(4096, number as u8)).unwrap();
    }
    fake.set(|state| state.paused = true);
    let mut into = vec![0; 8 * 4096];
    assert_eq!(run_for(1, disk.read(0, &mut into, SECOND)), None);
    // The disk writes into the buffer only now: the next call has to wait for it.
    let device = fake.clone();
    fake.clock.meanwhile(move |_| {
        device.set(|state| state.paused = false);
        device.work();
    });
    assert_eq!(read(&mut disk, 16, 4096), Ok(pattern(4096, 2)));
    assert_eq!(disk.counts().resets, 0);
    // One that is dropped while the disk is brought up begins anew.
    fake.clock.meanwhile(|_| {});
    fake.set(|state| (state.paused, state.status) = (true, 64));
    assert!(read(&mut disk, 0, 512).is_err());
    fake.set(|state| state.paused = false);
    for polls in 1..6 {
        let _ = run_for(polls, disk.flush(SECOND));
    }
    run(disk.flush(SECOND)).unwrap();
}

#[test]
fn what_no_driver_here_can_drive_is_refused_by_name() {
    let with = |change: &dyn Fn(&mut State)| {
        let fake = Fake::new();
        fake.set(|state| change(state));
        fake.start().map(drop).unwrap_err()
    };
    let kind = StartError::Greet(GreetError::Kind { kind: 1, wanted: 2 });
    assert_eq!(with(&|state| state.kind = 1), kind);
    let legacy = StartError::Greet(GreetError::Features(1 << 32));
    assert_eq!(with(&|state| state.offered &= !(1 << 32)), legacy);
    assert_eq!(with(&|state| state.configured.blk_size = 1024), StartError::BlockSize(1024));
    assert_eq!(with(&|state| state.configured.capacity = 0), StartError::Empty);
    let sectors = u64::MAX / 4;
    assert_eq!(with(&|state| state.configured.capacity = sectors), StartError::TooLarge { sectors });
    assert_eq!(with(&|state| state.queue_max = 0), StartError::Greet(GreetError::Queue(0)));
    assert_eq!(with(&|state| state.queue_max = 2), StartError::Short { descriptors: 2 });
    assert_eq!(with(&|state| state.restless = true), StartError::Configuration);
    let parts = |state: &mut State| (state.offered, state.configured.size_max) = (OFFERED | 2, 4095);
    assert_eq!(with(&parts), StartError::Parts { size_max: 4095 });
    assert_eq!(with(&|state| state.slow = u32::MAX), StartError::TimedOut);
    assert_eq!(with(&|state| state.paused = true), StartError::TimedOut);
}
