//! The channel `network`: honest as far as it is needed, then not.

use alloc::format;
use core::time::Duration;

use board_support_hyp::{Access, EventChannels, Grants, Xen};
use board_support_pv::{grant::Park, port::BoundPort};
use board_support_rt::{Domain, pool::Page, timer};
use proto_svc::network::{FromControl, ToControl, VifRefusal};
use proto_xen::{DomId, Gref, Port};
use stubdoms_service::{Offered, Peers, Tie, offer, park};

use super::{Lie, PATIENCE, Verdict, case, channel::Ours, state::State, talk, vif::Vif};

/// Our hardware address on the vif.
pub(super) const MAC: [u8; 6] = [0x02, 0x53, 0x52, 0x53, 0x4e, 0x02];

pub(super) struct Net {
    channel: Offered<FromControl, ToControl>,
    tie: Tie<'static>,
    port: Port,
    /// Its domain.
    pub(super) id: DomId,
    pub(super) park: &'static Park<Page>,
    /// What lies beyond the card, once net has an address there.
    pub(super) gateway: Option<[u8; 4]>,
}

impl Net {
    /// Opens the channel as control does.
    pub(super) async fn open(peers: &'static Peers) -> Verdict<Self> {
        let opened = timer::with_timeout(PATIENCE, offer(peers, park())).await;
        let (tie, channel) = opened.map_err(|_| "it does not open")?;
        let Ours { peer, port, .. } = Ours::of(&tie)?;
        Ok(Self { channel, tie, port, id: peer, park: park(), gateway: None })
    }

    /// A vif through which net carries a packet to what is beyond its card, and the answer back.
    pub(super) async fn working(&mut self) -> Verdict<Vif> {
        let mut vif = self.connected().await?;
        vif.reaches_beyond().await?;
        Ok(vif)
    }

    /// A vif, as soon as net lets go of the one before.
    pub(super) async fn connected(&mut self) -> Verdict<Vif> {
        self.wait_for_gateway().await?;
        let gateway = self.gateway.ok_or("no gateway")?;
        let tried = async {
            loop {
                let vif = Vif::new(self.id, self.park)?;
                match self.ask(&vif.request().message()).await? {
                    ToControl::VifConnected { address, .. } => return Ok(vif.with(address, gateway)),
                    ToControl::VifRefused(VifRefusal::Busy) => timer::sleep(Duration::from_millis(20)).await,
                    other => return Err(format!("{other:?}")),
                }
            }
        };
        timer::with_timeout(PATIENCE, tried)
            .await
            .unwrap_or_else(|_| Err("the vif before is not closed".into()))
    }

    /// Asks for a vif or for counters, and returns the answer.
    pub(super) async fn ask(&mut self, message: &FromControl) -> Verdict<ToControl> {
        let asked = async {
            self.say(message).await?;
            loop {
                match self.hear().await? {
                    ToControl::Hello { .. } | ToControl::Uplink(_) | ToControl::VifClosed => {}
                    answer => return Ok(answer),
                }
            }
        };
        timer::with_timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err("no answer".into()))
    }

    /// Breaks the channel, and waits until net has closed it.
    pub(super) async fn lie(self, lie: Lie) -> Verdict {
        Ours::of(&self.tie)?.lie(lie, &FromControl::QueryCounters).await
    }

    async fn wait_for_gateway(&mut self) -> Verdict {
        let told = async {
            while self.gateway.is_none() {
                self.hear().await?;
            }
            Ok(())
        };
        timer::with_timeout(PATIENCE, told).await.unwrap_or_else(|_| Err("the uplink has no address".into()))
    }

    async fn say(&mut self, message: &FromControl) -> Verdict {
        talk::say(&mut self.channel, message, |told| take(&mut self.gateway, told)).await
    }

    async fn hear(&mut self) -> Verdict<ToControl> {
        talk::hear(&mut self.channel, |told| take(&mut self.gateway, told)).await
    }
}

