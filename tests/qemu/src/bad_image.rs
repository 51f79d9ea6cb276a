//! What dom0 is given and must not start: each ends in one line that names it, and nothing else falls.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use proto_errors::{Code, boot, build, ctl};
use proto_manifest::archive::{IMAGES, TABLE};
use xtask::console::Line;
use xtask::qemu::Machine;

use crate::Story;
use crate::stage::{Entries, Stage};

pub(crate) const STORIES: &[Story] = &[
    Story { name: "bad-image-hash", about: "an image that is not the table's is not started", tell: hash },
    Story { name: "bad-image-truncated", about: "an image that is cut off is not started", tell: truncated },
    Story { name: "bad-table-version", about: "a table of an unknown version is named", tell: version },
    Story { name: "bad-archive-table", about: "an archive without a table is named", tell: no_table },
    Story { name: "bad-archive", about: "a ramdisk that is no archive is named", tell: no_archive },
    Story { name: "bad-image-hash-aarch64", about: "the same as on x86_64", tell: hash },
    Story { name: "bad-table-version-aarch64", about: "the same as on x86_64", tell: version },
    Story { name: "bad-archive-aarch64", about: "the same as on x86_64", tell: no_archive },
    Story {
        name: "bad-provisioning",
        about: "control names the provisioning file that is missing",
        tell: files,
    },
];

pub(crate) const NIGHTLY: &[Story] =
    &[Story { name: "bad-image-truncated-aarch64", about: "the same as on x86_64", tell: truncated }];

const BOOT: Duration = Duration::from_secs(60);

fn entry<'e>(entries: &'e mut Entries, name: &str) -> Result<&'e mut Vec<u8>> {
    entries.get_mut(name).with_context(|| format!("the archive has no `{name}`"))
}

/// Waits for the line of `who` with this text, which carries this code and comes soon.
fn told(machine: &mut Machine, who: &str, text: &str, code: Code) -> Result<()> {
    let line = machine.wait_for_from(who, text, BOOT)?;
    ensure!(line.text.contains(&format!("[{code}]")), "no [{code}] in {line}");
    soon(machine, &line)
}

/// What goes wrong in a boot is on the console at most so long after the first line of dom0, or of Xen if there is no
/// dom0: what comes before that is firmware.
pub(crate) const SOON: Duration = Duration::from_secs(5);

/// Fails if the line came later than [`SOON`].
pub(crate) fn soon(machine: &Machine, line: &Line) -> Result<()> {
    let lines = machine.lines();
    let first = |who: &str| lines.iter().find(|line| line.who == who).map(|line| line.at);
    let begin = first("dom0").or_else(|| first("xen")).context("neither dom0 nor Xen said anything")?;
    let after = line.at.saturating_sub(begin);
    ensure!(after <= SOON, "the error came {:.1} s after the start: {line}", after.as_secs_f64());
    Ok(())
}

fn hash(stage: &Stage<'_>) -> Result<()> {
    let options = stage.direct_with(|entries| {
        let image = entry(entries, &format!("{IMAGES}control"))?;
        let middle = image.len() / 2;
        image[middle] ^= 1;
        Ok(())
    })?;
    let mut machine = stage.start(&options)?;
    told(&mut machine, "dom0", "domain control: image", build::WRONG_IMAGE)?;
    // The other one is not touched by it.
    machine.wait_for_from("dom0", "domain net: ready", BOOT)?;
    stage.end_but(machine, &["domain control is ended: it could not be built"])
}

fn truncated(stage: &Stage<'_>) -> Result<()> {
    let site = stage.site()?;
    let options = stage.provisioned_with(&site, |entries| {
        let image = entry(entries, &format!("{IMAGES}net"))?;
        image.truncate(image.len() / 2);
        Ok(())
    })?;
    let mut machine = stage.start(&options)?;
    told(&mut machine, "dom0", "domain net: image", build::WRONG_IMAGE)?;
    machine.wait_for_from("control", "there is no net domain", BOOT)?;
    stage.end_but(machine, &["domain net is ended: it could not be built"])
}

fn version(stage: &Stage<'_>) -> Result<()> {
    let options = stage.direct_with(|entries| {
        // The version follows the four bytes of magic.
        *entry(entries, TABLE)?.get_mut(4).context("the table is empty")? = 99;
        Ok(())
    })?;
    let mut machine = stage.start(&options)?;
    told(&mut machine, "dom0", "table: version 99 is unknown", boot::BAD_TABLE)?;
    Ok(())
}

fn no_archive(stage: &Stage<'_>) -> Result<()> {
    let options =
        stage.direct_with_ramdisk(b"this is no archive, and it is long enough to hold a header of one")?;
    let mut machine = stage.start(&options)?;
    told(&mut machine, "dom0", "archive:", boot::BAD_ARCHIVE)?;
    Ok(())
}

fn no_table(stage: &Stage<'_>) -> Result<()> {
    let options = stage.direct_with(|entries| {
        entries.remove(TABLE);
        Ok(())
    })?;
    let mut machine = stage.start(&options)?;
    told(&mut machine, "dom0", "archive: it has no entry `table`", boot::NO_TABLE)?;
    Ok(())
}

fn files(stage: &Stage<'_>) -> Result<()> {
    let mut machine = stage.start(&stage.direct())?;
    told(&mut machine, "control", "provisioning: file `server` is missing", ctl::PROVISIONING)?;
    stage.end(machine)
}
