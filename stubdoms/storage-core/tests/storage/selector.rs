//! Replacing the selector, as control asks for it: by what came with a slot alone, and only when that may be. On a disk
//! that is cut at every write, fails at every call or loses storage at any instant: whatever of the unflushed blocks is
//! old, new or torn, firmware finds a selector that was whole, the old one or the new one.

use core::pin::pin;
use core::time::Duration;

use board_support_drv::block::fake::{Done, Event, Failure, FakeDisk, Image};
use board_support_drv::block::{Error, Fault};
use embassy_futures::poll_once;
use proto_gpt::slots::{Slot, State};
use proto_svc::storage::{Answer, Change, Refusal, Request, Selector, SlotName};

use crate::power_cut::{fates, left};
use crate::world::{
    BLOCK, ESP_1, ESP_2, ESP_BLOCKS, Life, Random, SLOT_A, SLOT_B, boot, disk, fills, put, system,
    system_with, table_with,
};

/// How many disks the test of cuts has to look at.
const STATES: usize = 10_000;
const SECOND: Request = Request::ReplaceSelector(Selector::Second);
const FIRST: Request = Request::ReplaceSelector(Selector::First);
const SECOND_BACK: Request = Request::ReplaceSelector(Selector::SecondBack);
const REPLACED: Answer = Answer::Selector { replaced: true };
const THERE: Answer = Answer::Selector { replaced: false };

/// What firmware takes for a FAT file system, by the fields that it looks at.
fn image(seed: u8, blocks: usize) -> Vec<u8> {
    let mut image: Vec<u8> = (0..blocks * BLOCK).map(|at| (at / 3) as u8 ^ seed | 1).collect();
    image[..16].copy_from_slice(b"\xeb\x3c\x90SARSEN  \x00\x02\x01\x01\x00");
    image[19..21].copy_from_slice(&(ESP_BLOCKS as u16).to_le_bytes());
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    image
}

/// The selectors of both versions, the later one longer.
fn old() -> Vec<u8> {
    image(0, 16)
}

fn new() -> Vec<u8> {
    image(0x5a, 24)
}

/// UEFI's FAT driver takes what has this many bytes a sector, sectors a cluster and reserved sectors, and the
/// signature; at the three bytes ahead of them, the jump, and the name it does not look.
fn is_file_system(first: &[u8]) -> bool {
    first[11..13] == 512_u16.to_le_bytes()
        && first[13] == 1
        && first[14..16] == [1, 0]
        && first[510..512] == [0x55, 0xaa]
}

fn partition(disk: &Image, at: u64) -> Vec<u8> {
    let mut bytes = vec![0; ESP_BLOCKS as usize * BLOCK];
    disk.get(at, &mut bytes);
    bytes
}

/// What firmware starts is whole: it is one of the two selectors, but for what nobody looks at.
fn starts(disk: &Image) -> bool {
    let mut partitions = [ESP_1, ESP_2].map(|at| partition(disk, at)).into_iter();
    let Some(found) = partitions.find(|bytes| is_file_system(bytes)) else { return false };
    [old(), new()].iter().any(|image| found[11..image.len()] == image[11..])
}

fn holds(disk: &Image, at: u64, image: &[u8]) -> bool {
    partition(disk, at).starts_with(image)
}

/// 1.0.0 in both slots, with its selector, which both partitions have.
fn flashed() -> Image {
    let mut image = table_with(State::ACTIVE, State::SPARE, 2);
    for first in [SLOT_A, SLOT_B] {
        put(&mut image, first, &system_with("1.0.0", &old()));
    }
    put(&mut image, ESP_1, &old());
    put(&mut image, ESP_2, &old());
    image
}

/// And 1.1.0 in slot B, with another selector.
fn filled() -> Image {
    let disk = disk(flashed());
    Life::start(&disk).fill(&system_with("1.1.0", &new()));
    disk.image()
}

/// A life in which that is verified.
fn verified(disk: &FakeDisk) -> Life {
    let life = Life::start(disk);
    life.done(&Request::Verify);
    life
}

/// The second selector was replaced, 1.1.0 was started, and has proven itself.
fn committed() -> Image {
    let disk = trial();
    Life::start_from(&disk, Some(Slot::B)).done(&Request::Change(Change::Commit));
    disk.image()
}

