//! A new service: a copy of `stubdoms/template` under another name, and one entry of the board.
//!
//! It happens in a copy of the sources, so that the repository stays as it is, with the commands and the entry that the
//! README shows, and is built there as `cargo xtask build` does, from the board's entry to the archive: see
//! [`build::build_copy`]. Of the images only that of the new service is compiled once more. The boards' tests are run in the
//! copy too: they must not mind it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use xtask::tool::tool;
use xtask::{build, paths, ui};

use crate::Story;
use crate::stage::Stage;

pub(crate) const STORIES: &[Story] = &[
    Story {
        name: "template",
        about: "a copy of stubdoms/template and one entry of the board are a service that runs",
        tell: template,
    },
    Story { name: "template-aarch64", about: "the same as on x86_64", tell: template },
];

/// How the new service is called.
const NAME: &str = "greeter";

/// An image of a service without drivers and a network stack has at most so many bytes.
const SMALL: usize = 200 << 10;

fn template(stage: &Stage<'_>) -> Result<()> {
    let readme = paths::read_text(&paths::repository().join("stubdoms/README.md"))?;
    let [commands, entry] = blocks(&readme)?;

    let sources = paths::create(stage.folder()?.join("sources"))?;
    mirror(&paths::repository(), &sources)?;
    let step = ui::step("copy the template as the README says");
    tool("sh").args(["-e", "-c", commands]).dir(&sources).run(&step)?;
    step.done("");
    let image_toml = sources.join("board-support/boards/common/image.toml");
    paths::write(&image_toml, format!("{}\n{entry}", paths::read_text(&image_toml)?))?;

    let arch = stage.built().arch;
    let target = stage.folder()?.join("target");
    let step = ui::step("test the boards with the new service");
    tool("cargo")
        .args(["test", "--quiet", "-p", "proto-manifest", "the_boards_of_the_repository_compile"])
        .env("CARGO_TARGET_DIR", &target)
        .dir(&sources)
        .run(&step)?;
    step.done("");
    let options = build::Options { arch, ..build::Options::default() };
    let built = build::build_copy(&options, &sources, &target, &[NAME])?;
    let size = paths::read(&built.image(NAME))?.len();
    ensure!(size <= SMALL, "the image has {size} bytes, and {SMALL} are the most");
    let services = built.services()?;
    ensure!(services.iter().any(|name| name == NAME), "the table has no {NAME}: {services:?}");

    let mut machine = stage.start(&stage.direct_of(&built))?;
    // In whichever order: on aarch64 dom0 prints both.
    let mut left = vec![(NAME, "service greeter: at your service"), ("dom0", "domain greeter: ready")];
    while !left.is_empty() {
        let line = machine.wait_for_line("the new service at work", Duration::from_secs(60), |line| {
            left.iter().any(|(who, text)| line.who == *who && line.text.contains(text))
        })?;
        left.retain(|(who, text)| line.who != *who || !line.text.contains(text));
    }
    stage.end(machine)
}

/// The two blocks of the README's section on new services: commands for a shell, and an entry of the board.
fn blocks(readme: &str) -> Result<[&str; 2]> {
    let (_, section) = readme.split_once("## A new service").context("no section `A new service`")?;
    let mut fenced = section.split("```").skip(1).step_by(2);
    let (Some(commands), Some(entry)) = (fenced.next(), fenced.next()) else {
        bail!("stubdoms/README.md does not show commands and an entry");
    };
    ensure!(entry.contains(&format!("[domain.{NAME}]")), "the second block is no entry of {NAME}: {entry}");
    Ok([commands.trim_start_matches("sh\n"), entry.trim_start_matches("toml\n")])
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
