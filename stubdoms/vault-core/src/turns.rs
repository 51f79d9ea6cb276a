//! Requests of all channels, in turn.
//!
//! A TPM does one thing at a time, and what it does for one channel takes milliseconds to seconds. So one request of
//! each channel waits, and they are taken in turn: who asks most waits for itself, and its ring pushes back.

/// What waits, by channel.
#[derive(Debug)]
pub struct Turns<T, const CHANNELS: usize> {
    asked: [Option<T>; CHANNELS],
    /// Whose turn it is.
    next: usize,
}

impl<T, const CHANNELS: usize> Default for Turns<T, CHANNELS> {
    fn default() -> Self {
        Self { asked: [const { None }; CHANNELS], next: 0 }
    }
}

impl<T, const CHANNELS: usize> Turns<T, CHANNELS> {
    /// Takes a request, in place of one of the same channel that still waits: who asked that has given it up. There
    /// is no request of a channel that is not there.
    pub fn put(&mut self, channel: usize, request: T) {
        if let Some(asked) = self.asked.get_mut(channel) {
            *asked = Some(request);
        }
    }

    /// The next one, and its channel.
    pub fn take(&mut self) -> Option<(usize, T)> {
        for step in 0..CHANNELS {
            let channel = (self.next + step) % CHANNELS;
            if let Some(request) = self.asked[channel].take() {
                self.next = channel + 1;
                return Some((channel, request));
            }
        }
        None
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
            turns.put(0, request);
            if request % 10 == 0 {
                turns.put(1, request);
                turns.put(2, request);
            }
            let (channel, asked) = turns.take().unwrap();
            if channel != 0 {
                assert!(request - asked <= 2, "{request} {asked}");
            }
            answered[channel] += 1;
        }
        assert_eq!(answered, [240, 30, 30]);
    }

    #[test]
    fn a_new_request_takes_the_place_of_one_that_was_given_up() {
        let mut turns = Turns::<u32, 2>::default();
        turns.put(0, 1);
        turns.put(1, 2);
        turns.put(0, 3);
        turns.put(2, 4);
        assert_eq!((turns.take(), turns.take(), turns.take()), (Some((0, 3)), Some((1, 2)), None));
    }
}
