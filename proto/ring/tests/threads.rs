//! Two real threads on one page: what the processor reorders, and the compiler, is in play here.
//!
//! Each end sleeps as soon as it can, so that the race between "publish, look at the threshold" and "write
//! the threshold, look at the index" is run over and over. A wake-up that is lost ends in a time-out.

use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use proto_ring::back::Back;
use proto_ring::channel::{DOWN, initialise};
use proto_ring::front::Front;
use proto_ring::stream::{Reader, Writer};
use proto_ring::{WORDS_PER_PAGE, Words};

const SLOT: usize = 8;
const PATIENCE: Duration = Duration::from_secs(20);

/// An event channel port: raised, or not.
#[derive(Default)]
struct Event {
    raised: Mutex<bool>,
    changed: Condvar,
}

impl Event {
    fn raise(&self) {
        *self.raised.lock().unwrap() = true;
        self.changed.notify_one();
    }

    fn wait(&self) {
        let raised = self.raised.lock().unwrap();
        let (mut raised, timeout) =
            self.changed.wait_timeout_while(raised, PATIENCE, |raised| !*raised).unwrap();
        assert!(!timeout.timed_out(), "a wake-up was lost");
        *raised = false;
    }
}

/// A page, the event of the end that writes or asks, and that of the other one.
fn shared() -> Arc<(Box<Words>, Event, Event)> {
    Arc::new((Box::new([const { AtomicU32::new(0) }; WORDS_PER_PAGE]), Event::default(), Event::default()))
}

#[test]
fn stream_loses_no_wake_up() {
    const TOTAL: usize = 1 << 20;
    let shared = shared();
    initialise(&shared.0);
    let other = shared.clone();
    let reading = thread::spawn(move || {
        let (page, to_writer, to_reader) = &*other;
        let mut reader = Reader::new(DOWN);
        let mut bytes = [0; 700];
        let mut total = 0;
        while total < TOTAL {
            let size = 1 + total % bytes.len();
            let count = reader.take(page, &mut bytes[..size]).unwrap();
            for (position, byte) in bytes[..count].iter().enumerate() {
                assert_eq!(*byte, (total + position) as u8);
            }
            total += count;
            if reader.release(page).wanted() {
                to_writer.raise();
            }
            if total < TOTAL && !reader.await_data(page, 1).unwrap() {
                to_reader.wait();
            }
        }
    });
    let (page, to_writer, to_reader) = &*shared;
    let mut writer = Writer::new(DOWN);
    let mut total = 0;
    while total < TOTAL {
        let size = (1 + total % 900).min(TOTAL - total);
        let bytes: Vec<u8> = (total..total + size).map(|position| position as u8).collect();
        let count = writer.stage(page, &bytes).unwrap();
        total += count;
        if writer.publish(page).wanted() {
            to_reader.raise();
        }
        if count < size && !writer.await_room(page, (size - count) as u32).unwrap() {
            to_writer.wait();
        }
    }
    reading.join().unwrap();
}

#[test]
fn request_ring_loses_no_wake_up() {
    const TOTAL: u32 = 100_000;
    let shared = shared();
    let mut front = Front::<SLOT>::initialise(&shared.0);
    let other = shared.clone();
    let serving = thread::spawn(move || {
        let (page, to_front, to_back) = &*other;
        let mut back = Back::<SLOT>::new();
        let mut served = 0;
        let mut slot = [0; SLOT];
        while served < TOTAL {
            while back.take(page, &mut slot).unwrap() {
                back.put(page, &slot);
                served += 1;
            }
            if back.push(page).wanted() {
                to_front.raise();
            }
            if served < TOTAL && !back.await_request(page).unwrap() {
                to_back.wait();
            }
        }
    });
    let (page, to_front, to_back) = &*shared;
    let (mut asked, mut answered) = (0_u64, 0_u64);
    let mut slot = [0; SLOT];
    while answered < u64::from(TOTAL) {
        // Few at a time, so that both ends sleep often.
        while asked < u64::from(TOTAL) && asked - answered < 1 + answered % 3 {
            front.put(page, &asked.to_le_bytes()).unwrap();
            asked += 1;
        }
        if front.push(page).wanted() {
            to_back.raise();
        }
        while front.take(page, &mut slot).unwrap().is_some() {
            assert_eq!(u64::from_le_bytes(slot), answered);
            answered += 1;
        }
        if asked > answered && !front.await_response(page).unwrap() {
            to_front.wait();
        }
    }
    serving.join().unwrap();
}
