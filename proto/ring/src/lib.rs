//! Request rings and byte streams on shared pages, against a hostile other end.
//!
//! What it is for: everything that two domains say to each other by shared memory goes through one of the
//! machines here. They work on a page of atomics (`&`[`Words`]) which the caller borrows for each call, so the
//! same code runs on a mapped grant and on a plain array in a test, with both ends in one process.
//!
//! | module | what it is |
//! |---|---|
//! | [`page`] | copy-once access to the words and bytes of a shared page |
//! | [`index`] | free-running indices, compared as distances |
//! | [`front`], [`back`] | the two ends of the standard request ring (`io/ring.h`) |
//! | [`stream`] | one direction of a byte stream, its writing and its reading end |
//! | [`channel`] | the page of a channel between two of our domains: two streams, magic, closed flags |
//! | [`frame`] | messages of bounded length on a stream |
//! | [`order`] | the memory orders that all of them keep |
//! | [`fault`] | what a peer can do wrong |
//!
//! What it trusts: nothing in the page. Own indices are private fields and never read back. A machine that
//! has returned a [`PeerFault`] stays where it was; the caller closes the device.
//!
//! Memory order, the same everywhere: an index is published with release and observed with acquire. Between
//! publishing an index and reading the peer's event threshold stands a full fence, and so it does between
//! writing the own threshold and the last look ahead of sleeping.
//!
//! How it is tested: both ends on one page, honest runs across index wrap, tables of hostile peers, random
//! schedules with spurious events, two real threads, and loom models in `tests/ring`: each again without the
//! order that it is about, when it must fail.

#![no_std]
#![forbid(unsafe_code)]

#[cfg(any(test, loom))]
extern crate std;

pub mod back;
pub mod channel;
pub mod fault;
pub mod frame;
pub mod front;
pub mod index;
pub mod order;
pub mod page;
pub mod slots;
pub mod stream;
mod sync;

pub use fault::PeerFault;
pub use index::Index;
pub use page::{WORDS_PER_PAGE, Words};
pub use sync::AtomicU32;
