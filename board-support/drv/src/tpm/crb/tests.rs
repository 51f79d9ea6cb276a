use std::{vec, vec::Vec};

use super::*;

/// A TPM that is stricter than real ones: it panics when it is used against the rules.
struct Strict {
    granted: bool,
    idle: bool,
    request: u32,
    /// Looks that a change of the interface takes, and that a command takes.
    delays: (u32, u32),
    left: u32,
    running: bool,
    buffer: Vec<u8>,
    commands: Vec<Vec<u8>>,
    answer: Vec<u8>,
    low: u32,
}

fn frame(length: u32) -> Vec<u8> {
    let mut bytes = vec![0x80, 1];
    bytes.extend(length.to_be_bytes());
    bytes.extend((6..length).map(|at| at as u8));
    bytes
}

impl Strict {
    fn new(delays: (u32, u32), answer: Vec<u8>) -> Self {
        Self {
            granted: false,
            idle: true,
            request: 0,
            delays,
            left: 0,
            running: false,
            buffer: vec![0; BUFFER],
            commands: Vec::new(),
            answer,
            low: 0xfed4_0080,
        }
    }

    /// Time passes by looks at registers.
    fn look(&mut self) {
        if self.left > 0 {
            self.left -= 1;
            return;
        }
        if self.running {
            self.buffer[..self.answer.len()].copy_from_slice(&self.answer);
            self.running = false;
        }
        if self.request == ControlRequest::GO_IDLE.bits() {
            self.idle = true;
        } else if self.request == ControlRequest::COMMAND_READY.bits() {
            self.idle = false;
        }
        self.request = 0;
    }
}

impl Bus for Strict {
    fn read(&mut self, register: Readable) -> u32 {
        match register {
            Readable::LocalityStatus => self.granted.into(),
            Readable::InterfaceId => 1,
            Readable::Request => {
                self.look();
                self.request
            }
            Readable::Status => {
                if self.idle {
                    ControlStatus::IDLE.bits()
                } else {
                    0
                }
            }
            Readable::Start => {
                self.look();
                self.running.into()
            }
            Readable::CommandSize | Readable::AnswerSize => BUFFER as u32,
            Readable::CommandLow | Readable::AnswerLow => self.low,
            Readable::CommandHigh => 0,
        }
    }

    fn write(&mut self, register: Writable, value: u32) {
        assert!(!self.running, "{register:?} is written while a command runs");
        match register {
            Writable::LocalityControl => {
                assert_eq!(value, 1);
                self.granted = true;
            }
            Writable::Request => {
                assert!(self.granted && (value == 1 || value == 2));
                assert_eq!(self.request, 0, "one request at a time");
                self.request = value;
                self.left = self.delays.0;
            }
            Writable::Start => {
                assert!(!self.idle && value == 1, "it is ready");
                let length = u32::from_be_bytes(self.buffer[2..6].try_into().unwrap());
                self.commands.push(self.buffer[..length as usize].to_vec());
                self.running = true;
                self.left = self.delays.1;
            }
        }
    }

    fn read_buffer(&mut self, at: usize) -> u8 {
        assert!(!self.running && !self.idle, "an answer is there");
        self.buffer[at]
    }

    fn write_buffer(&mut self, at: usize, value: u8) {
        assert!(!self.running && !self.idle, "a command may be written");
        self.buffer[at] = value;
    }
}

const PATIENCE: Duration = Duration::from_secs(10);

/// Polls once in 10 ms.
fn run<B: Bus>(crb: &mut Crb<B>, command: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut now = Duration::ZERO;
    let mut room = [0; MAX_BYTES];
    crb.begin(now, command, PATIENCE);
    loop {
        if let Poll::Ready(outcome) = crb.poll(now, &mut room) {
            return outcome.map(|length| room[..length].to_vec());
        }
        now += Duration::from_millis(10);
        assert!(now < Duration::from_secs(300), "every step has a deadline");
    }
}

#[test]
fn commands_and_answers_pass() {
    for delays in [(0, 0), (3, 5)] {
        let mut crb = Crb::new(Strict::new(delays, frame(413)));
        for length in [10, 300] {
            assert_eq!(run(&mut crb, &frame(length)), Ok(frame(413)));
            assert_eq!(crb.bus().commands.pop(), Some(frame(length)));
        }
    }
}

#[test]
fn what_the_one_before_left_is_waited_for_at_every_point() {
    for polls in 0..60 {
        let mut first = Crb::new(Strict::new((2, 20), frame(30)));
        let mut room = [0; MAX_BYTES];
        first.begin(Duration::ZERO, &frame(40), PATIENCE);
        for _ in 0..polls {
            if first.poll(Duration::ZERO, &mut room).is_ready() {
                break;
            }
        }
        let mut bus = first.bus;
        // A request that was not carried out yet is, before the next one looks.
        while bus.request != 0 {
            bus.look();
        }
        let was_running = bus.running;
        let mut second = Crb::new(bus);
        if !was_running {
            second.bus().answer = frame(20);
        }
        // The old command's answer is in the buffer when it ends; the new one's must come.
        second.begin(Duration::ZERO, &frame(12), PATIENCE);
        let length = loop {
            if !second.bus().running {
                second.bus().answer = frame(20);
            }
            if let Poll::Ready(outcome) = second.poll(Duration::ZERO, &mut room) {
                break outcome.unwrap();
            }
        };
        assert_eq!(room[..length], frame(20), "{polls}");
        assert_eq!(second.bus().commands.last(), Some(&frame(12)));
    }
}

#[test]
fn one_that_is_silent_is_told() {
    let mut crb = Crb::new(Strict::new((0, u32::MAX), frame(10)));
    assert_eq!(run(&mut crb, &frame(10)), Err(Fault::Silent { waited: PATIENCE }));
    // It is still at that command.
    assert!(matches!(run(&mut crb, &frame(10)), Err(Fault::Stuck { step: Step::Predecessor, .. })));
    let mut crb = Crb::new(Strict::new((u32::MAX, 0), frame(10)));
    assert!(matches!(run(&mut crb, &frame(10)), Err(Fault::Stuck { step: Step::Idle, .. })));
}

#[test]
fn buffers_elsewhere_and_lengths_that_lie_are_refused() {
    let mut strict = Strict::new((0, 0), frame(10));
    strict.low = 0x8000_0000;
    assert_eq!(run(&mut Crb::new(strict), &frame(10)), Err(Fault::Elsewhere { address: 0x8000_0000 }));
    for told in [0, 9, MAX_BYTES as u32 + 1, u32::MAX] {
        let mut lie = frame(10);
        lie[2..6].copy_from_slice(&told.to_be_bytes());
        assert_eq!(run(&mut Crb::new(Strict::new((0, 0), lie)), &frame(10)), Err(Fault::Length { told }));
    }
}
