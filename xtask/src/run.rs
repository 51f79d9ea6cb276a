//! `run`: the system in QEMU, with its console here.
//!
//! `--direct` lets QEMU load Xen; without it the disk image boots through firmware and selector, as on a
//! real machine. Lines are `[seconds since power-on] speaker | text`. What is typed goes to the serial console;
//! Ctrl-C ends the machine.

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use proto_errors::host;

use crate::coded::OrCode;
use crate::console::Line;
use crate::interrupt::Interrupt;
use crate::qemu::{Boot, Disk, Listener, Machine, Options as MachineOptions};
use crate::symbolize::Symbolizer;
use crate::{build, disk, image, paths, setup, swtpm};

/// Options of `run`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// What to build
    #[command(flatten)]
    pub build: build::Options,
    /// Let QEMU load Xen, without firmware, boot loader and disk
    #[arg(long)]
    pub direct: bool,
    /// Boot this disk image instead of building one
    #[arg(long, value_name = "FILE", conflicts_with = "direct")]
    pub image: Option<PathBuf>,
    /// Keep the machine's disk in this file: made when it is not there, and used as it is when it is
    #[arg(long, value_name = "FILE", conflicts_with = "image")]
    pub disk: Option<PathBuf>,
    /// Virtual processors (with more than one the emulator faults now and then)
    #[arg(long, default_value_t = 1)]
    pub smp: u32,
    /// Memory in MiB [default: what the board says]
    #[arg(long, value_name = "MIB")]
    pub mem: Option<u32>,
    /// End the machine after this many seconds
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<u64>,
    /// End the machine when a line contains this text; failing to see it is an error
    #[arg(long, value_name = "TEXT")]
    pub until: Option<String>,
    /// Leave out the lines of firmware and Xen
    #[arg(long, short)]
    pub quiet: bool,
    /// More words for Xen's command line (with --direct)
    #[arg(long, value_name = "WORDS", requires = "direct")]
    pub xen: Option<String>,
    /// Words for dom0's command line (with --direct)
    #[arg(long, value_name = "WORDS", requires = "direct")]
    pub dom0: Option<String>,
    /// Give the machine a TPM (swtpm) [default interface: crb on x86_64, tis on aarch64]
    #[arg(long, value_name = "INTERFACE", num_args = 0..=1, require_equals = true)]
    pub tpm: Option<Option<swtpm::Interface>>,
    /// Folder in which the TPM's state is kept; made when it is not there [default: with --disk FILE the folder FILE.tpm
    /// beside it, else a new TPM]
    #[arg(long, value_name = "FOLDER", requires = "tpm")]
    pub tpm_state: Option<PathBuf>,
    /// Write what crosses the network to this file
    #[arg(long, value_name = "FILE")]
    pub pcap: Option<PathBuf>,
    /// More arguments for QEMU, after `--`
    #[arg(last = true)]
    pub qemu: Vec<std::ffi::OsString>,
}

