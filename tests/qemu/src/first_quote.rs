//! The first quote of a machine that the controller knows nothing of but its image: its firmware may be any, and what is
//! ours may not.

use std::time::Duration;

use anyhow::{Result, ensure};
use proto_attest::PROGRAMS_PCR;
use proto_gpt::slots::Slot;
use proto_handoff::measurement::CONTENTS_PCR;
use xtask::build::{Arch, Built};
use xtask::measure::Made;
use xtask::qemu::Options;
use xtask::slot::{self, Key};
use xtask::swtpm::Tpm;
use xtask::{paths, ui};

use crate::Story;
use crate::application::{PATIENCE, config};
use crate::selector::write_slot;
use crate::stage::{IMAGE, Stage};

pub(crate) const NIGHTLY: &[Story] = &[
    Story {
        name: "first_quote",
        about: "a device whose first start is by another dom0, signed as well, is refused at its first quote, by the name of what differs, and gets no configuration",
        tell: another_dom0,
    },
    Story { name: "first_quote-aarch64", about: "the same on aarch64", tell: another_dom0 },
];

/// How often it may try before it is looked at what it got.
const AGAIN: Duration = Duration::from_secs(20);

fn another_dom0(stage: &Stage<'_>) -> Result<()> {
    let site = stage.site()?;
    site.offer_sample(stage.built(), &config(""))?;
    let disk = stage.disk(Some(&site))?;
    let image = stage.folder()?.join(IMAGE);
    let made = Made::read(&image, Key::test()?)?;
    write_slot(&image, Slot::A, &with_another_dom0(stage)?)?;

    let controller = &site.controller;
    controller.expect(vec![made.predict(None, &[], None)?]);
    let tpm = Some(Tpm::new(disk.arch));
    let mut machine = stage.start(&Options { tpm, ..disk })?;
    machine.wait_for_from("dom0", &format!("boot: slot A, version {}", slot::VERSION), PATIENCE)?;
    let device = controller.wait_registered(&site.soft_serial(), PATIENCE)?.uuid;
    let quote =
        controller.wait_for("a verdict", PATIENCE, |seen| seen.devices.get(&device)?.quote.clone())?;
    println!("     {}", quote.verdict);
    // Table and services are the right ones, and so is each PCR but the one that dom0 is in.
    let pcr = match stage.built().arch {
        Arch::X86_64 => PROGRAMS_PCR,
        Arch::Aarch64 => CONTENTS_PCR,
    };
    let differs: Vec<u32> = quote.differences.iter().map(|(pcr, _)| *pcr).collect();
    ensure!(!quote.trusted && differs == [pcr], "the verdict: {quote:?}");
    std::thread::sleep(AGAIN);
    let view = controller.observe(|seen| seen.devices.get(&device).cloned());
    ensure!(
        view.is_some_and(|view| !view.attested && view.config_sent.is_none() && view.escrowed == 0),
        "the device was trusted"
    );
    let told = controller.violations();
    let is_this =
        |reason: &str| reason.contains("QUOTE_FAILED") && reason.contains(&format!("PCR {pcr}, event"));
    ensure!(!told.is_empty() && told.iter().all(|one| is_this(&one.reason)), "{told:#?}");
    stage.end(machine)
}

/// A slot that differs from that of the image in its dom0 alone, which does the same and has other bytes.
fn with_another_dom0(stage: &Stage<'_>) -> Result<Vec<u8>> {
    let step = ui::step("sign a slot with another dom0");
    let dom0 = stage.folder()?.join("dom0");
    // Behind its end nobody looks.
    let bytes = [paths::read(&stage.built().dom0)?, vec![0; 8]].concat();
    paths::write(&dom0, bytes)?;
    let other = Built { dom0, ..stage.built().clone() };
    let slot = slot::make(&other, stage.stock(), &Key::test()?, slot::VERSION, &step)?;
    step.done("");
    Ok(slot)
}
