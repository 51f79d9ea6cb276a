//! The time of day as time servers tell it: whom to ask and when, and what of their answers is believed.
//!
//! Nobody signs these answers. Whoever is on the way can give any, so an answer counts only within bounds: not before
//! [`EARLIEST`](crate::clock::EARLIEST) nor from [`LATEST`](crate::clock::LATEST) on, and, once the controller has answered in this start, not before the time that it
//! told and not a day beyond it. Certificates that had expired by then stay expired, whatever a time server says. The
//! controller's date comes over TLS that verified, and is a bound alone: the clock is not set by it.
//!
//! The clock that is set is ours: how much time had passed since 1970 when the counter of nanoseconds stood at zero.
//! What waits, waits by that counter and is not disturbed.

use alloc::{string::String, vec, vec::Vec};
use core::{fmt, net::SocketAddrV4, time::Duration};

use crate::clock::{Instant, Now, Random, Ticker, WallTime};

pub(crate) mod sources;

use sources::Sources;

/// Who is asked where nobody else is named, as by EVE.
const DEFAULT: &str = "pool.ntp.org";
/// The most servers that are named in one question.
pub(crate) const MAX_SERVERS: usize = 4;
/// How long the shell may be about a question.
const LIMIT: Duration = Duration::from_secs(90);
/// Waits after questions without an answer.
const AGAIN: Ticker = Ticker::new(Duration::from_secs(8), Duration::from_secs(1024));
/// The longest of them while there is no time at all.
const AGAIN_UNKNOWN: Duration = Duration::from_secs(64);
/// The wait after an answer.
const RARELY: Duration = Duration::from_secs(3600);
/// The same after one that is in doubt.
const DOUBT: Duration = Duration::from_secs(64);
/// How long certificates wait for the first answer, from when there is an uplink, and before there is one.
const PATIENCE: Duration = Duration::from_secs(20);
const PATIENCE_OFFLINE: Duration = Duration::from_secs(60);
/// A clock that is off by less is right.
const RIGHT: Duration = Duration::from_millis(100);
/// A clock that is off by more is told of, and what was given up for it is tried again.
const LARGE: Duration = Duration::from_secs(10);
/// What the controller's date leaves to the way that it came, and to a counter that runs wrong by a thousandth.
const SLACK: Duration = Duration::from_secs(2);
const DRIFT: u32 = 1000;
/// How far an answer may be ahead of the controller's date.
const AHEAD: Duration = Duration::from_secs(24 * 3600);

/// What a time server has told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeReading {
    /// Which one, as it was named in the question.
    pub name: String,
    /// Where the answer came from.
    pub address: SocketAddrV4,
    /// How many servers it is away from a clock of reference, that clock being 0.
    pub stratum: u8,
    /// The time since 1970-01-01 00:00 UTC, at [`at_ns`](Self::at_ns).
    pub since_1970: Duration,
    /// Nanoseconds since boot.
    pub at_ns: u64,
    /// How far it may be off for what was spent on the way.
    pub within: Duration,
}

impl fmt::Display for TimeReading {
    /// Who has told it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (stratum {})", self.address, self.stratum)
    }
}

/// Why an answer is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It is before or after every time that can be.
    Bounds(WallTime),
    /// The controller has told a later time.
    BeforeController(WallTime),
    /// It is more than a day beyond what the controller has told.
    BeyondController(WallTime),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bounds(at) => write!(f, "{} cannot be", at.timestamp()),
            Self::BeforeController(at) => write!(f, "{} is before what the controller says", at.timestamp()),
            Self::BeyondController(at) => {
                write!(f, "{} is far beyond what the controller says", at.timestamp())
            }
        }
    }
}

/// What an answer comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The clock is right.
    Right,
    /// It is this time since 1970 at the counter's zero. `large`: the clock was off by a lot, or unknown.
    Set {
        /// To be set.
        power_on: Duration,
        /// Whether it is a step that others want to know of.
        large: bool,
    },
}

/// What the controller said last, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    seconds: u64,
    at: Instant,
}

/// The machine.
#[derive(Debug)]
pub(crate) struct Timekeeper {
    /// Who is asked where neither the network nor the configuration names one.
    usual: Vec<String>,
    began: Instant,
    up_since: Option<Instant>,
    next: Instant,
    /// When it was asked last.
    asked: Option<Instant>,
    /// A question is out, until then.
    out: Option<Instant>,
    ticker: Ticker,
    /// A question has ended.
    tried: bool,
    /// Who is asked, and what has come of it.
    pub(crate) sources: Sources,
    told: Option<Told>,
    set: Option<Duration>,
    /// Its own, so that others draw the same whether there is a time server or not.
    random: Random,
}

impl Timekeeper {
    /// `provisioned` names servers in place of the usual one. `seed` is for jitter.
    pub(crate) fn new(now: Instant, provisioned: Vec<String>, seed: u64) -> Self {
        let usual = if provisioned.is_empty() { vec![DEFAULT.into()] } else { provisioned };
        Self {
            usual,
            began: now,
            up_since: None,
            next: now,
            asked: None,
            out: None,
            ticker: AGAIN,
            tried: false,
            sources: Sources::default(),
            told: None,
            set: None,
            random: Random::new(seed),
        }
    }

