//! The files that a new device is provisioned with.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use uuid::Uuid;

use crate::files::write_named;
use crate::pki::{self, Pki};

/// Provisioning files of one device by their names in EVE's CONFIG partition.
///
/// `server`, `root-certificate.pem`, `onboard.cert.pem`, `onboard.key.pem`, `device.cert.pem`,
/// `device.key.pem`, `ecdh.cert.pem`, `ecdh.key.pem` (keys as PKCS#8), `soft_serial`, `serial`,
/// `hosts` and `ntp`. The ECDH files lie elsewhere in EVE, which makes them at its first boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// Name of the file, its content.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Bundle {
    /// A file's text without surrounding white space; empty if there is no such file.
    pub fn text(&self, name: &str) -> String {
        let bytes = self.files.get(name).map(Vec::as_slice).unwrap_or_default();
        String::from_utf8_lossy(bytes).trim().to_owned()
    }

    /// Writes all files into `folder`, which is made if it is not there.
    ///
    /// # Errors
    /// If the folder or a file cannot be written.
    pub fn write_to(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        self.files.iter().try_for_each(|(name, content)| write_named(folder, name, content))
    }
}

/// What `server`, `hosts` and `ntp` of a bundle say.
pub(crate) struct Reach<'a> {
    pub(crate) server: &'a str,
    pub(crate) port: u16,
    pub(crate) time_port: u16,
    pub(crate) address: std::net::IpAddr,
}

/// The bundle of the device that is provisioned as `name`: its identity is made the first time and
/// kept in `folder`, so that a device provisioned again stays the same device.
pub(crate) fn bundle(folder: &Path, name: &str, pki: &Pki, reach: &Reach<'_>) -> Result<Bundle> {
    let own = folder.join(name);
    let identity =
        ["device.cert.pem", "device.key.pem", "ecdh.cert.pem", "ecdh.key.pem", "soft_serial", "serial"];
    if !identity.iter().all(|file| own.join(file).exists()) {
        let device = pki::device_identity().context("cannot make the device key")?;
        let ecdh = pki::key_exchange(&device).context("cannot make the key for key exchange")?;
        let soft_serial = Uuid::new_v4().to_string();
        let serial = format!("{name}-{}", soft_serial.get(..8).unwrap_or_default());
        let contents = [device.cert, device.key, ecdh.cert, ecdh.key, soft_serial, serial];
        fs::create_dir_all(&own).with_context(|| format!("cannot make {}", own.display()))?;
        for (file, content) in identity.iter().zip(contents) {
            write_named(&own, file, content.as_bytes())?;
        }
    }
    let mut files = BTreeMap::new();
    for file in identity {
        let path = own.join(file);
        files
            .insert(file.into(), fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?);
    }
    let text = [
        ("server", format!("{}:{}\n", reach.server, reach.port)),
        ("hosts", format!("{} {}\n", reach.address, reach.server)),
        ("ntp", format!("{}:{}\n", reach.server, reach.time_port)),
        ("root-certificate.pem", pki.ca.cert.clone()),
        ("onboard.cert.pem", pki.onboarding.cert.clone()),
        ("onboard.key.pem", pki.onboarding.key.clone()),
    ];
    files.extend(text.map(|(file, content)| (file.to_owned(), content.into_bytes())));
    Ok(Bundle { files })
}
