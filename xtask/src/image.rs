//! `image`: the disk image that a machine boots from.
//!
//! | partition | what is in it |
//! |---|---|
//! | esp | the selector, where firmware looks for it |
//! | slot-a, slot-b | the system, signed; the same in both, and A is started |
//! | config | the provisioning files, which the selector reads and measures |
//! | esp-2 | the same as esp: what firmware takes while the first one is replaced |
//! | P3 | empty: the storage domain formats it; called as EVE calls it |
//!
//! With `--update`, the slot alone as it travels; with `--broken`, one that is wrong on purpose ([`crate::broken`]).

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use proto_gpt::slots::State;
use sha2::{Digest, Sha256};

use crate::broken::{self, Broken};
use crate::build::Built;
use crate::disk::{self, Contents, Kind, Partition};
use crate::secure_boot::ProgramKey;
use crate::selector::ESP_MIB;
use crate::setup::Stock;
use crate::slot::{Key, Pieces};
use crate::{build, paths, setup, slot, ui};

/// Options of `image`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// What to build
    #[command(flatten)]
    pub build: build::Options,
    /// Where to write the image [default: target/sarsen/ARCH/disk.img]
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The private key that signs the slots (Ed25519, PEM) [default: the test key, which everybody has]
    #[arg(long, value_name = "FILE")]
    pub slot_key: Option<PathBuf>,
    /// Sign what firmware starts for Secure Boot (an RSA key and its certificate, PEM): the selector, and the program of the
    /// slots [default: nothing is signed for it]
    #[arg(long, num_args = 2, value_names = ["KEY", "CERTIFICATE"])]
    pub secure_boot: Option<Vec<PathBuf>>,
    /// Make what an update travels as, one compressed and signed file, instead of a disk image
    /// [default file: target/sarsen/ARCH/VERSION.update]
    #[arg(long)]
    pub update: bool,
    /// The version that the slots name, by which a controller asks for it
    #[arg(long, value_name = "NAME", default_value = slot::VERSION)]
    pub version: String,
    /// Make an update that is wrong on purpose, to see what a device does with it
    #[arg(long, value_name = "KIND", requires = "update")]
    pub broken: Option<Broken>,
}

const CONFIG_MIB: u64 = 4;
const PERSIST_MIB: u64 = 64;

/// Runs the subcommand and prints the image's path.
///
/// # Errors
/// When something does not build, or the files do not fit.
pub fn image(options: &Options) -> Result<()> {
    check(options)?;
    let key = key(options)?;
    let stock = setup::stock(options.build.arch)?;
    let built = build::build_trusting(&options.build.without_files(), &key)?;
    if options.update {
        return update(options, &built, &stock, &key);
    }
    let output = options.output.clone().unwrap_or_else(|| default_output(&built));
    make_with(&built, &stock, options.build.config.as_deref(), &output, &key, &options.version)?;
    println!("{}", output.display());
    tell_of_test_key(&key);
    Ok(())
}

/// Nothing that a test key has signed is to go to a customer unnoticed.
fn tell_of_test_key(key: &Key) {
    if key.is_test() {
        eprintln!("     {}", slot::TEST_KEY);
    }
}

/// Refuses before anything is built what would be refused in the end.
fn check(options: &Options) -> Result<()> {
    slot::named(&named(options))?;
    build::config_files(options.build.config.as_deref())?;
    options.output.as_deref().map_or(Ok(()), paths::destination)
}

/// The version that is named in what is made.
fn named(options: &Options) -> String {
    options.broken.map_or_else(|| options.version.clone(), |broken| broken.version(&options.version))
}

/// What signs, by the options.
fn key(options: &Options) -> Result<Key> {
    let key = match &options.slot_key {
        Some(file) => Key::read(file)?,
        None => Key::test()?,
    };
    match options.secure_boot.as_deref() {
        None => Ok(key),
        Some([private, certificate]) => Ok(key.with_secure_boot(ProgramKey::read(private, certificate)?)),
        Some(_) => bail!("--secure-boot takes a key and its certificate"),
    }
}

/// Makes the payload of an update, and prints its path, its SHA-256 and the version that it names.
fn update(options: &Options, built: &Built, stock: &Stock, key: &Key) -> Result<()> {
    let version = named(options);
    let kind = options.broken.map(|broken| format!("-{}", broken.name())).unwrap_or_default();
    let file = format!("{}{kind}.update", options.version);
    let output = options.output.clone().unwrap_or_else(|| built.folder.join(file));
    let step = ui::step("write the update");
    let pieces = Pieces::of(built, stock, key)?;
    let payload = broken::payload(options.broken, pieces, built, stock, key, &options.version, &step)?;
    paths::replace(&output, payload.len() as u64, |mut file| Ok(file.write_all(&payload)?))?;
    step.done(format!("{} KiB", payload.len().div_ceil(1024)));
    println!("{}", output.display());
    println!("version {version}, SHA-256 {}", hex::encode(Sha256::digest(&payload)));
    tell_of_test_key(key);
    if let Some(broken) = options.broken {
        println!("broken on purpose: {}", broken.name());
    }
    Ok(())
}

