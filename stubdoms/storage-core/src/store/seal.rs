//! Encryption of the store's pages, each by itself.
//!
//! A page is 4080 bytes and a tag of 16 (XChaCha20-Poly1305). Its nonce is not on the page: who refers to the
//! page has it, so that a page which somebody replaced by an older one of the same place does not open.
//!
//! No nonce comes twice. It is made of three parts, and each of the first two would do:
//! - the number of this life of storage, which is on the disk before anything is encrypted in it, and a counter
//!   within the life: a power cut or a kill begins a new life;
//! - a salt that is drawn at random in each life: whoever sets the whole disk back to an earlier day, and so
//!   the number of the life, gets another salt.

use chacha20poly1305::{AeadInOut, Key, KeyInit, Tag, XChaCha20Poly1305, XNonce};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::PAGE;

/// Bytes of a page that are contents.
pub(crate) const ROOM: usize = PAGE - TAG;
const TAG: usize = 16;

/// The nonce of the first page of a run; those of the others follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Nonce {
    /// The life in which it was made.
    pub(crate) life: u32,
    /// That life's salt.
    pub(crate) salt: [u8; 12],
    /// Counts the pages of that life.
    pub(crate) counter: u64,
}

impl Nonce {
    fn page(self, index: usize) -> XNonce {
        let mut bytes = [0; 24];
        let counter = self.counter.wrapping_add(index as u64);
        let parts = self.life.to_le_bytes().into_iter().chain(self.salt).chain(counter.to_le_bytes());
        bytes.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
        XNonce::from(bytes)
    }
}

/// Gives nonces, each once.
#[derive(Debug)]
pub(crate) struct Nonces {
    next: Nonce,
}

impl Nonces {
    /// Those of a life, whose number is on the disk and whose salt was drawn.
    pub(crate) const fn of_life(life: u32, salt: [u8; 12]) -> Self {
        Self { next: Nonce { life, salt, counter: 0 } }
    }

    /// The nonces of a run of pages.
    pub(crate) fn take(&mut self, pages: usize) -> Nonce {
        let taken = self.next;
        // 2^64 pages are not written in any life.
        self.next.counter = taken.counter.saturating_add(pages as u64);
        taken
    }
}

/// What a page is part of. A page opens as what it was sealed as, and nothing else.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part<'a> {
    /// The store's identifier.
    pub(crate) store: &'a [u8; 16],
    /// Which run of pages it belongs to.
    pub(crate) of: Whole<'a>,
    /// Bytes of the run, in the clear.
    pub(crate) total: u32,
    /// Which page of the run.
    pub(crate) index: usize,
}

/// What pages make together.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Whole<'a> {
    /// The directory of this state.
    Directory(u64),
    /// A value.
    Value {
        /// Whose.
        client: u8,
        /// Its name.
        name: &'a str,
    },
}

impl Part<'_> {
    /// The associated data: no two parts have the same.
    fn data(&self) -> [u8; 32] {
        let mut hash = Sha256::new().chain_update(self.store);
        match self.of {
            Whole::Directory(state) => hash.update([&[0], state.to_le_bytes().as_slice()].concat()),
            // The name comes last of what has no fixed length, behind its length.
            Whole::Value { client, name } => {
                hash.update([1, client, name.len() as u8]);
                hash.update(name);
            }
        }
        hash.update(self.total.to_le_bytes());
        hash.update((self.index as u64).to_le_bytes());
        hash.finalize().into()
    }
}

/// The cipher with the store's key, which is wiped when this is dropped.
pub(crate) struct Cipher {
    cipher: XChaCha20Poly1305,
    id: [u8; 16],
}

