//! A domain writes its last words, publishes them, and goes on to more, while somebody reads.

use board_support_rt::epitaph::order;
use loom::sync::Arc;
use loom::sync::atomic::{
    AtomicU32,
    Ordering::{Relaxed, Release},
};
use loom::thread;

use crate::Shared;

/// "SaEp"
const MAGIC: u32 = u32::from_le_bytes(*b"SaEp");
const WORD: u32 = 7;

struct Page {
    magic: Shared,
    length: Shared,
    text: [AtomicU32; 2],
}

/// Both pieces of text are four bytes.
fn tell(publish: fn(&Shared, &Shared, u32)) {
    let word = || AtomicU32::new(0);
    let page = Arc::new(Page { magic: Shared::new(0), length: Shared::new(0), text: [word(), word()] });
    let theirs = page.clone();
    let domain = thread::spawn(move || {
        for (number, text) in (1..).zip(&theirs.text) {
            text.store(WORD, Relaxed);
            publish(&theirs.magic, &theirs.length, number * 4);
        }
    });
    if let Some(length) = order::find(&page.magic, &page.length) {
        let said = page.text[..length as usize / 4].iter().map(|word| word.load(Relaxed));
        assert!(length >= 4, "the length is not there");
        assert!(said.into_iter().all(|word| word == WORD), "the text is not there");
    }
    domain.join().unwrap();
}

#[test]
fn who_sees_the_magic_sees_the_text() {
    loom::model(|| tell(order::publish));
}

#[test]
#[should_panic(expected = "the length is not there")]
fn fails_without_release_of_the_magic() {
    loom::model(|| {
        tell(|magic, length, bytes| {
            length.0.store(bytes, Release);
            magic.0.store(MAGIC, Relaxed);
        });
    });
}

#[test]
#[should_panic(expected = "the text is not there")]
fn fails_without_release_of_the_length() {
    loom::model(|| {
        tell(|magic, length, bytes| {
            length.0.store(bytes, Relaxed);
            magic.0.store(MAGIC, Release);
        });
    });
}
