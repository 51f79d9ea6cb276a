//! HTTP/1.1 as a client speaks it: one request and one answer on a connection.
//!
//! [`Request::emit`] writes the request; [`ResponseReader`] reads the answer from any split of its bytes.
//! Source: RFC 9110, RFC 9112.

mod chunked;
mod date;
mod error;
mod headers;
mod range;
mod request;
mod response;

pub use date::parse_date;
pub use error::HttpError;
pub use headers::Headers;
pub use range::{ContentRange, parse_content_range};
pub use request::{Method, Request};
pub use response::{Event, Head, Limits, ResponseReader};
