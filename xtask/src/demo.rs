//! `demo`: the whole story. A controller here, the disk image in QEMU, and the sample application running
//! in a domain of the device because the controller's configuration says so.
//!
//! Everything is made anew under `target/sarsen/demo`: `controller` (its state, with `config.toml`, which
//! may be edited meanwhile), `config` (the device's provisioning files), `disk.img`, `console.log`.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use proto_errors::host as code;
use xtask_controller::Observed;

use crate::coded::OrCode;
use crate::console::Line;
use crate::interrupt::Interrupt;
use crate::qemu::{Listener, Machine, Options as MachineOptions};
use crate::setup::{self, Stock};
use crate::site::{self, Site};
use crate::swtpm::{Interface, Tpm};
use crate::symbolize::Symbolizer;
use crate::{build, image, paths, ui};

/// Options of `demo`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Architecture of the device
    #[arg(long, value_enum, default_value_t = build::Arch::X86_64)]
    pub arch: build::Arch,
    /// End with status 0 as soon as the application was seen RUNNING with its lines, else with 1
    #[arg(long)]
    pub check: bool,
    /// Boot through firmware and GRUB: the default, here for those who want to say it
    #[arg(long, conflicts_with = "direct")]
    pub uefi: bool,
    /// Let QEMU load Xen, without firmware, boot loader and disk
    #[arg(long)]
    pub direct: bool,
    /// Show the device's console
    #[arg(long)]
    pub console: bool,
    /// The interface of its TPM [default: crb on x86_64, tis on aarch64]
    #[arg(long, value_name = "INTERFACE")]
    pub tpm: Option<Interface>,
    /// Virtual processors
    #[arg(long, default_value_t = 1)]
    pub smp: u32,
    /// Seconds from power-on within which everything must have happened
    #[arg(long, default_value_t = 180, value_name = "SECONDS")]
    pub timeout: u64,
    /// Take the domains that the last build made
    #[arg(long)]
    pub no_build: bool,
}

/// What has to happen, in this order, and how the controller sees it.
type Milestone = (&'static str, fn(&Observed, &str) -> bool);

const MILESTONES: [Milestone; 5] = [
    ("the device registers", |observed, serial| {
        observed.devices.values().any(|device| device.soft_serial == serial)
    }),
    ("the device attests", |observed, _| observed.devices.values().any(|device| device.attested)),
    ("the device takes its configuration", |observed, _| {
        observed.devices.values().any(|device| device.config_sent.is_some())
    }),
    ("the application is RUNNING", |observed, _| {
        observed.app(site::APP).is_some_and(|app| app.state == "RUNNING" && !app.deleted)
    }),
    ("the application's lines arrive", |observed, _| observed.app_lines(site::APP).next().is_some()),
];

/// Runs the subcommand.
///
/// # Errors
/// When a milestone is not reached in time; with the reason, the controller's last events and the console's tail.
pub fn demo(options: &Options) -> Result<()> {
    setup::host_tools(setup::Host::boot(options.arch))?;
    setup::host_tools(&[setup::Host::Swtpm])?;
    let stock = setup::stock(options.arch)?;
    let folder = fresh_folder()?;

    let step = ui::step("start the controller");
    let site = Site::open(&folder, Some(Arc::new(|line| eprintln!("     {line}"))))?;
    step.done(&site.controller.urls().web);
    let mut machine = prepare(options, &stock, &site, &folder)?;
    machine.smp = options.smp;
    let tpm = Tpm::new(options.arch);
    let interface = options.tpm.unwrap_or(tpm.interface);
    machine.tpm = Some(Tpm { interface, state: Some(folder.join("tpm")) });

    let interrupt = Interrupt::listen()?;
    let mut machine = Machine::start(&machine, Some(listener(options, &folder)?))?;
    reach_all(&mut machine, &site, &interrupt, Duration::from_secs(options.timeout))?;
    report(&site, &folder);
    if !options.check {
        stay(&mut machine, &interrupt)?;
    }
    machine.quit();
    site.controller.shutdown();
    Ok(())
}

/// `target/sarsen/demo`, empty.
fn fresh_folder() -> Result<PathBuf> {
    let folder = paths::output("demo");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    paths::create(folder)
}

fn prepare(options: &Options, stock: &Stock, site: &Site, folder: &Path) -> Result<MachineOptions> {
    let build = build::Options {
        arch: options.arch,
        config: options.direct.then(|| site.config()),
        no_build: options.no_build,
        ..build::Options::default()
    };
    let built = build::build(&build)?;
    site.offer_sample(&built, site::CONFIG)?;
    if options.direct {
        return Ok(MachineOptions::direct(&built, stock));
    }
    let image = folder.join("disk.img");
    image::make(&built, stock, Some(&site.config()), &image).or_code(code::IMAGE)?;
    Ok(MachineOptions::disk(image, &built, stock))
}

/// Keeps the console in `console.log`, and shows it if asked to.
fn listener(options: &Options, folder: &Path) -> Result<Listener> {
    let path = folder.join("console.log");
    let mut file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let show = options.console;
    let layout = build::layout(&build::Options { arch: options.arch, ..build::Options::default() })?;
    let mut symbols = Symbolizer::new(layout.symbols);
    Ok(Box::new(move |line: &Line| {
        let note = symbols.annotate(&line.who, &line.text).map(|at| format!("  {at}")).unwrap_or_default();
        // A full disk or a closed terminal is no reason to stop the device.
        let _ = writeln!(file, "{line}{note}");
        if show {
            let _ = writeln!(std::io::stdout(), "{line}{note}");
        }
    }))
}

fn reach_all(machine: &mut Machine, site: &Site, interrupt: &Interrupt, limit: Duration) -> Result<()> {
    let end = Instant::now() + limit;
    let serial = site.soft_serial();
    for (name, reached) in MILESTONES {
        let step = ui::step(name);
        loop {
            if site.controller.observe(|observed| reached(observed, &serial)) {
                break;
            }
            let reason = if interrupt.pressed() {
                Some("interrupted".to_owned())
            } else if let Some(reason) = machine.trouble() {
                Some(reason)
            } else if Instant::now() >= end {
                Some(format!("not seen within {} s from power-on", limit.as_secs()))
            } else {
                None
            };
            if let Some(reason) = reason {
                drop(step);
                bail!(
                    "{name}: {reason} [{}]\n  the controller's last events:\n{}  the device's console:\n{}",
                    code::DEMO,
                    events(site),
                    machine.tail()
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        step.done("");
    }
    Ok(())
}

fn events(site: &Site) -> String {
    site.controller.observe(|observed| {
        let skip = observed.events.len().saturating_sub(10);
        observed.events.iter().skip(skip).map(|event| format!("    {}\n", event.text)).collect()
    })
}

fn report(site: &Site, folder: &Path) {
    for violation in site.controller.violations() {
        eprintln!("     against the protocol: {}: {}", violation.request, violation.reason);
    }
    println!("The application runs. Its lines, the device and its log are on the controller's page:");
    println!();
    println!("    {}", site.controller.urls().web);
    println!();
    println!("configuration (edit it, the device follows): {}", site.controller.config_path().display());
    println!("console of the device: {}", folder.join("console.log").display());
}

fn stay(machine: &mut Machine, interrupt: &Interrupt) -> Result<()> {
    println!("Ctrl-C ends it.");
    while !interrupt.pressed() {
        if let Some(reason) = machine.trouble() {
            bail!("the device ended: {reason} [{}]\n{}", code::MACHINE, machine.tail());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
