//! Messages between our own domains, and what dom0 does about control's.

use dom0_toolstack::request::{MAX_APPLICATIONS, Requests};
use proto_manifest::table::Applications;
use proto_svc::device::{AppDefinition, AppId, AppState, StopReason};
use proto_svc::{MAX_MESSAGE, Message, decode, device as device_channel, encode, network as network_channel};
use proto_svc::{measure as measure_channel, sealing as sealing_channel, storage as storage_channel};
use proto_svc::{supervision as supervision_channel, text::clipped, vault as vault_channel};
use proto_xen::DomId;

use super::input::{Input, put_piece};

/// What was read is written so that it reads the same.
fn both_ways<M: Message + PartialEq + core::fmt::Debug>(bytes: &[u8]) {
    let Ok(message) = decode::<M>(bytes) else { return };
    let mut room = [0; MAX_MESSAGE];
    let again = encode(&message, &mut room).expect("a message that was read fits");
    assert_eq!(decode::<M>(again).as_ref(), Ok(&message));
}

pub(super) fn supervision(bytes: &[u8]) {
    both_ways::<supervision_channel::FromService>(bytes);
    both_ways::<supervision_channel::ToService>(bytes);
}

pub(super) fn device(bytes: &[u8]) {
    both_ways::<device_channel::FromControl>(bytes);
    both_ways::<device_channel::ToControl>(bytes);
}

pub(super) fn network(bytes: &[u8]) {
    both_ways::<network_channel::FromControl>(bytes);
    both_ways::<network_channel::ToControl>(bytes);
}

pub(super) fn storage(bytes: &[u8]) {
    both_ways::<storage_channel::ToStorage>(bytes);
    both_ways::<storage_channel::FromStorage>(bytes);
}

pub(super) fn vault(bytes: &[u8]) {
    both_ways::<vault_channel::ToVault>(bytes);
    both_ways::<vault_channel::FromVault>(bytes);
}

pub(super) fn sealing(bytes: &[u8]) {
    both_ways::<sealing_channel::ToVault>(bytes);
    both_ways::<sealing_channel::FromVault>(bytes);
}

pub(super) fn measure(bytes: &[u8]) {
    both_ways::<measure_channel::ToVault>(bytes);
    both_ways::<measure_channel::FromVault>(bytes);
}

fn encoded<M: Message>(message: &M) -> Vec<u8> {
    let mut room = [0; MAX_MESSAGE];
    encode(message, &mut room).expect("a seed fits").to_vec()
}

pub(super) fn supervisions() -> Vec<Vec<u8>> {
    use supervision_channel::{FromService, Level, LogRecord};
    let record = LogRecord { level: Level::Warn, at_ns: 1 << 40, text: clipped("vif 0: gone") };
    vec![encoded(&FromService::Hello { version: FromService::VERSION }), encoded(&FromService::Log(record))]
}

pub(super) fn storages() -> Vec<Vec<u8>> {
    use storage_channel::{Answer, FromStorage, Request, ToStorage};
    let bytes = heapless::Vec::from_slice(b"uuid").expect("it is short");
    let put = Request::Put { key: clipped("identity.device"), total: 4, offset: 0, bytes: bytes.clone() };
    let value = Answer::Value { total: 4, offset: 0, bytes };
    vec![
        encoded(&ToStorage::Ask { number: 7, request: put }),
        encoded(&FromStorage::Answer { number: 7, answer: value }),
    ]
}

pub(super) fn vaults() -> Vec<Vec<u8>> {
    use vault_channel::{Answer, FromVault, Request, ToVault};
    let nonce = heapless::Vec::from_slice(&[7; 12]).expect("it is short");
    vec![
        encoded(&ToVault::Ask { number: 7, request: Request::Quote { nonce } }),
        encoded(&FromVault::Answer { number: 7, answer: Answer::Signature([1; 32], [2; 32]) }),
    ]
}

pub(super) fn sealings() -> Vec<Vec<u8>> {
    use sealing_channel::{FromVault, StorageKey, ToVault};
    let sealed = heapless::Vec::from_slice(&[7; 200]).expect("it is short");
    vec![
        encoded(&ToVault::Open { sealed, kept: heapless::Vec::new() }),
        encoded(&FromVault::Key { key: StorageKey([7; 32]), fresh: false }),
    ]
}

