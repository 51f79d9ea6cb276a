//! Grants to ourselves, by copy. Mapping is checked in [`pair`](crate::pair).

use core::sync::atomic::Ordering::Relaxed;

use alloc::{format, string::String, vec::Vec};
use board_support_hyp::{Access, CopyError, GrantError, Grants, Shared, Xen};
use board_support_rt::pool;
use embassy_futures::yield_now;
use proto_manifest::wiring::Wiring;
use proto_xen::{DomId, Gref};

use crate::tally::{Tally, Verdict, ensure, same};

pub(crate) async fn check(tally: &mut Tally, wiring: &Wiring) {
    let us = DomId(wiring.domid);
    tally.case("grant_copy_moves_bytes", copy(us)).await;
    tally.case("grant_copy_stays_in_the_page", copy_bounds(us)).await;
    tally.case("read_only_grant_is_not_written", read_only(us)).await;
    tally.case("grant_for_another_is_not_ours", for_another()).await;
    tally.case("ended_grant_is_gone", ended(us)).await;
    tally.case("grants_come_back", come_back(us).await).await;
}

fn text(error: &dyn core::fmt::Debug) -> String {
    format!("{error:?}")
}

/// A page of ours, granted to `to`.
fn granted(to: DomId, access: Access) -> Result<(pool::Page, Gref), String> {
    let page = pool::allocate().ok_or("no page")?;
    let gref = Xen.allocate().map_err(|error| text(&error))?;
    Xen.offer(gref, to, page.gfn(), access).map_err(|error| text(&error))?;
    Ok((page, gref))
}

fn end(gref: Gref) -> Verdict {
    Xen.end(gref).map_err(|error| text(&error))
}

fn copy(us: DomId) -> Verdict {
    let (page, gref) = granted(us, Access::ReadWrite)?;
    let pattern: Vec<u8> = (0..1500u32).map(|number| (number * 7) as u8).collect();
    Xen.copy_to(us, gref, 100, &pattern).map_err(|error| text(&error))?;
    same!(page.words()[25].load(Relaxed).to_le_bytes(), [0, 7, 14, 21], "the page");
    let mut back = alloc::vec![0; pattern.len()];
    Xen.copy_from(us, gref, 100, &mut back).map_err(|error| text(&error))?;
    ensure!(back == pattern, "other bytes came back");
    end(gref)
}

fn copy_bounds(us: DomId) -> Verdict {
    let (_page, gref) = granted(us, Access::ReadWrite)?;
    same!(Xen.copy_to(us, gref, 4000, &[1; 97]), Err(CopyError::OutOfPage), "97 bytes at 4000");
    same!(Xen.copy_to(us, gref, 4000, &[1; 96]), Ok(()), "96 bytes at 4000");
    end(gref)
}

fn read_only(us: DomId) -> Verdict {
    let (page, gref) = granted(us, Access::ReadOnly)?;
    page.words()[0].store(7, Relaxed);
    let written = Xen.copy_to(us, gref, 0, &[1]);
    ensure!(matches!(written, Err(CopyError::Status(_))), "{written:?}");
    let mut byte = [0];
    same!(Xen.copy_from(us, gref, 0, &mut byte), Ok(()), "reading");
    same!(byte, [7], "what was read");
    end(gref)
}

fn for_another() -> Verdict {
    let (_page, gref) = granted(DomId::DOM0, Access::ReadWrite)?;
    let mut byte = [0];
    let copied = Xen.copy_from(DomId::SELF, gref, 0, &mut byte);
    ensure!(matches!(copied, Err(CopyError::Status(_))), "{copied:?}");
    end(gref)
}

fn ended(us: DomId) -> Verdict {
    let (_page, gref) = granted(us, Access::ReadWrite)?;
    end(gref)?;
    let copied = Xen.copy_to(us, gref, 0, &[1]);
    ensure!(matches!(copied, Err(CopyError::Status(_))), "copied: {copied:?}");
    let mapped = Grants::map(&Xen, us, gref, Access::ReadOnly).map(drop);
    ensure!(matches!(mapped, Err(GrantError::Status(_))), "mapped: {mapped:?}");
    same!(Xen.end(Gref(0)), Err(GrantError::OutOfRange), "ending one that Xen keeps");
    Ok(())
}

async fn come_back(us: DomId) -> Verdict {
    let mut all = Vec::new();
    let last = loop {
        match Xen.allocate() {
            Ok(gref) => all.push(gref),
            Err(error) => break error,
        }
    };
    same!(last, GrantError::NoReference, "after the last");
    ensure!(all.len() > 256, "only {} references", all.len());
    for gref in all {
        end(gref)?;
    }
    for _ in 0..500 {
        // dom0 asks whether we are well.
        yield_now().await;
        let (_page, gref) = granted(us, Access::ReadWrite)?;
        Xen.copy_to(us, gref, 0, &[1]).map_err(|error| text(&error))?;
        end(gref)?;
    }
    Ok(())
}
