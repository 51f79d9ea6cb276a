//! The device's own commands: a counter that changes reboots the machine, or stops what runs on it.

use std::time::Duration;

use anyhow::{Result, ensure};
use xtask::site::{self, Site};

use crate::Story;
use crate::application::{PATIENCE, app, config, no_violations};
use crate::stage::Stage;

pub(crate) const STORIES: &[Story] = &[Story {
    name: "reboot",
    about: "a reboot counter that changes reboots the machine once, in good order; a shutdown counter stops what runs, and stays",
    tell: reboot,
}];

const LINE: Duration = Duration::from_secs(60);
/// From the reset to a device that runs its application again.
const AGAIN: Duration = Duration::from_secs(150);
/// What dom0 says first.
const BEGIN: &str = "sarsen dom0 ";

/// The sample application, under these counters of the device's commands.
fn ordered(reboot: u32, shutdown: u32, greeting: &str) -> String {
    let commands = format!("[device]\nreboot = {reboot}\nshutdown = {shutdown}\n");
    config(&app(&format!("args = \"greeting={greeting}\""))).replace("[device]\n", &commands)
}

/// Waits until the device echoes this counter, which it does when it has the configuration that says so.
fn echoes(site: &Site, reboot: u32) -> Result<()> {
    site.controller.wait_for(&format!("the echo of reboot counter {reboot}"), AGAIN, |seen| {
        let mut infos = seen.devices.values().filter_map(|device| device.info.as_ref());
        infos.any(|info| info.reboot_counter == reboot).then_some(())
    })?;
    Ok(())
}

fn reboot(stage: &Stage<'_>) -> Result<()> {
    let site = stage.site()?;
    let controller = &site.controller;
    site.offer_sample(stage.built(), &ordered(1, 1, "first"))?;
    let mut options = stage.provisioned(&site)?;
    options.reboot = true;
    let mut machine = stage.start(&options)?;
    controller.wait_app_line(site::APP, "first", AGAIN)?;
    // Values that are the first ones are only noted.
    echoes(&site, 1)?;

    controller.set_config(&ordered(2, 1, "second"))?;
    // In this order: the application ends and the controller hears of it, then nobody watches any more, then the reset.
    machine.wait_for_from("dom0", "is gone: Ordered", PATIENCE)?;
    controller.wait_app_state(site::APP, "HALTED", LINE)?;
    machine.wait_for_from("dom0", "control asks for a reboot, and no application runs any more", LINE)?;
    machine.wait_for_from("dom0", "watchdog: stopped", LINE)?;
    machine.wait_for_from("dom0", BEGIN, LINE)?;
    controller.wait_app_line(site::APP, "second", AGAIN)?;
    echoes(&site, 2)?;

    controller.set_config(&ordered(2, 2, "second"))?;
    machine.wait_for_from("control", "device: Shutdown now", PATIENCE)?;
    controller.wait_app_state(site::APP, "HALTED", LINE)?;
    controller.wait_for("PREPARED_POWEROFF", PATIENCE, |seen| {
        let mut infos = seen.devices.values().filter_map(|device| device.info.as_ref());
        infos.any(|info| info.state == "PREPARED_POWEROFF").then_some(())
    })?;
    // It stays up, with its connection to the controller, and obeys.
    ensure!(machine.running(), "the machine is off");
    controller.set_config(&ordered(3, 2, "third"))?;
    machine.wait_for_from("dom0", "control asks for a reboot, and no application runs any more", PATIENCE)?;
    machine.wait_for_from("dom0", BEGIN, LINE)?;
    controller.wait_app_line(site::APP, "third", AGAIN)?;
    echoes(&site, 3)?;

    let lines = machine.lines();
    let begins = lines.iter().filter(|line| line.who == "dom0" && line.text.contains(BEGIN)).count();
    ensure!(begins == 3, "the machine started {begins} times, for two reboots");
    let ordered =
        lines.iter().filter(|line| line.text.contains("boot reason: the machine was told to start anew"));
    ensure!(ordered.count() == 2, "dom0 does not know that the resets were ordered");
    let reset = lines.iter().find(|line| line.text.contains("the watchdog has reset the machine"));
    ensure!(reset.is_none(), "{}", reset.map(ToString::to_string).unwrap_or_default());
    controller.observe(|seen| {
        let mut infos = seen.devices.values().filter_map(|device| device.info.as_ref());
        let told = infos.any(|info| info.watchdog && info.boot_reason == "REBOOT_CMD");
        ensure!(told, "the device tells of no watchdog, or of another reason than the order");
        // Also where the clock of all domains counts on over a reset.
        let boots: Vec<i64> =
            seen.devices.values().flat_map(|device| &device.boots).map(|boot| boot.boot_ms).collect();
        let rise = boots.windows(2).all(|pair| pair[1] > pair[0] + 5000);
        ensure!(boots.len() == 3 && rise, "three starts at these times: {boots:?}");
        Ok(())
    })?;
    no_violations(&site)?;
    stage.end(machine)
}
