//! What a handle answers with.

use std::fmt;
use std::time::Duration;

use crate::desired::ConfigError;

/// Where a running controller is reached from this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Urls {
    /// The device API, by the name in its certificate: `https://NAME:PORT`.
    pub api: String,
    /// The web page: `http://127.0.0.1:PORT/`.
    pub web: String,
    /// The built-in datastore as guests see it: `http://10.0.2.2:PORT/content`.
    pub content: String,
    /// Port of the device API.
    pub api_port: u16,
    /// Port of the page and of the content.
    pub web_port: u16,
    /// UDP port on which it tells the time.
    pub time_port: u16,
}

/// What was waited for did not come in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimedOut {
    /// What it was.
    pub what: String,
    /// How long the wait was.
    pub after: Duration,
    /// The last events, oldest first.
    pub events: Vec<String>,
}

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} did not come within {:?}; last events:", self.what, self.after)?;
        self.events.iter().try_for_each(|event| write!(f, "\n  {event}"))
    }
}

impl std::error::Error for TimedOut {}

/// The configuration was not taken; the one before stays in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigRefused(pub Vec<ConfigError>);

impl fmt::Display for ConfigRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut errors = self.0.iter();
        errors.next().iter().try_for_each(|error| write!(f, "{error}"))?;
        errors.try_for_each(|error| write!(f, "\n{error}"))
    }
}

impl std::error::Error for ConfigRefused {}
