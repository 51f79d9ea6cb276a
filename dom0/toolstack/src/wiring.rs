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

/// Ports between services that were made for one end and wait for the other, by channel.
#[derive(Debug, Default)]
pub struct PortBook {
    ports: [Option<Unbound>; MAX_CHANNELS],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Unbound {
    owner: DomId,
    remote: DomId,
    port: Port,
}

impl PortBook {
    /// The offerer's port of channel `number`, made at the first call and remembered for the second
    /// one: that of the other end. A domain that was built anew has another number, and so gets
    /// another port.
    fn port<H: Hypervisor>(
        &mut self,
        hyp: &H,
        number: usize,
        owner: DomId,
        remote: DomId,
    ) -> Result<Port, BuildError> {
        let slot = self.ports.get_mut(number).ok_or(BuildError::TooManyChannels)?;
        match slot {
            Some(known) if known.owner == owner && known.remote == remote => Ok(known.port),
            _ => {
                let port = hyp.alloc_unbound(owner, remote).map_err(BuildError::at(Step::Port))?;
                *slot = Some(Unbound { owner, remote, port });
                Ok(port)
            }
        }
    }
}

/// The number of special pages of the service with this index.
pub fn special_pages(table: &Table, index: usize) -> u64 {
    FIRST_OFFER + offered(table, index).count() as u64
}

/// Makes the ports of the service with this index. `ids` are the domains created so far, by index. A
/// channel whose peer is not among them is left out: one service that cannot be built takes no other
/// with it.
///
/// # Errors
/// [`BuildError::NoSuchDomain`] if the service itself is not in `ids`, [`BuildError::TooManyChannels`],
/// [`BuildError::Xen`].
pub fn connect<'h, H: Hypervisor>(
    hyp: &'h H,
    table: &Table,
    index: usize,
    ids: &[Option<DomId>],
    layout: &Layout,
    book: &mut PortBook,
) -> Result<Links<'h, H>, BuildError> {
    let id_of = |index: usize| ids.get(index).copied().flatten();
    let this = id_of(index).ok_or(BuildError::NoSuchDomain)?;
    let mut links = Links { ends: Vec::new(), to_dom0: Vec::new() };
    // Eight bytes: always fits.
    let dom0 = Name::try_from(DOM0_CHANNEL).unwrap_or_default();
    links.connect_to_dom0(hyp, this, dom0, layout.special(DOM0_PAGE))?;
    for channel in offered(table, index).filter(|(_, channel)| channel.accepts == Party::Dom0) {
        let (number, channel) = channel;
        let page = layout.special(page_of(table, number, channel));
        links.connect_to_dom0(hyp, this, channel.name.clone(), page)?;
    }
    for end in peer_ends(hyp, table, index, ids, layout.special(0), book)? {
        links.push(end)?;
    }
    Ok(links)
}

/// The ends of the service with this index towards other services, as things are now. Ports are made
/// where none were made for these two instances. `first_special` is its page number 0.
///
/// # Errors
/// As [`connect`].
pub fn peer_ends<H: Hypervisor>(
    hyp: &H,
    table: &Table,
    index: usize,
    ids: &[Option<DomId>],
    first_special: Gfn,
    book: &mut PortBook,
) -> Result<Vec<ChannelEnd, 8>, BuildError> {
    let id_of = |index: usize| ids.get(index).copied().flatten();
    let this = id_of(index).ok_or(BuildError::NoSuchDomain)?;
    let mut ends = Vec::new();
    for (number, channel) in table.channels.iter().enumerate() {
        let offerer = usize::from(channel.offers);
        let end = match channel.accepts {
            Party::Domain(peer) if offerer == index => {
                let Some(peer) = id_of(peer.into()) else { continue };
                End::Offer {
                    peer: peer.0,
                    page: Gfn(first_special.0 + page_of(table, number, channel)).base().0,
                    gref: gref_of(table, number, channel),
                    port: book.port(hyp, number, this, peer)?.0,
                }
            }
            Party::Domain(accepter) if usize::from(accepter) == index => {
                let Some(peer) = id_of(offerer) else { continue };
                End::Accept {
                    peer: peer.0,
                    gref: gref_of(table, number, channel),
                    remote_port: book.port(hyp, number, peer, this)?.0,
                }
            }
            Party::Domain(_) | Party::Dom0 => continue,
        };
        let end = ChannelEnd { name: channel.name.clone(), end };
        ends.push(end).map_err(|_| BuildError::TooManyChannels)?;
    }
    Ok(ends)
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
