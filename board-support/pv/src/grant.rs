//! Granted pages that end their grant when they are dropped, and the park for those that cannot yet.
//!
//! ```text
//!   GrantedPage::offer --(1)--> granted --drop (2)--> page zeroed and dropped
//!                                  |
//!                                  +--drop, still mapped (3)--> parked --retry (4)--> zeroed and dropped
//! ```
//!
//! 1. [`GrantedPage::offer`], [`GrantedPage::offer_as`]. 2. and 3. `Drop`. 4. [`Park::retry`], which every
//!    new offer calls first.
//!
//! Why parking: ending a grant fails while the peer maps the page. A page that went back to the pool then
//! would be someone else's secret in the peer's hands.

use core::cell::{Cell, RefCell};

use board_support_hyp::{Access, GrantError, Grants, Pages, Shared};
use heapless::Vec;
use proto_ring::Words;
use proto_ring::page::zero;
use proto_xen::{DomId, Gfn, Gref};

/// Pages whose grant could not be ended, for peers still map them. It should live as long as the domain: pages
/// in it when it is dropped are lost.
#[derive(Debug)]
pub struct Park<P, const N: usize = 64> {
    pages: RefCell<Vec<(Gref, P), N>>,
    lost: Cell<u32>,
}

impl<P: Shared, const N: usize> Park<P, N> {
    /// An empty park.
    pub const fn new() -> Self {
        Self { pages: RefCell::new(Vec::new()), lost: Cell::new(0) }
    }

    /// Tries again to end the grants of all parked pages; those that end are zeroed and dropped.
    pub fn retry<G: Grants>(&self, grants: &G) {
        self.pages.borrow_mut().retain(|(gref, page)| match grants.end(*gref) {
            Err(GrantError::StillMapped) => true,
            // There is no other reason for which a reference that we offered can fail to end.
            Ok(()) | Err(_) => {
                zero(page.words());
                false
            }
        });
    }

    /// Pages in the park.
    pub fn len(&self) -> usize {
        self.pages.borrow().len()
    }

    /// Whether the park is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Pages that were given up for good because the park was full.
    pub fn lost(&self) -> u32 {
        self.lost.get()
    }

    fn keep(&self, gref: Gref, page: P) {
        if let Err((_, page)) = self.pages.borrow_mut().push((gref, page)) {
            // Never to be reused: the peer may write it for as long as it likes. Leaking is the one safe
            // thing left.
            core::mem::forget(page);
            self.lost.set(self.lost.get().saturating_add(1));
        }
    }
}

impl<P, const N: usize> Drop for Park<P, N> {
    fn drop(&mut self) {
        // A peer maps each of them, so none may go back to its pool.
        while let Some((_, page)) = self.pages.get_mut().pop() {
            core::mem::forget(page);
        }
    }
}

impl<P: Shared, const N: usize> Default for Park<P, N> {
    fn default() -> Self {
        Self::new()
    }
}

/// A page of ours that one peer may use until this is dropped.
#[derive(Debug)]
pub struct GrantedPage<'p, G: Grants, P: Shared> {
    grants: G,
    park: &'p Park<P>,
    gref: Gref,
    gfn: Gfn,
    /// Empty only while dropping.
    page: Option<P>,
}

/// Why no page was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfferError {
    /// The pool has no page.
    NoPage,
    /// The grant could not be made.
    Grant(GrantError),
}

impl core::fmt::Display for OfferError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoPage => f.write_str("the pool has no page left to grant"),
            Self::Grant(error) => write!(f, "{error}"),
        }
    }
}

impl core::error::Error for OfferError {}

