//! The driver against a controller in memory, honest first, then lying.

use super::*;
use crate::{
    block::{
        BlockSize, Cause, MAX_TRANSFER,
        fake::Image,
        rig::{Clock, pattern, run, run_for},
    },
    ram::Ram,
};
use std::{cell::RefCell, collections::BTreeMap, rc::Rc, vec, vec::Vec};

const SECOND: Duration = Duration::from_secs(1);

/// A pair of rings, as the controller was told of it.
#[derive(Clone, Copy, Debug)]
struct Ring {
    submissions: u64,
    completions: u64,
    entries: u32,
    head: u32,
    tail: u32,
    completion_tail: u32,
    completion_head: u32,
    phase: bool,
}

/// What a controller does instead of what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    /// Completes with this number.
    Number(u16),
    /// Completes twice.
    Twice,
    /// Says that it has fetched up to here.
    Fetched(u16),
    /// Completes for another queue.
    Queue,
}

struct State {
    cap: u64,
    cc: u32,
    ready: bool,
    /// Looks at CSTS until it follows CC.EN.
    slow: u32,
    looks: u32,
    fatal: bool,
    gone: bool,
    aqa: u32,
    admin_at: [u64; 2],
    rings: BTreeMap<u16, Ring>,
    created: Option<Ring>,
    controller: Vec<u8>,
    namespace: Vec<u8>,
    disk: Image,
    /// Opcodes of the commands that came.
    io: Vec<u8>,
    admin: Vec<u8>,
    /// Statuses of commands for blocks, by their number, and of others by their opcode.
    refuse: BTreeMap<usize, u16>,
    refuse_admin: BTreeMap<u8, u16>,
    /// Commands for blocks are left lying.
    paused: bool,
    lie: Option<Lie>,
    resets: u32,
    enables: u32,
    /// The largest transfer in pages that was seen.
    largest: u32,
    /// The most commands that were there at once.
    deepest: u32,
}

#[derive(Clone)]
struct Fake {
    state: Rc<RefCell<State>>,
    ram: Ram,
    clock: Clock,
}

fn structures(blocks: u64, shift: u8, mdts: u8, cache: u8) -> (Vec<u8>, Vec<u8>) {
    let (mut controller, mut namespace) = (vec![0; 4096], vec![0; 4096]);
    let mut put = |at: usize, bytes: &[u8]| controller[at..][..bytes.len()].copy_from_slice(bytes);
    put(4, b"sarsen              ");
    put(24, b"QEMU NVMe Ctrl                          ");
    put(77, &[mdts]);
    put(512, &[0x66, 0x44]);
    put(516, &256u32.to_le_bytes());
    put(525, &[cache]);
    namespace[..8].copy_from_slice(&blocks.to_le_bytes());
    namespace[130] = shift;
    (controller, namespace)
}

impl Bus for Fake {
    fn read(&mut self, register: Readable) -> u32 {
        let mut state = self.state.borrow_mut();
        if state.gone {
            return u32::MAX;
        }
        match register {
            Readable::CapabilitiesLow => state.cap as u32,
            Readable::CapabilitiesHigh => (state.cap >> 32) as u32,
            Readable::Configuration => state.cc,
            Readable::Status => {
                state.follow();
                u32::from(state.ready) | u32::from(state.fatal) << 1
            }
        }
    }

