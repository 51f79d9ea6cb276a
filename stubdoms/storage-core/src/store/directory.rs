//! The directory: which values there are, and in which pages.

use alloc::{collections::BTreeMap, vec, vec::Vec};
use core::fmt;

use proto_svc::storage::{Key, MAX_VALUE};
use serde::{Deserialize, Serialize};

use super::seal::{Nonce, ROOM};
use super::{Client, PAGE, is_name};

/// Where a value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Bytes of the value.
    pub(crate) length: u32,
    /// Of its first page.
    pub(crate) nonce: Nonce,
    /// Its pages, in order.
    pub(crate) pages: Vec<u32>,
}

impl Record {
    /// Bytes of the store that it takes: whole pages.
    pub(crate) const fn footprint(&self) -> u32 {
        (self.pages.len() * PAGE) as u32
    }
}

/// How many pages a value of so many bytes has.
pub(crate) const fn pages_of(bytes: u32) -> usize {
    (bytes as usize).div_ceil(ROOM)
}

/// The values by owner and name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Directory {
    pub(crate) values: BTreeMap<(Client, Key), Record>,
}

/// A value as it lies on the disk.
#[derive(Serialize, Deserialize)]
struct Entry {
    client: u8,
    name: Key,
    length: u32,
    nonce: Nonce,
    pages: Vec<u32>,
}

/// Why bytes that were authentic are no directory: they were made by another version, or by a faulty one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DirectoryError {
    /// They are no list of values.
    Form,
    /// A value has a name that is none, or as many bytes as none may have.
    Value,
    /// A value is there twice.
    Twice,
    /// Pages that are not the store's, that two have, or too many or few for a value.
    Pages,
}

impl fmt::Display for DirectoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => "it is no list of values",
            Self::Value => "it has a value that cannot be",
            Self::Twice => "it has a value twice",
            Self::Pages => "its values have pages that they cannot have",
        })
    }
}

impl Directory {
    /// The bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let entries: Vec<Entry> = self
            .values
            .iter()
            .map(|((client, name), record)| Entry {
                client: client.0,
                name: name.clone(),
                length: record.length,
                nonce: record.nonce,
                pages: record.pages.clone(),
            })
            .collect();
        postcard::to_allocvec(&entries).expect("a list of plain values is encoded into memory")
    }

    /// Reads the bytes, for a store of `pages` pages. `taken` are the directory's own.
    pub(crate) fn decode(
        bytes: &[u8],
        pages: u32,
        taken: impl IntoIterator<Item = u32>,
    ) -> Result<Self, DirectoryError> {
        let (entries, rest) =
            postcard::take_from_bytes::<Vec<Entry>>(bytes).map_err(|_| DirectoryError::Form)?;
        if !rest.is_empty() {
            return Err(DirectoryError::Form);
        }
        let mut used = Used::of_store(pages);
        if taken.into_iter().any(|page| !used.take(page)) {
            return Err(DirectoryError::Pages);
        }
        let mut values = BTreeMap::new();
        for Entry { client, name, length, nonce, pages } in entries {
            if !is_name(&name) || length > MAX_VALUE {
                return Err(DirectoryError::Value);
            }
            if pages.len() != pages_of(length) || pages.iter().any(|&page| !used.take(page)) {
                return Err(DirectoryError::Pages);
            }
            if values.insert((Client(client), name), Record { length, nonce, pages }).is_some() {
                return Err(DirectoryError::Twice);
            }
        }
        Ok(Self { values })
    }

    /// Bytes of the store that a client's values take.
    pub(crate) fn footprint(&self, client: Client) -> u32 {
        self.of(client).map(|(_, record)| record.footprint()).sum()
    }

    /// A client's values, in the order of their names.
    pub(crate) fn of(&self, client: Client) -> impl Iterator<Item = (&Key, &Record)> {
        let first = (client, Key::new());
        let values = self.values.range(first..).take_while(move |((one, _), _)| *one == client);
        values.map(|((_, name), record)| (name, record))
    }
}

/// Which pages are in use.
#[derive(Clone, Debug)]
pub(crate) struct Used {
    bits: Vec<u64>,
    pages: u32,
    /// Where the search for a free page goes on: pages are used in turn, which spares the disk.
    next: u32,
}

