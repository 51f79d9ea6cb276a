//! Metrics messages on their way to the controller, the oldest first.
//!
//! EVE gives up a message that is not delivered at once. Here it waits, with the time at which it was made, by which a
//! controller files it: what the device did while nobody listened can be seen afterwards. Each period's message is one
//! attempt to deliver the oldest; when the controller answers again they follow each other more quickly.
//!
//! Room is bounded, and the messages *thin out*: their numbers count since the start of the machine, so one that is left
//! out costs only resolution. It is the one between whose neighbours least time lies, and the last one of a start, with
//! which those of the counters that begin anew would go, only where no start has another to spare. What is left out is
//! counted, told in a line and in each message.
//!
//! A message that waits longer than [`KEPT_AFTER`] goes to storage, at most one in [`SPACING`], as a value of its own, so
//! that each is dropped there when the controller has it and the next one follows only then, or a minute later: a power cut has
//! those delivered twice that were not dropped yet, one for each minute at most, the same bytes with the same time. Storage has fewer
//! than memory, thinned out in the same way. A later life in the same start knows by a note up to which number nothing
//! is owed any more, so that a storage that drops late doubles nothing, and how many waited, by which it counts those
//! that were in memory only.

use alloc::{collections::VecDeque, vec::Vec};
use core::time::Duration;

use proto_errors::agent as code;
use proto_eve::{Message, endpoint::StatusClass, uuid::Uuid, wire::metrics::ZMetricMsg};

use super::piece::{Head, MAX_MESSAGE, Piece};
use crate::{
    clock::{Instant, Now, Random, WallTime},
    http::Outcome,
    keep::MAX_METRICS,
};

/// Messages that wait at most, and their bytes.
const MAX_MESSAGES: usize = 256;
const MAX_BYTES: usize = 384 * 1024;
/// Bytes of those that storage has.
const MAX_KEPT_BYTES: usize = 256 * 1024;
/// How long a message waits before storage is to keep it: longer than a controller that is there takes to answer.
const KEPT_AFTER: Duration = Duration::from_secs(20);
/// Between two messages that storage is given: less than the time between any two by the period of EVE, a minute. Of those
/// that come faster the rest waits in memory alone.
const SPACING: Duration = Duration::from_secs(15);
/// Between two messages that had to wait.
const PACE: Duration = Duration::from_secs(2);
/// Without a new message, after a failure.
const AGAIN: Duration = Duration::from_secs(15 * 60);
/// When the controller is there again, the first one at some time within this.
const NOISE: Duration = Duration::from_secs(60);
/// How long the next one waits for storage to drop the last one.
const DROP_PATIENCE: Duration = Duration::from_secs(60);
/// How often a message is refused before it is given up.
const TRIES: u8 = 10;
/// Between two lines that tell of losses.
const PAUSE: Duration = Duration::from_secs(3600);

/// Whether storage has a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Not yet.
    Memory,
    /// Not, nor will it.
    MemoryAlone,
    /// It is given it under this number.
    Writing(u32),
    /// It has it.
    Kept(u32),
}

impl Place {
    const fn number(self) -> Option<u32> {
        match self {
            Self::Memory | Self::MemoryAlone => None,
            Self::Writing(number) | Self::Kept(number) => Some(number),
        }
    }
}

#[derive(Debug)]
struct Waiting {
    id: u64,
    /// Of which start of the machine, and which one there.
    start: u32,
    serial: u32,
    device: Uuid,
    /// When it was made: on the wall clock, if that was known, and in this start.
    at: Option<WallTime>,
    since: Instant,
    body: Vec<u8>,
    refusals: u8,
    place: Place,
}

/// What is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Delivery(u64);

#[derive(Debug)]
pub(crate) struct Spool {
    messages: VecDeque<Waiting>,
    bytes: usize,
    next_id: u64,
    flying: Option<Delivery>,
    /// Tells this start of the machine from others, and how many messages it has made.
    start: u32,
    made: u32,
    /// Up to which of them an earlier life in it owed nothing, and how many waited there.
    done_before: u32,
    owed: u32,
    /// Of the next message that storage is given.
    next_number: u32,
    /// Messages that storage need not keep any more.
    unwanted: Vec<u32>,
    /// The last one that was delivered, and until when its drop is waited for.
    dropping: Option<(u32, Instant)>,
    /// When the last message that storage was given was made.
    last_kept: Option<Instant>,
    /// All that storage has is here.
    settled: bool,
    /// Until when nothing is delivered, for what storage has comes first.
    held_until: Option<Instant>,
    /// When one may be delivered.
    next: Instant,
    /// Messages that were not delivered and will not be.
    pub(crate) lost: u32,
    untold: u32,
    told: Option<Instant>,
}

