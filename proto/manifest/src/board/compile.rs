//! From merged files to the table: what must be there is asked for, and all is compared with all.

use std::{
    borrow::ToOwned,
    format,
    string::{String, ToString},
    vec::Vec,
};

use toml::Spanned;

use super::{
    Board, Machine,
    error::{BoardError, Location},
    file,
};
use crate::{
    name::{self, Name},
    table::{
        self, Applications, Bus, Channel, DOM0_CHANNEL, Device, DeviceKind, Domain, Party, Pci, PciSelect,
        Table, VirtioMmio,
    },
};

type Hashes<'a> = &'a dyn Fn(&str) -> Option<[u8; 32]>;

pub(super) fn machine(board: &Board) -> Result<Machine, BoardError> {
    let file = &board.file;
    let arch = need(&file.machine.arch, "machine.arch")?;
    if !["x86_64", "aarch64"].contains(&arch.get_ref().as_str()) {
        return Err(board.bad(arch, "arch", "is neither `x86_64` nor `aarch64`"));
    }
    let memory = need(&file.machine.memory_mib, "machine.memory_mib")?;
    let dom0 = need(&file.dom0.memory_mib, "dom0.memory_mib")?;
    let xen = need(&file.xen.memory_mib, "xen.memory_mib")?;
    let applications = need(&file.applications.memory_mib, "applications.memory_mib")?;
    let domains = file.domain.values().filter_map(|domain| domain.memory_mib.as_ref());
    let all = [dom0, xen, applications].into_iter().chain(domains);
    let need_mib = all.map(|mib| u64::from(*mib.get_ref())).sum();
    let have_mib = u64::from(*memory.get_ref());
    if need_mib > have_mib {
        return Err(BoardError::OverCommitted { at: board.at(memory), have_mib, need_mib });
    }
    Ok(Machine {
        arch: arch.get_ref().clone(),
        memory_mib: *memory.get_ref(),
        dom0_memory_mib: *dom0.get_ref(),
        xen_options: file.xen.options.as_ref().map(|options| options.get_ref().clone()).unwrap_or_default(),
    })
}

pub(super) fn images(board: &Board) -> Vec<String> {
    let mut images = Vec::new();
    for (name, domain) in in_order(board) {
        let image = domain.image.as_ref().unwrap_or(name).get_ref();
        if !images.contains(image) {
            images.push(image.clone());
        }
    }
    images
}

pub(super) fn table(board: &Board, sha256_of: Hashes<'_>) -> Result<Table, BoardError> {
    let devices = devices(board)?;
    let domains = domains(board, &devices, sha256_of)?;
    let channels = channels(board, &domains)?;
    Ok(Table {
        board: board.name.chars().filter(|c| !c.is_control()).take(30).filter(char::is_ascii).collect(),
        domains,
        channels,
        devices,
        applications: applications(board)?,
    })
}

fn devices(board: &Board) -> Result<heapless::Vec<Device, { table::MAX_DEVICES }>, BoardError> {
    let mut devices: heapless::Vec<Device, _> = heapless::Vec::new();
    for (key, device) in &board.file.device {
        let name = board.name_of(key)?;
        let path = |field: &str| format!("device.{name}.{field}");
        let kind = need(&device.kind, &path("kind"))?;
        let (kind, bus) = match kind.get_ref().as_str() {
            "e1000e" => (DeviceKind::E1000e, Bus::Pci(pci(board, device, &path)?)),
            "virtio-net" => (DeviceKind::VirtioNet, Bus::VirtioMmio(virtio_mmio(board, device, &path)?)),
            _ => return Err(board.bad(kind, "kind", "is neither `e1000e` nor `virtio-net`")),
        };
        if let (Bus::VirtioMmio(mmio), Some(transport)) = (&bus, &device.transport) {
            let shared =
                |known: &Device| matches!(&known.bus, Bus::VirtioMmio(other) if other.page() == mmio.page());
            if devices.iter().any(shared) {
                let why =
                    "lies in the page of another device's: eight share one, and a page goes to one domain";
                return Err(board.bad(transport, "transport", why));
            }
        }
        let device = Device { name, kind, bus };
        devices.push(device).map_err(|_| board.too_many(key, "devices", table::MAX_DEVICES))?;
    }
    Ok(devices)
}

