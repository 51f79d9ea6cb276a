//! Images and archives that only stories use: domains of `tests/guest`, boards of their own.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};
use proto_manifest::archive::{CONFIG, IMAGES, TABLE};
use proto_manifest::board::Board;
use proto_manifest::table::MAX_BYTES;
use sha2::{Digest, Sha256};
use xtask::build::{self, Arch, PROFILE};
use xtask::tool::tool;
use xtask::{pack, paths, ui};

use crate::stage::Entries;

/// Builds a domain that no board of the image names, and packs it.
pub(crate) fn domain(arch: Arch, package: &str, binary: &str) -> Result<Vec<u8>> {
    let step = ui::step(format!("build {package} for {}", arch.name()));
    let cargo =
        tool("cargo").args(["build", "--profile", PROFILE, "--target", &arch.target(), "-p", package]);
    // A variable would replace the flags in .cargo/config.toml, and the domains need those.
    ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS"]
        .into_iter()
        .fold(cargo.dir(&paths::repository()), |cargo, name| cargo.without_env(name))
        .run_loud(&step)?;
    step.done("");
    pack::pack(&paths::read(&build::linked(arch, binary))?).with_context(|| format!("image {binary}"))
}

/// The archive of a board of `tests/guest`: its table, these images, and these provisioning files.
pub(crate) fn entries(
    board: &str,
    images: &BTreeMap<String, Vec<u8>>,
    config: &[(&str, &[u8])],
) -> Result<Entries> {
    let file: PathBuf = paths::repository().join("tests/guest/boards").join(board).join("board.toml");
    let wrong = |errors: proto_manifest::board::BoardErrors| anyhow!("board {board}:\n{errors}");
    let parsed = Board::load(&file).map_err(wrong)?;
    let hash = |name: &str| images.get(name).map(|bytes| Sha256::digest(bytes).into());
    let table = parsed.compile(hash).map_err(wrong)?;
    let mut buffer = [0; MAX_BYTES];
    let table = table.encode(&mut buffer).map_err(|error| anyhow!("the compiled table: {error}"))?;

    let mut entries = Entries::from([(TABLE.to_owned(), table.to_vec())]);
    entries.extend(images.iter().map(|(name, bytes)| (format!("{IMAGES}{name}"), bytes.clone())));
    entries.extend(config.iter().map(|(name, bytes)| (format!("{CONFIG}{name}"), bytes.to_vec())));
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_board_of_a_story_compiles() {
        let folder = paths::repository().join("tests/guest/boards");
        let mut boards = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let file = entry.unwrap().path().join("board.toml");
            if file.exists() {
                let board = Board::load(&file).unwrap_or_else(|error| panic!("{}:\n{error}", file.display()));
                board
                    .compile(|_| Some([0; 32]))
                    .unwrap_or_else(|error| panic!("{}:\n{error}", file.display()));
                boards += 1;
            }
        }
        assert!(boards >= 8, "{boards} boards");
    }
}
