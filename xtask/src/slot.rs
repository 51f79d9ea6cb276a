//! A slot: what starts the system, signed; see `proto/update`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use ed25519_dalek::pkcs8::DecodePrivateKey;
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use proto_handoff::record::Version;
use proto_manifest::archive::{Archive, RELEASE, Writer};
use proto_manifest::table::VirtioMmio;
use proto_update::manifest::{Draft, Header, Kind, Machine, Trusted};

use crate::build::{Arch, Built, Transport};
use crate::secure_boot::ProgramKey;
use crate::setup::{Firmware, Stock};
use crate::ui::Step;
use crate::{grub, paths, selector};

/// The version that a slot names unless it is given another one: that of the workspace.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// MiB of the partition of a slot.
pub const ROOM_MIB: u64 = 48;
/// Bytes of the same.
pub const ROOM_BYTES: usize = (ROOM_MIB as usize) << 20;

/// The name of the selector among the pieces.
const SELECTOR: &str = "selector";

/// What a person is told of a slot that the test key has signed.
pub(crate) const TEST_KEY: &str = "signed with the test key, which everybody has: for trying it, not for a device that matters (`--slot-key`)";

/// What signs slots, and the programs that firmware starts.
pub struct Key {
    signing: SigningKey,
    is_test: bool,
    /// For the programs; without it they are not signed.
    secure_boot: Option<ProgramKey>,
}

impl Key {
    /// The test key, which stands in the repository.
    ///
    /// # Errors
    /// When it is not there.
    pub fn test() -> Result<Self> {
        let key = Self::read(&paths::repository().join("boot/trust/slot-test.key.pem"))?;
        Ok(Self { is_test: true, ..key })
    }

    /// A key of one's own: Ed25519, PKCS#8, PEM.
    ///
    /// # Errors
    /// When the file is not there, or holds no such key.
    pub fn read(file: &Path) -> Result<Self> {
        const WANTED: &str =
            "wanted is a PEM file (PKCS#8) as `openssl genpkey -algorithm ed25519` writes it";
        let text = paths::read_text(file)?;
        let signing = SigningKey::from_pkcs8_pem(&text)
            .map_err(|error| anyhow!("{} is no private Ed25519 key: {error}; {WANTED}", file.display()))?;
        Ok(Self { signing, is_test: false, secure_boot: None })
    }

    /// The same for slots, with what signs the programs that firmware starts.
    #[must_use]
    pub fn with_secure_boot(self, signer: ProgramKey) -> Self {
        Self { secure_boot: Some(signer), ..self }
    }

    /// One that nobody trusts.
    pub(crate) fn strange() -> Self {
        Self { signing: SigningKey::from_bytes(&[7; 32]), is_test: false, secure_boot: None }
    }

    /// The public half in hexadecimal; nothing for the test key, which the selector has by itself.
    pub(crate) fn public_if_real(&self) -> Option<String> {
        (!self.is_test).then(|| hex::encode(self.signing.verifying_key().as_bytes()))
    }

    /// Whether it is the test key.
    pub(crate) fn is_test(&self) -> bool {
        self.is_test
    }

    /// What a slot is, and for which architecture, if the key has signed it.
    pub(crate) fn trusts(&self, header: &Header) -> Option<(Arch, Trusted)> {
        [(Arch::X86_64, Machine::X86_64), (Arch::Aarch64, Machine::Aarch64)]
            .into_iter()
            .find_map(|(arch, machine)| Some((arch, header.clone().verify(&[self.public()], machine).ok()?)))
    }

    /// The public half.
    pub(crate) fn public(&self) -> VerifyingKey {
        self.signing.verifying_key()
    }

    /// A program that firmware starts, signed if it is to be: each goes through here.
    ///
    /// # Errors
    /// As [`ProgramKey::sign`].
    pub(crate) fn program(&self, program: Vec<u8>, step: &Step) -> Result<Vec<u8>> {
        match &self.secure_boot {
            Some(signer) => signer.sign(&program, step),
            None => Ok(program),
        }
    }

    fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        self.signing.sign(bytes).to_bytes()
    }
}

