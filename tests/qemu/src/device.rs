//! A device that stories update: it has onboarded, and runs the sample application.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use xtask::broken::{self, Broken};
use xtask::build::Built;
use xtask::disk;
use xtask::measure::Made;
use xtask::qemu::{Machine, Options};
use xtask::site::{self, Site};
use xtask::slot::{self, Key, Pieces};
use xtask::swtpm::Tpm;
use xtask::ui;
use xtask_controller::{BootView, SlotView, Uuid};

use crate::application::{PATIENCE, app};
use crate::selector;
use crate::stage::{IMAGE, Stage};

/// From a configuration with another version to that version, proven; and from the start of a bad one to the end of the
/// way back.
pub(crate) const AROUND: Duration = Duration::from_secs(240);

/// A configuration with this version of the base OS, if any, and the sample application.
pub(crate) fn config(base: Option<&str>, more: &str, greeting: &str) -> String {
    let base = base.map_or_else(String::new, |version| {
        format!("[base]\nversion = \"{version}\"\ncontent = \"{version}.update\"\n{more}\n")
    });
    format!(
        "[device]\nname = \"story\"\n\n[items]\n\"timer.config.interval\" = 5\n\"timer.metric.interval\" = 5\n\
         \"newlog.allow.fastupload\" = true\n\"timer.test.baseimage.update\" = 30\n\
         \"timer.update.fallback.no.network\" = 60\n\"timer.vault.ready.cutoff\" = 60\n\n{base}{}",
        app(&format!("args = \"greeting={greeting}\""))
    )
}

/// A device that has onboarded and runs the application, from a disk and with a TPM that outlive a reset.
pub(crate) struct Device<'s> {
    stage: &'s Stage<'s>,
    /// What its slots are made of.
    pub(crate) built: Built,
    pub(crate) site: Site,
    pub(crate) machine: Machine,
    pub(crate) uuid: Uuid,
    /// What the machine is made of.
    options: Options,
    made: Made,
    /// Payloads of what may run; none for what the disk was made with.
    versions: Vec<Option<Vec<u8>>>,
    /// The selector that comes with what is offered, if it is another than the disk was made with.
    selector: Option<Vec<u8>>,
}

impl<'s> Device<'s> {
    pub(crate) fn start(stage: &'s Stage<'s>) -> Result<Self> {
        let device = Self::switch_on(stage, stage.built().clone(), PATIENCE)?;
        let controller = &device.site.controller;
        controller.wait_app_line(site::APP, "first", PATIENCE)?;
        controller.wait_version(device.uuid, slot::VERSION, PATIENCE)?;
        Ok(device)
    }

    /// The same of another build, and no more is waited for than that it is registered.
    pub(crate) fn switch_on(stage: &'s Stage<'s>, built: Built, patience: Duration) -> Result<Self> {
        let site = stage.site()?;
        let disk = stage.disk_of(&built, Some(&site))?;
        let made = Made::read(&stage.folder()?.join(IMAGE), Key::test()?)?;
        Self::of(stage, built, site, disk, made, patience)
    }

    /// The same of a disk that was made for this site.
    pub(crate) fn of(
        stage: &'s Stage<'s>,
        built: Built,
        site: Site,
        disk: Options,
        made: Made,
        patience: Duration,
    ) -> Result<Self> {
        site.offer_sample(stage.built(), &config(None, "", "first"))?;
        let tpm = Some(Tpm { state: Some(fresh(stage)?), ..Tpm::new(disk.arch) });
        let options = Options { reboot: true, tpm, ..disk };
        let machine = stage.start(&options)?;
        site.controller.expect(vec![made.predict(None, &[], None)?]);
        let uuid = site.controller.wait_registered(&site.soft_serial(), patience)?.uuid;
        Ok(Self { stage, built, site, machine, uuid, options, made, versions: vec![None], selector: None })
    }

    /// Switches it on again, with its disk and its TPM as they were left.
    pub(crate) fn power_on(&mut self) -> Result<()> {
        self.machine = self.stage.start(&self.options)?;
        Ok(())
    }

    /// Switches it off and on again, and does something with its disk in between. What it ran before must have come to no
    /// harm, but for lines with these words.
    pub(crate) fn power_cycle(
        &mut self,
        wanted: &[&str],
        between: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        self.machine.quit();
        between(&self.disk()?)?;
        let before = std::mem::replace(&mut self.machine, self.stage.start(&self.options)?);
        self.stage.end_but(before, wanted)
    }

    /// The image of its disk.
    pub(crate) fn disk(&self) -> Result<PathBuf> {
        selector::image(&self.options)
    }

    /// From now on what is offered comes with another selector: one that does the same, and is measured as another one. This
    /// gives its program. The first time the disk must be at rest.
    pub(crate) fn bring_another_selector(&mut self) -> Result<Vec<u8>> {
        let arch = self.stage.built().arch;
        let mut program = match &self.selector {
            Some(last) => xtask::selector::in_image(arch, last)?,
            None => disk::file(&disk::read(&self.disk()?)?.esp, xtask::selector::path(arch))?,
        };
        // Behind the end of the program nobody looks.
        program.extend([0; 8]);
        let image = xtask::selector::image(&xtask::selector::esp(arch, program.clone())?)?;
        self.selector = Some(image);
        Ok(program)
    }

