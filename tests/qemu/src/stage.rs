//! Where a story takes place: what was built, and machines that keep a log.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use xtask::build::{self, Built};
use xtask::qemu::{Listener, Machine, Options};
use xtask::setup::{self, Stock};
use xtask::{image, paths};

/// What all stories share.
pub(crate) struct Shared {
    stock: Stock,
    built: Built,
}

/// Sets up and builds once for all stories.
pub(crate) fn prepare() -> Result<Shared> {
    setup::host_tools(&setup::Host::ALL)?;
    Ok(Shared { stock: setup::stock()?, built: build::build(&build::Options::default())? })
}

/// One story's place.
pub(crate) struct Stage<'a> {
    name: &'static str,
    shared: &'a Shared,
    machines: AtomicU32,
}

impl<'a> Stage<'a> {
    pub(crate) fn new(name: &'static str, shared: &'a Shared) -> Self {
        Self { name, shared, machines: AtomicU32::new(0) }
    }

    /// What was built, without provisioning files.
    pub(crate) fn built(&self) -> &Built {
        &self.shared.built
    }

    /// A machine into which QEMU loads the system.
    pub(crate) fn direct(&self) -> Options {
        Options::direct(self.built(), &self.shared.stock)
    }

    /// A machine that boots a fresh disk image through its firmware; `config` holds provisioning files.
    pub(crate) fn disk(&self, config: Option<&Path>) -> Result<Options> {
        let image = self.folder()?.join("disk.img");
        image::make(self.built(), &self.shared.stock, config, &image)?;
        Ok(Options::disk(image, self.built(), &self.shared.stock))
    }

    /// Starts a machine. Its console goes to `FOLDER/N.log`, which is named here.
    pub(crate) fn start(&self, options: &Options) -> Result<Machine> {
        let number = self.machines.fetch_add(1, Ordering::Relaxed) + 1;
        let path = self.folder()?.join(format!("{number}.log"));
        let mut file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        println!("     console: {}", path.display());
        let listener: Listener = Box::new(move |line| {
            // The story has the lines too; a full disk is no reason to fail it.
            let _ = writeln!(file, "{line}");
        });
        Machine::start(options, Some(listener))
    }

    /// This story's own folder, `target/sarsen/stories/NAME`.
    pub(crate) fn folder(&self) -> Result<PathBuf> {
        paths::create(paths::output("stories").join(self.name))
    }
}
