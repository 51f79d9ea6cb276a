//! A virtqueue: driver and device at the same time. The device's half is written as the specification asks
//! of devices (section 2.7), with its own fences.

use board_support_drv::virtio::queue::order;
use board_support_hyp::word::Word;
use loom::sync::Arc;
use loom::sync::atomic::{
    Ordering::{Acquire, Relaxed, Release, SeqCst},
    fence,
};
use loom::thread;

use crate::Shared;

/// Flag of either ring: do not tell me.
const SILENT: u32 = 1;
/// Index 1 of either ring, no flag.
const INDEX_1: u32 = 1 << 16;

/// Flags and index of each ring, and what the index covers.
struct Rings {
    available: Shared,
    used: Shared,
    /// A descriptor, or an entry of the used ring.
    covered: Shared,
}

fn rings(available: u32, used: u32) -> Arc<Rings> {
    let word = Shared::new;
    Arc::new(Rings { available: word(available), used: word(used), covered: word(0) })
}

/// How the driver publishes, and how it looks.
type Publish = fn(&Shared, u32);
type Look = fn(&Shared) -> u32;

/// The driver asks for interrupts and looks a last time, while the device gives a buffer back.
fn listen(look: Look) {
    let rings = rings(SILENT, 0);
    let theirs = rings.clone();
    let device = thread::spawn(move || {
        theirs.used.0.store(INDEX_1, Release);
        fence(SeqCst);
        theirs.available.0.load(Relaxed) & SILENT == 0
    });
    order::publish(&rings.available, 0);
    let seen = look(&rings.used) == INDEX_1;
    let interrupted = device.join().unwrap();
    assert!(seen || interrupted, "the driver sleeps");
}

/// The driver publishes a buffer, while the device asks for notifications and looks a last time.
fn notify(look: Look) {
    let rings = rings(0, SILENT);
    let theirs = rings.clone();
    let device = thread::spawn(move || {
        theirs.used.0.store(0, Relaxed);
        fence(SeqCst);
        theirs.available.0.load(Acquire) == INDEX_1
    });
    order::publish(&rings.available, INDEX_1);
    let notified = look(&rings.used) & SILENT == 0;
    let seen = device.join().unwrap();
    assert!(seen || notified, "the device sleeps");
}

/// The driver takes a buffer that the device gives back.
fn take(look: Look) {
    let rings = rings(0, 0);
    let theirs = rings.clone();
    let device = thread::spawn(move || {
        theirs.covered.0.store(7, Relaxed);
        theirs.used.0.store(INDEX_1, Release);
    });
    if look(&rings.used) == INDEX_1 {
        assert_eq!(rings.covered.load(Relaxed), 7, "the entry is not there");
    }
    device.join().unwrap();
}

/// The device takes a buffer that the driver publishes.
fn lend(publish: Publish) {
    let rings = rings(0, 0);
    let theirs = rings.clone();
    let device = thread::spawn(move || {
        if theirs.available.0.load(Acquire) == INDEX_1 {
            assert_eq!(theirs.covered.0.load(Relaxed), 7, "the descriptor is not there");
        }
    });
    rings.covered.store(7, Relaxed);
    publish(&rings.available, INDEX_1);
    device.join().unwrap();
}

/// Neither fence nor order.
fn careless(word: &Shared) -> u32 {
    word.load(Relaxed)
}

#[test]
fn the_driver_does_not_sleep_over_a_buffer() {
    loom::model(|| listen(order::observe_after_publish));
}

#[test]
#[should_panic(expected = "the driver sleeps")]
fn fails_without_the_fence_before_the_last_look() {
    loom::model(|| listen(careless));
}

#[test]
#[should_panic(expected = "the driver sleeps")]
fn fails_with_acquire_before_the_last_look() {
    loom::model(|| listen(order::observe));
}

#[test]
fn the_device_is_told_or_sees_for_itself() {
    loom::model(|| notify(order::observe_after_publish));
}

#[test]
#[should_panic(expected = "the device sleeps")]
fn fails_without_the_fence_before_the_look_at_the_flag() {
    loom::model(|| notify(careless));
}

#[test]
fn who_sees_the_used_index_sees_the_entry() {
    loom::model(|| take(order::observe));
}

#[test]
#[should_panic(expected = "the entry is not there")]
fn fails_without_acquire() {
    loom::model(|| take(careless));
}

#[test]
fn who_sees_the_available_index_sees_the_descriptor() {
    loom::model(|| lend(order::publish));
}

#[test]
#[should_panic(expected = "the descriptor is not there")]
fn fails_without_release() {
    loom::model(|| lend(|word, value| word.store(value, Relaxed)));
}
