//! What the selector has measured into the TPM, and the firmware's log of it.
//!
//! | PCR | what | digest (of the SHA-256 bank) |
//! |---|---|---|
//! | 15 | slot and reason, before the slot is read | of [`slot`] |
//! | 4 | x86_64: the slot's program (GRUB, Xen, dom0 and archive in one); aarch64: Xen | the firmware's, of the PE image |
//! | 9 | aarch64: everything in the slot (Xen, the command lines, dom0, archive) | of the contents, which the slot's header has signed |
//!
//! So what a slot does to PCRs 4, 9 and 15 can be computed ahead. The choice differs between a trial and a slot that has
//! proven itself, and between two slots of one version, so it is in a PCR that nothing is sealed to: EVE's policies leave
//! out 5 and 15, and its quotes have them.
//!
//! Source of the log's form: TCG PC Client Platform Firmware Profile 1.06, section 10; little-endian.

use proto_gpt::slots::{Reason, Slot};

/// The PCR of slot and reason.
pub const SLOT_PCR: u32 = 15;
/// The PCR of what is in the slot, where the firmware measures only a part of it.
pub const CONTENTS_PCR: u32 = 9;
/// What the event of the contents says.
pub const CONTENTS: &str = "sarsen slot contents";

/// What is measured of a choice; the event's data is the same.
#[must_use]
pub const fn slot(slot: Slot, reason: Reason) -> &'static str {
    match (slot, reason) {
        (Slot::A, Reason::Proven) => "sarsen slot A: proven",
        (Slot::A, Reason::Trial) => "sarsen slot A: trial",
        (Slot::A, Reason::Exhausted) => "sarsen slot A: other exhausted",
        (Slot::A, Reason::Refused) => "sarsen slot A: other refused",
        (Slot::B, Reason::Proven) => "sarsen slot B: proven",
        (Slot::B, Reason::Trial) => "sarsen slot B: trial",
        (Slot::B, Reason::Exhausted) => "sarsen slot B: other exhausted",
        (Slot::B, Reason::Refused) => "sarsen slot B: other refused",
    }
}

/// The most bytes of a log that are handed over.
pub const MAX_LOG: usize = 64 << 10;

/// Bytes of PCR, type and SHA-1 digest of the first event, which has the old form.
const OLD_HEADER: usize = 28;
/// Bytes ahead of the number of banks in its data.
const SPEC_HEADER: usize = 24;
/// The most banks that are looked at.
const MAX_BANKS: u32 = 16;

/// Bytes of a log whose last event begins at byte `last`, or `None` if it cannot be told. `bytes` begins as the log
/// does; whatever lies behind it is not looked at.
#[must_use]
pub fn log_length(bytes: &[u8], last: usize) -> Option<usize> {
    let spec = bytes.get(OLD_HEADER + 4..)?;
    if last == 0 {
        // No other event than the first.
        let length = usize::try_from(word(bytes, OLD_HEADER)?).ok()?;
        return (OLD_HEADER + 4).checked_add(length).filter(|&end| end <= bytes.len());
    }
    let banks = word(spec, SPEC_HEADER).filter(|&banks| banks <= MAX_BANKS)?;
    let size_of = |algorithm: u16| {
        let mut all = (0..banks as usize).map(|bank| SPEC_HEADER + 4 + 4 * bank);
        all.find_map(|at| (half(spec, at)? == algorithm).then(|| half(spec, at + 2)).flatten())
    };
    // PCR, type, number of digests.
    let count = word(bytes, last.checked_add(8)?).filter(|&count| count <= MAX_BANKS)?;
    let mut at = last.checked_add(12)?;
    for _ in 0..count {
        at = at.checked_add(2 + usize::from(size_of(half(bytes, at)?)?))?;
    }
    let data = usize::try_from(word(bytes, at)?).ok()?;
    at.checked_add(4)?.checked_add(data).filter(|&end| end <= bytes.len())
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk::<2>().map(|bytes| u16::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    /// A log with the banks of SHA-1 and SHA-256.
    fn header() -> Vec<u8> {
        let spec: &[&[u8]] = &[
            b"Spec ID Event03\0",
            &[0, 0, 0, 0, 0, 2, 2, 2],
            &2u32.to_le_bytes(),
            &[4, 0, 20, 0, 0x0b, 0, 32, 0],
            &[0],
        ];
        let spec = spec.concat();
        [&[0; 4], &3u32.to_le_bytes()[..], &[0; 20], &(spec.len() as u32).to_le_bytes(), &spec].concat()
    }

    fn event(data: &[u8]) -> Vec<u8> {
        let length = (data.len() as u32).to_le_bytes();
        let parts: &[&[u8]] = &[
            &[11, 0, 0, 0, 13, 0, 0, 0, 2, 0, 0, 0],
            &[4, 0],
            &[1; 20],
            &[0x0b, 0],
            &[2; 32],
            &length,
            data,
        ];
        parts.concat()
    }

    #[test]
    fn the_end_of_a_log_is_that_of_its_last_event() {
        let one = [header(), event(b"first")].concat();
        let two = [one.clone(), event(b"")].concat();
        let behind = |log: &[u8]| [log, &[0xa5; 100]].concat();
        assert_eq!(log_length(&behind(&header()), 0), Some(header().len()));
        assert_eq!(log_length(&behind(&one), header().len()), Some(one.len()));
        assert_eq!(log_length(&behind(&two), one.len()), Some(two.len()));
        for length in 0..two.len() {
            assert_eq!(log_length(&two[..length], one.len()), None, "{length}");
        }
    }

    #[test]
    fn what_is_no_log_has_no_length_and_no_bytes_make_it_stumble() {
        let good = [header(), event(b"first")].concat();
        for at in 0..good.len() {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut bytes = good.clone();
                bytes[at] = byte;
                for last in [0, header().len(), good.len(), usize::MAX] {
                    let length = log_length(&bytes, last);
                    assert!(length.is_none_or(|length| length <= bytes.len()));
                }
            }
        }
        assert_eq!(log_length(&good, good.len()), None);
        assert_eq!(log_length(&[], 0), None);
    }

    #[test]
    fn every_choice_has_its_own_words() {
        let reasons = [Reason::Proven, Reason::Trial, Reason::Exhausted, Reason::Refused];
        let all: Vec<_> =
            Slot::ALL.iter().flat_map(|&s| reasons.iter().map(move |&reason| slot(s, reason))).collect();
        for (index, text) in all.iter().enumerate() {
            assert!(!all[index + 1..].contains(text));
        }
        assert_eq!(all[1], "sarsen slot A: trial");
    }
}
