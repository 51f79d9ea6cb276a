//! Who the device is: the key that signs as it, and the certificates of its keys.
//!
//! With a vault the private keys are the vault's, and each certificate is signed once, as soon as the time is
//! known. What makes them what they are goes into a note that the vault keeps, so that they are the same after a
//! restart: the controller knows the device by the hash of its certificate, and secrets in a configuration are
//! meant for the certificate that was published. A provisioned key goes on where there is no TPM.

use alloc::{rc::Rc, vec::Vec};

use proto_eve::{
    attest,
    issue::{Draft, IssueError, Parts, Role, Subject},
    key::{KeyError, Signer, SoftwareKey},
    pem,
    wire::certs::{ZCert, ZCertType},
};
use sha2::{Digest, Sha256};

use crate::clock::{Random, WallTime};

const _: () = assert!(ROLES.len() * ENTRY < proto_svc::vault::MAX_NOTE, "a note is within the vault's bound");

/// Signs a SHA-256 digest with the device's key, which is elsewhere: r and s. None if the key's holder does not
/// sign now.
pub type DigestSigner = Rc<dyn Fn(&[u8; 32]) -> Option<[u8; 64]>>;

/// First byte of a note.
const VERSION: u8 = 1;
/// Bytes of an entry of a note: role, serial number, time, signature.
const ENTRY: usize = 1 + 16 + 8 + 64;

/// The key that signs as the device.
pub(crate) enum DeviceKey {
    /// A provisioned key, in memory.
    Provisioned(SoftwareKey),
    /// The vault's.
    Vault(VaultKey),
}

/// A key of the vault with its certificate.
pub(crate) struct VaultKey {
    certificate_pem: Vec<u8>,
    certificate_hash: [u8; 32],
    sign: DigestSigner,
}

impl DeviceKey {
    fn vault(certificate_der: &[u8], sign: DigestSigner) -> Self {
        Self::Vault(VaultKey {
            certificate_pem: pem::certificate(certificate_der),
            certificate_hash: Sha256::digest(certificate_der).into(),
            sign,
        })
    }

    /// The certificate, PEM.
    pub(crate) fn certificate_pem(&self) -> &[u8] {
        match self {
            Self::Provisioned(key) => key.certificate_pem(),
            Self::Vault(key) => &key.certificate_pem,
        }
    }
}

impl Signer for DeviceKey {
    fn certificate_hash(&self) -> [u8; 32] {
        match self {
            Self::Provisioned(key) => key.certificate_hash(),
            Self::Vault(key) => key.certificate_hash,
        }
    }

    fn sign_digest(&self, digest: &[u8; 32]) -> Result<[u8; 64], KeyError> {
        match self {
            Self::Provisioned(key) => key.sign_digest(digest),
            Self::Vault(key) => (key.sign)(digest).ok_or(KeyError::SigningFailed),
        }
    }
}

/// A public key of the vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Public {
    /// A point (SEC 1, uncompressed), or the modulus of the endorsement key.
    pub(crate) key: Vec<u8>,
    /// `TPM2B_PUBLIC`; empty for a software key.
    pub(crate) tpm: Vec<u8>,
}

/// The public keys that the vault has told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keys {
    pub(crate) device: Option<Public>,
    pub(crate) ecdh: Option<Public>,
    pub(crate) quote: Option<Public>,
    pub(crate) endorsement: Option<Public>,
}

/// What the device is known by.
pub(crate) struct Issued {
    /// The vault's key with its certificate, unless there is a provisioned one.
    pub(crate) device: Option<DeviceKey>,
    /// For the controller.
    pub(crate) published: Vec<ZCert>,
    /// The certificate of the key of encrypted secrets, PEM.
    pub(crate) ecdh_pem: Option<Vec<u8>>,
    /// To be kept, if it is not what was kept already.
    pub(crate) note: Option<Vec<u8>>,
}

/// Why there are no certificates yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotIssued {
    /// The time is not known.
    NoClock,
    /// The vault has not told the device's key.
    NoKey,
    /// The vault does not sign.
    NoSignature,
    /// A certificate cannot be made.
    Issue(IssueError),
}

