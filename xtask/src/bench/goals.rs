//! What the medians are to be at most.

use super::debian::{CREATE_SHARE, START_SHARE};
use super::orders::{CREATIONS, GROWTH};
use super::updates::{PAYLOAD, SELECTOR, SELECTOR_SIZE};
use crate::selector;

/// Names, and the most that their medians may be, in the unit of their samples.
const GOALS: [(&str, f64); 14] = [
    (SELECTOR, 300.0),
    (SELECTOR_SIZE, (selector::MAX_BYTES >> 10) as f64),
    (PAYLOAD, 8192.0),
    ("dom0 first-instruction-to-ready.all", 300.0),
    ("dom0 kill-to-healthy.vault", 80.0),
    ("dom0 kill-to-healthy.net", 80.0),
    ("dom0 kill-to-healthy.storage", 80.0),
    ("dom0 kill-to-healthy.control", 80.0),
    (CREATIONS, 10.0),
    (GROWTH, 110.0),
    (START_SHARE, 100.0 / 30.0),
    (CREATE_SHARE, 1.0),
    ("memory of vault, by Xen's page count", 4096.0),
    ("memory of storage, by Xen's page count", 12288.0),
];

/// The most that the median of `name` may be, if that was said; on whatever architecture.
#[must_use]
pub fn goal(name: &str) -> Option<f64> {
    let (_, plain) = name.split_once("aarch64: ").unwrap_or(("", name));
    GOALS.iter().find(|(of, _)| *of == plain).map(|(_, goal)| *goal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_found_on_both_architectures() {
        for name in [SELECTOR.to_owned(), format!("aarch64: {SELECTOR}")] {
            assert_eq!(goal(&name), Some(300.0));
        }
        assert_eq!(goal("power-on to Xen"), None);
    }
}
