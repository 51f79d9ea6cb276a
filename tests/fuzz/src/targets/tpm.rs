//! What a TPM answers, and the firmware's event log.

use std::time::Duration;

use embassy_futures::block_on;
use proto_svc::sealing::{FromVault, ToVault};
use proto_svc::vault::{Answer, MAX_NOTE, Request};
use proto_tpm::command::{self, SessionKind};
use proto_tpm::eventlog::{self, Event, Log};
use proto_tpm::ids::{Code, Handle};
use proto_tpm::key::{Public, Role};
use proto_tpm::pcr::{self, Selection};
use proto_tpm::quote::Quoted;
use proto_tpm::response;
use proto_tpm::session::{self, Encrypted, Seeds};
use proto_tpm::wire::MAX_RESPONSE;
use stubdoms_vault_core::record::{Clear, Kept, NONCE, Sealed, SealedByTpm};
use stubdoms_vault_core::tpm::{NoAnswer, Random, Tpm};
use stubdoms_vault_core::vault::Vault;

/// The first byte chooses the command, the rest is its answer.
pub(super) fn answer(bytes: &[u8]) {
    let Some((&choice, bytes)) = bytes.split_first() else { return };
    let code = Code::ALL[usize::from(choice) % Code::ALL.len()];
    let Ok(answer) = response::open(code, bytes) else { return };
    let p = answer.parameters;
    assert!(p.len() + answer.sessions.len() < bytes.len(), "what was taken apart is less than the whole");
    match code {
        Code::GetRandom => drop(response::random::<32>(p)),
        Code::ReadPublic => {
            if let Ok(public) = response::public(p) {
                let fits = Role::ALL.iter().filter(|role| role.fits(&public)).count();
                assert!(fits <= 2, "only two roles have the same form");
            }
        }
        Code::CreatePrimary => drop(response::created_primary(p)),
        Code::Create => drop(response::created(p).map(|(_, public)| Public::parse(public).is_ok())),
        Code::Load => drop(response::loaded(p, b"a public part")),
        Code::Unseal => drop(response::unsealed(p)),
        Code::Sign => drop(response::signature(p)),
        Code::Quote => {
            if let Ok((attested, _)) = response::quote(p) {
                let _ = Quoted::parse(attested);
            }
        }
        Code::EcdhZGen => drop(response::point(p)),
        Code::PcrRead => {
            if let Ok(read) = response::pcrs(p) {
                assert_eq!(read.selection.iter().count(), read.values.len());
            }
        }
        Code::GetCapability => {
            drop(response::handles(p));
            drop(response::properties(p));
            let _ = response::sha256_bank(p);
        }
        Code::GetTestResult => drop(response::test_result(p)),
        Code::NvRead => drop(response::nv_bytes(p)),
        Code::NvReadPublic => drop(response::nv_public(p)),
        _ => drop(response::nothing(p)),
    }
}

fn frame(tag: u16, body: &[&[u8]]) -> Vec<u8> {
    let body = body.concat();
    let length = u32::try_from(10 + body.len()).expect("a short answer");
    [&tag.to_be_bytes()[..], &length.to_be_bytes(), &[0; 4], &body].concat()
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("a short buffer");
    [&length.to_be_bytes(), bytes].concat()
}

pub(super) fn answers() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    let mut seed = |code: Code, body: &[&[u8]]| {
        let choice = Code::ALL.iter().position(|other| *other == code).expect("all are listed");
        let choice = u8::try_from(choice).expect("fewer than 256");
        seeds.push([&[choice][..], &frame(0x8001, body)].concat());
    };
    seed(Code::GetRandom, &[&sized(&[7; 32])]);
    for role in Role::ALL {
        let public = role.template();
        let public = public.as_slice();
        let name = sized(&proto_tpm::key::name(public));
        seed(Code::ReadPublic, &[&sized(public), &name, &name]);
        let creation =
            [&sized(&[1; 20])[..], &sized(&[2; 32]), &[0x80, 0x21, 0x40, 0, 0, 1], &sized(&[3; 32])];
        let created = [&[0x80, 0, 0, 0][..], &sized(public), &creation.concat(), &name];
        seed(Code::CreatePrimary, &created);
        seed(Code::Create, &[&sized(&[4; 160]), &sized(&[5; 78]), &creation.concat()]);
    }
    seed(Code::Unseal, &[&sized(&[7; 32])]);
    let signature = [&[0, 0x18, 0, 0x0b][..], &sized(&[1; 32]), &sized(&[2; 31])].concat();
    seed(Code::Sign, &[&signature]);
    let mut selection = proto_tpm::wire::Bytes::<16>::default();
    Selection::from_bits(0xffff).emit(&mut selection);
    let clock = [0; 25];
    let attested = [&[0xff, 0x54, 0x43, 0x47, 0x80, 0x18][..], &sized(&[1; 34]), &sized(b"nonce"), &clock];
    let attested = [&attested.concat()[..], selection.as_slice(), &sized(&[3; 32])].concat();
    seed(Code::Quote, &[&sized(&attested), &signature]);
    seed(Code::EcdhZGen, &[&sized(&[sized(&[1; 32]), sized(&[2; 32])].concat())]);
    let mut one = proto_tpm::wire::Bytes::<16>::default();
    Selection::from_bits(1 << 13).emit(&mut one);
    seed(Code::PcrRead, &[&[0, 0, 0, 9], one.as_slice(), &[0, 0, 0, 1], &sized(&[4; 32])]);
    seed(Code::GetCapability, &[&[0, 0, 0, 0, 1, 0, 0, 0, 2, 0x80, 0, 0, 0, 0x80, 0, 0, 1]]);
    seed(Code::GetCapability, &[&[0, 0, 0, 0, 6, 0, 0, 0, 1, 0, 0, 1, 0, b'2', b'.', b'0', 0]]);
    seed(Code::GetCapability, &[&[0, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0x0b, 3, 0xff, 0xff, 0xff]]);
    seed(Code::GetTestResult, &[&sized(&[1; 8]), &[0; 4]]);
    seed(Code::NvRead, &[&sized(&[b'u'; 36])]);
    let public = [&[1, 0x60, 0, 0, 0, 0x0b, 0, 2, 0, 2][..], &sized(&[]), &[0, 36]].concat();
    seed(Code::NvReadPublic, &[&sized(&public), &sized(&[1; 34])]);
    seeds
}

