use proptest::prelude::*;
use proto_tpm::eventlog::{self, Log};
use std::string::ToString;

use super::*;

fn name(text: &str) -> Name {
    Name::try_from(text).unwrap()
}

fn measuring() -> Measuring {
    let names = [name("vault"), name("net"), name("control")];
    Measuring::new([1; 32], names.iter().zip([[2; 32], [3; 32], [4; 32]]))
}

/// A vault with a TPM, which may end before it does what it is asked, or before it says so.
#[derive(Default)]
struct Vault {
    pcr: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    No,
    BeforeItIsDone,
    BeforeItIsSaid,
}

impl Vault {
    fn answer(&mut self, ask: &ToVault, end: End) -> Option<FromVault> {
        if end == End::BeforeItIsDone {
            return None;
        }
        let answer = match *ask {
            ToVault::Extend { number, pcr: PCR, digest } => {
                self.pcr = pcr::extended(&self.pcr, &digest);
                FromVault::Extended { number }
            }
            ToVault::Read { number, pcr: PCR } => FromVault::Value { number, value: self.pcr },
            _ => panic!("{ask:?}"),
        };
        (end == End::No).then_some(answer)
    }
}

/// Runs it, with an end of vault at each question for which `ends` has one. Returns the log.
fn run(measuring: &mut Measuring, vault: &mut Vault, mut ends: impl Iterator<Item = End>) -> Vec<u8> {
    let mut log = vec![0; 128];
    let header = eventlog::emit_header(&mut log).unwrap();
    log.truncate(header);
    let mut ask = measuring.opened();
    while let Some(question) = ask {
        ask = match vault.answer(&question, ends.next().unwrap_or(End::No)) {
            Some(answer) => {
                let taken = measuring.take(&answer);
                log.extend(taken.logged);
                taken.ask
            }
            None => {
                measuring.closed();
                measuring.opened()
            }
        };
    }
    log
}

fn predicted() -> Value {
    [[1; 32], [2; 32], [3; 32], [4; 32]].iter().fold([0; 32], |value, digest| pcr::extended(&value, digest))
}

#[test]
fn table_and_images_are_extended_in_order_and_the_log_replays() {
    let (mut measuring, mut vault) = (measuring(), Vault::default());
    assert_eq!(measuring.outcome(), Measured::Pending);
    let log = run(&mut measuring, &mut vault, core::iter::empty());
    assert_eq!((vault.pcr, measuring.outcome()), (predicted(), Measured::Yes));
    assert_eq!(measuring.result(), (4, predicted()));
    let log = Log::parse(&log).unwrap();
    assert_eq!(log.replay().unwrap()[usize::from(PCR)], predicted());
    let texts: Vec<_> =
        log.events().map(|event| String::from_utf8(event.unwrap().data.to_vec()).unwrap()).collect();
    assert_eq!(texts, ["sarsen table", "sarsen image vault", "sarsen image net", "sarsen image control"]);
    // The next life of vault is asked nothing.
    assert_eq!(measuring.opened(), None);
}

#[test]
fn services_run_when_all_images_are_extended_and_not_before() {
    let (mut measuring, mut vault) = (measuring(), Vault::default());
    let services = ["vault", "net", "control"].map(name);
    let mut ask = measuring.opened();
    let mut allowed = Vec::new();
    while let Some(question) = ask {
        allowed.push(services.iter().filter(|service| measuring.may_run(service)).count());
        ask = measuring.take(&vault.answer(&question, End::No).unwrap()).ask;
    }
    // When the value is read, the table extended, vault's image, net's, control's.
    assert_eq!(allowed, [0; 5]);
    assert!(services.iter().all(|service| measuring.may_run(service)));
    assert!(measuring.may_run(&name("other")), "who is not measured waits for nobody");
}

proptest! {
    #[test]
    fn a_vault_that_ends_at_any_moments_extends_each_once(
        ends in prop::collection::vec(prop_oneof![Just(End::No), Just(End::BeforeItIsDone), Just(End::BeforeItIsSaid)], 0..40)
    ) {
        let (mut measuring, mut vault) = (measuring(), Vault::default());
        let log = run(&mut measuring, &mut vault, ends.into_iter());
        prop_assert_eq!(vault.pcr, predicted());
        prop_assert_eq!(measuring.outcome(), Measured::Yes);
        prop_assert_eq!(Log::parse(&log).unwrap().replay().unwrap()[usize::from(PCR)], predicted());
    }
}

#[test]
fn without_a_tpm_nobody_waits_and_nothing_failed() {
    let mut measuring = measuring();
    let Some(ToVault::Read { number, .. }) = measuring.opened() else { panic!() };
    assert!(!measuring.may_run(&name("net")));
    let taken = measuring.take(&FromVault::Refused { number, refusal: Refusal::NoTpm });
    assert_eq!(taken, Taken::default());
    assert!(measuring.may_run(&name("net")));
    assert_eq!(measuring.outcome(), Measured::No);
}

#[test]
fn a_tpm_that_refuses_for_a_while_makes_the_same_value() {
    // Each step is refused as often as may be; what was asked was done, or was not.
    for done in [false, true] {
        let (mut measuring, mut vault) = (measuring(), Vault::default());
        let mut ask = measuring.opened();
        let mut refusals = 0;
        while let Some(question) = ask {
            let (ToVault::Read { number, .. } | ToVault::Extend { number, .. }) = question else { panic!() };
            let refuses = refusals < REFUSALS - 1 && matches!(question, ToVault::Extend { .. });
            let end = if refuses && !done { End::BeforeItIsDone } else { End::No };
            let answer = vault.answer(&question, end);
            let refused = FromVault::Refused { number, refusal: Refusal::Silent };
            let taken = measuring.take(if refuses { &refused } else { answer.as_ref().unwrap() });
            assert_eq!(taken.pause, if refuses { PAUSE } else { Duration::ZERO });
            let is_step = !taken.logged.is_empty();
            refusals = if is_step { 0 } else { refusals + u8::from(refuses) };
            ask = taken.ask;
        }
        assert_eq!((vault.pcr, measuring.outcome()), (predicted(), Measured::Yes));
    }
}