/// What a slot is made of, before it is signed.
#[derive(Debug, Clone)]
pub enum Pieces {
    /// x86_64: what GRUB is made of.
    Grub {
        /// Its modules.
        modules: Vec<&'static str>,
        /// The files of its disk, by name.
        files: Vec<(&'static str, Vec<u8>)>,
        /// The selector, as an image of its partition.
        selector: Vec<u8>,
    },
    /// aarch64: the parts of the slot.
    Parts(Vec<(Kind, Vec<u8>)>),
}

/// Makes a slot of a build.
///
/// # Errors
/// When something of it cannot be read, or GRUB cannot be made.
pub fn make(built: &Built, stock: &Stock, key: &Key, version: &str, step: &Step) -> Result<Vec<u8>> {
    let mut pieces = Pieces::of(built, stock, key)?;
    pieces.release(version)?;
    pieces.sign_as(version, stock, key, step)
}

/// The parts of a slot, in their order.
pub(crate) type Parts = Vec<(Kind, Vec<u8>)>;

impl Pieces {
    /// Those of a build, with a selector that starts what `key` signs.
    ///
    /// # Errors
    /// When something of it cannot be read, or the selector does not compile.
    pub fn of(built: &Built, stock: &Stock, key: &Key) -> Result<Self> {
        let selector = selector::build(built.arch, key)?;
        let selector = selector::image(&selector::esp(built.arch, selector)?)?;
        let xen = paths::read(&stock.xen)?;
        let dom0 = paths::read(&built.dom0)?;
        let archive = paths::read(&built.archive)?;
        let line = built.xen_command_line();
        match &stock.firmware {
            Firmware::Uefi { .. } => {
                let config = grub::configuration(&line, &built.dom0_words)?.into_bytes();
                let files =
                    [(grub::CONFIGURATION, config), ("xen", xen), ("dom0", dom0), ("archive", archive)];
                Ok(Self::Grub { modules: grub::MODULES.into(), files: files.into(), selector })
            }
            Firmware::UBoot { .. } => {
                ensure!(built.dom0_words.is_empty(), "a slot of aarch64 carries no command line of dom0");
                let mut parts = vec![
                    (Kind::Xen, xen),
                    (Kind::Dom0, dom0),
                    (Kind::Archive, archive),
                    (Kind::XenLine, line.into_bytes()),
                ];
                let give_away = give_away(&built.transports).join("\n");
                if !give_away.is_empty() {
                    parts.push((Kind::GiveAway, give_away.into_bytes()));
                }
                parts.push((Kind::Selector, selector));
                Ok(Self::Parts(parts))
            }
        }
    }

    /// Names the version in the archive.
    ///
    /// # Errors
    /// When the archive is none.
    pub fn release(&mut self, version: &str) -> Result<()> {
        self.change_archive(|entries| {
            entries.insert(RELEASE.to_owned(), version.as_bytes().to_vec());
            Ok(())
        })
    }

    /// Changes the entries of the archive, which are by their names.
    ///
    /// # Errors
    /// When the archive is none, or an entry gets a name that is not allowed; and those of `change`.
    pub fn change_archive(
        &mut self,
        change: impl FnOnce(&mut BTreeMap<String, Vec<u8>>) -> Result<()>,
    ) -> Result<()> {
        let piece = self.piece("archive")?;
        let archive = Archive::open(piece).map_err(|error| anyhow!("the archive: {error}"))?;
        let mut entries =
            archive.entries().map(|entry| (entry.name.to_owned(), entry.data.to_vec())).collect();
        change(&mut entries)?;
        let mut writer = Writer::new();
        for (name, data) in &entries {
            writer.add(name, data).map_err(|error| anyhow!("archive entry `{name}`: {error}"))?;
        }
        *piece = writer.finish();
        Ok(())
    }

    /// The slot, under the workspace's version.
    ///
    /// # Errors
    /// When GRUB cannot be made, or a piece is empty.
    pub fn sign(&self, stock: &Stock, key: &Key, step: &Step) -> Result<Vec<u8>> {
        self.sign_as(VERSION, stock, key, step)
    }

    /// The slot, under this version.
    ///
    /// # Errors
    /// As [`sign`](Self::sign), or when the version is no name.
    pub fn sign_as(&self, version: &str, stock: &Stock, key: &Key, step: &Step) -> Result<Vec<u8>> {
        let (machine, parts) = self.parts(stock, key, step)?;
        signed(machine, &parts, key, version)
    }

    /// The parts of the slot, and what it is for. What firmware starts of them is signed for Secure Boot.
    pub(crate) fn parts(&self, stock: &Stock, key: &Key, step: &Step) -> Result<(Machine, Parts)> {
        match (self, &stock.firmware) {
            (Self::Grub { modules, files, selector }, Firmware::Uefi { grub_modules, .. }) => {
                let program = grub::program(grub_modules, modules, &memory_disk(files)?, step)?;
                let program = key.program(program, step)?;
                Ok((Machine::X86_64, vec![(Kind::Program, program), (Kind::Selector, selector.clone())]))
            }
            (Self::Parts(parts), Firmware::UBoot { .. }) => {
                let mut parts = parts.clone();
                for (_, xen) in parts.iter_mut().filter(|(kind, _)| *kind == Kind::Xen) {
                    *xen = key.program(std::mem::take(xen), step)?;
                }
                Ok((Machine::Aarch64, parts))
            }
            _ => bail!("a slot of one architecture is not signed with the firmware of the other"),
        }
    }

    /// The selector, as an image of its partition, to be changed.
    ///
    /// # Errors
    /// When there is none.
    pub fn selector(&mut self) -> Result<&mut Vec<u8>> {
        self.piece(SELECTOR)
    }

