//! The list of software that a controller is told: the partition that runs, the other one, and a version that waits.
//!
//! Words and numbers are those of EVE (`swList` of the device's information): the state of a partition by its
//! attributes, `status` as of any software, and `userStatus` with `subStatus` for people.

use alloc::{
    string::{String, ToString},
    vec,
    vec::Vec,
};

use proto_eve::wire::info::{BaseOsStatus, BaseOsSubStatus, Entity, ErrorInfo, ZInfoDevSw, ZSwState};
use proto_update::machine::{SlotState, SlotView, State};

use super::{BaseOs, label, since_boot, timers};
use crate::{
    clock::Now,
    properties::Properties,
    provision::DeviceFacts,
    reconcile::{
        contents::Contents,
        problem::{Problem, Troubles},
    },
};

/// The seconds that a test still takes are told in steps, so that a report is not news each time that it is looked at.
const STEP: u64 = 30;

/// What reports are made of.
pub(crate) struct View<'a> {
    pub(crate) now: Now,
    pub(crate) facts: &'a DeviceFacts,
    pub(crate) properties: &'a Properties,
    pub(crate) contents: &'a Contents,
    /// Why the machine was started, as the end of what was tried before.
    pub(crate) cause: &'a str,
}

impl BaseOs {
    /// The list.
    pub(crate) fn software(&self, view: &View<'_>) -> Vec<ZInfoDevSw> {
        let Some(slots) = self.update.slots().copied() else { return self.without_slots(view) };
        let mut list = vec![self.current(&slots.current, view), self.other(&slots.other, view)];
        list.extend(self.deferred(&slots.current));
        list
    }

    fn error(&self) -> Option<ErrorInfo> {
        let name = self.spec.as_ref().map_or("", |spec| spec.name.as_str());
        self.troubles.first().map(|trouble| trouble.info(Entity::BaseOs, name, name))
    }

    /// Nobody has told of slots: what runs, and what is wanted in vain.
    fn without_slots(&self, view: &View<'_>) -> Vec<ZInfoDevSw> {
        let (running, other) = match view.facts.partition.as_str() {
            "IMGB" => ("IMGB", "IMGA"),
            _ => ("IMGA", "IMGB"),
        };
        let wanted = self.spec.as_ref().filter(|spec| spec.name != view.facts.version);
        let error = self.error().filter(|_| wanted.is_some());
        vec![
            ZInfoDevSw {
                activated: true,
                partition_label: running.into(),
                partition_state: "active".into(),
                status: ZSwState::Installed as i32,
                short_version: view.facts.version.clone(),
                user_status: BaseOsStatus::Updated as i32,
                ..ZInfoDevSw::default()
            },
            ZInfoDevSw {
                partition_label: other.into(),
                partition_state: "unused".into(),
                status: ZSwState::Initial as i32,
                short_version: wanted.map_or_else(String::new, |spec| spec.name.clone()),
                user_status: if error.is_some() { BaseOsStatus::Failed } else { BaseOsStatus::None } as i32,
                sw_err: error,
                ..ZInfoDevSw::default()
            },
        ]
    }

    fn current(&self, slot: &SlotView, view: &View<'_>) -> ZInfoDevSw {
        let mut software = ZInfoDevSw {
            activated: self.update.state() != State::Armed,
            status: ZSwState::Installed as i32,
            ..entry(
                slot,
                slot.version.map_or_else(|| view.facts.version.clone(), |version| version.to_string()),
            )
        };
        let timers = timers(view.properties);
        match self.update.test_left(since_boot(view.now.at()), &timers) {
            Some(left) => {
                software.user_status = BaseOsStatus::Updating as i32;
                software.sub_status = BaseOsSubStatus::UpdateTesting as i32;
                software.sub_status_str = "under test".into();
                let seconds = left.as_secs().div_ceil(STEP) * STEP;
                software.sub_status_progress = u32::try_from(seconds).unwrap_or(u32::MAX);
            }
            None if software.activated => software.user_status = BaseOsStatus::Updated as i32,
            None => software.user_status = BaseOsStatus::Fallback as i32,
        }
        software
    }

    fn other(&self, slot: &SlotView, view: &View<'_>) -> ZInfoDevSw {
        let state = self.update.state();
        let activate = self.spec.as_ref().is_some_and(|spec| spec.activate);
        let target = self.update.target().map_or_else(String::new, |version| version.to_string());
        match state {
            State::Fetching | State::Emptying | State::Filling | State::Checking => {
                self.arriving(entry(slot, target), activate, view)
            }
            State::Loaded | State::Arming => ZInfoDevSw {
                activated: activate,
                status: ZSwState::Delivered as i32,
                user_status: if activate { BaseOsStatus::DownloadDone } else { BaseOsStatus::None } as i32,
                download_progress: 100,
                ..entry(slot, target)
            },
            State::Blind
            | State::Settled
            | State::Armed
            | State::Testing
            | State::Committing
            | State::Abandoning
            | State::Leaving(_) => self.resting(slot, view),
        }
    }