pub(super) fn measures() -> Vec<Vec<u8>> {
    use measure_channel::{FromVault, ToVault};
    vec![
        encoded(&ToVault::Extend { number: 7, pcr: 13, digest: [7; 32] }),
        encoded(&FromVault::Value { number: 7, value: [7; 32] }),
    ]
}

const APP: AppId = AppId([7; 16]);

fn definition(image: &[u8]) -> AppDefinition {
    AppDefinition {
        app: APP,
        name: clipped("hello"),
        memory_kib: 8192,
        vcpus: 1,
        command_line: clipped("greeting=hi"),
        image_length: image.len() as u32,
        image_sha256: dom0_toolstack::image::sha256(image),
    }
}

pub(super) fn devices() -> Vec<Vec<u8>> {
    use device_channel::{FromControl, ToControl};
    let stopped = AppState::Stopped(StopReason::Crash);
    let mut seeds = request_messages();
    let why = heapless::Vec::from_slice(b"5 - it was ordered").expect("it is short");
    seeds.push(encoded(&FromControl::Reboot { why }));
    seeds.push(encoded(&ToControl::State { app: APP, state: stopped }));
    seeds
}

pub(super) fn networks() -> Vec<Vec<u8>> {
    use network_channel::{FromControl, Lease, ToControl, Uplink};
    let mut dns = heapless::Vec::new();
    let _ = dns.push([10, 0, 2, 3]);
    let lease =
        Lease { address: [10, 0, 2, 15], prefix: 24, gateway: Some([10, 0, 2, 2]), ntp: dns.clone(), dns };
    let uplink = Uplink { name: clipped("eth0"), mac: [2; 6], link: true, lease: Some(lease) };
    vec![encoded(&FromControl::Hello { version: FromControl::VERSION }), encoded(&ToControl::Uplink(uplink))]
}

const LIMITS: Applications = Applications { memory_mib: 64, count: 4, vcpus: 1, cpus: 0, image_kib: 4 };
const IMAGE_ROOM: usize = 6 << 10;

/// Messages of control, each with its length in front, to the machine that decides about them.
pub(super) fn requests(bytes: &[u8]) {
    use device_channel::FromControl;
    let mut input = Input::new(bytes);
    let mut requests = Requests::<()>::new(LIMITS, IMAGE_ROOM);
    let mut next = 1;
    while !input.is_empty() {
        let Ok(message) = decode::<FromControl>(input.piece()) else { continue };
        match message {
            FromControl::Define(definition) => {
                let _ = requests.define(&definition);
            }
            FromControl::Image { app, offset, bytes } => {
                let _ = requests.image_piece(app, offset, &bytes);
            }
            FromControl::Start { app } => {
                if let Ok(job) = requests.order(app, 1 << 20) {
                    assert_eq!(job.image.len(), job.definition.image_length as usize);
                    assert_eq!(dom0_toolstack::image::sha256(job.image), job.definition.image_sha256);
                    requests.started(app, DomId(next), 0, ());
                    next += 1;
                }
            }
            FromControl::Stop { app } => {
                let _ = requests.stop(app);
            }
            FromControl::Forget { app } => {
                let _ = requests.forget(app);
            }
            _ => drop(requests.ended(DomId(next / 2))),
        }
        let memory: u64 = requests.running().map(|(_, definition)| u64::from(definition.memory_kib)).sum();
        assert!(memory <= u64::from(LIMITS.memory_mib) * 1024, "more memory than is allowed");
        assert!(requests.all().count() <= usize::from(LIMITS.count).min(MAX_APPLICATIONS));
    }
}

fn request_messages() -> Vec<Vec<u8>> {
    use device_channel::FromControl;
    let image = b"an image";
    let piece = |offset: usize| FromControl::Image {
        app: APP,
        offset: offset as u32,
        bytes: heapless::Vec::from_slice(&image[offset..offset + 4]).expect("four bytes"),
    };
    [
        FromControl::Hello { version: FromControl::VERSION },
        FromControl::Define(definition(image)),
        piece(0),
        piece(4),
        FromControl::Start { app: APP },
        FromControl::QueryUsage,
        FromControl::Stop { app: APP },
        FromControl::Forget { app: APP },
    ]
    .iter()
    .map(encoded)
    .collect()
}

pub(super) fn request_lists() -> Vec<Vec<u8>> {
    let mut list = Vec::new();
    for message in request_messages() {
        put_piece(&mut list, &message);
    }
    vec![list]
}
