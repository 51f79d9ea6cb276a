//! What a controller says of itself and of a namespace.
//!
//! Source: specification, section 5.15.2.

use core::{fmt, sync::atomic::AtomicU32};

use crate::{
    block::{BlockSize, Identity, identity_text},
    dma,
};

/// Bytes of each structure, of which the ends are not read.
pub const BYTES: usize = 4096;

/// Bytes of an entry of a submission queue, and of a completion queue, as powers of two.
const ENTRY_SIZES: (u8, u8) = (6, 4);

/// A controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Controller {
    /// Model and serial number.
    pub identity: Identity,
    /// MDTS: the most bytes of a transfer are a smallest page times two to this power; no limit if it is 0.
    pub transfer: u8,
    /// NN: numbers of namespaces go up to this.
    pub namespaces: u32,
    /// VWC: whether it has a write cache that loses its contents with the power.
    pub has_cache: bool,
}

/// A namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Bytes of its blocks.
    pub block_size: BlockSize,
    /// Blocks of it.
    pub blocks: u64,
    /// Whether it is protected against writes.
    pub is_protected: bool,
}

/// Why a controller or a namespace is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// Its queues have entries of other sizes: SQES and CQES read so.
    Entries {
        /// SQES.
        submission: u8,
        /// CQES.
        completion: u8,
    },
    /// It has no namespaces.
    NoNamespace,
    /// The namespace has no blocks: there is none with this number, or it is not active.
    Empty,
    /// The namespace is of a format that it does not list.
    NoFormat {
        /// The number of the format.
        index: u8,
    },
    /// The namespace keeps metadata beside each block.
    Metadata {
        /// Bytes a block.
        bytes: u16,
    },
    /// The namespace has blocks of another size than 512 or 4096 bytes.
    BlockSize {
        /// The size is two to this power.
        shift: u8,
    },
    /// The namespace has more bytes than can be counted.
    TooLarge {
        /// Blocks, as it says.
        blocks: u64,
    },
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entries { submission, completion } => {
                write!(
                    f,
                    "its queues have other entries, SQES reads {submission:#x} and CQES {completion:#x}"
                )
            }
            Self::NoNamespace => f.write_str("it has no namespace"),
            Self::Empty => f.write_str("its namespace 1 has no blocks"),
            Self::NoFormat { index } => {
                write!(f, "its namespace 1 has format {index}, which it does not list")
            }
            Self::Metadata { bytes } => {
                write!(f, "its namespace 1 has {bytes} bytes of metadata a block; format it without")
            }
            Self::BlockSize { shift } => {
                write!(f, "its namespace 1 has blocks of 2^{shift} bytes; format it with 512 or 4096")
            }
            Self::TooLarge { blocks } => write!(f, "its namespace 1 has {blocks} blocks"),
        }
    }
}

/// Fields of the structure, copied once.
struct Fields<const N: usize>([u8; N]);

impl<const N: usize> Fields<N> {
    fn copy(words: &[AtomicU32]) -> Self {
        let mut bytes = [0; N];
        // A page has more than that.
        let copied = dma::copy_out(words, 0, &mut bytes);
        debug_assert!(copied);
        Self(bytes)
    }

    fn bytes<const M: usize>(&self, at: usize) -> [u8; M] {
        self.0.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; M])
    }

    fn byte(&self, at: usize) -> u8 {
        let [byte] = self.bytes(at);
        byte
    }
}

impl Controller {
    /// Reads the structure of CNS 01h from a page.
    ///
    /// # Errors
    /// [`Unusable`]
    pub fn read(words: &[AtomicU32]) -> Result<Self, Unusable> {
        let fields = Fields::<528>::copy(words);
        let (submission, completion) = (fields.byte(512), fields.byte(513));
        // Upper halves are the largest sizes, lower ones the smallest.
        let fits = |sizes: u8, size: u8| (sizes & 0xf..=sizes >> 4).contains(&size);
        if !fits(submission, ENTRY_SIZES.0) || !fits(completion, ENTRY_SIZES.1) {
            return Err(Unusable::Entries { submission, completion });
        }
        let namespaces = u32::from_le_bytes(fields.bytes(516));
        if namespaces == 0 {
            return Err(Unusable::NoNamespace);
        }
        Ok(Self {
            identity: Identity {
                serial: identity_text(&fields.bytes::<20>(4)),
                model: identity_text(&fields.bytes::<40>(24)),
            },
            transfer: fields.byte(77),
            namespaces,
            has_cache: fields.byte(525) & 1 != 0,
        })
    }
}

