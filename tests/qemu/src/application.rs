//! The main job: a device onboards, takes its configuration, runs what is named in it, and follows when
//! that changes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use xtask::build::Arch;
use xtask::qemu::{Boot, SERIAL};
use xtask::site::{self, Site};
use xtask_controller::AppMetrics;

use crate::Story;
use crate::stage::Stage;

pub(crate) const STORIES: &[Story] = &[
    Story { name: "console", about: "the application answers what is typed at it", tell: console },
    Story {
        name: "application",
        about: "a device boots from its disk, onboards, runs an application, and follows its configuration until it is removed",
        tell: life,
    },
];

/// How long anything may take that crosses the network and builds a domain.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// How far a device's clock may be ahead.
const CLOCK_MS: i64 = 1000;

/// The configuration of the sample application, as the stories change it.
pub(crate) fn config(app: &str) -> String {
    format!(
        "[device]\nname = \"story\"\n\n[items]\n\"timer.config.interval\" = 5\n\
         \"timer.metric.interval\" = 5\n\"newlog.allow.fastupload\" = true\n\n{app}"
    )
}

/// An `[[app]]` of the configuration with further lines.
pub(crate) fn app(more: &str) -> String {
    format!("[[app]]\nname = \"hello\"\ncontent = \"hello.elf\"\nmemory_kib = 8192\n{more}\n")
}

/// Nothing that the device sent was against the protocol.
pub(crate) fn no_violations(site: &Site) -> Result<()> {
    let violations = site.controller.violations();
    ensure!(violations.is_empty(), "the controller refused: {violations:#?}");
    Ok(())
}

fn console(stage: &Stage<'_>) -> Result<()> {
    let site = stage.site()?;
    let controller = &site.controller;
    site.offer_sample(stage.built(), &config(&app("")))?;
    let mut options = stage.provisioned(&site)?;
    if let Boot::Direct { dom0_command_line, .. } = &mut options.boot {
        dom0_command_line.push_str("serial=applications");
    }
    let mut machine = stage.start(&options)?;
    controller.wait_app_state(site::APP, "RUNNING", PATIENCE)?;
    machine.type_line("hello good morning")?;
    controller.wait_app_line(site::APP, "echo: good morning", PATIENCE)?;
    no_violations(&site)?;
    stage.end(machine)
}

pub(crate) fn life(stage: &Stage<'_>) -> Result<()> {
    let site = stage.site()?;
    let controller = &site.controller;
    site.offer_sample(stage.built(), &config(&app("args = \"greeting=moin\"")))?;
    let mut machine = stage.start(&stage.disk(Some(&site))?)?;

    machine.wait_for_from("dom0", "", Duration::from_secs(90))?;
    let begun = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    machine.wait_for_from("dom0", "domain control: ready", Duration::from_secs(90))?;
    controller.wait_registered(&site.soft_serial(), PATIENCE)?;
    controller.wait_app_state(site::APP, "RUNNING", PATIENCE)?;
    controller.wait_app_line(site::APP, "moin", PATIENCE)?;
    controller.wait_device_line("attestation: complete", PATIENCE)?;
    let confined = stage.built().arch == Arch::X86_64;
    let booted = controller.wait_for("what the device tells of its disk and of an IOMMU", PATIENCE, |seen| {
        let mut infos = seen.devices.values().filter_map(|device| device.info.as_ref());
        let has_disk = |disks: &[(String, String)]| {
            matches!(disks, [(name, state)] if name.contains(SERIAL) && state == "ONLINE")
        };
        infos.find(|info| info.confined == confined && has_disk(&info.disks)).map(|info| info.boot_ms)
    })?;
    // The machine's clock is this one's, in whole seconds.
    let ahead = booted - begun;
    ensure!(ahead < CLOCK_MS, "by the device's clock it began {ahead} ms after its first line was here");
    controller.wait_for("metrics of the application", PATIENCE, |seen| {
        let mut metrics = seen.devices.values().filter_map(|device| device.metrics.as_ref());
        let used = |app: &AppMetrics| app.name == site::APP && app.cpu_ns > 0 && app.used_mib > 0;
        metrics.any(|metrics| metrics.apps.iter().any(used)).then_some(())
    })?;

    // A change that needs a restart restarts it.
    controller.set_config(&config(&app("args = \"greeting=servus\"")))?;
    controller.wait_app_line(site::APP, "servus", PATIENCE)?;
    controller.wait_app_state(site::APP, "RUNNING", PATIENCE)?;

    // Without activation it stops and stays known.
    controller.set_config(&config(&app("args = \"greeting=servus\"\nactivate = false")))?;
    controller.wait_app_state(site::APP, "HALTED", PATIENCE)?;

    // What is not configured is gone.
    controller.set_config(&config(""))?;
    controller.wait_app_gone(site::APP, PATIENCE)?;
    no_violations(&site)?;
    stage.end(machine)
}
