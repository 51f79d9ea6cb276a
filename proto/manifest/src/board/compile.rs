//! From merged files to the table: what must be there is asked for, and all is compared with all.
//!
//! Every step notes what is wrong and goes on, so that one run tells everything. The table is made only
//! if nothing was wrong.

mod channels;
mod devices;

use core::ops::RangeInclusive;
use std::{borrow::ToOwned, format, string::String, vec, vec::Vec};

use super::{
    Image, Machine,
    error::{BoardError, Fault, Location},
    file::{Domain as DomainPart, File},
    source::Item,
};
use crate::{
    name::{self, Name},
    table::{self, Applications, Domain, Table},
};

/// What a board's files come to.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) machine: Machine,
    /// With hashes of zero.
    pub(super) table: Table,
    /// The image of each domain of the table.
    pub(super) images: Vec<Image>,
}

/// Compiles the files of the board called `name`. `start` stands for what no file has.
pub(super) fn compile(name: &str, file: &File, start: Location) -> Result<Compiled, Vec<BoardError>> {
    let mut compiler = Compiler { file, start, errors: Vec::new() };
    let machine = compiler.machine();
    compiler.memory();
    let devices = compiler.devices();
    let domains = compiler.domains();
    let channels = compiler.channels();
    let applications = compiler.applications();
    let images = compiler.images();
    if let (Some(machine), Some(applications), []) = (machine, applications, compiler.errors.as_slice()) {
        let plain = |c: &char| c.is_ascii_graphic();
        // A list that does not fit was noted as too many.
        let table = Table {
            board: name.chars().filter(plain).take(table::MAX_BOARD).collect(),
            domains: domains.into_iter().take(table::MAX_DOMAINS).collect(),
            channels: channels.into_iter().take(table::MAX_CHANNELS).collect(),
            devices: devices.into_iter().take(table::MAX_DEVICES).collect(),
            applications,
        };
        return Ok(Compiled { machine, table, images });
    }
    Err(compiler.errors)
}

/// The work of compiling.
struct Compiler<'a> {
    file: &'a File,
    start: Location,
    errors: Vec<BoardError>,
}

impl<'a> Compiler<'a> {
    fn wrong(&mut self, at: &Location, fault: Fault) {
        self.errors.push(BoardError { at: at.clone(), fault });
    }

    /// For what is no valid value of the key at `at`.
    fn bad(&mut self, at: &Location, why: impl Into<String>) {
        self.wrong(at, Fault::BadValue { why: why.into() });
    }

