//! Public areas, names, and the templates of EVE's keys.

use sha2::{Digest, Sha256};

use crate::{
    ids::{CURVE_P256, Handle, ObjectAttributes, alg},
    wire::{Bytes, Field, Malformed, Reader},
};

/// Bytes of the longest public area that is taken: an RSA-2048 key with a policy.
pub const MAX_PUBLIC: usize = 384;
/// Bytes of an RSA-2048 modulus.
pub const MODULUS: usize = 256;

/// A key that EVE has in a TPM, at EVE's handle and from EVE's template.
///
/// Source: lf-edge/eve, `pkg/pillar/evetpm/tpm.go`; all of them are fixed to the TPM, as its documents say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The endorsement key, after the TCG's template for RSA-2048.
    Endorsement,
    /// The storage root key, RSA-2048.
    Storage,
    /// Signs quotes: restricted, P-256.
    Quote,
    /// ECDH, P-256.
    Ecdh,
    /// The device's key, P-256, with an authorization of its own. EVE makes it from the template of
    /// [`Role::Ecdh`], and what a primary key is follows from its template: unless one of them was made
    /// otherwise, both are one key.
    Device,
}

/// PolicySecret by the endorsement hierarchy: the policy of the TCG's template.
///
/// Source: TCG EK Credential Profile 2.0, B.6.
const ENDORSEMENT_POLICY: [u8; 32] = [
    0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24, 0xfd,
    0x52, 0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa,
];

impl Role {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Endorsement, Self::Storage, Self::Quote, Self::Ecdh, Self::Device];

    /// Where it is kept.
    pub const fn handle(self) -> Handle {
        match self {
            Self::Endorsement => Handle(0x8100_0001),
            Self::Storage => Handle(0x8100_0002),
            // 0x81000003 is EVE's RSA key for TPMs of guests, which we have none of.
            Self::Quote => Handle(0x8100_0004),
            Self::Ecdh => Handle(0x8100_0005),
            Self::Device => Handle(0x817f_ffff),
        }
    }

    /// The hierarchy of which it is a primary key. The endorsement key is the one of the TPM's certificate only
    /// in the endorsement hierarchy.
    pub const fn hierarchy(self) -> Handle {
        match self {
            Self::Endorsement => Handle::ENDORSEMENT,
            Self::Storage | Self::Quote | Self::Ecdh | Self::Device => Handle::OWNER,
        }
    }

    /// What may be done with it.
    pub const fn attributes(self) -> ObjectAttributes {
        type A = ObjectAttributes;
        let fixed = A::FIXED_TPM.union(A::FIXED_PARENT).union(A::SENSITIVE_DATA_ORIGIN);
        let used = fixed.union(A::USER_WITH_AUTH).union(A::NO_DA);
        match self {
            Self::Endorsement => fixed.union(A::ADMIN_WITH_POLICY).union(A::RESTRICTED).union(A::DECRYPT),
            Self::Storage => used.union(A::RESTRICTED).union(A::DECRYPT),
            Self::Quote => used.union(A::RESTRICTED).union(A::SIGN),
            Self::Ecdh | Self::Device => used.union(A::SIGN).union(A::DECRYPT),
        }
    }

    /// The template: a public area with nothing but zeros where the key comes.
    pub fn template(self) -> Bytes<MAX_PUBLIC> {
        let mut template = self.form();
        match self {
            // The zeros are part of what the key is derived from.
            Self::Endorsement | Self::Storage => template.sized(&[0; MODULUS]),
            Self::Quote | Self::Ecdh | Self::Device => template.sized(&[]).sized(&[]),
        };
        template
    }

    /// The public area of a key of P-256 with this template.
    pub fn public_of_point(self, x: &[u8; 32], y: &[u8; 32]) -> Bytes<MAX_PUBLIC> {
        let mut public = self.form();
        public.sized(x).sized(y);
        public
    }

    /// The public area of an RSA key with this template.
    pub fn public_of_modulus(self, modulus: &[u8; MODULUS]) -> Bytes<MAX_PUBLIC> {
        let mut public = self.form();
        public.sized(modulus);
        public
    }

    /// The template as far as the key.
    fn form(self) -> Bytes<MAX_PUBLIC> {
        let (kind, policy): (_, &[u8]) = match self {
            Self::Endorsement => (alg::RSA, &ENDORSEMENT_POLICY),
            Self::Storage => (alg::RSA, &[]),
            Self::Quote | Self::Ecdh | Self::Device => (alg::ECC, &[]),
        };
        let mut form = Bytes::default();
        form.u16(kind).u16(alg::SHA256).u32(self.attributes().bits()).sized(policy);
        match self {
            // AES-128-CFB below it, no scheme, 2048 bits, exponent 65537.
            Self::Endorsement | Self::Storage => {
                form.u16(alg::AES).u16(128).u16(alg::CFB).u16(alg::NULL).u16(2048).u32(0)
            }
            Self::Quote => {
                form.u16(alg::NULL).u16(alg::ECDSA).u16(alg::SHA256).u16(CURVE_P256).u16(alg::NULL)
            }
            Self::Ecdh | Self::Device => form.u16(alg::NULL).u16(alg::NULL).u16(CURVE_P256).u16(alg::NULL),
        };
        form
    }

    /// Whether a public area is one of this template: all but the key itself is the same.
    pub fn fits(self, public: &Public<'_>) -> bool {
        public.bytes.starts_with(self.form().as_slice())
    }
}

