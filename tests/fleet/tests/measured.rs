//! The measured start: nothing runs before the TPM has its hash, whatever happens to vault meanwhile; and what
//! happens when the TPM does not do it.

use std::time::Duration;

use dom0_toolstack::{
    image::sha256,
    measured::{IMAGE, MARK, PCR, TABLE},
};
use proto_errors::svc;
use proto_svc::device::Measured;
use proto_tpm::{
    eventlog::Log,
    pcr::{Value, extended},
};
use tests_fakexen::seeds;
use tests_fleet::{
    drills::{pass, wait_ms},
    stage::{CONTROL, Fleet, More, NET, Stage, TABLE_SHA256, VAULT, image_of},
    vault::Ailment,
};

/// The services in the order of the table, which is that of the PCR.
const SERVICES: [&str; 3] = ["net", "control", "vault"];

/// What a measured start extends.
fn expected() -> Vec<Value> {
    let images = SERVICES.map(|service| sha256(&image_of(service)));
    [[TABLE_SHA256].as_slice(), images.as_slice()].concat()
}

fn all_run(fleet: &Fleet) -> bool {
    [NET, CONTROL, VAULT].iter().all(|&service| fleet.id(service).is_some_and(|id| fleet.world.runs(id)))
}

/// The log that control is given: the words of the events, and what its replay makes of the PCR.
fn told(fleet: &Fleet) -> (Vec<String>, Option<Value>) {
    let bytes = fleet.ground.event_log.borrow().clone();
    let log = Log::parse(&bytes).expect("it is a log");
    let events = log.events().map(|event| event.expect("it is an event"));
    let words = events.map(|event| String::from_utf8_lossy(event.data).into_owned()).collect();
    (words, log.replay().expect("it can be replayed").get(usize::from(PCR)).copied())
}

/// Every service but vault began when the TPM had all hashes.
fn none_ran_unmeasured(fleet: &Fleet) {
    for (text, extended) in fleet.seen.begun.borrow().iter() {
        let place = SERVICES.iter().position(|name| text.starts_with(name.as_bytes())).expect("it is one");
        assert!(
            SERVICES[place] == "vault" || *extended == 1 + SERVICES.len(),
            "{} ran early",
            SERVICES[place]
        );
    }
}

/// When dom0 has said that all wait for vault, if it has.
fn told_to_wait(fleet: &Fleet) -> Option<Duration> {
    let told = fleet.world.complaint(svc::WAITS_FOR_VAULT.as_str())?;
    Some(Duration::from_nanos(told.at.as_nanos()))
}

/// It is seen soon that all wait, and what for.
fn is_told_to_wait(stage: &Stage) {
    let told = told_to_wait(&stage.fleet).expect("dom0 says that all wait for vault");
    assert!((1..=5).contains(&told.as_secs()), "{told:?}");
}

/// The start was measured, and nothing more than that.
fn is_measured(stage: &mut Stage) {
    stage.until("the start is measured, and all run", |fleet| {
        fleet.measured() == Measured::Yes && all_run(fleet)
    });
    let fleet = &stage.fleet;
    assert_eq!(fleet.chip.log(), expected());
    none_ran_unmeasured(fleet);
    let (words, value) = told(fleet);
    let images = SERVICES.map(|service| format!("{IMAGE}{service}"));
    assert_eq!(words, [[TABLE.to_owned()].as_slice(), images.as_slice()].concat());
    assert_eq!(value, Some(fleet.chip.value()), "a replay of the log gives the PCR's value");
}

#[test]
fn all_is_extended_before_it_runs_and_no_more_when_it_is_built_anew() {
    seeds(20, |seed| {
        let mut stage = Stage::with(seed, More::Vault);
        is_measured(&mut stage);
        assert_eq!(told_to_wait(&stage.fleet), None, "that was fast");
        let value = stage.fleet.chip.value();
        let mut commands = 0;
        while stage.fleet.chip.commands() > commands {
            commands = stage.fleet.chip.commands();
            wait_ms(&mut stage, 1000);
        }
        for service in [NET, CONTROL] {
            let old = stage.fleet.id(service);
            stage.fleet.crash(service);
            stage.until("it lives again", |fleet| fleet.id(service).is_some_and(|id| Some(id) != old));
            wait_ms(&mut stage, 1000);
        }
        assert_eq!(stage.fleet.chip.commands(), commands, "the TPM is left alone");
        let old = stage.fleet.id(VAULT);
        stage.fleet.crash(VAULT);
        stage.until("vault lives again", |fleet| fleet.id(VAULT).is_some_and(|id| Some(id) != old));
        pass(&mut stage, 3000);
        assert_eq!(stage.fleet.chip.value(), value);
        is_measured(&mut stage);
        stage.end();
    });
}

