//! `measure`: what a machine that starts a disk image measures into its TPM, before it does.
//!
//! | PCR | what | where from |
//! |---|---|---|
//! | 4 | all that is started: the selector, one of those that the disk may have, and the program of the slot, by their Authenticode hashes | computed |
//! | 4 | what the firmware says of itself in between | learned; else free |
//! | 9 | aarch64: all that is in the slot; x86_64 has nothing there, for all of a slot is its program | computed |
//! | 13 | the compiled table and each service image, in the table's order | computed |
//! | 14 | the files of the config partition | computed |
//! | the others below 16 | firmware and its settings; in 7 the lists of Secure Boot, and the certificate by which the selector was verified | learned from the log of a first boot (`--learn`) |
//!
//! What is left out may have any value: PCR 5 has the partition table and PCR 15 the choice of the slot, which change
//! with each try of an update; the values that PCR 15 may have are told. So without a log, which is for the first quote of a
//! machine whose firmware nobody knows, all that is ours is held to a value: selector, Xen, dom0, table, services and provisioning files.
//! What the firmware itself is, its settings and the drivers that it loads (PCRs 0 to 3, 6 and 7) are not.
//!
//! In PCR 4 the firmware has separators and lines of text of its own, which are free without a log. A program of its own is
//! there if it starts one, as OVMF does with its menu for whoever asks for it: that start is not attested. OVMF and U-Boot start none
//! by themselves; the hash of one that another firmware starts each time is given by `--firmware-program`. Where in the log
//! it says that it came from is not measured, and makes no program the firmware's.
//!
//! The signatures of programs are no part of their hashes; the bytes that fill a program up ahead of one are.
//!
//! An update comes with a selector of its own. Its first start is by the selector that the disk had; when it has proven
//! itself, the selector is replaced, and starts that version from then on, or the one before if that is gone back to. So
//! the event of the selector may be any of these.
//!
//! Source: PE Authenticode hash: Microsoft, "Windows Authenticode Portable Executable Signature Format"; modules of a
//! GRUB image: GRUB 2.12, `include/grub/kernel.h`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use proto_attest::{Expected, Origin, PROGRAMS_PCR, Prediction};
use proto_gpt::slots::{Reason, Slot};
use proto_handoff::measurement::{CONTENTS, CONTENTS_PCR, SLOT_PCR, slot as choice};
use proto_handoff::provisioning;
use proto_manifest::archive::{Archive, IMAGES, TABLE};
use proto_manifest::table::Table;
use proto_tpm::eventlog::{Event, Log, kind};
use proto_tpm::pcr::extended;
use proto_update::manifest::{ALIGN, Header, Kind};
use proto_update::payload::Decoder;
use sha2::{Digest, Sha256};

use crate::build::Arch;
use crate::slot::Key;
use crate::{disk, paths, selector, slot};

mod log;

/// Options of `measure`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// The disk image, as `image` wrote it
    pub image: PathBuf,
    /// What will be in the slot after an update: its payload, as `image --update` wrote it
    #[arg(long, value_name = "FILE")]
    pub update: Option<PathBuf>,
    /// Payloads of other updates that the disk may have its selector from: such as the one that runs, when an update of it is
    /// measured, or the one that is gone back from
    #[arg(long, value_name = "FILE")]
    pub selector_of: Vec<PathBuf>,
    /// The private key that signed the slots [default: the test key]
    #[arg(long, value_name = "FILE")]
    pub slot_key: Option<PathBuf>,
    /// An event log of a machine with the same firmware that is trusted, as the controller keeps it in `eventlogs`: what
    /// the firmware measures is taken from it
    #[arg(long, value_name = "FILE")]
    pub learn: Option<PathBuf>,
    /// The SHA-256 Authenticode hash of a program that the firmware starts by itself ahead of the selector, if it does, as an
    /// event of PCR 4 in the log of such a machine has it; more than once in their order, if there are more
    #[arg(long, value_name = "HASH")]
    pub firmware_program: Vec<String>,
    /// Print JSON, for `controller --expect`
    #[arg(long)]
    pub json: bool,
    /// Write the event log that such a machine will have, for programs such as `tpm2_eventlog`; what changes from boot to boot
    /// is in it as in the log of --learn
    #[arg(long, value_name = "FILE", requires = "learn")]
    pub binary_log: Option<PathBuf>,
}

/// The PCR of what dom0 starts; its texts are those of `dom0/toolstack`.
const SERVICES: u32 = 13;
/// PCRs that change from boot to boot.
const CHANGING: [u32; 2] = [5, SLOT_PCR];

