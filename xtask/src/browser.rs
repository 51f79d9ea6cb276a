//! A browser without a screen: opens a page, looks into it, takes pictures of it.
//!
//! Chromium is steered by the DevTools protocol over two named pipes: JSON with a zero byte behind each message. Of
//! the protocol there is only what is used here.
//!
//! Source: <https://chromedevtools.github.io/devtools-protocol/>; `--remote-debugging-pipe` in Chromium,
//! `content/browser/devtools/devtools_pipe_handler.cc`.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proto_errors::host as code;
use serde_json::{Value, json};

use crate::setup::{self, Host};
use crate::tool::{self, tool};
use crate::{host, paths, ui};

/// Names under which Chromium may be installed, the first that is there counts.
pub const PROGRAMS: [&str; 4] = ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"];

/// The longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a page has to become what is waited for.
const SETTLED: Duration = Duration::from_secs(10);

/// The program of this host, if there is one.
pub fn program() -> Option<&'static str> {
    PROGRAMS.into_iter().find(|name| tool::exists(name))
}

/// Which colours a page is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Theme {
    /// Dark on light.
    Light,
    /// Light on dark.
    Dark,
}

/// A running browser with one page.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    to: File,
    from: Receiver<Value>,
    session: Value,
    next: u64,
    _folder: tempfile::TempDir,
}

/// Saves a picture of the whole page of a controller at `url`, when it has its news; installs Chromium if it is missing.
///
/// # Errors
/// When there is no browser to be had, or the page does not come.
pub fn screenshot(url: &str, output: &Path, theme: Theme) -> Result<()> {
    setup::host_tools(&[Host::Chromium])?;
    let step = ui::step("take a picture of the controller's page");
    let mut browser = Browser::open(url, theme)?;
    // The log comes with the first news, and so does what has changed since the page was sent.
    browser.wait("session !== null && fetching.size === 0", "the page's news")?;
    paths::write(output, browser.picture()?)?;
    step.done(output.display().to_string());
    Ok(())
}

