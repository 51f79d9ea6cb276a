use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use p256::SecretKey;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use p256::ecdsa::{Signature, SigningKey as SoftKey};
use p256::pkcs8::{DecodePrivateKey, EncodePublicKey};
use rustls::client::ResolvesClientCert;
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{SignatureAlgorithm, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer};
use sha2::{Digest, Sha256};

use super::SetupError;

/// A P-256 key that signs. It may live in this domain or in a TPM: it never sees more than a digest.
pub trait SignP256: fmt::Debug + Send + Sync {
    /// Signs a SHA-256 digest. The signature is r and s, 32 bytes each, big-endian.
    ///
    /// # Errors
    /// [`KeyUnusable`] if the holder of the key does not sign now.
    fn sign_digest(&self, digest: &[u8; 32]) -> Result<[u8; 64], KeyUnusable>;

    /// The public key as SubjectPublicKeyInfo in DER, if it is known without asking the holder.
    fn public_key(&self) -> Option<&[u8]> {
        None
    }
}

/// The key's holder did not sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUnusable;

/// Who we are towards servers that ask: a certificate chain and its key.
#[derive(Debug)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
}

impl Identity {
    /// The chain in the PEM file `certificates`, leaf first, with a key that signs elsewhere.
    ///
    /// # Errors
    /// [`SetupError::IdentityMalformed`], or [`SetupError::KeyOfAnother`] if `key` tells its public key and it differs.
    pub fn new(certificates: &[u8], key: Arc<dyn SignP256>) -> Result<Self, SetupError> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificates).collect();
        let chain = chain.map_err(|_| SetupError::IdentityMalformed)?;
        if chain.is_empty() {
            return Err(SetupError::IdentityMalformed);
        }
        let certified = CertifiedKey::new(chain, Arc::new(Key(key)));
        match certified.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(rustls::Error::InconsistentKeys(_)) => return Err(SetupError::KeyOfAnother),
            Err(_) => return Err(SetupError::IdentityMalformed),
        }
        Ok(Identity { certified: Arc::new(certified) })
    }

    /// Certificate and key from PEM files; the key is PKCS#8 or SEC1.
    ///
    /// # Errors
    /// [`SetupError::KeyMalformed`] and as [`Identity::new`].
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, SetupError> {
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| SetupError::KeyMalformed)?;
        let secret = match &key {
            PrivateKeyDer::Pkcs8(der) => SecretKey::from_pkcs8_der(der.secret_pkcs8_der()).ok(),
            PrivateKeyDer::Sec1(der) => SecretKey::from_sec1_der(der.secret_sec1_der()).ok(),
            _ => None,
        }
        .ok_or(SetupError::KeyMalformed)?;
        let public = secret.public_key().to_public_key_der().map_err(|_| SetupError::KeyMalformed)?;
        Self::new(certificates, Arc::new(InMemory { key: secret.into(), public: public.into_vec() }))
    }
}

impl ResolvesClientCert for Identity {
    fn resolve(&self, _roots: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        // The list of roots is a hint that controllers leave empty; the one certificate we have is shown anyway.
        schemes.contains(&SCHEME).then(|| self.certified.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

const SCHEME: SignatureScheme = SignatureScheme::ECDSA_NISTP256_SHA256;

/// A key in our own memory. It is wiped when dropped.
struct InMemory {
    key: SoftKey,
    public: Vec<u8>,
}

impl fmt::Debug for InMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InMemory")
    }
}

impl SignP256 for InMemory {
    fn sign_digest(&self, digest: &[u8; 32]) -> Result<[u8; 64], KeyUnusable> {
        let signature: Signature = self.key.sign_prehash(digest).map_err(|_| KeyUnusable)?;
        Ok(signature.to_bytes().into())
    }

    fn public_key(&self) -> Option<&[u8]> {
        Some(&self.public)
    }
}

#[derive(Clone, Debug)]
struct Key(Arc<dyn SignP256>);

impl SigningKey for Key {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&SCHEME).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        self.0.public_key().map(SubjectPublicKeyInfoDer::from)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let failed = || rustls::Error::General(super::error::KEY_UNUSABLE.into());
        let raw = self.0.sign_digest(&Sha256::digest(message).into()).map_err(|_| failed())?;
        let signature = Signature::from_slice(&raw).map_err(|_| failed())?;
        Ok(signature.to_der().as_bytes().to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SCHEME
    }
}
