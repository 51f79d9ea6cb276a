use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use core::time::Duration;

use super::HttpError;
use crate::url::Url;

/// What is asked of the resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Give it.
    Get,
    /// Tell about it without giving it.
    Head,
    /// Take this body.
    Post,
    /// Store this body there.
    Put,
}

impl Method {
    fn name(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
        }
    }

    fn has_body(self) -> bool {
        matches!(self, Method::Post | Method::Put)
    }
}

/// A request that is safe to write: no part of it can hold a line end.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    method: Method,
    url: Url,
    fields: Vec<(&'static str, String)>,
    first_byte: Option<u64>,
    within: Option<Duration>,
    dial: Option<Duration>,
    stall: Option<Duration>,
    body: Cow<'a, [u8]>,
}

impl<'a> Request<'a> {
    /// A request without a body and without further fields.
    pub fn new(method: Method, url: Url) -> Self {
        let (fields, body) = (Vec::new(), Cow::Borrowed(&[][..]));
        Request { method, url, fields, first_byte: None, within: None, dial: None, stall: None, body }
    }

    /// Asks for `url`.
    pub fn get(url: Url) -> Self {
        Self::new(Method::Get, url)
    }

    /// Sends `body` to `url`.
    ///
    /// # Errors
    /// [`HttpError::BadField`] if `content_type` holds a control character.
    pub fn post(url: Url, content_type: &str, body: impl Into<Cow<'a, [u8]>>) -> Result<Self, HttpError> {
        Self::new(Method::Post, url).body(body).field("Content-Type", content_type)
    }

    /// The body; GET and HEAD do not send it.
    pub fn body(self, body: impl Into<Cow<'a, [u8]>>) -> Self {
        Request { body: body.into(), ..self }
    }

    /// How long the whole exchange may take, name and connection included, instead of the client's
    /// [`Timeouts::exchange`](crate::client::Timeouts). Downloads then have a limit on the whole, too.
    pub fn within(self, time: Duration) -> Self {
        Request { within: Some(time), ..self }
    }

    /// How long a connection to one address may take, instead of the client's
    /// [`Timeouts::dial`](crate::client::Timeouts).
    pub fn dial_within(self, time: Duration) -> Self {
        Request { dial: Some(time), ..self }
    }

    /// How long nothing may come in a download, instead of the client's
    /// [`Timeouts::stall`](crate::client::Timeouts).
    pub fn stall_within(self, time: Duration) -> Self {
        Request { stall: Some(time), ..self }
    }

    /// Adds a field.
    ///
    /// # Errors
    /// [`HttpError::BadField`] if `name` is not a token, is one that [`Request::emit`] writes itself, or if `value`
    /// holds anything but printable ASCII, spaces and tabs.
    pub fn field(mut self, name: &'static str, value: &str) -> Result<Self, HttpError> {
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        let ours = ["Host", "Content-Length", "Transfer-Encoding", "Connection", "Range"];
        let name_fits = !name.is_empty()
            && name.bytes().all(token)
            && !ours.iter().any(|own| own.eq_ignore_ascii_case(name));
        let value_fits = value.bytes().all(|b| b.is_ascii_graphic() || b == b' ' || b == b'\t');
        if !name_fits || !value_fits {
            return Err(HttpError::BadField);
        }
        self.fields.push((name, value.trim().into()));
        Ok(self)
    }

    /// Asks for the bytes from `first` on, to resume a download.
    pub fn from_byte(mut self, first: u64) -> Self {
        self.first_byte = Some(first);
        self
    }

    /// The byte given to [`Request::from_byte`].
    pub fn first_byte(&self) -> Option<u64> {
        self.first_byte
    }

    /// The time given to [`Request::within`].
    pub fn time_limit(&self) -> Option<Duration> {
        self.within
    }

    /// The time given to [`Request::dial_within`].
    pub fn dial_limit(&self) -> Option<Duration> {
        self.dial
    }

    /// The time given to [`Request::stall_within`].
    pub fn stall_limit(&self) -> Option<Duration> {
        self.stall
    }

    /// What is asked.
    pub fn method(&self) -> Method {
        self.method
    }

