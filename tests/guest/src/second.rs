//! A second vCPU: it is started once, counts beside the first, and stops itself; Xen says so each time. In a
//! child, whose image was changed to say that it runs on two.

use core::time::Duration;

use alloc::string::String;
use board_support_rt::{
    pool,
    prove::vcpu::{Counter, StartError, is_up},
    timer,
};
use proto_xen::VcpuId;

use crate::tally::{Verdict, ensure, same};

const SECOND: VcpuId = VcpuId(1);
/// One more than the child has.
const THIRD: VcpuId = VcpuId(2);
/// How long the second one may take for anything.
const PATIENCE: Duration = Duration::from_secs(5);
const STILL: Duration = Duration::from_millis(50);

pub(crate) async fn check() -> Verdict {
    ensure!(is_up(VcpuId(0)), "the first is not up");
    ensure!(!is_up(SECOND), "up before it was started");
    let counter = start(SECOND)?.map_err(|error| alloc::format!("{error}"))?;
    until("it says nothing", || counter.number().is_some()).await?;
    same!(counter.number(), Some(SECOND), "what it says that it is");
    for _ in 0..3 {
        let count = counter.count();
        until("it does not count", || counter.count() != count).await?;
    }
    ensure!(is_up(SECOND), "not up while it counts");
    same!(start(SECOND)?.map(drop), Err(StartError::Started), "starting it again");
    same!(start(THIRD)?.map(drop), Err(StartError::Absent), "starting one that is not there");
    ensure!(!is_up(THIRD), "up, and not there");

    counter.stop();
    until("it does not stop", || !is_up(SECOND)).await?;
    let count = counter.count();
    timer::sleep(STILL).await;
    same!(counter.count(), count, "the count after it has stopped");
    Ok(())
}

fn start(vcpu: VcpuId) -> Result<Result<Counter, StartError>, String> {
    let memory = pool::allocate_run(2, 1).ok_or("no two pages in a row")?;
    Ok(Counter::start(vcpu, memory))
}

async fn until(what: &str, done: impl Fn() -> bool) -> Verdict {
    let waited = timer::with_timeout(PATIENCE, async {
        while !done() {
            timer::sleep(Duration::from_millis(1)).await;
        }
    });
    waited.await.map_err(|_| alloc::format!("{what} within {} s", PATIENCE.as_secs()))
}
