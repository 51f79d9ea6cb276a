//! What takes the place of a pinned version that the archive does not offer any more. A stable suite
//! replaces a package by the next fix of the same series, so that after some weeks no pin is offered; a
//! machine that is set up then takes the fix. Its checksum is that of the archive's index, whose signature
//! apt has checked; that nobody has tried it with the system yet is said each time.

use std::path::Path;

use super::fetch::Offer;
use super::pins::Pin;

/// The part of a version that fixes leave alone: epoch, and the first two numbers of what upstream calls
/// it: `4.20` of `4.20.3+127-gc42374a105-0+deb13u1`, `1:1.37` of `1:1.37.0-6+b9`.
fn series(version: &str) -> &str {
    let upstream = version.find(':').map_or(0, |colon| colon + 1);
    let ends = version[upstream..].char_indices().filter(|(_, c)| !c.is_ascii_digit()).map(|(at, _)| at);
    ends.take(2).last().map_or(version, |end| &version[..upstream + end])
}

/// Whether `version` is of the series of one of the pins.
fn follows_one(pins: &[&Pin], version: &str) -> bool {
    pins.iter().any(|pin| series(&pin.version) == series(version))
}

/// The first offer in the series of a pin: the archive lists the newest first.
pub fn offered(pins: &[&Pin], offers: &[Offer]) -> Option<Pin> {
    let offer = offers.iter().find(|offer| follows_one(pins, &offer.version))?;
    let follows = pins.first().and_then(|pin| pin.follows.clone());
    Some(Pin {
        name: offer.name.clone(),
        follows,
        suite: pins.first().and_then(|pin| pin.suite.clone()),
        architecture: offer.architecture.clone(),
        version: offer.version.clone(),
        sha256: offer.sha256.clone(),
    })
}

/// Such a version that was fetched before: its folder below `unpacked`, and the version.
pub fn kept(pins: &[&Pin], unpacked: &Path) -> Option<(std::path::PathBuf, String)> {
    let folders = std::fs::read_dir(unpacked).ok()?.filter_map(Result::ok);
    let mut kept: Vec<_> = folders
        .filter_map(|folder| {
            let name = folder.file_name().into_string().ok()?;
            let version = pins.iter().find_map(|pin| pin.version_in(&name))?;
            let age = folder.metadata().and_then(|meta| meta.modified()).ok()?;
            follows_one(pins, &version).then(|| (age, folder.path(), version))
        })
        .collect();
    kept.sort();
    kept.pop().map(|(_, folder, version)| (folder, version))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(version: &str) -> Pin {
        Pin {
            name: "xen".into(),
            follows: None,
            suite: None,
            architecture: "amd64".into(),
            version: version.into(),
            sha256: "0".repeat(64),
        }
    }

    fn offer(version: &str) -> Offer {
        let sha256 = "f".repeat(64);
        Offer {
            name: "xen".into(),
            architecture: "amd64".into(),
            version: version.into(),
            sha256,
            depends: String::new(),
        }
    }

    #[test]
    fn a_series_is_what_fixes_leave_alone() {
        for (version, expected) in [
            ("4.20.3+127-gc42374a105-0+deb13u1", "4.20"),
            ("2025.02-8+deb13u1", "2025.02"),
            ("2.12-9+deb13u4", "2.12"),
            ("1:1.37.0-6+b9", "1:1.37"),
            ("7-1", "7"),
            ("7", "7"),
            ("", ""),
        ] {
            assert_eq!(series(version), expected, "{version}");
        }
    }

    #[test]
    fn the_newest_fix_of_the_series_is_taken_with_the_checksum_of_the_index() {
        let (old, other) = (pin("4.20.3-1"), pin("4.20.2-1"));
        let pins = [&old, &other];
        let taken = offered(&pins, &[offer("4.21.0-1"), offer("4.20.9-2"), offer("4.20.4-1")]).unwrap();
        assert_eq!((taken.version.as_str(), taken.sha256), ("4.20.9-2", "f".repeat(64)));
        assert_eq!(offered(&pins, &[offer("4.21.0-1"), offer("1:4.20.4-1")]), None);
        assert_eq!(offered(&[], &[offer("4.20.4-1")]), None);
    }

    #[test]
    fn one_that_was_fetched_before_is_found_again() {
        let cache = tempfile::tempdir().unwrap();
        let pinned = pin("4.20.3-1");
        for folder in ["xen_4.21.0-1_amd64", "xen_4.20.4-1_arm64", "xen-utils_4.20.4-1_amd64", "xen"] {
            std::fs::create_dir(cache.path().join(folder)).unwrap();
        }
        assert_eq!(kept(&[&pinned], cache.path()), None);
        let folder = cache.path().join("xen_4.20.4-1_amd64");
        std::fs::create_dir(&folder).unwrap();
        assert_eq!(kept(&[&pinned], cache.path()), Some((folder, "4.20.4-1".into())));
    }
}
