//! The TPM, by way of the firmware: what is chosen and started is extended into it, and the firmware's log of all
//! that was is taken for dom0. What goes where stands in [`proto_handoff::measurement`].
//!
//! A TPM that refuses is told and no reason to start nothing: what was not measured is not attested.

use core::fmt;

use proto_errors::slot;
use proto_gpt::slots::Choice;
use proto_handoff::measurement::{self, CONTENTS, CONTENTS_PCR, MAX_LOG, SLOT_PCR, log_length};
use uefi::boot::{self, MemoryType, ScopedProtocol};
use uefi::proto::tcg::v2::{HashLogExtendEventFlags, PcrEventInputs, Tcg};
use uefi::proto::tcg::{EventType, PcrIndex};
use uefi::{Guid, Status, guid, println, system};
use uefi_raw::Boolean;
use uefi_raw::protocol::tcg::v2::{Tcg2EventLogFormat, Tcg2Protocol};

use crate::disk::open;
use crate::pages::Pages;

/// The configuration table with what is measured after the log was taken. Source: TCG EFI Protocol Specification 1.0,
/// section 7.
static FINAL_EVENTS: Guid = guid!("1e2ed096-30e2-4254-bd89-863bbef82325");

/// How far behind the beginning of the last event its end is looked for.
const LAST_EVENT: usize = 4096;

/// Why the log is not taken.
enum NoLog {
    Firmware(Status),
    Truncated,
    Malformed,
    TooLong(usize),
}

impl fmt::Display for NoLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Firmware(status) => write!(f, "the firmware says {status}"),
            Self::Truncated => f.write_str("the firmware had no room for all events"),
            Self::Malformed => f.write_str("its last event has no end"),
            Self::TooLong(bytes) => write!(f, "it has {bytes} bytes"),
        }
    }
}

/// The TPM.
pub(crate) struct Chip(ScopedProtocol<Tcg>);

impl Chip {
    /// Finds it; none if the firmware has no way to one.
    pub(crate) fn find() -> Option<Self> {
        let mut tcg = open::<Tcg>(boot::get_handle_for_protocol::<Tcg>().ok()?).ok()?;
        tcg.get_capability().ok()?.tpm_present().then_some(Self(tcg))
    }

    /// Measures which slot is chosen, and why.
    pub(crate) fn choice(&mut self, choice: Choice) {
        let text = measurement::slot(choice.slot, choice.reason);
        self.extend(SLOT_PCR, text.as_bytes(), text);
    }

    /// Measures all that is in a slot.
    #[cfg_attr(target_arch = "x86_64", expect(dead_code, reason = "the firmware measures the one program"))]
    pub(crate) fn contents(&mut self, contents: &[u8]) {
        self.extend(CONTENTS_PCR, contents, CONTENTS);
    }

    /// Measures what was done or found, by its text.
    pub(crate) fn action(&mut self, pcr: u32, text: &str) {
        self.event(pcr, EventType::EFI_ACTION, text.as_bytes(), text);
    }

    fn extend(&mut self, pcr: u32, data: &[u8], text: &str) {
        self.event(pcr, EventType::IPL, data, text);
    }

    fn event(&mut self, pcr: u32, kind: EventType, data: &[u8], text: &str) {
        let flags = HashLogExtendEventFlags::empty();
        let event = PcrEventInputs::new_in_box(PcrIndex(pcr), kind, text.as_bytes());
        if let Err(error) = event.and_then(|event| self.0.hash_log_extend_event(flags, data, &event)) {
            println!(
                "selector: the TPM does not take `{text}` into PCR {pcr}: {} [{}]",
                error.status(),
                slot::NOT_EXTENDED
            );
        }
    }

    /// A copy of the log, in memory of this kind. What is measured from here on is in the table of final events, behind
    /// those that are in it [already](final_events).
    pub(crate) fn log(&mut self, kind: MemoryType) -> Option<Pages> {
        match self.copy(kind) {
            Ok(pages) => Some(pages),
            Err(why) => {
                println!("selector: the log of measurements is not handed over: {why} [{}]", slot::NO_LOG);
                None
            }
        }
    }

    fn copy(&mut self, kind: MemoryType) -> Result<Pages, NoLog> {
        let (mut at, mut last, mut truncated) = (0, 0, Boolean::FALSE);
        let tcg: *mut Tcg2Protocol = (&raw mut *self.0).cast();
        // SAFETY:
        // 1. `Tcg` is transparent over the protocol, which stays as long as it is open.
        let get_event_log = unsafe { (*tcg).get_event_log };
        // SAFETY:
        // 1. The function is this protocol's.
        // 2. The pointers are to values of ours that live through the call.
        let status =
            unsafe { get_event_log(tcg, Tcg2EventLogFormat::TCG_2, &mut at, &mut last, &mut truncated) };
        if status.is_error() {
            return Err(NoLog::Firmware(status));
        }
        if truncated.into() {
            return Err(NoLog::Truncated);
        }
        let ahead = usize::try_from(last.checked_sub(at).ok_or(NoLog::Malformed)?).unwrap_or(usize::MAX);
        if at == 0 || ahead > MAX_LOG {
            return Err(NoLog::TooLong(ahead));
        }
        let start = core::ptr::with_exposed_provenance(at as usize);
        // SAFETY:
        // 1. The log begins here and has its last event `ahead` bytes further on, says the firmware; the buffer
        //    that it keeps for it, and memory behind that, is mapped one to one.
        // 2. Nothing is measured while this program looks at it, so nobody writes there.
        let bytes: &[u8] = unsafe { core::slice::from_raw_parts(start, ahead + LAST_EVENT) };
        let length = log_length(bytes, ahead).ok_or(NoLog::Malformed)?;
        let log = bytes.get(..length).filter(|log| log.len() <= MAX_LOG).ok_or(NoLog::TooLong(length))?;
        let mut pages = Pages::new(length, kind).map_err(|error| NoLog::Firmware(error.status()))?;
        pages.copy_from_slice(log);
        Ok(pages)
    }
}

/// Where the table of final events is, and how many it has by now; zeroes if there is none. The firmware begins it when it
/// is asked for its log first, and goes on with the log as well: so what is in the table when a copy is made is in the
/// copy, too.
#[cfg_attr(target_arch = "aarch64", expect(dead_code, reason = "dom0 does not reach it there"))]
pub(crate) fn final_events() -> (u64, u32) {
    let at = system::with_config_table(|tables| {
        tables.iter().find(|table| table.guid == FINAL_EVENTS).map(|table| table.address.cast::<[u64; 2]>())
    });
    let Some(at) = at.filter(|at| !at.is_null()) else { return (0, 0) };
    // SAFETY:
    // 1. The firmware says that the table is here, which begins with two words: version and number of events.
    // 2. Nothing is measured while this program looks at it, so nobody writes there.
    let [version, count] = unsafe { at.read_unaligned() };
    let seen = if version == 1 { u32::try_from(count).unwrap_or(u32::MAX) } else { 0 };
    (at.expose_provenance() as u64, seen)
}