fn pci(board: &Board, device: &file::Device, path: &dyn Fn(&str) -> String) -> Result<Pci, BoardError> {
    if let Some(transport) = &device.transport {
        return Err(board.bad(transport, "transport", "is a key of virtio devices; this one is on PCI"));
    }
    if let Some(pool) = &device.pool_kib {
        return Err(board.bad(pool, "pool_kib", "is a key of virtio devices; this one is on PCI"));
    }
    let select = pci_select(board, device, &path("id"))?;
    let bars = need(&device.bars, &path("bars"))?;
    if bars.get_ref().len() > 4 || bars.get_ref().iter().any(|&bar| bar > 5) {
        return Err(board.bad(bars, "bars", "must list at most 4 of the BARs 0 to 5"));
    }
    let vectors = need(&device.vectors, &path("vectors"))?;
    if !(1..=8).contains(vectors.get_ref()) {
        return Err(board.bad(vectors, "vectors", "must be from 1 to 8"));
    }
    let bars = bars.get_ref().iter().copied().collect();
    Ok(Pci { select, bars, vectors: *vectors.get_ref() })
}

fn virtio_mmio(
    board: &Board,
    device: &file::Device,
    path: &dyn Fn(&str) -> String,
) -> Result<VirtioMmio, BoardError> {
    const NOT_PCI: &str = "is a key of PCI devices; this one is a virtio transport";
    let texts = [("id", &device.id), ("class", &device.class)];
    if let Some((key, value)) = texts.into_iter().find_map(|(key, value)| Some((key, value.as_ref()?))) {
        return Err(board.bad(value, key, NOT_PCI));
    }
    let numbers = [("skip", &device.skip), ("vectors", &device.vectors)];
    if let Some((key, value)) = numbers.into_iter().find_map(|(key, value)| Some((key, value.as_ref()?))) {
        return Err(board.bad(value, key, NOT_PCI));
    }
    if let Some(bars) = &device.bars {
        return Err(board.bad(bars, "bars", NOT_PCI));
    }
    let transport = need(&device.transport, &path("transport"))?;
    if *transport.get_ref() >= VirtioMmio::TRANSPORTS {
        return Err(board.bad(transport, "transport", "must be from 0 to 31"));
    }
    let pool = need(&device.pool_kib, &path("pool_kib"))?;
    let pages = *pool.get_ref() / 4;
    let most = u32::from(VirtioMmio::MAX_POOL_PAGES);
    let pool_pages = u16::try_from(pages).ok().filter(|_| (1..=most).contains(&pages));
    let pool_pages = pool_pages.ok_or_else(|| board.bad(pool, "pool_kib", "must be from 4 to 4096"))?;
    Ok(VirtioMmio { transport: *transport.get_ref(), pool_pages })
}

fn pci_select(board: &Board, device: &file::Device, path: &str) -> Result<PciSelect, BoardError> {
    let id = need(&device.id, path)?;
    let parse = |text: &str| (text.len() == 4).then(|| u16::from_str_radix(text, 16).ok()).flatten();
    let halves = id.get_ref().split_once(':').and_then(|(v, d)| Some((parse(v)?, parse(d)?)));
    let (vendor, pci_device) =
        halves.ok_or_else(|| board.bad(id, "id", "must be `VENDOR:DEVICE`, four hexadecimal digits each"))?;
    let class = match &device.class {
        None => None,
        Some(class) => {
            let code = u32::from_str_radix(class.get_ref(), 16).ok().filter(|_| class.get_ref().len() == 6);
            Some(code.ok_or_else(|| board.bad(class, "class", "must be six hexadecimal digits"))?)
        }
    };
    let skip = device.skip.as_ref().map_or(0, |skip| *skip.get_ref());
    Ok(PciSelect { vendor, device: pci_device, class, skip })
}

