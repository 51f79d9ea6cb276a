//! The superblock: where the directory is, and what vault has storage keep.
//!
//! A page in two copies, the first and the last of the store. Its checksum finds what a power cut or the disk
//! did to it. Against who writes the disk on purpose it protects nothing: the directory is authenticated with the key, and
//! which key is believed is vault's to say. A key that this TPM has sealed is; one in the clear is where there is no TPM,
//! and then who writes the disk can read and write all of the store.

use alloc::vec::Vec as Bytes;
use core::fmt;

use heapless::Vec;
use proto_svc::sealing::{MAX_KEPT, MAX_SEALED};
use sha2::{Digest, Sha256};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use super::PAGE;
use super::seal::Nonce;

const MAGIC: [u8; 8] = *b"SARSTORE";
const FORMAT: u32 = 1;
/// The most pages of one copy of the directory.
pub(crate) const MAX_DIRECTORY_PAGES: usize = 16;
/// Room for the sealed key and for what else is kept: more than today's messages bring.
const SEALED_ROOM: usize = 1024;
const KEPT_ROOM: usize = 1024;
const _: () = assert!(MAX_SEALED <= SEALED_ROOM && MAX_KEPT <= KEPT_ROOM);
const CHECKED: usize = PAGE - 32;

/// The superblock as it lies on the disk.
#[derive(Clone, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Raw {
    magic: [u8; 8],
    format: U32,
    pages: U32,
    sequence: U64,
    store: [u8; 16],
    life: U32,
    directory_bytes: U32,
    state: U64,
    key: [u8; 16],
    nonce_life: U32,
    nonce_salt: [u8; 12],
    nonce_counter: U64,
    copies: [[U32; MAX_DIRECTORY_PAGES]; 2],
    directory_pages: U32,
    sealed_bytes: U16,
    kept_bytes: U16,
    sealed: [u8; SEALED_ROOM],
    kept: [u8; KEPT_ROOM],
    reserved: [u8; 1784],
    checksum: [u8; 32],
}

const _: () = assert!(size_of::<Raw>() == PAGE);
const _: () = assert!(core::mem::offset_of!(Raw, checksum) == CHECKED);

/// Where the directory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Root {
    /// Counts the states of the store.
    pub(crate) state: u64,
    /// Tells keys apart; says nothing of the key.
    pub(crate) key: [u8; 16],
    /// Of its first page.
    pub(crate) nonce: Nonce,
    /// Bytes of it, in the clear.
    pub(crate) bytes: u32,
    /// The pages of either copy, as many in both.
    pub(crate) copies: [Vec<u32, MAX_DIRECTORY_PAGES>; 2],
}

/// What a superblock says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Superblock {
    /// Pages of the store, both superblocks among them.
    pub(crate) pages: u32,
    /// Counts the superblocks that were written: the higher one counts.
    pub(crate) sequence: u64,
    /// Drawn when the store was formatted.
    pub(crate) store: [u8; 16],
    /// Counts the lives of storage that wrote.
    pub(crate) life: u32,
    /// The directory; none in an empty store.
    pub(crate) root: Option<Root>,
    /// The sealed key; empty if vault gave none yet.
    pub(crate) sealed: Vec<u8, MAX_SEALED>,
    /// What else vault has storage keep.
    pub(crate) kept: Vec<u8, MAX_KEPT>,
}

/// Why a page is no superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SuperblockError {
    /// All of it is zero.
    Zero,
    /// It is nothing of ours.
    Foreign,
    /// It is ours, and its checksum is another one.
    Checksum,
    /// It is of a format that is not known here.
    Format {
        /// Which.
        found: u32,
    },
    /// A field has a value that stands for nothing.
    Field {
        /// Offset of the field.
        at: usize,
    },
}

impl fmt::Display for SuperblockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero => f.write_str("it is empty"),
            Self::Foreign => f.write_str("it is none of ours"),
            Self::Checksum => f.write_str("it is damaged"),
            Self::Format { found } => write!(f, "its format is {found}, and {FORMAT} is known"),
            Self::Field { at } => write!(f, "its field at byte {at} stands for nothing"),
        }
    }
}

