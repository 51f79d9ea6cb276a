//! `setup`: gives this machine what the other subcommands need, and says what it does.
//!
//! Two kinds of things. *Host tools* (QEMU 10, swtpm, grub-mkimage, openssl; Chromium and osslsigncode when they are asked
//! for) are installed by apt, which needs root.
//! *Stock* (Xen, OVMF, GRUB's modules, U-Boot) is fetched as pinned packages into the cache folder and
//! unpacked there, which does not. What is there already is left alone, so that every subcommand calls
//! [`host_tools`] and [`stock`] first.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use proto_errors::host as code;

use crate::apt::fetch::{Archive, Offer};
use crate::apt::pins::{Pin, Pins};
use crate::apt::successor;
use crate::browser;
use crate::build::Arch;
use crate::host;
use crate::paths;
use crate::tool::{self, tool};
use crate::ui::{self, Step};

/// Options of `setup`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Write the versions that the archive offers today into boot/packages.toml, in front of the others
    #[arg(long)]
    pub update_pins: bool,
    /// Install Chromium, too (some 160 MB to fetch, 520 MB of files): for screenshots of the controller's page, and its test in a browser
    #[arg(long)]
    pub chromium: bool,
}

/// The oldest QEMU whose emulation of nested paging and IOMMU carries the system.
const QEMU_MAJOR: u32 = 10;
/// Architecture of the packages that are for both, and of those that the x86_64 image is made of.
const AMD64: &str = "amd64";
/// Architecture of the packages that the aarch64 image is made of.
const ARM64: &str = "arm64";

/// Package of Xen's public headers, against which `tests/abi` compares ours.
const XEN_HEADERS: &str = "libxen-dev";

/// Runs the subcommand.
///
/// # Errors
/// When something could not be installed or fetched.
pub fn setup(options: &Options) -> Result<()> {
    host_tools(&Host::ALL)?;
    if options.chromium {
        host_tools(&[Host::Chromium])?;
    }
    if options.update_pins {
        update_pins()?;
    }
    for arch in Arch::ALL {
        let stock = stock(arch)?;
        eprintln!("ready for {}: Xen {}", arch.name(), stock.xen.display());
        match stock.firmware {
            Firmware::Uefi { code, grub_modules, .. } => {
                eprintln!("       OVMF {}", code.display());
                eprintln!("       GRUB {}", grub_modules.display());
            }
            Firmware::UBoot { image } => eprintln!("       U-Boot {}", image.display()),
        }
    }
    eprintln!("       Xen's headers {}", xen_headers()?.display());
    Ok(())
}

/// A program that has to be installed on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    /// `qemu-system-x86_64`, version 10 or later.
    Qemu,
    /// `qemu-system-aarch64`, of the same version.
    QemuArm,
    /// `grub-mkimage`.
    Grub,
    /// The `openssl` command.
    Openssl,
    /// `swtpm` and `swtpm_setup`.
    Swtpm,
    /// `osslsigncode`.
    Osslsigncode,
    /// A C++ compiler.
    Cxx,
    /// A browser that needs no screen: any name of [`browser::PROGRAMS`].
    Chromium,
}

impl Host {
    /// All but those that one subcommand alone needs.
    pub const ALL: [Self; 5] = [Self::Qemu, Self::QemuArm, Self::Grub, Self::Openssl, Self::Swtpm];
    /// What boots images of both architectures.
    pub const BOOT: [Self; 3] = [Self::Qemu, Self::QemuArm, Self::Grub];

