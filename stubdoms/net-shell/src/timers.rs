//! The machine's deadlines.

use board_support_hyp::Runtime;
use embassy_futures::select::select;
use stubdoms_service::channels::Hypervisor;

use crate::node::Node;

/// Wakes the machine when it asked to be woken. Without a deadline nothing is timed.
pub(crate) async fn run<X: Hypervisor, R: Runtime>(node: &'static Node<X, R>) {
    loop {
        match node.deadline() {
            Some(at) => {
                select(node.runtime().sleep_until(at), node.deadline_moved.wait()).await;
            }
            None => node.deadline_moved.wait().await,
        }
        // Whoever moved the deadline has polled the machine; once more costs little and misses nothing.
        if node.deadline().is_some_and(|at| at <= node.runtime().now()) {
            node.tick();
        }
    }
}