/// The template of a key of P-256 that a storage's key is escrowed by: it decrypts, is at no handle, and is another
/// one than EVE's by what stands where the point comes. Made anew it is the same, as long as the TPM is not
/// cleared.
pub(crate) fn escrow_template() -> Bytes<MAX_PUBLIC> {
    let attributes = Role::Ecdh.attributes().difference(ObjectAttributes::SIGN);
    let mut template = Bytes::default();
    template.u16(alg::ECC).u16(alg::SHA256).u32(attributes.bits()).sized(&[]);
    template.u16(alg::NULL).u16(alg::NULL).u16(CURVE_P256).u16(alg::NULL);
    template.sized(b"Sarsen escrow").sized(&[]);
    template
}

/// The template of sealed data: nobody may see it but by the policy, and nothing is counted.
pub(crate) fn sealed_template(policy: &[u8; 32]) -> Bytes<MAX_PUBLIC> {
    let attributes = ObjectAttributes::FIXED_TPM | ObjectAttributes::FIXED_PARENT | ObjectAttributes::NO_DA;
    let mut template = Bytes::default();
    template.u16(alg::KEYEDHASH).u16(alg::SHA256).u32(attributes.bits()).sized(policy);
    template.u16(alg::NULL).sized(&[]);
    template
}

/// A public area, `TPMT_PUBLIC`, of a key of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Public<'a> {
    /// All of it.
    pub bytes: &'a [u8],
    /// The key.
    pub key: Key<'a>,
}

/// A public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key<'a> {
    /// A point of P-256: X and Y. Not checked to be on the curve.
    P256([u8; 32], [u8; 32]),
    /// A modulus of 2048 bits; the exponent is 65537.
    Rsa2048(&'a [u8; MODULUS]),
}

impl<'a> Public<'a> {
    /// Reads a public area.
    ///
    /// # Errors
    /// [`Malformed`], also for keys of other kinds than [`Role`] has.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let kind = reader.u16()?;
        reader.expect_u16(Field::Algorithm, alg::SHA256)?;
        reader.u32()?;
        reader.sized(64)?;
        if reader.u16()? != alg::NULL {
            // Key bits and mode of what a storage key encrypts with.
            reader.u32()?;
        }
        if reader.u16()? != alg::NULL {
            // The hash of the scheme.
            reader.u16()?;
        }
        let key = match kind {
            alg::RSA => {
                reader.expect_u16(Field::KeyForm, 2048)?;
                let exponent = reader.u32()?;
                if exponent != 0 && exponent != 65537 {
                    return Err(Malformed::Field { field: Field::KeyForm, found: exponent.into() });
                }
                let modulus = reader.sized(MODULUS)?;
                let short = Malformed::Truncated { need: MODULUS, have: modulus.len() };
                Key::Rsa2048(modulus.try_into().map_err(|_| short)?)
            }
            alg::ECC => {
                reader.expect_u16(Field::Curve, CURVE_P256)?;
                reader.expect_u16(Field::KeyForm, alg::NULL)?;
                Key::P256(reader.number()?, reader.number()?)
            }
            other => return Err(Malformed::Field { field: Field::KeyForm, found: other.into() }),
        };
        reader.end()?;
        Ok(Self { bytes, key })
    }

    /// Its name.
    pub fn name(&self) -> Name {
        name(self.bytes)
    }
}

/// A name: the algorithm SHA-256, and that hash of a public area. Source: part 1, 16.
pub type Name = [u8; 34];

/// The name of a public area.
pub fn name(public: &[u8]) -> Name {
    let mut name = [0; 34];
    name[..2].copy_from_slice(&alg::SHA256.to_be_bytes());
    name[2..].copy_from_slice(&Sha256::digest(public));
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_of_their_own_form_and_of_no_other() {
        for role in Role::ALL {
            let template = role.template();
            for other in Role::ALL {
                let public = Public { bytes: template.as_slice(), key: Key::P256([0; 32], [0; 32]) };
                // Two keys with the same template, told apart by their handle and authorization.
                let same = role == other
                    || [role, other].iter().all(|role| matches!(role, Role::Ecdh | Role::Device));
                assert_eq!(other.fits(&public), same, "{role:?} {other:?}");
            }
        }
    }

    #[test]
    fn templates_are_what_the_other_implementation_reads() {
        use tpm2_protocol::{TpmUnmarshal, data::TpmtPublic};
        for role in Role::ALL {
            let template = role.template();
            let (public, rest) = TpmtPublic::unmarshal(template.as_slice()).unwrap();
            assert!(rest.is_empty());
            assert_eq!(public.object_attributes.bits(), role.attributes().bits());
        }
    }
}
