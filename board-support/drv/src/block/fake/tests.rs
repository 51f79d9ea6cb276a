use core::{
    future::Future,
    pin::pin,
    task::{Context, Waker},
};
use std::collections::BTreeSet;

use super::*;
use crate::block::Fault;

const AT_ONCE: Duration = Duration::ZERO;

/// Runs what needs nobody else.
fn run<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    for _ in 0..100 {
        if let Poll::Ready(result) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return result;
        }
    }
    panic!("still pending")
}

fn disk() -> FakeDisk {
    FakeDisk::new(BlockSize::B512, 8)
}

fn block(byte: u8) -> Vec<u8> {
    vec![byte; 512]
}

fn read(disk: &FakeDisk, number: u64) -> Result<Vec<u8>, Error> {
    let mut into = block(1);
    run(disk.clone().read(number, &mut into, AT_ONCE)).map(|()| into)
}

fn write(disk: &FakeDisk, first: u64, bytes: &[u8]) -> Result<(), Error> {
    run(disk.clone().write(first, bytes, AT_ONCE))
}

fn flush(disk: &FakeDisk) -> Result<(), Error> {
    run(disk.clone().flush(AT_ONCE))
}

/// All disks that a cut may leave, with torn blocks torn at `tears` only.
fn all_left(cut: &Cut, tears: &[usize]) -> Vec<Image> {
    let mut found = Vec::new();
    // The choices of this run, and how many there were at each.
    let mut path: Vec<(usize, usize)> = Vec::new();
    loop {
        let mut depth = 0;
        found.push(cut.left(|of| {
            if depth == path.len() {
                path.push((0, if of == 511 { tears.len() } else { of }));
            }
            let (picked, _) = path[depth];
            depth += 1;
            if of == 511 { tears[picked] } else { picked }
        }));
        while let Some((picked, of)) = path.pop() {
            if picked + 1 < of {
                path.push((picked + 1, of));
                break;
            }
        }
        if path.is_empty() {
            return found;
        }
    }
}

#[test]
fn what_was_written_is_read_and_only_a_flush_makes_it_durable() {
    let disk = disk();
    write(&disk, 2, &block(7)).unwrap();
    assert_eq!(read(&disk, 2), Ok(block(7)));
    assert_eq!(read(&disk, 3), Ok(block(0)));
    assert_eq!(disk.log().cut(1).left(|_| 0).block(2), block(0));
    assert_eq!(disk.log().cut(1).left(|_| 1).block(2), block(7));
    flush(&disk).unwrap();
    assert_eq!(disk.log().cut(2).left(|_| panic!("nothing is in doubt")).block(2), block(7));
    assert_eq!(FakeDisk::of(disk.image(), 8).image(), disk.image());
}

#[test]
fn a_cut_leaves_each_block_at_any_age_and_torn() {
    let disk = disk();
    write(&disk, 0, &block(1)).unwrap();
    flush(&disk).unwrap();
    write(&disk, 0, &[block(2), block(3)].concat()).unwrap();
    write(&disk, 0, &block(4)).unwrap();
    let log = disk.log();
    assert_eq!(log.events().len(), 5);
    assert_eq!((log.cut(2).in_doubt(), log.cut(5).in_doubt()), (0, 2));
    let seen: BTreeSet<_> =
        all_left(&log.cut(5), &[9]).iter().map(|left| (left.block(0), left.block(1))).collect();
    let torn = |newer: u8, older: u8| {
        let mut torn = block(older);
        torn[..10].fill(newer);
        torn
    };
    let first = [block(1), block(2), block(4), torn(2, 1), torn(4, 2)];
    let second = [block(0), block(3), torn(3, 0)];
    let all = first.iter().flat_map(|first| second.iter().map(|second| (first.clone(), second.clone())));
    assert_eq!(seen, all.collect());
}

#[test]
fn calls_that_no_disk_takes_are_refused_and_not_counted() {
    let disk = disk();
    assert_eq!(write(&disk, 0, &[0; 511]), Err(Error::Misaligned { bytes: 511, block: 512 }));
    assert_eq!(write(&disk, 8, &block(1)), Err(Error::OutOfRange { first: 8, blocks: 1, have: 8 }));
    assert_eq!(read(&disk, 8), Err(Error::OutOfRange { first: 8, blocks: 1, have: 8 }));
    let disk = disk.read_only();
    assert_eq!(write(&disk, 0, &block(1)), Err(Error::ReadOnly));
    assert_eq!((disk.calls(), disk.log().events().len()), (0, 0));
}

