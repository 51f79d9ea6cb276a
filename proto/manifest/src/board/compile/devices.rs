//! Devices: what they are, and who gets them.

use std::{borrow::ToOwned, format, vec::Vec};

use super::{
    super::{
        error::{Fault, Location},
        file,
        source::Item,
    },
    Compiler,
};
use crate::table::{
    self, Bus, Device, DeviceKind, MAX_BARS, MAX_DEVICES_OF_ONE, MAX_VECTORS, Pci, PciSelect, Registers,
    VirtioMmio,
};

/// The drivers, as boards spell them.
const DRIVERS: &[&str] = &["e1000e", "virtio-net", "nvme", "virtio-blk", "tpm-crb", "tpm-tis"];

impl<'a> Compiler<'a> {
    pub(super) fn devices(&mut self) -> Vec<Device> {
        let parts = &self.file.device.0;
        if let Some((_, part)) = parts.iter().nth(table::MAX_DEVICES) {
            let at = self.place(part);
            self.wrong(&at, Fault::TooMany { what: "devices", limit: table::MAX_DEVICES });
        }
        let mut devices: Vec<(Device, Location)> = Vec::new();
        for (key, part) in parts {
            let at = self.place(part);
            let Some(device) = self.device(key, part, &at) else { continue };
            let same = devices.iter().find(|(other, _)| is_same(&other.bus, &device.bus));
            if let Some((other, first)) = same {
                let fault = Fault::SameDevice { other: other.name.as_str().to_owned(), first: first.clone() };
                self.wrong(&at, fault);
            }
            devices.push((device, at));
        }
        devices.into_iter().map(|(device, _)| device).collect()
    }

    fn place(&self, part: &file::Device) -> Location {
        part.at.as_ref().unwrap_or(&self.start).clone()
    }

    fn device(&mut self, key: &str, part: &file::Device, at: &Location) -> Option<Device> {
        let path = format!("device.{key}");
        let name = self.name(key, at);
        let kind = self.need(&part.kind, &part.at, &path, "kind")?;
        let (kind, bus) = match kind.value.as_str() {
            "e1000e" => (DeviceKind::E1000e, self.pci(part, &path).map(Bus::Pci)),
            "virtio-net" => (DeviceKind::VirtioNet, self.virtio_mmio(part, &path).map(Bus::VirtioMmio)),
            "nvme" => (DeviceKind::Nvme, self.pci(part, &path).map(Bus::Pci)),
            "virtio-blk" => (DeviceKind::VirtioBlk, self.virtio_mmio(part, &path).map(Bus::VirtioMmio)),
            "tpm-crb" => (DeviceKind::TpmCrb, self.registers(part, &path).map(Bus::Registers)),
            "tpm-tis" => (DeviceKind::TpmTis, self.registers(part, &path).map(Bus::Registers)),
            other => {
                let fault = Fault::NoSuchDriver { name: other.to_owned(), known: DRIVERS };
                self.wrong(&kind.at, fault);
                return None;
            }
        };
        Some(Device { name: name?, kind, bus: bus? })
    }

    fn pci(&mut self, part: &file::Device, path: &str) -> Option<Pci> {
        self.only(part.places_of_virtio(), "a key of virtio devices, and this one is on PCI");
        self.only(part.places_of_registers(), "a key of pages of registers, and this one is on PCI");
        let select = self.pci_select(part, path);
        let bars = self.need(&part.bars, &part.at, path, "bars");
        if let Some(bars) = bars {
            let twice = |index: usize, bar: u8| bars.value.iter().take(index).any(|other| other.value == bar);
            let bad = |(index, bar): (usize, u8)| bar > 5 || twice(index, bar);
            if bars.value.len() > MAX_BARS || bars.value.iter().map(|bar| bar.value).enumerate().any(bad) {
                self.bad(&bars.at, format!("must list at most {MAX_BARS} of the BARs 0 to 5, each once"));
            }
        }
        let vectors = self.need(&part.vectors, &part.at, path, "vectors");
        if let Some(vectors) = vectors
            && !(1..=MAX_VECTORS).contains(&vectors.value)
        {
            self.bad(&vectors.at, format!("is {} and must be from 1 to {MAX_VECTORS}", vectors.value));
        }
        Some(Pci {
            select: select?,
            bars: bars?.value.iter().take(MAX_BARS).map(|bar| bar.value).collect(),
            vectors: vectors?.value,
        })
    }

    fn pci_select(&mut self, part: &file::Device, path: &str) -> Option<PciSelect> {
        let class = match &part.class {
            None => Some(None),
            Some(class) => match hex(&class.value, 6) {
                Some(code) => Some(Some(code)),
                None => {
                    let why = format!("is `{}` and must be six hexadecimal digits", class.value);
                    self.bad(&class.at, why);
                    None
                }
            },
        };
        let id = self.need(&part.id, &part.at, path, "id")?;
        let half = |text: &str| u16::try_from(hex(text, 4)?).ok();
        let halves = id.value.split_once(':').and_then(|(v, d)| Some((half(v)?, half(d)?)));
        let Some((vendor, device)) = halves else {
            let why = format!("is `{}` and must be VENDOR:DEVICE, four hexadecimal digits each", id.value);
            self.bad(&id.at, why);
            return None;
        };
        let skip = part.skip.as_ref().map_or(0, |skip| skip.value);
        Some(PciSelect { vendor, device, class: class?, skip })
    }

