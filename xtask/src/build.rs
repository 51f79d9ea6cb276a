//! `build`: the domains' images, the compiled table, and the archive that carries both.
//!
//! Output, under `target/sarsen/ARCH`: `dom0` (packed), `images/NAME` (packed), `archive.cpio` (dom0's
//! ramdisk: `table`, `images/NAME`, `config/FILE`). What the linker made, with its line tables, stays in
//! cargo's folder for [`crate::symbolize`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use proto_errors::{ctl, host as code};
use proto_handoff::provisioning::Pair;
use proto_manifest::archive::{Archive, CONFIG, IMAGES, TABLE, Writer};
use proto_manifest::board::{Board, BoardErrors, Machine};
use proto_manifest::table::{Bus, Device, DeviceKind, MAX_BYTES, Table};
use sha2::{Digest, Sha256};

use crate::coded::OrCode;
use crate::slot::Key;
use crate::tool::tool;
use crate::{pack, paths, toolchain, ui};

/// Options of `build`.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub struct Options {
    /// Architecture of the domains
    #[arg(long, value_enum, default_value_t = Arch::X86_64)]
    pub arch: Arch,
    /// Board: a folder in board-support/boards [default: qemu-ARCH]
    #[arg(long)]
    pub board: Option<String>,
    /// Folder of provisioning files (server, root-certificate.pem, …) for the config partition; without a disk they
    /// travel in the archive
    #[arg(long, value_name = "FOLDER")]
    pub config: Option<PathBuf>,
    /// Take the domains that the last build made; table and archive are made all the same
    #[arg(long)]
    pub no_build: bool,
}

impl Options {
    /// The same without provisioning files, for a disk: it has them in a partition of their own.
    pub fn without_files(&self) -> Self {
        Self { config: None, ..self.clone() }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self { arch: Arch::X86_64, board: None, config: None, no_build: false }
    }
}

/// What the domains run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Arch {
    /// 64-bit x86.
    #[value(name = "x86_64")]
    X86_64,
    /// 64-bit Arm.
    Aarch64,
}

impl Arch {
    /// Both.
    pub const ALL: [Self; 2] = [Self::X86_64, Self::Aarch64];

    /// Its name, as Rust spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// The emulator's program.
    pub fn qemu(self) -> &'static str {
        match self {
            Self::X86_64 => "qemu-system-x86_64",
            Self::Aarch64 => "qemu-system-aarch64",
        }
    }

    /// Rust's target for domains.
    pub fn target(self) -> String {
        format!("{}-unknown-none", self.name())
    }

    /// Rust's target for what firmware starts.
    pub fn firmware_target(self) -> String {
        format!("{}-unknown-uefi", self.name())
    }
}

/// The variable by which selector and storage are given another key than the test key.
pub(crate) const SLOT_KEY: &str = "SARSEN_SLOT_KEY";
/// The cargo profile of domains.
pub const PROFILE: &str = "domain";

/// The domain with power over the others, built beside those that the board names.
pub const DOM0: &str = "dom0";

/// The sample application; no board names it, a controller sends it.
pub const SAMPLE: &str = "hello";

/// What a build made.
#[derive(Debug, Clone)]
pub struct Built {
    /// Architecture.
    pub arch: Arch,
    /// `target/sarsen/ARCH`.
    pub folder: PathBuf,
    /// dom0, packed.
    pub dom0: PathBuf,
    /// dom0's ramdisk.
    pub archive: PathBuf,
    /// What the board says about the machine: memory, Xen's options.
    pub machine: Machine,
    /// What a slot gives dom0 as its command line: nothing, but for a test. On x86_64 only.
    pub dom0_words: String,
    /// The virtio transports that the board gives to driver domains.
    pub transports: Vec<Transport>,
    /// Whether the board gives a disk to a driver domain.
    pub has_disk: bool,
    /// The linker's files with line tables, by domain name.
    pub symbols: BTreeMap<String, PathBuf>,
}

/// A virtio transport of a driver domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transport {
    /// What is on it.
    pub kind: DeviceKind,
    /// Which it is.
    pub number: u8,
}

impl Built {
    /// A packed image by its name.
    pub fn image(&self, name: &str) -> PathBuf {
        self.folder.join("images").join(name)
    }

