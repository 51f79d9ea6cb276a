//! What one life leaves to the next, as a note with dom0.

/// Where we are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// Lives that are over.
    pub(super) life: u8,
    /// Cases that ended well.
    pub(super) ok: u16,
    /// Cases that did not.
    pub(super) failed: u16,
    /// The neighbour's domain.
    pub(super) neighbour: u16,
    /// The end of what it had written.
    pub(super) heard: u64,
}

impl State {
    /// The first life has no note.
    pub(super) fn read(note: &[u8]) -> Self {
        let word = |at: usize| note.get(at..at + 2).map_or(0, |two| u16::from_le_bytes([two[0], two[1]]));
        let heard =
            note.get(8..).and_then(|rest| rest.first_chunk()).map_or(0, |eight| u64::from_le_bytes(*eight));
        let life = note.first().copied().unwrap_or(0);
        Self { life, ok: word(2), failed: word(4), neighbour: word(6), heard }
    }

    pub(super) fn write(&self) -> [u8; 16] {
        let mut note = [0; 16];
        note[0] = self.life;
        note[2..4].copy_from_slice(&self.ok.to_le_bytes());
        note[4..6].copy_from_slice(&self.failed.to_le_bytes());
        note[6..8].copy_from_slice(&self.neighbour.to_le_bytes());
        note[8..].copy_from_slice(&self.heard.to_le_bytes());
        note
    }
}
