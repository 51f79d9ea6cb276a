//! A disk that fails, at any call and in any way: it is said, and once it works again nothing is wrong.

use board_support_drv::block::fake::{Done, Event, Failure, FakeDisk, Image};
use board_support_drv::block::{Cause, Error, Fault, Refusal as Refused, Status};
use core::time::Duration;
use proto_gpt::slots::Slot;
use proto_svc::sealing::{FromVault, ToVault};
use proto_svc::storage::{Answer, Refusal, Request};
use stubdoms_storage_core::clients::Sealed;

use crate::world::{Life, STORE, STORE_END, Values, boot, disk, flashed, puts, system, updates};

const UNWRITABLE: Error =
    Error::Refused(Refused { cause: Cause::Unwritable, status: Status::Nvme { sct: 2, sc: 0x80 } });
const ERRORS: [Error; 3] =
    [UNWRITABLE, Error::TimedOut { within: Duration::from_secs(1) }, Error::Fault(Fault::Fatal)];

fn values(disk: &FakeDisk) -> Values {
    Life::open(disk).values()
}

/// What is left when the power goes now, and the disk loses all that it may lose.
fn powerless(disk: &FakeDisk) -> Image {
    let log = disk.log();
    log.cut(log.events().len()).left(|_| 0)
}

#[test]
fn any_call_may_fail_and_what_is_asked_again_is_done() {
    let before = disk(flashed());
    Life::open(&before).put("a", b"before");
    let image = before.image();
    let work = |life: &Life| -> u32 {
        let mut refused = 0;
        for (name, value) in [("a", vec![1; 5000]), ("b", vec![2; 10]), ("a", vec![3; 200])] {
            while life.try_put(name, &value) != Answer::Done {
                refused += 1;
                assert!(refused < 10, "it never ends");
            }
        }
        refused
    };
    let good = disk(image.clone());
    let life = Life::open(&good);
    let first = good.calls();
    work(&life);
    let calls = first..good.calls();
    let expected = life.values();
    assert!(calls.clone().count() > 20);
    let (mut failed, mut tried) = (0, 0);
    for call in calls {
        for error in ERRORS {
            for done in [Done::Nothing, Done::Blocks(3), Done::All, Done::Unsure] {
                let disk = crate::world::disk(image.clone());
                let life = Life::open(&disk);
                disk.fail(call, Failure { error, done });
                failed += work(&life);
                tried += 1;
                assert_eq!(life.values(), expected, "call {call}, {error}, {done:?}");
                assert_eq!(values(&disk), expected, "call {call}, {error}, {done:?}");
                // And if the power goes right then: all of it was acknowledged.
                let left = crate::world::disk(powerless(&disk));
                assert_eq!(values(&left), expected, "call {call}, {error}, {done:?}");
            }
        }
    }
    assert!(tried > 200 && failed > 150, "{failed} of {tried}");
}

/// The disk fails twice: what the first failure has left in doubt the second one does not make durable, and neither is
/// it acknowledged.
#[test]
fn two_calls_may_fail_and_what_is_acknowledged_is_there_after_a_cut() {
    let before = disk(flashed());
    Life::open(&before).put("a", b"before");
    let image = before.image();
    let work = |life: &Life| {
        for (name, value) in [("a", vec![1; 3000]), ("b", vec![2; 10])] {
            while life.try_put(name, &value) != Answer::Done {}
        }
    };
    let good = disk(image.clone());
    let life = Life::open(&good);
    let first = good.calls();
    work(&life);
    let expected = life.values();
    for call in first..good.calls() {
        for later in 1..8 {
            for done in [Done::Nothing, Done::All, Done::Unsure] {
                let disk = crate::world::disk(image.clone());
                let life = Life::open(&disk);
                disk.fail(call, Failure { error: ERRORS[1], done: Done::Unsure });
                disk.fail(call + later, Failure { error: ERRORS[1], done });
                work(&life);
                let left = crate::world::disk(powerless(&disk));
                assert_eq!(values(&left), expected, "{call} {later} {done:?}");
            }
        }
    }
}

