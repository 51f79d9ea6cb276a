//! The device agent, against whatever servers answer.

use std::rc::Rc;

use proto_eve::{
    key::{PublicKey, SoftwareKey},
    pem,
};
use proto_svc::storage::{Answer, MAX_PIECE, Refusal, Request, Status};
use stubdoms_agent::{
    Agent, DeviceCommand, DeviceFacts, DomainUsage, FailureKind, HttpFailure, LinkCounters, LogRecord,
    Machine, Now, Provisioning, Response, Severity, Uplink, Uuid, WallTime, fuzz,
};

use super::input::{Input, put_piece};

macro_rules! text {
    ($name:literal) => {
        include_bytes!(concat!("../../../../stubdoms/agent/tests/keys/", $name)).to_vec()
    };
}

fn provisioned() -> Provisioning {
    Provisioning {
        server: b"controller.example:8443\n".to_vec(),
        root_certificate: text!("root.pem"),
        onboard_cert: Some(text!("onboard.pem")),
        onboard_key: Some(text!("onboard.key.pem")),
        device_cert: text!("device.pem"),
        device_key: text!("device.key.pem"),
        key_exchange_cert: None,
        serial: b"SN-1\n".to_vec(),
        soft_serial: b"soft-1".to_vec(),
        allow_vault_clean: false,
        ntp: b"ntp.example 10.0.2.2:8123".to_vec(),
    }
}

fn facts() -> DeviceFacts {
    DeviceFacts {
        architecture: "x86_64".into(),
        cpus: 4,
        memory_mib: 512,
        app_memory_kib: 65_536,
        app_vcpus: 1,
        content_bytes: 1 << 20,
        version: "0.1.0-test".into(),
        partition: "IMGA".into(),
        port: "eth0".into(),
        ..DeviceFacts::default()
    }
}

/// 2027-01-01, at start.
fn at(seconds: u64) -> Now {
    let wall = WallTime { seconds: 1_798_761_600 + seconds, nanos: 0 };
    Now { monotonic_ns: seconds * 1_000_000_000, wall: Some(wall) }
}

fn agent(files: Provisioning) -> Option<Agent> {
    let mut agent = Agent::new(files, facts(), 42, at(0)).ok()?;
    let uplink = Uplink { up: true, interface: "net0".into(), mac: [2, 0, 0, 0, 0, 1], ..Uplink::default() };
    agent.on_uplink(at(0), uplink);
    Some(agent)
}

fn device_key() -> (Rc<SoftwareKey>, Vec<u8>) {
    let pem = text!("device.pem");
    let key = SoftwareKey::from_pem(&text!("device.key.pem"), &pem).expect("a key of ours");
    let der = pem::certificates(&pem).expect("a certificate of ours").remove(0);
    match PublicKey::of_certificate(&der).expect("it has a key") {
        PublicKey::P256(public) => (Rc::new(key), public.to_sec1_point(false).as_bytes().to_vec()),
        PublicKey::P384(_) | PublicKey::Rsa(_) => panic!("our keys are of P-256"),
    }
}

/// The note that makes the certificates what they are, as the vault gives it back.
pub(super) fn identity_note(bytes: &[u8]) {
    thread_local!(static KEY: (Rc<SoftwareKey>, Vec<u8>) = device_key());
    KEY.with(|(key, point)| {
        let kept = fuzz::identity_note(key, point, bytes);
        assert_eq!(fuzz::identity_note(key, point, &kept), kept, "it is written once");
    });
}

pub(super) fn identity_notes() -> Vec<Vec<u8>> {
    let (key, point) = device_key();
    let note = fuzz::identity_note(&key, &point, b"");
    // Of a device without a TPM there are two entries.
    vec![note[..note.len() / 2 + 1].to_vec(), note]
}

/// A configuration whose sender was verified, applied to a device that knows who it is.
pub(super) fn config(bytes: &[u8]) {
    let Ok(response) = proto_eve::config::parse_response(bytes) else { return };
    let (Some(config), Some(mut agent)) = (response.config, agent(provisioned())) else { return };
    fuzz::apply(&mut agent, &config);
    for second in [1, 2, 600] {
        turn(&mut agent, second);
    }
    // The same again changes nothing that panics.
    fuzz::apply(&mut agent, &config);
    turn(&mut agent, 601);
}

/// Polls and takes all that the agent wants done; it wants a bounded number of things.
fn turn(agent: &mut Agent, second: u64) {
    agent.poll(at(second));
    for _ in 0..10_000 {
        let wants = agent.next_request().is_some()
            || agent.next_content_command().is_some()
            || agent.next_app_command().is_some()
            || agent.next_device_command().is_some();
        if !wants {
            return;
        }
    }
    panic!("an agent that never has enough");
}