impl Superblock {
    /// Nothing was ever stored under it.
    pub(crate) fn is_new(&self) -> bool {
        self.root.is_none() && self.sealed.is_empty() && self.kept.is_empty()
    }

    /// Reads a page.
    pub(crate) fn parse(page: &[u8]) -> Result<Self, SuperblockError> {
        let (raw, _) = Raw::ref_from_prefix(page).map_err(|_| SuperblockError::Foreign)?;
        if raw.magic != MAGIC {
            let zero = page.iter().all(|&byte| byte == 0);
            return Err(if zero { SuperblockError::Zero } else { SuperblockError::Foreign });
        }
        if raw.checksum != checksum(page) {
            return Err(SuperblockError::Checksum);
        }
        if raw.format.get() != FORMAT {
            return Err(SuperblockError::Format { found: raw.format.get() });
        }
        let wrong = |at| SuperblockError::Field { at };
        let (sealed, _) = raw
            .sealed
            .split_at_checked(raw.sealed_bytes.get().into())
            .filter(|(_, rest)| is_zero(rest))
            .ok_or(wrong(228))?;
        let (kept, _) = raw
            .kept
            .split_at_checked(raw.kept_bytes.get().into())
            .filter(|(_, rest)| is_zero(rest))
            .ok_or(wrong(230))?;
        if !is_zero(&raw.reserved) {
            return Err(wrong(2280));
        }
        Ok(Self {
            pages: raw.pages.get(),
            sequence: raw.sequence.get(),
            store: raw.store,
            life: raw.life.get(),
            root: raw.root().map_err(wrong)?,
            sealed: Vec::from_slice(sealed).map_err(|_| wrong(228))?,
            kept: Vec::from_slice(kept).map_err(|_| wrong(230))?,
        })
    }

    /// The page.
    pub(crate) fn emit(&self) -> Bytes<u8> {
        let mut raw = Raw::new_zeroed();
        raw.magic = MAGIC;
        raw.format = FORMAT.into();
        raw.pages = self.pages.into();
        raw.sequence = self.sequence.into();
        raw.store = self.store;
        raw.life = self.life.into();
        if let Some(root) = &self.root {
            raw.directory_bytes = root.bytes.into();
            raw.state = root.state.into();
            raw.key = root.key;
            raw.nonce_life = root.nonce.life.into();
            raw.nonce_salt = root.nonce.salt;
            raw.nonce_counter = root.nonce.counter.into();
            raw.directory_pages = (root.copies[0].len() as u32).into();
            for (to, from) in raw.copies.iter_mut().zip(&root.copies) {
                to.iter_mut().zip(from).for_each(|(to, from)| *to = (*from).into());
            }
        }
        raw.sealed_bytes = (self.sealed.len() as u16).into();
        raw.sealed.iter_mut().zip(&self.sealed).for_each(|(to, from)| *to = *from);
        raw.kept_bytes = (self.kept.len() as u16).into();
        raw.kept.iter_mut().zip(&self.kept).for_each(|(to, from)| *to = *from);
        raw.checksum = checksum(raw.as_bytes());
        raw.as_bytes().to_vec()
    }
}

