//! The page of a channel: when it becomes ready, and when an end leaves.

use loom::thread;
use proto_ring::channel::{self, Readiness, Side};

use crate::page;

mod who_sees_the_magic_sees_the_page {
    proved!(super::ready,
        fails_without_release: Publish => "the page is not there",
        fails_without_acquire: Observe => "the page is not there",
    );
}

mod who_sees_the_end_sees_what_came_before {
    // The release of the flag has no twin: the full fence behind the last publish orders the same.
    proved!(super::closed,
        fails_without_acquire: Observe => "the last byte is not there",
    );
}

/// The lower end initialises the page while the upper end looks.
fn ready() {
    let page = page();
    let other = page.clone();
    let making = thread::spawn(move || channel::initialise(&other));
    let found = channel::inspect(&page);
    // The version stands behind the magic: without it, what is found is another layout.
    assert!(matches!(found, Ok(Readiness::Ready | Readiness::NotYet)), "the page is not there: {found:?}");
    making.join().unwrap();
    assert_eq!(channel::inspect(&page), Ok(Readiness::Ready));
}

/// The lower end writes a byte and leaves. The upper end, once it sees that, finds the byte.
fn closed() {
    let page = page();
    channel::initialise(&page);
    let other = page.clone();
    let leaving = thread::spawn(move || {
        let (mut writer, _) = Side::Lower.streams();
        writer.stage(&other, b"x").unwrap();
        let _ = writer.publish(&other);
        Side::Lower.close(&other);
    });
    if Side::Lower.is_closed(&page) {
        let (_, mut reader) = Side::Upper.streams();
        assert_eq!(reader.available(&page), Ok(1), "the last byte is not there");
    }
    leaving.join().unwrap();
}
