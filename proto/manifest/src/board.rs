//! The TOML files of a board: read, merged, checked, compiled. For the host tool.
//!
//! `board.toml` names the files that it inherits from, relative to itself. They are laid over each
//! other in the order of the list, the board's own file last; a later key replaces an earlier one,
//! key by key. An unknown key is an error, and so is a channel that only one side names, memory
//! that the machine does not have, and a device that two domains want. Each error names file, line
//! and key, and all of them are told at once.
//!
//! ```toml
//! inherits = ["../common/x86_64.toml", "../common/image.toml"]
//!
//! [machine]
//! arch = "x86_64"              # or "aarch64"
//! memory_mib = 1024            # what the machine has at least
//!
//! [xen]
//! options = ["loglvl=all"]     # Xen's command line
//! memory_mib = 96              # what Xen itself needs
//!
//! [dom0]
//! memory_mib = 24
//! accepts = [{ channel = "device", from = "control" }]   # a channel is called like its protocol
//!
//! [domain.control]
//! image = "control"            # the domain's name unless given
//! memory_mib = 24
//! vcpus = 1
//! cpus = [0]                   # optional: the CPUs that these run on
//! heap_kib = 12288
//! provisioning = true          # gets the files of the config partition
//! vital = true                 # optional: the machine is reset when it cannot be kept running
//! offers = [{ channel = "device", to = "dom0" }, { channel = "network", to = "net" }]
//! accepts = []                 # [{ channel = "…", from = "…" }]
//! devices = []                 # names of [device.NAME]
//! order = 2                    # domains are built in this order
//!
//! [device.uplink]
//! kind = "e1000e"
//! id = "8086:10d3"             # vendor:device
//! class = "020000"             # optional
//! skip = 0                     # optional: take a later function that matches
//! bars = [0]
//! vectors = 3
//!
//! [device.other]               # a virtio transport in memory, of a machine without IOMMU
//! kind = "virtio-net"
//! transport = 24               # which; eight (8n to 8n + 7) share a page and go to one domain
//! pool_kib = 1024              # dom0's memory that the device reads and writes
//!
//! [device.disk]                # other kinds: "nvme" on PCI, "virtio-blk" on a transport
//! kind = "nvme"
//! id = "1b36:0010"
//! bars = [0]                   # without the pages of the MSI-X table, which no domain sees
//! vectors = 1
//!
//! [device.chip]                # a page of registers that no bus tells of
//! kind = "tpm-crb"             # or "tpm-tis"; what the firmware says of it counts
//! address = 0xfed40000
//! optional = true              # false without the key: its domain is not built without it
//!
//! [applications]
//! memory_mib = 64              # of all of them
//! count = 2
//! vcpus = 1                    # of one
//! cpus = [0, 1]                # optional: the CPUs that these run on
//! image_kib = 8192             # of one
//! ```

mod compile;
mod error;
mod file;
mod source;

use std::{
    path::{Path, PathBuf},
    string::String,
    vec::Vec,
};

pub use self::error::{BoardError, BoardErrors, Fault, Location};
use self::{
    compile::Compiled,
    file::{File, LayOver},
};
use crate::table::Table;

/// A board: its files, merged and checked.
#[derive(Debug)]
pub struct Board {
    name: String,
    files: Vec<PathBuf>,
    compiled: Compiled,
}

/// What of a board the device's table does not carry: what the host needs to start it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Architecture, as Rust spells it.
    pub arch: String,
    /// What the machine has at least, in MiB.
    pub memory_mib: u32,
    /// What of it Xen keeps for itself, in MiB.
    pub xen_memory_mib: u32,
    /// dom0's memory, in MiB: `dom0_mem=…M`.
    pub dom0_memory_mib: u32,
    /// Xen's command line, without `dom0_mem`.
    pub xen_options: Vec<String>,
}

/// The image of a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Image {
    name: String,
    /// The key that names it.
    at: Location,
}

impl Board {
    /// Reads `board.toml` at `path` and all that it inherits from.
    ///
    /// # Errors
    /// All that is wrong, each with file, line and key: first what is wrong with the files as such (they
    /// cannot be read, are no TOML, have unknown keys or values of another type); if nothing is, what is
    /// wrong with the board (see the module's text).
    pub fn load(path: &Path) -> Result<Self, BoardErrors> {
        let path = source::plain(path);
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut errors = Vec::new();
        let own = source::read(&path, &mut errors);
        let mut files = Vec::from([path.clone()]);
        let mut file = File::default();
        for inherited in own.inherits.iter().flat_map(|list| &list.value) {
            let base = source::plain(&folder.join(&inherited.value));
            let parent = source::read(&base, &mut errors);
            if let Some(nested) = &parent.inherits {
                errors.push(BoardError { at: nested.at.clone(), fault: Fault::NestedInheritance });
            }
            file.lay_over(parent);
            files.push(base);
        }
        file.lay_over(own);
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let start = Location { file: path.as_path().into(), line: 1, key: String::new() };
        let compiled = match errors.is_empty() {
            true => compile::compile(&name, &file, start),
            false => Err(errors),
        };
        match compiled {
            Ok(compiled) => Ok(Self { name, files, compiled }),
            Err(errors) => Err(BoardErrors::sorted(errors, &files)),
        }
    }

    /// The board's name: that of its folder.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The files that were read; a build depends on them.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// What the host needs to start the machine.
    pub fn machine(&self) -> &Machine {
        &self.compiled.machine
    }

    /// The table, without the hashes of the images.
    pub fn table(&self) -> &Table {
        &self.compiled.table
    }

    /// The images that the table names, each once, in the order of the domains.
    pub fn images(&self) -> Vec<String> {
        let mut names = Vec::new();
        for image in &self.compiled.images {
            if !names.contains(&image.name) {
                names.push(image.name.clone());
            }
        }
        names
    }

    /// Checks that there is every image that the table names.
    ///
    /// # Errors
    /// [`Fault::NoSuchImage`] at the key of each domain whose image `is_there` denies.
    pub fn check_images(&self, is_there: impl Fn(&str) -> bool) -> Result<(), BoardErrors> {
        let missing = self.compiled.images.iter().filter(|image| !is_there(&image.name));
        let error = |image: &Image| {
            let fault = Fault::NoSuchImage { name: image.name.clone() };
            BoardError { at: image.at.clone(), fault }
        };
        let errors: Vec<_> = missing.map(error).collect();
        if errors.is_empty() { Ok(()) } else { Err(BoardErrors(errors)) }
    }

    /// The table with the hashes of its images. `sha256_of` gives the SHA-256 of an image by its name.
    ///
    /// # Errors
    /// As [`Board::check_images`], for images of which `sha256_of` has none.
    pub fn compile(&self, sha256_of: impl Fn(&str) -> Option<[u8; 32]>) -> Result<Table, BoardErrors> {
        self.check_images(|image| sha256_of(image).is_some())?;
        let mut table = self.compiled.table.clone();
        for domain in &mut table.domains {
            domain.sha256 = sha256_of(&domain.image).unwrap_or_default();
        }
        Ok(table)
    }
}

#[cfg(test)]
mod tests;
