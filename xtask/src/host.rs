//! What this machine is: its release, its package sources, who runs us.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use proto_errors::host as code;

use crate::apt::sources::{self, SignedBy, Source};
use crate::paths;

/// The host's release, from os-release(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// `debian`, `ubuntu`, …
    pub id: String,
    /// `bookworm`, `trixie`, …
    pub codename: String,
}

/// Reads `/etc/os-release`.
///
/// # Errors
/// When it cannot be read.
pub fn release() -> Result<Release> {
    Ok(parse_release(&paths::read_text(Path::new("/etc/os-release"))?))
}

fn parse_release(text: &str) -> Release {
    let value = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .map(|value| value.trim_matches('"').to_owned())
            .unwrap_or_default()
    };
    Release { id: value("ID"), codename: value("VERSION_CODENAME") }
}

/// The host's apt source files that exist: `sources.list`, then those in `sources.list.d`, sorted.
pub fn source_files() -> Vec<PathBuf> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    let mut parts: Vec<PathBuf> = std::fs::read_dir("/etc/apt/sources.list.d")
        .map(|entries| entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect())
        .unwrap_or_default();
    parts.retain(|path| path.extension().is_some_and(|end| end == "list" || end == "sources"));
    parts.sort();
    files.extend(parts);
    files.retain(|file| file.is_file());
    files
}

/// All enabled entries of [`source_files`].
pub fn sources() -> Vec<Source> {
    let read = |file: PathBuf| {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        if file.extension().is_some_and(|end| end == "sources") {
            sources::parse_deb822(&text)
        } else {
            sources::parse_one_line(&text)
        }
    };
    source_files().into_iter().flat_map(read).collect()
}

/// The Debian mirror that this host uses, with the key that signs it. On a host that is no Debian,
/// `SARSEN_DEBIAN_MIRROR` names one, and the keyring is that of package debian-archive-keyring.
///
/// # Errors
/// When the host's configuration names no Debian mirror and the variable is not set.
pub fn debian_mirror() -> Result<Source> {
    const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
    let keyring = Path::new(KEYRING).is_file().then(|| SignedBy::Path(KEYRING.into()));
    if let Ok(uri) = std::env::var("SARSEN_DEBIAN_MIRROR") {
        let signed_by = Some(keyring.with_context(|| {
            format!("install the package debian-archive-keyring first [{}]", code::NO_KEYRING)
        })?);
        return Ok(Source { uris: vec![uri], suites: vec![], components: vec!["main".into()], signed_by });
    }
    let release = release()?;
    if release.id != "debian" {
        bail!(
            "this host is `{}`, and the pinned packages are Debian's; set SARSEN_DEBIAN_MIRROR to a Debian mirror's \
             address (https://…/debian) [{}]",
            release.id,
            code::NO_MIRROR
        );
    }
    let sources = sources();
    let mut found = sources::of_release(&sources, &release.codename).cloned().with_context(|| {
        format!(
            "apt's configuration in /etc/apt names no source for `{}` main [{}]",
            release.codename,
            code::NO_MIRROR
        )
    })?;
    found.uris.retain(|uri| !uri.starts_with("cdrom:"));
    found.signed_by = found.signed_by.or(keyring);
    Ok(found)
}

/// Whether we run as root.
///
/// # Errors
/// When `id` cannot be run.
pub fn is_root() -> Result<bool> {
    let output = std::process::Command::new("id")
        .arg("-u")
        .output()
        .with_context(|| format!("cannot run `id -u` [{}]", code::NOT_STARTED))?;
    Ok(output.stdout.trim_ascii() == b"0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn release_file_with_and_without_quotes() {
        let text = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\nID=debian\n";
        assert_eq!(parse_release(text), Release { id: "debian".into(), codename: "bookworm".into() });
        assert_eq!(parse_release("ID=\"arch\"\n"), Release { id: "arch".into(), codename: String::new() });
    }
}
