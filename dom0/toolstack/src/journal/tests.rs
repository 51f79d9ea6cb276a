//! What is kept, given, taken and lost.

use std::{collections::BTreeMap, vec, vec::Vec};

use proptest::prelude::*;
use proto_svc::supervision::Level;

use super::*;

const APP: AppId = AppId([1; 16]);

fn record(number: u64) -> LogRecord {
    LogRecord { level: Level::Info, at_ns: number, text: "a line".try_into().unwrap() }
}

/// What came: of each stream where it begins and how much it is; `None` for what was lost.
fn given(journal: &mut Journal) -> Vec<(Stream, Option<u64>, u64)> {
    let mut all = Vec::new();
    while let Some(given) = journal.give().or_else(|| journal.give_gap()) {
        all.push(match given {
            ToControl::Log { sequence, .. } => (None, Some(sequence), 1),
            ToControl::ConsoleOutput { app, offset, bytes } => (Some(app), Some(offset), bytes.len() as u64),
            ToControl::Lost { lines, console_bytes: 0 } => (None, None, lines.into()),
            ToControl::Lost { console_bytes, .. } => (Some(APP), None, console_bytes.into()),
            other => panic!("{other:?}"),
        });
    }
    all
}

#[test]
fn what_is_taken_is_not_given_again() {
    let mut journal = Journal::default();
    (0..5).for_each(|turn| journal.log(turn, "net", &record(turn)));
    assert_eq!(given(&mut journal).len(), 5);
    journal.taken(None, 4, Note::new());
    journal.rewind();
    assert_eq!(given(&mut journal), [(None, Some(4), 1), (None, Some(5), 1)]);
    journal.taken(None, 6, Note::new());
    journal.rewind();
    assert_eq!((given(&mut journal), journal.size()), (vec![], 0));
}

#[test]
fn a_console_is_cut_where_it_was_taken() {
    let mut journal = Journal::default();
    journal.console(1, APP, b"one line\nhalf a");
    assert_eq!(given(&mut journal), [(Some(APP), Some(0), 15)]);
    journal.taken(Some(APP), 9, Note::new());
    journal.console(2, APP, b" line\n");
    journal.rewind();
    assert_eq!(given(&mut journal), [(Some(APP), Some(9), 6), (Some(APP), Some(15), 6)]);
}

#[test]
fn console_bytes_are_joined_until_they_are_given() {
    let mut journal = Journal::default();
    journal.console(1, APP, b"one ");
    journal.console(2, APP, b"line\n");
    assert_eq!(given(&mut journal), [(Some(APP), Some(0), 9)]);
    journal.console(3, APP, &[7; 2000]);
    journal.console(4, AppId([2; 16]), b"x");
    let lengths: Vec<_> = given(&mut journal).into_iter().map(|(_, _, length)| length).collect();
    assert_eq!(lengths, [900, 900, 200, 1]);
}

#[test]
fn the_oldest_goes_and_what_control_never_had_is_told() {
    let mut journal = Journal::new(20 * (OVERHEAD + 9) + 63);
    (0..20).for_each(|turn| journal.log(turn, "net", &record(turn)));
    assert_eq!(given(&mut journal).len(), 20);
    // Five that control has go for five new ones: that is no loss while this control lives.
    (20..25).for_each(|turn| journal.log(turn, "net", &record(turn)));
    let new: Vec<_> = (21..26).map(|sequence| (None, Some(sequence), 1)).collect();
    assert_eq!(given(&mut journal), new);
    // For the next one it is.
    journal.rewind();
    let all = given(&mut journal);
    assert_eq!(all[..2], [(None, None, 5), (None, Some(6), 1)]);
    assert_eq!(all.len(), 21);
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
    assert!(all.contains(&(Some(AppId([2; 16])), Some(0), 500)));
    assert!(journal.size() <= 50_000);
}

#[test]
fn a_stream_of_which_nothing_is_kept_is_told_as_lost() {
    let mut journal = Journal::new(0);
    journal.log(1, "net", &record(1));
    journal.console(2, APP, &[0; 100]);
    assert_eq!(given(&mut journal), [(None, None, 1), (Some(APP), None, 100)]);
    assert_eq!(given(&mut journal), []);
}

