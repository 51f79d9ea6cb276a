use alloc::{string::String, vec};

use super::*;

/// A store that answers at once.
#[derive(Default)]
struct Store {
    values: BTreeMap<String, Vec<u8>>,
    begun: Vec<u8>,
}

impl Store {
    fn answer(&mut self, request: Request) -> Answer {
        match request {
            Request::Get { key, offset } => match self.values.get(key.as_str()) {
                None => Answer::Refused { refusal: Refusal::NoValue, reason: heapless::String::new() },
                Some(value) => {
                    let rest = &value[offset as usize..];
                    let piece = &rest[..rest.len().min(MAX_PIECE)];
                    let bytes = heapless::Vec::from_slice(piece).unwrap();
                    Answer::Value { total: value.len() as u32, offset, bytes }
                }
            },
            Request::Put { key, total, offset, bytes } => {
                if offset == 0 {
                    self.begun.clear();
                }
                assert_eq!(offset as usize, self.begun.len());
                self.begun.extend_from_slice(&bytes);
                if self.begun.len() == total as usize {
                    self.values.insert(key.as_str().into(), core::mem::take(&mut self.begun));
                }
                Answer::Done
            }
            Request::Delete { key } => {
                self.values.remove(key.as_str());
                Answer::Done
            }
            Request::Next { after } => {
                let next = self.values.keys().find(|name| name.as_str() > after.as_str());
                Answer::Name(next.map(|name| Key::try_from(name.as_str()).unwrap()))
            }
            other => panic!("{other:?}"),
        }
    }

    fn serve(&mut self, keep: &mut Keep) -> bool {
        let mut settled = false;
        while let Some(request) = keep.next(at(0)) {
            settled |= keep.answered(at(0), self.answer(request));
        }
        settled
    }
}

fn at(seconds: u64) -> Instant {
    Instant(0).after(Duration::from_secs(seconds))
}

fn opened(store: &mut Store) -> Keep {
    let mut keep = Keep::expecting(at(0));
    keep.set_open(true);
    assert!(store.serve(&mut keep) && keep.is_settled() && keep.is_open());
    keep
}

#[test]
fn values_of_every_length_come_back() {
    let mut store = Store::default();
    let mut keep = opened(&mut store);
    let lengths = [1, 899, 900, 901, 1800, 5000, MAX_VALUE as usize];
    for (name, length) in Name::RECORDS.into_iter().zip(lengths) {
        let bytes: Vec<u8> = (0..length).map(|at| (at * 7 + length) as u8).collect();
        keep.put(name, bytes);
        assert!(!keep.is_kept(name));
    }
    store.serve(&mut keep);
    let mut again = opened(&mut store);
    for (name, length) in Name::RECORDS.into_iter().zip(lengths) {
        assert!(keep.is_kept(name));
        let bytes: Vec<u8> = (0..length).map(|at| (at * 7 + length) as u8).collect();
        assert!(again.take(name) == Some(bytes), "{name:?}");
        assert_eq!(again.take(name), None, "once");
    }
}

#[test]
fn the_newest_bytes_of_a_name_are_what_is_kept() {
    let mut store = Store::default();
    let mut keep = opened(&mut store);
    keep.put(Name::Config, vec![1; 3000]);
    let first = keep.next(at(0)).unwrap();
    assert!(!keep.answered(at(0), store.answer(first)));
    keep.put(Name::Config, vec![2; 10]);
    assert!(!keep.is_kept(Name::Config));
    store.serve(&mut keep);
    assert!(keep.is_kept(Name::Config));
    assert_eq!(store.values["config"], vec![2; 10]);
}

#[test]
fn what_was_interrupted_is_written_again_and_read_again() {
    let mut store = Store::default();
    store.values.insert("certs".into(), vec![5; 2000]);
    let mut keep = Keep::expecting(at(0));
    keep.set_open(true);
    // Storage ends in the middle of the second value.
    for _ in 0..2 {
        let request = keep.next(at(0)).unwrap();
        keep.answered(at(0), store.answer(request));
    }
    keep.next(at(0)).unwrap();
    keep.set_open(false);
    assert!(keep.next(at(0)).is_none() && !keep.is_settled());
    keep.set_open(true);
    assert!(store.serve(&mut keep));
    assert_eq!(keep.take(Name::Certs), Some(vec![5; 2000]));
    // And in the middle of a value that is written.
    keep.put(Name::Update, vec![6; 2000]);
    let request = keep.next(at(0)).unwrap();
    keep.answered(at(0), store.answer(request));
    keep.next(at(0)).unwrap();
    keep.set_open(false);
    assert!(!keep.is_kept(Name::Update));
    keep.set_open(true);
    store.serve(&mut keep);
    assert_eq!(store.values["update"], vec![6; 2000]);
}

