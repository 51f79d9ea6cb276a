//! `POST newlogs`: gzip files of log lines, of the device and of applications. A line that came before is counted and
//! not shown: what says so is [`repeats`](crate::repeats).

use std::collections::BTreeMap;
use std::io::Read as _;

use flate2::bufread::GzDecoder;
use proto_eve::newlogs;
use serde::Deserialize;
use uuid::Uuid;

use super::{Answer, Notes};
use crate::clock;
use crate::observed::LogLine;
use crate::refusal::Refusal;
use crate::repeats::Identity;
use crate::state::{Record, State};

/// Longest gzip file, in bytes.
const FILE_LIMIT: usize = 65_536;
/// Longest content of a file once it is unpacked; a raw collection file has 550 000 bytes.
const UNPACKED_LIMIT: u64 = 4 << 20;
/// Lines from this length on are lost by controllers.
const LINE_LIMIT: usize = 65_536;

const SEVERITIES: [&str; 15] = [
    "emerg", "alert", "crit", "critical", "err", "error", "warn", "warning", "notice", "info", "debug",
    "trace", "panic", "fatal", "all",
];

/// One line as it is sent: the form of Go's `encoding/json`, not protojson.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(default)]
    severity: String,
    #[serde(default)]
    source: String,
    #[serde(default)]
    iid: String,
    #[serde(default)]
    content: String,
    #[serde(default)]
    msgid: u64,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    timestamp: Option<Stamp>,
    #[serde(default)]
    #[expect(dead_code, reason = "its type is checked")]
    filename: String,
    #[serde(default)]
    #[expect(dead_code, reason = "its type is checked")]
    function: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stamp {
    #[serde(default)]
    seconds: i64,
    #[serde(default)]
    nanos: i32,
}

/// The gzip comment of a device's file: a `LogBundle` without entries.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Comment {
    #[serde(rename = "devID")]
    device: String,
    image: String,
    #[serde(rename = "eveVersion")]
    version: String,
}

/// Takes a log file; 201 when every line was right, otherwise nothing of it is kept.
pub(super) fn serve(
    state: &mut State,
    device: Uuid,
    app: Option<Uuid>,
    payload: &[u8],
    notes: &mut Notes,
) -> Result<Answer, Refusal> {
    if payload.len() > FILE_LIMIT {
        let reason = format!("the log file has {} bytes, more than {FILE_LIMIT}", payload.len());
        return Err(Refusal::violation(413, reason));
    }
    let file = Unpacked::open(payload)?;
    let app_name = match app {
        None => {
            check_comment(&file, device)?;
            String::new()
        }
        Some(app) => {
            if file.name.is_empty() {
                return Err(Refusal::message("an app's log file carries its name in the gzip header"));
            }
            match state.app_name(device, app) {
                Some(name) if name != file.name => {
                    notes
                        .remark(format!("app {app}: file named \"{:.64}\", configured as {name}", file.name));
                    name
                }
                Some(name) => name,
                None => file.name.clone(),
            }
        }
    };
    if file.modified == 0 {
        notes.remark("the gzip header has no time");
    }
    let lines = parse_lines(&file.text, notes)?;
    let mut repeated = 0;
    for (line, at_ms) in lines {
        let stamp = line.timestamp.as_ref();
        let again = state.repeats.came_before(&Identity {
            device,
            app,
            start: line.tags.get(newlogs::START).map(String::as_str),
            source: &line.source,
            iid: &line.iid,
            msgid: line.msgid,
            stamp: stamp.map_or((0, 0), |stamp| (stamp.seconds, stamp.nanos)),
            content: &line.content,
        });
        let line = state.observed.push_log(LogLine {
            number: 0,
            device,
            app,
            app_name: app_name.clone(),
            at_ms,
            severity: line.severity,
            source: line.source,
            content: line.content,
            msgid: line.msgid,
            again,
        });
        match again {
            true => repeated += 1,
            false => state.records.push(Record::Log(line)),
        }
    }
    if repeated > 0 {
        state.view(device).repeated_lines += repeated;
    }
    Ok(Answer::empty(201))
}

