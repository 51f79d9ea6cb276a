//! What the agent asks the shell to do over HTTP, and what the shell answers.

use alloc::{string::String, vec::Vec};
use core::time::Duration;

pub use proto_eve::endpoint::Method;
use proto_eve::{auth::OpenError, endpoint::StatusClass};

/// Names a request towards the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// A request towards the controller. TLS, with the provisioned roots; one connection a request.
#[derive(Clone, Debug)]
pub struct Request {
    /// To be given back with the answer.
    pub id: RequestId,
    /// GET or POST.
    pub method: Method,
    /// `https://host[:port]/…`
    pub url: String,
    /// Header fields beside `Host` and `Content-Length`.
    pub headers: Vec<(&'static str, String)>,
    /// Empty for GET.
    pub body: Vec<u8>,
    /// How long the whole exchange may take.
    pub timeout: Duration,
    /// How long a connection to one address may take.
    pub dial: Duration,
}

/// An answer, whatever its status.
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Value of `Content-Type`.
    pub content_type: Option<String>,
    /// The whole body. The shell bounds it; see [`MAX_BODY`].
    pub body: Vec<u8>,
}

/// Bytes of an answer's body that the agent takes. A larger one is [`FailureKind::TooLarge`].
pub const MAX_BODY: usize = 512 * 1024;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpFailure {
    /// What kind of failure.
    pub kind: FailureKind,
    /// One line for a person.
    pub text: String,
}

/// Kinds of failures without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The name does not resolve.
    Resolve,
    /// Nobody accepts the connection.
    Refused,
    /// No way there, or the connection ended before the answer did.
    Connect,
    /// The server's certificate is not valid at this time.
    CertificateTime,
    /// The server's certificate is not trusted, or the handshake failed.
    Tls,
    /// It took longer than allowed.
    Timeout,
    /// The answer is longer than allowed.
    TooLarge,
    /// The answer is not HTTP.
    Malformed,
    /// The shell could not do it at all, for instance because the uplink is down.
    Local,
}

impl core::fmt::Display for FailureKind {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Resolve => "the name does not resolve",
            Self::Refused => "connection refused",
            Self::Connect => "no connection",
            Self::CertificateTime => "the server's certificate is not valid at this time",
            Self::Tls => "TLS failed",
            Self::Timeout => "timed out",
            Self::TooLarge => "the answer is too large",
            Self::Malformed => "the answer is not HTTP",
            Self::Local => "not sent",
        })
    }
}

/// How an exchange ended, as the machines see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A status of success; the payload is verified where the endpoint's answers are signed.
    Success { status: u16, payload: Vec<u8> },
    /// An answer that says no.
    Status { status: u16, class: StatusClass },
    /// A status of success with a body that cannot be used.
    Unusable(Unusable),
    /// No answer.
    NoAnswer(FailureKind),
}

/// Why the body of a success cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// Not our content type.
    ContentType,
    /// Longer than [`MAX_BODY`].
    TooLarge,
    /// Not an envelope of the controller.
    Envelope(OpenError),
    /// No controller certificate to verify it with.
    NoCertificate,
}

impl Outcome {
    /// Whether this answer asks for fresh controller certificates.
    pub(crate) fn wants_certs(&self) -> bool {
        matches!(
            self,
            Self::Unusable(
                Unusable::NoCertificate
                    | Unusable::Envelope(OpenError::UnknownSender | OpenError::BadSignature)
            )
        )
    }
}

impl core::fmt::Display for Outcome {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Success { status, .. } | Self::Status { status, .. } => write!(f, "status {status}"),
            Self::Unusable(Unusable::ContentType) => write!(f, "the answer has another content type"),
            Self::Unusable(Unusable::TooLarge) => write!(f, "the answer is longer than {MAX_BODY} bytes"),
            Self::Unusable(Unusable::Envelope(error)) => error.fmt(f),
            Self::Unusable(Unusable::NoCertificate) => write!(f, "there is no controller certificate yet"),
            Self::NoAnswer(kind) => kind.fmt(f),
        }
    }
}
