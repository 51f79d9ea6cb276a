//! The files of the config partition, which the selector measures and hands on to dom0.
//!
//! They are a device's own and outlive every update, so they are in no slot. The selector reads the partition's file
//! system by way of the firmware, measures each file into PCR 14 as EVE does, and hands over those very bytes as an
//! archive (`proto/manifest`). Of files that differ from device to device only the presence is measured; some are
//! told of when they are not there, too.
//!
//! Source: EVE, `pkg/measure-config`.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// The PCR.
pub const PCR: u32 = 14;
/// The most bytes of an archive.
pub const MAX_BYTES: usize = 256 << 10;
/// The most bytes of a file.
pub const MAX_FILE: usize = 64 << 10;
/// The most files.
pub const MAX_FILES: usize = 32;

/// Where EVE has the partition mounted; its events name files so.
const FOLDER: &str = "/config/";
/// Files of which the presence is measured.
const PRESENCE: [&str; 7] = [
    "tpm_credential",
    "device.cert.pem",
    "device.key.pem",
    "onboard.cert.pem",
    "onboard.key.pem",
    "soft_serial",
    "ftpm.tar.xz",
];
/// Files that are told of when they are missing.
const ALWAYS: [&str; 3] =
    ["bootstrap-config.pb", "DevicePortConfig/override.json", "GlobalConfig/global.json"];

/// A certificate and its key, each of no use without the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// Name of the certificate's file.
    pub certificate: &'static str,
    /// Name of the key's file.
    pub key: &'static str,
}

impl Pair {
    /// With what a device registers that the controller does not know.
    pub const ONBOARD: Self = Self { certificate: "onboard.cert.pem", key: "onboard.key.pem" };
    /// Who a device is that has no vault.
    pub const DEVICE: Self = Self { certificate: "device.cert.pem", key: "device.key.pem" };

    /// What is missing, if one of the two is there alone. `is_there` tells whether a file is, with something in it.
    pub fn half(self, is_there: impl Fn(&str) -> bool) -> Option<Half> {
        let Self { certificate, key } = self;
        match (is_there(certificate), is_there(key)) {
            (true, false) => Some(Half { there: certificate, missing: key }),
            (false, true) => Some(Half { there: key, missing: certificate }),
            (true, true) | (false, false) => None,
        }
    }
}

/// Half of a [`Pair`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Half {
    /// The file that is there.
    pub there: &'static str,
    /// The other one.
    pub missing: &'static str,
}

impl fmt::Display for Half {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "file `{}` is missing or empty, and `{}` is no use without it", self.missing, self.there)
    }
}

/// The texts that are measured, in their order: the digest of an event is that of its text, and its data the text.
/// `files` has each file's path from the partition's root, and the SHA-256 of its contents.
#[must_use]
pub fn events(files: &[(&str, [u8; 32])]) -> Vec<String> {
    let missing = |name: &&str| files.iter().all(|(there, _)| there != name);
    let mut all: Vec<(&str, Option<&[u8; 32]>)> =
        ALWAYS.into_iter().filter(missing).map(|name| (name, None)).collect();
    all.extend(files.iter().map(|(name, digest)| (*name, Some(digest))));
    all.sort_unstable_by_key(|(name, _)| *name);
    all.into_iter().map(|(name, digest)| text(name, digest)).collect()
}

fn text(name: &str, digest: Option<&[u8; 32]>) -> String {
    let mut text = String::new();
    let exists = if digest.is_some() { "true" } else { "false" };
    for part in ["file:", FOLDER, name, " exist:", exists] {
        text.push_str(part);
    }
    if let (Some(digest), false) = (digest, PRESENCE.contains(&name)) {
        text.push_str(" content-hash:");
        let digits = digest.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        text.extend(digits.filter_map(|digit| char::from_digit(u32::from(digit), 16)));
    }
    text
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn of_a_certificate_and_its_key_the_one_that_is_missing_is_named() {
        let told = |there: &[&str]| {
            [Pair::ONBOARD, Pair::DEVICE].map(|pair| {
                pair.half(|name| there.contains(&name)).map_or(String::new(), |half| half.to_string())
            })
        };
        let (certificate, key) = ("onboard.cert.pem", "onboard.key.pem");
        let text = |missing: &str, there: &str| {
            format!("file `{missing}` is missing or empty, and `{there}` is no use without it")
        };
        assert_eq!(told(&[certificate, "server"]), [text(key, certificate), String::new()]);
        let device = text("device.key.pem", "device.cert.pem");
        assert_eq!(told(&[key, "device.cert.pem"]), [text(certificate, key), device]);
        assert_eq!(told(&[]), told(&[certificate, key]));
    }

    #[test]
    fn files_are_told_in_their_order_and_missing_ones_too() {
        let files =
            [("server", [1; 32]), ("device.key.pem", [2; 32]), ("GlobalConfig/global.json", [0xab; 32])];
        let ab = "ab".repeat(32);
        assert_eq!(
            events(&files),
            [
                "file:/config/DevicePortConfig/override.json exist:false".into(),
                format!("file:/config/GlobalConfig/global.json exist:true content-hash:{ab}"),
                "file:/config/bootstrap-config.pb exist:false".into(),
                "file:/config/device.key.pem exist:true".into(),
                format!("file:/config/server exist:true content-hash:{}", "01".repeat(32)),
            ]
        );
        assert_eq!(events(&[]).len(), ALWAYS.len());
    }
}
