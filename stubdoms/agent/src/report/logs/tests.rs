//! Tests of the log's files.

use super::*;
use crate::http::FailureKind;

fn now(seconds: u64) -> Now {
    Now {
        monotonic_ns: seconds * 1_000_000_000,
        wall: Some(WallTime { seconds: 1_700_000_000 + seconds, nanos: 0 }),
    }
}

fn record(severity: Severity, content: &str) -> LogRecord {
    LogRecord { severity, source: "net".into(), content: content.into(), at: None }
}

fn due(logs: &Logs, seconds: u64) -> Option<(Upload, Endpoint, Vec<u8>)> {
    logs.due(now(seconds).at(), &Uuid([1; 16]), "IMGA", "1.0")
}

/// The lines of a gzip file whose header ends with one text.
fn lines(gzip: &[u8]) -> String {
    let body = 10 + gzip[10..].iter().position(|&byte| byte == 0).unwrap() + 1;
    let bytes = miniz_oxide::inflate::decompress_to_vec(&gzip[body..gzip.len() - 8]).unwrap();
    String::from_utf8(bytes).unwrap()
}

fn ok() -> Outcome {
    Outcome::Success { status: 201, payload: Vec::new() }
}

#[test]
fn a_start_is_seen_after_ten_seconds_and_then_by_interval() {
    let mut logs = Logs::new(now(0).at(), 1 << 20, 1);
    let mut random = Random::new(1);
    logs.device_line(now(0), &record(Severity::Info, "hello"), 0);
    logs.device_line(now(0), &record(Severity::Debug, "not uploaded"), 0);
    assert_eq!(logs.closing_deadline(), Some(now(10).at()));
    assert!(due(&logs, 9).is_none());
    logs.step(now(10), |_| String::new());
    let (upload, endpoint, gzip) = due(&logs, 10).unwrap();
    assert_eq!(endpoint, Endpoint::Newlogs);
    assert_eq!(
        lines(&gzip),
        "{\"severity\":\"info\",\"source\":\"net\",\"content\":\"hello\",\"msgid\":1,\
         \"tags\":{\"start\":\"1\"},\"timestamp\":{\"seconds\":1700000000,\"nanos\":0}}\n"
    );
    logs.on_answer(now(10).at(), upload, &ok(), &mut random);
    assert!(logs.is_drained());
    logs.device_line(now(20), &record(Severity::Warning, "again"), 0);
    assert_eq!(logs.closing_deadline(), Some(now(320).at()));
}

#[test]
fn application_lines_go_to_their_own_files() {
    let mut logs = Logs::new(now(0).at(), 1 << 20, 1);
    let app = Uuid([9; 16]);
    logs.app_line(now(0), app, "hello", Some(7), "one", 0);
    logs.app_line(now(0), app, "hello", Some(7), "two", 0);
    logs.end_app(now(1), app, "hello");
    let (_, endpoint, gzip) = due(&logs, 1).unwrap();
    assert_eq!(endpoint, Endpoint::AppNewlogs(app));
    assert_eq!(&gzip[10..16], b"hello\0");
    let text = lines(&gzip);
    assert_eq!(text.lines().count(), 2);
    assert!(text.contains("\"content\":\"two\",\"msgid\":2,") && text.contains("\"iid\":\"7\""));
}

/// The next that is taken, without its note.
fn taken(logs: &mut Logs) -> Option<(Option<Uuid>, u64)> {
    logs.next_taken().map(|taken| (taken.app, taken.before))
}

#[test]
fn numbers_go_on_in_a_later_life() {
    let app = Uuid([9; 16]);
    let mut random = Random::new(1);
    let numbers = |gzip: &[u8]| -> Vec<String> {
        let text = lines(gzip);
        let number = |line: &str| Some(line.split_once("\"msgid\":")?.1.split(',').next()?.into());
        text.lines().filter_map(number).collect()
    };
    let upload_one = |logs: &mut Logs, random: &mut Random| {
        let (upload, _, gzip) = due(logs, 1000).unwrap();
        logs.on_answer(now(0).at(), upload, &ok(), random);
        logs.next = now(0).at();
        numbers(&gzip)
    };
    let mut logs = Logs::new(now(0).at(), 1 << 20, 1);
    logs.device_line(now(0), &record(Severity::Info, "one"), 2);
    logs.app_line(now(0), app, "hello", None, "one", 4);
    logs.close_all(now(0), |_| String::new());
    // These two are not uploaded: a later life is given them once more.
    logs.device_line(now(0), &record(Severity::Info, "two"), 3);
    logs.app_line(now(0), app, "hello", None, "two", 8);
    assert_eq!(upload_one(&mut logs, &mut random), ["1"]);
    assert_eq!(upload_one(&mut logs, &mut random), ["1"]);
    let left: Vec<Taken> = core::iter::from_fn(|| logs.next_taken()).collect();
    assert_eq!(left.iter().map(|taken| taken.before).collect::<Vec<_>>(), [2, 4]);

    let mut logs = Logs::new(now(0).at(), 1 << 20, 1);
    left.iter().for_each(|taken| logs.goes_on(taken.app, &taken.note));
    logs.device_line(now(0), &record(Severity::Info, "two"), 3);
    let other = LogRecord { source: "control".into(), ..record(Severity::Info, "first of its source") };
    logs.device_line(now(0), &other, 4);
    logs.app_line(now(0), app, "another name", None, "two", 8);
    logs.close_all(now(0), |_| String::new());
    assert_eq!(upload_one(&mut logs, &mut random), ["2", "1"]);
    assert_eq!(upload_one(&mut logs, &mut random), ["2"]);
    let notes = core::iter::from_fn(|| logs.next_taken()).map(|taken| taken.note);
    assert_eq!(notes.collect::<Vec<_>>(), [&b"1 control=1 net=2"[..], b"1 =2"]);
}

