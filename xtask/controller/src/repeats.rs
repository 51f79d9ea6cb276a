//! Which log lines came before.
//!
//! A device sends a log file again when it does not know that it arrived: the answer was lost, it was reset, or the
//! domain that sends was ended and collects the same lines once more. A line is known by device, source, start of the
//! device and number. Where it comes once more from another life of what sends it, it may have another time, so the
//! time says nothing; a device that does not name its start gives the same numbers in each, so there the time has to be
//! the same as well. In doubt a line counts as new: shown twice is better than not at all.

use std::collections::{HashSet, VecDeque};

use uuid::Uuid;

use crate::key::sha256;

/// Lines that are remembered, of all devices: some 6 MB, and more than a device has under way.
const REMEMBERED: usize = 100_000;

/// By what a line is known.
pub(crate) struct Identity<'a> {
    pub(crate) device: Uuid,
    /// The application that wrote it; `None` for the device itself.
    pub(crate) app: Option<Uuid>,
    /// The start of the device, if the device names it.
    pub(crate) start: Option<&'a str>,
    pub(crate) source: &'a str,
    /// Which of the instances of the source; each of an application's counts anew where the device had forgotten it.
    pub(crate) iid: &'a str,
    /// Number within its source; 0 if the device has none for it.
    pub(crate) msgid: u64,
    /// Seconds and nanoseconds since 1970.
    pub(crate) stamp: (i64, i32),
    /// A number that stands for two lines is a fault that is to be seen.
    pub(crate) content: &'a str,
}

impl Identity<'_> {
    fn digest(&self) -> [u8; 16] {
        let (seconds, nanos) = if self.start.is_some() { (0, 0) } else { self.stamp };
        let mut bytes = [self.device.as_bytes().as_slice(), self.app.unwrap_or_default().as_bytes()].concat();
        bytes.extend(self.msgid.to_be_bytes());
        bytes.extend(seconds.to_be_bytes());
        bytes.extend(nanos.to_be_bytes());
        for text in [self.start.unwrap_or_default(), self.source, self.iid, self.content] {
            bytes.extend((text.len() as u64).to_be_bytes());
            bytes.extend(text.as_bytes());
        }
        let mut digest = [0; 16];
        digest.copy_from_slice(&sha256(&bytes)[..16]);
        digest
    }
}

/// The lines that came last.
#[derive(Debug, Default)]
pub(crate) struct Repeats {
    known: HashSet<[u8; 16]>,
    /// The same, oldest first.
    order: VecDeque<[u8; 16]>,
}

impl Repeats {
    /// Whether this line came before; from now on it did. One without a number never does.
    pub(crate) fn came_before(&mut self, line: &Identity<'_>) -> bool {
        if line.msgid == 0 {
            return false;
        }
        let digest = line.digest();
        if !self.known.insert(digest) {
            return true;
        }
        self.order.push_back(digest);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: Identity<'_> = Identity {
        device: Uuid::from_u128(1),
        app: None,
        start: Some("7"),
        source: "net",
        iid: "",
        msgid: 1,
        stamp: (1_800_000_000, 5),
        content: "up",
    };

    #[test]
    fn a_line_is_known_by_source_start_and_number() {
        let mut repeats = Repeats::default();
        assert!(!repeats.came_before(&LINE));
        assert!(repeats.came_before(&LINE));
        assert!(repeats.came_before(&Identity { stamp: (1_800_000_009, 0), ..LINE }), "sent by another life");
        for other in [
            Identity { device: Uuid::from_u128(2), ..LINE },
            Identity { app: Some(Uuid::from_u128(3)), ..LINE },
            Identity { start: Some("8"), ..LINE },
            Identity { source: "ne", iid: "t", ..LINE },
            Identity { iid: "4", ..LINE },
            Identity { msgid: 2, ..LINE },
            Identity { content: "down", ..LINE },
        ] {
            assert!(!repeats.came_before(&other));
            assert!(repeats.came_before(&other));
        }
    }

    #[test]
    fn without_a_start_the_time_counts_and_without_a_number_nothing() {
        let mut repeats = Repeats::default();
        let line = Identity { start: None, ..LINE };
        assert_eq!([&line, &line].map(|line| repeats.came_before(line)), [false, true]);
        let later = Identity { stamp: (1_800_000_000, 6), ..line };
        assert_eq!([&later, &later].map(|line| repeats.came_before(line)), [false, true]);
        let unnumbered = Identity { msgid: 0, ..LINE };
        assert_eq!([&unnumbered, &unnumbered].map(|line| repeats.came_before(line)), [false, false]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut repeats = Repeats::default();
        for msgid in 1..=REMEMBERED as u64 + 1 {
            assert!(!repeats.came_before(&Identity { msgid, ..LINE }));
        }
        assert_eq!((repeats.known.len(), repeats.order.len()), (REMEMBERED, REMEMBERED));
        assert!(repeats.came_before(&Identity { msgid: 2, ..LINE }));
        assert!(!repeats.came_before(&LINE), "the oldest is forgotten");
    }
}
