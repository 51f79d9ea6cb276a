//! Updates: a controller names another version, and the device gets there, or stays with what it has.

use std::time::Duration;

use anyhow::{Result, ensure};
use xtask::broken::Broken;
use xtask::site;

use crate::Story;
use crate::application::no_violations;
use crate::device::{AROUND, Device};
use crate::stage::Stage;

pub(crate) const STORIES: &[Story] = &[
    Story {
        name: "update",
        about: "another version is fetched, tried, attested and committed, and the application is back; one that panics falls back, is told of, and is not tried again",
        tell: update,
    },
    Story { name: "update-aarch64", about: "the same on aarch64", tell: update },
];

/// What is asked for first.
const NEXT: &str = "0.2.0";
/// What is asked for then.
const BAD: &str = "0.3.0";

fn update(stage: &Stage<'_>) -> Result<()> {
    let mut device = Device::start(stage)?;
    device.is_attested()?;

    let seen = device.starts();
    device.offer(NEXT, None, "second")?;
    let boot = device.started_after(seen)?;
    ensure!(boot.version == NEXT, "the device started {boot:?}");
    let controller = &device.site.controller;
    let proven = controller.wait_version(device.uuid, NEXT, AROUND)?;
    ensure!(proven.label == "IMGB", "the new version is in {proven:?}");
    device.is_attested()?;
    controller.wait_app_line(site::APP, "second", AROUND)?;

    let seen = device.starts();
    device.offer(BAD, Some(Broken::Panic), "third")?;
    let boot = device.started_after(seen)?;
    ensure!(boot.version == NEXT && boot.label == "IMGB", "the device fell back to {boot:?}");
    let controller = &device.site.controller;
    let error = controller.wait_version_error(device.uuid, BAD, "", AROUND)?;
    println!("     told of {BAD}: {error}; of the start: {} ({})", boot.text, boot.reason);
    controller.wait_app_line(site::APP, "third", AROUND)?;
    device.is_attested()?;
    // Nobody tries it again.
    std::thread::sleep(Duration::from_secs(20));
    ensure!(device.starts() == boot.number, "the device started again: {:?}", device.slots());
    no_violations(&device.site)?;
    stage.end_but(device.machine, &["PANIC", "boot reason", "Dom0 crashed"])
}