    fn write(&mut self, register: Writable, value: u32) {
        let mut state = self.state.borrow_mut();
        if state.gone {
            return;
        }
        let stopped = state.cc & 1 == 0 && !state.ready;
        let low = |at: &mut u64| *at = *at & !0xffff_ffff | u64::from(value);
        let high = |at: &mut u64| *at = *at & 0xffff_ffff | u64::from(value) << 32;
        match register {
            Writable::Configuration => {
                let (before, now) = (state.cc & 1 != 0, value & 1 != 0);
                if !before && now {
                    assert!(!state.ready, "enabled before it had stopped");
                    assert_eq!(value, 0x0046_0001, "CC");
                    let entries = (state.aqa & 0xfff) + 1;
                    assert_eq!(state.aqa >> 16, state.aqa & 0xfff);
                    let ring = self.ring(state.admin_at, entries);
                    state.rings.insert(0, ring);
                    state.enables += 1;
                }
                if before && !now {
                    // It goes on as it likes until it says that it has stopped.
                    state.fatal = false;
                    state.resets += 1;
                }
                state.cc = value;
            }
            Writable::Doorbell(word) => {
                assert!(state.ready && state.cc & 1 != 0, "a doorbell of a controller that is not ready");
                let stride = (state.cap >> 32 & 0xf) as u16;
                assert_eq!(word % (1 << stride), 0);
                let (queue, is_head) = (word >> stride >> 1, word >> stride & 1 != 0);
                let ring = state.rings.get_mut(&queue).expect("a doorbell of a queue that is there");
                assert!(value < ring.entries, "a doorbell past the end");
                if is_head {
                    let taken = (value + ring.entries - ring.completion_head) % ring.entries;
                    let there = (ring.completion_tail + ring.entries - ring.completion_head) % ring.entries;
                    assert!((1..=there).contains(&taken), "completions that were not there");
                    ring.completion_head = value;
                } else {
                    assert_ne!(value, ring.tail, "a doorbell for nothing");
                    ring.tail = value;
                }
                drop(state);
                self.work();
            }
            _ if !stopped => panic!("{register:?} of a controller that runs"),
            Writable::AdminSizes => state.aqa = value,
            Writable::AdminSubmissionLow => low(&mut state.admin_at[0]),
            Writable::AdminSubmissionHigh => high(&mut state.admin_at[0]),
            Writable::AdminCompletionLow => low(&mut state.admin_at[1]),
            Writable::AdminCompletionHigh => high(&mut state.admin_at[1]),
        }
    }
}

impl State {
    /// CSTS.RDY follows CC.EN after a while.
    fn follow(&mut self) {
        let enabled = self.cc & 1 != 0;
        if self.ready == enabled {
            return;
        }
        self.looks += 1;
        if self.looks > self.slow {
            (self.ready, self.looks) = (enabled, 0);
            if !enabled {
                self.rings.clear();
                self.created = None;
            }
        }
    }
}

impl Fake {
    /// A disk of 1000 blocks with a cache, that takes 8 pages at once.
    fn new(ram: &Ram, clock: &Clock) -> Self {
        Self::with(ram, clock, structures(1000, 9, 3, 1))
    }

