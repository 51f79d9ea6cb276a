//! The interface with a FIFO of bytes (TIS, FIFO).
//!
//! ```text
//!   begin -> locality -(active)-> ready -(commandReady)-> sending -(all taken)-> [tpmGo]
//!         -> waiting -(dataAvail)-> receiving -(all, and no more)-> [commandReady] -> answer
//! ```

use core::{mem::offset_of, task::Poll, time::Duration};

use bitflags::bitflags;
use safe_mmio::{
    field, field_shared,
    fields::{ReadPure, ReadPureWrite, ReadWrite},
};

use super::{CHANGE, Fault, HEADER, MAX_BYTES, Pending, Progress, Step, Transport, Work, told_length};
use crate::mmio::{DeviceWords, RegisterBlock, Window};

bitflags! {
    /// TPM_ACCESS.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Access: u8 {
        /// The other bits mean something.
        const VALID = 1 << 7;
        /// This locality is the one that is active; written: it is given up.
        const ACTIVE = 1 << 5;
        /// Written: this locality is wanted.
        const REQUEST = 1 << 1;
    }

    /// TPM_STS: its lowest byte.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Status: u32 {
        /// Expect and dataAvail mean something.
        const VALID = 1 << 7;
        /// A command may be sent; written: whatever was, a command is to be sent.
        const COMMAND_READY = 1 << 6;
        /// Written: the command is whole.
        const GO = 1 << 5;
        /// There is an answer to be read.
        const DATA_AVAIL = 1 << 4;
        /// More bytes of the command are expected.
        const EXPECT = 1 << 3;
    }
}

/// Bytes that may be read or written without looking at the status again, in TPM_STS.
fn burst(status: u32) -> usize {
    (status >> 8 & 0xffff) as usize
}

/// The registers of locality 0. Source: the profile, table 12.
#[repr(C)]
pub struct Registers {
    /// 0x000 TPM_ACCESS.
    access: ReadPureWrite<u8>,
    _reserved0: [u8; 0x17],
    /// 0x018 TPM_STS.
    status: ReadPureWrite<u32>,
    _reserved1: [u32; 2],
    /// 0x024 TPM_DATA_FIFO, a byte at a time.
    fifo: ReadWrite<u8>,
    _reserved2: [u8; 0xedb],
    /// 0xf00 TPM_DID_VID.
    id: ReadPure<u32>,
}

const _: () = assert!(offset_of!(Registers, access) == 0);
const _: () = assert!(offset_of!(Registers, status) == 0x18);
const _: () = assert!(offset_of!(Registers, fifo) == 0x24);
const _: () = assert!(offset_of!(Registers, id) == 0xf00);

// SAFETY:
// 1. `repr(C)`, fields of 8 and 32 bits; the reserved bytes are private and never touched.
// 2. Rights are those of the profile; a TPM does no DMA.
unsafe impl RegisterBlock for Registers {}

/// Access to the registers: the real ones, or a fake's.
pub trait Bus {
    /// TPM_ACCESS.
    fn read_access(&mut self) -> u8;
    /// TPM_ACCESS.
    fn write_access(&mut self, value: u8);
    /// TPM_STS.
    fn read_status(&mut self) -> u32;
    /// TPM_STS.
    fn write_status(&mut self, value: u32);
    /// The next byte of the answer.
    fn read_fifo(&mut self) -> u8;
    /// The next byte of the command.
    fn write_fifo(&mut self, value: u8);
    /// TPM_DID_VID.
    fn read_id(&mut self) -> u32;
}

impl<M: DeviceWords> Bus for Window<M, Registers> {
    fn read_access(&mut self) -> u8 {
        let block = self.registers();
        field_shared!(block, access).read()
    }

    fn write_access(&mut self, value: u8) {
        let mut block = self.registers();
        field!(block, access).write(value);
    }

    fn read_status(&mut self) -> u32 {
        let block = self.registers();
        field_shared!(block, status).read()
    }

    fn write_status(&mut self, value: u32) {
        let mut block = self.registers();
        field!(block, status).write(value);
    }

    fn read_fifo(&mut self) -> u8 {
        let mut block = self.registers();
        field!(block, fifo).read()
    }

    fn write_fifo(&mut self, value: u8) {
        let mut block = self.registers();
        field!(block, fifo).write(value);
    }

    fn read_id(&mut self) -> u32 {
        let block = self.registers();
        field_shared!(block, id).read()
    }
}

/// A TPM behind this interface.
pub struct Tis<B> {
    bus: B,
    work: Work<State>,
}

#[derive(Clone, Copy)]
enum State {
    /// Nothing was asked of the interface.
    New,
    Locality {
        until: Duration,
    },
    Ready {
        until: Duration,
    },
    Sending {
        at: usize,
        until: Duration,
    },
    Waiting {
        until: Duration,
    },
    Receiving {
        at: usize,
        /// Once the first bytes told it.
        length: Option<usize>,
        head: [u8; HEADER],
        until: Duration,
    },
}

impl<B: Bus> Tis<B> {
    /// Takes the registers; touches nothing.
    pub const fn new(bus: B) -> Self {
        Self { bus, work: Work::none() }
    }

    /// The registers, for a test to look at.
    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) fn bus(&mut self) -> &mut B {
        &mut self.bus
    }
}

