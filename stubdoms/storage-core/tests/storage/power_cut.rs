//! The power is cut at every write: what was acknowledged is there, what was not is there as a whole or not at
//! all, and one of two versions starts.
//!
//! The disk double has a cache that only a flush empties. After a cut each block that was written since then is
//! old, new, or torn, independently of all others, which covers every order in which a disk may write. All
//! combinations are tried where they are few; where they are many, each block alone, all but each, and seeded
//! random ones.

use core::time::Duration;
use std::collections::BTreeSet;

use board_support_drv::block::BlockDevice as _;
use board_support_drv::block::fake::{Cut, Image, Log};
use embassy_futures::block_on;
use proto_gpt::slots::{Slot, State};
use proto_svc::sealing::{FromVault, StorageKey, ToVault};
use proto_svc::storage::{Change, Request};

use crate::world::{
    BLOCKS, KEY, Life, MACHINE, Random, Running, Values, boot, disk, fills, flashed, key, puts, select,
    states, system, updates,
};

/// How many disks each test has to open in a run; together they are the 100,000 that a run of CI owes.
const STORE_STATES: usize = 45_000;
const CHAIN_STATES: usize = 5_000;
const SLOT_STATES: usize = 50_000;
const SELECTOR_STATES: usize = 15_000;
const _: () = assert!(STORE_STATES + CHAIN_STATES + SLOT_STATES >= 100_000);

/// What becomes of a block that was not made durable.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fate {
    Old,
    New,
    /// So many bytes of the last write ahead of the one before.
    Torn(usize),
    /// Any of the versions between.
    Any(usize),
}

pub(crate) fn left(cut: &Cut, fates: &[Fate]) -> Image {
    let mut fates = fates.iter();
    let mut tear: Option<usize> = None;
    cut.left(|of: usize| {
        if let Some(bytes) = tear.take() {
            return usize::min(bytes, of - 1);
        }
        let versions = of.div_ceil(2);
        match fates.next().expect("a fate for each block") {
            Fate::Old => 0,
            Fate::New => versions - 1,
            Fate::Torn(bytes) => {
                tear = Some(*bytes);
                of - 1
            }
            Fate::Any(number) => number % versions,
        }
    })
}

/// The fates that are tried for so many blocks.
pub(crate) fn fates(blocks: usize, random: &mut Random, more: usize) -> BTreeSet<Vec<Fate>> {
    let mut all = BTreeSet::new();
    if blocks <= 6 {
        for subset in 0..1_u32 << blocks {
            let fate = |block| if subset & 1_u32 << block == 0 { Fate::Old } else { Fate::New };
            all.insert((0..blocks).map(fate).collect());
        }
    }
    for (rest, other) in [(Fate::Old, Fate::New), (Fate::New, Fate::Old)] {
        all.insert(vec![rest; blocks]);
        for block in 0..blocks {
            let torn = (rest == Fate::Old).then(|| Fate::Torn(random.below(511)));
            for one in core::iter::once(other).chain(torn) {
                let mut some = vec![rest; blocks];
                some[block] = one;
                all.insert(some);
            }
        }
    }
    for _ in 0..if blocks == 0 { 0 } else { more } {
        let mut fate = |_| match random.below(5) {
            0 => Fate::Torn(random.below(511)),
            1 => Fate::Any(random.below(100)),
            2 => Fate::Old,
            _ => Fate::New,
        };
        all.insert((0..blocks).map(&mut fate).collect());
    }
    all
}

/// Something that changes what is stored.
#[derive(Clone, Debug)]
enum Step {
    Put(&'static str, Vec<u8>),
    Delete(&'static str),
    Keep(u8),
}

/// What is stored, and what vault has kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    values: Values,
    sealed: Vec<u8>,
}

impl Model {
    fn after(&self, step: &Step) -> Self {
        let mut after = self.clone();
        match step {
            Step::Put(name, value) => {
                after.values.insert((*name).to_owned(), value.clone());
            }
            Step::Delete(name) => {
                after.values.remove(*name);
            }
            Step::Keep(sealed) => after.sealed = vec![*sealed; 500],
        }
        after
    }

