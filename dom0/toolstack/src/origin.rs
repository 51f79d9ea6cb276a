//! How the machine came to be started: what ended its life before this one, from the evidence that outlived it, and
//! which slot the selector has started, and why.

use alloc::{borrow::Cow, format, string::String};
use core::fmt::{self, Write};

use proto_gpt::slots::Slot;
use proto_handoff::{
    kept::{Kept, MAX_ORDER, Note, Order},
    record::{Handoff, UNKNOWN_REASON},
};
use proto_svc::{
    device::{Boot, BootCause, BootSlot, MAX_NOTE, MAX_REASON, Measured},
    storage::SlotName,
    text::clipped,
};

// What was left is told whole.
const _: () = assert!(MAX_ORDER <= MAX_NOTE);

/// What outlived the machine's life before this one.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// The hardware's watchdog says that it was not fed.
    pub watchdog: bool,
    /// The note that was left last where a reset does not reach, and the starts since then; nothing where neither
    /// memory nor hardware keeps one.
    pub left: Option<Kept>,
    /// What the order that was noted says of itself, if it has left anything.
    pub order: Option<Order>,
    /// dom0's last words, if it had any after that note.
    pub last_words: Option<String>,
}

/// What control is told. `record` is the selector's; the number of the start is left to who can draw one, and when it
/// began to who knows the time.
#[must_use]
pub fn boot(record: Option<&Handoff>, evidence: &Evidence) -> Boot {
    let (cause, text) = cause(evidence);
    let order = evidence.order.as_ref().filter(|_| cause == BootCause::Ordered);
    Boot {
        cause,
        text: clipped(&text),
        order: order.and_then(|order| heapless::Vec::from_slice(order.text()).ok()).unwrap_or_default(),
        slot: record.map(slot),
        measured: Measured::No,
        start: 0,
        began_ns: 0,
    }
}

fn cause(evidence: &Evidence) -> (BootCause, Cow<'_, str>) {
    let words = evidence.last_words.as_deref().and_then(|words| words.lines().next());
    let Kept { note, starts } = evidence.left.unwrap_or(Kept { note: Note::Nothing, starts: 0 });
    if let Some(words) = words.filter(|_| starts <= 1) {
        // A watchdog that fires after that has only found what is left of it.
        return (BootCause::Panic, format!("dom0 crashed: {words}").into());
    }
    let (cause, text) = match (evidence.watchdog, note) {
        // The hardware's evidence is of the last reset: whoever reads it clears it.
        (true, _) if starts > 1 => {
            (BootCause::Watchdog, "the watchdog has reset the machine in a start that did not come to dom0")
        }
        (true, _) => (BootCause::Watchdog, "the watchdog has reset the machine: it was not fed"),
        // What the note says is the reason of that start, not of this one.
        (false, _) if starts > 1 => {
            (BootCause::Panic, "a start ended before dom0 was there, and the machine was reset for that")
        }
        // Neither ordered nor the watchdog's: Xen has reset the machine, for dom0's sake or its own.
        (false, Note::Working) => {
            (BootCause::Panic, "dom0 or Xen crashed, and the machine was reset for that")
        }
        (false, Note::Ordered) => (BootCause::Ordered, "the machine was told to start anew"),
        (false, Note::Nothing) if evidence.left.is_some() => {
            (BootCause::PowerOn, "nothing is left of the life before: the power was off")
        }
        (false, Note::Nothing) => (BootCause::Unknown, "nothing here keeps over a reset what would tell why"),
    };
    // A dom0 that would have been there since has taken its words away: they are of a life before the last one.
    let told = words.map(|words| format!("{text}; ahead of that dom0 crashed: {words}"));
    (cause, told.map_or(text.into(), Cow::from))
}

