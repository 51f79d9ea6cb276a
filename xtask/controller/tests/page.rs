//! The page: complete without its script, escaped, alive.

mod device;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use device::{Device, gzip, line};
use proto_eve::wire::info::ZSwState;
use xtask_controller::{Controller, Handle, Options};

fn get(controller: &Handle, path: &str, host: &str) -> (String, String) {
    let mut stream =
        TcpStream::connect((Ipv4Addr::LOCALHOST, controller.urls().web_port)).expect("connected");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    (head.to_lowercase(), body.to_owned())
}

fn told() -> (tempfile::TempDir, Handle, Device) {
    let folder = tempfile::tempdir().expect("a folder");
    let controller = Controller::start(Options::new(folder.path())).expect("it starts");
    controller.put_content("x", b"x").expect("written");
    let name = "<i>evil</i>";
    controller
        .set_config(&format!("[[app]]\nname = '{name}'\ncontent = 'x'\nmemory_kib = 64\n"))
        .expect("right");
    let mut device = Device::new(&controller, "one");
    let config = device.onboard();
    device.post("info", &device.device_info(&config));
    let id = config.apps[0].uuidandversion.as_ref().expect("an identity").uuid.clone();
    device.post("info", &device.app_info(&id, name, ZSwState::Error, Some("<script>alert(1)</script>")));
    let log = gzip(Some(name), None, &line("s", "<b>line</b>", 1));
    assert_eq!(device.post_bytes(&format!("apps/instanceid/{id}/newlogs"), log).status, 201);
    (folder, controller, device)
}

#[test]
fn the_page_says_everything_and_escapes_it() {
    let (_folder, controller, device) = told();
    let (head, page) = get(&controller, "/", "127.0.0.1");
    assert!(head.starts_with("http/1.1 200") && head.contains("default-src 'none'"), "{head}");
    assert!(page.contains(&device.id()));
    assert!(page.contains("&lt;i&gt;evil&lt;/i&gt;"));
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    assert!(page.contains("&lt;b&gt;line&lt;/b&gt;"));
    for markup in ["<i>evil", "<script>alert", "<b>line"] {
        assert!(!page.contains(markup), "{markup}");
    }
    for attribute in ["src=\"", "href=\""] {
        let mut values = page.split(attribute).skip(1);
        assert!(values.all(|value| value.starts_with(['/', '#']) && !value.starts_with("//")), "{attribute}");
    }
    for name in ["summary", "devices", "apps", "violations", "config", "events"] {
        let (head, part) = get(&controller, &format!("/part/{name}"), "localhost");
        assert!(head.starts_with("http/1.1 200"), "{name}: {head}");
        assert!(page.contains(&format!("id=\"part-{name}\"")) && !part.is_empty(), "{name}");
    }
    let (_, state) = get(&controller, "/api/state", "localhost");
    let state: serde_json::Value = serde_json::from_str(&state).expect("JSON");
    assert_eq!(state["devices"][0]["uuid"], device.id());
    assert_eq!(state["violations"].as_array().map(Vec::len), Some(0));
    for path in
        ["/nothing", "/part/nothing", "/content/../config.toml", "/content/%2e%2e/config.toml", "/content/"]
    {
        assert!(get(&controller, path, "localhost").0.starts_with("http/1.1 404"), "{path}");
    }
    assert!(get(&controller, "/", "evil.example").0.starts_with("http/1.1 421"));
}

#[test]
fn news_come_by_themselves() {
    let (_folder, controller, device) = told();
    let mut stream =
        TcpStream::connect((Ipv4Addr::LOCALHOST, controller.urls().web_port)).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
    write!(stream, "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
    let mut lines = BufReader::new(stream).lines().map(|line| line.expect("a line"));
    let mut next = || {
        let data = lines.by_ref().find_map(|line| line.strip_prefix("data: ").map(str::to_owned));
        serde_json::from_str::<serde_json::Value>(&data.expect("data")).expect("JSON")
    };
    let first = next();
    assert_eq!(first["parts"].as_array().map(Vec::len), Some(6), "everything at first");
    assert_eq!(first["lines"][0]["content"], "<b>line</b>");
    assert_eq!(device.post_bytes("newlogs", device.device_log(&line("net", "new", 1))).status, 201);
    let news = std::iter::from_fn(|| Some(next()))
        .find(|news| news["lines"].as_array().is_some_and(|lines| !lines.is_empty()))
        .expect("news");
    assert_eq!(news["lines"][0]["source"], "net");
    assert_eq!(news["lines"][0]["number"], 2);
    assert_eq!(news["lines"][0]["app"], serde_json::Value::Null);
}
