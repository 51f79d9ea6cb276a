//! What a controller's refusals mean.
//!
//! Source: specification, section 4.6.1.2.

use crate::block::{Cause, Refusal, Status};

/// Status code types.
mod sct {
    pub(super) const GENERIC: u8 = 0;
    pub(super) const COMMAND: u8 = 1;
    pub(super) const MEDIA: u8 = 2;
    pub(super) const PATH: u8 = 3;
}

/// The refusal that a completion's status field holds, which is without the phase: `None` if it was done.
#[must_use]
pub fn refusal(field: u16) -> Option<Refusal> {
    let (sc, sct) = (field as u8, (field >> 8 & 7) as u8);
    if (sct, sc) == (0, 0) {
        return None;
    }
    Some(Refusal { cause: cause(sct, sc), status: Status::Nvme { sct, sc } })
}

fn cause(sct: u8, sc: u8) -> Cause {
    match (sct, sc) {
        (sct::GENERIC, 0x01 | 0x02 | 0x0b) => Cause::Unsupported,
        (sct::GENERIC, 0x04 | 0x06 | 0x21 | 0x22 | 0x82 | 0x84) => Cause::Internal,
        (sct::GENERIC, 0x05 | 0x07..=0x0a | 0x1b) => Cause::Aborted,
        (sct::GENERIC, 0x15 | 0x20) | (sct::COMMAND, 0x82) | (sct::MEDIA, 0x86) => Cause::Protected,
        (sct::GENERIC, 0x80) => Cause::Range,
        (sct::GENERIC, 0x81) => Cause::NoSpace,
        (sct::MEDIA, 0x80) => Cause::Unwritable,
        (sct::MEDIA, 0x81..=0x85 | 0x87) => Cause::Unreadable,
        (sct::PATH, _) => Cause::Internal,
        _ => Cause::Other,
    }
}

/// What the specification calls a status; `None` if it does not, or has it for commands that are not given here.
#[must_use]
pub fn name(sct: u8, sc: u8) -> Option<&'static str> {
    let names: &[(u8, &str)] = match sct {
        sct::GENERIC => GENERIC,
        sct::COMMAND => COMMAND,
        sct::MEDIA => MEDIA,
        sct::PATH => PATH,
        _ => &[],
    };
    names.iter().find(|(code, _)| *code == sc).map(|(_, name)| *name)
}

const GENERIC: &[(u8, &str)] = &[
    (0x00, "Successful Completion"),
    (0x01, "Invalid Command Opcode"),
    (0x02, "Invalid Field in Command"),
    (0x03, "Command ID Conflict"),
    (0x04, "Data Transfer Error"),
    (0x05, "Commands Aborted due to Power Loss Notification"),
    (0x06, "Internal Error"),
    (0x07, "Command Abort Requested"),
    (0x08, "Command Aborted due to SQ Deletion"),
    (0x09, "Command Aborted due to Failed Fused Command"),
    (0x0a, "Command Aborted due to Missing Fused Command"),
    (0x0b, "Invalid Namespace or Format"),
    (0x0c, "Command Sequence Error"),
    (0x13, "PRP Offset Invalid"),
    (0x14, "Atomic Write Unit Exceeded"),
    (0x15, "Operation Denied"),
    (0x1b, "Command Aborted due to Preempt and Abort"),
    (0x1c, "Sanitize Failed"),
    (0x1d, "Sanitize In Progress"),
    (0x20, "Namespace is Write Protected"),
    (0x21, "Command Interrupted"),
    (0x22, "Transient Transport Error"),
    (0x80, "LBA Out of Range"),
    (0x81, "Capacity Exceeded"),
    (0x82, "Namespace Not Ready"),
    (0x83, "Reservation Conflict"),
    (0x84, "Format In Progress"),
];

const COMMAND: &[(u8, &str)] = &[
    (0x00, "Completion Queue Invalid"),
    (0x01, "Invalid Queue Identifier"),
    (0x02, "Invalid Queue Size"),
    (0x08, "Invalid Interrupt Vector"),
    (0x80, "Conflicting Attributes"),
    (0x81, "Invalid Protection Information"),
    (0x82, "Attempted Write to Read Only Range"),
];

const MEDIA: &[(u8, &str)] = &[
    (0x80, "Write Fault"),
    (0x81, "Unrecovered Read Error"),
    (0x82, "End-to-end Guard Check Error"),
    (0x83, "End-to-end Application Tag Check Error"),
    (0x84, "End-to-end Reference Tag Check Error"),
    (0x85, "Compare Failure"),
    (0x86, "Access Denied"),
    (0x87, "Deallocated or Unwritten Logical Block"),
];

const PATH: &[(u8, &str)] = &[
    (0x00, "Internal Path Error"),
    (0x01, "Asymmetric Access Persistent Loss"),
    (0x02, "Asymmetric Access Inaccessible"),
    (0x03, "Asymmetric Access Transition"),
    (0x60, "Controller Pathing Error"),
    (0x70, "Host Pathing Error"),
    (0x71, "Command Aborted By Host"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_field_is_taken_apart_and_named() {
        assert_eq!(refusal(0), None);
        assert_eq!(refusal(0x7800), None, "retry hints are no refusal");
        // Do Not Retry, media error, Unrecovered Read Error.
        let refused = refusal(0x4281).unwrap();
        assert_eq!(refused.status, Status::Nvme { sct: 2, sc: 0x81 });
        assert_eq!(refused.cause, Cause::Unreadable);
        assert_eq!(
            std::format!("{refused}"),
            "it cannot read these blocks (NVMe status 2:81, Unrecovered Read Error)"
        );
        let unknown = refusal(0x07ee).unwrap();
        assert_eq!(std::format!("{unknown}"), "it refused the command (NVMe status 7:ee)");
    }

    #[test]
    fn what_a_caller_may_act_on_has_a_cause_of_its_own() {
        let cause = |sct: u16, sc: u16| refusal(sct << 8 | sc).map(|refusal| refusal.cause);
        let cases = [
            (0, 0x02, Cause::Unsupported),
            (0, 0x06, Cause::Internal),
            (0, 0x08, Cause::Aborted),
            (0, 0x20, Cause::Protected),
            (0, 0x80, Cause::Range),
            (0, 0x81, Cause::NoSpace),
            (1, 0x82, Cause::Protected),
            (2, 0x80, Cause::Unwritable),
            (2, 0x87, Cause::Unreadable),
            (3, 0x00, Cause::Internal),
            (7, 0x01, Cause::Other),
        ];
        for (sct, sc, expected) in cases {
            assert_eq!(cause(sct, sc), Some(expected), "{sct:x}:{sc:02x}");
        }
    }

    #[test]
    fn names_are_in_order_and_each_once() {
        for names in [GENERIC, COMMAND, MEDIA, PATH] {
            assert!(names.is_sorted_by(|one, next| one.0 < next.0));
        }
    }
}
