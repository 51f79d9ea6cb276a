//! Stories with the whole control: it onboards, gets a configuration, has dom0 run the application that stands there,
//! and sends all that is logged, whatever happens to it and to net meanwhile.

use std::time::Duration;

use proto_errors::{Code, ctl, svc};
use tests_fakexen::seeds;
use tests_fleet::{
    drills::{calls_of_dom0_fail, calls_of_services_fail, end_one, services_die_midway, sometime, wait_ms},
    host::PATIENCE as DOG,
    stage::{CONTROL, Fleet, More, NET, ONBOARD_KEY, Stage},
    works::{eve, is_told_all, works},
};

#[test]
fn control_onboards_and_runs_the_application() {
    seeds(20, |seed| {
        let mut stage = Stage::with(seed, More::Plain);
        works(&mut stage);
        assert_eq!(*stage.fleet.seen.lives.borrow(), 2, "nobody is ended without a reason");
        stage.until("the device is reported and measured", |fleet| {
            eve(fleet, |eve| eve.devices > 0 && eve.metrics > 0)
        });
        eve(&stage.fleet, |eve| {
            assert_eq!((eve.attested, eve.configured, eve.again), (1, 1, 0));
            let first: Vec<_> = eve.trace.iter().take(3).map(String::as_str).collect();
            assert_eq!(first, ["certs 200", "register 201", "uuid 200"]);
        });
        stage.end();
    });
}

/// The network names a time server, whose time is three hours ahead of the machine's clock; net and control end.
#[test]
fn the_time_of_the_network_is_taken_and_outlives_control() {
    const SAYS: &str = "clock: set to";
    seeds(5, |seed| {
        let mut stage = Stage::with(seed, More::Plain);
        works(&mut stage);
        assert_eq!(eve(&stage.fleet, |eve| eve.count(SAYS)), 0, "nobody tells the time");
        stage.fleet.card.time_ahead.set(Some(Duration::from_secs(3 * 3600)));
        stage.fleet.crash(NET);
        stage.until("control has set its clock", |fleet| eve(fleet, |eve| eve.count(SAYS)) == 1);
        works(&mut stage);
        // The next life of control has that time from dom0, and finds it right.
        stage.fleet.crash(CONTROL);
        works(&mut stage);
        assert_eq!(eve(&stage.fleet, |eve| eve.count(SAYS)), 1);
        stage.end();
    });
}

#[test]
fn a_seed_goes_the_same_way_each_time() {
    seeds(4, |seed| {
        let more = [More::Plain, More::Software][seed as usize % 2];
        let way = || {
            let mut stage = Stage::with(seed, more);
            works(&mut stage);
            stage.fleet.crash(CONTROL);
            works(&mut stage);
            let way = (stage.fleet.world.now_ns(), eve(&stage.fleet, |eve| eve.trace.clone()));
            stage.end();
            way
        };
        assert_eq!(way(), way());
    });
}

#[test]
fn services_die_midway_and_nothing_is_lost_or_started_again() {
    let (mut again, mut runs) = (0, 0);
    let new = |seed| Stage::with(seed, More::Plain);
    services_die_midway(40, new, works, |stage| {
        runs += 1;
        again += eve(&stage.fleet, |eve| eve.again);
    });
    assert!(runs < 40 || again > 0, "no control has sent a line once more that an earlier one had sent");
}

#[test]
fn a_controller_that_is_away_gets_all_when_it_is_back() {
    seeds(6, |seed| {
        let mut stage = Stage::with(seed, More::Plain);
        if seed % 2 == 0 {
            works(&mut stage);
        }
        eve(&stage.fleet, |eve| eve.away = true);
        wait_ms(&mut stage, 30_000);
        if seed % 3 == 0 {
            stage.fleet.crash(CONTROL);
            wait_ms(&mut stage, 10_000);
        }
        eve(&stage.fleet, |eve| eve.away = false);
        works(&mut stage);
        stage.fleet.card.plug(&stage.fleet.world, false);
        wait_ms(&mut stage, 30_000);
        stage.fleet.card.plug(&stage.fleet.world, true);
        works(&mut stage);
        stage.end();
    });
}

#[test]
fn a_network_that_loses_frames_and_answers_loses_no_line() {
    let (mut again, mut runs) = (0, 0);
    seeds(10, |seed| {
        runs += 1;
        let mut stage = Stage::with(seed, More::Plain);
        // Not worse: what cannot be sent as fast as it is written makes room for what comes, which is as it should be.
        let one_in = 10 + stage.executor.rng().below(20);
        stage.fleet.card.lose(one_in);
        eve(&stage.fleet, |eve| eve.cut = one_in / 2);
        works(&mut stage);
        for _ in 0..3 {
            sometime(&mut stage);
            works(&mut stage);
        }
        again += eve(&stage.fleet, |eve| eve.again);
        stage.end();
    });
    assert!(runs < 10 || again > 0, "no answer was lost to lines that the controller had taken");
}

