//! Versions that start and are of no use: the device falls back from each by itself, tells why, and does not try it
//! again.

use std::time::Duration;

use anyhow::{Result, ensure};
use xtask::broken::Broken;
use xtask::site;
use xtask::slot;

use crate::Story;
use crate::application::no_violations;
use crate::device::{AROUND, Device};
use crate::stage::Stage;

pub(crate) const NIGHTLY: &[Story] = &[
    Story {
        name: "update_hang",
        about: "a version whose dom0 stands still is ended by the watchdog",
        tell: |stage| falls_back(stage, Broken::Hang, &HANG),
    },
    Story {
        name: "update_no_dom0",
        about: "a version without a dom0 ends before it does anything, and the machine is reset for that",
        tell: |stage| falls_back(stage, Broken::NoDom0, &NO_DOM0),
    },
    Story {
        name: "update_no_network",
        about: "a version without a network card gives up by itself",
        tell: |stage| falls_back(stage, Broken::NoNetwork, &NO_NETWORK),
    },
    Story {
        name: "update_no_way",
        about: "a version whose control cannot ask anybody gives up by itself",
        tell: |stage| falls_back(stage, Broken::NoWay, &NO_WAY),
    },
    Story {
        name: "update_no_unseal",
        about: "a version that does not get at what is stored gives up by itself",
        tell: |stage| falls_back(stage, Broken::NoUnseal, &NO_UNSEAL),
    },
    Story {
        name: "update_hang-aarch64",
        about: "the same by an i6300esb on aarch64",
        tell: |stage| falls_back(stage, Broken::Hang, &HANG),
    },
    Story {
        name: "update_no_dom0-aarch64",
        about: "the same on aarch64",
        tell: |stage| falls_back(stage, Broken::NoDom0, &NO_DOM0),
    },
    Story {
        name: "update_no_network-aarch64",
        about: "the same on aarch64",
        tell: |stage| falls_back(stage, Broken::NoNetwork, &NO_NETWORK),
    },
    Story {
        name: "update_no_way-aarch64",
        about: "the same on aarch64",
        tell: |stage| falls_back(stage, Broken::NoWay, &NO_WAY),
    },
    Story {
        name: "update_no_unseal-aarch64",
        about: "the same on aarch64",
        tell: |stage| falls_back(stage, Broken::NoUnseal, &NO_UNSEAL),
    },
];

/// How a version ends, as it is told.
struct End {
    /// EVE's reason of the next start.
    reason: &'static str,
    /// Why the machine was started then, which the version's error repeats.
    why: &'static str,
    /// What the version itself has said on the console until then.
    said: &'static [&'static str],
}

const HANG: End = End {
    reason: "WATCHDOG_HUNG",
    why: "the watchdog has reset the machine in a start that did not come to dom0; the version that was tried has kept nothing",
    said: &[],
};
const NO_DOM0: End = End {
    reason: "KERNEL",
    why: "a start ended before dom0 was there, and the machine was reset for that; the version that was tried has kept nothing",
    said: &["PANIC"],
};
/// A new version gets at what is stored only with the controller's help. One that has to do without leaves why it ends itself
/// with dom0.
const NO_NETWORK: End = End {
    reason: "FALLBACK",
    why: "version 0.2.0: net was not well under test",
    said: &["base OS: net is not well", LEAVES],
};
const NO_WAY: End = End {
    reason: "FALLBACK",
    why: "version 0.2.0: control was not well under test",
    said: &["base OS: control is not well", LEAVES],
};
const NO_UNSEAL: End = End {
    reason: "FALLBACK",
    why: "version 0.2.0 did not reach the controller under test",
    said: &["the storage is locked: it was sealed by a TPM, and this machine has none", LEAVES],
};
const LEAVES: &str = " -> Leaving(Fallback)";

const BAD: &str = "0.2.0";
/// From a version on trial to the old one. The longest is a control that is never ready: dom0 ends it after a minute each time,
/// and the fourth has the machine reset.
const BACK: Duration = Duration::from_secs(600);
/// So long nobody tries the version again.
const QUIET: Duration = Duration::from_secs(30);

fn falls_back(stage: &Stage<'_>, broken: Broken, end: &End) -> Result<()> {
    let mut device = Device::start(stage)?;
    device.is_attested()?;
    let seen = device.starts();
    device.offer(BAD, Some(broken), "second")?;
    let controller = &device.site.controller;
    let back = controller.wait_for("the old version's start", BACK, |seen_now| {
        let boots = &seen_now.devices.get(&device.uuid)?.boots;
        boots.last().filter(|boot| boot.number > seen && boot.version == slot::VERSION).cloned()
    })?;
    ensure!(back.label == "IMGA", "the device fell back to {back:?}");
    println!("     told of the start: {} ({})", back.text, back.reason);
    ensure!(back.reason == end.reason && back.text == end.why, "not {}, `{}`: {back:?}", end.reason, end.why);
    let error = controller.wait_version_error(device.uuid, BAD, "it was tried and fell back", AROUND)?;
    println!("     told of {BAD}: {error}");
    ensure!(error.contains(&back.text) && error.contains("[E-UPDATE-007]"), "no `{}` in {error}", back.text);
    let tried = "selector: slot B (priority 3, tries 1, not proven): it is tried";
    let tried = device.machine.wait_for(tried, AROUND)?;
    controller.wait_app_line(site::APP, "second", AROUND)?;
    device.is_attested()?;
    let served = device.machine.since_power_on().saturating_sub(tried.at).as_secs_f64();
    println!(
        "     the old version served again {served:.0} s after the selector had begun to try the new one"
    );
    std::thread::sleep(QUIET);
    let tries = device.machine.lines().iter().filter(|line| line.text.contains("): it is tried")).count();
    ensure!(tries == 1, "the version was tried {tries} times");
    ensure!(device.starts() == back.number, "the device started again: {:?}", device.slots());
    no_violations(&device.site)?;
    // What harm the bad version comes to is its own; the next dom0 tells of the end before it.
    let lines = device.machine.lines();
    let tried = lines.iter().position(|line| line.text.contains("): it is tried")).unwrap_or(lines.len());
    let harm =
        lines.iter().take(tried).find(|line| line.text.contains("PANIC") || line.text.contains("is ended"));
    ensure!(harm.is_none(), "before the update: {harm:?}");
    let said = |words: &str| lines[tried..].iter().any(|line| line.text.contains(words));
    let unsaid: Vec<_> = end.said.iter().filter(|words| !said(words)).collect();
    ensure!(unsaid.is_empty(), "the version did not say {unsaid:?}\n{}", device.machine.tail());
    device.machine.quit();
    Ok(())
}
