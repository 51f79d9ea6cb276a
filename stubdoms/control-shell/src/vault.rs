//! The channel to vault: what the agent asks, over the lives of vault, and signatures, which are waited for.
//!
//! TLS and envelopes ask for a signature in the middle of something and cannot go on without it. For these the
//! domain waits: it looks at the channel again and again and gives its turn to others in between, which is
//! when vault runs. That takes the TPM some milliseconds, and longer if it has something else to do first; there is one
//! for each envelope, one for a connection and a few for certificates. Nothing else of this domain runs meanwhile, dom0's
//! question whether it is well among it. So all signatures of a round of tasks, and of rounds that follow each other at
//! once, are waited for no longer than dom0 waits for its answer; and a vault that was taken away meanwhile is not waited
//! for: Xen tells of that, while dom0's message comes to nobody. A vault that was waited for in vain is waited for no more
//! until it says something, or another one is there.

use alloc::rc::Rc;
use core::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use board_support_hyp::{Instant, Runtime, Sched, Timer};
use embassy_futures::{
    select::{Either, select},
    yield_now,
};
use embassy_sync::{blocking_mutex::raw::NoopRawMutex, signal::Signal};
use proto_errors::{Coded, ctl};
use proto_svc::vault::{Answer, FromVault, Request, ToVault};
use stubdoms_agent::{VaultEvent, VaultQuestions};
use stubdoms_service::{
    Peers,
    channels::{bear, offer, park},
    footing::{ChannelPark, Offered},
};
use stubdoms_web::tls::{KeyUnusable, SignP256};

use crate::{brain::Brain, system::System};

/// How long signatures are waited for: less than dom0 waits for an answer before it takes a service for hung.
pub const SIGN_WITHIN: Duration = Duration::from_millis(600);

type Channel<S> = Offered<S, ToVault, FromVault>;

/// The way to vault.
pub(crate) struct Vault<S: System>(Rc<Inner<S>>);

impl<S: System> Clone for Vault<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

struct Inner<S: System> {
    system: S,
    /// While vault is there.
    channel: RefCell<Option<Channel<S>>>,
    questions: RefCell<VaultQuestions>,
    /// Rung when the task has to look.
    look: Signal<NoopRawMutex, ()>,
    wait: Cell<Wait>,
}

/// A time in which signatures are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wait {
    /// The domain's latest round in it.
    round: u64,
    until: Instant,
}

impl Wait {
    /// The time for a signature in `round`. It is the same for all of one round and of the next: who was woken during one
    /// has a turn in the next, and perhaps after who waits.
    fn in_round(self, round: u64, now: Instant) -> Self {
        let goes_on = round.saturating_sub(self.round) <= 1;
        Self { round, until: if goes_on { self.until } else { now + SIGN_WITHIN } }
    }
}

/// Why vault was left.
enum Fault {
    /// The channel.
    Channel(board_support_pv::channel::ChannelError),
    /// It answered what it was not asked.
    Answer,
}

impl<S: System> Vault<S> {
    /// While vault is not there.
    pub(crate) fn new(system: S) -> Self {
        let (channel, questions, look) = (RefCell::default(), RefCell::default(), Signal::new());
        let wait = Wait { round: 0, until: system.runtime().now() + SIGN_WITHIN };
        Self(Rc::new(Inner { system, channel, questions, look, wait: Cell::new(wait) }))
    }

    /// Asks for something, for the agent.
    pub(crate) fn ask(&self, request: Request) {
        self.0.questions.borrow_mut().ask(request);
        self.0.look.signal(());
    }

    /// Has the device's key sign a digest: r and s. None if vault does not do it in time.
    pub(crate) fn sign(&self, digest: &[u8; 32]) -> Option<[u8; 64]> {
        let is_mute = || self.0.questions.borrow().is_mute();
        if is_mute() {
            // It may have spoken meanwhile.
            let _ = self.0.turn(&mut Context::from_waker(Waker::noop()));
            self.0.look.signal(());
            if is_mute() {
                return None;
            }
        }
        self.0.questions.borrow_mut().sign(digest);
        let Inner { system, .. } = &*self.0;
        let wait = self.0.wait.get().in_round(system.runtime().rounds(), system.runtime().now());
        self.0.wait.set(wait);
        let mut context = Context::from_waker(Waker::noop());
        let answer = loop {
            let over = self.0.turn(&mut context).is_err() || !self.0.has_peer();
            let answered = self.0.questions.borrow_mut().take_signature();
            if answered.is_some() || over || system.runtime().now() >= wait.until {
                break answered;
            }
            system.xen().yield_now();
        };
        self.0.questions.borrow_mut().give_up_signature();
        // The port's event went to nobody meanwhile.
        self.0.look.signal(());
        match answer {
            Some(Answer::Signature(r, s)) => {
                let mut signature = [0; 64];
                signature[..32].copy_from_slice(&r);
                signature[32..].copy_from_slice(&s);
                Some(signature)
            }
            other => {
                log::warn!("vault: no signature: {other:?} [{}]", ctl::VAULT_MUTE);
                None
            }
        }
    }

