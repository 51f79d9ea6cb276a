//! From the firmware's call to a slot, or to a reset.

use alloc::{format, string::String, vec::Vec};
use core::{fmt, time::Duration};

use proto_errors::{Code, Coded, slot as code};
use proto_gpt::copy::Which;
use proto_gpt::slots::{Choice, Slot, Slots};
use proto_gpt::table::{Condition, Table};
use proto_handoff::record::{Handoff, Place, Refused, TableState};
use uefi::prelude::*;
use uefi::runtime::{ResetType, VariableVendor, get_variable};
use uefi::{boot, cstr16, println};

use crate::disk::Disk;
use crate::measure::Chip;
use crate::slot::Loaded;
use crate::watchdog::Watchdog;
use crate::{chain, files, kept, trust};

/// How long the text is left on the screen ahead of the reset.
const LAST_WORDS: Duration = Duration::from_secs(60);

/// Why a slot was not started, for dom0 and for people.
pub(crate) struct Failure {
    /// For dom0.
    pub(crate) refused: Refused,
    /// For people.
    pub(crate) why: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl Coded for Failure {
    fn code(&self) -> Code {
        self.refused.code()
    }
}

#[entry]
fn main() -> Status {
    // Ahead of the first line of the console, over which firmware may hang, too.
    let (watchdog, lines) = Watchdog::arm();
    println!("selector {}", env!("CARGO_PKG_VERSION"));
    for line in lines {
        println!("selector: {line}");
    }
    if trust::IS_TEST {
        println!("selector: slots are signed with the test key, which everybody has");
    }
    if has_secure_boot() {
        println!("selector: Secure Boot is on");
    }
    let kept_at = kept::take();
    for line in run(&watchdog, kept_at) {
        println!("selector: {line}");
    }
    println!("selector: nothing was started; reset in {} s [{}]", LAST_WORDS.as_secs(), code::NOTHING);
    for _ in 0..LAST_WORDS.as_secs() {
        watchdog.feed();
        boot::stall(Duration::from_secs(1));
    }
    reset()
}

/// Whether the firmware starts only what its keys have signed. Source: UEFI 2.10, section 3.3.
fn has_secure_boot() -> bool {
    let (name, of) = (cstr16!("SecureBoot"), &VariableVendor::GLOBAL_VARIABLE);
    get_variable(name, of, &mut [0]).is_ok_and(|(value, _)| *value == [1])
}

/// The only end of this program: one that returned would leave the machine at the firmware's prompt.
fn reset() -> ! {
    uefi::runtime::reset(ResetType::COLD, Status::ABORTED, None)
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    println!("selector: PANIC: {info} [{}]", code::PANIC);
    boot::stall(Duration::from_secs(5));
    reset()
}

/// Starts a slot. When it returns nothing could be started; the lines say what was tried.
fn run(watchdog: &Watchdog, kept_at: Option<u64>) -> Vec<String> {
    let mut disk = match Disk::find() {
        Ok(disk) => disk,
        Err(why) => {
            return [format!("the disk that it came from is not found: {why} [{}]", code::NO_DISK)].into();
        }
    };
    let joined = match disk.table() {
        Ok(joined) => joined,
        Err(why) => return [format!("{why} [{}]", code::NO_DISK)].into(),
    };
    let state = match joined.condition() {
        Condition::Sound => TableState::Sound,
        condition => {
            println!("selector: {condition} [{}]", code::DAMAGED);
            match (disk.carry_out(joined.repair()), condition.to_repair()) {
                (Ok(()), Some(Which::Primary)) => TableState::PrimaryRepaired,
                (Ok(()), _) => TableState::BackupRepaired,
                (Err(why), _) => {
                    println!("selector: it cannot be repaired: {why} [{}]", code::NOT_REPAIRED);
                    TableState::NotRepaired
                }
            }
        }
    };
    let table = joined.repaired();
    match Slots::find(&table) {
        Ok(slots) => {
            let mut chip = Chip::find();
            let files = files::take(&disk, &table, chip.as_mut());
            Attempt { disk, table, slots, state, chip, files, kept_at, failures: Vec::new() }.run(watchdog)
        }
        Err(why) => [format!("{why} [{}]", code::NO_DISK)].into(),
    }
}

/// The slots of a disk, and those that were refused so far.
struct Attempt {
    disk: Disk,
    table: Table,
    slots: Slots,
    state: TableState,
    chip: Option<Chip>,
    files: Option<Vec<u8>>,
    kept_at: Option<u64>,
    failures: Vec<(Slot, Failure)>,
}

impl Attempt {
    fn run(mut self, watchdog: &Watchdog) -> Vec<String> {
        while let Some(choice) = self.slots.choose(&self.refused()) {
            let slot = choice.slot;
            println!("selector: {slot} ({}): {}", self.slots.state(slot), choice.reason);
            watchdog.feed();
            let failure = match self.start(choice, watchdog) {
                Err(failure) => failure,
                Ok(never) => match never {},
            };
            println!("selector: {slot} is refused: {}", failure.told());
            self.failures.push((slot, failure));
        }
        Slot::ALL.map(|slot| self.told(slot)).into()
    }

