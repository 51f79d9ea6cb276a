//! From the ramdisk to running services.

use alloc::{boxed::Box, rc::Rc, vec, vec::Vec};
use core::{
    cell::{Cell, RefCell},
    fmt,
};

use board_support_hyp::{Xen, version};
use board_support_rt::{
    self as rt, Boot, Domain, Spawner, heap,
    memory::{firmware_reach, read_firmware},
    pool,
    timer::now,
};
use dom0_shell::{
    console::Consoles, control, gauge::Gauge, ground::VERSION, measured::MeasuredStart, services::Services,
    supervision, watch,
};
use dom0_supervisor::Supervisor;
use dom0_toolstack::{
    acpi::AcpiError,
    build::Platform,
    eventlog, handoff,
    interface::{self, InterfaceError},
    line, origin,
    pci::Held,
    ramdisk::{Ramdisk, RamdiskError},
    registers::HeldPage,
    room::Room,
    server::Server,
    tpm::{self, Presence},
    transport::HeldTransport,
};
use proto_errors::{Code, Coded, boot as code, build, net, svc};
use proto_handoff::{Handoff, provisioning};
use proto_manifest::table::{Applications, Bus, Table};
use proto_svc::device::BootCause;
use proto_xen::{Gaddr, PAGE_SIZE};

use crate::{
    cycles,
    device::{Builder, Ground, XEN},
    drill,
    machine::Machine,
    measure, serial,
    transport::Transport,
    wallclock,
    watchdog::Watchdogs,
};

/// Why dom0 cannot do its work.
enum BootError {
    /// Xen and this dom0 do not understand each other.
    Interface(InterfaceError),
    /// The ramdisk is of no use.
    Ramdisk(RamdiskError),
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interface(error) => error.fmt(f),
            Self::Ramdisk(error) => error.fmt(f),
        }
    }
}

impl Coded for BootError {
    fn code(&self) -> Code {
        match self {
            Self::Interface(error) => error.code(),
            Self::Ramdisk(error) => error.code(),
        }
    }
}

/// dom0's first and last function.
pub(crate) async fn main(boot: Boot, spawner: Spawner) {
    let xen = version::version().unwrap_or_default();
    let started = now();
    log::info!(target: "dom0", "sarsen dom0 {VERSION} on Xen {}.{}", xen.0, xen.1);
    log::info!(target: "dom0", "{}", line::measurement("first-instruction-to-first-line", "dom0", started - boot.began()));
    if let Err(error) = run(&boot, spawner, xen) {
        log::error!(target: "dom0", "{}", error.told());
        // Xen resets the machine after some seconds, in which the line can be read.
        rt::give_up(format_args!("{}", error.told()));
    }
}

fn run(boot: &Boot, spawner: Spawner, xen: (u16, u16)) -> Result<(), BootError> {
    interface::check(&XEN, xen).map_err(BootError::Interface)?;
    let machine = Machine::find(boot).map(|machine| &*Box::leak(Box::new(machine)));
    let told = told(boot);
    let has_selector = !matches!(told, Ok(None));
    let told = told.ok().flatten();
    let slot = told.as_ref().map(handoff::running_slot);
    let fired = told.as_ref().is_some_and(|record| record.watchdog_fired);
    let kept_at = told.as_ref().and_then(|record| record.kept_at);
    let (watchdogs, evidence) = Watchdogs::arm(machine.as_ref().ok().copied(), fired, kept_at);
    let mut origin = origin::boot(told.as_ref(), &evidence);
    origin.start = start_number();
    origin.began_ns = boot.began().as_nanos();
    match origin.cause {
        BootCause::Ordered => log::info!(target: "dom0", "boot reason: {}", origin.text),
        BootCause::Panic => log::error!(target: "dom0", "boot reason: {} [{}]", origin.text, svc::CRASHED),
        // Said where it was found, but for what came ahead of it.
        BootCause::Watchdog if evidence.last_words.is_some() => {
            log::error!(target: "dom0", "boot reason: {} [{}]", origin.text, svc::CRASHED);
        }
        BootCause::Watchdog | BootCause::PowerOn | BootCause::Unknown => {}
    }
    // The rest of the words is a backtrace.
    let words = evidence.last_words.iter().flat_map(|words| words.lines().skip(1));
    words.for_each(|line| log::info!(target: "dom0", "boot reason: {line}"));
    wallclock::set(boot);
    let ramdisk = Ramdisk::open(boot.module(0)).map_err(BootError::Ramdisk)?;
    let (provisioning, provisioning_read) =
        ramdisk.provisioning(files(boot, told.as_ref()).as_deref(), has_selector);
    let provisioning: &'static [u8] = Box::leak(provisioning.into_boxed_slice());
    let Ramdisk { archive, table, table_sha256 } = ramdisk;
    let table: &'static Table = Box::leak(Box::new(table));
    log::info!(target: "dom0", "board {}: {} services", table.board, table.domains.len());

    let held = hold_devices(table, machine);
    let mut builder = Builder::new(&XEN, table, archive, held, platform(), provisioning);
    builder.transports = hold_transports(table);
    builder.pages = hold_pages(table, boot);
    builder.slot = slot;
    let measured = MeasuredStart::new(builder.can_measure().then_some(table_sha256));
    // PCI functions are assigned by way of the IOMMU or not at all; nothing is between a transport and memory.
    let confined = builder.transports.is_empty();
    let room = divide_memory(&table.applications);
    let boot_kind = watchdogs.boot();
    let ground = Rc::new(Ground {
        hyp: &XEN,
        runtime: Domain,
        spawner,
        began: boot.began(),
        xen,
        outbox: RefCell::default(),
        filled: Default::default(),
        emptied: Default::default(),
        services: Services::new(builder),
        watchdogs,
        starved: Cell::new(false),
        server: RefCell::new(Server::new(&XEN, table.applications, platform(), room.images)),
        consoles: Consoles::default(),
        gauge: Gauge::default(),
        app_limit_kib: table.applications.memory_mib.saturating_mul(1024),
        app_vcpus: table.applications.vcpus,
        boot: origin,
        measured,
        event_log: RefCell::new(event_log(boot, told.as_ref())),
        confined,
        provisioning_read,
    });
    spawner.spawn(watch::deaths(ground.clone()));
    spawner.spawn(control::forward_own_log(ground.clone()));
    spawner.spawn(supervision::run(ground.clone(), Supervisor::of(table, boot_kind)));
    if let Some(whom) = boot.option("serial") {
        spawner.spawn(serial::run(ground.clone(), whom));
    }
    if let Some(order) = boot.option("cycles") {
        spawner.spawn(cycles::run(ground.clone(), order));
    }
    if let Some(orders) = boot.option("measure") {
        spawner.spawn(measure::run(ground.clone(), orders));
    }
    if let Some(order) = boot.option("drill") {
        spawner.spawn(drill::run(ground, order));
    }
    Ok(())
}

