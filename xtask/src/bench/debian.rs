//! The comparison: a Debian dom0 with `xl` on the same machine, the same Xen, the same application.
//!
//! Made of pinned packages and as small as it can be made without building anything: Debian's kernel as it
//! is, and a ramdisk with busybox, `xl`, `xenstored`, `xenconsoled` and the libraries that these need, whose
//! first program is a script of our own (`init.sh`). No systemd, no udev, no disk, no network: what is
//! compared is what a person would leave if start time were all that counts.
//!
//! One thing is made easier for it: Linux calibrates its clock against a timer that an emulator serves
//! slowly, which takes seconds here and a few milliseconds on a machine; it is told the frequency instead.

pub mod initrd;
pub mod libraries;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use proto_manifest::board::Machine as Board;

use self::initrd::Initrd;
use super::samples::{Samples, Share, Summary, ratio};
use crate::build::{self, Built};
use crate::console::Line;
use crate::qemu::{Boot, Machine, Options as MachineOptions};
use crate::setup::{self, Stock};
use crate::{paths, ui};

/// Memory of the Debian dom0, in MiB.
const MEMORY_MIB: u32 = 512;
/// Memory of the application, in MiB: what the controller gives it on our system.
const APPLICATION_MIB: u32 = 8;
/// How often the application is created in one start.
const CREATIONS: u32 = 10;
/// How long a start with its creations may take.
const PATIENCE: Duration = Duration::from_secs(400);

/// The kernel; its package's name changes with each version.
const KERNEL: &str = "linux-image-amd64";
/// Programs, and the libraries that they may need.
const PACKAGES: [&str; 19] = [
    "xen-utils-4.20",
    "busybox-static",
    "libc6",
    "libgcc-s1",
    "liblzma5",
    "libuuid1",
    "libxencall1",
    "libxendevicemodel1",
    "libxenevtchn1",
    "libxenforeignmemory1",
    "libxengnttab1",
    "libxenhypfs1",
    "libxenmisc4.20",
    "libxenstore4",
    "libxentoolcore1",
    "libxentoollog1",
    "libyajl2",
    "libzstd1",
    "zlib1g",
];

/// Programs of `xen-utils`, in the order in which the script runs them.
const PROGRAMS: [&str; 4] = ["xenstored", "xen-init-dom0", "xenconsoled", "xl"];
/// Where Debian has them.
const PROGRAM_FOLDER: &str = "usr/lib/xen-4.20/bin";
/// What libc opens by name when a thread is ended, so that no program says that it needs it.
const OPENED_LATE: &str = "libgcc_s.so.1";
/// Where the dynamic linker looks first.
const LIBRARY_FOLDER: &str = "usr/lib/x86_64-linux-gnu";
/// Kernel modules, in an order in which each finds what it needs.
const MODULES: [&str; 4] = ["xen-privcmd", "xenfs/xenfs", "xen-evtchn", "xen-gntdev"];
/// Folders that the programs expect.
const FOLDERS: [&str; 10] = [
    "proc",
    "sys",
    "run/lock",
    "run/xen",
    "run/xenstored",
    "var/lib/xen",
    "var/lib/xenstored",
    "var/log/xen",
    "etc/xen",
    "tmp",
];

/// Points of its start: name, part of the line.
const POINTS: [(&str, &str); 2] =
    [("debian: power-on to Linux's first program", "bench linux"), (READY, "bench ready")];
const READY: &str = "debian: power-on to ready";
const CREATE: &str = "debian: xl create";
const DESTROY: &str = "debian: xl destroy";
/// Spans that come several times: name, part of the first line, part of the last.
const SPANS: [(&str, &str, &str); 2] =
    [(CREATE, "bench creating", "bench created"), (DESTROY, "bench destroying", "bench destroyed")];

/// What is compared: how the share is called, ours, Debian's.
const PAIRS: [(&str, &str, &str); 2] =
    [(START_SHARE, super::HEALTHY, READY), (CREATE_SHARE, OUR_CREATE, CREATE)];
/// Our start as a share of Debian's.
pub const START_SHARE: &str = "power-on to all services ready, of Debian's";
/// Our creation as a share of `xl`'s.
pub const CREATE_SHARE: &str = "dom0 create-8MiB.hello, of xl create's";
/// The creation of the same application with the same memory.
const OUR_CREATE: &str = "dom0 create-8MiB.hello";

/// A Debian dom0, ready to be started.
#[derive(Debug)]
pub struct Debian {
    folder: PathBuf,
    machine: Board,
}

