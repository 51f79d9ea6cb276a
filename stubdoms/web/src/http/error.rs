use core::fmt;

/// Why a request could not be written or an answer not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpError {
    /// Ours: a field's name is not a token, or its value holds a control character.
    BadField,
    /// The head of the answer does not end within the limit.
    HeadTooLong {
        /// In bytes.
        limit: usize,
    },
    /// The head has more fields than we read.
    TooManyFields {
        /// The most that are read.
        limit: usize,
    },
    /// The head is not HTTP/1.0 or HTTP/1.1.
    HeadMalformed,
    /// The connection ended within the head.
    HeadTruncated {
        /// Bytes of the head that came.
        have: usize,
    },
    /// More interim answers (1xx) than we wait through.
    TooManyInterim {
        /// The most that are waited through.
        limit: u8,
    },
    /// The server changed the protocol without being asked (status 101).
    ProtocolSwitched,
    /// Content-Length is not a number, is given twice with different numbers, or stands beside Transfer-Encoding.
    LengthUnclear,
    /// Transfer-Encoding is something else than `chunked`.
    CodingUnknown,
    /// The body is, or says that it will be, longer than the limit.
    BodyTooLong {
        /// In bytes.
        limit: u64,
    },
    /// The connection ended before the body did.
    Truncated {
        /// Bytes of the body that came.
        have: u64,
        /// Bytes that Content-Length announced.
        need: u64,
    },
    /// The connection ended within a chunked body.
    ChunksTruncated {
        /// Bytes of the body that came.
        have: u64,
    },
    /// A chunk's size line is malformed or too long.
    ChunkMalformed {
        /// Bytes of the body before it.
        at: u64,
    },
    /// The fields behind the last chunk do not end within the limit.
    TrailerTooLong {
        /// In bytes.
        limit: usize,
    },
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HttpError::BadField => f.write_str("a field of the request has a malformed name or value"),
            HttpError::HeadTooLong { limit } => {
                write!(f, "the head of the answer is longer than {limit} bytes")
            }
            HttpError::TooManyFields { limit } => {
                write!(f, "the head of the answer has more than {limit} fields")
            }
            HttpError::HeadMalformed => f.write_str("the head of the answer is not HTTP/1.1"),
            HttpError::HeadTruncated { have } => {
                write!(f, "the answer ended after {have} bytes of its head")
            }
            HttpError::TooManyInterim { limit } => {
                write!(f, "the server sent more than {limit} interim answers")
            }
            HttpError::ProtocolSwitched => f.write_str("the server changed the protocol unasked"),
            HttpError::LengthUnclear => f.write_str("the answer's length is malformed or given in two ways"),
            HttpError::CodingUnknown => f.write_str("the answer's transfer coding is not supported"),
            HttpError::BodyTooLong { limit } => {
                write!(f, "the answer's body is longer than {limit} bytes")
            }
            HttpError::Truncated { have, need } => {
                write!(f, "the answer ended after {have} of {need} bytes of its body")
            }
            HttpError::ChunksTruncated { have } => {
                write!(f, "the answer ended after {have} bytes, before its last chunk")
            }
            HttpError::ChunkMalformed { at } => {
                write!(f, "the answer's chunk behind byte {at} of the body is malformed")
            }
            HttpError::TrailerTooLong { limit } => {
                write!(f, "the answer's trailer is longer than {limit} bytes")
            }
        }
    }
}

impl core::error::Error for HttpError {}
