//! `fuzz`: the targets of `tests/fuzz` with libFuzzer, guided by coverage.
//!
//! The pinned compiler does it: coverage comes from a pass of LLVM that is asked for by name, and libFuzzer is
//! linked as any other library. What is found is kept in `target/sarsen/fuzz/TARGET` from run to run.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::{paths, setup, tool::tool, ui};

/// Options of `fuzz`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Run this target only
    pub target: Option<String>,
    /// Name the targets
    #[arg(long, conflicts_with_all = ["target", "keep"])]
    pub list: bool,
    /// How long to run each target, in seconds
    #[arg(long, default_value_t = 60)]
    pub seconds: u32,
    /// Afterwards, add a few short inputs that reach what the corpus did not to tests/fuzz/corpus
    #[arg(long)]
    pub keep: bool,
}

/// What cargo-fuzz passes for libFuzzer: a counter at each edge, and the operands of comparisons.
const COVERAGE: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];
/// The longest input.
const MAX_INPUT: u32 = 4096;
/// The longest input that is kept.
const MAX_KEPT: u32 = 512;
/// How many inputs a folder of the corpus has at most by this tool.
const MOST_KEPT: usize = 8;

/// A target: its name, and what it reads.
type Target = (String, String);

/// Runs the subcommand.
///
/// # Errors
/// When a target fails on an input, which is named then; when there is no such target.
pub fn fuzz(options: &Options) -> Result<()> {
    let mut all = targets()?;
    if options.list {
        all.iter().for_each(|(name, about)| println!("{name:<20} {about}"));
        return Ok(());
    }
    all.retain(|(name, _)| options.target.as_ref().is_none_or(|wanted| wanted == name));
    if all.is_empty() {
        bail!("there is no such target; `cargo xtask fuzz --list` names them");
    }
    let Outcome { failed, .. } = run(&all, options.seconds, options.keep)?;
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}

/// What came of targets that ran.
pub(crate) struct Outcome {
    /// How many found nothing.
    pub(crate) passed: u32,
    /// What the others failed on.
    pub(crate) failed: Vec<String>,
}

/// Runs each target with this in its name for so many seconds.
///
/// # Errors
/// When they cannot be built.
pub(crate) fn each(filter: Option<&str>, seconds: u32) -> Result<Outcome> {
    let mut all = targets()?;
    all.retain(|(name, _)| filter.is_none_or(|filter| name.contains(filter)));
    match all.is_empty() {
        true => Ok(Outcome { passed: 0, failed: Vec::new() }),
        false => run(&all, seconds, false),
    }
}

fn run(targets: &[Target], seconds: u32, keep: bool) -> Result<Outcome> {
    let program = build()?;
    let mut outcome = Outcome { passed: 0, failed: Vec::new() };
    for (name, about) in targets {
        eprintln!("target {name}: {about}");
        let place = Place::of(name)?;
        match place.run(&program, seconds) {
            Ok(()) => {
                outcome.passed += 1;
                if keep {
                    place.keep(&program)?;
                }
            }
            // The others have a right to their time.
            Err(error) => outcome.failed.push(format!("{error:#}")),
        }
    }
    Ok(outcome)
}

fn targets() -> Result<Vec<Target>> {
    let step = ui::step("targets");
    let list = tool("cargo")
        .args(["run", "--quiet", "--package", "tests-fuzz", "--bin", "fuzz-targets"])
        .dir(&paths::repository())
        .output(&step)?;
    step.done("");
    Ok(parse_targets(&list))
}

fn parse_targets(list: &str) -> Vec<Target> {
    list.lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(name, about)| (name.into(), about.into()))
        .collect()
}

/// Builds the one binary of all targets, in a target folder of its own, for its flags are other ones.
fn build() -> Result<PathBuf> {
    setup::host_tools(&[setup::Host::Cxx])?;
    let step = ui::step("build the targets with libFuzzer");
    let version = tool("rustc").arg("-vV").dir(&paths::repository()).output(&step)?;
    let host = host_triple(&version).context("`rustc -vV` does not say what host this is")?;
    let folder = paths::target().join("fuzz");
    // With a target named, the flags are for what runs, and not for build scripts.
    tool("cargo")
        .args(["build", "--quiet", "--profile", "fuzz", "--package", "tests-fuzz", "--bin", "fuzz"])
        .args(["--features", "libfuzzer", "--target", host])
        .env("RUSTFLAGS", COVERAGE.join(" "))
        .env("CARGO_TARGET_DIR", &folder)
        .without_env("CARGO_ENCODED_RUSTFLAGS")
        .dir(&paths::repository())
        .run_loud(&step)?;
    step.done("");
    Ok(folder.join(host).join("fuzz/fuzz"))
}

