//! Response codes, and what each kind means for the one who asked.

use core::fmt;

/// A response code. Source: part 2, 6.6, `TPM_RC`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ResponseCode(pub u32);

/// What a response code means for the one who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// It was done.
    Success,
    /// Not now: the same command again, after a while.
    Retry,
    /// Too many wrong authorizations: objects that count them are closed for a time.
    LockedOut,
    /// It has no room for another object or session: what it holds is to be dropped first.
    NoRoom,
    /// The TPM has failed its self test and does nothing until the machine is reset.
    FailureMode,
    /// Nothing was done, and nothing would be when asked again.
    Refused,
}

impl ResponseCode {
    /// Done.
    pub const SUCCESS: Self = Self(0);
    /// `TPM_RC_INITIALIZE`: Startup comes first; or was there already.
    pub const INITIALIZE: Self = Self(0x100);
    /// `TPM_RC_FAILURE`.
    pub const FAILURE: Self = Self(0x101);
    /// `TPM_RC_POLICY_FAIL`, with the session that it is about.
    pub const POLICY_FAIL: Self = Self(0x09d);
    /// `TPM_RC_INTEGRITY`: what is to be loaded was not made by this TPM.
    pub const INTEGRITY: Self = Self(0x09f);
    /// `TPM_RC_HANDLE`: no such object.
    pub const HANDLE: Self = Self(0x08b);
    /// `TPM_RC_BINDING`: the public and the private part of what is to be loaded are not of one object.
    pub const BINDING: Self = Self(0x0a5);
    /// `TPM_RC_TYPE`: an object is of another kind than the command takes, as for a parent.
    pub const TYPE: Self = Self(0x08a);
    /// `TPM_RC_AUTH_FAIL`: a wrong authorization, which was counted.
    pub const AUTH_FAIL: Self = Self(0x08e);
    /// `TPM_RC_BAD_AUTH`: a wrong authorization, which was not counted.
    pub const BAD_AUTH: Self = Self(0x0a2);
    /// `TPM_RC_SIZE`: a structure has another size than it says.
    pub const SIZE: Self = Self(0x095);
    /// `TPM_RC_INSUFFICIENT`: a structure ends early.
    pub const INSUFFICIENT: Self = Self(0x09a);
    /// `TPM_RC_NV_DEFINED`: there is such an index.
    pub const NV_DEFINED: Self = Self(0x14c);
    /// `TPM_RC_TESTING`.
    pub const TESTING: Self = Self(0x90a);
    /// `TPM_RC_OBJECT_MEMORY`, and the ones up to `TPM_RC_OBJECT_HANDLES`.
    pub const OBJECT_MEMORY: Self = Self(0x902);
    /// `TPM_RC_OBJECT_HANDLES`.
    pub const OBJECT_HANDLES: Self = Self(0x906);
    /// `TPM_RC_PCR_CHANGED`: a PCR was extended since the policy looked.
    pub const PCR_CHANGED: Self = Self(0x128);
    /// `TPM_RC_CANCELED`.
    pub const CANCELED: Self = Self(0x909);
    /// `TPM_RC_YIELDED`.
    pub const YIELDED: Self = Self(0x908);
    /// `TPM_RC_NV_RATE`.
    pub const NV_RATE: Self = Self(0x920);
    /// `TPM_RC_LOCKOUT`.
    pub const LOCKOUT: Self = Self(0x921);
    /// `TPM_RC_RETRY`.
    pub const RETRY: Self = Self(0x922);
    /// `TPM_RC_NV_UNAVAILABLE`.
    pub const NV_UNAVAILABLE: Self = Self(0x923);
    /// `TPM_RC_BAD_TAG`: how a TPM 2.0 answers what it cannot read, and a TPM 1.2 any command of 2.0.
    pub const BAD_TAG: Self = Self(0x01e);

    /// The bit of codes that tell a parameter, a handle or a session.
    const FORMAT_ONE: u32 = 1 << 7;

    /// The code without the number of the parameter, handle or session that it is about.
    pub const fn base(self) -> Self {
        if self.0 & Self::FORMAT_ONE != 0 { Self(self.0 & 0xbf) } else { self }
    }

    /// What it means.
    pub fn meaning(self) -> Meaning {
        match self {
            Self::SUCCESS => Meaning::Success,
            Self::TESTING
            | Self::YIELDED
            | Self::CANCELED
            | Self::NV_RATE
            | Self::RETRY
            | Self::NV_UNAVAILABLE => Meaning::Retry,
            Self(code) if (Self::OBJECT_MEMORY.0..=Self::OBJECT_HANDLES.0).contains(&code) => Meaning::NoRoom,
            Self::LOCKOUT => Meaning::LockedOut,
            Self::FAILURE => Meaning::FailureMode,
            _ => Meaning::Refused,
        }
    }
}

impl fmt::Debug for ResponseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResponseCode({:#x})", self.0)
    }
}

impl fmt::Display for ResponseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "response code {:#05x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_told_without_what_it_is_about() {
        // Handle 1, session 1, parameter 1.
        assert_eq!(ResponseCode(0x18b).base(), ResponseCode::HANDLE);
        assert_eq!(ResponseCode(0x99d).base(), ResponseCode::POLICY_FAIL);
        assert_eq!(ResponseCode(0x1df).base(), ResponseCode::INTEGRITY);
        assert_eq!(ResponseCode(0x921).base(), ResponseCode::LOCKOUT);
        assert_eq!(ResponseCode(0x921).meaning(), Meaning::LockedOut);
        assert_eq!(ResponseCode(0x922).meaning(), Meaning::Retry);
        assert_eq!([0x901, 0x902, 0x906, 0x907].map(|code| ResponseCode(code).meaning()), {
            [Meaning::Refused, Meaning::NoRoom, Meaning::NoRoom, Meaning::Refused]
        });
    }
}
