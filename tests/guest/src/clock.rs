//! Time and deadlines.

use alloc::vec::Vec;
use core::{cell::RefCell, time::Duration};

use board_support_hyp::vcpu;
use board_support_rt::{
    timer::{self, now, sleep, sleep_until},
    wallclock,
};
use embassy_futures::join::join3;
use proto_xen::VcpuId;

use crate::tally::{Tally, Verdict, ensure, same};

pub(crate) async fn check(tally: &mut Tally) {
    tally.case("time_goes_forward", goes_forward()).await;
    tally.case("wall_clock_goes_with_time", wall_clock().await).await;
    tally.case("sleep_is_never_short", never_short().await).await;
    tally.case("deadline_in_the_past_is_now", past().await).await;
    tally.case("deadlines_come_in_their_order", in_order().await).await;
    tally.case("timeout_ends_a_wait", timeout().await).await;
    tally.case("timer_of_another_vcpu_is_refused", other_vcpu()).await;
    // The reader of the console compares the span with the host's clock.
    let (from, before) = (now(), wallclock::now());
    log::info!("span begins at {} s", before.map_or(0, |time| time.seconds));
    sleep_until(from + Duration::from_secs(2)).await;
    log::info!("span ends after {} us", (now() - from).as_micros());
}

fn goes_forward() -> Verdict {
    let first = now();
    let mut last = first;
    for _ in 0..20_000 {
        let next = now();
        ensure!(next >= last, "{next} after {last}");
        last = next;
    }
    ensure!(last > first, "it stands still at {first}");
    Ok(())
}

async fn wall_clock() -> Verdict {
    let read = || wallclock::now().ok_or_else(|| alloc::string::String::from("there is none"));
    let (from, begin) = (now(), read()?);
    // 2020 and 2100.
    ensure!((1_577_836_800..4_102_444_800).contains(&begin.seconds), "{} s since 1970", begin.seconds);
    sleep(Duration::from_millis(200)).await;
    let (end, to) = (read()?, now());
    let nanoseconds = |time: wallclock::UnixTime| time.seconds * 1_000_000_000 + u64::from(time.nanoseconds);
    let (span, most) = (nanoseconds(end) - nanoseconds(begin), (to - from).as_nanos() as u64);
    ensure!((200_000_000..=most).contains(&span), "{span} ns, while time went on by {most} ns");
    Ok(())
}

async fn never_short() -> Verdict {
    for ms in [0, 1, 2, 5, 20, 100] {
        let from = now();
        sleep(Duration::from_millis(ms)).await;
        let took = now() - from;
        ensure!(took >= Duration::from_millis(ms), "{took:?} instead of {ms} ms");
    }
    Ok(())
}

async fn past() -> Verdict {
    let from = now();
    sleep_until(timer::Instant::from_nanos(1)).await;
    // Where the timer is Xen's and not the CPU's own, it takes a deadline that is past, too.
    if board_support_arch::timer::VECTOR.is_none() {
        vcpu::set_timer(VcpuId(0), 1).map_err(|errno| alloc::format!("{errno}"))?;
    }
    sleep(Duration::from_millis(1)).await;
    ensure!(now() > from, "time stands still");
    Ok(())
}

async fn in_order() -> Verdict {
    // On a busy machine one look may find all of them due, and takes them as they stand. A timer that is
    // wrong has no row in order.
    const TRIES: usize = 10;
    let mut orders = Vec::new();
    while orders.len() < TRIES {
        let order = order_of_deadlines().await;
        if order == [1, 2, 3] {
            return Ok(());
        }
        orders.push(order);
    }
    Err(alloc::format!("{TRIES} rows, and none in order: {orders:?}"))
}

async fn order_of_deadlines() -> Vec<u8> {
    let from = now();
    let order = RefCell::new(Vec::new());
    let one = |name: u8, ms: u64| {
        let order = &order;
        async move {
            sleep_until(from + Duration::from_millis(ms)).await;
            order.borrow_mut().push(name);
        }
    };
    join3(one(3, 60), one(1, 20), one(2, 40)).await;
    order.into_inner()
}

async fn timeout() -> Verdict {
    let ended = timer::with_timeout(Duration::from_millis(5), core::future::pending::<()>()).await;
    same!(ended, Err(timer::Elapsed), "the wait");
    let ended = timer::with_timeout(Duration::from_secs(60), core::future::ready(7)).await;
    same!(ended, Ok(7), "what is ready");
    Ok(())
}

fn other_vcpu() -> Verdict {
    let refused = vcpu::set_timer(VcpuId(1), u64::MAX);
    ensure!(refused.is_err(), "vCPU 1, which we do not have, took a timer");
    Ok(())
}
