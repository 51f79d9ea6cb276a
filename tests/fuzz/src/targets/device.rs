//! Devices that do anything.

/// A queue of some size, steps, and words for the device to write.
pub(super) fn schedules() -> Vec<Vec<u8>> {
    let turns: Vec<u8> = (0..200).map(|turn| [0, 0, 1, 2, 3, 1, 0, 0][turn % 8]).collect();
    vec![[&[128], turns.as_slice()].concat(), (0..=255).collect(), vec![3; 64]]
}
