//! Models of publish and notify under every reordering that the memory model allows.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p proto-ring --release --test loom`.
//!
//! Each model is one race: an end publishes while the other arms its threshold and looks a last time. If the
//! latter goes to sleep, the former must have been told to send an event.

#![cfg(loom)]

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;
use proto_ring::back::Back;
use proto_ring::channel::{DOWN, UP};
use proto_ring::front::Front;
use proto_ring::stream::{Reader, Writer};
use proto_ring::{Index, Words};

fn page() -> Arc<Box<Words>> {
    Arc::new(Box::new(core::array::from_fn(|_| AtomicU32::new(0))))
}

#[test]
fn reader_that_sleeps_was_or_will_be_told_of_data() {
    loom::model(|| {
        let page = page();
        let other = page.clone();
        let writing = thread::spawn(move || {
            let mut writer = Writer::new(UP);
            writer.stage(&other, b"x").unwrap();
            writer.publish(&other).wanted()
        });
        let mut reader = Reader::new(UP);
        let found = reader.await_data(&page, 1).unwrap();
        if found {
            // And what the index covers is there.
            let mut byte = [0];
            assert_eq!(reader.take(&page, &mut byte), Ok(1));
            assert_eq!(&byte, b"x");
        }
        let told = writing.join().unwrap();
        assert!(found || told, "the wake-up was lost");
    });
}

#[test]
fn writer_that_sleeps_was_or_will_be_told_of_room() {
    loom::model(|| {
        let page = page();
        let size = DOWN.window.size();
        // All taken: both ends stand at 0, and the window is full.
        let mut writer = Writer::new(DOWN);
        writer.stage(&page, &[7; 1024]).unwrap();
        let _ = writer.publish(&page);
        let other = page.clone();
        let reading = thread::spawn(move || {
            let mut reader = Reader::new(DOWN);
            reader.take(&other, &mut [0; 4]).unwrap();
            reader.release(&other).wanted()
        });
        let found = writer.await_room(&page, 4).unwrap();
        let told = reading.join().unwrap();
        assert!(found || told, "the wake-up was lost; window of {size}");
    });
}

#[test]
fn backend_that_sleeps_was_or_will_be_told_of_a_request() {
    loom::model(|| {
        let page = page();
        let other = page.clone();
        let asking = thread::spawn(move || {
            let mut front = Front::<8>::starting_at(Index::new(0));
            front.put(&other, &[9; 8]).unwrap();
            front.push(&other).wanted()
        });
        let mut back = Back::<8>::new();
        let found = back.await_request(&page).unwrap();
        if found {
            let mut slot = [0; 8];
            assert_eq!(back.take(&page, &mut slot), Ok(true));
            assert_eq!(slot, [9; 8]);
        }
        let told = asking.join().unwrap();
        assert!(found || told, "the wake-up was lost");
    });
}

#[test]
fn frontend_that_sleeps_was_or_will_be_told_of_a_response() {
    loom::model(|| {
        let page = page();
        let mut front = Front::<8>::starting_at(Index::new(0));
        front.put(&page, &[1; 8]).unwrap();
        let _ = front.push(&page);
        let other = page.clone();
        let answering = thread::spawn(move || {
            let mut back = Back::<8>::new();
            let mut slot = [0; 8];
            if !back.take(&other, &mut slot).unwrap() {
                return None;
            }
            back.put(&other, &[2; 8]);
            Some(back.push(&other).wanted())
        });
        let found = front.await_response(&page).unwrap();
        let told = answering.join().unwrap();
        assert!(found || told != Some(false), "the wake-up was lost");
    });
}

/// The same race without the fences. It must fail, or these models prove nothing.
#[test]
#[should_panic(expected = "the wake-up was lost")]
fn without_the_fence_the_wake_up_is_lost() {
    loom::model(|| {
        let words = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
        let other = words.clone();
        let publishing = thread::spawn(move || {
            other[0].store(1, Ordering::Release);
            other[1].load(Ordering::Relaxed) == 1
        });
        words[1].store(1, Ordering::Relaxed);
        let found = words[0].load(Ordering::Acquire) == 1;
        let told = publishing.join().unwrap();
        assert!(found || told, "the wake-up was lost");
    });
}
