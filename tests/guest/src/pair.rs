//! Grants and events between two domains: this image runs a second time as service `peer`, which offers a
//! channel and does as it is asked.
//!
//! Mapping a grant of one's own would be no substitute. Xen gives a machine page one place in a domain's
//! memory, so the page would be gone from where it was.

use core::{sync::atomic::Ordering::Relaxed, time::Duration};

use alloc::{format, string::String};
use board_support_hyp::{Access, CopyError, GrantError, Grants, Shared, Xen};
use board_support_rt::{pool, timer};
use proto_svc::{Message, supervision::PeerEnd};
use proto_xen::{DomId, Gref};
use serde::{Deserialize, Serialize};
use stubdoms_service::{Accepted, Offered, Peers, accept, offer, park};

use crate::tally::{Tally, Verdict, ensure, same};

const PATIENCE: Duration = Duration::from_secs(20);
/// What the peer writes into word `n` of the page that it grants, less `n`.
const PATTERN: u32 = 0x5000_0000;

/// A board names no other protocols than the product's; this one has nothing of net's but the name.
const NAME: &str = "network";

/// What the peer is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// The first message.
    Hello {
        /// Version of the protocol.
        version: u16,
    },
    /// To send this back.
    Echo(u32),
    /// To grant a page with the pattern.
    Grant {
        /// Only for reading.
        read_only: bool,
    },
    /// To end that grant.
    End,
    /// What this word of the page is now.
    Word(u16),
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// The first message.
    Hello {
        /// Version of the protocol.
        version: u16,
    },
    /// The number that was to be sent back.
    Echo(u32),
    /// The page is granted.
    Granted {
        /// Its reference.
        gref: u32,
    },
    /// The grant is ended, or is not because it is mapped.
    Ended(bool),
    /// The word.
    Word(u32),
    /// It could not be done.
    Failed,
}

impl Message for Ask {
    const CHANNEL: &'static str = NAME;
    const VERSION: u16 = 1;
}

impl Message for Answer {
    const CHANNEL: &'static str = NAME;
    const VERSION: u16 = 1;
}

/// The peer: answers for ever.
pub(crate) async fn answer(peers: &'static Peers) {
    let (tie, mut channel): (_, Offered<Answer, Ask>) = offer(peers, park()).await;
    let PeerEnd::Offer { peer, .. } = tie.end() else { return };
    let peer = DomId(peer);
    let mut granted = None;
    while let Ok(ask) = channel.receive().await {
        let answer = match ask {
            Ask::Hello { .. } => continue,
            Ask::Echo(number) => Answer::Echo(number),
            Ask::Grant { read_only } => grant(peer, read_only, &mut granted),
            Ask::End => match granted.take() {
                Some((page, gref)) if Xen.end(gref) == Err(GrantError::StillMapped) => {
                    granted = Some((page, gref));
                    Answer::Ended(false)
                }
                Some(_) => Answer::Ended(true),
                None => Answer::Failed,
            },
            Ask::Word(index) => match &granted {
                Some((page, _)) => {
                    Answer::Word(page.words().get(usize::from(index)).map_or(0, |word| word.load(Relaxed)))
                }
                None => Answer::Failed,
            },
        };
        if channel.send(&answer).await.is_err() {
            return;
        }
    }
}

fn grant(peer: DomId, read_only: bool, granted: &mut Option<(pool::Page, Gref)>) -> Answer {
    let (Some(page), Ok(gref)) = (pool::allocate(), Xen.allocate()) else { return Answer::Failed };
    for (number, word) in (0..).zip(page.words()) {
        word.store(PATTERN + number, Relaxed);
    }
    let access = if read_only { Access::ReadOnly } else { Access::ReadWrite };
    if Xen.offer(gref, peer, page.gfn(), access).is_err() {
        return Answer::Failed;
    }
    *granted = Some((page, gref));
    Answer::Granted { gref: gref.0 }
}

/// The other side: the cases.
pub(crate) async fn check(tally: &mut Tally, peers: &'static Peers) {
    let opened = timer::with_timeout(PATIENCE, accept::<Ask, Answer>(peers)).await;
    let Ok((_tie, (id, channel))) = opened else {
        return tally.case("channel_to_another_domain", Err("it does not open".into())).await;
    };
    let mut peer = Peer { id, channel };
    tally.case("channel_to_another_domain", peer.echo().await).await;
    tally.case("mapped_grant_is_the_page_of_the_other", peer.map().await).await;
    tally.case("mapped_grant_cannot_be_ended", peer.still_mapped().await).await;
    tally.case("copy_reaches_the_page_of_the_other", peer.copy().await).await;
    tally.case("read_only_grant_is_not_mapped_for_writing", peer.read_only().await).await;
    tally.case("grants_come_back_many_times", peer.many().await).await;
}

