//! The stream of server-sent events that keeps the page alive.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};
use tokio::time::{Instant, interval_at};

use crate::core::Core;
use crate::observed::LogLine;
use crate::state::Record;

/// How often the page is told, at most.
const BEAT: Duration = Duration::from_millis(250);
/// Beats without news after which a comment keeps the connection open.
const QUIET_BEATS: u32 = 60;
/// Log lines in the first message.
const FIRST_LINES: usize = 1000;

/// Starts a stream; it ends when the page goes away.
pub(super) fn stream(core: &Core) -> mpsc::Receiver<Bytes> {
    let (sender, receiver) = mpsc::channel(16);
    // Subscribed first: a line may come twice then, and its number tells, but none is lost.
    let records = core.subscribe();
    let news = core.observe(|state| News {
        session: state.started_ms,
        lines: lines(&state.observed.logs),
        ..News::default()
    });
    tokio::spawn(pump(sender, records, news));
    receiver
}

/// The last log lines as JSON, oldest first.
pub(super) fn lines(logs: &VecDeque<LogLine>) -> Vec<Value> {
    logs.iter().skip(logs.len().saturating_sub(FIRST_LINES)).map(line).collect()
}

async fn pump(sender: mpsc::Sender<Bytes>, mut records: broadcast::Receiver<Record>, mut news: News) {
    let mut beat = interval_at(Instant::now() + BEAT, BEAT);
    let mut quiet = 0;
    // The first message tells everything, even that there is nothing.
    let mut message = Some(news.take(true));
    loop {
        if let Some(message) = message.take()
            && sender.send(message).await.is_err()
        {
            return;
        }
        tokio::select! {
            record = records.recv() => match record {
                Ok(record) => news.take_in(record),
                // Too slow: the page has to load anew.
                Err(RecvError::Lagged(_)) => message = Some(event("stale", &json!({}))),
                Err(RecvError::Closed) => return,
            },
            _ = beat.tick() => {
                quiet += 1;
                if news.any() {
                    quiet = 0;
                    message = Some(news.take(false));
                } else if quiet >= QUIET_BEATS {
                    quiet = 0;
                    message = Some(Bytes::from_static(b": still here\n\n"));
                }
            }
        }
    }
}

/// What happened since the last message.
#[derive(Default)]
struct News {
    session: i64,
    lines: Vec<Value>,
    changed: bool,
    events: bool,
    violations: bool,
}

impl News {
    fn take_in(&mut self, record: Record) {
        match record {
            Record::Log(log) => self.lines.push(line(&log)),
            Record::Event(_) => self.events = true,
            Record::Violation(_) => self.violations = true,
            Record::Changed => self.changed = true,
            Record::Message(..) | Record::Metrics(..) => {}
        }
    }

    fn any(&self) -> bool {
        self.changed || self.events || self.violations || !self.lines.is_empty()
    }

    fn take(&mut self, everything: bool) -> Bytes {
        let news = std::mem::replace(self, Self { session: self.session, ..Self::default() });
        let mut parts = Vec::new();
        for (name, wanted) in [
            ("summary", news.changed || news.violations || news.events),
            ("devices", news.changed),
            ("apps", news.changed),
            ("config", news.changed || news.events),
            ("events", news.events),
            ("violations", news.violations),
        ] {
            if wanted || everything {
                parts.push(name);
            }
        }
        event("news", &json!({ "session": news.session, "parts": parts, "lines": news.lines }))
    }
}

fn line(line: &LogLine) -> Value {
    json!({
        "number": line.number, "at": line.at_ms, "app": line.app.map(|_| &line.app_name),
        "source": line.source, "severity": line.severity, "content": line.content,
    })
}

/// JSON has no bare line ends, so one `data:` line holds it.
fn event(name: &str, data: &Value) -> Bytes {
    Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
}
