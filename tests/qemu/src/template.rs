//! A new service: a copy of `stubdoms/template` under another name, and one entry of the board.
//!
//! It happens in a copy of the sources, so that the repository stays as it is. Only the new service is compiled
//! there, into a folder of its own: see [`build::compile`].

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use proto_manifest::archive::{IMAGES, TABLE};
use proto_manifest::board::Board;
use proto_manifest::table::MAX_BYTES;
use sha2::{Digest, Sha256};
use xtask::{build, pack, paths};

use crate::Story;
use crate::stage::{Entries, Stage};

pub(crate) const STORIES: &[Story] = &[Story {
    name: "template",
    about: "a copy of stubdoms/template and one entry of the board are a service that runs",
    tell: template,
}];

/// How the new service is called.
const NAME: &str = "greeter";

/// The entry, as the README shows it.
const ENTRY: &str = "
[domain.greeter]
order = 3
memory_mib = 2
vcpus = 1
heap_kib = 256
";

/// An image of a service without drivers and a network stack has at most so many bytes.
const SMALL: usize = 200 << 10;

fn template(stage: &Stage<'_>) -> Result<()> {
    let readme = paths::read_text(&paths::repository().join("stubdoms/README.md"))?;
    ensure!(readme.contains(ENTRY.trim()), "stubdoms/README.md does not show the entry:{ENTRY}");

    let sources = paths::create(stage.folder()?.join("sources"))?;
    mirror(&paths::repository(), &sources)?;
    copy_template(&sources)?;
    let image_toml = sources.join("board-support/boards/common/image.toml");
    paths::write(&image_toml, paths::read_text(&image_toml)? + ENTRY)?;

    let arch = stage.built().arch;
    let target = stage.folder()?.join("target");
    build::compile(&sources, &target, arch, &[NAME])?;
    let image = pack::pack(&paths::read(&build::linked_in(&target, arch, NAME))?)?;
    ensure!(image.len() <= SMALL, "the image has {} bytes, and {SMALL} are the most", image.len());
    let board = Board::load(&sources.join("board-support/boards/qemu-x86_64/board.toml"))
        .map_err(|errors| anyhow!("{errors}"))?;

    let options = stage.direct_with(|entries| {
        entries.insert(format!("{IMAGES}{NAME}"), image);
        let table = compile_table(&board, entries)?;
        entries.insert(TABLE.to_owned(), table);
        Ok(())
    })?;
    let mut machine = stage.start(&options)?;
    machine.wait_for_from(NAME, "service greeter: at your service", Duration::from_secs(60))?;
    machine.wait_for_from("dom0", "domain greeter: ready", Duration::from_secs(10))?;
    stage.end(machine)
}

/// The copy, and its name in the one file that has it.
fn copy_template(sources: &Path) -> Result<()> {
    let (from, to) = (sources.join("stubdoms/template"), sources.join("stubdoms").join(NAME));
    mirror(&from, &to)?;
    let manifest = to.join("Cargo.toml");
    paths::write(&manifest, paths::read_text(&manifest)?.replace("template", NAME))
}

fn compile_table(board: &Board, entries: &Entries) -> Result<Vec<u8>> {
    let hash =
        |image: &str| entries.get(&format!("{IMAGES}{image}")).map(|bytes| Sha256::digest(bytes).into());
    let table = board.compile(hash).map_err(|errors| anyhow!("{errors}"))?;
    let mut buffer = [0; MAX_BYTES];
    Ok(table.encode(&mut buffer).map_err(|error| anyhow!("the table: {error}"))?.to_vec())
}

/// Makes `to` a copy of `from`, without what is built or hidden. Files that are equal stay untouched, for cargo
/// looks at their times.
fn mirror(from: &Path, to: &Path) -> Result<()> {
    paths::create(to.to_owned())?;
    let list = |folder: &Path| -> Result<Vec<_>> {
        let entries =
            std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
        Ok(entries.collect::<Result<Vec<_>, _>>()?)
    };
    for old in list(to)? {
        let (path, source) = (old.path(), from.join(old.file_name()));
        if path.is_file() && !source.is_file() {
            std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        } else if path.is_dir() && !source.is_dir() {
            std::fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    for entry in list(from)? {
        let (path, name) = (entry.path(), entry.file_name());
        let hidden = name.to_string_lossy().starts_with('.') && name != ".cargo";
        if path.is_dir() && !hidden && name != "target" {
            mirror(&path, &to.join(name))?;
        } else if path.is_file() && !hidden {
            let (bytes, target) = (paths::read(&path)?, to.join(name));
            if std::fs::read(&target).ok().as_ref() != Some(&bytes) {
                paths::write(&target, bytes)?;
            }
        }
    }
    Ok(())
}
