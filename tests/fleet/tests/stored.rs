//! Stories with the whole control and a storage: what the device keeps outlives control, storage and the machine,
//! whatever happens to them and to the disk meanwhile.

use dom0_supervisor::ServiceId;
use proto_errors::{Code, storage};
use proto_xen::DomId;
use tests_fakexen::seeds;
use tests_fleet::{
    drills::{
        calls_of_dom0_fail, calls_of_services_fail, each_call_fails_once, end_one, pass, services_die_midway,
        sometime,
    },
    stage::{CONTROL, Fleet, More, STORAGE, Stage, VAULT},
    storage::update,
    works::{self, eve},
};

/// The version of the update.
const NEW: &str = "1.1.0";

/// Whether it is the whole vault that has the store's key: it does in half of the stories.
fn machine(seed: u64) -> More {
    if seed % 8 < 4 { More::Disk } else { More::Software }
}

/// All works, and what control has to keep is on the disk.
fn keeps(stage: &mut Stage) {
    works::works(stage);
    once_in_a_while(stage, "all that control keeps is on the disk", is_kept);
    stage.fleet.disk.check_windows();
}

/// In a later start of the machine: all runs.
fn goes_on(stage: &mut Stage) {
    let counted = stage.fleet.seen.counted.get();
    stage.until("the application counts, as the controller knows", |fleet| {
        fleet.seen.counted.get() > counted && eve(fleet, |eve| eve.app_runs() && eve.configured > 0)
    });
    once_in_a_while(stage, "what control keeps is on the disk", is_kept);
    stage.fleet.disk.check_windows();
}

/// Runs until `done`, which takes long to look at.
fn once_in_a_while(stage: &mut Stage, what: &str, mut done: impl FnMut(&Fleet) -> bool) {
    let mut next_ns = 0;
    stage.until(what, |fleet| {
        let now_ns = fleet.world.now_ns();
        if now_ns < next_ns {
            return false;
        }
        next_ns = now_ns + 500_000_000;
        done(fleet)
    });
}

/// Whether the disk has what a device that was onboarded and configured keeps, also of a time without storage.
fn is_kept(fleet: &Fleet) -> bool {
    let values = fleet.disk.values();
    ["certs", "config", "identity"].iter().all(|name| values.contains_key(*name))
}

#[test]
fn what_control_keeps_outlives_it_and_storage() {
    seeds(10, |seed| {
        let mut stage = Stage::with(seed, machine(seed));
        keeps(&mut stage);
        assert_eq!(*stage.fleet.seen.lives.borrow(), 4, "nobody is ended without a reason");
        assert_eq!(stage.fleet.world.complaint(storage::SLOW_DISK.as_str()), None, "that was fast");
        for service in [CONTROL, STORAGE, VAULT] {
            stage.fleet.crash(service);
            keeps(&mut stage);
        }
        stage.end();
    });
}

#[test]
fn services_die_midway_and_nothing_is_lost() {
    services_die_midway(40, |seed| Stage::with(seed, machine(seed)), keeps, |_| {});
}

/// Seeds of the stories in which calls fail.
const SEEDS: u64 = 16;

#[test]
fn calls_of_dom0_fail_and_nothing_is_lost() {
    calls_of_dom0_fail(SEEDS, |seed| Stage::with(seed, machine(seed)), keeps);
}

#[test]
fn calls_of_services_fail_and_nothing_is_lost() {
    calls_of_services_fail(SEEDS, |seed| Stage::with(seed, machine(seed)), keeps);
}

