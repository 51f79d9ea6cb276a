//! Channel `measure`: dom0 has what it starts extended into a PCR.
//!
//! dom0 also tells vault what the provisioning allows, which is not control's to say.
//!
//! The page is vault's, the power dom0's: no other domain has this channel. vault answers each request once, in
//! order. dom0 keeps the log of what it had extended; a vault that is there anew goes on with the same TPM.

use serde::{Deserialize, Serialize};

use crate::envelope::Message;

/// The PCR of the table and of the services' images, in the order of the table.
pub const SERVICES: u8 = 13;
/// The PCR of the provisioning, as EVE has it.
pub const PROVISIONING: u8 = 14;
/// All that are dom0's to extend.
pub const PCRS: [u8; 2] = [SERVICES, PROVISIONING];

/// The provisioning file that lets a storage whose key nobody has any more begin anew. EVE's name.
pub const ALLOW_VAULT_CLEAN: &str = "allow-vault-clean";

/// What dom0 asks of vault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToVault {
    /// First message.
    Hello {
        /// Version of this protocol.
        version: u16,
    },
    /// Extends a PCR of the SHA-256 bank.
    Extend {
        /// Chosen by dom0, for the answer.
        number: u32,
        /// Which PCR.
        pcr: u8,
        /// With what.
        digest: [u8; 32],
    },
    /// Reads a PCR of the SHA-256 bank. What a vault was asked in mid-command and did not answer is found out
    /// by this.
    Read {
        /// Chosen by dom0, for the answer.
        number: u32,
        /// Which PCR.
        pcr: u8,
    },
    /// What the provisioning allows; once to each life of vault, before anything is asked. There is no answer.
    Provisioned {
        /// A storage whose key nobody has any more may begin anew, which loses what is stored.
        may_start_anew: bool,
    },
}

/// What vault says to dom0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromVault {
    /// First message.
    Hello {
        /// Version of this protocol.
        version: u16,
    },
    /// It was extended.
    Extended {
        /// The request's.
        number: u32,
    },
    /// The value of the PCR.
    Value {
        /// The request's.
        number: u32,
        /// It.
        value: [u8; 32],
    },
    /// It was not done.
    Refused {
        /// The request's.
        number: u32,
        /// Why.
        refusal: Refusal,
    },
}

/// Why a measurement was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// There is no TPM.
    NoTpm,
    /// The TPM refused, with this response code.
    Tpm(u32),
    /// The TPM does not answer.
    Silent,
    /// A PCR that is not dom0's to extend.
    Pcr,
}

impl Message for ToVault {
    const CHANNEL: &'static str = "measure";
    const VERSION: u16 = 2;
}

impl Message for FromVault {
    const CHANNEL: &'static str = "measure";
    const VERSION: u16 = 2;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::round_trip;

    #[test]
    fn messages_survive_the_round_trip() {
        let ask = ToVault::Extend { number: u32::MAX, pcr: u8::MAX, digest: [0xff; 32] };
        let answer = FromVault::Refused { number: u32::MAX, refusal: Refusal::Tpm(u32::MAX) };
        round_trip(ask);
        round_trip(ToVault::Provisioned { may_start_anew: true });
        round_trip(answer);
    }
}
