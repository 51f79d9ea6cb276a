//! Services: the domains of the table.
//!
//! Two services may share a channel. The one that is built while the other is there makes its port and is told of
//! it at once; the other is told when that is done ([`Builder::rewire`]). A service is built in two parts:
//!
//! ```text
//!   Builder::prepare -> Plan -> Builder::create -> Shell -> Builder::finish -> Service
//! ```

use heapless::Vec;
use proto_manifest::{
    archive::Archive,
    name::Name,
    table::{Bus, Channel, Device, Domain, MAX_DOMAINS, Party, Pci, Registers, Table, VirtioMmio},
    wiring::{ChannelEnd, DeviceGrant, End, MAX_BYTES, RunningSlot, Wiring},
};
use proto_svc::{Message, measure};
use proto_xen::{DomId, Gfn, PAGE_SIZE};

use crate::{
    build::{Platform, elf::Image, layout::Layout},
    domain::{Contents, Counter, Devices, Shell, Size, check_vcpus},
    error::BuildError,
    hypervisor::Hypervisor,
    image,
    pci::{ConfigSpace, Held, Passthrough, PciError, Places},
    registers::{HeldPage, PageLease, RegistersError},
    transport::{HeldTransport, Lease, PoolLease, TransportError},
    wiring::{self, Dom0End, PortBook},
};

/// Pages of a MiB.
const PAGES_PER_MIB: u64 = (1 << 20) / PAGE_SIZE as u64;

/// Builds the services of one table.
#[derive(Debug)]
pub struct Builder<'a, H: Hypervisor, C: ConfigSpace> {
    /// Xen.
    pub hyp: &'a H,
    /// The table.
    pub table: &'a Table,
    /// Where the images are.
    pub archive: Archive<'a>,
    /// The PCI functions of the table that were found.
    pub held: &'a [Held<'a, H, C>],
    /// The virtio transports of the table that are held.
    pub transports: &'a [HeldTransport<'a, H>],
    /// The pages of registers of the table that the machine has.
    pub pages: &'a [HeldPage<'a, H>],
    /// The slot that the machine was started from.
    pub slot: Option<RunningSlot>,
    /// How domains are started.
    pub platform: Platform,
    /// The archive for domains that get provisioning files.
    pub provisioning: &'a [u8],
    /// The services that are built, by index.
    ids: [Option<DomId>; MAX_DOMAINS],
    ports: PortBook,
    /// Whose image was found to have its hash. The archive lies in our own memory, and nobody writes it.
    checked: [bool; MAX_DOMAINS],
}

/// A service whose image and layout were found good.
#[derive(Debug)]
pub struct Plan<'a> {
    index: usize,
    domain: &'a Domain,
    image: Image<'a>,
    layout: Layout,
}

/// What a service is told of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The peer of the channel with this name has ended.
    Gone(Name),
    /// The peer is there, and this is the service's end.
    Back(ChannelEnd),
}

/// A service that is built. Dropping it ends it: the domain is paused, its devices are taken back,
/// then it is destroyed.
#[derive(Debug)]
pub struct Service<'a, H: Hypervisor, C: ConfigSpace> {
    index: usize,
    name: Name,
    epitaph: Gfn,
    /// Its ends towards other services, as it was told.
    told: Vec<ChannelEnd, 8>,
    /// dom0's ends of its channels, until someone takes them.
    pub to_dom0: Vec<Dom0End<'a, H>, 8>,
    // In the order in which they end.
    devices: Vec<Passthrough<'a, 'a, H, C>, 4>,
    leases: Vec<Lease<'a>, 4>,
    pages: Vec<PageLease<'a, H>, 4>,
    shell: Shell<'a, H>,
    pools: Vec<PoolLease<'a, H>, 4>,
}