/// And the first one was replaced, while the second is from before.
fn behind() -> Image {
    let mut image = committed();
    put(&mut image, ESP_1, &new());
    put(&mut image, ESP_2, &old());
    image
}

/// It has not, and 1.0.0 was started again.
fn fallen_back() -> Image {
    let mut image = trial().image();
    assert_eq!(boot(&mut image), Some((Slot::A, "1.0.0".to_owned())));
    image
}

/// It has yet to.
fn trial() -> FakeDisk {
    let updated = disk(filled());
    let life = verified(&updated);
    assert_eq!(life.ask(&SECOND), REPLACED);
    life.done(&Request::Change(Change::Arm));
    let mut image = updated.image();
    assert_eq!(boot(&mut image), Some((Slot::B, "1.1.0".to_owned())));
    disk(image)
}

/// Blocks of both partitions that were written.
fn written(disk: &FakeDisk) -> Vec<u64> {
    let block = |event: &Event| match event {
        Event::Write { block, .. } => Some(*block),
        Event::Flush | Event::Durable { .. } | Event::Lost { .. } | Event::Doubt { .. } => None,
    };
    let of_both = |block: &u64| (ESP_1..ESP_2 + ESP_BLOCKS).contains(block);
    disk.log().events().iter().filter_map(block).filter(of_both).collect()
}

/// What is left when the power goes now, and the disk loses all that it may lose.
fn powerless(disk: &FakeDisk) -> Image {
    let log = disk.log();
    log.cut(log.events().len()).left(|_| 0)
}

/// The two replacements of an update, and that of a second one that is behind: the disk ahead of it, who asks, what for, and the partitions.
type Case = (Image, fn(&FakeDisk) -> Life, Request, u64, u64);

fn cases() -> [Case; 3] {
    let runs_b = |disk: &FakeDisk| Life::start_from(disk, Some(Slot::B));
    [
        (filled(), verified, SECOND, ESP_2, ESP_1),
        (committed(), runs_b, FIRST, ESP_1, ESP_2),
        (behind(), runs_b, SECOND_BACK, ESP_2, ESP_1),
    ]
}

#[test]
fn both_are_replaced_in_the_course_of_an_update_and_no_more_is_written() {
    let disk = disk(flashed());
    let life = Life::start(&disk);
    // Of what is there the first block is written, once in a life: an earlier one may have left it in the disk's cache.
    assert_eq!((life.ask(&FIRST), life.ask(&FIRST)), (THERE, THERE));
    assert_eq!(written(&disk), [ESP_1]);
    assert!(holds(&powerless(&disk), ESP_1, &old()));
    fills(&system_with("1.1.0", &new())).iter().chain([&Request::Verify]).for_each(|one| life.done(one));
    let before = written(&disk).len();
    assert_eq!((life.ask(&SECOND), life.ask(&SECOND)), (REPLACED, THERE));
    assert!(written(&disk)[before..].iter().all(|block| (ESP_2..ESP_2 + 24).contains(block)));
    // The block of zeros, and each of the image once; the first one is known to be there.
    assert_eq!(written(&disk).len() - before, 1 + 24);
    assert!(holds(&disk.image(), ESP_1, &old()) && holds(&disk.image(), ESP_2, &new()));
    life.done(&Request::Change(Change::Arm));

    let disk = crate::world::disk(committed());
    let life = Life::start_from(&disk, Some(Slot::B));
    assert_eq!((life.ask(&FIRST), life.ask(&FIRST)), (REPLACED, THERE));
    // The first block of the other one ahead of that.
    assert_eq!((written(&disk)[0], written(&disk).len()), (ESP_2, 1 + 1 + 24));
    assert!(holds(&powerless(&disk), ESP_1, &new()) && holds(&powerless(&disk), ESP_2, &new()));
    let Answer::Slots { running: Some(SlotName::B), .. } = life.ask(&Request::Slots) else {
        panic!("the slots are as they were")
    };
}