impl Namespace {
    /// Reads the structure of CNS 00h from a page.
    ///
    /// # Errors
    /// [`Unusable`]
    pub fn read(words: &[AtomicU32]) -> Result<Self, Unusable> {
        let fields = Fields::<384>::copy(words);
        let blocks = u64::from_le_bytes(fields.bytes(0));
        if blocks == 0 {
            return Err(Unusable::Empty);
        }
        let (count, selected) = (fields.byte(25), fields.byte(26));
        // Revision 2.0 has more than 16 formats, and two more bits for them.
        let index = selected & 0xf | if count > 15 { selected >> 1 & 0x30 } else { 0 };
        if index > count {
            return Err(Unusable::NoFormat { index });
        }
        let [metadata_low, metadata_high, shift, _] = fields.bytes(128 + 4 * usize::from(index));
        let bytes = u16::from_le_bytes([metadata_low, metadata_high]);
        if bytes != 0 {
            return Err(Unusable::Metadata { bytes });
        }
        let size = 1u32.checked_shl(shift.into()).and_then(BlockSize::of_bytes);
        let block_size = size.ok_or(Unusable::BlockSize { shift })?;
        if blocks.checked_mul(block_size.bytes() as u64).is_none() {
            return Err(Unusable::TooLarge { blocks });
        }
        Ok(Self { block_size, blocks, is_protected: fields.byte(99) & 1 != 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::Ordering::Relaxed;
    use std::{vec, vec::Vec};

    type Page = Vec<AtomicU32>;

    fn page(fields: &[(usize, &[u8])]) -> Page {
        let mut bytes = vec![0; BYTES];
        for (at, field) in fields {
            bytes[*at..][..field.len()].copy_from_slice(field);
        }
        let words = bytes.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap()));
        words.map(AtomicU32::new).collect()
    }

    fn put(page: &Page, at: usize, byte: u8) {
        let word = &page[at / 4];
        let shift = at % 4 * 8;
        word.store(word.load(Relaxed) & !(0xff << shift) | u32::from(byte) << shift, Relaxed);
    }

    fn controller() -> Page {
        page(&[
            (4, b"sarsen              "),
            (24, b"QEMU NVMe Ctrl                          "),
            (77, &[7]),
            (512, &[0x66, 0x44]),
            (516, &256u32.to_le_bytes()),
            (525, &[7]),
        ])
    }

    /// 2 GiB in blocks of 512 bytes; the second format has 4096.
    fn namespace() -> Page {
        page(&[(0, &(4u64 << 20).to_le_bytes()), (25, &[1]), (128, &[0, 0, 9, 0]), (132, &[0, 0, 12, 0])])
    }

    #[test]
    fn a_controller_says_what_it_is() {
        let read = Controller::read(&controller()).unwrap();
        assert_eq!(
            (read.identity.model.as_str(), read.identity.serial.as_str()),
            ("QEMU NVMe Ctrl", "sarsen")
        );
        assert_eq!((read.transfer, read.namespaces, read.has_cache), (7, 256, true));
        let page = controller();
        put(&page, 525, 6);
        assert!(!Controller::read(&page).unwrap().has_cache);
    }

    #[test]
    fn a_controller_that_is_of_no_use_is_refused() {
        let with = |at, byte| {
            let page = controller();
            put(&page, at, byte);
            Controller::read(&page).map(drop)
        };
        let entries = |submission, completion| Err(Unusable::Entries { submission, completion });
        assert_eq!(with(512, 0x76), Ok(()));
        assert_eq!(with(512, 0x77), entries(0x77, 0x44), "larger ones only");
        assert_eq!(with(512, 0x55), entries(0x55, 0x44), "smaller ones only");
        assert_eq!(with(513, 0x33), entries(0x66, 0x33));
        assert_eq!(with(517, 0), Err(Unusable::NoNamespace));
    }

    #[test]
    fn a_namespace_says_how_large_it_is() {
        let read = Namespace::read(&namespace()).unwrap();
        let small = Namespace { block_size: BlockSize::B512, blocks: 4 << 20, is_protected: false };
        assert_eq!(read, small);
        let page = namespace();
        put(&page, 26, 0x11);
        put(&page, 99, 1);
        let large = Namespace { block_size: BlockSize::B4096, is_protected: true, ..small };
        assert_eq!(Namespace::read(&page), Ok(large));
    }

    #[test]
    fn formats_that_no_driver_here_knows_are_refused_by_name() {
        let with = |changes: &[(usize, u8)]| {
            let page = namespace();
            changes.iter().for_each(|(at, byte)| put(&page, *at, *byte));
            Namespace::read(&page).map(drop)
        };
        assert_eq!(with(&[(2, 0)]), Err(Unusable::Empty));
        assert_eq!(with(&[(26, 2)]), Err(Unusable::NoFormat { index: 2 }));
        assert_eq!(with(&[(128, 8)]), Err(Unusable::Metadata { bytes: 8 }));
        assert_eq!(with(&[(129, 1)]), Err(Unusable::Metadata { bytes: 256 }));
        for shift in [0, 8, 10, 13, 31, 32, 255] {
            assert_eq!(with(&[(130, shift)]), Err(Unusable::BlockSize { shift }));
        }
        assert_eq!(with(&[(7, 0x80)]), Err(Unusable::TooLarge { blocks: (1 << 63) + (4 << 20) }));
        // The upper bits of the number count only if there are so many formats.
        assert_eq!(with(&[(26, 0x20)]), Ok(()));
        assert_eq!(with(&[(25, 63), (26, 0x20)]), Err(Unusable::BlockSize { shift: 0 }));
        assert_eq!(with(&[(25, 63), (26, 0x6f), (128 + 63 * 4 + 2, 12)]), Ok(()));
    }
}
