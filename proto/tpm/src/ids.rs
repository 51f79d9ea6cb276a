//! Numbers of the specification.

use bitflags::bitflags;

/// `TPM_ST_NO_SESSIONS`.
pub const ST_NO_SESSIONS: u16 = 0x8001;
/// `TPM_ST_SESSIONS`.
pub const ST_SESSIONS: u16 = 0x8002;
/// `TPM_ST_ATTEST_QUOTE`.
pub const ST_ATTEST_QUOTE: u16 = 0x8018;
/// `TPM_ST_HASHCHECK`.
pub const ST_HASHCHECK: u16 = 0x8024;
/// `TPM_TAG_RSP_COMMAND`: how a TPM of family 1.2 answers.
pub const TAG_RSP_1_2: u16 = 0x00c4;
/// `TPM_GENERATED_VALUE`.
pub const GENERATED: u32 = 0xff54_4347;

/// A command. Source: part 2, 6.5.2, `TPM_CC`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Code {
    /// Makes an object outlive a reset, or not.
    EvictControl = 0x120,
    /// Makes an NV index.
    NvDefineSpace = 0x12a,
    /// Makes a primary key.
    CreatePrimary = 0x131,
    /// Writes an NV index.
    NvWrite = 0x137,
    /// Tests what was not tested yet, or all.
    SelfTest = 0x143,
    /// The first command after a reset.
    Startup = 0x144,
    /// Reads an NV index.
    NvRead = 0x14e,
    /// Makes an object below a storage key.
    Create = 0x153,
    /// Multiplies a peer's point.
    EcdhZGen = 0x154,
    /// Loads an object below a storage key.
    Load = 0x157,
    /// Signs PCR values.
    Quote = 0x158,
    /// Signs a digest.
    Sign = 0x15d,
    /// Gives what an object holds.
    Unseal = 0x15e,
    /// Drops an object or a session.
    FlushContext = 0x165,
    /// Reads what is public of an NV index.
    NvReadPublic = 0x169,
    /// Reads what is public of an object.
    ReadPublic = 0x173,
    /// Begins a session.
    StartAuthSession = 0x176,
    /// Reads what the TPM can do, and holds.
    GetCapability = 0x17a,
    /// Random bytes.
    GetRandom = 0x17b,
    /// How the self test went.
    GetTestResult = 0x17c,
    /// Reads PCRs.
    PcrRead = 0x17e,
    /// Binds a policy session to PCRs.
    PolicyPcr = 0x17f,
    /// Extends a PCR.
    PcrExtend = 0x182,
}

impl Code {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::EvictControl,
        Self::NvDefineSpace,
        Self::CreatePrimary,
        Self::NvWrite,
        Self::SelfTest,
        Self::Startup,
        Self::NvRead,
        Self::Create,
        Self::EcdhZGen,
        Self::Load,
        Self::Quote,
        Self::Sign,
        Self::Unseal,
        Self::FlushContext,
        Self::NvReadPublic,
        Self::ReadPublic,
        Self::StartAuthSession,
        Self::GetCapability,
        Self::GetRandom,
        Self::GetTestResult,
        Self::PcrRead,
        Self::PolicyPcr,
        Self::PcrExtend,
    ];

    /// Its number.
    pub const fn number(self) -> u32 {
        self as u32
    }
}

/// Algorithms. Source: part 2, 6.3, `TPM_ALG_ID`.
pub mod alg {
    /// RSA keys.
    pub const RSA: u16 = 0x0001;
    /// SHA-1.
    pub const SHA1: u16 = 0x0004;
    /// AES.
    pub const AES: u16 = 0x0006;
    /// Keyed hashes, and sealed data.
    pub const KEYEDHASH: u16 = 0x0008;
    /// SHA-256.
    pub const SHA256: u16 = 0x000b;
    /// SHA-384.
    pub const SHA384: u16 = 0x000c;
    /// SHA-512.
    pub const SHA512: u16 = 0x000d;
    /// None.
    pub const NULL: u16 = 0x0010;
    /// SM3-256.
    pub const SM3_256: u16 = 0x0012;
    /// ECDSA.
    pub const ECDSA: u16 = 0x0018;
    /// Keys on elliptic curves.
    pub const ECC: u16 = 0x0023;
    /// Cipher feedback.
    pub const CFB: u16 = 0x0043;
}

/// `TPM_ECC_NIST_P256`.
pub const CURVE_P256: u16 = 0x0003;

