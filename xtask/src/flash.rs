//! `flash`: a disk image onto a disk, and read back from it.
//!
//! | what keeps a wrong disk from being written | where |
//! |---|---|
//! | partitions, disks made of others, read-only, without a medium, of another block size, too small | [`refusals`] |
//! | mounted, swapped to, held by something else: the disk or any partition of it | [`refusals`] |
//! | whatever else the kernel knows to use it | the disk is held exclusively until it has been read back |
//! | another disk that gets its name, or another medium in it | it is described while held, and again after the answer |
//! | a person who means another one | model, serial and size are shown, and the disk's name is to be typed |
//!
//! The last partition gets the rest of the disk, and the second copy of the partition table comes to its end, where
//! whoever finds the first one damaged looks for it. What lay between is not overwritten, but for the last MiB of that
//! partition and all behind it: a store has its second superblock in the last page, and the one of an earlier store
//! would be taken for damage of the new one, and repaired from.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use proto_update::manifest::Header;

use crate::build::Arch;
use crate::slot::{self, Key};
use crate::{disk, paths, ui};

/// Options of `flash`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// The disk: /dev/sdX, /dev/nvmeXnY, or a link to it, such as those in /dev/disk/by-id
    pub device: PathBuf,
    /// The disk image, as `image` wrote it [default: target/sarsen/ARCH/disk.img]
    #[arg(long, value_name = "FILE")]
    pub image: Option<PathBuf>,
    /// Whose image that is by default
    #[arg(long, value_enum, default_value_t = Arch::X86_64)]
    pub arch: Arch,
    /// Do not ask for the disk's name before everything on it is lost
    #[arg(long)]
    pub yes: bool,
}

const SECTOR: u64 = 512;
const MIB: u64 = 1 << 20;
/// Blocks of a copy of the partition table: 128 entries of 128 bytes, and the header.
const COPY_BLOCKS: u64 = 33;
/// Bytes that are written or read at once.
const CHUNK: usize = 4 << 20;
/// What direct access wants addresses to be a multiple of.
const ALIGN: usize = 4096;

/// Runs the subcommand.
///
/// # Errors
/// When the disk is not one to be written, the person says no, or what is read back is not what was written.
pub fn flash(options: &Options) -> Result<()> {
    let image = options.image.clone().unwrap_or_else(|| paths::output(options.arch.name()).join("disk.img"));
    let holds = holds(&image, options.arch)?;
    let path = node(&options.device)?;
    let name = path.file_name().context("a disk has a name")?.to_string_lossy().into_owned();
    onto(&Node { path, name: name.clone() }, &System::read()?, &image, |disk| {
        println!("{disk}");
        println!("{holds}");
        if options.yes { Ok(()) } else { ask(&name, &mut std::io::stdin().lock()) }
    })
}

/// The disk that is named, as the kernel calls it: by its path, or by its name alone.
fn node(device: &Path) -> Result<PathBuf> {
    let named = fs::canonicalize(device).or_else(|_| fs::canonicalize(Path::new("/dev").join(device)));
    let path = named.with_context(|| format!("there is no disk {}", device.display()))?;
    ensure!(fs::metadata(&path)?.file_type().is_block_device(), "{} is no disk", path.display());
    Ok(path)
}

/// What is in the image, for the person who is to agree that it comes onto the disk.
fn holds(image: &Path, arch: Arch) -> Result<String> {
    let option = if arch == Arch::X86_64 { String::new() } else { format!(" --arch {}", arch.name()) };
    let held = disk::read(image).with_context(|| {
        format!(
            "{} cannot be written to a disk; `cargo xtask image{option}` makes one that can",
            image.display()
        )
    })?;
    let arch = held.arch().map_or("an unknown architecture", Arch::name);
    let mut told = format!("{}: version {}, for {arch}", image.display(), held.version());
    let header = Header::parse(&held.slot, held.slot.len() as u64);
    let test = Key::test()?;
    if header.is_ok_and(|header| test.trusts(&header).is_some()) {
        told = format!("{told}\n  {}", slot::TEST_KEY);
    }
    Ok(told)
}

