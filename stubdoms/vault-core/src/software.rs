//! Keys where there is no TPM: P-256 in this domain's memory, kept by the storage under the storage's key, which lies
//! beside them in the clear.

use p256::{
    ProjectivePoint, PublicKey, SecretKey,
    ecdsa::{Signature, SigningKey, signature::hazmat::PrehashSigner},
    elliptic_curve::sec1::ToSec1Point,
};

use crate::{
    record::{Kept, Unreadable},
    tpm::{Random, random},
};

/// A point: X and Y.
pub type Point = ([u8; 32], [u8; 32]);

/// The keys. Both are wiped at the end.
pub struct Keys {
    device: SecretKey,
    ecdh: SecretKey,
}

impl Keys {
    /// New ones.
    pub fn generate(source: &mut impl Random) -> Self {
        Self { device: generate(source), ecdh: generate(source) }
    }

    /// Those that were kept under the storage's key.
    ///
    /// # Errors
    /// [`Unreadable`]
    pub fn parse(kept: &[u8], storage: &[u8; 32]) -> Result<Self, Unreadable> {
        let kept = Kept::parse(kept, storage)?;
        let key = |bytes: &[u8; 32]| SecretKey::from_slice(bytes).map_err(|_| Unreadable::Key);
        Ok(Self { device: key(&kept.device)?, ecdh: key(&kept.ecdh)? })
    }

    /// What is to be kept.
    pub fn kept(&self) -> Kept {
        Kept { device: self.device.to_bytes().into(), ecdh: self.ecdh.to_bytes().into() }
    }

    /// The device's public key.
    pub fn device(&self) -> Point {
        coordinates(&self.device.public_key())
    }

    /// The public key of ECDH.
    pub fn ecdh(&self) -> Point {
        coordinates(&self.ecdh.public_key())
    }

    /// An ECDSA signature by the device's key: r and s.
    pub fn sign(&self, digest: &[u8; 32]) -> Point {
        let key = SigningKey::from(&self.device);
        let signature: Signature = key.sign_prehash(digest).expect("a digest of 32 bytes can be signed");
        let (r, s) = signature.split_bytes();
        (r.into(), s.into())
    }

    /// The point that the ECDH key shares with a peer.
    pub fn shared(&self, peer: &PublicKey) -> Point {
        let point = ProjectivePoint::from(*peer.as_affine()) * *self.ecdh.to_nonzero_scalar();
        // The order of the curve is a prime, so no multiple below it is the neutral point.
        let shared = PublicKey::from_affine(point.to_affine()).expect("not the neutral point");
        coordinates(&shared)
    }
}

fn generate(source: &mut impl Random) -> SecretKey {
    loop {
        // All but one in 2³² numbers are keys.
        if let Ok(key) = SecretKey::from_slice(&*random(source)) {
            return key;
        }
    }
}

/// X and Y of a point.
pub(crate) fn coordinates(key: &PublicKey) -> Point {
    let point = key.to_sec1_point(false);
    let mut both = ([0; 32], [0; 32]);
    // Uncompressed: 4, X, Y.
    both.0.copy_from_slice(&point.as_bytes()[1..33]);
    both.1.copy_from_slice(&point.as_bytes()[33..65]);
    both
}

/// An uncompressed point of SEC 1.
pub(crate) fn sec1(point: &Point) -> [u8; 65] {
    let mut bytes = [4; 65];
    bytes[1..33].copy_from_slice(&point.0);
    bytes[33..].copy_from_slice(&point.1);
    bytes
}

#[cfg(test)]
mod tests {
    use p256::ecdsa::{VerifyingKey, signature::hazmat::PrehashVerifier};

    use super::*;
    use crate::record::NONCE;

    struct Counting(u8);

    impl Random for Counting {
        fn fill(&mut self, bytes: &mut [u8]) {
            self.0 += 1;
            bytes.fill(self.0);
        }
    }

    #[test]
    fn both_ends_share_a_point_and_signatures_verify() {
        let (a, b) = (Keys::generate(&mut Counting(0)), Keys::generate(&mut Counting(9)));
        let public = |keys: &Keys| PublicKey::from_sec1_bytes(&sec1(&keys.ecdh())).unwrap();
        assert_eq!(a.shared(&public(&b)), b.shared(&public(&a)));
        let (r, s) = a.sign(&[5; 32]);
        let verifying = VerifyingKey::from_sec1_bytes(&sec1(&a.device())).unwrap();
        verifying.verify_prehash(&[5; 32], &Signature::from_scalars(r, s).unwrap()).unwrap();
    }

    #[test]
    fn keys_come_back_and_those_that_are_none_are_refused() {
        let keys = Keys::generate(&mut Counting(0));
        let again = Keys::parse(&keys.kept().emit(&[7; 32], &[1; NONCE]), &[7; 32]).unwrap();
        assert_eq!((again.device(), again.ecdh()), (keys.device(), keys.ecdh()));
        let none = Kept { device: [0; 32], ecdh: [1; 32] };
        let none = none.emit(&[7; 32], &[1; NONCE]);
        assert!(matches!(Keys::parse(&none, &[7; 32]), Err(Unreadable::Key)));
    }
}
