//! What stories do to a machine: let it run, end a service, have calls fail; and the stories of failing calls, which are told
//! with the small control and with the whole one.

use std::collections::BTreeSet;

use dom0_supervisor::ServiceId;
use proto_svc::supervision::{Break, ToService};
use proto_xen::DomId;
use tests_fakexen::{Fault, seeds};

use crate::stage::{Fleet, Stage};

/// Lets so many steps pass.
pub fn pass(stage: &mut Stage, steps: usize) {
    let mut left = steps;
    stage.until("time passes", |_| {
        left = left.saturating_sub(1);
        left == 0
    });
}

/// Lets virtual time pass.
pub fn wait_ms(stage: &mut Stage, ms: u64) {
    let end = stage.fleet.world.now_ns() + ms * 1_000_000;
    stage.until("time passes", |fleet| fleet.world.now_ns() >= end);
}

/// Anywhere: while services start, while they talk, while nothing happens for seconds.
pub fn sometime(stage: &mut Stage) {
    let rng = stage.executor.rng();
    if rng.once_in(2) {
        let steps = rng.below(6000);
        pass(stage, steps);
    } else {
        let ms = rng.below(15_000);
        wait_ms(stage, ms as u64);
    }
}

/// One of the services.
fn any(stage: &mut Stage) -> ServiceId {
    let services = stage.fleet.services;
    services[stage.executor.rng().below(services.len())]
}

/// Ends a service in one of the ways that there are, at random. Returns whom.
pub fn end_one(stage: &mut Stage) -> Option<DomId> {
    let service = any(stage);
    let id = stage.fleet.id(service);
    match stage.executor.rng().below(5) {
        0 => stage.fleet.crash(service),
        1 => stage.fleet.order(service),
        2 => stage.fleet.say(service, ToService::Break(Break::Panic)),
        3 => stage.fleet.say(service, ToService::Break(Break::Hang)),
        _ => id.into_iter().for_each(|id| stage.fleet.world.hang(id)),
    }
    id
}

/// Runs until those that were to end have ended, and others are there. One that hangs is only found when it is asked,
/// and may not have heard that it is to end.
pub fn have_ended(stage: &mut Stage, ended: &[DomId]) {
    stage.until("all that were to end have ended", |fleet| {
        fleet.services.iter().all(|&service| {
            fleet.id(service).is_some_and(|id| !fleet.world.hangs(id) && !ended.contains(&id))
        })
    });
}

/// A story: services end at any time, in any way, from the start of the machine on or when all works; then all works again.
/// `new` makes the stage of a seed, `seen` looks at it in the end.
///
/// # Panics
/// If something does not work.
pub fn services_die_midway(
    count: u64,
    new: impl Fn(u64) -> Stage,
    works: fn(&mut Stage),
    mut seen: impl FnMut(&Stage),
) {
    seeds(count, |seed| {
        let mut stage = new(seed);
        let mut ended = Vec::new();
        if seed % 2 == 0 {
            works(&mut stage);
        }
        for _ in 0..2 + stage.executor.rng().below(4) {
            sometime(&mut stage);
            ended.extend(end_one(&mut stage));
        }
        have_ended(&mut stage, &ended);
        works(&mut stage);
        seen(&stage);
        stage.end();
    });
}

/// Has calls of `caller` to Xen fail while services and applications are built and end. Returns which did.
fn fail_calls(stage: &mut Stage, caller: impl Fn(&Fleet) -> Option<DomId>) -> Vec<String> {
    let mut failed = Vec::new();
    for _ in 0..1 + stage.executor.rng().below(4) {
        // Something to do for everybody: a service is built anew.
        let service = any(stage);
        stage.fleet.crash(service);
        let after = stage.executor.rng().below(80);
        let steps = stage.executor.rng().below(6000);
        stage.until("there is somebody whose calls can fail", |fleet| caller(fleet).is_some());
        if let Some(caller) = caller(&stage.fleet) {
            stage.fleet.world.fail(Fault::nth(after).by(caller));
        }
        pass(stage, steps);
        failed.extend(stage.fleet.world.failed_call());
    }
    stage.fleet.world.restart(None);
    eprintln!("{failed:?}");
    failed
}

/// A story: calls of dom0 to Xen fail, of many kinds, and all works again. `new` makes the stage of a seed.
///
/// # Panics
/// If something does not work, or too little has failed.
pub fn calls_of_dom0_fail(count: u64, new: impl Fn(u64) -> Stage, works: fn(&mut Stage)) {
    let (mut kinds, mut runs) = (BTreeSet::new(), 0);
    seeds(count, |seed| {
        runs += 1;
        let mut stage = new(seed);
        works(&mut stage);
        let failed = fail_calls(&mut stage, |_| Some(DomId::DOM0));
        kinds.extend(failed.iter().filter_map(|call| call.split(' ').next()).map(str::to_owned));
        works(&mut stage);
        stage.end();
    });
    assert!(runs < count || kinds.len() > 10, "{kinds:?}");
}

/// The same of calls of services, one in each seed.
///
/// # Panics
/// As [`calls_of_dom0_fail`].
pub fn calls_of_services_fail(count: u64, new: impl Fn(u64) -> Stage, works: fn(&mut Stage)) {
    let (mut failed, mut runs) = (0, 0);
    seeds(count, |seed| {
        runs += 1;
        let mut stage = new(seed);
        works(&mut stage);
        let services = stage.fleet.services;
        let caller = services[seed as usize % services.len()];
        failed += fail_calls(&mut stage, |fleet| fleet.id(caller)).len();
        works(&mut stage);
        stage.end();
    });
    assert!(runs < count || failed > 10, "{failed}");
}

/// A story: each call to Xen that the first life of `service` makes until all works fails once, each time from the start
/// of the machine. One seed goes the same way up to the call, so none is left out. The last line that is printed says
/// which one it was.
///
/// # Panics
/// If something does not work, or there are next to no calls.
pub fn each_call_fails_once(
    count: u64,
    service: ServiceId,
    new: impl Fn(u64) -> Stage,
    works: fn(&mut Stage),
) {
    seeds(count, |seed| {
        for number in 0.. {
            eprintln!("seed {seed}: call {number} of {service:?} fails");
            let mut stage = new(seed);
            stage.until("the service is there", |fleet| fleet.id(service).is_some());
            let caller = stage.fleet.id(service).expect("it is there");
            stage.fleet.world.fail(Fault::nth(number).by(caller));
            works(&mut stage);
            let failed = stage.fleet.world.failed_call();
            stage.end();
            if failed.is_none() {
                assert!(number > 20, "it made {number} calls");
                return;
            }
        }
    });
}
