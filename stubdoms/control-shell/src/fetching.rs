//! What the agent asks over HTTP, as one task for each exchange.

use alloc::{
    format,
    rc::Rc,
    string::{String, ToString},
    vec::Vec,
};
use core::time::Duration;

use embassy_futures::select::{Either, select};
use embassy_sync::{blocking_mutex::raw::NoopRawMutex, signal::Signal};
use proto_errors::Coded;
use stubdoms_agent::{
    Destination, Download, DownloadError, DownloadId, FailureKind, HttpFailure, MAX_BODY, Method, Request,
    Response, TimeReading,
};
use stubdoms_web::{
    client::{Class, FetchError, Refused, Sink, Start},
    http, sntp,
    time::Timer,
    url::Url,
};

use crate::{brain::Brain, clock::Alarm, contents::Receiving, storage::Storage, system::System, web::Web};

/// How long the agent goes at most without a word while bytes come in. Far below the least that
/// `timer.download.stalled` may be, which is 20 s.
const TELL_AGAIN: Duration = Duration::from_secs(3);

/// Rung when a download is not wanted any more.
pub(crate) type Cancelled = Rc<Signal<NoopRawMutex, ()>>;

/// Carries out a request towards the controller and tells the agent how it ended.
pub(crate) async fn request<S: System>(web: &'static Web<S>, request: Request, brain: Brain<S>) {
    let id = request.id;
    let result = exchange(web, request, &brain).await;
    brain.tell(|agent, now| agent.on_response(now, id, result));
}

/// Asks time servers and tells the agent what one of them said. What is no server's name is passed over.
pub(crate) async fn time<S: System>(web: &'static Web<S>, servers: Vec<String>, brain: Brain<S>) {
    let (names, servers): (Vec<String>, Vec<sntp::Server>) = servers
        .into_iter()
        .filter_map(|name| sntp::Server::parse(&name).ok().map(|server| (name, server)))
        .unzip();
    let answer = match web.usual().time(&servers).await {
        Ok((place, reading)) => Ok(TimeReading {
            name: names.get(place).cloned().unwrap_or_default(),
            address: reading.server,
            stratum: reading.stratum,
            since_1970: reading.since_1970,
            at_ns: u64::try_from(reading.at.as_nanos()).unwrap_or(u64::MAX),
            within: reading.within,
        }),
        Err(error) => Err(format!("no time from {}: {error}", names.join(" "))),
    };
    brain.tell(|agent, now| agent.on_time(now, answer));
}

async fn exchange<S: System>(
    web: &Web<S>,
    request: Request,
    brain: &Brain<S>,
) -> Result<Response, HttpFailure> {
    let method = match request.method {
        Method::Get => http::Method::Get,
        Method::Post => http::Method::Post,
    };
    let url = parse(&request.url)?;
    let mut built =
        http::Request::new(method, url).within(request.timeout).dial_within(request.dial).body(request.body);
    for (name, value) in &request.headers {
        built = built.field(name, value).map_err(local)?;
    }
    let response = web.usual().fetch_up_to(&built, MAX_BODY as u64).await.map_err(|error| failure(&error))?;
    // What came over TLS: the agent asks for nothing else.
    if let Some(seconds) = response.headers.get("date").and_then(http::parse_date) {
        brain.tell(|agent, now| agent.on_controller_date(now, seconds));
    }
    Ok(Response {
        status: response.status,
        content_type: response.headers.get("content-type").map(ToString::to_string),
        body: response.body,
    })
}

/// Downloads a content, holds it if its hash is right, and tells the agent; ends without a word when
/// it is cancelled.
pub(crate) async fn download<S: System>(
    web: &'static Web<S>,
    download: Download,
    cancelled: Cancelled,
    brain: Brain<S>,
    storage: Option<Storage>,
) {
    let id = download.id;
    let received = async {
        match (download.into, &storage) {
            (Destination::Slot { from }, Some(storage)) => {
                pass_on(web, &download, from, &brain, storage).await
            }
            // Without storage nobody asks for a slot.
            (Destination::Slot { .. }, None) => Err(DownloadError::TooLarge),
            (Destination::Memory, _) => receive(web, &download, &brain).await,
        }
    };
    if let Either::First(result) = select(received, cancelled.wait()).await {
        brain.tell(|agent, now| agent.on_download_done(now, id, result));
    }
}

/// Gives a content to the agent as it comes, at the pace that storage sets.
async fn pass_on<S: System>(
    web: &Web<S>,
    download: &Download,
    from: u64,
    brain: &Brain<S>,
    storage: &Storage,
) -> Result<u64, DownloadError> {
    let mut request = request_for(download)?;
    if from > 0 {
        request = request.from_byte(from);
    }
    let mut sink = PassingOn { id: download.id, brain, storage, total: None, given: from };
    fetch_into(web, download, &request, &mut sink).await?;
    Ok(sink.given)
}

