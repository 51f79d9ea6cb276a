//! Stories of the fleet, each with many seeds. `FAKEXEN_TIMES=n` runs `n` times as many, `FAKEXEN_SEED=n` one.

use std::collections::BTreeMap;

use dom0_supervisor::READY_LIMIT;
use proto_svc::supervision::{Break, ToService};
use proto_xen::DomId;
use tests_fakexen::{Call, Fault, seeds};
use tests_fleet::{
    drills::{calls_of_dom0_fail, calls_of_services_fail, end_one, have_ended, pass, wait_ms},
    stage::{CONTROL, Fleet, More, NET, QUIET, Stage},
};

/// Answers of the echo, but for the first `old`, between the services that run now.
fn echoes(fleet: &Fleet, old: usize) -> usize {
    let running = |service| fleet.id(service).filter(|&id| fleet.world.runs(id));
    let (Some(control), Some(net)) = (running(CONTROL), running(NET)) else { return 0 };
    fleet.seen.echoes.borrow().iter().skip(old).filter(|&&pair| pair == (control.0, net.0)).count()
}

/// Everything works: the echo, applications that come and go, and their consoles.
fn works(stage: &mut Stage) {
    let old = stage.fleet.seen.echoes.borrow().len();
    stage.until("the echo works", |fleet| echoes(fleet, old) >= 3);
    let seen = &stage.fleet.seen;
    let (started, ended) = (*seen.started.borrow(), *seen.ended.borrow());
    let console = seen.controller.borrow().console.len();
    stage.until("an application lives and ends", |Fleet { seen, .. }| {
        let heard = seen.controller.borrow().console.len();
        *seen.started.borrow() > started && *seen.ended.borrow() > ended && heard > console
    });
    let mut lines = BTreeMap::new();
    stage.until("the controller gets every line that a domain has written", |fleet| {
        // As many as there were when this one was seen first.
        let ids = [Some(DomId::DOM0), fleet.id(NET), fleet.id(CONTROL)].into_iter().flatten();
        let controller = fleet.seen.controller.borrow();
        ids.filter(|&id| fleet.world.runs(id)).all(|id| {
            let written = *lines.entry(id).or_insert_with(|| fleet.world.lines_of(id));
            controller.lines_of(id) >= written
        })
    });
}

#[test]
fn the_fleet_works_and_leaves_nothing() {
    seeds(20, |seed| {
        let mut stage = Stage::new(seed);
        works(&mut stage);
        let seen = stage.fleet.seen.clone();
        assert!(*seen.refused.borrow() > 0);
        assert_eq!(*seen.lives.borrow(), 2, "nobody is ended without a reason");
        assert_eq!(stage.fleet.card.resets.get(), 1);
        stage.end();
    });
}

#[test]
#[should_panic(expected = "no story wants that: panicked at stubdoms/")]
fn a_service_that_panics_of_itself_fails_the_story() {
    let mut stage = Stage::new(0);
    works(&mut stage);
    // Past the stage, so that nobody expects it.
    stage.fleet.ground.services.say(NET, ToService::Break(Break::Panic));
    let lives = *stage.fleet.seen.lives.borrow();
    stage.until("it lives again", |fleet| *fleet.seen.lives.borrow() > lives);
}

#[test]
fn services_die_midway_and_are_there_anew() {
    let (mut adopted, mut runs) = (0, 0);
    seeds(60, |seed| {
        runs += 1;
        let mut stage = Stage::new(seed);
        let mut ended = Vec::new();
        if seed % 2 == 0 {
            works(&mut stage);
        }
        for _ in 0..1 + stage.executor.rng().below(4) {
            // Anywhere: while it starts, while it works, while its peer dies.
            let steps = stage.executor.rng().below(6000);
            pass(&mut stage, steps);
            ended.extend(end_one(&mut stage));
        }
        have_ended(&mut stage, &ended);
        works(&mut stage);
        ended.sort_unstable();
        ended.dedup();
        let lives = *stage.fleet.seen.lives.borrow() as usize;
        assert!(lives >= 2 + ended.len(), "{lives} lives, and {ended:?} were ended");
        assert!(ended.iter().all(|&id| !stage.fleet.world.runs(id)), "{ended:?}");
        adopted += *stage.fleet.seen.adopted.borrow();
        stage.end();
    });
    assert!(runs < 60 || adopted > 0, "no control has found an application that runs");
}

#[test]
fn a_service_that_is_never_ready_is_ended_and_nobody_for_it() {
    seeds(4, |seed| {
        let mut stage = Stage::new(seed);
        stage.fleet.card.starts(false);
        stage.fleet.seen.calm.set(true);
        stage.until("both services run", |fleet| fleet.id(NET).is_some() && fleet.id(CONTROL).is_some());
        let (net, control) = (stage.fleet.id(NET), stage.fleet.id(CONTROL));
        wait_ms(&mut stage, (READY_LIMIT.as_secs() - 1) * 1000);
        assert_eq!((stage.fleet.id(NET), stage.fleet.id(CONTROL)), (net, control));
        stage.until("net is ended", |fleet| fleet.id(NET).is_some_and(|id| Some(id) != net));
        wait_ms(&mut stage, READY_LIMIT.as_secs() * 1000);
        assert_eq!(stage.fleet.id(CONTROL), control, "it waits for net");
        stage.fleet.card.starts(true);
        stage.fleet.seen.calm.set(false);
        works(&mut stage);
        stage.end();
    });
}

