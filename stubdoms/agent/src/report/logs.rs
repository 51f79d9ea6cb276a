//! Log files: collected in memory, compressed, uploaded oldest first.
//!
//! Lines collect in one buffer for the device and one for each application. A buffer becomes a file
//! when it is full or old. A buffer holds less than the size that a file is aimed at, so no file is
//! too large whatever its lines hold. The spool is bounded; the oldest files make room for new ones,
//! and are counted.
//!
//! Who gives a line says with a *mark* how far its stream has come; the marks of a stream rise. A mark is
//! *taken* when the controller has the line and all before it, or never will have them: then whoever keeps
//! lines for us need not do so any more.
//!
//! A file that waits for the controller longer than [`KEPT_AFTER`] goes to storage, as all do ahead of a reset: then it
//! is there in the next start of the machine, and its mark is taken. When the controller has it, it is dropped there. So
//! a line is with whoever keeps it for us, with storage or with the controller at any time; between the controller's
//! answer and the drop it is with both, so that a power cut there has one file uploaded twice, the same bytes. A later
//! life of the agent in the same start knows by the marks what it is given although storage has it: it waits a while for
//! storage to tell. If that takes longer, as with a vault that is shut, lines go to the controller meanwhile, and the
//! file with the same lines is dropped when it comes. Starts are told apart by a number that dom0 draws.
//!
//! Each line has a number within its source, by which the controller sees whether lines are missing. With a mark
//! that is taken go the numbers up to there, for a later life of the agent, which is given the lines behind the
//! mark once more: each has the number that it had before. Numbers begin anew with each start, which each line names.

use alloc::{
    collections::{BTreeMap, VecDeque},
    format,
    string::String,
    vec::Vec,
};
use core::time::Duration;

use proto_errors::agent;
use proto_eve::{
    endpoint::{Endpoint, StatusClass},
    newlogs::{self, Compressed, Entry, Owner},
    uuid::Uuid,
};

use crate::{
    clock::{Instant, Now, Random, WallTime, earliest},
    http::Outcome,
    keep::MAX_LOGS,
    note,
};
use piece::Piece;

#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
mod piece;

/// Bytes of lines in a buffer. With the gzip frame below what a file is aimed at, even when nothing
/// compresses.
const BUFFER: usize = 48_000;
/// Streams, and sources within them, that get a counter of their own.
const MAX_STREAMS: usize = 80;
const MAX_SOURCES: usize = 128;
/// Age at which the first buffer of a stream becomes a file, so that a start is seen soon.
const FIRST_AGE: Duration = Duration::from_secs(10);
const AGE: Duration = Duration::from_secs(300);
const FAST_AGE: Duration = Duration::from_secs(10);
const FAST_INTERVAL: Duration = Duration::from_secs(3);
const LONG_FAILURE: Duration = Duration::from_secs(20 * 60);
const SLOWED: Duration = Duration::from_secs(3600);
const SLOWEST: Duration = Duration::from_secs(300);
const TRIES: u8 = 10;
/// How long a file waits before storage is to keep it: longer than it takes to upload a few.
const KEPT_AFTER: Duration = Duration::from_secs(120);

/// How grave a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Needs a person.
    Error,
    /// A look some day.
    Warning,
    /// A life event.
    Info,
    /// For developers.
    Debug,
    /// Everything.
    Trace,
}

impl Severity {
    fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }

    /// The least grave severity that a log level lets through. `None` stands for nothing at all.
    fn threshold(level: &str) -> Option<Self> {
        match level {
            "none" => None,
            "all" | "trace" => Some(Self::Trace),
            "debug" => Some(Self::Debug),
            "warning" | "warn" => Some(Self::Warning),
            "panic" | "fatal" | "error" | "emerg" | "alert" | "crit" | "critical" | "err" => {
                Some(Self::Error)
            }
            _ => Some(Self::Info),
        }
    }
}

/// One record of a service's log.
#[derive(Clone, Debug)]
pub struct LogRecord {
    /// How grave.
    pub severity: Severity,
    /// Domain or service, such as `net`.
    pub source: String,
    /// Text; one line each.
    pub content: String,
    /// When it was written, if known better than "now".
    pub at: Option<WallTime>,
}

