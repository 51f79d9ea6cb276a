//! Where things are: the repository, the build folder, the cache folder.

use std::path::PathBuf;

use anyhow::{Context, Result};
use proto_errors::host as code;

/// The repository's root folder.
pub fn repository() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map(PathBuf::from)
        .filter(|folder| folder.ends_with("xtask"))
        .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    package.parent().map_or(package.clone(), PathBuf::from)
}

/// Cargo's target folder.
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => std::path::absolute(&folder).unwrap_or_else(|_| PathBuf::from(folder)),
        None => repository().join("target"),
    }
}

/// What we make for one architecture: `target/sarsen/ARCH`.
pub fn output(arch: &str) -> PathBuf {
    target().join("sarsen").join(arch)
}

/// What is fetched once and kept: `$SARSEN_CACHE`, else `$XDG_CACHE_HOME/sarsen`, else `~/.cache/sarsen`.
///
/// # Errors
/// When none of the three variables (`HOME` for the last) is set.
pub fn cache() -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = set("SARSEN_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|folder| folder.join("sarsen")))
        .or_else(|| set("HOME").map(|folder| folder.join(".cache/sarsen")))
        .with_context(|| format!("no folder for the cache: set SARSEN_CACHE [{}]", code::NO_CACHE))?;
    std::path::absolute(&folder).with_context(|| format!("{} is no usable path", folder.display()))
}

/// Creates a folder and its parents.
///
/// # Errors
/// When the system refuses, with the folder's name.
pub fn create(folder: PathBuf) -> Result<PathBuf> {
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot create the folder {} [{}]", folder.display(), code::FILE))?;
    Ok(folder)
}

/// Reads a file, with its name in the error.
///
/// # Errors
/// As [`std::fs::read`].
pub fn read(file: &std::path::Path) -> Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("cannot read {} [{}]", file.display(), code::FILE))
}

/// Reads a text file, with its name in the error.
///
/// # Errors
/// As [`std::fs::read_to_string`].
pub fn read_text(file: &std::path::Path) -> Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("cannot read {} [{}]", file.display(), code::FILE))
}

/// Writes a file, with its name in the error.
///
/// # Errors
/// As [`std::fs::write`].
pub fn write(file: &std::path::Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    std::fs::write(file, bytes).with_context(|| format!("cannot write {} [{}]", file.display(), code::FILE))
}
