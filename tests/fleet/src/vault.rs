//! What vault stands on here, and its TPM: swtpm behind a transport that takes virtual time. The tasks are vault's own.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::Poll,
    time::Duration,
};

use board_support_drv::tpm::{Fault, Transport};
use dom0_toolstack::measured::PCR;
use proto_manifest::table::DeviceKind;
use proto_tpm::{
    command::{self, Frame},
    ids::Code,
    pcr::{Selection, Value},
    response,
};
use stubdoms_vault_shell::Start;
use tests_fakexen::{Rng, asks_outside};
use tests_swtpm::Swtpm;

use crate::{
    programs::{Base, Ground},
    random,
};

/// What a TPM does instead of what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ailment {
    /// Nothing answers at its registers.
    Absent,
    /// It answers nothing.
    Silent,
    /// It answers everything with this code.
    Code(u32),
    /// It answers with bytes that are none of its answers.
    Nonsense,
}

/// The TPM: what outlasts the lives of vault. Firmware has measured something into it.
pub struct Chip {
    /// Its process, once somebody has asked it for something.
    process: RefCell<Option<Swtpm>>,
    /// All that the PCR of services was extended with.
    extended: RefCell<Vec<Value>>,
    ailment: Cell<Option<Ailment>>,
    /// How long it takes at most, ahead of what it does and after.
    takes: Cell<Duration>,
    /// The command that it has got, and has not carried out. Nobody takes it back by dying.
    under_way: RefCell<Option<Vec<u8>>>,
    /// Commands that it was given.
    commands: Cell<u32>,
    /// Those that wear it out: writes to its memory.
    writes: Cell<u32>,
}

impl Chip {
    /// One that is as fast as they are.
    #[must_use]
    pub fn new() -> Rc<Self> {
        Self::of(None)
    }

    fn of(process: Option<Swtpm>) -> Rc<Self> {
        Rc::new(Self {
            process: RefCell::new(process),
            extended: RefCell::default(),
            ailment: Cell::new(None),
            takes: Cell::new(Duration::from_millis(2)),
            under_way: RefCell::default(),
            commands: Cell::new(0),
            writes: Cell::new(0),
        })
    }

    /// It after a reset of the machine, in place of this one. What was under way is done, or is not.
    #[must_use]
    pub fn after_reset(&self) -> Rc<Self> {
        if let Some(left) = self.under_way.take().filter(|_| random::below(2) == 0) {
            self.carry_out(&left);
        }
        let mut process = self.process.take();
        if let Some(tpm) = &mut process {
            tpm.reset();
            measure(tpm);
        }
        Self::of(process)
    }

    /// The value of the PCR of services.
    ///
    /// # Panics
    /// If the TPM does not tell it.
    #[must_use]
    pub fn value(&self) -> Value {
        let asked = command::pcr_read(Selection::from_bits(1 << PCR)).plain();
        let answer = self.carry_out(asked.as_slice());
        let answer = response::open(Code::PcrRead, &answer).expect("it tells values");
        response::pcrs(answer.parameters).expect("they are some").values[0]
    }

    /// All that the PCR of services was extended with so far, in its order.
    #[must_use]
    pub fn log(&self) -> Vec<Value> {
        self.extended.borrow().clone()
    }

    /// Commands that it was given so far.
    #[must_use]
    pub fn commands(&self) -> u32 {
        self.commands.get()
    }

    /// Commands that wrote to its memory, which wears out.
    #[must_use]
    pub fn writes(&self) -> u32 {
        self.writes.get()
    }

    /// Whether it has a command that it has not carried out.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.under_way.borrow().is_some()
    }

    /// It is so from now on, or well.
    pub fn ails(&self, ailment: Option<Ailment>) {
        self.ailment.set(ailment);
    }

    /// Has each command take up to so long, twice, from now on.
    pub fn takes(&self, time: Duration) {
        self.takes.set(time);
    }

    /// Somebody extends the PCR of services.
    pub fn extend(&self, digest: Value) {
        self.carry_out(command::pcr_extend(PCR, &digest).with_password(&[]).as_slice());
    }

    /// Has the TPM carry a command out.
    fn carry_out(&self, command: &[u8]) -> Vec<u8> {
        let mut process = self.process.borrow_mut();
        let tpm = process.get_or_insert_with(switched_on);
        let answer = tpm.transact(command);
        if command.get(6..10) == Some(&Code::NvWrite.number().to_be_bytes()) {
            self.writes.set(self.writes.get() + 1);
        }
        if let Some(digest) = extension(command).filter(|_| answer[6..10] == [0; 4]) {
            self.extended.borrow_mut().push(digest);
        }
        answer
    }
}

