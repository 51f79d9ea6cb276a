//! The base OS: what the configuration asks for, and that it is not done yet.

use alloc::string::String;

use proto_eve::{text, wire::config::EdgeDevConfig};

use super::problem::{Feature, Problem, Troubles};
use crate::clock::Now;

/// A requested version that does not run.
#[derive(Debug, Default)]
pub(crate) struct BaseOs {
    pub(crate) wanted: Option<String>,
    pub(crate) activate: bool,
    pub(crate) retry_counter: u32,
    pub(crate) troubles: Troubles,
}

impl BaseOs {
    /// Looks at the base OS of a configuration. The version that runs needs nothing done.
    pub(crate) fn configure(&mut self, now: Now, config: &EdgeDevConfig, running: &str) {
        let wanted = config.baseos.as_ref().filter(|base| !base.base_os_version.is_empty());
        self.retry_counter =
            wanted.and_then(|base| base.retry_update.as_ref()).map_or(0, |command| command.counter);
        self.activate = wanted.is_some_and(|base| base.activate);
        self.wanted = wanted
            .filter(|base| base.base_os_version != running)
            .map(|base| text::bounded(&base.base_os_version, 128));
        let problem = self.wanted.as_ref().map(|_| Problem::Unsupported(Feature::BaseOs));
        self.troubles.set(now, "base OS", self.wanted.as_deref().unwrap_or(""), problem);
    }
}
