//! One function a command: what is sent.

use heapless::Vec;

use crate::{
    ids::{Code, Handle, NvAttributes, ST_HASHCHECK, ST_NO_SESSIONS, ST_SESSIONS, alg},
    key::{self, Role},
    pcr::Selection,
    wire::{Bytes, MAX_COMMAND},
};

/// A command's bytes, ready to be sent.
pub type Frame = Bytes<MAX_COMMAND>;

/// Bytes of the longest nonce that is quoted: those of the longest hash, and its algorithm.
pub const MAX_NONCE: usize = 66;
/// Bytes of the longest private or public part of what was sealed.
pub const MAX_PART: usize = 256;
/// Bytes that an NV index is written with or read of at once.
pub const MAX_NV: usize = 514;
/// Bytes of the longest authorization.
pub const MAX_AUTH: usize = 32;

/// Bytes of tag, length and code.
const HEADER: usize = 10;

/// A command that was not authorized yet.
#[derive(Debug)]
pub struct Command {
    pub(crate) code: Code,
    pub(crate) handles: Vec<Handle, 2>,
    pub(crate) parameters: Bytes<MAX_COMMAND>,
}

impl Command {
    fn new(code: Code, handles: &[Handle]) -> Self {
        let handles = Vec::from_slice(handles).expect("no command of ours has three handles");
        Self { code, handles, parameters: Bytes::default() }
    }

    /// Which command.
    pub const fn code(&self) -> Code {
        self.code
    }

    /// Without authorization.
    pub fn plain(&self) -> Frame {
        self.frame(ST_NO_SESSIONS, &[])
    }

    /// Its first handle authorized by a password, which may be empty.
    pub fn with_password(&self, password: &[u8]) -> Frame {
        let mut area = Bytes::<64>::default();
        area.u32(Handle::PASSWORD.0).sized(&[]).u8(0).sized(password);
        self.frame(ST_SESSIONS, area.as_slice())
    }

    pub(crate) fn frame(&self, tag: u16, area: &[u8]) -> Frame {
        let mut frame = Frame::default();
        let sessions = if tag == ST_SESSIONS { 4 + area.len() } else { 0 };
        let length = HEADER + 4 * self.handles.len() + sessions + self.parameters.as_slice().len();
        // What does not fit 32 bits does not fit the frame either.
        frame.u16(tag).u32(length as u32).u32(self.code.number());
        for handle in &self.handles {
            frame.u32(handle.0);
        }
        if tag == ST_SESSIONS {
            frame.u32(area.len() as u32).put(area);
        }
        frame.put(self.parameters.as_slice());
        frame
    }
}

/// Startup, without a state that was saved.
pub fn startup() -> Command {
    let mut command = Command::new(Code::Startup, &[]);
    command.parameters.u16(0);
    command
}

/// Tests what was not tested yet.
pub fn self_test() -> Command {
    let mut command = Command::new(Code::SelfTest, &[]);
    command.parameters.u8(0);
    command
}

/// How the self test went.
pub fn get_test_result() -> Command {
    Command::new(Code::GetTestResult, &[])
}

/// What the TPM can do, and holds: of one kind, from a number on.
pub fn get_capability(kind: u32, first: u32, count: u32) -> Command {
    let mut command = Command::new(Code::GetCapability, &[]);
    command.parameters.u32(kind).u32(first).u32(count);
    command
}

/// Random bytes, at most 32.
pub fn get_random(count: u16) -> Command {
    let mut command = Command::new(Code::GetRandom, &[]);
    command.parameters.u16(count);
    command
}

/// Makes a primary key of a hierarchy, with its authorization. The hierarchy's is empty.
pub fn create_primary(role: Role, authorization: &[u8]) -> Command {
    let mut command = Command::new(Code::CreatePrimary, &[role.hierarchy()]);
    create_parameters(&mut command, authorization, &[], role.template().as_slice());
    command
}

/// Makes the primary key that storage keys are escrowed by: the same one each time.
pub fn create_escrow_key() -> Command {
    let mut command = Command::new(Code::CreatePrimary, &[Handle::OWNER]);
    create_parameters(&mut command, &[], &[], key::escrow_template().as_slice());
    command
}

/// Makes sealed data below a storage key. The first parameter holds the secret.
pub fn create_sealed(parent: Handle, secret: &[u8; 32], policy: &[u8; 32]) -> Command {
    let mut command = Command::new(Code::Create, &[parent]);
    create_parameters(&mut command, &[], secret, key::sealed_template(policy).as_slice());
    command
}

fn create_parameters(command: &mut Command, authorization: &[u8], secret: &[u8], template: &[u8]) {
    let mut sensitive = Bytes::<128>::default();
    sensitive.sized(authorization).sized(secret);
    // No outside information, no PCRs of the creation.
    command.parameters.sized(sensitive.as_slice()).sized(template).sized(&[]).u32(0);
}

