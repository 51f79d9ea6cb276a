//! What dom0 reads of a domain that ended, of what control says of what it was given, of the serial line, and of what the
//! firmware has measured.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use board_support_rt::epitaph;
use dom0_toolstack::eventlog;
use dom0_toolstack::journal::{CAPACITY, MAX_STREAMS};
use dom0_toolstack::outbox::Outbox;
use dom0_toolstack::typed::{MAX_LINE, Typed, Typing};
use proto_svc::device::{AppId, ToControl};
use proto_svc::supervision::{Level, LogRecord};
use proto_tpm::eventlog::{Event, Log, emit_header, kind};

use super::input::Input;

/// The page that a domain leaves when it ends.
pub(super) fn last_words(bytes: &[u8]) {
    let page = [const { AtomicU32::new(0) }; epitaph::WORDS];
    for (word, bytes) in page.iter().zip(bytes.chunks(4)) {
        let mut four = [0; 4];
        four[..bytes.len()].copy_from_slice(bytes);
        word.store(u32::from_le_bytes(four), Relaxed);
    }
    let Some(text) = epitaph::read(&page) else { return };
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "it would disturb a log");
    assert!(text.chars().count() <= epitaph::MAX_TEXT);
    // What was read is written so that it reads the same, as far as it fits.
    let again = [const { AtomicU32::new(0) }; epitaph::WORDS];
    let mut writer = epitaph::Writer::new(&again);
    writer.write_str(&text).expect("it never fails");
    writer.publish();
    let again = epitaph::read(&again).expect("it was published");
    if text.len() <= epitaph::MAX_TEXT {
        assert_eq!(again, text);
    } else {
        assert!(again.trim_end_matches('\u{fffd}').len() <= epitaph::MAX_TEXT);
    }
}

pub(super) fn epitaphs() -> Vec<Vec<u8>> {
    let page = |length: u32, text: &[u8]| [b"SaEp".as_slice(), &length.to_le_bytes(), text].concat();
    let words = b"PANIC at main.rs:7: \xc3\xa4\n  0x100123\n";
    vec![
        page(words.len() as u32, words),
        page(u32::MAX, b"\x1b[31mred\xff\xfe"),
        page(3, b"cut off"),
        words.to_vec(),
    ]
}

/// The log, among the streams: it comes after the consoles of three applications, and later applications after it.
const LOG: usize = 3;

/// What the lives of control were given, by stream.
struct Given {
    /// The end of what this life was given, gaps in front of it included.
    upto: Vec<u64>,
    /// Records and bytes that some life was not given though nobody had taken them, apart from each other.
    missing: Vec<Vec<(u64, u64)>>,
    /// Records and bytes that were told as lost.
    lost: u64,
    answers: i32,
}

impl Given {
    fn new(upto: &[u64]) -> Self {
        Self { upto: upto.to_vec(), missing: vec![Vec::new(); upto.len()], lost: 0, answers: 0 }
    }

    /// Another life, which is given what was not taken.
    fn again(self, taken: &[u64]) -> Self {
        Self { upto: taken.to_vec(), answers: 0, ..self }
    }

    /// There is another application.
    fn add(&mut self) {
        self.upto.push(0);
        self.missing.push(Vec::new());
    }

    /// This life is not given these any more.
    fn miss(&mut self, stream: usize, start: u64, end: u64) {
        let touches = |&(first, last): &(u64, u64)| first <= end && start <= last;
        let (with, mut apart): (Vec<_>, Vec<_>) = self.missing[stream].drain(..).partition(touches);
        if start < end {
            apart.push(with.into_iter().fold((start, end), |all, one| (all.0.min(one.0), all.1.max(one.1))));
        } else {
            apart.extend(with);
        }
        self.missing[stream] = apart;
    }

    /// How many they are.
    fn missing(&self) -> u64 {
        self.missing.iter().flatten().map(|(start, end)| end - start).sum()
    }

