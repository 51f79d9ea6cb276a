//! Where things are: the repository, the build folder, the cache folder.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
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
    output_in(&target(), arch)
}

/// The same in another target folder.
pub fn output_in(target: &Path, arch: &str) -> PathBuf {
    target.join("sarsen").join(arch)
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
pub fn read(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("cannot read {} [{}]", file.display(), code::FILE))
}

/// Reads a text file, with its name in the error.
///
/// # Errors
/// As [`std::fs::read_to_string`].
pub fn read_text(file: &Path) -> Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("cannot read {} [{}]", file.display(), code::FILE))
}

/// Writes a file, with its name in the error.
///
/// # Errors
/// As [`std::fs::write`].
pub fn write(file: &std::path::Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    std::fs::write(file, bytes).with_context(|| format!("cannot write {} [{}]", file.display(), code::FILE))
}

/// Whether a file of this name can be made or replaced: to be asked before what takes long, and is lost otherwise.
///
/// # Errors
/// When something else than a file has the name, a device or a folder, or nothing can be written there.
pub fn destination(file: &Path) -> Result<()> {
    let cannot = || format!("cannot write {} [{}]", file.display(), code::FILE);
    let slash = file.as_os_str().as_encoded_bytes().ends_with(b"/");
    match fs::metadata(file) {
        Ok(found) => {
            ensure!(found.is_file(), "{}: it is no file; a disk is written by `cargo xtask flash`", cannot());
            File::options().write(true).open(file).map(drop).with_context(cannot)
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).with_context(cannot),
        Err(_) => {
            ensure!(!slash && file.file_name().is_some(), "{}: that names no file", cannot());
            ensure!(fs::symlink_metadata(file).is_err(), "{}: it is a link to nothing", cannot());
            // Whether a folder takes a file, only a try tells.
            tempfile::tempfile_in(folder_of(file)).map(drop).with_context(cannot)
        }
    }
}

/// The folder of a file.
fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes a file of `size` bytes at once: `make` writes one beside it, `NAME.new`, which gets the name when it is whole, and
/// is gone when it is not. What had the name before is there until then. Of a link, what it names is replaced.
///
/// # Errors
/// As [`destination`], those of `make`, and when the system refuses; with the file's name, and the size.
pub fn replace(file: &Path, size: u64, make: impl FnOnce(File) -> Result<()>) -> Result<()> {
    destination(file)?;
    let file = &fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let fresh = file.with_file_name(name);
    destination(&fresh)?;
    let opened = File::options().read(true).write(true).create(true).truncate(true).open(&fresh);
    let made = opened.map_err(anyhow::Error::from).and_then(make);
    made.and_then(|()| Ok(fs::rename(&fresh, file)?)).map_err(|error| {
        // What is left of it may fill the disk.
        let _ = fs::remove_file(&fresh);
        if error.chain().any(|cause| cause.is::<io::Error>()) {
            let mib = size.div_ceil(1 << 20);
            error.context(format!("cannot write {}, of {mib} MiB [{}]", file.display(), code::FILE))
        } else {
            error.context(format!("{} is not written", file.display()))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_and_new_names_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let there = folder.path().join("there");
        fs::write(&there, "old").unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&there, &link).unwrap();
        let nothing = folder.path().join("nothing");
        std::os::unix::fs::symlink(folder.path().join("gone"), &nothing).unwrap();
        for right in [&there, &link, &folder.path().join("new")] {
            destination(right).unwrap();
        }
        assert_eq!(fs::read(&there).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3, "a question leaves nothing behind");
        let wrong = [
            (PathBuf::from("/dev/null"), "cargo xtask flash"),
            (PathBuf::from("/dev/full"), "cargo xtask flash"),
            (folder.path().to_owned(), "it is no file"),
            (folder.path().join("new/"), "names no file"),
            (PathBuf::from(""), "names no file"),
            (folder.path().join("nosuch/file"), "No such file"),
            (there.join("file"), "Not a directory"),
            (nothing, "a link to nothing"),
        ];
        for (file, why) in wrong {
            let told = format!("{:#}", destination(&file).unwrap_err());
            let named = told.starts_with(&format!("cannot write {}", file.display()));
            assert!(named && told.contains(why), "{why}: {told}");
            assert!(replace(&file, 1, |_| panic!("it was opened")).is_err());
        }
    }

    #[test]
    fn a_file_is_replaced_when_it_is_whole() {
        use std::io::Write;
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        std::os::unix::fs::symlink(&file, &link).unwrap();
        fs::write(&file, "old").unwrap();
        let full = |mut fresh: File| {
            fresh.write_all(b"half of it")?;
            Err(io::Error::from(io::ErrorKind::StorageFull).into())
        };
        let told = format!("{:#}", replace(&file, 5 << 20, full).unwrap_err());
        let begin = format!("cannot write {}, of 5 MiB [{}]: ", file.display(), code::FILE);
        assert!(told.starts_with(&begin), "{told}");
        let other = replace(&file, 1, |_| anyhow::bail!("it does not fit")).unwrap_err();
        assert_eq!(format!("{other:#}"), format!("{} is not written: it does not fit", file.display()));
        assert_eq!(fs::read(&file).unwrap(), b"old");
        replace(&link, 3, |mut fresh| Ok(fresh.write_all(b"new")?)).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink(), "the link is there");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing else is");
    }
}
