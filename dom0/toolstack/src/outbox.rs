//! What waits to be told to control: a queue that control can fill, but not overfill.
//!
//! Answers are never dropped; there is one for each request, and dom0 takes no request while the
//! queue is not [`Outbox::has_room`]. Log lines and console bytes are dropped when there are too
//! many, and counted; the counts follow at once when there is room again. Each domain and each
//! console has a share of its own, so that one that floods loses its own lines and not those of others.

use alloc::collections::VecDeque;

use heapless::Vec;
use proto_svc::device::{AppId, MAX_PIECE, ToControl};

/// Messages, of every kind, from which on no request is taken.
const MAX_MESSAGES: usize = 136;
/// Messages from which on a log line or console bytes are dropped. Each is about a KiB.
const MAX_LOSSY: usize = 120;
/// Most log lines of one domain: three that flood leave room for all consoles.
const MAX_OF_ONE_DOMAIN: usize = 32;
/// Most messages of one console.
const MAX_OF_ONE_CONSOLE: usize = 6;

/// The queue.
#[derive(Debug, Default)]
pub struct Outbox {
    queue: VecDeque<ToControl>,
    lines: u32,
    console_bytes: u32,
}

impl Outbox {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether another request may be taken.
    pub fn has_room(&self) -> bool {
        self.queue.len() < MAX_MESSAGES
    }

    /// Adds an answer.
    pub fn push(&mut self, message: ToControl) {
        self.queue.push_back(message);
    }

    /// Adds a log line, or counts it.
    pub fn push_log(&mut self, message: ToControl) {
        let of_the_same = |other: &&ToControl| match (&message, other) {
            (ToControl::Log { domain, .. }, ToControl::Log { domain: other, .. }) => domain == other,
            _ => false,
        };
        if self.accepts_lossy() && self.queue.iter().filter(of_the_same).count() < MAX_OF_ONE_DOMAIN {
            self.queue.push_back(message);
        } else {
            self.lose_lines(1);
        }
    }

    /// Counts lines that were lost before they came here.
    pub fn lose_lines(&mut self, count: u32) {
        self.lines = self.lines.saturating_add(count);
    }

    /// Adds console bytes, joined with what the same console wrote last, or counts them.
    pub fn push_console(&mut self, app: AppId, bytes: &[u8]) {
        let mut rest = bytes;
        if let Some(ToControl::ConsoleOutput { app: last, bytes }) = self.queue.back_mut()
            && *last == app
        {
            let (now, later) = rest.split_at(rest.len().min(MAX_PIECE - bytes.len()));
            // Cut to the room that there is.
            let _ = bytes.extend_from_slice(now);
            rest = later;
        }
        let of_the_same = |other: &&ToControl| matches!(other, ToControl::ConsoleOutput { app: other, .. } if *other == app);
        let mut share = self.queue.iter().filter(of_the_same).count();
        for piece in rest.chunks(MAX_PIECE) {
            if self.accepts_lossy() && share < MAX_OF_ONE_CONSOLE {
                share += 1;
                let bytes = Vec::from_slice(piece).unwrap_or_default();
                self.queue.push_back(ToControl::ConsoleOutput { app, bytes });
            } else {
                self.console_bytes = self.console_bytes.saturating_add(piece.len() as u32);
            }
        }
    }

    /// Takes the oldest message.
    pub fn pop(&mut self) -> Option<ToControl> {
        let message = self.queue.pop_front();
        if self.accepts_lossy() && self.lines + self.console_bytes > 0 {
            let lost = ToControl::Lost { lines: self.lines, console_bytes: self.console_bytes };
            self.queue.push_back(lost);
            (self.lines, self.console_bytes) = (0, 0);
        }
        message.or_else(|| self.queue.pop_front())
    }

    /// Forgets everything but log lines and consoles, for a control that is there anew.
    pub fn forget_answers(&mut self) {
        let lossy = |message: &ToControl| {
            matches!(
                message,
                ToControl::Log { .. } | ToControl::ConsoleOutput { .. } | ToControl::Lost { .. }
            )
        };
        self.queue.retain(lossy);
    }

    fn accepts_lossy(&self) -> bool {
        self.queue.len() < MAX_LOSSY
    }
}

