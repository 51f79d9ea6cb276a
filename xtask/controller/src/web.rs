//! The plain HTTP side: the page, its JSON, and the content of the built-in datastore.

mod content;

use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use crate::body::{Body, Cut};
use crate::core::Core;

/// Answers one request; the page only reads, so only GET and HEAD exist.
pub(crate) async fn answer(core: &Core, request: Request<Incoming>) -> Result<Response<Body>, Cut> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return Ok(text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n"));
    }
    let path = request.uri().path().to_owned();
    if let Some(name) = path.strip_prefix("/content/") {
        return content::answer(core, name, request.headers()).await;
    }
    Ok(text(StatusCode::NOT_FOUND, "no such page\n"))
}

fn text(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::sized(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
