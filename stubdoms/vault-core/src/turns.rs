//! Requests of all channels, in turn.
//!
//! A TPM does one thing at a time, and what it does for one channel takes milliseconds to seconds. So requests
//! queue for each channel by itself, a few at most, and are taken from the channels in turn: who asks most waits
//! for itself. A channel whose queue is full is not read, and its ring pushes back.

use heapless::Deque;

/// Requests that wait for each channel.
pub const DEPTH: usize = 4;

/// What waits, by channel.
#[derive(Debug)]
pub struct Turns<T, const CHANNELS: usize> {
    queues: [Deque<T, DEPTH>; CHANNELS],
    /// Whose turn it is.
    next: usize,
}

impl<T, const CHANNELS: usize> Default for Turns<T, CHANNELS> {
    fn default() -> Self {
        Self { queues: [const { Deque::new() }; CHANNELS], next: 0 }
    }
}

impl<T, const CHANNELS: usize> Turns<T, CHANNELS> {
    /// Whether a request of this channel can be taken.
    pub fn has_room(&self, channel: usize) -> bool {
        self.queues.get(channel).is_some_and(|queue| !queue.is_full())
    }

    /// Takes a request.
    ///
    /// # Errors
    /// The request, when there is no room or no such channel.
    pub fn push(&mut self, channel: usize, request: T) -> Result<(), T> {
        match self.queues.get_mut(channel) {
            Some(queue) => queue.push_back(request),
            None => Err(request),
        }
    }

    /// The next one, and its channel.
    pub fn pop(&mut self) -> Option<(usize, T)> {
        for step in 0..CHANNELS {
            let channel = (self.next + step) % CHANNELS;
            if let Some(request) = self.queues[channel].pop_front() {
                self.next = channel + 1;
                return Some((channel, request));
            }
        }
        None
    }

    /// Drops what a channel has asked: it has ended.
    pub fn clear(&mut self, channel: usize) {
        if let Some(queue) = self.queues.get_mut(channel) {
            queue.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_floods_waits_for_itself_alone() {
        let mut turns = Turns::<u32, 3>::default();
        let mut answered = [0; 3];
        for request in 0..300 {
            // Channel 0 asks as often as it may, the others now and then.
            while turns.has_room(0) {
                turns.push(0, request).unwrap();
            }
            assert_eq!(turns.push(0, request), Err(request));
            if request % 10 == 0 {
                turns.push(1, request).unwrap();
                turns.push(2, request).unwrap();
            }
            let (channel, asked) = turns.pop().unwrap();
            if channel != 0 {
                assert!(request - asked <= 2, "{request} {asked}");
            }
            answered[channel] += 1;
        }
        assert_eq!(answered, [240, 30, 30]);
    }

    #[test]
    fn what_a_channel_asked_is_dropped_with_it() {
        let mut turns = Turns::<u32, 2>::default();
        turns.push(0, 1).unwrap();
        turns.push(1, 2).unwrap();
        turns.clear(0);
        assert_eq!(turns.pop(), Some((1, 2)));
        assert_eq!(turns.pop(), None);
        assert_eq!(turns.push(2, 3), Err(3));
    }
}
