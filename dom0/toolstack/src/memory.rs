//! Giving a domain its memory.

use board_support_hyp::{Populate, Sysctl};
use proto_xen::{DomId, Gfn};

use crate::error::{BuildError, Step};

/// Pages of an extent, as a power of two: 2 MiB, one entry of the nested page tables. A tenth of the
/// time of single pages.
const LARGE: u32 = 9;
const LARGE_PAGES: u64 = 1 << LARGE;

/// Checks that the machine has `pages` free, before any of it is taken: to be told by a call that gets less
/// takes as long as the pages do that are there, which may be seconds.
///
/// # Errors
/// [`BuildError::Memory`] if it has fewer, [`BuildError::Xen`].
pub fn check_free(hyp: &impl Sysctl, pages: u64) -> Result<(), BuildError> {
    let physinfo = hyp.physinfo().map_err(BuildError::at(Step::FreeMemory))?;
    // What is still to be scrubbed is scrubbed when it is taken.
    let free = physinfo.free_pages.saturating_add(physinfo.scrub_pages);
    if free < pages { Err(BuildError::Memory { want: pages, got: free }) } else { Ok(()) }
}

/// Fills `pages` frames of `domain` from `first` on: large extents first, single pages for the rest and
/// wherever the machine has no large extent left.
///
/// # Errors
/// [`BuildError::Memory`] if the machine has too little, [`BuildError::Xen`] if Xen refuses the call.
pub fn fill(hyp: &impl Populate, domain: DomId, first: Gfn, pages: u64) -> Result<(), BuildError> {
    let large = pages / LARGE_PAGES;
    let filled = extents(hyp, domain, first.0, large, LARGE)? * LARGE_PAGES;
    let singles = extents(hyp, domain, first.0 + filled, pages - filled, 0)?;
    let got = filled + singles;
    if got < pages { Err(BuildError::Memory { want: pages, got }) } else { Ok(()) }
}

/// Fills `count` extents from frame `first` on, and returns how many there was memory for.
fn extents(
    hyp: &impl Populate,
    domain: DomId,
    first: u64,
    count: u64,
    order: u32,
) -> Result<u64, BuildError> {
    const BATCH: usize = 64;
    let mut done = 0;
    while done < count {
        let mut frames = [Gfn(0); BATCH];
        let batch = (count - done).min(BATCH as u64);
        for (frame, number) in frames.iter_mut().zip(done..done + batch) {
            *frame = Gfn(first + (number << order));
        }
        // At most `BATCH`.
        let frames = &frames[..batch as usize];
        let filled = hyp.populate(domain, frames, order).map_err(BuildError::at(Step::Populate))? as u64;
        done += filled.min(batch);
        if filled < batch {
            break;
        }
    }
    Ok(done)
}
