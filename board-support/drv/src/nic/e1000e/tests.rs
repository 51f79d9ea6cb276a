//! The driver against a device in memory, honest first, then lying.

use super::*;
use crate::ram::Ram;
use std::{cell::RefCell, collections::BTreeMap, rc::Rc, vec, vec::Vec};

#[derive(Default)]
struct State {
    registers: BTreeMap<&'static str, u32>,
    sent: Vec<Vec<u8>>,
    mask: u32,
    causes: u32,
    /// Causes that are written to be cleared. The write is posted: it arrives with the next read.
    clearing: u32,
    /// Vectors raised, by number.
    raised: Vec<u8>,
    rx_head: u32,
    tx_head: u32,
    /// Frames leave only when told.
    paused: bool,
    gone: bool,
    resets: usize,
}

#[derive(Clone)]
struct Fake {
    state: Rc<RefCell<State>>,
    ram: Ram,
}

fn name(register: Writable) -> &'static str {
    match register {
        Writable::Control => "CTRL",
        Writable::Causes => "ICR",
        Writable::MaskSet => "IMS",
        Writable::MaskClear => "IMC",
        Writable::AutoClear => "EIAC",
        Writable::Vectors => "IVAR",
        Writable::ReceiveControl => "RCTL",
        Writable::TransmitControl => "TCTL",
        Writable::Gaps => "TIPG",
        Writable::ReceiveBaseLow => "RDBAL",
        Writable::ReceiveBaseHigh => "RDBAH",
        Writable::ReceiveLength => "RDLEN",
        Writable::ReceiveHead => "RDH",
        Writable::ReceiveTail => "RDT",
        Writable::TransmitBaseLow => "TDBAL",
        Writable::TransmitBaseHigh => "TDBAH",
        Writable::TransmitLength => "TDLEN",
        Writable::TransmitHead => "TDH",
        Writable::TransmitTail => "TDT",
        Writable::TransmitDescriptors => "TXDCTL",
        Writable::Filter(_) => "MTA",
    }
}

impl Bus for Fake {
    fn read(&mut self, register: Readable) -> u32 {
        let mut state = self.state.borrow_mut();
        state.causes &= !core::mem::take(&mut state.clearing);
        let value = |name| state.registers.get(name).copied().unwrap_or(0);
        match register {
            _ if state.gone => u32::MAX,
            Readable::Control => value("CTRL"),
            Readable::Status => value("STATUS"),
            Readable::AddressLow => value("RAL"),
            Readable::AddressHigh => value("RAH"),
            Readable::CrcErrors => 2,
            Readable::ReceiveErrors => 3,
            Readable::Missed => 4,
        }
    }

    fn write(&mut self, register: Writable, value: u32) {
        let mut state = self.state.borrow_mut();
        if state.gone {
            return;
        }
        match register {
            Writable::Causes => state.clearing |= value,
            Writable::MaskSet => {
                drop(state);
                self.change(0, value);
            }
            Writable::MaskClear => state.mask &= !value,
            Writable::Control if value & Control::RST.bits() != 0 => {
                assert_eq!(state.mask, 0, "interrupts are off before a reset");
                let (sent, resets) = (core::mem::take(&mut state.sent), state.resets + 1);
                *state = State { sent, resets, ..State::default() };
                // What the card reads from its own memory.
                state.registers.insert("RAL", 0x1200_5452);
                state.registers.insert("RAH", 0x8000_5634);
                state.registers.insert("STATUS", 0x8008_0083);
            }
            Writable::TransmitTail => {
                state.registers.insert(name(register), value);
                drop(state);
                self.run();
            }
            Writable::Filter(_) => assert_eq!(value, 0),
            _ => drop(state.registers.insert(name(register), value)),
        }
    }
}

impl Fake {
    fn new(ram: &Ram) -> Self {
        Self { state: Rc::default(), ram: ram.clone() }
    }

    fn register(&self, name: &str) -> u32 {
        self.state.borrow().registers.get(name).copied().unwrap_or(0)
    }

    fn set(&self, name: &'static str, value: u32) {
        self.state.borrow_mut().registers.insert(name, value);
    }

    fn raise(&self, causes: u32) {
        self.change(causes, 0);
    }

