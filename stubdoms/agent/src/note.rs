//! What the agent leaves with dom0 for a later life of its own.
//!
//! Control may end at any time, and the applications run on. What an agent that is there anew cannot find
//! out otherwise is in notes, one for the device and one for each application: counters of commands that
//! were obeyed, so that each is obeyed once, how the test of a version goes, whether what is armed was armed in this start,
//! and how old the configuration is that was applied last. A note is a line of words, the first
//! of which is its version; one that cannot be read counts as none.

use alloc::{format, string::String, vec::Vec};
use core::{
    fmt::Display,
    str::{FromStr, SplitAsciiWhitespace},
    time::Duration,
};

use proto_eve::{Timestamp, time};
use proto_update::machine::Course;

use crate::reconcile::domains::VolumeRef;

/// The most bytes that dom0 keeps of one.
const MAX_NOTE: usize = 256;
/// The same of the one about the device.
const MAX_DEVICE_NOTE: usize = 800;

const VERSION: &str = "1";

/// Of an application, as of its last start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AppNote {
    /// Counter of the last restart command.
    pub(crate) restart: u32,
    /// Counter of the last purge command.
    pub(crate) purge: u32,
    /// The volume that it was started with.
    pub(crate) volume: Option<VolumeRef>,
}

/// Commands to the device that were obeyed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Commands {
    /// Counter of the last reboot command, if there was one.
    pub(crate) reboot: Option<u32>,
    /// Counter of the last shutdown command, if there was one.
    pub(crate) shutdown: Option<u32>,
}

/// Of the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeviceNote {
    /// The test of the version that runs, if it is under test.
    pub(crate) course: Option<Course>,
    /// The slots were seen in this start: what is armed since was armed in it.
    pub(crate) seen: bool,
    /// The timestamp of the configuration that was applied last, if it has one.
    pub(crate) applied: Option<Timestamp>,
    /// None before there was a configuration to look for them in.
    pub(crate) commands: Option<Commands>,
    /// What metrics count since boot. Those that are not there begin at 0.
    pub(crate) counters: Vec<u64>,
}

impl Commands {
    /// As storage keeps them.
    pub(crate) fn encode(&self) -> Vec<u8> {
        format!("{VERSION} {}", self.words()).into_bytes()
    }

    pub(crate) fn decode(kept: &[u8]) -> Option<Self> {
        Self::read(&mut words(kept)?)
    }

    fn words(self) -> String {
        format!("{} {}", word(self.reboot), word(self.shutdown))
    }

    fn read<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<Self> {
        Some(Self { reboot: maybe(words.next()?)?, shutdown: maybe(words.next()?)? })
    }
}

impl AppNote {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let Self { restart, purge, volume } = self;
        let counters = format!("{VERSION} {restart} {purge}");
        let whole = match volume {
            Some(VolumeRef { id, generation }) => format!("{counters} {generation} {id}"),
            None => counters.clone(),
        };
        // An id with a blank in it, or one that is too long, is left out: it is none of a controller's.
        let sound = Self::decode(whole.as_bytes()).as_ref() == Some(self) && whole.len() <= MAX_NOTE;
        if sound { whole.into_bytes() } else { counters.into_bytes() }
    }

    pub(crate) fn decode(note: &[u8]) -> Option<Self> {
        let mut words = words(note)?;
        let (restart, purge) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let volume = match (words.next(), words.next()) {
            (Some(generation), Some(id)) => {
                Some(VolumeRef { id: String::from(id), generation: generation.parse().ok()? })
            }
            _ => None,
        };
        words.next().is_none().then_some(Self { restart, purge, volume })
    }
}

