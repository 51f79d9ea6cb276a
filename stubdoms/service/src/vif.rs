//! Having net connect a vif: rings granted, a port made, the request on the channel `network`.
//!
//! What fails for a moment is tried again on the same channel, ever more rarely: a call of ours to Xen, or one of net's,
//! which then refuses. A domain without its vif reaches nobody.

use core::{fmt, time::Duration};

use board_support_hyp::{Pages, Runtime};
use board_support_pv::{
    channel::ChannelError,
    grant::{OfferError, Park},
    net::front::{BufferCounts, Front},
};
use proto_errors::ctl;
use proto_svc::network::{FromControl, ToControl, Uplink, VifRefusal};
use proto_xen::{DomId, Errno};

use crate::channels::{Hypervisor, Offered, Port};

/// The frontend.
pub type Vif<X, R> = Front<'static, Port<X, R>, X, <R as Pages>::Page>;
/// The channel by which net is asked for it.
pub type Network<X, R> = Offered<X, R, FromControl, ToControl>;

/// The first and the longest wait ahead of another try.
pub const AGAIN: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(10));

/// A vif that net has connected, and what net has told with it.
pub struct Connected<X: Hypervisor, R: Runtime + Pages> {
    /// The frontend.
    pub front: Vif<X, R>,
    /// Our address.
    pub address: [u8; 4],
    /// Bits of its prefix.
    pub prefix: u8,
    /// The router's address.
    pub gateway: [u8; 4],
    /// Largest IP packet that net takes, in bytes.
    pub mtu: u16,
    /// What net said of the uplink meanwhile.
    pub uplink: Option<Uplink>,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Who is asked.
    pub net: DomId,
    /// Our hardware address.
    pub mac: [u8; 6],
    /// Pages that are granted for frames.
    pub buffers: BufferCounts,
}

/// Has net connect a vif, however often that takes; each failure is told once, until another one comes.
///
/// # Errors
/// That of the channel.
pub async fn connect<X: Hypervisor, R: Runtime + Pages>(
    xen: &X,
    runtime: &R,
    park: &'static Park<R::Page>,
    channel: &mut Network<X, R>,
    wanted: Wanted,
) -> Result<Connected<X, R>, ChannelError> {
    let (mut wait, longest) = AGAIN;
    let mut uplink = None;
    let mut told = None;
    loop {
        match attempt(xen, runtime, park, channel, wanted, &mut uplink).await? {
            Ok(connected) => return Ok(Connected { uplink, ..connected }),
            Err(why) if told.as_ref() != Some(&why) => {
                log::warn!("vif: {why}; it is tried again [{}]", ctl::NO_VIF);
                told = Some(why);
            }
            Err(_) => {}
        }
        runtime.sleep(wait).await;
        wait = (wait * 2).min(longest);
    }
}

/// Why a try was in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// There is no port.
    Port(Errno),
    /// The pages cannot be granted.
    Pages(OfferError),
    /// net does not connect it.
    Refused(VifRefusal),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(errno) => write!(f, "no event channel for net: {errno}"),
            Self::Pages(error) => error.fmt(f),
            Self::Refused(refusal) => write!(f, "net refuses to connect it: {refusal:?}"),
        }
    }
}

/// One try. The inner error is worth another one.
async fn attempt<X: Hypervisor, R: Runtime + Pages>(
    xen: &X,
    runtime: &R,
    park: &'static Park<R::Page>,
    channel: &mut Network<X, R>,
    wanted: Wanted,
    uplink: &mut Option<Uplink>,
) -> Result<Result<Connected<X, R>, Failure>, ChannelError> {
    // What an earlier try has granted, and net has not unmapped yet.
    park.retry(xen);
    let line = match Port::allocate(xen.clone(), runtime.clone(), wanted.net) {
        Ok(line) => line,
        Err(errno) => return Ok(Err(Failure::Port(errno))),
    };
    let port = line.port();
    let front = match Front::new(line, xen.clone(), runtime, park, wanted.net, wanted.buffers) {
        Ok(front) => front,
        Err(error) => return Ok(Err(Failure::Pages(error))),
    };
    let (tx, rx) = front.rings();
    let request = FromControl::VifConnect { tx_gref: tx.0, rx_gref: rx.0, port: port.0, mac: wanted.mac };
    channel.send(&request).await?;
    loop {
        match channel.receive().await? {
            ToControl::VifConnected { address, prefix, gateway, mtu } => {
                return Ok(Ok(Connected { front, address, prefix, gateway, mtu, uplink: None }));
            }
            ToControl::VifRefused(refusal) => return Ok(Err(Failure::Refused(refusal))),
            ToControl::Uplink(now) => *uplink = Some(now),
            ToControl::Hello { .. } | ToControl::Counters(_) | ToControl::VifClosed => {}
        }
    }
}
