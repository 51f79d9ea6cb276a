//! Services that are killed, panic or hang: they come back by themselves, the application runs on, and the
//! controller misses no line.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xtask::qemu::{Boot, Machine, Options};
use xtask::site::{self, Site};

use crate::Story;
use crate::application::{PATIENCE, app, config, no_violations};
use crate::stage::Stage;

pub(crate) const STORIES: &[Story] = &[
    Story {
        name: "net_killed",
        about: "net is killed again and again: it and control's connections come back, the application runs on",
        tell: net_killed,
    },
    Story {
        name: "control_killed",
        about: "control is killed again and again: it adopts what runs, and no line is lost",
        tell: control_killed,
    },
    Story {
        name: "service_panics",
        about: "a service that panics leaves its last words to dom0 and to the controller, and comes back",
        tell: panics,
    },
    Story {
        name: "service_hangs",
        about: "a service that hangs is found in time, and comes back",
        tell: hangs,
    },
    Story {
        name: "watchdog",
        about: "a dom0 that feeds no watchdog is reset with the machine, and the next one says so",
        tell: watchdog,
    },
    Story {
        name: "watchdog-aarch64",
        about: "the same, by Xen's watchdog: started directly, the machine has no other",
        tell: xen_watchdog,
    },
    Story { name: "net_killed-aarch64", about: "the same as on x86_64", tell: net_killed },
    Story { name: "control_killed-aarch64", about: "the same as on x86_64", tell: control_killed },
    Story { name: "service_panics-aarch64", about: "the same as on x86_64", tell: panics },
    Story { name: "service_hangs-aarch64", about: "the same as on x86_64", tell: hangs },
];

/// How long a round of a drill may take, whatever the machine does beside it.
const ROUND: Duration = Duration::from_secs(60);

/// How soon a hang is found.
const HUNG_WITHIN: Duration = Duration::from_secs(2);
/// How late dom0 may be itself, on a machine that does other things too: it forgives so much, and no more.
const LATE: Duration = Duration::from_secs(1);

/// A provisioned machine that runs the sample application, with this drill ahead of it.
fn start(stage: &Stage<'_>, site: &Site, drill: &str) -> Result<Machine> {
    site.offer_sample(stage.built(), &config(&app("args = \"greeting=tick-tock\"")))?;
    let mut options = stage.provisioned(site)?;
    dom0_words(&mut options, &format!("drill={drill}"));
    stage.start(&options)
}

/// Adds words to dom0's command line.
pub(crate) fn dom0_words(options: &mut Options, words: &str) {
    if let Boot::Direct { dom0_command_line, .. } = &mut options.boot {
        dom0_command_line.push_str(words);
    }
}

/// The application's lines that the controller has, as the numbers in them.
fn ticks(site: &Site) -> Result<Vec<u64>> {
    site.controller.observe(|seen| {
        let lines = seen.app_lines(site::APP).filter_map(|line| line.content.rsplit_once("tick "));
        lines.map(|(_, tick)| tick.parse().with_context(|| format!("`{tick}` is no number"))).collect()
    })
}

/// Waits until the controller has a line that the application has yet to write, and `more` after it; then
/// the application was never started again and no line of it is missing.
fn runs_on(site: &Site, more: u64) -> Result<()> {
    let last = ticks(site)?.into_iter().max().unwrap_or(0);
    let wanted = format!("tick {}", last + more);
    site.controller.wait_app_line(site::APP, &wanted, PATIENCE)?;
    let ticks = ticks(site)?;
    let begins = ticks.iter().filter(|&&tick| tick == 0).count();
    let distinct: BTreeSet<u64> = ticks.iter().copied().collect();
    let highest = distinct.last().copied().unwrap_or(0);
    let missing: Vec<u64> = (0..=highest).filter(|tick| !distinct.contains(tick)).collect();
    println!("     {} lines of the application up to {highest}, {begins} times the first", ticks.len());
    ensure!(missing.is_empty(), "the controller misses lines of the application: {missing:?}");
    Ok(())
}

/// The application was started once: dom0 says so.
fn started_once(machine: &Machine) -> Result<()> {
    let lines = machine.lines();
    let starts = lines.iter().filter(|line| line.text.contains("measure create.hello")).count();
    ensure!(starts == 1, "the application was started {starts} times");
    Ok(())
}

/// Ends the machine; deaths are what such a story is about.
fn end(mut machine: Machine) -> Result<()> {
    machine.quit();
    let lines = machine.lines();
    let bad =
        lines.iter().find(|line| line.text.contains("(XEN) Panic") || line.text.contains("is given up"));
    ensure!(bad.is_none(), "{}", bad.map(ToString::to_string).unwrap_or_default());
    Ok(())
}

