//! Channel `vault`: control has digests signed, quotes made and secrets agreed on by keys that it never sees.
//!
//! control asks, vault answers each request once, in order, under the request's number. Whoever has taken control
//! over can ask for all of this; what no request gives is a private key, the key of the storage, or an extension
//! of a PCR.

use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

use crate::envelope::Message;

/// The most PCRs of a bank that a TPM has.
pub const PCRS: usize = 24;
/// Bytes of the longest nonce.
pub const MAX_NONCE: usize = 64;
/// Bytes of the longest `TPMS_ATTEST`.
pub const MAX_ATTEST: usize = 256;
/// Bytes of the longest public key: a `TPM2B_PUBLIC`, or an uncompressed point of SEC 1.
pub const MAX_PUBLIC: usize = 512;
/// Bytes of the longest note that vault keeps for control.
pub const MAX_NOTE: usize = 512;
/// Bytes of the text that explains a state or a refusal.
pub const MAX_REASON: usize = 120;

/// A key of the vault. EVE's names and handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyName {
    /// The device's key, P-256: TLS, envelopes, certificates of the other keys.
    Device,
    /// The restricted key that signs quotes, P-256. Only with a TPM.
    Quote,
    /// The key of ECDH, P-256.
    Ecdh,
    /// The endorsement key, RSA-2048. Only with a TPM, and only its public part.
    Endorsement,
}

/// What control asks of vault.
#[expect(clippy::large_enum_variant, reason = "one buffer of the largest size is what a channel has anyway")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToVault {
    /// First message.
    Hello {
        /// Version of this protocol.
        version: u16,
    },
    /// A request.
    Ask {
        /// Chosen by control, for the answer.
        number: u32,
        /// What is asked for.
        request: Request,
    },
}

/// A request.
#[expect(clippy::large_enum_variant, reason = "one buffer of the largest size is what a channel has anyway")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// How the vault stands: [`Answer::Status`].
    Status,
    /// The public part of a key: [`Answer::Public`].
    Public(KeyName),
    /// An ECDSA signature over a SHA-256 digest by [`KeyName::Device`]: [`Answer::Signature`].
    Sign {
        /// What is signed.
        digest: [u8; 32],
    },
    /// A quote of the PCRs 0 to 15 of the SHA-256 bank by [`KeyName::Quote`]: [`Answer::Quote`].
    Quote {
        /// The controller's nonce, as it came.
        nonce: Vec<u8, MAX_NONCE>,
    },
    /// The values of all PCRs of the SHA-256 bank: [`Answer::Pcrs`].
    Pcrs,
    /// The point that [`KeyName::Ecdh`] and a peer's public point share: [`Answer::Shared`]. Refused for the
    /// device's own keys.
    Ecdh {
        /// The peer's point, uncompressed (SEC 1: 4, X, Y).
        peer: Vec<u8, 65>,
    },
    /// The key of the storage, encrypted so that only this vault can read it: [`Answer::Escrow`].
    Escrow,
    /// Takes back what was escrowed, as when the measurements have changed: [`Answer::Done`].
    Recover(Escrowed),
    /// Keeps a note in place of the one before: [`Answer::Done`] once it is kept, and not before. Where the storage
    /// has to write it that is [`Refusal::Busy`] first; asked again after [`FromVault::Changed`] it is done, or was
    /// [`Refusal::NotKept`]. control notes what makes its certificates what
    /// they are; it needs them before the storage is open, and with other ones it would be another device. There
    /// is no secret in it. With a TPM it is kept at EVE's index for the device's certificate, 0x1500000, which wears
    /// out: a note that is there already is not written again, and another one rarely.
    Keep {
        /// The note.
        note: Vec<u8, MAX_NOTE>,
    },
    /// The note that was kept: [`Answer::Kept`].
    Kept,
    /// Makes a new key for a storage whose key nobody has any more, which loses what is stored: [`Answer::Done`]. Only
    /// if the provisioning allows it, as dom0 tells vault by the channel `measure`, and the key does not open for
    /// good; while it may open yet that is [`Refusal::Busy`].
    StartAnew,
}

/// The key of the storage for the controller to keep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Escrowed {
    /// AES-256-CFB with an initial value of zero, by SHA-256 over a point and the digest: the point is one that
    /// the TPM computes with a key that nobody else can have anything multiplied by.
    pub encrypted: Vec<u8, 64>,
    /// SHA-256 of the key.
    pub digest: [u8; 32],
}

/// What kind of TPM there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tpm {
    /// None: keys are software's.
    None,
    /// One that works.
    Ready,
    /// One that is there and does not work; its keys are not replaced by software's.
    Failed,
}

/// How the storage's key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sealing {
    /// The storage did not ask yet.
    Unknown,
    /// It has its key.
    Open,
    /// The key is sealed to other measurements: it waits for [`Request::Recover`].
    Locked,
}