/// Whose lines they are. The device comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stream {
    Device,
    App(Uuid),
}

#[derive(Debug, Default)]
struct Buffer {
    lines: Vec<u8>,
    since: Option<Instant>,
    files: u64,
    /// How far the stream has come.
    mark: u64,
    /// Until it is known what storage has: up to which byte lines are, by their marks.
    ends: Vec<(u64, usize)>,
}

#[derive(Debug)]
struct File {
    stream: Stream,
    /// Display name of the application.
    name: String,
    data: Compressed,
    made: u32,
    refusals: u8,
    id: u64,
    /// How far its stream had come with its last line.
    mark: u64,
    /// The numbers up to there.
    note: Vec<u8>,
    since: Instant,
    /// Its number in storage, once it was given there.
    number: Option<u32>,
    /// It is in storage, and nobody else need keep it for us.
    kept: bool,
}

/// What is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Upload {
    id: u64,
    sent: Instant,
}

/// What became of the lines that this agent was given, perhaps once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    /// All of them, from this mark on, are in a buffer.
    Collected { from: u64 },
    /// Some of them are in files, and perhaps with the controller.
    InFiles { from: u64 },
    /// The stream has ended before any line of it came.
    Ended,
}

/// The numbers of a source's lines.
#[derive(Clone, Copy, Debug, Default)]
struct Numbers {
    /// Of the last line.
    last: u64,
    /// Of the last line up to the stream's mark.
    marked: u64,
}

/// What need not be kept any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The application whose console it is; or the log.
    pub app: Option<Uuid>,
    /// Of the log the mark up to which lines are taken; of a console how many of all the bytes that it ever wrote.
    pub before: u64,
    /// To be kept with it: see [`Agent::goes_on`](crate::Agent::goes_on). At most 256 bytes.
    pub note: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Logs {
    buffers: BTreeMap<Stream, Buffer>,
    files: VecDeque<File>,
    bytes: usize,
    capacity: usize,
    next_id: u64,
    /// By stream and, in the device's, by source.
    msgids: BTreeMap<(Stream, String), Numbers>,
    /// Marks that were taken and not told yet.
    taken: BTreeMap<Stream, (u64, Vec<u8>)>,
    /// Tells this start of the machine from others.
    start: u32,
    /// Of the next file that storage is given.
    next_number: u32,
    /// Files that storage need not keep any more.
    unwanted: Vec<u32>,
    /// How far each stream is in storage, from an earlier life of the agent in this start.
    stored: BTreeMap<Stream, u64>,
    /// Until when nothing is uploaded, for an earlier life may have given it to storage.
    held_until: Option<Instant>,
    /// What became of lines since the start of this agent, by stream, until it is known what storage has.
    again: Option<BTreeMap<Stream, Again>>,
    /// When the next file may be uploaded.
    next: Instant,
    fast: bool,
    threshold: Option<Severity>,
    last_success: Option<Instant>,
    slow: Option<(Duration, Instant)>,
    pub(crate) uploaded_bytes: u64,
    pub(crate) lost_files: u32,
    pub(crate) refused: u32,
    /// Whose file was uploaded last.
    last: Option<Stream>,
    pub(crate) too_many: u32,
}

impl Logs {
    /// For a spool of so many bytes. `start` tells starts of the machine apart.
    pub(crate) fn new(now: Instant, capacity: usize, start: u32) -> Self {
        Self {
            buffers: BTreeMap::new(),
            files: VecDeque::new(),
            bytes: 0,
            capacity,
            next_id: 1,
            msgids: BTreeMap::new(),
            taken: BTreeMap::new(),
            start,
            next_number: 0,
            unwanted: Vec::new(),
            stored: BTreeMap::new(),
            held_until: None,
            again: None,
            next: now,
            fast: false,
            threshold: Some(Severity::Info),
            last_success: None,
            slow: None,
            uploaded_bytes: 0,
            lost_files: 0,
            refused: 0,
            last: None,
            too_many: 0,
        }
    }

