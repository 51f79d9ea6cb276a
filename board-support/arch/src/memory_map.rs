//! The guest's physical map: which ranges are RAM, which are special, where nothing is.

use heapless::Vec;

/// Bytes of a page.
const PAGE: u64 = 4096;

/// Most ranges that a map can hold. Xen hands a domain at most 128.
pub const MAX_RANGES: usize = 160;

/// What a range is for. The numbers are those of the E820 map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 1: ours.
    Ram,
    /// 2: special pages of a domain, or firmware and devices of the machine.
    Reserved,
    /// 3: tables of the firmware, readable.
    AcpiTables,
    /// 4: memory that the firmware goes on using.
    AcpiStorage,
    /// Anything else: left alone.
    Other(u32),
}

impl Kind {
    /// From the E820 type number.
    #[must_use]
    pub const fn from_e820(number: u32) -> Self {
        match number {
            1 => Self::Ram,
            2 => Self::Reserved,
            3 => Self::AcpiTables,
            4 => Self::AcpiStorage,
            other => Self::Other(other),
        }
    }
}

/// Addresses from `start` up to, but not including, `end`, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
}

impl Span {
    /// The `length` bytes from `start` on; cut at the end of the address space.
    #[must_use]
    pub const fn of(start: u64, length: u64) -> Self {
        Self { start, end: start.saturating_add(length) }
    }

    /// Bytes.
    #[must_use]
    pub const fn length(self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether no byte belongs to it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.end <= self.start
    }

    /// Whether all of `other` lies in it.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// Grown to page boundaries.
    #[must_use]
    pub const fn outward(self) -> Self {
        Self { start: self.start & !(PAGE - 1), end: self.end.saturating_add(PAGE - 1) & !(PAGE - 1) }
    }

    /// Shrunk to page boundaries.
    #[must_use]
    pub const fn inward(self) -> Self {
        Self { start: self.start.saturating_add(PAGE - 1) & !(PAGE - 1), end: self.end & !(PAGE - 1) }
    }
}

/// One range and what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Where.
    pub span: Span,
    /// What for.
    pub kind: Kind,
}

/// All ranges, in the order of their addresses.
#[derive(Clone, Debug, Default)]
pub struct MemoryMap {
    ranges: Vec<Range, MAX_RANGES>,
}

impl MemoryMap {
    /// A map without ranges.
    #[must_use]
    pub const fn new() -> Self {
        Self { ranges: Vec::new() }
    }

    /// Adds a range. RAM is shrunk to page boundaries, everything else grown to them; what is empty
    /// then is dropped. Returns `false` if the map is full.
    pub fn add(&mut self, span: Span, kind: Kind) -> bool {
        let span = if kind == Kind::Ram { span.inward() } else { span.outward() };
        if span.is_empty() {
            return true;
        }
        let at = self.ranges.iter().position(|range| range.span.start > span.start);
        self.ranges.insert(at.unwrap_or(self.ranges.len()), Range { span, kind }).is_ok()
    }