    fn with(ram: &Ram, clock: &Clock, (controller, namespace): (Vec<u8>, Vec<u8>)) -> Self {
        let block_size = BlockSize::of_bytes(1 << namespace[130]).unwrap();
        let state = State {
            cap: 0x0040_1820_0f01_07ff,
            // Left running by somebody who was killed.
            cc: 0x0046_0001,
            ready: true,
            slow: 2,
            looks: 0,
            fatal: false,
            gone: false,
            aqa: 0,
            admin_at: [0; 2],
            rings: BTreeMap::new(),
            created: None,
            controller,
            namespace,
            disk: Image::new(block_size),
            io: vec![],
            admin: vec![],
            refuse: BTreeMap::new(),
            refuse_admin: BTreeMap::new(),
            paused: false,
            lie: None,
            resets: 0,
            enables: 0,
            largest: 0,
            deepest: 0,
        };
        Self { state: Rc::new(RefCell::new(state)), ram: ram.clone(), clock: clock.clone() }
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.borrow_mut());
    }

    fn get<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.state.borrow())
    }

    fn ring(&self, [submissions, completions]: [u64; 2], entries: u32) -> Ring {
        assert!((2..=64).contains(&entries));
        assert!(submissions % 4096 == 0 && completions % 4096 == 0, "queues begin a page");
        for entry in 0..entries {
            let phase = self.ram.load(completions + u64::from(entry) * 16 + 12) >> 16 & 1;
            assert_eq!(phase, 0, "an entry looks new before there is any");
        }
        let (head, tail, completion_head, completion_tail, phase) = (0, 0, 0, 0, true);
        Ring { submissions, completions, entries, head, tail, completion_tail, completion_head, phase }
    }

    /// Carries out all commands that are there.
    fn work(&self) {
        for queue in [0, 1] {
            while let Some(at) = self.fetch(queue) {
                let command: Vec<u32> = (0..16).map(|word| self.ram.load(at + word * 4)).collect();
                let status = if queue == 0 { self.administer(&command) } else { self.serve(&command) };
                self.complete(queue, (command[0] >> 16) as u16, status);
            }
        }
    }

    /// Where the next command is.
    fn fetch(&self, queue: u16) -> Option<u64> {
        let mut state = self.state.borrow_mut();
        let State { rings, deepest, paused, cc, .. } = &mut *state;
        if *paused && queue == 1 || *cc & 1 == 0 {
            return None;
        }
        let ring = rings.get_mut(&queue)?;
        let there = (ring.tail + ring.entries - ring.head) % ring.entries;
        let at = ring.submissions + u64::from(ring.head) * 64;
        if there == 0 {
            return None;
        }
        ring.head = (ring.head + 1) % ring.entries;
        if queue == 1 {
            *deepest = (*deepest).max(there);
        }
        Some(at)
    }

    fn complete(&self, queue: u16, number: u16, status: u16) {
        let mut state = self.state.borrow_mut();
        let lie = if queue == 1 { state.lie.take() } else { None };
        let ring = state.rings.get_mut(&queue).unwrap();
        for _ in 0..if lie == Some(Lie::Twice) { 2 } else { 1 } {
            let at = ring.completions + u64::from(ring.completion_tail) * 16;
            let number = if let Some(Lie::Number(other)) = lie { other } else { number };
            let fetched = if let Some(Lie::Fetched(other)) = lie { other.into() } else { ring.head };
            let said = if lie == Some(Lie::Queue) { 7 } else { queue };
            self.ram.store(at, 0);
            self.ram.store(at + 8, fetched | u32::from(said) << 16);
            let last = u32::from(number) | u32::from(ring.phase) << 16 | u32::from(status) << 17;
            self.ram.store(at + 12, last);
            ring.completion_tail = (ring.completion_tail + 1) % ring.entries;
            ring.phase ^= ring.completion_tail == 0;
            if lie.is_none() {
                assert_ne!(ring.completion_tail, ring.completion_head, "no room for completions");
            }
        }
        self.clock.raise();
    }

    fn administer(&self, command: &[u32]) -> u16 {
        let opcode = command[0] as u8;
        self.set(|state| state.admin.push(opcode));
        if let Some(status) = self.get(|state| state.refuse_admin.get(&opcode).copied()) {
            return status;
        }
        let data = u64::from(command[6]) | u64::from(command[7]) << 32;
        match opcode {
            opcode::IDENTIFY => {
                let bytes = self.get(|state| match (command[10], command[1]) {
                    (1, 0) => state.controller.clone(),
                    (0, 1) => state.namespace.clone(),
                    other => panic!("identify {other:?}"),
                });
                assert_eq!(data % 4096, 0);
                self.ram.write(data, &bytes);
            }
            opcode::SET_FEATURES => assert_eq!(command[10..12], [7, 0]),
            opcode::CREATE_COMPLETION_QUEUE => {
                assert_eq!((command[10] & 0xffff, command[11]), (1, 3), "queue 1, in one piece, entry 0");
                let ring = self.ring([0, data], (command[10] >> 16) + 1);
                self.set(|state| state.created = Some(ring));
            }
            opcode::CREATE_SUBMISSION_QUEUE => {
                assert_eq!((command[10] & 0xffff, command[11]), (1, 0x1_0001), "queue 1, for queue 1");
                let created = self.get(|state| state.created).expect("the completion queue comes first");
                assert_eq!(created.entries, (command[10] >> 16) + 1);
                self.set(|state| {
                    state.rings.insert(1, Ring { submissions: data, ..created });
                });
            }
            other => panic!("admin command {other:#x}"),
        }
        0
    }

    fn serve(&self, command: &[u32]) -> u16 {
        let opcode = command[0] as u8;
        let number = self.get(|state| state.io.len());
        self.set(|state| state.io.push(opcode));
        assert_eq!((command[0] >> 8 & 0xff, command[1]), (0, 1), "PRPs, namespace 1");
        if let Some(status) = self.get(|state| state.refuse.get(&number).copied()) {
            return status;
        }
        if opcode == opcode::FLUSH {
            return 0;
        }
        let first = u64::from(command[10]) | u64::from(command[11]) << 32;
        let blocks = u64::from(command[12]) + 1;
        let (all, size, most) = self.get(|state| {
            let all = u64::from_le_bytes(state.namespace[..8].try_into().unwrap());
            (all, 1usize << state.namespace[130], 1 << state.controller[77])
        });
        assert!(first + blocks <= all, "past the end");
        let bytes = blocks as usize * size;
        let pages = bytes.div_ceil(4096);
        assert!(pages <= most, "more than it takes at once");
        self.set(|state| state.largest = state.largest.max(pages as u32));
        for (page, offset) in self.pages_of(command, pages).iter().zip((0..bytes).step_by(4096)) {
            assert_eq!(page % 4096, 0);
            let length = (bytes - offset).min(4096);
            let block = first + (offset / size) as u64;
            if opcode == opcode::WRITE {
                let written = self.ram.read(*page, length);
                self.set(|state| state.disk.put(block, &written));
            } else {
                assert_eq!(opcode, opcode::READ);
                let mut read = vec![0; length];
                self.get(|state| state.disk.get(block, &mut read));
                self.ram.write(*page, &read);
            }
        }
        0
    }

    /// Where the pages of a command are.
    fn pages_of(&self, command: &[u32], pages: usize) -> Vec<u64> {
        let address = |word: usize| u64::from(command[word]) | u64::from(command[word + 1]) << 32;
        let (first, second) = (address(6), address(8));
        match pages {
            1 => vec![first],
            2 => vec![first, second],
            _ => {
                let bytes = 8 * (pages as u64 - 1);
                assert!(second % 8 == 0 && second % 4096 + bytes <= 4096, "a list in one page");
                let entry = |at: u64| u64::from(self.ram.load(at)) | u64::from(self.ram.load(at + 4)) << 32;
                let rest = (second..second + bytes).step_by(8).map(entry);
                core::iter::once(first).chain(rest).collect()
            }
        }
    }

    fn start(&self) -> Result<Disk, StartError> {
        let stopped = Stopped::new(self.clone(), &self.ram, self.clock.clone())?;
        run(stopped.start(60 * SECOND)).map_err(|(error, _)| error)
    }
}

