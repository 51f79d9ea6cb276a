//! Services that hang: how long it takes until the next life is built.

use std::time::Duration;

use dom0_supervisor::{HUNG_WITHIN, START_LIMIT, ServiceId, history::FIRST_DELAY};
use proto_svc::supervision::{Break, ToService};
use tests_fakexen::seeds;
use tests_fleet::{
    drills::sometime,
    stage::{CONTROL, More, NET, STORAGE, Stage, VAULT},
    works::works,
};

const ALL: [ServiceId; 4] = [NET, CONTROL, VAULT, STORAGE];

/// What building takes, and finding that its time has come.
const BUILT_WITHIN: Duration = Duration::from_millis(50);

/// Has a service hang by itself, or as dom0 orders it. Returns how long it takes until another one is there, from when it
/// hangs on.
fn hang(stage: &mut Stage, service: ServiceId, ordered: bool) -> Duration {
    let old = stage.fleet.id(service).expect("it is there");
    if ordered {
        stage.fleet.say(service, ToService::Break(Break::Hang));
    } else {
        stage.fleet.world.hang(old);
    }
    stage.until("it hangs", |fleet| fleet.world.hangs(old));
    let since = stage.fleet.world.now_ns();
    stage.until("it is built anew", |fleet| fleet.id(service).is_some_and(|id| id != old));
    Duration::from_nanos(stage.fleet.world.now_ns() - since)
}

/// The first time within a quarter of an hour nobody waits; the second time it is built an eighth of a second later.
#[test]
fn a_service_that_hangs_is_built_anew_within_two_seconds() {
    let mut longest = Duration::ZERO;
    seeds(4, |seed| {
        let mut stage = Stage::with(seed, More::Software);
        works(&mut stage);
        for round in 0..2 {
            for service in ALL {
                sometime(&mut stage);
                let ordered = stage.executor.rng().once_in(2);
                let took = hang(&mut stage, service, ordered);
                let wait = FIRST_DELAY * round;
                assert!((wait..=HUNG_WITHIN + wait).contains(&took), "{service:?}, round {round}: {took:?}");
                longest = longest.max(took - wait);
            }
            works(&mut stage);
        }
        stage.end();
    });
    println!("the longest was {longest:?}");
}

/// Nobody can ask it yet: it has [`START_LIMIT`] for its first steps.
#[test]
fn a_service_that_hangs_ahead_of_its_channel_is_built_anew_when_its_time_is_up() {
    for service in ALL {
        seeds(2, |seed| {
            let mut stage = Stage::with(seed, More::Software);
            if seed % 2 == 1 {
                works(&mut stage);
                let old = stage.fleet.id(service);
                stage.fleet.order(service);
                stage.until("it is ended", |fleet| fleet.id(service) != old);
            }
            stage.until("it is there", |fleet| fleet.id(service).is_some());
            let took = hang(&mut stage, service, false);
            assert!((START_LIMIT..=START_LIMIT + BUILT_WITHIN).contains(&took), "{service:?}: {took:?}");
            works(&mut stage);
            stage.end();
        });
    }
}
