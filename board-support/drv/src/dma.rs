//! Memory that a device reads and writes: copied once, word by word, never borrowed as bytes.
//!
//! A driver takes its memory by [`DevicePages`] and does not know which way it came:
//!
//! | | pages | what the device is told |
//! |---|---|---|
//! | [`Translated`] | the domain's own | their guest frames, which the IOMMU translates |
//! | [`Granted`] | another domain's, which granted them | the bus address that Xen tells of each mapping |
//!
//! Devices are little-endian, and so are both processors: word and byte order need no change, but are
//! written so that they would be right elsewhere too.

use core::{
    cell::Cell,
    ops::Range,
    sync::atomic::{AtomicU32, Ordering},
};

use board_support_hyp::{DeviceGrants, Pages, Shared};
use proto_xen::{Dfn, DomId, Gref, PAGE_SHIFT};

/// Words of a page.
pub type Words = [AtomicU32; 1024];

/// Where a device finds something, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BusAddress(pub u64);

impl BusAddress {
    /// Where the frame begins.
    #[must_use]
    pub const fn of(frame: Dfn) -> Self {
        Self(frame.0 << PAGE_SHIFT)
    }

    /// The address `bytes` further on.
    #[must_use]
    pub const fn plus(self, bytes: u64) -> Self {
        Self(self.0.wrapping_add(bytes))
    }
}

/// Pages that a device of ours reads and writes.
pub trait DevicePages {
    /// One page. Drop it only when the device cannot write there any more.
    type Page: Shared;

    /// A page of zeros, or `None` if there are no more.
    fn allocate(&self) -> Option<Self::Page>;

    /// The frame at which the device finds it.
    fn dfn(&self, page: &Self::Page) -> Dfn;
}

/// Own pages, for a device behind an IOMMU that uses the domain's own translation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Translated<P>(pub P);

impl<P: Pages> DevicePages for Translated<P> {
    type Page = P::Page;

    fn allocate(&self) -> Option<P::Page> {
        self.0.allocate()
    }

    fn dfn(&self, page: &P::Page) -> Dfn {
        // The IOMMU walks the tables that translate the domain's frames.
        Dfn(self.0.gfn(page).0)
    }
}

/// Pages that another domain has granted for the device, for one without an IOMMU.
///
/// Each is taken once: a page that is dropped does not come back, for a driver keeps its memory as long
/// as it lives. After its domain's end the pages are still the granter's, so a device that writes late
/// writes there and nowhere else.
pub struct Granted<G> {
    grants: G,
    granter: DomId,
    left: Cell<Range<u32>>,
}

impl<G: DeviceGrants> Granted<G> {
    /// The pages that `granter` has granted by `pages` references from `first` on.
    pub fn new(grants: G, granter: DomId, first: Gref, pages: u16) -> Self {
        let end = first.0.saturating_add(pages.into());
        Self { grants, granter, left: Cell::new(first.0..end) }
    }
}

/// A granted page, mapped, and where the device finds it.
#[derive(Debug)]
pub struct GrantedPage<M> {
    mapped: M,
    at: Dfn,
}

impl<M: Shared> Shared for GrantedPage<M> {
    fn words(&self) -> &Words {
        self.mapped.words()
    }
}

impl<G: DeviceGrants> DevicePages for Granted<G> {
    type Page = GrantedPage<G::Mapped>;

    fn allocate(&self) -> Option<Self::Page> {
        let mut left = self.left.take();
        let reference = left.next();
        self.left.set(left);
        // One that cannot be mapped is as good as none.
        let (mapped, at) = self.grants.map_for_device(self.granter, Gref(reference?)).ok()?;
        // Whoever had it before us left something there.
        mapped.words().iter().for_each(|word| word.store(0, Ordering::Relaxed));
        Some(GrantedPage { mapped, at })
    }

    fn dfn(&self, page: &Self::Page) -> Dfn {
        page.at
    }
}

/// Copies the bytes from word `first` on into `into`. `false` if they end before.
#[must_use]
pub fn copy_out(words: &[AtomicU32], first: usize, into: &mut [u8]) -> bool {
    let count = into.len().div_ceil(4);
    let Some(from) = words.get(first..).and_then(|rest| rest.get(..count)) else {
        return false;
    };
    for (chunk, word) in into.chunks_mut(4).zip(from) {
        let bytes = word.load(Ordering::Relaxed).to_le_bytes();
        chunk.copy_from_slice(&bytes[..chunk.len()]);
    }
    true
}

