//! A controller that is not the one, answers wrongly, or is not there; and a cable that is pulled. The
//! device says so in one line and goes on as soon as it can.

use std::time::Duration;

use anyhow::{Result, ensure};
use xtask::site::{self, Site};
use xtask_controller::{Endpoint, Fault, PortView, Target};

use crate::Story;
use crate::application::{PATIENCE, app, config, no_violations};
use crate::stage::Stage;

pub(crate) const STORIES: &[Story] = &[
    Story {
        name: "bad-controller-answers",
        about: "wrong CA, bad signature, oversized and truncated answers are named and outlived",
        tell: answers,
    },
    Story {
        name: "bad-controller-away",
        about: "a controller that is away and a pulled cable are outlived; the application runs on",
        tell: away,
    },
];

const LINE: Duration = Duration::from_secs(60);

/// What control says of an answer that is cut off, and of one that does not end.
const TRUNCATED: &str = "ended without TLS's closing message";
const TOO_LARGE: &str = "the answer is too large";

fn answers(stage: &Stage<'_>) -> Result<()> {
    let site = stage.site()?;
    let controller = &site.controller;
    site.offer_sample(stage.built(), &config(""))?;
    let faults = controller.faults();

    faults.set_wrong_ca(true);
    let mut machine = stage.start(&stage.provisioned(&site)?)?;
    machine.wait_for_from("control", "does not lead to a provisioned root", LINE)?;
    faults.set_wrong_ca(false);

    faults.arm(Target::Endpoint(Endpoint::Uuid), Fault::BadSignature, Some(1));
    machine.wait_for_from("control", "the envelope's signature is wrong", LINE)?;
    controller.wait_registered(&site.soft_serial(), PATIENCE)?;
    // Before it has a configuration, the device asks for one each minute; this one has it ask every 5 s.
    machine.wait_for_from("control", "configuration: version", PATIENCE)?;

    let config_answer = Target::Endpoint(Endpoint::Config);
    // "Unchanged" has no body that could be spoilt, so there is something new behind each fault.
    faults.arm(config_answer, Fault::Truncated, None);
    controller.set_config(&config(&app("args = \"greeting=one\"")))?;
    machine.wait_for_from("control", TRUNCATED, PATIENCE)?;
    faults.clear();
    faults.arm(config_answer, Fault::Oversized(8 << 20), None);
    controller.set_config(&config(&app("args = \"greeting=two\"")))?;
    machine.wait_for_from("control", TOO_LARGE, PATIENCE)?;
    faults.clear();
    controller.wait_app_state(site::APP, "RUNNING", PATIENCE)?;
    no_violations(&site)?;
    stage.end(machine)
}

fn away(stage: &Stage<'_>) -> Result<()> {
    let site = stage.site()?;
    let controller = &site.controller;
    site.offer_sample(stage.built(), &config(&app("args = \"greeting=before\"")))?;
    let mut machine = stage.start(&stage.provisioned(&site)?)?;
    controller.wait_app_state(site::APP, "RUNNING", PATIENCE)?;

    controller.go_away();
    machine.wait_for_from("control", "refused", LINE)?;
    controller.set_config(&config(&app("args = \"greeting=after\"")))?;
    controller.come_back();
    controller.wait_app_line(site::APP, "after", PATIENCE)?;
    // That it was not reached is known of the port, once it can be told.
    let away = port(&site, |port| port.failed_ms > 0 && port.succeeded_ms > port.failed_ms)?;
    ensure!(away.error.is_empty() && away.up, "the port works, and yet: {away:?}");

    machine.set_link(false)?;
    machine.wait_for_from("net", "uplink eth0: link down", LINE)?;
    machine.wait_for_from("control", "uplink eth0: down", LINE)?;
    machine.set_link(true)?;
    machine.wait_for_from("net", "uplink eth0: link up", LINE)?;
    controller.set_config(&config(&app("args = \"greeting=again\"")))?;
    controller.wait_app_line(site::APP, "again", PATIENCE)?;
    let pulled = port(&site, |port| port.failed_ms > away.failed_ms && port.succeeded_ms > port.failed_ms)?;
    ensure!(pulled.error.is_empty() && pulled.up, "the port works, and yet: {pulled:?}");
    no_violations(&site)?;
    stage.end(machine)
}

/// Waits until the device's port is as wanted.
fn port(site: &Site, wanted: impl Fn(&PortView) -> bool) -> Result<PortView> {
    let found = site.controller.wait_for("news of the port", PATIENCE, |seen| {
        let infos = seen.devices.values().filter_map(|device| device.info.as_ref());
        infos.flat_map(|info| &info.ports).find(|port| wanted(port)).cloned()
    })?;
    Ok(found)
}
