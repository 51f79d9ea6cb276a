//! A signed slot that does not hold all that it should: the loader says what it does not find, and the selector goes
//! on to the other slot at once.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use proto_errors::{Code, boot, pci, slot as code, svc};
use proto_gpt::slots::{Slot, State};
use proto_update::manifest::Kind;
use xtask::build::{Arch, Built};
use xtask::console::Line;
use xtask::qemu::{Machine, Options};
use xtask::slot::{Key, Pieces};
use xtask::{grub, ui};

use crate::Story;
use crate::application::config;
use crate::bad_image::{SOON, soon};
use crate::selector::{image, set_state, write_slot};
use crate::stage::Stage;

pub(crate) const STORIES: &[Story] = &[
    Story {
        name: "bad-slot-loader",
        about: "GRUB names what it cannot load of Xen, dom0 and archive, and the other slot's turn is at once",
        tell: grub_lacks,
    },
    Story {
        name: "bad-slot-parts-aarch64",
        about: "a slot that lacks Xen, dom0 or the archive is refused by the selector, which names the part",
        tell: parts_lack,
    },
    Story {
        name: "bad-slot-hangs",
        about: "a new version whose loader stands still is ended by the chipset's watchdog; the old one runs, and says why",
        tell: loader_hangs,
    },
    Story {
        name: "bad-slot-hangs-aarch64",
        about: "a new version whose dom0 stands still is ended by an i6300esb; the old one runs, and says why",
        tell: dom0_hangs,
    },
    Story {
        name: "last-words",
        about: "a dom0 that panics resets the machine, and the next one tells console and controller its last words",
        tell: dom0_panics,
    },
    Story {
        name: "last-words-aarch64",
        about: "a dom0 that finds no archive resets the machine, and the next one tells its last words",
        tell: dom0_gives_up,
    },
    Story {
        name: "bad-machine-mcfg",
        about: "without the table that tells where PCI's configuration space is, dom0 says so, and only net is missing",
        tell: no_mcfg,
    },
];

/// For the firmware, and for Xen.
const PATIENCE: Duration = Duration::from_secs(90);

