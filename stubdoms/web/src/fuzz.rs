//! Entry points for fuzzing: each takes any bytes and must return without a panic.

use crate::http::{Event, Limits, Method, ResponseReader, parse_content_range, parse_date};
use crate::sntp;
use crate::time::UnixSeconds;
use crate::url::Url;

/// An answer, cut in two at a place that its first byte tells.
pub fn http_response(data: &[u8]) {
    let Some((&at, data)) = data.split_first() else { return };
    let (first, second) = data.split_at(usize::from(at).min(data.len()));
    let mut reader = ResponseReader::new(Method::Get, Limits { head: 1024, body: 4096 });
    for mut piece in [first, second] {
        loop {
            match reader.step(piece) {
                Ok((_, Event::More | Event::Done)) => break,
                Ok((used, _)) => piece = piece.get(used..).unwrap_or_default(),
                Err(_) => return,
            }
        }
    }
    let _ = reader.end();
}

/// A URL, a redirect relative to it, and a Content-Range.
pub fn url(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else { return };
    let _ = parse_content_range(text);
    let (base, location) = text.split_once('\n').unwrap_or((text, ""));
    if let Ok(url) = Url::parse(base) {
        let shown = alloc::format!("{url}");
        assert_eq!(Url::parse(&shown).as_ref(), Ok(&url), "what is shown must read the same");
        let _ = url.join(location);
    }
}

/// A DNS answer to a fixed question. The first two bytes are taken as its id, so that they always fit.
pub fn dns_answer(data: &[u8]) {
    let Some((id, _)) = data.split_first_chunk() else { return };
    let _ = crate::resolver::parse_answer(data, u16::from_be_bytes(*id), "zed.example");
}

/// A time server's answer. Bytes 24 to 31 are taken as the nonce, so that it always fits.
pub fn sntp_answer(data: &[u8]) {
    let nonce =
        data.get(24..).and_then(|rest| rest.first_chunk()).map_or(0, |nonce| u64::from_be_bytes(*nonce));
    if let Ok(answer) = sntp::parse_answer(data, nonce) {
        assert!(answer.since_1970.as_secs() >= sntp::PIVOT, "no time before the pivot");
        assert!((1..16).contains(&answer.stratum), "no stratum but a server's");
    }
}

/// A date of HTTP.
pub fn http_date(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else { return };
    if let Some(seconds) = parse_date(text) {
        // `Sun, 06 Nov 1994 08:49:37 GMT` beside `1994-11-06T08:49:37Z`.
        let shown = alloc::format!("{}", UnixSeconds(seconds));
        assert_eq!(shown.get(..4), text.get(12..16), "the year");
        assert_eq!(shown.get(8..10), text.get(5..7), "the day");
        // A leap second is the one before it.
        assert_eq!(shown.get(11..16), text.get(17..22), "the time");
    }
}
