//! Watching the configuration file and the content files that it names.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use ring::digest::{Context as Digest, SHA256};

use crate::desired::{ConfigError, Desired, Measured};
use crate::files::write_file;
use crate::key::hex;

/// What a new state folder begins with.
const FIRST_FILE: &str = include_str!("config.toml.in");

/// When a file changed last, and its length.
type Stamp = (SystemTime, u64);

/// Looks at the file again and again; reads it when it or a content file changed.
pub(crate) struct ConfigFile {
    path: PathBuf,
    content: PathBuf,
    seen: Option<Stamp>,
    measured: BTreeMap<String, Option<(Stamp, Measured)>>,
}

impl ConfigFile {
    /// The file in the state folder; it is written if it is not there.
    pub(crate) fn open(path: PathBuf, content: PathBuf) -> Result<Self> {
        fs::create_dir_all(&content).with_context(|| format!("cannot make {}", content.display()))?;
        if !path.exists() {
            write_file(&path, FIRST_FILE.as_bytes())?;
        }
        Ok(Self { path, content, seen: None, measured: BTreeMap::new() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces the file.
    pub(crate) fn replace(&mut self, text: &str) -> Result<()> {
        self.seen = None;
        write_file(&self.path, text.as_bytes())
    }

    /// A new reading, if anything changed since the last one.
    pub(crate) fn look(&mut self) -> Option<Result<Desired, Vec<ConfigError>>> {
        let now = stamp(&self.path);
        let content_changed = self
            .measured
            .iter()
            .any(|(name, known)| stamp(&self.content.join(name)) != known.as_ref().map(|(stamp, _)| *stamp));
        if now.is_some() && now == self.seen && !content_changed {
            return None;
        }
        let first_loss = now.is_none() && self.seen.is_some();
        self.seen = now;
        match fs::read_to_string(&self.path) {
            Ok(text) => Some(self.read(&text)),
            Err(fault) if first_loss => {
                let message = format!("it cannot be read: {fault}");
                Some(Err(vec![ConfigError { line: 0, message }]))
            }
            Err(_) => None,
        }
    }

    fn read(&mut self, text: &str) -> Result<Desired, Vec<ConfigError>> {
        let before = std::mem::take(&mut self.measured);
        let (folder, measured) = (&self.content, &mut self.measured);
        Desired::read(text, &mut |name| {
            let path = folder.join(name);
            let now = stamp(&path);
            let known = before.get(name).cloned().flatten().filter(|(stamp, _)| Some(*stamp) == now);
            let result = match known {
                Some((_, known)) => Ok(known),
                None => measure(&path).map_err(|fault| format!("{fault}: {}", path.display())),
            };
            let entry = now.zip(result.as_ref().ok().cloned());
            measured.insert(name.to_owned(), entry);
            result
        })
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn measure(path: &Path) -> std::io::Result<Measured> {
    let mut file = fs::File::open(path)?;
    let mut digest = Digest::new(&SHA256);
    let mut buffer = vec![0; 1 << 16];
    let mut size_bytes = 0;
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(Measured { sha256: hex(digest.finish().as_ref()), size_bytes });
        }
        digest.update(buffer.get(..count).unwrap_or_default());
        size_bytes += count as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_file_or_content_is_seen_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let content = folder.path().join("content");
        let mut file = ConfigFile::open(folder.path().join("config.toml"), content.clone()).expect("opens");
        assert!(matches!(file.look(), Some(Ok(_))), "the first file is right");
        assert!(file.look().is_none());
        file.replace("[[app]]\nname='a'\ncontent='x'\nmemory_kib=1\n").expect("written");
        assert!(matches!(file.look(), Some(Err(_))), "no such content");
        assert!(file.look().is_none());
        fs::write(content.join("x"), b"abc").expect("written");
        let desired = file.look().expect("content came").expect("right");
        // `printf abc | sha256sum`.
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(desired.apps[0].sha256, digest);
        fs::write(content.join("x"), b"abcd").expect("written");
        assert_eq!(file.look().expect("changed").expect("right").apps[0].size_bytes, 4);
        assert!(file.look().is_none());
    }
}
