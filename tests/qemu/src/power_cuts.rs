//! The power goes at any instant: of an update from its first byte to its proof, and of ordinary life, in which the
//! store is written.
//!
//! QEMU and the TPM are killed, and started again on the disk and the state that they left. The instants follow from a
//! seed that is printed; `SARSEN_CUTS_SEED` sets it. Some lie before dom0, where the selector takes a try off a slot; some
//! in the seconds after, where the store is found; some up to where a version is under test; some where a slot is armed or
//! a version has proven itself, each with a selector that is replaced: every version brings another one. A version that
//! was cut off under test is left by the selector, as it should; the story asks for it once more then, and for another one
//! when it is proven. What is looked at, in each life that is long enough:
//!
//! 1. One of the two versions starts: the one that was told as proven, or the one that is asked for.
//! 2. The device is who it was: the only one that the controller knows, and registered once. (A version under test whose
//!    storage is still locked says by its certificate who it is, and is told that it is known.)
//! 3. The store is found, never made anew, and nothing in it is damaged; the number of the start is greater than
//!    any that the controller was told.
//!
//! In the end the device is attested, gets to the version that it is asked for, and runs its application with the
//! arguments that it was given last.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use xtask::site;
use xtask::slot;

use crate::Story;
use crate::application::no_violations;
use crate::device::{AROUND, Device};
use crate::random::Random;
use crate::stage::Stage;

pub(crate) const STORIES: &[Story] = &[
    Story {
        name: "power_cuts",
        about: "the power goes 20 times at any instant of updates: one of two versions starts, and the device is who it was and has what it had",
        tell: |stage| power_cuts(stage, 20, 5),
    },
    Story {
        name: "power_cuts-more",
        about: "the same at 20 other instants, beside the first story",
        tell: |stage| power_cuts(stage, 20, 6),
    },
];

pub(crate) const NIGHTLY: &[Story] = &[Story {
    name: "power_cuts-hundred",
    about: "the story `power_cuts` with a hundred cuts, some 40 minutes",
    tell: |stage| power_cuts(stage, 100, 7),
}];

/// From power-on to dom0's word about the slot.
const START: Duration = Duration::from_secs(180);

/// What a life is cut off by.
#[derive(Clone, Copy)]
enum Since {
    PowerOn,
    /// dom0's word about the slot.
    Dom0,
    /// The first such line of control after it; without one, the life ends after [`UNSEEN`].
    Control(&'static str),
}

/// Within the firmware and the selector.
const FIRMWARE: (Since, u64) = (Since::PowerOn, 8000);
/// Until the device works.
const EARLY: (Since, u64) = (Since::Dom0, 8000);
/// Through an update.
const UPDATE: (Since, u64) = (Since::Dom0, 45_000);
/// Where the second selector is replaced, and the slot armed.
const ARMED: (Since, u64) = (Since::Control("-> Arming"), 1500);
/// Where a version is proven, and the first selector replaced.
const PROVEN: (Since, u64) = (Since::Control("Testing -> "), 2500);
/// One life after the other, and so on: since when, and how many milliseconds more at most.
const LIVES: [(Since, u64); 10] =
    [UPDATE, FIRMWARE, EARLY, ARMED, PROVEN, EARLY, ARMED, FIRMWARE, UPDATE, EARLY];
/// How long a line of control is waited for: a download, a reset and a test.
const UNSEEN: Duration = Duration::from_secs(120);
/// How often a life is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Between two changes of the configuration.
const CHANGE: Duration = Duration::from_secs(3);
/// How often a version may fail in the end, without any cut.
const FAILURES: usize = 1;

/// What a store says that has lost something.
const LOSSES: [&str; 5] = [
    "its partition was empty, and is formatted",
    "and begins anew",
    "was damaged, and is dropped",
    "PANIC",
    "nothing was started",
];

/// A device through its lives.
struct Lives<'s> {
    device: Device<'s>,
    random: Random,
    /// The version that was told as proven.
    proven: String,
    /// The one that is asked for.
    wanted: String,
    /// How many versions were asked for.
    versions: u32,
    /// The counter by which a version that failed is asked for once more.
    retry: u32,
    /// How many changes the configuration has had.
    changes: u32,
    /// The highest number of a start that the controller was told.
    told: u32,
    registered_ms: i64,
    /// Lines of this life that are from before the first cut was to come.
    skipped: usize,
}

fn power_cuts(stage: &Stage<'_>, cuts: usize, seed: u64) -> Result<()> {
    let random = Random::seeded("SARSEN_CUTS_SEED", seed)?;
    let device = Device::start(stage)?;
    device.is_attested()?;
    let mut lives = Lives {
        registered_ms: device.registered_ms()?,
        skipped: device.machine.lines().len(),
        device,
        random,
        proven: slot::VERSION.into(),
        wanted: slot::VERSION.into(),
        versions: 0,
        retry: 0,
        changes: 0,
        told: 0,
    };
    lives.next_version()?;
    for (cut, (since, longest_ms)) in (1..=cuts).zip(LIVES.into_iter().cycle()) {
        let life = Duration::from_millis(lives.random.below(longest_ms));
        // The first life was seen to start.
        if cut > 1 && !matches!(since, Since::PowerOn) {
            lives.starts()?;
        }
        if let Since::Control(words) = since {
            lives.live(UNSEEN, Some(words))?;
        }
        lives.live(life, None)?;
        lives.device.machine.kill();
        println!("     cut {cut}: {}", lives.left());
        lives.is_whole()?;
        lives.skipped = 0;
        lives.device.power_on()?;
    }
    lives.starts()?;
    lives.comes_back()?;
    lives.is_whole()?;
    println!("     {} versions were asked for, {} retries", lives.versions, lives.retry);
    no_violations(&lives.device.site)?;
    lives.device.machine.quit();
    Ok(())
}

