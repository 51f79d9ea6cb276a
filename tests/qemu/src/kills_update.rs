//! Services are killed at random times while a device becomes one and changes its system: from its first second through
//! onboarding, attestation, download, start and proof of another version.
//!
//! dom0 kills vault, storage, control and net by its command line, in a drill that begins with the start
//! (`drill=early:…`) and once more, in another order, with the start of the new version. Then control is killed twice
//! only: a version whose control ends more often under test falls back, as it should. The order follows from a seed
//! that is printed; `SARSEN_KILLS_SEED` sets it. What is looked at:
//!
//! 1. The controller knows one device, which registered once; it is attested in the end, with open storage.
//! 2. The new version is started once and proven; the application has the arguments that it was given last.
//! 3. The controller has dom0's line about each kill, of both starts, and no line in two numbers. Within each start the
//!    numbers of each source have no gap; lines come again no oftener than files could be lost.
//! 4. No service died but by order, and nobody was given up.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use proto_update::machine::MAX_LIVES;
use xtask::console::Line;
use xtask::site;

use crate::Story;
use crate::application::no_violations;
use crate::device::{AROUND, Device};
use crate::kills::{KILLS_SEED, deaths};
use crate::random::seed;
use crate::stage::Stage;

pub(crate) const STORIES: &[Story] = &[Story {
    name: "kills_update",
    about: "vault, storage, control and net are killed again and again from the first second to a proven update: registered once, attested, no line lost",
    tell: |stage| kills_update(stage, 12, 50),
}];

pub(crate) const NIGHTLY: &[Story] = &[Story {
    name: "kills_update-twohundred",
    about: "the story `kills_update` with at least two hundred kills",
    tell: |stage| kills_update(stage, 66, 200),
}];

/// The seed unless another one is asked for.
const SEED: u64 = 5;
/// How often control is killed under test: not as often as would be held against the version.
const UNDER_TEST: u32 = MAX_LIVES - 1;
/// Pauses between kills, in milliseconds: the shortest, the longest of most, the longest of all.
const PAUSES: &str = "100-3000-15000";
/// What is asked for.
const NEXT: &str = "0.2.0";
/// Those of the machine, each with kills.
const STARTS: usize = 2;
/// How often the story looks.
const LOOK: Duration = Duration::from_millis(500);
/// From the configuration with the new version until it is proven.
const PROOF: Duration = Duration::from_secs(900);

/// `each`: how often each service is to be killed in each start, but for control under test. `least`: how many kills are to
/// be seen; the second start sees all of its own, the first one those that there is time for until it arms the other version.
fn kills_update(stage: &Stage<'_>, each: u32, least: usize) -> Result<()> {
    let seed = seed(KILLS_SEED, SEED)?;
    let mut built = stage.built().clone();
    built.dom0_words = format!("drill=early:{seed}:vault+storage+control+net:{PAUSES}:{each}");
    let mut device = Device::switch_on(stage, built, AROUND)?;
    // Each name stands for as many kills.
    let others = "+vault+storage+net".repeat((each / UNDER_TEST) as usize);
    let seed = seed.wrapping_add(1);
    device.built.dom0_words = format!("drill=early:{seed}:control{others}:{PAUSES}:{UNDER_TEST}");
    let registered = device.registered_ms()?;
    device.is_attested()?;
    let seen = device.starts();
    device.offer(NEXT, None, "second")?;

    let mut log = Log::default();
    let end = Instant::now() + PROOF;
    loop {
        log.look(&device)?;
        if device.slots().iter().any(|slot| slot.runs(NEXT)) {
            break;
        }
        if let Some(why) = device.machine.trouble() {
            bail!("{why}\n{}", device.machine.tail());
        }
        ensure!(
            Instant::now() < end,
            "{NEXT} is not proven: {:?}\n{}",
            device.slots(),
            device.machine.tail()
        );
        std::thread::sleep(LOOK);
    }
    // That of the first start may have come to its end as well.
    device.machine.wait_for_from("dom0", "boot: slot B, version", AROUND)?;
    device.machine.wait_for_from("dom0", "drill: done", PROOF)?;
    device.is_attested()?;
    device.site.controller.wait_app_line(site::APP, "second", AROUND)?;
    let lines = device.machine.lines();
    let kills: Vec<&Line> = lines.iter().filter(|line| is_drill(line)).collect();
    ensure!(kills.len() >= least, "{} kills, and {least} are the least", kills.len());
    let end = Instant::now() + AROUND;
    while let Some(missing) = log.missing(&kills).or_else(|| log.gaps()) {
        ensure!(Instant::now() < end, "the controller misses {missing}");
        std::thread::sleep(LOOK);
        log.look(&device)?;
    }
    let (known, again) = (log.numbers.len(), log.again);
    println!("     {} kills told; {known} lines, {again} came again in {} files", kills.len(), log.replays);
    ensure!(log.replays <= kills.len() + STARTS, "{} files came again", log.replays);

    ensure!(device.registered_ms()? == registered, "the device was registered again");
    ensure!(
        device.starts() == seen + 1,
        "{} starts were told after {seen}: {:?}",
        device.starts(),
        device.slots()
    );
    let died = deaths(&lines).next();
    ensure!(died.is_none(), "a domain died: {}", died.map(ToString::to_string).unwrap_or_default());
    no_violations(&device.site)?;
    device.machine.quit();
    Ok(())
}