struct Unpacked {
    name: String,
    comment: Option<String>,
    modified: u32,
    text: String,
}

impl Unpacked {
    /// Opens a gzip file of one member: header, data and checksum.
    fn open(file: &[u8]) -> Result<Self, Refusal> {
        let bad = |fault: std::io::Error| Refusal::message(format!("the log file is no gzip: {fault}"));
        let mut decoder = GzDecoder::new(file);
        let mut bytes = Vec::new();
        let read = (&mut decoder).take(UNPACKED_LIMIT + 1).read_to_end(&mut bytes).map_err(bad)?;
        if read as u64 > UNPACKED_LIMIT {
            let reason = format!("the log file unpacks to more than {UNPACKED_LIMIT} bytes");
            return Err(Refusal::violation(413, reason));
        }
        let header = decoder.header().ok_or_else(|| Refusal::message("the log file has no gzip header"))?;
        let (name, comment, modified) = (header.filename(), header.comment(), header.mtime());
        let name = latin1(name.unwrap_or_default());
        let comment = comment.map(latin1);
        if !decoder.into_inner().is_empty() {
            return Err(Refusal::message("there are bytes behind the gzip file"));
        }
        let text = String::from_utf8(bytes).map_err(|_| Refusal::message("the log lines are not UTF-8"))?;
        Ok(Self { name, comment, modified, text })
    }
}

/// Header strings of gzip are Latin-1. Source: RFC 1952, section 2.3.1.
fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

fn check_comment(file: &Unpacked, device: Uuid) -> Result<(), Refusal> {
    let comment = file
        .comment
        .as_deref()
        .ok_or_else(|| Refusal::message("a device's log file carries a LogBundle in the gzip comment"))?;
    let comment: Comment = serde_json::from_str(comment)
        .map_err(|fault| Refusal::message(format!("the gzip comment is no LogBundle: {fault}")))?;
    super::check_sender(&comment.device, device)?;
    if comment.image.is_empty() || comment.version.is_empty() {
        return Err(Refusal::message("image or eveVersion in the gzip comment is empty"));
    }
    Ok(())
}

fn parse_lines(text: &str, notes: &mut Notes) -> Result<Vec<(Line, i64)>, Refusal> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    if text.is_empty() {
        return Err(Refusal::message("the log file has no lines"));
    }
    text.split('\n').enumerate().map(|(index, line)| parse_line(index + 1, line, notes)).collect()
}

fn parse_line(number: usize, line: &str, notes: &mut Notes) -> Result<(Line, i64), Refusal> {
    let bad = |why: String| Refusal::message(format!("log line {number}: {why}"));
    if line.len() >= LINE_LIMIT {
        return Err(bad(format!("{} bytes, {LINE_LIMIT} are too many", line.len())));
    }
    if line.is_empty() {
        return Err(bad("it is blank".into()));
    }
    let parsed: Line = serde_json::from_str(line).map_err(|fault| bad(fault.to_string()))?;
    let at_ms = match &parsed.timestamp {
        None => {
            notes.remark(format!("log line {number}: timestamp is missing"));
            clock::now_ms()
        }
        Some(stamp) => {
            let stamp = proto_eve::Timestamp { seconds: stamp.seconds, nanos: stamp.nanos };
            clock::timestamp_ms(&stamp).ok_or_else(|| bad("timestamp is out of range".into()))?
        }
    };
    if !SEVERITIES.contains(&parsed.severity.as_str()) {
        notes.remark(format!("log line {number}: severity \"{:.32}\" is not known", parsed.severity));
    }
    if parsed.source.is_empty() {
        notes.remark(format!("log line {number}: source is missing"));
    }
    Ok((parsed, at_ms))
}