#[test]
fn calls_fail_where_the_test_wants_it() {
    let disk = disk();
    let error = Error::Fault(Fault::Fatal);
    disk.fail(0, Failure { error, done: Done::Blocks(1) });
    disk.fail(1, Failure { error, done: Done::Nothing });
    disk.fail(3, Failure { error, done: Done::All });
    disk.fail(4, Failure { error, done: Done::All });
    assert_eq!(write(&disk, 0, &[block(1), block(2)].concat()), Err(error));
    assert_eq!(disk.log().cut(1).in_doubt(), 1, "half of the write was done");
    assert_eq!(flush(&disk), Err(error));
    assert_eq!(read(&disk, 0), Ok(block(0)), "a flush that fails loses what was not durable");
    assert_eq!(write(&disk, 1, &block(2)), Err(error));
    assert_eq!(read(&disk, 1), Err(error));
    assert_eq!(read(&disk, 1), Ok(block(2)));
    disk.spoil(1, error);
    assert_eq!(read(&disk, 0), Ok(block(0)));
    assert_eq!(read(&disk, 1), Err(error));
    write(&disk, 1, &block(3)).unwrap();
    assert_eq!(read(&disk, 1), Ok(block(3)));
    disk.remove();
    assert_eq!(flush(&disk), Err(Error::Gone));
}

#[test]
fn a_flush_that_fails_keeps_some_or_leaves_all_in_doubt() {
    let error = Error::Fault(Fault::Fatal);
    let written = |done| {
        let disk = disk();
        write(&disk, 0, &block(1)).unwrap();
        flush(&disk).unwrap();
        write(&disk, 0, &[block(2), block(3)].concat()).unwrap();
        disk.fail(3, Failure { error, done });
        assert_eq!(flush(&disk), Err(error));
        disk
    };
    let seen = |disk: &FakeDisk| [read(disk, 0).unwrap(), read(disk, 1).unwrap()];
    let cut = |disk: &FakeDisk| {
        let log = disk.log();
        log.cut(log.events().len())
    };
    for (done, expected) in [
        (Done::Nothing, [block(1), block(0)]),
        (Done::Blocks(1), [block(2), block(0)]),
        (Done::All, [block(2), block(3)]),
    ] {
        let disk = written(done);
        assert_eq!((seen(&disk), cut(&disk).in_doubt()), (expected, 0), "{done:?}");
    }
    let disk = written(Done::Unsure);
    flush(&disk).unwrap();
    assert_eq!(
        (seen(&disk), cut(&disk).in_doubt()),
        ([block(2), block(3)], 2),
        "a second flush says nothing"
    );
    write(&disk, 1, &block(4)).unwrap();
    flush(&disk).unwrap();
    let left = cut(&disk).left(|_| 0);
    assert_eq!((cut(&disk).in_doubt(), left.block(0), left.block(1)), (1, block(1), block(4)));
}

#[test]
fn a_second_flush_that_fails_does_not_end_the_doubt_that_the_first_has_left() {
    let error = Error::Fault(Fault::Fatal);
    for (done, durable, in_doubt) in [
        (Done::All, 2, 1),
        (Done::Unsure, 0, 2),
        // What is lost is so for certain.
        (Done::Nothing, 0, 0),
        (Done::Blocks(1), 2, 0),
    ] {
        let disk = disk();
        write(&disk, 0, &block(1)).unwrap();
        disk.fail(1, Failure { error, done: Done::Unsure });
        assert_eq!(flush(&disk), Err(error));
        write(&disk, 1, &block(2)).unwrap();
        disk.fail(3, Failure { error, done });
        assert_eq!(flush(&disk), Err(error));
        let log = disk.log();
        let cut = log.cut(log.events().len());
        let left = cut.left(|_| 0);
        let left = [0, 1].map(|at| left.block(at)[0]);
        assert_eq!((left, cut.in_doubt()), ([0, durable], in_doubt), "{done:?}");
    }
}

#[test]
fn a_call_that_is_dropped_was_carried_out() {
    let disk = disk().pending(2);
    {
        let mut writer = disk.clone();
        let bytes = block(9);
        let mut call = pin!(writer.write(4, &bytes, AT_ONCE));
        for _ in 0..2 {
            assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
    }
    assert_eq!(read(&disk, 4), Ok(block(9)));
    assert_eq!(disk.calls(), 2);
}