/// The agent takes the bytes.
struct PassingOn<'a, S> {
    id: DownloadId,
    brain: &'a Brain<S>,
    storage: &'a Storage,
    total: Option<u64>,
    given: u64,
}

impl<S: System> Sink for PassingOn<'_, S> {
    fn begin(&mut self, start: Start) -> Result<(), Refused> {
        (self.total, self.given) = (start.total, start.offset);
        let fits = self.brain.tell(|agent, now| agent.on_download_start(now, self.id, start.offset));
        if fits { Ok(()) } else { Err(Refused) }
    }

    async fn chunk(&mut self, mut bytes: &[u8]) -> Result<(), Refused> {
        loop {
            let (id, total) = (self.id, self.total);
            let taken = self.brain.tell(|agent, now| agent.on_download_bytes(now, id, bytes, total));
            self.given += taken as u64;
            bytes = bytes.get(taken..).unwrap_or_default();
            if bytes.is_empty() {
                return Ok(());
            }
            self.storage.moved().await;
        }
    }
}

fn request_for(download: &Download) -> Result<http::Request<'_>, DownloadError> {
    let url = parse(&download.url).map_err(DownloadError::Http)?;
    let mut request = http::Request::get(url).dial_within(download.dial).stall_within(download.stall);
    for (name, value) in &download.headers {
        request = request.field(name, value).map_err(|error| DownloadError::Http(local(error)))?;
    }
    Ok(request)
}

/// Downloads into a sink; anything but the content is an error.
async fn fetch_into<S: System>(
    web: &Web<S>,
    download: &Download,
    request: &http::Request<'_>,
    sink: &mut impl Sink,
) -> Result<(), DownloadError> {
    let limit = download.max_bytes;
    let outcome = if download.trust_pem.is_empty() {
        web.usual().download(request, limit, sink).await
    } else {
        let client = web.trusting(&download.trust_pem).map_err(|error| {
            let text = format!("certificates of the datastore: {error}");
            DownloadError::Http(HttpFailure { kind: FailureKind::Local, text })
        })?;
        client.download(request, limit, sink).await
    };
    match outcome {
        Ok(response) if matches!(response.status, 200 | 206) => Ok(()),
        Ok(response) => Err(DownloadError::Status(response.status)),
        Err(error) => {
            let failure = failure(&error);
            Err(match failure.kind {
                FailureKind::TooLarge => DownloadError::TooLarge,
                _ => DownloadError::Http(failure),
            })
        }
    }
}

async fn receive<S: System>(
    web: &Web<S>,
    download: &Download,
    brain: &Brain<S>,
) -> Result<u64, DownloadError> {
    let request = request_for(download)?;
    let id = download.id;
    let alarm = Alarm(brain.system().clone());
    let mut total = None;
    let mut told: Option<(Option<u64>, Duration)> = None;
    let mut sink = Receiving::new(download.max_bytes, |received: u64, announced: Option<u64>| {
        total = announced.or(total);
        // The agent hears of each hundredth, not of each segment. A slow download, or one of unknown
        // length, must not look as if it stood still: the agent gives those up.
        let percent = total.filter(|&total| total > 0).map(|total| received.saturating_mul(100) / total);
        let now = alarm.now();
        if told.is_none_or(|(before, at)| before != percent || now.saturating_sub(at) >= TELL_AGAIN) {
            told = Some((percent, now));
            brain.tell(|agent, now| agent.on_download_progress(now, id, received, total));
        }
    });
    let outcome = fetch_into(web, download, &request, &mut sink).await;
    if sink.is_too_large() {
        return Err(DownloadError::TooLarge);
    }
    outcome?;
    let (bytes, found) = sink.finish();
    if found != download.sha256 {
        return Err(DownloadError::WrongHash { found });
    }
    let length = bytes.len() as u64;
    brain.contents_mut().keep(found, bytes);
    Ok(length)
}

fn parse(url: &str) -> Result<Url, HttpFailure> {
    Url::parse(url).map_err(|error| HttpFailure { kind: FailureKind::Local, text: format!("{url}: {error}") })
}

fn local(error: http::HttpError) -> HttpFailure {
    HttpFailure { kind: FailureKind::Local, text: error.to_string() }
}

fn failure(error: &FetchError) -> HttpFailure {
    let kind = match error.class() {
        Class::Resolve => FailureKind::Resolve,
        Class::Refused => FailureKind::Refused,
        Class::Connect => FailureKind::Connect,
        Class::CertificateTime => FailureKind::CertificateTime,
        Class::Tls => FailureKind::Tls,
        Class::Timeout => FailureKind::Timeout,
        Class::TooLarge => FailureKind::TooLarge,
        Class::Malformed | Class::Redirect => FailureKind::Malformed,
        Class::Local => FailureKind::Local,
    };
    HttpFailure { kind, text: error.told().to_string() }
}
