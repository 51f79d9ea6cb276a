//! Writing into a domain that does not run yet.
//!
//! Mapping a page of another domain into dom0 and taking it out again changes dom0's own physical map twice,
//! which costs far more than the copy: Xen flushes what processors remember of the map each time. So the real
//! Xen is asked to copy instead. dom0 writes grants to itself into the new domain's table, which Xen gives
//! it to map by right, has Xen copy through them, and takes them back before it returns.
//!
//! Source: `memory.h` (XENMEM_acquire_resource), `grant_table.h` (GNTTABOP_copy).

use core::sync::atomic::Ordering;

use proto_xen::{
    DomId, Errno, Gaddr, Gfn, Gref, PAGE_SIZE,
    grant_table::{GrantStatus, RESERVED, flags},
};

use crate::{
    foreign::{Foreign, ForeignPages},
    gnttab,
};

/// Bytes for a domain, and zeros behind them.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// Where they go.
    pub at: Gaddr,
    /// What goes there.
    pub bytes: &'a [u8],
    /// Length with the zeros, in bytes. One below that of `bytes` asks for no zeros.
    pub length: u64,
}

/// Bytes of ours for a page that another domain grants to us.
#[derive(Clone, Copy, Debug)]
pub struct CopyOut<'a> {
    /// The bytes, which lie within one page of ours.
    pub bytes: &'a [u8],
    /// By which reference the page is granted.
    pub reference: Gref,
    /// Where in that page they go.
    pub offset: u16,
    /// What Xen says of it.
    pub status: GrantStatus,
}

impl CopyOut<'_> {
    const NOTHING: Self = Self { bytes: &[], reference: Gref(0), offset: 0, status: GrantStatus::OKAY };

    /// Whether it crosses the end of no page, ours or theirs.
    #[must_use]
    pub fn is_within_pages(&self) -> bool {
        let fits = |offset: usize| self.bytes.len() <= PAGE_SIZE - offset;
        usize::from(self.offset) < PAGE_SIZE
            && fits(self.offset.into())
            && fits(self.bytes.as_ptr() as usize % PAGE_SIZE)
    }
}

/// What is written in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source<'a> {
    /// These bytes, which lie within one page of ours.
    Bytes(&'a [u8]),
    /// So many zeros.
    Zeros(usize),
}

/// Part of a piece that lies within one page, on both sides.
#[derive(Clone, Copy, Debug)]
struct Part<'a> {
    frame: Gfn,
    offset: usize,
    source: Source<'a>,
}

#[repr(align(4096))]
struct ZeroPage([u8; PAGE_SIZE]);

static ZEROS: ZeroPage = ZeroPage([0; PAGE_SIZE]);

/// Cuts pieces where a page ends, theirs or ours.
fn parts<'a>(pieces: &'a [Piece<'a>]) -> impl Iterator<Item = Part<'a>> {
    pieces.iter().flat_map(|piece| {
        let end = piece.length.max(piece.bytes.len() as u64);
        let mut done = 0;
        core::iter::from_fn(move || {
            let at = piece.at.0 + done;
            let offset = at as usize % PAGE_SIZE;
            let room = (end - done).min((PAGE_SIZE - offset) as u64) as usize;
            // Within the piece's own bytes, so it fits a usize.
            let rest = piece.bytes.get(done as usize..).filter(|rest| !rest.is_empty());
            let source = match rest {
                Some(rest) => {
                    let before_our_end = PAGE_SIZE - rest.as_ptr() as usize % PAGE_SIZE;
                    Source::Bytes(&rest[..room.min(rest.len()).min(before_our_end)])
                }
                None if room > 0 => Source::Zeros(room),
                None => return None,
            };
            done += source.length() as u64;
            Some(Part { frame: Gaddr(at).frame(), offset, source })
        })
    })
}

impl<'a> Source<'a> {
    fn length(self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Zeros(count) => count,
        }
    }

    /// Where they lie in our memory.
    fn bytes(self) -> &'a [u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Zeros(count) => &ZEROS.0[..count],
        }
    }
}

/// Copies of one hypercall, each by a grant of its own.
pub const MAX_COPIES: usize = 64;

/// The first page of the grant table of a domain that does not run, in our memory.
struct TheirTable<M: ForeignPages>(M);

impl<M: ForeignPages> TheirTable<M> {
    /// The two words of an entry: flags and domid, then the frame.
    fn set(&self, index: usize, (first, frame): (u32, u32)) {
        let words = self.0.page(0);
        let at = (RESERVED as usize + index) * 2;
        words[at + 1].store(frame, Ordering::Relaxed);
        gnttab::order::publish(&words[at], first);
    }
}