impl Debian {
    /// Fetches the packages and puts the ramdisk together in `folder`.
    ///
    /// # Errors
    /// When a package cannot be had, or does not hold what is expected of it.
    pub fn make(folder: PathBuf, built: &Built) -> Result<Self> {
        let kernel = setup::package(KERNEL)?;
        let packages = PACKAGES.iter().map(|name| setup::package(name)).collect::<Result<Vec<_>>>()?;
        let step = ui::step("make Debian's ramdisk");
        paths::create(folder.clone())?;
        // The names by which a direct boot finds kernel and ramdisk.
        std::fs::copy(kernel_file(&kernel)?, folder.join("dom0")).context("cannot copy the kernel")?;
        let initrd = ramdisk(&kernel, &packages, &paths::read(&built.image(build::SAMPLE))?)?;
        paths::write(&folder.join("archive.cpio"), &initrd)?;
        step.done(format!("{} KiB", initrd.len().div_ceil(1024)));
        Ok(Self { folder, machine: built.machine.clone() })
    }

    /// One start: to the last creation. Gives the console. `megahertz` is the processor's frequency, if it is
    /// known.
    ///
    /// # Errors
    /// When the machine or one of the programs fails; the end of the console is in the error.
    pub fn measure(&self, stock: &Stock, megahertz: Option<f64>, samples: &mut Samples) -> Result<Vec<Line>> {
        let boot = Boot::Direct {
            xen: stock.xen.clone(),
            command_line: format!(
                "{} dom0_mem={MEMORY_MIB}M,max:{MEMORY_MIB}M",
                self.machine.xen_options.join(" ")
            ),
            dom0_command_line: linux_words(megahertz),
            folder: self.folder.clone(),
        };
        let options = MachineOptions {
            settled: true,
            ..MachineOptions::new(build::Arch::X86_64, boot, self.machine.memory_mib)
        };
        let mut machine = Machine::start(&options, None)?;
        machine.wait_for("bench done", PATIENCE)?;
        let lines = machine.lines();
        machine.quit();
        if let Some(failure) = lines.iter().find(|line| line.text.contains("bench failed")) {
            bail!("{}", failure.text);
        }
        points(&lines, samples)?;
        Ok(lines)
    }
}

/// Linux's command line. A word that it does not know goes to the first program, as a variable.
fn linux_words(megahertz: Option<f64>) -> String {
    let clock =
        megahertz.map_or_else(String::new, |megahertz| format!(" tsc_early_khz={:.0}", megahertz * 1000.0));
    format!("console=hvc0 quiet{clock} creations={CREATIONS}")
}

/// The frequency that Xen found: `Detected 2596.128 MHz processor.`
pub fn megahertz(lines: &[Line]) -> Option<f64> {
    let number = |line: &Line| line.text.split_once("Detected ")?.1.split_once(" MHz")?.0.parse().ok();
    lines.iter().filter(|line| line.who == "xen").find_map(number)
}

/// Turns one start's lines into samples.
fn points(lines: &[Line], samples: &mut Samples) -> Result<()> {
    let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
    for (name, part) in POINTS {
        let line = lines
            .iter()
            .find(|line| line.text.starts_with(part))
            .with_context(|| format!("no line `{part}`"))?;
        samples.add(name, "ms", milliseconds(line.at));
    }
    for (name, first, last) in SPANS {
        let times = |part: &str| {
            lines.iter().filter(|line| line.text.starts_with(part)).map(|line| line.at).collect::<Vec<_>>()
        };
        let (begins, ends) = (times(first), times(last));
        ensure!(begins.len() == ends.len(), "{name}: {} began and {} ended", begins.len(), ends.len());
        for (begin, end) in begins.into_iter().zip(ends) {
            samples.add(name, "ms", milliseconds(end.saturating_sub(begin)));
        }
    }
    Ok(())
}

/// How much our times are of Debian's, as far as both were measured.
pub fn shares(values: &[Summary]) -> Vec<Share> {
    let find = |name: &str| values.iter().find(|value| value.name == name);
    PAIRS
        .iter()
        .filter_map(|(name, ours, debians)| {
            let (a, b) = (find(ours)?, find(debians)?);
            let (times, share) = (ratio(b.median, a.median)?, ratio(a.median, b.median)?);
            let note =
                format!("{debians} ({:.1} ms) is {times:.1} times {ours} ({:.1} ms)", b.median, a.median);
            Some(Share { name, percent: share * 100.0, note })
        })
        .collect()
}

fn kernel_file(package: &Path) -> Result<PathBuf> {
    let boot = package.join("boot");
    let is_kernel =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-"));
    entries(&boot)?.into_iter().find(is_kernel).with_context(|| format!("no kernel in {}", boot.display()))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    read.map(|entry| Ok(entry?.path())).collect()
}

/// The first of the packages' files at one of the paths.
fn find(packages: &[PathBuf], candidates: &[String]) -> Result<Option<Vec<u8>>> {
    let path = packages.iter().flat_map(|package| candidates.iter().map(|path| package.join(path)));
    path.into_iter().find(|path| path.is_file()).map(|path| paths::read(&path)).transpose()
}