/// A block that cannot be read ends nothing of what others are writing: a slot that is filled, a value that was begun.
#[test]
fn a_block_that_cannot_be_read_is_harmless_to_what_is_being_written() {
    const UNREADABLE: Error =
        Error::Refused(Refused { cause: Cause::Unreadable, status: Status::Nvme { sct: 2, sc: 0x81 } });
    let before = disk(flashed());
    let life = Life::open(&before);
    life.put("old", &[1; 9000]);
    // A disk that is to be reset has two tries.
    for (error, tries, harmless) in [(UNREADABLE, 1, true), (ERRORS[1], 2, false), (ERRORS[2], 2, false)] {
        let (disk, value) = (disk(before.image()), [9; 9000]);
        let life = Life::open(&disk);
        let parts = [updates(&system("1.1.0")), puts("new", &value)];
        let begun: Vec<_> = parts.iter().map(|requests| requests.split_at(6)).collect();
        begun.iter().flat_map(|(begun, _)| *begun).for_each(|request| life.done(request));
        (0..tries).for_each(|more| disk.fail(disk.calls() + more, Failure { error, done: Done::Nothing }));
        assert!(life.try_get("old").is_err(), "{error}");
        for (_, rest) in begun {
            let refused = rest.iter().find(|request| life.refusal(request).is_some());
            assert_eq!(refused.is_none(), harmless, "{error}");
        }
    }
}

/// The disk fails once, and the power is cut later, at every write: what a failed call has left in doubt has not
/// become what a second change relies on.
#[test]
fn a_cut_at_any_time_after_a_failure_loses_nothing() {
    let before = disk(flashed());
    let life = Life::open(&before);
    life.put("a", b"before");
    life.put("b", b"before");
    let image = before.image();
    let names = ["a", "b"];
    let good = disk(image.clone());
    let life = Life::open(&good);
    let first = good.calls();
    names.iter().for_each(|name| life.put(name, b"after"));
    let mut seen = 0;
    for call in first..good.calls() {
        for done in [Done::Nothing, Done::Unsure] {
            let disk = crate::world::disk(image.clone());
            let life = Life::open(&disk);
            disk.fail(call, Failure { error: ERRORS[1], done });
            let mut marks = vec![(0, values(&crate::world::disk(image.clone())))];
            for (number, name) in names.iter().enumerate() {
                let value = vec![number as u8; 3000];
                while life.try_put(name, &value) != Answer::Done {}
                let end = disk.log().events().len();
                marks.push((end, life.values()));
            }
            let log = disk.log();
            for at in 0..=log.events().len() {
                let acknowledged = marks.iter().rposition(|(end, _)| *end <= at).unwrap_or_default();
                let allowed = &marks[acknowledged..marks.len().min(acknowledged + 2)];
                let cut = log.cut(at);
                // All that may be lost is; or each block is torn.
                for left in [cut.left(|_| 0), cut.left(|of| of - 1)] {
                    let found = values(&crate::world::disk(left));
                    assert!(allowed.iter().any(|(_, values)| *values == found), "{call} {done:?} {at}");
                    seen += 1;
                }
            }
        }
    }
    println!("{seen} states");
    assert!(seen > 5_000, "{seen}");
}

/// A failed call of an update: refused, or done; and then as at any time.
#[test]
fn an_update_over_a_disk_that_fails_once() {
    let requests = updates(&system("1.1.0"));
    let good = disk(flashed());
    let life = Life::start(&good);
    let first = good.calls();
    requests.iter().for_each(|request| life.done(request));
    let calls = first..good.calls();
    for call in calls {
        for error in ERRORS {
            for done in [Done::Nothing, Done::Blocks(1), Done::All, Done::Unsure] {
                let disk = crate::world::disk(flashed());
                let life = Life::start(&disk);
                disk.fail(call, Failure { error, done });
                let refused = requests.iter().find(|request| life.refusal(request).is_some());
                if let Some(refused) = refused {
                    assert!(boot(&mut disk.image()).is_some(), "{call} {refused:?}");
                    assert!(boot(&mut powerless(&disk)).is_some(), "{call} {refused:?}");
                    requests.iter().for_each(|request| life.done(request));
                }
                let expected = Some((Slot::B, "1.1.0".to_owned()));
                assert_eq!(boot(&mut disk.image()), expected, "{call} {error} {done:?}");
                assert_eq!(boot(&mut powerless(&disk)), expected, "{call} {error} {done:?}");
            }
        }
    }
}

