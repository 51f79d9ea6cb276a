//! Running other programs: each command is printed before it runs, and a failure carries the end of
//! what the command wrote.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use proto_errors::host as code;

use crate::ui::Step;

/// How much of a failed command's output its error shows, in lines.
const TAIL_LINES: usize = 20;

/// A command being put together.
#[derive(Debug)]
pub struct Tool {
    command: Command,
    shown: String,
}

/// A command with no arguments yet.
pub fn tool(program: impl AsRef<OsStr>) -> Tool {
    let shown = quoted(program.as_ref());
    Tool { command: Command::new(program), shown }
}

impl Tool {
    /// Adds one argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.shown.push(' ');
        self.shown.push_str(&quoted(arg.as_ref()));
        self.command.arg(arg);
        self
    }

    /// Adds several arguments.
    pub fn args<A: AsRef<OsStr>>(self, args: impl IntoIterator<Item = A>) -> Self {
        args.into_iter().fold(self, Tool::arg)
    }

    /// Sets an environment variable for this command.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.shown = format!("{name}={} {}", quoted(value.as_ref()), self.shown);
        self.command.env(name, value);
        self
    }

    /// Hides an environment variable from this command.
    pub fn without_env(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Runs in this folder.
    pub fn dir(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Runs quietly; what the command wrote appears only in the error.
    ///
    /// # Errors
    /// When the program cannot be started, or ends with a status other than 0.
    pub fn run(self, step: &Step) -> Result<()> {
        self.output(step).map(|_| ())
    }

    /// Runs quietly and returns standard output.
    ///
    /// # Errors
    /// As [`Tool::run`].
    pub fn output(mut self, step: &Step) -> Result<String> {
        step.say(format!("$ {}", self.shown));
        let output = self.command.stdin(Stdio::null()).output().with_context(|| {
            format!("cannot start `{}`; is it installed? [{}]", self.shown, code::NOT_STARTED)
        })?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(text);
        }
        let all = format!("{text}{}", String::from_utf8_lossy(&output.stderr));
        bail!("`{}` failed ({}) [{}]:\n{}", self.shown, output.status, code::TOOL_FAILED, tail(&all))
    }

    /// Runs with the terminal as its own, for programs that show their progress themselves.
    ///
    /// # Errors
    /// As [`Tool::run`].
    pub fn run_loud(mut self, step: &Step) -> Result<()> {
        step.say(format!("$ {}", self.shown));
        let status = step.aside(|| self.command.status()).with_context(|| {
            format!("cannot start `{}`; is it installed? [{}]", self.shown, code::NOT_STARTED)
        })?;
        if !status.success() {
            bail!("`{}` failed ({status}); its output is above [{}]", self.shown, code::TOOL_FAILED);
        }
        Ok(())
    }
}

/// Whether a program of this name is in PATH (or in the folders where Debian keeps root's tools).
pub fn exists(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.into_owned() } else { format!("'{word}'") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_command_shows_its_words_and_its_output() {
        let step = crate::ui::step("test");
        let error = tool("sh").args(["-c", "echo reason >&2; exit 3"]).run(&step).unwrap_err().to_string();
        assert!(error.contains("sh -c 'echo reason >&2; exit 3'"), "{error}");
        assert!(error.ends_with("reason"), "{error}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let step = crate::ui::step("test");
        let error = tool("no-such-program-here").run(&step).unwrap_err().to_string();
        assert!(error.contains("no-such-program-here"), "{error}");
    }
}
