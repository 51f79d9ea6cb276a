//! Stories with the whole control and a storage: what the device keeps outlives control, storage and the machine,
//! whatever happens to them and to the disk meanwhile.

use tests_fakexen::seeds;
use tests_fleet::{
    drills::{calls_of_dom0_fail, calls_of_services_fail, end_one, have_ended},
    stage::{CONTROL, Fleet, More, STORAGE, Stage, VAULT},
    works::{self, eve, sometime},
};

/// All works, and what control has to keep is on the disk.
fn keeps(stage: &mut Stage) {
    works::works(stage);
    let mut looks = 0;
    stage.until("all that control keeps is on the disk", |fleet| {
        looks += 1;
        looks % 1000 == 0 && is_kept(fleet)
    });
    stage.fleet.disk.check_windows();
}

/// Whether the disk has what a device that was onboarded and configured keeps.
fn is_kept(fleet: &Fleet) -> bool {
    let values = fleet.disk.values();
    ["boots", "certs", "config", "identity"].iter().all(|name| values.contains_key(*name))
}

#[test]
fn what_control_keeps_outlives_it_and_storage() {
    seeds(10, |seed| {
        let mut stage = Stage::with(seed, More::Disk);
        keeps(&mut stage);
        assert_eq!(*stage.fleet.seen.lives.borrow(), 4, "nobody is ended without a reason");
        for service in [CONTROL, STORAGE, VAULT] {
            stage.fleet.crash(service);
            keeps(&mut stage);
        }
        stage.end();
    });
}

#[test]
fn services_die_midway_and_nothing_is_lost() {
    seeds(40, |seed| {
        let mut stage = Stage::with(seed, More::Disk);
        let mut ended = Vec::new();
        if seed % 2 == 0 {
            keeps(&mut stage);
        }
        for _ in 0..2 + stage.executor.rng().below(4) {
            sometime(&mut stage);
            ended.extend(end_one(&mut stage));
        }
        have_ended(&mut stage, &ended);
        keeps(&mut stage);
        stage.end();
    });
}

/// Seeds of the stories in which calls fail.
const SEEDS: u64 = 12;

#[test]
fn calls_of_dom0_fail_and_nothing_is_lost() {
    calls_of_dom0_fail(SEEDS, |seed| Stage::with(seed, More::Disk), keeps);
}

#[test]
fn calls_of_services_fail_and_nothing_is_lost() {
    calls_of_services_fail(SEEDS, |seed| Stage::with(seed, More::Disk), keeps);
}

/// Storage, or vault, is gone when control is built: control knows all the same that there is one.
#[test]
fn control_that_begins_without_storage_finds_it_later() {
    const SEES: &str = "base OS: Blind -> Settled";
    seeds(10, |seed| {
        let mut stage = Stage::with(seed, More::Disk);
        keeps(&mut stage);
        let gone = [STORAGE, VAULT][seed as usize % 2];
        for _ in 0..4 {
            stage.until("it is there", |fleet| fleet.id(gone).is_some());
            stage.fleet.crash(gone);
            stage.until("it is gone", |fleet| fleet.id(gone).is_none());
        }
        stage.fleet.crash(CONTROL);
        stage.until("control is there", |fleet| fleet.id(CONTROL).is_some());
        let before = eve(&stage.fleet, |eve| eve.count(SEES));
        keeps(&mut stage);
        assert_eq!(eve(&stage.fleet, |eve| eve.count(SEES)), before + 1, "this control has seen the slots");
        stage.end();
    });
}