    /// Puts a payload, right or broken, where the controller serves it, and asks for it by the version that it names,
    /// which is returned.
    pub(crate) fn offer(&mut self, version: &str, broken: Option<Broken>, greeting: &str) -> Result<String> {
        let step = ui::step(format!("write the update {version}"));
        let (built, stock) = (&self.built, self.stage.stock());
        let key = Key::test()?;
        let mut pieces = Pieces::of(built, stock, &key)?;
        if let Some(selector) = &self.selector {
            pieces.selector()?.clone_from(selector);
        }
        let payload = broken::payload(broken, pieces, built, stock, &key, version, &step)?;
        step.done(format!("{} KiB", payload.len().div_ceil(1024)));
        let version = broken.map_or_else(|| version.to_owned(), |broken| broken.version(version));
        if broken.is_none() {
            self.may_run(payload.clone());
        }
        self.serve(&version, &payload, greeting)?;
        Ok(version)
    }

    /// From now on the controller expects that it may run this, too.
    pub(crate) fn may_run(&mut self, payload: Vec<u8>) {
        self.versions.push(Some(payload));
    }

    /// Puts a payload where the controller serves it, and asks for it by the version that it names.
    pub(crate) fn serve(&self, version: &str, payload: &[u8], greeting: &str) -> Result<()> {
        self.site.controller.put_content(&format!("{version}.update"), payload)?;
        self.expect_what_was_seen()?;
        self.ask(version, "", greeting)
    }

    /// Asks for a version that was offered, with more lines about it and another greeting.
    pub(crate) fn ask(&self, version: &str, more: &str, greeting: &str) -> Result<()> {
        self.site.controller.set_config(&config(Some(version), more, greeting))?;
        Ok(())
    }

    /// When the controller registered it last.
    pub(crate) fn registered_ms(&self) -> Result<i64> {
        let registered = self
            .site
            .controller
            .observe(|seen| seen.devices.get(&self.uuid).map(|device| device.registered_ms));
        registered.context("the device is not known")
    }

    /// The counter of retries that it has heard of.
    pub(crate) fn retries(&self) -> u32 {
        self.site.controller.observe(|seen| {
            let info = seen.devices.get(&self.uuid).and_then(|device| device.info.as_ref());
            info.map_or(0, |info| info.retry_counter)
        })
    }

    /// From now on the firmware is to be the one that was seen, and all else what the versions make of it.
    pub(crate) fn expect_what_was_seen(&self) -> Result<()> {
        let log = self.site.controller.event_log(self.uuid)?;
        // Any of them may have brought the selector that the disk has.
        let others: Vec<&[u8]> = self.versions.iter().flatten().map(Vec::as_slice).collect();
        let predict = |version: &Option<Vec<u8>>| self.made.predict(version.as_deref(), &others, Some(&log));
        self.site.controller.expect(self.versions.iter().map(predict).collect::<Result<_>>()?);
        Ok(())
    }

    /// How often the controller was told of a start.
    pub(crate) fn starts(&self) -> u64 {
        self.site.controller.observe(|seen| {
            seen.devices.get(&self.uuid).and_then(|device| device.boots.last()).map_or(0, |boot| boot.number)
        })
    }

    /// What the controller was told of the last one.
    pub(crate) fn last_start(&self) -> Result<BootView> {
        let last = self.site.controller.observe(|seen| seen.devices.get(&self.uuid)?.boots.last().cloned());
        last.context("the controller was told of no start")
    }

    pub(crate) fn started_after(&self, seen: u64) -> Result<BootView> {
        Ok(self.site.controller.wait_boot(self.uuid, seen, AROUND)?)
    }

    pub(crate) fn slots(&self) -> Vec<SlotView> {
        self.site.controller.observe(|seen| {
            let info = seen.devices.get(&self.uuid).and_then(|device| device.info.as_ref());
            info.map(|info| info.slots.clone()).unwrap_or_default()
        })
    }

    /// Its keys are where they were, by a TPM that has quoted what runs now.
    pub(crate) fn is_attested(&self) -> Result<()> {
        self.site.controller.wait_for("an attested device with open storage", AROUND, |seen| {
            let device = seen.devices.get(&self.uuid)?;
            let quoted = device.quote.as_ref().is_some_and(|quote| quote.trusted);
            let open = device.info.as_ref()?.vaults.iter().any(|vault| vault.status == "ENABLED");
            (device.attested && quoted && open).then_some(())
        })?;
        Ok(())
    }
}

/// A folder for the state of a new TPM.
fn fresh(stage: &Stage<'_>) -> Result<PathBuf> {
    let folder = stage.folder()?.join("tpm");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    Ok(folder)
}
