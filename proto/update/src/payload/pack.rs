//! Making of a payload.

use alloc::vec::Vec;

use miniz_oxide::deflate::compress_to_vec;

use super::{DEFLATE, FORMAT, HEAD_BYTES, MAGIC};
use crate::manifest::{ALIGN, HEADER_BYTES};

/// Packs a slot, as [`Draft::sign`](crate::manifest::Draft::sign) makes it. `None` if it is shorter than a header's
/// block.
#[must_use]
pub fn pack(slot: &[u8]) -> Option<Vec<u8>> {
    /// The slowest: it is done once for each version.
    const LEVEL: u8 = 10;
    let contents = compress_to_vec(slot.get(ALIGN..)?, LEVEL);
    let mut payload = Vec::with_capacity(HEAD_BYTES + contents.len());
    payload.extend_from_slice(slot.get(..HEADER_BYTES)?);
    payload.extend_from_slice(&MAGIC);
    payload.extend_from_slice(&FORMAT.to_le_bytes());
    payload.extend_from_slice(&DEFLATE.to_le_bytes());
    payload.extend_from_slice(&contents);
    Some(payload)
}