    /// What boots an image of one architecture.
    pub fn boot(arch: Arch) -> &'static [Self] {
        match arch {
            Arch::X86_64 => &[Self::Qemu, Self::Grub],
            Arch::Aarch64 => &[Self::QemuArm],
        }
    }

    fn package(self) -> &'static str {
        match self {
            Self::Qemu => "qemu-system-x86",
            Self::QemuArm => "qemu-system-arm",
            Self::Grub => "grub-common",
            Self::Openssl => "openssl",
            // It brings swtpm.
            Self::Swtpm => "swtpm-tools",
            Self::Osslsigncode => "osslsigncode",
            Self::Cxx => "g++",
            // Chromium without windows: a third of the whole.
            Self::Chromium => "chromium-headless-shell",
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Self::Qemu => "QEMU 10 runs the system",
            Self::QemuArm => "QEMU 10 runs the system on aarch64",
            Self::Grub => "grub-mkimage makes the boot loader's image",
            Self::Openssl => "the tests hold our TLS and signatures against OpenSSL's",
            Self::Swtpm => "swtpm is the TPM of emulated machines, and of tests",
            Self::Osslsigncode => "osslsigncode signs programs for Secure Boot",
            Self::Cxx => "libFuzzer is C++",
            Self::Chromium => "a browser shows the controller's page",
        }
    }

    fn present(self) -> bool {
        match self {
            Self::Qemu => is_new_enough(Arch::X86_64),
            Self::QemuArm => is_new_enough(Arch::Aarch64),
            Self::Grub => tool::exists("grub-mkimage"),
            Self::Openssl => tool::exists("openssl"),
            Self::Swtpm => tool::exists("swtpm") && tool::exists("swtpm_setup"),
            Self::Osslsigncode => tool::exists("osslsigncode"),
            Self::Cxx => tool::exists("c++"),
            Self::Chromium => browser::program().is_some(),
        }
    }
}

fn is_new_enough(arch: Arch) -> bool {
    let output = std::process::Command::new(arch.qemu()).arg("--version").output();
    let version = output.ok().and_then(|output| parse_qemu_version(&String::from_utf8_lossy(&output.stdout)));
    version.is_some_and(|major| major >= QEMU_MAJOR)
}

/// `QEMU emulator version 10.0.2 (Debian …)` → 10.
fn parse_qemu_version(text: &str) -> Option<u32> {
    text.split_once("version ")?.1.split('.').next()?.trim().parse().ok()
}