/// Runs the subcommand.
///
/// # Errors
/// When the image has no slot that the key has signed, or something in it cannot be read.
pub fn measure(options: &Options) -> Result<()> {
    options.binary_log.as_deref().map_or(Ok(()), paths::destination)?;
    let key = match &options.slot_key {
        Some(file) => Key::read(file)?,
        None => Key::test()?,
    };
    let payload = options.update.as_deref().map(update).transpose()?;
    let log = options.learn.as_deref().map(paths::read).transpose()?;
    let others = options.selector_of.iter().map(|file| update(file)).collect::<Result<Vec<_>>>()?;
    let others: Vec<&[u8]> = others.iter().map(Vec::as_slice).collect();
    let made = Made::read(&options.image, key).map_err(|error| match update(&options.image) {
        Ok(_) => {
            let file = options.image.display();
            anyhow!(
                "{file} is an update, and no disk image: name the disk image, and behind it --update {file}"
            )
        }
        Err(_) => error,
    })?;
    let mut image = Image::of(&made, payload.as_deref(), &others)?;
    image.programs.splice(..0, firmware_programs(&options.firmware_program)?);
    let learned = options.learn.as_deref().unwrap_or(Path::new(""));
    let prediction =
        image.prediction(log.as_deref()).with_context(|| format!("--learn {}", learned.display()))?;
    if let (Some(file), Some(log)) = (&options.binary_log, &log) {
        paths::write(file, log::predicted(&prediction, log)?)?;
    }
    if options.json {
        println!("{}", serde_json::to_string_pretty(&prediction)?);
        return Ok(());
    }
    println!("{}", prediction.about);
    for (pcr, events) in &prediction.pcrs {
        println!("PCR {pcr}: {}", values(events)?.join(" or "));
        tell(events);
    }
    if !prediction.programs.is_empty() {
        println!(
            "PCR {PROGRAMS_PCR}: by what the firmware says of itself, which is free; started are these, and nothing else"
        );
        tell(&prediction.programs);
        println!("PCRs 0 to 3, 6 and 7: the firmware's, and free; learn them from a log with --learn");
    }
    println!("PCR {SLOT_PCR}: one of these, by the slot that is chosen and why");
    for (text, value) in choices() {
        println!("  {value} {text}");
    }
    Ok(())
}

fn tell(events: &[Expected]) {
    for event in events {
        let origin = match event.origin {
            Origin::Computed => "ours",
            Origin::Learned => "firmware's, learned",
        };
        println!("  {} {} ({origin})", event.digests.join(" or "), event.text);
    }
}

/// The events of programs that the firmware starts by itself.
fn firmware_programs(hashes: &[String]) -> Result<Vec<Expected>> {
    let event = |hash: &String| {
        let mut digest = [0; 32];
        hex::decode_to_slice(hash, &mut digest)
            .with_context(|| format!("--firmware-program {hash}: wanted are 64 hexadecimal digits"))?;
        Ok(Expected { origin: Origin::Learned, ..ours("program of the firmware", digest) })
    };
    hashes.iter().map(event).collect()
}

/// The payload in a file.
fn update(file: &Path) -> Result<Vec<u8>> {
    ensure!(!file.is_dir(), "{} is no update but a folder", file.display());
    let payload = paths::read(file)?;
    let why = match unpacked(&payload) {
        Ok(_) => return Ok(payload),
        Err(_) if disk::read(file).is_ok() => anyhow!("it is a disk image, which is named without an option"),
        Err(error) => error,
    };
    Err(why.context(format!("{} is no update as `cargo xtask image --update` writes it", file.display())))
}

/// The values of the PCR of the choice, if the slot that is chosen first is also started: a refused one leaves its event.
fn choices() -> Vec<(&'static str, String)> {
    let reasons = [Reason::Proven, Reason::Trial, Reason::Exhausted, Reason::Refused];
    let texts = Slot::ALL.into_iter().flat_map(|slot| reasons.map(|reason| choice(slot, reason)));
    texts.map(|text| (text, hex::encode(extended(&[0; 32], &Sha256::digest(text).into())))).collect()
}

/// A disk as `image` wrote it. What is predicted of it stays true when a machine has changed the image.
pub struct Made {
    name: String,
    held: disk::Held,
    key: Key,
}

impl Made {
    /// Reads an image whose slots `key` has signed.
    ///
    /// # Errors
    /// When it is no disk image of ours.
    pub fn read(image: &Path, key: Key) -> Result<Self> {
        let name = image.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        Ok(Self { name, held: disk::read(image)?, key })
    }

