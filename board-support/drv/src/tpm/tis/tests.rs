use std::{vec, vec::Vec};

use super::*;

/// A TPM that is stricter than real ones: it panics when it is used against the rules.
struct Strict {
    active: bool,
    phase: Phase,
    /// Looks at the status that every change takes.
    delay: u32,
    left: u32,
    burst: u16,
    commands: Vec<Vec<u8>>,
    answer: Vec<u8>,
}

enum Phase {
    Idle,
    /// Becomes ready.
    Preparing,
    Ready,
    Taking(Vec<u8>),
    Running,
    Answering(usize),
}

/// The answer to everything: as long as it says.
fn answer(length: u32) -> Vec<u8> {
    let mut bytes = vec![0x80, 1];
    bytes.extend(length.to_be_bytes());
    bytes.extend((6..length).map(|at| at as u8));
    bytes
}

impl Strict {
    fn new(delay: u32, burst: u16, answer: Vec<u8>) -> Self {
        Self { active: false, phase: Phase::Idle, delay, left: 0, burst, commands: Vec::new(), answer }
    }

    fn told(bytes: &[u8]) -> usize {
        match bytes {
            [_, _, a, b, c, d, ..] => u32::from_be_bytes([*a, *b, *c, *d]) as usize,
            _ => usize::MAX,
        }
    }
}

impl Bus for Strict {
    fn read_access(&mut self) -> u8 {
        let active = if self.active { Access::ACTIVE } else { Access::empty() };
        (Access::VALID | active).bits()
    }

    fn write_access(&mut self, value: u8) {
        assert_eq!(value, Access::REQUEST.bits());
        self.active = true;
    }

    fn read_status(&mut self) -> u32 {
        assert!(self.active, "the locality comes first");
        let waits = self.left > 0;
        self.left = self.left.saturating_sub(1);
        let left = match &self.phase {
            Phase::Answering(at) => self.answer.len() - at,
            _ => usize::MAX,
        };
        let mut status = (left.min(self.burst.into()) as u32) << 8;
        match &self.phase {
            Phase::Idle => {}
            Phase::Preparing if !waits => {
                self.phase = Phase::Ready;
                status |= Status::COMMAND_READY.bits();
            }
            Phase::Ready => status |= Status::COMMAND_READY.bits(),
            Phase::Taking(bytes) => {
                status |= Status::VALID.bits();
                if bytes.len() < Self::told(bytes) {
                    status |= Status::EXPECT.bits();
                }
            }
            Phase::Running if !waits => {
                self.phase = Phase::Answering(0);
                status = (Status::VALID | Status::DATA_AVAIL).bits();
            }
            Phase::Preparing | Phase::Running => status = 0,
            Phase::Answering(at) => {
                status |= Status::VALID.bits();
                if *at < self.answer.len() {
                    status |= Status::DATA_AVAIL.bits();
                }
            }
        }
        status
    }

    fn write_status(&mut self, value: u32) {
        assert!(self.active, "the locality comes first");
        match Status::from_bits(value) {
            Some(Status::COMMAND_READY) => self.phase = Phase::Preparing,
            Some(Status::GO) => {
                let Phase::Taking(bytes) = &self.phase else { panic!("there is no command") };
                assert_eq!(bytes.len(), Self::told(bytes), "the command is whole");
                self.commands.push(bytes.clone());
                self.phase = Phase::Running;
            }
            other => panic!("{other:?} is written"),
        }
        self.left = self.delay;
    }

    fn read_fifo(&mut self) -> u8 {
        let Phase::Answering(at) = &mut self.phase else { panic!("there is no answer") };
        *at += 1;
        *self.answer.get(*at - 1).expect("no more is read than there is")
    }

    fn write_fifo(&mut self, value: u8) {
        match &mut self.phase {
            Phase::Ready => self.phase = Phase::Taking(vec![value]),
            Phase::Taking(bytes) => {
                assert!(bytes.len() < Self::told(bytes), "no more is written than was told");
                bytes.push(value);
            }
            _ => panic!("no command is expected"),
        }
    }

    fn read_id(&mut self) -> u32 {
        0x1014_0001
    }
}

const PATIENCE: Duration = Duration::from_secs(10);