/// Runs the subcommand.
///
/// # Errors
/// When the machine cannot be built or started, or `--until` was not seen.
pub fn run(options: &Options) -> Result<()> {
    check(options)?;
    setup::host_tools(match options.build.arch {
        build::Arch::X86_64 => &[setup::Host::Qemu],
        build::Arch::Aarch64 => &[setup::Host::QemuArm],
    })?;
    if options.tpm.is_some() {
        setup::host_tools(&[setup::Host::Swtpm])?;
    }
    let stock = setup::stock(options.build.arch)?;
    let image = started(options);
    if let (Some(disk), None, false) = (image, &options.image, options.quiet) {
        eprintln!("     {} is used as it is; nothing is built, remove it for a new one", disk.display());
    }
    if let (Some(state), None, false) = (tpm_state(options), &options.tpm_state, options.quiet) {
        eprintln!("     the TPM that goes with the disk is kept in {}", state.display());
    }
    let built = match image {
        Some(_) => build::layout(&options.build)?,
        None if options.direct => build::build(&options.build)?,
        None => build::build(&options.build.without_files())?,
    };
    let mut machine = match (image, options.direct) {
        (_, true) => MachineOptions::direct(&built, &stock),
        (Some(image), false) => MachineOptions::disk(image.clone(), &built, &stock),
        (None, false) => {
            let image = options.disk.clone().unwrap_or_else(|| image::default_output(&built));
            image::make(&built, &stock, options.build.config.as_deref(), &image).or_code(host::IMAGE)?;
            MachineOptions::disk(image, &built, &stock)
        }
    };
    if let Boot::Direct { command_line, dom0_command_line, .. } = &mut machine.boot {
        command_line.extend(options.xen.iter().flat_map(|words| [" ", words]));
        dom0_command_line.extend(options.dom0.iter().map(String::as_str));
    }
    if let (Some(disk), true) = (&options.disk, options.direct) {
        if !disk.is_file() {
            image::blank(disk)?;
        }
        machine.disk = Disk::File(std::path::absolute(disk)?);
    }
    machine.smp = options.smp;
    machine.memory_mib = options.mem.unwrap_or(machine.memory_mib);
    machine.pcap = options.pcap.as_deref().map(std::path::absolute).transpose()?;
    machine.tpm = options.tpm.map(|interface| swtpm::Tpm {
        interface: interface.unwrap_or(swtpm::Tpm::new(options.build.arch).interface),
        state: tpm_state(options),
    });
    machine.extra = options.qemu.clone();

    let interrupt = Interrupt::listen()?;
    let printer = printer(Symbolizer::new(built.symbols.clone()), options.quiet);
    let mut machine = Machine::start(&machine, Some(printer))?;
    forward_input(&mut machine);
    watch(&mut machine, options, &interrupt)
}

/// The disk that is started from as it is: an image, or one that was kept, which boots what is on it, as a device does.
fn started(options: &Options) -> Option<&PathBuf> {
    let kept = options.disk.as_ref().filter(|disk| !options.direct && disk.is_file());
    options.image.as_ref().or(kept)
}

/// Where the TPM is kept. One that goes with a disk stays with it: what the disk holds is sealed to this TPM, whose key the
/// device is known by.
fn tpm_state(options: &Options) -> Option<PathBuf> {
    options.tpm?;
    let beside = |disk: &PathBuf| {
        let mut name = disk.clone().into_os_string();
        name.push(".tpm");
        PathBuf::from(name)
    };
    options.tpm_state.clone().or_else(|| options.disk.as_ref().map(beside))
}

/// Refuses before anything is built what would be refused in the end.
fn check(options: &Options) -> Result<()> {
    build::config_files(options.build.config.as_deref())?;
    [&options.disk, &options.pcap].into_iter().flatten().try_for_each(|file| paths::destination(file))?;
    if let Some(folder) = tpm_state(options).filter(|folder| folder.exists() && !folder.is_dir()) {
        bail!("{} is no folder for a TPM's state [{}]", folder.display(), host::FILE);
    }
    if let Some(file) = started(options) {
        let arch = options.build.arch;
        let held = disk::read(file).or_code(host::IMAGE)?;
        // What has no selector, firmware tells of.
        if let Some(found) = held.arch().filter(|found| *found != arch) {
            let (file, found) = (file.display(), found.name());
            bail!("{file} holds a system for {found}; say --arch {found} [{}]", host::IMAGE);
        }
    }
    let interface = options.tpm.flatten();
    interface.map_or(Ok(()), |interface| interface.check(options.build.arch))
}

/// Prints each line to standard output, backtraces with the names of their functions; the quiet one leaves
/// out what firmware and Xen say.
pub fn printer(mut symbols: Symbolizer, quiet: bool) -> Listener {
    Box::new(move |line: &Line| {
        if quiet && matches!(line.who.as_str(), "firmware" | "xen") {
            return;
        }
        let note = symbols.annotate(&line.who, &line.text).map(|at| format!("  {at}")).unwrap_or_default();
        // A reader who has gone (`| head`) is no reason to stop the machine.
        let _ = writeln!(std::io::stdout(), "{line}{note}");
    })
}

fn forward_input(machine: &mut Machine) {
    let Some(mut input) = machine.take_input() else { return };
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            if input.write_all(format!("{line}\r").as_bytes()).and_then(|()| input.flush()).is_err() {
                return;
            }
        }
        // Held open for ever: an end of our input is not one of the console's.
        loop {
            std::thread::park();
        }
    });
}

