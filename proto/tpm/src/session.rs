//! Salted sessions: both ends prove that they know the salt, and the first parameter of a command or of its
//! answer is encrypted by it.
//!
//! The salt is encrypted to a key of the TPM that nobody else can use, so who listens on the bus learns neither
//! what is sealed nor what is unsealed, and who writes on it cannot pass for the TPM. It must be the TPM's key,
//! though: that a public key was read over this very bus is as far as a device on its own can know.
//!
//! A session authorizes one handle whose own authorization is empty: the storage key, or what is sealed by a
//! policy.
//!
//! Source: part 1, 19.6 (sessions), 21 (encryption of parameters); part 3, 11.1.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{
    cfb::Aes128Cfb,
    command::{self, Command, Frame, SessionKind},
    ids::{Code, Handle, ST_SESSIONS, SessionAttributes, kind},
    kdf,
    key::{MODULUS, Name},
    oaep,
    response::{self, Failure},
    wire::{Bytes, Field, MAX_RESPONSE, Malformed, Reader},
};

/// The label of a salt, with the zero behind it.
const LABEL: &[u8] = b"SECRET\0";

/// Random bytes for one session: from a generator that nobody predicts.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Seeds {
    /// The salt.
    pub salt: [u8; 32],
    /// Of the salt's encryption.
    pub oaep: [u8; 32],
    /// The first nonce.
    pub nonce: [u8; 32],
}

/// A session that was asked for.
#[derive(ZeroizeOnDrop)]
pub struct Starting {
    salt: [u8; 32],
    nonce: [u8; 32],
    #[zeroize(skip)]
    kind: SessionKind,
}

/// The salt's key is none: its modulus is even or too small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadSaltKey;

/// Begins a session, salted by an RSA-2048 key whose public part is `modulus`.
///
/// # Errors
/// [`BadSaltKey`]
pub fn start(
    kind: SessionKind,
    salt_key: Handle,
    modulus: &[u8; MODULUS],
    seeds: &Seeds,
) -> Result<(Command, Starting), BadSaltKey> {
    let encrypted = oaep::encrypt(modulus, LABEL, &seeds.salt, &seeds.oaep).ok_or(BadSaltKey)?;
    let command = command::start_auth_session(salt_key, &seeds.nonce, &encrypted, kind);
    Ok((command, Starting { salt: seeds.salt, nonce: seeds.nonce, kind }))
}

/// A session.
#[derive(ZeroizeOnDrop)]
pub struct Session {
    #[zeroize(skip)]
    handle: Handle,
    key: [u8; 32],
    /// Ours, of the command that was sent last.
    nonce_caller: [u8; 32],
    nonce_tpm: [u8; 32],
}

/// Not its keys.
impl core::fmt::Debug for Session {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Session({:#x})", self.handle.0)
    }
}

/// Which first parameter is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encrypted {
    /// The command's.
    Command,
    /// The answer's.
    Answer,
}

impl Starting {
    /// The session, by the answer to its command.
    ///
    /// # Errors
    /// [`Failure`]
    pub fn started(self, answer: &[u8]) -> Result<Session, Failure> {
        let answer = response::open(Code::StartAuthSession, answer)?;
        let handle = answer.handle.expect("the answer to this command has one");
        let wanted = match self.kind {
            SessionKind::Hmac => kind::HMAC_SESSION,
            SessionKind::Policy => kind::POLICY_SESSION,
        };
        if handle.kind() != wanted {
            return Err(Malformed::Field { field: Field::Handle, found: handle.0.into() }.into());
        }
        let mut reader = Reader::new(answer.parameters);
        let nonce_tpm = nonce(&mut reader)?;
        reader.end()?;
        // Bound to nothing: the salt alone.
        let key = kdf::kdfa(&self.salt, "ATH", &nonce_tpm, &self.nonce, 256);
        Ok(Session { handle, key, nonce_caller: self.nonce, nonce_tpm })
    }
}

