//! A disk that fails, at any call and in any way: it is said, and once it works again nothing is wrong.

use board_support_drv::block::fake::{Done, Failure, FakeDisk};
use board_support_drv::block::{Cause, Error, Fault, Refusal as Refused, Status};
use core::time::Duration;
use proto_gpt::slots::Slot;
use proto_svc::storage::{Answer, Refusal, Request};

use crate::world::{Life, STORE, STORE_END, Values, boot, disk, flashed, system, updates};

const UNWRITABLE: Error =
    Error::Refused(Refused { cause: Cause::Unwritable, status: Status::Nvme { sct: 2, sc: 0x80 } });
const ERRORS: [Error; 3] =
    [UNWRITABLE, Error::TimedOut { within: Duration::from_secs(1) }, Error::Fault(Fault::Fatal)];

fn values(disk: &FakeDisk) -> Values {
    Life::open(disk).values()
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
            for done in [Done::Nothing, Done::Blocks(3), Done::All] {
                let disk = crate::world::disk(image.clone());
                let life = Life::open(&disk);
                disk.fail(call, Failure { error, done });
                failed += work(&life);
                tried += 1;
                assert_eq!(life.values(), expected, "call {call}, {error}, {done:?}");
                assert_eq!(values(&disk), expected, "call {call}, {error}, {done:?}");
                // And if the power goes right then: all of it was acknowledged.
                let log = disk.log();
                let left = log.cut(log.events().len()).left(|_| 0);
                drop(log);
                assert_eq!(values(&crate::world::disk(left)), expected, "call {call}, {error}, {done:?}");
            }
        }
    }
    assert!(tried > 200 && failed > 150, "{failed} of {tried}");
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
            for done in [Done::Nothing, Done::Blocks(1), Done::All] {
                let disk = crate::world::disk(flashed());
                let life = Life::start(&disk);
                disk.fail(call, Failure { error, done });
                let refused = requests.iter().find(|request| life.refusal(request).is_some());
                if let Some(refused) = refused {
                    assert!(boot(&mut disk.image()).is_some(), "{call} {refused:?}");
                    requests.iter().for_each(|request| life.done(request));
                }
                assert_eq!(boot(&mut disk.image()), Some((Slot::B, "1.1.0".to_owned())), "{call}");
            }
        }
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