impl Spool {
    /// `start` tells starts of the machine apart.
    pub(crate) fn new(start: u32) -> Self {
        Self {
            messages: VecDeque::new(),
            bytes: 0,
            next_id: 1,
            flying: None,
            start,
            made: 0,
            done_before: 0,
            owed: 0,
            next_number: 0,
            unwanted: Vec::new(),
            dropping: None,
            last_kept: None,
            settled: true,
            held_until: None,
            next: Instant(0),
            lost: 0,
            untold: 0,
            told: None,
        }
    }

    /// What a later life of the agent has to know.
    pub(crate) fn counters(&self) -> impl Iterator<Item = u64> + use<> {
        let ours = self.messages.iter().filter(|message| message.start == self.start);
        let waiting = u32::try_from(ours.count()).unwrap_or(u32::MAX).saturating_add(self.owed);
        [self.made, self.done(), waiting, self.lost].map(u64::from).into_iter()
    }

    /// Takes what an earlier life left.
    pub(crate) fn recall(&mut self, counters: &mut impl Iterator<Item = u64>) {
        let mut next = || u32::try_from(counters.next().unwrap_or(0)).unwrap_or(u32::MAX);
        (self.made, self.done_before, self.owed, self.lost) = (next(), next(), next(), next());
    }

    /// Up to which message of this start nothing is owed.
    fn done(&self) -> u32 {
        if !self.settled {
            return self.done_before;
        }
        let first = self.messages.iter().find(|message| message.start == self.start);
        first.map_or(self.made, |first| first.serial.saturating_sub(1))
    }

    /// Nothing is delivered until it is known what storage has, or until this moment.
    pub(crate) fn hold(&mut self, until: Instant) {
        self.held_until = Some(until);
        self.settled = false;
    }

    /// Nobody waits any more for what storage has. It may be told yet.
    pub(crate) fn release(&mut self) {
        self.held_until = None;
    }

    /// All that storage has was given.
    pub(crate) fn settled(&mut self) {
        self.release();
        self.settled = true;
    }

    fn is_held(&self, now: Instant) -> bool {
        self.held_until.is_some_and(|until| until > now)
    }

    /// Takes a message that storage has: the oldest first, once, after the start of this agent.
    pub(crate) fn restore(&mut self, now: Instant, number: u32, bytes: &[u8]) {
        self.next_number = self.next_number.max(number.saturating_add(1));
        let Some((Piece { start, serial, body }, Head { device, at })) = Piece::decode(bytes) else {
            log::warn!(
                "metrics: a message of an earlier start is damaged, and is dropped [{}]",
                code::METRICS_LOST
            );
            self.lose(1);
            self.unwanted.push(number);
            return;
        };
        if start == self.start {
            if serial <= self.done_before {
                self.unwanted.push(number);
                return;
            }
            self.owed = self.owed.saturating_sub(1);
            self.made = self.made.max(serial);
        }
        let (id, place) = (self.next_id, Place::Kept(number));
        self.next_id += 1;
        self.bytes += body.len();
        // Behind those that were restored before, ahead of all of this life.
        let behind = |message: &Waiting| !matches!(message.place, Place::Kept(_));
        let index = self.messages.iter().position(behind).unwrap_or(self.messages.len());
        let at = Some(at);
        self.messages
            .insert(index, Waiting { id, start, serial, device, at, since: now, body, refusals: 0, place });
        self.make_room();
    }

    /// Adds this period's message.
    pub(crate) fn push(&mut self, now: Now, device: Uuid, body: Vec<u8>) {
        self.made = self.made.saturating_add(1);
        let (id, start, serial) = (self.next_id, self.start, self.made);
        self.next_id += 1;
        self.bytes += body.len();
        let (at, since) = (now.known_wall(), now.at());
        let place = if body.len() > MAX_MESSAGE { Place::MemoryAlone } else { Place::Memory };
        self.messages.push_back(Waiting { id, start, serial, device, at, since, body, refusals: 0, place });
        self.next = self.next.min(since);
        self.make_room();
    }