impl Raw {
    /// The root; an offset says what is wrong with it.
    fn root(&self) -> Result<Option<Root>, usize> {
        let count = self.directory_pages.get() as usize;
        if count == 0 {
            let nothing = self.state.get() == 0
                && self.directory_bytes.get() == 0
                && is_zero(&self.key)
                && is_zero(self.copies.as_bytes())
                && is_zero(&self.nonce_salt)
                && (self.nonce_life.get(), self.nonce_counter.get()) == (0, 0);
            return if nothing { Ok(None) } else { Err(224) };
        }
        // The first and the last page are superblocks.
        let last = self.pages.get().saturating_sub(1);
        let mut copies = [Vec::new(), Vec::new()];
        for (to, from) in copies.iter_mut().zip(&self.copies) {
            let (used, spare) = from.split_at_checked(count).ok_or(224_usize)?;
            let right = used.iter().all(|page| (1..last).contains(&page.get()));
            if !right || !is_zero(spare.as_bytes()) {
                return Err(96);
            }
            to.extend(used.iter().map(|page| page.get()));
        }
        let nonce =
            Nonce { life: self.nonce_life.get(), salt: self.nonce_salt, counter: self.nonce_counter.get() };
        let (state, bytes) = (self.state.get(), self.directory_bytes.get());
        Ok(Some(Root { state, key: self.key, nonce, bytes, copies }))
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

fn checksum(page: &[u8]) -> [u8; 32] {
    Sha256::digest(page.get(..CHECKED).unwrap_or_default()).into()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sample() -> Superblock {
        let pages = |first: u32| (first..first + 3).collect();
        Superblock {
            pages: 1000,
            sequence: 7,
            store: [1; 16],
            life: 3,
            root: Some(Root {
                state: 5,
                key: [2; 16],
                nonce: Nonce { life: 2, salt: [3; 12], counter: 99 },
                bytes: 9000,
                copies: [pages(10), pages(996)],
            }),
            sealed: [4; 400].into_iter().collect(),
            kept: [5; 100].into_iter().collect(),
        }
    }

    #[test]
    fn reading_undoes_writing() {
        let empty = Superblock { root: None, sealed: Vec::new(), kept: Vec::new(), ..sample() };
        for one in [sample(), empty] {
            assert_eq!(Superblock::parse(&one.emit()), Ok(one));
        }
    }

    /// Offsets and numbers stay: a later version has to find what this one has written.
    #[test]
    fn the_bytes_are_pinned() {
        let page = sample().emit();
        assert_eq!(page[..24], *b"SARSTORE\x01\0\0\0\xe8\x03\0\0\x07\0\0\0\0\0\0\0");
        assert_eq!(page[40..44], 3u32.to_le_bytes());
        assert_eq!((page[24], page[56], page[76]), (1, 2, 3));
        assert_eq!(page[96..100], 10u32.to_le_bytes());
        assert_eq!(page[160..164], 996u32.to_le_bytes());
        assert_eq!(page[224..232], [3, 0, 0, 0, 144, 1, 100, 0]);
        assert_eq!((page[232], page[1256]), (4, 5));
    }

    #[test]
    fn one_bit_flipped_anywhere_is_noticed() {
        let good = sample().emit();
        for bit in 0..PAGE * 8 {
            let mut page = good.clone();
            page[bit / 8] ^= 1 << (bit % 8);
            let expected = if bit < 64 { SuperblockError::Foreign } else { SuperblockError::Checksum };
            assert_eq!(Superblock::parse(&page), Err(expected), "{bit}");
        }
    }

    /// With the right checksum, too, nonsense is refused by its place.
    #[test]
    fn fields_that_stand_for_nothing_are_named() {
        let table: [(usize, u8, SuperblockError); 7] = [
            (8, 2, SuperblockError::Format { found: 2 }),
            (96, 0, SuperblockError::Field { at: 96 }),
            (162, 1, SuperblockError::Field { at: 96 }),
            (224, 17, SuperblockError::Field { at: 224 }),
            (224, 0, SuperblockError::Field { at: 224 }),
            (229, 4, SuperblockError::Field { at: 228 }),
            (3000, 1, SuperblockError::Field { at: 2280 }),
        ];
        for (at, value, expected) in table {
            let mut page = sample().emit();
            page[at] = value;
            let sum = checksum(&page);
            page[CHECKED..].copy_from_slice(&sum);
            assert_eq!(Superblock::parse(&page), Err(expected), "{at}");
        }
        assert_eq!(Superblock::parse(&[0; PAGE]), Err(SuperblockError::Zero));
        assert_eq!(Superblock::parse(&[1; PAGE]), Err(SuperblockError::Foreign));
    }
}
