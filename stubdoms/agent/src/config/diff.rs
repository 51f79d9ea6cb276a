//! Which parts of a configuration changed, by a hash of each part.

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
        let hash = hash(part, config);
        let slot = PARTS.iter().position(|known| *known == part).and_then(|at| self.hashes.get_mut(at));
        slot.is_some_and(|slot| slot.replace(hash) != Some(hash))
    }
}

/// A hash over the lists of a part. Each element is encoded alone, so that no more than one of them is
/// in memory a second time.
fn hash(part: Part, config: &EdgeDevConfig) -> [u8; 32] {
    let mut hasher = Lists(Sha256::new());
    match part {
        Part::Items => hasher.list(&config.config_items),
        Part::Adapters => {
            hasher.list(&config.networks);
            hasher.list(&config.system_adapter_list);
            hasher.list(&config.device_io_list);
            hasher.list(&config.vlans);
            hasher.list(&config.bonds);
        }
        Part::Networks => hasher.list(&config.network_instances),
        Part::BaseOs => hasher.list(config.baseos.as_slice()),
        Part::Content => {
            hasher.list(&config.datastores);
            hasher.list(&config.content_info);
            hasher.list(&config.cipher_contexts);
        }
        Part::Volumes => hasher.list(&config.volumes),
        Part::Apps => {
            hasher.list(&config.apps);
            hasher.text(&config.global_profile);
        }
        Part::Unsupported => {
            hasher.list(config.edgeview.as_slice());
            hasher.list(config.disks.as_slice());
            hasher.list(config.loc_config.as_slice());
            hasher.list(&config.patch_envelopes);
            hasher.list(config.cluster.as_slice());
            hasher.list(&config.pnacs);
            hasher.list(&config.scep_profiles);
            hasher.text(&config.local_profile_server);
        }
    }
    hasher.0.finalize().into()
}

/// Every list starts with its number of elements and every element with its length, so that no two
/// parts look the same to the hash.
struct Lists(Sha256);

impl Lists {
    fn list<M: Message>(&mut self, elements: &[M]) {
        self.0.update((elements.len() as u64).to_le_bytes());
        for element in elements {
            self.0.update(element.encode_length_delimited_to_vec());
        }
    }

    fn text(&mut self, text: &str) {
        self.0.update((text.len() as u64).to_le_bytes());
        self.0.update(text);
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proto_eve::wire::config::{BondAdapter, ConfigItem, VlanAdapter};

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

    #[test]
    fn an_element_that_moves_to_the_next_list_is_a_change() {
        let mut diff = Diff::default();
        let mut config = EdgeDevConfig { vlans: vec![VlanAdapter::default()], ..EdgeDevConfig::default() };
        assert!(diff.changed(Part::Adapters, &config));
        config.vlans.clear();
        config.bonds = vec![BondAdapter::default()];
        assert!(diff.changed(Part::Adapters, &config));
    }
}
