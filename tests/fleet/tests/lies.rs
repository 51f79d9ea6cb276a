//! Somebody who was taken over lies to vault. If it is control: dom0 and vault's other client are served all the same, in
//! the same life of vault, and the TPM has no more in its PCR than dom0 has had extended. If it is storage: control is who
//! it is, and reports. And a net that was taken over lies to control, which loses its way to the controller for that time.

use std::{collections::BTreeSet, time::Duration};

use board_support_hyp::Runtime;
use dom0_supervisor::ServiceId;
use proto_svc::device::Measured;
use proto_xen::DomId;
use tests_fakexen::seeds;
use tests_fleet::{
    drills::{pass, wait_ms},
    keeper::AGAIN,
    liar::LIES,
    stage::{CONTROL, More, NET, Stage, VAULT},
    works::{eve, works},
};

/// Another life of a service comes about, after it was ended.
fn renewed(stage: &mut Stage, service: ServiceId, old: Option<DomId>) {
    stage.until("it lives anew", |fleet| fleet.id(service).is_some_and(|id| Some(id) != old));
}

/// vault's other client is served a few times, and that soon.
fn is_served(stage: &mut Stage) {
    const TIMES: u32 = 4;
    let (before, start) = (stage.fleet.kept.opened.get(), stage.fleet.world.now_ns());
    stage.until("the other client is served", |fleet| fleet.kept.opened.get() >= before + TIMES);
    let took = Duration::from_nanos(stage.fleet.world.now_ns() - start);
    let lie = stage.fleet.seen.lies.borrow().last().copied();
    assert!(took < TIMES * (AGAIN + Duration::from_millis(400)), "{lie:?}: {took:?}");
}

/// vault is at rest while nobody asks it for anything, unless the lie goes on and on.
fn rests(stage: &mut Stage) {
    stage.fleet.kept.calm.set(true);
    wait_ms(stage, 1000);
    let rounds = |stage: &Stage| {
        let vault = stage.fleet.id(VAULT).expect("it runs");
        stage.fleet.world.domain(vault).rounds()
    };
    let (before, lies) = (rounds(stage), stage.fleet.seen.lies.borrow().len());
    wait_ms(stage, 1000);
    let took = rounds(stage) - before;
    let lie = stage.fleet.seen.lies.borrow().last().copied().expect("it lies");
    let is_quiet = !lie.is_noisy() && stage.fleet.seen.lies.borrow().len() == lies;
    assert!(!is_quiet || took < 300, "{lie:?}: {took} rounds in a second");
    stage.fleet.kept.calm.set(false);
}

#[test]
fn who_lies_to_vault_costs_the_others_nothing() {
    let (mut told, mut runs) = (BTreeSet::new(), 0);
    seeds(40, |seed| {
        runs += 1;
        let mut stage = Stage::with(seed, More::Lies);
        let mut lies = 0;
        for _ in 0..4 {
            stage.until("it lies", |fleet| fleet.seen.lies.borrow().len() > lies);
            let steps = stage.executor.rng().below(3000);
            pass(&mut stage, steps);
            let vault = stage.fleet.id(VAULT);
            is_served(&mut stage);
            rests(&mut stage);
            is_served(&mut stage);
            assert_eq!(stage.fleet.id(VAULT), vault, "it has ended");
            let extended = stage.fleet.chip.log();
            if stage.executor.rng().once_in(3) {
                // dom0 asks the next life of vault whether all is extended.
                stage.fleet.crash(VAULT);
                renewed(&mut stage, VAULT, vault);
                is_served(&mut stage);
            }
            assert_eq!(stage.fleet.measured(), Measured::Yes);
            assert_eq!(stage.fleet.chip.log(), extended, "nothing is extended that dom0 has not asked for");
            lies = stage.fleet.seen.lies.borrow().len();
            let old = stage.fleet.id(CONTROL);
            stage.fleet.order(CONTROL);
            renewed(&mut stage, CONTROL, old);
        }
        told.extend(stage.fleet.seen.lies.borrow().iter().copied());
        stage.end();
    });
    assert!(runs < 40 || told.len() == LIES.len(), "{told:?}");
}

#[test]
fn a_storage_that_was_taken_over_costs_control_nothing() {
    seeds(6, |seed| {
        let mut stage = Stage::with(seed, More::Betrayed);
        works(&mut stage);
        let (lies, writes) = (stage.fleet.kept.lies.get(), stage.fleet.chip.writes());
        stage.until("it lies and lies", |fleet| fleet.kept.lies.get() > lies + 100);
        works(&mut stage);
        assert_eq!(stage.fleet.chip.writes(), writes, "nobody wears the TPM out");
        assert_eq!(*stage.fleet.seen.lives.borrow(), 4, "nobody has ended");
        assert_eq!(eve(&stage.fleet, |eve| eve.attested), 1);
        stage.end();
    });
}

/// Nobody but net is ended, and the next net carries all that was left.
#[test]
fn a_net_that_was_taken_over_costs_control_the_way_and_nothing_else() {
    let (mut spoilt, mut runs) = (0, 0);
    seeds(12, |seed| {
        runs += 1;
        let mut stage = Stage::with(seed, [More::Plain, More::Tpm][seed as usize % 2]);
        works(&mut stage);
        let (control, net) = (stage.fleet.id(CONTROL), stage.fleet.id(NET));
        stage.fleet.seen.false_net.set(true);
        stage.fleet.crash(NET);
        renewed(&mut stage, NET, net);
        wait_ms(&mut stage, [100, 1000, 20_000][seed as usize % 3]);
        assert_eq!(stage.fleet.id(CONTROL), control, "control is in its first life");
        spoilt += stage.fleet.seen.spoilt.get();
        stage.fleet.seen.false_net.set(false);
        stage.fleet.crash(NET);
        works(&mut stage);
        assert_eq!(stage.fleet.id(CONTROL), control, "control is in its first life");
        stage.end();
    });
    assert!(runs < 12 || spoilt > 500, "{spoilt}");
}
