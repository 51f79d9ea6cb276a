//! The driver of an e1000e and its card at the same time. The card's registers are words here; its half is
//! written as the datasheet says: descriptors first, then the cause, and an interrupt if the cause is new.

use board_support_drv::nic::e1000e::order;
use loom::sync::Arc;
use loom::sync::atomic::{
    AtomicU32,
    Ordering::{Acquire, Relaxed, Release, SeqCst},
    fence,
};
use loom::thread;

use crate::Shared;

const DONE: u32 = 1;
const FRAME: u32 = 7;

struct Card {
    tail: AtomicU32,
    cause: AtomicU32,
    /// The word of a descriptor in which the card says that it is done.
    done: Shared,
    /// What stands beside it: address, length, the frame itself.
    covered: AtomicU32,
}

fn card(cause: u32) -> Arc<Card> {
    let word = AtomicU32::new;
    Arc::new(Card { tail: word(0), cause: word(cause), done: Shared::new(0), covered: word(0) })
}

/// The driver fills a descriptor and moves the tail, while the card looks.
fn give(tell: fn(&AtomicU32)) {
    let card = card(0);
    let theirs = card.clone();
    let device = thread::spawn(move || {
        if theirs.tail.load(Acquire) == 1 {
            assert_eq!(theirs.covered.load(Relaxed), FRAME, "the descriptor is not there");
        }
    });
    card.covered.store(FRAME, Relaxed);
    tell(&card.tail);
    device.join().unwrap();
}

/// The driver takes what the card has received.
fn take(observe: fn(&Shared) -> u32) {
    let card = card(0);
    let theirs = card.clone();
    let device = thread::spawn(move || {
        theirs.covered.store(FRAME, Relaxed);
        theirs.done.0.store(DONE, Release);
    });
    if observe(&card.done) == DONE {
        assert_eq!(card.covered.load(Relaxed), FRAME, "the frame is not there");
    }
    device.join().unwrap();
}

/// The driver serves an interrupt, whose cause stands in the register, while another frame comes.
fn serve(steps: fn(&Card) -> bool) {
    let card = card(1);
    let theirs = card.clone();
    let device = thread::spawn(move || {
        theirs.done.0.store(DONE, Release);
        fence(SeqCst);
        theirs.cause.swap(1, Relaxed) == 0
    });
    let seen = steps(&card);
    let interrupted = device.join().unwrap();
    assert!(seen || interrupted, "the frame is left lying");
}

fn acknowledge_then_look(card: &Card) -> bool {
    order::acknowledge(|| card.cause.store(0, Relaxed));
    order::observe(&card.done) == DONE
}

#[test]
fn who_sees_the_tail_sees_the_descriptor() {
    loom::model(|| give(|tail| order::tell(|| tail.store(1, Relaxed))));
}

#[test]
#[should_panic(expected = "the descriptor is not there")]
fn fails_without_the_fence_before_the_tail() {
    loom::model(|| give(|tail| tail.store(1, Relaxed)));
}

#[test]
fn who_sees_done_sees_the_frame() {
    loom::model(|| take(order::observe));
}

#[test]
#[should_panic(expected = "the frame is not there")]
fn fails_without_acquire() {
    loom::model(|| take(|done| done.0.load(Relaxed)));
}

#[test]
fn a_frame_is_seen_or_interrupts() {
    loom::model(|| serve(acknowledge_then_look));
}

#[test]
#[should_panic(expected = "the frame is left lying")]
fn fails_without_the_fence_behind_the_acknowledgement() {
    loom::model(|| {
        serve(|card| {
            card.cause.store(0, Relaxed);
            order::observe(&card.done) == DONE
        });
    });
}

#[test]
#[should_panic(expected = "the frame is left lying")]
fn fails_with_the_look_before_the_acknowledgement() {
    loom::model(|| {
        serve(|card| {
            let seen = order::observe(&card.done) == DONE;
            order::acknowledge(|| card.cause.store(0, Relaxed));
            seen
        });
    });
}
