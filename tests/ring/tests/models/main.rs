//! Models of what two ends do at the same time, under every reordering that loom shows.
//!
//! Part of `cargo xtask test`; alone: `RUSTFLAGS="--cfg loom" cargo test --release --package tests-ring`.
//!
//! A model is one race on the machines themselves: an end publishes while the other arms its threshold and
//! looks a last time. If the latter goes to sleep, the former must have been told to send an event; and what
//! an index covers must be there with it. Each model has *twins*: the same code with one order left out,
//! which must fail, and for the reason named. A model whose twin passes would prove nothing.
//!
//! What loom does not show: it runs each thread in program order, so a load that moves behind a later store
//! of the same thread (what the release of a *consumer* index prevents) does not occur in it.

#![cfg(loom)]
#![forbid(unsafe_code)]

/// Runs a model as it is, and once more without each of the orders that it needs, when it must fail with the
/// words given.
macro_rules! proved {
    ($model:path, $($twin:ident: $order:ident => $reason:literal,)+) => {
        #[test]
        fn holds() {
            crate::check($model);
        }

        $(
            #[test]
            #[should_panic(expected = $reason)]
            fn $twin() {
                proto_ring::order::without(proto_ring::order::Order::$order, || crate::check($model));
            }
        )+
    };
}

mod channel;
mod e1000e;
mod epitaph;
mod events;
mod grants;
mod idle;
mod request_ring;
mod stream;
mod virtqueue;

use board_support_hyp::word::Word;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use proto_ring::Words;

/// A word for the half of a model that is ours.
struct Shared(AtomicU32);

impl Shared {
    fn new(value: u32) -> Self {
        Self(AtomicU32::new(value))
    }
}

impl Word for Shared {
    fn load(&self, order: Ordering) -> u32 {
        self.0.load(order)
    }

    fn store(&self, value: u32, order: Ordering) {
        self.0.store(value, order);
    }
}

/// A page of zeros that two threads of a model share.
fn page() -> Arc<Box<Words>> {
    Arc::new(Box::new(core::array::from_fn(|_| AtomicU32::new(0))))
}

/// Runs a model in every order. A page that is initialised takes a thousand steps, hence the limit.
fn check(model: fn()) {
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 20_000;
    builder.check(model);
}
