//! Updates that are wrong on purpose, to see that a device refuses them or falls back from them.
//!
//! Each is made of a right one: of its payload, or of the pieces of its slot before they are signed. Nothing of the
//! system is built in another way: a version that panics has another command line or no table, one without a network
//! another table.

use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use clap::ValueEnum;
use elf::ElfBytes;
use elf::abi::PT_LOAD;
use elf::endian::LittleEndian;
use proto_manifest::archive::TABLE;
use proto_manifest::table::{DeviceKind, MAX_BYTES, Table};
use proto_update::manifest::{Kind, Machine};
use proto_update::payload;

use crate::build::{Arch, Built};
use crate::setup::Stock;
use crate::slot::{self, Key, Pieces};
use crate::ui::Step;
use crate::{grub, pack, paths};

/// What is wrong with an update on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Broken {
    /// Is started, and dom0 ends itself with last words: on x86_64 it panics by order of its command line, on aarch64, where
    /// a slot has none, it gives up for want of a table
    Panic,
    /// Is started, and ends before dom0 is there: the image of `net` lies in dom0's place, and finds nothing of what it needs
    NoDom0,
    /// Is started, and stands still: dom0's first instruction branches to itself
    Hang,
    /// Is started, and has no network: the table gives no network card to any domain
    NoNetwork,
    /// Is started, and asks nobody: the table has no channel between `control` and `net`
    NoWay,
    /// Is started, and does not get at what is stored: the table gives the TPM to no domain
    NoUnseal,
    /// Is refused: half of the payload
    Truncated,
    /// Is refused: a bit of the contents was turned after they were signed
    WrongHash,
    /// Is refused: signed by a key that no device knows
    WrongKey,
    /// Is refused: names the version `0.0.0-NAME`, which is older than any
    Older,
    /// Is refused: filled up with zeroes until no slot has room for it
    TooLarge,
    /// Is refused: signed as one for the other architecture
    OtherMachine,
}

impl Broken {
    /// Its name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// The version that the payload names when one of `version` is asked for.
    pub fn version(self, version: &str) -> String {
        match self {
            Self::Older => format!("0.0.0-{version}"),
            _ => version.to_owned(),
        }
    }

    /// Changes what the slot is made of.
    fn spoil(self, pieces: &mut Pieces, built: &Built) -> Result<()> {
        match self {
            Self::Panic => ends_itself(pieces, &built.xen_command_line())?,
            Self::NoDom0 => *pieces.piece("dom0")? = in_dom0s_place(built, "net")?,
            Self::Hang => {
                let dom0 = pieces.piece("dom0")?;
                *dom0 = standing_still(built.arch, dom0)?;
            }
            Self::NoNetwork => {
                without(pieces, |kind| matches!(kind, DeviceKind::E1000e | DeviceKind::VirtioNet))?
            }
            Self::NoUnseal => {
                without(pieces, |kind| matches!(kind, DeviceKind::TpmCrb | DeviceKind::TpmTis))?;
            }
            Self::NoWay => without_way(pieces)?,
            Self::Truncated
            | Self::WrongHash
            | Self::WrongKey
            | Self::Older
            | Self::TooLarge
            | Self::OtherMachine => {}
        }
        Ok(())
    }
}

/// The payload of an update to `version`, right or broken, whose slot has these pieces.
///
/// # Errors
/// When the slot cannot be made, or has nothing that could be broken in this way.
pub fn payload(
    broken: Option<Broken>,
    mut pieces: Pieces,
    built: &Built,
    stock: &Stock,
    key: &Key,
    version: &str,
    step: &Step,
) -> Result<Vec<u8>> {
    let mut version = version.to_owned();
    if let Some(broken) = broken {
        broken
            .spoil(&mut pieces, built)
            .with_context(|| format!("nothing can be broken as {}", broken.name()))?;
        version = broken.version(&version);
    }
    pieces.release(&version)?;
    let (mut machine, mut parts) = pieces.parts(stock, key, step)?;
    match (broken, parts.first_mut()) {
        (Some(Broken::OtherMachine), _) => machine = other(machine),
        (Some(Broken::TooLarge), Some((_, first))) => first.resize(slot::ROOM_BYTES, 0),
        _ => {}
    }
    packed(broken, machine, &parts, key, &version)
}

