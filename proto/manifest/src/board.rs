//! The TOML files of a board: read, merged, checked, compiled. For the host tool.
//!
//! `board.toml` names the files that it inherits from, relative to itself. They are laid over each
//! other in the order of the list, the board's own file last; a later key replaces an earlier one,
//! key by key. An unknown key is an error, and so is a channel that only one side names, memory
//! that the machine does not have, and a device that two domains want. Each error names file and
//! line.
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
//! accepts = [{ channel = "device", from = "control" }]
//!
//! [domain.control]
//! image = "control"            # the domain's name unless given
//! memory_mib = 24
//! vcpus = 1
//! heap_kib = 12288
//! provisioning = true          # gets the files of the config partition
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
//! [applications]
//! memory_mib = 64              # of all of them
//! count = 2
//! vcpus = 1                    # of one
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

pub use self::error::{BoardError, Location};
use self::{file::File, source::SourceMap};
use crate::table::Table;

/// A board: its files, merged and checked.
#[derive(Debug)]
pub struct Board {
    name: String,
    sources: SourceMap,
    file: File,
}

/// What of a board the device's table does not carry: what the host needs to start it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Architecture, as Rust spells it.
    pub arch: String,
    /// What the machine has at least, in MiB.
    pub memory_mib: u32,
    /// dom0's memory, in MiB: `dom0_mem=…M`.
    pub dom0_memory_mib: u32,
    /// Xen's command line, without `dom0_mem`.
    pub xen_options: Vec<String>,
}

impl Board {
    /// Reads `board.toml` at `path` and all that it inherits from.
    ///
    /// # Errors
    /// [`BoardError`] with file and line: a file that cannot be read, TOML that does not parse, an
    /// unknown key, a missing key, or a contradiction (see the module's text).
    pub fn load(path: &Path) -> Result<Self, BoardError> {
        let mut sources = SourceMap::default();
        let own = sources.parse(path)?;
        let mut file = File::default();
        for inherited in &own.inherits {
            let base = path.parent().unwrap_or(Path::new("")).join(inherited.get_ref());
            let parent = sources.parse(&base)?;
            if let Some(nested) = parent.inherits.first() {
                return Err(BoardError::NestedInheritance { at: sources.locate(nested.span()) });
            }
            file.lay_over(parent);
        }
        file.lay_over(own);
        let name = path.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
        let board = Self { name: name.unwrap_or_default(), sources, file };
        // Compiled once with hashes of zero, so that every contradiction shows here.
        compile::machine(&board)?;
        compile::table(&board, &|_| Some([0; 32]))?;
        Ok(board)
    }

    /// The board's name: that of its folder.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The files that were read; a build depends on them.
    pub fn files(&self) -> Vec<PathBuf> {
        self.sources.files()
    }

    /// What the host needs to start the machine.
    ///
    /// # Errors
    /// None that [`Board::load`] would not have given.
    pub fn machine(&self) -> Result<Machine, BoardError> {
        compile::machine(self)
    }

    /// The images that the table names, each once, in the order of the domains.
    pub fn images(&self) -> Vec<String> {
        compile::images(self)
    }

    /// Compiles the table. `sha256_of` gives the SHA-256 of an image by its name.
    ///
    /// # Errors
    /// [`BoardError::ImageMissing`] if `sha256_of` has none for an image; none else that
    /// [`Board::load`] would not have given.
    pub fn compile(&self, sha256_of: impl Fn(&str) -> Option<[u8; 32]>) -> Result<Table, BoardError> {
        compile::table(self, &sha256_of)
    }
}

#[cfg(test)]
mod tests;
