//! The memory map, reserved pages, pool and heap.

use core::sync::atomic::Ordering::Relaxed;

use alloc::{string::String, vec::Vec};
use board_support_arch::{
    layout,
    memory_map::{Kind, Span},
};
use board_support_hyp::Shared;
use board_support_rt::{Boot, heap, memory, pool};
use proto_manifest::wiring::{End, Wiring};
use proto_xen::{Gaddr, PAGE_SIZE};

use crate::tally::{Tally, Verdict, ensure, same};

pub(crate) async fn check(tally: &mut Tally, boot: &Boot, wiring: &Wiring) {
    tally.case("ram_is_what_the_table_gives", ram(boot)).await;
    tally.case("ranges_do_not_overlap", ranges(boot)).await;
    tally.case("image_lies_in_ram", image(boot)).await;
    tally.case("pages_of_channels_are_reserved", reserved(boot, wiring)).await;
    tally.case("ram_is_no_special_page", special(boot)).await;
    tally.case("ram_is_no_device", device(boot)).await;
    tally.case("firmware_is_not_ours", firmware(boot)).await;
    tally.case("pool_ends_and_comes_back", pool_ends()).await;
    tally.case("fresh_page_is_zero", fresh()).await;
    tally.case("heap_stops_at_its_ceiling", ceiling(wiring)).await;
    tally.case("heap_is_aligned", aligned()).await;
}

fn ram(boot: &Boot) -> Verdict {
    // All memory but the special pages, which are counted below. The board gives 16 MiB.
    let bytes = boot.memory_map().ram_bytes();
    let whole = 16 << 20;
    ensure!((whole - 64 * PAGE_SIZE as u64..=whole).contains(&bytes), "{bytes} bytes");
    Ok(())
}

fn ranges(boot: &Boot) -> Verdict {
    let all: Vec<_> = boot.memory_map().ranges().collect();
    for (place, range) in all.iter().enumerate() {
        ensure!(range.span.start < range.span.end, "an empty range at {:#x}", range.span.start);
        for other in &all[place + 1..] {
            let apart = range.span.end <= other.span.start || other.span.end <= range.span.start;
            ensure!(apart, "{:#x} and {:#x} overlap", range.span.start, other.span.start);
        }
    }
    Ok(())
}

fn image(boot: &Boot) -> Verdict {
    let map = boot.memory_map();
    for (name, span) in [
        ("image", layout::image()),
        ("code", layout::text()),
        ("constants", layout::rodata()),
        ("data", layout::data()),
        ("stack", layout::stack()),
    ] {
        ensure!(map.is(span, Kind::Ram), "{name} at {:#x}", span.start);
    }
    Ok(())
}

fn reserved(boot: &Boot, wiring: &Wiring) -> Verdict {
    let pages = wiring.channels.iter().filter_map(|channel| match channel.end {
        End::Dom0 { page, .. } | End::Offer { page, .. } => Some(page),
        End::Accept { .. } | End::Absent => None,
    });
    for page in pages.chain([wiring.epitaph]) {
        let span = Span::of(page, PAGE_SIZE as u64);
        ensure!(boot.memory_map().is(span, Kind::Reserved), "page {page:#x}");
    }
    Ok(())
}

fn special(boot: &Boot) -> Verdict {
    for ram in boot.memory_map().ram() {
        ensure!(memory::special_page(Gaddr(ram.start)).is_none(), "{:#x} is RAM", ram.start);
    }
    let end = boot.memory_map().end();
    ensure!(memory::special_page(Gaddr(end)).is_none(), "{end:#x} is nothing");
    ensure!(memory::special_page(Gaddr(end - 1)).is_none(), "{:#x} is no page", end - 1);
    Ok(())
}

fn device(boot: &Boot) -> Verdict {
    for ram in boot.memory_map().ram() {
        let page = Gaddr(ram.start.next_multiple_of(PAGE_SIZE as u64));
        ensure!(memory::device_memory(page, PAGE_SIZE as u64).is_none(), "{:#x} is RAM", page.0);
    }
    ensure!(memory::device_memory(Gaddr(0xf_0000_0001), 4096).is_none(), "not a page");
    ensure!(memory::device_memory(Gaddr(0xf_0000_0000), 0).is_none(), "nothing");
    Ok(())
}

fn firmware(boot: &Boot) -> Verdict {
    let mut bytes = [0; 16];
    let stack = layout::stack();
    ensure!(!memory::read_firmware(Gaddr(stack.start), &mut bytes), "our stack was read as firmware");
    for ram in boot.memory_map().ram() {
        ensure!(!memory::read_firmware(Gaddr(ram.end - 8), &mut bytes), "{:#x} is RAM", ram.end - 8);
    }
    Ok(())
}

fn pool_ends() -> Verdict {
    let before = pool::available();
    ensure!(before > 256, "only {before} pages");
    let mut all = Vec::with_capacity(before);
    let free = pool::available();
    while let Some(page) = pool::allocate() {
        all.push(page);
    }
    same!(all.len(), free, "pages");
    ensure!(pool::allocate_run(1, 1).is_none(), "a run out of nothing");
    drop(all);
    same!(pool::available(), free, "pages that came back");
    Ok(())
}

fn fresh() -> Verdict {
    let page = pool::allocate().ok_or("no page")?;
    page.words().iter().for_each(|word| word.store(u32::MAX, Relaxed));
    drop(page);
    let pages: Vec<_> = (0..64).map_while(|_| pool::allocate()).collect();
    for page in &pages {
        let dirty = page.words().iter().position(|word| word.load(Relaxed) != 0);
        ensure!(dirty.is_none(), "word {dirty:?} of {:?}", page.gfn());
    }
    Ok(())
}

fn ceiling(wiring: &Wiring) -> Verdict {
    let limit = wiring.heap_limit_kib as usize * 1024;
    same!(heap::usage().limit, limit, "the ceiling");
    let mut too_much: Vec<u8> = Vec::new();
    ensure!(
        too_much.try_reserve_exact(limit).is_err(),
        "{limit} bytes were given, and all of it was not free"
    );
    let most = limit / BLOCK;
    let first = fill(most)?;
    ensure!(heap::usage().taken <= limit, "{} bytes taken", heap::usage().taken);
    ensure!(first > most / 2, "only {first} blocks of {BLOCK} bytes");
    // All of it is there again.
    same!(fill(most)?, first, "blocks the second time");
    Ok(())
}

const BLOCK: usize = 65536;

/// Takes blocks until there are none left, uses and frees them, and says how many there were.
fn fill(most: usize) -> Result<usize, String> {
    let mut blocks: Vec<Vec<u8>> = Vec::with_capacity(most + 1);
    loop {
        let mut block = Vec::new();
        if block.try_reserve_exact(BLOCK).is_err() {
            return Ok(blocks.len());
        }
        block.resize(BLOCK, 1);
        blocks.push(block);
        ensure!(blocks.len() <= most, "{} blocks of {BLOCK} bytes and no end", blocks.len());
    }
}

fn aligned() -> Verdict {
    #[repr(align(4096))]
    struct Page([u8; 4096]);
    for _ in 0..8 {
        let page = alloc::boxed::Box::new(Page([1; 4096]));
        same!(page.0.as_ptr().addr() % 4096, 0, "address");
    }
    Ok(())
}
