//! Bodies of answers: whole, spoilt on purpose, or a live stream.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep};

/// A body of an answer.
pub(crate) struct Body {
    parts: VecDeque<Bytes>,
    /// Zero bytes that follow the parts.
    padding: u64,
    /// What the header says; `None` makes a chunked body.
    promised: Option<u64>,
    /// The connection is cut at the end, after a pause in which the bytes before leave the house.
    cut: Option<Pin<Box<Sleep>>>,
    /// Before each part but the first there is a pause.
    pace: Option<Pin<Box<Sleep>>>,
    live: Option<mpsc::Receiver<Bytes>>,
}

/// The connection is cut on purpose.
#[derive(Debug)]
pub(crate) struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection is cut on purpose")
    }
}

impl std::error::Error for Cut {}

/// Bodies from this size on come in chunks, as with Go controllers.
const CHUNKED_FROM: usize = 2048;
/// The pause between two parts of a slow body, of which there are ten a second.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a connection that is to be cut has for what was written.
const CUT_AFTER: Duration = Duration::from_millis(50);

impl Body {
    /// The bytes, with their length in the header.
    pub(crate) fn sized(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let promised = Some(bytes.len() as u64);
        Self { parts: VecDeque::from([bytes]), padding: 0, promised, cut: None, pace: None, live: None }
    }

    /// The bytes as a Go controller sends them: long ones in chunks.
    pub(crate) fn like_go(bytes: Vec<u8>) -> Self {
        if bytes.len() < CHUNKED_FROM {
            return Self::sized(bytes);
        }
        let parts = bytes.chunks(CHUNKED_FROM).map(Bytes::copy_from_slice).collect();
        Self { parts, padding: 0, promised: None, cut: None, pace: None, live: None }
    }

    /// Half of the bytes behind a header that promises all of them, then the end.
    pub(crate) fn truncated(bytes: &[u8]) -> Self {
        Self::cut_at(bytes, bytes.len() as u64 / 2)
    }

    /// So many of the bytes behind a header that promises all of them, then the end. If it is all of them, there is
    /// no end.
    pub(crate) fn cut_at(bytes: &[u8], at: u64) -> Self {
        let Some(front) = usize::try_from(at).ok().and_then(|at| bytes.get(..at)) else {
            return Self::sized(bytes.to_vec());
        };
        let promised = Some(bytes.len().max(1) as u64);
        let parts = VecDeque::from([Bytes::copy_from_slice(front)]);
        Self { parts, padding: 0, promised, cut: Some(Box::pin(sleep(CUT_AFTER))), pace: None, live: None }
    }

    /// The bytes, so many a second.
    pub(crate) fn slow(bytes: &[u8], rate: u32) -> Self {
        let part = (rate / 10).max(1) as usize;
        let parts = bytes.chunks(part).map(Bytes::copy_from_slice).collect();
        let pace = Some(Box::pin(sleep(Duration::ZERO)));
        Self { parts, padding: 0, promised: Some(bytes.len() as u64), cut: None, pace, live: None }
    }

    /// The bytes, then zeros.
    pub(crate) fn padded(bytes: Vec<u8>, padding: u64) -> Self {
        let promised = Some((bytes.len() as u64).saturating_add(padding));
        Self { parts: VecDeque::from([bytes.into()]), padding, promised, cut: None, pace: None, live: None }
    }

    /// What comes out of a channel, until it closes.
    pub(crate) fn live(receiver: mpsc::Receiver<Bytes>) -> Self {
        Self {
            parts: VecDeque::new(),
            padding: 0,
            promised: None,
            cut: None,
            pace: None,
            live: Some(receiver),
        }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if let Some(live) = &mut self.live {
            return live.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))));
        }
        if let Some(pace) = self.pace.as_mut().filter(|pace| !pace.is_elapsed()) {
            ready!(pace.as_mut().poll(context));
        }
        if let Some(part) = self.parts.pop_front() {
            if let Some(pace) = &mut self.pace {
                pace.as_mut().reset(Instant::now() + PAUSE);
            }
            return Poll::Ready(Some(Ok(Frame::data(part))));
        }
        if self.padding > 0 {
            const ZEROS: &[u8] = &[0; 1 << 16];
            let count = self.padding.min(ZEROS.len() as u64);
            self.padding -= count;
            let part = ZEROS.get(..count as usize).unwrap_or(ZEROS);
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(part)))));
        }
        match &mut self.cut {
            Some(pause) => pause.as_mut().poll(context).map(|()| Some(Err(Cut))),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.live.is_none()
            && self.cut.is_none()
            && self.padding == 0
            && self.parts.iter().all(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        self.promised.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
