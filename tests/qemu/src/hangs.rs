//! What hangs where nothing of it can help itself: Xen, and the selector. A [debugger](gdb) has the processor stay in
//! the one or the other, taking no interrupt; the hardware's watchdog ends it, and who starts next tells so.
//! Or it has Xen trip and panic.

mod gdb;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use proto_gpt::slots::{Slot, State};
use xtask::build::{Arch, Built};
use xtask::qemu::Machine;
use xtask::site::Site;
use xtask_controller::{BootView, Uuid};

use crate::Story;
use crate::application::{PATIENCE, config, no_violations};
use crate::selector::{image, programs, set_state, state};
use crate::stage::Stage;
use gdb::{Gdb, Place};

pub(crate) const WAITING: &[Story] = &[
    Story {
        name: "hang-xen",
        about: "a Xen that stands still is ended by the chipset's watchdog; the same slot runs again, and the controller hears why",
        tell: xen,
    },
    Story {
        name: "hang-selector",
        about: "a selector that stands still over a new version is ended by the chipset's watchdog; the old one runs, and the controller hears why",
        tell: selector,
    },
    Story {
        name: "hang-dom0-i6300esb",
        about: "where the chipset's watchdog is none, selector and dom0 arm an i6300esb, which ends a dom0 that feeds it no more",
        tell: dom0,
    },
];

pub(crate) const NIGHTLY: &[Story] = &[
    Story { name: "hang-xen-aarch64", about: "the same as hang-xen, by an i6300esb", tell: xen },
    Story {
        name: "crash-xen",
        about: "a Xen that panics ends in a reset; the same slot runs again, and the controller hears why",
        tell: panic,
    },
    Story { name: "crash-xen-aarch64", about: "the same on aarch64", tell: panic },
    Story {
        name: "hang-selector-aarch64",
        about: "the same as hang-selector, by an i6300esb",
        tell: selector,
    },
];

/// Between two looks at where the processor is.
const APART: Duration = Duration::from_millis(3);
/// What the selector gives the machine until dom0 gives it less, and what it takes to start anew.
const RESET: Duration = Duration::from_secs(90);

/// What the selector says of the slot that is started again.
const PROVEN: &str = "selector: slot A (priority 2, tries 0, proven)";
/// What the controller is told of a start after a hang, and after a crash.
const HUNG: &str = "WATCHDOG_HUNG";
const CRASHED: &str = "KERNEL";

/// What the selector says after a hang.
fn has_reset(stage: &Stage<'_>) -> String {
    let watchdog = match stage.built().arch {
        Arch::X86_64 => "iTCO",
        Arch::Aarch64 => "i6300esb",
    };
    format!("selector: the watchdog ({watchdog}) has reset the machine")
}

fn xen(stage: &Stage<'_>) -> Result<()> {
    let (site, mut machine, first) = running(stage)?;
    let (mut gdb, place) = in_xen(stage, &mut machine, |_| true)?;
    gdb.hang(&place)?;
    machine.wait_for(&has_reset(stage), RESET)?;
    machine.wait_for(PROVEN, PATIENCE)?;
    machine.wait_for_from("dom0", "boot reason: the watchdog has reset the machine", PATIENCE)?;
    told(&site, &machine, first.number, HUNG)?;
    machine.quit();
    no_violations(&site)
}

fn panic(stage: &Stage<'_>) -> Result<()> {
    let (site, mut machine, first) = running(stage)?;
    // At rest, for what is on the way of an interrupt would trip again while Xen waits for its own reset.
    let (mut gdb, place) = in_xen(stage, &mut machine, |place| place.waits)?;
    gdb.trip(&place)?;
    machine.wait_for_from("xen", "Panic on CPU 0", PATIENCE)?;
    machine.wait_for(PROVEN, RESET)?;
    machine.wait_for_from("dom0", "boot: slot A, version", PATIENCE)?;
    // Where Xen's five seconds are longer than a real machine's the watchdog may be the first.
    let fired = machine.lines().iter().any(|line| line.text.contains(&has_reset(stage)));
    told(&site, &machine, first.number, if fired { HUNG } else { CRASHED })?;
    machine.quit();
    no_violations(&site)
}

/// A machine that runs, and that the controller was told of.
fn running(stage: &Stage<'_>) -> Result<(Site, Machine, BootView)> {
    let site = stage.site()?;
    site.offer_sample(stage.built(), &config(""))?;
    let mut options = stage.disk(Some(&site))?;
    options.reboot = true;
    let machine = stage.start(&options)?;
    let first = started(&site, &machine)?;
    Ok((site, machine, first))
}

/// Halts a machine that runs where its processor is in Xen. Source of the addresses: Xen,
/// `xen/arch/x86/include/asm/config.h`, the layout of memory.
fn in_xen(stage: &Stage<'_>, machine: &mut Machine, wanted: fn(&Place) -> bool) -> Result<(Gdb, Place)> {
    let arch = stage.built().arch;
    let mut gdb = Gdb::attach(machine, arch)?;
    let is_xens = |place: &Place| match arch {
        Arch::X86_64 => (0xffff_82d0_4000_0000..0xffff_82d0_8000_0000).contains(&place.at),
        // Nothing else runs at EL2 then.
        Arch::Aarch64 => place.level == 2,
    };
    let place = halt(&mut gdb, machine, "Xen", |place| is_xens(place) && wanted(place))?;
    Ok((gdb, place))
}

