//! The controller's page in a browser: alive, complete, readable in both themes and on a narrow screen.
//!
//! Ignored unless asked for, because it needs Chromium: `cargo xtask setup --chromium`, then `cargo test -p xtask --test
//! page -- --ignored`. Pictures are left in `target/sarsen/page`.

#[path = "../controller/tests/device/mod.rs"]
mod device;

use std::io::Write as _;

use device::{Device, asn1, gzip, line, slot, zcert};
use flate2::Compression;
use flate2::write::GzEncoder;
use proto_eve::wire::attest::{TpmHashAlgo, TpmPcrValue, ZAttestQuote, ZAttestReq};
use proto_eve::wire::certs::{ZCert, ZCertType};
use proto_eve::wire::info::z_info_msg::InfoContent;
use proto_eve::wire::info::{
    BaseOsStatus, BaseOsSubStatus, BootReason, DataSecAtRest, DataSecAtRestStatus, ErrorInfo, PcrStatus,
    VaultInfo, ZSwState,
};
use proto_tpm::eventlog::{Event, emit_header, kind, reset_values};
use proto_tpm::pcr::extended;
use sha2::{Digest, Sha256};
use xtask::browser::{Browser, Theme, screenshot};
use xtask::paths;
use xtask_controller::{Controller, Handle, Options};

const CONFIG: &str = "[device]\nname = 'bench'\n[base]\nversion = '0.3.0'\ncontent = '0.3.0.update'\n\
                      [[app]]\nname = 'hello'\ncontent = 'hello.elf'\nmemory_kib = 8192\n";

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// A quote of a machine that measured these texts into these PCRs.
fn quoted(device: &Device, nonce: &[u8], events: &[(u32, &str)]) -> ZAttestQuote {
    let mut log = vec![0; 8192];
    let mut length = emit_header(&mut log).expect("room");
    let mut values = reset_values();
    for &(pcr, text) in events {
        let sha256 = sha256(text.as_bytes());
        let event = Event { pcr, kind: kind::IPL, sha256: Some(sha256), data: text.as_bytes() };
        length += event.emit(&mut log[length..]).expect("room");
        values[pcr as usize] = extended(&values[pcr as usize], &sha256);
    }
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(&log[..length]).expect("memory");
    let sized = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes(), bytes].concat();
    let attest = [
        &[0xff, 0x54, 0x43, 0x47, 0x80, 0x18],
        sized(b"quote key").as_slice(),
        &sized(nonce),
        &[0; 8 + 4 + 4 + 1 + 8],
        &[0, 0, 0, 1, 0, 0x0b, 3, 0xff, 0xff, 0],
        &sized(&sha256(&values[..16].concat())),
    ]
    .concat();
    let value = |(index, value): (usize, &[u8; 32])| TpmPcrValue {
        index: index as u32,
        hash_algo: TpmHashAlgo::Sha256 as i32,
        value: value.to_vec(),
    };
    ZAttestQuote {
        signature: asn1(&device.sign("ecdh.key.pem", &attest)),
        attest_data: attest,
        pcr_values: values[..16].iter().enumerate().map(value).collect(),
        tpm_binary_event_log: packed.finish().expect("memory"),
        ..Default::default()
    }
}

fn attest(device: &mut Device, events: &[(u32, &str)]) {
    let nonce =
        device.attest(&ZAttestReq { req_type: 2, ..Default::default() }).nonce.expect("a nonce").nonce;
    let quote = Some(quoted(device, &nonce, events));
    let answer = device.attest(&ZAttestReq { req_type: 3, quote, ..Default::default() });
    device.token = answer.quote_resp.expect("a verdict").integrity_token;
}

const EVENTS: [(u32, &str); 5] = [
    (0, "firmware"),
    (4, "selector"),
    (13, "sarsen table"),
    (13, "sarsen image net"),
    (14, "file:/config/server exist:true"),
];