    /// A piece by the name that it has in GRUB's disk, to be changed; or the selector.
    pub(crate) fn piece(&mut self, name: &str) -> Result<&mut Vec<u8>> {
        let found = match self {
            Self::Grub { selector, .. } if name == SELECTOR => Some(selector),
            Self::Grub { files, .. } => {
                files.iter_mut().find(|(file, _)| *file == name).map(|(_, bytes)| bytes)
            }
            Self::Parts(parts) => {
                let of = |kind: Kind| match kind {
                    Kind::Xen => "xen",
                    Kind::Dom0 => "dom0",
                    Kind::Archive => "archive",
                    Kind::Selector => SELECTOR,
                    Kind::Program | Kind::XenLine | Kind::GiveAway => "",
                };
                parts.iter_mut().find(|(kind, _)| of(*kind) == name).map(|(_, bytes)| bytes)
            }
        };
        found.with_context(|| format!("the slot has no {name}"))
    }
}

/// The name of a version. Files are called after it, here and where a controller keeps them.
///
/// # Errors
/// When it is none.
pub(crate) fn named(version: &str) -> Result<Version> {
    Version::new(version).filter(|_| !version.contains('/')).with_context(|| {
        format!("`{version}` is no name for a version: 1 to 32 printable letters, no blanks, no `/`")
    })
}

/// The slot of these parts, signed.
pub(crate) fn signed(
    machine: Machine,
    parts: &[(Kind, Vec<u8>)],
    key: &Key,
    version: &str,
) -> Result<Vec<u8>> {
    let version = named(version)?;
    let parts: Vec<(Kind, &[u8])> = parts.iter().map(|(kind, bytes)| (*kind, bytes.as_slice())).collect();
    let draft = Draft::new(machine, version, &parts).context("a part of the slot is empty")?;
    Ok(draft.sign(|bytes| key.sign(bytes)))
}

/// What GRUB has as its disk: a cpio archive, which it reads as it reads a file system.
fn memory_disk(files: &[(&str, Vec<u8>)]) -> Result<Vec<u8>> {
    let mut writer = Writer::new();
    for (name, data) in files {
        writer.add(name, data).map_err(|error| anyhow!("{name} in GRUB's disk: {error}"))?;
    }
    Ok(writer.finish())
}

/// Paths in the device tree of what goes to driver domains: eight transports share a page of registers, which
/// goes to one domain as a whole.
pub(crate) fn give_away(transports: &[Transport]) -> Vec<String> {
    let page = |transport: &Transport| transport.number - transport.number % VirtioMmio::A_PAGE;
    let whole = transports.iter().map(page).flat_map(|first| first..first + VirtioMmio::A_PAGE);
    whole
        .map(|transport| format!("/virtio_mmio@{:x}", VirtioMmio { transport, pool_pages: 1 }.address()))
        .collect()
}

#[cfg(test)]
mod tests {
    use proto_manifest::table::DeviceKind;
    use proto_update::manifest::ALIGN;

    use super::*;

    /// The selector has the public half of the test key in a file of its own.
    #[test]
    fn what_the_test_key_signs_is_what_the_selector_trusts() {
        let text = paths::read_text(&paths::repository().join("boot/trust/slot-test.pub")).unwrap();
        let public: [u8; 32] = hex::decode(text.trim()).unwrap().try_into().unwrap();
        let public = VerifyingKey::from_bytes(&public).unwrap();
        let key = Key::test().unwrap();
        assert_eq!(key.public_if_real(), None);
        let slot = signed(Machine::X86_64, &[(Kind::Program, b"MZ".to_vec())], &key, VERSION).unwrap();
        let trusted =
            Header::parse(&slot, slot.len() as u64).unwrap().verify(&[public], Machine::X86_64).unwrap();
        assert_eq!(trusted.version().as_str(), VERSION);
        assert_eq!(trusted.contents(&slot[ALIGN..]).unwrap().part(Kind::Program), Some(b"MZ".as_slice()));
    }

    #[test]
    fn the_whole_page_of_a_transport_is_given_away() {
        let at = |kind, number| Transport { kind, number };
        let paths = give_away(&[at(DeviceKind::VirtioNet, 25)]);
        assert_eq!(paths.len(), 8);
        assert_eq!((paths[0].as_str(), paths[7].as_str()), ("/virtio_mmio@a003000", "/virtio_mmio@a003e00"));
        assert!(give_away(&[]).is_empty());
        let both = give_away(&[at(DeviceKind::VirtioNet, 24), at(DeviceKind::VirtioBlk, 16)]);
        assert_eq!((both.len(), both[8].as_str()), (16, "/virtio_mmio@a002000"));
    }

    #[test]
    fn a_key_that_is_none_is_refused_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key.pem");
        std::fs::write(&file, "no key").unwrap();
        let error = Key::read(&file).map(|_| ()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{} is no private Ed25519 key", file.display())), "{error}");
        assert!(error.ends_with("as `openssl genpkey -algorithm ed25519` writes it"), "{error}");
    }
}
