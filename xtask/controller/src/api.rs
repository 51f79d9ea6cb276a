//! The device API: a request in, an answer out. No network here.

mod attest;
mod certs;
mod config;
mod info;
mod logs;
mod metrics;
mod quote;
mod register;
mod reports;

use uuid::Uuid;

use crate::clock;
use crate::envelope::{Unverified, seal};
use crate::observed::Violation;
use crate::refusal::{Blame, Refusal};
use crate::route::{Endpoint, Route, route};
use crate::state::{Record, State, device_name};

/// The one media type of the protocol.
pub(crate) const PROTOBUF: &str = "application/x-proto-binary";

/// Longest body that any request may have, in bytes.
pub(crate) const BODY_LIMIT: usize = 1 << 20;

/// Requests whose identifiers are remembered.
const REQUEST_IDS: usize = 256;

/// A request whose body was read whole.
#[derive(Debug, Clone, Default)]
pub(crate) struct Incoming {
    pub(crate) method: String,
    /// Path with query.
    pub(crate) path: String,
    pub(crate) content_type: Option<String>,
    pub(crate) request_id: Option<String>,
    /// `X-Serial-Number` or `X-Soft-Serial` was there.
    pub(crate) tells_serial: bool,
    pub(crate) has_host: bool,
    pub(crate) body: Vec<u8>,
}

/// An answer before it becomes HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: Option<&'static str>,
    pub(crate) location: Option<String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// A status code alone.
    pub(crate) fn empty(status: u16) -> Self {
        Self { status, content_type: None, location: None, body: Vec::new() }
    }

    /// A message in a signed envelope.
    fn sealed(status: u16, state: &State, message: Vec<u8>) -> Self {
        let body = seal(message, &state.signing);
        Self { status, content_type: Some(PROTOBUF), location: None, body }
    }

    /// A refusal, with its reason as text.
    fn refused(refusal: &Refusal, path: &str) -> Self {
        let location = (refusal.status == 301).then(|| without_double_slashes(path));
        let body = format!("{}\n", refusal.reason).into_bytes();
        Self { status: refusal.status, content_type: Some("text/plain"), location, body }
    }
}

/// What a request turned out to be, for the records.
#[derive(Default)]
struct Notes {
    device: Option<Uuid>,
    /// How the sender is called while it is not known.
    sender: Option<String>,
    remarks: Vec<String>,
}

impl Notes {
    /// The request is accepted, and yet this is not as the protocol has it.
    fn remark(&mut self, text: impl Into<String>) {
        self.remarks.push(text.into());
    }
}

/// Answers one request and notes what there is to note.
pub(crate) fn answer(state: &mut State, request: &Incoming) -> Answer {
    let mut notes = Notes::default();
    let outcome = serve(state, request, &mut notes);
    let name = format!("{} {}", request.method, request.path);
    for reason in std::mem::take(&mut notes.remarks) {
        note_violation(state, &notes, &name, None, reason);
    }
    let answer = match outcome {
        Ok(answer) => {
            state.told.remove(&format!("{} {name}", who(&notes)));
            answer
        }
        Err(refusal) => {
            note_refusal(state, &notes, &name, &refusal);
            Answer::refused(&refusal, &request.path)
        }
    };
    *state.observed.answers.entry(answer.status).or_default() += 1;
    state.records.push(Record::Message(
        "requests",
        serde_json::json!({
            "at": clock::rfc3339(clock::now_ms()), "request": name, "bytes": request.body.len(),
            "device": notes.device, "status": answer.status,
        }),
    ));
    answer
}

fn serve(state: &mut State, request: &Incoming, notes: &mut Notes) -> Result<Answer, Refusal> {
    if !request.has_host {
        return Err(Refusal::violation(400, "no Host header"));
    }
    let route = route(&request.method, &request.path)?;
    check_headers(state, &route, request, notes)?;
    match route.endpoint {
        Endpoint::Ping => Ok(Answer::empty(200)),
        Endpoint::Certs => Ok(certs::serve(state)),
        Endpoint::Register => register::serve(state, &request.body),
        _ => {
            let (device, payload) = authenticate(state, &route, request, notes)?;
            serve_device(state, &route, device, &payload, notes)
        }
    }
}

/// Serves a message whose signature is the device's.
fn serve_device(
    state: &mut State,
    route: &Route,
    device: Uuid,
    payload: &[u8],
    notes: &mut Notes,
) -> Result<Answer, Refusal> {
    match route.endpoint {
        Endpoint::Uuid => register::serve_uuid(state, device, payload),
        Endpoint::Config => config::serve(state, device, payload),
        Endpoint::Attest => attest::serve(state, device, payload, notes),
        Endpoint::Info => info::serve(state, device, payload, notes),
        Endpoint::Metrics => metrics::serve(state, device, payload, notes),
        Endpoint::Logs => logs::serve(state, device, None, payload, notes),
        Endpoint::AppLogs => logs::serve(state, device, route.app, payload, notes),
        Endpoint::FlowLog => reports::serve_flowlog(state, device, payload),
        Endpoint::HardwareHealth => reports::serve_health(state, device, payload),
        Endpoint::Scep => Err(Refusal::ordinary(403, "no SCEP profile is configured")),
        Endpoint::Ping | Endpoint::Certs | Endpoint::Register => {
            Err(Refusal::violation(404, "no device sends it in an envelope"))
        }
    }
}

