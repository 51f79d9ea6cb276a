//! The interface with a buffer for command and answer (CRB).
//!
//! ```text
//!   begin -> settling -(START and request are 0)-> locality -(granted)-> [goIdle] -> idle -> [cmdReady] -> ready
//!         -> [command, START] -> waiting -(START is 0)-> [goIdle] -> answer
//! ```
//!
//! START stays set while a command runs, also one of a driver that has died since. Whoever does not wait for its
//! end is given the old command's answer as its own.

use core::{mem::offset_of, task::Poll, time::Duration};

use bitflags::bitflags;
use safe_mmio::{
    field, field_shared,
    fields::{ReadPure, ReadPureWrite, WriteOnly},
};

use super::{
    CHANGE, Fault, HEADER, MAX_BYTES, PREDECESSOR, Pending, Progress, Step, Transport, Work, told_length,
};
use crate::mmio::{DeviceWords, RegisterBlock, Window};

/// Bytes of the buffer behind the registers.
pub const BUFFER: usize = 0xf80;
/// Where it is in its page.
const BUFFER_AT: u64 = 0x80;
/// What TPM_CRB_INTF_ID's lowest 4 bits say of this interface.
const INTERFACE: u32 = 1;

bitflags! {
    /// TPM_LOC_CTRL.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct LocalityControl: u32 {
        /// Locality 0 is wanted.
        const REQUEST = 1 << 0;
    }

    /// TPM_LOC_STS.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct LocalityStatus: u32 {
        /// Locality 0 is granted.
        const GRANTED = 1 << 0;
    }

    /// TPM_CRB_CTRL_REQ: set until it was done.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ControlRequest: u32 {
        /// Be ready for a command.
        const COMMAND_READY = 1 << 0;
        /// Be idle.
        const GO_IDLE = 1 << 1;
    }

    /// TPM_CRB_CTRL_STS.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ControlStatus: u32 {
        /// It is broken.
        const ERROR = 1 << 0;
        /// It is idle.
        const IDLE = 1 << 1;
    }
}

/// The registers of locality 0, and the buffer. Source: the profile, table 18.
#[repr(C)]
pub struct Registers {
    _state: u32,
    _reserved0: u32,
    /// 0x008 TPM_LOC_CTRL.
    locality_control: WriteOnly<u32>,
    /// 0x00c TPM_LOC_STS.
    locality_status: ReadPure<u32>,
    _reserved1: [u32; 8],
    /// 0x030 TPM_CRB_INTF_ID, its lower half.
    interface_id: ReadPure<u32>,
    _reserved2: [u32; 3],
    /// 0x040 TPM_CRB_CTRL_REQ.
    request: ReadPureWrite<u32>,
    /// 0x044 TPM_CRB_CTRL_STS.
    status: ReadPure<u32>,
    _cancel: u32,
    /// 0x04c TPM_CRB_CTRL_START.
    start: ReadPureWrite<u32>,
    _interrupts: [u32; 2],
    /// 0x058 TPM_CRB_CTRL_CMD_SIZE.
    command_size: ReadPure<u32>,
    /// 0x05c TPM_CRB_CTRL_CMD_LADDR.
    command_low: ReadPure<u32>,
    /// 0x060 TPM_CRB_CTRL_CMD_HADDR.
    command_high: ReadPure<u32>,
    /// 0x064 TPM_CRB_CTRL_RSP_SIZE.
    answer_size: ReadPure<u32>,
    /// 0x068 TPM_CRB_CTRL_RSP_ADDR, its lower half.
    answer_low: ReadPure<u32>,
    _answer_high: u32,
    _reserved3: [u32; 4],
    /// 0x080 TPM_CRB_DATA_BUFFER.
    buffer: [ReadPureWrite<u8>; BUFFER],
}

const _: () = assert!(offset_of!(Registers, locality_control) == 0x08);
const _: () = assert!(offset_of!(Registers, locality_status) == 0x0c);
const _: () = assert!(offset_of!(Registers, interface_id) == 0x30);
const _: () = assert!(offset_of!(Registers, request) == 0x40);
const _: () = assert!(offset_of!(Registers, status) == 0x44);
const _: () = assert!(offset_of!(Registers, start) == 0x4c);
const _: () = assert!(offset_of!(Registers, command_size) == 0x58);
const _: () = assert!(offset_of!(Registers, answer_size) == 0x64);
const _: () = assert!(offset_of!(Registers, buffer) == 0x80);
const _: () = assert!(size_of::<Registers>() == 0x1000);

