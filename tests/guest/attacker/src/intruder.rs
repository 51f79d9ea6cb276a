//! The attacker in control's place: lies to dom0 on channel `device`, to net on channel `network` and on
//! the rings of its vif, to storage and vault on the channels of their names.
//!
//! A lie that breaks a channel to dom0 ends this domain, and dom0 builds it anew. So it has a life for each
//! pair of [`LIES`], and the note that dom0 keeps for control says which one comes next. Each life finds what
//! the last one must not have harmed: an application that goes on, dom0 that answers, net that reaches the
//! gateway beyond its card, storage and vault that answer. The first life does besides what is refused and costs no
//! channel. What storage and vault refuse is for [`keepers`](crate::keepers).

use alloc::{format, string::String};
use core::time::Duration;

use board_support_rt::{Boot, Spawner, timer};
use proto_manifest::wiring::Wiring;
use proto_svc::{
    Message,
    network::{FromControl, ToControl},
    storage::{self, FromStorage, ToStorage},
    vault::{self, FromVault, ToVault},
};
use stubdoms_service::Peers;

mod channel;
mod dom0;
mod net;
mod ping;
mod refusals;
mod state;
pub(crate) mod talk;
mod vif;

use crate::told::{Verdict, told};
use channel::{Asked, greet_in_another_version, show_another_page};
use dom0::Dom0;
use net::Net;
use state::State;

/// How long anybody may take for anything.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often a port is raised in a flood.
const FLOOD: u32 = 20_000;

/// What is done to a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    /// The producer announces more than the page holds.
    Ahead,
    /// The producer goes back.
    Back,
    /// More was read than there was.
    Claim,
    /// A frame is longer than frames may be.
    Length,
    /// A frame that is no message.
    Garbage,
    /// Half a frame, then the end.
    Torn,
    /// A message with a byte behind it.
    Trailing,
    /// A list that is longer than its type has room for.
    TooMuch,
    /// Another version in the greeting.
    Version,
    /// A page that is no channel's.
    Magic,
}

/// For each life what is done to net, storage and vault, then what is done to dom0.
const LIES: &[(Lie, Lie)] = &[
    (Lie::Ahead, Lie::Ahead),
    (Lie::Back, Lie::Back),
    (Lie::Claim, Lie::Claim),
    (Lie::Length, Lie::Length),
    (Lie::Garbage, Lie::Garbage),
    (Lie::Torn, Lie::Torn),
    (Lie::Version, Lie::Trailing),
    (Lie::Magic, Lie::TooMuch),
];

/// Tells how a case ended, and counts it.
async fn case(state: &mut State, name: &str, verdict: Verdict) {
    let count = if told(name, verdict).await { &mut state.ok } else { &mut state.failed };
    *count += 1;
}

/// Raises somebody [`FLOOD`] times with nothing to look at, and lets our own tasks run now and then: one that
/// does not answer dom0 is ended for that.
async fn flood(bell: impl Fn()) {
    for _ in 0..FLOOD / 500 {
        (0..500).for_each(|_| bell());
        timer::sleep(Duration::from_millis(1)).await;
    }
}

/// Whether there is an application among the provisioning files, which is not to be harmed.
pub(crate) fn has_neighbour(boot: &Boot) -> bool {
    dom0::neighbour(boot).is_ok()
}

