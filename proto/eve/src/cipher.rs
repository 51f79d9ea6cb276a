//! Secrets that a configuration carries, encrypted for this device.
//!
//! A block names a context, and a context two certificates: one of the controller, one of ours. The point that
//! their keys share makes the key: SHA-256 over both of its coordinates. The mode is CFB with segments of 128 bits,
//! whatever documents call it.
//!
//! Source: EVE, `docs/OBJECT-LEVEL-ENCRYPTION.md`, `pkg/pillar/cipher`.

use alloc::vec::Vec;

use aes::Aes256;
use cfb_mode::{Decryptor, cipher::KeyIvInit};
use prost::Message;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use crate::wire::common::{
    CipherBlock, CipherContext, EncryptionBlock, EncryptionScheme, HashAlgorithm, KeyExchangeScheme,
};

/// Bytes of the longest secret.
pub const MAX_SECRET: usize = 64 * 1024;

/// Why a secret stays one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CipherError {
    /// The block names a context that the configuration does not have.
    NoContext,
    /// The context asks for something other than ECDH and AES-256 in CFB.
    Scheme,
    /// The context names a certificate of the controller that we do not hold, or whose key is not P-256.
    ControllerCert,
    /// The context names a certificate that is not ours.
    DeviceCert,
    /// The vault does not agree on the key.
    NoKey,
    /// The initial value has not 16 bytes, or there is more than [`MAX_SECRET`].
    Shape,
    /// What comes out has another hash.
    Decrypt,
    /// What comes out is no list of secrets.
    Content,
}

impl core::fmt::Display for CipherError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::NoContext => "its cipher context is not in the configuration",
            Self::Scheme => "its cipher context asks for an unknown scheme",
            Self::ControllerCert => "its cipher context names an unknown certificate of the controller",
            Self::DeviceCert => "its cipher context names a certificate that is not this device's",
            Self::NoKey => "the vault does not make its key",
            Self::Shape => "its initial value or length is wrong",
            Self::Decrypt => "it does not decrypt to what its hash says",
            Self::Content => "what it decrypts to is no list of secrets",
        })
    }
}

/// Finds the context of a block and checks that we can do what it asks for.
///
/// # Errors
/// [`CipherError::NoContext`], [`CipherError::Scheme`].
pub fn context<'a>(
    contexts: &'a [CipherContext],
    block: &CipherBlock,
) -> Result<&'a CipherContext, CipherError> {
    let context = contexts
        .iter()
        .find(|context| context.context_id == block.cipher_context_id)
        .ok_or(CipherError::NoContext)?;
    let hash = matches!(
        HashAlgorithm::try_from(context.hash_scheme),
        Ok(HashAlgorithm::Sha25616bytes | HashAlgorithm::Sha25632bytes)
    );
    let fits = hash
        && context.key_exchange_scheme == KeyExchangeScheme::KeaEcdh as i32
        && context.encryption_scheme == EncryptionScheme::SaAes256Cfb as i32;
    if fits { Ok(context) } else { Err(CipherError::Scheme) }
}

/// Whether a context means the certificate with this PEM text: by the first 16 bytes of its SHA-256, or all.
#[must_use]
pub fn names(hash: &[u8], certificate_pem: &[u8]) -> bool {
    matches!(hash.len(), 16 | 32) && Sha256::digest(certificate_pem).starts_with(hash)
}

/// Decrypts a block with the point that both keys share, and reads what is in it.
///
/// # Errors
/// [`CipherError::Shape`], [`CipherError::Decrypt`], [`CipherError::Content`].
pub fn open(block: &CipherBlock, x: &[u8; 32], y: &[u8; 32]) -> Result<EncryptionBlock, CipherError> {
    let mut clear = decrypt(block, x, y)?;
    let read = EncryptionBlock::decode(&clear[..]).map_err(|_| CipherError::Content);
    clear.zeroize();
    read
}

