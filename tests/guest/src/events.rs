//! Event channels to ourselves.

use core::time::Duration;

use board_support_hyp::{EventChannels, Xen};
use board_support_rt::{event, timer};
use embassy_futures::yield_now;
use proto_xen::{DomId, Errno, Port, VcpuId, Virq};

use crate::tally::{Tally, Verdict, ensure, same};

const PATIENCE: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_millis(20);

pub(crate) async fn check(tally: &mut Tally) {
    tally.case("event_arrives_at_the_other_end", arrives().await).await;
    tally.case("event_before_the_wait_is_kept", kept().await).await;
    tally.case("events_between_two_looks_are_one", merged().await).await;
    tally.case("closed_port_is_no_port", closed()).await;
    tally.case("port_can_be_bound_once", once()).await;
    tally.case("timer_virq_is_ours_already", virq()).await;
    tally.case("global_virq_is_refused", global_virq()).await;
    tally.case("ports_come_back", come_back().await).await;
}

fn text(errno: Errno) -> alloc::string::String {
    alloc::format!("{errno}")
}

/// Two ports of ours that are each other's ends.
fn pair() -> Result<(Port, Port), alloc::string::String> {
    let first = Xen.alloc_unbound(DomId::SELF, DomId::SELF).map_err(text)?;
    let second = Xen.bind_interdomain(DomId::SELF, first).map_err(text)?;
    Ok((first, second))
}

fn close((first, second): (Port, Port)) -> Verdict {
    for port in [second, first] {
        event::forget(port);
        Xen.close(port).map_err(text)?;
    }
    Ok(())
}

async fn arrived(port: Port) -> bool {
    timer::with_timeout(PATIENCE, event::wait(port)).await.is_ok()
}

async fn silent(port: Port) -> bool {
    timer::with_timeout(SILENCE, event::wait(port)).await.is_err()
}

async fn arrives() -> Verdict {
    let (first, second) = pair()?;
    // Binding raises the port that binds.
    let _ = timer::with_timeout(SILENCE, event::wait(second)).await;
    for round in 0..100 {
        Xen.send(first).map_err(text)?;
        ensure!(arrived(second).await, "round {round}: nothing at the second end");
        Xen.send(second).map_err(text)?;
        ensure!(arrived(first).await, "round {round}: nothing at the first end");
    }
    ensure!(silent(first).await && silent(second).await, "an event that nobody sent");
    close((first, second))
}

async fn kept() -> Verdict {
    let (first, second) = pair()?;
    Xen.send(second).map_err(text)?;
    timer::sleep(SILENCE).await;
    ensure!(arrived(first).await, "what was sent before the first wait is lost");
    close((first, second))
}

async fn merged() -> Verdict {
    let (first, second) = pair()?;
    for _ in 0..10 {
        Xen.send(second).map_err(text)?;
    }
    ensure!(arrived(first).await, "none of ten arrived");
    ensure!(silent(first).await, "one look was told of twice");
    close((first, second))
}

fn closed() -> Verdict {
    let (first, second) = pair()?;
    same!(Xen.is_bound(first), Ok(true), "a port with its other end");
    Xen.close(second).map_err(text)?;
    same!(Xen.is_bound(first), Ok(false), "a port without its other end");
    // The other end has nobody to wake, and that is no error.
    same!(Xen.send(first), Ok(()), "sending to nobody");
    Xen.close(first).map_err(text)?;
    same!(Xen.send(first), Err(Errno::EINVAL), "sending by a closed port");
    same!(Xen.is_bound(first), Ok(false), "a closed port");
    same!(Xen.is_bound(Port(u32::MAX)), Err(Errno::EINVAL), "a port that cannot be");
    same!(Xen.close(first), Err(Errno::EINVAL), "closing it again");
    same!(Xen.unmask(Port(u32::MAX)), Err(Errno::EINVAL), "unmasking a port that cannot be");
    Ok(())
}

fn once() -> Verdict {
    let (first, second) = pair()?;
    same!(Xen.bind_interdomain(DomId::SELF, first).map(drop), Err(Errno::EINVAL), "binding it again");
    close((first, second))
}

fn virq() -> Verdict {
    // Where the CPU has a timer of its own, Xen's is free.
    if board_support_arch::timer::VECTOR.is_some() {
        return Ok(());
    }
    same!(Xen.bind_virq(Virq::TIMER, VcpuId(0)).map(drop), Err(Errno::EEXIST), "binding it again");
    Ok(())
}

fn global_virq() -> Verdict {
    // It would tell of every death. Xen gives it to one domain, and dom0 has it: the bind works or is refused,
    // as the version has it, but no event may come by it.
    match Xen.bind_virq(Virq::DOM_EXC, VcpuId(0)) {
        Ok(port) => {
            event::forget(port);
            Xen.close(port).map_err(text)
        }
        Err(errno) => {
            ensure!([Errno::EPERM, Errno::EINVAL, Errno::EBUSY].contains(&errno), "{errno}");
            Ok(())
        }
    }
}

async fn come_back() -> Verdict {
    let (first, second) = pair()?;
    close((first, second))?;
    for _ in 0..1000 {
        // dom0 asks whether we are well.
        yield_now().await;
        let pair = pair()?;
        same!(pair, (first, second), "the lowest free ports");
        close(pair)?;
    }
    Ok(())
}
