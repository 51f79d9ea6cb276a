//! What a machine is expected to measure, and where its event log differs from that.
//!
//! A [`Prediction`] has for each PCR the events that are expected, in order; an event may be one of several. Those of
//! our own programs are computed from an image, those of the firmware learned from a log of the same firmware. Where
//! nothing was learned, PCR 4 is held to our programs alone: they are all that is started, in order, and what the firmware
//! says of itself in between is free.
//!
//! The log that is compared must be known to be what the TPM quoted: [`differences`] says nothing of that. It vouches for
//! PCRs and digests. Kinds and data may be anybody's, so neither makes an event one that is free: what the firmware says is
//! known by a digest that is the hash of a short text or of a separator, which no program has.
//!
//! Shared by `xtask measure`, which predicts, and the controller, which judges. No I/O; tested on the host.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::{
    collections::BTreeMap,
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;

use proto_tpm::eventlog::{Event, kind};
use serde::{Deserialize, Serialize};

/// The PCR of the programs that the firmware starts. Source: TCG PC Client Platform Firmware Profile 1.06, section 3.3.4.
pub const PROGRAMS_PCR: u32 = 4;

/// Characters of a name that an event gives itself, and of what the firmware says; the longest that the profile has are 47.
const MAX_TEXT: usize = 80;
/// What the firmware extends to mark the end of a phase.
const SEPARATORS: [[u8; 4]; 2] = [[0; 4], [0xff; 4]];

/// Where an expectation comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Computed from an image.
    Computed,
    /// Taken from the log of a machine that was trusted.
    Learned,
}

/// An event that is expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// What it is, for people.
    pub text: String,
    /// The SHA-256 digests that it may have, in hexadecimal.
    pub digests: Vec<String>,
    /// Where the digests come from.
    pub origin: Origin,
}

/// What a machine is expected to measure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prediction {
    /// What it is for: image, version, firmware.
    pub about: String,
    /// The events by PCR. PCRs that are not here may have any value, but for what `programs` says of one.
    pub pcrs: BTreeMap<u32, Vec<Expected>>,
    /// All that the firmware starts, in order: the events of [`PROGRAMS_PCR`] but for what the firmware says in between, where
    /// that is not known. If there are none, that PCR is held to `pcrs` alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub programs: Vec<Expected>,
}

/// An event that was found, as it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What it says of itself.
    pub text: String,
    /// Its digest, in hexadecimal.
    pub digest: String,
}

/// A difference: the first one of its PCR.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The PCR.
    pub pcr: u32,
    /// Which of the PCR's events, from 0.
    pub at: usize,
    /// What was expected there; nothing if there are more events than expected.
    pub expected: Option<String>,
    /// What is there; nothing if there are fewer.
    pub found: Option<Found>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PCR {}, event {}: ", self.pcr, self.at + 1)?;
        match (&self.expected, &self.found) {
            (Some(expected), Some(found)) if *expected == found.text => {
                write!(f, "{expected} has another hash than expected, {:.16}…", found.digest)
            }
            (Some(expected), Some(found)) => {
                write!(f, "{} ({:.16}…) in place of {expected}", found.text, found.digest)
            }
            (Some(expected), None) => write!(f, "{expected} is missing"),
            (None, Some(found)) => write!(f, "{} ({:.16}…) is not expected", found.text, found.digest),
            (None, None) => f.write_str("nothing"),
        }
    }
}

impl Prediction {
    /// Learns from the events of a log that is trusted, all PCRs but those left out. What is predicted already stays.
    pub fn learn<'a>(&mut self, events: impl IntoIterator<Item = Event<'a>>, left_out: &[u32]) {
        let known: Vec<u32> = self.pcrs.keys().copied().collect();
        for event in events {
            if event.kind == kind::NO_ACTION || left_out.contains(&event.pcr) || known.contains(&event.pcr) {
                continue;
            }
            let Found { text, digest } = found(&event);
            let expected = Expected { text, digests: [digest].into(), origin: Origin::Learned };
            self.pcrs.entry(event.pcr).or_default().push(expected);
        }
    }
}

