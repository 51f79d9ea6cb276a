//! A new configuration, part by part, in the order that the parts depend on each other.

use alloc::vec::Vec;

use proto_errors::agent;
use proto_eve::{text, wire::config::EdgeDevConfig};

use super::{Agent, Origin};
use crate::{
    config::diff::Part, properties::Tri, reconcile::contents::Image, report::info::Names, uplink::PortConfig,
};

const MAX_NAME: usize = 256;

impl Agent {
    /// Applies a configuration whose sender was verified. Errors in one object never reject the whole;
    /// they are reported on the object.
    pub(crate) fn apply(&mut self, config: &EdgeDevConfig, origin: Origin) {
        let now = self.now;
        let version = config.id.as_ref().map_or("", |id| id.version.as_str());
        log::info!("configuration: version {:?} is applied", text::truncate(version, 64));
        self.dirty = true;
        let wishes = self.store.applied(now, config, origin);
        if wishes.resend {
            self.reporter.forget();
        }
        if wishes.certs {
            self.certs.refetch(now.at());
        }
        let items = self.diff.changed(Part::Items, config);
        if items {
            self.apply_items(config);
        }
        let skip = match origin {
            Origin::Controller => self.observe_commands(config),
            Origin::Saved => {
                self.operations.observe_maintenance(config);
                self.operations.pending().is_some()
            }
        };
        let was = self.maintenance.is_active();
        self.maintenance.requested = match self.properties.tri("maintenance.mode") {
            Tri::Enabled => true,
            Tri::Disabled => false,
            Tri::None => self.operations.maintenance_wanted(),
        };
        if was != self.maintenance.is_active() {
            log::info!("maintenance mode: {}", if was { "left" } else { "entered" });
        }
        if skip || self.maintenance.holds_base_os() {
            return self.run_on(config);
        }
        self.apply_objects(config, items);
    }

    fn apply_items(&mut self, config: &EdgeDevConfig) {
        let at = self.now.at();
        self.properties.apply(&config.config_items);
        self.metrics.configure(at, self.properties.seconds("timer.metric.interval"));
        let level = self.properties.text("debug.default.remote.loglevel");
        self.logs.configure(at, self.properties.bool("newlog.allow.fastupload"), level);
    }

    fn apply_objects(&mut self, config: &EdgeDevConfig, items: bool) {
        let now = self.now;
        if self.diff.changed(Part::Adapters, config) {
            let port = PortConfig::read(config);
            if port.ntp_servers != self.port.ntp_servers {
                self.time.others(now.at());
            }
            self.port = port;
        }
        if self.diff.changed(Part::Networks, config) {
            self.networks.configure(now, config);
        }
        let content = self.diff.changed(Part::Content, config);
        if self.diff.changed(Part::BaseOs, config) {
            self.base_os.configure(config, &mut self.contents);
        }
        if content || items {
            self.contents.configure(now, config, &self.properties);
        }
        self.step_update();
        if self.vault.is_locked() {
            log::warn!(
                "configuration: contents, volumes and applications wait, for the storage is locked [{}]",
                agent::VAULT_LOCKED
            );
            return self.run_on(config);
        }
        if self.diff.changed(Part::Volumes, config) {
            self.volumes.configure(config);
        }
        self.names = names(config);
        // What runs is left as it is until the device runs the other version.
        if self.base_os.is_activating() {
            self.run_on(config);
        } else if self.diff.changed(Part::Apps, config) {
            let adopted = self.apps.configure(now, config);
            self.take_up(adopted);
        }
        if self.diff.changed(Part::Unsupported, config) {
            log_unsupported(config);
        }
    }

    /// Goes on with what runs of an earlier life, when the rest of the configuration has to wait.
    fn run_on(&mut self, config: &EdgeDevConfig) {
        let adopted = self.apps.run_on(config);
        self.take_up(adopted);
    }

    fn take_up(&mut self, adopted: Vec<Image>) {
        adopted.into_iter().for_each(|image| self.contents.is_with_dom0(image));
        self.release_held();
    }
}

fn names(config: &EdgeDevConfig) -> Names {
    Names {
        device: text::bounded(&config.device_name, MAX_NAME),
        project: text::bounded(&config.project_name, MAX_NAME),
        project_id: text::bounded(&config.project_id, MAX_NAME),
        enterprise: text::bounded(&config.enterprise_name, MAX_NAME),
        enterprise_id: text::bounded(&config.enterprise_id, MAX_NAME),
    }
}

/// Parts without an info message of their own that could say so.
fn log_unsupported(config: &EdgeDevConfig) {
    for (present, what) in [
        (config.edgeview.is_some(), "edgeview"),
        (config.disks.is_some(), "disk layouts"),
        (config.loc_config.is_some(), "local operator consoles"),
        (!config.patch_envelopes.is_empty(), "patch envelopes"),
        (config.cluster.is_some(), "clusters"),
        (!config.pnacs.is_empty(), "802.1X"),
        (!config.scep_profiles.is_empty(), "SCEP"),
        (!config.local_profile_server.is_empty(), "local profile servers"),
    ] {
        if present {
            log::warn!(
                "configuration: {what} are not supported and are left out [{}]",
                agent::CONFIG_UNSUPPORTED
            );
        }
    }
}
