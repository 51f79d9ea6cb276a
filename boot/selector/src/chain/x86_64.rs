//! The step into the slot on x86_64: one program, which holds GRUB, Xen, dom0 and the archive.

use alloc::format;

use proto_errors::slot as code;
use proto_handoff::acpi;
use proto_handoff::record::{EventLog, Files, Handoff, Refused};
use proto_update::manifest::Kind;
use uefi::boot::{self, LoadImageSource, MemoryType, ScopedProtocol};
use uefi::println;
use uefi::proto::acpi::AcpiTable;

use crate::disk::open;
use crate::measure::{self, Chip};
use crate::pages::Pages;
use crate::path;
use crate::select::Failure;
use crate::slot::Loaded;

/// Starts the slot. When it returns that failed.
pub(crate) fn start(
    loaded: Loaded,
    record: &Handoff,
    files: Option<&[u8]>,
    chip: Option<&mut Chip>,
) -> Failure {
    match attempt(loaded, record, files, chip) {
        Err(failure) => failure,
        // GRUB, and Xen through it, come back with success whatever happened.
        Ok(()) => Failure { refused: Refused::Returned, why: "it was started and came back".into() },
    }
}

fn attempt(
    loaded: Loaded,
    record: &Handoff,
    files: Option<&[u8]>,
    chip: Option<&mut Chip>,
) -> Result<(), Failure> {
    let not_loaded = |error: uefi::Error| Failure {
        refused: Refused::NotLoaded,
        why: format!("the firmware does not load it: {}", error.status()),
    };
    let mut room = path::Room::new();
    let path = room.path().ok_or_else(|| Failure {
        refused: Refused::NotLoaded,
        why: "the path of the program cannot be built".into(),
    })?;
    let program = loaded.contents()?.part(Kind::Program).ok_or_else(|| Failure {
        refused: Refused::Malformed,
        why: "it has no program for the firmware".into(),
    })?;
    let source = LoadImageSource::FromBuffer { buffer: program, file_path: Some(path) };
    let image = boot::load_image(boot::image_handle(), source).map_err(not_loaded)?;
    // The firmware has copied it.
    drop(loaded);
    // With the firmware's own measurement of the program, in memory that Xen leaves alone.
    let log = chip.and_then(|chip| chip.log(MemoryType::ACPI_RECLAIM));
    let (final_events_at, final_events_seen) = measure::final_events();
    let log_for_dom0 = log.as_ref().map(|log| EventLog {
        at: log.as_ptr().expose_provenance() as u64,
        // At most `MAX_LOG`.
        bytes: log.len() as u32,
        final_events_at,
        final_events_seen,
    });
    let files = files.map(lasting).transpose().map_err(not_loaded)?;
    let files_for_dom0 = files.as_ref().map(|files| Files {
        at: files.as_ptr().expose_provenance() as u64,
        // At most `MAX_BYTES`.
        bytes: files.len() as u32,
    });
    let told = Told::install(&Handoff { log: log_for_dom0, files: files_for_dom0, ..*record });
    let result = boot::start_image(image).map_err(not_loaded);
    drop(told);
    result
}

/// A copy in memory that Xen leaves alone.
fn lasting(bytes: &[u8]) -> uefi::Result<Pages> {
    let mut pages = Pages::new(bytes.len(), MemoryType::ACPI_RECLAIM)?;
    pages.copy_from_slice(bytes);
    Ok(pages)
}

/// The table for dom0, while it is installed.
struct Told {
    protocol: ScopedProtocol<AcpiTable>,
    key: usize,
}

impl Told {
    /// Installs it. A start without it is better than none: dom0 says that it was told nothing.
    fn install(record: &Handoff) -> Option<Self> {
        let table = acpi::table(record);
        let install = || -> uefi::Result<Self> {
            let protocol = open::<AcpiTable>(boot::get_handle_for_protocol::<AcpiTable>()?)?;
            // SAFETY:
            // 1. The bytes are a whole table with its length in its header.
            // 2. The firmware copies them before it returns (UEFI 2.10, section 20.2).
            let key = unsafe { protocol.install_acpi_table(table.as_ptr().cast(), table.len()) }?;
            Ok(Self { protocol, key })
        };
        match install() {
            Ok(told) => Some(told),
            Err(error) => {
                println!("selector: dom0 cannot be told: {} [{}]", error.status(), code::NOT_TOLD);
                None
            }
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        // Another slot is told of anew.
        let _ = self.protocol.uninstall_acpi_table(self.key);
    }
}
