//! Which parts of a configuration changed, by a hash of each part.

use alloc::vec::Vec;

use proto_eve::{Message, wire::config::EdgeDevConfig};
use sha2::{Digest, Sha256};

/// A part that is processed as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Items,
    Adapters,
    Networks,
    BaseOs,
    Content,
    Volumes,
    Apps,
    Unsupported,
}

const PARTS: [Part; 8] = [
    Part::Items,
    Part::Adapters,
    Part::Networks,
    Part::BaseOs,
    Part::Content,
    Part::Volumes,
    Part::Apps,
    Part::Unsupported,
];

#[derive(Debug, Default)]
pub(crate) struct Diff {
    hashes: [Option<[u8; 32]>; PARTS.len()],
}

impl Diff {
    /// Whether the part differs from the one that was looked at last. It is remembered.
    pub(crate) fn changed(&mut self, part: Part, config: &EdgeDevConfig) -> bool {
        let hash: [u8; 32] = Sha256::digest(encode(part, config)).into();
        let slot = PARTS.iter().position(|known| *known == part).and_then(|at| self.hashes.get_mut(at));
        slot.is_some_and(|slot| slot.replace(hash) != Some(hash))
    }
}

/// The part as a configuration that holds nothing else.
fn encode(part: Part, config: &EdgeDevConfig) -> Vec<u8> {
    let empty = EdgeDevConfig::default();
    match part {
        Part::Items => EdgeDevConfig { config_items: config.config_items.clone(), ..empty },
        Part::Adapters => EdgeDevConfig {
            networks: config.networks.clone(),
            system_adapter_list: config.system_adapter_list.clone(),
            device_io_list: config.device_io_list.clone(),
            vlans: config.vlans.clone(),
            bonds: config.bonds.clone(),
            ..empty
        },
        Part::Networks => EdgeDevConfig { network_instances: config.network_instances.clone(), ..empty },
        Part::BaseOs => EdgeDevConfig { baseos: config.baseos.clone(), ..empty },
        Part::Content => EdgeDevConfig {
            datastores: config.datastores.clone(),
            content_info: config.content_info.clone(),
            cipher_contexts: config.cipher_contexts.clone(),
            ..empty
        },
        Part::Volumes => EdgeDevConfig { volumes: config.volumes.clone(), ..empty },
        Part::Apps => EdgeDevConfig {
            apps: config.apps.clone(),
            global_profile: config.global_profile.clone(),
            ..empty
        },
        Part::Unsupported => EdgeDevConfig {
            edgeview: config.edgeview.clone(),
            disks: config.disks.clone(),
            loc_config: config.loc_config.clone(),
            patch_envelopes: config.patch_envelopes.clone(),
            cluster: config.cluster.clone(),
            pnacs: config.pnacs.clone(),
            scep_profiles: config.scep_profiles.clone(),
            local_profile_server: config.local_profile_server.clone(),
            ..empty
        },
    }
    .encode_to_vec()
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proto_eve::wire::config::ConfigItem;

    use super::*;

    #[test]
    fn a_part_changes_once() {
        let mut diff = Diff::default();
        let mut config = EdgeDevConfig::default();
        assert!(diff.changed(Part::Items, &config) && !diff.changed(Part::Items, &config));
        config.config_items = vec![ConfigItem { key: "a".into(), value: "b".into() }];
        assert!(diff.changed(Part::Apps, &config));
        assert!(diff.changed(Part::Items, &config) && !diff.changed(Part::Items, &config));
    }
}