impl<'a, H: Hypervisor, C: ConfigSpace> Builder<'a, H, C> {
    /// A builder that has built nothing, and has no virtio transports and no pages of registers.
    pub fn new(
        hyp: &'a H,
        table: &'a Table,
        archive: Archive<'a>,
        held: &'a [Held<'a, H, C>],
        platform: Platform,
        provisioning: &'a [u8],
    ) -> Self {
        let ids = [None; MAX_DOMAINS];
        Self {
            hyp,
            table,
            archive,
            held,
            transports: &[],
            pages: &[],
            slot: None,
            platform,
            provisioning,
            ids,
            ports: PortBook::default(),
            checked: [false; MAX_DOMAINS],
        }
    }

    /// Whether the provisioning lets a storage whose key nobody has any more begin anew, as EVE's does: by a file of
    /// this name, whatever is in it.
    pub fn may_clean_vault(&self) -> bool {
        Archive::open(self.provisioning).is_ok_and(|files| files.find(measure::ALLOW_VAULT_CLEAN).is_some())
    }

    /// Checks the image of the service with this index, and that its devices are there, and lays out
    /// its memory. Changes nothing outside. The hash is computed for the first time only.
    ///
    /// # Errors
    /// [`BuildError::Image`], [`BuildError::Elf`], [`BuildError::Layout`], and [`BuildError::Device`],
    /// [`BuildError::Transport`] or [`BuildError::Registers`] for a device that was not found: before the domain
    /// has a number that its peers are told.
    pub fn prepare(&mut self, index: usize) -> Result<Plan<'a>, BuildError> {
        let domain = self.table.domains.get(index).ok_or(BuildError::NoSuchDomain)?;
        let checked = self.checked.get_mut(index).ok_or(BuildError::NoSuchDomain)?;
        let image = match checked {
            true => image::find(&self.archive, domain)?,
            false => image::checked(&self.archive, domain)?,
        };
        *checked = true;
        let image = Image::parse(self.platform, image)?;
        check_vcpus(&image, domain.vcpus.into())?;
        for device in self.table.devices_of(domain) {
            match &device.bus {
                Bus::Pci(pci) => self.function(device, pci).map(drop)?,
                Bus::VirtioMmio(mmio) => self.transport(device, *mmio).map(drop)?,
                Bus::Registers(registers) => self.page(device, *registers).map(drop)?,
            }
        }
        let pages = u64::from(domain.memory_mib) * PAGES_PER_MIB;
        let special = wiring::special_pages(self.table, index);
        // The record gets the room that it needs at most; its length is set when it is known.
        let record = MAX_BYTES as u64;
        let files = self.provisioning.len() as u64;
        let layout = if domain.provisioning {
            Layout::new(self.platform, pages, special, &[record, files])?
        } else {
            Layout::new(self.platform, pages, special, &[record])?
        };
        image.check_below(layout.image_limit())?;
        Ok(Plan { index, domain, image, layout })
    }

    /// The services whose images were found to have the table's hashes, with these, in the order of the table.
    pub fn checked_images(&self) -> impl Iterator<Item = (&'a Name, [u8; 32])> {
        let all = self.table.domains.iter().zip(self.checked);
        all.filter(|(_, checked)| *checked).map(|(domain, _)| (&domain.name, domain.sha256))
    }

    /// Whether there is a TPM for who offers dom0 the channel `measure`.
    pub fn can_measure(&self) -> bool {
        let measures =
            |channel: &&Channel| channel.name == measure::ToVault::CHANNEL && channel.accepts == Party::Dom0;
        let vault = self.table.channels.iter().find(measures);
        let vault = vault.and_then(|channel| self.table.domains.get(usize::from(channel.offers)));
        let mut devices = vault.into_iter().flat_map(|vault| self.table.devices_of(vault));
        devices.any(|device| self.pages.iter().any(|held| held.device().name == device.name))
    }

    /// Creates the domain, without contents.
    ///
    /// # Errors
    /// As [`Shell::create`].
    pub fn create(&mut self, plan: &Plan<'_>) -> Result<Shell<'a, H>, BuildError> {
        let size = Size {
            memory_pages: plan.layout.memory_pages(),
            vcpus: plan.domain.vcpus.into(),
            cpus: plan.domain.cpus,
            devices: self.devices_of(plan.domain),
            // Our runtime.
            counter: Counter::Native,
        };
        Shell::create(self.hyp, self.platform, size)
    }

    /// Hands over devices, makes ports, writes everything into the domain. It does not run yet.
    ///
    /// # Errors
    /// [`BuildError`]; the domain is then gone, and nobody is connected to it any more.
    pub fn finish(&mut self, plan: Plan<'a>, shell: Shell<'a, H>) -> Result<Service<'a, H, C>, BuildError> {
        let (index, id) = (plan.index, shell.id());
        let built = self.furnish(plan, shell)?;
        if let Some(known) = self.ids.get_mut(index) {
            *known = Some(id);
        }
        Ok(built)
    }

    fn furnish(&mut self, plan: Plan<'a>, shell: Shell<'a, H>) -> Result<Service<'a, H, C>, BuildError> {
        let Plan { index, domain, image, mut layout } = plan;
        // Declared before the ends, so that these are given back first if a step fails.
        let mut service = Service {
            index,
            name: domain.name.clone(),
            epitaph: layout.special(wiring::EPITAPH),
            told: Vec::new(),
            to_dom0: Vec::new(),
            devices: Vec::new(),
            leases: Vec::new(),
            pages: Vec::new(),
            shell,
            pools: Vec::new(),
        };
        let id = service.shell.id();
        let mut places = Places::default();
        for device in self.table.devices_of(domain) {
            match &device.bus {
                Bus::Pci(pci) => {
                    let passthrough = self.function(device, pci)?.assign(id, &mut places)?;
                    service.devices.push(passthrough).map_err(|_| no_function(pci))?;
                }
                Bus::VirtioMmio(mmio) => {
                    let (lease, pool) = self.transport(device, *mmio)?.lend(id)?;
                    service.leases.push(lease).map_err(|_| no_transport(*mmio))?;
                    service.pools.push(pool).map_err(|_| no_transport(*mmio))?;
                }
                Bus::Registers(registers) => {
                    let Some(page) = self.page(device, *registers)? else { continue };
                    let lease = page.lend(id, self.platform, service.pages.len())?;
                    service.pages.push(lease).map_err(|_| no_page(*registers))?;
                }
            }
        }
        let links = wiring::connect(self.hyp, self.table, index, id, &self.ids, &layout, &mut self.ports)?;
        service.to_dom0 = links.to_dom0;
        let to_services = links.ends.iter().filter(|end| !matches!(end.end, End::Dom0 { .. } | End::Absent));
        service.told = to_services.cloned().collect();

        let functions = service.devices.iter().map(Passthrough::grant);
        let transports = service.leases.iter().map(Lease::grant);
        let pages = service.pages.iter().map(PageLease::grant);
        // As many as the table allows a domain.
        let grants: Vec<DeviceGrant, 4> = functions.chain(transports).chain(pages).take(4).cloned().collect();
        let record = Wiring {
            name: domain.name.clone(),
            domid: id.0,
            epitaph: service.epitaph.base().0,
            heap_limit_kib: domain.heap_kib,
            channels: links.ends,
            devices: grants,
            slot: self.slot,
        };
        let mut buffer = [0; MAX_BYTES];
        let record: &[u8] = record.encode(&mut buffer)?;
        layout.set_module_length(0, record.len() as u64);
        let modules = [record, self.provisioning];
        let count = if domain.provisioning { 2 } else { 1 };
        let contents = Contents {
            layout: &layout,
            image: &image,
            modules: &modules[..count],
            command_line: "",
            vcpus: domain.vcpus.into(),
        };
        service.shell.fill(&contents)?;
        Ok(service)
    }

    /// Builds one service from the beginning, as after its death, and does not let it run yet.
    ///
    /// # Errors
    /// [`BuildError`]; the domain is then gone.
    pub fn build(&mut self, index: usize) -> Result<Service<'a, H, C>, BuildError> {
        let plan = self.prepare(index)?;
        let shell = self.create(&plan)?;
        self.finish(plan, shell)
    }

    /// What devices a domain may get, as Xen is to know it.
    fn devices_of(&self, domain: &Domain) -> Devices {
        let mut devices = Devices::None;
        for device in self.table.devices_of(domain) {
            devices = match (devices, &device.bus) {
                (_, Bus::Pci(_)) => return Devices::Pci,
                (Devices::Shared(highest), Bus::VirtioMmio(mmio)) => {
                    Devices::Shared(highest.max(mmio.interrupt()))
                }
                (_, Bus::VirtioMmio(mmio)) => Devices::Shared(mmio.interrupt()),
                // It has no interrupt and no DMA.
                (devices, Bus::Registers(_)) => devices,
            };
        }
        devices
    }

    fn function(&self, device: &Device, pci: &Pci) -> Result<&'a Held<'a, H, C>, PciError> {
        self.held.iter().find(|held| held.device().name == device.name).ok_or(no_function(pci))
    }

    fn transport(
        &self,
        device: &Device,
        mmio: VirtioMmio,
    ) -> Result<&'a HeldTransport<'a, H>, TransportError> {
        self.transports.iter().find(|held| held.device().name == device.name).ok_or(no_transport(mmio))
    }

    /// The page of a device; none if the machine does not have it and need not.
    fn page(
        &self,
        device: &Device,
        registers: Registers,
    ) -> Result<Option<&'a HeldPage<'a, H>>, RegistersError> {
        match self.pages.iter().find(|held| held.device().name == device.name) {
            None if !registers.optional => Err(no_page(registers)),
            held => Ok(held),
        }
    }

    /// What a running service has to be told of its peers: those that ended since it was told last, and
    /// those that are there anew. It counts as told then. To be called for each service after any of them
    /// was built or has ended; for all but the peers of that one there is nothing to tell.
    ///
    /// # Errors
    /// [`BuildError::TooManyChannels`]; nothing counts as told then.
    pub fn rewire(&mut self, service: &mut Service<'a, H, C>) -> Result<Vec<Change, 8>, BuildError> {
        let id = service.id();
        let Service { index, epitaph, told, .. } = service;
        let ends = wiring::peer_ends(self.table, *index, id, &self.ids, *epitaph, &self.ports)?;
        let gone = told.iter().filter(|old| !ends.iter().any(|new| new.name == old.name));
        let gone = gone.map(|old| Change::Gone(old.name.clone()));
        let back = ends.iter().filter(|new| !told.contains(new)).map(|new| Change::Back(new.clone()));
        // Each channel at most once, and there are no more of them than ends.
        let changes = gone.chain(back).take(8).collect();
        *told = ends;
        Ok(changes)
    }

    /// Forgets the domain with this number: nobody is to be connected to it any more.
    pub fn forget(&mut self, domain: DomId) {
        for id in self.ids.iter_mut().filter(|id| **id == Some(domain)) {
            *id = None;
        }
    }
}

