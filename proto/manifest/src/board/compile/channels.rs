//! Channels: each is named by both of its sides.

use std::{borrow::ToOwned, format, string::String, vec::Vec};

use proto_svc::{PROTOCOLS, SERVED_BY_DOM0};

use super::{
    super::{
        error::{Fault, Location},
        file::{Accept, Offer},
        source::Item,
    },
    Compiler, in_order,
};
use crate::{
    name::Name,
    table::{self, Channel, DOM0_CHANNEL, MAX_CHANNELS_OF_ONE, Party},
};

/// One side of a channel, as its file names it.
#[derive(Clone, Copy)]
struct Side<'a> {
    channel: &'a Item<String>,
    owner: &'a str,
    peer: &'a Item<String>,
    offers: bool,
}

impl Side<'_> {
    fn meets(&self, other: &Side<'_>) -> bool {
        self.offers != other.offers
            && self.channel.value == other.channel.value
            && self.owner == other.peer.value
            && other.owner == self.peer.value
    }

    /// Whether they could be of one channel, but for a mistake.
    fn is_near(&self, other: &Side<'_>) -> bool {
        let between = [self.owner, &self.peer.value];
        let same_domains = between.contains(&other.owner) && between.contains(&other.peer.value.as_str());
        self.channel.value == other.channel.value || same_domains
    }
}

impl<'a> Compiler<'a> {
    pub(super) fn channels(&mut self) -> Vec<Channel> {
        let domains: Vec<&str> = in_order(self.file).into_iter().map(|(name, _)| name).collect();
        let sides = self.sides();
        let mut bad: Vec<&Side<'_>> = Vec::new();
        for (index, side) in sides.iter().enumerate() {
            if !self.is_good(side, sides.get(..index).unwrap_or_default(), &domains) {
                bad.push(side);
            }
        }
        let mut channels = Vec::new();
        for side in &sides {
            if !sides.iter().any(|other| side.meets(other)) {
                // It may only look one-sided where the other side is wrong in itself.
                if !bad.iter().any(|bad| bad.is_near(side)) {
                    self.one_sided(side);
                }
                continue;
            }
            let ends = (party(&domains, side.owner), party(&domains, &side.peer.value));
            if let (true, (Some(Party::Domain(offers)), Some(accepts))) = (side.offers, ends) {
                // The protocol's name is a valid one.
                let name = Name::try_from(side.channel.value.as_str()).unwrap_or_default();
                channels.push(Channel { name, offers, accepts });
                if channels.len() == table::MAX_CHANNELS + 1 {
                    let fault = Fault::TooMany { what: "channels", limit: table::MAX_CHANNELS };
                    self.wrong(&side.channel.at, fault);
                }
            }
        }
        channels
    }

    /// All sides. What one of them lacks is noted, and it is left out.
    fn sides(&mut self) -> Vec<Side<'a>> {
        let file = self.file;
        let mut sides = Vec::new();
        self.accepts(&mut sides, DOM0_CHANNEL, &file.dom0.accepts);
        for (owner, part) in in_order(file) {
            for (index, entry) in part.offers.iter().flat_map(|list| &list.value).enumerate() {
                let Offer { at, channel, to } = &entry.value;
                let path = format!("domain.{owner}.offers[{index}]");
                let channel = self.need(channel, at, &path, "channel");
                let peer = self.need(to, at, &path, "to");
                sides.extend(channel.zip(peer).map(|(channel, peer)| Side {
                    channel,
                    owner,
                    peer,
                    offers: true,
                }));
            }
            self.accepts(&mut sides, owner, &part.accepts);
        }
        sides
    }

    fn accepts(
        &mut self,
        sides: &mut Vec<Side<'a>>,
        owner: &'a str,
        list: &'a Option<Item<Vec<Item<Accept>>>>,
    ) {
        for (index, entry) in list.iter().flat_map(|list| &list.value).enumerate() {
            let Accept { at, channel, from } = &entry.value;
            let path = format!("{owner}.accepts[{index}]");
            let channel = self.need(channel, at, &path, "channel");
            let peer = self.need(from, at, &path, "from");
            sides.extend(channel.zip(peer).map(|(channel, peer)| Side {
                channel,
                owner,
                peer,
                offers: false,
            }));
        }
    }

    fn is_good(&mut self, side: &Side<'_>, before: &[Side<'_>], domains: &[&str]) -> bool {
        let channel = side.channel.value.clone();
        let found = self.errors.len();
        if channel == DOM0_CHANNEL {
            self.wrong(&side.channel.at, Fault::ReservedName { name: channel.clone() });
        } else if !PROTOCOLS.contains(&channel.as_str()) {
            self.wrong(&side.channel.at, Fault::NoSuchProtocol { name: channel.clone(), known: PROTOCOLS });
        } else if [side.owner, &side.peer.value].contains(&DOM0_CHANNEL)
            && !SERVED_BY_DOM0.contains(&channel.as_str())
        {
            self.wrong(&side.channel.at, Fault::NotOfDom0 { name: channel.clone(), known: SERVED_BY_DOM0 });
        }
        if side.peer.value == side.owner {
            self.wrong(&side.peer.at, Fault::ToItself { channel: channel.clone() });
        } else if party(domains, &side.peer.value).is_none() {
            self.wrong(&side.peer.at, Fault::NoSuchDomain { name: side.peer.value.clone() });
        }
        let mut mine = before.iter().filter(|other| other.owner == side.owner);
        if let Some(twin) = mine.clone().find(|other| other.channel.value == channel) {
            let first: Location = twin.channel.at.clone();
            self.wrong(&side.channel.at, Fault::ChannelTwice { channel, first });
        }
        // The channel to dom0 is one of them.
        if side.owner != DOM0_CHANNEL && mine.nth(MAX_CHANNELS_OF_ONE - 2).is_some() {
            let fault = Fault::TooMany { what: "channels of one domain", limit: MAX_CHANNELS_OF_ONE - 1 };
            self.wrong(&side.channel.at, fault);
        }
        self.errors.len() == found
    }

    fn one_sided(&mut self, side: &Side<'_>) {
        let channel = side.channel.value.clone();
        let (owner, peer) = (side.owner.to_owned(), side.peer.value.clone());
        let fault = match side.offers {
            true => Fault::NotAccepted { channel, by: peer, from: owner },
            false => Fault::NotOffered { channel, by: peer, to: owner },
        };
        self.wrong(&side.channel.at, fault);
    }
}

fn party(domains: &[&str], name: &str) -> Option<Party> {
    if name == DOM0_CHANNEL {
        return Some(Party::Dom0);
    }
    let index = domains.iter().position(|domain| *domain == name)?;
    u8::try_from(index).ok().map(Party::Domain)
}
