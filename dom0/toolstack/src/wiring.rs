//! Who talks to whom: special pages, ports and grant references of the table's channels.
//!
//! Special pages of a service, from the first on: the epitaph, the channel to dom0, then one for
//! each channel that it offers, in the table's order.

use heapless::Vec;
use proto_manifest::{
    name::Name,
    table::{Channel, DOM0_CHANNEL, MAX_CHANNELS, Party, Table},
    wiring::{ChannelEnd, End},
};
use proto_xen::{DomId, Gfn, Port};

use crate::{
    build::layout::Layout,
    error::{BuildError, Step},
    hypervisor::Hypervisor,
    port::OwnPort,
};

/// The first grant reference of channels. Near the end of the table's first frame, so that what a
/// domain allocates from the front before it offers its channels does not meet them.
pub const FIRST_GREF: u32 = 496;

/// Special page of the epitaph.
pub const EPITAPH: u64 = 0;

const DOM0_PAGE: u64 = 1;
const FIRST_OFFER: u64 = 2;

/// dom0's end of a channel.
#[derive(Debug)]
pub struct Dom0End<'h, H: Hypervisor> {
    /// The channel's name.
    pub name: Name,
    /// The domain's page.
    pub page: Gfn,
    /// Our port.
    pub port: OwnPort<'h, H>,
}

/// All ends of one domain.
#[derive(Debug)]
pub struct Links<'h, H: Hypervisor> {
    /// What the domain is told.
    pub ends: Vec<ChannelEnd, 8>,
    /// What dom0 keeps.
    pub to_dom0: Vec<Dom0End<'h, H>, 8>,
}

/// The ports between services, by channel. A port is made in the domain that is built, for a peer that is there
/// already: if the build fails, or the domain ends before the peer has bound the port, it is gone with the
/// domain. Made in the peer it would stay there, for nobody to close.
#[derive(Debug, Default)]
pub struct PortBook {
    ports: [Option<Made>; MAX_CHANNELS],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Made {
    owner: DomId,
    remote: DomId,
    port: Port,
}

impl PortBook {
    /// Makes a port of `owner` for channel `number`, which `remote` may bind.
    fn make<H: Hypervisor>(
        &mut self,
        hyp: &H,
        number: usize,
        owner: DomId,
        remote: DomId,
    ) -> Result<(), BuildError> {
        let slot = self.ports.get_mut(number).ok_or(BuildError::TooManyChannels)?;
        let port = hyp.alloc_unbound(owner, remote).map_err(BuildError::at(Step::Port))?;
        *slot = Some(Made { owner, remote, port });
        Ok(())
    }

    /// The port of channel `number` between these two, and whether it is the peer's.
    fn find(&self, number: usize, this: DomId, peer: DomId) -> Option<(Port, bool)> {
        let Made { owner, remote, port } = (*self.ports.get(number)?)?;
        match (owner, remote) {
            ends if ends == (this, peer) => Some((port, false)),
            ends if ends == (peer, this) => Some((port, true)),
            _ => None,
        }
    }
}

/// The number of special pages of the service with this index.
pub fn special_pages(table: &Table, index: usize) -> u64 {
    FIRST_OFFER + offered(table, index).count() as u64
}

/// Makes the ports of `this`, a new instance of the service with this index. `ids` are the domains that are
/// built, by index. Of a channel whose peer is not among them it is told that there is one: the peer makes the port when
/// it is built. Left out, the service would take the board for one without that peer.
///
/// # Errors
/// [`BuildError::TooManyChannels`], [`BuildError::Xen`].
pub fn connect<'h, H: Hypervisor>(
    hyp: &'h H,
    table: &Table,
    index: usize,
    this: DomId,
    ids: &[Option<DomId>],
    layout: &Layout,
    book: &mut PortBook,
) -> Result<Links<'h, H>, BuildError> {
    let mut links = Links { ends: Vec::new(), to_dom0: Vec::new() };
    // Eight bytes: always fits.
    let dom0 = Name::try_from(DOM0_CHANNEL).unwrap_or_default();
    links.connect_to_dom0(hyp, this, dom0, layout.special(DOM0_PAGE))?;
    for channel in offered(table, index).filter(|(_, channel)| channel.accepts == Party::Dom0) {
        let (number, channel) = channel;
        let page = layout.special(page_of(table, number, channel));
        links.connect_to_dom0(hyp, this, channel.name.clone(), page)?;
    }
    for (number, channel) in table.channels.iter().enumerate() {
        if let Some(peer) = peer_of(channel, index).and_then(|peer| id_of(ids, peer)) {
            book.make(hyp, number, this, peer)?;
        }
    }
    for end in peer_ends(table, index, this, ids, layout.special(0), book)? {
        links.push(end)?;
    }
    for channel in table.channels.iter().filter(|channel| peer_of(channel, index).is_some()) {
        if !links.ends.iter().any(|end| end.name == channel.name) {
            links.push(ChannelEnd { name: channel.name.clone(), end: End::Absent })?;
        }
    }
    Ok(links)
}

