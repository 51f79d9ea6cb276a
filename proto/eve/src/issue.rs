//! The certificates that a device issues: its own, and those of its other keys.
//!
//! The device's key signs all of them. What is not given by the keys fits 88 bytes, [`Parts`]: whoever keeps
//! those can make the same certificate again, although a TPM's signature comes out different each time.
//!
//! Source: EVE, `pkg/pillar/cmd/tpmmgr`: subjects, serial numbers, validity, uses.

use alloc::{vec, vec::Vec};
use core::{str::FromStr, time::Duration};

use der::{
    Decode, Encode, Sequence,
    asn1::{BitString, GeneralizedTime, ObjectIdentifier, UintRef, UtcTime},
};
use p256::ecdsa::{DerSignature, Signature, VerifyingKey, signature::hazmat::PrehashVerifier};
use sha2::{Digest, Sha256};
use spki::{
    AlgorithmIdentifierOwned, DynSignatureAlgorithmIdentifier, SubjectPublicKeyInfoOwned,
    SubjectPublicKeyInfoRef,
};
use x509_cert::{
    Certificate, TbsCertificate,
    builder::{self, Builder, CertificateBuilder, profile::BuilderProfile},
    ext::{
        Extension, ToExtension,
        pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages},
    },
    name::Name,
    serial_number::SerialNumber,
    time::{Time, Validity},
};

use crate::key::PublicKey;

const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");
/// The exponent of every endorsement key of the default template.
const RSA_EXPONENT: [u8; 3] = [1, 0, 1];
const DAY: u64 = 24 * 3600;
/// Twenty years, five of them with a day more.
const VALIDITY: u64 = (20 * 365 + 5) * DAY;
/// Names in the order of RFC 4514: the last one first.
const DEVICE: &str = "CN=EVE,O=The Linux Foundation";

/// Whose certificate it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The device's own, which it signs itself.
    Device,
    /// The key of secrets that a configuration carries.
    Ecdh,
    /// The key of quotes.
    Quote,
    /// The endorsement key.
    Endorsement,
}

impl Role {
    fn subject(self) -> &'static str {
        match self {
            Self::Device => DEVICE,
            Self::Ecdh => "CN=Device ECDH certificate,O=The Linux Foundation,L=San Francisco,ST=CA,C=US",
            Self::Quote => {
                "CN=Device Attestation certificate,O=The Linux Foundation,L=San Francisco,ST=CA,C=US"
            }
            Self::Endorsement => {
                "CN=Device Endorsement Key certificate,O=The Linux Foundation,L=San Francisco,ST=CA,C=US"
            }
        }
    }
}

/// A public key that a certificate is for.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// A point of P-256, uncompressed (SEC 1).
    P256(&'a [u8]),
    /// The modulus of an RSA key with the exponent 65537.
    Rsa(&'a [u8]),
}

/// What tells one certificate from another for the same keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Its serial number.
    pub serial: [u8; 16],
    /// When it was made, in seconds since 1970. It is valid from a day before.
    pub made: u64,
    /// The device key's signature: r and s.
    pub signature: [u8; 64],
}

/// Why a certificate cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IssueError {
    /// The issuer's or the subject's key is no point of P-256, or no modulus.
    Key,
    /// The time is none that a certificate can carry.
    Time,
    /// The signature is not the issuer's over this certificate.
    Signature,
    /// The encoder refused.
    Encoding,
}

impl core::fmt::Display for IssueError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Key => "the public key is not one that a certificate can carry",
            Self::Time => "the time is not one that a certificate can carry",
            Self::Signature => "the signature does not fit the certificate",
            Self::Encoding => "the certificate cannot be written",
        })
    }
}

/// A certificate before it is signed.
pub struct Draft {
    builder: CertificateBuilder<Profile>,
    issuer: Issuer,
    /// SHA-256 of what is signed.
    digest: [u8; 32],
}

