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

#[test]
fn nothing_is_told_while_nothing_changes() {
    let (_, mut builder) = usual();
    let [mut net, mut control] = boot(&mut builder).unwrap();
    assert_eq!(changes(&mut builder, &mut net), []);
    assert_eq!(changes(&mut builder, &mut control), []);
}

#[test]
fn who_offers_is_told_of_the_new_one_and_of_a_new_port() {
    let (world, mut builder) = usual();
    let [net, mut control] = boot(&mut builder).unwrap();
    let Some(End::Offer { page, gref, port: old, .. }) = wiring_of(world, &control).channel("network") else {
        panic!()
    };
    end(&mut builder, net);
    assert_eq!(changes(&mut builder, &mut control), gone());
    assert_eq!(changes(&mut builder, &mut control), [], "told once");

    let net = builder.build(0).unwrap();
    let Some(End::Accept { peer, gref: theirs, remote_port }) = wiring_of(world, &net).channel("network")
    else {
        panic!()
    };
    assert_eq!((peer, theirs), (control.id().0, gref));
    assert_ne!(remote_port, old, "the old one was made for the dead one");
    let offer = End::Offer { peer: net.id().0, page, gref, port: remote_port };
    let back = Change::Back(ChannelEnd { name: name("network"), end: offer });
    assert_eq!(changes(&mut builder, &mut control), [back]);
    drop([net, control]);
    world.assert_clean("ended");
}

#[test]
fn who_accepts_is_told_of_the_new_one() {
    let (world, mut builder) = usual();
    let [mut net, control] = boot(&mut builder).unwrap();
    end(&mut builder, control);
    assert_eq!(changes(&mut builder, &mut net), gone());
    let control = builder.build(1).unwrap();
    let Some(End::Offer { peer, gref, port, .. }) = wiring_of(world, &control).channel("network") else {
        panic!()
    };
    assert_eq!(peer, net.id().0);
    let accept = End::Accept { peer: control.id().0, gref, remote_port: port };
    let back = Change::Back(ChannelEnd { name: name("network"), end: accept });
    assert_eq!(changes(&mut builder, &mut net), [back]);
    drop([net, control]);
    world.assert_clean("ended");
}

/// One that died and is back before its peer was told of the death is told once, with the new end.
#[test]
fn a_death_that_was_not_told_is_told_with_the_return() {
    let (_, mut builder) = usual();
    let [net, mut control] = boot(&mut builder).unwrap();
    end(&mut builder, net);
    let net = builder.build(0).unwrap();
    let told = changes(&mut builder, &mut control);
    assert!(
        matches!(&told[..], [Change::Back(ChannelEnd { end: End::Offer { peer, .. }, .. })] if *peer == net.id().0),
        "{told:?}"
    );
}

/// A peer that is created and fails in its last step leaves no dead number with the others.
#[test]
fn a_peer_that_could_not_be_finished_is_taken_back() {
    let (world, mut builder) = usual();
    let plans = [builder.prepare(0).unwrap(), builder.prepare(1).unwrap()];
    let shells = [builder.create(&plans[0]).unwrap(), builder.create(&plans[1]).unwrap()];
    let ([net, control], [net_shell, control_shell]) = (plans, shells);
    let mut net = builder.finish(net, net_shell).unwrap();
    let dead = control_shell.id();
    world.restart(Some(Fault::nth(0)));
    builder.finish(control, control_shell).unwrap_err();
    assert!(matches!(
        wiring_of(world, &net).channel("network"),
        Some(End::Accept { peer, .. }) if peer == dead.0
    ));
    assert_eq!(changes(&mut builder, &mut net), gone());
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

/// When no port can be made, nothing counts as told: the next try tells it.
#[test]
fn a_port_that_cannot_be_made_is_tried_again() {
    let (world, mut builder) = usual();
    let [net, mut control] = boot(&mut builder).unwrap();
    end(&mut builder, net);
    let plan = builder.prepare(0).unwrap();
    let shell = builder.create(&plan).unwrap();
    world.restart(Some(Fault::nth(0)));
    builder.rewire(&mut control).unwrap_err();
    world.restart(None);
    assert_eq!(changes(&mut builder, &mut control).len(), 1);
    drop(builder.finish(plan, shell).unwrap());
}
