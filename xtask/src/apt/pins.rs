//! The pin file `boot/packages.toml`: which package versions we take, each with its SHA-256.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pins {
    /// Debian suite that the packages come from, unless they name another one.
    pub suite: String,
    /// One entry for each accepted version; the first of a name is preferred.
    #[serde(rename = "package")]
    pub packages: Vec<Pin>,
}

/// One accepted version of one package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// Package name.
    pub name: String,
    /// For a package whose name changes with each version: the one that always depends on the newest. It is
    /// known by this name then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<String>,
    /// For a package of another Debian suite than the others: which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suite: Option<String>,
    /// Debian's word for the architecture: `amd64`, `arm64`, `all`.
    pub architecture: String,
    /// Full Debian version.
    pub version: String,
    /// SHA-256 of the .deb file, 64 hexadecimal digits.
    pub sha256: String,
}

impl Pins {
    /// Reads the file's text.
    ///
    /// # Errors
    /// Unknown keys, missing keys, or a checksum that is none.
    pub fn parse(text: &str) -> Result<Self> {
        let pins: Self = toml::from_str(text).context("the pin file is not as expected")?;
        for pin in &pins.packages {
            if pin.sha256.len() != 64 || !pin.sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
                bail!("{} {}: sha256 must be 64 hexadecimal digits", pin.name, pin.version);
            }
        }
        Ok(pins)
    }

    /// The accepted versions of one package, preferred first.
    pub fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Pin> {
        self.packages.iter().filter(move |pin| pin.known_by() == name)
    }

    /// The suite of a package.
    pub fn suite_of(&self, name: &str) -> &str {
        let mut pins = self.packages.iter().filter(|pin| pin.known_by() == name);
        pins.find_map(|pin| pin.suite.as_deref()).unwrap_or(&self.suite)
    }

    /// Package names, each once, in the order of the file.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for pin in &self.packages {
            if !names.contains(&pin.known_by()) {
                names.push(pin.known_by());
            }
        }
        names
    }

    /// Puts a version in front of the others of its name; the same version replaces its old entry.
    pub fn prefer(&mut self, new: Pin) {
        self.packages.retain(|pin| pin.name != new.name || pin.version != new.version);
        let at = self
            .packages
            .iter()
            .position(|pin| pin.known_by() == new.known_by())
            .unwrap_or(self.packages.len());
        self.packages.insert(at, new);
    }

    /// The file's text, with its heading.
    ///
    /// # Errors
    /// Never for values that [`Pins::parse`] accepts.
    pub fn emit(&self) -> Result<String> {
        let body = toml::to_string(self).context("cannot write the pin file")?;
        Ok(format!("{HEADING}{body}"))
    }
}

const HEADING: &str = "\
# Packages that the image is made of, that its tests hold against, and that `bench --debian` is made of,
# taken from the mirror that the host itself uses.
# Several versions of one name may stand here, preferred first. `cargo xtask setup --update-pins`
# puts the version that the archive offers today in front.
";

impl Pin {
    /// The name under which the package is looked for.
    fn known_by(&self) -> &str {
        self.follows.as_deref().unwrap_or(&self.name)
    }

    /// Name of the folder in the cache that holds the unpacked package.
    pub fn folder(&self) -> String {
        format!("{}_{}_{}", self.name, self.version.replace(':', "%3a"), self.architecture)
    }

    /// The version of a folder in the cache that holds another version of the same package.
    pub fn version_in(&self, folder: &str) -> Option<String> {
        let rest = folder.strip_prefix(self.name.as_str())?.strip_prefix('_')?;
        let version = rest.strip_suffix(self.architecture.as_str())?.strip_suffix('_')?;
        Some(version.replace("%3a", ":"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(name: &str, version: &str) -> Pin {
        Pin {
            name: name.into(),
            follows: None,
            suite: None,
            architecture: "amd64".into(),
            version: version.into(),
            sha256: "0".repeat(64),
        }
    }

    #[test]
    fn emitted_text_parses_to_the_same_pins() {
        let pins = Pins { suite: "trixie".into(), packages: vec![pin("a", "1:2-3"), pin("b", "4")] };
        assert_eq!(Pins::parse(&pins.emit().unwrap()).unwrap(), pins);
    }

    #[test]
    fn short_checksum_and_unknown_key_are_errors() {
        let entry = "suite='s'\n[[package]]\nname='a'\narchitecture='all'\nversion='1'\n";
        assert!(
            Pins::parse(&format!("{entry}sha256='12'\n")).unwrap_err().to_string().contains("a 1: sha256")
        );
        assert!(Pins::parse(&format!("{entry}sha256='{}'\nsize=1\n", "0".repeat(64))).is_err());
    }

    #[test]
    fn a_new_version_comes_first_and_the_old_one_stays() {
        let mut pins = Pins { suite: "s".into(), packages: vec![pin("a", "1"), pin("b", "1")] };
        pins.prefer(pin("b", "2"));
        pins.prefer(pin("b", "2"));
        let versions: Vec<_> = pins.of("b").map(|pin| pin.version.as_str()).collect();
        assert_eq!(versions, ["2", "1"]);
        assert_eq!(pins.names(), ["a", "b"]);
    }

    #[test]
    fn a_package_of_changing_name_is_known_by_the_one_it_follows() {
        let follower = |name: &str| Pin { follows: Some("linux".into()), ..pin(name, "1") };
        let mut pins = Pins { suite: "s".into(), packages: vec![follower("linux-1"), pin("b", "1")] };
        pins.prefer(follower("linux-2"));
        let names: Vec<_> = pins.of("linux").map(|pin| pin.name.as_str()).collect();
        assert_eq!((names, pins.names()), (vec!["linux-2", "linux-1"], vec!["linux", "b"]));
        assert_eq!(Pins::parse(&pins.emit().unwrap()).unwrap(), pins);
    }

    #[test]
    fn a_package_may_be_of_another_suite() {
        let old = Pin { suite: Some("s1".into()), ..pin("old", "1") };
        let pins = Pins { suite: "s2".into(), packages: vec![pin("new", "1"), old] };
        assert_eq!((pins.suite_of("new"), pins.suite_of("old")), ("s2", "s1"));
        assert_eq!(Pins::parse(&pins.emit().unwrap()).unwrap(), pins);
    }

    #[test]
    fn folder_names_hold_no_colon() {
        assert_eq!(pin("a", "1:2").folder(), "a_1%3a2_amd64");
        assert_eq!(pin("a", "7").version_in("a_1%3a2_amd64").as_deref(), Some("1:2"));
        assert_eq!(pin("a", "7").version_in("a_1_arm64"), None);
        assert_eq!(pin("a", "7").version_in("a-b_1_amd64"), None);
    }
}
