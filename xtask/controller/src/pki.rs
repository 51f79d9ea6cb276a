//! The controller's own certificates: made once, kept in the state folder.
//!
//! One P-256 CA signs four leaves: the TLS server, the signing certificate and the ECDH certificate
//! of object security (both with the extended key usage `serverAuth`, which devices demand on the
//! path), and the onboarding certificate is self-signed as the stock generator makes it. A second,
//! unrelated CA with a server leaf stands by for tests of "wrong CA".

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SerialNumber, date_time_ymd,
};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use uuid::Uuid;

use crate::clock;
use crate::files::{write_file, write_secret};
use crate::key::{Certificate, sha256};

/// A certificate and its private key as PEM text; the key is PKCS#8.
#[derive(Clone, Debug)]
pub(crate) struct Leaf {
    pub(crate) cert: String,
    pub(crate) key: String,
}

/// Everything the controller proves itself with.
pub(crate) struct Pki {
    folder: PathBuf,
    pub(crate) ca: Leaf,
    pub(crate) server: Leaf,
    pub(crate) signing: Leaf,
    pub(crate) exchange: Leaf,
    pub(crate) onboarding: Leaf,
    /// A server certificate for the same name from a CA that no device trusts.
    pub(crate) stranger: Leaf,
    /// One of the right CA whose time is over.
    pub(crate) expired: Leaf,
}

/// The key that signs answers.
pub(crate) struct SigningKey {
    key: EcdsaKeyPair,
    pem_hash: [u8; 32],
    random: SystemRandom,
}

impl Pki {
    /// Loads the certificates from `folder`, and makes those that are not there.
    pub(crate) fn open(folder: &Path, server_names: &[String]) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let ca = kept(folder, "ca", || authority("Sarsen development CA"))?;
        let stranger_ca = kept(folder, "stranger-ca", || authority("A CA that nobody trusts"))?;
        // Names are part of the certificate: other names, another certificate.
        let names = server_names.join("\n");
        let names_file = folder.join("server.names");
        if fs::read_to_string(&names_file).unwrap_or_default() != names {
            for leaf in ["server", "stranger"] {
                remove(&folder.join(format!("{leaf}.pem")))?;
            }
            write_file(&names_file, names.as_bytes())?;
        }
        Ok(Self {
            folder: folder.to_owned(),
            server: kept(folder, "server", || leaf(&ca, "server", server_names))?,
            stranger: kept(folder, "stranger", || leaf(&stranger_ca, "server", server_names))?,
            // Not kept: what is not valid now is made anew anyway.
            expired: expired(&ca, server_names)?,
            signing: kept(folder, "signing", || leaf(&ca, "signing", &[]))?,
            exchange: kept(folder, "exchange", || leaf(&ca, "exchange", &[]))?,
            onboarding: kept(folder, "onboarding", onboarding)?,
            ca,
        })
    }

    /// Replaces the signing certificate by a new one.
    pub(crate) fn rotate_signing(&mut self) -> Result<()> {
        remove(&self.folder.join("signing.pem"))?;
        let ca = &self.ca;
        self.signing = kept(&self.folder, "signing", || leaf(ca, "signing", &[]))?;
        Ok(())
    }

    /// The key of the current signing certificate.
    pub(crate) fn signing_key(&self) -> Result<SigningKey> {
        SigningKey::new(&self.signing)
    }

    /// An opaque text that changes whenever `/certs` does.
    pub(crate) fn certs_hash(&self) -> [u8; 32] {
        sha256(format!("{}{}", self.signing.cert, self.exchange.cert).as_bytes())
    }
}

impl SigningKey {
    pub(crate) fn new(leaf: &Leaf) -> Result<Self> {
        let random = SystemRandom::new();
        let pkcs8 = KeyPair::from_pem(&leaf.key)?.serialize_der();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8, &random)
            .map_err(|fault| anyhow!("the signing key is unusable: {fault}"))?;
        Ok(Self { key, pem_hash: sha256(leaf.cert.as_bytes()), random })
    }

    /// Raw `r ‖ s` over SHA-256 of `message`.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature = self.key.sign(&self.random, message).expect("the system's random source works");
        signature.as_ref().to_vec()
    }

    /// SHA-256 over the exact PEM text that `/certs` delivers.
    pub(crate) fn pem_hash(&self) -> [u8; 32] {
        self.pem_hash
    }
}