    /// Of whom and where.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The value of a field that was added.
    pub fn get_field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The same request to another place, as a redirect wants it. Fields that hold secrets stay behind when the
    /// server changes.
    pub(crate) fn moved_to(&self, url: Url) -> Self {
        let same = url.host() == self.url.host() && url.port() == self.url.port();
        let mut moved = Request { url, ..self.clone() };
        moved.fields.retain(|(name, _)| {
            same || !["Authorization", "Cookie"].iter().any(|secret| secret.eq_ignore_ascii_case(name))
        });
        moved
    }

    /// Writes head and body. `request_id` becomes `X-Request-Id` (EVE: a fresh random UUIDv4 for each request),
    /// unless that field was added.
    pub fn emit(&self, request_id: Option<[u8; 16]>) -> Vec<u8> {
        let mut head = String::new();
        // Writing to a String does not fail.
        let _ = write!(
            head,
            "{} {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: sarsen\r\nAccept-Encoding: identity\r\nConnection: close\r\n",
            self.method.name(),
            self.url.target(),
            self.url.authority(),
        );
        if let Some(id) = request_id.filter(|_| self.get_field("X-Request-Id").is_none()) {
            let _ = write!(head, "X-Request-Id: {}\r\n", Uuid(id));
        }
        if let Some(first) = self.first_byte {
            let _ = write!(head, "Range: bytes={first}-\r\n");
        }
        for (name, value) in &self.fields {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if self.method.has_body() {
            let _ = write!(head, "Content-Length: {}\r\n", self.body.len());
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        if self.method.has_body() {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

/// Sixteen random bytes, shown as a UUID of version 4.
struct Uuid([u8; 16]);

impl core::fmt::Display for Uuid {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let number = u128::from_be_bytes(self.0);
        // RFC 9562 §5.4: four bits of version, two of variant.
        let number = number & !(0xf << 76) | (4 << 76);
        let number = number & !(0b11 << 62) | (0b10 << 62);
        write!(
            f,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            number >> 96,
            number >> 80 & 0xffff,
            number >> 64 & 0xffff,
            number >> 48 & 0xffff,
            number & 0xffff_ffff_ffff
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url() -> Url {
        Url::parse("https://zed.example:8443/api/v2/edgedevice/ping?x=1").unwrap()
    }

    #[test]
    fn a_post_carries_what_the_controller_wants() {
        let request = Request::post(url(), "application/x-proto-binary", &b"abc"[..]).unwrap();
        let text = String::from_utf8(request.emit(Some([0xff; 16]))).unwrap();
        assert_eq!(
            text,
            "POST /api/v2/edgedevice/ping?x=1 HTTP/1.1\r\nHost: zed.example:8443\r\nUser-Agent: sarsen\r\n\
             Accept-Encoding: identity\r\nConnection: close\r\n\
             X-Request-Id: ffffffff-ffff-4fff-bfff-ffffffffffff\r\n\
             Content-Type: application/x-proto-binary\r\nContent-Length: 3\r\n\r\nabc"
        );
    }

    #[test]
    fn a_get_has_no_length() {
        let text = String::from_utf8(Request::get(url()).from_byte(7).emit(None)).unwrap();
        assert!(text.contains("\r\nRange: bytes=7-\r\n"));
        assert!(!text.contains("Content-Length"));
        assert!(text.ends_with("\r\n\r\n"));
    }

    #[test]
    fn no_field_can_carry_a_line_end() {
        for (name, value) in [
            ("X-A", "b\r\nX-C: d"),
            ("X-A", "b\nc"),
            ("X-A", "b\0"),
            ("X-A", "\u{e9}"),
            ("X A", "b"),
            ("X-A\r\nX-B", "b"),
            ("", "b"),
            ("Host", "b"),
            ("content-length", "5"),
        ] {
            assert_eq!(Request::get(url()).field(name, value).unwrap_err(), HttpError::BadField);
        }
        assert!(Request::get(url()).field("X-Serial-Number", "a b\tc").is_ok());
    }

    #[test]
    fn a_redirect_to_another_server_takes_no_secrets_along() {
        let request = Request::get(url()).field("Authorization", "Basic x").unwrap().from_byte(1);
        assert!(request.moved_to(url()).get_field("authorization").is_some());
        let other = request.moved_to(Url::parse("https://other/").unwrap());
        assert!(other.get_field("authorization").is_none());
        assert_eq!(other.first_byte(), Some(1));
    }
}