    fn virtio_mmio(&mut self, part: &file::Device, path: &str) -> Option<VirtioMmio> {
        self.only(part.places_of_pci(), "a key of PCI devices, and this one is a virtio transport");
        let pages = "a key of pages of registers, and this one is a virtio transport";
        self.only(part.places_of_registers(), pages);
        let transport = self.need(&part.transport, &part.at, path, "transport");
        if let Some(transport) = transport
            && transport.value >= VirtioMmio::TRANSPORTS
        {
            let most = VirtioMmio::TRANSPORTS - 1;
            self.bad(&transport.at, format!("is {} and must be from 0 to {most}", transport.value));
        }
        let most_kib = u32::from(VirtioMmio::MAX_POOL_PAGES) * 4;
        let pool = self.number(&part.pool_kib, &part.at, (path, "pool_kib"), 4..=most_kib);
        Some(VirtioMmio { transport: transport?.value, pool_pages: u16::try_from(pool? / 4).ok()? })
    }

    fn registers(&mut self, part: &file::Device, path: &str) -> Option<Registers> {
        self.only(part.places_of_pci(), "a key of PCI devices, and this one is a page of registers");
        self.only(part.places_of_virtio(), "a key of virtio devices, and this one is a page of registers");
        let address = self.need(&part.address, &part.at, path, "address")?;
        let optional = part.optional.as_ref().is_some_and(|flag| flag.value);
        let registers = Registers { address: address.value, optional };
        if !registers.is_page() {
            let why = format!("is {:#x} and must be a multiple of 0x1000, above 0", address.value);
            self.bad(&address.at, why);
        }
        Some(registers)
    }

    /// Notes keys that are for devices of another kind.
    fn only<const N: usize>(&mut self, foreign: [Option<&Location>; N], what: &str) {
        for at in foreign.into_iter().flatten() {
            self.bad(at, format!("is {what}"));
        }
    }

    /// Where in the table the devices of a domain are; each is given out once.
    pub(super) fn device_indices(
        &mut self,
        part: &'a file::Domain,
        owners: &mut Vec<(&'a str, &'a Location)>,
    ) -> heapless::Vec<u8, MAX_DEVICES_OF_ONE> {
        let mut indices = heapless::Vec::new();
        for wanted in part.devices.iter().flat_map(|list| &list.value) {
            let device = wanted.value.as_str();
            let Some(index) = self.file.device.0.keys().position(|known| known == device) else {
                self.wrong(&wanted.at, Fault::NoSuchDevice { name: device.to_owned() });
                continue;
            };
            if let Some((_, first)) = owners.iter().find(|(owned, _)| *owned == device) {
                let fault = Fault::DeviceTwice { device: device.to_owned(), first: (*first).clone() };
                self.wrong(&wanted.at, fault);
            }
            owners.push((device, &wanted.at));
            // More devices than a byte counts were noted as too many.
            let index = u8::try_from(index).unwrap_or(u8::MAX);
            if indices.push(index).is_err() {
                let fault = Fault::TooMany { what: "devices of one domain", limit: MAX_DEVICES_OF_ONE };
                self.wrong(&wanted.at, fault);
            }
        }
        indices
    }

    pub(super) fn unused_devices(&mut self, owners: &[(&str, &Location)]) {
        for (name, part) in &self.file.device.0 {
            if !owners.iter().any(|(owned, _)| owned == name) {
                let at = self.place(part);
                self.wrong(&at, Fault::DeviceUnused { device: name.clone() });
            }
        }
    }
}

impl file::Device {
    fn places_of_pci(&self) -> [Option<&Location>; 5] {
        let Self { id, class, skip, bars, vectors, .. } = self;
        [place(id), place(class), place(skip), place(bars), place(vectors)]
    }

    fn places_of_virtio(&self) -> [Option<&Location>; 2] {
        [place(&self.transport), place(&self.pool_kib)]
    }

    fn places_of_registers(&self) -> [Option<&Location>; 2] {
        [place(&self.address), place(&self.optional)]
    }
}

/// Where a key stands, if it is there.
fn place<T>(item: &Option<Item<T>>) -> Option<&Location> {
    item.as_ref().map(|item| &item.at)
}

/// Whether two devices are one: registers are handed out by the page.
fn is_same(one: &Bus, other: &Bus) -> bool {
    match (one, other) {
        (Bus::Pci(one), Bus::Pci(other)) => one.select == other.select,
        _ => one.register_page().is_some_and(|page| other.register_page() == Some(page)),
    }
}

fn hex(text: &str, digits: usize) -> Option<u32> {
    let hexadecimal = text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit());
    hexadecimal.then(|| u32::from_str_radix(text, 16).ok()).flatten()
}