/// Signs and packs the parts.
fn packed(
    broken: Option<Broken>,
    machine: Machine,
    parts: &[(Kind, Vec<u8>)],
    key: &Key,
    version: &str,
) -> Result<Vec<u8>> {
    let strange = Key::strange();
    let key = if broken == Some(Broken::WrongKey) { &strange } else { key };
    let mut slot = slot::signed(machine, parts, key, version)?;
    if let (Some(Broken::WrongHash), Some(last)) = (broken, slot.last_mut()) {
        *last ^= 1;
    }
    let mut payload = payload::pack(&slot).context("a slot begins with its header")?;
    if broken == Some(Broken::Truncated) {
        payload.truncate(payload.len() / 2);
    }
    Ok(payload)
}

fn other(machine: Machine) -> Machine {
    match machine {
        Machine::X86_64 => Machine::Aarch64,
        Machine::Aarch64 => Machine::X86_64,
    }
}

/// The same dom0, and what has it end itself. `xen_line`: Xen's command line.
fn ends_itself(pieces: &mut Pieces, xen_line: &str) -> Result<()> {
    match pieces {
        Pieces::Grub { .. } => {
            let config = grub::configuration(xen_line, CRASH)?;
            *pieces.piece(grub::CONFIGURATION)? = config.into_bytes();
        }
        Pieces::Parts(_) => pieces.change_archive(|entries| {
            entries.remove(TABLE).context("the archive has no table")?;
            Ok(())
        })?,
    }
    Ok(())
}

/// How the last words of dom0 in a version that is [`Broken::Panic`] begin, as the device tells of them after the reset.
pub fn last_words(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "dom0 crashed: PANIC at dom0/src/drill.rs:",
        Arch::Aarch64 => "dom0 crashed: archive: it has no entry `table`",
    }
}

/// For dom0's command line: it panics as soon as it does its work.
const CRASH: &str = "drill=crash:0";

/// A service's image, in the form in which Xen takes dom0.
fn in_dom0s_place(built: &Built, name: &str) -> Result<Vec<u8>> {
    let linked: &Path = built.symbols.get(name).with_context(|| format!("no image {name} was built"))?;
    let linked = paths::read(linked)?;
    match built.arch {
        Arch::X86_64 => pack::pack(&linked),
        Arch::Aarch64 => pack::flatten(&linked),
    }
}

/// The same dom0, but its first instruction branches to itself.
fn standing_still(arch: Arch, dom0: &[u8]) -> Result<Vec<u8>> {
    let (at, branch): (usize, &[u8]) = match arch {
        // jmp .
        Arch::X86_64 => (entry(dom0)?, &[0xeb, 0xfe]),
        // b .
        Arch::Aarch64 => (0, &[0, 0, 0, 0x14]),
    };
    let mut still = dom0.to_vec();
    still.get_mut(at..at + branch.len()).context("dom0 has no first instruction")?.copy_from_slice(branch);
    Ok(still)
}

/// Where the first instruction of an ELF file lies in it.
fn entry(file: &[u8]) -> Result<usize> {
    let parsed = ElfBytes::<LittleEndian>::minimal_parse(file).context("not an ELF file")?;
    let at = parsed.ehdr.e_entry;
    let headers = parsed.segments().context("the ELF file has no program headers")?;
    let within = |header: &elf::segment::ProgramHeader| {
        header.p_type == PT_LOAD && at.checked_sub(header.p_vaddr).is_some_and(|skip| skip < header.p_filesz)
    };
    let header = headers.iter().find(within).context("the ELF file has no first instruction")?;
    Ok(usize::try_from(header.p_offset + (at - header.p_vaddr))?)
}

/// Takes devices from all domains. They stay in the table: domains name them by their places.
fn without(pieces: &mut Pieces, taken: impl Fn(DeviceKind) -> bool) -> Result<()> {
    change_table(pieces, |table| {
        let kinds: Vec<DeviceKind> = table.devices.iter().map(|device| device.kind).collect();
        let is_taken = |&index: &u8| kinds.get(usize::from(index)).is_some_and(|&kind| taken(kind));
        let mut count = 0;
        for domain in &mut table.domains {
            count += domain.devices.iter().filter(|&index| is_taken(index)).count();
            domain.devices.retain(|index| !is_taken(index));
        }
        ensure!(count > 0, "the board gives no such device to any domain");
        Ok(())
    })
}

/// Takes the channel by which control gets to the network.
fn without_way(pieces: &mut Pieces) -> Result<()> {
    const WAY: &str = "network";
    change_table(pieces, |table| {
        let before = table.channels.len();
        table.channels.retain(|channel| channel.name != WAY);
        ensure!(table.channels.len() < before, "the board has no channel {WAY}");
        Ok(())
    })
}