fn domains(
    board: &Board,
    devices: &[Device],
    sha256_of: Hashes<'_>,
) -> Result<heapless::Vec<Domain, { table::MAX_DOMAINS }>, BoardError> {
    let mut domains = heapless::Vec::new();
    let mut owners: Vec<(String, Location)> = Vec::new();
    for (key, domain) in in_order(board) {
        let name = board.name_of(key)?;
        if name == DOM0_CHANNEL {
            return Err(board.bad(key, "domain", "`dom0` is set up in its own table, `[dom0]`"));
        }
        let path = |field: &str| format!("domain.{name}.{field}");
        let image = board.name_of(domain.image.as_ref().unwrap_or(key))?;
        let sha256 =
            sha256_of(&image).ok_or_else(|| BoardError::ImageMissing { image: image.to_string() })?;
        let memory = need(&domain.memory_mib, &path("memory_mib"))?;
        if !(Domain::MIN_MEMORY_MIB..=Domain::MAX_MEMORY_MIB).contains(memory.get_ref()) {
            return Err(board.bad(memory, "memory_mib", "must be from 2 to 2048"));
        }
        let vcpus = need(&domain.vcpus, &path("vcpus"))?;
        if *vcpus.get_ref() != 1 {
            return Err(board.bad(vcpus, "vcpus", "must be 1: services have one vCPU"));
        }
        let heap = need(&domain.heap_kib, &path("heap_kib"))?;
        if u64::from(*heap.get_ref()) >= u64::from(*memory.get_ref()) * 1024 {
            return Err(board.bad(heap, "heap_kib", "must be less than the domain's memory"));
        }
        let entry = Domain {
            image,
            sha256,
            memory_mib: *memory.get_ref(),
            vcpus: *vcpus.get_ref(),
            heap_kib: *heap.get_ref(),
            provisioning: domain.provisioning.as_ref().is_some_and(|flag| *flag.get_ref()),
            devices: device_indices(board, domain, devices, &mut owners)?,
            name,
        };
        domains.push(entry).map_err(|_| board.too_many(key, "domains", table::MAX_DOMAINS))?;
    }
    let unused = board.file.device.keys().find(|key| !owners.iter().any(|owner| owner.0 == *key.get_ref()));
    match unused {
        Some(key) => Err(BoardError::DeviceUnused { at: board.at(key), device: key.get_ref().clone() }),
        None => Ok(domains),
    }
}

fn device_indices(
    board: &Board,
    domain: &file::Domain,
    devices: &[Device],
    owners: &mut Vec<(String, Location)>,
) -> Result<heapless::Vec<u8, 4>, BoardError> {
    let mut indices = heapless::Vec::new();
    for wanted in domain.devices.iter().flat_map(|list| list.get_ref()) {
        let device = wanted.get_ref();
        let at = board.at(wanted);
        let Some(index) = devices.iter().position(|known| known.name == device.as_str()) else {
            return Err(BoardError::NoSuchDevice { at, name: device.clone() });
        };
        if let Some((_, first)) = owners.iter().find(|(owned, _)| owned == device) {
            return Err(BoardError::DeviceTwice { at, device: device.clone(), first: first.clone() });
        }
        owners.push((device.clone(), at.clone()));
        // At most `MAX_DEVICES`.
        let full = BoardError::TooMany { at, what: "devices of one domain", limit: 4 };
        indices.push(index as u8).map_err(|_| full)?;
    }
    Ok(indices)
}

/// One side of a channel, as its file names it.
#[derive(Clone, Copy)]
struct Side<'a> {
    channel: &'a Spanned<String>,
    owner: &'a str,
    peer: &'a Spanned<String>,
}

impl Side<'_> {
    fn meets(&self, other: &Side<'_>) -> bool {
        self.channel.get_ref() == other.channel.get_ref()
            && self.owner == other.peer.get_ref()
            && other.owner == self.peer.get_ref()
    }
}

