//! `/content/FILE`: the files of the built-in datastore, whole or in ranges.

use hyper::header::{ACCEPT_RANGES, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue, IF_RANGE, RANGE};
use hyper::{Response, StatusCode};
use tokio::time::sleep;

use super::text;
use crate::body::{Body, Cut};
use crate::core::Core;
use crate::desired::is_plain_path;
use crate::faults::{Fault, RangeLie};

/// Serves a file of the content folder, with the fault that is armed for content.
pub(super) async fn answer(core: &Core, name: &str, headers: &HeaderMap) -> Result<Response<Body>, Cut> {
    let range = headers.get(RANGE).filter(|_| !headers.contains_key(IF_RANGE));
    let fault = core.faults.take_content(range.is_some());
    match fault {
        Some(Fault::DropBefore | Fault::DropAfter) => return Err(Cut),
        Some(Fault::Late(duration)) => sleep(duration).await,
        Some(Fault::Status(status)) => {
            let mut response = text(StatusCode::OK, "");
            *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            return Ok(response);
        }
        _ => {}
    }
    let Some(name) = decoded(name).filter(|name| is_plain_path(name)) else {
        return Ok(text(StatusCode::NOT_FOUND, "no such content\n"));
    };
    let Ok(mut bytes) = tokio::fs::read(core.options.content_folder().join(&name)).await else {
        return Ok(text(StatusCode::NOT_FOUND, "no such content\n"));
    };
    spoil(&mut bytes, fault);
    let range = range.and_then(|range| range.to_str().ok()).and_then(|range| parse_range(range, bytes.len()));
    let mut reply = match (range, fault) {
        (Some(asked), Some(Fault::Range(lie))) => Reply::lie(&bytes, asked, lie),
        (Some(asked), _) => Reply::part(&bytes, asked),
        (None, _) => Reply { status: StatusCode::OK, range: None, bytes },
    };
    let bytes = std::mem::take(&mut reply.bytes);
    Ok(reply.with(match fault {
        Some(Fault::Truncated) => Body::truncated(&bytes),
        Some(Fault::CutAt(at)) => Body::cut_at(&bytes, at),
        Some(Fault::Slow(rate)) => Body::slow(&bytes, rate),
        Some(Fault::Oversized(padding)) => Body::padded(bytes, padding),
        _ => Body::sized(bytes),
    }))
}

/// First and last byte of a part.
type Span = (usize, usize);

/// What goes out.
struct Reply {
    status: StatusCode,
    /// What the header says of the range.
    range: Option<String>,
    bytes: Vec<u8>,
}

impl Reply {
    /// This part of `whole`, and what it is.
    fn part(whole: &[u8], (first, last): Span) -> Self {
        Self {
            status: StatusCode::PARTIAL_CONTENT,
            range: Some(format!("bytes {first}-{last}/{}", whole.len())),
            bytes: whole.get(first..=last).unwrap_or_default().to_vec(),
        }
    }

    /// Something else than the part that was asked for.
    fn lie(whole: &[u8], asked: Span, lie: RangeLie) -> Self {
        let (first, last) = asked;
        let right = Self::part(whole, asked);
        let shifted = Self::part(whole, (first.checked_sub(1).unwrap_or(first + 1), last));
        match lie {
            RangeLie::Ignored => Self { status: StatusCode::OK, range: None, bytes: whole.to_vec() },
            RangeLie::Shifted => shifted,
            RangeLie::Mislabelled => Self { bytes: shifted.bytes, ..right },
            RangeLie::WrongTotal => {
                Self { range: Some(format!("bytes {first}-{last}/{}", whole.len() + 1)), ..right }
            }
            RangeLie::Unnamed => Self { range: None, ..right },
            RangeLie::Unsatisfiable => Self {
                status: StatusCode::RANGE_NOT_SATISFIABLE,
                range: Some(format!("bytes */{}", whole.len())),
                bytes: Vec::new(),
            },
        }
    }

    fn with(self, body: Body) -> Response<Body> {
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        let range = self.range.and_then(|range| HeaderValue::from_str(&range).ok());
        headers.extend(range.map(|range| (CONTENT_RANGE, range)));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        response
    }
}

fn spoil(bytes: &mut Vec<u8>, fault: Option<Fault>) {
    match fault {
        Some(Fault::BadSignature | Fault::ChangedPayload | Fault::UnknownSigner) => {
            bytes.iter_mut().rev().take(1).for_each(|byte| *byte ^= 1);
        }
        Some(Fault::Garbage) => *bytes = b"This is not what you asked for.".repeat(64),
        _ => {}
    }
}

/// `bytes=A-B` or `bytes=A-` within a file of `length` bytes; anything else is served whole.
fn parse_range(range: &str, length: usize) -> Option<Span> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let first = first.parse::<usize>().ok()?;
    let end = length.checked_sub(1)?;
    let last = if last.is_empty() { end } else { last.parse::<usize>().ok()?.min(end) };
    (first <= last).then_some((first, last))
}

/// Undoes percent-encoding.
fn decoded(name: &str) -> Option<String> {
    let mut out = Vec::with_capacity(name.len());
    let mut bytes = name.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digits = [bytes.next()?, bytes.next()?];
        out.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lies_are_what_they_are_called() {
        let lie = |asked, lie| {
            let reply = Reply::lie(b"0123456789", asked, lie);
            let text = String::from_utf8(reply.bytes).expect("text");
            (reply.status.as_u16(), reply.range.unwrap_or_default(), text)
        };
        let is = |status: u16, range: &str, text: &str| (status, range.to_owned(), text.to_owned());
        assert_eq!(lie((4, 9), RangeLie::Ignored), is(200, "", "0123456789"));
        assert_eq!(lie((4, 9), RangeLie::Shifted), is(206, "bytes 3-9/10", "3456789"));
        assert_eq!(lie((0, 9), RangeLie::Shifted), is(206, "bytes 1-9/10", "123456789"));
        assert_eq!(lie((4, 9), RangeLie::Mislabelled), is(206, "bytes 4-9/10", "3456789"));
        assert_eq!(lie((4, 9), RangeLie::WrongTotal), is(206, "bytes 4-9/11", "456789"));
        assert_eq!(lie((4, 9), RangeLie::Unnamed), is(206, "", "456789"));
        assert_eq!(lie((4, 9), RangeLie::Unsatisfiable), is(416, "bytes */10", ""));
    }

    #[test]
    fn ranges_and_names_are_read_strictly() {
        assert_eq!(parse_range("bytes=0-3", 10), Some((0, 3)));
        assert_eq!(parse_range("bytes=4-", 10), Some((4, 9)));
        assert_eq!(parse_range("bytes=4-99", 10), Some((4, 9)));
        for wrong in ["bytes=-4", "bytes=10-", "bytes=3-2", "lines=0-1", "bytes=0-3,5-6"] {
            assert_eq!(parse_range(wrong, 10), None, "{wrong}");
        }
        assert_eq!(decoded("a%20b").as_deref(), Some("a b"));
        assert_eq!(decoded("a%2"), None);
        assert_eq!(decoded("%2e%2e/x").as_deref(), Some("../x"));
    }
}
