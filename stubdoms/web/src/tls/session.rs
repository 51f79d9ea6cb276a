use alloc::vec::Vec;
use core::{fmt, mem};

use rustls::client::UnbufferedClientConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};
use rustls_pki_types::{IpAddr, ServerName};

use super::{TlsConfig, TlsError};
use crate::url::Host;

/// Most bytes that may wait for the rest of their record or handshake message: rustls reads messages of up to
/// 64 KiB, in records of up to 18 KiB.
const MAX_PENDING: usize = (64 << 10) + (18 << 10);
/// Most bytes that are encrypted in one go.
const MAX_WRITE: usize = 16 << 10;

/// One connection: the server's bytes go in by [`feed`](Session::feed), ours come out by [`pull`](Session::pull).
pub struct Session {
    connection: UnbufferedClientConnection,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    plain: Vec<u8>,
    open: bool,
    peer_closed: bool,
    closing: bool,
    failed: Option<TlsError>,
}

/// What is to be done as soon as application data may be sent.
enum Wish<'a> {
    Nothing,
    Send(&'a [u8]),
    Close,
}

impl Session {
    /// Begins a session with `host`; its first bytes can be pulled at once. A name is sent as SNI and must be in the
    /// certificate; an address is not sent and must be among its addresses.
    ///
    /// # Errors
    /// [`TlsError::ServerName`], or [`TlsError::NoEntropy`].
    pub fn new(config: &TlsConfig, host: &Host) -> Result<Self, TlsError> {
        let name = match host {
            Host::Name(name) => {
                ServerName::try_from(name.as_str()).map_err(|_| TlsError::ServerName)?.to_owned()
            }
            Host::V4(address) => ServerName::IpAddress(IpAddr::V4(address.octets().into())),
        };
        let connection = UnbufferedClientConnection::new(config.client.clone(), name)?;
        let mut session = Session {
            connection,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            plain: Vec::new(),
            open: false,
            peer_closed: false,
            closing: false,
            failed: None,
        };
        session.drive(Wish::Nothing)?;
        Ok(session)
    }

