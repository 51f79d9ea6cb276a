//! `POST config`: what the device shall do.

use proto_eve::wire::config::ConfigRequest;
use uuid::Uuid;

use super::{Answer, decode};
use crate::clock;
use crate::refusal::Refusal;
use crate::state::State;

/// 403 without the right integrity token, 404 without a configuration, 304 if it has not changed.
pub(super) fn serve(state: &mut State, device: Uuid, payload: &[u8]) -> Result<Answer, Refusal> {
    let request: ConfigRequest = decode(payload, "ConfigRequest")?;
    // The token comes first: a matching hash without it is refused too.
    let token = state.registry.by_uuid(device).and_then(|device| device.token.as_deref());
    match token {
        Some(token) if token.as_bytes() == request.integrity_token => {}
        _ if request.integrity_token.is_empty() => {
            return Err(Refusal::ordinary(403, "no configuration without an integrity token"));
        }
        _ => return Err(Refusal::ordinary(403, "the integrity token is not the current one")),
    }
    let Some(served) = state.config_of(device).cloned() else {
        return Err(Refusal::ordinary(404, "there is no configuration yet"));
    };
    let view = state.view(device);
    if served.hash == request.config_hash {
        if view.config_confirmed.is_none() {
            view.config_since_ms = clock::now_ms();
        }
        if view.config_confirmed.replace(served.version) != Some(served.version) {
            state.device_event(device, format!("has configuration version {}", served.version));
        }
        return Ok(Answer::empty(304));
    }
    view.config_sent = Some(served.version);
    state.device_event(device, format!("was sent configuration version {}", served.version));
    Ok(Answer::sealed(200, state, served.response))
}
