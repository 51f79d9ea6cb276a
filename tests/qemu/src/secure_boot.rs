//! Secure Boot: the firmware starts what its keys have signed and nothing else, be it the selector or what the selector
//! starts.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use proto_attest::differences;
use proto_errors::slot as code;
use proto_gpt::slots::Slot;
use proto_tpm::eventlog::Log;
use xtask::measure::Made;
use xtask::qemu::Options;
use xtask::secure_boot::ProgramKey;
use xtask::setup::{self, Host, SecureBoot};
use xtask::site::Site;
use xtask::slot::{self, Key};
use xtask::swtpm::Tpm;
use xtask::tool::tool;
use xtask::{image, ui};

use crate::Story;
use crate::application::config;
use crate::selector::write_slot;
use crate::stage::{IMAGE, Stage};

pub(crate) const STORIES: &[Story] = &[
    Story {
        name: "secure-boot",
        about: "with Secure Boot a signed image starts, and what is measured of it is what `measure` says",
        tell: signed,
    },
    Story {
        name: "secure-boot-refused",
        about: "with Secure Boot a selector that is not signed, or by another key, is not started, nor is such a slot",
        tell: refused,
    },
];

const PATIENCE: Duration = Duration::from_secs(90);

fn signed(stage: &Stage<'_>) -> Result<()> {
    let keys = Keys::open(stage)?;
    let site = stage.site()?;
    site.offer_sample(stage.built(), &config(""))?;
    let options = keys.disk(&keys.trusted()?, Some(&site))?;
    let made = Made::read(&stage.folder()?.join(IMAGE), Key::test()?)?;
    let tpm = Some(Tpm::new(options.arch));
    let mut machine = stage.start(&Options { tpm, ..options })?;
    machine.wait_for_from("firmware", "selector: Secure Boot is on", PATIENCE)?;
    machine.wait_for_from("dom0", "boot: slot A, version", PATIENCE)?;
    let controller = &site.controller;
    controller.expect(vec![made.predict(None, &[], None)?]);
    let device = controller.wait_registered(&site.soft_serial(), PATIENCE)?.uuid;
    controller.wait_for("an attested device", PATIENCE, |seen| {
        seen.devices.get(&device).is_some_and(|device| device.attested).then_some(())
    })?;
    // Learned are the registers that the firmware fills alone; both programs are of the image.
    let log = controller.event_log(device)?;
    let prediction = made.predict(None, &[], Some(&log))?;
    let wrong = |error| anyhow!("the event log: {error}");
    let events = Log::parse(&log).map_err(wrong)?.events().collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    let found = differences(&prediction, events);
    ensure!(found.is_empty(), "what was measured is not what was predicted: {found:?}");
    stage.end(machine)
}

fn refused(stage: &Stage<'_>) -> Result<()> {
    let keys = Keys::open(stage)?;
    for key in [keys.strange()?, Key::test()?] {
        let options = keys.disk(&key, None)?;
        let mut machine = stage.start(&options)?;
        machine.wait_for_from("firmware", "Access Denied", PATIENCE)?;
        machine.wait_for_from("firmware", "No bootable option or device was found", PATIENCE)?;
        machine.quit();
        let started = machine.lines().into_iter().find(|line| line.text.contains("selector"));
        ensure!(started.is_none(), "a selector was started that the firmware does not trust: {started:?}");
    }

    let options = keys.disk(&keys.trusted()?, None)?;
    let step = ui::step("put a loader into slot A that is not signed for Secure Boot");
    let bytes = slot::make(stage.built(), &keys.firmware.stock, &Key::test()?, slot::VERSION, &step)?;
    write_slot(&stage.folder()?.join(IMAGE), Slot::A, &bytes)?;
    step.done("");
    let mut machine = stage.start(&options)?;
    let refusal = machine.wait_for_from("firmware", "selector: slot A is refused", PATIENCE)?;
    let why = "the firmware does not load it";
    ensure!(refusal.text.contains(why) && refusal.text.contains(code::NOT_LOADED.as_str()), "{refusal}");
    machine.wait_for_from("dom0", "boot: slot B, version", PATIENCE)?;
    machine.quit();
    Ok(())
}

/// Firmware with Secure Boot, and keys for it.
struct Keys<'s> {
    stage: &'s Stage<'s>,
    firmware: SecureBoot,
    folder: PathBuf,
}

impl<'s> Keys<'s> {
    fn open(stage: &'s Stage<'s>) -> Result<Self> {
        setup::host_tools(&[Host::Openssl])?;
        Ok(Self { stage, firmware: setup::secure_boot()?, folder: stage.folder()? })
    }

    /// The test key for slots, and for programs the one that the firmware trusts.
    fn trusted(&self) -> Result<Key> {
        let key = self.folder.join("trusted.key.pem");
        let step = ui::step("take the passphrase off the key that the firmware trusts");
        tool("openssl")
            .args(["pkey", "-passin", &format!("pass:{}", self.firmware.passphrase), "-in"])
            .arg(&self.firmware.key)
            .arg("-out")
            .arg(&key)
            .run(&step)?;
        step.done("");
        Ok(Key::test()?.with_secure_boot(ProgramKey::read(&key, &self.firmware.certificate)?))
    }

    /// The same with a new key for programs.
    fn strange(&self) -> Result<Key> {
        let [key, certificate] = ["strange.key.pem", "strange.pem"].map(|name| self.folder.join(name));
        let step = ui::step("make a key that the firmware does not trust");
        tool("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=strange", "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .run(&step)?;
        step.done("");
        Ok(Key::test()?.with_secure_boot(ProgramKey::read(&key, &certificate)?))
    }

    /// A machine with this firmware, and a fresh image that `key` has signed.
    fn disk(&self, key: &Key, site: Option<&Site>) -> Result<Options> {
        let (built, stock) = (self.stage.built(), &self.firmware.stock);
        let (image, config) = (self.folder.join(IMAGE), site.map(Site::config));
        image::make_with(built, stock, config.as_deref(), &image, key, slot::VERSION)?;
        Ok(Options::disk(image, built, stock))
    }
}