/// A TPM that does not know the salt proves nothing, whatever it answers: to the session's start (as far as the
/// first two bytes say), then to a command.
pub(super) fn session(bytes: &[u8]) {
    let Some((length, bytes)) = bytes.split_first_chunk() else { return };
    let (start, answer) = bytes.split_at(bytes.len().min(u16::from_be_bytes(*length).into()));
    let seeds = Seeds { salt: [1; 32], oaep: [2; 32], nonce: [3; 32] };
    let modulus = [0xc5; 256];
    let begun = session::start(SessionKind::Policy, Handle(0x8100_0002), &modulus, &seeds);
    let (_, starting) = begun.expect("the modulus is odd and has 2048 bits");
    let Ok(mut session) = starting.started(start) else { return };
    let nonce = [4; 32];
    let frame = session.authorize(command::unseal(Handle(0x8000_0000)), &[5; 34], Encrypted::Answer, nonce);
    assert!(frame.as_slice().len() > 40);
    assert!(session.verify(Code::Unseal, Encrypted::Answer, answer).is_err(), "forged");
}

pub(super) fn sessions() -> Vec<Vec<u8>> {
    let start = frame(0x8001, &[&[3, 0, 0, 0], &sized(&[9; 32])]);
    let length = u16::try_from(start.len()).expect("short").to_be_bytes();
    let area = [sized(&[8; 32]), vec![0x40], sized(&[7; 32])].concat();
    let answer = frame(0x8002, &[&[0, 0, 0, 34], &sized(&[6; 32]), &area]);
    vec![[&length[..], &start, &answer].concat()]
}

/// What the storage had kept for the vault: what is read is written the same.
pub(super) fn record(bytes: &[u8]) {
    if let Ok(sealed) = Sealed::parse(bytes) {
        let again = Sealed::parse(&sealed.emit()).expect("ours");
        assert_eq!(again.emit(), sealed.emit());
        if let Sealed::Tpm(sealed) = sealed {
            let _ = sealed.changed(&eventlog::reset_values());
            assert_ne!(
                sealed.measured_start(&[0xee; 32]),
                Some(false),
                "nobody makes a check up without the key"
            );
        }
    }
    if let Ok(kept) = Kept::parse(bytes, &STORAGE) {
        // Nobody makes them up without the key, so they are the seed's; but for those that an earlier version left in the
        // clear, which come back as they are.
        let again = kept.emit(&STORAGE, &NONCED);
        let read = Kept::parse(&again, &STORAGE).expect("it was emitted");
        assert!(again == bytes || bytes[1..] == [read.device, read.ecdh].concat());
    }
}

pub(super) fn records() -> Vec<Vec<u8>> {
    let values = eventlog::reset_values();
    let tpm = SealedByTpm::new(Selection::from_bits(0x7fdf), &values, true, &[1; 32], &[2; 130], &[3; 78]);
    let note = b"a note".iter().copied().collect();
    vec![
        Sealed::Tpm(tpm.expect("it fits")).emit().to_vec(),
        Sealed::Clear(Clear { key: STORAGE, note }).emit().to_vec(),
        software_keys(),
    ]
}

/// The storage's key, and the nonce, that software's keys of the seeds are encrypted with.
const STORAGE: [u8; 32] = [4; 32];
const NONCED: [u8; NONCE] = [8; NONCE];

fn software_keys() -> Vec<u8> {
    Kept { device: [5; 32], ecdh: [6; 32] }.emit(&STORAGE, &NONCED).to_vec()
}

