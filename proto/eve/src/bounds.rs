//! A bound on what a message decodes to.
//!
//! Two bytes on the wire, an empty element of a list, become several hundred bytes in memory. So
//! fields are counted before anything is decoded. Without a schema a string cannot be told from a
//! message, so every field with a length is looked into as if it were a message: text adds a little
//! to the count, and nothing that decodes to a list escapes it.

/// Levels of nesting that are counted; prost itself refuses more than a hundred.
const MAX_DEPTH: u32 = 8;

/// More fields than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

/// Counts the fields of a message.
///
/// # Errors
/// [`TooMany`] when there are more than `limit`. What is not a message is no error here.
pub fn check(message: &[u8], limit: usize) -> Result<(), TooMany> {
    let mut left = limit;
    walk(message, MAX_DEPTH, &mut left)
}

fn walk(mut rest: &[u8], depth: u32, left: &mut usize) -> Result<(), TooMany> {
    while let Some(key) = varint(&mut rest) {
        let skip = match key & 7 {
            0 => {
                if varint(&mut rest).is_none() {
                    return Ok(());
                }
                continue;
            }
            1 => 8,
            5 => 4,
            2 => {
                let Some(length) = varint(&mut rest).and_then(|length| usize::try_from(length).ok()) else {
                    return Ok(());
                };
                *left = left.checked_sub(1).ok_or(TooMany)?;
                if depth > 0
                    && let Some(inner) = rest.get(..length.min(rest.len()))
                {
                    walk(inner, depth - 1, left)?;
                }
                length
            }
            _ => return Ok(()),
        };
        let Some(next) = rest.get(skip..) else { return Ok(()) };
        rest = next;
    }
    Ok(())
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, tail) = rest.split_first()?;
        *rest = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use alloc::{vec, vec::Vec};

    use super::*;

    #[test]
    fn empty_elements_are_counted_at_every_level() {
        let flat: Vec<u8> = [0x22, 0x00].repeat(100);
        assert_eq!(check(&flat, 100), Ok(()));
        assert_eq!(check(&flat, 99), Err(TooMany));
        let mut nested = vec![0x22, 200, 1];
        nested.extend(&flat);
        assert_eq!(check(&nested, 101), Ok(()));
        assert_eq!(check(&nested, 100), Err(TooMany));
        // A length past the end does not hide what stands there.
        let mut lying = vec![0x22, 0xff, 0xff, 0x7f];
        lying.extend(&flat);
        assert_eq!(check(&lying, 50), Err(TooMany));
    }

    #[test]
    fn garbage_is_not_an_error() {
        for seed in 0..=255_u8 {
            let bytes: Vec<u8> = (0..64).map(|i: u8| i.wrapping_mul(seed) ^ seed).collect();
            assert_eq!(check(&bytes, 10_000), Ok(()));
        }
    }
}
