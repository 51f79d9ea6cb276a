//! Stories of the fleet, each with many seeds. `FAKEXEN_SEEDS=n` runs more of them, `FAKEXEN_SEED=n` one.

use dom0_supervisor::ServiceId;
use proto_xen::sched::ShutdownReason;
use tests_fakexen::seeds;
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
    let console = *seen.console.borrow();
    stage.until("an application lives and ends", |Ground { seen, .. }| {
        *seen.started.borrow() > started && *seen.ended.borrow() > ended && *seen.console.borrow() > console
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
    seeds(60, |seed| {
        let mut stage = Stage::new(seed);
        let mut ended = Vec::new();
        if seed % 2 == 0 {
            works(&mut stage);
        }
        for _ in 0..1 + stage.executor.rng().below(4) {
            // Anywhere: while it starts, while it works, while its peer dies.
            let steps = stage.executor.rng().below(6000);
            let mut left = steps;
            stage.until("time passes", |_| {
                left = left.saturating_sub(1);
                left == 0
            });
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
        stage.end();
    });
}
