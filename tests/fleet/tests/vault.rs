//! Stories with the whole control, a storage and a vault: the device is who its keys make it, with a TPM and without one,
//! whatever happens to vault meanwhile.

use std::time::Duration;

use dom0_supervisor::{ANSWER_WITHIN, SECOND_CHANCE};
use stubdoms_control_shell::SIGN_WITHIN;
use tests_fakexen::{Call, Fault, seeds};
use tests_fleet::{
    drills::{calls_of_services_fail, each_call_fails_once, pass, services_die_midway, sometime, wait_ms},
    stage::{CONTROL, More, STORAGE, Stage, VAULT},
    vault::Ailment,
    works::{eve, works},
};

#[test]
fn control_is_who_the_tpm_makes_it_and_is_attested() {
    seeds(3, |seed| {
        let mut stage = Stage::with(seed, More::Tpm);
        works(&mut stage);
        stage.until("the key of the storage is escrowed", |fleet| eve(fleet, |eve| eve.escrowed > 0));
        assert_eq!(*stage.fleet.seen.lives.borrow(), 4, "nobody is ended without a reason");
        eve(&stage.fleet, |eve| assert_eq!((eve.attested, eve.configured, eve.again), (1, 1, 0)));
        stage.end();
    });
}

/// The TPM takes so long for each signature that not all certificates can be waited for in one turn.
#[test]
fn a_device_with_a_slow_tpm_onboards() {
    seeds(3, |seed| {
        let mut stage = Stage::with(seed, More::Tpm);
        stage.fleet.chip.takes(Duration::from_millis(200));
        works(&mut stage);
        eve(&stage.fleet, |eve| assert_eq!((eve.attested, eve.configured), (1, 1)));
        stage.end();
    });
}

#[test]
fn control_is_who_software_makes_it() {
    seeds(10, |seed| {
        let mut stage = Stage::with(seed, More::Software);
        works(&mut stage);
        assert_eq!(*stage.fleet.seen.lives.borrow(), 4, "nobody is ended without a reason");
        eve(&stage.fleet, |eve| assert_eq!((eve.attested, eve.configured, eve.again), (1, 1, 0)));
        stage.end();
    });
}

const _: () =
    assert!(SIGN_WITHIN.as_millis() + 100 < (ANSWER_WITHIN.as_millis() + SECOND_CHANCE.as_millis()));

/// What vault was asked for may be a signature, for which control waits in the midst of a turn.
#[test]
fn a_vault_that_dies_at_work_takes_nobody_with_it() {
    seeds(6, |seed| {
        let mut stage = Stage::with(seed, More::Tpm);
        works(&mut stage);
        let control = stage.fleet.id(CONTROL);
        stage.fleet.chip.takes(Duration::from_millis(100));
        for _ in 0..12 {
            let commands = stage.fleet.chip.commands();
            stage.until("the TPM has work", |fleet| fleet.chip.commands() > commands);
            stage.fleet.order(VAULT);
            let pause = stage.executor.rng().below(4000);
            wait_ms(&mut stage, pause as u64);
        }
        stage.fleet.chip.takes(Duration::from_millis(2));
        works(&mut stage);
        assert_eq!(stage.fleet.id(CONTROL), control, "control did not end");
        stage.end();
    });
}

/// Services die, vault among them, while control has something signed or not: the device stays who it is, which the
/// controller looks at with each message, and nothing is stored under another key.
#[test]
fn services_die_midway_and_the_device_of_a_tpm_stays_who_it_is() {
    services_die_midway(12, |seed| Stage::with(seed, More::Tpm), works, |_| {});
}

/// The same with keys of software.
#[test]
fn services_die_midway_and_the_device_of_software_stays_who_it_is() {
    services_die_midway(24, |seed| Stage::with(seed, More::Software), works, |_| {});
}

/// vault is killed again and again in the midst of a command of the TPM, from the first one on.
#[test]
fn vault_is_killed_in_the_midst_of_commands() {
    let (mut midst, mut runs) = (0, 0);
    seeds(10, |seed| {
        runs += 1;
        let mut stage = Stage::with(seed, More::Tpm);
        // So that most kills are in the midst of one.
        stage.fleet.chip.takes(Duration::from_millis(20));
        for _ in 0..4 {
            stage.until("vault runs", |fleet| fleet.id(VAULT).is_some());
            let commands = stage.fleet.chip.commands() + stage.executor.rng().below(30) as u32;
            stage.until("the TPM was given so many commands", |fleet| {
                fleet.chip.commands() > commands || eve(fleet, |eve| eve.app_runs())
            });
            let steps = stage.executor.rng().below(20);
            pass(&mut stage, steps);
            midst += u32::from(stage.fleet.chip.is_busy());
            stage.fleet.crash(VAULT);
        }
        works(&mut stage);
        stage.end();
    });
    assert!(runs < 10 || midst > 20, "{midst} kills were in the midst");
}