impl core::fmt::Display for NotIssued {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoClock => f.write_str("the time is not known"),
            Self::NoKey => f.write_str("the vault has no device key"),
            Self::NoSignature => f.write_str("the vault does not sign"),
            Self::Issue(error) => error.fmt(f),
        }
    }
}

/// Makes the certificates again that `note` has, and the others anew. `provisioned` signs in place of the
/// vault's device key. What was made is in `begun` when it fails, so that a vault that signs some of them in time is not
/// asked for these again.
pub(crate) fn issue(
    keys: &Keys,
    provisioned: Option<&SoftwareKey>,
    sign: &DigestSigner,
    note: &[u8],
    begun: &mut Vec<u8>,
    wall: Option<WallTime>,
    random: &mut Random,
) -> Result<Issued, NotIssued> {
    let sign_digest = |digest: &[u8; 32]| match provisioned {
        Some(key) => key.sign_digest(digest).ok(),
        None => sign(digest),
    };
    let known = [note, &begun[..]].into_iter().flat_map(read_note).collect();
    let mut issuing = Issuing { known, made: Vec::new(), sign: &sign_digest, wall, random };
    let issued = issue_all(&mut issuing, keys, provisioned, sign);
    let kept = write_note(&issuing.made);
    match issued {
        Ok(issued) => {
            begun.clear();
            Ok(Issued { note: (kept != note).then_some(kept), ..issued })
        }
        Err(error) => {
            *begun = kept;
            Err(error)
        }
    }
}

fn issue_all(
    issuing: &mut Issuing<'_>,
    keys: &Keys,
    provisioned: Option<&SoftwareKey>,
    sign: &DigestSigner,
) -> Result<Issued, NotIssued> {
    let (device, own) = match provisioned {
        Some(key) => (None, provisioned_der(key)?),
        None => {
            let public = keys.device.as_ref().ok_or(NotIssued::NoKey)?;
            let der = issuing.certificate(Role::Device, Subject::P256(&public.key), None)?;
            (Some(DeviceKey::vault(&der, sign.clone())), der)
        }
    };
    let (mut published, mut ecdh_pem) = (Vec::new(), None);
    for (role, kind, public) in [
        (Role::Ecdh, ZCertType::CertTypeDeviceEcdhExchange, &keys.ecdh),
        (Role::Quote, ZCertType::CertTypeDeviceRestrictedSigning, &keys.quote),
        (Role::Endorsement, ZCertType::CertTypeDeviceEndorsementRsa, &keys.endorsement),
    ] {
        let Some(public) = public else { continue };
        let (subject, area) = match role {
            Role::Endorsement => (Subject::Rsa(&public.key), Some(&public.tpm[..])),
            Role::Device | Role::Ecdh | Role::Quote => (Subject::P256(&public.key), None),
        };
        let text = pem::certificate(&issuing.certificate(role, subject, Some(&own))?);
        published.push(attest::published(kind, &text, area));
        if role == Role::Ecdh {
            ecdh_pem = Some(text);
        }
    }
    Ok(Issued { device, published, ecdh_pem, note: None })
}

fn provisioned_der(key: &SoftwareKey) -> Result<Vec<u8>, NotIssued> {
    let ders = pem::certificates(key.certificate_pem()).unwrap_or_default();
    ders.into_iter().next().ok_or(NotIssued::Issue(IssueError::Key))
}

struct Issuing<'a> {
    known: Vec<(Role, Parts)>,
    made: Vec<(Role, Parts)>,
    sign: &'a dyn Fn(&[u8; 32]) -> Option<[u8; 64]>,
    wall: Option<WallTime>,
    random: &'a mut Random,
}

