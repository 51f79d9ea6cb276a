//! What is kept, given, taken and lost.

use std::{
    collections::{BTreeMap, BTreeSet},
    vec,
    vec::Vec,
};

use proptest::prelude::*;
use proto_svc::supervision::Level;

use super::*;

const APP: AppId = AppId([1; 16]);

fn record(number: u64) -> LogRecord {
    LogRecord { level: Level::Info, at_ns: number, text: "a line".try_into().unwrap() }
}

/// What came: of each stream where it begins and how much it is.
fn given(journal: &mut Journal) -> Vec<(Stream, u64, u64)> {
    let mut all = Vec::new();
    while let Some(given) = journal.give() {
        all.push(match given {
            ToControl::Log { sequence, .. } => (None, sequence, 1),
            ToControl::ConsoleOutput { app, offset, bytes } => (Some(app), offset, bytes.len() as u64),
            other => panic!("{other:?}"),
        });
    }
    all
}

/// Lines and console bytes that this control is told to be lost, if it is told anything.
fn lost(journal: &mut Journal) -> Option<(u64, u64)> {
    journal.tell_lost().map(|told| match told {
        ToControl::Lost { lines, console_bytes } => (lines, console_bytes),
        other => panic!("{other:?}"),
    })
}

#[test]
fn what_is_taken_is_not_given_again() {
    let mut journal = Journal::default();
    (0..5).for_each(|turn| journal.log(turn, "net", &record(turn)));
    assert_eq!(given(&mut journal).len(), 5);
    journal.taken(None, 4, Note::new());
    journal.rewind();
    assert_eq!(given(&mut journal), [(None, 4, 1), (None, 5, 1)]);
    journal.taken(None, 6, Note::new());
    journal.rewind();
    assert_eq!((given(&mut journal), journal.size()), (vec![], 0));
}

#[test]
fn a_console_is_cut_where_it_was_taken() {
    let mut journal = Journal::default();
    journal.console(1, APP, b"one line\nhalf a");
    assert_eq!(given(&mut journal), [(Some(APP), 0, 15)]);
    journal.taken(Some(APP), 9, Note::new());
    journal.console(2, APP, b" line\n");
    journal.rewind();
    assert_eq!(given(&mut journal), [(Some(APP), 9, 6), (Some(APP), 15, 6)]);
}

#[test]
fn console_bytes_are_joined_until_they_are_given() {
    let mut journal = Journal::default();
    journal.console(1, APP, b"one ");
    journal.console(2, APP, b"line\n");
    assert_eq!(given(&mut journal), [(Some(APP), 0, 9)]);
    journal.console(3, APP, &[7; 2000]);
    journal.console(4, AppId([2; 16]), b"x");
    let lengths: Vec<_> = given(&mut journal).into_iter().map(|(_, _, length)| length).collect();
    assert_eq!(lengths, [900, 900, 200, 1]);
}

/// A journal for so many records.
fn for_records(count: usize) -> Journal {
    Journal::new(count * (OVERHEAD + 9) + 63)
}

#[test]
fn the_oldest_goes_and_what_control_never_had_is_told() {
    let mut journal = for_records(20);
    (0..20).for_each(|turn| journal.log(turn, "net", &record(turn)));
    assert_eq!(given(&mut journal).len(), 20);
    // Five that control has go for five new ones: that is no loss while this control lives.
    (20..25).for_each(|turn| journal.log(turn, "net", &record(turn)));
    assert_eq!(lost(&mut journal), None);
    let new: Vec<_> = (21..26).map(|sequence| (None, sequence, 1)).collect();
    assert_eq!(given(&mut journal), new);
    // For the next one it is.
    journal.rewind();
    assert_eq!(lost(&mut journal), Some((5, 0)));
    let all = given(&mut journal);
    assert_eq!((all[0], all.len()), ((None, 6, 1), 20));
}

