//! The selector: which slot is started when the disk is not as it should be.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use gpt::partition::Partition;
use proto_gpt::slots::{Slot, State};
use proto_update::selector::MAX_BYTES as MAX_IMAGE;
use xtask::build::Arch;
use xtask::qemu::{Boot, Machine, Options};
use xtask::selector::in_image;
use xtask::site::Site;

use crate::Story;
use crate::application::no_violations;
use crate::stage::Stage;

pub(crate) const STORIES: &[Story] = &[
    Story {
        name: "slot-damaged",
        about: "one bit of slot A is another one: it is not started, slot B is; console, dom0 and the report to the controller say why",
        tell: damaged,
    },
    Story {
        name: "slot-trial",
        about: "a new version is started once; what it does not commit is not started again",
        tell: trial,
    },
    Story {
        name: "slot-damaged-aarch64",
        about: "the same as slot-damaged, through U-Boot; and a damaged copy of the partition table is repaired",
        tell: damaged_aarch64,
    },
];

pub(crate) const WAITING: &[Story] = &[Story {
    name: "slot-none",
    about: "neither slot is what was signed: nothing is started, the console says what was tried, and it is tried again after a reset",
    tell: none,
}];

/// What a selector says that takes slots by the test key, and no other does.
pub(crate) const TEST_KEY: &str = "selector: slots are signed with the test key";

const PATIENCE: Duration = Duration::from_secs(90);
pub(crate) const BLOCK: u64 = 512;
/// Where a bit is changed in a slot: far behind the header, in its contents.
const FAR: u64 = 1 << 20;

fn damaged(stage: &Stage<'_>) -> Result<()> {
    let site = stage.site()?;
    let options = stage.disk(Some(&site))?;
    flip(&image(&options)?, Slot::A, FAR)?;
    let mut machine = stage.start(&options)?;
    machine.wait_for_from("firmware", TEST_KEY, PATIENCE)?;
    other_slot(&mut machine)?;
    machine.wait_for_from("dom0", "sarsen dom0", PATIENCE)?;
    machine.wait_for_from("dom0", "boot: slot B, version", PATIENCE)?;
    is_reported(&site)?;
    stage.end(machine)
}

/// The controller is told which slot was refused, and why.
fn is_reported(site: &Site) -> Result<()> {
    let device = site.controller.wait_registered(&site.soft_serial(), PATIENCE)?;
    site.controller.wait_slot(device.uuid, "what the selector says of slot A", PATIENCE, |slot| {
        slot.label == "IMGA" && slot.error.contains("slot A: its contents are not what was signed")
    })?;
    no_violations(site)
}

/// Slot A is refused, and slot B started.
fn other_slot(machine: &mut Machine) -> Result<()> {
    machine.wait_for_from(
        "firmware",
        "selector: slot A is refused: the SHA-256 of its contents is not what was signed",
        PATIENCE,
    )?;
    machine.wait_for_from("firmware", "selector: slot B (priority 1, tries 0, proven)", PATIENCE)?;
    Ok(())
}

fn none(stage: &Stage<'_>) -> Result<()> {
    let mut options = stage.disk(None)?;
    options.reboot = true;
    let image = image(&options)?;
    flip(&image, Slot::A, FAR)?;
    // In the SHA-256 of the header, which is signed.
    flip(&image, Slot::B, 70)?;
    let mut machine = stage.start(&options)?;
    for line in [
        "selector: slot A is refused: the SHA-256 of its contents is not what was signed [E-SLOT-005]",
        "selector: slot B is refused: its signature is by no key that is trusted [E-SLOT-004]",
        "selector: slot A (priority 2, tries 0, proven): the SHA-256 of its contents is not what was signed",
        "selector: slot B (priority 1, tries 0, proven): its signature is by no key that is trusted",
        "selector: nothing was started; reset in 60 s [E-SLOT-010]",
        // It tries again: the disk may be there by then.
        "selector: slot A is refused",
        "selector: nothing was started",
    ] {
        machine.wait_for_from("firmware", line, PATIENCE)?;
    }
    machine.quit();
    Ok(())
}

fn trial(stage: &Stage<'_>) -> Result<()> {
    let options = stage.disk(None)?;
    let image = image(&options)?;
    set_state(&image, Slot::B, State::UPDATING)?;
    for (line, told) in [
        ("selector: slot B (priority 3, tries 1, not proven): it is tried", "boot: slot B, version"),
        (
            "selector: slot A (priority 2, tries 0, proven): the other one was tried in vain",
            "boot: slot A, version",
        ),
    ] {
        let mut machine = stage.start(&options)?;
        machine.wait_for_from("firmware", line, PATIENCE)?;
        machine.wait_for_from("dom0", told, PATIENCE)?;
        machine.quit();
    }
    let state = state(&image, Slot::B)?;
    let tried = State { tries: 0, ..State::UPDATING };
    if state != tried {
        bail!("slot B is left with {state}, not with {tried}");
    }
    Ok(())
}

