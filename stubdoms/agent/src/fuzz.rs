//! Entries for fuzzing: a configuration without the controller that would have signed it, and notes.

use proto_eve::wire::config::EdgeDevConfig;

use crate::Agent;
use crate::note::{AppNote, DeviceNote, MAX_NOTE};

/// Applies a configuration as if a controller had sent it that the agent believes.
pub fn apply(agent: &mut Agent, config: &EdgeDevConfig) {
    agent.apply(config);
}

/// Reads a note as one of an application and as one of the device.
///
/// # Panics
/// If what was read is not written so that it reads the same.
pub fn note(bytes: &[u8]) {
    // dom0 keeps no longer ones.
    let bytes = bytes.get(..MAX_NOTE).unwrap_or(bytes);
    if let Some(note) = AppNote::decode(bytes) {
        assert_eq!(AppNote::decode(&note.encode()), Some(note));
    }
    if let Some(note) = DeviceNote::decode(bytes) {
        assert_eq!(DeviceNote::decode(&note.encode()), Some(note));
    }
}
