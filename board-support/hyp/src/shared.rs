//! Pages that another domain may write at any instant.

use core::sync::atomic::AtomicU32;

use proto_xen::Gfn;

/// 32-bit words of a page.
pub const WORDS_PER_PAGE: usize = 1024;

/// A page that a peer may rewrite at any instant: only atomics lead into it.
pub trait Shared {
    /// The page as words.
    fn words(&self) -> &[AtomicU32; WORDS_PER_PAGE];
}

impl<S: Shared + ?Sized> Shared for &S {
    fn words(&self) -> &[AtomicU32; WORDS_PER_PAGE] {
        (**self).words()
    }
}

impl Shared for [AtomicU32; WORDS_PER_PAGE] {
    fn words(&self) -> &[AtomicU32; WORDS_PER_PAGE] {
        self
    }
}

/// Pages of our own memory with a known frame, to be granted or shared with a device.
pub trait Pages {
    /// One page; it goes back when it is dropped.
    type Page: Shared;

    /// A page of zeros, or `None` if the pool is empty.
    fn allocate(&self) -> Option<Self::Page>;

    /// The page's frame.
    fn gfn(&self, page: &Self::Page) -> Gfn;
}
