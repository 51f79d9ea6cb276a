//! Endpoints: paths, methods, and what a status code means for the sender.
//!
//! Source: eve-api `APIv2.md`.

use alloc::{format, string::String};

use crate::uuid::Uuid;

/// Content type of every body in either direction.
pub const CONTENT_TYPE: &str = "application/x-proto-binary";

/// A message's destination at the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// The controller's certificates.
    Certs,
    /// Makes the device known, signed by the onboarding key.
    Register,
    /// Asks for the device's UUID.
    Uuid,
    /// The device's configuration.
    Config,
    /// Attestation, and the device's certificates.
    Attest,
    /// State of the device and of its objects.
    Info,
    /// Counters.
    Metrics,
    /// The device's log files.
    Newlogs,
    /// An application's log files.
    AppNewlogs(Uuid),
}

/// HTTP method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Without a body.
    Get,
    /// With a body.
    Post,
}

impl Method {
    /// As it stands in a request line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }
}

/// What a successful answer's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// An envelope signed by the controller.
    Signed,
    /// An envelope whose signature cannot be checked; see [`crate::certs`].
    Unverified,
    /// Nothing, or something that does not matter.
    Ignored,
}

impl Endpoint {
    /// Path of the request. The device's UUID stands in it if it is known, except for the three
    /// endpoints that never carry it.
    #[must_use]
    pub fn path(self, device: Option<&Uuid>) -> String {
        let action = match self {
            Self::Certs => "certs",
            Self::Register => "register",
            Self::Uuid => "uuid",
            Self::Config => "config",
            Self::Attest => "attest",
            Self::Info => "info",
            Self::Metrics => "metrics",
            Self::Newlogs => "newlogs",
            Self::AppNewlogs(app) => return format!("{}apps/instanceid/{app}/newlogs", base(device)),
        };
        let device = if self.carries_device() { device } else { None };
        format!("{}{action}", base(device))
    }

    /// GET without a body, POST otherwise.
    #[must_use]
    pub fn method(self) -> Method {
        match self {
            Self::Certs => Method::Get,
            _ => Method::Post,
        }
    }

    /// What to do with the body of a success.
    #[must_use]
    pub fn answer(self) -> Answer {
        match self {
            Self::Uuid | Self::Config | Self::Attest => Answer::Signed,
            Self::Certs => Answer::Unverified,
            _ => Answer::Ignored,
        }
    }

    fn carries_device(self) -> bool {
        !matches!(self, Self::Certs | Self::Register | Self::Uuid)
    }
}

fn base(device: Option<&Uuid>) -> String {
    match device {
        Some(device) => format!("/api/v2/edgedevice/id/{device}/"),
        None => String::from("/api/v2/edgedevice/"),
    }
}

/// What a status code means, whatever the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusClass {
    /// 200, 201, 204, 304.
    Success,
    /// 503: temporary, and the controller counts as reached.
    Unavailable,
    /// 404, 400: the device may have been deleted or made anew; ask for the UUID again.
    UnknownDevice,
    /// 403: known, but not allowed. For the configuration: attest again.
    Forbidden,
    /// 401, 407, 408, 429 and 5xx: later.
    Retry,
    /// Other codes: this message will never be taken.
    Refused,
}

impl StatusClass {
    /// Classifies a status code.
    #[must_use]
    pub fn of(status: u16) -> Self {
        match status {
            200 | 201 | 204 | 304 => Self::Success,
            503 => Self::Unavailable,
            404 | 400 => Self::UnknownDevice,
            403 => Self::Forbidden,
            401 | 407 | 408 | 429 | 500..=599 => Self::Retry,
            _ => Self::Refused,
        }
    }
}

/// Whether the answer's body may be looked at: a body that is not empty needs our content type. What
/// answers `register` and `uuid` may also be JSON or plain text.
#[must_use]
pub fn content_type_is_acceptable(endpoint: Endpoint, content_type: Option<&str>, body: &[u8]) -> bool {
    let media = content_type.and_then(|value| value.split(';').next()).unwrap_or("").trim();
    let lenient = matches!(endpoint, Endpoint::Register | Endpoint::Uuid);
    body.is_empty()
        || media.eq_ignore_ascii_case(CONTENT_TYPE)
        || (lenient && (media.is_empty() || ["application/json", "text/plain"].contains(&media)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_carry_the_uuid_where_it_belongs() {
        let uuid = Uuid::parse("5a5a5a5a-0000-4000-8000-0123456789AB").unwrap();
        let app = Uuid([7; 16]);
        for (endpoint, with, without) in [
            (Endpoint::Certs, "certs", "certs"),
            (Endpoint::Register, "register", "register"),
            (Endpoint::Uuid, "uuid", "uuid"),
            (Endpoint::Config, "id/5a5a5a5a-0000-4000-8000-0123456789ab/config", "config"),
            (
                Endpoint::AppNewlogs(app),
                "id/5a5a5a5a-0000-4000-8000-0123456789ab/apps/instanceid/07070707-0707-0707-0707-070707070707/newlogs",
                "apps/instanceid/07070707-0707-0707-0707-070707070707/newlogs",
            ),
        ] {
            assert_eq!(endpoint.path(Some(&uuid)), format!("/api/v2/edgedevice/{with}"));
            assert_eq!(endpoint.path(None), format!("/api/v2/edgedevice/{without}"));
        }
    }

    #[test]
    fn status_classes_follow_the_table() {
        for (status, class) in [
            (200, StatusClass::Success),
            (201, StatusClass::Success),
            (204, StatusClass::Success),
            (304, StatusClass::Success),
            (301, StatusClass::Refused),
            (400, StatusClass::UnknownDevice),
            (401, StatusClass::Retry),
            (403, StatusClass::Forbidden),
            (404, StatusClass::UnknownDevice),
            (409, StatusClass::Refused),
            (410, StatusClass::Refused),
            (413, StatusClass::Refused),
            (429, StatusClass::Retry),
            (500, StatusClass::Retry),
            (503, StatusClass::Unavailable),
        ] {
            assert_eq!(StatusClass::of(status), class, "{status}");
        }
    }

    #[test]
    fn a_body_needs_its_content_type() {
        assert!(content_type_is_acceptable(Endpoint::Config, None, b""));
        assert!(content_type_is_acceptable(Endpoint::Config, Some("application/x-proto-binary; q=1"), b"x"));
        assert!(!content_type_is_acceptable(Endpoint::Config, Some("text/html"), b"x"));
        assert!(!content_type_is_acceptable(Endpoint::Config, None, b"x"));
        assert!(content_type_is_acceptable(Endpoint::Uuid, Some("text/plain"), b"x"));
    }
}
