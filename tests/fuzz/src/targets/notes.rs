//! What dom0 kept for the agent.

/// A note of an application or of the device.
pub(super) fn notes(bytes: &[u8]) {
    stubdoms_agent::fuzz::note(bytes);
}

pub(super) fn texts() -> Vec<Vec<u8>> {
    ["1 3 4", "1 4294967295 7 -3 c0c0c0c0-0000-4000-8000-000000000001", "1 - 5", "1 +1 0 -0 id", "2 1 1"]
        .map(|text| text.as_bytes().to_vec())
        .to_vec()
}