/// A number that no other start is likely to have.
fn start_number() -> u32 {
    let mut number = [0; 4];
    // Without one a later life of control may not know again what storage has of the log, nor that the start is counted.
    let drawn = rt::entropy::try_fill(&mut number);
    drawn.map_or(0, |()| u32::from_le_bytes(number))
}

/// What the selector has left. Without one, as when QEMU loads Xen, there is nothing to say.
fn told(boot: &Boot) -> Result<Option<Handoff>, handoff::ToldError> {
    let told = handoff::told(boot.handoff(), boot.rsdp(), |at, into| read_firmware(Gaddr(at), into));
    match told {
        Ok(Some(record)) if handoff::is_suspicious(&record) => {
            log::warn!(target: "dom0", "boot: {record} [{}]", code::DISK_DAMAGED);
        }
        Ok(Some(record)) => log::info!(target: "dom0", "boot: {record}"),
        Ok(None) => {}
        Err(error) => {
            log::warn!(target: "dom0", "boot: the selector's record is of no use: {error} [{}]", code::BAD_HANDOFF)
        }
    }
    told
}

/// The log of measurements up to here: what the selector has left of the firmware's, and what came after.
fn event_log(boot: &Boot, told: Option<&Handoff>) -> Vec<u8> {
    let log = told.and_then(|record| record.log);
    let firmware = match boot.event_log() {
        Some(property) => Some(property.to_vec()),
        None => log.map(|log| read_all(log.at, log.bytes.min(eventlog::MAX_FIRMWARE) as usize)),
    };
    let last = log.filter(|log| log.final_events_at != 0);
    let last = last.map(|log| read_all(log.final_events_at, eventlog::MAX_FINAL)).unwrap_or_default();
    let seen = log.map_or(0, |log| log.final_events_seen);
    let (bytes, read) = eventlog::begin(firmware.as_deref(), &last, seen);
    match (firmware, read) {
        (_, Err(why)) => {
            log::warn!(target: "dom0", "the firmware's log of measurements is of no use: {why} [{}]", code::BAD_EVENT_LOG)
        }
        (Some(_), Ok(())) => {
            log::info!(target: "dom0", "the firmware's log of measurements has {} bytes", bytes.len())
        }
        (None, Ok(())) => {}
    }
    bytes
}

/// The archive of provisioning files that the selector has read from the disk.
fn files(boot: &Boot, told: Option<&Handoff>) -> Option<Vec<u8>> {
    if let Some(property) = boot.provisioning() {
        return Some(property.to_vec());
    }
    let files = told?.files?;
    Some(read_all(files.at, (files.bytes as usize).min(provisioning::MAX_BYTES)))
}

/// What the firmware has left at an address, as far as it can be read.
fn read_all(at: u64, length: usize) -> Vec<u8> {
    let reach = usize::try_from(firmware_reach(Gaddr(at))).unwrap_or(usize::MAX);
    let mut bytes = vec![0; length.min(reach)];
    let mut read = 0;
    for page in bytes.chunks_mut(PAGE_SIZE) {
        let Some(at) = at.checked_add(read as u64) else { break };
        if !read_firmware(Gaddr(at), page) {
            break;
        }
        read += page.len();
    }
    bytes.truncate(read);
    bytes
}