    /// What a life finds on this disk. Nothing of it may be damaged.
    fn of(life: &mut Life) -> Self {
        let Some(ToVault::Open { sealed, .. }) = life.sealed() else { panic!("{:?}", life.started) };
        let heard = life.hear(FromVault::Key { key: StorageKey(KEY), fresh: false });
        let values = life.values();
        assert_eq!(life.damaged(), 0, "{heard:?}");
        Self { values, sealed: sealed.to_vec() }
    }
}

fn carry_out(life: &mut Life, step: &Step) {
    match step {
        Step::Put(name, value) => life.put(name, value),
        Step::Delete(name) => life.done(&Request::Delete { key: key(name) }),
        Step::Keep(sealed) => {
            let kept = life.hear(FromVault::Keep {
                sealed: [*sealed; 500].into_iter().collect(),
                kept: heapless::Vec::new(),
                fresh: false,
            });
            assert_eq!(kept.reply, Some(ToVault::Kept));
        }
    }
}

fn steps(random: &mut Random, count: usize) -> Vec<Step> {
    let names = ["config", "certs", "update", "log.1"];
    let step = |_| {
        let name = names[random.below(names.len())];
        match random.below(8) {
            0 => Step::Delete(name),
            1 => Step::Keep(random.number() as u8),
            2 => Step::Put(name, random.value(20_000)),
            _ => Step::Put(name, random.value(3000)),
        }
    };
    (0..count).map(step).collect()
}

/// A life from a disk on, with the number of events after each step.
fn run(image: &Image, before: &Model, steps: &[Step]) -> (Log, Vec<(usize, Model)>) {
    let disk = disk(image.clone());
    let mut life = Life::start(&disk);
    let mut model = Model::of(&mut life);
    assert_eq!(model, *before);
    let mut marks = vec![(0, model.clone())];
    for step in steps {
        carry_out(&mut life, step);
        model = model.after(step);
        marks.push((disk.log().events().len(), model.clone()));
    }
    let log = disk.log().clone();
    (log, marks)
}

/// What may be found after a cut at an event: what was acknowledged, or that and what was under way.
fn allowed(marks: &[(usize, Model)], at: usize) -> [&Model; 2] {
    let acknowledged = marks.iter().rposition(|(end, _)| *end <= at).unwrap_or_default();
    let next = (acknowledged + 1).min(marks.len() - 1);
    [&marks[acknowledged].1, &marks[next].1]
}

#[test]
fn what_was_acknowledged_is_there_after_every_cut() {
    let mut random = Random(0x5eed);
    let mut states = 0;
    let mut scenario = 0;
    while states < STORE_STATES {
        scenario += 1;
        // The first life formats; the others find something.
        let (mut image, mut model) = (flashed(), Model::default());
        if scenario > 1 {
            let (log, marks) = run(&image, &model, &steps(&mut random, 6));
            let end = log.cut(log.events().len());
            image = left(&end, &vec![Fate::New; end.in_doubt()]);
            model = marks.last().unwrap().1.clone();
        }
        let (log, marks) = run(&image, &model, &steps(&mut random, 3));
        for at in 0..=log.events().len() {
            let cut = log.cut(at);
            for fates in fates(cut.in_doubt(), &mut random, 6) {
                let mut life = Life::start(&disk(left(&cut, &fates)));
                let found = Model::of(&mut life);
                assert!(allowed(&marks, at).contains(&&found), "scenario {scenario}, event {at}");
                states += 1;
                if states % 16 == 0 {
                    // And it goes on from there.
                    life.put("after", b"the cut");
                    let mut later = Life::start(&life.disk);
                    let expected = found.after(&Step::Put("after", b"the cut".to_vec()));
                    assert_eq!(Model::of(&mut later), expected);
                }
            }
        }
    }
    println!("{states} states in {scenario} scenarios");
}

/// Cuts after cuts: also what a life does to mend what the one before left is cut.
#[test]
fn cuts_in_the_midst_of_mending_lose_nothing() {
    let mut states = 0;
    for seed in 0.. {
        if states >= CHAIN_STATES {
            break;
        }
        let mut random = Random(seed);
        let (mut image, mut model) = (flashed(), Model::default());
        for _ in 0..8 {
            let count = 1 + random.below(3);
            let (log, marks) = run(&image, &model, &steps(&mut random, count));
            // Cuts early in a life, where it mends, are as frequent as all others.
            let end = log.events().len();
            let at = if random.below(2) == 0 { random.below(end.min(40)) } else { random.below(end) };
            let cut = log.cut(at);
            let fates: Vec<_> = (0..cut.in_doubt())
                .map(|_| match random.below(4) {
                    0 => Fate::Old,
                    1 => Fate::Torn(random.below(511)),
                    2 => Fate::Any(random.below(100)),
                    _ => Fate::New,
                })
                .collect();
            image = left(&cut, &fates);
            let found = Model::of(&mut Life::start(&disk(image.clone())));
            assert!(allowed(&marks, at).contains(&&found), "seed {seed}, event {at}");
            model = found;
            states += 1;
        }
    }
    println!("{states} states");
}

/// Cuts all that a list of requests writes. `allowed(at)` says what may be started after a cut at an event, by
/// how many requests were answered until then.
fn cut_requests(
    image: &Image,
    running: Slot,
    requests: &[Request],
    more: usize,
    allowed: impl Fn(usize) -> Vec<Running>,
) -> usize {
    let disk = disk(image.clone());
    let life = Life::start_from(&disk, Some(running));
    let mut marks = vec![disk.log().events().len()];
    for request in requests {
        life.done(request);
        marks.push(disk.log().events().len());
    }
    let log = disk.log().clone();
    let mut random = Random(requests.len() as u64);
    let mut seen = 0;
    for at in 0..=log.events().len() {
        let answered = marks.iter().filter(|end| **end <= at).count().saturating_sub(1);
        let expected = allowed(answered);
        let cut = log.cut(at);
        for fates in fates(cut.in_doubt(), &mut random, more) {
            let mut image = left(&cut, &fates);
            let started = boot(&mut image).expect("one of two versions starts, never neither");
            assert!(expected.contains(&started), "{started:?} at {at}, {answered} answered");
            seen += 1;
        }
    }
    seen
}

#[test]
fn one_of_two_versions_starts_after_every_cut() {
    let a = || (Slot::A, "1.0.0".to_owned());
    let b = || (Slot::B, "1.1.0".to_owned());
    let mut seen = 0;

    // An update, from the first request to the last: the old version until the other one is armed.
    let requests = updates(&system("1.1.0"));
    let arm = requests.len() - 1;
    seen += cut_requests(&flashed(), Slot::A, &requests, 3, |answered| match answered {
        answered if answered < arm => vec![a()],
        answered if answered == arm => vec![a(), b()],
        _ => vec![b()],
    });

    // The same over one that was filled in part, and over one that is armed already.
    let half = disk(flashed());
    let life = Life::start(&half);
    fills(&system("1.0.5")).iter().take(12).for_each(|request| life.done(request));
    seen += cut_requests(&half.image(), Slot::A, &requests, 2, |answered| match answered {
        answered if answered < arm => vec![a()],
        answered if answered == arm => vec![a(), b()],
        _ => vec![b()],
    });
    let armed = disk(flashed());
    let life = Life::start(&armed);
    updates(&system("1.0.5")).iter().for_each(|request| life.done(request));
    let old = || (Slot::B, "1.0.5".to_owned());
    seen += cut_requests(&armed.image(), Slot::A, &requests, 2, |answered| match answered {
        0 => vec![a(), old()],
        answered if answered < arm => vec![a()],
        answered if answered == arm => vec![a(), b()],
        _ => vec![b()],
    });

    // The trial: started once; committed or not.
    let updated = disk(flashed());
    let life = Life::start(&updated);
    requests.iter().for_each(|request| life.done(request));
    let mut trial = updated.image();
    assert_eq!(boot(&mut trial), Some(b()));
    assert_eq!(states(&trial), [State::ACTIVE, State { tries: 0, ..State::UPDATING }]);
    assert_eq!(boot(&mut trial.clone()), Some(a()), "it is started once");
    let commit = [Request::Change(Change::Commit)];
    seen += cut_requests(&trial, Slot::B, &commit, 150, |answered| match answered {
        0 => vec![a(), b()],
        _ => vec![b()],
    });

    // Abandoned, tried again, and back to what was there before.
    // The disk, what runs, the change; what may be started meanwhile, and what after it.
    type Case = (Image, Slot, Change, Vec<Running>, Vec<Running>);
    let changes: [Case; 3] = [
        (updated.image(), Slot::A, Change::Abandon, vec![a(), b()], vec![a()]),
        (
            {
                let mut fallen = trial.clone();
                assert_eq!(boot(&mut fallen), Some(a()));
                fallen
            },
            Slot::A,
            Change::TryOther,
            vec![a(), b()],
            vec![b()],
        ),
        (
            {
                let committed = disk(trial.clone());
                Life::start_from(&committed, Some(Slot::B)).done(&commit[0]);
                assert_eq!(states(&committed.image()), [State::SPARE, State::ACTIVE]);
                committed.image()
            },
            Slot::B,
            Change::TryOther,
            vec![a(), b()],
            vec![a()],
        ),
    ];
    for (image, running, change, meanwhile, after) in changes {
        let requests = [Request::Change(change)];
        seen += cut_requests(&image, running, &requests, 150, |answered| {
            if answered == 0 { meanwhile.clone() } else { after.clone() }
        });
    }
    println!("{seen} states");
    assert!(seen >= SLOT_STATES, "only {seen}");
}

/// What a selector writes to this disk, and what it starts.
fn selected(image: &Image) -> (Log, Running) {
    let disk = disk(image.clone());
    let write = |write: Option<(u64, &[u8])>| {
        let mut disk = disk.clone();
        let done = match write {
            Some((block, bytes)) => block_on(disk.write(block, bytes, Duration::ZERO)),
            None => block_on(disk.flush(Duration::ZERO)),
        };
        done.expect("the disk is well");
    };
    let started = select(image, MACHINE, write).started.expect("one of two versions starts");
    (disk.log().clone(), started)
}

/// The selector's own writes: it takes off a try, on a table that is sound or that it mends first.
#[test]
fn one_of_two_versions_starts_after_every_cut_of_a_selector() {
    let updated = disk(flashed());
    let life = Life::start(&updated);
    updates(&system("1.1.0")).iter().for_each(|request| life.done(request));
    let sound = updated.image();
    // Each copy damaged, and each out of date.
    let before = flashed();
    let copies = [(1, 33), (BLOCKS - 33, BLOCKS - 1)];
    let mut images = vec![sound.clone()];
    for (first, last) in copies {
        let (mut damaged, mut stale) = (sound.clone(), sound.clone());
        let mut bytes = sound.block(first);
        bytes[50] ^= 1;
        damaged.put(first, &bytes);
        (first..=last).for_each(|block| stale.put(block, &before.block(block)));
        images.extend([damaged, stale]);
    }
    let (a, b) = ((Slot::A, "1.0.0".to_owned()), (Slot::B, "1.1.0".to_owned()));
    let mut random = Random(4);
    let mut seen = 0;
    for (number, image) in images.iter().enumerate() {
        let (log, started) = selected(image);
        let armed = started == b;
        for at in 0..=log.events().len() {
            let cut = log.cut(at);
            for fates in fates(cut.in_doubt(), &mut random, 8) {
                let (next, started) = selected(&left(&cut, &fates));
                assert!(started == a || started == b && armed, "{started:?}: disk {number}, event {at}");
                if at == log.events().len() {
                    assert_eq!(started, a, "the try was taken off: disk {number}");
                }
                if started == b {
                    // Once: whatever was cut, the start after that is of the old version.
                    let end = next.cut(next.events().len());
                    let after = left(&end, &vec![Fate::New; end.in_doubt()]);
                    assert_eq!(selected(&after).1, a, "disk {number}, event {at}");
                }
                seen += 1;
            }
        }
    }
    println!("{seen} states");
    assert!(seen >= SELECTOR_STATES, "only {seen}");
}

/// Values and a slot at the same time, as when the agent notes how far its download is.
#[test]
fn slots_and_values_do_not_disturb_each_other() {
    let disk_ = disk(flashed());
    let life = Life::open(&disk_);
    let system = system("2.0.0");
    for (number, request) in fills(&system).iter().enumerate() {
        life.done(request);
        puts("progress", number.to_string().as_bytes()).iter().for_each(|request| life.done(request));
    }
    life.done(&Request::Verify);
    life.done(&Request::Change(Change::Arm));
    let mut image = disk_.image();
    assert_eq!(boot(&mut image), Some((Slot::B, "2.0.0".to_owned())));
    let expected = fills(&system).len() - 1;
    assert_eq!(Life::open(&disk(image)).try_get("progress"), Ok(expected.to_string().into_bytes()));
}
