//! Updates that a device does not take: what is offered is not right, or who serves it is not.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use proto_update::payload;
use xtask::broken::Broken;
use xtask::site;
use xtask::slot::{self, Key, Pieces};
use xtask::ui;
use xtask_controller::{Fault, RangeLie, Target};

use crate::Story;
use crate::application::{PATIENCE, no_violations};
use crate::device::{AROUND, Device, config};
use crate::stage::Stage;

pub(crate) const STORIES: &[Story] = &[
    Story {
        name: "update_refused",
        about: "updates that are cut off, changed, signed by a stranger, old, too large, for another machine: each is refused by name, and nothing is started",
        tell: wrong,
    },
    Story {
        name: "update_content",
        about: "a server of updates that is away in the middle, and one that lies about ranges: in the end the update is whole, or the lie has a name",
        tell: badly_served,
    },
];

/// What is offered, and how it is refused: by what it holds, or by storage, which looks at what was written.
const REFUSED: [(Broken, &str, &str); 6] = [
    (Broken::Truncated, "the content is no update: it ends after", "[E-UPDATE-004]"),
    (Broken::WrongHash, "the SHA-256 of its contents is not what was signed", "[E-UPDATE-005]"),
    (Broken::WrongKey, "its signature is by no key that is trusted", "[E-UPDATE-005]"),
    (Broken::Older, "is not later than", "[E-UPDATE-005]"),
    (Broken::TooLarge, "in room for", "[E-UPDATE-004]"),
    (Broken::OtherMachine, "it is for another machine", "[E-UPDATE-005]"),
];

/// From a configuration to an answer of a device that does not start anew for it.
const ANSWER: Duration = Duration::from_secs(180);

fn wrong(stage: &Stage<'_>) -> Result<()> {
    let mut device = Device::start(stage)?;
    device.is_attested()?;
    let starts = device.starts();
    for (number, (broken, words, code)) in REFUSED.into_iter().enumerate() {
        let version = device.offer(&format!("0.2.{number}"), Some(broken), "first")?;
        let error = device.site.controller.wait_version_error(device.uuid, &version, code, ANSWER)?;
        println!("     {}: {error}", broken.name());
        ensure!(error.contains(words), "{} is not refused with `{words}`: {error}", broken.name());
        is_as_before(&device, starts)?;
    }
    no_violations(&device.site)?;
    stage.end(device.machine)
}

/// What the disk was made with runs, proven, and nothing was started since.
fn is_as_before(device: &Device<'_>, starts: u64) -> Result<()> {
    let slots = device.slots();
    ensure!(slots.iter().any(|slot| slot.runs(slot::VERSION)), "something else runs: {slots:#?}");
    ensure!(device.starts() == starts, "the device was started again");
    Ok(())
}

/// Bytes of an update that serves to be fetched and is never started.
const SMALL: usize = 1 << 20;
/// Bytes of it after which its server goes away.
const CUT: u64 = 300_000;

fn badly_served(stage: &Stage<'_>) -> Result<()> {
    let device = Device::start(stage)?;
    device.is_attested()?;
    let (starts, controller) = (device.starts(), &device.site.controller);
    let cut = |after: u64| controller.faults().arm(Target::Content, Fault::CutAt(after), Some(1));
    let lie = |lie| controller.faults().arm(Target::Content, Fault::Range(lie), Some(1));

    // Another range than was asked for is not taken for that one, nor is one without a name; and what is longer than was
    // published, or says that it is, is another content.
    for (version, told, words) in [
        ("0.2.0", RangeLie::Shifted, "the server did not resume at byte"),
        ("0.2.1", RangeLie::Unnamed, "the server did not resume at byte"),
        ("0.2.2", RangeLie::WrongTotal, "larger than"),
        ("0.2.3", RangeLie::Mislabelled, "larger than"),
    ] {
        cut(CUT);
        lie(told);
        fetch(stage, &device, version)?;
        let error = controller.wait_version_error(device.uuid, version, words, ANSWER)?;
        println!("     {told:?}: {error}");
        ensure!(error.contains("[E-UPDATE-010]"), "{error}");
        ensure!(!controller.faults().pending(), "the server did not lie");
    }

    // Where there is nothing behind what came, its hash tells that it is not all, and it begins anew, as it does where
    // ranges are ignored; a server that is away is asked again.
    cut(CUT);
    lie(RangeLie::Unsatisfiable);
    cut(CUT);
    controller.faults().arm(Target::Content, Fault::DropBefore, Some(2));
    controller.faults().arm(Target::Content, Fault::CutAt(CUT), Some(1));
    lie(RangeLie::Ignored);
    fetch(stage, &device, "0.2.4")?;
    controller.wait_slot(device.uuid, "an update that is whole", AROUND, |slot| {
        slot.version == "0.2.4" && slot.state == "DELIVERED" && slot.error.is_empty()
    })?;
    ensure!(!controller.faults().pending(), "the update was whole before all was told");
    is_as_before(&device, starts)?;
    controller.wait_app_line(site::APP, "first", PATIENCE)?;
    no_violations(&device.site)?;
    stage.end(device.machine)
}

/// Offers a small update that is signed and has nothing to start in it; it is to be fetched and checked, no more.
fn fetch(stage: &Stage<'_>, device: &Device<'_>, version: &str) -> Result<()> {
    let step = ui::step(format!("write the small update {version}"));
    let mut pieces = Pieces::of(stage.built(), stage.stock(), &Key::test()?)?;
    let Pieces::Grub { files, .. } = &mut pieces else { bail!("there is no GRUB in this slot") };
    files.clear();
    // Nothing that gets shorter by being packed.
    let noise = (0..SMALL as u32).map(|at| (at.wrapping_mul(at).wrapping_mul(0x9e37_79b9) >> 21) as u8);
    files.push(("noise", noise.collect()));
    let slot = pieces.sign_as(version, stage.stock(), &Key::test()?, &step)?;
    let payload = payload::pack(&slot).context("a slot begins with its header")?;
    step.done(format!("{} KiB", payload.len().div_ceil(1024)));
    device.site.controller.put_content(&format!("{version}.update"), &payload)?;
    device.site.controller.set_config(&config(Some(version), "activate = false", "first"))?;
    Ok(())
}