impl Browser {
    /// Starts a browser and opens a page in it.
    ///
    /// # Errors
    /// When there is none, or it does not answer.
    pub fn open(url: &str, theme: Theme) -> Result<Self> {
        let Some(program) = program() else {
            bail!(
                "there is no Chromium here; `cargo xtask setup --chromium` installs it [{}]",
                code::NOT_STARTED
            );
        };
        let folder = tempfile::tempdir().context("cannot make a folder for the browser")?;
        let (to, from) = (folder.path().join("to"), folder.path().join("from"));
        let step = ui::step(format!("start {program}"));
        tool("mkfifo").arg(&to).arg(&from).run(&step)?;
        let mut command = Command::new("sh");
        // The protocol's pipes are the files 3 and 4 of the browser.
        command.args(["-c", r#"exec "$0" "$@" 3<"$SARSEN_TO" 4>"$SARSEN_FROM""#, program]);
        command.env("SARSEN_TO", &to).env("SARSEN_FROM", &from);
        command.arg("--headless").arg("--remote-debugging-pipe");
        command.arg(format!("--user-data-dir={}", folder.path().join("profile").display()));
        command.args(["--no-first-run", "--disable-gpu", "--hide-scrollbars", "--force-color-profile=srgb"]);
        if host::is_root()? {
            // Chromium confines itself only as another user than root. The page is ours.
            command.arg("--no-sandbox");
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child =
            command.spawn().with_context(|| format!("cannot start {program} [{}]", code::NOT_STARTED))?;
        let mut guard = Guard(Some(child));
        // Opening a pipe waits for the other end, which a browser that cannot start never opens.
        let opened = in_time(move || Ok((File::options().write(true).open(to)?, File::open(from)?)));
        let (to, from) =
            opened.with_context(|| format!("{program} does not start [{}]", code::NOT_STARTED))?;
        let child = guard.0.take().context("the browser was started above")?;
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            for message in BufReader::new(from).split(0) {
                let Some(message) = message.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()) else {
                    return;
                };
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let mut browser = Self { child, to, from: receiver, session: Value::Null, next: 0, _folder: folder };
        browser.attach(url, theme)?;
        step.done("");
        Ok(browser)
    }

    fn attach(&mut self, url: &str, theme: Theme) -> Result<()> {
        let target = self.command("Target.createTarget", json!({ "url": "about:blank" }))?;
        let target = json!({ "targetId": target["targetId"], "flatten": true });
        self.session = self.command("Target.attachToTarget", target)?["sessionId"].take();
        let scheme = match theme {
            Theme::Light => "light",
            Theme::Dark => "dark",
        };
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.command("Emulation.setEmulatedMedia", json!({ "features": features }))?;
        self.resize(1280)?;
        let answer = self.command("Page.navigate", json!({ "url": url }))?;
        ensure!(answer["errorText"].is_null(), "the page {url} does not come: {}", answer["errorText"]);
        self.wait("document.readyState === 'complete'", "the page is there")
    }

    /// Gives the page this width, in pixels of CSS.
    ///
    /// # Errors
    /// When the browser does not answer.
    pub fn resize(&mut self, width: u32) -> Result<()> {
        let size = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.command("Emulation.setDeviceMetricsOverride", size).map(drop)
    }

    /// What an expression in the page's own language comes to.
    ///
    /// # Errors
    /// When it throws, or the browser does not answer.
    pub fn evaluate(&mut self, expression: &str) -> Result<Value> {
        let question = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let mut answer = self.command("Runtime.evaluate", question)?;
        if let Some(thrown) = answer.get("exceptionDetails") {
            bail!("`{expression}` throws in the page: {thrown}");
        }
        Ok(answer["result"]["value"].take())
    }

    /// Waits until an expression comes to `true`.
    ///
    /// # Errors
    /// When it does not within ten seconds; with `what`.
    pub fn wait(&mut self, expression: &str, what: &str) -> Result<()> {
        let end = Instant::now() + SETTLED;
        while self.evaluate(expression)? != Value::Bool(true) {
            ensure!(Instant::now() < end, "not seen in the browser: {what}");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// A picture (PNG) of the whole page, beyond what a window would show.
    ///
    /// # Errors
    /// When the browser does not answer.
    pub fn picture(&mut self) -> Result<Vec<u8>> {
        let options = json!({ "format": "png", "captureBeyondViewport": true });
        let answer = self.command("Page.captureScreenshot", options)?;
        let data = answer["data"].as_str().context("the browser sends no picture")?;
        STANDARD.decode(data).context("the browser's picture is no base64")
    }

    fn command(&mut self, method: &str, params: Value) -> Result<Value> {
        self.next += 1;
        let mut message = json!({ "id": self.next, "method": method, "params": params });
        if !self.session.is_null() {
            message["sessionId"] = self.session.clone();
        }
        self.to.write_all(format!("{message}\0").as_bytes()).context("the browser is gone")?;
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let mut answer = match self.from.recv_timeout(left) {
                Ok(answer) => answer,
                Err(RecvTimeoutError::Timeout) => bail!("the browser does not answer {method}"),
                Err(RecvTimeoutError::Disconnected) => bail!("the browser ended at {method}"),
            };
            // Whatever has no number of ours is an event.
            if answer["id"] != json!(self.next) {
                continue;
            }
            if let Some(error) = answer.get("error") {
                bail!("the browser refuses {method}: {error}");
            }
            return Ok(answer["result"].take());
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Ends a browser that was not given on.
struct Guard(Option<Child>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(end);
    }
}

/// Errors mean that it has ended already.
fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// The result of something that may block for ever.
fn in_time<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(PATIENCE).map_err(|_| anyhow!("nothing comes within {} s", PATIENCE.as_secs()))?
}