/// `target/sarsen/ARCH/disk.img`.
pub fn default_output(built: &Built) -> PathBuf {
    built.folder.join("disk.img")
}

/// Makes the image of a build, signed with the test key.
///
/// # Errors
/// As [`image`].
pub fn make(built: &Built, stock: &Stock, config: Option<&Path>, output: &Path) -> Result<()> {
    make_with(built, stock, config, output, &Key::test()?, slot::VERSION)
}

/// Makes a disk with the partitions of an image, and nothing in them: for a machine that does not boot from it.
///
/// # Errors
/// When the file cannot be written.
pub fn blank(output: &Path) -> Result<()> {
    let partition = |name, kind, size_mib, attributes| {
        let contents = Contents::Empty;
        Partition { name, kind, size_mib, contents, attributes }
    };
    let partitions = [
        partition("esp", Kind::Esp, ESP_MIB, 0),
        partition("slot-a", Kind::Slot, slot::ROOM_MIB, State::ACTIVE.put(0)),
        partition("slot-b", Kind::Slot, slot::ROOM_MIB, State::SPARE.put(0)),
        partition("config", Kind::Config, CONFIG_MIB, 0),
        partition("esp-2", Kind::Esp, ESP_MIB, 0),
        partition("P3", Kind::Persist, PERSIST_MIB, 0),
    ];
    disk::write(output, &partitions)
}

/// Makes the image of a build, signed with this key and under this version.
///
/// # Errors
/// As [`image`].
pub fn make_with(
    built: &Built,
    stock: &Stock,
    config: Option<&Path>,
    output: &Path,
    key: &Key,
    version: &str,
) -> Result<()> {
    let mut pieces = Pieces::of(built, stock, key)?;
    pieces.release(version)?;
    // What is behind the image is zero in its partition.
    let esp = pieces.selector()?.clone();
    let step = ui::step("write the disk image");
    let slot = pieces.sign_as(version, stock, key, &step)?;
    step.say(format!("a slot: {} KiB", slot.len().div_ceil(1024)));
    let state = |state: State| state.put(0);
    let partition =
        |name, kind, size_mib, contents, attributes| Partition { name, kind, size_mib, contents, attributes };
    let partitions = [
        partition("esp", Kind::Esp, ESP_MIB, Contents::Bytes(esp.clone()), 0),
        partition("slot-a", Kind::Slot, slot::ROOM_MIB, Contents::Bytes(slot.clone()), state(State::ACTIVE)),
        partition("slot-b", Kind::Slot, slot::ROOM_MIB, Contents::Bytes(slot), state(State::SPARE)),
        partition("config", Kind::Config, CONFIG_MIB, Contents::Files(build::config_files(config)?), 0),
        partition("esp-2", Kind::Esp, ESP_MIB, Contents::Bytes(esp), 0),
        partition("P3", Kind::Persist, PERSIST_MIB, Contents::Empty, 0),
    ];
    disk::write(output, &partitions)?;
    step.done(output.display().to_string());
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn what_cannot_be_made_is_refused_before_the_build() {
        let check =
            |words: &[&str]| check(&Line::try_parse_from([&["image"], words].concat()).unwrap().options);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("disk.img");
        check(&["--output", file.to_str().unwrap(), "--config", folder.path().to_str().unwrap()]).unwrap();
        // What names the version is longer than the version.
        let long = "a".repeat(30);
        check(&["--version", &long]).unwrap();
        let wrong: [(&[&str], &str); 8] = [
            (&["--output", "/dev/null"], "cannot write /dev/null"),
            (&["--output", "/dev/full", "--update"], "cannot write /dev/full"),
            (&["--output", "/nosuch/disk.img"], "cannot write /nosuch/disk.img"),
            (&["--config", "nosuch"], "provisioning folder nosuch"),
            (&["--version", ""], "`` is no name"),
            (&["--version", "a b"], "`a b` is no name"),
            (&["--version", "1.0/x"], "`1.0/x` is no name"),
            (&["--version", &long, "--update", "--broken", "older"], "is no name"),
        ];
        for (words, part) in wrong {
            let told = format!("{:#}", check(words).unwrap_err());
            assert!(told.contains(part), "{words:?}: {told}");
        }
        // A certificate without its key, and the other way round; one that is empty is as good as none.
        let config = ["--config", folder.path().to_str().unwrap()];
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        for (certificate, key) in
            [("onboard.cert.pem", "onboard.key.pem"), ("device.cert.pem", "device.key.pem")]
        {
            for (there, missing) in [(certificate, key), (key, certificate)] {
                write(there, "a pem");
                let told = format!("{:#}", check(&config).unwrap_err());
                assert!(told.contains(&format!("file `{missing}` is missing")), "{there}: {told}");
                assert!(told.contains("[E-CTL-015]"), "{told}");
                write(missing, "\n");
                assert_eq!(format!("{:#}", check(&config).unwrap_err()), told);
                write(missing, "a pem");
                check(&config).unwrap();
                std::fs::remove_file(folder.path().join(missing)).unwrap();
                std::fs::remove_file(folder.path().join(there)).unwrap();
            }
        }
    }
}
