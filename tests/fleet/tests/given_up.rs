//! Services that die again and again, until they are given up: what that costs the machine.

use dom0_supervisor::{ServiceId, history::LIMIT};
use proto_errors::{Code, svc};
use proto_svc::supervision::{Break, ToService};
use tests_fakexen::seeds;
use tests_fleet::{
    drills::{pass, wait_ms},
    host::PATIENCE as DOG,
    stage::{CONTROL, Fleet, More, NET, STORAGE, Stage, VAULT},
    works::{eve, works},
};

/// The dog's patience, and as much again.
const LONG_MS: u64 = 2 * DOG.as_millis() as u64;

fn told(fleet: &Fleet, code: Code) -> bool {
    fleet.world.complaint(code.as_str()).is_some()
}

/// The service dies in this way as often as it is there, until it is given up. The dog is fed meanwhile.
fn give_up(stage: &mut Stage, service: ServiceId, die: fn(&mut Stage, ServiceId)) {
    for death in 1..=LIMIT {
        stage.until("it is there", |fleet| fleet.id(service).is_some());
        assert!(!told(&stage.fleet, svc::GIVEN_UP), "it is given up after {} deaths", death - 1);
        let old = stage.fleet.id(service);
        die(stage, service);
        stage.until("it is ended", |fleet| fleet.id(service) != old);
    }
    stage.until("it is given up", |fleet| told(fleet, svc::GIVEN_UP));
    let longest = stage.fleet.ground.watchdogs.longest();
    assert!(longest < DOG, "the watchdog was not fed for {longest:?} while it might come back");
}

/// One of the ways in which a service dies.
fn somehow(stage: &mut Stage, service: ServiceId) {
    let steps = stage.executor.rng().below(1000);
    match stage.executor.rng().below(4) {
        0 => stage.fleet.crash(service),
        1 => {
            pass(stage, steps);
            stage.fleet.crash(service);
        }
        2 => stage.fleet.say(service, ToService::Break(Break::Panic)),
        _ => stage.fleet.id(service).into_iter().for_each(|id| stage.fleet.world.hang(id)),
    }
}

/// At its first instruction, so that it never does its work.
fn at_once(stage: &mut Stage, service: ServiceId) {
    stage.fleet.crash(service);
}

/// dom0 says that it does not feed the dog, and the dog resets the machine.
fn is_reset(stage: Stage, seed: u64) -> Stage {
    let mut stage = stage;
    stage.until("dom0 says that the machine will be reset", |fleet| told(fleet, svc::NOT_FED));
    let since = stage.fleet.world.now_ns();
    stage.until("the watchdog resets the machine", |fleet| fleet.ground.watchdogs.longest() >= DOG);
    let took = stage.fleet.world.now_ns() - since;
    assert!(u128::from(took) <= DOG.as_nanos(), "{took} ns after dom0 has said so");
    assert!(!told(&stage.fleet, svc::NO_RESET));
    stage.after_watchdog(seed)
}

/// The dog is fed, and dom0 does not say otherwise.
fn is_fed(stage: &mut Stage) {
    wait_ms(stage, LONG_MS);
    let longest = stage.fleet.ground.watchdogs.longest();
    assert!(longest < DOG, "the watchdog was not fed for {longest:?}");
    assert!(!told(&stage.fleet, svc::NOT_FED));
}

/// However often: the start that follows finds it working.
#[test]
fn the_machine_is_reset_for_a_vital_service_that_has_worked() {
    for service in [NET, CONTROL] {
        seeds(2, |seed| {
            let mut stage = Stage::with(seed, More::Software);
            works(&mut stage);
            give_up(&mut stage, service, somehow);
            let mut stage = is_reset(stage, seed);
            eve(&stage.fleet, |eve| eve.is_late = true);
            stage.until("all works again", |fleet| eve(fleet, |eve| eve.app_runs() && eve.configured > 0));
            give_up(&mut stage, service, somehow);
            let _ = is_reset(stage, seed);
        });
    }
}

/// It may lack hardware that a reset brings back; if that was no help the rest goes on without it.
#[test]
fn the_machine_is_reset_once_for_a_vital_service_that_has_never_worked() {
    for (service, others) in [(NET, [CONTROL, VAULT, STORAGE]), (CONTROL, [NET, VAULT, STORAGE])] {
        seeds(2, |seed| {
            let mut stage = Stage::with(seed, More::Software);
            give_up(&mut stage, service, at_once);
            let mut stage = is_reset(stage, seed);
            eve(&stage.fleet, |eve| eve.is_late = true);
            give_up(&mut stage, service, at_once);
            let all = |fleet: &Fleet| others.map(|other| fleet.id(other));
            let before = all(&stage.fleet);
            is_fed(&mut stage);
            assert!(told(&stage.fleet, svc::NO_RESET));
            assert_eq!(all(&stage.fleet), before, "the others go on");
            stage.end_without(service);
        });
    }
}

/// Applications and what reaches the controller go on without vault and storage.
#[test]
fn the_machine_is_not_reset_for_a_service_that_is_not_vital() {
    for service in [VAULT, STORAGE] {
        seeds(2, |seed| {
            let mut stage = Stage::with(seed, More::Software);
            works(&mut stage);
            give_up(&mut stage, service, somehow);
            let counted = stage.fleet.seen.counted.get();
            is_fed(&mut stage);
            assert!(!told(&stage.fleet, svc::NO_RESET));
            assert!(stage.fleet.seen.counted.get() > counted, "the application goes on");
            assert_eq!(stage.fleet.id(service), None, "it is not built any more");
            stage.end_without(service);
        });
    }
}