    /// Takes the items `newlog.allow.fastupload` and `debug.default.remote.loglevel`.
    pub(crate) fn configure(&mut self, now: Instant, fast: bool, level: &str) {
        if fast && !self.fast {
            self.next = self.next.min(now.after(FAST_INTERVAL));
        }
        self.fast = fast;
        self.threshold = Severity::threshold(level);
    }

    pub(crate) fn device_line(&mut self, now: Now, record: &LogRecord, mark: u64) {
        self.given(Stream::Device, mark);
        if self.threshold.is_some_and(|threshold| record.severity <= threshold) {
            let at = record.at.or(now.wall);
            if self.is_stored(Stream::Device, mark) {
                self.count(Stream::Device, &record.source, &record.content);
            } else {
                self.append(
                    now,
                    Stream::Device,
                    "",
                    record.severity,
                    &record.source,
                    "",
                    &record.content,
                    at,
                );
            }
        }
        self.mark(Stream::Device, mark);
    }

    pub(crate) fn app_line(
        &mut self,
        now: Now,
        app: Uuid,
        name: &str,
        domid: Option<u16>,
        line: &str,
        mark: u64,
    ) {
        self.given(Stream::App(app), mark);
        let iid = domid.map_or_else(String::new, |domid| format!("{domid}"));
        if self.is_stored(Stream::App(app), mark) {
            self.count(Stream::App(app), name, line);
            return self.mark(Stream::App(app), mark);
        }
        self.append(now, Stream::App(app), name, Severity::Info, name, &iid, line, now.wall);
        self.mark(Stream::App(app), mark);
    }

    /// A stream goes on to this mark, perhaps for the first time.
    fn given(&mut self, stream: Stream, mark: u64) {
        if let Some(again) = self.again.as_mut().filter(|_| mark > 0) {
            again.entry(stream).or_insert(Again::Collected { from: mark });
        }
    }

    /// The console of an application has come this far, with nothing that is to be uploaded.
    pub(crate) fn pass_over(&mut self, app: Uuid, mark: u64) {
        self.given(Stream::App(app), mark);
        self.mark(Stream::App(app), mark);
    }

    /// What a later life of the agent has to know of the counters.
    pub(crate) fn counters(&self) -> impl Iterator<Item = u64> + use<> {
        let counted = [self.lost_files, self.refused, self.too_many].map(u64::from);
        [self.uploaded_bytes].into_iter().chain(counted)
    }

    /// Takes what an earlier life left.
    pub(crate) fn recall(&mut self, counters: &mut impl Iterator<Item = u64>) {
        let mut next = || counters.next().unwrap_or(0);
        self.uploaded_bytes = next();
        let mut small = || u32::try_from(next()).unwrap_or(u32::MAX);
        (self.lost_files, self.refused, self.too_many) = (small(), small(), small());
    }

    /// Nothing is uploaded until it is known what storage has, or until this moment.
    pub(crate) fn hold(&mut self, until: Instant) {
        self.held_until = Some(until);
        self.again = Some(BTreeMap::new());
    }

    /// Nobody waits any more for what storage has. It may be told yet.
    pub(crate) fn release(&mut self) {
        self.held_until = None;
    }

    /// All that storage has was given.
    pub(crate) fn settled(&mut self) {
        self.release();
        self.again = None;
        self.buffers.values_mut().for_each(|buffer| buffer.ends.clear());
    }

    fn is_held(&self, now: Instant) -> bool {
        self.held_until.is_some_and(|until| until > now)
    }

    /// Takes a file that storage has: the oldest first, once, after the start of this agent.
    pub(crate) fn restore(&mut self, now: Instant, number: u32, bytes: &[u8]) {
        self.next_number = self.next_number.max(number.saturating_add(1));
        let Some(Piece { start, stream, name, made, mark, data }) = Piece::decode(bytes) else {
            log::warn!("logs: a file of an earlier start is damaged, and is dropped [{}]", agent::LOGS_LOST);
            self.lost_files = self.lost_files.saturating_add(1);
            self.unwanted.push(number);
            return;
        };
        if start == self.start {
            match self.again.as_ref().and_then(|again| again.get(&stream)) {
                None | Some(Again::Collected { .. }) => self.drop_through(stream, mark),
                // The same lines, some of which may be with the controller already. Who gave them has them until they
                // are taken.
                Some(Again::InFiles { from }) if mark >= *from => {
                    self.unwanted.push(number);
                    return;
                }
                // They were taken before.
                Some(Again::InFiles { .. } | Again::Ended) => {}
            }
        }
        let id = self.next_id;
        self.next_id += 1;
        self.bytes += data.size();
        // Behind those that were restored before, ahead of all of this life.
        let place = self.files.iter().position(|file| !file.kept).unwrap_or(self.files.len());
        let file = File {
            stream,
            name,
            data,
            made,
            refusals: 0,
            id,
            mark,
            note: Vec::new(),
            since: now,
            number: Some(number),
            kept: true,
        };
        self.files.insert(place, file);
        self.make_room();
    }