/// A handle: the upper 8 bits say of what. Source: part 2, 7.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Handle(pub u32);

impl Handle {
    /// The owner's hierarchy.
    pub const OWNER: Self = Self(0x4000_0001);
    /// No object.
    pub const NULL: Self = Self(0x4000_0007);
    /// Authorization by password.
    pub const PASSWORD: Self = Self(0x4000_0009);
    /// The endorsement hierarchy.
    pub const ENDORSEMENT: Self = Self(0x4000_000b);

    /// A PCR.
    pub const fn pcr(number: u8) -> Self {
        Self(number as u32)
    }

    /// Of what it is.
    pub const fn kind(self) -> u8 {
        (self.0 >> 24) as u8
    }
}

/// Kinds of handles. Source: part 2, 7.2, `TPM_HT`.
pub mod kind {
    /// Sessions with HMAC; and all sessions in the TPM's memory, when asked for.
    pub const HMAC_SESSION: u8 = 0x02;
    /// Policy sessions; and sessions that were saved, when asked for.
    pub const POLICY_SESSION: u8 = 0x03;
    /// Objects that end with a reset.
    pub const TRANSIENT: u8 = 0x80;
    /// Objects that do not.
    pub const PERSISTENT: u8 = 0x81;
}

/// Kinds of capability. Source: part 2, 6.12, `TPM_CAP`.
pub mod capability {
    /// Handles in use.
    pub const HANDLES: u32 = 1;
    /// Banks of PCRs.
    pub const PCRS: u32 = 5;
    /// Properties.
    pub const PROPERTIES: u32 = 6;
}

/// Properties. Source: part 2, 6.13, `TPM_PT`.
pub mod property {
    /// "2.0" and a zero.
    pub const FAMILY_INDICATOR: u32 = 0x100;
    /// Four letters.
    pub const MANUFACTURER: u32 = 0x105;
    /// The first of four times four letters.
    pub const VENDOR_STRING_1: u32 = 0x106;
    /// The upper half of the firmware's version.
    pub const FIRMWARE_VERSION_1: u32 = 0x10b;
    /// `TPMA_PERMANENT`.
    pub const PERMANENT: u32 = 0x200;
    /// Bit of `TPMA_PERMANENT`: locked out.
    pub const PERMANENT_IN_LOCKOUT: u32 = 1 << 9;
}

bitflags! {
    /// What may be done with an object. Source: part 2, 8.3, `TPMA_OBJECT`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ObjectAttributes: u32 {
        /// It cannot be duplicated.
        const FIXED_TPM = 1 << 1;
        /// It keeps its parent.
        const FIXED_PARENT = 1 << 4;
        /// The TPM made the secret.
        const SENSITIVE_DATA_ORIGIN = 1 << 5;
        /// Its authorization allows its use.
        const USER_WITH_AUTH = 1 << 6;
        /// Only its policy allows its administration.
        const ADMIN_WITH_POLICY = 1 << 7;
        /// Wrong authorizations are not counted.
        const NO_DA = 1 << 10;
        /// It works on what the TPM made only.
        const RESTRICTED = 1 << 16;
        /// It decrypts.
        const DECRYPT = 1 << 17;
        /// It signs.
        const SIGN = 1 << 18;
    }

    /// What a session is for. Source: part 2, 8.4, `TPMA_SESSION`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct SessionAttributes: u8 {
        /// It goes on after the command.
        const CONTINUE = 1 << 0;
        /// The command's first parameter is encrypted.
        const DECRYPT = 1 << 5;
        /// The answer's first parameter is encrypted.
        const ENCRYPT = 1 << 6;
    }

    /// What may be done with an NV index. Source: part 2, 13.4, `TPMA_NV`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct NvAttributes: u32 {
        /// The owner may write it.
        const OWNER_WRITE = 1 << 1;
        /// The owner may read it.
        const OWNER_READ = 1 << 17;
        /// It was written.
        const WRITTEN = 1 << 29;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_codes_are_those_of_the_other_implementation() {
        for code in Code::ALL {
            let theirs = tpm2_protocol::data::TpmCc::try_from(code.number());
            let (ours, theirs) = (std::format!("{code:?}"), std::format!("{:?}", theirs.unwrap()));
            // They spell `ZGen` and the like as we do, but for upper case.
            assert_eq!(ours.to_lowercase(), theirs.to_lowercase());
        }
    }
}
