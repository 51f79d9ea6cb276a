//! A guest's vif.

use core::future::poll_fn;

use board_support_hyp::Runtime;
use embassy_futures::{
    select::{Either, select},
    yield_now,
};
use proto_errors::net;
use proto_ring::PeerFault;
use stubdoms_net_core::vif::VifId;
use stubdoms_service::channels::Hypervisor;

use crate::node::{Gone, Node, Pass};

/// Serves a vif until it is disconnected or its guest breaks the protocol.
pub(crate) async fn run<X: Hypervisor, R: Runtime>(node: &'static Node<X, R>, id: VifId, gone: Gone) {
    // The end is asked for first: the vif may be connected again by now, and is another task's then.
    let Either::Second(fault) = select(gone.wait(), serve(node, id)).await else {
        return;
    };
    if let Some(domain) = node.disconnect(id) {
        log::warn!("vif{} of {domain}: closed: {fault} [{}]", id.index(), net::VIF_FAULT);
        node.vif_failed.signal(());
    }
}

/// Returns what the guest did wrong.
async fn serve<X: Hypervisor, R: Runtime>(node: &Node<X, R>, id: VifId) -> PeerFault {
    loop {
        if let Err(fault) = poll_fn(|context| node.poll_vif(id, context)).await {
            return fault;
        }
        loop {
            match node.forward(id) {
                Ok(Pass::Empty) => break,
                Ok(Pass::More) => yield_now().await,
                Ok(Pass::NoRoom) => node.room(id).await,
                Err(fault) => return fault,
            }
        }
    }
}