impl Cipher {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        let digest = Sha256::new().chain_update(b"sarsen storage key").chain_update(key).finalize();
        let mut id = [0; 16];
        id.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        Self { cipher: XChaCha20Poly1305::new(&Key::from(*key)), id }
    }

    /// Tells keys apart; says nothing of the key.
    pub(crate) const fn id(&self) -> &[u8; 16] {
        &self.id
    }

    /// Encrypts a page in its place; its last bytes become the tag.
    pub(crate) fn seal(&self, nonce: Nonce, part: &Part<'_>, page: &mut [u8; PAGE]) {
        let (contents, place) = page.split_at_mut(ROOM);
        let tag = self
            .cipher
            .encrypt_inout_detached(&nonce.page(part.index), &part.data(), contents.into())
            .expect("a page is shorter than the cipher's limit");
        place.copy_from_slice(&tag);
    }

    /// Decrypts a page in its place. `false` if it is not what was sealed under this nonce as this part; then
    /// nothing of it is left.
    #[must_use]
    pub(crate) fn open(&self, nonce: Nonce, part: &Part<'_>, page: &mut [u8; PAGE]) -> bool {
        let (contents, tag) = page.split_at_mut(ROOM);
        let Ok(tag) = Tag::try_from(&*tag) else { return false };
        let opened =
            self.cipher.decrypt_inout_detached(&nonce.page(part.index), &part.data(), contents.into(), &tag);
        if opened.is_err() {
            page.fill(0);
        }
        opened.is_ok()
    }
}

impl core::fmt::Debug for Cipher {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Cipher(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::vec::Vec;

    const NONCE: Nonce = Nonce { life: 1, salt: [2; 12], counter: 3 };

    fn part(name: &str, index: usize) -> Part<'_> {
        Part { store: &[9; 16], of: Whole::Value { client: 1, name }, total: 5000, index }
    }

    #[test]
    fn a_page_opens_as_what_it_was_sealed_as_only() {
        let cipher = Cipher::new(&[7; 32]);
        let mut plain = [0x55; PAGE];
        plain[ROOM..].fill(0);
        let mut sealed = plain;
        cipher.seal(NONCE, &part("a", 1), &mut sealed);
        let opens = |cipher: &Cipher, nonce, part: &Part<'_>| {
            let mut page = sealed;
            let opened = cipher.open(nonce, part, &mut page);
            assert_eq!(opened, page[..ROOM] == plain[..ROOM]);
            opened
        };
        assert!(opens(&cipher, NONCE, &part("a", 1)));
        assert!(!opens(&Cipher::new(&[8; 32]), NONCE, &part("a", 1)));
        assert!(!opens(&cipher, Nonce { counter: 4, ..NONCE }, &part("a", 1)));
        assert!(!opens(&cipher, Nonce { life: 2, ..NONCE }, &part("a", 1)));
        assert!(!opens(&cipher, NONCE, &part("a", 2)));
        assert!(!opens(&cipher, NONCE, &part("b", 1)));
        assert!(!opens(&cipher, NONCE, &Part { store: &[8; 16], ..part("a", 1) }));
        assert!(!opens(&cipher, NONCE, &Part { total: 5001, ..part("a", 1) }));
        assert!(!opens(&cipher, NONCE, &Part { of: Whole::Value { client: 2, name: "a" }, ..part("a", 1) }));
        assert!(!opens(&cipher, NONCE, &Part { of: Whole::Directory(1), ..part("a", 1) }));
    }

    /// A later version has to make the same nonces of what lies on the disk.
    #[test]
    fn the_bytes_of_a_nonce_are_pinned() {
        let nonce = Nonce { life: 0x0403_0201, salt: [5; 12], counter: 0xff };
        let mut expected = [5; 24];
        expected[..4].copy_from_slice(&[1, 2, 3, 4]);
        expected[16..].copy_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(nonce.page(1).as_slice(), expected);
    }

    #[test]
    fn no_nonce_is_given_twice() {
        let mut seen = BTreeSet::new();
        let mut count = 0;
        // Two lives of the same number, as after the whole disk was set back.
        for (life, salt) in [(1, [1; 12]), (2, [1; 12]), (2, [2; 12])] {
            let mut nonces = Nonces::of_life(life, salt);
            for pages in [1, 2, 65, 0, 3, 1] {
                let run = nonces.take(pages);
                let all: Vec<_> = (0..pages).map(|index| run.page(index)).collect();
                count += all.len();
                seen.extend(all);
            }
        }
        assert_eq!((count, seen.len()), (216, 216));
    }
}
