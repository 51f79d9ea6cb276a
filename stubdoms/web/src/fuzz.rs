//! Entry points for fuzzing: each takes any bytes and must return without a panic.

use crate::http::{Event, Limits, Method, ResponseReader, parse_content_range};
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
