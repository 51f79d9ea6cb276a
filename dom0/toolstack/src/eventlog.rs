//! The log of what was measured, as control is given it: the firmware's events, which the selector has copied, those
//! that came after, dom0's own.
//!
//! The firmware's part is somebody else's memory. Its events are read one by one, within bounds; nothing of them is
//! believed here. A controller believes what a quote confirms.

use alloc::{vec, vec::Vec};

use proto_svc::device::{MAX_PIECE, ToControl};
use proto_tpm::{
    eventlog::{Log, emit_header},
    wire::Malformed,
};

/// The most bytes of the firmware's log that are taken.
pub const MAX_FIRMWARE: u32 = 128 << 10;
/// Bytes that the table of final events is looked for in, at most.
pub const MAX_FINAL: usize = 64 << 10;

/// Version and count at the beginning of the table of final events. Source: TCG EFI Protocol Specification 1.0, 7.
const FINAL_HEADER: usize = 16;

/// A log that begins as the firmware's does, or with a header of ours. `after` is the table of final events, with
/// whatever lies behind it; its first `seen` events are in the firmware's log already. Of a firmware's log that is malformed anywhere nothing is taken, for its replay would give no value of a quote; of the
/// final events those ahead of a malformed one are. The error says what it was.
pub fn begin(firmware: Option<&[u8]>, after: &[u8], seen: u32) -> (Vec<u8>, Result<(), Malformed>) {
    let Some(firmware) = firmware else { return (empty(), Ok(())) };
    let log = match Log::parse(firmware) {
        Ok(log) => log,
        Err(why) => return (empty(), Err(why)),
    };
    if let Some(Err(why)) = log.events().find(Result::is_err) {
        return (empty(), Err(why));
    }
    let mut all = firmware.to_vec();
    let (header, mut rest) = after.split_at_checked(FINAL_HEADER).unwrap_or_default();
    let word =
        |at: usize| header.get(at..at + 8).and_then(|word| word.try_into().ok()).map(u64::from_le_bytes);
    let count = if word(0) == Some(1) { word(8).unwrap_or(0) } else { 0 };
    for number in 0..count {
        let (event, behind) = match log.length_of(rest).map(|length| rest.split_at_checked(length)) {
            Ok(Some(split)) => split,
            Ok(None) => break,
            Err(why) => return (all, Err(why)),
        };
        if number >= seen.into() {
            all.extend_from_slice(event);
        }
        rest = behind;
    }
    (all, Ok(()))
}

fn empty() -> Vec<u8> {
    let mut log = vec![0; 128];
    let length = emit_header(&mut log).unwrap_or(0);
    log.truncate(length);
    log
}

/// The piece of `log` from `offset` on.
#[must_use]
pub fn piece(log: &[u8], offset: u32) -> ToControl {
    let rest = usize::try_from(offset).ok().and_then(|at| log.get(at..)).unwrap_or_default();
    let bytes: heapless::Vec<u8, MAX_PIECE> = rest.iter().take(MAX_PIECE).copied().collect();
    // It is bounded far below what 32 bits count.
    ToControl::EventLog { total: u32::try_from(log.len()).unwrap_or(u32::MAX), offset, bytes }
}

#[cfg(test)]
mod tests {
    use proto_tpm::eventlog::{Event, kind};

    use super::*;

    fn event(data: &[u8]) -> Vec<u8> {
        let event = Event { pcr: 5, kind: kind::EFI_ACTION, sha256: Some([7; 32]), data };
        let mut bytes = vec![0; 256];
        let length = event.emit(&mut bytes).unwrap();
        bytes.truncate(length);
        bytes
    }

    fn firmware() -> Vec<u8> {
        [empty(), event(b"one"), event(b"two")].concat()
    }

    fn after(count: u64, events: &[u8]) -> Vec<u8> {
        // Whatever lies behind the table is not looked at.
        [&1u64.to_le_bytes(), &count.to_le_bytes(), events, &[0xff; 40]].concat()
    }

    #[test]
    fn final_events_follow_those_of_the_firmware() {
        let late = [event(b"Exit Boot Services Invocation"), event(b"done")].concat();
        let (log, read) = begin(Some(&firmware()), &after(2, &late), 0);
        assert_eq!((log, read), ([firmware(), late].concat(), Ok(())));
        assert_eq!(begin(Some(&firmware()), &[], 0), (firmware(), Ok(())));
        assert_eq!(begin(None, &[], 0), (empty(), Ok(())));
        let newer = [2u64.to_le_bytes(), 1u64.to_le_bytes()].concat();
        assert_eq!(begin(Some(&firmware()), &newer, 0), (firmware(), Ok(())), "a table that is not known");
    }

    #[test]
    fn final_events_that_the_copy_has_are_not_there_twice() {
        // A slot that came back was measured after the log was asked for first.
        let late = [event(b"slot A"), event(b"slot B"), event(b"Exit Boot Services Invocation")];
        let copy = [firmware(), late[..2].concat()].concat();
        let whole = [copy.clone(), late[2].clone()].concat();
        assert_eq!(begin(Some(&copy), &after(3, &late.concat()), 2), (whole, Ok(())));
        assert_eq!(begin(Some(&copy), &after(2, &late[..2].concat()), 2), (copy.clone(), Ok(())));
        assert_eq!(begin(Some(&copy), &after(3, &late.concat()), u32::MAX), (copy, Ok(())));
    }

    #[test]
    fn what_is_malformed_is_left_out_and_told() {
        let cut = firmware();
        let (log, read) = begin(Some(&cut[..cut.len() - 1]), &[], 0);
        assert_eq!(log, empty());
        assert!(read.is_err());
        let (log, read) = begin(Some(b"no log"), &[], 0);
        assert_eq!(log, empty());
        assert!(read.is_err());
        // A count that leads astray: what is read as events after the last is none.
        let (log, read) = begin(Some(&firmware()), &after(u64::MAX, &event(b"late")), 0);
        assert_eq!(log, [firmware(), event(b"late")].concat());
        assert!(read.is_err());
    }

    #[test]
    fn pieces_make_up_the_log() {
        let log: std::vec::Vec<u8> = (0..2000_u32).map(|n| n as u8).collect();
        let mut all = std::vec::Vec::new();
        loop {
            let ToControl::EventLog { total: 2000, offset, bytes } = piece(&log, all.len() as u32) else {
                panic!("no piece")
            };
            assert_eq!(offset as usize, all.len());
            if bytes.is_empty() {
                break;
            }
            all.extend(bytes);
        }
        assert_eq!(all, log);
        for past in [2001, u32::MAX] {
            let expected = ToControl::EventLog { total: 2000, offset: past, bytes: heapless::Vec::new() };
            assert_eq!(piece(&log, past), expected);
        }
    }
}