impl Draft {
    /// A certificate for `subject`, to be signed by the key of the certificate `issuer` (DER), or without one by
    /// the subject's own. `made` is the time in seconds since 1970.
    ///
    /// # Errors
    /// [`IssueError`], but not [`IssueError::Signature`].
    pub fn new(
        role: Role,
        subject: Subject<'_>,
        issuer: Option<&[u8]>,
        serial: [u8; 16],
        made: u64,
    ) -> Result<Self, IssueError> {
        let (issuer, issuer_name) = match issuer {
            Some(certificate) => issuer_of(certificate)?,
            None => (Issuer::itself(subject)?, name(role.subject())?),
        };
        let begin = made.checked_sub(DAY).ok_or(IssueError::Time)?;
        let end = begin.checked_add(VALIDITY).ok_or(IssueError::Time)?;
        let validity = Validity::new(time(begin)?, time(end)?);
        let serial = SerialNumber::new(&positive(serial)).map_err(|_| IssueError::Encoding)?;
        let profile = Profile { role, subject: name(role.subject())?, issuer: issuer_name };
        let mut builder = CertificateBuilder::new(profile, serial, validity, key(subject)?)
            .map_err(|_| IssueError::Encoding)?;
        let signed = builder.finalize(&issuer).map_err(|_| IssueError::Encoding)?;
        Ok(Self { builder, issuer, digest: Sha256::digest(&signed).into() })
    }

    /// What the device's key has to sign: a SHA-256 digest.
    #[must_use]
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// The certificate in DER.
    ///
    /// # Errors
    /// [`IssueError::Signature`] if `signature`, r and s, is not the issuer's.
    pub fn sign(self, signature: &[u8; 64]) -> Result<Vec<u8>, IssueError> {
        let signature = Signature::from_slice(signature).map_err(|_| IssueError::Signature)?;
        let verified = self.issuer.0.verify_prehash(&self.digest, &signature);
        verified.map_err(|_| IssueError::Signature)?;
        let signature = DerSignature::from(signature);
        let bits = BitString::from_bytes(signature.as_bytes()).map_err(|_| IssueError::Encoding)?;
        let certificate = self.builder.assemble(bits, &self.issuer).map_err(|_| IssueError::Encoding)?;
        certificate.to_der().map_err(|_| IssueError::Encoding)
    }
}

impl core::fmt::Debug for Draft {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Draft").field("digest", &self.digest).finish_non_exhaustive()
    }
}

/// A quote's signature as it goes to the controller: `SEQUENCE { r, s }`, unlike an envelope's. None if r or s is
/// not one of the curve.
#[must_use]
pub fn quote_signature(r: &[u8; 32], s: &[u8; 32]) -> Option<Vec<u8>> {
    let signature = Signature::from_scalars(*r, *s).ok()?;
    Some(DerSignature::from(signature).as_bytes().to_vec())
}

/// Serial numbers are positive and not zero.
fn positive(mut serial: [u8; 16]) -> [u8; 16] {
    serial[0] = serial[0] & 0x7f | 0x40;
    serial
}

fn time(seconds: u64) -> Result<Time, IssueError> {
    let since = Duration::from_secs(seconds);
    match UtcTime::from_unix_duration(since) {
        Ok(time) => Ok(time.into()),
        Err(_) => GeneralizedTime::from_unix_duration(since).map(Time::from).map_err(|_| IssueError::Time),
    }
}

fn key(subject: Subject<'_>) -> Result<SubjectPublicKeyInfoOwned, IssueError> {
    match subject {
        Subject::P256(point) => {
            let key = VerifyingKey::from_sec1_bytes(point).map_err(|_| IssueError::Key)?;
            SubjectPublicKeyInfoOwned::from_key(&key).map_err(|_| IssueError::Key)
        }
        Subject::Rsa(modulus) => {
            let modulus = UintRef::new(modulus).map_err(|_| IssueError::Key)?;
            if modulus.as_bytes().len() < 128 {
                return Err(IssueError::Key);
            }
            let exponent = UintRef::new(&RSA_EXPONENT).map_err(|_| IssueError::Key)?;
            let key = RsaPublicKey { modulus, exponent }.to_der().map_err(|_| IssueError::Key)?;
            let algorithm =
                AlgorithmIdentifierOwned { oid: RSA_ENCRYPTION, parameters: Some(der::Any::null()) };
            let subject_public_key = BitString::from_bytes(&key).map_err(|_| IssueError::Key)?;
            Ok(SubjectPublicKeyInfoOwned { algorithm, subject_public_key })
        }
    }
}