/// Sets the ceiling of the heap, and says so if the images that the table allows do not fit.
fn divide_memory(limits: &Applications) -> Room {
    let heap::Usage { allocated, taken, .. } = heap::usage();
    let room = Room::divide(taken, allocated, pool::available().saturating_mul(PAGE_SIZE));
    heap::set_limit(room.heap);
    if let Some(wanted) = room.wanted_in_vain(limits) {
        let (wanted, images) = (wanted / 1024, room.images / 1024);
        log::warn!(target: "dom0", "applications may have images of {wanted} KiB, and dom0 has room for {images} KiB [{}]", code::IMAGE_ROOM);
    }
    room
}

/// Finds and holds the devices of the table. One that is not there costs the domain that wants it,
/// not the system, and so does a machine without configuration space.
fn hold_devices(
    table: &'static Table,
    machine: Result<&'static Machine, AcpiError>,
) -> &'static [Held<'static, Xen, Machine>] {
    let wanted = table.devices.iter().filter_map(|device| match &device.bus {
        Bus::Pci(pci) => Some((device, pci)),
        Bus::VirtioMmio(_) | Bus::Registers(_) => None,
    });
    if wanted.clone().next().is_none() {
        return &[];
    }
    let machine = match machine {
        Ok(machine) => machine,
        Err(error) => {
            log::error!(target: "dom0", "no PCI device can be handed over: {}", error.told());
            return &[];
        }
    };
    let mut all = Vec::new();
    for (device, pci) in wanted {
        match Held::take(&XEN, machine, device, pci) {
            Ok(held) => {
                log::info!(target: "dom0", "device {} is PCI {}", device.name, held.function().at);
                all.push(held);
            }
            Err(error) => log::error!(target: "dom0", "device {}: {}", device.name, error.told()),
        }
    }
    all.leak()
}

/// Takes memory for the pools of the table's virtio transports. One for which there is none costs the
/// domain that wants it.
fn hold_transports(table: &'static Table) -> &'static [HeldTransport<'static, Xen>] {
    let mut all = Vec::new();
    for device in &table.devices {
        let Bus::VirtioMmio(mmio) = device.bus else { continue };
        match Transport::open(mmio) {
            Ok(transport) => {
                let transport: &'static Transport = Box::leak(Box::new(transport));
                let (number, name) = (mmio.transport, &device.name);
                log::info!(target: "dom0", "device {name} is virtio transport {number}");
                log::warn!(target: "dom0", "device {name}: no IOMMU: its DMA reaches all memory; its driver alone keeps it within {} KiB [{}]", u32::from(mmio.pool_pages) * 4, net::UNCONFINED);
                all.push(HeldTransport::take(&XEN, device, mmio, transport.pool(), transport));
            }
            Err(error) => {
                log::error!(target: "dom0", "device {}: {}", device.name, error.told())
            }
        }
    }
    all.leak()
}

/// Holds the pages of registers of the table that the firmware tells of.
fn hold_pages(table: &'static Table, boot: &Boot) -> &'static [HeldPage<'static, Xen>] {
    let wanted = table.devices.iter().filter_map(|device| match device.bus {
        Bus::Registers(registers) => Some((device, registers)),
        Bus::Pci(_) | Bus::VirtioMmio(_) => None,
    });
    let mut all = Vec::new();
    for (device, registers) in wanted {
        let tpm = tpm::find(boot.tpm(), boot.rsdp(), |at, into| read_firmware(Gaddr(at), into));
        let tpm = tpm.unwrap_or_else(|error| {
            log::warn!(target: "dom0", "device {}: {} [{}]", device.name, error, build::NO_REGISTERS);
            None
        });
        let presence = tpm::presence(registers, tpm);
        match presence.code() {
            None => log::info!(target: "dom0", "{}", presence.told(device)),
            Some(code) => log::error!(target: "dom0", "{} [{code}]", presence.told(device)),
        }
        if let Presence::There(kind) = presence {
            all.push(HeldPage::take(&XEN, device, registers, kind));
        }
    }
    all.leak()
}

/// How domains of this machine are started.
#[cfg(target_arch = "x86_64")]
fn platform() -> Platform {
    // Which processor this is.
    Platform::X86 { signature: core::arch::x86_64::__cpuid(1).eax }
}

#[cfg(target_arch = "aarch64")]
fn platform() -> Platform {
    Platform::Arm {
        seeds: || {
            let mut seed = [0; 32];
            match rt::entropy::try_fill(&mut seed) {
                Ok(()) => Some(seed),
                Err(error) => {
                    log::error!(target: "dom0", "a domain gets no random numbers: {error} [{}]", code::NO_ENTROPY);
                    None
                }
            }
        },
    }
}