/// Loads what [`create_sealed`] made: both parts without their lengths.
///
/// # Panics
/// When one is longer than [`MAX_PART`].
pub fn load(parent: Handle, private: &[u8], public: &[u8]) -> Command {
    assert!(private.len() <= MAX_PART && public.len() <= MAX_PART, "the parts are bounded");
    let mut command = Command::new(Code::Load, &[parent]);
    command.parameters.sized(private).sized(public);
    command
}

/// Gives what a loaded object holds.
pub fn unseal(object: Handle) -> Command {
    Command::new(Code::Unseal, &[object])
}

/// Makes an object outlive a reset at a handle; or, if it is at that handle, drops it.
pub fn evict_control(object: Handle, persistent: Handle) -> Command {
    let mut command = Command::new(Code::EvictControl, &[Handle::OWNER, object]);
    command.parameters.u32(persistent.0);
    command
}

/// What is public of an object.
pub fn read_public(object: Handle) -> Command {
    Command::new(Code::ReadPublic, &[object])
}

/// An ECDSA signature with SHA-256 of a digest that was not made by the TPM.
pub fn sign(key: Handle, digest: &[u8; 32]) -> Command {
    let mut command = Command::new(Code::Sign, &[key]);
    command.parameters.sized(digest).u16(alg::ECDSA).u16(alg::SHA256);
    // No ticket that says who made the digest.
    command.parameters.u16(ST_HASHCHECK).u32(Handle::NULL.0).sized(&[]);
    command
}

/// A quote by a key that brings its scheme.
///
/// # Panics
/// When the nonce is longer than [`MAX_NONCE`].
pub fn quote(key: Handle, nonce: &[u8], selection: Selection) -> Command {
    assert!(nonce.len() <= MAX_NONCE, "the nonce is bounded");
    let mut command = Command::new(Code::Quote, &[key]);
    command.parameters.sized(nonce).u16(alg::NULL);
    selection.emit(&mut command.parameters);
    command
}

/// Values of PCRs. A TPM gives those of the first ones (eight, usually) and says of which.
pub fn pcr_read(selection: Selection) -> Command {
    let mut command = Command::new(Code::PcrRead, &[]);
    selection.emit(&mut command.parameters);
    command
}

/// Extends a PCR of the SHA-256 bank.
pub fn pcr_extend(pcr: u8, digest: &[u8; 32]) -> Command {
    let mut command = Command::new(Code::PcrExtend, &[Handle::pcr(pcr)]);
    command.parameters.u32(1).u16(alg::SHA256).put(digest);
    command
}

/// Multiplies a point of P-256 by a private key.
pub fn ecdh_zgen(key: Handle, x: &[u8; 32], y: &[u8; 32]) -> Command {
    let mut command = Command::new(Code::EcdhZGen, &[key]);
    let mut point = Bytes::<68>::default();
    point.sized(x).sized(y);
    command.parameters.sized(point.as_slice());
    command
}

/// Kinds of session. Source: part 2, 6.11, `TPM_SE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SessionKind {
    /// Authorizes by what both ends know.
    Hmac = 0,
    /// Authorizes by a policy.
    Policy = 1,
}

/// Begins a session that is salted by a key, bound to nothing, and encrypts by AES-128-CFB.
pub(crate) fn start_auth_session(
    salt_key: Handle,
    nonce: &[u8; 32],
    encrypted_salt: &[u8; 256],
    kind: SessionKind,
) -> Command {
    let mut command = Command::new(Code::StartAuthSession, &[salt_key, Handle::NULL]);
    command.parameters.sized(nonce).sized(encrypted_salt).u8(kind as u8);
    command.parameters.u16(alg::AES).u16(128).u16(alg::CFB).u16(alg::SHA256);
    command
}

/// Binds a policy session to the values that PCRs have now.
pub fn policy_pcr(session: Handle, selection: Selection) -> Command {
    let mut command = Command::new(Code::PolicyPcr, &[session]);
    // An empty digest stands for the values of now.
    command.parameters.sized(&[]);
    selection.emit(&mut command.parameters);
    command
}

/// Drops an object or a session.
pub fn flush_context(handle: Handle) -> Command {
    let mut command = Command::new(Code::FlushContext, &[]);
    command.parameters.u32(handle.0);
    command
}

/// Makes an NV index that the owner writes and reads.
pub fn nv_define(index: Handle, size: u16) -> Command {
    let mut command = Command::new(Code::NvDefineSpace, &[Handle::OWNER]);
    let mut public = Bytes::<16>::default();
    let attributes = NvAttributes::OWNER_WRITE | NvAttributes::OWNER_READ;
    public.u32(index.0).u16(alg::SHA256).u32(attributes.bits()).sized(&[]).u16(size);
    command.parameters.sized(&[]).sized(public.as_slice());
    command
}

/// Writes an NV index from its start.
///
/// # Panics
/// When there are more than [`MAX_NV`] bytes.
pub fn nv_write(index: Handle, bytes: &[u8]) -> Command {
    assert!(bytes.len() <= MAX_NV, "what is written is bounded");
    let mut command = Command::new(Code::NvWrite, &[Handle::OWNER, index]);
    command.parameters.sized(bytes).u16(0);
    command
}

