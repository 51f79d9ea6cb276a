//! The step into the slot on aarch64: Xen, from memory, with a device tree that says where dom0 and the
//! archive are.

use alloc::format;
use alloc::vec::Vec;
use core::ffi::c_void;

use proto_handoff::record::{Handoff, Refused};
use proto_handoff::tree::{self, Module, Start};
use proto_update::manifest::{Contents, Kind};
use uefi::boot::{self, LoadImageSource, MemoryType};
use uefi::proto::rng::Rng;
use uefi::{Guid, guid, system};

use crate::disk::open;
use crate::measure::Chip;
use crate::pages::Pages;
use crate::path;
use crate::select::Failure;
use crate::slot::Loaded;

/// The configuration table that is the device tree. Source: Devicetree, EFI_DTB_TABLE_GUID.
static DEVICE_TREE: Guid = guid!("b1b621d5-f19c-41a5-830b-d9152c69aae0");
/// Random bytes that dom0 begins with.
const SEED_BYTES: usize = 64;
/// The longest tree that is read.
const MAX_TREE: usize = 2 << 20;

/// Starts the slot. When it returns that failed.
pub(crate) fn start(
    loaded: Loaded,
    record: &Handoff,
    files: Option<&[u8]>,
    chip: Option<&mut Chip>,
) -> Failure {
    match attempt(&loaded, record, files, chip) {
        Err(failure) => failure,
        // Xen comes back with success whatever happened.
        Ok(()) => Failure { refused: Refused::Returned, why: "it was started and came back".into() },
    }
}

fn attempt(
    loaded: &Loaded,
    record: &Handoff,
    files: Option<&[u8]>,
    mut chip: Option<&mut Chip>,
) -> Result<(), Failure> {
    let contents = loaded.contents()?;
    if let Some(chip) = &mut chip {
        chip.contents(loaded.bytes());
    }
    // A board need not have any.
    let give_away = contents.part(Kind::GiveAway).map_or(Ok(""), |_| text(&contents, Kind::GiveAway))?;
    let give_away: Vec<&str> = give_away.lines().collect();
    let not_loaded = |error: uefi::Error| Failure {
        refused: Refused::NotLoaded,
        why: format!("the firmware does not load it: {}", error.status()),
    };
    let mut room = path::Room::new();
    let path = room.path().ok_or_else(|| malformed("the path of the program cannot be built"))?;
    let source = LoadImageSource::FromBuffer { buffer: part(&contents, Kind::Xen)?, file_path: Some(path) };
    let image = boot::load_image(boot::image_handle(), source).map_err(not_loaded)?;
    // With the firmware's own measurement of Xen.
    let log = chip.and_then(|chip| chip.log(MemoryType::LOADER_DATA));
    let seed = seed();
    let (kept_at, record) = (record.kept_at, record.emit());
    let start = Start {
        xen: text(&contents, Kind::XenLine)?,
        dom0: "",
        // Parts begin at a page, and the pages are of a kind that Xen leaves alone until it has copied them.
        kernel: module(part(&contents, Kind::Dom0)?),
        ramdisk: module(part(&contents, Kind::Archive)?),
        give_away: &give_away,
        handoff: Some(&record),
        event_log: log.as_deref(),
        provisioning: files,
        seed: seed.as_ref().map(<[u8; SEED_BYTES]>::as_slice),
        kept_at,
    };
    let machine = MachineTree::find().ok_or_else(|| malformed("the firmware gives no device tree"))?;
    let tree = tree::extend(machine.bytes(), &start).map_err(|why| malformed(&format!("{why}")))?;
    let mut pages = Pages::new(tree.len(), MemoryType::ACPI_RECLAIM).map_err(not_loaded)?;
    pages.copy_from_slice(&tree);
    install(pages.as_ptr()).map_err(not_loaded)?;
    let result = boot::start_image(image).map_err(not_loaded);
    // The other slot finds the machine's own, and not one that is being given back.
    let _ = install(machine.at);
    result
}

/// Random bytes, from whatever the firmware has: a TPM, for one.
fn seed() -> Option<[u8; SEED_BYTES]> {
    let mut rng = open::<Rng>(boot::get_handle_for_protocol::<Rng>().ok()?).ok()?;
    let mut seed = [0; SEED_BYTES];
    rng.get_rng(None, &mut seed).ok()?;
    Some(seed)
}

fn part<'a>(contents: &Contents<'a>, kind: Kind) -> Result<&'a [u8], Failure> {
    contents.part(kind).ok_or_else(|| malformed(&format!("it has no part {kind:?}")))
}

fn text<'a>(contents: &Contents<'a>, kind: Kind) -> Result<&'a str, Failure> {
    let bytes = part(contents, kind)?;
    core::str::from_utf8(bytes).map_err(|_| malformed(&format!("its part {kind:?} is no text")))
}

fn malformed(why: &str) -> Failure {
    Failure { refused: Refused::Malformed, why: why.into() }
}

fn module(part: &[u8]) -> Module {
    Module { at: part.as_ptr().expose_provenance() as u64, length: part.len() as u64 }
}

/// Where the machine's tree says that configuration space of PCI is.
pub(crate) fn configuration_space() -> Option<u64> {
    tree::ecam(MachineTree::find()?.bytes())
}

/// The device tree that the firmware gives.
struct MachineTree {
    at: *const u8,
    length: usize,
}

impl MachineTree {
    fn find() -> Option<Self> {
        let at = system::with_config_table(|tables| {
            tables.iter().find(|table| table.guid == DEVICE_TREE).map(|table| table.address.cast::<u8>())
        })?;
        // Magic and length, big endian.
        // SAFETY:
        // 1. The firmware says that a tree is here, which has a header of at least 40 bytes.
        let header = unsafe { at.cast::<[u8; 8]>().read() };
        let [.., a, b, c, d] = header;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        (header.starts_with(&[0xd0, 0x0d, 0xfe, 0xed]) && length <= MAX_TREE).then_some(Self { at, length })
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY:
        // 1. The firmware's tree has the length of its header, and stays until an operating system starts.
        // 2. Nobody writes to it while this program runs.
        unsafe { core::slice::from_raw_parts(self.at, self.length) }
    }
}

/// Has whoever comes next find a tree.
fn install(tree: *const u8) -> uefi::Result {
    // SAFETY:
    // 1. The tree is whole, and lies in memory that an operating system keeps until it has read it: the
    //    firmware's own, or pages that are given back only after Xen has returned and the other was installed.
    unsafe { boot::install_configuration_table(&DEVICE_TREE, tree.cast::<c_void>()) }
}