/// What is asked too early, of a disk that has not what it takes, or by whoever wants other bytes to be written.
#[test]
fn what_may_not_be_is_refused_by_name_and_nothing_is_written() {
    let newer = system_with("1.1.0", &new());
    let change = |change| Request::Change(change);
    let with = |more: &[Request]| [fills(&newer), more.to_vec()].concat();
    let flipped = |at: usize| {
        let mut system = newer.clone();
        system[at] ^= 1;
        [fills(&system), vec![Request::Verify]].concat()
    };
    let one_esp = {
        let mut image = table_with(State::ACTIVE, State::SPARE, 1);
        put(&mut image, SLOT_A, &system_with("1.0.0", &old()));
        put(&mut image, ESP_1, &new());
        image
    };
    let without_parts = {
        let mut image = flashed();
        put(&mut image, SLOT_A, &system("1.0.0"));
        image
    };
    let unknown = |esp: u64| {
        let mut image = flashed();
        image.put(esp + 9, &[7; BLOCK]);
        image
    };
    let too_large = system_with("1.1.0", &image(1, ESP_BLOCKS as usize + 1));
    let no_volume = system_with("1.1.0", &[1; 8192]);
    let verify = |system: &[u8]| [fills(system), vec![Request::Verify]].concat();
    let all = [
        ("what was there before", flashed(), vec![], SECOND, Refusal::State),
        ("what was filled", flashed(), fills(&newer), SECOND, Refusal::State),
        ("what was refused", flashed(), flipped(20_000), SECOND, Refusal::State),
        (
            "written to again",
            flashed(),
            with(&[Request::Verify, Request::Begin { length: 9000 }]),
            SECOND,
            Refusal::State,
        ),
        (
            "written behind the end",
            flashed(),
            with(&[
                Request::Verify,
                Request::Write {
                    offset: newer.len() as u64,
                    bytes: heapless::Vec::from_slice(&[1]).unwrap(),
                },
            ]),
            SECOND,
            Refusal::State,
        ),
        ("an older one", flashed(), verify(&system_with("0.9.0", &new())), SECOND, Refusal::State),
        ("one partition", one_esp.clone(), vec![], FIRST, Refusal::NoSelector),
        ("one partition, second", one_esp, with(&[Request::Verify]), SECOND, Refusal::NoSelector),
        ("no partition", crate::world::flashed(), vec![], FIRST, Refusal::NoSelector),
        ("no part", without_parts, vec![], FIRST, Refusal::NoSelector),
        ("no part, second", flashed(), verify(&system("1.1.0")), SECOND, Refusal::NoSelector),
        ("the first is not known", unknown(ESP_1), with(&[Request::Verify]), SECOND, Refusal::Selector),
        ("too large", flashed(), verify(&too_large), SECOND, Refusal::Selector),
        ("no file system", flashed(), verify(&no_volume), SECOND, Refusal::Selector),
        (
            "an older one was tried",
            flashed(),
            with(&[Request::Verify, change(Change::Abandon), Request::Begin { length: 9000 }]),
            SECOND,
            Refusal::State,
        ),
    ];
    let esps = |image: &Image| [ESP_1, ESP_2].map(|at| partition(image, at));
    for (name, image, before, asked, refusal) in all {
        let disk = disk(image.clone());
        let life = Life::start(&disk);
        before.iter().for_each(|request| _ = life.ask(request));
        assert_eq!(life.refusal(&asked), Some(refusal), "{name}: {:?}", life.ask(&asked));
        assert!(esps(&disk.image()) == esps(&image), "{name}");
        assert!(written(&disk).is_empty(), "{name}");
    }
    // Under test none is replaced, and of nobody's slot neither.
    let disk = trial();
    for asked in [FIRST, SECOND, SECOND_BACK] {
        assert_eq!(Life::start_from(&disk, Some(Slot::B)).refusal(&asked), Some(Refusal::State));
        assert_eq!(Life::start_from(&disk, None).refusal(&asked), Some(Refusal::NoSlot));
    }
    assert!(written(&disk).is_empty());
}

/// The disk gives other bytes than when the slot was verified: they are not written.
#[test]
fn what_is_written_is_what_was_signed_and_verified() {
    for (block, bytes) in [(SLOT_B + 40, vec![9; BLOCK]), (SLOT_B, vec![0; BLOCK])] {
        let disk = disk(filled());
        let life = verified(&disk);
        disk.rot(block, &bytes);
        assert_eq!(life.refusal(&SECOND), Some(Refusal::Contents));
        assert!(written(&disk).is_empty());
    }
    // Another one that was signed, and is older.
    let disk = disk(filled());
    let life = verified(&disk);
    let older = system_with("0.9.0", &image(3, 24));
    for (block, bytes) in (SLOT_B..).zip(older.chunks(BLOCK)) {
        disk.rot(block, &[bytes, &[0; BLOCK]].concat()[..BLOCK]);
    }
    assert_eq!(life.refusal(&SECOND), Some(Refusal::State));
    assert!(written(&disk).is_empty());
}

