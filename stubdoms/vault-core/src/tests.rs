//! The vault against a software TPM, which the tests make lie, fall silent, refuse and end a life in mid-command.

use core::{
    cell::{Cell, RefCell},
    future::{Future, pending},
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};
use std::{rc::Rc, vec, vec::Vec};

use p256::{
    ProjectivePoint, PublicKey, Scalar,
    ecdsa::{Signature, VerifyingKey, signature::hazmat::PrehashVerifier},
};
use proto_svc::{
    measure,
    sealing::{FromVault, ToVault},
    vault::{Answer, Escrowed, KeyName, Refusal, Request, Sealing, Tpm as TpmState},
};
use proto_tpm::{
    Aes256Cfb, command,
    ids::{Code, capability, kind},
    pcr,
    quote::Quoted,
    response,
    wire::MAX_RESPONSE,
};
use sha2::{Digest, Sha256};
use tests_swtpm::Swtpm;

use crate::{
    record::{Clear, Sealed},
    tpm::{NoAnswer, Random, Tpm},
    vault::{Event, Vault},
};

/// What the TPM, or the life of the vault, does instead of what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// The life ends at this command, counted from now: before the TPM has it, or after.
    KilledBefore(u32),
    KilledAfter(u32),
    /// It answers nothing.
    Silent,
    /// There is none at its registers.
    Absent,
    /// This command is answered with this code.
    Code(Code, u32),
    /// The answers to this command are those of a TPM 1.2.
    Family12,
    /// The answer to the command of this number is cut, or has one bit changed.
    Cut(u32),
    Flipped(u32, usize),
    /// It says that it is of another family.
    Family,
}

struct Machine {
    tpm: RefCell<Swtpm>,
    fault: Cell<Fault>,
    commands: Cell<u32>,
    /// All bytes that passed.
    bus: RefCell<Vec<u8>>,
    /// How long was paused, in all.
    paused: Cell<Duration>,
}

#[derive(Clone)]
struct Wire(Rc<Machine>);

impl Tpm for Wire {
    async fn transact(
        &mut self,
        bytes: &[u8],
        _patience: Duration,
        answer: &mut [u8; MAX_RESPONSE],
    ) -> Result<usize, NoAnswer> {
        let machine = &self.0;
        let number = machine.commands.get();
        machine.commands.set(number + 1);
        let code = u32::from_be_bytes(bytes[6..10].try_into().unwrap());
        let refuse =
            |tag: u16, rc: u32| [&tag.to_be_bytes()[..], &10_u32.to_be_bytes(), &rc.to_be_bytes()].concat();
        let fault = machine.fault.get();
        let mut answered = match fault {
            Fault::KilledBefore(at) if at == number => return pending().await,
            Fault::Silent => return Err(NoAnswer::Silent),
            Fault::Absent => return Err(NoAnswer::Absent),
            Fault::Code(which, rc) if which.number() == code => refuse(0x8001, rc),
            Fault::Family12 => refuse(0xc4, 0x1e),
            _ => machine.tpm.borrow_mut().transact(bytes),
        };
        match fault {
            Fault::KilledAfter(at) if at == number => return pending().await,
            Fault::Cut(at) if at == number => answered.truncate(answered.len() / 2),
            Fault::Flipped(at, bit) if at == number => {
                let bit = bit % (answered.len() * 8);
                answered[bit / 8] ^= 1 << (bit % 8);
            }
            Fault::Family if code == Code::GetCapability.number() => {
                let found = answered.windows(4).position(|window| window == b"2.0\0");
                if let Some(at) = found {
                    answered[at] = b'3';
                }
            }
            _ => {}
        }
        let mut bus = machine.bus.borrow_mut();
        bus.extend(bytes);
        bus.extend(&answered);
        let room = answer.get_mut(..answered.len()).ok_or(NoAnswer::Interface)?;
        room.copy_from_slice(&answered);
        Ok(answered.len())
    }

    async fn pause(&mut self, time: Duration) {
        self.0.paused.set(self.0.paused.get() + time);
    }
}

/// Not random at all, but never the same.
struct Counting(u64);

impl Random for Counting {
    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(32) {
            self.0 += 1;
            chunk.copy_from_slice(&Sha256::digest(self.0.to_be_bytes())[..chunk.len()]);
        }
    }
}

/// Runs to the end, or to where a life ends.
fn run<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}

/// What the storage keeps on its disk.
#[derive(Clone, Default)]
struct Disk {
    sealed: heapless::Vec<u8, { proto_svc::sealing::MAX_SEALED }>,
    kept: heapless::Vec<u8, { proto_svc::sealing::MAX_KEPT }>,
}

struct Bench {
    machine: Rc<Machine>,
    disk: Disk,
    lives: u64,
}

type Life = Vault<Wire, Counting>;

const NOW: Duration = Duration::from_secs(100);

impl Bench {
    fn new() -> Self {
        let machine = Machine {
            tpm: RefCell::new(Swtpm::new()),
            fault: Cell::new(Fault::None),
            commands: Cell::new(0),
            bus: RefCell::new(Vec::new()),
            paused: Cell::new(Duration::ZERO),
        };
        Self { machine: Rc::new(machine), disk: Disk::default(), lives: 0 }
    }

    /// A machine whose firmware has measured something.
    fn measured() -> Self {
        let bench = Self::new();
        bench.measure_as_firmware();
        bench
    }

    fn measure_as_firmware(&self) {
        self.raw(&command::startup().plain());
        for pcr in [0, 4] {
            self.raw(&command::pcr_extend(pcr, &[0x11; 32]).with_password(&[]));
        }
    }

    fn raw(&self, frame: &command::Frame) -> Vec<u8> {
        self.machine.tpm.borrow_mut().transact(frame.as_slice())
    }

    fn set(&self, fault: Fault) {
        self.machine.fault.set(fault);
        self.machine.commands.set(0);
    }

    fn life(&mut self) -> Life {
        self.lives += 1;
        Vault::new(Some(Wire(self.machine.clone())), Counting(self.lives << 32))
    }

    /// A life that was started.
    fn started(&mut self) -> Life {
        let mut life = self.life();
        run(life.complete(NOW)).unwrap();
        life
    }

    /// The storage asks, and keeps what it is told to. Gives the key, and whether it is a new one.
    fn open(&mut self, life: &mut Life) -> Option<([u8; 32], bool)> {
        let Disk { sealed, kept } = self.disk.clone();
        run(life.storage(NOW, ToVault::Open { sealed, kept }))?;
        self.hear(life)
    }

    fn hear(&mut self, life: &mut Life) -> Option<([u8; 32], bool)> {
        let mut got = None;
        while let Some(said) = life.take_for_storage() {
            match said {
                FromVault::Hello { .. } => panic!("the shell greets"),
                FromVault::Keep { sealed, kept, .. } => {
                    self.disk = Disk { sealed, kept };
                    run(life.storage(NOW, ToVault::Kept))?;
                }
                FromVault::Key { key, fresh } => got = Some((key.0, fresh)),
                FromVault::Locked { .. } => got = None,
            }
        }
        got
    }