/// Writes an image onto a disk and reads it back, if the disk is one to be written and `agree` to what it is told.
fn onto(
    access: &impl Access,
    system: &System,
    image: &Path,
    agree: impl FnOnce(&Disk) -> Result<()>,
) -> Result<()> {
    // Before it is described: a disk that is held keeps its name and number, so that no other can get them.
    let held = access.hold();
    let disk = access.describe()?;
    let reasons = refusals(&disk, system, fs::metadata(image)?.len());
    ensure!(reasons.is_empty(), "/dev/{} is not written: {}", disk.name, reasons.join("; "));
    // The reasons tell more than that it could not be opened.
    let mut held = held?;
    let another = || format!("nothing was written: /dev/{} is not the disk any more that it was", disk.name);
    ensure!(access.number(&held)? == disk.number, another());
    agree(&disk)?;
    // The medium may have been taken out of it.
    ensure!(access.describe().with_context(another)? == disk, another());

    let mut content = Content::of(image, disk.size_bytes)?;
    let step = ui::step(format!("write /dev/{}", disk.name));
    write(&mut content, &mut held, &|percent| step.percent(percent))?;
    access.sync(&held).with_context(|| format!("/dev/{} did not keep what was written", disk.name))?;
    step.done(mib(content.written()));
    let step = ui::step(format!("read /dev/{} back", disk.name));
    verify(&mut content, &mut access.reader()?, &|percent| step.percent(percent))?;
    step.done("it is what was written");
    // Not before: whoever waits for new disks would mount it, and write to it, while it is read.
    drop(held);
    Ok(())
}

/// Waits for the disk's name, with or without its folder.
fn ask(name: &str, answers: &mut impl BufRead) -> Result<()> {
    eprint!("Everything on it will be lost. Type {name} to go on: ");
    let mut answer = String::new();
    answers.read_line(&mut answer)?;
    let answer = answer.trim();
    ensure!(
        answer.strip_prefix("/dev/").unwrap_or(answer) == name,
        "nothing was written: `{}` is not `{name}`",
        answer
    );
    Ok(())
}

/// How a disk is reached.
trait Access {
    /// An open disk.
    type Handle: Read + Write + Seek;

    /// Opens it so that nobody else uses it while the handle is there.
    fn hold(&self) -> Result<Self::Handle>;
    /// Opens it to be read while it is held, past what the host remembers of it.
    fn reader(&self) -> Result<Self::Handle>;
    /// `major:minor` of what was opened.
    fn number(&self, handle: &Self::Handle) -> Result<String>;
    /// Waits until what was written is durable.
    fn sync(&self, handle: &Self::Handle) -> Result<()>;
    /// What has its name now.
    fn describe(&self) -> Result<Disk>;
}

/// A disk of this system.
struct Node {
    path: PathBuf,
    name: String,
}

impl Access for Node {
    type Handle = File;

    fn hold(&self) -> Result<File> {
        // Source: Linux, `include/uapi/asm-generic/fcntl.h`.
        const EXCLUSIVE: i32 = 0o200;
        let opened = OpenOptions::new().read(true).write(true).custom_flags(EXCLUSIVE).open(&self.path);
        opened.with_context(|| {
            format!("cannot open {} alone (it takes root, and nobody else using it)", self.path.display())
        })
    }

    fn reader(&self) -> Result<File> {
        // Source: Linux, `include/uapi/asm-generic/fcntl.h`, and `arch/arm64/include/uapi/asm/fcntl.h`.
        const DIRECT: i32 = if cfg!(target_arch = "aarch64") { 0o200_000 } else { 0o40_000 };
        // Not exclusively: it is held already, and would be refused.
        let opened = OpenOptions::new().read(true).custom_flags(DIRECT).open(&self.path);
        opened.with_context(|| format!("cannot open {} to read it back", self.path.display()))
    }

    fn number(&self, handle: &File) -> Result<String> {
        Ok(number(handle.metadata()?.rdev()))
    }

    fn sync(&self, handle: &File) -> Result<()> {
        Ok(handle.sync_all()?)
    }

    fn describe(&self) -> Result<Disk> {
        Disk::read(Path::new("/sys/class/block"), &self.name)
    }
}

