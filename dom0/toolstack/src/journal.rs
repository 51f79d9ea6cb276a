//! Log records and console bytes, kept until control says that they were taken. A pure machine.
//!
//! Each stream (the log, the console of each application) counts on its own: records, or bytes. What is
//! kept is bounded by its memory; when that is used up the oldest goes of whoever has most of it, whether
//! control had it or not: so one that floods loses its own lines, not those of others.
//!
//! ```text
//!   oldest                    cursor                 newest
//!     | was given to control    | is to be given       |
//!     |  Journal::taken drops   |  Journal::give       |  Journal::log, Journal::console add
//! ```
//!
//! A control that is there anew is given everything again ([`Journal::rewind`]): what is kept was not taken.
//!
//! *Lost* is what no control can have any more and none has taken. It is counted here, once, when that becomes true: what
//! makes room before it was given, at once; what makes room after it was given, when that control ends without having taken
//! it. Control is told how much it is since the start, never how much it has become, so that no life of it counts what an
//! earlier one has counted, and none misses what an earlier one was told and could not pass on.

use alloc::{boxed::Box, collections::VecDeque, vec::Vec};

use proto_svc::{
    device::{AppId, MAX_PIECE, ToControl},
    supervision::LogRecord,
    text::clipped,
};

use crate::request::Note;

/// Most memory of what is kept, in bytes.
pub const CAPACITY: usize = 512 * 1024;

/// Streams from which on those of applications that are not known any more are forgotten with all that is kept of them:
/// whoever makes applications names them, and could name ever new ones. Of no more than so many that were forgotten it is
/// known what control can still take.
pub const MAX_STREAMS: usize = 64;

/// Pieces of a stream that control alone has, which are told apart.
const MAX_HELD: usize = 256;

/// What an entry takes beside its bytes: itself, and what the heap needs for two pieces.
const OVERHEAD: usize = size_of::<Entry>() + 64;

/// Whose records or bytes: an application's console, or the log.
type Stream = Option<AppId>;

#[derive(Debug)]
struct Entry {
    stream: Stream,
    /// Number of the record; offset of the first byte.
    start: u64,
    /// When it was added, among all that is told to control.
    turn: u64,
    what: What,
}

#[derive(Debug)]
enum What {
    Log { domain: Box<str>, level: proto_svc::supervision::Level, at_ns: u64, text: Box<str> },
    Console(Vec<u8>),
}

impl Entry {
    fn end(&self) -> u64 {
        match &self.what {
            What::Log { .. } => self.start + 1,
            What::Console(bytes) => self.start + bytes.len() as u64,
        }
    }

    /// Whose share it counts for: an application's, or that of the domain that wrote a log record.
    fn party(&self) -> Party<'_> {
        match (&self.what, self.stream) {
            (What::Log { domain, .. }, _) => Party::Domain(domain),
            (What::Console(_), app) => Party::Console(app.unwrap_or(AppId([0; 16]))),
        }
    }

    fn size(&self) -> usize {
        OVERHEAD
            + match &self.what {
                What::Log { domain, text, .. } => domain.len() + text.len(),
                What::Console(bytes) => bytes.capacity(),
            }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Party<'e> {
    Domain(&'e str),
    Console(AppId),
}

/// How far a stream has come.
#[derive(Debug)]
struct Progress {
    stream: Stream,
    /// The end of what was added.
    end: u64,
    /// What lies before needs no longer be kept.
    taken: u64,
    /// What lies before was given to this control, or is lost.
    given: u64,
    held: Held,
    /// What control has left with what is taken.
    note: Note,
}

/// What this control was given of a stream, has not taken, and is not kept any more: in its order, the pieces apart from
/// each other.
#[derive(Debug, Default)]
struct Held(Vec<Piece>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    start: u64,
    end: u64,
    /// How many of those between `start` and `end`: all, unless pieces were merged that had others between them, which may
    /// be kept.
    count: u64,
}

impl Piece {
    fn merge(self, other: Self) -> Self {
        Self {
            start: self.start.min(other.start),
            end: self.end.max(other.end),
            count: self.count + other.count,
        }
    }
}

impl Held {
    /// This control alone has these, which it did not before.
    fn hold(&mut self, start: u64, end: u64) {
        let pieces = &mut self.0;
        let from = pieces.partition_point(|piece| piece.end < start);
        let to = pieces.partition_point(|piece| piece.start <= end);
        let new = Piece { start, end, count: end - start };
        let joined = pieces.drain(from..to).fold(new, Piece::merge);
        pieces.insert(from, joined);
        if pieces.len() > MAX_HELD {
            let oldest = pieces.remove(0);
            pieces[0] = oldest.merge(pieces[0]);
        }
    }

    /// It has taken what lies before `before`. Where that is within merged pieces, it is not known which of the two sides
    /// they are on: rather too much is told to be lost than too little.
    fn release(&mut self, before: u64) {
        self.0.retain_mut(|piece| {
            piece.start = before.max(piece.start);
            piece.count = piece.count.min(piece.end.saturating_sub(piece.start));
            piece.count > 0
        });
    }

    fn count(&self) -> u64 {
        self.0.iter().map(|piece| piece.count).sum()
    }
}

/// What is lost since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Lost {
    lines: u64,
    console_bytes: u64,
}

