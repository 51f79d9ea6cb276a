//! How the machine came to be started: what ended its life before this one, from the evidence that outlived it, and
//! which slot the selector has started, and why.

use core::fmt::{self, Write};

use proto_gpt::slots::Slot;
use proto_handoff::record::Handoff;
use proto_svc::{
    device::{Boot, BootCause, BootSlot, MAX_REASON, Measured},
    storage::SlotName,
    text::clipped,
};

/// What outlived the machine's life before this one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Evidence {
    /// The hardware's watchdog says that it was not fed.
    pub watchdog: bool,
    /// What the life before had left where a reset does not reach; nothing after the power was lost, or where no
    /// hardware keeps it.
    pub left: Option<Left>,
}

/// What a life of the machine leaves for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// It was in the midst of its work.
    Working,
    /// It ended by order.
    Ordered,
}

/// What control is told. `record` is the selector's.
#[must_use]
pub fn boot(record: Option<&Handoff>, evidence: Evidence) -> Boot {
    let cause = match evidence {
        Evidence { watchdog: true, .. } => BootCause::Watchdog,
        Evidence { left: Some(Left::Ordered), .. } => BootCause::Ordered,
        // Neither ordered nor the watchdog's: Xen has reset the machine, for dom0's sake or its own.
        Evidence { left: Some(Left::Working), .. } => BootCause::Panic,
        Evidence { left: None, .. } => BootCause::Unknown,
    };
    Boot { cause, text: clipped(text(cause)), slot: record.map(slot), measured: Measured::No }
}

fn text(cause: BootCause) -> &'static str {
    match cause {
        BootCause::Unknown => "nothing is left that tells why, as after the power was switched on",
        BootCause::Ordered => "the machine was told to start anew",
        BootCause::Watchdog => "the watchdog has reset the machine; dom0 did not feed it",
        BootCause::Panic => "dom0 or Xen crashed, and the machine was reset for that",
    }
}

fn slot(record: &Handoff) -> BootSlot {
    let mut reason = Clip(heapless::String::new());
    // What does not fit is left out.
    let _ = write!(reason, "{}", record.reason);
    if let Some(why) = record.refused {
        let _ = write!(reason, "; {}: {why}", record.slot.other());
    }
    BootSlot {
        slot: match record.slot {
            Slot::A => SlotName::A,
            Slot::B => SlotName::B,
        },
        version: clipped(record.version.as_str()),
        priority: record.state.priority,
        tries: record.state.tries,
        successful: record.state.successful,
        other_refused: record.refused.is_some(),
        reason: reason.0,
    }
}

/// A text that is cut where it is full.
struct Clip(heapless::String<MAX_REASON>);

impl Write for Clip {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| self.0.push(c).map_err(|_| fmt::Error))
    }
}

#[cfg(test)]
mod tests {
    use proto_handoff::record::Refused;

    use super::*;
    use crate::handoff::tests::record;

    #[test]
    fn evidence_makes_the_cause() {
        let cause = |watchdog, left| boot(None, Evidence { watchdog, left }).cause;
        for left in [None, Some(Left::Working), Some(Left::Ordered)] {
            assert_eq!(cause(true, left), BootCause::Watchdog);
        }
        assert_eq!(cause(false, None), BootCause::Unknown);
        assert_eq!(cause(false, Some(Left::Working)), BootCause::Panic);
        assert_eq!(cause(false, Some(Left::Ordered)), BootCause::Ordered);
        assert_eq!(boot(None, Evidence::default()).slot, None);
    }

    #[test]
    fn the_slot_is_told_with_why_the_other_one_was_refused() {
        let record = Handoff { slot: Slot::B, refused: Some(Refused::Hash), ..record() };
        let told = boot(Some(&record), Evidence::default()).slot.unwrap();
        assert_eq!((told.slot, told.version.as_str(), told.other_refused), (SlotName::B, "1", true));
        assert_eq!((told.priority, told.tries, told.successful), (2, 0, true));
        assert_eq!(told.reason, "it has proven itself; slot A: its contents are not what was signed");
    }
}