    /// What a machine with it measures, or with an update's payload in place of what the disk has in its slot. The selector
    /// may be that of the disk, of this payload, or of `others`. What the firmware measures is taken from `log`, an event
    /// log of such a machine.
    ///
    /// # Errors
    /// As [`measure`].
    pub fn predict(
        &self,
        payload: Option<&[u8]>,
        others: &[&[u8]],
        log: Option<&[u8]>,
    ) -> Result<Prediction> {
        Image::of(self, payload, others)?.prediction(log)
    }
}

/// What is in a disk image.
#[derive(Clone)]
struct Image {
    about: String,
    /// The selector, and what it starts.
    programs: Vec<Expected>,
    /// All that is in the slot, where the selector measures that.
    contents: Option<Expected>,
    /// What dom0 measures.
    services: Vec<Expected>,
    /// What the selector measures of the config partition.
    files: Vec<Expected>,
}

/// What is in a slot that was signed.
struct System {
    arch: Arch,
    version: String,
    /// All of it, for its hash.
    contents: Vec<u8>,
    /// The program that is started.
    program: Vec<u8>,
    archive: Vec<u8>,
    /// The selector that came with it, if any.
    selector: Option<Vec<u8>>,
}

impl System {
    fn read(slot: &[u8], key: &Key, what: &str) -> Result<Self> {
        let header = Header::parse(slot, slot.len() as u64).map_err(|error| anyhow!("{what}: {error}"))?;
        let (arch, trusted) = key.trusts(&header).with_context(|| {
            let than = if key.is_test() { "the test key" } else { "the one of --slot-key" };
            format!("{what} is signed by another key than {than}, or not at all; name its key with --slot-key FILE")
        })?;
        let contents = slot.get(ALIGN..).with_context(|| format!("{what} is empty"))?;
        let whole = contents.get(..usize::try_from(trusted.length())?);
        let whole = whole.with_context(|| format!("{what} is cut"))?;
        let contents = trusted.contents(whole).map_err(|error| anyhow!("{what}: {error}"))?;
        let part = |kind: Kind| contents.part(kind).with_context(|| format!("{what} has no {kind:?}"));
        let (program, archive) = match arch {
            Arch::X86_64 => (part(Kind::Program)?, in_grub(part(Kind::Program)?)?),
            Arch::Aarch64 => (part(Kind::Xen)?, part(Kind::Archive)?),
        };
        let selector = contents.part(Kind::Selector).map(|image| selector::in_image(arch, image));
        Ok(Self {
            arch,
            version: trusted.version().as_str().to_owned(),
            contents: whole.to_vec(),
            program: program.to_vec(),
            archive: archive.to_vec(),
            selector: selector.transpose().with_context(|| format!("the selector of {what}"))?,
        })
    }
}

impl Image {
    fn of(made: &Made, payload: Option<&[u8]>, others: &[&[u8]]) -> Result<Self> {
        let Made { name, held: partitions, key } = made;
        let slot = match payload {
            Some(payload) => System::read(&unpacked(payload)?, key, "the update")?,
            None => System::read(&partitions.slot, key, &format!("slot A of {name}"))?,
        };
        let arch = slot.arch;
        let mut selectors = vec![disk::file(&partitions.esp, selector::path(arch))?];
        selectors.extend(slot.selector);
        for payload in others {
            selectors.extend(System::read(&unpacked(payload)?, key, "another update")?.selector);
        }
        Ok(Self {
            about: format!("{name}, version {}, {}", slot.version, arch.name()),
            programs: vec![
                started("selector", &selectors)?,
                started("program of the slot", &[slot.program])?,
            ],
            contents: match arch {
                Arch::X86_64 => None,
                Arch::Aarch64 => Some(ours(CONTENTS, Sha256::digest(&slot.contents).into())),
            },
            services: services(&slot.archive)?,
            files: files(&partitions.config)?,
        })
    }
}

/// The event of a program that is one of these.
fn started(text: &str, programs: &[Vec<u8>]) -> Result<Expected> {
    let mut digests = Vec::new();
    for program in programs {
        let digest = hex::encode(authenticode(program).with_context(|| text.to_owned())?);
        if !digests.contains(&digest) {
            digests.push(digest);
        }
    }
    Ok(Expected { text: text.to_owned(), digests, origin: Origin::Computed })
}

/// The slot in a payload.
fn unpacked(payload: &[u8]) -> Result<Vec<u8>> {
    let mut decoder = Decoder::new(slot::ROOM_BYTES as u64);
    let (mut input, mut slot) = (payload, Vec::new());
    let wrong = |error| anyhow!("the update: {error}");
    loop {
        let before = input.len();
        let piece = decoder.step(&mut input).map_err(wrong)?.bytes;
        slot.extend_from_slice(piece);
        if piece.is_empty() && input.len() == before {
            decoder.finish().map_err(wrong)?;
            return Ok(slot);
        }
    }
}