impl Lost {
    fn add(&mut self, stream: Stream, count: u64) {
        let sum = if stream.is_none() { &mut self.lines } else { &mut self.console_bytes };
        *sum = sum.saturating_add(count);
    }
}

/// The journal.
#[derive(Debug)]
pub struct Journal {
    entries: VecDeque<Entry>,
    /// Entries before this one were given.
    cursor: usize,
    size: usize,
    capacity: usize,
    streams: Vec<Progress>,
    lost: Lost,
    /// What this control was told of that.
    told: Lost,
    /// What this control had of consoles that were forgotten, and has not taken: a later one cannot be given it. The oldest
    /// first, no more than [`MAX_STREAMS`].
    forgotten: VecDeque<(AppId, Held)>,
    /// Bytes of such that are not in `forgotten` any more: they will not be taken.
    held: u64,
}

impl Default for Journal {
    fn default() -> Self {
        Self::new(CAPACITY)
    }
}

impl Journal {
    /// An empty one that keeps up to `capacity` bytes.
    #[must_use]
    pub const fn new(capacity: usize) -> Self {
        let none = Lost { lines: 0, console_bytes: 0 };
        Self {
            entries: VecDeque::new(),
            cursor: 0,
            size: 0,
            capacity,
            streams: Vec::new(),
            lost: none,
            told: none,
            forgotten: VecDeque::new(),
            held: 0,
        }
    }

    /// Adds a log record. `turn` rises with everything that control is told.
    pub fn log(&mut self, turn: u64, domain: &str, record: &LogRecord) {
        // Records are numbered from 1 on.
        let start = self.progress(None, 1).end;
        let LogRecord { level, at_ns, text } = record;
        let what =
            What::Log { domain: domain.into(), level: *level, at_ns: *at_ns, text: text.as_str().into() };
        self.add(Entry { stream: None, start, turn, what });
    }

    /// Adds bytes of a console, joined with what the same console wrote last if that was not given yet.
    pub fn console(&mut self, turn: u64, app: AppId, bytes: &[u8]) {
        let start = self.progress(Some(app), 0).end;
        let mut rest = bytes;
        if self.cursor < self.entries.len()
            && let Some(Entry { stream, what: What::Console(last), .. }) = self.entries.back_mut()
            && *stream == Some(app)
        {
            let (now, later) = rest.split_at(rest.len().min(MAX_PIECE - last.len()));
            let before = last.capacity();
            last.extend_from_slice(now);
            self.size += last.capacity() - before;
            rest = later;
        }
        let mut at = start + (bytes.len() - rest.len()) as u64;
        self.progress(Some(app), 0).end = at;
        for piece in rest.chunks(MAX_PIECE) {
            self.add(Entry { stream: Some(app), start: at, turn, what: What::Console(piece.to_vec()) });
            at += piece.len() as u64;
        }
        self.shrink();
    }

    /// The turn of what [`Self::give`] would give.
    #[must_use]
    pub fn turn(&self) -> Option<u64> {
        self.entries.get(self.cursor).map(|entry| entry.turn)
    }

