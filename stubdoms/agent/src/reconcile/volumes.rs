//! Volumes. A volume is its content: there is no disk behind it, so it exists as soon as its content
//! was delivered.

use alloc::{collections::BTreeMap, string::String};

use proto_errors::agent;
use proto_eve::{
    text,
    wire::{
        config::{EdgeDevConfig, Volume as Config, VolumeContentOriginType as Origin},
        info::ZSwState,
    },
};

use super::{
    contents::{Contents, Image},
    is_id,
    problem::{Feature, Problem, Troubles},
};
use crate::clock::Now;

/// Volumes that are looked at.
const MAX_VOLUMES: usize = 128;

/// One volume.
#[derive(Debug)]
pub(crate) struct Volume {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) generation: i64,
    pub(crate) max_bytes: u64,
    content: Result<String, Problem>,
    pub(crate) troubles: Troubles,
}

impl Volume {
    /// The state to report, with a percentage.
    pub(crate) fn state(&self, contents: &Contents) -> (ZSwState, u32) {
        if self.troubles.first_error().is_some() {
            return (ZSwState::Error, 0);
        }
        match self.content(contents).map(super::contents::Content::state) {
            Some((ZSwState::Delivered, percent)) => (ZSwState::CreatedVolume, percent),
            Some(state) => state,
            None => (ZSwState::Initial, 0),
        }
    }

    pub(crate) fn image(&self, contents: &Contents) -> Option<Image> {
        self.content(contents)?.image()
    }

    fn content<'a>(&self, contents: &'a Contents) -> Option<&'a super::contents::Content> {
        contents.get(self.content.as_ref().ok()?)
    }
}

/// All volumes.
#[derive(Debug, Default)]
pub(crate) struct Volumes {
    list: BTreeMap<String, Volume>,
    /// Whether a configuration was taken.
    known: bool,
}

impl Volumes {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Volume> {
        self.list.values()
    }

    /// The volume that an application refers to. A generation of 0 in the reference means any.
    pub(crate) fn find(&self, id: &str, generation: i64) -> Option<&Volume> {
        self.list.get(id).filter(|volume| generation == 0 || volume.generation == generation)
    }

    /// Whether an application's volume is not in the configuration, rather than that none was taken yet.
    pub(crate) fn lacks(&self, id: &str, generation: i64) -> bool {
        self.known && self.find(id, generation).is_none()
    }

    /// Takes the list of a configuration, which replaces the previous one.
    pub(crate) fn configure(&mut self, config: &EdgeDevConfig) {
        self.known = true;
        let mut old = core::mem::take(&mut self.list);
        for volume in config.volumes.iter().take(MAX_VOLUMES) {
            if !is_id(&volume.uuid) || self.list.contains_key(&volume.uuid) {
                log::warn!(
                    "volume {:?}: no id, or one that another has [{}]",
                    text::truncate(&volume.uuid, 64),
                    agent::CONFIG_LIMIT
                );
                continue;
            }
            let troubles = old.remove(&volume.uuid).map(|volume| volume.troubles).unwrap_or_default();
            let read = Volume {
                id: volume.uuid.clone(),
                name: text::bounded(&volume.display_name, 256),
                generation: volume.generation_count,
                max_bytes: u64::try_from(volume.maxsizebytes).unwrap_or(0),
                content: origin(volume),
                troubles,
            };
            self.list.insert(volume.uuid.clone(), read);
        }
        if config.volumes.len() > MAX_VOLUMES {
            log::warn!("volumes: only the first {MAX_VOLUMES} are looked at [{}]", agent::CONFIG_LIMIT);
        }
    }

    /// Looks for problems of the volumes themselves and of their contents.
    pub(crate) fn step(&mut self, now: Now, contents: &Contents) {
        for volume in self.list.values_mut() {
            let problem = match &volume.content {
                Err(problem) => Some(problem.clone()),
                Ok(id) => match contents.get(id) {
                    None => Some(Problem::NoContent { id: text::bounded(id, 64) }),
                    Some(content) => content.troubles.first_error().map(|trouble| trouble.problem.clone()),
                },
            };
            let subject = if volume.name.is_empty() { &volume.id } else { &volume.name };
            volume.troubles.set(now, "volume", subject, problem);
        }
    }
}

fn origin(volume: &Config) -> Result<String, Problem> {
    let Some(origin) = &volume.origin else { return Err(Problem::Unsupported(Feature::VolumeOrigin(0))) };
    match Origin::try_from(origin.r#type) {
        Ok(Origin::VcotDownload) => Ok(origin.download_content_tree_id.clone()),
        Ok(Origin::VcotBlank) => Err(Problem::Unsupported(Feature::BlankVolume)),
        Ok(Origin::VcotUnknown) | Err(_) => Err(Problem::Unsupported(Feature::VolumeOrigin(origin.r#type))),
    }
}
