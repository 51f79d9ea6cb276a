use alloc::vec::Vec;

use super::chunked::{Chunks, Piece};
use super::range::decimal;
use super::{Headers, HttpError, Method};

/// Interim answers (1xx) that are waited through.
const MAX_INTERIM: u8 = 8;
/// Fields of a head that are read.
const MAX_FIELDS: usize = 64;

/// How much of an answer is accepted.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest head, in bytes.
    pub head: usize,
    /// Longest body, in bytes.
    pub body: u64,
}

impl Default for Limits {
    /// For answers of the API: 16 KiB of head and 1 MiB of body.
    fn default() -> Self {
        Limits { head: 16 << 10, body: 1 << 20 }
    }
}

/// The head of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The status code, 200 to 999.
    pub status: u16,
    /// The fields.
    pub headers: Headers,
    /// Length of the body if it was announced or if there is none.
    pub length: Option<u64>,
}

/// What the front of the input turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'i> {
    /// Nothing yet; come back with more input.
    More,
    /// The head is complete.
    Head(Head),
    /// The next bytes of the body, never empty.
    Body(&'i [u8]),
    /// The answer is complete. What else stands in the input does not belong to it.
    Done,
}

#[derive(Clone, Debug)]
enum State {
    Head { bytes: Vec<u8>, interim: u8 },
    Length { have: u64, need: u64 },
    Chunked(Chunks),
    UntilClose { have: u64 },
    Done,
}

/// Reads one answer from any split of its bytes.
#[derive(Clone, Debug)]
pub struct ResponseReader {
    state: State,
    limits: Limits,
    to_head: bool,
}

impl ResponseReader {
    /// Reads the answer to a request with `method`.
    pub fn new(method: Method, limits: Limits) -> Self {
        let to_head = method == Method::Head;
        ResponseReader { state: State::Head { bytes: Vec::new(), interim: 0 }, limits, to_head }
    }