/// Decrypts a block to bytes.
///
/// # Errors
/// [`CipherError::Shape`], [`CipherError::Decrypt`].
pub fn decrypt(block: &CipherBlock, x: &[u8; 32], y: &[u8; 32]) -> Result<Vec<u8>, CipherError> {
    let initial: &[u8; 16] = block.initial_value.as_slice().try_into().map_err(|_| CipherError::Shape)?;
    if block.cipher_data.len() > MAX_SECRET {
        return Err(CipherError::Shape);
    }
    let key: Zeroizing<[u8; 32]> =
        Zeroizing::new(Sha256::new().chain_update(x).chain_update(y).finalize().into());
    let mut clear = block.cipher_data.clone();
    Decryptor::<Aes256>::new((&*key).into(), initial.into()).decrypt(&mut clear);
    if Sha256::digest(&clear)[..] == block.clear_text_sha256[..] {
        return Ok(clear);
    }
    clear.zeroize();
    Err(CipherError::Decrypt)
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    /// Made with Python: `cryptography`'s AES in CFB, the key SHA-256 of 32 times 1 and 32 times 2.
    fn block() -> CipherBlock {
        CipherBlock {
            cipher_context_id: "c".into(),
            initial_value: (0..16).collect(),
            cipher_data: hex::decode(include_str!("../tests/vectors/cipher.hex").trim()).unwrap(),
            clear_text_sha256: Sha256::digest(clear()).to_vec(),
        }
    }

    fn clear() -> Vec<u8> {
        EncryptionBlock {
            ds_api_key: "key".into(),
            ds_password: "a longer pass phrase".into(),
            ..EncryptionBlock::default()
        }
        .encode_to_vec()
    }

    #[test]
    fn a_block_of_another_implementation_is_read() {
        let read = open(&block(), &[1; 32], &[2; 32]).unwrap();
        assert_eq!((read.ds_api_key.as_str(), read.ds_password.as_str()), ("key", "a longer pass phrase"));
    }

    #[test]
    fn a_block_that_was_changed_stays_shut() {
        let is = |change: &dyn Fn(&mut CipherBlock), x| {
            let mut block = block();
            change(&mut block);
            open(&block, &[x; 32], &[2; 32]).map(|_| ())
        };
        assert_eq!(is(&|_| {}, 1), Ok(()));
        assert_eq!(is(&|_| {}, 3), Err(CipherError::Decrypt));
        assert_eq!(is(&|block| block.cipher_data[3] ^= 1, 1), Err(CipherError::Decrypt));
        assert_eq!(is(&|block| block.initial_value[0] ^= 1, 1), Err(CipherError::Decrypt));
        assert_eq!(is(&|block| block.initial_value.truncate(15), 1), Err(CipherError::Shape));
        assert_eq!(is(&|block| block.clear_text_sha256.truncate(16), 1), Err(CipherError::Decrypt));
        assert_eq!(is(&|block| block.cipher_data = vec![0; MAX_SECRET + 1], 1), Err(CipherError::Shape));
    }

    #[test]
    fn only_known_schemes_are_taken() {
        let known = CipherContext {
            context_id: "c".into(),
            hash_scheme: 1,
            key_exchange_scheme: 1,
            encryption_scheme: 1,
            ..CipherContext::default()
        };
        let found = |contexts: &[CipherContext]| context(contexts, &block()).map(|_| ());
        assert_eq!(found(&[]), Err(CipherError::NoContext));
        assert_eq!(found(core::slice::from_ref(&known)), Ok(()));
        for bad in [
            CipherContext { hash_scheme: 0, ..known.clone() },
            CipherContext { key_exchange_scheme: 0, ..known.clone() },
            CipherContext { encryption_scheme: 2, ..known },
        ] {
            assert_eq!(found(&[bad]), Err(CipherError::Scheme));
        }
        let hash = Sha256::digest(b"pem");
        assert!(names(&hash, b"pem") && names(&hash[..16], b"pem"));
        assert!(!names(&hash[..8], b"pem") && !names(&[], b"pem") && !names(&hash, b"PEM"));
    }
}