/// As when storage and controller are silent for long, and control ends again and again.
#[test]
fn a_loss_is_counted_once_in_however_many_lives_of_control() {
    let mut journal = for_records(20);
    (0..30).for_each(|turn| journal.log(turn, "net", &record(turn)));
    for _ in 0..3 {
        assert_eq!((lost(&mut journal), lost(&mut journal)), (Some((10, 0)), None));
        journal.rewind();
    }
    // Each of them may have been given and not have taken what makes room then.
    for life in 1..4 {
        assert_eq!(given(&mut journal).len(), 20);
        (0..5).for_each(|turn| journal.log(30 + turn, "net", &record(turn)));
        assert_eq!(lost(&mut journal), (life == 1).then_some((10, 0)));
        // Two of the five it has taken.
        let kept = journal.entries.front().unwrap().start;
        journal.taken(None, kept - 3, Note::new());
        journal.rewind();
        assert_eq!(lost(&mut journal), Some((10 + 3 * life, 0)));
    }
}

#[test]
fn pieces_that_control_alone_has_are_told_apart_up_to_a_bound() {
    let bounds = |held: &Held| held.0.iter().map(|piece| (piece.start, piece.end)).collect::<Vec<_>>();
    let mut held = Held::default();
    // The lines of two domains, of which those of one make room first.
    (0..10).for_each(|number| held.hold(2 * number, 2 * number + 1));
    assert_eq!((held.count(), held.0.len()), (10, 10));
    (0..9).rev().for_each(|number| held.hold(2 * number + 1, 2 * number + 2));
    assert_eq!((held.count(), bounds(&held)), (19, vec![(0, 19)]));
    held.release(7);
    held.hold(30, 35);
    assert_eq!((held.count(), bounds(&held)), (17, vec![(7, 19), (30, 35)]));
    held.release(31);
    assert_eq!((held.count(), held.0.len()), (4, 1));
    held.release(u64::MAX);
    assert_eq!(held.0, []);
    // Of so many some are merged. What lies between them does not count until it makes room, too.
    let pieces = 3 * MAX_HELD as u64;
    (0..pieces).for_each(|number| held.hold(2 * number, 2 * number + 1));
    assert_eq!((held.count(), held.0.len()), (pieces, MAX_HELD));
    let mut taken = Held(held.0.clone());
    (0..pieces).for_each(|number| held.hold(2 * number + 1, 2 * number + 2));
    assert_eq!((held.count(), bounds(&held)), (2 * pieces, vec![(0, 2 * pieces)]));
    // Taken within merged ones: none that may be left is left out, and no more is than lies behind.
    taken.release(2 * pieces - 2 * MAX_HELD as u64 - 4);
    assert!((MAX_HELD as u64..MAX_HELD as u64 + 6).contains(&taken.count()), "{}", taken.count());
}

/// The lines of one that floods make room one by one from between those of another, which stay.
#[test]
fn lines_that_are_kept_between_others_are_not_lost() {
    const LINES: u64 = 2 * MAX_HELD as u64;
    let mut journal = Journal::new(2 * LINES as usize * (OVERHEAD + "quiet".len() + "a line".len()));
    let mut added = 0;
    let mut write = |journal: &mut Journal, domain| {
        journal.log(added, domain, &record(added));
        journal.give();
        added += 1;
        added
    };
    for _ in 0..LINES {
        write(&mut journal, "quiet");
        write(&mut journal, "noisy");
    }
    // Later the other one floods, too.
    for domain in ["noisy", "quiet"] {
        let added = (0..LINES).map(|_| write(&mut journal, domain)).last().unwrap();
        journal.rewind();
        let (lines, _) = lost(&mut journal).unwrap();
        assert_eq!(lines + given(&mut journal).len() as u64, added, "each is kept or lost");
    }
}

