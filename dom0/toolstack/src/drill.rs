//! A drill at random times: which service is ended next, and after which pause. A pure machine.
//!
//! The order is `SEED:NAME+NAME:MIN-MAX-REST:COUNT`. Each service that is named comes COUNT times, in a random
//! order; the pauses last from MIN to MAX milliseconds, so that most ends fall into the first moments of a
//! life. One pause in [`RESTS`] is a rest of up to REST milliseconds: in those the device gets as far as
//! attestation, downloads and uploads, and the end after it falls into one of them. Equal orders give equal
//! drills.

use alloc::vec::Vec;
use core::time::Duration;

/// One pause in so many is a rest.
pub const RESTS: u32 = 25;

/// What is left of a drill.
#[derive(Clone, Debug)]
pub struct Drill<'a> {
    left: Vec<(&'a str, u32)>,
    pause_ms: (u32, u32),
    rest_ms: u32,
    random: u64,
}

/// One end of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kill<'a> {
    /// Before it.
    pub pause: Duration,
    /// Whose.
    pub name: &'a str,
}

impl<'a> Drill<'a> {
    /// Reads an order; `None` if it is none.
    #[must_use]
    pub fn parse(order: &'a str) -> Option<Self> {
        let mut parts = order.split(':');
        let random = parts.next()?.parse().ok()?;
        let names = parts.next()?.split('+');
        let mut pauses = parts.next()?.split('-').map(|part| part.parse().ok());
        let (min, max, rest_ms) = (pauses.next()??, pauses.next()??, pauses.next()??);
        let count: u32 = parts.next()?.parse().ok()?;
        let over = parts.next().is_some() || pauses.next().is_some();
        if over || min > max || max > rest_ms {
            return None;
        }
        Some(Self { left: names.map(|name| (name, count)).collect(), pause_ms: (min, max), rest_ms, random })
    }

    /// The services that it is about.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.left.iter().map(|(name, _)| *name)
    }

    /// The longest pause.
    #[must_use]
    pub fn rest(&self) -> Duration {
        Duration::from_millis(self.rest_ms.into())
    }

    /// In `low..=high`, evenly. The generator is splitmix64.
    fn between(&mut self, low: u32, high: u32) -> u32 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let span = u64::from(high.saturating_sub(low)) + 1;
        // Below `span`, which is at most 2³².
        low.saturating_add(((z ^ (z >> 31)) % span) as u32)
    }
}

impl<'a> Iterator for Drill<'a> {
    type Item = Kill<'a>;

    fn next(&mut self) -> Option<Kill<'a>> {
        let all = self.left.iter().fold(0_u32, |sum, (_, left)| sum.saturating_add(*left));
        // Each end that is left is as likely as any other to be the next.
        let mut skip = self.between(0, all.checked_sub(1)?);
        let place = self.left.iter().position(|(_, left)| match skip.checked_sub(*left) {
            Some(rest) => {
                skip = rest;
                false
            }
            None => true,
        });
        let (min, max) = self.pause_ms;
        let pause = match self.between(1, RESTS) {
            1 => self.between(max, self.rest_ms),
            _ => self.between(min, max),
        };
        let (name, left) = self.left.get_mut(place?)?;
        *left -= 1;
        Some(Kill { pause: Duration::from_millis(pause.into()), name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: &str = "7:net+control:100-1200-20000:1000";

    #[test]
    fn each_service_is_ended_as_often_as_it_was_ordered() {
        let all: Vec<Kill<'_>> = Drill::parse(ORDER).unwrap().collect();
        let of = |name| all.iter().filter(|kill| kill.name == name).count();
        assert_eq!((of("net"), of("control"), all.len()), (1000, 1000, 2000));
        // In no order that one could tell: neither in turns nor one after the other.
        let changes = all.windows(2).filter(|pair| pair[0].name != pair[1].name).count();
        assert!((800..1200).contains(&changes), "{changes}");
    }

    #[test]
    fn pauses_are_short_but_for_the_rests() {
        let all: Vec<Kill<'_>> = Drill::parse(ORDER).unwrap().collect();
        let ms = |kill: &Kill<'_>| kill.pause.as_millis();
        let rests = all.iter().filter(|kill| ms(kill) > 1200).count();
        assert!((40..120).contains(&rests), "{rests}");
        assert!(all.iter().all(|kill| (100..=20_000).contains(&ms(kill))));
        assert!(all.iter().any(|kill| ms(kill) < 150) && all.iter().any(|kill| ms(kill) > 15_000));
    }

    #[test]
    fn a_seed_replays() {
        let drill = |order| Drill::parse(order).unwrap().collect::<Vec<_>>();
        assert_eq!(drill(ORDER), drill(ORDER));
        assert_ne!(drill(ORDER), drill("8:net+control:100-1200-20000:1000"));
        assert_eq!(drill("0:net:5-5-5:1"), [Kill { pause: Duration::from_millis(5), name: "net" }]);
    }

    #[test]
    fn what_is_no_order_is_refused() {
        for order in [
            "",
            "net:6000:4",
            "x:net:1-2-3:4",
            "1:net:2-1-3:4",
            "1:net:1-3-2:4",
            "1:net:1-2:4",
            "1:net:1-2-3",
        ] {
            assert!(Drill::parse(order).is_none(), "{order}");
        }
        assert!(Drill::parse("1:net:1-2-3:4:5").is_none() && Drill::parse("1:net:1-2-3-4:5").is_none());
        assert_eq!(Drill::parse("1:net:1-2-3:0").unwrap().next(), None);
        assert_eq!(Drill::parse("1:net+net+net:0-0-4294967295:4294967295").unwrap().take(9).count(), 9);
    }
}
