//! Judging a TPM quote: signature, nonce, selection of PCRs and their digest.

use std::fmt;

use proto_eve::wire::attest::{TpmHashAlgo, TpmPcrValue, ZAttestQuote};

use crate::key::{Certificate, hex, sha256};
use crate::measured::QUOTED;

/// What a quote is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A TPM signed the PCR values over our nonce.
    Trusted,
    /// Empty: the device has no TPM.
    NoTpm,
    /// No nonce was asked for.
    NoncePending,
    /// No certificate for quotes was published.
    NoCertificate,
    /// It answers another nonce.
    WrongNonce,
    /// It is not what TPM2_Quote makes, or its signature is wrong.
    Malformed(&'static str),
    /// It is genuine and does not fit the PCR values beside it.
    Refuted(String),
    /// It is genuine, and something else was measured than is expected: by PCR.
    Differs(Vec<(u32, String)>),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trusted => f.write_str("with a TPM quote"),
            Self::NoTpm => f.write_str("without a TPM"),
            Self::NoncePending => f.write_str("no nonce was asked for"),
            Self::NoCertificate => f.write_str("its certificate for quotes is not published"),
            Self::WrongNonce => f.write_str("the quote answers another nonce"),
            Self::Malformed(why) => f.write_str(why),
            Self::Refuted(why) => f.write_str(why),
            Self::Differs(differences) => {
                let texts: Vec<&str> = differences.iter().map(|(_, text)| text.as_str()).collect();
                f.write_str(&texts.join("; "))
            }
        }
    }
}

/// Judges a quote. `nonce` is hexadecimal; `signing` is the published certificate of the quote key.
pub(super) fn judge(quote: &ZAttestQuote, nonce: &str, signing: Option<&Certificate>) -> Verdict {
    let empty = [quote.attest_data.is_empty(), quote.signature.is_empty(), quote.pcr_values.is_empty()];
    if empty == [true; 3] {
        return Verdict::NoTpm;
    }
    if empty.contains(&true) {
        return Verdict::Malformed(
            "attestData, signature and pcr_values are neither all there nor all absent",
        );
    }
    let Some(signing) = signing else {
        return Verdict::NoCertificate;
    };
    if signing.check_quote(&quote.attest_data, &quote.signature).is_err() {
        return Verdict::Malformed("the quote's signature does not verify");
    }
    let Some(attested) = Attested::parse(&quote.attest_data) else {
        return Verdict::Malformed("attestData is no TPMS_ATTEST of a quote");
    };
    if hex(attested.extra_data) != nonce {
        return Verdict::WrongNonce;
    }
    judge_values(&attested, &quote.pcr_values)
}

/// The values that were quoted, as far as they are of the right length.
pub(super) fn quoted_value(quote: &ZAttestQuote, pcr: u32) -> Option<[u8; 32]> {
    Attested::parse(&quote.attest_data)?.selected().find(|&selected| selected == pcr)?;
    let value = quote.pcr_values.iter().find(|value| value.index == pcr)?;
    value.value.as_slice().try_into().ok()
}

fn judge_values(attested: &Attested<'_>, values: &[TpmPcrValue]) -> Verdict {
    if values.iter().any(|value| value.hash_algo != TpmHashAlgo::Sha256 as i32 || value.value.len() != 32) {
        return Verdict::Refuted("a PCR value is not of the SHA-256 bank".into());
    }
    // The digest covers what was selected, and the device selects: a quote of fewer PCRs would be genuine and would
    // leave it to the device what the others hold.
    if !attested.selected().eq(QUOTED) {
        return Verdict::Refuted("the quote is not of the PCRs 0 to 15".into());
    }
    let mut selected = Vec::new();
    for index in attested.selected() {
        match values.iter().find(|value| value.index == index) {
            Some(value) => selected.extend_from_slice(&value.value),
            None => return Verdict::Refuted("the value of a quoted PCR is missing".into()),
        }
    }
    match sha256(&selected).as_slice() == attested.digest {
        true => Verdict::Trusted,
        false => Verdict::Refuted("the PCR values do not fit the quoted digest".into()),
    }
}

/// The parts of `TPMS_ATTEST` that matter. Source: TPM 2.0 Library, part 2, §10.12.12.
struct Attested<'a> {
    extra_data: &'a [u8],
    /// One bit a PCR, least significant bit first.
    selection: &'a [u8],
    digest: &'a [u8],
}

const MAGIC: u32 = 0xff54_4347;
const ST_ATTEST_QUOTE: u16 = 0x8018;
const ALG_SHA256: u16 = 0x000b;