#[test]
fn one_that_floods_loses_its_own() {
    let mut journal = Journal::new(50_000);
    (0..20).for_each(|turn| journal.log(turn, "net", &record(turn)));
    journal.console(20, AppId([2; 16]), &[2; 500]);
    for turn in 21..2000 {
        journal.console(turn, APP, &[1; 900]);
        journal.log(turn, "noisy", &record(turn));
    }
    let all = given(&mut journal);
    let lines = |domain: &str| {
        let of = |entry: &&Entry| matches!(&entry.what, What::Log { domain: of, .. } if **of == *domain);
        journal.entries.iter().filter(of).count()
    };
    assert_eq!(lines("net"), 20);
    assert!(lines("noisy") > 20);
    assert!(all.contains(&(Some(AppId([2; 16])), 0, 500)));
    assert!(journal.size() <= 50_000);
}

#[test]
fn a_stream_of_which_nothing_is_kept_is_told_as_lost() {
    let mut journal = Journal::new(0);
    journal.log(1, "net", &record(1));
    journal.console(2, APP, &[0; 100]);
    assert_eq!((lost(&mut journal), given(&mut journal)), (Some((1, 100)), vec![]));
    assert_eq!(lost(&mut journal), None);
    // Though its application is forgotten.
    journal.forget(|_| false);
    journal.rewind();
    assert_eq!(lost(&mut journal), Some((1, 100)));
}

#[test]
fn control_cannot_take_what_it_never_had() {
    let mut journal = Journal::default();
    journal.log(1, "net", &record(1));
    journal.taken(None, u64::MAX, Note::new());
    journal.taken(Some(APP), u64::MAX, Note::new());
    assert_eq!(given(&mut journal), [(None, 1, 1)]);
}

#[test]
fn a_note_is_kept_with_what_is_taken() {
    let note = |text: &str| Note::from_slice(text.as_bytes()).unwrap();
    let mut journal = Journal::default();
    journal.taken(None, 3, note("of nothing that there is"));
    assert_eq!(journal.notes().count(), 0);
    (0..5).for_each(|turn| journal.log(turn, "net", &record(turn)));
    assert_eq!(given(&mut journal).len(), 5);
    journal.taken(None, 4, note("three"));
    // What is said of less than that says nothing new.
    journal.taken(None, 3, note("two"));
    assert_eq!(journal.notes().collect::<Vec<_>>(), [(None, &note("three"))]);
    journal.rewind();
    assert_eq!(given(&mut journal).len(), 2);
    assert_eq!(journal.notes().count(), 1);
}

#[test]
fn consoles_of_applications_that_are_gone_are_forgotten() {
    let mut journal = Journal::default();
    for number in 0..100_u8 {
        journal.console(1, AppId([number; 16]), b"x");
        assert_eq!(given(&mut journal).len(), 1);
        journal.taken(Some(AppId([number; 16])), 1, Note::new());
        journal.forget(|_| false);
    }
    assert_eq!(journal.streams.len(), 0);
    // One whose bytes are still kept is remembered.
    journal.console(1, APP, b"x");
    journal.forget(|_| false);
    assert_eq!(journal.streams.len(), 1);
}

/// A journal that has forgotten [`APP`], of which control was given 900 bytes.
fn forgetful() -> Journal {
    let mut journal = Journal::new(2 * (OVERHEAD + 900));
    for (app, length) in [(APP, 900), (AppId([2; 16]), 400), (AppId([3; 16]), 800)] {
        journal.console(1, app, &vec![1; length]);
        assert_eq!(given(&mut journal), [(Some(app), 0, length as u64)]);
    }
    journal.forget(|app| app != APP);
    assert!(journal.streams.iter().all(|progress| progress.stream != Some(APP)));
    journal
}

/// An application is removed while the last of what it wrote waits to be stored or sent.
#[test]
fn what_was_taken_of_a_console_that_is_forgotten_is_not_lost() {
    let mut journal = forgetful();
    journal.taken(Some(APP), 600, Note::new());
    assert_eq!(lost(&mut journal), None);
    journal.rewind();
    assert_eq!(lost(&mut journal), Some((0, 300)));
    // The later control never had it.
    journal.taken(Some(APP), 900, Note::new());
    journal.rewind();
    assert_eq!(lost(&mut journal), Some((0, 300)));
}