/// The first difference of each PCR that is predicted, by PCR. Events of other PCRs are not looked at.
pub fn differences<'a>(
    prediction: &Prediction,
    events: impl IntoIterator<Item = Event<'a>>,
) -> Vec<Difference> {
    let mut of: BTreeMap<u32, Vec<Event<'a>>> = BTreeMap::new();
    for event in events {
        if event.kind != kind::NO_ACTION {
            of.entry(event.pcr).or_default().push(event);
        }
    }
    let of = |pcr| of.get(&pcr).map_or(&[][..], Vec::as_slice);
    let whole = |(&pcr, expected): (&u32, &Vec<Expected>)| difference(pcr, expected, of(pcr), |_| false);
    let mut all: Vec<Difference> = prediction.pcrs.iter().filter_map(whole).collect();
    if !prediction.programs.is_empty() {
        all.extend(difference(PROGRAMS_PCR, &prediction.programs, of(PROGRAMS_PCR), is_said));
    }
    all.sort_by_key(|difference| difference.pcr);
    all
}

/// The first event of a PCR that is not the expected one; those that are free are passed over.
fn difference(
    pcr: u32,
    expected: &[Expected],
    events: &[Event<'_>],
    is_free: impl Fn(&Event<'_>) -> bool,
) -> Option<Difference> {
    let mut expected = expected.iter();
    for (at, event) in events.iter().enumerate().filter(|(_, event)| !is_free(event)) {
        let (wanted, found) = (expected.next(), found(event));
        if !wanted.is_some_and(|wanted| wanted.digests.contains(&found.digest)) {
            let expected = wanted.map(|wanted| wanted.text.clone());
            return Some(Difference { pcr, at, expected, found: Some(found) });
        }
    }
    let missing = expected.next()?;
    Some(Difference { pcr, at: events.len(), expected: Some(missing.text.clone()), found: None })
}

/// Whether an event is a separator or a line of text, and was extended by the hash of that: so it is nothing that runs. The
/// header of a program names its processor by a number with bytes that are no ASCII (0x8664, 0xaa64), and the code of
/// a boot sector, of which there is no header, is longer.
fn is_said(event: &Event<'_>) -> bool {
    let separator = SEPARATORS.iter().any(|separator| event.data == separator);
    let line = (1..=MAX_TEXT).contains(&event.data.len()) && event.data.iter().all(|&byte| is_text(byte));
    (separator || line) && event.data_is_measured()
}

fn is_text(byte: u8) -> bool {
    byte == b' ' || byte.is_ascii_graphic()
}

/// How an event is told: by its data if that is text, else by its kind.
fn found(event: &Event<'_>) -> Found {
    let digest = event.sha256.map(hex::encode).unwrap_or_default();
    let text = core::str::from_utf8(event.data).ok().map(|text| text.trim_end_matches('\0'));
    let text = text.filter(|text| !text.is_empty() && text.bytes().all(is_text));
    let text = match text {
        Some(text) => text.chars().take(MAX_TEXT).collect(),
        None => name(event.kind),
    };
    Found { text, digest }
}

fn name(of: u32) -> String {
    match of {
        kind::SEPARATOR => "separator".to_string(),
        kind::EFI_VARIABLE_DRIVER_CONFIG => "secure-boot variable".to_string(),
        kind::EFI_VARIABLE_BOOT => "boot variable".to_string(),
        kind::EFI_BOOT_SERVICES_APPLICATION => "program".to_string(),
        kind::EFI_GPT_EVENT => "partition table".to_string(),
        other => alloc::format!("event of kind {other:#x}"),
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    fn event(pcr: u32, digest: u8, data: &'static str) -> Event<'static> {
        Event { pcr, kind: kind::IPL, sha256: Some([digest; 32]), data: data.as_bytes() }
    }

    fn log() -> Vec<Event<'static>> {
        let mut log = Vec::from([
            event(0, 1, "firmware"),
            event(13, 2, "sarsen table"),
            event(5, 3, "anything"),
            event(13, 4, "sarsen image net"),
        ]);
        log.push(Event { kind: kind::NO_ACTION, ..event(0, 9, "StartupLocality") });
        log
    }

    fn predicted() -> Prediction {
        let mut prediction = Prediction::default();
        prediction.learn(log(), &[5]);
        prediction
    }

    fn told(log: Vec<Event<'static>>) -> Vec<String> {
        differences(&predicted(), log).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_log_does_not_differ_from_what_was_learned_of_it() {
        assert_eq!(predicted().pcrs.keys().copied().collect::<Vec<_>>(), [0, 13]);
        assert!(told(log()).is_empty());
        // What was left out may be anything.
        let mut other = log();
        other[2] = event(5, 99, "another partition table");
        assert!(told(other).is_empty());
    }

    #[test]
    fn the_event_that_differs_is_named() {
        let mut other = log();
        other[3].sha256 = Some([5; 32]);
        assert_eq!(
            told(other),
            ["PCR 13, event 2: sarsen image net has another hash than expected, 0505050505050505…"]
        );
        let mut other = log();
        other[3] = event(13, 6, "sarsen image evil");
        assert_eq!(
            told(other),
            ["PCR 13, event 2: sarsen image evil (0606060606060606…) in place of sarsen image net"]
        );
        let mut other = log();
        other.remove(3);
        assert_eq!(told(other), ["PCR 13, event 2: sarsen image net is missing"]);
        let mut other = log();
        other.push(event(0, 7, "one more"));
        assert_eq!(told(other), ["PCR 0, event 2: one more (0707070707070707…) is not expected"]);
        assert_eq!(told(Vec::new()).len(), 2);
    }

    #[test]
    fn an_event_may_be_one_of_several() {
        let mut prediction = predicted();
        prediction.pcrs.get_mut(&13).unwrap()[1].digests.push(hex::encode([5; 32]));
        let mut other = log();
        other[3].sha256 = Some([5; 32]);
        assert!(differences(&prediction, other).is_empty());
        assert!(differences(&prediction, log()).is_empty());
    }

    /// Of PCR 4: an event of this kind with these data, extended by their hash.
    fn said(kind: u32, data: &'static [u8]) -> Event<'static> {
        Event { pcr: PROGRAMS_PCR, kind, sha256: Some(Sha256::digest(data).into()), data }
    }

    /// A program that was started, told by where it came from.
    fn program(digest: u8) -> Event<'static> {
        let kind = kind::EFI_BOOT_SERVICES_APPLICATION;
        Event { pcr: PROGRAMS_PCR, kind, sha256: Some([digest; 32]), data: b"\x18\x40\0\xbe\0" }
    }

    fn calling() -> Event<'static> {
        said(kind::EFI_ACTION, b"Calling EFI Application from Boot Option")
    }

    fn separator() -> Event<'static> {
        said(kind::SEPARATOR, &[0; 4])
    }

    /// What OVMF has in PCR 4; U-Boot has the selector first.
    fn start() -> Vec<Event<'static>> {
        Vec::from([calling(), separator(), event(0, 9, "firmware"), program(1), program(3)])
    }

    /// A selector that may be one of two, and what it starts; the firmware is not known.
    fn ours() -> Prediction {
        let expected = |text: &str, digests: &[u8]| Expected {
            text: text.into(),
            digests: digests.iter().map(|&digest| hex::encode([digest; 32])).collect(),
            origin: Origin::Computed,
        };
        let programs = Vec::from([expected("selector", &[1, 2]), expected("program of the slot", &[3])]);
        Prediction { programs, ..Prediction::default() }
    }

    fn refusal(log: Vec<Event<'static>>) -> String {
        let found = differences(&ours(), log);
        assert!(found.len() < 2, "{found:?}");
        found.first().map(ToString::to_string).unwrap_or_default()
    }

    #[test]
    fn what_is_started_is_known_on_a_firmware_that_is_not() {
        assert_eq!(refusal(start()), "");
        let failed = said(kind::EFI_ACTION, b"Returning from EFI Application from Boot Option");
        let error = said(kind::SEPARATOR, &[0xff; 4]);
        // As U-Boot has it, with a boot option that came to nothing, and by the other selector.
        assert_eq!(refusal([program(1), calling(), separator(), program(3)].into()), "");
        assert_eq!(refusal([calling(), failed, error, calling(), program(2), program(3)].into()), "");
    }

    #[test]
    fn another_program_is_named_wherever_it_stands() {
        let with = |at: usize, with: Event<'static>| {
            let mut log = start();
            log[at] = with;
            refusal(log)
        };
        assert_eq!(
            with(4, program(5)),
            "PCR 4, event 4: program (0505050505050505…) in place of program of the slot"
        );
        assert_eq!(with(3, program(5)), "PCR 4, event 3: program (0505050505050505…) in place of selector");
        let more = |at: usize, more: Event<'static>| {
            let mut log = start();
            log.insert(at, more);
            refusal(log)
        };
        assert_eq!(more(5, program(5)), "PCR 4, event 5: program (0505050505050505…) is not expected");
        assert_eq!(more(5, program(3)), "PCR 4, event 5: program (0303030303030303…) is not expected");
        assert_eq!(more(3, program(5)), "PCR 4, event 3: program (0505050505050505…) in place of selector");
        assert_eq!(more(0, program(5)), "PCR 4, event 1: program (0505050505050505…) in place of selector");
        let less = |at: usize| {
            let mut log = start();
            log.remove(at);
            refusal(log)
        };
        assert_eq!(less(4), "PCR 4, event 4: program of the slot is missing");
        assert_eq!(less(3), "PCR 4, event 3: program (0303030303030303…) in place of selector");
        assert_eq!(refusal(Vec::new()), "PCR 4, event 1: selector is missing");
        let mut log = start();
        log.swap(3, 4);
        assert_eq!(refusal(log), "PCR 4, event 3: program (0303030303030303…) in place of selector");
    }

    /// Whoever was started in our place writes the log, and extends the digests of ours behind its own.
    #[test]
    fn a_program_does_not_pass_for_what_the_firmware_says() {
        let evil = |event: Event<'static>| {
            let mut log = start();
            log.insert(3, event);
            refusal(log)
        };
        assert_eq!(evil(calling()), "");
        let names = [
            // Of another kind, under the firmware's words, as nothing at all.
            (Event { kind: kind::EFI_ACTION, ..program(5) }, "event of kind 0x80000007"),
            (Event { sha256: Some([5; 32]), ..calling() }, "Calling EFI Application from Boot Option"),
            (Event { sha256: Some([5; 32]), ..separator() }, "separator"),
            (Event { sha256: Some([5; 32]), data: b"selector", ..program(5) }, "another hash"),
            (Event { sha256: None, ..calling() }, "Calling"),
            // With the program itself for data, so that the hash is right.
            (said(kind::EFI_ACTION, b"MZ\x90\0PE\0\0\x64\x86"), "event of kind"),
            (said(kind::EFI_ACTION, &[b'P'; 440]), "PPPP"),
            (said(kind::SEPARATOR, &[0; 8]), "separator"),
            (said(kind::EFI_ACTION, b""), "event of kind"),
        ];
        for (event, name) in names {
            let refusal = evil(event);
            assert!(refusal.starts_with("PCR 4, event 3: ") && refusal.contains(name), "{name}: {refusal}");
        }
    }

    #[test]
    fn a_pcr_that_is_known_whole_is_held_to_both() {
        let mut prediction = ours();
        prediction.learn(start(), &[]);
        assert!(differences(&prediction, start()).is_empty());
        let mut other = start();
        other[0] = said(kind::EFI_ACTION, b"Booting from somewhere else");
        assert_eq!(differences(&prediction, other).len(), 1);
        let pcrs: Vec<u32> = differences(&prediction, Vec::new()).iter().map(|found| found.pcr).collect();
        assert_eq!(pcrs, [0, 4, 4]);
    }

    #[test]
    fn what_is_predicted_is_not_learned_over() {
        let mut prediction = predicted();
        let mut other = log();
        other[1].sha256 = Some([8; 32]);
        other.push(event(7, 1, "new"));
        prediction.learn(other, &[5]);
        assert!(prediction.pcrs.contains_key(&7));
        assert!(differences(&prediction, log()).iter().all(|difference| difference.pcr == 7));
    }

    #[test]
    fn data_that_is_no_text_is_told_by_its_kind() {
        let raw = Event { pcr: 4, kind: kind::EFI_BOOT_SERVICES_APPLICATION, sha256: None, data: &[0xff, 0] };
        assert_eq!(found(&raw), Found { text: "program".into(), digest: String::new() });
        let escape = Event { pcr: 4, kind: 0x99, sha256: None, data: b"\x1b[31m" };
        assert_eq!(found(&escape).text, "event of kind 0x99");
    }
}
