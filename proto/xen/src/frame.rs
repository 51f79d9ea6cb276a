//! Frames and addresses: whose view of memory a number belongs to.

/// Bits of an address within a page.
pub const PAGE_SHIFT: u32 = 12;
/// Bytes of a page.
pub const PAGE_SIZE: usize = 1 << PAGE_SHIFT;

macro_rules! frame {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);
    };
}

frame!(
    /// A machine frame.
    Mfn
);
frame!(
    /// What a guest puts into its own page tables.
    Gfn
);
frame!(
    /// A guest's linear frame number. Equal to [`Gfn`] on translated guests.
    Pfn
);
frame!(
    /// A frame as a device sees it.
    Dfn
);
frame!(
    /// A guest's physical address, in bytes.
    Gaddr
);
frame!(
    /// A machine address, in bytes.
    Maddr
);

impl Gfn {
    /// Address of the frame's first byte.
    #[must_use]
    pub const fn base(self) -> Gaddr {
        Gaddr(self.0 << PAGE_SHIFT)
    }

    /// The frame `count` after this one.
    #[must_use]
    pub const fn plus(self, count: u64) -> Self {
        Self(self.0.wrapping_add(count))
    }
}

impl Gaddr {
    /// The frame that holds the address.
    #[must_use]
    pub const fn frame(self) -> Gfn {
        Gfn(self.0 >> PAGE_SHIFT)
    }
}

impl Maddr {
    /// The frame that holds the address.
    #[must_use]
    pub const fn frame(self) -> Mfn {
        Mfn(self.0 >> PAGE_SHIFT)
    }
}

/// Pages that `bytes` bytes take.
#[must_use]
pub const fn pages_for(bytes: u64) -> u64 {
    bytes.div_ceil(PAGE_SIZE as u64)
}
