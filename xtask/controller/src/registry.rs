//! The devices that registered, kept over restarts.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use proto_attest::Prediction;
use proto_eve::wire::certs::ZCertType;
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
    /// The integrity token of the last accepted quote; a refused quote ends it.
    #[serde(default)]
    pub(crate) token: Option<String>,
    /// The nonce that a quote must carry, hexadecimal.
    #[serde(default)]
    pub(crate) nonce: Option<String>,
    /// Edge-node certificates of the last CERT request; `None` before the first one.
    #[serde(default)]
    pub(crate) published: Option<Vec<PublishedCert>>,
    /// The first certificate of each kind of key of its TPM that it published: those stay its keys. A device replaces
    /// what it has published, but not this.
    #[serde(default)]
    pinned: Vec<PublishedCert>,
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

impl PublishedCert {
    /// The certificate; it was checked when it was published.
    pub(crate) fn certificate(&self) -> Option<Certificate> {
        Certificate::from_pem(self.cert.as_bytes()).ok()
    }

    /// Whether its key is one of those that only a TPM has: that for quotes, and the endorsement key.
    fn is_of_tpm(&self) -> bool {
        let kinds = [ZCertType::CertTypeDeviceRestrictedSigning, ZCertType::CertTypeDeviceEndorsementRsa];
        kinds.iter().any(|&kind| self.kind == kind as i32)
    }

    fn has_key_of(&self, other: &Self) -> bool {
        self.certificate().zip(other.certificate()).is_some_and(|(own, other)| own.has_key_of(&other))
    }
}

impl Device {
    /// The device's own certificate; it was checked when the device registered.
    pub(crate) fn certificate(&self) -> Option<Certificate> {
        Certificate::from_pem(self.cert.as_bytes()).ok()
    }

    /// Whether anything was ever seen of it that takes a TPM.
    pub(crate) fn has_tpm(&self) -> bool {
        !self.pinned.is_empty() || self.learned.is_some() || !self.keys.is_empty()
    }

    /// Replaces what it has published. A key of its TPM that differs from the first one of that kind changes nothing:
    /// the certificate with that key is returned.
    ///
    /// 1. Somebody has taken over the device's software, and so may sign with the device key.
    /// 2. They publish a key of their own as that for quotes, and quote what they like.
    pub(crate) fn publish(&mut self, certs: Vec<PublishedCert>) -> Result<(), PublishedCert> {
        for cert in certs.iter().filter(|cert| cert.is_of_tpm()) {
            let first = self.pinned.iter().chain(&certs).find(|first| first.kind == cert.kind);
            if first.is_some_and(|first| !first.has_key_of(cert)) {
                return Err(cert.clone());
            }
        }
        self.published = Some(certs);
        self.pin();
        Ok(())
    }

    fn pin(&mut self) {
        for cert in self.published.iter().flatten().filter(|cert| cert.is_of_tpm()) {
            if self.pinned.iter().all(|pinned| pinned.kind != cert.kind) {
                self.pinned.push(cert.clone());
            }
        }
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
        let mut devices: Vec<Device> = if path.exists() {
            let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))?
        } else {
            Vec::new()
        };
        // Files from before keys were pinned have the published ones alone.
        devices.iter_mut().for_each(Device::pin);
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
            pinned: Vec::new(),
            keys: Vec::new(),
            learned: None,
        });
        self.save()?;
        Ok(Registered::New(uuid))
    }

    /// Changes a device and keeps the change. What `with` returns is passed on; `None` if there is no such device.
    pub(crate) fn change<T>(&mut self, uuid: Uuid, with: impl FnOnce(&mut Device) -> T) -> Result<Option<T>> {
        let Some(device) = self.devices.iter_mut().find(|device| device.uuid == uuid) else {
            return Ok(None);
        };
        let result = with(device);
        self.save()?;
        Ok(Some(result))
    }

    /// Forgets a device, as when an operator deletes it.
    pub(crate) fn remove(&mut self, uuid: Uuid) -> Result<()> {
        self.devices.retain(|device| device.uuid != uuid);
        self.save()
    }

    /// Gives a device a new identity, as when it is deleted and added again: the UUID changes, the
    /// integrity token, the published certificates and what is known of its TPM are lost.
    pub(crate) fn readmit(&mut self, uuid: Uuid) -> Result<Uuid> {
        let fresh = Uuid::new_v4();
        self.change(uuid, |device| {
            device.former.push(device.uuid);
            device.uuid = fresh;
            device.token = None;
            device.nonce = None;
            device.published = None;
            device.pinned.clear();
            device.keys.clear();
            device.learned = None;
        })?;
        Ok(fresh)
    }

    fn save(&self) -> Result<()> {
        write_secret(&self.path, serde_json::to_string_pretty(&self.devices)?.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P256: &str = include_str!("../vectors/p256.pem");

    fn registry() -> (tempfile::TempDir, Registry, Uuid) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut registry = Registry::open(&folder.path().join("devices.json")).expect("empty");
        let certificate = Certificate::from_pem(P256.as_bytes()).expect("a certificate");
        let registered = registry.register(P256.into(), &certificate, ("SN", "soft"), 0).expect("kept");
        let Registered::New(uuid) = registered else { panic!("{registered:?}") };
        (folder, registry, uuid)
    }

    #[test]
    fn a_file_from_before_keys_were_pinned_pins_what_was_published() {
        let (_folder, mut registry, uuid) = registry();
        let kind = ZCertType::CertTypeDeviceRestrictedSigning as i32;
        let cert = |cert: &str| PublishedCert { kind, cert: cert.into() };
        registry.change(uuid, |device| device.published = Some(vec![cert(P256)])).expect("kept");
        let mut registry = Registry::open(&registry.path).expect("a registry");
        assert!(registry.by_uuid(uuid).expect("known").has_tpm());
        let other = cert(include_str!("../vectors/p384.pem"));
        let published = registry.change(uuid, |device| device.publish(vec![other])).expect("kept");
        assert!(published.expect("known").is_err());
    }

    #[test]
    fn what_a_device_learned_or_left_here_tells_of_its_tpm() {
        let (_folder, mut registry, uuid) = registry();
        assert!(!registry.by_uuid(uuid).expect("known").has_tpm());
        registry.change(uuid, |device| device.learned = Some(Prediction::default())).expect("kept");
        assert!(registry.by_uuid(uuid).expect("known").has_tpm());
        let fresh = registry.readmit(uuid).expect("kept");
        assert!(!registry.by_uuid(fresh).expect("known").has_tpm());
    }
}
