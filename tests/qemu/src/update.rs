//! Updates: a controller names another version, and the device gets there, or stays with what it has.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use xtask::broken::{self, Broken};
use xtask::site;

use crate::Story;
use crate::application::no_violations;
use crate::device::{AROUND, Device};
use crate::selector::{change_first_selector, programs, zero_first_selector};
use crate::stage::Stage;

pub(crate) const STORIES: &[Story] = &[
    Story {
        name: "update",
        about: "another version is fetched, tried, attested and committed, its selector is in both places, and the application is back; one whose dom0 panics falls back, is told of with its last words, and is not tried again; without its first selector the machine starts by the second, and mends the first",
        tell: update,
    },
    Story { name: "update-aarch64", about: "the same on aarch64, with a dom0 that gives up", tell: update },
    Story {
        name: "measured_otherwise",
        about: "a selector that was changed is measured: the key stays shut, the controller refuses the device and names what differs; changed back, the next start is attested",
        tell: measured_otherwise,
    },
];

pub(crate) const NIGHTLY: &[Story] =
    &[Story { name: "measured_otherwise-aarch64", about: "the same on aarch64", tell: measured_otherwise }];

/// What is asked for first.
const NEXT: &str = "0.2.0";
/// What is asked for then.
const BAD: &str = "0.3.0";

fn update(stage: &Stage<'_>) -> Result<()> {
    let mut device = Device::start(stage)?;
    device.is_attested()?;
    let new = device.bring_another_selector()?;
    let arch = stage.built().arch;
    let old = programs(&device.disk()?, arch)?;
    ensure!(old[0] == old[1] && old[0] != new, "the disk has two selectors, and the same");

    let seen = device.starts();
    device.offer(NEXT, None, "second")?;
    let boot = device.started_after(seen)?;
    ensure!(boot.version == NEXT, "the device started {boot:?}");
    let controller = &device.site.controller;
    let proven = controller.wait_version(device.uuid, NEXT, AROUND)?;
    ensure!(proven.label == "IMGB", "the new version is in {proven:?}");
    device.is_attested()?;
    controller.wait_app_line(site::APP, "second", AROUND)?;
    for which in ["second", "first"] {
        let line =
            device.machine.wait_for_from("storage", &format!("the {which} selector is replaced"), AROUND)?;
        println!("     {line}");
    }

    device.offer(BAD, Some(Broken::Panic), "third")?;
    // Not by the number of the start: this is the first one by the new selector, so that the storage opens late, and a
    // device without a clock may tell of it as of the one before.
    let controller = &device.site.controller;
    let error = controller.wait_version_error(device.uuid, BAD, broken::last_words(arch), AROUND)?;
    println!("     told of {BAD}: {error}");
    ensure!(error.contains("fell back"), "{error}");
    let boot = device.last_start()?;
    ensure!(boot.version == NEXT && boot.label == "IMGB", "the device fell back to {boot:?}");
    ensure!(boot.reason == "KERNEL" && error.contains(&boot.text), "{boot:?}");
    controller.wait_app_line(site::APP, "third", AROUND)?;
    device.is_attested()?;
    // Nobody tries it again.
    let starts = dom0_starts(&device);
    std::thread::sleep(Duration::from_secs(20));
    ensure!(dom0_starts(&device) == starts, "the device started again: {:?}", device.slots());

    // The file in which U-Boot keeps its variables on the first partition makes it no other one.
    let lines = device.machine.lines();
    let replaced = lines
        .iter()
        .filter(|line| line.who == "storage" && line.text.contains("the first selector is replaced"));
    ensure!(replaced.count() == 1, "the first selector was replaced more than once");

    // Both selectors are those of the new version; and without the first one the second one does.
    let both =
        |disk: &Path| -> Result<bool> { Ok(programs(disk, arch)?.iter().all(|program| *program == new)) };
    device.power_cycle(&["PANIC", "boot reason", "Dom0 crashed", "dom0 crashed"], |disk| {
        ensure!(both(disk)?, "the selectors are not those of {NEXT}");
        zero_first_selector(disk)
    })?;
    device.machine.wait_for_from("dom0", &format!("boot: slot B, version {NEXT}"), AROUND)?;
    device.machine.wait_for_from("storage", "the first selector is replaced", AROUND)?;
    const ATTESTED: &str = "attestation: complete";
    if !device.machine.lines().iter().any(|line| line.who == "control" && line.text.contains(ATTESTED)) {
        device.machine.wait_for_from("control", ATTESTED, AROUND)?;
    }
    device.site.controller.wait_for("the reason of the start", AROUND, |seen| {
        let boot = seen.devices.get(&device.uuid)?.boots.last()?;
        (boot.reason == "POWER_FAIL").then_some(())
    })?;
    device.machine.quit();
    ensure!(both(&device.disk()?)?, "the first selector was not mended");
    no_violations(&device.site)?;
    stage.end_but(device.machine, &["boot reason"])
}

fn measured_otherwise(stage: &Stage<'_>) -> Result<()> {
    const SELECTOR: u32 = 4;
    let mut device = Device::start(stage)?;
    device.is_attested()?;
    device.expect_what_was_seen()?;
    device.power_cycle(&[], change_first_selector)?;
    let line = device.machine.wait_for_from(
        "vault",
        "locked: other measurements than when it was sealed",
        AROUND,
    )?;
    ensure!(line.text.contains("PCR 4"), "{line}");
    let verdict = device.site.controller.wait_for("a quote that is refused", AROUND, |seen| {
        let quote = seen.devices.get(&device.uuid)?.quote.as_ref().filter(|quote| !quote.trusted)?;
        let differs = quote.differences.iter().any(|(pcr, event)| *pcr == SELECTOR && !event.is_empty());
        differs.then(|| quote.verdict.clone())
    })?;
    println!("     {verdict}");
    // Back again, its key is to be had.
    device.power_cycle(&[], change_first_selector)?;
    device.is_attested()?;
    // What the controller holds against it is this one thing.
    let told = device.site.controller.violations();
    let is_this = |reason: &str| reason.contains("QUOTE_FAILED") && reason.contains("PCR 4, event");
    ensure!(!told.is_empty() && told.iter().all(|one| is_this(&one.reason)), "{told:#?}");
    stage.end(device.machine)
}

/// How often dom0 was started since power-on.
fn dom0_starts(device: &Device<'_>) -> usize {
    let lines = device.machine.lines();
    lines.iter().filter(|line| line.who == "dom0" && line.text.contains("boot: slot ")).count()
}