/// The next of the name begins anew, and what is taken of it says nothing of the one before.
#[test]
fn what_is_taken_of_a_console_is_not_of_an_earlier_one() {
    let mut journal = forgetful();
    journal.console(2, APP, &[1; 10]);
    assert_eq!(given(&mut journal), [(Some(APP), 0, 10)]);
    journal.taken(Some(APP), 10, Note::new());
    // Nor when that is forgotten.
    journal.forget(|app| app != APP);
    journal.taken(Some(APP), 10, Note::new());
    journal.rewind();
    assert_eq!(lost(&mut journal), Some((0, 900)));
}

#[test]
fn ever_new_applications_take_no_more_than_so_much() {
    let name = |number: u32| AppId(core::array::from_fn(|at| number.to_le_bytes()[at % 4]));
    let mut journal = Journal::default();
    journal.log(0, "net", &record(0));
    let kept = name(0);
    for number in 0..2000 {
        // Nothing is ever taken, and every other byte is given.
        journal.forget(|app| app == name(number) || app == kept);
        journal.console(1, name(number), b"x");
        assert!(journal.streams.len() <= MAX_STREAMS + 1);
        if number % 2 == 0 {
            journal.give();
        }
    }
    assert!(journal.streams.iter().any(|progress| progress.stream == Some(kept)));
    assert!(journal.streams.iter().any(|progress| progress.stream.is_none()));
    assert_eq!(journal.size(), journal.entries.iter().map(Entry::size).sum::<usize>());
    // Each byte was given or is told of.
    let consoles = |given: Vec<(Stream, u64, u64)>| {
        given.iter().filter(|(stream, ..)| stream.is_some()).map(|given| given.2).sum::<u64>()
    };
    let (_, never_had) = lost(&mut journal).unwrap();
    assert_eq!(never_had + consoles(given(&mut journal)) + 999, 2000);
    // What it takes of one that was forgotten is not lost, if that is not too long ago.
    assert_eq!(journal.forgotten.len(), MAX_STREAMS);
    let late = journal.forgotten.back().unwrap().0;
    journal.taken(Some(late), 1, Note::new());
    journal.taken(Some(name(2)), 1, Note::new());
    // A later control is told of what that one had and did not take, too.
    journal.rewind();
    let (_, all) = lost(&mut journal).unwrap();
    assert!(all > never_had);
    assert_eq!(all + consoles(given(&mut journal)), 2000 - 1);
}

#[derive(Clone, Debug)]
enum Move {
    Log,
    Console(u8, usize),
    Give(usize),
    Take(u8, u64),
    Die,
    Gone(u8),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        6 => Just(Move::Log),
        6 => (0..3_u8, 0..2500_usize).prop_map(|(app, length)| Move::Console(app, length)),
        8 => (0..12_usize).prop_map(Move::Give),
        6 => (0..4_u8, 0..5000_u64).prop_map(|(stream, before)| Move::Take(stream, before)),
        1 => Just(Move::Die),
        3 => (0..3_u8).prop_map(Move::Gone),
    ];
    prop::collection::vec(one, 1..200)
}

/// A stream, and how many of its name were forgotten before it.
type Told = (Stream, usize);

/// What is true of the streams, by what was added, given and taken.
#[derive(Default)]
struct World {
    /// Which of its name each stream is.
    turns: BTreeMap<Stream, usize>,
    /// The end of each stream.
    added: BTreeMap<Told, u64>,
    taken: BTreeMap<Told, u64>,
    /// Up to where each stream came in this life of control.
    seen: BTreeMap<Told, u64>,
    /// What some life of control was not given though nobody had taken it: lines and bytes, by their numbers.
    missed: BTreeSet<(Told, u64)>,
    /// How many of them are lines, and how many bytes.
    missing: (u64, u64),
}

const fn first(stream: Stream) -> u64 {
    if stream.is_none() { 1 } else { 0 }
}

