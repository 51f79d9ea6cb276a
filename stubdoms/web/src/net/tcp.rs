use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::future::poll_fn;
use core::net::SocketAddrV4;
use core::task::{Context, Poll};
use core::time::Duration;

use smoltcp::iface::SocketHandle;
use smoltcp::phy::Device;
use smoltcp::socket::tcp::{CongestionControl, RecvError, Socket, SocketBuffer, State};
use smoltcp::wire::IpAddress;

use super::Stack;
use super::stack::is_host;
use crate::time::{Timer, until};

/// How much a connection may hold, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffers {
    /// Received and not yet read; the window that the other end sees.
    pub receive: usize,
    /// Sent and not yet acknowledged.
    pub send: usize,
}

impl Buffers {
    /// For requests and answers of the API.
    pub const SMALL: Buffers = Buffers { receive: 16 << 10, send: 16 << 10 };
    /// For downloads.
    pub const DOWNLOAD: Buffers = Buffers { receive: 128 << 10, send: 4 << 10 };
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialError {
    /// The other end is there and refused: nobody listens on that port.
    Refused,
    /// No answer came in time.
    TimedOut {
        /// How long we waited.
        after: Duration,
    },
    /// The address belongs to another network and there is no gateway.
    NoRoute,
    /// That is not the address of a host.
    NoHost,
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DialError::Refused => f.write_str("the connection was refused"),
            DialError::TimedOut { after } => write!(f, "no connection within {} s", after.as_secs()),
            DialError::NoRoute => f.write_str("no gateway leads to the address"),
            DialError::NoHost => f.write_str("the address is not a host's"),
        }
    }
}

impl core::error::Error for DialError {}

/// The connection was reset: by the other end, or because it is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reset;

/// What a look at the receive side found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Got {
    /// This many bytes, at least one.
    Bytes(usize),
    /// Nothing now.
    Nothing,
    /// The other end has sent all it had.
    End,
}

/// A connection. Dropped without [`TcpStream::close`] it is reset.
pub struct TcpStream<'a, D: Device> {
    stack: &'a Stack<D>,
    handle: SocketHandle,
    closed: bool,
}

impl<D: Device> Stack<D> {
    /// Opens a connection from a random port.
    ///
    /// # Errors
    /// [`DialError`].
    pub async fn connect<T: Timer>(
        &self,
        timer: &T,
        to: SocketAddrV4,
        buffers: Buffers,
        within: Duration,
    ) -> Result<TcpStream<'_, D>, DialError> {
        if !is_host(*to.ip()) || to.port() == 0 {
            return Err(DialError::NoHost);
        }
        if !self.has_route(*to.ip()) {
            return Err(DialError::NoRoute);
        }
        let stream = self.begin(to, buffers)?;
        let established = poll_fn(|cx| {
            stream.socket(|socket| match socket.state() {
                State::SynSent | State::SynReceived => {
                    socket.register_send_waker(cx.waker());
                    Poll::Pending
                }
                State::Closed => Poll::Ready(Err(DialError::Refused)),
                _ => Poll::Ready(Ok(())),
            })
        });
        match until(timer, timer.now() + within, established).await {
            Some(end) => end.map(|()| stream),
            None => Err(DialError::TimedOut { after: within }),
        }
    }

    fn begin(&self, to: SocketAddrV4, buffers: Buffers) -> Result<TcpStream<'_, D>, DialError> {
        let port = self.free_port();
        let mut socket = Socket::new(
            SocketBuffer::new(vec![0; buffers.receive]),
            SocketBuffer::new(vec![0; buffers.send]),
        );
        socket.set_congestion_control(CongestionControl::Reno);
        // Requests are written whole; waiting to fill a segment would only delay their end.
        socket.set_nagle_enabled(false);
        let mut inner = self.inner.borrow_mut();
        let remote = (IpAddress::Ipv4(*to.ip()), to.port());
        socket.connect(inner.interface.context(), remote, port).map_err(|_| DialError::NoHost)?;
        let handle = inner.sockets.add(socket);
        drop(inner);
        self.kick();
        Ok(TcpStream { stack: self, handle, closed: false })
    }
}

impl<D: Device> TcpStream<'_, D> {
    /// Queues bytes and says how many there was room for.
    ///
    /// # Errors
    /// [`Reset`].
    pub fn try_write(&self, bytes: &[u8]) -> Result<usize, Reset> {
        let written = self.socket(|socket| socket.send_slice(bytes)).map_err(|_| Reset)?;
        self.stack.kick();
        Ok(written)
    }

    /// Moves what came to the end of `into`.
    ///
    /// # Errors
    /// [`Reset`].
    pub fn try_read(&self, into: &mut Vec<u8>) -> Result<Got, Reset> {
        let before = into.len();
        let end = self.socket(|socket| {
            // The ring's content is in two pieces at most.
            for _ in 0..2 {
                match socket.recv(|bytes| {
                    into.extend_from_slice(bytes);
                    (bytes.len(), ())
                }) {
                    Ok(()) => {}
                    Err(RecvError::Finished) => return Ok(Got::End),
                    Err(RecvError::InvalidState) => return Err(Reset),
                }
            }
            Ok(Got::Nothing)
        });
        match into.len() - before {
            0 => end,
            count => {
                // The window is open again; the other end should hear of it.
                self.stack.kick();
                Ok(Got::Bytes(count))
            }
        }
    }

    /// True if something came that was not read yet.
    pub fn is_readable(&self) -> bool {
        self.socket(|socket| socket.can_recv())
    }

    /// Ends when there is something to read, an end included, or, with `to_write`, room to write.
    pub async fn ready(&self, to_write: bool) {
        poll_fn(|cx| self.socket(|socket| look(socket, to_write, cx))).await
    }

    /// Sends what is queued, then says that nothing more will come. Returns at once.
    pub fn close(mut self) {
        self.closed = true;
        self.socket(|socket| socket.close());
    }

    fn socket<R>(&self, look: impl FnOnce(&mut Socket<'static>) -> R) -> R {
        look(self.stack.inner.borrow_mut().sockets.get_mut(self.handle))
    }
}

fn look(socket: &mut Socket<'static>, to_write: bool, cx: &mut Context<'_>) -> Poll<()> {
    if socket.can_recv() || !socket.may_recv() || (to_write && (socket.can_send() || !socket.may_send())) {
        return Poll::Ready(());
    }
    socket.register_recv_waker(cx.waker());
    socket.register_send_waker(cx.waker());
    Poll::Pending
}

impl<D: Device> Drop for TcpStream<'_, D> {
    fn drop(&mut self) {
        if !self.closed {
            self.socket(|socket| socket.abort());
        }
        self.stack.leave(self.handle);
    }
}
