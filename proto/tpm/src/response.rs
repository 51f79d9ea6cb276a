//! One function a command: what came back.
//!
//! [`open`] takes the frame apart; the functions below it read the parameters of an answer that says success.
//! What is borrowed from an answer is bounded by it.

use core::fmt;

use heapless::Vec;

use crate::{
    ids::{Code, Handle, ST_NO_SESSIONS, ST_SESSIONS, TAG_RSP_1_2, alg, capability},
    key::{MAX_PUBLIC, Name, Public, name},
    pcr::{COUNT, Selection, Value},
    rc::ResponseCode,
    wire::{Field, MAX_RESPONSE, Malformed, Reader},
};

/// Why an answer gives nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The TPM says so.
    Code(ResponseCode),
    /// The answer is none.
    Malformed(Malformed),
    /// It is the answer of a TPM of family 1.2.
    Family12,
    /// The session does not prove that the TPM sent it.
    Forged,
}

impl From<Malformed> for Failure {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => code.fmt(f),
            Self::Malformed(malformed) => write!(f, "malformed answer: {malformed}"),
            Self::Family12 => write!(f, "answer of a TPM 1.2"),
            Self::Forged => write!(f, "answer is not authenticated by its session"),
        }
    }
}

/// An answer that says success, taken apart.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The handle of what was made, for the commands that make something.
    pub handle: Option<Handle>,
    /// The parameters, encrypted if the session has it so.
    pub parameters: &'a [u8],
    /// What the session says; empty without one.
    pub sessions: &'a [u8],
}

/// Takes the answer to a command apart.
///
/// # Errors
/// [`Failure`]; not [`Failure::Forged`].
pub fn open(code: Code, bytes: &[u8]) -> Result<Answer<'_>, Failure> {
    if bytes.len() > MAX_RESPONSE {
        return Err(Malformed::TooLong { length: bytes.len(), most: MAX_RESPONSE }.into());
    }
    let mut reader = Reader::new(bytes);
    let tag = reader.u16()?;
    let length = reader.u32()?;
    if usize::try_from(length) != Ok(bytes.len()) {
        return Err(Malformed::Field { field: Field::Length, found: length.into() }.into());
    }
    let rc = ResponseCode(reader.u32()?);
    let sessions = match tag {
        ST_SESSIONS => true,
        ST_NO_SESSIONS => false,
        TAG_RSP_1_2 => return Err(Failure::Family12),
        other => return Err(Malformed::Field { field: Field::Tag, found: other.into() }.into()),
    };
    if rc != ResponseCode::SUCCESS {
        reader.end()?;
        return Err(Failure::Code(rc));
    }
    let handle = match code {
        Code::CreatePrimary | Code::Load | Code::StartAuthSession => Some(Handle(reader.u32()?)),
        _ => None,
    };
    if !sessions {
        return Ok(Answer { handle, parameters: reader.rest(), sessions: &[] });
    }
    let length = reader.u32()?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let parameters = reader.take(length)?;
    Ok(Answer { handle, parameters, sessions: reader.rest() })
}

/// Nothing is expected.
///
/// # Errors
/// [`Malformed::Trailing`].
pub fn nothing(parameters: &[u8]) -> Result<(), Malformed> {
    Reader::new(parameters).end()
}

/// To `get_random`.
///
/// # Errors
/// [`Malformed`], also if there are fewer bytes than asked for.
pub fn random<const N: usize>(parameters: &[u8]) -> Result<[u8; N], Malformed> {
    let mut reader = Reader::new(parameters);
    let bytes = reader.sized(N)?;
    reader.end()?;
    bytes.try_into().map_err(|_| Malformed::Truncated { need: N, have: bytes.len() })
}

/// To `read_public`.
///
/// # Errors
/// [`Malformed`]; [`Field::Name`] if the name is not that of the public area.
pub fn public(parameters: &[u8]) -> Result<Public<'_>, Malformed> {
    let mut reader = Reader::new(parameters);
    let public = Public::parse(reader.sized(MAX_PUBLIC)?)?;
    let given = reader.sized(size_of::<Name>())?;
    // Of the hierarchy and all parents.
    reader.sized(66)?;
    reader.end()?;
    if given != public.name() {
        return Err(Malformed::Field { field: Field::Name, found: given.len() as u64 });
    }
    Ok(public)
}

/// To `create_primary`: what is public of the key. That it is the key of the handle is what a later
/// `read_public` shows.
///
/// # Errors
/// [`Malformed`]
pub fn created_primary(parameters: &[u8]) -> Result<Public<'_>, Malformed> {
    let mut reader = Reader::new(parameters);
    let public = Public::parse(reader.sized(MAX_PUBLIC)?)?;
    creation(&mut reader)?;
    let given = reader.sized(size_of::<Name>())?;
    reader.end()?;
    if given != public.name() {
        return Err(Malformed::Field { field: Field::Name, found: given.len() as u64 });
    }
    Ok(public)
}