    /// Moves on with time: dates what was made before the time of day was known, and tells of losses.
    pub(crate) fn step(&mut self, now: Now) {
        if let Some(wall) = now.known_wall() {
            for message in self.messages.iter_mut().filter(|message| message.at.is_none()) {
                let at = wall.before(now.at().since(message.since));
                // In protobuf one message behind another one is both.
                let dated = ZMetricMsg { at_time_stamp: Some(at.timestamp()), ..ZMetricMsg::default() };
                let dated = dated.encode_to_vec();
                self.bytes += dated.len();
                message.body.extend(dated);
                message.at = Some(at);
            }
        }
        if self.settled {
            let owed = core::mem::take(&mut self.owed);
            self.lose(owed);
        }
        let again = self.told.is_none_or(|told| told.after(PAUSE) <= now.at()) || self.messages.is_empty();
        if self.untold > 0 && again {
            let untold = core::mem::take(&mut self.untold);
            log::warn!(
                "metrics: {untold} messages that waited for the controller are not delivered, {} since the start of the \
                 machine: they made room for later ones, or were not kept [{}]",
                self.lost,
                code::METRICS_LOST
            );
            self.told = Some(now.at());
        }
    }

    fn lose(&mut self, messages: u32) {
        self.lost = self.lost.saturating_add(messages);
        self.untold = self.untold.saturating_add(messages);
    }

    /// The device is this one. What it said under another name no controller takes any more.
    pub(crate) fn belong_to(&mut self, device: &Uuid) {
        while let Some(index) = self.messages.iter().position(|message| message.device != *device) {
            self.remove(index);
            self.lose(1);
        }
    }

    /// The next message that storage is to keep, one at a time; with `all` those as well that have not waited yet.
    pub(crate) fn next_to_keep(&mut self, now: Instant, all: bool) -> Option<(u32, Vec<u8>)> {
        if self.is_held(now) {
            return None;
        }
        let index = self.first_to_keep()?;
        let waited = self.messages.get(index)?.since.after(KEPT_AFTER) <= now;
        if !waited && !all {
            return None;
        }
        let number = self.next_number;
        self.next_number = number.wrapping_add(1);
        // One that was too close to the one before is not kept out of order.
        for older in self.messages.iter_mut().take(index).filter(|older| older.place == Place::Memory) {
            older.place = Place::MemoryAlone;
        }
        let message = self.messages.get_mut(index)?;
        message.place = Place::Writing(number);
        self.last_kept = Some(message.since);
        let Waiting { start, serial, ref body, .. } = *message;
        Some((number, Piece { start, serial, body: body.clone() }.encode()))
    }

    /// The message that storage is given next, unless one is under way there.
    fn first_to_keep(&self) -> Option<usize> {
        if self.messages.iter().any(|message| matches!(message.place, Place::Writing(_))) {
            return None;
        }
        self.messages.iter().position(|message| {
            message.place == Place::Memory
                && message.at.is_some()
                && self.last_kept.is_none_or(|last| message.since >= last.after(SPACING))
        })
    }

    /// When [`Spool::next_to_keep`] has something.
    pub(crate) fn keep_deadline(&self) -> Option<Instant> {
        let first = self.messages.get(self.first_to_keep()?)?;
        Some(first.since.after(KEPT_AFTER)).max(self.held_until)
    }

    /// Storage has this message.
    pub(crate) fn on_kept(&mut self, number: u32) {
        let written = self.messages.iter_mut().find(|message| message.place == Place::Writing(number));
        if let Some(message) = written {
            message.place = Place::Kept(number);
            self.make_room();
        }
    }

    /// The next message that storage need not keep any more.
    pub(crate) fn next_to_drop(&mut self) -> Option<u32> {
        self.unwanted.pop()
    }

    /// Whether storage has all that it is to have, or has refused it: `is_tried` tells that of a number.
    pub(crate) fn is_safe(&self, is_tried: impl Fn(u32) -> bool) -> bool {
        match self.messages.iter().find(|message| matches!(message.place, Place::Writing(_))) {
            Some(message) => message.place.number().is_some_and(is_tried),
            None => self.first_to_keep().is_none(),
        }
    }

    /// When one may be delivered. `is_dropped` tells whether storage has dropped a number.
    pub(crate) fn deadline(&self, is_dropped: impl Fn(u32) -> bool) -> Option<Instant> {
        self.messages.front().filter(|first| first.at.is_some())?;
        let dropping =
            self.dropping.filter(|(number, _)| self.unwanted.contains(number) || !is_dropped(*number));
        let until = dropping.map(|(_, until)| until);
        Some(self.next).max(self.held_until).max(until)
    }