    fn leftovers(&self) -> usize {
        let kinds = [kind::TRANSIENT, kind::HMAC_SESSION, kind::POLICY_SESSION];
        let count = |kind: u8| {
            let asked = command::get_capability(capability::HANDLES, u32::from(kind) << 24, 16);
            let answer = self.raw(&asked.plain());
            let answer = response::open(Code::GetCapability, &answer).unwrap();
            response::handles(answer.parameters).unwrap().len()
        };
        kinds.into_iter().map(count).sum()
    }

    fn extend(&self, pcr: u8) {
        self.raw(&command::pcr_extend(pcr, &[0x22; 32]).with_password(&[]));
    }
}

fn ask(life: &mut Life, request: Request) -> Answer {
    run(life.control(NOW, request)).expect("the life goes on")
}

fn refusal(answer: Answer) -> Refusal {
    match answer {
        Answer::Refused { refusal, .. } => refusal,
        other => panic!("{other:?}"),
    }
}

fn point(life: &mut Life, name: KeyName) -> Vec<u8> {
    match ask(life, Request::Public(name)) {
        Answer::Public { key, .. } => key.to_vec(),
        other => panic!("{name:?}: {other:?}"),
    }
}

fn escrow(life: &mut Life) -> Escrowed {
    match ask(life, Request::Escrow) {
        Answer::Escrow(escrowed) => escrowed,
        other => panic!("{other:?}"),
    }
}

fn verify(key: &[u8], digest: &[u8; 32], (r, s): ([u8; 32], [u8; 32])) {
    let signature = Signature::from_scalars(r, s).unwrap();
    VerifyingKey::from_sec1_bytes(key).unwrap().verify_prehash(digest, &signature).unwrap();
}

fn events(life: &mut Life) -> Vec<Event> {
    core::iter::from_fn(|| life.take_event()).collect()
}

const KEYS: [KeyName; 4] = [KeyName::Device, KeyName::Quote, KeyName::Ecdh, KeyName::Endorsement];

#[test]
fn keys_are_made_once_and_stay() {
    let mut bench = Bench::measured();
    let mut life = bench.started();
    let made = KEYS.map(|name| point(&mut life, name));
    assert_eq!(made.each_ref().map(Vec::len), [65, 65, 65, 256]);
    assert!(matches!(&events(&mut life)[..], [Event::Up { measured: true, .. }, Event::Keys { .. }]));
    assert_eq!(ask(&mut life, Request::Status), Answer::Status(life.status()));
    assert_eq!(life.status().tpm, TpmState::Ready);

    // Another life on the same TPM, and one after a reset of the machine.
    let mut life = bench.started();
    assert_eq!(KEYS.map(|name| point(&mut life, name)), made);
    bench.machine.tpm.borrow_mut().reset();
    bench.measure_as_firmware();
    let mut life = bench.started();
    assert_eq!(KEYS.map(|name| point(&mut life, name)), made);
    assert_eq!(bench.leftovers(), 0);
}

#[test]
fn signatures_and_quotes_verify() {
    let mut bench = Bench::measured();
    let mut life = bench.started();
    let device = point(&mut life, KeyName::Device);
    let Answer::Signature(r, s) = ask(&mut life, Request::Sign { digest: [3; 32] }) else { panic!() };
    verify(&device, &[3; 32], (r, s));

    let quote_key = point(&mut life, KeyName::Quote);
    for length in [0, 12, 32, 64] {
        let nonce: heapless::Vec<u8, 64> = core::iter::repeat_n(b'n', length).collect();
        let quoted = ask(&mut life, Request::Quote { nonce: nonce.clone() });
        let Answer::Quote { attest, r, s } = quoted else { panic!("{quoted:?}") };
        verify(&quote_key, &Sha256::digest(&attest).into(), (r, s));
        let Answer::Pcrs(values) = ask(&mut life, Request::Pcrs) else { panic!() };
        let read = Quoted::parse(&attest).unwrap();
        assert_eq!(read.nonce, nonce.as_slice());
        assert_eq!(read.digest, pcr::composite(read.selection, &values.into_array().unwrap()));
    }
}

#[test]
fn the_storage_has_the_same_key_as_long_as_the_measurements_are_the_same() {
    let mut bench = Bench::measured();
    bench.raw(&command::pcr_extend(13, &[7; 32]).with_password(&[]));
    let mut life = bench.started();
    let (key, fresh) = bench.open(&mut life).unwrap();
    assert!(fresh);
    assert_eq!(life.status().sealing, Sealing::Open);
    // A life after a kill, and a start with the same measurements.
    let mut life = bench.started();
    assert_eq!(bench.open(&mut life), Some((key, false)));
    bench.machine.tpm.borrow_mut().reset();
    bench.measure_as_firmware();
    bench.raw(&command::pcr_extend(13, &[7; 32]).with_password(&[]));
    let mut life = bench.started();
    assert_eq!(bench.open(&mut life), Some((key, false)));
    assert!(events(&mut life).contains(&Event::Opened { protected: true }));
    // 5 and 15 may be others.
    bench.extend(5);
    bench.extend(15);
    assert_eq!(bench.open(&mut life), Some((key, false)));
    assert_eq!(bench.leftovers(), 0);
}

#[test]
fn nothing_secret_passes_the_bus() {
    let mut bench = Bench::measured();
    let mut life = bench.started();
    let (key, _) = bench.open(&mut life).unwrap();
    let mut life = bench.started();
    bench.open(&mut life).unwrap();
    let escrowed = escrow(&mut life);
    let bus = bench.machine.bus.borrow();
    assert!(bus.len() > 10_000);
    for window in key.windows(8) {
        assert!(!bus.windows(8).any(|bytes| bytes == window), "the key is on the bus");
    }
    assert!(!escrowed.encrypted.windows(8).any(|bytes| key.windows(8).any(|window| window == bytes)));
}