/// To `create_sealed`: the private and the public part.
///
/// # Errors
/// [`Malformed`]
pub fn created(parameters: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let mut reader = Reader::new(parameters);
    let private = reader.sized(crate::command::MAX_PART)?;
    let public = reader.sized(crate::command::MAX_PART)?;
    creation(&mut reader)?;
    reader.end()?;
    Ok((private, public))
}

/// Creation data, hash and ticket, which nobody here asks for.
fn creation(reader: &mut Reader<'_>) -> Result<(), Malformed> {
    reader.sized(512)?;
    reader.sized(64)?;
    reader.u16()?;
    reader.u32()?;
    reader.sized(64)?;
    Ok(())
}

/// To `load`: the name of what was loaded, which must be that of the public part.
///
/// # Errors
/// [`Malformed`]
pub fn loaded(parameters: &[u8], public: &[u8]) -> Result<(), Malformed> {
    let mut reader = Reader::new(parameters);
    let given = reader.sized(size_of::<Name>())?;
    reader.end()?;
    if given != name(public) {
        return Err(Malformed::Field { field: Field::Name, found: given.len() as u64 });
    }
    Ok(())
}

/// To `unseal`: a secret of 32 bytes.
///
/// # Errors
/// [`Malformed`]
pub fn unsealed(parameters: &[u8]) -> Result<&[u8; 32], Malformed> {
    let mut reader = Reader::new(parameters);
    let secret = reader.sized(32)?;
    reader.end()?;
    secret.try_into().map_err(|_| Malformed::Truncated { need: 32, have: secret.len() })
}

/// An ECDSA signature of P-256: r and s.
pub type Signature = ([u8; 32], [u8; 32]);

/// To `sign`.
///
/// # Errors
/// [`Malformed`]
pub fn signature(parameters: &[u8]) -> Result<Signature, Malformed> {
    let mut reader = Reader::new(parameters);
    let signature = ecdsa(&mut reader)?;
    reader.end()?;
    Ok(signature)
}

/// To `quote`: what was attested, without a length before it, and the signature.
///
/// # Errors
/// [`Malformed`]
pub fn quote(parameters: &[u8]) -> Result<(&[u8], Signature), Malformed> {
    let mut reader = Reader::new(parameters);
    let attested = reader.sized(crate::quote::MAX_ATTEST)?;
    let signature = ecdsa(&mut reader)?;
    reader.end()?;
    Ok((attested, signature))
}

fn ecdsa(reader: &mut Reader<'_>) -> Result<Signature, Malformed> {
    reader.expect_u16(Field::Algorithm, alg::ECDSA)?;
    reader.expect_u16(Field::Algorithm, alg::SHA256)?;
    Ok((reader.number()?, reader.number()?))
}

/// To `ecdh_zgen`: X and Y.
///
/// # Errors
/// [`Malformed`]
pub fn point(parameters: &[u8]) -> Result<([u8; 32], [u8; 32]), Malformed> {
    let mut reader = Reader::new(parameters);
    let mut point = Reader::new(reader.sized(68)?);
    reader.end()?;
    let point_read = (point.number()?, point.number()?);
    point.end()?;
    Ok(point_read)
}

/// Some values of PCRs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pcrs {
    /// How often any PCR was changed: two answers with the same number belong together.
    pub update_counter: u32,
    /// Of which PCRs.
    pub selection: Selection,
    /// Their values, in order.
    pub values: Vec<Value, COUNT>,
}

/// To `pcr_read`.
///
/// # Errors
/// [`Malformed`]; [`Field::Count`] if there are not as many values as PCRs.
pub fn pcrs(parameters: &[u8]) -> Result<Pcrs, Malformed> {
    let mut reader = Reader::new(parameters);
    let update_counter = reader.u32()?;
    let selection = Selection::parse(&mut reader)?;
    let count = reader.u32()?;
    if count != selection.bits().count_ones() {
        return Err(Malformed::Field { field: Field::Count, found: count.into() });
    }
    let mut values = Vec::new();
    for _ in selection.iter() {
        let value = reader.sized(32)?;
        let value = value.try_into().map_err(|_| Malformed::Truncated { need: 32, have: value.len() })?;
        values.push(value).expect("a selection has at most COUNT PCRs");
    }
    reader.end()?;
    Ok(Pcrs { update_counter, selection, values })
}

/// Handles that one answer gives.
pub const MAX_HANDLES: usize = 32;

/// To `get_capability` of handles: some of them.
///
/// # Errors
/// [`Malformed`]
pub fn handles(parameters: &[u8]) -> Result<Vec<Handle, MAX_HANDLES>, Malformed> {
    let (mut reader, count) = capabilities(parameters, capability::HANDLES, MAX_HANDLES)?;
    let mut handles = Vec::new();
    for _ in 0..count {
        handles.push(Handle(reader.u32()?)).expect("as many as were bounded");
    }
    reader.end()?;
    Ok(handles)
}

/// Properties that one answer gives.
pub const MAX_PROPERTIES: usize = 32;