    fn take(&mut self, message: ToControl) {
        let (stream, start, end) = match message {
            ToControl::Log { sequence, record, .. } => {
                assert_eq!(record.at_ns, sequence, "another record");
                (LOG, sequence, sequence + 1)
            }
            ToControl::ConsoleOutput { app, offset, bytes } => {
                assert!(!bytes.is_empty() && bytes.iter().all(|byte| *byte == app.0[0]), "another console");
                (usize::from(app.0[0]), offset, offset + bytes.len() as u64)
            }
            ToControl::Lost { lines, console_bytes } => {
                assert!(lines + console_bytes >= self.lost, "it never falls");
                self.lost = lines + console_bytes;
                return;
            }
            // Told to each life first.
            ToControl::Vital { missing: None } => return,
            _ => {
                self.answers -= 1;
                return;
            }
        };
        assert!(self.upto[stream] <= start, "in order, and nothing twice");
        self.miss(stream, self.upto[stream], start);
        self.upto[stream] = end;
    }
}

/// What waits for a control that takes things when it likes, says of them what it likes, and is there anew now
/// and then, while applications come and go: each life is given every byte and every record in order; and all that is left
/// out is told, and counted once in all lives, unless control lied about it.
pub(super) fn outbox(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut outbox = Outbox::new();
    let mut end = vec![0, 0, 0, 1_u64];
    let mut taken = end.clone();
    let mut given = Given::new(&taken);
    // The applications that there are, by their streams.
    let mut apps = [0, 1, 2_u8];
    let mut lied = false;
    while !input.is_empty() {
        match input.byte() % 7 {
            0 => {
                let text = "x".repeat(usize::from(input.byte()));
                let text = text.as_str().try_into().expect("short enough");
                let record = LogRecord { level: Level::Info, at_ns: end[LOG], text };
                outbox.push_log("net", &record);
                end[LOG] += 1;
            }
            1 => {
                let app = apps[usize::from(input.byte() % 3)];
                let count = usize::from(input.half());
                outbox.push_console(AppId([app; 16]), &vec![app; count]);
                end[usize::from(app)] += count as u64;
            }
            2 => {
                // Of those that are gone, too.
                let stream = usize::from(input.byte()) % end.len();
                let less = input.byte();
                lied |= less == 0xff;
                let upto = given.upto[stream];
                let before = if less == 0xff { u64::MAX } else { upto.saturating_sub(less.into()) };
                let app = (stream != LOG).then_some(AppId([stream as u8; 16]));
                outbox.taken(app, before, heapless::Vec::new());
                taken[stream] = taken[stream].max(before.min(upto));
            }
            3 => {
                outbox.greet([]);
                given = given.again(&taken);
            }
            4 => {
                outbox.push(ToControl::Hello { version: 1 });
                given.answers += 1;
            }
            5 => {
                (0..input.byte()).map_while(|_| outbox.pop()).for_each(|message| given.take(message));
                assert!(lied || given.missing() <= given.lost, "a gap that was not told");
            }
            _ => {
                // Another takes the place of one that is gone for good. Of those that are gone no more than `MAX_STREAMS`
                // have to be remembered.
                let place = usize::from(input.byte() % 3);
                if end.len() < MAX_STREAMS + 4 {
                    apps[place] = end.len() as u8;
                    end.push(0);
                    taken.push(0);
                    given.add();
                }
                outbox.forget(|app| apps.contains(&app.0[0]));
            }
        }
    }
    while let Some(message) = outbox.pop() {
        given.take(message);
    }
    assert_eq!(given.answers, 0, "each answer is given");
    for (stream, end) in end.into_iter().enumerate() {
        given.miss(stream, given.upto[stream], end);
    }
    assert!(lied || given.missing() <= given.lost, "all that is left out is told");
    // In more than that so many pieces of a stream may have made room that some are told apart no more.
    let few = bytes.len() < 4096;
    assert!(lied || !few || given.missing() == given.lost, "and nothing else, nor anything twice");
}

