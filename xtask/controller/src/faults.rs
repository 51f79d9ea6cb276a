//! Wrong answers on purpose, so that tests see what a device makes of them.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use proto_eve::Message as _;
use proto_eve::wire::auth::AuthContainer;

use crate::api::Answer;
use crate::route::Endpoint;

/// Which answers a fault spoils.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Every answer of the device API.
    Api,
    /// The answers of one endpoint.
    Endpoint(Endpoint),
    /// Content of the datastore.
    Content,
}

/// How an answer is spoilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// One bit of the signature is wrong; in content, one bit of the last byte.
    BadSignature,
    /// The envelope names a signing certificate that nobody knows.
    UnknownSigner,
    /// The payload is changed after it was signed.
    ChangedPayload,
    /// Half of the body, then the connection is cut, although the header promises all of it.
    Truncated,
    /// So many zero bytes follow the body, with a header that counts them.
    Oversized(u64),
    /// The body is text that means nothing.
    Garbage,
    /// The body is right, its media type is not.
    WrongContentType,
    /// This status code without looking at the request.
    Status(u16),
    /// The connection is cut before the request is looked at.
    DropBefore,
    /// The request takes effect, and the connection is cut instead of an answer.
    DropAfter,
    /// The answer takes so long.
    Late(Duration),
}

/// Which certificate the device listener shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Face {
    #[default]
    Honest,
    WrongCa,
    Expired,
}

#[derive(Debug)]
struct Armed {
    target: Target,
    fault: Fault,
    left: Option<u32>,
}

/// The faults of a running controller. All are off at the start.
#[derive(Debug, Default)]
pub struct Faults {
    armed: Mutex<Vec<Armed>>,
    face: Mutex<Face>,
}

impl Faults {
    /// Spoils the next `times` answers of `target`; `None` spoils them until [`Faults::clear`].
    pub fn arm(&self, target: Target, fault: Fault, times: Option<u32>) {
        self.lock().push(Armed { target, fault, left: times });
    }

    /// Presents a server certificate of a CA that no device trusts.
    pub fn set_wrong_ca(&self, on: bool) {
        self.set_face(if on { Face::WrongCa } else { Face::Honest });
    }

    /// Presents a server certificate of the right CA that has expired.
    pub fn set_expired(&self, on: bool) {
        self.set_face(if on { Face::Expired } else { Face::Honest });
    }

    /// Ends all faults.
    pub fn clear(&self) {
        self.lock().clear();
        self.set_face(Face::Honest);
    }

    /// Whether faults are still waiting for their answers.
    pub fn pending(&self) -> bool {
        !self.lock().is_empty() || self.face() != Face::Honest
    }

    pub(crate) fn face(&self) -> Face {
        *self.face.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_face(&self, face: Face) {
        *self.face.lock().unwrap_or_else(PoisonError::into_inner) = face;
    }

    /// The fault for an answer of this endpoint, if one is armed; counts it down.
    pub(crate) fn take(&self, endpoint: Option<Endpoint>) -> Option<Fault> {
        self.take_where(|target| match target {
            Target::Api => true,
            Target::Endpoint(wanted) => Some(wanted) == endpoint,
            Target::Content => false,
        })
    }

    /// The fault for an answer with content.
    pub(crate) fn take_content(&self) -> Option<Fault> {
        self.take_where(|target| target == Target::Content)
    }

    fn take_where(&self, fits: impl Fn(Target) -> bool) -> Option<Fault> {
        let mut armed = self.lock();
        let index = armed.iter().position(|armed| fits(armed.target))?;
        let entry = armed.get_mut(index)?;
        let fault = entry.fault;
        if let Some(left) = &mut entry.left {
            *left = left.saturating_sub(1);
            if *left == 0 {
                armed.remove(index);
            }
        }
        Some(fault)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Armed>> {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Spoils those parts of an answer that are bytes; the rest is for the connection to do.
pub(crate) fn spoil(answer: &mut Answer, fault: Fault) {
    match fault {
        Fault::BadSignature => reseal(answer, |container| {
            container.signature_hash.iter_mut().take(1).for_each(|byte| *byte ^= 1);
        }),
        Fault::UnknownSigner => reseal(answer, |container| {
            container.sender_cert_hash.iter_mut().for_each(|byte| *byte ^= 0xff);
        }),
        Fault::ChangedPayload => reseal(answer, |container| {
            let payload = container.protected_payload.iter_mut().flat_map(|body| body.payload.last_mut());
            payload.for_each(|byte| *byte ^= 1);
        }),
        Fault::Garbage => answer.body = b"This is not what you asked for.".repeat(8),
        Fault::WrongContentType => answer.content_type = Some("text/html"),
        Fault::Status(status) => *answer = Answer::empty(status),
        Fault::Truncated | Fault::Oversized(_) | Fault::DropBefore | Fault::DropAfter | Fault::Late(_) => {}
    }
}

/// Changes the container of an answer, if it has one.
fn reseal(answer: &mut Answer, change: impl FnOnce(&mut AuthContainer)) {
    if answer.body.is_empty() {
        return;
    }
    if let Ok(mut container) = AuthContainer::decode(answer.body.as_slice()) {
        change(&mut container);
        answer.body = container.encode_to_vec();
    }
}