#[test]
fn calls_of_services_fail_and_all_works_again() {
    // Each service with each kind of keys.
    let more = |seed| if seed / 4 % 2 == 0 { More::Software } else { More::Tpm };
    calls_of_services_fail(16, |seed| Stage::with(seed, more(seed)), works);
}

/// Each call that vault makes until all works fails once, each time from the start of the machine.
#[test]
fn each_call_of_vault_fails_once() {
    each_call_fails_once(1, VAULT, |seed| Stage::with(seed, More::Software), works);
}

/// The TPM fails for a while: nothing is told that it has not signed, and all works when it is well again.
#[test]
fn a_tpm_that_fails_for_a_while_is_waited_for() {
    seeds(8, |seed| {
        let mut stage = Stage::with(seed, More::Tpm);
        if seed % 2 == 0 {
            works(&mut stage);
        }
        for ailment in [Ailment::Silent, Ailment::Nonsense, Ailment::Code(0x101), Ailment::Absent] {
            sometime(&mut stage);
            stage.fleet.chip.ails(Some(ailment));
            let ms = stage.executor.rng().below(40_000);
            wait_ms(&mut stage, ms as u64);
            // Others come to life meanwhile, and ask for what there is not.
            if let Some(&service) = [CONTROL, STORAGE].get(stage.executor.rng().below(4)) {
                stage.fleet.crash(service);
                wait_ms(&mut stage, 5000);
            }
            stage.fleet.chip.ails(None);
        }
        works(&mut stage);
        stage.end();
    });
}

/// The power is cut anywhere, and again: whoever has registered stays that device, and its store opens.
#[test]
fn a_device_is_the_same_after_power_cuts() {
    let (mut known, mut runs) = (0, 0);
    seeds(40, |seed| {
        runs += 1;
        let mut stage = Stage::with(seed, if seed % 4 == 0 { More::Tpm } else { More::Software });
        for cut in 0..3 {
            // Mostly while it onboards.
            if stage.executor.rng().once_in(4) {
                works(&mut stage);
            }
            let steps = stage.executor.rng().below(3000);
            pass(&mut stage, steps);
            known += u32::from(cut == 0 && eve(&stage.fleet, |eve| eve.knows_device()));
            stage = stage.after_power_cut(seed + 1000 * (cut + 1));
        }
        works(&mut stage);
        stage.end();
    });
    assert!(runs < 40 || (5..runs - 5).contains(&known), "{known} were known at the first cut");
}

/// The TPM is slow: control's next life has who it is from storage before vault has told it its keys.
#[test]
fn control_knows_who_it_is_ahead_of_its_keys_and_is_attested() {
    seeds(6, |seed| {
        let mut stage = Stage::with(seed, More::Tpm);
        works(&mut stage);
        stage.fleet.chip.takes(Duration::from_millis(60));
        stage.fleet.crash(CONTROL);
        stage.until("it is attested again", |fleet| eve(fleet, |eve| eve.attested) == 2);
        works(&mut stage);
        stage.end();
    });
}

/// An event of vault does not go out however often it is tried: the channel is broken for good. Who needs it bears that for a
/// while, and ends so that its next life opens it anew; vault itself ends where that is its channel to dom0.
#[test]
fn a_channel_of_vault_that_breaks_is_opened_by_another_life() {
    const BEARS_NO_MORE: &str = "is broken, and its peer lives on: another life of ours opens it anew";
    let (mut borne, mut runs) = (0, 0);
    seeds(12, |seed| {
        runs += 1;
        let mut stage = Stage::with(seed, More::Software);
        [BEARS_NO_MORE, "channel dom0: "].into_iter().for_each(|words| stage.fleet.seen.may_say(words));
        works(&mut stage);
        let (vault, control) = (stage.fleet.id(VAULT).expect("it works"), stage.fleet.id(CONTROL));
        let after = stage.executor.rng().below(20);
        stage.fleet.world.fail(Fault::nth(after).of(Call::Send).by(vault).times(3));
        stage.until("it fails", |fleet| fleet.world.failed_call().is_some());
        // A report needs a signature, however long that takes.
        works(&mut stage);
        borne += u32::from(stage.fleet.id(VAULT) == Some(vault) && stage.fleet.id(CONTROL) != control);
        stage.end();
    });
    assert!(runs < 12 || borne > 3, "{borne} times control has ended for it");
}
