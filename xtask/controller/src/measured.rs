//! What a device measured, against what it quoted and what is expected.
//!
//! The structure of an event log is read by the package that devices use; what it comes to is hashed here, with the
//! controller's own library.

use std::fs;
use std::io::Read as _;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context as _, Result};
use flate2::read::GzDecoder;
use proto_attest::{Prediction, differences};
use proto_handoff::measurement::SLOT_PCR;
use proto_tpm::eventlog::{Event, Log, kind, reset_values};

use crate::key::sha256;

/// Bytes of the longest event log, uncompressed: twice the longest request.
const LOG_LIMIT: u64 = 2 * 63_488;
/// PCRs that a quote has to be of. Source: EVE, `pkg/pillar/evetpm`, which quotes these of the SHA-256 bank.
pub(crate) const QUOTED: Range<u32> = 0..16;
/// PCRs that are not learned: the partition table and the choice of the slot change with every try of an update.
pub(crate) const LEFT_OUT: [u32; 2] = [5, SLOT_PCR];

/// What the log is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Story {
    /// It is the log of what was quoted, of so many events.
    Told(usize),
    /// There is none.
    None,
    /// It cannot be read.
    Unreadable(String),
    /// It is not the log of what was quoted: the first PCR that it does not explain.
    Other(u32),
}

/// Unpacks the log of a quote.
pub(crate) fn unpack(gzip: &[u8]) -> Option<Vec<u8>> {
    let mut log = Vec::new();
    let read = GzDecoder::new(gzip).take(LOG_LIMIT + 1).read_to_end(&mut log);
    (read.is_ok() && log.len() as u64 <= LOG_LIMIT).then_some(log)
}

/// The events of a log.
pub(crate) fn events(log: &[u8]) -> Result<Vec<Event<'_>>, String> {
    let parsed = Log::parse(log).map_err(|fault| fault.to_string())?;
    parsed.events().collect::<Result<_, _>>().map_err(|fault| fault.to_string())
}