impl Lives<'_> {
    /// dom0 tells which version was started.
    fn starts(&mut self) -> Result<()> {
        let line = self.device.machine.wait_for_from("dom0", "boot: slot ", START)?;
        let version = line.text.split_once(", version ").and_then(|(_, rest)| rest.split_once(':'));
        let (version, _) = version.with_context(|| format!("no version in {line}"))?;
        ensure!(
            version == self.proven || version == self.wanted,
            "{version} was started, where {} was proven and {} asked for",
            self.proven,
            self.wanted
        );
        Ok(())
    }

    /// The device runs for so long, or until control has said this, and is told something new every now and then.
    fn live(&mut self, life: Duration, until: Option<&str>) -> Result<()> {
        let end = Instant::now() + life;
        let (mut seen, mut next) = (self.skipped, Instant::now() + CHANGE);
        loop {
            if let Some(words) = until {
                let lines = self.device.machine.lines_from(seen);
                seen += lines.len();
                if lines.iter().any(|line| line.who == "control" && line.text.contains(words)) {
                    return Ok(());
                }
            }
            if Instant::now() >= end {
                return Ok(());
            }
            if Instant::now() >= next {
                next = Instant::now() + CHANGE;
                self.look()?;
                self.change()?;
            }
            std::thread::sleep(LOOK.min(end.saturating_duration_since(Instant::now())));
        }
    }

    /// What the controller was told: whether the version that is asked for has proven itself, or failed.
    fn look(&mut self) -> Result<()> {
        let slots = self.device.slots();
        if slots.iter().any(|slot| slot.runs(&self.wanted)) {
            self.proven.clone_from(&self.wanted);
            return self.next_version();
        }
        let failed =
            |slot: &&xtask_controller::SlotView| slot.version == self.wanted && !slot.error.is_empty();
        let told = self.device.retries();
        // As long as the last retry was not heard of, the failure told is the one before it.
        if slots.iter().any(|slot| failed(&slot)) && told == self.retry {
            self.retry += 1;
            self.change()?;
        }
        Ok(())
    }

    fn next_version(&mut self) -> Result<()> {
        self.versions += 1;
        self.wanted = format!("0.2.{}", self.versions);
        self.device.bring_another_selector()?;
        self.device.offer(&self.wanted, None, &self.greeting())?;
        self.change()
    }

    fn greeting(&self) -> String {
        format!("change-{}", self.changes)
    }

    /// Another configuration: it is kept, and the application gets other arguments.
    fn change(&mut self) -> Result<()> {
        self.changes += 1;
        self.device.ask(&self.wanted, &format!("retry = {}", self.retry), &self.greeting())
    }

    /// It is the device that it was, and has what it had.
    fn is_whole(&mut self) -> Result<()> {
        let lines = self.device.machine.lines_from(self.skipped);
        let lost = lines.iter().find(|line| LOSSES.iter().any(|words| line.text.contains(words)));
        ensure!(lost.is_none(), "{}", lost.map(ToString::to_string).unwrap_or_default());
        let number = lines.iter().rev().find_map(|line| number(&line.text));
        if let Some(number) = number {
            ensure!(number > self.told, "start number {number} follows number {}", self.told);
        }
        let started = self.device.site.controller.observe(|seen| -> Result<u32> {
            ensure!(seen.devices.len() == 1, "there are {} devices", seen.devices.len());
            let device = seen.devices.get(&self.device.uuid).context("the device is another one")?;
            ensure!(device.registered_ms == self.registered_ms, "the device was registered again");
            Ok(device.info.as_ref().map_or(0, |info| info.restarts + 1))
        })?;
        self.told = self.told.max(started);
        Ok(())
    }

    /// Where the life had got to.
    fn left(&self) -> String {
        let line = self.device.machine.lines().into_iter().rev().find(|line| line.who != "xen");
        line.map_or_else(|| "before a word".into(), |line| line.to_string())
    }

    /// All is well without any cut.
    fn comes_back(&mut self) -> Result<()> {
        let device = &self.device;
        device.is_attested()?;
        for failure in 0.. {
            let wanted = self.wanted.clone();
            let retry = self.retry;
            let told = self.device.site.controller.wait_for("the end of the update", 2 * AROUND, |seen| {
                let info = seen.devices.get(&self.device.uuid)?.info.as_ref()?;
                let proven = info.slots.iter().any(|slot| slot.runs(&wanted));
                let failed = info.slots.iter().find(|slot| slot.version == wanted && !slot.error.is_empty());
                let failed = failed.filter(|_| info.retry_counter == retry).map(|slot| slot.error.clone());
                if proven { Some(None) } else { failed.map(Some) }
            })?;
            let Some(error) = told else { break };
            if failure > FAILURES {
                bail!("{wanted} fails without a cut: {error}");
            }
            self.retry += 1;
            self.change()?;
        }
        self.device.is_attested()?;
        // As the application begins each of its lines.
        let greeting = format!("{} ", self.greeting());
        self.device.site.controller.wait_app_line(site::APP, &greeting, AROUND)?;
        Ok(())
    }
}

/// The number in control's line about a start.
fn number(text: &str) -> Option<u32> {
    text.split_once("device: start number ")?.1.split(':').next()?.parse().ok()
}