/// Polls once a millisecond.
fn run<B: Bus>(tis: &mut Tis<B>, command: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut now = Duration::ZERO;
    let mut room = [0; MAX_BYTES];
    tis.begin(now, command, PATIENCE);
    loop {
        if let Poll::Ready(outcome) = tis.poll(now, &mut room) {
            return outcome.map(|length| room[..length].to_vec());
        }
        now += Duration::from_millis(1);
        assert!(now < Duration::from_secs(300), "every step has a deadline");
    }
}

#[test]
fn commands_and_answers_pass_whatever_the_burst() {
    for burst in [1, 4, 64, 4096] {
        for delay in [0, 3] {
            let mut tis = Tis::new(Strict::new(delay, burst, answer(413)));
            for length in [10, 11, 300] {
                let command = answer(length);
                assert_eq!(run(&mut tis, &command), Ok(answer(413)));
                assert_eq!(tis.bus().commands.pop(), Some(command));
            }
        }
    }
}

#[test]
fn what_the_one_before_left_is_ended_at_every_point() {
    // A driver that dies after any number of polls; the next one has its own command answered.
    for polls in 0..60 {
        let mut bus = Strict::new(2, 7, answer(30));
        let mut first = Tis::new(bus);
        let mut room = [0; MAX_BYTES];
        first.begin(Duration::ZERO, &answer(40), PATIENCE);
        for _ in 0..polls {
            if first.poll(Duration::ZERO, &mut room).is_ready() {
                break;
            }
        }
        bus = first.bus;
        bus.answer = answer(20);
        let mut second = Tis::new(bus);
        assert_eq!(run(&mut second, &answer(12)), Ok(answer(20)), "{polls}");
        assert_eq!(second.bus().commands.last(), Some(&answer(12)));
    }
}

#[test]
fn one_that_is_silent_is_told_and_so_is_one_that_is_not_there() {
    let mut tis = Tis::new(Strict::new(u32::MAX, 64, answer(10)));
    assert!(matches!(run(&mut tis, &answer(10)), Err(Fault::Stuck { step: Step::Ready, .. })));

    let mut strict = Strict::new(0, 64, answer(10));
    strict.active = true;
    strict.phase = Phase::Ready;
    let mut tis = Tis::new(strict);
    let mut room = [0; MAX_BYTES];
    tis.begin(Duration::ZERO, &answer(10), PATIENCE);
    tis.bus().delay = u32::MAX;
    // The status register reads as ready once before the delay counts.
    tis.bus().left = 0;
    let mut now = Duration::ZERO;
    let fault = loop {
        if let Poll::Ready(outcome) = tis.poll(now, &mut room) {
            break outcome.unwrap_err();
        }
        // As if the interface had been quick and the command is not.
        if let Phase::Preparing = tis.bus().phase {
            tis.bus().left = 0;
        }
        now += Duration::from_millis(100);
    };
    assert_eq!(fault, Fault::Silent { waited: PATIENCE });

    let mut tis = Tis::new(Nothing);
    assert_eq!(run(&mut tis, &answer(10)), Err(Fault::Absent { id: u32::MAX }));
}

struct Nothing;

impl Bus for Nothing {
    fn read_access(&mut self) -> u8 {
        u8::MAX
    }
    fn write_access(&mut self, _: u8) {
        panic!("nothing is written where nothing is")
    }
    fn read_status(&mut self) -> u32 {
        u32::MAX
    }
    fn write_status(&mut self, _: u32) {
        panic!("nothing is written where nothing is")
    }
    fn read_fifo(&mut self) -> u8 {
        u8::MAX
    }
    fn write_fifo(&mut self, _: u8) {
        panic!("nothing is written where nothing is")
    }
    fn read_id(&mut self) -> u32 {
        u32::MAX
    }
}

#[test]
fn lengths_that_lie_are_told() {
    let told = |length: u32, bytes: usize| {
        let mut lie = answer(10);
        lie[2..6].copy_from_slice(&length.to_be_bytes());
        lie.resize(bytes, 0);
        run(&mut Tis::new(Strict::new(0, 64, lie)), &answer(10))
    };
    assert_eq!(told(9, 10), Err(Fault::Length { told: 9 }));
    assert_eq!(told(u32::MAX, 10), Err(Fault::Length { told: u32::MAX }));
    assert!(matches!(told(20, 21), Err(Fault::Bytes { .. })));
    assert!(matches!(told(20, 19), Err(Fault::Bytes { .. })));
}