/// RFC 8017, A.1.1.
#[derive(Sequence)]
struct RsaPublicKey<'a> {
    modulus: UintRef<'a>,
    exponent: UintRef<'a>,
}

/// The key that signs, of which only the public half is here.
struct Issuer(VerifyingKey);

impl Issuer {
    fn itself(subject: Subject<'_>) -> Result<Self, IssueError> {
        match subject {
            Subject::P256(point) => {
                VerifyingKey::from_sec1_bytes(point).map(Self).map_err(|_| IssueError::Key)
            }
            Subject::Rsa(_) => Err(IssueError::Key),
        }
    }
}

fn issuer_of(certificate: &[u8]) -> Result<(Issuer, Name), IssueError> {
    let Ok(PublicKey::P256(key)) = PublicKey::of_certificate(certificate) else {
        return Err(IssueError::Key);
    };
    let certificate = Certificate::from_der(certificate).map_err(|_| IssueError::Key)?;
    Ok((Issuer(key), certificate.tbs_certificate().subject().clone()))
}

fn name(text: &str) -> Result<Name, IssueError> {
    Name::from_str(text).map_err(|_| IssueError::Encoding)
}

impl p256::ecdsa::signature::Keypair for Issuer {
    type VerifyingKey = VerifyingKey;

    fn verifying_key(&self) -> VerifyingKey {
        self.0
    }
}

impl DynSignatureAlgorithmIdentifier for Issuer {
    fn signature_algorithm_identifier(&self) -> spki::Result<AlgorithmIdentifierOwned> {
        Ok(AlgorithmIdentifierOwned { oid: ECDSA_WITH_SHA256, parameters: None })
    }
}

struct Profile {
    role: Role,
    subject: Name,
    issuer: Name,
}

impl BuilderProfile for Profile {
    fn get_issuer(&self, _subject: &Name) -> Name {
        self.issuer.clone()
    }

    fn get_subject(&self) -> Name {
        self.subject.clone()
    }

    fn build_extensions(
        &self,
        _subject: SubjectPublicKeyInfoRef<'_>,
        _issuer: SubjectPublicKeyInfoRef<'_>,
        tbs: &TbsCertificate,
    ) -> builder::Result<Vec<Extension>> {
        let is_device = self.role == Role::Device;
        let (usage, extended) = if is_device {
            (KeyUsages::DigitalSignature | KeyUsages::KeyCertSign, vec![CLIENT_AUTH, SERVER_AUTH])
        } else {
            (KeyUsages::KeyEncipherment | KeyUsages::DigitalSignature, vec![SERVER_AUTH])
        };
        let constraints = BasicConstraints { ca: is_device, path_len_constraint: None };
        let subject = tbs.subject();
        Ok(vec![
            KeyUsage(usage).to_extension(subject, &[])?,
            ExtendedKeyUsage(extended).to_extension(subject, &[])?,
            constraints.to_extension(subject, &[])?,
        ])
    }
}

#[cfg(test)]
mod tests {
    use p256::ecdsa::{SigningKey, signature::hazmat::PrehashSigner};

    use super::*;
    use crate::pem;

    const MADE: u64 = 1_798_761_600;

    fn signing() -> SigningKey {
        SigningKey::from_slice(&[7; 32]).unwrap()
    }

    fn point(key: &SigningKey) -> Vec<u8> {
        key.verifying_key().to_sec1_point(false).as_bytes().to_vec()
    }

    fn sign(draft: Draft) -> Vec<u8> {
        let signature: Signature = signing().sign_prehash(draft.digest()).unwrap();
        draft.sign(&signature.to_bytes().into()).unwrap()
    }

    fn own() -> Vec<u8> {
        let point = point(&signing());
        sign(Draft::new(Role::Device, Subject::P256(&point), None, [0xff; 16], MADE).unwrap())
    }

