//! Starts of the machine: how many there were, and why. Kept in storage, so that a start knows how the one before it
//! ended.
//!
//! Ahead of an ordered reset its reason is kept, and given to dom0 as well, which has a place that outlives most resets. A
//! start that finds one has begun for that reason, whatever the hardware says; one that finds none was not ordered. A
//! version that was tried in between may have had no storage to keep its reason in, for its vault stayed locked. What dom0
//! has found counts then, and the reason in storage, which is that of a start before it, does not. The record is a line with
//! their number, a line of words for the last one, and one for the end that was ordered, if there is one; a record that
//! cannot be read counts as none.
//!
//! Every version has to read what the one that it was replaced by, on trial, has left, the oldest too. So the record stays
//! of the first format, and the number by which dom0 tells a start from others is in one of its own, beside how many starts
//! there were before it: the record is written first, and of two that do not fit each other it counts. For a while there
//! was a second format, with that number at the end of the first line; it is read, and not written.

use alloc::{format, string::String, vec::Vec};

use proto_eve::{text, wire::info::BootReason};

use crate::{
    clock::WallTime,
    operations::Cause,
    provision::{BootCause, DeviceFacts},
};

const FORMAT: &str = "1";
/// The one with a number in the first line.
const NUMBERED: &str = "2";
/// Of the number's own record.
const NUMBER_FORMAT: &str = "1";
/// Bytes of a reason's text.
const MAX_TEXT: usize = 256;
/// Bytes that dom0 takes.
const MAX_ORDER: usize = proto_svc::device::MAX_NOTE;

/// Why something ended, or began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Why {
    pub(crate) reason: BootReason,
    pub(crate) text: String,
    /// When, in seconds since 1970.
    pub(crate) at: Option<u64>,
}

impl Why {
    /// Of a reset. `missing` is what does not do its work then, if anything.
    pub(crate) fn of(cause: Cause, version: &str, missing: Option<&str>, at: Option<WallTime>) -> Self {
        let (reason, why) = match cause {
            Cause::Command => (BootReason::RebootCmd, String::from("the controller ordered it")),
            Cause::Update => (BootReason::Update, String::from("another version was to be started")),
            Cause::Fallback => (
                BootReason::Fallback,
                match missing {
                    Some(missing) => format!("version {version}: {missing} was not well under test"),
                    None => format!("version {version} did not reach the controller under test"),
                },
            ),
            Cause::VaultFailed => {
                (BootReason::VaultFailed, format!("version {version} could not open the vault under test"))
            }
            Cause::Disconnect => {
                (BootReason::Disconnect, String::from("the controller was not reached for too long"))
            }
        };
        Self { reason, text: text::bounded(&why, MAX_TEXT), at: at.map(|at| at.seconds) }
    }

    /// For [`DeviceFacts::boot_order`].
    pub(crate) fn encode(&self) -> Vec<u8> {
        text::bounded(&self.line(), MAX_ORDER).into_bytes()
    }

    fn line(&self) -> String {
        let at = self.at.map_or_else(|| String::from("-"), |at| format!("{at}"));
        format!("{} {at} {}", self.reason as i32, self.text.replace('\n', " "))
    }

