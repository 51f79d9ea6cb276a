//! `graph`: a board's domains, channels and devices, as text and as a picture.
//!
//! Both are made from the compiled table, so they show what dom0 will build and nothing else. Equal boards give
//! equal pictures: the layout knows no chance and asks no other program.

mod layout;
mod svg;
mod text;

use std::path::PathBuf;

use anyhow::Result;
use proto_manifest::board::{Board, Machine};
use proto_manifest::table::{Bus, Channel, DOM0_CHANNEL, Device, DeviceKind, Party, Registers, Table};

use crate::{build, paths};

/// Options of `graph`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Board: a folder in board-support/boards
    #[arg(long, default_value = "qemu-x86_64")]
    pub board: String,
    /// Write a picture to this file, too
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
}

/// Runs the subcommand: the text goes to standard output.
///
/// # Errors
/// When the board contradicts itself, or the picture cannot be written.
pub fn graph(options: &Options) -> Result<()> {
    options.svg.as_deref().map_or(Ok(()), paths::destination)?;
    let board = build::board(&options.board)?;
    let view = View::of(&board);
    print!("{}", text::draw(&view));
    if let Some(file) = &options.svg {
        paths::write(file, svg::draw(&view))?;
        eprintln!("{}", file.display());
    }
    Ok(())
}

/// What is drawn.
#[derive(Debug, Clone, Copy)]
struct View<'a> {
    machine: &'a Machine,
    table: &'a Table,
}

impl<'a> View<'a> {
    fn of(board: &'a Board) -> Self {
        Self { machine: board.machine(), table: board.table() }
    }

    /// Who gets how much memory, in MiB, and what is left.
    fn memory(&self) -> (Vec<(&'a str, u32)>, u32) {
        let mut shares =
            vec![("Xen", self.machine.xen_memory_mib), (DOM0_CHANNEL, self.machine.dom0_memory_mib)];
        shares.extend(self.table.domains.iter().map(|domain| (domain.name.as_str(), domain.memory_mib)));
        shares.push(("applications", self.table.applications.memory_mib));
        // The board was refused if the sum were larger.
        let left = shares.iter().fold(self.machine.memory_mib, |left, share| left.saturating_sub(share.1));
        (shares, left)
    }

    /// All channels: those to dom0 that every service has, then those that are listed.
    fn channels(&self) -> Vec<(&'a str, &'a str, &'a str)> {
        let supervised =
            self.table.domains.iter().map(|domain| (domain.name.as_str(), DOM0_CHANNEL, DOM0_CHANNEL));
        let listed = self.table.channels.iter().map(|channel| {
            (
                self.name_of(Party::Domain(channel.offers)),
                channel.name.as_str(),
                self.name_of(channel.accepts),
            )
        });
        supervised.chain(listed).collect()
    }

    /// The channels that a domain has to dom0, the one for supervision first.
    fn below(&self, domain: usize) -> Vec<&'a str> {
        let mine =
            |channel: &&Channel| usize::from(channel.offers) == domain && channel.accepts == Party::Dom0;
        let listed = self.table.channels.iter().filter(mine).map(|channel| channel.name.as_str());
        std::iter::once(DOM0_CHANNEL).chain(listed).collect()
    }

    fn name_of(&self, party: Party) -> &'a str {
        match party {
            Party::Dom0 => DOM0_CHANNEL,
            Party::Domain(index) => {
                self.table.domains.get(usize::from(index)).map_or("?", |domain| domain.name.as_str())
            }
        }
    }
}

/// Its driver.
fn driver(device: &Device) -> &'static str {
    match device.kind {
        DeviceKind::E1000e => "e1000e",
        DeviceKind::VirtioNet => "virtio-net",
        DeviceKind::TpmCrb => "tpm-crb",
        DeviceKind::TpmTis => "tpm-tis",
        DeviceKind::Nvme => "nvme",
        DeviceKind::VirtioBlk => "virtio-blk",
    }
}

/// How it is found.
fn place(device: &Device) -> String {
    match &device.bus {
        Bus::Pci(pci) => {
            let skip =
                if pci.select.skip == 0 { String::new() } else { format!(", skip {}", pci.select.skip) };
            format!("PCI {:04x}:{:04x}{skip}", pci.select.vendor, pci.select.device)
        }
        Bus::VirtioMmio(mmio) => format!("transport {}", mmio.transport),
        Bus::Registers(registers) => format!("registers at {:#x}", registers.address),
    }
}

/// What of it the domain gets.
fn share(device: &Device) -> String {
    match &device.bus {
        Bus::Pci(pci) => {
            let bars: Vec<String> = pci.bars.iter().map(u8::to_string).collect();
            format!("BAR {}, {} vectors, behind the IOMMU", bars.join(" "), pci.vectors)
        }
        Bus::VirtioMmio(mmio) => format!("pool of {} KiB, no IOMMU", u32::from(mmio.pool_pages) * 4),
        Bus::Registers(Registers { optional: true, .. }) => "one page, if the machine has it".to_owned(),
        Bus::Registers(_) => "one page".to_owned(),
    }
}

#[cfg(test)]
mod tests;
