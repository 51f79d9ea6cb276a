use core::cell::{Cell, RefCell};
use core::future::poll_fn;
use core::task::{Poll, Waker};

/// "Look again", from any task to the one that waits. Notices do not add up and none is lost.
#[derive(Default)]
pub(super) struct Notice {
    given: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
}

impl Notice {
    pub(super) fn give(&self) {
        self.given.set(true);
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }

    pub(super) async fn wait(&self) {
        poll_fn(|cx| {
            if self.given.take() {
                return Poll::Ready(());
            }
            self.waiting.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await
    }
}
