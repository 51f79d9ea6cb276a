//! Entries for fuzzing: the bytes are what the registers read.
//!
//! Both panic when a promise of the driver is broken: an answer beyond its bounds, a poll without an end, a
//! command without a deadline.

use core::{cell::Cell, task::Poll, time::Duration};

use super::{MAX_BYTES, Transport, crb, tis};
use crate::virtio::fuzz::say;

/// Registers that say what the input says, and otherwise what a TPM at rest might.
struct Hostile<'a> {
    input: Cell<&'a [u8]>,
    looks: u64,
}

impl Hostile<'_> {
    fn word(&mut self, otherwise: u32) -> u32 {
        self.looks += 1;
        say(&self.input, otherwise)
    }
}

impl tis::Bus for Hostile<'_> {
    fn read_access(&mut self) -> u8 {
        self.word(0xa0) as u8
    }
    fn write_access(&mut self, _: u8) {}
    fn read_status(&mut self) -> u32 {
        // A burst of 16, valid, ready, with an answer, expecting more.
        self.word(0x10d8)
    }
    fn write_status(&mut self, _: u32) {}
    fn read_fifo(&mut self) -> u8 {
        self.word(0) as u8
    }
    fn write_fifo(&mut self, _: u8) {}
    fn read_id(&mut self) -> u32 {
        self.word(1)
    }
}

impl crb::Bus for Hostile<'_> {
    fn read(&mut self, register: crb::Readable) -> u32 {
        use crb::Readable as R;
        let honest = match register {
            R::LocalityStatus | R::InterfaceId => 1,
            R::CommandLow | R::AnswerLow => 0x80,
            R::CommandSize | R::AnswerSize => crb::BUFFER as u32,
            R::Request | R::Status | R::Start | R::CommandHigh => 0,
        };
        self.word(honest)
    }
    fn write(&mut self, _: crb::Writable, _: u32) {}
    fn read_buffer(&mut self, at: usize) -> u8 {
        assert!(at < crb::BUFFER);
        self.word(0) as u8
    }
    fn write_buffer(&mut self, at: usize, _: u8) {
        assert!(at < crb::BUFFER);
    }
}

/// Drives [`tis::Tis`].
///
/// # Panics
/// When a promise is broken.
pub fn tis(bytes: &[u8]) {
    let mut machine = tis::Tis::new(Hostile { input: Cell::new(bytes), looks: 0 });
    drive(&mut machine, |machine| machine.bus().looks);
}

/// Drives [`crb::Crb`].
///
/// # Panics
/// When a promise is broken.
pub fn crb(bytes: &[u8]) {
    let mut machine = crb::Crb::new(Hostile { input: Cell::new(bytes), looks: 0 });
    drive(&mut machine, |machine| machine.bus().looks);
}

fn drive<T: Transport>(machine: &mut T, looks: fn(&mut T) -> u64) {
    let mut room = [0xa5; MAX_BYTES + 1];
    let mut now = Duration::ZERO;
    for _ in 0..2 {
        machine.begin(now, &[7; 100], Duration::from_secs(10));
        let end = now + Duration::from_secs(400);
        loop {
            let before = looks(machine);
            let outcome = machine.poll(now, &mut room);
            assert!(looks(machine) - before < 3 * MAX_BYTES as u64, "a poll ends");
            match outcome {
                Poll::Pending => now += Duration::from_millis(500),
                Poll::Ready(Ok(length)) => {
                    assert!((10..=MAX_BYTES).contains(&length), "an answer has its bounds");
                    break;
                }
                Poll::Ready(Err(_)) => break,
            }
            assert!(now < end, "every step has a deadline");
        }
    }
    assert_eq!(room[MAX_BYTES], 0xa5);
}