    /// What shows the device's certificate to TLS servers.
    pub(crate) fn tls_key(&self) -> TlsKey<S> {
        TlsKey(S::local(self.clone()))
    }
}

/// Connects with one life of vault after the other.
pub(crate) async fn serve<S: System>(vault: Vault<S>, peers: &'static Peers, brain: Brain<S>) {
    let pages: &'static ChannelPark<S> = park();
    loop {
        let (xen, runtime) = (brain.system().xen().clone(), brain.system().runtime().clone());
        let (tie, channel): (_, Channel<S>) = offer(xen, runtime, peers, pages).await;
        vault.0.questions.borrow_mut().begin_again();
        vault.0.channel.replace(Some(channel));
        brain.tell(|agent, now| agent.on_vault(now, VaultEvent::There));
        let over = select(tie.cut(), talk(&vault, &brain)).await;
        vault.0.channel.replace(None);
        brain.tell(|agent, now| agent.on_vault(now, VaultEvent::Gone));
        match over {
            Either::First(()) => {
                log::warn!("vault: it has ended; waiting for it to come back [{}]", ctl::VAULT_GONE);
            }
            Either::Second(fault) => {
                match fault {
                    Fault::Channel(error) => log::error!("channel vault: {}", error.told()),
                    Fault::Answer => {
                        log::error!("channel vault: an answer to nothing [{}]", ctl::VAULT_FAULT);
                    }
                }
                bear(brain.system().runtime(), &tie).await;
            }
        }
    }
}

/// Talks until vault closes the channel or breaks its protocol.
async fn talk<S: System>(vault: &Vault<S>, brain: &Brain<S>) -> Fault {
    loop {
        let turn = poll_fn(|context| match vault.0.turn(context) {
            Err(fault) => Poll::Ready(Some(fault)),
            Ok(()) if vault.0.questions.borrow().has_events() => Poll::Ready(None),
            Ok(()) => Poll::Pending,
        });
        if let Either::First(Some(fault)) = select(turn, vault.0.look.wait()).await {
            return fault;
        }
        loop {
            // No borrow lasts into the agent, which may have something signed.
            let event = vault.0.questions.borrow_mut().take_event();
            let Some(event) = event else { break };
            brain.tell(|agent, now| agent.on_vault(now, event));
        }
        // A round for the others: what comes next may wait for a signature anew.
        yield_now().await;
    }
}

impl<S: System> Inner<S> {
    fn has_peer(&self) -> bool {
        self.channel.borrow().as_ref().is_some_and(Channel::<S>::has_peer)
    }

    /// Sends and receives what can be now. No borrow lasts beyond this: the futures are polled once and dropped,
    /// with which neither a message is lost nor one sent in part.
    fn turn(&self, context: &mut Context<'_>) -> Result<(), Fault> {
        let mut channel = self.channel.borrow_mut();
        let Some(channel) = channel.as_mut() else { return Ok(()) };
        let (mut sender, mut receiver) = channel.split();
        loop {
            let question = self.questions.borrow().unsent();
            let Some(question) = question else { break };
            match pin!(sender.send(&question)).poll(context) {
                Poll::Ready(Ok(())) => self.questions.borrow_mut().sent(),
                Poll::Ready(Err(error)) => return Err(Fault::Channel(error)),
                Poll::Pending => break,
            }
        }
        loop {
            match pin!(receiver.receive()).poll(context) {
                Poll::Ready(Ok(message)) => self.take(message)?,
                Poll::Ready(Err(error)) => return Err(Fault::Channel(error)),
                Poll::Pending => return Ok(()),
            }
        }
    }

    fn take(&self, message: FromVault) -> Result<(), Fault> {
        match message {
            // Said and checked when the channel was opened.
            FromVault::Hello { .. } => {}
            FromVault::Changed => self.questions.borrow_mut().changed(),
            FromVault::Answer { number, answer } => {
                self.questions.borrow_mut().answered(number, answer).map_err(|_| Fault::Answer)?;
            }
        }
        Ok(())
    }
}

/// The device's key, for TLS.
pub(crate) struct TlsKey<S: System>(S::Local<Vault<S>>);

impl<S: System> core::fmt::Debug for TlsKey<S> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("TlsKey")
    }
}

impl<S: System> SignP256 for TlsKey<S> {
    fn sign_digest(&self, digest: &[u8; 32]) -> Result<[u8; 64], KeyUnusable> {
        self.0.sign(digest).ok_or(KeyUnusable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn signatures_of_a_round_and_of_the_next_share_one_time() {
        let first = Wait { round: 0, until: at(0) }.in_round(7, at(1000));
        assert_eq!(first, Wait { round: 7, until: at(1000) + SIGN_WITHIN });
        let second = first.in_round(7, at(1400));
        assert_eq!(second, first);
        let next = second.in_round(8, at(1500));
        assert_eq!(next, Wait { round: 8, until: first.until });
        // However many there are.
        assert_eq!(next.in_round(9, at(1700)).until, first.until);
        // After a round in which none was waited for everybody has had a turn.
        assert_eq!(next.in_round(10, at(1700)).until, at(1700) + SIGN_WITHIN);
    }
}
