//! What events cost, on the fake Xen's events and clock.

use core::{cell::RefCell, time::Duration};
use std::{rc::Rc, vec::Vec};

use board_support_hyp::Clock;
use board_support_pv::port::{BoundPort, look};
use proto_xen::DomId;
use tests_fakexen::{Domain, Executor, World, executor::Outcome, seeds};

use super::*;

const SECOND: u64 = 1_000_000_000;
/// What an empty bucket is waited for.
const WAIT: u64 = SECOND / 16;

type Patient = super::Patient<BoundPort<Domain, Domain>, Domain>;

/// A world in which dom0 has a patient port, whose other end is the second one.
fn connected() -> (World, Patient, BoundPort<Domain, Domain>) {
    let peer = DomId(1);
    let world = World::with_domains(&[peer]);
    let (ours, theirs) = world.connect(DomId::DOM0, peer);
    let adopt = |domain: Domain, port| BoundPort::adopt(domain.clone(), domain, port).unwrap();
    let line = adopt(world.dom0(), ours);
    let patient = Patient::new(line, world.dom0());
    let other = adopt(world.domain(peer), theirs);
    (world, patient, other)
}

/// When dom0 looked, in so many seconds of a peer that raises the port ten thousand times a second.
fn flood(seed: u64, seconds: u64, of_use: bool) -> Vec<u64> {
    let (world, patient, other) = connected();
    let looks: Rc<RefCell<Vec<u64>>> = Rc::default();
    let mut executor = Executor::new(&world, seed);
    let (told, clock) = (looks.clone(), world.dom0());
    executor.spawn(DomId::DOM0, async move {
        let events = patient.events();
        loop {
            look(&patient).await;
            told.borrow_mut().push(clock.now_ns());
            if of_use {
                events.was_of_use();
            }
        }
    });
    let domain = world.domain(DomId(1));
    executor.spawn(DomId(1), async move {
        loop {
            other.notify().unwrap();
            domain.sleep(Duration::from_micros(100)).await;
        }
    });
    let end = seconds * SECOND;
    assert_eq!(executor.run_until(10_000_000, || world.now_ns() >= end), Outcome::Done);
    looks.take()
}

#[test]
fn a_flood_of_events_is_paid_for() {
    seeds(4, |seed| {
        let looks = flood(seed, 10, false);
        let most = EVENTS.burst + EVENTS.per_second * 10;
        assert!(looks.len() as u64 <= most, "{} looks", looks.len());
        // It is still heard all the time.
        assert!(looks.len() as u64 >= most * 9 / 10, "{} looks", looks.len());
        let pauses = looks.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(pauses.max().is_some_and(|longest| longest <= WAIT * 2), "{looks:?}");
    });
}

#[test]
fn events_that_bring_something_cost_nothing() {
    seeds(4, |seed| {
        let looks = flood(seed, 3, true).len() as u64;
        assert!(looks > 3 * (EVENTS.burst + EVENTS.per_second * 3), "{looks} looks");
    });
}

#[test]
fn an_event_of_the_waiting_time_is_seen_after_it() {
    seeds(16, |seed| {
        let (world, patient, other) = connected();
        let seen: Rc<RefCell<Vec<u64>>> = Rc::default();
        let mut executor = Executor::new(&world, seed);
        patient.events().spend(EVENTS.burst);
        let (told, clock) = (seen.clone(), world.dom0());
        executor.spawn(DomId::DOM0, async move {
            look(&patient).await;
            told.borrow_mut().push(clock.now_ns());
        });
        // Once, anywhere in the wait; nothing comes after it.
        let domain = world.domain(DomId(1));
        let at = Duration::from_micros(500 + 3_500 * seed);
        executor.spawn(DomId(1), async move {
            domain.sleep(at).await;
            other.notify().unwrap();
            core::future::pending::<()>().await;
        });
        assert_eq!(executor.run_until(100_000, || !seen.borrow().is_empty()), Outcome::Done);
        let seen = seen.borrow()[0];
        assert!((WAIT..WAIT + SECOND / 100).contains(&seen), "seen at {seen}");
    });
}