    /// Storage has a stream up to this mark: what came of it once more is not to be uploaded.
    fn drop_through(&mut self, stream: Stream, mark: u64) {
        let stored = self.stored.entry(stream).or_default();
        *stored = mark.max(*stored);
        let Some(buffer) = self.buffers.get_mut(&stream) else { return };
        let behind = buffer.ends.partition_point(|(of, _)| *of <= mark);
        let end = buffer.ends.drain(..behind).next_back().map_or(0, |(_, end)| end);
        buffer.lines.drain(..end.min(buffer.lines.len()));
        buffer.ends.iter_mut().for_each(|(_, at)| *at = at.saturating_sub(end));
        self.settle(stream);
    }

    fn is_stored(&self, stream: Stream, mark: u64) -> bool {
        self.stored.get(&stream).is_some_and(|stored| mark <= *stored)
    }

    /// A line that storage has: only its number counts.
    fn count(&mut self, stream: Stream, source: &str, content: &str) {
        for _ in newlogs::pieces(content) {
            self.msgid(stream, source);
        }
    }

    /// The next file that storage is to keep, one at a time; with `all` those as well that have not waited yet.
    pub(crate) fn next_to_keep(&mut self, now: Instant, all: bool) -> Option<(u32, Vec<u8>)> {
        if self.is_held(now) || self.files.iter().any(|file| file.number.is_some() && !file.kept) {
            return None;
        }
        let start = self.start;
        let file = self.files.iter_mut().find(|file| file.number.is_none())?;
        if !all && file.since.after(KEPT_AFTER) > now {
            return None;
        }
        let number = self.next_number;
        self.next_number = number.wrapping_add(1);
        file.number = Some(number);
        let File { stream, made, mark, .. } = *file;
        let piece = Piece { start, stream, name: file.name.clone(), made, mark, data: file.data.clone() };
        Some((number, piece.encode()))
    }

    /// When [`Logs::next_to_keep`] has something.
    pub(crate) fn keep_deadline(&self) -> Option<Instant> {
        if self.files.iter().any(|file| file.number.is_some() && !file.kept) {
            return None;
        }
        let first = self.files.iter().find(|file| file.number.is_none())?;
        Some(first.since.after(KEPT_AFTER)).max(self.held_until)
    }

    /// Storage has this file.
    pub(crate) fn on_kept(&mut self, number: u32) {
        let Some(file) = self.files.iter_mut().find(|file| file.number == Some(number)) else { return };
        file.kept = true;
        let (stream, mark, note) = (file.stream, file.mark, file.note.clone());
        self.take_mark(stream, mark, note);
        self.settle(stream);
    }

    /// The next file that storage need not keep any more.
    pub(crate) fn next_to_drop(&mut self) -> Option<u32> {
        self.unwanted.pop()
    }

    /// The next mark that was taken: of an application's console, or of the device's log.
    pub(crate) fn next_taken(&mut self) -> Option<Taken> {
        let (stream, (before, note)) = self.taken.pop_first()?;
        let app = match stream {
            Stream::Device => None,
            Stream::App(app) => Some(app),
        };
        Some(Taken { app, before, note })
    }

    /// A stream goes on behind a mark that was taken with this note.
    pub(crate) fn goes_on(&mut self, app: Option<Uuid>, note: &[u8]) {
        let stream = app.map_or(Stream::Device, Stream::App);
        for (source, last) in note::read_numbers(note).unwrap_or_default() {
            if self.msgids.len() < MAX_SOURCES {
                self.msgids.insert((stream, source), Numbers { last, marked: last });
            }
        }
    }