impl<'a> Attested<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = Reader(bytes);
        let head = (rest.u32()?, rest.u16()?);
        rest.sized()?; // qualifiedSigner
        let extra_data = rest.sized()?;
        rest.take(8 + 4 + 4 + 1 + 8)?; // clock, resetCount, restartCount, safe, firmwareVersion
        let bank = (rest.u32()?, rest.u16()?);
        let length = rest.take(1)?.first().copied()?;
        let selection = rest.take(usize::from(length))?;
        let digest = rest.sized()?;
        let right = head == (MAGIC, ST_ATTEST_QUOTE) && bank == (1, ALG_SHA256) && rest.0.is_empty();
        right.then_some(Self { extra_data, selection, digest })
    }

    /// Indices of the quoted PCRs, rising.
    fn selected(&self) -> impl Iterator<Item = u32> + '_ {
        let bits = self.selection.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1));
        (0u32..).zip(bits).filter_map(|(index, bit)| (bit == 1).then_some(index))
    }
}

/// Big-endian fields from the front of a slice.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(front)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    /// A TPM2B: its length in two bytes, then its bytes.
    fn sized(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: &str = "000102030405060708090a0b0c0d0e0f";

    fn signing() -> Certificate {
        Certificate::from_pem(include_bytes!("../../vectors/p256.pem")).expect("a certificate")
    }

    fn quote() -> ZAttestQuote {
        let value = |index: u8| TpmPcrValue {
            index: u32::from(index),
            hash_algo: TpmHashAlgo::Sha256 as i32,
            value: sha256(&[index]).to_vec(),
        };
        ZAttestQuote {
            attest_data: include_bytes!("../../vectors/attest").to_vec(),
            signature: include_bytes!("../../vectors/attest.sig").to_vec(),
            pcr_values: (0..24).map(value).collect(),
            ..ZAttestQuote::default()
        }
    }

    fn judged(change: impl FnOnce(&mut ZAttestQuote)) -> Verdict {
        let mut quote = quote();
        change(&mut quote);
        judge(&quote, NONCE, Some(&signing()))
    }

    #[test]
    fn a_genuine_quote_is_trusted() {
        assert_eq!(judged(|_| {}), Verdict::Trusted);
        assert_eq!(judged(|quote| *quote = ZAttestQuote::default()), Verdict::NoTpm);
    }

    #[test]
    fn every_part_is_looked_at() {
        assert!(matches!(judged(|quote| quote.attest_data[30] ^= 1), Verdict::Malformed(_)));
        assert!(matches!(judged(|quote| quote.signature.truncate(9)), Verdict::Malformed(_)));
        assert!(matches!(judged(|quote| quote.signature.clear()), Verdict::Malformed(_)));
        assert!(matches!(judged(|quote| quote.pcr_values.clear()), Verdict::Malformed(_)));
        assert!(matches!(judged(|quote| quote.pcr_values[3].value[0] ^= 1), Verdict::Refuted(_)));
        assert!(matches!(judged(|quote| quote.pcr_values[3].hash_algo = 1), Verdict::Refuted(_)));
        assert!(matches!(judged(|quote| drop(quote.pcr_values.remove(3))), Verdict::Refuted(_)));
        // Not quoted, so it does not count.
        assert_eq!(judged(|quote| quote.pcr_values[20].value[0] ^= 1), Verdict::Trusted);
        assert_eq!(judge(&quote(), "00", Some(&signing())), Verdict::WrongNonce);
        assert_eq!(judge(&quote(), NONCE, None), Verdict::NoCertificate);
        // Signed by the TPM, with the right digest, about other PCRs than those that tell of the device.
        let values = quote().pcr_values;
        let judged = |selection: &[u8]| {
            let chosen = Attested { extra_data: &[], selection, digest: &[] };
            let bytes: Vec<u8> =
                chosen.selected().flat_map(|pcr| values[pcr as usize].value.clone()).collect();
            judge_values(&Attested { digest: &sha256(&bytes), ..chosen }, &values)
        };
        assert_eq!(judged(&[0xff, 0xff, 0]), Verdict::Trusted);
        for other in [&[][..], &[0, 0, 0], &[1, 0, 0], &[0xff, 0x7f, 0], &[0xfe, 0xff, 0], &[0xff, 0xff, 1]] {
            assert!(matches!(judged(other), Verdict::Refuted(_)), "{other:?}");
        }
    }

    #[test]
    fn no_length_of_attest_data_is_a_panic() {
        let whole = quote().attest_data;
        for length in 0..whole.len() {
            assert!(Attested::parse(&whole[..length]).is_none());
        }
        assert!(Attested::parse(&[whole.as_slice(), &[0]].concat()).is_none());
    }
}