type Disk = Nvme<Fake, Ram, Clock>;

fn disk() -> (Fake, Disk) {
    let fake = Fake::new(&Ram::default(), &Clock::default());
    let disk = fake.start().unwrap();
    (fake, disk)
}

fn read(disk: &mut Disk, first: u64, length: usize) -> Result<Vec<u8>, Error> {
    let mut into = vec![0xaa; length];
    run(disk.read(first, &mut into, SECOND)).map(|()| into)
}

fn write(disk: &mut Disk, first: u64, bytes: &[u8]) -> Result<(), Error> {
    run(disk.write(first, bytes, SECOND))
}

#[test]
fn a_disk_is_brought_up_in_the_order_of_the_specification() {
    let (fake, disk) = disk();
    assert_eq!(fake.get(|state| (state.resets, state.enables)), (1, 1));
    assert_eq!(fake.get(|state| state.admin.clone()), [6, 6, 9, 5, 1]);
    assert_eq!(
        (disk.identity().model.as_str(), disk.identity().serial.as_str()),
        ("QEMU NVMe Ctrl", "sarsen")
    );
    let geometry = Geometry { block_size: BlockSize::B512, blocks: 1000, writable: true };
    assert_eq!(disk.geometry(), geometry);
    assert_eq!(disk.counts(), Counts::default());
}