#[test]
fn control_cannot_take_what_it_never_had() {
    let mut journal = Journal::default();
    journal.log(1, "net", &record(1));
    journal.taken(None, u64::MAX, Note::new());
    journal.taken(Some(APP), u64::MAX, Note::new());
    assert_eq!(given(&mut journal), [(None, Some(1), 1)]);
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
    let never_had = journal.forgotten;
    let told: u64 =
        given(&mut journal).iter().filter(|(stream, ..)| stream.is_some()).map(|told| told.2).sum();
    assert_eq!(told + 999, 2000);
    // A later control is told of what that one had and did not take.
    journal.rewind();
    let told: u64 =
        given(&mut journal).iter().filter(|(stream, ..)| stream.is_some()).map(|told| told.2).sum();
    assert_eq!(told, 2000 - never_had);
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

/// A control that checks what it is given.
#[derive(Default)]
struct Control {
    /// Up to where each stream came, gaps that were told included.
    seen: BTreeMap<Stream, u64>,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Every life of control is given each stream from what was taken on, in order, and without a gap that is
    /// not told; and the memory holds its bound.
    #[test]
    fn nothing_is_lost_in_silence(capacity in 0..20_000_usize, moves in moves()) {
        let mut journal = Journal::new(capacity);
        let (mut turn, mut added) = (0, BTreeMap::<Stream, u64>::from([(None, 1)]));
        let mut taken = BTreeMap::<Stream, u64>::new();
        let mut control = Control::default();
        let stream = |number: u8| (number < 3).then_some(AppId([number; 16]));
        for next in moves {
            turn += 1;
            match next {
                Move::Log => {
                    journal.log(turn, "net", &record(turn));
                    *added.entry(None).or_default() += 1;
                }
                Move::Console(app, length) => {
                    journal.console(turn, AppId([app; 16]), &vec![app; length]);
                    *added.entry(stream(app)).or_default() += length as u64;
                }
                Move::Give(count) => {
                    for _ in 0..count {
                        let Some(given) = journal.give() else { break };
                        let first = |stream: Stream| u64::from(stream.is_none());
                        match given {
                            ToControl::Log { sequence, .. } => {
                                let seen = control.seen.entry(None).or_insert(first(None).max(taken.get(&None).copied().unwrap_or(0)));
                                prop_assert_eq!(*seen, sequence);
                                *seen += 1;
                            }
                            ToControl::ConsoleOutput { app, offset, bytes } => {
                                let from = taken.get(&Some(app)).copied().unwrap_or(0);
                                let seen = control.seen.entry(Some(app)).or_insert(from);
                                prop_assert_eq!(*seen, offset);
                                prop_assert!(bytes.iter().all(|&byte| byte == app.0[0]));
                                *seen += bytes.len() as u64;
                            }
                            ToControl::Lost { lines, console_bytes: 0 } => {
                                let from = first(None).max(taken.get(&None).copied().unwrap_or(0));
                                *control.seen.entry(None).or_insert(from) += u64::from(lines);
                            }
                            ToControl::Lost { console_bytes, .. } => {
                                // Of which console shows with the bytes that follow.
                                let Some(ToControl::ConsoleOutput { app, offset, bytes }) = journal.give() else {
                                    panic!("a gap before nothing")
                                };
                                let from = taken.get(&Some(app)).copied().unwrap_or(0);
                                let seen = control.seen.entry(Some(app)).or_insert(from);
                                prop_assert_eq!(*seen + u64::from(console_bytes), offset);
                                *seen = offset + bytes.len() as u64;
                            }
                            other => panic!("{other:?}"),
                        }
                    }
                }
                Move::Take(number, before) => {
                    let stream = stream(number);
                    let before = before.min(control.seen.get(&stream).copied().unwrap_or(0));
                    journal.taken(stream, before, Note::new());
                    let earlier = taken.entry(stream).or_default();
                    *earlier = before.max(*earlier);
                }
                Move::Die => {
                    journal.rewind();
                    control = Control::default();
                }
                Move::Gone(app) => journal.forget(|known| known != AppId([app + 10; 16])),
            }
            prop_assert!(journal.size() <= capacity);
            let counted: usize = journal.entries.iter().map(Entry::size).sum();
            prop_assert_eq!(journal.size(), counted);
            prop_assert!(journal.cursor <= journal.entries.len());
        }
        // In the end everything that was added is accounted for.
        while let Some(given) = journal.give().or_else(|| journal.give_gap()) {
            let _ = given;
        }
        for progress in &journal.streams {
            prop_assert_eq!(Some(&progress.end), added.get(&progress.stream));
            prop_assert_eq!(progress.given, progress.end);
        }
    }
}
