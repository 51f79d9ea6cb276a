//! Applications that cannot be run: the controller is told why, and the device goes on.

use std::time::Duration;

use anyhow::Result;
use xtask::site;
use xtask_controller::{Fault, Target};

use crate::Story;
use crate::application::{PATIENCE, app, config, no_violations};
use crate::stage::Stage;

pub(crate) const STORIES: &[Story] = &[Story {
    name: "bad-app",
    about: "too much memory, too many vCPUs, content with another hash, content that is cut off or no image: each is reported",
    tell: errors,
}];

fn errors(stage: &Stage<'_>) -> Result<()> {
    let site = stage.site()?;
    let controller = &site.controller;
    let greedy = app("").replace("8192", "8388608");
    site.offer_sample(stage.built(), &config(&greedy))?;
    let mut machine = stage.start(&stage.provisioned(&site)?)?;
    controller.wait_app_error(site::APP, "memory", PATIENCE)?;

    // Its image, which our own runtime is in, drives one vCPU.
    controller.set_config(&config(&app("vcpus = 2")))?;
    controller.wait_app_error(site::APP, "no more than 1 vCPU", PATIENCE)?;

    // The same application within its limits runs.
    controller.set_config(&config(&app("")))?;
    controller.wait_app_state(site::APP, "RUNNING", PATIENCE)?;
    controller.set_config(&config(""))?;
    controller.wait_app_gone(site::APP, PATIENCE)?;

    controller.faults().arm(Target::Content, Fault::BadSignature, None);
    controller.set_config(&config(&app("")))?;
    machine.wait_for_from("control", "SHA-256", Duration::from_secs(60))?;
    controller.wait_app_error(site::APP, "SHA-256", PATIENCE)?;
    controller.faults().clear();
    controller.wait_app_state(site::APP, "RUNNING", PATIENCE)?;

    // An image that is cut off has the hash that was configured, and still cannot be started.
    let mut half = xtask::paths::read(&stage.built().image(xtask::build::SAMPLE))?;
    half.truncate(half.len() / 2);
    controller.put_content("half.elf", &half)?;
    let half = app("").replace("\"hello\"", "\"half\"").replace("hello.elf", "half.elf");
    controller.set_config(&config(&(app("") + &half)))?;
    controller.wait_app_error("half", "truncated", PATIENCE)?;

    controller.put_content("text.elf", b"this is no image of an application")?;
    let second = app("").replace("\"hello\"", "\"text\"").replace("hello.elf", "text.elf");
    controller.set_config(&config(&(app("") + &second)))?;
    controller.wait_app_error("text", "ELF", PATIENCE)?;
    controller.wait_app_state(site::APP, "RUNNING", PATIENCE)?;
    no_violations(&site)?;
    stage.end(machine)
}
