//! Journals: one JSON object a line, one file a kind, in the state folder.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::clock::rfc3339;
use crate::options::EventSink;
use crate::state::{Record, device_name};

/// A journal beyond this size becomes `NAME.old.jsonl`, in place of the one before.
const SIZE_LIMIT: u64 = 32 << 20;

/// Characters of a line of a device that are printed.
const PRINTED: usize = 400;

/// Open journals, and the sinks of life events and of what devices say.
pub(crate) struct Journal {
    folder: PathBuf,
    files: BTreeMap<&'static str, (File, u64)>,
    sink: Option<EventSink>,
    log: Option<EventSink>,
    broken: bool,
}

impl Journal {
    pub(crate) fn open(folder: PathBuf, sink: Option<EventSink>, log: Option<EventSink>) -> Result<Self> {
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self { folder, files: BTreeMap::new(), sink, log, broken: false })
    }

    /// Writes a record. A full disk is told once and does not stop the controller.
    pub(crate) fn write(&mut self, record: &Record) {
        let (name, value) = match record {
            Record::Event(event) => {
                self.tell(&event.text);
                ("events", json!({ "at": rfc3339(event.at_ms), "device": event.device, "event": event.text }))
            }
            Record::Violation(violation) => {
                let verdict = match violation.refused {
                    Some(status) => format!("refused with {status}"),
                    None => "accepted".into(),
                };
                let sender =
                    violation.device.map_or_else(String::new, |device| format!("{}: ", device_name(device)));
                self.tell(&format!(
                    "VIOLATION {sender}{} ({verdict}): {}",
                    violation.request, violation.reason
                ));
                ("violations", json!({ "at": rfc3339(violation.at_ms), "violation": violation }))
            }
            Record::Log(line) => {
                let name = if line.app.is_some() { "app-logs" } else { "device-logs" };
                let source = if line.app.is_some() { &line.app_name } else { &line.source };
                self.pass_on(&format!(
                    "{}: {source}: {}: {}",
                    device_name(line.device),
                    line.severity,
                    line.content
                ));
                (name, json!({ "at": rfc3339(line.at_ms), "line": line }))
            }
            Record::Message(name, value) => (*name, value.clone()),
            Record::Metrics(line, value) => {
                self.pass_on(line);
                ("metrics", value.clone())
            }
            Record::Changed => return,
        };
        if let Err(fault) = self.append(name, &value)
            && !self.broken
        {
            self.broken = true;
            self.tell(&format!("the journal {name} cannot be written: {fault:#}"));
        }
    }

    fn tell(&self, text: &str) {
        if let Some(sink) = &self.sink {
            sink(text);
        }
    }

    /// Prints what a device says, which may be anything.
    fn pass_on(&self, text: &str) {
        if let Some(log) = &self.log {
            let plain = |c: char| if c.is_control() { ' ' } else { c };
            log(&text.chars().take(PRINTED).map(plain).collect::<String>());
        }
    }

    fn append(&mut self, name: &'static str, value: &Value) -> Result<()> {
        let path = self.folder.join(format!("{name}.jsonl"));
        if self.files.get(name).is_some_and(|(_, size)| *size > SIZE_LIMIT) {
            self.files.remove(name);
            fs::rename(&path, self.folder.join(format!("{name}.old.jsonl")))?;
        }
        let (file, size) = match self.files.entry(name) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let file = OpenOptions::new().create(true).append(true).open(&path)?;
                let size = file.metadata()?.len();
                entry.insert((file, size))
            }
        };
        let mut line = value.to_string();
        line.push('\n');
        file.write_all(line.as_bytes())?;
        *size += line.len() as u64;
        Ok(())
    }
}

/// A message as text, of which a journal keeps so much.
pub(crate) fn whole(message: &impl std::fmt::Debug) -> String {
    const KEPT: usize = 64 << 10;
    let text = format!("{message:?}");
    match text.len() {
        0..=KEPT => text,
        length => {
            format!("{}… ({length} bytes)", proto_eve::text::truncate(&text, KEPT))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_kept_whole_up_to_a_bound() {
        assert_eq!(whole(&[1, 2]), "[1, 2]");
        let long = whole(&"é".repeat(40 << 10));
        assert!(long.len() < 66_000 && long.ends_with("… (81922 bytes)"), "{}", long.len());
    }
}
