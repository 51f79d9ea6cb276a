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

pub(crate) const STORIES: &[Story] = &[Story {
    name: "net_killed",
    about: "net is killed again and again: it and control's connections come back, the application runs on",
    tell: net_killed,
}];

/// How long a round of a drill may take, whatever the machine does beside it.
const ROUND: Duration = Duration::from_secs(60);

/// A provisioned machine that runs the sample application, with this drill ahead of it.
fn start(stage: &Stage<'_>, site: &Site, drill: &str) -> Result<Machine> {
    site.offer_sample(stage.built(), &config(&app("args = \"greeting=tick-tock\"")))?;
    let mut options = stage.provisioned(site)?;
    dom0_words(&mut options, &format!("drill={drill}"));
    stage.start(&options)
}

fn dom0_words(options: &mut Options, words: &str) {
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