/// How the vault stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The TPM.
    pub tpm: Tpm,
    /// Manufacturer, firmware version; or why it does not work.
    pub about: String<MAX_REASON>,
    /// The storage's key.
    pub sealing: Sealing,
    /// Why it is locked. Of one that is open what a person should know: that it lies in the clear, or that what was
    /// stored under one in the clear was dropped.
    pub reason: String<MAX_REASON>,
    /// PCRs whose values are not those that the key was sealed to, a bit each.
    pub changed: u32,
    /// Notes that were not written because there were too many, since the vault is there.
    pub writes_refused: u32,
}

/// What vault says to control.
#[expect(clippy::large_enum_variant, reason = "one buffer of the largest size is what a channel has anyway")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromVault {
    /// First message.
    Hello {
        /// Version of this protocol.
        version: u16,
    },
    /// The answer to a request.
    Answer {
        /// The request's.
        number: u32,
        /// What there is.
        answer: Answer,
    },
    /// The storage's key was sealed anew, or has become open or locked: ask for status and escrow again.
    Changed,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// To [`Request::Status`].
    Status(Status),
    /// To [`Request::Public`].
    Public {
        /// An uncompressed point, or the modulus of [`KeyName::Endorsement`] (its exponent is 65537).
        key: Vec<u8, 256>,
        /// The `TPM2B_PUBLIC`; empty for software's keys.
        tpm: Vec<u8, MAX_PUBLIC>,
    },
    /// To [`Request::Sign`]: r and s, big-endian.
    Signature([u8; 32], [u8; 32]),
    /// To [`Request::Quote`].
    Quote {
        /// The `TPMS_ATTEST`, without a length before it.
        attest: Vec<u8, MAX_ATTEST>,
        /// r of the signature.
        r: [u8; 32],
        /// s of it.
        s: [u8; 32],
    },
    /// To [`Request::Pcrs`]: from 0 on.
    Pcrs(Vec<[u8; 32], PCRS>),
    /// To [`Request::Ecdh`]: X and Y.
    Shared([u8; 32], [u8; 32]),
    /// To [`Request::Escrow`].
    Escrow(Escrowed),
    /// To [`Request::Kept`]; empty if there is none.
    Kept {
        /// The note.
        note: Vec<u8, MAX_NOTE>,
    },
    /// It was done.
    Done,
    /// It was not.
    Refused {
        /// The kind of reason.
        refusal: Refusal,
        /// One sentence with the values that show it.
        reason: String<MAX_REASON>,
    },
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// There is no TPM, and software has no such key.
    NoTpm,
    /// The TPM refused, or does not answer.
    Tpm,
    /// It is busy (lock-out, or work for others): ask again later.
    Busy,
    /// The point is on no curve, or one of the device's own.
    Point,
    /// What was escrowed is not what it says, or not by this vault.
    Escrow,
    /// The storage's key is not there.
    Locked,
    /// The device's provisioning does not allow it.
    Forbidden,
    /// What it would be written to wears out, and it was written often: ask again after the time that is told.
    TooManyWrites,
    /// The storage was to write it and did not.
    NotKept,
}

impl Message for ToVault {
    const CHANNEL: &'static str = "vault";
    const VERSION: u16 = 2;
}

impl Message for FromVault {
    const CHANNEL: &'static str = "vault";
    const VERSION: u16 = 2;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{long, round_trip};

    #[test]
    fn the_largest_messages_fit() {
        let ask = |request| ToVault::Ask { number: u32::MAX, request };
        let escrowed = || Escrowed { encrypted: Vec::from_slice(&[0xff; 64]).unwrap(), digest: [0xff; 32] };
        round_trip(ask(Request::Quote { nonce: Vec::from_slice(&[0xff; MAX_NONCE]).unwrap() }));
        round_trip(ask(Request::Ecdh { peer: Vec::from_slice(&[0xff; 65]).unwrap() }));
        round_trip(ask(Request::Recover(escrowed())));
        let note = || Vec::from_slice(&[0xff; MAX_NOTE]).unwrap();
        round_trip(ask(Request::Keep { note: note() }));
        let answer = |answer| FromVault::Answer { number: u32::MAX, answer };
        round_trip(answer(Answer::Public {
            key: Vec::from_slice(&[0xff; 256]).unwrap(),
            tpm: Vec::from_slice(&[0xff; MAX_PUBLIC]).unwrap(),
        }));
        round_trip(answer(Answer::Quote {
            attest: Vec::from_slice(&[0xff; MAX_ATTEST]).unwrap(),
            r: [0xff; 32],
            s: [0xff; 32],
        }));
        round_trip(answer(Answer::Pcrs(Vec::from_slice(&[[0xff; 32]; PCRS]).unwrap())));
        round_trip(answer(Answer::Escrow(escrowed())));
        round_trip(answer(Answer::Kept { note: note() }));
        round_trip(answer(Answer::Status(Status {
            tpm: Tpm::Failed,
            about: long(),
            sealing: Sealing::Locked,
            reason: long(),
            changed: u32::MAX,
            writes_refused: u32::MAX,
        })));
        round_trip(answer(Answer::Refused { refusal: Refusal::Forbidden, reason: long() }));
    }
}
