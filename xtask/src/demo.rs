//! `demo`: the whole story. A controller here, the disk image in QEMU with a TPM, and the sample application running
//! in a domain of the device because the controller's configuration says so; then an update, and one that fails. What
//! has to happen is in [`story`].
//!
//! Everything is made anew under `target/sarsen/demo`: `controller` (its state, with `config.toml`, which
//! may be edited meanwhile), `config` (the device's provisioning files), `disk.img`, `tpm` (its state), `console.log`.

mod story;

use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use proto_errors::host as code;
use xtask_controller::Violation;

use self::story::{Releases, Story};
use crate::browser::{self, Theme};
use crate::build::Built;
use crate::coded::OrCode;
use crate::console::Line;
use crate::interrupt::Interrupt;
use crate::qemu::{Listener, Machine, Options as MachineOptions};
use crate::setup;
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
    /// End with status 0 as soon as all of it was seen and nothing was against the protocol, else with 1
    #[arg(long)]
    pub check: bool,
    /// Boot through firmware and GRUB: the default, here for those who want to say it
    #[arg(long, conflicts_with = "direct")]
    pub uefi: bool,
    /// Let QEMU load Xen, without firmware, boot loader and slots: the story ends with the application's lines
    #[arg(long)]
    pub direct: bool,
    /// Save a picture of the controller's page in this file (PNG) when all was seen; Chromium is installed for it
    #[arg(long, value_name = "FILE")]
    pub screenshot: Option<PathBuf>,
    /// Show the device's console
    #[arg(long)]
    pub console: bool,
    /// The interface of its TPM [default: crb on x86_64, tis on aarch64]
    #[arg(long, value_name = "INTERFACE")]
    pub tpm: Option<Interface>,
    /// Virtual processors
    #[arg(long, default_value_t = 1)]
    pub smp: u32,
    /// Seconds within which each step must have happened
    #[arg(long, default_value_t = 240, value_name = "SECONDS")]
    pub timeout: u64,
    /// Take the domains that the last build made
    #[arg(long)]
    pub no_build: bool,
}

/// Runs the subcommand.
///
/// # Errors
/// When a milestone is not reached in time, or, where it is checked, something was against the protocol; with the reason, the controller's last events and the console's tail.
pub fn demo(options: &Options) -> Result<()> {
    options.tpm.map_or(Ok(()), |interface| interface.check(options.arch))?;
    options.screenshot.as_deref().map_or(Ok(()), paths::destination)?;
    // Held to the end.
    let _alone = alone(&paths::output("demo.lock"))?;
    setup::host_tools(setup::Host::boot(options.arch))?;
    setup::host_tools(&[setup::Host::Swtpm])?;
    if options.screenshot.is_some() {
        setup::host_tools(&[setup::Host::Chromium])?;
    }
    let stock = setup::stock(options.arch)?;
    let folder = fresh_folder()?;

    let step = ui::step("start the controller");
    let site = Site::open(&folder, Some(Arc::new(|line| eprintln!("     {line}"))))?;
    step.done(&site.controller.urls().web);
    let built = make(options, &site)?;
    site.offer_sample(&built, site::CONFIG)?;
    let image = folder.join("disk.img");
    let mut machine = if options.direct {
        MachineOptions::direct(&built, &stock)
    } else {
        image::make(&built, &stock, Some(&site.config()), &image).or_code(code::IMAGE)?;
        MachineOptions::disk(image.clone(), &built, &stock)
    };
    machine.smp = options.smp;
    machine.reboot = !options.direct;
    let tpm = Tpm::new(options.arch);
    let interface = options.tpm.unwrap_or(tpm.interface);
    machine.tpm = Some(Tpm { interface, state: Some(folder.join("tpm")) });

    let interrupt = Interrupt::listen()?;
    let releases = (!options.direct).then(|| Releases::make(&built, &stock, &image)).transpose()?;
    let mut machine = Machine::start(&machine, Some(listener(options, &folder)?))?;
    let patience = Duration::from_secs(options.timeout);
    let began = Instant::now();
    let mut story = Story { machine: &mut machine, site: &site, interrupt: &interrupt, patience, steps: 0 };
    story.tell(releases)?;
    let (steps, took) = (story.steps, began.elapsed());
    if let Some(file) = &options.screenshot {
        browser::screenshot(&site.controller.urls().web, file, Theme::Light)?;
        println!("picture of the controller's page: {}", file.display());
    }
    let violations = violations(&site);
    if options.check {
        obedient(&violations)?;
        println!("all was seen: {steps} steps in {} s", took.as_secs());
        println!("console of the device: {}", folder.join("console.log").display());
    } else {
        report(&site, &folder);
        stay(&mut machine, &interrupt)?;
    }
    machine.quit();
    site.controller.shutdown();
    Ok(())
}

