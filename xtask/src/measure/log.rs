//! The event log that a machine will have, for programs that read such logs (`tpm2_eventlog` of tpm2-tools).

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow, ensure};
use proto_attest::{Expected, Prediction};
use proto_handoff::provisioning;
use proto_tpm::eventlog::{Event, Log, emit_header, kind};

/// More than any event has beside its data.
const EVENT_BYTES: usize = 64;

/// The log by a prediction that was made with the log `learned`: its events with the digests that are predicted. What is
/// measured of services and provisioning files is all the prediction's, and stands where the log has its first such event, or
/// at the end. Events of PCRs that are not predicted stay as they are.
///
/// # Errors
/// When the log cannot be read, or has another number of events than is predicted.
pub(super) fn predicted(prediction: &Prediction, learned: &[u8]) -> Result<Vec<u8>> {
    let wrong = |error| anyhow!("the event log: {error}");
    let log = Log::parse(learned).map_err(wrong)?;
    let events: Vec<Event<'_>> = log.events().collect::<Result<_, _>>().map_err(wrong)?;
    let mut out = Out { bytes: vec![0; EVENT_BYTES * 2], length: 0 };
    out.length = emit_header(&mut out.bytes).context("a header fits")?;
    // By PCR: what is still to come.
    let mut left: BTreeMap<u32, std::slice::Iter<'_, Expected>> =
        prediction.pcrs.iter().map(|(&pcr, expected)| (pcr, expected.iter())).collect();
    for event in events {
        let Some(expected) = left.get_mut(&event.pcr).filter(|_| event.kind != kind::NO_ACTION) else {
            out.put(&event)?;
            continue;
        };
        if is_ours(event.pcr) {
            expected.by_ref().try_for_each(|expected| out.put_ours(event.pcr, expected))?;
        } else {
            let expected = expected.next().with_context(|| format!("PCR {} has more events", event.pcr))?;
            out.put(&Event { sha256: Some(digest(expected)?), ..event })?;
        }
    }
    for (pcr, mut expected) in left {
        ensure!(is_ours(pcr) || expected.len() == 0, "PCR {pcr} has fewer events");
        expected.try_for_each(|expected| out.put_ours(pcr, expected))?;
    }
    out.bytes.truncate(out.length);
    Ok(out.bytes)
}

fn is_ours(pcr: u32) -> bool {
    pcr == super::SERVICES || pcr == provisioning::PCR
}

fn digest(expected: &Expected) -> Result<[u8; 32]> {
    let mut digest = [0; 32];
    hex::decode_to_slice(expected.digests.first().context("an event without a digest")?, &mut digest)?;
    Ok(digest)
}

struct Out {
    bytes: Vec<u8>,
    length: usize,
}

impl Out {
    fn put(&mut self, event: &Event<'_>) -> Result<()> {
        self.bytes.resize(self.length + EVENT_BYTES + event.data.len(), 0);
        let room = self.bytes.get_mut(self.length..).unwrap_or_default();
        self.length += event.emit(room).context("an event without a SHA-256 digest")?;
        Ok(())
    }

    /// One whose data are its text.
    fn put_ours(&mut self, pcr: u32, expected: &Expected) -> Result<()> {
        let kind = if pcr == provisioning::PCR { kind::EFI_ACTION } else { kind::IPL };
        self.put(&Event { pcr, kind, sha256: Some(digest(expected)?), data: expected.text.as_bytes() })
    }
}