/// Values and a slot are written in turns, so that a call that fails for the one has lost what the other one has
/// written before: neither is acknowledged then.
#[test]
fn a_call_that_fails_for_one_takes_nothing_that_is_acknowledged_to_the_other() {
    let system = system("1.1.0");
    let parts = [updates(&system), puts("a", &[7; 30_000])];
    // One of each, as long as there are: the slot has fewer.
    let [slot, value] = &parts;
    let requests: Vec<&Request> = (0..slot.len().max(value.len()))
        .flat_map(|at| [slot.get(at), value.get(at)].into_iter().flatten())
        .collect();
    let before = disk(flashed());
    Life::open(&before).put("a", b"before");
    let image = before.image();
    let good = disk(image.clone());
    let life = Life::open(&good);
    let first = good.calls();
    requests.iter().for_each(|request| life.done(request));
    let mut refused = [0, 0];
    for call in first..good.calls() {
        for done in [Done::Nothing, Done::Blocks(1), Done::All, Done::Unsure] {
            let disk = crate::world::disk(image.clone());
            let life = Life::open(&disk);
            disk.fail(call, Failure { error: ERRORS[1], done });
            let mut is_done = [true, true];
            for request in &requests {
                let whose = usize::from(matches!(request, Request::Put { .. }));
                if is_done[whose] && life.refusal(request).is_some() {
                    (is_done[whose], refused[whose]) = (false, refused[whose] + 1);
                }
            }
            let left = powerless(&disk);
            let [started, found] = [disk.image(), left.clone()].map(|mut image| boot(&mut image));
            let expected = Some((Slot::B, "1.1.0".to_owned()));
            let told = format!("{call} {done:?} {is_done:?}");
            assert!(!is_done[0] || started == expected && found == expected, "{told}: {started:?} {found:?}");
            let (now, later) = (life.try_get("a"), Life::open(&crate::world::disk(left)).try_get("a"));
            if is_done[1] {
                assert!(now == Ok(vec![7; 30_000]) && now == later, "{told}");
            } else {
                assert!(later == Ok(b"before".to_vec()) || later == Ok(vec![7; 30_000]), "{told}");
            }
            // What was refused is done when it is asked again.
            life.put("a", b"later");
            slot.iter().for_each(|request| life.done(request));
            let left = powerless(&disk);
            assert_eq!(boot(&mut left.clone()), expected, "{told}");
            assert_eq!(Life::open(&crate::world::disk(left)).try_get("a"), Ok(b"later".to_vec()), "{told}");
        }
    }
    assert!(refused.iter().all(|refused| *refused > 50), "{refused:?}");
}

/// A store that is made on a disk that fails once is made in the next life, whatever is left.
#[test]
fn a_store_is_made_over_a_disk_that_fails_once() {
    let good = disk(flashed());
    Life::open(&good);
    for call in 0..good.calls() {
        for done in [Done::Nothing, Done::Blocks(1), Done::All, Done::Unsure] {
            let disk = crate::world::disk(flashed());
            disk.fail(call, Failure { error: ERRORS[1], done });
            Life::start(&disk);
            for image in [disk.image(), powerless(&disk)] {
                let next = crate::world::disk(image);
                let life = Life::open(&next);
                life.put("a", b"1");
                assert_eq!(values(&crate::world::disk(powerless(&next))), life.values(), "{call} {done:?}");
            }
        }
    }
}

/// A slot whose arming failed and was answered when it was asked again is armed, whatever the disk has lost.
#[test]
fn an_arming_that_is_acknowledged_survives_the_failure_before_it() {
    let requests = updates(&system("1.1.0"));
    let [before @ .., arm] = requests.as_slice() else { panic!("there are requests") };
    let filled = |disk: &FakeDisk| {
        let life = Life::start(disk);
        before.iter().for_each(|request| life.done(request));
        life
    };
    let good = disk(flashed());
    let life = filled(&good);
    let first = good.calls();
    life.done(arm);
    let mut refused = 0;
    for call in first..good.calls() {
        for done in [Done::Nothing, Done::Blocks(1), Done::All, Done::Unsure] {
            let disk = crate::world::disk(flashed());
            let life = filled(&disk);
            disk.fail(call, Failure { error: ERRORS[1], done });
            if life.refusal(arm).is_some() {
                refused += 1;
                life.done(arm);
            }
            let log = disk.log();
            let cut = log.cut(log.events().len());
            for mut left in [cut.left(|_| 0), cut.left(|of| of - 1)] {
                assert_eq!(boot(&mut left), Some((Slot::B, "1.1.0".to_owned())), "{call} {done:?}");
            }
        }
    }
    assert!(refused > 20, "{refused}");
}