fn channels(
    board: &Board,
    domains: &[Domain],
) -> Result<heapless::Vec<Channel, { table::MAX_CHANNELS }>, BoardError> {
    let (offers, accepts) = sides(board);
    for (index, side) in offers.iter().chain(&accepts).enumerate() {
        board.name_of(side.channel)?;
        let at = board.at(side.channel);
        let channel = side.channel.get_ref().clone();
        if channel == DOM0_CHANNEL {
            return Err(BoardError::ReservedChannel { at });
        }
        if side.peer.get_ref() == side.owner {
            return Err(BoardError::ToItself { at, channel });
        }
        if party(domains, side.peer.get_ref()).is_none() {
            return Err(BoardError::NoSuchDomain {
                at: board.at(side.peer),
                name: side.peer.get_ref().clone(),
            });
        }
        let mut earlier = offers.iter().chain(&accepts).take(index);
        if earlier.any(|other| other.owner == side.owner && *other.channel.get_ref() == channel) {
            return Err(BoardError::ChannelTwice { at, channel });
        }
    }
    if let Some(alone) = accepts.iter().find(|accept| !offers.iter().any(|offer| offer.meets(accept))) {
        return Err(BoardError::NotOffered {
            at: board.at(alone.channel),
            channel: alone.channel.get_ref().clone(),
            by: alone.peer.get_ref().clone(),
            to: alone.owner.to_owned(),
        });
    }
    let mut channels = heapless::Vec::new();
    for offer in &offers {
        if !accepts.iter().any(|accept| accept.meets(offer)) {
            return Err(BoardError::NotAccepted {
                at: board.at(offer.channel),
                channel: offer.channel.get_ref().clone(),
                by: offer.peer.get_ref().clone(),
                from: offer.owner.to_owned(),
            });
        }
        let (Some(Party::Domain(owner)), Some(accepts)) =
            (party(domains, offer.owner), party(domains, offer.peer.get_ref()))
        else {
            return Err(BoardError::NoSuchDomain {
                at: board.at(offer.channel),
                name: offer.owner.to_owned(),
            });
        };
        let entry = Channel { name: board.name_of(offer.channel)?, offers: owner, accepts };
        channels.push(entry).map_err(|_| board.too_many(offer.channel, "channels", table::MAX_CHANNELS))?;
    }
    Ok(channels)
}

fn sides(board: &Board) -> (Vec<Side<'_>>, Vec<Side<'_>>) {
    let mut offers = Vec::new();
    let mut accepts = Vec::new();
    for entry in board.file.dom0.accepts.iter().flat_map(|list| list.get_ref()) {
        accepts.push(Side { channel: &entry.channel, owner: DOM0_CHANNEL, peer: &entry.from });
    }
    for (key, domain) in in_order(board) {
        let owner = key.get_ref().as_str();
        for entry in domain.offers.iter().flat_map(|list| list.get_ref()) {
            offers.push(Side { channel: &entry.channel, owner, peer: &entry.to });
        }
        for entry in domain.accepts.iter().flat_map(|list| list.get_ref()) {
            accepts.push(Side { channel: &entry.channel, owner, peer: &entry.from });
        }
    }
    (offers, accepts)
}

fn party(domains: &[Domain], name: &str) -> Option<Party> {
    if name == DOM0_CHANNEL {
        return Some(Party::Dom0);
    }
    let index = domains.iter().position(|domain| domain.name == name)?;
    u8::try_from(index).ok().map(Party::Domain)
}

fn applications(board: &Board) -> Result<Applications, BoardError> {
    let file = &board.file.applications;
    Ok(Applications {
        memory_mib: *need(&file.memory_mib, "applications.memory_mib")?.get_ref(),
        count: *need(&file.count, "applications.count")?.get_ref(),
        vcpus: *need(&file.vcpus, "applications.vcpus")?.get_ref(),
        image_kib: *need(&file.image_kib, "applications.image_kib")?.get_ref(),
    })
}

/// The domains by their `order`, then by name.
fn in_order(board: &Board) -> Vec<(&Spanned<String>, &file::Domain)> {
    let mut domains: Vec<_> = board.file.domain.iter().collect();
    domains.sort_by_key(|(_, domain)| domain.order.as_ref().map_or(u32::MAX, |order| *order.get_ref()));
    domains
}

fn need<'a, T>(value: &'a Option<Spanned<T>>, key: &str) -> Result<&'a Spanned<T>, BoardError> {
    value.as_ref().ok_or_else(|| BoardError::Missing { key: key.to_owned() })
}

impl Board {
    fn at<T>(&self, value: &Spanned<T>) -> Location {
        self.sources.locate(value.span())
    }

    fn bad<T>(&self, value: &Spanned<T>, key: &'static str, why: &'static str) -> BoardError {
        BoardError::BadValue { at: self.at(value), key, why }
    }

    fn too_many<T>(&self, value: &Spanned<T>, what: &'static str, limit: usize) -> BoardError {
        BoardError::TooMany { at: self.at(value), what, limit }
    }

    fn name_of(&self, value: &Spanned<String>) -> Result<Name, BoardError> {
        let text = value.get_ref();
        let bad = || BoardError::BadName { at: self.at(value), name: text.clone() };
        if !name::is_valid(text) {
            return Err(bad());
        }
        Name::try_from(text.as_str()).map_err(|_| bad())
    }
}