/// A device that is attested, runs an application, and falls back from a version that panicked.
fn told(controller: &Handle, name: &str) -> Device {
    let mut device = Device::new(controller, name);
    device.fetch_certs();
    device.register();
    assert_eq!(device.ask_uuid().status, 200);
    let kind = ZCertType::CertTypeDeviceRestrictedSigning as i32;
    let cert = ZCert { r#type: kind, ..zcert(&device.bundle.files["ecdh.cert.pem"]) };
    device.attest(&ZAttestReq { req_type: 1, certs: vec![cert], ..Default::default() });
    attest(&mut device, &EVENTS);
    let config = device.fetch_config();
    let id = config.apps[0].uuidandversion.as_ref().expect("an identity").uuid.clone();
    let tell = |slots, start| {
        let mut message = device.device_info_with(&config, slots, start);
        let Some(InfoContent::Dinfo(info)) = &mut message.info_content else { unreachable!() };
        info.hsm_info = "swtpm, TPM 2.0".into();
        let status = DataSecAtRestStatus::DatasecAtRestEnabled as i32;
        info.data_sec_at_rest_info = Some(DataSecAtRest {
            status,
            info: "the key is sealed by the TPM".into(),
            vault_list: vec![VaultInfo {
                name: "Application Data Store".into(),
                status,
                pcr_status: PcrStatus::PcrEnabled as i32,
                ..Default::default()
            }],
        });
        assert_eq!(device.post("info", &message).status, 201);
    };
    let old = slot("IMGA", "0.2.0", "active", (ZSwState::Installed, BaseOsStatus::Updated));
    let first = (BootReason::PowerFail, "power");
    tell(
        vec![old.clone(), slot("IMGB", "0.1.0", "unused", (ZSwState::Installed, BaseOsStatus::None))],
        first,
    );
    let mut fetching =
        slot("IMGB", "0.3.0", "unused", (ZSwState::DownloadStarted, BaseOsStatus::Downloading));
    fetching.download_progress = 62;
    fetching.sub_status = BaseOsSubStatus::DownloadInprogress as i32;
    tell(vec![old.clone(), fetching], first);
    tell(
        vec![old.clone(), slot("IMGB", "0.3.0", "updating", (ZSwState::Installed, BaseOsStatus::Updating))],
        first,
    );
    let mut tested = slot("IMGB", "0.3.0", "inprogress", (ZSwState::Installed, BaseOsStatus::Updating));
    tested.activated = true;
    tested.sub_status = BaseOsSubStatus::UpdateTesting as i32;
    tested.sub_status_progress = 60;
    tell(vec![tested, old.clone()], (BootReason::Update, "version 0.3.0 is tried"));
    let mut bad = slot("IMGB", "0.3.0", "inprogress", (ZSwState::Installed, BaseOsStatus::Failed));
    bad.sw_err = Some(ErrorInfo {
        description: "it was started and fell back: dom0 panicked at boot.rs:80 [E-UPDATE-007]".into(),
        timestamp: Some(device::now()),
        severity: 3,
        ..Default::default()
    });
    tell(vec![old, bad], (BootReason::Kernel, "dom0 panicked at boot.rs:80"));
    device.post("info", &device.app_info(&id, "hello", ZSwState::DownloadStarted, None));
    device.post("info", &device.app_info(&id, "hello", ZSwState::Booting, None));
    device.post("info", &device.app_info(&id, "hello", ZSwState::Running, None));
    device.post("metrics", &device.metrics_with(&id, "hello"));
    let lines: String = (1..=30).map(|n| line("hello", &format!("tick {n}"), n)).collect();
    assert_eq!(
        device.post_bytes(&format!("apps/instanceid/{id}/newlogs"), gzip(Some("hello"), None, &lines)).status,
        201
    );
    let lines = line("control", "base OS: Settled -> Fetching", 1)
        + &line("net", "uplink eth0: 10.0.2.15/24 by DHCP", 1);
    assert_eq!(device.post_bytes("newlogs", device.device_log(&lines)).status, 201);
    device
}

/// How readable text is on its ground, as WCAG 2.1 counts contrast, for the least readable element of the page.
const CONTRAST: &str = r"(() => {
  const parts = (color) => color.match(/[\d.]+/g).map(Number);
  const light = (color) => {
    const [r, g, b] = parts(color).slice(0, 3).map((v) => {
      const c = v / 255;
      return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      const alpha = parts(color)[3];
      if (alpha === undefined || alpha > 0) return color;
    }
    return 'rgb(255, 255, 255)';
  };
  let worst = [99, ''];
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !element.checkVisibility()) continue;
    const [a, b] = [light(getComputedStyle(element).color), light(ground(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < worst[0]) worst = [ratio, element.outerHTML.slice(0, 120)];
  }
  return worst;
})()";

fn count(browser: &mut Browser, selector: &str) -> u64 {
    let found =
        browser.evaluate(&format!("document.querySelectorAll({selector:?}).length")).expect("a number");
    found.as_u64().expect("a number")
}

fn text(browser: &mut Browser, selector: &str) -> String {
    let found = browser.evaluate(&format!("document.querySelector({selector:?}).innerText")).expect("a text");
    found.as_str().expect("a text").to_owned()
}