#[cfg(test)]
mod tests {
    use proto_svc::{
        device::{AppState, StopReason},
        supervision::{Level, LogRecord},
    };

    use super::*;

    const APP: AppId = AppId([1; 16]);

    fn log_of(domain: &str) -> ToControl {
        let record = LogRecord { level: Level::Info, at_ns: 1, text: "a line".try_into().unwrap() };
        ToControl::Log { domain: domain.try_into().unwrap(), record }
    }

    fn log() -> ToControl {
        log_of("net")
    }

    #[test]
    fn lines_are_dropped_and_counted_where_answers_still_fit() {
        let mut outbox = Outbox::new();
        let names = ["net", "control", "dom0", "vault"];
        names.iter().for_each(|name| (0..MAX_OF_ONE_DOMAIN).for_each(|_| outbox.push_log(log_of(name))));
        outbox.push_console(APP, &[0; 1000]);
        let answer = ToControl::State { app: APP, state: AppState::Stopped(StopReason::Crash) };
        outbox.push(answer.clone());
        assert!(outbox.has_room());
        for place in 0..MAX_LOSSY {
            assert_eq!(outbox.pop(), Some(log_of(names[place / MAX_OF_ONE_DOMAIN])));
        }
        assert_eq!(outbox.pop(), Some(answer));
        let lines = (names.len() * MAX_OF_ONE_DOMAIN - MAX_LOSSY) as u32;
        assert_eq!(outbox.pop(), Some(ToControl::Lost { lines, console_bytes: 1000 }));
        assert_eq!(outbox.pop(), None);
    }

    #[test]
    fn who_floods_loses_his_own() {
        let mut outbox = Outbox::new();
        let other = AppId([2; 16]);
        (0..1000).for_each(|_| outbox.push_log(log()));
        (0..1000).for_each(|_| outbox.push_console(APP, &[b'x'; 512]));
        // As much of each of the others as there would be without the flood.
        (0..MAX_OF_ONE_DOMAIN).for_each(|_| outbox.push_log(log_of("control")));
        outbox.push_console(other, &[b'y'; MAX_PIECE * MAX_OF_ONE_CONSOLE]);
        let (mut lines, mut bytes, mut lost) = (0, 0, None);
        while let Some(message) = outbox.pop() {
            match message {
                ToControl::Log { domain, .. } if domain == "control" => lines += 1,
                ToControl::ConsoleOutput { app, bytes: some } if app == other => bytes += some.len(),
                ToControl::Lost { lines, console_bytes } => lost = Some((lines, console_bytes)),
                _ => {}
            }
        }
        assert_eq!((lines, bytes), (MAX_OF_ONE_DOMAIN, MAX_PIECE * MAX_OF_ONE_CONSOLE));
        let kept = (MAX_PIECE * MAX_OF_ONE_CONSOLE) as u32;
        assert_eq!(lost, Some((1000 - MAX_OF_ONE_DOMAIN as u32, 512_000 - kept)));
    }

    #[test]
    fn console_bytes_are_joined() {
        let mut outbox = Outbox::new();
        outbox.push_console(APP, b"one ");
        outbox.push_console(APP, b"line\n");
        let Some(ToControl::ConsoleOutput { bytes, .. }) = outbox.pop() else { panic!() };
        assert_eq!(bytes, b"one line\n");
        outbox.push_console(APP, &[7; 2000]);
        outbox.push_console(AppId([2; 16]), b"x");
        let mut lengths = [0; 4];
        for length in &mut lengths {
            let Some(ToControl::ConsoleOutput { bytes, .. }) = outbox.pop() else { panic!() };
            *length = bytes.len();
        }
        assert_eq!(lengths, [900, 900, 200, 1]);
    }

    #[test]
    fn requests_wait_when_answers_are_not_taken() {
        let mut outbox = Outbox::new();
        while outbox.has_room() {
            outbox.push(ToControl::Hello { version: 1 });
        }
        outbox.push_log(log());
        outbox.forget_answers();
        assert!(outbox.has_room());
        assert_eq!(outbox.pop(), Some(ToControl::Lost { lines: 1, console_bytes: 0 }));
    }
}
