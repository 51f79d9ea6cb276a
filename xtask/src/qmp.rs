//! A client for QEMU's control socket: one JSON object a line, each way.
//!
//! Source: QEMU, docs/interop/qmp-spec.rst.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// The longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// An open, negotiated control connection.
#[derive(Debug)]
pub struct Qmp {
    reader: BufReader<UnixStream>,
    events: Vec<Value>,
}

impl Qmp {
    /// Connects to the socket, which QEMU may still be about to create; it answers when it has set the machine
    /// up.
    ///
    /// # Errors
    /// When nobody listens within `timeout`, or answers within that, or the greeting is not QMP's.
    pub fn connect(socket: &Path, timeout: Duration) -> Result<Self> {
        let end = Instant::now() + timeout;
        let stream = loop {
            match UnixStream::connect(socket) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() >= end => {
                    return Err(error).with_context(|| format!("QEMU does not open {}", socket.display()));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        stream.set_read_timeout(Some(timeout))?;
        let mut qmp = Self { reader: BufReader::new(stream), events: Vec::new() };
        let greeting = qmp.read()?;
        if greeting.get("QMP").is_none() {
            bail!("{} greets with `{greeting}`, which is not QMP", socket.display());
        }
        qmp.command("qmp_capabilities", json!({}))?;
        qmp.reader.get_ref().set_read_timeout(Some(PATIENCE))?;
        Ok(qmp)
    }

    /// Runs one command and returns its result. Events that come before it are kept for [`Qmp::events`].
    ///
    /// # Errors
    /// When QEMU refuses the command, has gone, or does not answer.
    pub fn command(&mut self, name: &str, arguments: Value) -> Result<Value> {
        let mut line = json!({ "execute": name, "arguments": arguments }).to_string();
        line.push('\n');
        self.reader.get_mut().write_all(line.as_bytes()).with_context(|| format!("QMP command `{name}`"))?;
        loop {
            match Said::of(self.read().with_context(|| format!("QMP command `{name}`"))?) {
                Said::Refused(why) => bail!("QMP command `{name}`: {why}"),
                Said::Result(result) => return Ok(result),
                Said::Event(event) => self.events.push(event),
            }
        }
    }

    /// Takes the events seen so far.
    pub fn events(&mut self) -> Vec<Value> {
        std::mem::take(&mut self.events)
    }

    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.reader.read_line(&mut line).context("QEMU does not answer")? == 0 {
            bail!("QEMU closed the control connection");
        }
        parse(&line)
    }
}

/// What an object says that QEMU sent after its greeting.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// A command's result.
    Result(Value),
    /// Why a command is refused.
    Refused(Value),
    /// Something that happened.
    Event(Value),
}

impl Said {
    /// Tells them apart.
    #[must_use]
    pub fn of(mut object: Value) -> Self {
        if let Some(error) = object.get("error") {
            return Self::Refused(error.get("desc").unwrap_or(error).clone());
        }
        match object.get_mut("return") {
            Some(result) => Self::Result(result.take()),
            None => Self::Event(object),
        }
    }
}

/// Reads a line.
///
/// # Errors
/// When it is no JSON.
pub fn parse(line: &str) -> Result<Value> {
    serde_json::from_str(line).with_context(|| format!("QEMU sent `{}`", line.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    fn with_peer(script: &'static [(&'static str, &'static str)]) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("q");
        let listener = UnixListener::bind(&socket).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            for (expected, answer) in script {
                let mut line = String::new();
                if !expected.is_empty() {
                    reader.read_line(&mut line).unwrap();
                    assert!(line.contains(expected), "{line}");
                }
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        (folder, socket)
    }

    #[test]
    fn answers_are_found_behind_events_and_errors_are_told() {
        let (_folder, socket) = with_peer(&[
            ("", "{\"QMP\":{\"version\":{}}}\n"),
            ("qmp_capabilities", "{\"return\":{}}\n"),
            ("query-status", "{\"event\":\"RESUME\"}\n{\"return\":{\"running\":true}}\n"),
            ("set_link", "{\"error\":{\"class\":\"GenericError\",\"desc\":\"no such link\"}}\n"),
        ]);
        let mut qmp = Qmp::connect(&socket, Duration::from_secs(5)).unwrap();
        assert_eq!(qmp.command("query-status", json!({})).unwrap()["running"], true);
        assert_eq!(qmp.events().len(), 1);
        let error = qmp.command("set_link", json!({"name": "x", "up": false})).unwrap_err();
        assert_eq!(format!("{error:#}"), "QMP command `set_link`: \"no such link\"");
        assert!(format!("{:#}", qmp.command("quit", json!({})).unwrap_err()).contains("QMP command `quit`"));
    }

    #[test]
    fn a_socket_that_never_comes_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Qmp::connect(&folder.path().join("q"), Duration::from_millis(30)).is_err());
    }
}