    /// Takes bytes that came from the server. What is to be answered, an alert included, can be pulled afterwards,
    /// also after an error.
    ///
    /// # Errors
    /// [`TlsError`]; the session is over then.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), TlsError> {
        self.incoming.extend_from_slice(bytes);
        self.drive(Wish::Nothing)?;
        if self.incoming.len() > MAX_PENDING {
            return Err(TlsError::TooMuchPending { limit: MAX_PENDING });
        }
        Ok(())
    }

    /// The server's end of the connection was closed.
    ///
    /// # Errors
    /// [`TlsError::Truncated`] unless the server said so within the session.
    pub fn end(&self) -> Result<(), TlsError> {
        if self.peer_closed { Ok(()) } else { Err(TlsError::Truncated) }
    }

    /// Moves what is to be sent to the server to the end of `into`.
    pub fn pull(&mut self, into: &mut Vec<u8>) {
        if into.is_empty() {
            mem::swap(into, &mut self.outgoing);
        } else {
            into.append(&mut self.outgoing);
        }
    }

    /// True once the handshake is over: the server is who it should be, and data can be written.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// True once the server has said that nothing more will come.
    pub fn is_peer_closed(&self) -> bool {
        self.peer_closed
    }

    /// Encrypts data for the server and says how much of it was taken (at most 16 KiB at a time).
    ///
    /// # Errors
    /// [`TlsError::NotOpen`] before the end of the handshake or after [`Session::close`].
    pub fn write(&mut self, data: &[u8]) -> Result<usize, TlsError> {
        if !self.open || self.closing {
            return Err(TlsError::NotOpen);
        }
        let data = data.get(..MAX_WRITE).unwrap_or(data);
        self.drive(Wish::Send(data))?;
        Ok(data.len())
    }

    /// Moves the server's data to the end of `into`.
    pub fn read(&mut self, into: &mut Vec<u8>) {
        if into.is_empty() {
            mem::swap(into, &mut self.plain);
        } else {
            into.append(&mut self.plain);
        }
    }

    /// Says that nothing more will come from us.
    pub fn close(&mut self) {
        if self.open && !self.closing {
            self.closing = true;
            // A session that cannot even say goodbye is simply left.
            let _ = self.drive(Wish::Close);
        }
    }

    /// Lets rustls work until it wants more input.
    fn drive(&mut self, mut wish: Wish<'_>) -> Result<(), TlsError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        // What is done with is cut off once, not record by record: a download brings many of them.
        let mut done = 0;
        loop {
            let Session { connection, incoming, outgoing, plain, .. } = self;
            let rest = incoming.get_mut(done..).unwrap_or_default();
            let UnbufferedStatus { mut discard, state } = connection.process_tls_records(rest);
            let mut idle = false;
            let mut failure = None;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        match record {
                            Ok(record) => {
                                discard += record.discard;
                                plain.extend_from_slice(record.payload);
                            }
                            Err(error) => failure = Some(error.into()),
                        }
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    if grow(outgoing, |room| data.encode(room)).is_err() {
                        failure = Some(TlsError::Protocol);
                    }
                }
                // Our output keeps its order, so it counts as transmitted once it stands there.
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.peer_closed = true,
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    self.open = true;
                    match mem::replace(&mut wish, Wish::Nothing) {
                        Wish::Nothing => idle = true,
                        Wish::Send(data) => {
                            if grow(outgoing, |room| traffic.encrypt(data, room)).is_err() {
                                failure = Some(TlsError::Protocol);
                            }
                        }
                        Wish::Close => {
                            if grow(outgoing, |room| traffic.queue_close_notify(room)).is_err() {
                                failure = Some(TlsError::Protocol);
                            }
                        }
                    }
                }
                Ok(ConnectionState::BlockedHandshake | ConnectionState::Closed) => idle = true,
                // Early data is for servers; further states do not exist in this version.
                Ok(_) => failure = Some(TlsError::Protocol),
                Err(error) => failure = Some(error.into()),
            }
            done += discard;
            if idle || failure.is_some() {
                self.incoming.drain(..done.min(self.incoming.len()));
            }
            if let Some(error) = failure {
                self.flush_alert();
                self.failed = Some(error);
                return Err(error);
            }
            if idle {
                return Ok(());
            }
        }
    }

    /// After a failure: takes out what rustls still wants to tell the server. It is asked only while it has something,
    /// for it would look at the offending bytes again.
    fn flush_alert(&mut self) {
        while self.connection.wants_write() {
            let status = self.connection.process_tls_records(&mut self.incoming);
            let Ok(ConnectionState::EncodeTlsData(mut data)) = status.state else { return };
            if grow(&mut self.outgoing, |room| data.encode(room)).is_err() {
                return;
            }
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("open", &self.open).field("peer_closed", &self.peer_closed).finish()
    }
}

/// An error that may only say that the room was too small.
trait MayLackRoom {
    fn required(&self) -> Option<usize>;
}

impl MayLackRoom for EncodeError {
    fn required(&self) -> Option<usize> {
        match self {
            EncodeError::InsufficientSize(InsufficientSizeError { required_size }) => Some(*required_size),
            EncodeError::AlreadyEncoded => None,
        }
    }
}

impl MayLackRoom for EncryptError {
    fn required(&self) -> Option<usize> {
        match self {
            EncryptError::InsufficientSize(InsufficientSizeError { required_size }) => Some(*required_size),
            EncryptError::EncryptExhausted => None,
        }
    }
}

/// Lets `write` put its bytes behind the end of `buffer`, with as much room as it says it needs.
fn grow<E: MayLackRoom>(
    buffer: &mut Vec<u8>,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, E>,
) -> Result<(), E> {
    let start = buffer.len();
    let mut room = 0;
    loop {
        buffer.resize(start + room, 0);
        let tried = write(buffer.get_mut(start..).unwrap_or_default());
        buffer.truncate(start + *tried.as_ref().unwrap_or(&0));
        match tried {
            Ok(_) => return Ok(()),
            Err(error) => match error.required() {
                Some(required) if required > room => room = required,
                _ => return Err(error),
            },
        }
    }
}
