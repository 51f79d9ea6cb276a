//! A P-256 key for tests, made of a number.

use alloc::vec::Vec;

use p256::ecdsa::{Signature, SigningKey, signature::hazmat::PrehashSigner};

pub(crate) struct TestKey(SigningKey);

impl TestKey {
    /// A key of its own for each number from 1 on.
    pub(crate) fn new(seed: u8) -> Self {
        Self(SigningKey::from_slice(&[seed; 32]).unwrap())
    }

    /// Its public point, uncompressed.
    pub(crate) fn point(&self) -> Vec<u8> {
        self.0.verifying_key().to_sec1_point(false).as_bytes().to_vec()
    }

    /// r and s.
    pub(crate) fn sign(&self, digest: &[u8; 32]) -> [u8; 64] {
        let signature: Signature = self.0.sign_prehash(digest).unwrap();
        signature.to_bytes().into()
    }
}