#[test]
fn it_takes_the_pages_that_it_says() {
    let fake = Fake::new(&Ram::of(PAGES), &Clock::default());
    assert!(fake.start().is_ok());
    let fake = Fake::new(&Ram::of(PAGES - 1), &Clock::default());
    assert_eq!(fake.start().map(drop), Err(StartError::NoMemory));
    assert_eq!(fake.get(|state| state.cc & 1), 0, "stopped all the same");
}

#[test]
fn what_was_written_is_read_at_every_length() {
    for (shift, mdts) in [(9, 0), (9, 1), (9, 3), (9, 5), (9, 9), (12, 0), (12, 1), (12, 2), (12, 3)] {
        let fake = Fake::with(&Ram::default(), &Clock::default(), structures(1000, shift, mdts, 1));
        let mut disk = fake.start().unwrap();
        // 0 is no limit, which the fake's own check takes for a page.
        let checked = if mdts == 0 { 5 } else { mdts };
        fake.set(|state| state.controller[77] = checked);
        let block = 1 << shift;
        for blocks in [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64, 255, 256] {
            let length = blocks * block;
            if length > MAX_TRANSFER {
                continue;
            }
            let first = 900 - blocks as u64 * 3;
            let bytes = pattern(length, blocks as u8);
            write(&mut disk, first, &bytes).unwrap();
            assert!(read(&mut disk, first, length).as_ref() == Ok(&bytes), "{blocks} blocks of {block}");
            let mut image = vec![0; length];
            fake.get(|state| state.disk.get(first, &mut image));
            assert!(image == bytes);
        }
        assert_eq!(disk.counts().late, 0);
        assert_eq!(fake.get(|state| state.largest), 32.min(1 << checked));
    }
}

#[test]
fn a_large_call_is_several_commands_at_once() {
    let (fake, mut disk) = disk();
    write(&mut disk, 0, &pattern(MAX_TRANSFER, 1)).unwrap();
    assert_eq!(fake.get(|state| (state.io.clone(), state.deepest)), (vec![1; 4], 4));
    assert_eq!(disk.counts().commands, 4);
}

#[test]
fn a_queue_that_is_shorter_than_a_call_is_filled_again() {
    let fake = Fake::with(&Ram::default(), &Clock::default(), structures(1000, 9, 1, 1));
    fake.set(|state| state.cap = state.cap & !0xffff | 2);
    let mut disk = fake.start().unwrap();
    let bytes = pattern(MAX_TRANSFER, 3);
    write(&mut disk, 5, &bytes).unwrap();
    assert!(read(&mut disk, 5, MAX_TRANSFER) == Ok(bytes));
    assert_eq!(fake.get(|state| (state.io.len(), state.deepest)), (32, 2));
}

#[test]
fn many_calls_go_round_the_queues() {
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
    assert_eq!(fake.get(|state| state.io.clone()), [opcode::FLUSH]);
    let fake = Fake::with(&Ram::default(), &Clock::default(), structures(1000, 9, 3, 6));
    let mut without = fake.start().unwrap();
    run(without.flush(SECOND)).unwrap();
    assert!(fake.get(|state| state.io.is_empty()));
}

#[test]
fn calls_that_no_disk_takes_never_reach_it() {
    let (fake, mut disk) = disk();
    assert_eq!(write(&mut disk, 0, &[0; 100]), Err(Error::Misaligned { bytes: 100, block: 512 }));
    assert_eq!(read(&mut disk, 1000, 512), Err(Error::OutOfRange { first: 1000, blocks: 1, have: 1000 }));
    let bytes = MAX_TRANSFER + 512;
    assert_eq!(write(&mut disk, 0, &vec![0; bytes]), Err(Error::TooLong { bytes }));
    assert!(fake.get(|state| state.io.is_empty()));
    let mut structures = structures(1000, 9, 3, 1);
    structures.1[99] = 1;
    let fake = Fake::with(&Ram::default(), &Clock::default(), structures);
    let mut disk = fake.start().unwrap();
    assert!(!disk.geometry().writable);
    assert_eq!(write(&mut disk, 0, &[0; 512]), Err(Error::ReadOnly));
    assert!(read(&mut disk, 0, 512).is_ok());
}

