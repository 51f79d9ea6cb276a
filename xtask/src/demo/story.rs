//! What has to happen in the demo, step by step, as the controller sees it.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use proto_errors::host as code;
use xtask_controller::{DeviceView, Observed};

use crate::broken::{self, Broken};
use crate::build::Built;
use crate::interrupt::Interrupt;
use crate::measure::Made;
use crate::progress::{application, attested, runs};
use crate::qemu::Machine;
use crate::setup::Stock;
use crate::site::{self, Site};
use crate::slot::{self, Key, Pieces};
use crate::ui;

/// The version that the device is updated to.
const SECOND: &str = "0.2.0";
/// The one whose dom0 panics when it is tried.
const THIRD: &str = "0.3.0";

/// What the controller has to offer, beside what the disk was made with.
pub(super) struct Releases {
    made: Made,
    second: Vec<u8>,
    third: Vec<u8>,
    /// How the last words of the third one's dom0 begin.
    last_words: &'static str,
}

impl Releases {
    /// Makes the payloads of the other versions, and reads the disk image as it was made.
    pub(super) fn make(built: &Built, stock: &Stock, image: &Path) -> Result<Self> {
        let step = ui::step("make a second version, and a third that panics");
        let key = Key::test()?;
        let pieces = Pieces::of(built, stock, &key)?;
        let payload =
            |broken, version| broken::payload(broken, pieces.clone(), built, stock, &key, version, &step);
        let (second, third) = (payload(None, SECOND)?, payload(Some(Broken::Panic), THIRD)?);
        step.done(format!("{} KiB and {} KiB", second.len().div_ceil(1024), third.len().div_ceil(1024)));
        Ok(Self { made: Made::read(image, key)?, second, third, last_words: broken::last_words(built.arch) })
    }
}

/// The story, while it is told.
pub(super) struct Story<'s> {
    pub(super) machine: &'s mut Machine,
    pub(super) site: &'s Site,
    pub(super) interrupt: &'s Interrupt,
    /// For each step.
    pub(super) patience: Duration,
    /// Those that have happened.
    pub(super) steps: usize,
}