#[test]
fn a_tpm_that_refuses_for_long_holds_nobody_up_and_is_marked_when_it_takes_something() {
    // In this life of vault, and in the next one.
    for reborn in [false, true] {
        let (mut measuring, mut vault) = (measuring(), Vault::default());
        let mut ask = measuring.opened();
        let mut pauses = Vec::new();
        for refusals in 0..20 {
            assert_eq!(measuring.may_run(&name("net")), refusals >= REFUSALS);
            let question = ask.expect("it is asked on");
            let (ToVault::Read { number, .. } | ToVault::Extend { number, .. }) = question else { panic!() };
            let taken = measuring.take(&FromVault::Refused { number, refusal: Refusal::Tpm(0x101) });
            pauses.push(taken.pause);
            ask = taken.ask;
        }
        assert_eq!(pauses[..4], [PAUSE; 4]);
        assert_eq!(pauses[4..], [LATER; 16]);
        assert_eq!((measuring.outcome(), measuring.is_marked()), (Measured::Failed, false));
        assert_eq!(measuring.unmeasured(), Some(Unmeasured::Refused(Refusal::Tpm(0x101))));
        if reborn {
            run(&mut measuring, &mut vault, core::iter::empty());
        } else {
            while let Some(question) = ask {
                ask = measuring.take(&vault.answer(&question, End::No).unwrap()).ask;
            }
        }
        assert_eq!(vault.pcr, pcr::extended(&[0; 32], &sha256(MARK.as_bytes())));
        assert_eq!((measuring.outcome(), measuring.is_marked()), (Measured::Failed, true));
    }
}

#[test]
fn a_value_of_somebody_else_is_told() {
    let (mut measuring, mut vault) = (measuring(), Vault { pcr: [9; 32] });
    run(&mut measuring, &mut vault, core::iter::empty());
    assert_eq!(measuring.outcome(), Measured::Failed);
    let why = measuring.unmeasured().unwrap();
    assert_eq!(why.to_string(), "PCR 13 is 0909090909090909…, and dom0 has made it 0000000000000000…");
    assert!(measuring.may_run(&name("net")));

    // Between two lives of vault.
    let (mut measuring, mut vault) = (self::measuring(), Vault::default());
    let ask = measuring.opened().unwrap();
    measuring.take(&vault.answer(&ask, End::No).unwrap());
    measuring.closed();
    vault.pcr = [7; 32];
    run(&mut measuring, &mut vault, core::iter::empty());
    assert_eq!(measuring.outcome(), Measured::Failed);
    assert_eq!(vault.pcr, [7; 32], "it is left alone");
}

#[test]
fn who_is_late_marks_the_pcr_and_never_gets_the_right_value() {
    // Before vault was there at all; and while an answer was awaited, which then comes.
    for asked in [false, true] {
        let (mut measuring, mut vault) = (measuring(), Vault::default());
        let mut log = vec![0; 128];
        let header = eventlog::emit_header(&mut log).unwrap();
        log.truncate(header);
        let mut ask = None;
        if asked {
            let read = measuring.opened().unwrap();
            ask = measuring.take(&vault.answer(&read, End::No).unwrap()).ask;
        }
        measuring.late();
        assert!(measuring.may_run(&name("control")));
        ask = ask.or_else(|| measuring.opened());
        while let Some(question) = ask {
            let taken = measuring.take(&vault.answer(&question, End::No).unwrap());
            log.extend(taken.logged);
            ask = taken.ask;
        }
        assert_eq!(measuring.outcome(), Measured::Failed);
        let mark = sha256(MARK.as_bytes());
        let begin = if asked { pcr::extended(&[0; 32], &[1; 32]) } else { [0; 32] };
        assert_eq!(vault.pcr, pcr::extended(&begin, &mark));
        let log = Log::parse(&log).unwrap();
        assert_eq!(log.replay().unwrap()[usize::from(PCR)], vault.pcr);
        assert!(log.events().last().unwrap().unwrap().data_is_measured());
    }
    let mut measuring = measuring();
    run(&mut measuring, &mut Vault::default(), core::iter::empty());
    measuring.late();
    assert_eq!(measuring.outcome(), Measured::Yes, "what is done is not late");
}

#[test]
fn answers_to_no_question_change_nothing() {
    let mut measuring = measuring();
    let nonsense = |number| {
        [
            FromVault::Extended { number },
            FromVault::Value { number, value: [0; 32] },
            FromVault::Refused { number, refusal: Refusal::Silent },
            FromVault::Hello { version: 1 },
        ]
    };
    for message in nonsense(0) {
        assert_eq!(measuring.take(&message), Taken::default());
    }
    let Some(ToVault::Read { number, .. }) = measuring.opened() else { panic!() };
    for message in nonsense(number + 1) {
        assert_eq!(measuring.take(&message), Taken::default());
    }
    assert_eq!(measuring.take(&FromVault::Extended { number }), Taken::default(), "it was asked to read");
    assert_eq!(measuring.outcome(), Measured::Pending);
}