impl<'p, G: Grants, P: Shared> GrantedPage<'p, G, P> {
    /// Grants a page of zeroes from the pool to `peer`, by a free reference.
    ///
    /// # Errors
    /// [`OfferError::NoPage`] if the pool is empty, [`OfferError::Grant`] if there is no reference.
    pub fn offer<M: Pages<Page = P>>(
        grants: G,
        pool: &M,
        park: &'p Park<P>,
        peer: DomId,
        access: Access,
    ) -> Result<Self, OfferError> {
        park.retry(&grants);
        let page = pool.allocate().ok_or(OfferError::NoPage)?;
        let gfn = pool.gfn(&page);
        let gref = grants.allocate().map_err(OfferError::Grant)?;
        Self::offer_as(grants, park, gref, peer, page, gfn, access).map_err(OfferError::Grant)
    }

    /// Grants `page`, whose frame is `gfn`, to `peer` by a reference that the caller chose: the one which
    /// the wiring names.
    ///
    /// # Errors
    /// [`GrantError::OutOfRange`] if there is no such reference.
    pub fn offer_as(
        grants: G,
        park: &'p Park<P>,
        gref: Gref,
        peer: DomId,
        page: P,
        gfn: Gfn,
        access: Access,
    ) -> Result<Self, GrantError> {
        grants.offer(gref, peer, gfn, access)?;
        Ok(Self { grants, park, gref, gfn, page: Some(page) })
    }

    /// The reference by which the peer finds the page.
    pub fn gref(&self) -> Gref {
        self.gref
    }

    /// The page's frame.
    pub fn gfn(&self) -> Gfn {
        self.gfn
    }
}

impl<G: Grants, P: Shared> Shared for GrantedPage<'_, G, P> {
    fn words(&self) -> &Words {
        self.page.as_ref().expect("the page is taken only while dropping").words()
    }
}

impl<G: Grants, P: Shared> Drop for GrantedPage<'_, G, P> {
    fn drop(&mut self) {
        let Some(page) = self.page.take() else { return };
        match self.grants.end(self.gref) {
            Err(GrantError::StillMapped) => self.park.keep(self.gref, page),
            Ok(()) | Err(_) => zero(page.words()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::world;

    const ALICE: DomId = DomId(1);
    const BOB: DomId = DomId(2);

    #[test]
    fn grant_ends_with_its_guard_and_the_page_goes_back() {
        let world = world();
        let (alice, bob) = (world.domain(ALICE), world.domain(BOB));
        let park = Park::new();
        let page = GrantedPage::offer(alice.clone(), &alice, &park, BOB, Access::ReadWrite).unwrap();
        let gref = page.gref();
        assert!(bob.map(ALICE, gref, Access::ReadWrite).is_ok());
        drop(page);
        assert!(bob.map(ALICE, gref, Access::ReadWrite).is_err());
        assert!(park.is_empty());
        assert_eq!(world.pages_in_use(ALICE), 0);
    }

    #[test]
    fn page_that_the_peer_still_maps_is_parked_until_it_lets_go() {
        let world = world();
        let (alice, bob) = (world.domain(ALICE), world.domain(BOB));
        let park = Park::new();
        let page = GrantedPage::offer(alice.clone(), &alice, &park, BOB, Access::ReadWrite).unwrap();
        let mapped = bob.map(ALICE, page.gref(), Access::ReadWrite).unwrap();
        drop(page);
        assert_eq!((park.len(), world.pages_in_use(ALICE)), (1, 1));
        park.retry(&alice);
        assert_eq!(park.len(), 1);
        drop(mapped);
        // The next offer finds it.
        let next = GrantedPage::offer(alice.clone(), &alice, &park, BOB, Access::ReadWrite).unwrap();
        assert_eq!((park.len(), world.pages_in_use(ALICE)), (0, 1));
        drop(next);
    }

    #[test]
    fn exhaustion_is_told_apart() {
        let world = world();
        let alice = world.domain(ALICE);
        let park = Park::new();
        world.limit_pages(ALICE, 0);
        let none = GrantedPage::offer(alice.clone(), &alice, &park, BOB, Access::ReadOnly);
        assert_eq!(none.err(), Some(OfferError::NoPage));
    }
}
