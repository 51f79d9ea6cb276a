//! Devices that do anything.

/// A card that starts, sends, receives and is asked for its state, or lies from its first register on.
pub(super) fn cards() -> Vec<Vec<u8>> {
    let mut honest = vec![0; 5];
    for turn in 0..40_u8 {
        // A frame of 60 bytes is done in the next descriptor, then taken; one is sent, reported, looked for.
        honest.extend([6, turn, 60, 0, 0, 0, 7, turn, 3, 0, 0, 0, 3, 0, 17, 2]);
        honest.extend([8 | 7, turn, 1, 0, 0, 0, 4, 0, 0, 0, 0]);
    }
    let too_long = [&[0; 5], [6, 0, 1, 8, 0, 0, 7, 0, 3, 0, 0, 0, 0].as_slice(), &[0; 12]].concat();
    vec![honest, too_long, vec![1; 64], (0..=255).collect()]
}

/// A disk that is brought up and used, that lies from its first register on, or that does so after a while.
pub(super) fn disks() -> Vec<Vec<u8>> {
    let honest = vec![0; 200];
    let later = [honest.as_slice(), &[1; 64], &[0; 100], &[3; 64]].concat();
    let noisy = (0..40_u8).flat_map(|turn| [0, 0, turn, 5, turn, 1, 0, 0, 0, 0, 4]).collect();
    vec![honest, later, noisy, vec![1; 64], (0..=255).collect()]
}

/// A queue of some size, steps, and words for the device to write.
pub(super) fn schedules() -> Vec<Vec<u8>> {
    let turns: Vec<u8> = (0..200).map(|turn| [0, 0, 1, 2, 3, 1, 0, 0][turn % 8]).collect();
    vec![[&[128], turns.as_slice()].concat(), (0..=255).collect(), vec![3; 64]]
}
