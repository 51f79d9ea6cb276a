//! Where a story takes place: what was built, and machines that keep a log.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, anyhow, bail};
use proto_manifest::archive::{Archive, CONFIG, TABLE, Writer};
use proto_manifest::table::{MAX_BYTES, Table};
use xtask::build::{self, Arch, Built};
use xtask::console::{Line, introduction};
use xtask::qemu::{Listener, Machine, Options};
use xtask::setup::{self, Stock};
use xtask::site::Site;
use xtask::{image, paths};

/// The disk image of a story, in its folder.
pub(crate) const IMAGE: &str = "disk.img";

/// What all stories of one architecture share.
pub(crate) struct Shared {
    stock: Stock,
    built: Built,
}

/// Sets up and builds once for all stories of an architecture.
pub(crate) fn prepare(arch: Arch) -> Result<Shared> {
    setup::host_tools(setup::Host::boot(arch))?;
    let options = build::Options { arch, ..build::Options::default() };
    Ok(Shared { stock: setup::stock(arch)?, built: build::build(&options)? })
}

/// The same, of what was built before.
pub(crate) fn prepared(arch: Arch) -> Result<Shared> {
    let options = build::Options { arch, ..build::Options::default() };
    Ok(Shared { stock: setup::stock(arch)?, built: build::layout(&options)? })
}

/// A story's own folder, `target/sarsen/stories/NAME`.
pub(crate) fn folder(story: &str) -> Result<PathBuf> {
    paths::create(paths::output("stories").join(story))
}

/// The entries of an archive by name.
pub(crate) type Entries = BTreeMap<String, Vec<u8>>;

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

    /// What is fetched.
    pub(crate) fn stock(&self) -> &Stock {
        &self.shared.stock
    }

    /// A controller with a provisioned device, both new.
    pub(crate) fn site(&self) -> Result<Site> {
        let folder = self.folder()?.join("site");
        if folder.exists() {
            std::fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
        }
        Site::open(&paths::create(folder)?, None)
    }

    /// A machine into which QEMU loads the system.
    pub(crate) fn direct(&self) -> Options {
        self.direct_of(self.built())
    }

    /// The same of another build.
    pub(crate) fn direct_of(&self, built: &Built) -> Options {
        Options::direct(built, &self.shared.stock)
    }

    /// The same, with the provisioning files of `site`.
    pub(crate) fn provisioned(&self, site: &Site) -> Result<Options> {
        self.provisioned_with(site, |_| Ok(()))
    }

    /// The same, with an archive that `edit` has changed.
    pub(crate) fn provisioned_with(
        &self,
        site: &Site,
        edit: impl FnOnce(&mut Entries) -> Result<()>,
    ) -> Result<Options> {
        self.direct_with(|entries| {
            add_files(entries, &site.config())?;
            edit(entries)
        })
    }

    /// A machine without provisioning files, with an archive that `edit` has changed.
    pub(crate) fn direct_with(&self, edit: impl FnOnce(&mut Entries) -> Result<()>) -> Result<Options> {
        let mut entries = read_archive(&self.built().archive)?;
        edit(&mut entries)?;
        self.direct_with_ramdisk(&write_archive(&entries)?)
    }

    /// A machine whose dom0 gets these bytes as ramdisk.
    pub(crate) fn direct_with_ramdisk(&self, ramdisk: &[u8]) -> Result<Options> {
        Ok(Options::direct(&self.system(ramdisk)?, &self.shared.stock))
    }

    /// What was built, with another ramdisk, in a folder of this story.
    fn system(&self, ramdisk: &[u8]) -> Result<Built> {
        let folder = paths::create(self.folder()?.join("system"))?;
        let built = Built {
            dom0: folder.join("dom0"),
            archive: folder.join("archive.cpio"),
            folder,
            ..self.built().clone()
        };
        paths::write(&built.dom0, paths::read(&self.built().dom0)?)?;
        paths::write(&built.archive, ramdisk)?;
        Ok(built)
    }

    /// A machine that boots a fresh disk image through its firmware, with the provisioning files of `site`
    /// if there is one.
    pub(crate) fn disk(&self, site: Option<&Site>) -> Result<Options> {
        self.disk_of(self.built(), site)
    }

    /// The same of another build.
    pub(crate) fn disk_of(&self, built: &Built, site: Option<&Site>) -> Result<Options> {
        let config = site.map(Site::config);
        let image = self.folder()?.join(IMAGE);
        image::make(built, &self.shared.stock, config.as_deref(), &image)?;
        Ok(Options::disk(image, built, &self.shared.stock))
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

    /// Ends a machine and fails if a domain died on it, was ended or could not be built.
    pub(crate) fn end(&self, machine: Machine) -> Result<()> {
        self.end_but(machine, &[])
    }

    /// The same, but for lines of these speakers, and those with one of these words: the domains that the story
    /// is about.
    pub(crate) fn end_but(&self, mut machine: Machine, wanted: &[&str]) -> Result<()> {
        machine.quit();
        match unwanted(&machine.lines(), wanted) {
            Some(line) => bail!("a domain came to harm: {line}"),
            None => Ok(()),
        }
    }

    /// This story's own folder.
    pub(crate) fn folder(&self) -> Result<PathBuf> {
        folder(self.name)
    }
}