    /// The oldest one, if it is time.
    pub(crate) fn due(&self, now: Instant, is_dropped: impl Fn(u32) -> bool) -> Option<(Delivery, Vec<u8>)> {
        self.deadline(is_dropped).filter(|at| *at <= now)?;
        self.messages.front().map(|first| (Delivery(first.id), first.body.clone()))
    }

    /// This one is under way.
    pub(crate) fn sent(&mut self, delivery: Delivery) {
        self.flying = Some(delivery);
    }

    /// The controller answers again.
    pub(crate) fn kick(&mut self, now: Instant, random: &mut Random) {
        self.next = self.next.min(now.after(random.share(NOISE, 0, 1000)));
    }

    /// What became of it. Tells whether the controller has it.
    pub(crate) fn on_answer(
        &mut self,
        now: Instant,
        delivery: Delivery,
        outcome: &Outcome,
        random: &mut Random,
    ) -> bool {
        self.flying = None;
        self.next = now.after(AGAIN);
        let found = self.messages.iter().position(|message| message.id == delivery.0);
        let Some(index) = found else { return false };
        match outcome {
            Outcome::Success { .. } | Outcome::Unusable(_) => {
                let number = self.remove(index);
                self.dropping = number.map(|number| (number, now.after(DROP_PATIENCE)));
                self.next = now.after(random.share(PACE, 500, 1000));
                return true;
            }
            Outcome::NoAnswer(_)
            | Outcome::Status {
                class: StatusClass::Retry | StatusClass::Forbidden | StatusClass::Unavailable,
                ..
            } => {}
            Outcome::Status { .. } => {
                let Some(message) = self.messages.get_mut(index) else { return false };
                message.refusals += 1;
                if message.refusals >= TRIES {
                    log::warn!(
                        "metrics: a message was refused {TRIES} times and is dropped: {outcome} [{}]",
                        code::METRICS_LOST
                    );
                    self.remove(index);
                    self.lose(1);
                }
            }
        }
        false
    }

    /// Takes a message out; storage need not keep it any more. Its number there.
    fn remove(&mut self, index: usize) -> Option<u32> {
        let message = self.messages.remove(index)?;
        self.bytes -= message.body.len();
        let number = message.place.number();
        self.unwanted.extend(number);
        number
    }

    fn make_room(&mut self) {
        while self.messages.len() > 1
            && (self.messages.len() > MAX_MESSAGES || self.bytes > MAX_BYTES)
            && let Some(index) = self.densest(|_| true)
        {
            self.remove(index);
            self.lose(1);
        }
        let is_kept = |message: &Waiting| matches!(message.place, Place::Kept(_));
        loop {
            let kept = self.messages.iter().filter(|message| is_kept(message));
            let (count, bytes) =
                kept.fold((0, 0), |(count, bytes), kept| (count + 1, bytes + kept.body.len()));
            if count <= MAX_METRICS && bytes <= MAX_KEPT_BYTES {
                return;
            }
            let Some(index) = self.densest(is_kept) else { return };
            let Some(message) = self.messages.get_mut(index) else { return };
            self.unwanted.extend(message.place.number());
            message.place = Place::MemoryAlone;
        }
    }

    /// The message that is missed least: between its neighbours, of those that `counts`, lies least time. Never the
    /// last one of a start, unless no start has another to spare; then the oldest.
    fn densest(&self, counts: impl Fn(&Waiting) -> bool) -> Option<usize> {
        let those: Vec<(usize, &Waiting)> =
            self.messages.iter().enumerate().filter(|(_, message)| counts(message)).collect();
        let seconds = |message: &Waiting| message.at.map_or(0, |at| at.seconds);
        let inner = those.windows(3).filter_map(|window| {
            let [(_, before), (index, message), (_, behind)] = window else { return None };
            let span = seconds(behind).saturating_sub(seconds(before));
            (message.start == behind.start).then_some((span, *index))
        });
        let oldest = || those.iter().find(|(_, message)| self.flying != Some(Delivery(message.id)));
        inner.min().map(|(_, index)| index).or_else(|| oldest().map(|(index, _)| *index))
    }
}

#[cfg(test)]
mod tests;