impl DeviceNote {
    /// Counters that do not fit are left out, the last ones first.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let commands = self.commands.map_or_else(|| UNKNOWN.into(), Commands::words);
        let applied = word(self.applied.map(|at| format!("{}.{}", at.seconds, at.nanos)));
        let seen = if self.seen { SEEN } else { "-" };
        let mut note = format!("{VERSION} {} {seen} {applied} {commands}", course_word(self.course));
        for counter in &self.counters {
            let word = format!(" {counter}");
            if note.len() + word.len() > MAX_DEVICE_NOTE {
                break;
            }
            note.push_str(&word);
        }
        note.into_bytes()
    }

    pub(crate) fn decode(note: &[u8]) -> Option<Self> {
        let mut words = words(note)?;
        let course = read_course(words.next()?)?;
        let seen = match words.next()? {
            SEEN => true,
            "-" => false,
            _ => return None,
        };
        let applied = match words.next()? {
            "-" => None,
            applied => {
                let (seconds, nanos) = applied.split_once('.')?;
                Some(time::timestamp(seconds.parse().ok()?, nanos.parse().ok()?))
            }
        };
        let commands = match words.clone().next()? {
            UNKNOWN => {
                words.next();
                None
            }
            _ => Some(Commands::read(&mut words)?),
        };
        let counters = words.map(str::parse).collect::<Result<_, _>>().ok()?;
        Some(Self { course, seen, applied, commands, counters })
    }
}

/// That the slots were seen.
const SEEN: &str = "seen";
/// In place of commands that are not known.
const UNKNOWN: &str = "?";

fn word<T: Display>(number: Option<T>) -> String {
    number.map_or_else(|| "-".into(), |number| format!("{number}"))
}

fn maybe<T: FromStr>(word: &str) -> Option<Option<T>> {
    if word == "-" { Some(None) } else { word.parse().ok().map(Some) }
}

/// Lives, and times in nanoseconds.
fn course_word(course: Option<Course>) -> String {
    let Some(Course { lives, unreached, ill, first, window, locked }) = course else { return "-".into() };
    let mut whole = format!("{lives}");
    for time in [unreached, ill, first, window, locked] {
        whole.push(',');
        whole.push_str(&word(time.map(|time| time.as_nanos())));
    }
    whole
}

fn read_course(word: &str) -> Option<Option<Course>> {
    if word == "-" {
        return Some(None);
    }
    let mut parts = word.split(',');
    let lives = parts.next()?.parse().ok()?;
    let mut time = || maybe(parts.next()?).map(|time| time.map(Duration::from_nanos));
    let (unreached, ill, first, window, locked) = (time()?, time()?, time()?, time()?, time()?);
    parts.next().is_none().then_some(Some(Course { lives, unreached, ill, first, window, locked }))
}

/// The numbers of the last lines of a log's sources. Those that do not fit are left out; they begin anew.
pub(crate) fn numbers<'a>(numbers: impl Iterator<Item = (&'a str, u64)>) -> Vec<u8> {
    let mut note = String::from(VERSION);
    for (source, number) in numbers {
        let word = format!(" {source}={number}");
        let plain = !source.contains(|letter: char| letter.is_whitespace() || letter == '=');
        if plain && note.len() + word.len() <= MAX_NOTE {
            note.push_str(&word);
        }
    }
    note.into_bytes()
}

/// Reads what [`numbers`] wrote.
pub(crate) fn read_numbers(note: &[u8]) -> Option<Vec<(String, u64)>> {
    let number = |word: &str| {
        let (source, number) = word.split_once('=')?;
        Some((String::from(source), number.parse().ok()?))
    };
    words(note)?.map(number).collect()
}