    /// The numbers of a stream's lines up to its mark.
    fn note(&self, stream: Stream) -> Vec<u8> {
        let first = (stream, String::new());
        let numbers = self.msgids.range(first..).take_while(|((of, _), _)| *of == stream);
        note::numbers(numbers.map(|((_, source), numbers)| (source.as_str(), numbers.marked)))
    }

    /// Notes how far a stream has come. Without anything that waits it is taken at once.
    fn mark(&mut self, stream: Stream, mark: u64) {
        let first = (stream, String::new());
        let numbers = self.msgids.range_mut(first..).take_while(|((of, _), _)| *of == stream);
        numbers.for_each(|(_, numbers)| numbers.marked = numbers.last);
        let keeps_ends = self.again.is_some();
        match self.buffers.get_mut(&stream) {
            Some(buffer) => {
                buffer.mark = buffer.mark.max(mark);
                let end = buffer.lines.len();
                if keeps_ends && buffer.ends.last().is_none_or(|(_, last)| *last < end) {
                    buffer.ends.push((mark, end));
                }
            }
            None => self.take_mark(stream, mark, self.note(stream)),
        }
        self.settle(stream);
    }

    /// If nothing of a stream waits, all of it is taken.
    fn settle(&mut self, stream: Stream) {
        if self.files.iter().any(|file| file.stream == stream && !file.kept) {
            return;
        }
        let idle = self.buffers.get(&stream).filter(|buffer| buffer.lines.is_empty());
        if let Some(mark) = idle.map(|buffer| buffer.mark) {
            self.take_mark(stream, mark, self.note(stream));
        }
    }

