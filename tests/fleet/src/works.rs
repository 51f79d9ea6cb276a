//! What is so on a machine with the whole control, and is to be so again after whatever a story has done to it.

use std::collections::BTreeMap;

use board_support_hyp::Runtime;
use proto_xen::DomId;

use crate::{
    drills::wait_ms,
    eve::Controller,
    stage::{Fleet, Stage},
};

/// Looks at the controller.
///
/// # Panics
/// If the story has none.
pub fn eve<R>(fleet: &Fleet, look: impl FnOnce(&mut Controller) -> R) -> R {
    look(&mut fleet.eve.as_ref().expect("the story has a controller").borrow_mut())
}

/// The controller gets every line that a domain which runs has written by now, and a report of control.
///
/// # Panics
/// If it does not.
pub fn is_told_all(stage: &mut Stage) {
    let reports = eve(&stage.fleet, |eve| eve.reports());
    let mut lines = BTreeMap::new();
    stage.until("the controller gets every line, and a report", |fleet| {
        let services = fleet.services.iter().filter_map(|&service| fleet.id(service));
        let ids = services.chain([DomId::DOM0]);
        let all_there = ids.filter(|&id| fleet.world.runs(id)).all(|id| {
            let written = *lines.entry(id).or_insert_with(|| fleet.world.lines_of(id));
            eve(fleet, |eve| eve.lines_of(id)) >= written
        });
        all_there && eve(fleet, |eve| eve.reports()) > reports
    });
}

/// The application counts, the controller knows that it runs, and gets what it has counted.
///
/// # Panics
/// If it does not, or was started more than once.
pub fn counts(stage: &mut Stage) {
    let before = stage.fleet.seen.counted.get();
    stage.until("the application counts, as the controller knows", |fleet| {
        let counted = eve(fleet, |eve| eve.console.len() as u64);
        eve(fleet, |eve| eve.app_runs()) && counted > before
    });
    let told = eve(&stage.fleet, |eve| eve.console.clone());
    let expected = (0..told.len() as u64).map(|number| (number + 1, format!("count {number}"))).collect();
    assert_eq!(told, expected);
    assert_eq!(stage.fleet.seen.plain.borrow().len(), 1, "it was started once");
}

/// Nobody is busy with nothing: a service that has little to do wakes a few times a second.
fn rests(stage: &mut Stage) {
    let services = stage.fleet.services.iter().map(|&service| stage.fleet.id(service).expect("it runs"));
    let services: Vec<_> = services.collect();
    let rounds = |stage: &Stage| -> Vec<u64> {
        services.iter().map(|&id| stage.fleet.world.domain(id).rounds()).collect()
    };
    let before = rounds(stage);
    wait_ms(stage, 5000);
    for (after, before) in rounds(stage).into_iter().zip(before) {
        assert!(after - before < 2000, "{} rounds in five seconds", after - before);
    }
}

/// All of that.
///
/// # Panics
/// If one is not so.
pub fn works(stage: &mut Stage) {
    counts(stage);
    is_told_all(stage);
    rests(stage);
}
