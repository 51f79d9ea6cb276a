//! Addresses of what is fetched: `http` and `https` with a host name or an IPv4 address.

use alloc::string::{String, ToString};
use core::fmt;
use core::net::Ipv4Addr;

/// Longest URL that is read, in bytes.
pub const MAX_LENGTH: usize = 4096;
/// Longest host name (RFC 1035 §2.3.4, in text form).
const MAX_HOST: usize = 253;
/// Longest label of a host name.
const MAX_LABEL: usize = 63;

/// How the server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Plain TCP.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// The port that goes without saying.
    pub fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

/// Whom to ask: a name to be resolved or an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A host name in lower case, without a dot at its end.
    Name(String),
    /// An IPv4 address, written with four decimal numbers.
    V4(Ipv4Addr),
}

impl Host {
    /// Reads a host as it stands in a URL or in the `server` file.
    ///
    /// # Errors
    /// [`UrlError::Host`] for what is neither a host name nor an IPv4 address in its usual form (an IPv6 address,
    /// an empty or overlong label, a character that no host name has).
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let name = text.strip_suffix('.').unwrap_or(text);
        let fits = |label: &str| {
            (1..=MAX_LABEL).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        if name.len() > MAX_HOST || !name.split('.').all(fits) {
            return Err(UrlError::Host);
        }
        // A last label of digits is an address in some notation; only the usual one is meant.
        let last = name.rsplit('.').next().unwrap_or(name);
        if last.bytes().all(|b| b.is_ascii_digit()) {
            return name.parse().map(Host::V4).map_err(|_| UrlError::Host);
        }
        Ok(Host::Name(name.to_ascii_lowercase()))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::V4(address) => address.fmt(f),
        }
    }
}

/// A parsed URL. Its parts hold no space and no control character, so they can stand in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    scheme: Scheme,
    host: Host,
    port: u16,
    target: String,
}

impl Url {
    /// Reads an absolute URL. A fragment is dropped; an empty path becomes `/`.
    ///
    /// # Errors
    /// [`UrlError`] with the part that cannot be accepted.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        if text.len() > MAX_LENGTH {
            return Err(UrlError::TooLong { limit: MAX_LENGTH });
        }
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
        let scheme = match scheme {
            s if s.eq_ignore_ascii_case("http") => Scheme::Http,
            s if s.eq_ignore_ascii_case("https") => Scheme::Https,
            _ => return Err(UrlError::Scheme),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        Self::assemble(scheme, authority, target)
    }

    /// The URL of a server that is known as `host` or `host:port` (EVE's `server` file) and a path.
    ///
    /// # Errors
    /// [`UrlError`] as for [`Url::parse`].
    pub fn of_server(scheme: Scheme, server: &str, target: &str) -> Result<Self, UrlError> {
        if server.len() + target.len() > MAX_LENGTH {
            return Err(UrlError::TooLong { limit: MAX_LENGTH });
        }
        Self::assemble(scheme, server, target)
    }

    fn assemble(scheme: Scheme, authority: &str, target: &str) -> Result<Self, UrlError> {
        // Names and passwords in a URL end up in logs; nothing that we talk to needs them.
        if authority.contains('@') {
            return Err(UrlError::UserInfo);
        }
        // The colons of an IPv6 address are not the one before a port.
        if authority.starts_with('[') {
            return Err(UrlError::Host);
        }
        let (host, digits) = authority.rsplit_once(':').unwrap_or((authority, ""));
        let port = match digits {
            "" => scheme.default_port(),
            _ if digits.len() > 5 || !digits.bytes().all(|b| b.is_ascii_digit()) => {
                return Err(UrlError::Port);
            }
            _ => digits.parse().ok().filter(|port| *port != 0).ok_or(UrlError::Port)?,
        };
        let host = Host::parse(host)?;
        Ok(Url { scheme, host, port, target: clean_target(target)? })
    }

    /// The URL that a `Location` field means when it came with the answer to this one.
    ///
    /// # Errors
    /// [`UrlError`] as for [`Url::parse`].
    pub fn join(&self, location: &str) -> Result<Self, UrlError> {
        let before_target = location.split(['/', '?', '#']).next().unwrap_or("");
        if before_target.contains(':') {
            return Self::parse(location);
        }
        if location.len() > MAX_LENGTH {
            return Err(UrlError::TooLong { limit: MAX_LENGTH });
        }
        if let Some(rest) = location.strip_prefix("//") {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let (authority, target) = rest.split_at(end);
            return Self::assemble(self.scheme, authority, target);
        }
        let path_end = self.target.find('?').unwrap_or(self.target.len());
        let path = self.target.get(..path_end).unwrap_or("/");
        let target = match location.as_bytes().first() {
            None => self.target.clone(),
            Some(b'/') => location.to_string(),
            Some(b'?') => [path, location].concat(),
            Some(b'#') => self.target.clone(),
            Some(_) => {
                let folder = path.rfind('/').and_then(|at| path.get(..=at)).unwrap_or("/");
                [folder, location].concat()
            }
        };
        Ok(Url { target: clean_target(&target)?, ..self.clone() })
    }

    /// How the server is spoken to.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Whom to ask.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The TCP port, never 0.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Path and query, as they stand in the request line; begins with `/`.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// `host` or `host:port`: the `Host` field and the subject of error lines.
    pub fn authority(&self) -> Authority<'_> {
        Authority(self)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme.name(), self.authority(), self.target)
    }
}

