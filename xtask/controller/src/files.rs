//! Writing files of the state folder.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// Writes a file so that a reader sees the old or the new content, never a part.
pub(crate) fn write_file(path: &Path, content: &[u8]) -> Result<()> {
    let beside = beside(path);
    fs::write(&beside, content).with_context(|| format!("cannot write {}", beside.display()))?;
    fs::rename(&beside, path).with_context(|| format!("cannot replace {}", path.display()))
}

/// The same for a file that only its owner may read: keys and tokens.
pub(crate) fn write_secret(path: &Path, content: &[u8]) -> Result<()> {
    let beside = beside(path);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
        .open(&beside)
        .and_then(|mut file| file.write_all(content))
        .with_context(|| format!("cannot write {}", beside.display()))?;
    fs::rename(&beside, path).with_context(|| format!("cannot replace {}", path.display()))
}

/// Writes a file under its name: what ends in `.key.pem` is a secret.
pub(crate) fn write_named(folder: &Path, name: &str, content: &[u8]) -> Result<()> {
    match name.ends_with(".key.pem") {
        true => write_secret(&folder.join(name), content),
        false => write_file(&folder.join(name), content),
    }
}

/// `NAME.new`, with the whole name: two files that differ in their last part alone must not meet.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}