#[test]
fn other_measurements_lock_and_an_escrow_opens_and_is_sealed_anew() {
    let mut bench = Bench::measured();
    let mut life = bench.started();
    let (key, _) = bench.open(&mut life).unwrap();
    let escrowed = escrow(&mut life);
    assert!(life.take_changed());

    bench.extend(9);
    bench.extend(13);
    let mut life = bench.started();
    assert_eq!(bench.open(&mut life), None);
    let status = life.status();
    assert_eq!((status.sealing, status.changed), (Sealing::Locked, 1 << 9 | 1 << 13));
    assert!(status.reason.ends_with("in PCR 9 13"), "{}", status.reason);
    assert_eq!(refusal(ask(&mut life, Request::Escrow)), Refusal::Locked);
    assert_eq!(refusal(ask(&mut life, Request::StartAnew)), Refusal::Busy);

    // What was changed is not taken.
    for at in [0, 31, 32, 63] {
        let mut changed = escrowed.clone();
        match at {
            0..32 => changed.encrypted[at] ^= 1,
            _ => changed.digest[at - 32] ^= 1,
        }
        assert_eq!(refusal(ask(&mut life, Request::Recover(changed))), Refusal::Escrow);
    }
    assert_eq!(ask(&mut life, Request::Recover(escrowed.clone())), Answer::Done);
    assert_eq!(bench.hear(&mut life), Some((key, false)));
    assert!(life.take_changed());
    // Again does no harm, and the next start opens by itself.
    assert_eq!(ask(&mut life, Request::Recover(escrowed.clone())), Answer::Done);
    assert_eq!(escrow(&mut life), escrowed);
    let mut life = bench.started();
    assert_eq!(bench.open(&mut life), Some((key, false)));
}

#[test]
fn an_escrow_of_another_tpm_or_storage_is_refused() {
    let (mut one, mut other) = (Bench::measured(), Bench::measured());
    let mut there = other.started();
    other.open(&mut there).unwrap();
    let foreign = escrow(&mut there);
    let mut life = one.started();
    assert_eq!(refusal(ask(&mut life, Request::Recover(foreign.clone()))), Refusal::Escrow);
    one.open(&mut life).unwrap();
    let first = escrow(&mut life);
    // Another storage of the same device.
    one.disk = Disk::default();
    let mut life = one.started();
    let (second, _) = one.open(&mut life).unwrap();
    assert_eq!(refusal(ask(&mut life, Request::Recover(first.clone()))), Refusal::Escrow);
    one.extend(1);
    let mut life = one.started();
    assert_eq!(one.open(&mut life), None);
    assert_eq!(refusal(ask(&mut life, Request::Recover(first))), Refusal::Escrow);
    assert_eq!(refusal(ask(&mut life, Request::Recover(foreign))), Refusal::Escrow);
    assert_ne!(second, [0; 32]);

    // The sealed key of one TPM does not open at another.
    other.disk = one.disk.clone();
    let mut life = other.started();
    assert_eq!(other.open(&mut life), None);
    assert!(life.status().reason.contains("not sealed by this TPM"), "{}", life.status().reason);
}

#[test]
fn a_key_of_a_measured_start_is_not_given_to_one_that_is_not() {
    let mut bench = Bench::measured();
    let mut life = bench.started();
    bench.open(&mut life).unwrap();
    let escrowed = escrow(&mut life);
    bench.machine.tpm.borrow_mut().reset();
    let mut life = bench.started();
    assert!(matches!(&events(&mut life)[..], [Event::Up { measured: false, .. }, Event::Keys { .. }]));
    assert!(life.status().about.contains("nothing was measured"), "{}", life.status().about);
    assert_eq!(bench.open(&mut life), None);
    assert_eq!(refusal(ask(&mut life, Request::Recover(escrowed))), Refusal::Forbidden);
}

/// 1. Whoever has the disk spoils the record, in any way.
/// 2. They start without measurements, and the controller gives the key back.
/// 3. It must not be sealed to the start that is not measured.
#[test]
fn a_spoiled_record_does_not_help_a_start_that_is_not_measured() {
    let mut bench = Bench::measured();
    let mut life = bench.started();
    let (key, _) = bench.open(&mut life).unwrap();
    let escrowed = escrow(&mut life);
    bench.machine.tpm.borrow_mut().reset();
    let right = bench.disk.clone();
    let mut spoiled: Vec<Disk> = (1..right.sealed.len())
        .step_by(7)
        .map(|length| Disk {
            sealed: heapless::Vec::from_slice(&right.sealed[..length]).unwrap(),
            ..right.clone()
        })
        .collect();
    // The head of the record by bits, the rest by bytes.
    for bit in (0..14 * 8).chain((14 * 8..right.sealed.len() * 8).step_by(67)) {
        let mut disk = right.clone();
        disk.sealed[bit / 8] ^= 1 << (bit % 8);
        spoiled.push(disk);
    }
    let mut life = bench.started();
    for disk in spoiled {
        bench.disk = disk.clone();
        assert_eq!(bench.open(&mut life), None);
        let answer = refusal(ask(&mut life, Request::Recover(escrowed.clone())));
        assert!(matches!(answer, Refusal::Forbidden | Refusal::Escrow), "{answer:?} {:02x?}", disk.sealed);
    }
    // A start that is measured has the key back whatever became of the record.
    bench.measure_as_firmware();
    let mut life = bench.started();
    bench.disk = Disk { sealed: heapless::Vec::from_slice(&right.sealed[..30]).unwrap(), ..right.clone() };
    assert_eq!(bench.open(&mut life), None);
    assert_eq!(ask(&mut life, Request::Recover(escrowed)), Answer::Done);
    assert_eq!(bench.hear(&mut life), Some((key, false)));
}

#[test]
fn without_a_measured_start_the_key_is_bound_to_the_tpm_all_the_same() {
    let mut bench = Bench::new();
    let mut life = bench.started();
    let (key, _) = bench.open(&mut life).unwrap();
    bench.machine.tpm.borrow_mut().reset();
    let mut life = bench.started();
    assert_eq!(bench.open(&mut life), Some((key, false)));
}

#[test]
fn points_are_shared_but_not_by_the_device_s_own_keys() {
    let mut bench = Bench::measured();
    let mut life = bench.started();
    for name in [KeyName::Device, KeyName::Ecdh, KeyName::Quote] {
        let peer = heapless::Vec::from_slice(&point(&mut life, name)).unwrap();
        assert_eq!(refusal(ask(&mut life, Request::Ecdh { peer })), Refusal::Point);
    }
    let mut off_the_curve = heapless::Vec::from_slice(&point(&mut life, KeyName::Device)).unwrap();
    off_the_curve[64] ^= 1;
    assert_eq!(refusal(ask(&mut life, Request::Ecdh { peer: off_the_curve })), Refusal::Point);
    assert_eq!(refusal(ask(&mut life, Request::Ecdh { peer: heapless::Vec::new() })), Refusal::Point);

    let ours = Scalar::from(12345_u64);
    let multiply = |key: &[u8], by: Scalar| {
        let point = ProjectivePoint::from(*PublicKey::from_sec1_bytes(key).unwrap().as_affine()) * by;
        crate::software::coordinates(&PublicKey::from_affine(point.to_affine()).unwrap())
    };
    let generator = crate::software::sec1(&crate::software::coordinates(
        &PublicKey::from_affine(ProjectivePoint::GENERATOR.to_affine()).unwrap(),
    ));
    let peer = crate::software::sec1(&multiply(&generator, ours));
    let shared = ask(&mut life, Request::Ecdh { peer: heapless::Vec::from_slice(&peer).unwrap() });
    let ecdh = point(&mut life, KeyName::Ecdh);
    let (x, y) = multiply(&ecdh, ours);
    assert_eq!(shared, Answer::Shared(x, y));
}