#[test]
// `cargo xtask test` asks for it where there is Chromium, and says so where there is none: it is 520 MB to install.
#[ignore = "needs Chromium: `cargo xtask setup --chromium`"]
fn the_page_is_alive_complete_and_readable() {
    let folder = tempfile::tempdir().expect("a folder");
    let controller =
        Controller::start(Options { learn: true, ..Options::new(folder.path()) }).expect("it starts");
    controller.put_content("0.3.0.update", &[0; 1 << 20]).expect("written");
    controller.put_content("hello.elf", b"\x7fELF").expect("written");
    controller.set_config(CONFIG).expect("right");
    let device = told(&controller, "bench");
    let mut other = told(&controller, "tampered");
    let mut changed = EVENTS;
    changed[3].1 = "sarsen image evil";
    attest(&mut other, &changed);
    assert!(other.token.is_empty(), "the quote is refused");

    let url = controller.urls().web.clone();
    let pictures = paths::create(paths::output("page")).expect("a folder");
    for (theme, name) in [(Theme::Light, "light.png"), (Theme::Dark, "dark.png")] {
        let mut browser = Browser::open(&url, theme).expect("a browser");
        browser.wait("document.getElementById('link').textContent === 'live'", "the stream").expect("alive");
        assert_eq!(count(&mut browser, ".device"), 2);
        assert_eq!(count(&mut browser, ".slot"), 4);
        let card = text(&mut browser, &format!(".device:has(p.id):nth-child({})", at(&controller, &device)));
        for part in ["attested", "0.2.0", "0.3.0", "fell back: dom0 panicked", "trusted", "the key is sealed"]
        {
            assert!(card.contains(part), "{part}: {card}");
        }
        let refused = text(&mut browser, &format!(".device:nth-child({})", at(&controller, &other)));
        for part in ["quote refused", "PCR 13, event 2", "sarsen image evil"] {
            assert!(refused.contains(part), "{part}: {refused}");
        }
        assert_eq!(count(&mut browser, "tr.differs"), 1);
        let worst = browser.evaluate(CONTRAST).expect("a ratio");
        assert!(worst[0].as_f64().expect("a ratio") >= 4.5, "{theme:?}: {worst}");
        let picture = pictures.join(name);
        screenshot(&url, &picture, theme).expect("a picture");
        assert!(std::fs::read(&picture).expect("written").starts_with(b"\x89PNG"));
    }

    // News come by themselves, and what a person has opened stays open.
    let mut browser = Browser::open(&url, Theme::Light).expect("a browser");
    browser.wait("document.getElementById('link').textContent === 'live'", "the stream").expect("alive");
    let all = |of: &str| format!("[...document.querySelectorAll('details')].every((item) => item.open{of})");
    browser.evaluate(&all(" = true")).expect("opened");
    assert_eq!(device.post_bytes("newlogs", device.device_log(&line("net", "<b>news</b>", 9))).status, 201);
    let line =
        "[...document.querySelectorAll('#log li')].some((row) => row.textContent.includes('<b>news</b>'))";
    browser.wait(line, "a new line").expect("it comes");
    controller.revoke(device.uuid.expect("known")).expect("kept");
    browser
        .wait("!document.querySelector('.tile:nth-child(2)').innerText.startsWith('1')", "the tile")
        .expect("news");
    browser.wait(&all(""), "what was opened").expect("it stays open");
    // The filter leaves what it is to leave.
    let filter = "find.value = 'tick 3'; find.dispatchEvent(new Event('input')); \
                  [...log.children].filter((row) => !row.hidden).every((row) => row.textContent.includes('tick 3'))";
    assert_eq!(browser.evaluate(filter).expect("filtered"), true);
    assert!(count(&mut browser, "#log li:not([hidden])") >= 2);
    // On a telephone nothing is wider than the screen.
    browser.resize(375).expect("resized");
    let wide = browser.evaluate("document.documentElement.scrollWidth").expect("a width");
    assert_eq!(wide, 375);
    paths::write(&pictures.join("narrow.png"), browser.picture().expect("a picture")).expect("written");
    // And it says when the controller is gone.
    controller.shutdown();
    browser.wait("document.getElementById('link').className === 'link away'", "away").expect("told");
}

/// Which card is the device's: they stand in the order of UUIDs.
fn at(controller: &Handle, device: &Device) -> usize {
    let id = device.uuid.expect("known");
    controller.observe(|seen| seen.devices.keys().position(|known| *known == id)).expect("known") + 1
}
