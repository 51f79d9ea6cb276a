//! Versions that start and are of no use: the device falls back from each by itself, tells why, and does not try it
//! again.

use std::time::Duration;

use anyhow::{Result, ensure};
use xtask::broken::Broken;
use xtask::site;
use xtask::slot;

use crate::Story;
use crate::application::no_violations;
use crate::device::{AROUND, Device};
use crate::stage::Stage;

pub(crate) const NIGHTLY: &[Story] = &[
    Story {
        name: "update_hang",
        about: "a version whose dom0 stands still is ended by the watchdog",
        tell: |stage| falls_back(stage, Broken::Hang, "watchdog"),
    },
    Story {
        name: "update_no_network",
        about: "a version without a network card gives up by itself",
        tell: |stage| falls_back(stage, Broken::NoNetwork, ""),
    },
    Story {
        name: "update_no_way",
        about: "a version whose control cannot ask anybody gives up by itself",
        tell: |stage| falls_back(stage, Broken::NoWay, ""),
    },
    Story {
        name: "update_no_unseal",
        about: "a version that does not get at what is stored gives up by itself",
        tell: |stage| falls_back(stage, Broken::NoUnseal, ""),
    },
];

const BAD: &str = "0.2.0";
/// From a version on trial to the old one. The longest is a control that is never ready: dom0 ends it after a minute each time,
/// and the fourth has the machine reset.
const BACK: Duration = Duration::from_secs(600);
/// So long nobody tries the version again.
const QUIET: Duration = Duration::from_secs(30);

fn falls_back(stage: &Stage<'_>, broken: Broken, why: &str) -> Result<()> {
    let mut device = Device::start(stage)?;
    device.is_attested()?;
    let seen = device.starts();
    device.offer(BAD, Some(broken), "second")?;
    let controller = &device.site.controller;
    let back = controller.wait_for("the old version's start", BACK, |seen_now| {
        let boots = &seen_now.devices.get(&device.uuid)?.boots;
        boots.last().filter(|boot| boot.number > seen && boot.version == slot::VERSION).cloned()
    })?;
    ensure!(back.label == "IMGA", "the device fell back to {back:?}");
    let error = controller.wait_version_error(device.uuid, BAD, "", AROUND)?;
    println!("     told of {BAD}: {error}; of the start: {} ({})", back.text, back.reason);
    ensure!(error.contains(why), "no `{why}` in {error}");
    device.machine.wait_for("selector: slot B (priority 3, tries 1, not proven): it is tried", AROUND)?;
    controller.wait_app_line(site::APP, "second", AROUND)?;
    device.is_attested()?;
    std::thread::sleep(QUIET);
    let tries = device.machine.lines().iter().filter(|line| line.text.contains("): it is tried")).count();
    ensure!(tries == 1, "the version was tried {tries} times");
    ensure!(device.starts() == back.number, "the device started again: {:?}", device.slots());
    no_violations(&device.site)?;
    // What harm the bad version comes to is its own; the next dom0 tells of the end before it.
    let lines = device.machine.lines();
    let tried = lines.iter().position(|line| line.text.contains("): it is tried")).unwrap_or(lines.len());
    let harm =
        lines.iter().take(tried).find(|line| line.text.contains("PANIC") || line.text.contains("is ended"));
    ensure!(harm.is_none(), "before the update: {harm:?}");
    device.machine.quit();
    Ok(())
}
