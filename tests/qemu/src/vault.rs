//! The domain with the TPM: it has keys, survives being killed, and has the same keys after a reset of the machine.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xtask::qemu::Machine;
use xtask::swtpm::{Interface, Tpm};

use crate::Story;
use crate::restart::dom0_words;
use crate::stage::Stage;

pub(crate) const STORIES: &[Story] = &[
    Story {
        name: "vault-crb",
        about: "with a TPM behind a buffer: the start is measured, keys are made; a kill and a reset leave them",
        tell: |stage| vault(stage, Interface::Crb),
    },
    Story {
        name: "vault-tis",
        about: "the same with a TPM behind a FIFO",
        tell: |stage| vault(stage, Interface::Tis),
    },
    Story { name: "vault-aarch64", about: "the same on aarch64", tell: |stage| vault(stage, Interface::Tis) },
    Story { name: "vault-none", about: "without a TPM: it says so, and nobody waits for it", tell: without },
];

const LINE: Duration = Duration::from_secs(60);
/// What vault says when it has found or made its keys.
const KEYS: &str = "TPM has the keys of device ";
/// Kills, and the time before each.
const KILLS: u32 = 3;
const PAUSE_MS: u32 = 3000;

fn vault(stage: &Stage<'_>, interface: Interface) -> Result<()> {
    let mut options = stage.direct();
    options.tpm = Some(Tpm { interface, ..Tpm::new(options.arch) });
    options.reboot = true;
    dom0_words(&mut options, &format!("drill=vault:{PAUSE_MS}:{KILLS}"));
    let mut machine = stage.start(&options)?;
    machine.wait_for_from("dom0", "the start is measured", LINE)?;
    let device = keys(&mut machine)?;
    for kill in 1..=KILLS {
        machine.wait_for_from("dom0", &format!("drill {kill}: domain vault"), LINE)?;
        let again = keys(&mut machine)?;
        ensure!(again == device, "after kill {kill} the keys are of device {again}, before of {device}");
    }
    machine.reset()?;
    machine.wait_for_from("dom0", "the start is measured", LINE)?;
    let again = keys(&mut machine)?;
    ensure!(again == device, "after a reset the keys are of device {again}, before of {device}");
    machine.quit();
    Ok(())
}

/// Which device's keys vault has.
fn keys(machine: &mut Machine) -> Result<String> {
    let line = machine.wait_for_from("vault", KEYS, LINE)?;
    let (_, device) = line.text.split_once(KEYS).context("the line was found by these words")?;
    Ok(device.trim().to_owned())
}

fn without(stage: &Stage<'_>) -> Result<()> {
    let mut machine = stage.start(&stage.direct())?;
    machine.wait_for_from("vault", "no TPM: keys are software's [E-VAULT-001]", LINE)?;
    stage.end(machine)
}