#[test]
fn a_store_that_is_locked_is_waited_for_and_one_that_is_not_there_is_not() {
    let locked = Answer::Refused { refusal: Refusal::Locked, reason: heapless::String::new() };
    let mut keep = Keep::expecting(at(0));
    keep.set_open(true);
    keep.next(at(0)).unwrap();
    assert!(!keep.answered(at(0), locked.clone()) && keep.next(at(0)).is_none());
    assert!(!keep.step(at(9999), true) && !keep.is_settled());
    let mut store = Store::default();
    keep.set_open(true);
    assert!(store.serve(&mut keep));
    // It closes again, with a value under way.
    keep.put(Name::Boots, vec![1]);
    keep.next(at(0)).unwrap();
    keep.answered(at(0), locked);
    keep.set_open(true);
    store.serve(&mut keep);
    assert_eq!(store.values["boots"], [1]);

    let mut keep = Keep::expecting(at(0));
    assert_eq!(keep.deadline(at(0), false), Some(at(60)));
    assert!(!keep.step(at(59), false) && keep.step(at(60), false) && keep.is_settled());
    // What counts on from what storage has is not held for one that may never come.
    keep.put(Name::Config, vec![1; 100]);
    keep.put(Name::Boots, vec![2]);
    assert!(!keep.is_kept(Name::Config) && keep.is_kept(Name::Boots));
    // Should it come all the same, what it has is read, and what is newer is written.
    store.values.insert("config".into(), vec![9]);
    keep.set_open(true);
    assert!(store.serve(&mut keep) && keep.take(Name::Boots) == Some(vec![1]));
    assert_eq!((keep.take(Name::Config), &store.values["config"]), (None, &vec![1; 100]));

    // In a system without storage nothing is held.
    let mut keep = Keep::new();
    keep.put(Name::Config, vec![1; 100]);
    assert!(keep.is_kept(Name::Config));
}

#[test]
fn answers_that_make_no_sense_leave_a_value_out() {
    let odd = [
        Answer::Done,
        Answer::Name(None),
        Answer::Value { total: 10, offset: 5, bytes: heapless::Vec::new() },
        Answer::Value { total: MAX_VALUE + 1, offset: 0, bytes: heapless::Vec::from_slice(&[1]).unwrap() },
        Answer::Value { total: 5, offset: 0, bytes: heapless::Vec::new() },
        Answer::Value { total: 1, offset: 0, bytes: heapless::Vec::from_slice(&[1, 2]).unwrap() },
    ];
    for answer in odd {
        let mut keep = Keep::expecting(at(0));
        keep.set_open(true);
        while keep.next(at(0)).is_some() {
            keep.answered(at(0), answer.clone());
        }
        assert!(keep.is_settled());
        assert!(Name::RECORDS.into_iter().all(|name| keep.take(name).is_none()));
    }
    // A value that stops before its end.
    let mut keep = Keep::expecting(at(0));
    keep.set_open(true);
    while let Some(request) = keep.next(at(0)) {
        let piece: &[u8] = if matches!(request, Request::Get { offset: 0, .. }) { &[1] } else { &[] };
        let (offset, bytes) = (1 - piece.len() as u32, heapless::Vec::from_slice(piece).unwrap());
        keep.answered(at(0), Answer::Value { total: 3, offset, bytes });
    }
    assert!(keep.is_settled() && Name::RECORDS.into_iter().all(|name| keep.take(name).is_none()));
}

/// Whoever has taken storage over answers what it likes: neither the heap nor the patience has to be without bound.
#[test]
fn a_list_without_end_ends() {
    /// Reads it all; `names` tells the name behind the last, `each` what a value has. How much was asked and is held.
    fn read(names: impl Fn(u32) -> u32, each: u32) -> (usize, usize) {
        let mut keep = Keep::expecting(at(0));
        keep.set_open(true);
        let (mut asked, mut named) = (0, 0);
        while let Some(request) = keep.next(at(0)) {
            asked += 1;
            assert!(asked < 100_000, "it asks on and on");
            let answer = match request {
                Request::Next { .. } => {
                    named += 1;
                    Answer::Name(Some(Name::Log(names(named)).key()))
                }
                Request::Get { key, offset } if key.starts_with(LOG) && each > 0 => {
                    let length = ((each - offset) as usize).min(MAX_PIECE);
                    let bytes = heapless::Vec::from_slice(&[7; MAX_PIECE][..length]).unwrap();
                    Answer::Value { total: each, offset, bytes }
                }
                _ => Answer::Refused { refusal: Refusal::NoValue, reason: heapless::String::new() },
            };
            keep.answered(at(0), answer);
        }
        assert!(keep.is_open());
        (asked, keep.found.values().map(Vec::len).sum())
    }
    let most = (MAX_LISTED_BYTES + MAX_VALUE as usize) as u32;
    assert!(read(|named| named, MAX_VALUE).1 <= most as usize, "the largest values");
    assert!(read(|named| named, 0).0 < 1000, "names without values");
    assert!(read(|named| named, 1).0 < 1000, "the smallest values");
    for each in [0, 1, MAX_VALUE] {
        assert!(read(|_| 7, each).1 <= each as usize, "the same name again");
        assert!(read(|named| named % 2, each).1 <= 2 * each as usize, "names that fall");
    }
}

