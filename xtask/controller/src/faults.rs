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
    /// So many bytes of the body, then the connection is cut, although the header promises all of it.
    CutAt(u64),
    /// So many bytes of the body a second, at least 10.
    Slow(u32),
    /// A request for a part of a content is answered wrongly; one for the whole is not concerned.
    Range(RangeLie),
}

/// What a server of content that lies about ranges says to a request for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangeLie {
    /// 200 with all of it, as servers do that know no ranges.
    Ignored,
    /// 206 with the range that begins one byte earlier, and says so; one byte later if there is no earlier one.
    Shifted,
    /// The same bytes, under a header that names the range that was asked for.
    Mislabelled,
    /// 206 with the right bytes, and a total length that is one more than it was.
    WrongTotal,
    /// 206 with the right bytes that does not say which they are.
    Unnamed,
    /// 416: there is no such range.
    Unsatisfiable,
}

/// A fault that the configuration file asks for, how often.
pub(crate) type Asked = (Target, Fault, Option<u32>);

impl Target {
    /// By its name in the configuration file: `content`, `api`, or an endpoint's.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "content" => Some(Self::Content),
            "api" => Some(Self::Api),
            _ => Endpoint::ALL.into_iter().find(|endpoint| endpoint.name() == name).map(Self::Endpoint),
        }
    }
}

impl Fault {
    /// By its name in the configuration file, with its number where it has one.
    ///
    /// # Errors
    /// A text for people.
    pub(crate) fn named(kind: &str, number: Option<u64>) -> Result<Self, String> {
        let bare = |fault| match number {
            None => Ok(fault),
            Some(_) => Err(format!("{kind} takes no number")),
        };
        let counted = |what: &str| number.ok_or_else(|| format!("{kind} needs number = {what}"));
        match kind {
            "bad-signature" => bare(Self::BadSignature),
            "unknown-signer" => bare(Self::UnknownSigner),
            "changed" => bare(Self::ChangedPayload),
            "truncated" => bare(Self::Truncated),
            "garbage" => bare(Self::Garbage),
            "wrong-content-type" => bare(Self::WrongContentType),
            "drop-before" => bare(Self::DropBefore),
            "drop-after" => bare(Self::DropAfter),
            "range-ignored" => bare(Self::Range(RangeLie::Ignored)),
            "range-shifted" => bare(Self::Range(RangeLie::Shifted)),
            "range-mislabelled" => bare(Self::Range(RangeLie::Mislabelled)),
            "range-total" => bare(Self::Range(RangeLie::WrongTotal)),
            "range-unnamed" => bare(Self::Range(RangeLie::Unnamed)),
            "range-unsatisfiable" => bare(Self::Range(RangeLie::Unsatisfiable)),
            "oversized" => counted("bytes more").map(Self::Oversized),
            "cut-at" => counted("bytes before the cut").map(Self::CutAt),
            "late" => counted("milliseconds").map(|ms| Self::Late(Duration::from_millis(ms))),
            "slow" => match counted("bytes a second")?.try_into() {
                Ok(rate @ 10..) => Ok(Self::Slow(rate)),
                _ => Err("slow means 10 to 4294967295 bytes a second".into()),
            },
            "status" => match counted("a status code")?.try_into() {
                Ok(code @ 200..=599) => Ok(Self::Status(code)),
                _ => Err("a status code is between 200 and 599".into()),
            },
            _ => Err(format!("no fault is called {kind}")),
        }
    }
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
    /// It is one of those that the file asks for.
    of_file: bool,
}

/// The faults of a running controller. All are off at the start.
#[derive(Debug, Default)]
pub struct Faults {
    armed: Mutex<Vec<Armed>>,
    /// What the file asked for last.
    followed: Mutex<Vec<Asked>>,
    face: Mutex<Face>,
}

impl Faults {
    /// Spoils the next `times` answers of `target`; `None` spoils them until [`Faults::clear`].
    pub fn arm(&self, target: Target, fault: Fault, times: Option<u32>) {
        self.lock().push(Armed { target, fault, left: times, of_file: false });
    }

    /// Arms what the file asks for in place of what it asked for before; says whether that is something else. As long
    /// as it is the same, what was spoilt already is not spoilt again.
    pub(crate) fn follow(&self, asked: &[Asked]) -> bool {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        if followed.as_slice() == asked {
            return false;
        }
        *followed = asked.to_vec();
        let mut armed = self.lock();
        armed.retain(|armed| !armed.of_file);
        armed.extend(asked.iter().map(|&(target, fault, left)| Armed { target, fault, left, of_file: true }));
        true
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
        self.take_where(|armed| match armed.target {
            Target::Api => true,
            Target::Endpoint(wanted) => Some(wanted) == endpoint,
            Target::Content => false,
        })
    }

    /// The fault for an answer with content, or with the part of it that the request `asks_for_range` of.
    pub(crate) fn take_content(&self, asks_for_range: bool) -> Option<Fault> {
        self.take_where(|armed| {
            armed.target == Target::Content && (asks_for_range || !matches!(armed.fault, Fault::Range(_)))
        })
    }

    fn take_where(&self, fits: impl Fn(&Armed) -> bool) -> Option<Fault> {
        let mut armed = self.lock();
        let index = armed.iter().position(fits)?;
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
        Fault::Truncated
        | Fault::Oversized(_)
        | Fault::DropBefore
        | Fault::DropAfter
        | Fault::Late(_)
        | Fault::CutAt(_)
        | Fault::Slow(_)
        | Fault::Range(_) => {}
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_have_names() {
        assert_eq!(Fault::named("cut-at", Some(7)), Ok(Fault::CutAt(7)));
        assert_eq!(Fault::named("late", Some(7)), Ok(Fault::Late(Duration::from_millis(7))));
        assert_eq!(Fault::named("range-total", None), Ok(Fault::Range(RangeLie::WrongTotal)));
        for (kind, number, part) in [
            ("cut-at", None, "needs number"),
            ("garbage", Some(1), "takes no number"),
            ("status", Some(99), "between 200 and 599"),
            ("slow", Some(9), "10 to"),
            ("slow", Some(1 << 40), "10 to"),
            ("nonsense", None, "no fault is called nonsense"),
        ] {
            assert!(Fault::named(kind, number).is_err_and(|why| why.contains(part)), "{kind}");
        }
        assert_eq!(Target::named("newlogs"), Some(Target::Endpoint(Endpoint::Logs)));
        assert_eq!((Target::named("content"), Target::named("x")), (Some(Target::Content), None));
    }

    #[test]
    fn what_the_file_asks_for_is_armed_once() {
        let faults = Faults::default();
        let asked = [(Target::Content, Fault::Garbage, Some(1))];
        faults.arm(Target::Content, Fault::Status(500), None);
        assert!(faults.follow(&asked) && !faults.follow(&asked));
        faults.clear();
        assert!(!faults.follow(&asked) && !faults.pending());
        assert!(faults.follow(&[]) && faults.follow(&asked));
        assert_eq!(faults.take_content(false), Some(Fault::Garbage));
        assert_eq!(faults.take_content(false), None);
        assert!(!faults.follow(&asked));
        // One that is not the file's stays when the file asks for others.
        faults.arm(Target::Api, Fault::Garbage, None);
        assert!(faults.follow(&[(Target::Content, Fault::Range(RangeLie::Ignored), None)]));
        assert_eq!((faults.take(None), faults.take_content(false)), (Some(Fault::Garbage), None));
        assert_eq!(faults.take_content(true), Some(Fault::Range(RangeLie::Ignored)));
    }
}
