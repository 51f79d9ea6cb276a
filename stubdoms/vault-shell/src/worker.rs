//! The one task that uses the TPM: it takes requests in turn.

use alloc::boxed::Box;
use core::{fmt, marker::PhantomData, time::Duration};

use board_support_drv::tpm::Transport;
use board_support_hyp::Timer;
use embassy_futures::select::{Either, select};
use proto_errors::Code;
use stubdoms_service::footing::Footing;
use stubdoms_vault_core::{
    tpm::Random,
    vault::{Event, Vault},
};

use crate::{
    desk::{Answer, Desk, Request},
    tpm::{Chip, now},
};

/// After so long without a request the keys are looked at, so that they are there when somebody asks.
const QUIET: Duration = Duration::from_secs(1);

/// The vault on what this domain stands on.
type Vaulted<F> = Vault<Chip<<F as Footing>::Runtime>, Entropy<F>>;

/// Random numbers of the domain's generator.
struct Entropy<F>(PhantomData<F>);

impl<F: Footing> Random for Entropy<F> {
    fn fill(&mut self, bytes: &mut [u8]) {
        F::fill(bytes);
    }
}

/// Serves all channels for ever. `ready` is called when the TPM was looked at.
pub(crate) async fn run<F: Footing>(
    footing: F,
    desk: &'static Desk,
    tpm: Option<Box<dyn Transport>>,
    ready: impl FnOnce(),
) {
    let timer = footing.runtime();
    let chip = tpm.map(|transport| Chip::new(transport, timer.clone()));
    let mut vault: Box<Vaulted<F>> = Box::new(Vault::new(chip, Entropy(PhantomData)));
    vault.start(now(timer)).await;
    tell::<F>(&mut vault);
    ready();
    loop {
        while let Some((channel, number, request)) = desk.take() {
            let answer = match request {
                Request::Measure(asked) => Answer::Measure(vault.measure(now(timer), asked).await),
                Request::Storage(said) => {
                    vault.storage(now(timer), said).await;
                    Answer::Storage
                }
                Request::StorageGone => {
                    vault.storage_gone();
                    Answer::Storage
                }
                Request::Control(request) => Answer::Control(vault.control(now(timer), request).await),
            };
            spread::<F>(desk, &mut vault);
            desk.answer(channel, number, answer);
        }
        let due = if vault.has_more() { Some(now(timer) + QUIET) } else { vault.deadline() };
        let Some(due) = due else {
            desk.work.wait().await;
            continue;
        };
        if let Either::Second(()) =
            select(desk.work.wait(), timer.sleep(due.saturating_sub(now(timer)))).await
        {
            vault.complete(now(timer)).await;
            spread::<F>(desk, &mut vault);
        }
    }
}

/// Tells storage, control and the log what came of it.
fn spread<F: Footing>(desk: &Desk, vault: &mut Vaulted<F>) {
    while let Some(letter) = vault.take_for_storage() {
        desk.post(letter);
    }
    if vault.take_changed() {
        desk.changed.signal(());
    }
    tell::<F>(vault);
}

fn tell<F: Footing>(vault: &mut Vaulted<F>) {
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