/// The ends of `this`, an instance of the service with this index, towards other services, as things are now.
/// `first_special` is its page number 0.
///
/// # Errors
/// [`BuildError::TooManyChannels`].
pub fn peer_ends(
    table: &Table,
    index: usize,
    this: DomId,
    ids: &[Option<DomId>],
    first_special: Gfn,
    book: &PortBook,
) -> Result<Vec<ChannelEnd, 8>, BuildError> {
    let mut ends = Vec::new();
    for (number, channel) in table.channels.iter().enumerate() {
        let Some(peer) = peer_of(channel, index).and_then(|peer| id_of(ids, peer)) else { continue };
        let Some((port, bind)) = book.find(number, this, peer) else { continue };
        let (peer, gref, port) = (peer.0, gref_of(table, number, channel), port.0);
        let end = if usize::from(channel.offers) == index {
            let page = Gfn(first_special.0 + page_of(table, number, channel)).base().0;
            End::Offer { peer, page, gref, port, bind }
        } else {
            End::Accept { peer, gref, port, bind }
        };
        let end = ChannelEnd { name: channel.name.clone(), end };
        ends.push(end).map_err(|_| BuildError::TooManyChannels)?;
    }
    Ok(ends)
}

/// The index of the service at the other end of a channel, for the service with this index.
fn peer_of(channel: &Channel, index: usize) -> Option<usize> {
    let offers = usize::from(channel.offers);
    match channel.accepts {
        Party::Domain(accepts) if offers == index => Some(accepts.into()),
        Party::Domain(accepts) if usize::from(accepts) == index => Some(offers),
        Party::Domain(_) | Party::Dom0 => None,
    }
}

fn id_of(ids: &[Option<DomId>], index: usize) -> Option<DomId> {
    ids.get(index).copied().flatten()
}

impl<'h, H: Hypervisor> Links<'h, H> {
    fn connect_to_dom0(
        &mut self,
        hyp: &'h H,
        domain: DomId,
        name: Name,
        page: Gfn,
    ) -> Result<(), BuildError> {
        let (theirs, port) = OwnPort::connect(hyp, domain)?;
        let end = End::Dom0 { page: page.base().0, port: theirs.0 };
        self.push(ChannelEnd { name: name.clone(), end })?;
        let ours = Dom0End { name, page, port };
        self.to_dom0.push(ours).map_err(|_| BuildError::TooManyChannels)
    }

    fn push(&mut self, end: ChannelEnd) -> Result<(), BuildError> {
        self.ends.push(end).map_err(|_| BuildError::TooManyChannels)
    }
}

fn offered(table: &Table, index: usize) -> impl Iterator<Item = (usize, &Channel)> {
    table.channels.iter().enumerate().filter(move |(_, channel)| usize::from(channel.offers) == index)
}

/// The special page of an offered channel.
fn page_of(table: &Table, number: usize, channel: &Channel) -> u64 {
    FIRST_OFFER + place_of(table, number, channel)
}

/// The grant reference of an offered channel.
fn gref_of(table: &Table, number: usize, channel: &Channel) -> u32 {
    // At most `MAX_CHANNELS`.
    FIRST_GREF + place_of(table, number, channel) as u32
}

/// How many channels its domain offers before this one.
fn place_of(table: &Table, number: usize, channel: &Channel) -> u64 {
    offered(table, channel.offers.into()).filter(|&(other, _)| other < number).count() as u64
}