    /// The services of its table, in their order.
    ///
    /// # Errors
    /// When the archive cannot be read, or holds no table.
    pub fn services(&self) -> Result<Vec<String>> {
        let bytes = paths::read(&self.archive)?;
        let wrong = |why: &dyn std::fmt::Display| anyhow!("{}: {why}", self.archive.display());
        let archive = Archive::open(&bytes).map_err(|error| wrong(&error))?;
        let table = archive.find(TABLE).ok_or_else(|| wrong(&"it holds no table"))?;
        let table = Table::decode(table).map_err(|error| wrong(&error))?;
        Ok(table.domains.iter().map(|domain| domain.name.to_string()).collect())
    }

    /// Xen's command line: the board's options and dom0's memory.
    pub fn xen_command_line(&self) -> String {
        let memory = self.machine.dom0_memory_mib;
        let memory = match self.arch {
            Arch::X86_64 => format!("dom0_mem={memory}M,max:{memory}M"),
            // There the option has one part only.
            Arch::Aarch64 => format!("dom0_mem={memory}M"),
        };
        format!("{} {memory}", self.machine.xen_options.join(" "))
    }
}

/// Runs the subcommand and prints what it made. An architecture for which there is no board yet gets its
/// images, and no archive.
///
/// # Errors
/// As [`build`].
pub fn subcommand(options: &Options) -> Result<()> {
    if options.board.is_none() && !board_file(&paths::repository(), &default_board(options.arch)).is_file() {
        let names = image_names(&load(&Options::default(), &Place::repository())?);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        compile_trusting(&Place::repository(), options.arch, &names, None)?;
        names.iter().for_each(|name| println!("{}", linked(options.arch, name).display()));
        eprintln!("There is no board for {} yet, hence no archive.", options.arch.name());
        return Ok(());
    }
    println!("{}", build(options)?.archive.display());
    Ok(())
}

/// Builds everything.
///
/// # Errors
/// When a domain does not compile, the board contradicts itself, or a provisioning file has a bad name.
pub fn build(options: &Options) -> Result<Built> {
    make(options, None, &Place::repository()).or_code(code::BUILD)
}

/// What [`build`] does, in the copy `root` of the repository, with a folder `target` of its own. The images `fresh` are
/// compiled there; the others are those that were made of the repository last.
///
/// # Errors
/// As [`build`].
pub fn build_copy(options: &Options, root: &Path, target: &Path, fresh: &[&str]) -> Result<Built> {
    let fresh = Some(fresh.iter().map(|name| (*name).to_owned()).collect());
    let place = Place { root: root.to_owned(), target: target.to_owned(), fresh };
    make(options, None, &place).or_code(code::BUILD)
}

/// Whose sources are compiled, and where what is made of them goes.
///
/// A copy of the workspace has to have a `target` folder of its own: cargo tells packages apart by their paths
/// within the workspace, and would take what it made of one copy's sources for the other's.
struct Place {
    root: PathBuf,
    target: PathBuf,
    /// The images that are compiled; `None` for all.
    fresh: Option<Vec<String>>,
}

impl Place {
    fn repository() -> Self {
        Self { root: paths::repository(), target: paths::target(), fresh: None }
    }

    fn compiles(&self, image: &str) -> bool {
        self.fresh.as_ref().is_none_or(|fresh| fresh.iter().any(|name| name == image))
    }

    /// What the linker made of an image.
    fn linked(&self, arch: Arch, image: &str) -> PathBuf {
        if self.compiles(image) { linked_in(&self.target, arch, image) } else { linked(arch, image) }
    }

    /// Reads the board called `name`.
    fn board(&self, name: &str) -> Result<Board> {
        Board::load(&board_file(&self.root, name)).map_err(|errors| mistakes(name, &errors))
    }

    /// Every image of the board is a package, which is told by its folder.
    fn check_images(&self, board: &Board) -> Result<()> {
        let folder = self.root.join("stubdoms");
        let is_there = |image: &str| folder.join(image).join("Cargo.toml").is_file();
        board.check_images(is_there).map_err(|errors| mistakes(board.name(), &errors))
    }
}

/// Builds everything for a device whose slots `key` signs: the storage domain takes no others.
///
/// # Errors
/// As [`build`].
pub fn build_trusting(options: &Options, key: &Key) -> Result<Built> {
    make(options, key.public_if_real(), &Place::repository()).or_code(code::BUILD)
}

