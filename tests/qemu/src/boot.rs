//! The ways to dom0's first line.

use std::time::Duration;

use anyhow::Result;

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
