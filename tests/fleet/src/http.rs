//! HTTP/1.1 as a server that serves one request a connection: as much as the controller and the store need.

/// A request, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// `GET` or `POST`.
    pub method: String,
    /// The path.
    pub path: String,
    fields: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Asked {
    /// A request, once all of it is there.
    ///
    /// # Panics
    /// If it is none, for our own client does not send such.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&bytes[..end]).expect("a head is text");
        let mut lines = head.split("\r\n");
        let mut words = lines.next().unwrap_or_default().split(' ');
        let (Some(method), Some(path), Some("HTTP/1.1")) = (words.next(), words.next(), words.next()) else {
            panic!("no request: {head}")
        };
        let field = |line: &str| {
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no field: {line}"));
            (name.to_ascii_lowercase(), value.trim().to_owned())
        };
        let fields: Vec<_> = lines.map(field).collect();
        let (method, path) = (method.to_owned(), path.to_owned());
        let mut asked = Self { method, path, fields, body: Vec::new() };
        let length = asked.field("content-length").map_or(0, |text| text.parse().expect("a length"));
        asked.body = bytes.get(end + 4..end + 4 + length)?.to_vec();
        Some(asked)
    }

    /// A field by its name in lower case.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The connection is reset in its place.
    pub is_cut: bool,
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// A status without a body.
    #[must_use]
    pub const fn empty(status: u16) -> Self {
        Self { is_cut: false, status, body: Vec::new() }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let kind = match self.body.is_empty() {
            true => "",
            false => "Content-Type: application/x-proto-binary\r\n",
        };
        let (status, length) = (self.status, self.body.len());
        let head =
            format!("HTTP/1.1 {status} so\r\n{kind}Content-Length: {length}\r\nConnection: close\r\n\r\n");
        [head.as_bytes(), &self.body].concat()
    }
}