fn ramdisk(kernel: &Path, packages: &[PathBuf], application: &[u8]) -> Result<Vec<u8>> {
    let file =
        |path: &str| find(packages, &[path.to_owned()])?.with_context(|| format!("no package has {path}"));
    let library = |name: &str| {
        find(
            packages,
            &[LIBRARY_FOLDER, "usr/lib", "lib/x86_64-linux-gnu"].map(|folder| format!("{folder}/{name}")),
        )
    };
    let mut programs = Vec::new();
    for name in PROGRAMS {
        programs.push((name.to_owned(), file(&format!("{PROGRAM_FOLDER}/{name}"))?));
    }
    let late = library(OPENED_LATE)?.with_context(|| format!("no package has {OPENED_LATE}"))?;

    let mut initrd = Initrd::default();
    FOLDERS.iter().for_each(|folder| initrd.folder(folder));
    initrd.link("var/run", "../run");
    initrd.link("var/lock", "../run/lock");
    // The kernel opens it for the first program, which mounts the others.
    initrd.character_device("dev/console", 5, 1);
    initrd.program("init", include_bytes!("debian/init.sh"));
    initrd.program("bin/busybox", &file("usr/bin/busybox")?);
    let mut interpreters = BTreeSet::new();
    for (name, bytes) in &programs {
        interpreters.extend(libraries::interpreter(name, bytes)?);
        initrd.program(&format!("{PROGRAM_FOLDER}/{name}"), bytes);
    }
    for path in interpreters {
        let name = path.rsplit('/').next().unwrap_or(&path);
        let bytes = library(name)?.with_context(|| format!("no package has {name}"))?;
        initrd.program(&path, &bytes);
    }
    programs.push((OPENED_LATE.to_owned(), late.clone()));
    let mut all = libraries::closure(&programs, library)?;
    all.insert(OPENED_LATE.to_owned(), late);
    for (name, bytes) in all {
        initrd.file(&format!("{LIBRARY_FOLDER}/{name}"), &bytes);
    }
    let modules = kernel.join("usr/lib/modules");
    let version =
        entries(&modules)?.into_iter().next().with_context(|| format!("nothing in {}", modules.display()))?;
    for module in MODULES {
        let name = module.rsplit('/').next().unwrap_or(module);
        let bytes = paths::read(&version.join(format!("kernel/drivers/xen/{module}.ko.xz")))?;
        initrd.file(&format!("modules/{name}.ko.xz"), &bytes);
    }
    // Without the file xl complains on each call.
    initrd.file("etc/xen/xl.conf", b"");
    initrd.file("hello", application);
    let domain = format!(
        "name = \"hello\"\ntype = \"pvh\"\nkernel = \"/hello\"\nmemory = {APPLICATION_MIB}\nvcpus = 1\n"
    );
    initrd.file("hello.cfg", domain.as_bytes());
    Ok(initrd.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::line;

    #[test]
    fn a_start_becomes_samples_and_ratios() {
        let lines = [
            line(50, "xen", "Detected 2596.128 MHz processor."),
            line(20_000, "dom0", "bench linux"),
            line(30_000, "dom0", "bench ready"),
            line(31_000, "dom0", "bench creating"),
            line(32_000, "dom0", "bench created"),
            line(33_000, "dom0", "bench destroying"),
            line(33_500, "dom0", "bench destroyed"),
            line(35_000, "dom0", "bench creating"),
            line(38_000, "dom0", "bench created"),
            line(39_000, "dom0", "bench destroying"),
            line(39_500, "dom0", "bench destroyed"),
        ];
        assert_eq!(megahertz(&lines), Some(2596.128));
        let mut samples = Samples::default();
        points(&lines, &mut samples).unwrap();
        samples.add(OUR_CREATE, "ms", 20.0);
        let values = samples.summaries();
        let median = |name: &str| values.iter().find(|value| value.name == name).unwrap().median;
        assert_eq!([median(READY), median(CREATE), median(DESTROY)], [30_000.0, 2000.0, 500.0]);
        // Nothing of ours to compare the start with.
        let note = format!("{CREATE} (2000.0 ms) is 100.0 times {} (20.0 ms)", OUR_CREATE);
        assert_eq!(shares(&values), [Share { name: CREATE_SHARE, percent: 1.0, note }]);
    }

    #[test]
    fn a_creation_without_an_end_is_an_error() {
        let lines = [
            line(1, "dom0", "bench linux"),
            line(2, "dom0", "bench ready"),
            line(3, "dom0", "bench creating"),
        ];
        assert!(points(&lines, &mut Samples::default()).is_err());
        assert!(points(&lines[..1], &mut Samples::default()).is_err());
    }

    #[test]
    fn linux_is_told_the_frequency_if_it_is_known() {
        assert_eq!(linux_words(Some(2596.128)), "console=hvc0 quiet tsc_early_khz=2596128 creations=10");
        assert_eq!(linux_words(None), "console=hvc0 quiet creations=10");
    }
}