/// `major:minor` of a device number. Source: glibc, `bits/sysmacros.h`; makedev(3).
fn number(device: u64) -> String {
    let major = (device >> 8) & 0xfff | (device >> 32) & 0xffff_f000;
    let minor = device & 0xff | (device >> 12) & 0xffff_ff00;
    format!("{major}:{minor}")
}

/// A disk, as the kernel describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Disk {
    name: String,
    /// `major:minor`.
    number: String,
    /// Another one for each disk and medium since the system started; Linux before 5.15 has none.
    sequence: String,
    size_bytes: u64,
    block_bytes: u64,
    model: String,
    serial: String,
    removable: bool,
    read_only: bool,
    /// It is one of another disk.
    is_partition: bool,
    /// Disks that it is made of.
    slaves: Vec<String>,
    /// It, and its partitions.
    parts: Vec<Part>,
}

/// A disk or a partition, and who uses it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Part {
    name: String,
    /// `major:minor`.
    number: String,
    /// Disks that are made of it: volumes, encrypted ones, arrays.
    holders: Vec<String>,
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or = |text: &str| if text.is_empty() { "unknown".to_owned() } else { text.to_owned() };
        let Self { name, model, serial, size_bytes, .. } = self;
        writeln!(f, "/dev/{name}: {} ({size_bytes} bytes)", gib(*size_bytes))?;
        writeln!(f, "  model:      {}", or(model))?;
        writeln!(f, "  serial:     {}", or(serial))?;
        writeln!(f, "  removable:  {}", if self.removable { "yes" } else { "no" })?;
        let parts: Vec<&str> = self.parts.iter().skip(1).map(|part| part.name.as_str()).collect();
        write!(f, "  partitions: {}", if parts.is_empty() { "none".into() } else { parts.join(", ") })
    }
}

impl Disk {
    /// Reads what stands of it in `/sys/class/block`.
    fn read(class: &Path, name: &str) -> Result<Self> {
        let folder = class.join(name);
        let text = |file: &str| fs::read_to_string(folder.join(file)).map(|text| text.trim().to_owned());
        let number = |file: &str| text(file).ok().and_then(|text| text.parse::<u64>().ok());
        let some = |files: &[&str]| files.iter().find_map(|file| text(file).ok()).unwrap_or_default();
        let mut parts = vec![Part::read(class, name)];
        let mut names = list(&folder)?;
        names.retain(|part| folder.join(part).join("partition").is_file());
        parts.extend(names.iter().map(|part| Part::read(class, part)));
        Ok(Self {
            name: name.to_owned(),
            number: some(&["dev"]),
            sequence: some(&["diskseq"]),
            size_bytes: number("size").context("the kernel does not tell its size")? * SECTOR,
            block_bytes: number("queue/logical_block_size").unwrap_or(SECTOR),
            model: some(&["device/model", "device/name"]),
            serial: some(&["device/serial"]),
            removable: number("removable") == Some(1),
            read_only: number("ro") == Some(1),
            is_partition: folder.join("partition").is_file(),
            slaves: list(&folder.join("slaves")).unwrap_or_default(),
            parts,
        })
    }
}

impl Part {
    fn read(class: &Path, name: &str) -> Self {
        let folder = class.join(name);
        let number = fs::read_to_string(folder.join("dev")).unwrap_or_default().trim().to_owned();
        Self { name: name.to_owned(), number, holders: list(&folder.join("holders")).unwrap_or_default() }
    }
}

