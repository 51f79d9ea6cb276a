//! The story of a request: resolve, connect, TLS, send, read, close. One connection for each request.

mod code;
mod error;
mod sink;

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::net::{Ipv4Addr, SocketAddrV4};
use core::time::Duration;

use embassy_futures::select::{Either, select};
use smoltcp::phy::Device;

use crate::exchange::{Exchange, ExchangeError, Shield, Stage};
use crate::http::{Event, Head, Headers, Limits, Method, Request, ResponseReader};
use crate::net::{Buffers, Entropy, Got, Stack, TcpStream};
use crate::question::{Question, Step};
use crate::resolver::{MAX_MESSAGE, ResolveError, Resolver};
use crate::sntp;
use crate::time::{Timer, until};
use crate::tls::{Session, TlsConfig};
use crate::url::{Host, Scheme, Url};

pub use error::{Cause, Class, FetchError};
pub use sink::{Refused, Sink, Start};

/// Redirects that a download follows.
const MAX_REDIRECTS: u8 = 5;
/// The most parts of one download: a server may give less of it at a time than it is asked for.
const MAX_PARTS: u32 = 1024;
/// Addresses of one name that are tried.
const MAX_DIALS: usize = 3;
/// Time servers that are asked in one go, and how long that may take.
const MAX_TIME_SERVERS: usize = 4;
const TIME_LIMIT: Duration = Duration::from_secs(60);
/// How much of an error's body is kept, in bytes.
const MAX_COMPLAINT: usize = 1024;

/// How long is waited for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For a TCP connection to one address.
    pub dial: Duration,
    /// For a whole exchange of the API, from the connection to the last byte of the answer.
    pub exchange: Duration,
    /// For the next byte, in downloads, which have no limit on the whole.
    pub stall: Duration,
}

impl Default for Timeouts {
    /// EVE's `timer.dial.timeout` and `timer.send.timeout`: 10 s and 120 s. Downloads may stand still for 60 s.
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Timeouts { dial: seconds(10), exchange: seconds(120), stall: seconds(60) }
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The fields.
    pub headers: Headers,
    /// The body. After a download: empty, or the first bytes of what the server says instead.
    pub body: Vec<u8>,
}

/// Fetches. It is shared by all tasks that have something to ask; their requests run side by side.
pub struct Client<'a, D: Device, T: Timer> {
    stack: &'a Stack<D>,
    timer: T,
    entropy: Entropy,
    resolver: Rc<RefCell<Resolver>>,
    tls: RefCell<Option<TlsConfig>>,
    timeouts: Timeouts,
}

impl<'a, D: Device, T: Timer> Client<'a, D, T> {
    /// A client over `stack`. It needs [`Client::set_tls`] before it can speak with `https` servers, and
    /// [`Client::resolver`] hosts or servers before it knows names.
    pub fn new(stack: &'a Stack<D>, timer: T, entropy: Entropy) -> Self {
        let timeouts = Timeouts::default();
        Client { stack, timer, entropy, resolver: Rc::default(), tls: RefCell::new(None), timeouts }
    }

    /// Takes other time-outs than the usual ones.
    pub fn with_timeouts(self, timeouts: Timeouts) -> Self {
        Client { timeouts, ..self }
    }

    /// Trusts and shows from now on what `config` says.
    pub fn set_tls(&self, config: TlsConfig) {
        self.tls.replace(Some(config));
    }

    /// A client that shares everything but what it trusts and shows, as for a content store with its own roots.
    pub fn trusting(&self, config: TlsConfig) -> Self
    where
        T: Clone,
    {
        Client {
            stack: self.stack,
            timer: self.timer.clone(),
            entropy: self.entropy,
            resolver: self.resolver.clone(),
            tls: RefCell::new(Some(config)),
            timeouts: self.timeouts,
        }
    }

    /// Lends the resolver, to give it hosts and servers.
    pub fn resolver<R>(&self, change: impl FnOnce(&mut Resolver) -> R) -> R {
        change(&mut self.resolver.borrow_mut())
    }

