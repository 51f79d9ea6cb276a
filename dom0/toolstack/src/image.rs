//! Images of services: found in the archive, and the very ones that the table names.

use core::fmt;

use proto_manifest::{
    archive::{Archive, IMAGES},
    table::Domain,
};
use sha2::{Digest, Sha256};

/// Why an image is not started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageError {
    /// The archive has none of that name.
    Missing,
    /// It is not the one that the table was compiled with.
    Hash {
        /// SHA-256 in the table.
        expected: [u8; 32],
        /// SHA-256 of what is in the archive.
        found: [u8; 32],
    },
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("its image is not in the archive"),
            Self::Hash { expected, found } => {
                let (expected, found) = (Hex(expected), Hex(found));
                write!(
                    f,
                    "image hash differs from the table: {found} in the archive, {expected} in the table"
                )
            }
        }
    }
}

/// The image of `domain`, whatever it is: for who has checked it before.
///
/// # Errors
/// [`ImageError::Missing`].
pub fn find<'a>(archive: &Archive<'a>, domain: &Domain) -> Result<&'a [u8], ImageError> {
    let mut found = archive.under(IMAGES).filter(|entry| entry.name == domain.image.as_str());
    Ok(found.next().ok_or(ImageError::Missing)?.data)
}

/// The image of `domain`, if it is the one that the table names.
///
/// # Errors
/// As [`ImageError`] tells.
pub fn checked<'a>(archive: &Archive<'a>, domain: &Domain) -> Result<&'a [u8], ImageError> {
    let image = find(archive, domain)?;
    let found = sha256(image);
    if found == domain.sha256 { Ok(image) } else { Err(ImageError::Hash { expected: domain.sha256, found }) }
}

/// SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// The first bytes of a hash, enough to tell two apart.
pub struct Hex<'a>(pub &'a [u8; 32]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(8).try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("…")
    }
}