    fn refused(&self) -> Vec<Slot> {
        self.failures.iter().map(|(slot, _)| *slot).collect()
    }

    /// What became of a slot.
    fn told(&self, slot: Slot) -> String {
        let state = self.slots.state(slot);
        match self.failures.iter().find(|(failed, _)| *failed == slot) {
            Some((_, failure)) => format!("{slot} ({state}): {}", failure.told()),
            None => format!("{slot} ({state}): it is not to be started"),
        }
    }

    fn start(&mut self, choice: Choice, watchdog: &Watchdog) -> Result<core::convert::Infallible, Failure> {
        let slot = choice.slot;
        self.take_try(slot)?;
        if let Some(chip) = &mut self.chip {
            chip.choice(choice);
        }
        let Some(&partition) = self.slots.partition(slot) else {
            // One that is chosen has one.
            return Err(Failure { refused: Refused::Empty, why: "it has no partition".into() });
        };
        let loaded = Loaded::read(&mut self.disk, &partition)?;
        println!(
            "selector: {slot} holds version {}, {} KiB",
            loaded.version(),
            loaded.length().div_ceil(1024)
        );
        let record = Handoff {
            slot,
            reason: Some(choice.reason),
            state: self.slots.state(slot),
            table: self.state,
            refused: self.failures.first().map(|(_, failure)| failure.refused),
            watchdog: watchdog.told(),
            watchdog_fired: watchdog.had_fired(),
            place: Place {
                disk: self.table.disk_guid(),
                partition: partition.guid(),
                block_bytes: self.disk.geometry().block_bytes,
                first_block: partition.first_block(),
                blocks: partition.blocks(),
            },
            version: loaded.version(),
            sha256: *loaded.sha256(),
            log: None,
            files: None,
            kept_at: self.kept_at,
        };
        watchdog.feed();
        Err(chain::start(loaded, &record, self.files.as_deref(), self.chip.as_mut()))
    }

    /// Takes off the try, on the disk. A slot that has proven itself has none to take off, and is started from
    /// a disk that cannot be written, too.
    fn take_try(&mut self, slot: Slot) -> Result<(), Failure> {
        self.slots.take_try(slot);
        if !self.slots.put(&mut self.table) {
            return Ok(());
        }
        let counted = match self.state {
            // A change is written to the good copy first, which then may be none, and the other one is lost.
            TableState::NotRepaired => Err("the partition table is damaged".into()),
            _ => self.disk.carry_out(self.table.store()).map_err(|why| format!("{why}")),
        };
        counted.map_err(|why| Failure {
            refused: Refused::NotCounted,
            why: format!("the try could not be taken off: {why}"),
        })
    }
}