fn ours(text: impl Into<String>, digest: [u8; 32]) -> Expected {
    Expected { text: text.into(), digests: vec![hex::encode(digest)], origin: Origin::Computed }
}

/// What dom0 extends: the table as it lies in the archive, and the image of each domain of the table.
fn services(archive: &[u8]) -> Result<Vec<Expected>> {
    let archive = Archive::open(archive).map_err(|error| anyhow!("the archive: {error}"))?;
    let table = archive.find(TABLE).context("the archive has no table")?;
    let mut events = vec![ours("sarsen table", Sha256::digest(table).into())];
    let table = Table::decode(table).map_err(|error| anyhow!("the table: {error}"))?;
    for domain in &table.domains {
        let image = archive.find(&format!("{IMAGES}{}", domain.image));
        let digest: [u8; 32] = Sha256::digest(image.context("an image is missing")?).into();
        ensure!(digest == domain.sha256, "the image {} has another hash than the table says", domain.image);
        events.push(ours(format!("sarsen image {}", domain.name), digest));
    }
    Ok(events)
}

/// The files of the config partition, by the texts that the selector measures.
fn files(volume: &[u8]) -> Result<Vec<Expected>> {
    let files = disk::files(volume).context("the config partition")?;
    let hashes: Vec<(&str, [u8; 32])> =
        files.iter().map(|(name, data)| (name.as_str(), Sha256::digest(data).into())).collect();
    let of = |text: String| ours(text.clone(), Sha256::digest(text).into());
    Ok(provisioning::events(&hashes).into_iter().map(of).collect())
}

impl Image {
    /// What is ours alone, or with the firmware's from a log and ours in the places where the log has it.
    fn prediction(&self, log: Option<&[u8]>) -> Result<Prediction> {
        let pcrs =
            BTreeMap::from([(SERVICES, self.services.clone()), (provisioning::PCR, self.files.clone())]);
        let mut prediction = Prediction { about: self.about.clone(), pcrs, ..Prediction::default() };
        let Some(log) = log else {
            prediction.programs.clone_from(&self.programs);
            let contents = self.contents.iter().map(|contents| (CONTENTS_PCR, vec![contents.clone()]));
            prediction.pcrs.extend(contents);
            return Ok(prediction);
        };
        let wrong = |error| anyhow!("the event log: {error}");
        let log = Log::parse(log).map_err(wrong)?;
        let events: Vec<Event<'_>> = log.events().collect::<Result<_, _>>().map_err(wrong)?;
        prediction.learn(events.iter().copied(), &CHANGING);
        let mut programs = self.programs.iter();
        let is_program = |event: &Event<'_>| event.kind == kind::EFI_BOOT_SERVICES_APPLICATION;
        for place in places(&mut prediction, &events, PROGRAMS_PCR, is_program) {
            *place = programs.next().context("the log has more programs than a start has; one of the firmware's own is to be named with --firmware-program")?.clone();
        }
        ensure!(programs.next().is_none(), "the log lacks programs: it is of another kind of start");
        let is_contents = |event: &Event<'_>| event.data == CONTENTS.as_bytes();
        let mut contents = self.contents.iter();
        for place in places(&mut prediction, &events, CONTENTS_PCR, is_contents) {
            *place = contents.next().context("the log has more slots than a start has")?.clone();
        }
        ensure!(contents.next().is_none(), "the log lacks the slot: it is of another kind of start");
        Ok(prediction)
    }
}

/// What is predicted of a PCR in the places of those events that are `wanted`.
fn places<'p>(
    prediction: &'p mut Prediction,
    events: &[Event<'_>],
    pcr: u32,
    wanted: impl Fn(&Event<'_>) -> bool,
) -> impl Iterator<Item = &'p mut Expected> {
    let of_pcr = events.iter().filter(move |event| event.pcr == pcr && event.kind != kind::NO_ACTION);
    let known = prediction.pcrs.entry(pcr).or_default();
    let wanted: Vec<bool> = of_pcr.map(wanted).collect();
    known.iter_mut().zip(wanted).filter_map(|(expected, wanted)| wanted.then_some(expected))
}

