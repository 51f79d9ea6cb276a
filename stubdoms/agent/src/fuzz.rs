//! Entry for fuzzing: a configuration without the controller that would have signed it.

use proto_eve::wire::config::EdgeDevConfig;

use crate::{Agent, agent::Origin};

/// Applies a configuration as if a controller had sent it that the agent believes.
pub fn apply(agent: &mut Agent, config: &EdgeDevConfig) {
    agent.apply(config, Origin::Controller);
}