/// 1. Whoever has taken control over asks for the point of r·D, D being the device's public key.
/// 2. They divide by r: it is the point that the ECDH key shares with D, by which EVE escrows.
/// 3. It must not open what we escrow. (It did when the device's key was to share a point with itself, for by
///    EVE's templates the device's key and the ECDH key are one.)
#[test]
fn what_is_escrowed_does_not_open_by_points_that_control_can_have() {
    let mut bench = Bench::measured();
    let mut life = bench.started();
    let (key, _) = bench.open(&mut life).unwrap();
    let escrowed = escrow(&mut life);
    let r = Scalar::from(2_u64);
    let multiply = |key: &[u8], by: Scalar| {
        let point = ProjectivePoint::from(*PublicKey::from_sec1_bytes(key).unwrap().as_affine()) * by;
        crate::software::coordinates(&PublicKey::from_affine(point.to_affine()).unwrap())
    };
    let device = point(&mut life, KeyName::Device);
    let blinded = crate::software::sec1(&multiply(&device, r));
    let asked = ask(&mut life, Request::Ecdh { peer: heapless::Vec::from_slice(&blinded).unwrap() });
    let Answer::Shared(x, y) = asked else { panic!("{asked:?}") };
    let point = multiply(&crate::software::sec1(&(x, y)), r.invert().unwrap());
    let plain = Sha256::new().chain_update(point.0).chain_update(point.1);
    let ours = plain.clone().chain_update(escrowed.digest);
    for hash in [plain, ours] {
        let mut opened: [u8; 32] = escrowed.encrypted.as_slice().try_into().unwrap();
        Aes256Cfb::new(&hash.finalize().into(), &[0; 16]).decrypt(&mut opened);
        assert_ne!(opened, key);
    }
}

#[test]
fn dom0_extends_its_pcrs_and_no_others() {
    let mut bench = Bench::measured();
    // It is served before any key was made.
    let mut life = bench.life();
    bench.set(Fault::Code(Code::CreatePrimary, 0x922));
    let mut ask = |asked| run(life.measure(NOW, asked)).unwrap();
    let read = |number, pcr| measure::ToVault::Read { number, pcr };
    let extend = |number, pcr| measure::ToVault::Extend { number, pcr, digest: [9; 32] };
    let refused = |number, refusal| Some(measure::FromVault::Refused { number, refusal });
    for pcr in (0..=u8::MAX).filter(|pcr| !measure::PCRS.contains(pcr)) {
        assert_eq!(ask(extend(1, pcr)), refused(1, measure::Refusal::Pcr), "{pcr}");
    }
    let Some(measure::FromVault::Value { number: 2, value }) = ask(read(2, 13)) else { panic!() };
    assert_eq!(value, [0; 32]);
    assert_eq!(ask(extend(3, 13)), Some(measure::FromVault::Extended { number: 3 }));
    let value = pcr::extended(&value, &[9; 32]);
    assert_eq!(ask(read(4, 13)), Some(measure::FromVault::Value { number: 4, value }));
    assert_eq!(ask(read(5, 24)), refused(5, measure::Refusal::Pcr));
    assert_eq!(ask(measure::ToVault::Hello { version: 1 }), None);
    assert!(life.has_more());
}

#[test]
fn a_note_is_kept_with_and_without_a_tpm() {
    let mut bench = Bench::measured();
    let note =
        |byte: u8, length: usize| -> heapless::Vec<u8, 512> { vec![byte; length].into_iter().collect() };
    let mut life = bench.started();
    assert_eq!(ask(&mut life, Request::Kept), Answer::Kept { note: note(0, 0) });
    for length in [512, 1, 300] {
        assert_eq!(ask(&mut life, Request::Keep { note: note(7, length) }), Answer::Done);
        let mut life = bench.started();
        assert_eq!(ask(&mut life, Request::Kept), Answer::Kept { note: note(7, length) });
    }

    let mut bench = Bench::new();
    bench.set(Fault::Absent);
    let mut life = bench.started();
    assert_eq!(refusal(ask(&mut life, Request::Kept)), Refusal::Busy);
    assert_eq!(refusal(ask(&mut life, Request::Keep { note: note(1, 1) })), Refusal::Locked);
    let (key, _) = bench.open(&mut life).unwrap();
    let keep = |life: &mut Life| ask(life, Request::Keep { note: note(7, 512) });
    // It is not kept before the storage says so.
    for _ in 0..3 {
        assert_eq!(refusal(keep(&mut life)), Refusal::Busy);
    }
    assert_eq!(bench.hear(&mut life), Some((key, false)));
    assert!(life.take_changed());
    assert_eq!(keep(&mut life), Answer::Done);
    assert_eq!(life.take_for_storage(), None, "it is written once");
    let mut life = bench.started();
    assert_eq!(bench.open(&mut life), Some((key, false)));
    assert_eq!(ask(&mut life, Request::Kept), Answer::Kept { note: note(7, 512) });
}

#[test]
fn a_note_that_the_storage_did_not_keep_is_not_called_kept() {
    let mut bench = Bench::new();
    bench.set(Fault::Absent);
    let mut life = bench.started();
    let (key, _) = bench.open(&mut life).unwrap();
    let note = heapless::Vec::from_slice(&[7; 300]).unwrap();
    let keep = |life: &mut Life| ask(life, Request::Keep { note: note.clone() });
    assert_eq!(refusal(keep(&mut life)), Refusal::Busy);
    life.take_changed();
    run(life.storage(NOW, ToVault::NotKept)).unwrap();
    assert!(life.take_changed(), "control is told to ask again");
    assert_eq!(refusal(keep(&mut life)), Refusal::NotKept);
    // And the next time it is tried again.
    assert_eq!(refusal(keep(&mut life)), Refusal::Busy);
    assert_eq!(bench.hear(&mut life), Some((key, false)));
    assert_eq!(keep(&mut life), Answer::Done);
    let mut life = bench.started();
    bench.open(&mut life).unwrap();
    assert_eq!(ask(&mut life, Request::Kept), Answer::Kept { note: note.clone() });
}

