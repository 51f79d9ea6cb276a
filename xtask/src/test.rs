//! `test`: what the host can test, then the stories in QEMU. The last line is `N passed, N failed`.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use proto_errors::host as code;

use crate::{browser, build, fuzz, lint, miri, paths, setup, ui};

/// Options of `test`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Run only tests and stories whose name contains this
    pub filter: Option<String>,
    /// Run the host's tests only
    #[arg(long, conflicts_with = "qemu")]
    pub host: bool,
    /// Run the stories in QEMU only
    #[arg(long)]
    pub qemu: bool,
    /// Run what is too long for every run instead: it takes hours and is not part of the others
    #[arg(long, conflicts_with_all = ["host", "qemu"])]
    pub nightly: bool,
    /// Fail without a browser, instead of leaving out the test of the controller's page
    #[arg(long, conflicts_with_all = ["filter", "qemu", "nightly"])]
    pub browser: bool,
    /// Check formatting and lints first
    #[arg(long)]
    pub lint: bool,
}

/// The files of models in `tests/ring`.
const MODELS: &[&str] = &[
    "channel::",
    "e1000e::",
    "epitaph::",
    "events::",
    "grants::",
    "idle::",
    "request_ring::",
    "stream::",
    "virtqueue::",
];

/// How many tests ended how.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Count {
    passed: u32,
    failed: u32,
}

impl Count {
    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// Runs the subcommand.
///
/// # Errors
/// When a test fails, or nothing could be tested.
pub fn test(options: &Options) -> Result<()> {
    let skipped = without_browser(options, browser::program().is_some())?;
    if options.lint {
        lint::lint()?;
    }
    let mut total = Count::default();
    if !options.qemu && !options.nightly {
        setup::host_tools(&[setup::Host::Openssl, setup::Host::Osslsigncode, setup::Host::Swtpm])?;
        setup::xen_headers()?;
        total.add(host_tests(options.filter.as_deref())?);
        total.add(loom_models(options.filter.as_deref())?);
        if options.filter.is_none() {
            total.add(under_miri()?);
            if skipped.is_none() {
                total.add(in_a_browser()?);
            }
        }
    }
    if options.nightly {
        total.add(many_fleets(options.filter.as_deref())?);
        total.add(long_fuzzing(options.filter.as_deref())?);
    }
    if !options.host {
        setup::host_tools(&setup::Host::BOOT)?;
        for arch in build::Arch::ALL {
            setup::stock(arch)?;
        }
        if options.nightly {
            total.add(by_themselves(options.filter.as_deref())?);
        }
        total.add(stories(options)?);
    }
    skipped.iter().for_each(|what| println!("skipped: {what}"));
    println!("{} passed, {} failed", total.passed, total.failed);
    if let (0, 0, Some(filter)) = (total.passed, total.failed, &options.filter) {
        bail!("no test and no story has `{filter}` in its name");
    }
    if total.failed > 0 {
        bail!("{} of {} tests failed", total.failed, total.passed + total.failed);
    }
    Ok(())
}

/// `cargo test` of the default members.
fn host_tests(filter: Option<&str>) -> Result<Count> {
    let step = ui::step("build the host's tests");
    crate::tool::tool("cargo")
        .args(["test", "--no-run", "--quiet"])
        .dir(&paths::repository())
        .run_loud(&step)?;
    step.done("");

    let mut words = vec!["test", "--no-fail-fast"];
    words.extend(filter);
    let mut cargo = Command::new("cargo");
    cargo.args(&words);
    Ok(counted("host tests", &mut cargo, &words)?.count)
}

/// The fleet's stories, each with many times the seeds that it has in every run.
fn many_fleets(filter: Option<&str>) -> Result<Count> {
    const TIMES: &str = "20";
    let mut words = vec!["test", "--release", "--package", "tests-fleet"];
    words.extend(filter);
    let mut cargo = Command::new("cargo");
    cargo.args(&words).env("FAKEXEN_TIMES", TIMES);
    let ran = counted(&format!("fleet, {TIMES} times the seeds"), &mut cargo, &words)?;
    if filter.is_none() && ran.count == Count::default() {
        bail!("no story of the fleet ran");
    }
    Ok(ran.count)
}

/// Each fuzz target for a minute.
fn long_fuzzing(filter: Option<&str>) -> Result<Count> {
    let fuzz::Outcome { passed, failed } = fuzz::each(filter, 60)?;
    failed.iter().for_each(|what| println!("{what}"));
    Ok(Count { passed, failed: failed.len() as u32 })
}

/// The models of rings, events and idle under every reordering. They are compiled with other atomics, so in a
/// target folder of their own.
fn loom_models(filter: Option<&str>) -> Result<Count> {
    let mut words = vec!["test", "--release", "--package", "tests-ring"];
    words.extend(filter);
    let mut cargo = Command::new("cargo");
    cargo.args(&words).env("RUSTFLAGS", "--cfg loom").env("CARGO_TARGET_DIR", paths::target().join("loom"));
    let ran = counted("models", &mut cargo, &words)?;
    // Without `--cfg loom` nothing of them is compiled, and nothing fails.
    if filter.is_none() {
        ran.demand("models", MODELS)?;
    }
    Ok(ran.count)
}

/// Shared memory and the executor, each access checked.
fn under_miri() -> Result<Count> {
    let mut total = Count::default();
    for mut run in miri::runs()? {
        let name = format!("{} under Miri", run.package);
        let ran = counted(&name, &mut run.command, &["miri", "test", "-p", run.package])?;
        // Tests are chosen by parts of their paths: a module that was renamed would match nothing.
        ran.demand(&name, run.tests)?;
        total.add(ran.count);
    }
    Ok(total)
}

/// What is left out for want of a browser, and how it is run: Chromium is too big to be installed unasked.
fn without_browser(options: &Options, present: bool) -> Result<Option<&'static str>> {
    const WANTED: &str = "the test of the controller's page: there is no Chromium, and `cargo xtask setup --chromium` installs it";
    if options.browser && !present {
        bail!("{WANTED} [{}]", code::NOT_STARTED);
    }
    let asked_for = !options.qemu && !options.nightly && options.filter.is_none();
    Ok((asked_for && !present).then_some(WANTED))
}

