//! The real Xen as a domain sees it: `tests/guest` checks it, and its lines tell.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use xtask::build::Arch;
use xtask::console::Line;
use xtask::qemu::Machine;

use crate::Story;
use crate::built;
use crate::stage::Stage;

pub(crate) const STORIES: &[Story] = &[
    Story {
        name: "guest-checks",
        about: "a domain checks time, events, grants, memory and protection of the real Xen, one line a case",
        tell: checks,
    },
    Story { name: "guest-checks-aarch64", about: "the same cases on aarch64", tell: checks },
];

/// Too long for every run.
pub(crate) const NIGHTLY: &[Story] = &[Story {
    name: "guest-checks-again",
    about: "the guest's cases twenty times over: what happens once in a while",
    tell: again,
}];

fn again(stage: &Stage<'_>) -> Result<()> {
    (1..=20).try_for_each(|round| checks(stage).with_context(|| format!("round {round}")))
}

/// What the guest's children say when they reach past the edges of their memory.
const FAULTS: [&str; 5] = [
    "FAULT page fault: write to 0x100000, in the code",
    "in constants",
    "the guard below a stack: the stack is used up",
    "FAULT page fault: read from 0x8, the null page",
    "FAULT page fault: jump to",
];

/// Cases of the guest. A guest that leaves some out must not pass.
const CASES: u32 = 64;

fn checks(stage: &Stage<'_>) -> Result<()> {
    let arch = stage.built().arch;
    let image = built::domain(arch, "tests-guest", "guest")?;
    let images = BTreeMap::from([("guest".to_owned(), image.clone())]);
    let entries = built::entries(&format!("guest-{}", arch.name()), &images, &[("guest.elf", &image)])?;
    let mut machine = stage.start(&stage.direct_with(|all| {
        *all = entries;
        Ok(())
    })?)?;

    let begin = machine.wait_for_from("guest", "span begins at", Duration::from_secs(60))?;
    let host = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    let end = machine.wait_for_from("guest", "span ends after", Duration::from_secs(60))?;
    let ok = finished(&mut machine, "guest", Duration::from_secs(180))?;
    ensure!(ok == CASES, "{ok} cases of {CASES} were told");

    let wall = number_after(&begin, "begins at ")?;
    ensure!(wall.abs_diff(host) < 60, "the guest's wall clock says {wall}, the host's {host}");
    // A clock that runs at half or twice the speed; the machine may be busy, so no more is asked.
    let (theirs, ours) = (number_after(&end, "ends after ")?, (end.at - begin.at).as_micros() as u64);
    ensure!(
        (theirs / 2..theirs * 2).contains(&ours),
        "a span of {theirs} us was {ours} us by the host's clock"
    );
    if arch == Arch::X86_64 {
        // What an application says in its last moments is seen there only.
        let lines = machine.lines();
        for fault in FAULTS {
            ensure!(lines.iter().any(|line| line.text.contains(fault)), "no application said `{fault}`");
        }
    }
    machine.quit();
    Ok(())
}

/// Waits for the last line `NAME: N ok, M failed` of a domain's cases and returns N. Failed cases are an
/// error with their lines.
pub(crate) fn finished(machine: &mut Machine, name: &str, patience: Duration) -> Result<u32> {
    let prefix = format!("{name}: ");
    let last = machine.wait_for_line("the last line of the cases", patience, |line| {
        line.text.contains(&prefix) && line.text.ends_with(" failed")
    })?;
    let numbers = last.text.split(&prefix).nth(1).and_then(|rest| rest.split_once(" ok, "));
    let numbers = numbers.and_then(|(ok, failed)| {
        Some((ok.parse::<u32>().ok()?, failed.strip_suffix(" failed")?.parse::<u32>().ok()?))
    });
    let (ok, failed) = numbers.with_context(|| format!("no numbers in {last}"))?;
    if failed > 0 {
        let bad: Vec<String> = machine
            .lines()
            .iter()
            .filter(|line| line.text.contains("FAIL "))
            .map(ToString::to_string)
            .collect();
        bail!("{failed} cases failed:\n{}", bad.join("\n"));
    }
    Ok(ok)
}

fn number_after(line: &Line, words: &str) -> Result<u64> {
    let digits = line.text.split(words).nth(1).map(|rest| rest.split(' ').next().unwrap_or_default());
    digits.and_then(|digits| digits.parse().ok()).with_context(|| format!("no number in {line}"))
}
