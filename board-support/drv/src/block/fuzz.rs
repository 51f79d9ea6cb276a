//! What the entries for fuzzing of both drivers stand on: time and an interrupt of which the bytes decide.

use alloc::rc::Rc;
use core::{
    cell::Cell,
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use super::{
    BlockDevice, MAX_TRANSFER,
    wait::{Waits, Woken},
};
use crate::virtio::fuzz::Input;

/// How long a call may take.
const WITHIN: Duration = Duration::from_secs(1);

/// What is left of the input, which driver's clock and device share.
pub(crate) type Rest<'a> = Rc<Cell<&'a [u8]>>;

/// The next byte of the input.
pub(crate) fn byte(rest: &Cell<&[u8]>) -> Option<u8> {
    let mut input = Input(rest.get());
    let byte = input.byte();
    rest.set(input.0);
    byte
}

/// The next word of the input.
pub(crate) fn word(rest: &Cell<&[u8]>) -> Option<u32> {
    let mut input = Input(rest.get());
    let word = input.word();
    rest.set(input.0);
    word
}

/// A clock that goes on at each wait. At each, the device does what the bytes say, then they say how the wait
/// ends; when there are none, it is time.
pub(crate) struct Clock<'a, F: Fn()> {
    pub(crate) rest: Rest<'a>,
    pub(crate) device: F,
    pub(crate) now: Cell<Duration>,
}

impl<F: Fn()> Waits for Clock<'_, F> {
    fn now(&self) -> Duration {
        self.now.get()
    }

    async fn interrupt(&self, until: Duration) -> Woken {
        (self.device)();
        if byte(&self.rest).is_some_and(|byte| byte % 4 != 0) {
            return Woken::Interrupt;
        }
        self.now.set(until.max(self.now.get()));
        Woken::Time
    }

    async fn sleep(&self, until: Duration) {
        (self.device)();
        self.now.set(until.max(self.now.get()));
    }
}

/// Runs a future that never waits for anybody but [`Clock`], which is always ready.
pub(crate) fn run<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("it waits for somebody else"),
    }
}

/// Uses a disk as the bytes say, until they end. Returns how many calls succeeded.
pub(crate) fn serve(mut disk: impl BlockDevice, rest: &Cell<&[u8]>) -> u32 {
    let mut done = 0;
    let mut buffer = alloc::vec![0; MAX_TRANSFER];
    let geometry = disk.geometry();
    let block = geometry.block_size.bytes();
    while let Some(step) = byte(rest) {
        let length = (block << (step >> 4)).min(MAX_TRANSFER);
        let first = geometry.blocks / 2;
        let buffer = &mut buffer[..length];
        let result = match step % 3 {
            0 => run(disk.read(first, buffer, WITHIN)),
            1 => run(disk.write(first, buffer, WITHIN)),
            _ => run(disk.flush(WITHIN)),
        };
        done += u32::from(result.is_ok());
    }
    done
}
