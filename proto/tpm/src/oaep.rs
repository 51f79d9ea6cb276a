//! RSAES-OAEP with SHA-256, encryption only, for the salt of a session: 2048 bits, exponent 65537.
//!
//! Source: RFC 8017, 7.1.1; part 1, B.4 and B.10.2 (the label is a word with the zero behind it).

use crypto_bigint::{
    Odd, U2048,
    modular::{FixedMontyForm, FixedMontyParams},
};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Bytes of a modulus.
pub(crate) const MODULUS: usize = 256;
const HASH: usize = 32;

/// Encrypts a salt; none if the modulus is of no key: even, or of fewer bits.
pub(crate) fn encrypt(
    modulus: &[u8; MODULUS],
    label: &[u8],
    salt: &[u8; HASH],
    seed: &[u8; HASH],
) -> Option<[u8; MODULUS]> {
    if modulus[0] & 0x80 == 0 {
        return None;
    }
    let modulus = Option::from(Odd::new(U2048::from_be_slice(modulus)))?;

    // 0 ‖ seed ‖ hash of the label ‖ zeros ‖ 1 ‖ salt, the last four masked by the seed, that by them.
    let mut message = Zeroizing::new([0; MODULUS]);
    let (head, block) = message.split_at_mut(1 + HASH);
    let masked_seed = &mut head[1..];
    masked_seed.copy_from_slice(seed);
    block[..HASH].copy_from_slice(&Sha256::digest(label));
    let salt_at = block.len() - HASH;
    block[salt_at - 1] = 1;
    block[salt_at..].copy_from_slice(salt);
    mask(block, masked_seed);
    mask(masked_seed, block);

    let params = FixedMontyParams::new_vartime(modulus);
    let base = FixedMontyForm::new(&Zeroizing::new(U2048::from_be_slice(&*message)), &params);
    let power = base.pow_vartime(&crypto_bigint::U64::from_u32(65537)).retrieve();
    let mut out = [0; MODULUS];
    out.copy_from_slice(power.to_be_bytes().as_ref());
    Some(out)
}

/// MGF1: XORs what a seed expands to onto bytes.
fn mask(bytes: &mut [u8], seed: &[u8]) {
    for (counter, chunk) in (0_u32..).zip(bytes.chunks_mut(HASH)) {
        let block = Sha256::new().chain_update(seed).chain_update(counter.to_be_bytes()).finalize();
        for (byte, mask) in chunk.iter_mut().zip(&block) {
            *byte ^= mask;
        }
    }
}