/// The disk refuses, answers with less, breaks its protocol or does not answer at all, at any call; sometimes it does not
/// come up; storage ends meanwhile.
#[test]
fn a_disk_that_fails_loses_nothing() {
    let (mut failed, mut runs) = (0, 0);
    seeds(30, |seed| {
        runs += 1;
        let mut stage = Stage::with(seed, machine(seed));
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

/// Nobody is busy with the waiting, and the store is opened when the disk is there. It is seen soon that storage waits.
#[test]
fn a_disk_that_comes_up_late_is_waited_for() {
    seeds(10, |seed| {
        let mut stage = Stage::with(seed, machine(seed));
        stage.fleet.disk.sleep(2 + seed as u32 % 10);
        works::works(&mut stage);
        keeps(&mut stage);
        let told = |code: Code| stage.fleet.world.complaint(code.as_str()).expect("storage says so").at;
        let (slow, missing) = (told(storage::SLOW_DISK), told(storage::NO_DISK));
        assert!(slow.as_nanos() <= 5_000_000_000, "{slow}");
        assert!(missing.as_nanos() >= 10_000_000_000, "it had its time: {missing}");
        stage.end();
    });
}

/// The power is cut, and the controller is away when it is back: the device runs what it was to run.
#[test]
fn a_device_without_its_controller_goes_on_after_a_power_cut() {
    seeds(10, |seed| {
        let mut stage = Stage::with(seed, machine(seed));
        keeps(&mut stage);
        let mut stage = stage.after_power_cut(seed);
        eve(&stage.fleet, |eve| (eve.away, eve.is_late) = (true, true));
        stage.until("the application counts", |fleet| fleet.seen.counted.get() > 0);
        eve(&stage.fleet, |eve| eve.away = false);
        goes_on(&mut stage);
        stage.end();
    });
}

/// An update comes into the slot that does not run, whatever ends meanwhile; it is armed, tried at the next start of the
/// machine, and has proved itself.
#[test]
fn an_update_is_armed_and_proves_itself() {
    seeds(12, |seed| {
        let mut stage = Stage::with(seed, machine(seed));
        keeps(&mut stage);
        eve(&stage.fleet, |eve| eve.ask_for_base(NEW, update(NEW)));
        for _ in 0..stage.executor.rng().below(4) {
            let written = stage.fleet.disk.filled();
            // It may be armed by now.
            stage.until("the slot is being filled", |fleet| {
                fleet.disk.filled() > written || !fleet.world.runs(DomId::DOM0)
            });
            let steps = stage.executor.rng().below(400);
            pass(&mut stage, steps);
            end_one(&mut stage);
        }
        once_in_a_while(&mut stage, "the update is armed", |fleet| {
            fleet.disk.next_start() == Some((NEW.into(), false))
        });
        stage.fleet.disk.check_windows();
        stage.until("the machine is reset", |fleet| !fleet.world.runs(DomId::DOM0));
        let mut stage = stage.after_power_cut(seed);
        assert_eq!(stage.fleet.disk.next_start(), Some(("1.0.0".into(), true)), "it has one try");
        eve(&stage.fleet, |eve| {
            eve.is_late = true;
            eve.ask_for_base(NEW, update(NEW));
        });
        once_in_a_while(&mut stage, "the version has proved itself", |fleet| {
            fleet.disk.next_start() == Some((NEW.into(), true))
        });
        goes_on(&mut stage);
        stage.end();
    });
}

/// Storage goes on for vault while it is served a control that was taken over, does no more than it may, and is there for
/// the next one.
#[test]
fn a_control_that_was_taken_over_takes_nothing_from_vault_or_from_the_next() {
    let (mut asked, mut runs) = (0, 0);
    seeds(20, |seed| {
        runs += 1;
        let mut stage = Stage::with(seed, More::Disk);
        if seed % 2 == 0 {
            keeps(&mut stage);
        }
        stage.fleet.seen.taken.set(true);
        for _ in 0..2 {
            stage.fleet.crash(CONTROL);
            sometime(&mut stage);
            let sealed = stage.fleet.seen.sealed.get();
            stage.until("vault is served", |fleet| fleet.seen.sealed.get() > sealed);
            stage.fleet.disk.check_windows();
            let version = stage.fleet.disk.next_start().map(|(version, _)| version);
            assert_eq!(version.as_deref(), Some("1.0.0"), "whichever slot it is in");
        }
        assert_eq!(stage.fleet.id(STORAGE), Some(DomId(3)), "storage is in its first life");
        asked += stage.fleet.seen.asked.get();
        stage.fleet.seen.taken.set(false);
        stage.fleet.crash(CONTROL);
        // It may have asked for another try of what lies in the other slot: the next control drops that, or goes on with it.
        once_in_a_while(&mut stage, "the other slot is not to be tried, or the machine is reset", |fleet| {
            !fleet.world.runs(DomId::DOM0) || fleet.disk.next_start() == Some(("1.0.0".into(), true))
        });
        if stage.fleet.world.runs(DomId::DOM0) {
            keeps(&mut stage);
        } else {
            stage = stage.after_power_cut(seed);
            eve(&stage.fleet, |eve| eve.is_late = true);
            goes_on(&mut stage);
        }
        stage.end();
    });
    assert!(runs < 20 || asked > 1000, "{asked}");
}

/// Each call that storage makes until all works fails once, each time from the start of the machine.
#[test]
fn each_call_of_storage_fails_once() {
    let more = |seed| if seed % 2 == 0 { More::Disk } else { More::Software };
    each_call_fails_once(2, STORAGE, |seed| Stage::with(seed, more(seed)), keeps);
}

/// Ends a service so often that it is gone for a while.
fn is_gone(stage: &mut Stage, service: ServiceId) {
    for _ in 0..4 {
        stage.until("it is there", |fleet| fleet.id(service).is_some());
        let life = stage.fleet.id(service);
        stage.fleet.crash(service);
        // After its first end it may be there again at once.
        stage.until("it is gone", |fleet| fleet.id(service) != life);
    }
}

/// Storage, or vault, is gone when control is built: control says so, and knows all the same that there is one.
#[test]
fn control_that_begins_without_storage_finds_it_later() {
    const SEES: &str = "base OS: Blind -> Settled";
    seeds(10, |seed| {
        let mut stage = Stage::with(seed, machine(seed));
        keeps(&mut stage);
        let (gone, says) = [(STORAGE, "[E-CTL-014]"), (VAULT, "[E-CTL-013]")][seed as usize % 2];
        // Half of the vaults have nothing to do with control.
        let is_missed = gone == STORAGE || machine(seed) == More::Software;
        let said = eve(&stage.fleet, |eve| eve.count(says));
        is_gone(&mut stage, gone);
        stage.fleet.crash(CONTROL);
        stage.until("control is there", |fleet| fleet.id(CONTROL).is_some());
        let before = eve(&stage.fleet, |eve| eve.count(SEES));
        keeps(&mut stage);
        assert_eq!(eve(&stage.fleet, |eve| eve.count(SEES)), before + 1, "this control has seen the slots");
        assert_eq!(eve(&stage.fleet, |eve| eve.count(says)), said + usize::from(is_missed), "{says}");
        stage.end();
    });
}

/// Vault is gone when storage is built: storage says why the store is locked, until vault opens it.
#[test]
fn storage_that_begins_without_vault_says_so_until_it_comes() {
    const SAYS: &str = "store: locked: vault is not there [E-STORAGE-010]";
    seeds(10, |seed| {
        let mut stage = Stage::with(seed, machine(seed));
        keeps(&mut stage);
        let said = eve(&stage.fleet, |eve| eve.count(SAYS));
        is_gone(&mut stage, VAULT);
        stage.fleet.crash(STORAGE);
        keeps(&mut stage);
        assert_eq!(eve(&stage.fleet, |eve| eve.count(SAYS)), said + 1);
        stage.end();
    });
}
