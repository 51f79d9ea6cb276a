//! Memory for the blocks of one call.

use alloc::vec::Vec;
use core::sync::atomic::AtomicU32;

use board_support_hyp::Shared;
use proto_xen::PAGE_SIZE;

use super::MAX_TRANSFER;
use crate::dma::{self, BusAddress, DevicePages};

/// Pages of a buffer.
pub(crate) const PAGES: usize = MAX_TRANSFER / PAGE_SIZE;

const _: () = assert!(MAX_TRANSFER.is_multiple_of(PAGE_SIZE));

/// A page, and where the device finds it.
pub(crate) struct Mapped<P: DevicePages> {
    pub(crate) page: P::Page,
    pub(crate) at: BusAddress,
}

impl<P: DevicePages> Mapped<P> {
    pub(crate) fn allocate(pages: &P) -> Option<Self> {
        let page = pages.allocate()?;
        let at = BusAddress::of(pages.dfn(&page));
        Some(Self { page, at })
    }
}

/// [`MAX_TRANSFER`] bytes, in pages that need not lie in a row.
pub(crate) struct Buffer<P: DevicePages>(Vec<Mapped<P>>);

impl<P: DevicePages> Buffer<P> {
    pub(crate) fn allocate(pages: &P) -> Option<Self> {
        (0..PAGES).map(|_| Mapped::allocate(pages)).collect::<Option<_>>().map(Self)
    }

    /// Where the device finds its pages, in their order.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = BusAddress> {
        self.0.iter().map(|mapped| mapped.at)
    }

    /// Words of its first page.
    pub(crate) fn first(&self) -> &[AtomicU32] {
        self.0.first().map_or(&[], |mapped| mapped.page.words())
    }

    /// Copies bytes to its front. `false` if they do not fit.
    #[must_use]
    pub(crate) fn put(&self, from: &[u8]) -> bool {
        from.len() <= MAX_TRANSFER
            && from.chunks(PAGE_SIZE).zip(&self.0).all(|(part, to)| dma::copy_in(to.page.words(), 0, part))
    }

    /// Copies bytes from its front. `false` if there are not so many.
    #[must_use]
    pub(crate) fn take(&self, into: &mut [u8]) -> bool {
        into.len() <= MAX_TRANSFER
            && into
                .chunks_mut(PAGE_SIZE)
                .zip(&self.0)
                .all(|(to, from)| dma::copy_out(from.page.words(), 0, to))
    }
}
