//! How dom0 divides its own memory: what its heap may take, and how much of that is for images.
//!
//! dom0 must not run out of memory: an allocation that fails ends it, and the system with it. The one
//! thing in it that others choose the size of are the images of applications, and their room leaves
//! enough for everything else.

use proto_manifest::table::Applications;

/// What stays outside of the heap, in bytes: page tables for pages of other domains and of devices.
const OUTSIDE: usize = 1 << 20;

/// What the heap keeps for dom0 itself, in bytes: tasks, messages, ends of channels.
const OWN: usize = 2 << 20;

/// The division, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// The most that the heap may take.
    pub heap: usize,
    /// The most that images may have of it.
    pub images: usize,
}

impl Room {
    /// Divides: the heap has taken `taken` bytes, of which `allocated` are in use, and `free` bytes of
    /// memory are left beside it.
    pub fn divide(taken: usize, allocated: usize, free: usize) -> Self {
        let heap = taken.saturating_add(free.saturating_sub(OUTSIDE));
        Self { heap, images: heap.saturating_sub(allocated).saturating_sub(OWN) }
    }

    /// The bytes that all images of the table's limits would take, if that is more than there is room
    /// for.
    pub fn wanted_in_vain(&self, limits: &Applications) -> Option<usize> {
        let each = usize::try_from(limits.image_kib).unwrap_or(usize::MAX).saturating_mul(1024);
        let all = each.saturating_mul(limits.count.into());
        (all > self.images).then_some(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn images_leave_room_for_dom0_itself() {
        let room = Room::divide(MIB, MIB / 2, 20 * MIB);
        assert_eq!(room, Room { heap: 20 * MIB, images: 17 * MIB + MIB / 2 });
        let limits = |count| Applications { memory_mib: 64, count, vcpus: 1, cpus: 0, image_kib: 4096 };
        assert_eq!(room.wanted_in_vain(&limits(4)), None);
        assert_eq!(room.wanted_in_vain(&limits(5)), Some(20 * MIB));
    }

    #[test]
    fn a_machine_without_memory_has_no_images() {
        assert_eq!(Room::divide(MIB, MIB, MIB / 2), Room { heap: MIB, images: 0 });
        assert_eq!(Room::divide(usize::MAX, 0, usize::MAX).heap, usize::MAX);
    }
}