fn words(note: &[u8]) -> Option<SplitAsciiWhitespace<'_>> {
    let mut words = core::str::from_utf8(note).ok()?.split_ascii_whitespace();
    (words.next()? == VERSION).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_read_as_they_were_written() {
        let volume = |id: &str| Some(VolumeRef { id: id.into(), generation: -3 });
        for volume in [None, volume("c0c0c0c0-0000-4000-8000-000000000001")] {
            let note = AppNote { restart: u32::MAX, purge: 7, volume };
            assert_eq!(AppNote::decode(&note.encode()), Some(note));
        }
        let time = |nanos| Some(Duration::from_nanos(nanos));
        let course = Course {
            lives: u32::MAX,
            unreached: time(1),
            ill: None,
            first: time(u64::MAX),
            window: None,
            locked: time(7),
        };
        for commands in [Commands::default(), Commands { reboot: Some(0), shutdown: Some(u32::MAX) }] {
            assert_eq!(Commands::decode(&commands.encode()), Some(commands));
            for (counters, commands, course) in [
                (Vec::new(), None, None),
                (Vec::from([0, u64::MAX, 7]), Some(commands), Some(course)),
                (Vec::from([5]), None, Some(course)),
                (Vec::from([5]), Some(commands), None),
            ] {
                for applied in [None, Some(time::timestamp(1 << 40, 999_999_999))] {
                    let seen = applied.is_some();
                    let note = DeviceNote { course, seen, applied, commands, counters: counters.clone() };
                    assert_eq!(DeviceNote::decode(&note.encode()), Some(note));
                }
            }
        }
        // As versions before this one have kept them.
        assert_eq!(Commands { reboot: Some(7), shutdown: None }.encode(), b"1 7 -");
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        for id in ["", "with blank", &"x".repeat(300)] {
            let note =
                AppNote { restart: 1, purge: 2, volume: Some(VolumeRef { id: id.into(), generation: 1 }) };
            let encoded = note.encode();
            assert!(encoded.len() <= MAX_NOTE);
            assert_eq!(AppNote::decode(&encoded), Some(AppNote { volume: None, ..note }), "{id}");
        }
    }

    #[test]
    fn counters_that_do_not_fit_are_left_out() {
        let (course, commands) = (None, Some(Commands::default()));
        let counters = [u64::MAX; 100].to_vec();
        let note = DeviceNote { course, seen: true, applied: None, commands, counters };
        let encoded = note.encode();
        assert!(encoded.len() <= MAX_DEVICE_NOTE);
        let read = DeviceNote::decode(&encoded).unwrap();
        assert!(read.commands == note.commands && (30..100).contains(&read.counters.len()));
        assert!(read.counters.iter().all(|&counter| counter == u64::MAX));
    }

    #[test]
    fn numbers_are_read_as_they_were_written() {
        let all = [("", 5), ("net", u64::MAX)];
        let note = numbers(all.into_iter());
        assert_eq!(read_numbers(&note).unwrap(), all.map(|(source, number)| (source.into(), number)));
        let odd = ["with blank", "a=b", &"x".repeat(300)];
        assert_eq!(numbers(odd.iter().map(|source| (*source, 1))), b"1");
        let many: Vec<String> = (0..100).map(|number| format!("source-{number}")).collect();
        let note = numbers(many.iter().map(|source| (source.as_str(), u64::MAX)));
        assert!(note.len() <= MAX_NOTE && read_numbers(&note).is_some_and(|read| read.len() > 5));
        for note in ["", "2 net=1", "1 net", "1 net=x", "1 net=-1", "1 net=18446744073709551616"] {
            assert_eq!(read_numbers(note.as_bytes()), None, "{note}");
        }
    }

    #[test]
    fn other_notes_count_as_none() {
        for note in ["", "2 1 1", "1", "1 x 1", "1 1", "1 1 1 x id", "1 1 1 1 id more"] {
            assert_eq!(AppNote::decode(note.as_bytes()), None, "{note}");
        }
        let notes: [&[u8]; 9] = [
            b"1 - seen",
            b"1 - seen -",
            b"1 - x - - - 5",
            b"1 - - - - - 5 x",
            b"1 1,-,-,-,- - - - -",
            b"1 1,-,-,-,-,-,- - - - -",
            b"1 -,-,-,-,-,- - - - -",
            b"1 1,-,-,-,-,x - - - -",
            b"\xff",
        ];
        for note in notes {
            assert_eq!(DeviceNote::decode(note), None, "{note:?}");
        }
    }
}
