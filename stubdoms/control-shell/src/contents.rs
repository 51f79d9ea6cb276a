//! Contents that were downloaded and are held until the agent releases them.

use alloc::{collections::BTreeMap, rc::Rc, vec::Vec};

use sha2::{Digest, Sha256};
use stubdoms_web::client::{Refused, Sink, Start};

/// SHA-256 of a content.
pub(crate) type Hash = [u8; 32];

/// The contents by their hash.
#[derive(Default)]
pub(crate) struct Contents(BTreeMap<Hash, Rc<Vec<u8>>>);

impl Contents {
    /// Holds one.
    pub(crate) fn keep(&mut self, hash: Hash, bytes: Vec<u8>) {
        self.0.insert(hash, Rc::new(bytes));
    }

    /// Lends one.
    pub(crate) fn get(&self, hash: &Hash) -> Option<Rc<Vec<u8>>> {
        self.0.get(hash).cloned()
    }

    /// Drops one.
    pub(crate) fn release(&mut self, hash: &Hash) {
        self.0.remove(hash);
    }
}

/// Takes a content as it comes, hashes it, and tells how far it is.
pub(crate) struct Receiving<F> {
    bytes: Vec<u8>,
    hash: Sha256,
    limit: usize,
    /// Whether it became longer than `limit`.
    too_large: bool,
    progress: F,
}

impl<F: FnMut(u64, Option<u64>)> Receiving<F> {
    /// Takes at most `limit` bytes. `progress` is told bytes received and, if known, of how many.
    pub(crate) fn new(limit: u64, progress: F) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Self { bytes: Vec::new(), hash: Sha256::new(), limit, too_large: false, progress }
    }

    /// Whether more came than is allowed.
    pub(crate) fn is_too_large(&self) -> bool {
        self.too_large
    }

    /// The content and its hash.
    pub(crate) fn finish(self) -> (Vec<u8>, Hash) {
        (self.bytes, self.hash.finalize().into())
    }
}

impl<F: FnMut(u64, Option<u64>)> Sink for Receiving<F> {
    fn begin(&mut self, start: Start) -> Result<(), Refused> {
        if start.offset != 0 {
            return Err(Refused);
        }
        let announced = start.total.unwrap_or(0);
        if announced > self.limit as u64 {
            self.too_large = true;
            return Err(Refused);
        }
        // Room for the whole at once, so that nothing is copied while it grows.
        self.bytes = Vec::new();
        let wanted = usize::try_from(announced).unwrap_or(0);
        if self.bytes.try_reserve_exact(wanted).is_err() {
            self.too_large = true;
            return Err(Refused);
        }
        self.hash = Sha256::new();
        (self.progress)(0, start.total);
        Ok(())
    }

    async fn chunk(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        if self.limit - self.bytes.len() < bytes.len() || self.bytes.try_reserve(bytes.len()).is_err() {
            self.too_large = true;
            return Err(Refused);
        }
        self.bytes.extend_from_slice(bytes);
        self.hash.update(bytes);
        (self.progress)(self.bytes.len() as u64, None);
        Ok(())
    }
}
