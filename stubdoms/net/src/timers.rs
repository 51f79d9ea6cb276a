//! The machine's deadlines.

use board_support_rt::timer;
use embassy_futures::select::select;

use crate::node::Node;

/// Wakes the machine when it asked to be woken. Without a deadline nothing is timed.
pub(crate) async fn run(node: &'static Node) {
    loop {
        match node.deadline() {
            Some(at) => {
                select(timer::sleep_until(at), node.deadline_moved.wait()).await;
            }
            None => node.deadline_moved.wait().await,
        }
        // Whoever moved the deadline has polled the machine; once more costs little and misses nothing.
        if node.deadline().is_some_and(|at| at <= timer::now()) {
            node.tick();
        }
    }
}