    /// A version on its way into the slot.
    fn arriving(&self, mut software: ZInfoDevSw, activate: bool, view: &View<'_>) -> ZInfoDevSw {
        let content = self.spec.as_ref().and_then(|spec| view.contents.get(&spec.tree));
        let (state, progress) = content.map_or((ZSwState::Initial, 0), |content| content.state());
        let whole = self.update.state() == State::Checking || state == ZSwState::Verifying;
        software.activated = activate;
        software.download_progress = if whole { 100 } else { progress };
        let (status, user, sub) = if whole {
            let user = if activate { BaseOsStatus::Downloading } else { BaseOsStatus::None };
            (ZSwState::Downloaded, user, BaseOsSubStatus::NoneSubstatus)
        } else if state == ZSwState::DownloadStarted {
            (state, BaseOsStatus::Downloading, BaseOsSubStatus::DownloadInprogress)
        } else {
            (ZSwState::Initial, BaseOsStatus::Updating, BaseOsSubStatus::UpdateInitializing)
        };
        software.status = status as i32;
        software.user_status = user as i32;
        software.sub_status = sub as i32;
        if sub == BaseOsSubStatus::DownloadInprogress {
            software.sub_status_progress = progress;
        }
        self.with_error(software)
    }

    /// What lies in the slot, and what is wrong with the version that should.
    fn resting(&self, slot: &SlotView, view: &View<'_>) -> ZInfoDevSw {
        let version = slot.version.map_or_else(String::new, |version| version.to_string());
        let installed = if slot.version.is_some() { ZSwState::Installed } else { ZSwState::Initial };
        let mut software = ZInfoDevSw { status: installed as i32, ..entry(slot, version) };
        let refused = view.facts.slot.as_ref().filter(|slot| slot.other_refused);
        let refused = refused.map(|slot| slot.reason.as_str());
        match slot.state {
            SlotState::Unused | SlotState::Spare => {}
            SlotState::Active => {
                software.user_status = BaseOsStatus::Fallback as i32;
                if let Some(why) = refused {
                    let problem = Problem::Refused { why: why.into() };
                    return failed(software, view, problem);
                }
            }
            SlotState::Updating => {
                software.activated = true;
                software.user_status = BaseOsStatus::Updating as i32;
                software.sub_status = BaseOsSubStatus::UpdateRebooting as i32;
                software.sub_status_str = "started with the next reset".into();
            }
            SlotState::InProgress => {
                // What was refused by who starts slots never ran.
                let problem = Problem::FellBack { why: refused.unwrap_or(view.cause).into() };
                return failed(software, view, problem);
            }
        }
        let wanted = self.spec.as_ref().filter(|_| !self.troubles.is_empty());
        match wanted {
            Some(spec) if matches!(slot.state, SlotState::Unused | SlotState::Spare) => {
                let same = software.short_version == spec.name;
                let software = ZInfoDevSw { short_version: spec.name.clone(), ..software };
                let status = if same { installed } else { ZSwState::Initial };
                self.with_error(ZInfoDevSw { activated: spec.activate, status: status as i32, ..software })
            }
            Some(_) | None => software,
        }
    }

    fn with_error(&self, mut software: ZInfoDevSw) -> ZInfoDevSw {
        if let Some(error) = self.error() {
            software.user_status = BaseOsStatus::Failed as i32;
            software.sub_status = BaseOsSubStatus::NoneSubstatus as i32;
            software.sw_err = Some(error);
        }
        software
    }

    /// A version that is wanted while another one is under test.
    fn deferred(&self, current: &SlotView) -> Option<ZInfoDevSw> {
        let spec = self.spec.as_ref().filter(|_| self.is_testing())?;
        let other = spec.version.is_some() && spec.version != current.version && spec.activate;
        other.then(|| ZInfoDevSw {
            short_version: spec.name.clone(),
            status: ZSwState::Initial as i32,
            user_status: BaseOsStatus::Updating as i32,
            sub_status: BaseOsSubStatus::UpdateDeferred as i32,
            sub_status_str: "waits until the version that runs has proven itself".into(),
            ..ZInfoDevSw::default()
        })
    }
}

/// With what is wrong with it since the machine was started.
fn failed(mut software: ZInfoDevSw, view: &View<'_>, problem: Problem) -> ZInfoDevSw {
    let mut why = Troubles::default();
    why.set_quietly(view.facts.boot_time, problem);
    let name = &software.short_version;
    software.sw_err = why.first().map(|trouble| trouble.info(Entity::BaseOs, name, name));
    software.user_status = BaseOsStatus::Failed as i32;
    software
}

fn entry(slot: &SlotView, version: String) -> ZInfoDevSw {
    ZInfoDevSw {
        partition_label: label(slot.slot).into(),
        partition_state: match slot.state {
            SlotState::Unused | SlotState::Spare => "unused",
            SlotState::Updating => "updating",
            SlotState::InProgress => "inprogress",
            SlotState::Active => "active",
        }
        .into(),
        short_version: version,
        ..ZInfoDevSw::default()
    }
}
