//! What dom0 refuses of control, with the answer that is right.

use alloc::{format, string::String, vec::Vec};

use proto_svc::device::{AppDefinition, AppId, FromControl, Refusal};

use super::{
    Verdict, case,
    dom0::{Answer, Dom0, NEIGHBOUR, definition},
    state::State,
};

/// Defined by nobody.
const GHOST: AppId = AppId([0xee; 16]);
/// Defined here, and gone at the end.
const OURS: AppId = AppId([2; 16]);
const GREEDY: AppId = AppId([3; 16]);
const FOURTH: AppId = AppId([4; 16]);
const FIFTH: AppId = AppId([5; 16]);

/// Something that has a hash and is no image.
const JUNK: &[u8] = &[0x5a; 100];
/// All that the table leaves to applications, in KiB.
const ALL_MEMORY_KIB: u32 = 256 * 1024;

/// One row. The rows follow each other.
struct Row {
    name: &'static str,
    message: fn() -> FromControl,
    right: &'static [Answer],
}

const NOTHING: &[Answer] = &[];
const UNKNOWN: &[Answer] = &[Answer::Refused(Refusal::Unknown)];
const STATE: &[Answer] = &[Answer::Refused(Refusal::WrongState)];
const MEMORY: &[Answer] = &[Answer::Refused(Refusal::Memory)];
const VCPUS: &[Answer] = &[Answer::Refused(Refusal::Vcpus)];
const SIZE: &[Answer] = &[Answer::Refused(Refusal::ImageSize)];
const PIECE: &[Answer] = &[Answer::Refused(Refusal::ImagePiece)];
const HASH: &[Answer] = &[Answer::Refused(Refusal::ImageHash)];
const FORMAT: &[Answer] = &[Answer::Refused(Refusal::ImageFormat)];
const MANY: &[Answer] = &[Answer::Refused(Refusal::TooMany)];

const ROWS: &[Row] = &[
    Row { name: "start_of_nobody", message: || FromControl::Start { app: GHOST }, right: UNKNOWN },
    Row { name: "stop_of_nobody", message: || FromControl::Stop { app: GHOST }, right: UNKNOWN },
    Row { name: "forget_of_nobody", message: || FromControl::Forget { app: GHOST }, right: UNKNOWN },
    Row { name: "image_of_nobody", message: || piece(GHOST, 0, 8), right: UNKNOWN },
    Row { name: "note_of_nobody", message: || note(GHOST), right: UNKNOWN },
    Row { name: "typing_at_nobody", message: || typed(GHOST), right: STATE },
    Row { name: "taking_from_nobody", message: || taken(Some(GHOST)), right: NOTHING },
    Row { name: "taking_of_the_log_that_is_not_written", message: || taken(None), right: NOTHING },
    Row { name: "taking_of_lines_that_are_not_written", message: || taken(Some(NEIGHBOUR)), right: NOTHING },
    Row { name: "greeting_again", message: || FromControl::Hello { version: 77 }, right: NOTHING },
    Row { name: "definition_of_what_runs", message: || define(NEIGHBOUR, |_| ()), right: STATE },
    Row { name: "start_of_what_runs", message: || FromControl::Start { app: NEIGHBOUR }, right: STATE },
    Row { name: "image_of_what_runs", message: || piece(NEIGHBOUR, 0, 8), right: STATE },
    Row { name: "no_memory", message: || define(OURS, |it| it.memory_kib = 0), right: MEMORY },
    Row { name: "all_memory", message: || define(OURS, |it| it.memory_kib = u32::MAX), right: MEMORY },
    Row {
        name: "a_little_too_much_memory",
        message: || define(OURS, |it| it.memory_kib = ALL_MEMORY_KIB + 1),
        right: MEMORY,
    },
    Row { name: "no_vcpu", message: || define(OURS, |it| it.vcpus = 0), right: VCPUS },
    Row { name: "too_many_vcpus", message: || define(OURS, |it| it.vcpus = u16::MAX), right: VCPUS },
    Row { name: "no_image", message: || define(OURS, |it| it.image_length = 0), right: SIZE },
    Row { name: "too_long_an_image", message: || define(OURS, |it| it.image_length = u32::MAX), right: SIZE },
    Row { name: "definition", message: || define(OURS, |it| it.image_sha256 = [7; 32]), right: NOTHING },
    Row { name: "stop_of_what_does_not_run", message: || FromControl::Stop { app: OURS }, right: STATE },
    Row { name: "typing_at_what_does_not_run", message: || typed(OURS), right: STATE },
    Row { name: "start_without_an_image", message: || FromControl::Start { app: OURS }, right: STATE },
    Row { name: "piece_with_a_gap", message: || piece(OURS, 50, 50), right: PIECE },
    Row { name: "piece_far_away", message: || piece(OURS, u32::MAX, 1), right: PIECE },
    Row { name: "piece_of_nothing", message: || piece(OURS, 0, 0), right: PIECE },
    Row { name: "piece_past_the_end", message: || piece(OURS, 0, 101), right: PIECE },
    Row { name: "half_an_image", message: || piece(OURS, 0, 50), right: NOTHING },
    Row { name: "piece_again", message: || piece(OURS, 0, 50), right: PIECE },
    Row { name: "piece_past_the_end_of_the_rest", message: || piece(OURS, 50, 51), right: PIECE },
    Row { name: "start_with_half_an_image", message: || FromControl::Start { app: OURS }, right: STATE },
    Row { name: "image_of_another_hash", message: || piece(OURS, 50, 50), right: HASH },
    Row { name: "start_with_another_hash", message: || FromControl::Start { app: OURS }, right: STATE },
    Row { name: "definition_anew", message: || define(OURS, |_| ()), right: NOTHING },
    Row { name: "image_that_is_none", message: || piece(OURS, 0, 100), right: &[Answer::Staged] },
    Row { name: "image_after_the_end", message: || piece(OURS, 100, 1), right: STATE },
    Row { name: "start_of_what_is_no_image", message: || FromControl::Start { app: OURS }, right: FORMAT },
];