/// Replaces the table in the archive by a changed one.
fn change_table(pieces: &mut Pieces, change: impl FnOnce(&mut Table) -> Result<()>) -> Result<()> {
    pieces.change_archive(|entries| {
        let table = entries.get_mut(TABLE).context("the archive has no table")?;
        let mut changed = Table::decode(table).map_err(|error| anyhow!("the table: {error}"))?;
        change(&mut changed)?;
        let mut buffer = [0; MAX_BYTES];
        let bytes = changed.encode(&mut buffer).map_err(|error| anyhow!("the table: {error}"))?;
        bytes.clone_into(table);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use proto_manifest::archive::{Archive, Writer};
    use proto_manifest::board::Board;
    use proto_update::manifest::{ALIGN, Header, SlotError};
    use proto_update::payload::{Decoder, PayloadError};
    use proto_update::version::compare;

    use super::*;

    const VERSION: &str = "1.2.3";

    /// What comes out of a payload, and how it ended.
    fn unpacked(payload: &[u8], room: u64) -> Result<Vec<u8>, PayloadError> {
        let mut decoder = Decoder::new(room);
        let (mut input, mut slot) = (payload, Vec::new());
        loop {
            let before = input.len();
            let piece = decoder.step(&mut input)?.bytes;
            slot.extend_from_slice(piece);
            if piece.is_empty() && input.len() == before {
                decoder.finish()?;
                return Ok(slot);
            }
        }
    }

    fn made(broken: Option<Broken>) -> Vec<u8> {
        // Not much shorter when it is packed.
        let program = (0..10_000_u32).map(|at| (at.wrapping_mul(at) >> 7) as u8).collect();
        let parts = [(Kind::Program, program)];
        packed(broken, Machine::X86_64, &parts, &Key::test().unwrap(), VERSION).unwrap()
    }

    fn checked(slot: &[u8]) -> Result<(), SlotError> {
        let keys = [Key::test().unwrap().public()];
        let trusted = Header::parse(slot, 1 << 20)?.verify(&keys, Machine::X86_64)?;
        trusted.contents(&slot[ALIGN..]).map(drop)
    }

    #[test]
    fn each_payload_is_refused_for_the_reason_in_its_name() {
        let right = unpacked(&made(None), 1 << 20).unwrap();
        assert_eq!(checked(&right), Ok(()));
        assert!(matches!(
            unpacked(&made(Some(Broken::Truncated)), 1 << 20),
            Err(PayloadError::Truncated { length: 10_000, .. })
        ));
        let slot = unpacked(&made(Some(Broken::WrongHash)), 1 << 20).unwrap();
        assert_eq!(checked(&slot), Err(SlotError::Hash));
        let slot = unpacked(&made(Some(Broken::WrongKey)), 1 << 20).unwrap();
        assert_eq!(checked(&slot), Err(SlotError::Signature));
        let parts = [(Kind::Program, vec![0; 8])];
        let key = Key::test().unwrap();
        let slot = slot::signed(other(Machine::X86_64), &parts, &key, VERSION).unwrap();
        assert_eq!(checked(&slot), Err(SlotError::Machine));
        let large = [(Kind::Program, vec![0; slot::ROOM_BYTES])];
        let payload = packed(Some(Broken::TooLarge), Machine::X86_64, &large, &key, VERSION).unwrap();
        let room = slot::ROOM_BYTES as u64;
        assert!(matches!(
            unpacked(&payload, room),
            Err(PayloadError::Header(SlotError::TooLong { length, .. })) if length == room
        ));
        assert_eq!(compare(&Broken::Older.version(VERSION), "0.0.0"), Ordering::Less);
    }

    fn archive(table: &[u8]) -> Pieces {
        let mut writer = Writer::new();
        writer.add(TABLE, table).unwrap();
        writer.add("images/net", b"net").unwrap();
        Pieces::Parts(vec![(Kind::Dom0, vec![1; 64]), (Kind::Archive, writer.finish())])
    }

    fn entry_of(pieces: &mut Pieces, name: &str) -> Vec<u8> {
        let bytes = pieces.piece("archive").unwrap();
        Archive::open(bytes).unwrap().find(name).unwrap().to_vec()
    }

    #[test]
    fn the_table_lacks_what_is_taken_and_nothing_else() {
        for name in ["qemu-x86_64", "qemu-aarch64"] {
            let file = paths::repository().join("board-support/boards").join(name).join("board.toml");
            let table = Board::load(&file).unwrap().compile(|_| Some([0; 32])).unwrap();
            let mut buffer = [0; MAX_BYTES];
            let bytes = table.encode(&mut buffer).unwrap().to_vec();
            for (broken, domain) in [(Broken::NoNetwork, "net"), (Broken::NoUnseal, "vault")] {
                let mut pieces = archive(&bytes);
                let taken = |kind| match broken {
                    Broken::NoNetwork => matches!(kind, DeviceKind::E1000e | DeviceKind::VirtioNet),
                    _ => matches!(kind, DeviceKind::TpmCrb | DeviceKind::TpmTis),
                };
                without(&mut pieces, taken).unwrap();
                let after = Table::decode(&entry_of(&mut pieces, TABLE)).unwrap();
                assert_eq!(entry_of(&mut pieces, "images/net"), b"net");
                for (before, after) in table.domains.iter().zip(&after.domains) {
                    let kept = before.name != domain;
                    assert!(kept || !before.devices.is_empty(), "{name}: {domain} has a device");
                    assert_eq!(before.devices == after.devices, kept, "{name}: {}", before.name);
                }
                let again = without(&mut pieces, taken).unwrap_err().to_string();
                assert_eq!(again, "the board gives no such device to any domain");
            }
            let mut pieces = archive(&bytes);
            without_way(&mut pieces).unwrap();
            let after = Table::decode(&entry_of(&mut pieces, TABLE)).unwrap();
            assert_eq!(after.domains, table.domains);
            let left = table.channels.iter().filter(|channel| channel.name != "network");
            assert!(after.channels.iter().eq(left) && after.channels.len() + 1 == table.channels.len());
        }
    }

    #[test]
    fn what_ends_dom0_is_its_command_line_or_the_table_that_it_lacks() {
        let mut pieces = archive(b"table");
        ends_itself(&mut pieces, "").unwrap();
        let left = pieces.piece("archive").unwrap();
        let left = Archive::open(left).unwrap();
        assert!(left.find(TABLE).is_none() && left.find("images/net").is_some());
        assert!(ends_itself(&mut pieces, "").is_err(), "there is no table");

        let files = vec![(grub::CONFIGURATION, b"of a right slot".to_vec()), ("dom0", b"dom0".to_vec())];
        let mut pieces = Pieces::Grub { modules: Vec::new(), files, selector: Vec::new() };
        ends_itself(&mut pieces, "com1=115200 dom0_mem=64M").unwrap();
        assert_eq!(pieces.piece("dom0").unwrap(), b"dom0");
        let text = String::from_utf8(pieces.piece(grub::CONFIGURATION).unwrap().clone()).unwrap();
        assert!(text.contains(" com1=115200 dom0_mem=64M") && text.contains(" drill=crash:0"), "{text}");
    }

    #[test]
    fn a_dom0_that_stands_still_differs_in_its_first_instruction() {
        let still = standing_still(Arch::Aarch64, &[9; 64]).unwrap();
        assert_eq!((&still[..4], &still[4..]), (&[0, 0, 0, 0x14][..], &[9; 60][..]));
        // A file of one segment whose first instruction is its seventeenth byte.
        let mut file = vec![0; 0x200];
        file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        for (at, value) in
            [(16, 2_u64), (18, 62), (20, 1), (24, 0x10_0010), (32, 64), (52, 64), (54, 56), (56, 1)]
        {
            file[at..at + 2].copy_from_slice(&value.to_le_bytes()[..2]);
        }
        file[24..32].copy_from_slice(&0x10_0010_u64.to_le_bytes());
        for (at, value) in
            [(64, 1_u64), (72, 0x100), (80, 0x10_0000), (88, 0x10_0000), (96, 0x80), (104, 0x80)]
        {
            file[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        let still = standing_still(Arch::X86_64, &file).unwrap();
        let differ: Vec<usize> = (0..file.len()).filter(|&at| file[at] != still[at]).collect();
        assert_eq!((differ, &still[0x110..0x112]), (vec![0x110, 0x111], &[0xeb, 0xfe][..]));
        file[24] = 0x90;
        assert!(standing_still(Arch::X86_64, &file).is_err());
        assert!(standing_still(Arch::X86_64, b"").is_err() && standing_still(Arch::Aarch64, b"").is_err());
    }
}