// SAFETY:
// 1. `repr(C)`, fields of 8 and 32 bits and arrays of them; the reserved words are private and never touched.
// 2. Rights are those of the profile. The addresses of the buffers, by which a TPM could be told of other
//    memory, are only read.
unsafe impl RegisterBlock for Registers {}

/// What is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readable {
    /// See [`LocalityStatus`].
    LocalityStatus,
    /// The kind of interface in its lowest 4 bits.
    InterfaceId,
    /// See [`ControlRequest`].
    Request,
    /// See [`ControlStatus`].
    Status,
    /// 1 while a command runs.
    Start,
    /// Bytes of the command's buffer.
    CommandSize,
    /// Its address, lower half.
    CommandLow,
    /// Upper half.
    CommandHigh,
    /// Bytes of the answer's buffer.
    AnswerSize,
    /// Its address, lower half.
    AnswerLow,
}

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writable {
    /// See [`LocalityControl`].
    LocalityControl,
    /// See [`ControlRequest`].
    Request,
    /// 1 starts the command.
    Start,
}

/// Access to the registers: the real ones, or a fake's.
pub trait Bus {
    /// Reads a register.
    fn read(&mut self, register: Readable) -> u32;
    /// Writes a register.
    fn write(&mut self, register: Writable, value: u32);
    /// Reads a byte of the buffer; `at` is below [`BUFFER`].
    fn read_buffer(&mut self, at: usize) -> u8;
    /// Writes a byte of the buffer; `at` is below [`BUFFER`].
    fn write_buffer(&mut self, at: usize, value: u8);
}

impl<M: DeviceWords> Bus for Window<M, Registers> {
    fn read(&mut self, register: Readable) -> u32 {
        let block = self.registers();
        match register {
            Readable::LocalityStatus => field_shared!(block, locality_status).read(),
            Readable::InterfaceId => field_shared!(block, interface_id).read(),
            Readable::Request => field_shared!(block, request).read(),
            Readable::Status => field_shared!(block, status).read(),
            Readable::Start => field_shared!(block, start).read(),
            Readable::CommandSize => field_shared!(block, command_size).read(),
            Readable::CommandLow => field_shared!(block, command_low).read(),
            Readable::CommandHigh => field_shared!(block, command_high).read(),
            Readable::AnswerSize => field_shared!(block, answer_size).read(),
            Readable::AnswerLow => field_shared!(block, answer_low).read(),
        }
    }

    fn write(&mut self, register: Writable, value: u32) {
        let mut block = self.registers();
        match register {
            Writable::LocalityControl => field!(block, locality_control).write(value),
            Writable::Request => field!(block, request).write(value),
            Writable::Start => field!(block, start).write(value),
        }
    }

    fn read_buffer(&mut self, at: usize) -> u8 {
        let mut block = self.registers();
        let mut buffer = field!(block, buffer);
        buffer.as_mut_slice().get(at).expect("within the buffer").read()
    }

    fn write_buffer(&mut self, at: usize, value: u8) {
        let mut block = self.registers();
        let mut buffer = field!(block, buffer);
        buffer.as_mut_slice().get(at).expect("within the buffer").write(value);
    }
}

/// A TPM behind this interface.
pub struct Crb<B> {
    bus: B,
    work: Work<State>,
}

#[derive(Clone, Copy)]
enum State {
    /// Nothing was asked of the interface.
    New,
    Settling {
        until: Duration,
    },
    Locality {
        until: Duration,
    },
    Idle {
        until: Duration,
    },
    Ready {
        until: Duration,
    },
    Waiting {
        until: Duration,
    },
}