/// A TPM that firmware has started and measured something into.
fn switched_on() -> Swtpm {
    asks_outside("swtpm");
    let mut tpm = Swtpm::new();
    measure(&mut tpm);
    tpm
}

/// What firmware does ahead of all else.
fn measure(tpm: &mut Swtpm) {
    let mut run = |frame: &Frame| drop(tpm.transact(frame.as_slice()));
    run(&command::startup().plain());
    for pcr in [0, 4] {
        run(&command::pcr_extend(pcr, &[0x11; 32]).with_password(&[]));
    }
}

/// What the PCR of services is extended with by this command, if it is.
fn extension(command: &[u8]) -> Option<Value> {
    let begin = [Code::PcrExtend.number(), PCR.into()].map(u32::to_be_bytes);
    let is_it = command.get(6..14) == Some(begin.as_flattened());
    command.last_chunk().copied().filter(|_| is_it)
}

/// A life's way to the TPM.
struct Way {
    chip: Rc<Chip>,
    rng: Rng,
    asked: Option<Asked>,
}

/// A command on its way.
struct Asked {
    since: Duration,
    patience: Duration,
    /// When it is carried out, and when that is told.
    done: Duration,
    told: Duration,
    answer: Option<Vec<u8>>,
}

impl Transport for Way {
    fn begin(&mut self, now: Duration, command: &[u8], patience: Duration) {
        // What an earlier life has left may have got there, or not.
        if let Some(left) = self.chip.under_way.take()
            && self.rng.once_in(2)
        {
            self.chip.carry_out(&left);
        }
        let mut time = || self.chip.takes.get().mul_f64(self.rng.below(1000) as f64 / 1000.0);
        let done = now + time();
        let told = done + time();
        self.asked = Some(Asked { since: now, patience, done, told, answer: None });
        self.chip.under_way.replace(Some(command.to_vec()));
        self.chip.commands.set(self.chip.commands.get() + 1);
    }

    fn poll(&mut self, now: Duration, answer: &mut [u8]) -> Poll<Result<usize, Fault>> {
        let asked = self.asked.as_mut().expect("a command was begun");
        let waited = now - asked.since;
        let silent = Poll::Ready(Err(Fault::Silent { waited }));
        let bytes = match self.chip.ailment.get() {
            Some(Ailment::Absent) => return Poll::Ready(Err(Fault::Absent { id: u32::MAX })),
            _ if waited > asked.patience => return silent,
            Some(Ailment::Silent) => return Poll::Pending,
            Some(Ailment::Code(code)) => [&[0x80, 1, 0, 0, 0, 10][..], &code.to_be_bytes()].concat(),
            Some(Ailment::Nonsense) => {
                let length = 1 + self.rng.below(64);
                core::iter::repeat_with(|| self.rng.next_u64() as u8).take(length).collect()
            }
            None => match (&asked.answer, self.chip.under_way.take()) {
                (Some(told), _) => told.clone(),
                (None, Some(command)) if now >= asked.done => {
                    let told = self.chip.carry_out(&command);
                    asked.answer.insert(told).clone()
                }
                (None, left) => {
                    self.chip.under_way.replace(left);
                    return Poll::Pending;
                }
            },
        };
        if now < asked.told {
            return Poll::Pending;
        }
        answer[..bytes.len()].copy_from_slice(&bytes);
        self.asked = None;
        Poll::Ready(Ok(bytes.len()))
    }
}

/// vault's `main`: all is its own but what it stands on. It may be ended at any time: ahead of what the TPM was asked for,
/// or between that and the answer.
pub async fn main(base: Base, chip: Rc<Chip>, rng: Rng) {
    base.supervise();
    let Base { domain, tasks, wiring, peers, ready, .. } = base;
    let is_tpm = |kind| matches!(kind, DeviceKind::TpmCrb | DeviceKind::TpmTis);
    let way = || Box::new(Way { chip, rng, asked: None }) as Box<dyn Transport>;
    let tpm = wiring.devices.iter().any(|device| is_tpm(device.kind)).then(way);
    let start = Start { wiring: &wiring, peers, tpm };
    stubdoms_vault_shell::start(&Ground(domain), tasks, start, || ready.signal(()));
}
