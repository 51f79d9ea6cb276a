//! The exchange that fetches the configuration.

use alloc::{string::String, vec::Vec};

use prost::Message;

use crate::{
    bounds,
    wire::config::{ConfigRequest, ConfigResponse, EdgeDevConfig},
};

/// Fields in a configuration. Real ones have some thousand.
pub const MAX_FIELDS: usize = 8 * 1024;
/// Bytes of the opaque hash.
pub const MAX_HASH: usize = 256;

/// Payload of the request: the hash of what we have, and the token of the last attestation.
#[must_use]
pub fn request(hash: &str, integrity_token: &[u8]) -> Vec<u8> {
    ConfigRequest { config_hash: hash.into(), integrity_token: integrity_token.to_vec() }.encode_to_vec()
}

/// An answer with status 200.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// The configuration; absent when only the hash came.
    pub config: Option<EdgeDevConfig>,
    /// To be echoed in the next request.
    pub hash: String,
}

/// Why an answer cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// Not a `ConfigResponse`.
    Malformed,
    /// More fields than [`MAX_FIELDS`].
    TooManyFields,
    /// A hash longer than [`MAX_HASH`].
    HashTooLong {
        /// Its length.
        have: usize,
    },
}

impl core::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Malformed => write!(f, "the configuration does not parse"),
            Self::TooManyFields => write!(f, "the configuration has more than {MAX_FIELDS} fields"),
            Self::HashTooLong { have } => write!(f, "the configuration's hash has {have} bytes"),
        }
    }
}

/// Reads the payload of an answer.
///
/// # Errors
/// [`ConfigError`].
pub fn parse_response(payload: &[u8]) -> Result<Response, ConfigError> {
    bounds::check(payload, MAX_FIELDS).map_err(|_| ConfigError::TooManyFields)?;
    let response = ConfigResponse::decode(payload).map_err(|_| ConfigError::Malformed)?;
    if response.config_hash.len() > MAX_HASH {
        return Err(ConfigError::HashTooLong { have: response.config_hash.len() });
    }
    Ok(Response { config: response.config, hash: response.config_hash })
}
