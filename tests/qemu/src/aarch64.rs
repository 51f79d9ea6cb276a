//! The same on aarch64: QEMU's `virt`, without an IOMMU.

use std::time::Duration;

use anyhow::{Result, ensure};
use xtask::console::Line;
use xtask::qemu::Boot;

use crate::Story;
use crate::application;
use crate::stage::Stage;

pub(crate) const STORIES: &[Story] = &[
    Story { name: "boot-direct-aarch64", about: "QEMU loads Xen, and all services are ready", tell: direct },
    Story {
        name: "boot-uboot-aarch64",
        about: "the disk image boots through U-Boot, selector and Xen, dom0 knows its slot, and all services are ready",
        tell: uboot,
    },
    Story {
        name: "rebuild-aarch64",
        about: "net is ended and built anew with its card again and again, and no memory is lost",
        tell: rebuild,
    },
    Story {
        name: "application-aarch64",
        about: "a device boots from its disk, onboards, runs an application, and follows its configuration until it is removed",
        tell: application::life,
    },
];

/// Xen waits three seconds at its start because of its security mode, by its own clock.
const BOOT: Duration = Duration::from_secs(60);

fn direct(stage: &Stage<'_>) -> Result<()> {
    let site = stage.site()?;
    let mut machine = stage.start(&stage.provisioned(&site)?)?;
    machine.wait_for_from("dom0", "sarsen dom0", BOOT)?;
    machine.wait_for_from("dom0", "no IOMMU", BOOT)?;
    ready(&mut machine)?;
    stage.end(machine)
}

fn uboot(stage: &Stage<'_>) -> Result<()> {
    let site = stage.site()?;
    let mut machine = stage.start(&stage.disk(Some(&site))?)?;
    machine.wait_for_from("firmware", "selector: slot A (priority 2, tries 0, proven)", BOOT)?;
    machine.wait_for_from("dom0", "sarsen dom0", BOOT)?;
    machine.wait_for_from("dom0", "boot: slot A, version", BOOT)?;
    ready(&mut machine)?;
    stage.end(machine)
}

fn ready(machine: &mut xtask::qemu::Machine) -> Result<()> {
    let mut left = vec!["domain net: ready", "domain control: ready"];
    while !left.is_empty() {
        let line = machine.wait_for_line("services that are ready", BOOT, |line| {
            line.who == "dom0" && left.iter().any(|text| line.text.contains(text))
        })?;
        left.retain(|text| !line.text.contains(text));
    }
    Ok(())
}

/// Memory that is free ahead of each death of net, as dom0 tells it.
fn rebuild(stage: &Stage<'_>) -> Result<()> {
    const TIMES: usize = 8;
    /// Xen's own heap holds a page or two more or less from one death to the next; a page that is lost with
    /// each life adds up to more.
    const NOISE_KIB: u64 = 12;
    let site = stage.site()?;
    let mut options = stage.provisioned(&site)?;
    if let Boot::Direct { dom0_command_line, .. } = &mut options.boot {
        dom0_command_line.push_str(&format!("drill=net:3000:{TIMES}"));
    }
    let mut machine = stage.start(&options)?;
    // In whatever order they come: each life has its lease, the first one too.
    let mut wanted =
        [("dom0", "measure kill-to-healthy.net", TIMES), ("net", "uplink eth0: 10.0.2.15", TIMES + 1)];
    let mut done = false;
    while !done || wanted.iter().any(|(.., left)| *left > 0) {
        let is =
            |line: &Line, (who, text, _): &(&str, &str, usize)| line.who == *who && line.text.contains(text);
        let line = machine.wait_for_line("lives of net", BOOT, |line| {
            wanted.iter().any(|one| is(line, one)) || line.text.contains("drill: done")
        })?;
        done |= line.text.contains("drill: done");
        for one in wanted.iter_mut().filter(|one| is(&line, one)) {
            one.2 = one.2.saturating_sub(1);
        }
    }
    let free: Vec<u64> = machine
        .lines()
        .iter()
        .filter(|line| line.who == "dom0" && line.text.contains("drill"))
        .filter_map(|line| line.text.strip_suffix(" KiB free")?.rsplit_once(' ')?.1.parse().ok())
        .collect();
    println!("     KiB free: {free:?}");
    ensure!(free.len() == TIMES + 1, "dom0 told of {} lives", free.len());
    ensure!(free.iter().all(|one| one + NOISE_KIB >= free[0]), "memory is lost: {free:?}");
    machine.quit();
    Ok(())
}
