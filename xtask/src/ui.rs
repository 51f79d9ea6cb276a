//! What the user sees: steps with their times, as a moving line on a terminal and as plain lines
//! elsewhere. Everything goes to standard error, so that standard output stays free for results.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// One piece of work under way. Ends with [`Step::done`], or as failed when it is dropped before.
#[derive(Debug)]
pub struct Step {
    name: String,
    bar: Option<ProgressBar>,
    started: Instant,
    finished: bool,
    /// The last quarter that was told of.
    quarter: std::cell::Cell<u64>,
}

/// Starts a step and shows it.
pub fn step(name: impl Into<String>) -> Step {
    let name = name.into();
    let bar = std::io::stderr().is_terminal().then(|| spinner(&name));
    if bar.is_none() {
        eprintln!("...  {name}");
    }
    Step { name, bar, started: Instant::now(), finished: false, quarter: std::cell::Cell::new(0) }
}

fn spinner(name: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.set_style(
        ProgressStyle::with_template("{spinner} {msg} [{elapsed}]")
            .unwrap_or_else(|_| ProgressStyle::default_spinner()),
    );
    bar.set_message(name.to_owned());
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

impl Step {
    /// Prints one line above the moving one.
    pub fn say(&self, line: impl AsRef<str>) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("     {}", line.as_ref())),
            None => eprintln!("     {}", line.as_ref()),
        }
    }

    /// Shows how far it is, of a hundred: in the moving line, or a line at each quarter where there is none.
    pub fn percent(&self, percent: u64) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{} {percent} %", self.name));
        } else if self.quarter.replace(percent / 25) != percent / 25 {
            self.say(format!("{percent} %"));
        }
    }

    /// Takes the moving line away while `work` writes to the terminal itself.
    pub fn aside<T>(&self, work: impl FnOnce() -> T) -> T {
        let Some(bar) = &self.bar else { return work() };
        bar.disable_steady_tick();
        bar.set_draw_target(ProgressDrawTarget::hidden());
        eprint!("\r\x1b[K");
        let result = work();
        bar.set_draw_target(ProgressDrawTarget::stderr());
        bar.enable_steady_tick(Duration::from_millis(120));
        result
    }

    /// Ends the step well.
    pub fn done(mut self, result: impl AsRef<str>) {
        self.close("ok ", result.as_ref());
    }

    fn close(&mut self, mark: &str, result: &str) {
        self.finished = true;
        let seconds = self.started.elapsed().as_secs_f64();
        let colon = if result.is_empty() { "" } else { ": " };
        let line = format!("{mark}  {}{colon}{result} ({seconds:.1} s)", self.name);
        match self.bar.take() {
            Some(bar) => {
                bar.finish_and_clear();
                eprintln!("{line}");
            }
            None => eprintln!("{line}"),
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if !self.finished {
            self.close("FAIL", "");
        }
    }
}
