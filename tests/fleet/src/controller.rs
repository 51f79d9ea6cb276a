//! What the controller has got through the small control: it outlasts every control. What it is given is checked
//! against dom0's promises: each stream is whole and in its order, and what is given again is the same.

use std::collections::BTreeMap;

use proto_svc::device::{FromControl, ToControl};
use proto_xen::DomId;

/// Records, or pieces, after which they are said to be taken.
const TAKE_EVERY: u32 = 3;

/// What the controller has.
#[derive(Debug, Default)]
pub struct Controller {
    /// The log, from record 1 on: who wrote it, and the line.
    pub log: Vec<(String, String)>,
    /// How many lines came of each domain, by its number.
    lines: BTreeMap<String, u64>,
    /// The application's console; 0 for bytes that were lost, which it never writes.
    pub console: Vec<u8>,
    /// Of each byte whether some control was not given it though none had taken it; and how many there are.
    missed: Vec<bool>,
    missing: u64,
    /// How many bytes are lost, as dom0 told it last.
    lost: u64,
}

impl Controller {
    /// How many lines it has that say this.
    #[must_use]
    pub fn count(&self, text: &str) -> usize {
        self.log.iter().filter(|(_, line)| line.contains(text)).count()
    }

    /// How many lines of a domain it has.
    #[must_use]
    pub fn lines_of(&self, domain: DomId) -> u64 {
        self.lines.get(&domain.to_string()).copied().unwrap_or_default()
    }
}

/// What one control was given in its life.
#[derive(Debug, Default)]
pub struct Hearing {
    /// The record that must come next, once there was one.
    record: Option<u64>,
    /// The byte of the console that comes next, unless some are lost.
    byte: u64,
    /// Records and pieces.
    heard: u32,
}

impl Hearing {
    /// Hears that the console goes on where an earlier control has said that it was taken.
    ///
    /// # Panics
    /// If the note is none of this control's.
    pub fn goes_on(&mut self, note: &[u8]) {
        self.byte = u64::from_le_bytes(note.try_into().expect("a number of eight bytes"));
    }

    /// Hears a message, and says what dom0 need not keep any more, now and then.
    ///
    /// # Panics
    /// If it is not what dom0 has promised.
    pub fn hear(&mut self, controller: &mut Controller, message: &ToControl) -> Option<FromControl> {
        let taken = match message {
            ToControl::Log { sequence, domain, record } => {
                self.log(controller, *sequence, domain, &record.text);
                FromControl::Taken { app: None, before: sequence + 1, note: heapless::Vec::new() }
            }
            ToControl::ConsoleOutput { app, offset, bytes } => {
                self.console(controller, *offset, bytes);
                let before = offset + bytes.len() as u64;
                let note = heapless::Vec::from_slice(&before.to_le_bytes()).expect("it fits");
                FromControl::Taken { app: Some(*app), before, note }
            }
            ToControl::Lost { lines, console_bytes } => {
                assert_eq!(*lines, 0, "a console that floods has log lines lost");
                assert!(*console_bytes >= controller.lost, "{console_bytes} after {}", controller.lost);
                controller.lost = *console_bytes;
                return None;
            }
            _ => return None,
        };
        self.heard += 1;
        self.heard.is_multiple_of(TAKE_EVERY).then_some(taken)
    }

    fn log(&mut self, controller: &mut Controller, sequence: u64, domain: &str, text: &str) {
        let next = controller.log.len() as u64 + 1;
        match self.record {
            Some(record) => assert_eq!(sequence, record, "records come one after the other"),
            None => {
                assert!((1..=next).contains(&sequence), "it begins with {sequence}, and {next} is missing")
            }
        }
        self.record = Some(sequence + 1);
        if sequence < next {
            let known = &controller.log[sequence as usize - 1];
            assert_eq!((known.0.as_str(), known.1.as_str()), (domain, text), "record {sequence}");
            return;
        }
        // Each domain counts its lines, so that none is missing that dom0 was told.
        let mut words = text.split(' ');
        let (Some(writer), Some(number)) = (words.next(), words.next()) else {
            panic!("lines are `WRITER NUMBER TEXT`: {text}")
        };
        let lines = controller.lines.entry(writer.to_owned()).or_default();
        assert_eq!(number.parse(), Ok(*lines), "{domain}: {text}");
        *lines += 1;
        controller.log.push((domain.to_owned(), text.to_owned()));
    }