/// Records, console bytes, more of them than are kept, a control that has several lives, and applications that come and go,
/// more than are told apart.
pub(super) fn lives() -> Vec<Vec<u8>> {
    let quiet = [0, 20, 1, 0, 30, 0, 4, 5, 9, 2, 0, 3, 3, 5, 9, 2, 3, 0, 1, 2, 0, 1, 5, 9];
    let flood = [1, 1, 0xff, 0xff].repeat(CAPACITY / 0xffff + 3);
    let greedy = [0, 1, 2, 3, 0xff, 2, 0, 0xff, 1, 0, 9, 0, 5, 3, 2, 0, 0xff, 3, 5, 9];
    let gone = [1, 0, 0, 30, 5, 9, 2, 0, 0, 6, 0, 1, 0, 0, 20, 5, 9, 2, 4, 1, 6, 0, 2, 4, 0, 3, 5, 9];
    // The first of them is forgotten though it is kept, and then half of it is taken.
    let many = [1, 0, 0, 8, 5, 2, 6, 0].repeat(MAX_STREAMS + 1);
    let many = [many.as_slice(), &[2, 0, 4, 3, 5, 0xff]].concat();
    vec![
        quiet.to_vec(),
        [&flood, quiet.as_slice(), &[5, 0xff]].concat(),
        greedy.to_vec(),
        greedy.repeat(9),
        gone.to_vec(),
        many,
    ]
}

/// What is typed on the serial line.
pub(super) fn typed(bytes: &[u8]) {
    let mut typing = Typing::default();
    for &byte in bytes {
        if let Some(Typed::To { name, text }) = typing.push(byte) {
            assert!(!name.is_empty() && !name.contains(' '));
            assert!(text.len() <= MAX_LINE + 1 && text.ends_with(b"\n"));
            assert!(text.iter().filter(|byte| byte.is_ascii_control()).count() == 1, "its end");
        }
    }
}

pub(super) fn typings() -> Vec<Vec<u8>> {
    vec![
        b"hello good morning\r\n\r\nweb  GET /\rx\n".to_vec(),
        vec![b'x'; 600],
        b"\x1b[A\x7fhello\x00 \xff\n".to_vec(),
    ]
}

/// How many of the final events are in the log already, the log as far as the next two bytes say, and the table of final
/// events: whatever they are, control is given a log that is well-formed to its end.
pub(super) fn final_events(bytes: &[u8]) {
    let Some((&[seen, low, high], bytes)) = bytes.split_first_chunk() else { return };
    let (firmware, after) = bytes.split_at(bytes.len().min(u16::from_le_bytes([low, high]).into()));
    let (log, _) = eventlog::begin(Some(firmware), after, seen.into());
    let (none, _) = eventlog::begin(None, after, seen.into());
    assert!(log.len() <= (firmware.len() + after.len()).max(none.len()), "nothing is made up");
    assert!(log.starts_with(firmware) || log == none, "the firmware's part is taken whole or not at all");
    for log in [&log, &none] {
        let events = Log::parse(log).expect("a header").events();
        assert!(events.into_iter().all(|event| event.is_ok()), "each event is one");
    }
}

pub(super) fn final_event_tables() -> Vec<Vec<u8>> {
    let event = |data: &[u8]| {
        let event = Event { pcr: 5, kind: kind::EFI_ACTION, sha256: Some([7; 32]), data };
        let mut bytes = vec![0; 256];
        let length = event.emit(&mut bytes).expect("there is room");
        bytes.truncate(length);
        bytes
    };
    let mut header = vec![0; 128];
    let length = emit_header(&mut header).expect("there is room");
    header.truncate(length);
    let firmware = [header, event(b"one"), event(b"two")].concat();
    let late = [event(b"slot A"), event(b"Exit Boot Services Invocation")].concat();
    let seed = |seen: u8, firmware: &[u8], version: u64, count: u64, late: &[u8]| {
        let length = u16::try_from(firmware.len()).expect("short").to_le_bytes();
        let table = [&version.to_le_bytes(), &count.to_le_bytes(), late, &[0xff; 40]].concat();
        [&[seen][..], &length, firmware, &table].concat()
    };
    vec![
        seed(0, &firmware, 1, 2, &late),
        seed(1, &firmware, 1, 2, &late),
        seed(0, &firmware, 1, u64::MAX, &late),
        seed(0, &firmware, 2, 1, &late),
        seed(0, &firmware[..firmware.len() - 1], 1, 2, &late),
        seed(0, b"no log", 1, 0, b""),
    ]
}