impl Story<'_> {
    /// Tells all of it; without releases only how the device comes to run its application.
    pub(super) fn tell(&mut self, releases: Option<Releases>) -> Result<()> {
        if let Some(releases) = &releases {
            self.site.controller.expect(vec![releases.made.predict(None, &[], None)?]);
        }
        self.begin()?;
        let Some(releases) = releases else { return Ok(()) };
        self.reach("the first version is the proven one", |device, _| runs(device, slot::VERSION))?;
        self.update(&releases)?;
        self.fall_back(&releases)
    }

    /// From power-on to an application with lines.
    fn begin(&mut self) -> Result<()> {
        let serial = self.site.soft_serial();
        self.reach("the device registers", |device, _| {
            (device.soft_serial == serial).then(|| format!("as {}", device.uuid))
        })?;
        self.attested("the device is attested")?;
        self.reach("the device takes its configuration", |device, _| {
            device.config_sent.map(|version| format!("version {version}"))
        })?;
        self.application(0)
    }

    /// To the second version, with the first one left behind.
    fn update(&mut self, releases: &Releases) -> Result<()> {
        // By now it is known what this firmware measures, so that every register can be held to a value.
        let device = self.only(|device| Some(device.uuid)).context("there is a device")?;
        let log = self.site.controller.event_log(device)?;
        let predict = |payload| releases.made.predict(payload, &[&releases.second], Some(&log));
        self.site.controller.expect(vec![predict(None)?, predict(Some(&releases.second))?]);
        let boots = self.boots();
        self.site.offer_version(SECOND, &releases.second)?;
        self.reach(&format!("version {SECOND} is fetched, verified and armed"), |device, _| {
            let slots = &device.info.as_ref()?.slots;
            let there = slots.iter().any(|slot| slot.version == SECOND && slot.partition == "updating");
            // It may have gone on.
            (there || device.boots.last()?.number > boots).then(String::new)
        })?;
        self.reach(&format!("version {SECOND} is started on trial"), |device, _| {
            let boot = device.boots.last().filter(|boot| boot.number > boots && boot.version == SECOND)?;
            Some(format!("from {}", boot.label))
        })?;
        self.attested("it is attested, and has its storage back")?;
        self.application_again()?;
        self.reach(&format!("version {SECOND} is committed"), |device, _| runs(device, SECOND))
    }

    /// To a third version that fails, and back.
    fn fall_back(&mut self, releases: &Releases) -> Result<()> {
        let boots = self.boots();
        self.site.offer_version(THIRD, &releases.third)?;
        let name =
            format!("version {THIRD}, whose dom0 ends itself, is tried in vain, and the device falls back");
        self.reach(&name, |device, _| {
            let boot = device.boots.last().filter(|boot| boot.number > boots && boot.version == SECOND)?;
            Some(format!("to {}: {}", boot.label, boot.text))
        })?;
        self.reach("it tells why, with the last words of that dom0", |device, _| {
            let slots = &device.info.as_ref()?.slots;
            let told = |error: &str| error.contains(releases.last_words);
            let failed = slots.iter().find(|slot| slot.version == THIRD && told(&slot.error))?;
            Some(failed.error.clone())
        })?;
        self.attested("it is attested, and has its storage")?;
        self.application_again()?;
        self.reach(&format!("version {SECOND} is the proven one"), |device, _| runs(device, SECOND))
    }

    /// The device has an accepted quote of what runs, and its storage is open.
    fn attested(&mut self, name: &str) -> Result<()> {
        self.reach(name, |device, _| attested(device))
    }

    /// The application runs since the machine was started last, and writes.
    fn application_again(&mut self) -> Result<()> {
        let start = self.only(|device| device.boots.last().map(|boot| boot.boot_ms));
        self.application(start.context("there was a start")?)
    }

    /// The application was started at this time or later (milliseconds since 1970, by the device's clock), and a line of
    /// it from then is there.
    fn application(&mut self, since: i64) -> Result<()> {
        self.reach("the application is RUNNING", |_, observed| {
            application(observed).filter(|began| *began >= since).map(|_| String::new())
        })?;
        self.reach("the application's lines arrive", |_, observed| {
            let mut lines = observed.app_lines(site::APP);
            lines.find(|line| line.at_ms >= since).map(|line| line.content.clone())
        })
    }

    /// The number of the last start that the controller was told of.
    fn boots(&self) -> u64 {
        self.only(|device| device.boots.last().map(|boot| boot.number)).unwrap_or(0)
    }

    /// Of the one device that there is.
    fn only<T>(&self, look: impl FnOnce(&DeviceView) -> Option<T>) -> Option<T> {
        self.site.controller.observe(|observed| observed.devices.values().next().and_then(look))
    }

    /// Waits for a step, which `reached` sees and describes.
    fn reach(
        &mut self,
        name: &str,
        reached: impl Fn(&DeviceView, &Observed) -> Option<String>,
    ) -> Result<()> {
        let end = Instant::now() + self.patience;
        let step = ui::step(name);
        loop {
            let seen = self.site.controller.observe(|observed| {
                observed.devices.values().next().and_then(|device| reached(device, observed))
            });
            if let Some(note) = seen {
                self.steps += 1;
                step.done(note);
                return Ok(());
            }
            let reason = if self.interrupt.pressed() {
                Some("interrupted".to_owned())
            } else if let Some(reason) = self.machine.trouble() {
                Some(reason)
            } else if Instant::now() >= end {
                Some(format!("not seen within {} s", self.patience.as_secs()))
            } else {
                None
            };
            if let Some(reason) = reason {
                drop(step);
                bail!(
                    "{name}: {reason} [{}]\n  the controller's last events:\n{}  the device's console:\n{}",
                    code::DEMO,
                    self.events(),
                    self.machine.tail()
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn events(&self) -> String {
        self.site.controller.observe(|observed| {
            let skip = observed.events.len().saturating_sub(10);
            observed.events.iter().skip(skip).map(|event| format!("    {}\n", event.text)).collect()
        })
    }
}