/// Behind them, when all places but one are taken.
const CROWDED: &[Row] = &[
    Row { name: "more_memory_than_is_left", message: || FromControl::Start { app: GREEDY }, right: MEMORY },
    Row { name: "last_place", message: || define(FOURTH, |_| ()), right: NOTHING },
    Row { name: "one_too_many", message: || define(FIFTH, |_| ()), right: MANY },
    Row { name: "forget_ours", message: || FromControl::Forget { app: OURS }, right: NOTHING },
    Row { name: "forget_greedy", message: || FromControl::Forget { app: GREEDY }, right: NOTHING },
    Row { name: "forget_fourth", message: || FromControl::Forget { app: FOURTH }, right: NOTHING },
    Row { name: "start_of_the_forgotten", message: || FromControl::Start { app: OURS }, right: UNKNOWN },
];

/// Tries every row.
pub(super) async fn try_all(dom0: &mut Dom0, state: &mut State) {
    for row in ROWS {
        let verdict = judge(row, dom0.ask((row.message)()).await);
        case(state, row.name, verdict).await;
    }
    let greedy = definition(GREEDY, dom0.image, ALL_MEMORY_KIB);
    let staged = dom0.stage(greedy, dom0.image).await;
    case(state, "all_that_is_allowed", staged).await;
    for row in CROWDED {
        let verdict = judge(row, dom0.ask((row.message)()).await);
        case(state, row.name, verdict).await;
    }
}

fn judge(row: &Row, answers: Result<Vec<Answer>, String>) -> Verdict {
    let answers = answers?;
    if answers == row.right { Ok(()) } else { Err(format!("{answers:?} instead of {:?}", row.right)) }
}

fn define(app: AppId, change: fn(&mut AppDefinition)) -> FromControl {
    let mut definition = definition(app, JUNK, 8192);
    change(&mut definition);
    FromControl::Define(definition)
}

fn piece(app: AppId, offset: u32, length: usize) -> FromControl {
    FromControl::Image { app, offset, bytes: core::iter::repeat_n(JUNK[0], length).collect() }
}

fn note(app: AppId) -> FromControl {
    FromControl::Note { app, note: heapless::Vec::new() }
}

fn typed(app: AppId) -> FromControl {
    FromControl::ConsoleInput { app, bytes: heapless::Vec::new() }
}

fn taken(app: Option<AppId>) -> FromControl {
    FromControl::Taken { app, before: u64::MAX, note: heapless::Vec::new() }
}