/// The names of what is kept, in the order in which it is asked for; those of a file of the log and of a metrics message
/// come last.
const KEPT: [&str; 10] = [
    "identity",
    "certs",
    "boots",
    "boots.number",
    "commands",
    "update",
    "config",
    "config.backup",
    "log.00000005",
    "metrics.00000002",
];
/// Those that storage lists.
const LISTED: usize = 8;

/// What storage has kept of earlier starts, a piece for each name: whatever that is, the agent goes on, and asks for a
/// bounded number of things. A file of the log, or a metrics message, that is accepted is written as it was read.
pub(super) fn kept(bytes: &[u8]) {
    let Some(mut agent) = agent(provisioned()) else { panic!("the files are good") };
    let mut input = Input::new(bytes);
    let values = KEPT.map(|name| (name, input.piece()));
    fuzz::piece(values[LISTED].1);
    fuzz::metrics_piece(values[LISTED + 1].1);
    agent.expect_storage();
    agent.on_storage(at(1), true);
    for second in [1, 2, 70, 200] {
        for _ in 0..10_000 {
            let Some((number, request)) = agent.next_storage_request() else { break };
            agent.on_storage_answer(at(second), number, stored(&values, &request));
        }
        assert!(agent.next_storage_request().is_none(), "an agent that never has enough");
        turn(&mut agent, second);
    }
}

fn stored(values: &[(&str, &[u8])], request: &Request) -> Answer {
    let refused = |refusal| Answer::Refused { refusal, reason: Default::default() };
    match request {
        Request::Status => Answer::Status(Status {
            open: true,
            closed: None,
            reason: Default::default(),
            disk: Default::default(),
            bytes: 1,
            quota: 1,
            used: 1,
            disk_errors: 0,
            damaged: 0,
        }),
        Request::Next { after } => {
            let next = KEPT[LISTED..].iter().find(|name| after.as_str() < **name);
            Answer::Name(next.map(|name| (*name).try_into().expect("it is a name")))
        }
        Request::Get { key, offset } => {
            let value = values.iter().find(|(name, value)| *name == key.as_str() && !value.is_empty());
            let Some((_, value)) = value else { return refused(Refusal::NoValue) };
            let rest = value.get(*offset as usize..).unwrap_or_default();
            let piece = &rest[..rest.len().min(MAX_PIECE)];
            let bytes = heapless::Vec::from_slice(piece).expect("no longer than a piece");
            Answer::Value { total: value.len() as u32, offset: *offset, bytes }
        }
        Request::Put { .. } | Request::Delete { .. } => Answer::Done,
        _ => refused(Refusal::NoSlot),
    }
}

/// Each value alone, as the agent writes it, and all together.
pub(super) fn all_kept() -> Vec<Vec<u8>> {
    let values: [&[u8]; KEPT.len()] = [
        b"6ba7b810-9dad-11d1-80b4-00c04fd430c8\nmaker\nmodel",
        b"",
        b"1 3\n2 1700000000 ordered\n4 - power",
        b"1 3 77",
        b"1 2 3 4",
        b"1\n",
        b"",
        b"",
        &fuzz::piece_seed(),
        &fuzz::metrics_seed(),
    ];
    let list = |only: Option<usize>| {
        let mut bytes = Vec::new();
        for (at, value) in values.iter().enumerate() {
            put_piece(&mut bytes, if only.is_none_or(|only| only == at) { value } else { b"" });
        }
        bytes
    };
    (0..values.len()).map(Some).chain([None]).map(list).collect()
}

/// What an earlier life left with dom0: about the device, the log and a console. Whatever that is, the agent counts
/// on from it, and what it leaves itself has its bounds.
pub(super) fn notes(bytes: &[u8]) {
    let Some(mut agent) = agent(provisioned()) else { panic!("the files are good") };
    let mut input = Input::new(bytes);
    let app = Uuid([1; 16]);
    agent.recall([], input.piece());
    agent.goes_on(None, input.piece());
    agent.goes_on(Some(app), input.piece());
    let record =
        LogRecord { severity: Severity::Info, source: "net".into(), content: "a line".into(), at: None };
    for mark in 1..4 {
        agent.log(at(mark), &record, mark);
        let counters = LinkCounters { tx_bytes: 3 - mark, rx_bytes: mark, ..LinkCounters::default() };
        agent.on_uplink(at(mark), Uplink { up: true, counters, ..Uplink::default() });
        let cpu_ns = 7 * mark;
        agent.on_usage(at(mark), DomainUsage { name: "net".into(), app: None, memory_kib: 1, cpu_ns });
        agent.on_machine(at(mark), Machine::default());
    }
    fuzz::apply(&mut agent, &proto_eve::wire::config::EdgeDevConfig::default());
    while let Some(command) = agent.next_device_command() {
        assert!(!matches!(command, DeviceCommand::Note(note) if note.len() > 800));
    }
    turn(&mut agent, 600);
    while let Some(taken) = agent.next_taken() {
        assert!(taken.note.len() <= 256);
    }
}