#[test]
fn a_refusal_is_told_by_its_status_and_the_disk_goes_on() {
    let (fake, mut disk) = disk();
    fake.set(|state| {
        state.refuse.insert(1, 0x4281);
    });
    let status = block::Status::Nvme { sct: 2, sc: 0x81 };
    let refused = Err(Error::Refused(Refusal { cause: Cause::Unreadable, status }));
    // Four commands, the second of which fails: the others are waited for.
    assert_eq!(read(&mut disk, 0, MAX_TRANSFER), refused);
    assert!(read(&mut disk, 0, MAX_TRANSFER).is_ok());
    fake.set(|state| {
        state.refuse.insert(state.io.len(), 0x0280);
    });
    let Err(Error::Refused(refusal)) = write(&mut disk, 0, &[0; 512]) else { panic!() };
    assert_eq!(refusal.cause, Cause::Unwritable);
    fake.set(|state| {
        state.refuse.insert(state.io.len(), 6);
    });
    let Err(Error::Refused(refusal)) = run(disk.flush(SECOND)) else { panic!() };
    assert_eq!(refusal.cause, Cause::Internal);
    assert_eq!((disk.counts().resets, fake.get(|state| state.enables)), (0, 1));
}

#[test]
fn a_controller_that_does_not_answer_is_reset_and_serves_again() {
    let (fake, mut disk) = disk();
    write(&mut disk, 7, &pattern(512, 7)).unwrap();
    fake.set(|state| state.paused = true);
    assert_eq!(read(&mut disk, 7, 512), Err(Error::TimedOut { within: SECOND }));
    assert_eq!(fake.get(|state| state.cc & 1), 0, "told to stop at once");
    fake.set(|state| state.paused = false);
    assert_eq!(read(&mut disk, 7, 512), Ok(pattern(512, 7)));
    assert_eq!((disk.counts().resets, fake.get(|state| state.enables)), (1, 2));
}

#[test]
fn a_reset_that_takes_longer_than_a_call_goes_on_in_the_next() {
    let (fake, mut disk) = disk();
    fake.set(|state| (state.paused, state.slow) = (true, 1500));
    assert_eq!(run(disk.flush(SECOND)), Err(Error::TimedOut { within: SECOND }));
    fake.set(|state| state.paused = false);
    // 1.5 s to stop and as much to start, a second each call.
    let ends: Vec<_> = (0..3).map(|_| run(disk.flush(SECOND)).is_ok()).collect();
    assert_eq!(ends, [false, false, true]);
    assert_eq!(fake.get(|state| state.enables), 2, "no call begins anew");
}

#[test]
fn an_interrupt_that_is_lost_costs_time_and_is_counted() {
    let (fake, mut disk) = disk();
    fake.clock.deafen();
    // What is there is found without any.
    write(&mut disk, 0, &pattern(512, 1)).unwrap();
    fake.set(|state| state.paused = true);
    let controller = fake.clone();
    fake.clock.meanwhile(move |_| {
        controller.set(|state| state.paused = false);
        controller.work();
    });
    assert_eq!(read(&mut disk, 0, 512), Ok(pattern(512, 1)));
    assert_eq!(disk.counts().late, 1);
    assert!(fake.clock.passed() >= SECOND);
}

#[test]
fn interrupts_for_nothing_are_borne_but_not_for_ever() {
    let (fake, mut disk) = disk();
    fake.set(|state| state.paused = true);
    let (controller, mut left) = (fake.clone(), 100);
    fake.clock.meanwhile(move |clock| {
        left -= 1;
        if left == 0 {
            controller.set(|state| state.paused = false);
            controller.work();
        }
        clock.raise();
    });
    assert!(read(&mut disk, 0, 512).is_ok());
    fake.set(|state| state.paused = true);
    fake.clock.meanwhile(Clock::raise);
    assert_eq!(read(&mut disk, 0, 512), Err(Error::Fault(Fault::Restless)));
    fake.set(|state| state.paused = false);
    assert!(read(&mut disk, 0, 512).is_ok());
}