    /// As QEMU does: a vector is raised when a cause appears behind the mask, and not while it stays.
    fn change(&self, causes: u32, mask: u32) {
        let mut state = self.state.borrow_mut();
        let before = state.causes & state.mask;
        state.causes |= causes;
        state.mask |= mask;
        let fresh = state.causes & state.mask & !before;
        let ivar = state.registers.get("IVAR").copied().unwrap_or(0);
        for (bit, shift) in [(20, 0), (22, 8), (24, 16)] {
            let entry = ivar >> shift & 0xf;
            if fresh & 1 << bit != 0 && entry & 8 != 0 {
                state.raised.push((entry & 7) as u8);
            }
        }
    }

    fn raised(&self) -> Vec<u8> {
        core::mem::take(&mut self.state.borrow_mut().raised)
    }

    fn ring(&self, low: &str, high: &str, index: u32) -> u64 {
        u64::from(self.register(low)) + (u64::from(self.register(high)) << 32) + u64::from(index) * 16
    }

    /// Sends what is in the transmit ring.
    fn run(&self) {
        if self.state.borrow().paused {
            return;
        }
        let (tail, size) = (self.register("TDT"), self.register("TDLEN") / 16);
        assert!(tail < size);
        let mut any = false;
        loop {
            let head = self.state.borrow().tx_head;
            if head == tail {
                break;
            }
            assert!(self.register("TCTL") & 2 != 0);
            let at = self.ring("TDBAL", "TDBAH", head);
            let (low, high, command) = (self.ram.load(at), self.ram.load(at + 4), self.ram.load(at + 8));
            assert_eq!(command >> 24, 0x0b);
            let frame = self.ram.read(u64::from(low) + (u64::from(high) << 32), (command & 0xffff) as usize);
            self.state.borrow_mut().sent.push(frame);
            self.ram.store(at + 12, 1);
            self.state.borrow_mut().tx_head = (head + 1) % size;
            any = true;
        }
        if any {
            self.raise(1 << 22);
        }
    }

    /// The device receives a frame. `false` if no descriptor is free.
    fn receive(&self, frame: &[u8]) -> bool {
        self.write_received(frame, frame.len() as u32, 3)
    }

    /// The same, with a length and a status word of the device's own making.
    fn write_received(&self, frame: &[u8], length: u32, status: u32) -> bool {
        let (head, size) = (self.state.borrow().rx_head, self.register("RDLEN") / 16);
        if head == self.register("RDT") {
            return false;
        }
        let at = self.ring("RDBAL", "RDBAH", head);
        let buffer = u64::from(self.ram.load(at)) + (u64::from(self.ram.load(at + 4)) << 32);
        assert_eq!(self.ram.load(at + 12), 0, "a descriptor is clean when it is given");
        self.ram.write(buffer, frame);
        self.ram.store(at + 8, length);
        self.ram.store(at + 12, status);
        self.state.borrow_mut().rx_head = (head + 1) % size;
        self.raise(1 << 20);
        true
    }
}

fn started() -> (Fake, E1000e<Fake, Ram>) {
    let ram = Ram::default();
    let fake = Fake::new(&ram);
    let Ok(device) = Stopped::new(fake.clone(), &ram).and_then(|stopped| stopped.start().map_err(|e| e.0))
    else {
        panic!("the device starts")
    };
    (fake, device)
}

fn frame(number: usize) -> Vec<u8> {
    let length = SHORTEST_FRAME + number * 37 % (MAX_FRAME - SHORTEST_FRAME + 1);
    (0..length).map(|at| (at * 7 + number) as u8).collect()
}

fn receive(device: &mut E1000e<Fake, Ram>) -> Option<Vec<u8>> {
    let mut room = [0; MAX_FRAME];
    let length = device.receive(&mut room).unwrap()?;
    Some(room[..length].to_vec())
}

