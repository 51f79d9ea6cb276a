//! AES in cipher feedback mode with segments of 128 bits: parameters of sessions (128-bit keys) and what is
//! escrowed (256-bit keys).

use aes::{
    Aes128, Aes256,
    cipher::{BlockCipherEncrypt, KeyInit},
};
use zeroize::Zeroize;

/// AES-128-CFB, which sessions encrypt parameters with.
pub(crate) struct Aes128Cfb(Stream<Aes128>);

/// AES-256-CFB, which secrets are escrowed with.
pub struct Aes256Cfb(Stream<Aes256>);

impl Aes128Cfb {
    pub(crate) fn new(key: &[u8; 16], iv: &[u8; 16]) -> Self {
        Self(Stream { cipher: Aes128::new(key.into()), register: *iv })
    }

    pub(crate) fn encrypt(self, bytes: &mut [u8]) {
        self.0.encrypt(bytes);
    }

    pub(crate) fn decrypt(self, bytes: &mut [u8]) {
        self.0.decrypt(bytes);
    }
}

impl Aes256Cfb {
    /// With this key and initial value.
    pub fn new(key: &[u8; 32], iv: &[u8; 16]) -> Self {
        Self(Stream { cipher: Aes256::new(key.into()), register: *iv })
    }

    /// Encrypts in place.
    pub fn encrypt(self, bytes: &mut [u8]) {
        self.0.encrypt(bytes);
    }

    /// Decrypts in place.
    pub fn decrypt(self, bytes: &mut [u8]) {
        self.0.decrypt(bytes);
    }
}

struct Stream<C> {
    cipher: C,
    register: [u8; 16],
}

impl<C> Drop for Stream<C> {
    fn drop(&mut self) {
        // The cipher wipes its own key.
        self.register.zeroize();
    }
}

impl<C: BlockCipherEncrypt<BlockSize = aes::cipher::consts::U16>> Stream<C> {
    fn next(&mut self) {
        self.cipher.encrypt_block((&mut self.register).into());
    }

    fn encrypt(mut self, bytes: &mut [u8]) {
        for segment in bytes.chunks_mut(16) {
            self.next();
            for (register, byte) in self.register.iter_mut().zip(segment) {
                *byte ^= *register;
                *register = *byte;
            }
        }
    }

    fn decrypt(mut self, bytes: &mut [u8]) {
        for segment in bytes.chunks_mut(16) {
            self.next();
            for (register, byte) in self.register.iter_mut().zip(segment) {
                let encrypted = *byte;
                *byte ^= *register;
                *register = encrypted;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// NIST SP 800-38A, F.3.13 and F.3.17: CFB128, the plaintext that all its examples have.
    const IV: &str = "000102030405060708090a0b0c0d0e0f";
    const PLAIN: &str = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51";

    fn bytes<const N: usize>(text: &str) -> [u8; N] {
        hex::decode(text).unwrap().try_into().unwrap()
    }

    #[test]
    fn the_examples_of_nist_come_out() {
        let mut text: [u8; 32] = bytes(PLAIN);
        let key = bytes("2b7e151628aed2a6abf7158809cf4f3c");
        Aes128Cfb::new(&key, &bytes(IV)).encrypt(&mut text);
        assert_eq!(hex::encode(text), "3b3fd92eb72dad20333449f8e83cfb4ac8a64537a0b3a93fcde3cdad9f1ce58b");
        Aes128Cfb::new(&key, &bytes(IV)).decrypt(&mut text);
        assert_eq!(hex::encode(text), PLAIN);

        let key = bytes("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4");
        Aes256Cfb::new(&key, &bytes(IV)).encrypt(&mut text);
        assert_eq!(hex::encode(text), "dc7e84bfda79164b7ecd8486985d386039ffed143b28b1c832113c6331e5407b");
        Aes256Cfb::new(&key, &bytes(IV)).decrypt(&mut text);
        assert_eq!(hex::encode(text), PLAIN);
    }

    #[test]
    fn a_last_segment_may_be_short() {
        let mut text = [7; 21];
        Aes256Cfb::new(&[1; 32], &[2; 16]).encrypt(&mut text);
        assert_ne!(text, [7; 21]);
        Aes256Cfb::new(&[1; 32], &[2; 16]).decrypt(&mut text);
        assert_eq!(text, [7; 21]);
    }
}