/// Names in a folder, in order.
fn list(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

/// What this system uses.
#[derive(Debug, Clone, Default)]
pub(crate) struct System {
    /// `/proc/self/mountinfo`.
    mounts: String,
    /// `/proc/swaps`.
    swaps: String,
}

impl System {
    fn read() -> Result<Self> {
        let text = |file: &str| fs::read_to_string(file).with_context(|| format!("cannot read {file}"));
        Ok(Self { mounts: text("/proc/self/mountinfo")?, swaps: text("/proc/swaps").unwrap_or_default() })
    }

    /// Where a disk or partition is mounted. Source: proc_pid_mountinfo(5).
    fn mounts_of<'a>(&'a self, part: &'a Part) -> impl Iterator<Item = &'a str> {
        let source = format!("/dev/{}", part.name);
        self.mounts.lines().filter_map(move |line| {
            let mut fields = line.split(' ').skip(2);
            let (number, place) = (fields.next()?, fields.nth(1)?);
            let named = line.split_once(" - ").and_then(|(_, rest)| rest.split(' ').nth(1));
            // Some file systems have numbers of their own, and are told by their source alone.
            (number == part.number || named == Some(source.as_str())).then_some(place)
        })
    }

    fn swaps_to(&self, part: &Part) -> bool {
        let source = format!("/dev/{}", part.name);
        self.swaps.lines().skip(1).any(|line| line.split_whitespace().next() == Some(source.as_str()))
    }
}

/// Why a disk is not to be written; nothing if it may be.
pub(crate) fn refusals(disk: &Disk, system: &System, image_bytes: u64) -> Vec<String> {
    let mut reasons = Vec::new();
    let mut refuse = |wrong: bool, why: String| {
        if wrong {
            reasons.push(why);
        }
    };
    refuse(disk.is_partition, format!("{} is a partition, and the image is of a whole disk", disk.name));
    refuse(!disk.slaves.is_empty(), format!("it is made of {}", disk.slaves.join(", ")));
    refuse(disk.read_only, "it is read-only".into());
    refuse(disk.size_bytes == 0, "there is no medium in it".into());
    refuse(
        disk.block_bytes != SECTOR,
        format!("its blocks have {} bytes, and those of the image {SECTOR}", disk.block_bytes),
    );
    refuse(
        (1..image_bytes).contains(&disk.size_bytes),
        format!("it has {}, and the image {}", mib(disk.size_bytes), mib(image_bytes)),
    );
    for part in &disk.parts {
        for place in system.mounts_of(part) {
            let why = match place {
                "/" => format!("this system runs from {}", part.name),
                _ => format!("{} is mounted on {place}", part.name),
            };
            refuse(true, why);
        }
        refuse(system.swaps_to(part), format!("this system swaps to {}", part.name));
        refuse(!part.holders.is_empty(), format!("{} is used by {}", part.name, part.holders.join(", ")));
    }
    reasons
}

/// What is to be on the disk: the image, its partition table stretched to the disk, zeroes where nothing is.
#[derive(Debug)]
pub(crate) struct Content {
    image: File,
    image_bytes: u64,
    size: u64,
    /// Where the last MiB of the last partition starts: from there on all is written, the store's second superblock,
    /// what an earlier partition table has left, and the new one.
    tail: u64,
    at: u64,
    /// Blocks that differ from the image's, by number.
    changed: BTreeMap<u64, [u8; SECTOR as usize]>,
}

impl Content {
    /// That of an image on a disk of `size` bytes.
    pub(crate) fn of(image: &Path, size: u64) -> Result<Self> {
        let file = File::open(image).with_context(|| format!("cannot read {}", image.display()))?;
        let image_bytes = file.metadata()?.len();
        ensure!(size >= image_bytes, "the disk has {}, and the image {}", mib(size), mib(image_bytes));
        let content = Self { image: file, image_bytes, size, tail: 0, at: 0, changed: BTreeMap::new() };
        let mut table = gpt::GptConfig::new()
            .writable(true)
            .open_from_device(content)
            .with_context(|| format!("{} has no partition table", image.display()))?;
        let mut partitions = table.partitions().clone();
        // The table is built anew for the size of the disk, and with it the last block that may be used.
        table.update_partitions(partitions.clone())?;
        let end = table.header().last_usable;
        let last =
            partitions.values_mut().max_by_key(|entry| entry.last_lba).context("it has no partition")?;
        // To a whole MiB, as everything else.
        last.last_lba = last.last_lba.max((end + 1) / (MIB / SECTOR) * (MIB / SECTOR) - 1);
        let tail = ((last.last_lba + 1) * SECTOR).saturating_sub(MIB);
        table.update_partitions(partitions)?;
        let mut content = table.write().map_err(|error| anyhow!("the partition table: {error}"))?;
        content.tail = tail;
        // The image's own second copy would lie within the last partition.
        let end = image_bytes / SECTOR;
        for block in end.saturating_sub(COPY_BLOCKS)..end {
            content.changed.entry(block).or_insert([0; SECTOR as usize]);
        }
        Ok(content)
    }

    /// The ranges of the disk that are written.
    fn ranges(&self) -> Vec<(u64, u64)> {
        if self.tail <= self.image_bytes {
            vec![(0, self.size)]
        } else {
            vec![(0, self.image_bytes), (self.tail, self.size)]
        }
    }

    fn written(&self) -> u64 {
        self.ranges().iter().map(|(from, to)| to - from).sum()
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count =
            buffer.len().min(usize::try_from(self.size - self.at.min(self.size)).unwrap_or(usize::MAX));
        let buffer = &mut buffer[..count];
        let of_image = self.image_bytes.saturating_sub(self.at).min(count as u64) as usize;
        if of_image > 0 {
            self.image.seek(SeekFrom::Start(self.at))?;
            self.image.read_exact(&mut buffer[..of_image])?;
        }
        buffer[of_image..].fill(0);
        let end = self.at + count as u64;
        for (block, bytes) in self.changed.range(self.at / SECTOR..end.div_ceil(SECTOR)) {
            let start = block * SECTOR;
            for (offset, &byte) in (start..).zip(bytes) {
                if let Some(place) = offset.checked_sub(self.at).filter(|&place| place < count as u64) {
                    buffer[place as usize] = byte;
                }
            }
        }
        self.at = end;
        Ok(count)
    }
}

impl Write for Content {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let (block, within) = (self.at / SECTOR, (self.at % SECTOR) as usize);
        let count = bytes.len().min(SECTOR as usize - within);
        if block * SECTOR >= self.size || count == 0 {
            return Ok(0);
        }
        let mut whole = [0; SECTOR as usize];
        let back = self.at;
        self.at = block * SECTOR;
        self.read_exact(&mut whole)?;
        whole[within..within + count].copy_from_slice(&bytes[..count]);
        self.changed.insert(block, whole);
        self.at = back + count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Seek for Content {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(std::io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

/// Goes over all that is written, in pieces: their offset, what is to be there, and the buffer of the same length.
fn each(
    content: &mut Content,
    progress: &dyn Fn(u64),
    mut with: impl FnMut(u64, &[u8], &mut [u8]) -> Result<()>,
) -> Result<()> {
    let (total, mut done) = (content.written().max(1), 0);
    let mut piece = vec![0; CHUNK];
    // Direct access wants an address that is a multiple.
    let mut other = vec![0; CHUNK + ALIGN];
    let skip = other.as_ptr().align_offset(ALIGN);
    let other = other.get_mut(skip..skip + CHUNK).context("the buffer has room for that")?;
    for (from, to) in content.ranges() {
        let mut at = from;
        while at < to {
            let count = usize::try_from((to - at).min(CHUNK as u64))?;
            content.seek(SeekFrom::Start(at))?;
            content.read_exact(&mut piece[..count]).context("the image cannot be read")?;
            with(at, &piece[..count], &mut other[..count])?;
            at += count as u64;
            done += count as u64;
            progress(done * 100 / total);
        }
    }
    Ok(())
}

/// Writes the content.
fn write(content: &mut Content, target: &mut (impl Write + Seek), progress: &dyn Fn(u64)) -> Result<()> {
    each(content, progress, |at, piece, _| {
        target.seek(SeekFrom::Start(at))?;
        target.write_all(piece).with_context(|| format!("it cannot be written at byte {at}"))
    })
}

/// Compares what is there with the content.
fn verify(content: &mut Content, target: &mut (impl Read + Seek), progress: &dyn Fn(u64)) -> Result<()> {
    each(content, progress, |at, piece, found| {
        target.seek(SeekFrom::Start(at))?;
        target.read_exact(found).with_context(|| format!("it cannot be read at byte {at}"))?;
        match piece.iter().zip(found.iter()).position(|(wanted, found)| wanted != found) {
            Some(place) => bail!("it does not hold what was written, from byte {} on", at + place as u64),
            None => Ok(()),
        }
    })
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes / MIB)
}

fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / (1 << 30) as f64)
}

#[cfg(test)]
mod tests;