#[test]
fn the_device_is_set_up_as_the_datasheet_says() {
    let (fake, device) = started();
    assert_eq!(device.mac(), [0x52, 0x54, 0, 0x12, 0x34, 0x56]);
    assert_eq!(fake.state.borrow().resets, 1);
    for (name, value) in [
        ("CTRL", 0x40),
        ("IVAR", 0x800a_0908),
        ("EIAC", 0),
        ("RDLEN", 4096),
        ("RDH", 0),
        ("RDT", 255),
        ("RCTL", 0x0400_8002),
        ("TDLEN", 2048),
        ("TDT", 0),
        ("TCTL", 0x0003_f0fa),
        ("TIPG", 0x0060_2008),
    ] {
        assert_eq!(fake.register(name), value, "{name}");
    }
    assert_eq!(fake.state.borrow().mask, 1 << 20 | 1 << 24 | 1 << 2);
}

#[test]
fn frames_go_out_whole_and_in_order_over_many_rounds() {
    let (fake, mut device) = started();
    for number in 0..1000 {
        device.transmit(&frame(number)).unwrap();
    }
    device.flush();
    assert_eq!(fake.state.borrow().sent, (0..1000).map(frame).collect::<Vec<_>>());
    assert_eq!(device.unsent(), 0);
    assert!(fake.raised().is_empty(), "nobody asked for transmit interrupts");
}

#[test]
fn frames_come_in_whole_and_in_order_over_many_rounds() {
    let (fake, mut device) = started();
    let mut expected = vec![];
    for number in 0..1000 {
        assert!(fake.receive(&frame(number)));
        expected.push(frame(number));
        if number % 200 == 199 {
            assert_eq!(fake.raised(), [0]);
            device.acknowledge_receive();
            for frame in expected.drain(..) {
                assert_eq!(receive(&mut device), Some(frame));
            }
            assert_eq!(receive(&mut device), None);
        }
    }
}

#[test]
fn a_full_receive_ring_takes_again_after_it_was_emptied() {
    let (fake, mut device) = started();
    let taken = (0..300).filter(|number| fake.receive(&frame(*number))).count();
    assert_eq!(taken, 255);
    assert_eq!(core::iter::from_fn(|| receive(&mut device)).count(), 255);
    assert!(fake.receive(&frame(7)));
    assert_eq!(receive(&mut device), Some(frame(7)));
}

#[test]
fn a_frame_that_comes_between_acknowledging_and_looking_is_not_lost() {
    let (fake, mut device) = started();
    fake.receive(&frame(1));
    assert_eq!(fake.raised(), [0]);
    device.acknowledge_receive();
    fake.receive(&frame(2));
    assert_eq!(receive(&mut device), Some(frame(1)));
    assert_eq!(receive(&mut device), Some(frame(2)));
    assert_eq!(receive(&mut device), None);
    // The vector comes once more, for nothing.
    assert_eq!(fake.raised(), [0]);
    device.acknowledge_receive();
    assert_eq!(receive(&mut device), None);
    fake.receive(&frame(3));
    assert_eq!(fake.raised(), [0]);
}

#[test]
fn a_full_transmit_ring_says_so_and_tells_when_there_is_room() {
    let (fake, mut device) = started();
    fake.state.borrow_mut().paused = true;
    let taken = (0..200).take_while(|number| device.transmit(&frame(*number)).is_ok()).count();
    assert_eq!(taken, usize::from(TX_DESCRIPTORS) - 1);
    assert_eq!(device.transmit(&frame(0)), Err(NotSent::Full));
    device.want_room();
    assert!(!device.has_room(1));
    assert!(fake.raised().is_empty());
    fake.state.borrow_mut().paused = false;
    fake.run();
    assert_eq!(fake.raised(), [1]);
    device.acknowledge_transmit();
    assert!(device.has_room(TX_DESCRIPTORS - 1));
    device.transmit(&frame(5)).unwrap();
    device.flush();
    assert!(fake.raised().is_empty(), "it was asked for once");
}

#[test]
fn lengths_that_no_frame_has_are_not_sent() {
    let (_, mut device) = started();
    for length in [0, 13, MAX_FRAME + 1, 65_536 + 60] {
        assert_eq!(device.transmit(&vec![0; length]), Err(NotSent::Length));
    }
}