#[test]
fn a_cable_that_is_out_ends_nobody() {
    seeds(4, |seed| {
        let mut stage = Stage::new(seed);
        stage.fleet.card.plug(&stage.fleet.world, false);
        stage.fleet.seen.calm.set(true);
        wait_ms(&mut stage, 2 * READY_LIMIT.as_secs() * 1000);
        assert_eq!(*stage.fleet.seen.lives.borrow(), 2);
        stage.fleet.card.plug(&stage.fleet.world, true);
        stage.fleet.seen.calm.set(false);
        works(&mut stage);
        assert_eq!(*stage.fleet.seen.lives.borrow(), 2);
        stage.end();
    });
}

#[test]
fn a_card_that_does_what_it_must_not_is_reset_and_works_again() {
    seeds(10, |seed| {
        let mut stage = Stage::new(seed);
        works(&mut stage);
        for resets in 2..4 {
            stage.fleet.card.break_once(&stage.fleet.world);
            stage.until("the card is reset", |fleet| fleet.card.resets.get() == resets);
            works(&mut stage);
        }
        assert_eq!(*stage.fleet.seen.lives.borrow(), 2);
        stage.end();
    });
}

/// A call of one end fails while the channel between net and control is opened: the channel opens all the same, in
/// the same lives.
#[test]
fn a_call_that_fails_while_a_channel_opens_is_made_again() {
    // Who is ended, whose call fails, and which: the end that was built first binds the port, net maps the page.
    let cases = [
        (CONTROL, NET, Call::BindInterdomain),
        (CONTROL, NET, Call::MapGrant),
        (NET, CONTROL, Call::BindInterdomain),
    ];
    for (ended, failing, call) in cases {
        seeds(6, |seed| {
            let mut stage = Stage::new(seed);
            works(&mut stage);
            let (old, caller) = (stage.fleet.id(ended), stage.fleet.id(failing));
            stage.fleet.world.fail(Fault::nth(0).of(call).by(caller.expect("it works")));
            stage.fleet.order(ended);
            stage.until("it is built anew", |fleet| fleet.id(ended).is_some_and(|id| Some(id) != old));
            works(&mut stage);
            assert!(stage.fleet.world.failed_call().is_some(), "{call:?}");
            assert_eq!(*stage.fleet.seen.lives.borrow(), 3);
            stage.end();
        });
    }
}

/// A call of one end fails while net connects control's vif: it is connected all the same, in the same lives.
#[test]
fn a_call_that_fails_while_a_vif_is_connected_is_made_again() {
    // The channel between the two has the first port and the first page.
    let cases = [
        (CONTROL, Call::AllocUnbound, 0),
        (NET, Call::BindInterdomain, 1),
        (NET, Call::MapGrant, 1),
        (NET, Call::MapGrant, 2),
    ];
    for (failing, call, number) in cases {
        seeds(6, |seed| {
            let mut stage = Stage::new(seed);
            works(&mut stage);
            let old = stage.fleet.id(CONTROL);
            stage.fleet.order(CONTROL);
            stage.until("it is built anew", |fleet| fleet.id(CONTROL).is_some_and(|id| Some(id) != old));
            let caller = stage.fleet.id(failing).expect("it works");
            stage.fleet.world.fail(Fault::nth(number).of(call).by(caller));
            works(&mut stage);
            assert!(stage.fleet.world.failed_call().is_some(), "{call:?} {number}");
            assert_eq!(*stage.fleet.seen.lives.borrow(), 3);
            stage.end();
        });
    }
}

#[test]
fn a_service_that_cannot_be_told_of_its_peers_is_told_later() {
    seeds(6, |seed| {
        let mut stage = Stage::with(seed, More::Quiet);
        works(&mut stage);
        let renew = |stage: &mut Stage, service| {
            let old = stage.fleet.id(service);
            stage.fleet.order(service);
            stage.until("it is built anew", |fleet| fleet.id(service).is_some_and(|id| Some(id) != old));
        };
        // With the channels of both net has more than it can be told of, once both are built with them.
        stage.fleet.change_table(More::Channels);
        renew(&mut stage, QUIET);
        renew(&mut stage, CONTROL);
        let old = stage.fleet.seen.echoes.borrow().len();
        wait_ms(&mut stage, 5000);
        assert_eq!(echoes(&stage.fleet, old), 0, "net does not know of this control");
        let complaints = stage.fleet.seen.controller.borrow().count("domain net: its peers: ");
        assert_eq!(complaints, 1, "it is complained of once");
        // Nobody is built or ended from here on.
        let lives = *stage.fleet.seen.lives.borrow();
        stage.fleet.change_table(More::Quiet);
        works(&mut stage);
        assert_eq!(*stage.fleet.seen.lives.borrow(), lives);
        stage.end();
    });
}

/// Seeds of the stories in which calls fail.
const SEEDS: u64 = 20;

#[test]
fn calls_of_dom0_fail_and_the_fleet_goes_on() {
    calls_of_dom0_fail(SEEDS, Stage::new, works);
}

#[test]
fn calls_of_services_fail_and_their_next_lives_work() {
    calls_of_services_fail(SEEDS, Stage::new, works);
}