    fn read(line: &str) -> Option<Self> {
        let mut words = line.splitn(3, ' ');
        let reason = BootReason::try_from(words.next()?.parse::<i32>().ok()?).ok()?;
        let at = match words.next()? {
            "-" => None,
            at => Some(at.parse().ok()?),
        };
        Some(Self { reason, text: text::bounded(words.next()?, MAX_TEXT), at })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Boots {
    /// By what dom0 tells this start from others; 0 if there is nothing, or it is not in the record.
    start: u32,
    /// Starts before this one.
    pub(crate) earlier: u32,
    /// Why this one began.
    pub(crate) began: Why,
    /// Why it is to end.
    ending: Option<Why>,
}

impl Boots {
    /// This start, after what was kept: record and number. `fresh`: no agent before this one has left word in this start,
    /// by which it is told from the one before where it has no number.
    pub(crate) fn new(kept: Option<&[u8]>, number: Option<&[u8]>, facts: &DeviceFacts, fresh: bool) -> Self {
        let kept = kept.and_then(decode);
        let number = number.and_then(decode_number);
        let evidence = |first: bool| {
            let (reason, text) = match facts.boot_cause {
                BootCause::Unknown | BootCause::PowerOn if first => {
                    (BootReason::First, "it is the first start".into())
                }
                cause => (cause.reason(), text::bounded(facts.boot_text(), MAX_TEXT)),
            };
            Why { reason, text, at: facts.boot_time.map(|time| time.seconds) }
        };
        let start = facts.start;
        let ordered = ordered(facts);
        // An agent that was killed may have counted this start and left no word, or the other way round.
        let is_same = |kept: &Self| {
            let kept = match number {
                // The record that goes with it was not written.
                Some((earlier, _)) if earlier > kept.earlier => return false,
                Some((earlier, start)) if earlier == kept.earlier => start,
                // A version that knows nothing of the number has counted on.
                Some(_) | None => kept.start,
            };
            match (kept, start) {
                (0, _) | (_, 0) => !fresh,
                (kept, this) => kept == this,
            }
        };
        match kept {
            Some(kept) if is_same(&kept) => Self { start, ..kept },
            Some(kept) => Self {
                start,
                earlier: kept.earlier.saturating_add(1),
                began: match kept.ending {
                    Some(ending) if !was_tried_mute(&ending, facts) => ending,
                    Some(_) => ordered
                        .filter(|why| why.reason != BootReason::Update)
                        .unwrap_or_else(|| mute(evidence(false))),
                    None => ordered.unwrap_or_else(|| evidence(false)),
                },
                ending: None,
            },
            None => {
                Self { start, earlier: 0, began: ordered.unwrap_or_else(|| evidence(true)), ending: None }
            }
        }
    }

    /// The machine is about to be reset. Tells whether that was not known.
    pub(crate) fn end(&mut self, why: &Why) -> bool {
        let is_new = self.ending.as_ref() != Some(why);
        self.ending = Some(why.clone());
        is_new
    }

    /// Whether this start began because something broke, so that the configuration then may be to blame.
    pub(crate) fn is_after_crash(&self) -> bool {
        !matches!(
            self.began.reason,
            BootReason::RebootCmd
                | BootReason::PoweroffCmd
                | BootReason::Update
                | BootReason::Disconnect
                | BootReason::Kernel
                | BootReason::PowerFail
                | BootReason::Unknown
        )
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut text = format!("{FORMAT} {}\n{}", self.earlier, self.began.line());
        if let Some(ending) = &self.ending {
            text.push('\n');
            text.push_str(&ending.line());
        }
        text.into_bytes()
    }

    /// The number of this start, to be kept behind the record.
    pub(crate) fn encode_number(&self) -> Vec<u8> {
        format!("{NUMBER_FORMAT} {} {}", self.earlier, self.start).into_bytes()
    }
}

/// Why the life of the machine before this one has ended, in the words that dom0 has kept for it. A dom0 of an older version
/// leaves alone what lies there, so they count where storage has nothing of that end.
fn ordered(facts: &DeviceFacts) -> Option<Why> {
    let line = core::str::from_utf8(&facts.boot_order).ok()?;
    Why::read(line).filter(|_| facts.boot_cause == BootCause::Ordered)
}

/// Whether another version was started for this reason, and has kept nothing: this start tries none, and whoever has
/// started it refused none.
fn was_tried_mute(ending: &Why, facts: &DeviceFacts) -> bool {
    let slot = facts.slot.as_ref();
    ending.reason == BootReason::Update && slot.is_some_and(|slot| !slot.trial && !slot.other_refused)
}

/// Why the machine was started after a version that has kept nothing. One that has ordered the reset itself had to
/// have its vault open to keep why.
fn mute(evidence: Why) -> Why {
    match evidence.reason {
        BootReason::RebootCmd => Why {
            reason: BootReason::VaultFailed,
            text: "the version that was tried has ended itself, and its vault was not open to keep why"
                .into(),
            ..evidence
        },
        _ => Why {
            text: format!("{}; the version that was tried has kept nothing", evidence.text),
            ..evidence
        },
    }
}

fn decode(bytes: &[u8]) -> Option<Boots> {
    let mut lines = core::str::from_utf8(bytes).ok()?.split('\n');
    let mut words = lines.next()?.split(' ');
    let (format, earlier) = (words.next()?, words.next()?.parse().ok()?);
    let start = match format {
        FORMAT => 0,
        NUMBERED => words.next()?.parse().ok()?,
        _ => return None,
    };
    if words.next().is_some() {
        return None;
    }
    let began = Why::read(lines.next()?)?;
    let ending = match lines.next() {
        Some(line) => Some(Why::read(line)?),
        None => None,
    };
    lines.next().is_none().then_some(Boots { start, earlier, began, ending })
}

/// Starts before the one, and its number.
fn decode_number(bytes: &[u8]) -> Option<(u32, u32)> {
    let mut words = core::str::from_utf8(bytes).ok()?.split(' ');
    let format = words.next()?;
    let number = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    (format == NUMBER_FORMAT && words.next().is_none()).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provision::StartedSlot;

    /// After a record alone.
    fn next(kept: Option<&[u8]>, facts: &DeviceFacts, fresh: bool) -> Boots {
        Boots::new(kept, None, facts, fresh)
    }

    /// After both.
    fn after(kept: &Boots, facts: &DeviceFacts, fresh: bool) -> Boots {
        Boots::new(Some(&kept.encode()), Some(&kept.encode_number()), facts, fresh)
    }

    #[test]
    fn a_crash_is_told_in_the_words_that_it_has_left() {
        let words = "dom0 crashed: PANIC at dom0/src/drill.rs:1: a drill";
        let crashed = DeviceFacts { boot_text: words.into(), ..facts(BootCause::Panic) };
        let before = next(None, &facts(BootCause::Unknown), true).encode();
        let boots = next(Some(&before), &crashed, true);
        assert_eq!((boots.began.reason, boots.began.text.as_str()), (BootReason::Kernel, words));
    }

    fn facts(boot_cause: BootCause) -> DeviceFacts {
        DeviceFacts { boot_cause, ..DeviceFacts::default() }
    }

    #[test]
    fn a_start_knows_how_the_one_before_it_ended() {
        let first = next(None, &facts(BootCause::Unknown), true);
        assert_eq!((first.earlier, first.began.reason), (0, BootReason::First));
        // One that is the first to be counted, but not the first that was tried.
        let late = next(None, &facts(BootCause::Watchdog), true).began;
        assert_eq!((late.reason, late.text.as_str()), (BootReason::WatchdogHung, BootCause::Watchdog.text()));
        // Nothing was ordered: there is only what the hardware says.
        let kept = first.encode();
        let second = next(Some(&kept), &facts(BootCause::Watchdog), true);
        assert_eq!((second.earlier, second.began.reason), (1, BootReason::WatchdogHung));
        // Another agent in the same start.
        let kept = second.encode();
        assert_eq!(next(Some(&kept), &facts(BootCause::Unknown), false), second);
        for (cause, reason, crash) in [
            (Cause::Command, BootReason::RebootCmd, false),
            (Cause::Update, BootReason::Update, false),
            (Cause::Fallback, BootReason::Fallback, true),
            (Cause::VaultFailed, BootReason::VaultFailed, true),
            (Cause::Disconnect, BootReason::Disconnect, false),
        ] {
            let mut ending = second.clone();
            ending.end(&Why::of(cause, "0.2.0", None, Some(WallTime { seconds: 99, nanos: 5 })));
            // The watchdog may have helped: it was ordered all the same, and once.
            let kept = ending.encode();
            let third = next(Some(&kept), &facts(BootCause::Watchdog), true);
            assert_eq!((third.earlier, third.began.reason, third.began.at), (2, reason, Some(99)));
            assert_eq!(third.is_after_crash(), crash, "{cause:?}");
            let kept = third.encode();
            let fourth = next(Some(&kept), &facts(BootCause::Unknown), true);
            assert_eq!(fourth.began.reason, BootReason::Unknown);
        }
    }

    #[test]
    fn a_start_with_a_number_is_counted_once_whatever_word_its_agents_have_left() {
        let start = |start| DeviceFacts { start, ..facts(BootCause::Unknown) };
        let first = next(None, &start(1), true);
        // It was killed before it could leave word.
        assert_eq!(after(&first, &start(1), true), first);
        // It has left word, and was killed before it could count.
        for fresh in [true, false] {
            let second = after(&first, &start(2), fresh);
            assert_eq!(second.earlier, 1);
            assert_eq!(after(&second, &start(2), !fresh), second);
            // Storage has taken the number alone, or the record alone.
            let (record, number) = (first.encode(), second.encode_number());
            assert_eq!(Boots::new(Some(&record), Some(&number), &start(2), fresh), second);
            let (record, number) = (second.encode(), first.encode_number());
            let again = Boots::new(Some(&record), Some(&number), &start(2), fresh);
            assert_eq!(again.earlier, 1 + u32::from(fresh));
        }
        // A version before this one has kept no number.
        let old = first.encode();
        assert_eq!(next(Some(&old), &start(2), true).earlier, 1);
        assert_eq!(next(Some(&old), &start(2), false).earlier, 0);
        // Or kept it in the record, also while there is one of an older start beside it.
        let (_, words) = core::str::from_utf8(&old).unwrap().split_once('\n').unwrap();
        let numbered = format!("2 7 5\n{words}");
        for number in [None, Some(first.encode_number())] {
            let other = |start_number, fresh| {
                let kept = Some(numbered.as_bytes());
                Boots::new(kept, number.as_deref(), &start(start_number), fresh).earlier
            };
            assert_eq!([other(5, true), other(5, false), other(6, true), other(6, false)], [7, 7, 8, 8]);
        }
        // One of both has none.
        assert_eq!(after(&first, &start(0), true).earlier, 1);
        assert_eq!(after(&first, &start(0), false).earlier, 0);
    }

    #[test]
    fn the_last_word_of_a_start_is_why_it_ends() {
        let mut first = next(None, &facts(BootCause::Unknown), true);
        assert!(first.end(&Why::of(Cause::Disconnect, "0.1.0", None, None)));
        // The agent that said so was killed, and another one ends the start.
        let mut later = next(Some(&first.encode()), &facts(BootCause::Unknown), false);
        let command = Why::of(Cause::Command, "0.1.0", None, None);
        assert!(later.end(&command) && !later.end(&command));
        let second = next(Some(&later.encode()), &facts(BootCause::Unknown), true);
        assert_eq!(second.began.reason, BootReason::RebootCmd);
    }

    /// What the version before reads after a fallback, and any older one.
    #[test]
    fn the_record_is_of_the_first_format() {
        let on_trial = DeviceFacts { start: 0xdead_beef, ..facts(BootCause::Unknown) };
        let mut boots = next(None, &on_trial, true);
        boots.end(&Why::of(Cause::Fallback, "0.2.0", None, Some(WallTime { seconds: 99, nanos: 5 })));
        let expected = format!(
            "1 0\n{} - it is the first start\n{} 99 version 0.2.0 did not reach the controller under test",
            BootReason::First as i32,
            BootReason::Fallback as i32
        );
        assert_eq!(core::str::from_utf8(&boots.encode()), Ok(expected.as_str()));
        assert_eq!(boots.encode_number(), b"1 0 3735928559");
        for number in ["", "1 0", "1 0 1 1", "2 0 1", "1 0 x", "1 x 0", "1 0 4294967296"] {
            assert_eq!(decode_number(number.as_bytes()), None, "{number}");
        }
    }

    #[test]
    fn a_version_that_could_keep_nothing_is_not_taken_for_the_one_before_it() {
        let mut before = next(None, &facts(BootCause::Unknown), true);
        before.end(&Why::of(Cause::Update, "0.1.0", None, None));
        let kept = before.encode();
        let after = |cause, trial, other_refused| {
            let slot = Some(StartedSlot { trial, other_refused, reason: String::new() });
            let boots = next(Some(&kept), &DeviceFacts { slot, ..facts(cause) }, true);
            (boots.began.reason, boots.began.text.contains("kept nothing"))
        };
        // What was to be started is, or was refused by who starts slots.
        assert_eq!(after(BootCause::Ordered, true, false), (BootReason::Update, false));
        assert_eq!(after(BootCause::Ordered, false, true), (BootReason::Update, false));
        // It was tried, and is back.
        assert_eq!(after(BootCause::Ordered, false, false), (BootReason::VaultFailed, false));
        assert_eq!(after(BootCause::Panic, false, false), (BootReason::Kernel, true));
        assert_eq!(after(BootCause::Unknown, false, false), (BootReason::Unknown, true));
        // Another order than for an update is what it says.
        let mut before = next(None, &facts(BootCause::Unknown), true);
        before.end(&Why::of(Cause::Command, "0.1.0", None, None));
        let slot = Some(StartedSlot { trial: false, other_refused: false, reason: String::new() });
        let facts = DeviceFacts { slot, ..facts(BootCause::Ordered) };
        let boots = next(Some(&before.encode()), &facts, true);
        assert_eq!(boots.began.reason, BootReason::RebootCmd);
    }

    #[test]
    fn what_dom0_has_kept_of_an_order_counts_where_storage_has_nothing() {
        let mut before = next(None, &facts(BootCause::Unknown), true);
        before.end(&Why::of(Cause::Update, "0.1.0", None, None));
        let kept = before.encode();
        let why = Why::of(Cause::Fallback, "0.2.0", Some("net"), Some(WallTime { seconds: 99, nanos: 5 }));
        let slot = Some(StartedSlot { trial: false, other_refused: false, reason: String::new() });
        let after = |boot_cause, boot_order: &[u8], kept: Option<&[u8]>| {
            let facts = DeviceFacts {
                boot_cause,
                boot_order: boot_order.into(),
                slot: slot.clone(),
                ..DeviceFacts::default()
            };
            next(kept, &facts, true).began
        };
        assert_eq!(after(BootCause::Ordered, &why.encode(), Some(&kept)), why);
        // Also where there is no record: the machine was started before one could be kept.
        assert_eq!(after(BootCause::Ordered, &why.encode(), None), why);
        // What cannot be read is as nothing, and so is what something else came after.
        for order in ["", "x", "99 - x", "7 x", "1", "\u{fffd}"] {
            let told = after(BootCause::Ordered, order.as_bytes(), Some(&kept));
            assert_eq!(told.reason, BootReason::VaultFailed, "{order}");
        }
        assert_eq!(after(BootCause::Panic, &why.encode(), Some(&kept)).reason, BootReason::Kernel);
        // What is in storage is of that very end: another version is tried, or was refused, or nothing but a reboot was ordered.
        for (trial, other_refused) in [(true, false), (false, true)] {
            let slot = Some(StartedSlot { trial, other_refused, reason: String::new() });
            let facts = DeviceFacts { boot_order: why.encode(), slot, ..facts(BootCause::Ordered) };
            assert_eq!(next(Some(&kept), &facts, true).began.reason, BootReason::Update);
        }
        let mut before = next(None, &facts(BootCause::Unknown), true);
        before.end(&Why::of(Cause::Command, "0.1.0", None, None));
        let command = after(BootCause::Ordered, &why.encode(), Some(&before.encode()));
        assert_eq!(command.reason, BootReason::RebootCmd);
        // An older dom0 leaves alone what one before it has left: the order to start what was tried.
        let stale = Why::of(Cause::Update, "0.1.0", None, None).encode();
        assert_eq!(after(BootCause::Ordered, &stale, Some(&kept)).reason, BootReason::VaultFailed);
        let long = Why::of(Cause::Fallback, &"ä".repeat(200), None, None).encode();
        assert!((MAX_ORDER - 1..=MAX_ORDER).contains(&long.len()));
        assert_eq!(after(BootCause::Ordered, &long, None).reason, BootReason::Fallback);
    }

    #[test]
    fn a_record_that_cannot_be_read_counts_as_none() {
        for record in [
            "",
            "2",
            "2 1\n2 - x",
            "1 1 5\n2 - x",
            "2 1 5 5\n2 - x",
            "2 x 5\n2 - x",
            "2 1 -\n2 - x",
            "2 1 5\n99 - x",
            "2 1 5\n2 x x",
            "2 1 5\n2 -",
            "2 1 5\n2 - a\n2 - b\n",
        ] {
            assert_eq!(decode(record.as_bytes()), None, "{record:?}");
        }
        assert_eq!(decode(b"\xff"), None);
    }
}
