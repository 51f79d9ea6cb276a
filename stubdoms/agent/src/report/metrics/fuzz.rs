//! Entry for fuzzing: a metrics message as storage gives it back.

use alloc::{string::ToString, vec::Vec};

use proto_eve::{Message, time, uuid::Uuid, wire::metrics::ZMetricMsg};

use super::piece::Piece;

/// Bytes of storage as a metrics message: what is accepted reads the same when it is written, and goes out as it is.
///
/// # Panics
/// When it does not.
pub fn metrics_piece(bytes: &[u8]) {
    if let Some((read, _)) = Piece::decode(bytes) {
        assert_eq!(read.encode(), bytes, "what was read is not what is written");
    }
}

/// A message that is accepted, for a start.
#[must_use]
pub fn metrics_seed() -> Vec<u8> {
    let dev_id = Uuid([7; 16]).to_string();
    let at_time_stamp = Some(time::timestamp(1_800_000_000, 5));
    let body = ZMetricMsg { dev_id, at_time_stamp, ..ZMetricMsg::default() }.encode_to_vec();
    Piece { start: 1, serial: 2, body }.encode()
}