/// The values that the events may make of a PCR.
fn values(events: &[Expected]) -> Result<Vec<String>> {
    let mut values = vec![[0; 32]];
    for event in events {
        ensure!(!event.digests.is_empty(), "an event without a digest");
        let mut after = Vec::new();
        for text in &event.digests {
            let mut digest = [0; 32];
            hex::decode_to_slice(text, &mut digest)?;
            after.extend(values.iter().map(|value| extended(value, &digest)));
        }
        values = after;
    }
    Ok(values.iter().map(hex::encode).collect())
}

/// The archive in GRUB's disk in memory: a module of the image, a cpio archive with the archive in it.
fn in_grub(program: &[u8]) -> Result<&[u8]> {
    const MAGIC: &[u8] = b"mimg\0\0\0\0";
    const MEMDISK: u32 = 1;
    let word =
        |at: usize| -> Option<u64> { Some(u64::from_le_bytes(program.get(at..at + 8)?.try_into().ok()?)) };
    let half =
        |at: usize| -> Option<u32> { Some(u32::from_le_bytes(program.get(at..at + 4)?.try_into().ok()?)) };
    let begins = program.windows(MAGIC.len()).enumerate().filter(|(_, window)| *window == MAGIC);
    for (base, _) in begins {
        let (Some(offset), Some(size)) = (word(base + 8), word(base + 16)) else { continue };
        let (Ok(mut at), Ok(size)) = (usize::try_from(offset), usize::try_from(size)) else { continue };
        while at + 8 <= size {
            let (Some(of), Some(length)) = (half(base + at), half(base + at + 4)) else { break };
            let length = length as usize;
            if length < 8 {
                break;
            }
            if of == MEMDISK {
                let disk = program.get(base + at + 8..base + at + length).context("GRUB's disk is cut")?;
                let disk = Archive::open(disk).map_err(|error| anyhow!("GRUB's disk: {error}"))?;
                return disk.find("archive").context("GRUB's disk has no archive");
            }
            at += length;
        }
    }
    bail!("the program is no GRUB with a disk in memory")
}