fn no_function(pci: &Pci) -> PciError {
    PciError::NotFound { vendor: pci.select.vendor, device: pci.select.device }
}

fn no_transport(mmio: VirtioMmio) -> TransportError {
    TransportError::NotFound { transport: mmio.transport }
}

fn no_page(registers: Registers) -> RegistersError {
    RegistersError::NotFound { address: registers.address }
}

impl<H: Hypervisor, C: ConfigSpace> Service<'_, H, C> {
    /// Its number.
    pub fn id(&self) -> DomId {
        self.shell.id()
    }

    /// Its place in the table.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Its name in the table.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The page of its last words.
    pub fn epitaph(&self) -> Gfn {
        self.epitaph
    }

    /// Lets it run.
    ///
    /// # Errors
    /// [`BuildError::Xen`].
    pub fn unpause(&self) -> Result<(), BuildError> {
        self.shell.unpause()
    }

    /// Stops it, ahead of its end: it sees nothing of what is taken from it.
    pub fn pause(&self) {
        self.shell.pause();
    }
}

impl<H: Hypervisor, C: ConfigSpace> Drop for Service<'_, H, C> {
    fn drop(&mut self) {
        // It must not touch a device that is being taken from it. The fields end after this, in
        // the order of their declaration: ports, devices, domain, what devices were lent.
        self.shell.pause();
    }
}