/// dom0's line ahead of a kill, of which none is like another: the next life of dom0 has another order.
fn is_drill(line: &Line) -> bool {
    line.who == "dom0" && words_of_drill(&line.text).is_some()
}

fn words_of_drill(text: &str) -> Option<&str> {
    let at = text.find("drill ")?;
    let words = text.get(at..)?;
    words.contains(": domain ").then_some(words)
}

/// The lines that the controller has of the device.
#[derive(Default)]
struct Log {
    /// By source, number and time. Each start begins anew with 1.
    numbers: BTreeSet<(String, u64, i64)>,
    /// Of each source whether its last line was new, and how often files with known lines began.
    last_of: BTreeMap<String, bool>,
    replays: usize,
    /// The last that was looked at.
    last: u64,
    /// By source, time and text: the number in the source.
    lines: BTreeMap<(String, i64, String), u64>,
    again: usize,
}

impl Log {
    /// Takes lines that are new, before the controller forgets them.
    fn look(&mut self, device: &Device<'_>) -> Result<()> {
        let lines = device.site.controller.lines_behind(self.last)?;
        for line in lines.into_iter().filter(|line| line.app.is_none()) {
            self.last = line.number;
            let new = self.numbers.insert((line.source.clone(), line.msgid, line.at_ms));
            let was_new = self.last_of.insert(line.source.clone(), new).unwrap_or(true);
            self.replays += usize::from(was_new && !new);
            ensure!(
                line.again != new,
                "the controller has it otherwise that it came before: {new}, {line:?}"
            );
            let key = (line.source.clone(), line.at_ms, line.content.clone());
            match self.lines.get(&key) {
                None => drop(self.lines.insert(key, line.msgid)),
                Some(known) if *known == line.msgid => self.again += 1,
                // Two of a kind in one millisecond; those of the drill differ.
                Some(_) if words_of_drill(&line.content).is_none() => {}
                Some(known) => bail!("a line came as number {known}, and again: {line:?}"),
            }
        }
        Ok(())
    }

    /// The first number that lacks between others of the same source and start.
    fn gaps(&self) -> Option<String> {
        // dom0's first line is the first of all.
        let firsts = self.numbers.iter().filter(|(source, number, _)| source == "dom0" && *number == 1);
        let begins: Vec<i64> = firsts.map(|(.., at_ms)| *at_ms).collect();
        if begins.len() != STARTS {
            return Some(format!("the first lines of {STARTS} starts, but for those at {begins:?}"));
        }
        let mut sources: BTreeMap<(usize, &str), BTreeSet<u64>> = BTreeMap::new();
        for (source, number, at_ms) in &self.numbers {
            let start = begins.iter().filter(|begin| *begin <= at_ms).count();
            sources.entry((start, source)).or_default().insert(*number);
        }
        sources.into_iter().find_map(|((start, source), numbers)| {
            let mut all = 1..=numbers.last().copied().unwrap_or_default();
            let lacks = all.find(|number| !numbers.contains(number))?;
            Some(format!("number {lacks} of {source} in start {start}"))
        })
    }

    /// The first kill of which the controller has no line.
    fn missing(&self, kills: &[&Line]) -> Option<String> {
        let told: Vec<&str> =
            self.lines.keys().filter_map(|(_, _, content)| words_of_drill(content)).collect();
        let mut words = kills.iter().filter_map(|line| words_of_drill(&line.text));
        words.find(|words| !told.contains(words)).map(str::to_owned)
    }
}