#[test]
fn marks_are_taken_when_the_controller_has_the_lines() {
    let mut logs = Logs::new(now(0).at(), 1 << 20, 1);
    let mut random = Random::new(1);
    let app = Uuid([9; 16]);
    // What is not uploaded is taken at once, unless something before it waits.
    logs.device_line(now(0), &record(Severity::Debug, "not uploaded"), 2);
    assert_eq!(taken(&mut logs), Some((None, 2)));
    logs.device_line(now(0), &record(Severity::Info, "one"), 3);
    logs.device_line(now(0), &record(Severity::Debug, "not uploaded"), 4);
    logs.pass_over(app, 50);
    assert_eq!(taken(&mut logs), Some((Some(app), 50)));
    logs.app_line(now(0), app, "hello", None, "two", 60);
    assert_eq!(taken(&mut logs), None);
    logs.close_all(now(1), |_| String::new());
    // More comes while the files wait.
    logs.device_line(now(1), &record(Severity::Info, "three"), 5);
    logs.pass_over(app, 70);
    let (upload, ..) = due(&logs, 1).unwrap();
    logs.on_answer(now(1).at(), upload, &Outcome::NoAnswer(FailureKind::Timeout), &mut random);
    assert_eq!(taken(&mut logs), None);
    logs.on_answer(now(1).at(), upload, &ok(), &mut random);
    assert_eq!((taken(&mut logs), taken(&mut logs)), (Some((None, 4)), None));
    let (upload, ..) = due(&logs, 1000).unwrap();
    logs.on_answer(now(1000).at(), upload, &ok(), &mut random);
    assert_eq!(taken(&mut logs), Some((Some(app), 70)));
    logs.close_all(now(1001), |_| String::new());
    let (upload, ..) = due(&logs, 2000).unwrap();
    logs.on_answer(now(2000).at(), upload, &ok(), &mut random);
    assert_eq!((taken(&mut logs), taken(&mut logs)), (Some((None, 5)), None));
}

#[test]
fn a_file_that_is_dropped_need_not_be_kept_by_others() {
    let mut logs = Logs::new(now(0).at(), 0, 1);
    for mark in 1..4 {
        logs.device_line(now(mark), &record(Severity::Info, "hello"), mark);
        logs.close_all(now(mark), |_| String::new());
    }
    assert_eq!((logs.lost_files, taken(&mut logs)), (2, Some((None, 2))));
}

#[test]
fn the_spool_is_bounded_and_losses_are_counted() {
    let mut logs = Logs::new(now(0).at(), 100_000, 1);
    let mut random = Random::new(7);
    for index in 0..3000 {
        let noise: String = (0..20).map(|_| format!("{:x}", random.next())).collect();
        logs.device_line(now(index), &record(Severity::Info, &noise), 0);
    }
    assert!(logs.bytes <= 100_000 && logs.lost_files > 0);
    for file in &logs.files {
        assert!(file.data.size() < newlogs::TARGET_FILE);
    }
}

#[test]
fn who_writes_much_keeps_nobody_waiting_and_makes_the_room() {
    let mut logs = Logs::new(now(0).at(), 1 << 20, 1);
    let mut random = Random::new(3);
    let app = Uuid([9; 16]);
    for index in 1..6 {
        logs.app_line(now(0), app, "flood", None, &format!("{index}").repeat(400), index);
        logs.close_all(now(0), |_| "app".into());
    }
    logs.device_line(now(0), &record(Severity::Info, "hello"), 1);
    logs.close_all(now(0), |_| String::new());
    let mut whose = Vec::new();
    for second in 0..3 {
        let (upload, endpoint, _) = due(&logs, 1000 * (second + 1)).unwrap();
        whose.push(endpoint == Endpoint::Newlogs);
        logs.on_answer(now(1000 * (second + 1)).at(), upload, &ok(), &mut random);
    }
    assert_eq!(whose, [false, true, false], "the device's file is last, and second");
    // Too little room: the application's oldest go, and not the device's.
    logs.device_line(now(4000), &record(Severity::Info, "hello"), 2);
    logs.close_all(now(4000), |_| String::new());
    logs.capacity = 1;
    logs.app_line(now(4000), app, "flood", None, "more", 6);
    logs.close_all(now(4000), |_| "app".into());
    assert_eq!(logs.backlog(), 1);
    assert!(logs.lost_files > 0);
}

#[test]
fn refusals_slow_down_or_drop_and_silence_keeps() {
    let mut logs = Logs::new(now(0).at(), 1 << 20, 1);
    let mut random = Random::new(1);
    logs.device_line(now(0), &record(Severity::Info, "hello"), 0);
    logs.close_all(now(0), |_| String::new());
    let (upload, ..) = due(&logs, 0).unwrap();
    logs.on_answer(now(0).at(), upload, &Outcome::NoAnswer(FailureKind::Timeout), &mut random);
    assert_eq!(logs.backlog(), 1);
    let slow = Outcome::Status { status: 429, class: StatusClass::Retry };
    logs.on_answer(now(1).at(), upload, &slow, &mut random);
    assert!(logs.next >= now(1 + 144).at());
    let refused = Outcome::Status { status: 400, class: StatusClass::UnknownDevice };
    for _ in 0..10 {
        assert_eq!(logs.backlog(), 1);
        logs.on_answer(now(2).at(), upload, &refused, &mut random);
    }
    assert_eq!((logs.backlog(), logs.lost_files), (0, 1));
}