fn selector(stage: &Stage<'_>) -> Result<()> {
    let arch = stage.built().arch;
    let site = stage.site()?;
    site.offer_sample(stage.built(), &config(""))?;
    let mut options = stage.disk(Some(&site))?;
    options.reboot = true;
    let disk = image(&options)?;
    set_state(&disk, Slot::B, State::UPDATING)?;
    let [program, _] = programs(&disk, arch)?;
    let mut machine = stage.start(&options)?;
    let mut gdb = Gdb::attach(&mut machine, arch)?;
    machine.wait_for("selector: slot B (priority 3, tries 1, not proven): it is tried", PATIENCE)?;
    // The try is taken off; what comes is the hash of all that the slot holds.
    machine.wait_for("selector: slot B holds version", PATIENCE)?;
    let is_in = |place: &Place| {
        place.code.len() == gdb::CODE_BYTES && program.windows(gdb::CODE_BYTES).any(|code| code == place.code)
    };
    let place = halt(&mut gdb, &machine, "the selector", is_in)?;
    gdb.hang(&place)?;
    machine.wait_for(&has_reset(stage), RESET)?;
    let old = "selector: slot A (priority 2, tries 0, proven): the other one was tried in vain";
    machine.wait_for(old, PATIENCE)?;
    machine.wait_for_from("dom0", "boot: slot A, version", PATIENCE)?;
    told(&site, &machine, 0, HUNG)?;
    machine.quit();
    let (left, tried) = (state(&disk, Slot::B)?, State { tries: 0, ..State::UPDATING });
    ensure!(left == tried, "slot B is left with {left}, not with {tried}");
    no_violations(&site)
}

fn dom0(stage: &Stage<'_>) -> Result<()> {
    let site = stage.site()?;
    site.offer_sample(stage.built(), &config(""))?;
    let built = Built { dom0_words: "drill=starve:20000".into(), ..stage.built().clone() };
    let mut options = stage.disk_of(&built, Some(&site))?;
    options.reboot = true;
    options.extra = ["-global", "ICH9-LPC.enable_tco=off", "-device", "i6300esb"].map(Into::into).into();
    let mut machine = stage.start(&options)?;
    machine.wait_for_from("firmware", "selector: a watchdog is of no use: iTCO", PATIENCE)?;
    machine.wait_for_from("dom0", "watchdog: the hardware (i6300esb) resets the machine after", PATIENCE)?;
    let first = started(&site, &machine)?;
    machine.wait_for_from("dom0", "the watchdogs are not fed any more", PATIENCE)?;
    machine.wait_for("selector: the watchdog (i6300esb) has reset the machine", RESET)?;
    machine.wait_for_from("dom0", "boot reason: the watchdog has reset the machine", PATIENCE)?;
    told(&site, &machine, first.number, HUNG)?;
    machine.quit();
    no_violations(&site)
}

/// Halts a machine where its processor is as `wanted` says.
fn halt(gdb: &mut Gdb, machine: &Machine, what: &str, wanted: impl Fn(&Place) -> bool) -> Result<Place> {
    let end = Instant::now() + PATIENCE;
    let mut looks = 1;
    let mut place = gdb.halt()?;
    while !wanted(&place) {
        let tail = || {
            format!("the processor was never in {what}, {looks} times; it is at {place}\n{}", machine.tail())
        };
        ensure!(Instant::now() < end, tail());
        gdb.resume()?;
        std::thread::sleep(APART);
        place = gdb.halt().with_context(tail)?;
        looks += 1;
    }
    println!("     the processor is in {what}, at {place}, after {looks} looks");
    Ok(place)
}

/// A start of which the controller was told.
fn started(site: &Site, machine: &Machine) -> Result<BootView> {
    let boot = || site.controller.wait_boot(device(site)?, 0, PATIENCE).map_err(anyhow::Error::from);
    boot().with_context(|| machine.tail())
}

fn device(site: &Site) -> Result<Uuid> {
    Ok(site.controller.wait_registered(&site.soft_serial(), PATIENCE)?.uuid)
}

/// The controller is told of a start after number `seen`, and of this reason.
fn told(site: &Site, machine: &Machine, seen: u64, reason: &str) -> Result<()> {
    let boot = || -> Result<BootView> {
        let device = device(site)?;
        let boot = site.controller.wait_for(&format!("a start by {reason}"), PATIENCE, |told| {
            let boot = told.devices.get(&device)?.boots.last()?;
            (boot.number > seen && boot.reason == reason).then(|| boot.clone())
        })?;
        Ok(boot)
    };
    let boot = boot().with_context(|| machine.tail())?;
    println!("     told of the start: {} ({})", boot.text, boot.reason);
    Ok(())
}