/// Shows host and port; the port is left out where it goes without saying.
pub struct Authority<'a>(&'a Url);

impl fmt::Display for Authority<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.host.fmt(f)?;
        if self.0.port != self.0.scheme.default_port() {
            write!(f, ":{}", self.0.port)?;
        }
        Ok(())
    }
}

fn clean_target(target: &str) -> Result<String, UrlError> {
    let target = target.split('#').next().unwrap_or("");
    if let Some(at) = target.bytes().position(|b| !b.is_ascii_graphic()) {
        return Err(UrlError::Character { at });
    }
    Ok(if target.starts_with('/') { target.to_string() } else { ["/", target].concat() })
}

/// Why a URL was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlError {
    /// Neither `http://` nor `https://` stands in front.
    Scheme,
    /// The host is neither a name nor an IPv4 address.
    Host,
    /// The port is not a number from 1 to 65535.
    Port,
    /// There is a user name in it.
    UserInfo,
    /// A space, a control character or a character outside ASCII stands in path or query.
    Character {
        /// Its place, counted in bytes from the start of the path.
        at: usize,
    },
    /// It is longer than we read.
    TooLong {
        /// The most that is read, in bytes.
        limit: usize,
    },
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UrlError::Scheme => f.write_str("the URL does not start with http:// or https://"),
            UrlError::Host => f.write_str("the host in the URL is neither a name nor an IPv4 address"),
            UrlError::Port => f.write_str("the port in the URL is not a number from 1 to 65535"),
            UrlError::UserInfo => f.write_str("the URL carries a user name"),
            UrlError::Character { at } => {
                write!(f, "byte {at} of the URL's path is a space or no printable ASCII character")
            }
            UrlError::TooLong { limit } => write!(f, "the URL is longer than {limit} bytes"),
        }
    }
}

impl core::error::Error for UrlError {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn urls_are_taken_apart() {
        for (text, scheme, host, port, target) in [
            ("https://zed.example/api/v2", Scheme::Https, "zed.example", 443, "/api/v2"),
            ("HTTP://Zed.Example:8080", Scheme::Http, "zed.example", 8080, "/"),
            ("https://10.0.2.2:3333/a?b=c#d", Scheme::Https, "10.0.2.2", 3333, "/a?b=c"),
            ("http://h?x", Scheme::Http, "h", 80, "/?x"),
            ("http://h:/x", Scheme::Http, "h", 80, "/x"),
            ("http://h./x", Scheme::Http, "h", 80, "/x"),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!((url.scheme(), url.port(), url.target()), (scheme, port, target), "{text}");
            assert_eq!(format!("{}", url.host()), host);
            assert_eq!(Url::parse(&format!("{url}")).unwrap(), url);
        }
    }

    #[test]
    fn an_address_is_not_a_name() {
        assert_eq!(Host::parse("10.0.2.2"), Ok(Host::V4(Ipv4Addr::new(10, 0, 2, 2))));
        for odd in ["10.0.2", "0x7f.1", "1", "10.0.2.256", "10.0.2.02", "a.1"] {
            match Host::parse(odd) {
                Ok(Host::V4(_)) => panic!("{odd} taken for an address"),
                Ok(Host::Name(name)) => {
                    assert!(!name.rsplit('.').next().unwrap().starts_with(char::is_numeric))
                }
                Err(error) => assert_eq!(error, UrlError::Host),
            }
        }
    }

    #[test]
    fn nonsense_is_refused_with_its_reason() {
        for (text, error) in [
            ("ftp://h/", UrlError::Scheme),
            ("h/x", UrlError::Scheme),
            ("http:///x", UrlError::Host),
            ("http://a..b/", UrlError::Host),
            ("http://a b/", UrlError::Host),
            ("http://[::1]/", UrlError::Host),
            ("http://h\r\nX/", UrlError::Host),
            ("http://h:0/", UrlError::Port),
            ("http://h:+1/", UrlError::Port),
            ("http://h:65536/", UrlError::Port),
            ("http://h:x/", UrlError::Port),
            ("http://u:p@h/", UrlError::UserInfo),
            ("http://h/a b", UrlError::Character { at: 2 }),
            ("http://h/a\r\nX: y", UrlError::Character { at: 2 }),
            ("http://h/\u{e9}", UrlError::Character { at: 1 }),
        ] {
            assert_eq!(Url::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_location_is_read_relative_to_its_request() {
        let base = Url::parse("https://h:8443/a/b?q").unwrap();
        for (location, expected) in [
            ("/x?y", "https://h:8443/x?y"),
            ("c", "https://h:8443/a/c"),
            ("?z", "https://h:8443/a/b?z"),
            ("//other/x", "https://other/x"),
            ("http://plain/x", "http://plain/x"),
            ("", "https://h:8443/a/b?q"),
        ] {
            assert_eq!(format!("{}", base.join(location).unwrap()), expected);
        }
        assert!(base.join("javascript:1").is_err());
    }
}