#[test]
fn lies_are_faults_and_the_disk_serves_again_after_a_reset() {
    let (fake, mut disk) = disk();
    let lies = [
        (Lie::Number(0xffff), Fault::NotGiven { number: 0xffff }),
        (Lie::Number(0x0001), Fault::NotGiven { number: 0x0001 }),
        (Lie::Fetched(63), Fault::Fetched { says: 63 }),
        (Lie::Fetched(64), Fault::Fetched { says: 64 }),
        (Lie::Queue, Fault::Queue { says: 7 }),
    ];
    for (round, (lie, fault)) in lies.into_iter().enumerate() {
        fake.set(|state| state.lie = Some(lie));
        assert_eq!(write(&mut disk, 3, &pattern(512, 1)), Err(Error::Fault(fault)), "{lie:?}");
        write(&mut disk, 3, &pattern(512, 2)).unwrap();
        assert_eq!(read(&mut disk, 3, 512), Ok(pattern(512, 2)));
        assert_eq!(disk.counts().resets as usize, round + 1);
    }
    // The second one is found by the next call.
    fake.set(|state| state.lie = Some(Lie::Twice));
    write(&mut disk, 3, &pattern(512, 3)).unwrap();
    assert!(matches!(read(&mut disk, 3, 512), Err(Error::Fault(Fault::NotGiven { .. }))));
    assert_eq!(read(&mut disk, 3, 512), Ok(pattern(512, 3)));
}

#[test]
fn a_controller_that_is_lost_or_gone_says_so() {
    let (fake, mut disk) = disk();
    fake.set(|state| (state.paused, state.fatal) = (true, true));
    assert_eq!(read(&mut disk, 0, 512), Err(Error::Fault(Fault::Fatal)));
    fake.set(|state| state.paused = false);
    assert!(read(&mut disk, 0, 512).is_ok(), "a reset helped");
    fake.set(|state| (state.gone, state.paused) = (true, true));
    for _ in 0..3 {
        assert_eq!(read(&mut disk, 0, 512), Err(Error::Gone));
    }
    // Pulled and put back.
    fake.set(|state| {
        (state.gone, state.paused, state.cc, state.ready) = (false, false, 0, false);
        state.rings.clear();
    });
    assert!(read(&mut disk, 0, 512).is_ok());
}