/// The controller's page in a browser.
fn in_a_browser() -> Result<Count> {
    let words = ["test", "--package", "xtask", "--test", "page", "--", "--ignored"];
    let ran = counted("the page in a browser", Command::new("cargo").args(words), &words)?;
    ran.demand("the page in a browser", &["the_page_"])?;
    Ok(ran.count)
}

/// What a `cargo test` did.
#[derive(Debug, Default)]
struct Ran {
    count: Count,
    /// Paths of the tests that passed.
    passed: Vec<String>,
}

impl Ran {
    /// Fails unless a test passed whose path begins so, for each of these, or something failed that says more.
    fn demand(&self, name: &str, paths: &[&str]) -> Result<()> {
        let absent = |path: &&&str| !self.passed.iter().any(|test| test.starts_with(**path));
        match paths.iter().find(absent) {
            Some(path) if self.count.failed == 0 => {
                bail!("{name}: no test of `{path}` ran; is it elsewhere now?")
            }
            _ => Ok(()),
        }
    }
}

/// Runs a `cargo test` and counts its results; what it printed is shown if one failed.
fn counted(name: &str, cargo: &mut Command, words: &[&str]) -> Result<Ran> {
    let step = ui::step(name);
    step.say(format!("$ cargo {}", words.join(" ")));
    let mut output: Vec<String> = Vec::new();
    let mut ran = Ran::default();
    let status = each_line(cargo.stderr(Stdio::piped()), |line| {
        if let Some(result) = cargo_result(line) {
            ran.count.add(result);
        }
        ran.passed.extend(passed(line).map(str::to_owned));
        output.push(line.to_owned());
    })?;
    let count = ran.count;
    if count.failed > 0 || !status {
        for line in &output {
            println!("{line}");
        }
    }
    if !status && count.failed == 0 {
        bail!("`cargo test` failed before its tests ran; its output is above");
    }
    match count.failed {
        0 => step.done(format!("{} passed", count.passed)),
        _ => drop(step),
    }
    Ok(ran)
}

/// The ways of the demo, each unattended, and the measurements, whose table is shown.
fn by_themselves(filter: Option<&str>) -> Result<Count> {
    const BENCH: &str = "bench";
    const COMMANDS: [&[&str]; 4] = [
        &["demo", "--check"],
        &["demo", "--check", "--tpm", "tis"],
        &["demo", "--check", "--arch", "aarch64"],
        &[BENCH, "--debian"],
    ];
    let mut count = Count::default();
    let program = std::env::current_exe().context("cannot tell which program this is")?;
    for words in COMMANDS {
        let name = words.join(" ");
        if filter.is_some_and(|filter| !name.contains(filter)) {
            continue;
        }
        eprintln!("     $ cargo xtask {name}");
        let mut output = Vec::new();
        let succeeded = each_line(Command::new(&program).args(words).stderr(Stdio::piped()), |line| {
            output.push(line.to_owned());
        })?;
        if succeeded && words.first() == Some(&BENCH) {
            output.iter().for_each(|line| println!("{line}"));
        }
        if succeeded {
            println!("ok   {name}");
            count.passed += 1;
        } else {
            output.iter().for_each(|line| println!("{line}"));
            println!("FAIL {name}; its output is above");
            count.failed += 1;
        }
    }
    Ok(count)
}