struct Peer {
    id: DomId,
    channel: Accepted<Ask, Answer>,
}

impl Peer {
    async fn ask(&mut self, ask: Ask) -> Result<Answer, String> {
        let (mut sender, mut receiver) = self.channel.split();
        let answered = timer::with_timeout(PATIENCE, async {
            sender.send(&ask).await?;
            receiver.receive().await
        });
        let answered = answered.await.map_err(|_| String::from("no answer"))?;
        answered.map_err(|error| format!("channel to the peer: {error}"))
    }

    async fn granted(&mut self, read_only: bool) -> Result<Gref, String> {
        match self.ask(Ask::Grant { read_only }).await? {
            Answer::Granted { gref } => Ok(Gref(gref)),
            other => Err(format!("{other:?}")),
        }
    }

    fn mapped(&self, gref: Gref, access: Access) -> Result<<Xen as Grants>::Mapped, String> {
        Grants::map(&Xen, self.id, gref, access).map_err(|error| format!("mapping: {error}"))
    }

    async fn echo(&mut self) -> Verdict {
        for number in 0..500 {
            same!(self.ask(Ask::Echo(number)).await?, Answer::Echo(number), "answer");
        }
        Ok(())
    }

    async fn map(&mut self) -> Verdict {
        let gref = self.granted(false).await?;
        let mapped = self.mapped(gref, Access::ReadWrite)?;
        let wrong = (0..).zip(mapped.words()).find(|(number, word)| word.load(Relaxed) != PATTERN + number);
        ensure!(wrong.is_none(), "word {:?}", wrong.map(|(number, _)| number));
        mapped.words()[1023].store(42, Relaxed);
        same!(self.ask(Ask::Word(1023)).await?, Answer::Word(42), "what we wrote");
        drop(mapped);
        same!(self.ask(Ask::End).await?, Answer::Ended(true), "ending it");
        let gone = Grants::map(&Xen, self.id, gref, Access::ReadOnly).map(drop);
        ensure!(matches!(gone, Err(GrantError::Status(_))), "mapped after its end: {gone:?}");
        Ok(())
    }

    async fn still_mapped(&mut self) -> Verdict {
        let gref = self.granted(false).await?;
        for access in [Access::ReadOnly, Access::ReadWrite] {
            let mapped = self.mapped(gref, access)?;
            same!(self.ask(Ask::End).await?, Answer::Ended(false), "ending it while it is mapped");
            drop(mapped);
        }
        same!(self.ask(Ask::End).await?, Answer::Ended(true), "ending it");
        Ok(())
    }

    async fn copy(&mut self) -> Verdict {
        let gref = self.granted(false).await?;
        Xen.copy_to(self.id, gref, 8, &7u32.to_ne_bytes()).map_err(|error| format!("{error:?}"))?;
        same!(self.ask(Ask::Word(2)).await?, Answer::Word(7), "what we copied");
        let mut bytes = [0; 4];
        Xen.copy_from(self.id, gref, 4092, &mut bytes).map_err(|error| format!("{error:?}"))?;
        same!(u32::from_ne_bytes(bytes), PATTERN + 1023, "the last word");
        same!(self.ask(Ask::End).await?, Answer::Ended(true), "ending it");
        let copied = Xen.copy_from(self.id, gref, 0, &mut bytes);
        ensure!(matches!(copied, Err(CopyError::Status(_))), "copied after its end: {copied:?}");
        Ok(())
    }

    async fn read_only(&mut self) -> Verdict {
        let gref = self.granted(true).await?;
        let mapped = Grants::map(&Xen, self.id, gref, Access::ReadWrite).map(drop);
        ensure!(matches!(mapped, Err(GrantError::Status(_))), "mapped for writing: {mapped:?}");
        let copied = Xen.copy_to(self.id, gref, 0, &[0]);
        ensure!(matches!(copied, Err(CopyError::Status(_))), "written: {copied:?}");
        let mapped = self.mapped(gref, Access::ReadOnly)?;
        same!(mapped.words()[5].load(Relaxed), PATTERN + 5, "a word");
        drop(mapped);
        same!(self.ask(Ask::End).await?, Answer::Ended(true), "ending it");
        Ok(())
    }

    async fn many(&mut self) -> Verdict {
        for _ in 0..200 {
            let gref = self.granted(false).await?;
            drop(self.mapped(gref, Access::ReadWrite)?);
            same!(self.ask(Ask::End).await?, Answer::Ended(true), "ending it");
        }
        Ok(())
    }
}
