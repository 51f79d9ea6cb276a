//! Questions under way to a service that answers each once, in order, under its number; they outlive the service.
//!
//! One that is there anew knows nothing of what it was asked before, so it is asked again: [`Asks::begin_again`]. The
//! numbers stay, and an answer to another number than the oldest is the service's fault.

use heapless::Deque;

/// Questions to one service, at most `N`.
#[derive(Debug)]
pub struct Asks<R, const N: usize> {
    next: u32,
    /// Oldest first.
    open: Deque<(u32, R), N>,
    /// How many of the oldest were sent to the service that is there now.
    sent: usize,
}

impl<R, const N: usize> Default for Asks<R, N> {
    fn default() -> Self {
        Self { next: 0, open: Deque::new(), sent: 0 }
    }
}

impl<R, const N: usize> Asks<R, N> {
    /// Adds a question; its number. None if there are too many already.
    pub fn push(&mut self, request: R) -> Option<u32> {
        let number = self.next;
        self.open.push_back((number, request)).ok()?;
        self.next = self.next.wrapping_add(1);
        Some(number)
    }

    /// The next question to be sent.
    #[must_use]
    pub fn unsent(&self) -> Option<(u32, &R)> {
        self.open.iter().nth(self.sent).map(|(number, request)| (*number, request))
    }

    /// That one was sent.
    pub fn sent(&mut self) {
        self.sent = (self.sent + 1).min(self.open.len());
    }

    /// An answer came: the question, if it is the oldest that was sent.
    pub fn answered(&mut self, number: u32) -> Option<R> {
        let (oldest, _) = self.open.front()?;
        if *oldest != number || self.sent == 0 {
            return None;
        }
        self.sent -= 1;
        self.open.pop_front().map(|(_, request)| request)
    }

    /// The service is there anew.
    pub fn begin_again(&mut self) {
        self.sent = 0;
    }

    /// Whether nothing is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_answered_in_order() {
        let mut asks: Asks<&str, 2> = Asks::default();
        assert_eq!((asks.push("a"), asks.push("b"), asks.push("c")), (Some(0), Some(1), None));
        assert_eq!(asks.answered(0), None, "it was not sent");
        assert_eq!(asks.unsent(), Some((0, &"a")));
        asks.sent();
        asks.sent();
        assert_eq!(asks.unsent(), None);
        assert_eq!(asks.answered(1), None, "the oldest comes first");
        assert_eq!((asks.answered(0), asks.answered(0)), (Some("a"), None));
        assert_eq!(asks.push("c"), Some(2));
        assert_eq!(asks.unsent(), Some((2, &"c")));
        assert_eq!(asks.answered(2), None);
        assert_eq!(asks.answered(1), Some("b"));
    }

    #[test]
    fn whoever_is_there_anew_is_asked_again() {
        let mut asks: Asks<&str, 4> = Asks::default();
        for request in ["a", "b", "c"] {
            asks.push(request);
            asks.sent();
        }
        assert_eq!(asks.answered(0), Some("a"));
        asks.begin_again();
        assert_eq!(asks.answered(1), None);
        assert_eq!(asks.unsent(), Some((1, &"b")));
        asks.sent();
        assert_eq!((asks.answered(1), asks.unsent()), (Some("b"), Some((2, &"c"))));
        assert!(!asks.is_empty());
        asks.sent();
        asks.sent();
        assert_eq!(asks.answered(2), Some("c"));
        assert!(asks.is_empty());
    }

    #[test]
    fn numbers_go_round() {
        let mut asks: Asks<u8, 2> = Asks { next: u32::MAX, ..Asks::default() };
        assert_eq!((asks.push(1), asks.push(2)), (Some(u32::MAX), Some(0)));
        asks.sent();
        asks.sent();
        assert_eq!((asks.answered(u32::MAX), asks.answered(0)), (Some(1), Some(2)));
    }
}
