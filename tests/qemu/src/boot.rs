//! The ways to dom0's first line.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, bail, ensure};

use crate::Story;
use crate::stage::Stage;

/// dom0 prints it as soon as it can.
const FIRST_LINE: &str = "sarsen dom0";

pub(crate) const STORIES: &[Story] = &[
    Story { name: "boot-direct", about: "QEMU loads Xen, and dom0 speaks", tell: direct },
    Story {
        name: "boot-uefi",
        about: "the disk image boots through OVMF, selector, GRUB and Xen, and dom0 knows its slot",
        tell: uefi,
    },
];

pub(crate) const WAITING: &[Story] = &[Story {
    name: "unprovisioned",
    about: "a disk without provisioning files: the device says which one is missing, and rests",
    tell: unprovisioned,
}];

pub(crate) const NIGHTLY: &[Story] = &[Story {
    name: "unprovisioned-aarch64",
    about: "a disk without provisioning files: the device says which one is missing, and rests",
    tell: unprovisioned,
}];

/// A service that does not do its work within a minute is ended.
const PATIENCE: Duration = Duration::from_secs(75);

fn direct(stage: &Stage<'_>) -> Result<()> {
    let mut machine = stage.start(&stage.direct())?;
    machine.wait_for_from("xen", "Building a PVH Dom0", Duration::from_secs(30))?;
    machine.wait_for_from("dom0", FIRST_LINE, Duration::from_secs(20))?;
    Ok(())
}

fn uefi(stage: &Stage<'_>) -> Result<()> {
    let mut machine = stage.start(&stage.disk(None)?)?;
    machine.wait_for_from(
        "firmware",
        "selector: slot A (priority 2, tries 0, proven)",
        Duration::from_secs(60),
    )?;
    machine.wait_for_from("firmware", "GRUB: loading Xen", Duration::from_secs(60))?;
    machine.wait_for_from("xen", "Bootloader: GRUB 2.12", Duration::from_secs(30))?;
    machine.wait_for_from("dom0", FIRST_LINE, Duration::from_secs(60))?;
    machine.wait_for_from("dom0", "boot: slot A, version", Duration::from_secs(20))?;
    Ok(())
}

fn unprovisioned(stage: &Stage<'_>) -> Result<()> {
    const MISSING: &str = "provisioning: file `server` is missing or empty";
    let mut machine = stage.start(&stage.disk(None)?)?;
    machine.wait_for_from("control", MISSING, Duration::from_secs(120))?;
    // A line that dom0 had not taken yet comes again.
    sleep(Duration::from_secs(5));
    let seen = machine.lines().len();
    sleep(PATIENCE);
    ensure!(machine.running(), "it is off:\n{}", machine.tail());
    if let Some(line) = machine.lines_from(seen).iter().find(|line| line.text.contains(MISSING)) {
        bail!("another control says so within the hour: {line}");
    }
    stage.end(machine)
}