#[test]
fn vault_is_killed_in_the_midst_and_nothing_is_extended_twice_or_left_out() {
    let (mut midst, mut runs) = (0, 0);
    seeds(60, |seed| {
        runs += 1;
        let mut stage = Stage::with(seed, More::Vault);
        for _ in 0..1 + stage.executor.rng().below(3) {
            let steps = stage.executor.rng().below(250);
            stage.until("vault runs", |fleet| fleet.id(VAULT).is_some());
            pass(&mut stage, steps);
            let done = stage.fleet.chip.log().len();
            midst += usize::from((1..expected().len()).contains(&done));
            stage.fleet.crash(VAULT);
            let old = stage.fleet.id(VAULT);
            stage.until("another one is built", |fleet| fleet.id(VAULT) != old);
        }
        is_measured(&mut stage);
        stage.end();
    });
    assert!(runs < 60 || midst > 20, "{midst} kills were in the midst");
}

#[test]
fn what_the_tpm_refuses_is_told_and_all_run() {
    let cases = [
        (Ailment::Absent, Measured::No),
        (Ailment::Code(0x101), Measured::Failed),
        (Ailment::Silent, Measured::Failed),
        (Ailment::Nonsense, Measured::Failed),
    ];
    for (ailment, outcome) in cases {
        // A minute of each domain's life takes long.
        let mut waits = outcome == Measured::Failed;
        seeds(5, |seed| {
            let mut stage = Stage::with(seed, More::Vault);
            stage.fleet.chip.ails(Some(ailment));
            stage.until("all run", all_run);
            assert_eq!((stage.fleet.measured(), stage.fleet.chip.log().len()), (outcome, 0), "{ailment:?}");
            match ailment {
                Ailment::Silent => is_told_to_wait(&stage),
                // Each answer is known at once, and nobody waits.
                Ailment::Absent | Ailment::Code(_) | Ailment::Nonsense => {
                    assert_eq!(told_to_wait(&stage.fleet), None, "{ailment:?}");
                    assert!(stage.fleet.world.now_ns() < 5_000_000_000, "{ailment:?}");
                }
            }
            // One that takes something later takes the mark, in the same life of vault.
            if core::mem::take(&mut waits) {
                let (mark, vault) = (sha256(MARK.as_bytes()), stage.fleet.id(VAULT));
                stage.fleet.chip.ails(None);
                stage.until("the mark is extended", |fleet| fleet.chip.log() == [mark]);
                assert_eq!((stage.fleet.measured(), stage.fleet.id(VAULT)), (outcome, vault));
            }
            stage.end();
        });
    }
}

#[test]
fn a_tpm_that_comes_to_its_senses_is_asked_again() {
    seeds(10, |seed| {
        let mut stage = Stage::with(seed, More::Vault);
        let steps = stage.executor.rng().below(300);
        pass(&mut stage, steps);
        stage.fleet.chip.ails(Some(Ailment::Silent));
        let end = stage.fleet.world.now_ns() + 1_200_000_000;
        stage.until("a second passes", |fleet| fleet.world.now_ns() >= end);
        stage.fleet.chip.ails(None);
        is_measured(&mut stage);
        stage.end();
    });
}

#[test]
fn a_tpm_that_takes_long_holds_nobody_up_for_ever_and_its_value_shows_it() {
    seeds(10, |seed| {
        let mut stage = Stage::with(seed, More::Vault);
        stage.fleet.chip.takes(Duration::from_millis(1500));
        stage.until("all run", all_run);
        let seconds = stage.fleet.world.now_ns() / 1_000_000_000;
        assert!((5..8).contains(&seconds), "{seconds} s");
        is_told_to_wait(&stage);
        assert_eq!(stage.fleet.measured(), Measured::Failed);
        let mark = sha256(MARK.as_bytes());
        stage.until("the mark is extended", |fleet| fleet.chip.log().contains(&mark));
        let whole = expected().iter().fold([0; 32], |value, digest| extended(&value, digest));
        assert_ne!(stage.fleet.chip.value(), whole);
        stage.end();
    });
}

#[test]
fn a_pcr_that_somebody_else_has_extended_is_told_and_left_alone() {
    seeds(5, |seed| {
        let mut stage = Stage::with(seed, More::Vault);
        stage.fleet.chip.extend([9; 32]);
        stage.until("all run", all_run);
        assert_eq!(stage.fleet.measured(), Measured::Failed);
        assert_eq!(stage.fleet.chip.log(), [[9; 32]]);
        stage.end();
    });
}
