//! The slot that does not run: the only one that can be written.

use board_support_drv::block::BlockDevice;
use proto_gpt::slots::{Slot, Slots};

use crate::disk::{Disk, DiskError, Window};

/// The slot that does not run. There is no way to have a value of this type for the other one, and no other type
/// that writes to a slot: a request cannot reach what runs, whatever it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OtherSlot {
    slot: Slot,
    window: Window,
}

impl OtherSlot {
    /// The other one than `running`, if the table has both.
    pub(super) fn than(running: Slot, slots: &Slots) -> Option<Self> {
        slots.partition(running)?;
        let slot = running.other();
        Some(Self { slot, window: Window::of(slots.partition(slot)?) })
    }

    /// Which.
    pub(super) const fn slot(&self) -> Slot {
        self.slot
    }

    /// Bytes that it has room for.
    pub(super) const fn room<D: BlockDevice>(&self, disk: &Disk<D>) -> u64 {
        self.window.bytes(disk.block_bytes())
    }

    /// Where it lies, to be read.
    pub(super) const fn window(&self) -> Window {
        self.window
    }

    pub(super) async fn write<D: BlockDevice>(
        &self,
        disk: &Disk<D>,
        at: u64,
        from: &[u8],
    ) -> Result<(), DiskError> {
        disk.write(self.window, at, from).await
    }
}
