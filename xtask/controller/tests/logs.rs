//! Log files that a device sends again: their lines are counted and shown once.

mod device;

use device::{Device, gzip};
use proto_eve::newlogs::{Entry, append_line};
use xtask_controller::{Controller, Options};

/// What was written when a source and a start of a device had these numbers.
fn lines(start: u32, source: &str, numbers: std::ops::RangeInclusive<u64>, seconds: i64) -> String {
    let mut bytes = Vec::new();
    for msgid in numbers {
        let content = format!("line {msgid}");
        let (content, timestamp) = (content.as_str(), (seconds, 0));
        let entry = Entry { severity: "info", source, content, msgid, start, timestamp, ..Entry::default() };
        append_line(&mut bytes, &entry);
    }
    String::from_utf8(bytes).expect("text")
}

#[test]
fn a_line_that_comes_again_is_shown_once() {
    const EARLY: i64 = 1_800_000_000;
    let folder = tempfile::tempdir().expect("a folder");
    let controller = Controller::start(Options::new(folder.path())).expect("it starts");
    let mut device = Device::new(&controller, "one");
    let app = "8c1a1a52-0000-4000-8000-000000000001";
    device.onboard();
    let post = |lines: &str| device.post_bytes("newlogs", device.device_log(lines)).status;
    let post_app = |lines: &str| {
        let file = gzip(Some("hello"), None, lines);
        device.post_bytes(&format!("apps/instanceid/{app}/newlogs"), file).status
    };
    let seen = || {
        controller.observe(|seen| {
            let device = seen.devices.values().next().expect("known");
            (seen.logs.len(), seen.repeated.len(), device.repeated_lines)
        })
    };

    let first = lines(7, "net", 1..=3, EARLY);
    assert_eq!([post(&first), post(&first)], [201, 201]);
    assert_eq!(seen(), (3, 3, 3), "the same file twice");
    assert_eq!(post(&lines(7, "net", 2..=5, EARLY + 9)), 201);
    assert_eq!(seen(), (5, 5, 5), "one that overlaps, of another life of what sends");
    assert_eq!(post(&lines(7, "dom0", 1..=2, EARLY)), 201);
    assert_eq!(post_app(&lines(7, "net", 1..=2, EARLY)), 201);
    assert_eq!(seen(), (9, 5, 5), "another source, and an application of its name");
    assert_eq!(post(&lines(8, "net", 1..=3, EARLY)), 201);
    assert_eq!(seen(), (12, 5, 5), "a new start has the same numbers");
    assert_eq!([post(&first), post_app(&lines(7, "net", 1..=2, EARLY))], [201, 201]);
    assert_eq!(seen(), (12, 10, 10), "a file of an earlier start");

    controller.observe(|seen| {
        let all = seen.arrived_behind(0).expect("nothing is forgotten");
        let numbers: Vec<u64> = all.iter().map(|line| line.number).collect();
        assert_eq!(numbers, (1..=22).collect::<Vec<_>>());
        assert_eq!(all.iter().filter(|line| line.again).count(), 10);
        let last = seen.arrived_behind(20).expect("nothing is forgotten");
        assert!(last.iter().all(|line| line.again && line.app.is_some()), "{last:?}");
    });
    for start in 100..110 {
        assert_eq!(post(&lines(start, "net", 1..=600, EARLY)), 201);
    }
    controller.observe(|seen| {
        assert_eq!((seen.logs.len(), seen.logs.back().map(|line| line.number)), (5000, Some(6022)));
        assert!(seen.arrived_behind(1021).is_none(), "line 1022 is forgotten");
        assert_eq!(seen.arrived_behind(1022).map(|lines| lines.len()), Some(5000));
    });
    let journal = std::fs::read_to_string(folder.path().join("journal/device-logs.jsonl")).expect("written");
    assert_eq!(journal.lines().count(), 6010, "each once");
    assert!(controller.violations().is_empty(), "{:?}", controller.violations());
}