/// Installs those of the programs that are missing.
///
/// # Errors
/// When apt offers none, or the installation fails, or root's rights cannot be had.
pub fn host_tools(wanted: &[Host]) -> Result<()> {
    let missing: Vec<Host> = wanted.iter().copied().filter(|program| !program.present()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let step = ui::step("install host tools");
    for program in &missing {
        step.say(format!("{} is missing: {}", program.package(), program.reason()));
    }
    if !tool::exists("apt-get") {
        let names: Vec<_> = missing.iter().map(|program| program.package()).collect();
        bail!(
            "this host has no apt-get; install what Debian calls {} by hand, then run again [{}]",
            names.join(", "),
            code::NO_APT
        );
    }
    let view = HostView::open(&step)?;
    for program in &missing {
        let suite = view.suite_for(*program, &step)?;
        view.install(program.package(), suite.as_deref(), &step)?;
        if !program.present() {
            bail!(
                "{} was installed, and the program still does not answer; see `apt policy` [{}]",
                program.package(),
                code::NOT_WORKING
            );
        }
    }
    step.done("");
    Ok(())
}

/// The host's own sources, plus its backports suite, with lists of our own: nothing in /etc/apt or
/// /var/lib/apt changes.
struct HostView {
    options: [String; 2],
}

impl HostView {
    fn open(step: &Step) -> Result<Self> {
        let folder = paths::create(paths::cache()?.join("apt-host"))?;
        paths::create(folder.join("lists/partial"))?;
        let parts = paths::create(folder.join("sources.d"))?;
        // A copy of the host's files, so that ours can stand beside them.
        for old in std::fs::read_dir(&parts)?.filter_map(Result::ok) {
            std::fs::remove_file(old.path())?;
        }
        for file in host::source_files() {
            let name = file.file_name().context("a source file has a name")?;
            paths::write(&parts.join(name), paths::read(&file)?)?;
        }
        let release = host::release()?;
        let backports = format!("{}-backports", release.codename);
        let listed = host::sources().iter().any(|source| source.suites.contains(&backports));
        if release.id == "debian" && release.codename == "bookworm" && !listed {
            let mirror = host::debian_mirror()?;
            Archive::open(folder.join("backports"), &mirror, &backports)?;
            std::fs::copy(folder.join("backports/private.sources"), parts.join("sarsen-backports.sources"))?;
        }
        let text = format!(
            "{}Dir::Etc::SourceList \"/dev/null\";\nDir::Etc::SourceParts \"{}\";\nDir::Cache::pkgcache \"\";\n\
             Dir::Cache::srcpkgcache \"\";\nDPkg::Lock::Timeout \"300\";\n",
            crate::apt::common_options(&folder),
            parts.display(),
        );
        let file = folder.join("apt.conf");
        paths::write(&file, text)?;
        let options = ["-c".to_owned(), file.display().to_string()];
        tool("apt-get").args(&options).args(["-q", "update"]).run(step)?;
        Ok(Self { options })
    }

    /// Where to take the package from: `None` for the host's ordinary suites.
    fn suite_for(&self, program: Host, step: &Step) -> Result<Option<String>> {
        if !matches!(program, Host::Qemu | Host::QemuArm) {
            return Ok(None);
        }
        let text = tool("apt-cache").args(&self.options).args(["madison", program.package()]).output(step)?;
        match choose_suite(&text) {
            Choice::Ordinary => Ok(None),
            Choice::Suite(suite) => Ok(Some(suite)),
            Choice::None => bail!(
                "apt offers no QEMU {QEMU_MAJOR} or later here (it offers: {}); Debian 12 has it in bookworm-backports, \
                 Debian 13 by itself. Install one by hand, then run again [{}]",
                text.lines()
                    .filter_map(|line| line.split('|').nth(1))
                    .map(str::trim)
                    .collect::<Vec<_>>()
                    .join(", "),
                code::NO_QEMU
            ),
        }
    }

    fn install(&self, package: &str, suite: Option<&str>, step: &Step) -> Result<()> {
        let mut words: Vec<String> = Vec::new();
        if !host::is_root()? {
            if !tool::exists("sudo") {
                bail!(
                    "installing {package} needs root, and there is no sudo; run `cargo xtask setup` once as root [{}]",
                    code::NO_ROOT
                );
            }
            step.say(format!("installing {package} needs root, by sudo"));
            if tool("sudo").args(["-n", "true"]).run(step).is_err() {
                // Asked for here, where the terminal is the user's.
                tool("sudo").arg("-v").run_loud(step)?;
            }
            words.push("sudo".into());
        }
        words.extend(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"].map(str::to_owned));
        words.extend(self.options.clone());
        words.extend(["-q", "-y", "--no-install-recommends"].map(str::to_owned));
        if let Some(suite) = suite {
            words.extend(["-t".into(), suite.to_owned()]);
        }
        words.extend(["install".into(), package.to_owned()]);
        let Some((program, rest)) = words.split_first() else { return Ok(()) };
        tool(program).args(rest).run(step)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Choice {
    Ordinary,
    Suite(String),
    None,
}

/// Reads `apt-cache madison` lines: `package | version | uri suite/component architecture Packages`.
fn choose_suite(madison: &str) -> Choice {
    let mut choice = Choice::None;
    for line in madison.lines() {
        let mut columns = line.split('|').map(str::trim).skip(1);
        let (Some(version), Some(origin)) = (columns.next(), columns.next()) else { continue };
        if upstream_major(version).is_none_or(|major| major < QEMU_MAJOR) {
            continue;
        }
        let suite = origin.split_whitespace().nth(1).and_then(|word| word.split('/').next()).unwrap_or("");
        if !suite.ends_with("-backports") {
            return Choice::Ordinary;
        }
        choice = Choice::Suite(suite.to_owned());
    }
    choice
}

/// `1:10.0.2+ds-2` → 10.
fn upstream_major(version: &str) -> Option<u32> {
    let upstream = version.split_once(':').map_or(version, |(_, upstream)| upstream);
    upstream.split('.').next()?.parse().ok()
}

/// Paths of the unpacked, checked packages of one architecture.
#[derive(Debug, Clone)]
pub struct Stock {
    /// Xen, unpacked: an ELF file with multiboot headers (x86_64), a Linux image (aarch64).
    pub xen: PathBuf,
    /// What starts it from a disk.
    pub firmware: Firmware,
}

/// What a machine runs first, and what that needs.
#[derive(Debug, Clone)]
pub enum Firmware {
    /// UEFI, and GRUB from a slot.
    Uefi {
        /// OVMF's code, read-only flash.
        code: PathBuf,
        /// OVMF's variables, to be copied for each machine.
        variables: PathBuf,
        /// Folder with GRUB's EFI modules.
        grub_modules: PathBuf,
        /// Whether the code keeps its variables to itself by the processor's system management mode (SMM), as this OVMF
        /// does wherever it has Secure Boot.
        smm: bool,
    },
    /// U-Boot, with its UEFI.
    UBoot {
        /// What QEMU puts into flash.
        image: PathBuf,
    },
}

/// The pinned packages of an architecture, fetched when they are not in the cache.
///
/// # Errors
/// When the archive offers none of the pinned versions and no fix of their series, or a checksum differs.
pub fn stock(arch: Arch) -> Result<Stock> {
    let pins = pins()?;
    match arch {
        Arch::X86_64 => {
            let xen = package_of(&pins, "xen-hypervisor-4.20-amd64")?;
            let ovmf = package_of(&pins, "ovmf")?;
            let grub = package_of(&pins, "grub-efi-amd64-bin")?;
            let firmware = Firmware::Uefi {
                code: present(ovmf.join("usr/share/OVMF/OVMF_CODE_4M.fd"))?,
                variables: present(ovmf.join("usr/share/OVMF/OVMF_VARS_4M.fd"))?,
                grub_modules: present(grub.join("usr/lib/grub/x86_64-efi"))?,
                smm: false,
            };
            Ok(Stock { xen: unzipped_xen(&xen, "4.20")?, firmware })
        }
        Arch::Aarch64 => {
            let xen = package_of(&pins, "xen-hypervisor-4.20-arm64")?;
            let uboot = package_of(&pins, "u-boot-qemu")?;
            let firmware =
                Firmware::UBoot { image: present(uboot.join("usr/lib/u-boot/qemu_arm64/u-boot.bin"))? };
            Ok(Stock { xen: present(xen.join("boot/xen-4.20-arm64"))?, firmware })
        }
    }
}

/// An OVMF that has Secure Boot switched on.
#[derive(Debug, Clone)]
pub struct SecureBoot {
    /// As in [`stock`], with this OVMF.
    pub stock: Stock,
    /// The one key that it trusts: encrypted, and everybody has it.
    pub key: PathBuf,
    /// What the key is encrypted with.
    pub passphrase: &'static str,
    /// The key's certificate.
    pub certificate: PathBuf,
}

/// What [`stock`] gives for x86_64, with firmware that starts only what a test key has signed.
///
/// # Errors
/// As [`stock`].
pub fn secure_boot() -> Result<SecureBoot> {
    let mut stock = stock(Arch::X86_64)?;
    let ovmf = package("ovmf")?;
    if let Firmware::Uefi { code, variables, smm, .. } = &mut stock.firmware {
        // The other code starts anything, whatever keys are among its variables.
        *code = present(ovmf.join("usr/share/OVMF/OVMF_CODE_4M.secboot.fd"))?;
        *variables = present(ovmf.join("usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd"))?;
        *smm = true;
    }
    // Source: README.Debian of the package.
    Ok(SecureBoot {
        stock,
        key: present(ovmf.join("usr/share/ovmf/PkKek-1-snakeoil.key"))?,
        passphrase: "snakeoil",
        certificate: present(ovmf.join("usr/share/ovmf/PkKek-1-snakeoil.pem"))?,
    })
}

/// A Xen whose interfaces are others than dom0 speaks, unpacked, fetched when it is not in the cache: for the stories that
/// say so.
///
/// # Errors
/// As [`stock`].
pub fn other_xen(arch: Arch) -> Result<PathBuf> {
    match arch {
        Arch::X86_64 => unzipped_xen(&package("xen-hypervisor-4.17-amd64")?, "4.17"),
        Arch::Aarch64 => present(package("xen-hypervisor-4.17-arm64")?.join("boot/xen-4.17-arm64")),
    }
}

/// The folder with Xen's public headers, `xen.h` among them, fetched when they are not in the cache. Both
/// architectures' headers are in it.
///
/// # Errors
/// As [`stock`].
pub fn xen_headers() -> Result<PathBuf> {
    present(package_of(&pins()?, XEN_HEADERS)?.join("usr/include/xen"))
}

/// The same, without a look beyond the cache.
///
/// # Errors
/// When they are not in the cache; the error names the command that fetches them.
pub fn cached_xen_headers() -> Result<PathBuf> {
    match cached(&pins()?, XEN_HEADERS)? {
        Some(folder) => present(folder.join("usr/include/xen")),
        None => bail!(
            "none of the versions of {XEN_HEADERS} that boot/packages.toml pins is in {}; `cargo xtask setup` fetches it [{}]",
            paths::cache()?.display(),
            code::NOT_OFFERED
        ),
    }
}

fn present(path: PathBuf) -> Result<PathBuf> {
    if !path.exists() {
        bail!(
            "{} is missing: the pinned package holds no such file (see boot/packages.toml) [{}]",
            path.display(),
            code::BAD_PACKAGE
        );
    }
    Ok(path)
}

fn pins() -> Result<Pins> {
    let file = paths::repository().join("boot/packages.toml");
    Pins::parse(&paths::read_text(&file)?).with_context(|| format!("{}", file.display()))
}

/// The folder of the first pinned version that is in the cache, or else of one that took its place before.
fn cached(pins: &Pins, name: &str) -> Result<Option<PathBuf>> {
    let unpacked = paths::cache()?.join("packages");
    let pinned = pins.of(name).map(|pin| unpacked.join(pin.folder())).find(|folder| folder.is_dir());
    if pinned.is_some() {
        return Ok(pinned);
    }
    let kept = successor::kept(&pins.of(name).collect::<Vec<_>>(), &unpacked);
    Ok(kept.map(|(folder, version)| {
        eprintln!("     {}", not_pinned(name, &version));
        folder
    }))
}

fn not_pinned(name: &str, version: &str) -> String {
    format!(
        "{name} {version} is a fix that boot/packages.toml does not pin: nobody has tried it yet [{}]",
        code::NOT_PINNED
    )
}

/// The folder with the files of a pinned package, fetched when it is not in the cache.
///
/// # Errors
/// As [`stock`].
pub fn package(name: &str) -> Result<PathBuf> {
    package_of(&pins()?, name)
}

/// The folder of the first pinned version that is in the cache or can be had, or of what took its place.
fn package_of(pins: &Pins, name: &str) -> Result<PathBuf> {
    if let Some(folder) = cached(pins, name)? {
        return Ok(folder);
    }
    let step = ui::step(format!("fetch {name}"));
    let architecture = architecture(pins, name);
    let suite = pins.suite_of(name);
    let archive = open_suite(suite, architecture, &step)?;
    let accepted: Vec<&Pin> = pins.of(name).collect();
    let offers = offers(&archive, architecture, &accepted, name, &step)?;
    let pinned = accepted.iter().find(|pin| offers.iter().any(|offer| offer.version == pin.version));
    let taken = match pinned {
        Some(pin) => (*pin).clone(),
        None => {
            let Some(successor) = successor::offered(&accepted, &offers) else {
                bail!(
                    "{name}: pinned {}, but the archive's suite {suite} offers {}; look at the change, then run `cargo xtask \
                     setup --update-pins` and commit boot/packages.toml [{}]",
                    list(accepted.iter().map(|pin| pin.version.as_str())),
                    list(offers.iter().map(|offer| offer.version.as_str())),
                    code::PIN_OUTDATED
                );
            };
            step.say(not_pinned(name, &successor.version));
            successor
        }
    };
    let folder = paths::cache()?.join("packages").join(taken.folder());
    archive.unpack(architecture, &taken, &folder, &step)?;
    step.done(&taken.version);
    Ok(folder)
}

/// What the archive offers under a pinned name, or under the name that the pinned package has today.
fn offers(
    archive: &Archive,
    architecture: &str,
    accepted: &[&Pin],
    name: &str,
    step: &Step,
) -> Result<Vec<Offer>> {
    let offers = archive.offers(architecture, name, step)?;
    let followed = accepted.iter().any(|pin| pin.follows.is_some());
    match offers.first() {
        Some(newest) if followed => archive.offers(architecture, &newest.depends, step),
        _ => Ok(offers),
    }
}

fn list<'a>(versions: impl Iterator<Item = &'a str>) -> String {
    let versions: Vec<&str> = versions.collect();
    if versions.is_empty() { "none".to_owned() } else { versions.join(", ") }
}

/// Whose index lists the package.
fn architecture(pins: &Pins, name: &str) -> &'static str {
    if pins.of(name).any(|pin| pin.architecture == ARM64) { ARM64 } else { AMD64 }
}

/// Where apt keeps what it knows of an architecture. Apart, for apt drops the lists of others.
fn suite_folder(suite: &str, architecture: &str) -> Result<PathBuf> {
    let name = match architecture {
        AMD64 => format!("apt-{suite}"),
        other => format!("apt-{suite}-{other}"),
    };
    Ok(paths::cache()?.join(name))
}

/// Opens a suite at the host's mirror; its index is fetched once an hour at most.
fn open_suite(suite: &str, architecture: &str, step: &Step) -> Result<Archive> {
    let folder = suite_folder(suite, architecture)?;
    let archive = Archive::open(folder.clone(), &host::debian_mirror()?, suite)?;
    let stamp = folder.join("updated");
    let fresh = std::fs::metadata(&stamp)
        .and_then(|meta| meta.modified())
        .is_ok_and(|time| time.elapsed().is_ok_and(|age| age.as_secs() < 3600));
    if !fresh {
        archive.update(architecture, step)?;
        paths::write(&stamp, "")?;
    }
    Ok(archive)
}

fn update_pins() -> Result<()> {
    let mut pins = pins()?;
    let step = ui::step("update pins");
    let names: Vec<String> = pins.names().into_iter().map(str::to_owned).collect();
    for name in &names {
        let folder = suite_folder(pins.suite_of(name), architecture(&pins, name))?;
        let _ = std::fs::remove_file(folder.join("updated"));
    }
    for name in names {
        let architecture = architecture(&pins, &name);
        let archive = open_suite(pins.suite_of(&name), architecture, &step)?;
        let accepted: Vec<&Pin> = pins.of(&name).collect();
        let followed = accepted.iter().any(|pin| pin.follows.is_some());
        let suite = accepted.iter().find_map(|pin| pin.suite.clone());
        let offer = offers(&archive, architecture, &accepted, &name, &step)?.into_iter().next();
        let offer = offer.with_context(|| format!("the archive offers no {name} [{}]", code::NOT_OFFERED))?;
        step.say(format!("{name} {}", offer.version));
        pins.prefer(Pin {
            name: offer.name,
            follows: followed.then_some(name),
            suite,
            architecture: offer.architecture,
            version: offer.version,
            sha256: offer.sha256,
        });
    }
    paths::write(&paths::repository().join("boot/packages.toml"), pins.emit()?)?;
    step.done("boot/packages.toml is written");
    Ok(())
}

/// Debian compresses Xen, here of this series; the loaders want the ELF file.
fn unzipped_xen(package: &std::path::Path, series: &str) -> Result<PathBuf> {
    let elf = package.join("xen.elf");
    if elf.is_file() {
        return Ok(elf);
    }
    let zipped = present(package.join(format!("boot/xen-{series}-amd64.gz")))?;
    let output = std::process::Command::new("gzip")
        .arg("-dc")
        .arg(&zipped)
        .output()
        .with_context(|| format!("cannot run gzip; is it installed? [{}]", code::NOT_STARTED))?;
    if !output.status.success() || !output.stdout.starts_with(b"\x7fELF") {
        bail!("{} does not unpack to an ELF file [{}]", zipped.display(), code::BAD_PACKAGE);
    }
    let fresh = package.join("xen.elf.new");
    paths::write(&fresh, &output.stdout)?;
    std::fs::rename(&fresh, &elf)?;
    Ok(elf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qemu_version_line() {
        assert_eq!(
            parse_qemu_version("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\nCopyright"),
            Some(10)
        );
        assert_eq!(parse_qemu_version("something else"), None);
    }

    #[test]
    fn backports_only_when_the_ordinary_suites_are_too_old() {
        let old = "qemu-system-x86 | 1:7.2+dfsg-7 | http://m.example/debian bookworm/main amd64 Packages\n";
        let back = "qemu-system-x86 | 1:10.0.2+ds-2~bpo12+1 | http://m.example/debian bookworm-backports/main amd64 Packages\n";
        let new = "qemu-system-x86 | 1:10.0.13+ds-0 | http://m.example/debian trixie/main amd64 Packages\n";
        assert_eq!(choose_suite(old), Choice::None);
        assert_eq!(choose_suite(&format!("{back}{old}")), Choice::Suite("bookworm-backports".into()));
        assert_eq!(choose_suite(&format!("{back}{new}")), Choice::Ordinary);
    }
}
