//! The public key of slots, as text: `boot/trust` says how a real one is supplied.
//!
//! Whoever checks slots has its bytes compiled in: the selector, and the storage domain.

/// Reads 64 lower-case hexadecimal digits, at compile time: anything else does not compile.
///
/// # Panics
/// When the text is anything else.
#[must_use]
pub const fn key_bytes(text: &str) -> [u8; 32] {
    let text = text.as_bytes().trim_ascii();
    assert!(text.len() == 64, "the key of slots is 64 hexadecimal digits");
    let mut bytes = [0; 32];
    let mut at = 0;
    while at < 64 {
        let digit = match text[at] {
            digit @ b'0'..=b'9' => digit - b'0',
            digit @ b'a'..=b'f' => digit - b'a' + 10,
            _ => panic!("the key of slots is lower-case hexadecimal"),
        };
        bytes[at / 2] = bytes[at / 2] << 4 | digit;
        at += 1;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::key_bytes;

    #[test]
    fn digits_are_read_in_their_order() {
        let key = key_bytes("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff\n");
        assert!(key[..31].iter().copied().eq(0..31));
        assert_eq!(key[31], 0xff);
    }
}
