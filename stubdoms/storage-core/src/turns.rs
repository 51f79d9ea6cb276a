//! A thing that several tasks use, each in its turn.
//!
//! Who asks first is served first, so that one who asks all the time cannot keep the others waiting: between a
//! request and its turn are at most those that asked before, one each. One task at a time holds the thing, from
//! [`Turns::turn`] until it drops the [`Turn`]; a task that stops waiting leaves the queue.

use alloc::collections::VecDeque;
use core::{
    cell::{RefCell, RefMut},
    future::poll_fn,
    ops::{Deref, DerefMut},
    task::{Context, Poll, Waker},
};

/// A thing, and who waits for it.
#[derive(Debug)]
pub struct Turns<T> {
    thing: RefCell<T>,
    queue: RefCell<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    taken: bool,
    next: u64,
    waiting: VecDeque<(u64, Waker)>,
}

impl Queue {
    fn wake_first(&self) {
        if let Some((_, waker)) = self.waiting.front() {
            waker.wake_by_ref();
        }
    }
}

impl<T> Turns<T> {
    /// Nobody has it yet.
    pub const fn new(thing: T) -> Self {
        let queue = Queue { taken: false, next: 0, waiting: VecDeque::new() };
        Self { thing: RefCell::new(thing), queue: RefCell::new(queue) }
    }

    /// Waits for the turn of whoever asks.
    pub async fn turn(&self) -> Turn<'_, T> {
        let mut place = Place { queue: &self.queue, number: None };
        poll_fn(|context| place.poll(context)).await;
        Turn { thing: self.thing.borrow_mut(), queue: &self.queue }
    }
}

/// A place in the queue.
struct Place<'t> {
    queue: &'t RefCell<Queue>,
    number: Option<u64>,
}

impl Place<'_> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut queue = self.queue.borrow_mut();
        let Some(number) = self.number else {
            if !queue.taken && queue.waiting.is_empty() {
                queue.taken = true;
                return Poll::Ready(());
            }
            let number = queue.next;
            queue.next = number.wrapping_add(1);
            queue.waiting.push_back((number, context.waker().clone()));
            self.number = Some(number);
            return Poll::Pending;
        };
        if !queue.taken && queue.waiting.front().is_some_and(|(first, _)| *first == number) {
            queue.waiting.pop_front();
            queue.taken = true;
            self.number = None;
            return Poll::Ready(());
        }
        if let Some((_, waker)) = queue.waiting.iter_mut().find(|(one, _)| *one == number) {
            waker.clone_from(context.waker());
        }
        Poll::Pending
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let mut queue = self.queue.borrow_mut();
            queue.waiting.retain(|(one, _)| *one != number);
            // It may have been this one's turn.
            if !queue.taken {
                queue.wake_first();
            }
        }
    }
}

/// The turn of one task.
#[derive(Debug)]
pub struct Turn<'t, T> {
    thing: RefMut<'t, T>,
    queue: &'t RefCell<Queue>,
}

impl<T> Deref for Turn<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.thing
    }
}

impl<T> DerefMut for Turn<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.thing
    }
}

impl<T> Drop for Turn<'_, T> {
    fn drop(&mut self) {
        let mut queue = self.queue.borrow_mut();
        queue.taken = false;
        // The thing itself is given back when this is over, ahead of any poll.
        queue.wake_first();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use core::pin::pin;
    use embassy_futures::{block_on, join::join, poll_once, yield_now};
    use std::vec::Vec;

    #[test]
    fn one_who_asks_all_the_time_is_served_in_turn_with_the_other() {
        let turns = Turns::new(Vec::new());
        let serve = async |who: char| {
            for _ in 0..20 {
                let mut turn = turns.turn().await;
                turn.push(who);
                // As a disk would let it wait.
                yield_now().await;
            }
        };
        block_on(join(serve('a'), serve('b')));
        let order = block_on(turns.turn());
        assert!(order.chunks(2).all(|two| two == ['a', 'b']), "{order:?}");
    }

    #[test]
    fn who_stops_waiting_leaves_the_queue() {
        let turns = Turns::new(0);
        let first = block_on(turns.turn());
        {
            let mut second = pin!(turns.turn());
            assert!(poll_once(second.as_mut()).is_pending());
            let mut third = pin!(turns.turn());
            assert!(poll_once(third.as_mut()).is_pending());
            drop(first);
            // It is the second one's turn.
            assert!(poll_once(third.as_mut()).is_pending());
            assert!(poll_once(second.as_mut()).is_ready());
        }
        assert!(poll_once(pin!(turns.turn())).is_ready());
        let held = block_on(turns.turn());
        {
            let mut waiting = pin!(turns.turn());
            assert!(poll_once(waiting.as_mut()).is_pending());
        }
        drop(held);
        assert!(poll_once(pin!(turns.turn())).is_ready());
    }
}
