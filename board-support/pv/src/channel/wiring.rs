//! Channels between two services, as the table wires them: one end offers the page, the other accepts it.

use core::fmt;

use board_support_hyp::{Access, EventChannels, GrantError, Grants, Shared, Wait};
use proto_svc::Message;
use proto_xen::{DomId, Errno, Gfn, Gref, Port};

use super::{Channel, ChannelError};
use crate::grant::{GrantedPage, Park};
use crate::port::{BoundPort, Line, look};

/// Why a channel between two services did not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// The page could not be granted or mapped, for a reason that waiting does not cure.
    Grant(GrantError),
    /// The port could not be bound.
    Port(Errno),
    /// The greeting failed.
    Channel(ChannelError),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grant(error) => write!(f, "the channel's page: {error}"),
            Self::Port(errno) => write!(f, "the channel's port: {errno}"),
            Self::Channel(error) => write!(f, "{error}"),
        }
    }
}

impl core::error::Error for OpenError {}

/// What the wiring says of the offering end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Who may accept.
    pub peer: DomId,
    /// By which reference the peer will look for the page.
    pub gref: Gref,
    /// The frame of the page.
    pub gfn: Gfn,
}

/// Opens the offering end: grants the page, then as [`Channel::open_lower`]. Waits for as long as the peer
/// takes to come; a caller with less patience adds a deadline.
///
/// # Errors
/// See [`OpenError`].
pub async fn offer<'p, L, G, P, Out, In>(
    line: L,
    grants: G,
    park: &'p Park<P>,
    offer: Offer,
    page: P,
) -> Result<Channel<L, GrantedPage<'p, G, P>, Out, In>, OpenError>
where
    L: Line,
    G: Grants,
    P: Shared,
    Out: Message,
    In: Message,
{
    let Offer { peer, gref, gfn } = offer;
    let page = GrantedPage::offer_as(grants, park, gref, peer, page, gfn, Access::ReadWrite)
        .map_err(OpenError::Grant)?;
    // The greeting raises the peer, which may be waiting for the grant to appear.
    Channel::open_lower(line, page).await.map_err(OpenError::Channel)
}

/// The page of a channel that `peer` offers, mapped as soon as it is granted.
///
/// # Errors
/// [`OpenError::Grant`]; nothing is changed then, and it can be tried again. A grant that is not there yet is no
/// error: the peer has not come that far, and raises the port when it has.
pub async fn map<L: Line, G: Grants>(
    line: &L,
    grants: &G,
    peer: DomId,
    gref: Gref,
) -> Result<G::Mapped, OpenError> {
    loop {
        match grants.map(peer, gref, Access::ReadWrite) {
            Ok(page) => return Ok(page),
            Err(GrantError::Status(_)) => look(line).await,
            Err(error) => return Err(OpenError::Grant(error)),
        }
    }
}

/// The port of a channel to `peer`: ours, which dom0 made for us, or the peer's, which is bound. Xen raises a
/// port when it is bound, for what was sent before that is lost.
///
/// # Errors
/// [`OpenError::Port`].
pub fn line<E: EventChannels, W: Wait>(
    events: E,
    wait: W,
    peer: DomId,
    port: Port,
    bind: bool,
) -> Result<BoundPort<E, W>, OpenError> {
    let line = match bind {
        true => BoundPort::bind(events, wait, peer, port),
        false => BoundPort::adopt(events, wait, port),
    };
    line.map_err(OpenError::Port)
}
