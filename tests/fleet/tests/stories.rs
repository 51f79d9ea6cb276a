//! Stories of the fleet, each with many seeds. `FAKEXEN_SEEDS=n` runs more of them, `FAKEXEN_SEED=n` one.

use std::collections::BTreeSet;

use dom0_supervisor::ServiceId;
use proto_xen::{DomId, sched::ShutdownReason};
use tests_fakexen::{Fault, seeds};
use tests_fleet::{
    dom0::{CONTROL, Ground, NET},
    stage::Stage,
};

/// Answers of the echo, but for the first `old`, between the services that run now.
fn echoes(ground: &Ground, old: usize) -> usize {
    let running = |service| ground.id(service).filter(|&id| ground.world.runs(id));
    let (Some(control), Some(net)) = (running(CONTROL), running(NET)) else { return 0 };
    ground.seen.echoes.borrow().iter().skip(old).filter(|&&pair| pair == (control.0, net.0)).count()
}

/// Everything works: the echo, applications that come and go, and their consoles.
fn works(stage: &mut Stage) {
    let old = stage.ground.seen.echoes.borrow().len();
    stage.until("the echo works", |ground| echoes(ground, old) >= 3);
    let seen = &stage.ground.seen;
    let (started, ended) = (*seen.started.borrow(), *seen.ended.borrow());
    let (console, records) = (seen.controller.borrow().console.len(), *seen.records.borrow());
    stage.until("an application lives and ends", |Ground { seen, .. }| {
        let heard = seen.controller.borrow().console.len();
        *seen.started.borrow() > started && *seen.ended.borrow() > ended && heard > console
    });
    stage.until("the controller gets every line that dom0 got", |Ground { seen, .. }| {
        seen.controller.borrow().log.len() >= records
    });
}

fn pass(stage: &mut Stage, steps: usize) {
    let mut left = steps;
    stage.until("time passes", |_| {
        left = left.saturating_sub(1);
        left == 0
    });
}

fn crash(stage: &Stage, service: ServiceId) {
    if let Some(id) = stage.ground.id(service) {
        stage.ground.world.crash(id, ShutdownReason::CRASH);
    }
}

#[test]
fn the_fleet_works_and_leaves_nothing() {
    seeds(20, |seed| {
        let mut stage = Stage::new(seed);
        works(&mut stage);
        assert!(*stage.ground.seen.refused.borrow() > 0);
        stage.end();
    });
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
            let service = [NET, CONTROL][stage.executor.rng().below(2)];
            ended.extend(stage.ground.id(service));
            match stage.executor.rng().below(3) {
                0 => crash(&stage, service),
                1 => stage.ground.order(service),
                _ => {
                    let id = stage.ground.id(service);
                    stage.ground.seen.hung.borrow_mut().extend(id.map(|id| id.0));
                }
            }
        }
        // One that hangs is only found when it is asked.
        let hung = stage.ground.seen.clone();
        stage.until("no service hangs any more", |ground| {
            let runs = |service| ground.id(service).is_some_and(|id| !hung.hung.borrow().contains(&id.0));
            runs(NET) && runs(CONTROL)
        });
        works(&mut stage);
        ended.sort_unstable();
        ended.dedup();
        let lives = *stage.ground.seen.lives.borrow() as usize;
        assert!(lives >= 2 + ended.len(), "{lives} lives, and {ended:?} were ended");
        assert!(ended.iter().all(|&id| !stage.ground.world.runs(id)), "{ended:?}");
        adopted += *stage.ground.seen.adopted.borrow();
        stage.end();
    });
    assert!(runs < 60 || adopted > 0, "no control has found an application that runs");
}

/// Seeds of the stories in which calls fail.
const SEEDS: u64 = 20;

/// Has calls of `caller` to Xen fail while services and applications are built and end. Returns which did.
fn fail_calls(stage: &mut Stage, caller: fn(&Ground) -> Option<DomId>) -> Vec<String> {
    let mut failed = Vec::new();
    for _ in 0..1 + stage.executor.rng().below(4) {
        // Something to do for everybody: a service is built anew.
        let service = [NET, CONTROL][stage.executor.rng().below(2)];
        crash(stage, service);
        let after = stage.executor.rng().below(80);
        let steps = stage.executor.rng().below(6000);
        stage.until("there is somebody whose calls can fail", |ground| caller(ground).is_some());
        if let Some(caller) = caller(&stage.ground) {
            stage.ground.world.fail(Fault::nth(after).by(caller));
        }
        pass(stage, steps);
        failed.extend(stage.ground.world.failed_call());
    }
    stage.ground.world.restart(None);
    eprintln!("{failed:?}");
    failed
}

#[test]
fn calls_of_dom0_fail_and_the_fleet_goes_on() {
    let (mut kinds, mut runs) = (BTreeSet::new(), 0);
    seeds(SEEDS, |seed| {
        runs += 1;
        let mut stage = Stage::new(seed);
        works(&mut stage);
        let failed = fail_calls(&mut stage, |_| Some(DomId::DOM0));
        kinds.extend(failed.iter().filter_map(|call| call.split(' ').next()).map(str::to_owned));
        works(&mut stage);
        stage.end();
    });
    assert!(runs < SEEDS || kinds.len() > 10, "{kinds:?}");
}

#[test]
fn calls_of_services_fail_and_their_next_lives_work() {
    let (mut failed, mut runs) = (0, 0);
    seeds(SEEDS, |seed| {
        runs += 1;
        let mut stage = Stage::new(seed);
        works(&mut stage);
        let caller =
            [|ground: &Ground| ground.id(NET), |ground: &Ground| ground.id(CONTROL)][seed as usize % 2];
        failed += fail_calls(&mut stage, caller).len();
        // A channel between services that one of them could not open, or lost, has no second try with the same
        // peer: it comes with the next life of one of them.
        stage.ground.order(NET);
        works(&mut stage);
        stage.end();
    });
    assert!(runs < SEEDS || failed > 10, "{failed}");
}