    fn take_mark(&mut self, stream: Stream, mark: u64, note: Vec<u8>) {
        if mark > 0 && self.taken.get(&stream).is_none_or(|(before, _)| *before <= mark) {
            self.taken.insert(stream, (mark, note));
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one line, called twice above")]
    fn append(
        &mut self,
        now: Now,
        stream: Stream,
        name: &str,
        severity: Severity,
        source: &str,
        iid: &str,
        content: &str,
        at: Option<WallTime>,
    ) {
        if !self.buffers.contains_key(&stream) && self.buffers.len() >= MAX_STREAMS {
            return;
        }
        for piece in newlogs::pieces(content) {
            let at = at.unwrap_or(WallTime { seconds: 0, nanos: 0 });
            let mut line = Vec::new();
            let entry = Entry {
                severity: severity.as_str(),
                source,
                iid,
                content: piece,
                msgid: self.msgid(stream, source),
                start: self.start,
                timestamp: (i64::try_from(at.seconds).unwrap_or(0), at.nanos),
                ..Entry::default()
            };
            newlogs::append_line(&mut line, &entry);
            let full =
                self.buffers.get(&stream).is_some_and(|buffer| buffer.lines.len() + line.len() > BUFFER);
            if full {
                self.close(now, stream, name);
            }
            let buffer = self.buffers.entry(stream).or_default();
            buffer.since.get_or_insert(now.at());
            buffer.lines.extend_from_slice(&line);
        }
    }

    fn msgid(&mut self, stream: Stream, source: &str) -> u64 {
        // An application is the only source of its stream, whatever it is called now.
        let source = if stream == Stream::Device { source } else { "" };
        let key = (stream, proto_eve::text::bounded(source, 64));
        if !self.msgids.contains_key(&key) && self.msgids.len() >= MAX_SOURCES {
            return 0;
        }
        let numbers = self.msgids.entry(key).or_default();
        numbers.last = numbers.last.saturating_add(1);
        numbers.last
    }

    /// An application is gone: what it wrote becomes a file now.
    pub(crate) fn end_app(&mut self, now: Now, app: Uuid, name: &str) {
        self.close(now, Stream::App(app), name);
        self.settle(Stream::App(app));
        self.buffers.remove(&Stream::App(app));
        if let Some(again) = &mut self.again {
            again.entry(Stream::App(app)).or_insert(Again::Ended);
        }
        // Another one of this name begins at zero.
        self.stored.remove(&Stream::App(app));
        self.msgids.retain(|(stream, _), _| *stream != Stream::App(app));
    }

    /// Everything that was collected becomes files now.
    pub(crate) fn close_all(&mut self, now: Now, name_of: impl Fn(&Uuid) -> String) {
        let streams: Vec<Stream> = self.buffers.keys().copied().collect();
        for stream in streams {
            let name = if let Stream::App(app) = &stream { name_of(app) } else { String::new() };
            self.close(now, stream, &name);
        }
        self.next = self.next.min(now.at());
    }

    /// Makes files of old buffers.
    pub(crate) fn step(&mut self, now: Now, name_of: impl Fn(&Uuid) -> String) {
        if self.is_held(now.at()) {
            return;
        }
        let old: Vec<Stream> = self
            .buffers
            .iter()
            .filter(|(_, buffer)| self.closes(buffer).is_some_and(|at| at <= now.at()))
            .map(|(stream, _)| *stream)
            .collect();
        for stream in old {
            let name = if let Stream::App(app) = &stream { name_of(app) } else { String::new() };
            self.close(now, stream, &name);
        }
    }

    /// When a buffer has grown old.
    pub(crate) fn closing_deadline(&self) -> Option<Instant> {
        let first = self.buffers.values().fold(None, |first, buffer| earliest(first, self.closes(buffer)));
        first.map(|first| self.held_until.map_or(first, |until| until.max(first)))
    }

    /// When a file may be uploaded.
    pub(crate) fn upload_deadline(&self) -> Option<Instant> {
        (!self.files.is_empty()).then_some(self.held_until.map_or(self.next, |until| until.max(self.next)))
    }

    pub(crate) fn is_drained(&self) -> bool {
        self.files.is_empty() && self.buffers.values().all(|buffer| buffer.lines.is_empty())
    }

    pub(crate) fn backlog(&self) -> usize {
        self.files.len()
    }

    /// A file, if it is time: where it goes, and the gzip bytes. The oldest one of any stream but that whose turn it was,
    /// so that nobody who writes much keeps the lines of the others waiting.
    pub(crate) fn due(
        &self,
        now: Instant,
        device: &Uuid,
        partition: &str,
        version: &str,
    ) -> Option<(Upload, Endpoint, Vec<u8>)> {
        if self.next > now || self.is_held(now) {
            return None;
        }
        let others = self.files.iter().find(|file| Some(file.stream) != self.last);
        let file = others.or(self.files.front())?;
        let upload = Upload { id: file.id, sent: now };
        match file.stream {
            Stream::Device => {
                let comment = newlogs::device_comment(device, partition, version);
                let gzip = file.data.file(Owner::Device { comment: &comment }, file.made);
                Some((upload, Endpoint::Newlogs, gzip))
            }
            Stream::App(app) => {
                let gzip = file.data.file(Owner::App { name: &file.name }, file.made);
                Some((upload, Endpoint::AppNewlogs(app), gzip))
            }
        }
    }

    pub(crate) fn on_answer(&mut self, now: Instant, upload: Upload, outcome: &Outcome, random: &mut Random) {
        if !matches!(outcome, Outcome::NoAnswer(_)) {
            let file = self.files.iter().find(|file| file.id == upload.id);
            self.last = file.map(|file| file.stream).or(self.last);
        }
        match outcome {
            Outcome::Success { .. } | Outcome::Unusable(_) => {
                if let Some(file) = self.take(upload) {
                    let size = u64::try_from(file.data.size()).unwrap_or(0);
                    self.uploaded_bytes = self.uploaded_bytes.saturating_add(size);
                }
                self.last_success = Some(now);
            }
            Outcome::Status { status: 429, .. } => {
                self.too_many = self.too_many.saturating_add(1);
                let doubled = self.interval(now).saturating_mul(2).min(SLOWEST);
                self.slow = Some((doubled, now.after(SLOWED)));
            }
            Outcome::Status { status, class } if *class != StatusClass::Unavailable && *status < 500 => {
                self.refused = self.refused.saturating_add(1);
                let file = self.files.iter_mut().find(|file| file.id == upload.id);
                let hopeless = file.is_some_and(|file| {
                    file.refusals += 1;
                    file.refusals >= TRIES
                });
                if hopeless {
                    log::warn!(
                        "logs: a file was refused {TRIES} times and is dropped: {outcome} [{}]",
                        agent::LOGS_LOST
                    );
                    self.take(upload);
                    self.lost_files = self.lost_files.saturating_add(1);
                }
            }
            Outcome::Status { .. } | Outcome::NoAnswer(_) => {}
        }
        let failing = now.since(self.last_success.unwrap_or(upload.sent.min(now)));
        self.next = if failing > LONG_FAILURE {
            now.after(random.share(Duration::from_secs(900), 200, 1000))
        } else {
            now.after(random.share(self.interval(now), 800, 1200))
        };
        // What was sent moments ago tells nothing about the first minutes of a boot.
        self.last_success.get_or_insert(now);
    }

    fn interval(&self, now: Instant) -> Duration {
        if let Some((slow, _)) = self.slow.filter(|(_, until)| *until > now) {
            return slow;
        }
        if self.fast {
            return FAST_INTERVAL;
        }
        Duration::from_secs(match self.files.len() {
            0..=5 => 90,
            6..=25 => 45,
            26..=50 => 30,
            51..=200 => 15,
            201..=1000 => 8,
            _ => 3,
        })
    }

    fn closes(&self, buffer: &Buffer) -> Option<Instant> {
        let age = match (self.fast, buffer.files) {
            (true, _) => FAST_AGE,
            (false, 0) => FIRST_AGE,
            (false, _) => AGE,
        };
        buffer.since.map(|since| since.after(age))
    }

    fn close(&mut self, now: Now, stream: Stream, name: &str) {
        let Some(buffer) = self.buffers.get_mut(&stream) else { return };
        buffer.since = None;
        buffer.ends.clear();
        if buffer.lines.is_empty() {
            return;
        }
        if let Some(again) = self.again.as_mut().and_then(|again| again.get_mut(&stream))
            && let Again::Collected { from } = *again
        {
            *again = Again::InFiles { from };
        }
        buffer.files += 1;
        let data = Compressed::new(&core::mem::take(&mut buffer.lines));
        let made = now.wall.map_or(0, |wall| u32::try_from(wall.seconds).unwrap_or(u32::MAX));
        let (mark, note) = (buffer.mark, self.note(stream));
        let (id, since) = (self.next_id, now.at());
        let file = File {
            stream,
            name: name.into(),
            data,
            made,
            refusals: 0,
            id,
            mark,
            note,
            since,
            number: None,
            kept: false,
        };
        self.next_id += 1;
        self.bytes += file.data.size();
        self.files.push_back(file);
        self.make_room();
    }

    /// The oldest files make room for the newest: those of the stream that has most.
    fn make_room(&mut self) {
        while self.files.len() > 1
            && (self.bytes > self.capacity || self.files.len() > MAX_LOGS)
            && let Some(largest) = self.largest()
            && let Some(at) = self.files.iter().position(|file| file.stream == largest)
            && let Some(oldest) = self.files.remove(at)
        {
            self.bytes -= oldest.data.size();
            self.lost_files = self.lost_files.saturating_add(1);
            self.done(&oldest);
        }
    }

    /// The stream whose files take most bytes.
    fn largest(&self) -> Option<Stream> {
        let mut sizes = BTreeMap::<Stream, usize>::new();
        for file in &self.files {
            *sizes.entry(file.stream).or_default() += file.data.size();
        }
        sizes.into_iter().max_by_key(|(_, size)| *size).map(|(stream, _)| stream)
    }

    /// Nothing more is to be done about a file: the oldest one of its stream.
    fn done(&mut self, file: &File) {
        self.unwanted.extend(file.number);
        if !file.kept {
            self.take_mark(file.stream, file.mark, file.note.clone());
        }
        self.settle(file.stream);
    }

    fn take(&mut self, upload: Upload) -> Option<File> {
        let at = self.files.iter().position(|file| file.id == upload.id)?;
        let file = self.files.remove(at)?;
        self.bytes -= file.data.size();
        self.done(&file);
        Some(file)
    }
}

#[cfg(test)]
mod tests;
