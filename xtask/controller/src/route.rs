//! Paths and methods of the device API, version 2.

use uuid::Uuid;

use crate::refusal::Refusal;

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Endpoint {
    /// `ping`: is anybody there?
    Ping,
    /// `certs`: the controller's certificates.
    Certs,
    /// `register`: a new device shows its onboarding certificate.
    Register,
    /// `uuid`: who am I?
    Uuid,
    /// `config`: what shall I do?
    Config,
    /// `attest`: certificates, nonce, quote, keys to keep.
    Attest,
    /// `info`: the state of one object.
    Info,
    /// `metrics`: counters.
    Metrics,
    /// `newlogs`: log lines of the device.
    Logs,
    /// `apps/instanceid/UUID/newlogs`: log lines of an application.
    AppLogs,
    /// `flowlog`: connections of applications.
    FlowLog,
    /// `hardwarehealth`: error counters of memory and disks.
    HardwareHealth,
    /// `proxy/scep`: certificate enrolment through the controller.
    Scep,
}

impl Endpoint {
    /// All of them.
    pub(crate) const ALL: [Self; 13] = [
        Self::Ping,
        Self::Certs,
        Self::Register,
        Self::Uuid,
        Self::Config,
        Self::Attest,
        Self::Info,
        Self::Metrics,
        Self::Logs,
        Self::AppLogs,
        Self::FlowLog,
        Self::HardwareHealth,
        Self::Scep,
    ];

    /// The last part of its path, for logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Certs => "certs",
            Self::Register => "register",
            Self::Uuid => "uuid",
            Self::Config => "config",
            Self::Attest => "attest",
            Self::Info => "info",
            Self::Metrics => "metrics",
            Self::Logs => "newlogs",
            Self::AppLogs => "apps/newlogs",
            Self::FlowLog => "flowlog",
            Self::HardwareHealth => "hardwarehealth",
            Self::Scep => "proxy/scep",
        }
    }

    /// The one method under which it answers.
    pub(crate) fn method(self) -> &'static str {
        match self {
            Self::Ping | Self::Certs => "GET",
            _ => "POST",
        }
    }

    /// Whether `id/UUID/` stands before it.
    pub(crate) fn carries_uuid(self) -> bool {
        !matches!(self, Self::Ping | Self::Certs | Self::Register | Self::Uuid)
    }
}

/// A request that was understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) endpoint: Endpoint,
    /// The device in the path.
    pub(crate) device: Option<Uuid>,
    /// The application in the path.
    pub(crate) app: Option<Uuid>,
}

const BASE: &str = "/api/v2/edgedevice/";

/// Understands method and path (with query, if there is one).
pub(crate) fn route(method: &str, path: &str) -> Result<Route, Refusal> {
    if path.contains("//") {
        return Err(Refusal::violation(301, format!("double slash in {path}")));
    }
    let unknown = || Refusal::violation(404, format!("no such path: {path}"));
    let rest = path.strip_prefix(BASE).ok_or_else(unknown)?;
    let (device, action) = match rest.strip_prefix("id/") {
        Some(rest) => {
            let (id, action) = rest.split_once('/').ok_or_else(unknown)?;
            (Some(canonical_uuid(id).ok_or_else(unknown)?), action)
        }
        None => (None, rest),
    };
    let (endpoint, app) = action_of(action).ok_or_else(unknown)?;
    if endpoint.carries_uuid() != device.is_some() {
        let what = if device.is_some() { "carries no id/UUID/" } else { "needs id/UUID/ before it" };
        return Err(Refusal::violation(404, format!("{} {what}", endpoint.name())));
    }
    if method != endpoint.method() {
        return Err(Refusal::violation(
            405,
            format!("{method} {}: only {} is allowed", endpoint.name(), endpoint.method()),
        ));
    }
    Ok(Route { endpoint, device, app })
}

/// A UUID in lower case with hyphens, and nothing else.
pub(crate) fn canonical_uuid(text: &str) -> Option<Uuid> {
    Uuid::parse_str(text).ok().filter(|uuid| uuid.to_string() == text)
}

fn action_of(action: &str) -> Option<(Endpoint, Option<Uuid>)> {
    let endpoint = match action {
        "ping" => Endpoint::Ping,
        "certs" => Endpoint::Certs,
        "register" => Endpoint::Register,
        "uuid" => Endpoint::Uuid,
        "config" => Endpoint::Config,
        "attest" => Endpoint::Attest,
        "info" => Endpoint::Info,
        "metrics" => Endpoint::Metrics,
        "newlogs" => Endpoint::Logs,
        "flowlog" => Endpoint::FlowLog,
        "hardwarehealth" => Endpoint::HardwareHealth,
        "proxy/scep" => Endpoint::Scep,
        _ => {
            let app = action.strip_prefix("apps/instanceid/")?.strip_suffix("/newlogs")?;
            return Some((Endpoint::AppLogs, Some(canonical_uuid(app)?)));
        }
    };
    Some((endpoint, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "6ba7b810-9dad-41d1-80b4-00c04fd430c8";

    #[test]
    fn the_paths_of_the_protocol_are_understood() {
        let device = Uuid::parse_str(ID).ok();
        for (method, path, endpoint, with_id) in [
            ("GET", "ping", Endpoint::Ping, false),
            ("GET", "certs", Endpoint::Certs, false),
            ("POST", "register", Endpoint::Register, false),
            ("POST", "uuid", Endpoint::Uuid, false),
            ("POST", "config", Endpoint::Config, true),
            ("POST", "newlogs", Endpoint::Logs, true),
            ("POST", "proxy/scep", Endpoint::Scep, true),
        ] {
            let id = if with_id { format!("id/{ID}/") } else { String::new() };
            let found = route(method, &format!("{BASE}{id}{path}"));
            let device = device.filter(|_| with_id);
            assert_eq!(found, Ok(Route { endpoint, device, app: None }), "{path}");
        }
        let found = route("POST", &format!("{BASE}id/{ID}/apps/instanceid/{ID}/newlogs"));
        assert_eq!(found, Ok(Route { endpoint: Endpoint::AppLogs, device, app: device }));
    }

    #[test]
    fn other_paths_and_methods_have_their_codes() {
        let upper = ID.to_uppercase();
        for (method, path, status) in [
            ("POST", "config".to_owned(), 404),
            ("POST", format!("id/{ID}/uuid"), 404),
            ("POST", format!("id/{ID}/config/"), 404),
            ("POST", format!("id/{upper}/config"), 404),
            ("POST", format!("id/{ID}//config"), 301),
            ("GET", format!("id/{ID}/config"), 405),
            ("POST", "ping".to_owned(), 405),
            ("GET", "ping?x=1".to_owned(), 404),
            ("POST", format!("id/{ID}/apps/instanceid/nonsense/newlogs"), 404),
            ("POST", "compound-config".to_owned(), 404),
        ] {
            let refused = route(method, &format!("{BASE}{path}")).map_err(|refusal| refusal.status);
            assert_eq!(refused, Err(status), "{method} {path}");
        }
        assert_eq!(route("GET", "/").map_err(|refusal| refusal.status), Err(404));
    }
}