/// A value that is found damaged is dropped on a disk that fails at that: what another one has begun begins anew.
#[test]
fn a_value_that_was_begun_begins_anew_when_the_disk_failed_at_another() {
    let before = disk(flashed());
    let life = Life::open(&before);
    let first = before.log().events().len();
    life.put("damaged", &[1; 100]);
    let written = before.log().events()[first..].iter().find_map(|event| match event {
        // Superblocks come first.
        Event::Write { block, .. } if (STORE + 8..STORE_END - 8).contains(block) => Some(*block),
        _ => None,
    });
    let (image, page) = (before.image(), written.expect("its page is written"));
    let value = [9; 9000];
    let requests = puts("a", &value);
    let (begun, rest) = requests.split_at(6);
    let mut spoilt = image.block(page);
    spoilt[0] ^= 1;
    let mut refused = 0;
    for call in 0..40 {
        for done in [Done::Nothing, Done::Unsure] {
            let disk = crate::world::disk(image.clone());
            let life = Life::open(&disk);
            begun.iter().for_each(|request| life.done(request));
            // The disk loses a bit when the value was looked at already.
            disk.rot(page, &spoilt);
            disk.fail(disk.calls() + call, Failure { error: ERRORS[1], done });
            assert!(life.try_get("damaged").is_err());
            if rest.iter().all(|request| life.refusal(request).is_none()) {
                assert!(life.try_get("a").is_ok_and(|found| found == value), "{call} {done:?}");
                let left = crate::world::disk(powerless(&disk));
                assert!(Life::open(&left).try_get("a").is_ok_and(|found| found == value), "{call} {done:?}");
            } else {
                refused += 1;
                life.put("a", &value);
                assert_eq!(
                    Life::open(&crate::world::disk(powerless(&disk))).try_get("a"),
                    Ok(value.to_vec())
                );
            }
        }
    }
    assert!(refused > 10, "{refused}");
}

/// A disk that fails at any call of a start: the store is found and opened later, with the key that came meanwhile or
/// comes then, and says why it is closed until it is.
#[test]
fn a_start_over_a_disk_that_fails_is_made_up_for() {
    let before = disk(flashed());
    Life::open(&before).put("a", b"1");
    for image in [flashed(), before.image()] {
        let good = disk(image.clone());
        let expected = Life::open(&good).values();
        let mut closed = 0;
        for call in 0..good.calls() {
            for error in ERRORS {
                let disk = crate::world::disk(image.clone());
                // A read is tried twice at once.
                (0..3).for_each(|more| disk.fail(call + more, Failure { error, done: Done::Nothing }));
                let mut life = Life::open(&disk);
                let Answer::Status(status) = life.ask(&Request::Status) else { panic!() };
                if !status.open {
                    closed += 1;
                    assert_eq!(status.closed, Some(Refusal::Disk), "{call} {error}");
                    assert!(status.reason.ends_with(']'), "{}", status.reason);
                    assert!(life.mend().0 > 0, "{call} {error}");
                    if life.started.store.is_ok() {
                        // Vault is told of a store that was found late, and gives its key then.
                        life.hear_key();
                        life.mend();
                    }
                }
                // What is left of the failures.
                (0..3).for_each(|_| drop(life.try_get("a")));
                assert_eq!(life.values(), expected, "{call} {error}");
            }
        }
        assert!(closed > 5, "{closed}");
    }
}

#[test]
fn a_key_that_was_sealed_anew_is_written_when_the_disk_takes_it() {
    let keep =
        |fresh| FromVault::Keep { sealed: [7; 300].into_iter().collect(), kept: heapless::Vec::new(), fresh };
    let disk = disk(flashed());
    Life::open(&disk).put("a", b"1");
    for fresh in [false, true] {
        let mut life = Life::start(&disk);
        disk.fail(disk.calls(), Failure { error: ERRORS[1], done: Done::Nothing });
        assert_eq!(life.hear(keep(fresh)).reply, Some(ToVault::NotKept));
        life.hear_key();
        if fresh {
            // A new key is not used; vault is asked for it anew.
            assert_eq!(life.try_get("a"), Err(Refusal::Locked));
            assert!(matches!(life.seal_again().reply, Some(ToVault::Open { .. })));
            assert_eq!(life.hear(keep(true)).reply, Some(ToVault::Kept));
            life.hear_key();
            assert_eq!(life.values(), Values::new());
        } else {
            assert_eq!(life.try_get("a"), Ok(b"1".to_vec()));
            assert!(life.seal_again().sealed.is_some_and(|sealed| sealed == Sealed::Kept { fresh }));
        }
        let left = Life::start(&crate::world::disk(powerless(&disk)));
        assert!(matches!(left.sealed(), Some(ToVault::Open { sealed, .. }) if sealed == [7; 300]));
    }
}