/// The hash with which a PE program is measured: of all of it but its checksum and its signatures.
fn authenticode(pe: &[u8]) -> Result<[u8; 32]> {
    let half = |at: usize| pe.get(at..at + 2).map(|bytes| usize::from(bytes[0]) | usize::from(bytes[1]) << 8);
    let word = |at: usize| Some(half(at)? | half(at + 2)? << 16);
    let cut = || anyhow!("it is cut");
    ensure!(pe.starts_with(b"MZ"), "it is no PE program");
    let header = word(0x3c).ok_or_else(cut)?;
    ensure!(pe.get(header..header + 4) == Some(b"PE\0\0"), "it is no PE program");
    let sections = half(header + 6).ok_or_else(cut)?;
    let optional = header + 24;
    ensure!(half(optional) == Some(0x20b), "it is no 64-bit program");
    let table = optional + half(header + 20).ok_or_else(cut)?;
    let (checksum, certificates) = (optional + 64, optional + 144);
    let headers = word(optional + 60).ok_or_else(cut)?;
    let signature = word(certificates + 4).ok_or_else(cut)?;
    let mut parts: Vec<(usize, usize)> = (0..sections)
        .map(|index| Some((word(table + 40 * index + 20)?, word(table + 40 * index + 16)?)))
        .collect::<Option<_>>()
        .ok_or_else(cut)?;
    parts.retain(|&(_, length)| length > 0);
    parts.sort_unstable();
    let mut hash = Sha256::new();
    let mut add = |from: usize, to: usize| -> Result<()> {
        hash.update(pe.get(from..to).ok_or_else(cut)?);
        Ok(())
    };
    add(0, checksum)?;
    add(checksum + 4, certificates)?;
    add(certificates + 8, headers)?;
    let mut hashed = headers;
    for (at, length) in parts {
        add(at, at + length)?;
        hashed += length;
    }
    if let Some(end) = pe.len().checked_sub(signature).filter(|&end| end > hashed) {
        add(hashed, end)?;
    }
    Ok(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use proto_attest::differences;
    use proto_manifest::archive::Writer;
    use proto_update::manifest::Machine;

    use super::*;
    use crate::disk::{Contents, Partition};
    use crate::secure_boot::{self, ProgramKey};
    use crate::ui;

    /// A program of two sections, the second of which lies first; with 8 bytes behind them.
    fn program() -> Vec<u8> {
        let mut pe = vec![0; 0x408];
        pe[..2].copy_from_slice(b"MZ");
        pe[0x3c] = 0x40;
        pe[0x40..0x44].copy_from_slice(b"PE\0\0");
        pe[0x46] = 2;
        pe[0x54] = 0xf0;
        let optional = 0x58;
        pe[optional..optional + 2].copy_from_slice(&[0x0b, 2]);
        pe[optional + 108] = 16;
        pe[optional + 60..optional + 62].copy_from_slice(&0x200_u16.to_le_bytes());
        for (index, (at, length)) in [(0x300_u16, 0x100_u16), (0x200, 0x100)].into_iter().enumerate() {
            let entry = optional + 0xf0 + 40 * index;
            pe[entry + 16..entry + 18].copy_from_slice(&length.to_le_bytes());
            pe[entry + 20..entry + 22].copy_from_slice(&at.to_le_bytes());
        }
        for (index, byte) in pe[0x200..].iter_mut().enumerate() {
            *byte = index as u8;
        }
        pe
    }

    #[test]
    fn the_hash_is_of_all_but_checksum_and_signatures() {
        let pe = program();
        let first = authenticode(&pe).unwrap();
        // Without signatures and with the sections in order, that is all bytes but twelve.
        let plain = [&pe[..0x98], &pe[0x9c..0xe8], &pe[0xf0..]].concat();
        assert_eq!(first, <[u8; 32]>::from(Sha256::digest(plain)));
        for at in 0..pe.len() {
            let mut other = pe.clone();
            other[at] ^= 1;
            let left_out = (0x98..0x9c).contains(&at) || (0xe8..0xec).contains(&at);
            let same = authenticode(&other).is_ok_and(|hash| hash == first);
            assert_eq!(same, left_out, "byte {at:#x}");
        }
        let mut signed = pe.clone();
        signed[0xec] = 16;
        signed.extend([9; 16]);
        let unsigned = authenticode(&signed).unwrap();
        signed.truncate(pe.len());
        signed.extend([7; 16]);
        assert_eq!(authenticode(&signed).unwrap(), unsigned);
        assert!((0..0x200).all(|length| authenticode(&pe[..length]).is_err()));
    }

    /// The digest that a signature names is what firmware measures, and holds the program to.
    #[test]
    fn a_program_that_was_signed_is_measured_by_the_hash_in_its_signature() {
        let folder = tempfile::tempdir().unwrap();
        let (key, certificate) = secure_boot::tests::key(folder.path(), "rsa:2048");
        let signer = ProgramKey::read(&key, &certificate).unwrap();
        let step = ui::step("test");
        // Whoever signs fills up to a multiple of eight.
        for more in [0, 3] {
            let pe = [program(), vec![1; more]].concat();
            let signed = signer.sign(&pe, &step).unwrap();
            assert_eq!(signer.sign(&pe, &step).unwrap(), signed, "it is signed the same way again");
            let filled = pe.len().next_multiple_of(8);
            let measured = authenticode(&signed).unwrap();
            assert_eq!(measured, authenticode(&[pe, vec![0; filled]].concat()[..filled]).unwrap());
            let named = signed[filled..].windows(32).filter(|digest| *digest == measured);
            assert_eq!(named.count(), 1);
        }
        assert!(signer.sign(b"MZ", &step).is_err());
    }

    #[test]
    fn the_archive_is_found_in_grubs_disk() {
        let mut inner = Writer::new();
        inner.add("archive", b"the archive").unwrap();
        let inner = inner.finish();
        let mut grub = b"code mimg\0 no, mimg\0\0\0\0".to_vec();
        let base = grub.len() - 8;
        let modules = [(0_u32, &b"module"[..]), (1, &inner)];
        let size = 24 + modules.iter().map(|(_, bytes)| 8 + bytes.len()).sum::<usize>();
        grub.extend(24_u64.to_le_bytes());
        grub.extend((size as u64).to_le_bytes());
        for (of, bytes) in modules {
            grub.extend(of.to_le_bytes());
            grub.extend((8 + bytes.len() as u32).to_le_bytes());
            grub.extend(bytes);
        }
        assert_eq!(in_grub(&grub).unwrap(), b"the archive");
        assert!(in_grub(&grub[..base]).is_err() && in_grub(&grub[..grub.len() - 20]).is_err());
    }

    #[test]
    fn what_is_taken_for_something_else_is_told_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let name = |name: &str| folder.path().join(name);
        let told = |image: &str, words: &[&str]| {
            let update = words.first().map(|file| name(file));
            let image = name(image);
            let options = Options {
                image,
                update,
                selector_of: Vec::new(),
                slot_key: None,
                learn: None,
                firmware_program: Vec::new(),
                json: false,
                binary_log: None,
            };
            format!("{:#}", measure(&options).unwrap_err())
        };
        std::fs::write(name("README.md"), "# no update").unwrap();
        let parts = [(Kind::Program, b"MZ".to_vec())];
        let slot = slot::signed(Machine::X86_64, &parts, &Key::strange(), "1").unwrap();
        std::fs::write(name("x.update"), proto_update::payload::pack(&slot).unwrap()).unwrap();
        let part = |name, kind, contents| Partition { name, kind, size_mib: 2, contents, attributes: 0 };
        let parts = [
            part("esp", disk::Kind::Esp, Contents::Empty),
            part("slot-a", disk::Kind::Slot, Contents::Bytes(slot)),
            part("config", disk::Kind::Config, Contents::Empty),
        ];
        disk::write(&name("own.img"), &parts).unwrap();
        let own = told("own.img", &[]);
        let another = "slot A of own.img is signed by another key than the test key, or not at all; name its key with --slot-key FILE";
        assert_eq!(own, another);
        let wrong = [
            (told("README.md", &[]), "README.md is no disk image"),
            (
                told("x.update", &[]),
                "x.update is an update, and no disk image: name the disk image, and behind it --update",
            ),
            (
                told("own.img", &["README.md"]),
                "README.md is no update as `cargo xtask image --update` writes it: ",
            ),
            (told("own.img", &["own.img"]), "it is a disk image, which is named without an option"),
            (told("own.img", &["x.update"]), "the update is signed by another key than the test key"),
        ];
        for (told, part) in wrong {
            assert!(told.contains(part), "{part}: {told}");
        }
    }

    fn log() -> Vec<u8> {
        let mut log = vec![0; 4096];
        let mut length = proto_tpm::eventlog::emit_header(&mut log).unwrap();
        for (pcr, of, text) in [
            (0, 8, "firmware"),
            (4, kind::EFI_ACTION, "calling"),
            (5, 8, "partitions"),
            (4, kind::EFI_BOOT_SERVICES_APPLICATION, "\u{1}"),
            (4, kind::EFI_BOOT_SERVICES_APPLICATION, "\u{2}"),
            (9, kind::IPL, "somebody's"),
            (9, kind::IPL, CONTENTS),
            (13, kind::IPL, "sarsen table"),
        ] {
            let sha256 = Some(Sha256::digest(text.as_bytes()).into());
            let event = Event { pcr, kind: of, sha256, data: text.as_bytes() };
            length += event.emit(&mut log[length..]).unwrap();
        }
        log.truncate(length);
        log
    }

    #[test]
    fn each_choice_has_its_value() {
        let choices = choices();
        assert_eq!((choices.len(), choices[1].0), (8, "sarsen slot A: trial"));
        let event = Sha256::digest("sarsen slot A: trial");
        let value = Sha256::new().chain_update([0; 32]).chain_update(event).finalize();
        assert_eq!(choices[1].1, hex::encode(value));
    }

    /// The selector of the disk, or the one that came with the slot.
    #[test]
    fn a_program_may_be_one_of_several() {
        let other = [program(), vec![0; 8]].concat();
        let one = started("selector", &[program(), other.clone(), program()]).unwrap();
        let digest = |pe: &[u8]| hex::encode(authenticode(pe).unwrap());
        assert_eq!(one.digests, [digest(&program()), digest(&other)]);
        let values = values(&[ours("calling", [1; 32]), one, ours("program", [2; 32])]).unwrap();
        let begun = extended(&[0; 32], &[1; 32]);
        let value = |pe: &[u8]| extended(&extended(&begun, &authenticode(pe).unwrap()), &[2; 32]);
        assert_eq!(values, [program(), other].map(|pe| hex::encode(value(&pe))));
        assert!(started("selector", &[b"MZ".to_vec()]).is_err());
    }

    #[test]
    fn programs_take_the_place_of_those_in_the_log() {
        let image = Image {
            about: "image".into(),
            programs: vec![ours("selector", [1; 32]), ours("program of the slot", [2; 32])],
            contents: Some(ours(CONTENTS, [5; 32])),
            services: vec![ours("sarsen table", [3; 32])],
            files: vec![ours("file:/config/server exist:true", [4; 32])],
        };
        let prediction = image.prediction(Some(&log())).unwrap();
        assert_eq!(prediction.pcrs.keys().copied().collect::<Vec<_>>(), [0, 4, 9, 13, 14]);
        let programs: Vec<_> =
            prediction.pcrs[&4].iter().map(|event| (event.text.as_str(), event.origin)).collect();
        let ours = Origin::Computed;
        assert_eq!(
            programs,
            [("calling", Origin::Learned), ("selector", ours), ("program of the slot", ours)]
        );
        assert_eq!(prediction.pcrs[&13], image.services);
        let values = super::values(&image.services).unwrap();
        assert_eq!(values, [hex::encode(extended(&[0; 32], &[3; 32]))]);
        assert_eq!(prediction.pcrs[&9][1].digests, [hex::encode([5; 32])]);

        let predicted = log::predicted(&prediction, &log()).unwrap();
        let events: Vec<_> = Log::parse(&predicted).unwrap().events().map(Result::unwrap).collect();
        assert!(differences(&prediction, events.iter().copied()).is_empty());
        let texts: Vec<&str> = events.iter().map(|event| std::str::from_utf8(event.data).unwrap()).collect();
        assert_eq!(texts[..4], ["firmware", "calling", "partitions", "\u{1}"]);
        assert_eq!(texts[5..], ["somebody's", CONTENTS, "sarsen table", "file:/config/server exist:true"]);
        assert_eq!(events[2].sha256, Some(Sha256::digest("partitions").into()), "as it was");
        assert_eq!(events[4].sha256, Some([2; 32]));
        assert!(log::predicted(&image.prediction(None).unwrap(), &log()[..60]).is_err(), "cut");
        let mut more = prediction.clone();
        more.pcrs.get_mut(&0).unwrap().push(image.services[0].clone());
        assert!(log::predicted(&more, &log()).unwrap_err().to_string().contains("fewer"));
        more.pcrs.get_mut(&0).unwrap().clear();
        assert!(log::predicted(&more, &log()).unwrap_err().to_string().contains("more"));

        assert!(Image { contents: None, ..image.clone() }.prediction(Some(&log())).is_err());
        let few = Image { programs: Vec::new(), ..image };
        assert!(few.prediction(Some(&log())).is_err());
    }

    /// On a firmware that nobody knows: the log is another one than was learned from.
    #[test]
    fn all_that_is_ours_is_held_to_a_value_without_a_log() {
        let image = |arch: Arch| Image {
            about: "image".into(),
            programs: vec![ours("selector", [1; 32]), ours("program of the slot", [2; 32])],
            contents: (arch == Arch::Aarch64).then(|| ours(CONTENTS, [5; 32])),
            services: vec![ours("sarsen table", [3; 32])],
            files: vec![ours("file:/config/server exist:true", [4; 32])],
        };
        let event = |pcr, digest| Event { pcr, kind: kind::IPL, sha256: Some([digest; 32]), data: &[] };
        let told = |arch, log: &[Event<'static>]| -> Vec<String> {
            let found = differences(&image(arch).prediction(None).unwrap(), log.iter().copied());
            found.iter().map(ToString::to_string).collect()
        };
        let firmware = [event(0, 9), event(2, 9), event(7, 9)];
        let x86_64 = [&firmware[..], &[event(4, 1), event(4, 2), event(13, 3), event(14, 4)]].concat();
        let aarch64 = [&x86_64[..], &[event(9, 5)]].concat();
        assert_eq!(told(Arch::X86_64, &x86_64), [""; 0]);
        assert_eq!(told(Arch::Aarch64, &aarch64), [""; 0]);
        // Each of ours, replaced by another one.
        for arch in [Arch::X86_64, Arch::Aarch64] {
            let log = if arch == Arch::X86_64 { &x86_64 } else { &aarch64 };
            for at in firmware.len()..log.len() {
                let mut other = log.clone();
                other[at].sha256 = Some([6; 32]);
                let told = told(arch, &other);
                let pcr = format!("PCR {}, event ", other[at].pcr);
                assert!(told.len() == 1 && told[0].starts_with(&pcr), "{arch:?}, {at}: {told:?}");
            }
        }
        assert_eq!(told(Arch::Aarch64, &x86_64), [format!("PCR 9, event 1: {CONTENTS} is missing")]);
        let more = [&aarch64[..], &[event(9, 5)]].concat();
        assert_eq!(told(Arch::Aarch64, &more).len(), 1);
    }

    #[test]
    fn programs_of_the_firmware_are_ahead_of_ours() {
        let mut programs = vec![ours("selector", [1; 32])];
        programs.splice(..0, firmware_programs(&["02".repeat(32), "03".repeat(32)]).unwrap());
        let digests: Vec<&str> = programs.iter().map(|program| &program.digests[0][..2]).collect();
        assert_eq!(digests, ["02", "03", "01"]);
        assert_eq!(programs[0].origin, Origin::Learned);
        for wrong in ["", "02", &"0x".repeat(32), &"02".repeat(33)] {
            let error = firmware_programs(&[wrong.to_owned()]).unwrap_err().to_string();
            assert!(error.contains("64 hexadecimal digits"), "{error}");
        }
    }
}