impl<B: Bus> Transport for Tis<B> {
    fn begin(&mut self, _now: Duration, command: &[u8], patience: Duration) {
        self.work.begin(command, patience, State::New);
    }

    fn poll(&mut self, now: Duration, answer: &mut [u8]) -> Poll<Result<usize, Fault>> {
        let bus = &mut self.bus;
        self.work.poll(answer, |pending, state, answer| step(bus, pending, state, now, answer))
    }
}

fn step(
    bus: &mut impl Bus,
    pending: &Pending,
    state: State,
    now: Duration,
    answer: &mut [u8],
) -> Result<Progress<State>, Fault> {
    match state {
        State::New => {
            let id = bus.read_id();
            if id == 0 || id == u32::MAX {
                return Err(Fault::Absent { id });
            }
            bus.write_access(Access::REQUEST.bits());
            Ok(Progress::Next(State::Locality { until: now + CHANGE }))
        }
        State::Locality { until } => {
            let access = Access::from_bits_retain(bus.read_access());
            if access.contains(Access::VALID | Access::ACTIVE) {
                // Ends whatever was: half a command, half an answer, a command that runs.
                bus.write_status(Status::COMMAND_READY.bits());
                return Ok(Progress::Next(State::Ready { until: now + super::PREDECESSOR }));
            }
            wait(state, now, until, Step::Locality, access.bits().into())
        }
        State::Ready { until } => {
            let status = bus.read_status();
            if status != u32::MAX && Status::from_bits_retain(status).contains(Status::COMMAND_READY) {
                return Ok(Progress::Next(State::Sending { at: 0, until: now + CHANGE }));
            }
            wait(state, now, until, Step::Ready, status)
        }
        State::Sending { at, until } => send(bus, pending.command(), pending.patience, at, until, now),
        State::Waiting { until } => {
            let status = bus.read_status();
            if Status::from_bits_retain(status).contains(Status::VALID | Status::DATA_AVAIL) {
                let until = now + CHANGE;
                return Ok(Progress::Next(State::Receiving {
                    at: 0,
                    length: None,
                    head: [0; HEADER],
                    until,
                }));
            }
            if now >= until {
                return Err(Fault::Silent { waited: pending.patience });
            }
            Ok(Progress::Later(state))
        }
        State::Receiving { at, length, head, until } => receive(bus, at, length, head, until, now, answer),
    }
}

fn wait(
    state: State,
    now: Duration,
    until: Duration,
    step: Step,
    status: u32,
) -> Result<Progress<State>, Fault> {
    if now >= until { Err(Fault::Stuck { step, status }) } else { Ok(Progress::Later(state)) }
}

fn send(
    bus: &mut impl Bus,
    command: &[u8],
    patience: Duration,
    at: usize,
    until: Duration,
    now: Duration,
) -> Result<Progress<State>, Fault> {
    let status = bus.read_status();
    let flags = Status::from_bits_retain(status);
    if at == command.len() {
        // All is sent: the TPM expects no more, or it has lost bytes.
        if !flags.contains(Status::VALID) {
            return wait(State::Sending { at, until }, now, until, Step::Send, status);
        }
        if flags.contains(Status::EXPECT) {
            return Err(Fault::Stuck { step: Step::Send, status });
        }
        bus.write_status(Status::GO.bits());
        return Ok(Progress::Next(State::Waiting { until: now + patience }));
    }
    // Ahead of all but the first byte it must expect more.
    if at > 0 && flags.contains(Status::VALID) && !flags.contains(Status::EXPECT) {
        return Err(Fault::Stuck { step: Step::Send, status });
    }
    let count = burst(status).min(command.len() - at);
    if count == 0 {
        return wait(State::Sending { at, until }, now, until, Step::Send, status);
    }
    for &byte in &command[at..at + count] {
        bus.write_fifo(byte);
    }
    Ok(Progress::Next(State::Sending { at: at + count, until: now + CHANGE }))
}

fn receive(
    bus: &mut impl Bus,
    at: usize,
    length: Option<usize>,
    mut head: [u8; HEADER],
    until: Duration,
    now: Duration,
    answer: &mut [u8],
) -> Result<Progress<State>, Fault> {
    let status = bus.read_status();
    let flags = Status::from_bits_retain(status);
    if !flags.contains(Status::VALID) {
        return wait(State::Receiving { at, length, head, until }, now, until, Step::Ready, status);
    }
    let more = flags.contains(Status::DATA_AVAIL);
    if length == Some(at) {
        if more {
            return Err(Fault::Bytes { status });
        }
        bus.write_status(Status::COMMAND_READY.bits());
        return Ok(Progress::Done(at));
    }
    if !more {
        return Err(Fault::Bytes { status });
    }
    let end = length.unwrap_or(HEADER);
    let count = burst(status).min(end - at);
    if count == 0 {
        return wait(State::Receiving { at, length, head, until }, now, until, Step::Ready, status);
    }
    // `told_length` bounds the end by the room.
    for (place, room) in answer.iter_mut().enumerate().skip(at).take(count) {
        let byte = bus.read_fifo();
        if let Some(head) = head.get_mut(place) {
            *head = byte;
        }
        *room = byte;
    }
    let at = at + count;
    let length = match length {
        None if at == HEADER => Some(told_length(&head, MAX_BYTES)?),
        other => other,
    };
    Ok(Progress::Next(State::Receiving { at, length, head, until: now + CHANGE }))
}

#[cfg(test)]
mod tests;