    /// Gives the next that control did not have in this life, oldest first.
    pub fn give(&mut self) -> Option<ToControl> {
        let entry = self.entries.get(self.cursor)?;
        let (stream, start, end, message) = (entry.stream, entry.start, entry.end(), entry.message());
        self.progress(stream, start).given = end;
        self.cursor += 1;
        Some(message)
    }

    /// Counts log records that were lost before they came here.
    pub fn lose_lines(&mut self, count: u32) {
        self.lost.add(None, count.into());
    }

    /// How much is lost, if that is more than this control was told. What is missing ahead of what [`Self::give`] gives next
    /// is in it.
    pub fn tell_lost(&mut self) -> Option<ToControl> {
        let Lost { lines, console_bytes } = self.lost;
        let news = core::mem::replace(&mut self.told, self.lost) != self.lost;
        news.then_some(ToControl::Lost { lines, console_bytes })
    }

    /// Control needs nothing of this stream before `before` any more. What it never had counts as not taken.
    /// `note` goes with it, and is kept for a later control.
    pub fn taken(&mut self, stream: Stream, before: u64, note: Note) {
        let Some(progress) = self.streams.iter_mut().find(|progress| progress.stream == stream) else {
            if let Some((_, held)) = self.forgotten.iter_mut().find(|(app, _)| Some(*app) == stream) {
                held.release(before);
            }
            return;
        };
        let before = before.min(progress.given);
        if before >= progress.taken {
            progress.taken = before;
            progress.note = note;
        }
        progress.held.release(before);
        self.retain(|entry, _| {
            if entry.stream != stream || entry.start >= before {
                return true;
            }
            let keep = entry.end() > before;
            if keep {
                entry.cut(before);
            }
            keep
        });
    }

    /// What control has left with each stream.
    pub fn notes(&self) -> impl Iterator<Item = (Option<AppId>, &Note)> {
        let left = self.streams.iter().filter(|progress| !progress.note.is_empty());
        left.map(|progress| (progress.stream, &progress.note))
    }

    /// A control is there anew: everything that was not taken is given again, or is lost.
    pub fn rewind(&mut self) {
        self.cursor = 0;
        self.told = Lost::default();
        let forgotten = self.forgotten.drain(..).map(|(_, held)| held.count());
        let held = forgotten.fold(core::mem::take(&mut self.held), u64::saturating_add);
        self.lost.console_bytes = self.lost.console_bytes.saturating_add(held);
        for progress in &mut self.streams {
            progress.given = progress.taken;
            self.lost.add(progress.stream, core::mem::take(&mut progress.held).count());
        }
    }

    /// Forgets how far the console of an application has come that is not known any more, once nothing of
    /// it is kept; and if there are too many, what is kept of the oldest.
    pub fn forget(&mut self, known: impl Fn(AppId) -> bool) {
        let kept = |stream| self.entries.iter().any(|entry| entry.stream == stream);
        let gone = |progress: &mut Progress| !progress.stream.is_none_or(&known) && !kept(progress.stream);
        let gone: Vec<_> = self.streams.extract_if(.., gone).collect();
        gone.into_iter().for_each(|progress| self.remember(progress.stream, progress.held));
        while self.streams.len() > MAX_STREAMS
            && let Some(place) = self.streams.iter().position(|progress| !progress.stream.is_none_or(&known))
        {
            let Progress { stream, mut held, .. } = self.streams.remove(place);
            let mut lost = 0;
            self.retain(|entry, given| {
                let keep = entry.stream != stream;
                match (keep, given) {
                    (true, _) => {}
                    (false, true) => held.hold(entry.start, entry.end()),
                    (false, false) => lost += entry.end() - entry.start,
                }
                keep
            });
            self.remember(stream, held);
            self.lost.add(stream, lost);
        }
    }

    /// Remembers what control can still take of a stream that is forgotten.
    fn remember(&mut self, stream: Stream, held: Held) {
        if let Some(app) = stream
            && held.count() > 0
        {
            self.forgotten.push_back((app, held));
        }
        if self.forgotten.len() > MAX_STREAMS {
            self.give_up(0);
        }
    }

    /// What control has of this forgotten one counts as not taken from here on.
    fn give_up(&mut self, place: usize) {
        let count = self.forgotten.remove(place).map_or(0, |(_, held)| held.count());
        self.held = self.held.saturating_add(count);
    }