/// A piece of a slot, and what the console says when it is missing.
type Missing = (&'static str, Kind);
const XEN: Missing = ("xen", Kind::Xen);
const DOM0: Missing = ("dom0", Kind::Dom0);
const ARCHIVE: Missing = ("archive", Kind::Archive);

fn grub_lacks(stage: &Stage<'_>) -> Result<()> {
    lacks(stage, code::RETURNED, |(name, _)| format!("file `/{name}' not found"))
}

fn parts_lack(stage: &Stage<'_>) -> Result<()> {
    lacks(stage, code::MALFORMED, |(_, kind)| format!("it has no part {kind:?}"))
}

/// Two machines: one whose other slot is good, one whose other slot lacks something, too.
fn lacks(stage: &Stage<'_>, code: Code, told: impl Fn(Missing) -> String) -> Result<()> {
    let options = stage.disk(None)?;
    put(stage, &options, Slot::A, |pieces| remove(pieces, ARCHIVE))?;
    let mut machine = stage.start(&options)?;
    passed_over(&mut machine, Slot::A, &told(ARCHIVE), code)?;
    machine.wait_for_from("firmware", "selector: slot B (priority 1, tries 0, proven)", PATIENCE)?;
    let record = machine.wait_for_from("dom0", "boot: slot B, version", PATIENCE)?;
    ensure!(record.text.contains(boot::DISK_DAMAGED.as_str()), "no code in {record}");
    machine.quit();

    put(stage, &options, Slot::A, |pieces| remove(pieces, XEN))?;
    put(stage, &options, Slot::B, |pieces| remove(pieces, DOM0))?;
    let mut machine = stage.start(&options)?;
    passed_over(&mut machine, Slot::A, &told(XEN), code)?;
    passed_over(&mut machine, Slot::B, &told(DOM0), code)?;
    let nothing = machine.wait_for_from("firmware", "selector: nothing was started", PATIENCE)?;
    ensure!(nothing.text.contains(code::NOTHING.as_str()), "no code in {nothing}");
    machine.quit();
    Ok(())
}

/// The slot is chosen; soon the console says what is missing, and that the slot is refused.
fn passed_over(machine: &mut Machine, slot: Slot, what: &str, code: Code) -> Result<()> {
    let chosen = machine.wait_for_from("firmware", &format!("selector: {slot} (priority"), PATIENCE)?;
    let refused = format!("selector: {slot} is refused: ");
    let (mut named, mut last) = (false, chosen.clone());
    while !last.text.starts_with(&refused) {
        last = machine.wait_for_line(&format!("`{what}`, and that {slot} is refused"), PATIENCE, |line| {
            line.text.contains(what) || line.text.starts_with(&refused)
        })?;
        named |= last.text.contains(what);
    }
    ensure!(named, "nothing says `{what}`\n{}", machine.tail());
    ensure!(last.text.contains(&format!("[{code}]")), "no [{code}] in {last}");
    in_time(&chosen, &last)
}

fn in_time(from: &Line, to: &Line) -> Result<()> {
    let after = to.at.saturating_sub(from.at);
    ensure!(after <= SOON, "{:.1} s lie between {from} and {to}", after.as_secs_f64());
    Ok(())
}

/// Makes a slot whose pieces `change` has changed, signs it, and puts it onto the disk.
fn put(
    stage: &Stage<'_>,
    options: &Options,
    slot: Slot,
    change: impl FnOnce(&mut Pieces) -> Result<()>,
) -> Result<()> {
    let step = ui::step(format!("change {slot}"));
    let mut pieces = Pieces::of(stage.built(), stage.stock(), &Key::test()?)?;
    change(&mut pieces)?;
    let bytes = pieces.sign(stage.stock(), &Key::test()?, &step)?;
    write_slot(&image(options)?, slot, &bytes)?;
    step.done("");
    Ok(())
}

fn remove(pieces: &mut Pieces, (name, kind): Missing) -> Result<()> {
    let length = |pieces: &Pieces| match pieces {
        Pieces::Grub { files, .. } => files.len(),
        Pieces::Parts(parts) => parts.len(),
    };
    let before = length(pieces);
    match pieces {
        Pieces::Grub { files, .. } => files.retain(|(file, _)| *file != name),
        Pieces::Parts(parts) => parts.retain(|(part, _)| *part != kind),
    }
    ensure!(length(pieces) + 1 == before, "the slot had no {name}");
    Ok(())
}

fn loader_hangs(stage: &Stage<'_>) -> Result<()> {
    hangs(stage, "iTCO", |pieces| {
        let Pieces::Grub { modules, files, .. } = pieces else { bail!("there is no GRUB in this slot") };
        modules.push("true");
        let (_, text) = files.iter_mut().find(|(name, _)| *name == grub::CONFIGURATION).context("no text")?;
        *text = b"while true; do true; done\n".to_vec();
        Ok(())
    })
}

fn dom0_hangs(stage: &Stage<'_>) -> Result<()> {
    hangs(stage, "i6300esb", |pieces| {
        let Pieces::Parts(parts) = pieces else { bail!("there are no parts in this slot") };
        let (_, dom0) = parts.iter_mut().find(|(kind, _)| *kind == Kind::Dom0).context("no dom0")?;
        *dom0 = standing_still();
        Ok(())
    })
}

/// A program for aarch64 whose first instruction branches to itself. Source: Linux,
/// `Documentation/arch/arm64/booting.rst`.
fn standing_still() -> Vec<u8> {
    let mut image = vec![0; 4096];
    image[..4].copy_from_slice(&0x1400_0000_u32.to_le_bytes());
    image[16..24].copy_from_slice(&4096_u64.to_le_bytes());
    // Little-endian, pages of 4 KiB, anywhere in memory.
    image[24..32].copy_from_slice(&0b1010_u64.to_le_bytes());
    image[56..60].copy_from_slice(b"ARM\x64");
    image
}

/// Slot B is a new version that stands still: the watchdog that the selector has armed ends it.
fn hangs(stage: &Stage<'_>, watchdog: &str, change: impl FnOnce(&mut Pieces) -> Result<()>) -> Result<()> {
    let mut options = stage.disk(None)?;
    options.reboot = true;
    put(stage, &options, Slot::B, change)?;
    set_state(&image(&options)?, Slot::B, State::UPDATING)?;
    let mut machine = stage.start(&options)?;
    let tried = "selector: slot B (priority 3, tries 1, not proven): it is tried";
    machine.wait_for_from("firmware", tried, PATIENCE)?;
    let reset = format!("selector: the watchdog ({watchdog}) has reset the machine");
    // On aarch64 nothing tells that the firmware speaks again.
    machine.wait_for(&reset, PATIENCE)?;
    let old = "selector: slot A (priority 2, tries 0, proven): the other one was tried in vain";
    machine.wait_for(old, PATIENCE)?;
    machine.wait_for_from("dom0", "boot: slot A, version", PATIENCE)?;
    machine.wait_for_from("dom0", "boot reason: the watchdog has reset the machine", PATIENCE)?;
    machine.wait_for_from("dom0", &format!("watchdog: the hardware ({watchdog}) resets"), PATIENCE)?;
    machine.wait_for_from("dom0", "domain net: ready", PATIENCE)?;
    machine.quit();
    Ok(())
}

/// Xen's line ahead of the reset.
const CRASHED: &str = "Hardware Dom0 crashed: rebooting machine";

fn dom0_panics(stage: &Stage<'_>) -> Result<()> {
    let site = stage.site()?;
    site.offer_sample(stage.built(), &config(""))?;
    let built = Built { dom0_words: "drill=crash:20000".into(), ..stage.built().clone() };
    let mut options = stage.disk_of(&built, Some(&site))?;
    options.reboot = true;
    let mut machine = stage.start(&options)?;
    let panic = machine.wait_for_from("dom0", "PANIC at dom0/src/drill.rs", PATIENCE)?;
    let words = panic.text.split_once("PANIC").map(|(_, words)| format!("PANIC{words}")).unwrap_or_default();
    machine.wait_for(CRASHED, PATIENCE)?;
    let told = format!("boot reason: dom0 crashed: {words}");
    let reason = machine.wait_for_from("dom0", &told, PATIENCE)?;
    ensure!(reason.text.contains(&format!("[{}]", svc::CRASHED)), "no [{}] in {reason}", svc::CRASHED);
    machine.wait_for_from("dom0", "boot reason: bt: 0x", PATIENCE)?;
    site.controller.wait_device_line(&told, PATIENCE)?;
    site.controller.wait_for("the last words in the device's report", PATIENCE, |seen| {
        let mut infos = seen.devices.values().filter_map(|device| device.info.as_ref());
        infos.any(|info| info.boot_text.contains("PANIC at dom0/src/drill.rs")).then_some(())
    })?;
    machine.quit();
    Ok(())
}

fn dom0_gives_up(stage: &Stage<'_>) -> Result<()> {
    let mut options = stage.disk(None)?;
    options.reboot = true;
    put(stage, &options, Slot::A, |pieces| {
        let Pieces::Parts(parts) = pieces else { bail!("there are no parts in this slot") };
        let (_, archive) = parts.iter_mut().find(|(kind, _)| *kind == Kind::Archive).context("no archive")?;
        *archive = vec![b'?'; 4096];
        Ok(())
    })?;
    let mut machine = stage.start(&options)?;
    let line = machine.wait_for_line("why dom0 gives up", PATIENCE, |line| {
        line.who == "dom0" && line.text.contains("[E-BOOT-")
    })?;
    machine.wait_for(CRASHED, PATIENCE)?;
    let words = line.text.split_once("dom0: ").map_or(line.text.as_str(), |(_, words)| words);
    machine.wait_for_from("dom0", &format!("boot reason: dom0 crashed: {words}"), PATIENCE)?;
    machine.quit();
    Ok(())
}

/// GRUB can leave out a table of the firmware: then the machine is one whose firmware has none.
fn no_mcfg(stage: &Stage<'_>) -> Result<()> {
    ensure!(stage.built().arch == Arch::X86_64, "there is ACPI on x86_64 only");
    let options = stage.disk(None)?;
    put(stage, &options, Slot::A, |pieces| {
        let Pieces::Grub { modules, files, .. } = pieces else { bail!("there is no GRUB in this slot") };
        modules.push("acpi");
        let (_, text) = files.iter_mut().find(|(name, _)| *name == grub::CONFIGURATION).context("no text")?;
        *text = [b"acpi --exclude=MCFG\n", text.as_slice()].concat();
        Ok(())
    })?;
    let mut machine = stage.start(&options)?;
    let line = machine.wait_for_from("dom0", "no PCI device can be handed over: ", PATIENCE)?;
    ensure!(line.text.contains(&format!("[{}]", boot::NO_PCI)), "no [{}] in {line}", boot::NO_PCI);
    soon(&machine, &line)?;
    let net = machine.wait_for_from("dom0", "domain net: ", PATIENCE)?;
    ensure!(net.text.contains(&format!("[{}]", pci::NOT_FOUND)), "no [{}] in {net}", pci::NOT_FOUND);
    machine.wait_for_from("control", "provisioning: file `server` is missing", PATIENCE)?;
    machine.quit();
    Ok(())
}