    /// True once the answer is complete.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Looks at the front of `input` and says how many bytes of it were used. Call again with the rest until
    /// [`Event::More`] or [`Event::Done`].
    ///
    /// # Errors
    /// [`HttpError`]; the reader is of no use afterwards.
    pub fn step<'i>(&mut self, input: &'i [u8]) -> Result<(usize, Event<'i>), HttpError> {
        let mut used = 0;
        loop {
            let rest = input.get(used..).unwrap_or_default();
            match &mut self.state {
                State::Done => return Ok((used, Event::Done)),
                _ if rest.is_empty() => return Ok((used, Event::More)),
                State::Head { .. } => {
                    let (taken, head) = self.head_bytes(rest)?;
                    used += taken;
                    if let Some(head) = head {
                        return Ok((used, Event::Head(head)));
                    }
                }
                State::Length { have, need } => {
                    let here = (*need - *have).min(rest.len() as u64);
                    *have += here;
                    if have == need {
                        self.state = State::Done;
                    }
                    return Ok((used + here as usize, body(rest, here as usize)));
                }
                State::UntilClose { have } => {
                    *have = have.saturating_add(rest.len() as u64);
                    if *have > self.limits.body {
                        return Err(HttpError::BodyTooLong { limit: self.limits.body });
                    }
                    return Ok((input.len(), Event::Body(rest)));
                }
                State::Chunked(chunks) => match chunks.take(rest)? {
                    Piece::Framing(length) => used += length,
                    Piece::Body(length) => return Ok((used + length, body(rest, length))),
                    Piece::End => self.state = State::Done,
                },
            }
            // A chunked answer is over with its last framing byte, not with the byte behind it.
            if let State::Chunked(chunks) = &mut self.state
                && used == input.len()
                && let Piece::End = chunks.take(&[])?
            {
                self.state = State::Done;
            }
        }
    }

    /// The connection ended in order (a FIN, under TLS a `close_notify`). That completes an answer that has no
    /// other end.
    ///
    /// # Errors
    /// [`HttpError::HeadTruncated`], [`HttpError::Truncated`] or [`HttpError::ChunksTruncated`] if more had to come.
    pub fn end(&mut self) -> Result<(), HttpError> {
        match &self.state {
            State::Done => Ok(()),
            State::UntilClose { .. } => {
                self.state = State::Done;
                Ok(())
            }
            State::Head { bytes, .. } => Err(HttpError::HeadTruncated { have: bytes.len() }),
            State::Length { have, need } => Err(HttpError::Truncated { have: *have, need: *need }),
            State::Chunked(chunks) => Err(HttpError::ChunksTruncated { have: chunks.total() }),
        }
    }

    /// Collects bytes of the head; with its last byte, reads it.
    fn head_bytes(&mut self, input: &[u8]) -> Result<(usize, Option<Head>), HttpError> {
        let State::Head { bytes, interim } = &mut self.state else { return Ok((0, None)) };
        for (index, byte) in input.iter().enumerate() {
            if bytes.len() >= self.limits.head {
                return Err(HttpError::HeadTooLong { limit: self.limits.head });
            }
            bytes.push(*byte);
            if !(bytes.ends_with(b"\r\n\r\n") || bytes.ends_with(b"\n\n")) {
                continue;
            }
            let head = parse_head(bytes)?;
            bytes.clear();
            match head.status {
                101 => return Err(HttpError::ProtocolSwitched),
                100..200 if *interim == MAX_INTERIM => {
                    return Err(HttpError::TooManyInterim { limit: MAX_INTERIM });
                }
                100..200 => *interim += 1,
                _ => return self.body_follows(head).map(|head| (index + 1, Some(head))),
            }
        }
        Ok((input.len(), None))
    }

    /// Decides where the body ends. Source: RFC 9112 §6.3, with every doubtful case refused.
    fn body_follows(&mut self, parsed: ParsedHead) -> Result<Head, HttpError> {
        let ParsedHead { status, minor, headers } = parsed;
        let mut length = None;
        for value in headers.all("content-length") {
            let value = decimal(value).ok_or(HttpError::LengthUnclear)?;
            if length.is_some_and(|other| other != value) {
                return Err(HttpError::LengthUnclear);
            }
            length = Some(value);
        }
        let mut codings = headers.all("transfer-encoding");
        let coding = codings.next();
        if coding.is_some() && length.is_some() {
            return Err(HttpError::LengthUnclear);
        }
        if coding.is_some_and(|coding| minor == 0 || !coding.eq_ignore_ascii_case("chunked"))
            || codings.next().is_some()
        {
            return Err(HttpError::CodingUnknown);
        }
        drop(codings);
        let chunked = coding.is_some();
        let bodiless = self.to_head || status == 204 || status == 304;
        self.state = match length {
            _ if bodiless => State::Done,
            Some(length) if length > self.limits.body => {
                return Err(HttpError::BodyTooLong { limit: self.limits.body });
            }
            Some(0) => State::Done,
            Some(need) => State::Length { have: 0, need },
            None if chunked => State::Chunked(Chunks::new(self.limits.body)),
            None => State::UntilClose { have: 0 },
        };
        let length = if bodiless && !self.to_head { Some(0) } else { length };
        Ok(Head { status, headers, length })
    }
}

/// The first `length` bytes, which the caller counted within `rest`.
fn body(rest: &[u8], length: usize) -> Event<'_> {
    Event::Body(rest.get(..length).unwrap_or(rest))
}

struct ParsedHead {
    status: u16,
    minor: u8,
    headers: Headers,
}

fn parse_head(bytes: &[u8]) -> Result<ParsedHead, HttpError> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let end = response.parse(bytes).map_err(|error| match error {
        httparse::Error::TooManyHeaders => HttpError::TooManyFields { limit: MAX_FIELDS },
        _ => HttpError::HeadMalformed,
    })?;
    let (httparse::Status::Complete(end), Some(status), Some(minor)) = (end, response.code, response.version)
    else {
        return Err(HttpError::HeadMalformed);
    };
    // A head that the parser ends earlier than we do would leave bytes that nobody looks at.
    if end != bytes.len() || status < 100 {
        return Err(HttpError::HeadMalformed);
    }
    let mut headers = Headers::default();
    for field in response.headers.iter() {
        headers.push(field.name, field.value);
    }
    Ok(ParsedHead { status, minor, headers })
}

#[cfg(test)]
mod tests;