#[test]
fn notes_are_written_rarely_and_equal_ones_never_again() {
    let mut bench = Bench::measured();
    let note = |byte: u8| heapless::Vec::from_slice(&[byte; 300]).unwrap();
    let mut life = bench.started();
    let writes = |bench: &Bench| {
        let bus = bench.machine.bus.borrow();
        let code = Code::NvWrite.number().to_be_bytes();
        bus.windows(10).filter(|bytes| bytes[..2] == [0x80, 2] && bytes[6..] == code).count()
    };
    let before = writes(&bench);
    for _ in 0..100 {
        assert_eq!(ask(&mut life, Request::Keep { note: note(1) }), Answer::Done);
    }
    assert_eq!(writes(&bench) - before, 1);
    events(&mut life);
    let mut refused = 0;
    for byte in 2..100 {
        match ask(&mut life, Request::Keep { note: note(byte) }) {
            Answer::Done => {}
            Answer::Refused { refusal: Refusal::TooManyWrites, reason } => {
                assert_eq!(reason, "too many writes; the next one in 3600 s");
                refused += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((refused, writes(&bench) - before, life.status().writes_refused), (95, 4, 95));
    assert_eq!(events(&mut life), [Event::TooManyWrites { refused: 1 }]);
    // What is there is no write; and there is one more in an hour.
    assert_eq!(ask(&mut life, Request::Keep { note: note(4) }), Answer::Done);
    let later = NOW + Duration::from_secs(3600);
    assert_eq!(run(life.control(later, Request::Keep { note: note(9) })), Some(Answer::Done));
    assert_eq!(writes(&bench) - before, 5);
}

#[test]
fn without_a_tpm_keys_are_software_s_and_lie_with_the_storage() {
    let mut bench = Bench::new();
    bench.set(Fault::Absent);
    let mut life = bench.started();
    assert_eq!(events(&mut life), [Event::NoTpm]);
    assert_eq!(refusal(ask(&mut life, Request::Sign { digest: [1; 32] })), Refusal::Busy);
    let (key, fresh) = bench.open(&mut life).unwrap();
    assert!(fresh);
    assert_eq!(events(&mut life), [Event::New { protected: false }]);
    let device = point(&mut life, KeyName::Device);
    let Answer::Signature(r, s) = ask(&mut life, Request::Sign { digest: [1; 32] }) else { panic!() };
    verify(&device, &[1; 32], (r, s));
    assert_eq!(refusal(ask(&mut life, Request::Public(KeyName::Quote))), Refusal::NoTpm);
    assert_eq!(refusal(ask(&mut life, Request::Pcrs)), Refusal::NoTpm);
    assert_eq!(refusal(ask(&mut life, Request::Escrow)), Refusal::NoTpm);
    assert_eq!(life.status().tpm, TpmState::None);

    let mut life = bench.started();
    assert_eq!(bench.open(&mut life), Some((key, false)));
    assert_eq!(point(&mut life, KeyName::Device), device);
    let asked = measure::ToVault::Extend { number: 1, pcr: 13, digest: [0; 32] };
    let refused = measure::FromVault::Refused { number: 1, refusal: measure::Refusal::NoTpm };
    assert_eq!(run(life.measure(NOW, asked)).unwrap(), Some(refused));

    // With a TPM that comes later it is another device, which keeps nothing of the one before.
    bench.set(Fault::None);
    let mut life = bench.started();
    let (sealed, fresh) = bench.open(&mut life).unwrap();
    assert!(fresh && sealed != key);
    assert!(!bench.disk.sealed.windows(32).any(|window| window == key || window == sealed));
    assert!(bench.disk.kept.is_empty());
    assert_ne!(point(&mut life, KeyName::Device), device);

    // And when that one is taken out, neither the key nor the device is replaced.
    bench.set(Fault::Absent);
    let mut life = bench.started();
    assert_eq!(bench.open(&mut life), None);
    assert!(life.status().reason.contains("sealed by a TPM"));
    assert_eq!(refusal(ask(&mut life, Request::Sign { digest: [1; 32] })), Refusal::Locked);
}

#[test]
fn software_s_keys_go_with_the_one_record_that_is_in_the_clear() {
    let mut bench = Bench::new();
    bench.set(Fault::Absent);
    let mut life = bench.started();
    let (key, _) = bench.open(&mut life).unwrap();
    let keys = life.software_keys().unwrap();
    let clear = [&bench.disk.sealed[..], &bench.disk.kept].concat();
    for secret in [keys.device, keys.ecdh] {
        assert!(!clear.windows(8).any(|bytes| bytes == &secret[..8]), "a key of the device is in the clear");
    }
    // It is told in each start, on the console and in what control is told.
    let mut life = bench.started();
    assert_eq!(bench.open(&mut life), Some((key, false)));
    let told = events(&mut life);
    assert!(told.contains(&Event::Opened { protected: false }), "{told:?}");
    assert!(
        told.iter().all(|event| event.code().is_some_and(|code| code == proto_errors::vault::NO_TPM)),
        "{told:?}"
    );
    assert!(life.status().reason.contains("in the clear"), "{}", life.status().reason);
    // What was encrypted under another key does not come back as the device's keys.
    let mut other = Bench::new();
    other.set(Fault::Absent);
    other.disk = Disk { sealed: in_the_clear([7; 32]), kept: bench.disk.kept.clone() };
    let mut life = other.started();
    assert_eq!(other.open(&mut life), None);
    assert!(life.status().reason.contains("encrypted by another key"), "{}", life.status().reason);
}

/// A record as it is made without a TPM.
fn in_the_clear(key: [u8; 32]) -> heapless::Vec<u8, { proto_svc::sealing::MAX_SEALED }> {
    Sealed::Clear(Clear { key, note: heapless::Vec::new() }).emit()
}

/// The key of a store that somebody else has made.
const PLANTED: [u8; 32] = [0x5a; 32];

/// 1. Whoever writes the disk of a device that has a TPM puts a store there, under a key of their own, and a record as
///    it is made without a TPM.
/// 2. No PCR moves. Were the key taken over, all that they have stored would be believed, and all that is stored next
///    would be theirs to read, with the device attested.
#[test]
fn a_key_in_the_clear_is_not_believed_where_there_is_a_tpm() {
    for (measured, ours) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut bench = if measured { Bench::measured() } else { Bench::new() };
        if ours {
            let mut life = bench.started();
            bench.open(&mut life).unwrap();
        }
        bench.disk =
            Disk { sealed: in_the_clear(PLANTED), kept: heapless::Vec::from_slice(&[7; 65]).unwrap() };
        let mut life = bench.started();
        let (key, fresh) = bench.open(&mut life).unwrap();
        assert!(fresh, "the storage drops what was under the other key");
        assert_ne!(key, PLANTED);
        assert!(bench.disk.kept.is_empty());
        assert_eq!(escrow(&mut life).digest, <[u8; 32]>::from(Sha256::digest(key)));
        let told =
            events(&mut life).into_iter().find(|event| *event == Event::NotBelieved).expect("it is told");
        assert_eq!(told.code(), Some(proto_errors::vault::NOT_BELIEVED));
        let status = life.status();
        assert_eq!((status.tpm, status.sealing), (TpmState::Ready, Sealing::Open));
        assert!(status.reason.contains("dropped"), "{}", status.reason);
        let mut life = bench.started();
        assert_eq!(bench.open(&mut life), Some((key, false)));
        assert_eq!(life.status().reason, "");
    }
}

/// The same with lives that end at each command, and a storage that does not keep the new key.
#[test]
fn a_key_in_the_clear_is_not_believed_however_often_it_is_tried() {
    let mut at = 0;
    loop {
        let mut ended = false;
        for fault in [Fault::KilledBefore(at), Fault::KilledAfter(at)] {
            let mut bench = Bench::measured();
            drop(bench.started());
            bench.disk.sealed = in_the_clear(PLANTED);
            bench.set(fault);
            let mut life = bench.life();
            let opened = run(life.complete(NOW)).and_then(|()| bench.open(&mut life));
            ended |= opened.is_none();
            assert!(opened.is_none_or(|(key, _)| key != PLANTED));
            bench.set(Fault::None);
            let mut life = bench.started();
            let (key, _) = bench.open(&mut life).unwrap();
            assert_ne!(key, PLANTED, "{fault:?}");
        }
        if !ended {
            break;
        }
        at += 1;
    }
    assert!(at > 10, "{at}");

    let mut bench = Bench::measured();
    let mut life = bench.started();
    let open = ToVault::Open { sealed: in_the_clear(PLANTED), kept: heapless::Vec::new() };
    run(life.storage(NOW, open)).unwrap();
    assert!(matches!(life.take_for_storage(), Some(FromVault::Keep { fresh: true, .. })));
    run(life.storage(NOW, ToVault::NotKept)).unwrap();
    assert!(matches!(life.take_for_storage(), Some(FromVault::Locked { .. })));
    assert_eq!((life.take_for_storage(), life.status().sealing), (None, Sealing::Locked));
}

/// The other way about: a TPM that is gone or does not work at this start.
#[test]
fn what_a_tpm_has_sealed_is_neither_opened_nor_replaced_without_it() {
    for fault in
        [Fault::Absent, Fault::Silent, Fault::Code(Code::SelfTest, 0x101), Fault::Family12, Fault::Family]
    {
        let mut bench = Bench::measured();
        let mut life = bench.started();
        let (key, _) = bench.open(&mut life).unwrap();
        let before = bench.disk.clone();
        bench.set(fault);
        let mut life = bench.started();
        run(life.measure(NOW, measure::ToVault::Provisioned { may_start_anew: true })).unwrap();
        let Disk { sealed, kept } = bench.disk.clone();
        run(life.storage(NOW, ToVault::Open { sealed, kept })).unwrap();
        assert!(matches!(life.take_for_storage(), Some(FromVault::Locked { .. })), "{fault:?}");
        assert!(matches!(ask(&mut life, Request::StartAnew), Answer::Refused { .. }));
        assert!(matches!(ask(&mut life, Request::Sign { digest: [1; 32] }), Answer::Refused { .. }));
        assert!(matches!(
            ask(&mut life, Request::Keep { note: [7; 9].into_iter().collect() }),
            Answer::Refused { .. }
        ));
        assert_eq!(bench.hear(&mut life), None);
        assert_eq!(life.status().sealing, Sealing::Locked);
        assert_eq!((&bench.disk.sealed, &bench.disk.kept), (&before.sealed, &before.kept));
        bench.set(Fault::None);
        let mut life = bench.started();
        assert_eq!(bench.open(&mut life), Some((key, false)), "{fault:?}");
    }
    // A first start with a TPM that does not work makes no key in the clear either.
    for fault in [Fault::Silent, Fault::Code(Code::SelfTest, 0x101), Fault::Family12] {
        let mut bench = Bench::measured();
        bench.set(fault);
        let mut life = bench.started();
        assert_eq!(bench.open(&mut life), None);
        assert!(bench.disk.sealed.is_empty() && bench.disk.kept.is_empty());
    }
}

/// Not noticed, as ARCHITECTURE says: an older record opens what it opened when it was made, as long as the
/// measurements are the same.
#[test]
fn what_is_set_back_whole_opens() {
    let mut bench = Bench::measured();
    let mut life = bench.started();
    let (first, _) = bench.open(&mut life).unwrap();
    let older = bench.disk.clone();
    bench.disk = Disk::default();
    let mut life = bench.started();
    let (second, _) = bench.open(&mut life).unwrap();
    assert_ne!(first, second);
    bench.disk = older;
    let mut life = bench.started();
    assert_eq!(bench.open(&mut life), Some((first, false)));
}

#[test]
fn a_disk_that_is_damaged_is_not_taken_for_an_empty_one() {
    for absent in [true, false] {
        let mut bench = Bench::measured();
        if absent {
            bench.set(Fault::Absent);
        }
        let mut life = bench.started();
        bench.open(&mut life).unwrap();
        let right = bench.disk.clone();
        for length in 1..right.sealed.len() {
            bench.disk.sealed.truncate(right.sealed.len() - length);
            let mut life = bench.life();
            // A record cannot be told from a damaged one by its first bytes alone.
            assert_eq!(bench.open(&mut life), None, "{length}");
            bench.disk = right.clone();
            if !absent && length > 12 {
                break;
            }
        }
        bench.disk.kept = heapless::Vec::from_slice(&[9]).unwrap();
        let mut life = bench.started();
        assert_eq!(bench.open(&mut life).is_none(), absent, "with a TPM nobody asks for software's keys");
    }
}

#[test]
fn a_new_key_that_was_not_kept_is_not_used() {
    let mut bench = Bench::measured();
    let mut life = bench.started();
    run(life.storage(NOW, ToVault::Open { sealed: heapless::Vec::new(), kept: heapless::Vec::new() }))
        .unwrap();
    assert!(matches!(life.take_for_storage(), Some(FromVault::Keep { fresh: true, .. })));
    run(life.storage(NOW, ToVault::NotKept)).unwrap();
    assert!(matches!(life.take_for_storage(), Some(FromVault::Locked { .. })));
    assert!(events(&mut life).contains(&Event::NotKept));
    // What was not asked changes nothing.
    run(life.storage(NOW, ToVault::Kept)).unwrap();
    assert!(life.take_for_storage().is_none());
    assert_eq!(life.status().sealing, Sealing::Locked);
    // It is the storage that asks again; two that do would cross.
    assert_eq!(life.deadline(), None);
}

#[test]
fn a_key_is_replaced_when_the_provisioning_allows_it_and_it_is_lost() {
    let mut bench = Bench::measured();
    let mut life = bench.started();
    let (lost, _) = bench.open(&mut life).unwrap();
    bench.extend(4);
    let mut life = bench.started();
    let provisioned = |life: &mut Life, may_start_anew| {
        assert_eq!(run(life.measure(NOW, measure::ToVault::Provisioned { may_start_anew })), Some(None));
    };
    // Nobody but dom0 can say that it is allowed, and before it does nothing is decided.
    assert_eq!(bench.open(&mut life), None);
    assert_eq!(refusal(ask(&mut life, Request::StartAnew)), Refusal::Busy);
    provisioned(&mut life, false);
    assert_eq!(refusal(ask(&mut life, Request::StartAnew)), Refusal::Forbidden);

    let mut life = bench.started();
    provisioned(&mut life, true);
    assert_eq!(refusal(ask(&mut life, Request::StartAnew)), Refusal::Busy, "the storage did not ask yet");
    // A lock-out is no loss.
    bench.set(Fault::Code(Code::Load, 0x921));
    assert_eq!(bench.open(&mut life), None);
    assert_eq!(refusal(ask(&mut life, Request::StartAnew)), Refusal::Busy);
    bench.set(Fault::None);
    assert_eq!(bench.open(&mut life), None);
    assert_eq!(ask(&mut life, Request::StartAnew), Answer::Done);
    let (key, fresh) = bench.hear(&mut life).unwrap();
    assert!(fresh && key != lost);
    assert_eq!(refusal(ask(&mut life, Request::StartAnew)), Refusal::Forbidden, "it has one");
    let mut life = bench.started();
    assert_eq!(bench.open(&mut life), Some((key, false)));
    provisioned(&mut life, true);
    assert_eq!(refusal(ask(&mut life, Request::StartAnew)), Refusal::Forbidden, "it opens");
}

/// Each life ends at another command, with the TPM ahead of it and behind it. The next one finds its way, with the
/// keys that were made, and nothing is left in the TPM.
#[test]
fn a_life_may_end_at_every_command() {
    let mut bench = Bench::measured();
    let mut first_key = None;
    let mut at = 0;
    loop {
        let mut ended = false;
        for fault in [Fault::KilledBefore(at), Fault::KilledAfter(at)] {
            let mut life = bench.life();
            bench.set(fault);
            ended |= run(life.complete(NOW)).is_none() || {
                let opened = bench.open(&mut life);
                if let Some((key, _)) = opened {
                    assert_eq!(key, *first_key.get_or_insert(key), "a key that was kept is not replaced");
                }
                let asked = Request::Quote { nonce: heapless::Vec::new() };
                opened.is_none()
                    || run(life.control(NOW, Request::Sign { digest: [1; 32] })).is_none()
                    || run(life.control(NOW, asked)).is_none()
                    || run(life.control(NOW, Request::Escrow)).is_none()
            };
            bench.set(Fault::None);
        }
        if !ended {
            break;
        }
        at += 1;
    }
    // At least: the whole of bringing up, unsealing, signing and quoting.
    assert!(at > 20, "{at}");
    let mut life = bench.started();
    assert_eq!(bench.leftovers(), 0);
    assert_eq!(bench.open(&mut life), Some((first_key.unwrap(), false)));
}

/// The same while the keys are being made: every command of the first life of a TPM.
#[test]
fn a_first_life_may_end_at_every_command() {
    let mut commands = 0;
    loop {
        let mut bench = Bench::measured();
        let mut life = bench.life();
        bench.set(Fault::KilledAfter(commands));
        let ended = run(life.complete(NOW)).is_none();
        bench.set(Fault::None);
        let mut life = bench.started();
        assert_eq!(life.status().tpm, TpmState::Ready, "{commands}: {}", life.status().about);
        let Answer::Signature(r, s) = ask(&mut life, Request::Sign { digest: [1; 32] }) else { panic!() };
        verify(&point(&mut life, KeyName::Device), &[1; 32], (r, s));
        assert_eq!(bench.leftovers(), 0, "{commands}");
        if !ended {
            break;
        }
        commands += 1;
    }
    assert!(commands > 30, "{commands}");
}

#[test]
fn a_silent_tpm_is_told_once_and_tried_again_ever_more_rarely() {
    let mut bench = Bench::measured();
    bench.set(Fault::Silent);
    let mut life = bench.started();
    assert!(matches!(&events(&mut life)[..], [Event::Failed(_)]));
    assert_eq!(life.status().tpm, TpmState::Failed);
    let mut asked_tpm = 0;
    for second in 0..600 {
        let before = bench.machine.commands.get();
        let now = NOW + Duration::from_secs(second);
        assert_eq!(refusal(run(life.control(now, Request::Sign { digest: [1; 32] })).unwrap()), Refusal::Tpm);
        asked_tpm += bench.machine.commands.get() - before;
    }
    assert!((8..=20).contains(&asked_tpm), "{asked_tpm}");
    assert_eq!(events(&mut life), []);
    assert!(!life.has_more());
    bench.set(Fault::None);
    let now = NOW + Duration::from_secs(1000);
    assert!(matches!(run(life.control(now, Request::Sign { digest: [1; 32] })), Some(Answer::Signature(..))));
    assert!(life.take_changed());
}

#[test]
fn a_tpm_that_falls_silent_later_has_failed_and_comes_back_with_the_storage_s_key() {
    let mut bench = Bench::measured();
    let mut life = bench.started();
    let (key, _) = bench.open(&mut life).unwrap();
    let mut life = bench.started();
    bench.set(Fault::Absent);
    assert_eq!(refusal(ask(&mut life, Request::Sign { digest: [1; 32] })), Refusal::Tpm);
    assert_eq!(life.status().tpm, TpmState::Failed, "not absent: its keys are not replaced");
    assert_eq!(bench.open(&mut life), None);
    assert_eq!(life.status().sealing, Sealing::Locked);
    bench.set(Fault::None);
    run(life.complete(NOW + Duration::from_secs(600))).unwrap();
    assert_eq!(bench.hear(&mut life), Some((key, false)));
}

#[test]
fn states_of_a_tpm_have_their_reasons() {
    let cases = [
        (Fault::Code(Code::SelfTest, 0x101), "failed its self test"),
        (Fault::Code(Code::Startup, 0x101), "failed its self test"),
        (Fault::Code(Code::CreatePrimary, 0x101), "CreatePrimary"),
        (Fault::Code(Code::CreatePrimary, 0x921), "CreatePrimary: response code 0x921"),
        (Fault::Family12, "TPM 1.2"),
        (Fault::Code(Code::Startup, 0x1e), "TPM 1.2"),
        (Fault::Family, "of family"),
        (Fault::Silent, "does not answer"),
        (Fault::Cut(0), "answer to Startup"),
    ];
    for (fault, reason) in cases {
        let mut bench = Bench::measured();
        bench.set(fault);
        let mut life = bench.started();
        let status = life.status();
        assert_eq!(status.tpm, TpmState::Failed, "{fault:?}");
        assert!(status.about.contains(reason), "{fault:?}: {}", status.about);
        assert_eq!(refusal(ask(&mut life, Request::Pcrs)), Refusal::Tpm);
        assert!(events(&mut life).iter().any(|event| event.code().is_some()));
    }
}

#[test]
fn a_lock_out_is_told_as_busy_and_a_command_that_was_put_off_is_sent_again() {
    let mut bench = Bench::measured();
    let mut life = bench.started();
    bench.set(Fault::Code(Code::Sign, 0x921));
    assert_eq!(refusal(ask(&mut life, Request::Sign { digest: [1; 32] })), Refusal::Busy);
    assert_eq!(life.status().tpm, TpmState::Ready);
    bench.set(Fault::Code(Code::Sign, 0x922));
    assert_eq!(refusal(ask(&mut life, Request::Sign { digest: [1; 32] })), Refusal::Busy);
    assert_eq!(bench.machine.commands.get(), 16);
    assert!(bench.machine.paused.get() < Duration::from_secs(10));
    bench.set(Fault::None);
    assert!(matches!(ask(&mut life, Request::Sign { digest: [1; 32] }), Answer::Signature(..)));
}

/// Lock-out and its like are no reason to give a key up: it is tried again by itself, ever more rarely.
#[test]
fn a_key_that_the_tpm_does_not_give_now_is_tried_again() {
    for (code, rc) in [
        (Code::Load, 0x921),
        (Code::Load, 0x922),
        (Code::Load, 0x923),
        (Code::Load, 0x909),
        (Code::Load, 0x155),
        (Code::Unseal, 0x128),
        (Code::StartAuthSession, 0x921),
    ] {
        let mut bench = Bench::measured();
        let mut life = bench.started();
        let (key, _) = bench.open(&mut life).unwrap();
        let mut life = bench.started();
        bench.set(Fault::Code(code, rc));
        assert_eq!(bench.open(&mut life), None);
        let status = life.status();
        assert_eq!((status.tpm, status.sealing), (TpmState::Ready, Sealing::Locked));
        assert!(
            status.reason.contains(&std::format!("{code:?}: response code {rc:#05x}")),
            "{}",
            status.reason
        );
        life.take_changed();
        events(&mut life);
        let (mut now, mut tries) = (NOW, 0);
        while now < NOW + Duration::from_secs(3600) {
            let due = life.deadline().expect("it is tried again");
            assert!(due > now);
            now = due;
            run(life.complete(now)).unwrap();
            tries += 1;
        }
        assert!((12..25).contains(&tries), "{tries}");
        assert_eq!((events(&mut life), life.take_changed()), (vec![], false), "it is told once");
        bench.set(Fault::None);
        run(life.complete(now + Duration::from_secs(300))).unwrap();
        assert_eq!(bench.hear(&mut life), Some((key, false)));
        assert!(life.take_changed());
        assert_eq!((life.deadline(), bench.leftovers()), (None, 0));
    }
}

/// A TPM that says a few times that a key is none of its own: a bit that fell over on its way there is enough.
#[test]
fn what_a_tpm_says_once_does_not_end_the_service_of_the_vault() {
    for fault in
        [Fault::Code(Code::Load, 0x1df), Fault::Code(Code::Load, 0x98e), Fault::Code(Code::Unseal, 0x99d)]
    {
        for times in 0..3 {
            let mut bench = Bench::measured();
            let mut life = bench.started();
            let (key, _) = bench.open(&mut life).unwrap();
            let mut life = bench.started();
            assert_eq!(
                run(life.measure(NOW, measure::ToVault::Provisioned { may_start_anew: true })),
                Some(None)
            );
            bench.set(fault);
            assert_eq!(bench.open(&mut life), None);
            for _ in 0..times {
                let due = life.deadline().expect("it is tried again");
                run(life.complete(due)).unwrap();
            }
            assert_eq!(refusal(ask(&mut life, Request::StartAnew)), Refusal::Busy, "nothing is thrown away");
            bench.set(Fault::None);
            let due = life.deadline().expect("it is tried again");
            run(life.complete(due)).unwrap();
            assert_eq!(bench.hear(&mut life), Some((key, false)));
            assert_eq!((life.deadline(), bench.leftovers()), (None, 0));
        }
    }
}

#[test]
fn refusals_that_are_final_are_told_apart_and_tried_a_few_times_only() {
    for (code, rc, reason) in [
        (Code::Load, 0x1df, "not sealed by this TPM"),
        (Code::Load, 0x1e5, "not sealed by this TPM"),
        (Code::Load, 0x18a, "is not its parent"),
        (Code::Load, 0x98e, "is not its parent"),
        (Code::Load, 0x1d5, "nothing that was sealed"),
        (Code::Load, 0x1da, "nothing that was sealed"),
        (Code::Unseal, 0x99d, "measurements are others, and they are not"),
    ] {
        let mut bench = Bench::measured();
        let mut life = bench.started();
        bench.open(&mut life).unwrap();
        let mut life = bench.started();
        bench.set(Fault::Code(code, rc));
        assert_eq!(bench.open(&mut life), None);
        assert!(life.status().reason.contains(reason), "{rc:#x}: {}", life.status().reason);
        life.take_changed();
        events(&mut life);
        let mut tries = 1;
        while let Some(due) = life.deadline() {
            run(life.complete(due)).unwrap();
            tries += 1;
            assert!(tries <= 4, "{rc:#x}: on and on");
        }
        assert_eq!((events(&mut life), life.take_changed()), (vec![], false), "it is told once");
    }
}

#[test]
fn a_tpm_without_room_is_emptied_and_asked_again() {
    let mut bench = Bench::measured();
    let mut life = bench.started();
    let (key, _) = bench.open(&mut life).unwrap();
    let mut life = bench.started();
    bench.set(Fault::Code(Code::Load, 0x902));
    assert_eq!(bench.open(&mut life), None);
    assert_eq!(life.status().tpm, TpmState::Failed);
    bench.set(Fault::None);
    let due = life.deadline().expect("it is brought up anew");
    run(life.complete(due)).unwrap();
    assert_eq!(bench.hear(&mut life), Some((key, false)));
}

/// A TPM whose answers are wrong in one bit, at every command, anywhere: nothing panics, and whatever key the
/// storage is given is the right one.
#[test]
fn nonsense_is_never_taken_for_a_key() {
    let mut bench = Bench::measured();
    let mut life = bench.started();
    let (key, _) = bench.open(&mut life).unwrap();
    let disk = bench.disk.clone();
    let mut seed = 1_u64;
    for at in 0..40 {
        for _ in 0..6 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let fault = if seed.is_multiple_of(5) {
                Fault::Cut(at)
            } else {
                Fault::Flipped(at, (seed >> 20) as usize)
            };
            bench.set(fault);
            bench.disk = disk.clone();
            let mut life = bench.started();
            if let Some((given, fresh)) = bench.open(&mut life) {
                assert_eq!((given, fresh), (key, false), "{fault:?}");
            }
            let _ = run(life.control(NOW, Request::Quote { nonce: heapless::Vec::new() }));
            let _ = run(life.control(NOW, Request::Pcrs));
            bench.set(Fault::None);
            let mut life = bench.started();
            bench.disk = disk.clone();
            assert_eq!(bench.open(&mut life), Some((key, false)), "after {fault:?}");
        }
    }
}
