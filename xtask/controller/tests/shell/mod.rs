//! What each shell around the agent needs here: its files, and its way to the controller.

use std::time::{SystemTime, UNIX_EPOCH};

use stubdoms_agent::{FailureKind, HttpFailure, Method, Provisioning, Request, Response, WallTime};

use crate::device::Device;

/// The files of a device whose key is one of them.
pub(crate) fn provisioning(wire: &Device) -> Provisioning {
    let file = |name: &str| wire.bundle.files[name].clone();
    Provisioning {
        server: file("server"),
        root_certificate: file("root-certificate.pem"),
        onboard_cert: Some(file("onboard.cert.pem")),
        onboard_key: Some(file("onboard.key.pem")),
        device_cert: file("device.cert.pem"),
        device_key: file("device.key.pem"),
        key_exchange_cert: Some(file("ecdh.cert.pem")),
        serial: file("serial"),
        soft_serial: file("soft_serial"),
        allow_vault_clean: false,
        ntp: Vec::new(),
    }
}

pub(crate) fn wall() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    WallTime { seconds: since.as_secs(), nanos: since.subsec_nanos() }
}

/// Carries out a request over TLS.
pub(crate) fn exchange(wire: &Device, request: &Request) -> Result<Response, HttpFailure> {
    let host = format!("https://{}:{}", wire.name, wire.port);
    let path = request.url.strip_prefix(&host).expect("the provisioned server");
    let mut headers: String =
        request.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let method = match request.method {
        Method::Get => "GET",
        Method::Post => {
            headers += &format!("Content-Length: {}\r\n", request.body.len());
            "POST"
        }
    };
    let failure = |kind, text: String| HttpFailure { kind, text };
    let reply = wire.send_with(method, path, &headers, &request.body).map_err(|fault| {
        let kind = match fault.kind() {
            std::io::ErrorKind::ConnectionRefused => FailureKind::Refused,
            std::io::ErrorKind::InvalidData => FailureKind::Tls,
            _ => FailureKind::Connect,
        };
        failure(kind, fault.to_string())
    })?;
    if reply.short {
        return Err(failure(FailureKind::Connect, "it ended early".into()));
    }
    if reply.body.len() > stubdoms_agent::MAX_BODY {
        return Err(failure(FailureKind::TooLarge, "it is too long".into()));
    }
    let content_type = reply.header("content-type").map(str::to_owned);
    Ok(Response { status: reply.status, content_type, body: reply.body })
}