    /// The ranges, lowest first.
    pub fn ranges(&self) -> impl Iterator<Item = Range> + '_ {
        self.ranges.iter().copied()
    }

    /// RAM, lowest first.
    pub fn ram(&self) -> impl Iterator<Item = Span> + '_ {
        self.ranges().filter(|range| range.kind == Kind::Ram).map(|range| range.span)
    }

    /// Bytes of RAM.
    #[must_use]
    pub fn ram_bytes(&self) -> u64 {
        self.ram().map(Span::length).sum()
    }

    /// Whether all of `span` lies in one range of `kind`.
    #[must_use]
    pub fn is(&self, span: Span, kind: Kind) -> bool {
        self.ranges().any(|range| range.kind == kind && range.span.contains(span))
    }

    /// Whether any byte of `span` is in a range of `kind`.
    #[must_use]
    pub fn touches(&self, span: Span, kind: Kind) -> bool {
        self.ranges()
            .any(|range| range.kind == kind && range.span.start < span.end && span.start < range.span.end)
    }

    /// One past the last byte that any range names; 0 for an empty map.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.ranges().map(|range| range.span.end).max().unwrap_or(0)
    }

    /// Where frames without memory begin, into which grants and foreign pages can be mapped: above
    /// 4 GiB, where no device of a domain lies, and above all RAM. On a boundary of 1 GiB, so that
    /// the window takes few page tables.
    #[must_use]
    pub fn window(&self) -> u64 {
        const GIB: u64 = 1 << 30;
        // Firmware lists ranges near the end of the address space (the 12 GiB below 1 TiB of an
        // AMD machine): only RAM decides, and a range that stands in the way is stepped over.
        let ram = self.ram().map(|span| span.end).max().unwrap_or(0);
        let mut at = ram.max(4 * GIB).next_multiple_of(GIB);
        while let Some(range) = self.ranges().find(|range| range.span.start < at + GIB && at < range.span.end)
        {
            at = range.span.end.next_multiple_of(GIB);
        }
        at
    }

    /// Calls `each` for every part of the RAM that no span of `taken` touches, lowest first.
    pub fn free(&self, taken: &[Span], mut each: impl FnMut(Span)) {
        for ram in self.ram() {
            let mut at = ram.start;
            while at < ram.end {
                // The span that covers `at`, or else the nearest one above it.
                let covering = taken.iter().map(|span| span.outward()).find(|s| s.start <= at && at < s.end);
                if let Some(span) = covering {
                    at = span.end;
                    continue;
                }
                let next = taken.iter().map(|span| span.outward().start).filter(|start| *start > at).min();
                let end = next.unwrap_or(ram.end).min(ram.end);
                each(Span { start: at, end });
                at = end;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    fn map() -> MemoryMap {
        let mut map = MemoryMap::new();
        assert!(map.add(Span::of(0x10_0000, 0x3f0_0800), Kind::Ram));
        assert!(map.add(Span::of(0, 0x9_fc00), Kind::Ram));
        assert!(map.add(Span::of(0xf_0010, 0x100), Kind::Reserved));
        map
    }

    fn free(map: &MemoryMap, taken: &[Span]) -> Vec<(u64, u64)> {
        let mut found = Vec::new();
        map.free(taken, |span| found.push((span.start, span.end)));
        found
    }

    #[test]
    fn ram_shrinks_to_pages_and_the_rest_grows() {
        let spans: Vec<_> = map().ranges().map(|r| (r.span.start, r.span.end)).collect();
        assert_eq!(spans, [(0, 0x9_f000), (0xf_0000, 0xf_1000), (0x10_0000, 0x400_0000)]);
    }

    #[test]
    fn free_memory_is_what_nobody_took() {
        let taken = [Span::of(0x200_0000, 0x1_0001), Span::of(0, 0x10_0000), Span::of(0x10_0000, 0x800)];
        assert_eq!(free(&map(), &taken), [(0x10_1000, 0x200_0000), (0x201_1000, 0x400_0000)]);
        let overlapping = [Span::of(0, 0x300_0000), Span::of(0x200_0000, 0x400_0000)];
        assert_eq!(free(&map(), &overlapping), []);
        assert_eq!(free(&map(), &[]), [(0, 0x9_f000), (0x10_0000, 0x400_0000)]);
    }

    #[test]
    fn the_window_lies_above_ram_and_beside_what_the_firmware_lists() {
        let mut map = map();
        assert_eq!(map.window(), 4 << 30);
        assert!(map.add(Span::of(4 << 30, 0x1000), Kind::Ram));
        assert_eq!(map.window(), 5 << 30);
        assert!(map.add(Span::of(5 << 30, 0x1000), Kind::Reserved));
        assert!(map.add(Span::of(0xfd_0000_0000, 0x3_0000_0000), Kind::Reserved));
        assert_eq!(map.window(), 6 << 30);
    }

    #[test]
    fn a_span_at_the_end_of_the_address_space_does_not_wrap() {
        let span = Span::of(u64::MAX - 10, 4096);
        assert_eq!(span.end, u64::MAX);
        assert_eq!(span.outward().end, !4095);
    }

    #[test]
    fn a_full_map_says_so() {
        let mut map = MemoryMap::new();
        for index in 0..MAX_RANGES as u64 {
            assert!(map.add(Span::of(index * 0x2000, 0x1000), Kind::Ram));
        }
        assert!(!map.add(Span::of(0x100_0000, 0x1000), Kind::Ram));
    }
}
