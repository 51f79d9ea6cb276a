//! A site: a controller on this machine, and one device provisioned for it.
//!
//! What `demo`, `bench` and the stories share. The controller runs in this process; from inside of QEMU
//! the host is 10.0.2.2, which the provisioned file `hosts` says.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use proto_errors::host as code;
use xtask_controller::{Bundle, Controller, EventSink, Handle, Options};

use crate::build::{self, Built};
use crate::coded::OrCode;
use crate::paths;

/// Name of the provisioned device.
const DEVICE: &str = "demo";

/// Name of the sample application in [`CONFIG`].
pub const APP: &str = build::SAMPLE;

/// The sample application's file in the controller's datastore.
const CONTENT: &str = "hello.elf";

/// Configuration that runs the sample application, with short intervals, for people who watch.
pub const CONFIG: &str = r#"# What the controller tells its devices. Edit it while the controller runs.

[device]
name = "demo"

[items]
"timer.config.interval" = 5
"timer.metric.interval" = 10
"newlog.allow.fastupload" = true
"timer.test.baseimage.update" = 30
"timer.update.fallback.no.network" = 60
"timer.vault.ready.cutoff" = 60

[[app]]
name = "hello"
content = "hello.elf"
memory_kib = 8192
"#;

/// A running controller and the provisioning files of one device.
pub struct Site {
    /// The controller; it stops when this is dropped.
    pub controller: Handle,
    /// The device's files.
    pub bundle: Bundle,
    folder: PathBuf,
}

impl std::fmt::Debug for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Site").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Site {
    /// Starts a controller that keeps its state in `folder/controller`, and writes the device's
    /// provisioning files to `folder/config`. Life events go to `on_event`.
    ///
    /// # Errors
    /// When the controller cannot start, or the folder cannot be written.
    pub fn open(folder: &Path, on_event: Option<EventSink>) -> Result<Self> {
        Self::open_with(folder, |options| options.on_event = on_event)
    }

    /// The same, with other options for the controller.
    ///
    /// # Errors
    /// As [`Site::open`].
    pub fn open_with(folder: &Path, adjust: impl FnOnce(&mut Options)) -> Result<Self> {
        let state = paths::create(folder.join("controller"))?;
        let mut options = Options::new(state);
        adjust(&mut options);
        let started = Controller::start(options).context("cannot start the controller");
        let controller = started.or_code(code::CONTROLLER)?;
        let bundle = controller.provision(DEVICE).context("cannot provision the device");
        let bundle = bundle.or_code(code::CONTROLLER)?;
        let site = Self { controller, bundle, folder: folder.to_owned() };
        site.bundle.write_to(&site.config())?;
        Ok(site)
    }

    /// Folder with the provisioning files, for [`build::Options::config`].
    pub fn config(&self) -> PathBuf {
        self.folder.join("config")
    }

    /// The device's serial number, by which the controller finds it.
    pub fn soft_serial(&self) -> String {
        self.bundle.text("soft_serial")
    }

    /// Puts the sample application of a build into the datastore, and a configuration into force.
    ///
    /// # Errors
    /// When the image is missing or the configuration is wrong.
    pub fn offer_sample(&self, built: &Built, config: &str) -> Result<()> {
        self.controller.put_content(CONTENT, &paths::read(&built.image(build::SAMPLE))?)?;
        let taken = self.controller.set_config(config).context("the controller's configuration");
        taken.map(drop).or_code(code::CONTROLLER)
    }

    /// Puts a payload where the controller serves it, and names its version in [`CONFIG`].
    ///
    /// # Errors
    /// When it cannot be kept, or is no version's name.
    pub fn offer_version(&self, version: &str, payload: &[u8]) -> Result<()> {
        let content = format!("{version}.update");
        self.controller.put_content(&content, payload)?;
        let base = format!("\n[base]\nversion = \"{version}\"\ncontent = \"{content}\"\n");
        self.controller.set_config(&format!("{CONFIG}{base}"))?;
        Ok(())
    }
}