/// Whether the events lead to the quoted values of those PCRs that are `asked` for: `value(pcr)` is none for what was not
/// quoted, to which no log leads.
pub(crate) fn story(
    events: &[Event<'_>],
    asked: impl Fn(u32) -> bool,
    value: impl Fn(u32) -> Option<[u8; 32]>,
) -> Story {
    let mut values = reset_values();
    for locality in events.iter().filter_map(Event::startup_locality) {
        values[0][31] = locality;
    }
    for event in events.iter().filter(|event| event.kind != kind::NO_ACTION) {
        let place = usize::try_from(event.pcr).ok().and_then(|pcr| values.get_mut(pcr));
        match (place, event.sha256) {
            (Some(place), Some(digest)) => *place = sha256(&[*place, digest].concat()),
            (None, _) => return Story::Unreadable(format!("an event of PCR {}", event.pcr)),
            (_, None) => return Story::Unreadable("an event without a SHA-256 digest".into()),
        }
    }
    let mut told = QUOTED.zip(values).filter(|(pcr, _)| asked(*pcr));
    match told.find(|(pcr, expected)| value(*pcr).as_ref() != Some(expected)) {
        Some((pcr, _)) => Story::Other(pcr),
        None => Story::Told(events.len()),
    }
}

/// Where the events differ from the prediction that they are closest to, by PCR; nothing if they fit one.
pub(crate) fn compare(predictions: &[Prediction], events: &[Event<'_>]) -> Vec<(u32, String)> {
    let of = |prediction| -> Vec<(u32, String)> {
        let found = differences(prediction, events.iter().copied());
        found.iter().map(|difference| (difference.pcr, difference.to_string())).collect()
    };
    predictions.iter().map(of).min_by_key(Vec::len).unwrap_or_default()
}

/// Reads what `cargo xtask measure --json` wrote.
pub(crate) fn read(file: &Path) -> Result<Prediction> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no prediction", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> Vec<u8> {
        let mut log = vec![0; 4096];
        let mut length = proto_tpm::eventlog::emit_header(&mut log).expect("room");
        for (pcr, text) in [(0, "firmware"), (13, "sarsen table"), (13, "sarsen image net")] {
            let event =
                Event { pcr, kind: kind::IPL, sha256: Some(sha256(text.as_bytes())), data: text.as_bytes() };
            length += event.emit(&mut log[length..]).expect("room");
        }
        log.truncate(length);
        log
    }

    fn value(pcr: u32) -> Option<[u8; 32]> {
        let extended = |value: [u8; 32], text: &str| sha256(&[value, sha256(text.as_bytes())].concat());
        match pcr {
            0 => Some(extended([0; 32], "firmware")),
            13 => Some(extended(extended([0; 32], "sarsen table"), "sarsen image net")),
            _ => Some([0; 32]),
        }
    }

    #[test]
    fn a_log_tells_the_story_of_its_values_and_of_no_others() {
        let log = log();
        let events = events(&log).expect("a log");
        assert_eq!(story(&events, |_| true, |pcr| value(pcr).filter(|_| pcr < 16)), Story::Told(3));
        assert_eq!(story(&events[..2], |_| true, |pcr| value(pcr).filter(|_| pcr < 16)), Story::Other(13));
        assert_eq!(story(&events, |_| true, |pcr| (pcr == 0).then_some([0; 32])), Story::Other(0));
        // Of a PCR that nobody asks for the log need not tell.
        assert_eq!(
            story(&events[..2], |pcr| pcr != 13, |pcr| value(pcr).filter(|_| pcr < 16)),
            Story::Told(2)
        );
        // A log beside values that were not quoted tells nothing.
        assert_eq!(story(&events, |_| true, |_| None), Story::Other(0));
        assert_eq!(story(&events, |_| true, |pcr| value(pcr).filter(|_| pcr < 15)), Story::Other(15));
    }

    #[test]
    fn a_tpm_that_was_started_from_another_locality_is_believed() {
        let log = log();
        let mut events = events(&log).expect("a log");
        let data = b"StartupLocality\0\x03";
        events.insert(0, Event { pcr: 0, kind: kind::NO_ACTION, sha256: Some([0; 32]), data });
        let mut begun = [0; 32];
        begun[31] = 3;
        let begun = sha256(&[begun, sha256(b"firmware")].concat());
        let told = |pcr| if pcr == 0 { Some(begun) } else { value(pcr).filter(|_| pcr < 16) };
        assert_eq!(story(&events, |_| true, told), Story::Told(4));
        assert_eq!(story(&events, |_| true, value), Story::Other(0));
    }

    #[test]
    fn a_flipped_bit_anywhere_in_the_log_is_noticed_or_says_nothing() {
        let whole = log();
        let mut unnoticed = 0;
        for at in 0..whole.len() * 8 {
            let mut log = whole.clone();
            log[at / 8] ^= 1 << (at % 8);
            let told = events(&log).is_ok_and(|events| {
                story(&events, |_| true, |pcr| value(pcr).filter(|_| pcr < 16)) == Story::Told(3)
            });
            unnoticed += usize::from(told);
        }
        // Texts, kinds and parts of the header are no part of what is hashed; every digest and PCR number is.
        assert!(whole.len() * 8 - unnoticed >= 3 * (256 + 16), "{unnoticed} of {}", whole.len() * 8);
    }

    #[test]
    fn bad_logs_are_named() {
        assert!(events(b"").is_err());
        let log = log();
        assert!((1..log.len()).all(|length| events(&log[..length]).map_or(true, |events| events.len() < 3)));
        assert!(unpack(b"no gzip").is_none());
        let alien = Event { pcr: 99, kind: kind::IPL, sha256: Some([0; 32]), data: b"" };
        assert!(matches!(story(&[alien], |_| true, |_| None), Story::Unreadable(_)));
        let bare = Event { pcr: 1, sha256: None, ..alien };
        assert!(matches!(story(&[bare], |_| true, |_| None), Story::Unreadable(_)));
    }

    #[test]
    fn what_an_older_measure_wrote_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("expected.json");
        let older = r#"{"about":"disk.img","pcrs":{"13":[{"text":"sarsen table","digests":["00"],"origin":"computed"}]}}"#;
        fs::write(&file, older).expect("written");
        let prediction = read(&file).expect("a prediction");
        assert!(prediction.programs.is_empty() && prediction.pcrs[&13][0].text == "sarsen table");
        assert_eq!(serde_json::to_string(&prediction).expect("JSON"), older, "and written as it was");
    }

    #[test]
    fn the_closest_prediction_is_compared() {
        let log = log();
        let events = events(&log).expect("a log");
        let mut right = Prediction::default();
        right.learn(events.iter().copied(), &LEFT_OUT);
        let mut wrong = right.clone();
        wrong.pcrs.get_mut(&13).expect("learned")[1].digests = vec!["00".into()];
        assert!(compare(&[wrong.clone(), right], &events).is_empty());
        assert_eq!(compare(&[wrong], &events).len(), 1);
        assert!(compare(&[], &events).is_empty());
    }
}