/// Reads an NV index from its start.
pub fn nv_read(index: Handle, size: u16) -> Command {
    let mut command = Command::new(Code::NvRead, &[Handle::OWNER, index]);
    command.parameters.u16(size).u16(0);
    command
}

/// What is public of an NV index.
pub fn nv_read_public(index: Handle) -> Command {
    Command::new(Code::NvReadPublic, &[index])
}

#[cfg(test)]
mod tests {
    use tpm2_protocol::frame::{self, TpmCommand, TpmMarshalBody, TpmUnmarshalBody};

    use super::*;

    /// The other implementation reads our frame, and would have written the same parameters.
    fn read_by_other<T: TpmUnmarshalBody + TpmMarshalBody>(command: &Command, frame: &Frame) -> T {
        let theirs = TpmCommand::cast(frame.as_slice()).unwrap();
        theirs.validate().unwrap();
        let value: T = theirs.unmarshal().unwrap();
        let mut buffer = [0; MAX_COMMAND];
        let mut writer = tpm2_protocol::TpmWriter::new(&mut buffer);
        value.marshal_parameters(&mut writer).unwrap();
        let written = writer.len();
        assert_eq!(&buffer[..written], command.parameters.as_slice());
        value
    }

    #[test]
    fn commands_are_what_the_other_implementation_writes() {
        let key = Handle(0x8100_0005);
        let all = Selection::ALL;
        let c = startup();
        read_by_other::<frame::TpmStartupCommand>(&c, &c.plain());
        let c = self_test();
        read_by_other::<frame::TpmSelfTestCommand>(&c, &c.plain());
        let c = get_test_result();
        read_by_other::<frame::TpmGetTestResultCommand>(&c, &c.plain());
        let c = get_capability(6, 0x100, 9);
        read_by_other::<frame::TpmGetCapabilityCommand>(&c, &c.plain());
        let c = get_random(32);
        read_by_other::<frame::TpmGetRandomCommand>(&c, &c.plain());
        for role in Role::ALL {
            let c = create_primary(role, b"1234567");
            read_by_other::<frame::TpmCreatePrimaryCommand>(&c, &c.with_password(&[]));
        }
        let c = create_escrow_key();
        read_by_other::<frame::TpmCreatePrimaryCommand>(&c, &c.with_password(&[]));
        let c = create_sealed(key, &[7; 32], &[9; 32]);
        read_by_other::<frame::TpmCreateCommand>(&c, &c.with_password(&[]));
        let c = unseal(key);
        read_by_other::<frame::TpmUnsealCommand>(&c, &c.with_password(&[]));
        let c = evict_control(Handle(0x8000_0000), key);
        read_by_other::<frame::TpmEvictControlCommand>(&c, &c.with_password(&[]));
        let c = read_public(key);
        read_by_other::<frame::TpmReadPublicCommand>(&c, &c.plain());
        let c = sign(key, &[1; 32]);
        read_by_other::<frame::TpmSignCommand>(&c, &c.with_password(b"1234567"));
        let c = quote(key, &[1; 64], all);
        read_by_other::<frame::TpmQuoteCommand>(&c, &c.with_password(&[]));
        let c = pcr_read(all);
        read_by_other::<frame::TpmPcrReadCommand>(&c, &c.plain());
        let c = pcr_extend(13, &[1; 32]);
        read_by_other::<frame::TpmPcrExtendCommand>(&c, &c.with_password(&[]));
        let c = ecdh_zgen(key, &[1; 32], &[2; 32]);
        read_by_other::<frame::TpmEcdhZGenCommand>(&c, &c.with_password(&[]));
        let c = start_auth_session(key, &[1; 32], &[2; 256], SessionKind::Policy);
        read_by_other::<frame::TpmStartAuthSessionCommand>(&c, &c.plain());
        let c = policy_pcr(Handle(0x0300_0000), all);
        read_by_other::<frame::TpmPolicyPcrCommand>(&c, &c.plain());
        let c = nv_define(Handle(0x0160_0000), 36);
        read_by_other::<frame::TpmNvDefineSpaceCommand>(&c, &c.with_password(&[]));
        let c = nv_write(Handle(0x0160_0000), &[1; 36]);
        read_by_other::<frame::TpmNvWriteCommand>(&c, &c.with_password(&[]));
        let c = nv_read(Handle(0x0160_0000), 36);
        read_by_other::<frame::TpmNvReadCommand>(&c, &c.with_password(&[]));
        let c = nv_read_public(Handle(0x0160_0000));
        read_by_other::<frame::TpmNvReadPublicCommand>(&c, &c.plain());
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = std::format!("{:?}", create_sealed(Handle::OWNER, &[0x53; 32], &[0; 32]));
        assert!(!shown.contains("83"), "{shown}");
    }
}
