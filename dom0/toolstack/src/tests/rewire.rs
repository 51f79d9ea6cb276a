//! Peers of a service that ended and is there anew.

use std::{vec, vec::Vec};

use proto_manifest::wiring::{ChannelEnd, End};

use super::{TestBuilder, TestService, boot, name, usual, wiring_of};
use crate::{fake::Fault, service::Change};

/// Ends a service as dom0 does.
fn end(builder: &mut TestBuilder, service: TestService) {
    builder.forget(service.id());
    drop(service);
}

fn gone() -> Vec<Change> {
    vec![Change::Gone(name("network"))]
}

fn changes(builder: &mut TestBuilder, service: &mut TestService) -> Vec<Change> {
    builder.rewire(service).unwrap().into_iter().collect()
}

/// net and control, which know of each other.
fn both(builder: &mut TestBuilder) -> [TestService; 2] {
    let [mut net, control] = boot(builder).unwrap();
    assert_eq!(changes(builder, &mut net).len(), 1);
    [net, control]
}

#[test]
fn nothing_is_told_while_nothing_changes() {
    let (_, mut builder) = usual();
    let [mut net, mut control] = both(&mut builder);
    assert_eq!(changes(&mut builder, &mut net), []);
    assert_eq!(changes(&mut builder, &mut control), []);
}

#[test]
fn who_offers_is_told_of_the_new_one_and_binds_its_port() {
    let (world, mut builder) = usual();
    let [net, mut control] = both(&mut builder);
    let Some(End::Offer { page, gref, bind: false, .. }) = wiring_of(world, &control).channel("network")
    else {
        panic!()
    };
    end(&mut builder, net);
    assert_eq!(changes(&mut builder, &mut control), gone());
    assert_eq!(changes(&mut builder, &mut control), [], "told once");

    let net = builder.build(0).unwrap();
    let Some(End::Accept { peer, gref: theirs, port, bind: false }) =
        wiring_of(world, &net).channel("network")
    else {
        panic!()
    };
    assert_eq!((peer, theirs), (control.id().0, gref));
    let offer = End::Offer { peer: net.id().0, page, gref, port, bind: true };
    let back = Change::Back(ChannelEnd { name: name("network"), end: offer });
    assert_eq!(changes(&mut builder, &mut control), [back]);
    drop([net, control]);
    world.assert_clean("ended");
}

#[test]
fn who_accepts_is_told_of_the_new_one_and_binds_its_port() {
    let (world, mut builder) = usual();
    let [mut net, control] = both(&mut builder);
    end(&mut builder, control);
    assert_eq!(changes(&mut builder, &mut net), gone());
    let control = builder.build(1).unwrap();
    let Some(End::Offer { peer, gref, port, bind: false, .. }) =
        wiring_of(world, &control).channel("network")
    else {
        panic!()
    };
    assert_eq!(peer, net.id().0);
    let accept = End::Accept { peer: control.id().0, gref, port, bind: true };
    let back = Change::Back(ChannelEnd { name: name("network"), end: accept });
    assert_eq!(changes(&mut builder, &mut net), [back]);
    drop([net, control]);
    world.assert_clean("ended");
}

/// One that died and is back before its peer was told of the death is told once, with the new end.
#[test]
fn a_death_that_was_not_told_is_told_with_the_return() {
    let (_, mut builder) = usual();
    let [net, mut control] = both(&mut builder);
    end(&mut builder, net);
    let net = builder.build(0).unwrap();
    let told = changes(&mut builder, &mut control);
    assert!(
        matches!(&told[..], [Change::Back(ChannelEnd { end: End::Offer { peer, .. }, .. })] if *peer == net.id().0),
        "{told:?}"
    );
}

/// A peer that is created and fails in any of its steps is told to nobody.
#[test]
fn a_peer_that_could_not_be_finished_is_not_told() {
    let (world, mut builder) = usual();
    let mut net = builder.build(0).unwrap();
    let plan = builder.prepare(1).unwrap();
    let shell = builder.create(&plan).unwrap();
    world.restart(Some(Fault::nth(0)));
    builder.finish(plan, shell).unwrap_err();
    assert_eq!(changes(&mut builder, &mut net), []);
    world.restart(None);
    let control = builder.build(1).unwrap();
    let told = changes(&mut builder, &mut net);
    assert!(
        matches!(&told[..], [Change::Back(ChannelEnd { end: End::Accept { peer, .. }, .. })] if *peer == control.id().0),
        "{told:?}"
    );
    drop([net, control]);
    world.assert_clean("ended");
}

/// Whichever call fails while a peer is built, and however often: nothing of it stays with the one that runs.
#[test]
fn peers_that_come_to_nothing_leave_no_port() {
    for (runs, fails) in [(0, 1), (1, 0)] {
        let (world, mut builder) = usual();
        let running = builder.build(runs).unwrap();
        let before = world.census();
        let mut failures = 0;
        for after in 0.. {
            world.restart(Some(Fault::nth(after)));
            match builder.build(fails) {
                // It dies before the other was told of it.
                Ok(peer) => end(&mut builder, peer),
                Err(_) => failures += 1,
            }
            world.retry_unmapping();
            assert_eq!(world.census(), before, "{:?}", world.failed_call());
            if world.failed_call().is_none() {
                break;
            }
        }
        assert!(failures > 10, "{failures}");
        drop(running);
    }
}
