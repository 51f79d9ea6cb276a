//! Storage, and what the agent does with it: the base OS, and what outlives a start.

use alloc::{format, string::String, vec::Vec};

use proto_svc::storage::{Answer, Request};
use proto_update::machine::{Class, Ending, Event, Inputs};

use super::Agent;
use crate::{
    clock::{Instant, Now},
    http::{FailureKind, HttpFailure, Outcome},
    keep::Name,
    operations::Cause,
    reconcile::{
        base_os::{Around, BaseOs, DownloadEnd, Wish},
        contents::{DownloadError, DownloadId},
    },
    storage::Asker,
};

/// What the base OS stands in, out of the agent's fields.
macro_rules! around {
    ($agent:ident) => {
        Around {
            // Both looked at before the desk is lent.
            well: $agent.missing().is_none(),
            expected: !$agent.keep.is_absent() || $agent.desk.is_up(),
            now: $agent.now,
            properties: &$agent.properties,
            contents: &mut $agent.contents,
            desk: &mut $agent.desk,
            configured: $agent.store.is_live(),
            free: $agent.operations.pending().is_none() && !$agent.maintenance.holds_base_os(),
            locked: $agent.vault.is_locked(),
            running: &$agent.facts.version,
        }
    };
}

impl Agent {
    /// Storage is there, the first time or again; or it has ended. Nothing of what it was asked before is answered.
    pub fn on_storage(&mut self, now: Now, there: bool) {
        self.now = now;
        self.dirty = true;
        if there {
            self.desk.come();
            return;
        }
        self.desk.go();
        self.keep.set_open(false);
        let wishes = self.base_os.step(&mut around!(self), Event::Lost);
        self.grant(wishes);
    }

    /// Storage says that something has changed.
    pub fn on_storage_changed(&mut self, now: Now) {
        self.now = now;
        self.desk.look();
    }

    /// The next thing to ask of storage, with the number under which it answers. Taken only while it is there.
    pub fn next_storage_request(&mut self) -> Option<(u32, Request)> {
        let base_os = &mut self.base_os;
        self.desk.next(self.now.at(), &mut self.keep, || base_os.next_write())
    }

    /// Storage has answered.
    pub fn on_storage_answer(&mut self, now: Now, number: u32, answer: Answer) {
        self.now = now;
        match self.desk.answered(number, &answer) {
            None => {}
            Some(Asker::Status) => {
                if let Answer::Status(status) = answer {
                    self.keep.set_open(status.open);
                    self.dirty = true;
                }
            }
            Some(Asker::Keep) => {
                let trouble = self.keep.trouble().is_some();
                let settled = self.keep.answered(now.at(), answer);
                self.dirty |= trouble != self.keep.trouble().is_some();
                if settled {
                    self.recall_kept();
                }
            }
            Some(asker @ (Asker::Fill(_) | Asker::Selector(_))) => {
                let wishes = self.base_os.on_answer(&mut around!(self), asker, answer);
                self.grant(wishes);
            }
            Some(asker @ (Asker::Slots | Asker::Begin | Asker::Verify | Asker::Change)) => {
                let wishes = self.base_os.on_answer(&mut around!(self), asker, answer);
                self.grant(wishes);
                if let Some((partition, version)) = self.base_os.running() {
                    self.facts.partition = partition.into();
                    if let Some(version) = version {
                        self.facts.version = version.as_str().into();
                    }
                }
                self.dirty = true;
            }
        }
    }

    /// A service that the device cannot do without is not there, as the shell knows it; or all are again. A version
    /// under test is not committed meanwhile, and falls back if it lasts.
    pub fn on_services(&mut self, now: Now, missing: Option<&str>) {
        self.now = now;
        let missing = missing.map(String::from);
        if self.unwell != missing {
            if self.base_os.is_testing() {
                match &missing {
                    Some(missing) => {
                        log::info!("base OS: {missing} is not well; the version under test waits for it");
                    }
                    None => log::info!("base OS: all services are well"),
                }
            }
            self.unwell = missing;
            self.dirty = true;
        }
    }

    /// What does not do its work, of all that the device cannot do without as far as the agent knows.
    pub(super) fn missing(&self) -> Option<String> {
        let vault = (self.vault.expected && !self.vault.is_there()).then(|| "vault".into());
        let storage = (!self.keep.is_absent() && !self.desk.is_up()).then(|| "storage".into());
        self.unwell.clone().or(storage).or(vault)
    }

    /// A download for the slot begins at this byte of the content. `false` if it cannot go on there.
    pub fn on_download_start(&mut self, now: Now, id: DownloadId, offset: u64) -> bool {
        self.now = now;
        if !self.contents.is_for_slot(id) {
            return false;
        }
        let (fits, wishes) = self.base_os.on_start(&mut around!(self), offset);
        self.grant(wishes);
        fits
    }

