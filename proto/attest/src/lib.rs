//! What a machine is expected to measure, and where its event log differs from that.
//!
//! A [`Prediction`] has for each PCR the events that are expected, in order; an event may be one of several. Those of
//! our own programs are computed from an image, those of the firmware learned from a log of the same firmware. The
//! log that is compared must be known to be what the TPM quoted: [`differences`] says nothing of that.
//!
//! Shared by `xtask measure`, which predicts, and the controller, which judges. No I/O, no hashing; tested on the host.

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

/// Characters of a name that an event gives itself.
const MAX_TEXT: usize = 80;

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
    /// The events by PCR. PCRs that are not here may have any value.
    pub pcrs: BTreeMap<u32, Vec<Expected>>,
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
    let mut of: BTreeMap<u32, Vec<Found>> = BTreeMap::new();
    for event in events {
        if event.kind != kind::NO_ACTION && prediction.pcrs.contains_key(&event.pcr) {
            of.entry(event.pcr).or_default().push(found(&event));
        }
    }
    let differs = |(&pcr, expected): (&u32, &Vec<Expected>)| {
        let found = of.get(&pcr).map_or(&[][..], Vec::as_slice);
        let length = expected.len().max(found.len());
        let at = (0..length).find(|&at| match (expected.get(at), found.get(at)) {
            (Some(expected), Some(found)) => !expected.digests.contains(&found.digest),
            _ => true,
        })?;
        let expected = expected.get(at).map(|expected| expected.text.clone());
        Some(Difference { pcr, at, expected, found: found.get(at).cloned() })
    };
    prediction.pcrs.iter().filter_map(differs).collect()
}

/// How an event is told: by its data if that is text, else by its kind.
fn found(event: &Event<'_>) -> Found {
    let digest = event.sha256.map(hex::encode).unwrap_or_default();
    let text = core::str::from_utf8(event.data).ok().map(|text| text.trim_end_matches('\0'));
    let text = text.filter(|text| !text.is_empty() && text.chars().all(|c| c == ' ' || c.is_ascii_graphic()));
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