impl<B: Bus> Crb<B> {
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

impl<B: Bus> Transport for Crb<B> {
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
            check(bus)?;
            Ok(Progress::Next(State::Settling { until: now + PREDECESSOR }))
        }
        State::Settling { until } => {
            // Neither its command nor what it asked of the interface last.
            if bus.read(Readable::Start) & 1 == 0 && bus.read(Readable::Request) == 0 {
                bus.write(Writable::LocalityControl, LocalityControl::REQUEST.bits());
                return Ok(Progress::Next(State::Locality { until: now + CHANGE }));
            }
            wait(bus, state, now, until, Step::Predecessor)
        }
        State::Locality { until } => {
            let status = LocalityStatus::from_bits_retain(bus.read(Readable::LocalityStatus));
            if status.contains(LocalityStatus::GRANTED) {
                bus.write(Writable::Request, ControlRequest::GO_IDLE.bits());
                return Ok(Progress::Next(State::Idle { until: now + CHANGE }));
            }
            wait(bus, state, now, until, Step::Locality)
        }
        State::Idle { until } => {
            if bus.read(Readable::Request) & ControlRequest::GO_IDLE.bits() == 0 {
                bus.write(Writable::Request, ControlRequest::COMMAND_READY.bits());
                return Ok(Progress::Next(State::Ready { until: now + CHANGE }));
            }
            wait(bus, state, now, until, Step::Idle)
        }
        State::Ready { until } => {
            let status = ControlStatus::from_bits_retain(bus.read(Readable::Status));
            let request = bus.read(Readable::Request);
            let ready = request & ControlRequest::COMMAND_READY.bits() == 0;
            if !ready || status.contains(ControlStatus::IDLE) {
                return wait(bus, state, now, until, Step::Ready);
            }
            if status.contains(ControlStatus::ERROR) {
                return Err(Fault::Broken { status: status.bits() });
            }
            // `check` saw that the buffer has room for the longest command.
            for (at, &byte) in pending.command().iter().enumerate() {
                bus.write_buffer(at, byte);
            }
            bus.write(Writable::Start, 1);
            Ok(Progress::Next(State::Waiting { until: now + pending.patience }))
        }
        State::Waiting { until } => {
            if bus.read(Readable::Start) & 1 == 0 {
                let length = receive(bus, answer);
                // The answer holds what others must not find in the buffer; idle, the TPM may drop it.
                bus.write(Writable::Request, ControlRequest::GO_IDLE.bits());
                return length.map(Progress::Done);
            }
            if now >= until {
                return Err(Fault::Silent { waited: pending.patience });
            }
            Ok(Progress::Later(state))
        }
    }
}

fn wait(
    bus: &mut impl Bus,
    state: State,
    now: Duration,
    until: Duration,
    step: Step,
) -> Result<Progress<State>, Fault> {
    if now >= until {
        return Err(Fault::Stuck { step, status: bus.read(Readable::Status) });
    }
    Ok(Progress::Later(state))
}

/// Whether this is the interface, with both buffers where the registers are. They are told by machine addresses,
/// of which a domain knows no more than the place in the page.
fn check(bus: &mut impl Bus) -> Result<(), Fault> {
    let id = bus.read(Readable::InterfaceId);
    if id == u32::MAX || id & 0xf != INTERFACE {
        return Err(Fault::Absent { id });
    }
    let low = bus.read(Readable::CommandLow);
    let here = |address: u32| u64::from(address & 0xfff) == BUFFER_AT;
    if !here(low) || bus.read(Readable::AnswerLow) != low {
        let address = u64::from(bus.read(Readable::CommandHigh)) << 32 | u64::from(low);
        return Err(Fault::Elsewhere { address });
    }
    for size in [Readable::CommandSize, Readable::AnswerSize] {
        let told = bus.read(size);
        if !(MAX_BYTES as u32..=BUFFER as u32).contains(&told) {
            return Err(Fault::Length { told });
        }
    }
    Ok(())
}

fn receive(bus: &mut impl Bus, answer: &mut [u8]) -> Result<usize, Fault> {
    let status = ControlStatus::from_bits_retain(bus.read(Readable::Status));
    if status.contains(ControlStatus::ERROR) {
        return Err(Fault::Broken { status: status.bits() });
    }
    let mut head = [0; HEADER];
    for (at, byte) in head.iter_mut().enumerate() {
        *byte = bus.read_buffer(at);
    }
    let length = told_length(&head, MAX_BYTES)?;
    answer[..HEADER].copy_from_slice(&head);
    for (at, byte) in answer.iter_mut().enumerate().take(length).skip(HEADER) {
        *byte = bus.read_buffer(at);
    }
    Ok(length)
}

#[cfg(test)]
mod tests;