/// A first selector that is damaged or missing is written anew, by what the second one is.
#[test]
fn a_damaged_selector_is_mended_beside_a_known_one() {
    for (block, bytes) in [(ESP_1, vec![0; BLOCK]), (ESP_1 + 9, vec![7; BLOCK])] {
        let mut image = flashed();
        image.put(block, &bytes);
        let disk = disk(image);
        let life = Life::start(&disk);
        assert_eq!(life.ask(&FIRST), REPLACED);
        assert!(holds(&powerless(&disk), ESP_1, &old()));
    }
}

/// A version that fell back leaves its own in the second partition: the one that runs puts its own there again, also
/// beside a first one that firmware has written to.
#[test]
fn after_a_fallback_the_second_selector_is_that_of_what_runs() {
    for dirtied in [false, true] {
        let mut image = fallen_back();
        if dirtied {
            image.put(ESP_1 + 9, &[7; BLOCK]);
        }
        assert!(holds(&image, ESP_2, &new()));
        let disk = disk(image);
        let life = Life::start(&disk);
        if dirtied {
            assert_eq!(life.refusal(&SECOND_BACK), Some(Refusal::Selector), "nothing vouches for the first");
        }
        assert_eq!(life.ask(&FIRST), if dirtied { REPLACED } else { THERE });
        assert_eq!((life.ask(&SECOND_BACK), life.ask(&SECOND_BACK)), (REPLACED, THERE));
        assert!(holds(&powerless(&disk), ESP_1, &old()) && holds(&powerless(&disk), ESP_2, &old()));
    }
}

/// Each version is named as soon as the one before has proven itself, or falls back, and each has another selector; and
/// firmware writes to the first partition in each start. What is asked for ahead of emptying a slot leaves in no
/// partition what was known by that slot alone.
#[test]
fn versions_back_to_back_have_their_selectors_replaced() {
    for (dirtied, falls_back) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut image = flashed();
        let (mut runs, mut has) = (Slot::A, old());
        for next in 1..=6_u8 {
            if dirtied {
                image.put(ESP_1 + 9, &[7; BLOCK]);
            }
            let disk = disk(image);
            let life = Life::start_from(&disk, Some(runs));
            life.done(&Request::Change(Change::Commit));
            [FIRST, SECOND_BACK].iter().for_each(|both| life.done(both));
            assert!(holds(&disk.image(), ESP_1, &has) && holds(&disk.image(), ESP_2, &has), "{next}");
            let (version, brings) = (format!("1.{next}.0"), self::image(next * 16, 16 + usize::from(next)));
            life.fill(&system_with(&version, &brings));
            life.done(&Request::Verify);
            assert_eq!(life.ask(&SECOND), REPLACED);
            life.done(&Request::Change(Change::Arm));
            assert!(holds(&powerless(&disk), ESP_1, &has) && holds(&powerless(&disk), ESP_2, &brings));
            image = powerless(&disk);
            assert_eq!(boot(&mut image), Some((runs.other(), version)));
            if falls_back && next % 2 == 0 {
                assert_eq!(boot(&mut image).map(|(slot, _)| slot), Some(runs));
            } else {
                (runs, has) = (runs.other(), brings);
            }
        }
    }
}

#[test]
fn a_whole_selector_is_started_after_every_cut_of_its_replacement() {
    let mut random = Random(9);
    let mut states = 0;
    for (before, start, asked, target, other) in cases() {
        let disk = disk(before.clone());
        let life = start(&disk);
        assert_eq!(life.ask(&asked), REPLACED);
        let log = disk.log();
        for at in 0..=log.events().len() {
            let cut = log.cut(at);
            for fates in fates(cut.in_doubt(), &mut random, 200) {
                let disk = left(&cut, &fates);
                assert!(starts(&disk), "{asked:?}, event {at}");
                assert!(partition(&disk, other) == partition(&before, other), "the other one is as it was");
                states += 1;
            }
        }
        let end = log.cut(log.events().len());
        assert_eq!(end.in_doubt(), 0, "what is answered is durable");
        assert!(holds(&end.left(|_| 0), target, &new()));
    }
    println!("{states} states");
    assert!(states >= STATES, "only {states}");
}