/// Status of the answer to a message whose signature is the device's.
#[cfg(feature = "fuzz")]
pub(crate) fn answer_message(state: &mut State, route: &Route, device: Uuid, payload: &[u8]) -> u16 {
    match serve_device(state, route, device, payload, &mut Notes::default()) {
        Ok(answer) => answer.status,
        Err(refusal) => refusal.status,
    }
}

fn check_headers(
    state: &mut State,
    route: &Route,
    request: &Incoming,
    notes: &mut Notes,
) -> Result<(), Refusal> {
    if route.endpoint.method() == "POST" {
        match request.content_type.as_deref() {
            Some(PROTOBUF) => {}
            other => {
                let found = other.unwrap_or("missing");
                return Err(Refusal::message(format!("Content-Type is {found}, not {PROTOBUF}")));
            }
        }
    } else if !request.body.is_empty() {
        return Err(Refusal::message("a GET with a body"));
    }
    match request.request_id.as_deref().map(|text| (text, Uuid::parse_str(text))) {
        None => notes.remark("X-Request-Id is missing"),
        Some((text, Err(_))) => notes.remark(format!("X-Request-Id is no UUID: {text:.64}")),
        // The device's own UUID is what the specification says; EVE sends a fresh one.
        Some((text, Ok(uuid))) if Some(uuid) != route.device => {
            if state.request_ids.iter().any(|known| known == text) {
                notes.remark(format!("X-Request-Id was used before: {text:.64}"));
            }
            if state.request_ids.len() >= REQUEST_IDS {
                state.request_ids.pop_front();
            }
            state.request_ids.push_back(text.to_owned());
        }
        Some(_) => {}
    }
    if request.tells_serial && route.device.is_some() {
        notes.remark("X-Serial-Number and X-Soft-Serial are sent while the UUID is unknown, not after");
    }
    Ok(())
}

/// The device that signed the request, and what it says.
fn authenticate(
    state: &mut State,
    route: &Route,
    request: &Incoming,
    notes: &mut Notes,
) -> Result<(Uuid, Vec<u8>), Refusal> {
    let container = Unverified::parse(&request.body)?;
    notes.sender = Some(container.sender_hex());
    let Some(device) = state.registry.by_cert_hash(&container.sender) else {
        // Ordinary: a device asks for its UUID before it is registered, or after it was deleted.
        let reason = format!("no device has the certificate {:.16}…", container.sender_hex());
        return Err(Refusal::ordinary(401, reason));
    };
    let (uuid, former) = (device.uuid, device.former.clone());
    let certificate = device
        .certificate()
        .ok_or_else(|| Refusal::ordinary(500, "the kept device certificate is damaged"))?;
    let payload = container.open(&certificate)?;
    notes.device = Some(uuid);
    if let Some(named) = route.device.filter(|&named| named != uuid) {
        let reason = format!("the path names device {named}, the signature is {uuid}'s");
        // 400 makes a device ask for its UUID again, which is right after it was readmitted.
        return Err(match former.contains(&named) {
            true => Refusal::ordinary(400, reason),
            false => Refusal::violation(400, reason),
        });
    }
    state.view(uuid).last_seen_ms = clock::now_ms();
    Ok((uuid, payload))
}

fn note_refusal(state: &mut State, notes: &Notes, request: &str, refusal: &Refusal) {
    match refusal.blame {
        Blame::Device => {
            note_violation(state, notes, request, Some(refusal.status), refusal.reason.clone());
        }
        Blame::Nobody => {
            // Told once, not with every poll.
            let text = format!("refused {} with {refusal}", last_part(request));
            let who = who(notes);
            state.tell_once(format!("{who} {request}"), format!("{who}: {text}"));
        }
    }
}

fn note_violation(state: &mut State, notes: &Notes, request: &str, refused: Option<u16>, reason: String) {
    state.violation(Violation {
        at_ms: clock::now_ms(),
        device: notes.device,
        request: request.to_owned(),
        refused,
        reason,
    });
}

fn who(notes: &Notes) -> String {
    match (notes.device, &notes.sender) {
        (Some(device), _) => device_name(device),
        (None, Some(sender)) => format!("certificate {sender:.16}…"),
        (None, None) => "somebody".into(),
    }
}

/// What follows the UUID in a request, or all of it.
fn last_part(request: &str) -> &str {
    request
        .rsplit_once("/id/")
        .and_then(|(_, rest)| rest.split_once('/'))
        .map_or(request, |(_, action)| action)
}

fn without_double_slashes(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for part in path.chars() {
        if !(part == '/' && out.ends_with('/')) {
            out.push(part);
        }
    }
    out
}

/// Decodes a payload.
fn decode<M: proto_eve::Message + Default>(payload: &[u8], what: &str) -> Result<M, Refusal> {
    M::decode(payload).map_err(|fault| Refusal::message(format!("the payload is no {what}: {fault}")))
}

/// Checks that a message names the device that signed it.
fn check_sender(named: &str, device: Uuid) -> Result<(), Refusal> {
    if named == device.to_string() {
        return Ok(());
    }
    Err(Refusal::message(format!("the message names device \"{named:.64}\", the signature is {device}'s")))
}

/// A timestamp that has to be there, in milliseconds since 1970.
fn check_time(stamp: Option<&proto_eve::Timestamp>, what: &str) -> Result<i64, Refusal> {
    let stamp = stamp.ok_or_else(|| Refusal::message(format!("{what} is missing")))?;
    clock::timestamp_ms(stamp).ok_or_else(|| {
        Refusal::message(format!("{what} is out of range: {} s, {} ns", stamp.seconds, stamp.nanos))
    })
}