    /// Asks the API: the whole answer, of any status, with a body of up to 1 MiB. No redirect is followed.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn fetch(&self, request: &Request<'_>) -> Result<Response, FetchError> {
        self.fetch_up_to(request, Limits::default().body).await
    }

    /// [`Client::fetch`] with another limit for the body, in bytes.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn fetch_up_to(&self, request: &Request<'_>, limit: u64) -> Result<Response, FetchError> {
        let end = self.timer.now() + request.time_limit().unwrap_or(self.timeouts.exchange);
        let mut body = Vec::new();
        let terms = Terms { limit, buffers: Buffers::SMALL, end: Some(end), stall: self.timeouts.stall };
        match self.exchange(request, terms, &mut Everything(&mut body)).await {
            Ok(Head { status, headers, .. }) => Ok(Response { status, headers, body }),
            Err(cause) => Err(FetchError::new(request.url(), cause)),
        }
    }

    /// Downloads up to `limit` bytes into `sink`, following redirects. Statuses other than 200 and 206 leave the sink
    /// untouched, and what the server says is in the answer's body. A request made with
    /// [`Request::from_byte`] resumes if the server can; the sink is told where it begins. What the server leaves out
    /// at the end of such an answer is asked for at once, and the sink is told again where that begins.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn download<S: Sink>(
        &self,
        request: &Request<'_>,
        limit: u64,
        sink: &mut S,
    ) -> Result<Response, FetchError> {
        let mut request = request.clone();
        let end = request.time_limit().map(|time| self.timer.now() + time);
        let (mut redirects, mut parts) = (0, 1);
        loop {
            let mut body = Vec::new();
            let stall = request.stall_limit().unwrap_or(self.timeouts.stall);
            let terms = Terms { limit, buffers: Buffers::DOWNLOAD, end, stall };
            let mut content = sink::Content::new(sink, &mut body, &request, limit);
            let exchanged = self.exchange(&request, terms, &mut content).await;
            let rest = content.rest();
            let failed = |cause| FetchError::new(request.url(), cause);
            let head = exchanged.map_err(failed)?;
            match next_question(&request, &head, rest).map_err(failed)? {
                None => return Ok(Response { status: head.status, headers: head.headers, body }),
                Some(Next::Place(_)) if redirects >= MAX_REDIRECTS => {
                    return Err(failed(Cause::TooManyRedirects { limit: MAX_REDIRECTS }));
                }
                Some(Next::Place(url)) => {
                    redirects += 1;
                    request = request.moved_to(url);
                }
                Some(Next::Part(have)) if parts >= MAX_PARTS => return Err(failed(Cause::Partial { have })),
                Some(Next::Part(have)) => {
                    parts += 1;
                    request = request.from_byte(have);
                }
            }
        }
    }

    /// Asks time servers, one after the other, until one tells the time; with its place among them. Together they have a
    /// minute.
    ///
    /// # Errors
    /// [`sntp::TimeError`] of the last one.
    pub async fn time(&self, servers: &[sntp::Server]) -> Result<(usize, sntp::Reading), sntp::TimeError> {
        let mut last = sntp::TimeError::NoServer;
        let asking = async {
            for (place, server) in servers.iter().take(MAX_TIME_SERVERS).enumerate() {
                match self.time_from(server).await {
                    Ok(reading) => return Ok((place, reading)),
                    Err(error) => last = error,
                }
            }
            Err(last)
        };
        let end = self.timer.now() + TIME_LIMIT;
        until(&self.timer, end, asking).await.unwrap_or(Err(sntp::TimeError::TooLong))
    }

    async fn time_from(&self, server: &sntp::Server) -> Result<sntp::Reading, sntp::TimeError> {
        let addresses = match &server.host {
            Host::V4(address) => alloc::vec![*address],
            Host::Name(name) => self.resolve(name).await.map_err(sntp::TimeError::Resolve)?,
        };
        let addresses: Vec<_> =
            addresses.into_iter().map(|address| SocketAddrV4::new(address, server.port)).collect();
        let end = self.ask(sntp::Query::new(&addresses)).await;
        if let (Err(_), Host::Name(name)) = (&end, &server.host) {
            self.resolver.borrow_mut().forget(name);
        }
        end
    }

    async fn exchange(
        &self,
        request: &Request<'_>,
        terms: Terms,
        taker: &mut impl Taker,
    ) -> Result<Head, Cause> {
        let url = request.url();
        let shield = match url.scheme() {
            Scheme::Http => Shield::Plain,
            Scheme::Https => {
                let tls = self.tls.borrow();
                let config = tls.as_ref().ok_or(Cause::NoTls)?;
                let session = Session::new(config, url.host());
                Shield::Tls(Box::new(session.map_err(|error| Cause::Exchange(ExchangeError::Tls(error)))?))
            }
        };
        let patience = request.dial_limit().unwrap_or(self.timeouts.dial);
        let (began, dial) = (self.timer.now(), self.dial(url, terms.buffers, patience));
        let stream = match terms.end {
            None => dial.await?,
            Some(end) => until(&self.timer, end, dial).await.ok_or_else(|| Cause::TimedOut {
                stage: Stage::Connect,
                after: self.timer.now().saturating_sub(began),
            })??,
        };
        let limits = Limits { body: terms.limit, ..Limits::default() };
        let reader = ResponseReader::new(request.method(), limits);
        let mut id = [0; 16];
        (self.entropy)(&mut id);
        let mut exchange = Exchange::new(shield, request.emit(Some(id)), reader);
        let end = self.converse(&stream, &mut exchange, terms, taker).await;
        // What is left to say (a goodbye, an alert) is said if there is room; nobody waits for it. An answer that is
        // not wanted any more is cut off: dropping the stream resets the connection.
        exchange.close();
        let said = stream.try_write(exchange.output());
        if said.is_ok() && matches!(end, Ok(_) | Err(Cause::Exchange(ExchangeError::Tls(_)))) {
            stream.close();
        }
        end
    }

    /// Moves bytes and the answer until it is complete.
    async fn converse(
        &self,
        stream: &TcpStream<'_, D>,
        exchange: &mut Exchange,
        Terms { end, stall, .. }: Terms,
        taker: &mut impl Taker,
    ) -> Result<Head, Cause> {
        let began = self.timer.now();
        let (mut head, mut moved) = (None, began);
        let mut arrived = Vec::new();
        loop {
            loop {
                match exchange.event()? {
                    Event::More => break,
                    Event::Head(new) => {
                        taker.head(&new)?;
                        head = Some(new);
                    }
                    Event::Body(bytes) => taker.body(bytes).await?,
                    // The reader tells the head before the end.
                    Event::Done => return head.ok_or(Cause::Exchange(ExchangeError::Reset)),
                }
            }
            let mut progress = false;
            let output = exchange.output();
            if !output.is_empty() {
                match stream.try_write(output) {
                    Ok(count) => {
                        exchange.output_sent(count);
                        progress |= count > 0;
                    }
                    // Perhaps an answer came before the reset; reading will tell.
                    Err(_) if stream.is_readable() => exchange.output_sent(usize::MAX),
                    Err(_) => exchange.reset(),
                }
            }
            arrived.clear();
            match stream.try_read(&mut arrived) {
                Ok(Got::Bytes(_)) => {
                    exchange.input(&arrived);
                    progress = true;
                }
                Ok(Got::Nothing) => {}
                Ok(Got::End) => {
                    exchange.input_end();
                    progress = true;
                }
                Err(_) => {
                    exchange.reset();
                    progress = true;
                }
            }
            if progress {
                moved = self.timer.now();
                if end.is_none_or(|end| moved < end) {
                    continue;
                }
            }
            let to_write = !exchange.output().is_empty();
            let (deadline, since) = match end {
                Some(end) => (end, began),
                None => (moved + stall, moved),
            };
            if until(&self.timer, deadline, stream.ready(to_write)).await.is_none()
                || self.timer.now() >= deadline
            {
                let after = self.timer.now().saturating_sub(since);
                return Err(Cause::TimedOut { stage: exchange.stage(), after });
            }
        }
    }

    async fn dial(&self, url: &Url, buffers: Buffers, patience: Duration) -> Result<TcpStream<'_, D>, Cause> {
        let addresses = match url.host() {
            Host::V4(address) => alloc::vec![*address],
            Host::Name(name) => self.resolve(name).await?,
        };
        let mut last = Cause::Resolve(ResolveError::NoAddress);
        for address in addresses.into_iter().take(MAX_DIALS) {
            let to = SocketAddrV4::new(address, url.port());
            match self.stack.connect(&self.timer, to, buffers, patience).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Cause::Dial { to, error },
            }
        }
        if let Host::Name(name) = url.host() {
            self.resolver.borrow_mut().forget(name);
        }
        Err(last)
    }

    /// The addresses of a name: one at least.
    async fn resolve(&self, name: &str) -> Result<Vec<Ipv4Addr>, ResolveError> {
        if let Some(addresses) = self.resolver.borrow_mut().known(name, self.timer.now()) {
            return Ok(addresses);
        }
        let lookup = self.resolver.borrow().lookup(name)?;
        let answer = self.ask(lookup).await?;
        self.resolver.borrow_mut().remember(name, &answer, self.timer.now());
        Ok(answer.addresses)
    }

    /// Asks by UDP until there is an end.
    async fn ask<Q: Question>(&self, mut question: Q) -> Q::End {
        let mut socket = None;
        loop {
            let mut nonce = [0; 8];
            (self.entropy)(&mut nonce);
            let wait = match question.step(self.timer.now(), u64::from_le_bytes(nonce)) {
                Step::Done(end) => return end,
                Step::Wait { until } => until,
                Step::Send { to, packet, until } => {
                    // The new port is taken while the old one is still in use, so they differ.
                    let fresh = self.stack.udp();
                    fresh.send(to, &packet);
                    socket = Some(fresh);
                    until
                }
            };
            let Some(socket) = &socket else { continue };
            let mut packet = [0; MAX_MESSAGE];
            let alarm = self.timer.sleep_until(wait);
            if let Either::First((length, from)) =
                select(socket.receive(&mut packet), core::pin::pin!(alarm)).await
            {
                question.input(self.timer.now(), from, packet.get(..length).unwrap_or_default());
            }
        }
    }
}

