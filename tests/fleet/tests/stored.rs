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

/// Whether the disk has what a device that was onboarded and configured keeps, also of a time without storage.
fn is_kept(fleet: &Fleet) -> bool {
    let values = fleet.disk.values();
    ["certs", "config", "identity"].iter().all(|name| values.contains_key(*name))
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
const SEEDS: u64 = 16;

#[test]
fn calls_of_dom0_fail_and_nothing_is_lost() {
    calls_of_dom0_fail(SEEDS, |seed| Stage::with(seed, More::Disk), keeps);
}

#[test]
fn calls_of_services_fail_and_nothing_is_lost() {
    calls_of_services_fail(SEEDS, |seed| Stage::with(seed, More::Disk), keeps);
}

/// The disk refuses, answers with less, breaks its protocol or does not answer at all, at any call; sometimes it does not
/// come up; storage ends meanwhile.
#[test]
fn a_disk_that_fails_loses_nothing() {
    let (mut failed, mut runs) = (0, 0);
    seeds(30, |seed| {
        runs += 1;
        let mut stage = Stage::with(seed, More::Disk);
        if seed % 2 == 0 {
            keeps(&mut stage);
        }
        let one_in = 1 + stage.executor.rng().below(40);
        stage.fleet.disk.fail(one_in);
        for _ in 0..2 + stage.executor.rng().below(3) {
            sometime(&mut stage);
            if stage.executor.rng().once_in(2) {
                let times = stage.executor.rng().below(3) as u32;
                stage.fleet.disk.sleep(times);
                stage.fleet.crash(STORAGE);
            }
        }
        assert!(seed % 2 == 1 || is_kept(&stage.fleet), "what was kept is there, whatever fails");
        stage.fleet.disk.fail(0);
        keeps(&mut stage);
        failed += stage.fleet.disk.failed();
        stage.end();
    });
    assert!(runs < 30 || failed > 100, "{failed}");
}

/// Nobody is busy with the waiting, and the store is opened when the disk is there.
#[test]
fn a_disk_that_comes_up_late_is_waited_for() {
    seeds(10, |seed| {
        let mut stage = Stage::with(seed, More::Disk);
        stage.fleet.disk.sleep(2 + seed as u32);
        works::works(&mut stage);
        keeps(&mut stage);
        stage.end();
    });
}

/// The power is cut, and the controller is away when it is back: the device runs what it was to run. Then that
/// controller is there, and does not know it.
#[test]
fn a_device_without_its_controller_goes_on_after_a_power_cut() {
    seeds(10, |seed| {
        let mut stage = Stage::with(seed, More::Disk);
        keeps(&mut stage);
        let disk = stage.fleet.disk.after_power_cut();
        stage.end();
        let mut stage = Stage::over(seed, More::Disk, disk);
        eve(&stage.fleet, |eve| eve.away = true);
        stage.until("the application counts", |fleet| fleet.seen.counted.get() > 0);
        eve(&stage.fleet, |eve| eve.away = false);
        keeps(&mut stage);
        stage.end();
    });
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
