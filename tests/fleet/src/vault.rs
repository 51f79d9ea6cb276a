//! vault, as far as the measured start needs it, and its TPM: one PCR. It stands for `stubdoms/vault`, whose logic has
//! tests of its own with a whole TPM; channels and supervision are those of every service.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use board_support_hyp::Timer;
use dom0_toolstack::measured::PCR;
use proto_svc::measure::{FromVault, Refusal, ToVault};
use proto_tpm::pcr::{Value, extended};
use stubdoms_service::channels::open_dom0;
use tests_fakexen::Rng;

use crate::programs::{Base, ToDom0};

/// The TPM: what outlasts the lives of vault.
#[derive(Default)]
pub struct Chip {
    value: Cell<Value>,
    /// All that was extended.
    extended: RefCell<Vec<Value>>,
    /// What it refuses everything with.
    refusal: Cell<Option<Refusal>>,
    /// How long it takes at most, ahead of what it does and after.
    takes: Cell<Duration>,
    /// How often it was asked for something.
    asked: Cell<u32>,
}

impl Chip {
    /// One that is as fast as they are.
    #[must_use]
    pub fn new() -> Rc<Self> {
        let chip = Self::default();
        chip.takes(Duration::from_millis(2));
        Rc::new(chip)
    }

    /// The value of the PCR.
    #[must_use]
    pub fn value(&self) -> Value {
        self.value.get()
    }

    /// All that was extended so far, in its order.
    #[must_use]
    pub fn log(&self) -> Vec<Value> {
        self.extended.borrow().clone()
    }

    /// How often it was asked for something.
    #[must_use]
    pub fn asked(&self) -> u32 {
        self.asked.get()
    }

    /// Has it refuse everything from now on, or nothing.
    pub fn refuse(&self, refusal: Option<Refusal>) {
        self.refusal.set(refusal);
    }

    /// Has everything take up to so long, twice, from now on.
    pub fn takes(&self, time: Duration) {
        self.takes.set(time);
    }

    /// Somebody extends the PCR.
    pub fn extend(&self, digest: Value) {
        self.value.set(extended(&self.value.get(), &digest));
        self.extended.borrow_mut().push(digest);
    }

    fn answer(&self, asked: &ToVault) -> Option<FromVault> {
        let (number, pcr) = match *asked {
            ToVault::Hello { .. } | ToVault::Provisioned { .. } => return None,
            ToVault::Extend { number, pcr, .. } | ToVault::Read { number, pcr } => (number, pcr),
        };
        assert_eq!(pcr, PCR, "dom0 asks for a PCR of others");
        if let Some(refusal) = self.refusal.get() {
            return Some(FromVault::Refused { number, refusal });
        }
        Some(match *asked {
            ToVault::Extend { digest, .. } => {
                self.extend(digest);
                FromVault::Extended { number }
            }
            _ => FromVault::Value { number, value: self.value() },
        })
    }
}

/// vault's `main`. It may be ended at any time: ahead of what it was asked for, or between that and the answer.
pub async fn main(base: Base, chip: Rc<Chip>, mut rng: Rng) {
    base.supervise();
    let (xen, runtime) = (base.domain.clone(), base.domain.clone());
    let mut channel: ToDom0<FromVault, ToVault> = open_dom0(xen, runtime, &base.wiring).await;
    base.ready.signal(());
    loop {
        let asked = channel.receive().await;
        let asked = base.must(asked).await;
        chip.asked.set(chip.asked.get() + 1);
        let mut time = || chip.takes.get().mul_f64(rng.below(1000) as f64 / 1000.0);
        let (ahead, after) = (time(), time());
        base.domain.sleep(ahead).await;
        let answer = chip.answer(&asked);
        base.domain.sleep(after).await;
        if let Some(answer) = answer {
            let sent = channel.send(&answer).await;
            base.must(sent).await;
        }
    }
}
