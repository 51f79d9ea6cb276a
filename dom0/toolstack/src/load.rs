//! Writing into a domain that does not run yet.

use board_support_hyp::{Foreign, ForeignPages, foreign::MAX_PAGES};
use proto_xen::{DomId, Gaddr, Gfn, PAGE_SIZE};

use crate::{
    build::elf::Image,
    error::{BuildError, Step},
};

const ZEROS: [u8; PAGE_SIZE] = [0; PAGE_SIZE];

/// Writes `bytes` at `at`, then zeros up to `length` bytes.
///
/// # Errors
/// [`BuildError::Xen`] at [`Step::Load`].
pub fn write(
    hyp: &impl Foreign,
    domain: DomId,
    at: Gaddr,
    bytes: &[u8],
    length: u64,
) -> Result<(), BuildError> {
    let end = at.0 + length.max(bytes.len() as u64);
    let mut rest = bytes;
    let mut cursor = at.0;
    while cursor < end {
        let first = Gaddr(cursor).frame();
        let window_end = (first.base().0 + (MAX_PAGES * PAGE_SIZE) as u64).min(end);
        let count = (window_end - first.base().0).div_ceil(PAGE_SIZE as u64);
        // At most `MAX_PAGES`.
        let pages = hyp.map(domain, first, count as usize).map_err(BuildError::at(Step::Load))?;
        let mut offset = (cursor - first.base().0) as usize;
        let mut room = (window_end - cursor) as usize;
        let (now, later) = rest.split_at(rest.len().min(room));
        if !now.is_empty() {
            pages.write(offset, now);
        }
        offset += now.len();
        room -= now.len();
        while room > 0 {
            let count = room.min(ZEROS.len());
            pages.write(offset, &ZEROS[..count]);
            offset += count;
            room -= count;
        }
        rest = later;
        cursor = window_end;
    }
    Ok(())
}

/// Writes an image: every segment, with what the file does not hold set to zero.
///
/// # Errors
/// [`BuildError::Xen`] at [`Step::Load`].
pub fn image(hyp: &impl Foreign, domain: DomId, image: &Image<'_>) -> Result<(), BuildError> {
    image
        .segments
        .iter()
        .try_for_each(|segment| write(hyp, domain, Gaddr(segment.start), segment.data, segment.length))
}

/// Sets whole pages to zero.
///
/// # Errors
/// [`BuildError::Xen`] at [`Step::Load`].
pub fn clear(hyp: &impl Foreign, domain: DomId, first: Gfn, pages: u64) -> Result<(), BuildError> {
    write(hyp, domain, first.base(), &[], pages * PAGE_SIZE as u64)
}