fn nonce(reader: &mut Reader<'_>) -> Result<[u8; 32], Malformed> {
    let nonce = reader.sized(32)?;
    nonce.try_into().map_err(|_| Malformed::Truncated { need: 32, have: nonce.len() })
}

impl Session {
    /// Its handle.
    pub const fn handle(&self) -> Handle {
        self.handle
    }

    /// Authorizes the first handle of a command, whose name is given, and encrypts its first parameter if that
    /// is wanted. The session ends with the command.
    pub fn authorize(
        &mut self,
        mut command: Command,
        name: &Name,
        encrypted: Encrypted,
        nonce: [u8; 32],
    ) -> Frame {
        self.nonce_caller = nonce;
        if encrypted == Encrypted::Command {
            let cipher = self.cipher(&self.nonce_caller, &self.nonce_tpm);
            cipher.encrypt(first_parameter(command.parameters.as_mut_slice()).expect("the command is ours"));
        }
        let attributes = match encrypted {
            Encrypted::Command => SessionAttributes::DECRYPT,
            Encrypted::Answer => SessionAttributes::ENCRYPT,
        };
        let parameters = Sha256::new()
            .chain_update(command.code.number().to_be_bytes())
            .chain_update(name)
            .chain_update(command.parameters.as_slice())
            .finalize();
        let mac =
            kdf::hmac(&self.key, &[&parameters, &self.nonce_caller, &self.nonce_tpm, &[attributes.bits()]]);
        let mut area = Bytes::<128>::default();
        area.u32(self.handle.0).sized(&self.nonce_caller).u8(attributes.bits()).sized(&mac);
        command.frame(ST_SESSIONS, area.as_slice())
    }

    /// Checks the answer to a command that was authorized, and decrypts its first parameter if it is encrypted.
    /// Gives the parameters.
    ///
    /// # Errors
    /// [`Failure`]; a code other than success is not authenticated, and proves nothing.
    pub fn verify(
        mut self,
        code: Code,
        encrypted: Encrypted,
        answer: &[u8],
    ) -> Result<Bytes<MAX_RESPONSE>, Failure> {
        let answer = response::open(code, answer)?;
        let mut reader = Reader::new(answer.sessions);
        self.nonce_tpm = nonce(&mut reader)?;
        let attributes = reader.u8()?;
        let mac = reader.sized(32)?;
        reader.end()?;
        let parameters = Sha256::new()
            .chain_update(0_u32.to_be_bytes())
            .chain_update(code.number().to_be_bytes())
            .chain_update(answer.parameters)
            .finalize();
        let expected =
            kdf::hmac(&self.key, &[&parameters, &self.nonce_tpm, &self.nonce_caller, &[attributes]]);
        if !bool::from(expected.as_slice().ct_eq(mac)) {
            return Err(Failure::Forged);
        }
        let mut parameters = Bytes::from_slice(answer.parameters).expect("no longer than the answer");
        if encrypted == Encrypted::Answer {
            let cipher = self.cipher(&self.nonce_tpm, &self.nonce_caller);
            cipher.decrypt(first_parameter(parameters.as_mut_slice())?);
        }
        Ok(parameters)
    }

    fn cipher(&self, newer: &[u8; 32], older: &[u8; 32]) -> Aes128Cfb {
        // What is authorized has an empty authorization, which would follow the key here.
        let key = Zeroizing::new(kdf::kdfa(&self.key, "CFB", newer, older, 256));
        let (key, iv) = key.split_at(16);
        let sixteen = "half of 32 bytes";
        Aes128Cfb::new(key.try_into().expect(sixteen), iv.try_into().expect(sixteen))
    }
}

/// The contents of the first parameter, a sized buffer.
fn first_parameter(parameters: &mut [u8]) -> Result<&mut [u8], Malformed> {
    let length = Reader::new(parameters).u16()?.into();
    let have = parameters.len() - 2;
    parameters[2..].get_mut(..length).ok_or(Malformed::Truncated { need: length, have })
}