impl World {
    /// The last stream of this name.
    fn last(&self, stream: Stream) -> Told {
        (stream, self.turns.get(&stream).copied().unwrap_or(0))
    }

    /// So many are added to the stream of this name, which begins anew if `journal` has forgotten it.
    fn add(&mut self, journal: &Journal, stream: Stream, count: u64) {
        let last = self.last(stream);
        let is_known = journal.streams.iter().any(|progress| progress.stream == stream);
        if self.added.contains_key(&last) && !is_known {
            *self.turns.entry(stream).or_default() += 1;
        }
        *self.added.entry(self.last(stream)).or_insert(first(stream)) += count;
    }

    /// This life is given a stream from `start` to `end`, and nothing of it that lies before any more.
    fn given(&mut self, told: Told, start: u64, end: u64) {
        let taken = self.taken.get(&told).copied().unwrap_or(0).max(first(told.0));
        let seen = self.seen.entry(told).or_insert(taken);
        assert!(*seen <= start, "{told:?} goes back to {start} from {seen}");
        let sum = if told.0.is_none() { &mut self.missing.0 } else { &mut self.missing.1 };
        for number in *seen..start {
            *sum += u64::from(self.missed.insert((told, number)));
        }
        *seen = end;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Every life of control is given each stream from what was taken on, in order; what is missing is lost, and each of it
    /// is counted once over all lives; and the memory holds its bound.
    #[test]
    fn nothing_is_lost_in_silence_or_twice(capacity in 0..20_000_usize, moves in moves()) {
        let mut journal = Journal::new(capacity);
        let (mut turn, mut world, mut told) = (0, World::default(), (0, 0));
        let stream = |number: u8| (number < 3).then_some(AppId([number; 16]));
        for next in moves.into_iter().chain([Move::Give(usize::MAX), Move::Die, Move::Give(usize::MAX)]) {
            turn += 1;
            match next {
                Move::Log => {
                    world.add(&journal, None, 1);
                    journal.log(turn, "net", &record(turn));
                }
                Move::Console(app, length) => {
                    world.add(&journal, stream(app), length as u64);
                    journal.console(turn, AppId([app; 16]), &vec![app; length]);
                }
                Move::Give(count) => {
                    for _ in 0..count {
                        told = lost(&mut journal).unwrap_or(told);
                        let Some(given) = journal.give() else { break };
                        match given {
                            ToControl::Log { sequence, .. } => {
                                world.given((None, 0), sequence, sequence + 1);
                            }
                            ToControl::ConsoleOutput { app, offset, bytes } => {
                                prop_assert!(bytes.iter().all(|&byte| byte == app.0[0]));
                                world.given(world.last(Some(app)), offset, offset + bytes.len() as u64);
                            }
                            other => panic!("{other:?}"),
                        }
                        // What is lost of other streams, or at the end of this one, may show later.
                        let (lines, bytes) = world.missing;
                        prop_assert!(lines <= told.0 && bytes <= told.1, "{lines} {bytes} of {told:?}");
                    }
                    if count == usize::MAX {
                        for (told, end) in world.added.clone() {
                            world.given(told, end, end);
                        }
                        prop_assert_eq!(world.missing, told);
                    }
                }
                Move::Take(number, before) => {
                    let stream = stream(number);
                    let last = world.last(stream);
                    let before = before.min(world.seen.get(&last).copied().unwrap_or(0));
                    journal.taken(stream, before, Note::new());
                    let earlier = world.taken.entry(last).or_default();
                    *earlier = before.max(*earlier);
                }
                Move::Die => {
                    journal.rewind();
                    world.seen.clear();
                }
                Move::Gone(app) => journal.forget(|known| known != AppId([app; 16])),
            }
            prop_assert!(journal.size() <= capacity);
            let counted: usize = journal.entries.iter().map(Entry::size).sum();
            prop_assert_eq!(journal.size(), counted);
            prop_assert!(journal.cursor <= journal.entries.len());
        }
    }
}