/// To `get_capability` of properties: numbers and values.
///
/// # Errors
/// [`Malformed`]
pub fn properties(parameters: &[u8]) -> Result<Vec<(u32, u32), MAX_PROPERTIES>, Malformed> {
    let (mut reader, count) = capabilities(parameters, capability::PROPERTIES, MAX_PROPERTIES)?;
    let mut properties = Vec::new();
    for _ in 0..count {
        properties.push((reader.u32()?, reader.u32()?)).expect("as many as were bounded");
    }
    reader.end()?;
    Ok(properties)
}

/// To `get_capability` of PCRs: those of the SHA-256 bank, none if there is no such bank.
///
/// # Errors
/// [`Malformed`]
pub fn sha256_bank(parameters: &[u8]) -> Result<Selection, Malformed> {
    let (mut reader, count) = capabilities(parameters, capability::PCRS, 16)?;
    let mut bank = 0;
    for _ in 0..count {
        let algorithm = reader.u16()?;
        let length = usize::from(reader.u8()?);
        let map = reader.take(length)?;
        if algorithm == alg::SHA256 {
            let bits = map.iter().take(3).enumerate();
            bank = bits.fold(0, |bank, (at, &byte)| bank | u32::from(byte) << (8 * at));
        }
    }
    reader.end()?;
    Ok(Selection::from_bits(bank))
}

fn capabilities(parameters: &[u8], kind: u32, most: usize) -> Result<(Reader<'_>, u32), Malformed> {
    let mut reader = Reader::new(parameters);
    // Whether there are more: whoever wants them asks from the last one on.
    reader.u8()?;
    let found = reader.u32()?;
    if found != kind {
        return Err(Malformed::Field { field: Field::Capability, found: found.into() });
    }
    let count = reader.u32()?;
    if count as usize > most {
        return Err(Malformed::Field { field: Field::Count, found: count.into() });
    }
    Ok((reader, count))
}

/// To `get_test_result`: the code of what failed.
///
/// # Errors
/// [`Malformed`]
pub fn test_result(parameters: &[u8]) -> Result<ResponseCode, Malformed> {
    let mut reader = Reader::new(parameters);
    reader.sized(MAX_RESPONSE)?;
    let code = reader.u32()?;
    reader.end()?;
    Ok(ResponseCode(code))
}

/// To `nv_read`.
///
/// # Errors
/// [`Malformed`]
pub fn nv_bytes(parameters: &[u8]) -> Result<&[u8], Malformed> {
    let mut reader = Reader::new(parameters);
    let bytes = reader.sized(crate::command::MAX_NV)?;
    reader.end()?;
    Ok(bytes)
}

/// To `nv_read_public`: its attributes, and how many bytes it has.
///
/// # Errors
/// [`Malformed`]
pub fn nv_public(parameters: &[u8]) -> Result<(u32, u16), Malformed> {
    let mut reader = Reader::new(parameters);
    let mut public = Reader::new(reader.sized(128)?);
    // The name.
    reader.sized(66)?;
    reader.end()?;
    public.u32()?;
    public.u16()?;
    let attributes = public.u32()?;
    public.sized(64)?;
    let size = public.u16()?;
    public.end()?;
    Ok((attributes, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(tag: u16, code: u32, body: &[u8]) -> std::vec::Vec<u8> {
        let length = u32::try_from(10 + body.len()).unwrap();
        [&tag.to_be_bytes()[..], &length.to_be_bytes(), &code.to_be_bytes(), body].concat()
    }

    #[test]
    fn a_refusal_says_its_code_and_nothing_else() {
        let bytes = frame(ST_NO_SESSIONS, 0x921, &[]);
        assert_eq!(open(Code::Sign, &bytes).unwrap_err(), Failure::Code(ResponseCode::LOCKOUT));
        let bytes = frame(ST_NO_SESSIONS, 0x921, &[1]);
        assert_eq!(
            open(Code::Sign, &bytes).unwrap_err(),
            Failure::Malformed(Malformed::Trailing { left: 1 })
        );
    }

    #[test]
    fn a_tpm_1_2_is_told_apart() {
        assert_eq!(open(Code::Startup, &frame(0xc4, 0x1e, &[])).unwrap_err(), Failure::Family12);
    }

    #[test]
    fn a_length_that_lies_is_refused() {
        let mut bytes = frame(ST_NO_SESSIONS, 0, &[0, 1, 7]);
        bytes[5] += 1;
        let lie = Malformed::Field { field: Field::Length, found: 14 };
        assert_eq!(open(Code::GetRandom, &bytes).unwrap_err(), Failure::Malformed(lie));
        let inner = frame(ST_SESSIONS, 0, &[0xff, 0xff, 0xff, 0xff, 0]);
        assert!(matches!(
            open(Code::Unseal, &inner),
            Err(Failure::Malformed(Malformed::Truncated { have: 1, .. }))
        ));
    }

    #[test]
    fn lists_that_are_too_long_are_refused() {
        let mut body = std::vec![0, 0, 0, 0, 1, 0, 0, 0, 33];
        body.extend([0; 33 * 4]);
        assert_eq!(handles(&body), Err(Malformed::Field { field: Field::Count, found: 33 }));
    }
}
