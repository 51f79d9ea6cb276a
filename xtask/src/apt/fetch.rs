//! Fetches packages with apt, beside the host's own state: private source list, private lists, nothing
//! that needs root, nothing that the host notices.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use proto_errors::host as code;
use sha2::{Digest, Sha256};

use super::pins::Pin;
use super::sources::{SignedBy, Source};
use crate::paths;
use crate::tool::tool;
use crate::ui::Step;

/// A suite of the mirror, opened with apt state of its own.
#[derive(Debug)]
pub struct Archive {
    folder: PathBuf,
}

/// A version that the archive offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Package name.
    pub name: String,
    /// Debian architecture.
    pub architecture: String,
    /// Full version.
    pub version: String,
    /// SHA-256 of the .deb.
    pub sha256: String,
    /// The first package that it depends on; empty when it depends on none.
    pub depends: String,
}

impl Archive {
    /// Writes the private source list into `folder`.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn open(folder: PathBuf, mirror: &Source, suite: &str) -> Result<Self> {
        for part in ["lists/partial", "cache/archives/partial"] {
            paths::create(folder.join(part))?;
        }
        let signed_by = match &mirror.signed_by {
            None => String::new(),
            Some(SignedBy::Path(path)) => format!("Signed-By: {path}\n"),
            Some(SignedBy::Key(key)) => {
                let file = folder.join("key.asc");
                paths::write(&file, key)?;
                format!("Signed-By: {}\n", file.display())
            }
        };
        let text = format!(
            "Types: deb\nURIs: {}\nSuites: {suite}\nComponents: main\n{signed_by}",
            mirror.uris.join(" ")
        );
        paths::write(&folder.join("private.sources"), text)?;
        Ok(Self { folder })
    }

    /// Writes apt's options for one architecture and returns the words that make a command use them.
    fn options(&self, architecture: &str) -> Result<[String; 2]> {
        let text = format!(
            "{}Dir::Etc::SourceList \"{}\";\nDir::Etc::SourceParts \"/dev/null\";\nDir::Cache \"{}\";\n\
             APT::Architecture \"{architecture}\";\nAPT::Architectures \"{architecture}\";\n",
            super::common_options(&self.folder),
            self.folder.join("private.sources").display(),
            self.folder.join("cache").display(),
        );
        let file = self.folder.join(format!("{architecture}.conf"));
        paths::write(&file, text)?;
        Ok(["-c".into(), file.display().to_string()])
    }

    /// Fetches the suite's package index.
    ///
    /// # Errors
    /// When the mirror cannot be reached or its signature is wrong; apt's words are in the error.
    pub fn update(&self, architecture: &str, step: &Step) -> Result<()> {
        tool("apt-get").args(self.options(architecture)?).args(["-q", "--error-on=any", "update"]).run(step)
    }

    /// The versions of a package that the fetched index lists.
    ///
    /// # Errors
    /// When the index holds no such package.
    pub fn offers(&self, architecture: &str, name: &str, step: &Step) -> Result<Vec<Offer>> {
        let text = tool("apt-cache")
            .args(self.options(architecture)?)
            .args(["show", name])
            .output(step)
            .with_context(|| format!("the archive has no package {name} [{}]", code::NOT_OFFERED))?;
        Ok(parse_show(&text))
    }

    /// Downloads one pinned version, checks it and unpacks it to `target`. A folder that exists is complete.
    ///
    /// # Errors
    /// When the archive offers other versions only, or bytes that do not match the pin.
    pub fn unpack(&self, architecture: &str, pin: &Pin, target: &Path, step: &Step) -> Result<()> {
        let room = self.folder.parent().unwrap_or(&self.folder);
        let work = tempfile::tempdir_in(room).context("cannot make a temporary folder in the cache")?;
        tool("apt-get")
            .args(self.options(architecture)?)
            .args(["-q", "download", &format!("{}={}", pin.name, pin.version)])
            .dir(work.path())
            .run(step)?;
        let package = std::fs::read_dir(work.path())?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .find(|path| path.extension().is_some_and(|end| end == "deb"))
            .with_context(|| {
                format!("apt-get download brought no file for {} [{}]", pin.name, code::NOT_OFFERED)
            })?;
        check(&paths::read(&package)?, pin)?;
        let fresh = work.path().join("unpacked");
        tool("dpkg").arg("-x").arg(&package).arg(&fresh).run(step)?;
        if let Some(parent) = target.parent() {
            paths::create(parent.to_owned())?;
        }
        match std::fs::rename(&fresh, target) {
            // Someone else fetched the same at the same time.
            Err(_) if target.is_dir() => Ok(()),
            result => result.with_context(|| format!("cannot put the package at {}", target.display())),
        }
    }
}

/// Compares a package's bytes with its pin.
///
/// # Errors
/// When they differ, with both checksums.
pub fn check(bytes: &[u8], pin: &Pin) -> Result<()> {
    let found = hex::encode(Sha256::digest(bytes));
    if !found.eq_ignore_ascii_case(&pin.sha256) {
        bail!(
            "{} {}: SHA-256 is {found}, the pin in boot/packages.toml says {}; the mirror or the pin is wrong \
             [{}]",
            pin.name,
            pin.version,
            pin.sha256,
            code::WRONG_HASH
        );
    }
    Ok(())
}

/// Reads `apt-cache show`: paragraphs, one a version.
#[must_use]
pub fn parse_show(text: &str) -> Vec<Offer> {
    let field = |paragraph: &str, name: &str| {
        paragraph.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned))
    };
    text.split("\n\n")
        .filter_map(|paragraph| {
            Some(Offer {
                name: field(paragraph, "Package")?,
                architecture: field(paragraph, "Architecture")?,
                version: field(paragraph, "Version")?,
                sha256: field(paragraph, "SHA256")?,
                depends: field(paragraph, "Depends")
                    .and_then(|all| all.split([' ', ',']).next().map(str::to_owned))
                    .unwrap_or_default(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn show_lists_every_version() {
        let text = "Package: a\nVersion: 2\nArchitecture: all\nDepends: b-6.12+deb13 (= 2), c\nDescription: x\n more\nSHA256: ff\n\n\
            Package: a\nVersion: 1\nArchitecture: all\nSHA256: ee\n";
        let offers = parse_show(text);
        assert_eq!(offers.iter().map(|offer| offer.version.as_str()).collect::<Vec<_>>(), ["2", "1"]);
        assert_eq!(
            offers.iter().map(|offer| offer.depends.as_str()).collect::<Vec<_>>(),
            ["b-6.12+deb13", ""]
        );
    }

    #[test]
    fn wrong_bytes_name_package_and_both_checksums() {
        let mut pin = Pin {
            name: "a".into(),
            follows: None,
            suite: None,
            architecture: "all".into(),
            version: "1".into(),
            sha256: "e4e5e9ccbe9eb6e2b2ec9c0d0fb83dd4b1fe1ba58a12ce0e1f5a4f2b1c0c5a11".into(),
        };
        let error = check(b"other", &pin).unwrap_err().to_string();
        assert!(error.starts_with("a 1: SHA-256 is ") && error.contains(&pin.sha256), "{error}");
        pin.sha256 = hex::encode(Sha256::digest(b"other")).to_uppercase();
        check(b"other", &pin).unwrap();
    }
}