impl Issuing<'_> {
    fn certificate(
        &mut self,
        role: Role,
        subject: Subject<'_>,
        issuer: Option<&[u8]>,
    ) -> Result<Vec<u8>, NotIssued> {
        for parts in self.known.iter().filter(|(known, _)| *known == role).map(|(_, parts)| *parts) {
            // Of another key, as after the TPM was cleared, the signature does not fit.
            let again = Draft::new(role, subject, issuer, parts.serial, parts.made)
                .and_then(|draft| draft.sign(&parts.signature));
            if let Ok(der) = again {
                self.made.push((role, parts));
                return Ok(der);
            }
        }
        let made = self.wall.filter(WallTime::is_possible).ok_or(NotIssued::NoClock)?.seconds;
        let serial = self.random.bytes16();
        let draft = Draft::new(role, subject, issuer, serial, made).map_err(NotIssued::Issue)?;
        let signature = (self.sign)(draft.digest()).ok_or(NotIssued::NoSignature)?;
        let der = draft.sign(&signature).map_err(NotIssued::Issue)?;
        self.made.push((role, Parts { serial, made, signature }));
        Ok(der)
    }
}

const ROLES: [Role; 4] = [Role::Device, Role::Ecdh, Role::Quote, Role::Endorsement];

fn write_note(parts: &[(Role, Parts)]) -> Vec<u8> {
    let mut note = Vec::from([VERSION]);
    for (role, parts) in parts {
        let number = ROLES.iter().position(|known| known == role).unwrap_or(0);
        note.push(u8::try_from(number).unwrap_or(0));
        note.extend_from_slice(&parts.serial);
        note.extend_from_slice(&parts.made.to_be_bytes());
        note.extend_from_slice(&parts.signature);
    }
    note
}

/// What is in a note; nothing in one that is not ours. What it says counts only as far as signatures fit.
fn read_note(note: &[u8]) -> Vec<(Role, Parts)> {
    let Some((&VERSION, entries)) = note.split_first() else { return Vec::new() };
    entries.chunks_exact(ENTRY).take(ROLES.len()).filter_map(read_entry).collect()
}