#[test]
fn a_disk_that_cannot_be_written_is_read() {
    let before = disk(flashed());
    Life::open(&before).put("a", b"1");
    let disk = crate::world::disk(before.image()).read_only();
    let life = Life::open(&disk);
    assert_eq!(life.try_get("a"), Ok(b"1".to_vec()));
    let Answer::Refused { refusal, reason } = life.try_put("a", b"2") else { panic!("it was done") };
    assert_eq!((refusal, &*reason), (Refusal::Disk, "the disk fails: it may not be written [E-STORAGE-001]"));
    assert_eq!(life.try_get("a"), Ok(b"1".to_vec()));
    assert_eq!(life.refusal(&Request::Begin { length: 9000 }), Some(Refusal::Disk));
    let Answer::Status(status) = life.ask(&Request::Status) else { panic!() };
    assert!(status.open && status.disk_errors > 0);
}

#[test]
fn a_disk_that_is_gone_is_said_and_counted() {
    let disk = disk(flashed());
    let life = Life::open(&disk);
    life.put("a", b"1");
    disk.remove();
    assert_eq!(life.try_get("a"), Err(Refusal::Disk));
    assert!(matches!(life.try_put("a", b"2"), Answer::Refused { refusal: Refusal::Disk, .. }));
    assert_eq!(life.refusal(&Request::Verify), Some(Refusal::Disk));
    let Answer::Status(status) = life.ask(&Request::Status) else { panic!() };
    assert!(status.disk_errors >= 3 && status.disk == "Fake disk F0");
}

/// Blocks that cannot be read hide a value, which is refused and kept; all others are there.
#[test]
fn blocks_that_cannot_be_read_cost_what_is_in_them() {
    let before = disk(flashed());
    let life = Life::open(&before);
    life.put("config", &[1; 9000]);
    life.put("certs", &[2; 700]);
    let (image, all) = (before.image(), life.values());
    let unreadable =
        Error::Refused(Refused { cause: Cause::Unreadable, status: Status::Nvme { sct: 2, sc: 0x81 } });
    let mut hidden = 0;
    for block in (STORE..STORE_END).filter(|block| image.block(*block).iter().any(|&byte| byte != 0)) {
        let disk = crate::world::disk(image.clone());
        disk.spoil(block, unreadable);
        let life = Life::open(&disk);
        for (name, value) in &all {
            match life.try_get(name) {
                Ok(found) => assert_eq!(found, *value),
                Err(refusal) => {
                    assert_eq!(refusal, Refusal::Disk);
                    hidden += 1;
                }
            }
        }
        assert_eq!(life.damaged(), 0);
        // Written anew it is there again.
        all.iter().for_each(|(name, value)| life.put(name, value));
        assert_eq!(Life::open(&disk).values(), all);
    }
    assert_eq!(hidden, 4 * 8, "blocks of values");
}

/// The work on a disk that takes its time is cut off in its midst, as when control has ended: what was asked for
/// is there or not, and the next request finds everything in order.
#[test]
fn a_request_that_is_dropped_halfway_leaves_a_store_that_works() {
    use embassy_futures::poll_once;
    let before = disk(flashed());
    Life::open(&before).put("a", b"before");
    let request = &crate::world::puts("a", b"after")[0];
    for polls in 0.. {
        let disk = crate::world::disk(before.image()).pending(1);
        let life = Life::open(&disk);
        let mut put = Box::pin(life.storage.answer(request));
        let ended = (0..=polls).any(|_| poll_once(put.as_mut()).is_ready());
        drop(put);
        let value = life.try_get("a").unwrap();
        assert!(value == b"after" || !ended && value == b"before", "{polls}");
        assert_eq!(Life::open(&disk).try_get("a"), Ok(value));
        life.put("a", b"later");
        assert_eq!(Life::open(&disk).try_get("a"), Ok(b"later".to_vec()));
        if ended {
            assert!(polls > 10);
            break;
        }
    }
}
