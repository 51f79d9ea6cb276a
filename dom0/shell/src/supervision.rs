//! The supervisor's shell: shows it what happened and what time it is, and does what it says.

use alloc::{rc::Rc, vec::Vec};
use core::time::Duration;

use board_support_hyp::{Instant, Timer};
use dom0_supervisor::{Command, Input, Next, Notice, ServiceId, Supervisor};
use dom0_toolstack::line;
use embassy_futures::select::select;
use proto_errors::{Coded, svc};
use proto_svc::{supervision::ToService, text::clipped};

use crate::{
    ground::Ground,
    services::{Instance, Services},
    system::{System, Watchdogs},
};

/// Supervises the services, for ever.
pub async fn run<S: System>(ground: Rc<Ground<S>>, mut supervisor: Supervisor) {
    let mut ping = 0_u32;
    let mut input = Input::Tick;
    loop {
        let at = Duration::from_nanos(ground.now().as_nanos());
        let looks: Vec<_> = supervisor.to_look_at(at).collect();
        if !looks.is_empty() {
            ground.services.tell_untold();
        }
        for (service, life) in looks {
            if ground.services.is_at_rest(&ground, Instance { service, life }) {
                supervisor.at_rest(at, service, life);
            }
        }
        let commands = supervisor.step(at, input);
        let builds: Vec<Instance> = commands.iter().filter_map(build).collect();
        for command in commands {
            match command {
                // All at once, below: they are told of each other.
                Command::Build(..) => {}
                Command::Ping(service, _) => {
                    ping = ping.wrapping_add(1);
                    ground.services.say(service, ToService::Ping { number: ping });
                }
                Command::End(service, life) => Services::end(&ground, Instance { service, life }).await,
                Command::Tell(service, notice) => tell(&ground, service, notice),
                Command::Feed if ground.starved.get() => {}
                Command::Feed => ground.watchdogs.feed(),
            }
        }
        if !builds.is_empty() {
            Services::build(&ground, &builds);
        }
        let missing = supervisor.missing().map(|service| clipped(&ground.services.name(service)));
        if ground.outbox.borrow_mut().miss(missing) {
            ground.filled.signal(());
        }
        input = next(&ground, &supervisor).await;
    }
}

fn build(command: &Command) -> Option<Instance> {
    match *command {
        Command::Build(service, life) => Some(Instance { service, life }),
        _ => None,
    }
}

/// Waits for something to show. What happened comes before the time, for an answer that is there in time
/// counts, however late it is looked at.
async fn next<S: System>(ground: &Ground<S>, supervisor: &Supervisor) -> Input {
    loop {
        if let Some(news) = ground.services.next() {
            return news;
        }
        let Some(deadline) = supervisor.deadline() else {
            ground.services.told.wait().await;
            continue;
        };
        // Nanoseconds since power-on fit for 584 years.
        let deadline = Instant::from_nanos(u64::try_from(deadline.as_nanos()).unwrap_or(u64::MAX));
        if deadline <= ground.now() {
            return Input::Tick;
        }
        select(ground.services.told.wait(), ground.runtime.sleep_until(deadline)).await;
    }
}

fn tell<S: System>(ground: &Ground<S>, service: ServiceId, notice: Notice) {
    let name = ground.services.name(service);
    match notice {
        Notice::Died(reason, Next::Restart(Duration::ZERO)) => {
            log::warn!(target: "dom0", "domain {name} is ended: {}; it is built anew", reason.told());
        }
        Notice::Died(reason, Next::Restart(wait)) => {
            log::warn!(target: "dom0", "domain {name} is ended: {}; it is built anew in {} ms", reason.told(), wait.as_millis());
        }
        Notice::Died(reason, Next::GiveUp) => {
            log::error!(
                target: "dom0",
                "domain {name} is ended: {}; it died {} times within {} minutes and is given up [{}]",
                reason.told(),
                dom0_supervisor::history::LIMIT,
                dom0_supervisor::history::WINDOW.as_secs() / 60,
                svc::GIVEN_UP
            );
        }
        Notice::Recovered(took) => {
            log::info!(target: "dom0", "{}", line::measurement("kill-to-healthy", &name, took));
        }
        Notice::NoUse => {
            log::error!(target: "dom0", "domain {name} is vital and has not worked since the machine was started; it is not reset for that [{}]", svc::NO_RESET);
        }
        Notice::NotFed => {
            log::error!(target: "dom0", "without domain {name} the watchdog is not fed; it resets the machine [{}]", svc::NOT_FED);
        }
    }
}
