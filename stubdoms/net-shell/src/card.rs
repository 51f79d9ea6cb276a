//! The network card: brought up, served, and reset when it does what it must not.

use alloc::boxed::Box;
use core::{fmt, future::pending, future::poll_fn, task::Poll, time::Duration};

use board_support_drv::nic::{Causes, Fault, Nic, Stopped};
use board_support_hyp::{Runtime, Timer, runtime::Elapsed};
use embassy_futures::{
    select::{Either, select},
    yield_now,
};
use heapless::Vec;
use proto_errors::net as code;
use stubdoms_service::channels::Hypervisor;

use crate::node::{Node, Pass, UPLINK};

/// A running card.
pub type Card = Box<dyn Nic>;

/// A card that is about to run.
pub type Down = Box<dyn Stopped>;

/// The card's interrupts, in its own order.
pub type Interrupts = Vec<u32, 8>;

/// How long frames may stay in the card while somebody waits for room.
const STUCK: Duration = Duration::from_secs(5);

/// The first and the longest time between two resets that follow each other.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// A card that ran this long without a fault gets the first time again.
const STEADY: Duration = Duration::from_secs(60);

/// What made a running card stop.
enum Trouble {
    Fault(Fault),
    Stuck,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(fault) => write!(f, "{fault}"),
            Self::Stuck => write!(f, "it has sent nothing for {} s", STUCK.as_secs()),
        }
    }
}

/// A card that was told to reset.
pub struct Found {
    /// The card.
    pub card: Down,
    /// Its interrupts.
    pub interrupts: Interrupts,
}

impl Found {
    /// Starts the card, however long it takes.
    pub(crate) async fn bring_up(self, timer: &impl Timer) -> (Card, Interrupts) {
        (start(timer, self.card, BACK_OFF.0).await, self.interrupts)
    }
}

/// Starts a card that was told to reset. One that does not is reset again, ever more rarely.
async fn start(timer: &impl Timer, mut card: Down, mut wait: Duration) -> Card {
    let reset_time = card.reset_time();
    timer.sleep(reset_time).await;
    loop {
        match card.start() {
            Ok(card) => return card,
            Err((error, down)) => {
                log::error!("uplink {UPLINK}: card does not start: {error} [{}]", code::CARD_START);
                timer.sleep(wait).await;
                wait = (wait * 2).min(BACK_OFF.1);
                card = down.again();
            }
        }
        timer.sleep(reset_time).await;
    }
}

/// Serves the card for ever.
pub(crate) async fn run<X: Hypervisor, R: Runtime>(node: &'static Node<X, R>, interrupts: Interrupts) {
    let mut wait = BACK_OFF.0;
    let timer = node.runtime();
    for resets in 1_u32.. {
        let since = timer.now();
        let trouble = serve(node, &interrupts).await;
        log::error!(
            "uplink {UPLINK}: card is reset, {resets} times since start: {trouble} [{}]",
            code::CARD_RESET
        );
        let Some(card) = node.detach() else {
            // Only this task takes it.
            return pending().await;
        };
        wait = if timer.now() >= since + STEADY { BACK_OFF.0 } else { (wait * 2).min(BACK_OFF.1) };
        let down = card.stop();
        timer.sleep(wait).await;
        node.attach(start(timer, down, wait).await);
    }
}

/// Serves the card until it is of no use any more.
async fn serve<X: Hypervisor, R: Runtime>(node: &Node<X, R>, interrupts: &Interrupts) -> Trouble {
    match follow(node, interrupts).await {
        Ok(stuck) => stuck,
        Err(fault) => Trouble::Fault(fault),
    }
}

/// Does what the card asks for, until it has not sent anything for too long.
async fn follow<X: Hypervisor, R: Runtime>(
    node: &Node<X, R>,
    interrupts: &Interrupts,
) -> Result<Trouble, Fault> {
    for interrupt in 0..interrupts.len() {
        node.acknowledge(interrupt)?;
    }
    node.look_at_link()?;
    loop {
        match node.receive()? {
            Pass::Empty | Pass::NoRoom => {}
            Pass::More => {
                yield_now().await;
                continue;
            }
        }
        let work = select(any_of(node.runtime(), interrupts), node.card_wanted.wait());
        let woken = if node.waits_for_card() {
            match node.runtime().with_timeout(STUCK, work).await {
                Ok(woken) => woken,
                Err(Elapsed) => return Ok(Trouble::Stuck),
            }
        } else {
            work.await
        };
        // The time-out above, or the look at what was received, is what was wanted.
        let Either::First(came) = woken else {
            continue;
        };
        let mut causes = Causes::empty();
        for interrupt in came {
            causes |= node.acknowledge(interrupt)?;
        }
        if causes.contains(Causes::SENT) {
            node.has_transmitted();
        }
        if causes.contains(Causes::LINK)
            && let Some(link) = node.look_at_link()?
        {
            log::debug!("uplink {UPLINK}: {link}");
        }
    }
}

/// Waits until some of the interrupts came, and says which.
async fn any_of(runtime: &impl Runtime, interrupts: &Interrupts) -> Vec<usize, 8> {
    poll_fn(|context| {
        let came = interrupts.iter().enumerate();
        let came = came.filter(|(_, interrupt)| runtime.poll_interrupt(**interrupt, context).is_ready());
        let came: Vec<usize, 8> = came.map(|(number, _)| number).collect();
        if came.is_empty() { Poll::Pending } else { Poll::Ready(came) }
    })
    .await
}
