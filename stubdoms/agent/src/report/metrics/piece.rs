//! A metrics message as storage keeps it.
//!
//! ```text
//!   1 | start u32 | serial u32 | the message, whole, with its time
//! ```
//!
//! Integers are little-endian. What comes back is as foreign as any input.

use alloc::vec::Vec;

use proto_eve::{Message, uuid::Uuid, wire::metrics::ZMetricMsg};

use crate::clock::WallTime;

const FORMAT: u8 = 1;
/// Bytes of the longest message that is kept.
pub(super) const MAX_MESSAGE: usize = 16 * 1024;

/// A message that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Which start of the machine it is of.
    pub(super) start: u32,
    /// Its number among the messages of that start.
    pub(super) serial: u32,
    /// As it goes to the controller.
    pub(super) body: Vec<u8>,
}

/// Whose message it is, and when it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) device: Uuid,
    pub(super) at: WallTime,
}

impl Piece {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(9 + self.body.len());
        bytes.push(FORMAT);
        bytes.extend_from_slice(&self.start.to_le_bytes());
        bytes.extend_from_slice(&self.serial.to_le_bytes());
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// Undoes [`Piece::encode`]; nothing if the bytes are no message of ours.
    pub(super) fn decode(bytes: &[u8]) -> Option<(Self, Head)> {
        let (format, bytes) = bytes.split_first()?;
        let (start, bytes) = bytes.split_first_chunk()?;
        let (serial, body) = bytes.split_first_chunk()?;
        if *format != FORMAT || body.len() > MAX_MESSAGE {
            return None;
        }
        let message = ZMetricMsg::decode(body).ok()?;
        let (device, at) = (Uuid::parse(&message.dev_id)?, message.at_time_stamp?);
        let nanos = u32::try_from(at.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
        let at = WallTime { seconds: u64::try_from(at.seconds).ok()?, nanos };
        let (start, serial) = (u32::from_le_bytes(*start), u32::from_le_bytes(*serial));
        Some((Self { start, serial, body: body.to_vec() }, Head { device, at }))
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use proto_eve::time;

    use super::*;

    const DEVICE: Uuid = Uuid([7; 16]);

    fn body(at: (i64, i32), device: &str) -> Vec<u8> {
        let at_time_stamp = Some(proto_eve::Timestamp { seconds: at.0, nanos: at.1 });
        ZMetricMsg { dev_id: device.into(), at_time_stamp, ..ZMetricMsg::default() }.encode_to_vec()
    }

    #[test]
    fn reading_undoes_writing_and_anything_else_is_refused() {
        let device = DEVICE.to_string();
        let piece = Piece { start: 7, serial: u32::MAX, body: body((1_800_000_000, 5), &device) };
        let head = Head { device: DEVICE, at: WallTime { seconds: 1_800_000_000, nanos: 5 } };
        assert_eq!(time::timestamp(1_800_000_000, 5), head.at.timestamp());
        let bytes = piece.encode();
        assert_eq!(Piece::decode(&bytes), Some((piece.clone(), head)));
        for end in 0..bytes.len() {
            assert_eq!(Piece::decode(&bytes[..end]), None, "{end}");
        }
        let mut other = bytes.clone();
        other[0] = 2;
        assert_eq!(Piece::decode(&other), None);
        for bad in [
            body((-1, 0), &device),
            body((1, -1), &device),
            body((1, 1_000_000_000), &device),
            body((1, 0), "somebody"),
            Vec::from([0xff]),
            [body((1, 0), &device), [0x0a, 0x80, 0x80, 1].to_vec(), vec_of(MAX_MESSAGE)].concat(),
        ] {
            assert_eq!(Piece::decode(&Piece { body: bad, ..piece.clone() }.encode()), None);
        }
    }

    fn vec_of(length: usize) -> Vec<u8> {
        core::iter::repeat_n(b'x', length).collect()
    }
}
