use core::fmt;

use crate::url::{Host, UrlError};

const NTP_PORT: u16 = 123;

/// A time server: a name or an address, with its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Who.
    pub host: Host,
    /// 123 as a rule.
    pub port: u16,
}

impl Server {
    /// Reads `host` or `host:port`.
    ///
    /// # Errors
    /// [`UrlError::Host`] as [`Host::parse`], [`UrlError::Port`] for a port that is none.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| UrlError::Port)?),
            None => (text, NTP_PORT),
        };
        if port == 0 {
            return Err(UrlError::Port);
        }
        Ok(Server { host: Host::parse(host)?, port })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.host)?;
        if self.port == NTP_PORT { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}