/// `host: x86_64-unknown-linux-gnu`
fn host_triple(version: &str) -> Option<&str> {
    version.lines().find_map(|line| line.strip_prefix("host: "))
}

/// Where a target has its inputs.
struct Place {
    name: String,
    /// Inputs that fail.
    folder: PathBuf,
    /// Inputs that were found.
    found: PathBuf,
    /// Inputs that are part of the repository.
    corpus: PathBuf,
}

impl Place {
    fn of(name: &str) -> Result<Self> {
        let folder = paths::create(paths::output("fuzz").join(name))?;
        let found = paths::create(folder.join("corpus"))?;
        let corpus = paths::create(paths::repository().join("tests/fuzz/corpus").join(name))?;
        Ok(Self { name: name.into(), folder, found, corpus })
    }

    fn run(&self, program: &Path, seconds: u32) -> Result<()> {
        let step = ui::step(&self.name);
        let result = tool(program)
            .args([&self.found, &self.corpus])
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-max_len={MAX_INPUT}"))
            .arg(format!("-artifact_prefix={}/", self.folder.display()))
            .args(["-timeout=10", "-rss_limit_mb=1024", "-print_final_stats=1", "-reload=0"])
            .env("SARSEN_FUZZ_TARGET", &self.name)
            .env("SARSEN_FUZZ_SEEDS", &self.found)
            .dir(&paths::repository())
            .run_loud(&step);
        // An empty folder is nothing to keep.
        let _ = std::fs::remove_dir(&self.corpus);
        result.with_context(|| {
            format!(
                "target {} fails; libFuzzer named the input above, in {}. Copy it to {} under a name that says what it \
                 is, and `cargo test -p tests-fuzz {}` shows the failure",
                self.name,
                self.folder.display(),
                self.corpus.display(),
                self.name
            )
        })?;
        step.done("");
        Ok(())
    }

    /// Adds inputs that reach new code to the corpus: edges count, not how often they were taken. Those that
    /// were found last are the longest, and reach furthest; the first few hundred are soon found again.
    fn keep(&self, program: &Path) -> Result<()> {
        let step = ui::step(format!("{}: keep", self.name));
        let merged = self.folder.join("merged");
        if merged.exists() {
            std::fs::remove_dir_all(&merged).with_context(|| format!("cannot empty {}", merged.display()))?;
        }
        paths::create(merged.clone())?;
        paths::create(self.corpus.clone())?;
        let known = files(&self.corpus)?;
        for (_, file) in &known {
            std::fs::copy(file, merged.join(file.file_name().unwrap_or_default()))?;
        }
        tool(program)
            .args(["-merge=1", "-use_counters=0", "-use_value_profile=0"])
            .arg(format!("-max_len={MAX_KEPT}"))
            .args([&merged, &self.found])
            .env("SARSEN_FUZZ_TARGET", &self.name)
            .dir(&paths::repository())
            .run(&step)?;
        let mut new = files(&merged)?;
        new.retain(|(_, file)| {
            let name = file.file_name().unwrap_or_default();
            // Seeds are made anew each time.
            !name.to_string_lossy().starts_with("seed-") && !self.corpus.join(name).exists()
        });
        new.sort_by(|one, other| other.cmp(one));
        new.truncate(MOST_KEPT.saturating_sub(known.len()));
        for (_, file) in &new {
            std::fs::copy(file, self.corpus.join(file.file_name().unwrap_or_default()))?;
        }
        let _ = std::fs::remove_dir(&self.corpus);
        step.done(format!("{} new", new.len()));
        Ok(())
    }
}

/// The files of a folder with their lengths in bytes.
fn files(folder: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        files.push((entry.metadata()?.len(), entry.path()));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_and_the_host_are_read() {
        let expected = vec![("elf".to_owned(), "dom0: an image".to_owned())];
        assert_eq!(parse_targets("elf\tdom0: an image\n\n"), expected);
        let version = "rustc 1.95.0 (59807616e 2026-04-14)\nbinary: rustc\nhost: x86_64-unknown-linux-gnu\n";
        assert_eq!(host_triple(version), Some("x86_64-unknown-linux-gnu"));
        assert_eq!(host_triple("rustc"), None);
    }
}