    #[test]
    fn the_devices_certificate_is_what_the_protocol_says() {
        let der = own();
        assert!(matches!(PublicKey::of_certificate(&der), Ok(PublicKey::P256(_))));
        let text = pem::certificate(&der);
        assert!((100..=10_240).contains(&text.len()));
        let certificate = Certificate::from_der(&der).unwrap();
        let tbs = certificate.tbs_certificate();
        assert_eq!((tbs.issuer(), tbs.subject()), (tbs.subject(), tbs.issuer()));
        assert_eq!(alloc::string::ToString::to_string(tbs.subject()), DEVICE);
        assert_eq!(tbs.serial_number().as_bytes().len(), 16);
        assert_eq!(tbs.validity().not_before.to_unix_duration().as_secs(), MADE - DAY);
        let days = (tbs.validity().not_after.to_unix_duration().as_secs() - MADE + DAY) / DAY;
        assert_eq!(days, 7305);
        let constraints = tbs.get_extension::<BasicConstraints>().unwrap().unwrap();
        assert_eq!(constraints, (true, BasicConstraints { ca: true, path_len_constraint: None }));
        let (_, usage) = tbs.get_extension::<KeyUsage>().unwrap().unwrap();
        assert!(usage.digital_signature() && usage.key_cert_sign() && !usage.key_encipherment());
        let (_, extended) = tbs.get_extension::<ExtendedKeyUsage>().unwrap().unwrap();
        assert_eq!(extended.0, [CLIENT_AUTH, SERVER_AUTH]);
    }

    #[test]
    fn the_other_keys_certificates_are_the_devices_word() {
        let other = SigningKey::from_slice(&[9; 32]).unwrap();
        let modulus = [0x93; 256];
        for (role, subject) in [
            (Role::Ecdh, Subject::P256(&point(&other))),
            (Role::Quote, Subject::P256(&point(&other))),
            (Role::Endorsement, Subject::Rsa(&modulus)),
        ] {
            let der = sign(Draft::new(role, subject, Some(&own()), [0; 16], MADE).unwrap());
            let certificate = Certificate::from_der(&der).unwrap();
            let tbs = certificate.tbs_certificate();
            assert_eq!(alloc::string::ToString::to_string(tbs.issuer()), DEVICE);
            assert_eq!(alloc::string::ToString::to_string(tbs.subject()), role.subject());
            let (_, extended) = tbs.get_extension::<ExtendedKeyUsage>().unwrap().unwrap();
            assert_eq!(extended.0, [SERVER_AUTH]);
        }
    }

    #[test]
    fn the_same_parts_make_the_same_certificate() {
        let key = signing();
        let draft = || Draft::new(Role::Device, Subject::P256(&point(&key)), None, [3; 16], MADE).unwrap();
        let signature: Signature = key.sign_prehash(draft().digest()).unwrap();
        let mut bytes: [u8; 64] = signature.to_bytes().into();
        assert_eq!(draft().sign(&bytes), draft().sign(&bytes));
        bytes[63] ^= 1;
        assert_eq!(draft().sign(&bytes), Err(IssueError::Signature));
        assert_eq!(draft().sign(&[0; 64]), Err(IssueError::Signature));
    }

    #[test]
    fn what_no_certificate_can_carry_is_refused() {
        let point = point(&signing());
        let own = own();
        let draft = |subject, issuer: Option<&[u8]>, made| {
            Draft::new(Role::Quote, subject, issuer, [0; 16], made).map(|_| ())
        };
        let subject = Subject::P256(&point);
        assert_eq!(draft(subject, Some(&own), MADE), Ok(()));
        assert_eq!(draft(subject, Some(&own[1..]), MADE), Err(IssueError::Key));
        assert_eq!(draft(Subject::P256(&[4; 65]), Some(&own), MADE), Err(IssueError::Key));
        assert_eq!(draft(Subject::Rsa(&[]), Some(&own), MADE), Err(IssueError::Key));
        assert_eq!(draft(Subject::Rsa(&[0x93; 256]), None, MADE), Err(IssueError::Key));
        for bad in [0, DAY - 1, u64::MAX, u64::MAX - VALIDITY] {
            assert_eq!(draft(subject, Some(&own), bad), Err(IssueError::Time));
        }
    }

    #[test]
    fn a_quotes_signature_is_asn1() {
        assert_eq!(quote_signature(&[1; 32], &[2; 32]).map(|der| der[0]), Some(0x30));
        assert_eq!(quote_signature(&[0; 32], &[2; 32]), None);
        assert_eq!(quote_signature(&[0xff; 32], &[2; 32]), None);
    }
}