#[test]
fn what_is_too_long_is_not_kept() {
    let mut store = Store::default();
    let mut keep = opened(&mut store);
    keep.put(Name::Config, vec![0; MAX_VALUE as usize + 1]);
    assert!(keep.is_kept(Name::Config) && keep.next(at(0)).is_none());
}

fn refused() -> Answer {
    Answer::Refused { refusal: Refusal::Disk, reason: "the disk fails".try_into().unwrap() }
}

/// A disk that fails at any piece: the value is written later, the reason is known until then, and nobody has to wait.
#[test]
fn what_storage_refuses_is_written_again_ever_more_rarely() {
    for failing in 0..3 {
        let mut store = Store::default();
        let mut keep = opened(&mut store);
        keep.put(Name::Boots, vec![1; 2000]);
        keep.put(Name::Update, vec![2; 10]);
        let mut now = 0;
        let mut pauses = Vec::new();
        for _ in 0..8 {
            // All pieces are on their way when the first answer comes, as on the real channel.
            let pieces: Vec<Request> = core::iter::from_fn(|| keep.next(at(now))).collect();
            assert_eq!(pieces.len(), 3, "{now}");
            for number in 0..3 {
                assert!(!keep.answered(at(now), if number < failing { Answer::Done } else { refused() }));
            }
            assert!(!keep.is_kept(Name::Boots) && keep.is_tried(Name::Boots));
            assert_eq!(keep.trouble(), Some((Name::Boots, "the disk fails")));
            // Another value does not wait for it.
            while let Some(request) = keep.next(at(now)) {
                keep.answered(at(now), store.answer(request));
            }
            assert!(keep.is_kept(Name::Update));
            let again = keep.deadline(at(now), true).unwrap();
            let pause = again.since(at(now)).as_secs();
            assert!(keep.next(at(now + pause - 1)).is_none());
            pauses.push(pause);
            now += pause;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        while let Some(request) = keep.next(at(now)) {
            keep.answered(at(now), store.answer(request));
        }
        assert!(keep.is_kept(Name::Boots) && keep.trouble().is_none() && store.values["boots"] == [1; 2000]);
        assert_eq!(keep.deadline(at(now), true), None);
    }
}

#[test]
fn what_cannot_be_read_is_tried_for_a_minute() {
    for good_after in [3, 50, 100] {
        let mut store = Store::default();
        store.values.insert("identity".into(), vec![1; 2000]);
        store.values.insert("update".into(), vec![2]);
        let mut keep = Keep::expecting(at(0));
        keep.set_open(true);
        let mut now = 0;
        while !keep.is_settled() {
            match keep.next(at(now)) {
                Some(request @ Request::Get { .. }) => {
                    let fails = matches!(&request, Request::Get { key, .. } if key == "identity");
                    let answer = if fails && now < good_after { refused() } else { store.answer(request) };
                    keep.answered(at(now), answer);
                }
                Some(request) => drop(keep.answered(at(now), store.answer(request))),
                None => now = keep.deadline(at(now), true).unwrap().since(at(0)).as_secs(),
            }
        }
        let expected = (good_after < 60).then(|| vec![1; 2000]);
        assert!(keep.take(Name::Identity) == expected && now <= 125, "{good_after} {now}");
        assert_eq!(keep.take(Name::Update), Some(vec![2]));
        assert_eq!(store.values["identity"], [1; 2000], "it is left alone");
    }
}

#[test]
fn what_is_listed_is_found_by_number_and_dropped() {
    let mut store = Store::default();
    let mut keep = opened(&mut store);
    for number in [7, 3, 0x1234_5678] {
        keep.put(Name::Log(number), vec![number as u8; 1000]);
    }
    store.serve(&mut keep);
    keep.put(Name::Metrics(9), vec![9; 10]);
    store.serve(&mut keep);
    let mut stored: Vec<Name> = core::iter::from_fn(|| keep.next_stored()).collect();
    stored.sort_unstable();
    assert_eq!(stored, [Name::Log(3), Name::Log(7), Name::Log(0x1234_5678), Name::Metrics(9)]);
    // What is none of ours, or is behind them, is left alone.
    store.values.insert("log.x".into(), vec![1]);
    store.values.insert("zebra".into(), vec![1]);
    let mut keep = opened(&mut store);
    let found: Vec<_> = core::iter::from_fn(|| keep.take_log()).collect();
    assert_eq!(found, [3, 7, 0x1234_5678].map(|number: u32| (number, vec![number as u8; 1000])));
    assert_eq!((keep.take_metrics(), keep.take_metrics()), (Some((9, vec![9; 10])), None));
    keep.drop(Name::Log(7));
    store.serve(&mut keep);
    assert_eq!((keep.next_stored(), store.values.contains_key("log.00000007")), (None, false));
    assert_eq!(store.values.len(), 5);
}
