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
            other => panic!("{other:?}"),
        }
    }

    fn serve(&mut self, keep: &mut Keep) -> bool {
        let mut settled = false;
        while let Some(request) = keep.next() {
            settled |= keep.answered(self.answer(request));
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
    for (name, length) in Name::ALL.into_iter().zip(lengths) {
        let bytes: Vec<u8> = (0..length).map(|at| (at * 7 + length) as u8).collect();
        keep.put(name, bytes);
        assert!(!keep.is_kept(name));
    }
    store.serve(&mut keep);
    let mut again = opened(&mut store);
    for (name, length) in Name::ALL.into_iter().zip(lengths) {
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
    let first = keep.next().unwrap();
    assert!(!keep.answered(store.answer(first)));
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
        let request = keep.next().unwrap();
        keep.answered(store.answer(request));
    }
    keep.next().unwrap();
    keep.set_open(false);
    assert!(keep.next().is_none() && !keep.is_settled());
    keep.set_open(true);
    assert!(store.serve(&mut keep));
    assert_eq!(keep.take(Name::Certs), Some(vec![5; 2000]));
    // And in the middle of a value that is written.
    keep.put(Name::Update, vec![6; 2000]);
    let request = keep.next().unwrap();
    keep.answered(store.answer(request));
    keep.next().unwrap();
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
    keep.next().unwrap();
    assert!(!keep.answered(locked.clone()) && keep.next().is_none());
    assert!(!keep.step(at(9999), true) && !keep.is_settled());
    let mut store = Store::default();
    keep.set_open(true);
    assert!(store.serve(&mut keep));
    // It closes again, with a value under way.
    keep.put(Name::Boots, vec![1]);
    keep.next().unwrap();
    keep.answered(locked);
    keep.set_open(true);
    store.serve(&mut keep);
    assert_eq!(store.values["boots"], [1]);

    let mut keep = Keep::expecting(at(0));
    assert_eq!(keep.deadline(false), Some(at(60)));
    assert!(!keep.step(at(59), false) && keep.step(at(60), false) && keep.is_settled());
    // Nothing is held for a store that may never come.
    keep.put(Name::Config, vec![1; 100]);
    assert!(keep.is_kept(Name::Config));
    // Should it come all the same, what it has is read.
    keep.set_open(true);
    assert!(store.serve(&mut keep) && keep.take(Name::Boots) == Some(vec![1]));
}

#[test]
fn answers_that_make_no_sense_leave_a_value_out() {
    let odd = [
        Answer::Done,
        Answer::Name(None),
        Answer::Value { total: 10, offset: 5, bytes: heapless::Vec::new() },
        Answer::Value { total: MAX_VALUE + 1, offset: 0, bytes: heapless::Vec::from_slice(&[1]).unwrap() },
        Answer::Value { total: 5, offset: 0, bytes: heapless::Vec::new() },
    ];
    for answer in odd {
        let mut keep = Keep::expecting(at(0));
        keep.set_open(true);
        while keep.next().is_some() {
            keep.answered(answer.clone());
        }
        assert!(keep.is_settled());
        assert!(Name::ALL.into_iter().all(|name| keep.take(name).is_none()));
        // Refused writes are given up, not repeated without end.
        keep.put(Name::Boots, vec![1; 2000]);
        while keep.next().is_some() {}
        (0..3).for_each(|_| assert!(!keep.answered(answer.clone())));
        assert!(keep.is_kept(Name::Boots));
    }
}

#[test]
fn what_is_too_long_is_not_kept() {
    let mut store = Store::default();
    let mut keep = opened(&mut store);
    keep.put(Name::Config, vec![0; MAX_VALUE as usize + 1]);
    assert!(keep.is_kept(Name::Config) && keep.next().is_none());
}
