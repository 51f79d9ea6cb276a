//! The base OS: asked for by the file, fetched in ranges, and followed from what the device tells.

mod device;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use device::{Device, slot};
use proto_eve::wire::config::{DsType, EdgeDevConfig};
use proto_eve::wire::info::{BaseOsStatus, BaseOsSubStatus, BootReason, ErrorInfo, ZSwState};
use xtask_controller::{Controller, Handle, Options};

const SOON: Duration = Duration::from_secs(5);
const PAYLOAD: &[u8] = b"0123456789abcdef";
const BASE: &str = "[base]\nversion = '0.2.0'\ncontent = '0.2.0.update'\n";

fn start() -> (tempfile::TempDir, Handle, Device, EdgeDevConfig) {
    let folder = tempfile::tempdir().expect("a folder");
    let controller = Controller::start(Options::new(folder.path())).expect("it starts");
    controller.put_content("0.2.0.update", PAYLOAD).expect("written");
    controller.set_config(BASE).expect("right");
    let mut device = Device::new(&controller, "one");
    let config = device.onboard();
    (folder, controller, device, config)
}

#[test]
fn an_update_is_asked_for_and_followed_until_it_runs() {
    let (_folder, controller, device, config) = start();
    let base = config.baseos.as_ref().expect("a base OS");
    assert_eq!((base.base_os_version.as_str(), base.activate), ("0.2.0", true));
    let id = device.uuid.expect("onboarded");
    let told = |slots, start| {
        assert_eq!(device.post("info", &device.device_info_with(&config, slots, start)).status, 201);
    };
    let first = (BootReason::First, "the first one");
    let old = slot("IMGA", "0.1.0", "active", (ZSwState::Installed, BaseOsStatus::Updated));
    let other = |state, status, progress| {
        let mut other = slot("IMGB", "0.2.0", "unused", (state, status));
        other.download_progress = progress;
        other
    };
    let empty = slot("IMGB", "", "unused", (ZSwState::Initial, BaseOsStatus::None));
    told(vec![old.clone(), empty], first);
    let boot = controller.wait_boot(id, 0, SOON).expect("told");
    assert_eq!((boot.number, boot.reason.as_str(), boot.version.as_str()), (1, "FIRST", "0.1.0"));
    controller.wait_version(id, "0.1.0", SOON).expect("it runs");

    let fetching = other(ZSwState::DownloadStarted, BaseOsStatus::Downloading, 40);
    told(vec![old.clone(), fetching], first);
    let seen = controller.wait_slot(id, "a download", SOON, |slot| slot.progress == 40).expect("told");
    assert_eq!((seen.state.as_str(), seen.status.as_str()), ("DOWNLOAD_STARTED", "DOWNLOADING"));
    let armed = slot("IMGB", "0.2.0", "updating", (ZSwState::Installed, BaseOsStatus::Updating));
    told(vec![old.clone(), armed], first);

    let mut tested = slot("IMGB", "0.2.0", "inprogress", (ZSwState::Installed, BaseOsStatus::Updating));
    tested.activated = true;
    tested.sub_status = BaseOsSubStatus::UpdateTesting as i32;
    let mut former = old.clone();
    former.activated = false;
    let update = (BootReason::Update, "an update");
    told(vec![tested, former.clone()], update);
    let boot = controller.wait_boot(id, boot.number, SOON).expect("told");
    assert_eq!(
        (boot.label.as_str(), boot.reason.as_str(), boot.text.as_str()),
        ("IMGB", "UPDATE", "an update")
    );
    let timed_out = controller.wait_version(id, "0.2.0", Duration::ZERO).expect_err("it is under test");
    assert!(timed_out.to_string().contains("version 0.2.0 as the proven one"), "{timed_out}");
    let proven = slot("IMGB", "0.2.0", "active", (ZSwState::Installed, BaseOsStatus::Updated));
    told(vec![proven, former], update);
    assert_eq!(controller.wait_version(id, "0.2.0", SOON).expect("it runs").label, "IMGB");

    let steps: Vec<String> = controller.observe(|seen| {
        let steps = seen.devices[&id].updates.iter().map(|step| &step.slot);
        steps.map(|slot| format!("{} {} {}", slot.label, slot.partition, slot.status)).collect()
    });
    assert_eq!(
        steps,
        [
            "IMGA active UPDATED",
            "IMGB unused ",
            "IMGB unused DOWNLOADING",
            "IMGB updating UPDATING",
            "IMGB inprogress UPDATING",
            "IMGA active UPDATED",
            "IMGB active UPDATED",
        ]
    );
    assert_eq!(controller.violations(), []);
}