fn watch(machine: &mut Machine, options: &Options, interrupt: &Interrupt) -> Result<()> {
    let end = options.timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut seen = 0;
    loop {
        if let Some(text) = &options.until {
            let lines = machine.lines();
            if lines.iter().skip(seen).any(|line| line.text.contains(text)) {
                machine.quit();
                return Ok(());
            }
            seen = lines.len();
        }
        let over = end.is_some_and(|end| Instant::now() >= end);
        if interrupt.pressed() || over || !machine.running() {
            let why = if over { "the time is over" } else { "the machine ended" };
            machine.quit();
            if let Some(text) = &options.until
                && !interrupt.pressed()
            {
                bail!("{why}, and no line contained `{text}`");
            }
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::Parser;

    use super::*;
    use crate::disk::{Contents, Kind, Partition};

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    /// The parts of one that are looked at.
    fn image_of_x86_64(file: &std::path::Path) {
        let program = (crate::selector::path(build::Arch::X86_64).to_owned(), b"MZ".to_vec());
        let part = |name, kind, contents| Partition { name, kind, size_mib: 2, contents, attributes: 0 };
        let parts = [
            part("esp", Kind::Esp, Contents::Files(BTreeMap::from([program]))),
            part("slot-a", Kind::Slot, Contents::Empty),
            part("config", Kind::Config, Contents::Empty),
        ];
        disk::write(file, &parts).unwrap();
    }

    #[test]
    fn a_tpm_stays_with_its_disk() {
        let of =
            |words: &[&str]| tpm_state(&Line::try_parse_from([&["run"], words].concat()).unwrap().options);
        let folder = |name: &str| Some(PathBuf::from(name));
        assert_eq!(of(&["--tpm", "--disk", "a/device.img"]), folder("a/device.img.tpm"));
        assert_eq!(of(&["--tpm=tis", "--direct", "--disk", "disk"]), folder("disk.tpm"));
        assert_eq!(of(&["--tpm", "--disk", "disk", "--tpm-state", "other"]), folder("other"));
        assert_eq!(of(&["--tpm", "--tpm-state", "other"]), folder("other"));
        for none in [&["--tpm"][..], &["--disk", "disk"], &["--tpm", "--image", "disk"], &[]] {
            assert_eq!(of(none), None);
        }
    }

    #[test]
    fn what_cannot_run_is_refused_before_the_build() {
        let check =
            |words: &[&str]| check(&Line::try_parse_from([&["run"], words].concat()).unwrap().options);
        for right in [&["--tpm"][..], &["--tpm=crb"], &["--tpm=tis", "--arch", "aarch64"], &[]] {
            check(right).unwrap();
        }
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let wrong: [(&[&str], &str); 9] = [
            (&["--tpm", "--tpm-state", manifest], "Cargo.toml is no folder for a TPM's state"),
            (&["--image", manifest], "Cargo.toml is no disk image"),
            (&["--disk", manifest], "Cargo.toml is no disk image"),
            (&["--image", "/dev/zero"], "/dev/zero is no disk image"),
            (&["--image", "/nosuch/file"], "cannot read /nosuch/file"),
            (&["--tpm=crb", "--arch", "aarch64"], "aarch64 has no TPM by crb"),
            (&["--disk", "/dev/null"], "cannot write /dev/null"),
            (&["--pcap", "/nosuch/file"], "cannot write /nosuch/file"),
            (&["--config", "nosuch"], "provisioning folder nosuch"),
        ];
        let folder = tempfile::tempdir().unwrap();
        let of_x86 = folder.path().join("disk.img");
        image_of_x86_64(&of_x86);
        let of_x86 = of_x86.to_str().unwrap();
        for option in ["--image", "--disk"] {
            check(&[option, of_x86]).unwrap();
            let told = format!("{:#}", check(&[option, of_x86, "--arch", "aarch64"]).unwrap_err());
            assert!(told.contains("holds a system for x86_64; say --arch x86_64"), "{told}");
        }
        std::fs::write(folder.path().join("disk.img.tpm"), "").unwrap();
        let told = format!("{:#}", check(&["--tpm", "--disk", of_x86]).unwrap_err());
        assert!(told.contains("disk.img.tpm is no folder for a TPM's state"), "{told}");
        for (words, part) in wrong {
            let told = format!("{:#}", check(words).unwrap_err());
            assert!(told.contains(part), "{words:?}: {told}");
        }
    }
}
