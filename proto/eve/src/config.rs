//! The exchange that fetches the configuration.

use alloc::{string::String, vec::Vec};

use prost::Message;

use crate::{
    bounds::{self, Refused},
    wire::config::{ConfigRequest, ConfigResponse, EdgeDevConfig},
};

/// Bytes of memory that a configuration may decode to, by an estimate that is up to four times too
/// high. A real one with some hundred objects comes to a quarter of this.
pub const MAX_MEMORY: usize = 2 * 1024 * 1024;
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
    /// It would take more memory than [`MAX_MEMORY`].
    TooMuch,
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
            Self::TooMuch => write!(f, "the configuration takes more than {MAX_MEMORY} bytes of memory"),
            Self::HashTooLong { have } => write!(f, "the configuration's hash has {have} bytes"),
        }
    }
}

/// Reads the payload of an answer.
///
/// # Errors
/// [`ConfigError`].
pub fn parse_response(payload: &[u8]) -> Result<Response, ConfigError> {
    bounds::check(payload, bounds::CONFIG_RESPONSE, MAX_MEMORY).map_err(|refused| match refused {
        Refused::TooMuch => ConfigError::TooMuch,
        Refused::Malformed => ConfigError::Malformed,
    })?;
    let response = ConfigResponse::decode(payload).map_err(|_| ConfigError::Malformed)?;
    if response.config_hash.len() > MAX_HASH {
        return Err(ConfigError::HashTooLong { have: response.config_hash.len() });
    }
    Ok(Response { config: response.config, hash: response.config_hash })
}
