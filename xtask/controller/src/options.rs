//! What a controller is started with.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Receives each life event as one line of text without a line end.
pub type EventSink = Arc<dyn Fn(&str) + Send + Sync>;

/// Which versions of TLS the device listener offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsVersions {
    /// 1.2 and 1.3, as real controllers do.
    #[default]
    Both,
    /// 1.2 alone.
    Only12,
    /// 1.3 alone.
    Only13,
}

/// What a controller is started with. [`Options::new`] has a usable value for everything else.
#[derive(Clone)]
pub struct Options {
    /// Folder that keeps certificates, devices, configuration and journals over restarts.
    pub state: PathBuf,
    /// Folder whose files the built-in datastore serves. `None`: `content` inside `state`.
    pub content: Option<PathBuf>,
    /// Address of the device API (TLS). Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Address of the web page and of the content (plain HTTP). Port 0 takes a free one.
    pub web: SocketAddr,
    /// Name under which devices reach the controller; a subject alternative name of its certificate.
    pub server_name: String,
    /// Address of this host as a guest sees it: what `hosts` and the built-in datastore say.
    pub guest_address: IpAddr,
    /// Offered versions of TLS.
    pub tls: TlsVersions,
    /// How often the configuration file and the content files are looked at.
    pub poll: Duration,
    /// What devices are expected to measure: files of `cargo xtask measure --json`. A TPM's quote has to fit one.
    pub expected: Vec<PathBuf>,
    /// Without such files: whether the first quote of each device tells what it is expected to measure from then on.
    pub learn: bool,
    /// Where life events go, beside the page and the journal.
    pub on_event: Option<EventSink>,
    /// Where log lines and a line for each round of metrics go, beside the page and the journal.
    pub on_log: Option<EventSink>,
}

impl Options {
    /// Options for a controller on loopback with free ports, seen from a QEMU guest as 10.0.2.2.
    pub fn new(state: impl Into<PathBuf>) -> Self {
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            state: state.into(),
            content: None,
            listen: loopback,
            web: loopback,
            server_name: "controller.sarsen.test".into(),
            guest_address: IpAddr::V4(Ipv4Addr::new(10, 0, 2, 2)),
            tls: TlsVersions::Both,
            poll: Duration::from_millis(500),
            expected: Vec::new(),
            learn: false,
            on_event: None,
            on_log: None,
        }
    }

    /// The folder of content files.
    pub(crate) fn content_folder(&self) -> PathBuf {
        self.content.clone().unwrap_or_else(|| self.state.join("content"))
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("state", &self.state)
            .field("listen", &self.listen)
            .field("web", &self.web)
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}
