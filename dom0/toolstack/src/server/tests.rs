use std::{boxed::Box, vec::Vec};

use proto_svc::device::{AppDefinition, Known};

use super::*;
use crate::{
    build::elf::tests::small,
    fake::{Domain, Fault, Ground, Machine},
    image::sha256,
};

const APP: AppId = AppId([1; 16]);
const PLENTY: u64 = 1 << 20;

fn definition(image: &[u8]) -> AppDefinition {
    AppDefinition {
        app: APP,
        name: "hello".try_into().unwrap(),
        memory_kib: 4096,
        vcpus: 1,
        command_line: "greeting=hi".try_into().unwrap(),
        image_length: image.len() as u32,
        image_sha256: sha256(image),
    }
}

struct Stage {
    ground: &'static Ground,
    server: Server<'static, Domain>,
    told: Vec<ToControl>,
}

impl Stage {
    fn new() -> Self {
        Self::on(Machine::default())
    }

    fn on(machine: Machine) -> Self {
        let ground: &'static Ground = Box::leak(Box::new(Ground::with(machine)));
        let limits = Applications { memory_mib: 64, count: 2, vcpus: 1, cpus: 0, image_kib: 64 };
        Self {
            ground,
            server: Server::new(&ground.dom0, limits, Platform::X86 { signature: 0 }, 1 << 20),
            told: Vec::new(),
        }
    }

    fn ask(&mut self, message: FromControl) -> Option<Task<'static, Domain>> {
        self.server.handle(message, 0, || PLENTY, &mut |answer| self.told.push(answer))
    }

    fn stage(&mut self, image: &[u8]) {
        assert!(self.ask(FromControl::Define(definition(image))).is_none());
        for (number, piece) in image.chunks(100).enumerate() {
            let bytes = piece.try_into().unwrap();
            self.ask(FromControl::Image { app: APP, offset: 100 * number as u32, bytes });
        }
    }

    fn refusal(&mut self) -> Refusal {
        match self.told.pop() {
            Some(ToControl::Refused { app: APP, refusal, .. }) => refusal,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_application_runs_and_is_stopped() {
    let mut stage = Stage::new();
    stage.stage(&small());
    let Some(Task::Serve { app: APP, id, console }) = stage.ask(FromControl::Start { app: APP }) else {
        panic!()
    };
    let running = AppState::Running { domid: id.0 };
    assert_eq!(
        stage.told,
        [
            ToControl::State { app: APP, state: AppState::Staged },
            ToControl::State { app: APP, state: running }
        ]
    );
    assert_eq!(console.page.0, 1023);
    let bytes = Piece::from_slice(b"hi\n").unwrap();
    assert!(matches!(stage.ask(FromControl::ConsoleInput { app: APP, bytes }), Some(Task::Type { .. })));
    let Some(Task::End { app: APP, domain }) = stage.ask(FromControl::Stop { app: APP }) else { panic!() };
    drop(console);
    drop(domain);
    stage.ground.assert_clean("stopped");
}

#[test]
fn a_control_that_is_there_anew_learns_what_there_is() {
    let mut stage = Stage::new();
    stage.stage(&small());
    let note = |text: &[u8]| heapless::Vec::from_slice(text).unwrap();
    stage.ask(FromControl::Note { app: APP, note: note(b"of the application") });
    let of_device = heapless::Vec::from_slice(b"of the device").unwrap();
    stage.ask(FromControl::DeviceNote { note: of_device });
    let Some(Task::Serve { id, console, .. }) = stage.ask(FromControl::Start { app: APP }) else { panic!() };
    stage.told.clear();
    stage.server.tell_known(&mut |known| stage.told.push(known));
    let [ToControl::Known(known), ToControl::KnownAll { note: of_device }] = &stage.told[..] else {
        panic!("{:?}", stage.told)
    };
    assert_eq!((known.definition.app, &known.note[..]), (APP, &b"of the application"[..]));
    assert_eq!(known.running.map(|running| running.domid), Some(id.0));
    assert_eq!(of_device, b"of the device");
    // Stopped, it is still known; defined anew, it has no note; forgotten, it is not known.
    drop(console);
    drop(stage.ask(FromControl::Stop { app: APP }));
    stage.told.clear();
    stage.server.tell_known(&mut |known| stage.told.push(known));
    assert!(
        matches!(&stage.told[0], ToControl::Known(Known { running: None, note, .. }) if !note.is_empty())
    );
    stage.stage(&small());
    stage.told.clear();
    stage.server.tell_known(&mut |known| stage.told.push(known));
    assert!(matches!(&stage.told[0], ToControl::Known(Known { note, .. }) if note.is_empty()));
    stage.ask(FromControl::Forget { app: APP });
    stage.told.clear();
    stage.server.tell_known(&mut |known| stage.told.push(known));
    assert_eq!(stage.told.len(), 1);
    stage.ask(FromControl::Note { app: APP, note: note(b"x") });
    assert!(matches!(stage.told[1], ToControl::Refused { refusal: Refusal::Unknown, .. }));
}

#[test]
fn one_that_ends_by_itself_is_found_by_its_number() {
    let mut stage = Stage::new();
    stage.stage(&small());
    let Some(Task::Serve { id, console, .. }) = stage.ask(FromControl::Start { app: APP }) else { panic!() };
    assert!(stage.server.ended(DomId(77)).is_none());
    let (app, domain) = stage.server.ended(id).unwrap();
    assert_eq!(app, APP);
    assert!(stage.server.ended(id).is_none());
    drop((console, domain));
    stage.ground.assert_clean("ended");
}

#[test]
fn refusals_are_typed_and_change_nothing() {
    let mut stage = Stage::new();
    assert!(stage.ask(FromControl::Start { app: APP }).is_none());
    assert_eq!(stage.refusal(), Refusal::Unknown);
    let bytes = Piece::from_slice(b"hi\n").unwrap();
    assert!(stage.ask(FromControl::ConsoleInput { app: APP, bytes }).is_none());
    assert_eq!(stage.refusal(), Refusal::WrongState);

    stage.stage(b"#!/bin/sh");
    stage.told.clear();
    assert!(stage.ask(FromControl::Start { app: APP }).is_none());
    assert_eq!(stage.refusal(), Refusal::ImageFormat);

    stage.stage(&small());
    stage.told.clear();
    stage.ground.restart(Some(Fault::nth(1)));
    assert!(stage.ask(FromControl::Start { app: APP }).is_none());
    assert_eq!(stage.refusal(), Refusal::Build);
    stage.ground.assert_clean("refused");
    assert!(matches!(stage.ask(FromControl::Start { app: APP }), Some(Task::Serve { .. })));
}

#[test]
fn a_machine_without_memory_refuses() {
    let mut stage = Stage::on(Machine { large_extents: 2, single_pages: 7, ..Machine::default() });
    stage.stage(&small());
    stage.told.clear();
    assert!(stage.ask(FromControl::Start { app: APP }).is_none());
    assert_eq!(stage.refusal(), Refusal::Memory);
    stage.ground.assert_clean("refused");
}
