//! `/content/FILE`: the files of the built-in datastore, whole or in ranges.

use hyper::header::{ACCEPT_RANGES, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue, IF_RANGE, RANGE};
use hyper::{Response, StatusCode};
use tokio::time::sleep;

use super::text;
use crate::body::{Body, Cut};
use crate::core::Core;
use crate::desired::is_plain_path;
use crate::faults::Fault;

/// Serves a file of the content folder, with the fault that is armed for content.
pub(super) async fn answer(core: &Core, name: &str, headers: &HeaderMap) -> Result<Response<Body>, Cut> {
    let fault = core.faults.take_content();
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
    let range = headers.get(RANGE).filter(|_| !headers.contains_key(IF_RANGE));
    let range = range.and_then(|range| range.to_str().ok()).and_then(|range| parse_range(range, bytes.len()));
    let mut response = match (fault, range) {
        (Some(Fault::Truncated), _) => Response::new(Body::truncated(&bytes)),
        (Some(Fault::Oversized(padding)), _) => Response::new(Body::padded(bytes, padding)),
        (_, Some((first, last))) => {
            let part = bytes.get(first..=last).unwrap_or_default().to_vec();
            let mut response = Response::new(Body::sized(part));
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let range = format!("bytes {first}-{last}/{}", bytes.len());
            response
                .headers_mut()
                .extend(HeaderValue::from_str(&range).ok().map(|range| (CONTENT_RANGE, range)));
            response
        }
        _ => Response::new(Body::sized(bytes)),
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    Ok(response)
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
fn parse_range(range: &str, length: usize) -> Option<(usize, usize)> {
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