fn net_killed(stage: &Stage<'_>) -> Result<()> {
    const TIMES: u32 = 4;
    let site = stage.site()?;
    let mut machine = start(stage, &site, &format!("net:6000:{TIMES}"))?;
    for _ in 0..TIMES {
        machine.wait_for_from("dom0", "measure kill-to-healthy.net", ROUND)?;
    }
    site.controller.wait_app_state(site::APP, "RUNNING", PATIENCE)?;
    runs_on(&site, 5)?;
    started_once(&machine)?;
    no_violations(&site)?;
    end(machine)
}

fn control_killed(stage: &Stage<'_>) -> Result<()> {
    const TIMES: u32 = 4;
    let site = stage.site()?;
    let mut machine = start(stage, &site, &format!("control:7000:{TIMES}"))?;
    site.controller.wait_app_state(site::APP, "RUNNING", PATIENCE)?;
    // On a slow host the first kill may come ahead of the application.
    for _ in 0..TIMES {
        machine.wait_for_from("dom0", "measure kill-to-healthy.control", ROUND)?;
    }
    machine.wait_for_from("control", "runs on", PATIENCE)?;
    runs_on(&site, 5)?;
    started_once(&machine)?;
    // dom0's own log came through each time, in spite of the lives that had it and could not pass it on.
    for round in 1..=TIMES {
        site.controller.wait_device_line(&format!("drill {round}: domain control"), PATIENCE)?;
    }
    no_violations(&site)?;
    end(machine)
}

fn panics(stage: &Stage<'_>) -> Result<()> {
    const WORDS: &str = "PANIC at ";
    let site = stage.site()?;
    let mut machine = start(stage, &site, "panic:control:8000:1")?;
    let line = machine.wait_for_from("dom0", "its last words: ", ROUND)?;
    ensure!(line.text.contains(WORDS) && line.text.contains("dom0 ordered it"), "{line}");
    machine.wait_for_from("dom0", "measure kill-to-healthy.control", ROUND)?;
    // The one who died could not tell; the one who came after it does.
    site.controller.wait_device_line("its last words: PANIC at ", PATIENCE)?;
    runs_on(&site, 3)?;
    started_once(&machine)?;
    end(machine)
}

fn hangs(stage: &Stage<'_>) -> Result<()> {
    let site = stage.site()?;
    let mut machine = start(stage, &site, "hang:net:8000:1")?;
    let ordered = machine.wait_for_from("dom0", "drill 1: domain net", ROUND)?;
    let ended = machine.wait_for_from("dom0", "domain net is ended: it did not answer", ROUND)?;
    // Two seconds, and what dom0 itself and the console may be late by.
    let found = ended.at.saturating_sub(ordered.at);
    ensure!(found <= HUNG_WITHIN + LATE, "the hang was found after {:.1} s", found.as_secs_f64());
    machine.wait_for_from("dom0", "measure kill-to-healthy.net", ROUND)?;
    runs_on(&site, 3)?;
    started_once(&machine)?;
    no_violations(&site)?;
    end(machine)
}

fn watchdog(stage: &Stage<'_>) -> Result<()> {
    let mut options = stage.direct();
    options.reboot = true;
    dom0_words(&mut options, "drill=starve:1000");
    let mut machine = stage.start(&options)?;
    machine.wait_for_from("dom0", "watchdog: the hardware (iTCO) resets the machine", ROUND)?;
    machine.wait_for_from("dom0", "the watchdogs are not fed any more", ROUND)?;
    machine.wait_for_from("dom0", "boot reason: the watchdog has reset the machine", ROUND)?;
    machine.wait_for_from("dom0", "domain net: ready", ROUND)?;
    machine.quit();
    Ok(())
}

fn xen_watchdog(stage: &Stage<'_>) -> Result<()> {
    let mut options = stage.direct();
    options.reboot = true;
    dom0_words(&mut options, "drill=starve:1000");
    let mut machine = stage.start(&options)?;
    machine.wait_for_from("dom0", "watchdog: Xen resets the machine", ROUND)?;
    machine.wait_for_from("dom0", "the watchdogs are not fed any more", ROUND)?;
    machine.wait_for_from("xen", "watchdog rebooting machine", ROUND)?;
    machine.wait_for_from("dom0", "sarsen dom0", ROUND)?;
    machine.wait_for_from("dom0", "domain net: ready", ROUND)?;
    machine.quit();
    Ok(())
}