/// What the console says of a domain that comes to harm: its own last words, Xen's, and dom0's.
const HARM: [&str; 7] =
    ["PANIC", "FAULT", "crashed", "watchdog fired", "Panic on CPU", "is ended: ", "is given up"];

/// The first line that tells of harm and is not `wanted`, by its speaker or its words.
fn unwanted<'l>(lines: &'l [Line], wanted: &[&str]) -> Option<&'l Line> {
    let harm = |line: &Line| HARM.iter().any(|word| line.text.contains(word));
    let is_wanted = |line: &Line| {
        let who = name_of(lines, &line.who);
        wanted.iter().any(|word| line.text.contains(word) || who == *word)
    };
    lines.iter().find(|line| harm(line) && !is_wanted(line))
}

/// The name of a speaker; of one that spoke before dom0 had said who it is, by what dom0 said then.
fn name_of<'l>(lines: &'l [Line], who: &'l str) -> &'l str {
    let number = who.strip_prefix('d').and_then(|number| number.parse::<u32>().ok());
    let Some(number) = number else { return who };
    let said = lines.iter().filter(|line| line.who == "dom0");
    let mut names = said.filter_map(|line| introduction(&line.text));
    names.find(|(_, domid)| *domid == number).map_or(who, |(name, _)| name)
}

/// The table of an archive.
pub(crate) fn table(entries: &Entries) -> Result<Table> {
    let bytes = entries.get(TABLE).context("the archive has no table")?;
    Table::decode(bytes).map_err(|error| anyhow!("the table: {error}"))
}

/// Changes the table of an archive.
pub(crate) fn edit_table(entries: &mut Entries, change: impl FnOnce(&mut Table)) -> Result<()> {
    let mut table = table(entries)?;
    change(&mut table);
    let mut buffer = [0; MAX_BYTES];
    let bytes = table.encode(&mut buffer).map_err(|error| anyhow!("the changed table: {error}"))?;
    entries.insert(TABLE.to_owned(), bytes.to_vec());
    Ok(())
}

fn read_archive(file: &Path) -> Result<Entries> {
    let bytes = paths::read(file)?;
    let archive = Archive::open(&bytes).map_err(|error| anyhow!("{}: {error}", file.display()))?;
    Ok(archive.entries().map(|entry| (entry.name.to_owned(), entry.data.to_vec())).collect())
}

fn write_archive(entries: &Entries) -> Result<Vec<u8>> {
    let mut writer = Writer::new();
    for (name, data) in entries {
        writer.add(name, data).map_err(|error| anyhow!("archive entry `{name}`: {error}"))?;
    }
    Ok(writer.finish())
}

fn add_files(entries: &mut Entries, folder: &Path) -> Result<()> {
    for file in std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = file?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        entries.insert(format!("{CONFIG}{name}"), paths::read(&path)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn line(who: &str, text: &str) -> Line {
        Line { at: Duration::ZERO, who: who.into(), text: text.into() }
    }

    #[test]
    fn harm_is_seen_unless_the_story_is_about_it() {
        let lines = [
            line("dom0", "domain net: ready after 20 ms"),
            line("dom0", "domain lie-index is ended: it broke its channel to dom0; it is built anew"),
            line("dom0", "domain net is ended: it did not answer, asked twice; it is built anew"),
        ];
        assert_eq!(unwanted(&lines, &["domain lie-"]), Some(&lines[2]));
        assert_eq!(unwanted(&lines, &["domain lie-", "domain net"]), None);
        assert_eq!(unwanted(&lines[..1], &[]), None);
        let early = [line("d52", "FAULT page fault"), line("dom0", "application 0a0a0a0a is d52")];
        assert_eq!(unwanted(&early, &["0a0a0a0a"]), None);
        assert_eq!(unwanted(&early, &["0b0b0b0b"]), Some(&early[0]));
        assert_eq!(unwanted(&early[..1], &["0a0a0a0a"]), Some(&early[0]));
        assert_eq!(unwanted(&lines, &["dom0"]), None);
        assert!(unwanted(&[line("net", "PANIC at x.rs:1: it is so [E-RT-001]")], &["domain lie-"]).is_some());
        assert!(unwanted(&[line("xen", "Panic on CPU 0:")], &[]).is_some());
    }
}