#[test]
fn a_version_that_failed_is_told_with_its_reason() {
    let (_folder, controller, device, config) = start();
    let id = device.uuid.expect("onboarded");
    let old = slot("IMGA", "0.1.0", "active", (ZSwState::Installed, BaseOsStatus::Updated));
    let mut bad = slot("IMGB", "0.2.0", "inprogress", (ZSwState::Installed, BaseOsStatus::Failed));
    bad.sw_err = Some(ErrorInfo {
        description: "it fell back: dom0 panicked".into(),
        timestamp: Some(device::now()),
        ..Default::default()
    });
    let fallback = (BootReason::Kernel, "dom0: panic");
    let mut info = device.device_info_with(&config, vec![old.clone(), bad.clone()], fallback);
    assert_eq!(device.post("info", &info).status, 201);
    let error = controller.wait_version_error(id, "0.2.0", "panicked", SOON).expect("told");
    assert_eq!(error, "it fell back: dom0 panicked");
    let none =
        controller.wait_version_error(id, "0.1.0", "panicked", Duration::ZERO).expect_err("it is well");
    assert!(none.to_string().contains("an error of version 0.1.0 with \"panicked\""), "{none}");
    // A version without an error contains no words, too.
    for version in ["0.1.0", "0.2.0"] {
        let refused = controller.wait_version_error(id, version, "", SOON).expect_err("nothing is asked");
        assert!(refused.to_string().contains("no words are named"), "{refused}");
    }
    let events = |part: &str| {
        controller.observe(|seen| seen.events.iter().filter(|event| event.text.contains(part)).count())
    };
    assert_eq!(events("start 1: version 0.1.0 from IMGA, KERNEL (dom0: panic)"), 1);
    assert_eq!(events("IMGB, 0.2.0: inprogress, installed, failed: it fell back: dom0 panicked"), 1);
    assert_eq!(controller.violations(), []);

    // The same again is no news; what contradicts itself is remarked upon.
    assert_eq!(device.post("info", &info).status, 201);
    assert_eq!(events("start "), 1);
    bad.user_status = BaseOsStatus::Updated as i32;
    bad.partition_state = "good".into();
    info = device.device_info_with(&config, vec![old, bad], fallback);
    assert_eq!(device.post("info", &info).status, 201);
    let reasons: Vec<String> = controller.violations().into_iter().map(|remark| remark.reason).collect();
    for part in ["partitionState is none", "userStatus is not FAILED"] {
        assert!(reasons.iter().any(|reason| reason.contains(part)), "{part}: {reasons:?}");
    }
}

#[test]
fn the_payload_comes_in_ranges_over_both_ways() {
    let (_folder, controller, mut device, config) = start();
    let base = config.baseos.as_ref().expect("a base OS");
    let tree =
        config.content_info.iter().find(|tree| tree.uuid == base.content_tree_uuid).expect("its content");
    assert_eq!((tree.url.as_str(), tree.max_size_bytes), ("0.2.0.update", PAYLOAD.len() as u64));
    // Over plain HTTP, as other content.
    let mut stream =
        TcpStream::connect((Ipv4Addr::LOCALHOST, controller.urls().web_port)).expect("connected");
    let ask =
        "GET /content/0.2.0.update HTTP/1.1\r\nHost: h\r\nRange: bytes=10-\r\nConnection: close\r\n\r\n";
    stream.write_all(ask.as_bytes()).expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    assert!(text.starts_with("HTTP/1.1 206") && text.ends_with("\r\n\r\nabcdef"), "{text}");

    // And over TLS, which the configuration asks for by naming the other datastore.
    controller.set_config(&format!("{BASE}datastore = 'controller-https'\n")).expect("right");
    device.config_hash.clear();
    let config = device.fetch_config();
    let base = config.baseos.as_ref().expect("a base OS");
    let tree =
        config.content_info.iter().find(|tree| tree.uuid == base.content_tree_uuid).expect("its content");
    let store = config.datastores.iter().find(|store| store.id == tree.ds_id).expect("its store");
    assert_eq!(store.d_type, DsType::DsHttps as i32);
    assert_eq!(store.fqdn, format!("https://{}:{}", device.name, device.port));
    assert_eq!(store.ds_cert_pem, [device.bundle.files["root-certificate.pem"].clone()]);
    let path = format!("/{}/{}", store.dpath, tree.url);
    let reply = device.send_with("GET", &path, "Range: bytes=4-7\r\n", b"").expect("an answer");
    assert_eq!((reply.status, reply.body.as_slice()), (206, b"4567".as_slice()));
    assert_eq!(reply.header("content-range"), Some("bytes 4-7/16"));
    assert_eq!(controller.violations(), []);
}

#[test]
fn an_edited_file_is_another_request() {
    let (folder, controller, mut device, _config) = start();
    let edit = |text: &str| std::fs::write(folder.path().join("config.toml"), text).expect("written");
    let next = |device: &mut Device| {
        let version = controller.observe(|seen| seen.devices.values().find_map(|view| view.config_sent));
        let changed = controller.wait_for("another version", SOON, |seen| {
            let number =
                seen.events.iter().filter(|event| event.text.starts_with("configuration version")).count();
            (Some(number as u64) > version).then_some(())
        });
        changed.expect("it is read");
        device.fetch_config()
    };
    edit(&format!("[device]\nforce_fallback = 1\n{BASE}activate = false\nretry = 7\n"));
    let config = next(&mut device);
    let base = config.baseos.expect("a base OS");
    assert_eq!((base.activate, base.retry_update.map(|command| command.counter)), (false, Some(7)));
    let item =
        config.config_items.iter().find(|item| item.key == "force.fallback.counter").expect("the item");
    assert_eq!(item.value, "1");
    edit("");
    assert_eq!(next(&mut device).baseos, None);
}
