//! The devices that registered, kept over restarts.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use proto_attest::Prediction;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::files::write_secret;
use crate::key::{Certificate, hex};

/// A registered device.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Device {
    pub(crate) uuid: Uuid,
    /// Identities it had before it was deleted and came back.
    #[serde(default)]
    pub(crate) former: Vec<Uuid>,
    /// Its certificate as PEM text.
    pub(crate) cert: String,
    /// SHA-256 over the certificate's DER, hexadecimal: how its containers name it.
    pub(crate) cert_hash: String,
    pub(crate) serial: String,
    pub(crate) soft_serial: String,
    pub(crate) registered_ms: i64,
    /// The integrity token, from the first accepted quote on.
    #[serde(default)]
    pub(crate) token: Option<String>,
    /// The nonce that a quote must carry, hexadecimal.
    #[serde(default)]
    pub(crate) nonce: Option<String>,
    /// Edge-node certificates of the last CERT request; `None` before the first one.
    #[serde(default)]
    pub(crate) published: Option<Vec<PublishedCert>>,
    /// Serialized `AttestVolumeKey`s in base64, given back as they came.
    #[serde(default)]
    pub(crate) keys: Vec<String>,
    /// What it measured when it was first seen, if that is to be learned.
    #[serde(default)]
    pub(crate) learned: Option<Prediction>,
}

/// A certificate that a device published through `attest`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PublishedCert {
    /// `ZCertType` as a number.
    pub(crate) kind: i32,
    /// PEM text.
    pub(crate) cert: String,
}

impl Device {
    /// The device's own certificate; it was checked when the device registered.
    pub(crate) fn certificate(&self) -> Option<Certificate> {
        Certificate::from_pem(self.cert.as_bytes()).ok()
    }
}

/// What became of a request to register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Registered {
    /// A new device.
    New(Uuid),
    /// The same certificate registered before.
    Again(Uuid),
    /// Another certificate registered with these serial numbers before.
    Conflict(Uuid),
}

/// All devices, and the file that remembers them.
pub(crate) struct Registry {
    path: PathBuf,
    devices: Vec<Device>,
}

impl Registry {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let devices = if path.exists() {
            let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))?
        } else {
            Vec::new()
        };
        Ok(Self { path: path.to_owned(), devices })
    }

    pub(crate) fn devices(&self) -> &[Device] {
        &self.devices
    }

    pub(crate) fn by_uuid(&self, uuid: Uuid) -> Option<&Device> {
        self.devices.iter().find(|device| device.uuid == uuid)
    }

    pub(crate) fn by_cert_hash(&self, hash: &[u8; 32]) -> Option<&Device> {
        let hash = hex(hash);
        self.devices.iter().find(|device| device.cert_hash == hash)
    }

    /// Admits a device. A hardware serial that is taken gives way to the soft serial, if there is one.
    pub(crate) fn register(
        &mut self,
        cert: String,
        certificate: &Certificate,
        (serial, soft_serial): (&str, &str),
        now_ms: i64,
    ) -> Result<Registered> {
        let cert_hash = hex(&certificate.der_hash());
        if let Some(known) = self.devices.iter().find(|device| device.cert_hash == cert_hash) {
            return Ok(Registered::Again(known.uuid));
        }
        let owner = self.devices.iter().find(|device| device.serial == serial);
        let soft_owner = self.devices.iter().find(|device| device.soft_serial == soft_serial);
        if let Some(owner) = owner.filter(|_| soft_serial.is_empty() || soft_owner.is_some()) {
            return Ok(Registered::Conflict(owner.uuid));
        }
        let uuid = Uuid::new_v4();
        self.devices.push(Device {
            uuid,
            former: Vec::new(),
            cert,
            cert_hash,
            serial: serial.to_owned(),
            soft_serial: soft_serial.to_owned(),
            registered_ms: now_ms,
            token: None,
            nonce: None,
            published: None,
            keys: Vec::new(),
            learned: None,
        });
        self.save()?;
        Ok(Registered::New(uuid))
    }

    /// Changes a device and keeps the change.
    pub(crate) fn change(&mut self, uuid: Uuid, with: impl FnOnce(&mut Device)) -> Result<()> {
        if let Some(device) = self.devices.iter_mut().find(|device| device.uuid == uuid) {
            with(device);
            self.save()?;
        }
        Ok(())
    }

    /// Forgets a device, as when an operator deletes it.
    pub(crate) fn remove(&mut self, uuid: Uuid) -> Result<()> {
        self.devices.retain(|device| device.uuid != uuid);
        self.save()
    }

    /// Gives a device a new identity, as when it is deleted and added again: the UUID changes, the
    /// integrity token and the published certificates are lost.
    pub(crate) fn readmit(&mut self, uuid: Uuid) -> Result<Uuid> {
        let fresh = Uuid::new_v4();
        self.change(uuid, |device| {
            device.former.push(device.uuid);
            device.uuid = fresh;
            device.token = None;
            device.nonce = None;
            device.published = None;
            device.keys.clear();
            device.learned = None;
        })?;
        Ok(fresh)
    }

    fn save(&self) -> Result<()> {
        write_secret(&self.path, serde_json::to_string_pretty(&self.devices)?.as_bytes())
    }
}