    /// Bytes of memory that are used.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    fn progress(&mut self, stream: Stream, first: u64) -> &mut Progress {
        let place = self.streams.iter().position(|progress| progress.stream == stream);
        let place = place.unwrap_or_else(|| {
            // What is said of the stream from here on is said of the new one, which begins where the old one did.
            if let Some(old) = self.forgotten.iter().position(|(app, _)| Some(*app) == stream) {
                self.give_up(old);
            }
            let (taken, given, held, note) = (first, first, Held::default(), Note::new());
            self.streams.push(Progress { stream, end: first, taken, given, held, note });
            self.streams.len() - 1
        });
        &mut self.streams[place]
    }

    fn add(&mut self, entry: Entry) {
        let end = entry.end();
        self.progress(entry.stream, entry.start).end = end;
        self.size += entry.size();
        self.entries.push_back(entry);
        self.shrink();
    }

    /// Keeps entries, or what is left of them. `keep` is told whether an entry was given.
    fn retain(&mut self, mut keep: impl FnMut(&mut Entry, bool) -> bool) {
        let (mut index, mut given, cursor, size) = (0, 0, self.cursor, &mut self.size);
        self.entries.retain_mut(|entry| {
            *size -= entry.size();
            let keep = keep(entry, index < cursor);
            *size += if keep { entry.size() } else { 0 };
            given += usize::from(keep && index < cursor);
            index += 1;
            keep
        });
        self.cursor = given;
    }

    fn shrink(&mut self) {
        if self.size <= self.capacity {
            return;
        }
        // Some room at once, so that not every line of a flood has all entries looked at.
        let goal = self.capacity - self.capacity / 64;
        while self.size > goal
            && let Some(first) = self.oldest_of_largest().and_then(|first| self.entries.get(first))
        {
            let (stream, domain) = match &first.what {
                What::Log { domain, .. } => (None, domain.clone()),
                What::Console(_) => (first.stream, Box::default()),
            };
            let largest = stream.map_or(Party::Domain(&domain), Party::Console);
            let (mut left, mut held, mut lost) = (self.size, Vec::new(), 0);
            self.retain(|entry, given| {
                if left <= goal || entry.party() != largest {
                    return true;
                }
                left -= entry.size();
                match given {
                    true => held.push((entry.start, entry.end())),
                    false => lost += entry.end() - entry.start,
                }
                false
            });
            self.lost.add(stream, lost);
            let progress = self.progress(stream, 0);
            held.into_iter().for_each(|(start, end)| progress.held.hold(start, end));
        }
    }

    /// The oldest entry of whoever has most. Looked at when the memory is used up only; then what floods is
    /// found among the few parties there are.
    fn oldest_of_largest(&self) -> Option<usize> {
        let mut shares: Vec<(Party<'_>, usize, usize)> = Vec::new();
        for (index, entry) in self.entries.iter().enumerate() {
            match shares.iter_mut().find(|(party, ..)| *party == entry.party()) {
                Some((_, _, size)) => *size += entry.size(),
                None => shares.push((entry.party(), index, entry.size())),
            }
        }
        shares.into_iter().max_by_key(|(_, _, size)| *size).map(|(_, first, _)| first)
    }
}

impl Entry {
    /// Drops the bytes before `before`, which lies within.
    fn cut(&mut self, before: u64) {
        if let What::Console(bytes) = &mut self.what {
            // Within the bytes, as the caller has found.
            bytes.drain(..((before - self.start) as usize).min(bytes.len()));
            self.start = before;
        }
    }

    fn message(&self) -> ToControl {
        match &self.what {
            What::Log { domain, level, at_ns, text } => ToControl::Log {
                sequence: self.start,
                domain: clipped(domain),
                record: LogRecord { level: *level, at_ns: *at_ns, text: clipped(text) },
            },
            What::Console(bytes) => ToControl::ConsoleOutput {
                app: self.stream.unwrap_or(AppId([0; 16])),
                offset: self.start,
                // No piece is longer.
                bytes: heapless::Vec::from_slice(bytes).unwrap_or_default(),
            },
        }
    }
}

#[cfg(test)]
mod tests;