/// A cut, and again, and again: whatever is left, what follows begins anew and comes to its end.
#[test]
fn a_replacement_that_was_cut_is_begun_anew() {
    for (before, start, asked, target, _) in cases() {
        for seed in 0..20 {
            let mut random = Random(seed);
            let mut image = before.clone();
            for _ in 0..6 {
                let disk = disk(image);
                assert_ne!(start(&disk).refusal(&asked), Some(Refusal::Selector));
                let log = disk.log();
                image = log.cut(random.below(log.events().len() + 1)).left(|of| random.below(of));
                assert!(starts(&image), "{seed}");
            }
            let disk = disk(image);
            start(&disk).done(&asked);
            assert!(holds(&powerless(&disk), target, &new()) && starts(&powerless(&disk)));
        }
    }
}

/// Control or storage ends at any instant, and the power goes after that.
#[test]
fn a_request_that_is_dropped_at_any_instant_leaves_a_selector() {
    for (before, start, asked, target, _) in cases() {
        for same_life in [true, false] {
            let mut polls = 0;
            loop {
                let disk = disk(before.clone()).pending(1);
                let life = start(&disk);
                let ended = {
                    let mut answer = pin!(life.storage.answer(&asked));
                    (0..=polls).any(|_| poll_once(answer.as_mut()).is_ready())
                };
                assert!(starts(&disk.image()) && starts(&powerless(&disk)), "{asked:?}, {polls}");
                let later = if same_life { life } else { start(&disk) };
                later.done(&asked);
                assert!(holds(&powerless(&disk), target, &new()), "{asked:?}, {polls}");
                if ended {
                    break;
                }
                polls += 1;
            }
            assert!(polls > 15, "{polls}");
        }
    }
}

/// The disk fails once, at any call and in any way. The power may go at any later write, whatever is asked then, of this life
/// of storage or of one that knows nothing of it.
#[test]
fn a_disk_that_fails_leaves_a_selector_and_what_is_asked_again_is_done() {
    let errors = [Error::TimedOut { within: Duration::from_secs(1) }, Error::Fault(Fault::Fatal)];
    let (mut failed, mut states) = (0, 0);
    // And one in which the first is another than that of the slot that runs, so that both are written.
    let mut newer_first = filled();
    put(&mut newer_first, ESP_1, &new());
    let more: Case = (newer_first, verified, SECOND, ESP_2, ESP_1);
    for (before, start, asked, target, _) in cases().into_iter().chain([more]) {
        let good = disk(before.clone());
        let life = start(&good);
        let first = good.calls();
        life.done(&asked);
        for call in first..good.calls() {
            for error in errors {
                for done in [Done::Nothing, Done::Blocks(1), Done::All, Done::Unsure] {
                    for same_life in [true, false] {
                        let disk = disk(before.clone());
                        let life = start(&disk);
                        disk.fail(call, Failure { error, done });
                        let refused = life.refusal(&asked);
                        failed += usize::from(refused.is_some());
                        assert!(matches!(refused, None | Some(Refusal::Disk)), "{refused:?}");
                        // Both, in whatever order: a partition in doubt is none to rely on.
                        let life = if same_life { life } else { start(&disk) };
                        for request in [FIRST, SECOND, SECOND_BACK, FIRST, asked.clone()] {
                            life.ask(&request);
                        }
                        let told = format!("{asked:?}, call {call}, {error}, {done:?}, {same_life}");
                        let log = disk.log();
                        for at in 0..=log.events().len() {
                            let cut = log.cut(at);
                            for left in [cut.left(|_| 0), cut.left(|of| of - 1), cut.left(|of| (of - 1) / 2)]
                            {
                                assert!(starts(&left), "{told}, event {at}");
                                states += 1;
                            }
                        }
                        assert!(holds(&powerless(&disk), target, &new()), "{told}");
                    }
                }
            }
        }
    }
    println!("{failed} failures, {states} states");
    assert!(failed > 40 && states > 10_000, "{failed}, {states}");
}
