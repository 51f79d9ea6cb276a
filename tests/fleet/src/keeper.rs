//! A client of vault beside control, in place of storage: it keeps what storage keeps for vault, and asks for its key again
//! and again. Or it was taken over, and says by the protocol whatever storage never says.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use board_support_hyp::Timer;
use embassy_futures::select::select;
use proto_svc::sealing::{FromVault, MAX_KEPT, MAX_SEALED, ToVault};
use stubdoms_service::channels::offer;

use crate::{
    programs::{Base, ToService, channel_park},
    random,
};

/// How long it waits for more ahead of asking again.
pub const AGAIN: Duration = Duration::from_millis(100);

/// What lies on its disk, which outlasts its lives; and what was seen of it.
#[derive(Default)]
pub struct Kept {
    disk: RefCell<Disk>,
    /// How often the key was given.
    pub opened: Cell<u32>,
    /// It leaves vault alone.
    pub calm: Cell<bool>,
    /// It was taken over.
    pub taken: Cell<bool>,
    /// What it has said since.
    pub lies: Cell<u32>,
}

#[derive(Default)]
struct Disk {
    sealed: heapless::Vec<u8, MAX_SEALED>,
    kept: heapless::Vec<u8, MAX_KEPT>,
    /// By which key what is stored was written, once something is.
    key: Option<[u8; 32]>,
}

/// Its `main`.
pub async fn main(base: Base, kept: Rc<Kept>) {
    base.supervise();
    base.ready.signal(());
    let pages = channel_park();
    loop {
        let (xen, runtime) = (base.domain.clone(), base.domain.clone());
        let (tie, mut channel) = offer(xen, runtime, base.peers, pages).await;
        if kept.taken.get() {
            select(tie.cut(), lie(&kept, &base, &mut channel)).await;
        } else {
            select(tie.cut(), serve(&base, &kept, &mut channel)).await;
        }
        drop(channel);
        tie.cut().await;
    }
}

/// Talks until vault ends.
async fn serve(base: &Base, kept: &Kept, channel: &mut ToService<ToVault, FromVault>) {
    let open = || {
        let disk = kept.disk.borrow();
        ToVault::Open { sealed: disk.sealed.clone(), kept: disk.kept.clone() }
    };
    let mut say = Some(open());
    loop {
        if let Some(said) = say.take()
            && channel.send(&said).await.is_err()
        {
            return;
        }
        let Ok(told) = base.domain.with_timeout(AGAIN, channel.receive()).await else {
            say = (!kept.calm.get()).then(open);
            continue;
        };
        match told {
            Ok(FromVault::Hello { .. } | FromVault::Locked { .. }) => {}
            Ok(FromVault::Keep { sealed, kept: beside, fresh }) => {
                let mut disk = kept.disk.borrow_mut();
                let key = disk.key.filter(|_| !fresh);
                *disk = Disk { sealed, kept: beside, key };
                say = Some(ToVault::Kept);
            }
            Ok(FromVault::Key { key, .. }) => {
                let known = *kept.disk.borrow_mut().key.get_or_insert(key.0);
                assert_eq!(known, key.0, "the key is the one of what is stored");
                kept.opened.set(kept.opened.get() + 1);
            }
            Err(_) => return,
        }
    }
}

/// Says what storage never says, until vault ends.
async fn lie(kept: &Kept, base: &Base, channel: &mut ToService<ToVault, FromVault>) {
    let mut before = heapless::Vec::<u8, MAX_SEALED>::new();
    loop {
        let said = match random::below(6) {
            0 => ToVault::Kept,
            1 => ToVault::NotKept,
            2 => ToVault::Open { sealed: any_bytes(), kept: any_bytes() },
            3 => ToVault::Open { sealed: heapless::Vec::new(), kept: any_bytes() },
            4 => ToVault::Open { sealed: before.clone(), kept: heapless::Vec::new() },
            _ => {
                let mut sealed = before.clone();
                let place = random::below(sealed.len());
                sealed.iter_mut().skip(place).take(1).for_each(|byte| *byte ^= 1 << random::below(8));
                ToVault::Open { sealed, kept: heapless::Vec::new() }
            }
        };
        if channel.send(&said).await.is_err() {
            return;
        }
        kept.lies.set(kept.lies.get() + 1);
        let wait = Duration::from_millis(random::below(200) as u64);
        while let Ok(told) = base.domain.with_timeout(wait, channel.receive()).await {
            match told {
                Ok(FromVault::Keep { sealed, .. }) => before = sealed,
                Ok(FromVault::Hello { .. } | FromVault::Key { .. } | FromVault::Locked { .. }) => {}
                Err(_) => return,
            }
        }
    }
}

/// Bytes of any number.
fn any_bytes<const MOST: usize>() -> heapless::Vec<u8, MOST> {
    let mut bytes = heapless::Vec::new();
    // It is as long as it may be.
    let _ = bytes.resize(random::below(MOST + 1), 0);
    random::fill(&mut bytes);
    bytes
}