    /// Whom to ask: who is named by the configuration, then by the network; else the usual ones.
    pub(crate) fn servers(&self, configured: &[String], network: &[String]) -> Vec<String> {
        let mut servers: Vec<String> = Vec::new();
        for server in configured.iter().chain(network) {
            if servers.len() < MAX_SERVERS && !servers.contains(server) {
                servers.push(server.clone());
            }
        }
        if servers.is_empty() { self.usual.clone() } else { servers }
    }

    /// There is an uplink, or none any more.
    pub(crate) fn on_uplink(&mut self, now: Instant, up: bool) {
        self.up_since = up.then(|| self.up_since.unwrap_or(now));
        if up && !self.tried {
            self.next = now;
        }
    }

    /// Others are to be asked now.
    pub(crate) fn others(&mut self, now: Instant) {
        self.ticker.reset();
        self.next = now;
    }

    /// A certificate is not valid at this time: perhaps it is another time.
    pub(crate) fn doubt(&mut self) {
        let Some(asked) = self.asked else { return };
        self.next = self.next.min(asked.after(DOUBT));
    }

    /// Whether to ask now; the question is out then. Also gives up one that has taken too long.
    pub(crate) fn step(&mut self, now: Now) -> bool {
        if self.out.is_some_and(|until| until <= now.at()) {
            self.failed(now);
        }
        let ask = self.up_since.is_some() && self.out.is_none() && self.next <= now.at();
        if ask {
            self.asked = Some(now.at());
            self.out = Some(now.at().after(LIMIT));
        }
        ask
    }

    /// The question goes to these.
    pub(crate) fn ask(&mut self, servers: &[String]) {
        self.sources.ask(servers);
    }

    /// Nobody has told the time.
    pub(crate) fn failed(&mut self, now: Now) {
        self.sources.silent();
        self.try_again(now);
    }

    fn try_again(&mut self, now: Now) {
        self.out = None;
        self.tried = true;
        let longest = if now.known_wall().is_some() { Duration::MAX } else { AGAIN_UNKNOWN };
        self.next = now.at().after(self.ticker.wait().min(longest));
    }

    /// A server has told the time.
    pub(crate) fn judge(&mut self, now: Now, reading: &TimeReading) -> Result<Verdict, Refused> {
        let heard = Instant(reading.at_ns);
        let ours = now.wall.map(|wall| wall.before(now.at().since(heard)).since_1970());
        let ahead = ours.map_or(0.0, |ours| reading.since_1970.as_secs_f64() - ours.as_secs_f64());
        let checked = self.check(reading.since_1970, heard, reading.within);
        self.sources.answered(reading, ahead, checked.is_ok());
        if let Err(refused) = checked {
            self.try_again(now);
            return Err(refused);
        }
        self.out = None;
        self.tried = true;
        self.ticker.reset();
        self.next = now.at().after(self.random.share(RARELY, 800, 1200));
        let counted = Duration::from_nanos(reading.at_ns);
        let power_on = reading.since_1970.saturating_sub(counted);
        let off = ours.map(|ours| ours.abs_diff(reading.since_1970));
        if off.is_some_and(|off| off <= RIGHT.max(reading.within)) {
            return Ok(Verdict::Right);
        }
        self.set = Some(power_on);
        Ok(Verdict::Set { power_on, large: off.is_none_or(|off| off >= LARGE) })
    }

    fn check(&self, since_1970: Duration, at: Instant, within: Duration) -> Result<(), Refused> {
        let wall = WallTime::since(since_1970);
        if !wall.is_possible() {
            return Err(Refused::Bounds(wall));
        }
        let Some(told) = self.told else { return Ok(()) };
        let gone = at.since(told.at);
        let (known, slack) = (Duration::from_secs(told.seconds) + gone, SLACK + gone / DRIFT);
        if since_1970 + within + slack < known {
            return Err(Refused::BeforeController(wall));
        }
        if since_1970 > known + slack + AHEAD {
            return Err(Refused::BeyondController(wall));
        }
        Ok(())
    }

    /// The controller says that it is so many seconds since 1970.
    pub(crate) fn on_controller(&mut self, now: Instant, seconds: u64) {
        if (WallTime { seconds, nanos: 0 }).is_possible() {
            self.told = Some(Told { seconds, at: now });
        }
    }

    /// The time of day for a certificate; none before it is known well enough.
    pub(crate) fn settled(&self, now: Now) -> Option<WallTime> {
        let asked = self.tried || self.settling() <= now.at();
        now.known_wall().filter(|_| asked)
    }

    /// Whether a first answer is waited for.
    pub(crate) fn is_settling(&self, now: Now) -> bool {
        !self.tried && self.settling() > now.at()
    }

    fn settling(&self) -> Instant {
        self.up_since.map_or_else(|| self.began.after(PATIENCE_OFFLINE), |since| since.after(PATIENCE))
    }

    /// When to come back.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.out.or_else(|| self.up_since.map(|_| self.next))
    }

    /// What a later life of the agent has to know.
    pub(crate) fn numbers(&self) -> [u64; 3] {
        let (seconds, at) = self.told.map_or((0, 0), |told| (told.seconds, told.at.0));
        [self.set.map_or(0, nanos), seconds, at]
    }

    /// Takes what an earlier life left: the time at the counter's zero, if it was set.
    pub(crate) fn recall(&mut self, numbers: &mut impl Iterator<Item = u64>) -> Option<Duration> {
        let [set, seconds, at] = core::array::from_fn(|_| numbers.next().unwrap_or(0));
        self.on_controller(Instant(at), seconds);
        self.set = Some(Duration::from_nanos(set)).filter(|_| set != 0);
        self.set
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