    /// Bytes of a download for the slot came, of `total` if that is known. Tells how many of them were taken; the
    /// rest is to be offered again after storage has answered something.
    pub fn on_download_bytes(&mut self, now: Now, id: DownloadId, bytes: &[u8], total: Option<u64>) -> usize {
        self.now = now;
        if !self.contents.is_for_slot(id) {
            return bytes.len();
        }
        let (taken, wishes) = self.base_os.on_bytes(&mut around!(self), bytes);
        self.grant(wishes);
        let received = self.base_os.taken();
        self.dirty |= self.contents.on_progress(now, id, received, total);
        taken
    }

    /// The end of a download for the slot, which is judged by its bytes.
    pub(super) fn on_slot_download_done(
        &mut self,
        id: DownloadId,
        result: Result<u64, DownloadError>,
    ) -> Option<Result<u64, DownloadError>> {
        if !self.contents.is_for_slot(id) {
            return Some(result);
        }
        match &result {
            // There is nothing behind what was taken: its hash tells whether that is all.
            Ok(_) | Err(DownloadError::Status(416)) => {}
            // Such as another range than was asked for: from this server only the whole is taken.
            Err(DownloadError::Http(HttpFailure { kind: FailureKind::Malformed, .. })) => {
                let wishes = self.base_os.begin_anew(&mut around!(self));
                self.grant(wishes);
                return Some(result);
            }
            Err(_) => return Some(result),
        }
        let (end, wishes) = self.base_os.on_end(&mut around!(self));
        // A wrong hash ends the download first; what is wished then stands on that.
        let told = match end {
            DownloadEnd::Right | DownloadEnd::Unwanted => None,
            DownloadEnd::WrongHash(found) => Some(Err(DownloadError::WrongHash { found })),
        };
        self.grant(wishes);
        told
    }

    /// What the update is told of the rest.
    pub(super) fn update_inputs(&mut self) -> Inputs {
        BaseOs::inputs(&self.base_os, &around!(self))
    }

    /// Why storage does not keep what it should, in words.
    pub(super) fn not_kept(&self) -> Option<String> {
        if let Some((name, why)) = self.keep.trouble() {
            return Some(format!("{name} is not kept: {why}"));
        }
        let closed = self.desk.status().filter(|_| !self.desk.may_open());
        closed.map(|status| format!("nothing is kept: {}", status.reason))
    }

    pub(super) fn update_deadline(&mut self) -> Option<Instant> {
        let inputs = self.update_inputs();
        self.base_os.deadline(&inputs)
    }

    /// Moves the update on.
    pub(super) fn step_update(&mut self) {
        if self.keep.step(self.now.at(), self.desk.may_open()) {
            self.recall_kept();
        }
        let wishes = self.base_os.step(&mut around!(self), Event::Look);
        self.grant(wishes);
        self.operations.hold(self.now.at(), self.base_os.is_testing());
    }

    /// Says anew what is wrong, after contents have moved.
    pub(super) fn refresh_update(&mut self) {
        self.base_os.refresh(&around!(self));
    }

    fn grant(&mut self, wishes: Vec<Wish>) {
        for wish in wishes {
            self.dirty = true;
            match wish {
                Wish::Keep(memory) => self.keep.put(Name::Update, memory),
                Wish::CatchUp => {
                    self.store.forget_hash();
                    self.config.hurry(self.now.at());
                }
                Wish::Reset(ending) => {
                    let cause = match ending {
                        Ending::Update => Cause::Update,
                        Ending::Fallback => Cause::Fallback,
                        Ending::VaultFailed => Cause::VaultFailed,
                    };
                    self.operations.order(self.now.at(), cause);
                }
            }
        }
    }

    /// What the end of a question for the configuration says about the version that runs, as long as nobody has read what
    /// came with a success.
    pub(super) fn class_of(&self, outcome: &Outcome) -> Class {
        match outcome {
            Outcome::Success { .. } => Class::Success,
            // None is this version's fault.
            Outcome::Status { status: 400 | 404 | 503, .. }
            | Outcome::NoAnswer(FailureKind::Refused | FailureKind::CertificateTime) => Class::TemporaryFail,
            // A refusal is one of attestation, once that was tried. One that never gets so far may be at fault itself.
            Outcome::Status { status: 403, .. } if self.attest.quote_tried() => Class::TemporaryFail,
            Outcome::Status { .. } | Outcome::Unusable(_) | Outcome::NoAnswer(_) => Class::Fail,
        }
    }
}