fn make(options: &Options, key: Option<String>, place: &Place) -> Result<Built> {
    let board = load(options, place)?;
    let config = config_files(options.config.as_deref())?;
    let arch = options.arch;
    let built = layout_of(&board, arch, place)?;
    if options.no_build {
        let missing = built.symbols.values().find(|file| !file.is_file());
        ensure!(missing.is_none(), "nothing was built yet: run once without --no-build");
    } else {
        let names: Vec<&str> =
            built.symbols.keys().map(String::as_str).filter(|name| place.compiles(name)).collect();
        place.check_images(&board)?;
        compile_trusting(place, arch, &names, key)?;
    }
    let step = ui::step("pack images");
    paths::create(built.folder.join("images"))?;
    let mut images = BTreeMap::new();
    for (name, linked) in &built.symbols {
        let linked = paths::read(linked)?;
        let packed = match (arch, name.as_str()) {
            // Xen takes dom0 there as it takes a Linux image: a header that the linker's file begins with.
            (Arch::Aarch64, DOM0) => pack::flatten(&linked),
            _ => pack::pack(&linked),
        };
        let packed = packed.with_context(|| format!("image {name}"))?;
        step.say(format!("{name}: {} KiB", packed.len().div_ceil(1024)));
        let target = if name == DOM0 { built.dom0.clone() } else { built.image(name) };
        paths::write(&target, &packed)?;
        images.insert(name.clone(), packed);
    }
    let bytes = pack_archive(&board, &images, &config)?;
    paths::write(&built.archive, &bytes)?;
    step.done(format!("archive of {} KiB", bytes.len().div_ceil(1024)));
    Ok(built)
}

/// Where a build puts what, without building.
///
/// # Errors
/// When the board contradicts itself.
pub fn layout(options: &Options) -> Result<Built> {
    let place = Place::repository();
    layout_of(&load(options, &place)?, options.arch, &place)
}

fn layout_of(board: &Board, arch: Arch, place: &Place) -> Result<Built> {
    let folder = paths::create(paths::output_in(&place.target, arch.name()))?;
    let linked = |name: String| (name.clone(), place.linked(arch, &name));
    Ok(Built {
        arch,
        dom0: folder.join("dom0"),
        archive: folder.join("archive.cpio"),
        machine: board.machine().clone(),
        dom0_words: String::new(),
        transports: transports(board),
        has_disk: board.table().devices.iter().any(|device| is_disk(device.kind)),
        symbols: image_names(board).into_iter().map(linked).collect(),
        folder,
    })
}

fn is_disk(kind: DeviceKind) -> bool {
    match kind {
        DeviceKind::Nvme | DeviceKind::VirtioBlk => true,
        DeviceKind::E1000e | DeviceKind::VirtioNet | DeviceKind::TpmCrb | DeviceKind::TpmTis => false,
    }
}

/// The transports of the board's devices.
fn transports(board: &Board) -> Vec<Transport> {
    let transport = |device: &Device| match &device.bus {
        Bus::VirtioMmio(mmio) => Some(Transport { kind: device.kind, number: mmio.transport }),
        Bus::Pci(_) | Bus::Registers(_) => None,
    };
    board.table().devices.iter().filter_map(transport).collect()
}

fn default_board(arch: Arch) -> String {
    format!("qemu-{}", arch.name())
}

fn board_file(root: &Path, name: &str) -> PathBuf {
    root.join("board-support/boards").join(name).join("board.toml")
}

/// What the linker made of an image, with its line tables.
pub fn linked(arch: Arch, image: &str) -> PathBuf {
    linked_in(&paths::target(), arch, image)
}

/// The same, of a build with another target folder.
fn linked_in(target: &Path, arch: Arch, image: &str) -> PathBuf {
    target.join(arch.target()).join(PROFILE).join(image)
}

fn load(options: &Options, place: &Place) -> Result<Board> {
    let name = options.board.clone().unwrap_or_else(|| default_board(options.arch));
    let board = place.board(&name)?;
    let arch = &board.machine().arch;
    ensure!(arch == options.arch.name(), "board {name} is {arch}, and --arch says {}", options.arch.name());
    Ok(board)
}

/// Reads the board called `name`.
///
/// # Errors
/// With everything that is wrong with its files, one line each.
pub(crate) fn board(name: &str) -> Result<Board> {
    Place::repository().board(name)
}

/// What is wrong with a board, one line each.
fn mistakes(board: &str, errors: &BoardErrors) -> anyhow::Error {
    anyhow!("board {board}:\n{errors}")
}

/// dom0, the services that the board names, and the sample application.
fn image_names(board: &Board) -> Vec<String> {
    let mut names = vec![DOM0.to_owned(), SAMPLE.to_owned()];
    names.extend(board.images().into_iter().filter(|name| name != SAMPLE));
    names
}

