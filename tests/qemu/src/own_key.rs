//! Slots that are signed by a key of one's own: `cargo xtask image --slot-key`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use proto_gpt::slots::{Slot, State};
use xtask::measure::Made;
use xtask::qemu::Options;
use xtask::setup::{self, Host};
use xtask::slot::{self, Key, Pieces};
use xtask::tool::{Tool, tool};
use xtask::{broken, paths, ui};

use crate::Story;
use crate::application::{PATIENCE, no_violations};
use crate::device::{AROUND, Device};
use crate::selector::{TEST_KEY, set_state, state, write_slot};
use crate::stage::{IMAGE, Stage};

pub(crate) const NIGHTLY: &[Story] = &[Story {
    name: "own_key",
    about: "an image with a key of one's own starts, takes an update by that key and none by the test key, and starts no slot by the test key",
    tell: own_key,
}];

/// The update by the test key, and the one by the image's.
const STRANGE: &str = "0.2.0";
const NEXT: &str = "0.3.0";
/// How both storage and selector refuse a signature.
const REFUSED: &str = "its signature is by no key that is trusted";
/// From a configuration to an answer of a device that does not start anew for it.
const ANSWER: Duration = Duration::from_secs(180);

fn own_key(stage: &Stage<'_>) -> Result<()> {
    let own = Own::make(stage)?;
    let site = stage.site()?;
    let disk = stage.folder()?.join(IMAGE);
    own.image(&disk, |image| image.arg("--config").arg(site.config()))?;
    let made = Made::read(&disk, Key::read(&own.key)?)?;
    let options = Options::disk(disk, stage.built(), stage.stock());
    let mut device = Device::of(stage, stage.built().clone(), site, options, made, PATIENCE)?;
    let lines = device.machine.lines();
    let test = lines.iter().find(|line| line.text.contains(TEST_KEY));
    ensure!(test.is_none(), "the selector has the test key: {test:?}");
    device.site.controller.wait_version(device.uuid, slot::VERSION, PATIENCE)?;
    device.is_attested()?;

    let starts = device.starts();
    device.serve(STRANGE, &by_the_test_key(stage)?, "second")?;
    let error = device.site.controller.wait_version_error(device.uuid, STRANGE, "[E-UPDATE-005]", ANSWER)?;
    println!("     by the test key: {error}");
    ensure!(error.contains(REFUSED), "it is not refused with `{REFUSED}`: {error}");
    let spare = state(&device.disk()?, Slot::B)?;
    ensure!(spare.tries == 0 && device.starts() == starts, "it is armed: slot B has {spare}");

    let payload = stage.folder()?.join("next.update");
    own.image(&payload, |image| image.args(["--update", "--version", NEXT]))?;
    let payload = paths::read(&payload)?;
    device.may_run(payload.clone());
    device.serve(NEXT, &payload, "third")?;
    let proven = device.site.controller.wait_version(device.uuid, NEXT, AROUND)?;
    ensure!(proven.label == "IMGB", "the new version is in {proven:?}");
    device.is_attested()?;

    let step = ui::step("put a slot by the test key in the place of slot A");
    let strange = slot::make(stage.built(), stage.stock(), &Key::test()?, STRANGE, &step)?;
    step.done("");
    device.power_cycle(&[], |disk| {
        write_slot(disk, Slot::A, &strange)?;
        set_state(disk, Slot::A, State::UPDATING)
    })?;
    let refusal = format!("selector: slot A is refused: {REFUSED} [E-SLOT-004]");
    device.machine.wait_for_from("firmware", &refusal, AROUND)?;
    device.machine.wait_for_from("dom0", &format!("boot: slot B, version {NEXT}"), AROUND)?;
    no_violations(&device.site)?;
    stage.end(device.machine)
}

/// An update that everybody can make.
fn by_the_test_key(stage: &Stage<'_>) -> Result<Vec<u8>> {
    let step = ui::step(format!("write the update {STRANGE}, signed with the test key"));
    let (built, stock, key) = (stage.built(), stage.stock(), Key::test()?);
    let pieces = Pieces::of(built, stock, &key)?;
    let payload = broken::payload(None, pieces, built, stock, &key, STRANGE, &step)?;
    step.done("");
    Ok(payload)
}

/// A key of one's own, and where everything is compiled that trusts it: apart from what others compile meanwhile.
struct Own {
    key: PathBuf,
    target: PathBuf,
}

impl Own {
    /// By the commands of `boot/README.md`.
    fn make(stage: &Stage<'_>) -> Result<Self> {
        setup::host_tools(&[Host::Openssl])?;
        let key = stage.folder()?.join("slot.key.pem");
        let step = ui::step("make a key for slots");
        tool("openssl").args(["genpkey", "-algorithm", "ed25519", "-out"]).arg(&key).run(&step)?;
        step.done("");
        Ok(Self { key, target: paths::target().join("own-key") })
    }

    /// Runs `cargo xtask image` with this key.
    fn image(&self, output: &Path, more: impl FnOnce(Tool) -> Tool) -> Result<()> {
        let step = ui::step("cargo xtask image --slot-key");
        let xtask =
            tool("cargo").args(["run", "--quiet", "--package", "xtask", "--target-dir"]).arg(paths::target());
        let image = xtask.args(["--", "image", "--slot-key"]).arg(&self.key).arg("--output").arg(output);
        more(image).dir(&paths::repository()).env("CARGO_TARGET_DIR", &self.target).run(&step)?;
        step.done("");
        Ok(())
    }
}