/// The stories stand in a package of their own, which uses this one.
fn stories(options: &Options) -> Result<Count> {
    let nightly = options.nightly.then_some("--nightly");
    eprintln!("     $ cargo run --package tests-qemu -- {}", nightly.unwrap_or_default());
    let mut count = None;
    let mut cargo = Command::new("cargo");
    cargo.args(["run", "--quiet", "--package", "tests-qemu", "--"]).args(nightly).args(&options.filter);
    each_line(&mut cargo, |line| match summary(line) {
        Some(result) => count = Some(result),
        None => println!("{line}"),
    })?;
    count.context("the stories ended without a result; their output is above")
}

/// Runs a command, gives each line of its standard output, and says whether it succeeded.
fn each_line(command: &mut Command, mut take: impl FnMut(&str)) -> Result<bool> {
    let program = command.get_program().to_owned();
    let mut child = command
        .current_dir(paths::repository())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    // Where errors are piped they are drained beside, so that neither side waits for the other.
    let errors = child.stderr.take().map(|errors| {
        std::thread::spawn(move || BufReader::new(errors).lines().map_while(Result::ok).collect::<Vec<_>>())
    });
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            take(&String::from_utf8_lossy(&line));
        }
    }
    let status = child.wait()?;
    if let Some(errors) = errors
        && !status.success()
    {
        errors.join().unwrap_or_default().iter().for_each(|line| take(line));
    }
    Ok(status.success())
}

/// `test result: ok. 3 passed; 1 failed; …`
fn cargo_result(line: &str) -> Option<Count> {
    let rest = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    let number = |what: &str| rest.split("; ").find_map(|part| part.strip_suffix(what)?.trim().parse().ok());
    Some(Count { passed: number("passed")?, failed: number("failed")? })
}

/// `test queue::tests::it_works ... ok`, also `… - should panic ... ok`
fn passed(line: &str) -> Option<&str> {
    let test = line.strip_prefix("test ")?.strip_suffix(" ... ok")?;
    Some(test.split(' ').next().unwrap_or(test))
}

/// `3 passed, 1 failed`
fn summary(line: &str) -> Option<Count> {
    let (passed, failed) = line.strip_suffix(" failed")?.split_once(" passed, ")?;
    Some(Count { passed: passed.parse().ok()?, failed: failed.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn without_a_browser_its_test_is_skipped_aloud_or_fails() {
        let told = |words: &[&str], present| {
            without_browser(&Line::try_parse_from([&["test"], words].concat()).unwrap().options, present)
        };
        for words in [&[][..], &["--host"]] {
            let skipped = told(words, false).unwrap().unwrap();
            assert!(skipped.contains("cargo xtask setup --chromium"), "{skipped}");
            assert_eq!(told(words, true).unwrap(), None);
        }
        for words in [&["--qemu"][..], &["--nightly"], &["filter"]] {
            assert_eq!(told(words, false).unwrap(), None, "{words:?} have no such test");
        }
        let failed = format!("{:#}", told(&["--browser"], false).unwrap_err());
        assert!(failed.contains("cargo xtask setup --chromium"), "{failed}");
        assert_eq!(told(&["--browser"], true).unwrap(), None);
    }

    #[test]
    fn results_of_cargo_and_of_the_stories_are_counted() {
        let line = "test result: FAILED. 34 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.24s";
        assert_eq!(cargo_result(line), Some(Count { passed: 34, failed: 2 }));
        assert_eq!(cargo_result("test a::b ... ok"), None);
        assert_eq!(summary("3 passed, 0 failed"), Some(Count { passed: 3, failed: 0 }));
        assert_eq!(summary("boot-direct: it failed"), None);
    }
    #[test]
    fn a_module_of_which_nothing_ran_is_a_failure() {
        assert_eq!(passed("test ring::tests::wraps ... ok"), Some("ring::tests::wraps"));
        assert_eq!(passed("test ring::twin - should panic ... ok"), Some("ring::twin"));
        assert_eq!(passed("test ring::tests::wraps ... FAILED"), None);
        assert_eq!(passed("test ring::tests::slow ... ignored"), None);
        let mut ran = Ran { count: Count { passed: 1, failed: 0 }, passed: vec!["a::ring::wraps".into()] };
        assert!(ran.demand("part", &["a::"]).is_ok());
        assert!(ran.demand("part", &["a::", "ring::"]).is_err(), "within another name is not enough");
        assert!(Ran::default().demand("part", &["a::"]).is_err());
        ran.count.failed = 1;
        assert!(ran.demand("part", &["ring::"]).is_ok(), "what failed is told already");
    }
}