#[test]
fn the_link_is_read_and_its_change_raises_the_third_vector() {
    let (fake, mut device) = started();
    assert_eq!(device.read_link(), Ok(Some(Link::Negotiated { speed_mbit: 1000, full_duplex: true })));
    fake.set("STATUS", 0x0008_0000);
    fake.raise(1 << 24 | 1 << 2);
    assert_eq!(fake.raised(), [2]);
    device.acknowledge_other();
    assert_eq!(device.read_link(), Ok(None));
    fake.set("STATUS", 0x42);
    fake.raise(1 << 24 | 1 << 2);
    assert_eq!(fake.raised(), [2]);
    assert_eq!(device.read_link(), Ok(Some(Link::Negotiated { speed_mbit: 100, full_duplex: false })));
    assert_eq!(device.read_statistics(), Statistics { rx_errors: 5, rx_missed: 4 });
}

#[test]
fn damaged_and_odd_frames_are_left_out() {
    let (fake, mut device) = started();
    for (length, status) in
        [(60, 0x0103), (60, 0x8003), (0, 3), (13, 3), (MAX_FRAME as u32 + 1, 3), (BUFFER as u32, 3)]
    {
        assert!(fake.write_received(&[0; 60], length, status));
        fake.receive(&frame(9));
        assert_eq!(receive(&mut device), Some(frame(9)), "{length} {status:#x}");
    }
    // Wrong checksums of what is inside are its owner's business.
    fake.write_received(&frame(3), frame(3).len() as u32, 0x6003);
    assert_eq!(receive(&mut device), Some(frame(3)));
}

#[test]
fn a_device_that_lies_is_a_fault_and_works_again_after_a_reset() {
    let lies = [
        (2049, 3, Fault::Length { says: 2049 }),
        (0xffff, 3, Fault::Length { says: 0xffff }),
        (60, 1, Fault::Split),
    ];
    for (length, status, fault) in lies {
        let (fake, mut device) = started();
        device.transmit(&frame(1)).unwrap();
        fake.write_received(&[0; 60], length, status);
        assert_eq!(device.receive(&mut [0; MAX_FRAME]), Err(fault));
        let Ok(mut device) = device.stop().start() else { panic!("the device starts again") };
        assert_eq!(fake.state.borrow().resets, 2);
        device.transmit(&frame(2)).unwrap();
        device.flush();
        assert_eq!(fake.state.borrow().sent, [frame(2)]);
        fake.receive(&frame(4));
        assert_eq!(receive(&mut device), Some(frame(4)));
    }
}

#[test]
fn a_device_that_reports_everything_as_done_keeps_nobody_busy_for_ever() {
    let (fake, mut device) = started();
    for index in 0..256 {
        let at = fake.ring("RDBAL", "RDBAH", index);
        fake.ram.store(at + 8, 5);
        fake.ram.store(at + 12, 3);
    }
    assert_eq!(receive(&mut device), None);
    // Reports of frames that were never given do not move anything.
    for index in 0..256 {
        fake.ram.store(fake.ring("TDBAL", "TDBAH", index) + 12, 1);
    }
    assert_eq!(device.unsent(), 0);
    assert!(device.has_room(TX_DESCRIPTORS - 1) && !device.has_room(TX_DESCRIPTORS));
}

#[test]
fn a_device_that_is_gone_is_noticed() {
    let (fake, mut device) = started();
    fake.state.borrow_mut().gone = true;
    assert_eq!(device.read_link(), Err(Fault::Gone));
    let Err((error, stopped)) = device.stop().start() else { panic!("it is gone") };
    assert_eq!(error, StartError::Reset(u32::MAX));
    fake.state.borrow_mut().gone = false;
    assert!(stopped.again().start().is_ok());
}

#[test]
fn a_card_without_an_address_does_not_start() {
    for (low, high) in [(0x1200_5452, 0x0000_5634), (0x1200_5453, 0x8000_5634), (0, 0x8000_0000)] {
        let ram = Ram::default();
        let fake = Fake::new(&ram);
        let stopped = Stopped::new(fake.clone(), &ram).ok().unwrap();
        fake.set("RAL", low);
        fake.set("RAH", high);
        let Err((error, _)) = stopped.start() else { panic!("{low:x} {high:x}") };
        assert_eq!(error, StartError::NoAddress { low, high });
    }
}

#[test]
fn too_little_memory_is_said_and_given_back() {
    let ram = Ram::of(100);
    let error = Stopped::new(Fake::new(&ram), &ram).err();
    assert_eq!(error, Some(StartError::NoMemory));
}
