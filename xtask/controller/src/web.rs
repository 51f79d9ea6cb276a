//! The plain HTTP side: the page, its JSON, and the content of the built-in datastore.
//!
//! Everything here only reads. The page takes nothing from other hosts, and its policy forbids it to.

mod content;
mod device;
mod html;
mod live;
mod page;
mod parts;

use std::net::IpAddr;

use hyper::body::Incoming;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::json;

use crate::body::{Body, Cut};
use crate::core::Core;
use crate::state::State;

const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
const PLAIN: &str = "text/plain; charset=utf-8";

/// On every answer but content.
const HEADERS: [(HeaderName, &str); 4] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-store"),
];

/// Answers one request.
pub(crate) async fn answer(core: &Core, request: Request<Incoming>) -> Result<Response<Body>, Cut> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return Ok(text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n"));
    }
    let path = request.uri().path();
    if let Some(name) = path.strip_prefix("/content/") {
        return content(core, name, request.headers()).await;
    }
    // A page of another site could otherwise read this one through a name that it points here.
    if !is_own_host(request.headers(), &core.options.server_name) {
        return Ok(text(StatusCode::MISDIRECTED_REQUEST, "this host name is not served here\n"));
    }
    if path == "/events" {
        return Ok(reply(Body::live(live::stream(core)), "text/event-stream"));
    }
    let found = match path {
        "/" => Some((core.observe(page::page), HTML)),
        "/style.css" => Some((include_str!("web/style.css").to_owned(), "text/css; charset=utf-8")),
        "/script.js" => Some((include_str!("web/script.js").to_owned(), "text/javascript; charset=utf-8")),
        "/icon.svg" => Some((include_str!("web/icon.svg").to_owned(), "image/svg+xml")),
        "/api/state" => Some((core.observe(state_json), JSON)),
        "/api/log" => Some((core.observe(log_json), JSON)),
        _ => path
            .strip_prefix("/part/")
            .and_then(|name| core.observe(|state| parts::part(name, state)))
            .map(|part| (part, HTML)),
    };
    Ok(match found {
        Some((body, kind)) => reply(Body::sized(body), kind),
        None => text(StatusCode::NOT_FOUND, "no such page\n"),
    })
}

/// Serves a file of the built-in datastore.
pub(crate) async fn content(core: &Core, name: &str, headers: &HeaderMap) -> Result<Response<Body>, Cut> {
    content::answer(core, name, headers).await
}

/// Everything that the page shows beside the log.
fn state_json(state: &State) -> String {
    let observed = &state.observed;
    json!({
        "config": {
            "version": state.versions.version,
            "errors": state.config_errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "base": state.desired.as_ref().and_then(|desired| desired.base.as_ref()),
            "apps": state.desired.as_ref().map_or(&[][..], |desired| desired.apps.as_slice()),
        },
        "devices": observed.devices.values().collect::<Vec<_>>(),
        "violations": observed.violations,
        "events": observed.events,
        "answers": observed.answers,
    })
    .to_string()
}

fn log_json(state: &State) -> String {
    json!(live::lines(&state.observed.logs)).to_string()
}

/// Whether the request was meant for this controller: an address, `localhost` or its own name.
fn is_own_host(headers: &HeaderMap, server_name: &str) -> bool {
    let Some(host) = headers.get(HOST).and_then(|host| host.to_str().ok()) else {
        return false;
    };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<IpAddr>().is_ok() || name == "localhost" || name.eq_ignore_ascii_case(server_name)
}

fn reply(body: Body, kind: &'static str) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn text(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = reply(Body::sized(text), PLAIN);
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_own_names_reach_the_page() {
        let own = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_str(host).expect("a header"));
            is_own_host(&headers, "controller.sarsen.test")
        };
        for host in ["127.0.0.1:80", "10.0.2.2", "[::1]:80", "localhost:1", "Controller.sarsen.test:8"] {
            assert!(own(host), "{host}");
        }
        for host in ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""] {
            assert!(!own(host), "{host}");
        }
        assert!(!is_own_host(&HeaderMap::new(), "x"));
    }
}