    /// What the board must have: `key` of `part`, which stands at `at` if any file has it.
    fn need<'i, T>(
        &mut self,
        item: &'i Option<Item<T>>,
        at: &Option<Location>,
        part: &str,
        key: &str,
    ) -> Option<&'i Item<T>> {
        if item.is_none() {
            let mut at = at.as_ref().unwrap_or(&self.start).clone();
            let part = if at.key.is_empty() { part } else { &at.key };
            at.key = format!("{part}.{key}");
            self.wrong(&at, Fault::Missing);
        }
        item.as_ref()
    }

    /// The same for a number within limits.
    fn number(
        &mut self,
        item: &Option<Item<u32>>,
        at: &Option<Location>,
        (part, key): (&str, &str),
        limits: RangeInclusive<u32>,
    ) -> Option<u32> {
        let item = self.need(item, at, part, key)?;
        if limits.contains(&item.value) {
            return Some(item.value);
        }
        let (least, most) = limits.into_inner();
        self.bad(&item.at, format!("is {} and must be from {least} to {most}", item.value));
        None
    }

    /// A name that follows the rules.
    fn name(&mut self, text: &str, at: &Location) -> Option<Name> {
        let name = text.to_owned();
        let fault = match text {
            _ if text.len() > name::MAX_NAME => Fault::LongName { name },
            _ if !name::is_valid(text) => Fault::BadName { name },
            _ if name::is_reserved(text) => Fault::ReservedName { name },
            _ => return Name::try_from(text).ok(),
        };
        self.wrong(at, fault);
        None
    }

    fn machine(&mut self) -> Option<Machine> {
        let File { machine, xen, dom0, .. } = self.file;
        let arch = self.need(&machine.arch, &machine.at, "machine", "arch");
        if let Some(arch) = arch
            && !["x86_64", "aarch64"].contains(&arch.value.as_str())
        {
            self.bad(&arch.at, format!("is `{}` and must be `x86_64` or `aarch64`", arch.value));
        }
        let memory = self.number(&machine.memory_mib, &machine.at, ("machine", "memory_mib"), 1..=u32::MAX);
        let xen_mib = self.number(&xen.memory_mib, &xen.at, ("xen", "memory_mib"), 1..=u32::MAX);
        let dom0 = self.number(&dom0.memory_mib, &dom0.at, ("dom0", "memory_mib"), 8..=2048);
        let options = xen.options.iter().flat_map(|options| &options.value);
        Some(Machine {
            arch: arch?.value.clone(),
            memory_mib: memory?,
            xen_memory_mib: xen_mib?,
            dom0_memory_mib: dom0?,
            xen_options: options.map(|option| option.value.clone()).collect(),
        })
    }

    /// Whether the machine has what is given out.
    fn memory(&mut self) {
        let File { machine, xen, dom0, domain, applications, .. } = self.file;
        let Some(have) = &machine.memory_mib else { return };
        let mut shares = vec![("Xen", &xen.memory_mib), ("dom0", &dom0.memory_mib)];
        shares.extend(domain.0.iter().map(|(name, domain)| (name.as_str(), &domain.memory_mib)));
        shares.push(("applications", &applications.memory_mib));
        let share = |(whose, mib): (&str, &Option<Item<u32>>)| {
            Some((whose.to_owned(), u64::from(mib.as_ref()?.value)))
        };
        let shares: Vec<_> = shares.into_iter().filter_map(share).collect();
        let need_mib = shares.iter().map(|share| share.1).sum();
        let have_mib = u64::from(have.value);
        if need_mib > have_mib {
            self.wrong(&have.at, Fault::OverCommitted { have_mib, need_mib, shares });
        }
    }

    fn domains(&mut self) -> Vec<Domain> {
        let parts = in_order(self.file);
        if let Some((_, first_too_many)) = parts.get(table::MAX_DOMAINS) {
            let at = first_too_many.at.as_ref().unwrap_or(&self.start).clone();
            self.wrong(&at, Fault::TooMany { what: "domains", limit: table::MAX_DOMAINS });
        }
        let mut owners = Vec::new();
        let domains = parts.into_iter().filter_map(|(name, part)| self.domain(name, part, &mut owners));
        let domains = domains.collect();
        self.unused_devices(&owners);
        domains
    }

    fn domain(
        &mut self,
        key: &'a str,
        part: &'a DomainPart,
        owners: &mut Vec<(&'a str, &'a Location)>,
    ) -> Option<Domain> {
        let path = format!("domain.{key}");
        let at = part.at.as_ref().unwrap_or(&self.start).clone();
        let name = self.name(key, &at);
        let image = match &part.image {
            Some(image) => self.name(&image.value, &image.at),
            None => name.clone(),
        };
        let sizes = Domain::MIN_MEMORY_MIB..=Domain::MAX_MEMORY_MIB;
        let memory = self.number(&part.memory_mib, &part.at, (&path, "memory_mib"), sizes);
        let vcpus = self.need(&part.vcpus, &part.at, &path, "vcpus");
        if let Some(vcpus) = vcpus
            && vcpus.value != 1
        {
            self.bad(&vcpus.at, format!("is {} and must be 1: services have one vCPU", vcpus.value));
        }
        let heap = self.need(&part.heap_kib, &part.at, &path, "heap_kib");
        if let (Some(heap), Some(memory)) = (heap, memory)
            && u64::from(heap.value) >= u64::from(memory) * 1024
        {
            let why = format!("is {} and must be less than the domain's memory of {memory} MiB", heap.value);
            self.bad(&heap.at, why);
        }
        let cpus = self.cpus(&part.cpus);
        let devices = self.device_indices(part, owners);
        Some(Domain {
            name: name?,
            image: image?,
            sha256: [0; 32],
            memory_mib: memory?,
            vcpus: vcpus?.value,
            cpus: cpus?,
            heap_kib: heap?.value,
            provisioning: part.provisioning.as_ref().is_some_and(|flag| flag.value),
            vital: part.vital.as_ref().is_some_and(|flag| flag.value),
            devices,
        })
    }

    fn applications(&mut self) -> Option<Applications> {
        let part = &self.file.applications;
        let memory = self.need(&part.memory_mib, &part.at, "applications", "memory_mib");
        let count = self.need(&part.count, &part.at, "applications", "count");
        let vcpus = self.need(&part.vcpus, &part.at, "applications", "vcpus");
        let cpus = self.cpus(&part.cpus);
        let image = self.need(&part.image_kib, &part.at, "applications", "image_kib");
        if let (Some(image), Some(dom0)) = (image, &self.file.dom0.memory_mib)
            && u64::from(image.value) >= u64::from(dom0.value) * 1024
        {
            let why = format!(
                "is {} and must be less than dom0's memory of {} MiB, in which an image is received",
                image.value, dom0.value
            );
            self.bad(&image.at, why);
        }
        Some(Applications {
            memory_mib: memory?.value,
            count: count?.value,
            vcpus: vcpus?.value,
            cpus: cpus?,
            image_kib: image?.value,
        })
    }

    /// A list of CPUs as a set.
    fn cpus(&mut self, list: &Option<Item<Vec<Item<u8>>>>) -> Option<u64> {
        let mut set = 0u64;
        let mut good = true;
        for cpu in list.iter().flat_map(|list| &list.value) {
            let bit = 1u64.checked_shl(cpu.value.into()).unwrap_or(0);
            if bit == 0 {
                self.bad(&cpu.at, format!("is {} and must be a CPU from 0 to 63", cpu.value));
            } else if set & bit != 0 {
                self.bad(&cpu.at, format!("names CPU {} once more", cpu.value));
            }
            good &= bit != 0 && set & bit == 0;
            set |= bit;
        }
        good.then_some(set)
    }

    fn images(&self) -> Vec<Image> {
        let image = |(name, part): (&str, &DomainPart)| match &part.image {
            Some(image) => Image { name: image.value.clone(), at: image.at.clone() },
            None => Image { name: name.to_owned(), at: part.at.as_ref().unwrap_or(&self.start).clone() },
        };
        in_order(self.file).into_iter().map(image).collect()
    }
}

/// The domains by their `order`, then by name.
fn in_order(file: &File) -> Vec<(&str, &DomainPart)> {
    let mut domains: Vec<_> = file.domain.0.iter().map(|(name, part)| (name.as_str(), part)).collect();
    domains.sort_by_key(|(_, part)| part.order.as_ref().map_or(u32::MAX, |order| order.value));
    domains
}
