//! Network instances: known by name, and reported as what they are here, not supported.

use alloc::{collections::BTreeMap, string::String};

use proto_errors::agent;
use proto_eve::{text, wire::config::EdgeDevConfig};

use super::{
    is_id,
    problem::{Feature, Problem, Troubles},
};
use crate::clock::Now;

const MAX_NETWORKS: usize = 64;

/// One network instance.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) id: String,
    pub(crate) version: String,
    pub(crate) name: String,
    pub(crate) kind: u32,
    pub(crate) troubles: Troubles,
}

/// All network instances.
#[derive(Debug, Default)]
pub(crate) struct Networks(BTreeMap<String, Network>);

impl Networks {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Network> {
        self.0.values()
    }

    /// Takes the list of a configuration, which replaces the previous one.
    pub(crate) fn configure(&mut self, now: Now, config: &EdgeDevConfig) {
        let mut old = core::mem::take(&mut self.0);
        for instance in config.network_instances.iter().take(MAX_NETWORKS) {
            let Some(id) = instance.uuidandversion.as_ref().filter(|id| is_id(&id.uuid)) else {
                log::warn!(
                    "network instance {:?}: no id [{}]",
                    text::truncate(&instance.displayname, 64),
                    agent::CONFIG_LIMIT
                );
                continue;
            };
            let name = text::bounded(&instance.displayname, 256);
            let mut troubles = old.remove(&id.uuid).map(|network| network.troubles).unwrap_or_default();
            troubles.set(now, "network instance", &name, [Problem::Unsupported(Feature::NetworkInstance)]);
            let network = Network {
                id: id.uuid.clone(),
                version: text::bounded(&id.version, 64),
                name,
                kind: u32::try_from(instance.inst_type).unwrap_or(0),
                troubles,
            };
            self.0.insert(id.uuid.clone(), network);
        }
        if config.network_instances.len() > MAX_NETWORKS {
            log::warn!(
                "network instances: only the first {MAX_NETWORKS} are looked at [{}]",
                agent::CONFIG_LIMIT
            );
        }
    }
}