/// Copies `from` to the bytes from word `first` on; the last word is filled up with zeros. `false` if
/// they do not fit.
#[must_use]
pub fn copy_in(words: &[AtomicU32], first: usize, from: &[u8]) -> bool {
    let count = from.len().div_ceil(4);
    let Some(into) = words.get(first..).and_then(|rest| rest.get(..count)) else {
        return false;
    };
    for (chunk, word) in from.chunks(4).zip(into) {
        let mut bytes = [0; 4];
        bytes[..chunk.len()].copy_from_slice(chunk);
        word.store(u32::from_le_bytes(bytes), Ordering::Relaxed);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use board_support_hyp::{Access, CopyError, GrantError, Grants};
    use proto_xen::{Gfn, grant_table::GrantStatus};

    type PageWords = std::rc::Rc<Words>;

    /// Domain 7 has granted references 8 to 11; whoever had them before left something there.
    struct Fake;

    #[derive(Debug)]
    struct Page(PageWords);

    impl Shared for Page {
        fn words(&self) -> &Words {
            &self.0
        }
    }

    impl DeviceGrants for Fake {
        fn map_for_device(&self, granter: DomId, reference: Gref) -> Result<(Page, Dfn), GrantError> {
            if granter != DomId(7) || !(8..12).contains(&reference.0) {
                return Err(GrantError::Status(GrantStatus::BAD_GREF));
            }
            let page = PageWords::new([const { AtomicU32::new(0xdead_beef) }; 1024]);
            Ok((Page(page), Dfn(0x4_8000 + u64::from(reference.0))))
        }
    }

    impl Grants for Fake {
        type Mapped = Page;

        fn allocate(&self) -> Result<Gref, GrantError> {
            panic!("nothing is granted by a driver")
        }

        fn offer(&self, _: Gref, _: DomId, _: Gfn, _: Access) -> Result<(), GrantError> {
            panic!("nothing is granted by a driver")
        }

        fn end(&self, _: Gref) -> Result<(), GrantError> {
            panic!("nothing is granted by a driver")
        }

        fn map(&self, _: DomId, _: Gref, _: Access) -> Result<Page, GrantError> {
            panic!("a device has to find the page")
        }

        fn copy_from(&self, _: DomId, _: Gref, _: u16, _: &mut [u8]) -> Result<(), CopyError> {
            panic!("a device does not copy")
        }

        fn copy_to(&self, _: DomId, _: Gref, _: u16, _: &[u8]) -> Result<(), CopyError> {
            panic!("a device does not copy")
        }
    }

    #[test]
    fn granted_pages_are_clean_and_each_is_taken_once() {
        let pool = Granted::new(Fake, DomId(7), Gref(8), 4);
        for number in 8..12 {
            let page = pool.allocate().unwrap();
            assert_eq!(pool.dfn(&page), Dfn(0x4_8000 + number));
            assert_eq!(BusAddress::of(pool.dfn(&page)).plus(5), BusAddress(0x4800_0005 + (number << 12)));
            assert!(page.words().iter().all(|word| word.load(Ordering::Relaxed) == 0));
        }
        assert!(pool.allocate().is_none() && pool.allocate().is_none());
    }

    #[test]
    fn a_reference_that_cannot_be_mapped_is_the_end_of_the_pool() {
        assert!(Granted::new(Fake, DomId(6), Gref(8), 4).allocate().is_none());
        let pool = Granted::new(Fake, DomId(7), Gref(11), 4);
        assert!(pool.allocate().is_some());
        assert!(pool.allocate().is_none());
        assert!(Granted::new(Fake, DomId(7), Gref(u32::MAX), u16::MAX).allocate().is_none());
    }

    #[test]
    fn bytes_come_out_as_they_went_in() {
        let words = [const { AtomicU32::new(0xffff_ffff) }; 8];
        for length in 0..=16 {
            let sent: std::vec::Vec<u8> = (1..=length).collect();
            assert!(copy_in(&words, 2, &sent));
            let mut got = std::vec![0; sent.len()];
            assert!(copy_out(&words, 2, &mut got));
            assert_eq!(got, sent);
        }
        assert_eq!(words[1].load(Ordering::Relaxed), 0xffff_ffff);
        assert_eq!(words[6].load(Ordering::Relaxed), 0xffff_ffff);
        assert!(!copy_in(&words, 5, &[0; 13]));
        assert!(!copy_out(&words, 9, &mut [0; 1]));
        assert!(copy_out(&words, 8, &mut []));
    }
}