/// A software device key and its self-signed certificate, as EVE makes them.
pub(crate) fn device_identity() -> Result<Leaf> {
    let mut params = params("EVE", 20)?;
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "The Linux Foundation");
    name.push(DnType::CommonName, "EVE");
    params.distinguished_name = name;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    self_signed(params)
}

/// A software key for key exchange and its certificate, signed by the device key, as EVE makes them.
pub(crate) fn key_exchange(device: &Leaf) -> Result<Leaf> {
    let mut params = params("Device ECDH certificate", 20)?;
    let mut name = DistinguishedName::new();
    name.push(DnType::CountryName, "US");
    name.push(DnType::StateOrProvinceName, "CA");
    name.push(DnType::LocalityName, "San Francisco");
    name.push(DnType::OrganizationName, "The Linux Foundation");
    name.push(DnType::CommonName, "Device ECDH certificate");
    params.distinguished_name = name;
    params.key_usages = vec![KeyUsagePurpose::KeyEncipherment, KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    issued(device, &params)
}

/// Bytes from the system's random source.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the system's random source works");
    bytes
}

fn authority(name: &str) -> Result<Leaf> {
    let mut params = params(name, 20)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    self_signed(params)
}

fn onboarding() -> Result<Leaf> {
    let mut params = params(&Uuid::new_v4().to_string(), 1)?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    self_signed(params)
}

fn leaf(ca: &Leaf, name: &str, alternative_names: &[String]) -> Result<Leaf> {
    issued(ca, &leaf_params(name, alternative_names)?)
}

fn expired(ca: &Leaf, alternative_names: &[String]) -> Result<Leaf> {
    let mut params = leaf_params("server", alternative_names)?;
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2021, 1, 1);
    issued(ca, &params)
}

fn leaf_params(name: &str, alternative_names: &[String]) -> Result<CertificateParams> {
    let mut params = params(&format!("Sarsen development {name}"), 10)?;
    params.subject_alt_names = CertificateParams::new(alternative_names)?.subject_alt_names;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyAgreement];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn issued(by: &Leaf, params: &CertificateParams) -> Result<Leaf> {
    let issuer = Issuer::from_ca_cert_pem(&by.cert, KeyPair::from_pem(&by.key)?)?;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let cert = params.signed_by(&key, &issuer)?;
    Ok(Leaf { cert: cert.pem(), key: key.serialize_pem() })
}

fn self_signed(params: CertificateParams) -> Result<Leaf> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let cert = params.self_signed(&key)?;
    Ok(Leaf { cert: cert.pem(), key: key.serialize_pem() })
}

/// Valid from yesterday, so that a clock that runs behind a little does no harm.
fn params(common_name: &str, years: i64) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    params.distinguished_name = name;
    let mut serial: [u8; 16] = random();
    // Positive and without a leading zero byte, as DER wants it.
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    let date = |(year, month, day): (i64, i64, i64)| {
        let narrow = |part: i64| u8::try_from(part).unwrap_or(1);
        date_time_ymd(i32::try_from(year).unwrap_or(2030), narrow(month), narrow(day.min(28)))
    };
    let (year, month, day) = clock::yesterday();
    params.not_before = date((year, month, day));
    params.not_after = date((year + years, month, day));
    Ok(params)
}

/// The leaf in `folder`, or a new one that is then kept there.
fn kept(folder: &Path, name: &str, make: impl FnOnce() -> Result<Leaf>) -> Result<Leaf> {
    let cert_path = folder.join(format!("{name}.pem"));
    let key_path = folder.join(format!("{name}.key.pem"));
    if cert_path.exists() && key_path.exists() {
        let read =
            |path: &Path| fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
        let leaf = Leaf { cert: read(&cert_path)?, key: read(&key_path)? };
        let certificate = Certificate::from_pem(leaf.cert.as_bytes())
            .map_err(|fault| anyhow!("{}: {fault}", cert_path.display()))?;
        if certificate.check_valid_now().is_ok() {
            return Ok(leaf);
        }
    }
    let leaf = make().with_context(|| format!("cannot make the {name} certificate"))?;
    // The certificate last: it is the mark that the pair is whole.
    write_secret(&key_path, leaf.key.as_bytes())?;
    write_file(&cert_path, leaf.cert.as_bytes())?;
    Ok(leaf)
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(fault) if fault.kind() != io::ErrorKind::NotFound => {
            Err(fault).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