impl Used {
    /// A store whose first and last page are superblocks, and whose others are free.
    pub(crate) fn of_store(pages: u32) -> Self {
        let bits = vec![0; (pages as usize).div_ceil(64)];
        let mut used = Self { bits, pages, next: 1 };
        used.mark(0);
        used.mark(pages.saturating_sub(1));
        used
    }

    fn bit(page: u32) -> (usize, u64) {
        (page as usize / 64, 1 << (page % 64))
    }

    /// Marks a page as used.
    pub(crate) fn mark(&mut self, page: u32) {
        let (word, bit) = Self::bit(page);
        if let Some(word) = self.bits.get_mut(word) {
            *word |= bit;
        }
    }

    /// Takes a page; `false` if it is not the store's, or was taken.
    pub(crate) fn take(&mut self, page: u32) -> bool {
        let (word, bit) = Self::bit(page);
        match self.bits.get_mut(word) {
            Some(word) if page < self.pages && *word & bit == 0 => {
                *word |= bit;
                true
            }
            _ => false,
        }
    }

    /// Takes the next free page.
    pub(crate) fn take_next(&mut self) -> Option<u32> {
        let next = self.next;
        let page = (next..self.pages).chain(1..next).find(|&page| self.take(page))?;
        self.next = page + 1;
        Some(page)
    }

    /// The same with the search going on where another one's would.
    pub(crate) fn after(mut self, other: &Self) -> Self {
        self.next = other.next;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Key {
        Key::try_from(text).unwrap()
    }

    fn sample() -> Directory {
        let nonce = Nonce { life: 1, salt: [2; 12], counter: 3 };
        let record = |length, pages| Record { length, nonce, pages };
        let values = BTreeMap::from([
            ((Client(1), name("a")), record(0, vec![])),
            ((Client(1), name("b")), record(4081, vec![9, 3])),
            ((Client(2), name("a")), record(4080, vec![4])),
        ]);
        Directory { values }
    }

    #[test]
    fn reading_undoes_writing() {
        assert_eq!(Directory::decode(&sample().encode(), 20, [1, 2]), Ok(sample()));
        assert_eq!(Directory::decode(&Directory::default().encode(), 20, []), Ok(Directory::default()));
    }

    fn put(directory: &mut Directory, pages: Vec<u32>) {
        directory.values.get_mut(&(Client(1), name("b"))).unwrap().pages = pages;
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let refused = |change: fn(&mut Directory)| {
            let mut directory = sample();
            change(&mut directory);
            Directory::decode(&directory.encode(), 20, [1, 2]).unwrap_err()
        };
        // The first superblock, the last, one past the end, the directory's own, another value's, too few.
        for pages in [[0, 3], [19, 3], [20, 3], [1, 3], [4, 3], [3, 3]] {
            let mut directory = sample();
            put(&mut directory, pages.to_vec());
            let error = Directory::decode(&directory.encode(), 20, [1, 2]).unwrap_err();
            assert_eq!(error, DirectoryError::Pages, "{pages:?}");
        }
        assert_eq!(refused(|directory| put(directory, vec![9])), DirectoryError::Pages);
        assert_eq!(
            refused(|directory| {
                let record = directory.values.remove(&(Client(1), name("a"))).unwrap();
                directory.values.insert((Client(1), name("A")), record);
            }),
            DirectoryError::Value
        );
        assert_eq!(Directory::decode(&[9], 20, []), Err(DirectoryError::Form));
        let mut long = sample().encode();
        long.push(0);
        assert_eq!(Directory::decode(&long, 20, []), Err(DirectoryError::Form));
    }

    #[test]
    fn pages_are_taken_in_turn_and_never_a_superblock() {
        let mut used = Used::of_store(100);
        let first: Vec<_> = (0..98).map(|_| used.take_next().unwrap()).collect();
        assert_eq!(first, (1..99).collect::<Vec<_>>());
        assert_eq!(used.take_next(), None);
        let mut used = Used::of_store(10).after(&Used { next: 7, ..Used::of_store(10) });
        let some: Vec<_> = (0..3).map(|_| used.take_next().unwrap()).collect();
        assert_eq!(some, [7, 8, 1]);
    }
}
