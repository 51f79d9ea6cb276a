use alloc::string::{String, ToString};
use core::fmt;
use core::net::SocketAddrV4;
use core::time::Duration;

use crate::exchange::{ExchangeError, Stage};
use crate::http::HttpError;
use crate::net::DialError;
use crate::resolver::ResolveError;
use crate::tls::TlsError;
use crate::url::{Url, UrlError};

/// What failed, with whom. Reads as one line: `zed.example:8443: the connection was refused (10.0.2.2:8443)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchError {
    /// The server as the URL names it.
    pub server: String,
    /// Why.
    pub cause: Cause,
}

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The server's name has no address.
    Resolve(ResolveError),
    /// There is no connection.
    Dial {
        /// To the last address that was tried.
        to: SocketAddrV4,
        /// Why.
        error: DialError,
    },
    /// The exchange broke off.
    Exchange(ExchangeError),
    /// The exchange took too long or stood still.
    TimedOut {
        /// How far it was.
        stage: Stage,
        /// How long it took, or how long nothing moved.
        after: Duration,
    },
    /// A redirect that cannot be read.
    Redirect(UrlError),
    /// A redirect from TLS to plain text.
    RedirectToPlain,
    /// One redirect after the other.
    TooManyRedirects {
        /// The most that are followed.
        limit: u8,
    },
    /// The server resumed at another place than asked.
    WrongRange {
        /// The byte that was asked for.
        asked: u64,
    },
    /// The server gives no more of the whole.
    Partial {
        /// Bytes that there are.
        have: u64,
    },
    /// The sink wanted no more.
    SinkRefused,
    /// Ours: no roots were given before the first request to an `https` server.
    NoTls,
}

/// Kinds of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The name does not resolve.
    Resolve,
    /// Nobody accepts the connection.
    Refused,
    /// There is no way there, or the connection ended before the answer did.
    Connect,
    /// The server's certificate is not valid at this time.
    CertificateTime,
    /// The server's certificate is not trusted, or TLS failed in another way.
    Tls,
    /// It took longer than allowed.
    Timeout,
    /// The answer is longer than allowed.
    TooLarge,
    /// The answer is not HTTP.
    Malformed,
    /// A redirect that is not followed.
    Redirect,
    /// Ours: the sink refused, or there are no roots yet.
    Local,
}

impl FetchError {
    pub(super) fn new(url: &Url, cause: Cause) -> Self {
        FetchError { server: url.authority().to_string(), cause }
    }

    /// What kind of failure it is, for those who decide what to do next.
    pub fn class(&self) -> Class {
        match self.cause {
            Cause::Resolve(_) => Class::Resolve,
            Cause::Dial { error: DialError::Refused, .. } => Class::Refused,
            Cause::Dial { error: DialError::TimedOut { .. }, .. } | Cause::TimedOut { .. } => Class::Timeout,
            Cause::Dial { .. } | Cause::Exchange(ExchangeError::Reset) | Cause::Partial { .. } => {
                Class::Connect
            }
            Cause::Exchange(ExchangeError::Tls(error)) if error.is_certificate_time() => {
                Class::CertificateTime
            }
            Cause::Exchange(ExchangeError::Tls(_)) => Class::Tls,
            Cause::Exchange(ExchangeError::Http(HttpError::BodyTooLong { .. })) => Class::TooLarge,
            Cause::Exchange(ExchangeError::Http(
                HttpError::HeadTruncated { .. }
                | HttpError::Truncated { .. }
                | HttpError::ChunksTruncated { .. },
            )) => Class::Connect,
            Cause::Exchange(ExchangeError::Http(_)) | Cause::WrongRange { .. } => Class::Malformed,
            Cause::Redirect(_) | Cause::RedirectToPlain | Cause::TooManyRedirects { .. } => Class::Redirect,
            Cause::SinkRefused | Cause::NoTls => Class::Local,
        }
    }

    /// The TLS error, if it is one.
    pub fn tls(&self) -> Option<TlsError> {
        match self.cause {
            Cause::Exchange(ExchangeError::Tls(error)) => Some(error),
            _ => None,
        }
    }

    /// True for the failures that EVE blames on the far end for now: a certificate outside its dates, a refused
    /// connection. They change no port and undo no update.
    pub fn is_remote_temporary(&self) -> bool {
        matches!(self.class(), Class::CertificateTime | Class::Refused)
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.server, self.cause)
    }
}

impl core::error::Error for FetchError {}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Resolve(error) => error.fmt(f),
            Cause::Dial { to, error } => write!(f, "{error} ({to})"),
            Cause::Exchange(error) => error.fmt(f),
            Cause::TimedOut { stage, after } => write!(f, "{stage} took more than {} s", after.as_secs()),
            Cause::Redirect(error) => write!(f, "the server's redirect cannot be followed: {error}"),
            Cause::RedirectToPlain => f.write_str("the server redirects from https to http"),
            Cause::TooManyRedirects { limit } => write!(f, "there are more than {limit} redirects"),
            Cause::WrongRange { asked } => write!(f, "the server did not resume at byte {asked}"),
            Cause::Partial { have } => write!(f, "the server gives no more than {have} bytes of the whole"),
            Cause::SinkRefused => f.write_str("the receiver of the download refused it"),
            Cause::NoTls => f.write_str("no root certificate was given for TLS"),
        }
    }
}

impl From<ResolveError> for Cause {
    fn from(error: ResolveError) -> Self {
        Cause::Resolve(error)
    }
}

impl From<ExchangeError> for Cause {
    fn from(error: ExchangeError) -> Self {
        Cause::Exchange(error)
    }
}

impl From<HttpError> for Cause {
    fn from(error: HttpError) -> Self {
        Cause::Exchange(ExchangeError::Http(error))
    }
}
