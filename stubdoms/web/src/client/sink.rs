use alloc::vec::Vec;
use core::future::Future;

use super::{Cause, MAX_COMPLAINT, Taker};
use crate::http::{Head, HttpError, Request, parse_content_range};

/// Where a download's bytes go.
pub trait Sink {
    /// The content begins. If it does not begin where was asked ([`Start::offset`] is 0 when a server does not
    /// resume), the sink starts over or refuses.
    ///
    /// # Errors
    /// [`Refused`] ends the download.
    fn begin(&mut self, start: Start) -> Result<(), Refused>;

    /// The next bytes, never none. The server waits while this does.
    ///
    /// # Errors
    /// [`Refused`] ends the download.
    fn chunk(&mut self, bytes: &[u8]) -> impl Future<Output = Result<(), Refused>>;
}

/// Where a download begins, and how long the whole is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// Place of the first byte that will come, in the whole.
    pub offset: u64,
    /// Length of the whole in bytes, if the server tells it. It is not to be trusted.
    pub total: Option<u64>,
}

/// The sink wants no more; it knows why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// A sink that keeps everything.
impl Sink for Vec<u8> {
    fn begin(&mut self, start: Start) -> Result<(), Refused> {
        if start.offset == 0 {
            self.clear();
        }
        if start.offset == self.len() as u64 { Ok(()) } else { Err(Refused) }
    }

    async fn chunk(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        self.extend_from_slice(bytes);
        Ok(())
    }
}

/// Hands the content to a sink, and keeps the beginning of everything else.
pub(super) struct Content<'a, S> {
    sink: &'a mut S,
    complaint: &'a mut Vec<u8>,
    asked_from: Option<u64>,
    limit: u64,
    /// Place of the next byte if this is content.
    at: Option<u64>,
    /// Length of the whole, if this is a part of it.
    whole: Option<u64>,
}

impl<'a, S: Sink> Content<'a, S> {
    pub(super) fn new(
        sink: &'a mut S,
        complaint: &'a mut Vec<u8>,
        request: &Request<'_>,
        limit: u64,
    ) -> Self {
        Content { sink, complaint, asked_from: request.first_byte(), limit, at: None, whole: None }
    }

    /// Where what is missing of the whole begins, if this was a part that ends before.
    pub(super) fn rest(&self) -> Option<u64> {
        self.at.filter(|at| self.whole.is_some_and(|whole| *at < whole))
    }
}

impl<S: Sink> Taker for Content<'_, S> {
    fn head(&mut self, head: &Head) -> Result<(), Cause> {
        let start = match (head.status, self.asked_from) {
            (200, _) => Start { offset: 0, total: head.length },
            (206, Some(asked)) => {
                let range = head.headers.get("content-range").and_then(parse_content_range);
                let range = range.filter(|range| range.first == asked).ok_or(Cause::WrongRange { asked })?;
                self.whole = range.total;
                Start { offset: asked, total: range.total }
            }
            (206, None) => return Err(Cause::WrongRange { asked: 0 }),
            _ => return Ok(()),
        };
        if start.total.is_some_and(|total| total > self.limit) {
            return Err(HttpError::BodyTooLong { limit: self.limit }.into());
        }
        self.at = Some(start.offset);
        self.sink.begin(start).map_err(|Refused| Cause::SinkRefused)
    }

    async fn body(&mut self, bytes: &[u8]) -> Result<(), Cause> {
        let Some(at) = &mut self.at else {
            let room = MAX_COMPLAINT.saturating_sub(self.complaint.len());
            self.complaint.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
            return Ok(());
        };
        *at = at.saturating_add(bytes.len() as u64);
        if *at > self.limit {
            return Err(HttpError::BodyTooLong { limit: self.limit }.into());
        }
        self.sink.chunk(bytes).await.map_err(|Refused| Cause::SinkRefused)
    }
}