/// Holds the file by which another demo sees that this one runs; it is no part of what is made anew.
fn alone(file: &Path) -> Result<File> {
    paths::create(file.parent().unwrap_or(Path::new(".")).to_owned())?;
    let cannot = || format!("cannot hold {} [{}]", file.display(), code::FILE);
    let opened = File::options().read(true).write(true).create(true).truncate(false).open(file);
    let mut held = opened.with_context(cannot)?;
    match held.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            // Whoever holds it writes its number at once, but not in the same moment.
            let mut pid = String::new();
            let _ = held.read_to_string(&mut pid);
            let pid = pid.trim();
            let pid = if pid.is_empty() { "unknown" } else { pid };
            bail!("a demo runs already (pid {pid}), with the same files [{}]", code::BUSY);
        }
        Err(TryLockError::Error(error)) => return Err(error).with_context(cannot),
    }
    held.set_len(0).and_then(|()| writeln!(held, "{}", std::process::id())).with_context(cannot)?;
    Ok(held)
}

/// `target/sarsen/demo`, empty.
fn fresh_folder() -> Result<PathBuf> {
    let folder = paths::output("demo");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    paths::create(folder)
}

fn make(options: &Options, site: &Site) -> Result<Built> {
    build::build(&build::Options {
        arch: options.arch,
        config: options.direct.then(|| site.config()),
        no_build: options.no_build,
        ..build::Options::default()
    })
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

/// What the device has done against the protocol, a line each; they are printed.
fn violations(site: &Site) -> Vec<String> {
    let line = |violation: Violation| format!("{}: {}", violation.request, violation.reason);
    let lines: Vec<String> = site.controller.violations().into_iter().map(line).collect();
    lines.iter().for_each(|line| eprintln!("     against the protocol: {line}"));
    lines
}

/// Nothing was done against the protocol.
fn obedient(violations: &[String]) -> Result<()> {
    ensure!(
        violations.is_empty(),
        "all was seen, and {} times the device did something against the protocol [{}]:\n{}",
        violations.len(),
        code::DEMO,
        violations.join("\n")
    );
    Ok(())
}

/// Where a person looks on, while the device and the controller go on.
fn report(site: &Site, folder: &Path) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_against_the_protocol_is_named_by_a_check() {
        obedient(&[]).unwrap();
        let told =
            obedient(&["POST info: no name".into(), "GET certs: twice".into()]).unwrap_err().to_string();
        assert!(
            told.contains("2 times") && told.ends_with("\nPOST info: no name\nGET certs: twice"),
            "{told}"
        );
    }

    #[test]
    fn one_demo_runs_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sarsen/demo.lock");
        let first = alone(&file).unwrap();
        let told = format!("{:#}", alone(&file).unwrap_err());
        assert!(told.contains(&format!("a demo runs already (pid {})", std::process::id())), "{told}");
        drop(first);
        let number = format!("{}\n", std::process::id());
        drop(alone(&file).unwrap());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), number, "it is written anew");
    }
}