#[test]
fn another_disk_after_a_reset_is_not_taken_for_the_same() {
    let (fake, mut disk) = disk();
    let changes: [fn(&mut State); 3] = [
        |state| state.controller[4] = b'S',
        |state| state.namespace[0] = 1,
        |state| state.namespace[130] = 12,
    ];
    for change in changes {
        fake.set(|state| (state.fatal, state.paused) = (true, true));
        assert_eq!(run(disk.flush(SECOND)), Err(Error::Fault(Fault::Fatal)));
        fake.set(|state| state.paused = false);
        let before = fake.get(|state| (state.controller.clone(), state.namespace.clone()));
        fake.set(change);
        for _ in 0..2 {
            assert_eq!(run(disk.flush(SECOND)), Err(Error::Fault(Fault::Changed)));
        }
        fake.set(|state| (state.controller, state.namespace) = before);
        run(disk.flush(SECOND)).unwrap();
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
    let controller = fake.clone();
    fake.clock.meanwhile(move |_| {
        controller.set(|state| state.paused = false);
        controller.work();
    });
    assert_eq!(read(&mut disk, 16, 4096), Ok(pattern(4096, 2)));
    assert_eq!(disk.counts().resets, 0);
    // One that is dropped while the disk is brought up begins anew.
    fake.clock.meanwhile(|_| {});
    fake.set(|state| (state.fatal, state.paused) = (true, true));
    assert!(run(disk.flush(SECOND)).is_err());
    fake.set(|state| state.paused = false);
    for polls in 1..12 {
        let _ = run_for(polls, disk.flush(SECOND));
    }
    run(disk.flush(SECOND)).unwrap();
}

#[test]
fn what_no_driver_here_can_drive_is_refused_by_name() {
    let with = |change: &dyn Fn(&mut State)| {
        let fake = Fake::new(&Ram::default(), &Clock::default());
        fake.set(|state| change(state));
        fake.start().map(drop).unwrap_err()
    };
    assert_eq!(with(&|state| state.gone = true), StartError::Gone);
    assert_eq!(with(&|state| state.cap |= 9 << 32), StartError::Stride(9));
    assert_eq!(with(&|state| state.cap &= !(1 << 37)), StartError::Commands(0xc0));
    assert_eq!(with(&|state| state.cap |= 1 << 48), StartError::Pages(1));
    assert_eq!(with(&|state| state.cap &= !0xffff), StartError::Entries(1));
    assert_eq!(with(&|state| state.namespace[..8].fill(0)), StartError::Unusable(Unusable::Empty));
    let metadata = StartError::Unusable(Unusable::Metadata { bytes: 8 });
    assert_eq!(with(&|state| state.namespace[128] = 8), metadata);
    let refused = |opcode: u8, request: Request| {
        let error = with(&|state| {
            state.refuse_admin.insert(opcode, 2);
        });
        assert_eq!(error, StartError::Refused(request, refusal(2).unwrap()));
    };
    refused(opcode::IDENTIFY, Request::Controller);
    refused(opcode::SET_FEATURES, Request::Queues);
    refused(opcode::CREATE_COMPLETION_QUEUE, Request::CompletionQueue);
    refused(opcode::CREATE_SUBMISSION_QUEUE, Request::SubmissionQueue);
}

#[test]
fn a_controller_that_never_stops_or_starts_is_told_by_what_it_reads() {
    let with = |cc: u32, ready: bool| {
        let fake = Fake::new(&Ram::default(), &Clock::default());
        fake.set(|state| (state.slow, state.cc, state.ready) = (u32::MAX, cc, ready));
        fake
    };
    let fake = with(0x0046_0001, true);
    assert_eq!(fake.start().map(drop), Err(StartError::Stop(1)));
    // CAP.TO says 7.5 s.
    assert!((7..9).contains(&fake.clock.passed().as_secs()));
    assert_eq!(with(0, false).start().map(drop), Err(StartError::NotReady(0)));
    let fake = with(0, false);
    let stopped = Stopped::new(fake.clone(), &fake.ram, fake.clock.clone()).unwrap();
    let Err((error, stopped)) = run(stopped.start(SECOND)) else { panic!() };
    assert_eq!(error, StartError::TimedOut);
    fake.set(|state| state.slow = 0);
    assert!(run(stopped.start(SECOND)).is_ok(), "it is waited for further");
    assert_eq!(fake.get(|state| state.enables), 1);
}

#[test]
fn doorbells_may_lie_apart() {
    let fake = Fake::new(&Ram::default(), &Clock::default());
    fake.set(|state| state.cap |= 4 << 32);
    let mut disk = fake.start().unwrap();
    write(&mut disk, 0, &pattern(512, 1)).unwrap();
    assert_eq!(read(&mut disk, 0, 512), Ok(pattern(512, 1)));
}

#[test]
fn pieces_cover_a_run_once_and_in_order() {
    for (a_page, most) in [(8, 1), (8, 8), (8, 32), (1, 1), (1, 3), (1, 32)] {
        for blocks in 1..=a_page * 32 {
            let (mut next, mut page) = (100, 0);
            for piece in pieces(Run { first: 100, blocks, a_page }, most) {
                assert_eq!((piece.block, piece.first_page), (next, page));
                assert!((1..=most).contains(&piece.pages));
                assert_eq!(piece.pages, piece.blocks.div_ceil(a_page) as usize);
                next += u64::from(piece.blocks);
                page += piece.pages;
            }
            assert_eq!(next, 100 + u64::from(blocks));
        }
    }
}