/// Compiles images in one cargo run, for a device whose slots `key` signs.
fn compile_trusting(place: &Place, arch: Arch, names: &[&str], key: Option<String>) -> Result<()> {
    toolchain::add_targets()?;
    let step = ui::step(format!("build domains for {}", arch.name()));
    let mut cargo = tool("cargo").args(["build", "--profile", PROFILE, "--target", &arch.target()]);
    for name in names {
        cargo = cargo.args(["-p", &package_of(name)]);
    }
    // A variable would replace the flags in .cargo/config.toml, and the domains need those.
    let mut cargo = ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS", SLOT_KEY]
        .into_iter()
        .fold(cargo.dir(&place.root).env("CARGO_TARGET_DIR", &place.target), |cargo, name| {
            cargo.without_env(name)
        });
    if let Some(key) = key {
        cargo = cargo.env(SLOT_KEY, key);
    }
    cargo.run_loud(&step)?;
    step.done("");
    Ok(())
}

/// Packages are named after their paths.
fn package_of(image: &str) -> String {
    if image == DOM0 { image.to_owned() } else { format!("stubdoms-{image}") }
}

fn pack_archive(
    board: &Board,
    images: &BTreeMap<String, Vec<u8>>,
    config: &BTreeMap<String, Vec<u8>>,
) -> Result<Vec<u8>> {
    let hash = |name: &str| images.get(name).map(|bytes| Sha256::digest(bytes).into());
    let table = board.compile(hash).map_err(|errors| mistakes(board.name(), &errors))?;
    let mut buffer = [0; MAX_BYTES];
    let table = table.encode(&mut buffer).map_err(|error| anyhow!("the compiled table: {error}"))?;

    let mut writer = Writer::new();
    let mut add = |name: String, data: &[u8]| {
        writer.add(&name, data).map_err(|error| anyhow!("archive entry `{name}`: {error}"))
    };
    add(TABLE.to_owned(), table)?;
    for name in board.images() {
        let bytes = images.get(&name).with_context(|| format!("no image `{name}` was built"))?;
        add(format!("{IMAGES}{name}"), bytes)?;
    }
    for (name, bytes) in config {
        add(format!("{CONFIG}{name}"), bytes)?;
    }
    Ok(writer.finish())
}

/// The provisioning files, sorted by name, so that equal folders give equal archives.
pub(crate) fn config_files(folder: Option<&Path>) -> Result<BTreeMap<String, Vec<u8>>> {
    let Some(folder) = folder else { return Ok(BTreeMap::new()) };
    let entries = std::fs::read_dir(folder).with_context(|| {
        format!("cannot read the provisioning folder {} [{}]", folder.display(), code::FILE)
    })?;
    let mut files = BTreeMap::new();
    for entry in entries {
        let path = entry?.path();
        if path.is_file() {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            files.insert(name, paths::read(&path)?);
        }
    }
    let is_there = |name: &str| files.get(name).is_some_and(|file: &Vec<u8>| !file.trim_ascii().is_empty());
    if let Some(half) = [Pair::ONBOARD, Pair::DEVICE].into_iter().find_map(|pair| pair.half(is_there)) {
        bail!("provisioning folder {}: {half} [{}]", folder.display(), ctl::HALF_A_PAIR);
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of white space is as good as none, as the device has it.
    #[test]
    fn a_provisioning_folder_with_half_a_pair_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let read = |files: &[(&str, &str)]| {
            for name in [Pair::ONBOARD, Pair::DEVICE].iter().flat_map(|pair| [pair.certificate, pair.key]) {
                let text = files.iter().find(|(given, _)| *given == name).map_or("", |(_, text)| text);
                std::fs::write(folder.path().join(name), text).expect("it is written");
            }
            config_files(Some(folder.path())).map(|files| files.len()).map_err(|error| error.to_string())
        };
        for pair in [Pair::ONBOARD, Pair::DEVICE] {
            let Pair { certificate, key } = pair;
            for whole in [("-", "-"), ("\n", " \r\n"), ("", "\n"), ("", "")] {
                assert_eq!(read(&[(certificate, whole.0), (key, whole.1)]), Ok(4));
            }
            for blank in ["", "\n"] {
                for (missing, there) in [(certificate, key), (key, certificate)] {
                    let error = read(&[(missing, blank), (there, "-")]).expect_err("half");
                    assert!(error.contains(&format!("`{missing}` is missing or empty")), "{error}");
                    assert!(error.contains(ctl::HALF_A_PAIR.as_str()), "{error}");
                }
            }
        }
    }
}
