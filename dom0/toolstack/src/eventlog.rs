//! The log of what was measured, as control is given it.

use heapless::Vec;
use proto_svc::device::{MAX_PIECE, ToControl};

/// The piece of `log` from `offset` on.
#[must_use]
pub fn piece(log: &[u8], offset: u32) -> ToControl {
    let rest = usize::try_from(offset).ok().and_then(|at| log.get(at..)).unwrap_or_default();
    let bytes: Vec<u8, MAX_PIECE> = rest.iter().take(MAX_PIECE).copied().collect();
    // It is bounded far below what 32 bits count.
    ToControl::EventLog { total: u32::try_from(log.len()).unwrap_or(u32::MAX), offset, bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let expected = ToControl::EventLog { total: 2000, offset: past, bytes: Vec::new() };
            assert_eq!(piece(&log, past), expected);
        }
    }
}
