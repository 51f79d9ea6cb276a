//! Applications that cannot be run: the controller is told why, and the device goes on.

use std::time::Duration;

use anyhow::{Result, ensure};
use xtask::qemu::Machine;
use xtask::site;
use xtask_controller::{Fault, Handle, Target};

use crate::Story;
use crate::application::{PATIENCE, app, config, no_violations};
use crate::stage::Stage;

const LINE: Duration = Duration::from_secs(60);

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
    fails(controller, &mut machine, site::APP, "KiB of memory")?;

    // Its image, which our own runtime is in, drives one vCPU.
    controller.set_config(&config(&app("vcpus = 2")))?;
    fails(controller, &mut machine, site::APP, "no more than 1 vCPU")?;

    // The same application within its limits runs.
    controller.set_config(&config(&app("")))?;
    runs(controller, site::APP)?;
    controller.set_config(&config(""))?;
    controller.wait_app_gone(site::APP, PATIENCE)?;

    controller.faults().arm(Target::Content, Fault::BadSignature, None);
    controller.set_config(&config(&app("")))?;
    fails(controller, &mut machine, site::APP, "SHA-256")?;
    controller.faults().clear();
    runs(controller, site::APP)?;

    // An image that is cut off has the hash that was configured, and still cannot be started.
    let good = xtask::paths::read(&stage.built().image(xtask::build::SAMPLE))?;
    let second = |name: &str| {
        let named = app("").replace("\"hello\"", &format!("\"{name}\""));
        app("") + &named.replace("hello.elf", &format!("{name}.elf"))
    };
    controller.put_content("half.elf", &good[..good.len() / 2])?;
    controller.set_config(&config(&second("half")))?;
    fails(controller, &mut machine, "half", "truncated")?;

    controller.put_content("text.elf", b"this is no image of an application")?;
    controller.set_config(&config(&second("text")))?;
    fails(controller, &mut machine, "text", "ELF")?;
    // It takes a good image, and after that a bad one again, which is an error although it has run.
    controller.put_content("text.elf", &good)?;
    runs(controller, "text")?;
    controller.put_content("text.elf", b"this is none either")?;
    fails(controller, &mut machine, "text", "ELF")?;
    // Its neighbour has seen nothing of all that.
    runs(controller, site::APP)?;
    no_violations(&site)?;
    stage.end(machine)
}

/// The application is in the error state with this reason, and one line of the console names both.
fn fails(controller: &Handle, machine: &mut Machine, app: &str, reason: &str) -> Result<()> {
    controller.wait_app_error(app, reason, PATIENCE)?;
    controller.wait_app_state(app, "ERROR", PATIENCE)?;
    let subject = format!("application {app}: ");
    machine.wait_for_line(&format!("a line on {app} with `{reason}`"), LINE, |line| {
        line.who == "control" && line.text.contains(&subject) && line.text.contains(reason)
    })?;
    Ok(())
}

/// The application runs, and nothing is wrong with it.
fn runs(controller: &Handle, app: &str) -> Result<()> {
    let seen = controller.wait_app_state(app, "RUNNING", PATIENCE)?;
    ensure!(seen.errors.is_empty(), "app {app} runs, and yet: {:?}", seen.errors);
    Ok(())
}
