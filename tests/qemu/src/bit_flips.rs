//! One bit of a disk is another one: in a copy of the partition table, or anywhere in what slot A is.
//!
//! A slot that is not what was signed is not started, whatever bit it is, and the other one is, at once. A damaged copy of
//! the partition table is repaired from the other, by the firmware or by the selector, before a slot is chosen, and both
//! are as they were then. Each machine is left when GRUB speaks, so that many are looked at; the same
//! machines take thousands of flips on the host, in `proto/gpt` and `proto/update`. Positions follow from a seed that
//! is printed; `SARSEN_FLIPS_SEED` sets it.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use proto_errors::{Code, slot as code};
use proto_gpt::slots::Slot;
use proto_update::manifest::{ALIGN, HEADER_BYTES, SIGNED_BYTES};
use xtask::slot::{Key, Pieces};
use xtask::{grub, slot};

use crate::Story;
use crate::random::Random;
use crate::selector::{BLOCK, image, slot_start};
use crate::stage::Stage;

pub(crate) const STORIES: &[Story] = &[Story {
    name: "bit_flips",
    about: "one bit is another one, in either copy of the partition table, or in header, signature, GRUB, Xen, dom0 or archive of slot A: what is damaged is not started",
    tell: bit_flips,
}];

/// How many bits, one after the other.
const FLIPS: usize = 40;
/// The seed unless another one is asked for.
const SEED: u64 = 6;
/// From power-on to the first word of what was started.
const PATIENCE: Duration = Duration::from_secs(120);
/// Bytes of a copy's header and entries that are under a checksum. Source: UEFI 2.10, 5.3.2 and 5.3.3.
const TABLE_HEADER: u64 = 92;
const TABLE_ENTRIES: u64 = 128 * 128;

/// What a damaged header is refused as, a damaged signature, and damaged contents.
const HEADER: &[Code] = &[code::EMPTY, code::MALFORMED, code::SIGNATURE];
const SIGNATURE: &[Code] = &[code::SIGNATURE];
const CONTENTS: &[Code] = &[code::CHANGED];
/// Bytes by which a file is found in a slot.
const HEAD: usize = 512;

/// A part of the disk, and what the selector says when it is damaged.
struct Region {
    name: &'static str,
    /// Bytes of the disk.
    bytes: Range<u64>,
    told: Told,
}

#[derive(Clone, Copy)]
enum Told {
    /// Slot A is refused, with one of these codes.
    Refused(&'static [Code]),
    /// Slot A is started, from a table that is repaired.
    Repaired,
}

fn bit_flips(stage: &Stage<'_>) -> Result<()> {
    let mut random = Random::seeded("SARSEN_FLIPS_SEED", SEED)?;
    let options = stage.disk(None)?;
    let image = image(&options)?;
    let regions = regions(stage, &image)?;
    let disk = File::options().read(true).write(true).open(&image)?;
    for region in regions.iter().cycle().take(FLIPS) {
        let at = region.bytes.start + random.below(region.bytes.end - region.bytes.start);
        let bit = 1 << random.below(8);
        let right = byte(&disk, at)?;
        disk.write_all_at(&[right ^ bit], at)?;
        let mut machine = stage.start(&options)?;
        // The slot that is held last is the one that is started, and then GRUB speaks.
        machine.wait_for_line("GRUB's first word, or the selector's last", PATIENCE, |line| {
            line.text.contains("GRUB: loading Xen") || line.text.contains("selector: nothing was started")
        })?;
        machine.kill();
        let lines = machine.lines();
        let told = |words: &str| lines.iter().find(|line| line.text.starts_with(words));
        let place = format!("{}, byte {at:#x}, bit {bit:#04x}", region.name);
        let started = lines
            .iter()
            .rev()
            .find(|line| line.text.starts_with("selector: slot") && line.text.contains(" holds version "));
        let started = started.with_context(|| format!("{place}: nothing was started"))?;
        match region.told {
            Told::Refused(codes) => {
                ensure!(started.text.contains("slot B holds"), "{place}: {started}");
                let refused = told("selector: slot A is refused: ").with_context(|| place.clone())?;
                let named = codes.iter().any(|code| refused.text.contains(code.as_str()));
                ensure!(named, "{place}: {refused}");
                println!("     {place}: {}", refused.text);
                disk.write_all_at(&[right], at)?;
            }
            Told::Repaired => {
                ensure!(started.text.contains("slot A holds"), "{place}: {started}");
                let by = told("selector: the").map_or("by the firmware, silently", |line| line.text.as_str());
                ensure!(byte(&disk, at)? == right, "{place}: it was not repaired; {by}");
                println!("     {place}: repaired: {by}");
            }
        }
    }
    Ok(())
}

fn byte(disk: &File, at: u64) -> Result<u8> {
    let mut byte = [0];
    disk.read_exact_at(&mut byte, at)?;
    Ok(byte[0])
}

/// Where a bit is flipped.
fn regions(stage: &Stage<'_>, image: &Path) -> Result<Vec<Region>> {
    let region = |name, bytes, told| Region { name, bytes, told };
    let end = std::fs::metadata(image)?.len();
    let entries = end - BLOCK - TABLE_ENTRIES;
    let header = slot_start(image, Slot::A)?;
    let (signature, contents) = (header + SIGNED_BYTES as u64, header + ALIGN as u64);
    let mut regions = vec![
        region("the first copy of the partition table", range(2 * BLOCK, TABLE_ENTRIES), Told::Repaired),
        region("the header of the first copy", range(BLOCK, TABLE_HEADER), Told::Repaired),
        region("the second copy of the partition table", range(entries, TABLE_ENTRIES), Told::Repaired),
        region("the header of the second copy", range(end - BLOCK, TABLE_HEADER), Told::Repaired),
        region("slot A's header", header..signature, Told::Refused(HEADER)),
        region("slot A's signature", signature..header + HEADER_BYTES as u64, Told::Refused(SIGNATURE)),
    ];
    let mut pieces = Pieces::of(stage.built(), stage.stock(), &Key::test()?)?;
    pieces.release(slot::VERSION)?;
    let Pieces::Grub { files, .. } = pieces else { bail!("there is no GRUB in this slot") };
    let mut slot = vec![0; slot::ROOM_BYTES - ALIGN];
    File::open(image)?.read_exact_at(&mut slot, contents)?;
    let mut first = slot.len();
    for (name, file) in files.iter().filter(|(name, _)| *name != grub::CONFIGURATION) {
        let head = file.get(..HEAD).with_context(|| format!("{name} has no {HEAD} bytes"))?;
        let at = slot.windows(HEAD).position(|window| window == head);
        let at = at.with_context(|| format!("{name} is not in slot A"))?;
        first = first.min(at);
        let bytes = range(contents + at as u64, file.len() as u64);
        regions.push(region(name, bytes, Told::Refused(CONTENTS)));
    }
    regions.push(region("GRUB", range(contents, first as u64), Told::Refused(CONTENTS)));
    Ok(regions)
}

fn range(start: u64, length: u64) -> Range<u64> {
    start..start + length
}