fn slot(record: &Handoff) -> BootSlot {
    let mut reason = Clip(heapless::String::new());
    // What does not fit is left out.
    let _ = match record.reason {
        Some(why) => write!(reason, "{why}"),
        None => reason.write_str(UNKNOWN_REASON),
    };
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
    use core::sync::atomic::AtomicU32;

    use proto_handoff::{kept, record::Refused};

    use super::*;
    use crate::handoff::tests::record;

    fn left(note: Note, starts: u32) -> Option<Kept> {
        Some(Kept { note, starts })
    }

    #[test]
    fn evidence_makes_the_cause() {
        let cause = |watchdog, left| boot(None, &Evidence { watchdog, left, ..Evidence::default() }).cause;
        for note in [Note::Nothing, Note::Working, Note::Ordered] {
            assert_eq!(cause(true, left(note, 1)), BootCause::Watchdog);
        }
        assert_eq!(cause(true, None), BootCause::Watchdog);
        assert_eq!(cause(false, None), BootCause::Unknown);
        // Without a selector nobody counts.
        for starts in [0, 1] {
            assert_eq!(cause(false, left(Note::Nothing, starts)), BootCause::PowerOn);
            assert_eq!(cause(false, left(Note::Working, starts)), BootCause::Panic);
            assert_eq!(cause(false, left(Note::Ordered, starts)), BootCause::Ordered);
        }
        assert_eq!(boot(None, &Evidence::default()).slot, None);
    }

    #[test]
    fn a_start_that_did_not_come_to_dom0_is_no_order_and_no_loss_of_power() {
        for note in [Note::Nothing, Note::Working, Note::Ordered] {
            for starts in [2, 3, u32::MAX] {
                let evidence = Evidence { left: left(note, starts), ..Evidence::default() };
                assert_eq!(boot(None, &evidence).cause, BootCause::Panic, "{evidence:?}");
            }
        }
    }

    #[test]
    fn what_an_order_says_is_told_if_it_was_the_cause() {
        let page: std::vec::Vec<AtomicU32> = (0..1024).map(AtomicU32::new).collect();
        let told = |left, watchdog, last_words: Option<&str>| {
            kept::Order::leave(&page, b"why");
            let order = kept::Order::take(&page);
            let last_words = last_words.map(String::from);
            boot(None, &Evidence { watchdog, left, last_words, order }).order
        };
        assert_eq!(told(left(Note::Ordered, 1), false, None), b"why");
        // Anything may have come in between, or it is of long ago.
        assert_eq!(told(left(Note::Ordered, 2), false, None), b"");
        assert_eq!(told(left(Note::Ordered, 1), true, None), b"");
        assert_eq!(told(left(Note::Ordered, 1), false, Some("PANIC")), b"");
        assert_eq!(told(left(Note::Working, 1), false, None), b"");
        assert_eq!(told(None, false, None), b"");
    }

    #[test]
    fn last_words_are_the_cause_unless_there_was_a_start_since() {
        let words = "PANIC at dom0/src/drill.rs:1: a drill [E-RT-001]\nbt: 0x1000\n";
        for note in [Note::Nothing, Note::Working, Note::Ordered] {
            // Without a selector nobody counts.
            for (watchdog, starts) in [(false, 0), (false, 1), (true, 1)] {
                let last_words = Some(words.into());
                let told =
                    boot(None, &Evidence { watchdog, left: left(note, starts), last_words, order: None });
                assert_eq!(told.cause, BootCause::Panic);
                assert_eq!(told.text, "dom0 crashed: PANIC at dom0/src/drill.rs:1: a drill [E-RT-001]");
            }
            // What has ended the start after it is the later evidence.
            for (watchdog, latest, text) in [
                (false, BootCause::Panic, "a start ended before dom0 was there, "),
                (true, BootCause::Watchdog, "the watchdog has reset the machine in a start "),
            ] {
                let last_words = Some(words.into());
                let evidence = Evidence { watchdog, left: left(note, 2), last_words, order: None };
                let told = boot(None, &evidence);
                assert_eq!(told.cause, latest, "{evidence:?}");
                assert!(told.text.starts_with(text), "{}", told.text);
                assert!(
                    told.text.contains("; ahead of that dom0 crashed: PANIC at dom0/src/drill.rs:1: a drill")
                );
            }
        }
        let long = Evidence { last_words: Some("ä".repeat(5000)), ..Evidence::default() };
        assert!(boot(None, &long).text.len() > MAX_REASON - 2, "it is cut where it is full");
    }

    #[test]
    fn the_slot_is_told_with_why_the_other_one_was_refused() {
        let record = Handoff { slot: Slot::B, refused: Some(Refused::Hash), ..record() };
        let told = boot(Some(&record), &Evidence::default()).slot.unwrap();
        assert_eq!((told.slot, told.version.as_str(), told.other_refused), (SlotName::B, "1", true));
        assert_eq!((told.priority, told.tries, told.successful), (2, 0, true));
        assert_eq!(told.reason, "it has proven itself; slot A: its contents are not what was signed");
    }
}
