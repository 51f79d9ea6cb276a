//! A domain makes and ends grants while Xen, for a peer, maps the page or takes the mapping back. Xen's half is
//! written as `map_grant_ref` and `unmap_common_complete` in `xen/common/grant_table.c`.

use core::sync::atomic::Ordering;

use board_support_hyp::gnttab::order;
use board_support_hyp::word::{Exchange, Word};
use loom::sync::Arc;
use loom::sync::atomic::{
    AtomicU16, AtomicU32,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use loom::thread;
use proto_xen::grant_table::flags::{INVALID, PERMIT_ACCESS, READING, WRITING};

const IN_USE: u16 = READING | WRITING;
const FRAME: u32 = 7;

/// The flags of an entry, for our half.
struct Flags(AtomicU16);

impl Word<u16> for Flags {
    fn load(&self, order: Ordering) -> u16 {
        self.0.load(order)
    }

    fn store(&self, value: u16, order: Ordering) {
        self.0.store(value, order);
    }
}

impl Exchange<u16> for Flags {
    fn exchange(&self, seen: u16, new: u16) -> Result<u16, u16> {
        self.0.compare_exchange(seen, new, AcqRel, Acquire)
    }
}

struct Entry {
    flags: Flags,
    frame: AtomicU32,
    /// A word of the page that is granted.
    page: AtomicU32,
}

fn entry(flags: u16) -> Arc<Entry> {
    let (frame, page) = (AtomicU32::new(0), AtomicU32::new(0));
    Arc::new(Entry { flags: Flags(AtomicU16::new(flags)), frame, page })
}

impl Entry {
    /// The peer has it mapped. `None` if the entry is not valid.
    fn map_in_xen(&self) -> Option<u32> {
        let mut seen = self.flags.0.load(Acquire);
        while seen & PERMIT_ACCESS != 0 {
            match self.flags.0.compare_exchange(seen, seen | IN_USE, AcqRel, Acquire) {
                Ok(_) => return Some(self.frame.load(Relaxed)),
                Err(now) => seen = now,
            }
        }
        None
    }
}

/// The domain grants a page, while the peer tries the reference.
fn offer(publish: fn(&Flags)) {
    let entry = entry(INVALID);
    let theirs = entry.clone();
    let xen = thread::spawn(move || {
        if let Some(frame) = theirs.map_in_xen() {
            assert_eq!(frame, FRAME, "the frame is not there");
        }
    });
    entry.frame.store(FRAME, Relaxed);
    publish(&entry.flags);
    xen.join().unwrap();
}

/// The domain ends a grant, while the peer maps it.
fn end_while_mapped(end: fn(&Flags) -> bool) {
    let entry = entry(PERMIT_ACCESS);
    let theirs = entry.clone();
    let xen = thread::spawn(move || theirs.map_in_xen().is_some());
    let ended = end(&entry.flags);
    let mapped = xen.join().unwrap();
    assert!(!(ended && mapped), "the page is reused while the peer maps it");
}

/// The domain ends a grant, while the peer writes and unmaps.
fn end_after_use(end: fn(&Flags) -> bool) {
    let entry = entry(PERMIT_ACCESS | IN_USE);
    let theirs = entry.clone();
    let xen = thread::spawn(move || {
        theirs.page.store(FRAME, Relaxed);
        theirs.flags.0.fetch_and(!IN_USE, Release);
    });
    if end(&entry.flags) {
        assert_eq!(entry.page.load(Relaxed), FRAME, "the peer writes after the end");
    }
    xen.join().unwrap();
}

#[test]
fn who_sees_the_entry_sees_the_frame() {
    loom::model(|| offer(|flags| order::publish(flags, PERMIT_ACCESS)));
}

#[test]
#[should_panic(expected = "the frame is not there")]
fn fails_without_release() {
    loom::model(|| offer(|flags| flags.0.store(PERMIT_ACCESS, Relaxed)));
}

#[test]
fn a_grant_ends_or_is_mapped() {
    loom::model(|| end_while_mapped(|flags| order::end(flags).is_ok()));
}

#[test]
#[should_panic(expected = "the page is reused while the peer maps it")]
fn fails_without_the_exchange() {
    loom::model(|| {
        end_while_mapped(|flags| {
            let ended = flags.0.load(Acquire) & IN_USE == 0;
            if ended {
                flags.0.store(INVALID, Release);
            }
            ended
        });
    });
}

#[test]
fn what_the_peer_wrote_is_there_after_the_end() {
    loom::model(|| end_after_use(|flags| order::end(flags).is_ok()));
}

#[test]
#[should_panic(expected = "the peer writes after the end")]
fn fails_without_acquire() {
    loom::model(|| {
        end_after_use(|flags| {
            let seen = flags.0.load(Relaxed);
            seen & IN_USE == 0 && flags.0.compare_exchange(seen, INVALID, Relaxed, Relaxed).is_ok()
        });
    });
}
