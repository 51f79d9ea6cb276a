//! Free-running ring indices.

/// A free-running 32-bit index. It wraps at 2³² and is compared only as a distance.
///
/// There is deliberately no `Ord`: `a < b` on two indices fails once one of them has wrapped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Index(u32);

impl Index {
    /// An index with this raw value, as it stands in the page.
    pub const fn new(raw: u32) -> Self {
        Self(raw)
    }

    /// The raw value, as it stands in the page.
    pub const fn raw(self) -> u32 {
        self.0
    }

    /// The index `steps` further on.
    #[must_use]
    pub const fn plus(self, steps: u32) -> Self {
        Self(self.0.wrapping_add(steps))
    }

    /// The index `steps` before.
    #[must_use]
    pub const fn minus(self, steps: u32) -> Self {
        Self(self.0.wrapping_sub(steps))
    }

    /// Steps from `earlier` to here. An index that lies before `earlier` gives a huge number, which is what
    /// the checks against hostile indices rely on.
    pub const fn since(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }
}

/// Whether a move of an index from `old` to `new` passes `event`, the threshold at which the peer asked to be
/// told. `event` comes from the peer: a lie in it costs or saves the peer an event, nothing else.
///
/// Source: `io/ring.h`, notification hold-off.
pub const fn passes(old: Index, new: Index, event: Index) -> bool {
    new.since(event) < new.since(old)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_survives_the_wrap() {
        let before = Index::new(u32::MAX - 1);
        let after = before.plus(5);
        assert_eq!(after.raw(), 3);
        assert_eq!(after.since(before), 5);
        assert_eq!(after.minus(5), before);
    }

    #[test]
    fn threshold_is_passed_exactly_once() {
        let start = Index::new(u32::MAX - 2);
        let event = start.plus(3);
        assert!(!passes(start, start.plus(2), event));
        assert!(passes(start.plus(2), start.plus(3), event));
        assert!(passes(start, start.plus(9), event));
        assert!(!passes(start.plus(3), start.plus(4), event));
        assert!(!passes(start, start, event));
    }
}
