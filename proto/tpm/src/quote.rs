//! What a quote attests: `TPMS_ATTEST`. The controller reads it; vault checks what it hands out.

use crate::{
    ids::{GENERATED, ST_ATTEST_QUOTE},
    pcr::Selection,
    wire::{Field, Malformed, Reader},
};

/// Bytes of the longest attestation that is taken.
pub const MAX_ATTEST: usize = 256;

/// What was quoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted<'a> {
    /// The nonce.
    pub nonce: &'a [u8],
    /// Milliseconds that the TPM ran since it was cleared.
    pub clock: u64,
    /// Resets of the TPM since it was cleared.
    pub reset_count: u32,
    /// Times that it was suspended since the last reset.
    pub restart_count: u32,
    /// The version of its firmware.
    pub firmware_version: u64,
    /// The PCRs.
    pub selection: Selection,
    /// SHA-256 over their values, see [`crate::pcr::composite`].
    pub digest: [u8; 32],
}

impl<'a> Quoted<'a> {
    /// Reads an attestation.
    ///
    /// # Errors
    /// [`Malformed`]; [`Field::Attestation`] if it is not a quote that a TPM made.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let magic = reader.u32()?;
        if magic != GENERATED {
            return Err(Malformed::Field { field: Field::Attestation, found: magic.into() });
        }
        reader.expect_u16(Field::Attestation, ST_ATTEST_QUOTE)?;
        // The name of the key, which the certificate of whoever checks the signature stands for.
        reader.sized(66)?;
        let nonce = reader.sized(crate::command::MAX_NONCE)?;
        let (clock, reset_count, restart_count) = (reader.u64()?, reader.u32()?, reader.u32()?);
        // Whether the clock may have gone back.
        reader.u8()?;
        let firmware_version = reader.u64()?;
        let selection = Selection::parse(&mut reader)?;
        let digest = reader.sized(32)?;
        let short = Malformed::Truncated { need: 32, have: digest.len() };
        let digest = digest.try_into().map_err(|_| short)?;
        reader.end()?;
        Ok(Self { nonce, clock, reset_count, restart_count, firmware_version, selection, digest })
    }
}