fn damaged_aarch64(stage: &Stage<'_>) -> Result<()> {
    let site = stage.site()?;
    let options = stage.disk(Some(&site))?;
    let image = image(&options)?;
    flip(&image, Slot::A, FAR)?;
    // In the entries of the first copy. OVMF would have repaired it before the selector sees it.
    flip_at(&image, 2 * BLOCK + 60)?;
    let mut machine = stage.start(&options)?;
    machine.wait_for_from(
        "firmware",
        "selector: the first copy of the partition table: its entries are damaged",
        PATIENCE,
    )?;
    other_slot(&mut machine)?;
    let told = machine.wait_for_from("dom0", "boot: slot B, version", PATIENCE)?;
    if !told.text.contains("the first copy was repaired") {
        bail!("dom0 was not told of the repair: {}", told.text);
    }
    is_reported(&site)?;
    stage.end(machine)?;
    // The partition table's copies are equal again.
    let disk = gpt::GptConfig::new().open(&image).context("the repaired partition table")?;
    let (first, second) = (disk.primary_header()?.crc32_parts, disk.backup_header()?.crc32_parts);
    if first != second {
        bail!("the copies of the partition table differ");
    }
    Ok(())
}

pub(crate) fn image(options: &Options) -> Result<PathBuf> {
    match &options.boot {
        Boot::Disk { image, .. } => Ok(image.clone()),
        Boot::Direct { .. } => bail!("the machine has no disk"),
    }
}

fn partitions(image: &Path) -> Result<BTreeMap<u32, Partition>> {
    let disk = gpt::GptConfig::new().open(image).with_context(|| format!("the disk {}", image.display()))?;
    Ok(disk.partitions().clone())
}

fn number(partitions: &BTreeMap<u32, Partition>, slot: Slot) -> Result<u32> {
    let found = partitions.iter().find(|(_, partition)| partition.name == slot.name());
    Ok(*found.with_context(|| format!("the disk has no {slot}"))?.0)
}

/// Where a slot begins, in bytes.
pub(crate) fn slot_start(image: &Path, slot: Slot) -> Result<u64> {
    let partitions = partitions(image)?;
    Ok(partitions[&number(&partitions, slot)?].first_lba * BLOCK)
}

/// What both partitions of selectors begin with, in their order: as much as an image of a selector may have.
pub(crate) fn selectors(image: &Path) -> Result<[Vec<u8>; 2]> {
    let file = File::open(image)?;
    let [first, second] = esp_starts(image)?;
    let read = |start| -> Result<Vec<u8>> {
        let mut begin = vec![0; MAX_IMAGE];
        file.read_exact_at(&mut begin, start)?;
        Ok(begin)
    };
    Ok([read(first)?, read(second)?])
}

/// Changes the first selector where only who measures it looks, and back: it does what it did.
pub(crate) fn change_first_selector(image: &Path) -> Result<()> {
    /// What each program for firmware says to DOS, behind the letter that is changed.
    const STUB: &[u8] = b"his program cannot be run";
    let [first, _] = selectors(image)?;
    let at = first.windows(STUB.len()).position(|bytes| bytes == STUB);
    let at = at.context("the first selector says nothing to DOS")? as u64;
    flip_at(image, esp_starts(image)?[0] + at - 1)
}

/// The selectors in both, in their order. Firmware may have written other files to their volumes.
pub(crate) fn programs(image: &Path, arch: Arch) -> Result<[Vec<u8>; 2]> {
    let [first, second] = selectors(image)?;
    Ok([in_image(arch, &first)?, in_image(arch, &second)?])
}

/// Makes the first partition of a selector none that firmware finds a file system in.
pub(crate) fn zero_first_selector(image: &Path) -> Result<()> {
    let [first, _] = esp_starts(image)?;
    Ok(File::options().write(true).open(image)?.write_all_at(&[0; BLOCK as usize], first)?)
}

/// Where they begin, in bytes.
fn esp_starts(image: &Path) -> Result<[u64; 2]> {
    let partitions = partitions(image)?;
    let esp = |partition: &&Partition| partition.part_type_guid == gpt::partition_types::EFI;
    let starts: Vec<u64> =
        partitions.values().filter(esp).map(|partition| partition.first_lba * BLOCK).collect();
    starts.try_into().map_err(|starts: Vec<u64>| anyhow!("the disk has {} ESPs", starts.len()))
}

/// Changes one bit of a slot.
fn flip(image: &Path, slot: Slot, offset: u64) -> Result<()> {
    flip_at(image, slot_start(image, slot)? + offset)
}

/// Puts these bytes at the beginning of a slot.
pub(crate) fn write_slot(image: &Path, slot: Slot, bytes: &[u8]) -> Result<()> {
    let partitions = partitions(image)?;
    let partition = &partitions[&number(&partitions, slot)?];
    let room = (partition.last_lba + 1 - partition.first_lba) * BLOCK;
    ensure!(bytes.len() as u64 <= room, "{} bytes do not fit into {slot}", bytes.len());
    File::options().write(true).open(image)?.write_all_at(bytes, partition.first_lba * BLOCK)?;
    Ok(())
}

fn flip_at(image: &Path, at: u64) -> Result<()> {
    let file = File::options().read(true).write(true).open(image)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&[byte[0] ^ 0x10], at)?;
    Ok(())
}

pub(crate) fn state(image: &Path, slot: Slot) -> Result<State> {
    let partitions = partitions(image)?;
    Ok(State::of(partitions[&number(&partitions, slot)?].flags))
}

pub(crate) fn set_state(image: &Path, slot: Slot, state: State) -> Result<()> {
    let mut partitions = partitions(image)?;
    let number = number(&partitions, slot)?;
    partitions.entry(number).and_modify(|partition| partition.flags = state.put(partition.flags));
    let mut disk = gpt::GptConfig::new().writable(true).open(image)?;
    disk.update_partitions(partitions)?;
    disk.write()?;
    Ok(())
}