/// What lies beyond the card, as net says last.
fn take(gateway: &mut Option<[u8; 4]>, told: &ToControl) {
    if let ToControl::Uplink(uplink) = told {
        *gateway = uplink.lease.as_ref().and_then(|lease| lease.gateway);
    }
}

/// What is changed in a request that would be granted.
type Change = fn(&Net, &mut Asked);

/// [`FromControl::VifConnect`].
pub(super) struct Asked {
    pub(super) tx_gref: u32,
    pub(super) rx_gref: u32,
    pub(super) port: u32,
    pub(super) mac: [u8; 6],
}

impl Asked {
    pub(super) fn message(&self) -> FromControl {
        let Self { tx_gref, rx_gref, port, mac } = *self;
        FromControl::VifConnect { tx_gref, rx_gref, port, mac }
    }
}

/// Requests that net refuses, and how.
const ROWS: &[(&str, Change, VifRefusal)] = &[
    ("tx_ring_that_is_not_granted", |_, asked| asked.tx_gref = 511, VifRefusal::Grant),
    ("rx_ring_that_is_not_granted", |_, asked| asked.rx_gref = 511, VifRefusal::Grant),
    ("ring_outside_of_the_table", |_, asked| asked.tx_gref = u32::MAX, VifRefusal::Grant),
    ("ring_that_is_granted_to_another", |net, asked| asked.tx_gref = net.foreign().0, VifRefusal::Grant),
    ("port_that_is_not_there", |_, asked| asked.port = 1000, VifRefusal::Port),
    ("port_outside_of_the_table", |_, asked| asked.port = u32::MAX, VifRefusal::Port),
    ("port_that_is_for_another", |_, asked| asked.port = another_port().0, VifRefusal::Port),
    ("port_of_the_channel", |net, asked| asked.port = net.port.0, VifRefusal::Port),
    ("no_hardware_address", |_, asked| asked.mac = [0; 6], VifRefusal::Mac),
    ("hardware_address_of_a_group", |_, asked| asked.mac = [1, 0, 0x5e, 0, 0, 1], VifRefusal::Mac),
    ("hardware_address_of_all", |_, asked| asked.mac = [0xff; 6], VifRefusal::Mac),
];

impl Net {
    /// A page that is dom0's to use, and not net's.
    pub(super) fn foreign(&self) -> Gref {
        let page = board_support_rt::pool::allocate();
        let offered = page.and_then(|page| {
            let gref = Xen.allocate().ok()?;
            Xen.offer(gref, DomId::DOM0, page.gfn(), Access::ReadWrite).ok()?;
            // It stays granted for as long as we live.
            core::mem::forget(page);
            Some(gref)
        });
        offered.unwrap_or(Gref(u32::MAX))
    }
}

/// A port that only dom0 may bind.
fn another_port() -> Port {
    match BoundPort::allocate(Xen, Domain, DomId::DOM0) {
        Ok(line) => {
            let port = line.port();
            core::mem::forget(line);
            port
        }
        Err(_) => Port(u32::MAX),
    }
}

/// Asks for vifs that net must not connect. Before there is one: a second one is refused for that alone.
pub(super) async fn try_all(net: &mut Net, state: &mut State) {
    for (name, change, right) in ROWS {
        let verdict = refused(net, *change, *right).await;
        case(state, name, verdict).await;
    }
    let port = net.port;
    super::flood(|| {
        let _ = Xen.send(port);
    })
    .await;
    let verdict = match net.ask(&FromControl::QueryCounters).await {
        Ok(ToControl::Counters(_)) => Ok(()),
        other => Err(format!("{other:?}")),
    };
    case(state, "net_answers_after_a_flood_of_events", verdict).await;
}

async fn refused(net: &mut Net, change: Change, right: VifRefusal) -> Verdict {
    let vif = Vif::new(net.id, net.park)?;
    let mut asked = vif.request();
    change(net, &mut asked);
    match net.ask(&asked.message()).await? {
        ToControl::VifRefused(refusal) if refusal == right => Ok(()),
        other => Err(format!("{other:?} instead of {right:?}")),
    }
}