/// What agents leave.
pub(super) fn notes_left() -> Vec<Vec<u8>> {
    let notes: [[&str; 3]; 3] = [
        ["1 3,1,-,2,3,4 seen 1000.5 10 0 5 6 7 8 9 10", "1 control=12 dom0=345 net=6", "1 =77"],
        ["1 - - - ? 18446744073709551615 18446744073709551615", "1 net=18446744073709551615", "1"],
        ["1 4294967295 0", "1", ""],
    ];
    let seed = |notes: [&str; 3]| {
        let mut seed = Vec::new();
        notes.iter().for_each(|note| put_piece(&mut seed, note.as_bytes()));
        seed
    };
    notes.map(seed).to_vec()
}

/// Answers to the requests as they come: status, kind of content, body.
pub(super) fn answers(bytes: &[u8]) {
    let Some(mut agent) = agent(provisioned()) else { panic!("the files are good") };
    let mut input = Input::new(bytes);
    let mut second = 0;
    while !input.is_empty() {
        second += 1 + u64::from(input.byte());
        agent.poll(at(second));
        while let Some(request) = agent.next_request() {
            let result = answer(&mut input);
            agent.on_response(at(second), request.id, result);
        }
        while agent.next_device_command().is_some() {}
    }
}

fn answer(input: &mut Input<'_>) -> Result<Response, HttpFailure> {
    let kind = input.byte();
    if kind & 15 == 15 {
        let kinds = [FailureKind::Timeout, FailureKind::TooLarge, FailureKind::Tls, FailureKind::Refused];
        let kind = kinds[usize::from(kind >> 4) % kinds.len()];
        return Err(HttpFailure { kind, text: "no".into() });
    }
    let statuses = [200, 201, 304, 400, 401, 403, 404, 409, 413, 500, 503];
    let status = match statuses.get(usize::from(kind & 15)) {
        Some(status) => *status,
        None => input.half(),
    };
    let content_type = (kind & 16 == 0).then(|| "application/x-proto-binary".to_owned());
    Ok(Response { status, content_type, body: input.piece().to_vec() })
}

/// The right certificates, an envelope of a stranger, refusals.
pub(super) fn answer_lists() -> Vec<Vec<u8>> {
    let mut seed = Vec::new();
    for body in [super::eve::envelopes(), super::eve::certs_seeds(), super::eve::attests()].concat() {
        seed.extend([1, 0]);
        put_piece(&mut seed, &body);
    }
    let refused: Vec<u8> = (0..40).flat_map(|turn| [30, turn % 16, 0, 0]).collect();
    vec![seed, refused]
}

/// Provisioning files, one of which is the input.
pub(super) fn provisioning(bytes: &[u8]) {
    let Some((&which, content)) = bytes.split_first() else { return };
    let mut files = provisioned();
    let content = content.to_vec();
    match which % 10 {
        0 => files.server = content,
        1 => files.root_certificate = content,
        2 => files.onboard_cert = Some(content),
        3 => files.onboard_key = Some(content),
        4 => files.device_cert = content,
        5 => files.device_key = content,
        6 => files.key_exchange_cert = Some(content),
        7 => files.serial = content,
        8 => files.ntp = content,
        _ => files.soft_serial = content,
    }
    if let Err(error) = Agent::new(files, facts(), 42, at(0)) {
        assert!(!error.to_string().is_empty());
    }
}

pub(super) fn files() -> Vec<Vec<u8>> {
    let files = provisioned();
    let contents = [
        files.server,
        files.root_certificate,
        files.onboard_cert.unwrap_or_default(),
        files.onboard_key.unwrap_or_default(),
        files.device_cert,
        files.device_key,
    ];
    contents.iter().zip(0u8..).map(|(content, which)| [&[which], content.as_slice()].concat()).collect()
}

/// That the seeds of configurations are configurations.
#[cfg(test)]
#[test]
fn a_seed_is_applied() {
    let seeds = super::eve::configs();
    assert!(seeds.iter().all(|seed| proto_eve::config::parse_response(seed).is_ok()));
    let mut agent = agent(provisioned()).expect("the files are good");
    let config = proto_eve::config::parse_response(&seeds[1]).unwrap().config.unwrap();
    fuzz::apply(&mut agent, &config);
    agent.poll(at(1));
    assert!(agent.next_content_command().is_some(), "nothing is downloaded");
}
