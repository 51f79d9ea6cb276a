//! What the domain was started with.

use board_support_arch::{boot_info, memory_map::MemoryMap};
use heapless::Vec;

use crate::timer::Instant;

/// What the domain was started with.
#[derive(Clone, Debug)]
pub struct Boot {
    pub(crate) command_line: &'static str,
    pub(crate) modules: Vec<&'static [u8], { boot_info::MAX_MODULES }>,
    pub(crate) memory_map: &'static MemoryMap,
    pub(crate) rsdp: u64,
    pub(crate) rtc: Option<u64>,
    pub(crate) tpm: Option<u64>,
    pub(crate) ecam: Option<u64>,
    pub(crate) began: Instant,
    pub(crate) handoff: Option<&'static [u8]>,
    pub(crate) event_log: Option<&'static [u8]>,
    pub(crate) provisioning: Option<&'static [u8]>,
}

impl Boot {
    /// The command line.
    #[must_use]
    pub fn command_line(&self) -> &'static str {
        self.command_line
    }

    /// The value of `key=value` on the command line.
    #[must_use]
    pub fn option(&self, key: &str) -> Option<&'static str> {
        boot_info::option(self.command_line, key)
    }

    /// The modules, in order.
    #[must_use]
    pub fn modules(&self) -> &[&'static [u8]] {
        &self.modules
    }

    /// Module `index`.
    #[must_use]
    pub fn module(&self, index: usize) -> Option<&'static [u8]> {
        self.modules.get(index).copied()
    }

    /// When the domain's first instruction was done.
    #[must_use]
    pub fn began(&self) -> Instant {
        self.began
    }

    /// The memory map: where RAM is, what is reserved.
    #[must_use]
    pub fn memory_map(&self) -> &'static MemoryMap {
        self.memory_map
    }

    /// Address of the machine's real-time clock, a PL031, if there is one to be told of.
    #[must_use]
    pub fn rtc(&self) -> Option<u64> {
        self.rtc
    }

    /// Address of the registers of the machine's TPM, where the device tree tells of it.
    #[must_use]
    pub fn tpm(&self) -> Option<u64> {
        self.tpm
    }

    /// Where configuration space of PCI is, where the device tree tells of it.
    #[must_use]
    pub fn ecam(&self) -> Option<u64> {
        self.ecam
    }

    /// The selector's record, where it comes by the device tree.
    #[must_use]
    pub fn handoff(&self) -> Option<&'static [u8]> {
        self.handoff
    }

    /// The firmware's log of measurements, where it comes by the device tree.
    #[must_use]
    pub fn event_log(&self) -> Option<&'static [u8]> {
        self.event_log
    }

    /// The selector's archive of provisioning files, where it comes by the device tree.
    #[must_use]
    pub fn provisioning(&self) -> Option<&'static [u8]> {
        self.provisioning
    }

    /// Address of the ACPI RSDP (x86) or of the device tree (arm), or 0.
    #[must_use]
    pub fn rsdp(&self) -> u64 {
        self.rsdp
    }
}
