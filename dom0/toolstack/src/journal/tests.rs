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
    let mut progress =
        Progress { stream: None, end: 0, taken: 0, given: 0, held: Vec::new(), note: Note::new() };
    // The lines of two domains, of which those of one make room first.
    (0..10).for_each(|number| progress.hold(2 * number, 2 * number + 1));
    assert_eq!((progress.held(), progress.held.len()), (10, 10));
    (0..9).rev().for_each(|number| progress.hold(2 * number + 1, 2 * number + 2));
    assert_eq!(progress.held, [(0, 19)]);
    progress.release(7);
    progress.hold(30, 35);
    assert_eq!(progress.held, [(7, 19), (30, 35)]);
    progress.release(31);
    assert_eq!((progress.held(), progress.held.len()), (4, 1));
    progress.release(u64::MAX);
    assert_eq!(progress.held, []);
    let pieces = 3 * MAX_HELD as u64;
    (0..pieces).for_each(|number| progress.hold(2 * number, 2 * number + 1));
    assert_eq!(progress.held.len(), MAX_HELD);
    assert!((pieces..=2 * pieces).contains(&progress.held()), "none is left out");
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
    // A later control is told of what that one had and did not take, too.
    journal.rewind();
    let (_, all) = lost(&mut journal).unwrap();
    assert!(all > never_had);
    assert_eq!(all + consoles(given(&mut journal)), 2000);
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
        1 => (0..3_u8).prop_map(Move::Gone),
    ];
    prop::collection::vec(one, 1..200)
}

/// What is true of the streams, by what was added, given and taken.
#[derive(Default)]
struct World {
    /// The end of each stream.
    added: BTreeMap<Stream, u64>,
    taken: BTreeMap<Stream, u64>,
    /// Up to where each stream came in this life of control.
    seen: BTreeMap<Stream, u64>,
    /// What some life of control was not given though nobody had taken it: lines and bytes, by their numbers.
    missed: BTreeSet<(Stream, u64)>,
    /// How many of them are lines, and how many bytes.
    missing: (u64, u64),
}

const fn first(stream: Stream) -> u64 {
    if stream.is_none() { 1 } else { 0 }
}

impl World {
    /// This life is given a stream from `start` to `end`, and nothing of it that lies before any more.
    fn given(&mut self, stream: Stream, start: u64, end: u64) {
        let taken = self.taken.get(&stream).copied().unwrap_or(0).max(first(stream));
        let seen = self.seen.entry(stream).or_insert(taken);
        assert!(*seen <= start, "{stream:?} goes back to {start} from {seen}");
        let sum = if stream.is_none() { &mut self.missing.0 } else { &mut self.missing.1 };
        for number in *seen..start {
            *sum += u64::from(self.missed.insert((stream, number)));
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
                    journal.log(turn, "net", &record(turn));
                    *world.added.entry(None).or_insert(1) += 1;
                }
                Move::Console(app, length) => {
                    journal.console(turn, AppId([app; 16]), &vec![app; length]);
                    *world.added.entry(stream(app)).or_default() += length as u64;
                }
                Move::Give(count) => {
                    for _ in 0..count {
                        told = lost(&mut journal).unwrap_or(told);
                        let Some(given) = journal.give() else { break };
                        match given {
                            ToControl::Log { sequence, .. } => world.given(None, sequence, sequence + 1),
                            ToControl::ConsoleOutput { app, offset, bytes } => {
                                prop_assert!(bytes.iter().all(|&byte| byte == app.0[0]));
                                world.given(Some(app), offset, offset + bytes.len() as u64);
                            }
                            other => panic!("{other:?}"),
                        }
                        // What is lost of other streams, or at the end of this one, may show later.
                        let (lines, bytes) = world.missing;
                        prop_assert!(lines <= told.0 && bytes <= told.1, "{lines} {bytes} of {told:?}");
                    }
                    if count == usize::MAX {
                        for (stream, end) in world.added.clone() {
                            world.given(stream, end, end);
                        }
                        prop_assert_eq!(world.missing, told);
                    }
                }
                Move::Take(number, before) => {
                    let stream = stream(number);
                    let before = before.min(world.seen.get(&stream).copied().unwrap_or(0));
                    journal.taken(stream, before, Note::new());
                    let earlier = world.taken.entry(stream).or_default();
                    *earlier = before.max(*earlier);
                }
                Move::Die => {
                    journal.rewind();
                    world.seen.clear();
                }
                Move::Gone(app) => journal.forget(|known| known != AppId([app + 10; 16])),
            }
            prop_assert!(journal.size() <= capacity);
            let counted: usize = journal.entries.iter().map(Entry::size).sum();
            prop_assert_eq!(journal.size(), counted);
            prop_assert!(journal.cursor <= journal.entries.len());
        }
    }
}