fn read_entry(entry: &[u8]) -> Option<(Role, Parts)> {
    let (number, rest) = entry.split_first()?;
    let (serial, rest) = rest.split_first_chunk()?;
    let (made, rest) = rest.split_first_chunk()?;
    let parts = Parts { serial: *serial, made: u64::from_be_bytes(*made), signature: *rest.first_chunk()? };
    Some((*ROLES.get(usize::from(*number))?, parts))
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;

    use super::*;
    use crate::clock::{EARLIEST, LATEST};

    const NOW: u64 = 1_798_761_600;

    /// A double of the vault's device key; counts signatures.
    fn signer(seed: u8) -> (Public, DigestSigner, Rc<Cell<u32>>) {
        let key = crate::test_key::TestKey::new(seed);
        let count = Rc::new(Cell::new(0));
        let counted = count.clone();
        let public = Public { key: key.point(), tpm: Vec::new() };
        let sign = Rc::new(move |digest: &[u8; 32]| {
            counted.set(counted.get() + 1);
            Some(key.sign(digest))
        });
        (public, sign, count)
    }

    fn keys(device: Public) -> Keys {
        let point = |seed| crate::test_key::TestKey::new(seed).point();
        let public = |key: Vec<u8>, tpm: &[u8]| Some(Public { key, tpm: tpm.to_vec() });
        Keys {
            device: Some(device),
            ecdh: public(point(20), b""),
            quote: public(point(21), b"quote"),
            endorsement: public(alloc::vec![0xc1; 256], b"area"),
        }
    }

    fn wall(seconds: u64) -> Option<WallTime> {
        Some(WallTime { seconds, nanos: 0 })
    }

    /// With nothing begun; what is made anew differs by `seed`.
    fn issued_by(
        keys: &Keys,
        sign: &DigestSigner,
        note: &[u8],
        wall: Option<WallTime>,
        seed: u64,
    ) -> Result<Issued, NotIssued> {
        issue(keys, None, sign, note, &mut Vec::new(), wall, &mut Random::new(seed))
    }

    #[test]
    fn certificates_are_made_once_and_then_made_again() {
        let (device, sign, count) = signer(1);
        let keys = keys(device);
        let first = issued_by(&keys, &sign, b"", wall(NOW), 1).unwrap();
        let note = first.note.unwrap();
        assert_eq!((count.get(), note.len()), (4, 1 + 4 * ENTRY));
        assert!(note.len() <= proto_svc::vault::MAX_NOTE);
        let kinds: Vec<i32> = first.published.iter().map(|cert| cert.r#type).collect();
        assert_eq!(kinds, [13, 11, 12]);
        assert_eq!(first.published[2].meta_data_items[0].meta_data, b"area");
        // Without a clock, and without a signature.
        let again = issued_by(&keys, &sign, &note, None, 2).unwrap();
        assert_eq!((count.get(), again.note), (4, None));
        assert_eq!(again.published, first.published);
        let pem = |issued: &Option<DeviceKey>| issued.as_ref().unwrap().certificate_pem().to_vec();
        assert_eq!(pem(&again.device), pem(&first.device));
        assert_eq!(again.ecdh_pem, first.ecdh_pem);
    }

    /// As one that takes its time for each, and is waited for as long as one takes.
    #[test]
    fn a_vault_that_signs_one_at_a_time_comes_to_its_end() {
        let (device, sign, count) = signer(1);
        let keys = keys(device);
        let (mut begun, mut random) = (Vec::new(), Random::new(1));
        for done in 0..4 {
            let (sign, asked) = (sign.clone(), Cell::new(false));
            let once: DigestSigner =
                Rc::new(move |digest: &[u8; 32]| if asked.replace(true) { None } else { sign(digest) });
            let issued = issue(&keys, None, &once, b"", &mut begun, wall(NOW), &mut random);
            assert_eq!(count.get(), done + 1);
            assert_eq!(issued.map(|issued| issued.published.len()).ok(), (done == 3).then_some(3));
        }
        assert!(begun.is_empty());
    }

    #[test]
    fn no_certificate_is_made_before_the_time_is_known() {
        let (device, sign, count) = signer(1);
        let keys = keys(device);
        for time in [None, wall(0), wall(EARLIEST - 1), wall(LATEST)] {
            let issued = issued_by(&keys, &sign, b"", time, 1).map(|_| ());
            assert_eq!((issued, count.get()), (Err(NotIssued::NoClock), 0));
        }
        assert!(issued_by(&keys, &sign, b"", wall(EARLIEST), 1).is_ok());
    }

    #[test]
    fn a_note_of_another_key_counts_for_nothing() {
        let (device, sign, _) = signer(1);
        let note = issued_by(&keys(device), &sign, b"", wall(NOW), 1).unwrap().note.unwrap();
        let (other, sign, count) = signer(2);
        let issued = issued_by(&keys(other), &sign, &note, wall(NOW), 1).unwrap();
        assert_eq!(count.get(), 4);
        assert!(issued.note.is_some_and(|other| other != note));
    }

    #[test]
    fn a_damaged_note_costs_what_it_names_and_no_more() {
        let (device, sign, count) = signer(1);
        let keys = keys(device);
        let note = issued_by(&keys, &sign, b"", wall(NOW), 1).unwrap().note.unwrap();
        // The version, and a byte of each part of an entry.
        for at in [0, 1, 2, 17, 18, 25, 26, 89, 90] {
            let mut damaged = note.clone();
            // The upper bits of a serial number are the same in all.
            damaged[at] ^= 1;
            count.set(0);
            let issued = issued_by(&keys, &sign, &damaged, wall(NOW), 2).unwrap();
            assert!(issued.note.is_some() && count.get() >= 1, "byte {at}");
        }
        for length in [0, 1, ENTRY, note.len() - 1] {
            assert!(issued_by(&keys, &sign, &note[..length], wall(NOW), 2).is_ok());
        }
    }

    #[test]
    fn a_vault_that_does_not_sign_is_told_from_a_clock() {
        let (device, _, _) = signer(1);
        let mute: DigestSigner = Rc::new(|_| None);
        let wrong: DigestSigner = Rc::new(|_| Some([1; 64]));
        let issued = |sign| issued_by(&keys(device.clone()), &sign, b"", wall(NOW), 1).map(|_| ());
        assert_eq!(issued(mute), Err(NotIssued::NoSignature));
        assert_eq!(issued(wrong), Err(NotIssued::Issue(IssueError::Signature)));
        let none = Keys::default();
        let sign: DigestSigner = Rc::new(|_| None);
        let issued = issued_by(&none, &sign, b"", wall(NOW), 1).map(|_| ());
        assert_eq!(issued, Err(NotIssued::NoKey));
    }
}
