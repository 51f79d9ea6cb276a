//! The small controller, which a device on the same network could attack.

use std::cell::RefCell;

use proto_eve::wire::attest::{ZAttestReq, ZAttestReqType};
use proto_eve::wire::info::{ZInfoDevice, ZInfoMsg, ZInfoTypes, z_info_msg::InfoContent};
use proto_eve::{Message, Timestamp};
use xtask_controller::fuzz::Bench;

use super::input::{Input, put_piece};

/// A controller to each thread, for it is slow to make.
fn with_bench<T>(work: impl FnOnce(&mut Bench) -> T) -> T {
    thread_local! {
        static BENCH: RefCell<Option<Bench>> = const { RefCell::new(None) };
    }
    BENCH.with_borrow_mut(|bench| {
        let bench = bench.get_or_insert_with(|| {
            let name =
                format!("sarsen-fuzz-controller-{}-{:?}", std::process::id(), std::thread::current().id());
            let folder = std::env::temp_dir().join(name);
            let _ = std::fs::remove_dir_all(&folder);
            let certificate = include_str!("../../../../proto/eve/tests/vectors/device.pem");
            Bench::open(&folder, certificate).expect("a folder for temporary files")
        });
        work(bench)
    })
}

/// The paths of the API; the device's are behind the UUID.
const ACTIONS: [(&str, &str); 12] = [
    ("GET", "ping"),
    ("GET", "certs"),
    ("POST", "register"),
    ("POST", "uuid"),
    ("POST", "config"),
    ("POST", "attest"),
    ("POST", "info"),
    ("POST", "metrics"),
    ("POST", "newlogs"),
    ("POST", "apps/instanceid/id/a0a0a0a0-0000-4000-8000-000000000001/newlogs"),
    ("POST", "flowlog"),
    ("POST", "hardwarehealth"),
];

/// Which action, whether as it comes from a connection or as from the device itself, and the body; or a path
/// of its own.
pub(super) fn request(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let choice = input.byte();
    with_bench(|bench| {
        let action = ACTIONS.get(usize::from(choice & 0x3f)).copied();
        let status = match action {
            None => {
                let path = String::from_utf8_lossy(input.piece()).into_owned();
                bench.request("POST", &path, input.rest())
            }
            Some((method, action)) => {
                let device = bench.device();
                let path = match choice & 0x40 {
                    0 => format!("/api/v2/edgedevice/{action}"),
                    _ => format!("/api/v2/edgedevice/id/{device}/{action}"),
                };
                match choice & 0x80 {
                    0 => bench.request(method, &path, input.rest()),
                    _ => bench.message(method, &path, input.rest()),
                }
            }
        };
        assert!((100..=599).contains(&status) && status != 500, "status {status}");
    });
}

pub(super) fn requests() -> Vec<Vec<u8>> {
    let info = ZInfoMsg {
        ztype: ZInfoTypes::ZiDevice as i32,
        at_time_stamp: Some(Timestamp { seconds: 1_798_761_600, nanos: 0 }),
        info_content: Some(InfoContent::Dinfo(ZInfoDevice { ncpu: 4, memory: 512, ..Default::default() })),
        ..Default::default()
    };
    let nonce = ZAttestReq { req_type: ZAttestReqType::AttestReqNonce as i32, ..Default::default() };
    let mut lines = Vec::new();
    proto_eve::newlogs::append_line(
        &mut lines,
        &proto_eve::newlogs::Entry {
            severity: "info",
            source: "control",
            iid: "1",
            content: "up",
            msgid: 1,
            start: 1,
            timestamp: (1_798_761_600, 0),
            filename: "",
            function: "",
        },
    );
    let device = proto_eve::uuid::Uuid([0x5a; 16]);
    let comment = proto_eve::newlogs::device_comment(&device, "IMGA", "0.1.0");
    let logs = proto_eve::newlogs::Compressed::new(&lines)
        .file(proto_eve::newlogs::Owner::Device { comment: &comment }, 1);
    let mut seeds = vec![vec![0], vec![1]];
    for (choice, body) in
        [(3, Vec::new()), (4, Vec::new()), (5, nonce.encode_to_vec()), (6, info.encode_to_vec()), (8, logs)]
    {
        seeds.push([&[choice | 0xc0], body.as_slice()].concat());
    }
    for body in super::eve::envelopes() {
        seeds.push([&[2], body.as_slice()].concat());
        seeds.push([&[0x45], body.as_slice()].concat());
    }
    let mut path = vec![0x3f];
    put_piece(&mut path, b"/api/v2/edgedevice//id/x/config?query");
    seeds.push(path);
    seeds
}

pub(super) fn config(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    with_bench(|bench| match bench.config(&text) {
        Ok(message) => {
            let response = proto_eve::config::parse_response(&message);
            assert!(
                response.is_ok_and(|response| response.config.is_some()),
                "the device refuses what is served"
            );
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    });
}

pub(super) fn configs() -> Vec<Vec<u8>> {
    let one = "[device]\nname = 'story'\nreboot = 1\n\n[items]\n'timer.config.interval' = 5\n'debug.enable.vga' = false\n\n\
               [[datastore]]\nname = 'store'\nurl = 'http://10.0.2.2:8080/files'\n\n\
               [[app]]\nname = 'hello'\ncontent = 'hello'\nmemory_kib = 8192\nargs = 'greeting=hi'\n\n\
               [onboarding]\nserials = ['*']\n";
    let update = "[device]\nforce_fallback = 2\n\n[base]\nversion = '0.2.0'\ncontent = '2.update'\nretry = 1\n\
                  datastore = 'controller-https'\n\n\
                  [[fault]]\ntarget = 'content'\nkind = 'cut-at'\nnumber = 1000\ntimes = 1\n\n\
                  [[fault]]\ntarget = 'config'\nkind = 'range-total'\n";
    let missing = b"[[app]]\nname = 'one'\ncontent = 'hello.elf'\nmemory_kib = 8192\n".to_vec();
    vec![one.into(), update.into(), missing]
}