    fn console(&mut self, controller: &mut Controller, offset: u64, bytes: &[u8]) {
        assert!(self.byte <= offset, "{offset} follows {}", self.byte);
        let gap = self.byte as usize..offset as usize;
        self.byte = offset + bytes.len() as u64;
        controller.missed.resize(controller.missed.len().max(gap.end), false);
        for missed in &mut controller.missed[gap] {
            controller.missing += u64::from(!core::mem::replace(missed, true));
        }
        // Each of them is counted, and once, whichever control is told.
        assert_eq!(controller.missing, controller.lost, "missing, and told to be lost, ahead of {offset}");
        if offset > controller.console.len() as u64 {
            controller.console.resize(offset as usize, 0);
        }
        let (at, end) = (offset as usize, controller.console.len());
        let known = &controller.console[at..end.min(at + bytes.len())];
        let (again, new) = bytes.split_at(known.len());
        let same = known.iter().zip(again).all(|(known, again)| *known == 0 || known == again);
        assert!(same, "bytes from {offset} on differ from what they were");
        controller.console.extend_from_slice(new);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use proto_svc::{
        device::AppId,
        supervision::{Level, LogRecord},
    };

    use super::*;

    fn log(sequence: u64, text: &str) -> ToControl {
        let record = LogRecord { level: Level::Info, at_ns: 0, text: text.try_into().unwrap() };
        ToControl::Log { sequence, domain: "net".try_into().unwrap(), record }
    }

    fn console(offset: u64, bytes: &[u8]) -> ToControl {
        let bytes = heapless::Vec::from_slice(bytes).unwrap();
        ToControl::ConsoleOutput { app: AppId([1; 16]), offset, bytes }
    }

    fn is_fine(lives: &[&[ToControl]]) -> bool {
        catch_unwind(AssertUnwindSafe(|| {
            let mut controller = Controller::default();
            for messages in lives {
                let mut hearing = Hearing::default();
                messages.iter().for_each(|message| drop(hearing.hear(&mut controller, message)));
            }
        }))
        .is_ok()
    }

    #[test]
    fn what_is_missing_doubled_or_changed_is_seen() {
        assert!(is_fine(&[&[log(1, "d1 0 a"), log(2, "d2 0"), log(3, "d1 1 b")], &[log(2, "d2 0")]]));
        assert!(!is_fine(&[&[log(1, "d1 0 a"), log(3, "d1 1 b")]]), "a record is missing");
        assert!(!is_fine(&[&[log(1, "d1 0 a"), log(1, "d1 0 a")]]), "a record is there twice");
        assert!(!is_fine(&[&[log(1, "d1 0 a")], &[log(3, "d1 1 b")]]), "one is missing after a restart");
        assert!(!is_fine(&[&[log(1, "d1 0 a")], &[log(1, "d1 7")]]), "it is another one");
        assert!(!is_fine(&[&[log(1, "d1 0 a"), log(2, "d1 2")]]), "dom0 lost one");
        let lost = |console_bytes| ToControl::Lost { lines: 0, console_bytes };
        assert!(is_fine(&[&[console(0, b"abc"), console(3, b"d")], &[console(0, b"abcde")]]));
        let flood = &[console(0, b"abc"), lost(2), console(5, b"f")];
        assert!(is_fine(&[flood, &[lost(2), console(0, b"abc"), console(5, b"f")]]));
        // What made room after it was given is lost to the next, and what was lost before is not lost once more.
        assert!(is_fine(&[flood, &[lost(5), console(5, b"f")], &[lost(6), console(6, b"g")]]));
        assert!(!is_fine(&[flood, &[lost(7), console(5, b"f")]]), "two are counted twice");
        assert!(!is_fine(&[flood, &[lost(2), console(5, b"f")]]), "three are not counted");
        assert!(!is_fine(&[flood, &[lost(1), console(0, b"abc")]]), "it falls");
        assert!(!is_fine(&[&[console(0, b"abc"), console(4, b"e")]]), "a byte is missing");
        assert!(!is_fine(&[&[console(0, b"abc")], &[console(0, b"abx")]]), "a byte is another one");
        assert!(!is_fine(&[&[ToControl::Lost { lines: 1, console_bytes: 0 }]]));
    }
}
