use core::fmt;

use rustls::{AlertDescription, CertificateError, Error};

use crate::time::UnixSeconds;

/// How a key's holder that does not sign shows up among rustls' errors.
pub(super) const KEY_UNUSABLE: &str = "client key unusable";

/// Why there is no session, or no longer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsError {
    /// The server's certificate, or one that it rests on, is not valid yet.
    NotYetValid {
        /// First second of its validity, if known.
        from: Option<UnixSeconds>,
        /// What our clock says, if known.
        now: Option<UnixSeconds>,
    },
    /// The server's certificate, or one that it rests on, has expired.
    Expired {
        /// Last second of its validity, if known.
        until: Option<UnixSeconds>,
        /// What our clock says, if known.
        now: Option<UnixSeconds>,
    },
    /// The server's certificate does not lead to a provisioned root.
    UnknownIssuer,
    /// The server's certificate is for another name or address.
    NameMismatch,
    /// The server showed no certificate.
    NoCertificate,
    /// The server's certificate is unusable for another reason.
    Certificate(CertificateFault),
    /// The server ended the session with an alert.
    Alert(AlertDescription),
    /// The server supports nothing that we support.
    Incompatible,
    /// The server broke the protocol, or something on the way changed its bytes.
    Protocol,
    /// The connection ended without `close_notify`: what came may not be all.
    Truncated,
    /// The server's bytes made no complete record within our limit.
    TooMuchPending {
        /// In bytes.
        limit: usize,
    },
    /// Ours: the time of day is not known, so no certificate can be judged.
    NoTime,
    /// Ours: there is no entropy.
    NoEntropy,
    /// Ours: the holder of the client key did not sign.
    KeyUnusable,
    /// Ours: the server's name cannot stand in a certificate.
    ServerName,
    /// Ours: something was written before the handshake was over or after the end.
    NotOpen,
}

/// What is wrong with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateFault {
    /// It is not DER as X.509 wants it.
    Encoding,
    /// A signature is wrong: the issuer's (a root of the same name with another key is provisioned), or the server's
    /// own over the handshake.
    Signature,
    /// It is not meant for servers.
    Purpose,
    /// It was revoked.
    Revoked,
    /// It carries a critical extension that we do not know.
    Extension,
    /// It is signed with an algorithm that we do not support.
    Algorithm,
    /// Another rule is broken: a CA's certificate used by a server, a path too long, a name that is not permitted.
    Rule,
}

impl TlsError {
    /// True if the clock or the certificate's dates are to blame. EVE counts that as a fault of the far end that
    /// passes: no change of port, no rollback of an update.
    pub fn is_certificate_time(&self) -> bool {
        matches!(self, TlsError::NotYetValid { .. } | TlsError::Expired { .. })
    }
}

impl From<Error> for TlsError {
    fn from(error: Error) -> Self {
        match error {
            Error::InvalidCertificate(error) => certificate(error),
            Error::NoCertificatesPresented => TlsError::NoCertificate,
            Error::AlertReceived(alert) => TlsError::Alert(alert),
            Error::PeerIncompatible(_) | Error::NoApplicationProtocol => TlsError::Incompatible,
            Error::FailedToGetCurrentTime => TlsError::NoTime,
            Error::FailedToGetRandomBytes => TlsError::NoEntropy,
            Error::UnsupportedNameType => TlsError::ServerName,
            Error::General(text) if text == KEY_UNUSABLE => TlsError::KeyUnusable,
            _ => TlsError::Protocol,
        }
    }
}

fn certificate(error: CertificateError) -> TlsError {
    use CertificateError as E;
    let seconds = |time: rustls_pki_types::UnixTime| Some(UnixSeconds(time.as_secs()));
    TlsError::Certificate(match error {
        E::NotValidYet => return TlsError::NotYetValid { from: None, now: None },
        E::NotValidYetContext { time, not_before } => {
            return TlsError::NotYetValid { from: seconds(not_before), now: seconds(time) };
        }
        E::Expired => return TlsError::Expired { until: None, now: None },
        E::ExpiredContext { time, not_after } => {
            return TlsError::Expired { until: seconds(not_after), now: seconds(time) };
        }
        E::UnknownIssuer => return TlsError::UnknownIssuer,
        E::NotValidForName | E::NotValidForNameContext { .. } => return TlsError::NameMismatch,
        E::BadEncoding => CertificateFault::Encoding,
        E::BadSignature => CertificateFault::Signature,
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => CertificateFault::Purpose,
        E::Revoked => CertificateFault::Revoked,
        E::UnhandledCriticalExtension => CertificateFault::Extension,
        E::UnsupportedSignatureAlgorithmContext { .. }
        | E::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => CertificateFault::Algorithm,
        _ => CertificateFault::Rule,
    })
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::NotYetValid { from: Some(from), now: Some(now) } => {
                write!(f, "the server's certificate is valid from {from} on, and our clock says {now}")
            }
            TlsError::NotYetValid { .. } => f.write_str("the server's certificate is not valid yet"),
            TlsError::Expired { until: Some(until), now: Some(now) } => {
                write!(f, "the server's certificate was valid until {until}, and our clock says {now}")
            }
            TlsError::Expired { .. } => f.write_str("the server's certificate has expired"),
            TlsError::UnknownIssuer => {
                f.write_str("the server's certificate does not lead to a provisioned root")
            }
            TlsError::NameMismatch => f.write_str("the server's certificate is for another name or address"),
            TlsError::NoCertificate => f.write_str("the server showed no certificate"),
            TlsError::Certificate(fault) => write!(f, "the server's certificate {fault}"),
            TlsError::Alert(alert) => {
                write!(f, "the server ended TLS with alert {} ({alert:?})", u8::from(*alert))
            }
            TlsError::Incompatible => {
                f.write_str("the server supports no TLS version, cipher or protocol of ours")
            }
            TlsError::Protocol => f.write_str("the server broke the TLS protocol"),
            TlsError::Truncated => f.write_str("the connection ended without TLS's closing message"),
            TlsError::TooMuchPending { limit } => {
                write!(f, "the server sent more than {limit} bytes without a complete TLS message")
            }
            TlsError::NoTime => f.write_str("the time of day is not known, so no certificate can be judged"),
            TlsError::NoEntropy => f.write_str("there is no entropy for TLS"),
            TlsError::KeyUnusable => f.write_str("the client key could not sign"),
            TlsError::ServerName => f.write_str("the server's name cannot stand in a certificate"),
            TlsError::NotOpen => f.write_str("the TLS session is not open"),
        }
    }
}

impl fmt::Display for CertificateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CertificateFault::Encoding => "is malformed",
            CertificateFault::Signature => "has a signature by another key than the issuer of that name has",
            CertificateFault::Purpose => "is not meant for servers",
            CertificateFault::Revoked => "was revoked",
            CertificateFault::Extension => "has a critical extension that is not supported",
            CertificateFault::Algorithm => "has a signature algorithm that is not supported",
            CertificateFault::Rule => "breaks a rule for certificate chains",
        })
    }
}

impl core::error::Error for TlsError {}
