//! The disk in a domain's hands, which is ended in the middle of its work again and again.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use proto_manifest::table::DeviceKind;
use xtask::build::{Arch, Transport};
use xtask::image;
use xtask::qemu::Disk;

use crate::Story;
use crate::built;
use crate::restart::dom0_words;
use crate::stage::Stage;

pub(crate) const STORIES: &[Story] = &[
    Story {
        name: "disk_killed",
        about: "a domain with the NVMe is ended 50 times in the middle of reads and writes: what it had flushed is there, and no interrupt is lost",
        tell: lives,
    },
    Story {
        name: "disk_killed-aarch64",
        about: "the same with virtio-blk, which does without interrupts if it has to",
        tell: lives,
    },
];

/// How often the domain is ended.
const TIMES: u64 = 50;
/// How long it lives.
const LIFE_MS: u32 = 700;
/// The transport of the board `disk-aarch64`.
const TRANSPORT: u8 = 16;
/// Xen's own heap holds a page or two more or less from one death to the next.
const NOISE_KIB: u64 = 12;
/// For all of them together.
const PATIENCE: Duration = Duration::from_secs(180);

fn lives(stage: &Stage<'_>) -> Result<()> {
    let arch = stage.built().arch;
    let image = built::domain(arch, "tests-guest", "guest")?;
    let images = BTreeMap::from([("guest".to_owned(), image)]);
    let entries = built::entries(&format!("disk-{}", arch.name()), &images, &[])?;
    let mut options = stage.direct_with(|all| {
        *all = entries;
        Ok(())
    })?;
    let file = stage.folder()?.join("disk.img");
    image::blank(&file)?;
    options.disk = Disk::File(file);
    options.transports = vec![Transport { kind: DeviceKind::VirtioBlk, number: TRANSPORT }];
    dom0_words(&mut options, &format!("drill=disk:{LIFE_MS}:{TIMES}"));
    let mut machine = stage.start(&options)?;
    let model = match arch {
        Arch::X86_64 => "QEMU NVMe Ctrl",
        Arch::Aarch64 => "virtio disk",
    };
    let blocks = std::fs::metadata(stage.folder()?.join("disk.img"))?.len() / 512;
    let identity = format!(": {model}, serial sarsen, {blocks} blocks of 512");
    let end = machine.wait_for_line("the end of the drill", PATIENCE, |line| {
        line.text.contains("drill: done") || line.text.contains("FAIL ")
    })?;
    ensure!(end.who == "dom0", "{end}");

    let (mut last, mut lives, mut busy, mut deaf, mut free) = (0, 0, 0, 0, Vec::new());
    for line in machine.lines() {
        // A line that a domain had not taken back when it was ended comes again, or not at all.
        if let Some((_, life)) =
            line.text.strip_suffix(&identity).and_then(|rest| rest.split_once("disk: life "))
        {
            let life: u64 = life.parse()?;
            ensure!(life >= last, "life {life} does not know of life {last}");
            lives += u64::from(life > last);
            last = life;
        }
        if let Some((_, rest)) = line.text.split_once(" commands, ") {
            busy += 1;
            deaf += u64::from(rest != "0 without interrupt");
        }
        if line.who == "dom0" && line.text.contains("drill") {
            let number = line.text.strip_suffix(" KiB free").and_then(|rest| rest.rsplit_once(' '));
            free.push(number.context("no number of free memory")?.1.parse::<u64>()?);
        }
    }
    println!(
        "     {lives} lives left something, {busy} were busy, {deaf} without interrupts; KiB free: {} to {}",
        free[0],
        free[free.len() - 1]
    );
    // Some are ended before they have come so far.
    ensure!(lives > TIMES * 4 / 5 && busy > TIMES / 2, "only {lives} lives left something, {busy} were busy");
    // On aarch64 an interrupt may be lost for ever; the driver says why, and does without.
    ensure!(arch == Arch::Aarch64 || deaf == 0, "{deaf} lives missed an interrupt");
    ensure!(free.iter().all(|one| one + NOISE_KIB >= free[0]), "memory is lost: {free:?}");
    machine.quit();
    Ok(())
}