#[test]
fn a_hostile_application_takes_nothing_from_the_others() {
    seeds(6, |seed| {
        let mut stage = Stage::with(seed, More::Hostile);
        stage.until("it is tried", |fleet| *fleet.seen.refused.borrow() > 0);
        is_told_all(&mut stage);
        end_one(&mut stage);
        sometime(&mut stage);
        is_told_all(&mut stage);
        stage.end();
    });
}

/// What is the device's own to say is said once an hour, and nobody is ended for it.
#[test]
fn a_device_that_was_never_provisioned_rests() {
    seeds(2, |seed| {
        let mut stage = Stage::with(seed, More::Bare);
        stage.until("all begin", |fleet| fleet.services.iter().all(|&service| fleet.id(service).is_some()));
        let control = stage.fleet.id(CONTROL).expect("it has begun");
        wait_ms(&mut stage, 10_000);
        let said = stage.fleet.world.lines_of(control);
        wait_ms(&mut stage, 2 * 3600 * 1000);
        assert_eq!(stage.fleet.id(CONTROL), Some(control), "it is left in peace");
        assert_eq!(stage.fleet.world.lines_of(control), said + 2);
        // dom0 has somebody who takes what it says.
        assert!(stage.fleet.ground.outbox.borrow().has_room());
        stage.end();
    });
}

/// It has another identity, so it goes on with that.
#[test]
fn a_device_that_has_a_certificate_without_its_key_says_so_and_goes_on() {
    seeds(2, |seed| {
        let mut stage = Stage::with(seed, More::Half);
        stage.until("the missing file is named", |fleet| {
            fleet
                .world
                .complaint(ctl::HALF_A_PAIR.as_str())
                .is_some_and(|said| said.text.contains(ONBOARD_KEY))
        });
        let control = stage.fleet.id(CONTROL).expect("it has said so");
        wait_ms(&mut stage, 120_000);
        assert!(stage.fleet.world.complaint(ctl::PROVISIONING.as_str()).is_none());
        assert_eq!(stage.fleet.id(CONTROL), Some(control), "it does its work");
        eve(&stage.fleet, |eve| {
            let count = |what: &str| eve.trace.iter().filter(|asked| *asked == what).count();
            assert!(count("uuid 401") > 1, "it asks again and again who it is: {:?}", eve.trace);
            assert_eq!(count("certs 200") + count("uuid 401"), eve.trace.len(), "and for nothing else");
        });
        stage.end();
    });
}

/// Another start may find the files, so this one is given up by and by.
#[test]
fn a_device_whose_provisioning_cannot_be_read_does_not_rest() {
    seeds(2, |seed| {
        let mut stage = Stage::with(seed, More::Unread);
        stage.until("all begin", |fleet| fleet.services.iter().all(|&service| fleet.id(service).is_some()));
        let control = stage.fleet.id(CONTROL).expect("it has begun");
        stage.until("control is given another try", |fleet| {
            fleet.id(CONTROL).is_some_and(|now| now != control)
        });
        assert!(stage.fleet.world.now_ns() >= 60_000_000_000, "it had its minute");
        let told = |fleet: &Fleet, code: Code| fleet.world.complaint(code.as_str()).is_some();
        stage.until("the machine will be reset", |fleet| told(fleet, svc::NOT_FED));
        assert!(told(&stage.fleet, svc::GIVEN_UP));
        // That was no help: the machine is left alone.
        let mut stage = stage.after_watchdog(seed);
        stage.until("the machine goes on without control", |fleet| told(fleet, svc::NO_RESET));
        wait_ms(&mut stage, 30_000);
        assert!(!told(&stage.fleet, svc::NOT_FED));
        assert!(stage.fleet.ground.watchdogs.longest() < DOG);
        stage.end_without(CONTROL);
    });
}

/// Seeds of the stories in which calls fail.
const SEEDS: u64 = 12;

#[test]
fn calls_of_dom0_fail_and_nothing_is_lost() {
    calls_of_dom0_fail(SEEDS, |seed| Stage::with(seed, More::Plain), works);
}

#[test]
fn calls_of_services_fail_and_nothing_is_lost() {
    calls_of_services_fail(SEEDS, |seed| Stage::with(seed, More::Plain), works);
}
