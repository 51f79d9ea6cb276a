//! Questions under way to a service that answers each once, in order, under its number; they outlive the service.
//!
//! One that is there anew knows nothing of what it was asked before, so it is asked again: [`Asks::begin_again`]. The
//! numbers stay, and an answer to another number than the oldest is the service's fault.
//!
//! Whoever waits no longer gives a question up ([`Asks::give_up`]), which frees its place at once: a service that
//! answers late or never takes up none. What was sent cannot be unsent, so its answer may still come, and is nobody's.

use heapless::Deque;

/// Questions to one service, at most `N`.
#[derive(Debug)]
pub struct Asks<R, const N: usize> {
    next: u32,
    /// Oldest first.
    open: Deque<(u32, R), N>,
    /// How many of the oldest were sent to the service that is there now.
    sent: usize,
    /// The numbers to which answers may come, those of what was given up among them: from the first to before the
    /// second.
    due: (u32, u32),
}

/// An answer to what was not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAsked;

impl<R, const N: usize> Default for Asks<R, N> {
    fn default() -> Self {
        Self { next: 0, open: Deque::new(), sent: 0, due: (0, 0) }
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
        let Some((number, _)) = self.unsent() else { return };
        if self.due.0 == self.due.1 {
            self.due.0 = number;
        }
        self.due.1 = number.wrapping_add(1);
        self.sent += 1;
    }

    /// Nobody waits for this question any more. Unless it was sent it never will be.
    pub fn give_up(&mut self, number: u32) {
        let Some(place) = self.open.iter().position(|(open, _)| *open == number) else { return };
        if place < self.sent {
            self.sent -= 1;
        }
        // The others keep their order.
        for _ in 0..self.open.len() {
            if let Some(question) = self.open.pop_front().filter(|(open, _)| *open != number) {
                // One was taken out.
                let _ = self.open.push_back(question);
            }
        }
    }

    /// An answer came: the question, if it is the oldest that was sent; none if that one was given up.
    ///
    /// # Errors
    /// [`NotAsked`]: nothing was asked under this number, or it was answered, or an older one was not.
    pub fn answered(&mut self, number: u32) -> Result<Option<R>, NotAsked> {
        let (first, end) = self.due;
        let ahead = |number: u32| number.wrapping_sub(first);
        let oldest = self.open.front().filter(|_| self.sent > 0).map(|(oldest, _)| *oldest);
        if ahead(number) >= ahead(end) || oldest.is_some_and(|oldest| ahead(number) > ahead(oldest)) {
            return Err(NotAsked);
        }
        self.due.0 = number.wrapping_add(1);
        if oldest != Some(number) {
            return Ok(None);
        }
        self.sent -= 1;
        Ok(self.open.pop_front().map(|(_, request)| request))
    }

    /// The service is there anew. It knows nothing of what was given up.
    pub fn begin_again(&mut self) {
        self.sent = 0;
        self.due = (self.next, self.next);
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
        assert_eq!(asks.answered(0), Err(NotAsked), "it was not sent");
        assert_eq!(asks.unsent(), Some((0, &"a")));
        asks.sent();
        asks.sent();
        assert_eq!(asks.unsent(), None);
        assert_eq!(asks.answered(1), Err(NotAsked), "the oldest comes first");
        assert_eq!((asks.answered(0), asks.answered(0)), (Ok(Some("a")), Err(NotAsked)));
        assert_eq!(asks.push("c"), Some(2));
        assert_eq!(asks.unsent(), Some((2, &"c")));
        assert_eq!(asks.answered(2), Err(NotAsked));
        assert_eq!(asks.answered(1), Ok(Some("b")));
    }

    #[test]
    fn whoever_is_there_anew_is_asked_again() {
        let mut asks: Asks<&str, 4> = Asks::default();
        for request in ["a", "b", "c"] {
            asks.push(request);
            asks.sent();
        }
        assert_eq!(asks.answered(0), Ok(Some("a")));
        asks.begin_again();
        assert_eq!(asks.answered(1), Err(NotAsked));
        assert_eq!(asks.unsent(), Some((1, &"b")));
        asks.sent();
        assert_eq!((asks.answered(1), asks.unsent()), (Ok(Some("b")), Some((2, &"c"))));
        assert!(!asks.is_empty());
        asks.sent();
        asks.sent();
        assert_eq!(asks.answered(2), Ok(Some("c")));
        assert!(asks.is_empty());
    }

    #[test]
    fn numbers_go_round() {
        let mut asks: Asks<u8, 2> = Asks { next: u32::MAX, ..Asks::default() };
        assert_eq!((asks.push(1), asks.push(2)), (Some(u32::MAX), Some(0)));
        asks.sent();
        asks.sent();
        assert_eq!((asks.answered(u32::MAX), asks.answered(0)), (Ok(Some(1)), Ok(Some(2))));
    }

    #[test]
    fn what_is_given_up_frees_its_place_and_its_answer_is_nobody_s() {
        let mut asks: Asks<u32, 2> = Asks::default();
        // A service that never answers.
        for turn in 0..100 {
            let number = asks.push(turn).expect("there is a place");
            if turn % 3 != 0 {
                asks.sent();
            }
            asks.give_up(number);
        }
        assert!(asks.is_empty());
        assert_eq!(asks.push(100), Some(100));
        asks.sent();
        // It does at last, to what was sent.
        for number in (0..100).filter(|number| number % 3 != 0) {
            assert_eq!(asks.answered(number), Ok(None), "{number}");
            assert_eq!(asks.answered(number), Err(NotAsked), "{number}");
        }
        assert_eq!((asks.answered(101), asks.answered(100)), (Err(NotAsked), Ok(Some(100))));
    }

    #[test]
    fn one_given_up_between_others_does_not_disturb_them() {
        let mut asks: Asks<&str, 3> = Asks::default();
        for request in ["a", "b", "c"] {
            asks.push(request);
        }
        asks.sent();
        asks.sent();
        asks.give_up(1);
        asks.give_up(7);
        assert_eq!(asks.unsent(), Some((2, &"c")));
        asks.sent();
        assert_eq!(asks.answered(2), Err(NotAsked), "the first is older");
        assert_eq!(asks.answered(0), Ok(Some("a")));
        assert_eq!((asks.answered(1), asks.answered(2)), (Ok(None), Ok(Some("c"))));
        // One that is there anew is not asked what was given up, and answers nothing of it.
        asks.push("d");
        asks.sent();
        asks.give_up(3);
        asks.push("e");
        asks.begin_again();
        assert_eq!((asks.answered(3), asks.unsent()), (Err(NotAsked), Some((4, &"e"))));
    }
}