/// No TPM is asked for anything.
enum NoTpm {}

impl Tpm for NoTpm {
    async fn transact(
        &mut self,
        _command: &[u8],
        _patience: Duration,
        _answer: &mut [u8; MAX_RESPONSE],
    ) -> Result<usize, NoAnswer> {
        match *self {}
    }

    async fn pause(&mut self, _time: Duration) {
        match *self {}
    }
}

struct Fixed;

impl Random for Fixed {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill(0x17);
    }
}

/// All that the storage had kept, the sealed key first (as far as the first two bytes say), to a vault without a TPM:
/// what it did not read it does not replace, and what it has kept it reads.
pub(super) fn kept(bytes: &[u8]) {
    let Some((length, bytes)) = bytes.split_first_chunk() else { return };
    let (sealed, kept) = bytes.split_at(bytes.len().min(u16::from_le_bytes(*length).into()));
    let (Ok(mut sealed), Ok(mut kept)) = (heapless::Vec::from_slice(sealed), heapless::Vec::from_slice(kept))
    else {
        return;
    };
    let was_empty = sealed.is_empty();
    let now = Duration::from_secs(1);
    let note: heapless::Vec<u8, MAX_NOTE> = heapless::Vec::from_slice(b"a note").expect("it is short");
    let mut opened = None;
    for life in 0..2 {
        let mut vault = Vault::<NoTpm, _>::new(None, Fixed);
        block_on(vault.storage(now, ToVault::Open { sealed: sealed.clone(), kept: kept.clone() }));
        block_on(vault.control(now, Request::Keep { note: note.clone() }));
        let mut key = None;
        for _ in 0..8 {
            match vault.take_for_storage() {
                Some(FromVault::Keep { sealed: new, kept: also, fresh }) => {
                    assert!(!fresh || was_empty, "a key that was there is not replaced");
                    (sealed, kept) = (new, also);
                    block_on(vault.storage(now, ToVault::Kept));
                    block_on(vault.control(now, Request::Keep { note: note.clone() }));
                }
                Some(FromVault::Key { key: given, .. }) => key = Some(given.0),
                Some(FromVault::Locked { .. } | FromVault::Hello { .. }) => key = None,
                None => break,
            }
        }
        assert!(life == 0 || key == opened, "the next life finds the same");
        let answer = block_on(vault.control(now, Request::Kept));
        match key {
            Some(_) => assert_eq!(answer, Answer::Kept { note: note.clone() }),
            None => assert!(matches!(answer, Answer::Refused { .. })),
        }
        opened = key;
    }
}

pub(super) fn kepts() -> Vec<Vec<u8>> {
    let seed = |sealed: &[u8], kept: &[u8]| {
        let length = u16::try_from(sealed.len()).expect("short").to_le_bytes();
        [&length[..], sealed, kept].concat()
    };
    let keys = software_keys();
    let mut seeds = vec![seed(b"", b""), seed(b"", &keys)];
    seeds.extend(records().iter().map(|record| seed(record, &keys)));
    seeds.push(seed(&records()[1], b""));
    seeds
}

/// Events end, and what is read is replayed, written and read again the same.
pub(super) fn event_log(bytes: &[u8]) {
    let Ok(log) = Log::parse(bytes) else { return };
    let events: Vec<_> = log.events().collect();
    assert!(events.len() <= bytes.len() / 16 + 1, "every event takes bytes");
    let all: Result<Vec<Event<'_>>, _> = events.into_iter().collect();
    let (Ok(all), Ok(values)) = (all, log.replay()) else { return };
    let mut written = vec![0; bytes.len() + 4096];
    let mut at = eventlog::emit_header(&mut written).expect("there is room");
    for event in &all {
        // Those without a digest tell of the log itself.
        at += event.emit(&mut written[at..]).unwrap_or(0);
    }
    let again = Log::parse(&written[..at]).expect("ours");
    if all.iter().all(|event| event.sha256.is_some()) {
        assert_eq!(again.replay(), Ok(values));
        assert!(again.events().map(Result::ok).eq(all.iter().map(|event| Some(*event))));
    }
    assert!(eventlog::differing(&values, &values).is_empty());
}

pub(super) fn event_logs() -> Vec<Vec<u8>> {
    let mut log = vec![0; 1024];
    let mut at = eventlog::emit_header(&mut log).expect("there is room");
    let locality = Event {
        pcr: 0,
        kind: eventlog::kind::NO_ACTION,
        sha256: Some([0; 32]),
        data: b"StartupLocality\0\x03",
    };
    let image = Event {
        pcr: 13,
        kind: eventlog::kind::IPL,
        sha256: Some(pcr::extended(&[0; 32], &[1; 32])),
        data: b"net",
    };
    for event in [locality, image] {
        at += event.emit(&mut log[at..]).expect("there is room");
    }
    log.truncate(at);
    vec![log]
}
