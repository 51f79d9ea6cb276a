//! Accept loops and the way from HTTP to the API and back.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming as HyperBody;
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderValue, LOCATION};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use crate::api::{self, Answer, BODY_LIMIT, Incoming};
use crate::body::{Body, Cut};
use crate::core::Core;
use crate::faults::{Face, Fault, spoil};
use crate::observed::Violation;
use crate::route::route;
use crate::{clock, web};

/// A handshake or the head of a request may take so long.
const PATIENCE: Duration = Duration::from_secs(20);

/// How events call the start of a connection.
const HANDSHAKE: &str = "a TLS handshake";

/// Whether the device listener shall be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    Here,
    Away,
}

/// Binds a listener; the port can be bound again at once after it was closed.
pub(crate) fn bind(address: SocketAddr) -> io::Result<StdListener> {
    let listener = StdListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// What the device listener may show: its certificate, one of a CA that nobody trusts, an old one.
pub(crate) struct Faces {
    pub(crate) honest: Arc<ServerConfig>,
    pub(crate) stranger: Arc<ServerConfig>,
    pub(crate) expired: Arc<ServerConfig>,
}

/// Serves the device API until the task is dropped. `is` tells where it stands.
pub(crate) async fn serve_devices(
    core: Arc<Core>,
    listener: StdListener,
    faces: Faces,
    mut wanted: watch::Receiver<Presence>,
    is: watch::Sender<Presence>,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    let mut listener = Some(TcpListener::from_std(listener)?);
    let mut connections = JoinSet::new();
    loop {
        let presence = *wanted.borrow_and_update();
        match (presence, listener.take()) {
            (Presence::Here, Some(open)) => listener = Some(open),
            (Presence::Here, None) => match bind(address).and_then(TcpListener::from_std) {
                Ok(open) => listener = Some(open),
                Err(_) => {
                    sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            // Dropping the listener refuses new connections; the open ones are cut.
            (Presence::Away, _) => connections.shutdown().await,
        }
        is.send_replace(presence);
        let accepted = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = wanted.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
            }
            Some(_) = connections.join_next() => {}
            accepted = accepted => match accepted {
                Ok((stream, _)) => {
                    let face = match core.faults.face() {
                        Face::Honest => &faces.honest,
                        Face::WrongCa => &faces.stranger,
                        Face::Expired => &faces.expired,
                    };
                    let acceptor = TlsAcceptor::from(face.clone());
                    let core = core.clone();
                    connections.spawn(async move {
                        match timeout(PATIENCE, acceptor.accept(stream)).await {
                            Ok(Ok(stream)) => {
                                core.with(|state| state.told.remove(HANDSHAKE));
                                serve_device(core, stream).await;
                            }
                            Ok(Err(fault)) => core.with(|state| {
                                state.tell_once(HANDSHAKE.into(), format!("{HANDSHAKE} failed: {fault}"));
                            }),
                            Err(_) => {}
                        }
                    });
                }
                Err(_) => sleep(Duration::from_millis(20)).await,
            },
        }
    }
}

/// Serves the page and the content until the task is dropped.
pub(crate) async fn serve_web(core: Arc<Core>, listener: StdListener) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let core = core.clone();
                    connections.spawn(async move {
                        let service = service_fn(move |request| {
                            let core = core.clone();
                            async move { web::answer(&core, request).await }
                        });
                        let _ = builder().serve_connection(TokioIo::new(stream), service).await;
                    });
                }
                Err(_) => sleep(Duration::from_millis(20)).await,
            },
        }
    }
}

async fn serve_device<S: AsyncRead + AsyncWrite + Unpin>(core: Arc<Core>, stream: S) {
    let service = service_fn(move |request| {
        let core = core.clone();
        async move { exchange(&core, request).await }
    });
    // An error here is a client that went away, or a connection cut on purpose.
    let _ = builder().serve_connection(TokioIo::new(stream), service).await;
}

fn builder() -> hyper::server::conn::http1::Builder {
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    builder
}

/// One request and its answer, with the faults that are armed.
async fn exchange(core: &Core, request: Request<HyperBody>) -> Result<Response<Body>, Cut> {
    let method = request.method().to_string();
    let path = request.uri().path_and_query().map_or_else(String::new, ToString::to_string);
    if request.method() == Method::GET
        && let Some(name) = path.strip_prefix("/content/")
    {
        return web::content(core, name, request.headers()).await;
    }
    let fault = core.faults.take(route(&method, &path).ok().map(|route| route.endpoint));
    match fault {
        Some(Fault::DropBefore) => return Err(Cut),
        Some(Fault::Status(status)) => return Ok(response(Answer::empty(status), fault)),
        Some(Fault::Late(duration)) => sleep(duration).await,
        _ => {}
    }
    let (head, body) = request.into_parts();
    let mut incoming = incoming(method, path, &head.headers);
    match timeout(PATIENCE, Limited::new(body, BODY_LIMIT).collect()).await {
        Ok(Ok(collected)) => incoming.body = collected.to_bytes().to_vec(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            return Ok(response(too_large(core, &incoming), None));
        }
        // The client went away in the middle of its request.
        Ok(Err(_)) | Err(_) => return Err(Cut),
    }
    let mut answer = core.with(|state| api::answer(state, &incoming));
    if fault == Some(Fault::DropAfter) {
        return Err(Cut);
    }
    fault.into_iter().for_each(|fault| spoil(&mut answer, fault));
    Ok(response(answer, fault))
}

fn incoming(method: String, path: String, headers: &HeaderMap) -> Incoming {
    let text = |name: &str| {
        headers.get(name).map(|value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    Incoming {
        method,
        path,
        content_type: text(CONTENT_TYPE.as_str()),
        request_id: text("x-request-id"),
        tells_serial: headers.contains_key("x-serial-number") || headers.contains_key("x-soft-serial"),
        has_host: headers.contains_key(HOST),
        body: Vec::new(),
    }
}

fn too_large(core: &Core, incoming: &Incoming) -> Answer {
    core.with(|state| {
        state.violation(Violation {
            at_ms: clock::now_ms(),
            device: None,
            request: format!("{} {}", incoming.method, incoming.path),
            refused: Some(413),
            reason: format!("the body has more than {BODY_LIMIT} bytes"),
        });
    });
    Answer::empty(413)
}

/// The answer as HTTP. Without a body there is no media type, as with Go controllers.
fn response(answer: Answer, fault: Option<Fault>) -> Response<Body> {
    let body = match fault {
        Some(Fault::Truncated) => Body::truncated(&answer.body),
        Some(Fault::Oversized(padding)) => Body::padded(answer.body, padding),
        Some(Fault::CutAt(at)) => Body::cut_at(&answer.body, at),
        Some(Fault::Slow(rate)) => Body::slow(&answer.body, rate),
        _ => Body::like_go(answer.body),
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    if let Some(kind) = answer.content_type {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    if let Some(location) = answer.location.and_then(|location| HeaderValue::from_str(&location).ok()) {
        headers.insert(LOCATION, location);
    }
    response
}
