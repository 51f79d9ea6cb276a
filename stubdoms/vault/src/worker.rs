//! The one task that uses the TPM: it takes requests in turn.

use core::{fmt, time::Duration};

use alloc::boxed::Box;
use board_support_rt::{entropy, timer};
use embassy_futures::select::{Either, select};
use proto_errors::Code;
use stubdoms_vault_core::{
    tpm::Random,
    vault::{Event, Vault},
};

use crate::{
    desk::{Answer, Desk, Request},
    tpm::Chip,
};

/// After so long without a request the keys are looked at, so that they are there when somebody asks.
const QUIET: Duration = Duration::from_secs(1);

/// Random numbers of the domain's generator.
pub(crate) struct Entropy;

impl Random for Entropy {
    fn fill(&mut self, bytes: &mut [u8]) {
        entropy::fill(bytes);
    }
}

/// Serves all channels for ever.
pub(crate) async fn run(desk: &'static Desk, chip: Option<Chip>) {
    let mut vault = Box::new(Vault::new(chip, Entropy));
    vault.start(now()).await;
    tell(&mut vault);
    stubdoms_service::ready();
    loop {
        while let Some((channel, number, request)) = desk.take() {
            let answer = match request {
                Request::Measure(asked) => Answer::Measure(vault.measure(now(), asked).await),
                Request::Storage(said) => {
                    vault.storage(now(), said).await;
                    Answer::Storage
                }
                Request::StorageGone => {
                    vault.storage_gone();
                    Answer::Storage
                }
                Request::Control(request) => Answer::Control(vault.control(now(), request).await),
            };
            spread(desk, &mut vault);
            desk.answer(channel, number, answer);
        }
        let due = if vault.has_more() { Some(now() + QUIET) } else { vault.deadline() };
        let Some(due) = due else {
            desk.work.wait().await;
            continue;
        };
        if let Either::Second(()) = select(desk.work.wait(), timer::sleep(due.saturating_sub(now()))).await {
            vault.complete(now()).await;
            spread(desk, &mut vault);
        }
    }
}

/// Tells storage, control and the log what came of it.
fn spread(desk: &Desk, vault: &mut Vault<Chip, Entropy>) {
    while let Some(letter) = vault.take_for_storage() {
        desk.post(letter);
    }
    if vault.take_changed() {
        desk.changed.signal(());
    }
    tell(vault);
}

fn tell(vault: &mut Vault<Chip, Entropy>) {
    while let Some(event) = vault.take_event() {
        match (event.code(), &event) {
            (None, event) => log::info!("{event}"),
            (Some(code), Event::NoTpm | Event::Up { .. } | Event::New { .. } | Event::Opened { .. }) => {
                log::warn!("{}", told(&event, code));
            }
            (Some(code), event) => log::error!("{}", told(event, code)),
        }
    }
}

/// An event as a person is told of it.
fn told(event: &Event, code: Code) -> impl fmt::Display {
    fmt::from_fn(move |f| write!(f, "{event} [{code}]"))
}

/// Since power-on.
pub(crate) fn now() -> Duration {
    Duration::from_nanos(timer::now().as_nanos())
}
