//! UUIDs, and the exchange in which the device learns its own.

use alloc::{string::String, vec::Vec};

use prost::Message;

use crate::wire::uuid::UuidResponse;

/// A UUID. Printed in lower case with dashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// Reads `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`, in either case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        if text.len() != 36 {
            return None;
        }
        let mut uuid = [0; 16];
        let mut nibbles = 0;
        for (at, &byte) in text.iter().enumerate() {
            if matches!(at, 8 | 13 | 18 | 23) {
                if byte != b'-' {
                    return None;
                }
                continue;
            }
            let nibble = u8::try_from(char::from(byte).to_digit(16)?).ok()?;
            let slot: &mut u8 = uuid.get_mut(nibbles / 2)?;
            *slot = *slot << 4 | nibble;
            nibbles += 1;
        }
        Some(Self(uuid))
    }

    /// A random UUID (version 4) from 16 random bytes.
    #[must_use]
    pub fn random(mut bytes: [u8; 16]) -> Self {
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Self(bytes)
    }
}

impl core::fmt::Display for Uuid {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// What the controller says that the device is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The device's UUID.
    pub uuid: Uuid,
    /// Manufacturer of the model, often empty.
    pub manufacturer: String,
    /// Name of the model, often empty.
    pub product_name: String,
}

/// Payload of the request. It has no fields, so it is empty, and signed nevertheless.
#[must_use]
pub fn request() -> Vec<u8> {
    Vec::new()
}

/// Reads the answer's payload. `None` when it is not a `UuidResponse` or the UUID in it is none.
#[must_use]
pub fn parse_response(payload: &[u8]) -> Option<Identity> {
    let response = UuidResponse::decode(payload).ok()?;
    Some(Identity {
        uuid: Uuid::parse(response.uuid.trim())?,
        manufacturer: response.manufacturer,
        product_name: response.product_name,
    })
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn only_the_canonical_form_is_read() {
        let text = "5a5a5a5a-0000-4000-8000-0123456789ab";
        assert_eq!(Uuid::parse(text).unwrap().to_string(), text);
        assert_eq!(Uuid::parse(&text.to_uppercase()), Uuid::parse(text));
        for bad in ["", "5a5a5a5a00004000800001234567 89ab", "5a5a5a5a-0000-4000-8000-0123456789ag"] {
            assert_eq!(Uuid::parse(bad), None, "{bad}");
        }
        assert_eq!(Uuid::parse("5a5a5a5a+0000-4000-8000-0123456789ab"), None);
        assert_eq!(Uuid::random([0xff; 16]).to_string(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