/// Lives one life.
pub(crate) async fn run(boot: &Boot, wiring: &Wiring, spawner: Spawner) {
    let peers = stubdoms_service::peers(wiring);
    spawner.spawn(stubdoms_service::supervise(wiring.clone(), peers));
    stubdoms_service::ready();
    let mut dom0 = match Dom0::open(boot, wiring).await {
        Ok(dom0) => dom0,
        Err(why) => return log::error!("FAIL device: {why}"),
    };
    let mut state = State::read(&dom0.note);
    let before = match state.life {
        0 => {
            let started = dom0.start_neighbour().await;
            case(&mut state, "neighbour_is_started", started).await;
            refusals::try_all(&mut dom0, &mut state).await;
            flood(|| dom0.bell()).await;
            String::from("refusals")
        }
        life => LIES.get(usize::from(life) - 1).map_or_else(String::new, |(_, lie)| format!("{lie:?}")),
    };
    let goes_on = dom0.neighbour_goes_on(&state).await;
    case(&mut state, &format!("neighbour_goes_on_after_{before}"), goes_on).await;
    let answers = dom0.answers().await;
    case(&mut state, &format!("dom0_answers_after_{before}"), answers).await;

    let lies = LIES.get(usize::from(state.life)).copied();
    match lies {
        Some((Lie::Version, _)) => {
            let lied = greet_in_another_version::<FromControl, ToControl>(peers).await;
            case(&mut state, "net_closes_after_Version", lied).await;
        }
        Some((Lie::Magic, _)) => show_another_page::<FromControl>(peers).await,
        _ => match Net::open(peers).await {
            Ok(net) => with_net(net, &mut state, lies.map(|(lie, _)| lie)).await,
            Err(why) => case(&mut state, "net_opens_its_channel", Err(why)).await,
        },
    }
    let lie = lies.map(|(lie, _)| lie);
    let ask = ToStorage::Ask { number: 1, request: storage::Request::Status };
    let is_right = |told: &FromStorage| {
        matches!(told, FromStorage::Answer { number: 1, answer: storage::Answer::Status(_) })
    };
    with_keeper(peers, &mut state, lie, &ask, is_right).await;
    let ask = ToVault::Ask { number: 1, request: vault::Request::Status };
    let is_right =
        |told: &FromVault| matches!(told, FromVault::Answer { number: 1, answer: vault::Answer::Status(_) });
    with_keeper(peers, &mut state, lie, &ask, is_right).await;
    let Some((_, lie)) = lies else {
        log::info!("attacker: {} ok, {} failed", state.ok, state.failed);
        // Whoever closes its channel is built anew.
        return core::future::pending().await;
    };
    state.life += 1;
    let closed = dom0.lie(lie, &mut state).await;
    // dom0 ends us here, as a rule before we see it.
    log::error!("FAIL dom0_ends_us_after_{lie:?}: {closed:?}");
}

/// What is done to net in a life in which it is greeted as it should be.
async fn with_net(mut net: Net, state: &mut State, lie: Option<Lie>) {
    let before = match usize::from(state.life).checked_sub(1).and_then(|life| LIES.get(life)) {
        Some((lie, _)) => format!("{lie:?}"),
        None => String::from("nothing"),
    };
    if state.life == 0 {
        net::try_all(&mut net, state).await;
    }
    let working = net.working().await;
    let (served, vif) = match working {
        Ok(vif) => (Ok(()), Some(vif)),
        Err(why) => (Err(why), None),
    };
    case(state, &format!("net_serves_after_{before}"), served).await;
    let vif = match vif {
        Some(vif) if state.life == 0 => vif::try_all(&mut net, vif, state).await,
        vif => vif,
    };
    // What the vif has granted stays so until net is rid of it.
    core::mem::forget(vif);
    let Some(lie) = lie else { return core::mem::forget(net) };
    let closed = net.lie(lie).await;
    case(state, &format!("net_closes_after_{lie:?}"), closed).await;
}

/// What is done to storage or vault: it is asked something that it answers, and lied to.
async fn with_keeper<Out: Message, In: Message>(
    peers: &'static Peers,
    state: &mut State,
    lie: Option<Lie>,
    ask: &Out,
    is_right: impl Fn(&In) -> bool,
) {
    let name = Out::CHANNEL;
    match lie {
        Some(Lie::Version) => {
            let lied = greet_in_another_version::<Out, In>(peers).await;
            return case(state, &format!("{name}_closes_after_Version"), lied).await;
        }
        Some(Lie::Magic) => return show_another_page::<Out>(peers).await,
        _ => {}
    }
    let (answers, keeper) = match Asked::open(peers).await {
        Ok(mut keeper) => (keeper.answers(ask, is_right).await, Some(keeper)),
        Err(why) => (Err(why), None),
    };
    case(state, &format!("{name}_answers_in_life_{}", state.life), answers).await;
    // Whoever closes its channel is built anew, so the last life keeps it.
    let Some(lie) = lie else { return core::mem::forget(keeper) };
    if let Some(keeper) = keeper {
        let closed = keeper.lie(lie, ask).await;
        case(state, &format!("{name}_closes_after_{lie:?}"), closed).await;
    }
}