/// What holds for one exchange.
#[derive(Clone, Copy)]
struct Terms {
    limit: u64,
    buffers: Buffers,
    /// When it has to be over; without it, it may go on for as long as something moves.
    end: Option<Duration>,
    /// How long nothing may move then.
    stall: Duration,
}

/// Who takes the answer as it comes.
trait Taker {
    fn head(&mut self, head: &Head) -> Result<(), Cause>;
    async fn body(&mut self, bytes: &[u8]) -> Result<(), Cause>;
}

struct Everything<'a>(&'a mut Vec<u8>);

impl Taker for Everything<'_> {
    fn head(&mut self, _: &Head) -> Result<(), Cause> {
        Ok(())
    }

    async fn body(&mut self, bytes: &[u8]) -> Result<(), Cause> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// What a download asks for next.
enum Next {
    /// Another place.
    Place(Url),
    /// The whole from this byte on.
    Part(u64),
}

/// What is asked for after an answer, of which `rest` tells what it has left out; nothing if that was all.
fn next_question(request: &Request<'_>, head: &Head, rest: Option<u64>) -> Result<Option<Next>, Cause> {
    if let Some(url) = next_place(request, head)? {
        return Ok(Some(Next::Place(url)));
    }
    let Some(have) = rest else { return Ok(None) };
    // Without a byte more than before it would go on for ever.
    let moved = request.first_byte().is_some_and(|asked| asked < have);
    if moved { Ok(Some(Next::Part(have))) } else { Err(Cause::Partial { have }) }
}

/// Where a redirect leads; `None` if it is none.
fn next_place(request: &Request<'_>, head: &Head) -> Result<Option<Url>, Cause> {
    let moved = matches!(head.status, 301 | 302 | 303 | 307 | 308);
    let asks_only = matches!(request.method(), Method::Get | Method::Head);
    let (true, true, Some(location)) = (moved, asks_only, head.headers.get("location")) else {
        return Ok(None);
    };
    let url = request.url().join(location).map_err(Cause::Redirect)?;
    if request.url().scheme() == Scheme::Https && url.scheme() == Scheme::Http {
        return Err(Cause::RedirectToPlain);
    }
    Ok(Some(url))
}

#[cfg(test)]
mod tests;