impl<M: ForeignPages> Drop for TheirTable<M> {
    fn drop(&mut self) {
        (0..MAX_COPIES).for_each(|index| self.set(index, (flags::INVALID.into(), 0)));
    }
}

/// Writes pieces by grant copy. `EFAULT` if a frame of theirs holds no memory.
pub(crate) fn by_copy<F: Foreign + ?Sized>(
    hyp: &F,
    domain: DomId,
    pieces: &[Piece<'_>],
) -> Result<(), Errno> {
    let table = TheirTable(hyp.map_grant_table(domain)?);
    let permit = u32::from(flags::PERMIT_ACCESS) | u32::from(DomId::DOM0.0) << 16;
    let mut parts = parts(pieces).peekable();
    while parts.peek().is_some() {
        let mut copies = [CopyOut::NOTHING; MAX_COPIES];
        let mut count = 0;
        for (index, part) in parts.by_ref().take(MAX_COPIES).enumerate() {
            let frame = u32::try_from(part.frame.0).map_err(|_| Errno::ERANGE)?;
            table.set(index, (permit, frame));
            copies[index] = CopyOut {
                bytes: part.source.bytes(),
                reference: Gref(RESERVED + index as u32),
                // Within a page.
                offset: part.offset as u16,
                status: GrantStatus::OKAY,
            };
            count = index + 1;
        }
        hyp.copy_out(domain, &mut copies[..count])?;
        if copies[..count].iter().any(|copy| copy.status != GrantStatus::OKAY) {
            return Err(Errno::EFAULT);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::{vec, vec::Vec};

    use super::*;

    /// Sixteen pages of a domain, from what parts say.
    fn written(pieces: &[Piece<'_>]) -> Vec<u8> {
        let mut memory = vec![0xee; 16 * PAGE_SIZE];
        for part in parts(pieces) {
            let length = part.source.length();
            assert!(length > 0 && part.offset + length <= PAGE_SIZE, "within one page of theirs");
            let ours = part.source.bytes().as_ptr() as usize;
            assert_eq!(ours / PAGE_SIZE, (ours + length - 1) / PAGE_SIZE, "within one page of ours");
            let at = part.frame.0 as usize * PAGE_SIZE + part.offset;
            match part.source {
                Source::Bytes(bytes) => memory[at..at + length].copy_from_slice(bytes),
                Source::Zeros(_) => memory[at..at + length].fill(0),
            }
        }
        memory
    }

    #[test]
    fn parts_make_up_the_pieces() {
        let text: Vec<u8> = (0..3 * PAGE_SIZE).map(|byte| byte as u8 | 1).collect();
        for (at, from, count, length) in [
            (0, 0, PAGE_SIZE, 0),
            (0x1ffe, 5, 2 * PAGE_SIZE + 7, 0),
            (0x2010, 17, 100, 4 * PAGE_SIZE as u64),
            (0x3fff, 1, 0, 2),
            (0x5000, 0, 1, 1),
            (0x6000, 0, 0, 0),
        ] {
            let bytes = &text[from..from + count];
            let mut expected = vec![0xee; 16 * PAGE_SIZE];
            expected[at..at + count].copy_from_slice(bytes);
            expected[at + count..at + count.max(length as usize)].fill(0);
            let piece = Piece { at: Gaddr(at as u64), bytes, length };
            assert_eq!(written(&[piece]), expected, "{at:#x}: {count} of {length}");
        }
    }

    #[test]
    fn a_copy_stays_within_a_page_on_both_sides() {
        let page = &ZEROS.0;
        let within = |bytes, offset| CopyOut { bytes, offset, ..CopyOut::NOTHING }.is_within_pages();
        assert!(within(page, 0) && within(&page[4095..], 4095));
        assert!(!within(page, 1) && !within(&page[..1], 4096));
        let text: Vec<u8> = vec![0; 2 * PAGE_SIZE];
        let our_end = PAGE_SIZE - text.as_ptr() as usize % PAGE_SIZE;
        assert!(within(&text[our_end - 1..our_end], 0) && !within(&text[our_end - 1..=our_end], 0));
    }

    #[test]
    fn pieces_follow_each_other() {
        let pieces = [
            Piece { at: Gaddr(0x1000), bytes: b"one", length: 0 },
            Piece { at: Gaddr(0x1001), bytes: b"wo", length: 4 },
        ];
        assert_eq!(written(&pieces)[0x1000..0x1006], *b"owo\0\0\xee");
    }
}
