//! One request and its answer over one connection, plain or under TLS, as a machine.
//!
//! Bytes of the connection go in by [`Exchange::input`] and come out by [`Exchange::output`]; what the answer says is
//! asked with [`Exchange::event`].

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use crate::http::{Event, HttpError, ResponseReader};
use crate::tls::{Session, TlsError};

/// Bytes that may wait to be sent before more is encrypted.
const MAX_OUTGOING: usize = 32 << 10;

/// What lies between HTTP and the connection.
#[derive(Debug)]
pub enum Shield {
    /// Nothing.
    Plain,
    /// A TLS session that has just begun.
    Tls(Box<Session>),
}

/// Why an exchange failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExchangeError {
    /// Under TLS.
    Tls(TlsError),
    /// Within HTTP.
    Http(HttpError),
    /// The connection was reset.
    Reset,
}

impl fmt::Display for ExchangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExchangeError::Tls(error) => error.fmt(f),
            ExchangeError::Http(error) => error.fmt(f),
            ExchangeError::Reset => f.write_str("the connection was reset"),
        }
    }
}

impl core::error::Error for ExchangeError {}

/// How far an exchange is, for the line that says where it stood still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Name and connection are being looked for.
    Connect,
    /// TLS is being negotiated.
    Handshake,
    /// The request is on its way.
    Send,
    /// The answer's head has to come.
    Answer,
    /// The answer's body has to come.
    Body,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Connect => "connecting",
            Stage::Handshake => "TLS handshake",
            Stage::Send => "sending the request",
            Stage::Answer => "waiting for the answer",
            Stage::Body => "receiving the answer",
        })
    }
}

/// The exchange.
#[derive(Debug)]
pub struct Exchange {
    shield: Shield,
    request: Vec<u8>,
    /// Bytes of the request that went into the shield.
    written: usize,
    outgoing: Vec<u8>,
    /// Bytes of `outgoing` that are sent.
    sent: usize,
    inbox: Vec<u8>,
    /// Bytes of `inbox` that were read.
    read: usize,
    reader: ResponseReader,
    has_head: bool,
    /// The server has sent all that it will, and how that is to be judged.
    end: Option<Result<(), ExchangeError>>,
}

impl Exchange {
    /// Begins an exchange; `request` is complete.
    pub fn new(shield: Shield, request: Vec<u8>, reader: ResponseReader) -> Self {
        Exchange {
            shield,
            request,
            written: 0,
            outgoing: Vec::new(),
            sent: 0,
            inbox: Vec::new(),
            read: 0,
            reader,
            has_head: false,
            end: None,
        }
    }

    /// Takes bytes that the server sent. An error in them is told by [`Exchange::event`], after what came before it.
    pub fn input(&mut self, bytes: &[u8]) {
        if self.end.is_some() {
            return;
        }
        match &mut self.shield {
            Shield::Plain => self.inbox.extend_from_slice(bytes),
            Shield::Tls(session) => {
                let fed = session.feed(bytes);
                session.read(&mut self.inbox);
                match fed {
                    Err(error) => self.end = Some(Err(ExchangeError::Tls(error))),
                    Ok(()) if session.is_peer_closed() => self.end = Some(Ok(())),
                    Ok(()) => {}
                }
            }
        }
    }

    /// The server has closed its end of the connection.
    pub fn input_end(&mut self) {
        let end = match &self.shield {
            Shield::Plain => Ok(()),
            Shield::Tls(session) => session.end().map_err(ExchangeError::Tls),
        };
        self.end.get_or_insert(end);
    }

    /// The connection is gone.
    pub fn reset(&mut self) {
        self.end.get_or_insert(Err(ExchangeError::Reset));
    }

    /// What is to be sent next; empty if nothing is now.
    pub fn output(&mut self) -> &[u8] {
        if self.sent == self.outgoing.len() {
            self.outgoing.clear();
            self.sent = 0;
        }
        let rest = self.request.get(self.written..).unwrap_or_default();
        match &mut self.shield {
            Shield::Plain => {
                self.outgoing.extend_from_slice(rest);
                self.written = self.request.len();
            }
            Shield::Tls(session) => {
                if session.is_open() && !rest.is_empty() && self.outgoing.len() - self.sent < MAX_OUTGOING {
                    match session.write(rest) {
                        Ok(written) => self.written += written,
                        Err(error) => self.end = self.end.or(Some(Err(ExchangeError::Tls(error)))),
                    }
                }
                session.pull(&mut self.outgoing);
            }
        }
        self.outgoing.get(self.sent..).unwrap_or_default()
    }

    /// The first `count` bytes of [`Exchange::output`] were taken by the connection.
    pub fn output_sent(&mut self, count: usize) {
        self.sent = (self.sent + count).min(self.outgoing.len());
    }

    /// What the answer says next. [`Event::More`] means that input is needed.
    ///
    /// # Errors
    /// [`ExchangeError`]; the exchange is over then. Some output may be left (a TLS alert).
    pub fn event(&mut self) -> Result<Event<'_>, ExchangeError> {
        if self.read == self.inbox.len() {
            self.inbox.clear();
            self.read = 0;
        }
        let rest = self.inbox.get(self.read..).unwrap_or_default();
        let (used, event) = self.reader.step(rest).map_err(ExchangeError::Http)?;
        self.read += used;
        match event {
            Event::More => match self.end {
                None => Ok(Event::More),
                Some(Err(error)) => Err(error),
                Some(Ok(())) => {
                    self.reader.end().map_err(ExchangeError::Http)?;
                    Ok(Event::Done)
                }
            },
            Event::Head(head) => {
                self.has_head = true;
                Ok(Event::Head(head))
            }
            event => Ok(event),
        }
    }

    /// Says goodbye within TLS; that is output then.
    pub fn close(&mut self) {
        if let Shield::Tls(session) = &mut self.shield {
            session.close();
        }
    }

    /// How far it is.
    pub fn stage(&self) -> Stage {
        match &self.shield {
            Shield::Tls(session) if !session.is_open() => Stage::Handshake,
            _ if self.has_head => Stage::Body,
            _ if self.written < self.request.len() || self.sent < self.outgoing.len() => Stage::Send,
            _ => Stage::Answer,
        }
    }
}
